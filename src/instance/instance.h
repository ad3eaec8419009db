/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One running sandbox of one revision: its descriptors, its runtime's protocol (frames for in-house runtimes, the
 * Runtime API for provided ones and images), its output, its freezer. Serves one event at a time, or so many as it has
 * seats.
 *
 *      INIT ───► IDLE ◄──► BUSY ───► RESPONDED ───► IDLE
 *        │         ├──────────────────────────────► TAKING      (an image of it is made: it serves no event)
 *        └─────────┴─────────┴───────────┴────────► ENDING      (the owner asked the spawner to end it)
 *
 *   INIT       waiting for HELLO (frames) or for next (Runtime API) and for every extension; restored from an image:
 *              for the runtime's word that it is itself again
 *   BUSY       waiting for the answer, of several events for all of them
 *   RESPONDED  answered; waiting for the extensions
 *
 * The owner (sched/) decides; this module carries out and tells through events, from the loop, never from inside a
 * call. The owner never frees an instance from inside an event: it asks the spawner to end the sandbox, and frees when
 * that is done. Everything that comes out of the sandbox is hostile: what breaks a protocol gives broken(), once.
 */
#pragma once
#include "http/server.h"
#include "instance/event.h"
#include "spawn/spawn.h"
#include "store/function.h"

enum instance_state {
	INSTANCE_INIT,
	INSTANCE_IDLE,
	INSTANCE_BUSY,
	INSTANCE_RESPONDED,
	INSTANCE_TAKING,
	INSTANCE_ENDING,
	INSTANCE_N
};
extern const char *const instance_state_name[INSTANCE_N];
struct instance;
struct init_snap;

struct instance_events {
	void (*ready)(void *arg); /* INIT -> IDLE */
	void (*late)(void *arg, struct str request_id, bool is_error, struct str body);
	/* adopted, before ready: the answer to an event of the daemon before, which may have read the begin of it */
	void (*init_failed)(void *arg, struct str error);			  /* the runtime's own error object */
	void (*answer)(void *arg, unsigned seat, struct str body, bool is_error); /* the last one: BUSY -> RESPONDED or
										     IDLE; body borrowed */
	void (*piece)(void *arg, struct str piece); /* of a streamed answer, before answer(), which then has no body */
	void (*idle)(void *arg);		    /* RESPONDED -> IDLE */
	/* seat: whose event printed it; -1: the runtime did not say. */
	void (*output)(void *arg, int seat,
		       struct str text); /* stdout and stderr, in order. Within answer() the owner drains,
						       which gives all that was printed until then */
	void (*exited)(void *arg, bool extension,
		       int wait_status); /* the runtime or an extension is gone; while ENDING: all that were told are */
	void (*broken)(void *arg, const struct err *e);
	void (*taken)(void *arg, const struct init_snap *s); /* TAKING is over; bytes 0: refused, text says why */
	void (*not_restored)(void *arg,
			     const char *why);	   /* the image is of no use here; nor is this sandbox any more */
	void (*pages)(void *arg, struct str list); /* for snapshot_pages; borrowed */
};

/* What all instances of a daemon share. */
struct instance_host {
	struct loop *loop;
	struct http_server *http;
	const char *account, *region;
	http_handler *sandbox_api; /* see sched_opts */
	http_streams *sandbox_streams;
	struct tls_server *tls;
	http_handler *creds;
	struct forward *forward; /* NULL: sandboxes have no way out */
	char *scratch;		 /* INSTANCE_SCRATCH bytes, used within one callback */
};
#define INSTANCE_SCRATCH (65536 + 64)

/* What a container runs. Strings are NUL-terminated, one behind another. */
struct instance_program {
	struct str head; /* working directory, user, arguments */
	struct str env;	 /* NAME=value, of the image: the revision's come before it */
	uint32_t argc;
};
struct instance_opts {
	struct instance_host *host;
	uint64_t id;
	pid_t pid;
	struct sandbox_fds fds;		 /* ownership moves */
	struct revision *revision;	 /* a reference is taken */
	const struct function *function; /* keys; used only during instance_new */
	struct str extensions; /* names of the programs in /opt/extensions, each NUL-terminated; borrowed during the
				  call */
	const struct instance_program *program; /* of a revision that is an image; borrowed during the call */
	bool provisioned;			/* started to be held ready: its environment says so */
	bool image;				/* instance_take will come */
	unsigned seats;				/* events at once; 0: one */
	bool adopted;				/* it runs already: instance_probe instead of instance_start */
	bool restoring;				/* instance_order was called */
	const struct instance_events *events;
	void *arg;
};
struct instance *instance_new(const struct instance_opts *o);
void instance_free(struct instance *i);		       /* closes; the sandbox is the spawner's to end */
int instance_start(struct instance *i, struct err *e); /* asks tandem-init to exec the runtime */
/*
 * Instead of instance_start, in two steps. The first, before instance_new, may come while the sandbox is still being
 * assigned: tandem-init makes all ready from the image of a process of the same revision, borrowed. The second lets
 * that process run. Then ready() or, also before it, not_restored().
 */
int instance_order(const struct sandbox_fds *fds, int image, struct err *e);
int instance_restore(struct instance *i, struct err *e);
/* IDLE -> TAKING, once, in a sandbox that was made for it, before the first event. file: empty, borrowed. as_is:
 * also when it may hold what is not so any more (struct init_take). */
int instance_take(struct instance *i, int file, uint64_t max_bytes, uint32_t deadline_ms, bool as_is, struct err *e);
/* IDLE, after an event: whether pages() may come, which is wanted once of an image that is read from a disk. */
bool instance_ask_pages(struct instance *i);
int instance_probe(struct instance *i,
		   struct err *e); /* adopted: ready() once the runtime is at a boundary and waits */
/* IDLE -> BUSY, or BUSY with a seat that is free; thaws. ev is borrowed during the call only. Also once after instance_restore: the process begins with it
 * by itself, and ready() means that it has begun, INIT -> BUSY. */
int instance_event(struct instance *i, const struct instance_event *ev, struct err *e);
void instance_hold(struct instance *i, bool held); /* BUSY: no piece comes while held, and the runtime's writes wait */
void instance_freeze(struct instance *i);	   /* IDLE only */
void instance_thaw(struct instance *i);
/* No event but output() comes after, and exited() when this said true: extensions were told of the shutdown (only of an
 * instance that does nothing: in one that failed nothing is run any further) and have INSTANCE_SHUTDOWN_US to leave. */
#define INSTANCE_SHUTDOWN_US 2000000 /* Lambda's */
bool instance_ending(struct instance *i, bool spindown);
void instance_drain_output(struct instance *i); /* what is in the log pipe now */

enum instance_state instance_state(const struct instance *i);
unsigned instance_seats(const struct instance *i); /* from ready() on: 1 with extensions, or a handler that streams */
bool instance_frozen(const struct instance *i);
pid_t instance_pid(const struct instance *i);
void *instance_arg(const struct instance *i);		   /* opts.arg */
const char *instance_log_stream(const struct instance *i); /* "2026/11/21/[$LATEST]<32 hex>" */
int64_t instance_cpu_us(const struct instance *i);	   /* of its group since it was made; -1: not known */
int64_t instance_mem_peak_bytes(const struct instance *i);
