/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/log.h"
#include "tests/test.h"

static int scratch(char name[64])
{
	strlcpy_(name, "/tmp/tandem-test-XXXXXX", 64);
	return mkdtemp(name) ? open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
}

TEST(write_read)
{
	char dir[64];
	auto_close int d = scratch(dir);
	auto_buf b = {0};
	struct err e = {0};
	struct stat st;

	CHECK(!io_write_file(d, "f", "hello", 5, 0640, &e));
	CHECK(!io_write_file(d, "f", "again", 5, 0600, &e));
	CHECK(!fstatat(d, "f", &st, 0) && (st.st_mode & 0777) == 0600);
	CHECK(io_read_file(d, "f", 4, &b, &e) == -1 && e.kind == ERR_LIMIT && !b.n);
	CHECK(!io_read_file(d, "f", 5, &b, NULL) && str_eqc(buf_str(&b), "again"));
	CHECK(io_read_file(d, "none", 5, &b, &e) == -1 && e.kind == ERR_NOT_FOUND);
	CHECK(io_write_file(d, "no/f", "x", 1, 0600, &e) == -1 && e.kind == ERR_SYS);
	buf_clear(&b);
	CHECK(!io_read_file(AT_FDCWD, "/proc/self/stat", 4096, &b, NULL) && b.n > 10);
	CHECK(!io_rm_tree(AT_FDCWD, dir, NULL) && access(dir, F_OK));
}

TEST(trees)
{
	char dir[64];
	auto_close int d = scratch(dir);
	auto_buf p = {0};
	struct err e = {0};
	int at = d;

	/* Deeper than PATH_MAX and than any descriptor limit, with a link that must not be followed. */
	for (int i = 0; i < 3000; i++) {
		int next;

		CHECK(!mkdirat(at, "deep", 0700));
		next = openat(at, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (at != d)
			close(at);
		at = next;
	}
	CHECK(!symlinkat("/tmp", at, "link") && !io_write_file(at, "file", "", 0, 0, NULL));
	close(at);
	buf_adds(&p, dir);
	buf_adds(&p, "/x/y/z");
	CHECK(!io_mkdirs(p.p, 0700, NULL) && !io_mkdirs(p.p, 0700, NULL));
	CHECK(!io_write_file(d, "x/file", "", 0, 0600, NULL));
	buf_clear(&p);
	buf_addf(&p, "%s/x/file/w", dir);
	CHECK(io_mkdirs(p.p, 0700, &e) == -1 && e.kind == ERR_SYS);
	CHECK(!io_rm_tree(d, "x/file", NULL) && !io_rm_tree(d, "absent", NULL));
	CHECK(!io_rm_tree(AT_FDCWD, dir, &e) && access(dir, F_OK) && !access("/tmp", F_OK));
}

TEST(log_is_one_clean_line)
{
	int p[2], keep = dup(2);
	char got[4096];
	ssize_t n;

	CHECK(!pipe2(p, O_NONBLOCK | O_CLOEXEC));
	dup2(p[1], 2);
	log_init("t", LOG_INFO);
	log_debug("area", "not shown");
	log_warn("area", "bad name=%s", "a\nb\033[1m");
	n = read(p[0], got, sizeof(got) - 1);
	CHECK(n > 0);
	got[n > 0 ? n : 0] = 0;
	CHECK(strstr(got, " warn area: bad name=a b [1m proc=t\n") && strchr(got, '\n') == got + n - 1);
	/* A full pipe must not stop us; what was lost is said later. */
	for (int i = 0; i < 2000; i++)
		log_warn("area", "%0100d", i);
	while (read(p[0], got, sizeof(got)) > 0)
		;
	log_warn("area", "after");
	n = read(p[0], got, sizeof(got) - 1);
	got[n > 0 ? n : 0] = 0;
	CHECK(strstr(got, "after") && strstr(got, " dropped="));
	dup2(keep, 2);
	close(keep), close(p[0]), close(p[1]);
}
