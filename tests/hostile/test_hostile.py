#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Programs that try to break out of the sandbox (acts*.c), with the real tandem-spawner.

Control: each act succeeds as root outside of any sandbox; otherwise its refusal inside proves nothing. Where this host refuses it
even to root, the control is skipped with the reason: it runs in the VM (make vm), on another kernel.
Sandbox: each is refused there.
Layers: a debug build leaves out one layer, and acts that this layer alone stops succeed: they would turn red.
Ways out: the same with a sandbox that may connect to the internet, in a host that the test made (../spawn/net_world.py).
"""
import collections
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "spawn"))
import net_world as net  # noqa: E402
from spawner_driver import (BUILD, BYE, CAPS_ALL, CAPS_DEFAULT, SECRET, SECRET_ENV, SECRET_FILE, TIMEOUT_S, VOLUME, Msg, Spawner,  # noqa: E402
                            enter_net)

MB = 1 << 20
TMP_BYTES = 8 * MB
DONE, REFUSED = 0, 1
SHM_KEY = 0x7465 << 16 | os.getpid() & 0xFFFF
MARKER = "tandem-hostile-%d" % os.getpid()

# What the sandbox gets as arguments; control: what the control gets instead. wrap: words before the act's name in the control.
# lacks: what a host may have refused to its root, as the act words it; the control is then skipped.
Act = collections.namedtuple("Act", "name args control wrap lacks")


def act(name, *args, control=None, wrap=(), lacks=None):
    return Act(name, args, args if control is None else control, wrap, lacks)


NOT_THERE = "Function not implemented|not supported|No such|Invalid argument|can't assign"
NO_RIGHT = NOT_THERE + "|Operation not permitted|Permission denied|Read-only file system"
VICTIM = ("{victim}",)

ACTS = [
    # Another instance, the host's processes, process 1
    act("see_process", MARKER),
    *[act(name, pid, control=VICTIM, lacks=lacks) for pid in ("1", "{neighbour}") for name, lacks in (
        ("kill", None), ("mem_file", None), ("vm_write", None), ("vm_read", None), ("ptrace", None), ("take_fd", None))],
    *[act("read_file", "/proc/1/" + name, control=("/proc/{victim}/" + name,)) for name in ("environ", "maps", "exe")],
    act("read_link", "/proc/1/fd/3", control=("/proc/{victim}/fd/0",)),
    act("list", "/proc/1/fd", control=("/proc/{victim}/fd",)),
    act("see_path", "/proc/{neighbour}", control=("/proc/{victim}",)),
    act("inherited_fd", wrap=("@fd",)),
    act("ptrace_child"),
    act("shm_key", str(SHM_KEY)),
    # Namespaces
    *[act(call, kind, lacks=None if call == "unshare" and kind == "mnt" else NOT_THERE) for call in ("unshare", "clone")
      for kind in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time") if (call, kind) != ("clone", "time")],
    act("clone3", "user", lacks=NOT_THERE), act("clone3", "mnt"),
    *[act("setns", kind) for kind in ("mnt", "net", "uts", "pid", "ipc", "cgroup")],
    act("set_host_name"),
    # Mounts
    act("mount", "{scratch}"), act("bind", "{scratch}"), act("remount", "{scratch}"), act("umount", "{scratch}"), act("fsopen"),
    act("open_tree", "{scratch}"), act("open_tree", "/"), act("mount_setattr", "{scratch}"), act("chroot", "{scratch}"),
    act("pivot_root", "{scratch}", lacks="Invalid argument"),  # from the initial ramfs there is no way
    act("by_handle", "{scratch}", lacks=NOT_THERE),
    act("mount", "/var/task", control=("{scratch}",)), act("umount", "/var/task", control=("{scratch}",)),
    act("remount", "/", control=("{scratch}",)), act("umount", "/proc/kcore", control=("{scratch}",)),
    # Files
    *[act("write_in", path, control=("{scratch}",)) for path in (
        "/", "/etc", "/usr", "/usr/bin", "/usr/local", "/var", "/var/task", "/var/runtime", "/opt", "/run", "/dev", "/sys", "/mnt", "/proc")],
    *[act("open_write", path, control=("/proc/sys/kernel/hostname",), lacks=NO_RIGHT) for path in (
        "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/vm/overcommit_memory",
        "/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/1/oom_score_adj", "/proc/1/mem")],
    *[act("open_write", path, lacks=NO_RIGHT) for path in (
        "/sys/kernel/mm/transparent_hugepage/enabled", "/dev/mem", "/dev/kmsg")],
    *[act("open_write", path, control=("{cgroup}/cgroup.procs",)) for path in (
        "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/unified/cgroup.procs", "/sys/fs/cgroup/memory/cgroup.procs")],
    act("open_write", "/usr/bin/env"), act("open_write", "/etc/passwd"),
    act("open_write", "/var/task/acts-suid", control=("{secret}",)), act("chmod", "/var/task", control=("{scratch}",)), act("chmod", "/usr/bin/env"),
    *[act("read_file", path, lacks=NO_RIGHT + "|No data") for path in ("/proc/kcore", "/proc/timer_list", "/proc/interrupts", "/etc/shadow")],
    act("read_file", "{secret}"),
    *[act("list", path, lacks=NOT_THERE) for path in ("/root", "/home", "/var/lib", "/sys/kernel", "/sys/fs/cgroup", "/usr/local")
      if os.listdir(path)],  # /home is empty on a machine that is new
    *[act("see_path", path) for path in ("{state}", "{state}/daemon", "{state}/admin.sock", "/root", "/var/lib", "/sys/kernel")],
    act("host_ids"), act("override_mode", "{scratch}"), act("chown", "{scratch}"), act("mknod", "{scratch}"),
    act("setuid", "0"), act("setuid", "1000"), act("run_suid", "/var/task/acts-suid", control=("{suid}",), wrap=("as", "65534")),
    act("type_into_terminal", lacks="No such|Input/output"),
    # Limits
    act("fork_bomb", "300"), act("fill", "{scratch}", str(2 * TMP_BYTES)), act("fill", "/dev/shm", str(80 * MB), control=("{scratch}", str(80 * MB))),
    act("fill_inodes", "{scratch}", "5000"), act("lock_memory", str(MB)), act("open_many", "2000", lacks="Too many open files"),
    act("raise_core", lacks="Operation not permitted"), act("dump_core", "{scratch}", lacks="a core"),
    act("realtime", lacks=NO_RIGHT), act("nice", lacks=NO_RIGHT),
    # The network
    act("tcp", "127.0.0.1", "{port4}"), act("tcp", "::1", "{port6}", lacks="refused"),
    act("tcp", "127.0.0.1", "{neighbour_port}", control=("127.0.0.1", "{port4}")),
    act("tcp", "169.254.100.1", "{neighbour_port}", control=("127.0.0.1", "{port4}")),
    act("unix", "@" + MARKER), act("unix", "{socket}"), act("unix", "{state}/admin.sock"),
    *[act("socket", str(family), str(kind), str(proto), lacks=NO_RIGHT) for family, kind, proto in (
        (2, 3, 1), (2, 3, 255), (10, 3, 58), (2, 1, 262), (17, 3, 0), (17, 2, 0), (40, 1, 0),
        (16, 3, 9), (16, 3, 12), (16, 3, 15), (16, 3, 16), (44, 3, 0))],
    act("set_link", wrap=("ownnet",)), act("other_link", lacks="No such device"), act("transparent"),
    # The kernel
    *[act(name, lacks=NO_RIGHT) for name in ("load_module", "load_module_file", "unload_module", "kexec", "swapon", "acct", "bpf", "perf",
                                            "io_ports", "ldt", "userfault", "io_uring", "secret_memory", "add_key", "keyctl",
                                            "kernel_log", "fanotify", "quota", "numa", "number_unknown")],
    act("int80", lacks=NOT_THERE + "|signal"), act("reboot"), act("adjtimex"), act("weak_address_space"),
]

# Refused, and by what words; ordinary kernels do not have these at all, so there is no control.
WITHOUT_CONTROL = [(act("socket", str(family), "3", "0"), "Address family not supported")
                   for family in range(48) if family not in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)] + [
    (act("socket", "2", "5", "132"), "Operation not permitted"), (act("socket", "2", "2", "1"), "Protocol not supported"),
    (act("x32"), r"signal 31|not implemented"), (act("open_write", "/sys/kernel/uevent_helper"), "No such"), (act("list", "/boot"), "No such")]

# Layer, by its number in enum spawner_layer: acts that nothing else stops.
LAYERS = {
    "NO_SECCOMP": (1, [act("unshare", "user"), act("clone", "user"), act("ptrace_child"), act("adjtimex"), act("weak_address_space"),
                       act("number_unknown"), act("socket", "16", "3", "15")]),
    "NO_PIDNS": (2, [act("see_process", MARKER), act("see_path", "/proc/{neighbour}")]),
    "NO_NETNS": (3, [act("tcp", "127.0.0.1", "{port4}"), act("unix", "@" + MARKER)]),
    "NO_IPCNS": (4, [act("shm_key", str(SHM_KEY))]),
    "NO_USERNS": (5, [act("host_ids")]),
    "NO_RO_ROOT": (6, [act("write_in", "/")]),
    "NO_CGROUP": (7, [act("fork_bomb", "300"), act("eat_memory", str(96 * MB))]),
    "NO_DUMPABLE": (8, [act("mem_file", "1"), act("read_file", "/proc/1/maps"), act("list", "/proc/1/fd")]),
    "NO_CAPDROP": (9, [act("override_mode", "{scratch}")]),
    "NO_TMP_SIZE": (10, [act("fill", "{scratch}", str(2 * TMP_BYTES))]),
    "NO_RLIMIT": (11, [act("raise_core"), act("open_many", "2000")]),
}

# In a container all are refused but these: its root and its ids are its own, and Docker allows them too.
CONTAINER_MAY = {("ptrace_child",), ("chroot", "{scratch}"), ("host_ids",), ("override_mode", "{scratch}"), ("chown", "{scratch}"), ("setuid", "0"),
                 ("setuid", "1000"), ("fill", "{scratch}", str(2 * TMP_BYTES)), ("fill_inodes", "{scratch}", "5000"), ("lock_memory", str(MB)),
                 ("open_many", "2000"), ("list", "/sys/fs/cgroup"),  # its own group, read-only
                 *[("write_in", path) for path in ("/", "/etc", "/usr", "/usr/bin", "/var", "/var/task", "/dev")],
                 *[("open_write", path) for path in ("/usr/bin/env", "/etc/passwd", "/var/task/acts-suid")],
                 ("chmod", "/var/task"), ("chmod", "/usr/bin/env"), ("list", "/root"), ("list", "/var/lib"), ("see_path", "/root"), ("see_path", "/var/lib")}
CONTAINER_LAYERS = {
    "NO_SECCOMP": (1, [act("unshare", "user"), act("clone", "user"), act("number_unknown"), act("socket", "16", "3", "15"), act("weak_address_space")]),
    "NO_PIDNS": (2, [act("see_process", MARKER), act("see_path", "/proc/{neighbour}")]),
    "NO_NETNS": (3, [act("tcp", "127.0.0.1", "{port4}"), act("unix", "@" + MARKER)]),
    "NO_IPCNS": (4, [act("shm_key", str(SHM_KEY))]),
    "NO_USERNS": (5, [act("open_write", "/proc/1/oom_score_adj")]),
    "NO_RO_ROOT": (6, [act("read_file", "/proc/interrupts")]),
    "NO_CGROUP": (7, [act("fork_bomb", "300"), act("eat_memory", str(96 * MB))]),
    "NO_DUMPABLE": (8, [act("mem_file", "1"), act("read_file", "/proc/1/maps"), act("list", "/proc/1/fd")]),
    "NO_RLIMIT": (11, [act("raise_core")]),
}


# With a way out: what it does not lead to. Over IPv6 there is none at all.
ELSEWHERE = [act("tcp", a, str(net.PORT)) for a in (net.HOST, net.LAN, net.NEIGHBOUR, net.METADATA, *net.PRIVATE, *net.SPECIAL)]
ELSEWHERE += [act("tcp", "::ffff:" + a, str(net.PORT)) for a in (net.HOST, net.LAN, net.METADATA, net.PRIVATE[0])]
ELSEWHERE += [act("tcp", "{neighbour_address}", "7001", control=(net.PUBLIC, str(net.PORT))),
              act("tcp", "::ffff:{neighbour_address}", "7001", control=(net.PUBLIC, str(net.PORT)))]
OVER_V6 = [act("tcp", a, str(net.PORT)) for a in (net.HOST6, net.PUBLIC6, *net.SPECIAL6)]
NO_NETNS, NO_EGRESS_RULES = 3, 12


def program():
    """The acts, statically linked; compiled unless somebody did it already (the VM has no compiler)."""
    out = os.path.join(BUILD, "tests", "hostile", "acts")
    sources = [os.path.join(HERE, f) for f in sorted(os.listdir(HERE)) if re.fullmatch(r"acts\w*\.[ch]", f)]
    if not os.path.exists(out) or os.path.getmtime(out) < max(map(os.path.getmtime, sources)):
        os.makedirs(os.path.dirname(out), exist_ok=True)
        subprocess.run(["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Wno-unused-parameter", "-static", "-o", out] +
                       [f for f in sources if f.endswith(".c")], check=True)
    return out


def host_pid(marker):
    """Of the process that has marker in its command line, as the host counts."""
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/cmdline" % pid, "rb") as f:
                    if marker.encode() in f.read().split(b"\0"):
                        return int(pid)
            except OSError:
                pass
    raise AssertionError("no process " + marker)


def cgroup_mount():
    with open("/proc/mounts") as f:
        return next(m[1] for m in map(str.split, f) if m[2] in ("cgroup", "cgroup2"))


class Host:
    """What there is to reach: a process, listeners, a file, a segment of memory."""

    def __init__(self):
        self.acts = program()
        self.dir = tempfile.mkdtemp(prefix="tandem-hostile-", dir="/var")  # where a sandbox would see it, if it saw the host's /var
        os.chmod(self.dir, 0o755)
        self.scratch = os.path.join(self.dir, "scratch")
        os.mkdir(self.scratch)
        self.context = {"scratch": self.scratch, "secret": self.put("secret", 0o644, b"secret"), "socket": self.dir + "/socket",
                        "suid": self.put("acts-suid", 0o4755), "cgroup": cgroup_mount()}
        self.held, ready = self.hold(MARKER)
        assert ready == "ready %s\n" % MARKER, ready
        self.listeners = []
        for family, name, address in ((socket.AF_INET, "port4", ("127.0.0.1", 0)), (socket.AF_INET6, "port6", ("::1", 0)),
                                      (socket.AF_UNIX, "", "\0" + MARKER), (socket.AF_UNIX, "", self.dir + "/socket")):
            try:
                self.listen(family, name, address)
            except OSError:
                assert family == socket.AF_INET6  # a host without it: the control says so
                self.context[name] = "1"
        os.chmod(self.dir + "/socket", 0o777)
        self.shm = subprocess.run([self.acts, "make_shm", str(SHM_KEY)], stdout=subprocess.PIPE, check=True)

    def put(self, name, mode, data=None):
        path = os.path.join(self.dir, name)
        if data is None:
            with open(self.acts, "rb") as f:
                data = f.read()
        with open(path, "wb") as f:
            f.write(data)
        os.chmod(path, mode)
        return path

    def hold(self, marker):
        p = subprocess.Popen([self.acts, "hold", marker], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return p, p.stdout.readline()

    def listen(self, family, name, address):
        s = socket.socket(family)
        s.bind(address)
        s.listen()
        if name:
            self.context[name] = str(s.getsockname()[1])
        self.listeners.append(s)
        threading.Thread(target=self.answer, args=(s,), daemon=True).start()

    @staticmethod
    def answer(s):
        while True:
            try:
                c, _ = s.accept()
            except OSError:
                return
            with c:
                try:
                    c.send(b"x")
                except OSError:
                    pass

    def control(self, a, context, where=None):
        """(exit status, output) of an act outside of any sandbox, upon a victim of its own. where: in that net namespace."""
        victim, _ = self.hold("victim")
        extra = os.open("/dev/null", os.O_RDONLY)
        try:
            words = [w for w in a.wrap if w != "@fd"] + [a.name] + [x.format(victim=victim.pid, **context) for x in a.control]
            r = subprocess.run([self.acts, "control", self.scratch] + words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, pass_fds=(extra,) if "@fd" in a.wrap else (), timeout=TIMEOUT_S,
                               preexec_fn=(lambda: enter_net(where)) if where else None)
            return r.returncode, r.stdout.decode(errors="replace")
        finally:
            os.close(extra)
            victim.kill()
            victim.wait()
            victim.stdin.close()
            victim.stdout.close()

    def close(self):
        subprocess.run([self.acts, "remove_shm", str(SHM_KEY)], check=False)
        for s in self.listeners:
            s.shutdown(socket.SHUT_RDWR)
            s.close()
        self.held.kill()
        self.held.wait()
        self.held.stdin.close()
        self.held.stdout.close()
        for name in ("secret", "socket", "acts-suid"):
            os.unlink(os.path.join(self.dir, name))
        os.rmdir(self.scratch)
        os.rmdir(self.dir)


class Hostile(Spawner):
    """A spawner whose code directories hold the acts, and a neighbour to disturb."""

    def __init__(self, host, no_layer=0, where=None):
        self.host = host
        super().__init__(no_layer=no_layer, net=where)
        self.egress = ["internet"] if where else []
        self.neighbour = self.make(egress=self.egress)
        self.context = dict(host.context, scratch="/tmp", state=self.state, neighbour_port="7001")
        mark = "%s-neighbour-%d" % (MARKER, no_layer)
        self.neighbour.start(["/var/task/acts", "hold", mark], tag=1)
        self.neighbour.output(b"ready")
        self.neighbour.log = b""
        self.neighbour.start(["/var/task/acts", "serve_tcp", "0.0.0.0", "7001"], tag=2)
        self.neighbour.output(b"ready")
        self.neighbour_pid = host_pid(mark)
        self.context["neighbour"] = str(self.neighbour_pid)

    def code_dir(self, files=()):
        path = super().code_dir(files)
        for name, mode in (("acts", 0o755), ("acts-suid", 0o4755)):
            with open(self.host.acts, "rb") as f, open(os.path.join(path, name), "wb") as g:
                g.write(f.read())
            os.chmod(os.path.join(path, name), mode)
        return path

    def attempt(self, a, **limits):
        """(wait status, output) of an act in a fresh sandbox."""
        sb = self.make(**dict({"tmp": TMP_BYTES, "memory": 256 * MB, "egress": self.egress}, **limits))
        try:
            return sb.run(["/var/task/acts", a.name] + [x.format(**self.context) for x in a.args])
        finally:
            self.end(sb)
            sb.close()

    def image(self):
        """Layers of a container that holds the acts."""
        with open(self.host.acts, "rb") as f:
            acts = f.read()
        return [self.layer({"acts": (acts, 0o755, 0, 0), "var/task/acts-suid": (acts, 0o4755, 0, 0), "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
                            "tmp": (None, 0o1777, 0, 0), "root/file": "x", "usr/bin/env": ("x", 0o755, 0, 0), "var/lib/file": "x"})]

    def attempt_in(self, a, layers, **limits):
        """The same in a fresh container, as its root."""
        sb = self.container(layers, **dict({"memory": (64 if a.name == "eat_memory" else 256) * MB}, **limits))
        try:
            status, out, err = sb.run_in(["/acts", a.name] + [x.format(**self.context) for x in a.args], cwd="/tmp")
            return status, out + err
        finally:
            self.end(sb)
            sb.close()

    def stop(self):
        """The stand-in for tandemd ends at once, so that the spawner has nobody to wait for."""
        self.neighbour.close()
        if self.proc.poll() is None:
            self.send(Msg(verb=BYE))
            self.detach()
        code = super().stop()
        self.stderr.close()
        for fd in self.listeners:
            if fd >= 0:
                os.close(fd)
        return code

    def neighbour_lives(self):
        return os.path.exists("/proc/%d" % self.neighbour_pid) and self.neighbour.run(["/var/task/acts", "ordinary"], tag=9)[0] == 0


def label(a, args):
    return re.sub(r"\W+", "_", "_".join((a.name,) + args)).strip("_")


def setUpModule():
    global host, whole
    if os.geteuid():
        raise unittest.SkipTest("needs root")
    host = Host()
    whole = Hostile(host)
    host.context.update(state=whole.state, neighbour="1")


def tearDownModule():
    code = whole.stop()
    host.close()
    assert code == 0, code


class Control(unittest.TestCase):
    """Unconfined, every act succeeds."""

    def check(self, a):
        status, out = host.control(a, host.context)
        if status == REFUSED and a.lacks and re.search(a.lacks, out):
            self.skipTest("this host refuses it to its root, the control runs in the VM: " + out.strip())
        self.assertEqual(status, DONE, out)


class Sandbox(unittest.TestCase):
    """In a sandbox, every act is refused."""

    def check(self, a):
        status, out = whole.attempt(a)
        self.assertTrue(os.WIFEXITED(status) and os.WEXITSTATUS(status) == REFUSED, "wait status %#x: %s" % (status, out))

    def test_ordinary_things_are_allowed(self):
        for a in (act("ordinary"), act("write_in", "/tmp"), act("write_in", "/dev/shm"), act("read_file", "/usr/bin/env"),
                  act("read_file", "/dev/urandom"), act("open_write", "/dev/null"), act("socket", "2", "1", "0"), act("socket", "10", "2", "0"),
                  act("socket", "1", "5", "0"), act("socket", "16", "3", "0"), act("see_path", "/proc/self/exe"),
                  act("fill", "/tmp", str(TMP_BYTES - MB))):
            status, out = whole.attempt(a)
            self.assertEqual(status, DONE, (a.name, a.args, out))

    def test_what_few_kernels_have(self):
        for a, words in WITHOUT_CONTROL:
            status, out = whole.attempt(a)
            self.assertEqual((os.WEXITSTATUS(status), bool(re.search(words, out))), (REFUSED, True), (label(a, a.args), out))

    def test_memory_ends_the_sandbox_and_no_other(self):
        status, out = host.control(act("eat_memory", str(96 * MB)), host.context)
        self.assertEqual(status, DONE, out)
        sb = whole.make(memory=32 * MB, tmp=1 * MB)
        sb.start(["/var/task/acts", "eat_memory", str(96 * MB)])
        self.assertEqual(sb.hear()[0], 64)
        end = whole.ended(sb)
        self.assertGreaterEqual(end.oom_kills, 1)
        self.assertEqual(end.wait_status, signal.SIGKILL)
        self.assertTrue(whole.neighbour_lives())
        sb.close()

    def test_files_in_tmp_and_shm_count_as_memory(self):
        """Whatever is not bounded by its own size is bounded by the group."""
        sb = whole.make(memory=24 * MB, tmp=1 * MB)
        sb.start(["/var/task/acts", "fill", "/dev/shm", str(60 * MB)])
        end = whole.ended(sb)
        self.assertGreaterEqual(end.oom_kills, 1)
        self.assertTrue(whole.neighbour_lives())
        sb.close()

    def test_killing_all_kills_only_ones_own(self):
        sb = whole.make()
        sb.start(["/var/task/acts", "hold", "own"], tag=5)
        self.assertEqual(sb.hear()[:2], (64, 5))
        sb.start(["/var/task/acts", "kill_all"], tag=6)
        heard = [sb.hear() for _ in range(3)]
        self.assertIn((66, 5, signal.SIGKILL), heard)
        self.assertIn((66, 6, 0), heard)
        self.assertTrue(whole.neighbour_lives())
        self.assertIsNone(host.held.poll())
        whole.end(sb)
        sb.close()

    def test_fork_bomb_leaves_nobody(self):
        name = socket.gethostname()
        sb = whole.make(pids=32)
        status, out = sb.run(["/var/task/acts", "fork_bomb", "300"])
        self.assertEqual(os.WEXITSTATUS(status), REFUSED, out)
        self.assertLess(int(re.search(r"(\d+) processes", out).group(1)), 32)
        self.assertTrue(whole.neighbour_lives())
        whole.end(sb)
        sb.close()
        self.assertEqual(socket.gethostname(), name)


class Container(unittest.TestCase):
    """In a container, as its root, every act is refused but what is its own."""

    @classmethod
    def setUpClass(cls):
        cls.image = whole.image()

    def check(self, a):
        status, out = whole.attempt_in(a, self.image)
        self.assertEqual(status, REFUSED << 8, out)

    def test_what_is_its_own(self):
        for a in ACTS:
            if (a.name, *a.args) in CONTAINER_MAY:
                status, out = whole.attempt_in(a, self.image)
                self.assertEqual(status, DONE, (a.name, a.args, out))

    def test_what_few_kernels_have(self):
        for a, _ in WITHOUT_CONTROL:
            self.assertNotEqual(whole.attempt_in(a, self.image)[0], DONE, (a.name, a.args))

    def test_read_only(self):
        for path in ("/", "/etc", "/var/task"):
            self.assertEqual(whole.attempt_in(act("write_in", path), self.image, read_only=1)[0], REFUSED << 8, path)

    def test_limits(self):
        sb = whole.container(self.image, memory=32 * MB)
        sb.start_in(["/acts", "eat_memory", str(96 * MB)])
        self.assertGreaterEqual(whole.ended(sb).oom_kills, 1)
        sb.close()
        self.assertEqual(whole.attempt_in(act("fork_bomb", "300"), self.image, pids=32)[0], REFUSED << 8)
        self.assertTrue(whole.neighbour_lives())

    def test_what_another_container_wrote(self):
        """Nor is what the neighbours write to be found: by path, or by their ids."""
        one = whole.container(self.image)
        self.assertEqual(one.run_in(["/acts", "write_in", "/tmp"])[0], 0)
        for path in (whole.state + "/containers", "/proc/%d/root" % one.pid):
            self.assertEqual(whole.attempt_in(act("see_path", path), self.image)[0], REFUSED << 8, path)
        whole.end(one)
        one.close()

    def test_with_every_capability(self):
        """Each is a right in its own user namespace, to which nothing here belongs."""
        for a in ACTS:
            if (a.name, *a.args) not in CONTAINER_MAY:
                status, out = whole.attempt_in(a, self.image, caps=CAPS_ALL)
                self.assertEqual(status, REFUSED << 8, (a.name, a.args, out))

    def test_under_a_runtime(self):
        """Whoever made the namespaces, what is refused is the same, also with every capability."""
        acts = [a for a in ACTS if (a.name, *a.args) not in CONTAINER_MAY]
        for runtime, path, some in ((1, "/usr/bin/crun", acts), (2, "/usr/sbin/runc", acts[::8])):  # the second takes its time
            for a in some if os.access(path, os.X_OK) else ():
                status, out = whole.attempt_in(a, self.image, caps=CAPS_ALL, runtime=runtime)
                self.assertEqual(status, REFUSED << 8, (runtime, a.name, a.args, out))

    def test_what_is_given(self):
        """Read-only stays so; what another one is given, and what tandem-init holds of it, is out of reach."""
        given = [{"kind": VOLUME, "source": "hostile", "path": "/v", "read_only": 1}, (SECRET_FILE, "hostile", "/s"), (SECRET_ENV, "hostile", "S")]
        whole.keep(SECRET, "hostile", b"value")
        other = whole.container(self.image, gives=[(VOLUME, "others", "/o"), (SECRET_FILE, "hostile", "/others"), (SECRET_ENV, "hostile", "S")])
        other.start_in(["/acts", "hold", MARKER + "-other"])
        self.assertEqual(other.hear()[0], 64)
        pid = host_pid(MARKER + "-other")
        inside = ["/proc/%d/%s" % (p, name) for p in (1, pid) for name in ("environ", "root/others", "fd/512/env", "fd/512/0", "mem")]
        acts = [act("write_in", "/v"), act("remount", "/v"), act("umount", "/v"), act("umount", "/s"), act("bind", "/v"), act("mount_setattr", "/v"),
                act("open_tree", "/v"), act("by_handle", "/v"), act("open_write", "/s"), act("list", "/proc/1/fd/513"), act("see_path", "/o"),
                act("see_path", "/v/../others"), *[act("read_file", path) for path in inside],
                *[act("see_path", whole.state + name) for name in ("/secrets", "/volumes", "/volumes/others", "/grants")]]
        try:
            for a in acts:
                for caps in (CAPS_DEFAULT, CAPS_ALL):
                    status, out = whole.attempt_in(a, self.image, gives=given, caps=caps)
                    self.assertEqual(status, REFUSED << 8, (a.name, a.args, out))
            self.assertEqual(whole.attempt_in(act("read_file", "/s"), self.image, gives=given)[0], DONE)
        finally:
            whole.end(other)
            other.close()
            whole.keep(SECRET, "hostile")

    def test_layers(self):
        """What one layer alone stops succeeds without it."""
        for name, (number, acts) in CONTAINER_LAYERS.items():
            with self.subTest(layer=name):
                s = Hostile(host, number)
                try:
                    image = s.image()
                    for a in acts:
                        status, out = s.attempt_in(a, image)
                        self.assertEqual(status, DONE, (a.name, a.args, out))
                    if name == "NO_RO_ROOT":
                        self.assertEqual(s.attempt_in(act("write_in", "/"), image, read_only=1)[0], DONE)
                finally:
                    s.stop()


@unittest.skipUnless(os.environ.get("TANDEM_TEST_VM"), "changes the kernel's core_pattern: runs in the VM")
class CoreHandler(unittest.TestCase):
    """A pipe in core_pattern is a program of the host that runs as root: it gets nothing from a sandbox."""

    def setUp(self):
        self.core = os.path.join(host.dir, "core")
        self.saved = {}
        # Until the handler ends, the crashed process stays: what it got is there when we hear of the end.
        for name, text in (("core_pipe_limit", "16"), ("core_pattern", "|/usr/bin/tee " + self.core)):
            with open("/proc/sys/kernel/" + name) as f:
                self.saved[name] = f.read()
            self.write(name, text)

    def write(self, name, text):
        with open("/proc/sys/kernel/" + name, "w") as f:
            f.write(text)

    def tearDown(self):
        for name, text in self.saved.items():
            self.write(name, text)
        self.taken()

    def taken(self):
        """Bytes that the handler got since last asked."""
        if not os.path.exists(self.core):
            return 0
        size = os.path.getsize(self.core)
        os.unlink(self.core)
        return size

    def test_handler_gets_nothing(self):
        crash = act("dump_core", "{scratch}")
        status, out = host.control(crash, host.context)
        self.assertEqual(status, DONE, out)
        self.assertGreater(self.taken(), 4096)
        status, out = whole.attempt(crash)
        self.assertEqual(os.WEXITSTATUS(status), REFUSED, out)
        self.assertEqual(self.taken(), 0)
        s = Hostile(host, no_layer=LAYERS["NO_RLIMIT"][0])
        try:
            self.assertEqual(s.attempt(crash)[0], DONE)
            self.assertGreater(self.taken(), 4096)
        finally:
            s.stop()


class Layers(unittest.TestCase):
    """Without one layer, what it alone stops succeeds; with all of them it was refused (the same acts, in Sandbox)."""

    def check(self, number, acts):
        known = {(a.name, a.args) for a in ACTS} | {("eat_memory", (str(96 * MB),))}
        s = Hostile(host, no_layer=number)
        try:
            for a in acts:
                self.assertIn((a.name, a.args), known)
                limits = {"memory": 32 * MB, "tmp": MB} if a.name == "eat_memory" else {}
                status, out = s.attempt(a, **limits)
                self.assertEqual(status, DONE, "%s is not stopped by this layer alone, or it is not left out: %s" % (label(a, a.args), out))
        finally:
            s.stop()


class WaysOut(unittest.TestCase):
    """A sandbox that may connect to the internet may connect to nothing else."""

    @classmethod
    def setUpClass(cls):
        cls.world = net.World()
        cls.addClassCleanup(cls.world.close)
        cls.spawners = {}
        cls.addClassCleanup(lambda: [s.stop() for s in cls.spawners.values()])

    def spawner(self, no_layer=0):
        """One for each layer that is left out; it knows the address of the neighbour."""
        if no_layer not in self.spawners:
            s = self.spawners[no_layer] = Hostile(host, no_layer=no_layer, where=self.world.host)
            status, out = s.neighbour.python("import fcntl, socket, struct\nprint(socket.inet_ntoa("
                                             "fcntl.ioctl(socket.socket(), 0x8915, struct.pack('256s', b'eth0'))[20:24]))")
            s.context["neighbour_address"] = out.strip() if status == 0 else "none"
        return self.spawners[no_layer]

    def check(self, a, layer):
        status, out = host.control(a, host.context, where=self.world.host)
        self.assertEqual(status, DONE, out)
        status, out = self.spawner().attempt(a)
        self.assertTrue(os.WIFEXITED(status) and os.WEXITSTATUS(status) == REFUSED, "wait status %#x: %s" % (status, out))
        status, out = self.spawner(layer).attempt(a)
        self.assertEqual(status, DONE, "it is not stopped by this layer alone, or it is not left out: " + out)

    def test_the_internet_is_there(self):
        for address in (net.PUBLIC, "::ffff:" + net.PUBLIC):
            status, out = self.spawner().attempt(act("tcp", address, str(net.PORT)))
            self.assertEqual(status, DONE, out)


def method(*args):
    return lambda self: self.check(*args)


def add(case, name, *args):
    assert not hasattr(case, "test_" + name), name
    setattr(case, "test_" + name, method(*args))


for one in ACTS:
    add(Sandbox, label(one, one.args), one)
    if (one.name, *one.args) not in CONTAINER_MAY:
        add(Container, label(one, one.args), one)
for key, one in {(a.name, a.wrap, a.control): a for a in ACTS}.items():
    add(Control, label(one, one.control), one)
for key, (layer, needing) in LAYERS.items():
    add(Layers, key, layer, needing)

for one in ELSEWHERE:
    add(WaysOut, label(one, one.args), one, NO_EGRESS_RULES)
for one in OVER_V6:
    add(WaysOut, label(one, one.args), one, NO_NETNS)

if __name__ == "__main__":
    unittest.main()
