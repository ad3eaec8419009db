# SPDX-License-Identifier: Apache-2.0
"""The Lambda API as boto3, the AWS CLI and both JavaScript SDKs see it."""
import base64
import hashlib
import http.client
import json
import os
import unittest
import urllib.error
import urllib.request


import tandem

ECHO = """
import os
def handler(event, context):
    print("hello log")
    return {"event": event, "id": context.aws_request_id, "arn": context.invoked_function_arn, "env": os.environ.get("COLOUR"),
            "client": context.client_context.custom if context.client_context else None}
"""
FAIL = "def handler(event, context):\n    raise ValueError('broken on purpose')\n"
BAD_IMPORT = "import no_such_module_anywhere\ndef handler(event, context):\n    return 1\n"


class Base(tandem.Fails, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = tandem.Tandem()
        cls.t.start()
        cls.addClassCleanup(cls.t.close)
        cls.c = cls.t.client()

    def tearDown(self):
        for f in self.c.list_functions()["Functions"]:
            self.c.delete_function(FunctionName=f["FunctionName"])

    def create(self, name, code=ECHO, **more):
        answer = self.c.create_function(FunctionName=name, **{**tandem.python_function(code), **more})
        self.c.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 1})
        return answer


class Functions(Base):
    def test_create_as_recorded(self):
        answer = self.create("recorded", Environment={"Variables": {"COLOUR": "blue"}}, Tags={"team": "a"}, Description="d")
        code = tandem.python_function(ECHO)["Code"]["ZipFile"]
        for key, value in {
                "FunctionName": "recorded", "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:recorded",
                "Runtime": "python3.11", "Role": tandem.ROLE, "Handler": "app.handler", "CodeSize": len(code), "Description": "d",
                "Timeout": 3, "MemorySize": 128, "Version": "$LATEST", "State": "Pending", "StateReason": "The function is being created.",
                "StateReasonCode": "Creating", "PackageType": "Zip", "EphemeralStorage": {"Size": 512},
                "TracingConfig": {"Mode": "PassThrough"}, "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
                "Environment": {"Variables": {"COLOUR": "blue"}},
                "CodeSha256": base64.b64encode(hashlib.sha256(code).digest()).decode()}.items():
            self.assertEqual(answer[key], value, key)
        self.assertEqual(answer["ResponseMetadata"]["HTTPStatusCode"], 201)
        self.assertRegex(answer["LastModified"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000$")
        self.assertRegex(answer["RevisionId"], r"^[0-9a-f-]{36}$")
        got = self.c.get_function(FunctionName="recorded")
        self.assertEqual(got["Configuration"]["State"], "Active")
        self.assertEqual(got["Configuration"]["LastUpdateStatus"], "Successful")
        self.assertEqual(got["Tags"], {"team": "a"})
        with urllib.request.urlopen(got["Code"]["Location"], timeout=10) as body:
            self.assertEqual(body.read(), code)
        with self.assertRaises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(got["Code"]["Location"][:-1] + "x", timeout=10)
        with refused.exception as e:
            self.assertEqual(e.code, 403)
        self.fails("ResourceConflictException", 409, self.c.create_function, "Function already exist: recorded", FunctionName="recorded",
                   **tandem.python_function(ECHO))

    def test_a_variable_that_is_called_as_the_archive(self):
        variables = {"ZipFile": "mine"}
        for name, kept in (("before", {"Environment": {"Variables": variables}, **tandem.python_function(ECHO)}),
                           ("behind", {**tandem.python_function(ECHO), "Environment": {"Variables": variables}})):
            answer = self.c.create_function(FunctionName=name, **kept)
            self.assertEqual(answer["Environment"]["Variables"], variables)
            self.assertEqual(self.c.invoke(FunctionName=name, Payload=b"7")["Payload"].read()[:11], b'{"event": 7')

    def test_validation(self):
        good = tandem.python_function(ECHO)
        loose = self.t.client(parameter_validation=False)
        for code, text, change in [
                ("ValidationException", "greater than or equal to 128", {"MemorySize": 64}),
                ("ValidationException", "less than or equal to 10240", {"MemorySize": 10241}),
                ("ValidationException", "less than or equal to 900", {"Timeout": 901}),
                ("ValidationException", "greater than or equal to 512", {"EphemeralStorage": {"Size": 511}}),
                ("InvalidParameterValueException", "exceeded the 4KB limit", {"Environment": {"Variables": {"BIG": "x" * 5000}}}),
                ("InvalidParameterValueException", "reserved keys", {"Environment": {"Variables": {"AWS_REGION": "x"}}}),
                ("ValidationException", "Map keys", {"Environment": {"Variables": {"1X": "x"}}}),
                ("InvalidParameterValueException", "python3.", {"Runtime": "cobol85"}),
                ("InvalidParameterValueException", "Could not unzip uploaded file", {"Code": {"ZipFile": b"this is no archive"}}),
                ("InvalidParameterValueException", "non-empty zip", {"Code": {"ZipFile": b""}}),
                ("InvalidParameterValueException", "ZipFile", {"Code": {"S3Bucket": "bucket", "S3Key": "key"}}),
                ("InvalidParameterValueException", "does not exist", {"Layers": ["arn:aws:lambda:us-east-1:000000000000:layer:x:1"]}),
        ]:
            with self.subTest(change=str(change)[:60]):
                self.fails(code, 400, loose.create_function, text, **{"FunctionName": "invalid", **good, **change})
        self.fails("InvalidParameterValueException", 400, loose.create_function, "mandatory parameters", FunctionName="x", Role=tandem.ROLE,
                   Code=good["Code"])
        self.fails("ValidationException", 400, loose.create_function, "functionName", FunctionName="no spaces", **good)
        self.fails("ValidationException", 400, loose.create_function, "less than or equal to 64", FunctionName="n" * 65, **good)
        self.assertEqual(self.c.list_functions()["Functions"], [])

    def test_import_error_is_failed_with_reason(self):
        self.c.create_function(FunctionName="unimportable", **tandem.python_function(BAD_IMPORT))
        got = self.c.get_function_configuration(FunctionName="unimportable")
        self.assertEqual(got["State"], "Failed")
        self.assertIn("no_such_module_anywhere", got["StateReason"])
        answer = self.c.invoke(FunctionName="unimportable")
        self.assertEqual(answer["FunctionError"], "Unhandled")
        self.assertIn("no_such_module_anywhere", json.load(answer["Payload"])["errorMessage"])

    def test_update(self):
        first = self.create("changing", Environment={"Variables": {"COLOUR": "red"}})
        answer = self.c.update_function_code(FunctionName="changing", ZipFile=tandem.zip_of({"app.py": "def handler(e, c):\n    return 2\n"}))
        self.assertEqual((answer["State"], answer["LastUpdateStatus"]), ("Active", "InProgress"))
        self.assertNotEqual(answer["RevisionId"], first["RevisionId"])
        self.c.get_waiter("function_updated_v2").wait(FunctionName="changing", WaiterConfig={"Delay": 1, "MaxAttempts": 1})
        self.assertEqual(json.load(self.c.invoke(FunctionName="changing")["Payload"]), 2)
        self.fails("PreconditionFailedException", 412, self.c.update_function_configuration, "Revision Id", FunctionName="changing",
                   Timeout=9, RevisionId=first["RevisionId"])
        answer = self.c.update_function_configuration(FunctionName="changing", Timeout=9, MemorySize=256)
        self.assertEqual((answer["Timeout"], answer["MemorySize"], answer["Environment"]["Variables"]), (9, 256, {"COLOUR": "red"}))
        answer = self.c.update_function_configuration(FunctionName="changing", Environment={"Variables": {}})
        self.assertNotIn("Environment", answer)
        before = self.c.get_function_configuration(FunctionName="changing")
        self.c.update_function_code(FunctionName="changing", ZipFile=tandem.zip_of({"app.py": ECHO}), DryRun=True)
        self.assertEqual(self.c.get_function_configuration(FunctionName="changing")["CodeSha256"], before["CodeSha256"])

    def test_list_pages(self):
        for i in range(7):
            self.create(f"page-{i}")
        pages = [[f["FunctionName"] for f in p["Functions"]] for p in
                 self.c.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 3})]
        self.assertEqual(pages, [["page-0", "page-1", "page-2"], ["page-3", "page-4", "page-5"], ["page-6"]])
        self.fails("ValidationException", 400, self.t.client(parameter_validation=False).list_functions, "maxItems", MaxItems=0)

    def test_names(self):
        self.create("named")
        arn = "arn:aws:lambda:us-east-1:000000000000:function:named"
        for name in ("named", arn, "000000000000:function:named", "function:named", "named:$LATEST", arn + ":$LATEST"):
            self.assertEqual(self.c.get_function_configuration(FunctionName=name)["FunctionName"], "named", name)
        self.assertEqual(self.c.get_function_configuration(FunctionName="named", Qualifier="$LATEST")["FunctionArn"], arn + ":$LATEST")
        loose = self.t.client(parameter_validation=False)
        self.fails("ResourceNotFoundException", 404, loose.get_function, f"Function not found: {arn}:7", FunctionName="named", Qualifier="7")
        self.fails("InvalidParameterValueException", 400, loose.get_function, "derived qualifier", FunctionName="named:$LATEST", Qualifier="7")
        self.fails("ResourceNotFoundException", 404, loose.get_function, "not reachable in this region ('us-east-1')",
                   FunctionName="arn:aws:lambda:eu-west-1:000000000000:function:named")
        self.fails("ResourceNotFoundException", 404, loose.invoke, "Function not found: arn:aws:lambda:us-east-1:000000000000:function:none",
                   FunctionName="none")
        self.fails("ValidationException", 400, loose.get_function, "functionName", FunctionName="a b")

    def test_delete(self):
        self.create("going")
        self.fails("InvalidParameterValueException", 400, self.c.delete_function, "$LATEST version cannot be deleted", FunctionName="going",
                   Qualifier="$LATEST")
        self.assertEqual(self.c.delete_function(FunctionName="going")["ResponseMetadata"]["HTTPStatusCode"], 204)
        self.fails("ResourceNotFoundException", 404, self.c.delete_function, FunctionName="going")
        self.fails("ResourceNotFoundException", 404, self.c.invoke, FunctionName="going")

    def test_tags(self):
        arn = self.create("tagged", Tags={"a": "1"})["FunctionArn"]
        self.c.tag_resource(Resource=arn, Tags={"b": "2 with space/+", "a": "3"})
        self.assertEqual(self.c.list_tags(Resource=arn)["Tags"], {"a": "3", "b": "2 with space/+"})
        self.c.untag_resource(Resource=arn, TagKeys=["a", "none"])
        self.assertEqual(self.c.list_tags(Resource=arn)["Tags"], {"b": "2 with space/+"})
        self.fails("InvalidParameterValueException", 400, self.c.tag_resource, "50", Resource=arn, Tags={f"k{i}": "v" for i in range(50)})
        for tags in {"": "v"}, {"k" * 129: "v"}, {"k": "v" * 257}:
            self.fails("InvalidParameterValueException", 400, self.c.tag_resource, "128", Resource=arn, Tags=tags)
        self.fails("ResourceNotFoundException", 404, self.c.list_tags, Resource=arn + "2")

    def test_what_terraform_reads(self):
        self.create("read")
        self.assertEqual(self.c.get_function_code_signing_config(FunctionName="read")["FunctionName"], "read")
        self.assertNotIn("ReservedConcurrentExecutions", self.c.get_function_concurrency(FunctionName="read"))
        versions = self.c.list_versions_by_function(FunctionName="read")["Versions"]
        self.assertEqual([v["Version"] for v in versions], ["$LATEST"])
        settings = self.c.get_account_settings()
        self.assertEqual(settings["AccountLimit"]["CodeSizeUnzipped"], 262144000)
        self.assertEqual(settings["AccountUsage"]["FunctionCount"], 1)

    def test_survives_restart(self):
        self.create("kept", Tags={"x": "y"})
        before = self.c.get_function(FunctionName="kept")
        self.t.restart()
        type(self).c = self.t.client()
        after = self.c.get_function(FunctionName="kept")
        self.assertEqual(before["Configuration"], after["Configuration"])
        self.assertEqual(after["Tags"], {"x": "y"})
        self.assertEqual(json.load(self.c.invoke(FunctionName="kept", Payload=b"5")["Payload"])["event"], 5)


