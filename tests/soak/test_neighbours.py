# SPDX-License-Identifier: Apache-2.0
"""
One slow or failing consumer never delays another. One function does not come to an end until it is told to, another one fails; a third
is given all that it is to be given meanwhile: by queues, the shards of a stream, subscriptions, rules, notifications, schedules, as events
and by itself. The same for S3 clients that do not read what they asked for, or stall in the middle of an upload.
"""
import json
import os
import socket
import sys
import tempfile
import unittest
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
import tandem

WAIT_S = 120 * tandem.SLOW
CODE = tandem.WAIT_WHILE_HELD + """
import base64, json


def names(event):
    for r in event.get("Records", []):
        if "kinesis" in r:
            yield base64.b64decode(r["kinesis"]["data"]).decode()
        elif "s3" in r:
            yield "object " + r["s3"]["object"]["key"]
        else:
            yield r["body"] if "body" in r else r["Sns"]["Message"]
    if "detail" in event:
        yield event["detail"]["name"]
    elif "name" in event:
        yield event["name"]


def handler(event, context):
    what = list(names(event))
    for name in what:
        print("SAW " + name)
    if context.function_name == "bad":
        raise ValueError("no")
    if context.function_name == "slow" or "stuck" in what:
        wait_while_held()
"""
WHO = ("slow", "bad", "good")
ROUNDS = 2
CALLERS = 48
BODY = os.urandom(1 << 20) * 4


