# SPDX-License-Identifier: Apache-2.0
"""
A full disk, one that fails, and a clock that somebody sets: what cannot be kept is refused by its name, nothing that was accepted is lost,
and all goes on without help.
"""
import errno
import json
import mmap
import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import unittest

import botocore.exceptions

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
import tandem

WAIT_S = 120 * tandem.SLOW
ARN = "arn:aws:{}:us-east-1:000000000000:{}"
IO_ERROR = "I/O error|Input/output error"
HOUR_US = 3600 * 1000000
MANIFEST = """\
name: faults
buckets: {things: {}}
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
    program = tandem.PROGRAM

    def setUp(self):
        self.t = tandem.Tandem(*self.arguments, state=self.state)
        self.t.program = self.program
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
        self.sqs, self.lam, self.kinesis, self.events, self.schedules, self.s3 = (
            self.t.client(s) for s in ("sqs", "lambda", "kinesis", "events", "scheduler", "s3"))

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


class Kinds(Base):
    """All that can be asked to be kept; what was accepted is looked for at the end."""

    def setUp(self):
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
            "object": lambda x: self.s3.put_object(Bucket="things", Key=x.partition(" ")[0], Body=self.bytes_of(x)),
            "call": lambda x: self.lam.invoke(FunctionName="works", InvocationType="Event", Payload=json.dumps(x)),
            "schedule": lambda x: self.schedules.create_schedule(
                Name="s" + x.partition(" ")[0], ScheduleExpression="rate(1 day)", FlexibleTimeWindow={"Mode": "OFF"},
                Target={"Arn": ARN.format("sqs", "ticks"), "RoleArn": tandem.ROLE, "Input": json.dumps(x)}),
        }
        self.accepted = {kind: [] for kind in self.kinds}
        self.refused = {}

    @staticmethod
    def bytes_of(text):
        """More than stays in the database."""
        return text.encode() * 40

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

    def until_refused(self, name, kinds, pattern, before=lambda: None):
        """What goes on in the background writes as well, and may free what it wrote: until each kind was refused."""
        self.refused.clear()
        n = 0
        while not kinds <= set(self.refused) and n < 20000:
            before()
            for kind in kinds:
                self.ask(kind, f"{name}{kind[0]}{n}")
                n += 1
        self.assertLessEqual(kinds, set(self.refused))
        for kind, text in self.refused.items():
            self.assertRegex(text, pattern, kind)

    def until_accepted(self, name):
        for kind in self.kinds:
            tandem.wait_for(lambda k=kind: self.ask(k, name), WAIT_S, lambda: self.refused)

    def get(self, text):
        return self.s3.get_object(Bucket="things", Key=text.partition(" ")[0])["Body"].read()

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
        seen["object"].update(x for x in self.accepted["object"] if x not in seen["object"] and self.get(x) == self.bytes_of(x))
        left = {kind: [x.partition(" ")[0] for x in accepted if x not in seen[kind]] for kind, accepted in self.accepted.items() if kind != "jobs"}
        if any(self.counts("jobs")):
            left["jobs"] = self.counts("jobs")
        return {kind: what for kind, what in left.items() if what}

    def all_found(self):
        seen = {kind: set() for kind in self.kinds}

        def found():
            missing = self.missing(seen)
            if missing and self.nothing_runs():
                self.t.clock(step_us=10000000)
            return not missing

        tandem.wait_for(found, WAIT_S, lambda: self.missing(seen), pause_s=0.1)

    def kill(self):
        old = tandem.daemon_of(self.t.pid)
        os.kill(old, signal.SIGKILL)
        return old


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class FullDisk(Kinds):
    def setUp(self):
        self.disk = tempfile.mkdtemp(prefix="tandem-full-")
        self.addCleanup(os.rmdir, self.disk)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "full", self.disk], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", self.disk], check=True)
        self.state = self.disk + "/state"
        super().setUp()

    def fill(self):
        with open(f"{self.disk}/other", "ab", buffering=0) as f:
            try:
                while True:
                    f.write(bytes(4096))
            except OSError as e:
                self.assertEqual(e.errno, errno.ENOSPC)

    def until_full(self, name):
        self.until_refused(name, set(self.kinds), "disk|space|full", self.fill)

    def test_full(self):
        self.until_accepted("first")
        reserve = f"{self.t.state}/daemon/reserve"
        tandem.wait_for(lambda: os.path.exists(reserve) and os.stat(reserve).st_size == 1 << 20, WAIT_S)
        self.until_full("a")
        old = self.kill()
        tandem.wait_for(lambda: tandem.daemon_of(self.t.pid) not in (None, old), WAIT_S)
        self.connect()
        self.until_full("b")
        os.unlink(f"{self.disk}/other")
        self.until_accepted("again")
        # What was received when the disk became full is seen again after its time, and what failed then is tried again after a minute.
        self.all_found()


@unittest.skipUnless(os.geteuid() == 0, "needs root")
@unittest.skipIf(os.path.basename(tandem.BUILD) == "san", "nothing may be loaded before a sanitizer")
class FailingDisk(Kinds):
    """faults.c is in tandemd, and keeps what a power cut would leave."""
    WRITE, SYNC, READ = range(3)
    ALWAYS = 1 << 30

    def setUp(self):
        folder = tempfile.mkdtemp(prefix="tandem-failing-")
        self.addCleanup(shutil.rmtree, folder)
        os.chmod(folder, 0o755)
        subprocess.run(["cp", "-aL", *(f"{tandem.BUILD}/{name}" for name in (
            "tandem", "tandem-init", "tandem-net", "tandem-spawner", "tandem-unpack", "init", "shim", "spec")), folder], check=True)
        os.mkdir(f"{folder}/real")
        shutil.copy2(f"{tandem.BUILD}/tandemd", f"{folder}/real/tandemd")
        with open(f"{folder}/tandemd", "w", encoding="ascii") as f:
            f.write("#!/bin/sh\nexec env LD_PRELOAD=./faults.so real/tandemd\n")
        os.chmod(f"{folder}/tandemd", 0o755)
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "faults.c")
        subprocess.run(["cc", "-std=gnu11", "-O1", "-shared", "-fPIC", "-o", f"{folder}/faults.so", source], check=True)
        self.disk = f"{folder}/disk"
        os.mkdir(self.disk)
        os.chmod(self.disk, 0o777)
        self.program = f"{folder}/tandem"
        super().setUp()
        with open(f"{self.disk}/control", "r+b") as f:
            self.control = mmap.mmap(f.fileno(), 0)
        self.addCleanup(self.control.close)
        self.addCleanup(self.works)

    def fails(self, what, part, times=ALWAYS):
        """What is of WRITE, SYNC or READ, of files with part in their path."""
        self.works()
        struct.pack_into("64s", self.control, 24, part.encode())
        struct.pack_into("=i", self.control, 12 + 4 * what, 0)
        struct.pack_into("=i", self.control, 4 * what, times)

    def failed(self, what):
        return struct.unpack_from("=i", self.control, 12 + 4 * what)[0]

    def works(self):
        struct.pack_into("=3i", self.control, 0, 0, 0, 0)

    def log(self):
        with open(self.t.log_path, encoding="utf-8") as f:
            return f.read()

    def on_disk(self):
        """What of accepted messages a power cut would leave."""
        daemon = tandem.daemon_of(self.t.pid)
        os.kill(daemon, signal.SIGSTOP)
        with tempfile.TemporaryDirectory(prefix="tandem-cut-") as folder:
            for name in ("tandem.db", "tandem.db-wal"):
                shutil.copy(f"{self.disk}/{name}", folder)
            os.kill(daemon, signal.SIGCONT)
            db = sqlite3.connect(f"{folder}/tandem.db")
            self.assertEqual(db.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
            there = {body for body, in db.execute("SELECT body FROM message")}
            db.close()
        self.assertEqual([x.partition(" ")[0] for x in self.accepted["kept"] if x not in there], [])

    def test_errors(self):
        all_kinds = set(self.kinds)
        self.until_accepted("first")
        for what, part, kinds in ((self.WRITE, "/tandem.db", all_kinds), (self.SYNC, "/tandem.db", all_kinds), (self.WRITE, "/objects/", {"object"}),
                                  (self.SYNC, "/objects", {"object"}), (self.WRITE, "/daemon/", all_kinds), (self.SYNC, "/daemon/", all_kinds)):
            with self.subTest(what=what, part=part):
                daemon = tandem.daemon_of(self.t.pid)
                name = f"{what}{part.strip('/')}".replace(".", "-").replace("/", "-")
                self.fails(what, part)
                self.until_refused(name, kinds, IO_ERROR)
                if kinds != all_kinds:
                    self.assertTrue(self.ask("kept", name + "beside"), self.refused)
                self.works()
                self.until_accepted(name + "again")
                self.on_disk()
                self.assertEqual(tandem.daemon_of(self.t.pid), daemon)
        for said in ("what comes is refused", "what comes is kept again"):
            self.assertEqual(self.log().count(said), 4)
        self.all_found()

    def test_what_a_failed_sync_forgets(self):
        """A receive is not synced, so that only the next send hears that it could not be."""
        kept = {"QueueUrl": self.url("kept"), "VisibilityTimeout": 0}
        for n in range(20):
            self.assertTrue(self.ask("kept", f"first{n}"), self.refused)
        self.assertEqual(len(self.sqs.receive_message(**kept)["Messages"]), 1)
        self.fails(self.SYNC, "/tandem.db-wal", 1)
        self.ask("kept", "heard")
        self.assertEqual(self.failed(self.SYNC), 1)
        self.assertTrue(self.ask("kept", "behind"), self.refused)
        self.on_disk()
        # And when what failed was the sync before the log goes into the database, of which nobody hears.
        self.fails(self.SYNC, "/tandem.db-wal", 1)
        while not self.failed(self.SYNC):
            self.assertEqual(len(self.sqs.receive_message(**kept)["Messages"]), 1)
        self.assertTrue(self.ask("kept", "after"), self.refused)
        self.on_disk()

    def test_killed_meanwhile(self):
        """What its log has is not on the disk for that; and it does not come up as long as the disk fails."""
        self.until_accepted("first")
        self.fails(self.SYNC, "/daemon/")
        self.until_refused("a", set(self.kinds), IO_ERROR)
        old = self.kill()
        self.works()
        tandem.wait_for(lambda: tandem.daemon_of(self.t.pid) not in (None, old), WAIT_S)
        self.connect()
        self.until_accepted("second")
        self.on_disk()
        for what in (self.WRITE, self.READ):
            ends = self.log().count("tandemd is gone (exit")
            self.fails(what, "/daemon/")
            self.kill()
            tandem.wait_for(lambda: self.log().count("tandemd is gone (exit") > ends + 1, WAIT_S)  # pylint: disable=cell-var-from-loop
            self.works()
            self.connect()
            self.until_accepted(f"third{what}")
            self.on_disk()
        self.all_found()

    def test_reading(self):
        self.until_accepted("first")
        daemon = tandem.daemon_of(self.t.pid)
        for n, part in enumerate(("/objects/", "/daemon/")):
            self.fails(self.READ, part)
            with self.assertRaises((botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError)) as raised:
                self.get(self.accepted["object"][0])  # its answer may have begun
            if isinstance(raised.exception, botocore.exceptions.ClientError):
                self.assertRegex(str(raised.exception), IO_ERROR)
            for kind in self.kinds:  # some need no reading
                if not self.ask(kind, f"{n}meanwhile"):
                    self.assertRegex(self.refused[kind], IO_ERROR, kind)
            self.works()
            self.until_accepted(f"{n}again")
        self.assertEqual(tandem.daemon_of(self.t.pid), daemon)
        self.all_found()


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
