# SPDX-License-Identifier: Apache-2.0
"""Many at once and many in all: bursts from nothing, thousands of functions, a thousand idle instances, sandboxes per second."""
import os
import re
import selectors
import shutil
import socket
import subprocess
import time

import aws
import host

SMALL = b"def handler(event, context):\n    return {'message': 'hello'}\n"
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


def instances(tandem, function=None):
    return [row for row in tandem.json("ps")["instances"] if function in (None, row["function"])]


def stop(tandem, function):
    tandem.run("stop", function)
    host.wait_until(lambda: not instances(tandem, function), 60, f"{function} still runs")


def image_made(tandem, function):
    """Once the image is there, or the reason why there is none; and nothing is prepared any more."""

    def made():
        rows = [row for row in tandem.json("snapshots")["snapshots"] if row["function"] == function]
        return rows and rows[0].get("none") != "it has not been made yet" and not any(i["state"] == "preparing" for i in instances(tandem))

    host.wait_until(made, 60, f"no image of {function}")


def client(tandem):
    given = tandem.credentials
    return aws.Lambda("127.0.0.1", tandem.api, given["access_key"], given["secret_key"], given["region"])


def burst(bench, tandem):
    """0 to 500 calls at once: of a function that is over at once, and of one of which each call needs an instance of its own."""
    count = bench.options.burst
    for name, word in (("scale-hello", "a short handler"), ("scale-holds", "each 0.5 s long")):
        image_made(tandem, name)
        took, failures = [], []
        for turn in range(3):
            bench.say(f"{count} calls at once, {word}, round {turn + 1} of 3")
            stop(tandem, name)
            time.sleep(1)  # the pool of blanks fills off the request path
            calls = Burst(tandem.gateway, "/" + name, count)
            answers, failed = calls.run(60)
            calls.close()
            took.append(answers[-1])
            failures.append(failed)
            bench.say(f"{took[-1]:.2f} s, {failed} failed, {len(instances(tandem, name))} instances")
        bench.figures.add(f"0 to {count} calls at once, {word}, all answered", "s", took, at_most=2)
        bench.figures.add(f"0 to {count} calls at once, {word}, failed", "calls", failures, at_most=0)
        stop(tandem, name)


def churn(bench):
    """Sandboxes made and ended as fast as the spawner can; bench/churn.c is there in tandemd's place."""
    folder = f"{bench.work}/churn-bin"
    shutil.copytree(bench.options.bin, folder, ignore=shutil.ignore_patterns("obj", "init", "bench", "tests"))
    shutil.copy2(f"{bench.options.bin}/bench/churn", f"{folder}/tandemd")
    for word, more, target in (("a new", {"TANDEM_CHURN_FRESH": "1"}, 350), ("a recycled", {}, 800)):
        rates = []
        for turn in range(3):
            bench.say(f"sandboxes with {word} net namespace, round {turn + 1} of 3")
            argv = [f"{folder}/tandem", "serve", "--state", f"{bench.work}/state-churn", "--api", "127.0.0.1:0", "--gateway", "127.0.0.1:0"]
            env = dict(os.environ, TANDEM_CHURN=str(bench.options.seconds), **more)
            said = subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stderr
            rates.append(float(re.search(r"churn: ([\d.]+)", said).group(1)))
        bench.figures.add(f"sandboxes made and ended, {word} net namespace each", "sandboxes/s", rates, at_least=target)


PROJECT = """\
name: scale
functions:
  scale-hello: {code: hello, runtime: python3.11, handler: app.handler, memory: 128, route: /scale-hello}
  scale-holds: {code: holds, runtime: python3.11, handler: app.handler, memory: 128, route: /scale-holds}
"""


def up(bench, tandem):
    folder = f"{bench.work}/scale"
    bench.write(f"{folder}/hello/app.py", SMALL)
    bench.write(f"{folder}/holds/app.py", HOLDS)
    bench.write(f"{folder}/tandem.yaml", PROJECT.encode())
    tandem.run("up", cwd=folder)


def run(bench):
    churn(bench)
    tandem = host.Tandem(bench.options.bin, f"{bench.work}/state-scale")
    try:
        up(bench, tandem)
        burst(bench, tandem)
    finally:
        tandem.stop()
