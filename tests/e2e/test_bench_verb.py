#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Copies of workloads for those who measure them, and the verbs that do: bench and tune. Structure, not speed."""
import html.parser
import http.client
import json
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
from xml.etree import ElementTree

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import oci  # noqa: E402
import tandem  # noqa: E402

LIMIT_S = 60 * tandem.SLOW
CODE = """
import os
import time

def handler(event, context):
    time.sleep(event.get("sleep_s", 0))
    if event.get("wait"):
        wait_while_held()
    if event.get("fail"):
        raise ValueError("as asked for &<>")
    return {"memory": context.memory_limit_in_mb, "name": context.function_name, "colour": os.environ.get("COLOUR")}
"""


class Copy:
    """The request that a copy lives as long as."""

    def __init__(self, t, **what):
        self.connection = http.client.HTTPConnection("localhost")
        self.connection.sock = socket.socket(socket.AF_UNIX)
        self.connection.sock.settimeout(LIMIT_S)
        self.connection.sock.connect(f"{t.state}/admin.sock")
        self.connection.request("POST", "/v1/copies", json.dumps(what))
        self.answer = self.connection.getresponse()
        self.said = json.loads(self.answer.readline() if self.answer.status == 200 else self.answer.read())
        self.name = self.said.get("name")

    def close(self):
        self.connection.close()
        self.answer.close()


class Case(unittest.TestCase):
    def setUp(self):
        self.t = tandem.Tandem()
        self.t.__enter__()
        self.addCleanup(lambda: self.t.close(failed=bool(self._outcome and getattr(self._outcome, "success", True) is False)))
        self.dir = tempfile.mkdtemp(prefix="tandem-be-")
        self.addCleanup(shutil.rmtree, self.dir)

    def up(self, services=None, **functions):
        os.makedirs(self.dir + "/code", exist_ok=True)
        with open(self.dir + "/code/app.py", "w", encoding="ascii") as f:
            f.write(tandem.WAIT_WHILE_HELD + CODE)
        base = {"code": "code", "runtime": "python3.11", "handler": "app.handler", "memory": 256, "timeout": "5m",
                "environment": {"COLOUR": "blue"}}
        whole = {"name": "shop", "functions": {name: {**base, **more} for name, more in functions.items()}}
        with open(self.dir + "/tandem.yaml", "w", encoding="ascii") as f:
            json.dump({**whole, "services": services} if services else whole, f)
        self.t.cli("up", "-f", self.dir + "/tandem.yaml")

    def names(self):
        """Whatever is there."""
        all_ = json.loads(self.t.cli("ls", "-o", "json"))
        return sorted(x["name"] for kind in ("functions", "services") for x in all_[kind])

    def copies_gone(self, *left):
        tandem.wait_for(lambda: self.names() == sorted(left), LIMIT_S, lambda: (self.names(), left))

    def copy(self, **what):
        c = Copy(self.t, **what)
        self.addCleanup(c.close)
        return c

    def invoke(self, name, event="{}"):
        status, body = self.t.admin("POST", f"/v1/functions/{name}/invoke", event)
        return status, json.loads(body)

    def server(self):
        program = self.dir + "/server"
        subprocess.run(["gcc", "-O1", "-static", "-pthread", "-o", program, os.path.join(tandem.ROOT, "tests/e2e/server.c")], check=True)
        with open(program, "rb") as f:
            image = oci.Image(oci.layer({"server": f.read(), "tmp": {"type": b"5", "mode": 0o1777}}), config={"Entrypoint": ["/server"]})
        self.t.cli("pull", "oci:" + image.layout(self.dir + "/box", "v1") + ":v1", "--tag", "localhost/server:v1")
        web = {"image": "localhost/server:v1", "port": 8080, "route": "/*", "memory": 64, "min": 1}
        self.up({"web": web, "base": {**web, "route": "/base", "volumes": ["data:/data"]}, "plain": {k: v for k, v in web.items() if k != "route"}})


