#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Lambda functions that are container images: made on the spot, pushed with skopeo, called over the API."""
import glob
import gzip
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import oci  # noqa: E402
import tandem  # noqa: E402

NATIVE = os.path.join(tandem.BUILD, "examples/native/bootstrap")
PYTHON = os.path.realpath("/usr/bin/python3")
# A runtime that is nobody's but this test's: it speaks the Runtime API, counts, and does what the event says.
LOOP = b'''
import http.client, json, os, signal, sys
host, base = os.environ["AWS_LAMBDA_RUNTIME_API"], "/2018-06-01/runtime/"
def ask(method, path, body=None, to=host):
    connection = http.client.HTTPConnection(to)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.headers, answer.read()
    finally:
        connection.close()
if os.environ.get("FAIL"):
    ask("POST", base + "init/error", b'{"errorType":"Own.Error","errorMessage":"it was asked to"}')
    sys.exit(3)
seen = 0
while True:
    try:
        headers, event = ask("GET", base + "invocation/next")
    except (OSError, http.client.HTTPException):  # whoever was asked is gone: its successor has the same address
        continue
    event = json.loads(event)
    seen += 1
    said = {"seen": seen, "argv": sys.argv[1:], "cwd": os.getcwd(), "uid": os.getuid(), "env": dict(os.environ)}
    print("to stdout", flush=True)
    print("to stderr", file=sys.stderr, flush=True)
    what = event.get("do")
    if what == "sleep":
        signal.pause()
    elif what == "exit":
        os._exit(7)
    elif what == "memory":
        held = bytearray(1 << 30)
    elif what == "write":
        with open("/tmp/file", "a") as f:
            f.write("x")
        said["size"] = os.path.getsize("/tmp/file")
    elif what == "look":
        with open("/proc/self/status") as f:
            said["caps"] = [line.split()[1] for line in f if line.startswith("Cap")]
        try:
            open("/app/own/file", "w")
        except OSError as e:
            said["write"] = e.strerror
        fs = os.statvfs("/tmp")
        said["tmp_bytes"] = fs.f_blocks * fs.f_frsize
    elif what == "get":
        said["got"] = ask("GET", event["path"], to=event["from"])[1].decode()
    ask("POST", base + "invocation/%s/response" % headers["Lambda-Runtime-Aws-Request-Id"], json.dumps(said))
'''


def libraries(*programs):
    """What they are linked with, as files of an image."""
    files = {}
    for program in programs:
        for line in subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout.splitlines():
            path = next((w for w in line.split() if w.startswith("/")), None)
            if path:
                with open(path, "rb") as f:
                    files[path.lstrip("/")] = f.read()
    return files


def python_files():
    """Debian's Python with as much of its library as the loop needs."""
    version = os.path.basename(PYTHON)
    top = "/usr/lib/" + version
    dynamic = glob.glob(top + "/lib-dynload/*.so")
    files = {"usr/bin/" + version: None, "usr/bin/python3": {"type": b"2", "linkname": version}, "tmp": {"type": b"5", "mode": 0o1777}}
    names = [PYTHON, *dynamic, *glob.glob(top + "/*.py")]
    for package in ("collections", "email", "encodings", "http", "importlib", "json", "re", "urllib"):
        names += glob.glob(top + "/" + package + "/**/*.py", recursive=True)
    for name in names:
        # Compiled ones, where they are, in place of the source: what it cannot write it would compile at every start.
        cached = importlib.util.cache_from_source(name) if name.endswith(".py") else name
        source = cached if os.path.exists(cached) else name
        with open(source, "rb") as f:
            files[(name + "c" if source != name else name).lstrip("/")] = f.read()
    files.update(libraries(PYTHON, *dynamic))
    files["srv/loop.py"] = LOOP
    files["app/own"] = {"type": b"5", "mode": 0o755}
    files["etc/passwd"] = b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:an app:/srv:/bin/sh\n"
    files["etc/group"] = b"root:x:0:\napp:x:1000:\n"
    return files


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not shutil.which("skopeo"):
            raise unittest.SkipTest("skopeo is not installed")
        cls.dir = tempfile.mkdtemp(prefix="tandem-imf-")
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        cls.t = tandem.Tandem()
        cls.t.__enter__()
        cls.addClassCleanup(lambda: cls.t.close())
        cls.host = cls.t.api[len("http://"):]
        cls.base = oci.layer(python_files())
        cls.packed = [gzip.compress(cls.base, 1, mtime=0)]
        cls.push(cls.image({"Entrypoint": ["/usr/bin/python3", "/srv/loop.py"], "Cmd": ["one", "two"], "User": "app", "WorkingDir": "/srv",
                            "Env": ["FROM_IMAGE=image", "BOTH=image", "AWS_REGION=image"]}), "py:1")

    @classmethod
    def image(cls, config):
        return oci.Image(cls.base, packed=cls.packed, config=config)

    @classmethod
    def push(cls, image, name):
        with tempfile.TemporaryDirectory(dir=cls.dir) as d:
            image.layout(d + "/l")
            subprocess.run(["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", "--dest-creds",
                            "%s:%s" % (cls.t.env["access_key"], cls.t.env["secret_key"]), "oci:" + d + "/l:latest", "docker://%s/%s" % (cls.host, name)],
                           check=True, timeout=120 * tandem.SLOW)
        return cls.host + "/" + name

    def setUp(self):
        self.awslambda = self.t.client("lambda", read_timeout=120 * tandem.SLOW)

    def create(self, name, image="py:1", **more):
        self.addCleanup(self.gone, name)
        more.setdefault("Timeout", 60 * tandem.SLOW)
        return self.awslambda.create_function(FunctionName=name, PackageType="Image", Code={"ImageUri": self.host + "/" + image}, Role=tandem.ROLE, **more)

    def gone(self, name):
        try:
            self.awslambda.delete_function(FunctionName=name)
        except self.awslambda.exceptions.ResourceNotFoundException:
            pass

    def call(self, name, error=None, **event):
        answer = self.awslambda.invoke(FunctionName=name, Payload=json.dumps(event).encode(), LogType="Tail")
        body = json.loads(answer["Payload"].read())
        self.assertEqual(answer.get("FunctionError"), error, body)
        self.log = tandem.log_tail(answer)
        return body

    def refused(self, says, call, code="InvalidParameterValueException", **arguments):
        from botocore.exceptions import ClientError  # pylint: disable=import-outside-toplevel
        with self.assertRaises(ClientError) as caught:
            call(**arguments)
        self.assertEqual(caught.exception.response["Error"]["Code"], code, caught.exception)
        self.assertIn(says, str(caught.exception))

    def rm(self, name):
        return subprocess.run([tandem.PROGRAM, "--state", self.t.state, "images", "rm", name], capture_output=True, text=True, check=False)


