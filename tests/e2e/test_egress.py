# SPDX-License-Identifier: Apache-2.0
"""Where functions may connect to, from tandem.yaml to the wire, in a host that the test made (tests/spawn/net_world.py)."""
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import oci
import tandem

sys.path.insert(0, os.path.join(tandem.ROOT, "tests", "spawn"))
import net_world as net  # noqa: E402 pylint: disable=wrong-import-position
from spawner_driver import enter_net  # noqa: E402 pylint: disable=wrong-import-position

CODE = """
import errno, os, socket

def names(event):
    out = {}
    for name in event["names"]:
        try:
            out[name] = sorted({a[4][0] for a in socket.getaddrinfo(name, 443, socket.AF_INET, socket.SOCK_STREAM)})
        except socket.gaierror as e:
            out[name] = e.strerror
    return out

def ways(event):
    out = {}
    for name in event["to"]:
        try:
            with socket.create_connection((name, PORT), 30) as s:
                out[name] = s.recv(1).decode()
        except OSError as e:
            out[name] = errno.errorcode.get(e.errno, str(e))
    return out

def flood(event):
    # More questions at once than are asked on for one sandbox: the code of the first answer
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(("169.254.100.2", 53))
    for k in range(event["n"]):
        s.send(os.urandom(2) + bytes.fromhex("01000001000000000000" "0673696c656e74" "0474657374" "00" "00010001"))
    s.settimeout(30)
    return s.recv(512)[3] & 15

def handler(event, context):
    return globals()[event["do"]](event)
""".replace("PORT", str(net.PORT))
FUNCTION = "  {name}:\n    code: code\n    runtime: python3.11\n    handler: app.handler\n    timeout: 60s\n    snapshot: off\n{egress}"
# The host's resolver. What is no answer to the question comes first when it is asked for forged.test; silent.test hears nothing.
RESOLVER = r"""
import socket, struct, sys
known = {b"public.test": PUBLIC, b"private.test": PRIVATE, b"metadata.test": METADATA, b"forged.test": PUBLIC}
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.53", 53))
print("ready", flush=True)

def answer(ident, question, address):
    record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04" + socket.inet_aton(address) if address else b""
    return ident + struct.pack(">HHHHH", 0x8180 if address else 0x8183, 1, 1 if address else 0, 0, 0) + question + record

while True:
    q, peer = s.recvfrom(2048)
    at, labels = 12, []
    while q[at]:
        labels.append(q[at + 1:at + 1 + q[at]])
        at += 1 + q[at]
    name, question = b".".join(labels).lower(), q[12:at + 5]
    if name == b"silent.test":
        continue
    if name == b"forged.test":
        for wrong in (answer(bytes([q[0] ^ 1]) + q[1:2], question, HOST), answer(q[:2], b"\x05other" + question[7:], HOST), q, b"", q[:7], b"x" * 3000):
            s.sendto(wrong, peer)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.54", 53))
            other.sendto(answer(q[:2], question, HOST), peer)
    s.sendto(answer(q[:2], question, known.get(name)), peer)
"""
for word, value in (("PUBLIC", net.PUBLIC), ("PRIVATE", net.PRIVATE[0]), ("METADATA", net.METADATA), ("HOST", net.HOST)):
    RESOLVER = RESOLVER.replace(word, repr(value))
SENDER = """
#include <arpa/inet.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	char text[1000] = "";

	inet_pton(AF_INET, argv[1], &to.sin_addr);
	for (int i = 0; i < 100; i++)
		sendto(fd, text, sizeof(text), 0, (struct sockaddr *)&to, sizeof(to));
	pause();
}
"""
CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 0x1000, 0x4000, 0x40000


def doctor(t):
    """What it says; it may find things missing on this host."""
    return subprocess.run([tandem.PROGRAM, "--state", t.state, "doctor"], capture_output=True, text=True, timeout=60 * tandem.SLOW, check=False).stdout


