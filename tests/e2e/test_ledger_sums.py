# SPDX-License-Identifier: Apache-2.0
"""
The ledger adds up: what the machine cost is what workloads, the platform, others and nobody took, and what is missing is said;
over hours, over the end of a daemon, and for what sleeps. How much is missing under load, bench/ledger.py measures.
"""
import json
import math
import os
import signal
import unittest

import tandem

CODE = "def handler(event, context):\n    return sum(range(event))\n"
PROJECT = """\
name: books
functions:
  a: {code: app, runtime: python3.11, handler: app.handler, tags: {team: a}, keep: 3h, snapshot: "off"}
  b: {code: app, runtime: python3.11, handler: app.handler, snapshot: "off"}
  c: {code: app, runtime: python3.11, handler: app.handler, memory: 3008, keep: 3h, snapshot: "off"}
"""
PLATFORM = {"tandem/daemon", "tandem/spawner", "tandem/blanks"}
HOST = {"host/unused", "host/other", "host/machine"}


class Sums(unittest.TestCase):
    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("needs root")
        self.t = self.enterContext(tandem.Tandem())
        self.t.up({"app/app.py": CODE, "tandem.yaml": PROJECT})

    def cost(self, *question):
        return json.loads(self.t.cli("cost", *question, "-o", "json"))

    def invoke(self, name="a", n=1000):
        self.assertEqual(json.loads(self.t.cli("invoke", name, "--payload", str(n))), sum(range(n)))

    def close_to(self, a, b):
        self.assertTrue(math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-15), f"{a} is not {b}")

    def terms(self, j):
        """The machine's price and what it was for."""
        parts = ("usd_unused", "usd_other", "usd_unattributed", "usd_disk", "usd_network")
        self.close_to(j["usd"], sum(j[part] for part in parts) + j.get("usd_ours", j.get("usd_machine")))
        for name in ("usd", "usd_unused", "usd_other"):
            self.assertGreaterEqual(j[name], 0)

    def host_rows(self):
        return [r for r in self.cost("--by", "rows")["rows"] if r["workload"] in PLATFORM | HOST]

    def test_every_way_is_the_same_money(self):
        self.invoke("a")
        self.invoke("b", 100000)
        tandem.wait_for(lambda: {"books/a", "books/b"} <= {s["key"] for s in self.cost()["sums"]})  # rows come after the answer
        for by in ("workload", "lane", "trigger", "tag", "hour"):
            j = self.cost("--by", by)
            machine = j["machine"]
            self.terms(machine)
            self.assertGreater(machine["usd_unused"], 0)
            self.close_to(machine["usd"], j["machine_usd_per_hour"] * machine["seconds"] / 3600)
            self.close_to(machine["usd_ours"], sum(s["usd_machine"] for s in j["sums"]))
            if by == "hour":
                for one in j["sums"]:
                    self.terms(one)
                self.close_to(machine["usd"], sum(s["usd"] for s in j["sums"]))
            else:
                self.close_to(sum(s["usd_split"] for s in j["sums"]), machine["usd_ours"] + machine["usd_unused"])
        self.assertLessEqual(PLATFORM, {s["key"] for s in self.cost()["sums"]})
        self.assertEqual({"function", "platform"}, {s["key"] for s in self.cost("--by", "lane")["sums"]})
        even = {s["key"]: s["usd_split"] - s["usd_machine"] for s in self.cost("--split", "even")["sums"] if s["key"].startswith("books/")}
        self.close_to(even["books/a"], even["books/b"])
        self.assertNotIn("usd_split", self.cost("--split", "none")["sums"][0])
        self.assertNotIn("machine", self.cost("--workload", "books/a"))
        text = self.t.cli("cost")
        self.assertRegex(text, r"(?m)^host/unused .*\nhost/other .*\nunattributed .*\nmachine +- ")

    def test_disk_and_network(self):
        """They cost nothing until they have a price; then they are terms of the machine's."""
        self.invoke()
        free = self.cost()
        self.assertEqual((0, 0), (free["machine"]["usd_disk"], free["machine"]["usd_network"]))
        self.assertNotIn("disk", free)
        held = {line["key"]: line for line in self.cost("--by", "disk")["disk"]}
        for name in ("state", "ledger", "code"):
            self.assertGreater(held[name]["bytes"], 0)
            self.assertGreater(held[name]["files"], 0)
        j = self.cost("--disk-price", "2", "--network-price", "3000")
        machine, total = j["machine"], j["total"]
        self.terms(machine)
        self.close_to(machine["usd_disk"], sum(d["bytes"] for d in j["disk"]) / 1e9 * 2 * machine["seconds"] / (730 * 3600))
        self.close_to(machine["usd_network"], (total["bytes_in"] + total["bytes_out"]) / 1e9 * 3000)
        self.close_to(machine["usd_network"], sum(s["usd_network"] for s in j["sums"]))
        self.close_to(machine["usd"] - machine["usd_disk"] - machine["usd_network"], j["machine_usd_per_hour"] * machine["seconds"] / 3600)
        for one in self.cost("--by", "hour")["sums"]:
            self.terms(one)
        self.assertRegex(self.t.cli("cost"), r"(?m)^disk .*\nnetwork .*\ntotal ")
        self.assertRegex(self.t.cli("cost", "--by", "disk"), r"(?m)^state +\d+ +\d")
        self.assertRegex(self.t.cli("cost", "--by", "network"), r"(?m)^books/a +0\.")
        self.t.restart()
        again = self.cost()
        self.assertEqual((2, 3000), (again["disk_usd_per_gb_month"], again["network_usd_per_gb"]))

    def test_no_event_yet(self):
        """Of an instance that waits for its first event counts what it holds, not what it may."""
        self.t.clock(stop=1)
        self.addCleanup(self.t.clock, resume=1)
        for name in "ac":
            tandem.wait_for(lambda: self.t.clock(step_us=50000) and [i["state"] for i in self.t.instances(name)] == ["frozen"])
            self.assertEqual([i["invocations"] for i in self.t.instances(name)], [0])
        self.t.clock(step_us=3600 * 10**6)
        idle = {s["key"]: s["usd_idle"] for s in self.cost()["sums"]}
        self.assertGreater(idle["books/a"], 0)
        self.assertLess(idle["books/c"], 3 * idle["books/a"])  # the same code, with 23 times the memory declared

    def test_hours_and_sleep(self):
        """An instance that sleeps for two hours has no row, and nobody was woken: it is in the sums of both, as is the machine."""
        self.t.cli("stop", "b")  # one that ends would wake the daemon
        self.invoke()
        tandem.wait_for(lambda: not self.t.instances("b"))
        self.t.clock(stop=1)
        self.addCleanup(self.t.clock, resume=1)
        tandem.wait_for(lambda: self.t.clock(step_us=50000) and [i["state"] for i in self.t.instances("a")] == ["frozen"])
        before = self.host_rows()
        for _ in range(2):
            self.t.clock(step_us=3600 * 10**6)
        hours = self.cost("--by", "hour")
        self.assertGreaterEqual(len(hours["sums"]), 3)
        self.close_to(hours["sums"][1]["usd"], hours["machine_usd_per_hour"])
        self.assertGreaterEqual(hours["machine"]["seconds"], 7200)
        self.assertGreater(hours["sums"][1]["usd_idle"], 0)
        self.assertGreaterEqual(self.cost("--workload", "books/a")["total"]["idle_ms"], 7199000)
        self.assertEqual(before, self.host_rows())
        self.invoke()  # now somebody is awake: what the time was for is written down, once
        rows = tandem.wait_for(lambda: self.host_rows()[len(before):])
        self.assertEqual({r["workload"] for r in rows}, PLATFORM | HOST)
        self.assertEqual(len(rows), len(PLATFORM | HOST))
        self.assertTrue(all(r["idle_ms"] >= 7200000 for r in rows), rows)

    def test_killed_daemon(self):
        """Its successor goes on where the last look was: the time between has its price, and is counted once."""
        self.invoke()
        before = self.cost()["machine"]
        daemon = tandem.daemon_of(self.t.pid)
        os.kill(daemon, signal.SIGKILL)
        tandem.wait_for(lambda: tandem.daemon_of(self.t.pid) not in (None, daemon))
        after = tandem.wait_for(lambda: self.cost()["machine"])
        self.assertGreaterEqual(after["seconds"], before["seconds"])
        self.terms(after)
        self.t.restart()
        self.assertGreaterEqual(self.cost()["machine"]["seconds"], after["seconds"])


if __name__ == "__main__":
    unittest.main()
