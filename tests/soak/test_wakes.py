# SPDX-License-Identifier: Apache-2.0
"""
Whatever starts a function wakes it from nothing, at the first try, however many are defined: 1 and 100; `make soak`: WAKE_WORKLOADS (5,000).
"""
import concurrent.futures
import json
import os
import sys
import tempfile
import unittest
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
import tandem

WORKLOADS = [int(n) for n in os.environ.get("WAKE_WORKLOADS", "1 100").split()]
WAIT_S = 120 * tandem.SLOW
ARN = "arn:aws:lambda:us-east-1:000000000000:function:"
CODE = "def handler(event, context):\n    return {'statusCode': 200, 'body': 'awake'}\n"
KINDS = ("invoke", "async", "route", "url", "object", "message", "line", "record", "schedule", "event", "topic")
AT_ONCE = 5  # of each kind
PROJECT = 2500  # functions of one file, which may have 4,096 keys in one place


def manifests(n):
    """Of many functions some have something that starts them, which lie far apart; one alone has everything."""
    at = {kind: [(i * len(KINDS) + k) * n // (AT_ONCE * len(KINDS)) for i in range(AT_ONCE)] if n > 1 else [0] for k, kind in enumerate(KINDS)}
    docs = [{"name": f"wakes{first // PROJECT}", "buckets": {} if first else {"box": {}}, "queues": {}, "streams": {}, "topics": {},
             "functions": {f"f{i}": {"code": ".", "runtime": "python3.11", "handler": "app.handler", "memory": 128, "keep": "0s", "timeout": "60s"}
                           for i in range(first, min(first + PROJECT, n))}} for first in range(0, n, PROJECT)]
    for kind, where in at.items():
        for i in where:
            doc = docs[i // PROJECT]
            f, name = doc["functions"][f"f{i}"], f"f{i}" + (".fifo" if kind == "line" else "")
            if kind == "url":
                f["url"] = {"auth": "none"}
            elif kind == "route":
                f["route"] = f"/f{i}"
            elif kind in ("message", "line"):
                doc["queues"][name] = {"visibility": "60s", "fifo": kind == "line"}
            elif kind in ("record", "topic"):
                doc[{"record": "streams", "topic": "topics"}[kind]][name] = {}
            start = {"object": {"bucket": "box", "prefix": f"f{i}/"}, "message": {"queue": name}, "line": {"queue": name},
                     "record": {"stream": name, "from": "start"}, "event": {"event": {"source": [name]}}, "topic": {"topic": name}}.get(kind)
            if start:
                f.setdefault("on", []).append(start)
    return docs, at


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Wakes(unittest.TestCase):
    def setUp(self):
        self.t = self.enterContext(tandem.Tandem())
        self.clients = {s: self.t.client(s, read_timeout=WAIT_S, max_pool_connections=64)
                        for s in ("lambda", "s3", "sqs", "kinesis", "events", "sns", "scheduler")}

    def nothing_runs(self):
        def running():
            return [i for i in json.loads(self.t.cli("ps", "-o", "json"))["instances"] if i["state"] != "preparing"]

        tandem.wait_for(lambda: not running(), WAIT_S, running)

    def fire(self, kind, name):
        c = self.clients
        if kind in ("route", "url"):
            url = self.t.gateway + "/" + name if kind == "route" else c["lambda"].get_function_url_config(FunctionName=name)["FunctionUrl"]
            with urllib.request.urlopen(url, timeout=WAIT_S) as answer:
                self.assertEqual((answer.status, answer.read()), (200, b"awake"))
        elif kind == "invoke":
            self.assertNotIn("FunctionError", c["lambda"].invoke(FunctionName=name))
        elif kind == "async":
            c["lambda"].invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")
        elif kind == "object":
            c["s3"].put_object(Bucket="box", Key=name + "/x", Body=b"x")
        elif kind == "message":
            c["sqs"].send_message(QueueUrl=f"{self.t.api}/000000000000/{name}", MessageBody="x")
        elif kind == "line":
            c["sqs"].send_message(QueueUrl=f"{self.t.api}/000000000000/{name}.fifo", MessageBody="x", MessageGroupId="g", MessageDeduplicationId="d")
        elif kind == "record":
            c["kinesis"].put_record(StreamName=name, PartitionKey="k", Data=b"x")
        elif kind == "schedule":  # a new rate begins at once
            c["scheduler"].create_schedule(Name=name, ScheduleExpression="rate(1 day)", FlexibleTimeWindow={"Mode": "OFF"},
                                           Target={"Arn": ARN + name, "RoleArn": tandem.ROLE})
        elif kind == "event":
            self.assertEqual(c["events"].put_events(Entries=[{"Source": name, "DetailType": "d", "Detail": "{}"}])["FailedEntryCount"], 0)
        else:
            c["sns"].publish(TopicArn=f"arn:aws:sns:us-east-1:000000000000:{name}", Message="x")

    def calls(self, name):
        rows = json.loads(self.t.cli("cost", "--by", "rows", "--workload", f"wakes{int(name[1:]) // PROJECT}/{name}", "-o", "json"))["rows"]
        return [r for r in rows if r["kind"] == "invoke"]

    def woke(self, kind, name, times):
        calls = tandem.wait_for(lambda: len(found := self.calls(name)) >= times and found, WAIT_S, lambda: f"{kind} did not wake {name}: {self.calls(name)}")
        self.assertEqual([(r["outcome"], r["cold"]) for r in calls], [("ok", True)] * times, kind)

    def test_from_nothing(self):
        for n in WORKLOADS:
            with self.subTest(defined=n):
                self.from_nothing(n)

    def from_nothing(self, n):
        docs, at = manifests(n)
        with tempfile.TemporaryDirectory(prefix="tandem-wakes-") as folder:
            for doc in docs:
                for name, text in (("app.py", CODE), ("tandem.yaml", json.dumps(doc))):
                    with open(f"{folder}/{name}", "w", encoding="ascii") as f:
                        f.write(text)
                self.t.cli("up", cwd=folder, timeout=max(1, n / 1000) * WAIT_S)
        self.nothing_runs()
        if n == 1:
            before = len(self.calls("f0"))
            for times, kind in enumerate(KINDS, before + 1):
                self.fire(kind, "f0")
                self.woke(kind, "f0", times)
                self.nothing_runs()
            self.clients["scheduler"].delete_schedule(Name="f0")
            return
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            before = {f"f{i}": len(self.calls(f"f{i}")) for where in at.values() for i in where}
            asked = [pool.submit(self.fire, kind, f"f{i}") for kind, where in at.items() for i in where]
            for answer in asked:
                answer.result()
        for kind, where in at.items():
            for i in where:
                self.woke(kind, f"f{i}", before[f"f{i}"] + 1)


if __name__ == "__main__":
    unittest.main()
