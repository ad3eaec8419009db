/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open addressing, linear probing; a removal shifts the run behind it back, so
 * there are no tombstones. The hash is SipHash-1-3 with a key of this process.
 */
#include "base/map.h"
#include <assert.h>
#include <pthread.h>
#include "base/mem.h"
#include "base/rand.h"

struct map_slot {
	uint64_t hash;
	struct str key;
	void *value; /* NULL: empty */
};

static uint64_t seed[2];

static void seed_make(void)
{
	rand_bytes(seed, sizeof(seed));
}

static inline uint64_t rotl(uint64_t v, int by)
{
	return v << by | v >> (64 - by);
}

static inline void sip_round(uint64_t v[4])
{
	v[0] += v[1], v[1] = rotl(v[1], 13) ^ v[0], v[0] = rotl(v[0], 32);
	v[2] += v[3], v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3], v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1], v[1] = rotl(v[1], 17) ^ v[2], v[2] = rotl(v[2], 32);
}

static uint64_t hash_of(struct str key)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	uint64_t v[4], m, last = (uint64_t)key.n << 56;
	const char *p = key.p;
	size_t left = key.n;

	pthread_once(&once, seed_make);
	v[0] = seed[0] ^ 0x736f6d6570736575;
	v[1] = seed[1] ^ 0x646f72616e646f6d;
	v[2] = seed[0] ^ 0x6c7967656e657261;
	v[3] = seed[1] ^ 0x7465646279746573;
	for (; left >= 8; p += 8, left -= 8) {
		memcpy(&m, p, 8);
		v[3] ^= m;
		sip_round(v);
		v[0] ^= m;
	}
	for (size_t i = 0; i < left; i++)
		last |= (uint64_t)(unsigned char)p[i] << (8 * i);
	v[3] ^= last;
	sip_round(v);
	v[0] ^= last;
	v[2] ^= 0xff;
	sip_round(v);
	sip_round(v);
	sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void map_done(struct map *m)
{
	free(m->slots);
	*m = (struct map){0};
}

/* The slot with the key, or the empty one where it would go. There is always an empty one. */
static struct map_slot *find(const struct map *m, struct str key, uint64_t hash)
{
	size_t mask = m->cap - 1, i = hash & mask;

	for (;; i = (i + 1) & mask) {
		struct map_slot *s = &m->slots[i];

		if (!s->value || (s->hash == hash && str_eq(s->key, key)))
			return s;
	}
}

static void grow(struct map *m)
{
	struct map old = *m;

	m->cap = old.cap ? old.cap * 2 : 8;
	m->slots = xcalloc(m->cap, sizeof(*m->slots));
	for (size_t i = 0; i < old.cap; i++)
		if (old.slots[i].value)
			*find(m, old.slots[i].key, old.slots[i].hash) = old.slots[i];
	free(old.slots);
}

void *map_get(const struct map *m, struct str key)
{
	return m->n ? find(m, key, hash_of(key))->value : NULL;
}

void map_put(struct map *m, struct str key, void *value)
{
	uint64_t hash = hash_of(key);
	struct map_slot *s;

	assert(value);
	if (m->n >= m->cap / 4 * 3)
		grow(m);
	s = find(m, key, hash);
	assert(!s->value);
	*s = (struct map_slot){hash, key, value};
	m->n++;
}

void *map_del(struct map *m, struct str key)
{
	size_t mask = m->cap - 1, hole, i;
	struct map_slot *s;
	void *value;

	if (!m->n)
		return NULL;
	s = find(m, key, hash_of(key));
	value = s->value;
	if (!value)
		return NULL;
	hole = (size_t)(s - m->slots);
	for (i = (hole + 1) & mask; m->slots[i].value; i = (i + 1) & mask) {
		size_t home = m->slots[i].hash & mask;

		/* It may move back to the hole only if that is not before its home. */
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			m->slots[hole] = m->slots[i];
			hole = i;
		}
	}
	m->slots[hole] = (struct map_slot){0};
	m->n--;
	return value;
}

void *map_next(const struct map *m, size_t *pos)
{
	while (*pos < m->cap) {
		void *value = m->slots[(*pos)++].value;

		if (value)
			return value;
	}
	return NULL;
}
