#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Functions that begin from an image of their process: made by itself, used by itself, and never in the way."""
import concurrent.futures
import contextlib
import json
import os
import signal
import subprocess
import sys
import unittest
import urllib.request

import tandem

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "snap"))
import snap_driver as snap  # noqa: E402

HANDLER = """
import os, random, time
BORN = time.monotonic()
random.seed()
def handler(event, context):
    return {"random": random.random(), "born": BORN, "now": time.monotonic(), "pid": os.getpid(),
            "stream": os.environ["AWS_LAMBDA_LOG_STREAM_NAME"], "context": context.log_stream_name}
"""


NODE = """
const born = process.hrtime.bigint();
exports.handler = async (event, context) => ({ random: Math.random(), born: Number(born), now: Number(process.hrtime.bigint()),
    pid: process.pid, stream: process.env.AWS_LAMBDA_LOG_STREAM_NAME, context: context.logStreamName });
"""


class Case(unittest.TestCase):
    def setUp(self):
        self.t = tandem.Tandem()
        self.t.start()
        self.addCleanup(self.t.close)

    def up(self, source, name="f", runtime="python3.11", **keys):
        folder = os.path.join(self.t.base, "app")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "app.py" if "python" in runtime else "app.js"), "w", encoding="utf-8") as f:
            f.write(source)
        lines = ["name: p", "functions:", f"  {name}:", "    code: .", f"    runtime: {runtime}", "    handler: app.handler", f"    route: /{name}"]
        lines += [f"    {k}: {v}" for k, v in keys.items()]
        with open(os.path.join(folder, "tandem.yaml"), "w", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")
        return self.t.cli("up", "-f", os.path.join(folder, "tandem.yaml"))

    def snapshot(self, name="f"):
        return json.loads(self.t.cli("describe", name, "-o", "json"))["snapshot"]

    def until(self, look, true):
        """What look gives, as soon as it gives something of which true is true."""
        return tandem.wait_for(lambda: (got := look()) and true(got) and got, 30 * tandem.SLOW, look)

    def made(self, name="f"):
        return self.until(lambda: self.snapshot(name), lambda s: "bytes" in s)

    def refused(self, name="f"):
        return self.until(lambda: self.snapshot(name), lambda s: "yet" not in s["none"])["none"]

    def call(self, name="f"):
        with urllib.request.urlopen(f"{self.t.gateway}/{name}", timeout=30) as answer:
            return json.loads(answer.read())

    def stop(self, name="f"):
        self.t.cli("stop", name)
        self.until(lambda: json.loads(self.t.cli("ps", "-o", "json")), lambda ps: not ps.get("instances", ps))

    def rows(self):
        return json.loads(self.t.cli("cost", "--by", "rows", "-o", "json"))["rows"]

    def started(self, restored):
        """The last cold start's row, which comes after the answer."""
        def last():
            cold = [r for r in self.rows() if r["kind"] == "invoke" and r["cold"]]
            return cold[-1] if cold else None
        return self.until(last, lambda r: r["restored"] == restored)


class Made(Case):
    def test_a_cold_start_is_a_restore(self):
        self.cold_starts(HANDLER, "python3.11")

    @unittest.skipUnless(os.path.exists("/usr/bin/node"), "there is no /usr/bin/node")
    def test_a_cold_start_of_node_is_a_restore(self):
        self.cold_starts(NODE, "nodejs20.x")

    def test_stop_while_it_is_made(self):
        """Who stops the function ends what makes the image too; the call that comes meanwhile misses it, and has it made."""
        for n in range(5):
            self.up(HANDLER + f"time.sleep(0.3)  # {n}\n")
            self.until(lambda: (self.snapshot(), json.loads(self.t.cli("ps", "-o", "json"))["instances"]),
                       lambda s: "bytes" in s[0] or any(i["state"] == "preparing" for i in s[1]))  # or it was quicker than we look
            self.assertEqual(self.t.admin("POST", "/v1/functions/f/stop")[0], 200)
            self.call()
            self.made()

    def cold_starts(self, source, runtime):
        self.up(source, runtime=runtime)
        s = self.made()
        self.assertGreater(s["bytes"], 1 << 20)
        self.assertGreater(s["pages"], 100)
        self.assertGreater(s["mappings"], 10)
        got = []
        for _ in range(3):
            self.stop()
            got.append(self.call())
            self.assertGreater(self.started(restored=True)["init_us"], 0)
        self.assertEqual(len({g["random"] for g in got}), 3)
        self.assertEqual(len({g["stream"] for g in got}), 3)
        for g in got:
            self.assertEqual(g["stream"], g["context"])
            self.assertEqual(g["born"], got[0]["born"])  # one initialisation for all
            self.assertGreater(g["now"], g["born"])
        log = self.t.cli("logs", "f")
        self.assertEqual(log.count(f"RESTORE_START Runtime Version: {runtime}"), 3)
        self.assertEqual(log.count("Restore Duration: "), 3)

    def test_what_came_over_the_network(self):
        """It may be other by the time that a copy is used: there is none, unless somebody wants one all the same."""
        source = """
import socket
for what in (lambda: socket.getaddrinfo("nobody.invalid", 80), lambda: socket.create_connection(("169.254.170.2", 80)).close()):
    try:
        what()
    except OSError:
        pass
def handler(event, context):
    return []
"""
        self.up(source)
        self.assertIn("used the network", self.refused())
        self.assertIn("snapshot auto -> on", self.up(source, snapshot="on"))
        self.made()
        self.stop()
        self.call()
        self.started(restored=True)

    def test_what_is_printed_stands_within_its_event(self):
        """The event lies behind the restore in the channel: its first line may be there before the word that it runs."""
        self.up("def handler(event, context):\n    print('printed', context.aws_request_id)\n    return [context.aws_request_id]\n")
        self.made()
        ids = []
        for _ in range(8):
            self.stop()
            ids += self.call()
        self.started(restored=True)
        log = self.t.cli("logs", "f", "-n", "1000")
        for id in ids:
            at = [log.index(f"{word} {id}") for word in ("START RequestId:", "printed", "END RequestId:")]
            self.assertEqual(at, sorted(at), log)

    def test_a_restore_that_fails_loses_no_event(self):
        self.up("import os, snapshot_restore_py as s\nn = 0\n@s.register_after_restore\ndef after():\n    os._exit(3)\n"
                "def handler(event, context):\n    global n\n    n += 1\n    return n\n")
        self.made()
        self.stop()
        self.assertEqual(self.call(), 1)
        self.started(restored=False)

    def test_starts_leave_no_descriptors(self):
        self.up(HANDLER)
        self.made()
        self.stop()
        self.call()
        pid = json.loads(self.t.cli("debug", "-o", "json"))["pid"]
        self.assertTrue(any(link.endswith("/code") for link in tandem.open_files(pid)))
        tandem.wait_for(lambda: not any("/code/" in link for link in tandem.open_files(pid)), 20, lambda: tandem.open_files(pid))

    def test_many_at_once(self):
        self.up(tandem.WAIT_WHILE_HELD + HANDLER.replace("return {", "wait_while_held(); return {"))
        self.made()
        self.stop()
        with concurrent.futures.ThreadPoolExecutor(12) as pool, contextlib.ExitStack() as end:
            end.callback(tandem.held(self.t))
            calls = [pool.submit(self.call) for _ in range(12)]
            tandem.wait_for(lambda: [i["state"] for i in self.t.instances("f")] == 12 * ["busy"], what=lambda: self.t.instances("f"))
        self.assertEqual(len({c.result()["random"] for c in calls}), 12)
        cold = self.until(lambda: [r for r in self.rows() if r["kind"] == "invoke" and r["cold"]], lambda cold: len(cold) == 12)
        self.assertGreater(sum(r["restored"] for r in cold), 1)

    def test_it_outlives_the_daemon(self):
        self.up(HANDLER)
        before = self.made()
        self.stop()
        self.t.stop()
        # Who mounts something meanwhile has the device numbers that the sandboxes' root had.
        taken = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", "for i in $(seq 32); do mount -t tmpfs t /tmp || exit; done; echo; read end"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(taken.communicate)
        self.assertEqual(taken.stdout.readline(), b"\n")
        self.t.start()
        self.assertEqual(self.snapshot()["made"], before["made"])
        self.call()
        self.started(restored=True)

    def test_what_an_event_touches_is_read_ahead(self):
        """From a disk the first start shows which pages; the list lies in the image, and goes where that goes."""
        self.up(HANDLER)
        self.made()
        self.stop()
        folder = os.path.join(self.t.state, "daemon", "snapshots")
        [image] = [os.path.join(folder, n) for n in os.listdir(folder) if n.isdigit()]
        if not snap.leaves_memory(image):
            return  # images are always in memory here

        def is_listed():
            """A read that was not to wait may have been done all the same: then this start has not seen that it is from a disk."""
            snap.leaves_memory(image)
            self.call()
            self.started(restored=True)
            tandem.wait_for(lambda: all(i["state"] == "frozen" for i in self.t.instances("f")))  # which pages is asked before that
            listed = self.list_in(image)
            self.stop()
            return listed.startswith(b"tdmahead") and listed

        listed = tandem.wait_for(is_listed)
        self.t.restart()
        self.assertEqual(self.list_in(image), listed)
        for _ in range(2):
            self.assertTrue(snap.leaves_memory(image))
            self.assertEqual(self.call()["pid"], 2)
            self.started(restored=True)
            self.stop()
        self.assertEqual(self.list_in(image), listed)
        self.t.client("lambda").delete_function(FunctionName="f")
        tandem.wait_for(lambda: not os.path.exists(image), 30 * tandem.SLOW, lambda: os.listdir(folder))

    @staticmethod
    def list_in(image):
        with open(image, "rb") as f:
            return os.pread(f.fileno(), snap.LIST_BYTES, os.fstat(f.fileno()).st_size - snap.LIST_BYTES)

    def test_a_limit_of_the_disk(self):
        self.up(HANDLER)
        size = self.made()["bytes"]
        listed = json.loads(self.t.cli("snapshots", "-o", "json"))
        self.assertEqual((listed["bytes"], [s["function"] for s in listed["snapshots"]]), (size, ["f"]))
        self.assertIn("made 2", self.t.cli("snapshots"))
        listed = json.loads(self.t.cli("snapshots", "--max-disk", "1M", "-o", "json"))
        self.assertEqual((listed["bytes"], listed["max_bytes"]), (0, 1 << 20))
        self.assertNotIn("bytes", listed["snapshots"][0])
        self.t.restart()
        self.assertEqual(json.loads(self.t.cli("snapshots", "-o", "json"))["max_bytes"], 1 << 20)
        self.stop()
        self.assertEqual(self.call()["pid"], 2)
        self.started(restored=False)
        for wrong in ("much", "-1", "5X", "99999999T"):
            with self.assertRaisesRegex(AssertionError, "--max-disk is a size|exit 2"):
                self.t.cli("snapshots", "--max-disk", wrong)

    def test_new_code_has_a_new_one(self):
        self.up(HANDLER)
        first = self.made()
        self.up(HANDLER.replace('"pid"', '"second": True, "pid"'))
        self.assertTrue(self.call()["second"])
        second = self.until(self.snapshot, lambda s: s.get("made", first["made"]) != first["made"])
        self.stop()
        self.assertTrue(self.call()["second"])
        self.started(restored=True)
        self.assertGreater(second["bytes"], 0)

    def test_published_versions_say_so(self):
        self.up(HANDLER)
        self.made()
        client = self.t.client("lambda")
        client.update_function_configuration(FunctionName="f", SnapStart={"ApplyOn": "PublishedVersions"})
        number = client.publish_version(FunctionName="f")["Version"]
        self.until(lambda: client.get_function_configuration(FunctionName="f", Qualifier=number)["SnapStart"],
                   lambda s: s == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "On"})
        self.assertEqual(client.get_function_configuration(FunctionName="f")["SnapStart"]["OptimizationStatus"], "Off")
        answer = client.invoke(FunctionName="f", Qualifier=number)
        self.assertEqual(json.loads(answer["Payload"].read())["pid"], 2)
        self.started(restored=True)


