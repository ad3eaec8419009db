#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The real tandem-spawner and tandem-init, with this program in tandemd's place."""
import glob
import os
import resource
import select
import signal
import socket
import sys
import tempfile
import time
import unittest
import zipfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from spawner_driver import *  # noqa: E402,F403

MB = 1 << 20


def groups(state_dir):
    """Directories of control groups that belong to a spawner on state_dir."""
    h = 14695981039346656037
    for b in state_dir.encode():
        h = (h ^ b) * 1099511628211 & (1 << 64) - 1
    name = "tandem-%08x" % ((h ^ h >> 32) & 0xFFFFFFFF)
    return glob.glob("/sys/fs/cgroup/**/" + name, recursive=True)


def cpu_limits(pid):
    """(weight or shares, quota or None) of a process's group; None: this host has no such controller."""
    with open(f"/proc/{pid}/cgroup") as f:
        paths = {name: path for line in f for _, names, path in [line.strip().split(":", 2)] for name in names.split(",")}
    v1, v2 = f"/sys/fs/cgroup/cpu{paths.get('cpu')}", f"/sys/fs/cgroup{paths.get('')}"
    if "cpu" in paths:
        quota = int(read(v1 + "/cpu.cfs_quota_us"))
        return int(read(v1 + "/cpu.shares")), None if quota < 0 else quota
    if not os.path.exists(v2 + "/cpu.weight"):
        return None
    quota = read(v2 + "/cpu.max").split()[0]
    return int(read(v2 + "/cpu.weight")), None if quota == "max" else int(quota)


def read(path):
    with open(path) as f:
        return f.read()


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_gone(pid):
    wait_for(lambda: not alive(pid), TIMEOUT_S, "process %d does not end" % pid)


