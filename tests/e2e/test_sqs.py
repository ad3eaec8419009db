# SPDX-License-Identifier: Apache-2.0
"""SQS as the clients speak it: the AWS CLI and boto3 (forms), aws-sdk v2 and v3 for JavaScript (JSON); and what a kill leaves."""
import json
import os
import signal
import sqlite3
import tempfile
import threading
import unittest
import urllib.error
import urllib.request

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

import tandem

V2 = """
const AWS = require("aws-sdk");
const sqs = new AWS.SQS({endpoint: process.env.ENDPOINT});
const call = (name, input) => sqs[name](input).promise();
"""
V3 = """
const {SQS} = require("@aws-sdk/client-sqs");
const sqs = new SQS({endpoint: process.env.ENDPOINT});
const call = (name, input) => sqs[name](input);
"""
# Both check the MD5s of body and attributes.
PROGRAM = """
(async () => {
	const made = await call("createQueue", {QueueName: NAME, Attributes: {FifoQueue: "true"}, tags: {team: "blue"}});
	const QueueUrl = made.QueueUrl;
	const MessageAttributes = {
		text: {DataType: "String", StringValue: "w\\u00f6rld"}, n: {DataType: "Number.int", StringValue: "7"},
		bytes: {DataType: "Binary", BinaryValue: Buffer.from([0, 255, 1])}};
	const sent = await call("sendMessage", {QueueUrl, MessageBody: "h\\u00e9 <&>\\r\\n", MessageGroupId: "g", MessageDeduplicationId: "1", MessageAttributes});
	const batch = await call("sendMessageBatch", {QueueUrl, Entries: [
		{Id: "a", MessageBody: "second", MessageGroupId: "g", MessageDeduplicationId: "2"}, {Id: "b", MessageBody: "no group"}]});
	const got = await call("receiveMessage", {QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 5, AttributeNames: ["All"], MessageAttributeNames: ["All"]});
	const done = await call("deleteMessageBatch", {QueueUrl, Entries: got.Messages.map((m, i) => ({Id: "m" + i, ReceiptHandle: m.ReceiptHandle}))});
	let code;
	try {
		await call("sendMessage", {QueueUrl: QueueUrl + "x", MessageBody: "x"});
	} catch (e) {
		code = [e.name, e.code || e.Code, e.message];
	}
	const last = got.Messages[0];
	console.log(JSON.stringify({sent, batch, body: last.Body, order: got.Messages.map(m => m.Body), attributes: last.Attributes,
		bytes: Buffer.from(last.MessageAttributes.bytes.BinaryValue).toString("hex"), done, code,
		tags: (await call("listQueueTags", {QueueUrl})).Tags}));
})();
"""

INSIDE = """
import boto3, os
from botocore.exceptions import ClientError

def handler(event, context):
    sqs = boto3.client("sqs", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    url = sqs.get_queue_url(QueueName=event["queue"])["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="from inside")
    try:
        sqs.receive_message(QueueUrl=url)
    except ClientError as e:
        return [e.response["Error"]["Code"], e.response["Error"]["Message"]]
"""
PROJECT = """\
name: sqs
functions:
  f:
    code: .
    runtime: python3.11
    handler: app.handler
    memory: 256
    timeout: 60s
    snapshot: "off"
    allow:
      - {action: ["sqs:SendMessage", "sqs:GetQueueUrl"], resource: "queue-*"}
"""


