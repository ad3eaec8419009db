# SPDX-License-Identifier: Apache-2.0
"""External extensions: a layer's programs register, hear of every event and of the end, and their crash is the function's."""
import json
import os
import shutil
import tempfile
import time
import unittest
import urllib.request

import tandem

# Speaks the Extensions API as the AWS samples do; what it hears goes to the log. MODE says how it misbehaves.
EXTENSION = """#!/usr/bin/python3
import json, os, sys, urllib.request
BASE = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2020-01-01/extension/"
NAME, MODE = os.path.basename(__file__), os.environ.get("MODE", "")

def call(path, body=None, **headers):
    request = urllib.request.Request(BASE + path, body, {"Lambda-Extension-" + k: v for k, v in headers.items()})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer), answer.headers["Lambda-Extension-Identifier"]

if MODE == "die at once":
    sys.exit(3)
facts, me = call("register", b'{"events": ["INVOKE", "SHUTDOWN"]}', Name=NAME)
print(NAME, "registered for", facts["functionName"], facts["handler"], flush=True)
while True:
    event, _ = call("event/next", Identifier=me)
    print(NAME, "heard", json.dumps(event), flush=True)
    if event["eventType"] == "SHUTDOWN":
        if MODE == "stay":
            import time
            time.sleep(600)
        print(NAME, "leaves", flush=True)
        break
    if MODE == "crash":
        os.kill(os.getpid(), 11)
"""
INTERNAL = """
import json, os, threading, urllib.request
BASE = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2020-01-01/extension/"
register = urllib.request.Request(BASE + "register", b'{"events": ["INVOKE"]}', {"Lambda-Extension-Name": "inner"})
with urllib.request.urlopen(register) as answer:
    me = answer.headers["Lambda-Extension-Identifier"]

def listen():
    while True:
        with urllib.request.urlopen(urllib.request.Request(BASE + "event/next", headers={"Lambda-Extension-Identifier": me})) as answer:
            print("inner heard", answer.read().decode())

threading.Thread(target=listen, daemon=True).start()
"""
HANDLER = "def handler(event, context):\n    return {'id': context.aws_request_id}\n"


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Extensions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = tandem.Tandem()
        cls.t.start()
        cls.addClassCleanup(cls.t.close)

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="tandem-ext-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.addCleanup(lambda: self.t.cli("down", "--project", "ext"))
        self.name = self.id().rsplit(".", 1)[1]  # logs are kept by name

    def put(self, name, text, mode=0o644):
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, mode)

    def up(self, mode="", names=("watcher",), runtime="python3.11", handler="app.handler", code=HANDLER, file="src/app.py"):
        for name in names:
            self.put("layer/extensions/" + name, EXTENSION, 0o755)
        self.put(file, code)
        self.put("tandem.yaml", f"name: ext\nfunctions:\n  {self.name}:\n    code: src\n    runtime: {runtime}\n    handler: {handler}\n    layers: [layer]\n"
                                f"    environment: {{MODE: '{mode}'}}\n    memory: 256\n    timeout: 60s\n    route: /f\n")
        return self.t.cli("up", cwd=self.dir)

    def log(self):
        return self.t.cli("logs", self.name, "-n", "100")

    def wait_for(self, what):
        tandem.wait_for(what, 20, self.log)

    def ask(self):
        with urllib.request.urlopen(self.t.gateway + "/f", timeout=30) as answer:
            return json.load(answer)["id"]

    def heard(self, name="watcher"):
        return [json.loads(line.split(" heard ", 1)[1]) for line in self.log().splitlines() if f"{name} heard " in line]

    def check_deadline(self, event, since, seconds):
        """It was set so many seconds ahead, at some time since then."""
        self.assertTrue(int(since * 1000) <= event["deadlineMs"] - seconds * 1000 <= time.time() * 1000, (event, since))

    def check_life(self):
        begun = time.time()
        ids = [self.ask(), self.ask()]
        self.wait_for(lambda: len(self.heard()) == 2)
        self.assertIn("watcher registered for " + self.name, self.log())
        for event, request_id in zip(self.heard(), ids):
            self.assertEqual((event["eventType"], event["requestId"]), ("INVOKE", request_id))
            self.assertTrue(event["invokedFunctionArn"].endswith(":function:" + self.name))
            self.assertEqual(event["tracing"]["type"], "X-Amzn-Trace-Id")
            self.check_deadline(event, begun, 60)
        begun = time.time()
        self.t.cli("stop", self.name)
        self.wait_for(lambda: "watcher leaves" in self.log())
        last = self.heard()[-1]
        self.assertEqual((last["eventType"], last["shutdownReason"]), ("SHUTDOWN", "SPINDOWN"))
        self.check_deadline(last, begun, 2)

    def test_life_beside_python(self):
        self.up()
        self.check_life()

    def test_life_beside_node(self):
        self.up(runtime="nodejs18.x", handler="app.handler", file="src/app.js", code="exports.handler = async (e, c) => ({id: c.awsRequestId});\n")
        self.check_life()

    def test_inside_of_the_runtime(self):
        """An internal extension: a thread of the function's own process."""
        os.mkdir(os.path.join(self.dir, "layer"))
        self.put("layer/any", "")
        self.up(names=(), code=INTERNAL + HANDLER)
        ids = [self.ask(), self.ask()]
        self.wait_for(lambda: [e["requestId"] for e in self.heard("inner")] == ids)

    def test_several(self):
        self.up(names=("one", "two", "three"))
        request_id = self.ask()
        for name in ("one", "two", "three"):
            self.wait_for(lambda n=name: [e["requestId"] for e in self.heard(n)] == [request_id])

    def test_shutdown_is_limited(self):
        """Who does not leave is ended after two seconds."""
        self.up(mode="stay")
        self.ask()
        begun = time.monotonic()
        self.t.cli("stop", self.name)
        self.wait_for(lambda: not json.loads(self.t.cli("ps", "-o", "json"))["instances"])
        self.assertGreater(time.monotonic() - begun, 1.5)
        self.assertNotIn("watcher leaves", self.log())

    def test_crash_is_the_functions(self):
        self.up(mode="crash", code="import time\ndef handler(event, context):\n    time.sleep(600)\n")
        answer = self.t.client().invoke(FunctionName=self.name, LogType="Tail")
        self.assertEqual(answer["FunctionError"], "Unhandled")
        request_id = answer["ResponseMetadata"]["RequestId"]
        self.assertEqual(json.load(answer["Payload"]),
                         {"errorType": "Extension.Crash", "errorMessage": f"RequestId: {request_id} Error: signal: segmentation fault"})
        self.assertIn("an extension ended: signal: segmentation fault", tandem.log_tail(answer))

    def test_no_start_without_it(self):
        self.put("layer/extensions/watcher", EXTENSION, 0o755)
        with self.assertRaises(AssertionError) as raised:
            self.up(mode="die at once")
        self.assertRegex(str(raised.exception), rf"failed +{self.name}: Extension\.Crash: Error: exit status 3")

    def test_a_runtime_in_a_layer(self):
        self.put("src/answer", "from the code")
        self.put("layer/bootstrap", """#!/usr/bin/python3
import os, urllib.request
api = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
while True:
    with urllib.request.urlopen(api + "next") as event:
        name = event.headers["Lambda-Runtime-Aws-Request-Id"]
    with open(os.environ["LAMBDA_TASK_ROOT"] + "/answer") as f:
        answer = '{"id": "%s, %s"}' % (f.read(), os.environ["MODE"])
    urllib.request.urlopen(api + name + "/response", answer.encode()).close()
""", 0o755)
        self.up(mode="here", names=(), runtime="provided.al2023", handler="any", code="", file="src/empty")
        self.assertEqual(self.ask(), "from the code, here")
        os.unlink(os.path.join(self.dir, "layer/bootstrap"))
        self.put("layer/other", "")
        with self.assertRaises(AssertionError) as raised:
            self.up(names=(), runtime="provided.al2023", handler="any", code="", file="src/empty")
        self.assertIn("InvalidEntrypoint: Error: /opt/bootstrap, /var/task/bootstrap could not be started: No such file", str(raised.exception))

    def test_layers_lie_over_each_other(self):
        """In order, the last on top; none of it can be written."""
        for number in range(5):
            self.put(f"l{number}/python/both.py", f"WHO = {number}\n")
            self.put(f"l{number}/python/only{number}.py", f"WHO = {number}\n")
            self.put(f"l{number}/data/file{number}", "x")
        self.put("l2/extensions/watcher", EXTENSION, 0o755)
        self.put("src/app.py", """
import os, both, only0, only1, only2, only3, only4
def handler(event, context):
    try:
        open("/opt/data/new", "w")
        written = True
    except OSError:
        written = False
    return {"id": [both.WHO, only0.WHO, only4.WHO, sorted(os.listdir("/opt/data")), written]}
""")
        layers = ", ".join(f"l{i}" for i in range(5))
        self.put("tandem.yaml", f"name: ext\nfunctions:\n  {self.name}:\n    code: src\n    runtime: python3.11\n    handler: app.handler\n"
                                f"    layers: [{layers}]\n    route: /f\n")
        self.t.cli("up", cwd=self.dir)
        self.assertEqual(self.ask(), [4, 0, 4, [f"file{i}" for i in range(5)], False])
        self.assertIn("watcher registered", self.log())
        self.put("tandem.yaml", f"name: ext\nfunctions:\n  {self.name}:\n    code: src\n    runtime: python3.11\n    handler: app.handler\n"
                                f"    layers: [l4, l3, l2, l1, l0]\n    route: /f\n")
        self.assertIn("update: layers", self.t.cli("up", cwd=self.dir))
        self.assertEqual(self.ask()[0], 0)


if __name__ == "__main__":
    unittest.main()
