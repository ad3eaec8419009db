/* SPDX-License-Identifier: Apache-2.0 */
#include "sched/budget.h"
#include <stdio.h>
#include <time.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "json/read.h"
#include "store/record.h"

#define KEY	   "budget/"
#define NAME_BYTES 64
#define USD_MAX	   1e9
#define HOUR_US	   3600000000ll
#define RUNNING_US 5000000  /* so often what runs is looked at, while rows come */
#define STILL_US   60000000 /* and without, but sooner where it is to be spent sooner */

const char *const budget_per_name[BUDGET_PER_N] = {"hour", "day", "month"};
const char *const budget_on_name[BUDGET_ON_N] = {"machine", "aws"};
const char *const budget_then_name[BUDGET_THEN_N] = {"warn", "throttle", "stop"};

struct budget {
	struct list node;
	struct budgets *all;
	char name[NAME_BYTES + 1];
	char *project, *tag, *workload; /* one of the last two is NULL */
	double usd, spent;
	double running; /* what runs has cost in this period so far, of services and tasks */
	int64_t running_seen_us;
	enum budget_per per;
	enum budget_on on;
	enum budget_then then;
	int64_t begin_wall_us, end_wall_us;
	int told;  /* percent that were said of this period */
	bool asks; /* the ledger is asked what the period has cost until the question */
	bool gone; /* deleted meanwhile: its answer frees it */
	struct ledger_query q;
};
struct budgets {
	struct budgets_opts o;
	struct list list;
	unsigned n, n_closed;
	unsigned n_asks;	  /* that may be closed, once it is known what they have used */
	struct loop_timer *opens; /* armed: some are closed */
	struct loop_timer *looks; /* armed: something runs that spends of one that is not used up */
	int64_t look_us;	  /* when; 0: not armed */
	struct loop_defer defer;  /* changed is called where nothing else is under way */
};

int64_t budget_period(enum budget_per per, int64_t wall_us, int64_t *ret_end_wall_us)
{
	int64_t span = per == BUDGET_HOUR ? HOUR_US : 24 * HOUR_US, begin = wall_us - wall_us % span;
	time_t day = (time_t)(wall_us / 1000000);
	struct tm tm;

	*ret_end_wall_us = begin + span;
	if (per != BUDGET_MONTH || !gmtime_r(&day, &tm))
		return begin;
	begin -= (tm.tm_mday - 1) * span;
	tm = (struct tm){.tm_year = tm.tm_year, .tm_mon = tm.tm_mon + 1, .tm_mday = 1};
	*ret_end_wall_us = (int64_t)timegm(&tm) * 1000000;
	return begin;
}

static bool has_tag(const char *tags, const char *tag)
{
	struct str rest = str_of(tags), one;

	while (str_next(&rest, ',', &one))
		if (str_eqc(one, tag))
			return true;
	return false;
}

static bool is_of(const struct budget *g, const char *workload, const char *tags)
{
	return g->workload ? !strcmp(g->workload, workload) : has_tag(tags, g->tag);
}

static bool is_unknown(const struct budget *g)
{
	return g->asks && g->then != BUDGET_WARN;
}

static double used(const struct budget *g)
{
	return g->spent + g->running;
}

static bool is_closed(const struct budget *g)
{
	return g->then != BUDGET_WARN && used(g) >= g->usd;
}

static void say_use(const struct budget *g, char *ret, size_t size)
{
	char when[32];

	clock_fmt_iso(g->end_wall_us, when);
	snprintf(ret, size, "budget %s: %.6g of %.6g USD of this %s are used (%s%s, by the price of %s); %s %.19sZ",
		 g->name, used(g), g->usd, budget_per_name[g->per], g->tag ? "tag " : "", g->tag ? g->tag : g->workload,
		 g->on == BUDGET_AWS ? "AWS" : "this machine",
		 is_closed(g) ? "it opens again at" : "the next begins at", when);
}

static void find_closed(struct budgets *b);

static void changed(void *arg)
{
	struct budgets *b = arg;

	b->o.changed(b->o.arg);
}

static void due(void *arg)
{
	find_closed(arg);
}

