#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The runner must not call a run good when a test was missing, died, ran nothing, or was skipped anew."""
import os
import signal
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HEAD = "import os, signal, subprocess, sys, unittest\nclass T(unittest.TestCase):\n"
TAIL = "if __name__ == '__main__':\n    unittest.main()\n"


class RunTests(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory(prefix="tandem-run-tests-")
        self.addCleanup(self.dir.cleanup)

    def run_it(self, body, *args, whole=False, before=None):
        path = os.path.join(self.dir.name, "test_x.py")
        with open(path, "w") as f:
            f.write(body if whole else HEAD + body + TAIL)
        p = subprocess.run([sys.executable, os.path.join(ROOT, "tools/run-tests"), *args, path],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, preexec_fn=before)
        return p.returncode, p.stdout, p.stdout.splitlines()[-1]

    def test_good(self):
        rc, _, last = self.run_it(" def test_a(self): pass\n def test_b(self): pass\n")
        self.assertEqual((rc, last), (0, "2 passed, 0 failed, 0 skipped"))

    def test_bad_ones_are_counted_and_shown(self):
        rc, out, last = self.run_it(" def test_a(self): pass\n def test_b(self): self.fail('because of this')\n"
                                    " def test_c(self): raise OSError\n")
        self.assertEqual((rc, last), (1, "1 passed, 2 failed, 0 skipped"))
        self.assertIn("because of this", out)

    def test_death(self):
        rc, out, last = self.run_it(" def test_a(self): os.kill(os.getpid(), signal.SIGSEGV)\n")
        self.assertEqual((rc, last), (1, "0 passed, 1 failed, 0 skipped"))
        self.assertIn("SIGSEGV", out)

    def test_under_nohup(self):
        """It outlives its terminal, and its tests have signals as they are without it."""
        rc, out, _ = self.run_it(" def test_a(self):\n  os.kill(os.getppid(), signal.SIGHUP)\n"
                                 "  self.assertEqual(signal.getsignal(signal.SIGHUP), signal.SIG_DFL)\n",
                                 before=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        self.assertEqual(rc, 0, out)

    def test_exit_status_counts_though_all_tests_passed(self):
        rc, _, last = self.run_it(HEAD + " def test_a(self): pass\nunittest.main(exit=False)\nsys.exit(3)\n", whole=True)
        self.assertEqual((rc, last), (1, "1 passed, 1 failed, 0 skipped"))

    def test_nothing_ran(self):
        for body in ("", "import sys\nsys.exit(0)\n", "print('OK')\n"):
            rc, _, last = self.run_it(body, whole=True)
            self.assertEqual((rc, last), (1, "0 passed, 1 failed, 0 skipped"))

    def test_missing_file(self):
        p = subprocess.run([sys.executable, os.path.join(ROOT, "tools/run-tests"), "--build", self.dir.name, "units"],
                           stdout=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(p.returncode, 1)
        self.assertTrue(p.stdout.splitlines()[-1].startswith("0 passed, "), p.stdout)
        self.assertFalse(p.stdout.splitlines()[-1].startswith("0 passed, 0 failed"), p.stdout)

    def test_more_skips_than_expected(self):
        skips = os.path.join(self.dir.name, "skips")
        body = " def test_a(self): pass\n def test_b(self): self.skipTest('no such thing here')\n"
        for number, status in (("0", 1), ("1", 0)):
            with open(skips, "w") as f:
                f.write("# a comment\n%s\n" % number)
            rc, out, last = self.run_it(body, "--skips", skips)
            self.assertEqual((rc, last), (status, "1 passed, 0 failed, 1 skipped"))
            self.assertIn("no such thing here", out)

    def test_processes_left_behind_are_named_and_ended(self):
        rc, out, _ = self.run_it(" def test_a(self):\n  p = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
                                 "  print('pid', p.pid)\n  p.returncode = 0\n  self.fail('to see the output')\n")
        self.assertEqual(rc, 1)
        self.assertIn("left 1 processes behind: sleep", out)
        pid = int(out.split("pid ")[1].split()[0])
        try:
            with open("/proc/%d/stat" % pid) as f:
                self.assertIn(f.read().rsplit(")", 1)[1].split()[0], "XZ")
        except FileNotFoundError:
            pass


if __name__ == "__main__":
    unittest.main()
