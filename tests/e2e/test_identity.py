# SPDX-License-Identifier: Apache-2.0
"""Who a function is when it calls the platform from inside its sandbox: its socket says so, and tandem.yaml what it may do."""
import json
import os
import shutil
import tempfile
import unittest

import tandem

CALLER = """
import json, os, urllib.error, urllib.request

def call(base, path, body=None, headers={}):
    request = urllib.request.Request(base + path, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return [answer.status, json.loads(answer.read() or b"null")]
    except urllib.error.HTTPError as e:
        return [e.code, json.loads(e.read())]

def handler(event, context):
    base = os.environ["AWS_ENDPOINT_URL"]
    if event["how"] == "plain":
        return call(base, event["path"], event["body"].encode() if "body" in event else None, event.get("headers", {}))
    if event["how"] == "credentials":
        return call("http://169.254.170.2", "/v2/credentials/x")
    import boto3
    from botocore.exceptions import ClientError
    client = boto3.client(event["service"], endpoint_url=base)
    try:
        answer = getattr(client, event["call"])(**event["arguments"])
        if "Payload" in answer:
            answer["Payload"] = json.load(answer["Payload"])
        answer.pop("ResponseMetadata")
        return json.loads(json.dumps(answer, default=str))
    except ClientError as e:
        return {"error": e.response["Error"]["Code"], "message": e.response["Error"]["Message"]}

def twice(event, context):
    return event["n"] * 2
"""
MANIFEST = """\
name: identity
functions:
  caller:
    code: .
    runtime: python3.11
    handler: app.handler
    timeout: 20s
    memory: 256
    allow:
      - {action: "lambda:InvokeFunction", resource: "twi*"}
      - {action: ["events:PutTargets", "sns:Subscribe", "s3:PutBucketNotification", "lambda:*Mapping",
         "sqs:ReceiveMessage", "scheduler:CreateSchedule"], resource: "*"}
      - {action: ["lambda:PutFunctionEventInvokeConfig", "lambda:UpdateFunctionConfiguration"], resource: twice}
  twice:
    code: .
    runtime: python3.11
    handler: app.twice
  secret:
    code: .
    runtime: python3.11
    handler: app.twice
"""


