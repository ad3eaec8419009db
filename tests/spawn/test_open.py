#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What is put into a sandbox's network, or taken from it (OPEN), and networks that containers share."""
import errno
import os
import signal
import socket
import sys
import termios
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tandem  # noqa: E402
from spawner_driver import *  # noqa: E402,F403

ANSWER = "exec nc -ll -p 8080 -e echo hello"
# Prints what a server says, or nothing. Its input does not end before that.
ASK = "nc -w 600 127.0.0.1 %d </dev/null"




class Case(OneSpawner):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.box = cls.s.busybox()

    def setUp(self):
        self.made = []

    def tearDown(self):
        for sb in self.made:
            if not sb.gone:
                self.end(sb)
            sb.close()

    def end(self, sb):
        sb.gone = True
        self.s.end(sb)

    def container(self, script=None, **kw):
        sb = self.s.container([self.box], **kw)
        self.made.append(sb)
        sb.gone = False
        if script:
            sb.start_in(["sh", "-c", script])
            self.assertEqual(sb.hear()[0], 64)
        return sb

    def reach(self, sb):
        """connect's errno, and what is said there."""
        x, = self.s.sockets(sb)
        x.settimeout(TIMEOUT_S)
        with x:
            sys = x.connect_ex(("127.0.0.1", 8080))
            return (sys, b"") if sys else (0, x.recv(100))

    def said_by(self, sb):
        """Of who begins to listen there."""
        return tandem.wait_for(lambda: self.reach(sb)[1], what="nobody listens")

    def refused(self, text, *args, **kw):
        with self.assertRaisesRegex(RuntimeError, text):
            self.s.open(*args, **kw)

    def restart_daemon(self, ready=True):
        os.kill(self.s.daemon_pid, signal.SIGKILL)
        return self.took_over(self.s.attach(), ready)

    def took_over(self, back, ready=True):
        for sb in self.made:
            sb.gone = True
        for sb in back:
            sb.gone = False
        self.made += back
        if ready:
            self.s.send(Msg(verb=READY))
        return back


class Inside(Case):
    def test_sockets(self):
        """Of that sandbox's network and of no other; a function's as well."""
        sb, other, function = self.container(ANSWER), self.container(), self.s.make()
        function.gone = False
        self.made.append(function)
        self.assertEqual([self.said_by(sb) for _ in range(3)], [b"hello\n"] * 3)
        self.assertEqual(len(self.s.sockets(sb, n=64)), 64)
        self.assertEqual([self.reach(x)[0] for x in (other, function)], [errno.ECONNREFUSED] * 2)

    def test_listen_in(self):
        """What a container reaches on its loopback: the same socket for who asks again, also for a successor."""
        sb = self.container()
        first, = self.s.sockets(sb, OPEN_LISTEN_IN, at=("127.0.0.1", 5432))
        same, = self.s.sockets(sb, OPEN_LISTEN_IN, at=("127.0.0.1", 5432))
        self.assertEqual(os.fstat(first.fileno()).st_ino, os.fstat(same.fileno()).st_ino)
        self.assertEqual(first.getsockname(), ("127.0.0.1", 5432))
        sb.start_in(["sh", "-c", ASK % 5432])
        self.assertEqual(sb.hear()[0], 64)
        first.close()
        same.close()
        sb, = self.restart_daemon()  # who connected meanwhile waits
        again, = self.s.sockets(sb, OPEN_LISTEN_IN, at=("127.0.0.1", 5432))
        again.settimeout(TIMEOUT_S)
        conn, _ = again.accept()
        conn.sendall(b"I am the db\n")
        conn.close()
        self.assertEqual(sb.until_exit()[0], "I am the db\n")

    def test_a_port_that_the_program_has(self):
        sb = self.container(ANSWER)
        self.said_by(sb)
        self.refused("^127.0.0.1:8080 is taken", OPEN_LISTEN_IN, sb, at=("127.0.0.1", 8080))

    def test_refusals(self):
        sb = self.container()
        self.refused("makes no sense", 4, sb)
        self.refused("makes no sense", OPEN_SOCKETS, sb, n=0)
        self.refused("makes no sense", OPEN_SOCKETS, sb, n=65)
        self.refused("makes no sense", OPEN_LISTEN_IN, sb, at=("127.0.0.1", 0))
        for how in (OPEN_SOCKETS, OPEN_LISTEN_IN, OPEN_TTY):
            self.refused("no such sandbox", how, 4711, at=("127.0.0.1", 80))
            self.refused("no such sandbox", how, 0, at=("127.0.0.1", 80))
        function = self.s.make()
        function.gone = False
        self.made.append(function)
        self.refused("only containers", OPEN_TTY, function)
        self.end(sb)
        for how in (OPEN_SOCKETS, OPEN_LISTEN_IN, OPEN_TTY):
            self.refused("no such sandbox", how, sb, at=("127.0.0.1", 80))

    def test_one_that_is_ending(self):
        """END and OPEN in one go: an answer or a refusal, and nothing stays."""
        for how in (OPEN_SOCKETS, OPEN_LISTEN_IN, OPEN_TTY):
            sb = self.container()
            sb.gone = True
            self.s.send(Msg(verb=END_SANDBOX, id=sb.id))
            try:
                for fd in self.s.open(how, sb, at=("127.0.0.1", 80)):
                    os.close(fd)
            except RuntimeError as e:
                self.assertRegex(str(e), "no such sandbox|make a terminal")
            self.s.ended(sb)
        self.refused("no such sandbox", OPEN_SOCKETS, 4711)  # an answer: what belonged to the others is closed
        kept = [os.readlink("/proc/%d/fd/%s" % (self.s.proc.pid, fd)) for fd in os.listdir("/proc/%d/fd" % self.s.proc.pid)]
        self.assertEqual([x for x in kept if "ptmx" in x], [])

    def test_platform_sockets(self):
        """Those that were asked for; the others are refused at once; SB_DNS is there always."""
        sb = self.container(sockets=1 << DNS | 1 << API | 1 << CREDS)
        self.assertEqual([i for i in (RTAPI, CREDS, API, DNS, API_TLS) if sb.fd[i] >= 0], [CREDS, API, DNS])
        names = {i: socket.socket(fileno=os.dup(sb.fd[i])).getsockname() for i in (CREDS, API)}
        self.assertEqual(names, {CREDS: ("169.254.170.2", 80), API: ("169.254.100.2", 4566)})
        for wrong in (0, 1 << API, 1 << DNS | 1 << CTL, 1 << DNS | 1 << 20):
            with self.assertRaisesRegex(RuntimeError, "SB_DNS"):
                self.s.container([self.box], sockets=wrong)


