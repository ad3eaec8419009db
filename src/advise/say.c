/* SPDX-License-Identifier: Apache-2.0 */
#include "advise/say_int.h"
#include <math.h>

#define COLUMNS 80
#define LABEL	10 /* columns before the text of a line */
#define MONTH_H 730
#define MUCH	1.5 /* times as slow: worth a word */

/* ---- pieces of sentences ---- */

/* A label, and a text that is broken between words. */
static void line(struct buf *out, const char *label, struct str text)
{
	size_t column = LABEL;
	struct str word;

	buf_addf(out, "  %-*s", LABEL - 2, label);
	while (str_next(&text, ' ', &word)) {
		if (column > LABEL && column + 1 + word.n > COLUMNS) {
			buf_addf(out, "\n%*s", LABEL, "");
			column = LABEL;
		} else if (column > LABEL) {
			buf_addc(out, ' ');
			column++;
		}
		buf_addstr(out, word);
		column += word.n;
	}
	buf_addc(out, '\n');
}

static void usd_month(struct buf *out, double usd_hour)
{
	double month = usd_hour * MONTH_H;

	if (month > 0 && month < 0.0001)
		buf_adds(out, "less than $0.0001");
	else
		buf_addf(out, month >= 100 ? "$%.0f" : month >= 0.1 ? "$%.2f" : month > 0 ? "$%.2g" : "$0", month);
}

static double rounded(double v)
{
	double unit = v > 0 ? pow(10, floor(log10(v)) - 1) : 1;

	return round(v / unit) * unit;
}

static void rate(struct buf *out, double v)
{
	buf_addf(out, v >= 1e6 ? "%.0e" : v >= 100 ? "%.0f" : v >= 0.0001 || v <= 0 ? "%.4g" : "%.6f", rounded(v));
}

static void range(struct buf *out, const struct lane_break_even *e)
{
	rate(out, e->rate);
	buf_adds(out, " requests/s (");
	rate(out, e->low);
	if (!isfinite(e->high)) {
		buf_adds(out, " or more)");
		return;
	}
	buf_adds(out, " to ");
	rate(out, e->high);
	buf_addc(out, ')');
}

/* Where the numbers come from that costs are made of: "[measured, assumed]". */
static void origins(struct buf *out, const struct facts *f)
{
	static const enum fact of[] = {FACT_RATE, FACT_DURATION, FACT_CPU, FACT_MEMORY, FACT_START};
	const char *before = " [";

	for (int o = KNOWN_FROM_N; o-- > 0;)
		for (size_t i = 0; i < ARRAY_SIZE(of); i++)
			if ((int)f->n[of[i]].from == o) {
				buf_addf(out, "%s%s", before, known_from_name[o]);
				before = ", ";
				break;
			}
	buf_addc(out, ']');
}

void say_with_name(struct buf *out, const char *text, const char *name)
{
	for (const char *p = text; *p; p++)
		if (!strncmp(p, "NAME", 4))
			buf_adds(out, name), p += 3;
		else
			buf_addc(out, *p);
}

const char *say_verdict(const struct advice *a)
{
	return a->none ? "contradiction" : lane_name[a->lane];
}

bool say_is_task(const struct advice *a)
{
	return a->job && !a->worker && a->lane == LANE_CONTAINER;
}

const char *say_form(const struct facts *f, const struct advice *a)
{
	if (a->none)
		return a->clash ? "two of its numbers exclude each other" : "nothing is left that could run it";
	if (a->lane == LANE_VM)
		return "a machine of its own, beside Tandem: it has no such lane";
	if (f->now < LANE_N && f->now != a->lane)
		return a->lane == LANE_FUNCTION ? "now container; this one by lane: function in tandem.yaml"
						: "now function; this one by lane: container in tandem.yaml";
	if (f->now < LANE_N)
		return "as it is now";
	if (a->lane == LANE_FUNCTION)
		return "functions: in tandem.yaml";
	if (a->job)
		return a->worker ? "services: in tandem.yaml, a worker that is kept up"
				 : "tasks: in tandem.yaml, one for each run";
	if (f->flags & FLAG_TO_ZERO)
		return "services: in tandem.yaml with min: 0, which sleeps";
	for (unsigned i = 0; i < rules_n; i++)
		if (a->hold >> i & 1 && rules[i].lanes & 1u << LANE_FUNCTION && rules[i].is != RULE_SLOW_START &&
		    rules[i].which != FLAG_WARM)
			return "services: in tandem.yaml";
	return "services: in tandem.yaml, or a function with lane: container";
}

static void at_place(struct buf *out, enum place p, const struct advice *a)
{
	buf_addf(out, "%s%s",
		 p != PLACE_HERE ? "at "
		 : a->fits	 ? ""
				 : "on more machines like this one",
		 p != PLACE_HERE || a->fits ? place_name[p] : "");
}

