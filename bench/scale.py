# SPDX-License-Identifier: Apache-2.0
"""
Many at once and many in all: bursts from nothing, thousands of functions, a thousand idle instances, sandboxes per second.

All of it with small Python functions that begin from their snapshots, and with what `tandem serve` does by default. Cold
calls are made one after the other, each when the pool of blanks is full, as in bench/cold.py; "back to back" without that.
"""
import os
import re
import selectors
import shutil
import socket
import statistics
import subprocess
import time

import cold
import host

ROUNDS = 3
SMALL = b"def handler(event, context):\n    return {'message': 'hello'}\n"
HOLDS_S = 0.5
HOLDS = b"import time\n\n\ndef handler(event, context):\n    time.sleep(0.5)\n    return {'message': 'hello'}\n"


class Burst:
    """Requests that are sent at the same time, each on an open connection of its own."""

    def __init__(self, port, path, count):
        self.request = f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
        self.sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]

    def run(self, limit_s):
        """Seconds from the first byte sent until the last of each answer, in the order of the answers; and how many were no success."""
        waiting, answers, failed = selectors.DefaultSelector(), [], 0
        for s in self.sockets:
            waiting.register(s, selectors.EVENT_READ)
        begin = time.perf_counter()
        for s in self.sockets:
            s.sendall(self.request)
        while len(answers) < len(self.sockets):
            ready = waiting.select(begin + limit_s - time.perf_counter())
            if not ready:
                raise host.BenchError(f"{len(self.sockets) - len(answers)} of {len(self.sockets)} calls had no answer after {limit_s} s")
            for key, _ in ready:
                failed += not key.fileobj.recv(65536).startswith(b"HTTP/1.1 200")
                answers.append(time.perf_counter() - begin)
                waiting.unregister(key.fileobj)
        return answers, failed

    def close(self):
        for s in self.sockets:
            s.close()


def available_bytes():
    """MemAvailable, when what was let go is back: the kernel frees groups and namespaces later, and caches names for as long as it can."""
    time.sleep(3)
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("2")
    with open("/proc/meminfo") as f:
        return int(re.search(r"MemAvailable:\s+(\d+)", f.read()).group(1)) * 1024


def function(name, code, more):
    return f"  {name}: {{code: {code}, runtime: python3.11, handler: app.handler, memory: 128, route: /{name}{more}}}\n"


