# SPDX-License-Identifier: Apache-2.0
"""
A full disk, and a clock that somebody sets: what cannot be kept is refused by its name, nothing that was accepted is lost, and all goes
on without help.
"""
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest

import botocore.exceptions

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
import tandem

WAIT_S = 120 * tandem.SLOW
ARN = "arn:aws:{}:us-east-1:000000000000:{}"
HOUR_US = 3600 * 1000000
MANIFEST = """\
name: faults
queues: {jobs: {visibility: 30s}, kept: {}, told: {}, done: {}, ticks: {}, failed: {}}
streams: {clicks: {}}
buses: {orders: {}}
functions:
  works: {code: ., runtime: python3.11, handler: app.handler, timeout: 20s, on: [{queue: jobs}], on_success: queue done}
  fails: {code: ., runtime: python3.11, handler: app.fails, timeout: 20s, on_failure: queue failed}
"""
CODE = "def handler(event, context):\n    return event\n\n\ndef fails(event, context):\n    raise ValueError('no')\n"


class Base(unittest.TestCase):
    arguments = ("--auth", "none")  # signatures are of the true time
    state = None

    def setUp(self):
        self.t = tandem.Tandem(*self.arguments, state=self.state)
        if self.state:
            self.t.log_path = os.path.dirname(self.state) + ".log"  # on another disk
            self.addCleanup(os.unlink, self.t.log_path)
        self.addCleanup(self.t.close)
        self.t.start()
        with tempfile.TemporaryDirectory(prefix="tandem-faults-") as folder:
            for name, text in (("app.py", CODE), ("tandem.yaml", MANIFEST)):
                with open(f"{folder}/{name}", "w", encoding="ascii") as f:
                    f.write(text)
            self.t.cli("up", cwd=folder)
        self.connect()

    def connect(self):
        self.sqs, self.lam, self.kinesis, self.events, self.schedules = (
            self.t.client(s) for s in ("sqs", "lambda", "kinesis", "events", "scheduler"))

    def nothing_runs(self):
        """That would be out of time when the clock is stepped."""
        return all(i["state"] in ("idle", "frozen", "preparing") for i in json.loads(self.t.cli("ps", "-o", "json"))["instances"])

    def url(self, queue):
        return f"{self.t.api}/000000000000/{queue}"

    def take(self, queue, seen):
        """What can be received now is added to seen, and taken out."""
        while got := self.sqs.receive_message(QueueUrl=self.url(queue), MaxNumberOfMessages=10).get("Messages", []):
            for m in got:
                seen.append(m["Body"])
                self.sqs.delete_message(QueueUrl=self.url(queue), ReceiptHandle=m["ReceiptHandle"])
        return seen

    def counts(self, queue):
        a = self.sqs.get_queue_attributes(QueueUrl=self.url(queue), AttributeNames=["All"])["Attributes"]
        return tuple(int(a["ApproximateNumberOfMessages" + k]) for k in ("", "NotVisible", "Delayed"))


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class FullDisk(Base):
    def setUp(self):
        self.disk = tempfile.mkdtemp(prefix="tandem-full-")
        self.addCleanup(os.rmdir, self.disk)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "full", self.disk], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", self.disk], check=True)
        self.state = self.disk + "/state"
        super().setUp()
        rule = {"Name": "r", "EventBusName": "orders"}
        self.events.put_rule(EventPattern='{"source": ["faults"]}', **rule)
        self.events.put_targets(Rule="r", EventBusName="orders", Targets=[{"Id": "1", "Arn": ARN.format("sqs", "told")}])
        self.kinds = {
            "kept": lambda x: self.sqs.send_message(QueueUrl=self.url("kept"), MessageBody=x),
            "jobs": lambda x: self.sqs.send_message(QueueUrl=self.url("jobs"), MessageBody=x),
            "event": lambda x: self.events.put_events(Entries=[{"EventBusName": "orders", "Source": "faults", "DetailType": "d",
                                                                "Detail": json.dumps({"x": x})}]),
            "record": lambda x: self.kinesis.put_record(StreamName="clicks", PartitionKey="k", Data=x.encode()),
            "call": lambda x: self.lam.invoke(FunctionName="works", InvocationType="Event", Payload=json.dumps(x)),
            "schedule": lambda x: self.schedules.create_schedule(
                Name="s" + x.partition(" ")[0], ScheduleExpression="rate(1 day)", FlexibleTimeWindow={"Mode": "OFF"},
                Target={"Arn": ARN.format("sqs", "ticks"), "RoleArn": tandem.ROLE, "Input": json.dumps(x)}),
        }
        self.accepted = {kind: [] for kind in self.kinds}
        self.refused = {}

    def fill(self):
        with open(f"{self.disk}/other", "ab", buffering=0) as f:
            try:
                while True:
                    f.write(bytes(4096))
            except OSError as e:
                self.assertEqual(e.errno, errno.ENOSPC)

    def ask(self, kind, name):
        """Whether it was accepted."""
        text = name + " " + "x" * 2000
        try:
            answer = self.kinds[kind](text)
        except botocore.exceptions.ClientError as e:
            self.assertGreaterEqual(e.response["ResponseMetadata"]["HTTPStatusCode"], 500, f"{kind}: {e}")
            self.refused[kind] = str(e)
            return False
        except botocore.exceptions.HTTPClientError:  # tandemd was killed
            return False
        for entry in answer.get("Entries", []):
            if "ErrorCode" in entry:
                self.refused[kind] = f"{entry['ErrorCode']}: {entry['ErrorMessage']}"
                return False
        self.accepted[kind].append(text)
        return True

    def until_refused(self, name):
        """What goes on in the background writes as well, and may free what it wrote: until each kind was refused."""
        self.refused.clear()
        n = 0
        while set(self.refused) != set(self.kinds) and n < 20000:
            self.fill()
            for kind in self.kinds:
                self.ask(kind, f"{name}{kind[0]}{n}")
                n += 1
        self.assertEqual(set(self.refused), set(self.kinds))
        for kind, text in self.refused.items():
            self.assertRegex(text, "disk|space|full", kind)

    def missing(self, seen):
        """Of what was accepted, what has not had its effect."""
        for queue, kind in (("kept", "kept"), ("told", "event"), ("ticks", "schedule"), ("done", "call")):
            for body in self.take(queue, []):
                j = json.loads(body) if kind != "kept" else body
                seen[kind].add(j["detail"]["x"] if kind == "event" else j["requestPayload"] if kind == "call" else j)
        shard = self.kinesis.list_shards(StreamName="clicks")["Shards"][0]["ShardId"]
        at = self.kinesis.get_shard_iterator(StreamName="clicks", ShardId=shard, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        while records := (answer := self.kinesis.get_records(ShardIterator=at))["Records"]:
            seen["record"].update(r["Data"].decode() for r in records)
            at = answer["NextShardIterator"]
        left = {kind: [x.partition(" ")[0] for x in accepted if x not in seen[kind]] for kind, accepted in self.accepted.items() if kind != "jobs"}
        if any(self.counts("jobs")):
            left["jobs"] = self.counts("jobs")
        return {kind: what for kind, what in left.items() if what}

    def test_full(self):
        for kind in self.kinds:
            self.assertTrue(self.ask(kind, "first"), self.refused)
        reserve = f"{self.t.state}/daemon/reserve"
        tandem.wait_for(lambda: os.path.exists(reserve) and os.stat(reserve).st_size == 1 << 20, WAIT_S)
        self.until_refused("a")
        old = tandem.daemon_of(self.t.pid)
        os.kill(old, signal.SIGKILL)
        tandem.wait_for(lambda: tandem.daemon_of(self.t.pid) not in (None, old), WAIT_S)
        self.connect()
        self.until_refused("b")
        os.unlink(f"{self.disk}/other")
        for kind in self.kinds:
            tandem.wait_for(lambda k=kind: self.ask(k, "again"), WAIT_S, lambda: self.refused)
        seen = {kind: set() for kind in self.kinds}
        # What was received when the disk became full is seen again after its time, and what failed then is tried again after a minute.

        def found():
            missing = self.missing(seen)
            if missing and self.nothing_runs():
                self.t.clock(step_us=10000000)
            return not missing

        tandem.wait_for(found, WAIT_S, lambda: self.missing(seen), pause_s=0.1)


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class ClockSet(Base):
    def setUp(self):
        super().setUp()
        self.t.clock(stop=1)
        self.addCleanup(self.t.clock, resume=1)

    def step(self, seconds):
        """Connections that were kept are idle for too long then."""
        self.t.clock(step_us=seconds * 1000000)
        self.connect()

    def failed(self, times):
        def rows():
            return [r for r in json.loads(self.t.cli("cost", "--by", "rows", "--workload", "faults/fails", "-o", "json"))["rows"]
                    if r["kind"] == "invoke"]
        tandem.wait_for(lambda: len(rows()) == times, WAIT_S, rows)
        tandem.wait_for(lambda: not [i for i in self.t.instances("fails") if i["state"] == "busy"], WAIT_S)

    def wait(self, **how):
        """What waits lasts as long as it says, and what does not wait is there."""
        sqs = self.sqs
        sqs.send_message(QueueUrl=self.url("kept"), MessageBody="received")
        self.assertEqual(len(sqs.receive_message(QueueUrl=self.url("kept"), VisibilityTimeout=60)["Messages"]), 1)
        sqs.send_message(QueueUrl=self.url("kept"), MessageBody="delayed", DelaySeconds=40)
        sqs.send_message(QueueUrl=self.url("kept"), MessageBody="there")
        self.lam.invoke(FunctionName="fails", InvocationType="Event", Payload=b"1")
        before = self.tries
        self.failed(before + 1)
        self.assertEqual(self.counts("kept"), (1, 1, 1))
        self.t.clock(**how)
        self.assertEqual(self.counts("kept"), (1, 1, 1))
        self.assertEqual(self.take("kept", []), ["there"])
        sqs.send_message(QueueUrl=self.url("kept"), MessageBody="new")
        self.assertEqual(self.take("kept", []), ["new"])
        self.step(39)
        self.assertEqual(self.take("kept", []), [])
        self.step(2)
        self.assertEqual(self.take("kept", []), ["delayed"])
        self.step(20)
        self.assertEqual(self.take("kept", []), ["received"])
        self.failed(before + 2)
        self.step(121)
        self.failed(before + 3)
        failed = []
        tandem.wait_for(lambda: self.take("failed", failed), WAIT_S)
        self.assertEqual([json.loads(x)["requestContext"]["condition"] for x in failed], ["RetriesExhausted"])
        self.tries = before + 3

    def test_set_back_and_forth(self):
        self.tries = 0
        for how in ({"back_us": 5 * HOUR_US}, {"ahead_us": 12 * HOUR_US}, {"back_us": 9 * HOUR_US}):
            with self.subTest(how):
                self.wait(**how)
        self.t.clock(ahead_us=2 * HOUR_US)  # the time that it is

    def test_a_mapping_goes_on(self):
        self.lam.put_function_concurrency(FunctionName="works", ReservedConcurrentExecutions=0)
        for n in range(5):
            self.sqs.send_message(QueueUrl=self.url("jobs"), MessageBody=str(n))
        self.t.clock(back_us=8 * HOUR_US)
        self.lam.delete_function_concurrency(FunctionName="works")

        def empty():
            if self.nothing_runs():
                self.step(30)
            return not any(self.counts("jobs"))

        tandem.wait_for(empty, WAIT_S, lambda: self.counts("jobs"), pause_s=0.1)


if __name__ == "__main__":
    unittest.main()
