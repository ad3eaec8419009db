# SPDX-License-Identifier: Apache-2.0
"""Versions and aliases, through boto3, the AWS CLI and both SDKs for JavaScript."""
import base64
import hashlib
import json
import os
import unittest

import tandem

WHO = """
import os
def handler(event, context):
    return {"says": "%s", "version": os.environ["AWS_LAMBDA_FUNCTION_VERSION"], "context": context.function_version,
            "arn": context.invoked_function_arn, "stream": context.log_stream_name}
"""
ARN = "arn:aws:lambda:us-east-1:000000000000:function:"


def zip_saying(text):
    return tandem.zip_of({"app.py": WHO % text})


class Base(tandem.Fails, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = tandem.Tandem()
        cls.t.__enter__()
        cls.c = cls.t.client()

    @classmethod
    def tearDownClass(cls):
        cls.t.close()

    def create(self, name, text="one", **more):
        made = self.c.create_function(FunctionName=name, **{**tandem.python_function(WHO % text), **more})
        self.addCleanup(lambda: self.c.delete_function(FunctionName=name))
        return made

    def update(self, name, text, **more):
        return self.c.update_function_code(FunctionName=name, ZipFile=zip_saying(text), **more)

    def call(self, name, qualifier=None):
        answer = self.c.invoke(FunctionName=name, **({"Qualifier": qualifier} if qualifier else {}))
        self.assertNotIn("FunctionError", answer)
        return json.load(answer["Payload"]), answer["ExecutedVersion"]


class Versions(Base):
    def test_a_version_stays_what_it_was(self):
        self.create("v")
        one = self.c.publish_version(FunctionName="v", Description="the first")
        self.assertEqual((one["Version"], one["FunctionArn"], one["Description"], one["State"]), ("1", ARN + "v:1", "the first", "Active"))
        self.assertEqual(one["CodeSha256"], base64.b64encode(hashlib.sha256(zip_saying("one")).digest()).decode())
        again = self.c.publish_version(FunctionName="v", Description="nothing changed")
        self.assertEqual((again["Version"], again["RevisionId"]), ("1", one["RevisionId"]))
        self.update("v", "two")
        self.assertEqual(self.c.publish_version(FunctionName="v")["Version"], "2")
        self.c.update_function_configuration(FunctionName="v", MemorySize=192)

        for qualifier, says, version in ((None, "two", "$LATEST"), ("$LATEST", "two", "$LATEST"), ("1", "one", "1"), ("2", "two", "2")):
            said, executed = self.call("v", qualifier)
            self.assertEqual((said["says"], said["version"], said["context"], executed), (says, version, version, version))
            self.assertEqual(said["arn"], ARN + "v" + (":" + qualifier if qualifier else ""))
            self.assertIn(f"/[{version}]", said["stream"])
        self.assertEqual(self.call(ARN + "v:1")[1], "1")
        self.assertEqual(self.call("v:2")[1], "2")
        self.assertEqual([self.c.get_function_configuration(FunctionName="v", Qualifier=q)["MemorySize"] for q in ("1", "$LATEST")], [128, 192])
        got = self.c.get_function(FunctionName="v", Qualifier="1")
        self.assertEqual((got["Configuration"]["Version"], got["Configuration"]["FunctionArn"]), ("1", ARN + "v:1"))
        listed = self.c.list_versions_by_function(FunctionName="v")["Versions"]
        self.assertEqual([v["Version"] for v in listed], ["$LATEST", "1", "2"])
        self.assertEqual(listed[0]["FunctionArn"], ARN + "v:$LATEST")
        log = self.c.invoke(FunctionName="v", Qualifier="1", LogType="Tail")["LogResult"]
        self.assertIn(b" Version: 1\n", base64.b64decode(log))
        self.assertIn(1, {r["version"] for r in self.t.rows("v")})

    def test_survive_a_restart(self):
        self.create("stay")
        self.c.publish_version(FunctionName="stay")
        self.update("stay", "two")
        self.c.publish_version(FunctionName="stay")
        made = self.c.create_alias(FunctionName="stay", Name="live", FunctionVersion="1", Description="d",
                                   RoutingConfig={"AdditionalVersionWeights": {"2": 1.0}})
        self.c.put_function_concurrency(FunctionName="stay", ReservedConcurrentExecutions=7)
        self.c.delete_function(FunctionName="stay", Qualifier="1000")
        before = self.c.list_versions_by_function(FunctionName="stay")["Versions"]
        self.t.restart()
        type(self).c = self.t.client()
        self.assertEqual(self.c.list_versions_by_function(FunctionName="stay")["Versions"], before)
        got = self.c.get_alias(FunctionName="stay", Name="live")
        for answer in (made, got):
            del answer["ResponseMetadata"]
        self.assertEqual(got, made)
        self.assertEqual(self.c.get_function_concurrency(FunctionName="stay")["ReservedConcurrentExecutions"], 7)
        self.assertEqual(self.call("stay", "1")[0]["says"], "one")
        self.assertEqual(self.call("stay", "live")[0]["says"], "two")
        self.c.delete_alias(FunctionName="stay", Name="live")
        self.c.delete_function(FunctionName="stay", Qualifier="2")
        self.update("stay", "three")
        self.assertEqual(self.c.publish_version(FunctionName="stay")["Version"], "3")  # 2 was given once

    def test_publish_with_create_and_update(self):
        made = self.create("p", Publish=True)
        self.assertEqual((made["Version"], made["FunctionArn"]), ("1", ARN + "p"))
        told = self.update("p", "two", Publish=True)
        self.assertEqual((told["Version"], told["FunctionArn"]), ("2", ARN + "p:2"))
        self.assertEqual(self.update("p", "two", Publish=True)["Version"], "2")
        self.assertEqual(self.call("p", "1")[0]["says"], "one")

    def test_preconditions(self):
        made = self.create("pre")
        self.fails("InvalidParameterValueException", 400, self.c.publish_version, "is different from current CodeSHA256 in $LATEST",
                   FunctionName="pre", CodeSha256="x" * 44)
        self.fails("PreconditionFailedException", 412, self.c.publish_version, "does not match the latest Revision Id", FunctionName="pre",
                   RevisionId="11111111-2222-3333-4444-555555555555")
        now = self.c.get_function_configuration(FunctionName="pre")
        self.assertEqual(self.c.publish_version(FunctionName="pre", CodeSha256=made["CodeSha256"], RevisionId=now["RevisionId"])["Version"], "1")

    def test_deleting(self):
        self.create("d", Publish=True)
        self.update("d", "two", Publish=True)
        self.c.create_alias(FunctionName="d", Name="live", FunctionVersion="2", RoutingConfig={"AdditionalVersionWeights": {"1": 0.5}})
        for version in "1", "2":
            self.fails("ResourceConflictException", 409, self.c.delete_function, "alias live", FunctionName="d", Qualifier=version)
        self.fails("InvalidParameterValueException", 400, self.c.delete_function,
                   "$LATEST version cannot be deleted without deleting the function.", FunctionName="d", Qualifier="$LATEST")
        self.c.update_alias(FunctionName="d", Name="live", RoutingConfig={})
        self.call("d", "1")
        self.c.delete_function(FunctionName="d", Qualifier="1")
        self.fails("ResourceNotFoundException", 404, self.c.invoke, "Function not found: " + ARN + "d:1", FunctionName="d", Qualifier="1")
        self.fails("ResourceNotFoundException", 404, self.c.get_function, "Function not found: " + ARN + "d:1", FunctionName="d", Qualifier="1")
        self.assertEqual(self.call("d", "2")[0]["says"], "two")
        self.c.delete_function(FunctionName="d", Qualifier="1")
        self.assertEqual([v["Version"] for v in self.c.list_versions_by_function(FunctionName="d")["Versions"]], ["$LATEST", "2"])

    def test_many(self):
        self.create("many", Publish=True)
        for i in range(2, 61):
            self.c.update_function_configuration(FunctionName="many", Timeout=i)
            self.assertEqual(self.c.publish_version(FunctionName="many")["Version"], str(i))
        pages = self.c.get_paginator("list_versions_by_function").paginate(FunctionName="many")
        self.assertEqual([v["Version"] for p in pages for v in p["Versions"]], ["$LATEST"] + [str(i) for i in range(1, 61)])
        pages = self.c.get_paginator("list_functions").paginate(FunctionVersion="ALL")
        arns = [f["FunctionArn"] for p in pages for f in p["Functions"] if f["FunctionName"] == "many"]
        self.assertEqual(arns, [ARN + "many:" + v for v in ["$LATEST"] + [str(i) for i in range(1, 61)]])

    def test_asynchronous_events_keep_their_version(self):
        self.create("later", Publish=True)
        self.update("later", "two")
        self.c.create_alias(FunctionName="later", Name="old", FunctionVersion="1")
        self.assertEqual(self.c.invoke(FunctionName="later", Qualifier="old", InvocationType="Event")["StatusCode"], 202)
        tandem.wait_for(lambda: any(
            (r["version"], r["trigger"], r["outcome"]) == (1, "async", "ok") for r in self.t.rows("later")))

    def test_snapstart_is_kept_and_not_claimed(self):
        """Of a process with an open socket there is no image."""
        self.create("snap", SnapStart={"ApplyOn": "PublishedVersions"}, Publish=True,
                    Code={"ZipFile": tandem.zip_of({"app.py": "import socket\ns = socket.socket()\n" + WHO % "one"})})
        for qualifier in "$LATEST", "1":
            got = self.c.get_function_configuration(FunctionName="snap", Qualifier=qualifier)["SnapStart"]
            self.assertEqual(got, {"ApplyOn": "PublishedVersions", "OptimizationStatus": "Off"})
        self.fails("ValidationException", 400, self.c.update_function_configuration, "snapStart.applyOn", FunctionName="snap",
                   SnapStart={"ApplyOn": "Always"})


class Aliases(Base):
    def setUp(self):
        self.create("a", Publish=True)
        self.update("a", "two", Publish=True)

    def test_life(self):
        made = self.c.create_alias(FunctionName="a", Name="production", FunctionVersion="1", Description="what people see")
        self.assertEqual((made["AliasArn"], made["FunctionVersion"]), (ARN + "a:production", "1"))
        self.assertNotIn("RoutingConfig", made)
        said, executed = self.call("a", "production")
        self.assertEqual((said["says"], executed, said["arn"], said["version"]), ("one", "1", ARN + "a:production", "1"))
        changed = self.c.update_alias(FunctionName="a", Name="production", FunctionVersion="2", RevisionId=made["RevisionId"])
        self.assertEqual(changed["Description"], "what people see")
        self.assertNotEqual(changed["RevisionId"], made["RevisionId"])
        self.assertEqual(self.call("a", "production")[1], "2")
        self.fails("PreconditionFailedException", 412, self.c.update_alias, "does not match", FunctionName="a", Name="production",
                   RevisionId=made["RevisionId"])
        self.c.create_alias(FunctionName="a", Name="edge", FunctionVersion="$LATEST")
        self.assertEqual(self.call("a", "edge")[1], "$LATEST")
        names = [x["Name"] for x in self.c.list_aliases(FunctionName="a")["Aliases"]]
        self.assertEqual(names, ["edge", "production"])
        names = [x["Name"] for x in self.c.list_aliases(FunctionName="a", FunctionVersion="2")["Aliases"]]
        self.assertEqual(names, ["production"])
        pages = self.c.get_paginator("list_aliases").paginate(FunctionName="a", PaginationConfig={"PageSize": 1})
        self.assertEqual([x["Name"] for p in pages for x in p["Aliases"]], ["edge", "production"])
        got = self.c.get_function(FunctionName="a", Qualifier="production")["Configuration"]
        self.assertEqual((got["Version"], got["FunctionArn"]), ("2", ARN + "a:production"))
        for name in "edge", "production", "production":
            self.c.delete_alias(FunctionName="a", Name=name)
        self.fails("ResourceNotFoundException", 404, self.c.get_alias, "Cannot find alias arn: " + ARN + "a:production", FunctionName="a",
                   Name="production")
        self.fails("ResourceNotFoundException", 404, self.c.invoke, "Function not found: " + ARN + "a:production", FunctionName="a",
                   Qualifier="production")

    def test_weights_are_honoured(self):
        self.c.create_alias(FunctionName="a", Name="w", FunctionVersion="1", RoutingConfig={"AdditionalVersionWeights": {"2": 0.3}})
        self.assertEqual(self.c.get_alias(FunctionName="a", Name="w")["RoutingConfig"], {"AdditionalVersionWeights": {"2": 0.3}})
        n = 400
        second = sum(self.call("a", "w")[1] == "2" for _ in range(n))
        self.assertTrue(0.3 * n - 46 <= second <= 0.3 * n + 46, second)  # five standard deviations
        for weight, version in ((0.0, "1"), (1.0, "2")):
            self.c.update_alias(FunctionName="a", Name="w", RoutingConfig={"AdditionalVersionWeights": {"2": weight}})
            self.assertEqual({self.call("a", "w")[1] for _ in range(10)}, {version})

    def test_refusals(self):
        make = self.c.create_alias
        make(FunctionName="a", Name="x", FunctionVersion="1")
        self.fails("ResourceConflictException", 409, make, "Alias already exists: " + ARN + "a:x", FunctionName="a", Name="x", FunctionVersion="1")
        self.fails("ResourceNotFoundException", 404, make, "Function not found: " + ARN + "a:9", FunctionName="a", Name="y", FunctionVersion="9")
        for name in "12", "0", "007", "99999999999":
            self.fails("ValidationException", 400, make, "(?!^[0-9]+$)", FunctionName="a", Name=name, FunctionVersion="1")
        self.fails("ValidationException", 400, make, "functionVersion", FunctionName="a", Name="y", FunctionVersion="01")
        self.fails("ResourceNotFoundException", 404, self.c.get_function, "Function not found", FunctionName="a", Qualifier="01")
        self.fails("ValidationException", 400, self.c.publish_version, "256", FunctionName="a", Description="x" * 257)

        def routed(version, weights):
            return {"FunctionName": "a", "Name": "z", "FunctionVersion": version, "RoutingConfig": {"AdditionalVersionWeights": weights}}
        self.fails("InvalidParameterValueException", 400, make, "cannot be greater than 1", **routed("1", {"1": 0.1, "2": 0.1}))
        self.fails("InvalidParameterValueException", 400, make, "already included", **routed("1", {"1": 0.1}))
        self.fails("InvalidParameterValueException", 400, make, "$LATEST is not supported", **routed("$LATEST", {"1": 0.1}))
        self.fails("ValidationException", 400, make, "less than or equal to 1.0", **routed("1", {"2": 1.5}))
        self.fails("ValidationException", 400, make, "[0-9]+", **routed("1", {"$LATEST": 0.5}))
        self.fails("ResourceNotFoundException", 404, make, "Function not found", **routed("1", {"7": 0.5}))


class Clients(Base):
    """Programs that we did not write."""

    def test_aws_cli(self):
        self.create("cli")

        def aws(*arguments):
            return self.t.aws("lambda", *arguments)

        self.assertEqual(aws("publish-version", "--function-name", "cli")["Version"], "1")
        self.update("cli", "two", Publish=True)
        aws("create-alias", "--function-name", "cli", "--name", "live", "--function-version", "1")
        told = aws("update-alias", "--function-name", "cli", "--name", "live", "--routing-config", 'AdditionalVersionWeights={2=0.25}')
        self.assertEqual(told["RoutingConfig"], {"AdditionalVersionWeights": {"2": 0.25}})
        out = os.path.join(self.t.base, "out.json")
        self.assertIn(aws("invoke", "--function-name", "cli", "--qualifier", "live", out)["ExecutedVersion"], ("1", "2"))
        self.assertEqual([v["Version"] for v in aws("list-versions-by-function", "--function-name", "cli")["Versions"]], ["$LATEST", "1", "2"])
        aws("delete-alias", "--function-name", "cli", "--name", "live")
        aws("delete-function", "--function-name", "cli", "--qualifier", "2")

    def test_javascript(self):
        self.create("js")
        said = self.t.node(self, """
const {Lambda} = require('@aws-sdk/client-lambda');
const AWS = require('aws-sdk');
(async () => {
  const v2 = new AWS.Lambda({endpoint: process.env.ENDPOINT, maxRetries: 0}), v3 = new Lambda({maxAttempts: 1});
  const one = await v2.publishVersion({FunctionName: 'js'}).promise();
  await v3.createAlias({FunctionName: 'js', Name: 'live', FunctionVersion: one.Version});
  const a = await v2.invoke({FunctionName: 'js', Qualifier: 'live', Payload: '{}'}).promise();
  const b = await v3.invoke({FunctionName: 'js', Qualifier: '1'});
  const list = await v3.listVersionsByFunction({FunctionName: 'js'});
  let missing;
  try { await v2.getAlias({FunctionName: 'js', Name: 'nope'}).promise(); } catch (e) { missing = e.code; }
  console.log(JSON.stringify([a.ExecutedVersion, b.ExecutedVersion, list.Versions.map(v => v.Version), missing]));
})().catch(e => { console.error(e); process.exit(1); });
""")
        self.assertEqual(said, ["1", "1", ["$LATEST", "1"], "ResourceNotFoundException"])


if __name__ == "__main__":
    unittest.main()
