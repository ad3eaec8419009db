# SPDX-License-Identifier: Apache-2.0
"""An event's instance starts while the event is being written down."""
import os
import sqlite3
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, os.path.dirname(__file__))
import tandem

HANDLER = "def handler(event, context):\n    print('got', event)\n"
LIMIT_S = 60


class Start(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="tandem-as-")
        self.t = tandem.Tandem()
        self.addCleanup(self.t.close)
        self.t.start()
        os.makedirs(f"{self.dir}/hello")
        with open(f"{self.dir}/hello/app.py", "w", encoding="ascii") as f:
            f.write(HANDLER)
        with open(f"{self.dir}/tandem.yaml", "w", encoding="ascii") as f:
            f.write("name: start\nfunctions:\n  hello: {code: hello, runtime: python3.11, handler: app.handler, snapshot: off}\n")
        self.t.cli("up", cwd=self.dir)

    def test_it_does_not_wait_for_the_store(self):
        self.t.cli("stop", "hello")
        tandem.wait_for(lambda: not self.t.instances("hello"), LIMIT_S)
        db = sqlite3.connect(f"{self.t.state}/daemon/tandem.db", isolation_level=None)
        self.addCleanup(db.close)
        db.execute("BEGIN IMMEDIATE")  # tandemd's own writes wait for the end of this one
        said = []
        call = threading.Thread(target=lambda: said.append(self.t.cli("invoke", "hello", "--async", "--payload", '"there"')))
        call.start()
        tandem.wait_for(lambda: self.t.instances("hello"), LIMIT_S)
        self.assertEqual(said, [])
        db.execute("ROLLBACK")
        call.join(LIMIT_S)
        self.assertEqual(len(said), 1)
        tandem.wait_for(lambda: "got there" in self.t.cli("logs", "hello"), LIMIT_S)


if __name__ == "__main__":
    unittest.main()
