# SPDX-License-Identifier: Apache-2.0
"""What `eval "$(tandem env)"` promises: every usual client, also those that know no AWS_ENDPOINT_URL, reaches Tandem and nothing else.
Each client runs under strace; every connect, sendto and sendmsg that names an address must name loopback or a unix socket."""
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import tandem

NPM = os.path.join(tandem.BUILD, "npm", "node_modules")
FUNCTION = "event-processor"
CODE = "def handler(event, context):\n    return {'got': event}\n"

BOTO3 = """
import boto3, json
r = boto3.client("lambda").invoke(FunctionName="event-processor", Payload=json.dumps({"n": 1}))
print(r["Payload"].read().decode())
print(boto3.client("sts").get_caller_identity()["Account"])
"""
V2 = """
const AWS = require('aws-sdk');
const event = {n: 1};
new AWS.Lambda().invoke({FunctionName: 'event-processor', Payload: JSON.stringify(event), InvocationType: 'RequestResponse'}).promise()
    .then(r => console.log(r.Payload));
"""
V2_ONE = """
const Lambda = require('aws-sdk/clients/lambda');
new Lambda().invoke({FunctionName: 'event-processor', Payload: '{"n": 1}'}).promise().then(r => console.log(r.Payload));
"""
V2_ESM = """
import AWS from 'aws-sdk';
new AWS.Lambda().invoke({FunctionName: 'event-processor', Payload: '{"n": 1}'}).promise().then(r => console.log(r.Payload));
"""
V3 = """
const {LambdaClient, InvokeCommand} = require('@aws-sdk/client-lambda');
new LambdaClient({}).send(new InvokeCommand({FunctionName: 'event-processor', Payload: '{"n": 1}'}))
    .then(r => console.log(Buffer.from(r.Payload).toString()));
"""
ADDRESS = re.compile(r"sa_family=(AF_\w+)(?:, sin6?_port=htons\((\d+)\))?(.*)")


def leaves_loopback(line):
    """Does this line of strace name an address off this machine?"""
    m = ADDRESS.search(line)
    if not m or m.group(1) in ("AF_UNIX", "AF_NETLINK", "AF_UNSPEC"):
        return False
    return not re.search(r'inet_addr\("127\.|inet_pton\(AF_INET6, "::1"|"::ffff:127\.', m.group(3))


