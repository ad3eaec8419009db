/* SPDX-License-Identifier: Apache-2.0 */
#include "trigger/due.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <sys/timerfd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/record.h"

#define SECOND_US    1000000ll
#define BACK_S	     3600 /* a clock set back by less repeats nothing */
#define FIRE_AT_ONCE 256  /* then others have their turn */
#define RETRY_MAX_S  60

struct dues {
	struct loop *loop;
	struct store *store;
	struct journal *journal; /* or NULL */
	struct due **heap;	 /* by at_us, from 1 */
	size_t n, cap;
	struct loop_timer *timer;
	struct loop_defer now; /* more is due: on the next turn */
	struct loop_fd *watch;
	int fd; /* readable when the clock was set */
	bool started;
};
struct firing {
	struct store_tx tx;
	struct due *due; /* NULL: it was removed */
	int64_t due_s;
	bool final;
};

/* --- the heap --- */

static void settle(struct dues *ds, struct due *d, size_t i)
{
	for (; i > 1 && ds->heap[i / 2]->at_us > d->at_us; i /= 2) {
		ds->heap[i] = ds->heap[i / 2];
		ds->heap[i]->place = i;
	}
	for (size_t k; (k = 2 * i) <= ds->n; i = k) {
		if (k < ds->n && ds->heap[k + 1]->at_us < ds->heap[k]->at_us)
			k++;
		if (ds->heap[k]->at_us >= d->at_us)
			break;
		ds->heap[i] = ds->heap[k];
		ds->heap[i]->place = i;
	}
	ds->heap[i] = d;
	d->place = i;
}

static void heap_add(struct dues *ds, struct due *d)
{
	if (ds->n + 1 >= ds->cap) {
		ds->cap = ds->cap ? ds->cap * 2 : 64;
		ds->heap = xrealloc(ds->heap, ds->cap * sizeof(struct due *));
	}
	settle(ds, d, ++ds->n);
}

static void heap_del(struct dues *ds, struct due *d)
{
	struct due *last = ds->heap[ds->n--];

	if (last != d)
		settle(ds, last, d->place);
	d->place = 0;
}

static void on_timer(void *arg);

static void arm(struct dues *ds)
{
	int64_t in_us = ds->n ? ds->heap[1]->at_us - clock_wall_us() : 0;

	if (!ds->n || !ds->started)
		loop_timer_stop(ds->timer);
	else if (in_us > 0)
		loop_timer_in(ds->timer, in_us);
	else if (!ds->now.queued)
		loop_defer(ds->loop, &ds->now, on_timer, ds);
}

/* --- when --- */

/* Always the same for the same time of the same schedule, and evenly spread (FNV-1a). */
static int64_t put_off_us(const struct due *d, int64_t due_s)
{
	uint64_t h = 1469598103934665603ull ^ (uint64_t)due_s;

	for (const char *p = d->key; *p; p++)
		h = (h ^ (uint8_t)*p) * 1099511628211ull;
	return d->window_s ? (int64_t)((h ^ h >> 31) % (uint64_t)(d->window_s * SECOND_US)) : 0;
}

static int64_t next_after(const struct due *d, int64_t after_s)
{
	int64_t at;

	if (d->start_s && after_s < d->start_s - 1)
		after_s = d->start_s - 1;
	at = cron_next(&d->cron, d->zone, d->base_s, after_s);
	return d->end_s && at > d->end_s ? -1 : at;
}

/* Of the times from first on, the last that has come. */
static int64_t latest(const struct due *d, int64_t first, int64_t now_s)
{
	int64_t lo = first - 1, hi = now_s; /* the next after lo has come, the next after hi has not */

	while (hi - lo > 1) {
		int64_t mid = lo + (hi - lo) / 2, at = next_after(d, mid);

		if (at >= 0 && at <= now_s)
			lo = at - 1 > mid ? at - 1 : mid;
		else
			hi = mid;
	}
	return next_after(d, lo);
}

static void say_missed(const struct due *d, int64_t first_s)
{
	char from[32], to[32] = "";

	clock_fmt_iso(first_s * SECOND_US, from);
	if (d->next_s >= 0)
		clock_fmt_iso(d->next_s * SECOND_US, to);
	journal_add(d->dues->journal, d->key, "missed", "what was due from %s on; %s%s", from,
		    d->next_s >= 0 ? "the next is that of " : "there is no further one", to);
}

static void plan(struct due *d)
{
	int64_t now_s = clock_wall_us() / SECOND_US;

	if (d->last_s > now_s + BACK_S)
		d->last_s = now_s;
	d->next_s = next_after(d, d->last_s);
	if (d->next_s >= 0 && d->next_s <= now_s - d->window_s) {
		int64_t first = d->next_s;

		d->next_s = latest(d, d->next_s, now_s - d->window_s);
		if (now_s - d->window_s - d->next_s > d->max_age_s)
			d->next_s = next_after(d, now_s - d->window_s);
		if (d->next_s != first)
			say_missed(d, first);
	}
	d->at_us = d->next_s * SECOND_US + put_off_us(d, d->next_s);
	if (d->next_s >= 0)
		heap_add(d->dues, d);
}

/* --- fire --- */

