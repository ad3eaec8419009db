# SPDX-License-Identifier: Apache-2.0
"""
Costs and logs of a running system: what `tandem cost` adds up is what its rows say, in every direction, also after a restart;
logs are read back with their START, END and REPORT; a function that prints for ever is cut and says so.
"""
import json
import math
import os
import re
import tempfile
import unittest

import tandem

MANIFEST = """\
# SPDX-License-Identifier: Apache-2.0
name: books
functions:
  add:
    code: .
    runtime: python3.11
    handler: app.add
    memory: 256
    timeout: 5s
    tags: {team: a, env: test}
  shout:
    code: .
    runtime: python3.11
    handler: app.shout
    memory: 128
    timeout: 20s
    tags: {env: test}
"""
CODE = """\
import sys


def add(event, context):
    print("adding", event)
    return event["a"] + event["b"]


def shout(event, context):
    line = "x" * 1023 + "\\n"
    for _ in range(event["lines"]):
        sys.stdout.write(line)
    sys.stdout.flush()
    return "done"
"""
SUMMED = ("queue_us", "start_us", "init_us", "handler_us", "idle_ms", "billed_ms", "cpu_us", "bytes_in", "bytes_out", "usd_aws",
          "usd_machine")


def close_to(a, b):
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-15)


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Ledger(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = cls.enterClassContext(tandem.Tandem())
        app = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="tandem-e2e-ledger-"))
        for name, text in (("tandem.yaml", MANIFEST), ("app.py", CODE)):
            with open(f"{app}/{name}", "w", encoding="utf-8") as f:
                f.write(text)
        cls.t.cli("up", cwd=app)

    def cost(self, *question):
        return json.loads(self.t.cli("cost", *question, "-o", "json"))

    def invoke(self, function, event):
        return json.loads(self.t.cli("invoke", function, "--payload", json.dumps(event)))

    def calls(self, n):
        for i in range(n):
            self.assertEqual(self.invoke("add", {"a": i, "b": 1}), i + 1)

    def rows(self, workload):
        return self.cost("--by", "rows", "--workload", workload)["rows"]

    def with_rows(self, *question):
        """An answer and the rows it was made from: both are asked until they meet, of nothing that has idle time without a row."""
        def settled():
            self.t.cli("stop", "add")
            rows, answer = self.rows("books/add"), self.cost("--workload", "books/add", *question)
            return rows == self.rows("books/add") and (rows, answer)

        return tandem.wait_for(settled)

    def check_sums(self, rows, answer, key):
        """The rows, summed here, are the sum there."""
        found = [s for s in answer["sums"] if s["key"] == key]
        self.assertEqual(len(found), 1, answer)
        invoked = [r for r in rows if r["kind"] == "invoke" and r["trigger"] != "check"]
        self.assertEqual(found[0]["invocations"], len(invoked))
        self.assertEqual(found[0]["cold"], sum(r["cold"] for r in invoked))
        self.assertEqual(found[0]["errors"], sum(r["outcome"] != "ok" for r in invoked))
        for name in SUMMED:
            want = sum(r[name] for r in rows)
            self.assertTrue(close_to(found[0][name], want), f"{name}: {found[0][name]} is not {want}")

    def test_sums_are_the_rows(self):
        self.calls(12)
        self.t.admin("POST", "/v1/functions/add/invoke", '{"a": 1}')  # KeyError
        rows, answer = self.with_rows()
        self.assertLess(len(rows), 100, "all rows must be in the answer")
        invoked = [r for r in rows if r["kind"] == "invoke" and r["trigger"] != "check"]
        self.assertGreaterEqual(len(invoked), 13)
        self.assertTrue(any(r["outcome"] != "ok" for r in invoked))
        self.check_sums(rows, answer, "books/add")
        self.check_sums(*self.with_rows("--by", "tag"), "team=a")
        for r in invoked:
            billed = math.ceil(((r["init_us"] if r["cold"] else 0) + r["handler_us"]) / 1000)
            self.assertEqual(r["billed_ms"], billed)
            self.assertTrue(close_to(r["usd_aws"], 2e-7 + 0.25 * billed / 1000 * 0.0000166667) or os.uname().machine != "x86_64", r)
            self.assertGreater(r["usd_machine"], 0)
            self.assertEqual(r["memory_mb"], 256)
            self.assertRegex(r["request_id"], r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")

    def test_every_direction_adds_up(self):
        self.calls(3)
        for by in ("workload", "trigger", "hour"):
            answer = self.cost("--by", by)
            self.assertEqual(answer["bad_rows"], 0)
            self.assertEqual(answer["dropped_rows"], 0)
            for name in SUMMED + ("invocations", "cold", "errors", "gb_s"):
                want = sum(s[name] for s in answer["sums"])
                self.assertTrue(close_to(answer["total"][name], want), f"by {by}, {name}: {answer['total'][name]} is not {want}")

    def test_metrics_count_the_same(self):
        self.calls(2)
        text = self.t.admin("GET", "/metrics")[1].decode()
        self.assertRegex(text, r'tandem_invocations_total\{workload="books/add",lane="function",trigger="api",outcome="ok"\} \d+\n')
        counts = dict(re.findall(r'tandem_invocation_duration_seconds_bucket\{workload="books/add",le="([^"]+)"\} (\d+)', text))
        self.assertIn("0.0001", counts)
        total = sum(int(n) for n in re.findall(r'tandem_invocations_total\{workload="books/add",[^}]*\} (\d+)', text))
        self.assertEqual(int(counts["+Inf"]), total)
        self.assertIn("tandem_ledger_rows_dropped_total 0\n", text)
        for line in text.splitlines():
            self.assertRegex(line, r"^(# (HELP|TYPE) tandem_\w+ .+|tandem_\w+(\{.*\})? -?[0-9.e+-]+)$")

    def test_kept_over_a_restart(self):
        self.calls(2)
        self.t.restart()  # rows come after the answers: its end has them all
        before = self.cost("--workload", "books/add")["total"]
        self.t.restart()
        after = self.cost("--workload", "books/add")["total"]
        self.assertEqual(after["invocations"], before["invocations"])
        self.assertTrue(close_to(after["usd_aws"], before["usd_aws"]))
        self.calls(1)
        tandem.wait_for(lambda: self.cost("--workload", "books/add")["total"]["invocations"] == before["invocations"] + 1)

    def test_log_lines(self):
        self.calls(1)
        lines = self.t.cli("logs", "add").splitlines()
        last = max(i for i, line in enumerate(lines) if " REPORT RequestId: " in line)
        request = re.search(r" REPORT RequestId: (\S+)\t", lines[last]).group(1)
        mine = [line for line in lines if f" {request} " in line]
        for want in (r"START RequestId: \S+ Version: \$LATEST", r"adding \{'a': 0, 'b': 1\}", r"END RequestId: \S+",
                     r"REPORT RequestId: \S+\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\tMemory Size: 256 MB\tMax Memory Used: \d+ MB\t"):
            self.assertTrue(any(re.search(want, line) for line in mine), f"no {want} in {mine}")
        order = [next(i for i, line in enumerate(mine) if word in line) for word in ("START ", "adding ", "END ", "REPORT ")]
        self.assertEqual(order, sorted(order))

    def test_printing_for_ever_is_cut(self):
        lines = 40000  # 40 MB: far above burst and what the disk may hold for one workload
        self.assertEqual(self.invoke("shout", {"lines": lines}), "done")
        self.calls(1)  # nobody else was stalled
        text = self.t.cli("logs", "shout")
        self.assertRegex(text, r"dropped \d+ lines")
        self.assertIn("END RequestId: ", text)
        folder = f"{self.t.state}/daemon/logs/shout"
        self.assertLess(sum(os.path.getsize(f"{folder}/{name}") for name in os.listdir(folder)), 33 << 20)


if __name__ == "__main__":
    unittest.main()
