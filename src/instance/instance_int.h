/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside instance/. instance.c: its life, what it listens to, its output, its freezer. channel.c: frames to and from an
 * in-house runtime. start.c: tandem-init, which starts the processes. image.c: how one becomes a file, and begins from
 * it.
 */
#pragma once
#include "instance/instance.h"
#include "instance/rtapi.h"
#include "wire/frame.h"
#include "wire/init.h"

/* An event under way, or the place for one. Probing: an answer to an event of the daemon before. */
struct seat {
	uint32_t stream;
	bool open, streams;
	uint8_t late;	   /* probing: type of the answer that ended, or 0 */
	uint64_t queued;   /* of channel: so much had been given to the socket or to out when the event was whole */
	struct buf answer; /* of more than one frame */
};

struct instance {
	struct instance_host *host;
	const struct instance_events *ev;
	void *arg;
	uint64_t id;
	pid_t pid;
	struct sandbox_fds fds;
	struct revision *revision;
	enum instance_state state;
	bool frozen, told_broken, probing, restoring, early;
	bool held, alone;	    /* alone: its handler streams */
	bool unlisted, pages_asked; /* which pages it touches is worth to be known; asked for */
	int image;		    /* TAKING: the file, until it is tandem-init's */
	uint64_t image_max_bytes;
	uint32_t take_ms;
	bool as_is;
	bool late;	 /* over the Runtime API: the event of the daemon before was answered */
	uint32_t stream; /* of the last event; probing: of the PING */
	uint64_t queued; /* bytes for the runtime, those in out included */
	struct loop_fd *ctl_watch, *chan_watch, *log_watch, *err_watch;
	struct loop_defer defer; /* broken() that was found inside a call */
	struct err broken;
	struct buf out; /* what the runtime's socket did not take yet */
	struct rtapi *rtapi;
	struct rtapi_info rtapi_info;
	struct http_listener *api, *api_tls, *creds;
	struct resolver *resolver;
	bool adopted;
	const char *version;
	char version_text[VERSION_TEXT], log_stream[64];
	struct buf start_text; /* INIT_START, built while the function is at hand */
	bool looked_in_layer;  /* for bootstrap */
	struct init_msg start_msg;
	size_t argv_bytes;		  /* of start_text; the environment follows */
	struct buf extensions;		  /* names, each NUL-terminated */
	unsigned n_extensions, n_leaving; /* leaving: told of the shutdown, and still there */
	unsigned n_seats, n_open;
	struct seat seat[];
};

/* instance.c */
void instance_broken(struct instance *i, const struct err *e); /* remembers the first; the owner hears from the loop */
void instance_become_ready(struct instance *i);
/* last: the runtime ends, so nothing more may be given to it; its exit, or the deadline, ends the instance. */
void instance_tell_answer(struct instance *i, struct seat *s, struct str body, bool is_error, bool last);
/* A piece of a streamed answer: told, or gathered as far as an answer may be long. */
void instance_take_piece(struct instance *i, struct seat *s, struct str piece);
/* channel.c */
void channel_ready(void *arg, int events); /* the loop's callback */
ssize_t channel_take(struct instance *i);  /* one frame: bytes it took, 0: none is whole, -1: it broke or is gone */
int channel_flush(struct instance *i, struct err *e);
int channel_event(struct instance *i, struct seat *s, const struct instance_event *ev, struct err *e);
void channel_put(struct instance *i, const struct frame *f, struct str body); /* into out; channel_flush sends */
/* start.c */
void start_heard(void *arg, int events); /* the loop's callback: tandem-init has said something */
int start_prepare(struct instance *i, const struct instance_opts *o, struct err *e); /* its text, while o is there */
/* image.c */
void image_ask(struct instance *i); /* the runtime has done what it wants to do before */
void image_not_taken(struct instance *i, const char *fmt, ...) PRINTF(2, 3);
void image_heard(struct instance *i, const struct init_msg *m, struct init_snap *s); /* hostile */
void image_pages(struct instance *i, struct str list); /* hostile, and looked at by nobody but the next restore */
