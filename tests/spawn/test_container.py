#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Containers: the real tandem-spawner and tandem-init on layers that this program makes as the unpacker would."""
import fcntl
import os
import signal
import socket
import struct
import sys
import termios
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from spawner_driver import *  # noqa: E402,F403

MB = 1 << 20
USER, CWD, EXEC = 1, 2, 3  # enum init_step
# Not id, which looks into the same files: user, group, groups, home.
WHO = "echo $(sed -n 's/^[UG]id:.\\([0-9]*\\).*/\\1/p; s/^Groups:.//p' /proc/self/status) $HOME"


class Containers(OneSpawner):
    """What a container is and does."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.box = cls.s.busybox()

    def sh(self, script, layers=None, **kw):
        """(wait status, stdout, stderr) of a script in a new container."""
        options = {k: kw.pop(k) for k in list(kw) if k in ("memory", "pids", "read_only", "hostname", "input", "tty")}
        sb = self.s.container(layers or [self.box], **options)
        try:
            return sb.run_in(["sh", "-c", script], **kw)
        finally:
            self.s.end(sb)
            sb.close()

    def out(self, script, **kw):
        status, out, err = self.sh(script, **kw)
        self.assertEqual((status, err), (0, ""), out)
        return out

    def test_descriptors(self):
        sb = self.s.container([self.box], label=b"a label")
        there = [i for i in range(SB_N) if sb.fd[i] >= 0]
        self.assertEqual(there, [CTL, LOG, DNS, PIDFD, FREEZE, *[i for i in (CPU, MEM_PEAK) if sb.fd[i] >= 0], ERR, *[i for i in (MEM,) if sb.fd[MEM_PEAK] >= 0]])
        self.assertEqual((sb.assigned, sb.label), (1, b"a label"))
        self.assertEqual(self.s.end(sb).wait_status, signal.SIGKILL)
        sb.close()

    def test_streams_and_status(self):
        self.assertEqual(self.sh("echo out; echo err >&2; exit 3"), (3 << 8, "out\n", "err\n"))
        self.assertEqual(self.sh("kill -9 $$")[0], signal.SIGKILL)

    def test_stdin(self):
        self.assertEqual(self.sh("cat; cat /dev/stdin"), (0, "", ""))  # without input there is nothing to read
        sb = self.s.container([self.box], input=1)
        os.write(sb.fd[CHAN], b"some text")
        sb.start_in(["cat"])
        self.assertEqual(sb.hear()[0], 64)
        os.close(sb.fd[CHAN])
        sb.fd[CHAN] = -1
        self.s.send(Msg(verb=INPUT_END, id=sb.id))
        self.assertEqual(sb.until_exit(), ["some text", "", 0])
        self.s.end(sb)
        sb.close()

    def test_terminal(self):
        sb = self.s.container([self.box], tty=1)
        fcntl.ioctl(sb.fd[CHAN], termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
        status, out, err = sb.run_in(["sh", "-c", "tty; stty size; ls -l $(tty); echo x >/dev/tty; echo y >&2"], user="app")
        self.assertEqual((status, err), (0, ""))
        lines = out.split("\r\n")
        self.assertEqual([lines[0], lines[1], *lines[3:]], ["/dev/pts/0", "33 99", "x", "y", ""])
        self.assertRegex(lines[2], r"^crw--w---- .* app ")
        self.s.end(sb)
        sb.close()

    def test_terminal_signals(self):
        sb = self.s.container([self.box], tty=1)
        sb.start_in(["sh", "-c", "trap 'echo got it; exit 5' INT; echo ready; while :; do sleep 1000 & wait; done"])
        self.assertEqual(sb.hear()[0], 64)
        said = b""
        while b"ready" not in said:
            select.select([sb.fd[CHAN]], [], [], TIMEOUT_S)
            said += os.read(sb.fd[CHAN], 1000)
        os.write(sb.fd[CHAN], b"\x03")
        out, _, status = sb.until_exit()
        self.assertEqual(status, 5 << 8)
        self.assertIn("got it", out)
        self.s.end(sb)
        sb.close()

    def test_signals_reach_the_program(self):
        sb = self.s.container([self.box])
        sb.start_in(["sh", "-c", "trap 'echo term; exit 7' TERM; echo up; while :; do sleep 1000 & wait; done"])
        self.assertEqual(sb.hear()[0], 64)
        sb.output(b"up")
        sb.signal(1, signal.SIGTERM)
        self.assertEqual(sb.until_exit()[2], 7 << 8)
        self.s.end(sb)
        sb.close()

    def test_root_of_its_own(self):
        out = self.out("id -u; cat /proc/self/uid_map; grep -E 'NoNewPrivs|Seccomp:|CapEff' /proc/self/status; hostname; cat /etc/hostname", hostname=b"box-7")
        self.assertRegex(out, r"^0\n +0 +\d+ +65536\nCapEff:\s00000000a80425fb\nNoNewPrivs:\s1\nSeccomp:\s2\nbox-7\nbox-7\n$")

    def test_every_container_has_other_ids(self):
        two = [self.s.container([self.box]) for _ in range(2)]
        self.assertGreaterEqual(abs(two[0].uid - two[1].uid), RANGE_IDS)
        for sb in two:
            self.assertEqual(os.stat("/proc/%d/environ" % sb.pid).st_uid, 0)  # not dumpable, and of the first user namespace
            with open("/proc/%d/status" % sb.pid) as f:
                self.assertIn("Uid:\t%d\t" % sb.uid, f.read())
            self.s.end(sb)
            sb.close()

    def test_root_file_system_is_the_image(self):
        self.assertEqual(self.out("ls /; ls -d /dev/shm /dev/pts; readlink /dev/ptmx; ls /dev"),
                         "bin\ndev\netc\nhome\nproc\nsys\ntmp\n/dev/pts\n/dev/shm\npts/ptmx\n"
                         "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n")
        self.assertEqual(self.out("echo one >/dev/stdout; echo x >/dev/null; head -c 3 /dev/zero | wc -c"), "one\n3\n")
        self.assertEqual(self.out("grep -c box /etc/hosts; cat /etc/resolv.conf"), "1\nnameserver 169.254.100.2\noptions timeout:1 attempts:2\n")

    def test_writes_are_its_own_and_go(self):
        first = self.s.container([self.box])
        self.assertEqual(first.run_in(["sh", "-c", "echo mine >/bin/new; rm /bin/cat; chown 1000:33 /tmp; mknod /tmp/p p; ls -ln / | grep tmp"])[0], 0)
        self.assertEqual(self.out("ls /bin/new 2>&1; ls /bin/cat; ls /tmp"), "ls: /bin/new: No such file or directory\n/bin/cat\n")
        stored = self.s.state + "/containers"
        upper = [os.path.join(stored, d, "upper") for d in os.listdir(stored) if d not in ("skel", "gone")]
        self.assertEqual([sorted(os.listdir(u)) for u in upper if os.listdir(u)], [["bin", "tmp"]])
        for u in upper:
            for top, _, files in os.walk(u):
                for name in [".", *files]:  # never an id of the host, nor one of the container's range
                    st = os.lstat(os.path.join(top, name))
                    self.assertIn(st.st_uid - LAYER_ID_BASE, (0, 1000))
        self.s.end(first)
        first.close()
        wait_for(lambda: sorted(os.listdir(stored)) == ["gone", "skel"] and not os.listdir(stored + "/gone"), TIMEOUT_S, "what it wrote stays")

    def test_deep_and_many(self):
        """What a container wrote is removed whatever it looks like."""
        sb = self.s.container([self.box])
        script = ("cd /tmp; i=0; while [ $i -lt 300 ]; do mkdir aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; cd aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; i=$((i+1)); done;"
                  "mkdir /many; cd /many; i=0; while [ $i -lt 300 ]; do mkdir $i; : >$i/f; i=$((i+1)); done; chmod 0 /many; ln -s / /tmp/link; echo done")
        self.assertEqual(sb.run_in(["sh", "-c", script])[1], "done\n")
        self.s.end(sb)
        sb.close()
        stored = self.s.state + "/containers"
        wait_for(lambda: sorted(os.listdir(stored)) == ["gone", "skel"] and not os.listdir(stored + "/gone"), TIMEOUT_S, "what it wrote stays")
        self.assertTrue(os.path.exists("/etc/passwd"))

    def test_layers(self):
        """White-outs and opaque folders as the unpacker writes them; the highest wins; owners are those of the archive."""
        low = self.s.layer({"a/one": "low", "a/two": "low", "b/old": "x", "c": ("low", 0o640, 1000, 33)})
        high = self.s.layer({"a/one": "high", "b/new": "y"})
        os.mknod(high + "/a/two", 0o600 | 0o020000, os.makedev(0, 0))
        os.setxattr(high + "/b", "user.overlay.opaque", b"y")
        out = self.out("cat /a/one; echo; ls /a /b; ls -ln /c", layers=[self.box, low, high])
        self.assertTrue(out.startswith("high\n/a:\none\n\n/b:\nnew\n-rw-r-----    1 1000     33 "), out)

    def test_many_layers(self):
        layers = [self.s.layer({"n": str(i), "f%d" % i: ""}) for i in range(127)]
        self.assertEqual(self.out("cat /n; ls / | grep -c ^f", layers=[self.box, *layers]), "126127\n")

    def test_an_image_decides_no_mount(self):
        """Links and files where the platform mounts: none is followed."""
        evil = self.s.layer({"etc": ("->", "/tmp"), "proc": ("->", "/bin"), "sys": "a file", "dev": ("->", "../../.."), "tmp/hosts": ("->", "/bin/sh")})
        out = self.out("ls -d /proc/1 /sys/fs /dev/null; ls /etc; test -h /etc || test -h /proc || test -h /dev || echo no links; head -c 4 /tmp/hosts | tail -c 3",
                       layers=[self.box, evil])
        self.assertEqual(out, "/dev/null\n/proc/1\n/sys/fs\nhostname\nhosts\nresolv.conf\nno links\nELF")

    def test_read_only(self):
        status, out, err = self.sh("touch /x; echo $?; echo a >/dev/shm/a && cat /dev/shm/a", read_only=1)
        self.assertEqual((status, out), (0, "1\na\n"))
        self.assertIn("Read-only file system", err)

    def test_users(self):
        layer = self.s.layer({"etc/passwd": "no line of a passwd file\n" + "x" * 9000 + ":x:0:0::/:\nroot:x:0:0::/root:\nweb:x:33:34::/var/www:\nbig:x:70000:1::/:\n",
                              "etc/group": "web:x:34:\nlog:x:40:me,web\nbad:x:99999:web\nall:x:50:web,me\n"})
        for user, want in (("", "0 0 0 /root"), ("web", "33 34 34 40 50 /var/www"), ("web:log", "33 40 40 /var/www"), ("33", "33 34 34 40 50 /var/www"),
                           ("1234", "1234 0 0 /"), ("1234:77", "1234 77 77 /"), ("0:50", "0 50 50 /root")):
            self.assertEqual(self.out(WHO, layers=[self.box, layer], user=user).strip(), want, user)
        for user in ("nobody", "web:nobody", "big", "70000", "x" * 300, "-1", "web:70000"):
            with self.assertRaises(OSError, msg=user) as e:
                self.sh("true", layers=[self.box, layer], user=user)
            self.assertIn("step %d" % USER, str(e.exception))
        self.assertEqual(self.out("echo $HOME", user="app", env=["HOME=/mine", "PATH=/bin"]), "/mine\n")
        self.assertEqual(self.out("echo x >/dev/stdout; echo y >/proc/self/fd/1", user="app"), "x\ny\n")

    def test_passwd_that_is_no_file(self):
        for what in (("->", "/etc/passwd"), ("->", "/dev/zero"), ("->", "/dev/tty"), ("->", "/dev/stdin"), None):
            layer = self.s.layer({"etc/passwd": what})
            self.assertEqual(self.out(WHO, layers=[self.box, layer], user="5"), "5 0 0 /\n")
        fifo = self.s.layer({"etc/group": "\0" * 5000})
        os.mkfifo(fifo + "/etc/passwd")
        self.assertEqual(self.out(WHO, layers=[self.box, fifo], user="5"), "5 0 0 /\n")

    def test_what_cannot_be_started(self):
        for argv, kw, errno_, step in ((["nothing"], {}, 2, EXEC), (["/etc/passwd"], {}, 13, EXEC), (["/nowhere/x"], {}, 2, EXEC),
                                       (["true"], {"cwd": "/nowhere"}, 2, CWD), ([""], {}, 2, EXEC), (["passwd"], {"env": ["PATH=/etc:/bin/../etc"]}, 13, EXEC)):
            sb = self.s.container([self.box])
            with self.assertRaises(OSError) as e:
                sb.run_in(argv, **kw)
            self.assertEqual((e.exception.errno, str(e.exception)[:20].count("step %d" % step)), (errno_, 1), argv)
            self.s.end(sb)
            sb.close()
        self.assertEqual(self.out("pwd", cwd="/home/app"), "/home/app\n")

    def test_limits(self):
        sb = self.s.container([self.box], memory=16 * MB)
        sb.start_in(["sh", "-c", "x=a; while :; do x=$x$x; done"])
        end = self.s.ended(sb)
        self.assertGreaterEqual(end.oom_kills, 1)
        sb.close()
        _, out, err = self.sh("for i in $(seq 40); do sleep 100 & done; echo all", pids=16)
        self.assertNotIn("all", out)
        self.assertIn("fork", err)

    def test_groups_of_its_own(self):
        """A program that asks for its limits finds its own group, where the host has version 2."""
        out = self.out("cat /sys/fs/cgroup/cgroup.procs 2>/dev/null; cat /proc/self/cgroup; cat /sys/devices/system/cpu/online; touch /sys/x 2>&1 || true")
        self.assertIn("0::/\n", out)
        self.assertIn("Read-only", out)

    def test_names_are_asked_at_once(self):
        sb = self.s.container([self.box])
        sb.start_in(["sh", "-c", "nslookup a.name & nc 169.254.100.2 4566 </dev/null; echo refused $?"])
        self.assertEqual(sb.hear()[0], 64)
        select.select([sb.fd[DNS]], [], [], TIMEOUT_S)
        self.assertIn(b"\1a\4name\0", os.read(sb.fd[DNS], 100))
        self.assertIn("refused 1", sb.until_exit()[0])
        self.s.end(sb)
        sb.close()

    def test_messages_of_functions_are_refused(self):
        sb = self.s.container([self.box])
        for tag, verb, size in ((2, 5, 1), (1, 5, 99)):  # RUN of another process; of a wrong length
            text = b"\0\0/bin/true\0"
            sb.ctl.send(struct.pack("<HHIiIIIIIII", 1, verb, tag, 0, 0, 1, 0, len(text) + size - 1, 0, 0, 0) + text)
            self.assertEqual(sb.hear(), (65, tag, 22))
        self.assertEqual(sb.run_in(["true"])[0], 0)
        sb.start_in(["true"])  # there is one program in a container
        self.assertEqual(sb.hear(), (65, 1, 22))
        self.s.end(sb)
        blank = self.s.make()
        blank.tty = 0
        blank.start_in(["/bin/true"])  # nor is there RUN in a function
        self.assertEqual(blank.hear(), (65, 1, 22))
        self.s.end(blank)


class Further(OneSpawner):
    """Programs that are started in a container beside its own."""

    def setUp(self):
        self.sb = self.s.container([self.s.busybox()], pids=128)
        self.gone = False

    def tearDown(self):
        if not self.gone:
            self.s.end(self.sb)
        self.sb.close()

    def up(self):
        self.sb.start_in(["sh", "-c", "echo up; exec sleep 1000"])
        self.assertEqual(self.sb.hear()[0], 64)
        self.sb.output(b"up")

    def exec_(self, argv, stdin=b"", **kw):
        """(answer, stdout, stderr, wait status): the streams are pipes."""
        pipes = [os.pipe() for _ in range(3)]
        for _, w in pipes:
            os.fchmod(w, 0o666)
        said = self.sb.exec_in(argv, [pipes[0][0], pipes[1][1], pipes[2][1]], **kw)
        os.write(pipes[0][1], stdin)
        for fd in (*pipes[0], pipes[1][1], pipes[2][1]):
            os.close(fd)
        out = []
        for r, _ in pipes[1:]:
            with open(r, "rb") as f:
                out.append(f.read().decode())
        return (said, *out, self.sb.hear()[2] if said[0] == 64 else None)

    def test_streams_user_and_status(self):
        self.up()
        said, out, err, status = self.exec_(["sh", "-c", "cat; %s; pwd; echo e >&2; echo again >/dev/stdout; exit 3" % WHO], b"in\n", user="app", cwd="/tmp", tag=9)
        self.assertEqual((said[:2], out, err, status), ((64, 9), "in\n1000 1001 29 1001 /home/app\n/tmp\nagain\n", "e\n", 3 << 8))
        self.assertIn("sleep 1000", self.exec_(["ps"])[1])
        self.assertRegex(self.exec_(["grep", "-E", "CapEff|NoNewPrivs|Seccomp:", "/proc/self/status"])[1], r"CapEff:\s00000000a80425fb\nNoNewPrivs:\s1\nSeccomp:\s2\n$")
        self.assertEqual(sorted(self.exec_(["ls", "/proc/self/fd"])[1].split()), ["0", "1", "2", "3"])  # the last is of ls itself

    def test_what_cannot_be_started(self):
        self.up()
        for argv, kw, errno_, step in ((["nothing"], {}, 2, EXEC), (["true"], {"cwd": "/nowhere"}, 2, CWD), (["true"], {"user": "nobody"}, 2, USER)):
            self.assertEqual(self.exec_(argv, **kw), ((65, 2, step << 16 | errno_), "", "", None))

    def test_terminal(self):
        self.up()
        master, slave = self.s.open(OPEN_TTY, self.sb)
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
        self.assertEqual(self.sb.exec_in(["sh", "-c", "tty; stty size; trap 'echo got it; exit 5' INT; echo ready; while :; do read line; done"], [slave], tty=1)[0], 64)
        os.close(slave)
        said, sent = b"", False
        while True:
            select.select([master], [], [], TIMEOUT_S)
            try:
                said += os.read(master, 1000)
            except OSError:  # the last slave is closed
                break
            if b"ready" in said and not sent:
                sent = bool(os.write(master, b"\x03"))
        os.close(master)
        self.assertEqual(said.decode().replace("^C", "").split(), ["/dev/pts/0", "33", "99", "ready", "got", "it"])
        self.assertEqual(self.sb.hear(), (66, 2, 5 << 8))

    def test_signals_go_to_their_tag(self):
        self.up()
        null = os.open("/dev/null", os.O_RDWR)
        for tag in (2, 3):
            self.assertEqual(self.sb.exec_in(["sleep", "1000"], [null] * 3, tag=tag)[:2], (64, tag))
        os.close(null)
        for tag in (3, 2, 1):
            self.sb.signal(tag, signal.SIGKILL)
            self.assertEqual(self.sb.hear(), (66, tag, signal.SIGKILL))
        self.assertEqual(self.exec_(["echo", "x"])[1], "x\n")  # the sandbox is there until it is ended

    def test_messages_that_are_wrong(self):
        self.up()
        null = os.open("/dev/null", os.O_RDWR)
        for fds, tty in (([], 0), ([null], 0), ([null] * 2, 0), ([null] * 3, 1)):
            self.assertEqual(self.sb.exec_in(["true"], fds, tty=tty), (65, 2, 22))
        self.assertEqual(self.sb.exec_in(["true"], [null], tty=1), (65, 2, EXEC << 16 | 25))  # ENOTTY
        for tag in range(2, 65):
            self.assertEqual(self.sb.exec_in(["sleep", "1000"], [null] * 3, tag=tag)[0], 64)
        self.assertEqual(self.sb.exec_in(["true"], [null] * 3, tag=65), (65, 65, 11))  # 64 are all
        blank = self.s.make()
        self.assertEqual(blank.exec_in(["/bin/true"], [null] * 3), (65, 2, 22))  # there is none in a function
        self.s.end(blank)
        blank.close()
        os.close(null)

    def test_after_the_end(self):
        self.up()
        self.s.end(self.sb)
        self.gone = True
        null = os.open("/dev/null", os.O_RDWR)
        with self.assertRaises((BrokenPipeError, ConnectionResetError)):
            self.sb.exec_in(["true"], [null] * 3)
        os.close(null)


class Refusals(OneSpawner):
    """A hostile tandemd gets nothing that it should not."""

    def refused(self, layers, **kw):
        with self.assertRaises(RuntimeError) as e:
            self.s.container(layers, **kw)
        return str(e.exception)

    def test_foreign_folders(self):
        box = self.s.busybox()
        for path in ("/", "/etc", "/root", self.s.code_dir(), self.s.state):
            self.assertIn("no unpacked one", self.refused([box, path]))
        self.assertIn("no unpacked one", self.refused([box + "/bin/busybox"]) if os.path.isdir(box + "/bin/busybox") else "no unpacked one")

    def test_what_others_own_is_nobodys(self):
        """A file of the host's root that got into a layer: it is not root's in there, and its mode holds."""
        box = self.s.busybox()
        with open(box + "/secret", "w") as f:
            f.write("x")
        os.chmod(box + "/secret", 0o600)
        sb = self.s.container([box])
        status, out, err = sb.run_in(["sh", "-c", "ls -ln /secret; cat /secret; chmod 644 /secret; chown 0:0 /secret"])
        self.assertIn(" 65534    65534 ", out)
        self.assertEqual([l.split(": ")[-1] for l in err.splitlines()][0], "Permission denied")
        self.assertEqual(len(err.splitlines()), 3, err)
        self.s.end(sb)
        sb.close()

    def test_numbers(self):
        box = self.s.busybox()
        for kw in ({"memory": 0}, {"memory": 1 << 63}, {"pids": 0}, {"weight": 0}, {"weight": 10001}, {"quota": 1}, {"hostname": b""}, {"hostname": b"a/b"},
                   {"hostname": b"a b"}):
            self.refused([box], **kw)
        self.refused([])
        m = Msg(verb=CONTAINER, id=4711)
        m.u.container = Container(memory_bytes=256 * MB, pids_max=64, cpu_weight=100, n_layers=2, hostname=b"box")
        fd = os.open(box, os.O_PATH)
        with self.assertRaises(RuntimeError):
            self.s.ask(m, MADE, [fd])  # one of two
        os.close(fd)
        sb = self.s.container([box])
        m = Msg(verb=BLANK, id=sb.id)
        with self.assertRaises(RuntimeError):
            self.s.ask(m, MADE)
        self.s.end(sb)
        sb.close()

    def test_nothing_is_left_of_one_that_failed(self):
        self.refused(["/etc"])
        stored = self.s.state + "/containers"
        wait_for(lambda: sorted(os.listdir(stored)) == ["gone", "skel"] and not os.listdir(stored + "/gone"), TIMEOUT_S, "a folder stays")
        with open("/proc/%d/task/%d/children" % (self.s.proc.pid, self.s.proc.pid)) as f:
            self.assertLessEqual(len(f.read().split()), 2)  # tandemd and the sweeper


class Lives(unittest.TestCase):
    """What outlives whom."""

    def test_tandemd_dies(self):
        s = Spawner()
        sb = s.container([s.busybox()], label=b"task one")
        sb.start_in(["sh", "-c", "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 1000 & wait; done"])
        self.assertEqual(sb.hear()[0], 64)
        sb.output(b"up")
        sb.close()
        os.kill(s.daemon_pid, signal.SIGKILL)
        s.detach()
        again, = s.attach()
        self.assertEqual((again.id, again.label, again.assigned, again.uid), (sb.id, b"task one", 1, sb.uid))
        again.signal(1, signal.SIGTERM)
        self.assertEqual(again.until_exit(), ["bye\n", "", 9 << 8])
        s.end(again)
        again.close()
        self.assertEqual(s.stop(), 0, s.errors())

    def test_upgrade(self):
        """The successor of the spawner keeps it, its ids and what it wrote, and removes that when it ends."""
        s = Spawner()
        box = s.busybox()
        sb = s.container([box])
        sb.start_in(["sh", "-c", "echo x >/written; echo up; while :; do sleep 1000 & wait; done"])
        self.assertEqual(sb.hear()[0], 64)
        sb.output(b"up")
        s.send(Msg(verb=READY))
        s.proc.send_signal(signal.SIGHUP)
        self.assertEqual(s.wait(HANDOVER)[0].verb, HANDOVER)
        s.detach()
        again, = s.attach()
        self.assertEqual(again.uid, sb.uid)
        other = s.container([box])
        self.assertNotEqual(other.uid, sb.uid)
        self.assertEqual(other.run_in(["true"])[0], 0)
        s.end(other)
        s.end(again)
        stored = s.state + "/containers"
        wait_for(lambda: sorted(os.listdir(stored)) == ["gone", "skel"] and not os.listdir(stored + "/gone"), TIMEOUT_S, "what it wrote stays")
        for x in (sb, again, other):
            x.close()
        self.assertEqual(s.stop(), 0, s.errors())

    def test_the_spawner_is_killed(self):
        """Its containers die with it; the next one removes what they wrote."""
        s = Spawner()
        sb = s.container([s.busybox()])
        sb.start_in(["sh", "-c", "echo x >/written; echo up; while :; do sleep 1000 & wait; done"])
        self.assertEqual(sb.hear()[0], 64)
        sb.output(b"up")
        s.proc.kill()
        s.proc.wait()
        wait_for(lambda: not os.path.exists("/proc/%d" % sb.pid) or " Z " in open("/proc/%d/stat" % sb.pid).read(), TIMEOUT_S, "it lives on")
        stored = s.state + "/containers"
        self.assertEqual(len(os.listdir(stored)), 3)
        next_ = Spawner(state=s.state)
        wait_for(lambda: sorted(os.listdir(stored)) == ["gone", "skel"] and not os.listdir(stored + "/gone"), TIMEOUT_S, "what it wrote stays")
        self.assertEqual(next_.stop(), 0, next_.errors())
        sb.close()
        s.stop()

    def test_stop_takes_all(self):
        s = Spawner()
        sb = s.container([s.busybox()])
        sb.start_in(["sh", "-c", "echo x >/written; echo up; while :; do sleep 1000 & wait; done"])
        self.assertEqual(sb.hear()[0], 64)
        sb.output(b"up")
        state = s.state
        rmtree, spawner_driver_shutil = [], shutil.rmtree
        shutil.rmtree = lambda *a, **k: rmtree.append(a)
        try:
            self.assertEqual(s.stop(), 0, s.errors())
        finally:
            shutil.rmtree = spawner_driver_shutil
        self.assertEqual(sorted(os.listdir(state + "/containers")), ["gone", "skel"])
        self.assertEqual(os.listdir(state + "/containers/gone"), [])
        shutil.rmtree(s.dir, ignore_errors=True)
        sb.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
