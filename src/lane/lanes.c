/* SPDX-License-Identifier: Apache-2.0 */
#include "lane/lanes.h"
#include <math.h>
#include <stdio.h>
#include "base/map.h"
#include "base/mem.h"
#include "lane/lanes_int.h"

#define RECORD	     "auto/"
#define SERVICE_ROWS "service/"
#define SAVE_GROWTH  1.5 /* so much more was measured than the record says */
#define ANY_NUMBER   1000
#define SWEEP_FROM   64

struct lanes {
	struct lanes_opts o;
	struct map all;	 /* of struct mover, by subject */
	size_t sweep_at; /* so many of them, and those whose workload is gone are looked for */
};
struct mover {
	struct lanes *l;
	char subject[2 * LIM_NAME_BYTES + 16]; /* as in the ledger */
	struct loop_timer *timer;
	bool awake;
	struct measures m;
	double saved; /* requests that the record knows of */
	struct policy_lane_state policy;
	struct lane_break_even even;
	double forced;			   /* a test's break-even; 0: none */
	double requests;		   /* since the last look */
	int open;			   /* a service's, then: connections may last for hours */
	int64_t since_us;		   /* the last look */
	uint64_t requests_seen;		   /* a service's, and its CPU time, then */
	int64_t cpu_seen_us, open_seen_us; /* open: by the last look that saw requests */
	bool dry;
	char why[300];
};

/* Who that is now, as far as it is one that decides for itself. */
struct who {
	struct function *f;
	struct service *sv;
	enum lane lane;
	enum lane_wish wish;
	int seats, min;
	bool stays; /* in the container lane it has to */
	int64_t keep_us;
	const char *project, *name;
};

static bool look_up(const struct lanes *l, const char *subject, struct who *ret)
{
	struct str project, name;

	*ret = (struct who){0};
	if (!str_cut(str_of(subject), '/', &project, &name))
		return false;
	if (str_starts(str_of(subject), SERVICE_ROWS))
		ret->sv = service_get(l->o.services, STR("default"), name);
	if (ret->sv) {
		const struct service_spec *s = service_spec_of(ret->sv);
		struct service_lane_info i;

		service_lane_info(ret->sv, &i);
		ret->lane = i.lane, ret->wish = s->lane, ret->min = i.min, ret->keep_us = i.keep_us;
		ret->stays = *i.cannot;
		ret->seats = i.seats ? i.seats : ANY_NUMBER;
		ret->project = s->project, ret->name = s->name;
	} else if ((ret->f = function_get(l->o.store, name)) && str_eqc(project, ret->f->project)) {
		struct sched_lane_info i;

		sched_lane_info(l->o.sched, ret->f, &i);
		ret->lane = i.lane, ret->wish = ret->f->scale.lane, ret->min = ret->f->scale.min;
		ret->keep_us = ret->f->scale.keep_us, ret->seats = i.seats;
		ret->project = ret->f->project, ret->name = ret->f->name;
	}
	return (ret->f || ret->sv) && (ret->wish == LANE_WISH_AUTO || ret->wish == LANE_WISH_DRY);
}

/* ---- one of them ---- */

static void look_over(void *arg);

static struct mover *mover_new(struct lanes *l, const char *subject, const struct who *w)
{
	struct mover *m = xcalloc(1, sizeof(*m));

	m->l = l;
	strlcpy_(m->subject, subject, sizeof(m->subject));
	m->timer = loop_timer_new(l->o.loop, look_over, m);
	m->policy.lane = w->lane;
	m->dry = w->wish == LANE_WISH_DRY;
	map_put(&l->all, str_of(m->subject), m);
	return m;
}

static void mover_free(struct mover *m)
{
	map_del(&m->l->all, str_of(m->subject));
	loop_timer_free(m->timer);
	free(m);
}

