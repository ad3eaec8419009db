#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
Asynchronous events: how often they are tried, where their results go, and that none is lost or told twice when tandemd is killed
between any two steps of their life. Minutes pass by the daemon's own clock, which is stepped (debug builds).
"""
import contextlib
import datetime
import json
import os
import signal
import sqlite3
import sys
import threading
import unittest


sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tandem  # noqa: E402

WAIT_S = 30 * tandem.SLOW
MINUTE_US = 60000000
# Says what it got, in a line of its own.
SAYS = "import json\ndef handler(event, context):\n    print('got', json.dumps(event), flush=True)\n    return {'said': event}\n"
FAILS = "def handler(event, context):\n    print('try', context.aws_request_id, flush=True)\n    raise ValueError('broken on purpose')\n"
HOLDS = tandem.WAIT_WHILE_HELD + """
def handler(event, context):
    print('begin', event, flush=True)
    wait_while_held()
    return 'held'
"""


class Base(tandem.Fails, unittest.TestCase):
    def setUp(self):
        self.t = self.enterContext(tandem.Tandem())
        self.c = self.t.client()

    def create(self, name, code=SAYS, **more):
        answer = self.c.create_function(FunctionName=name, **{**tandem.python_function(code), **more})
        self.c.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 1})
        return answer["FunctionArn"]

    def hold(self):
        go = tandem.held(self.t)
        self.addCleanup(go)
        return go

    def send(self, name, event, **more):
        answer = self.c.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps(event).encode(), **more)
        self.assertEqual((answer["StatusCode"], answer["Payload"].read()), (202, b""))
        return answer["ResponseMetadata"]["RequestId"]

    def lines(self, name, word):
        return [line[line.index(word) + len(word) + 1:] for line in self.t.cli("logs", name).splitlines()
                if word + " " in line and "RequestId" not in line]

    def got(self, name):
        return [json.loads(x) for x in self.lines(name, "got")]

    def wait_got(self, name, n=1):
        return tandem.wait_for(lambda: len(got := self.got(name)) >= n and got, WAIT_S, lambda: self.t.cli("logs", name))

    def wait_lines(self, name, word, want):
        tandem.wait_for(lambda: self.lines(name, word) == want, WAIT_S, lambda: f"{want}\n{self.t.cli('logs', name)}")

    def stored(self):
        """Accepted events that are not over: target, attempts, when they are due."""
        with contextlib.closing(sqlite3.connect(f"file:{self.t.state}/daemon/tandem.db?mode=ro", uri=True)) as db:
            return db.execute("SELECT function,attempts,not_before_us FROM event ORDER BY id").fetchall()

    def wait_stored(self, *want):
        """The function and attempts of each."""
        tandem.wait_for(lambda: [x[:2] for x in self.stored()] == list(want), WAIT_S, lambda: f"{self.stored()} instead of {want}")

    def kill(self):
        old = tandem.wait_for(lambda: tandem.daemon_of(self.t.pid))
        os.kill(old, signal.SIGKILL)
        tandem.wait_for(lambda: tandem.daemon_of(self.t.pid) not in (None, old), WAIT_S)


class Settings(Base):
    def test_event_invoke_config(self):
        arn, to = self.create("f"), self.create("to")
        put = self.c.put_function_event_invoke_config
        self.fails("ResourceNotFoundException", 404, self.c.get_function_event_invoke_config,
                   f"The function {arn}:$LATEST doesn't have an EventInvokeConfig", FunctionName="f")
        self.fails("ResourceNotFoundException", 404, self.c.update_function_event_invoke_config, "doesn't have an EventInvokeConfig",
                   FunctionName="f", MaximumRetryAttempts=1)
        self.fails("ResourceNotFoundException", 404, put, "The function doesn't exist.", FunctionName="none", MaximumRetryAttempts=1)
        self.fails("InvalidParameterValueException", 400, put, "You must specify at least one", FunctionName="f")
        for text, wrong in (("'maximumRetryAttempts'", {"MaximumRetryAttempts": 3}), ("'maximumEventAgeInSeconds'", {"MaximumEventAgeInSeconds": 59})):
            with self.subTest(wrong):
                session = self.t.client(parameter_validation=False)
                self.fails("ValidationException", 400, session.put_function_event_invoke_config, text, FunctionName="f", **wrong)
        for text, where in (("there is no such", arn.replace(":f", ":none")), ("for itself", arn), ("there is no such", "arn:aws:sqs:us-east-1:000000000000:none")):
            self.fails("InvalidParameterValueException", 400, put, text, FunctionName="f", DestinationConfig={"OnFailure": {"Destination": where}})
        made = put(FunctionName="f", MaximumRetryAttempts=0, DestinationConfig={"OnSuccess": {"Destination": to}})
        self.assertEqual((made["FunctionArn"], made["MaximumRetryAttempts"], made["DestinationConfig"]),
                         (arn + ":$LATEST", 0, {"OnSuccess": {"Destination": to}, "OnFailure": {}}))
        self.assertIsInstance(made["LastModified"], datetime.datetime)
        self.assertNotIn("MaximumEventAgeInSeconds", made)
        changed = self.c.update_function_event_invoke_config(FunctionName="f", MaximumEventAgeInSeconds=60,
                                                             DestinationConfig={"OnFailure": {"Destination": to}})
        self.assertEqual((changed["MaximumRetryAttempts"], changed["MaximumEventAgeInSeconds"], changed["DestinationConfig"]),
                         (0, 60, {"OnSuccess": {"Destination": to}, "OnFailure": {"Destination": to}}))
        self.assertEqual(self.t.aws("lambda", "get-function-event-invoke-config", "--function-name", "f")["MaximumEventAgeInSeconds"], 60)
        self.c.publish_version(FunctionName="f")
        put(FunctionName="f", Qualifier="1", MaximumRetryAttempts=2)
        page = self.c.list_function_event_invoke_configs(FunctionName="f", MaxItems=1)
        rest = self.c.list_function_event_invoke_configs(FunctionName="f", Marker=page["NextMarker"])
        self.assertEqual([x["FunctionArn"] for x in page["FunctionEventInvokeConfigs"] + rest["FunctionEventInvokeConfigs"]],
                         [arn + ":$LATEST", arn + ":1"])
        self.c.delete_function_event_invoke_config(FunctionName="f")
        self.assertEqual(len(self.c.list_function_event_invoke_configs(FunctionName="f")["FunctionEventInvokeConfigs"]), 1)
        self.c.delete_function(FunctionName="f")
        self.create("f")  # nothing is left of the one before
        self.assertEqual(self.c.list_function_event_invoke_configs(FunctionName="f")["FunctionEventInvokeConfigs"], [])

    def test_permissions(self):
        arn = self.create("f")
        self.fails("ResourceNotFoundException", 404, self.c.get_policy, "No policy is associated with the given resource.", FunctionName="f")
        s3 = {"FunctionName": "f", "StatementId": "s3", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com",
              "SourceArn": "arn:aws:s3:::media", "SourceAccount": "000000000000"}
        said = json.loads(self.c.add_permission(**s3)["Statement"])
        self.assertEqual(said, {"Sid": "s3", "Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "lambda:InvokeFunction",
                                "Resource": arn, "Condition": {"StringEquals": {"AWS:SourceAccount": "000000000000"},
                                                               "ArnLike": {"AWS:SourceArn": "arn:aws:s3:::media"}}})
        self.fails("ResourceConflictException", 409, self.c.add_permission, "The statement id (s3) provided already exists", **s3)
        self.c.add_permission(FunctionName="f", StatementId="all", Action="lambda:InvokeFunctionUrl", Principal="*", FunctionUrlAuthType="NONE")
        policy = self.t.aws("lambda", "get-policy", "--function-name", "f")
        self.assertEqual([(x["Sid"], x["Principal"]) for x in json.loads(policy["Policy"])["Statement"]],
                         [("s3", {"Service": "s3.amazonaws.com"}), ("all", "*")])
        self.fails("PreconditionFailedException", 412, self.c.remove_permission, FunctionName="f", StatementId="s3", RevisionId="other")
        self.c.remove_permission(FunctionName="f", StatementId="s3", RevisionId=policy["RevisionId"])
        self.fails("ResourceNotFoundException", 404, self.c.remove_permission, "Statement s3 is not found in resource policy.",
                   FunctionName="f", StatementId="s3")
        self.c.remove_permission(FunctionName="f", StatementId="all")
        self.fails("ResourceNotFoundException", 404, self.c.remove_permission, "No policy is associated", FunctionName="f", StatementId="all")
        self.fails("InvalidParameterValueException", 400, self.c.add_permission, "for $LATEST", **s3, Qualifier="$LATEST")

    def test_invoke_async(self):
        self.create("f")
        self.assertEqual(self.c.invoke_async(FunctionName="f", InvokeArgs=b'{"n": 1}')["Status"], 202)
        self.assertEqual(self.wait_got("f"), [{"n": 1}])
        self.fails("InvalidRequestContentException", 400, self.c.invoke_async, FunctionName="f", InvokeArgs=b"{")


class Tries(Base):
    def failing(self, **rules):
        """A function whose failures another one is told."""
        to = self.create("to")
        self.create("f", FAILS)
        self.c.put_function_event_invoke_config(FunctionName="f", **rules, DestinationConfig={"OnFailure": {"Destination": to}})
        self.addCleanup(self.t.clock, resume=1)
        self.t.clock(stop=1)

    def test_twice_again_after_one_and_two_minutes(self):
        self.failing()
        request = self.send("f", {"n": 1})
        self.wait_stored(("f", 1))
        self.t.clock(step_us=MINUTE_US - 1000)
        self.wait_stored(("f", 1))
        self.t.clock(step_us=1000)
        self.wait_stored(("f", 2))
        self.t.clock(step_us=2 * MINUTE_US)
        record = self.wait_got("to")[0]
        self.wait_lines("f", "try", [request] * 3)
        self.assertEqual((record["version"], record["requestPayload"], record["responseContext"]),
                         ("1.0", {"n": 1}, {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}))
        context = record["requestContext"]
        self.assertTrue(context.pop("functionArn").endswith(":f:$LATEST"))
        self.assertEqual(context, {"requestId": request, "condition": "RetriesExhausted", "approximateInvokeCount": 3})
        self.assertEqual(record["responsePayload"]["errorMessage"], "broken on purpose")
        self.wait_stored()

    def test_too_old(self):
        self.failing(MaximumEventAgeInSeconds=60)
        self.send("f", 1)
        self.wait_stored(("f", 1))
        self.t.clock(step_us=MINUTE_US + 1000000)  # the wall clock and the one that events wait by are not the same to the microsecond
        record = self.wait_got("to")[0]
        self.assertEqual((record["requestContext"]["condition"], record["requestContext"]["approximateInvokeCount"]), ("EventAgeExceeded", 1))
        self.assertNotIn("responseContext", record)

    def test_nothing_is_reserved(self):
        self.failing()
        self.c.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=0)
        self.send("f", 1)
        record = self.wait_got("to")[0]
        self.assertEqual((record["requestContext"]["condition"], record["requestContext"]["approximateInvokeCount"]), ("ZeroReservedConcurrency", 0))
        self.assertEqual(self.lines("f", "try"), [])

    def test_a_restart_in_between(self):
        self.failing(MaximumRetryAttempts=1)
        request = self.send("f", 1)
        self.wait_lines("f", "try", [request])
        self.wait_stored(("f", 1))
        self.kill()  # the next daemon's clock runs
        self.t.clock(stop=1)
        self.t.clock(step_us=MINUTE_US)
        self.wait_got("to")
        self.wait_lines("f", "try", [request] * 2)

    def test_success_of_an_alias(self):
        to = self.create("to")
        self.create("ok")
        self.c.publish_version(FunctionName="ok")
        self.c.create_alias(FunctionName="ok", Name="live", FunctionVersion="1")
        self.c.put_function_event_invoke_config(FunctionName="ok", Qualifier="live", DestinationConfig={"OnSuccess": {"Destination": to}})
        self.send("ok", {"n": 7})  # $LATEST has none
        request = self.send("ok", {"n": 8}, Qualifier="live")
        record = self.wait_got("to")[0]
        self.assertTrue(record["requestContext"]["functionArn"].endswith(":ok:live"))
        self.assertEqual((record["requestContext"]["requestId"], record["requestContext"]["condition"], record["responsePayload"]),
                         (request, "Success", {"said": {"n": 8}}))
        self.assertEqual(record["responseContext"], {"statusCode": 200, "executedVersion": "1"})
        self.wait_got("ok", 2)
        self.wait_stored()
        self.assertEqual(len(self.got("to")), 1)

    def test_no_room(self):
        """One call at once is reserved, and somebody has it: the event waits, and is not counted as tried."""
        self.create("h", HOLDS, Timeout=60)
        go = self.hold()
        self.c.put_function_concurrency(FunctionName="h", ReservedConcurrentExecutions=1)
        caller = threading.Thread(target=lambda: self.t.client().invoke(FunctionName="h", Payload=b'"first"'))
        caller.start()
        self.addCleanup(caller.join)
        self.wait_lines("h", "begin", ["first"])
        self.addCleanup(self.t.clock, resume=1)
        self.t.clock(stop=1)
        self.send("h", "second")
        tandem.wait_for(lambda: "throttled" in {r["outcome"] for r in self.t.rows("h")}, WAIT_S)
        self.wait_stored(("h", 0))
        go()
        caller.join()
        self.t.clock(step_us=1000000)
        self.wait_lines("h", "begin", ["first", "second"])
        self.wait_stored()


class Killed(Base):
    """tandemd is killed between two steps of an event's life. SIGSTOP and what is reserved keep the steps apart."""

    def test_accepted_and_not_begun(self):
        self.create("h", HOLDS, Timeout=60)
        go = self.hold()
        self.c.put_function_concurrency(FunctionName="h", ReservedConcurrentExecutions=1)
        self.send("h", "first")
        self.wait_lines("h", "begin", ["first"])
        self.send("h", "second")
        self.kill()
        self.wait_stored(("h", 0), ("h", 0))
        go()
        self.wait_stored()
        self.wait_lines("h", "begin", ["first", "second"])

    def test_begun_and_its_result_not_told(self):
        to = self.create("to")
        self.create("h", HOLDS, Timeout=60)
        go = self.hold()
        self.c.put_function_event_invoke_config(FunctionName="h", DestinationConfig={"OnSuccess": {"Destination": to}})
        request = self.send("h", "once")
        self.wait_lines("h", "begin", ["once"])
        self.kill()
        go()
        record = self.wait_got("to")[0]
        self.assertEqual((record["requestContext"]["requestId"], record["responsePayload"]), (request, "held"))
        self.wait_stored()
        self.assertEqual((len(self.got("to")), self.lines("h", "begin")), (1, ["once"]))

    def test_told_and_not_heard(self):
        """What a result leads to is there as soon as the event is gone, and once."""
        to = self.create("h", HOLDS, Timeout=60)
        go = self.hold()
        self.create("f")
        self.c.put_function_event_invoke_config(FunctionName="f", DestinationConfig={"OnSuccess": {"Destination": to}})
        self.c.put_function_concurrency(FunctionName="h", ReservedConcurrentExecutions=1)
        self.send("h", "before")
        self.wait_lines("h", "begin", ["before"])
        self.send("f", 5)
        self.wait_stored(("h", 0), ("h", 0))
        self.wait_got("f")
        self.kill()
        self.wait_stored(("h", 0), ("h", 0))
        go()
        self.wait_stored()
        tandem.wait_for(lambda: len(self.lines("h", "begin")) == 2, WAIT_S)
        self.assertEqual(self.got("f"), [5])


if __name__ == "__main__":
    unittest.main()
