#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Containers in the hands of an OCI runtime: what runs in them, and who talks to them, notices nothing."""
import os
import select
import signal
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tandem  # noqa: E402
from spawner_driver import *  # noqa: E402,F403

MB = 1 << 20
ABOUT = ("id -u; hostname; ulimit -n; set -- /proc/[0-9]*; echo $#; sed 's/^ *0 *[0-9]* *//' /proc/self/uid_map;"
         "grep -E 'NoNewPrivs|Seccomp:|CapEff|CapBnd' /proc/self/status; ls /dev | grep -v core; echo x >/new && cat /new; touch /sys/x; cat /proc/keys; ls /proc/scsi;"
         "echo 1 >/proc/sys/kernel/core_pattern; cat /etc/resolv.conf; ls -l /proc/self/fd | wc -l; mount -t tmpfs x /tmp; readlink /proc/1/exe; ls -d /run/tandem")


class Runtime:
    """What holds for each of them."""
    NUMBER, PATH = 0, ""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.box = cls.s.busybox()

    def setUp(self):
        if not os.access(self.PATH, os.X_OK):
            with self.assertRaisesRegex(RuntimeError, "%s is not installed" % self.PATH):
                self.s.container([self.box], runtime=self.NUMBER)
            self.skipTest(self.PATH + " is not installed")

    def make(self, runtime=None, **kw):
        sb = self.s.container([self.box], runtime=self.NUMBER if runtime is None else runtime, **kw)
        self.addCleanup(sb.close)
        self.addCleanup(lambda: self.s.send(Msg(verb=END_SANDBOX, id=sb.id)))  # has it ended, this is nothing
        return sb

    def sh(self, script, user="", **kw):
        sb = self.make(**kw)
        try:
            return sb.run_in(["sh", "-c", script], user=user)
        finally:
            self.s.end(sb)

    def test_as_without_it(self):
        self.assertEqual(self.sh(ABOUT), self.sh(ABOUT, runtime=0))
        self.assertEqual(self.sh("id -u; exit 3", user="app"), (3 << 8, "1000\n", ""))
        self.assertEqual(self.sh("touch /x", read_only=1)[2], self.sh("touch /x", read_only=1, runtime=0)[2])
        caps = self.sh("grep CapEff /proc/self/status; ulimit -n", caps=1 << 13, gives=(dict(kind=LIMIT, number=7, soft=99, hard=200),))
        self.assertEqual(caps[1].split(), ["CapEff:", "0000000000002000", "99"])

    def test_further_programs_and_terminals(self):
        sb = self.make(tty=1)
        sb.start_in(["sh", "-c", "tty; exec sleep 1000"])
        self.assertEqual(sb.hear()[0], 64)
        master, slave = self.s.open(OPEN_TTY, sb)
        self.assertEqual(sb.exec_in(["sh", "-c", "tty; exit 4"], [slave], tty=1)[0], 64)
        self.assertEqual(sb.hear(), (66, 2, 4 << 8))
        select.select([sb.fd[CHAN]], [], [], TIMEOUT_S)  # its program may be later than the further one
        self.assertEqual([os.read(fd, 100) for fd in (sb.fd[CHAN], master)], [b"/dev/pts/0\r\n", b"/dev/pts/1\r\n"])
        for fd in (master, slave):
            os.close(fd)
        sb.signal(1, signal.SIGTERM)
        self.assertEqual(sb.hear(), (66, 1, signal.SIGTERM))
        self.s.end(sb)

    def test_what_it_is_given(self):
        self.s.keep(SECRET, "s-1", b"hush")
        gives = ((VOLUME, "v-1", "/data"), (SECRET_FILE, "s-1", "/run/secret"), (SECRET_ENV, "s-1", "HUSH"), dict(kind=TMPFS, path="/big", soft=MB))
        out = "cat /run/secret; echo $HUSH; stat -c %U /run/secret; touch /data/f /big/f && ls -a /proc/self/fd | wc -l"
        self.assertEqual(self.sh(out, user="app", gives=gives)[0], 1 << 8)  # the volume is root's
        self.assertEqual(self.sh(out, gives=gives), self.sh(out, gives=gives, runtime=0))
        few = (*gives, dict(kind=LIMIT, number=7, soft=514, hard=514))
        with self.assertRaisesRegex(RuntimeError, "volumes and secrets take 515 descriptors or more"):
            self.make(gives=few)
        few[-1].update(soft=515, hard=515)
        self.assertEqual(self.sh(out, gives=few), self.sh(out, gives=few, runtime=0))
        sb = self.make(gives=gives)
        sb.start_in(["sleep", "1000"])
        self.assertEqual(sb.hear()[0], 64)
        with self.assertRaisesRegex(RuntimeError, "that runs has it"):
            self.s.keep(VOLUME_END, "v-1")
        self.s.end(sb)

    def test_network(self):
        sb = self.make()
        listener = socket.socket(fileno=self.s.open(OPEN_LISTEN_IN, sb, at=("127.0.0.1", 5432))[0])
        listener.settimeout(TIMEOUT_S)
        two = [self.make(join=sb), self.make(join=sb, runtime=0)]
        for other in two:
            other.start_in(["sh", "-c", "nc -w 600 127.0.0.1 5432 </dev/null; ip link set lo down || echo refused"])
            self.assertEqual(other.hear()[0], 64)
            conn, _ = listener.accept()
            conn.sendall(b"hello\n")
            conn.close()
            self.assertEqual(other.until_exit()[0], "hello\nrefused\n")
        for x in (*two, sb):
            self.s.end(x)

    def test_out_of_memory(self):
        sb = self.make(memory=64 * MB)
        sb.start_in(["sh", "-c", "x=a; while :; do x=$x$x; done"])
        self.assertGreaterEqual(self.s.ended(sb).oom_kills, 1)

    def test_tandemd_dies(self):
        sb = self.make(label=b"one")
        sb.start_in(["sh", "-c", "trap 'echo bye; exit 9' TERM; echo up; while :; do tail -f /dev/null & wait; done"])
        self.assertEqual(sb.hear()[0], 64)
        sb.output(b"up")
        os.kill(self.s.daemon_pid, signal.SIGKILL)
        again, = self.s.attach()
        self.s.send(Msg(verb=READY))
        again.signal(1, signal.SIGTERM)
        self.assertEqual(again.until_exit()[::2], ["bye\n", 9 << 8])
        self.s.end(again)
        again.close()

    def test_the_spawner_is_killed(self):
        s = Spawner()
        sb = s.container([s.busybox()], runtime=self.NUMBER)
        sb.start_in(["sh", "-c", "echo up; exec sleep 1000"])
        self.assertEqual(sb.hear()[0], 64)
        sb.output(b"up")
        s.proc.kill()
        s.proc.wait()
        self.assertTrue(select.select([sb.fd[LOG]], [], [], TIMEOUT_S)[0])
        self.assertEqual(os.read(sb.fd[LOG], 1), b"")  # nobody is left who could write there
        sb.close()
        t = Spawner(state=s.state)
        self.assertEqual((t.stop(), s.stop() and 0), (0, 0))

    def test_a_runtime_that_fails(self):
        """It says so where the program would speak, and the sandbox ends."""
        sb = self.make(pids=1)  # not even a thread of its own
        self.s.ended(sb)
        self.assertRegex(sb.output(), r"\S")


class Crun(Runtime, OneSpawner):
    NUMBER, PATH = 1, "/usr/bin/crun"


class Runc(Runtime, OneSpawner):
    NUMBER, PATH = 2, "/usr/sbin/runc"


class Refusals(OneSpawner):
    def test_unknown(self):
        with self.assertRaisesRegex(RuntimeError, "no such runtime"):
            self.s.container([self.s.busybox()], runtime=3)

    def test_nothing_is_left(self):
        """Neither groups of control nor mounts, when all have ended."""
        s = Spawner()
        for number in [c.NUMBER for c in (Crun, Runc) if os.access(c.PATH, os.X_OK)]:
            sb = s.container([s.busybox()], runtime=number)
            self.assertEqual(sb.run_in(["true"])[0], 0)
            s.end(sb)
            sb.close()
        self.assertEqual(s.stop(), 0)
        with open("/proc/self/mountinfo") as f:
            self.assertNotIn("/run/tandem", f.read())
        self.assertNotIn("cgroup: remove", s.errors())


if __name__ == "__main__":
    unittest.main()
