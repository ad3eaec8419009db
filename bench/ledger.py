# SPDX-License-Identifier: Apache-2.0
"""What of the machine's price is in no row while there is load: warm calls of three runtimes, then instances that start and end."""
import time

import host

ROUNDS = 3
PATHS = ("/bench/python", "/bench/node", "/bench/native")
LOADS = {"warm calls, concurrency 32": ("warm", PATHS), "instances that start and end": ("cold", PATHS[:1])}


def machine(tandem):
    return tandem.json("cost", "--split", "none")["machine"]


def cold(tandem, path, seconds):
    """Each start from nothing, one after another."""
    left = time.monotonic() + seconds
    while time.monotonic() < left:
        tandem.run("stop", "bench-python")
        host.get(host.connect(tandem.gateway), path)


def one(bench, tandem, kind, paths):
    before = machine(tandem)
    for path in paths:
        if kind == "warm":
            host.wrk(tandem.gateway, path, 32, bench.options.seconds)
        else:
            cold(tandem, path, bench.options.seconds)
    after = machine(tandem)
    usd, missing = (after[k] - before[k] for k in ("usd", "usd_unattributed"))
    cpu = after["unattributed_cpu_us"] - before["unattributed_cpu_us"]
    bench.say(f"{kind}: {100 * missing / usd:.2f} % of the price, {cpu / 1e4 / (after['seconds'] - before['seconds']):.2f} % of a processor")
    return abs(100 * missing / usd)


def run(bench):
    tandem = host.Tandem(bench.options.bin, f"{bench.work}/state-ledger", "--auth", "none")
    try:
        tandem.run("up", cwd=bench.folder)
        for path in PATHS:
            host.wrk(tandem.gateway, path, 32, 1)
        for name, (kind, paths) in LOADS.items():
            bench.figures.add(f"unattributed, {name}", "% of the price", [one(bench, tandem, kind, paths) for _ in range(ROUNDS)], at_most=1)
    finally:
        tandem.stop()