/* ---- sentences ---- */

static void latency(struct buf *out, const struct facts *f, const struct advice *a, const struct advise_market *m)
{
	const char *before = "; ";

	if (a->lane == LANE_VM) {
		buf_adds(out, "a machine that is up answers without a start; one that is not takes seconds to minutes");
		return;
	}
	buf_adds(out, "a start takes ");
	fact_marked(out, f, FACT_START);
	if (a->job && !a->worker) {
		buf_adds(out, ", and each run waits for one; it takes ");
		fact_marked(out, f, FACT_DURATION);
		return;
	}
	for (enum lane l = 0; l < LANE_VM; l++)
		if (a->simulated[l] && (a->by_cost || l == a->lane)) {
			buf_addf(out, a->cold_share[l] < 0.995 ? "%s%s: %.2g %%" : "%s%s: %.0f %%", before,
				 lane_name[l], 100 * a->cold_share[l]);
			buf_adds(out, " wait for it, 99 % are answered within ");
			fact_text(out, FACT_DURATION, a->latency_p99_s[l]);
			before = " [simulated], ";
		}
	if (!a->simulated[a->lane])
		buf_adds(out, a->lane == LANE_FUNCTION || f->flags & FLAG_TO_ZERO ? ", and a request may wait for one"
										  : "; one instance is always up");
	else
		buf_adds(out, " [simulated]");
	if (a->lane == LANE_CONTAINER && a->simulated[LANE_CONTAINER] && a->simulated[LANE_FUNCTION] &&
	    a->latency_p99_s[LANE_CONTAINER] > MUCH * a->latency_p99_s[LANE_FUNCTION])
		buf_adds(out, ": several share the CPU of one instance; more of it (cpu:, vcpu) shortens that");
}

static void cost(struct buf *out, const struct facts *f, const struct advice *a, const struct advise_market *m)
{
	const struct advise_place *p = &a->place[m->decides];
	enum lane less = p->usd_hour[LANE_CONTAINER] < p->usd_hour[LANE_FUNCTION] ? LANE_CONTAINER : LANE_FUNCTION;

	if (a->lane == LANE_VM) {
		buf_adds(out, "a whole machine, busy or not: its price, whatever it does");
		return;
	}
	buf_adds(out, !a->by_cost ? "" : a->same ? "both cost the same " : lane_name[less]);
	buf_adds(out, !a->by_cost || a->same ? "" : " costs less ");
	if (a->by_cost) {
		at_place(out, m->decides, a);
		buf_adds(out, ": ");
	}
	usd_month(out, p->usd_hour[a->by_cost ? less : a->lane]);
	buf_adds(out, " a month");
	if (a->by_cost && !a->same) {
		buf_addf(out, ", %s ", lane_name[!less]);
		usd_month(out, p->usd_hour[!less]);
	} else if (!a->by_cost) {
		buf_addc(out, ' ');
		at_place(out, m->decides, a);
		buf_adds(out, f->flags & FLAG_TO_ZERO ? " at most, and no choice" : ", and no choice");
	}
	origins(out, f);
	buf_adds(out, ", at ");
	fact_marked(out, f, FACT_RATE);
	if (m->decides == PLACE_HERE)
		buf_addf(out, ", $%.3g an hour for this machine", m->machine.usd_hour);
	buf_addf(out, ", prices of %s%s", m->prices->as_of, f->n[FACT_GPUS].v > 0 ? ", without the GPU" : "");
	if (a->unsure)
		buf_adds(out, "; but a function's limit may be too small, and a task has none");
	else if (a->by_cost && less != a->lane && !a->same)
		buf_addf(out, "; but it is too close to be sure (%.0f %%), and a function keeps nothing up",
			 100 * a->certainty);
}

void say_even(struct buf *out, const struct advice *a, enum place k)
{
	const struct advise_place *p = &a->place[k];

	if (p->even.crosses)
		range(out, &p->even);
	else if (!p->function && !p->container)
		buf_adds(out, "neither can be had");
	else if (!p->function || !p->container)
		buf_addf(out, "only a %s can be had",
			 p->function ? lane_name[LANE_FUNCTION] : lane_name[LANE_CONTAINER]);
	else if (k == PLACE_HERE && a->same)
		buf_adds(out, "never: they cost the same");
	else
		buf_addf(out, "%s costs less at any rate",
			 p->even.rate > 0 ? "never: a function" : "always: a container");
}

/* Whether a limit that does not hold is near enough to be spoken of. */
static bool near(const struct facts *f, const struct rule *r, enum lane lane)
{
	return r->is == RULE_OVER && r->lanes & 1u << lane && r->limit > 0 && f->n[r->which].from != KNOWN_ASSUMED &&
	       f->n[r->which].v > r->limit / 20;
}