/* Also one that somebody set the clock back to. */
static bool is_over(const struct budget *g, int64_t now_wall_us)
{
	return now_wall_us < g->begin_wall_us || now_wall_us >= g->end_wall_us;
}

/* A new period begins with nothing used, and is open. */
static void roll(struct budget *g, int64_t now_wall_us)
{
	if (!is_over(g, now_wall_us))
		return;
	g->begin_wall_us = budget_period(g->per, now_wall_us, &g->end_wall_us);
	g->spent = g->running = 0;
	g->told = 0;
}

static void find_closed(struct budgets *b)
{
	int64_t now = clock_wall_us(), next = INT64_MAX;
	unsigned n = 0, asks = 0, opened = 0;

	list_each(&b->list, it)
	{
		struct budget *g = container_of(it, struct budget, node);
		bool was = is_closed(g);

		roll(g, now);
		if (was && !is_closed(g)) {
			opened++;
			journal_add(b->o.journal, g->project, "budget", "budget %s is open again: a new %s has begun",
				    g->name, budget_per_name[g->per]);
		}
		n += is_closed(g);
		asks += is_unknown(g);
		if (is_closed(g) && g->end_wall_us < next)
			next = g->end_wall_us;
	}
	if (next < INT64_MAX)
		loop_timer_in(b->opens, next - now);
	else
		loop_timer_stop(b->opens);
	if (n == b->n_closed && asks == b->n_asks && !opened)
		return;
	b->n_closed = n;
	b->n_asks = asks;
	if (!b->defer.queued)
		loop_defer(b->o.loop, &b->defer, changed, b);
}

static void look(struct budget *g)
{
	int percent = used(g) >= g->usd ? 100 : used(g) >= 0.8 * g->usd ? 80 : 0;
	char text[320];

	if (percent <= g->told)
		return;
	g->told = percent;
	say_use(g, text, sizeof(text));
	journal_add(g->all->o.journal, g->project, "budget", "%s", text);
	if (is_closed(g))
		find_closed(g->all);
}

/* ---- what is used ---- */

/* Of a stretch only what lies in this period. */
static double share(const struct budget *g, const struct ledger_row *r)
{
	int64_t took = r->kind == LEDGER_INVOKE ? 0 : r->idle_ms * 1000ll, end = r->start_wall_us + took;

	if (took <= 0 || r->start_wall_us >= g->begin_wall_us)
		return r->start_wall_us >= g->begin_wall_us ? 1 : 0;
	return end > g->begin_wall_us ? (double)(end - g->begin_wall_us) / (double)took : 0;
}

static double price(const struct budget *g, const struct ledger_row *r)
{
	return g->on == BUDGET_AWS ? r->usd_aws : r->usd_machine;
}

static void look_in(struct budgets *b, int64_t us)
{
	int64_t at = clock_now_us() + us;

	if (b->look_us && b->look_us <= at)
		return;
	b->look_us = at;
	loop_timer_in(b->looks, us);
}

/* Half of the time in which the next 80 or 100 % are reached at this rate. */
static void look_later(struct budget *g, double usd_us)
{
	double left = (g->told ? 1 : 0.8) * g->usd - used(g), us = left / usd_us / 2;

	if (usd_us > 0 && g->told < 100)
		look_in(g->all, us < RUNNING_US ? RUNNING_US : us > STILL_US ? STILL_US : (int64_t)us);
}

/* A container has its row when it ends: what runs is asked for now and then. */
static bool may_run(const struct budget *g)
{
	return g->all->o.running && !g->gone &&
	       (!g->workload || str_starts(str_of(g->workload), "service/") ||
		str_starts(str_of(g->workload), "task/"));
}

static void see_running(struct budget *g, const struct ledger_query *q)
{
	double rate = 0;

	g->running_seen_us = clock_now_us();
	g->running = 0;
	for (size_t i = 0; i < q->n_so_far; i++) {
		const struct ledger_row *r = &q->so_far[i].row;

		if (!is_of(g, q->so_far[i].workload, ledger_text(g->all->o.ledger, r->tags)))
			continue;
		g->running += share(g, r) * price(g, r);
		rate += price(g, r) / (1000.0 * r->idle_ms + 1);
	}
	look(g);
	look_later(g, rate);
}

