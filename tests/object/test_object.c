/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>

#include "base/clock.h"
#include "object/object_int.h"
#include "object/upload.h"
#include "store/tx.h"
#include "tests/store/fixture.h"

struct world {
	struct fix f;
	struct objects *o;
	struct err e; /* of the last operation */
	bool done;
	int events;
	bool refuse;
};

static void over(struct world *w, const struct err *e)
{
	w->e = *e;
	w->done = true;
	loop_stop(w->f.loop);
}

static void wait(struct world *w)
{
	while (!w->done)
		loop_run(w->f.loop);
	w->done = false;
}

static int notified(void *arg, const struct object_event *ev, struct store_tx *tx, struct err *e)
{
	struct world *w = arg;

	w->events++;
	return w->refuse ? err_set(e, ERR_LIMIT, "refused") : 0;
}

static void world_open(struct world *w)
{
	struct objects_opts o = {.loop = w->f.loop, .store = w->f.s, .notify = notified, .arg = w};
	struct err e = {0};

	CHECK(objects_open(&o, &w->o, &e) == 0);
}

static struct world *here; /* of the operation that runs */

static void world_init(struct world *w)
{
	struct store_tx *tx = store_tx_new();
	auto_json doc = json_parse(STR("{\"Extra\":{\"A\":[1]}}"), NULL);
	struct err e;

	*w = (struct world){0};
	here = w;
	fix_init(&w->f);
	world_open(w);
	CHECK(bucket_put(w->o, STR("box"), doc, NULL, tx, &e) == 0);
	store_tx_start(w->f.s, tx);
}

static void world_done(struct world *w)
{
	objects_free(w->o);
	fix_done(&w->f);
}

static void stored(void *arg, const struct err *e)
{
	over(arg, e);
}

static void drained(void *arg)
{
	loop_stop(((struct world *)arg)->f.loop);
}

static struct object_body *body(struct world *w, const char *text, size_t n, bool file)
{
	struct object_body_opts how = {.file = file, .done = stored, .drained = drained, .arg = w};
	struct object_body *b = object_body_new(w->o, &how);

	for (size_t at = 0; at < n; at += 65536)
		if (!object_body_add(b, (struct str){text + at, n - at < 65536 ? n - at : 65536}))
			loop_run(w->f.loop);
	object_body_end(b);
	wait(w);
	CHECK(!w->e.kind && object_body_size(b) == (int64_t)n);
	return b;
}

static void put_over(struct object_put *p, const struct err *e)
{
	over(here, e);
}

static enum err_kind put_if(struct world *w, const char *key, const char *text, size_t n, struct object_condition when)
{
	struct object_put p = {.done = put_over,
			       .body = body(w, text, n, false),
			       .meta = xstrdup("{}"),
			       .when = when,
			       .ev = {.what = "Put"}};

	object_put_start(w->o, &p, "box", str_of(key));
	wait(w);
	return w->e.kind;
}

static enum err_kind put(struct world *w, const char *key, const char *text, size_t n)
{
	return put_if(w, key, text, n, (struct object_condition){0});
}

static void read_over(struct object_read *r, const struct err *e)
{
	over(here, e);
}

static enum err_kind look(struct world *w, struct object_read *r, const char *key)
{
	r->done = read_over;
	object_read_start(w->o, r, "box", str_of(key), true);
	wait(w);
	return w->e.kind;
}

static bool piece(void *arg, struct str data)
{
	buf_addstr(arg, data);
	return true;
}

static void pumped(void *arg, const struct err *e)
{
	over(here, e);
}

static void check_bytes(struct world *w, struct object_read *r, const char *text, size_t n, size_t at, size_t some)
{
	auto_buf got = {0};

	CHECK(r->row.size == (int64_t)n);
	object_pump(r, (int64_t)at, (int64_t)some, piece, pumped, &got);
	wait(w);
	CHECK(!w->e.kind && got.n == some && (!some || !memcmp(got.p, text + at, some)));
}

static void del_over(struct object_del *x, const struct err *e)
{
	over(here, e);
}

static enum err_kind del(struct world *w, const char *key)
{
	struct object_del x = {.done = del_over, .keys = xcalloc(1, sizeof(char *)), .n = 1, .ev = {.what = "Delete"}};

