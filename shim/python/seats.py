# SPDX-License-Identifier: Apache-2.0
"""Several events at once in one Python process: a thread for each, made when so many were first open. Loaded only in the
container lane.

The threads share one interpreter and take turns at it: a handler that waits lets the others run, one that computes slows
them down. What is an event's own is kept by thread: its context, its request id in log lines, and what it prints, which
goes out as whole lines of that event. _X_AMZN_TRACE_ID belongs to the process and is not set. Handlers do not run in the
main thread, where alone Python allows signal.signal().
"""
import _thread
import os
import sys
from _queue import SimpleQueue

here = _thread._local()  # of a thread with an event: stream, request_id, printed


class Output:
	"""In place of sys.stdout or sys.stderr."""

	def __init__(self, under, send):
		self.under = under
		self.send = send  # (stream, bytes)

	def write(self, text):
		if not getattr(here, "stream", 0):
			return self.under.write(text)
		whole = here.printed.get(self, "") + text
		end = whole.rfind("\n") + 1
		here.printed[self] = whole[end:]
		if end:
			self.send(here.stream, whole[:end].encode("utf-8", "backslashreplace"))
		return len(text)

	def writelines(self, lines):
		for line in lines:
			self.write(line)

	def flush(self):
		rest = here.printed.pop(self, "") if getattr(here, "stream", 0) else ""
		if rest:
			self.send(here.stream, rest.encode("utf-8", "backslashreplace"))
		self.under.flush()

	def __getattr__(self, name):
		return getattr(self.under, name)


class Socket:
	"""What an event writes goes out whole: frames of several may follow each other, but not run into each other."""

	def __init__(self, sock):
		self.sock = sock
		self.lock = _thread.allocate_lock()

	def sendall(self, data):
		with self.lock:
			self.sock.sendall(data)

	def send(self, data):
		self.sendall(data)
		return len(data)


class Seats:
	def __init__(self, shim, sock, n):
		self.shim = shim
		self.sock = Socket(sock)
		self.n = n
		self.todo = SimpleQueue()
		self.lock = _thread.allocate_lock()  # of all below
		self.threads = 0
		self.free = 0  # threads without an event; below 0: events without a thread, which one takes as soon as it is free
		self.open = 0
		self.answered = []  # the last events: "stream id"
		self.pinged = None
		shim.event_now = lambda: getattr(here, "request_id", "")
		_, shim._encode, shim._encode_ascii = shim.make_json(None)  # what it marks objects with is not to be shared
		sys.stdout, sys.stderr = (s and Output(s, self.log) for s in (sys.stdout, sys.stderr))

	def log(self, stream, text):
		for at in range(0, len(text), self.shim.FRAME_MAX):
			self.shim.send_frame(self.sock, self.shim.LOG, 0, stream, text[at : at + self.shim.FRAME_MAX])

	def start(self, handler):
		self.handler = handler
		return self.invoke

	def invoke(self, stream, deadline_ms, request_id, arn, trace, client, identity, payload):
		with self.lock:
			self.open += 1
			grow = self.free <= 0 and self.threads < self.n
			self.threads += grow
			self.free += grow - 1
		self.todo.put((stream, deadline_ms, request_id, arn, b"", client, identity, bytes(payload)))
		if grow:
			_thread.start_new_thread(self.serve, ())

	def serve(self):
		try:
			invoke = self.shim.make_invoke(self.sock, self.handler)
			while True:
				event = self.todo.get()
				here.stream, here.request_id, here.printed = event[0], event[2], {}
				invoke(*event)
				here.stream, here.request_id = 0, ""
				self.over(event)
				event = None
		except SystemExit as e:  # in a thread it would end that alone
			if not isinstance(e.code, (int, type(None))):
				sys.stderr.write(f"{e.code}\n")
			code = e.code if isinstance(e.code, int) else int(e.code is not None)
		except BaseException:
			sys.excepthook(*sys.exc_info())
			code = 1
		self.shim.flush_logs()
		os._exit(code & 255)

	def over(self, event):
		with self.lock:
			self.open -= 1
			self.free += 1
			self.answered = [*self.answered, f"{event[0]} {event[2]}"][-self.n :]
			self.pong()

	def ping(self, stream):
		with self.lock:
			self.pinged = stream
			self.pong()

	def pong(self):
		"""A new daemon asked: nothing is under way, and this is whose answers were the last."""
		if self.pinged is not None and not self.open:
			self.shim.send_frame(self.sock, self.shim.PING, self.shim.FLAG_END, self.pinged, "\n".join(self.answered).encode())
			self.pinged = None
