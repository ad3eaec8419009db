# SPDX-License-Identifier: Apache-2.0
"""One file and one tool: up, down, what belongs to whom, what the verbs say about it, backup and restore."""
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest
import urllib.request

import tandem

HELLO = "import os\ndef handler(event, context):\n    print('a line')\n    return {'n': 1, 'who': os.environ.get('WHO')}\n"


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Base(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = tandem.Tandem()
        cls.t.start()
        cls.addClassCleanup(cls.t.close)

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="tandem-up-")
        self.addCleanup(shutil.rmtree, self.dir)
        for project in {f["project"] for f in self.functions().values()} - {"api"}:
            self.tool("down", "--project", project)

    def tool(self, *args, **env):
        done = subprocess.run([tandem.PROGRAM, "--state", self.t.state, *args], capture_output=True, text=True, timeout=120, cwd=self.dir,
                              env={**os.environ, **env})
        return done.returncode, done.stdout, done.stderr

    def ok(self, *args, **env):
        code, out, err = self.tool(*args, **env)
        self.assertEqual(code, 0, out + err)
        return out

    def functions(self):
        return {f["name"]: f for f in json.loads(self.t.cli("ls", "-o", "json"))["functions"]}

    def put(self, name, text):
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text)

    def project(self, name, code=HELLO, **functions):
        """tandem.yaml with functions {name: extra lines}."""
        self.put("src/app.py", code)
        lines = [f"name: {name}", "functions:"]
        for f, extra in functions.items():
            lines += [f"  {f}:", "    code: src", "    runtime: python3.11", "    handler: app.handler"] + ["    " + x for x in extra]
        if not functions:
            lines[-1] += " {}"
        self.put("tandem.yaml", "\n".join(lines) + "\n")


