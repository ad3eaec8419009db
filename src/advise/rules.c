/* SPDX-License-Identifier: Apache-2.0 */
/* What a cloud's offer cannot give for its size is in ledger/prices.c. */
#include "advise/rules.h"
#include <math.h>
#include "base/lane.h"

#define MB     1048576.0
#define GB     (1024 * MB)
#define FN     (1u << LANE_FUNCTION)
#define CT     (1u << LANE_CONTAINER)
#define VM     (1u << LANE_VM)
#define LA     (1u << PRICE_LAMBDA)
#define FA     (1u << PRICE_FARGATE)
#define EC     (1u << PRICE_EC2)
#define RR     (1u << PRICE_CLOUD_RUN_REQUEST)
#define RI     (1u << PRICE_CLOUD_RUN_INSTANCE)
#define AF     (1u << PRICE_AZURE_FUNCTIONS)
#define AC     (1u << PRICE_CONTAINER_APPS)
#define BUT_EC (LA | FA | RR | RI | AF | AC)

#define LAMBDA	   "AWS Lambda Developer Guide, quotas"
#define FARGATE	   "Amazon ECS Developer Guide, Fargate task definitions"
#define CLOUD_RUN  "Cloud Run documentation, quotas and limits"
#define AZURE_F	   "Azure Functions documentation, scale and hosting"
#define OURS	   "docs/threat-model.md"
#define MANUAL	   "tandem.yaml(5)"
#define SAID_START "start and cold_start"

