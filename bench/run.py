# SPDX-License-Identifier: Apache-2.0
"""`make bench`: fixed scenarios, each beside a reference measured in the same run; a table, and build/bench.json.

Every figure is the median of three rounds with the lowest and the highest beside it. A target that is missed is printed
as missed and is no failure of the run: the exit code says only whether everything could be measured. Tandem runs with
the settings that `tandem serve` has by default, on ports and in folders of its own, and is ended with the run.
"""
import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True

import aws
import cold
import events
import host
import ledger
import objects
import queues
import replay
import scale
import schedules
import services
import tasks

ROUNDS = 3
PATHS = {"python": "/bench/python", "node": "/bench/node", "native": "/bench/native"}
PROTOCOL = {"python": "frames", "node": "frames", "native": "runtime-api"}
HANDLER = {"python": "app.handler", "node": "index.handler", "native": "bootstrap"}


class Figures:
    def __init__(self):
        self.rows = []

    def add(self, name, unit, values, reference=None, at_least=None, at_most=None, of="value"):
        """of: what the target is about, the value or its ratio to the reference."""
        value = statistics.median(values)
        base = statistics.median(reference) if reference else None
        ratio = value / base if base else None
        judged = ratio if of == "ratio" else value
        target = at_least if at_least is not None else at_most
        met = None
        if target is not None and judged is not None:
            met = judged >= target if at_least is not None else judged <= target
        self.rows.append(
            {
                "name": name,
                "value": round(value, 3),
                "unit": unit,
                "reference": None if base is None else round(base, 3),
                "ratio": None if ratio is None else round(ratio, 3),
                "target": target,
                "pass": met,
                "target_of": None if target is None else of,
                "target_is": None if target is None else "at least" if at_least is not None else "at most",
                "lowest": round(min(values), 3),
                "highest": round(max(values), 3),
                "rounds": len(values),
            }
        )


def number(value):
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"


def target_text(row):
    if row["target"] is None:
        return ""
    sign = "≥" if row["target_is"] == "at least" else "≤"
    return f"{sign} {number(row['target'])}{' × ref' if row['target_of'] == 'ratio' else ''}"


def verdict(row):
    return {None: "", True: "met", False: "MISSED"}[row["pass"]]


def columns(row):
    spread = f"{number(row['lowest'])} .. {number(row['highest'])}"
    return [
        row["name"],
        number(row["value"]),
        row["unit"],
        spread if row["rounds"] > 1 else "-",
        number(row["reference"]),
        number(row["ratio"]),
        target_text(row),
        verdict(row),
    ]


HEAD = ["figure", "median", "unit", "lowest .. highest", "reference", "ratio", "target", ""]


def print_table(rows):
    lines = [HEAD] + [columns(row) for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    for line in lines:
        cells = [c.ljust(w) if i in (0, 2, 6, 7) else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))]
        print("  ".join(cells).rstrip())


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


