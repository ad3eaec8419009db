#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Tasks by the ECS API: RunTask as boto3, the AWS CLI and both JavaScript SDKs call it, waiters, ends and their reasons, crashes."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import oci  # noqa: E402
import tandem  # noqa: E402
import test_ecs  # noqa: E402
import test_run  # noqa: E402

SOON = {"Delay": 1, "MaxAttempts": 60 * tandem.SLOW}
THE_CALL = """cluster: 'ml-inference-cluster', taskDefinition: 'ml-inference-task', launchType: 'FARGATE',
    networkConfiguration: {awsvpcConfiguration: {subnets: ['subnet-123'], assignPublicIp: 'ENABLED'}},
    overrides: {containerOverrides: [{name: 'ml-inference', environment: [{name: 'IMAGE_DATA', value: 'pixels'}]}]}"""


class Base(test_ecs.Base):
    @classmethod
    def setUpClass(cls):
        if not os.path.exists(test_run.BUSYBOX) or not shutil.which("skopeo"):
            raise unittest.SkipTest("busybox-static and skopeo are not installed")
        super().setUpClass()
        cls.dir = tempfile.mkdtemp(prefix="tandem-ecs-")
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        cls.image = oci.Image(oci.layer(test_run.files()), config={"Cmd": ["sh", "-c", "exit 3"], "Env": ["PATH=/bin"]})
        cls.t.cli("pull", "oci:" + cls.image.layout(cls.dir + "/box", "v1") + ":v1", "--tag", "localhost/box:v1")

    def define(self, family, *command, image="localhost/box:v1", **more):
        container = {"name": "main", "image": image, "memory": 64, **more}
        if command:
            container["command"] = list(command)
        self.c.register_task_definition(family=family, containerDefinitions=[container])
        return family

    def run_one(self, family, **more):
        answer = self.c.run_task(taskDefinition=family, **more)
        self.assertEqual((len(answer["tasks"]), answer["failures"]), (1, []))
        return answer["tasks"][0]["taskArn"]

    def wait(self, what, *arns, **more):
        self.c.get_waiter(what).wait(tasks=list(arns), WaiterConfig=SOON, **more)
        return self.c.describe_tasks(tasks=list(arns), **more)["tasks"]

    def logs(self, arn):
        return self.t.cli("logs", arn.rsplit("/", 1)[1])