const struct rule rules[] = {
	{RULE_OVER, FACT_LONGEST, 900, FN, LA, false, "one may take $, and a function is ended after 900 s", LAMBDA},
	{RULE_OVER, FACT_LONGEST, 600, 0, AF, false, "Azure Functions (Consumption) ends what takes more than 10 min",
	 AZURE_F},
	{RULE_OVER, FACT_LONGEST, 3600, 0, RR, false, "Cloud Run ends a request after 60 min", CLOUD_RUN},
	{RULE_OVER, FACT_MEMORY, 10240 * MB, FN, LA, false,
	 "it takes $ of memory, and a function has at most 10,240 MB", LAMBDA},
	{RULE_OVER, FACT_MEMORY, 120 * GB, 0, FA, false, "Fargate has at most 120 GB of memory", FARGATE},
	{RULE_OVER, FACT_VCPU, 6, FN, LA, false, "it uses $ CPUs at once, and a function has at most 6", LAMBDA},
	{RULE_OVER, FACT_VCPU, 16, 0, FA, false, "Fargate has at most 16 CPUs", FARGATE},
	{RULE_OVER, FACT_PACKAGE, 10 * GB, FN, LA, false, "its code has $, and a function's image at most 10 GB",
	 LAMBDA},
	{RULE_OVER, FACT_PAYLOAD, 6 * MB, FN, LA, false,
	 "a request or answer has $, and a function is handed at most 6 MB (unless it streams, or reads objects)",
	 LAMBDA},
	{RULE_OVER, FACT_PAYLOAD, 32 * MB, 0, RR | RI, false, "Cloud Run takes requests of at most 32 MB (HTTP/1)",
	 CLOUD_RUN},
	{RULE_OVER, FACT_DATA, 10240 * MB, FN, LA, false,
	 "it keeps $ on its disk, and a function's /tmp has at most 10 GB", LAMBDA},
	{RULE_OVER, FACT_DATA, 200 * GB, 0, FA, false, "a Fargate task has at most 200 GiB of disk", FARGATE},
	{RULE_OVER, FACT_DATA, 32 * GB, 0, RR | RI, false, "Cloud Run keeps files in memory, at most 32 GiB",
	 CLOUD_RUN},
	{RULE_OVER, FACT_GPUS, 0, FN, LA | FA | AF, false, "it needs a GPU, and no function gets one", LAMBDA},
	{RULE_OVER, FACT_DEVICES, 0, FN, BUT_EC, false, "it needs a device of the machine, and no function gets one",
	 FARGATE},
	{RULE_OVER, FACT_SIDECARS, 0, FN, LA | AF, false,
	 "it has sidecars, and a function is one process (extensions aside)", LAMBDA},
	{RULE_WORD, WORD_LISTENER, LISTENER_WEBSOCKET, FN, LA | AF, false,
	 "it holds connections open (WebSocket), and a function answers one request and is done", LAMBDA},
	{RULE_WORD, WORD_LISTENER, LISTENER_TCP, FN, LA | AF | RR | RI, false,
	 "it listens for something that is not HTTP, and a function listens to nothing", LAMBDA},
	{RULE_WORD, WORD_LISTENER, LISTENER_UDP, FN | CT, LA | AF | RR | RI | AC, false,
	 "it listens for UDP, and ports: of a service are TCP", MANUAL},
	{RULE_FLAG, FLAG_WARM, 0, FN, LA | AF | RR, false,
	 "its state must stay in memory between requests, and a function may be gone after each", LAMBDA},
	{RULE_FLAG, FLAG_ROOT, 0, FN | CT, BUT_EC, false,
	 "it needs root of the machine, and a sandbox's root is root of its own user namespace alone", OURS},
	{RULE_FLAG, FLAG_KERNEL, 0, FN | CT, BUT_EC, false,
	 "it needs a kernel of its choice, its modules or settings, and sandboxes share the machine's", OURS},
	{RULE_FLAG, FLAG_PRIVILEGED, 0, FN | CT, BUT_EC, false,
	 "it needs a privileged container, and Tandem has none (on a cloud: a container on EC2)", FARGATE},
	{RULE_WORD, WORD_OS, OS_WINDOWS, FN | CT, LA | RR | RI | AC, false, "it needs Windows, and sandboxes run Linux",
	 MANUAL},
	{RULE_FLAG, FLAG_OWN_KERNEL, 0, FN | CT, 0, false,
	 "it must share no kernel, and sandboxes share the machine's (Lambda and Fargate have one each)", OURS},
	{RULE_FLAG, FLAG_DEDICATED, 0, FN | CT, BUT_EC, false, "it must share no machine with others", OURS},
	{RULE_FLAG, FLAG_REGION, 0, 0, BUT_EC | EC, false, "its data must stay here", "the declaration"},
	{RULE_FLAG, FLAG_TO_ZERO, 0, VM, FA | EC | RI, true,
	 "nothing may be held while there is nothing to do, and a machine is", MANUAL},
	{RULE_FLAG, FLAG_TO_ZERO, FLAG_WARM, CT, 0, false,
	 "nothing may be held while there is nothing to do, and its state in memory is", MANUAL},
	{RULE_SLOW_START, 0, 0, FN, 0, false, "a start takes $, longer than the ^ that are acceptable", SAID_START},
	{RULE_SLOW_START, FLAG_TO_ZERO, 0, CT, 0, false,
	 "it sleeps while there is nothing to do (min: 0), and a start takes $, longer than the ^ that are acceptable",
	 SAID_START},
};
const unsigned rules_n = ARRAY_SIZE(rules);
_Static_assert(ARRAY_SIZE(rules) <= RULES_MAX, "a bit for each");

static bool said(const struct facts *f, enum fact what)
{
	return f->n[what].from != KNOWN_ASSUMED;
}

/* No start at all is acceptable where 0 was said. */
static bool holds(const struct rule *r, const struct facts *f)
{
	if (r->api_only && f->word[WORD_KIND] != KIND_API)
		return false;
	switch (r->is) {
	case RULE_OVER:
		return f->n[r->which].v > r->limit;
	case RULE_FLAG:
		return f->flags & r->which && (!(r->limit > 0) || f->flags & (uint32_t)r->limit);
	case RULE_WORD:
		return f->word[r->which] == (unsigned)r->limit;
	case RULE_SLOW_START:
		return said(f, FACT_COLD) && f->n[FACT_START].high > f->n[FACT_COLD].v &&
		       (!r->which || f->flags & r->which);
	}
	return false;
}

uint64_t rules_hold(const struct facts *f)
{
	uint64_t hold = 0;

	for (unsigned i = 0; i < rules_n; i++)
		hold |= (uint64_t)holds(&rules[i], f) << i;
	return hold;
}

