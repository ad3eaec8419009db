#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Tasks of several containers: one network, an order, health, ends, further programs, and what outlives tandemd."""
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tandem  # noqa: E402
import test_run  # noqa: E402
from test_run import LIMIT_S, Case  # noqa: E402

IMAGE = "localhost/box:v1"
WAIT = "trap 'exit 3' TERM; while :; do sleep 1000 & wait; done"


def container(name, command, **more):
    return dict({"name": name, "image": IMAGE, "command": ["sh", "-c", command], "user": "0", "stop_signal": 15}, **more)


class Command(Case):
    """exec, run -d, and a task of tandem.yaml, as somebody at a shell has them."""

    def exec_(self, *arguments, **options):
        done = subprocess.run(self.command("exec", *arguments), capture_output=True, text=True, timeout=LIMIT_S, check=False, **options)
        return done.returncode, done.stdout, done.stderr

    def test_exec(self):
        self.t.cli("run", "-d", "--name", "box", "-e", "OF=its", IMAGE, "sh", "-c", test_run.Restarts.LOOP)
        text = "".join("line %d\n" % i for i in range(40000))
        self.assertEqual(self.exec_("-i", "box", "cat", input=text), (0, text, ""))
        self.assertEqual(self.exec_("box", "cat", input=text), (0, "", ""))
        self.assertEqual(self.exec_("-e", "MORE=more", "-w", "/tmp", "box/box", "sh", "-c", "echo $OF $MORE $WHAT; pwd; id -un; echo no >&2; exit 9"),
                         (9, "its more hello\n/tmp\napp\n", "no\n"))
        self.assertEqual(self.exec_("-u", "0", "box", "id", "-u")[1], "0\n")
        self.assertEqual(self.exec_("box", "sh", "-c", "kill -SEGV $$")[0], 128 + signal.SIGSEGV)
        code, _, err = self.exec_("box", "nothing-of-that-name")
        self.assertEqual(code, 127)
        self.assertIn("cannot be started", err)
        self.assertEqual(self.exec_("-u", "nobody", "box", "id")[0], 126)
        self.assertEqual(self.exec_("nowhere", "id")[0], 125)
        self.assertEqual(self.exec_("box/nothing", "id")[0], 125)
        self.assertEqual(self.t.admin("POST", "/v1/tasks/box/exec", '{"command": ["id"], "colour": 1}')[0], 400)
        self.t.cli("stop", "box")
        self.assertEqual(self.exec_("box", "id")[0], 125)
        self.forget("box")

    def test_exec_with_a_terminal(self):
        self.t.cli("run", "-d", "--name", "screen", IMAGE, "sh", "-c", test_run.Restarts.LOOP)
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
        p = subprocess.Popen(self.command("exec", "-it", "screen", "sh", "-c", "stty size; read a; echo got $a; tty; exit 8"),
                             stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        self.addCleanup(p.kill)
        said = b""
        for what, answer in ((b"31 97", b"some words\r"), (b"got some words\r\n/dev/pts/", None)):
            while what not in said:
                self.assertTrue(select.select([master], [], [], LIMIT_S)[0], said)
                said += os.read(master, 65536)
            if answer:
                os.write(master, answer)
        self.assertEqual(p.wait(LIMIT_S), 8)
        os.close(master)
        os.close(slave)
        self.t.cli("stop", "screen")
        self.forget("screen")

    def test_who_leaves_is_hung_up_on(self):
        self.t.cli("run", "-d", "--name", "left", IMAGE, "sh", "-c", test_run.Restarts.LOOP)
        p = subprocess.Popen(self.command("exec", "left", "sh", "-c", "echo $$; exec sleep 1000"), stdout=subprocess.PIPE)
        pid = p.stdout.readline().decode().strip()
        p.kill()
        p.communicate()
        tandem.wait_for(lambda: self.exec_("left", "test", "-e", "/proc/" + pid)[0] == 1, LIMIT_S)
        self.t.cli("stop", "left")
        self.forget("left")

    def test_stats_restart_and_logs(self):
        path = self.dir + "/two.yaml"
        with open(path, "w", encoding="utf-8") as f:
            f.write("name: two\ntasks:\n  two:\n    image: " + IMAGE + "\n    memory: 96\n    command: \"echo one; " + WAIT + "\"\n"
                    "    containers:\n      side: {image: " + IMAGE + ", memory: 32, command: 'echo other; exec sleep 1000'}\n")
        self.t.cli("up", "-f", path)
        id_ = self.t.cli("run", "-d", "--name", "both", "two").strip()
        table = self.t.cli("stats", "both").splitlines()
        self.assertEqual([line.split()[:3] for line in table], [["TASK", "NAME", "CONTAINER"], [id_, "both", "two"], [id_, "both", "side"]])
        self.assertEqual([line.split()[-1] for line in table[1:]], ["64Mi", "32Mi"])
        stats = json.loads(self.t.cli("stats", "-o", "json"))["containers"]
        for figure in ("cpu_us", "mem_bytes", "mem_peak_bytes"):
            self.assertGreater(stats[0][figure], 0, stats)
        listed = [line.split() for line in self.t.cli("ps").splitlines()]
        self.assertTrue(any(line[:1] == ["/side"] for line in listed), listed)
        tandem.wait_for(lambda: len(self.t.cli("logs", "both").splitlines()) == 2, LIMIT_S, lambda: self.t.cli("logs", "both"))
        self.assertEqual([line.split(" ", 1)[1] for line in self.t.cli("logs", "both/side").splitlines()], ["side other"])
        self.assertIn("there is no task", self.exec_("both/nothing", "id")[2])
        again = self.t.cli("restart", "both").strip()
        self.assertNotEqual(again, id_)
        task = tandem.wait_for(lambda: next((k for k in self.tasks() if k["id"] == again and k["state"] == "RUNNING"), None), LIMIT_S, self.tasks)
        self.assertEqual((task["name"], task["definition"], len(task["containers"])), ("both", "two:1", 2))
        self.t.cli("stop", "both")
        for one in (id_, again):
            self.forget(one)
        self.t.cli("down", "-f", path)

    def test_the_log_of_a_service(self):
        """One for all its instances; each line names its own, also when that is gone."""
        path = self.dir + "/say.yaml"
        with open(path, "w", encoding="utf-8") as f:
            f.write("name: say\nservices:\n  say:\n    image: " + IMAGE + "\n    min: 1\n    command: echo begun; exec sleep 1000\n    stop_signal: KILL\n")
        self.t.cli("up", "-f", path)

        def lines(of="say"):
            return [line.split(" ", 2)[1:] for line in self.t.cli("logs", of).splitlines()]
        tandem.wait_for(lambda: len(lines()) == 1, LIMIT_S, lines)
        first = next(k["id"] for k in self.tasks() if k.get("group") == "service:say")
        self.assertEqual(lines(), [[first[:8], "begun"]])
        self.t.cli("stop", first)
        tandem.wait_for(lambda: len(lines()) == 2, LIMIT_S, lines)
        self.assertEqual(lines(first), [[first[:8], "begun"]])
        self.t.admin("DELETE", "/v1/tasks/" + first)
        self.assertEqual(len(lines()), 2)
        self.t.cli("down", "-f", path)
        tandem.wait_for(lambda: all(k["state"] == "STOPPED" for k in self.tasks()), LIMIT_S, self.tasks)
        for k in self.tasks():
            self.forget(k["id"])

    def test_detached_says_what_went_wrong(self):
        for command, code in (("nothing-of-that-name", 127), ("/etc/passwd", 126)):
            got, out, err = self.run_("-d", "--name", "no", IMAGE, command)
            self.assertEqual((got, out), (code, ""))
            self.assertIn("cannot be started", err)
            self.forget("no")

    def test_a_task_of_the_file(self):
        path = self.dir + "/tandem.yaml"
        with open(path, "w", encoding="utf-8") as f:
            f.write("name: p\ntasks:\n  job:\n    image: " + IMAGE + "\n    command: echo $$WORD from $$(pwd)\n    workdir: /tmp\n"
                    "    environment: {WORD: words}\n    containers:\n      side: {image: " + IMAGE + ", command: [sleep, '1000'], essential: false}\n")
        self.t.cli("up", "-f", path)
        self.assertEqual(self.run_("job"), (0, "words from /tmp\n", ""))
        self.assertEqual(self.run_("-e", "WORD=others", "job:1"), (0, "others from /tmp\n", ""))
        self.assertEqual(self.run_("job", "sh", "-c", "exit 3")[0], 3)
        self.assertEqual(self.run_("job:7")[0], 125)
        self.t.cli("down", "-f", path)
        self.assertEqual(self.run_("job")[0], 125)


    def test_in_the_hands_of_a_runtime(self):
        """Whoever makes the container: streams, exit codes and further programs are the same."""
        path = self.dir + "/tandem.yaml"
        for runtime in ("crun", "runc"):
            with open(path, "w", encoding="utf-8") as f:
                f.write("name: p\ntasks:\n  job:\n    image: %s\n    runtime: %s\n    command: echo out; echo err >&2; exit 3\n" % (IMAGE, runtime))
            self.t.cli("up", "-f", path)
            self.assertEqual(self.run_("job"), (3, "out\n", "err\n"))
            self.assertEqual(self.run_("-d", "--name", "left", "job", "sleep", "1000")[0], 0)
            self.assertEqual(self.exec_("left", "cat", "/proc/1/comm"), (0, "8\n", ""))
            self.t.cli("stop", "left")
            self.forget("left")
        self.t.cli("down", "-f", path)


class Tasks(Case):
    def submit(self, name, *containers, **more):
        status, text = self.t.admin("POST", "/v1/tasks", json.dumps({"name": name, "doc": dict({"containers": containers}, **more)}))
        self.assertEqual(status, 201, text)
        return json.loads(text)["id"]

    def of(self, name, which):
        return next(c for c in self.task(name)["containers"] if c["name"] == which)

    def end(self, name):
        self.t.cli("stop", name)
        self.forget(name)

    def said(self, name):
        return [line.split(" ", 2)[2] for line in self.t.cli("logs", name).splitlines()]

    def test_they_share_a_network(self):
        self.submit("pair", container("web", "echo served >/tmp/a; while :; do nc -l -p 8080 </tmp/a; done"),
                    container("ask", "until nc 127.0.0.1 8080 </dev/null; do :; done; " + WAIT))
        tandem.wait_for(lambda: "served" in self.t.cli("logs", "pair"), LIMIT_S, lambda: self.t.cli("logs", "pair"))
        self.until("pair", "RUNNING")
        self.end("pair")

    def test_order(self):
        """The one that prepares runs to its end before the others begin; those that wait end first."""
        self.submit("order", container("prepare", "echo one", essential=False),
                    container("db", "trap 'echo five; exit 0' TERM; echo two; while :; do sleep 1000 & wait $!; done",
                              depends_on=[{"container": "prepare", "condition": "SUCCESS"}]),
                    container("app", "trap 'echo four; exit 7' TERM; echo three; while :; do sleep 1000 & wait $!; done",
                              depends_on=[{"container": "db", "condition": "START"}]))
        self.until("order", "RUNNING")
        tandem.wait_for(lambda: len(self.said("order")) == 3, LIMIT_S, lambda: self.said("order"))
        self.assertEqual(self.of("order", "prepare")["state"], "STOPPED")
        self.t.cli("stop", "order")
        self.assertEqual(self.said("order"), ["one", "two", "three", "four", "five"])
        stopped = self.task("order")
        self.assertEqual([c.get("exit_code") for c in stopped["containers"]], [0, 0, 7])
        self.forget("order")

    def test_an_essential_end_is_the_end(self):
        self.submit("both", container("side", WAIT, essential=False), container("main", "exit 5"))
        stopped = self.until("both", "STOPPED")
        self.assertEqual((stopped["exit_code"], stopped["reason"]), (5, "main: exited with 5"))
        self.assertIn(self.of("both", "side")["exit_code"], (3, 143))  # with its trap, or before it
        self.forget("both")

    def test_one_that_fails_first(self):
        self.submit("fails", container("prepare", "exit 9", essential=False),
                    container("app", WAIT, depends_on=[{"container": "prepare", "condition": "SUCCESS"}]))
        stopped = self.until("fails", "STOPPED")
        self.assertEqual(stopped["reason"], "app: it waits for prepare, which exited with 9")
        self.forget("fails")

    def test_memory_is_shared_out(self):
        self.submit("memory", container("a", WAIT, memory_mb=64), container("b", WAIT), container("c", WAIT), memory_mb=264)
        task = self.until("memory", "RUNNING")
        self.assertEqual([c["memory_mb"] for c in task["containers"]], [64, 100, 100])
        self.assertEqual(task["memory_mb"], 264)
        self.end("memory")

    def test_what_they_are_given(self):
        host = self.dir + "/host"
        os.makedirs(host)
        with open(host + "/words", "w", encoding="ascii") as f:
            f.write("of the host\n")
        given = dict(mounts=[{"path": "/data", "volume": "shared"}, {"path": "/fast", "tmpfs_mb": 4}, {"path": "/conf", "host": host, "read_only": True}],
                     ulimits={"nofile": [64, 128]}, cap_drop=["ALL"], cap_add=["CHOWN"], essential=False)
        look = "cat /conf/words; ulimit -n; grep CapEff /proc/self/status; mount | grep -c ' /fast '; touch /conf/x 2>&1 || echo refused"
        whole = [container("a", "echo kept >/data/x; " + look, **given),
                 container("b", "cat /data/x", **dict(given, depends_on=[{"container": "a", "condition": "SUCCESS"}])), container("main", WAIT)]
        self.submit("denied", *whole)
        self.until_of("denied", "a", "STOPPED")
        self.assertIn("root has not allowed", self.of("denied", "a")["reason"])
        self.end("denied")
        os.makedirs(self.t.state + "/grants", 0o700, exist_ok=True)
        with open(self.t.state + "/grants/" + host.replace("/", ":"), "w", encoding="ascii"):
            pass
        self.submit("given", *whole)
        self.until_of("given", "b", "STOPPED")
        self.assertEqual(self.said("given"), ["of the host", "64", "CapEff:\t0000000000000001", "1", "touch: /conf/x: Read-only file system", "refused", "kept"])
        self.end("given")

    def health(self, name):
        return self.task(name).get("health")

    def until_health(self, name, what):
        tandem.wait_for(lambda: self.health(name) == what, LIMIT_S, lambda: self.task(name))

    def test_health_by_a_program(self):
        self.submit("well", container("a", "touch /tmp/up; " + WAIT, health={"command": ["sh", "-c", "echo looked; test -e /tmp/up"], "interval_s": 1, "retries": 2}),
                    container("b", "echo after; " + WAIT, depends_on=[{"container": "a", "condition": "HEALTHY"}]))
        self.until_health("well", "HEALTHY")
        tandem.wait_for(lambda: "after" in self.t.cli("logs", "well"), LIMIT_S)
        status, text = self.t.admin("POST", "/v1/tasks/well%2Fa/exec", json.dumps({"command": ["rm", "/tmp/up"]}))
        self.assertEqual(status, 201, text)
        self.until_health("well", "UNHEALTHY")
        self.assertEqual(self.of("well", "a")["health_text"], "looked\n")
        self.assertEqual(self.task("well")["state"], "RUNNING")
        self.end("well")

    def test_health_over_tcp(self):
        serve = "mkfifo /tmp/go; read go </tmp/go; while :; do echo -e 'HTTP/1.0 %s x\\r\\n\\r' | nc -l -p %d >/dev/null; done"
        self.submit("tcp", container("good", serve % ("204", 81), health={"http": "/", "port": 81, "interval_s": 1}),
                    container("bad", serve % ("500", 82), health={"http": "/x", "port": 82, "interval_s": 1, "retries": 1}, essential=False),
                    container("open", serve % ("204", 83), health={"tcp": 83, "interval_s": 1}), container("shut", WAIT, health={"tcp": 84, "interval_s": 1, "retries": 1}, essential=False))
        self.until("tcp", "RUNNING")
        tandem.wait_for(lambda: "refused" in self.of("tcp", "good").get("health_text", ""), LIMIT_S, lambda: self.task("tcp"))
        self.assertEqual(self.health("tcp"), "UNKNOWN")
        for which in ("good", "bad", "open"):
            status, text = self.t.admin("POST", "/v1/tasks/tcp%2F" + which + "/exec", json.dumps({"command": ["sh", "-c", "echo >/tmp/go"]}))
            self.assertEqual(status, 201, (text, self.task("tcp")))
        self.until_health("tcp", "HEALTHY")
        for which, text in (("bad", "it answers with status 500"), ("shut", "Connection refused")):
            tandem.wait_for(lambda: [self.of("tcp", which).get(k) for k in ("health", "health_text")] == ["UNHEALTHY", text], LIMIT_S, lambda: self.task("tcp"))
        self.end("tcp")

    def until_of(self, name, which, state):
        tandem.wait_for(lambda: self.of(name, which)["state"] == state, LIMIT_S, lambda: self.task(name))

    def daemon(self):
        return json.loads(self.t.admin("GET", "/v1/version")[1])["pid"]

    def through(self, end_daemon):
        """What has ended stays ended, what runs goes on, what waits goes on waiting."""
        self.submit("lives", container("prepare", "exit 0", essential=False),
                    container("db", "trap 'exit 0' USR1; echo up; while :; do sleep 1000 & wait $!; done", essential=False,
                              depends_on=[{"container": "prepare", "condition": "SUCCESS"}]),
                    container("web", WAIT), container("last", "echo last; " + WAIT, depends_on=[{"container": "db", "condition": "COMPLETE"}]))
        tandem.wait_for(lambda: [self.of("lives", name)["state"] for name in ("db", "web")] == ["RUNNING"] * 2, LIMIT_S, lambda: self.task("lives"))
        tandem.wait_for(lambda: "up" in self.t.cli("logs", "lives"), LIMIT_S)
        before, old = self.task("lives"), self.daemon()
        end_daemon(old)
        tandem.wait_for(lambda: self.other(old), LIMIT_S)
        after = self.task("lives")
        for b, a in zip(before["containers"], after["containers"]):
            self.assertEqual([a.get(key) for key in ("name", "state", "pid", "memory_mb", "exit_code", "started")],
                             [b.get(key) for key in ("name", "state", "pid", "memory_mb", "exit_code", "started")])
        self.assertEqual(self.t.admin("POST", "/v1/tasks/lives%%2Fdb/signal?signal=%d" % signal.SIGUSR1)[0], 200)
        tandem.wait_for(lambda: "last" in self.t.cli("logs", "lives"), LIMIT_S, lambda: self.task("lives"))
        self.end("lives")

    def other(self, old):
        try:
            return self.daemon() != old
        except (OSError, ValueError):
            return False

    def test_crash(self):
        self.through(lambda pid: os.kill(pid, signal.SIGKILL))

    def test_upgrade(self):
        self.through(lambda pid: os.kill(self.t.pid, signal.SIGHUP))


if __name__ == "__main__":
    unittest.main(verbosity=2)
