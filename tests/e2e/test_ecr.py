#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The registry of this machine: images that skopeo pushes and reads back, what others may send to /v2/, and what a kill leaves."""
import base64
import gzip
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import oci  # noqa: E402
import tandem  # noqa: E402

OWN = "000000000000.dkr.ecr.us-east-1.amazonaws.com/"
BUSYBOX = "/bin/busybox"
LOW = oci.layer({"bin/tool": b"low", "etc/old": b"old"})
TOP = oci.layer({"etc/.wh.old": b"", "app/main": b"print(1)\n"})
INDEX = "application/vnd.oci.image.index.v1+json"
NONE = "sha256:" + "0" * 64


class Case(unittest.TestCase):
    arguments = ()

    @classmethod
    def setUpClass(cls):
        if not shutil.which("skopeo"):
            raise unittest.SkipTest("skopeo is not installed")
        cls.t = tandem.Tandem(*cls.arguments)
        cls.t.__enter__()
        cls.addClassCleanup(lambda: cls.t.close())

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="tandem-ecr-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.user = (self.t.env["access_key"], self.t.env["secret_key"])

    @property
    def host(self):
        return self.t.api[len("http://"):]

    def skopeo(self, *arguments, fails=False):
        """What it says."""
        done = subprocess.run(["skopeo", "--insecure-policy", *arguments], capture_output=True, text=True, timeout=120 * tandem.SLOW, check=False)
        self.assertEqual(done.returncode != 0, fails, done.stderr)
        return done.stderr if fails else done.stdout

    def push(self, image, name, *more, **options):
        at = tempfile.mkdtemp(dir=self.dir)
        image.layout(at + "/l")
        return self.skopeo("copy", "--quiet", "--dest-tls-verify=false", "--dest-creds", "%s:%s" % self.user, "--preserve-digests", *more,
                           "oci:" + at + "/l:latest", "docker://%s/%s" % (self.host, name), **options)

    def back(self, image, name):
        """It is read again, byte by byte what was pushed."""
        at = tempfile.mkdtemp(dir=self.dir)
        self.skopeo("copy", "--quiet", "--src-tls-verify=false", "--src-creds", "%s:%s" % self.user, "docker://%s/%s" % (self.host, name), "dir:" + at)
        for file, content in {"manifest.json": image.manifest, **image.blobs}.items():
            with open(at + "/" + file, "rb") as f:
                self.assertEqual(f.read(), content)

    def connect(self):
        host, port = self.host.split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=60 * tandem.SLOW)
        self.addCleanup(connection.close)
        return connection

    def v2(self, method, path, body=None, user=None, **headers):
        """The answer of one call, its body as .text and its error's code as .code."""
        connection = self.connect()
        plain = ":".join(user or self.user).encode()
        connection.request(method, "/v2/" + path, body, {"Authorization": "Basic " + base64.b64encode(plain).decode(),
                                                         **{k.replace("_", "-"): v for k, v in headers.items()}})
        answer = connection.getresponse()
        answer.text = answer.read()
        answer.code = json.loads(answer.text)["errors"][0]["code"] if answer.status >= 400 and answer.text else None
        return answer

    def is_error(self, answer, status, code):
        self.assertEqual((answer.status, answer.code), (status, code), answer.text)

    def send(self, repository, data):
        answer = self.v2("POST", repository + "/blobs/uploads/?digest=sha256:" + oci.sha(data), data)
        self.assertEqual(answer.status, 201, answer.text)
        self.assertEqual(answer.headers["Location"], "/v2/%s/blobs/sha256:%s" % (repository, oci.sha(data)))

    def send_image(self, image, repository, reference):
        for data in image.blobs.values():
            self.send(repository, data)
        return self.v2("PUT", "%s/manifests/%s" % (repository, reference), image.manifest, Content_Type=oci.MANIFEST)

    def begin(self, repository):
        """The path of a new upload."""
        answer = self.v2("POST", repository + "/blobs/uploads/")
        self.assertEqual(answer.status, 202, answer.text)
        return answer.headers["Location"][len("/v2/"):]

    def blobs(self):
        return set(os.listdir(os.path.join(self.t.state, "daemon/blobs")))

    def images(self):
        return {i["reference"]: i for i in json.loads(self.t.cli("images", "-o", "json"))["images"]}


