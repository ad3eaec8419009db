#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The ECS API as boto3, the AWS CLI and both JavaScript SDKs see it: definitions, clusters, tasks, services."""
import http.client
import json
import os
import signal
import sys
import unittest

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tandem  # noqa: E402


class Base(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = tandem.Tandem()
        cls.t.start()
        cls.addClassCleanup(lambda: cls.t.close())
        cls.c = cls.t.client("ecs")

    def crash(self):
        """What was answered is durable."""
        before = tandem.daemon_of(self.t.pid)
        os.kill(before, signal.SIGKILL)
        tandem.wait_for(lambda: tandem.daemon_of(self.t.pid) not in (None, before), what="no other tandemd")

    def refused(self, code, text, call, **arguments):
        with self.assertRaises(ClientError) as caught:
            call(**arguments)
        self.assertEqual(caught.exception.response["Error"]["Code"], code)
        self.assertIn(text, caught.exception.response["Error"]["Message"])

    def raw(self, operation, body):
        """(status, answer) of a body that no client would send."""
        request = AWSRequest("POST", self.t.api + "/", {"Content-Type": "application/x-amz-json-1.1",
                             "X-Amz-Target": "AmazonEC2ContainerServiceV20141113." + operation}, body.encode())
        SigV4Auth(Credentials(self.t.env["access_key"], self.t.env["secret_key"]), "ecs", self.t.env["region"]).add_auth(request)
        connection = http.client.HTTPConnection(self.t.api.split("//")[1], timeout=60)
        connection.request("POST", "/", request.body, dict(request.headers))
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text)