	x.keys[0] = xstrdup(key);
	object_del_start(w->o, &x, "box");
	wait(w);
	return w->e.kind;
}

static void nothing(struct loop_work *k)
{
}

static void passed(struct loop_work *k)
{
	drained(here);
}

/* How many files there are once what is to be removed was removed. */
static int files(struct world *w)
{
	struct loop_work last = {.work = nothing, .done = passed};
	auto_close int fd = -1;
	struct dirent *de;
	DIR *d;
	int n = 0;

	loop_thread_push(objects_thread(w->o, THREAD_REMOVE), &last);
	loop_run(w->f.loop);
	d = fdopendir(openat(w->o->dirfd, ".", O_RDONLY | O_DIRECTORY));
	while ((de = readdir(d)))
		n += de->d_name[0] != '.';
	closedir(d);
	return n;
}

static char *much(size_t n)
{
	char *p = xmalloc(n);

	for (size_t i = 0; i < n; i++)
		p[i] = (char)(i * 7 + i / 251);
	return p;
}

TEST(small_and_large)
{
	static const size_t sizes[] = {0, 1, OBJECT_SMALL, OBJECT_SMALL + 1, 700000, 9 << 20};
	struct world w;

	world_init(&w);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t n = sizes[i];
		auto_free char *text = much(n + 1);
		struct object_read r = {0};

		CHECK(put(&w, "k", text, n) == ERR_NONE);
		CHECK(look(&w, &r, "k") == ERR_NONE);
		check_bytes(&w, &r, text, n, 0, n);
		check_bytes(&w, &r, text, n, n / 3, n / 2);
		object_read_done(&r);
		CHECK(files(&w) == (n > OBJECT_SMALL));
	}
	CHECK(w.events == (int)ARRAY_SIZE(sizes) && del(&w, "k") == ERR_NONE && files(&w) == 0);
	CHECK(w.events == (int)ARRAY_SIZE(sizes) + 1);
	CHECK(del(&w, "k") == ERR_NONE && w.events == (int)ARRAY_SIZE(sizes) + 1); /* it was not there */
	world_done(&w);
}

TEST(conditions)
{
	struct object_condition none = {.if_none = true}, five = {.if_match = "5d41402abc4b2a76b9719d911017c592"};
	struct object_condition any = {.if_match = "*"};
	struct world w;

	world_init(&w);
	CHECK(put_if(&w, "k", "x", 1, five) == ERR_NOT_FOUND);
	CHECK(put_if(&w, "k", "hello", 5, none) == ERR_NONE);
	CHECK(put_if(&w, "k", "hello", 5, none) == ERR_CONFLICT);
	CHECK(put_if(&w, "k", "other", 5, five) == ERR_NONE);
	CHECK(put_if(&w, "k", "hello", 5, five) == ERR_CONFLICT);
	CHECK(put_if(&w, "k", "hello", 5, any) == ERR_NONE);
	world_done(&w);
}

/* What is refused leaves nothing, and what is read stays until it was read. */
TEST(files_go_when_nobody_reads_them)
{
	size_t n = 300000;
	auto_free char *text = much(n);
	struct object_read r = {0}, gone = {0};
	struct world w;

	world_init(&w);
	w.refuse = true;
	CHECK(put(&w, "k", text, n) == ERR_LIMIT && files(&w) == 0);
	w.refuse = false;
	CHECK(put(&w, "k", text, n) == ERR_NONE && look(&w, &r, "k") == ERR_NONE);
	CHECK(put(&w, "k", "new", 3) == ERR_NONE && files(&w) == 1);
	check_bytes(&w, &r, text, n, 0, n);
	object_read_done(&r);
	CHECK(files(&w) == 0);
	CHECK(look(&w, &gone, "none") == ERR_NOT_FOUND);
	object_read_done(&gone);
	object_body_drop(body(&w, text, n, true));
	CHECK(files(&w) == 0);
	world_done(&w);
}

static void list_over(struct object_list *l, const struct err *e)
{
	over(here, e);
}

