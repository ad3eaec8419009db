# SPDX-License-Identifier: Apache-2.0
"""
Sandboxes made and ended as fast as they can be, for a long time: at the end nothing may have grown. `make soak`: SOAK_SECONDS,
ten minutes; `make test` has a few seconds of it.

Functions with `keep: 0s`, so that each call makes a sandbox and ends it: from an image, plainly, and native; meanwhile one is stopped
in the middle of whatever it does, and one is created and deleted. What there is, is counted when nothing runs: after a warm-up, which
fills what is filled once (pools, caches, the heap), and again at the end. A leak is told from the noise of other programs by its size:
it is a multiple of the sandboxes that were made in between.
"""
import collections
import glob
import http.client
import os
import random
import re
import socket
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
import tandem

SECONDS = float(os.environ.get("SOAK_SECONDS", "8"))
WARM_SECONDS = max(3, SECONDS / 10)
SEED = int(os.environ.get("TANDEM_TEST_SEED", random.randrange(2**32)))
HELLO = "def handler(event, context):\n    return {'statusCode': 200, 'body': 'hello'}\n"
PROJECT = """\
name: soak
functions:
  image: {code: hello, runtime: python3.11, handler: app.handler, keep: 0s, timeout: 30s, route: /image}
  plain: {code: hello, runtime: python3.11, handler: app.handler, keep: 0s, timeout: 30s, route: /plain, snapshot: off}
  stopped: {code: hello, runtime: python3.11, handler: app.handler, timeout: 30s, route: /stopped}
"""
NATIVE = "  native: {code: native, runtime: provided.al2023, handler: bootstrap, keep: 0s, timeout: 30s, route: /native}\n"
CLIENTS = {"/image": 5, "/plain": 1, "/native": 2, "/stopped": 1}

# What one sandbox may leave behind on average, before it counts as a leak; and what may come from elsewhere.
PER_SANDBOX = 0.02
KERNEL_BYTES_PER_SANDBOX, KERNEL_NOISE_BYTES = 256, 48e6
KERNEL_BYTES_PER_GROUP = 100e3  # they are kept for the next, at most one for each slot; 66 KB was measured with groups of both kinds
OBJECTS_NOISE = 1500
GROUPS = "groups of this daemon"
SLABS = ("net_namespace", "pid_namespace", "uts_namespace", "user_namespace", "mnt_cache", "task_struct", "mm_struct", "cred_jar", "sock_inode_cache",
         "signal_cache", "files_cache", "pid", "TCP", "UDP")
RESIDENT_BYTES = 2e6