static void save(struct mover *m)
{
	auto_free char *key = xasprintf(RECORD "%s", m->subject);
	auto_buf out = {0};
	struct jw w = jw_object(&out);

	jw_int(&w, "moves", m->policy.moves);
	jw_strc(&w, "lane", lane_name[m->policy.lane]);
	jw_strc(&w, "why", m->why);
	jw_int(&w, "revision", (int64_t)m->m.revision);
	measures_write(&m->m, &w, "measured");
	jw_end(&w, '}');
	record_put(m->l->o.store, NULL, key, out.p);
	m->saved = m->m.of[M_OPEN].n;
}

static void forget(struct mover *m)
{
	auto_free char *key = xasprintf(RECORD "%s", m->subject);

	record_del(m->l->o.store, NULL, key);
	mover_free(m);
}

/* Who sleeps is not told when its workload is deleted. */
static void sweep(struct lanes *l)
{
	struct mover *m;
	struct who w;

	for (size_t pos = 0; (m = map_next(&l->all, &pos));) {
		if (m->awake || look_up(l, m->subject, &w))
			continue;
		forget(m);
		pos--; /* another one may be there now */
	}
	l->sweep_at = 2 * l->all.n + SWEEP_FROM;
}

static void load(struct lanes *l, const char *subject, const struct who *w, const char *text)
{
	auto_json j = json_parse(str_of(text), NULL);
	struct mover *m = mover_new(l, subject, w);
	int64_t moves = json_get_int(j, "moves", 0);

	m->policy.moves = moves > 0 && moves < 100 ? (int)moves : 0;
	if (m->dry && str_eqc(json_get_str(j, "lane"), lane_name[LANE_CONTAINER]))
		m->policy.lane = LANE_CONTAINER;
	snprintf(m->why, sizeof(m->why), STR_FMT, STR_ARG(json_get_str(j, "why")));
	m->m.revision = (uint64_t)json_get_int(j, "revision", 0);
	measures_read(&m->m, json_get(j, "measured"));
	m->saved = m->m.of[M_OPEN].n;
}

/* ---- looks ---- */

static void count_service(struct mover *m, const struct who *w, double seconds)
{
	struct service_lane_info li;

	if (!w->sv)
		return;
	service_lane_info(w->sv, &li);
	if (seconds > 0 && li.asked >= m->requests_seen) {
		double cpu = (double)(li.cpu_us - m->cpu_seen_us) / 1e6;

		m->requests = (double)(li.asked - m->requests_seen);
		if (m->requests > 0)
			moments_add(&m->m.of[M_OPEN],
				    fmax((double)(li.open_us - m->open_seen_us), 0) / 1e6 / m->requests);
		if (cpu >= 0 && m->requests > 0) /* else one has ended meanwhile */
			moments_add(&m->m.of[M_CPU], cpu / m->requests);
		else if (cpu >= 0 && li.running)
			moments_add(&m->m.of[M_IDLE_CPU], fmin(cpu / seconds / li.running, 1));
	}
	if (li.held_bytes)
		m->m.of[M_HELD] = m->m.of[M_BASE] = (struct moments){1, (double)li.held_bytes, 0};
	if (li.start_us)
		m->m.of[M_START] = (struct moments){1, (double)li.start_us / 1e6, 0};
	if (!seconds || m->requests > 0)
		m->open_seen_us = li.open_us;
	m->requests_seen = li.asked;
	m->cpu_seen_us = li.cpu_us;
	m->open = li.open;
}

static void begin_look(struct mover *m, int64_t at_least_us)
{
	int64_t us = policy_lane_look_us(&m->policy);

	m->awake = true;
	m->requests = 0;
	m->since_us = loop_now_us(m->l->o.loop);
	loop_timer_in(m->timer, us > at_least_us ? us : at_least_us);
}

static struct lane_price machine_price(const struct lanes *l)
{
	const struct price_machine *p = &ledger_prices(l->o.ledger)->machine;

	return (struct lane_price){.usd_per_cpu_s = p->usd_per_cpu_us * 1e6,
				   .usd_per_byte_s = p->usd_per_byte_us * 1e6};
}