class Definitions(Base):
    def register(self, family="web", **more):
        more.setdefault("containerDefinitions", [{"name": "a", "image": "localhost/box:v1", "memory": 64}])
        return self.c.register_task_definition(family=family, **more)["taskDefinition"]

    def test_revisions(self):
        first = self.register(tags=[{"key": "team", "value": "blue"}], executionRoleArn="arn:aws:iam::000000000000:role/x")
        second = self.register()
        self.assertEqual((first["revision"], second["revision"]), (1, 2))
        self.assertTrue(first["taskDefinitionArn"].endswith(":task-definition/web:1"), first)
        one = first["containerDefinitions"][0]
        self.assertEqual((one["cpu"], one["essential"], one["environment"], one["mountPoints"], one["portMappings"]), (0, True, [], [], []))
        self.assertEqual(first["executionRoleArn"], "arn:aws:iam::000000000000:role/x")
        said = self.c.describe_task_definition(taskDefinition="web:1", include=["TAGS"])
        self.assertEqual(said["tags"], [{"key": "team", "value": "blue"}])
        self.assertEqual(said["taskDefinition"], first)
        self.assertEqual(self.c.describe_task_definition(taskDefinition="web")["taskDefinition"]["revision"], 2)
        self.refused("ClientException", "Unable to describe task definition", self.c.describe_task_definition, taskDefinition="web:3")
        self.refused("ClientException", "Unable to describe", self.c.describe_task_definition, taskDefinition="../web")
        gone = self.c.deregister_task_definition(taskDefinition=second["taskDefinitionArn"])["taskDefinition"]
        self.assertEqual(gone["status"], "INACTIVE")
        self.assertIn("deregisteredAt", gone)
        self.crash()
        self.assertEqual(self.c.describe_task_definition(taskDefinition="web")["taskDefinition"]["revision"], 1)
        arns = self.c.list_task_definitions(familyPrefix="web", status="INACTIVE")["taskDefinitionArns"]
        self.assertEqual(arns, [second["taskDefinitionArn"]])
        answer = self.raw("DeleteTaskDefinitions", '{"taskDefinitions": ["web:1", "web:2", "web:9"]}')[1]
        self.assertEqual([d["status"] for d in answer["taskDefinitions"]], ["DELETE_IN_PROGRESS"])
        self.assertEqual([f["arn"] for f in answer["failures"]], ["web:1", "web:9"])
        self.assertEqual(self.register()["revision"], 3)

    def test_lists(self):
        for family in ("l-a", "l-b"):
            for _ in range(3):
                self.register(family)
        pages = list(self.c.get_paginator("list_task_definitions").paginate(familyPrefix="l-a", PaginationConfig={"PageSize": 2}))
        self.assertEqual([[a.rsplit("/", 1)[1] for a in p["taskDefinitionArns"]] for p in pages], [["l-a:1", "l-a:2"], ["l-a:3"]])
        down = self.c.list_task_definitions(familyPrefix="l-b", sort="DESC", maxResults=2)["taskDefinitionArns"]
        self.assertEqual([a.rsplit(":", 1)[1] for a in down], ["3", "2"])
        self.assertEqual(self.c.list_task_definition_families(familyPrefix="l-")["families"], ["l-a", "l-b"])
        for n in (1, 2, 3):
            self.c.deregister_task_definition(taskDefinition=f"l-a:{n}")
        self.assertEqual(self.c.list_task_definition_families(familyPrefix="l-", status="ACTIVE")["families"], ["l-b"])
        self.assertEqual(self.c.list_task_definition_families(familyPrefix="l-", status="INACTIVE")["families"], ["l-a"])

    def test_what_cannot_be_is_refused_by_name(self):
        def container(**more):
            return {"containerDefinitions": [{"name": "a", "image": "i", "memory": 64, **more}]}
        for text, what in (
                ("containerDefinitions[0].privileged is for the owner", container(privileged=True)),
                ("containerDefinitions[0].secrets is for the owner", container(secrets=[{"name": "A", "valueFrom": "arn:x"}])),
                ("devices is for the owner", container(linuxParameters={"devices": [{"hostPath": "/dev/kvm"}]})),
                ("capabilities.add is for the owner", container(linuxParameters={"capabilities": {"add": ["SYS_ADMIN"]}})),
                ("volumes[0].host.sourcePath is for the owner", dict(container(), volumes=[{"name": "v", "host": {"sourcePath": "/etc"}}])),
                ("efsVolumeConfiguration is not supported", dict(container(), volumes=[{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}])),
                ("links is not supported", container(links=["b"])),
                ("pidMode is not supported", dict(container(), pidMode="host")),
                ("a hostPort is the owner", container(portMappings=[{"containerPort": 80, "hostPort": 80}])),
                ("Unknown volume 'v'", container(mountPoints=[{"sourceVolume": "v", "containerPath": "/v"}])),
                ("healthCheck.command begins with", container(healthCheck={"command": ["curl"]})),
                ("there is no container \"b\"", container(dependsOn=[{"containerName": "b", "condition": "START"}])),
                ("one container at least is essential", container(essential=False)),
                ("No Fargate configuration", dict(container(), requiresCompatibilities=["FARGATE"], cpu="256", memory="4096")),
                ("Invalid 'cpu' or 'memory'", dict(container(), memory="much")),
                ("At least one of 'memory' or 'memoryReservation'", {"containerDefinitions": [{"name": "a", "image": "i"}]}),
                ("containerDefinitions should not be null or empty", {"containerDefinitions": []})):
            self.refused("ClientException", text, self.c.register_task_definition, family="bad", **what)
        self.refused("ClientException", "Family contains invalid", self.c.register_task_definition, family="a b", **container())
        self.refused("InvalidParameterException", "networkMode is host", self.c.register_task_definition, family="a", networkMode="host", **container())
        self.assertEqual(self.c.list_task_definitions(familyPrefix="bad")["taskDefinitionArns"], [])

    def test_what_is_taken(self):
        made = self.register(
            "whole", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu=".5 vCPU", memory="1GB",
            volumes=[{"name": "scratch"}, {"name": "data", "dockerVolumeConfiguration": {"scope": "shared", "autoprovision": True}}],
            containerDefinitions=[
                {"name": "main", "image": "i", "command": ["a"], "entryPoint": ["b"], "user": "app", "workingDirectory": "/x", "stopTimeout": 5,
                 "environment": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}], "readonlyRootFilesystem": True,
                 "portMappings": [{"containerPort": 80, "hostPort": 80}], "dependsOn": [{"containerName": "side", "condition": "HEALTHY"}],
                 "mountPoints": [{"sourceVolume": "scratch", "containerPath": "/tmp"}, {"sourceVolume": "data", "containerPath": "/d", "readOnly": True}],
                 "ulimits": [{"name": "nofile", "softLimit": 1024, "hardLimit": 2048}], "linuxParameters": {"capabilities": {"drop": ["ALL"]}},
                 "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "g"}}},
                {"name": "side", "image": "i", "essential": False, "healthCheck": {"command": ["CMD-SHELL", "true"], "interval": 5}}])
        self.assertIn("FARGATE", made["compatibilities"])
        self.assertEqual(made["containerDefinitions"][0]["logConfiguration"]["options"], {"awslogs-group": "g"})

    def test_hostile_bodies(self):
        status, said = self.raw("RegisterTaskDefinition", "[" * 100000)
        self.assertEqual((status, said["__type"]), (400, "SerializationException"))
        status, said = self.raw("RegisterTaskDefinition", '{"family":"f","containerDefinitions":"x"}')
        self.assertEqual((status, said["__type"], said["message"]),
                         (400, "InvalidParameterException", "Invalid type for parameter containerDefinitions: it must be a list."))
        status, said = self.raw("RegisterTaskDefinition", json.dumps({"family": "x" * 70000, "containerDefinitions": [{"name": "a", "image": "i", "memory": 64}]}))
        self.assertEqual((status, said["__type"]), (400, "ClientException"))
        status, said = self.raw("RegisterTaskDefinition", '{"family":"f","pad":"' + "x" * 2000000 + '"}')
        self.assertEqual(status, 413)
        status, said = self.raw("DescribeTaskDefinition", '{"taskDefinition":"' + "a:" * 5000 + '"}')
        self.assertEqual((status, said["__type"]), (400, "ClientException"))
        status, said = self.raw("NoSuchThing", "{}")
        self.assertEqual((status, said["__type"]), (400, "UnknownOperationException"))
        status, said = self.raw("ListClusters", '{"nextToken":"-1"}')
        self.assertEqual((status, said["__type"]), (400, "InvalidParameterException"))
        status, said = self.raw("ListClusters", '{"something":[1,{"else":null}]}')
        self.assertEqual(status, 200)


