/* SPDX-License-Identifier: Apache-2.0 */
#include "sched/deploy.h"
#include <stdio.h>
#include "base/clock.h"
#include "base/enc.h"
#include "base/mem.h"
#include "base/moves.h"
#include "base/rand.h"
#include "image/pull.h"
#include "json/read.h"
#include "sched/sched_int.h"
#include "store/digest.h"

#define REASON_MAX 2048 /* of what a function says of its failure: it is kept */

enum deploy_state { DEPLOY_NEW, DEPLOY_BLOB, DEPLOY_UNPACK, DEPLOY_SAVE, DEPLOY_CHECK, DEPLOY_ACTIVATE, DEPLOY_DONE };

static const char *const deploy_state_name[] = {"NEW", "BLOB", "UNPACK", "SAVE", "CHECK", "ACTIVATE", "DONE"};

static void move(struct deploy *d, enum deploy_state to)
{
	d->state = to;
	move_note("deploy", d->revision ? (uint64_t)d->revision->serial : 0, deploy_state_name[to]);
}

static const struct {
	const char *prefix, *program;
	enum runtime_kind kind;
} runtimes[] = {
	{"python3.", "/usr/bin/python3", RUNTIME_PYTHON},
	{"nodejs", "/usr/bin/node", RUNTIME_NODE},
	{"provided", NULL, RUNTIME_PROVIDED},
};

static bool served_here(size_t k)
{
	return !runtimes[k].program || access(runtimes[k].program, X_OK) == 0;
}

int deploy_runtime(const char *runtime, enum runtime_kind *ret, struct err *e)
{
	auto_buf can = {0};

	for (size_t k = 0; k < ARRAY_SIZE(runtimes); k++) {
		if (!served_here(k))
			continue;
		if (str_starts(str_of(runtime), runtimes[k].prefix)) {
			*ret = runtimes[k].kind;
			return 0;
		}
		buf_addf(&can, "%s%s%s", can.n ? ", " : "", runtimes[k].prefix,
			 runtimes[k].kind == RUNTIME_PYTHON ? "x"
			 : runtimes[k].kind == RUNTIME_NODE ? "*.x"
							    : "*");
	}
	return err_set(e, ERR_INVALID, "this host cannot serve runtime %s; it can serve: %s",
		       runtime && *runtime ? runtime : "(none)", can.p ? can.p : "none");
}

static void step(struct deploy *d);

static void finish(struct deploy *d)
{
	struct function *f = d->function;

	if (d->state != DEPLOY_NEW) /* refused before it began: another one is under way */
		f->updating = false;
	revision_unref(take_ptr(d->revision));
	free(take_ptr(d->route_));
	free(take_ptr(d->allow_));
	pairs_done(&d->tags_);
	move(d, DEPLOY_DONE);
	d->done(d, &d->e);
	function_unref(f);
}

static void fail(struct deploy *d, const struct err *e)
{
	struct store *st = d->s->o.store;

	d->e = *e;
	workload_say(d->s, d->function, "deploy", "failed: %s", e->text);
	finish(d);
	store_gc(st); /* of what nobody names now */
}

/* By somebody else, while it was updated: it must not come back. */
static bool deleted(struct deploy *d)
{
	struct err e;

	if (!d->function->deleted)
		return false;
	err_set(&e, ERR_NOT_FOUND, "function %s was deleted", d->function->name);
	fail(d, &e);
	return true;
}

static void say_deployed(const struct deploy *d)
{
	const struct function *f = d->function;
	const struct revision *r = d->revision;

	if (f->state == FUNCTION_ACTIVE)
		workload_say(d->s, f, "deploy", "revision %lld: %s, %d MB, code %.12s", (long long)r->serial,
			     r->image ? "image" : r->runtime, r->memory_mb, r->code_sha256);
	else
		workload_say(d->s, f, "deploy", "revision %lld cannot be initialised: %s", (long long)r->serial,
			     f->reason ? f->reason : f->reason_code);
}