class Invoke(Base):
    def test_synchronous(self):
        self.create("echo", Environment={"Variables": {"COLOUR": "green"}})
        context = base64.b64encode(json.dumps({"custom": {"k": "v"}}).encode()).decode()
        answer = self.c.invoke(FunctionName="echo", Payload=json.dumps({"ä": [1, 2.5, None]}), LogType="Tail", ClientContext=context)
        body = json.load(answer["Payload"])
        self.assertEqual(body["event"], {"ä": [1, 2.5, None]})
        self.assertEqual(body["env"], "green")
        self.assertEqual(body["client"], {"k": "v"})
        self.assertEqual(body["arn"], "arn:aws:lambda:us-east-1:000000000000:function:echo")
        self.assertEqual(body["id"], answer["ResponseMetadata"]["RequestId"])
        self.assertEqual((answer["StatusCode"], answer["ExecutedVersion"]), (200, "$LATEST"))
        self.assertNotIn("FunctionError", answer)
        log = tandem.log_tail(answer)
        self.assertRegex(log, rf"START RequestId: {body['id']} Version: \$LATEST\n[\s\S]*hello log\n[\s\S]*END RequestId: {body['id']}\n")
        self.assertEqual(json.load(self.c.invoke(FunctionName="echo")["Payload"])["event"], {})

    def test_function_error_and_types(self):
        self.create("failing", FAIL)
        answer = self.c.invoke(FunctionName="failing")
        self.assertEqual((answer["StatusCode"], answer["FunctionError"]), (200, "Unhandled"))
        error = json.load(answer["Payload"])
        self.assertEqual((error["errorType"], error["errorMessage"]), ("ValueError", "broken on purpose"))
        dry = self.c.invoke(FunctionName="failing", InvocationType="DryRun")
        self.assertEqual((dry["StatusCode"], dry["Payload"].read()), (204, b""))
        self.fails("InvalidRequestContentException", 400, self.c.invoke, "Could not parse request body into json", FunctionName="failing",
                   Payload=b"{not json")
        self.fails("InvalidRequestContentException", 400, self.c.invoke, "Client context", FunctionName="failing", ClientContext="%%%")
        self.fails("RequestTooLargeException", 413, self.c.invoke, "6291556", FunctionName="failing", Payload=b'"' + b"x" * 6291556 + b'"')
        self.fails("RequestTooLargeException", 413, self.c.invoke, "1048576", FunctionName="failing", InvocationType="Event",
                   Payload=b'"' + b"x" * 1048576 + b'"')
        self.fails("ValidationException", 400, self.t.client(parameter_validation=False).invoke, "invocationType", FunctionName="failing",
                   InvocationType="Later")

    def test_large_payload(self):
        self.create("large", "def handler(e, c):\n    return len(e) if isinstance(e, str) else 'y' * e['n']\n", Timeout=20, MemorySize=512)
        self.assertEqual(json.load(self.c.invoke(FunctionName="large", Payload=b'"' + b"x" * 6000000 + b'"')["Payload"]), 6000000)
        self.assertEqual(len(json.load(self.c.invoke(FunctionName="large", Payload=b'{"n":6000000}')["Payload"])), 6000000)
        answer = self.c.invoke(FunctionName="large", Payload=b'{"n":6291556}')
        self.assertEqual(answer["FunctionError"], "Unhandled")
        self.assertEqual(json.load(answer["Payload"])["errorType"], "Function.ResponseSizeTooLarge")

    def test_event_runs(self):
        self.create("later", "def handler(e, c):\n    print('ran with', e['n'])\n")
        answer = self.c.invoke(FunctionName="later", InvocationType="Event", Payload=b'{"n": 4711}')
        self.assertEqual((answer["StatusCode"], answer["Payload"].read()), (202, b""))
        tandem.wait_for(lambda: "ran with 4711" in self.t.cli("logs", "later"), 15)


