#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tandem top: what everything does and costs, as one look, as JSON and on a terminal that it gives back as it was."""
import concurrent.futures
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
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tandem  # noqa: E402
import test_services as services  # noqa: E402

LIMIT_S = 60 * tandem.SLOW
CODE = tandem.WAIT_WHILE_HELD + """
def handler(event, context):
    wait_while_held()
    if event.get("fail"):
        raise ValueError("as it was told")
    return 1
"""


def look(t, *arguments):
    return json.loads(t.cli("top", "-o", "json", "--interval", "0", *arguments))


def line(t, name):
    return next((x for x in look(t)["workloads"] if x["name"] == name), None)


def wait_line(t, name, true):
    return tandem.wait_for(lambda: (lambda x: x and true(x) and x)(line(t, name)), LIMIT_S, lambda: look(t))


class Top(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = tandem.Tandem()
        cls.t.start()
        cls.addClassCleanup(cls.t.close)
        cls.lam = cls.t.client()
        for name in ("calm", "busy"):
            cls.lam.create_function(FunctionName=name, MemorySize=256, Timeout=300, **tandem.python_function(CODE))
            cls.lam.get_waiter("function_active_v2").wait(FunctionName=name)

    def invoke(self, name, event):
        return self.lam.invoke(FunctionName=name, Payload=json.dumps(event))

    def test_counts_since_the_beginning(self):
        for n in range(6):
            self.assertEqual(self.invoke("calm", {"fail": n == 5}).get("FunctionError"), "Unhandled" if n == 5 else None)
        tandem.wait_for(lambda: (lambda f: any(round(x["requests_per_s"] * f["seconds"]) == 6 for x in f["workloads"] if x["name"] == "api/calm"))(look(self.t)),
                        LIMIT_S)  # rows come after the answers
        seen = line(self.t, "api/calm")
        frame = look(self.t)
        calm = next(x for x in frame["workloads"] if x["name"] == "api/calm")
        self.assertEqual((round(calm["requests_per_s"] * frame["seconds"]), round(calm["errors_per_s"] * frame["seconds"])), (6, 1))
        self.assertEqual((calm["kind"], calm["lane"], calm["waiting"], calm["waiting_for"]), ("function", "function", 0, None))
        self.assertTrue(0 < seen["p50_us"] <= seen["p95_us"] <= seen["p99_us"] < 900e6, seen)
        self.assertGreater(calm["cpu"], 0)
        self.assertGreater(frame["platform"]["mem_bytes"], 1 << 20)
        total = frame["total"]
        for what in ("requests_per_s", "cpu", "mem_bytes", "usd_hour"):
            self.assertAlmostEqual(total[what], sum(x[what] for x in frame["workloads"]) + frame["platform"][what], places=9)
        self.assertLess(total["usd_hour"], frame["machine_usd_per_hour"] * 2, "memory that is mapped twice is counted twice, no more")

    def test_busy(self):
        self.invoke("busy", {})
        let_go = tandem.held(self.t)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            try:
                call = pool.submit(self.invoke, "busy", {})
                busy = wait_line(self.t, "api/busy", lambda x: x["busy"])
                self.assertEqual((busy["instances"], busy["busy"], busy["starting"]), (1, 1, 0))
                self.assertEqual(look(self.t, "--by", "name")["workloads"][0]["name"], "api/busy")
                text = self.t.cli("top", "--interval", "0", "--by", "name")
                self.assertRegex(text, r"^WORKLOAD +LANE +REQ/S .*\napi/busy +function +\d.* 1/0/0 ")
                self.assertNotIn("\x1b", text, "no terminal, no escapes")
            finally:
                let_go()
            call.result()

    def test_orders(self):
        order = [x["name"] for x in look(self.t, "--by", "name")["workloads"]]
        self.assertEqual(order, sorted(order))
        costs = [x["usd_hour"] for x in look(self.t)["workloads"]]
        self.assertEqual(costs, sorted(costs, reverse=True))
        done = subprocess.run([tandem.PROGRAM, "--state", self.t.state, "top", "--by", "size"], capture_output=True, text=True, timeout=LIMIT_S, check=False)
        self.assertEqual((done.returncode, "not \"size\"" in done.stderr), (2, True), done.stderr)

    def terminal(self, *before_it):
        """The process, our end of its terminal and what the terminal was set to before."""
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        self.addCleanup(os.close, theirs)
        before = termios.tcgetattr(theirs)
        top = subprocess.Popen([*before_it, tandem.PROGRAM, "--state", self.t.state, "top", "--interval", "1h"], stdin=theirs, stdout=theirs, stderr=theirs,
                               start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.addCleanup(top.kill)
        return top, ours, lambda: termios.tcgetattr(theirs) == before

    def read_until(self, fd, word):
        seen, end = b"", time.monotonic() + LIMIT_S
        while word not in seen:
            self.assertTrue(select.select([fd], [], [], max(0, end - time.monotonic()))[0], seen)
            seen += os.read(fd, 65536)
        return seen

    def test_terminal(self):
        self.invoke("calm", {})
        for leave in ("q", "\x03", signal.SIGTERM):
            with self.subTest(leave=leave):
                top, fd, as_before = self.terminal()
                self.assertIn(b"api/calm", self.read_until(fd, b"by cost; "))
                os.write(fd, b"n")
                self.read_until(fd, b"by name; ")
                if isinstance(leave, str):
                    os.write(fd, leave.encode())
                else:
                    top.send_signal(leave)
                self.assertEqual(top.wait(LIMIT_S), 0)
                self.read_until(fd, b"\x1b[?1049l")
                self.assertTrue(as_before())

    def test_let_go_on_with_another_terminal(self):
        """Stopped by what it cannot catch; whoever has it go on has set the terminal as a shell does."""
        top, fd, as_before = self.terminal()
        cooked = termios.tcgetattr(fd)
        self.read_until(fd, b"by cost; ")
        top.send_signal(signal.SIGSTOP)
        self.assertTrue(os.WIFSTOPPED(os.waitpid(top.pid, os.WUNTRACED)[1]))
        cooked[3] |= termios.ICANON | termios.ECHO
        termios.tcsetattr(fd, termios.TCSANOW, cooked)
        self.assertTrue(as_before())
        top.send_signal(signal.SIGCONT)
        self.read_until(fd, b"by cost; ")
        os.write(fd, b"n")  # and no end of a line
        self.read_until(fd, b"by name; ")
        os.write(fd, b"q")
        self.assertEqual(top.wait(LIMIT_S), 0)
        self.assertTrue(as_before())

    def test_stopped_and_resized(self):
        top, fd, as_before = self.terminal("sh", "-c", 'set -m; "$@"; echo back; read x; fg', "sh")
        self.read_until(fd, b"by cost; ")
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 5, 200, 0, 0))
        self.read_until(fd, b"by cost; ")
        os.write(fd, b"\x1a")
        self.assertIn(b"\x1b[?1049l", self.read_until(fd, b"back"))
        self.assertTrue(as_before())
        os.write(fd, b"\n")
        self.assertIn(b"\x1b[?1049h", self.read_until(fd, b"by cost; "))
        os.write(fd, b"q")
        self.assertEqual(top.wait(LIMIT_S), 0)
        self.assertTrue(as_before())


