/* SPDX-License-Identifier: Apache-2.0 */
#include "store/definition.h"
#include "tests/store/fixture.h"

TEST(sorted_and_kept)
{
	struct fix f;
	const struct record *r;
	char key[32], expected[32];
	int n = 0;

	fix_init(&f);
	for (int i = 0; i < 200; i++) { /* 7 and 200 have no divisor in common: each once */
		snprintf(key, sizeof(key), "a/%03d", i * 7 % 200);
		record_put(f.s, op_new(&f), key, "x");
	}
	record_put(f.s, op_new(&f), "a/003", "y");
	record_put(f.s, op_new(&f), "b/1", "other");
	record_del(f.s, op_new(&f), "a/199");
	record_del(f.s, op_new(&f), "a/nobody");
	CHECK(!record_get(f.s, "a/199") && str_eqc(str_of(record_get(f.s, "a/003")), "y"));
	wait_all(&f);
	fix_close(&f);
	fix_open(&f);
	for (r = record_next(f.s, "a/", NULL); r; r = record_next(f.s, "a/", r->key)) {
		snprintf(expected, sizeof(expected), "a/%03d", n++);
		CHECK(!strcmp(r->key, expected));
		CHECK(!strcmp(r->value, n == 4 ? "y" : "x"));
	}
	CHECK(n == 199);
	CHECK(!record_next(f.s, "c/", NULL) && !record_next(f.s, "b/", "b/1"));
	CHECK(!strcmp(record_next(f.s, "a/", "a/0010")->key, "a/002")); /* what is not there is passed, too */
	CHECK(!strcmp(record_last(f.s, "a/")->key, "a/198") && !record_last(f.s, "0/"));
	fix_done(&f);
}

TEST(revisions)
{
	struct definition web = {.family = "web", .project = "shop", .doc = "{\"containers\":[]}", .source = "{}"},
			  other = {.family = "web-2", .doc = "{}"};
	struct fix f;
	int n = 0;

	fix_init(&f);
	for (int i = 1; i <= 12; i++)
		CHECK(definition_put(f.s, op_new(&f), &web) == i);
	CHECK(definition_put(f.s, op_new(&f), &other) == 1);
	wait_all(&f);
	CHECK(!f.last.kind);
	fix_close(&f);
	fix_open(&f);
	{
		auto_definition d = definition_get(f.s, STR("web"), 0);

		CHECK(d && d->revision == 12 && d->active && d->registered_wall_us && !strcmp(d->family, "web"));
		CHECK(!strcmp(d->doc, web.doc) && !strcmp(d->source, "{}") && !d->tags && !strcmp(d->project, "shop"));
		d->active = false;
		d->deregistered_wall_us = 5;
		definition_update(f.s, op_new(&f), d);
	}
	{
		auto_definition latest = definition_get(f.s, STR("web"), 0);
		auto_definition twelve = definition_get(f.s, STR("web"), 12);

		CHECK(latest->revision == 11 && !twelve->active && twelve->deregistered_wall_us == 5);
		CHECK(!definition_get(f.s, STR("we"), 0) && !definition_get(f.s, STR("web"), 13) &&
		      !definition_get(f.s, STR(""), 0) && !definition_get(f.s, STR("web:0000000001"), 0));
	}
	for (struct definition *d = definition_next(f.s, "web", NULL, 0), *next; d; d = next) {
		CHECK(d->revision == ++n);
		next = definition_next(f.s, "web", d->family, d->revision);
		definition_free(d);
	}
	CHECK(n == 12);
	definition_del(f.s, op_new(&f), "web", 12);
	CHECK(!definition_get(f.s, STR("web"), 12));
	CHECK(definition_put(f.s, op_new(&f), &web) == 13);
	wait_all(&f);
	fix_done(&f);
}
