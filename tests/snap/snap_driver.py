# SPDX-License-Identifier: Apache-2.0
"""tandem-init without a sandbox: process 1 of a new pid namespace, spoken to as tandemd does (wire/init.h)."""
import ctypes
import mmap
import os
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "spawn"))
from spawner_driver import BUILD, SLOW, TIMEOUT_S  # noqa: E402

START, SIGNAL, TAKE, RESTORE, RUN, PAGES = range(1, 7)
STARTED, FAILED, EXITED, TAKEN, RESTORED = range(64, 69)
HEAD = "<HHIiIIIII"
HOLE, LIST_BYTES = 64 << 30, 32768  # behind an image; of the list at its end


class Refused(Exception):
    """TAKE or RESTORE did not work; the text says why."""


class Stats:
    def __init__(self, body):
        self.bytes, self.pages, self.mappings, self.files, self.took_us = struct.unpack_from("<QIIII", body)
        self.text = body[24:].split(b"\0")[0].decode(errors="replace")

    def __repr__(self):
        return str(self.__dict__)


def hear(ctl):
    """(verb, tag, value, body) of the next message of tandem-init."""
    data = ctl.recv(65536)
    if len(data) < 32:
        raise EOFError("tandem-init is gone")
    version, verb, tag, value, _, _, _, text_bytes, _ = struct.unpack_from(HEAD, data)
    assert version == 1 and len(data) == 32 + text_bytes, data
    return verb, tag, value, data[32:]


def start_only(ctl, argv, env=(), tag=1):
    text = b"".join(s.encode() + b"\0" for s in [*argv, *env])
    ctl.send(struct.pack(HEAD, 1, START, tag, 0, 1, len(argv), len(env), len(text), 0) + text)


def start(ctl, argv, env=(), tag=1):
    start_only(ctl, argv, env, tag)
    verb, _, value, _ = hear(ctl)
    assert verb == STARTED, (verb, value)
    return value


def take(ctl, path, deadline_ms=20000, as_is=0, max_bytes=1 << 31, tag=1):
    if os.path.exists(path):
        os.unlink(path)  # never written again: processes may run from it
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        body = struct.pack("<QII", max_bytes, deadline_ms * SLOW, as_is)
        socket.send_fds(ctl, [struct.pack(HEAD, 1, TAKE, tag, 0, 0, 0, 0, len(body), 0) + body], [fd])
        verb, _, value, body = hear(ctl)
    finally:
        os.close(fd)
    assert verb == TAKEN, (verb, value)
    if value:
        raise Refused(Stats(body).text)
    return Stats(body)


def order(ctl, path, tag=1, waits=1):
    """RESTORE; with waits nothing runs before something is in the channel."""
    fd = os.open(path, os.O_RDONLY)
    try:
        socket.send_fds(ctl, [struct.pack(HEAD, 1, RESTORE, tag, waits, 0, 0, 0, 0, 0)], [fd])
    finally:
        os.close(fd)


def restore(ctl, path, tag=1):
    order(ctl, path, tag, waits=0)
    return restored(ctl)


def restored(ctl):
    verb, _, value, body = hear(ctl)
    assert verb == RESTORED, (verb, value)
    if not value:
        raise Refused(Stats(body).text)
    return Stats(body)


def pages(ctl, tag=1):
    """PAGES: the list as it is to be kept, and what is in it, as (address, pages)."""
    ctl.send(struct.pack(HEAD, 1, PAGES, tag, 0, 0, 0, 0, 0, 0))
    verb, _, value, body = hear(ctl)
    assert verb == PAGES, (verb, value)
    ranges = struct.unpack_from(f"<{(len(body) - 24) // 8}Q", body, 24)
    return body, [(r & ~4095, r & 4095) for r in ranges]


def keep_list(path, body):
    with open(path, "r+b") as f:
        os.pwrite(f.fileno(), body, os.fstat(f.fileno()).st_size - LIST_BYTES)


def in_memory(fd, at):
    """Asked of a mapping: a read that does not wait would start a read-ahead."""
    there = ctypes.create_string_buffer(1)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    page = ctypes.c_void_p(libc.mmap(None, ctypes.c_size_t(4096), mmap.PROT_READ, mmap.MAP_SHARED, fd, ctypes.c_long(at & ~4095)))
    assert libc.mincore(page, ctypes.c_size_t(1), there) == 0, os.strerror(ctypes.get_errno())
    libc.munmap(page, ctypes.c_size_t(4096))
    return there.raw[0] & 1 == 1


def leaves_memory(path):
    """The pages of an image that nobody runs from go. False: where it lies there is no disk to read it from again."""
    with open(path + "-one", "wb+") as one, open(path, "rb") as f:
        os.unlink(one.name)
        one.write(b"x")
        one.flush()
        for file, at in ((one, 0), (f, (os.fstat(f.fileno()).st_size - HOLE) // 2)):
            os.fsync(file.fileno())
            end = time.monotonic() + (TIMEOUT_S if file is f else 1)
            while in_memory(file.fileno(), at):  # a process that has ended may take a moment to let go of it
                if time.monotonic() > end:
                    assert file is one, "the image stays in memory"
                    return False
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


class Init:
    """One tandem-init and its descriptors; the namespace ends with it."""

    def __init__(self):
        self.ctl, ctl = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.chan, chan = socket.socketpair()
        self.log, log = os.pipe()
        for s in (self.ctl, self.chan):
            s.settimeout(2 * TIMEOUT_S)
        os.set_blocking(self.log, False)
        # Above what tandem-init wants, so that none is overwritten before it is in its place.
        high = [os.dup2(fd, 40 + i, inheritable=False) for i, fd in enumerate((ctl.fileno(), chan.fileno(), log))]

        def place():
            os.dup2(os.open("/dev/null", os.O_RDWR), 0)
            for fd, to in ((log_high, 1), (log_high, 2), (high[0], 3), (high[1], 4), (log_high, 5)):
                os.dup2(fd, to)

        log_high = high[2]
        # The build stays to be found, also when it lies in /tmp. The first child of process 1 has to be 2.
        code = "mount --bind %s /mnt; mount -t tmpfs t /tmp; mount -t tmpfs t /dev/shm; " \
            "exec unshare -fp --kill-child --mount-proc /mnt/tandem-init" % BUILD
        self.proc = subprocess.Popen(["/usr/bin/unshare", "-min", "/bin/sh", "-c", code], preexec_fn=place, pass_fds=(3, 4, 5),
                                     env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        for fd in high:
            os.close(fd)
        for end in (ctl, chan):
            end.close()
        os.close(log)

    def output(self):
        try:
            return os.read(self.log, 1 << 16).decode(errors="replace")
        except BlockingIOError:
            return ""

    def ask(self, text):
        """One line to the program, one line back."""
        self.chan.sendall(text.encode() + b"\n")
        return self.line()

    def line(self):
        got = b""
        while not got.endswith(b"\n"):
            part = self.chan.recv(1)
            if not part:
                raise EOFError(got.decode() + self.output())
            got += part
        return got.decode().strip()

    def close(self):
        self.ctl.close()
        self.chan.close()
        self.proc.wait(TIMEOUT_S)
        os.close(self.log)
