#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Services of tandem.yaml: woken, scaled, rolled out and taken over, with clients that somebody else wrote."""
import concurrent.futures
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import oci  # noqa: E402
import tandem  # noqa: E402
import test_recovery as recovery  # noqa: E402

LIMIT_S = 60 * tandem.SLOW
SERVER = os.path.join(tandem.ROOT, "tests/e2e/server.c")


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="tandem-sv-")
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        subprocess.run(["gcc", "-O1", "-static", "-pthread", "-o", cls.dir + "/server", SERVER], check=True)
        with open(cls.dir + "/server", "rb") as f:
            program = f.read()
        cls.layout = oci.Image(oci.layer({"server": program, "tmp": {"type": b"5", "mode": 0o1777}}),
                               config={"Entrypoint": ["/server"]}).layout(cls.dir + "/box", "v1")

    def setUp(self):
        self.t = tandem.Tandem()
        self.t.__enter__()
        self.addCleanup(lambda: self.t.close(failed=bool(self._outcome and getattr(self._outcome, "success", True) is False)))
        self.t.cli("pull", "oci:" + self.layout + ":v1", "--tag", "localhost/server:v1")

    def up(self, services, check=True):
        path = os.path.join(self.dir, "tandem.yaml")
        with open(path, "w", encoding="ascii") as f:
            json.dump({"name": "shop", "services": services}, f)
        done = subprocess.run([tandem.PROGRAM, "--state", self.t.state, "up", "-f", path], capture_output=True, text=True, timeout=LIMIT_S, check=False)
        if check:
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done

    def web(self, **more):
        whole = {"image": "localhost/server:v1", "port": 8080, "route": "/*", "memory": 64, **more}
        return {key: value for key, value in whole.items() if value is not None}

    def curl(self, path, *arguments, status=200):
        done = subprocess.run(["curl", "-sS", "-w", "\n%{http_code}", *arguments, self.t.gateway + path], capture_output=True, text=True,
                              timeout=LIMIT_S, check=False)
        body, _, code = done.stdout.rpartition("\n")
        self.assertEqual((done.returncode, code), (0, str(status)), done.stdout + done.stderr)
        return body

    def curl_code(self, path):
        return subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", self.t.gateway + path], capture_output=True, text=True,
                              timeout=LIMIT_S, check=False).stdout

    def service(self, name="web"):
        status, answer = self.t.admin("GET", "/v1/services/" + name)
        return json.loads(answer) if status == 200 else None

    def until(self, true, what=""):
        return tandem.wait_for(lambda: true(self.service()), LIMIT_S, lambda: (what, self.service()))


    def who(self):
        """Which instance answers."""
        return self.curl("/who").split()[1]

    def crowd(self, n, path):
        """Status codes of n requests at once, each over a connection of its own."""
        done = subprocess.run(["curl", "-sS", "-Z", "--parallel-immediate", "--parallel-max", str(n), "-w", "%{http_code}\n",
                               *["-o", "/dev/null", self.t.gateway + path] * n], capture_output=True, text=True, timeout=LIMIT_S, check=False)
        return done.stdout.split(), done.stderr

    def resident_kb(self):
        return int(tandem.status_of(tandem.daemon_of(self.t.process.pid))["VmRSS"].split()[0])

    def exit(self, code):
        """An instance ends in the middle of a request that must not be sent to another one."""
        subprocess.run(["curl", "-s", "-X", "POST", self.t.gateway + f"/exit/{code}"], capture_output=True, timeout=LIMIT_S, check=False)

    def upgraded(self):
        """A WebSocket's connection, upgraded: what is sent comes back."""
        host, port = self.t.gateway.removeprefix("http://").rsplit(":", 1)
        s = socket.create_connection((host, int(port)), timeout=LIMIT_S)
        self.addCleanup(s.close)
        s.sendall(b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                  b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        head = b""
        while b"\r\n\r\n" not in head:
            more = s.recv(1)
            self.assertTrue(more, head)
            head += more
        self.assertIn(b" 101 ", head.split(b"\r\n")[0])
        return s

    def echo(self, s, text):
        s.sendall(text)
        got = b""
        while len(got) < len(text):
            more = s.recv(65536)
            self.assertTrue(more, got)
            got += more
        self.assertEqual(got, text)


class Load:
    """Requests without a pause, each over a new connection; what was no 200 is kept."""

    def __init__(self, case, path="/who", threads=4):
        self.url = case.t.gateway + path
        self.over, self.bad, self.said = threading.Event(), [], []
        self.threads = [threading.Thread(target=self.run) for _ in range(threads)]

    def run(self):
        while not self.over.is_set():
            try:
                with urllib.request.urlopen(self.url, timeout=LIMIT_S) as answer:
                    self.said.append(answer.read().decode())
            except OSError as e:
                self.bad.append((str(e), e.read() if hasattr(e, "read") else b""))

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for t in self.threads:
            t.join()

    def names(self):
        return {text.split()[0] for text in self.said[-1:]}

    def until_said(self, name):
        tandem.wait_for(lambda: name in self.names(), LIMIT_S, lambda: (name, self.said[-3:], self.bad[:3]))


class Serve(Case):
    def test_a_trace_goes_through(self):
        self.up({"web": self.web(min=1)})
        trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
        self.assertEqual(self.curl("/traceparent", "-H", f"Traceparent: 00-{trace}-{parent}-00"), f"00-{trace}-{parent}-00")
        seen = self.curl("/traceparent", "-H", f"Traceparent: 00-{trace}-{parent}-01")
        spans = tandem.wait_for(lambda: {s["name"]: s for s in json.loads(self.t.cli("trace", trace, "-o", "json"))["spans"]} if
                                len(json.loads(self.t.cli("trace", trace, "-o", "json"))["spans"]) == 2 else None)
        self.assertEqual((spans["GET /*"]["parentSpanId"], spans["web"]["parentSpanId"]), (parent, spans["GET /*"]["spanId"]))
        self.assertEqual(seen, f"00-{trace}-{spans['web']['spanId']}-01")

    def test_up_asked_and_down(self):
        self.up({"web": self.web(min=1)})
        self.assertEqual(self.curl("/hello"), "GET /hello")
        self.assertRegex(self.t.cli("ls"), r"web +shop +container +ACTIVE +COMPLETED +1 ")
        self.assertRegex(self.t.cli("ps"), r"service:web +localhost/server:v1 +RUNNING +- +\d+(ms|s|m|h) +64Mi")
        said = self.t.cli("describe", "web")
        self.assertIn("web:1 is complete", said)
        self.assertRegex(said, r"\n +image: localhost/server:v1@sha256:")
        self.assertNotIn("cpu_percent", said)
        cost = json.loads(self.t.cli("cost", "--workload", "service/web", "-o", "json"))["total"]  # of one that still runs
        self.assertEqual(cost["invocations"], 1)
        self.assertGreaterEqual(cost["vcpu_s"], 15)  # Fargate's least vCPU for a minute
        self.assertGreater(cost["usd_aws"], 0)
        by = json.loads(self.t.cli("cost", "--by", "trigger", "--workload", "service/web", "-o", "json"))["sums"]
        self.assertEqual([(s["key"], s["invocations"]) for s in by], [("http", 1)])  # its calls, and what they ran in
        self.assertIn("nothing to change", self.up({"web": self.web(min=1)}).stdout)
        self.assertIn('tandem_service_requests_total{service="default/web",status="2xx"} 1', self.t.admin("GET", "/metrics")[1].decode())
        self.up({})
        self.curl("/hello", status=404)
        tandem.wait_for(lambda: self.service() is None, LIMIT_S, self.service)
        tandem.wait_for(lambda: not [k for k in json.loads(self.t.cli("ps", "-o", "json"))["tasks"] if k["state"] != "STOPPED"], LIMIT_S)

    def test_bodies_stream_both_ways(self):
        self.up({"web": self.web(min=1)})
        before = self.resident_kb()
        size = 64 << 20
        with tempfile.TemporaryFile() as f:
            f.truncate(size)
            f.seek(0)
            done = subprocess.run(["curl", "-sS", "-T", "-", self.t.gateway + "/count"], stdin=f, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        self.assertGreaterEqual(int(done.stdout), size, done.stderr)  # and what chunks are made of
        got = subprocess.Popen(["curl", "-sS", self.t.gateway + "/stream/1024"], stdout=subprocess.PIPE)
        total = 0
        while piece := got.stdout.read(1 << 20):
            total += len(piece)
        got.stdout.close()
        self.assertEqual((got.wait(LIMIT_S), total), (0, 1024 * 65536))
        self.assertLess(self.resident_kb() - before, 16384)

    def test_upgrades_stay_open_and_are_work(self):
        self.up({"web": self.web(min=0, idle="100ms")})
        s = self.upgraded()
        self.echo(s, b"hello")
        self.curl("/hello")
        before = self.service()
        self.assertEqual(before["open"], 1)
        for _ in range(3):  # more than one idle time goes by: what is open is no idleness
            self.echo(s, b"more" * 10000)
            self.until(lambda sv: sv["open"] == 1)
        self.assertEqual(self.service()["instances"], 1)
        s.close()
        self.until(lambda sv: sv["instances"] == 0)

    def test_what_waits_for_nothing_is_told_why(self):
        done = self.up({"web": self.web(environment={"FAIL": "7"})}, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("exited with 7", done.stdout)
        self.until(lambda sv: sv["deployments"][0]["failed"] >= 3)
        self.assertIn("exited with 7", json.loads(self.curl("/x", status=503))["reason"])
        self.assertIn("exited with 7", " ".join(self.service()["events"]))
        self.assertIn("exited with 7", self.t.cli("why", "web"))


class Scale(Case):
    def test_up_says_what_it_waits_for(self):
        """Nobody listens on that port: up says so meanwhile, and who does not want to wait on is not in anybody's way."""
        path = os.path.join(self.dir, "tandem.yaml")
        with open(path, "w", encoding="ascii") as f:
            json.dump({"name": "shop", "services": {"web": self.web(port=8099)}}, f)
        command = [tandem.PROGRAM, "--state", self.t.state]
        with subprocess.Popen([*command, "up", "-f", path], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as up:
            self.assertTrue(any("web waits for" in line and "port 8099" in line for line in up.stderr))
            up.kill()
        tandem.wait_for(lambda: not subprocess.run([*command, "down", "-f", path], capture_output=True, check=False).returncode, LIMIT_S)
        tandem.wait_for(lambda: (self.service() or {}).get("state") != "ACTIVE", LIMIT_S, self.service)

    def open_gate(self, n):
        """Lets it listen, once it has said for the n-th time that it waits."""
        tandem.wait_for(lambda: self.t.cli("logs", "web").count("waits") >= n, LIMIT_S)
        [task] = tandem.wait_for(lambda: [k for k in json.loads(self.t.admin("GET", "/v1/tasks")[1])["tasks"] if k["state"] == "RUNNING"])
        self.assertEqual(self.t.admin("POST", f"/v1/tasks/{task['id']}/signal?signal={signal.SIGUSR1.value}")[0], 200)

    def test_a_crowd_wakes_it(self):
        """All of them wait for the same instance, which takes its time, and are answered."""
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            up = pool.submit(self.up, {"web": self.web(idle="100ms", environment={"GATE": "1"})})
            self.open_gate(1)
            up.result(LIMIT_S)
            for n in range(3):
                self.until(lambda sv: sv["instances"] == 0 and sv["starting"] == 0)
                crowd = pool.submit(self.crowd, 20, "/hello")
                self.until(lambda sv: sv["waiting"] == 20)
                self.open_gate(n + 2)
                codes, err = crowd.result(LIMIT_S)
                self.assertEqual(codes, ["200"] * 20, err)
        self.assertEqual(self.service()["errors"], 0)

    def test_as_many_as_there_is_to_do(self):
        self.up({"web": self.web(max=3, concurrency=2, idle="200ms")})
        held = [subprocess.Popen(["curl", "-s", self.t.gateway + "/hold"]) for _ in range(6)]
        self.until(lambda sv: sv["instances"] == 3 and sv["open"] == 6)
        for h in held:
            h.kill()
            h.wait()
        self.until(lambda sv: sv["instances"] == 0 and sv["open"] == 0)

    def test_more_when_processors_are_short(self):
        self.up({"web": self.web(max=2, cpu=0.05, cpu_percent=10)})
        burning = subprocess.Popen(["curl", "-s", self.t.gateway + "/burn"])
        self.until(lambda sv: sv["instances"] == 2)
        burning.kill()
        burning.wait()

    def test_one_that_dies_is_replaced_and_nobody_notices(self):
        self.up({"web": self.web(min=2, max=2)})
        self.until(lambda sv: sv["instances"] == 2)
        first = {self.who() for _ in range(10)}
        self.assertEqual(len(first), 2)
        self.exit(3)
        self.assertEqual(self.crowd(20, "/hello")[0], ["200"] * 20)
        self.until(lambda sv: sv["instances"] == 2 and any("exited with 3" in e for e in sv["events"]))
        self.assertEqual(len(first & {self.who() for _ in range(10)}), 1)

    def test_one_that_dies_now_and_then_refuses_nobody(self):
        """Each was up for far longer than its start took: its end is the first failure again, however many came before."""
        self.up({"web": self.web(min=1, max=1)})
        for n in range(1, 6):
            self.until(lambda sv: sv["instances"] == 1)
            self.t.clock(step_us=2000000)
            self.exit(3)
            self.until(lambda sv, n=n: sv["deployments"][0]["failed"] == n)
            self.curl("/hello")

    def test_an_end_that_is_final(self):
        self.up({"web": self.web(min=1, restart="on-failure")})
        self.exit(0)
        self.until(lambda sv: any("not started again" in e for e in sv["events"]))
        self.assertEqual((self.service()["instances"], self.service()["starting"]), (0, 0), self.service())
        self.assertIn("not started again", json.loads(self.curl("/x", status=503))["reason"])


class Rollout(Case):
    def both(self, rollout, **more):
        self.up({"web": self.web(min=2, max=2, environment={"WHO": "one"}, rollout=rollout)})
        self.until(lambda sv: sv["instances"] == 2)
        return {"web": self.web(min=2, max=2, rollout=rollout, **{"environment": {"WHO": "two"}, **more})}

    def complete(self, revision):
        self.until(lambda sv: len(sv["deployments"]) == 1 and sv["deployments"][0]["definition"] == f"web:{revision}" and
                   sv["deployments"][0]["state"] == "COMPLETED")

    def test_nobody_notices(self):
        for strategy in ("rolling", "blue-green", "canary"):
            with self.subTest(strategy):
                two = self.both({"strategy": strategy, "wait": "100ms", "steps": [20]})
                with Load(self) as load:
                    load.until_said("one")
                    self.up(two)
                    load.until_said("two")
                    self.until(lambda sv: len(sv["deployments"]) == 1 and sv["deployments"][0]["state"] == "COMPLETED")
                self.assertEqual(load.bad, [])
                self.assertEqual(self.curl("/who").split()[0], "two")

    def test_replaced_and_nobody_fails(self):
        two = self.both({"strategy": "replace"})
        with Load(self) as load:
            load.until_said("one")
            self.up(two)
            load.until_said("two")
        self.assertEqual(load.bad, [])

    def test_a_revision_that_dies_is_taken_back(self):
        two = self.both({"strategy": "rolling"}, environment={"WHO": "two", "FAIL": "9"})
        with Load(self) as load:
            done = self.up(two, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("goes on serving", done.stdout)
            self.complete(1)
        self.assertEqual(load.bad, [])
        self.assertEqual({text.split()[0] for text in load.said}, {"one"})
        self.assertIn("web:2 is taken back: 3 of its instances failed", " ".join(self.service()["events"]))
        self.assertIn("web:2 is taken back: 3 of its instances failed", self.t.cli("events", "web"))
        self.up({"web": self.web(min=2, max=2, environment={"WHO": "three"})})
        self.complete(3)
        self.assertEqual(self.curl("/who").split()[0], "three")

    def test_a_revision_with_errors_is_taken_back(self):
        two = self.both({"strategy": "canary", "steps": [50], "wait": "1h"}, environment={"WHO": "two", "STATUS": "500"})
        self.up(two)
        self.until(lambda sv: any(d["primary"] and d.get("percent") == 50 for d in sv["deployments"]))
        for _ in range(60):
            subprocess.run(["curl", "-s", self.t.gateway + "/x"], capture_output=True, timeout=LIMIT_S, check=False)
        self.complete(1)
        self.assertIn("errors (5xx)", " ".join(self.service()["events"]))
        self.assertEqual(self.crowd(20, "/x")[0], ["200"] * 20)

    def test_promote_and_undo(self):
        two = self.both({"strategy": "canary", "steps": [10], "wait": "1h"})
        self.up(two)
        self.assertRegex(self.t.cli("rollout", "status", "web"), r"web:2 +new +IN_PROGRESS")
        self.t.cli("rollout", "undo", "web")
        self.complete(1)
        self.assertEqual(self.curl("/who").split()[0], "one")
        self.up(two)
        self.t.cli("rollout", "promote", "web")
        self.complete(2)
        self.assertEqual(self.curl("/who").split()[0], "two")
        self.t.cli("rollout", "undo", "web")
        self.t.cli("rollout", "promote", "web")
        self.complete(1)


class Survive(Case):
    def kill(self):
        before = tandem.daemon_of(self.t.process.pid)
        os.kill(before, signal.SIGKILL)
        tandem.wait_for(lambda: tandem.daemon_of(self.t.process.pid) not in (None, before), LIMIT_S)

    def test_a_crash_touches_no_instance(self):
        self.up({"web": self.web(min=2, max=2)})
        self.until(lambda sv: sv["instances"] == 2)
        first = {self.who() for _ in range(10)}
        stream = subprocess.Popen(["curl", "-s", "--limit-rate", "1M", "-o", "/dev/null", self.t.gateway + "/stream/100000"])
        self.until(lambda sv: sv["open"] == 1)
        self.kill()
        self.assertNotEqual(stream.wait(LIMIT_S), 0)  # the client hears of it
        self.until(lambda sv: sv and sv["instances"] == 2)
        self.assertEqual({self.who() for _ in range(10)}, first)

    def test_an_upgrade_is_not_noticed(self):
        self.up({"web": self.web(min=2, max=2), "lazy": self.web(route="/lazy", idle="100ms")})
        self.until(lambda sv: sv["instances"] == 2)
        first, before = {self.who() for _ in range(10)}, tandem.daemon_of(self.t.process.pid)
        load = recovery.Load(self.t.gateway, ["/who", "/who", "/lazy"])
        try:
            tandem.wait_for(lambda: load.ok > 100, LIMIT_S)
            os.kill(self.t.process.pid, signal.SIGHUP)
            tandem.wait_for(lambda: tandem.daemon_of(self.t.process.pid) not in (None, before), LIMIT_S)
            at = load.ok
            tandem.wait_for(lambda: load.ok > at + 100, LIMIT_S)
        finally:
            load.stop()
        self.assertEqual((load.refused, load.wrong, load.fresh_failed), (0, [], []))
        self.assertEqual({self.who() for _ in range(10)}, first)

    def test_in_the_middle_of_a_rollout(self):
        rollout = {"strategy": "canary", "steps": [50], "wait": "1h"}
        self.up({"web": self.web(min=1, environment={"WHO": "one"}, rollout=rollout)})
        self.up({"web": self.web(min=1, environment={"WHO": "two"}, rollout=rollout)})
        self.kill()
        self.until(lambda sv: sv and sv["instances"] == 2 and any(d.get("percent") == 50 for d in sv["deployments"]))
        self.assertEqual({self.curl("/who").split()[0] for _ in range(10)}, {"one", "two"})
        self.t.cli("rollout", "undo", "web")
        self.until(lambda sv: len(sv["deployments"]) == 1)
        self.assertEqual(self.curl("/who").split()[0], "one")

    def test_after_a_reboot(self):
        self.up({"web": self.web(min=1, route="/status/*"), "lazy": self.web(route="/lazy")})  # whoever starts a daemon asks for /readyz
        for status in (200, 200, 500):
            self.curl(f"/status/{status}", status=status)
        self.t.restart()
        cost = {s["key"]: s for s in json.loads(self.t.cli("cost", "-o", "json"))["sums"]}
        self.assertEqual((cost["service/web"]["invocations"], cost["service/web"]["errors"]), (3, 1))
        self.assertGreater(cost["service/web"]["idle_ms"], 0)  # its task ended
        self.assertEqual(self.curl("/status/200"), "status")
        self.assertEqual(self.curl("/lazy"), "GET /lazy")


class Ports(Case):
    def test_a_used_service_is_on_loopback_and_woken(self):
        self.up({"db": self.web(route=None, idle="100ms", environment={"WHO": "db"}), "web": self.web(min=1, uses=["db:5432", "late"])})
        tandem.wait_for(lambda: self.service("db")["instances"] == 0, LIMIT_S)
        self.assertRegex(self.curl("/get/5432"), "^db ")
        Survive.kill(self)
        self.assertRegex(self.curl("/get/5432"), "^db ")
        self.curl("/get/5433", status=502)
        self.curl("/get/8081", status=502)
        self.up({"db": self.web(route=None, idle="100ms", environment={"WHO": "db"}), "web": self.web(min=1, uses=["db:5432", "late"]),
                 "late": self.web(route=None, port=8081, environment={"WHO": "late", "PORT": "8081"})})
        tandem.wait_for(lambda: self.curl_code("/get/8081") == "200", LIMIT_S)
        self.assertRegex(self.curl("/get/8081"), "^late ")

    def test_what_it_uses_takes_no_port_of_its_own(self):
        self.up({"db": self.web(route=None), "web": self.web(min=1, uses=["db", "web"])})
        self.assertEqual(self.curl("/hello"), "GET /hello")
        self.assertEqual(sum("where it listens itself" in e for e in self.service()["events"]), 2, self.service())

    def free_port(self):
        """One that the kernel gives to nobody by itself."""
        while True:
            port = random.randrange(10000, 30000)
            with socket.socket() as s:
                try:
                    s.bind(("127.0.0.1", port))
                    return port
                except OSError:
                    pass

    def test_a_port_of_the_host(self):
        port = self.free_port()
        self.up({"web": self.web(idle="100ms", route=None, ports=[f"127.0.0.1:{port}:8080"])})
        for _ in range(2):
            self.until(lambda sv: sv and sv["instances"] == 0 and "ports_not_open" not in sv)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/hello", timeout=LIMIT_S) as answer:
                self.assertEqual(answer.read(), b"GET /hello")
            Survive.kill(self)
        self.up({})

        def closed():
            try:
                socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S).close()
                return False
            except ConnectionRefusedError:
                return True
        tandem.wait_for(closed, LIMIT_S)


class Health(Case):
    def test_not_well_at_first(self):
        """One that listens and says 500 gets no request, and its revision is taken back."""
        health = {"http": "/well", "interval": "1s", "retries": 1}
        self.up({"web": self.web(min=1, health=health, environment={"WHO": "one"})})
        done = self.up({"web": self.web(min=1, health=health, environment={"WHO": "two", "STATUS": "500"})}, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("health check", done.stdout)
        self.until(lambda sv: len(sv["deployments"]) == 1 and sv["deployments"][0]["definition"] == "web:1")
        self.assertEqual(self.curl("/who").split()[0], "one")

    def test_of_one_that_is_not_essential(self):
        """What the platform looks at there is for people: the service serves without it."""
        side = {"image": "localhost/server:v1", "environment": {"PORT": "9090", "STATUS": "500"}, "essential": False,
                "health": {"http": "/well", "port": 9090, "interval": "1s"}}
        self.up({"web": self.web(min=1, containers={"side": side})})
        self.assertEqual(self.curl("/hello"), "GET /hello")

    def test_not_well_later(self):
        self.up({"web": self.web(min=2, max=2, health={"http": "/well", "interval": "1s", "retries": 3})})
        self.until(lambda sv: sv["instances"] == 2)
        first = {self.who() for _ in range(10)}
        ill = self.curl("/ill").split()[1]
        self.until(lambda sv: any("health check fails" in e for e in sv["events"]) and sv["instances"] == 2)
        now = {self.who() for _ in range(10)}
        self.assertNotIn(ill, now)
        self.assertEqual(len(first & now), 1)


if __name__ == "__main__":
    unittest.main()
