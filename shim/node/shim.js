// SPDX-License-Identifier: Apache-2.0
'use strict';
/*
 * The Node runtime of a sandbox: loads the handler, then answers events on an inherited socket.
 *
 * The frames are described in src/wire/frame.h. The socket is read by the event loop, so that handlers may wait
 * for what they like; the answer is written straight to the descriptor, because a stream's write costs more than
 * most handlers. While an event runs the socket does not keep the loop alive: an empty loop (beforeExit) is what
 * a handler with a callback is answered at, and how a promise that nobody will settle is noticed.
 *
 * With TANDEM_SEATS in the environment several events are under way at once, and handlers take turns where they wait. What
 * one prints through console is known by its asynchronous context. Because others may come at any time the loop is never
 * empty: a callback is answered at once, and a promise that nobody settles waits for its time-out. _X_AMZN_TRACE_ID belongs
 * to the process and is not set. A handler that streams gets one event at a time also then.
 *
 * Between events nothing of the last one is held: that is where a process image may be taken.
 */
const fs = require('fs');
const net = require('net');
const path = require('path');
const { format, inspect, types } = require('util');

const HEADER = 16, FRAME_MAX = 65536, PAYLOAD_MAX = 6291556;
const HELLO = 1, EVENT = 2, DATA = 3, ERROR = 5, PING = 7, SNAPSHOT = 8, RESTORED = 9, LOG = 10;
const FLAG_END = 1, FLAG_LAST = 2, FLAG_STREAM = 4;

const env = process.env;
if (env.SSL_CERT_DIR) env.NODE_EXTRA_CA_CERTS ??= '/etc/ssl/certs/tandem.pem'; // for Nodes that the function starts: src/instance/env.c
const fd = Number(env.TANDEM_FD || 4);
delete env.TANDEM_FD;

let sock = null;
let snapshot = null; // where an image of this process will be made
const open = new Set(); // the events that run
let several = null; // where there may be several: { seats, of: AsyncLocalStorage of events, answered: the last "stream id" }
let alone = FLAG_END; // flags of HELLO and its like
let pinged = null; // stream of a PING that waits for its end
let requestId; // of the current or last event; "undefined" in log lines before the first, as on Lambda
let traceId = env._X_AMZN_TRACE_ID || '';

// Writing, synchronously. The other side reads; a full pipe or socket is waited for.

const nap = new Int32Array(new SharedArrayBuffer(4));

function writeAll(to, data, at, end)
{
	while (at < end) {
		try {
			at += fs.writeSync(to, data, at, end - at);
		} catch (e) {
			if (e.code !== 'EAGAIN')
				throw e;
			Atomics.wait(nap, 0, 0, 1);
		}
	}
}

const out = Buffer.allocUnsafeSlow(HEADER + FRAME_MAX);
out.fill(0, 0, HEADER);
out[0] = 1;

function putHeader(b, type, flags, stream, length)
{
	b[1] = type;
	b.writeUInt16LE(flags, 2);
	b.writeUInt32LE(stream, 4);
	b.writeUInt32LE(length, 8);
}

function sendSmall(type, stream, text, flags = FLAG_END)
{
	const length = out.write(text, HEADER, FRAME_MAX, 'utf8');

	putHeader(out, type, flags, stream, length);
	writeAll(fd, out, 0, HEADER + length);
}

function sendAnswer(stream, text)
{
	if (text.length <= FRAME_MAX / 3)
		return sendSmall(DATA, stream, text);
	const body = Buffer.from(text);
	if (body.length > PAYLOAD_MAX)
		return sendTooLarge(stream);
	for (let at = 0; at < body.length; at += FRAME_MAX) {
		const part = body.subarray(at, at + FRAME_MAX);

		putHeader(out, DATA, at + FRAME_MAX >= body.length ? FLAG_END : 0, stream, part.length);
		part.copy(out, HEADER);
		writeAll(fd, out, 0, HEADER + part.length);
	}
}

function sendTooLarge(stream)
{
	const text = `Response payload size exceeded maximum allowed payload size (${PAYLOAD_MAX} bytes).`;

	logLine('ERROR', text);
	sendSmall(ERROR, stream, JSON.stringify({ errorMessage: text, errorType: 'Function.ResponseSizeTooLarge' }));
}

