/* SPDX-License-Identifier: Apache-2.0 */
/* Queues over a real store, on a clock that only the test moves. */
#include "base/clock.h"
#include "queue/queue.h"
#include "tests/store/fixture.h"

struct rig {
	struct fix f;
	struct queues *qs;
};

static void open_queues(struct rig *g)
{
	struct err e = {0};

	CHECK(queues_new(&(struct queues_opts){g->f.loop, g->f.s, "000000000000", "us-east-1"}, &g->qs, &e) == 0);
}

static void rig_init(struct rig *g)
{
	clock_test_stop();
	fix_init(&g->f);
	open_queues(g);
}

static void again(struct rig *g)
{
	queues_free(g->qs);
	fix_close(&g->f);
	fix_open(&g->f);
	open_queues(g);
}

static void rig_done(struct rig *g)
{
	queues_free(g->qs);
	fix_done(&g->f);
	clock_test_resume();
}

static void step(struct rig *g, int64_t s)
{
	clock_test_step(s * 1000000);
	loop_clock_changed(g->f.loop);
}

static void until(struct rig *g, const bool *over)
{
	while (!*over)
		loop_run(g->f.loop); /* every done stops it */
}

/* --- transactions that are waited for --- */

struct waited {
	struct store_tx tx;
	struct rig *g;
	struct err e;
	bool over;
};

static void tx_done(struct store_op *op, const struct err *e)
{
	struct waited *w = container_of(op, struct waited, tx.op);

	w->e = *e;
	w->over = true;
	loop_stop(w->g->f.loop);
}

static void begin(struct waited *w, struct rig *g)
{
	*w = (struct waited){.g = g};
	store_tx_init(&w->tx);
	w->tx.op.done = tx_done;
}

static void commit(struct waited *w)
{
	store_tx_start(w->g->f.s, &w->tx);
	until(w->g, &w->over);
	CHECK(!w->e.kind);
}

static struct queue *declare(struct rig *g, const char *name, const char *doc)
{
	auto_json j = json_parse(str_of(doc), NULL);
	struct waited w;
	struct err e = {0};

	begin(&w, g);
	CHECK(queue_put(g->qs, str_of(name), j, "api", &w.tx, &e) == 0);
	if (e.kind)
		printf("%s\n", e.text);
	commit(&w);
	return queue_get(g->qs, str_of(name));
}

static void sent(struct queue_message *m, const struct err *e)
{
}

static struct queue_message send(struct rig *g, struct queue *q, const char *body, const char *group)
{
	struct queue_message m = {.body = str_of(body), .group = str_of(group), .delay_s = -1, .sent = sent};
	struct waited w;
	struct err e = {0};

	begin(&w, g);
	CHECK(queue_send_add(q, &w.tx, &m, &e) == 0);
	commit(&w);
	return m;
}

/* --- receiving --- */

struct got {
	struct queue_receive r;
	struct rig *g;
	struct queue_got *first;
	struct err e;
	bool over;
};

static void received(struct queue_receive *r, struct queue_got *first, const struct err *e)
{
	struct got *k = container_of(r, struct got, r);

	k->first = first;
	k->e = *e;
	k->over = true;
	loop_stop(k->g->f.loop);
}

static void ask(struct rig *g, struct got *k, struct queue *q, unsigned max, int64_t wait_s)
{
	*k = (struct got){.g = g};
	k->r = (struct queue_receive){.queue = q, .max = max, .visibility_us = -1, .done = received};
	k->r.wait_us = wait_s * 1000000;
	queue_receive_start(&k->r);
	CHECK(!k->over);
}

/* The bodies, with a space between. */
static const char *bodies(const struct got *k)
{
	static char text[500];
	size_t n = 0;

	text[0] = 0;
	for (const struct queue_got *m = k->first; m; m = m->next)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", n ? " " : "", m->body.p);
	return text;
}

static bool is(struct got *k, const char *want)
{
	bool same = !strcmp(bodies(k), want);

	if (!same || k->e.kind)
		printf("got \"%s\" for \"%s\" %s\n", bodies(k), want, k->e.text);
	return same && !k->e.kind;
}

static bool gives(struct rig *g, struct queue *q, unsigned max, const char *want)
{
	struct got k;
	bool ret;

	ask(g, &k, q, max, 0);
	until(g, &k.over);
	ret = is(&k, want);
	queue_got_free(k.first);
	return ret;
}

struct said {
	struct queue_change c;
	struct queue_receipt r;
	struct rig *g;
	bool over;
};

static void change_done(struct queue_change *c, const struct err *e)
{
	struct said *k = container_of(c, struct said, c);

	CHECK(!e->kind);
	k->over = true;
	loop_stop(k->g->f.loop);
}

