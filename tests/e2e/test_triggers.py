# SPDX-License-Identifier: Apache-2.0
"""One tandem.yaml with everything that starts something: each fires, `up` changes what has changed, `down` takes it back."""
import json
import os
import unittest
import urllib.request

import tandem

CODE = """\
import json


def handler(event, context):
    print("got " + json.dumps(event))
    return "done"
"""
FILE = """\
name: events
buckets: {media: {}}
queues: {jobs: {dead_letter: failed, max_receives: 3}, failed: {}}
streams: {clicks: {}}
topics: {alerts: {}}
buses: {orders: {}}
functions:
  f:
    code: app
    runtime: python3.11
    handler: app.handler
    retries: 1
    on_success: queue failed
    url: {auth: none}
    on:
      - {bucket: media, prefix: in/, suffix: .txt}
      - {queue: jobs, batch: 5}
      - {stream: clicks, from: start}
      - {schedule: rate(1 day), input: {by: schedule}}
      - {event: {source: [shop]}, bus: orders}
      - {topic: alerts}
    allow: [{action: "s3:PutObject", resource: "media/*"}]
"""


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Triggers(unittest.TestCase):
    def setUp(self):
        self.t = tandem.Tandem()
        self.addCleanup(self.t.close)
        self.t.start()
        os.mkdir(os.path.join(self.t.base, "app"))
        self.put("app/app.py", CODE)
        self.put("tandem.yaml", FILE)

    def put(self, name, text):
        with open(os.path.join(self.t.base, name), "w", encoding="utf-8") as f:
            f.write(text)

    def up(self):
        return self.t.cli("up", cwd=self.t.base)

    def refused(self, why):
        with self.assertRaises(AssertionError) as raised:
            self.up()
        self.assertIn(why, str(raised.exception))

    def events(self):
        lines = [json.loads(line)["text"] for line in self.t.cli("logs", "f", "-o", "json").splitlines()]
        return [json.loads(text[4:]) for text in lines if text.startswith("got ")]

    def came(self, what, is_it):
        tandem.wait_for(lambda: [e for e in self.events() if is_it(e)], 60, lambda: f"{what} among {self.events()}")

    def test_each_fires(self):
        said = self.up()
        for line in ("+ bucket media in/*.txt -> f  create", "+ queue jobs -> f  create", "+ stream clicks -> f  create", "+ rate(1 day) -> f  create",
                     "+ bus orders -> f  create", "+ topic alerts -> f  create", "+ url -> f  create", "+ events of f  create",
                     "f may write (allow:) such objects as start it"):
            self.assertIn(line, said)
        self.came("the schedule", lambda e: e.get("by") == "schedule")
        self.t.client("s3").put_object(Bucket="media", Key="in/a.txt", Body=b"x")
        self.t.client("s3").put_object(Bucket="media", Key="in/a.png", Body=b"x")
        self.came("the object", lambda e: e.get("Records", [{}])[0].get("s3", {}).get("object", {}).get("key") == "in/a.txt")
        sqs = self.t.client("sqs")
        sqs.send_message(QueueUrl=sqs.get_queue_url(QueueName="jobs")["QueueUrl"], MessageBody="a job")
        self.came("the message", lambda e: e.get("Records", [{}])[0].get("body") == "a job")
        self.t.client("kinesis").put_record(StreamName="clicks", Data=b"click", PartitionKey="k")
        self.came("the record", lambda e: e.get("Records", [{}])[0].get("eventSource") == "aws:kinesis")
        self.t.client("events").put_events(Entries=[{"EventBusName": "orders", "Source": "shop", "DetailType": "d", "Detail": '{"n": 1}'}])
        self.came("the event", lambda e: e.get("source") == "shop" and e["detail"] == {"n": 1})
        self.t.client("sns").publish(TopicArn="arn:aws:sns:us-east-1:000000000000:alerts", Message="hello")
        self.came("the notification", lambda e: e.get("Records", [{}])[0].get("EventSource") == "aws:sns")
        url = [x["from"] for x in json.loads(self.t.cli("ls", "-o", "json"))["triggers"] if "lambda-url" in x["from"]]
        with urllib.request.urlopen(url[0], timeout=60) as answer:
            self.assertEqual(answer.read(), b"done")
        self.assertFalse([e for e in self.events() if "a.png" in json.dumps(e)])
        # Results of events that nobody waited for.
        failed = sqs.get_queue_url(QueueName="failed")["QueueUrl"]
        told = []
        tandem.wait_for(lambda: told.extend(sqs.receive_message(QueueUrl=failed, WaitTimeSeconds=20).get("Messages", [])) or told, 60, "a result")
        self.assertEqual(json.loads(told[0]["Body"])["requestContext"]["condition"], "Success")

    def test_unchanged_changed_gone(self):
        self.up()
        self.assertIn("nothing to change", self.up())
        self.put("tandem.yaml", FILE.replace("batch: 5", "batch: 6").replace("      - {topic: alerts}\n", "").replace("max_receives: 3", "max_receives: 4"))
        said = self.up()
        self.assertRegex(said, r"~ queue jobs  update: RedrivePolicy\n")
        self.assertRegex(said, r"~ queue jobs -> f  update: BatchSize\n")
        self.assertRegex(said, r"- topic alerts -> f  delete\n")
        mapping = self.t.client().list_event_source_mappings(FunctionName="f")["EventSourceMappings"]
        self.assertEqual([m["BatchSize"] for m in mapping if ":sqs:" in m["EventSourceArn"]], [6])
        self.t.client("s3").put_object(Bucket="media", Key="stays", Body=b"x")
        said = self.t.cli("down", cwd=self.t.base)
        self.assertIn("kept     bucket media: it stays with its objects; aws s3 rb --force s3://media removes it", said)
        left = json.loads(self.t.cli("ls", "-o", "json"))
        self.assertEqual(left["functions"] + left["triggers"], [])
        self.assertLessEqual({h["record"] for h in left["holders"]}, {"bucket/media", "stream/clicks", "queue/failed"})
        self.assertIn("bucket/media", self.t.cli("ls"))

    def test_what_is_not_there(self):
        for was, instead, why in (("bucket: media,", "bucket: nobody,", 'there is no bucket "nobody"'), ("{topic: alerts}", "{topic: none}", 'there is no topic "none"'),
                                  ("queue: jobs,", "queue: nojobs,", 'there is no queue "nojobs"'), ("on_success: queue failed", "on_success: queue x", 'there is no queue "x"'),
                                  ("bus: orders", "bus: no", 'there is no bus "no"')):
            with self.subTest(why):
                self.put("tandem.yaml", FILE.replace(was, instead))
                self.refused(why + "; declare it in this file, or make it first")
        self.assertEqual(json.loads(self.t.cli("ls", "-o", "json"))["holders"], [])

    def test_somebody_elses(self):
        sqs = self.t.client("sqs")
        sqs.create_queue(QueueName="jobs")
        self.refused('"queue jobs": what was made through the "api" has one of this name')

    def test_described(self):
        self.up()
        sqs = self.t.client("sqs")
        sqs.send_message(QueueUrl=sqs.create_queue(QueueName="other")["QueueUrl"], MessageBody="x")
        other = json.loads(self.t.cli("describe", "other", "-o", "json"))
        self.assertEqual((other["waiting"], other["project"], other["triggers"]), (1, "api", []))
        queue = json.loads(self.t.cli("describe", "queue/jobs", "-o", "json"))
        self.assertEqual((queue["dead_letter"], queue["triggers"][0]["to"]), ("failed", "function f"))
        function = json.loads(self.t.cli("describe", "f", "-o", "json"))
        self.assertEqual(len(function["triggers"]), 7)
        schedule = [x for x in function["triggers"] if x["from"] == "rate(1 day)"]
        self.assertIn("T", schedule[0]["next"])
        self.assertIn("waiting", function["asynchronous"])


if __name__ == "__main__":
    unittest.main()
