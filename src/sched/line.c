/* SPDX-License-Identifier: Apache-2.0 */
#include "sched/line.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define BATCH	    64 /* read at once, which holds up the store's other writes */
#define BATCH_BYTES (1 << 20)
#define SECOND_US   1000000ll
#define OTHERS	    "*" /* the line of what is for no function; no name */

struct loading {
	struct store_event_load load;
	struct line *line; /* NULL: gone */
	int64_t room;	   /* counted in sched.async_bytes until it is here */
};

static void line_go(void *arg);

void line_kick(struct line *l)
{
	if (!l->go.queued)
		loop_defer(l->s->o.loop, &l->go, line_go, l);
}

static struct line **slot(struct sched *s, const struct function *f)
{
	return f ? (struct line **)&((struct function *)f)->async : &s->others;
}

struct line *line_of(struct sched *s, struct function *f)
{
	struct line *l = *slot(s, f);

	if (l)
		return l;
	l = *slot(s, f) = xcalloc(1, sizeof(*l));
	l->s = s;
	l->function = f ? function_ref(f) : NULL;
	strlcpy_(l->name, f ? f->name : OTHERS, sizeof(l->name));
	list_push(&s->lines, &l->node);
	list_init(&l->starved);
	list_init(&l->ready);
	list_init(&l->busy);
	l->next_us = INT64_MAX;
	l->timer = loop_timer_new(s->o.loop, line_go, l);
	return l;
}

static void line_free(struct line *l)
{
	*slot(l->s, l->function) = NULL;
	list_del(&l->node);
	list_del(&l->starved);
	loop_timer_free(l->timer);
	loop_defer_cancel(l->s->o.loop, &l->go);
	if (l->loading)
		l->loading->line = NULL;
	function_unref(l->function);
	free(l);
}

/* What it takes: its payload, and as much again as a small one. */
static void count(struct async *a, int sign)
{
	int64_t n = sign * (int64_t)(a->ev.payload_n + sizeof(*a));

	a->line->bytes += n;
	a->line->s->async_bytes += n;
}

bool line_is_full(const struct line *l)
{
	return l->n > LINE_EVENTS || l->bytes > LINE_BYTES || l->s->async_bytes > LIM_ASYNC_BYTES;
}

struct async *async_take(struct line *l, const struct store_event *ev)
{
	struct async *a = xcalloc(1, sizeof(*a));

	a->line = l;
	a->ev = *ev;
	l->n++;
	list_push(&l->busy, &a->node);
	count(a, 1);
	return a;
}

void async_free(struct async *a)
{
	store_event_done(&a->ev);
	free(a);
}

/* There is room again: for it, and for one that has none. */
static void kick_two(struct line *l)
{
	struct line *next = list_first(&l->s->starved, struct line, starved);

	line_kick(l);
	if (next) {
		list_del(&next->starved);
		line_kick(next);
	}
}

void async_drop(struct async *a)
{
	count(a, -1);
	list_del(&a->node);
	a->line->n--;
	kick_two(a->line);
	async_free(a);
}

void line_due(struct line *l, int64_t wall_us)
{
	if (wall_us < l->next_us)
		l->next_us = wall_us;
}

static bool adopting(const struct function *f)
{
	unsigned pos = 0;

	for (struct workload *w; f && (w = workload_next(f, &pos));)
		if (w->n_adopted)
			return true;
	return false;
}

/* --- between the store and memory --- */

void async_ready(struct async *a)
{
	list_del(&a->node);
	list_push(&a->line->ready, &a->node);
}

static bool has(const struct line *l, int64_t id)
{
	list_each(&l->ready, it) if (container_of(it, struct async, node)->ev.id == id) return true;
	list_each(&l->busy, it) if (container_of(it, struct async, node)->ev.id == id) return true;
	return false;
}

static void loaded(struct store_part *p, const struct err *e)
{
	struct loading *g = container_of(p, struct loading, load.part);
	struct line *l = g->line;

	for (unsigned i = 0; i < g->load.n; i++) {
		struct async *a;

		if (!l || e->kind || has(l, g->load.ev[i].id)) { /* one that was on its way to us */
			store_event_done(&g->load.ev[i]);
			continue;
		}
		a = async_take(l, &g->load.ev[i]);
		a->before = adopting(l->function);
		async_ready(a);
	}
	if (l) {
		if (e->kind)
			log_error("async", "events of %s cannot be read: %s", l->name, e->text);
		line_due(l, e->kind ? clock_steady_us() + SECOND_US : g->load.next_wall_us);
		l->loading = NULL;
		l->s->async_bytes -= g->room;
		kick_two(l);
	}
	free(g->load.have);
	free(g->load.ev);
	free(g);
}

