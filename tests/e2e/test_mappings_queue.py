# SPDX-License-Identifier: Apache-2.0
"""
Event source mappings of queues: batches, failures in part and whole, FIFO order, filters, concurrency, and a killed tandemd. What waits
for a visibility time-out waits by the daemon's own clock, which is stepped (debug builds) while no handler runs.
"""
import hashlib
import json
import os
import signal
import unittest
import urllib.request

import tandem
import test_mappings

VISIBLE_S = 60
HOLDS = tandem.WAIT_WHILE_HELD + """
def handler(event, context):
    print("SAW " + event["Records"][0]["body"])
    wait_while_held()
"""
DECLARED = """\
name: declared
queues: {jobs: {visibility: 60s}}
streams: {clicks: {}}
functions:
  declared:
    code: .
    runtime: python3.11
    handler: app.handler
    timeout: 60s
    on:
      - {queue: jobs, concurrency: 4, filter: [{body: {n: [2]}}]}
      - {stream: clicks, from: start, retries: 3}
"""


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class TheEnd(test_mappings.Base):
    def counts(self):
        url = self.sqs.get_queue_url(QueueName="window")["QueueUrl"]
        a = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return int(a["ApproximateNumberOfMessages"]), int(a["ApproximateNumberOfMessagesNotVisible"])

    def test_what_waits_for_its_window_is_put_back(self):
        url = self.sqs.create_queue(QueueName="window")["QueueUrl"]
        self.function("window")
        made = self.mapping(EventSourceArn="arn:aws:sqs:us-east-1:000000000000:window", FunctionName="window", MaximumBatchingWindowInSeconds=300)
        self.sqs.send_message(QueueUrl=url, MessageBody="early")
        tandem.wait_for(lambda: self.counts() == (0, 1))
        self.t.restart()
        self.clients()
        self.delete(made["UUID"])
        tandem.wait_for(lambda: self.counts() == (1, 0))  # as received by the daemon before it would be out of sight for minutes


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Queues(test_mappings.Base):
    arguments = ("--auth", "none")  # clients do not follow the clock

    def queue(self, name, **attributes):
        """Its URL and ARN, with a dead-letter queue (name-dead) after two receives."""
        fifo = ".fifo" if attributes.get("FifoQueue") else ""
        made = []
        for n in name + "-dead" + fifo, name + fifo:
            if made:
                attributes["RedrivePolicy"] = json.dumps({"deadLetterTargetArn": made[1], "maxReceiveCount": 2})
            url = self.sqs.create_queue(QueueName=n, Attributes={"VisibilityTimeout": str(VISIBLE_S), **attributes})["QueueUrl"]
            made = [url, self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]]
        return made

    def counts(self, url):
        a = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return int(a["ApproximateNumberOfMessages"]), int(a["ApproximateNumberOfMessagesNotVisible"])

    def wait_counts(self, url, *expected):
        tandem.wait_for(lambda: self.counts(url) == expected, 30, lambda: f"{self.counts(url)} instead of {expected}")

    def send(self, url, *bodies, **more):
        for body in bodies:
            self.sqs.send_message(QueueUrl=url, MessageBody=body, **more)

    def dead(self, name):
        """What the dead-letter queue has got, which is taken out of it."""
        url = self.sqs.get_queue_url(QueueName=name)["QueueUrl"]
        messages = self.sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20).get("Messages", [])
        for m in messages:
            self.sqs.delete_message(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"])
        return [m["Body"] for m in messages]

    def worker(self, name, **more):
        return self.function(name, Timeout=VISIBLE_S, **more)

    def busy(self, name):
        return any(i["state"] not in ("idle", "frozen") for i in self.t.instances(name))

    def pass_time(self, name, seconds=VISIBLE_S):
        """What is received becomes visible again, unless somebody has it."""
        if not self.busy(name):
            self.t.clock(step_us=(seconds + 1) * 1000000)

    def fails(self, name, batch, tries=2):
        """Until it was tried so often, and the time after each is over."""
        for n in range(1, tries + 1):
            tandem.wait_for(lambda n=n: self.data(name).count(batch) == n and not self.busy(name), 30, lambda: self.data(name))
            self.pass_time(name)

    def test_messages(self):
        url, arn = self.queue("a")
        self.worker("a")
        made = self.mapping(EventSourceArn=arn, FunctionName="a")
        self.assertEqual((made["State"], made["StateTransitionReason"], made["BatchSize"], made["MaximumBatchingWindowInSeconds"]),
                         ("Creating", "USER_INITIATED", 10, 0))
        self.assertNotIn("ParallelizationFactor", made)
        sent = self.sqs.send_message(QueueUrl=url, MessageBody="hello \u00e9 \"", MessageAttributes={
            "text": {"DataType": "String", "StringValue": "v"}, "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\x01"}})
        self.wait_data("a", [["hello \u00e9 \""]])
        record = self.saw("a")[0]["record"]
        attributes = record.pop("attributes")
        self.assertTrue(record.pop("receiptHandle"))
        self.assertEqual(record, {
            "messageId": sent["MessageId"], "body": "hello \u00e9 \"", "md5OfBody": hashlib.md5("hello \u00e9 \"".encode()).hexdigest(),
            "md5OfMessageAttributes": sent["MD5OfMessageAttributes"], "eventSource": "aws:sqs", "eventSourceARN": arn, "awsRegion": "us-east-1",
            "messageAttributes": {"text": {"stringValue": "v", "stringListValues": [], "binaryListValues": [], "dataType": "String"},
                                  "bytes": {"binaryValue": "AAE=", "stringListValues": [], "binaryListValues": [], "dataType": "Binary"}}})
        self.assertEqual(attributes["ApproximateReceiveCount"], "1")
        self.assertEqual({k: type(v) for k, v in attributes.items()}, {k: str for k in (
            "ApproximateReceiveCount", "SentTimestamp", "SenderId", "ApproximateFirstReceiveTimestamp")})
        self.wait_counts(url, 0, 0)
        tandem.wait_for(lambda: any(r["trigger"] == "queue" for r in self.t.rows("a")))

    def test_failures(self):
        url, arn = self.queue("f")
        self.worker("f")
        self.mapping(EventSourceArn=arn, FunctionName="f", FunctionResponseTypes=["ReportBatchItemFailures"])
        good = self.queue("good")
        self.worker("good")
        self.mapping(EventSourceArn=good[1], FunctionName="good")
        for word, dead in ("bad", 1), ("part", 1), ("none", 0), ("empty", 0), ("list", 0), ("unknown", 1), ("key", 1), ("blank", 1), ("text", 1):
            self.send(url, word)
            if dead:
                self.fails("f", [word])
                self.assertEqual(self.dead("f-dead"), [word])
            else:
                self.wait_counts(url, 0, 0)
            self.assertEqual(self.data("f").count([word]), 1 + dead, word)
        self.send(good[0], "fine")  # another mapping's
        self.wait_data("good", [["fine"]])
        self.wait_counts(url, 0, 0)

    def test_in_part(self):
        url, arn = self.queue("p")
        self.worker("p")
        made = self.mapping(EventSourceArn=arn, FunctionName="p", BatchSize=3, MaximumBatchingWindowInSeconds=300,
                            FunctionResponseTypes=["ReportBatchItemFailures"])
        self.send(url, "1", "part", "3")
        tandem.wait_for(lambda: self.data("p"), 30)
        self.assertEqual(sorted(self.data("p")[0]), ["1", "3", "part"])
        tandem.wait_for(lambda: sum(self.counts(url)) == 1, 30, lambda: self.counts(url))
        self.lam.update_event_source_mapping(UUID=made["UUID"], BatchSize=1, MaximumBatchingWindowInSeconds=0)
        tandem.wait_for(lambda: not self.busy("p"), 30)
        self.pass_time("p", 300 + VISIBLE_S)  # out of sight for the window, too
        self.fails("p", ["part"], 1)
        self.assertEqual(self.dead("p-dead"), ["part"])

    def test_fifo(self):
        url, arn = self.queue("o", FifoQueue="true", ContentBasedDeduplication="true")
        self.worker("o")
        made = self.mapping(EventSourceArn=arn, FunctionName="o", Enabled=False, FunctionResponseTypes=["ReportBatchItemFailures"])
        self.assertEqual(made["State"], "Disabled")
        self.send(url, "1", "part 2", "3", MessageGroupId="g")
        self.lam.update_event_source_mapping(UUID=made["UUID"], Enabled=True)
        # What is behind a failure waits with it; what fails too often gives way.
        self.fails("o", ["1", "part 2", "3"], 1)
        self.fails("o", ["part 2", "3"], 1)
        record = self.saw("o")[0]["record"]["attributes"]
        self.assertEqual((record["MessageGroupId"], len(record["SequenceNumber"])), ("g", 20))
        self.assertEqual([self.dead("o-dead.fifo") for _ in range(2)], [["part 2"], ["3"]])
        self.assertEqual(self.counts(url), (0, 0))

    def test_filter(self):
        url, arn = self.queue("i")
        self.worker("i")
        made = self.mapping(EventSourceArn=arn, FunctionName="i", FilterCriteria={"Filters": [{"Pattern": json.dumps({"body": {"n": [{"numeric": [">", 5]}]}})}]})
        self.send(url, '{"n": 1}', "no JSON", '{"n": 6}')
        self.wait_data("i", [['{"n": 6}']])
        self.wait_counts(url, 0, 0)
        self.assertEqual(len(self.lam.get_event_source_mapping(UUID=made["UUID"])["FilterCriteria"]["Filters"]), 1)
        self.assertNotIn("FilterCriteria", self.lam.update_event_source_mapping(UUID=made["UUID"], FilterCriteria={}))
        self.send(url, "anything")
        self.wait_data("i", [['{"n": 6}'], ["anything"]])

    def test_not_now(self):
        """What cannot be called is no failure: nothing is counted, and all is done once it can be."""
        url, arn = self.queue("t")
        self.worker("t")
        self.lam.put_function_concurrency(FunctionName="t", ReservedConcurrentExecutions=0)
        self.mapping(EventSourceArn=arn, FunctionName="t")
        self.send(url, "late")
        tandem.wait_for(lambda: sum(r["outcome"] == "throttled" for r in self.t.rows("t")) > 2, 30)
        self.assertEqual(self.data("t"), [])
        self.lam.delete_function_concurrency(FunctionName="t")
        self.wait_data("t", [["late"]])
        self.assertEqual(self.saw("t")[0]["record"]["attributes"]["ApproximateReceiveCount"], "1")

    def test_concurrency(self):
        url, arn = self.queue("c", VisibilityTimeout="600")
        arguments = {**tandem.python_function(HOLDS), "FunctionName": "c", "Timeout": 600}
        self.lam.create_function(**arguments)
        self.lam.get_waiter("function_active_v2").wait(FunctionName="c", WaiterConfig={"Delay": 1, "MaxAttempts": 30})
        go = tandem.held(self.t)
        self.addCleanup(go)
        # This boto3 does not know it.
        body = {"EventSourceArn": arn, "FunctionName": "c", "BatchSize": 1, "ScalingConfig": {"MaximumConcurrency": 2}}
        with urllib.request.urlopen(self.t.api + "/2015-03-31/event-source-mappings", json.dumps(body).encode()) as answer:
            self.assertEqual(json.load(answer)["ScalingConfig"], {"MaximumConcurrency": 2})
        self.send(url, *"12345")
        tandem.wait_for(lambda: self.t.cli("logs", "c").count("SAW") == 2, 30)
        self.assertEqual(self.counts(url), (3, 2))
        go()
        tandem.wait_for(lambda: self.t.cli("logs", "c").count("SAW") == 5, 30)
        self.wait_counts(url, 0, 0)

    def test_declared(self):
        folder = os.path.join(self.t.base, "declared")
        os.mkdir(folder)
        for name, text in {"app.py": test_mappings.CODE, "tandem.yaml": DECLARED}.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                f.write(text)
        self.t.cli("up", cwd=folder)
        self.assertIn("nothing to change", self.t.cli("up", cwd=folder))
        self.send(self.sqs.get_queue_url(QueueName="jobs")["QueueUrl"], '{"n": 1}', '{"n": 2}')
        self.kinesis.put_record(StreamName="clicks", Data=b"click", PartitionKey="k")
        tandem.wait_for(lambda: sorted(self.data("declared")) == [["click"], ['{"n": 2}']], 30, lambda: self.data("declared"))
        self.t.cli("down", cwd=folder, input="y\n")
        self.assertEqual(self.lam.list_event_source_mappings(FunctionName="declared")["EventSourceMappings"], [])

    def test_what_is_wrong(self):
        url, arn = self.queue("x")
        fifo = self.queue("x", FifoQueue="true")[1]
        self.worker("x")
        self.function("slow", Timeout=VISIBLE_S + 1)
        base = {"EventSourceArn": arn, "FunctionName": "x"}
        made = self.mapping(**base)
        cases = [
            (base, "ResourceConflictException", made["UUID"]),
            ({**base, "EventSourceArn": arn + "y"}, "InvalidParameterValueException", "The specified queue does not exist."),
            ({**base, "FunctionName": "slow"}, "InvalidParameterValueException", "Queue visibility timeout: 60 seconds is less than Function timeout: 61 seconds"),
            ({**base, "BatchSize": 11}, "InvalidParameterValueException", "Maximum batch window in seconds must be greater than 0"),
            ({**base, "BatchSize": 11, "EventSourceArn": fifo}, "InvalidParameterValueException", "10"),
            ({**base, "MaximumBatchingWindowInSeconds": 5, "EventSourceArn": fifo}, "InvalidParameterValueException", "Batching window is not supported"),
            ({**base, "StartingPosition": "LATEST"}, "InvalidParameterValueException", "StartingPosition is not valid"),
            ({**base, "ParallelizationFactor": 2}, "InvalidParameterValueException", "ParallelizationFactor"),
        ]
        for arguments, code, words in cases:
            error = self.error(self.lam.create_event_source_mapping, **arguments)
            self.assertEqual(error["Code"], code, error)
            self.assertIn(words, error["Message"])
        self.sqs.delete_queue(QueueUrl=url)
        tandem.wait_for(lambda: "queue" in self.lam.get_event_source_mapping(UUID=made["UUID"]).get("LastProcessingResult", ""), 30)

    def test_javascript(self):
        _, arn = self.queue("js")
        self.worker("js")
        answer = self.t.node(self, """
            const {LambdaClient, CreateEventSourceMappingCommand, ListEventSourceMappingsCommand, DeleteEventSourceMappingCommand} =
                require("@aws-sdk/client-lambda");
            const c = new LambdaClient({endpoint: process.env.ENDPOINT, maxAttempts: 1});
            (async () => {
                const made = await c.send(new CreateEventSourceMappingCommand({EventSourceArn: "%s", FunctionName: "js", BatchSize: 5}));
                const all = await c.send(new ListEventSourceMappingsCommand({FunctionName: "js"}));
                const gone = await c.send(new DeleteEventSourceMappingCommand({UUID: made.UUID}));
                console.log(JSON.stringify([made.BatchSize, made.LastModified instanceof Date, all.EventSourceMappings.length, gone.State]));
            })();""" % arn)
        self.assertEqual(answer, [5, True, 1, "Deleting"])

    def test_killed(self):
        url, arn = self.queue("kill")
        self.kinesis.create_stream(StreamName="effects", ShardCount=1)
        folder = os.path.join(self.t.base, "kill")
        os.mkdir(folder)
        for name, text in {"app.py": test_mappings.EFFECTS, "tandem.yaml": test_mappings.PROJECT.replace("10s", f"{VISIBLE_S}s")}.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                f.write(text)
        self.t.cli("up", cwd=folder)
        self.sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": ""})
        self.mapping(EventSourceArn=arn, FunctionName="kill", BatchSize=3)

        def effects():
            at = self.kinesis.get_shard_iterator(StreamName="effects", ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON")
            return {int(r["Data"]) for r in self.kinesis.get_records(ShardIterator=at["ShardIterator"])["Records"]}
        for n in range(3):
            self.send(url, *(str(6 * n + i) for i in range(6)))
            tandem.wait_for(lambda n=n: effects() & set(range(6 * n, 6 * n + 6)), 30, effects)
            os.kill(tandem.daemon_of(self.t.process.pid), signal.SIGKILL)
            tandem.wait_for(lambda: self.t._ready(os.path.join(self.t.state, "run")), 30)  # pylint: disable=protected-access
            self.clients()
        # what had its effect and was not deleted before the kill is out of sight, and comes again as well
        tandem.wait_for(lambda: (effects() == set(range(18)) and self.counts(url) == (0, 0)) or self.pass_time("kill"), 60,
                        lambda: f"{self.counts(url)} in the queue, {effects()}", 0.5)


if __name__ == "__main__":
    unittest.main()