class Up(Base):
    def test_create_change_remove(self):
        self.project("p", one=["route: /one"], two=[])
        out = self.ok("up")
        self.assertRegex(out, r"(?s)^project p\n  \+ one  create\n  \+ two  create\n.*Active  (one|two)")
        self.assertNotIn("\x1b", out)
        with urllib.request.urlopen(self.t.gateway + "/one", timeout=20) as answer:
            self.assertEqual(json.load(answer)["n"], 1)
        self.assertEqual(self.ok("up"), "project p\n    one  unchanged\n    two  unchanged\nnothing to change\n")

        self.project("p", one=["route: /one", "memory: 256", "environment: {WHO: '${NAME:-nobody}'}"])
        out = self.ok("up", "--dry-run")
        self.assertEqual(out, "project p\n  ~ one  update: memory 128Mi -> 256Mi, environment\n  - two  delete\n")
        self.assertEqual(set(self.functions()), {"one", "two"}, "--dry-run does nothing")
        out = self.ok("up", NAME="Ada")
        self.assertIn("Deleted  two", out)
        self.assertEqual(json.loads(self.ok("invoke", "one"))["who"], "Ada")
        self.assertEqual(self.functions()["one"]["memory_mb"], 256)

        self.project("p", code=HELLO.replace("'n': 1", "'n': 2"), one=["route: /one", "memory: 256"])
        self.assertIn("~ one  update: code, environment\n", self.ok("up"))
        self.assertEqual(json.loads(self.ok("invoke", "one")), {"n": 2, "who": None})
        self.assertIn("Deleted  one", self.ok("down"))
        self.assertEqual(self.ok("down"), "nothing to remove\n")
        self.assertEqual(self.functions(), {})

    def test_price_of_what_is_kept(self):
        self.project("p", one=["min: 2", "memory: 512"], two=["lane: container", "memory: 1024", "cpu: 0.5"], three=[])
        out = self.ok("up", "--dry-run")
        # 2 x 0.5 GB x 730 h at 4.1667e-6; Fargate's price of 0.5 vCPU and 1 GB (https://infra.furybee.org/articles/serverless-vs-containers-cost).
        self.assertRegex(out, r"\nfunction one +2 x 512 MB +\d+\.\d\d +10\.95  aws-lambda\n")
        self.assertRegex(out, r"\nfunction two +1 x 1024 MB, 0\.5 vCPU +\d+\.\d\d +18\.02  aws-fargate\n")
        self.assertRegex(out, r"\na month +declared +\d+\.\d\d +28\.97  list prices\n")
        self.assertNotIn("three ", out.split("KEPT")[1], "what is not kept has no price")
        plan = json.loads(self.ok("up", "--dry-run", "-o", "json"))
        self.assertEqual([(k["name"], k["instances"], k["offer"]) for k in plan["kept"]], [("one", 2, "aws-lambda"), ("two", 1, "aws-fargate")])
        total = plan["kept_total"]
        self.assertAlmostEqual(total["usd_month_aws"], sum(k["usd_month_aws"] for k in plan["kept"]))
        # All the memory of this machine would cost what all of its memory costs: a share of its price.
        share = plan["kept"][0]["usd_month_machine"] / (total["machine_usd_per_hour"] * 730)
        self.assertTrue(0 < share < 2 * 512 * 2**20 / (os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")), share)
        self.assertEqual((total["basis"], len(total["prices_as_of"])), ("declared", 7))

    def test_only_its_own(self):
        self.project("p", mine=["route: /mine"])
        self.ok("up")
        self.project("q", mine=[])
        code, _, err = self.tool("up")
        self.assertEqual(code, 1)
        self.assertEqual(err, 'tandem: tandem.yaml:3:3: "mine": the project "p" has a function of this name; rename one of them\n')
        self.project("q", other=["route: /mine"])
        self.assertIn('the route /mine belongs to "mine" of the project "p"', self.tool("up")[2])
        self.t.client().create_function(FunctionName="by-api", **tandem.python_function(HELLO))
        self.addCleanup(self.t.client().delete_function, FunctionName="by-api")
        self.project("q", **{"by-api": []})
        self.assertIn("was made through the AWS API", self.tool("up")[2])
        self.project("q", other=[])
        self.ok("up")
        self.ok("down")
        self.assertEqual(set(self.functions()), {"mine", "by-api"})
        self.assertEqual(self.tool("down", "--project", "api")[0], 1)

    def test_nothing_is_done_when_something_is_wrong(self):
        self.project("p", good=[], bad=["runtime2: x"])
        self.assertEqual(self.tool("up")[2], 'tandem: tandem.yaml:11:5: unknown key "runtime2"; did you mean "runtime"?\n')
        for text in (b"name: \0", b"\xff\xfename: p\n"):
            with open(os.path.join(self.dir, "tandem.yaml"), "wb") as f:
                f.write(text)
            self.assertEqual(self.tool("up")[2], "tandem: tandem.yaml is no text in UTF-8; is it the right file?\n")
        self.project("p", good=[])
        with open(os.path.join(self.dir, "tandem.yaml"), "a") as f:
            f.write("  odd:\n    code: src\n    runtime: cobol85\n    handler: a.b\n")
        self.assertRegex(self.tool("up")[2], r'tandem\.yaml:7:3: "odd": this host cannot serve runtime cobol85; it can serve: python3\.')
        self.assertEqual(self.functions(), {})

    def test_failed_function(self):
        self.project("p", old=[])
        self.ok("up")
        self.project("p", code="import no_such_module\n", broken=[])
        code, out, _ = self.tool("up")
        self.assertEqual(code, 1)
        self.assertRegex(out, r"failed   broken: .*no_such_module")
        self.assertEqual({n: f["state"] for n, f in self.functions().items()}, {"broken": "Failed", "old": "Active"}, "a broken up removes nothing")
        self.assertIn("no_such_module", self.ok("describe", "broken"))
        code, out, err = self.tool("invoke", "broken")
        self.assertEqual(code, 1)
        self.put("src/app.py", HELLO)
        self.assertIn("Active  broken", self.ok("up"))
        self.assertEqual(set(self.functions()), {"broken"})

    def test_many_in_parallel(self):
        self.project("p", **{f"f{i}": [] for i in range(12)})
        out = self.ok("up")
        self.assertEqual(len(re.findall(r"^  Active  f\d+", out, re.M)), 12)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda i: self.tool("up"), range(4)))
        self.assertEqual([d[0] for d in done], [0] * 4)
        self.assertEqual(self.ok("-o", "json", "down").count('"state":"Deleted"'), 12)

    def test_verbs(self):
        self.project("p", f=["tags: {team: a}", "environment: {SECRET_TOKEN: s3cr3t}"])
        self.ok("up")
        self.assertNotIn("s3cr3t", self.ok("describe", "f"))
        self.assertIn("s3cr3t", self.ok("describe", "f", "--values"))
        code, out, err = self.tool("invoke", "f", "--log")
        self.assertEqual(code, 0)
        self.assertRegex(err, r"(?s)START RequestId.*a line.*REPORT RequestId")
        self.assertIn(" f ", self.ok("ps"))
        self.assertRegex(self.ok("invoke", "f", "--async"), r"^accepted [0-9a-f-]{36}\n$")
        self.assertIn("a line", self.ok("logs", "f"))
        for line in self.ok("logs", "f", "-o", "json", "-n", "5").splitlines():
            self.assertEqual(set(json.loads(line)), {"time", "function", "request_id", "text"})
        self.assertRegex(self.ok("cost"), r"(?m)^p/f +\d+ ")
        self.assertRegex(self.ok("cost", "--by", "tag"), r"(?m)^team=a +\d+ ")
        self.assertRegex(self.ok("cost", "--by", "rows"), r"(?m) p/f +invoke +api +ok ")
        self.assertEqual(json.loads(self.ok("debug"))["functions"], 1)
        self.assertRegex(self.ok("stop", "f"), r"^ended [1-9]\d* instances of f\n$")
        self.assertEqual(json.loads(self.ok("invoke", "f"))["n"], 1)
        self.assertEqual(self.tool("doctor")[0], 0, self.tool("doctor")[1])

    def test_logs_follow(self):
        self.project("p", f=[])
        self.ok("up")
        follow = subprocess.Popen([tandem.PROGRAM, "--state", self.t.state, "logs", "f", "-f", "-n", "0"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(follow.stdout.close)
        self.addCleanup(follow.wait)
        self.addCleanup(follow.kill)
        tandem.wait_for(lambda: json.loads(self.ok("debug"))["http_connections"] >= 2)  # it is there; this call is the other one
        self.ok("invoke", "f")
        for line in follow.stdout:
            if "REPORT RequestId" in line:
                break
        else:
            self.fail("the stream ended")


class Backup(Base):
    def test_backup_and_restore(self):
        self.project("p", f=["route: /f"])
        self.ok("up")
        self.ok("invoke", "f")
        backup = os.path.join(self.dir, "backup")
        self.assertIn("backup written", self.ok("backup", backup))
        self.assertEqual(self.tool("backup", backup)[0], 1, "a second time into the same directory")
        self.assertTrue(os.path.exists(os.path.join(backup, "tandem.db")))
        self.assertTrue(os.listdir(os.path.join(backup, "blobs")))
        self.assertEqual(os.listdir(os.path.join(self.t.state, "daemon/backups")), [])
        self.ok("down")
        self.assertIn("a daemon answers", self.tool("restore", backup)[2])
        self.assertEqual(self.t.stop(), 0)
        self.assertIn("--replace", self.tool("restore", backup)[2])
        self.assertIn("restored", self.ok("restore", "--replace", backup))
        self.t.start()
        self.assertEqual(set(self.functions()), {"f"})
        self.assertEqual(json.loads(self.ok("invoke", "f"))["n"], 1, "code is unpacked again")
        self.assertRegex(self.ok("cost"), r"(?m)^p/f +\d+ ", "the ledger came along")


if __name__ == "__main__":
    unittest.main()
