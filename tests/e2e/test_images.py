#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Container images: from a registry and from files, listed, removed, swept; and what goes wrong leaves nothing."""
import base64
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import oci  # noqa: E402
import tandem  # noqa: E402

LAYER_ID = 1878917120  # wire/spawner.h
PULL_ID = LAYER_ID + 65536
LOW = oci.layer({"bin/tool": b"low", "etc/old": b"old"})
TOP = oci.layer({"etc/.wh.old": b"", "app/main": b"print(1)\n"})


def random_layer(name, n):
    """What gzip cannot make smaller: half of it is really on its way when a registry stops there."""
    return oci.layer({name: os.urandom(n)})


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not oci.REGISTRY or not shutil.which("skopeo"):
            raise unittest.SkipTest("skopeo and docker-registry are not installed")
        cls.t = tandem.Tandem()
        cls.t.__enter__()
        cls.addClassCleanup(lambda: cls.t.close())

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="tandem-images-")
        self.addCleanup(shutil.rmtree, self.dir)

    def below(self, name):
        return sorted(os.listdir(os.path.join(self.t.state, "daemon", name)))

    def images(self):
        return {i["reference"]: i for i in json.loads(self.t.cli("images", "-o", "json"))["images"]}

    def t_ready(self):
        try:
            return self.t.admin("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def clear(self):
        for name in self.images():
            self.t.cli("images", "rm", name)
        self.t.cli("images", "gc")
        self.nothing()

    def nothing(self):
        self.assertEqual((self.images(), self.below("layers"), self.below("incoming")), ({}, [], []))

    def fails(self, *arguments, **options):
        """What the tool says when it fails."""
        done = subprocess.run([tandem.PROGRAM, "--state", self.t.state, *arguments], capture_output=True, text=True,
                              timeout=120 * tandem.SLOW, check=False, **options)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        return done.stderr

    def content(self, image, path):
        """Of the topmost layer that has it."""
        for digest in reversed(image.diff_ids):
            at = os.path.join(self.t.state, "daemon/layers", digest, path)
            if os.path.lexists(at):
                with open(at, "rb") as f:
                    return f.read()
        return None


class Sources(Case):
    def test_registry(self):
        image = oci.Image(LOW, TOP, config={"Cmd": ["/bin/tool"]})
        with oci.Registry() as registry:
            name = registry.push(image, "team/app:v1")
            out = self.t.cli("pull", name)
            self.assertIn("sha256:" + image.digest, out)
            self.assertIn("2 layers", out)
            row = self.images()[name]
            self.assertEqual(row["digest"], "sha256:" + image.digest)
            self.assertEqual(row["created"], "2026-01-02T03:04:05.000Z")
            self.assertEqual(row["bytes"], 3 + 3 + 9)
            self.assertEqual([x["diff_id"] for x in row["layers"]], ["sha256:" + d for d in image.diff_ids])
            self.assertEqual(self.below("layers"), sorted(image.diff_ids))
            self.assertEqual(self.content(image, "app/main"), b"print(1)\n")
            # again, by digest, and with a name more: layers are there once
            inode = os.stat(os.path.join(self.t.state, "daemon/layers", image.diff_ids[0])).st_ino
            self.t.cli("pull", "docker://" + name)
            by_digest = registry.host + "/team/app@sha256:" + image.digest
            self.t.cli("pull", by_digest)
            self.assertEqual(sorted(self.images()), sorted([name, by_digest]))
            self.assertEqual(os.stat(os.path.join(self.t.state, "daemon/layers", image.diff_ids[0])).st_ino, inode)
        self.assertEqual(self.below("incoming"), [])
        # one name goes, the layers stay; the last name goes, they go
        self.t.cli("images", "rm", name)
        self.t.cli("images", "gc")
        self.assertEqual(self.below("layers"), sorted(image.diff_ids))
        self.t.cli("images", "rm", "sha256:" + image.digest[:12])
        self.assertEqual(self.t.cli("images", "gc"), "0 images and 2 layers removed\n")
        self.nothing()

    def test_a_name_that_moves(self):
        with oci.Registry() as registry:
            first = oci.Image(LOW, oci.layer({"v": b"1"}))
            name = registry.push(first, "app:latest")
            self.t.cli("pull", name)
            second = oci.Image(LOW, oci.layer({"v": b"2"}))
            registry.push(second, "app:latest")
            self.t.cli("pull", name)
        self.assertEqual(list(self.images()), [name])
        self.assertEqual(self.images()[name]["digest"], "sha256:" + second.digest)
        self.t.cli("images", "gc")
        self.assertEqual(self.below("layers"), sorted(second.diff_ids))
        self.clear()

    def test_layout_and_archive(self):
        """Files that only their owner may read; the daemon may not."""
        image = oci.Image(LOW, TOP)
        os.chmod(self.dir, 0o700)
        at = image.layout(self.dir + "/lay", "v7")
        self.assertIn("localhost/lay:v7", self.t.cli("pull", "oci:%s:v7" % at))
        self.assertEqual(self.images()["localhost/lay:v7"]["digest"], "sha256:" + image.digest)
        archive = self.dir + "/box.tar"
        subprocess.run(["skopeo", "copy", "--quiet", "--insecure-policy", "oci:%s:v7" % at, "docker-archive:%s:some/name:1" % archive], check=True)
        os.chmod(archive, 0o600)
        self.assertIn("localhost/box:latest", self.t.cli("pull", "docker-archive:" + archive))
        self.assertIn("docker.io/library/mine:2", self.t.cli("pull", "docker-archive:" + archive, "--tag", "mine:2"))
        self.assertEqual(self.below("layers"), sorted(image.diff_ids))  # the same plain tars
        self.assertEqual(self.below("incoming"), [])
        self.assertEqual([n for n in os.listdir("/var/tmp") if n.startswith("tandem-pull-")], [])
        self.clear()

    @unittest.skipUnless(shutil.which("buildah"), "buildah is not installed")
    def test_dockerfile(self):
        """In a store of its own, and the second build from what the first has left."""
        folder = self.dir + "/My App"
        os.mkdir(folder)
        for name, text in (("Dockerfile", "FROM scratch\nCOPY data /srv/data\nENV A=b\nCMD [\"/srv/data\"]\n"), ("data", "hello")):
            with open(os.path.join(folder, name), "w", encoding="ascii") as f:
                f.write(text)
        with open(self.dir + "/storage.conf", "w", encoding="ascii") as f:
            f.write('[storage]\ndriver = "vfs"\ngraphroot = "%s/graph"\nrunroot = "%s/run"\n' % (self.dir, self.dir))
        env = {**os.environ, "CONTAINERS_STORAGE_CONF": self.dir + "/storage.conf"}
        self.assertIn("name it with --tag", self.fails("pull", "build:" + folder, env=env))
        for said in ("STEP", "Using cache"):
            done = subprocess.run([tandem.PROGRAM, "--state", self.t.state, "pull", "build:" + folder, "--tag", "app:v1"], env=env, capture_output=True,
                                  text=True, timeout=120 * tandem.SLOW, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(said, done.stderr)
            self.assertTrue(done.stdout.startswith("docker.io/library/app:v1  sha256:"), done.stdout)
        layer, = self.below("layers")
        with open(os.path.join(self.t.state, "daemon/layers", layer, "srv/data"), encoding="ascii") as f:
            self.assertEqual(f.read(), "hello")
        with open(folder + "/Dockerfile", "w", encoding="ascii") as f:
            f.write("FROM scratch\nNONSENSE\n")
        self.assertIn("could not be built", self.fails("pull", "build:" + folder, "--tag", "app:v2", env=env))
        self.assertIn("No such file", self.fails("pull", "build:" + self.dir + "/none", env=env))
        self.assertEqual(self.below("incoming"), [])
        self.clear()

    def test_two_at_once_share_a_layer(self):
        shared = random_layer("shared", 1 << 20)
        with oci.Registry() as registry:
            names = [registry.push(oci.Image(shared, oci.layer({"n": str(i).encode()})), "app:%d" % i) for i in range(6)]
            errors = []

            def pull(name):
                try:
                    self.t.cli("pull", name)
                except AssertionError as e:
                    errors.append(e)
            threads = [threading.Thread(target=pull, args=(n,)) for n in names]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
        self.assertEqual(errors, [])
        self.assertEqual(sorted(self.images()), sorted(names))
        self.assertEqual(len(self.below("layers")), 7)
        self.clear()

    def test_survives_a_restart(self):
        image = oci.Image(LOW, TOP)
        self.t.cli("pull", "oci:" + image.layout(self.dir + "/kept"))
        before = self.images()
        for left, owner in (("incoming/in-left", PULL_ID), ("layers/.tmp-" + "0" * 64, LAYER_ID), ("layers/" + "1" * 64, LAYER_ID)):
            at = os.path.join(self.t.state, "daemon", left)
            os.makedirs(at + "/below")
            for path in (at, at + "/below"):
                os.chown(path, owner, owner)
        self.t.restart()
        self.assertEqual(self.images(), before)
        tandem.wait_for(lambda: (self.below("layers"), self.below("incoming")) == (sorted(image.diff_ids), []), what="leftovers to go")
        self.clear()


class Refused(Case):
    def pull(self, image, words, **odd):
        with oci.OddRegistry({"a:1": image}) as registry:
            for key, value in odd.items():
                setattr(registry, key, value)
            said = self.fails("pull", registry.host + "/a:1")
        self.assertIn(words, said)
        self.t.cli("images", "gc")
        self.nothing()

    def test_names(self):
        for name in ("", "A", "a:", "a@sha256:12", "-x", "a b", "a/../b", "http://a", "a\nb", "x" * 300):
            self.assertIn("tandem: ", self.fails("pull", name) if name != "-x" else "tandem: ", name)
        self.nothing()

    def test_not_there(self):
        with oci.OddRegistry({}) as registry:
            self.assertIn("manifest unknown", self.fails("pull", registry.host + "/none"))
        self.assertIn("connection refused", self.fails("pull", registry.host + "/none"))
        self.assertIn("there is no image", self.fails("images", "rm", "none"))
        self.nothing()

    def test_wrong_digests(self):
        image = oci.Image(LOW)
        blob, config = list(image.blobs)
        self.pull(image, "igest", answers={blob: image.blobs[blob][:-1] + b"x"})
        self.pull(image, "igest", answers={config: image.config.replace(b"linux", b"linus")})
        self.pull(oci.Image(LOW, diff_ids=["0" * 64]), "was declared")
        with oci.OddRegistry({"a:1": image}) as registry:
            registry.answers[image.digest] = oci.Image(TOP).manifest
            self.assertIn("igest", self.fails("pull", registry.host + "/a@sha256:" + image.digest))
        self.nothing()

    def test_bad_images(self):
        self.pull(oci.Image(LOW, arch="vax"), "linux/vax")
        self.pull(oci.Image(LOW, diff_ids=[oci.sha(LOW), oci.sha(TOP)]), "names 2 layers, its manifest 1")
        self.pull(oci.Image(LOW, diff_ids=["../" * 20]), "no digest")
        self.pull(oci.Image(LOW, config={"StopSignal": "SIGNOTHING"}), "stop signal")
        self.pull(oci.Image(LOW, config={"Cmd": [1]}), "not a list of texts")

    def test_bad_layers(self):
        """One of the zoo of tests/unpack/test_layer.py, behind a good layer: nothing of the image stays."""
        self.pull(oci.Image(LOW, oci.layer({"../../etc/x": b"x"})), "layer 2 of 2: entry '../../etc/x': '..'")
        self.pull(oci.Image(LOW, oci.layer({"a": dict(type=tarfile.SYMTYPE, linkname="/"), "a/x": b"x"})), "through a symbolic link")
        self.pull(oci.Image(LOW, b"this is no tar" * 100), "layer 2 of 2")
        self.assertFalse(os.path.exists("/etc/x") or os.path.exists("/x"))

    def test_words_of_a_registry_do_not_drive_the_terminal(self):
        image = oci.Image(LOW)
        image.manifest = b'{"schemaVersion": 2, "\x1b[31m'
        self.pull(image, "tandem: ")
        with oci.OddRegistry({"a:1": image}) as registry:
            self.assertNotIn("\x1b", self.fails("pull", registry.host + "/a:1"))

    def test_registry_dies(self):
        big = random_layer("big", 4 << 20)
        image = oci.Image(LOW, big)
        self.pull(image, "tandem: ", dies={next(d for d, b in image.blobs.items() if len(b) > 1 << 20)})

    def test_disk_full(self):
        state = self.dir + "/full"
        os.mkdir(state)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", state], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", state], check=False)
        zeros = oci.layer({"zeros": bytes(40 << 20)})  # packs to 40 kB
        noise = random_layer("noise", 32 << 20)  # does not even arrive
        with tandem.Tandem(state=state + "/s") as t:
            for tar in (zeros, noise):
                with oci.OddRegistry({"a:1": oci.Image(LOW, tar)}) as registry:
                    done = subprocess.run([tandem.PROGRAM, "--state", t.state, "pull", registry.host + "/a:1"], capture_output=True, text=True, check=False)
                self.assertEqual(done.returncode, 1)
                self.assertIn("no space left on device", done.stderr.lower())
                t.cli("images", "gc")
                self.assertEqual([os.listdir(t.state + "/daemon/" + d) for d in ("layers", "incoming")], [[], []])
            with oci.OddRegistry({"a:1": oci.Image(LOW)}) as registry:
                t.cli("pull", registry.host + "/a:1")


