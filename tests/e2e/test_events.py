#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""EventBridge: buses, rules, targets and what becomes of events, with boto3, the AWS CLI and the SDK for JavaScript."""
import json
import os
import signal
import unittest

import tandem
from botocore.exceptions import ClientError

WAIT_S = 30
PUTTER = """\
import json
import boto3


def handler(event, context):
    try:
        entry = {"Source": "granted", "DetailType": "t", "Detail": "{}"}
        return {"FailedEntryCount": boto3.client("events").put_events(Entries=[entry])["FailedEntryCount"]}
    except Exception as e:
        return str(e)
"""
PROJECT = """\
name: events
functions:
  may: {code: app, runtime: python3.11, handler: app.handler, timeout: 60s, snapshot: "off", allow: [{action: "events:PutEvents", resource: default}]}
  may-not: {code: app, runtime: python3.11, handler: app.handler, timeout: 60s, snapshot: "off"}
"""
JS_V2 = """
const sdk = require("aws-sdk"), client = new sdk.EventBridge({endpoint: process.env.ENDPOINT, maxRetries: 0});
const call = (name, input) => client[name[0].toLowerCase() + name.slice(1)](input).promise();
"""
JS_V3 = """
const sdk = require("@aws-sdk/client-eventbridge"), client = new sdk.EventBridgeClient({endpoint: process.env.ENDPOINT, maxAttempts: 1});
const call = (name, input) => client.send(new sdk[name + "Command"](input));
"""
JS_PROGRAM = """
(async () => {
  await call("PutRule", {Name: "js", EventPattern: '{"source": ["js"]}'});
  await call("PutTargets", {Rule: "js", Targets: [{Id: "1", Arn: ARN}]});
  const put = await call("PutEvents", {Entries: [{Time: new Date(), Source: "js", DetailType: "t", Detail: "{}"}]});
  const state = (await call("DescribeRule", {Name: "js"})).State;
  const refused = await call("PutRule", {Name: "js", EventPattern: "[]"}).then(() => "not", e => e.name);
  await call("RemoveTargets", {Rule: "js", Ids: ["1"]});
  await call("DeleteRule", {Name: "js"});
  console.log(JSON.stringify({failed: put.FailedEntryCount, state, refused}));
})();
"""
RULE = {"source": ["shop"], "detail": {"command": ["pay"]}}


