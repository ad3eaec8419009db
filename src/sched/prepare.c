/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images of initialised processes, made ahead of need (docs/snapshots.md): one at a time, in a sandbox of its own that
 * has the least share of the processors there is. A revision asks for one when it is deployed, when it was started
 * plainly, and when its image is old. Whatever goes wrong is written down as the reason why there is none, and the
 * function starts plainly.
 *
 *      wish ───► BLANK, ASSIGN, INIT of a worker ───► TAKING (instance) ───► KEEP (store) ───► the next wish
 */
#include <stdio.h>
#include <sys/stat.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "sched/sched_int.h"
#include "store/version.h"

#define IMAGE_AGE_US   (24 * 3600 * 1000000ll) /* one address space layout for all instances should not last for ever */
#define AGAIN_AFTER_US (60 * 1000000ll)
#define TAKE_LIMIT_MS  60000
#define IMAGE_MAX_SIZE (16ull << 30)

struct wish {
	struct list node;
	struct function *f;
	struct revision *r;
};

static void wish_free(struct wish *x)
{
	list_del(&x->node);
	revision_unref(x->r);
	function_unref(x->f);
	free(x);
}

static void add_stat(char *out, size_t n, const char *path)
{
	size_t at = strlen(out);
	struct stat st;

	if (stat(path, &st) == 0)
		snprintf(out + at, n - at, " %llx.%llx.%llx", (unsigned long long)st.st_ino,
			 (unsigned long long)st.st_size,
			 (unsigned long long)(st.st_mtim.tv_sec * 1000000000ll + st.st_mtim.tv_nsec));
}

/* What an image depends on and cannot check by itself: files that were read, not mapped. The spawner has put us into
 * libexec_dir. */
static void look_at_base(struct sched *s)
{
	char base[256] = TANDEM_VERSION;

	add_stat(base, sizeof(base), "shim/python/shim.py");
	add_stat(base, sizeof(base), "shim/python/snapshot.py");
	add_stat(base, sizeof(base), "shim/node/shim.js");
	add_stat(base, sizeof(base), "shim/node/snapshot.js");
	add_stat(base, sizeof(base), "/var/lib/dpkg/status");
	snapshot_base(s->o.store, base);
}

/* Runtimes whose process can be an image. */
static bool can_be(const struct function *f, const struct revision *r)
{
	return r->kind < RUNTIME_PROVIDED && f->scale.snapshot != SNAPSHOT_OFF;
}

static bool needed(struct sched *s, const struct function *f, const struct revision *r)
{
	const struct snapshot *have;

	if (!can_be(f, r) || f->deleted || r->deleted || function_by_serial(f, r->serial) != r)
		return false;
	have = snapshot_of(s->o.store, r->serial);
	return !have || clock_wall_us() - have->made_wall_us > IMAGE_AGE_US;
}

void sched_prepare(struct sched *s, struct function *f, struct revision *r)
{
	struct wish *x;

	look_at_base(s);
	if (!needed(s, f, r) || (s->preparing && s->preparing->revision == r && s->preparing->step != WORKER_ENDING))
		return;
	list_each(&s->wishes, it) if (container_of(it, struct wish, node)->r == r) return;
	x = xcalloc(1, sizeof(*x));
	x->f = function_ref(f);
	x->r = revision_ref(r);
	list_push(&s->wishes, &x->node);
	prepare_next(s);
}

void prepare_next(struct sched *s)
{
	struct wish *x;

	while (!s->preparing && list_empty(&s->images_kept) && !s->adopting && !s->draining &&
	       (x = list_first(&s->wishes, struct wish, node))) {
		struct function *f = x->f;

		if (needed(s, f, x->r)) {
			if (room_free(s) <= 0)
				return; /* an end will bring us here again; none is ended for an image */
			s->preparing = worker_prepare(workload_of(s, f, x->r), x->r);
		}
		wish_free(x);
	}
}

void prepare_free(struct sched *s)
{
	struct wish *x;

	while ((x = list_first(&s->wishes, struct wish, node)))
		wish_free(x);
	list_each(&s->images_kept, it)
	{
		container_of(it, struct image_kept, node)->sched = NULL;
		list_del(it);
	}
}

/* --- the worker that prepares --- */

/* Whoever asks for SnapStart takes what comes over the network during the initialisation to be in it, as at Lambda. */
static bool as_is(const struct worker *wk)
{
	return wk->w->f->scale.snapshot == SNAPSHOT_ON || (wk->revision->version && wk->revision->snapstart);
}

