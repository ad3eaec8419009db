# SPDX-License-Identifier: Apache-2.0
"""
What dies and what stays: tandemd killed under load, in a loop, before it was ever ready; the spawner killed; the end by SIGTERM.
The daemon and its functions are real; clients are plain http.client and boto3 without retries.
"""
import contextlib
import glob
import http.client
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.parse

import tandem

WAIT_S = 30 * tandem.SLOW
NATIVE = os.path.join(tandem.BUILD, "examples/native/bootstrap")
MANIFEST = """\
# SPDX-License-Identifier: Apache-2.0
name: recovery
functions:
  py:
    code: py
    runtime: python3.11
    handler: app.handler
    timeout: 5m
    keep: 1h
    route: /py
  node:
    code: node
    runtime: nodejs18.x
    handler: index.handler
    timeout: 5m
    keep: 1h
    route: /node
  native:
    code: native
    runtime: provided.al2023
    handler: bootstrap
    keep: 1h
    route: /native
"""
# {"run": name}: says that it runs, waits for a file of that name beside its code, says that it has run. {"s": seconds}: it takes that long instead.
# {"history": name}: what this instance has run, once there is that file.
PY = """\
import os
import time

history = []


def wait_for(name):
    while not os.path.exists("/var/task/" + name):
        time.sleep(0.01)


def handler(event, context):
    if "history" in event:
        wait_for(event["history"])
        return history
    if "run" in event:
        print("begin", event["run"], flush=True)
        if "s" in event:
            time.sleep(event["s"])
        else:
            wait_for(event["run"])
        history.append(event["run"])
        print("end", event["run"], flush=True)
    return {"statusCode": 200, "body": "py"}
"""
NODE = """\
exports.handler = async (event) => {
    if (event.run) {
        console.log(`begin ${event.run}`);
        while (!require('fs').existsSync('/var/task/' + event.run))
            await new Promise((done) => setTimeout(done, 10));
        console.log(`end ${event.run}`);
    }
    return { statusCode: 200, body: 'node' };
};
"""


def wait_for(what, condition, limit_s=WAIT_S):
    return tandem.wait_for(condition, limit_s, "waited in vain for " + what)


def groups_of(state):
    h = 14695981039346656037
    for b in os.path.realpath(state).encode():
        h = (h ^ b) * 1099511628211 & (1 << 64) - 1
    name = "tandem-%08x" % ((h ^ h >> 32) & 0xFFFFFFFF)
    return [os.path.join(top, name) for top, dirs, _ in os.walk("/sys/fs/cgroup") if name in dirs]


def processes_in(groups):
    found = []
    for group in groups:
        for top, _, files in os.walk(group):
            if "cgroup.procs" in files:
                try:
                    with open(os.path.join(top, "cgroup.procs"), encoding="ascii") as f:
                        found += [int(p) for p in f.read().split()]
                except OSError:
                    pass
    return found


def make_app(folder):
    for name, files in (("py", {"app.py": PY}), ("node", {"index.js": NODE})):
        os.makedirs(f"{folder}/{name}")
        for file, text in files.items():
            with open(f"{folder}/{name}/{file}", "w", encoding="utf-8") as f:
                f.write(text)
    os.makedirs(f"{folder}/native")
    shutil.copy(NATIVE, f"{folder}/native/bootstrap")
    with open(f"{folder}/tandem.yaml", "w", encoding="utf-8") as f:
        f.write(MANIFEST)


class Load:
    """Threads that call a route on a kept connection, each again and again, a new connection after an error."""

    def __init__(self, gateway, paths):
        self.host = urllib.parse.urlsplit(gateway).netloc
        self.done = threading.Event()
        self.ok, self.lost, self.refused, self.wrong = 0, 0, 0, []
        self.fresh_failed = []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._run, args=(p,)) for p in paths]
        for t in self.threads:
            t.start()

    def _run(self, path):
        while not self.done.is_set():
            connection, used = http.client.HTTPConnection(self.host, timeout=WAIT_S), False
            try:
                while not self.done.is_set():
                    connection.request("GET", path)
                    answer = connection.getresponse()
                    answer.read()
                    with self.lock:
                        if answer.status == 200:
                            self.ok += 1
                        else:
                            self.wrong.append((path, answer.status))
                    used = True
            except ConnectionRefusedError:
                with self.lock:
                    self.refused += 1
            except (OSError, http.client.HTTPException) as e:
                with self.lock:
                    self.lost += 1
                    if not used:
                        self.fresh_failed.append(repr(e))
            finally:
                connection.close()

    def stop(self):
        self.done.set()
        for t in self.threads:
            t.join()


