/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger/row.h"
#include <math.h>
#include "ledger/segment.h"

const char *const ledger_kind_name[LEDGER_KIND_N] = {"invoke",	 "idle",   "platform", "task",
						     "requests", "unused", "other",    "machine"};
const char *const ledger_trigger_name[TRIGGER_N] = {"api", "http", "async", "check", "queue", "stream"};
const char *const ledger_outcome_name[OUTCOME_N] = {"ok",	   "error",	"timeout", "crash",   "oom",
						    "init_failed", "throttled", "failed",  "canceled"};
static_assert(LEDGER_KIND_N == 8 && LANE_N == 3 && TRIGGER_N == 6 && OUTCOME_N == 9, "name tables");

#define SUMMED (ROW_BYTES - sizeof(uint64_t))

static uint64_t stored(const void *row)
{
	uint64_t v;

	memcpy(&v, (const char *)row + SUMMED, sizeof(v));
	return v;
}

void row_seal(void *row)
{
	uint64_t v = segment_sum(row, SUMMED);

	memcpy((char *)row + SUMMED, &v, sizeof(v));
}

bool row_sealed(const void *row)
{
	return segment_sum(row, SUMMED) == stored(row);
}

static bool usd_ok(double usd)
{
	return isfinite(usd) && usd >= 0;
}

bool row_ok(const struct row *row)
{
	const struct ledger_row *r = &row->r;

	return row_sealed(row) && r->kind < LEDGER_KIND_N && r->lane < LANE_N && r->trigger < TRIGGER_N &&
	       r->outcome < OUTCOME_N && r->cold <= LEDGER_RESTORED && usd_ok(r->usd_aws) && usd_ok(r->usd_machine);
}

bool row_sum_ok(const struct sum *s)
{
	const struct sum_key *k = &s->key;

	return row_sealed(s) && k->kind < LEDGER_KIND_N && k->lane < LANE_N && k->trigger < TRIGGER_N &&
	       k->outcome < OUTCOME_N && usd_ok(s->usd_aws) && usd_ok(s->usd_machine) && usd_ok(s->gb_s);
}

void row_head_init(struct row_head *h, const char *magic, int64_t created_wall_us, uint64_t upto)
{
	*h = (struct row_head){
		.row_bytes = ROW_BYTES, .version = ROW_VERSION, .created_wall_us = created_wall_us, .upto = upto};
	memcpy(h->magic, magic, sizeof(h->magic));
	row_seal(h);
}

int row_head_check(const struct row_head *h, const char *magic, struct err *e)
{
	if (memcmp(h->magic, magic, sizeof(h->magic)) != 0 || h->row_bytes != ROW_BYTES || !row_sealed(h))
		return err_set(e, ERR_CORRUPT, "not a ledger segment of this kind");
	if (h->version != ROW_VERSION)
		return err_set(e, ERR_CORRUPT, "ledger segment of version %u, this program knows %u", h->version,
			       ROW_VERSION);
	return 0;
}