/* visibility_s -1: deletes */
static enum queue_said change(struct rig *g, struct queue *q, const char *handle, int64_t visibility_s)
{
	struct said k = {.g = g, .r = {.handle = str_of(handle), .visibility_us = visibility_s * 1000000}};

	k.c = (struct queue_change){.queue = q, .receipts = &k.r, .n = 1, .done = change_done};
	if (visibility_s < 0)
		queue_delete_start(&k.c);
	else
		queue_visibility_start(&k.c);
	until(g, &k.over);
	return k.r.said;
}

/* visible, in flight, delayed */
static bool counts(struct queue *q, int visible, int in_flight, int delayed)
{
	struct queue_counts n = queue_counts(q);
	bool same = n.visible == visible && n.in_flight == in_flight && n.delayed == delayed;

	if (!same)
		printf("%d visible, %d in flight, %d delayed\n", (int)n.visible, (int)n.in_flight, (int)n.delayed);
	return same;
}

TEST(send_receive_delete)
{
	struct rig g;
	struct queue *q;
	struct got k;

	rig_init(&g);
	q = declare(&g, "jobs", "{\"Attributes\":{\"VisibilityTimeout\":\"30\"}}");
	CHECK(gives(&g, q, 10, ""));
	send(&g, q, "one", NULL);
	step(&g, 1);
	send(&g, q, "two", NULL);
	CHECK(counts(q, 2, 0, 0));
	ask(&g, &k, q, 10, 0);
	until(&g, &k.over);
	CHECK(is(&k, "one two") && k.first->receives == 1);
	CHECK(counts(q, 0, 2, 0) && gives(&g, q, 10, ""));
	CHECK(change(&g, q, k.first->handle, -1) == QUEUE_OK && counts(q, 0, 1, 0));
	CHECK(change(&g, q, k.first->handle, -1) == QUEUE_OK && counts(q, 0, 1, 0)); /* twice is fine */
	again(&g);
	q = queue_get(g.qs, STR("jobs"));
	CHECK(counts(q, 0, 1, 0)); /* invisible also after a start */
	CHECK(change(&g, q, k.first->next->handle, 5) == QUEUE_OK);
	step(&g, 6);
	CHECK(counts(q, 1, 0, 0) && change(&g, q, k.first->next->handle, 5) == QUEUE_NOT_IN_FLIGHT);
	CHECK(gives(&g, q, 10, "two"));
	CHECK(change(&g, q, k.first->next->handle, -1) == QUEUE_OK && counts(q, 0, 0, 0)); /* an old receipt does */
	CHECK(change(&g, q, "rubbish", -1) == QUEUE_BAD_HANDLE);
	queue_got_free(k.first);
	rig_done(&g);
}

/* Attributes count as the body does: who asks for so many bytes gets no more. */
TEST(bytes)
{
	auto_json attributes =
		json_parse(STR("{\"a\":{\"DataType\":\"String\",\"StringValue\":\"twenty bytes and more\"}}"), NULL);
	struct queue_message m = {.body = STR("x"), .attributes = attributes, .delay_s = -1};
	struct rig g;
	struct queue *q;
	struct got k = {0};
	struct err e;

	rig_init(&g);
	q = declare(&g, "jobs", "{}");
	for (int i = 0; i < 3; i++) {
		struct waited w;

		begin(&w, &g);
		CHECK(queue_send_add(q, &w.tx, &m, &e) == 0);
		commit(&w);
	}
	k = (struct got){.g = &g, .r = {.queue = q, .max = 10, .max_bytes = 20, .visibility_us = -1, .done = received}};
	queue_receive_start(&k.r);
	until(&g, &k.over);
	CHECK(is(&k, "x") && counts(q, 2, 1, 0));
	queue_got_free(k.first);
	rig_done(&g);
}

TEST(fifo)
{
	struct rig g;
	struct queue *q;
	struct got a, b;

	rig_init(&g);
	q = declare(&g, "jobs.fifo",
		    "{\"Attributes\":{\"FifoQueue\":\"true\",\"ContentBasedDeduplication\":\"true\"}}");
	send(&g, q, "a1", "a");
	send(&g, q, "a2", "a");
	send(&g, q, "b1", "b");
	send(&g, q, "a3", "a");
	ask(&g, &a, q, 2, 0);
	until(&g, &a.over);
	CHECK(is(&a, "a1 a2"));
	ask(&g, &b, q, 10, 0);
	until(&g, &b.over);
	CHECK(is(&b, "b1") && gives(&g, q, 10, "")); /* the rest of a waits for a1 and a2 */
	CHECK(change(&g, q, a.first->handle, -1) == QUEUE_OK && gives(&g, q, 10, ""));
	CHECK(change(&g, q, a.first->next->handle, 0) == QUEUE_OK && gives(&g, q, 10, "a2 a3"));
	CHECK(change(&g, q, a.first->next->handle, -1) == QUEUE_EXPIRED);
	step(&g, 31);
	CHECK(gives(&g, q, 10, "a2 a3 b1"));
	queue_got_free(a.first);
	queue_got_free(b.first);
	rig_done(&g);
}

