# SPDX-License-Identifier: Apache-2.0
"""
Costs and logs of a running system: what `tandem cost` adds up is what its rows say, in every direction, also after a restart;
logs are read back with their START, END and REPORT; a function that prints for ever is cut and says so.
"""
import http.client
import json
import math
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TANDEM = f"{ROOT}/build/tandem"
WAIT_S = 30

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
SUMMED = ("queue_us", "start_us", "init_us", "handler_us", "idle_ms", "billed_ms", "cpu_us", "bytes_in", "bytes_out", "usd_lambda",
          "usd_machine")


class System:
    """One daemon on a state directory of its own and ports that the kernel picks."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="tandem-e2e-ledger-")
        os.chmod(self.dir, 0o755)
        self.state = f"{self.dir}/state"
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "TANDEM_"))}
        self.env["TANDEM_STATE"] = self.state
        self.log = open(f"{self.dir}/serve.log", "wb")
        self.serve = None

    def start(self):
        self.serve = subprocess.Popen([TANDEM, "serve", "--no-egress", "--state", self.state, "--api", "127.0.0.1:0", "--gateway", "127.0.0.1:0"],
                                      env=self.env, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        end = time.monotonic() + WAIT_S
        while self.run("ls", check=False).returncode:
            if self.serve.poll() is not None or time.monotonic() > end:
                raise AssertionError("serve did not come up:\n" + self.said())
            time.sleep(0.02)

    def stop(self):
        if self.serve and self.serve.poll() is None:
            self.serve.terminate()
            self.serve.wait(WAIT_S)
        return self.serve.returncode if self.serve else 0

    def said(self):
        with open(f"{self.dir}/serve.log", encoding="utf-8", errors="replace") as f:
            return f.read()[-4000:]

    def run(self, *args, check=True, **kw):
        done = subprocess.run([TANDEM, *args], env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, **kw)
        if check and done.returncode:
            raise AssertionError(f"tandem {' '.join(args)}: {done.returncode}\n{done.stdout}{done.stderr}\n{self.said()}")
        return done

    def json(self, *args):
        return json.loads(self.run(*args, "-o", "json").stdout)

    def close(self):
        self.stop()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def close_to(a, b):
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-15)


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Ledger(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.s = System()
        cls.addClassCleanup(cls.s.close)
        app = f"{cls.s.dir}/app"
        os.mkdir(app)
        for name, text in (("tandem.yaml", MANIFEST), ("app.py", CODE)):
            with open(f"{app}/{name}", "w", encoding="utf-8") as f:
                f.write(text)
        cls.s.start()
        cls.s.run("up", cwd=app)

    def calls(self, n):
        for i in range(n):
            self.assertEqual(self.s.run("invoke", "add", "--payload", json.dumps({"a": i, "b": 1})).stdout.strip(), str(i + 1))

    def rows(self, workload):
        return self.s.json("cost", "--by", "rows", "--workload", workload)["rows"]

    def with_rows(self, *question):
        """An answer and the rows it was made from: idle time is written when it ends, so both are asked until they meet."""
        end = time.monotonic() + WAIT_S
        rows = self.rows("books/add")
        while time.monotonic() < end:
            answer, after = self.s.json("cost", "--workload", "books/add", *question), self.rows("books/add")
            if rows == after:
                return rows, answer
            rows = after
        self.fail("rows go on coming")

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
        self.s.run("invoke", "add", "--payload", '{"a": 1}', check=False)  # KeyError
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
            self.assertTrue(close_to(r["usd_lambda"], 2e-7 + 0.25 * billed / 1000 * 0.0000166667) or os.uname().machine != "x86_64", r)
            self.assertGreater(r["usd_machine"], 0)
            self.assertEqual(r["memory_mb"], 256)
            self.assertRegex(r["request_id"], r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")

    def test_every_direction_adds_up(self):
        self.calls(3)
        for by in ("workload", "trigger", "hour"):
            answer = self.s.json("cost", "--by", by)
            self.assertEqual(answer["bad_rows"], 0)
            self.assertEqual(answer["dropped_rows"], 0)
            for name in SUMMED + ("invocations", "cold", "errors", "gb_s"):
                want = sum(s[name] for s in answer["sums"])
                self.assertTrue(close_to(answer["total"][name], want), f"by {by}, {name}: {answer['total'][name]} is not {want}")

    def test_metrics_count_the_same(self):
        self.calls(2)
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(f"{self.s.state}/admin.sock")
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
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
        before = self.s.json("cost", "--workload", "books/add")["total"]
        self.assertEqual(self.s.stop(), 0, self.s.said())
        self.s.start()
        after = self.s.json("cost", "--workload", "books/add")["total"]
        self.assertEqual(after["invocations"], before["invocations"])
        self.assertTrue(close_to(after["usd_lambda"], before["usd_lambda"]))
        self.assertEqual(self.s.run("invoke", "add", "--payload", '{"a": 1, "b": 1}').stdout.strip(), "2")
        self.assertEqual(self.s.json("cost", "--workload", "books/add")["total"]["invocations"], before["invocations"] + 1)

    def test_log_lines(self):
        self.calls(1)
        lines = self.s.run("logs", "add").stdout.splitlines()
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
        answer = self.s.run("invoke", "shout", "--payload", json.dumps({"lines": lines})).stdout
        self.assertEqual(json.loads(answer), "done")
        self.calls(1)  # nobody else was stalled
        text = self.s.run("logs", "shout").stdout
        self.assertRegex(text, r"dropped \d+ lines")
        self.assertIn("END RequestId: ", text)
        folder = f"{self.s.state}/daemon/logs/shout"
        self.assertLess(sum(os.path.getsize(f"{folder}/{name}") for name in os.listdir(folder)), 33 << 20)


if __name__ == "__main__":
    unittest.main()