static void put_record(struct due *d, int64_t last_s, struct store_tx *tx)
{
	char text[48];
	auto_free char *key = xasprintf("due/%s", d->key);

	snprintf(text, sizeof(text), "%lld %lld", (long long)d->base_s, (long long)last_s);
	record_put_add(d->dues->store, tx, key, text);
}

static void fired(struct store_op *op, const struct err *e)
{
	struct firing *f = container_of(op, struct firing, tx.op);
	struct due *d = f->due;

	if (d && e->kind) {
		int64_t wait_s = 1ll << (d->failures < 6 ? d->failures : 6);

		log_warn("schedule", "%s is tried again: %s", d->key, e->text);
		journal_add(d->dues->journal, d->key, "late", "it is tried again: %s", e->text);
		d->firing = NULL;
		d->failures++;
		plan(d);
		if (d->place) {
			heap_del(d->dues, d);
			d->at_us = clock_wall_us() + (wait_s < RETRY_MAX_S ? wait_s : RETRY_MAX_S) * SECOND_US;
			heap_add(d->dues, d);
		}
		arm(d->dues);
	} else if (d) {
		d->firing = NULL;
		d->failures = 0;
		if (d->last_s < f->due_s)
			d->last_s = f->due_s;
		if (f->final && d->over) {
			d->over(d);
		} else {
			plan(d);
			arm(d->dues);
		}
	}
	free(f);
}

static void fire(struct due *d)
{
	struct dues *ds = d->dues;
	struct firing *f = xcalloc(1, sizeof(*f));

	heap_del(ds, d);
	d->firing = f;
	f->due = d;
	f->due_s = d->next_s;
	f->final = next_after(d, d->next_s) < 0;
	store_tx_init(&f->tx);
	f->tx.op.done = fired;
	put_record(d, d->next_s, &f->tx);
	d->fire(d, d->next_s, f->final, &f->tx);
	store_tx_start(ds->store, &f->tx);
}

static void on_timer(void *arg)
{
	struct dues *ds = arg;
	int64_t now_us = clock_wall_us();

	for (int i = 0; i < FIRE_AT_ONCE && ds->n && ds->heap[1]->at_us <= now_us; i++) {
		struct due *d = ds->heap[1];

		heap_del(ds, d); /* we may be late, and a later time have come */
		plan(d);
		if (d->place && d->at_us <= now_us)
			fire(d);
	}
	arm(ds);
}

/* CANCEL_ON_SET: reading says so when somebody sets the clock, and when the machine wakes up. */
static void watch_clock(struct dues *ds)
{
	struct itimerspec far = {.it_value.tv_sec = 1ll << 40};

	timerfd_settime(ds->fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &far, NULL);
}

void dues_look(struct dues *ds)
{
	size_t n = ds->n;
	struct due **all = xmemdup(ds->heap + 1, n * sizeof(struct due *));

	ds->n = 0;
	for (size_t i = 0; i < n; i++) {
		all[i]->place = 0;
		plan(all[i]);
	}
	free(all);
	arm(ds);
}

static void on_clock(void *arg, int events)
{
	struct dues *ds = arg;
	uint64_t times;

	if (read(ds->fd, &times, sizeof(times)) < 0 && errno == EAGAIN)
		return;
	watch_clock(ds);
	dues_look(ds);
}

void dues_journal(struct dues *ds, struct journal *j)
{
	ds->journal = j;
}

struct dues *dues_new(struct loop *l, struct store *s)
{
	struct dues *ds = xcalloc(1, sizeof(*ds));

	ds->loop = l;
	ds->store = s;
	ds->cap = 64;
	ds->heap = xcalloc(ds->cap, sizeof(struct due *));
	ds->timer = loop_timer_new(l, on_timer, ds);
	ds->fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (ds->fd >= 0) {
		watch_clock(ds);
		ds->watch = loop_fd_new(l, ds->fd, LOOP_READ, on_clock, ds);
	}
	return ds;
}

void dues_free(struct dues *ds)
{
	if (!ds)
		return;
	loop_timer_free(ds->timer);
	loop_defer_cancel(ds->loop, &ds->now);
	loop_fd_free(ds->watch);
	close_p(&ds->fd);
	free(ds->heap);
	free(ds);
}

void dues_start(struct dues *ds)
{
	ds->started = true;
	arm(ds);
}

void due_put(struct dues *ds, struct due *d, bool anew, struct store_tx *tx)
{
	auto_free char *key = xasprintf("due/%s", d->key);
	const char *text = anew ? NULL : record_get(ds->store, key);
	long long base, last;

	assert(!d->place && !d->firing);
	d->dues = ds;
	if (text && sscanf(text, "%lld %lld", &base, &last) == 2) {
		d->base_s = base;
		d->last_s = last;
	} else if (tx) {
		put_record(d, d->last_s, tx);
	}
	plan(d);
	arm(ds);
}

void due_remove(struct due *d)
{
	if (d->place)
		heap_del(d->dues, d);
	if (d->firing)
		d->firing->due = NULL;
	d->firing = NULL;
}

void due_forget(struct dues *ds, const char *due_key, struct store_tx *tx)
{
	auto_free char *key = xasprintf("due/%s", due_key);

	if (record_get(ds->store, key))
		record_del_add(ds->store, tx, key);
}