class Copies(Case):
    def test_function(self):
        self.up(iris={"route": "/iris", "min": 1})
        c = self.copy(of="shop/iris", memory=512, cpu=0.5)
        self.assertEqual((c.answer.status, c.said["event"], c.said["kind"]), (200, "ready", "function"), c.said)
        self.assertRegex(c.name, "^bench-[0-9a-f]{8}$")
        self.assertEqual(json.loads(self.invoke(c.name)[1]["body"]), {"memory": "512", "name": c.name, "colour": "blue"})
        about = json.loads(self.t.cli("describe", c.name, "-o", "json"))
        self.assertEqual((about["project"], about["min"], about["cpu"], about.get("route")), ("bench", 0, 0.5, None))
        self.assertEqual(self.names(), [c.name, "iris"])
        c.close()
        self.copies_gone("iris")
        self.assertEqual(json.loads(self.invoke("iris")[1]["body"])["memory"], "256")

    def test_refused(self):
        self.up(iris={})
        for what, status, words in (({"of": "nobody"}, 404, "tandem ls"), ({"of": "other/iris"}, 404, "other/iris"),
                                    ({"of": "iris", "memory": 64}, 400, "from 128 to 10240"), ({"of": "iris", "cpu": 0}, 400, "0.01 to 64"),
                                    ({"of": "iris", "min": "many"}, 400, "min"), ({"memory": 128}, 400, "of"), ({"of": "iris", "memory": 1e18}, 400, "memory")):
            with self.subTest(what=what):
                c = self.copy(**what)
                self.assertEqual(c.answer.status, status, c.said)
                self.assertIn(words, c.said["error"])
        self.assertEqual(self.names(), ["iris"])

    def test_fails(self):
        """For the drill of what is tried again and again: a copy that cannot be started is there all the same."""
        self.up(iris={})
        c = self.copy(of="iris", fails=True)
        self.assertEqual(c.said["event"], "ready", c.said)
        self.assertEqual(self.invoke(c.name)[1]["outcome"], "init_failed")

    def test_crash(self):
        """Who was killed, or lost the daemon, leaves none behind."""
        self.up(iris={})
        c = self.copy(of="iris")
        os.kill(tandem.daemon_of(self.t.process.pid), signal.SIGKILL)
        self.assertRaises(http.client.IncompleteRead, c.answer.read)
        tandem.wait_for(self.answers, LIMIT_S)
        self.copies_gone("iris")

    def answers(self):
        try:
            return self.t.admin("GET", "/v1/version")[0] == 200
        except OSError:
            return False

    def test_service(self):
        self.server()
        c = self.copy(of="web", memory=128)
        self.assertEqual((c.said["event"], c.said["kind"]), ("ready", "service"), c.said)
        copy = [s for s in json.loads(self.t.cli("ls", "-o", "json"))["services"] if s["name"] == c.name][0]
        self.assertEqual((copy["project"], copy["route"]), ("bench", "/.tandem/copy/" + c.name))
        task = [k for k in json.loads(self.t.cli("ps", "-o", "json"))["tasks"] if c.name in k["group"]][0]
        self.assertEqual(task["memory_mb"], 128, task)
        who = subprocess.run(["curl", "-sS", "--unix-socket", self.t.state + "/admin.sock", "-H", "Tandem-Copy: " + c.name, "http://x/who"],
                             capture_output=True, text=True, timeout=LIMIT_S, check=True).stdout
        other = subprocess.run(["curl", "-sS", self.t.gateway + "/who"], capture_output=True, text=True, timeout=LIMIT_S, check=True).stdout
        self.assertNotEqual(who.split()[1], other.split()[1])
        refused = self.copy(of="base")
        self.assertEqual((refused.answer.status, "data" in refused.said["error"]), (400, True), refused.said)
        c.close()
        self.copies_gone("base", "plain", "web")
        tandem.wait_for(lambda: c.name not in self.t.cli("ps", "-o", "json") + self.t.admin("GET", "/v1/top")[1].decode())



class Page(html.parser.HTMLParser):
    """What a browser would make of it; ElementTree says whether it is well-formed."""

    def __init__(self, path):
        super().__init__()
        with open(path, encoding="utf-8") as f:
            self.text = f.read()
        self.tree = ElementTree.fromstring(self.text.split("\n", 1)[1])
        self.links, self.tags = [], []
        self.feed(self.text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "data", "action") or "url(" in (v or "")]

    def texts(self, tag):
        return ["".join(x.itertext()) for x in self.tree.iter(tag)]


