# SPDX-License-Identifier: Apache-2.0
"""Reserved and provisioned concurrency; min:, max: and keep: of tandem.yaml; fair shares of a full machine."""
import concurrent.futures
import contextlib
import json
import os
import resource
import select
import signal
import socket
import textwrap
import threading
import time
import unittest
import urllib.request

import tandem

CODE = tandem.WAIT_WHILE_HELD + """
import os, time
def handler(event, context):
    if event.get("held"):
        wait_while_held()
    time.sleep(event.get("s", 0))
    return [os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], os.environ["AWS_LAMBDA_FUNCTION_VERSION"], context.log_stream_name]
"""


class Base(tandem.Fails, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = tandem.Tandem()
        cls.t.__enter__()
        cls.c = cls.t.client(max_pool_connections=200, parameter_validation=False)

    @classmethod
    def tearDownClass(cls):
        cls.t.close()

    def setUp(self):
        self.pool = concurrent.futures.ThreadPoolExecutor(200)
        self.addCleanup(self.pool.shutdown)

    def create(self, name, code=CODE, **more):
        made = self.c.create_function(FunctionName=name, Timeout=900, **tandem.python_function(code), **more)
        self.addCleanup(lambda: self.c.delete_function(FunctionName=name))
        return made

    def call(self, name, qualifier=None, **event):
        more = {"Qualifier": qualifier} if qualifier else {}
        answer = self.c.invoke(FunctionName=name, Payload=json.dumps(event), **more)
        self.assertNotIn("FunctionError", answer)
        return json.load(answer["Payload"])

    def later(self, *arguments, **event):
        return self.pool.submit(self.call, *arguments, **event)

    def states(self, name):
        return sorted(i["state"] for i in self.t.instances(name))

    def busy(self, name, n):
        """Until so many of its instances have an event."""
        tandem.wait_for(lambda: self.states(name).count("busy") == n)

    def ready(self, name, n):
        """Until it has so many instances at least and all are idle; their process ids."""
        def look():
            all_ = self.t.instances(name)
            return len(all_) >= n and all(i["state"] in ("idle", "frozen") for i in all_) and all_
        return {i["pid"] for i in tandem.wait_for(look)}


class Reserved(Base):
    def throttled(self, name, **more):
        answer = self.fails("TooManyRequestsException", 429, self.c.invoke, "Rate Exceeded.", FunctionName=name, **more)
        self.assertEqual(answer["Reason"], "ReservedFunctionConcurrentInvocationLimitExceeded")

    def test_bounds_what_runs_at_once(self):
        self.create("r", Publish=True)
        self.assertNotIn("ReservedConcurrentExecutions", self.c.get_function_concurrency(FunctionName="r"))
        put = self.c.put_function_concurrency(FunctionName="r", ReservedConcurrentExecutions=2)
        self.assertEqual(put["ReservedConcurrentExecutions"], 2)
        self.assertEqual(self.c.get_function(FunctionName="r")["Concurrency"], {"ReservedConcurrentExecutions": 2})
        running = [self.later("r", s=600), self.later("r", "1", s=600)]  # all versions together
        self.busy("r", 2)
        self.throttled("r")
        self.throttled("r", Qualifier="1")
        self.c.put_function_concurrency(FunctionName="r", ReservedConcurrentExecutions=3)
        self.assertEqual(self.call("r")[1], "$LATEST")
        self.c.delete_function_concurrency(FunctionName="r")
        self.assertEqual({f.result()[1] for f in [self.later("r") for _ in range(4)]}, {"$LATEST"})
        self.assertIn("throttled", {row["outcome"] for row in self.t.rows("r")})
        self.t.cli("stop", "r")
        for f in running:
            self.assertIsNotNone(f.exception())

    def test_zero_stops_all(self):
        self.create("z")
        self.call("z")
        self.c.put_function_concurrency(FunctionName="z", ReservedConcurrentExecutions=0)
        self.throttled("z")
        self.assertEqual(self.c.invoke(FunctionName="z", InvocationType="Event")["StatusCode"], 202)
        tandem.wait_for(lambda: any((r["trigger"], r["outcome"]) == ("async", "throttled") for r in self.t.rows("z")))
        self.c.delete_function_concurrency(FunctionName="z")
        self.c.invoke(FunctionName="z", InvocationType="Event")
        tandem.wait_for(lambda: any((r["trigger"], r["outcome"]) == ("async", "ok") for r in self.t.rows("z")))
        self.assertEqual([r["outcome"] for r in self.t.rows("z") if r["trigger"] == "async"], ["throttled", "ok"])

    def test_refusals(self):
        self.create("rr")
        put = self.c.put_function_concurrency
        self.fails("InvalidParameterValueException", 400, put,
                   "decreases account's UnreservedConcurrentExecution below its minimum value of [100].", FunctionName="rr",
                   ReservedConcurrentExecutions=901)
        put(FunctionName="rr", ReservedConcurrentExecutions=900)
        limits = self.c.get_account_settings()["AccountLimit"]
        self.assertEqual((limits["ConcurrentExecutions"], limits["UnreservedConcurrentExecutions"]), (1000, 100))


class Provisioned(Base):
    def config(self, name, qualifier):
        answer = self.c.get_provisioned_concurrency_config(FunctionName=name, Qualifier=qualifier)
        return answer["Status"], answer["AvailableProvisionedConcurrentExecutions"]

    def wait_ready(self, name, qualifier, n):
        tandem.wait_for(lambda: self.config(name, qualifier) == ("READY", n))

    def answers(self):
        try:
            return self.c.list_functions()
        except Exception:  # pylint: disable=broad-except
            return None

    def test_as_written(self):
        self.create("api-handler", Publish=True)
        self.c.create_alias(FunctionName="api-handler", Name="production", FunctionVersion="1")
        self.t.cli("stop", "api-handler")
        told = self.t.node(self, """
const AWS = require('aws-sdk');
const lambda = new AWS.Lambda({endpoint: process.env.ENDPOINT});
lambda.putProvisionedConcurrencyConfig({FunctionName:'api-handler', ProvisionedConcurrentExecutions:5, Qualifier:'production'}).promise()
  .then(r => console.log(JSON.stringify(r)));
""")
        del told["LastModified"]
        self.assertEqual(told, {"RequestedProvisionedConcurrentExecutions": 5, "AvailableProvisionedConcurrentExecutions": 0,
                                "AllocatedProvisionedConcurrentExecutions": 0, "Status": "IN_PROGRESS"})
        self.wait_ready("api-handler", "production", 5)
        first = self.ready("api-handler", 5)

        with self.subTest("six at once: five find theirs, one is started"):
            self.assertEqual(self.call("api-handler", "production")[:2], ["provisioned-concurrency", "1"])
            go = tandem.held(self.t)
            self.addCleanup(go)
            five = [self.later("api-handler", "production", held=1) for _ in range(5)]
            self.busy("api-handler", 5)
            sixth = self.call("api-handler", "production")
            go()
            answers = [sixth, *(f.result() for f in five)]
            self.assertEqual(sorted(a[0] for a in answers), ["on-demand"] + 5 * ["provisioned-concurrency"])
            self.assertEqual(len({a[2] for a in answers}), 6)
            self.assertFalse(any(r["cold"] for r in self.t.rows("api-handler") if r["init_us"] == 0))

        with self.subTest("all are killed, and as many are ready again without a request"):
            before = len(self.t.rows("api-handler"))
            for pid in first:
                os.kill(pid, signal.SIGKILL)
            tandem.wait_for(lambda: not first & {i["pid"] for i in self.t.instances("api-handler")})
            self.wait_ready("api-handler", "production", 5)
            self.assertEqual([r for r in self.t.rows("api-handler")[before:] if r["kind"] == "invoke" and r["handler_us"]], [])
            self.assertEqual(self.call("api-handler", "production")[0], "provisioned-concurrency")

        with self.subTest("the daemon is killed: its successor takes them over as what they are"):
            idle = self.ready("api-handler", 5)
            os.kill(tandem.daemon_of(self.t.pid), signal.SIGKILL)
            tandem.wait_for(self.answers)
            self.wait_ready("api-handler", "production", 5)
            self.assertLessEqual({i["pid"] for i in self.t.instances("api-handler") if i["held_ready"]}, idle)
            self.assertEqual(self.call("api-handler", "production")[0], "provisioned-concurrency")

        with self.subTest("a restart of the daemon"):
            self.t.restart()
            type(self).c = self.t.client(max_pool_connections=200, parameter_validation=False)
            self.wait_ready("api-handler", "production", 5)
            self.assertEqual(self.call("api-handler", "production")[0], "provisioned-concurrency")

        with self.subTest("fewer, and none"):
            self.fails("InvalidParameterValueException", 400, self.c.update_alias, "must point to a published version",
                       FunctionName="api-handler", Name="production", FunctionVersion="$LATEST")
            self.c.put_provisioned_concurrency_config(FunctionName="api-handler", ProvisionedConcurrentExecutions=2, Qualifier="production")
            self.wait_ready("api-handler", "production", 2)
            self.c.delete_provisioned_concurrency_config(FunctionName="api-handler", Qualifier="production")
            self.fails("ProvisionedConcurrencyConfigNotFoundException", 404, self.c.get_provisioned_concurrency_config,
                       "No Provisioned Concurrency Config found for this function", FunctionName="api-handler", Qualifier="production")
            self.assertEqual(self.call("api-handler", "production")[0], "on-demand")

    def test_moves_with_its_alias(self):
        self.create("m", Publish=True)
        self.c.update_function_configuration(FunctionName="m", MemorySize=160)
        self.c.publish_version(FunctionName="m")
        self.c.create_alias(FunctionName="m", Name="live", FunctionVersion="1")
        self.c.put_provisioned_concurrency_config(FunctionName="m", ProvisionedConcurrentExecutions=2, Qualifier="live")
        self.wait_ready("m", "live", 2)
        self.c.update_alias(FunctionName="m", Name="live", FunctionVersion="2")
        self.wait_ready("m", "live", 2)
        self.assertEqual(self.call("m", "live")[:2], ["provisioned-concurrency", "2"])
        self.assertEqual(self.call("m", "1")[0], "on-demand")
        self.fails("ResourceConflictException", 409, self.c.put_provisioned_concurrency_config,
                   "Version is pointed by a Provisioned Concurrency alias", FunctionName="m", ProvisionedConcurrentExecutions=1, Qualifier="2")
        listed = self.c.list_provisioned_concurrency_configs(FunctionName="m")["ProvisionedConcurrencyConfigs"]
        self.assertEqual([(p["FunctionArn"].split(":")[-1], p["Status"]) for p in listed], [("live", "READY")])

    def test_failing_initialisation(self):
        self.create("bad", """
import os
if os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"] != "on-demand":
    raise ValueError("not like this")
def handler(event, context):
    return "fine"
""", Publish=True)
        self.c.put_provisioned_concurrency_config(FunctionName="bad", ProvisionedConcurrentExecutions=2, Qualifier="1")
        told = tandem.wait_for(lambda: (a := self.c.get_provisioned_concurrency_config(FunctionName="bad", Qualifier="1"))["Status"] == "FAILED"
                               and a)
        self.assertEqual((told["StatusReason"], told["AvailableProvisionedConcurrentExecutions"]), ("FUNCTION_ERROR_INIT_FAILURE", 0))
        self.assertEqual(self.call("bad", "1"), "fine")

    def test_inside_of_what_is_reserved(self):
        self.create("both", Publish=True)
        self.c.put_function_concurrency(FunctionName="both", ReservedConcurrentExecutions=1)
        self.fails("InvalidParameterValueException", 400, self.c.put_provisioned_concurrency_config,
                   "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function",
                   FunctionName="both", ProvisionedConcurrentExecutions=2, Qualifier="1")
        self.c.put_provisioned_concurrency_config(FunctionName="both", ProvisionedConcurrentExecutions=1, Qualifier="1")
        self.wait_ready("both", "1", 1)
        self.fails("TooManyRequestsException", 429, self.c.invoke, "Rate Exceeded.", FunctionName="both")
        self.assertEqual(self.call("both", "1")[0], "provisioned-concurrency")
        self.fails("InvalidParameterValueException", 400, self.c.put_function_concurrency,
                   " ReservedConcurrentExecutions  0 should not be lower than function's total provisioned concurrency [1].",
                   FunctionName="both", ReservedConcurrentExecutions=0)

    def test_refusals(self):
        self.create("no", Publish=True)
        self.c.create_alias(FunctionName="no", Name="a", FunctionVersion="1")
        put, arn = self.c.put_provisioned_concurrency_config, "arn:aws:lambda:us-east-1:000000000000:function:no"
        for qualifier, n, code, status, text in (
                ("$LATEST", 1, "InvalidParameterValueException", 400,
                 "Provisioned Concurrency Configs cannot be applied to unpublished function versions."),
                ("1", 0, "ValidationException", 400, "at 'provisionedConcurrentExecutions' failed to satisfy constraint: "
                 "Member must have value greater than or equal to 1"),
                ("nope", 1, "ResourceNotFoundException", 404, "Cannot find alias arn: " + arn + ":nope"),
                ("7", 1, "ResourceNotFoundException", 404, "Function not found: " + arn + ":7"),
                ("1", 2000, "InvalidParameterValueException", 400,
                 "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [1000]."),
                ("1", 950, "InvalidParameterValueException", 400, "below its minimum value of [100].")):
            with self.subTest(qualifier=qualifier, n=n):
                self.fails(code, status, put, text, FunctionName="no", ProvisionedConcurrentExecutions=n, Qualifier=qualifier)
        self.fails("InvalidParameterValueException", 400, self.c.delete_provisioned_concurrency_config,
                   "Provisioned Concurrency Configs cannot be applied", FunctionName="no", Qualifier="$LATEST")
        self.fails("ProvisionedConcurrencyConfigNotFoundException", 404, self.c.get_provisioned_concurrency_config,
                   "No Provisioned Concurrency Config found for this function", FunctionName="no", Qualifier="1")
        put(FunctionName="no", ProvisionedConcurrentExecutions=1, Qualifier="1")
        self.fails("ResourceConflictException", 409, put,
                   "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version", FunctionName="no",
                   ProvisionedConcurrentExecutions=1, Qualifier="a")

    def test_other_clients(self):
        self.create("oc", Publish=True)
        put = self.t.aws("lambda", "put-provisioned-concurrency-config", "--function-name", "oc", "--qualifier", "1",
                         "--provisioned-concurrent-executions", "1")
        self.assertEqual(put["Status"], "IN_PROGRESS")
        self.wait_ready("oc", "1", 1)
        got = self.t.node(self, """
const {Lambda} = require('@aws-sdk/client-lambda');
(async () => {
  const lambda = new Lambda({maxAttempts: 1});
  const got = await lambda.getProvisionedConcurrencyConfig({FunctionName: 'oc', Qualifier: '1'});
  await lambda.putFunctionConcurrency({FunctionName: 'oc', ReservedConcurrentExecutions: 1});
  await lambda.deleteProvisionedConcurrencyConfig({FunctionName: 'oc', Qualifier: '1'});
  await lambda.putFunctionConcurrency({FunctionName: 'oc', ReservedConcurrentExecutions: 0});
  let reason;
  try { await lambda.invoke({FunctionName: 'oc'}); } catch (e) { reason = [e.name, e.Reason]; }
  console.log(JSON.stringify([got.Status, reason]));
})().catch(e => { console.error(e); process.exit(1); });
""")
        self.assertEqual(got, ["READY", ["TooManyRequestsException", "ReservedFunctionConcurrentInvocationLimitExceeded"]])


class Declared(Base):
    """min, max and keep of tandem.yaml."""

    def up(self, text):
        folder = os.path.join(self.t.base, "project")
        os.makedirs(folder, exist_ok=True)
        for name, content in {"app.py": CODE_HTTP, "tandem.yaml": textwrap.dedent(text)}.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                f.write(content)
        self.addCleanup(lambda: self.t.cli("down", cwd=folder))
        return self.t.cli("up", cwd=folder)

    def get(self, path):
        with urllib.request.urlopen(self.t.gateway + path, timeout=60) as answer:
            return answer.read().decode()

    def test_min_max_keep(self):
        self.up("""
            name: held
            functions:
              held: {code: ., runtime: python3.11, handler: app.handler, min: 2, route: /held}
              one: {code: ., runtime: python3.11, handler: app.handler, max: 1, route: /one}
              brief: {code: ., runtime: python3.11, handler: app.handler, keep: 0s, route: /brief}
        """)
        with self.subTest("min"):
            first = self.ready("held", 2)
            for pid in first:
                os.kill(pid, signal.SIGKILL)
            tandem.wait_for(lambda: not first & {i["pid"] for i in self.t.instances("held")})
            self.ready("held", 2)
            self.assertEqual(self.get("/held"), "ok")
        with self.subTest("max: they wait, in order"):
            answers = list(self.pool.map(lambda i: self.get(f"/one?{i}"), range(20)))
            self.assertEqual(answers, ["ok"] * 20)
            served = {r["instance"] for r in json.loads(self.t.cli("cost", "--by", "rows", "--workload", "held/one", "-o", "json"))["rows"]
                      if r["trigger"] == "http"}
            self.assertEqual(len(served), 1)
        with self.subTest("keep: none is left"):
            self.assertEqual(self.get("/brief"), "ok")
            tandem.wait_for(lambda: not self.t.instances("brief"))
        told = self.up("""
            name: held
            functions:
              held: {code: ., runtime: python3.11, handler: app.handler, min: 1, max: 3, keep: 1m, route: /held}
              one: {code: ., runtime: python3.11, handler: app.handler, max: 1, route: /one}
              brief: {code: ., runtime: python3.11, handler: app.handler, keep: 0s, route: /brief}
        """)
        for change in "min 2 -> 1", "max (none) -> 3", "keep (none) -> 60000 ms":
            self.assertIn(change, told)

    def test_pool(self):
        """Blanks are held for a burst, made again after it, and ended when nobody declares them any more."""
        def blanks():
            return json.loads(self.t.cli("debug", "-o", "json"))["blanks"]

        text = """
            name: pooled
            functions:
              burst: {code: ., runtime: python3.11, handler: app.handler, pool: POOL, timeout: 5m, route: /burst}
        """
        usual = blanks()
        self.up(text.replace("POOL", "100"))
        tandem.wait_for(lambda: blanks() == 100)
        self.assertEqual(list(self.pool.map(lambda i: self.get("/burst"), range(120))), ["ok"] * 120)
        tandem.wait_for(lambda: blanks() == 100)
        self.assertIn("pool 100 -> 60", self.up(text.replace("POOL", "60")))
        tandem.wait_for(lambda: blanks() == 60)
        self.assertIn("pool 60 -> 0", self.up(text.replace("POOL", "0")))
        tandem.wait_for(lambda: blanks() <= max(usual, 48))

    def test_starts_that_nobody_needs(self):
        """When a burst of short calls is over before the sandboxes for it are made, they are not given to it."""
        self.up("""
            name: short
            functions:
              short: {code: ., runtime: python3.11, handler: app.handler, min: 1, timeout: 5m, route: /short}
        """)
        self.ready("short", 1)
        held = [tandem.children(self.t.instances("short")[0]["pid"])[0], self.t.pid]  # its runtime, and the spawner, so that no sandbox is made
        for pid in held:
            os.kill(pid, signal.SIGSTOP)
        try:
            blanks = json.loads(self.t.cli("debug", "-o", "json"))["blanks"]
            answers = self.pool.map(lambda i: self.get("/short"), range(200))
            tandem.wait_for(lambda: self.states("short").count("starting") > 150)
            os.kill(held[0], signal.SIGCONT)
            self.assertEqual(list(answers), ["ok"] * 200)
        finally:
            for pid in held:
                os.kill(pid, signal.SIGCONT)
        tandem.wait_for(lambda: "starting" not in self.states("short"))
        self.assertLessEqual(len(self.states("short")), 1 + blanks)

    def test_the_queue_is_bounded(self):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if hard < 5000:
            self.skipTest("this process may not open 5000 files")
        resource.setrlimit(resource.RLIMIT_NOFILE, (5000, hard))
        self.up("""
            name: full
            functions:
              full: {code: ., runtime: python3.11, handler: app.handler, max: 1, timeout: 15m, route: /full}
        """)
        host, port = self.t.gateway.removeprefix("http://").split(":")
        clients = []
        self.addCleanup(lambda: [c.close() for c in clients])
        for i in range(4098):  # one runs, 4096 wait
            c = socket.create_connection((host, int(port)))
            c.sendall(f"GET /full?s=600 HTTP/1.1\r\nHost: x\r\nX-N: {i}\r\n\r\n".encode())
            clients.append(c)
            if i == 0:
                self.busy("full", 1)
        self.addCleanup(self.t.cli, "stop", "full")
        answered = select.poll()
        for c in clients:
            answered.register(c, select.POLLIN)
        fds = {fd for fd, _ in answered.poll(20000)}
        self.assertEqual([c.recv(12) for c in clients if c.fileno() in fds], [b"HTTP/1.1 429"])


CODE_HTTP = """
import time
def handler(event, context):
    time.sleep(float((event.get("queryStringParameters") or {}).get("s", 0)))
    return {"statusCode": 200, "body": "ok"}
"""


class FullMachine(Base):
    """So few descriptors that sixteen instances are all there can be."""

    @classmethod
    def setUpClass(cls):
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        cls.t = tandem.Tandem(before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (2100, 2100)))
        cls.t.__enter__()
        cls.c = cls.t.client(max_pool_connections=200, parameter_validation=False)
        assert limits == resource.getrlimit(resource.RLIMIT_NOFILE)

    @contextlib.contextmanager
    def flood(self, name, n):
        """n callers who call again and again, for as long as it lasts."""
        over = threading.Event()

        def caller():
            while not over.is_set():
                self.call(name, s=0.3)
        callers = [self.pool.submit(caller) for _ in range(n)]
        try:
            yield
        finally:
            over.set()
            for f in callers:
                f.result()

    def test_a_flood_starves_nobody(self):
        for name in "flood", "b", "c", "d":
            self.create(name)
        with self.flood("flood", 64):
            self.busy("flood", 16)
            for name in "b", "c", "d":
                self.call(name)  # while there are always some of the flood that wait

    def test_two_floods_share(self):
        for name in "left", "right":
            self.create(name)

        def shares():
            busy = [i["function"] for i in json.loads(self.t.cli("ps", "-o", "json"))["instances"] if i["state"] == "busy"]
            return busy.count("left"), busy.count("right")
        with self.flood("left", 64):
            self.busy("left", 16)
            with self.flood("right", 64):
                tandem.wait_for(lambda: shares() in ((8, 8), (9, 7), (7, 9)), 20, shares)

    def test_idle_ones_make_room(self):
        names = [f"idle{i}" for i in range(20)]
        for name in names:
            self.create(name)
        for name in names:
            self.call(name)
        self.assertLessEqual(len(json.loads(self.t.cli("ps", "-o", "json"))["instances"]), 16)


