/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <sys/stat.h>

#include "migrations.h"
#include "store/event.h"
#include "store/version.h"
#include "tests/store/fixture.h"

static void publish(struct fix *f, struct function *fn)
{
	struct revision *r = version_publish(f->s, fn, NULL);

	version_put(f->s, op_new(f), fn, r);
	wait_all(f);
	CHECK(!f->last.kind);
}

static void change(struct fix *f, struct function *fn, int memory_mb)
{
	struct revision *r = revision_clone(fn->latest);

	r->memory_mb = memory_mb;
	revision_unref(fn->latest);
	fn->latest = r;
	function_put(f->s, op_new(f), fn);
	wait_all(f);
}

static struct function *two_versions(struct fix *f)
{
	struct function *fn = make("alpha", NULL);

	function_put(f->s, op_new(f), fn);
	wait_all(f);
	publish(f, fn);
	change(f, fn, 512);
	publish(f, fn);
	return fn;
}

TEST(all_of_it_is_there_again)
{
	struct fix f;
	struct function *fn;
	struct alias *a;
	char id[37];

	fix_init(&f);
	fn = two_versions(&f);
	strlcpy_(id, function_version(fn, 1)->id, sizeof(id));
	a = function_alias_add(fn, STR("live"));
	*a = (struct alias){
		.name = "live", .id = "i", .description = xstrdup("d\"e"), .version = 1, .other = 2, .weight = 0.25};
	function_alias_add(fn, STR("early"));
	function_provisioned_add(fn, STR("live"))->wanted = 5;
	fn->reserved = 7;
	fn->scale = (struct scale){.min = 1, .max = 3, .keep_us = 90000000, .lane = LANE_WISH_AUTO, .concurrency = 9};
	fn->lane = LANE_CONTAINER;
	function_put(f.s, op_new(&f), fn);
	wait_all(&f);
	for (int round = 0; round < 2; round++) { /* in memory, and from disk */
		fn = function_get(f.s, STR("alpha"));
		CHECK(fn->n_versions == 2 && fn->last_version == 2);
		CHECK_STR(function_version(fn, 1)->id, id);
		CHECK(function_version(fn, 1)->memory_mb == 256 && function_version(fn, 2)->memory_mb == 512);
		CHECK_STR(pairs_get(&function_version(fn, 1)->env, "K\"ey"), "v\xc3\xa4lue\n");
		CHECK(function_version(fn, 0) == fn->latest && !function_version(fn, 3));
		CHECK(function_by_serial(fn, function_version(fn, 2)->serial) == function_version(fn, 2));
		CHECK(fn->n_aliases == 2);
		CHECK_STR(fn->aliases[0].name, "early");
		a = function_alias(fn, STR("live"));
		CHECK(a && a->version == 1 && a->other == 2 && a->weight == 0.25);
		CHECK_STR(a->description, "d\"e");
		CHECK(function_alias_to(fn, 2) == a && !function_alias_to(fn, 3));
		CHECK(function_provisioned_of(fn, 1) == 5 && function_provisioned_of(fn, 2) == 0);
		CHECK(fn->reserved == 7 && fn->scale.min == 1 && fn->scale.max == 3 && fn->scale.keep_us == 90000000);
		CHECK(fn->scale.lane == LANE_WISH_AUTO && fn->scale.concurrency == 9 && fn->lane == LANE_CONTAINER);
		fix_close(&f);
		fix_open(&f);
	}
	fix_done(&f);
}

TEST(a_qualifier_means)
{
	static const struct {
		const char *qualifier;
		double dice;
		int memory_mb; /* 0: nothing */
	} t[] = {
		{"", 0, 1024},	      {"$LATEST", 0, 1024}, {"1", 0, 256},	 {"2", 0, 512},
		{"3", 0, 0},	      {"0", 0, 0},	    {"nope", 0, 0},	 {"live", 0, 512},
		{"live", 0.249, 512}, {"live", 0.25, 256},  {"live", 0.99, 256}, {"edge", 0.5, 1024},
	};
	struct fix f;
	struct function *fn;
	struct alias *a;

	fix_init(&f);
	fn = two_versions(&f);
	change(&f, fn, 1024);
	a = function_alias_add(fn, STR("live"));
	a->version = 1, a->other = 2, a->weight = 0.25;
	function_alias_add(fn, STR("edge"));
	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		const struct revision *r = function_resolve(fn, str_of(t[k].qualifier), t[k].dice);

		if ((r ? r->memory_mb : 0) != t[k].memory_mb)
			printf("%s, %g\n", t[k].qualifier, t[k].dice);
		CHECK((r ? r->memory_mb : 0) == t[k].memory_mb);
	}
	fix_done(&f);
}

