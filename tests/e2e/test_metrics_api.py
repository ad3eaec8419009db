# SPDX-License-Identifier: Apache-2.0
"""CloudWatch's metrics of functions and services, through the AWS CLI, boto3, aws-sdk (query) and JSON 1.0."""
import datetime
import json
import os
import shutil
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.request

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

import oci
import tandem

CODE = """
def handler(event, context):
    if event == "fail":
        raise ValueError("as asked")
"""
HOUR = datetime.timedelta(hours=1)


class Metrics(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="tandem-cw-")
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        cls.t = tandem.Tandem()
        cls.t.start()
        cls.addClassCleanup(cls.t.close)
        cls.cw = cls.t.client("cloudwatch")
        client = cls.t.client("lambda")
        for name in ("counted", "other"):
            client.create_function(FunctionName=name, **tandem.python_function(CODE))
            client.get_waiter("function_active_v2").wait(FunctionName=name)
        for event in ("ok", "fail", "ok", "ok"):
            client.invoke(FunctionName="counted", Payload=json.dumps(event))
        client.invoke(FunctionName="other", Payload=b"1")
        client.put_function_concurrency(FunctionName="counted", ReservedConcurrentExecutions=0)
        try:
            client.invoke(FunctionName="counted", Payload=b"1")
        except ClientError:
            pass
        now = datetime.datetime.now(datetime.timezone.utc)
        cls.times = {"StartTime": now - HOUR, "EndTime": now + HOUR}
        # Rows come after the answers.
        tandem.wait_for(lambda: sum(cls.data(cls(), "Invocations", "Sum")[1]) == 4 and sum(cls.data(cls(), "Throttles", "Sum")[1]) == 1)

    def data(self, metric, stat, name="counted", period=3600, namespace="AWS/Lambda", **more):
        dimensions = [{"Name": "FunctionName", "Value": name}] if name else []
        one, = self.cw.get_metric_data(**self.times, MetricDataQueries=[{"Id": "a", "MetricStat": {
            "Metric": {"Namespace": namespace, "MetricName": metric, "Dimensions": dimensions}, "Period": period, "Stat": stat}}], **more)["MetricDataResults"]
        self.assertEqual((one["Id"], one["Label"], one["StatusCode"]), ("a", metric, "Complete"))
        return one["Timestamps"], one["Values"]

    def refused(self, code, call, **arguments):
        with self.assertRaises(ClientError) as caught:
            call(**arguments)
        self.assertEqual(caught.exception.response["Error"]["Code"], code)

    def test_functions(self):
        for metric, stat, want in (("Invocations", "Sum", 4), ("Errors", "Sum", 1), ("Errors", "SampleCount", 4), ("Throttles", "Sum", 1), ("Duration", "SampleCount", 4)):
            self.assertEqual(sum(self.data(metric, stat)[1]), want, (metric, stat))
        self.assertEqual(sum(self.data("Invocations", "Sum", name="other")[1]), 1)
        self.assertEqual(sum(self.data("Invocations", "Sum", name=None)[1]), 5)
        self.assertEqual(self.data("Invocations", "Sum", name="nobody"), ([], []))
        self.assertEqual(self.data("Nonsense", "Sum"), ([], []))
        times, values = self.data("Invocations", "Sum", period=60, ScanBy="TimestampAscending")
        self.assertEqual((times, sum(values)), (sorted(times), 4))
        self.assertTrue(all(t.second == 0 for t in times))
        self.assertEqual(self.data("Invocations", "Sum", period=60), (times[::-1], values[::-1]))
        # One period that holds all, so that the statistics are of the same four values.
        day = {s: self.data("Duration", s, period=86400 * 365)[1][0] for s in ("Minimum", "Average", "Maximum", "Sum", "p0", "p50", "p100")}
        self.assertLessEqual(0, day["Minimum"])
        self.assertLessEqual(day["Minimum"], day["Average"])
        self.assertLessEqual(day["Average"], day["Maximum"])
        self.assertAlmostEqual(day["Average"] * 4, day["Sum"], places=6)
        self.assertAlmostEqual(day["p100"], day["Maximum"], places=2)
        self.assertAlmostEqual(day["p0"], day["Minimum"], places=2)
        self.assertTrue(day["Minimum"] - 0.01 <= day["p50"] <= day["Maximum"] + 0.01)

    def test_statistics(self):
        arguments = {"Namespace": "AWS/Lambda", "MetricName": "Duration", "Dimensions": [{"Name": "FunctionName", "Value": "counted"}], "Period": 3600}
        answer = self.cw.get_metric_statistics(**self.times, **arguments, Statistics=["SampleCount", "Maximum"])
        self.assertEqual((answer["Label"], sum(d["SampleCount"] for d in answer["Datapoints"])), ("Duration", 4))
        self.assertEqual({d["Unit"] for d in answer["Datapoints"]}, {"Milliseconds"})
        point = self.cw.get_metric_statistics(**self.times, **arguments, ExtendedStatistics=["p50", "p99.9"])["Datapoints"][0]
        self.assertLessEqual(point["ExtendedStatistics"]["p50"], point["ExtendedStatistics"]["p99.9"])
        self.refused("MissingParameter", self.cw.get_metric_statistics, **self.times, **arguments)
        self.refused("InvalidParameterValue", self.cw.get_metric_statistics, **self.times, **arguments, ExtendedStatistics=["p101"])
        self.refused("InvalidParameterValue", self.cw.get_metric_statistics, **self.times, **{**arguments, "Period": 61}, Statistics=["Sum"])
        self.refused("InvalidParameterValue", self.cw.get_metric_statistics, StartTime=self.times["EndTime"], EndTime=self.times["StartTime"], **arguments, Statistics=["Sum"])
        self.refused("InvalidParameterCombination", self.cw.get_metric_statistics, StartTime=self.times["EndTime"] - 24 * HOUR, EndTime=self.times["EndTime"],
                     **{**arguments, "Period": 30}, Statistics=["Sum"])
        self.refused("InvalidParameterValue", self.cw.get_metric_statistics, StartTime=datetime.datetime(1970, 1, 2), EndTime=self.times["EndTime"],
                     **arguments, Statistics=["Sum"])

    def test_list(self):
        listed = [m for page in self.cw.get_paginator("list_metrics").paginate(Namespace="AWS/Lambda") for m in page["Metrics"]]
        self.assertEqual(sorted((m["MetricName"], m["Dimensions"][0]["Value"]) for m in listed),
                         sorted((m, f) for m in ("Duration", "Errors", "Invocations", "Throttles") for f in ("counted", "other")))
        self.assertEqual(len(self.cw.list_metrics(MetricName="Errors", Dimensions=[{"Name": "FunctionName"}])["Metrics"]), 2)
        self.assertEqual(self.cw.list_metrics(Namespace="AWS/EC2")["Metrics"], [])
        self.refused("InvalidParameterValue", self.cw.list_metrics, NextToken="x")

    def test_services(self):
        """A task that runs counts so far; its log group is the service's."""
        program = os.path.join(self.dir, "server")
        subprocess.run(["gcc", "-O1", "-static", "-pthread", "-o", program, os.path.join(tandem.ROOT, "tests/e2e/server.c")], check=True)
        with open(program, "rb") as f:
            image = oci.Image(oci.layer({"server": f.read(), "tmp": {"type": b"5", "mode": 0o1777}}), config={"Entrypoint": ["/server"]})
        self.t.cli("pull", "oci:" + image.layout(self.dir + "/box", "v1") + ":v1", "--tag", "localhost/server:v1")
        with open(self.dir + "/tandem.yaml", "w", encoding="ascii") as f:
            json.dump({"name": "shop", "services": {"web": {"image": "localhost/server:v1", "port": 8080, "route": "/*", "memory": 64, "min": 1}}}, f)
        self.t.cli("up", "-f", self.dir + "/tandem.yaml")

        def utilization(metric, stat):
            one, = self.cw.get_metric_data(**self.times, MetricDataQueries=[{"Id": "a", "MetricStat": {"Period": 86400, "Stat": stat, "Metric": {
                "Namespace": "AWS/ECS", "MetricName": metric, "Dimensions": [{"Name": "ClusterName", "Value": "default"}, {"Name": "ServiceName", "Value": "web"}]}}}])["MetricDataResults"]
            return one["Values"]
        tandem.wait_for(lambda: utilization("MemoryUtilization", "Maximum"))
        self.assertTrue(0 < utilization("MemoryUtilization", "Maximum")[0] <= 100)
        self.assertLessEqual(0, utilization("CPUUtilization", "Average")[0])
        self.assertEqual(sorted(m["MetricName"] for m in self.cw.list_metrics(Namespace="AWS/ECS")["Metrics"]), ["CPUUtilization", "MemoryUtilization"])
        logs = self.t.client("logs")
        self.assertEqual([g["logGroupName"] for g in logs.describe_log_groups(logGroupNamePrefix="/ecs/")["logGroups"]], ["/ecs/default/web"])
        logs.filter_log_events(logGroupName="/ecs/default/web")
        self.t.cli("down", "-f", self.dir + "/tandem.yaml")

    def json(self, operation, body):
        """As newer SDKs ask: JSON 1.0."""
        request = AWSRequest("POST", self.t.api + "/", {"Content-Type": "application/x-amz-json-1.0", "x-amzn-query-mode": "true",
                                                        "X-Amz-Target": "GraniteServiceVersion20100801." + operation}, json.dumps(body))
        SigV4Auth(Credentials(self.t.env["access_key"], self.t.env["secret_key"]), "monitoring", self.t.env["region"]).add_auth(request)
        with urllib.request.urlopen(urllib.request.Request(request.url, request.data.encode(), dict(request.headers), method="POST"), timeout=30) as answer:
            self.assertEqual(answer.headers["Content-Type"], "application/x-amz-json-1.0")
            return json.load(answer)

    def test_clients(self):
        one = {"Id": "a", "MetricStat": {"Metric": {"Namespace": "AWS/Lambda", "MetricName": "Invocations", "Dimensions": [{"Name": "FunctionName", "Value": "counted"}]},
                                         "Period": 3600, "Stat": "Sum"}}
        times = {k: v.timestamp() for k, v in self.times.items()}
        result, = self.json("GetMetricData", {**times, "MetricDataQueries": [one]})["MetricDataResults"]
        self.assertEqual((sum(result["Values"]), result["Timestamps"][0] % 3600), (4, 0))
        with self.assertRaises(urllib.error.HTTPError) as caught:
            self.json("ListMetrics", {"NextToken": "x"})
        self.assertEqual(caught.exception.headers["x-amzn-query-error"], "InvalidParameterValue;Sender")
        caught.exception.close()
        said = subprocess.run(["/usr/bin/aws", "--endpoint-url", self.t.api, "cloudwatch", "get-metric-statistics", "--namespace", "AWS/Lambda", "--metric-name", "Errors",
                               "--dimensions", "Name=FunctionName,Value=counted", "--statistics", "Sum", "--period", "3600",
                               "--start-time", self.times["StartTime"].isoformat(), "--end-time", self.times["EndTime"].isoformat()],
                              env=self.t.environment(), capture_output=True, text=True, timeout=60 * tandem.SLOW, check=True).stdout
        self.assertEqual(sum(d["Sum"] for d in json.loads(said)["Datapoints"]), 1)
        said = self.t.node(self, """
            new (require("aws-sdk")).CloudWatch({endpoint: process.env.ENDPOINT}).getMetricData({MetricDataQueries: [%s],
                StartTime: new Date(%d), EndTime: new Date(%d)}).promise().then(r => console.log(JSON.stringify(r.MetricDataResults[0])))""" % (
            json.dumps(one), times["StartTime"] * 1000, times["EndTime"] * 1000))
        self.assertEqual(sum(said["Values"]), 4)


if __name__ == "__main__":
    unittest.main()
