#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Services by the ECS API: deployments, waiters, the circuit breaker, tags."""
import json
import os
import sys
import unittest
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import oci  # noqa: E402
import tandem  # noqa: E402
import test_ecs_tasks  # noqa: E402

SOON = {"Delay": 1, "MaxAttempts": 90 * tandem.SLOW}
FOREVER = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done")


class Services(test_ecs_tasks.Base):
    def stable(self, *names, **more):
        self.c.get_waiter("services_stable").wait(services=list(names), WaiterConfig=SOON, **more)
        return self.c.describe_services(services=list(names), **more)["services"]

    def gone(self, name):
        self.c.delete_service(service=name, force=True)
        self.c.get_waiter("services_inactive").wait(services=[name], WaiterConfig=SOON)

    def test_life(self):
        self.define("keep", *FOREVER)
        made = self.c.create_service(serviceName="keep", taskDefinition="keep", desiredCount=2, tags=[{"key": "a", "value": "b"}],
                                     deploymentConfiguration={"maximumPercent": 150, "minimumHealthyPercent": 50})["service"]
        self.assertEqual((made["status"], made["desiredCount"], made["deployments"][0]["rolloutState"]), ("ACTIVE", 2, "IN_PROGRESS"))
        self.assertTrue(made["serviceArn"].endswith(":service/default/keep"), made)
        one = self.stable("keep")[0]
        self.assertEqual((one["runningCount"], one["pendingCount"], one["deploymentConfiguration"]["maximumPercent"]), (2, 0, 150))
        self.assertEqual([(d["status"], d["rolloutState"]) for d in one["deployments"]], [("PRIMARY", "COMPLETED")])
        self.assertTrue(one["deployments"][0]["id"].startswith("ecs-svc/"))
        self.assertTrue(one["events"][0]["message"])
        arns = self.c.list_tasks(serviceName="keep")["taskArns"]
        self.assertEqual(sorted(self.c.list_tasks(serviceName=one["serviceArn"])["taskArns"]), sorted(arns))
        tasks = self.c.describe_tasks(tasks=arns)["tasks"]
        self.assertEqual([(t["lastStatus"], t["group"], t["startedBy"]) for t in tasks], [("RUNNING", "service:keep", one["deployments"][0]["id"])] * 2)
        self.assertEqual(self.c.describe_clusters()["clusters"][0]["activeServicesCount"], 1)
        self.refused("InvalidParameterException", "not idempotent", self.c.create_service, serviceName="keep", taskDefinition="keep")
        self.refused("ClusterContainsTasksException", "", self.c.delete_cluster, cluster="default")
        self.c.stop_task(task=arns[0])
        tandem.wait_for(lambda: arns[0] not in self.c.list_tasks(serviceName="keep")["taskArns"] and len(self.c.list_tasks(serviceName="keep")["taskArns"]) == 2,
                        60 * tandem.SLOW)
        self.c.update_service(service=made["serviceArn"], desiredCount=1)
        self.assertEqual(self.stable("keep")[0]["runningCount"], 1)
        self.crash()
        after = self.stable("keep")[0]
        self.assertEqual((after["runningCount"], after["serviceArn"]), (1, made["serviceArn"]))
        self.assertEqual(self.c.describe_services(services=["keep"], include=["TAGS"])["services"][0]["tags"], [{"key": "a", "value": "b"}])
        self.refused("InvalidParameterException", "scaled above 0", self.c.delete_service, service="keep")
        self.c.deregister_task_definition(taskDefinition="keep:1")
        said = self.raw("DeleteTaskDefinitions", '{"taskDefinitions": ["keep:1"]}')[1]
        self.assertEqual(said["failures"][0]["reason"], "A service uses it.")
        self.c.update_service(service="keep", desiredCount=0)
        self.assertEqual(self.stable("keep")[0]["runningCount"], 0)
        self.gone("keep")
        self.refused("ServiceNotFoundException", "Service not found.", self.c.update_service, service="keep", desiredCount=1)
        self.assertEqual(self.c.list_services()["serviceArns"], [])

    def test_deployments(self):
        self.define("roll", *FOREVER)
        self.c.create_service(serviceName="roll", taskDefinition="roll", desiredCount=1)
        first = self.stable("roll")[0]
        self.define("roll", *FOREVER)
        self.c.update_service(service="roll", taskDefinition="roll:2")
        second = self.stable("roll")[0]
        self.assertTrue(second["taskDefinition"].endswith("roll:2"))
        self.assertNotEqual(first["deployments"][0]["id"], second["deployments"][0]["id"])
        status, said = self.raw("ListServiceDeployments", '{"service": "roll"}')
        self.assertEqual((status, [d["status"] for d in said["serviceDeployments"]]), (200, ["SUCCESSFUL"]))
        arn = said["serviceDeployments"][0]["serviceDeploymentArn"]
        said = self.raw("DescribeServiceDeployments", json.dumps({"serviceDeploymentArns": [arn, arn + "0"]}))[1]
        self.assertEqual((said["serviceDeployments"][0]["targetServiceRevision"]["runningTaskCount"], said["failures"][0]["reason"]), (1, "MISSING"))
        forced = self.c.update_service(service="roll", forceNewDeployment=True)["service"]
        self.assertNotEqual(forced["deployments"][0]["id"], second["deployments"][0]["id"])
        self.stable("roll")
        self.define("roll", "sh", "-c", "exit 7")
        self.c.update_service(service="roll", taskDefinition="roll", deploymentConfiguration={"deploymentCircuitBreaker": {"enable": True, "rollback": True}})
        back = tandem.wait_for(lambda: next((s for s in self.c.describe_services(services=["roll"])["services"]
                                             if s["taskDefinition"].endswith("roll:2") and s["runningCount"] == 1), None), 90 * tandem.SLOW)
        self.assertTrue(any("roll:3" in e["message"] for e in back["events"]), back["events"])
        self.stable("roll")
        self.t.aws("ecs", "wait", "services-stable", "--services", "roll")
        self.gone("roll")

    def test_a_request_reaches_it(self):
        self.define("web", "sh", "-c", "mkdir -p /tmp/w; echo hello from a service >/tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w",
                    portMappings=[{"containerPort": 8080}])
        self.c.create_service(serviceName="web", taskDefinition="web", tags=[{"key": "tandem:route", "value": "/*"}])
        self.stable("web")
        with urllib.request.urlopen(self.t.gateway + "/index.html", timeout=60) as answer:
            self.assertEqual(answer.read(), b"hello from a service\n")
        self.gone("web")

    def test_its_image_is_pulled(self):
        with oci.OddRegistry({"box:v3": self.image}) as registry:
            self.define("from-afar", *FOREVER, image=registry.host + "/box:v3")
            self.c.create_service(serviceName="from-afar", taskDefinition="from-afar")
            self.assertEqual(self.stable("from-afar")[0]["deployments"][0]["failedTasks"], 0)
            self.gone("from-afar")
            self.define("nowhere", *FOREVER, image=registry.host + "/nowhere:v1")
            self.c.create_service(serviceName="nowhere", taskDefinition="nowhere",
                                  deploymentConfiguration={"deploymentCircuitBreaker": {"enable": True, "rollback": False}})
            failed = tandem.wait_for(lambda: next((d for d in self.c.describe_services(services=["nowhere"])["services"][0]["deployments"]
                                                   if d["rolloutState"] == "FAILED"), None), 90 * tandem.SLOW)
            self.assertIn("CannotPullContainerError", failed["rolloutStateReason"])
            self.gone("nowhere")

    def test_what_is_asked_wrongly(self):
        self.define("wrong")
        self.refused("ServiceNotFoundException", "Service not found.", self.c.delete_service, service="nobody")
        self.assertEqual(self.c.describe_services(services=["nobody"])["failures"][0]["reason"], "MISSING")
        self.refused("ClientException", "TaskDefinition not found", self.c.create_service, serviceName="a", taskDefinition="nobody")
        self.refused("InvalidParameterException", "blank", self.c.create_service, serviceName="a")
        self.refused("ClientException", "loadBalancers is not supported", self.c.create_service, serviceName="a", taskDefinition="wrong",
                     loadBalancers=[{"targetGroupArn": "arn:x", "containerName": "main", "containerPort": 1}])
        self.refused("InvalidParameterException", "schedulingStrategy", self.c.create_service, serviceName="a", taskDefinition="wrong", schedulingStrategy="DAEMON")
        self.refused("InvalidParameterException", "no room", self.c.create_service, serviceName="a", taskDefinition="wrong",
                     deploymentConfiguration={"maximumPercent": 100, "minimumHealthyPercent": 100})
        self.refused("InvalidParameterException", "serviceName", self.c.create_service, serviceName="a/b", taskDefinition="wrong")
        self.assertEqual(self.c.list_services()["serviceArns"], [])

    def test_tags(self):
        self.define("tagged", *FOREVER)
        arn = self.c.describe_task_definition(taskDefinition="tagged")["taskDefinition"]["taskDefinitionArn"]
        service = self.c.create_service(serviceName="tagged", taskDefinition="tagged", desiredCount=0)["service"]["serviceArn"]
        task = self.run_one("tagged")
        for resource in (arn, self.c.create_cluster(clusterName="tagged")["cluster"]["clusterArn"], service, task):
            self.c.tag_resource(resourceArn=resource, tags=[{"key": "a", "value": "1"}, {"key": "b", "value": "2"}])
            self.c.tag_resource(resourceArn=resource, tags=[{"key": "a", "value": "3"}])
            self.c.untag_resource(resourceArn=resource, tagKeys=["b"])
            self.assertEqual(self.c.list_tags_for_resource(resourceArn=resource)["tags"], [{"key": "a", "value": "3"}])
        self.refused("InvalidParameterException", "not found", self.c.list_tags_for_resource, resourceArn=service + "x")
        self.refused("InvalidParameterException", "no ARN", self.c.list_tags_for_resource, resourceArn="arn:aws:s3:::x")
        self.refused("InvalidParameterException", "does not begin with aws:", self.c.tag_resource, resourceArn=arn, tags=[{"key": "aws:x", "value": ""}])
        self.c.stop_task(task=task)
        self.gone("tagged")


if __name__ == "__main__":
    unittest.main()