class Life(Base):
    def test_from_run_to_stop(self):
        family = self.define("life", "sh", "-c", "trap 'exit 5' TERM; echo up; while :; do sleep 1000 & wait $!; done")
        arn = self.run_one(family, startedBy="me", tags=[{"key": "a", "value": "b"}])
        task = self.wait("tasks_running", arn)[0]
        tandem.wait_for(lambda: "up" in self.logs(arn))
        self.assertEqual((task["lastStatus"], task["desiredStatus"], task["startedBy"], task["group"]), ("RUNNING", "RUNNING", "me", "family:life"))
        self.assertEqual(task["containers"][0]["imageDigest"], "sha256:" + self.image.digest)
        self.assertNotIn("tags", {k for k, v in task.items() if v})
        self.assertEqual(self.c.describe_tasks(tasks=[arn], include=["TAGS"])["tasks"][0]["tags"], [{"key": "a", "value": "b"}])
        self.assertEqual(self.c.list_tasks(family="life")["taskArns"], [arn])
        self.assertEqual(self.c.list_tasks(startedBy="me")["taskArns"], [arn])
        self.assertEqual(self.c.list_tasks(startedBy="you")["taskArns"], [])
        self.assertEqual(self.c.list_tasks(family="life", desiredStatus="STOPPED")["taskArns"], [])
        self.assertGreaterEqual(self.c.describe_clusters()["clusters"][0]["runningTasksCount"], 1)
        self.refused("ClusterContainsTasksException", "while Tasks are active", self.c.delete_cluster, cluster="default")
        stopped = self.c.stop_task(task=arn.rsplit("/", 1)[1], reason="enough of it")["task"]
        self.assertEqual((stopped["desiredStatus"], stopped["stopCode"]), ("STOPPED", "UserInitiated"))
        task = self.wait("tasks_stopped", arn)[0]
        self.assertEqual((task["stoppedReason"], task["containers"][0]["exitCode"], task["containers"][0]["lastStatus"]), ("enough of it", 5, "STOPPED"))
        self.assertLessEqual(task["createdAt"], task["startedAt"])
        self.assertLessEqual(task["startedAt"], task["stoppedAt"])
        self.assertEqual(self.c.list_tasks(family="life", desiredStatus="STOPPED")["taskArns"], [arn])

    def test_ends_and_their_reasons(self):
        task = self.wait("tasks_stopped", self.run_one(self.define("three")))[0]
        self.assertEqual((task["stopCode"], task["stoppedReason"], task["containers"][0]["exitCode"]),
                         ("EssentialContainerExited", "Essential container in task exited", 3))
        task = self.wait("tasks_stopped", self.run_one(self.define("nothing", "/no/such/program")))[0]
        self.assertEqual(task["stopCode"], "TaskFailedToStart")
        self.assertIn("CannotStartContainerError", task["stoppedReason"])
        task = self.wait("tasks_stopped", self.run_one(self.define("hungry", "sh", "-c", "x=$(yes | head -c 200000000); echo $x | wc -c", memory=16)))[0]
        self.assertIn("OutOfMemoryError", task["containers"][0]["reason"])

    def test_what_a_definition_gives(self):
        self.c.register_task_definition(
            family="given", volumes=[{"name": "scratch"}, {"name": "kept", "dockerVolumeConfiguration": {"scope": "shared", "autoprovision": True}}],
            containerDefinitions=[{"name": "main", "image": "localhost/box:v1", "memory": 64, "readonlyRootFilesystem": True, "workingDirectory": "/tmp",
                                   "command": ["sh", "-c", "id -u; pwd; ulimit -n; touch /root-is-writable 2>/dev/null || echo read-only; "
                                               "echo x >/scratch/x && cat /scratch/x; cat /kept/x 2>/dev/null || echo first"],
                                   "ulimits": [{"name": "nofile", "softLimit": 333, "hardLimit": 444}], "linuxParameters": {"capabilities": {"drop": ["ALL"]}},
                                   "mountPoints": [{"sourceVolume": "scratch", "containerPath": "/scratch"}, {"sourceVolume": "kept", "containerPath": "/kept"}]}])
        arn = self.run_one("given")
        self.wait("tasks_stopped", arn)
        self.assertEqual([line.split(" ", 2)[2] for line in self.logs(arn).splitlines()], ["0", "/tmp", "333", "read-only", "x", "first"])
        arn = self.run_one("given", overrides={"containerOverrides": [{"name": "main", "command": ["sh", "-c", "echo again >/kept/x && cat /kept/x"]}]})
        self.wait("tasks_stopped", arn)
        self.assertEqual([line.split(" ", 2)[2] for line in self.logs(arn).splitlines()], ["again"])
        self.assertIn("ecs-kept", self.t.cli("volume", "ls"))

    def test_what_is_asked_wrongly(self):
        family = self.define("small")
        self.refused("ClientException", "TaskDefinition not found", self.c.run_task, taskDefinition="nobody")
        self.refused("ClusterNotFoundException", "Cluster not found.", self.c.run_task, taskDefinition=family, cluster="nobody")
        self.refused("ClientException", "No Fargate configuration", self.c.run_task, taskDefinition=family, launchType="FARGATE")
        self.refused("ClientException", "overrides: cpu is like", self.c.run_task, taskDefinition=family, overrides={"cpu": "fast"})
        self.refused("InvalidParameterException", "count is 11", self.c.run_task, taskDefinition=family, count=11)
        self.refused("InvalidParameterException", "there is no container \"x\"", self.c.run_task, taskDefinition=family,
                     overrides={"containerOverrides": [{"name": "x"}]})
        self.refused("InvalidParameterException", "Invalid namespace", self.c.run_task, taskDefinition=family, group="service:web")
        self.refused("InvalidParameterException", "was not found", self.c.stop_task, task="0" * 32)
        missing = self.c.describe_tasks(tasks=["0" * 32])
        self.assertEqual((missing["tasks"], missing["failures"][0]["reason"]), ([], "MISSING"))
        self.assertTrue(missing["failures"][0]["arn"].endswith(":task/default/" + "0" * 32))
        large = self.c.run_task(taskDefinition=family, count=2, overrides={"memory": "1000000"})
        self.assertEqual((large["tasks"], [f["reason"] for f in large["failures"]]), ([], ["RESOURCE:MEMORY"] * 2))
        self.c.create_cluster(clusterName="other")
        arn = self.run_one(family, cluster="other")
        self.assertIn(":task/other/", arn)
        self.assertEqual(self.c.describe_tasks(tasks=[arn])["failures"][0]["reason"], "MISSING")
        self.assertEqual(self.wait("tasks_stopped", arn, cluster="other")[0]["clusterArn"].rsplit("/", 1)[1], "other")
        self.c.deregister_task_definition(taskDefinition="small:1")
        self.refused("ClientException", "inactive", self.c.run_task, taskDefinition="small:1")

    def test_a_token_is_one_request(self):
        def run(**more):
            status, said = self.raw("RunTask", json.dumps({"taskDefinition": "token", "count": 2, "clientToken": "t-1", **more}))
            return sorted(t["taskArn"] for t in said["tasks"]) if status == 200 else (said["__type"], said["message"])
        self.define("token", "sleep", "100", stopTimeout=0)
        first = run()
        self.assertEqual(len(first), 2)
        self.assertEqual(run(), first)
        self.assertEqual(run(count=1)[0], "ConflictException")
        self.crash()
        self.assertEqual(run(), first)
        self.assertEqual(sorted(self.c.list_tasks(family="token")["taskArns"]), first)
        self.assertNotEqual(run(clientToken="t-2"), first)
        for arn in self.c.list_tasks(family="token")["taskArns"]:
            self.c.stop_task(task=arn)

    def test_clients(self):
        self.c.register_task_definition(family="ml-inference-task", networkMode="awsvpc", cpu="256", memory="512", requiresCompatibilities=["FARGATE"],
                                        containerDefinitions=[{"name": "ml-inference", "image": "localhost/box:v1", "command": ["sh", "-c", "echo data $IMAGE_DATA"]}])
        self.c.create_cluster(clusterName="ml-inference-cluster")
        program = """const AWS = require('aws-sdk'); const ecs = new AWS.ECS({endpoint: process.env.ENDPOINT});
            ecs.runTask({%s}).promise().then(r => console.log(JSON.stringify(r)));""" % THE_CALL
        arns = [self.t.node(self, program)["tasks"][0]["taskArn"]]
        program = """const {ECSClient, RunTaskCommand} = require('@aws-sdk/client-ecs'); const ecs = new ECSClient({endpoint: process.env.ENDPOINT});
            ecs.send(new RunTaskCommand({%s})).then(r => console.log(JSON.stringify(r)));""" % THE_CALL
        if os.path.isdir(os.path.join(tandem.ROOT, "build/npm/node_modules/@aws-sdk/client-ecs")):
            arns.append(self.t.node(self, program)["tasks"][0]["taskArn"])
        said = self.t.aws("ecs", "run-task", "--cluster", "ml-inference-cluster", "--task-definition", "ml-inference-task:1", "--launch-type", "FARGATE",
                          "--network-configuration", "awsvpcConfiguration={subnets=[subnet-123],assignPublicIp=ENABLED}",
                          "--overrides", json.dumps({"containerOverrides": [{"name": "ml-inference", "environment": [{"name": "IMAGE_DATA", "value": "pixels"}]}]}))
        arns.append(said["tasks"][0]["taskArn"])
        self.wait("tasks_stopped", *arns, cluster="ml-inference-cluster")
        self.t.aws("ecs", "wait", "tasks-stopped", "--cluster", "ml-inference-cluster", "--tasks", *arns)
        for arn in arns:
            self.assertEqual(self.logs(arn).split("data ")[1].strip(), "pixels")


