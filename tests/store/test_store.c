/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "store/digest.h"
#include "store/function.h"
#include "store/store_int.h"
#include "tests/store/fixture.h"
#include "tests/test.h"

TEST(reopen_keeps_all)
{
	struct fix f;
	struct function *fn;
	char id[37], key[21];
	uint64_t serial;

	fix_init(&f);
	store_setting_put(f.s, op_new(&f), "account", "123");
	fn = make("alpha", "/a");
	fn->allow = xstrdup("[{\"action\":\"*\"}]");
	fn->state = FUNCTION_FAILED;
	fn->reason = xstrdup("import failed");
	strlcpy_(fn->reason_code, "ImportError", sizeof(fn->reason_code));
	function_put(f.s, op_new(&f), fn);
	CHECK(function_get(f.s, STR("alpha")) == fn);
	serial = fn->latest->serial;
	strlcpy_(id, fn->latest->id, sizeof(id));
	strlcpy_(key, fn->access_key, sizeof(key));
	CHECK(strlen(key) == 20 && strlen(fn->secret_key) == 40);
	wait_all(&f);
	CHECK(!f.last.kind);
	fix_close(&f);

	fix_open(&f);
	CHECK_STR(store_setting(f.s, "account"), "123");
	CHECK(store_setting(f.s, "none") == NULL);
	fn = function_get(f.s, STR("alpha"));
	CHECK(fn != NULL);
	if (fn) {
		CHECK(fn->state == FUNCTION_FAILED);
		CHECK_STR(fn->reason, "import failed");
		CHECK_STR(fn->reason_code, "ImportError");
		CHECK_STR(fn->latest->id, id);
		CHECK(fn->latest->serial == serial);
		CHECK_STR(fn->latest->handler, "app.handler");
		CHECK_STR(fn->latest->layers[1], "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc");
		CHECK(fn->latest->layers[2][0] == '\0');
		CHECK_STR(pairs_get(&fn->latest->env, "K\"ey"), "v\xc3\xa4lue\n");
		CHECK_STR(pairs_get(&fn->tags, "team"), "blue");
		CHECK(fn->latest->memory_mb == 256 && fn->latest->timeout_s == 7 && fn->latest->code_bytes == 321);
		CHECK_STR(fn->allow, "[{\"action\":\"*\"}]");
		CHECK(function_by_route(f.s, STR("/a")) == fn);
		CHECK(function_by_access_key(f.s, str_of(key)) == fn);
	}
	fix_done(&f);
}

TEST(new_revision_replaces_and_serials_never_come_twice)
{
	struct fix f;
	struct function *fn;
	struct revision *old;
	uint64_t serial;

	fix_init(&f);
	fn = make("alpha", NULL);
	function_put(f.s, op_new(&f), fn);
	old = revision_ref(fn->latest);
	revision_unref(fn->latest);
	fn->latest = revision_clone(old);
	fn->latest->memory_mb = 512;
	function_put(f.s, op_new(&f), fn);
	CHECK(fn->latest->serial > old->serial);
	CHECK(strcmp(fn->latest->id, old->id) != 0);
	serial = fn->latest->serial;
	function_del(f.s, op_new(&f), function_ref(fn));
	CHECK(fn->deleted);
	function_unref(fn);
	CHECK(function_count(f.s) == 0);
	wait_all(&f);
	revision_unref(old);
	fix_close(&f);
	fix_open(&f);
	CHECK(function_count(f.s) == 0);
	fn = make("alpha", NULL);
	function_put(f.s, op_new(&f), fn);
	CHECK(fn->latest->serial > serial);
	wait_all(&f);
	CHECK(!f.last.kind);
	fix_done(&f);
}

TEST(the_first_of_two_has_the_name)
{
	struct function *first, *second;
	struct fix f;

	fix_init(&f);
	first = make("same", NULL);
	second = function_ref(make("same", NULL));
	function_put(f.s, op_new(&f), first);
	function_put(f.s, op_new(&f), second);
	wait_all(&f);
	CHECK(f.last.kind == ERR_EXISTS && second->deleted);
	CHECK(function_get(f.s, STR("same")) == first);
	function_unref(second);
	fix_done(&f);
}

