#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What containers are given beside their images: volumes, host paths, tmpfs, secrets, devices, limits, capabilities."""
import fcntl
import os
import re
import resource
import stat
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from spawner_driver import *  # noqa: E402,F403

MB = 1 << 20


class Case(OneSpawner):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.box = cls.s.busybox({"data": (None, 0o750, 1000, 1001), "run/link": ("->", "/home/app"), "out": ("->", "../../../../../../tmp"),
                                 "to-proc": ("->", "/proc"), "a-file": "of the image\n"})

    def setUp(self):
        self.host = tempfile.mkdtemp(prefix="give-", dir="/tmp")
        self.addCleanup(shutil.rmtree, self.host, ignore_errors=True)

    def put(self, name, text, mode=0o644, uid=0):
        path = os.path.join(self.host, name)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, mode)
        os.chown(path, uid, uid)
        return path

    def grant(self, path):
        """As "tandem grant add" does."""
        entry = self.s.state + "/grants/" + path.replace("/", ":")
        os.makedirs(os.path.dirname(entry), exist_ok=True)
        with open(entry, "w"):
            pass
        self.addCleanup(os.unlink, entry)

    def start(self, *gives, layers=None, **kw):
        sb = self.s.container(layers or [self.box], gives=gives, **kw)
        self.addCleanup(sb.close)
        self.addCleanup(self.s.end, sb)
        return sb

    def sh(self, script, *gives, user="", cwd="", layers=None, **kw):
        sb = self.s.container(layers or [self.box], gives=gives, **kw)
        try:
            return sb.run_in(["sh", "-c", script], user=user, cwd=cwd)
        finally:
            self.s.end(sb)
            sb.close()

    def out(self, script, *gives, **kw):
        status, out, err = self.sh(script, *gives, **kw)
        self.assertEqual((status, err), (0, ""), out)
        return out

    def refused(self, pattern, *gives, **kw):
        with self.assertRaisesRegex(RuntimeError, pattern):
            self.s.container([self.box], gives=gives, **kw)


