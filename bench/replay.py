# SPDX-License-Identifier: Apache-2.0
"""A recorded day of real functions (TANDEM_TRACE; benchmark only): simulated as a whole, and a part of it replayed for real.

The simulation is `tandem simulate` with start costs that are measured here first. The replay takes every function whose
average duration is at most a second and that is called from noon on, and calls it as often and in the minutes in which
the trace says, over open connections. Each is a Python function that sleeps as long as it is asked to: the trace does
not say what of a duration was work, and two processors could not do that much. Beside the figures of the replay stands
what `tandem simulate` says of the same minutes.
"""
import csv
import json
import os
import random
import selectors
import shutil
import statistics
import time

import cold
import host

SEED = 1
FROM_MINUTE = 12 * 60
AVERAGE_MS = 1000
STARTS = 12
PERCENTS = (0, 1, 25, 50, 75, 99, 100)
HANDLER = b"""\
import time

cold = True


def handler(event, context):
    global cold
    first, cold = cold, False
    time.sleep(int(event["queryStringParameters"]["us"]) / 1e6)
    return {"cold": first}
"""


def read_table(folder, name, key):
    with open(f"{folder}/{name}", newline="") as f:
        return {row[key]: row for row in csv.DictReader(f)}


class Slice:
    """Some minutes of the functions whose average is short."""

    def __init__(self, folder, minutes):
        runs = read_table(folder, "run.csv", "HashFunction")
        self.minutes, self.functions = minutes, []
        with open(f"{folder}/inv.csv", newline="") as f:
            rows = csv.reader(f)
            first = next(rows).index("minute_1") + FROM_MINUTE
            for row in rows:
                counts = [int(n) for n in row[first : first + minutes]]
                run = runs.get(row[0])
                if run and float(run["Average"]) <= AVERAGE_MS and any(counts):
                    points = [float(run[f"percentile_Average_{p}"]) for p in PERCENTS]
                    self.functions.append((counts, points))
        if not self.functions:
            raise host.BenchError(f"{folder}: no function with calls in these minutes")

    def calls(self):
        """(seconds from the start, function, microseconds) in order; drawn evenly, as `tandem simulate` does."""
        draw, calls = random.Random(SEED), []
        for k, (counts, points) in enumerate(self.functions):
            for minute, n in enumerate(counts):
                for _ in range(n):
                    calls.append((60 * (minute + draw.random()), k, int(1000 * duration_ms(points, 100 * draw.random()))))
        return sorted(calls)

    def write(self, folder, held_bytes):
        """The same as a trace of its own; held_bytes by function, as measured."""
        os.makedirs(folder)
        tables = {
            "inv.csv": [["HashFunction", "HashApp", *range(1, self.minutes + 1)]],
            "run.csv": [["HashFunction", "Average", *(f"percentile_Average_{p}" for p in PERCENTS)]],
            "mem.csv": [["HashApp", "AverageAllocatedMb"]],
        }
        for k, (counts, points) in enumerate(self.functions):
            tables["inv.csv"].append([f"f{k}", f"f{k}", *counts])
            tables["run.csv"].append([f"f{k}", 0, *points])
            tables["mem.csv"].append([f"f{k}", f"{held_bytes[k] / 2**20:.3f}"])
        for name, rows in tables.items():
            with open(f"{folder}/{name}", "w", newline="") as f:
                csv.writer(f, lineterminator="\n").writerows(rows)


def duration_ms(points, percent):
    """Straight lines between the percentiles."""
    k = next(k for k in range(1, len(PERCENTS)) if percent <= PERCENTS[k])
    share = (percent - PERCENTS[k - 1]) / (PERCENTS[k] - PERCENTS[k - 1])
    return points[k - 1] + share * (points[k] - points[k - 1])


