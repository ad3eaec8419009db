#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The way out of sandboxes, with the real spawner in a host that the test made (net_world.py)."""
import json
import os
import re
import signal
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
import net_world as net  # noqa: E402
import tandem  # noqa: E402
import test_spawner  # noqa: E402
from spawner_driver import ASSIGN, ASSIGNED, HANDOVER, Egress, Msg, Range, Spawner  # noqa: E402

# Prints {address: 0 or errno}. bound: to the device, which needs no route.
CONNECT = """
import json, socket
out = {}
for address, bound in json.loads(%r):
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    s.settimeout(%d)
    try:
        if bound:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        s.connect((address, %d))
        out[address] = 0 if s.recv(1) == b"x" else -1
    except OSError as e:
        out[address] = e.errno or -1
print(json.dumps(out))
"""
UNREACHABLE = 101


def setUpModule():
    global world
    if os.geteuid():
        raise unittest.SkipTest("needs root")
    world = net.World()
    unittest.addModuleCleanup(world.close)


def reach(sb, addresses, bound=False, patience_s=30):
    status, text = sb.python(CONNECT % (json.dumps([(a, bound) for a in addresses]), patience_s, net.PORT))
    assert status == 0, text
    return json.loads(text)


class Ways(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.s = Spawner(net=world.host)

    @classmethod
    def tearDownClass(cls):
        assert cls.s.stop() == 0, cls.s.errors()
        assert world.traces() == [], world.traces()

    def found(self, egress, addresses, **more):
        sb = self.s.make(egress=egress)
        try:
            return reach(sb, addresses, **more)
        finally:
            self.s.end(sb)
            sb.close()

    def check(self, egress, open_, closed):
        found = self.found(egress, [*open_, *closed])
        self.assertEqual(found, {**{a: 0 for a in open_}, **{a: UNREACHABLE for a in closed}})

    def test_internet_is_public_addresses(self):
        self.assertEqual(self.s.config.text, b"")
        self.check(["internet"], [net.PUBLIC, "::ffff:" + net.PUBLIC],
                   [net.HOST, net.LAN, net.NEIGHBOUR, net.METADATA, *net.PRIVATE, *net.SPECIAL, net.PUBLIC6, net.HOST6, "240.1.2.3", "224.0.0.1", *self.router()])

    @staticmethod
    def router():
        """Its addresses."""
        return [line.split()[0] for line in world.output("ip", "route").splitlines() if line.startswith("252.")]

    def test_none(self):
        self.check([], [], [net.PUBLIC, net.HOST, net.LAN, *net.PRIVATE, net.METADATA, net.PUBLIC6])

    def test_none_holds_without_a_route_too(self):
        self.assertEqual(self.found(["internet"], [net.PUBLIC], bound=True), {net.PUBLIC: 0})
        self.assertNotEqual(self.found([], [net.PUBLIC], bound=True, patience_s=2), {net.PUBLIC: 0})

    def test_declared_beside_the_internet(self):
        self.check(["internet", "10.77.0.0/16", net.HOST, net.METADATA + "/32"], [net.PUBLIC, "10.77.0.1", net.HOST, net.METADATA],
                   [net.LAN, net.NEIGHBOUR, "192.168.77.1"])

    def test_declared_alone(self):
        self.check(["10.99.0.2/32", "172.16.0.0/12"], [net.NEIGHBOUR, "172.16.7.1"], [net.PUBLIC, net.LAN, net.HOST, "10.77.0.1", net.METADATA])

    def test_everything(self):
        self.check(["0.0.0.0/0"], [net.PUBLIC, net.HOST, net.LAN, net.METADATA], ["240.1.2.3"])

    def test_datagrams(self):
        sb = self.s.make(egress=["internet"])
        status, text = sb.python("import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.settimeout(30)\n"
                                 "s.connect((%r, %d))\ns.send(b'y' * 1400)\nprint(len(s.recv(2000)))" % (net.NEXT, net.PORT))
        self.assertEqual((status, text), (0, "1400\n"))
        self.s.end(sb)
        sb.close()

    def test_one_holds_so_many_connections_and_no_more(self):
        greedy, other = self.s.make(egress=["internet"]), self.s.make(egress=["internet"])
        status, text = greedy.python("import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                                     "for port in range(10000, 11100):\n    s.sendto(b'x', (%r, port))" % net.NEXT)
        self.assertEqual(status, 0, text)
        self.assertEqual(reach(greedy, [net.PUBLIC]), {net.PUBLIC: UNREACHABLE})
        self.assertEqual(reach(other, [net.PUBLIC]), {net.PUBLIC: 0})
        for sb in (greedy, other):
            self.s.end(sb)
            sb.close()

    def router_set(self, name):
        for fd in os.listdir("/proc/%d/fd" % self.s.proc.pid):
            path = "/proc/%d/fd/%s" % (self.s.proc.pid, fd)
            if os.readlink(path).startswith("net:") and os.stat(path).st_ino != os.stat(world.host).st_ino:
                said = subprocess.run(["nsenter", "--net=" + path, "nft", "-j", "list", "set", "ip", "tandem", name], capture_output=True, text=True, check=False)
                if said.returncode == 0:
                    return [part["set"].get("elem", []) for part in json.loads(said.stdout)["nftables"] if "set" in part][0]
        raise AssertionError("the spawner has no router")

    def test_what_was_declared_ends_with_the_sandbox(self):
        sb = self.s.make(egress=["10.77.0.0/16", net.HOST])
        self.assertEqual((len(self.router_set("declared")), len(self.router_set("closed"))), (2, 1))
        self.s.end(sb)
        sb.close()
        self.assertEqual((self.router_set("declared"), self.router_set("closed")), ([], []))

    def test_ranges_that_are_none(self):
        many = Egress.of(["10.0.0.%d" % k for k in range(16)])
        many.n = 17
        for what in (many, *(Egress(n=1, range=(Range * 16)(Range(ip, bits))) for ip, bits in ((1 << 24, 33), (0x0A000001, 8), (1, 0))), Egress(internet=2)):
            sb = self.s.blank()
            fd = os.open(self.s.code_dir(), os.O_PATH | os.O_DIRECTORY)
            m = Msg(verb=ASSIGN, id=sb.id)
            m.u.assign.memory_bytes = m.u.assign.tmp_bytes = 64 << 20
            m.u.assign.pids_max, m.u.assign.cpu_weight, m.u.assign.egress = 64, 100, what
            with self.assertRaisesRegex(RuntimeError, "no range of addresses"):
                self.s.ask(m, ASSIGNED, [fd])
            os.close(fd)
            self.s.end(sb)
            sb.close()


class Containers(unittest.TestCase):
    def test_public_addresses(self):
        s = Spawner(net=world.host)
        try:
            sb = s.container([s.busybox()])
            script = "for a in %s; do nc -w 30 $a %d </dev/null || echo -n -; done" % (" ".join((net.PUBLIC, net.HOST, net.METADATA, net.LAN, "10.77.0.1")), net.PORT)
            self.assertEqual(sb.run_in(["sh", "-c", script])[:2], (0, "x----"))
            s.end(sb)
            sb.close()
        finally:
            self.assertEqual(s.stop(), 0)

    def test_declared(self):
        """From its first program on; for all who share the network, to the end of the last."""
        script = "for a in %s; do nc -w 30 $a %d </dev/null || echo -n -; done" % (" ".join((net.PUBLIC, net.HOST, net.NEIGHBOUR)), net.PORT)
        s = Spawner(net=world.host)
        try:
            for egress, found in (([], "---"), ([net.HOST], "-x-"), (["internet", net.NEIGHBOUR], "x-x")):
                first = s.container([s.busybox()], egress=egress)
                two = [s.container([s.busybox()], join=first) for _ in range(2)]
                self.assertEqual([sb.run_in(["sh", "-c", script])[1] for sb in (first, two[0])], [found] * 2)
                s.end(first)
                s.end(two[0])
                self.assertEqual(two[1].run_in(["sh", "-c", script])[1], found)
                s.end(two[1])
                for sb in (first, *two):
                    sb.close()
            with self.assertRaisesRegex(RuntimeError, "no range of addresses"):
                bad = Egress.of(["10.0.0.1/8"])
                Egress.of, of = lambda words: bad, Egress.of
                try:
                    s.container([s.busybox()])
                finally:
                    Egress.of = of
        finally:
            self.assertEqual(s.stop(), 0)


class Again(test_spawner.NetNamespaces):
    """With the way out in them, namespaces are used again as others are, and one that was used is not."""
    TRACE = tuple(code for code in test_spawner.NetNamespaces.TRACE if "1.1.1.1" not in code) + (  # nobody would answer
        "create_connection((%r, %d))" % (net.PUBLIC, net.PORT),
        "socket(AF_INET, SOCK_DGRAM).sendto(b'x', (%r, 9))" % net.PUBLIC,
        "socket().connect_ex(('10.1.1.1', 9))",
    )

    def spawner(self):
        return Spawner(net=world.host)

    def make(self):
        return self.s.make(egress=["internet"])

    def test_one_with_ranges_of_its_own_is_not(self):
        for egress in ([], ["10.0.0.0/8"]):
            sb = self.s.make(egress=egress)
            number = self.number(sb)
            self.s.end(sb)
            sb.close()
            self.assertFalse(self.comes_back(number))

    def test_the_way_is_there_the_second_time(self):
        seen = set()
        while True:
            sb = self.make()
            again = self.number(sb) in seen
            seen.add(self.number(sb))
            if again:
                self.assertEqual(reach(sb, [net.PUBLIC, "10.77.0.1"]), {net.PUBLIC: 0, "10.77.0.1": UNREACHABLE})
            self.s.end(sb)
            sb.close()
            if again:
                return


class Host(unittest.TestCase):
    """What the host sees of it, and what is left of it."""

    def device(self):
        return [t for t in world.traces() if re.fullmatch(r"tandem\d+", t)]

    def test_killed_and_started_again(self):
        s = Spawner(net=world.host)
        sb = s.make(egress=["internet"])
        old = self.device()
        self.assertEqual(len(old), 1)
        s.proc.kill()
        s.proc.wait()
        tandem.wait_for(lambda: not self.device(), what="the device goes with the router's namespace")
        self.assertEqual(world.traces(), ["table ip " + old[0]])  # which speaks of a device that is not there
        sb.close()
        t = Spawner(state=s.state, net=world.host)
        sb = t.make(egress=["internet"])
        self.assertEqual(reach(sb, [net.PUBLIC, net.HOST]), {net.PUBLIC: 0, net.HOST: UNREACHABLE})
        new = self.device()
        sb.close()
        self.assertEqual(t.stop(), 0)
        # Another daemon on this machine may have taken the number in between.
        self.assertEqual(world.traces(), [] if new == old else ["table ip " + old[0]])
        world.output("nft", "flush", "ruleset")
        s.stop()

    def test_two_at_once(self):
        a, b = Spawner(net=world.host), Spawner(net=world.host)
        try:
            x, y = a.make(egress=["internet"]), b.make(egress=["internet"])
            self.assertEqual(len(self.device()), 2)
            self.assertEqual(reach(x, [net.PUBLIC]), {net.PUBLIC: 0})
            x.close()
            self.assertEqual(a.stop(), 0)
            self.assertEqual(reach(y, [net.PUBLIC, net.HOST]), {net.PUBLIC: 0, net.HOST: UNREACHABLE})
            y.close()
        finally:
            a.stop()
            self.assertEqual(b.stop(), 0)
        self.assertEqual(world.traces(), [])

    def test_an_upgrade_keeps_it(self):
        s = Spawner(net=world.host)
        try:
            sb = s.make(egress=["internet", "10.77.0.0/16"])
            before = world.traces()
            s.proc.send_signal(signal.SIGHUP)
            s.wait(HANDOVER)
            s.link.close()
            back = s.attach()[0]
            self.assertEqual(world.traces(), before)
            for one in (back, s.make(egress=["internet", "10.77.0.0/16"])):
                self.assertEqual(reach(one, [net.PUBLIC, "10.77.0.1", net.HOST]), {net.PUBLIC: 0, "10.77.0.1": 0, net.HOST: UNREACHABLE})
                s.end(one)
            sb.close()
        finally:
            self.assertEqual(s.stop(), 0)
        self.assertEqual(world.traces(), [])

    def without(self, s, why):
        try:
            self.assertRegex(s.config.text.decode(), why)
            for egress in (["internet"], ["10.77.0.0/16"], []):
                sb = s.make(egress=egress)
                self.assertEqual(reach(sb, [net.PUBLIC, "10.77.0.1"]), {net.PUBLIC: UNREACHABLE, "10.77.0.1": UNREACHABLE})
                s.end(sb)
                sb.close()
            self.assertEqual(world.traces(), [])
        finally:
            self.assertEqual(s.stop(), 0)

    def test_a_host_that_cannot(self):
        """Whatever is missing, it is said and sandboxes have no way out."""
        self.without(Spawner(net=world.host, replace={"tandem-net": None}), "tandem-net does not run")
        self.without(Spawner(net=world.host, replace={"tandem-net": "#!/bin/sh\nexit 1\n"}), "tandem-net does not run")

    def test_the_operator_does_not_want_it(self):
        self.without(Spawner(net=None), "switched off by tandem serve --no-egress")


if __name__ == "__main__":
    unittest.main()
