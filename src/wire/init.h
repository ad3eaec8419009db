/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between tandemd and the tandem-init of one sandbox (SB_CTL, seqpacket). tandem-init's descriptors: 3 this socket, 4
 * the runtime channel, 5 the log pipe. It keeps 4 and 5 closed to others: only the process with keep_channel gets 4.
 *
 *   START    struct init_msg, then argc + envc NUL-terminated strings (argv, env); fork, cwd, exec. Answered by STARTED
 *            (pid in value) or FAILED (errno in value).
 *   RUN      struct init_msg, then struct init_run; strings: working directory, user, argv, env. Instead of START, in a
 *            container, once: user and groups are looked up in the image's own /etc/passwd and /etc/group, argv[0] in
 *            PATH; HOME is added when env has none. FAILED then has enum init_step << 16 | errno.
 *   EXEC     as RUN, for a further program in a container, with its own tag and three descriptors: stdin, stdout, stderr; or,
 *            with tty, one: a terminal. (A pipe should be open to all, fchmod 0666: programs open /dev/stdout by name.)
 *   SIGNAL   value to the process of that tag; FAILED (ESRCH) when there is none. 0 only asks.
 *   TAKE     struct init_msg, then struct init_take; one descriptor: an empty file, written with the image of the
 *            process of that tag, once it waits for an event. Only in a sandbox that was made for it (BLANK with
 *            prepare). Answered by TAKEN; the process goes on as if nothing had been.
 *   RESTORE  struct init_msg; one descriptor: an image, opened for reading alone. Instead of START, and as the first
 *            process of the sandbox. Answered by RESTORED; the process then waits for a RESTORED frame (wire/frame.h).
 *            value INIT_RESTORE_WAITS: it comes while the sandbox is being assigned, so that both go on at once; nothing
 *            of the function is opened, and nothing of it runs, until something arrives in the channel. Then RESTORED
 *            is said only of one that failed.
 *            When it fails, START may follow. It is said also of one that came from a disk without a list of the pages
 *            that it will touch; then, once it has had an event,
 *   PAGES    asks for that list. Answered by PAGES with at most INIT_PAGES_MAX bytes, or not at all. They belong into the
 *            last INIT_PAGES_MAX bytes of the image.
 *   EXITED   a started process is gone; value is its wait status. tandem-init itself goes on until the sandbox ends.
 *
 * tag: chosen by tandemd. What arrives from a sandbox is hostile: tandemd checks all
 * of it.
 */
#pragma once
#include <stdint.h>
#define INIT_VERSION 1
#define INIT_MSG_MAX 65536
#define INIT_FD_CTL  3
#define INIT_FD_CHAN 4
#define INIT_FD_LOG  5
#define INIT_FD_ERR  6 /* of a container */
#define INIT_FD_HELD                                                                                                   \
	7 /* under an OCI runtime: a message with INIT_FD_SECRETS (the byte 1: it is there) and what is behind */
#define INIT_FD_EXE 8 /* and tandem-init itself */
/* Of one with secrets: the folder of their files, "0", "1", ..., and "env", "NAME=value" with a NUL behind each. What
 * stands from here on is for tandem-init alone; further ones are locks of volumes. */
#define INIT_FD_SECRETS 512
enum init_verb {
	INIT_START = 1,
	INIT_SIGNAL,
	INIT_TAKE,
	INIT_RESTORE,
	INIT_RUN,
	INIT_PAGES,
	INIT_EXEC,
	INIT_STARTED = 64,
	INIT_FAILED,
	INIT_EXITED,
	INIT_TAKEN,
	INIT_RESTORED,
};
#define INIT_RESTORE_WAITS 1
#define INIT_PAGES_MAX	   32768
#define INIT_TAG_RUNTIME   1 /* extensions follow */
struct init_msg {
	uint16_t version, verb;
	uint32_t tag;
	int32_t value;
	uint32_t keep_channel;
	uint32_t argc, envc;
	uint32_t text_bytes; /* of the strings that follow; the message ends exactly there */
	uint32_t zero;
};

enum init_step { INIT_STEP_NONE, INIT_STEP_USER, INIT_STEP_CWD, INIT_STEP_EXEC };
struct init_run {
	uint32_t
		tty; /* INIT_FD_CHAN (of EXEC what came along) is a terminal: it becomes the controlling one, and all three streams */
	uint32_t zero;
};

struct init_take {
	uint64_t max_bytes;
	uint32_t deadline_ms; /* for all of it, from its arrival */
	uint32_t
		as_is; /* what an instance may not find as it was is no reason to refuse: files in /tmp and /dev/shm, what
			   came over the network */
};
/* Follows struct init_msg in TAKEN (value 0: done) and RESTORED (value: pid; 0: not done). */
struct init_snap {
	uint64_t bytes;
	uint32_t pages, mappings, files, took_us;
	char text[200]; /* not done: why, NUL-terminated */
};