class Held(Case):
    """A registry that stops in the middle of a layer, and what happens meanwhile."""

    def setUp(self):
        super().setUp()
        self.image = oci.Image(LOW, random_layer("big", 2 << 20))
        self.blob = next(d for d, b in self.image.blobs.items() if len(b) > 1 << 20)
        self.registry = oci.OddRegistry({"a:1": self.image}, "someone", "hunter2secret")
        self.registry.__enter__()
        self.addCleanup(self.registry.__exit__)
        self.registry.hold_blob(self.blob)
        self.name = self.registry.host + "/a:1"
        self.auth = self.dir + "/auth.json"
        self.credentials("hunter2secret")

    def credentials(self, password):
        with open(self.auth, "w", encoding="ascii") as f:
            json.dump({"auths": {self.registry.host: {"auth": base64.b64encode(b"someone:" + password.encode()).decode()},
                                 "elsewhere.example": {"auth": base64.b64encode(b"x:elsewhere-secret").decode()}}}, f)
        os.chmod(self.auth, 0o600)

    def environment(self):
        return {**os.environ, "REGISTRY_AUTH_FILE": self.auth}

    def start(self):
        """The tool, once half of the layer is on its way."""
        p = subprocess.Popen([tandem.PROGRAM, "--state", self.t.state, "pull", self.name], env=self.environment(), stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        self.assertTrue(self.registry.held[self.blob].wait(60 * tandem.SLOW))
        return p

    def skopeos(self):
        """Ours: who has this registry's name in its arguments."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/cmdline" % pid, "rb") as f:
                    line = f.read()
                if line.startswith(b"skopeo\0") and self.name.encode() in line:
                    with open("/proc/%s/environ" % pid, "rb") as f, open("/proc/%s/status" % pid, encoding="ascii") as status:
                        found.append((line, f.read(), status.read()))
            except OSError:
                pass
        return found

    def gone(self):
        tandem.wait_for(lambda: not self.skopeos(), what="skopeo to end")
        tandem.wait_for(lambda: not self.below("incoming"), what="what was copied to go")

    def again(self):
        self.registry.release()
        self.t.cli("pull", self.name, env=self.environment())
        self.assertEqual(self.images()[self.name]["digest"], "sha256:" + self.image.digest)
        self.assertEqual(self.below("layers"), sorted(self.image.diff_ids))
        self.assertEqual(self.below("incoming"), [])
        self.clear()

    def test_credentials_are_nobody_elses(self):
        p = self.start()
        (line, environment, status), = self.skopeos()
        with open(self.auth, encoding="ascii") as f:
            secrets = [b"hunter2secret", b"elsewhere-secret"] + [a["auth"].encode() for a in json.load(f)["auths"].values()]
        for secret in secrets:
            self.assertNotIn(secret, line)
            self.assertNotIn(secret, environment)
        self.assertRegex(status, r"\nUid:\t1878982656\t1878982656\t")
        self.assertRegex(status, r"\nCapEff:\t0+\n")
        self.assertRegex(status, r"\nNoNewPrivs:\t1\n")
        self.registry.release()
        self.assertEqual(p.wait(60 * tandem.SLOW), 0, p.stderr.read())
        p.communicate()
        for root, _, names in os.walk(self.t.state):
            for name in names:
                if os.path.isfile(os.path.join(root, name)) and not os.path.islink(os.path.join(root, name)):
                    with open(os.path.join(root, name), "rb") as f:
                        text = f.read()
                    self.assertFalse([s for s in secrets if s in text], name)
        with open(self.t.log_path, "rb") as f:
            text = f.read()
        self.assertFalse([s for s in secrets if s in text])
        self.again()

    def test_wrong_credentials(self):
        self.credentials("wrong")
        self.assertRegex(self.fails("pull", self.name, env=self.environment()), "unauthorized|authentication required")
        os.unlink(self.auth)
        self.assertRegex(self.fails("pull", self.name, env=self.environment()), "unauthorized|authentication required|authorized")
        self.nothing()

    def test_the_caller_leaves(self):
        p = self.start()
        p.send_signal(signal.SIGINT)
        p.communicate()
        self.gone()
        self.nothing()
        self.again()

    def test_progress_is_plain_in_a_pipe(self):
        p = self.start()
        self.registry.release()
        out, err = p.communicate(timeout=60 * tandem.SLOW)
        self.assertEqual(p.returncode, 0, err)
        self.assertEqual(err.split("\n"), ["copying", "checking", "unpacking layer 1 of 2", "unpacking layer 2 of 2", ""])
        self.assertEqual(len(out.splitlines()), 1)
        self.again()

    def test_daemon_is_killed(self):
        p = self.start()
        os.kill(json.loads(self.t.admin("GET", "/v1/version")[1])["pid"], signal.SIGKILL)
        _, err = p.communicate(timeout=60 * tandem.SLOW)
        self.assertEqual(p.returncode, 1)
        self.assertIn("tandem: ", err)
        tandem.wait_for(self.t_ready, what="the next tandemd")
        self.gone()
        self.nothing()
        self.again()

    def test_daemon_is_killed_between_two_layers(self):
        """The first is there and nobody's yet, the second is held by a lock on the place where it is to grow."""
        growing = os.path.join(self.t.state, "daemon/layers/.tmp-" + self.image.diff_ids[1])
        os.mkdir(growing)
        os.chown(growing, LAYER_ID, LAYER_ID)
        lock = os.open(growing, os.O_RDONLY)
        self.addCleanup(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX)
        p = self.start()
        self.registry.release()
        self.assertEqual([p.stderr.readline() for _ in range(4)][-1], "unpacking layer 2 of 2\n")
        tandem.wait_for(lambda: self.image.diff_ids[0] in self.below("layers"), what="the first layer")
        os.kill(json.loads(self.t.admin("GET", "/v1/version")[1])["pid"], signal.SIGKILL)
        p.communicate(timeout=60 * tandem.SLOW)
        self.assertEqual(p.returncode, 1)
        tandem.wait_for(self.t_ready, what="the next tandemd")
        tandem.wait_for(lambda: not self.below("layers") and not self.below("incoming"), what="what is half to go")
        self.again()

    def test_gc_meanwhile(self):
        """A sweep takes nothing that a pull counts on."""
        p = self.start()
        self.t.cli("images", "gc")
        self.assertEqual(len(self.below("incoming")), 1)
        self.registry.release()
        _, err = p.communicate(timeout=60 * tandem.SLOW)
        self.assertEqual(p.returncode, 0, err)
        self.again()


@unittest.skipUnless(os.path.exists("/bin/busybox"), "busybox-static is not installed")
class Used(Case):
    def test_what_runs_keeps_its_layers(self):
        """Through rm, a pull that gives the name to another image, gc, and the death of tandemd."""
        with open("/bin/busybox", "rb") as f:
            program = oci.layer({"bin/busybox": f.read()})
        old = oci.Image(program, oci.layer({"v": b"1"}))
        new = oci.Image(program, oci.layer({"v": b"2"}))
        name = "localhost/used:v1"
        self.t.cli("pull", "oci:" + old.layout(self.dir + "/old"), "--tag", name)
        self.t.cli("run", "-d", "--name", "keeps", name, "/bin/busybox", "sleep", "100000")
        self.assertIn("in use", self.fails("images", "rm", name))
        self.t.cli("pull", "oci:" + new.layout(self.dir + "/new"), "--tag", name)
        both = sorted({*old.diff_ids, *new.diff_ids})

        def held():
            self.t.cli("images", "gc")
            self.assertEqual(self.below("layers"), both)
            self.assertEqual({i["digest"]: (i["uses"], i["moved"]) for i in self.images().values()},
                             {"sha256:" + old.digest: (1, True), "sha256:" + new.digest: (0, False)})
        held()
        os.kill(json.loads(self.t.admin("GET", "/v1/version")[1])["pid"], signal.SIGKILL)
        tandem.wait_for(self.t_ready, what="the next tandemd")
        held()
        self.t.cli("stop", "keeps")
        tandem.wait_for(lambda: not any(i["uses"] for i in self.images().values()), what="nobody to use it")
        self.t.cli("images", "gc")
        self.assertEqual(self.below("layers"), sorted(new.diff_ids))
        self.clear()


if __name__ == "__main__":
    unittest.main()