class Life(OneSpawner):
    """What a sandbox is and does."""

    def test_blank_has_every_descriptor(self):
        sb = self.s.blank()
        self.assertTrue(all(fd >= 0 for fd in sb.fd[:ERR]), sb.fd)
        self.assertEqual(self.s.end(sb).wait_status, signal.SIGKILL)

    def test_python_runs_and_speaks(self):
        sb = self.s.make(files={"hello.txt": "from the code"})
        status, out = sb.python("import os; print(os.getuid(), os.getpid(), open('/var/task/hello.txt').read())")
        self.assertEqual((status, out), (0, "1051 2 from the code\n"))
        self.s.end(sb)

    def test_sklearn(self):
        sb = self.s.make(memory=512 * MB)
        status, out = sb.python("from sklearn.datasets import load_iris; from sklearn.linear_model import LogisticRegression as L\n"
                                "X, y = load_iris(return_X_y=True); print(round(L(max_iter=500).fit(X, y).score(X, y), 1))")
        self.assertEqual((status, out), (0, "1.0\n"))
        self.s.end(sb)

    def test_node(self):
        sb = self.s.make(memory=512 * MB)
        status, out = sb.run(["/usr/bin/node", "-e", "setTimeout(() => console.log(process.getuid()), 5)"])
        self.assertEqual((status, out), (0, "1051\n"))
        self.s.end(sb)

    def test_start_that_fails_says_errno(self):
        sb = self.s.make()
        sb.start(["/nowhere"], tag=7)
        self.assertEqual(sb.hear(), (65, 7, 2))
        self.s.end(sb)

    def test_malformed_start_is_refused(self):
        sb = self.s.make()
        sb.ctl.send(struct.pack("<HHIiIIIII", 1, 1, 3, 0, 0, 2, 0, 4, 0) + b"/a\0b")  # the last string has no end
        self.assertEqual(sb.hear(), (65, 3, 22))
        sb.ctl.send(struct.pack("<HHIiIIIII", 1, 1, 4, 0, 0, 1, 0, 99, 0) + b"/a\0")  # a length that is a lie
        self.assertEqual(sb.hear(), (65, 4, 22))
        self.s.end(sb)

    def test_the_runtime_is_process_2(self):
        """Also after an extension; the process that waits for it is not there twice, and one that fails is told."""
        sb = self.s.make()
        sb.start(["/bin/sleep", "100"], tag=2)
        self.assertEqual(sb.hear(), (64, 2, 3))
        sb.start(["/bin/sleep", "100"], tag=1)
        self.assertEqual(sb.hear(), (64, 1, 2))
        sb.start(["/bin/sleep", "100"], tag=1)
        self.assertEqual(sb.hear(), (64, 1, 4))
        self.s.end(sb)
        sb = self.s.make()
        sb.start(["/nowhere"], tag=1)
        self.assertEqual(sb.hear(), (65, 1, 2))
        sb.start(["/bin/sleep", "100"], tag=1)
        self.assertEqual(sb.hear(), (64, 1, 3))
        self.s.end(sb)

    def test_signal_and_tags(self):
        sb = self.s.make()
        for tag in (1, 2):
            sb.start(["/bin/sleep", "100"], tag=tag)
            self.assertEqual(sb.hear()[:2], (64, tag))
        sb.signal(2, signal.SIGTERM)
        self.assertEqual(sb.hear(), (66, 2, signal.SIGTERM))
        sb.signal(1, signal.SIGKILL)
        self.assertEqual(sb.hear(), (66, 1, signal.SIGKILL))
        self.s.end(sb)

    def test_channel_only_for_whom_it_is_kept(self):
        sb = self.s.make()
        code = "import os\ntry: os.write(4, b'hi'); print('sent')\nexcept OSError: print('closed')"
        sb.start(["/usr/bin/python3", "-c", code], channel=0)
        self.assertEqual([sb.hear()[0], sb.hear()[0]], [64, 66])
        self.assertEqual(sb.output(), "closed\n")
        sb.start(["/usr/bin/python3", "-c", code], channel=1)
        self.assertEqual([sb.hear()[0], sb.hear()[0]], [64, 66])
        self.assertEqual(os.read(sb.fd[CHAN], 10), b"hi")
        self.s.end(sb)

    def test_dev_stdout_can_be_opened(self):
        sb = self.s.make()
        status, out = sb.run(["/bin/sh", "-c", "echo one > /dev/stdout; echo two > /dev/stderr"])
        self.assertEqual((status, out), (0, "one\ntwo\n"))
        self.s.end(sb)

    def test_end_takes_everybody(self):
        sb = self.s.make()
        sb.start(["/bin/sh", "-c", "sleep 100 & sleep 100 & setsid sleep 100 & echo up; wait"])
        sb.output(b"up")
        self.s.end(sb)
        left = [open(p).read() for g in groups(self.s.state) for p in glob.glob(g + "/*/cgroup.procs")]
        self.assertTrue(groups(self.s.state))
        self.assertLessEqual(set(left), {""})

    def test_memory_limit_ends_the_sandbox_and_nobody_else(self):
        other = self.s.make()
        sb = self.s.make(memory=32 * MB, tmp=1 * MB)
        sb.start(["/usr/bin/python3", "-c", "x = []\nwhile True: x.append(bytearray(1 << 20))"])
        end = self.s.ended(sb)
        self.assertGreaterEqual(end.oom_kills, 1)
        self.assertGreater(end.mem_peak_bytes, 16 * MB)
        self.assertEqual(other.python("print(1)"), (0, "1\n"))
        self.s.end(other)

    def test_cpu_and_memory_are_told(self):
        sb = self.s.make()
        sb.python("x = bytearray(40 << 20)\nfor i in range(10**6): pass")
        self.assertGreater(int(os.pread(sb.fd[MEM_PEAK], 64, 0)), 40 * MB)
        self.assertTrue(os.pread(sb.fd[CPU], 4096, 0))
        end = self.s.end(sb)
        self.assertGreater(end.cpu_us, 1000)
        self.assertGreater(end.mem_peak_bytes, 40 * MB)
        sb = self.s.make()  # the same slot: its counters begin anew
        self.assertLess(self.s.end(sb).cpu_us, 1000000)

    def test_files_that_the_last_one_read_are_not_the_next_ones_memory(self):
        sb = self.s.make(files={"big": "x" * (24 * MB)})
        path = self.s.last_dir + "/big"
        with open(path, "rb") as f:
            os.fsync(f.fileno())
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        self.assertEqual(sb.python("print(len(open('/var/task/big').read()))"), (0, f"{24 * MB}\n"))
        self.s.end(sb)

        def peak():
            return self.s.end(self.s.make()).mem_peak_bytes
        # Now and then its group is not quite empty yet, and is looked at again by who comes after that.
        wait_for(lambda: peak() < 16 * MB, TIMEOUT_S, "the next one began with it")

    def test_cpu_limits_hold_once_live(self):
        sb = self.s.make(weight=7, quota=20000)
        before = cpu_limits(sb.pid)
        self.s.send(Msg(verb=LIVE, id=sb.id))
        other = self.s.make()  # verbs are taken in order: what was asked before is done
        self.assertEqual(before, cpu_limits(other.pid))
        after = cpu_limits(sb.pid)
        if before is not None:
            self.assertEqual(before[1:], (None,))
            self.assertEqual(after, (before[0] * 7 // 100, 20000))
        self.s.send(Msg(verb=LIVE, id=12345))  # of a sandbox that has ended already
        self.s.end(other)
        self.s.end(sb)

    def test_freeze(self):
        sb = self.s.make()
        sb.start(["/bin/sh", "-c", "while :; do echo x; sleep 0.01; done"])
        sb.output(b"x\nx")
        os.pwrite(sb.fd[FREEZE], b"1", 0)
        while select.select([sb.fd[LOG]], [], [], 0.3)[0]:
            os.read(sb.fd[LOG], 65536)
        os.pwrite(sb.fd[FREEZE], b"0", 0)
        self.assertTrue(select.select([sb.fd[LOG]], [], [], 5)[0])
        os.pwrite(sb.fd[FREEZE], b"1", 0)
        self.assertEqual(self.s.end(sb).wait_status, signal.SIGKILL)  # also while frozen

    def test_platform_sockets(self):
        sb = self.s.make()
        code = ("import socket\nfor a in (('169.254.100.1', 9001), ('169.254.170.2', 80), ('169.254.100.2', 4566), ('169.254.100.2', 443)):\n"
                " socket.create_connection(a).send(b'hello')\n"
                "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'dns', ('169.254.100.2', 53))\n"
                "s = socket.socket(); s.bind(('127.0.0.1', 80)); print('done')")
        self.assertEqual(sb.python(code), (0, "done\n"))
        for i in (RTAPI, CREDS, API, API_TLS):
            l = socket.socket(fileno=os.dup(sb.fd[i]))
            c, _ = l.accept()
            c.setblocking(True)
            self.assertEqual(c.recv(10), b"hello")
            c.close()
            l.close()
        self.assertEqual(os.read(sb.fd[DNS], 10), b"dns")
        self.s.end(sb)

    def test_tmp_has_the_declared_size(self):
        sb = self.s.make(tmp=8 * MB)
        status, out = sb.run(["/bin/sh", "-c", "df -B1 --output=size /tmp | tail -1; head -c 10000000 /dev/zero > /tmp/x; ls -l /tmp/x | cut -d' ' -f5"])
        self.assertIn(str(8 * MB), out)
        self.assertIn("\n%d\n" % (8 * MB), out)
        self.s.end(sb)

    def test_clocks_follow_the_wall(self):
        sb = self.s.make()
        _, out = sb.python("import time; print(abs(time.time() - time.monotonic()) < 3)")
        self.assertEqual(out, "True\n")
        self.s.end(sb)

    def test_opt_and_label(self):
        sb = self.s.blank()
        task, opt = self.s.code_dir({"a": "1"}), self.s.code_dir({"b": "2"})
        fds = [os.open(p, os.O_PATH) for p in (task, opt)]
        m = Msg(verb=ASSIGN, id=sb.id)
        m.u.assign = Assign(256 * MB, 512 * MB, 64, 100, 50000, 1, b"a label")
        self.s.ask(m, ASSIGNED, fds)
        self.assertEqual(sb.run(["/bin/sh", "-c", "ls /var/task /opt"])[1], "/opt:\nb\n\n/var/task:\na\n")
        self.s.end(sb)
        for fd in fds:
            os.close(fd)


class Refusals(unittest.TestCase):
    """A hostile tandemd gets nothing that it should not."""

    @classmethod
    def setUpClass(cls):
        cls.s = Spawner()

    @classmethod
    def tearDownClass(cls):
        cls.s.stop()

    def refused(self, m, answer, fds=()):
        with self.assertRaises(RuntimeError):
            self.s.ask(m, answer, fds)

    def test_foreign_directory_is_not_mounted(self):
        sb = self.s.blank()
        for path in ("/etc", "/root", "/dev/null"):
            fd = os.open(path, os.O_PATH)
            m = Msg(verb=ASSIGN, id=sb.id)
            m.u.assign = Assign(256 * MB, 512 * MB, 64, 100, 0, 0, b"")
            self.refused(m, ASSIGNED, [fd])
            os.close(fd)
        m = Msg(verb=ASSIGN, id=sb.id)
        m.u.assign = Assign(256 * MB, 512 * MB, 64, 100, 0, 0, b"")
        self.refused(m, ASSIGNED, [])
        self.s.end(sb)

    def test_limits_out_of_range(self):
        sb = self.s.blank()
        fd = os.open(self.s.code_dir(), os.O_PATH)
        for a in ((0, 1 << 29, 64, 100, 0), (1 << 63, 1 << 29, 64, 100, 0), (1 << 28, 0, 64, 100, 0), (1 << 28, 1 << 29, 0, 100, 0),
                  (1 << 28, 1 << 29, 64, 0, 0), (1 << 28, 1 << 29, 64, 10001, 0), (1 << 28, 1 << 29, 64, 100, 1)):
            m = Msg(verb=ASSIGN, id=sb.id)
            m.u.assign = Assign(*a, 0, b"")
            self.refused(m, ASSIGNED, [fd])
        os.close(fd)
        self.s.assign(sb)
        with self.assertRaises(RuntimeError):
            self.s.assign(sb)  # twice
        self.s.end(sb)

    def test_ids(self):
        sb = self.s.blank()
        self.refused(Msg(verb=BLANK, id=sb.id), MADE)
        self.refused(Msg(verb=BLANK, id=0), MADE)
        self.s.send(Msg(verb=END_SANDBOX, id=987654))  # nobody: nothing happens
        self.s.end(sb)

    def test_no_number_free_for_descriptors(self):
        """At its limit of open files the spawner refuses what it cannot take, and ends nobody."""
        pid, sb = self.s.proc.pid, self.s.blank()
        fds = [os.open(self.s.code_dir(), os.O_PATH) for _ in range(6)]
        used, old = {int(f) for f in os.listdir("/proc/%d/fd" % pid)}, resource.prlimit(pid, resource.RLIMIT_NOFILE)
        free = [i for i in range(len(used) + 64) if i not in used]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free[2], old[1]))  # two of six
        m = Msg(verb=ASSIGN, id=sb.id)
        m.u.assign = Assign(256 * MB, 512 * MB, 64, 100, 0, 5, b"")
        self.refused(m, ASSIGNED, fds)
        self.refused(Msg(verb=BLANK, id=4711), MADE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, old)
        self.s.ask(m, ASSIGNED, fds)
        self.s.end(sb)
        for fd in fds:
            os.close(fd)

    def test_unpack_names(self):
        fds = [os.open("/dev/null", os.O_RDONLY), os.open(self.s.dir, os.O_RDONLY)]
        for name in (b"", b"..", b".x", b"a/b", b"-x", b"a b"):
            m = Msg(verb=UNPACK, id=77)
            m.u.unpack = Unpack(name, 1 * MB, 10, 0, 0)
            self.refused(m, UNPACKED, fds)
        for fd in fds:
            os.close(fd)

    def test_what_unpacking_took(self):
        with tempfile.TemporaryFile() as archive:
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as z:
                z.writestr("some", bytes(4 * MB))
            archive.flush()
            m = Msg(verb=UNPACK, id=78)
            m.u.unpack = Unpack(b"ab" * 32, 8 * MB, 10, 0, 0)
            into = os.open(self.s.code_dir(), os.O_RDONLY)
            got, _ = self.s.ask(m, UNPACKED, [archive.fileno(), into])
            os.close(into)
        self.assertEqual(got.u.unpack.bytes, 4 * MB)
        self.assertGreater(got.u.unpack.cpu_us, 0)


