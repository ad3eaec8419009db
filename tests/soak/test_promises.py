# SPDX-License-Identifier: Apache-2.0
"""
Nothing that was accepted is lost when tandemd is killed at any moment. `make soak` kills it SOAK_KILLS times (1,000), `make test` 24 times.

At least 16 requests are in flight at every moment: asynchronous calls, objects, messages, events, records, schedules. Who judges is the
client's own list of what was answered with 2xx; what came of it is counted by a program outside, which tandemd does not own and which
functions reach over a network that the test made. Then: all that was accepted has had its effect; an effect that happened twice is the
same event delivered again; order holds in each group of a FIFO queue and for each partition key of a stream; an object reads back as it
was put, and one whose put was not answered is whole or not there; no file is left that no object names.
"""
import collections
import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path[:0] = [os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), d) for d in ("e2e", "spawn")]
import net_world as net
import tandem
from spawner_driver import enter_net

KILLS = int(os.environ.get("SOAK_KILLS", "24"))
SEED = int(os.environ.get("TANDEM_TEST_SEED", random.randrange(2**32)))
LIMIT_S = 120 * tandem.SLOW
BETWEEN_KILLS = 1300  # requests, at most
ADDRESS, PORT = net.PRIVATE[0], 9000
WORKERS = 18
# One line for each effect; it is on its way to the test before the function goes on.
COLLECTOR = """
import socket, sys, threading

lock = threading.Lock()

def serve(c):
    try:
        with c, c.makefile("rb") as lines:
            for line in lines:
                with lock:
                    sys.stdout.buffer.write(line)
                    sys.stdout.buffer.flush()
                c.sendall(b"k")
    except OSError:
        pass  # its sandbox was ended

s = socket.create_server(("ADDRESS", PORT), backlog=256)
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
""".replace("ADDRESS", ADDRESS).replace("PORT", str(PORT))
CODE = """
import base64, json, socket, urllib.parse

def effects(event, request_id):
    for r in event.get("Records", []):
        source = r["eventSource"]
        if source == "aws:s3":
            yield "object-event", urllib.parse.unquote_plus(r["s3"]["object"]["key"]), request_id
        elif source == "aws:kinesis":
            yield "record", base64.b64decode(r["kinesis"]["data"]).decode(), r["kinesis"]["sequenceNumber"]
        elif r["body"].startswith("{"):
            body = json.loads(r["body"])
            for o in body.get("Records", []):
                yield "object-message", urllib.parse.unquote_plus(o["s3"]["object"]["key"]), r["messageId"]
        else:
            yield ("fifo" if "MessageGroupId" in r["attributes"] else "message"), r["body"], r["messageId"]
    if "detail" in event:
        yield "event", event["detail"]["id"], request_id
    if "id" in event and "kind" in event:
        yield event["kind"], event["id"], request_id

def handler(event, context):
    with socket.create_connection(("ADDRESS", PORT), 30) as s:
        for kind, ident, delivery in effects(event, context.aws_request_id):
            s.sendall(f"{kind} {ident} {delivery}\\n".encode())
            if s.recv(1) != b"k":
                raise OSError("the collector is gone")
""".replace("ADDRESS", ADDRESS).replace("PORT", str(PORT))
FUNCTION = {"code": "code", "runtime": "python3.11", "handler": "app.handler", "timeout": "20s", "egress": [ADDRESS + "/32"], "memory": 128}
MANIFEST = {
    "name": "promises",
    "buckets": {"objects": {}},
    "queues": {"jobs": {"visibility": "20s"}, "line.fifo": {"fifo": True, "visibility": "20s"}, "changes": {"visibility": "20s"}},
    "streams": {"clicks": {"shards": 2}},
    "functions": {
        "asked": FUNCTION,
        "told": {**FUNCTION, "on": [{"bucket": "objects", "events": ["created"]}, {"event": {"source": ["promises"]}}]},
        "batch": {**FUNCTION, "on": [{"queue": "jobs"}, {"queue": "line.fifo"}, {"queue": "changes"}, {"stream": "clicks", "from": "start"}]},
    },
}


def body_of(key):
    """Some are kept in the database, some in files."""
    n = int(hashlib.md5(key.encode()).hexdigest(), 16) % 4
    return (key.encode() + b"/") * (10, 100, 5000, 20000)[n]


