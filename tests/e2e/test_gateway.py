# SPDX-License-Identifier: Apache-2.0
"""The gateway over a raw socket: which function a path belongs to, and what of its answer reaches the client. Tables of both
conversions are in tests/trigger."""
import json
import os
import shutil
import socket
import subprocess
import tempfile
import unittest

import tandem

CODE = """
import json
ANSWERS = {
    "plain": "hi",
    "injected": {"statusCode": 200, "headers": {"x-a": "1\\r\\nx-evil: 1", "x-b": "2"}, "cookies": ["a=1", "b=2"], "body": "ok"},
    "framing": {"statusCode": 200, "headers": {"content-length": "99", "transfer-encoding": "chunked", "connection": "upgrade"}, "body": "ok"},
    "100": {"statusCode": 100}, "101": {"statusCode": 101}, "99": {"statusCode": 99}, "1000": {"statusCode": 1000},
    "204": {"statusCode": 204, "body": "none of this"}, "304": {"statusCode": 304, "body": "nor this"},
    "base64": {"statusCode": 200, "headers": {"content-type": "image/png"}, "isBase64Encoded": True, "body": "/wD+"},
    "bad64": {"statusCode": 200, "isBase64Encoded": True, "body": "!!!"},
}
def handler(event, context):
    kind = event.get("queryStringParameters", {}).get("give")
    if kind == "raise":
        raise ValueError("a secret")
    return ANSWERS[kind] if kind else {"statusCode": 200, "body": json.dumps({"by": context.function_name, "event": event})}
"""
ROUTES = {"root": "/a", "deep": "/a/b/*", "any": "/a/*"}


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Gateway(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = tandem.Tandem()
        cls.t.start()
        cls.addClassCleanup(cls.t.close)
        folder = tempfile.mkdtemp(prefix="tandem-gateway-")
        cls.addClassCleanup(shutil.rmtree, folder)
        os.mkdir(os.path.join(folder, "src"))
        with open(os.path.join(folder, "src", "app.py"), "w", encoding="utf-8") as f:
            f.write(CODE)
        with open(os.path.join(folder, "tandem.yaml"), "w", encoding="utf-8") as f:
            f.write("name: gateway\nfunctions:\n")
            for name, route in ROUTES.items():
                f.write(f"  {name}: {{code: src, runtime: python3.11, handler: app.handler, route: '{route}'}}\n")
        cls.t.cli("up", cwd=folder)
        cls.address = tuple(cls.t.gateway.removeprefix("http://").rsplit(":", 1))

    def ask(self, target, method="GET", headers="", body=b""):
        """(status, {header: [values]}, body) of one request; the server closes behind it."""
        with socket.create_connection(self.address, 30) as s:
            s.sendall(f"{method} {target} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n{headers}"
                      f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            said = b""
            while piece := s.recv(65536):
                said += piece
        head, _, rest = said.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        fields = {}
        for line in lines:
            name, _, value = line.partition(": ")
            fields.setdefault(name.lower(), []).append(value)
        return int(first.split()[1]), fields, rest

    def test_which_function(self):
        for target, by, route in [
                ("/a", "root", "/a"), ("/a?x=1", "root", "/a"), ("http://shop.example/a", "root", "/a"), ("/a/", "any", "/a/*"),
                ("/a/b", "any", "/a/*"), ("/a/b/", "deep", "/a/b/*"), ("/a/b/c/d", "deep", "/a/b/*"), ("/a//b/c", "any", "/a/*"),
                ("/a/b%2Fc", "any", "/a/*"), ("/a/../x", "any", "/a/*")]:
            with self.subTest(target=target):
                status, _, body = self.ask(target)
                self.assertEqual(status, 200, body)
                said = json.loads(body)
                self.assertEqual((said["by"], said["event"]["routeKey"]), (by, "ANY " + route))
                self.assertEqual(said["event"]["rawPath"], target.removeprefix("http://shop.example").partition("?")[0])
        for target in ("/", "/A", "/ab", "//a", "/x/../a", "/%61", "*"):
            with self.subTest(target=target):
                status, fields, body = self.ask(target, "OPTIONS")
                self.assertEqual((status, fields["content-type"]), (404, ["application/json"]))
                self.assertEqual(json.loads(body), {"message": "Not Found", "reason": "no function and no service has a route for this path"})

    def test_event(self):
        status, _, body = self.ask("/a/b/c?q=1&q=2", "PUT", "X-One: a\r\nx-one: b\r\nCookie: k=v; l=w\r\nContent-Type: image/png\r\n", b"\x00\xff")
        event = json.loads(body)["event"]
        self.assertEqual(status, 200)
        self.assertEqual((event["body"], event["isBase64Encoded"], event["cookies"]), ("AP8=", True, ["k=v", "l=w"]))
        self.assertEqual((event["headers"]["x-one"], event["queryStringParameters"]), ("a,b", {"q": "1,2"}))
        self.assertEqual(event["pathParameters"], {"proxy": "c"})
        http = event["requestContext"]["http"]
        self.assertEqual((http["method"], http["path"], http["sourceIp"]), ("PUT", "/a/b/c", "127.0.0.1"))

    def test_answers(self):
        self.assertEqual(self.ask("/a?give=plain")[::2], (200, b"hi"))
        status, fields, body = self.ask("/a?give=injected")
        self.assertEqual((status, fields["x-b"], fields["set-cookie"], body), (200, ["2"], ["a=1", "b=2"], b"ok"))
        self.assertFalse({"x-a", "x-evil"} & set(fields), fields)
        status, fields, body = self.ask("/a?give=framing")
        self.assertEqual((status, fields["content-length"], fields["connection"], body), (200, ["2"], ["close"], b"ok"))
        self.assertNotIn("transfer-encoding", fields)
        for status in (204, 304):
            self.assertEqual(self.ask(f"/a?give={status}")[::2], (status, b""))
        self.assertEqual(self.ask("/a?give=base64")[::2], (200, b"\xff\x00\xfe"))
        status, fields, body = self.ask("/a?give=base64", "HEAD")
        self.assertEqual((status, fields["content-length"], body), (200, ["3"], b""))

    def test_what_is_no_answer(self):
        """No answer of a function ends the daemon; it is told apart from a failure, and says nothing of the function's own."""
        for give in ("99", "100", "101", "1000", "bad64"):
            with self.subTest(give=give):
                status, _, body = self.ask("/a?give=" + give)
                self.assertEqual(status, 502)
                self.assertRegex(json.loads(body)["reason"], "base64" if give == "bad64" else "statusCode is not a number from 200 to 599")
        self.assertEqual(self.ask("/a?give=raise")[::2], (500, b'{"message":"Internal Server Error"}'))

    def test_too_large(self):
        """6 MB are what an event may have, as base64 too."""
        text = "Content-Type: text/plain\r\n"
        self.assertEqual(self.ask("/a", "POST", text, b"x" * 6000000)[0], 200)
        self.assertEqual(self.ask("/a", "POST", text, b"x" * 6291556)[0], 413)
        self.assertEqual(self.ask("/a", "POST", "Content-Type: image/png\r\n", b"x" * 4000000)[0], 200)
        self.assertEqual(self.ask("/a", "POST", "Content-Type: image/png\r\n", b"x" * 5000000)[0], 413)

    def test_curl(self):
        done = subprocess.run(["curl", "-sS", "-i", "-d", "{}", self.t.gateway + "/a?give=plain"], capture_output=True, timeout=30, check=True)
        self.assertRegex(done.stdout, rb"(?s)^HTTP/1\.1 200 OK\r\n.*\r\n\r\nhi$")


if __name__ == "__main__":
    unittest.main()
