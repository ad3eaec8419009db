#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tandem-unpack against a zoo of hostile archives, made here: a clear error, nothing outside, nothing left."""
import fcntl
import io
import os
import re
import shutil
import socket
import stat
import struct
import subprocess
import tarfile
import tempfile
import unittest
import zipfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("TANDEM_BUILD", os.path.join(ROOT, "build"))
UNPACK = os.path.join(BUILD, "tandem-unpack")
NAME = "0123abcd" * 8
with open(os.path.join(ROOT, "src/wire/spawner.h")) as f:
    VERSION = int(re.search(r"^#define SPAWNER_VERSION (\d+)$", f.read(), re.M)[1])
ERR_INVALID, ERR_LIMIT, ERR_CONFLICT = 1, 2, 5
MB = 1 << 20


def zip_of(*entries, compression=zipfile.ZIP_DEFLATED):
    """entries: (name, bytes) or (name, bytes, unix mode)"""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as z:
        for name, data, *mode in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            info.external_attr = (mode[0] if mode else 0o100600) << 16
            z.writestr(info, data)
    return out.getvalue()


def tar_of(*entries, mode="w", fmt=tarfile.PAX_FORMAT):
    """entries: (name, bytes) or (name, None, fields of TarInfo)"""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=fmt) as t:
        for name, data, *fields in entries:
            info = tarfile.TarInfo(name)
            info.size = len(data or b"")
            for key, value in (fields[0] if fields else {}).items():
                setattr(info, key, value)
            t.addfile(info, io.BytesIO(data or b""))
    return out.getvalue()


def link(name, target, kind=tarfile.SYMTYPE, **more):
    return (name, None, {"type": kind, "linkname": target, **more})


class Answer:
    def __init__(self, raw):
        self.version, self.verb, self.err = struct.unpack_from("<IHH", raw)
        self.bytes, self.files = struct.unpack_from("<QQ", raw, 104)
        self.text = raw[-264:-8].split(b"\0")[0].decode()
        self.end = struct.unpack_from("<I", raw, len(raw) - 8)[0]


class Unpack(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="tandem-unpack-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.dest = os.path.join(self.dir, "dest")
        os.mkdir(self.dest)
        with open(os.path.join(self.dir, "outside"), "w") as f:
            f.write("untouched")

    def start(self, archive, max_bytes=64 * MB, max_files=1000, name=NAME, preload=None, uid=None):
        """Starts it on descriptors 3, 4, 5 as the spawner does; returns the process and our end of the answer socket."""
        path = os.path.join(self.dir, "archive")
        with open(path, "wb") as f:
            f.write(archive)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fds = [os.open(path, os.O_RDONLY), os.open(self.dest, os.O_RDONLY | os.O_DIRECTORY), os.dup(theirs.fileno())]
        theirs.close()
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in fds]

        program = UNPACK
        if uid:  # who may not get to where this was built
            program = shutil.copy(UNPACK, os.path.join(self.dir, "unpack"))

        def place():
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i)
            if uid:
                os.setgroups([])
                os.setresuid(uid, uid, uid)
        p = subprocess.Popen([program, name, str(max_bytes), str(max_files)], preexec_fn=place,
                             pass_fds=(3, 4, 5), stdin=subprocess.DEVNULL, env={"LD_PRELOAD": preload} if preload else None)
        for fd in fds + high:
            os.close(fd)
        return p, ours

    def unpack(self, archive, **kw):
        p, ours = self.start(archive, **kw)
        with ours:
            ours.settimeout(60)
            raw = ours.recv(65536)
        status = p.wait(60)
        self.assertTrue(raw, "no answer, exit status %d" % status)
        a = Answer(raw)
        self.assertEqual((a.version, a.end), (VERSION, 0x74646D21))
        self.assertEqual(status, 1 if a.err else 0, a.text)
        return a

    def outside_is_untouched(self):
        self.assertEqual(sorted(os.listdir(self.dir)), ["archive", "dest", "outside"])
        with open(os.path.join(self.dir, "outside")) as f:
            self.assertEqual(f.read(), "untouched")

    def refused(self, archive, words, err=ERR_INVALID, **kw):
        a = self.unpack(archive, **kw)
        self.assertEqual(a.err, err, a.text)
        for word in [words] if isinstance(words, str) else words:
            self.assertIn(word, a.text)
        self.assertEqual(os.listdir(self.dest), [])
        self.outside_is_untouched()
        return a

    def accepted(self, archive, **kw):
        a = self.unpack(archive, **kw)
        self.assertEqual(a.err, 0, a.text)
        self.assertEqual(os.listdir(self.dest), [NAME])
        self.outside_is_untouched()
        return a

    def path(self, *parts):
        return os.path.join(self.dest, NAME, *parts)

    def read(self, *parts):
        with open(self.path(*parts), "rb") as f:
            return f.read()

    def mode(self, *parts):
        return stat.S_IMODE(os.lstat(self.path(*parts)).st_mode)


