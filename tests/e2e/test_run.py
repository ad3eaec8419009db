#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tandem run, ps, logs, stop: containers of an image, as somebody at a shell has them; and what happens to them when tandemd goes."""
import fcntl
import json
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import oci  # noqa: E402
import tandem  # noqa: E402

BUSYBOX = "/bin/busybox"
LIMIT_S = 60 * tandem.SLOW


def files(**more):
    with open(BUSYBOX, "rb") as f:
        out = {"bin/busybox": f.read()}
    for name in subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if name != "busybox":
            out["bin/" + name] = {"type": b"2", "linkname": "busybox"}
    out["etc/passwd"] = b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:an app:/home/app:/bin/sh\n"
    out["etc/group"] = b"root:x:0:\napp:x:1001:\n"
    out["tmp"] = {"type": b"5", "mode": 0o1777}
    out["home/app"] = {"type": b"5", "mode": 0o755, "uid": 1000, "gid": 1001}
    return dict(out, **more)


class Case(unittest.TestCase):
    config = {"Cmd": ["sh", "-c", "echo the image says $WHAT from $(pwd)"], "Env": ["WHAT=hello", "PATH=/bin"], "WorkingDir": "/home/app", "User": "app",
              "StopSignal": "SIGUSR1"}

    @classmethod
    def setUpClass(cls):
        if not os.path.exists(BUSYBOX) or not shutil.which("skopeo"):
            raise unittest.SkipTest("busybox-static and skopeo are not installed")
        cls.dir = tempfile.mkdtemp(prefix="tandem-run-")
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        cls.layout = oci.Image(oci.layer(files()), config=cls.config).layout(cls.dir + "/box", "v1")
        cls.t = tandem.Tandem()
        cls.t.__enter__()
        cls.addClassCleanup(lambda: cls.t.close())
        cls.t.cli("pull", "oci:" + cls.layout + ":v1", "--tag", "localhost/box:v1")

    def command(self, *arguments):
        return [tandem.PROGRAM, "--state", self.t.state, *arguments]

    def run_(self, *arguments, **options):
        """(exit code, stdout, stderr) of tandem run."""
        done = subprocess.run(self.command("run", *arguments), capture_output=True, text=True, timeout=LIMIT_S, check=False, **options)
        return done.returncode, done.stdout, done.stderr

    def start(self, *arguments, **options):
        process = subprocess.Popen(self.command("run", *arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   bufsize=0, **options)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def line(self, process):
        """The next one that it says."""
        said = b""
        while not said.endswith(b"\n"):
            self.assertTrue(select.select([process.stdout], [], [], LIMIT_S)[0], said)
            said += process.stdout.read(1)
            self.assertTrue(said, process.poll())
        return said.decode()

    def tasks(self):
        return json.loads(self.t.cli("ps", "-o", "json"))["tasks"]

    def task(self, name):
        found = [k for k in self.tasks() if k.get("name") == name]
        self.assertEqual(len(found), 1, self.tasks())
        return found[0]

    def until(self, name, state):
        return tandem.wait_for(lambda: next((k for k in self.tasks() if k.get("name") == name and k["state"] == state), None), LIMIT_S, self.tasks)

    def forget(self, name):
        self.assertEqual(self.t.admin("DELETE", "/v1/tasks/" + name)[0], 200)


class Run(Case):
    def test_a_program_has_the_ports_of_its_image(self):
        """Also those at which the platform listens for others: nothing can listen on all addresses beside that."""
        config = {**self.config, "ExposedPorts": {"80/tcp": {}, "443/tcp": {}, "4566/tcp": {}}}
        self.t.cli("pull", "oci:" + oci.Image(oci.layer(files()), config=config).layout(self.dir + "/web", "v1") + ":v1", "--tag", "localhost/web:v1")
        script = "echo hello >/tmp/x; httpd -p 4566 && httpd -p 443 && httpd -p 80 -h /tmp && wget -qO- http://127.0.0.1/x"
        self.assertEqual(self.run_("localhost/web:v1", "sh", "-c", script), (0, "hello\n", ""))
        code, _, err = self.run_("localhost/box:v1", "httpd", "-p", "80")
        self.assertIn("in use", err)
        self.assertNotEqual(code, 0)

    def test_what_the_image_says(self):
        self.assertEqual(self.run_("localhost/box:v1"), (0, "the image says hello from /home/app\n", ""))
        self.assertEqual(self.run_("-e", "WHAT=more", "-w", "/tmp", "localhost/box:v1")[1], "the image says more from /tmp\n")
        self.assertEqual(self.run_("-e", "WHAT", "localhost/box:v1", env=dict(os.environ, WHAT="mine"))[1], "the image says mine from /home/app\n")
        self.assertEqual(self.run_("-u", "0", "--entrypoint", "id", "localhost/box:v1", "-u")[1], "0\n")
        self.assertEqual(self.tasks(), [])  # nothing is kept

    def test_streams_and_exit_codes(self):
        self.assertEqual(self.run_("localhost/box:v1", "sh", "-c", "echo out; echo err >&2; exit 42"), (42, "out\n", "err\n"))
        self.assertEqual(self.run_("localhost/box:v1", "sh", "-c", "kill -SEGV $$")[0], 128 + signal.SIGSEGV)
        code, out, err = self.run_("localhost/box:v1", "nothing-of-that-name")
        self.assertEqual((code, out), (127, ""))
        self.assertIn("cannot be started", err)
        self.assertEqual(self.run_("localhost/box:v1", "/etc/passwd")[0], 126)
        self.assertEqual(self.run_("-u", "nobody", "localhost/box:v1")[0], 126)
        self.assertEqual(self.run_("-w", "/nowhere", "localhost/box:v1")[0], 126)
        code, out, err = self.run_("localhost/nothing:v1")  # pulled, in vain
        self.assertEqual((code, out), (125, ""))
        self.assertNotEqual(err, "")
        self.assertEqual(self.run_("--cpu", "much", "localhost/box:v1")[0], 125)
        self.assertEqual(self.run_("-m", "1", "localhost/box:v1")[0], 125)
        self.assertEqual(self.run_()[0], 125)

    def test_options_end_at_the_image(self):
        self.assertEqual(self.run_("localhost/box:v1", "echo", "-e", "a", "--name", "-q"), (0, "a --name -q\n", ""))

    def test_input(self):
        text = "".join("line %d\n" % i for i in range(40000))
        self.assertEqual(self.run_("-i", "localhost/box:v1", "cat", input=text), (0, text, ""))
        self.assertEqual(self.run_("localhost/box:v1", "cat", input=text), (0, "", ""))
        self.assertEqual(self.run_("-i", "localhost/box:v1", "true", input=text)[0], 0)  # one that reads nothing

    def test_much_output(self):
        code, out, err = self.run_("localhost/box:v1", "sh", "-c", "head -c 20000000 /dev/zero; echo end >&2")
        self.assertEqual((code, len(out), err), (0, 20000000, "end\n"))

    def test_a_reader_that_waits(self):
        """The program waits for it; nothing is lost and nothing is hoarded."""
        p = self.start("--name", "slow", "localhost/box:v1", "sh", "-c", "head -c 30000000 /dev/zero; echo written >/tmp/x")
        self.until("slow", "RUNNING")
        n = 0
        while n < 30000000:
            self.assertTrue(select.select([p.stdout], [], [], LIMIT_S)[0], n)
            n += len(p.stdout.read(1 << 20))
        self.assertEqual(n, 30000000)
        self.assertEqual(p.wait(LIMIT_S), 0)

    def test_signals(self):
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
            p = self.start("localhost/box:v1", "sh", "-c", "trap 'echo heard; exit 6' INT TERM USR2; echo ready; while :; do sleep 1000 & wait; done")
            self.assertEqual(self.line(p), "ready\n")
            p.send_signal(sig)
            self.assertEqual((self.line(p), p.wait(LIMIT_S)), ("heard\n", 6))
        p = self.start("localhost/box:v1", "sh", "-c", "echo ready; exec sleep 1000")
        self.line(p)
        p.send_signal(signal.SIGINT)  # one that does nothing about it ends, as it would here
        self.assertEqual(p.wait(LIMIT_S), 128 + signal.SIGINT)

    def test_terminal(self):
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
        before = termios.tcgetattr(slave)
        p = subprocess.Popen(self.command("run", "-it", "localhost/box:v1", "sh", "-c",
                                          "stty size; trap 'echo interrupted' INT; read a; echo got $a; while :; do read b && break; done; stty size; exit 8"),
                             stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        self.addCleanup(p.kill)
        said = b""

        def until(what):
            nonlocal said
            while what not in said:
                self.assertTrue(select.select([master], [], [], LIMIT_S)[0], said)
                said += os.read(master, 65536)

        until(b"31 97")
        self.assertNotEqual(termios.tcgetattr(slave), before)  # raw: keys go to the program as they are
        os.write(master, b"some words\r")
        until(b"got some words\r\n")
        os.write(master, b"\x03")
        until(b"interrupted")
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 22, 66, 0, 0))
        p.send_signal(signal.SIGWINCH)
        name = tandem.wait_for(lambda: [k for k in self.tasks() if k["state"] == "RUNNING"], LIMIT_S)[0]["id"]
        tandem.wait_for(lambda: self.size(name) == (22, 66), LIMIT_S, lambda: self.size(name))
        os.write(master, b"end\r")
        until(b"22 66")
        self.assertEqual(p.wait(LIMIT_S), 8)
        self.assertEqual(termios.tcgetattr(slave), before)
        os.close(master)
        os.close(slave)
        self.assertEqual(self.run_("-it", "localhost/box:v1", stdin=subprocess.DEVNULL)[0], 125)

    def size(self, name):
        """Of the terminal of a task, looked at from the host."""
        pid = json.loads(self.t.admin("GET", "/v1/tasks/" + name)[1])["pid"]
        with open("/proc/%d/task/%d/children" % (pid, pid), encoding="ascii") as f:
            child = f.read().split()[0]
        fd = os.open("/proc/%s/fd/0" % child, os.O_RDONLY | os.O_NOCTTY)
        try:
            return struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8))[:2]
        finally:
            os.close(fd)

    def test_limits(self):
        code, _, err = self.run_("-m", "16", "localhost/box:v1", "sh", "-c", "x=a; while :; do x=$x$x; done")
        self.assertEqual(code, 137)
        self.assertIn("OutOfMemory", err)
        code, _, err = self.run_("--read-only", "-u", "0", "localhost/box:v1", "touch", "/x")
        self.assertEqual(code, 1)
        self.assertIn("Read-only", err)


