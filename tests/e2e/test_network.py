# SPDX-License-Identifier: Apache-2.0
"""What a function sees of a network: AWS's own names lead to the platform over TLS, everything else is refused at once."""
import json
import os
import shutil
import subprocess
import tempfile
import unittest
import urllib.request

import tandem

NPM = os.path.join(tandem.BUILD, "npm", "node_modules")

PYTHON = """
import json, os, resource, socket, ssl, subprocess, time

def aws(event):
    os.environ.pop("AWS_ENDPOINT_URL", None)  # newer SDKs would follow it; code written for AWS sets nothing
    import boto3
    from botocore.config import Config
    from botocore.exceptions import ClientError
    client = boto3.client(event["service"], region_name=event.get("region"), config=Config(retries={"max_attempts": 0}))
    try:
        answer = getattr(client, event["call"])(**event["arguments"])
    except ClientError as e:
        return {"error": e.response["Error"]["Code"], "url": client.meta.endpoint_url}
    if "Payload" in answer:
        answer["Payload"] = json.load(answer["Payload"])
    answer.pop("ResponseMetadata")
    return dict(answer, url=client.meta.endpoint_url)

def names(event):
    out = {}
    for name in event["names"]:
        begin = time.perf_counter()
        try:
            found = sorted({a[4][0] for a in socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM)})
        except socket.gaierror as e:
            found = [e.errno, e.strerror]
        out[name] = [found, time.perf_counter() - begin]
    return out

def ways(event):
    out = {}
    for address in event["addresses"]:
        begin = time.perf_counter()
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        try:
            with socket.socket(family) as s:
                s.settimeout(5)
                s.connect(tuple(address))
                out[address[0]] = [0, time.perf_counter() - begin]
        except OSError as e:
            out[address[0]] = [e.errno, time.perf_counter() - begin]
    return out

def tls(event):
    context = ssl.create_default_context()
    if not event["verify"]:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(("169.254.100.2", 443), 5) as s, context.wrap_socket(s, server_hostname=event["name"]) as t:
            return [t.version(), sorted(v for k, v in (t.getpeercert() or {}).get("subjectAltName", ()))]
    except ssl.SSLError as e:
        return ["refused", str(e)]

def programs(event):
    done = subprocess.run(["openssl", "s_client", "-connect", "169.254.100.2:443", "-servername", event["name"], "-verify_return_error",
                           "-verify_hostname", event["name"], *event["more"]], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return [done.returncode, done.stdout + done.stderr]

def big(event):
    '''A body of many TLS records each way, on a connection that is used again.'''
    os.environ.pop("AWS_ENDPOINT_URL", None)
    import boto3
    client = boto3.client("lambda")
    text = "x" * event["n"]
    return [json.load(client.invoke(FunctionName="echo", Payload=json.dumps(text))["Payload"]) == text for _ in range(3)]

held = []

def hold(event):
    '''Connections that say a little and then nothing. How many were taken before the first that was not, within a second.'''
    for k in range(event["n"]):
        s = socket.socket()
        s.settimeout(1)
        held.append(s)
        s.connect((event["to"], event["port"]))
        s.send(bytes.fromhex(event["say"]))
    return len(held)

def drop(event):
    while held:
        held.pop().close()

def bodies(event):
    '''Requests that are never whole: what the platform keeps of them is bounded. The statuses of those that were answered.'''
    said = []
    for k in range(event["n"]):
        s = socket.create_connection(("169.254.100.2", 4566), 5)
        s.settimeout(5)
        held.append(s)
        try:
            s.sendall(b"POST /2015-03-31/functions/echo/invocations HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 6000000\\r\\n\\r\\n")
            s.sendall(b"x" * 5999999)
        except OSError:
            pass
        s.setblocking(False)
    import select
    while select.select(held, [], [], 0.5)[0] and len(said) < event["n"]:
        for s in select.select(held, [], [], 0)[0]:
            try:
                said.append(s.recv(65536)[:12].decode())
            except OSError as e:
                said.append(str(e.errno))
            held.remove(s)
            s.close()
    return said

def dns_garbage(event):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(("169.254.100.2", 53))
    s.setblocking(False)
    for k in range(event["n"]):
        try:
            s.send(os.urandom(1 + k % 600))
        except BlockingIOError:
            pass
    return names({"names": ["sts.amazonaws.com"]})["sts.amazonaws.com"]

def handler(event, context):
    return globals()[event["do"]](event)

def twice(event, context):
    return event["n"] * 2

def echo(event, context):
    return event
"""
# The way people write it for AWS: no endpoint, no region, no keys.
NODE = """
exports.handler = async (event) => {
    delete process.env.AWS_ENDPOINT_URL;
    try {
        if (event.sdk === 2) {
            const AWS = require('aws-sdk');
            const r = await new AWS.Lambda().invoke({FunctionName: event.name, Payload: JSON.stringify({n: 21}), InvocationType: 'RequestResponse'}).promise();
            return {payload: JSON.parse(r.Payload), arn: (await new AWS.STS().getCallerIdentity().promise()).Arn};
        }
        const {LambdaClient, InvokeCommand} = require('@aws-sdk/client-lambda');
        const r = await new LambdaClient().send(new InvokeCommand({FunctionName: event.name, Payload: JSON.stringify({n: 21})}));
        return {payload: JSON.parse(Buffer.from(r.Payload).toString())};
    } catch (e) {
        return {error: e.code || e.name, status: e.statusCode || (e.$metadata || {}).httpStatusCode, message: e.message};
    }
};
"""
FUNCTION = "  {name}:\n    code: {code}\n    runtime: {runtime}\n    handler: app.{handler}\n    timeout: 30s\n    memory: {memory}\n"
ALLOW = '    allow:\n      - {action: "lambda:InvokeFunction", resource: "twice"}\n      - {action: "lambda:InvokeFunction", resource: "echo"}\n'
UNREACHABLE = 101