class Clients(Case):
    def test_push_and_back(self):
        image = oci.Image(LOW, TOP, oci.layer({"big": os.urandom(3 << 20)}))
        self.push(image, "team/app:v1")
        self.assertEqual(self.images()[OWN + "team/app:v1"]["digest"], "sha256:" + image.digest)
        self.back(image, "team/app:v1")
        self.back(image, "team/app@sha256:" + image.digest)
        self.assertEqual(json.loads(self.skopeo("list-tags", "--tls-verify=false", "--creds", "%s:%s" % self.user, "docker://%s/team/app" % self.host))["Tags"], ["v1"])
        # known by its short name and by the address; unpacked anew from its own blobs
        self.t.cli("images", "rm", "team/app:v1")
        self.assertNotIn(OWN + "team/app:v1", self.images())
        self.assertIn(OWN + "team/app:v1", self.t.cli("pull", self.host + "/team/app:v1"))
        self.assertIn("sha256:" + image.digest, self.t.cli("pull", OWN + "team/app@sha256:" + image.digest))
        # a tag that moves; and what is unpacked is not pulled twice
        second = oci.Image(LOW, oci.layer({"app/main": b"print(2)\n"}))
        self.push(second, "team/app:v1")
        self.assertEqual(self.images()[OWN + "team/app:v1"]["digest"], "sha256:" + second.digest)
        self.back(second, "team/app:v1")
        self.back(image, "team/app@sha256:" + image.digest)

    def test_forms(self):
        """Docker's own format, and an archive."""
        image = oci.Image(LOW, TOP)
        self.push(image, "forms:oci")
        at = "docker-archive:" + self.dir + "/a.tar"
        self.skopeo("copy", "--quiet", "--src-tls-verify=false", "--src-creds", "%s:%s" % self.user, "docker://%s/forms:oci" % self.host, at + ":x/y:1")
        self.skopeo("copy", "--quiet", "--dest-tls-verify=false", "--dest-creds", "%s:%s" % self.user, at, "docker://%s/forms:docker" % self.host)
        known = self.images()
        self.assertEqual(known[OWN + "forms:docker"]["layers"], known[OWN + "forms:oci"]["layers"])
        answer = self.v2("HEAD", "forms/manifests/docker")
        self.assertEqual(answer.headers["Content-Type"], "application/vnd.docker.distribution.manifest.v2+json")
        self.assertEqual(answer.text, b"")
        self.assertGreater(int(answer.headers["Content-Length"]), 100)

    @unittest.skipUnless(shutil.which("buildah"), "buildah is not installed")
    def test_buildah(self):
        with open(self.dir + "/storage.conf", "w", encoding="ascii") as f:
            f.write('[storage]\ndriver = "vfs"\ngraphroot = "%s/graph"\nrunroot = "%s/run"\n' % (self.dir, self.dir))
        with open(self.dir + "/Dockerfile", "w", encoding="ascii") as f:
            f.write("FROM scratch\nCOPY Dockerfile /srv/file\n")
        for command in (["build", "--isolation", "chroot", "-q", "-t", "made", self.dir],
                        ["push", "-q", "--tls-verify=false", "--creds", "%s:%s" % self.user, "made", "docker://%s/made:1" % self.host]):
            done = subprocess.run(["buildah", *command], env={**os.environ, "CONTAINERS_STORAGE_CONF": self.dir + "/storage.conf"},
                                  capture_output=True, text=True, timeout=120 * tandem.SLOW, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(OWN + "made:1", self.images())

    @unittest.skipUnless(os.path.exists(BUSYBOX), "busybox-static is not installed")
    def test_what_was_pushed_runs(self):
        with open(BUSYBOX, "rb") as f:
            self.push(oci.Image(oci.layer({"bin/busybox": f.read()}), config={"Entrypoint": ["/bin/busybox", "echo"]}), "tools/box:1")
        for name in ("tools/box:1", self.host + "/tools/box:1", OWN + "tools/box:1"):
            self.assertEqual(self.t.cli("run", name, "hello"), "hello\n")
        # ECS finds it as well, also when what was unpacked is gone
        self.t.cli("images", "rm", "tools/box:1")
        ecs = self.t.client("ecs")
        ecs.register_task_definition(family="box", containerDefinitions=[{"name": "a", "image": OWN + "tools/box:1", "memory": 64}])
        arn = ecs.run_task(taskDefinition="box")["tasks"][0]["taskArn"]
        ecs.get_waiter("tasks_stopped").wait(tasks=[arn], WaiterConfig={"Delay": 1, "MaxAttempts": 100 * tandem.SLOW})
        self.assertEqual(ecs.describe_tasks(tasks=[arn])["tasks"][0]["containers"][0]["exitCode"], 0)

    def test_backup(self):
        image = oci.Image(LOW, oci.layer({"saved": os.urandom(1000)}))
        self.push(image, "saved:1")
        self.t.cli("backup", self.dir + "/copy")
        state = self.dir + "/state"
        subprocess.run([tandem.PROGRAM, "--state", state, "restore", self.dir + "/copy"], check=True, capture_output=True)
        with tandem.Tandem(state=state) as other:
            here, self.t = self.t, other
            try:
                self.user = (other.env["access_key"], other.env["secret_key"])
                self.back(image, "saved:1")
                self.assertIn("2 layers", other.cli("pull", OWN + "saved:1"))
            finally:
                self.t = here

    def test_same_blob_at_once(self):
        """Everybody sends the same layer to a repository of his own."""
        layer = oci.layer({"x": os.urandom(4 << 20)})
        images = [oci.Image(layer, oci.layer({"n": b"%d" % i})) for i in range(4)]
        failed = []

        def one(i):
            try:
                self.push(images[i], "many/of-%d:1" % i)
            except AssertionError as e:
                failed.append(e)
        threads = [threading.Thread(target=one, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failed, [])
        for i in range(4):
            self.back(images[i], "many/of-%d:1" % i)

    def test_who(self):
        image = oci.Image(LOW)
        right = self.user
        self.push(image, "who:1")
        for self.user in (right[0], "wrong"), ("AWS", right[1]), ("AWS", "%s.99999999999.%s" % (right[0], "0" * 64)), ("", ""), ("x", "y"):
            if self.user[0]:
                self.assertIn("authentication required", self.push(image, "who:2", fails=True))
            answer = self.v2("GET", "")
            self.is_error(answer, 401, "UNAUTHORIZED")
            self.assertEqual(answer.headers["WWW-Authenticate"], 'Basic realm="Tandem"')
            self.is_error(self.v2("POST", "who/blobs/uploads/"), 401, "UNAUTHORIZED")
        self.user = right
        self.assertEqual(self.v2("GET", "").status, 200)

    def test_a_kill_forgets_nothing_that_was_accepted(self):
        image = oci.Image(LOW, oci.layer({"kept": os.urandom(100000)}))
        self.push(image, "kept:1")
        before = self.blobs()
        # one in the middle of an upload, of which more is there than is held in memory
        path = self.begin("kept")
        begun = self.connect()
        begun.putrequest("PATCH", "/v2/" + path)
        begun.putheader("Authorization", "Basic " + base64.b64encode(":".join(self.user).encode()).decode())
        begun.putheader("Content-Length", str(16 << 20))
        begun.endheaders()
        begun.send(os.urandom(4 << 20))
        self.assertEqual(self.v2("GET", path).status, 204)
        os.kill(tandem.daemon_of(self.t.process.pid), signal.SIGKILL)
        tandem.wait_for(self.is_up, 60 * tandem.SLOW, "tandemd is back")
        self.is_error(self.v2("PUT", path + "?digest=" + NONE, b""), 404, "BLOB_UPLOAD_UNKNOWN")
        self.assertEqual(self.blobs(), before)
        self.back(image, "kept:1")
        self.assertIn(OWN + "kept:1", self.images())

    def is_up(self):
        try:
            return self.v2("GET", "").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def test_what_nobody_names_goes(self):
        shared, alone = oci.layer({"shared": os.urandom(1000)}), oci.layer({"alone": os.urandom(1000)})
        first, second = oci.Image(shared, alone), oci.Image(shared, oci.layer({"other": os.urandom(1000)}))
        self.push(first, "gone:1")
        self.push(second, "gone:2")
        self.assertEqual(self.v2("DELETE", "gone/manifests/sha256:" + first.digest).status, 202)
        self.is_error(self.v2("GET", "gone/manifests/1"), 404, "MANIFEST_UNKNOWN")
        self.assertNotIn(OWN + "gone:1", self.images())
        packed = gzip.compress(alone, mtime=0)
        self.t.clock(step_us=7200000000)  # over the hour in which a push may use it
        tandem.wait_for(lambda: oci.sha(packed) not in self.blobs(), 120 * tandem.SLOW, lambda: self.t.cli("images", "gc") and self.blobs())
        self.is_error(self.v2("GET", "gone/blobs/sha256:" + oci.sha(packed)), 404, "BLOB_UNKNOWN")
        self.back(second, "gone:2")
        # a tag alone goes, what it led to stays until the sweep that is asked for
        self.assertEqual(self.v2("DELETE", "gone/manifests/2").status, 202)
        self.back(second, "gone@sha256:" + second.digest)
        self.t.restart()  # the clock is right again


class Protocol(Case):
    def test_pieces(self):
        data = os.urandom(3 << 20)
        path, at = self.begin("pieces"), 0
        for n in (1, 0, 1 << 20, len(data) - (1 << 20) - 1):
            answer = self.v2("PATCH", path, data[at:at + n], Content_Range="%d-%d" % (at, at + n - 1) if n else "%d-%d" % (at, at))
            self.assertEqual(answer.status, 202, answer.text)
            at += n
            self.assertEqual(answer.headers["Range"], "0-%d" % (at - 1))
        self.assertEqual(self.v2("PATCH", path, b"again", Content_Range="0-4").status, 416)
        self.assertEqual(self.v2("GET", path).headers["Range"], "0-%d" % (at - 1))
        self.assertEqual(self.v2("PUT", path + "?digest=sha256:" + oci.sha(data), b"").status, 201)
        self.is_error(self.v2("GET", path), 404, "BLOB_UPLOAD_UNKNOWN")
        blob = "pieces/blobs/sha256:" + oci.sha(data)
        self.assertEqual(self.v2("GET", blob).text, data)
        self.assertEqual(int(self.v2("HEAD", blob).headers["Content-Length"]), len(data))
        for value, part, where in (("bytes=5-9", data[5:10], "5-9"), ("bytes=3145720-", data[3145720:], "3145720-3145727"),
                                   ("bytes=-7", data[-7:], "3145721-3145727"), ("bytes=1-99999999", data[1:], "1-3145727")):
            answer = self.v2("GET", blob, Range=value)
            self.assertEqual((answer.status, answer.text == part, answer.headers["Content-Range"]), (206, True, "bytes %s/3145728" % where))
        for value in ("bytes=3145728-", "bytes=5-3", "bytes=-0", "bytes=a-b", "lines=1-2"):
            self.assertEqual(self.v2("GET", blob, Range=value).status, 416, value)
        # chunked, with the digest at once and at the end
        path = self.begin("pieces")
        self.assertEqual(self.v2("PUT", path + "?digest=sha256:" + oci.sha(b"ab"), iter([b"a", b"b"])).status, 201)
        self.assertEqual(self.v2("GET", "pieces/blobs/sha256:" + oci.sha(b"ab")).text, b"ab")
        path = self.begin("pieces")
        self.assertEqual(self.v2("DELETE", path).status, 204)
        self.is_error(self.v2("PATCH", path, b"x"), 404, "BLOB_UPLOAD_UNKNOWN")

    def test_other_repositories_see_nothing(self):
        self.send("one", b"secret")
        blob = "/blobs/sha256:" + oci.sha(b"secret")
        self.assertEqual(self.v2("HEAD", "one" + blob).status, 200)
        self.assertEqual(self.v2("HEAD", "two" + blob).status, 404)
        answer = self.v2("POST", "two/blobs/uploads/?mount=sha256:%s&from=three" % oci.sha(b"secret"))
        self.assertEqual(answer.status, 202)
        answer = self.v2("POST", "two/blobs/uploads/?mount=sha256:%s&from=one" % oci.sha(b"secret"))
        self.assertEqual(answer.status, 201)
        self.assertEqual(self.v2("GET", "two" + blob).text, b"secret")

    def test_tags_and_indexes(self):
        here, other = oci.Image(LOW), oci.Image(LOW, arch="s390x")
        for image in here, other:
            self.assertEqual(self.send_image(image, "tags", "sha256:" + image.digest).status, 201)
        for tag in ("b", "a", "c"):
            self.assertEqual(self.v2("PUT", "tags/manifests/" + tag, other.manifest).status, 201)
        self.assertNotIn(OWN + "tags:a", self.images())  # for another machine: kept, not unpacked
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            {"mediaType": oci.MANIFEST, "digest": "sha256:" + i.digest, "size": len(i.manifest), "platform": {"os": "linux", "architecture": a}}
            for i, a in ((other, "s390x"), (here, oci.ARCH))]}).encode()
        answer = self.v2("PUT", "tags/manifests/both", index, Content_Type=INDEX)
        self.assertEqual(answer.status, 201, answer.text)
        self.assertEqual(self.images()[OWN + "tags:both"]["digest"], "sha256:" + here.digest)
        answer = self.v2("GET", "tags/manifests/both")
        self.assertEqual((answer.text, answer.headers["Content-Type"], answer.headers["Docker-Content-Digest"]),
                         (index, INDEX, "sha256:" + oci.sha(index)))
        self.assertEqual(json.loads(self.v2("GET", "tags/tags/list").text), {"name": "tags", "tags": ["a", "b", "both", "c"]})
        answer = self.v2("GET", "tags/tags/list?n=2")
        self.assertEqual(json.loads(answer.text)["tags"], ["a", "b"])
        self.assertEqual(answer.headers["Link"], '</v2/tags/tags/list?n=2&last=b>; rel="next"')
        self.assertEqual(json.loads(self.v2("GET", "tags/tags/list?n=9&last=b").text)["tags"], ["both", "c"])
        self.is_error(self.v2("GET", "nothing/tags/list"), 404, "NAME_UNKNOWN")
        self.assertEqual(json.loads(self.v2("GET", "tags/referrers/" + NONE).text)["manifests"], [])
        # what is no image of a container is kept as it is
        chart = json.dumps({"schemaVersion": 2, "config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": "sha256:" + oci.sha(b"{}"),
                                                           "size": 2}, "layers": []}).encode()
        self.send("chart", b"{}")
        self.assertEqual(self.v2("PUT", "chart/manifests/1", chart, Content_Type=oci.MANIFEST).status, 201)
        self.assertEqual(self.v2("GET", "chart/manifests/1").text, chart)
        done = subprocess.run([tandem.PROGRAM, "--state", self.t.state, "pull", OWN + "chart:1"], capture_output=True, text=True, check=False)
        self.assertIn("it is no image of a container for linux/", done.stderr)


