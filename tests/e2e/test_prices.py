#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tandem cost --on: what ran here, at the prices of clouds."""
import json
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tandem  # noqa: E402

OFFERS = ["aws-lambda", "aws-fargate", "aws-ec2", "cloud-run", "cloud-run-instance", "azure-functions", "azure-container-apps"]


class Prices(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = tandem.Tandem()
        cls.t.start()
        cls.addClassCleanup(cls.t.close)
        lam = cls.t.client()
        for name in ("one", "two"):
            lam.create_function(FunctionName=name, MemorySize=512, **tandem.python_function("def handler(e, c): return 1\n"))
            lam.get_waiter("function_active_v2").wait(FunctionName=name)
            for _ in range(3):
                lam.invoke(FunctionName=name)

    def cost(self, *arguments):
        return json.loads(self.t.cli("cost", "-o", "json", *arguments))

    def test_all(self):
        answer = tandem.wait_for(lambda: (lambda a: a["total"]["invocations"] == 6 and a)(self.cost("--on", "all")), 60 * tandem.SLOW)
        self.assertEqual([o["name"] for o in answer["offers"]], OFFERS)
        sums = {s["key"]: s for s in answer["sums"]}
        for name in ("api/one", "api/two"):
            on = sums[name]["on"]
            self.assertAlmostEqual(on["aws-lambda"], sums[name]["usd_aws"], places=12, msg="as its rows were priced")
            self.assertTrue(all(on[o] > 0 for o in OFFERS), on)
        for o in OFFERS:
            self.assertAlmostEqual(answer["total"]["on"][o], sum(s["on"][o] for s in answer["sums"]), places=9)
        self.assertEqual(sums["tandem/daemon"]["on"]["aws-lambda"], 0)

    def test_table(self):
        done = subprocess.run([tandem.PROGRAM, "--state", self.t.state, "cost", "--on", "aws-lambda,cloud-run-tier2,aws-ec2"], capture_output=True, text=True,
                              timeout=60, check=True)
        self.assertRegex(done.stdout, r"^WORKLOAD +CALLS +USD HERE +aws-lambda +aws-ec2 +cloud-run-tier2\n")
        [line] = [x for x in done.stdout.splitlines() if x.startswith("api/one ")]
        self.assertRegex(line, r"^api/one +3( +\d\.\d{8}\*?){4}$")
        self.assertEqual(line.count("*"), 1, "the one that is furthest from here")
        self.assertIn("aws-ec2: from memory, not verified: sizes, minimum\n", done.stderr)
        self.assertIn("list prices of 20", done.stderr)

    def test_what_is_no_offer(self):
        done = subprocess.run([tandem.PROGRAM, "--state", self.t.state, "cost", "--on", "aws-lambda,moon"], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 1)
        for name in [*OFFERS, "or all"]:
            self.assertIn(name, done.stderr)


if __name__ == "__main__":
    unittest.main()