def manifest():
    doc = {"name": "neighbours", "buckets": {"box": {}}, "streams": {"clicks": {"shards": 2}}, "topics": {"news": {}}, "queues": {"heard": {}}, "functions": {}}
    for who in WHO:
        doc["queues"][who] = {"visibility": "30m"}
        doc["functions"][who] = {
            "code": ".", "runtime": "python3.11", "handler": "app.handler", "memory": 128, "timeout": "15m",
            "on": [{"queue": who}, {"stream": "clicks", "from": "start", "batch": 1}, {"topic": "news"}, {"event": {"source": ["neighbours"]}}, {"bucket": "box"}]}
    return doc


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Neighbours(unittest.TestCase):
    def setUp(self):
        self.t = self.enterContext(tandem.Tandem())

    def saw(self, name):
        return {line.partition("SAW ")[2] for line in self.t.cli("logs", name, "-n", "1000").splitlines() if "SAW " in line}

    def wait_saw(self, name, what):
        tandem.wait_for(lambda: what <= self.saw(name), WAIT_S, lambda: f"{name} has not seen {what - self.saw(name)}")

    def ask(self, n):
        """Each asks for all of them, the slow one first. What each function is to see."""
        sqs, schedules = self.t.client("sqs"), self.t.client("scheduler")
        for who in WHO:
            sqs.send_message(QueueUrl=f"{self.t.api}/000000000000/{who}", MessageBody=f"message {n}")
            self.t.client().invoke(FunctionName=who, InvocationType="Event", Payload=json.dumps({"name": f"call {n}"}))
            schedules.create_schedule(Name=f"{who}-{n}", ScheduleExpression="rate(1 day)", FlexibleTimeWindow={"Mode": "OFF"}, Target={
                "Arn": "arn:aws:lambda:us-east-1:000000000000:function:" + who, "RoleArn": tandem.ROLE, "Input": json.dumps({"name": f"schedule {n}"})})
        for shard, key in enumerate(("0", str(1 << 127))):
            self.t.client("kinesis").put_record(StreamName="clicks", PartitionKey="k", ExplicitHashKey=key, Data=f"record {shard} {n}".encode())
        self.t.client("sns").publish(TopicArn="arn:aws:sns:us-east-1:000000000000:news", Message=f"news {n}")
        self.t.client("events").put_events(Entries=[{"Source": "neighbours", "DetailType": "d", "Detail": json.dumps({"name": f"event {n}"})}])
        self.t.client("s3").put_object(Bucket="box", Key=f"k{n}", Body=b"x")
        return {f"{what} {n}" for what in ("message", "call", "schedule", "record 0", "record 1", "news", "event")} | {f"object k{n}"}

    def up(self):
        with tempfile.TemporaryDirectory(prefix="tandem-neighbours-") as folder:
            for name, text in (("app.py", CODE), ("tandem.yaml", json.dumps(manifest()))):
                with open(f"{folder}/{name}", "w", encoding="ascii") as f:
                    f.write(text)
            self.t.cli("up", cwd=folder)
        self.go = tandem.held(self.t)
        self.addCleanup(self.go)
        heard = "arn:aws:sqs:us-east-1:000000000000:heard"
        self.t.client("sns").subscribe(TopicArn="arn:aws:sns:us-east-1:000000000000:news", Protocol="sqs", Endpoint=heard)

    def test_a_slow_and_a_failing_function(self):
        self.up()
        expected = set()
        for n in range(ROUNDS):
            expected |= self.ask(n)
            self.wait_saw("good", expected)  # nothing has come to an end at the slow one
        self.assertEqual(self.t.client("lambda").invoke(FunctionName="good")["StatusCode"], 200)
        heard = []
        sqs = self.t.client("sqs", read_timeout=60)
        while len(heard) < ROUNDS:
            heard += sqs.receive_message(QueueUrl=f"{self.t.api}/000000000000/heard", WaitTimeSeconds=20).get("Messages", [])
        self.assertEqual({json.loads(m["Body"])["Message"] for m in heard}, {f"news {n}" for n in range(ROUNDS)})
        first = {x for x in expected if not x.startswith("record") or x.endswith(" 0")}  # behind them the shard waits
        self.wait_saw("slow", first)
        self.wait_saw("bad", first)
        self.assertEqual([r for r in self.calls("slow") if r["outcome"] == "ok"], [])
        self.go()
        self.wait_saw("slow", expected)
        tandem.wait_for(lambda: len(self.calls("slow")) == len(expected), WAIT_S, lambda: self.calls("slow"))
        self.assertEqual({r["outcome"] for r in self.calls("slow")}, {"ok"})

    def calls(self, name):
        rows = json.loads(self.t.cli("cost", "--by", "rows", "--workload", "neighbours/" + name, "-o", "json"))["rows"]
        return [r for r in rows if r["kind"] == "invoke"]

    def test_a_shard_that_is_stuck(self):
        """Of one mapping: the other shard goes on."""
        self.up()
        put = self.t.client("kinesis").put_record
        for data in ("stuck", "behind"):
            put(StreamName="clicks", PartitionKey="k", ExplicitHashKey="0", Data=data.encode())
        self.wait_saw("good", {"stuck"})
        for n in range(5):
            put(StreamName="clicks", PartitionKey="k", ExplicitHashKey=str(1 << 127), Data=f"other {n}".encode())
        self.wait_saw("good", {f"other {n}" for n in range(5)})
        self.assertNotIn("behind", self.saw("good"))
        self.go()
        self.wait_saw("good", {"behind"})

    def connect(self, method, key, length=0):
        """A request whose signature is in its URL, with its head sent."""
        url = urllib.parse.urlsplit(self.s3.generate_presigned_url(method + "_object", Params={"Bucket": "big", "Key": key}))
        s = socket.socket()
        self.addCleanup(s.close)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.settimeout(WAIT_S)
        s.connect((url.hostname, url.port))
        s.sendall(f"{method.upper()} {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: close\r\n"
                  f"Content-Length: {length}\r\n\r\n".encode())
        return s

    def rest(self, s):
        with s.makefile("rb") as f:
            return f.readline().split()[1], f.read().partition(b"\r\n\r\n")[2]

    def test_clients_that_stall(self):
        self.s3 = self.t.client("s3", s3={"addressing_style": "path"})
        self.s3.create_bucket(Bucket="big")
        self.s3.put_object(Bucket="big", Key="read", Body=BODY)
        self.t.clock(stop=1)  # nobody is too slow by a clock that stands
        self.addCleanup(self.t.clock, resume=1)
        before = self.memory()
        readers = [self.connect("get", "read") for _ in range(CALLERS)]
        for s in readers:
            self.assertEqual(s.recv(12), b"HTTP/1.1 200")
        writers = [self.connect("put", f"written {i}", len(BODY)) for i in range(CALLERS)]
        for s in writers:
            s.sendall(BODY[:len(BODY) // 2])
        for n in range(20):
            self.s3.put_object(Bucket="big", Key=f"other {n}", Body=BODY[:100000])
            self.assertEqual(self.s3.get_object(Bucket="big", Key=f"other {n}")["Body"].read(), BODY[:100000])
        keys = [o["Key"] for o in self.s3.list_objects_v2(Bucket="big")["Contents"]]
        self.assertEqual([k for k in keys if k.startswith("written")], [])
        if os.path.basename(tandem.BUILD) != "san":
            self.assertLess(self.memory() - before, CALLERS * len(BODY) // 4, "memory for what is not read, or not whole")
        for s in readers:
            with s.makefile("rb") as f:
                self.assertEqual(f.read().partition(b"\r\n\r\n")[2], BODY)
        for i, s in enumerate(writers):
            s.sendall(BODY[len(BODY) // 2:])
            self.assertEqual(self.rest(s)[0], b"200")
            self.assertEqual(self.s3.get_object(Bucket="big", Key=f"written {i}")["Body"].read(), BODY)

    def memory(self):
        return int(tandem.status_of(tandem.daemon_of(self.t.pid))["VmRSS"].split()[0]) * 1024


if __name__ == "__main__":
    unittest.main()