/* only: one of them, or NULL for all. */
static void look_at_running(struct budgets *b, struct budget *only)
{
	struct ledger_query q = {0};

	if (!b->o.running)
		return;
	b->o.running(b->o.arg, &q);
	for (size_t i = 0; i < q.n_so_far; i++)
		ledger_price_row(b->o.ledger, &q.so_far[i].row);
	list_each(&b->list, it)
	{
		struct budget *g = container_of(it, struct budget, node);

		if (may_run(g) && (!only || g == only))
			see_running(g, &q);
	}
	free(q.so_far);
}

/* Also a period that ended without a row is over. */
static void look_at_all(void *arg)
{
	struct budgets *b = arg;

	b->look_us = 0;
	find_closed(b);
	look_at_running(b, NULL);
}

void budgets_began(struct budgets *b)
{
	if (b && b->n)
		look_in(b, RUNNING_US);
}

void budgets_row(struct budgets *b, const struct ledger_row *r)
{
	const char *workload, *tags;
	int64_t now;

	if (!b || !b->n || r->kind >= LEDGER_UNUSED)
		return;
	now = clock_wall_us();
	workload = ledger_text(b->o.ledger, r->workload);
	tags = ledger_text(b->o.ledger, r->tags);
	list_each(&b->list, it)
	{
		struct budget *g = container_of(it, struct budget, node);

		if (!is_of(g, workload, tags))
			continue;
		if (is_over(g, now))
			find_closed(b);
		g->spent += share(g, r) * price(g, r);
		if (may_run(g) && (r->kind == LEDGER_TASK || clock_now_us() - g->running_seen_us >= RUNNING_US))
			look_at_running(b, g);
		look(g);
	}
}

static void budget_free(struct budget *g)
{
	list_del(&g->node);
	free(g->project);
	free(g->tag);
	free(g->workload);
	free(g);
}

/* Rows since the question were added here as they came. */
static void answered(struct ledger_query *q, struct buf *json, const struct err *e)
{
	struct budget *g = container_of(q, struct budget, q);
	auto_json j = e->kind ? NULL : json_parse(buf_str(json), NULL);
	const struct json *sums = json_get(j, "sums"), *s;
	int64_t began = q->since_wall_us;

	g->asks = false;
	if (g->gone) {
		budget_free(g);
		return;
	}
	if (e->kind)
		log_warn("budget", "%s: what this period has cost is not known: %s", g->name, e->text);
	for (size_t i = 0; (s = json_at(sums, i)) && began == g->begin_wall_us; i++)
		if (str_eqc(json_get_str(s, "key"), g->tag ? g->tag : g->workload))
			g->spent += json_real(json_get(s, g->on == BUDGET_AWS ? "usd_aws" : "usd_machine"), 0);
	if (may_run(g))
		look_at_running(g->all, g);
	look(g);
	find_closed(g->all);
}

static void ask(struct budget *g)
{
	g->asks = true;
	g->spent = 0;
	g->q = (struct ledger_query){.since_wall_us = g->begin_wall_us, .done = answered};
	strlcpy_(g->q.by, g->tag ? "tag" : "workload", sizeof(g->q.by));
	if (g->workload)
		strlcpy_(g->q.workload, g->workload, sizeof(g->q.workload));
	ledger_query_start(g->all->o.ledger, &g->q);
}

/* ---- declared ---- */

static struct budget *find(const struct budgets *b, struct str name)
{
	list_each(&b->list, it)
	{
		struct budget *g = container_of(it, struct budget, node);

		if (!g->gone && str_eqc(name, g->name))
			return g;
	}
	return NULL;
}

static int word_of(const struct json *doc, const char *member, const char *const *names, int n, struct err *e)
{
	struct str v = json_get_str(doc, member);

	for (int i = 0; i < n; i++)
		if (str_eqc(v, names[i]))
			return i;
	return err_set(e, ERR_INVALID, "%s \"%.40s\" is none of those there are", member, v.n ? v.p : "");
}