TEST(order_and_routes)
{
	static const char *const names[] = {"m", "b", "z", "a", "q"};
	static const struct {
		const char *path, *function;
	} t[] = {
		{"/x", "m"},	  {"/x/", NULL}, {"/p/", "b"}, {"/p/1", "b"}, {"/p/deep/2", "a"},
		{"/p/deep", "b"}, {"/p", NULL},	 {"/y", NULL}, {"", NULL},
	};
	struct function *fn, *second;
	struct fix f;
	char order[16] = "";

	fix_init(&f);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		static const char *const routes[] = {"/x", "/p/*", "/z", "/p/deep/*", NULL};

		function_put(f.s, op_new(&f), make(names[i], routes[i]));
	}
	for (fn = NULL; (fn = function_next(f.s, fn));)
		order[strlen(order)] = fn->name[0];
	CHECK_STR(order, "abmqz");
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		fn = function_by_route(f.s, str_of(t[i].path));
		CHECK_STR(fn ? fn->name : "none", t[i].function ? t[i].function : "none");
	}
	/* A route moves; one that is taken stays where it is. */
	fn = function_get(f.s, STR("z"));
	free(fn->route);
	fn->route = xstrdup("/moved");
	function_put(f.s, op_new(&f), fn);
	CHECK(function_by_route(f.s, STR("/z")) == NULL && function_by_route(f.s, STR("/moved")) == fn);
	second = make("zz", "/moved");
	function_put(f.s, op_new(&f), second);
	CHECK(function_by_route(f.s, STR("/moved")) == fn);
	/* Iteration goes on after the one it stands on is gone. */
	fn = function_ref(function_get(f.s, STR("b")));
	function_del(f.s, op_new(&f), fn);
	CHECK_STR(function_next(f.s, fn)->name, "m");
	CHECK(function_by_route(f.s, STR("/p/1")) == NULL);
	function_unref(fn);
	wait_all(&f);
	CHECK(!f.last.kind);
	fix_done(&f);
}

static void exec_sql(const char *dir, const char *sql)
{
	auto_free char *path = xasprintf("%s/tandem.db", dir);
	sqlite3 *h = NULL;

	CHECK(sqlite3_open(path, &h) == SQLITE_OK);
	CHECK(sqlite3_exec(h, sql, NULL, NULL, NULL) == SQLITE_OK);
	sqlite3_close(h);
}

TEST(newer_version_is_refused_in_one_sentence)
{
	struct fix f;
	struct err e = {0};
	struct store *s = NULL;

	fix_init(&f);
	fix_close(&f);
	exec_sql(f.dir, "PRAGMA user_version=999");
	f.loop = loop_new();
	f.fd = open(f.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(store_open(f.loop, f.fd, &s, &e) == -1);
	CHECK(s == NULL && e.kind == ERR_INVALID);
	CHECK(strstr(e.text, "999") && strstr(e.text, "newer Tandem"));
	loop_free(f.loop);
	close(f.fd);
	io_rm_tree(AT_FDCWD, f.dir, NULL);
}

/* What stands in a database, "" where there is none. */
static void look(const char *dir, const char *file, char out[64])
{
	struct db d = {0};
	sqlite3_stmt *st = NULL;
	auto_close int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int64_t version = -1;

	out[0] = 0;
	if (faccessat(fd, file, F_OK, 0) < 0)
		return;
	CHECK(db_open(&d, fd, file, false, NULL) == 0 && db_version(&d, &version, NULL) == 0);
	CHECK(sqlite3_prepare_v2(d.h, "SELECT * FROM thing ORDER BY 1 DESC", -1, &st, NULL) == SQLITE_OK);
	CHECK(sqlite3_step(st) == SQLITE_ROW);
	snprintf(out, 64, "version %lld: %d columns, %s", (long long)version, sqlite3_column_count(st),
		 (const char *)sqlite3_column_text(st, 0));
	sqlite3_finalize(st);
	db_close(&d);
}

TEST(older_state_is_migrated_after_a_copy)
{
	static const char *const sql[] = {
		"CREATE TABLE thing (name TEXT) STRICT; INSERT INTO thing VALUES ('old');",
		"ALTER TABLE thing ADD COLUMN size INTEGER; UPDATE thing SET name='new';",
		"INSERT INTO thing VALUES ('never', 1); CREATE TABLE other (x) STRICT; nonsense;",
	};
	static const struct {
		size_t to; /* of migrations */
		int r;
		const char *now, *copy;
	} t[] = {
		{1, 0, "version 1: 1 columns, old", ""},
		{1, 0, "version 1: 1 columns, old", ""},
		{2, 0, "version 2: 2 columns, new", "version 1: 1 columns, old"},
		{3, -1, "version 2: 2 columns, new", "version 2: 2 columns, new"}, /* fails half-way */
		{3, -1, "version 2: 2 columns, new", "version 2: 2 columns, new"}, /* over the copy of the first try */
		{1, -1, "version 2: 2 columns, new", ""},			   /* an older program */
	};
	char dir[] = "/tmp/tandem-store-XXXXXX", copy[32], text[64];

	CHECK(mkdtemp(dir) != NULL);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		auto_close int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		struct db d = {0};
		struct err e = {0};

		CHECK(db_open(&d, fd, "m.db", true, &e) == 0);
		CHECK(db_migrate(&d, sql, t[i].to, &e) == t[i].r);
		CHECK((t[i].r == 0) == (e.kind == ERR_NONE));
		db_close(&d);
		look(dir, "m.db", text);
		CHECK_STR(text, t[i].now);
		snprintf(copy, sizeof(copy), "tandem.db.before-%zu", t[i].to);
		look(dir, copy, text);
		CHECK_STR(text, t[i].copy);
	}
	io_rm_tree(AT_FDCWD, dir, NULL);
}