QUICK = ("--duration", "60ms", "--starts", "3", "--burst", "4")


class Bench(Case):
    def bench(self, *arguments):
        return json.loads(self.t.cli("bench", *arguments, *QUICK, "-o", "json"))

    def figures(self, column):
        return {(x["phase"], x["name"]): x for x in column["figures"]}

    def test_function(self):
        self.up(iris={})
        page = self.dir + "/page.html"
        said = self.bench("shop/iris", "--rate", "1000", "--html", page)
        self.assertIn("no call stands in the ledger", self.run_("simulate", "ledger").stderr, "nobody needed those of bench")
        self.assertEqual((said["workload"], said["kind"], [c["name"] for c in said["columns"]]), ("shop/iris", "function", ["function", "container"]))
        for column in said["columns"]:
            self.assertNotIn("cannot", column)
            figures = self.figures(column)
            for phase, name in (("start-up", "p50"), ("start-up", "p99"), ("start-up", "sandbox"), ("warm", "p95"), ("warm", "CPU time of a call"),
                                ("steady", "most answers"), ("at the rate", "p99"), ("burst", "all answered after"),
                                ("instance killed", "answers again after, p50"), ("idle", "memory"), ("idle", "cost here"), ("idle", "cost at AWS (Lambda, Fargate)")):
                x = figures[phase, name]
                self.assertTrue(x["low"] <= x["value"] <= x["high"] and x["n"] > 0, x)
            self.assertEqual([figures[phase, "errors"]["value"] for phase in ("warm", "steady", "at the rate", "burst")], [0] * 4)
            self.assertEqual((figures["start-up", "p50"]["n"], figures["burst", "errors"]["n"]), (3, 12))
        self.assertIn("break-even", said["about"])
        self.assertEqual(self.names(), ["iris"])
        rows = json.loads(self.t.cli("cost", "--by", "rows", "--workload", "shop/iris", "-o", "json"))["rows"]
        self.assertEqual([r for r in rows if r["request_id"]], [])  # it was left alone
        got = Page(page)
        self.assertEqual(got.texts("h2"), ["Starting from zero", "Warm latency", "Throughput", "A burst from zero", "Cost over rate"])
        self.assertEqual((len(list(got.tree.iter("svg"))), got.links, "script" in got.tags), (5, [], False))
        for svg in got.tree.iter("svg"):
            self.assertTrue({"function", "container"} <= {x.text for x in svg.iter("text")})
            self.assertTrue(all(x.get("d") and "nan" not in x.get("d") for x in svg.iter("path")))
        self.assertEqual(len(got.texts("figcaption")), 5)

    def advise(self, name, needs):
        path = self.dir + "/needs.yaml"
        with open(path, "w", encoding="ascii") as f:
            f.write(needs)
        return json.loads(self.t.cli("advise", name, "--declare", path, "-o", "json"))["workloads"][0]

    def test_settles(self):
        """What advise says that bench settles, bench settles: for this code and size, as long as the workload is there."""
        needs = "iris: {rate: 1/s, duration: 10ms..10.1ms, cpu_time: 5ms..5.1ms, start: 100ms..101ms, concurrency: 8, seat_memory: 0.1MB..0.11MB}\n"
        self.up(iris={})
        self.t.cli("invoke", "iris")
        tandem.wait_for(lambda: self.advise("iris", needs)["facts"]["memory"]["origin"] == "measured", LIMIT_S)
        before = self.advise("iris", needs)
        self.assertEqual((before["riskiest"], before["facts"]["container_memory"]["origin"], before["bench"]), ("container_memory", "assumed", None))
        self.assertIn("tandem bench iris --only warm", before["risk"])
        self.t.cli("bench", "iris", "--only", "warm", *QUICK)
        self.t.cli("bench", "iris", "--only", "start", *QUICK)  # adds to it
        self.t.restart()
        after = self.advise("iris", needs)
        self.assertEqual(after["facts"]["container_memory"]["origin"], "measured")
        self.assertIn("measured by bench at 2", after["bench"])
        self.assertNotIn("bench", after["risk"])
        self.assertEqual(self.advise("iris", "iris: {rate: 1/s}")["facts"]["start"]["origin"], "measured")
        self.up(iris={"memory": 128})
        other = self.advise("iris", needs)
        self.assertIn("counts no more", other["bench"])
        self.assertEqual(other["facts"]["container_memory"]["origin"], "assumed")
        self.t.cli("down", "-f", self.dir + "/tandem.yaml")
        self.up(iris={})
        self.assertIsNone(self.advise("iris", needs)["bench"])

    def test_settles_refused(self):
        self.up(iris={})
        of = self.measured("GET", "iris")[1]["measures"]
        for facts in ({"held": {"value": 2, "low": 3, "high": 4}}, {"held": {"value": 1, "low": -1, "high": 4}}, {"held": {"value": 1, "low": 1, "high": 1e300}},
                      {"held": 1}, {"held": {"value": "1", "low": 1, "high": 1}}):
            self.assertIn("held is {value, low, high}", self.measured("PUT", "iris", {"of": of, "facts": facts})[1]["error"])
        self.assertEqual([self.measured("PUT", "iris", body)[0] for body in ({}, [], {"of": of}, {"of": of, "facts": []})], [400] * 4)
        self.assertEqual(self.measured("PUT", "iris", {"of": "other", "facts": {"held": {"value": 1, "low": 1, "high": 1}}})[0], 409)
        self.assertEqual(self.measured("PUT", "nobody", {"of": of, "facts": {"held": {"value": 1, "low": 1, "high": 1}}})[0], 404)
        self.assertNotIn("measured", self.measured("GET", "iris")[1])

    def measured(self, method, name, body=None):
        status, text = self.t.admin(method, "/v1/measured/" + name, None if body is None else json.dumps(body))
        return status, json.loads(text)

    def test_service(self):
        self.server()
        said = self.bench("web", "--path", "/who", "--only", "start,warm,burst,idle")
        self.assertEqual((said["kind"], [c["name"] for c in said["columns"]]), ("service", ["function", "container"]))
        for column in said["columns"]:
            self.assertNotIn("cannot", column)
            figures = self.figures(column)
            self.assertEqual([figures[phase, "errors"]["value"] for phase in ("warm", "burst")], [0, 0])
            self.assertEqual(figures["start-up", "p50"]["n"], 3)
            self.assertEqual(figures["idle", "memory"]["value"] > 0, column["name"] == "container")
        said = self.bench("plain", "--path", "/who", "--only", "warm")
        self.assertIn("no route", said["columns"][0]["cannot"])
        self.assertNotIn("cannot", said["columns"][1])
        self.copies_gone("base", "plain", "web")

    def test_table(self):
        self.up(iris={})
        text = self.t.cli("bench", "iris", "--lanes", "function", "--only", "start,warm", *QUICK)
        self.assertRegex(text, r"(?m)^start-up +p95 +ms +\d")
        self.assertNotIn("burst", text)
        self.assertNotIn("\033", text)

    def test_escaped(self):
        """What a function says of its failure is text on the page as well."""
        self.up(iris={"environment": {"COLOUR": "<b>"}})
        page = self.dir + "/page.html"
        done = self.run_("bench", "iris", "--payload", '{"fail": "<script>"}', "--html", page, *QUICK)
        self.assertEqual(done.returncode, 1)
        self.assertIn("the first call failed: ValueError: as asked for &<>", done.stdout)
        self.assertIn("the first call failed: ValueError: as asked for &<>", Page(page).texts("dd")[0])
        self.assertEqual(self.names(), ["iris"])

    def run_(self, *arguments):
        return subprocess.run([tandem.PROGRAM, "--state", self.t.state, *arguments], capture_output=True, text=True, timeout=LIMIT_S, check=False,
                              stdin=subprocess.DEVNULL)

    def test_wrong(self):
        self.up(iris={})
        for arguments, code, words in ((("nobody",), 1, 'no function and no service "nobody"'), (("iris", "--only", "warmth"), 2, "warmth"),
                                       (("iris", "--lanes", "vm"), 2, "--lanes"),
                                       (("iris", "--lanes", "function,vm"), 2, "--lanes"), (("other/iris",), 1, '"other/iris"'), (("iris", "--burst", "0"), 2, "--burst"),
                                       (("iris", "--path", "x y"), 2, "--path"), (("iris", "--payload", "@/nowhere"), 1, "/nowhere")):
            with self.subTest(arguments=arguments):
                done = self.run_("bench", *arguments)
                self.assertEqual(done.returncode, code, done)
                self.assertIn(words, done.stdout + done.stderr)

    def test_left_nothing(self):
        """Interrupted and killed in the middle."""
        self.up(iris={})
        for how in (signal.SIGINT, signal.SIGKILL):
            p = subprocess.Popen([tandem.PROGRAM, "--state", self.t.state, "bench", "iris", "--only", "steady", "--duration", "1h"],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            self.addCleanup(p.kill)
            tandem.wait_for(lambda: len(self.names()) == 2, LIMIT_S)
            p.send_signal(how)
            self.assertEqual(p.wait(LIMIT_S), -how)
            self.copies_gone("iris")

    def test_interrupted_in_a_call(self):
        """The call under way ends with the copy, and what the shell says next begins a line."""
        self.up(iris={})
        self.addCleanup(tandem.held(self.t))
        running = lambda: [i for i in json.loads(self.t.cli("ps", "-o", "json"))["instances"] if i["state"] == "busy"]
        for lane in ("function", "container"):
            with self.subTest(lane=lane):
                ours, its = pty.openpty()
                self.addCleanup(os.close, ours)
                p = subprocess.Popen([tandem.PROGRAM, "--state", self.t.state, "bench", "iris", "--lanes", lane, "--payload", '{"wait": true}'],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=its)
                self.addCleanup(p.kill)
                os.close(its)
                tandem.wait_for(lambda: any(i["lane"] == lane for i in running()), LIMIT_S, running)  # pylint: disable=cell-var-from-loop
                p.send_signal(signal.SIGINT)
                self.assertEqual(p.wait(LIMIT_S), -signal.SIGINT)
                said = b""
                while select.select([ours], [], [], LIMIT_S)[0]:
                    try:
                        said += os.read(ours, 4096)
                    except OSError:  # nobody has it open any more
                        break
                self.assertRegex(said.decode(), r"making a copy\r\n$")
                tandem.wait_for(lambda: not running(), LIMIT_S, running)

    def test_slow(self):
        """Who would wait for long is told so before: two seconds, of which there are 50 and more."""
        self.up(slow={})
        p = subprocess.Popen([tandem.PROGRAM, "--state", self.t.state, "bench", "slow", "--only", "warm", "--lanes", "function", "--payload", '{"sleep_s": 2}'],
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.addCleanup(p.stderr.close)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        self.assertRegex(p.stderr.readline(), r"^function: a call takes [\d.]+ s, all of this \d+ s at least\n$")


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Drills(Case):
    def test_quota(self):
        self.up(iris={})
        said = json.loads(self.t.cli("bench", "iris", "--only", "quota", "-o", "json"))
        for column in said["columns"]:
            figures = {(x["phase"], x["name"]): x["value"] for x in column["figures"]}
            self.assertEqual((figures["20 calls, max: 1", "answered"], figures["20 calls, max: 1", "refused"]), (20, 0))
            phase = "20 calls, reserved concurrency 1"
            self.assertEqual(figures[phase, "answered"] + figures[phase, "refused"], 20)
            self.assertGreaterEqual(figures[phase, "answered"], 1)

    def test_daemon(self):
        """It is killed while the workload itself is called; what is under way for others speaks against it."""
        self.up(iris={}, other={})
        before = tandem.daemon_of(self.t.process.pid)
        done = subprocess.run([tandem.PROGRAM, "--state", self.t.state, "bench", "iris", "--only", "daemon", "--lanes", "function", "-o", "json"],
                              capture_output=True, text=True, timeout=LIMIT_S, check=False, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 0, done)
        self.assertIn("will be killed 3 times", done.stderr)
        figures = {x["name"]: x for x in json.loads(done.stdout)["columns"][0]["figures"]}
        self.assertEqual(figures["answers again after, p50"]["n"], 3)
        self.assertNotEqual(tandem.daemon_of(self.t.process.pid), before)
        self.copies_gone("iris", "other")

    def test_daemon_refused(self):
        self.up(iris={}, other={"timeout": "1m"})
        go_on = tandem.held(self.t)
        self.addCleanup(go_on)
        call = subprocess.Popen([tandem.PROGRAM, "--state", self.t.state, "invoke", "other", "--payload", '{"wait": true}'], stdout=subprocess.DEVNULL)
        self.addCleanup(call.wait)
        self.addCleanup(call.kill)
        tandem.wait_for(lambda: any(f["busy"] for f in json.loads(self.t.cli("ls", "-o", "json"))["functions"]), LIMIT_S)
        done = subprocess.run([tandem.PROGRAM, "--state", self.t.state, "bench", "iris", "--only", "daemon"], capture_output=True, text=True,
                              timeout=LIMIT_S, check=False, stdin=subprocess.DEVNULL)
        self.assertEqual((done.returncode, "others have calls under way" in done.stderr), (1, True), done)

    def tries(self):
        """Of the failing copy's events; -1: it is not there yet."""
        sums = json.loads(self.t.cli("cost", "-o", "json"))["sums"]
        return max((s["errors"] for s in sums if s["key"].startswith("bench/")), default=-1)

    def test_retry(self):
        self.up(iris={})
        p = subprocess.Popen([tandem.PROGRAM, "--state", self.t.state, "bench", "iris", "--only", "retry", "--lanes", "function", "--duration", "100ms",
                              "-o", "json"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        self.addCleanup(p.kill)
        self.addCleanup(p.stdout.close)
        for tries, minutes in ((5, 1), (10, 2)):
            tandem.wait_for(lambda: self.tries() == tries, LIMIT_S, self.tries)  # pylint: disable=cell-var-from-loop
            self.t.clock(step_us=minutes * 61000000)
        said = json.loads(p.communicate(timeout=LIMIT_S)[0])
        figures = {x["name"]: x["value"] for x in said["columns"][0]["figures"]}
        self.assertEqual(figures["tries of an event"], 3, said)
        self.assertGreater(figures["cost of an event"], 0)
        self.copies_gone("iris")


class Tune(Case):
    def test_sizes(self):
        self.up(iris={"memory": 512})
        page = self.dir + "/page.html"
        said = json.loads(self.t.cli("tune", "iris", "--memory", "64,128,256", "-n", "5", "--html", page, "-o", "json"))
        small, *rest = said["columns"]
        self.assertIn("from 128 to 10240", small["cannot"])
        for column, mb in zip(rest, (128, 256)):
            figures = {(x["phase"], x["name"]): x["value"] for x in column["figures"]}
            self.assertEqual(column["name"], f"{mb} MB")
            self.assertGreater(figures["a million calls", "here"], 0)
            # Never below a millisecond of that memory, and a million requests.
            self.assertGreater(figures["a million calls", "at AWS Lambda"], 0.2 + 1e6 * 0.001 * mb / 1024 * 1.6e-5)
        for way in ("cheapest", "fastest", "balanced"):
            self.assertRegex(said["about"][way], r"^memory: (128, cpu: 0\.07|256, cpu: 0\.14) ")
        self.assertEqual(Page(page).texts("h2"), ["Starting from zero", "Warm latency", "Duration over memory", "Cost over memory"])
        self.assertEqual(self.names(), ["iris"])

    def test_bars(self):
        self.up(iris={})
        text = self.t.cli("tune", "iris", "--memory", "128,256", "-n", "3", "--no-quota")
        self.assertRegex(text, r"(?m)^ +256 MB +#+ +[\d.]+ ms +=+ +[\d.]+ USD$")
        self.assertRegex(text, r"(?m)^fastest: memory: (128|256)  \(")

    def test_wrong(self):
        self.up(iris={})
        for arguments, code, words in ((("nobody",), 1, "nobody"), (("iris", "--memory", "256,128"), 2, "rising"), (("iris", "--memory", "1,2"), 2, "MB"),
                                       (("iris", "-n", "0"), 2, "--calls")):
            with self.subTest(arguments=arguments):
                done = subprocess.run([tandem.PROGRAM, "--state", self.t.state, "tune", *arguments], capture_output=True, text=True, timeout=LIMIT_S, check=False)
                self.assertEqual(done.returncode, code, done)
                self.assertIn(words, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
