/* SPDX-License-Identifier: Apache-2.0 */
/* An advice for programs: the same sentences, and all of its numbers. */
#include <math.h>
#include "advise/say_int.h"

static void json_numbers(struct jw *w, const struct facts *f)
{
	jw_obj(w, "facts");
	for (enum fact i = 0; i < FACT_N; i++) {
		jw_obj(w, fact_name(i));
		jw_real(w, "value", f->n[i].v);
		jw_real(w, "low", f->n[i].low);
		jw_real(w, "high", f->n[i].high);
		jw_strc(w, "origin", known_from_name[f->n[i].from]);
		jw_end(w, '}');
	}
	for (enum fact_word i = 0; i < WORD_N; i++)
		jw_str(w, fact_word_key(i), fact_word_name(i, f->word[i]));
	jw_end(w, '}');
}

static void json_rules(struct jw *w, const struct facts *f, const struct advice *a)
{
	auto_buf text = {0};

	jw_arr(w, "hard_facts");
	for (unsigned i = 0; i < rules_n; i++) {
		if (!(a->hold >> i & 1))
			continue;
		buf_clear(&text);
		rule_text(&text, &rules[i], f);
		jw_obj(w, NULL);
		jw_str(w, "says", buf_str(&text));
		jw_strc(w, "source", rules[i].source);
		jw_arr(w, "takes");
		for (int l = 0; l < LANE_N; l++)
			if (rules[i].lanes >> l & 1)
				jw_strc(w, NULL, lane_name[l]);
		jw_end(w, ']');
		jw_arr(w, "takes_offers");
		for (int o = 0; o < PRICE_OFFER_N; o++)
			if (rules[i].offers >> o & 1)
				jw_strc(w, NULL, price_offer_name[o]);
		jw_end(w, ']');
		jw_end(w, '}');
	}
	jw_end(w, ']');
}

static void json_finite(struct jw *w, const char *key, double rate_s)
{
	if (isfinite(rate_s))
		jw_real(w, key, rate_s);
	else
		jw_null(w, key);
}

static void json_place(struct jw *w, const struct advise_place *p, enum place which)
{
	jw_obj(w, place_name[which]);
	jw_bool(w, "function", p->function);
	jw_bool(w, "container", p->container);
	if (which != PLACE_HERE) {
		jw_strc(w, "function_offer", price_offer_name[p->offer[0]]);
		jw_strc(w, "container_offer", price_offer_name[p->offer[1]]);
	}
	json_finite(w, "function_usd_hour", p->usd_hour[LANE_FUNCTION]);
	json_finite(w, "container_usd_hour", p->usd_hour[LANE_CONTAINER]);
	jw_bool(w, "crosses", p->even.crosses);
	json_finite(w, "break_even", p->even.rate);
	json_finite(w, "break_even_low", p->even.low);
	json_finite(w, "break_even_high", p->even.high);
	jw_obj(w, "variance_share");
	for (enum fact i = 0; i < FACT_N; i++)
		if (p->share[i] > 0)
			jw_real(w, fact_name(i), p->share[i]);
	jw_end(w, '}');
	jw_end(w, '}');
}

static void json_lanes(struct jw *w, const struct advice *a)
{
	jw_obj(w, "simulated");
	for (enum lane l = 0; l < LANE_VM; l++)
		if (a->simulated[l]) {
			jw_obj(w, lane_name[l]);
			jw_real(w, "cold_share", a->cold_share[l]);
			jw_real(w, "latency_p99_s", a->latency_p99_s[l]);
			jw_end(w, '}');
		}
	jw_end(w, '}');
}

void say_json(struct jw *w, const struct facts *f, const struct advice *a, const struct advise_market *m)
{
	auto_buf text = {0};

	jw_obj(w, NULL);
	jw_strc(w, "name", f->name);
	jw_strc(w, "lane", say_verdict(a));
	jw_strc(w, "form", say_form(f, a));
	jw_strc(w, "now", f->now < LANE_N ? lane_name[f->now] : NULL);
	jw_strc(w, "decided_at", place_name[m->decides]);
	jw_strc(w, "prices_as_of", m->prices->as_of);
	jw_real(w, "calls", f->events);
	jw_strc(w, "bench", *f->bench ? f->bench : NULL);
	jw_real(w, "failed", f->failed);
	jw_bool(w, "fits_here", a->fits);
	jw_real(w, "certainty", a->none ? 0 : a->certainty);
	jw_strc(w, "riskiest", a->risk_share > 0 ? fact_name(a->riskiest) : NULL);
	for (const struct say_part *p = NULL; (p = say_next(a, p));) {
		buf_clear(&text);
		p->say(&text, f, a, m);
		jw_str(w, p->key, buf_str(&text));
	}
	json_rules(w, f, a);
	json_lanes(w, a);
	jw_obj(w, "places");
	for (enum place p = 0; p < PLACE_N; p++)
		json_place(w, &a->place[p], p);
	jw_end(w, '}');
	json_numbers(w, f);
	jw_end(w, '}');
}
