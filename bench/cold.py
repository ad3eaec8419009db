# SPDX-License-Identifier: Apache-2.0
"""Cold starts in microseconds: calls that find no instance, beside fork+exec of /bin/true and plain starts of the same run.

What a figure spans: from the first byte that the client sends on a connection that is open already to the last byte of
the answer. Before each call nothing of any function runs, and the pool of blanks is full. "From disk": the pages of the
image and of every file that the process maps were given back to the kernel before; what other processes of the machine
map as well (the C library) stays. The image has its list of pages by then (docs/snapshots.md): one start from disk
before those that are measured made it.
"""
import http.client
import json
import os
import selectors
import shutil
import socket
import statistics
import time

import host

ROUNDS = 3
MANY = 12 * os.cpu_count()
RESTARTS = 10
LIST_BYTES = 32768  # at the end of an image (src/wire/init.h)
IRIS = json.dumps({"rows": [[5.1, 3.5, 1.4, 0.2]]}).encode()


class Admin(http.client.HTTPConnection):
    """The daemon's own socket, kept open: a verb of the command line would be a process for every question."""

    def __init__(self, state):
        super().__init__("admin")
        self.path = f"{state}/admin.sock"

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)

    def ask(self, path, method="GET"):
        self.request(method, path)
        answer = self.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise host.BenchError(f"{method} {path}: {answer.status} {text[:300]!r}")
        return json.loads(text)

    def until_cold(self):
        """Nothing runs, none is being prepared, and the pool is full. Asks again at once: nothing else is to be done."""

        def cold():
            inside = self.ask("/v1/debug")
            return inside["instances"] == 0 and inside["blanks_missing"] == 0

        host.wait_until(cold, 60, "instances still run, or the pool is not full", pause=0.001)

    def stop(self, *functions):
        for name in functions:
            self.ask(f"/v1/functions/{name}/stop", "POST")
        self.until_cold()

    def snapshots(self):
        """What is said of each revision's, when all that can be are made."""

        def made():
            rows = self.ask("/v1/snapshots")["snapshots"]
            return rows if not any("not been made yet" in row.get("none", "") for row in rows) else None

        return host.wait_until(made, 300, "snapshots are not made")


class Caller:
    """An open connection to the gateway, and a request that is ready to be sent."""

    def __init__(self, port, path, body=b""):
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
        self.request = head.encode() + body
        self.path = path

    def send(self):
        self.answer = b""
        self.begin = time.perf_counter_ns()
        self.socket.sendall(self.request)

    def receive(self):
        """None, or the microseconds that the whole call took."""
        part = self.socket.recv(65536)
        took = (time.perf_counter_ns() - self.begin) / 1e3
        self.answer += part
        head, end, body = self.answer.partition(b"\r\n\r\n")
        if not part or (end and not head.startswith(b"HTTP/1.1 200 ")):
            raise host.BenchError(f"{self.path}: {self.answer[:300]!r}")
        if not end or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            return None
        return took

    def call(self):
        self.send()
        while (took := self.receive()) is None:
            pass
        return took


def call_all(callers):
    """All of them at once; the microseconds that each took."""
    took = []
    with selectors.DefaultSelector() as s:
        for c in callers:
            s.register(c.socket, selectors.EVENT_READ, c)
        for c in callers:
            c.send()
        while len(took) < len(callers):
            took += [us for key, _ in s.select() if (us := key.data.receive()) is not None]
    return took


def fork_exec():
    begin = time.perf_counter_ns()
    os.waitpid(os.posix_spawn("/bin/true", ["/bin/true"], os.environ), 0)
    return (time.perf_counter_ns() - begin) / 1e3


def mapped_files(pid):
    """A descriptor of each file that the first child of a sandbox's tandem-init maps: the image is one of them."""
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        folder = f"/proc/{f.read().split()[0]}/map_files"
    found = {}
    for name in os.listdir(folder):
        fd = os.open(f"{folder}/{name}", os.O_RDONLY)
        about = os.fstat(fd)
        if (about.st_dev, about.st_ino) in found:
            os.close(fd)
        else:
            found[about.st_dev, about.st_ino] = fd
    return list(found.values())


def drop(fds):
    for fd in fds:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def read_all(fds):
    """As they were before: a start from disk brings only what it needs. An image ends in a hole, of which nothing is read."""
    for fd in fds:
        for at in range(0, os.fstat(fd).st_blocks * 512, 1 << 20):
            os.pread(fd, 1 << 20, at)


def in_memory(fd):
    """Whether the first byte of a file can be read without waiting for a disk."""
    try:
        return os.preadv(fd, [bytearray(1)], 0, os.RWF_NOWAIT) == 1
    except BlockingIOError:
        return False


def listed(image):
    return os.pread(image, 1, os.fstat(image).st_size - LIST_BYTES) != b"\0"


