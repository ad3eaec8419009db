#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Services of tandem.yaml: woken, scaled, rolled out and taken over, with clients that somebody else wrote."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import oci  # noqa: E402
import tandem  # noqa: E402

LIMIT_S = 60 * tandem.SLOW
SERVER = os.path.join(tandem.ROOT, "tests/e2e/server.c")


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="tandem-sv-")
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        subprocess.run(["gcc", "-O1", "-static", "-pthread", "-o", cls.dir + "/server", SERVER], check=True)
        with open(cls.dir + "/server", "rb") as f:
            program = f.read()
        cls.layout = oci.Image(oci.layer({"server": program, "tmp": {"type": b"5", "mode": 0o1777}}),
                               config={"Entrypoint": ["/server"]}).layout(cls.dir + "/box", "v1")

    def setUp(self):
        self.t = tandem.Tandem()
        self.t.__enter__()
        self.addCleanup(lambda: self.t.close(failed=bool(self._outcome and getattr(self._outcome, "success", True) is False)))
        self.t.cli("pull", "oci:" + self.layout + ":v1", "--tag", "localhost/server:v1")

    def up(self, services, check=True):
        path = os.path.join(self.dir, "tandem.yaml")
        with open(path, "w", encoding="ascii") as f:
            json.dump({"name": "shop", "services": services}, f)
        done = subprocess.run([tandem.PROGRAM, "--state", self.t.state, "up", "-f", path], capture_output=True, text=True, timeout=LIMIT_S, check=False)
        if check:
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done

    def web(self, **more):
        return {"image": "localhost/server:v1", "port": 8080, "route": "/*", "memory": 64, **more}

    def curl(self, path, *arguments, status=200):
        done = subprocess.run(["curl", "-sS", "-w", "\n%{http_code}", *arguments, self.t.gateway + path], capture_output=True, text=True,
                              timeout=LIMIT_S, check=False)
        body, _, code = done.stdout.rpartition("\n")
        self.assertEqual((done.returncode, code), (0, str(status)), done.stdout + done.stderr)
        return body

    def service(self, name="web"):
        status, answer = self.t.admin("GET", "/v1/services/" + name)
        return json.loads(answer) if status == 200 else None

    def until(self, true, what=""):
        return tandem.wait_for(lambda: true(self.service()), LIMIT_S, lambda: (what, self.service()))


class Wake(Case):
    def test_up_and_asked(self):
        self.up({"web": self.web(min=1)})
        self.assertEqual(self.curl("/hello"), "GET /hello")
        self.assertIn("web", self.t.cli("ls"))


if __name__ == "__main__":
    unittest.main()
