/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger/sums.h"

#include "base/mem.h"
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

static bool is_stretch(const struct ledger_row *r)
{
	return r->kind != LEDGER_INVOKE && r->kind != LEDGER_REQUESTS && r->idle_ms;
}

int64_t row_end_wall_us(const struct ledger_row *r)
{
	return r->start_wall_us + (is_stretch(r) ? r->idle_ms * 1000ll : 0);
}

struct piece {
	int64_t from, until, of;
};

/* Rounded at both ends alike: what one piece lacks the next one has. */
static uint64_t part_of(uint64_t v, const struct piece *p)
{
	return (uint64_t)((unsigned __int128)v * (uint64_t)p->until / (uint64_t)p->of -
			  (unsigned __int128)v * (uint64_t)p->from / (uint64_t)p->of);
}

bool row_piece(const struct ledger_row *r, int64_t *at, int64_t span_us, struct ledger_row *ret)
{
	int64_t end = row_end_wall_us(r), from = *at > r->start_wall_us ? *at : r->start_wall_us;
	int64_t until = end - from < span_us - from % span_us ? end : from - from % span_us + span_us;
	struct piece p = {from - r->start_wall_us, until - r->start_wall_us, end - r->start_wall_us};

	if (!is_stretch(r) ? *at > r->start_wall_us : from >= end)
		return false;
	*ret = *r;
	*at = is_stretch(r) ? until : INT64_MAX;
	if (!is_stretch(r) || (p.from == 0 && p.until == p.of))
		return true;
	ret->start_wall_us = from;
	ret->instance = p.from ? 0 : r->instance; /* it is counted with its first piece */
	ret->queue_us = (uint32_t)part_of(r->queue_us, &p);
	ret->start_us = (uint32_t)part_of(r->start_us, &p);
	ret->init_us = (uint32_t)part_of(r->init_us, &p);
	ret->handler_us = (uint32_t)part_of(r->handler_us, &p);
	ret->idle_ms = (uint32_t)part_of(r->idle_ms, &p);
	ret->billed_ms = (uint32_t)part_of(r->billed_ms, &p);
	ret->cpu_us = part_of(r->cpu_us, &p);
	ret->bytes_in = (uint32_t)part_of(r->bytes_in, &p);
	ret->bytes_out = (uint32_t)part_of(r->bytes_out, &p);
	ret->usd_aws = r->usd_aws * (double)(until - from) / (double)p.of;
	ret->usd_machine = r->usd_machine * (double)(until - from) / (double)p.of;
	return true;
}

void sum_add_row(struct sum *to, const struct ledger_row *r)
{
	double vcpu = r->version / 1000.0, gb = r->memory_mb / 1024.0;

	if (r->kind == LEDGER_INVOKE && r->trigger != TRIGGER_CHECK) {
		to->invocations++;
		to->cold += r->cold != LEDGER_WARM;
		to->errors += r->outcome != OUTCOME_OK && r->outcome != OUTCOME_CANCELED;
	} else if (r->kind == LEDGER_REQUESTS) {
		to->invocations += r->version;
		to->errors += r->outcome != OUTCOME_OK ? r->version : 0;
	}
	if (r->kind == LEDGER_TASK)
		price_fargate_size(&vcpu, &gb);
	to->queue_us += r->queue_us;
	to->start_us += r->kind == LEDGER_TASK ? r->instance != 0 : r->start_us;
	to->init_us += r->init_us;
	to->handler_us += r->kind == LEDGER_TASK ? (uint64_t)(vcpu * r->billed_ms * 1000) : r->handler_us;
	to->idle_ms += r->idle_ms;
	to->billed_ms += r->billed_ms;
	to->gb_s += gb * r->billed_ms / 1000;
	to->cpu_us += r->cpu_us;
	if (to->mem_peak_bytes < r->mem_peak_bytes)
		to->mem_peak_bytes = r->mem_peak_bytes;
	to->bytes_in += sum_bytes(r, r->bytes_in);
	to->bytes_out += sum_bytes(r, r->bytes_out);
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