class Volumes(Case):
    def test_stays_and_is_shared(self):
        self.out("echo kept >/data/f; chown 7:8 /data/f", (VOLUME, "v-1", "/data"))
        stored = os.stat(self.s.state + "/volumes/v-1/f")
        self.assertEqual((stored.st_uid, stored.st_gid), (LAYER_ID_BASE + 7, LAYER_ID_BASE + 8))  # no id of a range, none of the host
        self.assertEqual(self.out("cat /mnt/deep/f; stat -c '%u %g' /mnt/deep/f", (VOLUME, "v-1", "/mnt/deep")), "kept\n7 8\n")
        self.assertEqual(stat.S_IMODE(os.stat(self.s.state + "/volumes").st_mode), 0o750)

    def test_a_new_one_is_as_the_image_has_it(self):
        self.assertEqual(self.out("stat -c '%a %u %g' /data; touch /data/mine", (VOLUME, "v-2", "/data"), user="app"), "750 1000 1001\n")
        self.assertEqual(self.out("stat -c '%a %u' /home/other", (VOLUME, "v-2", "/home/other")), "750 1000\n")  # only the first time

    def test_read_only_and_attributes(self):
        self.out("echo x >/v/f; cp /bin/busybox /v/su; chmod 4755 /v/su", (VOLUME, "v-3", "/v"))
        status, out, _ = self.sh("cat /v/f; echo y >/v/f; touch /v/g; grep ' /v ' /proc/self/mountinfo", dict(kind=VOLUME, source="v-3", path="/v", read_only=1))
        self.assertEqual((status, out.split("\n")[0]), (0, "x"))
        self.assertRegex(out, r" /v ro,nosuid,nodev")
        with open(self.s.state + "/volumes/v-3/f") as f:
            self.assertEqual(f.read(), "x\n")
        self.assertEqual(self.out("touch /v/g; ls /v", (VOLUME, "v-3", "/v"), read_only=1), "f\ng\nsu\n")  # read-only is the root, not what is mounted

    def test_in_each_other(self):
        self.assertEqual(self.out("touch /v/a /v/in/b /v/in/t/c; ls /v; ls /v/in", (VOLUME, "v-4", "/v"), (VOLUME, "v-5", "/v/in"),
                                  dict(kind=TMPFS, path="/v/in/t", soft=MB)), "a\nin\nb\nt\n")

    def test_names(self):
        for name in ("", "..", ".", "a/b", "../containers", "-x", ".x", "x" * 65, "a\nb", "ü"):
            self.refused("is no name of a volume", (VOLUME, name, "/v"))
        for path in ("", "v", "/", "//v", "/v/", "/v/../w", "/./v", "/..", "/v/."):
            self.refused("is no path", (VOLUME, "v-6", path))
        self.assertFalse(os.path.exists(self.s.state + "/volumes/v-6"))

    def test_somebody_elses_folder_is_none(self):
        self.out("true", (VOLUME, "v-7", "/v"))
        os.mkdir(self.s.state + "/volumes/v-8")
        os.chown(self.s.state + "/volumes/v-8", 1000, 1000)
        os.symlink("v-7", self.s.state + "/volumes/v-9")
        self.refused("belongs to somebody else", (VOLUME, "v-8", "/v"))
        self.refused("open the volume v-9", (VOLUME, "v-9", "/v"))
        os.rmdir(self.s.state + "/volumes/v-8")
        os.unlink(self.s.state + "/volumes/v-9")

    def test_links_of_the_image_lead_nowhere_else(self):
        self.assertEqual(self.out("touch /run/link/x/f; ls /home/app/x", (VOLUME, "v-10", "/run/link/x")), "f\n")
        before = set(os.listdir("/tmp"))
        self.assertEqual(self.out("ls /tmp; ls /tmp/made", (VOLUME, "v-10", "/out/made")), "made\nf\n")  # /tmp of the container
        self.assertNotIn("made", set(os.listdir("/tmp")) - before)
        self.refused("nothing is mounted in /proc", (VOLUME, "v-10", "/to-proc/sys"))
        self.refused("in the container", (VOLUME, "v-10", "/to-proc/self/root/x"))
        self.refused("in the container", (VOLUME, "v-10", "/a-file/x"))
        self.refused("mount /a-file", (VOLUME, "v-10", "/a-file"))

    def test_links_in_a_volume_lead_nowhere_else(self):
        self.out("ln -s /proc /v/p; ln -s / /v/root; ln -s ../../../../../../../../tmp /v/up", (VOLUME, "v-11", "/v"))
        self.refused("nothing is mounted in /proc", (VOLUME, "v-11", "/v"), (VOLUME, "v-12", "/v/p/sys"))
        self.assertEqual(self.out("ls -d /tmp/there", (VOLUME, "v-11", "/v"), (VOLUME, "v-12", "/v/up/there")), "/tmp/there\n")
        self.assertFalse(os.path.exists("/tmp/there"))

    def test_end(self):
        with self.assertRaisesRegex(RuntimeError, "there is none"):
            self.s.keep(VOLUME_END, "v-20")
        sb = self.s.container([self.box], gives=[(VOLUME, "v-20", "/v")])
        self.addCleanup(sb.close)
        self.assertEqual(sb.run_in(["sh", "-c", "mkdir -p /v/a/b; touch /v/a/b/c; chmod 0 /v/a"])[0], 0)
        with self.assertRaisesRegex(RuntimeError, "a container that runs has it"):
            self.s.keep(VOLUME_END, "v-20")
        self.s.end(sb)
        self.s.keep(VOLUME_END, "v-20")
        self.assertEqual([n for n in os.listdir(self.s.state + "/volumes") if "v-20" in n], [])
        self.assertEqual(self.out("ls -a /v", (VOLUME, "v-20", "/v")), ".\n..\n")
        for name in ("..", ".", "a/b", "../containers"):
            with self.assertRaisesRegex(RuntimeError, "a name begins with"):
                self.s.keep(VOLUME_END, name)

    def test_programs_lock_it_as_they_like(self):
        self.start((VOLUME, "v-22", "/v"))
        fd = os.open(self.s.state + "/volumes/v-22", os.O_RDONLY)
        self.addCleanup(os.close, fd)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as a program in there does: its folder is its own
        self.out("true", (VOLUME, "v-22", "/v"))
        with self.assertRaisesRegex(RuntimeError, "a container that runs has it"):
            self.s.keep(VOLUME_END, "v-22")

    def test_no_way_up_from_the_lock(self):
        """tandem-init holds a descriptor of each volume; the working directory is a word of whoever asks."""
        sb = self.start((VOLUME, "v-21", "/v"))
        with self.assertRaisesRegex(OSError, "step 2"):
            sb.run_in(["ls"], cwd="/proc/self/fd/513/..")
        status, out, err = self.sh("for f in /proc/self/fd/*; do readlink $f; done; ls /proc/1/fd/", (VOLUME, "v-21", "/v"))
        self.assertNotEqual(status, 0, out)
        self.assertIn("Permission denied", err)
        self.assertNotIn("v-21", out)