uint32_t rules_lanes(const struct facts *f, uint64_t hold)
{
	uint32_t left = f->lanes ? f->lanes : FN | CT | VM;

	for (unsigned i = 0; i < rules_n; i++)
		if (hold >> i & 1)
			left &= ~rules[i].lanes;
	return left;
}

uint32_t rules_offers(uint64_t hold)
{
	uint32_t away = 0;

	for (unsigned i = 0; i < rules_n; i++)
		if (hold >> i & 1)
			away |= rules[i].offers;
	return away;
}

enum fact rule_fact(const struct rule *r, const struct facts *f)
{
	if (r->is == RULE_SLOW_START)
		return FACT_START;
	/* Of the longest nobody spoke: it is what one usually takes. */
	return r->which == FACT_LONGEST && !said(f, FACT_LONGEST) ? FACT_DURATION : r->which;
}

void fact_marked(struct buf *out, const struct facts *f, enum fact what)
{
	fact_text(out, what, f->n[what].v);
	buf_addf(out, " [%s]", known_from_name[f->n[what].from]);
}

void rule_text(struct buf *out, const struct rule *r, const struct facts *f)
{
	enum fact what = rule_fact(r, f);

	for (const char *p = r->why; *p; p++) {
		if (*p == '$')
			fact_marked(out, f, what);
		else if (*p == '^')
			fact_marked(out, f, FACT_COLD);
		else
			buf_addc(out, *p);
		if (*p == '$' && r->is == RULE_SLOW_START && f->n[what].high > f->n[what].v) {
			buf_adds(out, " (up to ");
			fact_text(out, what, f->n[what].high);
			buf_addc(out, ')');
		}
	}
}

void rule_key(struct buf *out, const struct rule *r, const struct facts *f)
{
	if (r->is == RULE_OVER)
		buf_adds(out, fact_name(rule_fact(r, f)));
	else if (r->is == RULE_WORD)
		buf_addf(out, "%s: " STR_FMT, fact_word_key(r->which),
			 STR_ARG(fact_word_name(r->which, (unsigned)r->limit)));
	else
		buf_adds(out, r->is == RULE_FLAG ? fact_flag_name(r->which) : fact_name(FACT_COLD));
}

void rule_give_up(struct facts *f, const struct rule *r)
{
	if (r->is == RULE_OVER)
		facts_set(f, r->which, r->limit, r->limit, r->limit, f->n[r->which].from);
	else if (r->is == RULE_FLAG)
		f->flags &= ~r->which;
	else if (r->is == RULE_WORD)
		f->word[r->which] = 0;
	else
		f->n[FACT_COLD].from = KNOWN_ASSUMED;
}

double rule_distance(const struct rule *r, const struct facts *f)
{
	const struct known *n;
	double limit, wide;

	if (!r->lanes || (r->is != RULE_OVER && !(r->is == RULE_SLOW_START && said(f, FACT_COLD))))
		return INFINITY;
	n = &f->n[r->is == RULE_SLOW_START ? FACT_START : r->which];
	limit = r->is == RULE_SLOW_START ? f->n[FACT_COLD].v : r->limit;
	if (limit <= 0 || n->low <= 0)
		return INFINITY;
	wide = log(n->high / n->low) / 2 / 1.96;
	return wide > 0 ? fabs(log(n->v / limit)) / wide : INFINITY;
}

static const struct clash clashes[] = {
	{FACT_LONGEST, FACT_DURATION, "the longest one is shorter than one usually is"},
	{FACT_PEAK, FACT_RATE, "the peak is below the average rate"},
	{FACT_CPU, FACT_DURATION, "one uses more CPU time than it has time (vcpu says on how many)"},
};

const struct clash *rules_clash(const struct facts *f)
{
	for (size_t i = 0; i < ARRAY_SIZE(clashes); i++) {
		const struct known *a = &f->n[clashes[i].a], *b = &f->n[clashes[i].b];
		bool is = clashes[i].a == FACT_CPU ? a->low > b->high * fmax(f->n[FACT_VCPU].v, 1) : a->v < b->low;

		if (is && a->from == KNOWN_DECLARED && b->from == KNOWN_DECLARED)
			return &clashes[i];
	}
	return NULL;
}
