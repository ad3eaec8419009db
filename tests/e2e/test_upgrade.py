# SPDX-License-Identifier: Apache-2.0
"""
An upgrade in place: new binaries where the old ones were, then what `systemctl reload` does. Nobody is refused, no instance starts
again, and what is broken is not taken over.
"""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import unittest

import tandem
import test_recovery as recovery
from test_recovery import wait_for

PROGRAMS = ("tandem", "tandemd", "tandem-spawner", "tandem-init", "tandem-unpack")
MANY = 110
HANDLER = """\
def handler(event, context):
    return {"statusCode": 200, "body": "many"}
"""


def install(folder, programs):
    """As install(1) does: a new file under the old name."""
    for source in programs:
        path = os.path.join(folder, os.path.basename(source))
        shutil.copy(source, path + ".new")
        os.rename(path + ".new", path)


def reload_command():
    """What the unit says, for one process."""
    with open(os.path.join(tandem.ROOT, "packaging/tandem.service"), encoding="utf-8") as f:
        line = next(x for x in f if x.startswith("ExecReload="))
    return line.split("=", 1)[1].split()


@unittest.skipUnless(os.geteuid() == 0, "needs root")
@unittest.skipUnless(os.path.exists(recovery.NATIVE), "build/examples/native/bootstrap is not built")
class Upgrade(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="tandem-e2e-up-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        os.chmod(self.dir, 0o755)
        self.bin = f"{self.dir}/bin"
        os.mkdir(self.bin)
        install(self.bin, [os.path.join(tandem.BUILD, p) for p in PROGRAMS])
        for folder in ("shim", "spec"):
            shutil.copytree(os.path.join(tandem.ROOT, folder), f"{self.bin}/{folder}")
        recovery.make_app(self.dir)
        self.t = tandem.Tandem(state=f"{self.dir}/s")
        self.t.program = f"{self.bin}/tandem"
        self.addCleanup(self.t.close)
        self.t.start()
        self.t.cli("up", cwd=self.dir)
        for path in ("/py", "/node", "/native"):
            self.assertEqual(recovery.get(self.t.gateway, path), 200)

    def changed(self, *names, text=b"0.1.0", to=b"9.9.9"):
        """The binaries with another version: strings of the same length, so the programs are as sound as before."""
        new = []
        os.makedirs(f"{self.dir}/new", exist_ok=True)
        for name in names:
            with open(os.path.join(tandem.BUILD, name), "rb") as f:
                content = f.read()
            self.assertIn(text, content)
            new.append(f"{self.dir}/new/{name}")
            with open(new[-1], "wb") as f:
                f.write(content.replace(text, to))
            os.chmod(new[-1], 0o755)
        return new

    def reload(self):
        command = [w.replace("$MAINPID", str(self.t.pid)) for w in reload_command()]
        subprocess.run(command, check=True)

    def said(self):
        with open(self.t.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def upgraded(self, times=1):
        return self.said().count("info upgrade: this is") >= times and tandem.daemon_of(self.t.pid)

    def version(self):
        return json.loads(self.t.cli("version", "-o", "json"))["tandemd"]

    def test_under_load(self):
        before, old = recovery.instances(self.t), tandem.daemon_of(self.t.pid)
        load = recovery.Load(self.t.gateway, ["/py", "/py", "/node", "/native"])
        try:
            wait_for("load", lambda: load.ok > 300)
            install(self.bin, self.changed("tandemd", "tandem-spawner"))
            self.reload()
            wait_for("the upgrade", self.upgraded)
            at = load.ok
            wait_for("load on the new one", lambda: load.ok > at + 300)
        finally:
            load.stop()
        self.assertEqual((load.refused, load.wrong, load.fresh_failed), (0, [], []))
        self.assertNotEqual(tandem.daemon_of(self.t.pid), old)
        self.assertEqual(self.version(), "9.9.9")
        after = recovery.instances(self.t)
        for i, what in before.items():
            self.assertEqual(after.get(i), what)

    def test_busy_instances_go_on(self):
        """A client that waits holds the upgrade up and gets its answer; an asynchronous event does not, and its result counts."""
        answer = self.t.client().invoke(FunctionName="py", InvocationType="Event", Payload=json.dumps({"run": "across"}).encode())
        request = answer["ResponseMetadata"]["RequestId"]
        wait_for("its beginning", lambda: "begin across" in self.t.cli("logs", "py"))
        waiting = subprocess.Popen([self.t.program, "--state", self.t.state, "invoke", "node", "--payload", '{"run": "sync"}'],
                                   stdout=subprocess.PIPE, text=True)
        wait_for("its beginning", lambda: "begin sync" in self.t.cli("logs", "node"))
        self.reload()
        wait_for("the handover", lambda: "handing over to the successor" in self.said())
        self.assertFalse(self.upgraded())
        recovery.let_end(self.t, "sync")
        out, _ = waiting.communicate(timeout=recovery.WAIT_S)
        self.assertEqual((waiting.returncode, json.loads(out)["body"]), (0, "node"))
        wait_for("the upgrade", self.upgraded)
        recovery.let_end(self.t, "across")
        wait_for("its report", lambda: f"REPORT RequestId: {request}" in self.t.cli("logs", "py"))
        lines = self.t.cli("logs", "py")
        self.assertEqual((lines.count("begin across"), lines.count("end across")), (1, 1))

    def test_many_instances(self):
        """More descriptors than one message could carry."""
        os.makedirs(f"{self.dir}/many/app")
        with open(f"{self.dir}/many/app/app.py", "w", encoding="utf-8") as f:
            f.write(HANDLER)
        with open(f"{self.dir}/many/tandem.yaml", "w", encoding="utf-8") as f:
            f.write("name: many\nfunctions:\n" + "".join(
                f"  m{n}: {{code: app, runtime: python3.11, handler: app.handler, keep: 1h, route: /m{n}}}\n" for n in range(MANY)))
        self.t.cli("up", cwd=f"{self.dir}/many")
        for n in range(MANY):
            self.assertEqual(recovery.get(self.t.gateway, f"/m{n}"), 200)
        before = recovery.instances(self.t)
        self.assertGreaterEqual(len(before), MANY)
        for times in (1, 2):
            self.reload()
            wait_for("the upgrade", lambda t=times: self.upgraded(t))
            self.assertEqual(recovery.get(self.t.gateway, "/m0"), 200)
        recovery.kill_daemon(self.t)
        for n in range(0, MANY, 10):
            self.assertEqual(recovery.get(self.t.gateway, f"/m{n}"), 200)
        after = recovery.instances(self.t)
        for i, what in before.items():
            self.assertEqual(after.get(i), what)
        open_now = len(os.listdir(f"/proc/{self.t.pid}/fd"))
        self.reload()
        wait_for("the upgrade", lambda: self.upgraded(3))
        self.assertEqual(recovery.get(self.t.gateway, "/m0"), 200)
        blanks = wait_for("the same descriptors", lambda: len(os.listdir(f"/proc/{self.t.pid}/fd")) <= open_now + 14)
        self.assertTrue(blanks)

    def test_broken_binaries_change_nothing(self):
        before, old = recovery.instances(self.t), tandem.daemon_of(self.t.pid)
        for times, (name, content) in enumerate((("tandemd", b"\x7fELF and no more"), ("tandemd", b"#!/bin/sh\nexit 3\n"),
                                                 ("tandem-spawner", b"#!/bin/sh\nkill -9 $$\n")), 1):
            with open(f"{self.dir}/{name}", "wb") as f:
                f.write(content)
            os.chmod(f"{self.dir}/{name}", 0o755)
            install(self.bin, [f"{self.dir}/{name}"])
            self.reload()
            wait_for("the refusal", lambda t=times: self.said().count("refused, all goes on as it was") == t)
            install(self.bin, [os.path.join(tandem.BUILD, name)])
        os.chmod(f"{self.bin}/tandem-spawner", 0o644)
        self.reload()
        wait_for("the refusal", lambda: self.said().count("refused, all goes on as it was") == 4)
        self.assertIn("tandem-spawner does not run (signal 9)", self.said())
        self.assertEqual(tandem.daemon_of(self.t.pid), old)
        for path in ("/py", "/node", "/native"):
            self.assertEqual(recovery.get(self.t.gateway, path), 200)
        self.assertEqual(recovery.instances(self.t), before)

    def test_a_tandemd_that_dies_later_is_replaced(self):
        """It says its version and then dies each time: the spawner slows down and says so; good binaries and a reload end that."""
        before = recovery.instances(self.t)
        with open(f"{self.dir}/tandemd", "wb") as f:
            f.write(b'#!/bin/sh\n[ "$1" = --version ] || exit 5\n')
        os.chmod(f"{self.dir}/tandemd", 0o755)
        install(self.bin, [f"{self.dir}/tandemd"])
        self.reload()
        wait_for("its deaths", lambda: "tandemd is gone (exit 5), starting it again in 200 ms" in self.said())
        install(self.bin, [os.path.join(tandem.BUILD, "tandemd")])
        self.reload()
        self.assertEqual(recovery.get(self.t.gateway, "/py"), 200)
        after = recovery.instances(self.t)
        for i, what in before.items():
            self.assertEqual(after.get(i), what)

    def build_spawner(self, *flags):
        """The real spawner with another layout of its table; None where there is no compiler."""
        if not shutil.which("gcc"):
            self.skipTest("no compiler here")
        out = f"{self.dir}/other"
        os.makedirs(out, exist_ok=True)
        sources = [os.path.join(tandem.ROOT, d, f) for d in ("helper/spawner", "src/base", "src/wire")
                   for f in sorted(os.listdir(os.path.join(tandem.ROOT, d))) if f.endswith(".c")]
        subprocess.run(["gcc", "-std=gnu11", "-O1", "-DTANDEM_DEBUG=1", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64",
                        '-DTANDEM_VERSION="8.8.8"', *flags, f"-I{tandem.ROOT}", f"-I{tandem.ROOT}/src", f"-I{tandem.ROOT}/helper",
                        f"-I{tandem.BUILD}/gen", "-o", f"{out}/tandem-spawner", *sources], check=True)
        return f"{out}/tandem-spawner"

    def test_another_layout_of_the_table(self):
        """Instances cannot be taken over then; listeners, ids and the lock are, and nobody is refused."""
        for path in ("/py", "/node", "/native"):
            self.assertEqual(recovery.get(self.t.gateway, path), 200)
        before = recovery.instances(self.t)
        load = recovery.Load(self.t.gateway, ["/py", "/native"])
        try:
            wait_for("load", lambda: load.ok > 100)
            install(self.bin, [self.build_spawner("-DTABLE_VERSION=77")])
            self.reload()
            wait_for("the upgrade", lambda: "table is of another version" in self.said())
            wait_for("the next tandemd", lambda: tandem.daemon_of(self.t.pid))
            at = load.ok
            wait_for("load on the new one", lambda: load.ok > at + 100)
        finally:
            load.stop()
        self.assertEqual((load.refused, load.wrong, load.fresh_failed), (0, [], []))
        for path in ("/py", "/node", "/native"):
            self.assertEqual(recovery.get(self.t.gateway, path), 200)
        self.assertFalse(set(before) & set(recovery.instances(self.t)))
        for _, pid in before.values():
            self.assertFalse(os.path.exists(f"/proc/{pid}"))  # reaped as well
        self.reload()  # and from there on as ever
        wait_for("the next upgrade", self.upgraded)
        self.assertEqual(recovery.get(self.t.gateway, "/py"), 200)

    def test_old_spawner_with_a_new_tandemd(self):
        """Only tandemd is new: its spawner starts it when the old one dies."""
        before = recovery.instances(self.t)
        install(self.bin, self.changed("tandemd"))
        recovery.kill_daemon(self.t)
        self.assertEqual(recovery.get(self.t.gateway, "/py"), 200)
        self.assertEqual(self.version(), "9.9.9")
        after = recovery.instances(self.t)
        for i, what in before.items():
            self.assertEqual(after.get(i), what)

    def test_new_sandboxes_are_made_from_the_new_files(self):
        """Shims are mounted where the old ones were only for what starts from now on."""
        self.assertEqual(recovery.get(self.t.gateway, "/py"), 200)
        tandem.wait_for(lambda: [i["state"] for i in self.t.instances("py")] in (["idle"], ["frozen"]))
        with open(f"{self.bin}/shim/python/shim.py", encoding="utf-8") as f:
            text = f.read()
        shutil.copytree(f"{self.bin}/shim", f"{self.bin}/shim.new")
        with open(f"{self.bin}/shim.new/python/shim.py", "w", encoding="utf-8") as f:
            f.write(text.replace("def main():\n", "def main():\n\tprint('the new shim', flush=True)\n"))
        os.rename(f"{self.bin}/shim", f"{self.bin}/shim.old")
        os.rename(f"{self.bin}/shim.new", f"{self.bin}/shim")
        self.reload()
        wait_for("the upgrade", self.upgraded)
        self.assertEqual(recovery.get(self.t.gateway, "/py"), 200)
        self.assertNotIn("the new shim", self.t.cli("logs", "py"))
        self.t.cli("stop", "py")
        self.assertEqual(recovery.get(self.t.gateway, "/py"), 200)
        wait_for("its line", lambda: "the new shim" in self.t.cli("logs", "py"))

    def test_a_stop_during_an_upgrade_is_a_stop(self):
        self.t.process.send_signal(signal.SIGHUP)
        self.assertEqual(self.t.stop(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
