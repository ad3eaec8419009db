# SPDX-License-Identifier: Apache-2.0
"""Queues: messages sent, each on disk before its sender hears of it; received and deleted; and whether a million that wait slow anything down.

32 clients send requests that were signed before (wrk could not sign), one message each. The reference is how often the same disk takes
4 KB durably, one after the other: commits are shared, so that more is possible.
"""
import json
import os
import signal
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
        self.bench, self.tandem = bench, tandem
        self.connect()
        self.script = f"{bench.work}/queues.lua"

    def connect(self):
        tandem, given = self.tandem, self.tandem.credentials
        self.sqs = aws.Sqs("127.0.0.1", tandem.api, given["access_key"], given["secret_key"], given["region"])

    def make(self, name):
        return self.sqs.do("CreateQueue", QueueName=name, Attributes={"VisibilityTimeout": "43200"})["QueueUrl"]

    def send(self, operation="SendMessage", seconds=None, **body):
        """Requests per second, and their p99 in us; a signature is good for five minutes."""
        headers, text = self.sqs.request(operation, **body)
        with open(self.script, "w", encoding="ascii") as f:
            f.write(SEND % (json.dumps(text.decode()), ", ".join(f"[{json.dumps(k)}] = {json.dumps(v)}" for k, v in headers.items() if k != "host")))
        return host.wrk(self.tandem.api, "/", CLIENTS, seconds or self.bench.options.seconds, self.script)[::2]

    def waiting(self, url):
        return int(self.sqs.do("GetQueueAttributes", QueueUrl=url, AttributeNames=["All"])["Attributes"]["ApproximateNumberOfMessages"])

    def work(self, url):
        with open(self.script, "w", encoding="ascii") as f:
            f.write(WORK % json.dumps(url))
        rate, _, p99 = host.wrk(self.tandem.api, "/", CLIENTS, self.bench.options.seconds, self.script)
        return rate / 2, p99

    def answers_after_a_kill(self, url):
        """Milliseconds from the kill to the queue's answer."""
        time.sleep(1.5)  # one that dies within a second of its start is started again more slowly
        os.kill(max(self.tandem.processes(), key=lambda pid: pid != self.tandem.process.pid), signal.SIGKILL)
        begin = time.perf_counter()
        self.connect()
        self.waiting(url)
        return (time.perf_counter() - begin) * 1e3

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
        add(f"messages sent, {CLIENTS} clients, each durable; beside syncs of the disk", "messages/s", [rate for rate, _ in empty], disk, at_least=10000)
        while_waiting(add, "messages sent", many, empty, full)


def while_waiting(add, what, many, empty, full):
    (rate, p99), (rate_full, p99_full) = zip(*empty), zip(*full)
    add(f"{what} while {many:,} wait in the queue, beside an empty one", "messages/s", rate_full, rate, at_least=0.8, of="ratio")
    add(f"{what} while {many:,} wait in the queue, p99 of a request, beside an empty one", "us", p99_full, p99)


def unsigned(bench, tandem):
    """Receiving and deleting: who signs would have to know the receipt before."""
    q, add, many = Queues(bench, tandem), bench.figures.add, bench.options.waiting
    work, deep = q.make("work"), q.make("deep")
    batch = [{"Id": str(i), "MessageBody": "x" * 100} for i in range(10)]
    empty, full = [], []
    for _ in range(ROUNDS):
        q.send("SendMessageBatch", QueueUrl=work, Entries=batch)
        empty.append(q.work(work))
        full.append(q.work(deep))
        if not q.waiting(work) or q.waiting(deep) < many * 0.9:
            raise host.BenchError("queues: there were not enough messages to receive")
    add(f"messages received and deleted, {CLIENTS} clients, unsigned", "messages/s", [rate for rate, _ in empty])
    while_waiting(add, "messages received and deleted", many, empty, full)
    add(f"tandemd + spawner, resident, {many:,} messages wait", "MB", [host.resident_bytes(tandem.processes()) / 1e6])
    add(f"kill -9 of tandemd while {many:,} messages wait to the next answer", "ms", [q.answers_after_a_kill(deep) for _ in range(ROUNDS)], at_most=200)


def run(bench):
    for body, more in ((lambda b, t: Queues(b, t).run(), ()), (unsigned, ("--auth", "none"))):
        tandem = host.Tandem(bench.options.bin, f"{bench.work}/state-queues", *more)
        try:
            body(bench, tandem)
        finally:
            tandem.stop()