class Access(Base):
    def test_signatures(self):
        self.fails("UnrecognizedClientException", 403, self.t.client(access_key="AKIANOBODYNOBODYNOBO").list_functions, "security token")
        self.fails("InvalidSignatureException", 403, self.t.client(secret_key="x" * 40).list_functions, "does not match the signature")
        self.fails("InvalidSignatureException", 403, self.t.client(region="eu-west-1").list_functions, "valid region")
        with self.assertRaises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(self.t.api + "/2015-03-31/functions", timeout=10)
        with raised.exception as e:
            self.assertEqual((e.code, e.headers["x-amzn-ErrorType"]), (403, "MissingAuthenticationTokenException"))
            self.assertEqual(json.load(e)["message"], "Missing Authentication Token")

    def test_botocore_signs_what_we_verify(self):
        """Names that need escaping, repeated and empty query members, and the presigned form."""
        from botocore.auth import SigV4Auth, SigV4QueryAuth  # pylint: disable=import-outside-toplevel
        from botocore.awsrequest import AWSRequest  # pylint: disable=import-outside-toplevel
        from botocore.credentials import Credentials  # pylint: disable=import-outside-toplevel
        keys = Credentials(self.t.env["access_key"], self.t.env["secret_key"])
        for path in ("/2015-03-31/functions/", "/2015-03-31/functions?MaxItems=5&Marker=a%20b%2Fc", "/2015-03-31//functions//?MaxItems=2",
                     "/2015-03-31/functions?b=2&a=1&a=0&empty=&MaxItems=1"):
            for signer in (SigV4Auth(keys, "lambda", "us-east-1"), SigV4QueryAuth(keys, "lambda", "us-east-1", expires=60)):
                request = AWSRequest("GET", self.t.api + path, headers={"X-Odd": "  two   spaces "})
                signer.add_auth(request)
                prepared = request.prepare()
                call = urllib.request.Request(prepared.url, headers=dict(prepared.headers))
                try:
                    with urllib.request.urlopen(call, timeout=10) as answer:
                        self.assertIn(b"Functions", answer.read(), path)
                except urllib.error.HTTPError as e:
                    with e:
                        self.fail(f"{path}: {e.code} {e.read()}")

    def test_identity_and_unknown_operations(self):
        me = self.t.client("sts").get_caller_identity()
        self.assertEqual((me["Account"], me["Arn"]), ("000000000000", "arn:aws:iam::000000000000:user/operator"))
        self.fails("UnknownOperationException", 404, self.c.list_layers, "lambda:ListLayers")
        self.fails("UnknownOperationException", 400, self.t.client("firehose").list_delivery_streams, "ListDeliveryStreams")
        self.fails("InvalidAction", 400, self.t.client("sts").get_session_token, "GetSessionToken")
        self.fails("NotImplemented", 501, self.t.client("s3").get_object_torrent, "torrent", Bucket="nobucket", Key="k")

    def test_workload_may_do_nothing_by_default(self):
        self.create("poor", """
import os
def handler(event, context):
    return [os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]]
""")
        key, secret = json.load(self.c.invoke(FunctionName="poor")["Payload"])
        self.assertNotEqual(key, self.t.env["access_key"])
        workload = self.t.client(access_key=key, secret_key=secret)
        me = self.t.client("sts", access_key=key, secret_key=secret).get_caller_identity()
        self.assertEqual(me["Arn"], "arn:aws:sts::000000000000:assumed-role/poor/poor")
        self.fails("AccessDeniedException", 403, workload.list_functions,
                   "User: arn:aws:sts::000000000000:assumed-role/poor/poor is not authorized to perform: lambda:ListFunctions on resource: *")
        self.fails("AccessDeniedException", 403, workload.invoke,
                   "lambda:InvokeFunction on resource: arn:aws:lambda:us-east-1:000000000000:function:poor because no allow: entry",
                   FunctionName="poor")
        self.fails("AccessDeniedException", 403, workload.create_function, "lambda:CreateFunction", FunctionName="new",
                   **tandem.python_function(ECHO))