class Accepts(Unpack):
    def test_zip(self):
        a = self.accepted(zip_of(("app.py", b"x = 1\n"), ("bin/run", b"#!", 0o104711), ("empty/", b"", 0o40700),
                                 ("pkg/d\u00e9j\u00e0.txt", b"y" * 100000)))
        self.assertEqual(self.read("app.py"), b"x = 1\n")
        self.assertEqual(self.read("pkg", "d\u00e9j\u00e0.txt"), b"y" * 100000)
        self.assertEqual(self.mode("app.py"), 0o644)
        self.assertEqual(self.mode("bin", "run"), 0o755)
        self.assertEqual([self.mode(d) for d in ("", "bin", "empty", "pkg")], [0o755] * 4)
        self.assertEqual((a.bytes, a.files), (6 + 2 + 100000, 6))

    def test_tar_with_each_compression(self):
        for mode in ("w", "w:gz", "w:xz"):
            with self.subTest(mode):
                self.accepted(tar_of(("a/b/c", b"data"), mode=mode))
                self.assertEqual(self.read("a", "b", "c"), b"data")
                shutil.rmtree(self.path())

    def test_tar_zstd(self):
        if not shutil.which("zstd"):
            self.skipTest("no zstd program here")
        packed = subprocess.run(["zstd", "-q", "-c"], input=tar_of(("z", b"data")), stdout=subprocess.PIPE, check=True)
        self.accepted(packed.stdout)
        self.assertEqual(self.read("z"), b"data")

    def test_links_that_stay_inside(self):
        self.accepted(tar_of(("lib/x.so.1", b"so"), link("lib/x.so", "x.so.1"), link("top", "lib/../lib"),
                             link("dangling", "nowhere"), link("hard", "lib/x.so.1", tarfile.LNKTYPE)))
        self.assertEqual(self.read("top", "x.so"), b"so")
        self.assertEqual(os.readlink(self.path("dangling")), "nowhere")
        self.assertEqual(os.stat(self.path("hard")).st_nlink, 2)

    def test_symlink_in_zip(self):
        self.accepted(zip_of(("a", b"1"), ("b", b"a", 0o120777)))
        self.assertEqual(os.readlink(self.path("b")), "a")

    def test_the_last_of_equal_names_wins(self):
        self.accepted(tar_of(("f", b"first"), ("f", b"second")))
        self.assertEqual(self.read("f"), b"second")

    def test_overwriting_one_name_of_two_leaves_the_other(self):
        self.accepted(tar_of(("a", b"first"), link("b", "a", tarfile.LNKTYPE), ("a", b"second")))
        self.assertEqual((self.read("a"), self.read("b")), (b"second", b"first"))

    def test_existing_directory_is_success_and_stays(self):
        os.mkdir(self.path())
        with open(self.path("kept"), "w"):
            pass
        self.accepted(zip_of(("a", b"1")))
        self.assertEqual(os.listdir(self.path()), ["kept"])

    def test_what_a_killed_one_left_is_removed(self):
        left = os.path.join(self.dest, ".tmp-" + NAME)
        os.makedirs(os.path.join(left, "deep", "er"))
        self.accepted(zip_of(("a", b"1")))
        self.assertEqual(os.listdir(self.path()), ["a"])

    def test_empty_archive(self):
        self.refused(zip_of(), "zip or tar")
        self.assertEqual(self.accepted(tar_of()).files, 0)

    def test_result_belongs_to_the_owner_of_the_directory(self):
        if os.geteuid() != 0:
            self.skipTest("needs root")
        os.chmod(self.dir, 0o755)
        os.chown(self.dest, 65534, 65534)
        self.accepted(zip_of(("d/a", b"1")))
        st = os.stat(self.path("d", "a"))
        self.assertEqual((st.st_uid, st.st_gid), (65534, 65534))


