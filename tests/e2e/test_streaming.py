# SPDX-License-Identifier: Apache-2.0
"""Streamed responses: InvokeWithResponseStream by both SDKs for JavaScript, of Node and of programs on the Runtime API."""
import json
import socket
import subprocess
import unittest

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

import tandem

NODE = """
const forever = () => new Promise(() => setInterval(() => {}, 1000))
const block = Buffer.alloc(65536, "x")
async function fill(stream, n) {
	for (let i = 0; i < n; i++)
		if (!stream.write(block))
			await new Promise((go) => stream.once("drain", go))
}
exports.handler = awslambda.streamifyResponse(async (event, stream, context) => {
	switch (event.do || event.queryStringParameters?.do) {
	case "first":
		stream.write("first")
		return forever()
	case "fail":
		stream.write("some")
		throw new TypeError("in the middle")
	case "fail-at-once":
		throw new Error("nothing written")
	case "big":
		await fill(stream, event.blocks || 20)
		console.log("written " + context.awsRequestId)
		break
	case "prelude":
		stream = awslambda.HttpResponseStream.from(stream, {statusCode: 201, headers: {a: "b"}})
	}
	stream.write("hello ")
	stream.write("from " + context.functionName)
	stream.end()
})
exports.plain = async (event) => ({plain: event})
"""
BOOTSTRAP = """#!/usr/bin/python3
import http.client, os
host = os.environ["AWS_LAMBDA_RUNTIME_API"]
while True:
    c = http.client.HTTPConnection(host)
    c.request("GET", "/2018-06-01/runtime/invocation/next")
    answer = c.getresponse()
    id_, event = answer.headers["Lambda-Runtime-Aws-Request-Id"], answer.read()
    path = "/2018-06-01/runtime/invocation/" + id_ + "/response"
    def pieces():
        yield b"one "
        if b"cut" in event:
            raise SystemExit
        for i in range(200):
            yield b"x" * 65536
        yield b" end"
    c = http.client.HTTPConnection(host)
    c.request("POST", path, pieces(), {"Lambda-Runtime-Function-Response-Mode": "streaming", "Transfer-Encoding": "chunked"}, encode_chunked=True)
    assert c.getresponse().status == 202
"""
V3 = """
const {LambdaClient: C, InvokeWithResponseStreamCommand: I} = require("@aws-sdk/client-lambda")
async function main() {
	const said = [], hash = require("crypto").createHash("sha256")
	let bytes = 0
	const r = await new C({endpoint: process.env.ENDPOINT, maxAttempts: 1}).send(new I({FunctionName: %s, Payload: %s, LogType: "Tail"}))
	for await (const e of r.EventStream)
		if (e.PayloadChunk) {
			hash.update(e.PayloadChunk.Payload)
			bytes += e.PayloadChunk.Payload.length
			if (bytes < 1000)
				said.push(Buffer.from(e.PayloadChunk.Payload).toString())
		} else {
			said.push(e.InvokeComplete)
		}
	console.log(JSON.stringify({said, bytes, sha: hash.digest("hex"), version: r.ExecutedVersion}))
}
main().catch((e) => console.log(JSON.stringify({error: e.name, status: e.$metadata.httpStatusCode})))
"""


