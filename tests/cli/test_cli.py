# SPDX-License-Identifier: Apache-2.0
"""The tool without a daemon: help, usage errors, exit codes, what it says when nothing answers, and the archives that `up` packs.
A small server on a unix socket stands in for the daemon where one is needed, and records what it was asked."""
import http.server
import io
import json
import os
import pty
import re
import select
import shutil
import socketserver
import stat
import subprocess
import tempfile
import threading
import time
import unittest
import zipfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TANDEM = os.path.join(os.environ.get("TANDEM_BUILD", os.path.join(ROOT, "build")), "tandem")
VERBS = "serve up down ls ps describe invoke stop restart logs events why cost budget top trace snapshots images pull run exec stats secret volume grant rollout simulate bench tune advise env doctor version backup restore debug completion".split()


class FakeDaemon:
    """Answers by a table {(method, path): (status, body)}; asked holds (method, target, body)."""

    def __init__(self, state, answers):
        self.asked = asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked.append((self.command, self.path, body))
                status, text = answers.get((self.command, self.path.split("?")[0]), (404, {"error": "no such path", "kind": "not_found"}))
                if callable(text):
                    text = text(body)
                self.send_response(status)
                if isinstance(text, tuple):  # a chunk each
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    self.wfile.write(b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*text, b"")))
                    return
                data = text.encode() if isinstance(text, str) else json.dumps(text).encode()
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = answer

            def log_message(self, *args):
                pass

            def address_string(self):
                return ""

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

        self.server = Server(os.path.join(state, "admin.sock"), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Base(unittest.TestCase):
    def setUp(self):
        self.state = tempfile.mkdtemp(prefix="tandem-cli.")
        self.addCleanup(shutil.rmtree, self.state)

    def daemon(self, answers):
        fake = FakeDaemon(self.state, answers)
        self.addCleanup(fake.stop)
        return fake

    def run_(self, *args, stdin=subprocess.DEVNULL, cwd=None, **env):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("TANDEM_", "NODE_OPTIONS", "PYTHONPATH"))}
        done = subprocess.run([TANDEM, *args], stdin=stdin, capture_output=True, text=True, cwd=cwd,
                              env={**clean, "TANDEM_STATE": self.state, **env}, timeout=60)
        return done.returncode, done.stdout, done.stderr