static void changes(struct buf *out, const struct facts *f, const struct advice *a, const struct advise_market *m)
{
	const struct advise_place *p = &a->place[m->decides];
	uint32_t others = (1u << LANE_N) - 1 - (a->lane != LANE_VM ? 1u << LANE_VM : 0);
	const char *before = "";

	if (a->by_cost && p->even.crosses) {
		bool above = a->lane == LANE_FUNCTION && f->n[FACT_RATE].v >= p->even.rate; /* but not surely */

		buf_addf(out, "%s than ", above ? "surely more" : a->lane == LANE_FUNCTION ? "more" : "less");
		rate(out, above && isfinite(p->even.high) ? p->even.high : p->even.rate);
		buf_adds(out, " requests/s");
		if (a->certainty < ADVISE_SURE)
			buf_adds(out, " (lane: auto would follow it)");
		before = "; ";
	}
	for (unsigned i = 0; i < rules_n; i++) {
		bool on = a->hold >> i & 1;

		if (on ? !((rules_lanes(f, a->hold & ~((uint64_t)1 << i)) ^ a->lanes) & others)
		       : !near(f, &rules[i], a->lane))
			continue;
		buf_adds(out, before);
		before = "; ";
		if (on)
			buf_adds(out, "without ");
		rule_key(out, &rules[i], f);
		if (rules[i].is == RULE_OVER && rules[i].limit > 0) {
			buf_adds(out, " over ");
			fact_text(out, rules[i].which, rules[i].limit);
		}
	}
	if (!*before)
		buf_adds(out, "nothing that is near");
}

static void risk(struct buf *out, const struct facts *f, const struct advice *a, const struct advise_market *m)
{
	if (!(a->risk_share > 0)) {
		buf_adds(out, "no number decides it");
		return;
	}
	buf_addf(out, "%s: ", fact_name(a->riskiest));
	fact_marked(out, f, a->riskiest);
	buf_addf(out, ", %.0f %% of what is uncertain. Settled by: %s", 100 * a->risk_share,
		 f->now == LANE_N ? "tandem up, then " : "");
	say_with_name(out,
		      say_is_task(a) ? "tandem run NAME, with the largest input"
		      : f->n[a->riskiest].from == KNOWN_MEASURED
			      ? advise_benchmark(FACT_RATE) /* no benchmark goes before its traffic */
			      : advise_benchmark(a->riskiest),
		      f->name);
	if (f->bench_stale)
		buf_addf(out, " (%s)", f->bench);
}

/* The i-th thing that could be given up: what a rule looks at that holds, each once, and last the lanes that are taken. */
static bool at_hand(const struct facts *f, const struct advice *a, unsigned i)
{
	if (i == rules_n)
		return f->lanes != 0;
	for (unsigned k = 0; k < i; k++)
		if (a->hold >> k & 1 && rules[k].is == rules[i].is &&
		    (rules[i].is == RULE_SLOW_START || rules[k].which == rules[i].which))
			return false;
	return a->hold >> i & 1 && rules[i].lanes;
}

static void give_up_one(struct buf *out, struct facts *f, unsigned i)
{
	if (i == rules_n) {
		buf_adds(out, "lanes");
		f->lanes = 0;
	} else {
		rule_key(out, &rules[i], f);
		rule_give_up(f, &rules[i]);
	}
}

/* One of what holds, or two where one is not enough. */
static void give_up(struct buf *out, const struct facts *f, const struct advice *a, const struct advise_market *m)
{
	const char *before = "";

	for (unsigned two = 0; two < 2 && !*before; two++)
		for (unsigned i = 0; i <= rules_n; i++)
			for (unsigned k = i + two; k <= (two ? rules_n : i); k++) {
				auto_buf one = {0};
				struct facts g = *f;
				uint32_t left;

				if (!at_hand(f, a, i) || !at_hand(f, a, k))
					continue;
				give_up_one(&one, &g, i);
				buf_adds(&one, two ? " and " : "");
				if (two)
					give_up_one(&one, &g, k);
				left = rules_lanes(&g, rules_hold(&g));
				if (!left)
					continue;
				buf_addf(out, "%s%s (then: %s)", before, one.p, lane_name[__builtin_ctz(left)]);
				before = ", or ";
			}
	if (!*before)
		buf_adds(out, "more than two of these");
}

static void correct(struct buf *out, const struct facts *f, const struct advice *a, const struct advise_market *m)
{
	buf_addf(out, "%s: ", fact_name(a->clash->a));
	fact_marked(out, f, a->clash->a);
	buf_addf(out, ", or %s: ", fact_name(a->clash->b));
	fact_marked(out, f, a->clash->b);
	buf_addf(out, "; %s", a->clash->why);
}