class Inside(Base):
    """What a task is told on 169.254.170.2 and 169.254.100.2."""
    ASK = "wget -q -O- 2>/dev/null $ECS_CONTAINER_METADATA_URI_V4"

    def said(self, arn, container="-"):
        """Its lines, without what stands before them, empty ones left out; container: where there are several."""
        lines = [line.split(" ", 2) for line in self.logs(arn).splitlines()]
        return [line[2] for line in lines if len(line) == 3 and line[1] == container and line[2]]

    def test_metadata(self):
        self.c.register_task_definition(
            family="inside", cpu="256", memory="512",
            containerDefinitions=[{"name": "main", "image": "localhost/box:v1", "dependsOn": [{"containerName": "side", "condition": "SUCCESS"}],
                                   "command": ["sh", "-c", f"{self.ASK}; echo; {self.ASK}/task; echo; {self.ASK}/stats; echo; {self.ASK}/task/stats; echo; "
                                               "wget -q -O- http://169.254.170.2$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI; echo; "
                                               f"{self.ASK}/other || echo refused; wget -q -O- 2>/dev/null http://169.254.170.2/v4/nobody || echo refused"]},
                                  {"name": "side", "image": "localhost/box:v1", "essential": False, "command": ["sh", "-c", self.ASK]}])
        arn = self.run_one("inside", launchType="FARGATE")
        task = self.wait("tasks_stopped", arn)[0]
        self.assertEqual({c["name"]: c.get("exitCode") for c in task["containers"]}, {"main": 0, "side": 0})
        lines, side = self.said(arn, "main"), json.loads(self.said(arn, "side")[0])
        main, whole, stats, both, keys = (json.loads(line) for line in lines[:5])
        self.assertEqual((side["Name"], main["Name"]), ("side", "main"))
        self.assertEqual(main["Labels"]["com.amazonaws.ecs.task-arn"], arn)
        self.assertEqual((whole["TaskARN"], whole["Family"], whole["Revision"], whole["LaunchType"], whole["Limits"]),
                         (arn, "inside", "1", "FARGATE", {"CPU": 0.25, "Memory": 512}))
        self.assertEqual([c["Name"] for c in whole["Containers"]], ["main", "side"])
        self.assertEqual(whole["Containers"][1]["KnownStatus"], "STOPPED")
        self.assertGreater(stats["memory_stats"]["limit"], 0)
        self.assertEqual(set(both), {c["DockerId"] for c in whole["Containers"]})
        self.assertTrue(keys["RoleArn"].endswith(":role/inside") and keys["SecretAccessKey"] and keys["Expiration"], keys)
        self.assertEqual(lines[5:], ["refused", "refused"])

    def test_it_calls_the_api_as_itself(self):
        call = "wget -q -O- 2>/dev/null --header 'X-Amz-Target: AmazonEC2ContainerServiceV20141113.%s' --post-data '%s' $AWS_ENDPOINT_URL || echo refused; echo"
        calls = call % ("ListClusters", "{}") + ";" + call % ("StopTask", '{"task":"x"}')
        arn = self.run_one(self.define("denied", "sh", "-c", calls))
        self.wait("tasks_stopped", arn)
        self.assertEqual(self.said(arn), ["refused", "refused"])
        with open(self.dir + "/tandem.yaml", "w", encoding="utf-8") as f:
            f.write("name: own\ntasks:\n  granted:\n    image: localhost/box:v1\n    command: [sh, -c, " + json.dumps(calls.replace("$", "$$")) + "]\n"
                    "    allow: [{action: 'ecs:List*', resource: '*'}]\n")
        self.t.cli("up", cwd=self.dir)
        arn = self.run_one("granted")
        self.wait("tasks_stopped", arn)
        self.assertEqual([bool(json.loads(line)["clusterArns"]) if line[0] == "{" else line for line in self.said(arn)], [True, "refused"])

    def test_a_crash_leaves_it_answered(self):
        arn = self.run_one(self.define("asks", "sleep", "1000", stopTimeout=0))
        self.wait("tasks_running", arn)
        ask = ("exec", arn.rsplit("/", 1)[1], "sh", "-c", self.ASK + "/task")
        self.assertIn(arn, self.t.cli(*ask))
        self.crash()
        self.assertIn(arn, tandem.wait_for(lambda: subprocess.run([tandem.PROGRAM, "--state", self.t.state, *ask], capture_output=True, text=True,
                                                                  check=False).stdout, 60 * tandem.SLOW))
        self.c.stop_task(task=arn)