class Hostile(Case):
    def test_digests(self):
        before = self.blobs()
        for wrong in (NONE, "sha256:" + oci.sha(b"other")):
            self.is_error(self.v2("PUT", self.begin("wrong") + "?digest=" + wrong, b"data"), 400, "DIGEST_INVALID")
        for odd in ("sha256:../../../etc/passwd", "sha256:" + "A" * 64, "sha512:" + "0" * 128, "x", "", "sha256:" + "0" * 63, "sha256:" + "0" * 63 + "%00"):
            self.is_error(self.v2("PUT", self.begin("wrong") + "?digest=" + odd, b"data"), 400, "DIGEST_INVALID")
            self.is_error(self.v2("POST", "wrong/blobs/uploads/?mount=%s&from=wrong" % odd), 400, "DIGEST_INVALID")
            self.assertIn(self.v2("GET", "wrong/blobs/" + odd).status, (404, 405))
        self.assertEqual(self.blobs(), before)

    def test_names(self):
        for name in ("..", "../x", "a/../b", "UPPER", "a//b", "a%2f..%2fb", "%00", "a%00b", "a:b", "a@b", "-a", "x" * 300, "a%", "_catalog", "a/"):
            for path in ("/manifests/latest", "/blobs/" + NONE, "/tags/list", "/manifests/" + NONE):
                with self.subTest(name + path):
                    self.is_error(self.v2("GET", name + path), 404, "NAME_INVALID")
            self.assertEqual(self.v2("POST", name + "/blobs/uploads/").status, 404, name)
            self.assertEqual(self.v2("PUT", name + "/manifests/latest", b"{}").status, 404, name)
        for reference in ("-x", ".", "a b", "x" * 129, "sha256:xyz", "..", "a%2f..", "%00"):
            self.is_error(self.v2("GET", "names/manifests/" + reference.replace(" ", "%20")), 404, "NAME_INVALID")
        for method, path in (("POST", "names/manifests/x"), ("DELETE", "names/blobs/" + NONE), ("PUT", "names/tags/list"), ("PATCH", "")):
            self.is_error(self.v2(method, path, b""), 405, "UNSUPPORTED")

    def test_manifests(self):
        image = oci.Image(LOW)
        self.is_error(self.v2("PUT", "bad/manifests/1", image.manifest), 404, "MANIFEST_BLOB_UNKNOWN")
        self.assertEqual(self.send_image(image, "bad", "1").status, 201)
        part = {"mediaType": "x", "digest": "sha256:" + next(iter(image.blobs)), "size": 1}
        for body in (b"", b"{", b"[]", b"null", b'{"schemaVersion":1}', b'{"schemaVersion":2,"mediaType":"a b"}', b'{"schemaVersion":2}',
                     json.dumps({"schemaVersion": 2, "mediaType": oci.MANIFEST, "layers": [{"digest": "sha256:../x", "size": 1}]}).encode(),
                     json.dumps({"schemaVersion": 2, "mediaType": oci.MANIFEST, "layers": [dict(part, size=-1)]}).encode(),
                     json.dumps({"schemaVersion": 2, "mediaType": oci.MANIFEST, "layers": [dict(part, size=1 << 62)]}).encode(),
                     json.dumps({"schemaVersion": 2, "mediaType": oci.MANIFEST, "layers": ["x", 1, None]}).encode()):
            self.is_error(self.v2("PUT", "bad/manifests/2", body), 400, "MANIFEST_INVALID")
        self.is_error(self.v2("PUT", "bad/manifests/2", image.manifest, Content_Type="text/x"), 400, "MANIFEST_INVALID")
        self.is_error(self.v2("PUT", "bad/manifests/" + NONE, image.manifest), 400, "DIGEST_INVALID")
        self.is_error(self.v2("PUT", "bad/manifests/2", b" " * (4 << 20) + b"{}"), 413, "SIZE_INVALID")
        parts = {"schemaVersion": 2, "mediaType": oci.MANIFEST, "layers": [part] * 1001}
        self.is_error(self.v2("PUT", "bad/manifests/2", json.dumps(parts).encode()), 413, "SIZE_INVALID")
        self.assertEqual(json.loads(self.v2("GET", "bad/tags/list").text)["tags"], ["1"])

    def test_an_image_that_cannot_be_unpacked(self):
        """It is refused when it is pushed, and leaves neither tag nor layers."""
        layers = set(os.listdir(self.t.state + "/daemon/layers"))
        for image, says in ((oci.Image(LOW, diff_ids=["1" * 64]), "digest"), (oci.Image(LOW, packed=[b"no archive at all"]), "layer 1 of 1"),
                            (oci.Image(oci.layer({"../../out": b"x"})), "layer 1 of 1")):
            answer = self.send_image(image, "spoilt", "1")
            self.assertGreaterEqual(answer.status, 400)
            self.assertIn(says, json.loads(answer.text)["errors"][0]["message"])
        self.assertEqual(json.loads(self.v2("GET", "spoilt/tags/list").text)["tags"], [])
        self.t.cli("images", "gc")
        self.assertEqual(set(os.listdir(self.t.state + "/daemon/layers")), layers)

    def test_cut_off(self):
        """A sender that leaves in the middle, and two that send to the same upload."""
        before = self.blobs()
        path = self.begin("cut")
        cut = self.connect()
        cut.putrequest("PATCH", "/v2/" + path)
        cut.putheader("Authorization", "Basic " + base64.b64encode(":".join(self.user).encode()).decode())
        cut.putheader("Content-Length", str(8 << 20))
        cut.endheaders()
        cut.send(b"x" * (2 << 20))
        tandem.wait_for(lambda: self.v2("PUT", path + "?digest=" + NONE, b"y").status == 409, 60 * tandem.SLOW, "the first one has begun")
        self.assertEqual(self.v2("DELETE", path).status, 409)
        cut.close()
        tandem.wait_for(lambda: self.v2("GET", path).status == 404, 60 * tandem.SLOW, "it is given up")
        self.assertEqual(self.blobs(), before)

    def test_not_too_many_at_once(self):
        paths = []
        while (answer := self.v2("POST", "many/blobs/uploads/")).status == 202:
            paths.append(answer.headers["Location"][len("/v2/"):])
        self.is_error(answer, 503, "TOOMANYREQUESTS")
        self.assertLessEqual(len(paths), 64)
        for path in paths:
            self.assertEqual(self.v2("DELETE", path).status, 204)


