# SPDX-License-Identifier: Apache-2.0
"""Queues: messages sent, each on disk before its sender hears of it; received and deleted; and whether a million that wait slow anything down.

32 clients send requests that were signed before (wrk could not sign), one message each. The reference is how often the same disk takes
4 KB durably, one after the other: commits are shared, so that more is possible.
"""
import json
import os
import time

import aws
import host

ROUNDS = 3
CLIENTS = 32
SEND = """
wrk.method = "POST"
wrk.body = %s
wrk.headers = {%s}
"""
# Each answer's receipt is deleted by the next request; one that found nothing is an error.
WORK = """
local url, receipts = %s, {}
local headers = {["Content-Type"] = "application/x-amz-json-1.0"}
function request()
	local receipt = table.remove(receipts)
	headers["X-Amz-Target"] = receipt and "AmazonSQS.DeleteMessage" or "AmazonSQS.ReceiveMessage"
	return wrk.format("POST", "/", headers, '{"QueueUrl":"' .. url .. '"' .. (receipt and ',"ReceiptHandle":"' .. receipt .. '"' or "") .. "}")
end
function response(status, head, body)
	local receipt = body:match('"ReceiptHandle":"([^"]+)"')
	if receipt then table.insert(receipts, receipt) end
end
"""


def syncs(folder, seconds):
    """Appends of 4 KB and fdatasync, one after the other, per second."""
    count = 0
    with open(f"{folder}/sync", "wb", buffering=0) as f:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            f.write(b"x" * 4096)
            os.fdatasync(f.fileno())
            count += 1
    return count / seconds


class Queues:
    def __init__(self, bench, tandem):
        given = tandem.credentials
        self.bench, self.tandem = bench, tandem
        self.sqs = aws.Sqs("127.0.0.1", tandem.api, given["access_key"], given["secret_key"], given["region"])
        self.script = f"{bench.work}/queues.lua"

    def make(self, name):
        return self.sqs.do("CreateQueue", QueueName=name, Attributes={"VisibilityTimeout": "43200"})["QueueUrl"]

    def send(self, operation="SendMessage", seconds=None, **body):
        """Requests per second; a signature is good for five minutes."""
        headers, text = self.sqs.request(operation, **body)
        with open(self.script, "w", encoding="ascii") as f:
            f.write(SEND % (json.dumps(text.decode()), ", ".join(f"[{json.dumps(k)}] = {json.dumps(v)}" for k, v in headers.items() if k != "host")))
        return host.wrk(self.tandem.api, "/", CLIENTS, seconds or self.bench.options.seconds, self.script)[0]

    def waiting(self, url):
        return int(self.sqs.do("GetQueueAttributes", QueueUrl=url, AttributeNames=["All"])["Attributes"]["ApproximateNumberOfMessages"])

    def work(self, url):
        with open(self.script, "w", encoding="ascii") as f:
            f.write(WORK % json.dumps(url))
        return host.wrk(self.tandem.api, "/", CLIENTS, self.bench.options.seconds, self.script)[0] / 2

    def run(self):
        add, say = self.bench.figures.add, self.bench.say
        many = self.bench.options.waiting
        empty, full, disk = [], [], []
        deep = self.make("deep")
        batch = [{"Id": str(i), "MessageBody": "x" * 100} for i in range(10)]
        while (there := self.waiting(deep)) < many:
            say(f"queues: {there:,} of {many:,} messages wait")
            self.send("SendMessageBatch", 10, QueueUrl=deep, Entries=batch)
        for turn in range(ROUNDS):
            say(f"queues, round {turn + 1} of {ROUNDS}")
            disk.append(syncs(self.bench.work, 1))
            empty.append(self.send(QueueUrl=self.make(f"empty-{turn}"), MessageBody="x" * 100))
            full.append(self.send(QueueUrl=deep, MessageBody="x" * 100))
        add(f"messages sent, {CLIENTS} clients, each durable; beside syncs of the disk", "messages/s", empty, disk, at_least=10000)
        add(f"the same while {many:,} wait in the queue, beside an empty one", "messages/s", full, empty, at_least=0.8, of="ratio")


def unsigned(bench, tandem):
    """Receiving and deleting: who signs would have to know the receipt before."""
    q = Queues(bench, tandem)
    url = q.make("work")
    batch = [{"Id": str(i), "MessageBody": "x" * 100} for i in range(10)]
    rates = []
    for _ in range(ROUNDS):
        q.send("SendMessageBatch", QueueUrl=url, Entries=batch)
        rates.append(q.work(url))
        if not q.waiting(url):
            raise host.BenchError("queues: there were not enough messages to receive")
    bench.figures.add(f"messages received and deleted, {CLIENTS} clients, unsigned", "messages/s", rates)


def run(bench):
    for name, body, more in (("queues", lambda b, t: Queues(b, t).run(), ()), ("queues-unsigned", unsigned, ("--auth", "none"))):
        tandem = host.Tandem(bench.options.bin, f"{bench.work}/state-{name}", *more)
        try:
            body(bench, tandem)
        finally:
            tandem.stop()
