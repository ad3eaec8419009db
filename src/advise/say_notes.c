/* SPDX-License-Identifier: Apache-2.0 */
/* An advice for the wall: runbook, cost and the way back, a page for each workload. */
#include "advise/say_int.h"

enum { RUN_TASK = LANE_N, RUN_N };
static const char *const runbook[RUN_N] = {
	[LANE_FUNCTION] =
		"* Called: `tandem invoke NAME`; its lines: `tandem logs NAME -f`; why it waits: `tandem why NAME`\n"
		"* Stuck: `tandem stop NAME` ends its instances, the next event starts a new one\n",
	[LANE_CONTAINER] =
		"* What runs, and why: `tandem describe NAME`, `tandem why NAME`; its lines: `tandem logs NAME -f`\n"
		"* Stuck: `tandem restart NAME`\n",
	[LANE_VM] = "* Its own image, patches and backups: Tandem does not run it\n",
	[RUN_TASK] = "* Run by hand: `tandem run NAME`; what runs: `tandem ps`; its lines: `tandem logs NAME -f`\n"
		     "* Stuck: `tandem stop NAME` ends the run; what started it may start it again\n",
};
static const char way_back[] = "* The other lane: `lane:` in tandem.yaml and `tandem up`; code and route stay, the "
			       "other side starts before this one "
			       "is left. `lane: auto` moves by itself: `tandem events NAME`\n";

/* What was decided from: numbers that somebody said or measured, and those that costs are made of. */
static void numbers(struct buf *out, const struct facts *f)
{
	const char *before = "* Numbers: ";

	for (enum fact i = 0; i < FACT_N; i++) {
		if (f->n[i].from == KNOWN_ASSUMED && (i > FACT_START || !(f->n[i].v > 0)))
			continue;
		buf_addf(out, "%s%s ", before, fact_name(i));
		fact_marked(out, f, i);
		before = ", ";
	}
	buf_addc(out, '\n');
}

void say_notes(struct buf *out, const struct facts *f, const struct advice *a, const struct advise_market *m)
{
	auto_buf text = {0};

	buf_addf(out, "# %s\n\n## Runbook\n\n* Lane: **%s**, %s\n", f->name, say_verdict(a), say_form(f, a));
	for (unsigned i = 0; i < SAY_FACTS; i++)
		if (say_fact(&text, i, f, a, m))
			buf_addf(out, "* Fact: %s\n", text.p);
	if (!a->none)
		say_with_name(out, runbook[say_is_task(a) ? RUN_TASK : (int)a->lane], f->name);
	for (const struct say_part *p = NULL; (p = say_next(a, p));) {
		buf_addf(out, "%s* %s: ",
			 !strcmp(p->key, "cost")      ? "\n## Cost\n\n"
			 : !strcmp(p->key, "changes") ? "\n## Way back\n\n"
						      : "",
			 p->note);
		p->say(out, f, a, m);
		buf_addc(out, '\n');
		for (enum place k = 0; !strcmp(p->key, "cost") && a->by_cost && k < PLACE_N; k++) {
			buf_addf(out, "* A container costs less (%s) from: ", place_name[k]);
			say_even(out, a, k);
			buf_addc(out, '\n');
		}
		if (!strcmp(p->key, "cost"))
			numbers(out, f);
	}
	if (!a->none && a->by_cost && !(a->job && !a->worker))
		say_with_name(out, way_back, f->name);
	if (!a->none && a->lane != LANE_VM)
		buf_adds(out, "* The former version: `tandem up` with the former tandem.yaml; data: `tandem backup`, "
			      "`tandem restore`\n");
}