def get(gateway, path):
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(gateway).netloc, timeout=WAIT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def instances(t):
    """{id: (function, pid)} of what is there and not on its way out."""
    found = json.loads(t.cli("ps", "-o", "json"))
    found = found["instances"] if isinstance(found, dict) else found
    return {str(i["id"]): (i["function"], i["pid"]) for i in found if i["state"] not in ("ending", "preparing")}


def let_end(t, run):
    """Whoever waits for a file of that name goes on."""
    for code in glob.glob(f"{t.state}/daemon/code/*"):
        with open(f"{code}/{run}", "w", encoding="ascii"):
            pass


def kill_daemon(t):
    """The next one's process id once it is another one."""
    old = wait_for("tandemd", lambda: tandem.daemon_of(t.pid))
    os.kill(old, signal.SIGKILL)
    return old


@unittest.skipUnless(os.geteuid() == 0, "needs root")
@unittest.skipUnless(os.path.exists(NATIVE), "build/examples/native/bootstrap is not built")
class Killed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="tandem-e2e-rec-")
        cls.addClassCleanup(shutil.rmtree, cls.dir, True)
        make_app(cls.dir)
        cls.t = tandem.Tandem()
        cls.t.start()
        cls.addClassCleanup(cls.t.close)
        cls.t.cli("up", cwd=cls.dir)

    def calls(self, name, payload):
        return self.t.cli("invoke", name, "--payload", json.dumps(payload))

    def test_under_load(self):
        for path in ("/py", "/node", "/native"):
            self.assertEqual(get(self.t.gateway, path), 200)
        declared = self.t.cli("ls", "-o", "json")
        load = Load(self.t.gateway, ["/py", "/py", "/node", "/native"])
        took = []
        try:
            for _ in range(5):
                before, born = load.ok, time.monotonic()  # one that dies within a second of its start is slowed down
                wait_for("load", lambda b=before, at=born: load.ok > b + 200 and time.monotonic() > at + 1.1)
                kill_daemon(self.t)
                begun = time.monotonic()
                self.assertEqual(get(self.t.gateway, "/py"), 200)
                took.append(time.monotonic() - begun)
        finally:
            load.stop()
        print("kill -9 to the next answer, ms:", " ".join(f"{s * 1000:.0f}" for s in took), end=" ")
        self.assertEqual((load.refused, load.wrong), (0, []))
        names = lambda text: sorted(f["name"] for f in json.loads(text)["functions"])  # noqa: E731
        self.assertEqual(names(self.t.cli("ls", "-o", "json")), names(declared))
        self.t.cli("cost")
        self.assertIn("REPORT RequestId", self.t.cli("logs", "py"))

    def test_idle_instances_are_adopted(self):
        for path in ("/py", "/node", "/native"):
            self.assertEqual(get(self.t.gateway, path), 200)
        before = instances(self.t)
        self.assertEqual({f for f, _ in before.values()}, {"py", "node", "native"})
        old = kill_daemon(self.t)
        wait_for("the next tandemd", lambda: (tandem.daemon_of(self.t.pid) or old) != old)
        for path in ("/py", "/node", "/native"):
            self.assertEqual(get(self.t.gateway, path), 200)
        after = instances(self.t)
        for i, what in before.items():
            self.assertEqual(after.get(i), what)

    def begun(self, run):
        return f"begin {run}" in self.t.cli("logs", self.name)

    def counted(self, run):
        """How often it began and ended, and how many REPORT lines there are for those requests."""
        lines = self.t.cli("logs", self.name).splitlines()
        return tuple(sum(f"{word} {run}" in line for line in lines) for word in ("begin", "end"))

    def stored(self):
        """Accepted events that are not over."""
        with contextlib.closing(sqlite3.connect(f"file:{self.t.state}/daemon/tandem.db?mode=ro", uri=True)) as db:
            return db.execute("SELECT count(*) FROM event").fetchone()[0]

    def busy_async(self, name):
        """An event that runs while the daemon dies: its instance finishes, and its result counts."""
        self.name = name
        run = f"async-{name}"
        answer = self.t.client().invoke(FunctionName=name, InvocationType="Event",
                                        Payload=json.dumps({"run": run}).encode())
        self.assertEqual(answer["StatusCode"], 202)
        request = answer["ResponseMetadata"]["RequestId"]
        wait_for("its beginning", lambda: self.begun(run))
        before = instances(self.t)
        kill_daemon(self.t)
        let_end(self.t, run)
        wait_for("its report", lambda: f"REPORT RequestId: {request}" in self.t.cli("logs", name))
        self.assertEqual(self.counted(run), (1, 1))
        self.assertLessEqual(set(before), set(instances(self.t)))
        wait_for("the store to forget it", lambda: not self.stored())
        kill_daemon(self.t)  # its successor knows of nothing that is left to do
        self.assertEqual(get(self.t.gateway, "/" + name), 200)
        self.assertEqual(self.counted(run), (1, 1))

    def test_busy_with_an_asynchronous_event_python(self):
        self.busy_async("py")

    def test_busy_with_an_asynchronous_event_node(self):
        self.busy_async("node")

    def busy_sync(self, name):
        self.name = name
        run = f"sync-{name}"
        lost = []

        def call():
            try:
                self.calls(name, {"run": run})
            except AssertionError as e:
                lost.append(e)

        caller = threading.Thread(target=call)
        caller.start()
        wait_for("its beginning", lambda: self.begun(run))
        before = instances(self.t)
        kill_daemon(self.t)
        caller.join(WAIT_S)
        self.assertEqual(len(lost), 1)
        self.assertEqual(get(self.t.gateway, "/" + name), 200)  # by another one
        let_end(self.t, run)
        wait_for("its end", lambda: self.counted(run) == (1, 1))
        wait_for("its rest", lambda: all(i["state"] in ("idle", "frozen") for i in json.loads(self.t.cli("ps", "-o", "json"))["instances"]
                                         if i["function"] == name))
        self.assertLessEqual(set(before), set(instances(self.t)))

    def test_busy_with_a_synchronous_event_python(self):
        self.busy_sync("py")

    def test_busy_with_a_synchronous_event_node(self):
        self.busy_sync("node")

    def test_accepted_events_all_run(self):
        client = self.t.client()
        accepted = set()
        for n in range(60):
            try:
                answer = client.invoke(FunctionName="py", InvocationType="Event", Payload=json.dumps({"run": f"n{n}", "s": 0.05}).encode())
                accepted.add(f"n{n}")
                self.assertEqual(answer["StatusCode"], 202)
            except Exception as e:  # pylint: disable=broad-except  # its connection died: whether it was accepted is not known
                self.assertIn(type(e).__name__, ("ConnectionClosedError", "EndpointConnectionError", "ReadTimeoutError"))
            if n % 20 == 10:
                kill_daemon(self.t)
        self.assertGreater(len(accepted), 40)
        wait_for("all of them", lambda: accepted <= self.histories())

    def histories(self):
        """What all instances have run: none goes on before each has its call. (Log lines of the last 100 ms die with the daemon.)"""
        found, lock, name = set(), threading.Lock(), f"history-{time.monotonic_ns()}"

        def ask():
            part = json.loads(self.calls("py", {"history": name}))
            with lock:
                found.update(part)

        callers = [threading.Thread(target=ask) for _ in range(sum(f == "py" for f, _ in instances(self.t).values()))]
        for c in callers:
            c.start()
        wait_for("calls", lambda: sum(i["state"] == "busy" for i in self.t.instances("py")) >= len(callers))
        let_end(self.t, name)
        for c in callers:
            c.join()
        return found

    def test_crash_loop_is_slowed_down(self):
        """Each new tandemd dies at once: the spawner says so and waits, and recovers when they live again."""
        deaths = set()

        def slowed_down():
            if (pid := tandem.daemon_of(self.t.pid)) not in (None, *deaths):
                os.kill(pid, signal.SIGKILL)
                deaths.add(pid)
            with open(self.t.log_path, encoding="utf-8", errors="replace") as f:
                return re.search(r"tandemd is gone \(signal 9\), starting it again in [1-9]\d{2,} ms", f.read())
        wait_for("a pause", slowed_down)
        self.assertLess(len(deaths), 12)
        self.assertEqual(get(self.t.gateway, "/py"), 200)

    def test_secrets_do_not_reach_other_processes(self):
        """Not dumpable: files below /proc belong to root, so that its own user cannot read its memory, and it leaves no core."""
        pid = tandem.daemon_of(self.t.pid)
        uid = int(tandem.status_of(pid)["Uid"].split()[0])
        self.assertNotEqual(uid, 0)
        self.assertEqual(os.stat(f"/proc/{pid}/mem").st_uid, 0)
        tried = subprocess.run(["/usr/bin/python3", "-c", "import sys; open(sys.argv[1], 'rb')", f"/proc/{pid}/mem"], user=uid, group=uid,
                               extra_groups=[], capture_output=True, text=True, check=False)
        self.assertIn("Permission denied", tried.stderr)


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Ends(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="tandem-e2e-end-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        make_app(self.dir)
        self.t = tandem.Tandem(state=f"{self.dir}/s")
        self.addCleanup(self.t.close)

    def family(self):
        """Everybody who would be left behind."""
        todo, found = [self.t.pid], []
        while todo:
            pid = todo.pop()
            found.append(pid)
            todo += tandem.children(pid)
        return found

    def up(self):
        self.t.start()
        self.t.cli("up", cwd=self.dir)
        for path in ("/py", "/native"):
            self.assertEqual(get(self.t.gateway, path), 200)

    def gone(self, family):
        for pid in family:
            wait_for(f"the end of {pid}", lambda p=pid: not tandem.status_of(p))

    def refuses(self, url):
        with self.assertRaises(ConnectionRefusedError):
            get(url, "/")

    def test_a_crash_is_reported(self):
        self.t.may_die = True
        self.up()
        self.assertEqual(get(self.t.gateway, "/py"), 200)
        self.assertIn(("instance", "LIVE"), {(m["what"], m["to"]) for m in json.loads(self.t.cli("debug"))["moves"]})
        old = tandem.daemon_of(self.t.pid)
        os.kill(old, signal.SIGSEGV)
        wait_for("the next tandemd", lambda: (tandem.daemon_of(self.t.pid) or old) != old)
        self.assertEqual(get(self.t.gateway, "/py"), 200)
        with open(self.t.log_path, encoding="utf-8", errors="replace") as f:
            told = f.read()
        for what in (r"crash: tandemd \S+, build [0-9a-f]{40}, ended by signal 11 \(SEGV\)", r"\n\S*tandemd\(\S*\+0x[0-9a-f]+\)",
                     r"crash: +\d+\.\d{3} s before: instance \d+ to LIVE", r"tandemd is gone \(signal 11\)"):
            self.assertRegex(told, what)

    def test_sigterm_under_load(self):
        self.up()
        load = Load(self.t.gateway, ["/py", "/py", "/native"])
        try:
            wait_for("load", lambda: load.ok > 200)
            family, groups = self.family(), groups_of(self.t.state)
            self.assertTrue(groups)
            self.assertEqual(self.t.stop(), 0)
        finally:
            load.stop()
        self.assertEqual(load.wrong, [])
        self.gone(family)
        self.assertEqual(groups_of(self.t.state), [])
        self.refuses(self.t.gateway)
        self.refuses(self.t.api)
        self.assertFalse(os.path.exists(f"{self.t.state}/admin.sock"))

    def test_spawner_killed(self):
        self.up()
        family = self.family()
        self.t.process.kill()
        self.t.process.wait()
        self.gone(family)  # sandboxes and tandemd die with their parent
        self.t.start()
        self.assertEqual(get(self.t.gateway, "/py"), 200)
        groups = groups_of(self.t.state)
        # Blanks come and go while one looks twice.
        wait_for("groups with nobody else in them", lambda: set(processes_in(groups)) <= set(self.family()))
        self.assertEqual(self.t.stop(), 0)
        self.assertEqual(groups_of(self.t.state), [])
        with open("/proc/self/mountinfo", encoding="utf-8") as f:
            self.assertNotIn(self.t.state, f.read())

    def test_killed_before_it_is_ready(self):
        """A tandemd that dies before it was ever ready ends the service: its manager, not we, tries again."""
        libexec = f"{self.dir}/libexec"
        os.mkdir(libexec, 0o755)
        for name in ("tandem", "tandem-spawner", "tandem-init", "tandem-unpack"):
            shutil.copy(os.path.join(tandem.BUILD, name), libexec)
        shutil.copytree(os.path.join(tandem.ROOT, "shim"), f"{libexec}/shim")
        with open(f"{libexec}/tandemd", "w", encoding="ascii") as f:
            f.write("#!/bin/sh\nkill -9 $$\n")
        os.chmod(f"{libexec}/tandemd", 0o755)
        done = subprocess.run([f"{libexec}/tandem", "serve", "--no-egress", "--state", f"{self.dir}/s2", "--api", "127.0.0.1:0", "--gateway", "127.0.0.1:0"],
                              capture_output=True, text=True, timeout=WAIT_S, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("tandemd was ended by signal 9 before it was ready", done.stdout + done.stderr)
        self.assertEqual(groups_of(f"{self.dir}/s2"), [])

    def test_two_daemons_have_ids_of_their_own(self):
        other = tandem.Tandem(state=f"{self.dir}/o")
        self.up()
        with other:
            other.cli("up", cwd=self.dir)
            self.assertEqual(get(other.gateway, "/py"), 200)
            uids = [{int(tandem.status_of(p)["Uid"].split()[0]) for p in processes_in(groups_of(x.state)) if tandem.status_of(p)} for x in (self.t, other)]
            self.assertTrue(uids[0] and uids[1])
            self.assertFalse(uids[0] & uids[1])


if __name__ == "__main__":
    unittest.main(verbosity=2)