class Client:
    """Calls when they are due, whether or not others were answered; as many connections as that takes."""

    def __init__(self, port):
        self.port, self.idle, self.busy = port, [], {}
        self.selector = selectors.DefaultSelector()
        self.added_us, self.cold_added_us, self.late_s, self.failed = [], [], [], []

    def send(self, function, us):
        if self.idle:
            caller = self.idle.pop()
        else:
            caller = cold.Caller(self.port, "/")
            self.selector.register(caller.socket, selectors.EVENT_READ, caller)
        caller.path = f"/f{function}?us={us}"
        caller.request = f"GET {caller.path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
        self.busy[caller] = us
        caller.send()

    def close(self, caller):
        self.selector.unregister(caller.socket)
        caller.socket.close()

    def receive(self, caller):
        if caller not in self.busy: # the gateway keeps no connection for ever
            self.idle.remove(caller)
            self.close(caller)
            return
        try:
            took = caller.receive()
        except (host.BenchError, OSError) as e:
            self.failed.append(str(e))
            self.busy.pop(caller)
            self.close(caller)
            return
        if took is None:
            return
        added = took - self.busy.pop(caller)
        self.idle.append(caller)
        self.added_us.append(added)
        if json.loads(caller.answer.partition(b"\r\n\r\n")[2])["cold"]:
            self.cold_added_us.append(added)

    def run(self, calls, say):
        begin, next_, told = time.perf_counter(), 0, 0
        while next_ < len(calls) or self.busy:
            now = time.perf_counter() - begin
            while next_ < len(calls) and calls[next_][0] <= now:
                self.late_s.append(now - calls[next_][0])
                self.send(*calls[next_][1:])
                next_ += 1
            for key, _ in self.selector.select(calls[next_][0] - now if next_ < len(calls) else None):
                self.receive(key.data)
            if now - told >= 60:
                told = now
                say(f"replay: minute {int(now / 60)}, {next_:,} of {len(calls):,} calls sent, {len(self.cold_added_us):,} began cold, {len(self.failed)} failed")


class Costs:
    """What starts take here, small and large: a straight line by the memory that the instance holds."""

    def __init__(self, bench, tandem):
        folder = f"{bench.work}/trace-costs"
        os.makedirs(folder)
        bench.write(f"{folder}/python/app.py", b"def handler(event, context):\n    return {}\n")
        shutil.copytree(f"{host.ROOT}/examples/iris", f"{folder}/iris", ignore=shutil.ignore_patterns("tandem.yaml"))
        text = "name: costs\n\nfunctions:\n"
        for tail in ("", "-plain"):
            text += cold.function_text(f"cold-python{tail}", "python", "python3.11", "app.handler")
            text += cold.function_text(f"cold-iris{tail}", "iris", "python3.11", "app.handler", 512)
        bench.write(f"{folder}/tandem.yaml", text.encode())
        tandem.run("up", cwd=folder)
        self.admin, self.tandem = cold.Admin(tandem.state), tandem
        self.admin.snapshots()
        self.admin.stop("cold-python", "cold-iris", "cold-python-plain", "cold-iris-plain")
        plain = [self.starts(f"{name}-plain", False) for name in ("cold-python", "cold-iris")]
        restored = [self.starts(name, True) for name in ("cold-python", "cold-iris")]
        bench.say("starts: " + "; ".join(f"{ms:.2f} ms, {mb:.1f} MB" for ms, mb in plain + restored) + " (plainly and from an image, each small and scikit-learn)")
        held_mb = [mb for _, mb in plain]  # the trace's memory is that of processes that were started plainly
        self.plain = line(held_mb, [ms for ms, _ in plain])
        self.restore = line(held_mb, [ms for ms, _ in restored])

    def starts(self, function, restored):
        """(ms, MB) by the ledger, whose rows come after the answer: the median and, since a group of cgroup v1 that is used
        again counts what is left of its life before, the least of some starts."""
        caller = cold.Caller(self.tandem.gateway, f"/{function}", cold.IRIS)

        def rows():
            found = self.admin.ask(f"/v1/cost?by=rows&workload=costs/{function}")["rows"]
            return [r for r in found if r["kind"] == "invoke" and r["cold"] and r["restored"] == restored]

        for n in range(STARTS):
            caller.call()
            host.wait_until(lambda: len(rows()) > n, 10, f"a start of {function} was not {'from its image' if restored else 'plain'}")
            self.admin.stop(function)
        found = rows()
        return statistics.median((r["start_us"] + r["init_us"]) / 1e3 for r in found), min(r["mem_peak_bytes"] for r in found) / 2**20


