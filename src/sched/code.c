/* SPDX-License-Identifier: Apache-2.0 */
#include "sched/code.h"

#define UNPACK_LIMIT_US (120 * 1000000ll)
#define AGAIN_US	20000

/* The next archive that is not unpacked yet: the code, then the layers. NULL: all are there. */
static const char *missing(const struct store *st, const struct revision *r)
{
	for (int k = -1; k < LIM_LAYERS && !r->image; k++) {
		const char *sha = k < 0 ? r->code_sha256 : r->layers[k];
		auto_close int dir = -1;

		if (!sha[0])
			break;
		dir = store_code_open(st, sha, NULL);
		if (dir < 0)
			return sha;
	}
	return NULL;
}

bool code_ready(const struct store *st, const struct revision *r)
{
	return !missing(st, r);
}

void code_cancel(struct code *c)
{
	if (!c->revision)
		return;
	spawn_cancel(&c->req);
	loop_defer_cancel(c->loop, &c->defer);
	loop_timer_free(take_ptr(c->deadline));
	loop_timer_free(take_ptr(c->again));
	revision_unref(take_ptr(c->revision));
}

static void finish(struct code *c)
{
	struct err e = c->e;

	code_cancel(c);
	c->done(c, &e);
}

static void step(void *arg);

static void unpacked(struct spawn_req *r, const struct err *e)
{
	struct code *c = container_of(r, struct code, req);

	/* Another one unpacks the same archive just now, or too many are unpacked at once: look again a little later.
	 */
	if (e->kind == ERR_CONFLICT || e->kind == ERR_UNAVAILABLE) {
		loop_timer_in(c->again, AGAIN_US);
		return;
	}
	c->unpacked++;
	if (!e->kind || e->kind == ERR_EXISTS) {
		step(c);
		return;
	}
	c->e = *e;
	finish(c);
}

static void step(void *arg)
{
	struct code *c = arg;
	const char *sha = missing(c->store, c->revision);
	auto_close int archive = -1;

	if (!sha) {
		finish(c);
		return;
	}
	if (c->unpacked > LIM_LAYERS + 1) { /* unpacked, and still not there: never loop */
		err_set(&c->e, ERR_BUG, "unpacked code %s does not appear", sha);
		finish(c);
		return;
	}
	archive = store_blob_open(c->store, sha, &c->e);
	if (archive < 0) {
		finish(c);
		return;
	}
	c->req.done = unpacked;
	spawn_unpack_start(c->spawn, &c->req, archive, store_code_dir(c->store), sha, LIM_UNZIPPED_BYTES,
			   LIM_UNZIPPED_FILES);
}

static void too_late(void *arg)
{
	struct code *c = arg;

	err_set(&c->e, ERR_TIMEOUT, "unpacking the code took longer than %d s", (int)(UNPACK_LIMIT_US / 1000000));
	finish(c);
}

void code_start(struct code *c, struct loop *l, struct store *st, struct spawn *s, struct revision *r)
{
	*c = (struct code){.done = c->done, .loop = l, .store = st, .spawn = s, .revision = revision_ref(r)};
	c->deadline = loop_timer_new(l, too_late, c);
	c->again = loop_timer_new(l, step, c);
	loop_timer_in(c->deadline, UNPACK_LIMIT_US);
	loop_defer(l, &c->defer, step, c);
}
