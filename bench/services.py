# SPDX-License-Identifier: Apache-2.0
"""Services: the gateway to nginx in a container beside nginx as a proxy to nginx, one that is woken from zero beside its program started by hand,
200 of them at once, and 100 rollouts under load."""
import os
import re
import socket
import statistics
import subprocess
import threading
import time

import cold
import host
import tasks

ROUNDS = 3
WAKES = 60
MANY = 200
ROLLOUTS = 100
RATE = 2000  # requests per second while rolling
CONNECTIONS = 16
IMAGE = "localhost/bench-services:1"
HTTPD = ["/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/www"]
NGINX = ["/usr/sbin/nginx", "-e", "stderr", "-c", "/nginx.conf"]
CONFIG = """
worker_processes 2;
daemon off;
user root;
pid /tmp/pid;
events { worker_connections 1024; }
http {
	access_log off;
	default_type application/json;
	keepalive_requests 1000000000;
	%s
	server { listen 80; location / { return 200 '{"message": "hello"}'; } }
}
""" % "".join(f"\n\t{kind}_temp_path /tmp/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))


def image(path):
    """busybox, and the host's nginx with what it loads."""
    said = subprocess.run(["ldd", "/usr/sbin/nginx"], capture_output=True, text=True, check=True).stdout
    files = {"nginx.conf": CONFIG.encode(), "www/wake/page": b"hello\n", "etc/passwd": b"root:x:0:0::/:/bin/sh\n", "etc/group": b"root:x:0:\n",
             "tmp/.keep": b""}
    for name in [tasks.BUSYBOX, NGINX[0], *re.findall(r"(?:=> |^\t)(/\S+) \(", said, re.M)]:
        with open(name, "rb") as f:
            files[name.lstrip("/")] = f.read()
    tasks.archive(path, IMAGE, files, HTTPD)


def service(name, command, **keys):
    more = "".join(f", {k}: {v}" for k, v in keys.items())
    return f"  {name}: {{image: '{IMAGE}', command: {command}, port: 80, memory: 64{more}}}\n"


class Services:
    def __init__(self, bench, tandem):
        self.bench, self.tandem, self.add = bench, tandem, bench.figures.add
        self.admin = cold.Admin(tandem.state)
        self.folder = f"{bench.work}/services"
        os.makedirs(self.folder, exist_ok=True)

    def up(self, *services):
        with open(f"{self.folder}/tandem.yaml", "w") as f:
            f.write("name: figures\nservices:\n" + "".join(services))
        self.tandem.run("up", cwd=self.folder)

    def ready(self):
        return {s["name"]: s["instances"] for s in self.tandem.json("ls")["services"]}

    def throughput(self):
        self.up(service("web", NGINX, route="/web/*", min=1, cpu=2))
        host.wait_until(lambda: self.ready() == {"web": 1}, 60, "nginx is not ready in its container")
        nginx = host.Nginx(self.bench.work)
        try:
            found = {"nginx": [], "tandem": []}
            for turn in range(ROUNDS):
                self.bench.say(f"gateway to a service, round {turn + 1} of {ROUNDS}")
                for name, port, path in (("nginx", nginx.port, "/"), ("tandem", self.tandem.gateway, "/web/page")):
                    found[name].append(host.wrk(port, path, 32, self.bench.options.seconds))
        finally:
            nginx.stop()
        rate, p99 = ({name: [row[i] for row in rows] for name, rows in found.items()} for i in (0, 2))
        self.add("gateway to nginx in a container, concurrency 32", "requests/s", rate["tandem"], rate["nginx"], at_least=0.7, of="ratio")
        self.add("gateway to nginx in a container, concurrency 32, p99", "us", p99["tandem"], p99["nginx"], at_most=1.5, of="ratio")

    def by_hand(self):
        """The program's own start, to its first answer."""
        port = host.free_port()
        begin = time.perf_counter_ns()
        with subprocess.Popen(["/bin/busybox", "httpd", "-f", "-p", f"127.0.0.1:{port}", "-h", self.folder]) as program:
            with socket.socket() as s:
                while s.connect_ex(("127.0.0.1", port)):
                    pass
                s.sendall(b"GET /tandem.yaml HTTP/1.0\r\n\r\n")
                s.recv(65536)
                took = (time.perf_counter_ns() - begin) / 1e3
            program.kill()
        return took

    def wake(self):
        self.up(service("wake", HTTPD, route="/wake/*", min=0, idle="0s"))
        took, alone = [], []
        self.bench.say(f"a service is woken {WAKES} times")
        for _ in range(WAKES):
            host.wait_until(lambda: not any(self.ready().values()) and not self.running(), 60, "it does not go to sleep")
            took.append(cold.Caller(self.tandem.gateway, "/wake/page").call())
            alone.append(self.by_hand())
        self.add(f"service woken from zero to its first answer, beyond its program's own start, p50 of {WAKES}", "us",
                 [statistics.median(took) - statistics.median(alone)], [statistics.median(alone)], at_most=15000)
        self.add("service woken from zero to its first answer, p99", "us", [cold.p99(took)])

    def running(self):
        return any(t["state"] != "STOPPED" for t in self.admin.ask("/v1/tasks")["tasks"])

    def many(self):
        first = service("web", NGINX, route="/web/*", min=1, cpu=2)
        self.up(first)
        host.wait_until(lambda: self.ready() == {"web": 1}, 60, "nginx is not ready in its container")
        before = [host.wrk(self.tandem.gateway, "/web/page", 32, self.bench.options.seconds)[2] for _ in range(ROUNDS)]
        self.bench.say(f"{MANY} services")
        begin = time.perf_counter()
        self.up(first, *(service(f"many-{i}", HTTPD, route=f"/many-{i}/*", min=1) for i in range(MANY)))
        host.wait_until(lambda: sum(self.ready().values()) == MANY + 1, 300, "they are not ready")
        took = time.perf_counter() - begin
        after = [host.wrk(self.tandem.gateway, "/web/page", 32, self.bench.options.seconds)[2] for _ in range(ROUNDS)]
        self.add(f"{MANY} services, one instance each: all up", "s", [took], at_most=10)
        self.add(f"gateway to a service beside {MANY} others, p99", "us", after, before, at_most=1.1, of="ratio")
        self.add(f"tandemd + spawner, resident, {MANY} services", "MB", [host.resident_bytes(self.tandem.processes()) / 1e6], at_most=40)

    def rollouts(self):
        def revision(n):
            return service("web", NGINX, route="/web/*", min=1, cpu=2, environment=f"{{N: '{n}'}}")

        def over():
            d = self.admin.ask("/v1/services/web")["deployments"]
            return len(d) == 1 and d[0]["state"] == "COMPLETED"

        self.up(revision(0))
        host.wait_until(over, 60, "the first revision is not ready")
        load = Load(self.tandem.gateway, "/web/page")
        for n in range(ROLLOUTS):
            if n % 10 == 0:
                self.bench.say(f"rollout {n + 1} of {ROLLOUTS}")
            self.up(revision(n + 1))
            host.wait_until(over, 60, f"rollout {n + 1} does not end")
        took, failed, seconds = load.end()
        self.add(f"{ROLLOUTS} rollouts: requests meanwhile (reference: asked for)", "requests/s", [len(took) / seconds], [RATE])
        self.add(f"{ROLLOUTS} rollouts under load: failed of {len(took):,} requests", "requests", [failed], at_most=0)
        self.add(f"{ROLLOUTS} rollouts under load: p99", "us", [cold.p99(took)])


class Load:
    """RATE requests a second, each thread on a connection of its own, by the clock: one that was late is followed at once."""

    def __init__(self, port, path):
        self.port, self.path, self.ended = port, path, threading.Event()
        self.took, self.failed, self.begin = [], 0, time.monotonic()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(CONNECTIONS)]
        for t in self.threads:
            t.start()

    def run(self, first):
        caller, n = cold.Caller(self.port, self.path), first
        while not self.ended.is_set():
            time.sleep(max(0, self.begin + n / RATE - time.monotonic()))
            n += CONNECTIONS
            try:
                self.took.append(caller.call())
            except (OSError, host.BenchError):
                self.failed += 1
                caller = cold.Caller(self.port, self.path)

    def end(self):
        """(microseconds of each, how many failed, seconds)"""
        self.ended.set()
        for t in self.threads:
            t.join()
        return self.took, self.failed, time.monotonic() - self.begin


def run(bench):
    if not os.path.exists(tasks.BUSYBOX):
        bench.say("no busybox-static: services are left out")
        return
    image(f"{bench.work}/services.tar")
    for part in ("throughput", "wake", "many", "rollouts"):
        tandem = host.Tandem(bench.options.bin, f"{bench.work}/state-{part}")
        try:
            tandem.run("pull", f"docker-archive:{bench.work}/services.tar", "--tag", IMAGE)
            getattr(Services(bench, tandem), part)()
        finally:
            tandem.stop()
