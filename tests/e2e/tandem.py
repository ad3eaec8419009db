# SPDX-License-Identifier: Apache-2.0
"""
One daemon for a test: a state directory of its own, ports that the kernel picks, stopped with SIGTERM, its log shown when a test failed.

    with tandem.Tandem() as t:
        t.client("lambda").list_functions()
"""
import base64
import contextlib
import fcntl
import glob
import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request
import zipfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("TANDEM_BUILD", os.path.join(ROOT, "build"))
PROGRAM = os.path.join(BUILD, "tandem")
SLOW = int(os.environ.get("TANDEM_TEST_SLOW", "1"))  # how much slower than a real machine this one is
ROLE = "arn:aws:iam::000000000000:role/lambda-role"


class Tandem:
    def __init__(self, *arguments, state=None, start_s=60, before=None, egress=False):
        self.base = None if state else tempfile.mkdtemp(prefix="tandem-e2e-")
        self.state = state or os.path.join(self.base, "state")
        # Not on the machine of who runs tests: only where before() leads elsewhere.
        self.arguments = arguments if egress else ("--no-egress", *arguments)
        self.start_s = start_s
        self.program = PROGRAM
        self.before = before  # runs in the new process, before the program
        self.process = None
        self.may_die = False  # a test lets tandemd crash
        self.clients = []
        self.log_path = self.state.rstrip("/") + ".log"

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, value, trace):
        self.close(failed=kind is not None)

    def start(self):
        run = os.path.join(self.state, "run")
        if os.path.exists(run):
            os.unlink(run)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [self.program, "serve", "--state", self.state, "--api", "127.0.0.1:0", "--gateway", "127.0.0.1:0", *self.arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=self.before)
        end = time.monotonic() + self.start_s
        while not self._ready(run):
            if self.process.poll() is not None or time.monotonic() > end:
                self.close(failed=True)
                raise AssertionError("tandem serve did not come up")
            time.sleep(0.02)
        self.env = json.loads(self.cli("env", "-o", "json"))

    def _ready(self, run):
        """Whether the run file is whole and /healthz answers."""
        try:
            with open(run, encoding="ascii") as f:
                fields = dict(p.split("=", 1) for p in f.read().split())
            self.api = "http://" + fields["api"]
            self.gateway = "http://" + fields["gateway"]
            self.pid = int(fields["pid"])
            with urllib.request.urlopen(self.gateway + "/readyz", timeout=5) as answer:
                return answer.status == 200
        except (OSError, KeyError, ValueError):
            return False

    def stop(self):
        """SIGTERM; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60 * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def restart(self):
        self.stop()
        self.start()

    def close(self, failed=False):
        for client in self.clients:
            client.close()
        self.clients.clear()
        status, log = None, ""
        try:
            if self.process:
                status = self.stop()
        finally:
            if os.path.exists(self.log_path):
                with open(self.log_path, encoding="utf-8", errors="replace") as f:
                    log = f.read()
            report = "Sanitizer:" in log or "runtime error:" in log or (
                not self.may_die and re.search(r"tandemd (is gone \(|was ended by )signal (?!9\b)", log))
            if failed or report or status:
                sys.stderr.write("--- log of tandem serve\n" + log[-20000:] + "---\n")
            if self.base:
                shutil.rmtree(self.base, ignore_errors=True)
        if not failed and (report or status):
            raise AssertionError(f"tandem serve ended with {status}" + (" and a daemon that died, or a sanitizer's report" if report else ""))

    def cli(self, *arguments, **options):
        """Output of the tool; raises with what it said when it fails."""
        done = subprocess.run([self.program, "--state", self.state, *arguments], capture_output=True, text=True, check=False,
                              **{"timeout": 180 * SLOW, **options})
        if done.returncode:
            raise AssertionError(f"tandem {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def up(self, files):
        """A project of {name: text} below its base."""
        for name, text in files.items():
            path = os.path.join(self.base, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
        return self.cli("up", cwd=self.base)

    def environment(self):
        """What a client's process needs; nothing of the caller's own AWS settings."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        env.update(AWS_ACCESS_KEY_ID=self.env["access_key"], AWS_SECRET_ACCESS_KEY=self.env["secret_key"],
                   AWS_DEFAULT_REGION=self.env["region"], AWS_REGION=self.env["region"], AWS_ENDPOINT_URL=self.api,
                   AWS_EC2_METADATA_DISABLED="true", AWS_PAGER="", AWS_CONFIG_FILE="/dev/null", AWS_SHARED_CREDENTIALS_FILE="/dev/null")
        return env

    def aws(self, *arguments):
        """What the AWS CLI says, as JSON; raises with its error."""
        done = subprocess.run(["/usr/bin/aws", "--endpoint-url", self.api, *arguments], env=self.environment(), capture_output=True, text=True,
                              timeout=180 * SLOW, check=False)
        if done.returncode:
            raise AssertionError(f"aws {' '.join(arguments)}: exit {done.returncode}\n{done.stderr}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def node(self, test, program):
        """What a program for Node prints, as JSON; both SDKs for JavaScript can be required, ENDPOINT is where the API is."""
        modules = os.path.join(ROOT, "build", "npm", "node_modules")
        if not os.path.isdir(os.path.join(modules, "aws-sdk")):
            test.skipTest("build/npm/node_modules is not there: make npm-deps")
        env = {**self.environment(), "NODE_PATH": modules, "AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE": "1", "ENDPOINT": self.api}
        done = subprocess.run(["node", "-e", program], env=env, capture_output=True, text=True, timeout=180 * SLOW, check=False)
        test.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def rows(self, name):
        """The last rows of the ledger for one function."""
        return json.loads(self.cli("cost", "--by", "rows", "--workload", "api/" + name, "-o", "json"))["rows"]

    def instances(self, name):
        return [i for i in json.loads(self.cli("ps", "-o", "json"))["instances"] if i["function"] == name and i["state"] != "preparing"]

    def admin(self, method, path, body=None):
        """The status and the body of one call to the admin socket."""
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(60 * SLOW)
        connection.sock.connect(f"{self.state}/admin.sock")
        connection.request(method, path, body)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, text

    def clock(self, **what):
        """Moves the daemon's clock: stop=1, step_us=N, resume=1, ahead_us=N, back_us=N (admin_clock). Its answer."""
        status, text = self.admin("POST", "/v1/debug/clock?" + "&".join(f"{k}={v}" for k, v in what.items()))
        if status == 404:
            raise unittest.SkipTest("not a debug build")
        if status != 200:
            raise AssertionError(f"{status}: {text}")
        for client in self.clients:
            client.close()  # the connections that it keeps may have been idle for too long by now; it makes others
        return json.loads(text)

    def client(self, service="lambda", access_key=None, secret_key=None, region=None, **config):
        """A boto3 client that never retries: a retry would hide a failure."""
        import boto3  # pylint: disable=import-outside-toplevel
        from botocore.config import Config  # pylint: disable=import-outside-toplevel
        config.setdefault("retries", {"max_attempts": 0})
        client = boto3.client(service, endpoint_url=self.api, region_name=region or self.env["region"],
                              aws_access_key_id=access_key or self.env["access_key"],
                              aws_secret_access_key=secret_key or self.env["secret_key"], config=Config(**config))
        self.clients.append(client)
        return client


class Fails:
    """For test cases whose calls by boto3 are to fail."""

    def fails(self, code, status, call, text="", **arguments):
        from botocore.exceptions import ClientError  # pylint: disable=import-outside-toplevel
        with self.assertRaises(ClientError) as raised:
            call(**arguments)
        answer = raised.exception.response
        self.assertEqual((answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]), (code, status), answer)
        self.assertIn(text, answer["Error"]["Message"] or answer.get("Message", ""))
        return answer