TEST(who_waits_is_woken)
{
	struct rig g;
	struct queue *q;
	struct got k, l;

	rig_init(&g);
	q = declare(&g, "jobs", "{}");
	ask(&g, &k, q, 1, 20);
	ask(&g, &l, q, 1, 20);
	send(&g, q, "one", NULL);
	until(&g, &k.over);
	CHECK(is(&k, "one") && !l.over);
	CHECK(change(&g, q, k.first->handle, 5) == QUEUE_OK); /* visible again in five seconds */
	step(&g, 6);
	until(&g, &l.over);
	CHECK(is(&l, "one") && l.first->receives == 2);
	queue_got_free(k.first);
	ask(&g, &k, q, 1, 20);
	CHECK(change(&g, q, l.first->handle, -1) == QUEUE_OK && !k.over);
	step(&g, 21);
	until(&g, &k.over);
	CHECK(is(&k, ""));
	queue_got_free(l.first);
	ask(&g, &k, q, 1, 20);
	declare(&g, "jobs", "{\"Attributes\":{\"DelaySeconds\":\"7\"}}");
	send(&g, q, "late", NULL);
	CHECK(counts(q, 0, 0, 1) && !k.over);
	step(&g, 8);
	until(&g, &k.over);
	CHECK(is(&k, "late"));
	queue_got_free(k.first);
	rig_done(&g);
}

static void drop(struct rig *g, struct queue *q, bool purge)
{
	struct waited w;

	begin(&w, g);
	if (purge)
		CHECK(queue_purge(q, &w.tx) && !queue_purge(q, &w.tx));
	else
		queue_delete(q, &w.tx);
	commit(&w);
}

TEST(cancelled_purged_deleted)
{
	struct rig g;
	struct queue *q;
	struct got k;

	rig_init(&g);
	q = declare(&g, "jobs", "{}");
	send(&g, q, "one", NULL);
	ask(&g, &k, q, 1, 20);
	queue_receive_cancel(&k.r); /* the store has it already */
	ask(&g, &k, q, 1, 20);
	until(&g, &k.over);
	CHECK(is(&k, "one") && k.first->receives == 1);
	send(&g, q, "two", NULL);
	drop(&g, q, true);
	CHECK(counts(q, 0, 0, 0) && gives(&g, q, 10, ""));
	CHECK(change(&g, q, k.first->handle, -1) == QUEUE_OK); /* it is gone: fine */
	queue_got_free(k.first);
	again(&g);
	q = queue_get(g.qs, STR("jobs"));
	CHECK(counts(q, 0, 0, 0) && gives(&g, q, 10, ""));
	ask(&g, &k, q, 1, 20);
	drop(&g, q, false);
	until(&g, &k.over);
	CHECK(k.e.kind == ERR_NOT_FOUND && !queue_get(g.qs, STR("jobs")));
	q = declare(&g, "jobs", "{}");
	CHECK(gives(&g, q, 10, ""));
	rig_done(&g);
}

#define ARN "arn:aws:sqs:us-east-1:000000000000:"

TEST(dead_letter)
{
	struct rig g;
	struct queue *q, *dead;
	struct got k;

	rig_init(&g);
	dead = declare(&g, "failed", "{}");
	q = declare(&g, "jobs",
		    "{\"Attributes\":{\"VisibilityTimeout\":\"1\",\"RedrivePolicy\":\"{\\\"deadLetterTargetArn\\\":"
		    "\\\"" ARN "failed\\\",\\\"maxReceiveCount\\\":2}\"}}");
	CHECK(queue_dead_letter(q) == dead);
	send(&g, q, "bad", NULL);
	for (int i = 0; i < 2; i++) {
		CHECK(gives(&g, q, 10, "bad"));
		step(&g, 2);
	}
	ask(&g, &k, dead, 10, 20);
	CHECK(gives(&g, q, 10, "") && counts(q, 0, 0, 0));
	until(&g, &k.over);
	CHECK(is(&k, "bad") && k.first->receives == 1 && str_eqc(k.first->source, ARN "jobs"));
	CHECK(counts(dead, 0, 1, 0));
	queue_got_free(k.first);
	rig_done(&g);
}

