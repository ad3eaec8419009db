/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger/sums.h"

#include <string.h>

#include "base/mem.h"
#include "ledger/prices.h"
#include "ledger/segment.h"

void sums_done(struct sums *s)
{
	free(s->v);
	free(s->slots);
	*s = (struct sums){0};
}

static bool same(const struct sum_key *a, const struct sum_key *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static size_t slot_of(const struct sums *s, const struct sum_key *key)
{
	size_t i = segment_sum(key, sizeof(*key)) * 0x9e3779b97f4a7c15u >> 32 & (s->n_slots - 1);

	while (s->slots[i] && !same(&s->v[s->slots[i] - 1].key, key))
		i = (i + 1) & (s->n_slots - 1);
	return i;
}

static void grow(struct sums *s)
{
	s->n_slots = s->n_slots ? s->n_slots * 2 : 64;
	free(s->slots);
	s->slots = xcalloc(s->n_slots, sizeof(*s->slots));
	for (size_t i = 0; i < s->n; i++)
		s->slots[slot_of(s, &s->v[i].key)] = (uint32_t)(i + 1);
}

struct sum *sums_at(struct sums *s, const struct sum_key *key)
{
	size_t slot;

	if (s->last < s->n && same(&s->v[s->last].key, key))
		return &s->v[s->last];
	if (s->n * 2 >= s->n_slots)
		grow(s);
	slot = slot_of(s, key);
	if (!s->slots[slot]) {
		if (s->n == s->cap)
			s->v = xrealloc(s->v, (s->cap = s->cap ? s->cap * 2 : 32) * sizeof(*s->v));
		s->v[s->n] = (struct sum){.key = *key};
		s->slots[slot] = (uint32_t)++s->n;
	}
	s->last = s->slots[slot] - 1;
	return &s->v[s->last];
}

void sum_add_row(struct sum *to, const struct ledger_row *r)
{
	double vcpu = r->version / 1000.0, gb = r->memory_mb / 1024.0;

	if (r->kind == LEDGER_INVOKE && r->trigger != TRIGGER_CHECK) {
		to->invocations++;
		to->cold += r->cold != LEDGER_WARM;
		to->errors += r->outcome != OUTCOME_OK;
	} else if (r->kind == LEDGER_REQUESTS) {
		to->invocations += r->version;
		to->errors += r->outcome != OUTCOME_OK ? r->version : 0;
	}
	if (r->kind == LEDGER_TASK)
		price_fargate_size(&vcpu, &gb);
	to->queue_us += r->queue_us;
	to->start_us += r->start_us;
	to->init_us += r->init_us;
	to->handler_us += r->kind == LEDGER_TASK ? (uint64_t)(vcpu * r->billed_ms * 1000) : r->handler_us;
	to->idle_ms += r->idle_ms;
	to->billed_ms += r->billed_ms;
	to->gb_s += gb * r->billed_ms / 1000;
	to->cpu_us += r->cpu_us;
	if (to->mem_peak_bytes < r->mem_peak_bytes)
		to->mem_peak_bytes = r->mem_peak_bytes;
	to->bytes_in += r->bytes_in;
	to->bytes_out += r->bytes_out;
	to->usd_aws += r->usd_aws;
	to->usd_machine += r->usd_machine;
}

void sum_add(struct sum *to, const struct sum *from)
{
	to->invocations += from->invocations;
	to->cold += from->cold;
	to->errors += from->errors;
	to->queue_us += from->queue_us;
	to->start_us += from->start_us;
	to->init_us += from->init_us;
	to->handler_us += from->handler_us;
	to->idle_ms += from->idle_ms;
	to->billed_ms += from->billed_ms;
	to->gb_s += from->gb_s;
	to->cpu_us += from->cpu_us;
	if (to->mem_peak_bytes < from->mem_peak_bytes)
		to->mem_peak_bytes = from->mem_peak_bytes;
	to->bytes_in += from->bytes_in;
	to->bytes_out += from->bytes_out;
	to->usd_aws += from->usd_aws;
	to->usd_machine += from->usd_machine;
}