/* As sentences go: "0.4 requests/s, below the break-even of 3.1 (2.6 to 3.9); container would cost 2.1 times as much" */
static void explain(struct mover *m, enum lane_move move, double here, double there)
{
	static const char *const bound[LANE_MOVE_N] = {
		[LANE_HOVERS] = "not surely above or below", [LANE_STAY] = "below"};
	bool up = m->policy.lane == LANE_FUNCTION;
	const char *at = move == LANE_STAY && !up ? "above" : bound[move];
	const char *other = lane_name[up ? LANE_CONTAINER : LANE_FUNCTION];
	auto_buf out = {0};

	if (!at)
		at = up ? "above" : "below";
	if (m->dry)
		buf_addf(&out, "auto would have it in the %s lane: ", lane_name[m->policy.lane]);
	buf_addf(&out, "%.3g requests/s", m->policy.rate);
	if (m->even.low < m->even.high || m->even.crosses) {
		buf_addf(&out, ", %s the break-even of ", at);
		lane_break_even_text(&out, &m->even);
	}
	if (here > 0 && there <= 0)
		buf_addf(&out, "; %s would cost nothing", other);
	else if (here > 0)
		buf_addf(&out, "; %s would cost %.2g times as much", other, there / here);
	if (!m->even.crosses && m->even.low >= m->even.high)
		buf_addf(&out, ", whatever the rate");
	if (move == LANE_WAITS)
		buf_addf(&out, "; it moves when that lasts (%d of %d)", m->policy.votes, POLICY_LANE_VOTES);
	snprintf(m->why, sizeof(m->why), "%s", out.p);
}

static void act(struct mover *m, const struct who *w, double here, double there)
{
	enum lane from = m->policy.lane, to = from == LANE_FUNCTION ? LANE_CONTAINER : LANE_FUNCTION;
	auto_free char *subject = xasprintf("%s/%s", w->project, w->name);
	struct err e = {0};
	int ret = m->dry ? 0 : w->sv ? service_lane_set(w->sv, to, &e) : sched_lane_set(m->l->o.sched, w->f, to, &e);

	if (ret < 0) {
		snprintf(m->why, sizeof(m->why), "%s would cost %.2g times as much, and cannot be had: %.200s",
			 lane_name[to], there / here, e.text);
		return;
	}
	policy_lane_moved(&m->policy, to);
	explain(m, LANE_STAY, there, here);
	journal_add(m->l->o.journal, subject, "lane", "%s %s: %s", m->dry ? "would move to" : "moves to", lane_name[to],
		    m->why);
	save(m);
}

static void decide(struct mover *m, const struct who *w, int64_t us)
{
	struct lane_facts f = measure_facts(&m->m, w->seats, w->min, w->keep_us);
	struct lane_price p = machine_price(m->l);
	enum lane other = m->policy.lane == LANE_FUNCTION ? LANE_CONTAINER : LANE_FUNCTION;
	enum lane_move move;
	double here, there;

	if (m->m.of[M_OPEN].n < POLICY_LANE_SAMPLE && m->policy.lane == LANE_FUNCTION) {
		snprintf(m->why, sizeof(m->why), "%.0f requests measured, of %d that a decision takes",
			 m->m.of[M_OPEN].n, POLICY_LANE_SAMPLE);
		return;
	}
	lane_break_even(&f, &p, &p, &m->even);
	if (m->forced > 0)
		m->even = (struct lane_break_even){true, m->forced, m->forced, m->forced};
	move = policy_lane_see(&m->policy, &m->even, m->requests, us);
	here = lane_cost_hour(&f, &p, m->policy.lane, m->policy.rate);
	there = lane_cost_hour(&f, &p, other, m->policy.rate);
	explain(m, move, here, there);
	if (move == LANE_MOVES)
		act(m, w, here, there);
}