def node_modules(to):
    """Both SDKs without what only their editors and browsers need."""
    def skip(folder, names):
        apis = folder.endswith("aws-sdk/apis")
        return [n for n in names if n in ("dist", "dist-es", "dist-types") or n.endswith((".d.ts", ".map", ".md")) or
                (apis and not n.startswith(("lambda-", "sts-", "metadata")))]
    shutil.copytree(NPM, to, ignore=skip, symlinks=True)


class Network(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="tandem-e2e-net-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        os.mkdir(cls.folder + "/py")
        os.mkdir(cls.folder + "/js")
        manifest = "name: network\nfunctions:\n" + "".join(
            FUNCTION.format(name=name, code="py", runtime="python3.11", handler=handler, memory=512) + (ALLOW if name == "caller" else "")
            for name, handler in (("caller", "handler"), ("lonely", "handler"), ("hostile", "handler"), ("twice", "twice"), ("echo", "echo"), ("secret", "twice")))
        cls.node = os.path.isdir(NPM)
        if cls.node:
            node_modules(cls.folder + "/js/node_modules")
            manifest += FUNCTION.format(name="nodecaller", code="js", runtime="nodejs18.x", handler="handler", memory=512) + ALLOW
        for name, text in (("tandem.yaml", manifest), ("py/app.py", PYTHON), ("js/app.js", NODE)):
            with open(os.path.join(cls.folder, name), "w", encoding="utf-8") as f:
                f.write(text)
        cls.t = tandem.Tandem()
        cls.t.start()
        cls.addClassCleanup(cls.t.close)
        cls.t.cli("up", cwd=cls.folder)
        cls.c = cls.t.client(read_timeout=60)

    def ask(self, function, **event):
        answer = self.c.invoke(FunctionName=function, Payload=json.dumps(event))
        body = json.load(answer["Payload"])
        self.assertNotIn("FunctionError", answer, body)
        return body

    # --- AWS's own names ---

    def test_boto3_without_an_endpoint(self):
        got = self.ask("caller", do="aws", service="lambda", call="invoke", arguments={"FunctionName": "twice", "Payload": '{"n": 21}'})
        self.assertEqual((got["StatusCode"], got["Payload"], got["url"]), (200, 42, "https://lambda.us-east-1.amazonaws.com"))
        got = self.ask("caller", do="aws", service="sts", call="get_caller_identity", arguments={})
        self.assertEqual((got["Arn"], got["url"]), ("arn:aws:sts::000000000000:assumed-role/caller/caller", "https://sts.amazonaws.com"))
        got = self.ask("caller", do="aws", service="lambda", region="eu-central-1", call="invoke", arguments={"FunctionName": "twice", "Payload": '{"n": 4}'})
        self.assertEqual((got["Payload"], got["url"]), (8, "https://lambda.eu-central-1.amazonaws.com"))

    def test_what_is_not_allowed_is_denied(self):
        for function, name in (("caller", "secret"), ("lonely", "twice")):
            got = self.ask(function, do="aws", service="lambda", call="invoke", arguments={"FunctionName": name, "Payload": "{}"})
            self.assertEqual(got["error"], "AccessDeniedException", got)
        if self.node:
            for sdk in (2, 3):
                self.assertEqual(self.ask("nodecaller", sdk=sdk, name="secret").get("status"), 403)

    def test_node_without_an_endpoint(self):
        if not self.node:
            self.skipTest("the npm packages are not installed (tools/npm-deps)")
        self.assertEqual(self.ask("nodecaller", sdk=2, name="twice"),
                         {"payload": 42, "arn": "arn:aws:sts::000000000000:assumed-role/nodecaller/nodecaller"})
        self.assertEqual(self.ask("nodecaller", sdk=3, name="twice"), {"payload": 42})

    def test_many_records(self):
        self.assertEqual(self.ask("caller", do="big", n=3_000_000), [True, True, True])

    def test_certificates(self):
        self.assertEqual(self.ask("caller", do="tls", verify=True, name="bucket.s3.eu-west-1.amazonaws.com"),
                         ["TLSv1.3", ["bucket.s3.eu-west-1.amazonaws.com"]])
        for name in ("example.com", "amazonaws.com.example.com", "xamazonaws.com"):
            self.assertEqual(self.ask("caller", do="tls", verify=True, name=name)[0], "refused", name)
        self.assertEqual(self.ask("caller", do="tls", verify=False, name="example.com")[0], "TLSv1.3")

    def test_trust_is_by_hash_too(self):
        """The directory of hashes, which programs linked with OpenSSL read; nothing older than TLS 1.2."""
        code, text = self.ask("caller", do="programs", name="sts.amazonaws.com", more=["-CApath", "/etc/ssl/certs", "-no-CAfile", "-no-CAstore"])
        self.assertEqual(code, 0, text)
        self.assertIn("Verify return code: 0 (ok)", text)
        code, text = self.ask("caller", do="programs", name="sts.amazonaws.com", more=["-tls1_2"])
        self.assertEqual(code, 0, text)
        code, text = self.ask("caller", do="programs", name="sts.amazonaws.com", more=["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"])
        self.assertNotEqual(code, 0, text)

    def test_the_authority_is_ours_alone(self):
        """Its key is the daemon's; its certificate says for which names it may vouch; the host does not trust it; it stays."""
        key, cert = os.stat(self.t.state + "/ca.key"), self.t.state + "/ca.crt"
        self.assertEqual(key.st_mode & 0o777, 0o600)
        self.assertNotEqual(key.st_uid, 0)
        text = subprocess.run(["openssl", "x509", "-in", cert, "-noout", "-text"], capture_output=True, text=True, check=True).stdout
        self.assertRegex(text, r"X509v3 Name Constraints: critical\s+Permitted:\s+DNS:amazonaws.com\s")
        self.assertRegex(text, r"CA:TRUE, pathlen:0")
        with open(cert, encoding="ascii") as ours, open("/etc/ssl/certs/ca-certificates.crt", encoding="ascii") as hosts:
            self.assertNotIn(ours.read(), hosts.read())

    # --- names and ways ---

    def test_names(self):
        known = {"lambda.us-east-1.amazonaws.com": "169.254.100.2", "AmazonAWS.com": "169.254.100.2", "a.b.s3.amazonaws.com": "169.254.100.2"}
        unknown = ["example.com", "twice", "xamazonaws.com", "amazonaws.com.example.com", "db.internal"]
        got = self.ask("caller", do="names", names=[*known, *unknown])
        for name, address in known.items():
            self.assertEqual(got[name][0], [address], name)
        for name in unknown:
            self.assertEqual(got[name][0], [-2, "Name or service not known"], name)
        got = self.ask("caller", do="names", names=unknown * 20)
        self.assertLess(min(s for _, s in got.values()), 2)  # a resolver that does not answer costs 5 s

    def test_no_way_out_is_said_at_once(self):
        got = self.ask("caller", do="ways", addresses=[["1.1.1.1", 443], ["10.0.0.1", 80], ["192.168.1.1", 80], ["2606:4700::1111", 443]])
        for address, (errno, _) in got.items():
            self.assertEqual(errno, UNREACHABLE, address)  # and not ETIMEDOUT

    # --- a hostile function ---

    def healthy(self):
        got = self.ask("caller", do="aws", service="lambda", call="invoke", arguments={"FunctionName": "twice", "Payload": '{"n": 1}'})
        self.assertEqual(got["Payload"], 2)
        with urllib.request.urlopen(self.t.gateway + "/readyz", timeout=5) as answer:
            self.assertEqual(answer.status, 200)

    def daemon_kb(self):
        pids = subprocess.run(["pgrep", "-P", str(self.t.pid), "-x", "tandemd"], capture_output=True, text=True, check=True).stdout.split()
        with open(f"/proc/{pids[0]}/status", encoding="ascii") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))

    def test_connections_of_one_do_not_keep_others_out(self):
        """Half a handshake, half a head, nothing at all: a sandbox holds what it has got, and others are answered."""
        hello = "1603010200010001fc0303"  # the beginning of a ClientHello
        for to, port, say in (("169.254.100.2", 443, hello), ("169.254.100.2", 443, ""), ("169.254.100.2", 4566, b"POST / HTTP/1.1\r\nX".hex()), ("169.254.170.2", 80, "47")):
            before = self.daemon_kb()
            got = self.c.invoke(FunctionName="hostile", Payload=json.dumps({"do": "hold", "to": to, "port": port, "say": say, "n": 900}))
            got["Payload"].read()
            self.healthy()
            self.assertLess(self.daemon_kb() - before, 40000)
            self.ask("hostile", do="drop")
        self.assertEqual(self.ask("hostile", do="ways", addresses=[["169.254.100.2", 443]])["169.254.100.2"][0], 0)

    def test_memory_of_requests_is_bounded(self):
        before = self.daemon_kb()
        said = self.ask("hostile", do="bodies", n=40)
        self.assertIn("HTTP/1.1 503", said)
        self.assertLess(self.daemon_kb() - before, 80000)
        self.healthy()
        self.ask("hostile", do="drop")
        got = self.ask("hostile", do="ways", addresses=[["169.254.100.2", 4566]])
        self.assertEqual(got["169.254.100.2"][0], 0)

    def test_dns_garbage(self):
        found, _ = self.ask("hostile", do="dns_garbage", n=20000)
        self.assertEqual(found, ["169.254.100.2"])
        self.healthy()


if __name__ == "__main__":
    unittest.main()
