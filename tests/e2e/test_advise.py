# SPDX-License-Identifier: Apache-2.0
"""The advisor on what ran: its facts are those of the rows, what a declaration says goes before them, and a recorded day of many functions."""
import json
import os
import tempfile
import time
import unittest

import tandem

MANIFEST = """\
# SPDX-License-Identifier: Apache-2.0
name: shop
functions:
  add:
    code: .
    runtime: python3.11
    handler: app.add
    memory: 256
  broken:
    code: .
    runtime: python3.11
    handler: app.add
    memory: 128
  once:
    code: .
    runtime: python3.11
    handler: app.add
    memory: 128
  never:
    code: .
    runtime: python3.11
    handler: app.add
    memory: 128
  kept:
    code: .
    runtime: python3.11
    handler: app.add
    memory: 256
    lane: container
    concurrency: 3
"""
LATE = """\
# SPDX-License-Identifier: Apache-2.0
name: shop-late
functions:
  late:
    code: .
    runtime: python3.11
    handler: app.add
    memory: 128
"""
CALLS = 12


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Advise(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = cls.enterClassContext(tandem.Tandem())
        cls.up(MANIFEST)
        for i in range(CALLS):
            cls.t.cli("invoke", "add", "--payload", json.dumps({"a": i}))
        tandem.wait_for(lambda: len(cls.rows(cls)) == CALLS)

    @classmethod
    def up(cls, manifest):
        app = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="tandem-e2e-advise-"))
        for name, text in (("tandem.yaml", manifest), ("app.py", "def add(event, context):\n    return event['a'] + 1\n")):
            with open(f"{app}/{name}", "w", encoding="utf-8") as f:
                f.write(text)
        cls.t.cli("up", cwd=app)

    def rows(self):
        answer = json.loads(self.t.cli("cost", "--by", "rows", "--workload", "shop/add", "-o", "json"))
        return [r for r in answer["rows"] if r["kind"] == "invoke"]

    def advise(self, *args, **kw):
        answer = json.loads(self.t.cli("advise", *args, "-o", "json", **kw))
        return {w["name"]: w for w in answer["workloads"]}

    def declared(self, text):
        path = os.path.join(self.enterContext(tempfile.TemporaryDirectory()), "d.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def test_its_facts_are_those_of_the_rows(self):
        said = self.advise()
        facts, rows = said["add"]["facts"], self.rows()
        self.assertEqual(said["add"]["calls"], CALLS)
        for fact, key in (("duration", "handler_us"), ("cpu_time", "cpu_us")):
            mean = sum(r[key] for r in rows) / CALLS / 1e6
            self.assertAlmostEqual(facts[fact]["value"], mean, delta=mean * 1e-6, msg=fact)
            self.assertEqual(facts[fact]["origin"], "measured")
            self.assertTrue(facts[fact]["low"] <= facts[fact]["value"] <= facts[fact]["high"])
        self.assertAlmostEqual(facts["longest"]["value"], max(r["handler_us"] for r in rows) / 1e6)
        self.assertEqual(facts["rate"]["origin"], "measured")
        self.assertEqual(facts["gpu"]["origin"], "assumed")
        self.assertIn(said["add"]["lane"], ("function", "container"))
        self.assertEqual(set(said["add"]["places"]), {"here", "aws", "aws-ec2", "gcp", "azure"})
        self.assertEqual((said["never"]["calls"], said["never"]["facts"]["memory"]["origin"]), (0, "declared"))
        self.assertEqual((said["never"]["lane"], said["never"]["facts"]["rate"]["value"], said["never"]["facts"]["rate"]["origin"]),
                         ("function", 0, "measured"), "nobody called it, and that is known")

    def test_one_call_is_not_none(self):
        self.t.cli("invoke", "once", "--payload", '{"a": 1}')
        tandem.wait_for(lambda: self.advise("once")["once"]["calls"] == 1)
        said = self.advise("once")["once"]
        rate = said["facts"]["rate"]
        self.assertEqual(rate["origin"], "measured")
        self.assertTrue(0 < rate["low"] < rate["value"] < rate["high"], rate)
        self.assertIn("once (1 call in ", self.t.cli("advise", "once"))

    def test_what_was_made_just_now_was_not_idle_before(self):
        before = time.time()
        self.up(LATE)
        high = self.advise("late")["late"]["facts"]["rate"]["high"]
        self.assertGreaterEqual(high * (time.time() - before), 3, "it was seen for no longer than it is there")

    def test_what_failed_says_nothing_but_how_often(self):
        for n in (1, 2):
            self.t.admin("POST", "/v1/functions/broken/invoke", "{}")
            tandem.wait_for(lambda: self.advise("broken")["broken"]["calls"] == n)  # pylint: disable=cell-var-from-loop
        said = self.advise("broken")["broken"]
        self.assertEqual((said["failed"], said["lane"]), (2, None))
        says = "every one of its last 2 calls failed: repair it, then ask again"
        self.assertEqual((said["why"], self.t.cli("advise", "broken")), (says, f"broken\n  {says}\n"))
        self.t.cli("invoke", "broken", "--payload", '{"a": 1}')
        tandem.wait_for(lambda: self.advise("broken")["broken"]["calls"] == 3)
        said = self.advise("broken")["broken"]
        rows = json.loads(self.t.cli("cost", "--by", "rows", "--workload", "shop/broken", "-o", "json"))["rows"]
        good = [r["handler_us"] / 1e6 for r in rows if r["kind"] == "invoke" and r["outcome"] == "ok"]
        self.assertEqual((said["failed"], len(good)), (2, 1))
        self.assertAlmostEqual(said["facts"]["duration"]["value"], good[0])
        self.assertIn("; 2 failed, of which only the rate counts)", self.t.cli("advise", "broken"))

    def test_what_is_said_goes_first(self):
        needs = self.declared("add: {devices: [/dev/video0], duration: 3s}\n")
        said = self.advise("add", "--declare", needs)
        self.assertEqual(list(said), ["add"])
        self.assertEqual(said["add"]["lane"], "container")
        self.assertEqual(said["add"]["facts"]["duration"]["origin"], "declared")
        self.assertEqual(said["add"]["facts"]["rate"]["origin"], "measured")
        self.assertEqual(self.advise("shop/add")["add"]["facts"]["memory"]["origin"], "measured")
        with self.assertRaisesRegex(AssertionError, 'there is no "nobody" here'):
            self.t.cli("advise", "nobody")
        with self.assertRaisesRegex(AssertionError, "says nothing of what is asked for; it is of add"):
            self.t.cli("advise", "kept", "--declare", needs)

    def test_what_is_kept_holds_what_its_instance_does(self):
        self.t.cli("invoke", "kept", "--payload", '{"a": 1}')
        facts = self.advise("kept")["kept"]["facts"]
        self.assertEqual((facts["memory"]["origin"], facts["concurrency"]["origin"]), ("measured", "measured"))
        self.assertEqual(facts["concurrency"]["value"], 3)
        self.assertLess(facts["memory"]["value"], 256 << 20, "what is held, not what is declared")
        for name in ("kept", "add"):
            other = self.advise(name)[name]["facts"]["container_memory"]
            self.assertEqual(other["origin"], "assumed")
            self.assertGreater(other["high"], other["low"], "what it would hold in the other lane was never measured")

    def test_machine_price(self):
        price = json.loads(self.t.cli("cost", "-o", "json"))["machine_usd_per_hour"]
        rate = self.declared("add: {rate: 1/s}\n")  # the measured one falls while nobody calls

        def costs():
            simulated = json.loads(self.t.cli("simulate", "steady:1", "--for", "1m", "--policy", "none", "-o", "json"))["policies"][0]["usd_machine"]
            return self.advise("add", "--declare", rate)["add"]["places"]["here"]["container_usd_hour"], simulated
        before = costs()
        self.t.cli("cost", "--machine-price", str(price * 3))
        self.addCleanup(self.t.cli, "cost", "--machine-price", str(price))
        for was, now in zip(before, costs()):
            self.assertAlmostEqual(now / was, 3, places=6)

    def test_recorded_day(self):
        day = self.enterContext(tempfile.TemporaryDirectory())
        percentiles = ",".join(f"percentile_Average_{p}" for p in (0, 1, 25, 50, 75, 99, 100))
        minutes = ",".join(str(m) for m in range(1, 61))
        files = {"inv.csv": f"HashFunction,HashApp,{minutes}\n"
                            f"even,a,{','.join(['120'] * 60)}\n"
                            f"burst,a,{','.join(['0'] * 55 + ['600'] * 5)}\n"
                            f"long,a,1{',0' * 59}\n"
                            f"\x1b[31mred,a,1{',0' * 59}\n",
                 "run.csv": f"HashFunction,Average,{percentiles}\n"
                            "even,100,50,60,80,100,120,200,300\nburst,100,50,60,80,100,120,200,300\nlong,900000,900000,900000,900000,900000,900000,950000,1000000\n"
                            "\x1b[31mred,1,1,1,1,1,1,1,1\n",
                 "mem.csv": "HashApp,AverageAllocatedMb\na,128\n"}
        for name, text in files.items():
            with open(os.path.join(day, name), "w", encoding="ascii") as f:
                f.write(text)
        said = self.advise("--trace", day)
        self.assertEqual(set(said), {"even", "burst", "long", "?[31mred"})
        self.assertAlmostEqual(said["even"]["facts"]["rate"]["value"], 2)
        self.assertEqual((said["even"]["facts"]["pattern"], said["burst"]["facts"]["pattern"]), ("steady", "bursty"))
        self.assertAlmostEqual(said["burst"]["facts"]["peak"]["value"], 10)
        self.assertEqual(said["long"]["lane"], "container", "1,000 s are no function's")
        self.assertGreaterEqual(said["even"]["simulated"]["function"]["latency_p99_s"], 0.15)
        self.assertEqual(list(self.advise("--trace", day, "burst")), ["burst"])


if __name__ == "__main__":
    unittest.main()