class RefusesNames(Unpack):
    def test_dotdot(self):
        for archive in (zip_of(("../outside", b"evil")), tar_of(("a/../../outside", b"evil")),
                        tar_of(("..", None, {"type": tarfile.DIRTYPE}))):
            self.refused(archive, ["..", "outside"])

    def test_absolute(self):
        target = os.path.join(self.dir, "outside")
        self.refused(zip_of((target, b"evil")), ["absolute", target[:20]])
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as t:
            info = tarfile.TarInfo(target)
            info.size = 4
            t.addfile(info, io.BytesIO(b"evil"))
        self.refused(out.getvalue(), "absolute")

    def test_control_characters(self):
        self.refused(zip_of(("a\nb", b"")), ["a\\x0ab", "control character"])
        self.refused(tar_of(("a\x1b[2Jb", b"")), ["a\\x1b", "control character"])

    def test_not_utf8(self):
        raw = zip_of(("NAME.txt", b"1")).replace(b"NAME.txt", b"N\xff\xfeE.txt")
        self.refused(raw, ["N\\xff\\xfeE.txt", "UTF-8"])
        self.refused(tar_of(("N\udcffE", b""), fmt=tarfile.GNU_FORMAT), ["N\\xffE", "UTF-8"])

    def test_nul_in_a_name_leads_nowhere(self):
        raw = zip_of(("safe\x01../x", b"1")).replace(b"safe\x01../x", b"safe\x00../x")
        a = self.unpack(raw)
        self.outside_is_untouched()
        self.assertEqual(os.listdir(self.dest), [] if a.err else [NAME])
        if not a.err:
            self.assertEqual(os.listdir(self.path()), ["safe"])

    def test_too_deep_and_too_long(self):
        self.refused(tar_of(("/".join("d" * 65), b"")), "64 directories deep", ERR_LIMIT)
        self.refused(tar_of(("n" * 256, b"")), "255 bytes", ERR_LIMIT)
        self.refused(tar_of(("/".join(["n" * 200] * 21), b"")), "4000 bytes", ERR_LIMIT)

    def test_the_whole_directory_as_a_file(self):
        self.refused(tar_of((".", b"evil")), "whole directory")

    def test_file_and_directory_at_once(self):
        self.refused(tar_of(("a", b"1"), ("a/b", b"2")), ["a", "both a directory"])
        self.refused(tar_of(("a/b", b"2"), ("a", b"1")), ["a", "both a directory"])

    def test_bad_name_of_the_directory(self):
        for name in ("../x", "a/b", "", ".", "x" * 72):
            self.refused(zip_of(("a", b"1")), "bad name", name=name)


class RefusesLinks(Unpack):
    def test_symlinks_outside(self):
        for target in ("..", "../outside", "a/../../outside", "/etc/passwd"):
            self.refused(tar_of(link("l", target)), ["'l'", "symbolic link"])
        self.refused(zip_of(("d/l", b"../../outside", 0o120777)), ["'d/l'", "outside"])

    def test_symlink_outside_through_another(self):
        self.refused(tar_of(link("d1/d2/up", "../.."), link("x", "d1/d2/up/../outside")), ["'x'", "outside"])

    def test_write_through_symlink(self):
        for target in ("sub", ".", "nowhere"):
            self.refused(tar_of(("sub/f", b"1"), link("l", target), ("l/f", b"evil")), ["l/f", "symbolic link"])

    def test_write_onto_symlink_replaces_it(self):
        self.accepted(tar_of(("f", b"kept"), link("l", "f"), ("l", b"new")))
        self.assertEqual((self.read("f"), self.read("l")), (b"kept", b"new"))

    def test_hard_links(self):
        hard = tarfile.LNKTYPE
        self.refused(tar_of(link("h", "../outside", hard)), ["..", "hard link"])
        self.refused(tar_of(link("h", "/etc/passwd", hard)), ["absolute", "hard link"])
        self.refused(tar_of(link("h", "later", hard), ("later", b"")), ["'h'", "no earlier file"])
        self.refused(tar_of(link("l", "later"), link("h", "l", hard)), ["'h'", "no earlier file"])
        self.refused(tar_of(("d/f", b""), link("l", "d"), link("h", "l/f", hard)), ["'h'", "no earlier file"])
        self.refused(tar_of(("d/f", b""), link("h", "d", hard)), ["'h'", "no earlier file"])


