/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Load on the admin socket, from one thread: so many connections, each with one request open. Closed: a connection asks
 * again as soon as it is answered. Open (rate): requests become due by a Poisson process and are counted from then on,
 * also while no connection is free. What answers may be hostile: its grammar is http/parse.h's, its length is bounded.
 */
#pragma once
#include <stdbool.h>
#include "base/buf.h"
#include "base/err.h"

#define LOAD_CALLS_MAX	     400000 /* of one run, which ends there */
#define LOAD_CONNECTIONS_MAX 1000

struct load_call {
	int64_t at_us, us; /* since the run began; until its answer was whole */
	bool ok, cold;
	int64_t wait_us, start_us, init_us, handler_us, cpu_us, billed_ms, memory_bytes; /* -1: not told */
};
struct load_due {
	int64_t at_us;
	struct str request;
};
struct load_opts {
	const char *sock;
	struct str request;	    /* a whole one, sent as it is */
	const struct load_due *due; /* instead, for each of `calls`: when, in order, and which one */
	unsigned connections;
	int64_t duration_us; /* none is begun after that */
	int64_t calls;	     /* so many at most; 0: LOAD_CALLS_MAX */
	double rate;	     /* per second; 0: closed */
	int64_t timeout_us;  /* of one */
	/* Whether that answer is a success; fills in what it tells of the call. why: first words of a failure. */
	bool (*judge)(struct load_call *call, int status, struct str body, struct buf *why);
	int64_t once_us; /* since the run began: once(arg) is called then; the run goes on until a call after it is answered */
	void (*once)(void *arg);
	void *arg;
};
struct load {
	struct load_call *calls; /* in order of their end */
	size_t n, failed;
	int64_t took_us, once_us; /* once_us: when once() was called; 0: it was not */
	struct buf why;		  /* the first failure's reason */
};
int load_run(const struct load_opts *o, struct load *ret, struct err *e); /* e: no run at all */
void load_done(struct load *l);