class Scale:
    def __init__(self, bench, tandem):
        self.bench, self.tandem, self.options = bench, tandem, bench.options
        self.add = bench.figures.add
        self.admin = cold.Admin(tandem.state)

    def up(self, project, functions, more=""):
        folder = f"{self.bench.work}/{project}"
        self.bench.write(f"{folder}/hello/app.py", SMALL)
        self.bench.write(f"{folder}/holds/app.py", HOLDS)
        text = f"name: {project}\nfunctions:\n" + "".join(function(name, code, more) for name, code in functions.items())
        self.bench.write(f"{folder}/tandem.yaml", text.encode())
        self.tandem.run("up", cwd=folder)
        self.snapshots_made(functions)

    def snapshots_made(self, functions):
        def made():
            rows = {row["function"]: row for row in self.admin.ask("/v1/snapshots")["snapshots"]}
            return all("bytes" in rows[name] for name in functions)

        host.wait_until(made, 120 + len(functions), "snapshots are not made", pause=0.2)

    def instances(self):
        return self.admin.ask("/v1/debug")["instances"]

    def pool_full(self, blanks=0):
        def full():
            inside = self.admin.ask("/v1/debug")
            return inside["blanks_missing"] == 0 and inside["blanks"] >= blanks

        host.wait_until(full, 30, "the pool is not full", pause=0.001)

    def stop(self):
        self.admin.stop(*{row["function"] for row in self.admin.ask("/v1/instances")["instances"]})

    def each_once(self, functions, wait=True):
        """Microseconds of one call of each."""
        took = []
        for name in functions:
            if wait:
                self.pool_full()
            caller = cold.Caller(self.tandem.gateway, f"/{name}")
            took.append(caller.call())
            caller.socket.close()
        return took

    def burst(self, project, pool, limit_s, blanks=0):
        """Of a function that is over at once, and of one of which each call needs an instance of its own."""
        count = self.options.burst
        cases = ((f"{project}-hello", f"{pool}, a short handler", 0), (f"{project}-holds", f"{pool}, an instance for each, beyond its own 0.5 s", HOLDS_S))
        for name, word, own_s in cases:
            took, failures = [], []
            for turn in range(ROUNDS):
                self.bench.say(f"{count} calls at once, {word}, round {turn + 1} of {ROUNDS}")
                self.stop()
                self.pool_full(blanks)
                calls = Burst(self.tandem.gateway, f"/{name}", count)
                answers, failed = calls.run(60)
                calls.close()
                took.append(answers[-1] - own_s)
                failures.append(failed)
            self.add(f"0 to {count} calls at once, {word}, all answered", "s", took, at_most=limit_s)
            self.add(f"0 to {count} calls at once, {word}, failed", "calls", failures, at_most=0)
        self.stop()

    def bursts(self):
        self.up("scale", {"scale-hello": "hello", "scale-holds": "holds"})
        self.burst("scale", "default pool", 2)
        count = self.options.burst
        self.up("pool", {"pool-hello": "hello", "pool-holds": "holds"}, f", pool: {count // 2}")
        self.burst("pool", f"pool: {count}", 1, count)
        self.tandem.run("down", cwd=f"{self.bench.work}/pool")

    def few(self):
        """What the same calls take where there are ten functions."""
        names = [f"few-{i}" for i in range(10)]
        self.up("few", {name: "hello" for name in names})
        self.stop()
        took = []
        for _ in range(self.options.used // len(names)):
            took += self.each_once(names)
            self.stop()
        return took

    def thousand(self, names):
        """Each called once; then each has an idle instance."""
        p50, p99 = [], []
        for turn in range(ROUNDS):
            self.bench.say(f"{len(names)} functions, each called once, round {turn + 1} of {ROUNDS}")
            self.stop()
            took = self.each_once(names)
            p50.append(statistics.median(took))
            p99.append(cold.p99(took))
        self.add(f"{len(names):,} functions, each called once, cold, p50", "us", p50, at_most=1000)
        self.add(f"{len(names):,} functions, each called once, cold, p99", "us", p99, at_most=3000)
        self.stop()
        took = self.each_once(names, wait=False)
        self.add(f"{len(names):,} functions, each called once, cold, back to back, p50", "us", [statistics.median(took)])
        self.add(f"{len(names):,} functions, each called once, cold, back to back, p99", "us", [cold.p99(took)])
        self.stop()
        before = available_bytes()
        self.each_once(names, wait=False)
        self.held(before, "each of another function")
        self.stop()

    def held(self, before, word):
        there = self.instances()
        self.add(f"{there:,} idle Python instances, {word}, MemAvailable", "MB", [(before - available_bytes()) / 1e6], at_most=there)

    def idle(self):
        """As many of one function, each of which has served."""
        count = self.options.idle
        self.bench.say(f"{count} idle instances of one function")
        before = available_bytes()
        self.up("idle", {"idle-holds": "holds"}, f", min: {count}")
        host.wait_until(lambda: self.instances() >= count, 60 + count // 10, "the instances are not there", pause=0.2)
        calls = Burst(self.tandem.gateway, "/idle-holds", count)
        calls.run(120)
        calls.close()
        self.held(before, "of one function")
        self.tandem.run("down", cwd=f"{self.bench.work}/idle")
        host.wait_until(lambda: self.instances() == 0, 60, "instances still run", pause=0.1)

    def defined(self, names, few):
        """Ten thousand, of which only the last ones are used."""
        more = self.options.defined - len(self.admin.ask("/v1/functions")["functions"])
        self.admin.close()  # for two minutes nobody uses it
        self.bench.create(self.bench.client(self.tandem), more, "defined")
        self.stop()
        resident = []
        took = []
        for turn in range(ROUNDS):
            resident.append(host.resident_bytes(self.tandem.processes()) / 1e6)
            self.bench.say(f"{self.options.defined} functions, round {turn + 1} of {ROUNDS}")
            took += self.each_once(names)
            self.stop()
        self.add(f"{self.options.defined:,} functions, tandemd + spawner resident", "MB", resident, at_most=60)
        self.add(f"{self.options.defined:,} functions, cold of the {len(names)} used last, p50", "us", [statistics.median(took)], [statistics.median(few)])
        self.add(f"{self.options.defined:,} functions, cold of the {len(names)} used last, p99", "us", [cold.p99(took)], [cold.p99(few)], at_most=1.1, of="ratio")

    def run(self):
        self.bursts()
        few = self.few()
        names = [f"each-{i}" for i in range(self.options.each)]
        self.bench.say(f"{len(names)} functions with a snapshot each")
        self.up("each", {name: "hello" for name in names})
        self.thousand(names)
        self.idle()
        self.defined(names[-self.options.used:], few)


def churn(bench):
    """Sandboxes made and ended as fast as the spawner can; bench/churn.c is there in tandemd's place."""
    folder = f"{bench.work}/churn-bin"
    shutil.copytree(bench.options.bin, folder, ignore=shutil.ignore_patterns("obj", "init", "bench", "tests"))
    shutil.copy2(f"{bench.options.bin}/bench/churn", f"{folder}/tandemd")
    for word, more, target in (("a new", {"TANDEM_CHURN_FRESH": "1"}, 350), ("a recycled", {}, 800)):
        rates = []
        for turn in range(ROUNDS):
            bench.say(f"sandboxes with {word} net namespace, round {turn + 1} of {ROUNDS}")
            argv = [f"{folder}/tandem", "serve", "--state", f"{bench.work}/state-churn", "--api", "127.0.0.1:0", "--gateway", "127.0.0.1:0"]
            env = dict(os.environ, TANDEM_CHURN=str(bench.options.seconds), **more)
            said = subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stderr
            rates.append(float(re.search(r"churn: ([\d.]+)", said).group(1)))
        bench.figures.add(f"sandboxes made and ended, {word} net namespace each", "sandboxes/s", rates, at_least=target)


def run(bench):
    churn(bench)
    tandem = host.Tandem(bench.options.bin, f"{bench.work}/state-scale")
    try:
        Scale(bench, tandem).run()
    finally:
        tandem.stop()
