# SPDX-License-Identifier: Apache-2.0
"""Kinesis: streams, shards, sequence numbers, iterators, resharding, retention, tags; the AWS CLI, boto3 and an SDK for JavaScript."""
import base64
import os
import unittest

import tandem


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Kinesis(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = tandem.Tandem()
        cls.addClassCleanup(cls.t.close)
        cls.t.start()

    def setUp(self):
        self.k = self.t.client("kinesis")

    def code(self, call, **arguments):
        """The code and the message of the error that a call ends with."""
        with self.assertRaises(self.k.exceptions.ClientError) as caught:
            call(**arguments)
        return caught.exception.response["Error"]["Code"], caught.exception.response["Error"]["Message"]

    def iterator(self, name, shard="shardId-000000000000", kind="TRIM_HORIZON", **more):
        return self.k.get_shard_iterator(StreamName=name, ShardId=shard, ShardIteratorType=kind, **more)["ShardIterator"]

    def read(self, name, shard="shardId-000000000000", **more):
        """All that is there from an iterator on, and the last answer."""
        at, data = self.iterator(name, shard, **more), []
        while True:
            answer = self.k.get_records(ShardIterator=at, Limit=7)
            data += [r["Data"] for r in answer["Records"]]
            at = answer.get("NextShardIterator")
            if not at or (not answer["Records"] and answer["MillisBehindLatest"] == 0):
                return data, answer

    def test_the_cli(self):
        aws = self.t.aws
        self.assertIsNone(aws("kinesis", "create-stream", "--stream-name", "cli", "--shard-count", "2"))
        self.assertIsNone(aws("kinesis", "wait", "stream-exists", "--stream-name", "cli"))
        put = aws("kinesis", "put-record", "--stream-name", "cli", "--partition-key", "k", "--data", "aGVsbG8=")
        self.assertEqual(len(put["SequenceNumber"]), 56)
        at = aws("kinesis", "get-shard-iterator", "--stream-name", "cli", "--shard-id", put["ShardId"], "--shard-iterator-type",
                 "TRIM_HORIZON")["ShardIterator"]
        record = aws("kinesis", "get-records", "--shard-iterator", at)["Records"][0]
        self.assertEqual((base64.b64decode(record["Data"]), record["PartitionKey"], record["SequenceNumber"]), (b"hello", "k", put["SequenceNumber"]))
        aws("kinesis", "delete-stream", "--stream-name", "cli")
        self.assertNotIn("cli", aws("kinesis", "list-streams")["StreamNames"])

    def test_tags(self):
        k = self.k
        k.create_stream(StreamName="tags", ShardCount=1)
        k.add_tags_to_stream(StreamName="tags", Tags={"a": "1", "b": "2"})
        k.add_tags_to_stream(StreamName="tags", Tags={"b": "3"})
        k.remove_tags_from_stream(StreamName="tags", TagKeys=["a"])
        self.assertEqual(k.list_tags_for_stream(StreamName="tags")["Tags"], [{"Key": "b", "Value": "3"}])
        self.assertIn("tags", k.list_streams()["StreamNames"])

    def test_iterators(self):
        k = self.k
        k.create_stream(StreamName="it", ShardCount=1)
        puts = k.put_records(StreamName="it", Records=[{"Data": b"%d" % i, "PartitionKey": str(i)} for i in range(20)])
        numbers = [r["SequenceNumber"] for r in puts["Records"]]
        self.assertEqual((puts["FailedRecordCount"], sorted(numbers), len(set(numbers))), (0, numbers, 20))
        self.assertEqual(self.read("it")[0], [b"%d" % i for i in range(20)])
        self.assertEqual(self.read("it", kind="AT_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[18])[0], [b"18", b"19"])
        self.assertEqual(self.read("it", kind="AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[18])[0], [b"19"])
        latest = self.iterator("it", kind="LATEST")
        answer = k.get_records(ShardIterator=self.iterator("it"), Limit=5)
        self.assertEqual(len(answer["Records"]), 5)
        self.assertEqual(self.read("it", kind="AT_TIMESTAMP", Timestamp=answer["Records"][0]["ApproximateArrivalTimestamp"])[0][:2], [b"0", b"1"])
        k.put_record(StreamName="it", Data=b"new", PartitionKey="n")
        self.assertEqual([r["Data"] for r in k.get_records(ShardIterator=latest)["Records"]], [b"new"])
        self.t.restart()
        self.k = self.t.client("kinesis")
        self.assertEqual(self.read("it", kind="AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[19])[0], [b"new"])
        self.assertGreater(self.k.put_record(StreamName="it", Data=b"x", PartitionKey="n")["SequenceNumber"], numbers[19])

    def test_reshard(self):
        k = self.k
        k.create_stream(StreamName="re", ShardCount=2)
        first, second = k.list_shards(StreamName="re")["Shards"]
        self.assertEqual((first["HashKeyRange"]["StartingHashKey"], second["HashKeyRange"]["EndingHashKey"]), ("0", str(2**128 - 1)))
        self.assertEqual(int(first["HashKeyRange"]["EndingHashKey"]) + 1, int(second["HashKeyRange"]["StartingHashKey"]))
        for data, hash_key in (b"low", "0"), (b"high", str(2**128 - 1)):
            k.put_record(StreamName="re", Data=data, PartitionKey="k", ExplicitHashKey=hash_key)
        k.split_shard(StreamName="re", ShardToSplit=first["ShardId"], NewStartingHashKey="5000")
        put = k.put_record(StreamName="re", Data=b"later", PartitionKey="k", ExplicitHashKey="4999")
        self.assertEqual(put["ShardId"], "shardId-000000000002")
        data, last = self.read("re", first["ShardId"])
        self.assertEqual(data, [b"low"])
        self.assertEqual([(s["ShardId"], s["ParentShards"]) for s in last["ChildShards"]],
                         [("shardId-000000000002", [first["ShardId"]]), ("shardId-000000000003", [first["ShardId"]])])
        self.assertEqual(self.code(k.split_shard, StreamName="re", ShardToSplit=first["ShardId"], NewStartingHashKey="7")[0], "InvalidArgumentException")
        self.assertEqual(self.code(k.merge_shards, StreamName="re", ShardToMerge=second["ShardId"],
                                   AdjacentShardToMerge="shardId-000000000002")[0], "InvalidArgumentException")
        k.merge_shards(StreamName="re", ShardToMerge="shardId-000000000003", AdjacentShardToMerge=second["ShardId"])
        shards = {s["ShardId"][-1]: s for s in k.list_shards(StreamName="re")["Shards"]}
        self.assertEqual((shards["4"]["ParentShardId"], shards["4"]["AdjacentParentShardId"]), ("shardId-000000000003", second["ShardId"]))
        self.assertEqual([i for i, s in shards.items() if "EndingSequenceNumber" in s["SequenceNumberRange"]], ["0", "1", "3"])
        for kind, expected in ("AT_LATEST", "24"), ("AT_TRIM_HORIZON", "01"), ("FROM_TRIM_HORIZON", "01234"):
            found = k.list_shards(StreamName="re", ShardFilter={"Type": kind})["Shards"]
            self.assertEqual("".join(s["ShardId"][-1] for s in found), expected, kind)
        page = k.list_shards(StreamName="re", MaxResults=3)
        self.assertEqual("".join(s["ShardId"][-1] for s in k.list_shards(NextToken=page["NextToken"])["Shards"]), "34")
        self.assertEqual(k.update_shard_count(StreamName="re", TargetShardCount=4, ScalingType="UNIFORM_SCALING")["CurrentShardCount"], 2)
        summary = k.describe_stream_summary(StreamName="re")["StreamDescriptionSummary"]
        self.assertEqual((summary["OpenShardCount"], summary["StreamStatus"]), (4, "ACTIVE"))
        self.assertEqual(len(k.describe_stream(StreamName="re", Limit=8)["StreamDescription"]["Shards"]), 8)

    def test_what_is_wrong(self):
        k = self.k
        k.create_stream(StreamName="wrong", StreamModeDetails={"StreamMode": "ON_DEMAND"})
        self.assertEqual(k.describe_stream_summary(StreamName="wrong")["StreamDescriptionSummary"]["OpenShardCount"], 4)
        at = self.iterator("wrong")
        cases = [
            (k.create_stream, {"StreamName": "wrong", "ShardCount": 1}, "ResourceInUseException", "Stream wrong under account 000000000000 already exists."),
            (k.create_stream, {"StreamName": "new", "ShardCount": 501}, "LimitExceededException", "from 1 to 500"),
            (k.describe_stream, {"StreamName": "none"}, "ResourceNotFoundException", "Stream none under account 000000000000 not found."),
            (k.put_record, {"StreamName": "wrong", "Data": b"x" * 1048577, "PartitionKey": "k"}, "InvalidArgumentException", "1048576"),
            (k.put_record, {"StreamName": "wrong", "Data": b"x", "PartitionKey": "k" * 257}, "InvalidArgumentException", "1 to 256"),
            (k.put_record, {"StreamName": "wrong", "Data": b"x", "PartitionKey": "k", "ExplicitHashKey": str(2**128)}, "InvalidArgumentException", "2^128-1"),
            (k.put_records, {"StreamName": "wrong", "Records": [{"Data": b"", "PartitionKey": "k"}] * 501}, "ValidationException", "500"),
            (k.get_records, {"ShardIterator": "bm9uZQ=="}, "InvalidArgumentException", "Invalid ShardIterator."),
            (k.get_records, {"ShardIterator": "!" + at}, "InvalidArgumentException", "Invalid ShardIterator."),
            (k.get_shard_iterator, {"StreamName": "wrong", "ShardId": "shardId-000000000009", "ShardIteratorType": "LATEST"},
             "ResourceNotFoundException", "shardId-000000000009"),
            (k.get_shard_iterator, {"StreamName": "wrong", "ShardId": "shardId-000000000000", "ShardIteratorType": "AT_SEQUENCE_NUMBER",
                                    "StartingSequenceNumber": "17"}, "InvalidArgumentException", "17"),
            (k.increase_stream_retention_period, {"StreamName": "wrong", "RetentionPeriodHours": 8761}, "InvalidArgumentException", "8760"),
            (k.decrease_stream_retention_period, {"StreamName": "wrong", "RetentionPeriodHours": 23}, "InvalidArgumentException", "24"),
            (k.decrease_stream_retention_period, {"StreamName": "wrong", "RetentionPeriodHours": 48}, "InvalidArgumentException", "IncreaseRetentionPeriod"),
        ]
        for call, arguments, code, words in cases:
            found = self.code(call, **arguments)
            self.assertEqual(found[0], code, found[1])
            self.assertIn(words, found[1])
        self.assertEqual(self.read("wrong")[0], [])
        k.increase_stream_retention_period(StreamName="wrong", RetentionPeriodHours=48)
        self.assertEqual(k.describe_stream(StreamName="wrong")["StreamDescription"]["RetentionPeriodHours"], 48)
        big = k.put_records(StreamName="wrong", Records=[{"Data": os.urandom(1048000), "PartitionKey": str(i)} for i in range(4)])
        self.assertEqual(len(big["Records"]), 4)
        k.delete_stream(StreamName="wrong")
        self.assertEqual(self.code(k.get_records, ShardIterator=at)[0], "ResourceNotFoundException")

    def test_javascript(self):
        answer = self.t.node(self, """
            const AWS = require("aws-sdk");
            const k = new AWS.Kinesis({endpoint: process.env.ENDPOINT, maxRetries: 0});
            (async () => {
                await k.createStream({StreamName: "js", ShardCount: 1}).promise();
                const put = await k.putRecord({StreamName: "js", Data: Buffer.from("from js"), PartitionKey: "k"}).promise();
                const it = await k.getShardIterator({StreamName: "js", ShardId: put.ShardId, ShardIteratorType: "TRIM_HORIZON"}).promise();
                const got = await k.getRecords({ShardIterator: it.ShardIterator}).promise();
                const none = await k.describeStream({StreamName: "nope"}).promise().catch(e => e.code);
                console.log(JSON.stringify([got.Records[0].Data.toString(), got.Records[0].ApproximateArrivalTimestamp > 0, none]));
            })();""")
        self.assertEqual(answer, ["from js", True, "ResourceNotFoundException"])


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Time(unittest.TestCase):
    def test_what_expires(self):
        t = tandem.Tandem("--auth", "none")  # clients do not follow the clock
        self.addCleanup(t.close)
        t.start()
        k = t.client("kinesis")
        t.clock(stop=1)
        self.addCleanup(t.clock, resume=1)
        k.create_stream(StreamName="s", ShardCount=1)
        k.put_record(StreamName="s", Data=b"old", PartitionKey="k")
        at = k.get_shard_iterator(StreamName="s", ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        t.clock(step_us=301000000)
        with self.assertRaises(k.exceptions.ExpiredIteratorException):
            k.get_records(ShardIterator=at)


if __name__ == "__main__":
    unittest.main()