class Pulls(OneSpawner):
    """The verb PULL as a hostile tandemd would use it; what a good one gets: tests/e2e/test_images.py."""

    def pull(self, reference, fds=None, has_auth=0, owner=DAEMON_UID):
        at = os.path.join(self.s.dir, "incoming")
        os.makedirs(at, exist_ok=True)
        os.chown(at, owner, owner)
        os.chmod(at, 0o777)
        r, w = os.pipe()
        mine = [os.open(at, os.O_RDONLY), w]
        self.s.next_id += 1
        m = Msg(verb=PULL, id=self.s.next_id)
        m.u.pull = Pull(reference, 1, has_auth, 0)
        self.s.send(m, mine if fds is None else mine[:fds])
        for fd in mine:
            os.close(fd)
        got, _ = self.s.wait(PULLED, m.id)
        with os.fdopen(r, "rb") as f:
            return got, f.read().decode()

    def test_what_is_refused(self):
        for reference in (b"", b"-x", b"/etc/passwd", b"a b", b"a;b", b"a\nb", b"$(x)", b"a%20b"):
            got, said = self.pull(reference)
            self.assertIn(b"the reference is not acceptable", got.text, reference)
            self.assertEqual(said, "")
        for fds, has_auth in ((0, 0), (1, 0), (2, 1)):
            self.assertIn(b"did not arrive", self.pull(b"127.0.0.1:1/a", fds, has_auth)[0].text)
        self.assertIn(b"not a directory of tandemd's user", self.pull(b"127.0.0.1:1/a", owner=0)[0].text)

    def test_its_words_and_its_end(self):
        if not os.path.exists("/usr/bin/skopeo"):
            self.skipTest("skopeo is not installed")
        got, said = self.pull(b"127.0.0.1:1/a:b")
        self.assertEqual(got.err, 0)
        self.assertTrue(os.WIFEXITED(got.u.pull.wait_status) and os.WEXITSTATUS(got.u.pull.wait_status))
        self.assertIn("127.0.0.1:1", said)
        self.s.send(Msg(verb=PULL_END, id=99999))  # nobody's: no answer, no harm
        self.pull(b"127.0.0.1:1/a:b")


