# SPDX-License-Identifier: Apache-2.0
"""
Budgets of tandem.yaml: they warn, throttle and stop by the ledger's own sums; nothing asynchronous is lost; the next period opens
them by itself, and a killed daemon's successor knows what was used.
"""
import json
import os
import re
import signal
import unittest
import urllib.error
import urllib.request

import tandem
import test_services as services

MONTH_US = 31 * 86400 * 10**6
CODE = """\
def handler(event, context):
    print("ran", event.get("n") if isinstance(event, dict) else "")
    return "done"
"""
PROJECT = """\
name: shop
functions:
  a: {{code: app, runtime: python3.11, handler: app.handler, tags: {{team: a}}, route: /a, snapshot: "off", max_age: 10m}}
  kept: {{code: app, runtime: python3.11, handler: app.handler, tags: {{team: k}}, min: 1, snapshot: "off"}}
  free: {{code: app, runtime: python3.11, handler: app.handler, snapshot: "off"}}
budgets:
  team-a: {{tag: team=a, usd: {a}, per: month, then: {then}, on: aws}}
  kept: {{workload: kept, usd: {kept}, per: month, then: stop, on: aws}}
"""


class Budgets(unittest.TestCase):
    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("needs root")
        self.t = self.enterContext(tandem.Tandem())

    def up(self, **values):
        return self.t.up({"app/app.py": CODE, "tandem.yaml": PROJECT.format(**{"a": 1, "kept": 1, "then": "throttle"} | values)})

    def budget(self, name):
        return next(b for b in json.loads(self.t.cli("budget", "-o", "json"))["budgets"] if b["name"] == name)

    def use_up(self, function, budget):
        """Calls until it is closed: each costs a request of Lambda's, at least."""
        for _ in range(4):
            if self.budget(budget)["state"] == "closed":
                return
            spent = self.budget(budget)["spent"]
            self.assertEqual(self.t.cli("invoke", function).strip(), '"done"')
            tandem.wait_for(lambda: self.budget(budget)["spent"] > spent)  # its row comes after the answer
        self.assertEqual(self.budget(budget)["state"], "closed")

    def about(self, function):
        return json.loads(self.t.cli("describe", function, "-o", "json"))

    def test_throttle(self):
        self.up(a="0.0000005")
        self.assertEqual(self.budget("team-a")["state"], "open")
        self.use_up("a", "team-a")
        answers = json.loads(self.t.cli("why", "a", "-o", "json"))["answers"]
        self.assertEqual([a["about"] for a in answers].count("budget"), 2)
        api = self.t.client()
        with self.assertRaisesRegex(api.exceptions.TooManyRequestsException, r"budget team-a: [\d.e-]+ of 5e-07 USD of this month are used "
                                    r"\(tag team=a, by the price of AWS\); it opens again at \d{4}-\d\d-01T00:00:00Z") as caught:
            api.invoke(FunctionName="a")
        self.assertEqual(caught.exception.response["ResponseMetadata"]["HTTPStatusCode"], 429)
        with self.assertRaises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(self.t.gateway + "/a")
        self.addCleanup(refused.exception.close)
        self.assertEqual(refused.exception.code, 429)
        self.assertIn("budget team-a", refused.exception.read().decode())
        with self.assertRaisesRegex(AssertionError, "budget team-a"):
            self.t.cli("invoke", "a")
        self.assertEqual(self.t.cli("invoke", "free").strip(), '"done"')
        # What was accepted waits, longer than its own limit of ten minutes, and over the death of the daemon.
        for n in range(3):
            self.assertEqual(api.invoke(FunctionName="a", InvocationType="Event", Payload=json.dumps({"n": n}))["StatusCode"], 202)
        waits = tandem.wait_for(lambda: [a for a in [self.about("a").get("asynchronous") or {}] if "budget team-a" in a.get("reason", "")])
        self.assertEqual(waits[0]["waiting"], 3)
        self.assertIn("budget team-a", self.about("a")["budget"])
        notes = {f["name"]: f.get("budget") for f in json.loads(self.t.cli("ls", "-o", "json"))["functions"]}
        self.assertEqual([name for name, note in notes.items() if note], ["a"])
        events = self.t.cli("events")
        self.assertRegex(events, r"budget +shop +budget team-a: .* are used")
        self.t.cli("cost")  # its rows are written by now
        daemon = tandem.daemon_of(self.t.pid)
        os.kill(daemon, signal.SIGKILL)
        tandem.wait_for(lambda: tandem.daemon_of(self.t.pid) not in (None, daemon))
        tandem.wait_for(lambda: self.budget("team-a")["state"] == "closed")
        with self.assertRaises(api.exceptions.TooManyRequestsException):
            self.t.client().invoke(FunctionName="a")
        self.assertNotRegex(self.t.cli("logs", "a"), r"ran \d")
        until = self.budget("team-a")["until"]
        self.t.clock(step_us=MONTH_US)
        self.assertGreater(self.budget("team-a")["until"], until)
        tandem.wait_for(lambda: re.search(r"ran \d", self.t.cli("logs", "a")))  # which may use it up again
        for line in (r"budget shop budget team-a is open again: a new month has begun", r"throttle shop/a over: \d+ calls were refused within \d+ s"):
            tandem.wait_for(lambda line=line: re.search(line, self.t.cli("events")), what=lambda: self.t.cli("events"))
        self.up(a=1)
        tandem.wait_for(lambda: all(f"ran {n}" in self.t.cli("logs", "a") for n in range(3)))

    def test_stop(self):
        self.up(kept="0.0000003")
        tandem.wait_for(lambda: len(self.t.instances("kept")) == 1)
        self.use_up("kept", "kept")
        tandem.wait_for(lambda: not self.t.instances("kept"))
        with self.assertRaisesRegex(AssertionError, "budget kept"):
            self.t.cli("invoke", "kept")
        self.assertEqual([], self.t.instances("kept"))
        self.t.clock(step_us=MONTH_US)
        tandem.wait_for(lambda: len(self.t.instances("kept")) == 1)
        self.assertEqual(self.t.cli("invoke", "kept").strip(), '"done"')

    def test_declared_anew(self):
        self.up(a="0.0000003")
        self.use_up("a", "team-a")
        self.assertRegex(self.up(a="5"), r"(?m)budget team-a")
        self.assertEqual(self.budget("team-a")["usd"], 5)
        self.assertIn("budget team-a is open again: it was deleted or declared anew", self.t.cli("events"))
        tandem.wait_for(lambda: self.budget("team-a")["spent"] > 3e-7)  # what was used is not forgotten
        self.assertEqual(self.t.cli("invoke", "a").strip(), '"done"')
        self.up(a="0.0000003", then="warn")
        tandem.wait_for(lambda: self.budget("team-a")["state"] == "over")
        self.assertEqual(self.t.cli("invoke", "a").strip(), '"done"')
        self.t.cli("down", "-f", f"{self.t.base}/tandem.yaml")
        self.assertEqual(json.loads(self.t.cli("budget", "-o", "json"))["budgets"], [])


