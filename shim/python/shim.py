# SPDX-License-Identifier: Apache-2.0
"""The Python runtime of a sandbox: imports the handler, then answers events on an inherited socket.

The frames are described in src/wire/frame.h. Two things rule this file:

* Start-up. Every module that is imported here is paid for by each cold start, so what only errors or
  logs need is imported when they happen, and JSON goes through the C half of the json module alone
  (json itself pulls in re). Start it as

	python3 -S -X utf8 -c 'import sys; sys.path.insert(0, "/var/runtime/python"); import shim; shim.main()'

  so that its byte code comes from __pycache__ and the host's .pth files are not run; as a plain script
  it works too, some milliseconds slower.
* The cost of an event. serve() takes one poll, one recv and one send for each, and the context object decodes
  what most handlers never ask for when it is asked for.

With TANDEM_SEATS in the environment several events run at once, each in a thread (seats.py); else nothing of that is
loaded, and an event costs no branch more.

serve() blocks in poll between events and holds nothing from the last one: that is where a process
image may be taken.
"""
import _socket
import os
import sys
import time
from _struct import Struct
from select import POLLIN as _POLLIN, poll as _poll

HEADER = 16
FRAME_MAX = 65536
HELLO, EVENT, DATA, END, ERROR, CREDIT, PING, SNAPSHOT, RESTORED, LOG = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
FLAG_END = 1
PAYLOAD_MAX = 6291556
TEXT_MAX = 16384  # an error message beyond it is cut, so that the whole error fits into one frame

_header = Struct("<BBHIII")
_event_head = Struct("<BBHIIIQ")  # header, deadline
_u16_at = Struct("<H").unpack_from
_now = time.time
_environ = os.environ

_request_id = ""  # of the event that runs, for the log lines


def event_now():
	"""Request id of the event that asks; seats.py puts its own in place of this."""
	return _request_id


# JSON: what json.JSONEncoder.encode and JSONDecoder.decode do, without building an encoder for each call.

_markers = {}


def _default(obj):
	decimal = sys.modules.get("decimal")
	if decimal is not None and isinstance(obj, decimal.Decimal):
		return int(obj) if obj == obj.to_integral_value() else float(obj)
	raise TypeError(f"Object of type {type(obj).__name__} is not JSON serializable")


def make_json(markers):
	try:
		import _json

		class Options:
			strict = True
			object_hook = object_pairs_hook = array_hook = None
			parse_float = float
			parse_int = int
			parse_constant = {"-Infinity": float("-inf"), "Infinity": float("inf"), "NaN": float("nan")}.__getitem__

		scan = _json.make_scanner(Options)
		plain, ascii_ = (
			_json.make_encoder(markers, _default, quote, None, ": ", ", ", False, False, True)
			for quote in (_json.encode_basestring, _json.encode_basestring_ascii)
		)
		if scan('{"a": [1]}', 0) == ({"a": [1]}, 10) and "".join(plain({"a": [1]}, 0)) == '{"a": [1]}':
			return scan, plain, ascii_
	except (ImportError, AttributeError, TypeError, ValueError, SystemError):
		pass
	import json  # a Python whose C half looks otherwise

	return json.JSONDecoder().scan_once, *(
		lambda obj, _, e=json.JSONEncoder(ensure_ascii=a, default=_default): (e.encode(obj),) for a in (False, True)
	)


_scan, _encode, _encode_ascii = make_json(_markers)
_join = "".join


def json_loads(raw):
	text = str(raw, "utf-8").strip(" \t\r\n")
	if not text:
		return {}
	try:
		value, end = _scan(text, 0)
		if end == len(text):
			return value
	except (StopIteration, SystemError):  # SystemError: the C half looks for json.decoder to name an error
		pass
	import json

	return json.loads(text)  # says what is wrong


def json_dumps(value):
	"""UTF-8 bytes; raises TypeError, ValueError or RecursionError for what JSON cannot hold."""
	try:
		return _join(_encode(value, 0)).encode()
	except UnicodeEncodeError:  # a lone surrogate has no UTF-8, but it has an escape
		return _join(_encode_ascii(value, 0)).encode()
	except BaseException:
		_markers.clear()
		raise


# What the handler gets beside the event.


class CognitoIdentity:
	__slots__ = ("cognito_identity_id", "cognito_identity_pool_id")

	def __init__(self, given):
		self.cognito_identity_id = given.get("cognitoIdentityId")
		self.cognito_identity_pool_id = given.get("cognitoIdentityPoolId")