class Functions(Case):
    def test_native(self):
        if not os.path.exists(NATIVE):
            self.skipTest("build/examples/native/bootstrap is not built")
        with open(NATIVE, "rb") as f:
            self.push(oci.Image(oci.layer({"fn/bootstrap": f.read()}), config={"Entrypoint": ["/fn/bootstrap"]}), "native:1")
        self.create("native", "native:1")
        self.assertEqual(self.call("native"), {"message": "hello"})

    def test_as_the_image_says(self):
        made = self.create("plain", Environment={"Variables": {"BOTH": "function", "OWN": "1"}})
        self.assertEqual((made["PackageType"], made["State"], made["CodeSize"]), ("Image", "Pending", 0))
        self.assertNotIn("Runtime", made)
        got = self.awslambda.get_function(FunctionName="plain")
        self.assertEqual((got["Configuration"]["State"], got["Code"]["RepositoryType"], got["Code"]["ImageUri"]), ("Active", "ECR", self.host + "/py:1"))
        self.assertEqual(got["Code"]["ResolvedImageUri"], self.host + "/py@sha256:" + got["Configuration"]["CodeSha256"])
        said = self.call("plain")
        self.assertEqual((said["seen"], said["argv"], said["cwd"], said["uid"]), (1, ["one", "two"], "/srv", 1000))
        env = said["env"]
        self.assertEqual((env["FROM_IMAGE"], env["BOTH"], env["OWN"], env["AWS_REGION"]), ("image", "function", "1", "us-east-1"))
        self.assertEqual((env["AWS_LAMBDA_FUNCTION_NAME"], env["AWS_LAMBDA_RUNTIME_API"], env["HOME"]), ("plain", "169.254.100.1:9001", "/srv"))
        self.assertIn("to stdout", self.log)
        self.assertIn("to stderr", self.log)
        self.assertEqual(self.call("plain")["seen"], 2)
        self.assertEqual([self.call("plain", do="write")["size"] for _ in range(2)], [1, 2])
        self.assertEqual(json.loads(self.call("plain", do="get", **{"from": "169.254.170.2", "path": "/"})["got"])["AccessKeyId"], env["AWS_ACCESS_KEY_ID"])
        said = self.call("plain", do="look")
        self.assertEqual((said["caps"], said["write"], said["tmp_bytes"]), (["0" * 16] * 5, "Read-only file system", 512 << 20))
        described = json.loads(self.t.cli("describe", "plain", "-o", "json"))
        self.assertEqual(described["snapshot"]["none"], "functions that are container images start plainly")

    def test_image_config(self):
        made = self.create("config", ImageConfig={"Command": ["three"], "WorkingDirectory": "/app/own"})
        self.assertEqual(made["ImageConfigResponse"], {"ImageConfig": {"Command": ["three"], "WorkingDirectory": "/app/own"}})
        said = self.call("config")
        self.assertEqual((said["argv"], said["cwd"]), (["three"], "/app/own"))
        self.awslambda.update_function_configuration(FunctionName="config", ImageConfig={"EntryPoint": ["python3", "/srv/loop.py", "x"]})
        said = self.call("config")
        self.assertEqual((said["argv"], said["cwd"]), (["x"], "/srv"))  # one's own entry point leaves the image's command out
        self.awslambda.update_function_configuration(FunctionName="config", MemorySize=256)
        self.assertEqual(self.call("config")["argv"], ["x"])
        self.awslambda.update_function_configuration(FunctionName="config", ImageConfig={})
        self.assertEqual(self.call("config")["argv"], ["one", "two"])

    def test_another_image(self):
        """A function stays what it was deployed from, until it is told otherwise; versions for ever."""
        def image(n):
            return self.image({"Entrypoint": ["/usr/bin/python3", "/srv/loop.py"], "Cmd": [n]})
        self.push(image("a"), "moves:latest")
        self.create("moves", "moves:latest", Publish=True)
        self.push(image("b"), "moves:latest")
        self.t.cli("images", "gc")
        self.assertEqual(self.call("moves")["argv"], ["a"])
        self.awslambda.update_function_code(FunctionName="moves", ImageUri=self.host + "/moves:latest")
        self.assertEqual(self.call("moves")["argv"], ["b"])
        self.t.cli("images", "gc")
        self.assertEqual(self.call("moves:1")["argv"], ["a"])
        # what a function is made of cannot be removed; after a restart neither
        self.t.restart()
        type(self).host = self.t.api[len("http://"):]
        self.awslambda = self.t.client("lambda", read_timeout=120 * tandem.SLOW)
        self.t.cli("images", "gc")
        self.assertIn("a function is made of", self.rm(self.host + "/moves:latest").stderr)
        self.assertEqual([self.call(n)["argv"] for n in ("moves", "moves:1")], [["b"], ["a"]])
        self.awslambda.delete_function(FunctionName="moves")
        tandem.wait_for(lambda: self.rm(self.host + "/moves:latest").returncode == 0, 60 * tandem.SLOW, "nobody has it any more")

    def up(self, yaml):
        with open(self.dir + "/tandem.yaml", "w", encoding="ascii") as f:
            f.write(yaml)
        with open(self.dir + "/storage.conf", "w", encoding="ascii") as f:  # of buildah, not that of who runs the test
            f.write('[storage]\ndriver = "vfs"\ngraphroot = "%s/graph"\nrunroot = "%s/run"\n' % (self.dir, self.dir))
        return self.t.cli("up", "-f", self.dir + "/tandem.yaml", env={**os.environ, "CONTAINERS_STORAGE_CONF": self.dir + "/storage.conf"})

    def test_from_the_file(self):
        with open(NATIVE, "rb") as f:
            native = f.read()
        name = self.push(oci.Image(oci.layer({"fn/bootstrap": native}), config={"Entrypoint": ["/fn/bootstrap"]}), "file:1")
        yaml = "name: p\nfunctions:\n  one:\n    image: %s\n    route: /one\n    memory: 256\n" % name
        self.assertIn("+ one  create", self.up(yaml))
        self.assertEqual(self.call("one"), {"message": "hello"})
        self.assertIn("nothing to change", self.up(yaml))
        self.push(oci.Image(oci.layer({"fn/bootstrap": native, "fn/more": b""}), config={"Entrypoint": ["/fn/bootstrap"]}), "file:1")
        self.assertIn("one  update: image", self.up(yaml))
        if shutil.which("buildah"):
            os.makedirs(self.dir + "/built", exist_ok=True)
            shutil.copy(NATIVE, self.dir + "/built/bootstrap")
            with open(self.dir + "/built/Dockerfile", "w", encoding="ascii") as f:
                f.write('FROM scratch\nCOPY bootstrap /bootstrap\nENTRYPOINT ["/bootstrap"]\n')
            self.up(yaml + "  two:\n    build: ./built\n")
            self.assertEqual(self.call("two"), {"message": "hello"})
        # from an archive to an image and back
        os.makedirs(self.dir + "/code", exist_ok=True)
        shutil.copy(NATIVE, self.dir + "/code/bootstrap")
        self.assertIn("image -> provided", self.up("name: p\nfunctions:\n  one:\n    code: ./code\n    runtime: provided\n"))
        self.assertEqual(self.call("one"), {"message": "hello"})
        self.assertEqual(self.awslambda.get_function_configuration(FunctionName="one")["PackageType"], "Zip")
        self.up(yaml)
        self.assertEqual(self.awslambda.get_function_configuration(FunctionName="one")["PackageType"], "Image")
        self.t.cli("down", "-f", self.dir + "/tandem.yaml")

    def test_the_registry_from_inside(self):
        """Who asks is whose socket it is, and may what its allow: says."""
        def tags(repository):
            return json.loads(self.call("inside", do="get", **{"from": "169.254.100.2:4566", "path": "/v2/%s/tags/list" % repository})["got"])
        yaml = "name: q\nfunctions:\n  inside:\n    image: %s/py:1\n    timeout: 60s\n" % self.host
        self.up(yaml)
        self.assertEqual(tags("py")["errors"][0]["code"], "DENIED")
        self.up(yaml + "    allow: [{action: 'ecr:BatchGetImage', resource: py}]\n")
        self.assertEqual(tags("py"), {"name": "py", "tags": ["1"]})
        self.assertEqual(tags("native")["errors"][0]["code"], "DENIED")
        self.t.cli("down", "-f", self.dir + "/tandem.yaml")

    def test_refused(self):
        create, update = self.awslambda.create_function, self.awslambda.update_function_code
        base = {"FunctionName": "bad", "Role": tandem.ROLE, "PackageType": "Image"}
        self.refused("it was not pushed to this machine's registry", create, **base, Code={"ImageUri": self.host + "/nothing:1"})
        self.refused("is not valid", create, **base, Code={"ImageUri": "Not An Image"})
        self.refused("Please provide ImageUri", create, **base, Code={"ZipFile": b"x"})
        self.refused("don't provide Handler", create, **base, Code={"ImageUri": self.host + "/py:1"}, Handler="a.b", Runtime="python3.11")
        self.refused("WorkingDirectory", create, **base, Code={"ImageUri": self.host + "/py:1"}, ImageConfig={"WorkingDirectory": "no/slash"})
        zipped = tandem.python_function("def handler(e, c): return 1")
        self.refused("don't provide ImageUri", create, FunctionName="bad", **dict(zipped, Code={"ImageUri": self.host + "/py:1"}))
        self.refused("don't provide ImageConfig", create, FunctionName="bad", **zipped, ImageConfig={"Command": ["x"]})
        self.assertNotIn("bad", [f["FunctionName"] for f in self.awslambda.list_functions()["Functions"]])
        self.create("good")
        self.refused("Please provide ImageUri", update, FunctionName="good", ZipFile=b"x")
        self.refused("it was not pushed", update, FunctionName="good", ImageUri=self.host + "/nothing:1")
        self.assertEqual(self.call("good")["seen"], 1)

    def test_what_goes_wrong(self):
        for name, config, code in (("noentry", {"EntryPoint": ["/no/such"]}, "Runtime.InvalidEntrypoint"), ("nodir", {"WorkingDirectory": "/no/dir"}, None),
                                   ("ends", {"EntryPoint": ["python3", "-c", "pass"]}, "Runtime.ExitError")):
            self.create(name, ImageConfig=config)
            got = self.awslambda.get_function_configuration(FunctionName=name)
            self.assertEqual(got["State"], "Failed", got)
            self.assertIn(code or "the working directory could not be started", got["StateReason"])
        self.create("fails", Environment={"Variables": {"FAIL": "1"}})
        self.assertIn("it was asked to", self.awslambda.get_function_configuration(FunctionName="fails")["StateReason"])
        self.create("works", Timeout=1)
        self.assertIn("Task timed out after 1.00 seconds", self.call("works", error="Unhandled", do="sleep")["errorMessage"])
        self.assertEqual(self.call("works", error="Unhandled", do="exit")["errorType"], "Runtime.ExitError")
        self.awslambda.update_function_configuration(FunctionName="works", Timeout=60 * tandem.SLOW)
        self.assertEqual(self.call("works", error="Unhandled", do="memory")["errorType"], "Runtime.OutOfMemory")
        self.assertEqual(self.call("works")["seen"], 1)

    def test_the_daemon_is_killed(self):
        self.create("stays")
        self.assertEqual(self.call("stays")["seen"], 1)
        tandem.wait_for(self.is_back, 60 * tandem.SLOW, "the instance waits")
        before = tandem.daemon_of(self.t.process.pid)
        os.kill(before, signal.SIGKILL)
        tandem.wait_for(lambda: tandem.daemon_of(self.t.process.pid) not in (None, before), 60 * tandem.SLOW, "another one")
        tandem.wait_for(self.is_back, 60 * tandem.SLOW, "the instance waits again")
        self.assertEqual(self.call("stays")["seen"], 2)

    def is_back(self):
        try:
            return self.t.admin("GET", "/readyz")[0] == 200 and [i for i in self.t.instances("stays") if i["state"] in ("idle", "frozen")]
        except (OSError, AssertionError):
            return False


if __name__ == "__main__":
    unittest.main()