TEST(failed_commit_is_told_and_neighbours_succeed)
{
	struct fix f;
	struct function *fn;

	fix_init(&f);
	exec_sql(f.dir, "CREATE TRIGGER no BEFORE INSERT ON function WHEN NEW.name='bad' BEGIN SELECT "
			"RAISE(ABORT,'disk says no'); END");
	function_put(f.s, op_new(&f), make("good", NULL));
	fn = function_ref(make("bad", "/bad"));
	function_put(f.s, op_new(&f), fn);
	function_put(f.s, op_new(&f), make("good2", NULL));
	CHECK(function_get(f.s, STR("bad")) == fn);
	wait_all(&f);
	CHECK(f.last.kind != ERR_NONE && strstr(f.last.text, "disk says no"));
	CHECK(fn->deleted && function_get(f.s, STR("bad")) == NULL && function_by_route(f.s, STR("/bad")) == NULL);
	function_unref(fn);
	CHECK(function_count(f.s) == 2);
	fix_close(&f);
	fix_open(&f);
	CHECK(function_count(f.s) == 2);
	fix_done(&f);
}

TEST(blobs_sweep_and_backup)
{
	static const char text[] = "an archive", other[] = "nobody's";
	struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	char hex[65], hex2[65], path[256], outside[65] = "../../etc/passwd";
	struct function *fn;
	struct stat st;
	struct fix f;
	int fd;

	fix_init(&f);
	digest_sha256_hex(text, sizeof(text), hex);
	digest_sha256_hex(other, sizeof(other), hex2);
	CHECK(!store_blob_has(f.s, hex));
	CHECK(store_blob_open(f.s, outside, NULL) == -1);
	store_blob_put(f.s, op_new(&f), hex, text, sizeof(text));
	store_blob_put(f.s, op_new(&f), hex2, other, sizeof(other));
	wait_all(&f);
	CHECK(store_blob_has(f.s, hex) && store_blob_has(f.s, hex2));
	fn = make("alpha", NULL);
	memcpy(fn->latest->code_sha256, hex, 65);
	function_put(f.s, op_new(&f), fn);
	wait_all(&f); /* what is not committed is in no backup */
	CHECK(mkdirat(store_code_dir(f.s), hex2, 0755) == 0 && mkdirat(store_code_dir(f.s), hex, 0755) == 0);
	fd = store_code_open(f.s, hex2, NULL);
	CHECK(fd >= 0);
	close(fd);
	snprintf(path, sizeof(path), "%s/blobs/%s", f.dir, hex);
	utimensat(AT_FDCWD, path, old, 0);
	snprintf(path, sizeof(path), "%s/blobs/%s", f.dir, hex2);
	utimensat(AT_FDCWD, path, old, 0);
	utimensat(store_code_dir(f.s), hex, old, 0);
	utimensat(store_code_dir(f.s), hex2, old, 0);
	snprintf(path, sizeof(path), "%.40s-backup", f.dir);
	store_backup(f.s, op_new(&f), path);
	wait_all(&f);
	CHECK(!f.last.kind);
	store_backup(f.s, op_new(&f), path);
	wait_all(&f);
	CHECK(f.last.kind == ERR_EXISTS);
	gc_start(f.s);
	fix_close(&f); /* finishes the listing; the deciding is dropped with the store */
	fix_open(&f);
	gc_start(f.s);
	f.last = (struct err){0};
	/* The file thread works in order: this put returns after the listing, the next after the deleting. */
	for (int i = 0; i < 3; i++) {
		store_blob_put(f.s, op_new(&f), hex, text, sizeof(text));
		wait_all(&f);
	}
	CHECK(store_blob_has(f.s, hex) && !store_blob_has(f.s, hex2));
	CHECK(fstatat(store_code_dir(f.s), hex, &st, 0) == 0);
	CHECK(fstatat(store_code_dir(f.s), hex2, &st, 0) < 0 && errno == ENOENT);
	fix_done(&f);

	/* The backup is a state. */
	strlcpy_(f.dir, path, sizeof(f.dir));
	fix_open(&f);
	CHECK(function_count(f.s) == 1);
	CHECK(store_blob_has(f.s, hex));
	fix_done(&f);
}