static void look_over(void *arg)
{
	struct mover *m = arg;
	int64_t us = loop_now_us(m->l->o.loop) - m->since_us;
	struct who w;

	m->awake = false;
	if (!look_up(m->l, m->subject, &w)) {
		forget(m);
		return;
	}
	if (m->dry != (w.wish == LANE_WISH_DRY) || (!m->dry && m->policy.lane != w.lane))
		m->policy = (struct policy_lane_state){.lane = w.lane}; /* by somebody else's hand */
	m->dry = w.wish == LANE_WISH_DRY;
	count_service(m, &w, (double)us / 1e6);
	if (m->requests > 0 || !m->open)
		decide(m, &w, us);
	if (m->requests > 0 || (m->policy.lane == LANE_CONTAINER && m->even.rate > 0 && !w.stays)) {
		begin_look(m, m->requests > 0 ? 0 : m->policy.window_us); /* as rarely as a verdict takes long */
		return;
	}
	m->since_us = loop_now_us(m->l->o.loop); /* it sleeps */
	if (m->m.of[M_OPEN].n > m->saved * SAVE_GROWTH)
		save(m);
}

static void on_row(void *arg, const char *subject, const struct ledger_row *r)
{
	struct lanes *l = arg;
	struct mover *m = map_get(&l->all, str_of(subject));
	bool asked = r->kind == LEDGER_REQUESTS || (r->kind == LEDGER_INVOKE && r->trigger != TRIGGER_CHECK);
	bool kept = r->kind == LEDGER_IDLE && r->lane == LANE_CONTAINER; /* whether anybody asks or not */
	struct who w;

	if (r->version && r->kind != LEDGER_REQUESTS) /* a published version has no lane; nor has a task */
		return;
	if (!m) {
		if ((!asked && !kept) || !look_up(l, subject, &w))
			return;
		if (l->all.n >= l->sweep_at)
			sweep(l);
		m = mover_new(l, subject, &w);
	}
	measure_row(&m->m, r, m->policy.rate * moments_mean(&m->m.of[M_OPEN]));
	if ((asked || kept) && !m->awake) {
		if (m->since_us)
			(void)policy_lane_see(&m->policy, &m->even, 0, loop_now_us(l->o.loop) - m->since_us);
		begin_look(m, 0);
		if (look_up(l, subject, &w))
			count_service(m, &w, 0);
	}
	m->requests += asked && r->kind == LEDGER_INVOKE;
}

/* ---- all ---- */

struct lanes *lanes_new(const struct lanes_opts *o)
{
	struct lanes *l = xcalloc(1, sizeof(*l));
	char key[sizeof(((struct mover *)0)->subject) + sizeof(RECORD)] = "";
	const struct record *r;
	struct who w;

	l->o = *o;
	while ((r = record_next(o->store, RECORD, *key ? key : NULL))) {
		snprintf(key, sizeof(key), "%s", r->key);
		if (look_up(l, key + strlen(RECORD), &w))
			load(l, key + strlen(RECORD), &w, r->value);
		else
			record_del(o->store, NULL, key);
	}
	ledger_on_watched(o->ledger, on_row, l);
	for (size_t pos = 0;;) { /* who is in the container lane may have no requests any more */
		struct mover *m = map_next(&l->all, &pos);

		if (!m)
			break;
		if (m->policy.lane == LANE_CONTAINER)
			begin_look(m, 0);
	}
	return l;
}

void lanes_free(struct lanes *l)
{
	if (!l)
		return;
	ledger_on_watched(l->o.ledger, NULL, NULL);
	for (size_t pos = 0;; pos = 0) {
		struct mover *m = map_next(&l->all, &pos);

		if (!m)
			break;
		mover_free(m);
	}
	map_done(&l->all);
	free(l);
}

const char *lanes_why(const struct lanes *l, const char *subject)
{
	const struct mover *m = map_get(&l->all, str_of(subject));
	struct who w;

	return m && *m->why && look_up(l, subject, &w) ? m->why : NULL; /* it may have been told where to be */
}

#if TANDEM_DEBUG
int lanes_break_even(struct lanes *l, const char *subject, double rate)
{
	struct mover *m = map_get(&l->all, str_of(subject));

	if (m)
		m->forced = rate;
	return m ? 0 : -1;
}
#endif