class RefusesKinds(Unpack):
    def test_devices_and_pipes(self):
        for kind, word in ((tarfile.CHRTYPE, "character device"), (tarfile.BLKTYPE, "block device"),
                           (tarfile.FIFOTYPE, "named pipe")):
            self.refused(tar_of(("dev/x", None, {"type": kind, "devmajor": 1, "devminor": 5})), ["dev/x", word])
        self.refused(zip_of(("sock", b"", 0o140777)), "'sock'")

    def test_encrypted(self):
        raw = bytearray(zip_of(("secret", b"x" * 50)))
        raw[6] |= 1
        raw[raw.index(b"PK\1\2") + 8] |= 1
        self.refused(bytes(raw), ["secret", "encrypted"])

    def test_unknown_compression(self):
        raw = bytearray(zip_of(("odd", b"x" * 50)))
        raw[8] = raw[raw.index(b"PK\1\2") + 10] = 77
        self.refused(bytes(raw), "odd")

    def test_not_an_archive(self):
        for junk in (b"", b"hello", b"\0" * 4096, os.urandom(4096), b"PK\3\4" + b"\0" * 100, b"\x7fELF" + b"\0" * 600):
            a = self.unpack(junk)
            if a.err:
                self.assertIn("not a whole zip or tar", a.text)
                self.assertEqual(os.listdir(self.dest), [])
            else: # 4096 zeros are an empty tar
                self.assertEqual((junk, a.files), (b"\0" * 4096, 0))
                shutil.rmtree(self.path())
            self.outside_is_untouched()


class RefusesBroken(Unpack):
    def test_bad_crc(self):
        self.refused(zip_of(("x", b"payload!"), compression=zipfile.ZIP_STORED).replace(b"payload!", b"pay1oad!"),
                     ["'x'", "CRC"])

    def test_truncated(self):
        whole = zip_of(("a", os.urandom(5000)), ("b", os.urandom(5000)))
        for n in (10, 5000, len(whole) - 30):
            self.refused(whole[:n], "zip or tar")
        for mode in ("w", "w:gz", "w:xz"):
            whole = tar_of(("a", os.urandom(50000)), ("b", b"1"), mode=mode)
            self.refused(whole[:30000], "")

    def test_every_byte_flipped(self):
        """Whatever happens, it is an answer, and nothing outside."""
        good = zip_of(("d/a", b"hello hello hello"), ("l", b"d/a", 0o120777))
        for i in range(0, len(good), 3):
            raw = bytearray(good)
            raw[i] ^= 0xFF
            a = self.unpack(bytes(raw))
            if a.err:
                self.assertTrue(a.text)
                self.assertEqual(os.listdir(self.dest), [])
            else:
                shutil.rmtree(self.path())
            self.outside_is_untouched()