class Clusters(Base):
    def test_life(self):
        self.assertEqual(self.c.describe_clusters()["clusters"][0]["clusterName"], "default")
        made = self.c.create_cluster(clusterName="ml", tags=[{"key": "a", "value": "b"}], settings=[{"name": "containerInsights", "value": "disabled"}])["cluster"]
        self.assertEqual((made["status"], made["tags"]), ("ACTIVE", [{"key": "a", "value": "b"}]))
        self.assertEqual(self.c.create_cluster(clusterName="ml")["cluster"]["clusterArn"], made["clusterArn"])
        self.c.put_cluster_capacity_providers(cluster="ml", capacityProviders=["FARGATE"], defaultCapacityProviderStrategy=[{"capacityProvider": "FARGATE", "weight": 1}])
        self.c.update_cluster(cluster=made["clusterArn"], settings=[{"name": "containerInsights", "value": "enabled"}])
        self.crash()
        answer = self.c.describe_clusters(clusters=["ml", "nobody", made["clusterArn"]], include=["SETTINGS", "TAGS"])
        self.assertEqual([f["reason"] for f in answer["failures"]], ["MISSING"])
        one = answer["clusters"][0]
        self.assertEqual((one["settings"][0]["value"], one["capacityProviders"], one["tags"]), ("enabled", ["FARGATE"], made["tags"]))
        self.assertEqual([a.rsplit("/", 1)[1] for a in self.c.list_clusters()["clusterArns"]], ["default", "ml"])
        self.assertEqual(self.c.delete_cluster(cluster="ml")["cluster"]["status"], "INACTIVE")
        self.refused("ClusterNotFoundException", "Cluster not found.", self.c.delete_cluster, cluster="ml")
        self.refused("InvalidParameterException", "Cluster names", self.c.create_cluster, clusterName="a/b")


if __name__ == "__main__":
    unittest.main()
