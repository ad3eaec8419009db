# SPDX-License-Identifier: Apache-2.0
"""Events: how long it takes from what happens to the function that it starts."""
import http.client
import os
import statistics
import time

import aws
import host
import objects

ROUNDS = 3
MESSAGES = 200
PUTS = 60
PAUSE_S = 0.02  # one after another; the instance stays warm
CODE = """\
import time


def handler(event, context):
    for record in event["Records"]:
        print("DONE", record["body"] if "body" in record else record["s3"]["object"]["key"], time.time_ns())
"""
PROJECT = """\
name: events
queues: {jobs: {}}
buckets: {media: {}}
functions:
  worker: {code: ., runtime: python3.11, handler: app.handler, on: [{queue: jobs}]}
  seen: {code: ., runtime: python3.11, handler: app.handler, snapshot: on, on: [{bucket: media}]}
"""


class Events:
    def __init__(self, bench, tandem):
        self.bench, self.tandem, self.add = bench, tandem, bench.figures.add
        given = tandem.credentials
        self.sqs = aws.Sqs("127.0.0.1", tandem.api, given["access_key"], given["secret_key"], given["region"])

    def done(self, function):
        """When the function had done each message or object, by name, in ns."""
        fields = (line.split("DONE ", 1)[1].split() for line in self.tandem.run("logs", function, "-n", "1000").splitlines() if "DONE " in line)
        return {name: int(at) for name, at in fields}

    def up(self):
        folder = f"{self.bench.work}/events"
        os.makedirs(folder, exist_ok=True)
        for name, text in {"tandem.yaml": PROJECT, "app.py": CODE}.items():
            self.bench.write(f"{folder}/{name}", text.encode())
        self.tandem.run("up", cwd=folder)

    def snapshot(self):
        return any(r["function"] == "seen" for r in self.tandem.json("snapshots")["snapshots"])

    def put(self, connection, name):
        """A small object to a function of which nothing runs; when it began, in ns."""
        self.tandem.run("stop", "seen")
        host.wait_until(lambda: not any(i["function"] == "seen" for i in self.tandem.json("ps")["instances"]), 20, "an instance does not end")
        time.sleep(5 * PAUSE_S)  # sandboxes are made again
        url = objects.presigned(self.tandem, "PUT", "/media/" + name)
        began = time.time_ns()
        connection.request("PUT", url[url.index("/media"):], b"x" * 1000)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise host.BenchError(f"put: {answer.status}")
        host.wait_until(lambda: name in self.done("seen"), 60, "an object is not done")
        return began

    def object(self):
        """Put begun to handler done, in us; each time from nothing that runs."""
        connection = http.client.HTTPConnection("127.0.0.1", self.tandem.api, timeout=60)
        host.wait_until(self.snapshot, 60, "there is no snapshot")
        rounds = []
        for turn in range(ROUNDS):
            self.bench.say(f"object to function from zero, round {turn + 1} of {ROUNDS}")
            sent = {name: self.put(connection, name) for name in (f"o{turn}-{n}" for n in range(PUTS))}
            done = self.done("seen")
            rounds.append(sorted((done[name] - at) / 1000 for name, at in sent.items()))
        self.add("object put to function finished, from zero, p50", "us", [statistics.median(r) for r in rounds], at_most=5000)
        self.add("object put to function finished, from zero, p99", "us", [r[len(r) * 99 // 100] for r in rounds], at_most=20000)

    def queue(self):
        """Send begun to handler done, in us."""
        url = self.sqs.do("GetQueueUrl", QueueName="jobs")["QueueUrl"]
        rounds = []
        for turn in range(ROUNDS + 1):  # the first one warms up
            sent = {}
            self.bench.say(f"queue to function, round {turn} of {ROUNDS}")
            for n in range(MESSAGES):
                sent[f"{turn}-{n}"] = time.time_ns()
                self.sqs.do("SendMessage", QueueUrl=url, MessageBody=f"{turn}-{n}")
                time.sleep(PAUSE_S)
            host.wait_until(lambda names=set(sent): names <= set(self.done("worker")), 60, "messages are not done")
            done = self.done("worker")
            rounds.append(sorted((done[name] - at) / 1000 for name, at in sent.items()))
        del rounds[0]
        self.add("queue message to function finished, warm, p50", "us", [statistics.median(r) for r in rounds], at_most=3000)
        self.add("queue message to function finished, warm, p99", "us", [r[len(r) * 99 // 100] for r in rounds])

    def run(self):
        self.up()
        self.object()
        self.queue()


def run(bench):
    tandem = host.Tandem(bench.options.bin, f"{bench.work}/state-events")
    try:
        Events(bench, tandem).run()
    finally:
        tandem.stop()
