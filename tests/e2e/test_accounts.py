# SPDX-License-Identifier: Apache-2.0
"""
Every CPU second of an instance is in exactly one row: of the event that paid for the start, of an event, of idle time, or of the
platform that checked a deploy. And a function whose unpacked code is gone runs all the same.
"""
import json
import os
import re
import shutil
import unittest

import tandem

CODE = """\
import threading
import time


def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


burn(0.2)
open("/tmp/used", "w").close()  # so that no image is made of it, which would start without this work


def handler(event, context):
    burn(0.1)
    threading.Thread(target=burn, args=(event.get("then", 0),), daemon=True).start()
    return event
"""
BROKEN = "import time\nend = time.process_time() + 0.05\nwhile time.process_time() < end:\n    pass\nraise ImportError('no')\n"
MACHINE = {"tandem/daemon", "tandem/spawner", "tandem/blanks", "host/unused", "host/other", "host/machine"}


def cpu_us(pid):
    """What the group of a process has used, by the kernel's own count: v1's cpuacct, or v2."""
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as f:
        groups = [line.rstrip("\n").split(":", 2) for line in f]
    for _, controllers, path in groups:
        if "cpuacct" in controllers.split(","):
            for folder in (controllers, "cpuacct"):
                try:
                    with open(f"/sys/fs/cgroup/{folder}{path}/cpuacct.usage", encoding="ascii") as f:
                        return int(f.read()) / 1000
                except OSError:
                    pass
    path = next(path for number, _, path in groups if number == "0")
    for folder in ("", "/unified"):
        try:
            with open(f"/sys/fs/cgroup{folder}{path}/cpu.stat", encoding="ascii") as f:
                return int(re.search(r"usage_usec (\d+)", f.read()).group(1))
        except OSError:
            pass
    raise AssertionError(f"no CPU count in {groups}")


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Accounts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = cls.enterClassContext(tandem.Tandem())
        cls.api = cls.t.client()

    def create(self, name, code):
        self.api.create_function(FunctionName=name, **tandem.python_function(code))
        self.addCleanup(lambda: self.api.delete_function(FunctionName=name))

    def rows(self, workload):
        return json.loads(self.t.cli("cost", "--by", "rows", "--workload", workload, "-o", "json"))["rows"]

    def events(self, name):
        return [r for r in self.rows("api/" + name) if r["kind"] == "invoke"]

    def instances(self, name, *states):
        found = json.loads(self.t.cli("ps", "-o", "json"))["instances"]
        return [i for i in found if i["function"] == name and i["state"] != "preparing" and (not states or i["state"] in states)]

    def stop(self, name):
        self.t.cli("stop", name)
        tandem.wait_for(lambda: not self.instances(name))

    def invoke(self, name, payload=b"{}"):
        answer = self.api.invoke(FunctionName=name, Payload=payload)
        return answer.get("FunctionError"), answer["Payload"].read()

    def test_every_cpu_second_is_in_one_row(self):
        before = len(self.rows("tandem/deploy"))
        self.create("burns", CODE)
        check = self.rows("tandem/deploy")[before:]
        self.assertEqual([(r["kind"], r["trigger"], r["outcome"], r["usd_aws"]) for r in check], [("platform", "check", "ok", 0)])
        self.assertGreater(check[0]["cpu_us"], 190000)
        self.assertGreater(check[0]["mem_peak_bytes"], 1 << 20)
        self.assertGreater(check[0]["usd_machine"], 0)
        self.stop("burns")
        old = len(self.rows("api/burns"))
        self.assertTrue(all(r["kind"] == "idle" for r in self.rows("api/burns")))
        for payload in (b"{}", b"{}", b"{}", b'{"then": 60}'):
            self.assertEqual(self.invoke("burns", payload), (None, payload))
        instance = tandem.wait_for(lambda: self.instances("burns", "frozen"))[0]
        total = cpu_us(instance["pid"])
        rows = self.rows("api/burns")[old:]
        events = [r for r in rows if r["kind"] == "invoke"]
        idle = [r for r in rows if r["kind"] == "idle"]
        self.assertEqual([r["cold"] for r in events], [True, False, False, False])
        self.assertGreater(events[0]["cpu_us"], 290000)
        for r in events[1:]:
            self.assertGreater(r["cpu_us"], 95000)
        for r in events[1:-1]:
            self.assertLess(r["cpu_us"], 200000)
        self.assertGreater(sum(r["cpu_us"] for r in idle), 0)  # the last thread runs on until it is frozen, when nothing is asked
        for r in idle:
            self.assertGreater(r["mem_peak_bytes"], 1 << 20)
        # What is missing was used before the sandbox belonged to this function: making it is the platform's.
        missing = total - sum(r["cpu_us"] for r in rows)
        self.assertGreaterEqual(missing, 0)
        self.assertLess(missing, total / 10, f"{total} us used, in {rows}")

    def test_failed_starts_are_rows(self):
        before = len(self.rows("tandem/deploy"))
        self.create("broken", BROKEN)
        check = self.rows("tandem/deploy")[before:]
        self.assertEqual([r["outcome"] for r in check], ["init_failed"])
        self.assertGreater(check[0]["cpu_us"], 45000)

    def test_sums_of_all_rows(self):
        self.create("sums", "def handler(event, context):\n    return event\n")
        self.invoke("sums")
        self.stop("sums")

        def look():
            """Sums and rows of one moment: images are made in the background. The platform itself goes on meanwhile."""
            sums, rows, again = (json.loads(self.t.cli("cost", "--split", "none", *by, "-o", "json")) for by in ((), ("--by", "rows"), ()))
            now, later = ([s for s in one["sums"] if s["key"] not in MACHINE] for one in (sums, again))
            return now == later and (now, [r for r in rows["rows"] if r["workload"] not in MACHINE])
        sums, rows = tandem.wait_for(look)
        self.assertLess(len(rows), 100, "all rows must be in the answer")
        self.assertIn("tandem/deploy", {r["workload"] for r in rows})
        for one in sums:
            mine = [r for r in rows if r["workload"] == one["key"]]
            for name in ("cpu_us", "idle_ms", "init_us", "start_us", "usd_machine", "usd_aws"):
                self.assertAlmostEqual(one[name], sum(r[name] for r in mine), delta=1e-12 + 1e-9 * one[name], msg=f"{one['key']} {name}")
            self.assertEqual(one["mem_peak_bytes"], max(r["mem_peak_bytes"] for r in mine))

    def test_price_of_this_machine(self):
        self.create("priced", "def handler(event, context):\n    sum(range(3000000))\n")
        self.invoke("priced")
        was = json.loads(self.t.cli("cost", "-o", "json"))["machine_usd_per_hour"]
        self.addCleanup(self.t.cli, "cost", "--machine-price", str(was))
        before = self.events("priced")
        self.assertEqual(json.loads(self.t.cli("cost", "--machine-price", "10", "-o", "json"))["machine_usd_per_hour"], 10)
        self.invoke("priced")
        after = self.events("priced")
        self.assertEqual(after[:1], before)  # as it was written
        each = [r["usd_machine"] / (r["cpu_us"] + r["start_us"] + r["init_us"] + r["handler_us"]) for r in after]
        self.assertGreater(each[1], 100 * each[0])
        with self.assertRaisesRegex(AssertionError, "like 0.05"):
            self.t.cli("cost", "--machine-price", "-1")
        self.t.restart()
        type(self).api = self.t.client()
        self.assertEqual(json.loads(self.t.cli("cost", "-o", "json"))["machine_usd_per_hour"], 10)

    def test_missing_code_is_unpacked_again(self):
        self.create("lost", "def handler(event, context):\n    return 'found'\n")
        self.stop("lost")
        for name in os.listdir(f"{self.t.state}/daemon/code"):
            shutil.rmtree(f"{self.t.state}/daemon/code/{name}")
        self.assertEqual(self.invoke("lost"), (None, b'"found"'))
        self.stop("lost")

    def test_logs_go_with_their_function(self):
        self.api.create_function(FunctionName="talks", **tandem.python_function("def handler(e, c):\n    print('said')\n"))
        self.invoke("talks")
        folder = f"{self.t.state}/daemon/logs/talks"
        self.assertIn("said", self.t.cli("logs", "talks"))
        self.assertTrue(os.path.isdir(folder))
        self.api.delete_function(FunctionName="talks")
        tandem.wait_for(lambda: not os.path.exists(folder))
        self.assertTrue(self.rows("api/talks"))  # the bill stays


if __name__ == "__main__":
    unittest.main()