TEST(a_deleted_version_is_gone_and_its_number_too)
{
	struct fix f;
	struct function *fn;
	struct revision *r;

	fix_init(&f);
	fn = two_versions(&f);
	function_provisioned_add(fn, STR("2"))->wanted = 1;
	r = revision_ref(function_version(fn, 2));
	version_del(f.s, op_new(&f), fn, r);
	wait_all(&f);
	CHECK(r->deleted && !function_version(fn, 2) && !fn->n_provisioned);
	revision_unref(r);
	fix_close(&f);
	fix_open(&f);
	fn = function_get(f.s, STR("alpha"));
	CHECK(fn->n_versions == 1 && !fn->n_provisioned);
	publish(&f, fn);
	CHECK(fn->versions[1]->version == 3);
	function_del(f.s, op_new(&f), fn);
	wait_all(&f);
	fn = make("alpha", NULL);
	function_put(f.s, op_new(&f), fn);
	wait_all(&f);
	fix_close(&f);
	fix_open(&f);
	fn = function_get(f.s, STR("alpha"));
	CHECK(fn->n_versions == 0 && fn->last_version == 0); /* another function of that name */
	fix_done(&f);
}

TEST(a_version_that_cannot_be_stored_is_taken_back)
{
	struct fix f;
	struct function *fn;
	struct err e = {0};

	fix_init(&f);
	fn = two_versions(&f);
	CHECK(db_exec(&f.s->db, "CREATE TRIGGER no BEFORE INSERT ON revision BEGIN SELECT RAISE(ABORT,'full'); END",
		      &e) == 0);
	version_put(f.s, op_new(&f), fn, version_publish(f.s, fn, "x"));
	CHECK(fn->n_versions == 3);
	wait_all(&f);
	CHECK(f.last.kind && fn->n_versions == 2);
	fix_done(&f);
}

TEST(the_same_content_is_the_same)
{
	struct revision *a = revision_new(), *b;

	a->runtime = xstrdup("python3.11");
	pairs_add(&a->env, STR("A"), STR("1"));
	pairs_add(&a->env, STR("B"), STR("2"));
	b = revision_clone(a);
	CHECK(revision_same(a, b));
	b->description = xstrdup("only words");
	CHECK(revision_same(a, b));
	b->snapstart = true;
	CHECK(!revision_same(a, b));
	b->snapstart = false;
	b->env.p[1].value[0] = '3';
	CHECK(!revision_same(a, b));
	revision_unref(a);
	revision_unref(b);
}

static void see_event(void *arg, const char *target, int64_t n, int64_t first_wall_us)
{
	CHECK_STR(target, "old");
	CHECK(first_wall_us == 2);
	*(int *)arg += (int)n;
}

/* A state as the first version of the program left it. */
TEST(older_state_migrates)
{
	static const char rows[] =
		"INSERT INTO revision VALUES (5,'id5','python3.11',0,'app.handler',NULL,NULL,"
		"'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',9,'',128,3,512,0,'{\"A\":\"1\"}',7)"
		";"
		"INSERT INTO function VALUES ('old','api',5,1,NULL,'','{}',NULL,NULL,'AKIAOLD','s',1);"
		"INSERT INTO event VALUES (1,'r1','old',1,2,0,x'7b7d'),(2,'r2','gone',1,2,0,x'7b7d'); PRAGMA "
		"user_version=1;";
	struct fix f;
	struct db d = {0};
	struct function *fn;
	struct err e = {0};
	char copy[40];
	int events = 0;

	fix_init(&f);
	fix_close(&f);
	io_rm_tree(AT_FDCWD, f.dir, NULL);
	CHECK(mkdir(f.dir, 0700) == 0);
	f.fd = open(f.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(db_open(&d, f.fd, "tandem.db", true, &e) == 0 && db_exec(&d, migrations[0], &e) == 0 &&
	      db_exec(&d, rows, &e) == 0);
	db_close(&d);
	close(f.fd);
	fix_open(&f);
	fn = function_get(f.s, STR("old"));
	CHECK(fn && fn->reserved == -1 && fn->scale.keep_us == -1 && !fn->scale.min && !fn->n_aliases);
	CHECK_STR(fn->latest->name, "old");
	CHECK_STR(pairs_get(&fn->latest->env, "A"), "1");
	CHECK(store_event_targets(f.s, see_event, &events, &e) == 0 && events == 1);
	snprintf(copy, sizeof(copy), "tandem.db.before-%zu", ARRAY_SIZE(migrations));
	CHECK(faccessat(f.fd, copy, R_OK, 0) == 0);
	publish(&f, fn);
	CHECK(fn->n_versions == 1 && fn->versions[0]->serial == 6);
	fix_done(&f);
}
