# SPDX-License-Identifier: Apache-2.0
"""What the shim tests share: the daemon's half of the frames (src/wire/frame.h), spoken to a shim without a sandbox."""
import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import unittest

HEADER = struct.Struct("<BBHIII")
HELLO, EVENT, DATA, END, ERROR, CREDIT, PING, SNAPSHOT, RESTORED, LOG = range(1, 11)
FRAME_MAX = 65536
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ARN = "arn:aws:lambda:us-east-1:000000000000:function:hello"


def string(text):
	raw = text.encode()
	return struct.pack("<H", len(raw)) + raw


def frame(kind, flags, stream, body):
	return HEADER.pack(1, kind, flags, stream, len(body), 0) + body


class Shim:
	"""One running shim on a socket pair; files: {name: text} of /var/task."""

	def __init__(self, argv, files, handler="app.handler", env=None):
		self.root = tempfile.mkdtemp(prefix="tandem-shim-")
		for name, text in files.items():
			path = os.path.join(self.root, name)
			os.makedirs(os.path.dirname(path), exist_ok=True)
			with open(path, "w", encoding="utf-8") as f:
				f.write(text)
		self.sock, theirs = socket.socketpair()
		self.sock.settimeout(20)
		self.log = tempfile.TemporaryFile()
		full = {"PATH": "/usr/bin:/bin", "LANG": "en_US.UTF-8", "TZ": ":UTC", "TANDEM_FD": str(theirs.fileno())}
		full.update(LAMBDA_TASK_ROOT=self.root, _HANDLER=handler, AWS_LAMBDA_FUNCTION_NAME="hello")
		full.update(AWS_LAMBDA_FUNCTION_VERSION="$LATEST", AWS_LAMBDA_FUNCTION_MEMORY_SIZE="256")
		full.update(AWS_LAMBDA_LOG_GROUP_NAME="/aws/lambda/hello", AWS_LAMBDA_LOG_STREAM_NAME="2025/01/01/[$LATEST]abc")
		full.update({k: v.replace("{root}", self.root) for k, v in (env or {}).items()})
		streams = dict(stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
		self.process = subprocess.Popen(argv, pass_fds=[theirs.fileno()], env=full, cwd=self.root, **streams)
		theirs.close()
		self.stream = 0

	def read(self, n):
		got = b""
		while len(got) < n:
			part = self.sock.recv(n - len(got))
			if not part:
				raise EOFError
			got += part
		return got

	def frame(self):
		"""(type, flags, stream, body)"""
		version, kind, flags, stream, length, zero = HEADER.unpack(self.read(16))
		assert (version, zero) == (1, 0) and length <= FRAME_MAX
		return kind, flags, stream, self.read(length)

	def hello(self):
		kind, flags, stream, body = self.frame()
		assert (kind, stream) == (HELLO, 0), (kind, body)
		return json.loads(body)

	def init_error(self):
		kind, flags, stream, body = self.frame()
		assert (kind, stream, flags) == (ERROR, 0, 1), (kind, body)
		return json.loads(body)

	def event_frames(self, payload, request_id="req-1", arn=ARN, trace="", client="", identity="", timeout_ms=3000):
		self.stream += 1
		head = struct.pack("<Q", int(time.time() * 1000) + timeout_ms)
		head += b"".join(string(s) for s in (request_id, arn, trace, client, identity))
		room = FRAME_MAX - len(head)
		out = frame(EVENT, int(len(payload) <= room), self.stream, head + payload[:room])
		for at in range(room, len(payload), FRAME_MAX):
			out += frame(DATA, int(at + FRAME_MAX >= len(payload)), self.stream, payload[at : at + FRAME_MAX])
		return out

	def answer(self):
		"""(frame type, whole body)"""
		body = b""
		while True:
			kind, flags, stream, part = self.frame()
			assert stream == self.stream, (stream, self.stream)
			body += part
			if flags & 1:
				return kind, body

	def call(self, event, **more):
		self.sock.sendall(self.event_frames(json.dumps(event).encode(), **more))
		return self.answer()

	def ok(self, event=None, **more):
		kind, body = self.call(event, **more)
		assert kind == DATA, body
		return json.loads(body)

	def error(self, event=None, **more):
		kind, body = self.call(event, **more)
		assert kind == ERROR, body
		return json.loads(body)

	def begin(self, event, **more):
		"""Its stream; the answer is waited for with several()."""
		self.sock.sendall(self.event_frames(json.dumps(event).encode(), **more))
		return self.stream

	def several(self, n):
		"""Until so many have answered: {stream: (frame type, whole body, what it printed)}, in the order of their ends."""
		bodies, logs, done = {}, {}, {}
		while len(done) < n:
			kind, flags, stream, part = self.frame()
			into = logs if kind == LOG else bodies
			into[stream] = into.get(stream, b"") + part
			if flags & 1:
				assert stream not in done
				done[stream] = kind, bodies[stream], logs.get(stream, b"").decode()
		return done

	def text(self):
		"""What it has printed so far."""
		self.log.seek(0)
		return self.log.read().decode()

	def wait(self):
		return self.process.wait(20)

	def close(self):
		self.sock.close()
		code = self.process.wait(20)
		self.log.close()
		shutil.rmtree(self.root)
		return code


class ShimCase(unittest.TestCase):
	argv = []

	def start(self, source=None, name="app.py", **more):
		files = dict(more.pop("files", {}))
		if source is not None:
			files[name] = source
		shim = Shim(self.argv, files, **more)
		self.addCleanup(self.stop, shim)
		return shim

	def stop(self, shim):
		if shim.sock.fileno() >= 0:
			shim.process.kill()
			shim.close()

	def run_one(self, source, event=None, **more):
		shim = self.start(source, **more)
		shim.hello()
		return shim.ok(event)