class NetNamespaces(unittest.TestCase):
    """A net namespace is used again when nothing of its last user is left in it, and only then."""
    IMPORTS = "import os, socket, struct\nfrom socket import *\n"
    NO_TRACE = (
        "pass",
        "s = socket(); s.bind(('127.0.0.1', 80)); s.listen()",
        "s = socket(AF_INET6, SOCK_DGRAM); s.bind(('::1', 53))",
        "s = socket(AF_UNIX); s.bind(b'\\0left'); s.listen(); c = socket(AF_UNIX); c.connect(b'\\0left'); send_fds(c, [b'x'], [s.fileno()])",
        "os.fork() or os.setsid(); s = socket(); s.bind(('0.0.0.0', 9999)); s.listen(); print('x', flush=True)",
    )
    TRACE = (
        "socket(AF_INET, SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
        "socket(AF_INET6, SOCK_DGRAM).sendto(b'x', ('::1', 9))",
        "socket().connect_ex(('127.0.0.1', 9))",
        "create_connection(('169.254.100.1', 9001))",
        "l = create_server(('127.0.0.1', 0)); c = create_connection(l.getsockname()); a = l.accept()[0]; c.close(); a.close()",  # TIME_WAIT
        "socket().connect_ex(('1.1.1.1', 9))",
        # A flow label with a minute to linger
        "s = socket(AF_INET6, SOCK_DGRAM); s.setsockopt(41, 32, inet_pton(AF_INET6, '::1') + struct.pack('!I', 0x12345) + struct.pack('BBHHHI', 0, 255, 1, 60, 60, 0))",
    )

    def spawner(self):
        return Spawner()

    def make(self):
        return self.s.make()

    def setUp(self):
        self.s = self.spawner()
        self.held = []  # so that no other namespace gets a number that we have seen

    def tearDown(self):
        for fd in self.held:
            os.close(fd)
        self.s.stop()

    def number(self, sb):
        fd = os.open("/proc/%d/ns/net" % sb.pid, os.O_RDONLY)
        self.held.append(fd)
        return os.fstat(fd).st_ino

    def tenant(self, code=None, close=True):
        sb = self.make()
        number = self.number(sb)
        if code:
            self.assertEqual(sb.python(self.IMPORTS + code)[0], 0, code)
        self.s.end(sb)
        if close:
            sb.close()
        return number

    def comes_back(self, number):
        """They are taken in the order in which they were given back: once a later one was, this one's turn is over."""
        later, end = set(), time.monotonic() + TIMEOUT_S
        while time.monotonic() < end:
            now = self.tenant()
            if now == number:
                return True
            if now in later:
                return False
            later.add(now)
        raise AssertionError("no namespace is used twice")

    def test_without_a_trace(self):
        for code in self.NO_TRACE:
            # On a slow machine the kernel may not be through with its sockets when the turn comes: then it is dropped, too.
            self.assertTrue(any(self.comes_back(self.tenant(code)) for _ in range(8)), code)
        sb = self.make()
        status, text = sb.python("for name in ('tcp', 'tcp6', 'udp6', 'unix', 'dev', 'sockstat', 'ip6_flowlabel'): print(open('/proc/net/' + name).read())")
        self.assertEqual(status, 0)
        self.assertNotIn("left", text)
        self.assertNotIn(":270F", text)  # 9999
        self.assertRegex(text, r"lo:( +0){16}")

    def test_with_a_trace(self):
        for code in self.TRACE:
            self.assertFalse(self.comes_back(self.tenant(code)), code)

    def test_with_a_socket_that_tandemd_keeps(self):
        self.assertFalse(self.comes_back(self.tenant(close=False)))