class Client:
	__slots__ = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")

	def __init__(self, given):
		for name in self.__slots__:
			setattr(self, name, given.get(name))


class ClientContext:
	__slots__ = ("custom", "env", "client")

	def __init__(self, given):
		self.custom = given.get("custom")
		self.env = given.get("env")
		client = given.get("client")
		self.client = None if client is None else Client(client)


class LambdaContext:
	"""invoked_function_arn, client_context and identity are decoded when first asked for, by __getattr__."""

	__slots__ = ("aws_request_id", "_epoch_deadline_time_in_ms", "_strings", "__dict__")
	tenant_id = None

	def __getattr__(self, name):
		if name not in ("invoked_function_arn", "client_context", "identity"):
			raise AttributeError(f"'LambdaContext' object has no attribute '{name}'")
		arn, client, identity = self._strings
		self.invoked_function_arn = arn.decode()
		client = json_loads(client) if client else None
		self.client_context = ClientContext(client) if isinstance(client, dict) else None
		identity = json_loads(identity) if identity else None
		self.identity = CognitoIdentity(identity if isinstance(identity, dict) else {})
		return self.__dict__[name]

	def get_remaining_time_in_millis(self):
		return max(self._epoch_deadline_time_in_ms - int(_now() * 1000), 0)

	def log(self, msg):
		sys.stdout.write(str(msg))

	def __repr__(self):
		names = ("aws_request_id", "log_group_name", "log_stream_name", "function_name", "memory_limit_in_mb")
		names += ("function_version", "invoked_function_arn", "client_context", "identity", "tenant_id")
		return "LambdaContext([" + ",".join(f"{n}={getattr(self, n)}" for n in names) + "])"


