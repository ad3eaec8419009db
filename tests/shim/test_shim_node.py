# SPDX-License-Identifier: Apache-2.0
"""shim/node/shim.js over a socket pair: what a handler sees, what an invoker gets back, what stands in the log."""
import json
import os
import re
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from shimtest import ARN, DATA, ERROR, HELLO, PING, ROOT, ShimCase, frame  # noqa: E402

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


class Node(ShimCase):
	argv = ["/usr/bin/node", f"{ROOT}/shim/node/shim.js"]

	def start(self, source=None, name="app.js", **more):
		return super().start(source, name, **more)

	def ready(self, source, **more):
		s = self.start(source, **more)
		s.hello()
		return s

	def test_several_at_once(self):
		s = self.start("""
let there = 0, go;
const all = new Promise((r) => { go = r; });
exports.handler = async (event, context) => {
	console.log('before', event);
	if (++there === 8) go();
	await all;
	console.log('after', event);
	if (event === 3) throw new RangeError('three');
	return [event, context.awsRequestId, context.getRemainingTimeInMillis() > 0, 'x'.repeat(100000)];
};
""", env={"TANDEM_SEATS": "8"})
		s.hello()
		for again in range(2):
			streams = {s.begin(n, request_id=f"req-{again}-{n}"): n for n in range(8)}
			for stream, (kind, body, log) in s.several(8).items():
				n = streams[stream]
				if n == 3:
					self.assertEqual((kind, json.loads(body)["errorType"]), (ERROR, "RangeError"))
					self.assertRegex(log, rf"\treq-{again}-3\tERROR\tInvoke Error")
				else:
					self.assertEqual(kind, DATA)
					self.assertEqual(json.loads(body), [n, f"req-{again}-{n}", True, "x" * 100000])
				for word in ("before", "after"):
					self.assertRegex(log, rf"\treq-{again}-{n}\tINFO\t{word} {n}\n")
				self.assertEqual(log.count("\n"), 2 + (n == 3))
		self.assertEqual(s.text(), "")

	def test_several_with_callbacks_and_without_an_end(self):
		s = self.start("""
const { setTimeout: nap } = require('timers/promises');
let release;
exports.handler = (event, context, callback) => {
	if (event === 'call') setImmediate(callback, null, 'back');
	else if (event === 'wait') return new Promise((r) => { release = r; });
	else if (event === 'release') { release('late'); callback(null, 'done'); }
	else callback(new Error('no'));
};
""", env={"TANDEM_SEATS": "4"})
		s.hello()
		waits = s.begin("wait")
		calls, fails = s.begin("call"), s.begin("fail")
		got = s.several(2)
		self.assertEqual(got[calls][:2], (DATA, b'"back"'))
		self.assertEqual(got[fails][0], ERROR)
		s.sock.sendall(frame(PING, 0, 99, b""))
		releases = s.begin("release", request_id="id-r")
		got = s.several(2)
		self.assertEqual((got[waits][1], got[releases][1]), (b'"late"', b'"done"'))
		kind, _, stream, body = s.frame()
		self.assertEqual((kind, stream), (PING, 99))
		self.assertIn(f"{releases} id-r", body.decode().split("\n"))

	def test_several_are_not_for_a_handler_that_streams(self):
		s = self.start("exports.handler = awslambda.streamifyResponse(async (event, out) => { out.end('x'); });",
			name="app.js", env={"TANDEM_SEATS": "4"})
		kind, flags, stream, body = s.frame()
		self.assertEqual((kind, flags), (HELLO, 5))

	def test_hello_then_many_events(self):
		s = self.start("exports.handler = async (event) => ({ got: event });")
		hello = s.hello()
		self.assertRegex(hello["runtime"], r"^nodejs\d+\.\d+\.\d+$")
		self.assertEqual(hello["pid"], s.process.pid)
		for value in (1, "é€😀", [1.5, None, True], {"a": {"b": "\u2028"}}, ""):
			self.assertEqual(s.ok(value), {"got": value})
		self.assertEqual(s.close(), 0)

	def test_handler_styles(self):
		table = (
			("exports.handler = async () => 1;", 1),
			("exports.handler = () => Promise.resolve(2);", 2),
			("exports.handler = (e, c, cb) => cb(null, 3);", 3),
			("exports.handler = (e, c, cb) => { setTimeout(cb, 5, null, 4); };", 4),
			("exports.handler = (e, c) => c.succeed(5);", 5),
			("exports.handler = (e, c) => { setImmediate(() => c.done(null, 6)); };", 6),
			("exports.handler = () => 7;", None),  # neither promise nor callback: nobody gives an answer
			("exports.handler = () => new Promise(() => {});", None),
			("exports.handler = async () => undefined;", None),
			("module.exports = { handler: async () => new Promise((r) => setTimeout(r, 5, 8)) };", 8),
			("exports.handler = (e, c, cb) => { cb(null, 9); cb(null, 10); c.succeed(11); };", 11),
			("exports.handler = (e, c) => { c.succeed(12); c.succeed(13); };", 12),
		)
		for source, value in table:
			s = self.ready(source)
			self.assertEqual([s.ok(), s.ok()], [value, value], source)
			self.assertEqual(s.close(), 0)

	def test_callback_waits_for_empty_loop(self):
		code = "let done = 0; exports.handler = (e, c, cb) => { setTimeout(() => done++, 30);"
		code += " c.callbackWaitsForEmptyEventLoop = e; const r = { get d() { return done; } }; cb(null, r); };"
		s = self.ready(code)
		self.assertEqual(s.ok(True), {"d": 1})
		self.assertEqual(s.ok(False), {"d": 1})

	def test_module_kinds(self):
		esm = "import fs from 'node:fs'; const x = await Promise.resolve(41);"
		esm += " export const handler = async () => x + 1 + fs.existsSync('/x');"
		dep = {"node_modules/dep/index.js": "module.exports = 46", "app.js": "exports.handler = async () => require('dep');"}
		mixed = {"app.js": "exports.handler = async () => (await import('./m.mjs')).default;", "m.mjs": "export default 47"}
		table = (
			({"app.mjs": esm}, "app.handler", 42),
			({"app.js": esm, "package.json": '{"type":"module"}'}, "app.handler", 42),
			({"app.cjs": "exports.handler = async () => 43;"}, "app.handler", 43),
			({"src/lib/app.js": "exports.handler = async () => 44;"}, "src/lib/app.handler", 44),
			({"app.js": "exports.a = { b: async () => 45 };"}, "app.a.b", 45),
			(dep, "app.handler", 46),
			(mixed, "app.handler", 47),
			({"app.js": "throw 1", "app": "exports.handler = async () => 48;"}, "app.handler", 48),
			({"node_modules/dep/index.js": "exports.handler = async () => 49;"}, "dep.handler", 49),
		)
		for files, handler, value in table:
			s = self.start(files=files, handler=handler)
			s.hello()
			self.assertEqual(s.ok(), value, files)

	def test_large_both_ways(self):
		s = self.ready("exports.handler = async (event) => event;")
		for size in (21843, 21844, 65000, 65534, 65535, 65536, 131072, 6291554):
			self.assertEqual(s.ok("x" * size), "x" * size)
		self.assertEqual(s.ok("é" * 40000), "é" * 40000)
		self.assertEqual(s.ok(3), 3)

	def test_split_and_joined_frames(self):
		s = self.ready("exports.handler = async (event) => event;")
		raw = s.event_frames(b'{"a":1}')
		for i in range(len(raw)):
			s.sock.sendall(raw[i : i + 1])
		self.assertEqual(s.answer(), (DATA, b'{"a":1}'))
		s.sock.sendall(frame(PING, 0, 77, b"") + s.event_frames(b"", "req-2") + frame(PING, 0, 78, b""))
		got = [s.frame() for _ in range(3)]
		self.assertEqual([f[0] for f in got], [PING, DATA, PING])  # the second waits for the event's end
		self.assertEqual(got[1][3], b"{}")
		self.assertEqual([(f[2], f[3]) for f in got if f[0] == PING], [(77, b"req-1"), (78, b"req-2")])

	def test_too_large_answer(self):
		s = self.ready("exports.handler = async (event) => 'x'.repeat(event);")
		text = "Response payload size exceeded maximum allowed payload size (6291556 bytes)."
		self.assertEqual(s.error(6291555), {"errorMessage": text, "errorType": "Function.ResponseSizeTooLarge"})
		self.assertEqual(len(s.ok(6291554)), 6291554)

	def test_context(self):
		s = self.ready(
			"exports.handler = async (event, c) => { const left = c.getRemainingTimeInMillis();"
			" return [c, left > 0 && left <= 3000, process.env._X_AMZN_TRACE_ID, process.env.TANDEM_FD]; };"
		)
		want = {
			"callbackWaitsForEmptyEventLoop": True,
			"functionVersion": "$LATEST",
			"functionName": "hello",
			"memoryLimitInMB": "256",
			"logGroupName": "/aws/lambda/hello",
			"logStreamName": "2025/01/01/[$LATEST]abc",
			"invokedFunctionArn": ARN,
			"awsRequestId": "id-1",
		}
		self.assertEqual(s.ok(request_id="id-1"), [want, True, None, None])
		want.update(awsRequestId="id-2", clientContext={"k": "é"}, identity={"cognitoIdentityId": "i"})
		given = dict(client='{"k":"é"}', identity='{"cognitoIdentityId":"i"}')
		self.assertEqual(s.ok(request_id="id-2", trace="Root=1-2", **given), [want, True, "Root=1-2", None])
		self.assertEqual(s.ok()[2], None)

	def test_errors(self):
		code = """
		class Own extends Error { constructor(m) { super(m); this.name = 'Own'; this.code = 7; } }
		exports.handler = (event, c, cb) => {
			if (event === 'throw') throw new Own('bad é');
			if (event === 'reject') return Promise.reject(new TypeError('t'));
			if (event === 'callback') return cb(new Error('c'));
			if (event === 'fail') return c.fail(new Error('f'));
			if (event === 'string') return cb('text');
			if (event === 'object') return c.fail({ a: 1 });
			if (event === 'null') return Promise.reject(null);
			if (event === 'long') throw new Error('\\u0001'.repeat(1000000));
			if (event === 'loop') { const a = {}; a.a = a; return Promise.resolve(a); }
			if (event === 'deep') { const f = () => f() + 1; f(); }
			if (event === 'loopy') { const e = new Error('x'); e.self = e; throw e; }
			return cb(null, 'fine');
		};"""
		s = self.ready(code)
		table = (
			("throw", "Own", "bad é"), ("reject", "TypeError", "t"), ("callback", "Error", "c"), ("fail", "Error", "f"),
			("string", "string", "text"), ("object", "object", "[object Object]"), ("null", "object", "null"),
			("long", "Error", None), ("loop", "Runtime.MarshalError", None), ("loopy", "Error", "x"),
			("deep", "RangeError", "Maximum call stack size exceeded"),
		)
		for event, kind, text in table:
			error = s.error(event, request_id="id-" + event)
			self.assertEqual(list(error), ["errorType", "errorMessage", "trace"])
			self.assertEqual(error["errorType"], kind, event)
			if text is not None:
				self.assertEqual(error["errorMessage"], text, event)
			if event == "throw":
				self.assertRegex(error["trace"][0], "^(Own|Error): bad é$")
				self.assertIn(f"{s.root}/app.js:4:", error["trace"][1])
			self.assertEqual(s.ok("x"), "fine")
		line = next(l for l in s.text().splitlines() if "id-throw" in l)
		m = re.fullmatch(STAMP + r"\tid-throw\tERROR\tInvoke Error \t(\{.*\})", line)
		said = json.loads(m.group(1))
		self.assertEqual((said["errorType"], said["errorMessage"], said["code"]), ("Own", "bad é", 7))

	def test_init_errors(self):
		no = "Error: Cannot find module '%s'\nRequire stack:\n- "
		table = (
			("require('nothing')", "app.handler", "Runtime.ImportModuleError", no % "nothing"),
			(None, "app.handler", "Runtime.ImportModuleError", no % "app"),
			("exports.x = 1", "app.other", "Runtime.HandlerNotFound", "app.other is undefined or not exported"),
			("exports.x = 1", "app.x", "Runtime.HandlerNotFound", "app.x is not a function"),
			("exports.x = 1", "app", "Runtime.MalformedHandlerName", "Bad handler"),
			("exports.x = 1", "../app.x", "Runtime.MalformedHandlerName", "'../app.x' is not a valid handler name. "),
			("function (", "app.handler", "Runtime.UserCodeSyntaxError", "SyntaxError: "),
			("throw new RangeError('r')", "app.handler", "RangeError", "r"),
			("throw 'text'", "app.handler", "string", "text"),
		)
		for source, handler, kind, text in table:
			s = self.start(source, handler=handler)
			error = s.init_error()
			self.assertEqual(error["errorType"], kind, source)
			self.assertTrue(error["errorMessage"].startswith(text), error)
			self.assertEqual(s.wait(), 1)
			self.assertRegex(s.text(), "^" + STAMP + "\tundefined\tERROR\tUncaught Exception \t")
		s = self.start("import 'nothing-here'; export const handler = 1;", name="app.mjs")
		self.assertEqual(s.init_error()["errorType"], "Runtime.ImportModuleError")

	def test_ends(self):
		table = (
			("setTimeout(() => { throw new Error('u'); }, 1);", "Error", "u", 129),
			("Promise.reject(new Error('p'));", "Runtime.UnhandledPromiseRejection", "Error: p", 128),
			("Promise.reject(undefined);", "Runtime.UnhandledPromiseRejection", "undefined", 128),
		)
		for source, kind, text, code in table:
			s = self.ready(f"exports.handler = async () => {{ {source} await new Promise((r) => setTimeout(r, 5000)); }};")
			error = s.error(request_id="id-1")
			self.assertEqual((error["errorType"], error["errorMessage"]), (kind, text))
			self.assertEqual(s.wait(), code)
			self.assertRegex(s.text(), r"\tid-1\tERROR\t(Uncaught Exception|Unhandled Promise Rejection) \t\{")
		s = self.ready("exports.handler = async () => { console.log('leaving'); process.exit(3); };")
		self.assertRaises(EOFError, s.call, 1)
		self.assertEqual(s.wait(), 3)
		self.assertRegex(s.text(), "^" + STAMP + "\treq-1\tINFO\tleaving\n$")

	def test_console(self):
		code = "console.log('early'); exports.handler = async () => { console.log('a %s', 'b', { c: 1 });"
		code += " console.error('é'); console.warn(1); console.debug('d'); console.info('two\\nlines');"
		code += " process.stdout.write('raw\\n'); console.trace('t'); };"
		s = self.ready(code)
		s.ok(request_id="id-1")
		lines = s.text().splitlines()
		want = ["undefined\tINFO\tearly", "id-1\tINFO\ta b { c: 1 }", "id-1\tERROR\té", "id-1\tWARN\t1"]
		want += ["id-1\tDEBUG\td", "id-1\tINFO\ttwo"]
		for line, tail in zip(lines, want):
			self.assertRegex(line, "^" + STAMP + "\t" + re.escape(tail) + "$")
		self.assertEqual(lines[6:8], ["lines", "raw"])
		self.assertRegex(lines[8], "^" + STAMP + "\tid-1\tTRACE\tTrace: t$")

	def test_work_goes_on_after_the_answer(self):
		code = "let n = 0; exports.handler = async (e) => { if (!e) setTimeout(() => n++, 5);"
		s = self.ready(code + " else while (n === 0) await new Promise((r) => setTimeout(r, 1)); return n; };")
		self.assertEqual(s.ok(0), 0)
		self.assertEqual(s.ok(1), 1)

	def test_socket_is_not_inherited(self):
		code = "exports.handler = async () => require('child_process').execFileSync('sh',"
		code += " ['-c', 'readlink /proc/self/fd/[3-9]; true'], { stdio: ['ignore', 'pipe', 'ignore'] }).toString();"
		s = self.ready(code)
		self.assertNotIn("socket:", s.ok())


if __name__ == "__main__":
	unittest.main()
