#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The lanes of services, and workloads that move between lanes by themselves."""
import json
import os
import subprocess
import sys
import threading
import unittest
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tandem  # noqa: E402
import test_services as services  # noqa: E402

LIMIT_S = services.LIMIT_S
HOUR_US = 3600 * 1000000


def clock(t, **what):
    """Once nothing starts or ends any more: that has a limit too."""
    def moving():
        web = json.loads(t.admin("GET", "/v1/services/web")[1])
        return [i["state"] for i in json.loads(t.cli("ps", "-o", "json"))["instances"] if i["state"] not in ("idle", "frozen")] or web.get("starting")
    tandem.wait_for(lambda: not moving(), LIMIT_S, moving)
    t.clock(**what)


class Services(services.Case):
    def hold(self):
        """A request that is open until the connection is closed."""
        host, port = self.t.gateway.removeprefix("http://").rsplit(":", 1)
        s = services.socket.create_connection((host, int(port)), timeout=LIMIT_S)
        self.addCleanup(s.close)
        s.sendall(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
        return s

    def test_function_lane(self):
        self.up({"web": self.web(lane="function")})
        clock(self.t, step_us=HOUR_US)
        self.until(lambda s: s["instances"] == 0, "it has shown that it works")
        self.assertEqual(self.service()["lane"], "function")
        open_ = []
        for n in range(1, 4):
            open_.append(self.hold())
            self.until(lambda s, n=n: s["open"] == n and s["instances"] == n, "one instance for each request")
        self.curl("/who")
        for s in open_:
            s.close()
        self.until(lambda s: s["open"] == 0)
        # After the first hour as many stay as were in use since one was not.
        self.until(lambda s: s["instances"] == 0 or clock(self.t, step_us=HOUR_US), "what nobody asks for goes")
        rows = json.loads(self.t.cli("cost", "--by", "rows", "--workload", "service/web", "-o", "json"))["rows"]
        self.assertEqual({(r["kind"], r["lane"]) for r in rows}, {("requests", "function"), ("task", "function")})

    def test_container_lane(self):
        self.up({"web": self.web(lane="container", min=0)})
        self.until(lambda s: s["instances"] == 1, "nobody asked for it")
        plan = json.loads(self.t.cli("up", "--dry-run", "-f", f"{self.dir}/tandem.yaml", "-o", "json"))
        self.assertEqual([(k["name"], k["instances"]) for k in plan["kept"]], [("web", 1)], "and it has a price")
        clock(self.t, step_us=HOUR_US)
        one = self.who()
        self.assertEqual(self.service()["lane"], "container")
        again = self.up({"web": self.web(lane="function")}).stdout
        self.assertIn("how it is served", again)
        self.assertEqual(self.who(), one)
        self.assertEqual(self.service()["lane"], "function")
        clock(self.t, step_us=HOUR_US)
        self.until(lambda s: s["instances"] == 0)
        self.t.restart()
        self.assertEqual(self.service()["lane"], "function")

    def test_refused(self):
        refused = {
            "it has no route": self.web(lane="function", route=None),
            "it has ports": self.web(lane="function", ports=["127.0.0.1:18080:8080"]),
            "lane: is one of function, container, auto": self.web(lane="serverless"),
            "it writes to the volume data, which several instances would share (max: 1?)": self.web(lane="function", volumes=["data:/data"]),
        }
        for why, service in refused.items():
            done = self.up({"web": service}, check=False)
            self.assertNotEqual(done.returncode, 0, why)
            self.assertIn(why, done.stdout + done.stderr)
        self.up({"web": self.web(lane="function", volumes=["data:/data"], max=1)})
        self.assertTrue(self.who())

    def test_moves(self):
        crossings(self, "service/web", "shop/web", self.up({"web": self.web(lane="auto")}) and self.service)


PROJECT = """\
name: shop
functions:
  f: {code: app, runtime: python3.11, handler: app.handler, timeout: 900s, route: /f, snapshot: "off", lane: auto}
"""
CODE = "def handler(event, context):\n    return 'done'\n"


class Functions(unittest.TestCase):
    def setUp(self):
        self.t = tandem.Tandem()
        self.addCleanup(self.t.close)
        self.t.start()

    def up(self, project):
        self.t.up({"app/app.py": CODE, "tandem.yaml": project})

    def about(self):
        return json.loads(self.t.admin("GET", "/v1/functions/f")[1])

    def test_moves(self):
        self.up(PROJECT)
        crossings(self, "shop/f", "shop/f", self.about)

    def test_restart(self):
        """In the container lane when the daemon was killed: it is there again, with its reason, and leaves it without a request."""
        self.up(PROJECT)
        with Load(self.t, "/f") as load:
            decide(self, "shop/f", load)
            before = step_until(self, load, 20, self.about, lambda a: a["lane"] == "container")
        self.t.stop()
        self.t.start()
        after = self.about()
        self.assertEqual((after["lane"], after["lane_why"]), ("container", before["lane_why"]))
        step_until(self, load, 3600, self.about, lambda a: a["lane"] == "function", requests=0)
        self.assertRegex(self.about()["lane_why"], "^0 requests/s, ")
        self.up(PROJECT.replace("lane: auto", "lane: container"))
        self.assertEqual(self.about().get("lane_why"), None)

    def test_dry(self):
        self.up(PROJECT.replace("lane: auto", "lane: auto-dry"))
        with Load(self.t, "/f") as load:
            decide(self, "shop/f", load)
            about = step_until(self, load, 20, self.about, lambda a: "auto would have it in the container lane" in a.get("lane_why", ""))
        self.assertEqual((about["lane"], load.bad), ("function", []))
        self.assertIn("would move to container", self.t.cli("events", "-n", "1000", "shop/f"))


class Example(unittest.TestCase):
    def test_moves(self):
        """examples/moves as its README has it, but for the clock."""
        with tandem.Tandem() as t:
            clock(t)
            tick = os.path.join(t.base, "tick")
            with open(tick, "w", encoding="ascii") as f:
                f.write(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r})\n"
                        f"import tandem, test_lane_auto as lane\nt = tandem.Tandem(state={t.state!r})\n"
                        "lane.clock(t, step_us=20000000)\n")
            os.chmod(tick, 0o755)
            done = subprocess.run(["sh", os.path.join(tandem.ROOT, "examples/moves/moves.sh")], capture_output=True, text=True, timeout=4 * LIMIT_S,
                                  check=False, env={**os.environ, "TANDEM": f"{tandem.PROGRAM} --state {t.state}", "ROUND": tick})
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertRegex(done.stdout, "moves to container: .* above the break-even of")
            self.assertRegex(done.stdout, "moves to function: ")