class Case(unittest.TestCase):
    arguments, n = (), 0

    @classmethod
    def setUpClass(cls):
        cls.t = tandem.Tandem(*cls.arguments)
        cls.addClassCleanup(cls.t.close)
        cls.t.start()

    def setUp(self):
        Case.n += 1
        self.name = f"queue-{self.n}"
        self.sqs = self.t.client("sqs", read_timeout=60 * tandem.SLOW)

    def make(self, suffix="", **attributes):
        return self.sqs.create_queue(QueueName=self.name + suffix, Attributes=attributes)["QueueUrl"]

    def arn(self, suffix=""):
        return f"arn:aws:sqs:us-east-1:000000000000:{self.name}{suffix}"

    def receive(self, url, **more):
        return self.sqs.receive_message(QueueUrl=url, **{"MaxNumberOfMessages": 10, "AttributeNames": ["All"], **more}).get("Messages", [])

    def counts(self, url):
        names = [f"ApproximateNumberOfMessages{x}" for x in ("", "NotVisible", "Delayed")]
        got = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return [int(got[n]) for n in names]

    def fails(self, code, text, call, **arguments):
        with self.assertRaises(ClientError) as caught:
            call(**arguments)
        error = caught.exception.response["Error"]
        self.assertEqual(error["Code"], code, error)
        self.assertIn(text, error["Message"])


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Sqs(Case):
    def test_the_cli(self):
        aws = self.t.aws
        url = aws("sqs", "create-queue", "--queue-name", self.name, "--attributes", "VisibilityTimeout=4500", "--tags", "team=blue")["QueueUrl"]
        self.assertEqual(url, f"{self.t.api}/000000000000/{self.name}")
        self.assertEqual(aws("sqs", "get-queue-url", "--queue-name", self.name)["QueueUrl"], url)
        self.assertIn(url, aws("sqs", "list-queues", "--queue-name-prefix", "queue-")["QueueUrls"])
        attributes = aws("sqs", "get-queue-attributes", "--queue-url", url, "--attribute-names", "All")["Attributes"]
        self.assertEqual((attributes["VisibilityTimeout"], attributes["QueueArn"]), ("4500", self.arn()))
        sent = aws("sqs", "send-message", "--queue-url", url, "--message-body", "one two", "--message-attributes",
                   '{"k": {"DataType": "String", "StringValue": "v"}}')
        got, = aws("sqs", "receive-message", "--queue-url", url, "--message-attribute-names", "All")["Messages"]
        self.assertEqual((got["Body"], got["MessageId"], got["MD5OfBody"]), ("one two", sent["MessageId"], sent["MD5OfMessageBody"]))
        self.assertEqual(got["MessageAttributes"]["k"]["StringValue"], "v")
        aws("sqs", "change-message-visibility", "--queue-url", url, "--receipt-handle", got["ReceiptHandle"], "--visibility-timeout", "0")
        got, = aws("sqs", "receive-message", "--queue-url", url, "--attribute-names", "ApproximateReceiveCount")["Messages"]
        self.assertEqual(got["Attributes"], {"ApproximateReceiveCount": "2"})
        aws("sqs", "delete-message", "--queue-url", url, "--receipt-handle", got["ReceiptHandle"])
        aws("sqs", "set-queue-attributes", "--queue-url", url, "--attributes", "DelaySeconds=5")
        aws("sqs", "tag-queue", "--queue-url", url, "--tags", "a=b")
        aws("sqs", "untag-queue", "--queue-url", url, "--tag-keys", "team")
        self.assertEqual(aws("sqs", "list-queue-tags", "--queue-url", url)["Tags"], {"a": "b"})
        aws("sqs", "delete-queue", "--queue-url", url)
        with self.assertRaisesRegex(AssertionError, "AWS.SimpleQueueService.NonExistentQueue"):
            aws("sqs", "get-queue-url", "--queue-name", self.name)

    def check_javascript(self, sdk):
        got = self.t.node(self, f'const NAME = "{self.name}.fifo";' + sdk + PROGRAM)
        self.assertEqual(got["order"], ["hé <&>\r\n", "second"])
        self.assertEqual(got["bytes"], "00ff01")
        self.assertEqual(got["attributes"]["SequenceNumber"], got["sent"]["SequenceNumber"])
        self.assertEqual([f["Code"] for f in got["batch"]["Failed"]], ["MissingParameter"])
        self.assertEqual([s["Id"] for s in got["done"]["Successful"]], ["m0", "m1"])
        self.assertIn("AWS.SimpleQueueService.NonExistentQueue", got["code"])
        self.assertEqual(got["tags"], {"team": "blue"})

    def test_javascript_v2(self):
        self.check_javascript(V2)

    def test_javascript_v3(self):
        if not os.path.isdir(os.path.join(tandem.ROOT, "build/npm/node_modules/@aws-sdk/client-sqs")):
            self.skipTest("no @aws-sdk/client-sqs: make npm-deps")
        self.check_javascript(V3)

    def test_errors(self):
        url = self.make()
        s = self.sqs
        self.fails("QueueAlreadyExists", "different value for attribute DelaySeconds", s.create_queue, QueueName=self.name, Attributes={"DelaySeconds": "3"})
        self.assertEqual(s.create_queue(QueueName=self.name, Attributes={"DelaySeconds": "0"})["QueueUrl"], url)
        self.fails("InvalidParameterValue", "alphanumeric", s.create_queue, QueueName="a/b")
        self.fails("InvalidAttributeName", "Unknown Attribute Color.", s.set_queue_attributes, QueueUrl=url, Attributes={"Color": "red"})
        self.fails("InvalidAttributeValue", "DelaySeconds", s.set_queue_attributes, QueueUrl=url, Attributes={"DelaySeconds": "901"})
        self.fails("InvalidAttributeName", "Unknown Attribute X.", s.get_queue_attributes, QueueUrl=url, AttributeNames=["X"])
        policy = json.dumps({"deadLetterTargetArn": self.arn("-none"), "maxReceiveCount": 1})
        self.fails("InvalidParameterValue", "Dead letter target does not exist.", s.set_queue_attributes, QueueUrl=url, Attributes={"RedrivePolicy": policy})
        self.fails("InvalidParameterValue", "Must be between 1 and 10", s.receive_message, QueueUrl=url, MaxNumberOfMessages=11)
        self.fails("ReceiptHandleIsInvalid", "rubbish", s.delete_message, QueueUrl=url, ReceiptHandle="rubbish")
        self.fails("InvalidMessageContents", "Invalid characters", s.send_message, QueueUrl=url, MessageBody="a\x01b")
        self.fails("InvalidParameterValue", "shorter than 1048576", s.send_message, QueueUrl=url, MessageBody="x" * 1048577)
        self.fails("AWS.SimpleQueueService.EmptyBatchRequest", "at least one", s.send_message_batch, QueueUrl=url, Entries=[])
        many = [{"Id": str(i), "MessageBody": "x"} for i in range(20)]
        self.fails("AWS.SimpleQueueService.TooManyEntriesInBatchRequest", "You have sent 20.", s.send_message_batch, QueueUrl=url, Entries=many)
        self.fails("AWS.SimpleQueueService.BatchEntryIdsNotDistinct", "Id 1 repeated", s.send_message_batch, QueueUrl=url, Entries=[many[1], many[1]])
        self.fails("AWS.SimpleQueueService.InvalidBatchEntryId", "hyphens", s.send_message_batch, QueueUrl=url, Entries=[{"Id": "a b", "MessageBody": "x"}])
        big = [{"Id": str(i), "MessageBody": "x" * 524289} for i in range(2)]
        self.fails("AWS.SimpleQueueService.BatchRequestTooLong", "You have sent 1048578 bytes.", s.send_message_batch, QueueUrl=url, Entries=big)
        fifo = self.make(".fifo", FifoQueue="true")
        self.fails("MissingParameter", "must contain the parameter MessageGroupId.", s.send_message, QueueUrl=fifo, MessageBody="x")
        self.fails("InvalidParameterValue", "ContentBasedDeduplication", s.send_message, QueueUrl=fifo, MessageBody="x", MessageGroupId="g")
        s.purge_queue(QueueUrl=url)
        self.fails("AWS.SimpleQueueService.PurgeQueueInProgress", "every 60 seconds", s.purge_queue, QueueUrl=url)

    def test_the_largest(self):
        url = self.make()
        body = "\x7f\t\n" + "ü" * 524286 + "x"  # 1 MB
        self.sqs.send_message(QueueUrl=url, MessageBody=body)
        self.assertEqual(self.receive(url)[0]["Body"], body)

    def test_an_old_client(self):
        """Which signs a POST to the queue's own path."""
        url = self.make()
        self.sqs.send_message(QueueUrl=url, MessageBody="hello")
        request = AWSRequest("POST", url, data=b"Action=ReceiveMessage&Version=2012-11-05", headers={"Content-Type": "application/x-www-form-urlencoded"})
        SigV4Auth(Credentials(self.t.env["access_key"], self.t.env["secret_key"]), "sqs", "us-east-1").add_auth(request)
        with urllib.request.urlopen(urllib.request.Request(url, request.data, dict(request.headers)), timeout=20 * tandem.SLOW) as answer:
            text = answer.read().decode()
        self.assertIn("<Body>hello</Body>", text)
        with self.assertRaises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(url, b"Action=ReceiveMessage&Version=2012-11-05"), timeout=20 * tandem.SLOW)
        self.assertEqual(refused.exception.code, 403)

    def test_long_polling(self):
        """Who waits gets what comes, each message once; nobody waits for others."""
        url = self.make(VisibilityTimeout="43200")
        got = []

        def wait():
            client = self.t.client("sqs", read_timeout=60 * tandem.SLOW)
            m = None
            while not m:
                m = client.receive_message(QueueUrl=url, WaitTimeSeconds=20).get("Messages")
            client.delete_message(QueueUrl=url, ReceiptHandle=m[0]["ReceiptHandle"])
            got.append(m[0]["Body"])
        waiting = [threading.Thread(target=wait) for _ in range(6)]
        for thread in waiting:
            thread.start()
        self.sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": str(i), "MessageBody": str(i)} for i in range(3)])
        for i in range(3, 6):
            self.sqs.send_message(QueueUrl=url, MessageBody=str(i))
        for thread in waiting:
            thread.join()
        self.assertEqual(sorted(got), [str(i) for i in range(6)])
        self.assertEqual(self.counts(url), [0, 0, 0])

    def test_who_leaves_loses_nothing(self):
        url = self.make(VisibilityTimeout="1")
        client = self.t.client("sqs", read_timeout=0.1)
        with self.assertRaises(ReadTimeoutError):
            client.receive_message(QueueUrl=url, WaitTimeSeconds=20)
        self.sqs.send_message(QueueUrl=url, MessageBody="here")
        got = []
        while not got:
            got = self.receive(url, WaitTimeSeconds=20)
        self.assertEqual(got[0]["Body"], "here")

    def test_dead_letters(self):
        failed = self.make("-failed")
        policy = json.dumps({"deadLetterTargetArn": self.arn("-failed"), "maxReceiveCount": "2"})
        url = self.make(RedrivePolicy=policy, VisibilityTimeout="0")
        sent = self.sqs.send_message(QueueUrl=url, MessageBody="bad", MessageAttributes={"k": {"DataType": "String", "StringValue": "v"}})
        self.assertEqual([len(self.receive(url)) for _ in range(3)], [1, 1, 0])
        got, = self.receive(failed, MessageAttributeNames=["k"])
        self.assertEqual((got["Body"], got["MessageId"], got["MessageAttributes"]["k"]["StringValue"]), ("bad", sent["MessageId"], "v"))
        self.assertEqual(got["Attributes"]["DeadLetterQueueSourceArn"], self.arn())
        self.assertEqual(self.sqs.list_dead_letter_source_queues(QueueUrl=failed)["queueUrls"], [url])

    def test_from_inside(self):
        """A function may do what its file says, and is told what is missing."""
        url = self.make()
        with tempfile.TemporaryDirectory(prefix="tandem-sqs-") as folder:
            for name, text in {"app.py": INSIDE, "tandem.yaml": PROJECT}.items():
                with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                    f.write(text)
            self.t.cli("up", cwd=folder)
        code, message = json.loads(self.t.cli("invoke", "f", "--payload", json.dumps({"queue": self.name})))
        self.assertIn("AccessDenied", code)
        self.assertIn("sqs:ReceiveMessage", message)
        got, = self.receive(url)
        self.assertEqual((got["Body"], got["Attributes"]["SenderId"]), ("from inside", "AROATANDEMWORKLOAD000:f"))

    def test_who_finds_it_half_made(self):
        """CreateQueue of a queue that somebody else is making says so when it is durable, not before."""
        def make():
            try:
                made.append(self.t.client("sqs").create_queue(QueueName=self.name))
            except (BotoCoreError, ClientError) as e:
                failed.append(e)

        def is_known():
            try:
                return self.sqs.get_queue_url(QueueName=self.name)
            except ClientError:
                return None

        made, failed, callers = [], [], [threading.Thread(target=make) for _ in range(2)]
        db = sqlite3.connect(f"{self.t.state}/daemon/tandem.db", isolation_level=None)
        self.addCleanup(db.close)
        db.execute("BEGIN IMMEDIATE")  # tandemd's own writes wait for the end of this one
        callers[0].start()
        tandem.wait_for(is_known, 20 * tandem.SLOW)
        callers[1].start()
        for _ in range(10):
            is_known()
        old = tandem.daemon_of(self.t.pid)
        os.kill(old, signal.SIGKILL)
        db.execute("ROLLBACK")
        for caller in callers:
            caller.join()
        tandem.wait_for(lambda: tandem.daemon_of(self.t.pid) not in (None, old), 20 * tandem.SLOW)
        self.assertEqual(len(made) + len(failed), 2)
        self.assertTrue(is_known() or not made, made)

    def test_a_kill(self):
        """What was accepted is there, what is in flight stays so, what was deleted does not come back; groups keep their order."""
        url = self.make(VisibilityTimeout="43200")
        fifo = self.make(".fifo", FifoQueue="true", ContentBasedDeduplication="true", VisibilityTimeout="43200")
        for i in range(10):
            self.sqs.send_message(QueueUrl=url, MessageBody=str(i))
            self.sqs.send_message(QueueUrl=fifo, MessageBody=str(i), MessageGroupId="g")
        got = self.receive(url, MaxNumberOfMessages=4)
        self.sqs.delete_message(QueueUrl=url, ReceiptHandle=got[0]["ReceiptHandle"])
        first = self.receive(fifo, MaxNumberOfMessages=3)
        old = tandem.daemon_of(self.t.pid)
        os.kill(old, signal.SIGKILL)
        tandem.wait_for(lambda: tandem.daemon_of(self.t.pid) not in (None, old), 20 * tandem.SLOW)
        self.assertEqual(self.counts(url), [6, 3, 0])
        self.assertEqual(self.receive(fifo), [])
        for m in first:
            self.sqs.delete_message(QueueUrl=fifo, ReceiptHandle=m["ReceiptHandle"])
        self.assertEqual([m["Body"] for m in self.receive(fifo)], [str(i) for i in range(3, 10)])
        for m in got[1:]:
            self.sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"], VisibilityTimeout=0)
        seen = []
        while len(seen) < 9:
            seen += [m["Body"] for m in self.receive(url, WaitTimeSeconds=20)]
        self.assertEqual(sorted(seen), sorted(str(i) for i in range(10) if str(i) != got[0]["Body"]))


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Time(Case):
    arguments = ("--auth", "none")  # signatures have the client's time

    def test_time(self):
        """Delayed and invisible messages come when it is time for them, and old ones go, by a clock that the test moves."""
        url = self.make(VisibilityTimeout="30", MessageRetentionPeriod="3600")
        self.t.clock(stop=1)
        self.addCleanup(self.t.clock, resume=1)
        self.sqs.send_message(QueueUrl=url, MessageBody="late", DelaySeconds=600)
        self.assertEqual((self.receive(url), self.counts(url)), ([], [0, 0, 1]))
        self.t.clock(step_us=601000000)
        self.assertEqual([m["Body"] for m in self.receive(url)], ["late"])
        self.assertEqual((self.receive(url), self.counts(url)), ([], [0, 1, 0]))
        self.t.clock(step_us=31000000)
        self.assertEqual([m["Body"] for m in self.receive(url)], ["late"])
        self.t.clock(step_us=3600000000)
        self.assertEqual(self.receive(url), [])
        self.assertEqual(self.counts(url), [0, 0, 0])


if __name__ == "__main__":
    unittest.main()