class Load:
    """What clients ask for until they are told to stop, and what they were promised."""

    def __init__(self, t):
        self.t = t
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.accepted = collections.defaultdict(list)  # kind: ids, in the order in which they were answered
        self.tried = 0
        self.wrong = []
        self.puts = []  # keys, answered or not
        kinds = [self.call, self.put, self.send, self.send_in_line, self.event, self.record, self.schedule]
        self.threads = [threading.Thread(target=self.work, args=(kinds[i % len(kinds)], i), daemon=True) for i in range(WORKERS)]
        for thread in self.threads:
            thread.start()

    def work(self, ask, who):
        clients = {s: self.t.client(s, connect_timeout=5, read_timeout=30, s3={"addressing_style": "path"})
                   for s in ("lambda", "s3", "sqs", "events", "kinesis", "scheduler")}
        n = 0
        while not self.stop.is_set():
            again = ask(clients, f"{who}.{n}", who, n)
            n += not again

    def promised(self, kinds, ident, request, until=float("inf")):
        """True: it was not answered. What is answered later than until is no promise."""
        import botocore.exceptions as said  # pylint: disable=import-outside-toplevel
        with self.lock:
            self.tried += 1
        try:
            answer = request()
        except (said.HTTPClientError, said.ConnectionError):
            return True
        except said.ClientError as e:
            if e.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
                self.wrong.append(f"{kinds} {ident}: {e}")
            return True
        if answer["ResponseMetadata"]["HTTPStatusCode"] // 100 != 2 or answer.get("FailedEntryCount") or answer.get("FailedRecordCount"):
            self.wrong.append(f"{kinds} {ident}: {answer}")
        with self.lock:
            for kind in kinds if time.time() < until else []:
                self.accepted[kind].append(ident)
        return False

    def call(self, c, ident, who, n):
        event = json.dumps({"kind": "call", "id": ident})
        self.promised(["call"], ident, lambda: c["lambda"].invoke(FunctionName="asked", InvocationType="Event", Payload=event))

    def put(self, c, ident, who, n):
        with self.lock:
            self.puts.append(ident)
        self.promised(["object", "object-event"], ident, lambda: c["s3"].put_object(Bucket="objects", Key=ident, Body=body_of(ident)))

    def send(self, c, ident, who, n):
        self.promised(["message"], ident, lambda: c["sqs"].send_message(QueueUrl=self.t.api + "/000000000000/jobs", MessageBody=ident))

    def send_in_line(self, c, ident, who, n):
        """Each worker is a group; what was not answered is sent again, and counts once."""
        return self.promised(["fifo"], ident, lambda: c["sqs"].send_message(
            QueueUrl=self.t.api + "/000000000000/line.fifo", MessageBody=ident, MessageGroupId=str(who), MessageDeduplicationId=ident))

    def event(self, c, ident, who, n):
        entry = {"Source": "promises", "DetailType": "test", "Detail": json.dumps({"id": ident})}
        self.promised(["event"], ident, lambda: c["events"].put_events(Entries=[entry]))

    def record(self, c, ident, who, n):
        return self.promised(["record"], ident, lambda: c["kinesis"].put_record(StreamName="clicks", PartitionKey=str(who), Data=ident.encode()))

    def schedule(self, c, ident, who, n):
        target = {"Arn": "arn:aws:lambda:us-east-1:000000000000:function:asked", "RoleArn": tandem.ROLE,
                  "Input": json.dumps({"kind": "schedule", "id": ident})}
        at = int(time.time()) + 4  # one that was due before it was made is never due
        self.promised(["schedule"], ident, lambda: c["scheduler"].create_schedule(
            Name="s" + ident, ScheduleExpression=time.strftime("at(%Y-%m-%dT%H:%M:%S)", time.gmtime(at)), FlexibleTimeWindow={"Mode": "OFF"},
            Target=target), until=at)

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(LIMIT_S)


