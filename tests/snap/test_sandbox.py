#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Real Python functions in real sandboxes: taken, restored, and what may not be the same in two instances of one image."""
import importlib.util
import json
import os
import select
import socket
import struct
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import snap_driver as snap  # noqa: E402
from snap_driver import Refused  # noqa: E402
from spawner_driver import *  # noqa: E402,F403

HEADER = struct.Struct("<BBHIII")
EVENT, DATA, ERROR, HELLO, SNAPSHOT, RESTORED_FRAME = 2, 3, 5, 1, 8, 9
ENV = ["PATH=/usr/bin:/bin", "HOME=/tmp", "OPENBLAS_NUM_THREADS=1", "OMP_NUM_THREADS=1", "_HANDLER=app.handler", "TANDEM_FD=4",
       "PYTHONDONTWRITEBYTECODE=1", "LANG=C.UTF-8", "AWS_LAMBDA_LOG_STREAM_NAME=first"]
START = "import sys; sys.path.insert(0, '/var/runtime/python'); import shim; shim.main()"


class Instance:
    """A sandbox with a runtime in it, by frames."""

    def __init__(self, sandbox):
        self.sb = sandbox
        self.chan = socket.socket(fileno=os.dup(sandbox.fd[CHAN]))
        self.chan.settimeout(TIMEOUT_S)
        self.stream = 0

    def read(self, n):
        got = b""
        while len(got) < n:
            part = self.chan.recv(n - len(got))
            if not part:
                raise EOFError(self.sb.output())
            got += part
        return got

    def frame(self):
        _, kind, _, _, n, _ = HEADER.unpack(self.read(16))
        return kind, self.read(n)

    def send(self, kind, body):
        self.stream += 1
        self.chan.sendall(HEADER.pack(1, kind, 1, self.stream, len(body), 0) + body)

    def ask(self, event=None):
        strings = b"".join(struct.pack("<H", len(s)) + s for s in (b"request", b"arn", b"", b"", b""))
        self.send(EVENT, struct.pack("<Q", int(time.time() * 1000) + 60000) + strings + json.dumps(event).encode())
        kind, body = self.frame()
        if kind != DATA:
            raise AssertionError(body.decode())
        return json.loads(body)

    def hooks(self, kind, body=b""):
        self.send(kind, body)
        got, said = self.frame()
        if got != kind:
            raise AssertionError(said.decode())

    def close(self):
        self.chan.close()
        self.sb.close()