def read(path):
    try:
        with open(path, encoding="ascii", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def links(pid):
    return collections.Counter(re.sub(r"\d+", "N", link) for link in tandem.open_files(pid))


def slabs():
    """Objects in use, by cache."""
    rows = (line.split() for line in read("/proc/slabinfo").splitlines()[2:])
    return {row[0]: int(row[1]) for row in rows if row[0] in SLABS}


def meminfo():
    return {name: int(kb) * 1024 for name, kb in re.findall(r"(\w+):\s+(\d+) kB", read("/proc/meminfo"))}


def groups(root):
    return sum(1 for _ in glob.iglob(f"/sys/fs/cgroup/**/{root}/*/", recursive=True))


class Load:
    """Clients that call until they are told to rest; what they got."""

    def __init__(self, t):
        self.t, self.going, self.broken, self.over = t, threading.Event(), threading.Event(), False
        self.busy, self.got, self.failed = threading.Semaphore(0), collections.Counter(), []
        work = [(self.client, path) for path, n in CLIENTS.items() for _ in range(n) if path[1:] in t.functions] + [(self.stopper,), (self.deployer,)]
        self.threads = [threading.Thread(target=self.guarded, args=each) for each in work]
        for thread in self.threads:
            thread.start()

    def guarded(self, body, *arguments):
        try:
            body(*arguments)
        except Exception as e:  # pylint: disable=broad-except
            self.failed.append(e)
            self.broken.set()
            self.busy.release()

    def turns(self):
        """Once for each turn; says by the semaphore when it rests."""
        while True:
            self.going.wait()
            if self.over:
                return
            while self.going.is_set():
                yield
            self.busy.release()

    def client(self, path):
        host, port = self.t.gateway.removeprefix("http://").split(":")
        for _ in self.turns():
            c = http.client.HTTPConnection(host, int(port), timeout=60)
            c.connect()
            c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while self.going.is_set():
                c.request("GET", path)
                answer = c.getresponse()
                answer.read()
                self.got[path, answer.status] += 1
            c.close()

    def stopper(self):
        chance = random.Random(SEED)
        for _ in self.turns():
            time.sleep(chance.uniform(0, 0.02))
            self.t.cli("stop", "stopped")
            self.got["stop", 200] += 1

    def deployer(self):
        api = self.t.client()
        for n, _ in enumerate(self.turns()):
            api.create_function(FunctionName="brief", **tandem.python_function(HELLO + f"# {n}\n"))
            api.delete_function(FunctionName="brief")
            self.got["deploy", 200] += 1

    def run(self, seconds):
        self.going.set()
        self.broken.wait(seconds)
        self.going.clear()
        for _ in self.threads:
            assert self.busy.acquire(timeout=120), "a client hangs"
        assert not self.failed, self.failed

    def end(self):
        self.over = True
        self.going.set()
        for thread in self.threads:
            thread.join()


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Churn(unittest.TestCase):
    def setUp(self):
        print(f"seed {SEED} (TANDEM_TEST_SEED={SEED} repeats it)", flush=True)
        self.t = tandem.Tandem()
        self.addCleanup(self.t.close)
        self.t.start()
        self.up()

    def up(self):
        folder = os.path.join(self.t.base, "project")
        bootstrap = os.path.join(tandem.BUILD, "examples/native/bootstrap")
        os.makedirs(f"{folder}/hello")
        with open(f"{folder}/hello/app.py", "w", encoding="ascii") as f:
            f.write(HELLO)
        self.t.functions = {"image", "plain", "stopped"}
        text = PROJECT
        if os.path.exists(bootstrap):
            os.makedirs(f"{folder}/native")
            with open(bootstrap, "rb") as a, open(f"{folder}/native/bootstrap", "wb") as b:
                b.write(a.read())
            os.chmod(f"{folder}/native/bootstrap", 0o755)
            self.t.functions.add("native")
            text += NATIVE
        with open(f"{folder}/tandem.yaml", "w", encoding="ascii") as f:
            f.write(text)
        self.t.cli("up", cwd=folder)

    def debug(self):
        return tandem.json.loads(self.t.cli("debug", "-o", "json"))

    def quiet(self):
        """Nothing runs, the pool is full, and the kernel has freed what it frees later."""
        for name in self.t.functions:
            self.t.cli("stop", name)
        tandem.wait_for(lambda: not (d := self.debug())["instances"] and not d["blanks_missing"], 60)
        last = []

        def settled():
            with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
                f.write("2")
            last.append(slabs().get("net_namespace", 0))
            return len(last) > 3 and min(last[-3:]) == max(last[-3:])

        try:
            tandem.wait_for(settled, 20, pause_s=0.5)
        except AssertionError:
            pass  # others are at work; the figures have room for that

    def look(self):
        """{what: (how many, how many more are fine for so many sandboxes)}."""
        self.quiet()
        spawner, daemon = self.t.process.pid, self.debug()["pid"]
        few, objects = lambda n: 8, lambda n: OBJECTS_NOISE + n * PER_SANDBOX
        found = {"processes below the spawner": (len(read(f"/proc/{spawner}/task/{spawner}/children").split()), few)}
        for word, pid in (("tandemd", daemon), ("spawner", spawner)):
            held = links(pid)
            found[f"{word}, net namespaces kept"] = (held.pop("net:[N]", 0), lambda n: 64)
            found[f"{word}, descriptors"] = (sum(held.values()), lambda n: 24)
            found[f"{word}, threads"] = (len(os.listdir(f"/proc/{pid}/task")), few)
            found[f"{word}, mounts"] = (read(f"/proc/{pid}/mountinfo").count("\n"), few)
            resident = re.search(r"VmRSS:\s+(\d+)", read(f"/proc/{pid}/status"))
            found[f"{word}, resident bytes"] = (int(resident.group(1)) * 1024, lambda n: RESIDENT_BYTES)
        found[GROUPS] = (self.groups(), objects)  # one for each slot that was ever in use
        found["groups of the host that die"] = (self.dying(), objects)
        memory = meminfo()
        kernel = lambda n: KERNEL_NOISE_BYTES + n * KERNEL_BYTES_PER_SANDBOX
        for name in ("SUnreclaim", "KernelStack", "PageTables", "VmallocUsed", "Percpu"):
            found[f"kernel, {name} bytes"] = (memory.get(name, 0), kernel)
        for name, count in slabs().items():
            found[f"kernel, {name} objects"] = (count, objects)
        return found

    def groups(self):
        """Of all hierarchies: leaves below the daemon's own group, whose name its blanks tell."""
        pids = read(f"/proc/{self.t.process.pid}/task/{self.t.process.pid}/children").split()
        tops = {m for pid in pids for m in re.findall(r"/(tandem-[0-9a-f]{8})/", read(f"/proc/{pid}/cgroup"))}
        return sum(groups(top) for top in tops)

    def dying(self):
        return sum(int(n) for path in glob.glob("/sys/fs/cgroup/cgroup.stat") + glob.glob("/sys/fs/cgroup/unified/cgroup.stat")
                   for n in re.findall(r"nr_dying_descendants (\d+)", read(path)))

    def test_nothing_grows(self):
        load = Load(self.t)
        self.addCleanup(load.end)
        load.run(WARM_SECONDS)
        warm, before = sum(load.got.values()), self.look()
        load.run(SECONDS)
        made, after = sum(load.got.values()) - warm, self.look()
        print(f"{made} calls in {SECONDS:.0f} s, {made / SECONDS:.0f}/s; answers: {dict(load.got)}")
        leaks = []
        groups_more = max(0, after[GROUPS][0] - before[GROUPS][0])
        for what, (was, _) in before.items():
            now, room = after[what]
            grown = now - was
            if grown > room(made) + (groups_more * KERNEL_BYTES_PER_GROUP if what.endswith(" bytes") and what.startswith("kernel") else 0):
                leaks.append(f"{what}: {was} -> {now}, {grown / made:.3f} for each sandbox")
            print(f"{what:36} {was:14,} -> {now:14,}  {grown:+,}")
        self.assertEqual(leaks, [])
        self.assertGreater(load.got["/image", 200], 0)
        self.assertEqual({code for (path, code) in load.got if path not in ("/stopped",)}, {200})


if __name__ == "__main__":
    unittest.main()
