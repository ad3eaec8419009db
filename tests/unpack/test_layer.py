#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Layers of images through the real spawner and tandem-unpack: what is kept of them, and a zoo of hostile ones."""
import gzip
import hashlib
import io
import lzma
import os
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "spawn"))
import spawner_driver as sd  # noqa: E402
from test_unpack import link, tar_of  # noqa: E402

BASE, DAEMON = 1878917120, sd.DAEMON_UID
MB = 1 << 20
LIMIT, INVALID, CORRUPT = 2, 1, 10
CAP = struct.pack("<IIIII", 0x02000000, 1 << 10, 0, 0, 0)  # net_bind_service, effective off


def folder(name, **more):
    return (name, None, dict(dict(type=tarfile.DIRTYPE, mode=0o755), **more))


class Refused(Exception):
    pass


class Layers(sd.OneSpawner):
    def setUp(self):
        self.dir = tempfile.mkdtemp(dir=self.s.dir)
        self.layers = os.path.join(self.dir, "layers")
        os.mkdir(self.layers)
        os.chmod(self.layers, 0o711)
        os.chown(self.layers, DAEMON, DAEMON)
        self.addCleanup(shutil.rmtree, self.dir)
        with open(os.path.join(self.dir, "outside"), "w") as f:
            f.write("untouched")

    def ask(self, how, name, archive=b"", max_bytes=64 * MB, max_files=1000):
        with tempfile.TemporaryFile() as f:
            f.write(archive)
            f.flush()
            f.seek(0)
            at = os.open(self.layers, os.O_RDONLY | os.O_DIRECTORY)
            self.s.next_id += 1
            m = sd.Msg(verb=sd.UNPACK, id=self.s.next_id)
            m.u.unpack = sd.Unpack(name.encode(), max_bytes, max_files, 0, 0, how)
            self.s.send(m, [f.fileno(), at])
            os.close(at)
            got, _ = self.s.wait(sd.UNPACKED, m.id)
        if got.err:
            raise Refused(got.err, got.text.decode())
        return got.u.unpack.bytes, got.u.unpack.files

    def unpack(self, tar, packed=None, name=None, **kw):
        name = name or hashlib.sha256(tar).hexdigest()
        self.ask(sd.UNPACK_LAYER, name, packed or tar, **kw)
        return os.path.join(self.layers, name)

    def refused(self, tar, words, err=INVALID, **kw):
        with self.assertRaises(Refused) as caught:
            self.unpack(tar, **kw)
        kind, text = caught.exception.args
        self.assertEqual(kind, err, text)
        self.assertIn(words, text)
        self.assertEqual(os.listdir(self.layers), [])
        self.untouched()

    def untouched(self):
        self.assertEqual(sorted(os.listdir(self.dir)), ["layers", "outside"])
        with open(os.path.join(self.dir, "outside")) as f:
            self.assertEqual(f.read(), "untouched")

    def owner(self, path):
        st = os.lstat(path)
        return st.st_uid - BASE, st.st_gid - BASE, stat.S_IMODE(st.st_mode)

    # --- what is kept ---

    def test_owners_modes_times_links(self):
        at = self.unpack(tar_of(
            folder("./", mode=0o755, uid=0), folder("var", mode=0o1777, uid=3, gid=4), ("bin/su", b"su", dict(mode=0o4755)),
            ("var/mail", b"m", dict(uid=65535, gid=8, mode=0o2640, mtime=1000000000)), link("bin/sh", "/bin/su", uid=5, gid=6),
            link("bin/su2", "bin/su", tarfile.LNKTYPE), link("bin/sh2", "bin/sh", tarfile.LNKTYPE), link("up", "../../../etc/passwd"),
            ("run/pipe", None, dict(type=tarfile.FIFOTYPE, mode=0o600, uid=7))))
        self.assertEqual(self.owner(at), (0, 0, 0o755))
        self.assertEqual(self.owner(at + "/var"), (3, 4, 0o1777))
        self.assertEqual(self.owner(at + "/bin"), (0, 0, 0o755))
        self.assertEqual(self.owner(at + "/bin/su"), (0, 0, 0o4755))
        self.assertEqual(self.owner(at + "/var/mail"), (65535, 8, 0o2640))
        self.assertEqual(os.stat(at + "/var/mail").st_mtime, 1000000000)
        self.assertEqual(self.owner(at + "/bin/sh")[:2], (5, 6))
        self.assertEqual(os.readlink(at + "/bin/sh"), "/bin/su")
        self.assertEqual(os.readlink(at + "/up"), "../../../etc/passwd")
        self.assertEqual(os.stat(at + "/bin/su2").st_ino, os.stat(at + "/bin/su").st_ino)
        self.assertEqual(os.lstat(at + "/bin/sh2").st_ino, os.lstat(at + "/bin/sh").st_ino)
        self.assertTrue(stat.S_ISFIFO(os.stat(at + "/run/pipe").st_mode))
        self.assertEqual(self.owner(at + "/run/pipe"), (7, 0, 0o600))

    def test_closed_folders_of_others(self):
        at = self.unpack(tar_of(folder("home", mode=0o500, uid=1000), folder("home/a", mode=0, uid=1001), ("home/a/f", b"x", dict(uid=1000, mode=0))))
        self.assertEqual(self.owner(at + "/home/a/f"), (1000, 0, 0))

    def test_attributes(self):
        at = self.unpack(tar_of(("ping", b"x", dict(mode=0o755, pax_headers={
            "SCHILY.xattr.security.capability": CAP.decode("latin-1"), "SCHILY.xattr.user.note": "hi",
            "SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.trusted.overlay.opaque": "y"}))))
        self.assertEqual(sorted(os.listxattr(at + "/ping")), ["security.capability", "user.note"])
        cap = os.getxattr(at + "/ping", "security.capability")
        self.assertEqual(struct.unpack("<IIIIII", cap)[1::4], (1 << 10, BASE))  # for the root of LAYER_ID_BASE alone

    def test_packed_in_every_way(self):
        tar = tar_of(("f", b"x" * 100000))
        zstd = subprocess.run(["zstd", "-qc"], input=tar, stdout=subprocess.PIPE, check=True).stdout
        for packed in (tar, gzip.compress(tar), lzma.compress(tar), zstd):
            at = self.unpack(tar, packed)
            self.assertEqual(os.path.getsize(at + "/f"), 100000)
            self.remove(os.path.basename(at))
        at = self.unpack(b"\0" * 1024)  # the empty layer that every builder makes
        self.assertEqual(os.listdir(at), [])

    def remove(self, name):
        self.ask(sd.UNPACK_REMOVE, name)
        self.assertEqual(os.listdir(self.layers), [])

    def test_removed_whole(self):
        deep = "/".join("d%d" % i for i in range(60))
        at = self.unpack(tar_of(folder("a", mode=0, uid=9), ("a/.wh.b", b""), (deep + "/f", b"x", dict(uid=77, mode=0)), ("c/.wh..wh..opq", b"")))
        self.remove(os.path.basename(at))
        self.remove("0" * 64)  # absent is fine
        self.untouched()

    # --- white-outs ---

    def whiteout(self, path):
        st = os.lstat(path)
        return stat.S_ISCHR(st.st_mode) and st.st_rdev == 0

    def opaque(self, path):
        return "user.overlay.opaque" in os.listxattr(path)

    def test_whiteouts(self):
        at = self.unpack(tar_of(("a/.wh.gone", b""), ("b/.wh..wh..opq", b""), ("b/new", b"x"), (".wh..wh.aufs", b""),
                                (".wh.top", b"")))
        self.assertTrue(self.whiteout(at + "/a/gone") and self.whiteout(at + "/top"))
        self.assertTrue(self.opaque(at + "/b"))
        self.assertEqual(sorted(os.listdir(at)), ["a", "b", "top"])
        self.assertEqual(os.listdir(at + "/b"), ["new"])

    def test_what_the_same_layer_has_is_not_hidden(self):
        """Whatever comes first; a directory shows nothing of what was below."""
        for order in (1, -1):
            entries = [(".wh.d", b""), ("d/f", b"x")][::order] + [(".wh.f", b""), ("f", b"y")][::order]
            at = self.unpack(tar_of(*entries))
            self.assertTrue(self.opaque(at + "/d"), order)
            self.assertEqual(sorted(os.listdir(at)), ["d", "f"])
            with open(at + "/f") as f:
                self.assertEqual(f.read(), "y")

    def test_overlay_shows_it(self):
        """The kernel takes what was made for white-outs and opaque directories, with no right but userxattr."""
        low = self.unpack(tar_of(("a/one", b"1"), ("a/two", b"2"), ("b/old", b"o"), ("c", b"c"), link("lib", "usr/lib"), ("usr/lib/x", b"low")))
        top = self.unpack(tar_of(("a/.wh.one", b""), ("b/.wh..wh..opq", b""), ("b/new", b"n"), (".wh.c", b""), ("lib/x", b"top")))
        at = os.path.join(self.dir, "m")
        os.mkdir(at)
        code = ("mount -t overlay -o ro,userxattr,lowerdir=%s:%s x %s && cd %s && find . | sort && cat lib/x usr/lib/x" % (top, low, at, at))
        out = subprocess.run(["unshare", "-m", "sh", "-c", code], stdout=subprocess.PIPE, check=True).stdout.decode()
        os.rmdir(at)
        self.assertEqual(out, "".join(n + "\n" for n in (".", "./a", "./a/two", "./b", "./b/new", "./lib", "./lib/x", "./usr", "./usr/lib",
                                                         "./usr/lib/x")) + "toplow")

    def test_hostile_whiteouts(self):
        self.refused(tar_of(("a/.wh.", b"")), "a white-out of nothing")
        self.refused(tar_of(("a/.wh..", b"")), "a white-out of nothing")
        self.refused(tar_of(("a/.wh...", b"")), "a white-out of nothing")
        self.refused(tar_of((".wh.a/b", b"")), "below a white-out")
        self.refused(tar_of(("x/.wh..wh..opq/b", b"")), "below a white-out")
        self.refused(tar_of(("../.wh.outside", b"")), "'..'")
        self.refused(tar_of(link("a", "/"), ("a/.wh.etc", b"")), "through a symbolic link")
        self.refused(tar_of(link("a", "/"), ("a/.wh..wh..opq", b"")), "through a symbolic link")

    # --- the zoo ---

    def test_paths(self):
        self.refused(tar_of(("../outside", b"x")), "'..'")
        self.refused(tar_of(("a/../../outside", b"x")), "'..'")
        self.refused(tar_of(("/etc/passwd", b"x")), "absolute path")
        self.refused(tar_of(link("a", ".."), ("a/outside", b"x")), "through a symbolic link")
        self.refused(tar_of(link("a", self.dir), ("a/outside", b"x")), "through a symbolic link")
        self.refused(tar_of(folder("d"), link("d/a", "/"), ("d/a/tmp/x", b"x")), "through a symbolic link")
        self.refused(tar_of(("f", b"x"), link("f/g", "y")), "both a directory and something else")
        self.refused(tar_of(folder("d"), ("d", b"x")), "both a directory and something else")
        self.refused(tar_of(("/".join("d" * 65), b"x")), "directories deep", LIMIT)
        self.refused(tar_of(("a\nb", b"x")), "control character")

    def test_a_link_in_place_of_a_file_is_not_followed(self):
        at = self.unpack(tar_of(link("f", os.path.join(self.dir, "outside")), ("f", b"new")))
        self.assertTrue(stat.S_ISREG(os.lstat(at + "/f").st_mode))
        self.untouched()
        shutil.rmtree(at)

    def test_hard_links(self):
        self.refused(tar_of(link("a", "../outside", tarfile.LNKTYPE)), "'..'")
        self.refused(tar_of(link("a", "/etc/passwd", tarfile.LNKTYPE)), "absolute path")
        self.refused(tar_of(link("a", "b", tarfile.LNKTYPE)), "no earlier file")
        self.refused(tar_of(folder("d"), link("a", "d", tarfile.LNKTYPE)), "no earlier file")
        self.refused(tar_of(link("l", self.dir), link("a", "l/outside", tarfile.LNKTYPE)), "no earlier file")

    def test_devices_are_left_out(self):
        dev = dict(mode=0o666, devmajor=1, devminor=3)
        at = self.unpack(tar_of(folder("dev"), ("dev/null", None, dict(dev, type=tarfile.CHRTYPE)), ("dev/sda", None, dict(dev, type=tarfile.BLKTYPE)),
                                ("dev/no", None, dict(type=tarfile.CHRTYPE, devmajor=0, devminor=0)), ("f", b"x")))
        self.assertEqual(os.listdir(at + "/dev"), [])
        self.assertEqual(sorted(os.listdir(at)), ["dev", "f"])

    def test_owners_out_of_range(self):
        self.refused(tar_of(("f", b"x", dict(uid=65536))), "containers have the ids 0 to 65535")
        self.refused(tar_of(("f", b"x", dict(gid=DAEMON))), "containers have the ids 0 to 65535")

    def test_bad_capability(self):
        for value in ("short", CAP.decode("latin-1") + "\0\0\0\0"):
            self.refused(tar_of(("p", b"x", dict(pax_headers={"SCHILY.xattr.security.capability": value}))), "a file capability of")

    def test_limits(self):
        self.refused(tar_of(("f", b"x" * 2 * MB)), "more than 1048576 bytes", LIMIT, max_bytes=MB)
        self.refused(tar_of(*((str(i), b"") for i in range(101))), "more than 100 files", LIMIT, max_files=100)
        self.refused(tar_of(*((".wh.%d" % i, b"") for i in range(101))), "more than 100 files", LIMIT, max_files=100)
        self.refused(tar_of(*((".wh..wh.%d" % i, b"") for i in range(101))), "more than 100 files", LIMIT, max_files=100)
        dev = dict(type=tarfile.CHRTYPE)
        self.refused(tar_of(*(("d", None, dev) for i in range(101))), "more than 100 files", LIMIT, max_files=100)
        self.refused(tar_of(*(("same", b"x") for i in range(101))), "more than 100 files", LIMIT, max_files=100)
        bomb = gzip.compress(tar_of(("f", b"\0" * 80 * MB)))
        self.refused(b"", "more than 67108864 bytes", LIMIT, packed=bomb)
        rest = tar_of(("f", b"x")) + b"\0" * 20 * MB
        self.refused(rest, "behind the end of the tar archive", LIMIT)

    def test_huge_sparse_file(self):
        """Holes count like data: 1 TiB in some hundred bytes."""
        headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "huge", "GNU.sparse.realsize": str(1 << 40)}
        self.refused(tar_of(("GNUSparseFile.0/huge", b"1\n%d\n1\n" % ((1 << 40) - 1) + b"\0" * 495 + b"x", dict(pax_headers=headers))),
                     "bytes unpacked", LIMIT)

    def test_sparse_file_stays_sparse(self):
        headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "holes", "GNU.sparse.realsize": str(32 * MB)}
        at = self.unpack(tar_of(("GNUSparseFile.0/holes", (b"1\n%d\n1\n" % (32 * MB - 1)).ljust(512, b"\0") + b"x", dict(pax_headers=headers))))
        st = os.stat(at + "/holes")
        self.assertEqual(st.st_size, 32 * MB)
        self.assertLess(st.st_blocks * 512, MB)

    def test_broken(self):
        tar = tar_of(("f", b"x" * 100000))
        for bad in (b"", b"no tar at all" * 100, gzip.compress(tar)[:-20], tar[:5000], b"PK\3\4" + b"\0" * 600):
            with self.assertRaises(Refused):
                self.unpack(bad)
            self.assertEqual(os.listdir(self.layers), [])

    def test_wrong_digest(self):
        self.refused(tar_of(("f", b"x")), "was declared", CORRUPT, name="0" * 64)
        tar = tar_of(("f", b"x"))
        self.refused(tar, "was declared", CORRUPT, packed=tar + b"\0" * 512)  # one block more behind the end is another layer

    def test_equal_layer_wins(self):
        tar = tar_of(("f", b"x"))
        at = self.unpack(tar)
        ino = os.stat(at + "/f").st_ino
        self.unpack(tar)
        self.assertEqual(os.stat(at + "/f").st_ino, ino)
        self.assertEqual(os.listdir(self.layers), [os.path.basename(at)])


if __name__ == "__main__":
    unittest.main()
