# SPDX-License-Identifier: Apache-2.0
"""
Event source mappings: what functions are given of queues and streams, and what becomes of it when they fail, say so in part, cannot be
called, or tandemd dies. What a function saw is read from its log.
"""
import json
import os
import signal
import time
import unittest
import uuid

import tandem

# Data that begins with "bad" fails its batch, with "part" is named as failed; other words answer as they say.
CODE = """\
import base64
import json

ANSWERS = {"none": None, "empty": {}, "list": {"batchItemFailures": []}, "unknown": {"batchItemFailures": [{"itemIdentifier": "nobody"}]},
           "key": {"batchItemFailures": [{"id": "x"}]}, "blank": {"batchItemFailures": [{"itemIdentifier": ""}]}, "text": "what"}


def handler(event, context):
    records = event["Records"]
    data = [base64.b64decode(r["kinesis"]["data"]).decode() if "kinesis" in r else r["body"] for r in records]
    ids = [r["kinesis"]["sequenceNumber"] if "kinesis" in r else r["messageId"] for r in records]
    print("SAW " + json.dumps({"data": data, "record": records[0]}))
    if any(d.startswith("bad") for d in data):
        raise ValueError("bad")
    for d in data:
        if d in ANSWERS:
            return ANSWERS[d]
    return {"batchItemFailures": [{"itemIdentifier": i} for i, d in zip(ids, data) if d.startswith("part")]}
"""


# Keeps what it did in another stream, record by record.
EFFECTS = """\
import base64
import json
import os
import urllib.request


def handler(event, context):
    for record in event["Records"]:
        data = record["kinesis"]["data"] if "kinesis" in record else base64.b64encode(record["body"].encode()).decode()
        body = {"StreamName": "effects", "PartitionKey": "k", "Data": data}
        urllib.request.urlopen(urllib.request.Request(os.environ["AWS_ENDPOINT_URL"], json.dumps(body).encode(), {
            "X-Amz-Target": "Kinesis_20131202.PutRecord", "Content-Type": "application/x-amz-json-1.1"})).read()
"""
PROJECT = """\
name: kill
functions:
  kill: {code: ., runtime: python3.11, handler: app.handler, timeout: 10s, allow: [{action: "kinesis:PutRecord", resource: "effects"}]}
"""