class Cli(Base):
    def test_every_verb_teaches(self):
        code, out, _ = self.run_("--help")
        self.assertEqual(code, 0)
        self.assertEqual(re.findall(r"^  (\w+) {2,}\w.*", out, re.M)[: len(VERBS)], VERBS)
        for verb in VERBS:
            with self.subTest(verb):
                code, out, err = self.run_(verb, "--help")
                self.assertEqual((code, err), (0, ""))
                self.assertRegex(out, rf"^usage: tandem {verb}( \S.*)?\n")
                self.assertRegex(out, rf"(?m)^  .*tandem {verb}", "an example")
                self.assertEqual(self.run_("help", verb)[1], out)
                self.assertNotIn("no-layer", out)

    def test_usage_errors_exit_2(self):
        for args, says in ((["frob"], 'there is no verb "frob"'), (["ls", "x"], '"x" is one word too many'),
                           (["dwon"], 'there is no verb "dwon"; did you mean "down"?'),
                           (["ls", "--outptu", "json"], "there is no option --outptu; did you mean --output?"),
                           (["logs", "--folow"], "there is no option --folow; did you mean --follow?"), (["invoke"], "invoke needs NAME"), (["ls", "--bogus"], "there is no option --bogus"),
                           (["ls", "-z"], "there is no option -z"), (["logs", "-n"], "-n needs a value: N"),
                           (["logs", "--since", "soon"], '--since takes a length of time like 30s, 10m or 2h, not "soon"'),
                           (["cost", "--by", "rows", "--on", "all"], "--on prices sums of calls, not rows"),
                           (["cost", "--by", "moon"], '--by is workload, lane, tag, trigger, hour, disk, network or rows, not "moon"'),
                           (["-o", "yaml", "ls"], '--output is json or text, not "yaml"'),
                           (["serve", "--api", "example.org:1"], '"example.org:1" is no address'),
                           (["serve", "--api", "127.0.0.1:99999"], "has no port between 0 and 65535"),
                           (["serve", "--auth", "maybe"], '--auth is sigv4 or none, not "maybe"'),
                           (["serve", "--auth", "none", "--api", "0.0.0.0:4566"], "--auth none is only for loopback"),
                           (["serve", "--auth", "none", "--api", "[::]:4566"], "--auth none is only for loopback")):
            with self.subTest(args):
                code, out, err = self.run_(*args)
                self.assertEqual((code, out), (2, ""))
                self.assertIn(says, err)
        self.assertEqual(self.run_()[0], 2)

    def test_no_daemon_says_what_to_do(self):
        for args in (["ls"], ["ps"], ["describe", "f"], ["invoke", "f"], ["logs"], ["events"], ["cost"], ["env"], ["stop", "f"], ["snapshots"], ["trace", "f"], ["debug"]):
            with self.subTest(args):
                code, out, err = self.run_(*args)
                self.assertEqual((code, out), (1, ""))
                self.assertEqual(err, f"tandem: no daemon answers at {self.state}/admin.sock; "
                                      f"start one with: sudo tandem serve --state {self.state}\n")
        code, out, _ = self.run_("version")
        self.assertEqual(code, 0)
        self.assertRegex(out, r"^tandem \d+\.\d+\.\d+\n$")

    def test_table_is_plain_and_aligned(self):
        row = {"name": "iris", "project": "p", "runtime": "python3.11", "lane": "function", "memory_mb": 512, "timeout_s": 3, "state": "Active", "instances": 1,
               "route": None}
        self.daemon({("GET", "/v1/functions"): (200, {"functions": [row, {**row, "name": "a-longer-name", "route": "/x"}]})})
        code, out, err = self.run_("ls")
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(out, "NAME           PROJECT  RUNTIME     LANE      MEMORY  TIMEOUT  STATE   INSTANCES  ROUTE\n"
                              "iris           p        python3.11  function   512Mi       3s  Active          1  -\n"
                              "a-longer-name  p        python3.11  function   512Mi       3s  Active          1  /x\n")
        self.assertEqual(json.loads(self.run_("-o", "json", "ls")[1])["functions"][0]["name"], "iris")
        self.assertEqual(json.loads(self.run_("ls", "-o", "json")[1])["functions"][0]["name"], "iris")

    def test_why_tells_who_left_from_what_failed(self):
        rows = [{"kind": "invoke", "time": "2026-01-01T00:00:00Z", "outcome": o} for o in ("ok", "error", "canceled", "timeout", "canceled", "canceled")]
        self.daemon({("GET", "/v1/names/f"): (200, {"name": "f", "project": "p"}), ("GET", "/v1/cost"): (200, {"rows": rows}),
                     ("GET", "/v1/events"): (200, "")})
        said = self.run_("why", "f")[1]
        self.assertRegex(said, r"(?m)^failed +2 of the last 6 calls$")
        self.assertRegex(said, r"(?m)^left +3 of the last 6 calls: their clients did not wait for the answer$")

    def test_what_a_function_said_drives_no_terminal(self):
        hostile, harmless = "\x1b]0;x\x07\u009b2J\x7f \u00e4", " ]0;x   2J  \u00e4"
        self.daemon({("GET", "/v1/names/f"): (200, {"reason": hostile, "list": [hostile], "in": {"it": hostile}}),
                     ("GET", "/v1/functions"): (200, {"functions": [{"name": hostile}]}),
                     ("POST", "/v1/functions/f/invoke"): (200, {"outcome": "error", "reason": hostile, "body": ""})})
        self.assertEqual(self.run_("describe", "f"), (0, f"reason: {harmless}\nlist:\n  - {harmless}\nin:\n  it: {harmless}\n", ""))
        self.assertIn(f"\n{harmless}", self.run_("ls")[1])
        self.assertEqual(self.run_("invoke", "f"), (1, "", f"tandem: f: {harmless}; more: tandem logs f\n"))

    def test_what_is_logged_drives_no_terminal_in_two_pieces_either(self):
        self.daemon({("GET", "/v1/logs"): (200, (b"one \xe2\x82", b"\xac, \xc2", b"\x9b31m, \xe2\x80", b"\xae two \xf0\x9f"))})
        whole = b"one \xe2\x82\xac, \xc2\x9b31m, \xe2\x80\xae two \xf0\x9f"
        logs = [TANDEM, "--state", self.state, "logs"]
        self.assertEqual(subprocess.run(logs, stdout=subprocess.PIPE, timeout=60, check=True).stdout, whole)
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        self.addCleanup(os.close, theirs)
        subprocess.run(logs, stdout=theirs, timeout=60, check=True)
        seen = b""
        while len(seen) < len(whole) and select.select([ours], [], [], 60)[0]:
            seen += os.read(ours, 4096)
        self.assertEqual(seen, whole.replace(b"\xc2\x9b", b"  ").replace(b"\xe2\x80\xae", b"   "))

    def test_invoke(self):
        answer = {"request_id": "r", "outcome": "ok", "body": '{"a":1}', "timing": {"cold": True, "billed_ms": 2}}
        fake = self.daemon({("POST", "/v1/functions/f/invoke"): (200, answer),
                            ("POST", "/v1/functions/bad/invoke"): (200, {**answer, "outcome": "error", "reason": "E: no", "body": "{}"}),
                            ("POST", "/v1/functions/slow/invoke"): (200, {**answer, "outcome": "timeout", "reason": "late", "body": "{}"})})
        self.assertEqual(self.run_("invoke", "f"), (0, '{"a":1}\n', ""))
        self.assertEqual(fake.asked[-1], ("POST", "/v1/functions/f/invoke", b"{}"))
        self.run_("invoke", "f", "-p", '{"x": "\u00e4"}', "--log")
        self.assertEqual(fake.asked[-1], ("POST", "/v1/functions/f/invoke?log=1", '{"x": "\u00e4"}'.encode()))
        path = os.path.join(self.state, "event.json")
        with open(path, "w") as f:
            f.write("[1]")
        self.run_("invoke", "f", f"--payload=@{path}")
        self.assertEqual(fake.asked[-1][2], b"[1]")
        with open(path) as f:
            self.run_("invoke", "f", "-p", "-", stdin=f)
        self.assertEqual(fake.asked[-1][2], b"[1]")
        code, out, err = self.run_("invoke", "bad")
        self.assertEqual((code, out, err), (1, "{}\n", "tandem: bad: E: no; more: tandem logs bad\n"))
        self.assertEqual(self.run_("invoke", "slow")[0], 124)
        self.assertEqual(self.run_("invoke", "slow", "-o", "json")[0], 124)
        n = len(fake.asked)
        self.assertEqual(self.run_("invoke", "f", "-p", "{")[0], 2)
        self.assertEqual(len(fake.asked), n, "bad JSON is not sent")
        self.run_("invoke", "a/b", "-p", "1")
        self.assertEqual(fake.asked[-1][1], "/v1/functions/a%2Fb/invoke")

    def test_simulate(self):
        day = os.path.join(self.state, "day")
        os.mkdir(day)
        files = {"inv.csv": "HashFunction,HashApp,1,2\nf,a,1,1\nother,a,1,1\n",
                 "run.csv": "HashFunction,Average," + ",".join(f"percentile_Average_{p}" for p in (0, 1, 25, 50, 75, 99, 100)) + "\nf,1" + ",100" * 7 + "\n",
                 "mem.csv": "HashApp,AverageAllocatedMb\na,1024\n"}
        for name, text in files.items():
            with open(os.path.join(day, name), "w", encoding="ascii") as f:
                f.write(text)
        code, out, err = self.run_("simulate", day, "--restore", "5+0.01", "--policy", "none,fixed-10m,hybrid", "--price", "1", "-o", "json")
        answer = json.loads(out)
        ways = {w["name"]: w for w in answer["policies"]}
        self.assertEqual((answer["calls"], answer["functions"], answer["left_out"], answer["seconds"]), (2, 1, 1, 120))
        self.assertAlmostEqual(answer["busy_gb_s"], 0.2)
        self.assertEqual((ways["none"]["idle_gb_s"], ways["none"]["cold"]), (0, 2))
        self.assertEqual((ways["none"]["added_p99_us"], ways["none"]["latency_p50_us"]), (15240, 115240))
        self.assertEqual((ways["fixed-10m"]["cold"], ways["hybrid"]["cold"], ways["hybrid"]["held_most_gb"] <= 1), (1, 1, True))
        self.assertGreater(ways["fixed-10m"]["usd_machine"], ways["none"]["usd_machine"])
        # One second of 1 GB at Lambda is $0.0000166667, a request $0.0000002; 15.24 ms of each start are billed.
        self.assertAlmostEqual({o["name"]: o["usd"] for o in answer["offers"]}["aws-lambda"], 0.0000166667 * (0.2 + 0.032) + 4e-7, 9)
        code, out, err = self.run_("simulate", day, "--plain", "0+4")
        self.assertRegex(out, r"(?m)^fixed-10m, plain starts +50\.00 %")
        self.assertIn("1 functions, 2 calls", err)
        self.assertIn("1 functions left out", err)
        for wrong in ("x", "1+", "-1", "nan", "1+2+3", "inf"):
            self.assertEqual(self.run_("simulate", day, "--plain", wrong)[0], 2, wrong)
        for wrong in ("", "x", "fixed-", "fixed-x", "tandem,none," + "x" * 40, ",".join(["none"] * 17)):
            self.assertEqual(self.run_("simulate", day, "--policy", wrong)[0], 2, wrong)
        for wrong in (("--cpu", "2"), ("--cpu", ""), ("--price", "-1"), ("--memory", "0")):
            self.assertEqual(self.run_("simulate", day, *wrong)[0], 2, wrong)
        drawn = [self.run_("simulate", "poisson:2", "--for", "10m", "--service", "20,50", "--seed", "3", "-o", "json")[1] for _ in range(2)]
        drawn = [{k: v for k, v in json.loads(d).items() if k != "took_cpu_s"} for d in drawn]
        self.assertEqual(drawn[0], drawn[1])
        self.assertEqual([w["name"] for w in drawn[0]["policies"]], "tandem fixed-1m fixed-10m fixed-20m hybrid foresight".split())
        self.assertTrue(1050 < drawn[0]["calls"] < 1350, drawn[0]["calls"])
        for wrong, says in (("poisson:x", "is not like poisson:20"), ("gamma:1", "is not steady:RATE")):
            self.assertIn(says, self.run_("simulate", wrong)[2])
        self.assertIn("is not MS or P50,P99", self.run_("simulate", "poisson:1", "--service", "5,1")[2])
        self.assertEqual(self.run_("simulate", "ledger", "--check")[0], 2)
        self.assertIn("--for is a time in which there can be calls", self.run_("simulate", "poisson:2", "--for", "0s")[2])
        self.assertEqual(self.run_("simulate", "ledger", "--since", "0s")[0], 2)
        self.assertIn("more than 20000 calls", self.run_("simulate", "poisson:5000", "--check")[2])
        self.assertIn("no call in this time", self.run_("simulate", "poisson:0.000001", "--check")[2])
        code, out, err = self.run_("simulate", day + "x")
        self.assertEqual(code, 1)
        self.assertIn("No such file", err)
        with open(os.path.join(day, "inv.csv"), "a", encoding="ascii") as f:
            f.write("f,a,1")
        code, out, err = self.run_("simulate", day)
        self.assertEqual((code, out), (1, ""))
        self.assertIn("cut off: line 4", err)

    def test_advise(self):
        shop = os.path.join(self.state, "shop.yaml")
        with open(shop, "w", encoding="ascii") as f:
            f.write("shop: {kind: api, rate: 80/s, duration: 40ms..90ms, memory: 256MB}\n"
                    "night: {kind: batch, rate: 1/day, duration: 2h, gpu: 1}\n"
                    "mad: {scale_to_zero: true, warm_state: true}\n")
        code, out, err = self.run_("advise", "--declare", shop)
        self.assertEqual((code, err), (0, ""))
        self.assertLessEqual(max(map(len, out.splitlines())), 80)
        self.assertRegex(out, r"(?m)^shop \(nothing was measured\)\n  lane    container ")
        self.assertRegex(out, r"(?m)^  even at here: [\d.]+ requests/s \([\d.]+ to [\d.]+\)\n {10}aws: ")
        self.assertIn("[declared]", out)
        self.assertIn("give up warm_state (then: function), or scale_to_zero (then: container)", out)
        code, out, err = self.run_("advise", "--declare", shop, "-o", "json")
        said = {w["name"]: w for w in json.loads(out)["workloads"]}
        self.assertEqual({n: w["lane"] for n, w in said.items()}, {"shop": "container", "night": "container", "mad": "contradiction"})
        here = said["shop"]["places"]["here"]
        self.assertTrue(0 < here["break_even_low"] < here["break_even"] < here["break_even_high"])
        self.assertEqual(said["shop"]["facts"]["duration"], {"value": 0.06, "low": 0.04, "high": 0.09, "origin": "declared"})
        self.assertEqual({f["source"] for f in said["night"]["hard_facts"]} & {"AWS Lambda Developer Guide, quotas"},
                         {"AWS Lambda Developer Guide, quotas"})
        self.assertEqual(said["night"]["places"]["aws"]["container"], False, "Fargate has no GPU")

        notes = os.path.join(self.state, "notes")
        for _ in range(2): # its own pages are written anew
            self.assertEqual(self.run_("advise", "--declare", shop, "--notes", notes)[0], 0)
        with open(os.path.join(notes, "shop.md"), encoding="utf-8") as f:
            page = f.read()
        for part in ("## Runbook", "## Cost", "## Way back", "tandem logs shop", "duration 60 ms [declared]"):
            self.assertIn(part, page)
        with open(os.path.join(notes, "shop.md"), "w", encoding="ascii") as f:
            f.write("mine")
        code, out, err = self.run_("advise", "--declare", shop, "--notes", notes)
        self.assertEqual(code, 1)
        self.assertIn("shop.md is there and was not written by tandem advise", err)
        for verb, option, path, says in (("advise", "--notes", "/nowhere/notes", "/nowhere/notes: No such"), ("advise", "--notes", shop, "Not a directory"),
                                         ("bench", "--html", "/nowhere/page", "write to /nowhere/: No such"), ("tune", "--html", self.state, "is no name of a file"),
                                         ("bench", "--html", shop + "/page", "Not a directory"), ("tune", "--html", "", "is no name of a file")):
            code, out, err = self.run_(verb, *([] if verb == "advise" else ["iris"]), option, path)
            self.assertEqual((code, out), (1, ""), (verb, path))
            self.assertIn(says, err)

        with open(shop, "w", encoding="ascii") as f:
            f.write("shop:\n  knid: api\n")
        code, out, err = self.run_("advise", "--declare", shop)
        self.assertEqual((code, out), (1, ""))
        self.assertIn(':2:3: unknown key "knid"; did you mean "kind"?', err)
        self.assertEqual(self.run_("advise", "--on", "mars")[0], 2)
        self.assertEqual(self.run_("advise", "--declare", shop + "x")[0], 1)

    def test_advise_of_a_service_that_is_up_again(self):
        """What one of its name did before it was made is not asked for, nor is the time before that."""
        made = {"old": time.time() - 1e6, "young": time.time() - 100}
        services = [{"name": n, "project": "p", "lane": "container", "route": "/", "created_us": int(at * 1e6)} for n, at in made.items()]
        sums = [{"key": f"service/{n}", "invocations": 200, "handler_us": 2000000, "cpu_us": 200000} for n in made]
        fake = self.daemon({("GET", "/v1/functions"): (200, {"functions": [], "services": services}), ("GET", "/v1/instances"): (200, {"instances": []}),
                            ("GET", "/v1/cost"): (200, {"machine": {"seconds": 50000}, "sums": sums}), ("GET", "/v1/rows"): (200, ""),
                            ("GET", "/v1/top"): (200, {"usd_hour": 0.05})})
        code, out, err = self.run_("advise", "-o", "json")
        age = time.time() - made["young"]
        self.assertEqual((code, err), (0, ""))
        rate = {w["name"]: w["facts"]["rate"]["value"] for w in json.loads(out)["workloads"]}
        self.assertAlmostEqual(rate["old"], 200 / 50000)
        self.assertTrue(200 / age <= rate["young"] <= 2, rate)
        asked = [int(re.search(r"since_us=(\d+)", target)[1]) for _, target, _ in fake.asked if target.startswith("/v1/cost")]
        self.assertEqual(asked[0], 86400 * 10**6)
        self.assertTrue(len(asked) == 2 and 100e6 <= asked[1] <= age * 1e6, asked)

    def test_env_is_safe_for_sh(self):
        nasty = "it's $(touch /tmp/no) `x` \\ \" end"
        self.daemon({("GET", "/v1/env"): (200, {"endpoint": "http://127.0.0.1:1", "access_key": "AK", "secret_key": nasty, "region": "r",
                                                "gateway": "g"})})
        out = self.run_("env")[1]
        done = subprocess.run(["sh", "-c", 'eval "$1"; printf %s "$AWS_SECRET_ACCESS_KEY"', "sh", out], capture_output=True, text=True,
                              check=True)
        self.assertEqual((done.stdout, done.stderr), (nasty, ""))
        done = subprocess.run(["bash", "-c", 'eval "$1"; type -t aws; node -p "1+1"; eval "$2"; echo "[$AWS_ENDPOINT_URL$NODE_OPTIONS]"',
                               "sh", out, self.run_("env", "--unset")[1]], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout.split(), ["function", "2", "[]"])
        again = self.run_("env", NODE_OPTIONS="--max-old-space-size=64", PYTHONPATH="/x")[1]
        self.assertRegex(again, r"NODE_OPTIONS='--max-old-space-size=64 --require \"[^\"]+aws-sdk-v2.js\"'")
        self.assertRegex(again, r"PYTHONPATH='[^']+/client/python:/x'")

    def test_completion(self):
        for shell in ("bash", "zsh", "fish"):
            code, out, _ = self.run_("completion", shell)
            self.assertEqual(code, 0)
            for verb in VERBS:
                self.assertIn(verb, out)
        subprocess.run(["bash", "-n"], input=self.run_("completion", "bash")[1], text=True, check=True)
        self.assertEqual(self.run_("completion", "tcsh")[0], 2)

    def test_completion_completes(self):
        script = self.run_("completion", "bash")[1]
        for line, want in (("tandem de", ["debug", "describe"]), ("tandem logs --si", ["--since"]), ("tandem --state /x do", ["doctor", "down"])):
            words = " ".join(line.split())
            done = subprocess.run(["bash", "-c", script + f"\nCOMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _tandem; "
                                   "printf '%s\\n' \"${COMPREPLY[@]}\" | sort"], capture_output=True, text=True, check=True)
            self.assertEqual((done.stdout.split(), done.stderr), (want, ""), line)

    def test_output_that_nobody_reads(self):
        done = subprocess.run(["bash", "-c", '"$0" completion bash | true; echo ${PIPESTATUS[0]}', TANDEM], capture_output=True, text=True, check=True)
        self.assertIn(done.stdout, ("0\n", "141\n"))  # as any program: by the signal, and without a word
        self.assertEqual(done.stderr, "")
        with open("/dev/full", "w") as full:
            done = subprocess.run([TANDEM, "completion", "bash"], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual((done.returncode, done.stderr), (1, "tandem: standard output could not be written\n"))

    def test_not_root_is_said(self):
        if os.geteuid() != 0:
            self.skipTest("needs root to become somebody else")
        done = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", TANDEM, "serve", "--state", self.state], capture_output=True,
                              text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("serve needs root", done.stderr)

    def test_only_a_directory_of_its_own_becomes_the_state(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, as serve does")
        other = os.path.join(self.state, "other")
        os.makedirs(os.path.join(other, "mine"))
        os.chmod(other, 0o755)
        done = subprocess.run([TANDEM, "serve", "--state", other], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn("holds other things (mine)", done.stderr)
        self.assertEqual((os.stat(other).st_mode & 0o7777, os.listdir(other)), (0o755, ["mine"]))


class Up(Base):
    """What up reads, packs and sends."""

    def setUp(self):
        super().setUp()
        self.dir = tempfile.mkdtemp(prefix="tandem-up.")
        self.addCleanup(shutil.rmtree, self.dir)
        self.put("tandem.yaml", "name: p # code ${WANTED} ${NOT_SET} ${WANTED}\n")

    def put(self, name, text, mode=0o644):
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, mode)

    def pack(self):
        """The archive that up sends for the folder `code`."""
        class AnyBlob(dict):
            def get(self, key, default=None):
                if key[0] == "PUT":
                    return 201, {}
                return super().get(key, default)

        def answer(body):
            asked = json.loads(body)
            if "code" not in asked:
                return {"project": "p", "folders": ["code"]}
            return {"project": "p", "entries": [{"name": "f", "action": "create", "changes": []}], "missing": list(asked["code"].values())}

        events = '{"event":"start","name":"f"}\n{"event":"done","name":"f","state":"Active","us":5000}\n{"event":"end","ok":true}\n'
        fake = self.daemon(AnyBlob({("POST", "/v1/plan"): (200, answer), ("POST", "/v1/apply"): (200, events)}))
        return fake

    def test_deterministic_zip(self):
        self.put("code/app.py", "print(1)\n", 0o600)
        self.put("code/bin/run", "#!/bin/sh\n", 0o700)
        self.put("code/\u00e4/\u00fc.txt", "x" * 70000)
        self.put("code/node_modules/m/index.js", "1")
        self.put("code/__pycache__/app.pyc", "no")
        self.put("code/.git/config", "no")
        self.put("code/tandem.yaml", "no")
        os.makedirs(os.path.join(self.dir, "code/empty"))
        os.symlink("app.py", os.path.join(self.dir, "code/link.py"))
        fake = self.pack()
        code, out, err = self.run_("up", cwd=self.dir, WANTED="w", UNWANTED="u")
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(out, "project p\n  + f  create\n  Active  f  5 ms\n")
        self.assertEqual(json.loads(fake.asked[0][2])["vars"], {"WANTED": "w"}, "only variables that the file names")
        put = [a for a in fake.asked if a[0] == "PUT"]
        self.assertEqual(len(put), 1)
        z = zipfile.ZipFile(io.BytesIO(put[0][2]))
        self.assertIsNone(z.testzip())
        names = [i.filename for i in z.infolist()]
        self.assertEqual(names, ["app.py", "bin/", "bin/run", "empty/", "link.py", "node_modules/", "node_modules/m/",
                                 "node_modules/m/index.js", "\u00e4/", "\u00e4/\u00fc.txt"])
        mode = {i.filename: i.external_attr >> 16 for i in z.infolist()}
        self.assertEqual(mode["app.py"], stat.S_IFREG | 0o644)
        self.assertEqual(mode["bin/run"], stat.S_IFREG | 0o755)
        self.assertTrue(stat.S_ISLNK(mode["link.py"]))
        self.assertEqual(z.read("link.py"), b"app.py")
        self.assertEqual({i.date_time for i in z.infolist()}, {(1980, 1, 1, 0, 0, 0)})
        os.utime(os.path.join(self.dir, "code/app.py"), (1, 1))
        self.run_("up", "-f", os.path.join(self.dir, "tandem.yaml"))
        self.assertEqual([a for a in fake.asked if a[0] == "PUT"][1], put[0], "the same folder gives the same bytes under the same name")

    def test_only_what_the_file_names_is_read(self):
        """A daemon that somebody took over asks for more."""
        secret, wanted = os.path.join(self.dir, "secret"), [""]
        fake = self.daemon({("POST", "/v1/plan"): (200, lambda body: {"project": "p", "folders": wanted})})
        self.put("secret/key", "k")
        for text, asks, good in (("code: fn", secret, False), ("code: fn", "../" + os.path.basename(self.dir), False), ("code: fn", "", False),
                                 ("code: secrets", "secret", False), ("code: ./secret", "secret", False), ("code: secret", "secret", True),
                                 ("{code: 'secret'}", "secret", True), ("layers: [secret,fn]", "secret", True),
                                 ("code: ${BASE}/secret", secret, True), ("code: ${NONE:-secret}", "secret", True), ("code: $${BASE}", self.dir, False)):
            self.put("tandem.yaml", text + "\n")
            wanted[0], before = asks, len(fake.asked)
            code, _, err = self.run_("up", cwd=self.dir, BASE=self.dir)
            self.assertEqual((code, err == ""), (0, True) if good else (1, False), (text, asks, err))
            self.assertEqual("does not name it: nothing was sent" in err, not good)
            self.assertEqual(len(fake.asked) - before, 2 if good else 1, (text, asks, fake.asked))

    @unittest.skipIf(os.geteuid(), "root alone allows paths")
    def test_only_what_the_file_names_is_allowed(self):
        wanted = [""]
        self.daemon({("POST", "/v1/plan"): (200, lambda body: {"project": "p", "folders": [], "host": wanted})})
        self.put("conf/x", "x")
        conf = os.path.realpath(os.path.join(self.dir, "conf"))
        for text, asks, good in (("- ./conf:/x", conf, True), ("- './conf/../conf:/x'", conf + "/", True), ("- %s:/x:ro" % conf, conf, True), ("- /dev/null", "/dev/null", True),
                                 ("- ./conf:/etc", "/etc", False), ("- conf:/x", conf, False), ("route: /etc", "/etc", False), ("- ./conf:/x", conf + "/x", False),
                                 ("- ./conf:/x", "/", False), ("", conf, False), ("- ./gone:/x", conf + "/gone", False)):
            self.put("tandem.yaml", text + "\n")
            wanted[0] = asks
            code, _, err = self.run_("up", cwd=self.dir)
            self.assertEqual(code, 0 if good else 1, (text, asks, err))
            entry = os.path.join(self.state, "grants", os.path.realpath(asks).replace("/", ":"))
            self.assertEqual(os.path.exists(entry), good, (text, asks))
            if good:
                os.unlink(entry)

    def test_what_cannot_be_packed(self):
        fake = self.pack()
        code, _, err = self.run_("up", cwd=self.dir)
        self.assertEqual((code, err), (1, "tandem: open the code or layer ./code: No such file or directory\n"))
        os.makedirs(os.path.join(self.dir, "code"))
        self.assertEqual(self.run_("up", cwd=self.dir)[2], "tandem: the code folder ./code is empty\n")
        os.mkfifo(os.path.join(self.dir, "code/pipe"))
        self.assertIn("./code/pipe is neither a file nor a folder nor a link", self.run_("up", cwd=self.dir)[2])
        os.remove(os.path.join(self.dir, "code/pipe"))
        with open(os.path.join(self.dir, "code/big"), "wb") as f:
            f.truncate(300 << 20)
        self.assertIn("is larger than 250 MB", self.run_("up", cwd=self.dir)[2])
        self.assertFalse([a for a in fake.asked if a[0] == "PUT"])

    def test_no_file(self):
        code, _, err = self.run_("up", "-f", os.path.join(self.dir, "none.yaml"))
        self.assertEqual(code, 1)
        self.assertIn("none.yaml", err)
        self.assertIn("name the file with -f", err)


if __name__ == "__main__":
    unittest.main()
