/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

#include <stdio.h>

#include "base/list.h"
#include "base/mem.h"
#include "base/rand.h"
#include "tests/test.h"

struct item {
	char key[32];
	int seen;
	struct list node;
};

/* Against a plain array, with enough removals that runs are shifted back. */
TEST(against_a_model)
{
	enum { N = 2000 };
	struct item *items = xcalloc(N, sizeof(*items));
	bool *in = xcalloc(N, sizeof(*in));
	struct map m = {0};
	size_t n = 0, pos = 0;

	for (int i = 0; i < N; i++)
		snprintf(items[i].key, sizeof(items[i].key), "%.*skey-%d", i % 12, "############", i);
	for (int step = 0; step < 60000; step++) {
		uint64_t r = rand_u64();
		struct item *it = &items[r % N];
		struct str key = str_of(it->key);

		if (in[it - items] != (map_get(&m, key) == it)) {
			CHECK(!"map and model differ");
			break;
		}
		if (in[it - items]) {
			CHECK(map_del(&m, key) == it);
			n--;
		} else {
			CHECK(!map_del(&m, key));
			map_put(&m, key, it);
			n++;
		}
		in[it - items] = !in[it - items];
	}
	CHECK(m.n == n);
	for (struct item *it; (it = map_next(&m, &pos));)
		it->seen++;
	for (int i = 0; i < N; i++)
		CHECK(items[i].seen == in[i]);
	map_done(&m);
	CHECK(!map_get(&m, STR("x")) && !map_del(&m, STR("x")));
	free(items);
	free(in);
}

TEST(binary_keys)
{
	struct map m = {0};
	int a, b, c;

	map_put(&m, STR("\0"), &a);
	map_put(&m, STR("\0\0"), &b);
	map_put(&m, STR(""), &c);
	CHECK(map_get(&m, STR("\0")) == &a && map_get(&m, STR("\0\0")) == &b && map_get(&m, STR("")) == &c && m.n == 3);
	map_done(&m);
}

TEST(list)
{
	struct list l;
	struct item a = {.seen = 1}, b = {.seen = 2}, c = {.seen = 3};
	int sum = 0;

	list_init(&l);
	CHECK(list_empty(&l) && !list_first(&l, struct item, node));
	list_push(&l, &a.node), list_push(&l, &b.node), list_push_front(&l, &c.node);
	CHECK(list_first(&l, struct item, node) == &c && list_last(&l, struct item, node) == &b);
	list_each(&l, it)
	{
		sum = sum * 10 + container_of(it, struct item, node)->seen;
		list_del(it);
		list_del(it);
	}
	CHECK(sum == 312 && list_empty(&l));
}