/* A deploy's, while it is unpacked and checked. */
TEST(what_somebody_holds_is_not_swept)
{
	static const char text[] = "an archive";
	struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	struct revision *r = revision_new();
	char path[256], nothing[65];
	struct fix f;

	fix_init(&f);
	digest_sha256_hex("", 0, nothing);
	digest_sha256_hex(text, sizeof(text), r->code_sha256);
	store_blob_put(f.s, op_new(&f), r->code_sha256, text, sizeof(text));
	wait_all(&f);
	snprintf(path, sizeof(path), "%s/blobs/%s", f.dir, r->code_sha256);
	revision_hold(f.s, r);
	for (int held = 1; held >= 0; held--) {
		CHECK(utimensat(AT_FDCWD, path, old, 0) == 0);
		if (!held)
			revision_unref(r);
		gc_start(f.s);
		for (int k = 0; k < 3; k++) { /* in order behind the listing, the deleting and its end */
			store_blob_put(f.s, op_new(&f), nothing, "", 0);
			wait_all(&f);
		}
		CHECK((access(path, F_OK) == 0) == held);
	}
	fix_done(&f);
}

TEST(a_lost_database_sweeps_nothing)
{
	static const char text[] = "an archive";
	char hex[65], path[256];
	struct store *s = NULL;
	struct err e = {0};
	struct fix f;

	fix_init(&f);
	digest_sha256_hex(text, sizeof(text), hex);
	store_blob_put(f.s, op_new(&f), hex, text, sizeof(text));
	wait_all(&f);
	CHECK(unlinkat(f.fd, "tandem.db", 0) == 0);
	store_free(take_ptr(f.s));
	unlinkat(f.fd, "tandem.db-wal", 0);
	CHECK(store_open(f.loop, f.fd, &s, &e) == -1 && s == NULL);
	CHECK(e.kind == ERR_CORRUPT && strstr(e.text, "tandem.db is missing or empty") != NULL);
	snprintf(path, sizeof(path), "blobs/%s", hex);
	CHECK(unlinkat(f.fd, path, 0) == 0);
	CHECK(store_open(f.loop, f.fd, &f.s, &e) == 0); /* a new state */
	fix_done(&f);
}

TEST(ten_thousand)
{
	struct fix f;
	struct stat st;
	char name[32];
	int64_t t0, t1;
	long rss0, rss1;
	size_t used;
	FILE *m;

	fix_init(&f);
	m = fopen("/proc/self/statm", "r");
	CHECK(fscanf(m, "%*d %ld", &rss0) == 1);
	fclose(m);
	t0 = clock_now_us();
	for (int i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), "f-%d", i);
		function_put(f.s, op_new(&f), make(name, NULL));
	}
	wait_all(&f);
	t1 = clock_now_us();
	m = fopen("/proc/self/statm", "r");
	CHECK(fscanf(m, "%*d %ld", &rss1) == 1);
	fclose(m);
	printf("10,000 functions: %lld ms, %ld KiB resident more\n", (long long)(t1 - t0) / 1000, (rss1 - rss0) * 4);
	fix_close(&f);
	used = mallinfo2().uordblks;
	t0 = clock_now_us();
	m = fopen("/proc/self/statm", "r");
	CHECK(fscanf(m, "%*d %ld", &rss0) == 1);
	fclose(m);
	fix_open(&f);
	m = fopen("/proc/self/statm", "r");
	CHECK(fscanf(m, "%*d %ld", &rss1) == 1);
	fclose(m);
	used = mallinfo2().uordblks - used;
	printf("opened again in %lld ms, %ld KiB, %zu bytes a function\n", (long long)(clock_now_us() - t0) / 1000,
	       (rss1 - rss0) * 4, used / 10000);
	CHECK(used / 10000 < 1600);
	CHECK(function_count(f.s) == 10000);
	for (struct function *fn; (fn = function_next(f.s, NULL));)
		function_del(f.s, op_new(&f), fn);
	wait_all(&f);
	CHECK(!f.last.kind);
	gc_start(f.s);
	store_setting_put(f.s, op_new(&f), "a", "b");
	wait_all(&f);
	fix_close(&f);
	f.fd = open(f.dir, O_RDONLY | O_DIRECTORY);
	CHECK(fstatat(f.fd, "tandem.db", &st, 0) == 0 && st.st_size < 200000);
	CHECK((st.st_mode & 0777) == 0600);
	close(f.fd);
	io_rm_tree(AT_FDCWD, f.dir, NULL);
}