/* What it costs at the clouds, where cost did not decide. */
static void clouds(struct buf *out, const struct facts *f, const struct advice *a, const struct advise_market *m)
{
	const char *before = "";

	for (enum place p = PLACE_AWS; p < PLACE_N; p++) {
		const struct advise_place *x = &a->place[p];
		bool function = a->lane == LANE_FUNCTION;

		if (!(function ? x->function : x->container) || (function && p == PLACE_EC2) ||
		    (a->lane == LANE_VM && p != PLACE_EC2))
			continue;
		buf_addf(out, "%s%s ", before, price_offer_name[x->offer[!function]]);
		usd_month(out, x->usd_hour[function ? LANE_FUNCTION : LANE_CONTAINER]);
		before = ", ";
	}
	buf_adds(out, *before ? " a month" : "none of those that prices are known of");
	if (*before && (f->n[FACT_GPUS].v > 0 || f->word[WORD_OS] == OS_WINDOWS))
		buf_adds(out, f->n[FACT_GPUS].v > 0 ? ", without the GPU" : ", without the licence");
}

static const struct say_part parts[] = {
	{"latency", "latency", "Latency", latency, false},
	{"cost", "cost", "Cost", cost, false},
	{"clouds", "clouds", "At clouds", clouds, true},
	{"changes", "changes", "What would change the lane", changes, false},
	{"risk", "risk", "Riskiest assumption", risk, false},
	{"give_up", "give up", "To give up", give_up, false},
	{"correct", "correct", "To correct", correct, false},
};
enum { PARTS = ARRAY_SIZE(parts) - 2 };

const struct say_part *say_next(const struct advice *a, const struct say_part *p)
{
	if (a->none)
		return p ? NULL : &parts[a->clash ? PARTS + 1 : PARTS];
	for (p = p ? p + 1 : parts; p < parts + PARTS; p++)
		if (!p->without_cost || !a->by_cost)
			return p;
	return NULL;
}

/* ---- for people ---- */

/* How lanes are named that are taken away: "no function, container: " */
static void no_lanes(struct buf *out, uint32_t lanes)
{
	const char *before = "no ";

	for (int l = 0; l < LANE_N; l++)
		if (lanes >> l & 1) {
			buf_addf(out, "%s%s", before, lane_name[l]);
			before = ", ";
		}
	buf_adds(out, lanes ? ": " : "no cloud: ");
}

bool say_fact(struct buf *ret, unsigned i, const struct facts *f, const struct advice *a, const struct advise_market *m)
{
	buf_clear(ret);
	if (i < rules_n) {
		if (!(a->hold >> i & 1) || (!rules[i].lanes && rules[i].offers != (1u << PRICE_OFFER_N) - 1) ||
		    (rules[i].lanes == 1u << LANE_VM && !a->none))
			return false;
		no_lanes(ret, rules[i].lanes);
		rule_text(ret, &rules[i], f);
		buf_addf(ret, " (%s)", rules[i].source);
	} else if (i == rules_n && f->lanes && f->lanes != (1u << LANE_N) - 1) {
		no_lanes(ret, ~f->lanes & ((1u << LANE_N) - 1));
		buf_adds(ret, "it is not among the lanes that are taken (the declaration)");
	} else if (i > rules_n && !a->none && a->lane != LANE_VM && !a->fits) {
		buf_addf(ret, "not on this machine: it takes %.3g CPU%s and ", a->needs[0], a->needs[0] > 1 ? "s" : "");
		fact_text(ret, FACT_MEMORY, a->needs[1]);
		buf_addf(ret, " at this rate, and there are %.3g and ", m->vcpus);
		fact_text(ret, FACT_MEMORY, m->memory_bytes);
	}
	return ret->n > 0;
}

void say_text(struct buf *out, const struct facts *f, const struct advice *a, const struct advise_market *m)
{
	auto_buf text = {0};

	buf_addf(&text, "%s (%s)", say_verdict(a), say_form(f, a));
	line(out, "lane", buf_str(&text));
	for (unsigned i = 0; i < SAY_FACTS; i++)
		if (say_fact(&text, i, f, a, m))
			line(out, "fact", buf_str(&text));
	for (const struct say_part *p = NULL; (p = say_next(a, p));) {
		buf_clear(&text);
		p->say(&text, f, a, m);
		line(out, p->label, buf_str(&text));
		for (enum place k = 0; p->say == cost && a->by_cost && k < PLACE_N; k++) {
			buf_clear(&text);
			buf_addf(&text, "%s: ", place_name[k]);
			say_even(&text, a, k);
			line(out, k ? "" : "even at", buf_str(&text));
		}
	}
}
