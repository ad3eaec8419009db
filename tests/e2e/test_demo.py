# SPDX-License-Identifier: Apache-2.0
"""`make demo`, as a newcomer runs it: twice, then `make demo-stop`. Its state and ports are the demo's own."""
import os
import re
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "spawn"))
import net_world  # noqa: E402 pylint: disable=wrong-import-position


def make(target, net):
    """In a host of the test's: the daemon changes the network of the one that it runs on."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "AWS_", "TANDEM_"))}
    return subprocess.run(["nsenter", "--net=" + net, "make", target], cwd=ROOT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Demo(unittest.TestCase):
    def setUp(self):
        world = net_world.World()
        self.addCleanup(world.close)
        self.net = world.host
        self.addCleanup(make, "demo-stop", self.net)

    def check(self, done):
        out = done.stdout
        self.assertEqual(done.returncode, 0, out[-3000:] + done.stderr[-3000:])
        self.assertNotIn("\x1b", out + done.stderr, "colours without a terminal")
        self.assertNotIn("\r", out, "a moving line without a terminal")
        rows = re.findall(r"^  (?:\d\.\d +){4}(\w+) +(\w+) +[01]\.\d{3}", out, re.M)
        self.assertEqual(len(rows), 15, out)
        self.assertGreaterEqual(sum(truth == found for truth, found in rows), 13, out)
        self.assertIn(f"{sum(truth == found for truth, found in rows)} of 15 right; the service answers the same", out)
        self.assertRegex(out, r'"name": "virginica"')  # by the AWS CLI
        first = float(re.search(r"first +([\d.]+) ms", out).group(1))
        self.assertNotIn("no snapshot", out)
        function, service = (float(ms) for ms in re.findall(r"asleep +([\d.]+) ms", out))
        for asleep, warm in zip((function, service), re.findall(r"warm +([\d.]+) ms +median of 200 calls", out), strict=True):
            self.assertLess(float(warm), asleep)
        if "started plainly" in out:
            self.assertLess(function, first)
        costs = out[out.index("tandem cost\n"):]
        self.assertRegex(costs, r"\n  iris/iris ")
        self.assertRegex(costs, r"\n  service/iris-service ")
        self.assertRegex(out, r"tandem advise iris\n  iris \(\d+ calls in [^)]*\)\n    lane +(function|container) ")
        self.assertRegex(out, r"\n    even at here: .*\n +aws: ")
        self.assertIn("make demo-stop", out)
        self.check_pipeline(out)

    def check_pipeline(self, out):
        """Everything from zero and back, in the order in which one follows from the other."""
        self.assertRegex(out, r"\n  clip_00-03\.jpg: 640x360, \d+ bytes, sha256 [0-9a-f]{64}\n")
        steps = [r"aws s3 cp begins", r"put clip_00-03\.mp4", r"thumb +\d+ +0\.\d+ +0\.\d+", r"frame \(task\) +\d+ +0\.\d+ +0\.\d+",
                 r"put clip_00-03\.jpg", r"record +\d+ +0\.\d+ +0\.\d+", r"nothing of it runs any more"]
        self.assertRegex(out, "(?s)" + ".*".join(rf"\n +(?:\d+  )?{step}" for step in steps))

    def test_twice_then_stop(self):
        first = make("demo", self.net)
        self.check(first)
        again = make("demo", self.net)
        self.check(again)
        self.assertIn("restarted", again.stdout)
        with open(f"{ROOT}/build/demo.pid") as f:
            pid = int(f.read())
        self.assertTrue(os.path.exists(f"/proc/{pid}"))
        ended = make("demo-stop", self.net)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertIn("stopped", ended.stdout)
        self.assertFalse(os.path.exists(f"/proc/{pid}"))
        self.assertIn("does not run", make("demo-stop", self.net).stdout)


if __name__ == "__main__":
    unittest.main()
