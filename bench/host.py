# SPDX-License-Identifier: Apache-2.0
"""What the scenarios stand on: a Tandem and an nginx of their own, the load generator, and what /proc knows."""
import glob
import http.client
import json
import os
import platform
import re
import signal
import socket
import subprocess
import time
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HERE = os.path.join(ROOT, "bench")


class BenchError(Exception):
    """Why nothing can be measured; ends the run with its text."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(ready, seconds, what, pause=0.02):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = ready()
        if found:
            return found
        time.sleep(pause)
    raise BenchError(f"{what} after {seconds} s")


def listening(port):
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
        return True
    except OSError:
        return False


class Server:
    """A process in the foreground that is ended when the run ends, however it ends."""

    def __init__(self, argv, log):
        self.log = log
        with open(log, "ab") as out:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def check(self):
        if self.process.poll() is not None:
            with open(self.log, errors="replace") as f:
                raise BenchError(f"{self.process.args[0]} ended with {self.process.returncode}:\n{f.read()[-2000:]}")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Nginx(Server):
    def __init__(self, work):
        self.port = free_port()
        with open(f"{HERE}/nginx.conf") as f:
            text = f.read()
        for name, value in (("WORK", work), ("FRONT", self.port), ("BACK", free_port())):
            text = text.replace(f"@{name}@", str(value))
        self.config = text
        with open(f"{work}/nginx.conf", "w") as f:
            f.write(text)
        super().__init__(["nginx", "-e", f"{work}/error.log", "-p", work, "-c", f"{work}/nginx.conf"], f"{work}/nginx.log")
        wait_until(lambda: self.check() or listening(self.port), 10, "nginx does not listen")


class Tandem(Server):
    """`tandem serve` as a user starts it, on a state directory and ports of its own."""

    def __init__(self, folder, state, *more):
        self.cli = os.path.join(folder, "tandem")
        self.state = state
        os.makedirs(state, exist_ok=True)
        argv = [self.cli, "serve", "--state", state, "--api", "127.0.0.1:0", "--gateway", "127.0.0.1:0", *more]
        super().__init__(argv, f"{state}.log")
        where = wait_until(lambda: self.check() or self.addresses(), 20, "tandem serve is not ready")
        self.api = urllib.parse.urlsplit(where["endpoint"]).port
        self.gateway = urllib.parse.urlsplit(where["gateway"]).port
        self.credentials = where

    def addresses(self):
        """The daemon's own word (`tandem env`), once it answers and listens."""
        try:
            where = json.loads(self.run("env", "-o", "json"))
        except BenchError:
            return None
        return where if listening(urllib.parse.urlsplit(where["gateway"]).port) else None

    def run(self, *argv, check=True, **more):
        env = dict(os.environ, TANDEM_STATE=self.state, NO_COLOR="1")
        done = subprocess.run([self.cli, *argv], env=env, capture_output=True, text=True, **more)
        if check and done.returncode:
            raise BenchError(f"tandem {' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def json(self, *argv):
        return json.loads(self.run(*argv, "-o", "json"))

    def processes(self):
        """The spawner and tandemd: this serve's process and what it started, except sandboxes."""
        found = []
        for path in glob.glob("/proc/[0-9]*/stat"):
            try:
                with open(path) as f:
                    text = f.read()
            except OSError:
                continue
            pid, rest = int(text.split(" ", 1)[0]), text.rsplit(")", 1)[1].split()
            name = text[text.index("(") + 1 : text.rindex(")")]
            top = self.process.pid
            if pid == top or (int(rest[1]) == top and name.startswith("tandemd")):
                found.append(pid)
        if len(found) < 2:
            raise BenchError("the spawner and tandemd were not found")
        return found


def resident_bytes(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/status") as f:
            total += int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) * 1024
    return total


def wake_ups(pids):
    """How often a thread of these processes has gone to sleep, and so was woken, since it started."""
    total = 0
    for pid in pids:
        for path in glob.glob(f"/proc/{pid}/task/*/status"):
            with open(path) as f:
                total += int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", f.read()).group(1))
    return total


def command_below(pid):
    """The command line of the first child of a sandbox's tandem-init."""
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        child = f.read().split()[0]
    with open(f"/proc/{child}/cmdline") as f:
        return f.read().rstrip("\0").split("\0")


def tree_bytes(folder, leave_out=()):
    total = 0
    for path, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if os.path.relpath(os.path.join(path, f), folder) not in leave_out]
        for name in files:
            try:
                total += os.lstat(os.path.join(path, name)).st_blocks * 512
            except OSError:
                pass  # removed meanwhile
    return total


SCALE = {"us": 1.0, "ms": 1000.0, "s": 1000000.0}


def wrk(port, path, connections, seconds, script=None):
    """(requests per second, p50, p99 in us). Any answer that is not a success is an error, not a figure."""
    more = ["-s", script] if script else []
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *more, "--latency", f"http://127.0.0.1:{port}{path}"]
    out = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise BenchError(f"{' '.join(argv)}:\n{out}")
    p50, p99 = (float(at) * SCALE[unit] for at, unit in re.findall(r"(?:50|99)%\s+([\d.]+)(us|ms|s)", out))
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)), p50, p99


def get(connection, path):
    """One GET on a kept http.client connection; seconds it took."""
    begin = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    text = answer.read()
    took = time.perf_counter() - begin
    if answer.status != 200:
        raise BenchError(f"GET {path}: {answer.status} {text[:300]!r}")
    return took


def connect(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def first_line(argv):
    try:
        done = subprocess.run(argv, capture_output=True, text=True)
    except OSError:
        return "absent"
    return (done.stdout + done.stderr).strip().split("\n")[0]


def facts():
    with open("/proc/cpuinfo") as f:
        model = re.search(r"model name\s*:\s*(.*)", f.read())
    with open("/proc/meminfo") as f:
        memory = {k: int(v) for k, v in re.findall(r"(\w+):\s+(\d+) kB", f.read())}
    return {
        "kernel": platform.release(),
        "cpu": model.group(1) if model else platform.machine(),
        "cpus": os.cpu_count(),
        "memory_mb": memory["MemTotal"] // 1024,
        "page_cache_mb": memory["Cached"] // 1024,
        "cache_state": "warm: everything that is measured has run once before",
        "load_average": os.getloadavg()[0],
        "python": first_line(["/usr/bin/python3", "--version"]),
        "node": first_line(["/usr/bin/node", "--version"]),
        "nginx": first_line(["nginx", "-v"]),
        "wrk": first_line(["wrk", "-v"]).split(" Copyright")[0],
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
