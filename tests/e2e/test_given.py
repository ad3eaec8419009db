#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What containers are given beside their images, as the tool has it: secrets, volumes, what root allows of the host."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tandem  # noqa: E402


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = tandem.Tandem()
        cls.t.__enter__()
        cls.addClassCleanup(lambda: cls.t.close())

    def tool(self, *arguments, value=None):
        """(exit code, stdout, stderr)"""
        done = subprocess.run([tandem.PROGRAM, "--state", self.t.state, *arguments], input=value, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def names(self, what):
        return sorted(x["name"] for x in json.loads(self.t.cli(what, "ls", "-o", "json"))[what + "s"])


class Kept(Case):
    def test_secrets(self):
        self.assertEqual(self.tool("secret", "set", "db", value="hunter2\n")[0], 0)
        self.assertEqual(self.tool("secret", "set", "db", value="hunter3\n")[0], 0)
        self.assertEqual(self.names("secret"), ["db"])
        self.t.restart()
        self.assertEqual(self.names("secret"), ["db"])
        with open(self.t.state + "/secrets/db", encoding="ascii") as f:
            self.assertEqual(f.read(), "hunter3\n")
        for arguments in (("secret", "ls"), ("debug",), ("secret", "ls", "-o", "json")):
            self.assertNotIn("hunter", self.tool(*arguments)[1])
        self.assertEqual(self.tool("secret", "rm", "db")[0], 0)
        self.assertEqual(self.names("secret"), [])
        code, _, err = self.tool("secret", "rm", "db")
        self.assertEqual(code, 1)
        self.assertIn("secret db: there is none of that name", err)
        for name in ("-x", ".x", "x" * 65, "a b"):
            self.assertEqual(self.t.admin("PUT", "/v1/secrets/" + name.replace(" ", "%20"), b"x")[0], 400, name)
        self.assertEqual(self.t.admin("PUT", "/v1/secrets/..%2Fgrants%2F:etc", b"x")[0], 400)
        self.assertIn("at most 65536 bytes", self.tool("secret", "set", "big", value="x" * 65537)[2])
        self.assertEqual(self.tool("secret", "set", "none", value="")[0], 2)
        self.assertEqual(self.tool("secret", "set", "a", "b", value="x")[0], 2)  # never from the command line
        with open(self.t.log_path, encoding="utf-8") as f:
            self.assertNotIn("hunter", f.read())

    def test_volumes(self):
        self.assertEqual(self.names("volume"), [])
        code, _, err = self.tool("volume", "rm", "nothing")
        self.assertEqual(code, 1)
        self.assertIn("volume nothing: there is none of that name", err)

    def test_grants(self):
        with tempfile.TemporaryDirectory() as d:
            os.symlink(d, d + "/link")
            self.assertEqual(self.tool("grant", "add", d + "/link/.")[0], 0)  # where it leads
            self.assertEqual(self.tool("grant", "ls"), (0, os.path.realpath(d) + "\n", ""))
            self.assertEqual(os.stat(self.t.state + "/grants").st_mode & 0o777, 0o700)
            self.assertEqual(self.tool("grant", "rm", os.path.realpath(d))[0], 0)
            self.assertEqual(self.tool("grant", "ls")[1], "")
            self.assertEqual(self.tool("grant", "rm", d)[0], 1)
            os.mkdir(d + "/a:b")
            for path in ("/", d + "/a:b", d + "/nothing"):
                self.assertEqual(self.tool("grant", "add", path)[0], 1, path)
            self.assertEqual(self.tool("grant", "add")[0], 2)


if __name__ == "__main__":
    unittest.main()
