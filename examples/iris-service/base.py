#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A base for the image without any registry: ./base.py writes base.tar, Debian's Python as it is on this machine with what service.py imports.

Whole packages, for they import more later on; without their tests and documentation; with their byte code. Names inside are the host's.
"""
import glob
import io
import os
import re
import subprocess
import sys
import sysconfig
import tarfile

import flask  # noqa: F401 pylint: disable=unused-import
import sklearn.datasets  # noqa: F401 pylint: disable=unused-import
import sklearn.linear_model  # noqa: F401 pylint: disable=unused-import
import waitress  # noqa: F401 pylint: disable=unused-import

PACKAGES = "/usr/lib/python3/dist-packages/"
PROGRAMS = [os.path.realpath(sys.executable), *map("/usr/bin/".__add__, ("python3", "dash", "sh", "ls", "cat"))]
LEFT_OUT = re.compile(r"/(tests?|idlelib|ensurepip|turtledemo|config-3[^/]*)/|\.(html|h|pxd|pyx)$")
FOLDERS = ("/etc", "/tmp", "/usr/sbin", "/app")
LINKS = {"/" + name: "usr/" + name for name in ("bin", "sbin", "lib", "lib32", "lib64") if os.path.islink("/" + name)}
ETC = {"/etc/passwd": "root:x:0:0::/:/bin/sh\napp:x:1000:1000::/app:/bin/sh\n", "/etc/group": "root:x:0:\napp:x:1000:\n"}


def imported():
    """Their folders, or files, and what is told of them in .dist-info and .egg-info."""
    for name in {m.__name__.split(".")[0] for m in list(sys.modules.values()) if (getattr(m, "__file__", None) or "").startswith(PACKAGES)}:
        yield from glob.glob(PACKAGES + name + "*")


def below(top):
    if os.path.isfile(top):
        yield top
    for folder, _, names in os.walk(top):
        yield from (os.path.join(folder, name) for name in names)


def libraries(programs):
    """What the linker would load for them, under the names that it looks for."""
    said = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout
    return set(re.findall(r"(?:=> |^\t)(/\S+) \(", said, re.M))


def add(tar, path, data=None, **fields):
    info = tarfile.TarInfo(path.lstrip("/"))
    info.mode, info.mtime = 0o755, 0
    if data is None and "type" not in fields:  # the file's own; links are followed
        at = os.stat(path)
        info.mode, info.mtime = at.st_mode & 0o7777, int(at.st_mtime)  # byte code knows the time of its source
        with open(path, "rb") as f:
            data = f.read()
    info.size = len(data or b"")
    for name, value in fields.items():
        setattr(info, name, value)
    tar.addfile(info, io.BytesIO(data or b""))


def main():
    tops = [sysconfig.get_path("stdlib"), *imported()]
    files = {path for top in tops for path in below(top) if not LEFT_OUT.search(path)}
    loaded = libraries([p for p in files if p.endswith(".so")] + PROGRAMS)
    files |= {os.path.realpath(os.path.dirname(path)) + "/" + os.path.basename(path) for path in loaded} | set(PROGRAMS)
    with tarfile.open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "base.tar"), "w") as tar:
        for path in FOLDERS:
            add(tar, path, type=tarfile.DIRTYPE, mode=0o1777 if path == "/tmp" else 0o755)
        for path, target in LINKS.items():
            add(tar, path, type=tarfile.SYMTYPE, linkname=target)
        for path, text in ETC.items():
            add(tar, path, text.encode(), mode=0o644)
        for path in sorted(files):
            add(tar, path)


main()