function sendError(stream, error, flags)
{
	let o = errorObject(error);
	let text = JSON.stringify(o);

	for (let keep = 16384; text.length > FRAME_MAX / 3; keep >>= 1) { // must fit into one frame
		const trace = keep < 16384 ? [] : o.trace.slice(0, 12);

		o = { errorType: o.errorType.slice(0, 256), errorMessage: o.errorMessage.slice(0, keep), trace };
		text = JSON.stringify(o);
	}
	sendSmall(ERROR, stream, text, flags);
}

// Log lines as Lambda writes them.

function writeLog(line)
{
	const data = Buffer.from(line);

	try {
		writeAll(1, data, 0, data.length);
	} catch {
		// The reader is gone: the answer matters more.
	}
}

function logLine(level, text)
{
	const event = several && several.of.getStore();
	const line = `${new Date().toISOString()}\t${event ? event.id : requestId}\t${level}\t${text}\n`;

	if (!event || !open.has(event))
		return writeLog(line);
	const data = Buffer.from(line);
	for (let at = 0; at < data.length; at += FRAME_MAX) {
		const part = data.subarray(at, at + FRAME_MAX);

		putHeader(out, LOG, 0, event.stream, part.length);
		part.copy(out, HEADER);
		writeAll(fd, out, 0, HEADER + part.length);
	}
}

function patchConsole()
{
	const levels = { log: 'INFO', debug: 'DEBUG', info: 'INFO', warn: 'WARN', error: 'ERROR', fatal: 'FATAL' };

	for (const [name, level] of Object.entries(levels)) {
		console[name] = (...args) => {
			const plain = args.length === 1 && typeof args[0] === 'string';

			logLine(level, plain ? args[0] : format(...args));
		};
	}
	console.trace = (...args) => {
		const e = new Error(format(...args));

		e.name = 'Trace';
		Error.captureStackTrace(e, console.trace);
		logLine('TRACE', e.stack);
	};
}

// Errors, in Lambda's shapes.

class RuntimeError extends Error {
	constructor(kind, text)
	{
		super(text);
		this.name = `Runtime.${kind}`;
		Error.captureStackTrace(this, RuntimeError);
	}
}

function isError(e)
{
	return types.isNativeError(e) || (e && typeof e === 'object' && e.name && e.message !== undefined && e.stack);
}

function textOf(e)
{
	return e === null || e === undefined ? String(e) : String(e.toString());
}

function errorObject(e)
{
	try {
		if (isError(e))
			return { errorType: String(e.name), errorMessage: String(e.message), trace: String(e.stack || '').split('\n') };
		return { errorType: typeof e, errorMessage: textOf(e), trace: [] };
	} catch {
		const errorMessage = 'callback called with Error argument, but there was a problem while retrieving ' +
			'one or more of its message, name, and stack';

		return { errorType: 'handled', errorMessage, trace: [] };
	}
}

function logError(title, e)
{
	let text;

	try {
		if (isError(e)) {
			const { name, message, stack, ...more } = e;

			const lines = String(e.stack).split('\n');

			text = JSON.stringify({ errorType: e.name, errorMessage: e.message, ...more, stack: lines });
		} else {
			text = JSON.stringify(errorObject(e));
		}
	} catch {
		text = JSON.stringify(errorObject(e)); // a property of the user's that JSON cannot hold
	}
	logLine('ERROR', `${title} \t${text}`);
}

/* An error outside of the handler's own course ends the process, after it was told. */
function die(title, error, code)
{
	try {
		logError(title, error);
		if (sock === null)
			sendError(0, error);
		else if (open.size && !several) // else each hears of the exit
			sendError([...open][0].stream, error, FLAG_END | FLAG_LAST);
	} finally {
		process.exit(code);
	}
}

process.on('uncaughtException', (e) => die('Uncaught Exception', e, 129));
process.on('unhandledRejection', (reason) => {
	let text;

	try {
		text = textOf(reason);
	} catch {
		text = inspect(reason);
	}
	const e = new RuntimeError('UnhandledPromiseRejection', text);
	e.reason = isError(reason) ? errorObject(reason) : reason;
	die('Unhandled Promise Rejection', e, 128);
});

// The handler.

function splitHandler(full)
{
	if (full.includes('..')) {
		throw new RuntimeError('MalformedHandlerName', `'${full}' is not a valid handler name. ` +
			'Use absolute paths when specifying root directories in handler names.');
	}
	const base = path.basename(full);
	const m = /^([^.]*)\.(.+)$/.exec(base);
	if (!m)
		throw new RuntimeError('MalformedHandlerName', 'Bad handler');
	return { folder: full.slice(0, full.length - base.length), module: m[1], names: m[2].split('.') };
}

