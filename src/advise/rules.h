/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hard facts: what takes a lane away, whatever it would cost, each with its sentence and where the limit stands. They
 * are a table. The limits of Tandem's own lanes are those that it enforces; those of clouds are the providers' as of the
 * day of the prices. Tests: tests/advise/golden.c.
 */
#pragma once
#include "advise/facts.h"
#include "ledger/prices.h"

enum rule_if { RULE_OVER, RULE_FLAG, RULE_WORD, RULE_SLOW_START };
struct rule {
	enum rule_if is;
	uint32_t which;		/* fact, flag or word; RULE_SLOW_START: only with this flag */
	double limit;		/* of a fact, which may not be more; of a word its value; a flag that is needed, too */
	uint32_t lanes, offers; /* that it takes away, by bits of enum lane and price_offer */
	bool api_only;		/* jobs, which run to an end, are not concerned */
	const char *why;	/* $ stands for the value, ^ for the largest acceptable start */
	const char *source;
};
enum { RULES_MAX = 64 };
extern const struct rule rules[];
extern const unsigned rules_n;
/* Which of them hold, by bits. f is settled. */
uint64_t rules_hold(const struct facts *f);
/* What is left of lanes when those hold. */
uint32_t rules_lanes(const struct facts *f, uint64_t hold);
uint32_t rules_offers(uint64_t hold); /* offers taken away */
void rule_text(struct buf *out, const struct rule *r, const struct facts *f);
void rule_key(struct buf *out, const struct rule *r,
	      const struct facts *f); /* what of a declaration it looks at: "gpu" */
/* f as it were without what the rule looks at. */
void rule_give_up(struct facts *f, const struct rule *r);
enum fact rule_fact(const struct rule *r, const struct facts *f);	  /* of RULE_OVER and RULE_SLOW_START */
void fact_marked(struct buf *out, const struct facts *f, enum fact what); /* "40 ms [declared]" */
/* How far, in standard errors, a number is from where the rule would begin or end to hold; INFINITY: it cannot. */
double rule_distance(const struct rule *r, const struct facts *f);
/* Facts that exclude each other; NULL: none do. */
struct clash {
	enum fact a, b;
	const char *why;
};
const struct clash *rules_clash(const struct facts *f);
