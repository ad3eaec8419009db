#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What an operator or a second client does in the middle of something else. A daemon that dies fails each of them."""
import glob
import json
import os
import resource
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tandem  # noqa: E402

ECHO = "def handler(event, context):\n    return event\n"
MANIFEST = "name: p\nfunctions:\n  f: {code: app, runtime: python3.11, handler: app.handler}\n"
FAILS = "def handler(event, context):\n    raise ValueError('no')\n"


class Base(unittest.TestCase):
    before = None

    def setUp(self):
        self.t = self.enterContext(tandem.Tandem("--auth", "none", before=self.before))  # clients do not follow the clock
        self.client = self.t.client()

    def create(self, name, code=ECHO):
        self.client.create_function(FunctionName=name, **tandem.python_function(code))


class Disturbed(Base):
    def test_down_while_it_is_updated(self):
        """What was deleted does not come back when the update is ready."""
        self.t.up({"app/app.py": ECHO, "tandem.yaml": MANIFEST})
        code = tandem.zip_of({"app.py": "import os, time\nwhile not os.path.exists('/var/task/there'):\n    time.sleep(0.01)\n" + ECHO})
        before = set(glob.glob(f"{self.t.state}/daemon/code/*"))
        self.t.clock(stop=1)  # it may take as long as it likes
        said = []

        def update():
            try:
                said.append(self.t.client().update_function_code(FunctionName="f", ZipFile=code, Publish=True))
            except self.client.exceptions.ClientError as e:
                said.append(e.response["Error"]["Code"])
        updating = threading.Thread(target=update)
        updating.start()
        new, = tandem.wait_for(lambda: set(glob.glob(f"{self.t.state}/daemon/code/*")) - before)
        self.assertEqual(self.client.get_function_configuration(FunctionName="f")["LastUpdateStatus"], "InProgress")
        status, text = self.t.admin("POST", "/v1/down", json.dumps({"project": "p"}))
        self.assertEqual((status, json.loads(text.splitlines()[-1])["ok"]), (200, True))
        with open(f"{new}/there", "w", encoding="ascii"):
            pass
        updating.join()
        self.t.clock(resume=1)
        self.assertEqual(said, ["ResourceNotFoundException"])
        self.assertEqual(self.client.list_functions()["Functions"], [])
        self.create("f")
        self.t.restart()
        self.assertEqual(self.t.client().invoke(FunctionName="f", Payload=b"7")["Payload"].read(), b"7")

    def test_deleted_while_an_event_waits_for_its_next_try(self):
        self.create("f", FAILS)
        self.client.invoke(FunctionName="f", InvocationType="Event", Payload=b"1")
        tandem.wait_for(lambda: self.t.rows("f"))
        self.client.delete_function(FunctionName="f")
        tandem.wait_for(lambda: not self.t.instances("f"))
        self.t.clock(step_us=61000000)
        self.create("g")
        self.client.invoke(FunctionName="g", InvocationType="Event", Payload=b"1")
        tandem.wait_for(lambda: self.t.rows("g"))  # what was due before has had its turn
        self.assertEqual(self.t.instances("f"), [])

    def test_a_large_payload_for_nobody(self):
        status, text = self.t.admin("POST", "/v1/functions/none/invoke", json.dumps("x" * 4000000))
        self.assertEqual((status, json.loads(text)["kind"]), (404, "not_found"))

    def test_events_wait_in_the_store_and_not_in_memory(self):
        """128 MiB that wait for their next try hold up nobody else, and are gone with their function."""
        daemon = tandem.daemon_of(self.t.process.pid)
        payload = b'"' + b"x" * ((1 << 20) - 10) + b'"'
        self.create("f", FAILS)
        self.create("g")
        before = int(tandem.status_of(daemon)["VmRSS"].split()[0])
        for _ in range(128):
            self.client.invoke(FunctionName="f", InvocationType="Event", Payload=payload)
        self.assertLess(int(tandem.status_of(daemon)["VmRSS"].split()[0]) - before, 80000)
        self.client.invoke(FunctionName="g", InvocationType="Event", Payload=b"1")
        tandem.wait_for(lambda: self.t.rows("g"))
        self.client.delete_function(FunctionName="f")
        self.create("f")
        self.client.invoke(FunctionName="f", InvocationType="Event", Payload=b"1")
        tandem.wait_for(lambda: self.t.rows("f"))


class Copied(Base):
    def test_a_state_that_belongs_to_somebody_else(self):
        db = os.path.join(self.t.state, "daemon", "tandem.db")
        owner = os.stat(db)
        self.t.stop()
        os.chown(db, 12345, 12345)
        said = subprocess.run([tandem.PROGRAM, "serve", "--no-egress", "--state", self.t.state], capture_output=True, text=True, timeout=20, check=False)
        self.assertEqual(said.returncode, 1)
        self.assertIn(f"chown -R {owner.st_uid}:{owner.st_gid} {os.path.dirname(db)}", said.stderr)
        os.chown(db, owner.st_uid, owner.st_gid)
        self.t.start()


class FullMachine(Base):
    @staticmethod
    def before():
        """So few descriptors that sixteen instances are all there can be."""
        resource.setrlimit(resource.RLIMIT_NOFILE, (2100, 2100))

    def test_a_deploy_does_not_wait_for_room_for_ever(self):
        held = {"FunctionName": "held", "Qualifier": "1"}
        self.client.create_function(FunctionName="held", Publish=True, **tandem.python_function(ECHO))
        self.client.put_provisioned_concurrency_config(ProvisionedConcurrentExecutions=16, **held)
        tandem.wait_for(lambda: self.client.get_provisioned_concurrency_config(**held)["Status"] == "READY")
        creating = threading.Thread(target=self.create, args=("late",))
        creating.start()
        tandem.wait_for(lambda: len(self.client.list_functions()["Functions"]) == 2)
        while creating.is_alive():  # its turn to wait for room has come, or comes soon
            self.t.clock(step_us=61000000)
            creating.join(0.1)
        said = self.client.get_function_configuration(FunctionName="late")
        self.assertEqual((said["State"], said["StateReasonCode"]), ("Failed", "InternalError"))
        self.assertIn("no room for another instance for 60 s", said["StateReason"])
        self.client.delete_provisioned_concurrency_config(**held)
        self.assertEqual(self.client.invoke(FunctionName="late", Payload=b"7")["Payload"].read(), b"7")
        tandem.wait_for(lambda: self.client.get_function_configuration(FunctionName="late")["State"] == "Active")


if __name__ == "__main__":
    unittest.main()