class Tasks(Case):
    def test_detached(self):
        """Its life as ps, logs, stop and the ledger tell it."""
        id_ = self.t.cli("run", "-d", "--name", "worker", "-m", "64", "--cpu", "0.5", "localhost/box:v1", "sh", "-c",
                         "trap 'echo -n asked; exit 3' USR1; echo one; echo two >&2; while :; do sleep 1000 & wait; done").strip()
        running = self.until("worker", "RUNNING")
        self.assertEqual((running["id"], running["image"], running["memory_mb"], running["cpu"]), (id_, "localhost/box:v1", 64, 0.5))
        self.assertIn(id_, self.t.cli("ps"))
        tandem.wait_for(lambda: "two" in self.t.cli("logs", "worker"), LIMIT_S)
        code, _, err = self.run_("-d", "--name", "worker", "localhost/box:v1")  # one of a name
        self.assertEqual(code, 125)
        self.assertIn("worker", err)
        self.assertEqual(self.t.admin("DELETE", "/v1/tasks/worker")[0], 409)
        self.assertIn("exited with 3", self.t.cli("stop", "worker"))  # the image's stop signal
        stopped = self.task("worker")
        self.assertEqual((stopped["state"], stopped["exit_code"], stopped["reason"]), ("STOPPED", 3, "exited with 3"))
        lines = [line.split(" ", 2)[2] for line in self.t.cli("logs", id_[:6]).splitlines()]
        self.assertEqual(lines, ["one", "two", "asked"])
        row = tandem.wait_for(lambda: json.loads(self.t.cli("cost", "--by", "rows", "--workload", "task/worker", "-o", "json"))["rows"], LIMIT_S)[-1]
        self.assertEqual([row[k] for k in ("kind", "lane", "outcome", "memory_mb", "vcpu")], ["task", "container", "error", 64, 0.5])
        self.assertGreater(row["usd_aws"], 0)  # Fargate's, of a minute at least
        self.assertGreater(row["cpu_us"], 0)
        self.forget("worker")
        self.assertEqual(self.tasks(), [])
        tandem.wait_for(lambda: not os.path.exists(f"{self.t.state}/daemon/logs/task-{id_}"))

    def test_one_that_does_not_listen(self):
        body = json.dumps({"image": "localhost/box:v1", "name": "deaf", "stop_timeout_s": 1,
                           "command": ["sh", "-c", "trap : USR1; echo deaf; while :; do sleep 1000 & wait; done"]})
        self.assertEqual(self.t.admin("POST", "/v1/tasks", body)[0], 201)
        tandem.wait_for(lambda: "deaf" in self.t.cli("logs", "deaf"), LIMIT_S)
        self.assertIn("killed", self.t.cli("stop", "deaf"))
        self.assertEqual(self.task("deaf")["exit_code"], 137)
        self.forget("deaf")

    def test_asked_wrongly(self):
        for what in ("", "[]", "{}", '{"image": 7}', '{"image": "localhost/box:v1", "colour": 1}', '{"image": "localhost/box:v1", "command": "ls"}',
                     '{"image": "localhost/box:v1", "command": [1]}', '{"image": "localhost/box:v1", "env": {"A=B": "x"}}',
                     '{"image": "localhost/box:v1", "env": {"A": 1}}', '{"image": "localhost/box:v1", "cpu": 0}', '{"image": "localhost/box:v1", "workdir": "x"}',
                     '{"image": "localhost/box:v1", "name": "a b"}', '{"image": "localhost/box:v1", "memory_mb": 1}',
                     '{"image": "localhost/box:v1", "command": ["a\\u0000b"]}'):
            status, text = self.t.admin("POST", "/v1/tasks", what)
            self.assertEqual(status, 400, (what, text))
        big = json.dumps({"image": "localhost/box:v1", "env": {"A": "x" * 70000}})
        self.assertEqual(self.t.admin("POST", "/v1/tasks", big)[0], 413)
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/stop"), ("POST", "/signal?signal=1"), ("POST", "/stdin"), ("POST", "/resize"), ("GET", "/attach")):
            self.assertEqual(self.t.admin(method, "/v1/tasks/nobody" + path)[0], 404, path)
        self.assertEqual(self.tasks(), [])

    def test_image_in_use(self):
        """An image that a task runs from cannot be removed."""
        self.t.cli("run", "-d", "--name", "user", "localhost/box:v1", "sleep", "1000")
        done = subprocess.run(self.command("images", "rm", "localhost/box:v1"), capture_output=True, text=True, timeout=LIMIT_S, check=False)
        self.assertEqual(done.returncode, 1)
        self.t.cli("stop", "user")
        self.forget("user")

    def test_pulled_when_it_is_not_here(self):
        if not oci.REGISTRY:
            self.skipTest("docker-registry is not installed")
        with oci.Registry() as registry:
            name = registry.push(oci.Image(oci.layer(files()), config={"Cmd": ["echo", "pulled"]}), "team/app:v1")
            code, out, err = self.run_(name)
            self.assertEqual((code, out), (0, "pulled\n"))
            self.assertIn("copying", err)
        self.assertEqual(self.run_(name), (0, "pulled\n", ""))