class Clients(Base):
    """Programs that we did not write."""

    def test_aws_cli(self):
        with open(os.path.join(self.t.base, "code.zip"), "wb") as f:
            f.write(tandem.zip_of({"app.py": ECHO}))
        out = os.path.join(self.t.base, "out.json")

        def aws(*arguments):
            return self.t.aws("lambda", *arguments)

        aws("create-function", "--function-name", "from-cli", "--runtime", "python3.11", "--handler", "app.handler", "--role", tandem.ROLE,
            "--zip-file", "fileb://" + os.path.join(self.t.base, "code.zip"))
        aws("wait", "function-active-v2", "--function-name", "from-cli")
        payload = os.path.join(self.t.base, "payload.json")
        with open(payload, "w", encoding="utf-8") as f:
            f.write('{"x": 1}')
        answer = aws("invoke", "--function-name", "from-cli", "--payload", "fileb://" + payload, "--log-type", "Tail", out)
        self.assertEqual(answer["StatusCode"], 200)
        with open(out, encoding="utf-8") as f:
            self.assertEqual(json.load(f)["event"], {"x": 1})
        self.assertEqual([f["FunctionName"] for f in aws("list-functions")["Functions"]], ["from-cli"])
        aws("delete-function", "--function-name", "from-cli")

    def test_javascript_v2(self):
        self.create("event-processor")
        answer = self.t.node(self, """
const AWS = require('aws-sdk');
AWS.config.endpoint = process.env.ENDPOINT;
const event = {from: 'v2', list: [1, 2]};
(async () => {
  const r = await new AWS.Lambda().invoke({FunctionName:'event-processor', Payload: JSON.stringify(event), InvocationType:'RequestResponse'}).promise();
  let e; try { await new AWS.Lambda().invoke({FunctionName: 'none'}).promise(); } catch (x) { e = x; }
  const l = await new AWS.Lambda().listFunctions().promise();
  const s = await new AWS.STS().getCallerIdentity().promise();
  console.log(JSON.stringify({status: r.StatusCode, version: r.ExecutedVersion, body: JSON.parse(r.Payload), code: e.code, http: e.statusCode,
                              n: l.Functions.length, who: s.Arn}));
})();
""")
        self.assertEqual(answer["body"]["event"], {"from": "v2", "list": [1, 2]})
        self.assertEqual((answer["status"], answer["version"], answer["code"], answer["http"], answer["n"]),
                         (200, "$LATEST", "ResourceNotFoundException", 404, 1))
        self.assertTrue(answer["who"].endswith("user/operator"))

    def test_javascript_v3(self):
        self.create("event-processor")
        answer = self.t.node(self, """
const {LambdaClient, InvokeCommand, CreateFunctionCommand, waitUntilFunctionActiveV2} = require('@aws-sdk/client-lambda');
(async () => {
  const client = new LambdaClient({});
  const r = await client.send(new InvokeCommand({FunctionName: 'event-processor', Payload: JSON.stringify({from: 'v3'}), LogType: 'Tail'}));
  let e; try { await client.send(new InvokeCommand({FunctionName: 'none'})); } catch (x) { e = x; }
  console.log(JSON.stringify({status: r.StatusCode, body: JSON.parse(Buffer.from(r.Payload).toString()), log: r.LogResult, code: e.name,
                              http: e.$metadata.httpStatusCode}));
})();
""")
        self.assertEqual(answer["body"]["event"], {"from": "v3"})
        self.assertEqual((answer["status"], answer["code"], answer["http"]), (200, "ResourceNotFoundException", 404))
        self.assertIn("START RequestId", base64.b64decode(answer["log"]).decode())


