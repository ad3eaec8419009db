/* SPDX-License-Identifier: Apache-2.0 */
/* What is held on disk: what is counted, how often, and where it ends. */
#include "ledger/disk.h"
#include "tests/ledger/fixture.h"

static void make(struct fixture *x, const char *path, size_t bytes)
{
	auto_free char *text = xcalloc(1, bytes + 1);
	auto_close int fd = openat(x->dirfd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	uint32_t v = 1;

	for (size_t i = 0; i < bytes; i++) /* nothing that a file system can make smaller */
		text[i] = (char)((v = v * 1664525 + 1013904223) >> 24);
	CHECK(fd >= 0 && write(fd, text, bytes) == (ssize_t)bytes && fsync(fd) == 0);
}

static struct disk_use look(struct fixture *x, enum disk_line line)
{
	struct disk_use u = {0};

	disk_look(x->dirfd, line, &u);
	return u;
}

TEST(lines_of_a_state)
{
	static const struct {
		enum disk_line line;
		int64_t files, at_least, at_most;
	} t[] = {
		{DISK_STATE, 1, 8192, 64 << 10},     /* plain files only */
		{DISK_OBJECTS, 2, 1 << 20, 2 << 20}, /* two names, one file: once */
		{DISK_LOGS, 2, 8192, 64 << 10},	     /* deep; a link is not followed */
		{DISK_CODE, 1, 0, 64 << 10},	     /* sparse: a GiB that nobody holds */
		{DISK_LEDGER, 0, 0, 0},		     /* not there */
		{DISK_LAYERS, 0, 0, 0},		     /* has a counter */
	};
	struct fixture x;

	fixture_init(&x);
	CHECK(!mkdirat(x.dirfd, "objects", 0700) && !mkdirat(x.dirfd, "logs", 0700) &&
	      !mkdirat(x.dirfd, "code", 0700) && !mkdirat(x.dirfd, "logs/a", 0700) &&
	      !mkdirat(x.dirfd, "layers", 0700));
	make(&x, "tandem.db", 8192);
	make(&x, "layers/one", 8192);
	make(&x, "objects/one", 1 << 20);
	CHECK(linkat(x.dirfd, "objects/one", x.dirfd, "objects/two", 0) == 0);
	make(&x, "logs/a/1.log", 8192);
	CHECK(symlinkat("../objects", x.dirfd, "logs/link") == 0);
	make(&x, "code/sparse", 0);
	auto_close int fd = openat(x.dirfd, "code/sparse", O_WRONLY | O_CLOEXEC);
	CHECK(ftruncate(fd, 1 << 30) == 0);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct disk_use u = look(&x, t[i].line);

		CHECK(u.files == t[i].files && !u.more);
		CHECK(u.bytes >= t[i].at_least && u.bytes <= t[i].at_most);
	}
	fixture_done(&x);
}

TEST(a_look_ends)
{
	struct fixture x;
	auto_buf path = {0};

	fixture_init(&x);
	buf_adds(&path, "trash");
	for (int i = 0; i <= DISK_DEPTH; i++) {
		CHECK(mkdirat(x.dirfd, path.p, 0700) == 0);
		buf_adds(&path, "/d");
	}
	CHECK(look(&x, DISK_OTHER).more);
	fixture_done(&x);
}