class Streaming(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = tandem.Tandem()
        cls.t.start()
        cls.addClassCleanup(cls.t.close)
        cls.c = cls.t.client("lambda")
        node = {"Runtime": "nodejs18.x", "Role": tandem.ROLE, "Code": {"ZipFile": tandem.zip_of({"app.js": NODE})}, "Timeout": 60}
        cls.c.create_function(FunctionName="node", Handler="app.handler", **node)
        cls.c.create_function(FunctionName="short", Handler="app.handler", **{**node, "Timeout": 5})
        cls.c.create_function(FunctionName="plain", Handler="app.plain", **node)
        cls.c.create_function(FunctionName="program", Runtime="provided.al2", Handler="x", Role=tandem.ROLE, Timeout=60,
                              Code={"ZipFile": tandem.zip_of({"bootstrap": BOOTSTRAP})})
        for name in ("node", "short", "plain", "program"):
            cls.c.get_waiter("function_active_v2").wait(FunctionName=name)

    def stream(self, name, **event):
        return self.t.node(self, V3 % (json.dumps(name), json.dumps(json.dumps(event))))

    def test_pieces(self):
        answer = self.stream("node")
        self.assertEqual("".join(answer["said"][:-1]), "hello from node")
        self.assertIn("LogResult", answer["said"][-1])
        self.assertNotIn("ErrorCode", answer["said"][-1])
        self.assertEqual(answer["version"], "$LATEST")
        answer = self.stream("node", do="prelude")
        self.assertEqual("".join(answer["said"][:-1]), '{"statusCode":201,"headers":{"a":"b"}}' + "\0" * 8 + "hello from node")

    def test_the_first_byte_comes_before_the_end(self):
        """The handler never ends: what it wrote is there before its time is over."""
        chunk, end = self.stream("short", do="first")["said"]
        self.assertEqual((chunk, end["ErrorCode"]), ("first", "Unhandled"))
        self.assertEqual(json.loads(end["ErrorDetails"])["errorType"], "Sandbox.Timedout")

    def test_an_error_in_the_middle(self):
        chunk, end = self.stream("node", do="fail")["said"]
        error = json.loads(end["ErrorDetails"])
        self.assertEqual((chunk, error["errorType"], error["errorMessage"]), ("some", "TypeError", "in the middle"))
        self.assertEqual("".join(self.stream("node")["said"][:-1]), "hello from node")

    def test_of_any_length_without_memory(self):
        before = int(tandem.status_of(tandem.daemon_of(self.t.pid))["VmHWM"].split()[0])
        answer = self.stream("node", do="big", blocks=500)
        self.assertEqual((answer["bytes"], answer["said"][-1].get("ErrorCode")), (32768000 + len("hello from node"), None))
        answer = self.stream("program")
        self.assertEqual((answer["bytes"], answer["said"][-1].get("ErrorCode")), (200 * 65536 + 8, None))
        self.assertLess(int(tandem.status_of(tandem.daemon_of(self.t.pid))["VmHWM"].split()[0]) - before, 20 << 10)

    def test_a_program_that_is_cut_off(self):
        chunk, end = self.stream("program", do="cut")["said"]
        self.assertEqual((chunk, end["ErrorCode"]), ("one ", "Unhandled"))
        self.assertEqual(self.stream("program")["bytes"], 200 * 65536 + 8)

    def test_by_other_ways(self):
        """A handler that knows nothing of streams; a plain Invoke of one that streams."""
        answer = self.stream("plain", a=1)
        self.assertEqual(answer["said"][0], '{"plain":{"a":1}}')
        answer = self.c.invoke(FunctionName="node", Payload=b"{}")
        self.assertEqual((answer["Payload"].read(), answer.get("FunctionError")), (b"hello from node", None))
        for name in ("node", "program"):
            answer = self.c.invoke(FunctionName=name, Payload=b'{"do": "big", "blocks": 200}')
            self.assertEqual(json.load(answer["Payload"])["errorType"], "Function.ResponseSizeTooLarge")
        answer = self.c.invoke(FunctionName="node", Payload=b'{"do": "fail"}')
        self.assertEqual(json.load(answer["Payload"])["errorMessage"], "in the middle")
        said = self.t.node(self, """
            new (require("aws-sdk")).Lambda({endpoint: process.env.ENDPOINT}).invokeWithResponseStream({FunctionName: "node", Payload: "{}"}, (e, r) => {
                let text = ""
                r.EventStream.on("data", (d) => { text += d.PayloadChunk ? d.PayloadChunk.Payload : "" })
                r.EventStream.on("end", () => console.log(JSON.stringify(text)))
            })""")
        self.assertEqual(said, "hello from node")

    def test_urls(self):
        """Of a function's URL with RESPONSE_STREAM: a prelude says status and headers; without one it is all body."""
        url = self.t.node(self, """
            const {LambdaClient: C, CreateFunctionUrlConfigCommand: U} = require("@aws-sdk/client-lambda")
            new C({endpoint: process.env.ENDPOINT}).send(new U({FunctionName: "short", AuthType: "NONE", InvokeMode: "RESPONSE_STREAM"}))
                .then((r) => console.log(JSON.stringify(r)))""")
        self.assertEqual(url["InvokeMode"], "RESPONSE_STREAM")
        self.c.add_permission(FunctionName="short", StatementId="all", Action="lambda:InvokeFunctionUrl", Principal="*", FunctionUrlAuthType="NONE")

        def curl(what, code=0):
            done = subprocess.run(["curl", "-sS", "-i", url["FunctionUrl"] + "?do=" + what], capture_output=True, timeout=60, check=False)
            self.assertEqual(done.returncode, code, done.stderr)
            head, _, body = done.stdout.partition(b"\r\n\r\n")
            return head.decode().lower(), body
        head, body = curl("prelude")
        self.assertIn(" 201 ", head.split("\r\n")[0])
        self.assertRegex(head, "\r\na: b")
        self.assertEqual(body, b"hello from short")
        head, body = curl("plain")
        self.assertIn("content-type: application/octet-stream", head)
        self.assertEqual((head.split()[1], body), ("200", b"hello from short"))
        self.assertEqual(len(curl("big")[1]), 20 * 65536 + len("hello from short"))
        self.assertEqual(curl("first", 18)[1], b"first")  # there before the end, which never came
        self.assertEqual(curl("fail-at-once")[0].split()[1], "502")

    def test_refused(self):
        self.assertEqual(self.stream("nobody")["status"], 404)
        self.c.put_function_concurrency(FunctionName="plain", ReservedConcurrentExecutions=0)
        self.assertEqual(self.stream("plain")["status"], 429)
        self.c.delete_function_concurrency(FunctionName="plain")

    def connect(self, name, event):
        """A client that has asked, and reads nothing yet."""
        request = AWSRequest("POST", f"{self.t.api}/2021-11-15/functions/{name}/response-streaming-invocations", {}, json.dumps(event))
        SigV4Auth(Credentials(self.t.env["access_key"], self.t.env["secret_key"]), "lambda", self.t.env["region"]).add_auth(request)
        host = self.t.api.removeprefix("http://")
        s = socket.socket()
        self.addCleanup(s.close)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        s.settimeout(60)
        s.connect((host.split(":")[0], int(host.split(":")[1])))
        lines = [f"{k}: {v}" for k, v in request.headers.items()] + [f"Host: {host}", f"Content-Length: {len(request.data)}", "Connection: close"]
        s.sendall((f"POST /2021-11-15/functions/{name}/response-streaming-invocations HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n" + request.data).encode())
        return s

    def test_who_does_not_read_is_waited_for(self):
        """The handler's writes wait until its time is over; what was not taken is nobody's memory."""
        def timeouts():
            return self.t.cli("logs", "short").count("Task timed out")
        before = timeouts()
        s = self.connect("short", {"do": "big", "blocks": 1000})
        tandem.wait_for(lambda: timeouts() > before, 60)
        got = b""
        while more := s.recv(1 << 20):
            got += more
        self.assertIn(b"Sandbox.Timedout", got[-2000:])
        self.assertLess(len(got), 1000 * 65536)

    def test_who_leaves_is_not_waited_for(self):
        s = self.connect("node", {"do": "big", "blocks": 400})
        head = b""
        while b"\r\n\r\n" not in head:
            head += s.recv(4096)
        id_ = next(line.split(b": ")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"x-amzn-requestid")).decode()
        s.close()
        tandem.wait_for(lambda: "written " + id_ in self.t.cli("logs", "node"))

    def test_the_rules_of_requests(self):
        with self.assertRaises(ClientError):
            self.c.invoke(FunctionName="node", InvocationType="Nonsense")
        done = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", "-d", "{", self.t.api + "/2021-11-15/functions/node/response-streaming-invocations"],
                              capture_output=True, text=True, check=True, timeout=60)
        self.assertEqual(done.stdout, "403")


if __name__ == "__main__":
    unittest.main()