/* What "type" the nearest package.json says. */
function isModuleFolder(folder)
{
	for (;;) {
		try {
			return JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8')).type === 'module';
		} catch (e) {
			if (e.code !== 'ENOENT' && e.code !== 'ENOTDIR')
				return false;
		}
		const up = path.dirname(folder);
		if (up === folder || path.basename(folder) === 'node_modules')
			return false;
		folder = up;
	}
}

function isFile(name)
{
	const s = fs.statSync(name, { throwIfNoEntry: false });

	return s !== undefined && s.isFile();
}

function importFile(name)
{
	return import(require('url').pathToFileURL(name).href);
}

function loadModule(root, folder, module)
{
	const stem = path.resolve(root, folder, module);

	if (isFile(stem))
		return require(stem);
	if (isFile(`${stem}.js`))
		return isModuleFolder(path.dirname(stem)) ? importFile(`${stem}.js`) : require(`${stem}.js`);
	if (isFile(`${stem}.mjs`))
		return importFile(`${stem}.mjs`);
	if (isFile(`${stem}.cjs`))
		return require(`${stem}.cjs`);
	const near = require.resolve(module, { paths: [path.resolve(root, folder), root] });
	const esm = near.endsWith('.mjs') || (near.endsWith('.js') && isModuleFolder(path.dirname(near)));
	return esm ? importFile(near) : require(near);
}

async function loadHandler(root, full)
{
	const { folder, module, names } = splitHandler(full);
	let found;

	try {
		found = loadModule(root, folder, module);
		if (types.isPromise(found)) // only import() gives one; waiting for nothing would cost a turn
			found = await found;
	} catch (e) {
		if (e instanceof SyntaxError)
			throw named(e, 'UserCodeSyntaxError');
		if (e && (e.code === 'MODULE_NOT_FOUND' || e.code === 'ERR_MODULE_NOT_FOUND'))
			throw named(e, 'ImportModuleError');
		throw e;
	}
	let handler = found;
	for (const name of names)
		handler = handler === null || handler === undefined ? undefined : handler[name];
	if (handler === undefined && found && found.default) { // CommonJS seen through import()
		handler = found.default;
		for (const name of names)
			handler = handler === null || handler === undefined ? undefined : handler[name];
	}
	if (handler === undefined || handler === null)
		throw new RuntimeError('HandlerNotFound', `${full} is undefined or not exported`);
	if (typeof handler !== 'function')
		throw new RuntimeError('HandlerNotFound', `${full} is not a function`);
	return handler;
}

function named(e, kind)
{
	const r = new RuntimeError(kind, e.toString());

	r.stack = `${r.name}: ${e.stack}`;
	return r;
}

/* The folders of layers, which require() looks in last. */
function addLayers()
{
	const major = process.versions.node.split('.')[0];
	const known = ['/opt/nodejs/node_modules', `/opt/nodejs/node${major}/node_modules`, '/var/runtime/node_modules'];
	const found = known.filter((p) => fs.existsSync(p));

	if (found.length === 0)
		return;
	env.NODE_PATH = [...(env.NODE_PATH ? [env.NODE_PATH] : []), ...found].join(':');
	require('module')._initPaths();
}

/* Streamed responses. The socket's own queue is what the handler's writes wait for. */

const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');

function sendPiece(event, chunk, flags, done)
{
	const head = Buffer.alloc(HEADER);

	head[0] = 1;
	putHeader(head, DATA, flags | FLAG_STREAM, event.stream, chunk.length);
	sock.write(head);
	sock.write(chunk, done);
}

function responseStream(event)
{
	const { Writable } = require('stream');
	const stream = new Writable({
		write(chunk, encoding, done) {
			let at = 0;

			for (; chunk.length - at > FRAME_MAX; at += FRAME_MAX)
				sendPiece(event, chunk.subarray(at, at + FRAME_MAX), 0);
			sendPiece(event, chunk.subarray(at), 0, done);
		},
		final(done) {
			sendPiece(event, Buffer.alloc(0), FLAG_END, () => finish(event, () => undefined));
			done();
		},
	});
	stream.on('error', (e) => event.fail(e));
	stream.setContentType = (type) => { stream.contentType = type; };
	return stream;
}

global.awslambda = {
	streamifyResponse(handler)
	{
		handler[STREAMING] = 'response';
		return handler;
	},
	HttpResponseStream: class {
		static from(stream, prelude)
		{
			stream.setContentType('application/vnd.awslambda.http-integration-response');
			stream.write(JSON.stringify(prelude) + '\0'.repeat(8));
			return stream;
		}
	},
};

