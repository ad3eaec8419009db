#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Schedules: of EventBridge Scheduler and of rules, by a clock that the test stops and steps (debug builds)."""
import datetime
import json
import os
import signal
import unittest
import urllib.request

import tandem
from botocore.exceptions import ClientError

WAIT_S = 30
OFF = {"Mode": "OFF"}
ROLE = "arn:aws:iam::000000000000:role/scheduler"


class Scheduler(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = tandem.Tandem("--auth", "none").__enter__()  # signatures are of the true time
        cls.addClassCleanup(cls.t.__exit__, None, None, None)
        cls.connect()
        cls.n = 0

    @classmethod
    def connect(cls):
        cls.scheduler, cls.sqs, cls.events = (cls.t.client(s) for s in ("scheduler", "sqs", "events"))

    def stop_clock(self):
        """At the beginning of a minute by the daemon's clock, which stands from now on."""
        self.t.clock(stop=1)
        self.addCleanup(self.t.clock, resume=1)
        self.sqs.send_message(QueueUrl=self.url, MessageBody="when")
        m = self.sqs.receive_message(QueueUrl=self.url, AttributeNames=["SentTimestamp"])["Messages"][0]
        self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=m["ReceiptHandle"])
        now_ms = int(m["Attributes"]["SentTimestamp"])
        self.t.clock(step_us=(60000 - now_ms % 60000) * 1000)
        return now_ms // 60000 * 60 + 60

    def setUp(self):
        type(self).n += 1
        self.connect()
        name = "s%d" % self.n
        self.url = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        self.target = {"Arn": "arn:aws:sqs:us-east-1:000000000000:" + name, "RoleArn": ROLE, "Input": '{"a": "<aws.scheduler.scheduled-time>"}'}

    def create(self, name, expression, **more):
        more.setdefault("FlexibleTimeWindow", OFF)
        more.setdefault("Target", self.target)
        if "ActionAfterCompletion" in more:  # Debian's boto3 does not know it
            request = urllib.request.Request(f"{self.t.api}/schedules/{name}", json.dumps(dict(more, ScheduleExpression=expression)).encode())
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)["ScheduleArn"]
        return self.scheduler.create_schedule(Name=name, ScheduleExpression=expression, **more)["ScheduleArn"]

    def sent(self, n):
        """The bodies of the queue's messages once there are n of them; taken out."""
        got = []

        def enough():
            for m in self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10, WaitTimeSeconds=0).get("Messages", []):
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=m["ReceiptHandle"])
                got.append(m["Body"])
            return len(got) >= n

        tandem.wait_for(enough, WAIT_S, lambda: f"{got} instead of {n}")
        self.assertEqual(len(got), n, got)
        return got

    def marker(self, at):
        """What was due before it is in the queue when this is."""
        self.create("marker", "at(%s)" % at.strftime("%Y-%m-%dT%H:%M:%S"), Target=dict(self.target, Input='"marker"'),
                    ActionAfterCompletion="DELETE")

    def fails(self, code, text, call, **arguments):
        with self.assertRaises(ClientError) as e:
            call(**arguments)
        self.assertEqual(e.exception.response["Error"]["Code"], code)
        self.assertIn(text, e.exception.response["Error"]["Message"])

    def test_it_fires_at_its_time_and_not_before(self):
        now = self.stop_clock()
        utc = datetime.datetime.fromtimestamp(now, datetime.timezone.utc)
        self.create("cron", "cron(%d * * * ? *)" % ((utc.minute + 2) % 60))
        self.addCleanup(lambda: self.scheduler.delete_schedule(Name="cron"))
        self.marker(utc + datetime.timedelta(seconds=119))
        self.t.clock(step_us=119999000)
        self.assertEqual(self.sent(1), ['"marker"'])
        self.t.clock(step_us=1000)
        due = utc + datetime.timedelta(minutes=2)
        self.assertEqual(json.loads(self.sent(1)[0]), {"a": due.strftime("%Y-%m-%dT%H:%M:%SZ")})

    def test_a_rate_begins_at_once_and_one_time_schedules_go(self):
        now = self.stop_clock()
        self.create("rate", "rate(10 minutes)")
        self.addCleanup(lambda: self.scheduler.delete_schedule(Name="rate"))
        self.sent(1)
        self.t.clock(step_us=600000000)
        self.sent(1)
        at = datetime.datetime.fromtimestamp(now + 700, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
        self.create("once", f"at({at})", ActionAfterCompletion="DELETE")
        self.create("kept", f"at({at})")
        self.t.clock(step_us=100000000)
        self.sent(2)
        tandem.wait_for(lambda: [s["Name"] for s in self.scheduler.list_schedules()["Schedules"]] == ["kept", "rate"], WAIT_S)
        self.scheduler.delete_schedule(Name="kept")

    def test_what_was_missed_runs_once(self):
        now = self.stop_clock()
        utc = datetime.datetime.fromtimestamp(now, datetime.timezone.utc)
        self.create("often", "cron(* * * * ? *)")
        self.addCleanup(lambda: self.scheduler.delete_schedule(Name="often"))
        self.create("old", f"at({(utc - datetime.timedelta(days=1)).strftime('%Y-%m-%dT%H:%M:%S')})")
        self.addCleanup(lambda: self.scheduler.delete_schedule(Name="old"))
        self.t.clock(step_us=60000000)
        self.sent(1)
        self.t.clock(step_us=600000000)  # ten of them at once: the latest counts
        due = utc + datetime.timedelta(minutes=11)
        self.assertEqual(json.loads(self.sent(1)[0])["a"], due.strftime("%Y-%m-%dT%H:%M:%SZ"))
        self.assertIn("what was due from ", self.t.cli("events", "often"))
        self.t.clock(step_us=60000000)
        due += datetime.timedelta(minutes=1)
        self.assertEqual(json.loads(self.sent(1)[0])["a"], due.strftime("%Y-%m-%dT%H:%M:%SZ"))

    def test_a_firing_is_neither_lost_nor_doubled_by_a_crash(self):
        """The clock of the next daemon is the machine's own: what fired in the stepped future does not fire again."""
        now = self.stop_clock()
        at = datetime.datetime.fromtimestamp(now + 120, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
        self.create("crash", f"at({at})")
        self.t.clock(step_us=120000000)
        self.sent(1)
        self.kill()
        self.sqs.send_message(QueueUrl=self.url, MessageBody="after")
        self.assertEqual(self.sent(1), ["after"])
        self.assertEqual(self.scheduler.get_schedule(Name="crash")["State"], "ENABLED")
        self.scheduler.delete_schedule(Name="crash")

    def kill(self):
        old = tandem.daemon_of(self.t.pid)
        os.kill(old, signal.SIGKILL)
        tandem.wait_for(lambda: tandem.daemon_of(self.t.pid) not in (None, old), WAIT_S)
        self.connect()

    def test_rules_with_a_schedule(self):
        now = self.stop_clock()
        arn = self.events.put_rule(Name="minutely", ScheduleExpression="rate(1 minute)")["RuleArn"]
        self.events.put_targets(Rule="minutely", Targets=[{"Id": "1", "Arn": self.target["Arn"]}])
        self.t.clock(step_us=60000000)
        event = json.loads(self.sent(1)[0])
        time = datetime.datetime.fromtimestamp(now + 60, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.assertEqual({k: v for k, v in event.items() if k != "id"}, {
            "version": "0", "detail-type": "Scheduled Event", "source": "aws.events", "account": "000000000000", "time": time,
            "region": "us-east-1", "resources": [arn], "detail": {}})
        self.events.disable_rule(Name="minutely")
        self.marker(datetime.datetime.fromtimestamp(now + 180, datetime.timezone.utc))
        self.t.clock(step_us=120000000)
        self.assertEqual(self.sent(1), ['"marker"'])
        self.events.remove_targets(Rule="minutely", Ids=["1"])
        self.events.delete_rule(Name="minutely")

    def test_schedules(self):
        arn = self.create("kept", "cron(0 9 * * ? *)", ScheduleExpressionTimezone="Europe/Berlin", Description="d",
                          FlexibleTimeWindow={"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 5})
        self.assertEqual(arn, "arn:aws:scheduler:us-east-1:000000000000:schedule/default/kept")
        got = self.scheduler.get_schedule(Name="kept")
        self.assertEqual({k: got[k] for k in ("Arn", "GroupName", "State", "ScheduleExpressionTimezone", "Description", "FlexibleTimeWindow", "Target")}, {
            "Arn": arn, "GroupName": "default", "State": "ENABLED", "ScheduleExpressionTimezone": "Europe/Berlin", "Description": "d",
            "FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 5}, "Target": self.target})
        self.assertIsInstance(got["CreationDate"], datetime.datetime)
        self.fails("ConflictException", "Schedule kept already exists.", self.create, name="kept", expression="rate(1 day)")
        self.scheduler.update_schedule(Name="kept", ScheduleExpression="rate(1 day)", FlexibleTimeWindow=OFF, Target=self.target, State="DISABLED")
        got = self.scheduler.get_schedule(Name="kept")
        self.assertEqual((got["State"], got["ScheduleExpression"], "Description" in got), ("DISABLED", "rate(1 day)", False))
        self.scheduler.delete_schedule(Name="kept")
        missing = ("ResourceNotFoundException", "Schedule kept does not exist.")
        self.fails(*missing, self.scheduler.get_schedule, Name="kept")
        self.fails(*missing, self.scheduler.delete_schedule, Name="kept")
        self.fails(*missing, self.scheduler.update_schedule, Name="kept", ScheduleExpression="rate(1 day)", FlexibleTimeWindow=OFF, Target=self.target)

    def test_what_is_wrong_is_said(self):
        for expression in ("cron(0 1 * * * *)", "rate(10 seconds)", " rate(10 minutes)", "at(2021-12-31T23:59:59Z)"):
            self.fails("ValidationException", f"Invalid Schedule Expression {expression}.", self.create, name="x", expression=expression)
        self.fails("ValidationException", "Nowhere/City", self.create, name="x", expression="rate(1 day)", ScheduleExpressionTimezone="Nowhere/City")
        self.fails("ValidationException", "FlexibleTimeWindow", self.create, name="x", expression="rate(1 day)", FlexibleTimeWindow={"Mode": "FLEXIBLE"})
        self.fails("ResourceNotFoundException", "Schedule group g does not exist.", self.create, name="x", expression="rate(1 day)", GroupName="g")
        self.fails("ValidationException", "Arn is not in correct format", self.create, name="x", expression="rate(1 day)", Target=dict(self.target, Arn="x"))
        self.fails("ValidationException", "EndDate", self.create, name="x", expression="rate(1 day)", StartDate=2000000000, EndDate=1900000000)

    def test_groups(self):
        arn = self.scheduler.create_schedule_group(Name="g1", Tags=[{"Key": "a", "Value": "1"}])["ScheduleGroupArn"]
        self.fails("ConflictException", "Schedule group g1 already exists.", self.scheduler.create_schedule_group, Name="g1")
        self.assertEqual(self.scheduler.get_schedule_group(Name="g1")["Arn"], arn)
        self.assertEqual([g["Name"] for g in self.scheduler.list_schedule_groups()["ScheduleGroups"]], ["default", "g1"])
        self.scheduler.tag_resource(ResourceArn=arn, Tags=[{"Key": "b", "Value": "2"}])
        self.scheduler.untag_resource(ResourceArn=arn, TagKeys=["a"])
        self.assertEqual(self.scheduler.list_tags_for_resource(ResourceArn=arn)["Tags"], [{"Key": "b", "Value": "2"}])
        for name in ("a1", "a2", "b1"):
            self.create(name, "rate(1 day)", GroupName="g1", State="DISABLED")
        self.create("a3", "rate(1 day)", State="DISABLED")
        names = lambda **q: [s["Name"] for s in self.scheduler.list_schedules(**q)["Schedules"]]  # noqa: E731
        self.assertEqual(names(GroupName="g1"), ["a1", "a2", "b1"])
        self.assertEqual(names(NamePrefix="a"), ["a3", "a1", "a2"])
        self.assertEqual(names(GroupName="g1", State="ENABLED"), [])
        page = self.scheduler.list_schedules(GroupName="g1", MaxResults=2)
        self.assertEqual([s["Name"] for s in page["Schedules"]], ["a1", "a2"])
        self.assertEqual(names(GroupName="g1", MaxResults=2, NextToken=page["NextToken"]), ["b1"])
        self.scheduler.delete_schedule_group(Name="g1")
        self.assertEqual(names(), ["a3"])
        self.scheduler.delete_schedule(Name="a3")
        self.fails("ResourceNotFoundException", "Schedule group g1 does not exist.", self.scheduler.get_schedule_group, Name="g1")

    def test_the_other_clients(self):
        self.t.aws("scheduler", "create-schedule", "--name", "cli", "--schedule-expression", "rate(1 day)", "--flexible-time-window", "Mode=OFF",
                   "--target", json.dumps(self.target))
        self.sent(1)
        self.assertEqual(self.t.aws("scheduler", "get-schedule", "--name", "cli")["ScheduleExpression"], "rate(1 day)")
        self.t.aws("scheduler", "delete-schedule", "--name", "cli")
        got = self.t.node(self, """
            const {SchedulerClient, CreateScheduleCommand, GetScheduleCommand, DeleteScheduleCommand} = require("@aws-sdk/client-scheduler");
            const client = new SchedulerClient({endpoint: process.env.ENDPOINT, maxAttempts: 1});
            (async () => {
              const made = {Name: "js", ScheduleExpression: "rate(2 days)", FlexibleTimeWindow: {Mode: "OFF"}, Target: %s,
                            StartDate: new Date("2030-01-01T00:00:00Z"), ActionAfterCompletion: "DELETE"};
              await client.send(new CreateScheduleCommand(made));
              const again = await client.send(new CreateScheduleCommand(made)).then(() => "made", e => e.name);
              const got = await client.send(new GetScheduleCommand({Name: "js"}));
              await client.send(new DeleteScheduleCommand({Name: "js"}));
              console.log(JSON.stringify({start: got.StartDate.toISOString(), action: got.ActionAfterCompletion, again}));
            })();""" % json.dumps(self.target))
        self.assertEqual(got, {"start": "2030-01-01T00:00:00.000Z", "action": "DELETE", "again": "ConflictException"})


if __name__ == "__main__":
    unittest.main()
