# SPDX-License-Identifier: Apache-2.0
"""
The state as a whole: a backup made under load is one, restores elsewhere and runs; what is no backup changes nothing; the state of
a newer program is refused; and what was created and deleted leaves nothing behind.
"""
import errno
import fcntl
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import unittest

import tandem

WAIT_S = 30
CODE = "def handler(event, context):\n    print('asked', event)\n    return {'answer': event}\n"


def tool(state, *arguments):
    done = subprocess.run([tandem.PROGRAM, "--state", state, *arguments], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def tree(folder):
    """{path: bytes} of all that is below; of a snapshot, which ends in a hole of 64 GiB, its size and time."""
    found = {}
    for path, _, files in os.walk(folder):
        for name in files:
            file = os.path.join(path, name)
            if os.path.basename(path) == "snapshots":
                found[os.path.relpath(file, folder)] = (os.stat(file).st_size, os.stat(file).st_mtime_ns)
                continue
            with open(file, "rb") as f:
                found[os.path.relpath(file, folder)] = f.read()
    return found


class Load:
    """Invocations, creates and deletes by several clients until it is ended; a failure of any is one of the test."""

    def __init__(self, t):
        self.t = t
        self.ended = threading.Event()
        self.errors = []
        self.rounds = 0
        self.threads = [threading.Thread(target=self.guard, args=(work,)) for work in (self.invoke, self.churn, self.invoke)]

    def guard(self, work):
        try:
            client = self.t.client()
            while not self.ended.is_set():
                work(client)
                self.rounds += 1
        except Exception as e:  # pylint: disable=broad-except
            self.errors.append(repr(e))

    def invoke(self, client):
        answer = client.invoke(FunctionName="kept", Payload=b"1")
        if answer["Payload"].read() != b'{"answer": 1}':
            raise AssertionError(answer)
        client.invoke(FunctionName="kept", Payload=b"2", InvocationType="Event")

    def churn(self, client):
        name = f"churn-{self.rounds}"
        client.create_function(FunctionName=name, **tandem.python_function(CODE + f"# {name}\n"))
        client.delete_function(FunctionName=name)

    def __enter__(self):
        for t in self.threads:
            t.start()
        tandem.wait_for(lambda: self.rounds >= 10 or self.errors, WAIT_S)
        return self

    def __exit__(self, *_):
        self.ended.set()
        for t in self.threads:
            t.join(WAIT_S)


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Backup(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        """One backup, made under load, that no test changes."""
        cls.dir = tempfile.mkdtemp(prefix="tandem-e2e-state-")
        cls.addClassCleanup(shutil.rmtree, cls.dir, True)
        os.chmod(cls.dir, 0o711)
        cls.backup = f"{cls.dir}/backup"
        with tandem.Tandem() as t:
            api = t.client()
            api.create_function(FunctionName="kept", Tags={"team": "a"}, Environment={"Variables": {"KEY": "v"}}, **tandem.python_function(CODE))
            for n in range(20):
                api.create_function(FunctionName=f"more-{n}", **tandem.python_function(CODE + f"# {n}\n"))
            with Load(t) as load:
                for n in range(5):
                    t.cli("backup", f"{cls.dir}/backup-{n}")
            if load.errors:
                raise AssertionError(load.errors)
            t.cli("backup", cls.backup)
            cls.invoked = json.loads(t.cli("cost", "--workload", "api/kept", "-o", "json"))["total"]["invocations"]
            if os.listdir(f"{t.state}/daemon/backups"):
                raise AssertionError("the daemon's own copies stay")
        cls.good = tree(cls.backup)

    def state(self):
        folder = tempfile.mkdtemp(prefix="s", dir=self.dir)
        return f"{folder}/s"

    def restored(self, backup):
        """A daemon on another state directory that the backup was put into."""
        state = self.state()
        self.assertEqual(tool(state, "restore", backup)[0], 0, tool(state, "restore", backup))
        t = tandem.Tandem(state=state)
        self.addCleanup(t.close)
        t.start()
        return t

    def test_restored_elsewhere_it_runs(self):
        t = self.restored(self.backup)
        api = t.client()
        self.assertEqual(len([f for f in api.list_functions()["Functions"] if f["FunctionName"].startswith("more-")]), 20)
        kept = api.get_function(FunctionName="kept")
        self.assertEqual((kept["Tags"], kept["Configuration"]["Environment"]["Variables"]), ({"team": "a"}, {"KEY": "v"}))
        for name in ["kept"] + [f"more-{n}" for n in range(20)]:
            self.assertEqual(api.invoke(FunctionName=name, Payload=b"3")["Payload"].read(), b'{"answer": 3}')
        total = json.loads(t.cli("cost", "--workload", "api/kept", "-o", "json"))["total"]
        self.assertGreaterEqual(total["invocations"], self.invoked)
        self.assertIn("asked 1", t.cli("logs", "kept", "-n", "5000"))

    def test_each_backup_under_load_is_whole(self):
        for n in range(5):
            t = self.restored(f"{self.dir}/backup-{n}")
            api = t.client()
            names = [f["FunctionName"] for f in api.list_functions()["Functions"]]
            self.assertLessEqual({"kept"} | {f"more-{k}" for k in range(20)}, set(names))
            for name in names:  # whatever the database names has its archive
                self.assertEqual(api.invoke(FunctionName=name, Payload=b"3")["Payload"].read(), b'{"answer": 3}', name)
            answer = json.loads(t.cli("cost", "-o", "json"))
            self.assertEqual(answer["bad_rows"], 0)
            self.assertFalse([s["key"] for s in answer["sums"] if s["key"].startswith("?")], "rows without their names")
            t.close()

    def refused(self, says, change):
        """A changed copy of the backup is refused with these words, and nothing is there afterwards."""
        copy = tempfile.mkdtemp(prefix="b", dir=self.dir) + "/b"
        shutil.copytree(self.backup, copy)
        change(copy)
        state = self.state()
        os.mkdir(state)
        code, out, error = tool(state, "restore", copy)
        self.assertEqual((code, out), (1, ""))
        self.assertRegex(error, says)
        self.assertEqual(error.count("\n"), 1, error)
        self.assertEqual(os.listdir(state), ["lock"], "nothing half done")

    def test_what_is_no_backup_changes_nothing(self):
        blob = next(path for path in self.good if path.startswith("blobs/"))
        log = next(path for path in self.good if path.startswith("logs/"))

        def edit(path, f):
            def change(folder):
                with open(f"{folder}/{path}", "rb") as file:
                    text = file.read()
                with open(f"{folder}/{path}", "wb") as file:
                    file.write(f(text))
            return change

        def link(folder):
            os.unlink(f"{folder}/{log}")
            os.symlink("/etc/passwd", f"{folder}/{log}")

        def listed(line):
            return edit("BACKUP", lambda t: re.sub(rb"(?m)^\S+ \d+ tandem\.db$", line.replace(b"\\", b"\\\\"), t))

        digest = b"0" * 64
        for says, change in (
                ("no list of files", lambda folder: os.unlink(f"{folder}/BACKUP")),
                ("no list of files", lambda folder: (shutil.rmtree(folder), os.mkdir(folder))),
                ("open it: Not a directory", lambda folder: (shutil.rmtree(folder), open(folder, "wb").close())),
                ("open it: No such file", shutil.rmtree),
                ("does not begin with", edit("BACKUP", lambda t: t.replace(b"tandem-backup 1", b"tandem-backup 2"))),
                ("does not begin with", edit("BACKUP", lambda t: b"")),
                ("list of files is cut", edit("BACKUP", lambda t: t[:t.rindex(b"end ")])),
                ("list of files is cut", edit("BACKUP", lambda t: t[:-1])),
                ("damaged|cut", edit("BACKUP", lambda t: t[:len(t) // 2])),
                ("damaged", edit("BACKUP", lambda t: t + b"end 1\n")),
                ("damaged", listed(digest + b" 1 ../tandem.db")),
                ("damaged", listed(digest + b" 1 /etc/passwd")),
                ("damaged", listed(digest + b" 1 .hidden")),
                ("damaged", listed(digest + b" -1 tandem.db")),
                ("tandem.db is not what was backed up", edit("tandem.db", lambda t: t[:-4096])),
                ("tandem.db is not what was backed up", edit("tandem.db", lambda t: t[:100] + b"x" + t[101:])),
                ("is not what was backed up", edit(blob, lambda t: t + b"x")),
                ("open tandem.db: No such file", lambda folder: os.unlink(f"{folder}/tandem.db")),
                ("symbolic links", link)):
            with self.subTest(says):
                self.refused(says, change)

    def test_a_state_is_not_overwritten(self):
        t = tandem.Tandem(state=self.state())
        self.addCleanup(t.close)
        t.start()
        t.client().create_function(FunctionName="mine", **tandem.python_function(CODE))
        self.assertIn("a daemon answers", tool(t.state, "restore", self.backup)[2])
        t.stop()
        before = tree(t.state)
        code, _, error = tool(t.state, "restore", self.backup)
        self.assertEqual(code, 1)
        self.assertRegex(error, "holds a state already.*--replace")
        self.assertEqual(tree(t.state), before)
        with open(f"{t.state}/lock", "rb") as lock:  # a daemon that starts, or another restore
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.assertRegex(tool(t.state, "restore", "--replace", self.backup)[2], "is in use")
        self.assertEqual(tree(t.state), before)
        code, _, error = tool(t.state, "restore", "--replace", self.backup)
        self.assertEqual(code, 0, error)
        aside = re.search(r"is now (\S+)", error).group(1)
        self.assertTrue(os.path.exists(f"{aside}/tandem.db"))
        t.start()
        self.assertIn("kept", t.cli("ls"))
        self.assertNotIn("mine", t.cli("ls"))

    def test_state_of_a_newer_program_is_refused(self):
        state = self.state()
        self.assertEqual(tool(state, "restore", self.backup)[0], 0)
        path = f"{state}/daemon/tandem.db"
        db = sqlite3.connect(path)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA user_version=99")
        db.close()
        owner = os.stat(f"{state}/daemon")
        for name in os.listdir(f"{state}/daemon"):
            if name.startswith("tandem.db"):
                os.chown(f"{state}/daemon/{name}", owner.st_uid, owner.st_gid)
        with open(path, "rb") as f:
            before = f.read()
        done = subprocess.run([tandem.PROGRAM, "serve", "--no-egress", "--state", state, "--api", "127.0.0.1:0", "--gateway", "127.0.0.1:0"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WAIT_S, check=False)
        self.assertNotEqual(done.returncode, 0)
        said = [line for line in done.stderr.splitlines() if "newer Tandem" in line]
        self.assertEqual(len(said), 1, done.stderr)
        self.assertRegex(said[0], r"its version is 99, this program knows \d+")
        with open(path, "rb") as f:
            self.assertEqual(f.read(), before)


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class FullDisk(unittest.TestCase):
    def setUp(self):
        self.disk = tempfile.mkdtemp(prefix="tandem-full-")
        self.addCleanup(os.rmdir, self.disk)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "full", self.disk], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", self.disk], check=True)
        self.t = tandem.Tandem(state=f"{self.disk}/state")
        self.t.log_path = self.disk + ".log"  # on another disk
        self.addCleanup(os.unlink, self.t.log_path)
        self.addCleanup(self.t.close)
        self.t.start()

    def fill(self):
        with open(f"{self.disk}/other", "ab", buffering=0) as f:
            try:
                while True:
                    f.write(bytes(4096))
            except OSError as e:
                self.assertEqual(e.errno, errno.ENOSPC)

    def test_it_starts_all_the_same(self):
        reserve = f"{self.t.state}/daemon/reserve"
        api = self.t.client()
        api.create_function(FunctionName="f", **tandem.python_function(CODE))
        tandem.wait_for(lambda: os.path.exists(reserve) and os.stat(reserve).st_size == 1 << 20)
        for _ in range(2):  # killed
            self.fill()
            old = tandem.daemon_of(self.t.pid)
            os.kill(old, signal.SIGKILL)
            tandem.wait_for(lambda was=old: (tandem.daemon_of(self.t.pid) or was) != was)
            self.assertIn(b"answer", api.invoke(FunctionName="f", Payload=b"7")["Payload"].read())
        self.fill()
        self.t.restart()
        api = self.t.client()
        self.assertIn(b"answer", api.invoke(FunctionName="f", Payload=b"7")["Payload"].read())
        with open(self.t.log_path, encoding="utf-8") as f:
            self.assertIn("are kept for a full disk are given up: make room", f.read())
        os.unlink(f"{self.disk}/other")
        api.create_function(FunctionName="g", **tandem.python_function(CODE))
        with self.assertRaises(api.exceptions.ServiceException):
            for n in range(1000):  # what is kept in places that there are already is kept
                self.fill()
                api.update_function_configuration(FunctionName="g", Environment={"Variables": {"AB": str(n % 10) * 3000}})
        os.unlink(f"{self.disk}/other")
        api.update_function_configuration(FunctionName="g", Description="again")
        tandem.wait_for(lambda: re.search(r" disk tandem what comes is kept again; \d+ writes have failed since \d{4}-", self.t.cli("events", "tandem")),
                        what=lambda: self.t.cli("events", "tandem"))
        api.delete_function(FunctionName="g")
        tandem.wait_for(lambda: os.stat(reserve).st_size == 1 << 20)


if __name__ == "__main__":
    unittest.main()