// One event.

const functionName = env.AWS_LAMBDA_FUNCTION_NAME || '';
const functionVersion = env.AWS_LAMBDA_FUNCTION_VERSION || '$LATEST';
const memoryLimitInMB = env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE || '128';
const logGroupName = env.AWS_LAMBDA_LOG_GROUP_NAME || '';
let logStreamName = env.AWS_LAMBDA_LOG_STREAM_NAME || '';

function finish(event, write, value)
{
	if (!open.has(event))
		return; // answered already
	if (several) // another's turn may come between
		several.of.run(event, write, event, value);
	else
		write(event, value);
	open.delete(event);
	if (several && several.answered.push(`${event.stream} ${event.id}`) > several.seats)
		several.answered.shift();
	if (open.size === 0)
		sock.ref();
	if (pinged !== null)
		pong(pinged);
}

/* A new daemon asks: the answer says that no event is under way any more, and whose answers were the last ones. */
function pong(stream)
{
	pinged = open.size ? stream : null;
	if (!open.size)
		sendSmall(PING, stream, several ? several.answered.join('\n') : requestId || '', alone);
}

function writeResult(event, value)
{
	let text;

	try {
		text = JSON.stringify(value === undefined ? null : value);
	} catch (e) {
		return writeError(event, new RuntimeError('MarshalError', `Unable to stringify response body: ${e.message}`));
	}
	sendAnswer(event.stream, text === undefined ? 'null' : text);
}

function writeError(event, e)
{
	logError('Invoke Error', e);
	sendError(event.stream, e);
}

function makeContext(event, arn, client, identity)
{
	const succeed = (value) => finish(event, writeResult, value);
	const fail = (e) => finish(event, writeError, e);

	return {
		callbackWaitsForEmptyEventLoop: true,
		functionVersion,
		functionName,
		memoryLimitInMB,
		logGroupName,
		logStreamName,
		clientContext: client ? JSON.parse(client) : undefined,
		identity: identity ? JSON.parse(identity) : undefined,
		invokedFunctionArn: arn,
		awsRequestId: event.id,
		getRemainingTimeInMillis: () => Math.max(event.deadline - Date.now(), 0),
		succeed,
		fail,
		done: (e, value) => (e === undefined || e === null ? succeed(value) : fail(e)),
	};
}

/* How many events at once: said when the handler is there. */
function setUpSeats(handler)
{
	const seats = Number(env.TANDEM_SEATS || 1);

	delete env.TANDEM_SEATS;
	if (handler[STREAMING] === 'response')
		alone = FLAG_END | FLAG_STREAM;
	else if (seats > 1)
		several = { seats, of: new (require('async_hooks').AsyncLocalStorage)(), answered: [] };
}

function runBeside(handler, event, ...given)
{
	several.of.run(event, runEvent, handler, event, ...given);
}

function runEvent(handler, event, arn, trace, client, identity, payload)
{
	let context;

	open.add(event);
	requestId = event.id;
	if (!several) // else another one may be what it waits for
		sock.unref();
	if (trace !== traceId && !several) {
		traceId = trace;
		if (trace)
			env._X_AMZN_TRACE_ID = trace;
		else
			delete env._X_AMZN_TRACE_ID;
	}
	const callback = (e, value) => {
		if (e !== undefined && e !== null)
			finish(event, writeError, e);
		else if (several || !context.callbackWaitsForEmptyEventLoop)
			finish(event, writeResult, value);
		else if (open.has(event) && !event.called)
			event.called = true, event.value = value; // sent when the loop is empty
	};
	try {
		context = makeContext(event, arn, client, identity);
		if (handler[STREAMING] === 'response')
			return streamEvent(handler, event, context, payload);
		const result = handler(payload === '' ? {} : JSON.parse(payload), context, callback);
		if (result !== null && typeof result === 'object' && typeof result.then === 'function')
			result.then(context.succeed, context.fail);
	} catch (e) {
		finish(event, writeError, e);
	}
}

/* What was written before an error has gone out: the error comes behind it. */
function streamEvent(handler, event, context, payload)
{
	event.fail = (e) => sock.write(Buffer.alloc(0), () => context.fail(e));
	event.response = responseStream(event);
	(async () => handler(payload === '' ? {} : JSON.parse(payload), event.response, context))().catch(event.fail);
}

