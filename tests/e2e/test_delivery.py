#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
Where results of asynchronous events go (queues, topics, buses), what is dead goes to, and tasks that events start. Time is the daemon's own
clock, which is stepped (debug builds).
"""
import contextlib
import json
import os
import sqlite3
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tandem  # noqa: E402

WAIT_S = 30 * tandem.SLOW
ECHO = "def handler(event, context):\n    return {'said': event}\n"
FAILS = "def handler(event, context):\n    raise ValueError('broken on purpose')\n"
BUS = "arn:aws:events:us-east-1:000000000000:event-bus/default"
CLUSTER = "arn:aws:ecs:us-east-1:000000000000:cluster/default"


class Delivery(unittest.TestCase):
    def setUp(self):
        self.t = self.enterContext(tandem.Tandem())
        self.c, self.sqs, self.events = self.t.client(), self.t.client("sqs"), self.t.client("events")

    def create(self, name, code=ECHO, **more):
        self.c.create_function(FunctionName=name, **{**tandem.python_function(code), **more})

    def queue(self, name):
        """Its URL and ARN."""
        url = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        return url, self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def receive(self, url):
        """The next message, deleted; it is waited for."""
        def look():
            return self.sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1, MessageAttributeNames=["All"]).get("Messages")
        message = tandem.wait_for(look, WAIT_S, f"no message in {url}")[0]
        self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return message

    def attributes(self, message):
        return {k: (v["DataType"], v["StringValue"]) for k, v in message["MessageAttributes"].items()}

    def send(self, name, event):
        return self.c.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps(event).encode())["ResponseMetadata"]["RequestId"]

    def stored(self):
        with contextlib.closing(sqlite3.connect(f"file:{self.t.state}/daemon/tandem.db?mode=ro", uri=True)) as db:
            return db.execute("SELECT function,attempts FROM event ORDER BY id").fetchall()

    def wait_stored(self, *want):
        tandem.wait_for(lambda: self.stored() == list(want), WAIT_S, lambda: f"{self.stored()} instead of {want}")

    def test_dead_letter_queue_of_a_function(self):
        url, arn = self.queue("dead")
        with self.assertRaises(self.c.exceptions.InvalidParameterValueException):
            self.create("f", FAILS, DeadLetterConfig={"TargetArn": arn + "er"})
        self.create("f", FAILS, DeadLetterConfig={"TargetArn": arn})
        self.assertEqual(self.c.get_function_configuration(FunctionName="f")["DeadLetterConfig"], {"TargetArn": arn})
        self.c.put_function_event_invoke_config(FunctionName="f", MaximumRetryAttempts=0)
        request = self.send("f", {"n": 1})
        message = self.receive(url)
        self.assertEqual(message["Body"], '{"n": 1}')
        self.assertEqual(self.attributes(message), {"RequestID": ("String", request), "ErrorCode": ("Number", "200"),
                                                    "ErrorMessage": ("String", "broken on purpose")})
        self.c.publish_version(FunctionName="f")
        self.c.update_function_configuration(FunctionName="f", DeadLetterConfig={"TargetArn": ""})
        self.assertNotIn("DeadLetterConfig", self.c.get_function_configuration(FunctionName="f"))
        self.assertIn("DeadLetterConfig", self.c.get_function_configuration(FunctionName="f", Qualifier="1"))
        self.t.restart()
        self.assertIn("DeadLetterConfig", self.t.client().get_function_configuration(FunctionName="f", Qualifier="1"))

    def test_results_go_to_queue_topic_and_bus(self):
        url, arn = self.queue("results")
        sns = self.t.client("sns")
        topic = sns.create_topic(Name="results")["TopicArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
        self.events.put_rule(Name="results", EventPattern=json.dumps({"source": ["lambda"]}))
        self.events.put_targets(Rule="results", Targets=[{"Id": "1", "Arn": arn}])
        self.create("f")
        for n, to in enumerate((arn, topic, BUS)):
            self.c.put_function_event_invoke_config(FunctionName="f", DestinationConfig={"OnSuccess": {"Destination": to}})
            request = self.send("f", n)
            record = json.loads(self.receive(url)["Body"])
            if to == BUS:
                self.assertEqual((record["source"], record["detail-type"]), ("lambda", "Lambda Function Invocation Result - Success"))
                self.assertEqual([r.rsplit(":", 1)[1] for r in record["resources"]], ["event-bus/default", "$LATEST"])
                record = record["detail"]
            self.assertEqual((record["requestContext"]["requestId"], record["responsePayload"]), (request, {"said": n}))
        self.wait_stored()

    def test_a_result_that_is_too_long_comes_without_what_was_said(self):
        url, arn = self.queue("results")
        self.create("f", "def handler(event, context):\n    return 'y' * 2000000\n")
        self.c.put_function_event_invoke_config(FunctionName="f", DestinationConfig={"OnSuccess": {"Destination": arn}})
        request = self.send("f", 1)
        record = json.loads(self.receive(url)["Body"])
        self.assertEqual((record["requestContext"]["requestId"], "responsePayload" in record, record["responseContext"]["statusCode"]), (request, False, 200))

    def test_a_destination_that_is_gone(self):
        """It costs a line in the log, and nothing waits for it."""
        url, arn = self.queue("gone")
        self.create("f")
        self.c.put_function_event_invoke_config(FunctionName="f", DestinationConfig={"OnSuccess": {"Destination": arn}})
        self.sqs.delete_queue(QueueUrl=url)
        self.send("f", 1)
        self.wait_stored()
        with open(self.t.log_path, encoding="utf-8") as f:
            self.assertIn(f"to {arn}: there is no queue", f.read())

    def rule(self, **more):
        self.events.put_rule(Name="start", EventPattern=json.dumps({"source": ["shop"]}))
        self.events.put_targets(Rule="start", Targets=[{
            "Id": "1", "Arn": CLUSTER, "RoleArn": "arn:aws:iam::000000000000:role/r", "EcsParameters": {"TaskDefinitionArn": "frame"}, **more}])

    def tasks(self):
        ecs = self.t.client("ecs")
        return sum((ecs.list_tasks(desiredStatus=s)["taskArns"] for s in ("RUNNING", "STOPPED")), [])

    def test_a_task_is_started_when_it_can_be(self):
        self.addCleanup(self.t.clock, resume=1)
        self.t.clock(stop=1)
        self.rule()
        self.events.put_events(Entries=[{"Source": "shop", "DetailType": "sold", "Detail": "{}"}])
        self.wait_stored(("*", 1))  # its definition is not there yet
        self.t.clock(step_us=1000000)
        self.wait_stored(("*", 2))
        self.assertEqual(self.tasks(), [])
        self.t.client("ecs").register_task_definition(family="frame", containerDefinitions=[{"name": "c", "image": "127.0.0.1:1/none:1", "memory": 64}])
        self.t.clock(step_us=4000000)
        self.wait_stored()
        self.assertEqual(len(self.tasks()), 1)
        self.events.put_events(Entries=[{"Source": "shop", "DetailType": "sold", "Detail": "{}"}])
        tandem.wait_for(lambda: len(self.tasks()) == 2, WAIT_S)

    def test_a_task_that_never_can_be(self):
        url, arn = self.queue("dead")
        self.addCleanup(self.t.clock, resume=1)
        self.t.clock(stop=1)
        self.rule(RetryPolicy={"MaximumRetryAttempts": 1, "MaximumEventAgeInSeconds": 60}, DeadLetterConfig={"Arn": arn})
        self.events.put_events(Entries=[{"Source": "shop", "DetailType": "sold", "Detail": '{"n": 1}'}])
        self.wait_stored(("*", 1))
        self.t.clock(step_us=1000000)
        self.wait_stored()
        self.t.clock(resume=1)
        message = self.receive(url)
        self.assertEqual(json.loads(message["Body"])["detail"], {"n": 1})
        attributes = self.attributes(message)
        self.assertEqual((attributes["TARGET_ARN"][1], attributes["EXHAUSTED_RETRY_CONDITION"][1], attributes["RETRY_ATTEMPTS"]),
                         (CLUSTER, "MaximumRetryAttempts", ("Number", "1")))
        self.assertIn("TaskDefinition not found", attributes["ERROR_MESSAGE"][1])


if __name__ == "__main__":
    unittest.main()
