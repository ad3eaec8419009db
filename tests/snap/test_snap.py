#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every piece of kernel state that docs/snapshots.md lists: kept over two restores, or refused with its reason."""
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from snap_driver import *  # noqa: E402,F403

ZOO = os.path.join(BUILD, "tests/snap/zoo")


class Zoo(unittest.TestCase):
    def setUp(self):
        self.inits = []
        folder = tempfile.TemporaryDirectory(prefix="tandem-snap-")
        self.addCleanup(folder.cleanup)
        self.image = folder.name + "/image"

    def tearDown(self):
        for i in self.inits:
            i.close()

    def init(self):
        self.inits.append(Init())
        return self.inits[-1]

    def started(self, name):
        i = self.init()
        start(i.ctl, ["/mnt/tests/snap/zoo", name])
        self.assertEqual(i.line(), "ready", i.output())
        return i

    def kept(self, name):
        i = self.started(name)
        stats = take(i.ctl, self.image)
        self.assertGreater(stats.mappings, 10)
        if name == "wide registers":  # its safe point is in a read of its own
            self.assertEqual(i.ask("go on"), "ready")
        for again in (1, 2):
            self.assertEqual(i.ask("check" if again == 2 else "go on"), "ok")  # the one that was taken goes on
            i = self.init()
            if again == 2 and name not in ("advice", "500 MB"):  # page by page: another advice, and much to read
                leaves_memory(self.image)
            restore(i.ctl, self.image)
            if name == "wide registers":
                self.assertEqual(i.ask("go on"), "ready")
            elif again == 1:
                take(i.ctl, self.image)
        self.assertEqual(i.ask("check"), "ok", i.output())

    def refused(self, name, reason):
        i = self.started(name)
        with self.assertRaises(Refused) as r:
            take(i.ctl, self.image, deadline_ms=3000)
        self.assertIn(reason, str(r.exception))
        self.assertEqual(i.ask("still there"), "ok")
        self.assertLess(os.path.getsize(self.image), 1 << 30)


def add_tests():
    for row in subprocess.run([ZOO], stdout=subprocess.PIPE, check=True).stdout.decode().splitlines():
        kind, name, reason = row.split("\t")
        method = (lambda self, n=name: self.kept(n)) if kind == "kept" else (lambda self, n=name, r=reason: self.refused(n, r))
        setattr(Zoo, "test_%s_%s" % (kind, "".join(c if c.isalnum() else "_" for c in name)), method)


add_tests()

if __name__ == "__main__":
    unittest.main()
