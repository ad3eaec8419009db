# SPDX-License-Identifier: Apache-2.0
"""What a caller and the log hear of a function that goes wrong, for each runtime: Lambda's error, one clear line, nothing left behind."""
import glob
import json
import os
import pty
import re
import select
import subprocess
import tempfile
import unittest

from botocore.exceptions import ClientError

import tandem

PYTHON = r"""
import ctypes, os, subprocess, sys, time
def handler(event, context):
    return globals()[event["do"]]()
def leave(): sys.exit()
def leave3(): sys.exit(3)
def leave7(): os._exit(7)
def segv(): ctypes.string_at(0)
def abort(): os.abort()
def closed(): os.closerange(3, 100)
def out_of_memory():
    hoard = []
    while True:
        hoard.append(bytearray(b"x") * (16 << 20))
def slow(): subprocess.Popen(["sleep", "86423"]); time.sleep(600)
def raised():
    try:
        {}["missing"]
    except KeyError as e:
        raise ValueError("outer\nsecond line") from e
def no_text():
    class Odd(Exception):
        def __str__(self): raise RuntimeError
    raise Odd
def long(): raise ValueError("x" * 1000000)
def endless(): return endless()
def deep():
    a = []
    for _ in range(100000): a = [a]
    return a
def loop():
    a = []; a.append(a)
    return a
def some_bytes(): return b"x"
def some_set(): return {1}
def large(): return "x" * 6291556
def surrogate(): return "\ud83d"
def pair(): return "\U0001F600"
def integer(): return 2 ** 80
def nothing(): return None
def no_stdout(): sys.stdout.close(); raise ValueError("unheard")
"""
NODE = r"""
const cp = require('child_process');
const todo = {
	leave: () => process.exit(), leave3: () => process.exit(3), segv: () => process.kill(process.pid, 'SIGSEGV'), abort: () => process.abort(),
	outOfMemory: () => { const hoard = []; for (;;) hoard.push(Buffer.alloc(16 << 20, 1)); },
	slow: () => { cp.spawn('sleep', ['86423']); return new Promise((r) => setTimeout(r, 600000)); },
	spin: () => { for (;;); },
	raised: async () => { throw new TypeError('outer', { cause: new Error('inner') }); },
	named: () => { const e = new Error('text'); e.name = 'Mine'; e.code = 'E1'; throw e; },
	aString: (e, c, cb) => cb('only text'),
	aNull: () => { throw null; },
	long: () => { throw new Error('x'.repeat(1000000)); },
	endless: () => todo.endless() + 1,
	loop: async () => { const a = []; a.push(a); return a; },
	bigInteger: async () => 1n,
	large: async () => 'x'.repeat(6291556),
	rejected: async () => { Promise.reject(new Error('nobody waits')); await new Promise((r) => setTimeout(r, 5000)); },
	timer: () => new Promise(() => setTimeout(() => { throw new Error('from a timer'); }, 1)),
	surrogate: async () => '\ud83d', never: () => new Promise(() => {}), nothing: async () => {},
};
exports.handler = (event, context, callback) => todo[event.do](event, context, callback);
"""
C = r"""
	static const char *const names[] = {"leave3", "leave", "segv", "abort", "slow", "hoard", "fail", "large", "text"};
	size_t k = 0;

	while (k < sizeof(names) / sizeof(names[0]) && !memmem(ev->body, ev->n, names[k], strlen(names[k])))
		k++;
	switch (k) {
	case 0: exit(3);
	case 1: exit(0);
	case 2: return *(volatile char *)0;
	case 3: abort();
	case 4: for (;;) pause();
	case 5: for (;;) memset(malloc(16 << 20), 1, 16 << 20);
	case 6: strcpy(out, "{\"errorType\": \"Mine\", \"errorMessage\": \"broken\"}"); return -1;
	case 7: memset(out, '1', BODY_MAX + 1); return BODY_MAX + 1;
	}
	strcpy(out, "\"fine\"");
	return 6;
"""
EXIT, EXIT3 = "Error: Runtime exited without providing a reason", "Error: Runtime exited with error: exit status 3"
SEGV, ABORT = "Error: Runtime exited with error: signal: segmentation fault", "Error: Runtime exited with error: signal: aborted"
SLOW = "Error: Task timed out after 2.00 seconds"
LARGE = r"Response payload size exceeded maximum allowed payload size \(6291556 bytes\)\."