class Shared(Case):
    def test_loopback_is_one(self):
        first = self.container(ANSWER, hostname=b"one")
        second = self.container(join=first, hostname=b"two")
        self.assertEqual([i for i in range(RTAPI, API_TLS + 1) if second.fd[i] >= 0], [])
        self.assertNotEqual(first.uid, second.uid)
        self.assertEqual([self.said_by(sb) for sb in (first, second)], [b"hello\n"] * 2)
        self.assertEqual(second.run_in(["sh", "-c", "until [ \"$(%s)\" = hello ]; do :; done; hostname" % (ASK % 8080)])[:2], (0, "two\n"))

    def test_it_lives_on_with_the_last(self):
        """The first one ends: what belongs to the network goes on, for the successor of tandemd, too."""
        first = self.container()
        second = self.container(ANSWER, join=first)
        third = self.container(join=second)
        door, = self.s.sockets(first, OPEN_LISTEN_IN, at=("127.0.0.1", 5432))
        self.end(first)
        self.assertEqual(self.said_by(third), b"hello\n")
        same, = self.s.sockets(third, OPEN_LISTEN_IN, at=("127.0.0.1", 5432))
        self.assertEqual(os.fstat(same.fileno()).st_ino, os.fstat(door.fileno()).st_ino)
        back = self.restart_daemon()
        self.assertEqual(sorted(sb.fd[DNS] >= 0 for sb in back), [False, True])
        self.end(back[0])
        x, = self.s.sockets(back[1], OPEN_LISTEN_IN, at=("127.0.0.1", 5432))
        self.assertEqual(os.fstat(x.fileno()).st_ino, os.fstat(door.fileno()).st_ino)
        self.end(back[1])
        self.refused("no such sandbox", OPEN_SOCKETS, back[1])

    def test_who_joins_may_use_it_and_no_more(self):
        first = self.container(sockets=1 << DNS | 1 << CREDS)
        second = self.container(join=first)
        own = os.readlink("/proc/%d/ns/net" % first.pid)
        self.assertEqual(os.readlink("/proc/%d/ns/net" % second.pid), own)
        script = ("ip link set lo down; ip addr add 10.0.0.1/8 dev lo; nc -l -p 80; nsenter -t 1 -n true;"
                  "ip addr show lo | grep -c 'UP.*10.0.0.1'")
        _, out, err = second.run_in(["sh", "-c", script])
        self.assertEqual(out, "0\n")
        self.assertEqual([line.split(": ")[-1] for line in err.splitlines()],
                         ["Operation not permitted"] * 2 + ["Address already in use", "Permission denied"])

    def test_it_is_not_used_again(self):
        number = set()
        for _ in range(2):
            first = self.container()
            number.add(os.stat("/proc/%d/ns/net" % first.pid).st_ino)
            second = self.container(join=first)
            self.end(first)
            other = self.container()
            self.assertNotEqual(os.stat("/proc/%d/ns/net" % other.pid).st_ino, os.stat("/proc/%d/ns/net" % second.pid).st_ino)
            self.end(other)
            self.end(second)

    def test_refusals(self):
        ended = self.container()
        self.end(ended)
        for join in (4711, ended):
            with self.assertRaisesRegex(RuntimeError, "not there"):
                self.s.container([self.box], join=join)