def p99(values):
    return sorted(values)[min(len(values) * 99 // 100, len(values) - 1)]


class Case:
    """One kind of start. every: measured on each such turn; targets in us."""

    def __init__(self, name, function, body=b"", disk=False, every=1, p50=None, p99=None):
        self.name, self.function, self.body, self.disk, self.every = name, function, body, disk, every
        self.p50, self.p99 = p50, p99
        self.rounds = []


CASES = [
    Case("Python, cold from a snapshot", "cold-python", p50=1000, p99=3000),
    Case("Python, cold from a snapshot on disk", "cold-python", disk=True, p50=5000),
    Case("Python, cold, started plainly", "cold-python-plain", every=4),
    Case("scikit-learn, cold from a snapshot", "cold-iris", IRIS, p50=3000, p99=6000),
    Case("scikit-learn, cold from a snapshot on disk", "cold-iris", IRIS, disk=True, every=2, p50=15000),
    Case("scikit-learn, cold, started plainly", "cold-iris-plain", IRIS, every=20),
    Case("native, cold", "cold-native", p50=1000, p99=4000),
    Case("native, cold, program on disk", "cold-native", disk=True),
    Case("Node, cold from a snapshot", "cold-node", p50=5000),
    Case("Node, cold from a snapshot on disk", "cold-node", disk=True, every=2),
    Case("Node, cold, started plainly", "cold-node-plain", every=4),
]
PLAIN = {"native": "cold-native", "python": "cold-python-plain", "node": "cold-node-plain"}


def function_text(name, code, runtime, handler, memory=128):
    text = f"  {name}:\n    code: {code}\n    runtime: {runtime}\n    handler: {handler}\n    memory: {memory}\n    route: /{name}\n"
    return text + ("    snapshot: off\n" if name.endswith("-plain") else "")


def write_project(folder):
    """tandem.yaml beside the code that is there already; iris from the examples."""
    shutil.copytree(f"{host.ROOT}/examples/iris", f"{folder}/iris")
    os.remove(f"{folder}/iris/tandem.yaml")
    text = "name: figures\n\nfunctions:\n"
    for tail in ("", "-plain"):
        text += function_text(f"cold-node{tail}", "node", "nodejs18.x", "index.handler")
        text += function_text(f"cold-python{tail}", "python", "python3.11", "app.handler")
        text += function_text(f"cold-iris{tail}", "iris", "python3.11", "app.handler", 512)
    text += function_text("cold-native", "native", "provided.al2023", "bootstrap")
    for i in range(MANY):
        text += function_text(f"many-{i}", "python", "python3.11", "app.handler")
    with open(f"{folder}/tandem.yaml", "w") as f:
        f.write(text)


class Cold:
    def __init__(self, bench, tandem):
        self.bench, self.tandem, self.options = bench, tandem, bench.options
        self.add = bench.figures.add
        self.admin = Admin(tandem.state)

    def snapshots(self):
        """Those that are there: {function: bytes}."""
        rows = self.admin.snapshots()
        for row in rows:
            if "bytes" not in row and row["function"].startswith(("cold-python", "cold-iris", "cold-node", "many")) and row["none"] != "snapshot: off":
                raise host.BenchError(f"{row['function']} has no snapshot: {row['none']}")
        return {row["function"]: row["bytes"] for row in rows if "bytes" in row}

    def pid_of(self, function):
        return next(row["pid"] for row in self.bench.instances(self.tandem, function))

    def is_ours(self, fd):
        return os.readlink(f"/proc/self/fd/{fd}").startswith(self.tandem.state)

    def learn_files(self, function, caller):
        """Calls it once, and takes what its process maps."""
        caller.call()
        fds = mapped_files(self.pid_of(function))
        self.admin.stop(function)
        drop(fds)
        if any(in_memory(fd) for fd in fds if self.is_ours(fd)):
            raise host.BenchError(f"pages of {self.tandem.state} cannot be dropped: no figure of a start from disk")
        return fds

    def learn_pages(self, function, caller, fds):
        """A start from disk, so that its image has a list of the pages that an event touches."""
        image = next(fd for fd in fds if self.is_ours(fd) and "/snapshots/" in os.readlink(f"/proc/self/fd/{fd}"))

        def tried():
            drop(fds)
            caller.call()
            end = time.monotonic() + 2
            while not listed(image) and time.monotonic() < end:  # it is looked at when it has rested; not, if it did not look like a disk
                time.sleep(0.01)
            self.admin.stop(function)
            return listed(image)

        host.wait_until(tried, 60, f"the image of {function} has no list of pages")

    def once(self, case, caller, fds):
        if case.disk:
            drop(fds)
        took = caller.call()
        self.admin.stop(case.function)
        if case.disk:
            read_all(fds)
        return took

    def turns(self, round_, files):
        callers = [Caller(self.tandem.gateway, f"/{case.function}", case.body) for case in CASES]
        forks, direct = [], {kind: [] for kind in PLAIN}
        for case in CASES:
            case.rounds.append([])
        for turn in range(self.options.colds):
            forks.append(fork_exec())
            for case, caller in zip(CASES, callers):
                if turn % case.every == 0:
                    case.rounds[round_].append(self.once(case, caller, files[case.function]))
            if turn % 4 == 0:
                for kind, values in direct.items():
                    values.append(self.bench.direct(kind, 1)["first_us"])
        return forks, direct

    def starts(self, say):
        files = {}
        for case in CASES:
            if case.function not in files:
                caller = Caller(self.tandem.gateway, f"/{case.function}", case.body)
                files[case.function] = self.learn_files(case.function, caller)
                if case.name.endswith("from a snapshot"):
                    self.learn_pages(case.function, caller, files[case.function])
        forks, direct = [], []
        for round_ in range(ROUNDS):
            say(f"cold starts, round {round_ + 1} of {ROUNDS}")
            f, d = self.turns(round_, files)
            forks.append(statistics.median(f))
            direct.append({kind: statistics.median(values) for kind, values in d.items()})
        self.rows(forks, direct)
        return forks

    def rows(self, forks, direct):
        p50 = {case.name: [statistics.median(values) for values in case.rounds] for case in CASES}
        self.add("fork+exec /bin/true, p50", "us", forks)
        for case in CASES:
            all_ = sum(case.rounds, [])
            self.add(f"{case.name}, p50 of {len(all_)}", "us", p50[case.name], forks, at_most=case.p50)
            if case.p99:
                self.add(f"{case.name}, p99", "us", [p99(all_)], forks, at_most=case.p99)
        self.add("Node, cold, beside started plainly, p50", "us", p50["Node, cold from a snapshot"], p50["Node, cold, started plainly"],
                 at_most=0.5, of="ratio")
        for kind, function in PLAIN.items():
            case = next(case for case in CASES if case.function == function)
            alone = [d[kind] for d in direct]
            added = [a - b for a, b in zip(p50[case.name], alone)]
            self.add(f"{case.name}, added to the runtime's own", "us", added, alone, at_most=3000)

    def check_restored(self, function):
        """By the ledger: a figure of a restore that was none would be a lie."""
        rows = self.admin.ask(f"/v1/cost?by=rows&workload=figures/{function}")["rows"]
        plain = [row for row in rows if row["kind"] == "invoke" and row.get("cold") and not row.get("restored")]
        if plain:
            raise host.BenchError(f"{len(plain)} starts of {function} were not from its snapshot")

    def many(self, say, forks):
        """Of as many functions, each with an image of its own."""
        names = [f"many-{i}" for i in range(MANY)]
        callers = [Caller(self.tandem.gateway, f"/{name}") for name in names]
        say(f"{MANY} functions, each once from disk")
        each = [self.learn_files(name, caller) for name, caller in zip(names, callers)]
        for name, caller, fds in zip(names, callers, each):
            self.learn_pages(name, caller, fds)
        fds = sum(each, [])
        say(f"{MANY} cold starts at once")
        read_all(fds)
        for _ in range(3):  # so many sandboxes at once want slots, groups and namespaces that are made when they are first used
            call_all(callers)
            self.admin.stop(*names)
        memory, disk = [], []
        for _ in range(max(self.options.colds // 4, 2)):
            for values, dropped in ((memory, []), (disk, fds)):
                drop(dropped)
                values += call_all(callers)
                self.admin.stop(*names)
                read_all(dropped)
        self.add(f"{MANY} cold Python starts at once, p50 of {len(memory)}", "us", [statistics.median(memory)], forks)
        self.add(f"{MANY} cold Python starts at once, p99", "us", [p99(memory)], forks, at_most=25000)
        self.add(f"{MANY} cold Python starts at once, snapshots on disk, p99", "us", [p99(disk)], forks)
        self.check_restored(names[0])

    def restarts(self, say):
        """The first call after `tandem serve` was started anew, beside those of the run before."""
        usual = [statistics.median(values) for values in CASES[0].rounds]
        first = []
        for turn in range(RESTARTS):
            say(f"restart of the daemon, {turn + 1} of {RESTARTS}")
            self.tandem.stop()
            self.tandem = host.Tandem(self.options.bin, self.tandem.state)
            try:
                self.admin = Admin(self.tandem.state)
                self.admin.until_cold()
                first.append(Caller(self.tandem.gateway, "/cold-python").call())
            finally:
                self.tandem.stop()
        self.add("Python, cold from a snapshot, first call after a restart, p50", "us", [statistics.median(first)], usual, at_most=1.5, of="ratio")

    def run(self, say):
        snapshots = self.snapshots()
        self.admin.stop(*{row["function"] for row in self.bench.instances(self.tandem)})
        forks = self.starts(say)
        for function in snapshots:
            if function.startswith("cold"):
                self.check_restored(function)
        self.many(say, forks)
        self.restarts(say)