process.on('beforeExit', () => {
	for (const event of open)
		if (event.response)
			event.response.end(); // nobody will any more
		else
			finish(event, writeResult, event.value); // nobody will call back any more: Lambda answers null then
});

/* SNAPSHOT comes before an image is taken, RESTORED first of all in each instance made from it. */
function aroundSnapshot(handler, type, stream, body)
{
	try {
		if (type === SNAPSHOT) {
			snapshot.before();
		} else {
			snapshot.after(body);
			logStreamName = env.AWS_LAMBDA_LOG_STREAM_NAME || '';
			setUpSeats(handler);
		}
	} catch (e) {
		sendError(0, e);
		process.exit(1);
	}
	sendSmall(type, stream, '', alone);
}

// Reading.

function makeReader(handler)
{
	let waiting = null; // an event whose payload is still arriving

	function onEvent(b, at, end, flags, stream)
	{
		const deadline = b.readUInt32LE(at) + b.readUInt32LE(at + 4) * 4294967296;
		const strings = ['', '', '', '', ''];

		at += 8;
		for (let i = 0; i < 5; i++) {
			const size = at + 2 <= end ? b.readUInt16LE(at) : end;

			at += 2;
			if (size > end - at)
				throw new Error('EVENT frame ends inside a string');
			strings[i] = i < 3 ? b.toString('latin1', at, at + size) : b.toString('utf8', at, at + size);
			at += size;
		}
		const event = { stream, deadline, id: strings[0], called: false, value: undefined };
		if (flags & FLAG_END)
			(several ? runBeside : runEvent)(handler, event, strings[1], strings[2], strings[3], strings[4], b.toString('utf8', at, end));
		else
			waiting = { event, strings, parts: [Buffer.from(b.subarray(at, end))] };
	}

	function onData(b, at, end, flags, stream)
	{
		if (!waiting || waiting.event.stream !== stream)
			return;
		waiting.parts.push(Buffer.from(b.subarray(at, end)));
		if (!(flags & FLAG_END))
			return;
		const { event, strings, parts } = waiting;
		waiting = null;
		(several ? runBeside : runEvent)(handler, event, strings[1], strings[2], strings[3], strings[4], Buffer.concat(parts).toString());
	}

	return function onFrame(b, at, length) {
		const type = b[at + 1], flags = b[at + 2], stream = b.readUInt32LE(at + 4);
		const body = at + HEADER, end = body + length;

		if (type === EVENT)
			onEvent(b, body, end, flags, stream);
		else if (type === DATA)
			onData(b, body, end, flags, stream);
		else if (type === PING)
			pong(stream);
		else if (type === SNAPSHOT || type === RESTORED)
			aroundSnapshot(handler, type, stream, b.toString('utf8', body, end));
	};
}

function openSocket(handler)
{
	const onFrame = makeReader(handler);
	const buffer = Buffer.allocUnsafeSlow(HEADER + FRAME_MAX);
	let rest = null; // the beginning of a frame

	function onRead(n, b) {
		let at = 0, end = n;

		if (rest !== null) {
			b = Buffer.concat([rest, b.subarray(0, n)]);
			end = b.length;
			rest = null;
		}
		while (end - at >= HEADER) {
			const length = b.readUInt32LE(at + 8);

			if (length > FRAME_MAX || b[at] !== 1)
				throw new Error('frame of an unknown version or length');
			if (length > end - at - HEADER)
				break;
			onFrame(b, at, length);
			at += HEADER + length;
		}
		if (at < end)
			rest = Buffer.from(b.subarray(at, end));
		return true;
	}

	sock = new net.Socket({ fd, readable: true, writable: true, onread: { buffer, callback: onRead } });
	sock.on('end', () => process.exit(0));
	sock.on('close', () => process.exit(0));
	sock.on('error', () => process.exit(1));
}

async function main()
{
	let handler;

	patchConsole();
	addLayers();
	try {
		if (env.TANDEM_IMAGE)
			snapshot = require('./snapshot.js');
		delete env.TANDEM_IMAGE;
		const root = env.LAMBDA_TASK_ROOT || '/var/task';

		process.argv[1] = '/var/runtime/node/shim.js';
		handler = await loadHandler(root, env._HANDLER || '');
	} catch (e) {
		return die('Uncaught Exception', e, 1);
	}
	setUpSeats(handler);
	openSocket(handler);
	sendSmall(HELLO, 0, JSON.stringify({ runtime: `nodejs${process.versions.node}`, pid: process.pid }), alone);
}

main();