@unittest.skipUnless(os.geteuid() == 0, "needs root")
@unittest.skipUnless(shutil.which("strace"), "strace is not installed")
class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = tandem.Tandem()
        cls.t.start()
        cls.addClassCleanup(cls.t.close)
        cls.dir = tempfile.mkdtemp(prefix="tandem-clients-")
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        os.makedirs(os.path.join(cls.dir, "app/code"))
        with open(os.path.join(cls.dir, "app/code/app.py"), "w") as f:
            f.write(CODE)
        with open(os.path.join(cls.dir, "app/tandem.yaml"), "w") as f:
            f.write(f"name: clients\nfunctions:\n  {FUNCTION}:\n    code: code\n    runtime: python3.11\n    handler: app.handler\n")
        cls.t.cli("up", "-f", os.path.join(cls.dir, "app/tandem.yaml"))

    def run_client(self, command, name, text):
        """In a shell with nothing but `tandem env`; returns what the client printed."""
        path = os.path.join(self.dir, name)
        with open(path, "w") as f:
            f.write(text)
        trace = path + ".trace"
        shell = f'eval "$({tandem.PROGRAM} --state {self.t.state} env)" || exit 99\n{command}\n'
        env = {"PATH": os.environ["PATH"], "HOME": self.dir, "LANG": "C.UTF-8", "FILE": path, "TRACE": trace,
               "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
        done = subprocess.run(["strace", "-f", "-qq", "-s", "200", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", trace, "bash", "-c",
                               shell], cwd=self.dir, env=env, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        with open(trace) as f:
            lines = f.read().splitlines()
        port = self.t.api.rsplit(":", 1)[1]
        self.assertTrue([l for l in lines if "connect(" in l and f"htons({port})" in l], "the client never called Tandem")
        self.assertEqual([l for l in lines if leaves_loopback(l)], [], "packets for other machines")
        return done.stdout

    def node(self, name, text):
        if not os.path.isdir(NPM):
            self.skipTest("the npm packages are not installed (tools/npm-deps)")
        link = os.path.join(self.dir, "node_modules")
        if not os.path.lexists(link):
            os.symlink(NPM, link)
        self.assertEqual(self.run_client('node --no-warnings "$FILE"', name, text).strip(), '{"got": {"n": 1}}')

    def test_checker_sees_what_leaves(self):
        self.assertTrue(leaves_loopback('connect(3, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("52.1.2.3")}, 16) = 0'))
        self.assertTrue(leaves_loopback('sendto(3, "x", 1, 0, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.0.0.2")}, 16) = 1'))
        self.assertTrue(leaves_loopback('connect(3, {sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), '
                                        'inet_pton(AF_INET6, "2600::1", &sin6_addr), sin6_scope_id=0}, 28) = 0'))
        self.assertFalse(leaves_loopback('connect(3, {sa_family=AF_INET, sin_port=htons(1), sin_addr=inet_addr("127.0.0.1")}, 16) = 0'))
        self.assertFalse(leaves_loopback('connect(3, {sa_family=AF_UNIX, sun_path="/run/x"}, 110) = 0'))

    def test_aws_cli(self):
        command = 'aws lambda invoke --function-name event-processor --payload "fileb://$FILE" "$FILE.out" >/dev/null && cat "$FILE.out"'
        out = self.run_client(command, "cli", '{"n": 1}')
        self.assertEqual(out.strip(), '{"got": {"n": 1}}')

    def test_boto3(self):
        out = self.run_client('/usr/bin/python3 "$FILE"', "b.py", BOTO3)
        self.assertEqual(out.split("\n")[:2], ['{"got": {"n": 1}}', "000000000000"])

    def test_sdk_v2(self):
        self.node("v2.js", V2)

    def test_sdk_v2_single_client(self):
        self.node("v2one.js", V2_ONE)

    def test_sdk_v2_from_a_module(self):
        self.node("v2.mjs", V2_ESM)

    def test_sdk_v3(self):
        self.node("v3.js", V3)


class Shims(unittest.TestCase):
    """What the shims must not do to programs that have nothing to do with AWS."""
    CLIENT = os.path.join(tandem.ROOT, "shim", "client")

    def python(self, code, *path, **env):
        done = subprocess.run(["/usr/bin/python3", "-c", code], capture_output=True, text=True, check=True,
                              env={"PATH": "/usr/bin", "PYTHONPATH": ":".join((os.path.join(self.CLIENT, "python"), *path)), **env})
        self.assertEqual(done.stderr, "")
        return done.stdout

    def test_other_sitecustomize_still_runs(self):
        with tempfile.TemporaryDirectory() as other:
            with open(os.path.join(other, "sitecustomize.py"), "w") as f:
                f.write("import sys\nsys.other_ran = __file__\n")
            out = self.python("import sys; print(sys.other_ran)", other, AWS_ENDPOINT_URL="http://127.0.0.1:1")
            self.assertEqual(out.strip(), os.path.join(other, "sitecustomize.py"))

    def test_no_cost_without_boto3(self):
        loaded = "import sys; print(sorted(sys.modules))"
        self.assertEqual(self.python(loaded, AWS_ENDPOINT_URL="http://127.0.0.1:1"), self.python(loaded, PYTHONPATH=""))

    def test_explicit_endpoint_wins(self):
        code = ("import boto3\nc = lambda **k: boto3.client('lambda', region_name='r', aws_access_key_id='a', aws_secret_access_key='b', **k)\n"
                "print(c().meta.endpoint_url, c(endpoint_url='http://127.0.0.1:2').meta.endpoint_url)")
        self.assertEqual(self.python(code, AWS_ENDPOINT_URL="http://127.0.0.1:1").split(), ["http://127.0.0.1:1", "http://127.0.0.1:2"])
        self.assertNotIn("127.0.0.1:1", self.python(code))

    def test_node_program_is_left_alone(self):
        preload = os.path.join(self.CLIENT, "aws-sdk-v2.js")
        done = subprocess.run(["node", "--require", preload, "-e", "require('fs'); import('node:os').then(o => console.log(typeof o.cpus))"],
                              capture_output=True, text=True, env={"PATH": os.environ["PATH"], "AWS_ENDPOINT_URL": "http://127.0.0.1:1"})
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "function\n", ""))


if __name__ == "__main__":
    unittest.main()