def line(x, y):
    """Through two points, as `tandem simulate` takes it."""
    slope = max((y[1] - y[0]) / (x[1] - x[0]), 0)
    return f"{max(y[0] - slope * x[0], 0):.3f}+{slope:.4f}"


def simulate(tandem, trace, costs):
    answer = tandem.json("simulate", trace, "--restore", costs.restore, "--plain", costs.plain, "--seed", str(SEED))
    ways = {way["name"]: way for way in answer["policies"]}
    for name, way in ways.items():
        fixed = ways["fixed-10m, plain starts" if name.endswith("plain starts") else "fixed-10m"]
        way["idle_share"] = way["idle_gb_s"] / fixed["idle_gb_s"] if fixed["idle_gb_s"] else 0
    return answer, ways


def percent(part, of):
    return 100 * part / of if of else 0


def day(bench, tandem, trace, costs):
    answer, ways = simulate(tandem, trace, costs)
    calls, cpu_s = answer["calls"], answer["took_cpu_s"]
    bench.say(f"simulated {calls:,} calls under {len(ways)} policies in {cpu_s:.1f} s of a processor; ms + ms per MB of a start: {costs.restore} from an image, {costs.plain} plainly")
    ours, fixed, plain = (ways[name] for name in ("tandem", "fixed-10m", "tandem, plain starts"))
    best = [100 * ways["foresight"]["idle_share"]]

    def add(name, unit, values, reference=None, **target):
        bench.figures.add(f"recorded day, simulated: {name}", unit, values, reference, **target)

    add("idle memory, beside 10 minutes (reference: with foresight)", "%", [100 * ours["idle_share"]], best, at_most=15)
    add("the same without snapshots", "%", [100 * plain["idle_share"]])
    add("calls that began cold (reference: 10 minutes)", "%", [percent(ours["cold"], calls)], [percent(fixed["cold"], calls)])
    add("of a processor, under %d policies" % len(ways), "s", [cpu_s], at_most=5 * len(ways) / 6)
    add("calls under one policy", "M/s", [calls * len(ways) / 1e6 / cpu_s], at_least=10)
    for p in ("p50", "p99"):
        add(f"added {p} (reference: 10 minutes)", "ms", [ours[f"added_{p}_us"] / 1e3], [fixed[f"added_{p}_us"] / 1e3])


def check(bench, tandem, trace):
    """What `tandem simulate --check` says of itself: the prediction against the median of three replays."""
    answer = json.loads(tandem.run("simulate", trace, "--check", "--for", "60s", "-o", "json", check=False))
    said, real = answer["outcomes"][0], answer["outcomes"][1:]
    for name, key in (("p50", "p50_ms"), ("cost", "usd_machine")):
        off = 100 * abs(said[key] / statistics.median(r[key] for r in real) - 1)
        bench.figures.add(f"simulate --check, {answer['calls']} calls of {answer['functions']} functions: {name} is off by", "%", [off], at_most=10)
    p99 = [r["p99_ms"] for r in real]
    bench.figures.add(f"simulate --check: p99 (reference: three replays, {min(p99):.0f} to {max(p99):.0f})", "ms", [said["p99_ms"]], p99)


def up(bench, tandem, part):
    folder = f"{bench.work}/trace"
    bench.write(f"{folder}/sleeper/app.py", HANDLER)
    text = "name: replay\n\nfunctions:\n"
    for k in range(len(part.functions)):
        text += cold.function_text(f"f{k}", "sleeper", "python3.11", "app.handler") + "    timeout: 5m\n"
    bench.write(f"{folder}/tandem.yaml", text.encode())
    tandem.run("up", cwd=folder)