class Bench:
    say = staticmethod(say)

    def __init__(self, options, work):
        self.options = options
        self.work = work
        self.figures = Figures()
        self.folder = os.path.join(work, "functions")
        self.event = os.path.join(work, "event.json")
        self.commands = {}
        shutil.copytree(f"{host.HERE}/functions", self.folder)
        self.build_native()
        self.write_event()

    @staticmethod
    def write(path, content):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(content)

    def build_native(self):
        os.makedirs(f"{self.folder}/native")
        shutil.copy2(self.options.native, f"{self.folder}/native/bootstrap")

    def write_event(self):
        """The event of a bare GET, as the gateway makes it."""
        event = {
            "version": "2.0",
            "routeKey": "ANY /bench/python",
            "rawPath": "/bench/python",
            "rawQueryString": "",
            "headers": {"host": "127.0.0.1:8080"},
            "requestContext": {
                "accountId": "000000000000",
                "apiId": "tandem",
                "domainName": "127.0.0.1",
                "http": {"method": "GET", "path": "/bench/python", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1"},
                "requestId": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
                "routeKey": "ANY /bench/python",
                "stage": "$default",
                "time": "01/Jan/2025:00:00:00 +0000",
                "timeEpoch": 1735689600000,
            },
            "isBase64Encoded": False,
        }
        with open(self.event, "w") as f:
            json.dump(event, f)

    def learn_commands(self, tandem, functions):
        """How Tandem starts each runtime, as the running instance shows it, with this host's paths."""
        for kind, (function, path) in functions.items():
            host.get(host.connect(tandem.gateway), path)
            pid = self.instances(tandem, function)[0]["pid"]
            argv = host.command_below(pid)
            places = (("/var/runtime", f"{self.options.bin}/shim"), ("/var/task", f"{self.folder}/{kind}"))
            for inside, outside in places:
                argv = [part.replace(inside, outside) for part in argv]
            self.commands[kind] = argv

    def direct(self, kind, count):
        # Nothing of the caller's environment: with NODE_EXTRA_CA_CERTS set, for one, Node takes 30 ms longer to start.
        env = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "TZ": ":UTC", "PYTHONDONTWRITEBYTECODE": "1",
               "LAMBDA_TASK_ROOT": f"{self.folder}/{kind}", "_HANDLER": HANDLER[kind]}
        done = subprocess.run(
            [f"{self.options.bin}/bench/direct", PROTOCOL[kind], self.event, str(count), *self.commands[kind]],
            env=env,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise host.BenchError(f"direct {kind}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    # Warm: nginx and each function in turn, three times, so that what the machine does meanwhile hits all of them.

    def warm(self, tandem, nginx):
        seconds = self.options.seconds
        rate = {name: [] for name in ["nginx", *PATHS]}
        p50 = {name: [] for name in rate}
        direct = {name: [] for name in PATHS}
        for path in PATHS.values():
            host.wrk(tandem.gateway, path, 32, 1)
        host.wrk(nginx.port, "/", 32, 1)
        for turn in range(ROUNDS):
            say(f"warm, round {turn + 1} of {ROUNDS}")
            for name in rate:
                port, path = (nginx.port, "/") if name == "nginx" else (tandem.gateway, PATHS[name])
                rate[name].append(host.wrk(port, path, 32, seconds)[0])
                p50[name].append(host.wrk(port, path, 1, max(seconds // 2, 1))[1])
            for name in direct:
                direct[name].append(self.direct(name, 20000)["p50_us"])
        add = self.figures.add
        add("nginx proxy to nginx, concurrency 32", "requests/s", rate["nginx"])
        add("native, warm, concurrency 32", "requests/s", rate["native"], rate["nginx"], at_least=0.8, of="ratio")
        add("Python, warm, concurrency 32", "requests/s", rate["python"], rate["nginx"], at_least=40000)
        add("Node, warm, concurrency 32", "requests/s", rate["node"], rate["nginx"])
        add("nginx proxy to nginx, p50, concurrency 1", "us", p50["nginx"])
        for name, word in (("python", "Python"), ("node", "Node"), ("native", "native")):
            added = [through - alone for through, alone in zip(p50[name], direct[name])]
            limit = 25 if name != "native" else None
            add(f"{word}, p50 added at concurrency 1 to its runtime alone", "us", added, direct[name], at_most=limit)

    def instances(self, tandem, function=None):
        rows = tandem.json("ps")
        rows = rows.get("instances", []) if isinstance(rows, dict) else rows
        return [row for row in rows if function in (None, row["function"])]

    # kill -9 of tandemd while others call; then a request on a new connection.

    def recovery(self, tandem):
        took = []
        load = subprocess.Popen(["wrk", "-t1", "-c8", "-d60", f"http://127.0.0.1:{tandem.gateway}{PATHS['python']}"], stdout=subprocess.DEVNULL)
        try:
            for turn in range(ROUNDS):
                say(f"kill -9 of tandemd under load, round {turn + 1} of {ROUNDS}")
                time.sleep(1.5)  # one that dies within a second of its start is started again more slowly
                os.kill(max(tandem.processes(), key=lambda pid: pid != tandem.process.pid), signal.SIGKILL)
                begin = time.perf_counter()
                connection = host.connect(tandem.gateway)
                host.get(connection, PATHS["python"])
                took.append((time.perf_counter() - begin) * 1e3)
                connection.close()
        finally:
            load.kill()
            load.wait()
        self.figures.add("kill -9 of tandemd under load to the next answer", "ms", took, at_most=200)

    # Idle, and 10,000 functions that come and go.

    def client(self, tandem):
        given = tandem.credentials
        return aws.Lambda("127.0.0.1", tandem.api, given["access_key"], given["secret_key"], given["region"])

    def archive(self):
        with open(f"{self.folder}/native/bootstrap", "rb") as f:
            return aws.zipped({"bootstrap": (f.read(), 0o755)})

    def create(self, api, count, what):
        archive = self.archive()
        last = time.monotonic()
        for i in range(count):
            api.create(f"many-{i:05d}", archive, "provided.al2023", "bootstrap")
            if time.monotonic() - last > 5:
                say(f"{what}: {i + 1} of {count} created")
                last = time.monotonic()

    def stop_all(self, tandem):
        for function in {row["function"] for row in self.instances(tandem)}:
            tandem.run("stop", function)
        host.wait_until(lambda: not self.instances(tandem), 60, "instances still run")

    def idle(self, tandem, api):
        count = self.options.functions
        say(f"idle with {count} functions")
        self.create(api, count, "idle")
        self.stop_all(tandem)
        time.sleep(3)  # buffers are written, blanks made
        pids = tandem.processes()
        resident, woken = [], []
        for _ in range(ROUNDS):
            before = host.wake_ups(pids)
            time.sleep(5)
            woken.append(host.wake_ups(pids) - before)
            resident.append(host.resident_bytes(pids) / 1e6)
        self.figures.add(f"tandemd + spawner, resident, idle, {count:,} functions", "MB", resident, at_most=20)
        self.figures.add("tandemd + spawner, wake-ups in 5 s of idleness", "times", woken, at_most=0)
        for i in range(count):
            api.delete(f"many-{i:05d}")

    def churn(self, tandem, api):
        """One round of a tenth first: what a daemon allocates once (caches, the WAL) is not growth."""
        many = self.options.churn
        sizes = []
        for count in (max(many // 10, 1), many):
            begin = time.monotonic()
            self.create(api, count, "churn")
            created = time.monotonic() - begin
            for i in range(count):
                api.delete(f"many-{i:05d}")
            deleted = time.monotonic() - begin - created
            time.sleep(3)
            resident = host.resident_bytes(tandem.processes()) / 1e6
            state = host.tree_bytes(tandem.state, ("daemon/ledger",)) / 1e6
            sizes.append((resident, state))
        add = self.figures.add
        add("CreateFunction to Active, one client", "creates/s", [many / created])
        add("DeleteFunction, one client", "deletes/s", [many / deleted])
        (memory, state), (memory_after, state_after) = sizes
        add(f"resident memory left by {many:,} creates and deletes", "MB", [memory_after - memory], [memory], at_most=1)
        add(f"state left by {many:,} creates and deletes, without the ledger", "MB", [state_after - state], [state], at_most=1)

    def run(self, only=None):
        for name, body in SCENARIOS.items():
            if only in (None, name):
                body(self)

    def cold(self):
        with_servers(self.work, self.options.bin, "cold", self.run_cold)

    def calls(self):
        with_servers(self.work, self.options.bin, "calls", self.run_calls)

    def many(self):
        with_servers(self.work, self.options.bin, "many", self.run_many)

    def run_calls(self, tandem):
        tandem.run("up", cwd=self.folder)
        self.learn_commands(tandem, {kind: (f"bench-{kind}", path) for kind, path in PATHS.items()})
        nginx = host.Nginx(self.work)
        print(f"The reference, nginx.conf:\n\n{nginx.config}\n", flush=True)
        try:
            self.warm(tandem, nginx)
        finally:
            nginx.stop()
        self.recovery(tandem)

    def run_cold(self, tandem):
        folder = os.path.join(self.work, "cold")
        shutil.copytree(self.folder, folder)
        cold.write_project(folder)
        tandem.run("up", cwd=folder)
        self.learn_commands(tandem, {kind: (name, f"/{name}") for kind, name in cold.PLAIN.items()})
        cold.Cold(self, tandem).run(say)

    def run_many(self, tandem):
        api = self.client(tandem)
        self.idle(tandem, api)
        self.churn(tandem, api)


def with_servers(work, folder, name, body):
    tandem = host.Tandem(folder, f"{work}/state-{name}")
    try:
        body(tandem)
    finally:
        tandem.stop()


SCENARIOS = {"cold": Bench.cold, "calls": Bench.calls, "many": Bench.many, "scale": scale.run, "tasks": tasks.run, "services": services.run, "objects": objects.run, "queues": queues.run, "events": events.run, "schedules": schedules.run, "ledger": ledger.run, "trace": replay.run}


def print_facts(facts):
    print(f"\n{facts['cpus']} × {facts['cpu']}, Linux {facts['kernel']}, {facts['memory_mb']} MB; {facts['python']}, Node {facts['node']}")
    print(f"load {facts['load_average']:.2f} before; page cache {facts['cache_state']}; wrk, one thread, shares the processors\n")


START, END = "<!-- figures: bench/run.py --figures -->", "<!-- end of figures -->"


def name_of(line):
    """A figure's, of its line in a table; it may hold counts, which differ from run to run."""
    return re.sub(r"[\d,]+", "N", line.split(" |")[0])


def write_figures(path, rows, those_there=False):
    """Puts the table of the last run between the two marks of a document: all of it, or the figures that it has already. None of those may be gone."""
    with open(path) as f:
        text = f.read()
    before, _, rest = text.partition(START)
    old, end, after = rest.partition(END)
    if not end:
        raise host.BenchError(f"{path} has no place for figures ({START} ... {END})")
    machine = next(row["facts"] for row in rows if row["name"] == "machine")
    lines = ["| " + " | ".join(columns(row)) + " |" for row in rows if row["name"] != "machine"]
    there = {name_of(line): line for line in old.split("\n") if line.startswith("| ") and not line.startswith(f"| {HEAD[0]} |")}
    if gone := there.keys() - {name_of(line) for line in lines}:
        raise host.BenchError(f"{path} has figures that were not measured:\n" + "\n".join(there[name] for name in sorted(gone)))
    if those_there:
        lines = [line for line in lines if name_of(line) in there]
    table = ["| " + " | ".join(HEAD) + " |", "|---|--:|---|--:|--:|--:|---|---|", *lines]
    where = (
        f"Measured {machine['when'][:10]} on {machine['cpus']} × {machine['cpu']}, Linux {machine['kernel']}, "
        f"{machine['python']}, Node {machine['node']}, with wrk on the same processors; page cache {machine['cache_state']}."
    )
    with open(path, "w") as f:
        f.write("\n".join([before + START, "", *table, "", where, "", END]) + after)


def options():
    p = argparse.ArgumentParser(description="Measures Tandem beside its references.")
    p.add_argument("--bin", default="build/release", help="where the programs lie (%(default)s)")
    p.add_argument("--native", help="the native function (BIN/examples/native/bootstrap)")
    p.add_argument("--out", default="build/bench.json", help="where the figures go (%(default)s)")
    p.add_argument("--seconds", type=int, default=5, help="length of one measurement under load (%(default)s)")
    p.add_argument("--colds", type=int, default=70, help="cold starts of each kind in one round (%(default)s)")
    p.add_argument("--functions", type=int, default=1000, help="functions defined while idle (%(default)s)")
    p.add_argument("--churn", type=int, default=10000, help="functions created and deleted (%(default)s)")
    p.add_argument("--burst", type=int, default=500, help="calls at once of a function that does not run (%(default)s)")
    p.add_argument("--each", type=int, default=1000, help="functions that are called once each (%(default)s)")
    p.add_argument("--idle", type=int, default=1000, help="instances of one function that are kept idle (%(default)s)")
    p.add_argument("--defined", type=int, default=10000, help="functions defined in all (%(default)s)")
    p.add_argument("--used", type=int, default=200, help="of those, how many are called (%(default)s)")
    p.add_argument("--minutes", type=int, default=60, help="minutes of the recorded day (TANDEM_TRACE) that are replayed (%(default)s)")
    p.add_argument("--waiting", type=int, default=1000000, help="messages that wait in a queue (%(default)s)")
    p.add_argument("--only", choices=list(SCENARIOS), help="one part of the scenarios")
    p.add_argument("--figures", action="store_true", help="measure nothing; put the figures of OUT into docs/figures.md and README.md")
    return p.parse_args()


def main():
    o = options()
    o.bin = os.path.abspath(o.bin)
    o.native = os.path.abspath(o.native or f"{o.bin}/examples/native/bootstrap")
    if o.figures:
        with open(o.out) as f:
            rows = json.load(f)
        write_figures(f"{host.ROOT}/docs/figures.md", rows)
        write_figures(f"{host.ROOT}/README.md", rows, those_there=True)
        return 0
    if os.geteuid() != 0:
        raise host.BenchError("needs root: sandboxes are made by it")
    facts = host.facts()
    work = tempfile.mkdtemp(prefix="tandem-bench-")
    os.chmod(work, 0o711)  # tandemd and nginx's workers are not root
    bench = Bench(o, work)
    try:
        bench.run(o.only)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    rows = bench.figures.rows
    print_facts(facts)
    print_table(rows)
    missed = sum(row["pass"] is False for row in rows)
    print(f"\n{missed} of {sum(row['pass'] is not None for row in rows)} targets missed" if missed else "\nall targets met")
    with open(o.out, "w") as f:
        json.dump(rows + [{"name": "machine", "value": None, "unit": "facts", "facts": facts}], f, indent="\t")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (host.BenchError, aws.ApiError, subprocess.CalledProcessError, OSError) as e:
        say(e)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
