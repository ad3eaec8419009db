# SPDX-License-Identifier: Apache-2.0
"""
One trace through gateway, functions, queue and task: as functions and tasks see it, as `tandem trace` shows it, and as a collector gets
it over OTLP. A collector that refuses, or hangs, delays nobody.
"""
import http.server
import json
import os
import shutil
import sys
import tempfile
import threading
import unittest
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import oci  # noqa: E402
import tandem  # noqa: E402
import test_run  # noqa: E402

ID, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
WHOLE = {"GET /first", "first", "sqs/SendMessage", "process jobs", "second"}  # what a call of /first leads to; each ends when it likes
ROOT = f"Root=1-{ID[:8]}-{ID[8:]}"
CODE = """
import json, os, urllib.request
def handler(event, context):
    trace = os.environ["_X_AMZN_TRACE_ID"]
    print("trace", trace)
    if event.get("rawPath") == "/first":
        body = json.dumps({"QueueUrl": os.environ["AWS_ENDPOINT_URL"] + "/000000000000/jobs", "MessageBody": "x"}).encode()
        urllib.request.urlopen(urllib.request.Request(os.environ["AWS_ENDPOINT_URL"], body, {
            "X-Amz-Target": "AmazonSQS.SendMessage", "Content-Type": "application/x-amz-json-1.0"})).read()
    return {"trace": trace, "headers": event.get("headers")}
"""
PIPELINE = """
name: media
buckets:
  clips: {}
  records: {}
functions:
  thumb: {code: pipe, runtime: python3.11, handler: app.thumb, snapshot: "off", on: [{bucket: clips, suffix: .mp4}], allow: [{action: "ecs:RunTask", resource: "*"}]}
  record: {code: pipe, runtime: python3.11, handler: app.record, snapshot: "off", on: [{bucket: clips, suffix: .jpg}],
           allow: [{action: "s3:PutObject", resource: "records/*"}]}
tasks:
  frame:
    image: localhost/box:v1
    command: [nc, 169.254.100.2, "4566", -e, sh, -c, 'printf "PUT /clips/a.jpg HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 1\\r\\n\\r\\nx"; read said; echo $$said >&2']
    allow: [{action: "s3:PutObject", resource: "clips/*.jpg"}]
"""
STEPS = """
import json, os, urllib.request
def ask(method, path, body, **headers):
    urllib.request.urlopen(urllib.request.Request("http://169.254.100.2:4566" + path, body, headers, method=method)).read()
def thumb(event, context):
    ask("POST", "/", json.dumps({"taskDefinition": "frame"}).encode(), **{
        "X-Amz-Target": "AmazonEC2ContainerServiceV20141113.RunTask", "Content-Type": "application/x-amz-json-1.1"})
def record(event, context):
    ask("PUT", "/records/a.json", b"{}")
"""
PROJECT = """
name: shop
queues:
  jobs: {}
buckets:
  media: {}
functions:
  first:
    code: app
    runtime: python3.11
    handler: app.handler
    route: /first
    environment: {AWS_ENDPOINT_URL: "http://169.254.100.2:4566"}
    allow: [{action: "sqs:*", resource: "*"}]
  third: {code: app, runtime: python3.11, handler: app.handler, snapshot: "off", on: [{bucket: media}]}
  second: {code: app, runtime: python3.11, handler: app.handler, snapshot: "off", on: [{queue: jobs}]}
"""


class Collector(http.server.ThreadingHTTPServer):
    """Takes what comes; answers holds what is said first, instead of 200."""

    def __init__(self, answers=()):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.bodies, self.heads, self.go = list(answers), [], [], threading.Event()
        self.says, self.unheard = 0, threading.Event()  # bytes of each answer; it was closed before they were read
        self.go.set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def spans(self):
        return [s for b in self.bodies for r in b["resourceSpans"] for c in r["scopeSpans"] for s in c["spans"]]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.go.wait(60)
        status = self.server.answers.pop(0) if self.server.answers else 200
        if status == 200:
            self.server.heads.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
            self.server.bodies.append(json.loads(body))
        self.send_response(status)
        self.send_header("Content-Length", str(self.server.says))
        self.end_headers()
        try:
            self.wfile.write(bytes(self.server.says))
        except OSError:
            self.server.unheard.set()

    def log_message(self, *_):
        pass


