# SPDX-License-Identifier: Apache-2.0
"""
What takes minutes by the daemon's clock, in no time: a test stops its only clock and steps it (debug builds). Freezing, keeping,
time-outs, the retries of events and idle rows all follow it.
"""
import concurrent.futures
import json
import os
import threading
import unittest

import tandem

WAIT_S = 60
CODE = """\
import time


def handler(event, context):
    time.sleep(event.get("sleep", 0))
    return "done"
"""
PROJECT = """\
name: clock
functions:
  f: {code: app, runtime: python3.11, handler: app.handler, timeout: 30s, keep: 10m, snapshot: "off"}
"""


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Clock(unittest.TestCase):
    def setUp(self):
        self.t = tandem.Tandem()
        self.addCleanup(self.t.close)
        self.t.start()
        self.addCleanup(self.t.clock, resume=1)  # the end of a daemon takes time too
        self.t.up({"app/app.py": CODE, "tandem.yaml": PROJECT})

    def states(self):
        return [i["state"] for i in json.loads(self.t.cli("ps", "-o", "json"))["instances"]]

    def until(self, states):
        tandem.wait_for(lambda: self.states() == states, WAIT_S, lambda: f"{self.states()} instead of {states}")

    def invoke(self, payload="{}"):
        return self.t.cli("invoke", "f", "--payload", payload).strip()

    def rows(self, kind):
        rows = json.loads(self.t.cli("cost", "--by", "rows", "--workload", "clock/f", "-o", "json"))["rows"]
        return [r for r in rows if r["kind"] == kind]

    def test_freeze_and_keep(self):
        self.t.cli("stop", "f")
        self.until([])
        begin = self.t.clock(stop=1)["now_us"]
        before = len(self.rows("idle"))
        self.assertEqual(self.invoke(), '"done"')
        self.until(["idle"])
        self.assertEqual(self.t.clock(step_us=49000)["now_us"], begin + 49000)
        self.assertEqual(self.states(), ["idle"])
        self.assertEqual(len(self.rows("idle")), before)
        self.t.clock(step_us=1000)
        self.until(["frozen"])
        self.assertEqual([r["idle_ms"] for r in self.rows("idle")[before:]], [50])
        self.t.clock(step_us=599940000)  # ten minutes but for 10 ms
        self.assertEqual(self.states(), ["frozen"])
        self.t.clock(step_us=10000)
        self.until([])
        self.assertEqual([r["idle_ms"] for r in self.rows("idle")[before:]], [50, 599950])
        self.assertEqual([r["handler_us"] for r in self.rows("invoke")], [0])

    def test_what_begins_too_slowly_is_tried_twice(self):
        """The libraries of the first try may have come from a slow disk."""
        def ids():
            return [i["id"] for i in json.loads(self.t.cli("ps", "-o", "json"))["instances"] if i["function"] == "slow"]

        def other(than):
            return tandem.wait_for(lambda: (now := ids()) != than and now, WAIT_S, "no other instance")

        os.mkdir(os.path.join(self.t.base, "slow"))
        with open(os.path.join(self.t.base, "slow/app.py"), "w", encoding="utf-8") as f:
            f.write("import os, time\nwhile not os.path.exists('/var/task/there'):\n    time.sleep(0.01)\n" + CODE)
        path = os.path.join(self.t.base, "slow.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write('name: slow\nfunctions:\n  slow: {code: slow, runtime: python3.11, handler: app.handler, snapshot: "off"}\n')
        before = set(os.listdir(f"{self.t.state}/daemon/code"))
        self.t.clock(stop=1)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            up = pool.submit(self.t.cli, "up", "-f", path)
            first = other([])
            self.t.clock(step_us=10000000)
            other(first)
            code, = set(os.listdir(f"{self.t.state}/daemon/code")) - before
            with open(f"{self.t.state}/daemon/code/{code}/there", "w", encoding="utf-8"):
                pass
            up.result()
        self.assertIn("state: Active", self.t.cli("describe", "slow"))

    def test_an_image_ends_what_a_plain_start_was_worth(self):
        """After the deploy one instance has nothing to do. It was started plainly; once there is an image, another one would take 2.5 ms,
        and while nobody knows what it holds, that is worth 2.5 * 200 MB*s / 17 MB = 29 s."""
        path = os.path.join(self.t.base, "more.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write("name: more\nfunctions:\n  g: {code: app, runtime: python3.11, handler: app.handler}\n")
        self.t.clock(stop=1)
        self.t.cli("up", "-f", path)
        tandem.wait_for(lambda: "bytes" in json.loads(self.t.cli("describe", "g", "-o", "json"))["snapshot"], WAIT_S, "no image")
        tandem.wait_for(lambda: sorted(self.states()) in (["frozen", "idle"], ["idle", "idle"]), WAIT_S, self.states)
        self.t.clock(step_us=50000)
        self.until(["frozen", "frozen"])
        self.t.clock(step_us=20000000)
        self.assertEqual(self.states(), ["frozen", "frozen"])
        self.t.clock(step_us=10000000)
        self.until(["frozen"])

    def test_timeout_after_30_s(self):
        self.t.clock(stop=1)
        answer = []
        call = threading.Thread(target=lambda: answer.append(self.late()))
        call.start()
        self.until(["busy"])
        self.t.clock(step_us=29999000)
        self.assertEqual(self.states(), ["busy"])
        self.t.clock(step_us=1000)
        call.join(WAIT_S)
        self.assertIn("Task timed out after 30.00 seconds", answer[0])
        self.until([])
        row = self.rows("invoke")[-1]
        self.assertEqual((row["outcome"], row["handler_us"], row["billed_ms"]), ("timeout", 30000000, 30000))

    def late(self):
        try:
            return self.invoke('{"sleep": 3600}')
        except AssertionError as e:
            return str(e)

    def test_time_goes_on(self):
        stopped = self.t.clock(stop=1)["now_us"]
        self.t.clock(step_us=3600000000)
        self.assertGreaterEqual(self.t.clock(resume=1)["now_us"], stopped + 3600000000)
        self.assertEqual(self.invoke(), '"done"')
        self.until(["frozen"])


if __name__ == "__main__":
    unittest.main()
