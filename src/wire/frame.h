/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames between tandemd and an in-house runtime (shim), on an inherited AF_UNIX stream socket (descriptor TANDEM_FD in
 * the sandbox's environment).
 *
 * Header, 16 bytes, little-endian: u8 version (1), u8 type, u16 flags, u32 stream, u32 length (of what follows, at most
 * 65,536), u32 zero.
 *
 *  tandemd -> runtime
 *   EVENT     u64 deadline_ms (wall), then five strings, each u16 length + bytes: request id, function ARN, trace id,
 *             client context JSON, cognito JSON; the rest is the first part of the payload. Flag END: it is the whole.
 *   DATA      more payload; flag END on the last.
 *   PING      answered by PING with the same stream number.
 *   SNAPSHOT  an image will be taken: the runtime runs the user's hooks and answers SNAPSHOT, empty, with flag END; from
 *             then on it waits at the safe point. (TANDEM_IMAGE in its environment has said so before.)
 *   RESTORED  first of all to a process made from an image: its new environment, NAME=value, each with a NUL; the
 *             runtime seeds its generators again, runs the user's hooks and answers RESTORED, empty, with flag END.
 *  runtime -> tandemd
 *   HELLO     once, after the handler was imported: JSON {"runtime":"python3.11.2","pid":2}. Until then the instance is
 *             in INIT.
 *   DATA      the answer; flag END on the last one. (An answer of no bytes: DATA, length 0, END.) Flag STREAM on all of
 *             them: it has no limit, and goes out as it comes; whoever does not read it fast enough is not read from
 *             either, so that the runtime's writes wait. ERROR after some of it: it ended so.
 *   LOG       what the event of that stream printed, whole lines; only where several are under way at once: what comes
 *             through the pipe is then nobody's.
 *   ERROR     JSON error object (what Invoke returns as payload); flag END. stream 0: initialisation failed, and the
 *             runtime exits; so does an error in a hook. Flag LAST beside it: the runtime exits now, and takes no further
 *             event.
 *   Flag STREAM beside HELLO, RESTORED or PING: the handler streams its answers, and takes one event at a time.
 *
 * stream is 1, 2, ... per instance; 0 for HELLO, init ERROR. One event at a time: EVENT n+1 comes only after the END of
 * n; with TANDEM_SEATS=8 in its environment (or in RESTORED's) at most eight, whose answers may be interleaved. What
 * PING is answered with, once no event is under way: the request id of the last event that was answered; with seats of
 * that many of the last ones, each with a line "<stream> <request id>". A reader takes only whole frames off the socket (peek, then receive), so that a successor starts at a boundary.
 * Whatever comes from a runtime is hostile: unknown type, version, stream, length: the instance is ended (ERR_CORRUPT).
 */
#pragma once
#include "base/err.h"
#define FRAME_VERSION 1
#define FRAME_MAX     65536
#define FRAME_HEADER  16
enum frame_type {
	FRAME_HELLO = 1,
	FRAME_EVENT,
	FRAME_DATA,
	FRAME_END,
	FRAME_ERROR,
	FRAME_CREDIT,
	FRAME_PING,
	FRAME_SNAPSHOT,
	FRAME_RESTORED,
	FRAME_LOG,
	FRAME_TYPE_N
};
enum { FRAME_FLAG_END = 1, FRAME_FLAG_LAST = 2, FRAME_FLAG_STREAM = 4 };
struct frame {
	uint8_t type;
	uint16_t flags;
	uint32_t stream, length;
};
void frame_put(uint8_t out[FRAME_HEADER], const struct frame *f);
int frame_get(const uint8_t in[FRAME_HEADER], struct frame *ret,
	      struct err *e); /* checks version, type, length, zero */