static int read_doc(struct budget *g, const struct json *doc, struct err *e)
{
	struct str tag = json_get_str(doc, "Tag"), workload = json_get_str(doc, "Workload");
	double usd = json_real(json_get(doc, "Usd"), -1);
	int per = word_of(doc, "Per", budget_per_name, BUDGET_PER_N, e);
	int on = per < 0 ? -1 : word_of(doc, "On", budget_on_name, BUDGET_ON_N, e);
	int then = on < 0 ? -1 : word_of(doc, "Then", budget_then_name, BUDGET_THEN_N, e);

	if (then < 0)
		return -1;
	if (!tag.n == !workload.n || tag.n > 512 || workload.n > 159)
		return err_set(e, ERR_INVALID, "a budget has a tag or a workload");
	if (!(usd > 0 && usd <= USD_MAX))
		return err_set(e, ERR_INVALID, "usd is what may be used, above 0");
	g->tag = tag.n ? str_dup(tag) : NULL;
	g->workload = workload.n ? str_dup(workload) : NULL;
	g->usd = usd;
	g->per = (enum budget_per)per;
	g->on = (enum budget_on)on;
	g->then = (enum budget_then)then;
	return 0;
}

static struct budget *budget_new(struct budgets *b, struct str name, const struct json *doc, const char *project,
				 struct err *e)
{
	struct budget *g = xcalloc(1, sizeof(*g));

	list_init(&g->node);
	g->all = b;
	g->project = xstrdup(project);
	memcpy(g->name, name.p, name.n);
	if (read_doc(g, doc, e) < 0) {
		budget_free(g);
		return NULL;
	}
	g->begin_wall_us = budget_period(g->per, clock_wall_us(), &g->end_wall_us);
	list_push(&b->list, &g->node);
	b->n++;
	ask(g);
	return g;
}

static void forget(struct budget *g)
{
	if (is_closed(g))
		journal_add(g->all->o.journal, g->project, "budget",
			    "budget %s is open again: it was deleted or declared anew", g->name);
	g->all->n--;
	g->gone = true;
	g->then = BUDGET_WARN;
	if (!g->asks)
		budget_free(g);
}

static int add_member(void *arg, const char *key, const struct json *v)
{
	auto_free char *text = json_text(v);

	if (strcmp(key, "project") != 0)
		jw_raw(arg, key, str_of(text));
	return 0;
}

int budget_put(struct budgets *b, struct str name, const struct json *doc, const char *project, struct store_tx *tx,
	       struct err *e)
{
	struct budget *old = find(b, name);
	auto_buf text = {0};
	auto_free char *key = NULL;
	struct jw w = jw_object(&text);

	if (!str_name_ok(name, NAME_BYTES, "-_."))
		return err_set(e, ERR_INVALID, "the name of a budget has 1 to %d letters, digits, - and _", NAME_BYTES);
	if (!old && b->n >= BUDGETS_MAX)
		return err_set(e, ERR_LIMIT, "there are %d budgets already", BUDGETS_MAX);
	if (!budget_new(b, name, doc, project, e))
		return -1;
	if (old)
		forget(old);
	json_each(doc, add_member, &w);
	jw_strc(&w, "project", project);
	jw_end(&w, '}');
	key = xasprintf(KEY STR_FMT, STR_ARG(name));
	record_put_add(b->o.store, tx, key, text.p);
	find_closed(b);
	return 0;
}

void budget_delete(struct budgets *b, struct str name, struct store_tx *tx)
{
	struct budget *g = find(b, name);
	auto_free char *key = xasprintf(KEY STR_FMT, STR_ARG(name));

	record_del_add(b->o.store, tx, key);
	if (g)
		forget(g);
	find_closed(b);
}

struct budgets *budgets_new(const struct budgets_opts *o)
{
	struct budgets *b = xcalloc(1, sizeof(*b));
	struct err e;

