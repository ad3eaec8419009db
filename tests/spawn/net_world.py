# SPDX-License-Identifier: Apache-2.0
"""Two net namespaces in place of a host and of all that it can reach: nothing leaves them, and nothing of this machine is touched."""
import os
import subprocess
import sys

PORT = 7777
HOST = "93.184.1.2"    # the host's own address, a public one as a rented server has it
HOST6 = "2600:93::2"
LAN = "10.99.0.1"      # the host's, on another interface
NEIGHBOUR = "10.99.0.2"
PUBLIC = "151.101.1.1"
PUBLIC6 = "2600:93::1"
NEXT = "93.184.1.1"    # public, too, and what datagrams come back from
METADATA = "169.254.169.254"
PRIVATE = ("10.77.0.1", "172.16.7.1", "192.168.77.1")
SPECIAL = ("100.64.7.1", "198.18.7.1", "192.0.2.7", "203.0.113.7")
SPECIAL6 = ("fd00:77::1", "64:ff9b::a4d:1")

# Answers every connection with a byte; datagrams come back.
SERVER = """
import selectors, socket, sys
s = selectors.DefaultSelector()
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    k = socket.socket(socket.AF_INET6, kind)
    k.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    k.bind(("::", int(sys.argv[1])))
    if kind == socket.SOCK_STREAM:
        k.listen(64)
    s.register(k, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in s.select():
        if key.fileobj.type == socket.SOCK_STREAM:
            c, _ = key.fileobj.accept()
            try:
                c.send(b"x")
            except OSError:
                pass
            c.close()
        else:
            data, peer = key.fileobj.recvfrom(2048)
            key.fileobj.sendto(data, peer)
"""


class World:
    """host and internet: names of namespaces as files, for spawner_driver.enter_net."""

    def __init__(self):
        name = "tandem-test-%d" % os.getpid()
        self.names = [name + "-host", name + "-internet"]
        self.host, self.internet = ("/run/netns/" + n for n in self.names)
        self.servers = []
        try:
            self.make()
        except BaseException:
            self.close()
            raise

    def ip(self, which, *arguments):
        subprocess.run(["ip", "-n", self.names[which], *arguments], check=True)

    def make(self):
        for n in self.names:
            subprocess.run(["ip", "netns", "add", n], check=True)
        for here, there in (("wan0", "wan1"), ("lan0", "lan1")):
            self.ip(0, "link", "add", here, "type", "veth", "peer", "name", there, "netns", self.names[1])
        for which, where in ((0, {"wan0": (HOST + "/24", HOST6 + "/64"), "lan0": (LAN + "/24",)}),
                             (1, {"wan1": (NEXT + "/24", PUBLIC6 + "/64"), "lan1": (NEIGHBOUR + "/24",),
                                  "lo": (PUBLIC, METADATA, *PRIVATE, *SPECIAL, *SPECIAL6)})):
            for device in {"lo": (), **where}:
                self.ip(which, "link", "set", device, "up")
            for device, addresses in where.items():
                for a in addresses:
                    self.ip(which, "addr", "add", a, "dev", device, *(("nodad",) if ":" in a else ()))
        self.ip(0, "route", "add", "default", "via", NEXT)
        self.ip(0, "-6", "route", "add", "default", "via", PUBLIC6)
        for net in (self.host, self.internet):
            self.servers.append(self.run(net, [sys.executable, "-c", SERVER, str(PORT)], stdout=subprocess.PIPE))
            assert self.servers[-1].stdout.readline() == b"ready\n"

    @staticmethod
    def run(net, argv, **options):
        return subprocess.Popen(["nsenter", "--net=" + net, *argv], **options)

    def output(self, *argv):
        """What a program says in the host's namespace."""
        return subprocess.run(["nsenter", "--net=" + self.host, *argv], check=True, capture_output=True, text=True).stdout

    def traces(self):
        """What of the host's network is not as it was made: devices, routes, rules."""
        devices = [line.split()[0].split("@")[0] for line in self.output("ip", "-br", "link").splitlines()]
        routes = [line for line in self.output("ip", "route").splitlines() if line.split()[0].startswith("252.")]
        return [d for d in devices if d not in ("lo", "wan0", "lan0")] + routes + self.output("nft", "list", "tables").splitlines()

    def close(self):
        for p in self.servers:
            p.kill()
            p.wait()
            p.stdout.close()
        for n in self.names:
            subprocess.run(["ip", "netns", "del", n], check=False, stderr=subprocess.DEVNULL)