static void stored(struct store_op *op, const struct err *e)
{
	struct deploy *d = container_of(op, struct deploy, op);

	if (!op->s)
		return; /* the daemon ends, and all that we would need is gone */
	if (e->kind) {
		fail(d, e);
	} else if (d->state != DEPLOY_ACTIVATE) {
		step(d);
	} else if (!deleted(d)) {
		say_deployed(d);
		if (d->function->state == FUNCTION_ACTIVE)
			sched_prepare(d->s, d->function, d->revision);
		finish(d);
	}
}

static void unpacked(struct code *c, const struct err *e)
{
	struct deploy *d = container_of(c, struct deploy, code);

	if (e->kind)
		fail(d, e);
	else
		step(d);
}

static void apply_outside(struct deploy *d)
{
	struct function *f = d->function;

	if (d->scale) {
		if (f->scale.snapshot != d->scale_.snapshot && d->revision)
			snapshot_reconsider(d->s->o.store, d->revision->serial);
		f->scale = d->scale_;
		if (f->scale.lane != LANE_WISH_AUTO)
			f->lane = f->scale.lane == LANE_WISH_CONTAINER ? LANE_CONTAINER : LANE_FUNCTION;
	}
	if (d->route_) {
		free(f->route);
		f->route = d->route_[0] ? take_ptr(d->route_) : NULL;
	}
	if (d->allow_) {
		free(f->allow);
		f->allow = d->allow_[0] ? take_ptr(d->allow_) : NULL;
	}
	if (d->tags) {
		pairs_done(&f->tags);
		f->tags = d->tags_;
		d->tags_ = (struct pairs){0};
		d->tags = NULL;
	}
}

static void switch_to(struct deploy *d)
{
	struct function *f = d->function;

	if (f->latest != d->revision) {
		revision_unref(f->latest);
		f->latest = revision_ref(d->revision);
	}
	apply_outside(d);
}

static void judge(struct deploy *d)
{
	struct function *f = d->function;
	struct invocation *c = &d->check;

	free(take_ptr(f->reason));
	f->reason_code[0] = 0;
	f->state = c->outcome == INVOKE_OK ? FUNCTION_ACTIVE : FUNCTION_FAILED;
	if (c->outcome == INVOKE_OK)
		return;
	auto_json j = json_parse(c->body, NULL);
	struct str type = json_get_str(j, "errorType"), msg = json_get_str(j, "errorMessage");

	if (msg.n)
		f->reason = xasprintf("%.128s%s%.*s", type.n ? type.p : "", type.n ? ": " : "", REASON_MAX, msg.p);
	else
		f->reason = xstrdup(c->e.kind ? c->e.text : "initialisation failed");
	for (char *p = f->reason; (p = strpbrk(p, "\r\n"));) /* one line, or its second looks like what we say */
		*p = ' ';
	strlcpy_(f->reason_code, c->outcome == INVOKE_FAILED ? "InternalError" : "FunctionError",
		 sizeof(f->reason_code));
}

static void start_check(struct deploy *d);

static void checked(struct invocation *inv)
{
	struct deploy *d = container_of(inv, struct deploy, check);

	if (deleted(d))
		return;
	/* Libraries that come from a slow disk: the second time they are in memory. */
	if (!d->again && inv->outcome == INVOKE_INIT_FAILED && inv->e.kind == ERR_TIMEOUT) {
		d->again = true;
		start_check(d);
		return;
	}
	judge(d);
	switch_to(d);
	move(d, DEPLOY_ACTIVATE);
	function_put(d->s->o.store, &d->op, d->function);
}

static void start_check(struct deploy *d)
{
	d->check = (struct invocation){
		.function = d->function, .trigger = TRIGGER_CHECK, .revision = d->revision, .done = checked};
	sched_invoke_start(d->s, &d->check);
}

void deploy_works(struct sched *s, struct function *f, const struct revision *r)
{
	if (f->state != FUNCTION_FAILED || f->latest != r || f->updating || f->deleted)
		return;
	free(take_ptr(f->reason));
	f->reason_code[0] = 0;
	f->state = FUNCTION_ACTIVE;
	function_put(s->o.store, NULL, f);
}

/* --- an image: what its name leads to now is what the function is from here on --- */