class Limits(Unpack):
    def test_zip_bomb(self):
        bomb = zip_of(("zeros", b"\0" * (100 * MB)))
        self.assertLess(len(bomb), MB)
        self.refused(bomb, "bytes unpacked", ERR_LIMIT, max_bytes=10 * MB)

    def test_zip_whose_size_lies(self):
        raw = bytearray(zip_of(("zeros", b"\0" * (20 * MB))))
        small = struct.pack("<I", 10)
        raw[22:26] = small
        at = raw.index(b"PK\1\2") + 24
        raw[at:at + 4] = small
        a = self.unpack(bytes(raw), max_bytes=MB)
        self.assertIn(a.err, (ERR_INVALID, ERR_LIMIT))
        self.assertEqual(os.listdir(self.dest), [])

    def test_many_small_files_are_not_more_than_many_bytes(self):
        entries = [("f%d" % i, b"x" * 1000) for i in range(200)]
        self.refused(tar_of(*entries), "bytes unpacked", ERR_LIMIT, max_bytes=100000)
        self.assertEqual(self.accepted(tar_of(*entries), max_bytes=200000).bytes, 200000)

    def test_many_files(self):
        self.refused(zip_of(*[("f%d" % i, b"") for i in range(101)]), "100 files", ERR_LIMIT, max_files=100)

    def test_implied_directories_count(self):
        self.refused(tar_of(*[("%d/%d/f" % (i, i), b"") for i in range(40)]), "100 files", ERR_LIMIT, max_files=100)

    def test_the_same_name_again_and_again_counts(self):
        self.refused(tar_of(*[("d", None, {"type": tarfile.DIRTYPE})] * 101), "100 files", ERR_LIMIT, max_files=100)
        self.refused(tar_of(*[("f", b"")] * 101), "100 files", ERR_LIMIT, max_files=100)

    def test_huge_sparse_file(self):
        if not shutil.which("tar"):
            self.skipTest("no tar program here")
        with open(os.path.join(self.dir, "hole"), "wb") as f:
            f.truncate(1 << 40)
        made = subprocess.run(["tar", "-C", self.dir, "--sparse", "-cf", "-", "hole"], stdout=subprocess.PIPE, check=True)
        os.unlink(os.path.join(self.dir, "hole"))
        self.refused(made.stdout, "bytes unpacked", ERR_LIMIT)

    def test_nested_compression(self):
        import gzip
        raw = tar_of(("zeros", b"\0" * (50 * MB)))
        for _ in range(3):
            raw = gzip.compress(raw, 9)
        self.refused(raw, "bytes unpacked", ERR_LIMIT, max_bytes=MB)


class Confinement(Unpack):
    def test_two_at_once_do_not_disturb_each_other(self):
        lock = os.path.join(self.dest, ".tmp-" + NAME)
        os.mkdir(lock)
        fd = os.open(lock, os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            a = self.unpack(zip_of(("a", b"1")))
            self.assertEqual(a.err, ERR_CONFLICT, a.text)
            self.assertEqual(os.listdir(self.dest), [".tmp-" + NAME])
        finally:
            os.close(fd)

    def test_taken_over_it_opens_nothing_outside(self):
        """As the spawner starts it, it is of tandemd's user, whose files lie all around."""
        if os.geteuid() != 0 or not shutil.which("gcc"):
            self.skipTest("needs root, to be somebody else, and a compiler")
        if os.path.basename(BUILD) == "san":
            self.skipTest("built with a sanitizer: no filter, and nothing may be loaded before it")
        source, evil = os.path.join(self.dir, "evil.c"), os.path.join(self.dir, "evil.so")
        with open(source, "w") as f:
            f.write("#include <fcntl.h>\n#include <unistd.h>\n"
                    "void *archive_read_new(void)\n{\n"
                    f'\tint inside = openat(4, "new", O_WRONLY | O_CREAT, 0600), outside = open("{self.dir}/outside", O_RDONLY);\n'
                    "\t_exit(40 + (inside >= 0) + 2 * (outside >= 0));\n}\n")
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", evil, source], check=True)
        os.chmod(self.dir, 0o755)
        os.chown(self.dest, 65534, 65534)
        p, ours = self.start(b"", preload=evil, uid=65534)
        ours.close()
        self.assertEqual(p.wait(60), 41)

    def test_no_forbidden_system_call_is_tried(self):
        """A refusal by the filter would show as a failure somewhere; the trace shows that none was even needed."""
        if not shutil.which("strace"):
            self.skipTest("no strace here")
        log = os.path.join(self.dir, "trace")
        real = globals()["UNPACK"]
        script = os.path.join(self.dir, "run")
        with open(script, "w") as f:
            f.write('#!/bin/sh\nexec strace -f -o "%s" "%s" "$@"\n' % (log, real))
        os.chmod(script, 0o755)
        globals()["UNPACK"] = script
        try:
            a = self.unpack(tar_of(("a/b", b"1"), link("l", "a/b"), link("h", "a/b", tarfile.LNKTYPE), mode="w:xz"))
        finally:
            globals()["UNPACK"] = real
        self.assertEqual(a.err, 0, a.text)
        with open(log) as f:
            after = f.read().split("SECCOMP_SET_MODE_FILTER", 1)
        if len(after) < 2:
            self.skipTest("built with a sanitizer: no filter")
        self.assertNotIn("EPERM", after[1])
        for call in ("socket(", "execve(", "clone", "ptrace(", "open(\"/"):
            self.assertNotIn(call, after[1])
        os.unlink(log)
        os.unlink(script)


if __name__ == "__main__":
    unittest.main()