static void check_list(struct world *w, const char *prefix, const char *delimiter, int max, const char *want)
{
	auto_buf got = {0};
	char *after = xstrdup("");
	bool more = true;

	while (more) {
		struct object_list l = {.done = list_over,
					.bucket = "box",
					.prefix = prefix,
					.delimiter = delimiter,
					.after = after,
					.max = max};

		object_list_start(w->o, &l);
		wait(w);
		CHECK(!w->e.kind && l.n <= max);
		for (int i = 0; i < l.n; i++)
			buf_addf(&got, "%s%s", l.rows[i].key, l.rows[i].id ? " " : "* ");
		more = l.truncated && l.n;
		free(after);
		after = xstrdup(l.n ? l.rows[l.n - 1].key : "");
		object_list_done(&l);
	}
	free(after);
	CHECK_STR(got.p ? got.p : "", want);
}

/* The store's thread waits for a byte, so that what is started meanwhile shares a commit. */
struct gate {
	struct store_tx tx;
	struct store_part part;
	int fd[2];
};

static int held(struct store_part *p, struct db *d, struct err *e)
{
	char c;

	CHECK(read(container_of(p, struct gate, part)->fd[0], &c, 1) == 1);
	return 0;
}

static void ignored(struct store_op *op, const struct err *e)
{
}

TEST(refused_among_others)
{
	struct gate g = {.part.apply = held};
	struct world w;
	struct object_put p = {.done = put_over, .ev = {.what = "Put"}};
	struct object_del x = {.done = del_over, .keys = xcalloc(1, sizeof(char *)), .n = 1, .ev = {.what = "Delete"}};

	world_init(&w);
	CHECK(put(&w, "old", "x", 1) == ERR_NONE && pipe(g.fd) == 0);
	p.body = body(&w, "x", 1, false);
	p.meta = xstrdup("{}");
	w.refuse = true;
	store_tx_init(&g.tx);
	g.tx.op.done = ignored;
	store_tx_add(&g.tx, &g.part);
	store_tx_start(w.f.s, &g.tx);
	object_put_start(w.o, &p, "box", STR("k"));
	store_setting_put(w.f.s, NULL, "other", "1");
	CHECK(write(g.fd[1], "123", 3) == 3); /* one for each time that it may be tried */
	wait(&w);
	CHECK(w.e.kind == ERR_LIMIT && !strcmp(w.e.text, "refused"));
	x.keys[0] = xstrdup("old");
	object_del_start(w.o, &x, "box");
	wait(&w);
	CHECK(w.e.kind == ERR_LIMIT);
	world_done(&w);
	close(g.fd[0]);
	close(g.fd[1]);
}

TEST(lists)
{
	static const char *const keys[] = {"a", "b/1", "b/2", "b/c/1", "b0", "c//x", "\xc3\xa9", "b"};
	struct world w;

	world_init(&w);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		CHECK(put(&w, keys[i], "x", 1) == ERR_NONE);
	for (int max = 1; max < 10; max++) {
		check_list(&w, "", "", max, "a b b/1 b/2 b/c/1 b0 c//x \xc3\xa9 ");
		check_list(&w, "", "/", max, "a b b/* b0 c/* \xc3\xa9 ");
		check_list(&w, "b/", "/", max, "b/1 b/2 b/c/* ");
		check_list(&w, "b", "", max, "b b/1 b/2 b/c/1 b0 ");
		check_list(&w, "c", "//", max, "c//* ");
		check_list(&w, "z", "/", max, "");
	}
	world_done(&w);
}

static void up_over(struct upload_op *u, const struct err *e)
{
	over(here, e);
}

static enum err_kind up(struct world *w, struct upload_op *u)
{
	u->done = up_over;
	upload_start(w->o, u, "box", "k");
	wait(w);
	return w->e.kind;
}

