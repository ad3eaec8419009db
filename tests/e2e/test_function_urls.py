#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Function URLs: what is declared, who may call, what the function gets and what the client gets, CORS. Clients: boto3, the AWS CLI, curl."""
import http.client
import json
import os
import subprocess
import sys
import unittest
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.credentials

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tandem  # noqa: E402

# {"return": anything}: that; {"raise": text}: fails; else the event.
CODE = """\
import json
def handler(event, context):
    what = json.loads(event["body"]) if event.get("body") else {}
    if "raise" in what:
        raise ValueError(what["raise"])
    if "return" in what:
        return what["return"]
    return event
"""
FORBIDDEN = {"Message": "Forbidden. For troubleshooting Function URL authorization issues, see: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"}
CORS = {"AllowOrigins": ["https://shop.example"], "AllowMethods": ["GET", "POST"], "AllowHeaders": ["content-type"], "ExposeHeaders": ["x-shop"],
        "MaxAge": 60, "AllowCredentials": True}


class Urls(tandem.Fails, unittest.TestCase):
    def setUp(self):
        self.t = self.enterContext(tandem.Tandem())
        self.c = self.t.client()

    def create(self, name, public=True, **more):
        """A function and its URL's answer."""
        self.c.create_function(FunctionName=name, **tandem.python_function(CODE))
        made = self.c.create_function_url_config(FunctionName=name, **{"AuthType": "NONE", **more})
        if public:
            self.c.add_permission(FunctionName=name, StatementId="all", Action="lambda:InvokeFunctionUrl", Principal="*", FunctionUrlAuthType="NONE")
        return made

    def call(self, url, body=None, method=None, headers=None, host=None):
        """Status, headers and body of one request."""
        parts = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(host or parts.netloc, timeout=60)
        self.addCleanup(connection.close)
        data = json.dumps(body).encode() if body is not None else None
        headers = {"content-type": "application/json", **(headers or {})}
        connection.request(method or ("POST" if data else "GET"), (parts.path or "/") + ("?" + parts.query if parts.query else ""), data, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()

    def signed(self, url, key, secret):
        request = botocore.awsrequest.AWSRequest("GET", url)
        botocore.auth.SigV4Auth(botocore.credentials.Credentials(key, secret), "lambda", self.t.env["region"]).add_auth(request)
        return self.call(url, headers=dict(request.headers))

    def test_what_is_declared(self):
        made = self.create("f", Cors=CORS)
        arn = made["FunctionArn"]
        self.assertEqual((made["AuthType"], made["Cors"]), ("NONE", CORS))
        self.assertTrue(made["FunctionUrl"].startswith(self.t.api + "/lambda-url/"), made["FunctionUrl"])
        self.fails("ResourceConflictException", 409, self.c.create_function_url_config, f"[functionArn = {arn}]", FunctionName="f", AuthType="NONE")
        self.fails("ResourceNotFoundException", 404, self.c.create_function_url_config, "Function does not exist", FunctionName="none", AuthType="NONE")
        self.fails("ValidationException", 400, self.t.client(parameter_validation=False).update_function_url_config, "[NONE, AWS_IAM]",
                   FunctionName="f", AuthType="SOME")
        for text, cors in (("Cors.MaxAge", {"MaxAge": 86401}), ("Cors.AllowOrigins", {"AllowOrigins": ["https://a\r\nx: y"]}),
                           ("Cors.AllowHeaders", {"AllowHeaders": ["a,b"]})):
            self.fails("InvalidParameterValueException", 400, self.t.client(parameter_validation=False).update_function_url_config, text,
                       FunctionName="f", Cors=cors)
        self.c.publish_version(FunctionName="f")
        self.c.create_alias(FunctionName="f", Name="live", FunctionVersion="1")
        self.fails("ValidationException", 400, self.t.client(parameter_validation=False).create_function_url_config, "at 'qualifier'",
                   FunctionName="f", Qualifier="1", AuthType="NONE")
        self.c.create_function_url_config(FunctionName="f", Qualifier="live", AuthType="AWS_IAM")
        page = self.c.list_function_url_configs(FunctionName="f", MaxItems=1)
        rest = self.c.list_function_url_configs(FunctionName="f", Marker=page["NextMarker"])
        self.assertEqual([x["FunctionArn"] for x in page["FunctionUrlConfigs"] + rest["FunctionUrlConfigs"]], [arn, arn + ":live"])
        changed = self.t.aws("lambda", "update-function-url-config", "--function-name", "f", "--auth-type", "AWS_IAM")
        self.assertEqual((changed["FunctionUrl"], changed["AuthType"], changed["Cors"]), (made["FunctionUrl"], "AWS_IAM", CORS))
        self.c.delete_alias(FunctionName="f", Name="live")  # its URL goes with it
        self.c.create_alias(FunctionName="f", Name="live", FunctionVersion="1")
        self.fails("ResourceNotFoundException", 404, self.c.get_function_url_config, "The resource you requested does not exist.",
                   FunctionName="f", Qualifier="live")

    def test_event_and_answers(self):
        url = self.create("f")["FunctionUrl"]
        key = url.rstrip("/").rsplit("/", 1)[1]
        status, headers, body = self.call(url + "a%20b/c?x=1&y=2&x=3")
        event = json.loads(body)
        self.assertEqual((status, headers["content-type"], event["version"], event["routeKey"], event["rawPath"], event["rawQueryString"]),
                         (200, "application/json", "2.0", "$default", "/a%20b/c", "x=1&y=2&x=3"))
        context = event["requestContext"]
        self.assertEqual((context["apiId"], context["domainPrefix"], context["stage"], context["http"]["path"], "authorizer" in context),
                         (key, key, "$default", "/a%20b/c", False))
        for returned, want in (({"statusCode": 201, "headers": {"x-a": "b"}, "body": "made"}, (201, "made")), ("text", (200, "text")), (5, (200, "5")),
                               ([1], (200, "[1]")), ({"a": 1}, (200, '{"a": 1}'))):
            status, headers, body = self.call(url, {"return": returned})
            self.assertEqual((status, body), want)
        self.assertEqual(self.call(url, {"raise": "secret"})[::2], (502, '{"Message":"Internal Server Error"}'))
        self.assertEqual(self.call(url, {"return": {"statusCode": "no"}})[0], 502)
        self.c.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=0)
        self.assertEqual(self.call(url)[0], 429)

    def test_every_way_to_it(self):
        url = self.create("f")["FunctionUrl"]
        key = url.rstrip("/").rsplit("/", 1)[1]
        for base in (self.t.api, self.t.gateway):
            self.assertEqual(json.loads(self.call(f"{base}/lambda-url/{key}")[2])["rawPath"], "/")
            name = f"{key}.lambda-url.us-east-1.on.aws"
            event = json.loads(self.call(base + "/p", headers={"host": name})[2])
            self.assertEqual((event["rawPath"], event["requestContext"]["domainName"]), ("/p", name))
            self.assertEqual(json.loads(self.call(base + "/p", {"n": 1}, "PUT", {"host": name})[2])["requestContext"]["http"]["method"], "PUT")
        said = subprocess.run(["curl", "-sS", "-d", '{"return": "hello"}', "-H", "content-type: application/json", url], capture_output=True, text=True,
                              timeout=60, check=True)
        self.assertEqual(said.stdout, "hello")
        self.assertEqual(self.call(f"{self.t.gateway}/lambda-url/{'a' * 32}/")[0], 403)
        self.assertEqual(self.call(f"{self.t.gateway}/lambda-url/")[0], 403)
        self.t.restart()
        self.assertEqual(self.call(f"{self.t.api}/lambda-url/{key}/")[0], 200)

    def test_who_may(self):
        url = self.create("f", public=False)["FunctionUrl"]
        status, headers, body = self.call(url)
        self.assertEqual((status, headers["x-amzn-ErrorType"], json.loads(body)), (403, "AccessDeniedException", FORBIDDEN))
        self.c.add_permission(FunctionName="f", StatementId="s3", Action="lambda:InvokeFunction", Principal="*")
        self.assertEqual(self.call(url)[0], 403)
        self.c.add_permission(FunctionName="f", StatementId="me", Action="lambda:InvokeFunctionUrl", Principal="*", SourceAccount="000000000000")
        self.assertEqual(self.call(url)[0], 403)
        self.c.add_permission(FunctionName="f", StatementId="all", Action="lambda:*", Principal="*", FunctionUrlAuthType="NONE")
        self.assertEqual(self.call(url)[0], 200)
        self.c.update_function_url_config(FunctionName="f", AuthType="AWS_IAM")
        self.assertEqual((self.call(url)[0], json.loads(self.call(url)[2])), (403, FORBIDDEN))
        status, _, body = self.signed(url, self.t.env["access_key"], self.t.env["secret_key"])
        self.assertEqual((status, json.loads(body)["requestContext"]["authorizer"]["iam"]["accountId"]), (200, "000000000000"))
        self.assertEqual(self.signed(url, self.t.env["access_key"], "wrong")[0], 403)
        self.c.delete_function_url_config(FunctionName="f")
        self.assertEqual(self.call(url)[0], 403)
        self.fails("ResourceNotFoundException", 404, self.c.delete_function_url_config, FunctionName="f")

    def test_goes_with_its_function(self):
        url = self.create("f")["FunctionUrl"]
        self.c.delete_function(FunctionName="f")
        self.assertEqual(self.call(url)[0], 403)
        again = self.create("f", public=False)["FunctionUrl"]
        self.assertNotEqual(again, url)
        self.assertEqual((self.call(url)[0], self.call(again)[0]), (403, 403))

    def test_cors(self):
        url = self.create("f", Cors=CORS)["FunctionUrl"]
        ask = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
        status, headers, body = self.call(url, method="OPTIONS", headers=ask)
        self.assertEqual((status, body, headers["Access-Control-Allow-Origin"], headers["Access-Control-Allow-Methods"],
                          headers["Access-Control-Allow-Headers"], headers["Access-Control-Max-Age"], headers["Access-Control-Allow-Credentials"]),
                         (200, "", "https://shop.example", "GET,POST", "content-type", "60", "true"))
        self.assertNotIn("Access-Control-Allow-Origin", self.call(url, method="OPTIONS", headers={**ask, "Origin": "https://other.example"})[1])
        status, headers, _ = self.call(url, {"return": {"statusCode": 200, "headers": {"Access-Control-Allow-Origin": "*", "x-shop": "1"}}},
                                       headers={"Origin": "https://shop.example"})
        self.assertEqual((status, headers.get_all("Access-Control-Allow-Origin"), headers["Access-Control-Expose-Headers"], headers["Vary"]),
                         (200, ["https://shop.example"], "x-shop", "Origin"))
        self.assertIsNone(self.call(url)[1]["Access-Control-Allow-Origin"])
        self.c.update_function_url_config(FunctionName="f", Cors={"AllowOrigins": ["*"]})
        self.assertEqual(self.call(url, headers={"Origin": "https://any.example"})[1]["Access-Control-Allow-Origin"], "*")
        self.c.update_function_url_config(FunctionName="f", Cors={})
        status, _, body = self.call(url, method="OPTIONS", headers=ask)  # it is the function's then
        self.assertEqual(json.loads(body)["requestContext"]["http"]["method"], "OPTIONS")


if __name__ == "__main__":
    unittest.main()