void prepare_ready(struct worker *wk)
{
	auto_close int fd = -1;
	struct err e;

	worker_due(wk, loop_now_us(wk->w->s->o.loop) + (TAKE_LIMIT_MS + 5000) * 1000ll);
	fd = snapshot_create(wk->w->s->o.store, wk->revision->serial, &e);
	if (fd < 0 || instance_take(wk->instance, fd, IMAGE_MAX_SIZE, TAKE_LIMIT_MS, as_is(wk), &e) < 0)
		worker_end(wk, INVOKE_FAILED, OUTCOME_FAILED, STR_NULL, &e);
}

static void kept(struct store_op *op, const struct err *e)
{
	struct image_kept *k = container_of(op, struct image_kept, op);
	struct sched *s = k->sched;
	const struct function *f;
	char text[600];

	if (!s) {
		free(k);
		return;
	}
	f = function_get(s->o.store, str_of(k->name));
	if (e->kind || !k->info.bytes)
		snprintf(text, sizeof(text), "none can be made: %s", e->kind ? e->text : k->info.reason);
	else
		snprintf(text, sizeof(text), "made: %llu bytes, %u ms", (unsigned long long)k->info.bytes,
			 k->info.took_us / 1000);
	log_info("sched", "snapshot of %s: %s", k->name, text);
	if (f)
		workload_say(s, f, "snapshot", "%s", text);
	list_del(&k->node);
	free(k);
	prepare_next(s);
}

static void write_down(struct worker *wk, const struct snapshot *info)
{
	struct sched *s = wk->w->s;
	struct image_kept *k = xcalloc(1, sizeof(*k));

	list_push(&s->images_kept, &k->node);
	k->sched = s;
	k->info = *info;
	k->info.serial = wk->revision->serial;
	k->info.made_wall_us = k->info.used_wall_us = clock_wall_us();
	strlcpy_(k->name, wk->revision->name, sizeof(k->name));
	k->op.done = kept;
	snapshot_keep(s->o.store, &k->op, &k->info);
}

void prepare_taken(struct worker *wk, const struct init_snap *got)
{
	struct snapshot info = {.bytes = got->bytes,
				.pages = got->pages,
				.mappings = got->mappings,
				.files = got->files,
				.took_us = got->took_us};
	struct err e;

	if (!got->bytes) {
		err_set(&e, ERR_INVALID, "%s", got->text[0] ? got->text : "the process cannot be one");
		worker_end(wk, INVOKE_FAILED, OUTCOME_FAILED, STR_NULL, &e);
		return;
	}
	wk->prepared = wk->stopping = true;
	write_down(wk, &info);
	if (wk->revision == workload_revision(wk->w))
		workload_note_image(wk->w);
	worker_end(wk, INVOKE_FAILED, OUTCOME_OK, STR_NULL, NULL);
}

/* The sandbox is gone. When that is what somebody asked for, an image is made the next time that one is missed. */
void prepare_gone(struct worker *wk)
{
	struct sched *s = wk->w->s;
	struct snapshot info = {0};

	s->preparing = NULL;
	if (!wk->stopping && wk->why.kind) {
		strlcpy_(info.reason, wk->why.text, sizeof(info.reason));
		write_down(wk, &info);
	} else if (!wk->prepared) {
		snapshot_discard(s->o.store, wk->revision->serial);
	}
}

/* --- the worker that begins from an image --- */

int prepare_open(struct worker *wk)
{
	struct sched *s = wk->w->s;
	struct err e;
	int fd;

	if (!can_be(wk->w->f, wk->revision))
		return -1;
	look_at_base(s);
	fd = snapshot_open(s->o.store, wk->revision->serial, &e);
	if (fd < 0 || needed(s, wk->w->f, wk->revision))
		sched_prepare(s, wk->w->f, wk->revision);
	return fd;
}

/* again: the image does not fit this host any more, and is made anew, unless it never fitted; else the process that it
 * made did not live. */
void prepare_failed(struct worker *wk, const char *why, bool again)
{
	struct sched *s = wk->w->s;
	const struct snapshot *had = snapshot_of(s->o.store, wk->revision->serial);

	if (had && clock_wall_us() - had->made_wall_us < AGAIN_AFTER_US)
		again = false;

	log_warn("sched", "%s could not begin from its snapshot: %s", wk->revision->name, why);
	wk->restoring = false;
	wk->stopping =
		true; /* nobody is to hear of it: the event that waits gets an instance that is started plainly */
	snapshot_forget(s->o.store, wk->revision->serial);
	if (!again) {
		struct snapshot info = {0};

		snprintf(info.reason, sizeof(info.reason), "a process could not begin from it: %s", why);
		write_down(wk, &info);
	}
	worker_end(wk, INVOKE_FAILED, OUTCOME_FAILED, STR_NULL, NULL);
}
