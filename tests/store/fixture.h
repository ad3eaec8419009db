/* SPDX-License-Identifier: Apache-2.0 */
/* A store in a directory of its own, operations that are waited for, and a function to put into it. */
#pragma once
#include <fcntl.h>

#include "base/io.h"
#include "base/mem.h"
#include "store/function.h"
#include "store/store_int.h"
#include "tests/test.h"

struct fix {
	char dir[96];
	int fd;
	struct loop *loop;
	struct store *s;
	int waiting;
	struct err last;
};

static inline void fix_open(struct fix *f)
{
	struct err e = {0};

	f->loop = loop_new();
	f->fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(store_open(f->loop, f->fd, &f->s, &e) == 0);
	if (e.kind)
		printf("%s\n", e.text);
}

static inline void fix_init(struct fix *f)
{
	*f = (struct fix){0};
	strlcpy_(f->dir, "/tmp/tandem-store-XXXXXX", sizeof(f->dir));
	CHECK(mkdtemp(f->dir) != NULL);
	fix_open(f);
}

static inline void fix_close(struct fix *f)
{
	store_free(f->s);
	loop_free(f->loop);
	close(f->fd);
}

static inline void fix_done(struct fix *f)
{
	fix_close(f);
	io_rm_tree(AT_FDCWD, f->dir, NULL);
}

struct op {
	struct store_op op;
	struct fix *f;
};

static inline void on_done(struct store_op *op, const struct err *e)
{
	struct op *o = container_of(op, struct op, op);

	if (e->kind)
		o->f->last = *e;
	if (--o->f->waiting == 0)
		loop_stop(o->f->loop);
	free(o);
}

static inline struct store_op *op_new(struct fix *f)
{
	struct op *o = xcalloc(1, sizeof(*o));

	o->f = f;
	o->op.done = on_done;
	f->waiting++;
	return &o->op;
}

static inline void wait_all(struct fix *f)
{
	if (f->waiting)
		loop_run(f->loop);
	CHECK(f->waiting == 0);
}

static inline struct function *make(const char *name, const char *route)
{
	struct function *fn = function_new(name, "api");
	struct revision *r = revision_new();

	r->runtime = xstrdup("python3.11");
	r->handler = xstrdup("app.handler");
	r->role = xstrdup("arn:aws:iam::000000000000:role/r");
	memset(r->code_sha256, 'a', 64);
	r->code_bytes = 321;
	r->memory_mb = 256, r->timeout_s = 7, r->tmp_mb = 512;
	memset(r->layers[0], 'b', 64);
	memset(r->layers[1], 'c', 64);
	pairs_add(&r->env, STR("K\"ey"), STR("v\xc3\xa4lue\n"));
	pairs_add(&fn->tags, STR("team"), STR("blue"));
	fn->route = xstrdup(route);
	fn->latest = r;
	return fn;
}