class Promises(unittest.TestCase):
    def setUp(self):
        self.random = random.Random(SEED)
        self.world = net.World()
        self.addCleanup(self.world.close)
        self.collector = self.world.run(self.world.internet, [sys.executable, "-c", COLLECTOR], stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.collector.stdout.close)
        self.addCleanup(self.collector.wait)
        self.addCleanup(self.collector.kill)
        self.assertEqual(self.collector.stdout.readline(), "ready\n")
        own = f"/proc/self/fd/{os.open('/proc/thread-self/ns/net', os.O_RDONLY)}"
        enter_net(self.world.host)
        self.addCleanup(enter_net, own)
        self.effects = []  # (kind, id, delivery), in the order in which they came
        threading.Thread(target=self.collect, daemon=True).start()
        folder = tempfile.mkdtemp(prefix="tandem-promises-")
        os.mkdir(folder + "/code")
        for name, text in (("code/app.py", CODE), ("tandem.yaml", json.dumps(MANIFEST))):
            with open(f"{folder}/{name}", "w", encoding="ascii") as f:
                f.write(text)
        self.t = tandem.Tandem(egress=True)
        self.t.start()
        self.addCleanup(self.t.close)
        self.t.cli("up", cwd=folder)
        self.t.client("s3", s3={"addressing_style": "path"}).put_bucket_notification_configuration(
            Bucket="objects", NotificationConfiguration={"QueueConfigurations": [
                {"QueueArn": "arn:aws:sqs:us-east-1:000000000000:changes", "Events": ["s3:ObjectCreated:*"]}]})

    def collect(self):
        for line in self.collector.stdout:
            self.effects.append(tuple(line.split()))

    def missing(self, load):
        seen = collections.defaultdict(set)
        for kind, ident, _ in list(self.effects):
            seen[kind].add(ident)
        seen["object"] = set(load.puts)
        lost = {kind: [i for i in ids if i not in seen[kind]] for kind, ids in load.accepted.items()}
        lost["object-message"] = [i for i in load.accepted["object"] if i not in seen["object-message"]]
        return {kind: ids[:5] for kind, ids in lost.items() if ids}

    def kill(self, load):
        pid = tandem.wait_for(lambda: tandem.daemon_of(self.t.pid), LIMIT_S)
        tandem.wait_for(lambda: any(not t.is_alive() for t in load.threads) or load.tried, LIMIT_S)
        # The moment is what the test is about. Who lives for some hundred requests now and then is not kept waiting to be started again.
        due = load.tried + self.random.randrange(1, BETWEEN_KILLS)
        tandem.wait_for(lambda: load.tried >= due, LIMIT_S, "nobody asks any more")
        os.kill(pid, signal.SIGKILL)
        tandem.wait_for(lambda: tandem.daemon_of(self.t.pid) not in (None, pid), LIMIT_S)

    def check_order(self, kind):
        """The first time that each of them was seen."""
        last = collections.defaultdict(lambda: -1)
        seen = set()
        for k, ident, _ in self.effects:
            if k != kind or ident in seen:
                continue
            seen.add(ident)
            who, n = map(int, ident.split("."))
            self.assertEqual(n, last[who] + 1, f"{kind} {ident} came after {who}.{last[who]}")
            last[who] = n

    def check_deliveries(self):
        """What came twice is one event that was delivered again, by the same id. Records that were not answered were put again."""
        ids = collections.defaultdict(set)
        for kind, ident, delivery in self.effects:
            if kind != "record":
                ids[kind, ident].add(delivery)
        for (kind, ident), deliveries in ids.items():
            self.assertEqual(len(deliveries), 1, f"{kind} {ident} was accepted once, and came as {deliveries}")

    def check_objects(self, load):
        s3 = self.t.client("s3", s3={"addressing_style": "path"})
        for key in load.puts:
            try:
                got = s3.get_object(Bucket="objects", Key=key)
            except s3.exceptions.NoSuchKey:
                self.assertNotIn(key, load.accepted["object"])
                continue
            body = got["Body"].read()
            self.assertEqual(body, body_of(key), key)
            self.assertEqual(got["ETag"], f'"{hashlib.md5(body).hexdigest()}"')

    def check_files(self):
        """After another start, which sweeps."""
        folder = f"{self.t.state}/daemon/objects"
        db = sqlite3.connect(f"file:{self.t.state}/daemon/tandem.db?mode=ro", uri=True)
        self.addCleanup(db.close)

        def left():
            named = {part.split(":")[0] for (files,) in db.execute("SELECT files FROM object_body WHERE files IS NOT NULL") for part in files.split()}
            return {name for _, _, names in os.walk(folder) for name in names} ^ named

        tandem.wait_for(lambda: not left(), LIMIT_S, left)

    def test_killed_at_any_moment(self):
        load = Load(self.t)
        for _ in range(KILLS):
            self.kill(load)
        # All kinds go on afterwards.
        before = {kind: len(ids) for kind, ids in list(load.accepted.items())}
        tandem.wait_for(lambda: all(len(load.accepted[kind]) > n for kind, n in before.items()), LIMIT_S, lambda: before)
        load.end()
        self.assertEqual(load.wrong, [])
        self.assertEqual(set(load.accepted), {"call", "object", "object-event", "message", "fifo", "event", "record", "schedule"})
        print(f"seed {SEED}: {KILLS} kills, {load.tried} requests, " + ", ".join(f"{len(v)} {k}" for k, v in sorted(load.accepted.items())), file=sys.stderr)
        # What was under way is seen again after its visibility timeout, or tried again after a minute.
        self.t.clock(stop=1)
        deadline = time.monotonic() + LIMIT_S
        while self.missing(load) and time.monotonic() < deadline:
            self.settle()
            self.t.clock(step_us=15000000)
        self.t.clock(resume=1)
        self.assertEqual(self.missing(load), {})
        self.check_order("fifo")
        self.check_order("record")
        self.check_deliveries()
        self.check_objects(load)
        self.t.restart()
        self.t.clock(step_us=120000000)
        self.check_files()

    def settle(self):
        """Nothing runs that would be out of time when the clock is stepped."""
        def busy():
            return [i for i in json.loads(self.t.cli("ps", "-o", "json"))["instances"] if i["state"] not in ("idle", "frozen")]

        tandem.wait_for(lambda: not busy(), LIMIT_S, busy)


if __name__ == "__main__":
    unittest.main()
