# SPDX-License-Identifier: Apache-2.0
"""
tandem simulate with what ran here: the ledger's calls, one by one, and the same calls under other policies. And --check: calls
that are made for real beside what was said of them.
"""
import json
import os
import signal
import socket
import subprocess
import tempfile
import unittest

import tandem

MANIFEST = """\
# SPDX-License-Identifier: Apache-2.0
name: sim
functions:
  one:
    code: .
    runtime: python3.11
    handler: app.handler
    memory: 128
    timeout: 30s
  two:
    code: .
    runtime: python3.11
    handler: app.handler
    memory: 128
    timeout: 30s
"""
CODE = """\
def handler(event, context):
    if event.get("fail"):
        raise ValueError("asked to")
    return event
"""


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Simulate(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = cls.enterClassContext(tandem.Tandem())
        app = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="tandem-e2e-simulate-"))
        for name, text in (("tandem.yaml", MANIFEST), ("app.py", CODE)):
            with open(f"{app}/{name}", "w", encoding="utf-8") as f:
                f.write(text)
        cls.t.cli("up", cwd=app)
        for name, event in (("one", {}), ("one", {}), ("one", {}), ("two", {}), ("two", {"fail": 1})):
            cls.t.admin("POST", f"/v1/functions/{name}/invoke", json.dumps(event))
        tandem.wait_for(lambda: len(cls.rows()) == 5, what="rows of five calls")

    @classmethod
    def rows(cls, query=""):
        return [json.loads(line) for line in cls.t.admin("GET", "/v1/rows" + query)[1].splitlines()]

    def simulate(self, *question):
        return json.loads(self.t.cli("simulate", "ledger", *question, "-o", "json"))

    def test_rows(self):
        rows = self.rows()
        self.assertEqual(sorted(r["workload"] for r in rows), ["sim/one"] * 3 + ["sim/two"] * 2)
        self.assertEqual(sorted(r["outcome"] for r in rows), ["error"] + ["ok"] * 4)
        for r in rows:
            self.assertGreater(r["handler_us"], 0)
            self.assertGreater(r["mem_peak_bytes"], 0)
            self.assertEqual((r["memory_mb"], r["lane"]), (128, "function"))
            if r["cold"]:
                self.assertGreater(r["start_us"] + r["init_us"], 0)
        self.assertEqual([r for r in rows if r["workload"] == "sim/two"], self.rows("?workload=sim/two"))
        self.assertEqual(self.rows("?workload=sim/none"), [])
        first = min(r["at_us"] for r in rows)
        self.assertEqual(self.rows(f"?until_wall_us={first}"), [])
        self.assertEqual(self.rows(f"?since_wall_us={first}"), rows)

    def test_a_client_that_leaves(self):
        """Nobody reads on; the ledger goes on being there for others."""
        s = socket.socket(socket.AF_UNIX)
        s.connect(f"{self.t.state}/admin.sock")
        s.sendall(b"GET /v1/rows HTTP/1.1\r\nHost: localhost\r\n\r\n")
        s.close()
        self.assertEqual(len(self.rows()), 5)

    def test_policies(self):
        answer = self.simulate("--policy", "tandem,none,fixed-10m")
        rows = self.rows()
        self.assertEqual((answer["calls"], answer["functions"], answer["seconds"]), (5, 2, 86400))
        self.assertIn("measured here", answer["source"])
        ways = {w["name"]: w for w in answer["policies"]}
        # How many began while another was under way was up to the machine.
        for way in ways.values():
            self.assertTrue(2 <= way["cold"] <= way["starts"] <= 5, ways)
        self.assertEqual(ways["none"]["idle_gb_s"], 0)
        busy = sum(r["handler_us"] * max(x["mem_peak_bytes"] for x in rows if x["workload"] == r["workload"]) for r in rows)
        self.assertAlmostEqual(answer["busy_gb_s"], busy / 1e6 / 2**30, 9)
        one = self.simulate("--workload", "sim/one", "--restore", "5", "--policy", "none")
        self.assertEqual((one["calls"], one["functions"], one["policies"][0]["added_max_us"]), (3, 1, 5000))
        with self.assertRaisesRegex(Exception, "no call stands in the ledger"):
            self.simulate("--workload", "sim/none")


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Check(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = cls.enterClassContext(tandem.Tandem())

    def declared(self):
        return [f["name"] for f in json.loads(self.t.cli("ls", "-o", "json"))["functions"]]

    def check(self, lasts="1s"):
        return subprocess.Popen([self.t.program, "--state", self.t.state, "simulate", "steady:9.5", "--check", "--for", lasts, "--service",
                                 "10", "-o", "json"], stdout=subprocess.PIPE, text=True)

    def test_check(self):
        """Whether the prediction is right is up to the machine; that everything was made, compared and taken away again is not."""
        run = self.check()
        answer = json.loads(run.communicate()[0])
        self.assertEqual(run.returncode, 0 if answer["ok"] else 1)
        self.assertEqual((answer["calls"], answer["functions"], answer["failed"], answer["seconds"]), (9, 1, 0, 1))
        self.assertEqual([o["what"] for o in answer["outcomes"]], ["predicted"] + ["measured"] * 3)
        for o in answer["outcomes"]:
            self.assertGreaterEqual(o["p50_ms"], 10)
            self.assertGreaterEqual(o["p99_ms"], o["p50_ms"])
            self.assertGreater(o["usd_machine"], 0)
            self.assertTrue(1 <= o["cold"] <= 9, answer)
        self.gone()

    def gone(self):
        # A copy goes when its client has, which the daemon sees a moment later.
        tandem.wait_for(lambda: not self.declared(), what=self.declared)

    def test_check_is_interrupted(self):
        run = self.check("10m")
        tandem.wait_for(lambda: any(name.startswith("bench-") for name in self.declared()), what="a copy that is called")
        run.send_signal(signal.SIGINT)
        out = run.communicate()[0]
        self.assertNotEqual(run.returncode, 0)
        self.assertEqual(out, "")
        self.gone()


if __name__ == "__main__":
    unittest.main()