class Load:
    """Requests from four sides, each over a new connection, that pause where the clock is stepped: it ends what waits for too long."""

    def __init__(self, t, path):
        self.url, self.bad, self.done, self.over = t.gateway + path, [], 0, False
        self.may = threading.Condition()
        self.open, self.held = 0, True
        self.threads = [threading.Thread(target=self.run) for _ in range(4)]

    def run(self):
        while True:
            with self.may:
                self.may.wait_for(lambda: self.over or not self.held)
                if self.over:
                    return
                self.open += 1
            try:
                with urllib.request.urlopen(self.url, timeout=LIMIT_S) as answer:
                    answer.read()
            except OSError as e:
                self.bad.append((str(e), e.read() if hasattr(e, "read") else b""))
            with self.may:
                self.done += 1
                self.open -= 1
                self.may.notify_all()

    def hold(self):
        with self.may:
            self.held = True
            self.may.wait_for(lambda: not self.open)

    def some(self, n):
        """n more, at least; then none is open."""
        with self.may:
            end, self.held = self.done + n, False
            self.may.notify_all()
            self.may.wait_for(lambda: self.done >= end)
        self.hold()

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        with self.may:
            self.over = True
            self.may.notify_all()
        for t in self.threads:
            t.join()


def step_until(test, load, seconds, about, true, requests=60):
    """Windows of so many seconds, each with requests, until it is so."""
    def look():
        if requests:
            load.some(requests)
        clock(test.t, step_us=seconds * 1000000)
        is_ = about()
        return is_ if true(is_) else None
    return tandem.wait_for(look, LIMIT_S, about)


def decide(test, subject, load):
    """A request in ten seconds is its break-even, from when it has been seen: far from what comes, however slowly that is."""
    load.some(30)
    tandem.wait_for(lambda: test.t.admin("POST", f"/v1/debug/lane?subject={subject}&an_hour=360")[0] == 200
                    or clock(test.t, step_us=10000000), LIMIT_S)


def crossings(test, subject, name, about):
    """Load that crosses the break-even twenty times: no error, and no move more than that."""
    with Load(test.t, "/f" if "f" in name.split("/")[1] else "/who") as load:
        decide(test, subject, load)
        for _ in range(10):
            is_ = step_until(test, load, 20, about, lambda a: a["lane"] == "container")
            test.assertRegex(is_["lane_why"], r"requests/s, above the break-even of 0.1 \(.*\); function would cost .* times as much")
            is_ = step_until(test, load, 3600, about, lambda a: a["lane"] == "function", requests=0)
            test.assertIn("below the break-even", is_["lane_why"])
            clock(test.t, step_us=9 * HOUR_US)  # what it moved is forgotten
        test.assertEqual(load.bad, [])
    events = [e for e in test.t.cli("events", "-n", "1000", name).splitlines() if "moves to" in e]
    test.assertEqual(len(events), 20, events)
    why = test.t.cli("why", name.split("/")[1])
    test.assertIn("below the break-even", why)


if __name__ == "__main__":
    unittest.main()
