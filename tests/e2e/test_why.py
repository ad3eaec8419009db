# SPDX-License-Identifier: Apache-2.0
"""
tandem why: every reason for which something waits, made real, as text and as JSON. The words are those of the tables in src/: one that
is added there needs its situation here.
"""
import concurrent.futures
import json
import os
import re
import resource
import socket
import subprocess
import unittest

import tandem
import test_run as run
import test_services as services

LIMIT_S = 60 * tandem.SLOW
FILES = 2048 + 16 * 14  # so many descriptors are for 16 instances (src/sched/sched.c), of which the pool has 8
PASSING = "is over before anybody could look"
# Where the words stand, and how they are made true: a method of a class below, or why none does.
TABLES = {
    ("src/sched/workload.c", r"sched_wait_name\[WAIT_N\] = \{(.*?)\};"): {
        "nothing": "Functions.test_nobody_asked",
        "a sandbox": PASSING,
        "room on this machine: no memory is left, or as many instances run as can": "Functions.test_room",
        "an instance that initialises": "Functions.test_initialises",
        "a busy instance to become free": PASSING,
        "a busy instance to become free, for there may be no more (max)": "Functions.test_max",
        "the code to be unpacked": PASSING,
    },
    ("src/sched/async.c", r"what\[INVOKE_OUTCOME_N\] = \{(.*?)\};"): {
        "the function failed": "Functions.test_asynchronous",
        "the function ran out of time": "Functions.test_asynchronous",
        "the function's process ended": "Functions.test_asynchronous",
        "the function could not be initialised": "Functions.test_asynchronous",
    },
    ("src/trigger/mapping.c", r"(.*)"): {
        "PROBLEM: Function call was throttled": "Functions.test_queue_and_stream",
        "PROBLEM: Function could not be called": "the platform has to fail",
        "PROBLEM: Function call failed": "Functions.test_queue_and_stream",
        "PROBLEM: Function not found": "Functions.test_queue_and_stream",
    },
    ("src/trigger/mapping_queue.c", r"(.*)"): {
        "PROBLEM: The queue does not exist": "Functions.test_queue_and_stream",
        "PROBLEM: Queue error": "the store has to fail",
        "PROBLEM: Function not found": "Functions.test_queue_and_stream",
    },
    ("src/trigger/mapping_stream.c", r"(.*)"): {
        "PROBLEM: The stream does not exist": "Functions.test_queue_and_stream",
        "PROBLEM: The stream cannot be read": "the store has to fail",
    },
    ("src/service/line.c", r"wait_name\[WAIT_N\] = \{(.*?)\};"): {
        "the daemon is on its way out": PASSING,
        "the service was deleted": "nobody can ask for it any more",
        "the service is to have no instance (max: 0)": "Services.test_no_instance",
        "a budget that is used up": "Services.test_budget",
        "no instance is ready": "Services.test_fails",
        "its image to be brought here": "Services.test_image",
        "an instance, which starts, to listen on port": "Services.test_port",
        "an instance, which starts": "Services.test_image",
    },
    ("src/task/task.c", r"wait_name\[WAIT_N\] = \{(.*?)\};"): {
        "another of its containers (depends_on)": "Tasks.test_order_and_end",
        "its sandbox": PASSING,
        "its program to begin": PASSING,
        "its program to end, which was asked to; after its stop timeout it is killed": "Tasks.test_order_and_end",
    },
}
CODE = tandem.WAIT_WHILE_HELD + """
import os
def handler(event, context):
    event = event if isinstance(event, dict) else {}
    if event.get("exit"):
        os._exit(event["exit"])
    if event.get("fail") or event.get("Records"):
        raise ValueError("as it was told")
    if event.get("wait"):
        wait_while_held()
    return "ok"
"""
LATE = CODE + "wait_while_held()\n"
NEVER = CODE + "fcntl.flock(open(__file__), fcntl.LOCK_SH | fcntl.LOCK_NB)\n"
FUNCTION = {"code": "app", "runtime": "python3.11", "handler": "app.handler", "snapshot": "off", "timeout": "5m"}
PROJECT = {
    "name": "shop",
    "functions": {
        "asleep": FUNCTION,
        "boxed": {**FUNCTION, "lane": "container"},
        "moves": {**FUNCTION, "lane": "auto"},
        "late": {**FUNCTION, "code": "late"},
        "never": {**FUNCTION, "code": "never"},
        "kept": {**FUNCTION, "code": "never", "min": 1},
        "slow": {**FUNCTION, "timeout": "1s"},
        "one": {**FUNCTION, "max": 1},
        "many": {**FUNCTION, "pool": 8},
        "reader": {**FUNCTION, "timeout": "30s", "on": [{"queue": "jobs"}, {"stream": "clicks"}, {"schedule": "rate(1 day)", "input": {}}]},
        "poor": {**FUNCTION, "tags": {"team": "a"}},
    },
    "buckets": {"media": {}},
    "queues": {"jobs": {}, "left": {}},
    "streams": {"clicks": {}},
    "budgets": {"a": {"tag": "team=a", "usd": "0.0000001", "on": "aws", "per": "month", "then": "throttle"}},
}