class NotMade(Case):
    def test_a_reason_is_shown_and_it_starts_plainly(self):
        self.up("import socket\ns = socket.socket()\n" + HANDLER)
        self.assertIn("open socket", self.refused())
        self.stop()
        self.assertEqual(self.call()["pid"], 2)
        self.started(restored=False)

    def test_a_crash_while_it_prepares(self):
        self.up("import sys\nsys.path.append('/var/runtime/python/lib')\nfrom snapshot_restore_py import register_before_snapshot\n"
                "import os, signal\nregister_before_snapshot(lambda: os.kill(os.getpid(), signal.SIGSEGV))\n" + HANDLER)
        self.assertIn("egmentation fault", self.refused())
        self.stop()
        self.assertEqual(self.call()["pid"], 2)

    def test_off(self):
        self.up(HANDLER, snapshot="off")
        self.assertEqual(self.snapshot(), {"none": "snapshot: off"})
        self.stop()
        self.call()
        self.started(restored=False)

    def test_an_image_that_is_garbage(self):
        self.up(HANDLER)
        self.made()
        self.stop()
        folder = os.path.join(self.t.state, "daemon", "snapshots")
        [image] = [n for n in os.listdir(folder) if n.isdigit()]
        size = os.stat(os.path.join(folder, image)).st_blocks * 512
        os.unlink(os.path.join(folder, image))
        with open(os.path.join(folder, image), "wb") as f:
            f.write(os.urandom(min(size, 1 << 20)))
        os.chown(os.path.join(folder, image), os.stat(folder).st_uid, os.stat(folder).st_gid)
        self.assertEqual(self.call()["pid"], 2)
        self.started(restored=False)
        self.assertIn("could not begin from it", self.refused())

    def test_a_hook_that_fails_after_a_restore(self):
        self.up("from snapshot_restore_py import register_after_restore\ndef no():\n    raise ValueError('no way')\nregister_after_restore(no)\n" + HANDLER)
        self.made()
        self.stop()
        answer = self.t.client("lambda").invoke(FunctionName="f")
        self.assertEqual(answer["FunctionError"], "Unhandled")
        self.assertEqual(json.loads(answer["Payload"].read())["errorMessage"], "no way")


class Killed(Case):
    def test_the_daemon_while_it_prepares(self):
        self.up("import time\ntime.sleep(0.5)\n" + HANDLER)
        os.kill(tandem.daemon_of(self.t.pid), signal.SIGKILL)
        self.until(self.reply, lambda got: got["pid"] == 2)
        self.stop()
        self.call()
        self.made()
        leftovers = [n for n in os.listdir(os.path.join(self.t.state, "daemon", "snapshots")) if n.endswith(".new")]
        self.assertEqual(leftovers, [])

    def reply(self):
        try:
            return self.call()
        except OSError:
            return None


if __name__ == "__main__":
    unittest.main()
