# SPDX-License-Identifier: Apache-2.0
"""SNS: topics to functions and queues, through the AWS CLI, boto3 and aws-sdk."""
import json
import os
import signal
import subprocess
import unittest

from botocore.exceptions import ClientError

import tandem

CODE = """
import json
def handler(event, context):
    print("GOT " + json.dumps(event))
"""


class Sns(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = tandem.Tandem()
        cls.t.start()
        cls.addClassCleanup(cls.t.close)
        cls.clients()
        for name in ("seer", "picky"):
            arn = cls.t.client("lambda").create_function(FunctionName=name, **tandem.python_function(CODE))["FunctionArn"]
            cls.t.client("lambda").get_waiter("function_active_v2").wait(FunctionName=name)
        cls.arn = arn.rsplit(":", 1)[0] + ":"

    @classmethod
    def clients(cls):
        cls.sns, cls.sqs, cls.logs = cls.t.client("sns"), cls.t.client("sqs"), cls.t.client("logs")

    def refused(self, code, call, **arguments):
        with self.assertRaises(ClientError) as caught:
            call(**arguments)
        self.assertEqual(caught.exception.response["Error"]["Code"], code)
        return caught.exception.response["Error"]["Message"]

    def got(self, function, n):
        """The first n events of a function, once so many were there."""
        def look():
            found = self.logs.filter_log_events(logGroupName="/aws/lambda/" + function, filterPattern="GOT")["events"]
            return [json.loads(e["message"][4:]) for e in found] if len(found) >= n else None
        return tandem.wait_for(look)

    def topic(self, name, **more):
        arn = self.sns.create_topic(Name=name, **more)["TopicArn"]
        self.addCleanup(lambda: self.sns.delete_topic(TopicArn=arn))
        return arn

    def queue(self, name, stays=True, **attributes):
        url = self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        if stays:
            self.addCleanup(lambda: self.sqs.delete_queue(QueueUrl=url))
        return url, self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def receive(self, url, n):
        """n messages, which are deleted; and there are no more."""
        found = []
        while len(found) < n:
            more = self.sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20, MaxNumberOfMessages=10, MessageAttributeNames=["All"]).get("Messages", [])
            self.assertTrue(more, f"{len(found)} of {n} messages")
            for m in more:
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"])
            found += more
        self.assertEqual(self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])["Attributes"],
                         {"ApproximateNumberOfMessages": "0"})
        return found

    def test_topics(self):
        arn = self.topic("one", Attributes={"DisplayName": "One <&>"}, Tags=[{"Key": "team", "Value": "x"}])
        self.assertRegex(arn, r"^arn:aws:sns:us-east-1:\d{12}:one$")
        self.assertEqual(self.sns.create_topic(Name="one")["TopicArn"], arn)
        self.assertIn("different attributes", self.refused("InvalidParameter", self.sns.create_topic, Name="one", Attributes={"DisplayName": "Two"}))
        self.assertIn("FIFO", self.refused("InvalidParameter", self.sns.create_topic, Name="one.fifo", Attributes={"FifoTopic": "true"}))
        self.refused("InvalidParameter", self.sns.create_topic, Name="no good")
        self.refused("InvalidParameter", self.sns.create_topic, Name="two", Attributes={"Nonsense": "1"})
        many = sorted([arn] + [self.topic(f"t{i:03}") for i in range(101)])
        self.assertEqual([t["TopicArn"] for page in self.sns.get_paginator("list_topics").paginate() for t in page["Topics"]], many)
        self.sns.set_topic_attributes(TopicArn=arn, AttributeName="DisplayName", AttributeValue="Two")
        self.sns.tag_resource(ResourceArn=arn, Tags=[{"Key": "cost", "Value": "1"}, {"Key": "team", "Value": "y"}])
        self.sns.untag_resource(ResourceArn=arn, TagKeys=["cost"])
        self.t.restart()
        self.clients()
        attributes = self.sns.get_topic_attributes(TopicArn=arn)["Attributes"]
        self.assertEqual((attributes["DisplayName"], attributes["SubscriptionsConfirmed"], attributes["TopicArn"]), ("Two", "0", arn))
        self.assertEqual(self.sns.list_tags_for_resource(ResourceArn=arn)["Tags"], [{"Key": "team", "Value": "y"}])
        self.sns.delete_topic(TopicArn=arn)
        self.sns.delete_topic(TopicArn=arn)
        self.assertEqual(self.refused("NotFound", self.sns.get_topic_attributes, TopicArn=arn), "Topic does not exist")
        self.refused("NotFound", self.sns.publish, TopicArn=arn, Message="x")
        self.refused("InvalidParameter", self.sns.publish, TopicArn="nonsense", Message="x")

    def test_function(self):
        arn = self.topic("to-function")
        sub = self.sns.subscribe(TopicArn=arn, Protocol="lambda", Endpoint=self.arn + "seer")["SubscriptionArn"]
        self.assertTrue(sub.startswith(arn + ":"))
        self.assertEqual(self.sns.subscribe(TopicArn=arn, Protocol="lambda", Endpoint=self.arn + "seer")["SubscriptionArn"], sub)
        id_ = self.sns.publish(TopicArn=arn, Message="hällo", Subject="greetings",
                               MessageAttributes={"n": {"DataType": "Number", "StringValue": "5"},
                                                  "b": {"DataType": "Binary", "BinaryValue": b"\0\1"}})["MessageId"]
        record, = self.got("seer", 1)[0]["Records"]
        self.assertEqual((record["EventSource"], record["EventVersion"], record["EventSubscriptionArn"]), ("aws:sns", "1.0", sub))
        said = record["Sns"]
        self.assertRegex(said.pop("Timestamp"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        for key in ("Signature", "SigningCertUrl", "UnsubscribeUrl"):
            self.assertTrue(said.pop(key))
        self.assertEqual(said, {"Type": "Notification", "MessageId": id_, "TopicArn": arn, "Subject": "greetings", "Message": "hällo",
                                "SignatureVersion": "1", "MessageAttributes": {"n": {"Type": "Number", "Value": "5"},
                                                                               "b": {"Type": "Binary", "Value": "AAE="}}})
        self.assertEqual(self.sns.list_subscriptions_by_topic(TopicArn=arn)["Subscriptions"],
                         [{"SubscriptionArn": sub, "Owner": arn.split(":")[4], "Protocol": "lambda", "Endpoint": self.arn + "seer", "TopicArn": arn}])
        self.assertIn(sub, [s["SubscriptionArn"] for s in self.sns.list_subscriptions()["Subscriptions"]])
        self.sns.unsubscribe(SubscriptionArn=sub)
        self.assertEqual(self.sns.list_subscriptions_by_topic(TopicArn=arn)["Subscriptions"], [])
        self.refused("NotFound", self.sns.get_subscription_attributes, SubscriptionArn=sub)

    def test_refused(self):
        arn, nobody = self.topic("refused"), self.arn + "nobody"
        for arguments, text in (({"Protocol": "lambda", "Endpoint": nobody}, "there is no"), ({"Protocol": "email", "Endpoint": "a@b"}, "Protocol"),
                                ({"Protocol": "lambda", "Endpoint": "x"}, ""),
                                ({"Protocol": "lambda", "Endpoint": self.arn + "seer", "Attributes": {"RawMessageDelivery": "true"}}, "raw"),
                                ({"Protocol": "lambda", "Endpoint": self.arn + "seer", "Attributes": {"FilterPolicy": "{"}}, "FilterPolicy"),
                                ({"Protocol": "lambda", "Endpoint": self.arn + "seer", "Attributes": {"FilterPolicy": '{"a": 1}'}}, "FilterPolicy")):
            self.assertIn(text, self.refused("InvalidParameter", self.sns.subscribe, TopicArn=arn, **arguments), arguments)
        for arguments in ({"Message": ""}, {"Message": "x" * 262145}, {"Message": "x", "Subject": "s" * 101}, {"Message": "x", "Subject": "a\nb"},
                          {"Message": "{", "MessageStructure": "json"}, {"Message": "{}", "MessageStructure": "json"},
                          {"Message": "x", "MessageAttributes": {"a": {"DataType": "Strange", "StringValue": "x"}}}):
            self.refused("InvalidParameter", self.sns.publish, TopicArn=arn, **arguments)

    def test_filters_and_batches(self):
        arn = self.topic("filtered")
        sub = self.sns.subscribe(TopicArn=arn, Protocol="lambda", Endpoint=self.arn + "picky",
                                 Attributes={"FilterPolicy": '{"color": ["red", {"prefix": "bl"}], "n": [{"numeric": [">", 2]}]}'})["SubscriptionArn"]

        def entry(i, color, n):
            return {"Id": str(i), "Message": f"{color} {n}", "MessageAttributes": {"color": {"DataType": "String", "StringValue": color},
                                                                                "n": {"DataType": "Number", "StringValue": str(n)}}}
        answer = self.sns.publish_batch(TopicArn=arn, PublishBatchRequestEntries=[
            entry(1, "red", 3), entry(2, "red", 2), entry(3, "green", 9), entry(4, "blue", 4), {"Id": "5", "Message": "none"}, {"Id": "6", "Message": "x", "Subject": "\1"}])
        self.assertEqual(([s["Id"] for s in answer["Successful"]], [f["Id"] for f in answer["Failed"]]), (["1", "2", "3", "4", "5"], ["6"]))
        self.assertEqual(sorted(e["Records"][0]["Sns"]["Message"] for e in self.got("picky", 2)), ["blue 4", "red 3"])
        self.sns.set_subscription_attributes(SubscriptionArn=sub, AttributeName="FilterPolicyScope", AttributeValue="MessageBody")
        self.sns.set_subscription_attributes(SubscriptionArn=sub, AttributeName="FilterPolicy", AttributeValue='{"a": {"b": ["c"]}}')
        for message in ("text", '{"a": {"b": "d"}}', '{"a": {"b": "c"}, "x": 1}'):
            self.sns.publish(TopicArn=arn, Message=message)
        self.assertEqual([e["Records"][0]["Sns"]["Message"] for e in self.got("picky", 3)][2:], ['{"a": {"b": "c"}, "x": 1}'])
        self.assertEqual(self.sns.get_subscription_attributes(SubscriptionArn=sub)["Attributes"]["FilterPolicyScope"], "MessageBody")
        for code, entries in (("TooManyEntriesInBatchRequest", [entry(i, "x", 1) for i in range(11)]), ("BatchEntryIdsNotDistinct", [entry(1, "x", 1)] * 2),
                              ("InvalidBatchEntryId", [entry("a b", "x", 1)])):
            self.refused(code, self.sns.publish_batch, TopicArn=arn, PublishBatchRequestEntries=entries)

    def test_queues(self):
        arn = self.topic("to-queues")
        plain, plain_arn = self.queue("plain")
        raw, raw_arn = self.queue("raw")
        dead, dead_arn = self.queue("dead")
        gone, gone_arn = self.queue("gone", stays=False)
        self.sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=plain_arn)
        self.sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=raw_arn, Attributes={"RawMessageDelivery": "true"})
        self.sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=gone_arn,
                           Attributes={"RawMessageDelivery": "true", "RedrivePolicy": json.dumps({"deadLetterTargetArn": dead_arn})})
        self.sqs.delete_queue(QueueUrl=gone)
        _, fifo_arn = self.queue("x.fifo", FifoQueue="true")
        self.assertIn("FIFO", self.refused("InvalidParameter", self.sns.subscribe, TopicArn=arn, Protocol="sqs", Endpoint=fifo_arn))
        id_ = self.sns.publish(TopicArn=arn, Message=json.dumps({"default": "for all", "sqs": "for queues"}), MessageStructure="json",
                               MessageAttributes={"a": {"DataType": "String", "StringValue": "b"}})["MessageId"]
        # The commit was before the answer: nothing is lost with the daemon.
        old = tandem.daemon_of(self.t.pid)
        os.kill(old, signal.SIGKILL)
        tandem.wait_for(lambda: tandem.daemon_of(self.t.pid) not in (None, old))
        self.clients()
        body = json.loads(self.receive(plain, 1)[0]["Body"])
        self.assertEqual({k: body[k] for k in ("Type", "MessageId", "TopicArn", "Message", "MessageAttributes")},
                         {"Type": "Notification", "MessageId": id_, "TopicArn": arn, "Message": "for queues",
                          "MessageAttributes": {"a": {"Type": "String", "Value": "b"}}})
        self.assertTrue({"Signature", "SigningCertURL", "UnsubscribeURL"} <= set(body))
        self.assertNotIn("Subject", body)
        message = self.receive(raw, 1)[0]
        self.assertEqual((message["Body"], message["MessageAttributes"]["a"]["StringValue"]), ("for queues", "b"))
        self.assertEqual(self.receive(dead, 1)[0]["Body"], "for queues")

    def test_clients(self):
        url, queue_arn = self.queue("from-clients")
        arn = self.topic("from-clients")

        def aws(*arguments):
            return json.loads(subprocess.run(["/usr/bin/aws", "--endpoint-url", self.t.api, "sns", *arguments], env=self.t.environment(),
                                             capture_output=True, text=True, timeout=60 * tandem.SLOW, check=True).stdout)
        aws("subscribe", "--topic-arn", arn, "--protocol", "sqs", "--notification-endpoint", queue_arn, "--attributes", "RawMessageDelivery=true")
        aws("publish", "--topic-arn", arn, "--message", "from the CLI")
        self.assertEqual(aws("list-subscriptions-by-topic", "--topic-arn", arn)["Subscriptions"][0]["Endpoint"], queue_arn)
        said = self.t.node(self, """
            const sns = new (require("aws-sdk")).SNS({endpoint: process.env.ENDPOINT})
            sns.publish({TopicArn: "%s", Message: "from v2 <&>", MessageAttributes: {a: {DataType: "String", StringValue: "b"}}}).promise()
                .then(() => sns.getTopicAttributes({TopicArn: "%s"}).promise()).then(r => console.log(JSON.stringify(r)))""" % (arn, arn))
        self.assertEqual(said["Attributes"]["SubscriptionsConfirmed"], "1")
        self.assertEqual(sorted(m["Body"] for m in self.receive(url, 2)), ["from the CLI", "from v2 <&>"])


if __name__ == "__main__":
    unittest.main()