class Base(unittest.TestCase):
    arguments = ()

    @classmethod
    def setUpClass(cls):
        cls.t = tandem.Tandem(*cls.arguments)
        cls.addClassCleanup(cls.t.close)
        cls.t.start()
        cls.clients()

    @classmethod
    def clients(cls):
        cls.lam, cls.kinesis, cls.sqs = cls.t.client("lambda"), cls.t.client("kinesis"), cls.t.client("sqs")

    def function(self, name, **more):
        arguments = {**tandem.python_function(CODE), "FunctionName": name, "Timeout": 10, **more}
        return self.lam.create_function(**arguments)["FunctionArn"]

    def saw(self, name):
        """What the function was given, batch by batch."""
        lines = self.t.cli("logs", name, "-n", "1000").splitlines()
        return [json.loads(line[line.index("SAW ") + 4:]) for line in lines if "SAW " in line]

    def data(self, name):
        return [s["data"] for s in self.saw(name)]

    def wait_data(self, name, expected):
        tandem.wait_for(lambda: self.data(name) == expected, 30, lambda: f"{self.data(name)} instead of {expected}")

    def mapping(self, **arguments):
        made = self.lam.create_event_source_mapping(**arguments)
        self.addCleanup(self.delete, made["UUID"])
        return made

    def delete(self, ident):
        try:
            self.lam.delete_event_source_mapping(UUID=ident)
        except self.lam.exceptions.ResourceNotFoundException:
            pass

    def error(self, call, **arguments):
        with self.assertRaises(self.lam.exceptions.ClientError) as caught:
            call(**arguments)
        return caught.exception.response["Error"]


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Streams(Base):
    def stream(self, name, shards=1):
        self.kinesis.create_stream(StreamName=name, ShardCount=shards)
        return f"arn:aws:kinesis:us-east-1:000000000000:stream/{name}"

    def put(self, name, *data, key="k"):
        return self.kinesis.put_records(StreamName=name, Records=[{"Data": d.encode(), "PartitionKey": key} for d in data])["Records"]

    def test_records(self):
        arn, function = self.stream("a"), self.function("a")
        first = self.put("a", "1", "2")[0]["SequenceNumber"]
        made = self.mapping(EventSourceArn=arn, FunctionName="a", StartingPosition="TRIM_HORIZON", BatchSize=3)
        self.assertEqual((made["State"], made["StateTransitionReason"], made["LastProcessingResult"]), ("Creating", "User action", "No records processed"))
        self.assertEqual((made["FunctionArn"], made["EventSourceArn"], made["FunctionResponseTypes"]), (function, arn, []))
        self.assertEqual((made["MaximumRetryAttempts"], made["MaximumRecordAgeInSeconds"], made["ParallelizationFactor"],
                          made["BisectBatchOnFunctionError"], made["TumblingWindowInSeconds"]), (-1, -1, 1, False, 0))
        self.wait_data("a", [["1", "2"]])
        record = self.saw("a")[0]["record"]
        arrived = record["kinesis"].pop("approximateArrivalTimestamp")
        self.assertAlmostEqual(arrived, time.time(), delta=600)
        self.assertEqual(record, {
            "kinesis": {"kinesisSchemaVersion": "1.0", "partitionKey": "k", "sequenceNumber": first, "data": "MQ=="},
            "eventSource": "aws:kinesis", "eventVersion": "1.0", "eventID": "shardId-000000000000:" + first, "eventName": "aws:kinesis:record",
            "invokeIdentityArn": record["invokeIdentityArn"], "awsRegion": "us-east-1", "eventSourceARN": arn})
        self.put("a", "3", "4", "5", "6")
        self.wait_data("a", [["1", "2"], ["3", "4", "5"], ["6"]])
        tandem.wait_for(lambda: any(r["trigger"] == "stream" for r in self.t.rows("a")))
        self.assertEqual(self.lam.get_event_source_mapping(UUID=made["UUID"])["State"], "Enabled")
        # From where it was, once it is enabled again.
        self.assertEqual(self.lam.update_event_source_mapping(UUID=made["UUID"], Enabled=False)["State"], "Disabling")
        self.assertEqual(self.lam.get_event_source_mapping(UUID=made["UUID"])["State"], "Disabled")
        self.put("a", "7", "8")
        again = self.lam.update_event_source_mapping(UUID=made["UUID"], Enabled=True, BatchSize=1)
        self.assertEqual((again["State"], again["BatchSize"]), ("Enabling", 1))
        self.wait_data("a", [["1", "2"], ["3", "4", "5"], ["6"], ["7"], ["8"]])
        self.t.restart()
        self.clients()
        self.put("a", "9")
        self.wait_data("a", [["1", "2"], ["3", "4", "5"], ["6"], ["7"], ["8"], ["9"]])

    def test_latest_window_and_filter(self):
        arn = self.stream("w")
        self.function("w")
        self.put("w", json.dumps({"kind": "old"}))
        self.mapping(EventSourceArn=arn, FunctionName="w", StartingPosition="LATEST", BatchSize=2, MaximumBatchingWindowInSeconds=300,
                     FilterCriteria={"Filters": [{"Pattern": json.dumps({"data": {"kind": ["new"]}})}]})
        wanted = [json.dumps({"kind": "new", "n": n}) for n in (1, 2)]
        self.put("w", wanted[0], json.dumps({"kind": "other"}), "no JSON")
        self.put("w", wanted[1])
        self.wait_data("w", [wanted])

    def test_failures(self):
        queue = self.sqs.create_queue(QueueName="failed")["QueueUrl"]
        queue_arn = self.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        arn, function = self.stream("f"), self.function("f")
        puts = self.put("f", "1", "2", "bad", "4")
        made = self.mapping(EventSourceArn=arn, FunctionName="f", StartingPosition="TRIM_HORIZON", MaximumRetryAttempts=1,
                            BisectBatchOnFunctionError=True, DestinationConfig={"OnFailure": {"Destination": queue_arn}})
        # Halves cost no retry; what is left of them has one.
        self.wait_data("f", [["1", "2", "bad", "4"], ["1", "2"], ["bad", "4"], ["bad"], ["bad"], ["4"]])
        message = self.sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20)["Messages"][0]
        body = json.loads(message["Body"])
        info = body["KinesisBatchInfo"]
        self.assertEqual((body["version"], body["requestContext"]["condition"], body["requestContext"]["functionArn"],
                          body["requestContext"]["approximateInvokeCount"]), ("1.0", "RetryAttemptsExhausted", function, 2))
        self.assertEqual(body["responseContext"], {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"})
        self.assertEqual((info["shardId"], info["startSequenceNumber"], info["endSequenceNumber"], info["batchSize"], info["streamArn"]),
                         ("shardId-000000000000", puts[2]["SequenceNumber"], puts[2]["SequenceNumber"], 1, arn))
        self.assertEqual(self.lam.get_event_source_mapping(UUID=made["UUID"])["LastProcessingResult"], "OK")

    def test_in_part(self):
        arn = self.stream("p")
        self.function("p")
        self.put("p", "1", "part", "3")
        self.mapping(EventSourceArn=arn, FunctionName="p", StartingPosition="TRIM_HORIZON", MaximumRetryAttempts=2,
                     FunctionResponseTypes=["ReportBatchItemFailures"])
        # From the lowest on, and a batch that moved has all its retries again.
        self.wait_data("p", [["1", "part", "3"], ["part", "3"], ["part", "3"]])
        for word, tries in ("none", 1), ("empty", 1), ("list", 1), ("unknown", 3), ("key", 3), ("blank", 3), ("text", 3):
            self.put("p", word)
            tandem.wait_for(lambda w=word, n=tries: self.data("p").count([w]) == n, 30, lambda: self.data("p"))
            self.put("p", "next " + word)
            tandem.wait_for(lambda w=word: self.data("p")[-1] == ["next " + w], 30, lambda: self.data("p"))
            self.assertEqual(self.data("p").count([word]), tries, word)

    def test_order_over_a_split(self):
        arn = self.stream("s", 1)
        self.function("s")
        self.put("s", "1", "2")
        self.kinesis.split_shard(StreamName="s", ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**127))
        self.put("s", "3", "4")
        self.mapping(EventSourceArn=arn, FunctionName="s", StartingPosition="TRIM_HORIZON", BatchSize=1, ParallelizationFactor=3)
        self.wait_data("s", [["1"], ["2"], ["3"], ["4"]])
        shards = self.kinesis.list_shards(StreamName="s", ShardFilter={"Type": "AT_LATEST"})["Shards"]
        self.kinesis.merge_shards(StreamName="s", ShardToMerge=shards[0]["ShardId"], AdjacentShardToMerge=shards[1]["ShardId"])
        self.put("s", "5", "6")
        self.wait_data("s", [[str(n)] for n in range(1, 7)])

    def test_a_failing_lane_does_not_stop_others(self):
        arn = self.stream("l")
        self.function("l")
        self.mapping(EventSourceArn=arn, FunctionName="l", StartingPosition="TRIM_HORIZON", BatchSize=1, ParallelizationFactor=10)
        self.put("l", "bad", "behind", key="one")
        for n in range(20):
            self.put("l", f"ok {n}", key=f"key {n}")
        ok = {f"ok {n}" for n in range(20)}
        # Of ten lanes some keys share the one that fails.
        tandem.wait_for(lambda: len({d[0] for d in self.data("l")} & ok) >= 10 and self.data("l").count(["bad"]) > 1, 30, lambda: self.data("l"))
        self.assertNotIn(["behind"], self.data("l"))

    def test_what_is_wrong(self):
        arn = self.stream("x")
        self.function("x")
        create = self.lam.create_event_source_mapping
        base = {"EventSourceArn": arn, "FunctionName": "x", "StartingPosition": "LATEST"}
        made = self.mapping(**base)
        cases = [
            ({**base}, "ResourceConflictException", f"already exists. Please update or delete the existing mapping with UUID {made['UUID']}"),
            ({"EventSourceArn": arn, "FunctionName": "x"}, "ValidationException", "Value null at 'startingPosition' failed to satisfy constraint"),
            ({**base, "FunctionName": "nobody"}, "ResourceNotFoundException", "Function not found: arn:aws:lambda:us-east-1:000000000000:function:nobody"),
            ({**base, "EventSourceArn": arn + "y"}, "InvalidParameterValueException", "Stream not found: " + arn + "y"),
            ({**base, "FilterCriteria": {"Filters": [{"Pattern": "{"}]}}, "InvalidParameterValueException", "Invalid filter pattern definition."),
            ({**base, "BatchSize": 10001}, "ValidationException", "Value '10001' at 'batchSize' failed to satisfy constraint: Member must have value less"),
            ({**base, "TumblingWindowInSeconds": 1}, "InvalidParameterValueException", "TumblingWindowInSeconds"),
            ({**base, "EventSourceArn": "arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/s"}, "InvalidParameterValueException", "Unrecognized event source"),
            ({**base, "EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:none"}, "InvalidParameterValueException", "StartingPosition"),
        ]
        if "MaximumRetryAttempts" in made:
            cases.append(({**base, "MaximumRecordAgeInSeconds": 30}, "InvalidParameterValueException", "60"))
        for arguments, code, words in cases:
            error = self.error(create, **arguments)
            self.assertEqual(error["Code"], code, error)
            self.assertIn(words, error["Message"])
        self.assertEqual(self.error(self.lam.get_event_source_mapping, UUID=str(uuid.uuid4()))["Code"], "ResourceNotFoundException")
        listed = self.t.aws("lambda", "list-event-source-mappings", "--function-name", "x")["EventSourceMappings"]
        self.assertEqual([m["UUID"] for m in listed], [made["UUID"]])
        self.assertEqual(self.t.aws("lambda", "delete-event-source-mapping", "--uuid", made["UUID"])["State"], "Deleting")
        self.assertEqual(self.lam.list_event_source_mappings(EventSourceArn=arn)["EventSourceMappings"], [])

    def test_killed(self):
        """Whenever tandemd dies, what was put comes, in order but for repetitions. The judge is a stream: logs may end early."""
        arn = self.stream("kill")
        self.stream("effects")
        folder = os.path.join(self.t.base, "kill")
        os.mkdir(folder)
        for name, text in {"app.py": EFFECTS, "tandem.yaml": PROJECT}.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                f.write(text)
        self.t.cli("up", cwd=folder)
        self.mapping(EventSourceArn=arn, FunctionName="kill", StartingPosition="TRIM_HORIZON", BatchSize=2)

        def effects():
            at = self.kinesis.get_shard_iterator(StreamName="effects", ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON")
            return [int(r["Data"]) for r in self.kinesis.get_records(ShardIterator=at["ShardIterator"])["Records"]]
        for n in range(3):
            self.put("kill", *(str(6 * n + i) for i in range(6)))
            tandem.wait_for(lambda n=n: 6 * n in effects(), 30, effects)
            os.kill(tandem.daemon_of(self.t.process.pid), signal.SIGKILL)
            tandem.wait_for(lambda: self.t._ready(os.path.join(self.t.state, "run")), 30)  # pylint: disable=protected-access
            self.clients()
        tandem.wait_for(lambda: 17 in effects(), 30, effects)
        seen = effects()
        self.assertEqual(sorted(set(seen), key=seen.index), list(range(18)))


if __name__ == "__main__":
    unittest.main()
