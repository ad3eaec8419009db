/* SPDX-License-Identifier: Apache-2.0 */
#include "advise/simulate_int.h"

void ring_grow(struct ring *r)
{
	struct ring more = {.n = r->n, .cap = r->cap ? 2 * r->cap : 16};

	more.v = xmalloc(more.cap * sizeof(*more.v));
	for (size_t i = 0; i < r->n; i++)
		more.v[i] = *ring_at(r, i);
	free(r->v);
	*r = more;
}

/* The hole goes down to the end, the last item into it and up again: it mostly belongs there, and the way down without
 * looking at it has no branch that could be foretold wrongly. */
struct item heap_first(struct heap *h)
{
	struct item *v = h->v, first = v[0], last = v[--h->n];
	size_t i = 0, child;

	for (; (child = 2 * i + 2) < h->n; i = child) {
		child -= v[child - 1].at_us < v[child].at_us;
		v[i] = v[child];
	}
	if (child == h->n && child > 1) {
		v[i] = v[child - 1];
		i = child - 1;
	}
	for (; i && v[(i - 1) / 2].at_us > last.at_us; i = (i - 1) / 2)
		v[i] = v[(i - 1) / 2];
	v[i] = last;
	return first;
}

static int64_t bucket_us(int64_t k)
{
	int64_t shift = k < 2 * TALLY_STEPS ? 0 : k / TALLY_STEPS - 1;

	return ((k - shift * TALLY_STEPS + 1) << shift) - 1;
}

static int64_t percentile(const struct tally *t, int percent)
{
	int64_t seen = 0;

	for (int64_t k = 0; t->n && k < TALLY_BUCKETS; k++) {
		seen += t->buckets[k];
		if (seen * 100 >= t->n * percent)
			return bucket_us(k) < t->max_us ? bucket_us(k) : t->max_us;
	}
	return 0;
}

struct lane_times tally_times(const struct tally *t)
{
	return (struct lane_times){percentile(t, 50), percentile(t, 95), percentile(t, 99), t->max_us,
				   t->n ? (double)t->sum_us / (double)t->n : 0};
}

int64_t line_keep_us(int64_t wish_us, int64_t start_us, int64_t held_bytes)
{
	struct policy_idle i = {.keep_us = wish_us, .start_us = start_us, .held_bytes = held_bytes};
	enum policy_idle_move m;
	int64_t next;

	while ((m = policy_rest(&i, &next)) != POLICY_STOP && next >= 0) {
		i.frozen |= m == POLICY_FREEZE;
		i.idle_us = next;
	}
	return m == POLICY_STOP ? i.idle_us : NEVER;
}