class Broken(unittest.TestCase):
    """What breaks the protocol costs tandemd its life, and nobody else's."""

    def test_garbage_restarts_tandemd_and_keeps_sandboxes(self):
        s = Spawner()
        try:
            sb = s.make(label=b"mine")
            good = Msg(version=VERSION, verb=HELLO, end=END)
            for data in (b"x", bytes(good)[:-1], bytes(good) + b"x", bytes(Msg(version=VERSION + 1, verb=HELLO, end=END)),
                         bytes(Msg(version=VERSION, verb=HELLO)), bytes(Msg(version=VERSION, verb=999, end=END))):
                s.sock.send(data)
                wait_gone(s.daemon_pid)
                back = s.attach()
                self.assertEqual([(a.id, a.label, a.assigned) for a in back], [(sb.id, b"mine", 1)])
                back[0].close()
            self.assertEqual(sb.python("print(1)")[0], 0)
        finally:
            s.stop()

    def test_sigkill_of_tandemd(self):
        s = Spawner()
        try:
            busy, idle, blank = s.make(label=b"busy"), s.make(label=b"idle"), s.blank()
            busy.start(["/bin/sh", "-c", "while :; do echo tick; sleep 0.05; done"])
            busy.output(b"tick")
            os.kill(s.daemon_pid, signal.SIGKILL)
            back = {a.id: a for a in s.attach()}
            self.assertEqual({i: (a.label, a.assigned, a.pid) for i, a in back.items()},
                             {busy.id: (b"busy", 1, busy.pid), idle.id: (b"idle", 1, idle.pid), blank.id: (b"", 0, blank.pid)})
            for old in (busy, idle, blank):
                old.close()  # the dead one's; the adopted descriptors work on their own
            back[busy.id].output(b"tick")
            self.assertEqual(back[idle.id].python("print(2)"), (0, "2\n"))
            s.assign(back[blank.id])
            for a in back.values():
                s.end(a)
            self.assertEqual(len(s.listeners), SL_N)
        finally:
            s.stop()

    def test_repeated_deaths_are_slowed_down(self):
        s = Spawner()
        try:
            times = []
            for _ in range(5):
                os.kill(s.daemon_pid, signal.SIGKILL)
                t = time.monotonic()
                s.attach()
                times.append(time.monotonic() - t)
            self.assertLess(min(times), times[4])
            self.assertGreater(times[4], 0.3)
        finally:
            s.stop()

    def test_spawner_killed_takes_everybody(self):
        s = Spawner()
        sb = s.make()
        sb.start(["/bin/sleep", "100"])
        sb.hear()
        s.proc.kill()
        s.proc.wait()
        wait_gone(sb.pid)
        wait_gone(s.daemon_pid)
        self.assertTrue(groups(s.state))
        t = Spawner(state=s.state)  # the next start takes the groups over
        t.stop()
        if "TANDEM_TEST_GROUP" not in os.environ:  # there t is another service; systemd itself removes what a dead one leaves
            self.assertEqual(groups(s.state), [])
        s.stop()


