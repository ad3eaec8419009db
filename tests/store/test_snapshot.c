/* SPDX-License-Identifier: Apache-2.0 */
/* Images as files: kept whole or not at all, within their budget, of one base. */
#include <sys/stat.h>
#include <unistd.h>

#include "store/snapshot.h"
#include "tests/store/fixture.h"
#include "wire/init.h"

static void keep(struct fix *f, uint64_t serial, uint64_t bytes, int64_t used_wall_us, const char *reason)
{
	struct snapshot info = {
		.serial = serial, .bytes = bytes, .pages = 7, .made_wall_us = 1000000, .used_wall_us = used_wall_us};
	struct err e;

	strlcpy_(info.reason, reason, sizeof(info.reason));
	if (bytes) {
		auto_close int fd = snapshot_create(f->s, serial, &e);

		CHECK(fd >= 0 && write(fd, "image", 5) == 5);
	}
	snapshot_keep(f->s, op_new(f), &info);
	wait_all(f);
	CHECK(f->last.kind == ERR_NONE);
}

static bool opens(struct fix *f, uint64_t serial)
{
	auto_close int fd = snapshot_open(f->s, serial, NULL);
	char text[8] = "";

	return fd >= 0 && read(fd, text, sizeof(text)) == 5 && !strcmp(text, "image");
}

static int truncate_at(int dirfd, const char *name, off_t bytes)
{
	auto_close int fd = openat(dirfd, name, O_WRONLY | O_CLOEXEC);

	return ftruncate(fd, bytes);
}

TEST(found_again_after_a_restart)
{
	struct fix f;
	struct err e;

	fix_init(&f);
	snapshot_base(f.s, "one");
	CHECK(!snapshot_of(f.s, 3) && !opens(&f, 3));
	keep(&f, 3, 100, 1, "");
	keep(&f, 4, 0, 1, "it runs 2 threads");
	close(snapshot_create(f.s, 5, &e)); /* not finished */
	keep(&f, 6, 100, 1, "");
	CHECK(unlinkat(f.fd, "snapshots/6.json", 0) == 0);
	close(snapshot_create(f.s, 7, &e));
	CHECK(faccessat(f.fd, "snapshots/7.new", F_OK, 0) == 0);
	snapshot_discard(f.s, 7);
	CHECK(faccessat(f.fd, "snapshots/7.new", F_OK, 0) < 0);
	fix_close(&f);
	fix_open(&f);
	snapshot_base(f.s, "one");
	CHECK(opens(&f, 3) && snapshot_of(f.s, 3)->pages == 7 && snapshot_disk_bytes(f.s) == 100);
	CHECK_STR(snapshot_of(f.s, 4)->reason, "it runs 2 threads");
	CHECK(!opens(&f, 4) && !snapshot_of(f.s, 5));
	CHECK(!snapshot_of(f.s, 6) && faccessat(f.fd, "snapshots/6", F_OK, 0) < 0);
	snapshot_base(f.s, "two"); /* the host was upgraded */
	CHECK(!snapshot_of(f.s, 3) && !snapshot_of(f.s, 4) && snapshot_disk_bytes(f.s) == 0);
	fix_done(&f);
}

/* At most 250 bytes, and 100 are there. */
static void limited(struct fix *f)
{
	fix_init(f);
	snapshot_base(f->s, "one");
	snapshot_disk_max(f->s, 250);
	keep(f, 1, 100, 1000000, "");
}

TEST(least_recently_used_goes_first)
{
	struct fix f;

	limited(&f);
	keep(&f, 2, 100, 2000000, "");
	CHECK(opens(&f, 1)); /* now 2 is the older one */
	keep(&f, 3, 100, 3000000, "");
	CHECK(opens(&f, 1) && !snapshot_of(f.s, 2) && opens(&f, 3) && snapshot_disk_bytes(f.s) == 200);
	keep(&f, 3, 120, 4000000, ""); /* replaced, not added */
	CHECK(snapshot_disk_bytes(f.s) == 220);
	snapshot_disk_max(f.s, 10);
	CHECK(!snapshot_of(f.s, 1) && !snapshot_of(f.s, 3) && snapshot_disk_bytes(f.s) == 0);
	fix_done(&f);
}

/* Not made anew with each start that misses it, until there is room. */
TEST(larger_than_all_may_be)
{
	struct fix f;

	limited(&f);
	keep(&f, 2, 300, 2000000, "");
	CHECK(opens(&f, 1) && !opens(&f, 2) && snapshot_disk_bytes(f.s) == 100);
	CHECK_STR(snapshot_of(f.s, 2)->reason, "it takes 300 bytes, and all of them may take 250");
	snapshot_disk_max(f.s, 260);
	CHECK(snapshot_of(f.s, 2));
	snapshot_disk_max(f.s, 400);
	CHECK(opens(&f, 1) && !snapshot_of(f.s, 2)); /* the next start asks for it */
	fix_done(&f);
}

TEST(swept_with_its_revision)
{
	struct map live = {0};
	uint64_t one = 1;
	struct fix f;

	fix_init(&f);
	snapshot_base(f.s, "one");
	keep(&f, 1, 100, 1, "");
	keep(&f, 2, 100, 1, "");
	map_put(&live, (struct str){(const char *)&one, sizeof(one)}, &one);
	snapshots_sweep(f.s, &live);
	CHECK(opens(&f, 1) && !snapshot_of(f.s, 2));
	map_done(&live);
	fix_done(&f);
}

TEST(the_store_may_go_first)
{
	struct snapshot info = {.serial = 9, .reason = "no"};
	struct fix f;

	fix_init(&f);
	snapshot_base(f.s, "one");
	snapshot_keep(f.s, op_new(&f), &info);
	store_free(take_ptr(f.s));
	wait_all(&f); /* told, and nothing of the store is touched */
	fix_done(&f);
}

TEST(a_list_of_pages_lies_at_the_end)
{
	struct fix f;
	char name[] = "snapshots/3", got[8] = "", *list = xmalloc(INIT_PAGES_MAX + 1);
	struct stat st;

	fix_init(&f);
	snapshot_base(f.s, "one");
	keep(&f, 3, 100, 1, "");
	snapshot_pages(f.s, 3, STR("listed")); /* there is no room: the image stays as it is */
	CHECK(opens(&f, 3));
	CHECK(truncate_at(f.fd, name, 1 << 20) == 0);
	memset(list, 'x', INIT_PAGES_MAX + 1);
	snapshot_pages(f.s, 3, (struct str){list, INIT_PAGES_MAX + 1});
	snapshot_pages(f.s, 4, STR("listed"));
	snapshot_pages(f.s, 3, STR("listed"));
	auto_close int fd = openat(f.fd, name, O_RDONLY | O_CLOEXEC);

	CHECK(fstat(fd, &st) == 0 && st.st_size == 1 << 20);
	CHECK(pread(fd, got, sizeof(got), (1 << 20) - INIT_PAGES_MAX) == 8 && !memcmp(got, "listed\0", 8));
	CHECK(pread(fd, got, 5, 0) == 5 && !memcmp(got, "image", 5));
	snapshot_forget(f.s, 3);
	CHECK(faccessat(f.fd, name, F_OK, 0) < 0 && faccessat(f.fd, "snapshots/4", F_OK, 0) < 0);
	free(list);
	fix_done(&f);
}