class Parallel(Base):
    def test_cold_functions_start_at_once(self):
        """The start of each takes until somebody lets it go on."""
        names = [f"cold{i}" for i in range(8)]
        self.t.up({"cold/app.py": CODE + "print('begun')\nwait_while_held()\n", "tandem.yaml": "name: cold\nfunctions:\n" + "".join(
            f"  {name}: {{code: cold, runtime: python3.11, handler: app.handler, timeout: 5m, snapshot: 'off'}}\n" for name in names)})
        self.addCleanup(lambda: self.t.cli("down", cwd=self.t.base))
        for name in names:
            self.t.cli("stop", name)
        begun = [self.t.cli("logs", name).count("begun") for name in names]
        go = tandem.held(self.t)
        self.addCleanup(go)
        calls = [self.later(name) for name in names]
        for name, n in zip(names, begun):
            tandem.wait_for(lambda name=name, n=n: self.t.cli("logs", name).count("begun") > n, what=name)
        self.assertFalse([f for f in calls if f.done()])
        go()
        for f in calls:
            f.result()

    def test_stopped_while_they_start(self):
        """Whatever a start waits for when it is given up, for the sandbox, its limits or its runtime, the daemon goes on."""
        def pid():
            return json.loads(self.t.cli("debug", "-o", "json"))["pid"]

        self.create("giddy")
        before = pid()
        for wait_s in [0.001 * n for n in range(20)]:
            calls = [self.pool.submit(self.c.invoke, FunctionName="giddy", InvocationType="Event", Payload=b"{}") for _ in range(20)]
            calls[0].result()
            time.sleep(wait_s)  # not for an event: to hit another moment each time
            self.t.cli("stop", "giddy")
            for call in calls:
                self.assertEqual(call.result()["StatusCode"], 202)
        self.assertEqual(pid(), before)
        self.assertEqual(self.call("giddy")[0], "on-demand")


if __name__ == "__main__":
    unittest.main()