def bootstrap():
    """The example in C, with other work in handle()."""
    with open(os.path.join(tandem.ROOT, "examples/native/bootstrap.c"), encoding="utf-8") as f:
        source = re.sub(r"(static long handle\([^)]*\)\n\{\n).*?\n\}\n", lambda m: m.group(1) + C + "}\n", f.read(), count=1, flags=re.S)
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "bootstrap")
        subprocess.run(["gcc", "-O0", "-w", "-static", "-x", "c", "-o", out, "-"], input=source, text=True, check=True, timeout=60)
        with open(out, "rb") as f:
            return f.read()


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Errors(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = tandem.Tandem()
        cls.t.start()
        cls.addClassCleanup(cls.t.close)
        cls.c = cls.t.client(read_timeout=60)

    def create(self, name, runtime, handler, files, **more):
        self.c.create_function(FunctionName=name, Runtime=runtime, Role=tandem.ROLE, Handler=handler, Code={"ZipFile": tandem.zip_of(files)},
                               **{"Timeout": 2, "EphemeralStorage": {"Size": 512}, **more})
        self.addCleanup(self.c.delete_function, FunctionName=name)
        return self.c.get_function_configuration(FunctionName=name)

    def error(self, name, do, kind, text, logged=None):
        answer = self.c.invoke(FunctionName=name, Payload=json.dumps({"do": do}), LogType="Tail")
        said, log = answer["Payload"].read().decode(), tandem.log_tail(answer)
        self.assertEqual((answer["StatusCode"], answer.get("FunctionError")), (200, "Unhandled"), said[:1000])
        error = json.loads(said)
        request_id = answer["ResponseMetadata"]["RequestId"]
        self.assertEqual(error["errorType"], kind)
        if text.startswith("Error: "):
            text = f"RequestId: {request_id} {text}"
        self.assertRegex(error["errorMessage"], "(?s)^" + text + "$")
        self.assertRegex(log, logged or text)
        self.assertRegex(log, rf"(?m)^END RequestId: {request_id}\nREPORT RequestId: {request_id}\tDuration: ")
        return error

    def gives(self, name, do, value):
        answer = self.c.invoke(FunctionName=name, Payload=json.dumps({"do": do}))
        self.assertNotIn("FunctionError", answer)
        self.assertEqual(answer["Payload"].read().decode(), value)

    def check(self, name, table, heap):
        """Every case; after each the function answers again."""
        for do, kind, text, *logged in table:
            with self.subTest(do=do):
                self.error(name, do, kind, text, *logged)
                self.gives(name, "nothing", heap)
        self.assertEqual([p for p in glob.glob("/proc/[0-9]*/cmdline") if self.said(p) == b"sleep\x0086423\0"], [])

    @staticmethod
    def said(path):
        try:
            with open(path, "rb") as f:
                return f.read()
        except OSError:
            return b""

    def test_python(self):
        self.create("py", "python3.11", "app.handler", {"app.py": PYTHON})
        marshal = "Unable to marshal response: "
        self.check("py", [
            ("leave", "Runtime.ExitError", EXIT), ("leave3", "Runtime.ExitError", EXIT3),
            ("leave7", "Runtime.ExitError", "Error: Runtime exited with error: exit status 7"),
            ("segv", "Runtime.ExitError", SEGV), ("abort", "Runtime.ExitError", ABORT), ("slow", "Sandbox.Timedout", SLOW),
            ("closed", "Runtime.ExitError", "Error: Runtime exited with error: exit status 1", "Bad file descriptor"),
            ("raised", "ValueError", "outer\nsecond line", r"(?s)\[ERROR\] ValueError: outer\nsecond line\nTraceback.*app\.py"),
            ("no_text", "Odd", "<no text: RuntimeError>"), ("long", "ValueError", "x{16384}", "x{3000}"),
            ("endless", "RecursionError", "maximum recursion depth exceeded.*"),
            ("deep", "Runtime.MarshalError", marshal + "maximum recursion depth exceeded.*"),
            ("loop", "Runtime.MarshalError", marshal + "Circular reference detected"),
            ("some_bytes", "Runtime.MarshalError", marshal + "Object of type bytes is not JSON serializable"),
            ("some_set", "Runtime.MarshalError", marshal + "Object of type set is not JSON serializable"),
            ("large", "Function.ResponseSizeTooLarge", LARGE), ("none_such", "KeyError", "'none_such'"),
            ("no_stdout", "ValueError", "unheard", "END"),
        ], "null")
        for do, value in (("surrogate", '"\\ud83d"'), ("pair", '"\U0001F600"'), ("integer", str(2 ** 80))):
            self.gives("py", do, value)
        self.error("py", "leave", "Runtime.ExitError", EXIT)  # stdout is closed in that one
        error = self.error("py", "raised", "ValueError", "outer.*", "outer")
        self.assertEqual(set(error), {"errorMessage", "errorType", "requestId", "stackTrace"})
        self.assertRegex("".join(error["stackTrace"]), r'^  File "/var/task/app\.py", line \d+, in handler\n')

    def test_node(self):
        self.create("js", "nodejs18.x", "index.handler", {"index.js": NODE})
        invoke = "ERROR\tInvoke Error \t"
        self.check("js", [
            ("leave", "Runtime.ExitError", EXIT), ("leave3", "Runtime.ExitError", EXIT3), ("segv", "Runtime.ExitError", SEGV),
            ("abort", "Runtime.ExitError", ABORT), ("slow", "Sandbox.Timedout", SLOW), ("spin", "Sandbox.Timedout", SLOW),
            ("raised", "TypeError", "outer", invoke), ("named", "Mine", "text", '"code":"E1"'), ("aString", "string", "only text", invoke),
            ("aNull", "object", "null", invoke), ("long", "Error", "x{4096,16384}", "x{3000}"),
            ("endless", "RangeError", "Maximum call stack size exceeded", invoke),
            ("loop", "Runtime.MarshalError", "Unable to stringify response body: Converting circular.*", invoke),
            ("bigInteger", "Runtime.MarshalError", "Unable to stringify response body: Do not know how to serialize a BigInt", invoke),
            ("large", "Function.ResponseSizeTooLarge", LARGE),
            # The event that comes right behind these must not meet the process that they have ended.
            ("rejected", "Runtime.UnhandledPromiseRejection", "(?:Error: )nobody waits", "Unhandled Promise"),
            ("timer", "Error", "from a timer", "ERROR\tUncaught Exception \t"),
            ("noneSuch", "TypeError", ".*is not a function", invoke),
        ], "null")
        for do, value in (("surrogate", '"\\ud83d"'), ("never", "null")):
            self.gives("js", do, value)

    def test_provided(self):
        self.create("c", "provided.al2023", "any", {"bootstrap": bootstrap()})
        self.check("c", [
            ("leave", "Runtime.ExitError", EXIT), ("leave3", "Runtime.ExitError", EXIT3), ("segv", "Runtime.ExitError", SEGV),
            ("abort", "Runtime.ExitError", ABORT), ("slow", "Sandbox.Timedout", SLOW), ("fail", "Mine", "broken", "END"),
            ("large", "Function.ResponseSizeTooLarge", LARGE, "END"),
        ], '"fine"')

    def test_out_of_memory(self):
        """Memory and /tmp are one limit: 128 + 512 MB here."""
        text = r"Error: Runtime exited with error: signal: killed \(memory limit of 128 MB\)"
        logged = "out of memory: 128 MB and 512 MB of /tmp were not enough"
        for name, runtime, handler, files, do in (
                ("oom-py", "python3.11", "app.handler", {"app.py": PYTHON}, "out_of_memory"),
                ("oom-js", "nodejs18.x", "index.handler", {"index.js": NODE}, "outOfMemory"),
                ("oom-c", "provided.al2023", "any", {"bootstrap": bootstrap()}, "hoard")):
            with self.subTest(name=name):
                self.create(name, runtime, handler, files, Timeout=30)
                self.error(name, do, "Runtime.OutOfMemory", text, logged)

    def test_broken_from_the_start(self):
        """Failed with the reason when it is made; an invocation says the same."""
        js, py = {"index.js": NODE}, {"app.py": PYTHON}
        for number, (runtime, handler, files, kind, text) in enumerate([
                ("python3.11", "app", py, "Runtime.MalformedHandlerName", "Bad handler 'app': not enough values to unpack"),
                ("python3.11", "app.none", py, "Runtime.HandlerNotFound", "Handler 'none' missing on module 'app'"),
                ("python3.11", "none.handler", py, "Runtime.ImportModuleError", "Unable to import module 'none': No module named 'none'"),
                ("python3.11", "sys.exit", py, "Runtime.BuiltInModuleConflict", "Cannot use built-in module sys as a handler module"),
                ("python3.11", "app.handler", {"app.py": "def x(:\n"}, "Runtime.UserCodeSyntaxError", "Syntax error in module 'app'"),
                ("python3.11", "app.handler", {"app.py": "1 / 0\n"}, "ZeroDivisionError", "division by zero"),
                ("python3.11", "app.handler", {"app.py": "raise ValueError('odd\\nActive  shop')\n"}, "ValueError", "odd"),
                ("python3.11", "app.handler", {"app.py": "import sys; sys.exit(3)\n"}, "Runtime.ExitError", "exit status 3"),
                ("nodejs18.x", "index", js, "Runtime.MalformedHandlerName", "Bad handler"),
                ("nodejs18.x", "index.none", js, "Runtime.HandlerNotFound", "index.none is undefined or not exported"),
                ("nodejs18.x", "none.handler", js, "Runtime.ImportModuleError", "Cannot find module 'none'"),
                ("nodejs18.x", "index.handler", {"index.js": "}{"}, "Runtime.UserCodeSyntaxError", "SyntaxError"),
                ("nodejs18.x", "index.handler", {"index.js": "throw new RangeError('early')"}, "RangeError", "early"),
                ("provided.al2023", "any", {"other": b"x"}, "Runtime.InvalidEntrypoint",
                 "/var/task/bootstrap could not be started: No such file or directory"),
                ("provided.al2023", "any", {"bootstrap": b"no program"}, "Runtime.InvalidEntrypoint",
                 "/var/task/bootstrap could not be started: Exec format error"),
                ("provided.al2023", "any", {"bootstrap": b"#!/bin/sh\nexit 3\n"}, "Runtime.ExitError", "exit status 3"),
        ]):
            with self.subTest(runtime=runtime, handler=handler, kind=kind):
                name = f"broken-{number}"
                state = self.create(name, runtime, handler, files)
                self.assertEqual(state["State"], "Failed")
                self.assertIn(text, state["StateReason"])
                self.assertNotIn("\n", state["StateReason"])  # one line wherever it is shown
                answer = self.c.invoke(FunctionName=name, LogType="Tail")
                self.assertEqual(answer["FunctionError"], "Unhandled")
                error = json.load(answer["Payload"])
                self.assertEqual(error["errorType"], kind)
                self.assertIn(text, error["errorMessage"])
                self.assertIn(text, self.t.cli("logs", name))

    def test_log_on_a_terminal(self):
        """What a function prints does not drive the terminal; what is piped is as it was printed."""
        self.create("paints", "python3.11", "app.handler", {"app.py": "def handler(event, context): print('a\\x1b[31m\\tb')\n"})
        self.c.invoke(FunctionName="paints", Payload=b"{}")
        tandem.wait_for(lambda: "a\x1b[31m\tb" in self.t.cli("logs", "paints"))
        ours, theirs = pty.openpty()
        subprocess.run([self.t.program, "--state", self.t.state, "logs", "paints"], stdout=theirs, check=True, timeout=60 * tandem.SLOW)
        seen = b""
        while b"[31m" not in seen and select.select([ours], [], [], 60 * tandem.SLOW)[0]:
            seen += os.read(ours, 65536)
        os.close(ours)
        os.close(theirs)
        self.assertNotIn(b"\x1b", seen)
        self.assertIn(b"a [31m", seen)

    def test_what_works_again_is_active(self):
        state = self.create("mended", "python3.11", "app.handler", {"app.py": "open('/var/task/there')\ndef handler(event, context): return 1\n"})
        self.assertEqual(state["State"], "Failed")
        code = f"{self.t.state}/daemon/code"
        for digest in os.listdir(code):
            with open(f"{code}/{digest}/there", "w", encoding="utf-8"):
                pass
        self.assertNotIn("FunctionError", self.c.invoke(FunctionName="mended", Payload=b'{"do": "fine"}'))
        now = self.c.get_function_configuration(FunctionName="mended")
        self.assertEqual((now["State"], now.get("StateReason")), ("Active", None))

    def test_refused_before_it_runs(self):
        self.create("fine", "python3.11", "app.handler", {"app.py": PYTHON})
        for payload, kind, code, status in (
                (b"{", "RequestResponse", "InvalidRequestContentException", 400), (b"\xff", "RequestResponse", "InvalidRequestContentException", 400),
                (b"{} {}", "Event", "InvalidRequestContentException", 400), (b'{"a": NaN}', "Event", "InvalidRequestContentException", 400),
                (b"[" * 100000 + b"]" * 100000, "RequestResponse", "InvalidRequestContentException", 400),
                (b'"' + b"x" * 6291555 + b'"', "RequestResponse", "RequestTooLargeException", 413),
                (b'"' + b"x" * 1048576 + b'"', "Event", "RequestTooLargeException", 413)):
            with self.subTest(payload=payload[:20], kind=kind), self.assertRaises(ClientError) as raised:
                self.c.invoke(FunctionName="fine", Payload=payload, InvocationType=kind)
            error = raised.exception.response
            self.assertEqual((error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]), (code, status))


if __name__ == "__main__":
    unittest.main()