class Pulls(Base):
    def test_pulled_first(self):
        with oci.OddRegistry({"box:v2": self.image}) as registry:
            blob = next(d for d in self.image.blobs if d not in (oci.sha(self.image.config), self.image.digest))
            registry.hold_blob(blob)
            family = self.define("pulled", image=registry.host + "/box:v2")
            tasks = self.c.run_task(taskDefinition=family, count=3)["tasks"]
            self.assertEqual({t["lastStatus"] for t in tasks}, {"PROVISIONING"})
            self.assertTrue(registry.held[blob].wait(60))
            arns = [t["taskArn"] for t in tasks]
            self.c.stop_task(task=arns[2], reason="not needed")
            self.crash()  # accepted is durable: the successor pulls, and runs them
            registry.release()
            done = self.wait("tasks_stopped", *arns)
            self.assertEqual([t["stopCode"] for t in done], ["EssentialContainerExited"] * 2 + ["UserInitiated"])
            self.assertEqual([t["containers"][0].get("exitCode") for t in done], [3, 3, None])

    def test_what_cannot_be_pulled(self):
        with oci.OddRegistry({}) as registry:
            task = self.wait("tasks_stopped", self.run_one(self.define("none", image=registry.host + "/nothing:v1")))[0]
        self.assertEqual(task["stopCode"], "TaskFailedToStart")
        self.assertTrue(task["stoppedReason"].startswith("CannotPullContainerError: "), task["stoppedReason"])
        task = self.wait("tasks_stopped", self.run_one(self.define("bad", image="NO SUCH/reference:")))[0]
        self.assertIn("CannotPullContainerError", task["stoppedReason"])

    def test_known_after_a_restart(self):
        runs = self.run_one(self.define("runs", "sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 1000 & wait $!; done"))
        ended = self.run_one(self.define("ended"))
        self.wait("tasks_running", runs)
        tandem.wait_for(lambda: "up" in self.logs(runs))
        before = self.wait("tasks_stopped", ended)
        self.crash()
        self.assertEqual(self.c.describe_tasks(tasks=[ended])["tasks"], before)
        task = self.c.describe_tasks(tasks=[runs])["tasks"][0]
        self.assertEqual(task["lastStatus"], "RUNNING")
        self.c.stop_task(task=runs)
        self.assertEqual(self.wait("tasks_stopped", runs)[0]["containers"][0]["exitCode"], 0)


if __name__ == "__main__":
    unittest.main()