class Tables(unittest.TestCase):
    def test_every_word_has_its_situation(self):
        for (path, table), situations in TABLES.items():
            with open(os.path.join(tandem.ROOT, path), encoding="utf-8") as f:
                text = re.search(table, f.read(), re.S).group(1)
            words = re.findall(r'"(PROBLEM: [A-Z][^"]*)"' if "(.*)" in table else r'= "([^"]*)"', text)
            self.assertEqual(sorted(set(words)), sorted(situations), path)
            for where in situations.values():
                owner, dot, name = where.partition(".")
                self.assertTrue(not dot or hasattr(globals()[owner], name), where)


class Why:
    def why(self, name):
        answers = json.loads(self.t.cli("why", name, "-o", "json"))["answers"]
        return {about: [a["text"] for a in answers if a["about"] == about] for about in {a["about"] for a in answers}}

    def until_said(self, name, about, *texts):
        """Both in JSON and as text; each of texts is a pattern for a whole sentence."""
        for text in texts:
            tandem.wait_for(lambda text=text: any(re.fullmatch(text, a) for a in self.why(name).get(about, [])), LIMIT_S,
                            lambda text=text: (text, self.why(name)))
            tandem.wait_for(lambda text=text: re.search(rf"(?m)^(?:{about}|   ) .*{text}$", self.t.cli("why", name)), LIMIT_S,
                            lambda text=text: (text, self.t.cli("why", name)))

    def stopped_clock(self):
        status, text = self.t.admin("POST", "/v1/debug/clock?stop=1")
        if status == 404:
            self.skipTest("not a debug build")
        self.assertEqual(status, 200, text)
        self.addCleanup(self.t.admin, "POST", "/v1/debug/clock?resume=1")

    def background(self, *arguments):
        process = subprocess.Popen([tandem.PROGRAM, "--state", self.t.state, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait, LIMIT_S)
        self.addCleanup(process.kill)
        return process


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Functions(Why, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = cls.enterClassContext(tandem.Tandem(before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))))
        cls.t.up({"app/app.py": CODE, "late/app.py": LATE, "never/app.py": NEVER, "tandem.yaml": json.dumps(PROJECT)})
        cls.lam = cls.t.client()

    def held(self):
        release = tandem.held(self.t)
        self.addCleanup(release)
        return release

    def call(self, name, event):
        return self.background("invoke", name, "--payload", json.dumps(event))

    def send(self, name, event):
        self.assertEqual(self.lam.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps(event))["StatusCode"], 202)

    def reserve(self, name, n):
        self.lam.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=n)
        self.addCleanup(self.lam.delete_function_concurrency, FunctionName=name)

    def test_nobody_asked(self):
        self.until_said("asleep", "waits", "nothing")
        self.until_said("asleep", "lane", "function: declared, or the default; lane: auto in its file lets it move")
        self.until_said("boxed", "lane", "container: declared, or the default; .*")
        self.until_said("moves", "lane", "function: .*")
        self.until_said("media", "waits", "nothing")
        self.until_said("left", "waits", "0 messages; 0 more are with somebody, 0 are delayed")
        self.until_said("queue/left", "trigger", "nothing takes what is in it by itself")
        self.until_said("shop/asleep", "waits", "nothing")
        self.until_said("function/asleep", "waits", "nothing")

    def test_names(self):
        for wrong, near in (("aslep", "asleep"), ("other/asleep", "asleep"), ("queue/job", "jobs"), ("medai", "media")):
            with self.assertRaisesRegex(AssertionError, f'"{wrong}", nor anything else of that name; did you mean "{near}"\\? tandem ls lists'):
                self.t.cli("why", wrong)
        made = self.t.client("ecs").register_task_definition(family="forgotten", containerDefinitions=[{"name": "main", "image": "x", "memory": 64}])
        self.t.client("ecs").deregister_task_definition(taskDefinition=made["taskDefinition"]["taskDefinitionArn"])
        for wrong in ("nothing-like-it", "forgotten"):
            with self.assertRaisesRegex(AssertionError, f'"{wrong}", nor anything else of that name; tandem ls lists'):
                self.t.cli("describe", wrong)
        with self.assertRaisesRegex(AssertionError, 'did you mean "asleep"'):
            self.t.cli("invoke", "asleeep")

    def test_schedule(self):
        name = next(s["Name"] for s in self.t.client("scheduler").list_schedules()["Schedules"])
        for called in (name, "default/" + name, "schedule/" + name, "shop/" + name):
            self.until_said(called, "waits", r"for its time, the next is \d{4}-.*")
        self.until_said(name, "trigger", r"rate\(1 day\).* -> function reader: Enabled")

    def test_initialises(self):
        self.t.cli("stop", "late")
        self.stopped_clock()
        self.held()
        self.call("late", {})
        self.until_said("late", "waits", r"1 for an instance that initialises; the first for [\d.]+ s, refused in [\d.]+ s if that stays so")

    def test_held_ready(self):
        self.until_said("boxed", "start", "1 of 1 instances are held ready")
        self.until_said("kept", "start", "1 of 1 instances are held ready")
        release = self.held()
        self.t.cli("stop", "kept")
        self.until_said("kept", "start", "0 of 1 instances are held ready: FUNCTION_ERROR_INIT_FAILURE")
        release()
        self.until_said("kept", "start", "1 of 1 instances are held ready")

    def test_not_there_yet(self):
        """Its first start does not come to an end, nor does that of what is to replace it."""
        hangs = tandem.zip_of({"app.py": "import select\nselect.select([], [], [])\n"})
        new = {**tandem.python_function(CODE), "FunctionName": "new", "Code": {"ZipFile": hangs}}
        self.lam.create_function(**{**tandem.python_function(CODE), "FunctionName": "old"})
        self.lam.get_waiter("function_active_v2").wait(FunctionName="old")
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            calls = [pool.submit(self.t.client().create_function, **new),  # clients of their own: of those that were there the clock ends connections
                     pool.submit(self.t.client().update_function_code, FunctionName="old", ZipFile=hangs)]
            try:
                tandem.wait_for(lambda: self.t.admin("GET", "/v1/names/new")[0] == 200, LIMIT_S, lambda: calls)
                self.stopped_clock()
                self.until_said("new", "state", "Pending: its code is unpacked and started for the first time")
                self.assertEqual(len(self.why("new")["state"]), 1)
                self.until_said("old", "state", "a new revision of it is unpacked and started for the first time; the one before serves")
            finally:  # each start has ten seconds, and a second try
                tandem.wait_for(lambda: self.t.admin("POST", "/v1/debug/clock?step_us=20000000") and all(c.done() for c in calls), LIMIT_S)

    def test_max(self):
        release = self.held()
        calls = [self.call("one", {"wait": 1}) for _ in range(2)]
        self.until_said("one", "waits", r"1 for a busy instance to become free, for there may be no more \(max\); the first for [\d.]+ s, "
                        r"refused in [\d.]+ s if that stays so")
        release()
        self.assertEqual([c.wait(LIMIT_S) for c in calls], [0, 0])

    def test_room(self):
        release = self.held()
        calls = [self.call("many", {"wait": 1}) for _ in range(10)]
        self.until_said("many", "waits", r"\d for room on this machine: no memory is left, or as many instances run as can; the first .*")
        release()
        self.assertEqual([c.wait(LIMIT_S) for c in calls], [0] * 10)

    def test_reserved(self):
        self.reserve("asleep", 0)
        self.until_said("asleep", "calls", r"all are refused \(429\), for its reserved concurrency is 0")
        with self.assertRaisesRegex(AssertionError, "its reserved concurrency is 0: nobody may call it"):
            self.t.cli("invoke", "asleep")
        self.until_said("asleep", "events", ".*throttle: its reserved concurrency is 0: nobody may call it")
        self.lam.put_function_concurrency(FunctionName="asleep", ReservedConcurrentExecutions=1)
        self.until_said("asleep", "calls", r"1 at once, more are refused \(429\): its reserved concurrency")
        release = self.held()
        call = self.call("asleep", {"wait": 1})
        tandem.wait_for(lambda: [i for i in self.t.instances("asleep") if i["state"] == "busy"], LIMIT_S, lambda: self.t.instances("asleep"))
        self.send("asleep", {})
        self.until_said("asleep", "waits", r"1 asynchronous events; the next try is at \d{4}-.*: the 1 calls at once that are reserved are under way")
        release()
        self.assertEqual(call.wait(LIMIT_S), 0)

    def test_asynchronous(self):
        at = r"1 asynchronous events; the next try is at \d{4}-\S+: "
        for name, event, text in (("boxed", {"fail": 1}, "the function failed"), ("moves", {"exit": 3}, "the function's process ended")):
            self.send(name, event)
            self.until_said(name, "waits", at + text)
        self.t.cli("stop", "never")
        self.held()
        for name, text in (("slow", "the function ran out of time"), ("never", "the function could not be initialised")):
            self.send(name, {"wait": 1})
            self.until_said(name, "waits", at + text)

    def test_budget(self):
        self.assertEqual(self.t.cli("invoke", "poor").strip(), '"ok"')
        says = r"budget a: \S+ of 1e-07 USD of this month are used \(tag team=a, by the price of AWS\); it opens again at \d{4}-\d\d-01T00:00:00Z"
        self.until_said("a", "state", "closed: " + says)
        self.until_said("budget/a", "state", "closed: " + says)
        self.until_said("poor", "budget", says, r"until then calls are refused \(429\), no task of it begins, and what is asynchronous waits")
        self.send("poor", {})
        self.until_said("poor", "waits", "1 asynchronous events: " + says)

    def test_queue_and_stream(self):
        sqs, kinesis = self.t.client("sqs"), self.t.client("kinesis")
        url = sqs.get_queue_url(QueueName="jobs")["QueueUrl"]
        self.reserve("reader", 0)
        for n in range(2):
            sqs.send_message(QueueUrl=url, MessageBody=str(n))
        self.until_said("jobs", "trigger", "queue jobs -> function reader: Enabled: PROBLEM: Function call was throttled: its reserved concurrency is 0: "
                        "nobody may call it")
        self.until_said("reader", "trigger", "queue jobs -> .*PROBLEM: Function call was throttled: .*")
        self.lam.delete_function_concurrency(FunctionName="reader")
        kinesis.put_record(StreamName="clicks", Data=b"x", PartitionKey="x")
        for name in ("jobs", "clicks"):
            self.until_said(name, "trigger", ".* -> function reader: Enabled: PROBLEM: Function call failed.*")
        sqs.delete_queue(QueueUrl=url)
        self.until_said("reader", "trigger", "queue jobs -> function reader: Enabled: PROBLEM: The queue does not exist")
        kinesis.delete_stream(StreamName="clicks")
        self.until_said("reader", "trigger", "stream clicks -> function reader: Enabled: PROBLEM: The stream does not exist")
        self.lam.create_function(FunctionName="gone", **tandem.python_function(CODE))
        self.lam.get_waiter("function_active_v2").wait(FunctionName="gone")
        left = sqs.get_queue_url(QueueName="left")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=left, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        self.lam.create_event_source_mapping(EventSourceArn=arn, FunctionName="gone")
        self.lam.delete_function(FunctionName="gone")
        sqs.send_message(QueueUrl=left, MessageBody="x")
        self.until_said("left", "trigger", "queue left -> function gone: Enabled: PROBLEM: Function not found")