def _fill_context_class():
	get = _environ.get
	LambdaContext.function_name = get("AWS_LAMBDA_FUNCTION_NAME", "")
	LambdaContext.function_version = get("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
	LambdaContext.memory_limit_in_mb = get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
	LambdaContext.log_group_name = get("AWS_LAMBDA_LOG_GROUP_NAME", "")
	LambdaContext.log_stream_name = get("AWS_LAMBDA_LOG_STREAM_NAME", "")


# Errors, in Lambda's shapes.


class Fault(Exception):
	"""What the runtime itself has to say, with Lambda's name for it."""

	def __init__(self, kind, text, trace=()):
		super().__init__(text)
		self.kind = kind
		self.trace = list(trace)


def _stack_of(tb):
	import traceback

	frames = traceback.extract_tb(tb)
	first = 0
	while first < len(frames) and frames[first].filename.startswith((__file__, "<frozen importlib")):
		first += 1
	return traceback.format_list(frames[first:])


def error_object(exc, request_id):
	if isinstance(exc, Fault):
		kind, trace = exc.kind, exc.trace
	else:
		kind, trace = type(exc).__name__, _stack_of(exc.__traceback__)
	try:
		text = str(exc)
	except Exception as e:  # a __str__ of the user's
		text = f"<no text: {type(e).__name__}>"
	return {"errorMessage": text, "errorType": kind, "requestId": request_id, "stackTrace": trace}


def log_error(error):
	lines = [f"[ERROR] {error['errorType']}" + (f": {error['errorMessage']}" if error["errorMessage"] else "")]
	lines.append("Traceback (most recent call last):")
	for entry in error["stackTrace"]:
		lines += entry.splitlines()
	try:
		sys.stdout.write("\n".join(lines) + "\n")
	except Exception:
		pass  # stdout is the user's, who may have closed it: the answer still goes out


def error_bytes(error):
	body = json_dumps(error)
	if len(body) > FRAME_MAX:
		error = dict(error, errorMessage=error["errorMessage"][:TEXT_MAX], stackTrace=error["stackTrace"][-10:])
		body = _join(_encode_ascii(error, 0)).encode()
	if len(body) > FRAME_MAX:
		error = dict(error, errorMessage=error["errorMessage"][:4096], stackTrace=[])
		body = _join(_encode_ascii(error, 0)).encode()
	return body


# Logging: the root handler that Lambda installs, put in when (and only if) somebody imports logging.


def set_up_logging(logging):
	class LambdaLoggerHandler(logging.Handler):
		def emit(self, record):
			try:
				line = self.format(record)
				sys.stdout.write(line if line.endswith("\n") else line + "\n")  # a traceback ends without one
			except Exception:
				self.handleError(record)

	class LambdaLoggerFilter(logging.Filter):
		def filter(self, record):
			record.aws_request_id = event_now()
			return True

	logging.Formatter.converter = time.gmtime
	handler = LambdaLoggerHandler()
	line = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n"
	handler.setFormatter(logging.Formatter(line, "%Y-%m-%dT%H:%M:%S"))
	handler.addFilter(LambdaLoggerFilter())
	logging.getLogger().addHandler(handler)
	level = _environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper()
	if level in ("DEBUG", "INFO", "ERROR", "CRITICAL"):
		logging.getLogger().setLevel(level)


class LoggingHook:
	"""First in sys.meta_path until logging is imported."""

	@classmethod
	def find_spec(cls, name, path=None, target=None):
		if name != "logging":
			return None
		sys.meta_path.remove(cls)
		for finder in sys.meta_path:
			spec = finder.find_spec(name, path, target)
			if spec is not None:
				break
		else:
			return None
		run = spec.loader.exec_module

		def exec_module(module):
			run(module)
			set_up_logging(module)

		spec.loader.exec_module = exec_module
		return spec


# Start: the interpreter as a handler expects it, then the handler.


def _set_up_site():
	"""What -S left out and functions need: the system's packages, exit(), a sitecustomize of the user's own."""
	import builtins

	def leave(code=None):
		raise SystemExit(code)

	builtins.exit = builtins.quit = leave
	version = "python%d.%d" % sys.version_info[:2]
	for folder in (f"{sys.prefix}/lib/{version}/site-packages", f"{sys.prefix}/lib/python3/dist-packages"):
		if not os.path.isdir(folder):
			continue
		sys.path.append(folder)
		for name in sorted(os.listdir(folder)):
			if not name.endswith(".pth"):
				continue
			with open(f"{folder}/{name}", encoding="utf-8", errors="replace") as f:
				lines = [line.strip() for line in f]
			extra = [os.path.join(folder, line) for line in lines if line and not line.startswith(("#", "import ", "import\t"))]
			sys.path += [p for p in extra if p not in sys.path and os.path.exists(p)]
	for folder in _environ.get("PYTHONPATH", "").split(":"):
		if folder and os.path.isfile(f"{folder}/sitecustomize.py"):
			try:
				import sitecustomize  # noqa: F401
			except Exception as e:
				sys.stderr.write(f"Error in sitecustomize: {type(e).__name__}: {e}\n")
			break


def set_up(task_root):
	own = os.path.dirname(os.path.abspath(__file__))
	sys.path[:] = [p for p in sys.path if p not in ("", own)]
	sys.meta_path.insert(0, LoggingHook)
	if sys.flags.no_site:
		_set_up_site()
	version = "python%d.%d" % sys.version_info[:2]
	layers = [p for p in (f"/opt/python/lib/{version}/site-packages", "/opt/python") if os.path.isdir(p)]
	sys.path[:0] = [task_root, *layers]
	sys.path.append(f"{own}/lib")
	sys.argv = ["/var/runtime/python/shim.py"]
	for stream in (sys.stdout, sys.stderr):
		if stream is not None:
			stream.reconfigure(line_buffering=True, errors="backslashreplace")
	if "logging" in sys.modules:
		set_up_logging(sys.modules["logging"])
		sys.meta_path.remove(LoggingHook)
	_fill_context_class()


def load_handler(name):
	module_name, dot, function = name.rpartition(".")
	if not dot:
		text = f"Bad handler '{name}': not enough values to unpack (expected 2, got 1)"
		raise Fault("Runtime.MalformedHandlerName", text)
	if module_name.split(".")[0] in sys.builtin_module_names:
		text = f"Cannot use built-in module {module_name} as a handler module"
		raise Fault("Runtime.BuiltInModuleConflict", text)
	dotted = module_name.replace("/", ".").strip(".")
	try:
		__import__(dotted)
		module = sys.modules[dotted]
	except (ImportError, ValueError, KeyError) as e:
		if not isinstance(e, ImportError) and dotted:
			raise
		raise Fault("Runtime.ImportModuleError", f"Unable to import module '{module_name}': {e}") from None
	except SyntaxError as e:
		trace = ['  File "%s" Line %s\n    %s' % (e.filename, e.lineno, e.text)]
		text = f"Syntax error in module '{module_name}': {e}"
		raise Fault("Runtime.UserCodeSyntaxError", text, trace) from None
	try:
		return getattr(module, function)
	except AttributeError:
		text = f"Handler '{function}' missing on module '{module_name}'"
		raise Fault("Runtime.HandlerNotFound", text) from None


def flush_logs():
	for stream in (sys.stdout, sys.stderr):
		try:
			stream.flush()
		except Exception:
			pass  # closed or replaced by the user, or the reader is gone: the answer matters more


# The socket.


def send_frame(sock, kind, flags, stream, body):
	sock.sendall(_header.pack(1, kind, flags, stream, len(body), 0) + body)


def send_long(sock, stream, body):
	view = memoryview(body)
	for at in range(0, len(body), FRAME_MAX):
		part = view[at : at + FRAME_MAX]
		flags = FLAG_END if at + FRAME_MAX >= len(body) else 0
		sock.sendall(_header.pack(1, DATA, flags, stream, len(part), 0) + bytes(part))


def send_error(sock, stream, exc, request_id):
	error = error_object(exc, request_id)
	log_error(error)
	flush_logs()
	send_frame(sock, ERROR, FLAG_END, stream, error_bytes(error))


def send_too_large(sock, stream):
	text = f"Response payload size exceeded maximum allowed payload size ({PAYLOAD_MAX} bytes)."
	sys.stdout.write(f"[ERROR] Function.ResponseSizeTooLarge: {text}\n")
	flush_logs()
	error = {"errorMessage": text, "errorType": "Function.ResponseSizeTooLarge"}
	send_frame(sock, ERROR, FLAG_END, stream, json_dumps(error))


def make_invoke(sock, handler):
	"""The path of one whole event: everything it touches is a local of this function."""
	global _request_id
	send = sock.send
	pack = _header.pack
	new = LambdaContext.__new__
	dumps = json_dumps
	flush_out, flush_err = sys.stdout.flush, sys.stderr.flush
	out, err = sys.stdout, sys.stderr
	environb = os.environb
	trace_now = environb.get(b"_X_AMZN_TRACE_ID", b"")

	def invoke(stream, deadline_ms, request_id, arn, trace, client, identity, payload):
		global _request_id
		nonlocal trace_now
		_request_id = request_id
		if trace != trace_now:
			trace_now = trace
			if trace:
				environb[b"_X_AMZN_TRACE_ID"] = bytes(trace)
			else:
				environb.pop(b"_X_AMZN_TRACE_ID", None)
		context = new(LambdaContext)
		context.aws_request_id = request_id
		context._epoch_deadline_time_in_ms = deadline_ms
		context._strings = (arn, client, identity)
		try:
			try:
				event = json_loads(payload)
			except ValueError as e:
				raise Fault("Runtime.UnmarshalError", f"Unable to unmarshal input: {e}") from None
			result = handler(event, context)
			try:
				body = dumps(result)
			except Exception as e:
				raise Fault("Runtime.MarshalError", f"Unable to marshal response: {e}") from None
		except Exception as e:
			send_error(sock, stream, e, request_id)
			return
		if sys.stdout is out and sys.stderr is err:
			try:
				flush_out()
				flush_err()
			except Exception:
				flush_logs()
		else:
			flush_logs()
		size = len(body)
		if size <= FRAME_MAX:
			frame = pack(1, DATA, FLAG_END, stream, size, 0) + body
			sent = send(frame)
			if sent != size + HEADER:
				sock.sendall(memoryview(frame)[sent:])
		elif size <= PAYLOAD_MAX:
			send_long(sock, stream, body)
		else:
			send_too_large(sock, stream)

	return invoke


def parse_event(buf, end):
	"""Of an EVENT frame in buf[0:end]: request id, arn, trace, client, identity, offset of the payload."""
	size = _u16_at
	at = HEADER + 10
	a = at + size(buf, at - 2)[0] + 2
	b = a + size(buf, a - 2)[0] + 2
	c = b + size(buf, b - 2)[0] + 2
	d = c + size(buf, c - 2)[0] + 2
	payload = d + size(buf, d - 2)[0]
	if payload > end:
		raise ValueError("EVENT frame ends inside a string")
	return buf[at : a - 2].decode(), buf[a : b - 2], buf[b : c - 2], buf[c : d - 2], buf[d:payload], payload


def serve(sock, handler, seats=None):
	"""Until the other side closes. Taking what was read out of the buffer is the only state between frames."""
	invoke = seats.start(handler) if seats else make_invoke(sock, handler)
	recv_into = sock.recv_into
	unpack = _event_head.unpack_from
	arrived = _poll()
	arrived.register(sock.fileno(), _POLLIN)
	arrived = arrived.poll
	buf = bytearray(2 * (FRAME_MAX + HEADER))
	view = memoryview(buf)
	have = 0
	waiting = None  # an event whose payload is still arriving: [stream, deadline, strings, payload]
	request_id = ""
	while True:
		if have == 0:
			arrived()  # one that sleeps in recv is also woken when the other side takes our last answer
			have = recv_into(buf)
			if have == 0:
				return
		_, kind, flags, stream, length, _, deadline_ms = unpack(buf)
		end = HEADER + length
		while have < HEADER or have < end:
			got = recv_into(view[have:])
			if got == 0:
				return
			have += got
			_, kind, flags, stream, length, _, deadline_ms = unpack(buf)
			end = HEADER + length
		if length > FRAME_MAX or buf[0] != 1:
			raise ValueError("frame of an unknown version or length")
		if kind == EVENT:
			request_id, arn, trace, client, identity, at = parse_event(buf, end)
			if flags & FLAG_END:
				invoke(stream, deadline_ms, request_id, arn, trace, client, identity, view[at:end])
			else:
				waiting = [stream, deadline_ms, request_id, arn, trace, client, identity, bytearray(view[at:end])]
		elif kind == DATA and waiting is not None and waiting[0] == stream:
			waiting[-1] += view[HEADER:end]
			if flags & FLAG_END:
				event, waiting = waiting, None
				invoke(*event)
				event = None
		elif kind == PING and seats:
			seats.ping(stream)
		elif kind == PING:
			send_frame(sock, PING, flags, stream, request_id.encode())  # whose answer was the last one
		elif kind == SNAPSHOT or kind == RESTORED:
			around_snapshot(sock, kind, stream, view[HEADER:end])
			seats = make_seats(sock)
			if seats:
				invoke = seats.start(handler)
		if have > end:
			buf[: have - end] = buf[end:have]
		have -= end


def load_part(name):
	"""A file beside this one, which few processes need."""
	part = sys.modules.get(f"tandem_{name}")
	if part is None:
		import importlib.util as util

		path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.py")
		spec = util.spec_from_file_location(f"tandem_{name}", path)
		part = sys.modules[f"tandem_{name}"] = util.module_from_spec(spec)
		spec.loader.exec_module(part)
	return part


def make_seats(sock):
	"""None where one event runs at a time."""
	n = int(_environ.pop("TANDEM_SEATS", "1"))
	return load_part("seats").Seats(sys.modules[__name__], sock, n) if n > 1 else None


def around_snapshot(sock, kind, stream, body):
	"""SNAPSHOT comes before the image is taken, RESTORED first of all in each instance made from it."""
	try:
		snapshot = load_part("snapshot")
		if kind == SNAPSHOT:
			snapshot.before(sys.modules[__name__])
		else:
			snapshot.after(body)
			_fill_context_class()
	except Exception as e:
		send_error(sock, 0, e, "")
		os._exit(1)
	flush_logs()
	send_frame(sock, kind, FLAG_END, stream, b"")


def main():
	fd = int(_environ.pop("TANDEM_FD", "4"))
	_environ.pop("TANDEM_IMAGE", None)  # SNAPSHOT says it again, early enough for all that is done here
	sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
	sock.setblocking(True)
	os.set_inheritable(fd, False)
	task_root = _environ.get("LAMBDA_TASK_ROOT", "/var/task")
	try:
		set_up(task_root)
		seats = make_seats(sock)
		handler = load_handler(_environ.get("_HANDLER", ""))
	except Exception as e:
		send_error(sock, 0, e, "")
		os._exit(1)
	flush_logs()
	import gc

	gc.freeze()  # what the import made stays: later collections need not walk it
	version = "python%d.%d.%d" % sys.version_info[:3]
	send_frame(sock, HELLO, FLAG_END, 0, json_dumps({"runtime": version, "pid": os.getpid()}))
	serve(sock, handler, seats)


if __name__ == "__main__":
	main()