class Events(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = tandem.Tandem().__enter__()
        cls.addClassCleanup(cls.t.__exit__, None, None, None)
        cls.events = cls.t.client("events")
        cls.sqs = cls.t.client("sqs")
        cls.n = 0

    def queue(self, **attributes):
        type(self).n += 1
        name = "q%d" % self.n + (".fifo" if attributes.get("FifoQueue") else "")
        url = self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return url, "arn:aws:sqs:us-east-1:000000000000:" + name

    def messages(self, url, n):
        """Exactly n, and none after them: what an event leads to is there when PutEvents has answered."""
        got = []
        while True:
            more = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
            if not more:
                break
            got += more
        self.assertEqual(len(got), n, got)
        return [m["Body"] for m in got]

    def rule(self, name, target, pattern=RULE, bus="default", **more):
        self.events.put_rule(Name=name, EventPattern=json.dumps(pattern), EventBusName=bus)
        answer = self.events.put_targets(Rule=name, EventBusName=bus, Targets=[dict({"Id": "1", "Arn": target}, **more)])
        self.assertEqual(answer["FailedEntryCount"], 0)

    def put(self, source="shop", detail=None, kind="order", **more):
        detail = json.dumps({"command": "pay", "payload": {"id": "7", "list": ["a", "b"]}} if detail is None else detail)
        answer = self.events.put_events(Entries=[dict({"Source": source, "DetailType": kind, "Detail": detail}, **more)])
        self.assertEqual(answer["FailedEntryCount"], 0, answer)
        return answer["Entries"][0]["EventId"]

    def fails(self, code, text, call, **arguments):
        with self.assertRaises(ClientError) as e:
            call(**arguments)
        self.assertEqual(e.exception.response["Error"]["Code"], code)
        self.assertIn(text, e.exception.response["Error"]["Message"])

    def test_an_event_reaches_the_targets_of_the_rules_that_it_matches(self):
        (url, arn), (other, other_arn) = self.queue(), self.queue()
        self.rule("one", arn)
        self.rule("two", arn, {"detail-type": [{"prefix": "ord"}]})
        self.rule("three", other_arn, {"source": ["bank"]})
        self.addCleanup(self.drop, "one", "two", "three")
        which = self.put(Resources=["r1"], Time=1700000000)
        bodies = [json.loads(b) for b in self.messages(url, 2)]
        self.assertEqual(bodies[0], bodies[1])
        self.assertEqual(bodies[0], {
            "version": "0", "id": which, "detail-type": "order", "source": "shop", "account": "000000000000", "region": "us-east-1",
            "time": "2023-11-14T22:13:20Z", "resources": ["r1"], "detail": {"command": "pay", "payload": {"id": "7", "list": ["a", "b"]}}})
        self.messages(other, 0)
        self.put("bank")
        self.messages(other, 1)
        self.events.disable_rule(Name="three")
        self.put("bank")
        self.messages(other, 0)
        self.events.enable_rule(Name="three")
        self.put("bank")
        self.messages(other, 1)

    def drop(self, *names, bus="default"):
        for name in names:
            targets = self.events.list_targets_by_rule(Rule=name, EventBusName=bus)["Targets"]
            if targets:
                self.events.remove_targets(Rule=name, EventBusName=bus, Ids=[t["Id"] for t in targets])
            self.events.delete_rule(Name=name, EventBusName=bus)

    def test_what_a_target_is_given(self):
        def template(text, **paths):
            return {"InputTransformer": {"InputPathsMap": paths, "InputTemplate": text}}

        paths = {"user": "$.detail.payload.id", "payload": "$.detail.payload", "list": "$.detail.payload.list", "none": "$.detail.nothing",
                 "second": "$.detail.payload.list[1]", "type": "$.detail-type"}
        table = [
            ({"Input": '{"a": 1}'}, '{"a": 1}'),
            ({"InputPath": "$.detail.payload.id"}, '"7"'),
            ({"InputPath": "$.detail"}, '{"command":"pay","payload":{"id":"7","list":["a","b"]}}'),
            (template('"Event of <type>, from <user> <none>"', **paths), '"Event of order, from 7 "'),
            (template('{"id": <user>, "all": <payload>, "none": <none>, "l": [<second>, "x"]}', **paths),
             '{"id": "7", "all": {"id":"7","list":["a","b"]}, "none": "", "l": ["b", "x"]}'),
            (template('{"path": "users/<user>/<user>"}', **paths), '{"path": "users/7/7"}'),
            (template('"<payload> and <list>"', **paths), '"{id:7,list:[a,b]} and [a,b]"'),
            (template('"1 < 2, <no name>"'), '"1 < 2, <no name>"'),
            (template('"<aws.events.rule-name> of <aws.events.rule-arn>"'), '"given of arn:aws:events:us-east-1:000000000000:rule/given"'),
        ]
        url, arn = self.queue()
        self.addCleanup(self.drop, "given")
        for more, expected in table:
            self.rule("given", arn, {"source": ["given"]}, **more)
            self.put("given")
            self.assertEqual(self.messages(url, 1)[0], expected)
        self.rule("given", arn, {"source": ["given"]}, **template('{"e": <aws.events.event>, "j": <aws.events.event.json>}'))
        which = self.put("given")
        body = json.loads(self.messages(url, 1)[0])
        self.assertEqual((body["e"]["id"], body["e"]["detailType"], "detail" in body["e"]), (which, "order", False))
        self.assertEqual((body["j"]["id"], body["j"]["detail"]["command"]), (which, "pay"))

    def test_targets_are_checked(self):
        url, arn = self.queue()
        self.rule("checked", arn)
        self.addCleanup(self.drop, "checked")

        def put(**target):
            return {"Rule": "checked", "Targets": [dict({"Id": "1", "Arn": arn}, **target)]}

        for more, text in (
                (put(Input="1", InputPath="$.x"), "Only one of Input, InputPath, or InputTransformer must be provided for target 1."),
                (put(InputTransformer={"InputPathsMap": {"a": "$.b"}, "InputTemplate": '"<a> <c>"'}),
                 "InputTemplate for target 1 contains invalid placeholder c."),
                (put(Arn="queue"), "Provided Arn is not in correct format."),
                (put(Id="!@#"), "at 'targets.1.member.id' failed to satisfy constraint"),
                (put(RetryPolicy={"MaximumRetryAttempts": 186}), "MaximumRetryAttempts")):
            self.fails("ValidationException", text, self.events.put_targets, **more)
        self.assertEqual(self.events.list_targets_by_rule(Rule="checked")["Targets"], [{"Id": "1", "Arn": arn}])
        self.assertEqual(self.events.list_rule_names_by_target(TargetArn=arn)["RuleNames"], ["checked"])
        self.fails("ValidationException", "Rule can't be deleted since it has targets.", self.events.delete_rule, Name="checked")
        self.fails("ResourceNotFoundException", "Rule nobody does not exist on EventBus default.", self.events.put_targets,
                   Rule="nobody", Targets=[{"Id": "1", "Arn": arn}])

    def test_a_target_that_is_gone_leads_to_the_dead_letter_queue(self):
        url, arn = self.queue()
        gone = "arn:aws:lambda:us-east-1:000000000000:function:gone"
        self.rule("gone", gone, {"source": ["gone"]}, DeadLetterConfig={"Arn": arn})
        self.addCleanup(self.drop, "gone")
        self.put("gone")
        m = self.sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"][0]
        self.assertEqual(json.loads(m["Body"])["source"], "gone")
        self.assertEqual(m["MessageAttributes"]["TARGET_ARN"]["StringValue"], gone)

    def test_a_fifo_queue_takes_its_group_from_the_target(self):
        url, arn = self.queue(FifoQueue="true")
        self.rule("fifo", arn, {"source": ["fifo"]}, SqsParameters={"MessageGroupId": "g"})
        self.addCleanup(self.drop, "fifo")
        self.put("fifo")
        m = self.sqs.receive_message(QueueUrl=url, AttributeNames=["All"])["Messages"][0]
        self.assertEqual(m["Attributes"]["MessageGroupId"], "g")

    def test_a_bus_leads_to_another_and_the_event_stays_the_same(self):
        url, arn = self.queue()
        bus = self.events.create_event_bus(Name="second", Tags=[{"Key": "a", "Value": "1"}])["EventBusArn"]
        self.rule("onward", bus, {"source": ["onward"]})
        self.rule("there", arn, {"source": ["onward"]}, bus="second")
        which = self.put("onward")
        self.assertEqual(json.loads(self.messages(url, 1)[0])["id"], which)
        self.put("onward", EventBusName="second")
        self.messages(url, 1)
        self.fails("ValidationException", "can't be deleted since it has rules", self.events.delete_event_bus, Name="second")
        self.drop("onward")
        self.drop("there", bus="second")
        self.events.delete_event_bus(Name="second")

    def test_what_a_topic_behind_a_rule_cannot_deliver_is_told(self):
        url, arn = self.queue()
        sns = self.t.client("sns")
        topic = sns.create_topic(Name="behind")["TopicArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        self.sqs.delete_queue(QueueUrl=url)
        self.rule("behind", topic)
        self.addCleanup(self.drop, "behind")
        self.put()
        reasons = [x.get("reason", "") for x in json.loads(self.t.admin("GET", "/v1/functions")[1])["triggers"] if x["from"] == "topic behind"]
        self.assertIn("1 not delivered: there is no queue", reasons[0])

    def test_objects_reach_the_bus_and_a_topic(self):
        """In the commit of the put itself, from real modules on both ends."""
        s3, sns = self.t.client("s3", s3={"addressing_style": "path"}), self.t.client("sns")
        (url, arn), (other, other_arn) = self.queue(), self.queue()
        topic = sns.create_topic(Name="objects")["TopicArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=other_arn, Attributes={"RawMessageDelivery": "true"})
        self.events.put_rule(Name="objects", EventPattern=json.dumps(
            {"source": ["aws.s3"], "detail-type": ["Object Created"], "detail": {"object": {"key": [{"suffix": ".mp4"}]}}}))
        self.events.put_targets(Rule="objects", Targets=[{"Id": "1", "Arn": arn, "InputPath": "$.detail.object.key"}])
        self.addCleanup(self.drop, "objects")
        s3.create_bucket(Bucket="media")
        s3.put_bucket_notification_configuration(Bucket="media", NotificationConfiguration={
            "EventBridgeConfiguration": {}, "TopicConfigurations": [{"TopicArn": topic, "Events": ["s3:ObjectCreated:*"]}]})
        for key in ("a.mp4", "b.jpg"):
            s3.put_object(Bucket="media", Key=key, Body=b"x")
        self.assertEqual([json.loads(m) for m in self.messages(url, 1)], ["a.mp4"])
        said = [json.loads(m) for m in self.messages(other, 3)]
        self.assertEqual(sorted(m.get("Event") or m["Records"][0]["s3"]["object"]["key"] for m in said), ["a.mp4", "b.jpg", "s3:TestEvent"])

    def test_a_bus_that_leads_to_itself_many_times_ends(self):
        bus = self.events.create_event_bus(Name="round")["EventBusArn"]
        url, arn = self.queue()
        self.rule("round", arn, {"source": ["shop"]}, bus="round")
        more = [{"Id": f"again-{i}", "Arn": bus} for i in range(99)]
        self.assertEqual(self.events.put_targets(Rule="round", EventBusName="round", Targets=more)["FailedEntryCount"], 0)
        which = self.put(EventBusName="round")  # 100 ** 4 would be hours
        self.assertEqual(json.loads(self.sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"])["id"], which)
        self.sqs.purge_queue(QueueUrl=url)
        self.drop("round", bus="round")
        self.events.delete_event_bus(Name="round")

    def test_buses(self):
        arn = self.events.create_event_bus(Name="bus-b")["EventBusArn"]
        self.events.create_event_bus(Name="bus-a")
        self.fails("ResourceAlreadyExistsException", "Event bus bus-a already exists.", self.events.create_event_bus, Name="bus-a")
        self.assertEqual([b["Name"] for b in self.events.list_event_buses(NamePrefix="bus-")["EventBuses"]], ["bus-a", "bus-b"])
        self.assertIn("default", [b["Name"] for b in self.events.list_event_buses()["EventBuses"]])
        page = self.events.list_event_buses(NamePrefix="bus-", Limit=1)
        self.assertEqual([b["Name"] for b in page["EventBuses"]], ["bus-a"])
        page = self.events.list_event_buses(NamePrefix="bus-", Limit=1, NextToken=page["NextToken"])
        self.assertEqual([b["Name"] for b in page["EventBuses"]], ["bus-b"])
        self.assertNotIn("NextToken", page)
        self.assertEqual(self.events.describe_event_bus(Name=arn)["Name"], "bus-b")
        for name in ("bus-a", "bus-b"):
            self.events.delete_event_bus(Name=name)
        self.fails("ResourceNotFoundException", "Event bus bus-a does not exist.", self.events.describe_event_bus, Name="bus-a")
        self.fails("ResourceNotFoundException", "Event bus bus-a does not exist.", self.events.delete_event_bus, Name="bus-a")
        self.fails("ResourceNotFoundException", "Event bus bus-a does not exist.", self.events.list_rules, EventBusName="bus-a")
        self.fails("ValidationException", "Cannot delete event bus default.", self.events.delete_event_bus, Name="default")
        self.put("lost", EventBusName="nobody")  # accepted, as with AWS

    def test_rules(self):
        arn = self.events.put_rule(Name="r-1", EventPattern=json.dumps(RULE), Description="d", Tags=[{"Key": "k", "Value": "v"}])["RuleArn"]
        self.assertEqual(arn, "arn:aws:events:us-east-1:000000000000:rule/r-1")
        self.events.put_rule(Name="r-2", ScheduleExpression="rate(1 hour)", State="DISABLED")
        self.addCleanup(self.drop, "r-1", "r-2")
        got = self.events.describe_rule(Name="r-1")
        self.assertEqual({k: got[k] for k in ("Name", "State", "Description", "EventBusName", "CreatedBy")}, {
            "Name": "r-1", "State": "ENABLED", "Description": "d", "EventBusName": "default", "CreatedBy": "000000000000"})
        self.assertEqual([r["Name"] for r in self.events.list_rules(NamePrefix="r-")["Rules"]], ["r-1", "r-2"])
        self.events.put_rule(Name="r-1", EventPattern='{"source": ["x"]}')
        got = self.events.describe_rule(Name="r-1")
        self.assertEqual((got["EventPattern"], "Description" in got), ('{"source": ["x"]}', False))
        self.events.tag_resource(ResourceARN=arn, Tags=[{"Key": "k", "Value": "w"}, {"Key": "l", "Value": "x"}])
        self.assertEqual(self.events.list_tags_for_resource(ResourceARN=arn)["Tags"], [{"Key": "k", "Value": "w"}, {"Key": "l", "Value": "x"}])
        self.events.untag_resource(ResourceARN=arn, TagKeys=["k"])
        self.assertEqual(self.events.list_tags_for_resource(ResourceARN=arn)["Tags"], [{"Key": "l", "Value": "x"}])
        self.fails("ValidationException", "Parameter ScheduleExpression is not valid.", self.events.put_rule, Name="r", ScheduleExpression="rate(1 minutes)")
        self.fails("ValidationException", "EventPattern or ScheduleExpression must be specified", self.events.put_rule, Name="r")
        self.events.create_event_bus(Name="no-times")
        self.addCleanup(self.events.delete_event_bus, Name="no-times")
        self.fails("ValidationException", "supported only on the default event bus", self.events.put_rule, Name="r",
                   ScheduleExpression="rate(1 minute)", EventBusName="no-times")
        self.fails("InvalidEventPatternException", 'Event pattern is not valid. Reason: "a" must be an object or an array',
                   self.events.put_rule, Name="r", EventPattern='{"a": 1}')
        self.fails("InvalidEventPatternException", "Event pattern is not valid. Reason: ", self.events.put_rule, Name="r", EventPattern="{")
        self.fails("ResourceNotFoundException", "Rule r does not exist on EventBus default.", self.events.describe_rule, Name="r")

    def test_put_events_says_of_each_entry_what_is_wrong(self):
        good = {"Source": "s", "DetailType": "t", "Detail": "{}"}
        entries = [good, dict(good, Source=""), dict(good, DetailType=""), dict(good, Detail=""), dict(good, Detail="[]"),
                   dict(good, Detail="{"), dict(good, Source="aws.s3")]
        answer = self.events.put_events(Entries=entries)
        self.assertEqual(answer["FailedEntryCount"], 6)
        required = "Parameter %s is not valid. Reason: %s is a required argument."
        self.assertEqual([(e.get("ErrorCode"), e.get("ErrorMessage")) for e in answer["Entries"][1:]], [
            ("InvalidArgument", required % ("Source", "Source")), ("InvalidArgument", required % ("DetailType", "DetailType")),
            ("InvalidArgument", required % ("Detail", "Detail")), ("MalformedDetail", "Detail is malformed."),
            ("MalformedDetail", "Detail is malformed."), ("NotAuthorizedForSourceException", "Not authorized for the source.")])
        self.assertIn("EventId", answer["Entries"][0])
        self.fails("ValidationException", "at 'entries' failed to satisfy constraint: Member must have length less than or equal to 10",
                   self.events.put_events, Entries=[good] * 11)
        self.fails("ValidationException", "Total size of the entries in the request is over the limit.", self.events.put_events,
                   Entries=[dict(good, Detail=json.dumps({"a": "b" * 1048576}))])

    def test_test_event_pattern(self):
        event = json.dumps({"id": "1", "source": "shop", "detail": {"command": "pay"}})
        self.assertTrue(self.events.test_event_pattern(EventPattern=json.dumps(RULE), Event=event)["Result"])
        self.assertFalse(self.events.test_event_pattern(EventPattern='{"source": ["bank"]}', Event=event)["Result"])
        self.fails("ValidationException", "Parameter Event is not valid.", self.events.test_event_pattern,
                   EventPattern=json.dumps(RULE), Event="no JSON")

    def test_a_function_may_put_what_its_file_grants(self):
        url, arn = self.queue()
        self.rule("granted", arn, {"source": ["granted"]})
        self.addCleanup(self.drop, "granted")
        self.t.up({"app/app.py": PUTTER, "tandem.yaml": PROJECT})
        self.addCleanup(self.t.cli, "down", cwd=self.t.base)
        self.assertIn("AccessDenied", self.t.cli("invoke", "may-not"))
        self.messages(url, 0)
        self.assertIn("\"FailedEntryCount\":0", self.t.cli("invoke", "may").replace(" ", ""))
        self.messages(url, 1)

    def test_accepted_is_durable(self):
        url, arn = self.queue()
        self.rule("kept", arn, {"source": ["kept"]})
        self.put("kept")
        old = tandem.daemon_of(self.t.pid)
        os.kill(old, signal.SIGKILL)
        tandem.wait_for(lambda: tandem.daemon_of(self.t.pid) not in (None, old), WAIT_S)
        self.messages(url, 1)
        self.put("kept")
        self.messages(url, 1)
        self.drop("kept")

    def test_the_aws_cli(self):
        url, arn = self.queue()
        self.t.aws("events", "put-rule", "--name", "cli", "--event-pattern", '{"source": ["cli"]}')
        self.addCleanup(self.drop, "cli")
        self.t.aws("events", "put-targets", "--rule", "cli", "--targets", "Id=1,Arn=" + arn)
        out = self.t.aws("events", "put-events", "--entries", '[{"Source": "cli", "DetailType": "t", "Detail": "{}"}]')
        self.assertEqual(out["FailedEntryCount"], 0)
        self.messages(url, 1)

    def test_both_sdks_for_javascript(self):
        url, arn = self.queue()
        for sdk in (JS_V2, JS_V3):
            got = self.t.node(self, f'const ARN = "{arn}";' + sdk + JS_PROGRAM)
            self.assertEqual(got, {"failed": 0, "state": "ENABLED", "refused": "InvalidEventPatternException"})
            self.messages(url, 1)


if __name__ == "__main__":
    unittest.main()