TEST(too_old)
{
	struct rig g;
	struct queue *q;

	rig_init(&g);
	q = declare(&g, "jobs", "{\"Attributes\":{\"MessageRetentionPeriod\":\"60\"}}");
	send(&g, q, "one", NULL);
	step(&g, 50);
	send(&g, q, "two", NULL);
	step(&g, 20);
	CHECK(gives(&g, q, 10, "two"));
	step(&g, 100);
	while (!counts(q, 0, 0, 0)) /* nobody receives: the timer removes it */
		CHECK(gives(&g, q, 10, ""));
	rig_done(&g);
}

TEST(duplicates)
{
	struct rig g;
	struct queue *q;
	struct queue_message a, b;

	rig_init(&g);
	q = declare(&g, "jobs.fifo",
		    "{\"Attributes\":{\"FifoQueue\":\"true\",\"ContentBasedDeduplication\":\"true\"}}");
	a = send(&g, q, "one", "a");
	b = send(&g, q, "one", "b");
	CHECK(!strcmp(a.id, b.id) && !strcmp(a.sequence, b.sequence) && strlen(a.sequence) == 20);
	CHECK(gives(&g, q, 10, "one") && gives(&g, q, 10, ""));
	again(&g);
	q = queue_get(g.qs, STR("jobs.fifo"));
	b = send(&g, q, "one", "a");
	CHECK(!strcmp(a.id, b.id));
	step(&g, 301);
	b = send(&g, q, "one", "a");
	CHECK(strcmp(a.id, b.id) != 0 && strcmp(a.sequence, b.sequence) < 0);
	CHECK(gives(&g, q, 10, "one one"));
	rig_done(&g);
}

/* Groups take turns, however much one of them has. */
TEST(turns)
{
	struct rig g;
	struct queue *q;
	struct got k;
	char body[16];

	rig_init(&g);
	q = declare(&g, "jobs.fifo",
		    "{\"Attributes\":{\"FifoQueue\":\"true\",\"ContentBasedDeduplication\":\"true\"}}");
	for (int i = 0; i < 30; i++) {
		snprintf(body, sizeof(body), "a%d", i);
		send(&g, q, body, "a");
	}
	send(&g, q, "b0", "b");
	for (int i = 0; i < 3; i++) {
		ask(&g, &k, q, 1, 0);
		until(&g, &k.over);
		CHECK(is(&k, i == 0 ? "a0" : i == 1 ? "b0" : "a1"));
		step(&g, 1);
		CHECK(change(&g, q, k.first->handle, -1) == QUEUE_OK);
		queue_got_free(k.first);
	}
	CHECK(counts(q, 28, 0, 0));
	rig_done(&g);
}

TEST(drained)
{
	struct rig g;
	struct queue *q;
	struct got k, l;

	rig_init(&g);
	q = declare(&g, "jobs", "{}");
	ask(&g, &k, q, 1, 20);
	ask(&g, &l, q, 1, 20);
	l.r.wait_us = INT64_MAX; /* a mapping, which is ended by its own module */
	queues_drain(g.qs);
	CHECK(k.over && is(&k, "") && !l.over);
	ask(&g, &k, q, 1, 20);
	until(&g, &k.over);
	CHECK(is(&k, ""));
	queue_receive_cancel(&l.r);
	rig_done(&g);
}

/* Of one queue thousands wait, of another some: what is swept and what is counted is each queue's own. */
TEST(many)
{
	struct rig g;
	struct queue *q, *other;
	struct waited w;
	struct got k;
	struct err e = {0};

	rig_init(&g);
	q = declare(&g, "many", "{}");
	other = declare(&g, "other", "{}");
	begin(&w, &g);
	for (int i = 0; i < 3000; i++)
		CHECK(queue_send_add(i % 100 ? q : other, &w.tx,
				     &(struct queue_message){.body = STR("x"), .delay_s = -1}, &e) == 0);
	commit(&w);
	CHECK(counts(q, 2970, 0, 0) && counts(other, 30, 0, 0));
	again(&g);
	q = queue_get(g.qs, STR("many"));
	other = queue_get(g.qs, STR("other"));
	CHECK(counts(q, 2970, 0, 0) && counts(other, 30, 0, 0));
	ask(&g, &k, q, 2000, 0);
	until(&g, &k.over);
	CHECK(counts(q, 970, 2000, 0));
	queue_got_free(k.first);
	drop(&g, q, false);
	CHECK(counts(other, 30, 0, 0));
	rig_done(&g);
}