class Restarts(Case):
    LOOP = "trap 'echo bye; exit 4' TERM USR1; echo up $$; echo tick; while :; do sleep 1000 & wait; done"

    def daemon(self):
        return json.loads(self.t.admin("GET", "/v1/version")[1])["pid"]

    def back(self, old):
        def answers():
            try:
                return self.daemon() != old
            except (OSError, ValueError):
                return False
        tandem.wait_for(answers, LIMIT_S)

    def through(self, end_daemon):
        """A container, and a tool that is attached to it, that live through the end of a tandemd."""
        p = self.start("-i", "--name", "lives", "localhost/box:v1", "sh", "-c", "echo ready; while read a; do echo got $a; done; exit 4")
        self.assertEqual(self.line(p), "ready\n")
        before, old = self.task("lives"), self.daemon()
        end_daemon(old)
        self.back(old)
        after = self.until("lives", "RUNNING")
        for key in ("id", "pid", "image", "memory_mb", "created"):
            self.assertEqual(after[key], before[key])
        p.stdin.write(b"words\n")
        self.assertEqual(self.line(p), "got words\n")
        p.stdin.close()
        p.stdin = None  # communicate would close it again
        self.assertEqual(p.wait(LIMIT_S), 4)

    def test_crash(self):
        self.through(lambda pid: os.kill(pid, signal.SIGKILL))

    def test_upgrade(self):
        self.through(lambda pid: os.kill(self.t.pid, signal.SIGHUP))

    def test_its_end_while_nobody_is_there(self):
        """The exit code of a program that ended while tandemd was down is kept."""
        fifo = self.t.cli("run", "-d", "--name", "ends", "localhost/box:v1", "sh", "-c", "trap 'exit 11' TERM; echo up; while :; do sleep 1000 & wait; done").strip()
        tandem.wait_for(lambda: "up" in self.t.cli("logs", "ends"), LIMIT_S)
        pid, old = self.until("ends", "RUNNING")["pid"], self.daemon()
        with open("/proc/%d/task/%d/children" % (pid, pid), encoding="ascii") as f:
            child = int(f.read().split()[0])
        os.kill(old, signal.SIGSTOP)
        os.kill(child, signal.SIGTERM)
        tandem.wait_for(lambda: not os.path.exists("/proc/%d" % child), LIMIT_S)
        os.kill(old, signal.SIGKILL)
        self.back(old)
        self.assertEqual((self.until("ends", "STOPPED")["exit_code"], self.task("ends")["id"]), (11, fifo))
        self.forget("ends")

    def test_the_end_of_the_daemon(self):
        """SIGTERM: tasks get their stop signal, and time."""
        self.t.cli("run", "-d", "--name", "told", "localhost/box:v1", "sh", "-c", self.LOOP)
        id_ = self.until("told", "RUNNING")["id"]
        tandem.wait_for(lambda: "tick" in self.t.cli("logs", "told"), LIMIT_S)
        self.assertEqual(self.t.stop(), 0)
        with open(f"{self.t.state}/daemon/logs/task-{id_}/000001.log", encoding="utf-8") as f:
            self.assertIn("bye", f.read())
        self.assertEqual(sorted(os.listdir(self.t.state + "/containers")), ["gone", "skel"])
        self.t.start()
        self.assertEqual(self.tasks(), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
