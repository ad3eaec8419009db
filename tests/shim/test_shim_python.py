# SPDX-License-Identifier: Apache-2.0
"""shim/python/shim.py over a socket pair: what a handler sees, what an invoker gets back, what stands in the log."""
import json
import re
import sys
import os
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from shimtest import ARN, DATA, ERROR, PING, ROOT, ShimCase, frame  # noqa: E402

FOLDER = f"{ROOT}/shim/python"
START = f"import sys; sys.path.insert(0, {FOLDER!r}); import shim; shim.main()"


class Python(ShimCase):
	argv = ["/usr/bin/python3", "-S", "-X", "utf8", "-c", START]

	def test_hello_then_many_events(self):
		s = self.start("def handler(event, context):\n    return {'got': event}\n")
		hello = s.hello()
		self.assertRegex(hello["runtime"], r"^python3\.\d+\.\d+$")
		self.assertEqual(hello["pid"], s.process.pid)
		for value in (1, "é€😀", [1.5, None, True], {"a": {"b": "\u2028"}}, ""):
			self.assertEqual(s.ok(value), {"got": value})
		self.assertEqual(s.close(), 0)

	def test_runs_as_a_script_too(self):
		self.argv = ["/usr/bin/python3", f"{FOLDER}/shim.py"]
		self.assertEqual(self.run_one("def handler(event, context):\n    return __name__\n"), "app")

	def test_answers(self):
		s = self.start("def handler(event, context):\n    return eval(event)\n")
		s.hello()
		table = (
			("None", b"null"),
			("{'a': 'é'}", '{"a": "é"}'.encode()),
			("'\\ud800'", b'"\\ud800"'),
			("''", b'""'),
			("(1, 2)", b"[1, 2]"),
			("float('nan')", b"NaN"),
			("__import__('decimal').Decimal('12')", b"12"),
			("__import__('decimal').Decimal('1.5')", b"1.5"),
			("{1: 2}", b'{"1": 2}'),
		)
		for source, body in table:
			self.assertEqual(s.call(source), (DATA, body), source)

	def test_payload_may_be_padded_or_empty(self):
		s = self.start("def handler(event, context):\n    return event\n")
		s.hello()
		for payload, value in ((b' \n{"a":1}\r\n', {"a": 1}), (b"", {}), (b"0", 0)):
			s.sock.sendall(s.event_frames(payload))
			self.assertEqual(json.loads(s.answer()[1]), value)
		s.sock.sendall(s.event_frames(b"{nonsense"))
		kind, body = s.answer()
		self.assertEqual((kind, json.loads(body)["errorType"]), (ERROR, "Runtime.UnmarshalError"))

	def test_several_at_once(self):
		s = self.start("""
import logging, sys, threading, time
all_there = threading.Barrier(8)
log = logging.getLogger()
shared = {"same": "object"}
def handler(event, context):
    print("before", event, end="")
    all_there.wait()
    print(" and after")
    log.warning("of %s", event)
    sys.stderr.write("unfinished")
    if event == 3:
        raise KeyError(event)
    return [event, context.aws_request_id, context.get_remaining_time_in_millis() > 0, shared, "x" * 100000]
""", env={"TANDEM_SEATS": "8"})
		s.hello()
		for again in range(2):
			streams = {s.begin(n, request_id=f"req-{again}-{n}"): n for n in range(8)}
			for stream, (kind, body, log) in s.several(8).items():
				n = streams[stream]
				if n == 3:
					self.assertEqual((kind, json.loads(body)["errorType"], json.loads(body)["requestId"]), (ERROR, "KeyError", f"req-{again}-3"))
					self.assertIn("[ERROR] KeyError: 3\n", log)
				else:
					self.assertEqual(kind, DATA)
					self.assertEqual(json.loads(body), [n, f"req-{again}-{n}", True, {"same": "object"}, "x" * 100000])
				self.assertIn(f"before {n} and after\n", log)
				self.assertRegex(log, rf"\[WARNING\]\t[^\t]*Z\treq-{again}-{n}\tof {n}\n")
				self.assertIn("unfinished", log)
		self.assertEqual(s.text(), "")
		self.assertEqual(s.close(), 0)

	def test_several_a_new_daemon_asks(self):
		s = self.start("""
import threading
go = threading.Event()
def handler(event, context):
    if event == "go":
        go.set()
    else:
        go.wait()
    return event
""", env={"TANDEM_SEATS": "3"})
		s.hello()
		first, second = s.begin("a", request_id="id-a"), s.begin("b", request_id="id-b")
		s.sock.sendall(frame(PING, 0, 99, b""))
		third = s.begin("go", request_id="id-go")
		self.assertEqual({k: v[1] for k, v in s.several(3).items()}, {first: b'"a"', second: b'"b"', third: b'"go"'})
		kind, _, stream, body = s.frame()
		self.assertEqual((kind, stream), (PING, 99))
		self.assertEqual(sorted(body.decode().split("\n")), [f"{first} id-a", f"{second} id-b", f"{third} id-go"])

	def test_several_and_one_ends_the_process(self):
		for what, code in (("sys.exit(7)", 7), ("sys.exit()", 0), ("sys.exit('so')", 1), ("os._exit(9)", 9)):
			s = self.start(f"import os, sys\ndef handler(event, context):\n    {what}\n", env={"TANDEM_SEATS": "2"})
			s.hello()
			s.begin(1)
			self.assertEqual(s.wait(), code, what)

	def test_large_both_ways(self):
		s = self.start("def handler(event, context):\n    return event\n")
		s.hello()
		for size in (65000, 65534, 65535, 65536, 131072, 6291554):
			self.assertEqual(s.ok("x" * size), "x" * size)
		self.assertEqual(s.ok(3), 3)

	def test_split_and_joined_frames(self):
		s = self.start("def handler(event, context):\n    return event\n")
		s.hello()
		raw = s.event_frames(b'{"a":1}')
		for i in range(len(raw)):
			s.sock.sendall(raw[i : i + 1])
		self.assertEqual(s.answer(), (DATA, b'{"a": 1}'))
		s.sock.sendall(frame(PING, 0, 77, b"") + s.event_frames(b"2", "req-2") + frame(PING, 0, 78, b""))
		self.assertEqual(s.frame(), (PING, 0, 77, b"req-1"))  # whose answer was the last one
		self.assertEqual(s.answer(), (DATA, b"2"))
		self.assertEqual(s.frame(), (PING, 0, 78, b"req-2"))

	def test_too_large_answer(self):
		s = self.start("def handler(event, context):\n    return 'x' * event\n")
		s.hello()
		text = "Response payload size exceeded maximum allowed payload size (6291556 bytes)."
		self.assertEqual(s.error(6291555), {"errorMessage": text, "errorType": "Function.ResponseSizeTooLarge"})
		self.assertEqual(len(s.ok(6291554)), 6291554)

	def test_context(self):
		s = self.start(
			"import os\n"
			"def handler(event, c):\n"
			"    left = c.get_remaining_time_in_millis()\n"
			"    c.mark = 1\n"
			"    c.log('from log\\n')\n"
			"    cc = c.client_context\n"
			"    return [c.function_name, c.function_version, c.invoked_function_arn, c.memory_limit_in_mb, c.aws_request_id,\n"
			"        c.log_group_name, c.log_stream_name, c.identity.cognito_identity_id, c.identity.cognito_identity_pool_id,\n"
			"        cc and [cc.custom, cc.env, cc.client and cc.client.app_title], isinstance(left, int) and 0 < left <= 3000,\n"
			"        os.environ.get('_X_AMZN_TRACE_ID'), hasattr(c, 'nothing')]\n"
		)
		s.hello()
		head = ["hello", "$LATEST", ARN, "256"]
		logs = ["/aws/lambda/hello", "2025/01/01/[$LATEST]abc"]
		self.assertEqual(s.ok(request_id="id-1"), head + ["id-1"] + logs + [None, None, None, True, None, False])
		given = dict(client='{"custom":{"k":1},"client":{"app_title":"t"}}', identity='{"cognitoIdentityId":"i"}')
		self.assertEqual(
			s.ok(request_id="id-2", trace="Root=1-2", **given),
			head + ["id-2"] + logs + ["i", None, [{"k": 1}, None, "t"], True, "Root=1-2", False],
		)
		self.assertEqual(s.ok(request_id="id-3")[-2], None)
		self.assertIn("from log\n", s.text())

	def test_deadline_passed(self):
		s = self.start("def handler(event, c):\n    return c.get_remaining_time_in_millis()\n")
		s.hello()
		self.assertEqual(s.ok(timeout_ms=-50), 0)

	def test_handler_error(self):
		s = self.start("def inner():\n    raise ValueError('bad é')\ndef handler(event, context):\n    inner()\n")
		s.hello()
		file = f"{s.root}/app.py"
		error = s.error(request_id="id-9")
		self.assertEqual((error["errorMessage"], error["errorType"], error["requestId"]), ("bad é", "ValueError", "id-9"))
		self.assertEqual(list(error), ["errorMessage", "errorType", "requestId", "stackTrace"])
		lines = [f'  File "{file}", line 4, in handler\n    inner()\n', f'  File "{file}", line 2, in inner\n    raise ']
		self.assertEqual(error["stackTrace"][0], lines[0])
		self.assertTrue(error["stackTrace"][1].startswith(lines[1]))
		self.assertEqual(len(error["stackTrace"]), 2)
		self.assertIn("[ERROR] ValueError: bad é\nTraceback (most recent call last):\n  File ", s.text())
		self.assertEqual(s.error(request_id="id-10")["requestId"], "id-10")

	def test_strange_errors(self):
		s = self.start(
			"class Bad(Exception):\n    def __str__(self): raise KeyError\n"
			"def deep(n): return deep(n + 1)\n"
			"def handler(event, context):\n"
			"    if event == 'bad': raise Bad\n"
			"    if event == 'deep': return deep(0)\n"
			"    if event == 'long': raise ValueError('\\x01' * 1000000)\n"
			"    if event == 'loop':\n        a = []\n        a.append(a)\n        return a\n"
			"    if event == 'nest':\n        a = []\n        for _ in range(100000): a = [a]\n        return a\n"
			"    return 'fine'\n"
		)
		s.hello()
		table = (("bad", "Bad"), ("deep", "RecursionError"), ("long", "ValueError"))
		table += (("loop", "Runtime.MarshalError"), ("nest", "Runtime.MarshalError"))
		for event, kind in table:
			self.assertEqual(s.error(event)["errorType"], kind)
			self.assertEqual(s.ok("x"), "fine")

	def test_marshal_error(self):
		s = self.start("def handler(event, context):\n    return {'a': eval(event)}\n")
		s.hello()
		for source, name in (("b'x'", "bytes"), ("{1}", "set"), ("object()", "object")):
			error = s.error(source)
			text = f"Unable to marshal response: Object of type {name} is not JSON serializable"
			self.assertEqual((error["errorMessage"], error["errorType"]), (text, "Runtime.MarshalError"))
			self.assertEqual(error["stackTrace"], [])
		self.assertEqual(s.ok("{'b': []}"), {"a": {"b": []}})

	def test_init_errors(self):
		no = "Unable to import module 'app': No module named"
		bad = "Bad handler 'app': not enough values to unpack (expected 2, got 1)"
		conflict = "Cannot use built-in module sys as a handler module"
		syntax = "Syntax error in module 'app': invalid syntax (app.py, line 1)"
		table = (
			("import nothing_here\n", "app.handler", "Runtime.ImportModuleError", f"{no} 'nothing_here'"),
			(None, "app.handler", "Runtime.ImportModuleError", f"{no} 'app'"),
			("x = 1\n", "app.other", "Runtime.HandlerNotFound", "Handler 'other' missing on module 'app'"),
			("x = 1\n", "app", "Runtime.MalformedHandlerName", bad),
			("x = 1\n", "sys.exit", "Runtime.BuiltInModuleConflict", conflict),
			("def f(:\n", "app.handler", "Runtime.UserCodeSyntaxError", syntax),
			("1/0\n", "app.handler", "ZeroDivisionError", "division by zero"),
		)
		for source, handler, kind, text in table:
			s = self.start(source, handler=handler)
			error = s.init_error()
			self.assertEqual((error["errorType"], error["errorMessage"], error["requestId"]), (kind, text, ""))
			self.assertEqual(s.wait(), 1)
			self.assertIn(f"[ERROR] {kind}: {text}\n", s.text())
			if kind == "ZeroDivisionError":
				line = f'  File "{s.root}/app.py", line 1, in <module>\n    1/0\n    ~^~\n'
				self.assertEqual(error["stackTrace"], [line])

	def test_handler_paths(self):
		code = "def handler(event, context):\n    return __name__\n"
		for handler, name in (("path/to/mod.handler", "path.to.mod"), ("path.to.mod.handler", "path.to.mod")):
			s = self.start(files={"path/to/mod.py": code}, handler=handler)
			s.hello()
			self.assertEqual(s.ok(), name)

	def test_exits(self):
		for source, code in (("exit(3)", 3), ("import os; os._exit(4)", 4), ("raise SystemExit", 0), ("quit()", 0)):
			s = self.start(f"def handler(event, context):\n    print('leaving')\n    {source}\n")
			s.hello()
			self.assertRaises(EOFError, s.call, 1)
			self.assertEqual(s.wait(), code)
			self.assertEqual(s.text(), "leaving\n")

	def test_print_is_out_before_the_answer(self):
		code = "    print('a', end='')\n    sys.stderr.write('b')\n    print('é')\n"
		s = self.start("import sys\ndef handler(event, context):\n" + code)
		s.hello()
		s.ok()
		self.assertEqual(s.text().replace("b", ""), "aé\n")
		s.ok()
		self.assertEqual(s.text().count("b"), 2)

	def test_logging(self):
		s = self.start(
			"import logging\nlogging.basicConfig(level=logging.DEBUG)\nlog = logging.getLogger()\nlog.warning('early')\n"
			"def handler(event, context):\n    log.info('hidden')\n    log.error('seen %d', event)\n"
		)
		s.hello()
		s.ok(5, request_id="id-5")
		lines = s.text().splitlines()
		self.assertEqual(len(lines), 2)
		self.assertRegex(lines[0], r"^\[WARNING\]\t\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\t\tearly$")
		self.assertRegex(lines[1], r"^\[ERROR\]\t\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\tid-5\tseen 5$")

	def test_stdout_closed_by_the_handler(self):
		code = "    sys.stdout.close()\n    if event: raise ValueError('x')\n"
		s = self.start("import sys\ndef handler(event, context):\n" + code)
		s.hello()
		self.assertEqual(s.ok(0), None)
		self.assertEqual(s.error(1)["errorType"], "ValueError")

	def test_sys_path_and_environment(self):
		code = "import os, sys\ndef handler(event, context):\n    return [sys.path, dict(os.environ)]\n"
		s = self.start(code, env={"PYTHONPATH": "/nowhere/at/all"})
		s.hello()
		path, env = s.ok()
		self.assertEqual(path[0], s.root)
		self.assertIn("/nowhere/at/all", path)
		self.assertNotIn(FOLDER, path)
		self.assertNotIn("", path)
		self.assertNotIn("TANDEM_FD", env)

	def test_sitecustomize(self):
		files = {"site/sitecustomize.py": "import os\nos.environ['SEEN'] = '1'\n"}
		code = "import os\ndef handler(event, context):\n    return os.environ.get('SEEN')\n"
		s = self.start(code, files=files, env={"PYTHONPATH": "{root}/site"})
		s.hello()
		self.assertEqual(s.ok(), "1")

	def test_socket_is_not_inherited(self):
		code = "import os, subprocess\ndef handler(event, context):\n    os.system('true')\n"
		code += "    run = dict(shell=True, close_fds=False, capture_output=True, text=True)\n"
		code += "    return subprocess.run('readlink /proc/self/fd/*', **run).stdout\n"
		self.assertNotIn("socket:", self.run_one(code))


if __name__ == "__main__":
	unittest.main()
