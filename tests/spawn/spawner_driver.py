# SPDX-License-Identifier: Apache-2.0
"""Drives the real tandem-spawner the way tandemd does: structures of wire/spawner.h and wire/init.h, by hand."""
import ctypes as C
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
from tandem import wait_for  # noqa: E402,F401 pylint: disable=unused-import
BUILD = os.environ.get("TANDEM_BUILD", os.path.join(ROOT, "build"))
VERSION, END = 4, 0x74646D21
HELLO, BLANK, ASSIGN, END_SANDBOX, UNPACK, READY, BYE, LIVE, PULL, PULL_END, CONTAINER, INPUT_END, OPEN, UNLISTEN, SECRET, VOLUME_END = range(1, 17)
CONFIG, ADOPT, ADOPTED, MADE, ASSIGNED, UNPACKED, ENDED, DRAIN, HANDOVER, PULLED, OPENED, KEPT = range(64, 76)
UNPACK_CODE, UNPACK_LAYER, UNPACK_REMOVE = range(3)
OPEN_SOCKETS, OPEN_LISTEN_IN, OPEN_LISTEN, OPEN_TTY = range(4)
CTL, CHAN, LOG, RTAPI, CREDS, API, DNS, API_TLS, PIDFD, FREEZE, CPU, MEM_PEAK, ERR, MEM, SB_N = range(15)
VOLUME, HOST, TMPFS, SECRET_FILE, SECRET_ENV, DEVICE, LIMIT = range(7)
CAPS_DEFAULT, CAPS_ALL = 0xA80425FB, (1 << 41) - 1
ADMIN, API4, API6, GATEWAY4, GATEWAY6, STATE_DIR, SL_N = range(7)
DAEMON_UID = 1879048190
UID_BASE = 1879048192
LAYER_ID_BASE = 1878917120
RANGE_IDS = 65536
NO_EGRESS = 0x80
LIBC = C.CDLL(None, use_errno=True)
SLOW = int(os.environ.get("TANDEM_TEST_SLOW", "1"))  # how much slower than a real machine this one is
TIMEOUT_S = 20 * SLOW


