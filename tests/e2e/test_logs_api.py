# SPDX-License-Identifier: Apache-2.0
"""CloudWatch Logs over what functions and tasks say, and over groups of one's own: the AWS CLI, boto3, aws-sdk."""
import json
import os
import signal
import subprocess
import time
import unittest

from botocore.exceptions import ClientError

import tandem

CODE = """
import json
def handler(event, context):
    print("hello " + event["word"])
    print(json.dumps({"level": event["level"], "n": event["n"], "at": [{"x": "deep"}]}))
    return context.log_stream_name
"""


def names(groups):
    return [g["logGroupName"] for g in groups]


class Logs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = tandem.Tandem()
        cls.t.start()
        cls.addClassCleanup(cls.t.close)
        cls.logs = cls.t.client("logs")
        cls.t.client("lambda").create_function(FunctionName="talker", **tandem.python_function(CODE))
        cls.t.client("lambda").get_waiter("function_active_v2").wait(FunctionName="talker")
        cls.streams = [cls.call(word, level, n) for word, level, n in (("one", "info", 1), ("two", "error", 22), ("three", "error", 3))]

    @classmethod
    def call(cls, word, level, n):
        answer = cls.t.client("lambda").invoke(FunctionName="talker", Payload=json.dumps({"word": word, "level": level, "n": n}))
        return json.load(answer["Payload"])

    def refused(self, code, call, **arguments):
        with self.assertRaises(ClientError) as caught:
            call(**arguments)
        self.assertEqual(caught.exception.response["Error"]["Code"], code)
        return caught.exception.response["Error"]["Message"]

    def filter(self, pattern="", **more):
        answer = self.logs.filter_log_events(logGroupName="/aws/lambda/talker", filterPattern=pattern, **more)
        return [e["message"].rstrip("\n") for e in answer["events"]], answer

    def said(self):
        """All that the three calls printed; platform lines are written with them, and may come later than the answer."""
        tandem.wait_for(lambda: len(self.filter("REPORT")[0]) == 3)
        return self.filter()[0]

    def test_groups(self):
        own = ["/g/a", "/g/b", "/g/c.log"]
        for name in own:
            self.logs.create_log_group(logGroupName=name, tags={"team": "x"})
        listed = [g for page in self.logs.get_paginator("describe_log_groups").paginate(PaginationConfig={"PageSize": 1}) for g in page["logGroups"]]
        self.assertEqual(names(listed), sorted(["/aws/lambda/talker", *own]))
        self.assertRegex(listed[0]["arn"], r"^arn:aws:logs:us-east-1:\d{12}:log-group:/aws/lambda/talker:\*$")
        self.assertLess(abs(listed[1]["creationTime"] / 1000 - time.time()), 3600)
        self.assertEqual(names(self.logs.describe_log_groups(logGroupNamePrefix="/g/")["logGroups"]), own)
        self.assertEqual(names(self.logs.describe_log_groups(logGroupNamePattern="alk")["logGroups"]), ["/aws/lambda/talker"])
        self.refused("ResourceAlreadyExistsException", self.logs.create_log_group, logGroupName="/g/a")
        self.refused("InvalidParameterException", self.logs.create_log_group, logGroupName="no:good")
        self.refused("InvalidParameterException", self.logs.put_retention_policy, logGroupName="/g/a", retentionInDays=2)
        self.logs.put_retention_policy(logGroupName="/g/a", retentionInDays=7)
        self.logs.tag_log_group(logGroupName="/g/a", tags={"cost": "1"})
        self.logs.untag_log_group(logGroupName="/g/a", tags=["team"])
        self.assertEqual(self.logs.list_tags_log_group(logGroupName="/g/a")["tags"], {"cost": "1"})
        self.t.restart()
        type(self).logs = self.t.client("logs")
        self.assertEqual(self.logs.describe_log_groups(logGroupNamePrefix="/g/a")["logGroups"][0]["retentionInDays"], 7)
        self.logs.delete_retention_policy(logGroupName="/g/a")
        self.assertNotIn("retentionInDays", self.logs.describe_log_groups(logGroupNamePrefix="/g/a")["logGroups"][0])
        for name in own:
            self.logs.delete_log_group(logGroupName=name)
        self.assertEqual(self.refused("ResourceNotFoundException", self.logs.delete_log_group, logGroupName="/g/a"),
                         "The specified log group does not exist.")

    def test_a_functions_log_filtered(self):
        said = self.said()
        self.assertEqual([s for s in said if s.startswith("hello")], ["hello one", "hello two", "hello three"])
        for pattern, want in (
                ("hello", ["hello one", "hello two", "hello three"]), ("hello t", ["hello two", "hello three"]), ('"hello two"', ["hello two"]),
                ("hello -two", ["hello one", "hello three"]), ("?one ?three", ["hello one", "hello three"]), ("HELLO", [])):
            self.assertEqual(self.filter(pattern)[0], want, pattern)
        for pattern, want in (
                ('{ $.level = "error" }', [22, 3]), ('{ $.level = "e*" && $.n > 3 }', [22]), ("{ $.n = 1 || $.n >= 22 }", [1, 22]),
                ('{ $.level != "error" }', [1]), ('{ $.at[0].x = "deep" && $.n < 3 }', [1]), ("{ $.missing = 1 }", [])):
            self.assertEqual([json.loads(m)["n"] for m in self.filter(pattern)[0]], want, pattern)
        for pattern in ('"open', "{ $.a }", "{ a = 1 }", "{ $.a = 1 && $.b = 2 || $.c = 3 }", "[a, b]", "{ $.a < x }"):
            self.assertIn("Invalid filter pattern", self.refused("InvalidParameterException", self.filter, pattern=pattern), pattern)

    def test_pages_and_times(self):
        said = self.said()
        one_by_one, token = [], {}
        while True:
            answer = self.logs.filter_log_events(logGroupName="/aws/lambda/talker", limit=1, **token)
            one_by_one += answer["events"]
            if "nextToken" not in answer:
                break
            token = {"nextToken": answer["nextToken"]}
        self.assertEqual([e["message"].rstrip("\n") for e in one_by_one], said)
        self.assertEqual(len({e["eventId"] for e in one_by_one}), len(said))
        middle = one_by_one[len(said) // 2]["timestamp"]
        self.assertEqual(self.filter(startTime=middle)[0], [e["message"].rstrip("\n") for e in one_by_one if e["timestamp"] >= middle])
        self.assertEqual(self.filter(endTime=middle)[0], [e["message"].rstrip("\n") for e in one_by_one if e["timestamp"] <= middle])
        self.assertEqual(self.filter(startTime=int(time.time() * 1000) + 3600_000)[0], [])
        for token in ("f/xyz", "", "f/00000001", "g/0000000100000000"):
            if token:
                self.refused("InvalidParameterException", self.logs.filter_log_events, logGroupName="/aws/lambda/talker", nextToken=token)
        # A place that is none is no more than a place without lines.
        self.logs.filter_log_events(logGroupName="/aws/lambda/talker", nextToken="f/ffffffffffffffff")
        self.logs.filter_log_events(logGroupName="/aws/lambda/talker", nextToken="f/0000000100000003")

    def test_get_log_events(self):
        said = self.said()
        streams = self.logs.describe_log_streams(logGroupName="/aws/lambda/talker", orderBy="LastEventTime", descending=True)["logStreams"]
        self.assertRegex(streams[0]["logStreamName"], r"^\d{4}/\d\d/\d\d/\[\$LATEST\]$")
        arguments = {"logGroupName": "/aws/lambda/talker", "logStreamName": streams[0]["logStreamName"]}
        if len(streams) > 1:  # midnight passed, and what follows is of two days
            return
        self.assertLess(streams[0]["firstEventTimestamp"], streams[0]["lastEventTimestamp"] + 1)
        head = self.logs.get_log_events(**arguments, startFromHead=True, limit=4)
        self.assertEqual([e["message"].rstrip("\n") for e in head["events"]], said[:4])
        rest = self.logs.get_log_events(**arguments, nextToken=head["nextForwardToken"])
        self.assertEqual([e["message"].rstrip("\n") for e in rest["events"]], said[4:])
        end = self.logs.get_log_events(**arguments, nextToken=rest["nextForwardToken"])
        self.assertEqual((end["events"], end["nextForwardToken"]), ([], rest["nextForwardToken"]))
        tail = self.logs.get_log_events(**arguments, limit=2)
        self.assertEqual([e["message"].rstrip("\n") for e in tail["events"]], said[-2:])
        back = self.logs.get_log_events(**arguments, nextToken=tail["nextBackwardToken"], limit=3)
        self.assertEqual([e["message"].rstrip("\n") for e in back["events"]], said[-5:-2])
        # The name that the function was told is that of the same day.
        told = self.logs.get_log_events(logGroupName="/aws/lambda/talker", logStreamName=self.streams[0], startFromHead=True)
        self.assertEqual(len(told["events"]), len(said))

    def test_own_events(self):
        create = {"logGroupName": "own", "logStreamName": "web/1"}
        self.refused("ResourceNotFoundException", self.logs.create_log_stream, **create)
        self.logs.create_log_group(logGroupName="own")
        now = int(time.time() * 1000)
        events = [{"timestamp": now - 5, "message": "multi\nline \"quoted\" ü"}, {"timestamp": now, "message": "second"}]
        self.assertEqual(self.refused("ResourceNotFoundException", self.logs.put_log_events, **create, logEvents=events),
                         "The specified log stream does not exist.")
        self.logs.create_log_stream(**create)
        self.logs.create_log_stream(logGroupName="own", logStreamName="web/2")
        self.refused("ResourceAlreadyExistsException", self.logs.create_log_stream, **create)
        self.refused("InvalidParameterException", self.logs.create_log_stream, logGroupName="own", logStreamName="a:b")
        self.logs.put_log_events(**create, logEvents=events)
        self.logs.put_log_events(logGroupName="own", logStreamName="web/2", logEvents=[{"timestamp": now + 1, "message": "other"}])
        self.assertIn("chronological", self.refused("InvalidParameterException", self.logs.put_log_events, **create, logEvents=events[::-1]))
        rejected = self.logs.put_log_events(**create, logEvents=[{"timestamp": 5, "message": "old"}, {"timestamp": now + 2, "message": "third"},
                                                                 {"timestamp": now + 10**8, "message": "new"}])["rejectedLogEventsInfo"]
        self.assertEqual(rejected, {"tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 2})
        got = self.logs.get_log_events(**create, startFromHead=True)["events"]
        self.assertEqual([(e["timestamp"], e["message"]) for e in got], [(e["timestamp"], e["message"]) for e in events] + [(now + 2, "third")])
        # What was answered is there after a crash.
        self.logs.put_log_events(logGroupName="own", logStreamName="web/2", logEvents=[{"timestamp": now + 3, "message": "last"}])
        old = tandem.daemon_of(self.t.pid)
        os.kill(old, signal.SIGKILL)
        tandem.wait_for(lambda: tandem.daemon_of(self.t.pid) not in (None, old))
        type(self).logs = self.t.client("logs")
        mixed = self.logs.filter_log_events(logGroupName="own", logStreamNamePrefix="web/")["events"]
        self.assertEqual([(e["logStreamName"], e["message"].split("\n")[0]) for e in mixed],
                         [("web/1", "multi"), ("web/1", "second"), ("web/2", "other"), ("web/1", "third"), ("web/2", "last")])
        streams = self.logs.describe_log_streams(logGroupName="own", limit=1)
        self.assertEqual(streams["logStreams"][0]["firstEventTimestamp"], now - 5)
        streams = self.logs.describe_log_streams(logGroupName="own", limit=1, nextToken=streams["nextToken"])
        self.assertEqual([s["logStreamName"] for s in streams["logStreams"]], ["web/2"])
        self.logs.delete_log_stream(**create)
        self.logs.create_log_stream(**create)  # begins anew
        self.assertEqual(self.logs.get_log_events(**create)["events"], [])
        self.logs.delete_log_group(logGroupName="own")

    def test_clients(self):
        self.said()
        tail = subprocess.run(["/usr/bin/aws", "--endpoint-url", self.t.api, "logs", "tail", "/aws/lambda/talker", "--since", "1h", "--filter-pattern", "hello"],
                              env=self.t.environment(), capture_output=True, text=True, timeout=60 * tandem.SLOW, check=True).stdout
        self.assertRegex(tail, r"hello one\n.*hello two\n.*hello three\n")
        follow = subprocess.Popen(["/usr/bin/aws", "--endpoint-url", self.t.api, "logs", "tail", "/aws/lambda/talker", "--since", "1h", "--follow", "--filter-pattern", "hello"],
                                  env={**self.t.environment(), "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True)  # it holds back lines
        try:
            self.assertIn("hello one", follow.stdout.readline())
        finally:
            follow.terminate()
            follow.communicate()
        self.assertEqual(self.t.node(self, """
            new (require("aws-sdk")).CloudWatchLogs({endpoint: process.env.ENDPOINT})
                .filterLogEvents({logGroupName: "/aws/lambda/talker", filterPattern: "hello"}).promise()
                .then(r => console.log(JSON.stringify(r.events.map(e => e.message))))"""), ["hello one\n", "hello two\n", "hello three\n"])


if __name__ == "__main__":
    unittest.main()