class Identity(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="tandem-e2e-app-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        for name, text in (("tandem.yaml", MANIFEST), ("app.py", CALLER)):
            with open(os.path.join(cls.folder, name), "w", encoding="utf-8") as f:
                f.write(text)
        cls.t = tandem.Tandem()
        cls.t.start()
        cls.addClassCleanup(cls.t.close)
        cls.t.cli("up", cwd=cls.folder)
        cls.c = cls.t.client(read_timeout=60)

    def test_nothing_is_started_for_who_may_not_start_it(self):
        arn = "arn:aws:%s:us-east-1:000000000000:%s"
        queue, secret, twice = arn % ("sqs", "jobs"), arn % ("lambda", "function:secret"), arn % ("lambda", "function:twice:$LATEST")
        self.t.client("sqs").create_queue(QueueName="jobs")
        self.t.client("s3").create_bucket(Bucket="things")
        topic = self.t.client("sns").create_topic(Name="news")["TopicArn"]
        self.t.client("events").put_rule(Name="r", EventPattern='{"source": ["shop"]}')
        schedule = {"Name": "s", "ScheduleExpression": "rate(1 day)", "FlexibleTimeWindow": {"Mode": "OFF"}}
        calls = (
            ("events", "put_targets", lambda to: {"Rule": "r", "Targets": [{"Id": "1", "Arn": to}]}),
            ("sns", "subscribe", lambda to: {"TopicArn": topic, "Protocol": "lambda", "Endpoint": to}),
            ("s3", "put_bucket_notification_configuration", lambda to: {"Bucket": "things", "NotificationConfiguration": {
                "LambdaFunctionConfigurations": [{"LambdaFunctionArn": to, "Events": ["s3:ObjectCreated:*"]}]}}),
            ("lambda", "create_event_source_mapping", lambda to: {"EventSourceArn": queue, "FunctionName": to}),
            ("scheduler", "create_schedule", lambda to: {**schedule, "Target": {"Arn": to, "RoleArn": "arn:aws:iam::000000000000:role/x"}}))
        for service, call, arguments in calls:
            refused = self.ask(how="sdk", service=service, call=call, arguments=arguments(secret))
            self.assertIn(refused.get("error"), ("AccessDenied", "AccessDeniedException"), (call, refused))
            self.assertIn('{action: "lambda:InvokeFunction", resource: "%s"}' % secret, refused["message"])
            done = self.ask(how="sdk", service=service, call=call, arguments=arguments(twice))
            self.assertNotIn("error", done, (call, done))
        for service, call, arguments, action in (
                ("lambda", "put_function_event_invoke_config",
                 {"FunctionName": "twice", "DestinationConfig": {"OnFailure": {"Destination": queue}}}, "sqs:SendMessage"),
                ("events", "put_targets", {"Rule": "r", "Targets": [{"Id": "2", "Arn": twice, "DeadLetterConfig": {"Arn": queue}}]},
                 "sqs:SendMessage"),
                ("events", "put_targets", {"Rule": "r", "Targets": [{
                    "Id": "2", "Arn": arn % ("ecs", "cluster/default"), "EcsParameters": {"TaskDefinitionArn": "t:1"}}]}, "ecs:RunTask"),
                ("lambda", "update_function_configuration", {"FunctionName": "twice", "DeadLetterConfig": {"TargetArn": queue}}, "sqs:SendMessage"),
                ("lambda", "create_event_source_mapping",
                 {"EventSourceArn": arn % ("kinesis", "stream/x"), "FunctionName": "twice"}, "kinesis:GetRecords")):
            refused = self.ask(how="sdk", service=service, call=call, arguments=arguments)
            self.assertIn("not authorized to perform: %s on" % action, refused.get("message", ""), (call, refused))

    def ask(self, **event):
        answer = self.c.invoke(FunctionName="caller", Payload=json.dumps(event))
        body = json.load(answer["Payload"])
        self.assertNotIn("FunctionError", answer, body)
        return body

    def test_socket_is_the_identity(self):
        status, body = self.ask(how="plain", path="/2015-03-31/functions/twice/invocations", body='{"n": 21}')
        self.assertEqual((status, body), (200, 42))
        status, body = self.ask(how="plain", path="/2015-03-31/functions/secret/invocations", body='{"n": 21}')
        self.assertEqual(status, 403)
        self.assertIn("assumed-role/caller/caller is not authorized to perform: lambda:InvokeFunction", body["Message"])

    def test_a_foreign_signature_gives_nothing(self):
        """Even a line that names the operator's key does not count on a sandbox's socket."""
        forged = (f"AWS4-HMAC-SHA256 Credential={self.t.env['access_key']}/20250101/us-east-1/lambda/aws4_request, "
                  "SignedHeaders=host, Signature=" + "0" * 64)
        status, body = self.ask(how="plain", path="/2015-03-31/functions", headers={"Authorization": forged})
        self.assertEqual(status, 403)
        self.assertIn("assumed-role/caller/caller", body["Message"])

    def test_sdk(self):
        answer = self.ask(how="sdk", service="lambda", call="invoke", arguments={"FunctionName": "twice", "Payload": '{"n": 4}'})
        self.assertEqual((answer["StatusCode"], answer["Payload"]), (200, 8))
        answer = self.ask(how="sdk", service="lambda", call="delete_function", arguments={"FunctionName": "twice"})
        self.assertEqual(answer["error"], "AccessDeniedException")
        self.assertIn("lambda:DeleteFunction", answer["message"])
        answer = self.ask(how="sdk", service="sts", call="get_caller_identity", arguments={})
        self.assertEqual(answer["Arn"], "arn:aws:sts::000000000000:assumed-role/caller/caller")

    def test_credentials_are_its_own(self):
        status, keys = self.ask(how="credentials")
        self.assertEqual(status, 200)
        outside = self.t.client("sts", access_key=keys["AccessKeyId"], secret_key=keys["SecretAccessKey"])
        self.assertEqual(outside.get_caller_identity()["Arn"], "arn:aws:sts::000000000000:assumed-role/caller/caller")


if __name__ == "__main__":
    unittest.main()