def enter_net(path):
    """The net namespace of this thread becomes the one of that file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if LIBC.setns(fd, 0x40000000):
            raise OSError(C.get_errno(), "setns")
    finally:
        os.close(fd)


class Sockaddr6(C.Structure):
    _fields_ = [("family", C.c_uint16), ("port", C.c_uint8 * 2), ("flow", C.c_uint32), ("addr", C.c_uint8 * 16), ("scope", C.c_uint32)]


class Config(C.Structure):
    _fields_ = [("version", C.c_uint32), ("state_dir", C.c_char * 256), ("libexec_dir", C.c_char * 256), ("api", Sockaddr6),
                ("gateway", Sockaddr6), ("auth_none", C.c_uint8), ("debug", C.c_uint8), ("no_layer", C.c_uint8), ("has", C.c_uint8),
                ("uid_base", C.c_uint32), ("daemon_uid", C.c_uint32), ("daemon_gid", C.c_uint32), ("end", C.c_uint32)]


class Range(C.Structure):
    _fields_ = [("ip", C.c_uint32), ("bits", C.c_uint8)]


class Egress(C.Structure):
    _fields_ = [("internet", C.c_uint8), ("n", C.c_uint8), ("range", Range * 16)]

    @classmethod
    def of(cls, words):
        """As in tandem.yaml: "internet" and ranges."""
        out = cls()
        for word in words:
            if word == "internet":
                out.internet = 1
            else:
                ip, _, bits = word.partition("/")
                out.range[out.n] = Range(int.from_bytes(socket.inet_aton(ip), "big"), int(bits or 32))
                out.n += 1
        return out


class Assign(C.Structure):
    _fields_ = [("memory_bytes", C.c_uint64), ("tmp_bytes", C.c_uint64), ("pids_max", C.c_uint32), ("cpu_weight", C.c_uint32),
                ("cpu_quota_us", C.c_uint32), ("n_layers", C.c_uint8), ("label", C.c_char * 256), ("egress", Egress)]


class Container(C.Structure):
    _fields_ = [("memory_bytes", C.c_uint64), ("pids_max", C.c_uint32), ("cpu_weight", C.c_uint32), ("cpu_quota_us", C.c_uint32),
                ("n_layers", C.c_uint8), ("input", C.c_uint8), ("tty", C.c_uint8), ("read_only", C.c_uint8), ("runtime", C.c_uint8), ("n_gives", C.c_uint8), ("caps", C.c_uint64),
                ("hostname", C.c_char * 64), ("label", C.c_char * 256), ("join", C.c_uint64), ("sockets", C.c_uint32), ("egress", Egress)]


class Give(C.Structure):
    _fields_ = [("kind", C.c_uint8), ("read_only", C.c_uint8), ("number", C.c_uint16), ("zero", C.c_uint32), ("soft", C.c_uint64), ("hard", C.c_uint64),
                ("source", C.c_char * 256), ("path", C.c_char * 256)]

    @classmethod
    def of(cls, kind, source="", path="", read_only=0, number=0, soft=0, hard=0):
        return cls(kind, read_only, number, 0, soft, hard, source.encode(), path.encode())


def memory_file(data):
    fd = os.memfd_create("data")
    os.write(fd, data)
    return fd


class Made(C.Structure):
    _fields_ = [("has", C.c_uint32), ("uid", C.c_uint32), ("pid", C.c_int32), ("assigned", C.c_uint8), ("label", C.c_char * 256)]


class Ended(C.Structure):
    _fields_ = [("wait_status", C.c_int32), ("oom_kills", C.c_uint32), ("cpu_us", C.c_uint64), ("mem_peak_bytes", C.c_uint64)]


class Unpack(C.Structure):
    _fields_ = [("name", C.c_char * 72), ("max_bytes", C.c_uint64), ("max_files", C.c_uint64), ("bytes", C.c_uint64), ("files", C.c_uint64),
                ("how", C.c_uint8), ("cpu_us", C.c_uint64)]


class Pull(C.Structure):
    _fields_ = [("reference", C.c_char * 392), ("plain_http", C.c_uint8), ("has_auth", C.c_uint8), ("wait_status", C.c_int32)]


class Open(C.Structure):
    _fields_ = [("sandbox", C.c_uint64), ("at", Sockaddr6), ("how", C.c_uint8), ("n", C.c_uint8)]


class Keep(C.Structure):
    _fields_ = [("name", C.c_char * 65)]


class Body(C.Union):
    _fields_ = [("keep", Keep), ("prepare", C.c_uint8), ("assign", Assign), ("container", Container), ("made", Made), ("ended", Ended), ("unpack", Unpack), ("pull", Pull), ("config", Config), ("open", Open)]


class Msg(C.Structure):
    _fields_ = [("version", C.c_uint32), ("verb", C.c_uint16), ("err", C.c_uint16), ("id", C.c_uint64), ("u", Body),
                ("text", C.c_char * 256), ("end", C.c_uint32)]


def parents(path):
    while "/" in path:
        path = path.rsplit("/", 1)[0]
        yield path


class Sandbox:
    def __init__(self, msg, fds):
        fds = list(fds)
        self.id, self.uid, self.pid = msg.id, msg.u.made.uid, msg.u.made.pid
        self.assigned, self.label = msg.u.made.assigned, msg.u.made.label
        self.fd = [fds.pop(0) if msg.u.made.has >> i & 1 else -1 for i in range(SB_N)]
        self.ctl = socket.socket(fileno=os.dup(self.fd[CTL]))
        self.ctl.settimeout(TIMEOUT_S)
        self.log = b""
        self.tty = 0

    def start(self, argv, env=(), tag=1, channel=1):
        text = b"".join(s.encode() + b"\0" for s in list(argv) + list(env))
        self.ctl.send(struct.pack("<HHIiIIIII", 1, 1, tag, 0, channel, len(argv), len(env), len(text), 0) + text)

    def start_in(self, argv, env=(), user="", cwd="", tag=1):
        """RUN, in a container."""
        text = b"".join(s.encode() + b"\0" for s in [cwd, user, *argv, *env])
        head = struct.pack("<HHIiIIIIIII", 1, 5, tag, 0, 0, len(argv), len(env), len(text), 0, self.tty, 0)
        self.ctl.send(head + text)

    def exec_in(self, argv, fds, env=(), user="", cwd="", tag=2, tty=0):
        """EXEC, in a container."""
        text = b"".join(s.encode() + b"\0" for s in [cwd, user, *argv, *env])
        socket.send_fds(self.ctl, [struct.pack("<HHIiIIIIIII", 1, 7, tag, 0, 0, len(argv), len(env), len(text), 0, tty, 0) + text], fds)
        return self.hear()

    def run_in(self, argv, env=(), **kw):
        """Runs a program of the container to its end: (wait status, stdout, stderr)."""
        self.start_in(argv, env, **kw)
        verb, _, value = self.hear()
        if verb == 65:
            raise OSError(value & 0xFFFF, "step %d: %s" % (value >> 16, os.strerror(value & 0xFFFF)))
        out, err, value = self.until_exit()
        return value, out, err

    def until_exit(self):
        """What a container's program says until it has ended: (stdout, stderr, wait status). With a terminal all is stdout."""
        said = {self.fd[CHAN] if self.tty else self.fd[LOG]: b"", self.fd[ERR]: b""}
        value = None
        while True:
            ready = select.select([self.ctl, *said] if value is None else list(said), [], [], TIMEOUT_S if value is None else 0)[0]
            assert ready or value is not None, said
            if not [fd for fd in ready if fd in said and self.add(said, fd)] and value is not None:
                return [b.decode(errors="replace") for b in said.values()] + [value]
            if self.ctl in ready:
                verb, _, value = self.hear()
                assert verb == 66, verb

    @staticmethod
    def add(said, fd):
        try:
            part = os.read(fd, 65536)
        except (BlockingIOError, OSError):
            part = b""
        said[fd] += part
        return part

    def signal(self, tag, value):
        self.ctl.send(struct.pack("<HHIiIIIII", 1, 2, tag, value, 0, 0, 0, 0, 0))

    def hear(self):
        """(verb, tag, value): STARTED is 64, FAILED 65, EXITED 66."""
        data = self.ctl.recv(65536)
        version, verb, tag, value = struct.unpack_from("<HHIi", data)
        assert version == 1 and len(data) == 32, data
        return verb, tag, value

    def output(self, until=None):
        """What the log pipe says; until those bytes, or what is there now."""
        end = time.monotonic() + TIMEOUT_S
        while True:
            try:
                part = os.read(self.fd[LOG], 65536)
            except BlockingIOError:
                part = None
            if part:
                self.log += part
                continue
            if part == b"" or until is None or until in self.log:
                return self.log.decode(errors="replace")
            assert time.monotonic() < end, self.log
            select.select([self.fd[LOG]], [], [], 1)

    def run(self, argv, env=(), tag=1):
        """Starts a program, waits for its end: (wait status, output)."""
        self.log = b""
        self.start(argv, env, tag)
        verb, _, value = self.hear()
        if verb != 64:
            raise OSError(value, os.strerror(value))
        while verb != 66:
            verb, _, value = self.hear()
        return value, self.output()

    def python(self, code):
        return self.run(["/usr/bin/python3", "-I", "-c", code], ["PATH=/usr/bin:/bin", "HOME=/tmp", "OPENBLAS_NUM_THREADS=1"])

    def close(self):
        self.ctl.close()
        for fd in self.fd:
            if fd >= 0:
                os.close(fd)


