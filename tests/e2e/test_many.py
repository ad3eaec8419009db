# SPDX-License-Identifier: Apache-2.0
"""
Functions that come and go leave nothing behind: memory, database, archives, code and logs return to where they were, few instances
stay for those that nobody asked, and a daemon with nothing to do is not woken. bench/run.py has the same with thousands.
"""
import glob
import json
import os
import re
import sqlite3
import unittest

import tandem

WAIT_S = 40
BOOTSTRAP = """\
#!/usr/bin/python3
import http.client
c = http.client.HTTPConnection("169.254.100.1", 9001)
while True:
    c.request("GET", "/2018-06-01/runtime/invocation/next")
    r = c.getresponse()
    body = r.read()
    c.request("POST", "/2018-06-01/runtime/invocation/" + r.headers["Lambda-Runtime-Aws-Request-Id"] + "/response", body)
    c.getresponse().read()
"""


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Many(unittest.TestCase):
    def setUp(self):
        self.t = self.enterContext(tandem.Tandem())
        self.api = self.t.client()

    def inside(self, name):
        return json.loads(self.t.cli("debug", "-o", "json"))[name]

    def create(self, count):
        for n in range(count):
            self.api.create_function(FunctionName=f"m-{n}", Runtime="provided.al2023", Role=tandem.ROLE, Handler="bootstrap",
                                     Code={"ZipFile": tandem.zip_of({"bootstrap": BOOTSTRAP, "n": str(n)})})

    def delete(self, count):
        for n in range(count):
            self.api.delete_function(FunctionName=f"m-{n}")
        tandem.wait_for(lambda: self.inside("instances") == 0, WAIT_S, "instances stay")

    def left(self):
        """What there is on disk, as soon as what the database and the sweep take back is gone. The journal outlives its subjects."""
        daemon = f"{self.t.state}/daemon"
        folders = {name: len(set(os.listdir(f"{daemon}/{name}")) - {"$journal"}) for name in ("code", "blobs", "logs", "trash")}
        with sqlite3.connect(f"file:{daemon}/tandem.db?mode=ro", uri=True) as db:
            rows = sum(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("function", "revision", "event"))
        db.close()
        return folders, rows, os.path.getsize(f"{daemon}/tandem.db")

    def test_nothing_is_left(self):
        heap = []
        for count in (50, 50):  # what is allocated once is in the first round
            self.create(count)
            self.assertEqual(self.inside("functions"), count)
            tandem.wait_for(lambda: self.inside("instances") <= 16, WAIT_S, "an instance for each function stays")
            for n in (0, count - 1):
                self.assertEqual(self.api.invoke(FunctionName=f"m-{n}", Payload=b"7")["Payload"].read(), b"7")
            self.delete(count)
            self.t.clock(step_us=120000000)
            tandem.wait_for(lambda: self.left()[:2] == ({"code": 0, "blobs": 0, "logs": 0, "trash": 0}, 0), WAIT_S, "the state keeps what was deleted")
            self.assertLess(self.left()[2], 100000)
            heap.append(self.inside("heap_bytes"))
        if os.path.basename(tandem.BUILD) != "san":
            self.assertLess(heap[1] - heap[0], 80 * 1000, "memory of functions that are gone")

    def test_starts_leave_no_descriptor(self):
        """In tandemd and in the spawner, plainly and from an image."""
        self.create(3)
        self.api.create_function(FunctionName="py", **tandem.python_function("def handler(event, context):\n    return event\n"))
        tandem.wait_for(lambda: "bytes" in json.loads(self.t.cli("snapshots", "-o", "json"))["snapshots"][-1], WAIT_S, "no image is made")

        def held():
            for name in ("m-0", "m-1", "m-2", "py"):
                for _ in range(5):
                    self.assertEqual(self.api.invoke(FunctionName=name, Payload=b"7")["Payload"].read(), b"7")
                    self.t.cli("stop", name)
            tandem.wait_for(lambda: self.inside("instances") == 0 and self.inside("blanks_missing") == 0, WAIT_S, "instances stay")
            links = [tandem.open_files(pid) for pid in (self.t.process.pid, self.inside("pid"))]
            return self.inside("blanks"), [sum(not link.startswith("net:") for link in of) for of in links]  # of those it keeps up to 64

        blanks_before, before = held()
        blanks, after = held()
        for was, now in zip(before, after):  # a blank has less than twenty, and there may be more of them after many starts
            self.assertLess(now - was - 20 * max(blanks - blanks_before, 0), 10, "twenty starts left descriptors behind")

    def test_an_idle_daemon_sleeps(self):
        self.create(5)
        self.api.invoke(FunctionName="m-0", Payload=b"7")
        pids = (self.t.process.pid, self.inside("pid"))
        seen = []

        def asleep():
            seen.append(self.count(pids))
            return len(seen) > 1 and seen[-1] == seen[-2]

        tandem.wait_for(asleep, WAIT_S, "something wakes the daemon while it has nothing to do", pause_s=2)

    def count(self, pids):
        total = 0
        for pid in pids:
            for path in glob.glob(f"/proc/{pid}/task/*/status"):
                with open(path, encoding="ascii") as f:
                    total += int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", f.read()).group(1))
        return total


if __name__ == "__main__":
    unittest.main()
