# SPDX-License-Identifier: Apache-2.0
"""
Functions in the container lane: several events at once in one instance, what one of them does to the others, and the way between
the lanes under requests. That events run at once is shown by events that wait for each other, never by a clock.
"""
import concurrent.futures
import contextlib
import http.client
import json
import os
import resource
import signal
import threading
import unittest

import tandem

WAIT_S = 30 * tandem.SLOW
# {"meet": n}: until n of this instance are there. {"held": id}: until the test lets go. {"do": code}.
PY = tandem.WAIT_WHILE_HELD + """
import os, threading, time

there, all_there = set(), threading.Condition()
born = time.time()


def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def handler(event, context):
    if "requestContext" in event:
        event = {"meet": int(event["queryStringParameters"]["meet"])}
    if "meet" in event:
        with all_there:
            there.add(context.aws_request_id)
            all_there.notify_all()
            all_there.wait_for(lambda: len(there) >= event["meet"])
    if "held" in event:
        print("begin", event["held"])
        wait_while_held()
        print("end", event["held"])
    if "do" in event:
        exec(event["do"])
    return {"born": born, "id": context.aws_request_id}
"""
NODE = """
const there = new Set();
let wake = [];
exports.handler = async (event, context) => {
    there.add(context.awsRequestId);
    wake.forEach((f) => f());
    while (event.meet && there.size < event.meet)
        await new Promise((f) => wake.push(f));
    console.log('met', event.meet);
    return { id: context.awsRequestId };
};
exports.streams = awslambda.streamifyResponse(async (event, out) => { out.end('x'); });
"""
MANIFEST = """\
name: lane
functions:
  py: {code: app, runtime: python3.11, handler: app.handler, timeout: 5m, memory: 256, cpu: 1, lane: container, route: /py}
  node: {code: node, runtime: nodejs18.x, handler: index.handler, timeout: 5m, memory: 512, cpu: 1, lane: container}
  streams: {code: node, runtime: nodejs18.x, handler: index.streams, memory: 512, lane: container}
  ends: {code: app, runtime: python3.11, handler: app.handler, timeout: 5m, cpu: 1, lane: container}
  dies: {code: app, runtime: python3.11, handler: app.handler, timeout: 5m, cpu: 1, lane: container, snapshot: "off"}
  moves: {code: app, runtime: python3.11, handler: app.handler, timeout: 5m, cpu: 1}
"""


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Lane(unittest.TestCase, tandem.Fails):
    @classmethod
    def setUpClass(cls):
        cls.t = tandem.Tandem()
        cls.addClassCleanup(cls.t.close)
        cls.t.start()
        cls.up(MANIFEST)
        cls.pool = concurrent.futures.ThreadPoolExecutor(16)
        cls.addClassCleanup(cls.pool.shutdown)

    @classmethod
    def up(cls, manifest):
        cls.t.up({"app/app.py": PY, "node/index.js": NODE, "tandem.yaml": manifest})

    def describe(self, name):
        return json.loads(self.t.cli("describe", name, "-o", "json"))

    def rows(self, name, kind="invoke"):
        rows = json.loads(self.t.cli("cost", "--by", "rows", "--workload", "lane/" + name, "-o", "json"))["rows"]
        return [r for r in rows if r["kind"] == kind]

    def invoke(self, name, event, **more):
        """The payload; of a failure its error."""
        answer = self.t.client(max_pool_connections=1, read_timeout=300).invoke(FunctionName=name, Payload=json.dumps(event), **more)
        return json.loads(answer["Payload"].read() or "null")

    def several(self, name, events):
        return [self.pool.submit(self.invoke, name, e) for e in events]

    def until_open(self, name, n):
        tandem.wait_for(lambda: [i["open"] for i in self.t.instances(name)] == [n], WAIT_S, lambda: self.t.instances(name))

    def until_ready(self, name):
        """One that has nothing to do, and nothing else."""
        return tandem.wait_for(lambda: len(i := self.t.instances(name)) == 1 and i[0]["state"] == "idle" and i[0], WAIT_S,
                               lambda: self.t.instances(name))

    def test_eight_meet_in_one_instance(self):
        for name in ("py", "node"):
            before = self.until_ready(name)
            self.assertEqual((before["lane"], before["seats"]), ("container", 8))
            done = [f.result() for f in self.several(name, [{"meet": 8}] * 8)]
            self.assertEqual(len({d["id"] for d in done}), 8)
            after = self.until_ready(name)
            self.assertEqual(after["id"], before["id"])
            rows = self.rows(name)[-8:]
            self.assertEqual({(r["lane"], r["instance"], r["outcome"], r["mem_peak_bytes"]) for r in rows}, {("container", before["id"], "ok", 0)})
            self.assertEqual({r["request_id"] for r in rows}, {d["id"] for d in done})
        for d in done:
            self.assertEqual(self.t.cli("logs", "node").count(f"{d['id']}\tINFO\tmet 8"), 1)
        self.assertEqual(self.describe("py")["lane"], "container")

    def test_they_meet_in_one_that_began_from_its_snapshot(self):
        for name in ("py", "node"):
            self.until_ready(name)
            self.t.cli("stop", name)  # a start that misses a snapshot asks for it again: a killed daemon may have lost the first wish
            tandem.wait_for(lambda: "bytes" in (self.describe(name).get("snapshot") or {}), WAIT_S, lambda: self.describe(name))
            before = self.until_ready(name)["id"]
            self.t.cli("stop", name)
            tandem.wait_for(lambda: self.until_ready(name)["id"] != before, WAIT_S, "no other instance")
            done = [f.result() for f in self.several(name, [{"meet": 8}] * 8)]
            self.assertEqual(len({d["id"] for d in done}), 8)
            self.assertEqual({r["restored"] for r in self.rows(name)[-8:]}, {False})  # it was there before them

    def test_over_the_gateway_and_from_a_queue_of_events(self):
        self.until_ready("py")
        def get(_):
            connection = http.client.HTTPConnection(self.t.gateway.removeprefix("http://"), timeout=300)
            connection.request("GET", "/py?meet=4")
            answer = connection.getresponse()
            answer.read()
            connection.close()
            return answer.status
        self.assertEqual(list(self.pool.map(get, range(4))), [200] * 4)
        api = self.t.client()
        for n in range(4):
            api.invoke(FunctionName="py", InvocationType="Event", Payload=json.dumps({"held": f"async {n}"}))
        tandem.wait_for(lambda: self.t.cli("logs", "py").count(" end async") == 4, WAIT_S, "asynchronous events")

    def test_a_function_of_several_that_can_have_one_only(self):
        self.until_ready("streams")
        about = self.describe("streams")
        self.assertEqual((about["lane"], about["concurrency"]), ("container", 1))
        self.assertIn("streams", about["concurrency_why"])
        self.assertEqual(about["cpu"], "0.29: the share that its memory buys")
        self.assertEqual(self.until_ready("streams")["seats"], 1)

    def test_reserved_concurrency_counts_events(self):
        api = self.t.client()
        api.put_function_concurrency(FunctionName="ends", ReservedConcurrentExecutions=2)
        self.addCleanup(api.delete_function_concurrency, FunctionName="ends")
        self.until_ready("ends")
        release = tandem.held(self.t)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            try:
                two = [pool.submit(self.invoke, "ends", {"held": f"two {n}"}) for n in range(2)]
                self.until_open("ends", 2)
                self.fails("TooManyRequestsException", 429, api.invoke, FunctionName="ends", Payload="{}")
            finally:
                release()
            self.assertEqual(len({f.result()["id"] for f in two}), 2)

    def test_versions_stay_in_the_function_lane(self):
        api = self.t.client()
        version = api.publish_version(FunctionName="ends")["Version"]
        self.invoke("ends", {}, Qualifier=version)
        self.assertEqual([r["lane"] for r in self.rows("ends") if r["version"] == int(version)], ["function"])

    def test_one_ends_the_process(self):
        self.until_ready("ends")
        release = tandem.held(self.t)
        try:
            others = self.several("ends", [{"held": f"end {n}"} for n in range(7)])
            self.until_open("ends", 7)
            last = self.invoke("ends", {"do": "os._exit(3)"})
            self.assertEqual(last["errorType"], "Runtime.ExitError")
            texts = [f.result()["errorMessage"] for f in others]
        finally:
            release()
        self.assertEqual(len(set(texts)), 7)  # each with its own request id
        for text in texts:
            self.assertRegex(text, "^RequestId: [-0-9a-f]{36} Error: Runtime exited with error: exit status 3$")
        self.assertEqual([r["outcome"] for r in self.rows("ends")][-8:], ["crash"] * 8)
        self.assertIn("born", self.invoke("ends", {}))

    def test_one_takes_all_the_memory(self):
        self.until_ready("dies")
        release = tandem.held(self.t)
        try:
            others = self.several("dies", [{"held": f"oom {n}"} for n in range(3)])
            self.until_open("dies", 3)
            last = self.invoke("dies", {"do": "b''.join(bytes(1 << 20) * 2 for _ in range(200))"})
            said = [f.result() for f in others]
        finally:
            release()
        self.assertEqual({s["errorType"] for s in [last, *said]}, {"Runtime.OutOfMemory"})
        self.assertEqual([r["outcome"] for r in self.rows("dies")][-4:], ["oom"] * 4)
        self.until_ready("dies")  # another one, without a request

    def test_what_they_use_adds_up(self):
        name = "dies"
        i = self.until_ready(name)
        with open(f"/proc/{i['pid']}/cgroup", encoding="ascii") as f:
            group = f.read().strip().rsplit("\n", 1)[-1].split(":", 2)
        path = next(p for p in (f"/sys/fs/cgroup{group[2]}/cpu.stat", f"/sys/fs/cgroup/unified{group[2]}/cpu.stat", f"/sys/fs/cgroup/cpu{group[2]}/cpuacct.usage")
                    if os.path.exists(p)) if len(group) == 3 else None
        def used_us():
            with open(path, encoding="ascii") as f:
                text = f.read().split()
            return int(text[1]) if len(text) > 1 else int(text[0]) // 1000
        before = used_us()
        for f in self.several(name, [{"meet": 4, "do": "burn(0.15)"}] * 4):
            f.result()
        after = used_us()
        rows = [r for r in self.rows(name) if r["instance"] == i["id"]]
        self.assertEqual(len(rows), 4)
        for r in rows:
            self.assertGreater(r["cpu_us"], 37000)  # it was open, with three others, while it used 150 ms itself
        self.t.cli("stop", name)
        own = tandem.wait_for(lambda: [r for r in self.rows(name, "idle") if r["instance"] == i["id"]], WAIT_S, "no row of the instance's own")
        self.assertEqual({r["lane"] for r in own}, {"container"})
        self.assertGreater(min(r["mem_peak_bytes"] for r in own), 0)
        self.assertGreaterEqual(sum(r["cpu_us"] for r in rows + own), after - before - 10)  # rounded down, each of them
        self.assertLessEqual(sum(r["cpu_us"] for r in rows), after)

    def test_a_killed_daemon_and_eight_events(self):
        self.until_ready("py")
        api = self.t.client()
        release = tandem.held(self.t)
        try:
            for n in range(8):
                api.invoke(FunctionName="py", InvocationType="Event", Payload=json.dumps({"held": f"kill {n}"}))
            self.until_open("py", 8)
            tandem.wait_for(lambda: self.t.cli("logs", "py").count(" begin kill") == 8, WAIT_S, "they begin")
            i = self.t.instances("py")
            old = tandem.daemon_of(self.t.pid)
            os.kill(old, signal.SIGKILL)
            tandem.wait_for(lambda: tandem.daemon_of(self.t.pid) not in (None, old), WAIT_S, "no other tandemd")
        finally:
            release()
        tandem.wait_for(lambda: self.t.cli("logs", "py").count(" end kill") == 8, WAIT_S, lambda: self.t.cli("logs", "py"))
        tandem.wait_for(lambda: self.describe("py")["asynchronous"]["waiting"] == 0 == self.describe("py")["asynchronous"]["running"], WAIT_S, "they stay")
        self.assertEqual(self.t.cli("logs", "py").count(" begin kill"), 8)  # once each: their answers counted
        self.assertIn(i[0]["id"], [x["id"] for x in self.t.instances("py")])
        self.assertEqual(self.invoke("py", {"meet": 1}).keys(), {"born", "id"})

    def test_the_way_there_and_back_under_requests(self):
        stop, wrong, answers = threading.Event(), [], []
        def ask():
            client = self.t.client()
            while not stop.is_set():
                answer = client.invoke(FunctionName="moves", Payload=b"{}")
                text = answer["Payload"].read()
                answers.append(1)
                if "FunctionError" in answer:
                    wrong.append(text)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask) for _ in range(4)]
            try:
                for lane in ("container", "function") * 2:
                    tandem.wait_for(lambda: len(answers) > 20, WAIT_S, "no answers")
                    manifest = MANIFEST.replace("cpu: 1}\n", f"cpu: 1, lane: {lane}}}\n") if lane == "container" else MANIFEST
                    self.up(manifest)
                    def arrived():
                        about = self.describe("moves")
                        return about["lane"] == lane and "lane_moving" not in about
                    tandem.wait_for(arrived, WAIT_S, lambda: self.describe("moves"))
                    answers.clear()
                    tandem.wait_for(lambda: len(answers) > 20, WAIT_S, "no answers")
                    self.assertEqual({i["lane"] for i in self.t.instances("moves")}, {lane})
            finally:
                stop.set()
            for f in asking:
                f.result()
        self.assertEqual(wrong, [])
        self.assertEqual({r["outcome"] for r in self.rows("moves")}, {"ok"})


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Late(unittest.TestCase):
    def test_one_runs_out_of_time_and_the_others_do_not_suffer(self):
        t = self.enterContext(tandem.Tandem())
        t.up({"app/app.py": PY, "tandem.yaml": "name: late\nfunctions:\n  f: {code: app, runtime: python3.11, handler: app.handler, timeout: 30s, "
              "cpu: 1, lane: container}\n"})

        def opened():
            return sorted(i["open"] for i in t.instances("f"))

        def invoke(event):
            return json.loads(t.client(max_pool_connections=1, read_timeout=300).invoke(FunctionName="f", Payload=json.dumps(event))["Payload"].read())

        release = tandem.held(t)
        first = tandem.wait_for(lambda: [i["id"] for i in t.instances("f") if i["state"] == "idle"], WAIT_S, "not up")
        t.clock(stop=1)
        self.addCleanup(t.clock, resume=1)
        with concurrent.futures.ThreadPoolExecutor(8) as pool, contextlib.ExitStack() as end:
            end.callback(release)
            late = pool.submit(invoke, {"meet": 9})
            tandem.wait_for(lambda: opened() == [1], WAIT_S, t.instances)
            t.clock(step_us=20000000)
            others = [pool.submit(invoke, {"held": n}) for n in range(3)]
            tandem.wait_for(lambda: opened() == [4], WAIT_S, "not open")
            t.clock(step_us=10000000)
            self.assertRegex(late.result()["errorMessage"], "^RequestId: [-0-9a-f]{36} Error: Task timed out after 30.00 seconds$")
            self.assertIn(" timeout late/f Task timed out after 30.00 seconds; its instance takes no new event, and ends with the 3 others that it has\n",
                          t.cli("events", "f"))
            t.clock(step_us=1000)
            tandem.wait_for(lambda: opened() == [0, 3], WAIT_S, opened)  # and another one that takes what comes
            self.assertIn("id", invoke({}))
            self.assertEqual(opened(), [0, 3])
            release()
            self.assertEqual(len({f.result()["id"] for f in others}), 3)
        tandem.wait_for(lambda: opened() == [0] and [i["id"] for i in t.instances("f")] != first, WAIT_S, opened)


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Full(unittest.TestCase):
    def test_one_that_is_never_idle_gives_way(self):
        """So few descriptors that sixteen instances are all there can be, and each of them always has an event."""
        t = self.enterContext(tandem.Tandem(before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (2100, 2100))))
        code = "import fcntl\ndef handler(event, context):\n    if event:\n        fcntl.flock(open(event), fcntl.LOCK_SH)\n"
        t.up({"app/app.py": code, "app/a": "", "app/b": "", "tandem.yaml": "name: full\nfunctions:\n"
              "  full: {code: app, runtime: python3.11, handler: app.handler, timeout: 5m, cpu: 1, lane: container, concurrency: 2, snapshot: 'off'}\n"
              "  other: {code: app, runtime: python3.11, handler: app.handler, timeout: 5m, snapshot: 'off'}\n"})
        api = t.client(max_pool_connections=40, read_timeout=300)

        def invoke(name, event):
            self.assertNotIn("FunctionError", api.invoke(FunctionName=name, Payload=json.dumps(event)))

        def until(name, field, n):
            tandem.wait_for(lambda: json.loads(t.cli("describe", name, "-o", "json"))[field] == n, WAIT_S, lambda: (t.instances(name), [f.exception() for f in several if f.done()]))

        several = []
        with concurrent.futures.ThreadPoolExecutor(40) as pool, contextlib.ExitStack() as end:
            locks = [tandem.held(t, name) for name in "ab"]
            for lock in locks:
                end.callback(lock)
            for n in (2, 29):  # the first two are with the one that is kept
                several += [pool.submit(invoke, "full", "b") for _ in range(n)]
                until("full", "busy", len(several))
            first = pool.submit(invoke, "full", "a")
            until("full", "busy", 32)
            other = pool.submit(invoke, "other", "")
            until("other", "waiting", 1)
            locks[0]()
            first.result()
            several.append(pool.submit(invoke, "full", "b"))
            until("full", "waiting", 1)  # not with the one that has a seat, as that goes
            self.assertFalse(other.done())
            locks[1]()
            for f in [other, *several]:
                f.result()


if __name__ == "__main__":
    unittest.main(verbosity=2)