class Service(services.Case):
    def test_service(self):
        self.up({"web": self.web(min=0)})
        for _ in range(3):
            self.curl("/")
        seen = wait_line(self.t, "service/web", lambda x: x["mem_bytes"] and x["cpu"] and x["requests_per_s"])
        self.assertEqual((seen["kind"], seen["instances"], seen["errors_per_s"]), ("service", 1, 0))
        self.assertGreater(seen["p50_us"], 0)

    def test_who_waits_and_why(self):
        """It does not listen before it is told to: first for `up`, then for somebody's request."""
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            up = pool.submit(self.up, {"web": self.web(min=0, idle="100ms", environment={"GATE": "1"})})
            services.Scale.open_gate(self, 1)
            up.result(LIMIT_S)
            self.until(lambda sv: sv["instances"] == 0 and sv["starting"] == 0)
            call = pool.submit(self.curl, "/hello")
            seen = wait_line(self.t, "service/web", lambda x: (x["waiting"], x["busy"], x["instances"], x["starting"]) == (1, 0, 1, 1))
            self.assertTrue(seen["waiting_for"])
            self.assertRegex(self.t.cli("top", "--interval", "0"), r"\nservice/web .* 0/0/1 .*  1: \w")
            services.Scale.open_gate(self, 2)
            call.result(LIMIT_S)


if __name__ == "__main__":
    unittest.main()
