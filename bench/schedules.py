# SPDX-License-Identifier: Apache-2.0
"""10,000 schedules that send a message to a queue each: spread over a minute, all at the same second, and idle."""
import datetime
import json
import time
import urllib.request

import cold
import host

MANY = 10000
LEAD_S = 90  # to make them in
ARN = "arn:aws:sqs:us-east-1:000000000000:due"


class Schedules:
    def __init__(self, bench, tandem):
        self.bench, self.tandem, self.add = bench, tandem, bench.figures.add
        self.api = f"http://127.0.0.1:{tandem.api}"
        self.url = self.sqs("CreateQueue", QueueName="due")["QueueUrl"]

    def call(self, path, body, **headers):
        request = urllib.request.Request(self.api + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def sqs(self, action, **body):
        return self.call("/", body, **{"X-Amz-Target": "AmazonSQS." + action, "Content-Type": "application/x-amz-json-1.0"})

    def waiting(self):
        answer = self.sqs("GetQueueAttributes", QueueUrl=self.url, AttributeNames=["ApproximateNumberOfMessages"])
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])

    def create(self, at):
        """at(i): when the i-th is due, seconds since the epoch."""
        for i in range(MANY):
            when = datetime.datetime.fromtimestamp(at(i), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
            self.call(f"/schedules/s{i}", {
                "ScheduleExpression": f"at({when})", "FlexibleTimeWindow": {"Mode": "OFF"}, "ActionAfterCompletion": "DELETE",
                "Target": {"Arn": ARN, "RoleArn": "arn:aws:iam::000000000000:role/r", "Input": '"<aws.scheduler.scheduled-time>"'}})

    def spread(self):
        """Each second has its share; how late the last of it is in the queue, on disk."""
        begin = int(time.time()) + LEAD_S
        self.bench.say(f"{MANY} schedules over a minute")
        self.create(lambda i: begin + i % 60)
        woken = host.wake_ups(self.tandem.processes())
        time.sleep(5)
        woken = host.wake_ups(self.tandem.processes()) - woken
        if time.time() > begin:
            raise host.BenchError("making schedules took longer than until they are due")
        late, due = [], 0
        for second in range(60):
            due += MANY // 60 + (second < MANY % 60)
            time.sleep(max(0, begin + second - time.time()))
            host.wait_until(lambda: self.waiting() >= due, 60, "not all of them fired", 0)
            late.append((time.time() - begin - second) * 1e3)
        self.add(f"{MANY:,} schedules over a minute: the last of each second, from due to durable, p99", "ms", [cold.p99(late)], at_most=50)
        self.add(f"tandemd + spawner, wake-ups in 5 s with {MANY:,} schedules", "times", [woken], at_most=0)

    def together(self):
        begin = int(time.time()) + LEAD_S
        self.bench.say(f"{MANY} schedules at the same second")
        before = self.waiting()
        self.create(lambda i: begin)
        if time.time() > begin:
            raise host.BenchError("making schedules took longer than until they are due")
        host.wait_until(lambda: self.waiting() == before + MANY, 120, "not all of them fired")
        self.add(f"{MANY:,} schedules at the same second: all durable", "s", [time.time() - begin], at_most=2)


def run(bench):
    tandem = host.Tandem(bench.options.bin, f"{bench.work}/state-schedules", "--auth", "none")
    try:
        s = Schedules(bench, tandem)
        s.spread()
        s.together()
    finally:
        tandem.stop()
