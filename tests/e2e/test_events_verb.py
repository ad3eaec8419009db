# SPDX-License-Identifier: Apache-2.0
"""tandem events: what happened to whom, kept over kill -9, followed, by name and as JSON; what repeats is counted. tandem why."""
import json
import os
import re
import signal
import subprocess
import unittest

import tandem

CODE = tandem.WAIT_WHILE_HELD + """
import os
def handler(event, context):
    wait_while_held()
    if event.get("exit"):
        os._exit(event["exit"])
    return "ok"
"""
PROJECT = """
name: shop
functions:
  iris: {code: app, runtime: python3.11, handler: app.handler, snapshot: "off"}
  rose: {code: app, runtime: python3.11, handler: app.handler}
  one: {code: app, runtime: python3.11, handler: app.handler, snapshot: "off", max: 1, timeout: 5m}
queues:
  jobs: {}
"""


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Events(unittest.TestCase):
    def setUp(self):
        self.t = tandem.Tandem()
        self.addCleanup(self.t.close)
        self.t.start()
        self.t.up({"app/app.py": CODE, "tandem.yaml": PROJECT})

    def events(self, *about):
        return [json.loads(line) for line in self.t.cli("events", "-o", "json", *about).splitlines()]

    def texts(self, kind, *about):
        return [e["text"] for e in self.events(*about) if e["kind"] == kind]

    def wait(self, kind, *about, n=1):
        tandem.wait_for(lambda: len(self.texts(kind, *about)) >= n, what=lambda: f"{n} of {kind}: {self.events()}")
        return self.texts(kind, *about)

    def crash(self, name, status):
        try:
            self.t.cli("invoke", name, "--payload", json.dumps({"exit": status}))
        except AssertionError:
            return

    def test_what_happened(self):
        for about in ("iris", "shop/iris"):
            self.assertEqual([e["subject"] for e in self.events(about)], ["shop/iris"])
        self.assertRegex(self.texts("deploy", "iris")[0], r"^revision \d+: python3.11, 128 MB, code [0-9a-f]{12}$")
        self.assertIn("made: ", self.wait("snapshot", "rose")[0])
        self.assertIn("tandemd", self.texts("start", "tandem")[0])
        self.crash("iris", 3)
        self.assertEqual(self.wait("crash", "iris"), ["Runtime exited with error: exit status 3"])
        self.assertEqual({e["subject"] for e in self.events("shop")}, {"shop/iris", "shop/one", "shop/rose"})
        with open(os.path.join(self.t.base, "app/app.py"), "w", encoding="utf-8") as f:
            f.write("raise ValueError('two\\nlines')\n")
        self.assertNotEqual(subprocess.run([self.t.program, "--state", self.t.state, "up"], cwd=self.t.base, check=False,
                                           capture_output=True).returncode, 0)
        self.assertRegex(self.wait("deploy", "iris", n=2)[1], "cannot be initialised: .*two lines")
        lines = self.t.cli("events").splitlines()
        self.assertTrue(all(len(line.split(" ", 3)) == 4 for line in lines), lines)
        self.assertEqual(len(self.t.cli("events", "-n", "2").splitlines()), 2)
        self.assertEqual(self.t.cli("events", "nobody"), "")
        self.assertEqual(self.t.admin("GET", "/v1/events?about=a%0ab")[0], 400)
        self.assertNotIn("deploy", self.t.cli("logs"))  # whose log it is in is nobody's business

    def why(self, name):
        answers = json.loads(self.t.cli("why", name, "-o", "json"))["answers"]
        return {about: [a["text"] for a in answers if a["about"] == about] for about in {a["about"] for a in answers}}

    def test_why(self):
        self.assertEqual(self.why("shop/rose")["waits"], ["nothing"])
        with self.assertRaisesRegex(AssertionError, 'no service "other/rose".*did you mean "rose"'):
            self.t.cli("why", "other/rose")
        self.wait("snapshot", "rose")
        self.assertRegex(self.why("rose")["start"][0], r"^from an image of its process \([0-9.]+ MB, made ")
        self.crash("iris", 3)
        self.wait("crash", "iris")
        self.t.cli("invoke", "iris")
        tandem.wait_for(lambda: "1 of the last 2 calls" in self.why("iris").get("failed", []))
        why = self.why("iris")
        self.assertIn("function: ", why["lane"][0])
        self.assertEqual(why["start"], ["plainly, there is no image of its process: snapshot: off"])
        self.assertRegex(why["cold"][0], "plainly, .* ms: the call before had ended its instance: crash$")
        self.assertRegex(why["events"][0], "crash: Runtime exited with error: exit status 3$")
        release = tandem.held(self.t)
        self.addCleanup(release)
        calls = [subprocess.Popen([self.t.program, "--state", self.t.state, "invoke", "one"], stdout=subprocess.DEVNULL) for _ in range(2)]
        tandem.wait_for(lambda: re.search(r"^1 for a busy instance to become free, for there may be no more \(max\); the first for [0-9.]+ s, refused in [0-9.]+ s if that stays so$",
                                          self.why("one")["waits"][0]), what=lambda: self.why("one"))
        release()
        self.assertEqual([c.wait(120) for c in calls], [0, 0])
        self.t.client("sqs").send_message(QueueUrl=self.t.client("sqs").get_queue_url(QueueName="jobs")["QueueUrl"], MessageBody="x")
        why = self.why("jobs")
        self.assertEqual(why["waits"], ["1 messages; 0 more are with somebody, 0 are delayed"])
        self.assertEqual(why["trigger"], ["nothing takes what is in it by itself"])
        self.assertIn("trigger", self.t.cli("why", "jobs"))

    def test_kept_and_followed(self):
        follower = subprocess.Popen([self.t.program, "--state", self.t.state, "events", "-f", "iris", "-n", "1"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(follower.stdout.close)
        self.addCleanup(follower.kill)
        self.assertIn(" deploy shop/iris ", follower.stdout.readline())
        self.crash("rose", 1)
        self.crash("iris", 2)
        self.assertIn(" crash shop/iris ", follower.stdout.readline())
        self.crash("iris", 2)  # the same, within a minute: counted
        self.wait("crash", "rose")
        before = self.events()
        self.assertEqual(len(self.texts("crash", "iris")), 1)
        os.kill(tandem.daemon_of(self.t.process.pid), signal.SIGKILL)
        tandem.wait_for(lambda: self.t.admin("GET", "/readyz")[0] == 200, what="the next tandemd")
        self.assertEqual(self.events()[:len(before)], before)
        self.wait("start", "tandem", n=2)
        follower.wait(120)


if __name__ == "__main__":
    unittest.main()