class OfServices(tandem.Fails, services.Case):
    def up_with(self, usd):
        path = f"{self.t.base}/tandem.yaml"
        with open(path, "w", encoding="utf-8") as f:
            json.dump({"name": "shop", "services": {"web": self.web(min=1)},
                       "budgets": {"web": {"workload": "web", "usd": usd, "on": "aws", "then": "stop"}}}, f)
        self.t.cli("up", "-f", path)

    def budget(self):
        return json.loads(self.t.cli("budget", "-o", "json"))["budgets"][0]

    def test_a_service_is_stopped(self):
        """What its containers have cost is known while they run: Fargate takes a minute at least."""
        self.up_with(5)
        self.assertEqual(self.curl("/hello"), self.curl("/hello"))
        self.assertGreater(self.budget()["spent"], 0)
        self.up_with("0.00001")
        tandem.wait_for(lambda: self.budget()["state"] == "closed")
        refused = json.loads(self.curl("/hello", status=429))
        self.assertRegex(refused["reason"], r"^budget web: .* \(service/web, by the price of AWS\); it opens again at ")
        self.until(lambda sv: sv["instances"] == 0 and sv["starting"] == 0)
        self.up_with(5)
        tandem.wait_for(lambda: self.budget()["state"] == "open")
        self.until(lambda sv: sv["instances"] == 1)
        self.curl("/hello")

    def test_tags(self):
        """Of services and tasks: in rows, in ECS's own lists, and what a budget closes, of which nobody asks anything."""
        path = f"{self.t.base}/tandem.yaml"
        document = {"name": "shop", "services": {"web": self.web(min=1, tags={"team": "k", "app": "web"})},
                    "tasks": {"job": {"image": "localhost/server:v1", "tags": {"team": "k"}}},
                    "budgets": {"k": {"tag": "team=k", "usd": "0.01", "on": "aws", "per": "month", "then": "stop"},
                                "ecs": {"tag": "by=ecs", "usd": "0.00001", "on": "aws", "then": "throttle"}}}

        def up():
            with open(path, "w", encoding="utf-8") as f:
                json.dump(document, f)
            return self.t.cli("up", "-f", path)

        def spent():
            sums = json.loads(self.t.cli("cost", "--by", "tag", "-o", "json"))["sums"]
            return {s["key"]: s["usd_aws"] for s in sums}

        def running():
            return [k["name"] for k in json.loads(self.t.cli("ps", "-o", "json"))["tasks"] if k["state"] == "RUNNING" and k.get("name")]

        up()
        self.t.cli("run", "-d", "--name", "first", "job")
        self.curl("/hello")
        self.assertEqual(json.loads(self.t.cli("describe", "web", "-o", "json"))["tags"], "app=web,team=k")
        before = spent()
        self.assertGreater(before["team=k"], before["app=web"])  # the service, and the task
        ecs = self.t.client("ecs")
        arn = ecs.describe_services(services=["web"], include=["TAGS"])["services"][0]
        self.assertEqual(sorted((x["key"], x["value"]) for x in arn["tags"]), [("app", "web"), ("team", "k")])
        ecs.tag_resource(resourceArn=arn["serviceArn"], tags=[{"key": "app", "value": "shop"}])
        self.assertIn("app=shop", spent())
        self.assertNotIn("app=web", {k for k, v in spent().items() if v > 0})  # its container's row is still to come
        self.curl("/hello")  # and its route is as it was
        self.assertRegex(up(), r"web +update.*tags")
        self.assertIn("app=web", spent())
        document["services"]["web"]["tags"]["app"] = "site"
        up()
        made = ecs.describe_task_definition(taskDefinition="web", include=["TAGS"])["tags"]
        self.assertEqual(sorted((x["key"], x["value"]) for x in made), [("app", "site"), ("team", "k")])
        self.fails("InvalidParameterException", 400, ecs.run_task, "at most 50", taskDefinition="job", tags=[{"key": f"k{i}", "value": ""} for i in range(50)])
        tags = [{"key": "by", "value": "ecs"}]
        made = ecs.run_task(taskDefinition="job", tags=tags)["tasks"][0]
        self.assertEqual(sorted(x["key"] for x in made["tags"]), ["by", "team"])
        tandem.wait_for(lambda: [b["state"] for b in json.loads(self.t.cli("budget", "-o", "json"))["budgets"] if b["name"] == "ecs"] == ["closed"])
        with self.assertRaisesRegex(ecs.exceptions.ClientError, "ThrottlingException.*budget ecs"):
            ecs.run_task(taskDefinition="job", tags=tags)
        self.assertEqual(ecs.describe_tasks(tasks=[made["taskArn"]])["tasks"][0]["lastStatus"], "RUNNING")  # it is not to stop
        self.assertIn("first", running())
        self.t.clock(step_us=3600 * 10**6)
        self.until(lambda sv: sv["instances"] == 0 and sv["starting"] == 0)
        tandem.wait_for(lambda: not running())
        with self.assertRaisesRegex(AssertionError, r"budget k: .*\(tag team=k, by the price of AWS\)"):
            self.t.cli("run", "-d", "job")
        self.assertIn("budget k", json.loads(self.curl("/hello", status=429))["reason"])
        document["tasks"]["job"]["tags"] = {"team": "free"}
        self.assertRegex(up(), r"job +update.*tags")
        self.t.cli("run", "-d", "--name", "second", "job")
        self.assertIn("second", running())
        self.assertGreater(spent()["team=free"], 0)


if __name__ == "__main__":
    unittest.main()