class OnTheHost(Case):
    def test_listener(self):
        """Clients wait in its queue while no tandemd runs; the successor that asks gets the same."""
        first, = self.s.sockets(None, OPEN_LISTEN)
        at = first.getsockname()
        first.close()
        client = socket.create_connection(at, TIMEOUT_S)
        self.restart_daemon(ready=False)
        again, = self.s.sockets(None, OPEN_LISTEN, at=at)
        self.s.send(Msg(verb=READY))
        again.settimeout(TIMEOUT_S)
        again.accept()[0].sendall(b"x")
        self.assertEqual(client.recv(1), b"x")
        again.close()
        m = Msg(verb=UNLISTEN)
        m.u.open.at = self.s.address(*at)
        self.s.send(m)
        self.s.sockets(None, OPEN_LISTEN)  # an answer: the other one is done
        self.assertEqual(socket.socket().connect_ex(at), errno.ECONNREFUSED)

    def test_what_a_successor_does_not_want(self):
        wanted, other = (self.s.sockets(None, OPEN_LISTEN)[0].getsockname() for _ in range(2))
        self.restart_daemon(ready=False)
        self.s.sockets(None, OPEN_LISTEN, at=wanted)[0].close()
        self.s.send(Msg(verb=READY))
        self.s.sockets(None, OPEN_LISTEN)
        self.assertEqual([socket.socket().connect_ex(at) for at in (wanted, other)], [0, errno.ECONNREFUSED])

    def test_upgrade(self):
        at = self.s.sockets(None, OPEN_LISTEN)[0].getsockname()
        sb = self.container()
        door = os.fstat(self.s.open(OPEN_LISTEN_IN, sb, at=("127.0.0.1", 5432))[0]).st_ino
        self.s.proc.send_signal(signal.SIGHUP)
        self.s.wait(HANDOVER)
        self.s.detach()
        back, = self.took_over(self.s.attach(), ready=False)
        self.assertEqual(socket.socket().connect_ex(at), 0)
        self.assertEqual(self.s.sockets(None, OPEN_LISTEN, at=at)[0].getsockname(), at)
        self.assertEqual(os.fstat(self.s.open(OPEN_LISTEN_IN, back, at=("127.0.0.1", 5432))[0]).st_ino, door)
        self.s.send(Msg(verb=READY))

    def test_ipv6(self):
        try:
            with socket.socket(socket.AF_INET6) as x:
                x.bind(("::1", 0))
        except OSError:
            self.refused("::1", OPEN_LISTEN, at=("::1", 0))
            return
        x, = self.s.sockets(None, OPEN_LISTEN, at=("::1", 0))
        self.assertEqual(x.getsockname()[0], "::1")

    def test_refusals(self):
        with socket.socket() as x:
            x.bind(("127.0.0.1", 0))
            x.listen()
            self.refused("^127.0.0.1:%d is taken: another program" % x.getsockname()[1], OPEN_LISTEN, at=x.getsockname())
        self.refused("192.0.2.1:8080: that is no address of this host", OPEN_LISTEN, at=("192.0.2.1", 8080))

    def test_ports_for_root(self):
        """A taken-over tandemd does not get to speak as root of this host."""
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as f:
            first = int(f.read())
        if first < 2:  # any program may have any port here
            self.assertEqual(self.s.sockets(None, OPEN_LISTEN, at=("127.0.0.77", 1))[0].getsockname()[1], 1)
        else:
            self.refused("^port %d is kept for root: choose one from %d on" % (first - 1, first), OPEN_LISTEN, at=("127.0.0.1", first - 1))


class Terminal(Case):
    def test_master_and_slave(self):
        sb = self.container(tty=1)
        master, slave = self.s.open(OPEN_TTY, sb)
        self.assertTrue(os.isatty(slave))
        self.assertEqual(os.fstat(slave).st_uid, sb.uid)
        self.assertEqual(sb.run_in(["sh", "-c", "ls /dev/pts"])[1].split(), ["0", "1", "ptmx"])
        os.set_blocking(slave, False)  # what the other side sets is its own
        with self.assertRaises(BlockingIOError):
            os.read(master, 1)
        termios.tcsetattr(slave, termios.TCSANOW, [0, 0, *termios.tcgetattr(slave)[2:]])
        with self.assertRaises(BlockingIOError):  # nobody reads
            while True:
                os.write(master, b"x" * 4096)
        os.close(slave)
        os.close(master)

    def test_nobody_elses(self):
        """What a container does to its /dev leads nowhere else."""
        sb = self.container()
        sb.run_in(["sh", "-c", "cd /dev; rm -f ptmx; mv pts other; rm -rf pts; ln -s /tmp pts; umount pts; mount -t tmpfs x pts"])
        master, slave = self.s.open(OPEN_TTY, sb)
        self.assertEqual(os.major(os.fstat(slave).st_rdev), 136)
        self.assertEqual(os.readlink("/proc/self/fd/%d" % slave), "/dev/pts/0")


if __name__ == "__main__":
    unittest.main()