class Service(unittest.TestCase):
    def test_drain_and_bye(self):
        s = Spawner()
        sb = s.make()
        state, run = s.state, open(s.state + "/run").read()
        self.assertRegex(run, r"^api=127\.0\.0\.1:\d+ gateway=127\.0\.0\.1:\d+ pid=%d\n$" % s.proc.pid)
        st = os.stat(state)
        self.assertEqual((st.st_mode & 0o7777, st.st_uid, st.st_gid), (0o710, 0, DAEMON_UID))
        st = os.stat(state + "/admin.sock")
        self.assertEqual((st.st_mode & 0o7777, st.st_uid, st.st_gid), (0o660, 0, DAEMON_UID))
        st = os.stat(state + "/daemon")
        self.assertEqual((st.st_mode & 0o7777, st.st_uid), (0o700, DAEMON_UID))
        s.proc.terminate()
        s.wait(DRAIN)
        self.assertTrue(alive(sb.pid))
        self.assertEqual(s.stop(), 0)
        self.assertFalse(alive(sb.pid))
        self.assertEqual(groups(state), [])

    def test_second_signal_does_not_wait(self):
        s = Spawner()
        sb = s.make()
        s.proc.terminate()
        s.wait(DRAIN)
        s.proc.terminate()
        self.assertEqual(s.proc.wait(TIMEOUT_S), 1)
        self.assertFalse(alive(sb.pid))
        s.stop()

    def test_upgrade_keeps_sandboxes_and_listeners(self):
        s = Spawner()
        try:
            sb = s.make(label=b"kept")
            sb.start(["/bin/sh", "-c", "while :; do echo tick; sleep 0.02; done"])
            sb.output(b"tick")
            api = socket.socket(fileno=os.dup(s.listeners[API4])).getsockname()
            s.proc.send_signal(signal.SIGHUP)
            s.wait(HANDOVER)
            s.link.close()  # the stand-in exits 0
            waiting = socket.create_connection(api)  # nobody accepts just now, nobody is refused
            back = s.attach()
            self.assertEqual([(a.id, a.label, a.pid) for a in back], [(sb.id, b"kept", sb.pid)])
            back[0].log = b""
            back[0].output(b"tick")
            self.assertEqual(socket.socket(fileno=os.dup(s.listeners[API4])).getsockname(), api)
            s.end(back[0])
            s.end(s.make())
            waiting.close()
        finally:
            self.assertEqual(s.stop(), 0)

    def test_two_on_one_state_directory(self):
        s = Spawner()
        t = Spawner(state=s.state, ready=False)
        self.assertEqual(t.proc.wait(TIMEOUT_S), 1)
        self.assertIn("already serves", t.errors())
        t.stop()
        self.assertEqual(s.stop(), 0)

    def test_port_in_use(self):
        l = socket.socket()
        l.bind(("127.0.0.1", 0))
        l.listen()
        s = Spawner(api=l.getsockname(), ready=False)
        self.assertEqual(s.proc.wait(TIMEOUT_S), 1)
        self.assertIn("Port in use", s.errors())
        s.stop()
        l.close()

    def test_auth_none_off_loopback(self):
        s = Spawner(api=("0.0.0.0", 0), auth_none=1, ready=False)
        self.assertEqual(s.proc.wait(TIMEOUT_S), 1)
        self.assertIn("loopback", s.errors())
        s.stop()

    def test_a_tandemd_that_never_gets_ready_ends_the_service(self):
        s = Spawner(ready=False)
        s.attach()
        os.kill(s.daemon_pid, signal.SIGKILL)
        self.assertEqual(s.proc.wait(TIMEOUT_S), 1)
        s.stop()

    def test_service_manager_is_told(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as n:
            name = "\0tandem-test-%d" % os.getpid()
            n.bind(name)
            n.settimeout(TIMEOUT_S)
            os.environ["NOTIFY_SOCKET"] = "@" + name[1:]
            try:
                s = Spawner()
            finally:
                del os.environ["NOTIFY_SOCKET"]
            self.assertEqual(n.recv(100), b"READY=1")
            s.stop()


if __name__ == "__main__":
    if os.getuid():
        print("this test makes sandboxes: it needs root")
        sys.exit(77)
    unittest.main(verbosity=2, warnings="ignore")