def attributes(span):
    return {a["key"]: next(iter(a["value"].values())) for a in span["attributes"]}


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Traces(unittest.TestCase):
    def begin(self, collector=None, **environment):
        if collector:
            self.addCleanup(collector.server_close)
            self.addCleanup(collector.shutdown)
            environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{collector.server_port}/"
        os.environ.update(environment)
        self.addCleanup(lambda: [os.environ.pop(k) for k in environment])
        self.t = tandem.Tandem()
        self.addCleanup(self.t.close)
        self.t.start()
        self.t.up({"app/app.py": CODE, "tandem.yaml": PROJECT})

    def get(self, path="/first", **headers):
        with urllib.request.urlopen(urllib.request.Request(self.t.gateway + path, headers=headers), timeout=60) as answer:
            return json.load(answer)

    def metric(self, name):
        for line in self.t.admin("GET", "/metrics")[1].decode().splitlines():
            if line.startswith(name + " "):
                return int(line.split()[1])
        return None

    def trace(self, trace_id):
        return {s["name"]: s for s in json.loads(self.t.cli("trace", trace_id, "-o", "json"))["spans"]}

    def way(self, trace_id, name):
        """Names from the span that was there first to this one."""
        spans = json.loads(self.t.cli("trace", trace_id, "-o", "json"))["spans"]
        by_id, names, at = {s["spanId"]: s for s in spans}, [], next((s for s in spans if s["name"] == name), None)
        while at:
            names.insert(0, at["name"])
            at = by_id.get(at.get("parentSpanId"))
        return names

    def test_one_trace_all_the_way(self):
        self.begin()
        self.t.cli("stop", "second")
        traced = self.get(traceparent=f"00-{ID}-{PARENT}-01")
        self.assertRegex(traced["trace"], rf"^{ROOT};Parent=[0-9a-f]{{16}};Sampled=1$")
        self.assertEqual(traced["headers"]["traceparent"], f"00-{ID}-{PARENT}-01")
        tandem.wait_for(lambda: WHOLE <= set(self.trace(ID)), what=lambda: self.trace(ID))
        spans = json.loads(self.t.cli("trace", ID, "-o", "json"))["spans"]
        first, second, door = (next(s for s in spans if s["name"] == n) for n in ("first", "second", "GET /first"))
        handler = next(s for s in spans if s["name"] == "handler" and s["parentSpanId"] == first["spanId"])
        self.assertEqual(door["parentSpanId"], PARENT)
        self.assertEqual(self.way(ID, "second"), ["GET /first", "first", "handler", "sqs/SendMessage", "process jobs", "second"])
        self.assertEqual({k: attributes(door).get(k) for k in ("http.request.method", "url.path", "url.scheme", "http.route", "client.address",
                                                               "http.response.status_code")},
                         {"http.request.method": "GET", "url.path": "/first", "url.scheme": "http", "http.route": "/first",
                          "client.address": "127.0.0.1", "http.response.status_code": "200"})
        batch = next(s for s in spans if s["name"] == "process jobs")
        self.assertEqual(attributes(batch), {"messaging.system": "aws_sqs", "messaging.operation.type": "process", "messaging.operation.name": "process",
                                             "messaging.destination.name": "jobs", "messaging.batch.message_count": "1"})
        self.assertEqual([k["spanId"] for k in batch["links"]], [batch["parentSpanId"]])
        self.assertEqual(traced["trace"].split(";")[1], "Parent=" + handler["spanId"])
        self.assertEqual((attributes(first)["faas.trigger"], attributes(second)["faas.trigger"]), ("http", "pubsub"))
        self.assertEqual(attributes(second)["faas.max_memory"], str(128 << 20))
        self.assertIs(attributes(second)["faas.coldstart"], True)
        tandem.wait_for(lambda: f"{ROOT};Parent=" in self.t.cli("logs", "second"))
        shown = self.t.cli("trace", ID)
        self.assertRegex(shown, r"(?s)WHAT\n +[0-9.]+ +[0-9.]+  GET /first\n.*    +handler\n.*      +second\n.*        +start: init\n")
        self.assertEqual(len(self.trace(f"1-{ID[:8]}-{ID[8:]}")), len(self.trace(ID)))
        # Not sampled: carried all the same, and nothing is kept. Not valid: as if it were not there.
        other = ID[::-1]
        self.assertEqual(self.get(traceparent=f"00-{other}-{PARENT}-00")["trace"], f"Root=1-{other[:8]}-{other[8:]};Parent={PARENT};Sampled=0")
        self.assertEqual(self.trace(other), {})
        self.assertNotIn(other[8:], self.get(traceparent=f"00-{other}-{PARENT}-01-more")["trace"])
        self.assertTrue(self.get(**{"X-Amzn-Trace-Id": f"Root=1-{other[:8]}-{other[8:]};Sampled=1"})["trace"].startswith(f"Root=1-{other[:8]}-"))
        self.assertIn("first", self.trace(other))
        self.assertEqual(self.t.admin("GET", "/v1/traces/xyz")[0], 400)
        self.assertEqual(self.metric("tandem_spans_dropped_total"), 0)

    def test_a_trace_is_drawn_once(self):
        """Where half are sampled: the whole of it, from the gateway on, or nothing; also where no parent counts."""
        for sampler in ("parentbased_traceidratio", "traceidratio"):
            with self.subTest(sampler):
                self.begin(OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG="0.5")
                said = [dict(m.split("=") for m in self.get()["trace"].split(";")) for _ in range(40)]
                self.assertEqual({m["Sampled"] for m in said}, {"0", "1"})
                for m in said:
                    trace = "".join(m["Root"].split("-")[1:])
                    if m["Sampled"] == "1":
                        tandem.wait_for(lambda trace=trace: len(self.way(trace, "first")) == 2, what=lambda trace=trace: self.way(trace, "first"))
                    else:
                        self.assertEqual(self.trace(trace), {})
                self.doCleanups()

    def test_objects_and_topics(self):
        self.begin()
        s3, sns, first = self.t.client("s3"), self.t.client("sns"), self.t.client("lambda").get_function(FunctionName="third")
        topic = sns.create_topic(Name="news")["TopicArn"]
        sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=first["Configuration"]["FunctionArn"])
        for client, trace in ((s3, ID), (sns, ID[::-1])):
            client.meta.events.register("before-call", lambda params, trace=trace, **_: params["headers"].update(traceparent=f"00-{trace}-{PARENT}-01"))
        s3.put_object(Bucket="media", Key="a", Body=b"x")
        sns.publish(TopicArn=topic, Message="x")
        for trace in (ID, ID[::-1]):
            tandem.wait_for(lambda trace=trace: len(self.way(trace, "third")) == 2, what=lambda trace=trace: self.way(trace, "third"))
            self.assertEqual(self.way(trace, "third")[0], "s3/PutObject" if trace == ID else "sns/Publish")
            self.assertEqual(self.trace(trace)[self.way(trace, "third")[0]]["parentSpanId"], PARENT)
        events, third = self.t.client("events"), ID[1:] + "f"
        events.put_rule(Name="r", EventPattern=json.dumps({"source": ["s"]}))
        events.put_targets(Rule="r", Targets=[{"Id": "1", "Arn": first["Configuration"]["FunctionArn"]}])
        for header in (f"Root=1-{ID[:8]}-{ID[8:]};Sampled=1\r\nforged: 1", f"Root=1-{third[:8]}-{third[8:]};Parent={PARENT};Sampled=1"):
            self.assertEqual(events.put_events(Entries=[{"Source": "s", "DetailType": "d", "Detail": "{}", "TraceHeader": header}])["FailedEntryCount"], 0)
        tandem.wait_for(lambda: self.trace(third))
        tandem.wait_for(lambda: self.t.cli("logs", "third").count(" trace Root=") == 4, what=lambda: self.t.cli("logs", "third"))
        self.assertNotIn("forged", self.t.cli("logs", "third"))  # what goes into a header is no header

    @unittest.skipUnless(os.path.exists(test_run.BUSYBOX) and shutil.which("skopeo"), "busybox-static and skopeo are not installed")
    def test_tasks(self):
        self.begin()
        folder = tempfile.mkdtemp(prefix="tandem-trace-")
        self.addCleanup(shutil.rmtree, folder)
        image = oci.Image(oci.layer(test_run.files()), config={"Cmd": ["sh", "-c", "echo $TRACEPARENT"], "Env": ["PATH=/bin"]})
        self.t.cli("pull", "oci:" + image.layout(folder + "/box", "v1") + ":v1", "--tag", "localhost/box:v1")
        ecs = self.t.client("ecs")
        ecs.meta.events.register("before-call", lambda params, **_: params["headers"].update(traceparent=f"00-{ID}-{PARENT}-01"))
        ecs.register_task_definition(family="t", containerDefinitions=[{"name": "main", "image": "localhost/box:v1", "memory": 64}])
        task = ecs.run_task(taskDefinition="t")["tasks"][0]["taskArn"].rsplit("/", 1)[1]
        tandem.wait_for(lambda: "task/t" in self.trace(ID), what=lambda: self.trace(ID))
        span = self.trace(ID)["task/t"]
        self.assertEqual((self.way(ID, "task/t"), span["spanId"]), (["ecs/RunTask", "task/t"], task[:16]))
        tandem.wait_for(lambda: f"00-{ID}-{task[:16]}-01" in self.t.cli("logs", task))

        # An object, a function, a task, an object, a function: one trace, though none of their code knows of it.
        self.t.up({"pipe/app.py": STEPS, "tandem.yaml": PIPELINE})
        s3, other = self.t.client("s3"), ID[::-1]
        s3.meta.events.register("before-call", lambda params, **_: params["headers"].update(traceparent=f"00-{other}-{PARENT}-01"))
        s3.put_object(Bucket="clips", Key="a.mp4", Body=b"x")
        whole = ["s3/PutObject", "thumb", "handler", "ecs/RunTask", "task/frame", "s3/PutObject", "record", "handler", "s3/PutObject"]
        tandem.wait_for(lambda: {"record", "task/frame", "thumb"} <= set(self.trace(other)) and self.way(other, "record") == whole[:7], 60,
                        lambda: self.t.cli("trace", other) + self.t.cli("logs", "thumb"))
        names = [line.split(None, 2)[2] for line in self.t.cli("trace", other).splitlines()[1:]]
        self.assertEqual([n for n in names if n in whole], whole)

    def test_streams(self):
        """A record has no place for a trace that its readers see; a batch is part of that of its first, and linked to all."""
        self.begin()
        kinesis = self.t.client("kinesis")
        kinesis.create_stream(StreamName="clicks", ShardCount=1)
        arn, sent = kinesis.describe_stream(StreamName="clicks")["StreamDescription"]["StreamARN"], [None]
        kinesis.meta.events.register("before-call", lambda params, **_: sent[0] and params["headers"].update(traceparent=sent[0]))
        for sent[0] in (f"00-{ID}-{PARENT}-00", f"00-{ID}-{PARENT}-01", None, f"00-{ID[::-1]}-{PARENT}-01"):
            kinesis.put_record(StreamName="clicks", PartitionKey="k", Data=b"x")
        sent[0] = None
        seen = kinesis.get_records(ShardIterator=kinesis.get_shard_iterator(StreamName="clicks", ShardId="shardId-000000000000",
                                                                            ShardIteratorType="TRIM_HORIZON")["ShardIterator"])["Records"]
        self.assertEqual({key for r in seen for key in r}, {"EncryptionType", "SequenceNumber", "ApproximateArrivalTimestamp", "Data", "PartitionKey"})
        self.t.client("lambda").create_event_source_mapping(EventSourceArn=arn, FunctionName="third", StartingPosition="TRIM_HORIZON", BatchSize=4)
        tandem.wait_for(lambda: len(self.way(ID, "third")) == 3, what=lambda: self.trace(ID))  # the batch is over after its function
        self.assertEqual(self.way(ID, "third"), ["kinesis/PutRecord", "process clicks", "third"])
        batch = self.trace(ID)["process clicks"]
        self.assertEqual((attributes(batch)["messaging.system"], attributes(batch)["messaging.batch.message_count"]), ("aws_kinesis", "4"))
        self.assertEqual([(k["traceId"], k["spanId"]) for k in batch["links"]],
                         [(ID, PARENT), (ID, batch["parentSpanId"]), (ID[::-1], self.trace(ID[::-1])["kinesis/PutRecord"]["spanId"])])
        self.assertEqual(batch["kind"], 5)

    def test_export(self):
        collector = Collector(answers=[503, 429])
        self.begin(collector, OTEL_SERVICE_NAME="my shop", OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20s3cret,x-team=a")
        self.get()
        tandem.wait_for(lambda: WHOLE <= {s["name"] for s in collector.spans()}, what=collector.spans)
        self.assertEqual(collector.answers, [])  # refused twice, and come again
        path, head = collector.heads[0]
        self.assertEqual((path, head["content-type"], head["authorization"], head["x-team"]), ("/v1/traces", "application/json", "Bearer s3cret", "a"))
        self.assertEqual(collector.bodies[0]["resourceSpans"][0]["resource"]["attributes"],
                         [{"key": "service.name", "value": {"stringValue": "my shop"}}])
        tandem.wait_for(lambda: self.metric("tandem_spans_exported_total") == self.metric("tandem_spans_recorded_total"), 60)
        all_of = collector.spans()
        spans = {s["spanId"]: s for s in all_of}
        self.assertEqual(len(spans), len(all_of))  # each once
        first = next(s for s in spans.values() if s["name"] == "first")
        self.assertEqual(spans[first["parentSpanId"]]["name"], "GET /first")
        self.assertNotIn("parentSpanId", spans[first["parentSpanId"]])  # the trace begins there
        self.assertEqual({s["traceId"] for s in spans.values()}, {first["traceId"]})
        for s in spans.values():
            self.assertRegex(s["spanId"], "^[0-9a-f]{16}$")
            self.assertLessEqual(int(s["startTimeUnixNano"]), int(s["endTimeUnixNano"]))
            self.assertIn(s.get("parentSpanId", s["spanId"]), spans)
        self.assertEqual(self.metric("tandem_spans_dropped_total"), 0)
        said = [line.split(" otlp tandem ")[1] for line in self.t.cli("events").splitlines() if " otlp " in line]
        where = f"127.0.0.1:{collector.server_port}"
        self.assertEqual(said, [f"spans are not taken by {where}: it answers, status 503", f"spans are taken by {where} again; 0 before were dropped"])
        with open(self.t.log_path, encoding="utf-8") as f:
            self.assertNotIn("s3cret", f.read())

    def test_refused_and_hanging(self):
        collector = Collector(answers=[400])
        self.begin(collector, OTEL_TRACES_SAMPLER="parentbased_always_off")
        self.get()
        self.assertEqual(self.metric("tandem_spans_recorded_total"), 0)
        self.get(traceparent=f"00-{ID}-{PARENT}-01")
        tandem.wait_for(lambda: (self.metric("tandem_spans_dropped_total") or 0) > 0, 60)  # for good
        dropped, collector.says = self.metric("tandem_spans_dropped_total"), 64 << 20
        self.get(traceparent=f"00-{ID}-{PARENT}-01")
        tandem.wait_for(lambda: (self.metric("tandem_spans_exported_total") or 0) > 0, 60)
        self.assertIn(f" again; {dropped} before were dropped\n", self.t.cli("events"))
        self.assertTrue(collector.unheard.wait(60))  # what it has to say beside its status is not held
        collector.says = 0
        collector.go.clear()  # from here on it hangs
        for _ in range(20):
            self.get(traceparent=f"00-{ID}-{PARENT}-01")
        self.t.stop()  # nor does it keep the daemon
        collector.go.set()


if __name__ == "__main__":
    unittest.main()