class Host(Case):
    def test_as_on_the_host(self):
        self.put("f", "of root\n", 0o600)
        self.put("g", "of app\n", 0o600, 1000)
        self.grant(self.host)
        self.assertEqual(self.out("cat /h/f /h/g; stat -c %u /h/f /h/g; echo new >/h/n; chown 1000 /h/n", (HOST, self.host, "/h")), "of root\nof app\n0\n1000\n")
        self.assertEqual(os.stat(self.host + "/n").st_uid, 1000)
        status, out, err = self.sh("cat /h/f", (HOST, self.host, "/h"), user="app")
        self.assertNotEqual(status, 0, out)
        self.assertRegex(self.out("grep ' /h ' /proc/self/mountinfo", (HOST, self.host, "/h")), " /h rw,nosuid,nodev")

    def test_a_file(self):
        self.grant(self.put("f", "text\n"))
        give = dict(kind=HOST, source=self.host + "/f", path="/etc/conf/x", read_only=1)
        self.assertEqual(self.out("cat /etc/conf/x", give), "text\n")
        self.assertNotEqual(self.sh("echo no >/etc/conf/x", give)[0], 0)
        self.refused("root has not allowed containers %s:" % self.host, (HOST, self.host, "/h"))  # the file alone

    def test_only_what_root_allowed(self):
        self.refused("root has not allowed containers %s: .tandem grant add %s." % (self.host, self.host), (HOST, self.host, "/h"))
        os.makedirs(self.host + "/a/b")
        self.grant(self.host + "/a")
        self.assertEqual(self.out("ls /h", (HOST, self.host + "/a", "/h")), "b\n")
        self.assertEqual(self.out("ls /h", (HOST, self.host + "/a/b", "/h")), "")
        self.refused("root has not allowed", (HOST, self.host, "/h"))
        self.grant(self.host)
        entry = self.s.state + "/grants/" + self.host.replace("/", ":")
        os.chown(entry, DAEMON_UID, DAEMON_UID)  # not root's word
        self.refused("root has not allowed", (HOST, self.host, "/h"))
        os.mkdir(self.host + "/a:b")
        self.refused("is no path on the host", (HOST, self.host + "/a:b", "/h"))
        for path in ("", "tmp", "/tmp/..", "/tmp/../etc", "//tmp", self.host + "/"):
            self.refused("is no path on the host", (HOST, path, "/h"))

    def test_links(self):
        os.mkdir(self.host + "/real")
        os.symlink("/etc", self.host + "/etc")
        os.symlink("real", self.host + "/alias")
        self.grant(self.host)
        for name in ("etc", "etc/ssl", "alias"):
            self.refused("goes through a link", (HOST, self.host + "/" + name, "/h"))
        os.symlink("/etc/shadow", self.host + "/real/s")  # in there it leads to the container's own
        self.assertEqual(self.sh("cat /h/s", (HOST, self.host + "/real", "/h"))[0:2], (1 << 8, ""))

    def test_never(self):
        os.mkfifo(self.host + "/fifo")
        for path in ("/proc", "/proc/1", "/sys", "/sys/kernel", "/dev", "/dev/shm"):
            self.grant(path)
            self.refused("is not given to containers", (HOST, path, "/h"))
        self.grant(self.host)
        self.refused("neither a folder", (HOST, self.host + "/fifo", "/h"))
        above = os.path.dirname(self.s.state)
        while above != "/":
            self.grant(above)
            self.refused("Tandem's own state", (HOST, above, "/h"))
            above = os.path.dirname(above)
        for name in ("", "/secrets", "/lock", "/daemon"):
            os.makedirs(self.s.state + "/secrets", exist_ok=True)
            self.grant(self.s.state + name)
            self.refused("Tandem's own state", (HOST, self.s.state + name, "/h"))
        self.refused("is no path", (HOST, "/", "/h"))

    def test_no_way_out_of_a_mount(self):
        os.mkdir(self.host + "/in")
        self.put("outside", "secret\n")
        self.grant(self.host + "/in")
        status, out, err = self.sh("cd /h && cat ../outside || cat /h/../outside || cat ../../../../../..%s/outside" % self.host, (HOST, self.host + "/in", "/h"))
        self.assertEqual((status, out), (1 << 8, ""))
        # A device in there is none.
        os.mknod(self.host + "/in/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        self.assertNotEqual(self.sh("echo x >/h/null", (HOST, self.host + "/in", "/h"))[0], 0)


class Tmpfs(Case):
    def test_size(self):
        out = self.out("df -k /t | tail -n 1; touch /t/x; grep ' /t ' /proc/self/mountinfo", dict(kind=TMPFS, path="/t", soft=3 * MB), user="app")
        self.assertRegex(out, r"^\S+ +3072 ")
        self.assertRegex(out, r" /t rw,nosuid,nodev")
        self.assertNotEqual(self.sh("head -c 4000000 /dev/zero >/t/x", dict(kind=TMPFS, path="/t", soft=3 * MB))[0], 0)
        self.refused("no tmpfs is of that size", dict(kind=TMPFS, path="/t", soft=0))
        self.refused("no tmpfs is of that size", dict(kind=TMPFS, path="/t", soft=1 << 41))


class Secrets(Case):
    VALUE = b"hunter2-%d\n" % os.getpid()

    def setUp(self):
        super().setUp()
        self.s.keep(SECRET, "pw", self.VALUE)

    def test_file(self):
        self.assertEqual(self.out("cat /run/secrets/pw; stat -c '%a %u' /run/secrets/pw", (SECRET_FILE, "pw", "/run/secrets/pw"), user="app"),
                         self.VALUE.decode() + "400 1000\n")
        self.assertEqual(self.out("stat -c %u /a /b/c", (SECRET_FILE, "pw", "/a"), (SECRET_FILE, "pw", "/b/c"), user="7"), "7\n7\n")
        self.assertNotEqual(self.sh("echo x >/a", (SECRET_FILE, "pw", "/a"))[0], 0)
        self.assertEqual(self.out("cat /etc/passwd", (SECRET_FILE, "pw", "/etc/passwd")), self.VALUE.decode())

    def test_variable(self):
        self.assertEqual(self.out('echo -n "$PW$OTHER"', (SECRET_ENV, "pw", "PW"), (SECRET_ENV, "pw", "OTHER"), user="app"), self.VALUE.decode() * 2)
        self.s.keep(SECRET, "nul", b"a\0b")
        self.refused("holds a NUL", (SECRET_ENV, "nul", "PW"))
        self.assertEqual(self.out("wc -c </x", (SECRET_FILE, "nul", "/x")), "3\n")
        for name in ("", "A=B"):
            self.refused("is no name of a variable", (SECRET_ENV, "pw", name))

    def test_kept(self):
        path = self.s.state + "/secrets/"
        st = os.stat(path + "pw")
        self.assertEqual((st.st_uid, stat.S_IMODE(st.st_mode), st.st_size), (0, 0o600, len(self.VALUE)))
        self.s.keep(SECRET, "pw", b"another")
        self.assertEqual(self.out("cat /a", (SECRET_FILE, "pw", "/a")), "another")
        self.s.keep(SECRET, "big", b"x" * 65536)
        self.assertEqual(self.out("wc -c </a; echo -n $V | wc -c", (SECRET_FILE, "big", "/a"), (SECRET_ENV, "big", "V")), "65536\n65536\n")
        with self.assertRaisesRegex(RuntimeError, "longer than 65536"):
            self.s.keep(SECRET, "big", b"x" * 65537)
        self.s.keep(SECRET, "pw")
        self.refused("there is no secret pw: .tandem secret set pw.", (SECRET_FILE, "pw", "/a"))
        with self.assertRaisesRegex(RuntimeError, "there is none"):
            self.s.keep(SECRET, "pw")
        self.s.keep(SECRET, "big")
        self.assertEqual([n for n in os.listdir(path) if n != "nul"], [])
        for name in ("", "..", "a/b", "../lock", ".x"):
            with self.assertRaisesRegex(RuntimeError, "a name begins with"):
                self.s.keep(SECRET, name, b"x")
            self.refused("is no name of a secret", (SECRET_FILE, name, "/a"))

    def test_nobody_else_sees_it(self):
        sb = self.start((SECRET_FILE, "pw", "/a"), (SECRET_ENV, "pw", "PW"))
        sb.start_in(["sleep", "1000"])
        self.assertEqual(sb.hear()[0], 64)
        # Not another container, which does not even see the process; not a user of the host, nor tandemd's.
        self.assertNotIn(self.VALUE.decode().strip(), self.out("cat /proc/*/environ /a 2>/dev/null; true"))
        pid = next(int(p) for p in os.listdir("/proc") if p.isdigit() and self.runs_in(p, sb.uid))
        for what in ("environ", "root/a", "mem"):
            with self.assertRaises(PermissionError):
                self.as_daemon("/proc/%d/%s" % (pid, what))
        with self.assertRaises(PermissionError):
            self.as_daemon(self.s.state + "/secrets/pw")
        self.assertNotIn(self.VALUE.decode().strip(), self.s.errors())

    @staticmethod
    def runs_in(pid, uid):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as f:
                return os.stat("/proc/" + pid).st_uid == uid and f.read().startswith(b"sleep\0")
        except OSError:
            return False

    @staticmethod
    def as_daemon(path):
        r, w = os.pipe()
        pid = os.fork()
        if not pid:
            code = 0
            try:
                os.setgroups([])
                os.setresgid(DAEMON_UID, DAEMON_UID, DAEMON_UID)
                os.setresuid(DAEMON_UID, DAEMON_UID, DAEMON_UID)
                os.close(os.open(path, os.O_RDONLY))
            except OSError as e:
                code = e.errno
            os._exit(code)
        os.close(r)
        os.close(w)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code:
            raise OSError(code, os.strerror(code))

    def test_not_for_whoever_names_a_descriptor(self):
        for where in ("/proc/self/fd/512", "/proc/self/fd/512/.."):
            sb = self.start((SECRET_ENV, "pw", "PW"))
            with self.assertRaisesRegex(OSError, "step 2"):
                sb.run_in(["ls"], cwd=where)


class Devices(Case):
    def test_only_those_asked_for(self):
        own = "/dev/tandem-test-%d" % os.getpid()
        os.mknod(own, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
        self.addCleanup(os.unlink, own)
        for name in filter(os.path.exists, ("/dev/fuse", "/dev/loop-control", own)):
            self.refused("root has not allowed containers " + name, (DEVICE, name, name))
            self.grant(name)
            st = os.stat(name)
            self.assertEqual(self.out("stat -c '%%t %%T' %s; exec 3<>%s && echo open" % (name, name), (DEVICE, name, name)),
                             "%x %x\nopen\n" % (os.major(st.st_rdev), os.minor(st.st_rdev)))
            self.assertEqual(self.out("exec 3<>/dev/dri/a/b && echo open", (DEVICE, name, "/dev/dri/a/b")), "open\n")
            # Not granted: neither there nor to be made.
            script = "ls %s; mknod /tmp/d c %d %d && : <>/tmp/d; mknod /dev/d c %d %d && : <>/dev/d" % ((name,) + (os.major(st.st_rdev), os.minor(st.st_rdev)) * 2)
            for caps in (CAPS_DEFAULT, CAPS_ALL):
                status, out, err = self.sh(script, caps=caps)
                self.assertNotEqual((status, out), (0, ""))
                self.assertEqual(len(re.findall("Operation not permitted", err)), 2, err)

    def test_refused(self):
        self.grant("/dev")
        os.symlink("null", self.host + "/null")
        for source, why in (("/dev/nothing", "No such file"), ("/dev/shm", "is no device"), ("/etc/passwd", "below /dev"),
                            ("/dev/../etc/passwd", "is no path"), ("dev/null", "below /dev")):
            self.refused(why, (DEVICE, source, "/dev/x"))
        self.refused("below /dev", (DEVICE, "/dev/null", "/etc/x"))
        self.refused("is no path", (DEVICE, "/dev/null", "/dev/../etc/x"))
        self.refused("File exists", (DEVICE, "/dev/null", "/dev/null"))
        for fd in range(16, 32):  # what is open there while the container is made: layers, and what lies over every image
            self.refused("make /dev/fd: Too many levels of symbolic links", (DEVICE, "/dev/null", "/dev/fd/%d/made/null" % fd))
        self.assertEqual([top for top in (self.box, self.s.state) for _, names, _ in os.walk(top) if "made" in names], [])


class Rights(Case):
    STATUS = "grep -E 'Cap(Eff|Prm|Bnd|Amb)' /proc/self/status"

    def caps(self, mask, **kw):
        return re.findall(r"[0-9a-f]{16}", self.out(self.STATUS, caps=mask, **kw))

    def test_capabilities(self):
        self.assertEqual(self.caps(CAPS_DEFAULT), ["%016x" % CAPS_DEFAULT] * 3 + ["0" * 16])
        self.assertEqual(self.caps(0), ["0" * 16] * 4)
        self.assertEqual(self.caps(1 << 10), ["%016x" % (1 << 10)] * 3 + ["0" * 16])
        self.assertEqual(self.caps(CAPS_DEFAULT | 1 << 21), ["%016x" % (CAPS_DEFAULT | 1 << 21)] * 3 + ["0" * 16])
        self.assertEqual(self.caps(CAPS_DEFAULT, user="app"), ["0" * 16] * 2 + ["%016x" % CAPS_DEFAULT, "0" * 16])
        self.assertEqual(self.caps(0, user="app"), ["0" * 16] * 4)
        self.assertNotEqual(self.sh("chown 5 /tmp", caps=0)[0], 0)
        with self.assertRaisesRegex(RuntimeError, "no such capability"):
            self.s.container([self.box], caps=1 << 63)

    def test_limits(self):
        self.assertEqual(self.out("ulimit -n; ulimit -Hn; ulimit -u", dict(kind=LIMIT, number=resource.RLIMIT_NOFILE, soft=300, hard=2000),
                                  dict(kind=LIMIT, number=resource.RLIMIT_NPROC, soft=77, hard=77)), "300\n2000\n77\n")
        for number in (resource.RLIMIT_CORE, 13, 14, 16, 31, 32, 60000):
            self.refused("not a limit", dict(kind=LIMIT, number=number, soft=1, hard=1))
        self.refused("not a limit", dict(kind=LIMIT, number=resource.RLIMIT_NOFILE, soft=2, hard=1))
        self.refused("fewer than 64 descriptors", dict(kind=LIMIT, number=resource.RLIMIT_NOFILE, soft=63, hard=2000))
        self.assertEqual(self.out("ulimit -n", dict(kind=LIMIT, number=resource.RLIMIT_NOFILE, soft=64, hard=64), (VOLUME, "v-1", "/v")), "64\n")

    def test_lists(self):
        self.s.next_id += 1
        m = Msg(verb=CONTAINER, id=self.s.next_id)
        m.u.container = Container(memory_bytes=256 * MB, pids_max=64, cpu_weight=100, n_layers=1, n_gives=2, hostname=b"box", sockets=1 << DNS)
        for data, why in ((b"", "cut off"), (b"x" * 100, "cut off"), (bytes(Give.of(TMPFS, path="/t", soft=MB)), "cut off"), (b"\xff" * 2000, "is no path")):
            fds = [os.open(self.box, os.O_PATH | os.O_DIRECTORY), memory_file(data)]
            with self.assertRaisesRegex(RuntimeError, why):
                self.s.ask(m, MADE, fds)
            self.s.next_id += 1
            m.id = self.s.next_id
            with self.assertRaisesRegex(RuntimeError, "did not arrive"):
                self.s.ask(m, MADE, fds[:1])
            for fd in fds:
                os.close(fd)
        self.refused("more than 128", *[dict(kind=TMPFS, path="/t%d" % i, soft=MB) for i in range(129)])


class Handover(Case):
    def test_all_of_it_and_a_dead_daemon(self):
        self.s.keep(SECRET, "pw", b"v")
        sb = self.start((VOLUME, "v-1", "/v"), (SECRET_FILE, "pw", "/s"))
        os.kill(self.s.daemon_pid, 9)
        adopted = self.s.attach()
        self.assertIn(sb.id, [a.id for a in adopted])
        with self.assertRaisesRegex(RuntimeError, "a container that runs has it"):
            self.s.keep(VOLUME_END, "v-1")
        self.assertEqual(next(a for a in adopted if a.id == sb.id).run_in(["cat", "/s"])[1], "v")
        for a in adopted:
            a.close()


if __name__ == "__main__":
    unittest.main()