def zip_of(files):
    """An archive of {name: text or bytes}."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, (2025, 1, 1, 0, 0, 0))
            info.external_attr = 0o755 << 16
            z.writestr(info, content)
    return out.getvalue()


# In a function's code: goes on when nobody holds it. held(t) does, from then on, all functions that are there; its answer lets them go.
WAIT_WHILE_HELD = """
import fcntl

def wait_while_held():
    with open(__file__) as f:
        fcntl.flock(f, fcntl.LOCK_SH)
"""


def held(t, name="app.py"):
    files = contextlib.ExitStack()
    for path in glob.glob(f"{t.state}/daemon/code/*/{name}"):
        fcntl.flock(files.enter_context(open(path, "rb")), fcntl.LOCK_EX)
    return files.close


def python_function(code):
    """Arguments of create_function for a module app with a function handler."""
    return {"Runtime": "python3.11", "Role": ROLE, "Handler": "app.handler", "Code": {"ZipFile": zip_of({"app.py": code})}}


def log_tail(answer):
    return base64.b64decode(answer["LogResult"]).decode()


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            return [int(p) for p in f.read().split()]
    except OSError:
        return []


def status_of(pid):
    """Fields of /proc/PID/status; {} when it is gone or a zombie with no other thread, which could still hold its files."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as f:
            fields = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    except OSError:
        return {}
    return {} if fields.get("State", "").startswith("Z") and int(fields["Threads"]) < 2 else fields


def daemon_of(spawner):
    """tandemd's process id, or None."""
    return next((p for p in children(spawner) if status_of(p).get("Name") == "tandemd"), None)


def open_files(pid):
    """What its descriptors are, those that close meanwhile left out."""
    links = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:
            pass
    return links


def wait_for(true, limit_s=60, what="", pause_s=0.01):
    """Until it is true, looked at again after each pause; what it said then. limit_s: with SLOW in it. what: the failure says it; a function is asked then."""
    limit_s = max(limit_s, 60 * SLOW)  # how long a failure takes; no test is about how fast a machine is
    end = time.monotonic() + limit_s
    while not (said := true()):
        if time.monotonic() > end:
            raise AssertionError(f"not so after {limit_s} s: {what() if callable(what) else what}")
        time.sleep(pause_s)
    return said