static void load_add(struct line *l, struct store_tx *tx, unsigned max, size_t max_bytes)
{
	struct loading *g = l->loading = xcalloc(1, sizeof(*g));

	g->line = l;
	g->load = (struct store_event_load){.part.done = loaded,
					    .not_after_wall_us = clock_steady_us(),
					    .have = xcalloc(l->n + 1, sizeof(*g->load.have)),
					    .max = max,
					    .max_bytes = max_bytes};
	strlcpy_(g->load.target, l->name, sizeof(g->load.target));
	list_each(&l->ready, it) g->load.have[g->load.n_have++] = container_of(it, struct async, node)->ev.id;
	list_each(&l->busy, it) g->load.have[g->load.n_have++] = container_of(it, struct async, node)->ev.id;
	store_event_load_add(tx, &g->load);
	l->next_us = INT64_MAX;
}

/* On the store's own thread: in order with what is written. */
static void load(struct line *l)
{
	struct sched *s = l->s;
	struct store_tx *tx;

	list_del(&l->starved);
	if (!l->n && s->async_bytes >= 4 * LIM_ASYNC_BYTES) {
		list_push(&s->starved, &l->starved);
		return;
	}
	if (l->n &&
	    (l->n + BATCH > LINE_EVENTS || l->bytes + BATCH_BYTES > LINE_BYTES || s->async_bytes >= LIM_ASYNC_BYTES))
		return; /* until one of them is over */
	tx = store_tx_new();
	load_add(l, tx, BATCH, BATCH_BYTES);
	s->async_bytes += l->loading->room = BATCH_BYTES;
	store_tx_start(s->o.store, tx);
}

/* Whether a budget keeps its events waiting; then somebody kicks it when that ends. */
static bool held(struct line *l, int64_t now)
{
	bool was = l->held;
	struct budget_stop stop;

	l->held = l->function && !l->function->deleted && workload_closed(l->s, l->function, true, &stop);
	if (l->held) {
		strlcpy_(l->why, stop.why, sizeof(l->why));
		loop_timer_stop(l->timer);
	} else if (was) {
		l->opened_us = now;
		*l->why = 0;
	}
	return l->held;
}

static void line_go(void *arg)
{
	struct line *l = arg;
	int64_t now = clock_steady_us(), at = INT64_MAX;

	if (l->s->draining || held(l, now))
		return;
	if (l->function && l->function->deleted)
		l->next_us = INT64_MAX; /* they went with it */
	list_each(&l->ready, it)
	{
		struct async *a = container_of(it, struct async, node);

		if (l->pause_us > now ||
		    (l->function && l->function->reserved > 0 && l->n_running >= (unsigned)l->function->reserved))
			break;
		if (!a->before || !adopting(l->function))
			async_run(a);
	}
	if (!l->loading && l->next_us <= now)
		load(l);
	if (!list_empty(&l->ready) && l->pause_us > now)
		at = l->pause_us;
	if (l->next_us > now && l->next_us < at)
		at = l->next_us;
	if (at < INT64_MAX)
		loop_timer_in(l->timer, at - now);
	else
		loop_timer_stop(l->timer);
	if (!l->n && !l->loading && l->next_us == INT64_MAX)
		line_free(l);
}

void lines_kick(struct sched *s)
{
	list_each(&s->lines, it) line_kick(container_of(it, struct line, node));
}

void sched_async_info(const struct sched *s, const struct function *f, struct async_info *ret)
{
	const struct line *l = *slot((struct sched *)s, f);

	*ret = (struct async_info){.next_wall_us = INT64_MAX, .why = ""};
	if (!l)
		return;
	*ret = (struct async_info){l->stored, l->n_running, l->next_us, l->why};
	if (l->held) /* until when, the budget says */
		ret->next_wall_us = INT64_MAX;
	else if (!list_empty(&l->ready) && l->pause_us < l->next_us)
		ret->next_wall_us = l->pause_us;
}

/* --- start and end of the daemon --- */

struct recovery {
	struct sched *s;
	struct store_tx tx;
};

static void recover_one(void *arg, const char *target, int64_t n, int64_t first_wall_us)
{
	struct recovery *rc = arg;
	struct function *f = function_get(rc->s->o.store, str_of(target));
	struct line *l;

	if (!f && strcmp(target, OTHERS) != 0) {
		log_warn("async", "%lld events are left of function %s, which is gone", (long long)n, target);
		return;
	}
	l = line_of(rc->s, f);
	l->stored = n;
	l->next_us = first_wall_us;
	if (adopting(f))
		load_add(l, &rc->tx, LINE_EVENTS, LINE_BYTES);
	line_kick(l);
}

int sched_async_recover(struct sched *s, struct err *e)
{
	struct recovery rc = {.s = s};

	store_tx_init(&rc.tx);
	if (store_event_targets(s->o.store, recover_one, &rc, e) < 0)
		return -1;
	return store_tx_read_now(s->o.store, &rc.tx, e);
}

void async_look(const struct function *f)
{
	if (f->async)
		line_kick(f->async);
}

static void free_all(struct list *all)
{
	list_each(all, it)
	{
		struct async *a = container_of(it, struct async, node);

		a->line = NULL;
		if (!a->saving)
			async_free(a);
	}
}

void async_free_all(struct sched *s)
{
	list_each(&s->lines, it)
	{
		struct line *l = container_of(it, struct line, node);

		free_all(&l->ready);
		free_all(&l->busy);
		line_free(l);
	}
}