class Case(OneSpawner):
    file, argv = "app.py", ["/usr/bin/python3", "-S", "-X", "utf8", "-c", START]

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tandem-snap-")
        self.addCleanup(folder.cleanup)
        self.image = folder.name + "/image"

    def sandbox(self, prepare=0, keep=True):
        sb = self.s.blank(prepare)
        self.assign(sb)
        i = Instance(sb)
        if keep:
            self.addCleanup(i.close)
            self.addCleanup(self.s.end, sb)
        return i

    def assign(self, sb):
        fd = os.open(self.code, os.O_PATH | os.O_DIRECTORY)
        m = Msg(verb=ASSIGN, id=sb.id)
        m.u.assign = Assign(1 << 30, 512 * 1024 * 1024, 64, 100, 0, 0, b"label")
        self.s.ask(m, ASSIGNED, [fd])
        os.close(fd)

    def prepared(self, source, hooks=True):
        """Started and waiting, where it may be taken."""
        self.code = self.s.code_dir({self.file: source})
        i = self.sandbox(prepare=1)
        snap.start(i.sb.ctl, self.argv, [*ENV, "TANDEM_IMAGE=1"])
        self.assertEqual(i.frame()[0], HELLO, i.sb.output())
        if hooks:
            i.hooks(SNAPSHOT)
        return i

    def taken(self, source, **kw):
        i = self.prepared(source, **kw)
        self.stats = snap.take(i.sb.ctl, self.image)
        return i

    def restored(self, env=b"", hooks=True, prepare=0):
        i = self.sandbox(prepare)
        self.last = snap.restore(i.sb.ctl, self.image)
        if hooks:
            i.hooks(RESTORED_FRAME, env)
        return i

    def two(self, **kw):
        return [self.restored(**kw).ask() for _ in range(2)]

    def refused(self, source, reason):
        i = self.prepared(source)
        with self.assertRaises(Refused) as r:
            snap.take(i.sb.ctl, self.image, deadline_ms=5000)
        self.assertIn(reason, str(r.exception))
        self.assertEqual(i.ask(), 1)

    def forged(self, spots):
        """The image with eight bytes changed at many places: whatever becomes of it, process 1 does as it is told."""
        with open(self.image, "rb") as f:
            good = f.read(self.stats.bytes)
        tables = struct.unpack_from("<Q", good, 16)[0]
        for at in [*range(0, 3300, 97), *range(tables, len(good) - 8, max(8, (len(good) - tables) // spots))]:
            with open(self.image + "x", "wb") as f:
                f.write(good[:at] + b"\xff" * 8 + good[at + 8:])
                f.truncate(len(good) + (64 << 30))
            i = self.sandbox(keep=False)
            try:
                snap.restore(i.sb.ctl, self.image + "x")
            except Refused:
                pass
            # The process itself may have any fault.
            snap.start_only(i.sb.ctl, ["/bin/true"], tag=9)
            while True:
                verb, tag, value, _ = snap.hear(i.sb.ctl)
                if verb == snap.EXITED and tag == 9:
                    break
            self.assertEqual(value, 0, at)
            self.s.end(i.sb)
            i.close()

    def torture(self, source, want):
        """Taken, restored, taken and restored again."""
        self.taken(source)
        i = self.restored(prepare=1)
        i.hooks(SNAPSHOT)
        self.image += "2"
        snap.take(i.sb.ctl, self.image)
        self.assertEqual(self.restored(prepare=1).ask(), want)


class Function(Case):
    def test_answers_with_new_environment(self):
        self.taken("import os\nn = 0\ndef handler(event, context):\n    global n\n    n += 1\n"
                   "    return [n, event, os.environ['KEY'], context.log_stream_name, os.getpid(), os.getuid()]\n")
        for k in (b"a", b"b"):
            i = self.restored(b"KEY=" + k + b"\0AWS_LAMBDA_LOG_STREAM_NAME=stream-" + k + b"\0")
            self.assertEqual(i.ask("x"), [1, "x", k.decode(), "stream-" + k.decode(), 2, 1051])
            self.assertEqual(i.ask("y")[0], 2)

    def test_what_was_rehearsed_leaves_nothing(self):
        source = ("import os\nn = 0\ndef handler(event, context):\n    global n\n    n += 1\n"
                  "    return [n, dict(os.environ), os.popen('env').read(), context.log_stream_name, context.function_name]\n")
        i = self.taken(source)
        for one, stream in ((i, "first"), (self.restored(b"AWS_LAMBDA_LOG_STREAM_NAME=second\0"), "second")):
            n, environment, childs, named, function = one.ask()
            self.assertEqual((n, environment["AWS_LAMBDA_LOG_STREAM_NAME"], named, function), (1, stream, stream, ""))
            self.assertIn(f"AWS_LAMBDA_LOG_STREAM_NAME={stream}\n", childs)
            self.assertNotIn("_X_AMZN_TRACE_ID", environment)
            self.assertNotIn("_X_AMZN_TRACE_ID", childs)
            self.assertNotIn("TANDEM_FD", environment)
            self.assertNotIn("TANDEM_IMAGE", environment)
            self.assertNotIn("TANDEM_IMAGE", childs)

    def test_the_one_that_was_taken_goes_on(self):
        i = self.taken("def handler(event, context):\n    return event\n")
        self.assertEqual(i.ask({"a": 1}), {"a": 1})

    def test_which_pages_it_touched(self):
        self.taken("def handler(event, context):\n    return event\n")
        i = self.restored()
        self.assertEqual(i.ask(1), 1)
        body, ranges = snap.pages(i.sb.ctl)
        _, ino, n = struct.unpack_from("<QQQ", body)
        self.assertEqual((ino, n), (os.stat(self.image).st_ino, len(ranges)))
        self.assertGreater(n, 10)
        at = 0
        for start, count in ranges:
            self.assertGreaterEqual(start, at)
            self.assertGreater(count, 0)
            at = start + count * 4096
        with open(f"/proc/{i.sb.pid}/task/{i.sb.pid}/children") as f:
            child = f.read().split()[0]
        with open(f"/proc/{child}/maps") as f:
            from_image = [[int(x, 16) for x in row.split()[0].split("-")] for row in f if row.split()[4] == str(ino)]
        self.assertTrue(any(start < ends and begins < start + count * 4096 for start, count in ranges for begins, ends in from_image))
        for text in (body, body[:24] + os.urandom(len(body) - 24), os.urandom(snap.LIST_BYTES)):
            snap.keep_list(self.image, text)
            self.assertEqual(self.restored().ask(2), 2)

    def test_a_list_is_wanted_of_an_image_on_a_disk(self):
        self.taken("def handler(event, context):\n    return event\n")
        if not snap.leaves_memory(self.image):
            return  # images are always in memory here
        listed, end = [], time.monotonic() + 3 * TIMEOUT_S
        while listed != [False, True, False]:
            self.assertLess(time.monotonic(), end, listed)
            i = self.sandbox(keep=False)
            snap.order(i.sb.ctl, self.image)
            i.hooks(RESTORED_FRAME)
            self.assertEqual(i.ask(3), 3)
            i.sb.ctl.send(struct.pack(snap.HEAD, 1, snap.SIGNAL, 9, 0, 0, 0, 0, 0, 0))
            wanted = snap.hear(i.sb.ctl)[0] == snap.RESTORED
            if wanted:
                self.assertEqual(snap.hear(i.sb.ctl)[0], snap.FAILED)
                body, _ = snap.pages(i.sb.ctl)
            self.s.end(i.sb)
            i.close()
            has_list = listed[-1:] == [False]
            self.assertFalse(wanted and has_list)
            if wanted or has_list:  # else a read that was not to wait was done all the same: it did not look like a disk
                listed.append(has_list)
                snap.keep_list(self.image, bytes(len(body)) if has_list else body)
            self.assertTrue(snap.leaves_memory(self.image))

    def test_ordered_before_it_is_assigned(self):
        self.taken("f = open(__file__)\ndef handler(event, context):\n    return f.readline()\n")
        sb = self.s.blank(0)
        i = Instance(sb)
        self.addCleanup(i.close)
        self.addCleanup(self.s.end, sb)
        snap.order(sb.ctl, self.image)

        def waits():
            with open(f"/proc/{sb.pid}/task/{sb.pid}/children") as f:
                child = f.read().split()
            if not child:
                return False
            with open(f"/proc/{child[0]}/syscall") as f:
                call = f.read().split()[0]
            with open(f"/proc/{child[0]}/comm") as f:
                self.assertIn("tandem", f.read())  # nothing of the function runs
            return call == "7"  # poll

        while not waits():
            self.assertEqual(select.select([sb.ctl], [], [], 0)[0], [])
        self.assign(sb)
        self.assertTrue(waits())
        i.hooks(RESTORED_FRAME)
        self.assertIn("f = open", i.ask())
        self.assertEqual(select.select([sb.ctl], [], [], 0)[0], [])  # only a failure would be told

    def test_an_order_that_is_given_up(self):
        self.taken("def handler(event, context):\n    return 1\n")
        i = self.sandbox()
        snap.order(i.sb.ctl, self.image)
        i.chan.shutdown(socket.SHUT_RDWR)
        with self.assertRaisesRegex(snap.Refused, "wait for the sandbox"):
            snap.restored(i.sb.ctl)

    def test_log_and_end(self):
        self.taken("import os, sys\ndef handler(event, context):\n    print('out'); print('err', file=sys.stderr)\n"
                   "    if event: os._exit(7)\n    return 1\n")
        i = self.restored()
        self.assertEqual(i.ask(), 1)
        self.assertEqual(i.sb.output(until=b"err\n"), "out\nerr\n")
        i.send(EVENT, struct.pack("<Q", 1) + b"\0\0" * 5 + b"1")
        self.assertEqual(snap.hear(i.sb.ctl)[:3], (snap.EXITED, 1, 7 << 8))

    def test_rights_are_what_they_were(self):
        self.taken("import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\ndef handler(event, context):\n"
                   "    a = [libc.ptrace(16, 1, 0, 0), ctypes.get_errno()]\n    s = open('/proc/self/status').read()\n"
                   "    try: open('/proc/1/mem', 'rb'); a.append('opened')\n    except OSError as e: a.append(e.errno)\n"
                   "    return a + [l.split()[1] for l in s.splitlines() if l.startswith(('CapEff', 'NoNewPrivs', 'Seccomp:'))]\n")
        self.assertEqual(self.restored().ask(), [-1, 1, 13, "0" * 16, "1", "2"])

    def test_what_is_started_where_images_are_taken_may_not_trace(self):
        i = self.prepared("import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\ndef handler(event, context):\n"
                          "    return [libc.ptrace(0, 0, 0, 0), ctypes.get_errno()]\n")
        self.assertEqual(i.ask(), [-1, 1])

    def test_no_taking_where_it_was_not_asked_for(self):
        self.taken("def handler(event, context):\n    return 1\n")
        i = self.restored()
        with self.assertRaises(Refused) as r:
            snap.take(i.sb.ctl, self.image + "2")
        self.assertIn("Operation not permitted", str(r.exception))
        self.assertEqual(i.ask(), 1)

    def test_a_restored_one_is_taken_again(self):
        self.taken("n = list(range(100000))\ndef handler(event, context):\n    n.append(1)\n    return len(n)\n")
        i = self.restored(prepare=1)
        self.assertEqual(i.ask(), 100001)
        for generation in (2, 3, 4):
            i.hooks(SNAPSHOT)
            self.image += "2"
            snap.take(i.sb.ctl, self.image)
            i = self.restored(prepare=1)
            self.assertEqual(i.ask(), 100000 + generation)

    # --- what has to differ ---

    RANDOM = ("import random, ssl\ntry:\n    import numpy as np\n    rng = np.random.default_rng()\n    fixed = np.random.default_rng(42)\n"
              "except ImportError:\n    np = None\n"
              "random.random(); ssl.RAND_bytes(8)\n"
              "def handler(event, context):\n    a = [random.random(), ssl.RAND_bytes(16).hex()]\n"
              "    return a + ([np.random.rand(), float(rng.random()), float(fixed.random())] if np else [])\n")

    def test_random_numbers_differ(self):
        self.taken(self.RANDOM)
        a, b = self.two()
        for name, x, y in zip(("random", "OpenSSL", "numpy.random", "default_rng"), a, b):
            self.assertNotEqual(x, y, name)
        self.assertEqual(a[4:], b[4:])  # one that was given its seed keeps it

    def test_without_seeding_they_would_not(self):
        self.taken(self.RANDOM)
        a, b = self.two(hooks=False)
        self.assertEqual(a, b)

    def test_hooks(self):
        self.taken("import snapshot_restore_py as s\nsaid = []\n"
                   "s.register_before_snapshot(said.append, 'b1')\ns.register_before_snapshot(said.append, 'b2')\n"
                   "s.register_after_restore(said.append, 'a1')\n@s.register_after_restore\ndef later():\n    said.append('a2')\n"
                   "def handler(event, context):\n    return said\n")
        for _ in range(2):
            self.assertEqual(self.restored().ask(), ["b2", "b1", "a1", "a2"])

    def test_a_hook_that_fails_ends_the_instance(self):
        self.taken("import snapshot_restore_py as s\n@s.register_after_restore\ndef later():\n    raise ValueError('no database')\n"
                   "def handler(event, context):\n    return 1\n")
        with self.assertRaisesRegex(AssertionError, "no database"):
            self.restored()

    def test_time_goes_on(self):
        self.taken("import time\nbefore = time.monotonic()\ndef handler(event, context):\n    return [before, time.monotonic(), time.time()]\n")
        before, now, wall = self.restored().ask()
        self.assertGreater(now, before)
        self.assertLess(abs(wall - time.time()), 60)

    # --- reasons ---

    def refused(self, source, reason):
        super().refused(source + "\ndef handler(event, context):\n    return 1\n", reason)

    def test_busy_thread(self):
        self.refused("import threading\ndef spin():\n    while True: pass\nthreading.Thread(target=spin, daemon=True).start()", "is busy")

    def test_socket(self):
        self.refused("import socket\ns = socket.socket()", "open socket")

    def test_file_in_tmp(self):
        self.refused("open('/tmp/cache', 'w').close()", "/tmp/cache")

    def test_large(self):
        i = self.prepared("x = bytearray(b'x') * (64 << 20)\ndef handler(event, context):\n    return len(x)\n")
        with self.assertRaisesRegex(Refused, "larger than 16 MB"):
            snap.take(i.sb.ctl, self.image, max_bytes=16 << 20)
        self.assertEqual(i.ask(), 64 << 20)

    # --- images that are no longer good, or never were ---

    def test_changed_code_is_noticed(self):
        self.taken("f = open(__file__)\nf.readline()\ndef handler(event, context):\n    return f.readline()\n")
        self.assertEqual(self.restored().ask(), "f.readline()\n")
        with open(self.code + "/app.py", "a") as f:
            f.write("# changed\n")
        i = self.sandbox()
        with self.assertRaisesRegex(Refused, "/var/task/app.py has changed"):
            snap.restore(i.sb.ctl, self.image)
        # ... and the sandbox can still be used.
        snap.start(i.sb.ctl, ["/usr/bin/python3", "-S", "-X", "utf8", "-c", START], ENV)
        self.assertEqual(i.frame()[0], HELLO)

    def test_forged_images(self):
        self.taken("def handler(event, context):\n    return 1\n")
        self.forged(60)

    # --- torture ---

    TABLE = {
        "json re datetime": ("import json, re, datetime, decimal", "json.dumps({'d': str(datetime.date(2026, 1, 2))}) and re.sub('a', 'b', 'aa')", "bb"),
        "sqlite3": ("import sqlite3\nc = sqlite3.connect(':memory:')\nc.execute('create table t(x)')\nc.execute('insert into t values (7)')",
                    "c.execute('select x from t').fetchone()[0]", 7),
        "ssl": ("import ssl\nctx = ssl.create_default_context()", "len(ctx.get_ca_certs()) >= 0", True),
        "subprocess": ("import subprocess", "subprocess.run(['/bin/echo', 'hi'], stdout=-1).stdout.decode()", "hi\n"),
        "a pool of threads": ("import concurrent.futures as f\npool = f.ThreadPoolExecutor(4)\nlist(pool.map(lambda x: x, range(50)))",
                              "sum(pool.map(lambda x: x * x, range(10)))", 285),
        "a sleeping thread": ("import threading, time\nwoke = threading.Event()\n"
                              "threading.Thread(target=lambda: [time.sleep(0.5), woke.set()], daemon=True).start()", "woke.wait(20)", True),
        "threads": ("import concurrent.futures as f", "sum(f.ThreadPoolExecutor(4).map(lambda x: x * x, range(10)))", 285),
        "multiprocessing": ("import os", "(lambda p: os.waitpid(p, 0)[1] if p else os._exit(3))(os.fork()) >> 8", 3),
        "signals": ("import signal\nhit = []\nsignal.signal(signal.SIGUSR1, lambda *a: hit.append(1))",
                    "[signal.raise_signal(signal.SIGUSR1), len(hit)][1]", 1),
        "timers": ("import threading, time", "(lambda e: [threading.Timer(0.01, e.set).start(), e.wait(20)][1])(threading.Event())", True),
        "sockets later": ("import socket", "(lambda p: [p[0].send(b'x'), p[1].recv(9).decode()][1])(socket.socketpair())", "x"),
        "a file below /var/task": ("f = open('/var/task/app.py')\nf.read(4)", "f.read(5)", "open("),
        "recursion": ("import sys\nsys.setrecursionlimit(6000)\ndef deep(n): return n and deep(n - 1) + 1", "deep(5000)", 5000),
        "200 MB": ("x = bytearray(b'ab') * (100 << 20)", "[len(x), x[-1]]", [200 << 20, 98]),
        "numpy": ("import numpy as np\na = np.arange(1000000.0)", "float(np.resize(a, 2000000).sum() / a.sum() + (a[:9] @ a[:9]))", 206.0),
        "scipy": ("import scipy.linalg as l, numpy as np\na = np.eye(50) * 2", "float(l.det(a) == 2.0 ** 50)", 1.0),
        "sklearn": ("from sklearn.datasets import load_iris\nfrom sklearn.linear_model import LogisticRegression as L\n"
                    "X, y = load_iris(return_X_y=True)\nm = L(max_iter=500).fit(X, y)", "m.predict([[5.1, 3.5, 1.4, 0.2]]).tolist()", [0]),
        "Pillow": ("from PIL import Image\ni = Image.new('RGB', (9, 9), (1, 2, 3))", "list(i.rotate(90).getpixel((1, 1)))", [1, 2, 3]),
        "lxml": ("from lxml import etree\ne = etree.fromstring('<a><b>7</b></a>')", "e.xpath('//b')[0].text", "7"),
    }
    NEEDS = {"numpy": "numpy", "scipy": "scipy", "sklearn": "sklearn", "Pillow": "PIL", "lxml": "lxml"}

def add_torture():
    for name in Function.TABLE:
        def test(self, name=name):
            if name in self.NEEDS and not has(self.NEEDS[name]):
                self.skipTest("no %s for /usr/bin/python3" % self.NEEDS[name])
            setup, expression, want = self.TABLE[name]
            self.torture("%s\ndef handler(event, context):\n    return %s\n" % (setup, expression), want)
        setattr(Function, "test_torture_" + "".join(c if c.isalnum() else "_" for c in name), test)


def has(module):
    return importlib.util.find_spec(module) is not None


add_torture()

if __name__ == "__main__":
    unittest.main()
