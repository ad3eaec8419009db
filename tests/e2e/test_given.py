#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What containers are given beside their images, as the tool has it: secrets, volumes, what root allows of the host."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import oci  # noqa: E402
import tandem  # noqa: E402
from test_run import BUSYBOX, LIMIT_S, files  # noqa: E402


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


class Containers(Case):
    """As documents have it (docs/state.md)."""

    @classmethod
    def setUpClass(cls):
        if not os.path.exists(BUSYBOX) or not shutil.which("skopeo"):
            raise unittest.SkipTest("busybox-static and skopeo are not installed")
        super().setUpClass()
        cls.dir = os.path.realpath(tempfile.mkdtemp(prefix="tandem-given-"))
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        layout = oci.Image(oci.layer(files()), config={"Cmd": ["sh"], "Env": ["PATH=/bin"]}).layout(cls.dir + "/box", "v1")
        cls.t.cli("pull", "oci:" + layout + ":v1", "--tag", "localhost/box:v1")

    def task(self, name):
        return json.loads(self.t.admin("GET", "/v1/tasks/" + name)[1])

    def start(self, name, script, **given):
        doc = {"containers": [dict({"name": "main", "image": "localhost/box:v1", "command": ["sh", "-c", script]}, **given)]}
        status, text = self.t.admin("POST", "/v1/tasks", json.dumps({"name": name, "doc": doc}))
        self.assertEqual(status, 201, text)
        self.addCleanup(self.t.admin, "POST", "/v1/tasks/%s/stop?timeout_s=0" % name)

    def says(self, name, script, **given):
        """What it has said, once it has ended with 0."""
        self.start(name, script, **given)
        ended = tandem.wait_for(lambda: (lambda k: k if k["state"] == "STOPPED" else None)(self.task(name)), LIMIT_S, lambda: self.task(name))
        self.assertEqual(ended["exit_code"], 0, (ended, self.t.cli("logs", name)))
        return self.t.cli("logs", name)

    def refused(self, name, reason, **given):
        self.start(name, "true", **given)
        tandem.wait_for(lambda: self.task(name)["state"] == "STOPPED", LIMIT_S, lambda: self.task(name))
        self.assertEqual(self.task(name)["exit_code"], 125)
        self.assertIn(reason, self.task(name)["reason"])

    def test_all_of_it(self):
        self.tool("secret", "set", "pw", value="hunter2")
        os.makedirs(self.dir + "/conf", exist_ok=True)
        with open(self.dir + "/conf/x", "w", encoding="ascii") as f:
            f.write("of the host\n")
        mounts = [{"path": "/data/", "volume": "data"}, {"path": "/etc/conf", "host": self.dir + "/./conf/../conf/", "read_only": True}, {"path": "/t", "tmpfs_mb": 1}]
        self.refused("early", "root has not allowed containers %s/conf" % self.dir, mounts=mounts)
        self.assertEqual(self.tool("grant", "add", self.dir + "/conf")[0], 0)
        said = self.says("all", "cat /etc/conf/x; echo $PW; cat /run/secrets/pw; echo; echo kept >/data/f; ! touch /etc/conf/y 2>/dev/null; ulimit -n; touch /t/x; "
                         "grep CapEff /proc/self/status", mounts=mounts, secrets=[{"name": "pw"}, {"name": "pw", "env": "PW"}], ulimits={"nofile": [123, 1234]},
                         cap_drop=["ALL"], cap_add=["NET_RAW"])
        for line in ("of the host", "hunter2\n", "123", "CapEff:\t%016x" % (1 << 13)):
            self.assertIn(line, said)
        self.assertEqual(said.count("hunter2"), 2)
        self.assertIn("kept", self.says("again", "cat /v/f", mounts=[{"path": "/v", "volume": "data", "read_only": True}]))
        for what in (self.t.admin("GET", "/v1/tasks")[1], self.t.admin("GET", "/v1/debug")[1]):
            self.assertNotIn(b"hunter2", what)
        with open(self.t.log_path, encoding="utf-8") as f:
            self.assertNotIn("hunter2", f.read())
        self.refused("nosecret", "there is no secret other", secrets=[{"name": "other"}])
        self.refused("device", "root has not allowed containers /dev/null", devices=["/dev/null"])

    def test_run_allows_what_root_asks_for(self):
        os.makedirs(self.dir + "/run", exist_ok=True)
        code, out, err = self.tool("run", "--device", "/dev/full:/dev/x", "localhost/box:v1", "true")
        self.assertEqual((code, out), (125, ""), err)  # a device is a path alone
        device = next((name for name in ("/dev/fuse", "/dev/loop-control") if os.path.exists(name)), None)
        code, out, err = self.tool("run", "-v", self.dir + "/run:/h", *(["--device", device] if device else []), "localhost/box:v1",
                                   "sh", "-c", "touch /h/made; ls /dev/fuse /dev/loop-control 2>/dev/null; true")
        self.assertEqual((code, out), (0, device + "\n" if device else ""), err)
        self.assertTrue(os.path.exists(self.dir + "/run/made"))

    def test_up_allows_what_the_file_names(self):
        """By root's hand, which brings it up; ../ and links are where they lead."""
        os.makedirs(self.dir + "/app/conf", exist_ok=True)
        with open(self.dir + "/app/conf/x", "w", encoding="ascii") as f:
            f.write("from the file's folder\n")
        with open(self.dir + "/app/tandem.yaml", "w", encoding="ascii") as f:
            f.write("name: given\ntasks:\n  once:\n    image: localhost/box:v1\n    command: [cat, /etc/x/x]\n    volumes: [\"./conf:/etc/x:ro\", \"kept:/k\"]\n"
                    "    devices: [/dev/null]\n")
        code, out, err = self.tool("up", "-f", self.dir + "/app/tandem.yaml")
        self.assertEqual(code, 0, (out, err))
        allowed = self.tool("grant", "ls")[1].split()
        self.assertIn(self.dir + "/app/conf", allowed)
        self.assertIn("/dev/null", allowed)
        self.assertEqual(self.tool("down", "-f", self.dir + "/app/tandem.yaml")[0], 0)

    def test_a_volume_in_use(self):
        self.start("holds", "echo here >/v/f; exec sleep 1000", mounts=[{"path": "/v", "volume": "held"}])
        tandem.wait_for(lambda: self.task("holds")["state"] == "RUNNING", LIMIT_S, lambda: self.task("holds"))
        old = tandem.daemon_of(self.t.pid)
        for _ in range(2):
            code, _, err = self.tool("volume", "rm", "held")
            self.assertEqual((code, "volume held: a container that runs has it" in err), (1, True), err)
            if tandem.daemon_of(self.t.pid) == old:
                os.kill(old, signal.SIGKILL)  # the successor knows as much
                tandem.wait_for(lambda: tandem.daemon_of(self.t.pid) not in (None, old) and self.tool("ps")[0] == 0, LIMIT_S)
        self.assertIn("held", self.names("volume"))
        self.assertEqual(self.t.admin("POST", "/v1/tasks/holds/stop?timeout_s=0")[0], 200)
        self.assertEqual(self.tool("volume", "rm", "held")[0], 0)
        self.assertNotIn("held", self.names("volume"))


if __name__ == "__main__":
    unittest.main()