static void has_image(struct deploy *d, const struct image *im)
{
	strlcpy_(d->revision->code_sha256, im->digest, sizeof(d->revision->code_sha256));
	step(d);
}

static void pulled(void *arg, struct image *im, const struct err *e)
{
	struct deploy *d = arg;

	d->pull = NULL;
	if (im)
		has_image(d, im);
	else
		fail(d, e);
}

static void find_image(struct deploy *d)
{
	struct images *images = d->s->o.images;
	auto_json what = json_parse(str_of(d->revision->image), NULL);
	const char *name = json_get_str(what, "uri").p;
	const struct image *im = image_find(images, name);
	struct pull_opts o = {.reference = name, .done = pulled, .arg = d};
	struct err e = {0};

	if (im)
		has_image(d, im);
	else if (pull_start(images, &o, &d->pull, &e) < 0)
		fail(d, &e);
}

/* Moves to the next state and starts what it waits for; states that have nothing to wait for are passed through. */
static void step(struct deploy *d)
{
	struct store *st = d->s->o.store;

	if (deleted(d))
		return;
	switch (d->state) {
	case DEPLOY_NEW:
		move(d, DEPLOY_BLOB);
		if (d->archive.n && !store_blob_has(st, d->revision->code_sha256)) {
			store_blob_put(st, &d->op, d->revision->code_sha256, d->archive.p, d->archive.n);
			return;
		}
		/* fallthrough */
	case DEPLOY_BLOB:
		move(d, DEPLOY_UNPACK);
		if (d->revision->image && !d->revision->code_sha256[0]) {
			find_image(d);
			return;
		}
		d->code.done = unpacked;
		code_start(&d->code, d->s->o.loop, st, d->s->o.spawn, d->revision);
		return;
	case DEPLOY_UNPACK:
		if (d->is_new) {
			move(d, DEPLOY_SAVE);
			switch_to(d);
			d->function->state = FUNCTION_PENDING;
			function_put(st, &d->op, d->function);
			return;
		}
		/* fallthrough */
	case DEPLOY_SAVE:
		move(d, DEPLOY_CHECK);
		start_check(d);
		return;
	}
}

static void begin(void *arg)
{
	struct deploy *d = arg;

	if (d->e.kind)
		finish(d);
	else
		step(d);
}

void deploy_start(struct sched *s, struct deploy *d)
{
	struct revision *r = d->revision;
	struct function *f = function_ref(d->function);

	d->s = s;
	move(d, DEPLOY_NEW);
	d->e = (struct err){.kind = ERR_NONE};
	d->op.done = stored;
	if (d->scale)
		d->scale_ = *d->scale;
	d->route_ = d->route ? xstrdup(d->route) : NULL;
	d->allow_ = d->allow ? xstrdup(d->allow) : NULL;
	d->tags_ = (struct pairs){0};
	if (d->tags) {
		d->tags_ = *d->tags;
		*d->tags = (struct pairs){0};
	}
	d->defer = (struct loop_defer){0};
	if (r->image)
		r->kind = RUNTIME_IMAGE;
	if ((r->image || deploy_runtime(r->runtime, &r->kind, &d->e) == 0) && f->updating)
		err_set(&d->e, ERR_CONFLICT, "an update of function %s is in progress", f->name);
	if (d->e.kind) {
		loop_defer(s->o.loop, &d->defer, begin, d);
		return;
	}
	f->updating = true;
	r->modified_wall_us = clock_wall_us();
	id_uuid(r->id);
	if (d->archive.n) {
		digest_sha256_hex(d->archive.p, d->archive.n, r->code_sha256);
		r->code_bytes = (int64_t)d->archive.n;
	}
	revision_hold(s->o.store, r); /* to unpack, to check and to wait for room may take minutes */
	if (!f->access_key[0]) {
		uint8_t raw[20];

		rand_bytes(raw, sizeof(raw));
		enc_hex(raw, sizeof(raw), f->secret_key);
		snprintf(f->access_key, sizeof(f->access_key), "ASIAT%015llX", (unsigned long long)(rand_u64() >> 4));
	}
	loop_defer(s->o.loop, &d->defer, begin, d);
}