class Ecr(Case):
    def setUp(self):
        super().setUp()
        self.ecr = self.t.client("ecr")

    def refused(self, code, call, **arguments):
        from botocore.exceptions import ClientError  # pylint: disable=import-outside-toplevel
        with self.assertRaises(ClientError) as caught:
            call(**arguments)
        self.assertEqual(caught.exception.response["Error"]["Code"], code, caught.exception)
        self.assertEqual(caught.exception.response["ResponseMetadata"]["HTTPStatusCode"], 400)

    def test_repositories(self):
        made = self.t.aws("ecr", "create-repository", "--repository-name", "shop/web", "--tags", "Key=team,Value=a", "--image-tag-mutability", "IMMUTABLE",
                          "--image-scanning-configuration", "scanOnPush=true")["repository"]
        self.assertEqual(made["repositoryArn"], "arn:aws:ecr:us-east-1:000000000000:repository/shop/web")
        self.assertEqual(made["repositoryUri"], self.host + "/shop/web")
        self.assertEqual((made["registryId"], made["imageTagMutability"], made["imageScanningConfiguration"]), ("000000000000", "IMMUTABLE", {"scanOnPush": True}))
        self.t.restart()
        self.ecr = self.t.client("ecr")
        known = self.ecr.describe_repositories(repositoryNames=["shop/web"])["repositories"][0]
        self.assertAlmostEqual(known["createdAt"].timestamp(), time.time(), delta=3600)
        self.assertIn("shop/web", [r["repositoryName"] for r in self.ecr.describe_repositories()["repositories"]])
        self.refused("RepositoryAlreadyExistsException", self.ecr.create_repository, repositoryName="shop/web")
        self.refused("RepositoryNotFoundException", self.ecr.describe_repositories, repositoryNames=["nothing"])
        self.refused("InvalidParameterException", self.ecr.create_repository, repositoryName="UPPER")
        arn = made["repositoryArn"]
        self.ecr.tag_resource(resourceArn=arn, tags=[{"Key": "team", "Value": "b"}, {"Key": "x", "Value": "y"}])
        self.ecr.untag_resource(resourceArn=arn, tagKeys=["x"])
        self.assertEqual(self.ecr.list_tags_for_resource(resourceArn=arn)["tags"], [{"Key": "team", "Value": "b"}])
        self.refused("RepositoryNotFoundException", self.ecr.list_tags_for_resource, resourceArn=arn + "x")
        # policies are kept and given back
        self.refused("RepositoryPolicyNotFoundException", self.ecr.get_repository_policy, repositoryName="shop/web")
        self.refused("LifecyclePolicyNotFoundException", self.ecr.get_lifecycle_policy, repositoryName="shop/web")
        rules = json.dumps({"rules": [{"rulePriority": 1, "selection": {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 1},
                                       "action": {"type": "expire"}}]})
        self.ecr.put_lifecycle_policy(repositoryName="shop/web", lifecyclePolicyText=rules)
        self.ecr.set_repository_policy(repositoryName="shop/web", policyText='{"Version":"2008-10-17"}')
        self.assertEqual(self.ecr.get_lifecycle_policy(repositoryName="shop/web")["lifecyclePolicyText"], rules)
        self.ecr.delete_lifecycle_policy(repositoryName="shop/web")
        self.refused("LifecyclePolicyNotFoundException", self.ecr.get_lifecycle_policy, repositoryName="shop/web")
        self.assertEqual(self.ecr.get_repository_policy(repositoryName="shop/web")["policyText"], '{"Version":"2008-10-17"}')
        # immutable until it is said otherwise
        first, second = oci.Image(LOW), oci.Image(TOP)
        self.push(first, "shop/web:1")
        self.assertIn("immutable", self.push(second, "shop/web:1", fails=True))
        self.ecr.put_image_tag_mutability(repositoryName="shop/web", imageTagMutability="MUTABLE")
        self.push(second, "shop/web:1")
        self.refused("RepositoryNotEmptyException", self.ecr.delete_repository, repositoryName="shop/web")
        self.ecr.delete_repository(repositoryName="shop/web", force=True)
        self.assertNotIn(OWN + "shop/web:1", self.images())
        self.is_error(self.v2("GET", "shop/web/manifests/1"), 404, "MANIFEST_UNKNOWN")

    def test_images(self):
        image, other = oci.Image(LOW, TOP), oci.Image(LOW)
        self.push(image, "pics:a")
        self.push(image, "pics:b")
        self.push(other, "pics:c")
        self.push(oci.Image(TOP), "pics:c")  # now other has no tag
        listed = self.ecr.list_images(repositoryName="pics")["imageIds"]
        self.assertEqual(sorted(i.get("imageTag", "") for i in listed), ["", "a", "b", "c"])
        self.assertEqual([i["imageDigest"] for i in self.ecr.list_images(repositoryName="pics", filter={"tagStatus": "UNTAGGED"})["imageIds"]], ["sha256:" + other.digest])
        self.assertEqual(len(self.ecr.list_images(repositoryName="pics", filter={"tagStatus": "TAGGED"})["imageIds"]), 3)
        detail = self.ecr.describe_images(repositoryName="pics", imageIds=[{"imageTag": "b"}])["imageDetails"][0]
        self.assertEqual((detail["imageDigest"], detail["imageTags"]), ("sha256:" + image.digest, ["a", "b"]))
        self.assertEqual(detail["imageSizeInBytes"], sum(map(len, image.blobs.values())))
        self.assertEqual(detail["imageManifestMediaType"], oci.MANIFEST)
        self.assertEqual(len(self.ecr.describe_images(repositoryName="pics")["imageDetails"]), 3)
        self.refused("ImageNotFoundException", self.ecr.describe_images, repositoryName="pics", imageIds=[{"imageTag": "z"}])
        got = self.ecr.batch_get_image(repositoryName="pics", imageIds=[{"imageTag": "a"}, {"imageTag": "z"}])
        self.assertEqual(got["images"][0]["imageManifest"].encode(), image.manifest)
        self.assertEqual([f["failureCode"] for f in got["failures"]], ["ImageNotFound"])
        # AWS's way to give another tag
        self.ecr.put_image(repositoryName="pics", imageTag="d", imageManifest=got["images"][0]["imageManifest"])
        self.back(image, "pics:d")
        self.refused("LayersNotFoundException", self.ecr.put_image, repositoryName="pics", imageTag="e", imageManifest=oci.Image(LOW, LOW, TOP).manifest.decode())
        gone = self.t.aws("ecr", "batch-delete-image", "--repository-name", "pics", "--image-ids", "imageTag=a", "imageDigest=" + NONE,
                          "imageDigest=sha256:" + other.digest)
        self.assertEqual([i["imageDigest"] for i in gone["imageIds"]], ["sha256:" + image.digest, "sha256:" + other.digest])
        self.assertEqual(len(gone["failures"]), 1)
        self.assertEqual(sorted(i.get("imageTag", "") for i in self.ecr.list_images(repositoryName="pics")["imageIds"]), ["b", "c", "d"])

    def test_login(self):
        given = self.ecr.get_authorization_token()["authorizationData"][0]
        self.assertEqual(given["proxyEndpoint"], self.t.api)
        self.assertGreater(given["expiresAt"].timestamp(), time.time() + 11 * 3600)
        self.user = tuple(base64.b64decode(given["authorizationToken"]).decode().split(":"))
        self.assertEqual(self.user[0], "AWS")
        image = oci.Image(LOW)
        self.push(image, "login:1")
        done = subprocess.run(["aws", "--endpoint-url", self.t.api, "ecr", "get-login-password"], env=self.t.environment(), capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        password = done.stdout.strip()
        done = subprocess.run(["skopeo", "login", "--tls-verify=false", "--authfile", self.dir + "/auth", "-u", "AWS", "--password-stdin", self.host],
                              input=password, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.skopeo("copy", "--quiet", "--src-tls-verify=false", "--authfile", self.dir + "/auth", "docker://%s/login:1" % self.host, "dir:" + self.dir + "/d")
        self.t.restart()  # it goes on to be good
        self.back(image, "login:1")
        self.t.clock(step_us=43300000000)
        self.is_error(self.v2("GET", ""), 401, "UNAUTHORIZED")
        self.t.restart()  # the clock is right again

    def test_javascript(self):
        said = self.t.node(self, """
            const AWS = require('aws-sdk');
            const ecr = new AWS.ECR({endpoint: process.env.ENDPOINT});
            (async () => {
                await ecr.createRepository({repositoryName: 'js/one'}).promise();
                const all = await ecr.describeRepositories().promise();
                const code = await ecr.describeImages({repositoryName: 'js/two'}).promise().catch(e => e.code);
                console.log(JSON.stringify({names: all.repositories.map(r => r.repositoryName), code}));
            })();
        """)
        self.assertIn("js/one", said["names"])
        self.assertEqual(said["code"], "RepositoryNotFoundException")


class WithoutSignatures(Case):
    arguments = ("--auth", "none")

    def test_anybody_here(self):
        image = oci.Image(LOW)
        self.user = ("nobody", "nothing")
        self.push(image, "free:1")
        self.back(image, "free:1")
        answer = self.v2("GET", "", Origin="http://example.com")
        self.is_error(answer, 403, "DENIED")


if __name__ == "__main__":
    unittest.main()