class Services(Why, services.Case):
    def create(self, name, image, **more):
        ecs = self.t.client("ecs")
        ecs.register_task_definition(family=name, containerDefinitions=[{"name": "main", "image": image, "memory": 64}])
        ecs.create_service(serviceName=name, taskDefinition=name, **{"desiredCount": 1, **more})

    def silent(self):
        """A registry that never answers."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        return f"127.0.0.1:{listener.getsockname()[1]}/web:v1"

    def test_no_instance(self):
        self.create("none", "localhost/server:v1", desiredCount=0)
        self.until_said("none", "waits", "nothing")
        self.until_said("service/none", "waits", "nothing")

    def test_image(self):
        self.create("far", self.silent())
        self.until_said("far", "waits", "nothing; a request would find: its image to be brought here")
        self.stopped_clock()
        self.create("quiet", "localhost/server:v1")  # of no port: it has to be up for a second
        self.until_said("quiet", "waits", "nothing; a request would find: an instance, which starts")

    def test_port(self):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            up = pool.submit(self.up, {"web": self.web(min=0, idle="100ms", environment={"GATE": "1"})})
            services.Scale.open_gate(self, 1)
            up.result(LIMIT_S)
            self.until(lambda sv: sv["instances"] == 0 and sv["starting"] == 0)
            self.until_said("web", "waits", "nothing")
            call = pool.submit(self.curl, "/hello")
            self.until_said("shop/web", "waits", r"1: an instance, which starts, to listen on port 8080; the first for [\d.]+ s, "
                            r"refused in [\d.]+ s if that stays so")
            services.Scale.open_gate(self, 2)
            call.result(LIMIT_S)

    def test_fails(self):
        self.up({"web": self.web(min=1, environment={"FAIL": "7"})}, check=False)
        self.until_said("web", "waits", r"nothing; a request would find: no instance is ready; task \w+: exited with 7; the next try is in [\d.]+ s")

    def test_budget(self):
        path = f"{self.t.base}/tandem.yaml"
        with open(path, "w", encoding="utf-8") as f:
            json.dump({"name": "shop", "services": {"web": self.web(min=1)},
                       "tasks": {"job": {"image": "localhost/server:v1"}},
                       "budgets": {"web": {"workload": "web", "usd": "0.00000001", "on": "aws", "then": "stop"}}}, f)
        self.t.cli("up", "-f", path)
        says = r"budget web: .* \(service/web, by the price of AWS\); it opens again at \S+"
        self.until_said("web", "budget", says)
        self.until(lambda sv: sv["instances"] == 0 and sv["starting"] == 0)
        again = subprocess.run([tandem.PROGRAM, "--state", self.t.state, "up", "-f", path], capture_output=True, text=True, timeout=LIMIT_S, check=False)
        self.assertNotIn("waits for", again.stdout + again.stderr)


class Tasks(Why, run.Case):
    def submit(self, *containers):
        doc = {"containers": [{"image": "localhost/box:v1", "user": "0", **c} for c in containers]}
        status, text = self.t.admin("POST", "/v1/tasks", json.dumps({"name": "pair", "doc": doc}))
        self.assertEqual(status, 201, text)

    def test_order_and_end(self):
        loop = ["sh", "-c", "while :; do sleep 1000 & wait; done"]
        self.submit({"name": "first", "command": loop, "stop_signal": 18, "stop_timeout_s": 60, "essential": False},
                    {"name": "second", "command": loop, "depends_on": [{"container": "first", "condition": "COMPLETE"}]})
        self.until_said("pair", "task", r"\w+ STARTING: it waits for another of its containers \(depends_on\): second waits for first")
        stop = self.background("stop", "pair")
        self.until_said("task/pair", "task", r"\w+ STOPPING: it waits for its program to end, which was asked to; after its stop timeout it is killed")
        self.assertEqual(self.t.admin("POST", "/v1/tasks/pair/signal?signal=9")[0], 200)
        self.assertEqual(stop.wait(LIMIT_S), 0)
        self.until_said("pair", "task", r"\w+ STOPPED: .+")
        self.forget("pair")

    def test_image(self):
        ecs = self.t.client("ecs")
        far = Services.silent(self)
        ecs.register_task_definition(family="far", containerDefinitions=[{"name": "main", "image": far, "memory": 64}])
        self.until_said("far", "waits", "nothing")
        ecs.run_task(taskDefinition="far")
        self.until_said("far", "waits", rf"1 for the image {far} to be brought here")

    def test_put_off(self):
        """An event that a task is to be started for, and that cannot be now."""
        path = f"{self.t.base}/tandem.yaml"
        with open(path, "w", encoding="utf-8") as f:
            json.dump({"name": "shop", "tasks": {"job": {"image": "localhost/box:v1", "command": "true", "on": [{"event": {"source": ["here"]}}], "tags": {"team": "a"},
                                         "environment": {"KEY": "not-for-everybody"}}},
                       "budgets": {"a": {"tag": "team=a", "usd": "0.00000001", "on": "aws", "then": "throttle"}}}, f)
        self.t.cli("up", "-f", path)
        self.t.cli("run", "-d", "job")
        self.until_said("job", "budget", r"budget a: .* it opens again at \S+")
        self.until_said("job", "task", r"\w+ STOPPED: .+")
        self.t.client("events").put_events(Entries=[{"Source": "here", "DetailType": "x", "Detail": "{}"}])
        self.until_said("job", "trigger", r"bus default .* -> task job: ENABLED: put off, and tried again within 5 minutes: RunTask: budget a: .*")
        self.assertNotIn("not delivered", self.t.cli("ls"))
        self.assertNotIn("not-for-everybody", self.t.cli("describe", "job", "-o", "json"))
        self.assertIn("not-for-everybody", self.t.cli("describe", "job", "--values"))


if __name__ == "__main__":
    unittest.main()
