/* SPDX-License-Identifier: Apache-2.0 */
#include "queue/later.h"
#include <string.h>
#include "base/mem.h"

void later_done(struct later *l)
{
	free(l->slots);
	*l = (struct later){0};
}

static void pass(struct later *l, int64_t now_us)
{
	for (; l->first < l->end && l->slots[l->first].second * 1000000 <= now_us; l->first++)
		for (int k = 0; k < LATER_N; k++)
			l->sum[k] -= l->slots[l->first].n[k];
	if (l->first == l->end)
		l->first = l->end = 0;
}

static struct later_slot *slot(struct later *l, int64_t second, bool make)
{
	size_t lo = l->first, hi = l->end;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (l->slots[mid].second < second)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo < l->end && l->slots[lo].second == second)
		return &l->slots[lo];
	if (!make)
		return NULL;
	if (l->end == l->cap && l->first > l->cap / 2) { /* half of it is past */
		memmove(l->slots, l->slots + l->first, (l->end - l->first) * sizeof(*l->slots));
		lo -= l->first;
		l->end -= l->first;
		l->first = 0;
	} else if (l->end == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 32;
		l->slots = xrealloc(l->slots, l->cap * sizeof(*l->slots));
	}
	memmove(l->slots + lo + 1, l->slots + lo, (l->end - lo) * sizeof(*l->slots));
	l->end++;
	l->slots[lo] = (struct later_slot){.second = second};
	return &l->slots[lo];
}

void later_add(struct later *l, enum later_kind kind, int64_t at_us, int64_t n, int64_t now_us)
{
	struct later_slot *s;

	pass(l, now_us);
	if (at_us <= now_us)
		return;
	s = slot(l, (at_us + 999999) / 1000000, n > 0);
	if (s && s->n[kind] + n < 0) /* what a start did not know of */
		n = -s->n[kind];
	if (s) {
		s->n[kind] += n;
		l->sum[kind] += n;
	}
}

int64_t later_count(struct later *l, enum later_kind kind, int64_t now_us)
{
	pass(l, now_us);
	return l->sum[kind];
}
