#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""S3 but for the objects themselves: buckets, lists, what is said about them, what they start."""
import hashlib
import http.client
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import tandem
from botocore.exceptions import ClientError

def keys(answer):
    return [o["Key"] for o in answer.get("Contents", [])]


class Buckets(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = tandem.Tandem()
        cls.t.__enter__()
        cls.addClassCleanup(cls.t.__exit__, None, None, None)
        cls.s3 = cls.t.client("s3")

    def refused(self, code, call, **arguments):
        with self.assertRaises(ClientError) as raised:
            call(**arguments)
        self.assertEqual(raised.exception.response["Error"]["Code"], code)
        return raised.exception.response["Error"]["Message"]

    def bucket(self, name, *objects):
        self.s3.create_bucket(Bucket=name)
        for key in objects:
            self.s3.put_object(Bucket=name, Key=key, Body=key.encode())

    def request(self, method, path, headers=None, body=None):
        connection = http.client.HTTPConnection(self.t.api[len("http://"):], timeout=30 * tandem.SLOW)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer, text

    def message(self, url):
        """The next one that comes, as JSON."""
        queues = self.t.client("sqs", read_timeout=60 * tandem.SLOW)
        got = tandem.wait_for(lambda: queues.receive_message(QueueUrl=url, WaitTimeSeconds=10).get("Messages"), 60 * tandem.SLOW)[0]
        queues.delete_message(QueueUrl=url, ReceiptHandle=got["ReceiptHandle"])
        return json.loads(got["Body"])

    def test_life_of_a_bucket(self):
        s3 = self.s3
        self.assertEqual(s3.create_bucket(Bucket="life")["Location"], "/life")
        s3.create_bucket(Bucket="life")  # again, as in us-east-1
        self.assertEqual(s3.head_bucket(Bucket="life")["ResponseMetadata"]["HTTPHeaders"]["x-amz-bucket-region"], "us-east-1")
        self.assertIsNone(s3.get_bucket_location(Bucket="life")["LocationConstraint"])
        self.assertIn("life", [b["Name"] for b in s3.list_buckets()["Buckets"]])
        self.refused("IllegalLocationConstraintException", s3.create_bucket, Bucket="else",
                     CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        # who signs for another region is told which one it is, and signs again
        self.t.client("s3", region="eu-central-1").head_bucket(Bucket="life")
        self.refused("404", s3.head_bucket, Bucket="nowhere")
        self.refused("NoSuchBucket", s3.list_objects_v2, Bucket="nowhere")
        self.refused("NoSuchBucket", s3.delete_bucket, Bucket="nowhere")
        s3.put_object(Bucket="life", Key="k", Body=b"")
        self.refused("BucketNotEmpty", s3.delete_bucket, Bucket="life")
        s3.delete_object(Bucket="life", Key="k")
        s3.delete_bucket(Bucket="life")
        self.assertNotIn("life", [b["Name"] for b in s3.list_buckets()["Buckets"]])

    def test_names(self):
        raw = self.t.client("s3")
        raw.meta.events.unregister("before-parameter-build.s3", __import__("botocore.handlers", fromlist=["x"]).validate_bucket_name)
        for name in ("ab", "Upper", "a_b", "a..b", "-ab", "ab-", "192.168.0.1", "a" * 64, "xn--a"):
            self.refused("InvalidBucketName", raw.create_bucket, Bucket=name)

    def test_lists(self):
        names = ["a/1", "a/2", "a/b/3", "b", "c d", "ä+%", "z/1", "z/2"]
        self.bucket("lists", *names)
        s3 = self.s3
        page = s3.list_objects_v2(Bucket="lists")
        self.assertEqual(keys(page), sorted(names))
        self.assertEqual(page["KeyCount"], len(names))
        self.assertFalse(page["IsTruncated"])
        self.assertEqual(page["Contents"][0]["ETag"], '"%s"' % hashlib.md5(b"a/1").hexdigest())
        self.assertEqual(page["Contents"][0]["Size"], 3)
        self.assertNotIn("Owner", page["Contents"][0])
        self.assertIn("Owner", s3.list_objects_v2(Bucket="lists", FetchOwner=True)["Contents"][0])
        page = s3.list_objects_v2(Bucket="lists", Delimiter="/")
        self.assertEqual([p["Prefix"] for p in page["CommonPrefixes"]], ["a/", "z/"])
        self.assertEqual(keys(page), ["b", "c d", "ä+%"])
        self.assertEqual(page["KeyCount"], 5)
        page = s3.list_objects_v2(Bucket="lists", Delimiter="/", Prefix="a/")
        self.assertEqual((keys(page), [p["Prefix"] for p in page["CommonPrefixes"]]), (["a/1", "a/2"], ["a/b/"]))
        self.assertEqual(keys(s3.list_objects_v2(Bucket="lists", StartAfter="b")), sorted(n for n in names if n > "b"))
        self.assertEqual(keys(s3.list_objects(Bucket="lists", Marker="c d")), sorted(n for n in names if n > "c d"))
        self.assertEqual(s3.list_objects_v2(Bucket="lists", MaxKeys=0)["KeyCount"], 0)
        for operation in ("list_objects", "list_objects_v2", "list_object_versions"):
            pages = list(s3.get_paginator(operation).paginate(Bucket="lists", PaginationConfig={"PageSize": 3}))
            self.assertEqual(len(pages), 3, operation)
            member = "Versions" if operation == "list_object_versions" else "Contents"
            self.assertEqual([o["Key"] for p in pages for o in p.get(member, [])], sorted(names), operation)
            pages = list(s3.get_paginator(operation).paginate(Bucket="lists", Delimiter="/", PaginationConfig={"PageSize": 1}))
            self.assertEqual([c["Prefix"] for p in pages for c in p.get("CommonPrefixes", [])], ["a/", "z/"], operation)
            self.assertEqual([o["Key"] for p in pages for o in p.get(member, [])], ["b", "c d", "ä+%"], operation)
        self.refused("InvalidArgument", s3.list_objects_v2, Bucket="lists", ContinuationToken="?")
        self.refused("InvalidArgument", s3.list_objects_v2, Bucket="lists", MaxKeys=-1)

    def test_many_are_deleted(self):
        s3 = self.s3
        self.bucket("many", "a", "b<&>", "c")
        answer = s3.delete_objects(Bucket="many", Delete={"Objects": [{"Key": "a"}, {"Key": "b<&>"}, {"Key": "never"}]})
        self.assertEqual([d["Key"] for d in answer["Deleted"]], ["a", "b<&>", "never"])
        answer = s3.delete_objects(Bucket="many", Delete={"Quiet": True, "Objects": [{"Key": "c"}, {"Key": "d", "VersionId": "x"}]})
        self.assertNotIn("Deleted", answer)
        self.assertEqual([(e["Key"], e["Code"]) for e in answer["Errors"]], [("d", "NoSuchVersion")])
        self.assertEqual(s3.list_objects_v2(Bucket="many")["KeyCount"], 0)
        self.refused("MalformedXML", s3.delete_objects, Bucket="many", Delete={"Objects": [{"Key": str(i)} for i in range(1001)]})

    def test_what_is_said_about_one(self):
        s3 = self.s3
        self.bucket("said")
        tags = {"TagSet": [{"Key": "team", "Value": "blue"}, {"Key": "empty", "Value": ""}]}
        rules = {"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"], "MaxAgeSeconds": 5}]}
        sse = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": True}]}
        block = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": False, "RestrictPublicBuckets": True}
        owners = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
        policy = {"Policy": json.dumps({"Version": "2012-10-17", "Statement": []})}
        for name, code, key, value in (
                ("bucket_tagging", "NoSuchTagSet", "Tagging", tags),
                ("bucket_cors", "NoSuchCORSConfiguration", "CORSConfiguration", rules),
                ("bucket_encryption", "ServerSideEncryptionConfigurationNotFoundError", "ServerSideEncryptionConfiguration", sse),
                ("public_access_block", "NoSuchPublicAccessBlockConfiguration", "PublicAccessBlockConfiguration", block),
                ("bucket_ownership_controls", "OwnershipControlsNotFoundError", "OwnershipControls", owners),
                ("bucket_policy", "NoSuchBucketPolicy", "Policy", policy)):
            self.refused(code, getattr(s3, "get_" + name), Bucket="said")
            getattr(s3, "put_" + name)(Bucket="said", **(value if key == "Policy" else {key: value}))
            got = getattr(s3, "get_" + name)(Bucket="said")
            got.pop("ResponseMetadata")
            self.assertEqual(got if key in ("Tagging", "CORSConfiguration", "Policy") else got[key], value, name)
        self.t.restart()
        self.s3 = type(self).s3 = s3 = self.t.client("s3")
        self.assertEqual(s3.get_bucket_tagging(Bucket="said")["TagSet"], tags["TagSet"])
        for name, code in (("bucket_tagging", "NoSuchTagSet"), ("bucket_policy", "NoSuchBucketPolicy"),
                           ("bucket_lifecycle", None), ("bucket_website", None)):
            getattr(s3, "delete_" + name)(Bucket="said")
            if code:
                self.refused(code, getattr(s3, "get_" + name), Bucket="said")
        for call, code in ((s3.get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration"),
                           (s3.get_bucket_website, "NoSuchWebsiteConfiguration"),
                           (s3.get_bucket_replication, "ReplicationConfigurationNotFoundError"),
                           (s3.get_object_lock_configuration, "ObjectLockConfigurationNotFoundError")):
            self.refused(code, call, Bucket="said")
        self.assertNotIn("Status", s3.get_bucket_versioning(Bucket="said"))
        self.assertEqual(s3.get_bucket_request_payment(Bucket="said")["Payer"], "BucketOwner")
        self.assertNotIn("LoggingEnabled", s3.get_bucket_logging(Bucket="said"))
        self.assertNotIn("Status", s3.get_bucket_accelerate_configuration(Bucket="said"))
        self.assertEqual(s3.get_bucket_acl(Bucket="said")["Grants"][0]["Permission"], "FULL_CONTROL")

    def test_what_is_refused_by_its_name(self):
        s3 = self.s3
        self.bucket("refused")
        text = self.refused("NotImplemented", s3.put_bucket_versioning, Bucket="refused",
                            VersioningConfiguration={"Status": "Enabled"})
        self.assertIn("Status Enabled is not to be had", text)
        self.refused("NotImplemented", s3.put_bucket_lifecycle_configuration, Bucket="refused", LifecycleConfiguration={
            "Rules": [{"Status": "Enabled", "Prefix": "", "Expiration": {"Days": 1}}]})
        self.refused("NotImplemented", s3.put_bucket_encryption, Bucket="refused", ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]})
        self.refused("AccessControlListNotSupported", s3.put_bucket_acl, Bucket="refused", ACL="public-read")
        self.refused("AccessControlListNotSupported", s3.put_object, Bucket="refused", Key="k", Body=b"", ACL="public-read")
        s3.put_bucket_acl(Bucket="refused", ACL="private")
        self.refused("MalformedPolicy", s3.put_bucket_policy, Bucket="refused", Policy="{}")
        self.refused("MalformedXML", s3.put_bucket_cors, Bucket="refused", CORSConfiguration={
            "CORSRules": [{"AllowedMethods": ["EAT"], "AllowedOrigins": ["*"]}]})

    def test_cors(self):
        self.bucket("pages", "k")
        self.s3.put_bucket_cors(Bucket="pages", CORSConfiguration={"CORSRules": [
            {"AllowedMethods": ["PUT"], "AllowedOrigins": ["https://*.shop"], "AllowedHeaders": ["Content-*"],
             "ExposeHeaders": ["ETag", "x-amz-y\r\nSet-Cookie: a"], "MaxAgeSeconds": 60},
            {"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]})
        ask = {"Origin": "https://a.shop", "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}
        answer, _ = self.request("OPTIONS", "/pages/k", ask)
        self.assertEqual((answer.status, answer.getheader("Access-Control-Allow-Origin"), answer.getheader("Access-Control-Max-Age")),
                         (200, "https://a.shop", "60"))
        self.assertEqual(answer.getheader("Access-Control-Allow-Headers"), "content-type")
        self.assertIsNone(answer.getheader("Set-Cookie"))
        for changed in ({"Origin": "https://b.else"}, {"Access-Control-Request-Method": "DELETE"}, {"Access-Control-Request-Headers": "x-y"}):
            answer, text = self.request("OPTIONS", "/pages/k", {**ask, **changed})
            self.assertEqual(answer.status, 403, changed)
            self.assertIn(b"AccessForbidden", text)
            self.assertIsNone(answer.getheader("Access-Control-Allow-Origin"))
        for path in ("/nobody", "/nobody/k"):  # and no bucket
            self.assertEqual(self.request("OPTIONS", path, ask)[0].status, 403)
        url = self.s3.generate_presigned_url("get_object", Params={"Bucket": "pages", "Key": "k"})
        path = url[len(self.t.api):]
        answer, text = self.request("GET", path, {"Origin": "https://any.where"})
        self.assertEqual((answer.status, text, answer.getheader("Access-Control-Allow-Origin")), (200, b"k", "*"))
        self.assertIsNone(self.request("GET", path)[0].getheader("Access-Control-Allow-Origin"))
        answer, _ = self.request("GET", "/pages/k", {"Origin": "https://any.where"})  # a page is to see why it failed
        self.assertEqual((answer.status, answer.getheader("Access-Control-Allow-Origin")), (403, "*"))

    def test_tags_and_attributes_of_objects(self):
        s3 = self.s3
        self.bucket("tags", "k")
        tags = [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}]
        s3.put_object_tagging(Bucket="tags", Key="k", Tagging={"TagSet": tags})
        self.assertEqual(s3.get_object_tagging(Bucket="tags", Key="k")["TagSet"], tags)
        self.refused("InvalidTag", s3.put_object_tagging, Bucket="tags", Key="k", Tagging={"TagSet": tags + tags[:1]})
        self.refused("InvalidTag", s3.put_object_tagging, Bucket="tags", Key="k",
                     Tagging={"TagSet": [{"Key": str(i), "Value": ""} for i in range(11)]})
        s3.delete_object_tagging(Bucket="tags", Key="k")
        self.assertEqual(s3.get_object_tagging(Bucket="tags", Key="k")["TagSet"], [])
        self.refused("NoSuchKey", s3.get_object_tagging, Bucket="tags", Key="none")
        self.refused("NoSuchKey", s3.put_object_tagging, Bucket="tags", Key="none", Tagging={"TagSet": tags})
        about = s3.get_object_attributes(Bucket="tags", Key="k", ObjectAttributes=["ETag", "ObjectSize", "StorageClass"])
        self.assertEqual((about["ObjectSize"], about["StorageClass"], len(about["ETag"])), (1, "STANDARD", 32))
        self.assertEqual(s3.get_object_acl(Bucket="tags", Key="k")["Grants"][0]["Permission"], "FULL_CONTROL")

    def test_what_a_bucket_starts(self):
        s3, functions, queues = self.s3, self.t.client("lambda"), self.t.client("sqs")
        self.bucket("starts")
        function = functions.create_function(FunctionName="seen", **tandem.python_function(
            "import json\ndef handler(event, context):\n    print('GOT ' + json.dumps(event))\n"))["FunctionArn"]
        url = queues.create_queue(QueueName="starts")["QueueUrl"]
        queue = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

        def message():
            return self.message(url)

        only = {"Key": {"FilterRules": [{"Name": "prefix", "Value": "in/"}, {"Name": "suffix", "Value": ".jpg"}]}}
        s3.put_bucket_notification_configuration(Bucket="starts", NotificationConfiguration={
            "LambdaFunctionConfigurations": [{"LambdaFunctionArn": function, "Events": ["s3:ObjectCreated:Put"], "Filter": only}],
            "QueueConfigurations": [{"Id": "all", "QueueArn": queue, "Events": ["s3:ObjectCreated:Copy", "s3:ObjectRemoved:*"]}]})
        self.assertEqual((message()["Event"]), "s3:TestEvent")
        got = s3.get_bucket_notification_configuration(Bucket="starts")
        self.assertEqual([r["Value"] for r in got["LambdaFunctionConfigurations"][0]["Filter"]["Key"]["FilterRules"]], ["in/", ".jpg"])
        self.assertTrue(got["LambdaFunctionConfigurations"][0]["Id"])
        self.assertEqual(got["QueueConfigurations"][0]["Id"], "all")
        s3.put_object(Bucket="starts", Key="in/a b@.jpg", Body=b"hello")
        tandem.wait_for(lambda: "GOT " in self.t.cli("logs", "seen"), what="the function's line")
        line = next(x for x in self.t.cli("logs", "seen").splitlines() if "GOT " in x)
        record = json.loads(line.split("GOT ", 1)[1])["Records"][0]
        self.assertEqual((record["eventName"], record["eventSource"], record["awsRegion"]), ("ObjectCreated:Put", "aws:s3", "us-east-1"))
        self.assertEqual(record["s3"]["bucket"]["arn"], "arn:aws:s3:::starts")
        self.assertEqual({k: v for k, v in record["s3"]["object"].items() if k != "sequencer"},
                         {"key": "in/a+b%40.jpg", "size": 5, "eTag": "5d41402abc4b2a76b9719d911017c592"})
        s3.copy_object(Bucket="starts", Key="copy", CopySource="starts/in/a b@.jpg")
        copy = message()["Records"][0]
        self.assertEqual((copy["eventName"], copy["s3"]["configurationId"]), ("ObjectCreated:Copy", "all"))
        s3.delete_objects(Bucket="starts", Delete={"Objects": [{"Key": "copy"}, {"Key": "never"}]})
        gone = message()["Records"][0]
        self.assertEqual((gone["eventName"], gone["s3"]["object"]["key"]), ("ObjectRemoved:Delete", "copy"))
        self.assertGreater(gone["s3"]["object"]["sequencer"], record["s3"]["object"]["sequencer"])
        s3.put_bucket_notification_configuration(Bucket="starts", NotificationConfiguration={})
        s3.put_object(Bucket="starts", Key="in/b.jpg", Body=b"")
        self.assertNotIn("Messages", queues.receive_message(QueueUrl=url))
        self.assertEqual(self.t.cli("logs", "seen").count("GOT "), 1)

    def test_notifications_that_cannot_be(self):
        s3 = self.s3
        self.bucket("cannot")

        def put(arn, *names, **more):
            configuration = [{"LambdaFunctionArn": arn, "Events": [name], **more} for name in names]
            return self.refused("InvalidArgument", s3.put_bucket_notification_configuration, Bucket="cannot",
                                NotificationConfiguration={"LambdaFunctionConfigurations": configuration})

        gone = "arn:aws:lambda:us-east-1:000000000000:function:gone"
        self.assertIn("Unable to validate the following destination configurations", put(gone, "s3:ObjectCreated:Put"))
        self.assertIn("not supported", put(gone, "s3:ObjectEaten:*"))
        self.assertIn("overlapping", put(gone, "s3:ObjectCreated:Put", "s3:ObjectCreated:*"))
        self.assertNotIn("LambdaFunctionConfigurations", s3.get_bucket_notification_configuration(Bucket="cannot"))

    def test_another_store_tells(self):
        """What MinIO sends to its webhook, for a bucket that a file declares external."""
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "tandem.yaml"), "w", encoding="ascii") as f:
                f.write("name: elsewhere\nbuckets:\n  photos: {external: true}\n")
            self.t.cli("up", cwd=folder)
        queues = self.t.client("sqs")
        url = queues.create_queue(QueueName="photos")["QueueUrl"]
        queue = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        self.s3.put_bucket_notification_configuration(Bucket="photos", NotificationConfiguration={"QueueConfigurations": [
            {"QueueArn": queue, "Events": ["s3:ObjectCreated:*"], "Filter": {"Key": {"FilterRules": [{"Name": "Suffix", "Value": ".jpg"}]}}}]})
        self.assertEqual(self.message(url)["Event"], "s3:TestEvent")
        self.assertEqual(json.loads(self.t.cli("describe", "photos", "-o", "json"))["hook_token"], "***")
        about = json.loads(self.t.cli("describe", "photos", "--values", "-o", "json"))
        token = about["hook_token"]
        self.assertEqual(about["hook"], self.t.api + "/tandem/hooks/photos")
        record = {"eventVersion": "2.0", "eventSource": "minio:s3", "eventName": "s3:ObjectCreated:Put",
                  "userIdentity": {"principalId": "minio"}, "requestParameters": {"sourceIPAddress": "192.0.2.1"},
                  "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": "photos", "arn": "arn:aws:s3:::photos"},
                         "object": {"key": "a%2Fb+c%C3%A4.jpg", "size": 7, "eTag": "abc", "sequencer": "17F0E5A1B2C3"}}}

        def tell(records, authorization="Bearer " + token, path="/tandem/hooks/photos", method="POST"):
            body = records if isinstance(records, str) else json.dumps({"EventName": "x", "Key": "y", "Records": records})
            return self.request(method, path, {"Authorization": authorization, "Content-Type": "application/json"}, body)[0].status

        changed = lambda **of: [{**record, "s3": {**record["s3"], "object": {**record["s3"]["object"], **of}}}]
        for records, status in (([], 200), ("{}", 200), ("no", 400), (changed(key="%zz"), 400), (changed(key=""), 400), (changed(key=5), 400),
                                (changed(size=-1), 400), (changed(key="%FF"), 400), ([record] * 1001, 400),
                                ([{**record, "s3": {"bucket": {"name": "others"}, "object": {"key": "k"}}}], 400),
                                ([{**record, "eventName": "s3:ObjectAccessed:Get"}], 200), (changed(key="a.txt"), 200)):
            self.assertEqual(tell(records), status, records)
        for authorization in ("", "Bearer ", "Bearer " + token[:-1], "Bearer " + token + "0", self.t.env["secret_key"]):
            self.assertEqual(tell([record], authorization), 403)
        self.assertEqual(tell([record], path="/tandem/hooks/nobody"), 403)
        self.assertEqual(tell([record, {**record, "eventName": "ObjectRemoved:Delete"}]), 200)
        got = self.message(url)["Records"][0]
        self.assertEqual((got["eventName"], got["s3"]["bucket"]["name"], got["s3"]["object"]),
                         ("ObjectCreated:Put", "photos", {"key": "a/b+c%C3%A4.jpg", "size": 7, "eTag": "abc", "sequencer": "17F0E5A1B2C3"}))
        self.assertNotIn("Messages", queues.receive_message(QueueUrl=url))
        self.refused("InvalidRequest", self.s3.put_object, Bucket="photos", Key="k", Body=b"")

    def post(self, bucket, fields, content, filename="f.txt"):
        parts = [f'--B\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items()]
        parts.append(f'--B\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'.encode() + content)
        body = b"".join(parts) + b"\r\n--B--\r\n"
        answer, text = self.request("POST", "/" + bucket, {"Content-Type": "multipart/form-data; boundary=B"}, body)
        return answer, text, re.search(rb"<Code>(\w+)</Code>", text)[1].decode() if answer.status >= 400 else None

    def test_forms(self):
        self.bucket("forms")
        for version in ("s3v4", "s3"):
            s3 = self.t.client("s3", signature_version=version)
            form = s3.generate_presigned_post("forms", "u/${filename}", Fields={"x-amz-meta-by": "me", "Content-Type": "text/x"}, Conditions=[
                {"x-amz-meta-by": "me"}, ["starts-with", "$Content-Type", "text/"], ["content-length-range", 1, 300000]])["fields"]
            answer, _, code = self.post("forms", form, b"hello\r\n--b")
            self.assertEqual((answer.status, code), (204, None), version)
            self.assertEqual(answer.getheader("ETag"), '"%s"' % hashlib.md5(b"hello\r\n--b").hexdigest())
            got = self.s3.get_object(Bucket="forms", Key="u/f.txt")
            self.assertEqual((got["Body"].read(), got["Metadata"], got["ContentType"]), (b"hello\r\n--b", {"by": "me"}, "text/x"))
            for fields, content, code in (
                    ({**form, "key": "v/${filename}"}, b"x", "AccessDenied"), ({**form, "x-amz-meta-more": "1"}, b"x", "AccessDenied"),
                    ({**form, "policy": form["policy"][:-4] + "AAAA"}, b"x", "SignatureDoesNotMatch"),
                    ({k: v for k, v in form.items() if k != "policy"}, b"x", "AccessDenied"),
                    ({**form, "x-amz-meta-by": "me\r\nSet-Cookie: a"}, b"x", "AccessDenied"),
                    (form, b"", "EntityTooSmall"), (form, b"x" * 300001, "EntityTooLarge")):
                self.assertEqual(self.post("forms", fields, content)[2], code, (version, fields))
            self.assertEqual(keys(self.s3.list_objects_v2(Bucket="forms")), ["u/f.txt"])
        form = self.s3.generate_presigned_post("forms", "big", Fields={"success_action_status": "201"}, Conditions=[{"success_action_status": "201"}])
        content = os.urandom(200000)
        answer, text, _ = self.post("forms", form["fields"], content)
        self.assertEqual(answer.status, 201)
        self.assertIn(b"<PostResponse", text)
        self.assertEqual(self.s3.get_object(Bucket="forms", Key="big")["Body"].read(), content)
        to = "http://127.0.0.1/done?x=1"
        form = self.s3.generate_presigned_post("forms", "k", Fields={"success_action_redirect": to}, Conditions=[{"success_action_redirect": to}])
        answer = self.post("forms", form["fields"], b"1")[0]
        self.assertEqual(answer.status, 303)
        self.assertTrue(answer.getheader("Location").startswith(to + "&bucket=forms&key=k&etag="))
        self.assertEqual(self.post("nowhere", form["fields"], b"1")[2], "NoSuchBucket")

    def test_the_aws_cli(self):
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(os.path.join(folder, "sub"))
            for name in ("a.txt", "sub/b c.txt"):
                with open(os.path.join(folder, name), "w", encoding="ascii") as f:
                    f.write(name)

            def aws(*arguments):
                return subprocess.run(["aws", "--endpoint-url", self.t.api, "s3", *arguments], env=self.t.environment(), check=True,
                                      capture_output=True, text=True, timeout=60 * tandem.SLOW).stdout
            aws("mb", "s3://clis")
            aws("sync", folder, "s3://clis/x")
            self.assertIn("PRE x/", aws("ls", "s3://clis"))
            self.assertEqual([line.split(maxsplit=3)[3] for line in aws("ls", "--recursive", "s3://clis").splitlines()],
                             ["x/a.txt", "x/sub/b c.txt"])
            self.assertNotIn("upload", aws("sync", folder, "s3://clis/x"))
            aws("rb", "--force", "s3://clis")
            self.assertNotIn("clis", aws("ls"))

    @unittest.skipUnless(shutil.which("s3cmd"), "s3cmd is not installed: tools/deps test")
    def test_s3cmd(self):
        self.bucket("s3cmd")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "a b.txt")
            with open(path, "w", encoding="ascii") as f:
                f.write("hello")
            host = self.t.api[len("http://"):]

            def s3cmd(*arguments):
                return subprocess.run(["s3cmd", "-c", "/dev/null", "--no-ssl", "--host", host, "--host-bucket", host,
                                       "--access_key", self.t.env["access_key"], "--secret_key", self.t.env["secret_key"], *arguments],
                                      check=True, capture_output=True, text=True, timeout=60 * tandem.SLOW).stdout
            s3cmd("put", path, "s3://s3cmd/d/a b.txt")
            self.assertIn("s3://s3cmd/d/a b.txt", s3cmd("ls", "-r", "s3://s3cmd"))
            self.assertIn("DIR", s3cmd("ls", "s3://s3cmd"))
            self.assertIn("s3://s3cmd", s3cmd("ls"))
            self.assertIn("MD5 sum", s3cmd("info", "s3://s3cmd/d/a b.txt"))
            s3cmd("get", "s3://s3cmd/d/a b.txt", path + ".back")
            with open(path + ".back", encoding="ascii") as f:
                self.assertEqual(f.read(), "hello")
            s3cmd("del", "-r", "--force", "s3://s3cmd")
            s3cmd("rb", "s3://s3cmd")

    def test_sdk_for_javascript(self):
        self.bucket("scripts", "a/1", "a/2", "b")
        got = self.t.node(self, """
            const AWS = require('aws-sdk');
            const s3 = new AWS.S3({endpoint: process.env.ENDPOINT, s3ForcePathStyle: true});
            (async () => {
                const found = [];
                for (let token; token !== null;) {
                    const page = await s3.listObjectsV2({Bucket: 'scripts', MaxKeys: 1, ContinuationToken: token}).promise();
                    found.push(...page.Contents.map(o => o.Key));
                    token = page.IsTruncated ? page.NextContinuationToken : null;
                }
                const gone = await s3.deleteObjects({Bucket: 'scripts', Delete: {Objects: [{Key: 'a/1'}, {Key: 'b'}]}}).promise();
                const left = await s3.listObjects({Bucket: 'scripts', Delimiter: '/'}).promise();
                const code = await s3.getBucketTagging({Bucket: 'scripts'}).promise().catch(e => e.code);
                console.log(JSON.stringify({found, gone: gone.Deleted.length, left: left.CommonPrefixes, code}));
            })();""")
        self.assertEqual(got, {"found": ["a/1", "a/2", "b"], "gone": 2, "left": [{"Prefix": "a/"}], "code": "NoSuchTagSet"})


if __name__ == "__main__":
    unittest.main()