TEST(uploads)
{
	struct upload_op u = {.what = UPLOAD_CREATE, .row.meta = xstrdup("{}")},
			 seen = {.what = UPLOAD_PARTS, .max = 9};
	struct object_put whole = {.done = put_over, .meta = xstrdup("{}"), .ev = {.what = "CompleteMultipartUpload"}};
	size_t n = 100000;
	auto_free char *text = much(3 * n);
	auto_buf names = {0};
	struct object_read r = {0};
	struct world w;
	int64_t at, some;
	char id[UPLOAD_ID_MAX];

	world_init(&w);
	CHECK(up(&w, &u) == ERR_NONE);
	memcpy(id, u.id, sizeof(id));
	upload_op_done(&u);
	for (int i = 0; i < 4; i++) { /* 1, 2, 3, and 2 once more */
		int number = i == 3 ? 2 : i + 1;
		struct upload_op p = {.what = UPLOAD_PART,
				      .part.number = number,
				      .body = body(&w, text + (size_t)(number - 1) * n, n, true)};

		memcpy(p.id, id, sizeof(id));
		CHECK(up(&w, &p) == ERR_NONE);
		upload_op_done(&p);
	}
	CHECK(files(&w) == 3);
	memcpy(seen.id, id, sizeof(id));
	CHECK(up(&w, &seen) == ERR_NONE && seen.n == 3 && !seen.truncated);
	for (int i = 0; i < 2; i++) /* the third is not wanted */
		buf_addf(&names, "%s%s:%zu", i ? " " : "", seen.parts[i].file, n);
	upload_op_done(&seen);
	memcpy(whole.upload, id, sizeof(id));
	memcpy(whole.etag, "x-2", 4);
	whole.files = xstrdup(names.p);
	whole.size = (int64_t)(2 * n);
	object_put_start(w.o, &whole, "box", STR("k"));
	wait(&w);
	CHECK(w.e.kind == ERR_NONE && files(&w) == 2);
	CHECK(up(&w, &seen) == ERR_NOT_FOUND);
	upload_op_done(&seen);
	CHECK(look(&w, &r, "k") == ERR_NONE && object_parts(&r.row) == 2);
	CHECK(object_part(&r.row, 2, &at, &some) == 0 && at == (int64_t)n && some == (int64_t)n);
	CHECK(object_part(&r.row, 3, &at, &some) < 0);
	check_bytes(&w, &r, text, 2 * n, n - 10, 20);
	object_read_done(&r);
	CHECK(del(&w, "k") == ERR_NONE && files(&w) == 0);
	world_done(&w);
}

static void bucket_over(struct bucket_del *x, const struct err *e)
{
	over(here, e);
}

TEST(buckets)
{
	static const char *const bad[] = {"ab", "Abc", "a..b", "-abc", "abc-", "1.2.3.4", "xn--abc", "a_b"};
	struct bucket_del x = {.done = bucket_over};
	struct world w;
	struct bucket *b;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK(!bucket_name_ok(str_of(bad[i])));
	CHECK(bucket_name_ok(STR("a.b-c")) && bucket_name_ok(STR("123")));
	world_init(&w);
	CHECK(put(&w, "k", "x", 1) == ERR_NONE);
	bucket_del_start(w.o, &x, "box");
	CHECK(!bucket_get(w.o, STR("box")));
	wait(&w);
	CHECK(w.e.kind == ERR_CONFLICT && bucket_get(w.o, STR("box")));
	CHECK(del(&w, "k") == ERR_NONE);
	/* A new start finds it as it was. */
	objects_free(w.o);
	fix_close(&w.f);
	fix_open(&w.f);
	world_open(&w);
	b = bucket_get(w.o, STR("box"));
	CHECK(b && json_get_int(json_at(json_get(json_get(b->doc, "Extra"), "A"), 0), "", 0) == 0 &&
	      bucket_next(w.o, NULL) == b);
	bucket_del_start(w.o, &x, "box");
	wait(&w);
	CHECK(w.e.kind == ERR_NONE && !bucket_get(w.o, STR("box")) && !bucket_next(w.o, NULL));
	world_done(&w);
}

#if TANDEM_DEBUG
/* Files of a daemon before us that no row names go when they are old enough, and no others. */
TEST(what_a_crash_left)
{
	size_t n = 50000;
	auto_free char *text = much(n);
	struct world w;

	world_init(&w);
	CHECK(put(&w, "k", text, n) == ERR_NONE);
	close(openat(w.o->dirfd, "00000000-1", O_CREAT | O_WRONLY, 0600));
	for (int round = 0; round < 2; round++) {
		struct object_read r = {0};

		if (round) {
			clock_test_stop();
			clock_test_step(61 * 1000000ll);
		}
		objects_free(w.o);
		fix_close(&w.f);
		fix_open(&w.f);
		world_open(&w);
		CHECK(look(&w, &r, "k") == ERR_NONE); /* after what the sweep reads */
		check_bytes(&w, &r, text, n, 0, n);
		object_read_done(&r);
		CHECK(files(&w) == 2 - round);
	}
	clock_test_resume();
	world_done(&w);
}
#endif