class WithoutAuthentication(unittest.TestCase):
    def test_anybody_on_loopback(self):
        with tandem.Tandem("--auth", "none") as t:
            with urllib.request.urlopen(t.api + "/2015-03-31/functions", timeout=10) as answer:
                self.assertEqual(json.load(answer), {"Functions": []})
            c = t.client(access_key="test", secret_key="test")
            c.create_function(FunctionName="open", **tandem.python_function(ECHO))
            self.assertEqual(json.load(c.invoke(FunctionName="open", Payload=b"1")["Payload"])["event"], 1)

    def test_no_web_page(self):
        """A browser on this machine calls for a page of anybody's: with its Origin, or by a name that leads here."""
        with tandem.Tandem("--auth", "none") as t:
            port = t.api.rsplit(":", 1)[1]
            for status, headers in ((200, {}), (200, {"Host": "localhost:" + port}), (200, {"Host": "[::1]:" + port}),
                                    (200, {"Host": "lambda.localhost:" + port}), (403, {"Host": "rebound.example:" + port}),
                                    (403, {"Host": "127.0.0.1.example"}), (403, {"Origin": "http://page.example"}), (403, {"Origin": "null"})):
                connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
                connection.request("GET", "/2015-03-31/functions", headers=headers)
                self.assertEqual(connection.getresponse().status, status, headers)
                connection.close()

    def test_an_archive_anywhere_in_the_body(self):
        """It is taken out of the text before the rest is read; whatever that finds, what counts is what JSON says."""
        archive = base64.b64encode(tandem.zip_of({"app.py": ECHO})).decode()
        digest = base64.b64encode(hashlib.sha256(base64.b64decode(archive)).digest()).decode()
        decoy = base64.b64encode(tandem.zip_of({"app.py": FAIL})).decode()
        escaped = "".join(f"\\u{ord(c):04x}" for c in archive)
        with tandem.Tandem("--auth", "none") as t:
            for n, (status, code) in enumerate([
                    (201, f'"Code":{{"ZipFile":"{archive}"}}'),
                    (201, f'"Code" : {{ "ZipFile" :\r\n\t"{archive}" }}'),
                    (201, f'"Code":{{"ZipFile":"{escaped}"}}'),
                    (201, f'"Description":"\\"ZipFile\\":\\"{decoy}\\"","Code":{{"ZipFile":"{archive}"}}'),
                    (201, f'"Other":{{"ZipFile":"{decoy}"}},"Code":{{"ZipFile":"{archive}"}}'),
                    (400, f'"Code":{{"ZipFile":"{archive}!"}}'),
                    (400, f'"Code":{{"ZipFile":"{archive}","ZipFile":"{archive}"}}'),
                    (400, f'"Code":{{"ZipFile":"{archive}'),
                    (400, '"Code":{"ZipFile"'),
                    (400, '"Code":{"ZipFile":7}')]):
                body = f'{{"FunctionName":"odd-{n}","Runtime":"python3.11","Role":"{tandem.ROLE}","Handler":"app.handler",{code}'
                request = urllib.request.Request(t.api + "/2015-03-31/functions", (body + "}").encode(), {"Content-Type": "application/json"})
                try:
                    with urllib.request.urlopen(request, timeout=20) as answer:
                        self.assertEqual((answer.status, json.load(answer)["CodeSha256"]), (status, digest), code[:40])
                except urllib.error.HTTPError as e:
                    self.assertEqual(e.code, status, (code[:40], e.read()))


if __name__ == "__main__":
    unittest.main()