class Spawner:
    """A spawner on a state directory of its own, and this program in tandemd's place. net: the net namespace that is its host's, a file;
    without it sandboxes have no way out, for the machine of who runs tests is not to be touched. replace: scripts in place of helpers,
    None: it is missing."""

    def __init__(self, no_layer=0, state=None, api=("127.0.0.1", 0), auth_none=0, ready=True, debug=0, net=None, replace=None):
        self.dir = tempfile.mkdtemp(prefix="tandem-spawner-")
        os.chmod(self.dir, 0o755)
        self.state = state or os.path.join(self.dir, "state")
        self.libexec = os.path.join(self.dir, "libexec")
        os.mkdir(self.libexec)
        fake = os.environ.get("TANDEM_FAKE_DAEMON")  # the VM has no compiler
        if fake:
            shutil.copy(fake, self.libexec + "/tandemd")
        else:
            subprocess.run(["gcc", "-O1", "-o", self.libexec + "/tandemd", os.path.join(ROOT, "tests/spawn/fake_daemon.c")], check=True)
        for name in ("tandem-spawner", "tandem-init", "tandem-unpack", "tandem-net"):
            if os.path.exists(os.path.join(BUILD, name)):
                shutil.copy(os.path.join(BUILD, name), self.libexec)
        for name, script in (replace or {}).items():
            os.unlink(os.path.join(self.libexec, name))
            if script:
                with open(os.path.join(self.libexec, name), "w", encoding="ascii") as f:
                    f.write(script)
                os.chmod(os.path.join(self.libexec, name), 0o755)
        shutil.copytree(os.path.join(BUILD, "shim"), self.libexec + "/shim")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.dir + "/test.sock")
        os.chmod(self.dir + "/test.sock", 0o777)
        self.listener.listen()
        self.listener.settimeout(TIMEOUT_S)
        self.next_id, self.pending, self.sandboxes = 1, [], {}
        self.link = self.sock = None
        self.proc = self.spawn(no_layer, api, auth_none, debug, net)
        if ready:
            self.attach()
            self.send(Msg(verb=READY))

    def address(self, host, port):
        a = Sockaddr6(family=socket.AF_INET6)
        a.port[:] = port.to_bytes(2, "big")
        a.addr[:] = socket.inet_pton(socket.AF_INET6, host if ":" in host else "::ffff:" + host)
        return a

    def open(self, how, sb=None, n=1, at=("127.0.0.1", 0), answer=True):
        """Descriptors that OPEN makes; sb may be an id."""
        self.next_id += 1
        m = Msg(verb=OPEN, id=self.next_id)
        m.u.open = Open(getattr(sb, "id", sb) or 0, self.address(*at), how, n)
        got, fds = self.ask(m, OPENED)
        assert got.u.open.n == len(fds)
        return fds

    def sockets(self, sb, how=OPEN_SOCKETS, **kw):
        return [socket.socket(fileno=fd) for fd in self.open(how, sb, **kw)]

    def spawn(self, no_layer, api, auth_none, debug, net):
        c = Config(version=VERSION, state_dir=self.state.encode(), libexec_dir=self.libexec.encode(), api=self.address(*api),
                   gateway=self.address("127.0.0.1", 0), auth_none=auth_none, debug=debug, no_layer=no_layer, has=0 if net else NO_EGRESS,
                   uid_base=UID_BASE,
                   daemon_uid=DAEMON_UID, daemon_gid=DAEMON_UID, end=END)
        mem = os.memfd_create("config")
        os.write(mem, bytes(c))
        os.lseek(mem, 0, 0)
        self.stderr = tempfile.TemporaryFile()

        group = os.environ.get("TANDEM_TEST_GROUP")  # below it the spawner gets a v2 group to itself, as from a service manager
        if group:
            group = tempfile.mkdtemp(prefix="service-", dir=group)

        def place():
            os.dup2(mem, 3)
            if net:
                enter_net(net)
            if group:
                with open(group + "/cgroup.procs", "w") as f:
                    f.write("0")

        try:
            return subprocess.Popen([self.libexec + "/tandem-spawner"], preexec_fn=place, pass_fds=(3,) if mem == 3 else (), close_fds=False,
                                    stderr=self.stderr, env=dict(os.environ, TANDEM_TEST_SOCK=self.dir + "/test.sock"))
        finally:
            os.close(mem)

    def attach(self):
        """Takes over from the fake tandemd that the spawner started; returns what it was told."""
        self.detach()
        self.link, _ = self.listener.accept()
        self.link.settimeout(TIMEOUT_S)
        data, fds, _, _ = socket.recv_fds(self.link, 4, 1)
        self.daemon_pid = struct.unpack("<i", data)[0]
        self.sock = socket.socket(fileno=fds[0])
        self.sock.settimeout(TIMEOUT_S)
        self.send(Msg(verb=HELLO))
        self.config, fds = self.wait(CONFIG)
        self.listeners = [fds.pop(0) if self.config.u.config.has >> i & 1 else -1 for i in range(SL_N)]
        adopted = []
        while True:
            m, fds = self.receive()
            if m.verb == ADOPTED:
                return adopted
            assert m.verb == ADOPT, m.verb
            adopted.append(Sandbox(m, fds))

    def detach(self):
        for s in (self.sock, self.link):
            if s:
                s.close()
        self.sock = self.link = None

    def send(self, m, fds=()):
        m.version, m.end = VERSION, END
        socket.send_fds(self.sock, [bytes(m)], fds)

    def receive(self):
        data, fds, _, _ = socket.recv_fds(self.sock, C.sizeof(Msg) + 1, 160)
        assert len(data) == C.sizeof(Msg), len(data)
        m = Msg.from_buffer_copy(data)
        assert m.version == VERSION and m.end == END
        return m, fds

    def wait(self, verb, id=None):
        for i, (m, fds) in enumerate(self.pending):
            if m.verb == verb and id in (None, m.id):
                return self.pending.pop(i)
        while True:
            m, fds = self.receive()
            if m.verb == verb and id in (None, m.id):
                return m, fds
            self.pending.append((m, fds))

    def ask(self, m, answer, fds=()):
        self.send(m, fds)
        got, fds = self.wait(answer, m.id)
        if got.err:
            raise RuntimeError(got.text.decode(errors="replace"))
        return got, fds

    def blank(self, prepare=0):
        self.next_id += 1
        m = Msg(verb=BLANK, id=self.next_id)
        m.u.prepare = prepare
        return Sandbox(*self.ask(m, MADE))

    def code_dir(self, files=()):
        path = self.last_dir = tempfile.mkdtemp(dir=self.dir)
        for name, text in dict(files).items():
            with open(os.path.join(path, name), "w") as f:
                f.write(text)
        os.chmod(path, 0o755)
        os.chown(path, DAEMON_UID, DAEMON_UID)
        return path

    def assign(self, sb, files=(), memory=256 << 20, tmp=512 << 20, pids=64, label=b"label", weight=100, quota=0, egress=()):
        fd = os.open(self.code_dir(files), os.O_PATH | os.O_DIRECTORY)
        try:
            m = Msg(verb=ASSIGN, id=sb.id)
            m.u.assign = Assign(memory, tmp, pids, weight, quota, 0, label, Egress.of(egress))
            self.ask(m, ASSIGNED, [fd])
        finally:
            os.close(fd)

    def make(self, prepare=0, **kw):
        sb = self.blank(prepare)
        self.assign(sb, **kw)
        return sb

    def container(self, layers, memory=256 << 20, pids=64, weight=100, quota=0, input=0, tty=0, read_only=0, hostname=b"box", label=b"label",
                  join=0, sockets=1 << DNS, egress=("internet",), gives=(), caps=CAPS_DEFAULT, runtime=0):
        """layers: folders, the lowest first; gives: (kind, source, path) or dictionaries of Give.of."""
        self.next_id += 1
        m = Msg(verb=CONTAINER, id=self.next_id)
        m.u.container = Container(memory, pids, weight, quota, len(layers), input, tty, read_only, runtime, len(gives), caps, hostname, label,
                                    getattr(join, "id", join), 0 if join else sockets, Egress.of(egress))
        fds = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in layers]
        if gives:
            fds.append(memory_file(b"".join(bytes(Give.of(**g) if isinstance(g, dict) else Give.of(*g)) for g in gives)))
        try:
            sb = Sandbox(*self.ask(m, MADE, fds))
            sb.tty = tty
            return sb
        finally:
            for fd in fds:
                os.close(fd)

    def keep(self, verb, name, value=None):
        self.next_id += 1
        m = Msg(verb=verb, id=self.next_id)
        m.u.keep.name = name.encode()
        fds = [] if value is None else [memory_file(value)]
        try:
            self.ask(m, KEPT, fds)
        finally:
            for fd in fds:
                os.close(fd)

    def layer(self, files):
        """A folder as the unpacker leaves it. {path: text, bytes, None (folder), ("->", target), (text, mode, uid, gid)}"""
        top = tempfile.mkdtemp(dir=self.dir)
        os.chown(top, LAYER_ID_BASE, LAYER_ID_BASE)
        os.chmod(top, 0o755)
        for name, what in files.items():
            path, owner, mode = os.path.join(top, name), (0, 0), None
            for parent in reversed([p for p in parents(name) if not os.path.lexists(os.path.join(top, p))]):
                os.mkdir(os.path.join(top, parent))
                os.chown(os.path.join(top, parent), LAYER_ID_BASE, LAYER_ID_BASE)
            if isinstance(what, tuple) and what[0] == "->":
                os.symlink(what[1], path)
            else:
                if isinstance(what, tuple):
                    what, mode, *owner = what
                if what is None:
                    os.mkdir(path)
                else:
                    with open(path, "wb") as f:
                        f.write(what if isinstance(what, bytes) else what.encode())
            os.chown(path, *(LAYER_ID_BASE + n for n in owner), follow_symlinks=False)
            if mode is not None:
                os.chmod(path, mode)
        return top

    def busybox(self, files=()):
        """A layer with a shell and its tools, and more files."""
        with open("/bin/busybox", "rb") as f:
            tools = {"bin/busybox": (f.read(), 0o755, 0, 0)}
        out = subprocess.run(["/bin/busybox", "--list"], stdout=subprocess.PIPE, check=True, text=True).stdout.split()
        tools.update({"bin/" + name: ("->", "busybox") for name in out if name != "busybox"})
        tools.update({"etc/passwd": "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:an app:/home/app:/bin/sh\n",
                      "etc/group": "root:x:0:\napp:x:1001:\naudio:x:29:root,app\n", "tmp": (None, 0o1777, 0, 0),
                      "home/app": (None, 0o755, 1000, 1001)})
        return self.layer(dict(tools, **dict(files)))

    def end(self, sb):
        self.send(Msg(verb=END_SANDBOX, id=sb.id))
        return self.ended(sb)

    def ended(self, sb):
        return self.wait(ENDED, sb.id)[0].u.ended

    def errors(self):
        self.stderr.seek(0)
        return self.stderr.read().decode()

    def stop(self):
        try:
            if self.sock and self.proc.poll() is None:
                self.send(Msg(verb=BYE))
        except OSError:
            self.proc.terminate()
        try:
            self.proc.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
        self.detach()
        self.listener.close()
        shutil.rmtree(self.dir, ignore_errors=True)
        return self.proc.returncode


class OneSpawner(unittest.TestCase):
    """One spawner for all tests of a class; it ends without a complaint."""

    @classmethod
    def setUpClass(cls):
        cls.s = Spawner()

    @classmethod
    def tearDownClass(cls):
        code = cls.s.stop()
        assert code == 0, (code, cls.s.errors())