def idle_s(admin, names):
    sums = {row["key"]: row for row in admin.ask("/v1/cost?by=workload")["sums"]}
    return [sums[f"replay/{name}"]["idle_ms"] / 1e3 if f"replay/{name}" in sums else 0 for name in names]


def last_calls(admin, name):
    return [r for r in admin.ask(f"/v1/cost?by=rows&workload=replay/{name}")["rows"] if r["kind"] == "invoke"]


def replay(bench, tandem, part, costs):
    admin, calls = cold.Admin(tandem.state), part.calls()
    names = [f"f{k}" for k in range(len(part.functions))]
    at_once = sum(us for _, _, us in calls) / 6e7 / part.minutes
    bench.say(
        f"replay: {part.minutes} minutes, all {len(names)} functions that are called in them and whose average is at most {AVERAGE_MS} ms; "
        f"{len(calls):,} calls, {at_once:.1f} at a time in the mean"
    )
    up(bench, tandem, part)
    admin.snapshots()
    admin.stop(*names)
    before = idle_s(admin, names)
    admin.close()  # and opens again: the daemon keeps no connection for as long as this takes
    client = Client(tandem.gateway)
    client.run(calls, bench.say)
    admin.stop(*names)
    last = [last_calls(admin, name) for name in names]
    held = [statistics.median(r["mem_peak_bytes"] for r in rows) for rows in last]
    costs.restore = str(statistics.median((r["start_us"] + r["init_us"]) / 1e3 for rows in last for r in rows if r["cold"]))
    idle_gb_s = sum((after - was) * held_ / 2**30 for after, was, held_ in zip(idle_s(admin, names), before, held))
    part.write(f"{bench.work}/trace-part", held)
    _, ways = simulate(tandem, f"{bench.work}/trace-part", costs)
    report(bench, part, client, idle_gb_s, ways)


def report(bench, part, client, idle_gb_s, ways):
    """Beside each figure what the simulation says of the same minutes, with the memory and the restores that were measured."""
    ours, fixed, count = ways["tandem"], ways["fixed-10m"]["idle_gb_s"], len(client.added_us)
    if client.failed:
        bench.say(f"replay: the first that failed: {client.failed[0]}")
    bench.say(f"replay: 10 minutes would have held {fixed:.0f} GB*s idle (simulated)")

    def add(name, unit, value, *reference, **target):
        bench.figures.add(f"replay of {part.minutes} recorded minutes: {name}", unit, [value], list(reference) or None, **target)

    add(f"failed, of {count + len(client.failed):,} calls of {len(part.functions)} functions", "calls", len(client.failed), at_most=0)
    add("began cold (reference: simulated)", "%", percent(len(client.cold_added_us), count), percent(ours["cold"], count))
    add("idle memory, beside 10 minutes (reference: simulated)", "%", percent(idle_gb_s, fixed), 100 * ours["idle_share"])
    add("p50 added to the duration asked for (reference: simulated)", "ms", statistics.median(client.added_us) / 1e3, ours["added_p50_us"] / 1e3)
    add("p99 added to the duration asked for (reference: simulated)", "ms", cold.p99(client.added_us) / 1e3, ours["added_p99_us"] / 1e3)
    add("sent too late, p99: what the machine was busy with", "ms", 1e3 * cold.p99(client.late_s))
    if client.cold_added_us:
        add("p50 added to calls that began cold", "ms", statistics.median(client.cold_added_us) / 1e3)


def run(bench):
    trace = os.environ.get("TANDEM_TRACE")
    if not trace and bench.options.only:
        raise host.BenchError("TANDEM_TRACE names no folder with a recorded day")
    if not trace:
        return
    part = Slice(trace, bench.options.minutes)
    tandem = host.Tandem(bench.options.bin, f"{bench.work}/state-trace")
    try:
        costs = Costs(bench, tandem)
        day(bench, tandem, os.path.abspath(trace), costs)
        check(bench, tandem, os.path.abspath(trace))
        replay(bench, tandem, part, costs)
    finally:
        tandem.stop()