class Egress(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="tandem-e2e-egress-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.world = net.World()
        cls.addClassCleanup(cls.world.close)
        # This program too, as a client of the API; the daemon begins as its child.
        own = f"/proc/self/fd/{os.open('/proc/thread-self/ns/net', os.O_RDONLY)}"
        enter_net(cls.world.host)
        cls.addClassCleanup(enter_net, own)
        cls.resolver = cls.world.run(cls.world.host, [sys.executable, "-c", RESOLVER], stdout=subprocess.PIPE, text=True)
        cls.addClassCleanup(cls.resolver.stdout.close)
        cls.addClassCleanup(cls.resolver.wait)
        cls.addClassCleanup(cls.resolver.kill)
        assert cls.resolver.stdout.readline() == "ready\n"
        os.mkdir(cls.folder + "/code")
        cls.put("code/app.py", CODE)
        cls.put("resolv.conf", "nameserver 127.0.0.52\nnameserver 127.0.0.53\n")  # at the first nobody listens
        cls.t = tandem.Tandem(before=cls.move, egress=True)
        cls.t.start()
        cls.addClassCleanup(cls.t.close)
        cls.declare()
        cls.c = cls.t.client(read_timeout=90 * tandem.SLOW)

    @classmethod
    def put(cls, name, text):
        with open(os.path.join(cls.folder, name), "w", encoding="utf-8") as f:
            f.write(text)

    @classmethod
    def move(cls):
        """The daemon's host has a resolv.conf of the test's."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNS) or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) or \
                libc.mount((cls.folder + "/resolv.conf").encode(), os.path.realpath("/etc/resolv.conf").encode(), None, MS_BIND, None):
            raise OSError(ctypes.get_errno(), "resolv.conf")

    @classmethod
    def declare(cls, **egress):
        egress = {"free": "", "flooder": "", "closed": "    egress: none\n", "lan": "    egress: [10.77.0.0/16, internet]\n",
                  "only": f"    egress: [{net.HOST}, {net.METADATA}/32]\n", **egress}
        cls.put("tandem.yaml", "name: egress\nfunctions:\n" + "".join(FUNCTION.format(name=n, egress=e) for n, e in egress.items()))
        return cls.t.cli("up", cwd=cls.folder)

    def ask(self, function, **event):
        answer = self.c.invoke(FunctionName=function, Payload=json.dumps(event))
        body = json.load(answer["Payload"])
        self.assertNotIn("FunctionError", answer, body)
        return body

    def test_ways(self):
        to = [net.PUBLIC, net.HOST, "10.77.0.1", "192.168.77.1", net.METADATA]
        for function, there in (("free", {net.PUBLIC}), ("closed", set()), ("lan", {net.PUBLIC, "10.77.0.1"}), ("only", {net.HOST, net.METADATA})):
            self.assertEqual(self.ask(function, do="ways", to=to), {a: "x" if a in there else "ENETUNREACH" for a in to}, function)

    def test_what_a_container_sends_is_in_the_ledger(self):
        """While it runs, and in its row."""
        with open(self.folder + "/send.c", "w", encoding="ascii") as f:
            f.write(SENDER)
        subprocess.run(["gcc", "-static", "-o", self.folder + "/send", self.folder + "/send.c"], check=True)
        with open(self.folder + "/send", "rb") as f:
            layout = oci.Image(oci.layer({"send": f.read()}), config={"Entrypoint": ["/send", net.PUBLIC]}).layout(self.folder + "/box", "v1")
        self.t.cli("pull", "oci:" + layout + ":v1", "--tag", "localhost/send:v1")

        def sent(by):
            found = json.loads(self.t.cli("cost", "--by", by, "-o", "json", "--workload", "task/sender"))
            return [x["bytes_out"] for x in found["rows" if by == "rows" else "sums"]]

        self.t.cli("run", "-d", "--name", "sender", "localhost/send:v1")
        tandem.wait_for(lambda: any(n >= 100_000 for n in sent("network")))
        self.assertEqual(sent("rows"), [])
        self.t.cli("stop", "sender")
        row = tandem.wait_for(lambda: sent("rows"))
        self.assertEqual(sent("network"), row)
        self.assertTrue(100_000 <= row[0] < 200_000, row)
        self.assertRegex(self.t.cli("cost", "--by", "network"), r"task/sender +[\d.]+ +0\.0001\d\d")

    def test_names(self):
        said = {"public.test": [net.PUBLIC], "private.test": [net.PRIVATE[0]], "PUBLIC.test": [net.PUBLIC], "nowhere.test": "Name or service not known",
                "forged.test": [net.PUBLIC], "lambda.us-east-1.amazonaws.com": ["169.254.100.2"]}
        for function in ("free", "lan", "only"):
            self.assertEqual(self.ask(function, do="names", names=list(said)), said, function)
        closed = {n: "Name or service not known" for n in said} | {"lambda.us-east-1.amazonaws.com": ["169.254.100.2"]}
        self.assertEqual(self.ask("closed", do="names", names=list(said)), closed)

    def test_a_name_of_a_private_address_leads_nowhere(self):
        self.assertEqual(self.ask("free", do="ways", to=["public.test", "private.test", "metadata.test"]),
                         {"public.test": "x", "private.test": "ENETUNREACH", "metadata.test": "ENETUNREACH"})
        self.assertEqual(self.ask("lan", do="ways", to=["private.test"]), {"private.test": "x"})

    def test_a_resolver_that_says_nothing(self):
        self.assertEqual(self.ask("free", do="names", names=["silent.test", "public.test"]),
                         {"silent.test": "Temporary failure in name resolution", "public.test": [net.PUBLIC]})

    def test_a_flood_of_questions_harms_nobody(self):
        self.assertEqual(self.ask("flooder", do="flood", n=33), 2)  # SERVFAIL
        self.assertEqual(self.ask("lan", do="names", names=["public.test"]), {"public.test": [net.PUBLIC]})

    def test_what_is_said_of_it(self):
        for function, egress, network in (
                ("free", "internet", "the platform's addresses, and over IPv4 public addresses"),
                ("closed", "none", "loopback and the platform's addresses only"),
                ("only", f"{net.HOST}/32 {net.METADATA}/32", "the platform's addresses, and over IPv4 what egress says")):
            got = json.loads(self.t.cli("describe", function, "-o", "json"))
            self.assertEqual((got["egress"], got["network"]), (egress, network))
        self.assertIn("Functions reach the internet", doctor(self.t))

    def test_a_change_holds_for_new_instances_and_survives(self):
        self.assertIn("egress internet -> none", self.declare(free="    egress: none\n"))
        self.assertEqual(self.ask("free", do="ways", to=[net.PUBLIC]), {net.PUBLIC: "ENETUNREACH"})
        self.t.restart()
        type(self).c = self.t.client(read_timeout=90 * tandem.SLOW)
        self.assertEqual(self.ask("free", do="ways", to=[net.PUBLIC]), {net.PUBLIC: "ENETUNREACH"})
        self.assertEqual(self.ask("only", do="ways", to=[net.PUBLIC, net.HOST]), {net.PUBLIC: "ENETUNREACH", net.HOST: "x"})
        self.declare()
        self.assertEqual(self.ask("free", do="ways", to=[net.PUBLIC]), {net.PUBLIC: "x"})

    def test_a_successor_asks_on(self):
        self.assertEqual(self.ask("free", do="names", names=["public.test"]), {"public.test": [net.PUBLIC]})
        was = self.daemon()
        os.kill(was, 9)
        tandem.wait_for(lambda: self.daemon() not in (None, was), 60 * tandem.SLOW, "another tandemd")
        # Its API is there before it: who connects waits.
        self.assertEqual(self.ask("free", do="ways", to=["public.test"]), {"public.test": "x"})

    def daemon(self):
        pids = subprocess.run(["pgrep", "-P", str(self.t.pid), "-x", "tandemd"], capture_output=True, text=True, check=False).stdout.split()
        return int(pids[0]) if pids else None


class Without(unittest.TestCase):
    def test_it_is_said(self):
        with tandem.Tandem() as t:
            t.client().create_function(FunctionName="f", **tandem.python_function("def handler(e, c): pass"))
            got = json.loads(t.cli("describe", "f", "-o", "json"))
            self.assertEqual((got["egress"], got["network"]),
                             ("internet", "loopback and the platform's addresses only: switched off by tandem serve --no-egress"))
            self.assertIn("Functions have no way out: switched off by tandem serve --no-egress.", doctor(t))


if __name__ == "__main__":
    unittest.main()