	b->o = *o;
	list_init(&b->list);
	b->opens = loop_timer_new(o->loop, due, b);
	b->looks = loop_timer_new(o->loop, look_at_all, b);
	for (const struct record *x = record_next(o->store, KEY, NULL); x; x = record_next(o->store, KEY, x->key)) {
		struct str name = str_of(x->key + strlen(KEY)), project;
		auto_json doc = json_parse(str_of(x->value), NULL);

		project = json_get_str(doc, "project");
		if (name.n > NAME_BYTES || !budget_new(b, name, doc, project.n ? project.p : "api", &e))
			log_error("budget", "%s cannot be read", x->key);
	}
	find_closed(b);
	return b;
}

void budgets_free(struct budgets *b)
{
	if (!b)
		return;
	list_each(&b->list, it)
	{
		struct budget *g = container_of(it, struct budget, node);

		list_del(&g->node);
		g->gone = true; /* its answer, that the ledger is closed, is still to come */
		if (!g->asks)
			budget_free(g);
	}
	if (b->defer.queued)
		loop_defer_cancel(b->o.loop, &b->defer);
	loop_timer_free(b->opens);
	loop_timer_free(b->looks);
	free(b);
}

/* ---- asked ---- */

bool budgets_any_closed(const struct budgets *b)
{
	return b && b->n_closed + b->n_asks;
}

bool budgets_closed(const struct budgets *b, const char *workload, const char *tags, bool or_unknown,
		    struct budget_stop *ret)
{
	struct budget_stop stop = {0};
	int64_t now = clock_wall_us();
	bool found = false;

	if (!budgets_any_closed(b))
		return false;
	list_each(&b->list, it)
	{
		const struct budget *g = container_of(it, struct budget, node);

		if (!(is_closed(g) || (or_unknown && is_unknown(g))) || !is_of(g, workload, tags))
			continue;
		if (is_over(g, now)) { /* the clock was set, or the machine slept: the timer is late */
			loop_timer_in(b->opens, 0);
			if (!(or_unknown && is_unknown(g)))
				continue;
		}
		found = true;
		stop.stops |= is_closed(g) && g->then == BUDGET_STOP;
		if (g->end_wall_us > stop.open_wall_us) {
			stop.open_wall_us = g->end_wall_us;
			say_use(g, stop.why, sizeof(stop.why));
		}
	}
	if (ret)
		*ret = stop;
	return found;
}

const char *budgets_note(const struct budgets *b, const char *workload, const char *tags, char ret[320])
{
	struct budget_stop stop;

	if (budgets_closed(b, workload, tags, false, &stop)) {
		strlcpy_(ret, stop.why, 320);
		return ret;
	}
	if (b)
		list_each(&b->list, it)
		{
			const struct budget *g = container_of(it, struct budget, node);

			if (!g->gone && g->told && clock_wall_us() < g->end_wall_us && is_of(g, workload, tags)) {
				say_use(g, ret, 320);
				return ret;
			}
		}
	return NULL;
}

void budgets_json(struct budgets *b, struct jw *w)
{
	char when[32], text[320];

	look_at_all(b);
	jw_arr(w, "budgets");
	list_each(&b->list, it)
	{
		struct budget *g = container_of(it, struct budget, node);

		if (g->gone)
			continue;
		jw_obj(w, NULL);
		jw_strc(w, "name", g->name);
		jw_strc(w, "project", g->project);
		jw_strc(w, "tag", g->tag);
		jw_strc(w, "workload", g->workload);
		jw_real(w, "usd", g->usd);
		jw_real(w, "spent", used(g));
		jw_strc(w, "per", budget_per_name[g->per]);
		jw_strc(w, "on", budget_on_name[g->on]);
		jw_strc(w, "then", budget_then_name[g->then]);
		jw_strc(w, "state",
			is_closed(g)		  ? "closed"
			: used(g) >= g->usd	  ? "over"
			: used(g) >= 0.8 * g->usd ? "near"
						  : "open");
		jw_strc(w, "until", clock_fmt_iso(g->end_wall_us, when));
		say_use(g, text, sizeof(text));
		jw_strc(w, "text", text);
		jw_end(w, '}');
	}
	jw_end(w, ']');
}
