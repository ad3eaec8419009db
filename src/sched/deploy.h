/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deploy: bring a revision from an archive to ACTIVE.
 *
 *      BLOB ───► UNPACK ───► SAVE ───► CHECK ───► ACTIVATE ──► DONE
 *        └─────────┴───────────┴──────────────────────┴──────► FAILED
 *
 *   BLOB    the archive is durable, named by its digest (skipped when it is there)
 *   UNPACK  the spawner's word that code/<digest> is there (skipped when it is; layers too); of an image: that it is here
 *   SAVE    the store's commit (state PENDING; the function is visible from here)
 *   CHECK   the first instance's HELLO: it stays as an idle instance (of the last UNASKED_MAX deploys). What takes too
 *           long is tried once more. Import error: function is FAILED with the reason, and the deploy is DONE all the
 *           same (the answer describes it)
 *   ACTIVATE  the store's commit of ACTIVE or FAILED
 *
 * A failure before SAVE leaves everything as it was.
 */
#pragma once
#include "sched/code.h"
#include "sched/sched.h"
struct deploy {
	/* in: filled by the caller */
	struct function *function; /* a new one (function_new) or the one that is there; configuration-only deploys
				      leave archive empty */
	struct revision *revision; /* ownership moves at _start; code_sha256 is computed when archive is given */
	struct str archive; /* zip or tar bytes, borrowed until done; empty: revision->code_sha256 is in the store
			       already */
	bool is_new;
	struct pairs *tags;	   /* NULL: unchanged; contents are taken at _start */
	const struct scale *scale; /* NULL: unchanged */
	const char *route, *allow; /* NULL: unchanged; "" : none */
	void (*done)(
		struct deploy *d,
		const struct err *e); /* e->kind: ERR_LIMIT (unpacked too big), ERR_INVALID (archive), ERR_SYS ... */
	void *user;
	/* the operation's own */
	unsigned state;
	bool again; /* this is the second check */
	struct sched *s;
	struct store_op op;
	struct code code;
	struct pull *pull;
	struct invocation check;
	struct err e;
	struct scale scale_;
	char *route_, *allow_;
	struct pairs tags_;
	struct loop_defer defer;
};
void deploy_start(struct sched *s, struct deploy *d); /* ERR_CONFLICT through done when function->updating */
/* An instance of r began well: a function that FAILED at its deploy is ACTIVE from here on. */
void deploy_works(struct sched *s, struct function *f, const struct revision *r);
/* Which runtime kind serves this name on this host: 0, or -1 ERR_INVALID with the list of those it can. */
int deploy_runtime(const char *runtime, enum runtime_kind *ret, struct err *e);
