/* SPDX-License-Identifier: Apache-2.0 */
/* Which pages a process has touched, and what is asked for because of such a list, whoever wrote it. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "snap/image.h"
#include "tests/test.h"

#define IMAGE  300 /* descriptors that nothing is done with */
#define FILE_1 301
#define FILE_2 302

static struct {
	int fd;
	uint64_t from, to;
} asked[64];
static unsigned n_asked;
static uint64_t asked_bytes;
static bool on_disk;

static int note_advice(int fd, off_t from, off_t n, int advice)
{
	unsigned last = n_asked - 1;

	CHECK(advice == POSIX_FADV_WILLNEED && n > 0 && n <= 128 << 10);
	asked_bytes += (uint64_t)n;
	if (n_asked && asked[last].fd == fd && asked[last].to == (uint64_t)from)
		asked[last].to += (uint64_t)n;
	else if (n_asked < ARRAY_SIZE(asked))
		asked[n_asked].fd = fd, asked[n_asked].from = (uint64_t)from,
		asked[n_asked++].to = (uint64_t)(from + n);
	return 0;
}

static ssize_t look_up(int fd, const struct iovec *v, int n, off_t at, int flags)
{
	errno = EAGAIN;
	return on_disk ? -1 : 1;
}

#define posix_fadvise note_advice
#define preadv2	      look_up
#include "snap/ahead.c"
#include "snap/plan.c"
#define frame_of ident_frame_of
#include "snap/ident.c"

static bool was_asked(int fd, uint64_t from, uint64_t pages)
{
	for (unsigned i = 0; i < n_asked; i++)
		if (asked[i].fd == fd && asked[i].from == from && asked[i].to == from + pages * SNAP_PAGE)
			return true;
	return false;
}

static bool listed(const struct snap_ahead *l, uint64_t addr)
{
	for (uint64_t i = 0; i < l->n; i++)
		if (addr >= start_of(l->range[i]) && addr < end_of(l->range[i]))
			return true;
	return false;
}

TEST(what_does_not_fit_is_joined)
{
	static struct snap_ahead l = {.magic = AHEAD_MAGIC, .ino = 7};
	uint64_t gap = 1, at = SNAP_ADDR_MIN;

	for (unsigned i = 0; i < 3 * AHEAD_RANGES; i++, at += (2 + i % 3) * SNAP_PAGE)
		ahead_note(&l, &gap, at, at + SNAP_PAGE);
	CHECK(good(&l, 7));
	at = SNAP_ADDR_MIN;
	for (unsigned i = 0; i < 3 * AHEAD_RANGES; i++, at += (2 + i % 3) * SNAP_PAGE)
		CHECK(listed(&l, at));
	l.n = 0;
	ahead_note(&l, &gap, SNAP_ADDR_MIN, SNAP_ADDR_MIN + 10000 * SNAP_PAGE);
	CHECK(l.n == 3 && good(&l, 7) && listed(&l, SNAP_ADDR_MIN + 9999 * SNAP_PAGE));
	for (at = 1ull << 40; l.n < AHEAD_RANGES; at += 1ull << 32) /* too far apart: the rest is left out */
		ahead_note(&l, &gap, at, at + SNAP_PAGE);
	ahead_note(&l, &gap, at, at + SNAP_PAGE);
	CHECK(l.n == AHEAD_RANGES && good(&l, 7) && !listed(&l, at));
}

TEST(a_list_is_not_believed)
{
	static struct snap_ahead l = {.magic = AHEAD_MAGIC, .ino = 7, .n = 2, .range = {0x20001, 0x21002}};
	uint64_t wrong[][2] = {{0x20000, 0x21001},	     {0x20002, 0x21001},  {0x21001, 0x20001}, {0x1001, 0x21001},
			       {0x20001, SNAP_ADDR_END | 1}, {0x20fff, 0x100001}, {0x20001, ~0ull}};

	CHECK(good(&l, 7) && !good(&l, 8));
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		memcpy(l.range, wrong[i], sizeof(wrong[i]));
		CHECK(!good(&l, 7));
	}
	l.range[0] = 0x20001, l.range[1] = 0x21002;
	l.n = 0;
	CHECK(!good(&l, 7));
	l.n = AHEAD_RANGES + 1;
	CHECK(!good(&l, 7));
	l.n = 2, l.magic = 0;
	CHECK(!good(&l, 7));
}

TEST(a_process_shows_what_it_touched)
{
	static struct snap_ahead l;
	size_t n = 64 * SNAP_PAGE;
	char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t at = (uint64_t)(uintptr_t)p;
	struct err e;

	CHECK(p != MAP_FAILED && madvise(p, n, MADV_NOHUGEPAGE) == 0);
	p[3 * SNAP_PAGE] = p[4 * SNAP_PAGE] = p[40 * SNAP_PAGE] = 1;
	CHECK(ahead_look(getpid(), 9, &l, &e) == (ssize_t)(24 + 8 * l.n));
	CHECK(l.n > 3 && good(&l, 9));
	CHECK(listed(&l, at + 3 * SNAP_PAGE) && listed(&l, at + 4 * SNAP_PAGE) && listed(&l, at + 40 * SNAP_PAGE));
	CHECK(!listed(&l, at + 20 * SNAP_PAGE) && !listed(&l, at + 60 * SNAP_PAGE));
	CHECK(ahead_look(-1, 9, &l, &e) < 0 && e.kind != ERR_NONE);
	munmap(p, n);
}

/* 1: mapped from the image. 2: of a file. 3: of a file, two pages written over. 4: of a file, all from the image. */
static const struct snap_map maps[] = {
	{.start = 0x100000, .end = 0x140000, .prot = PROT_READ | PROT_WRITE, .run = 0, .n_runs = 1},
	{.start = 0x200000, .end = 0x210000, .file = 1, .offset = 0x5000, .prot = PROT_READ},
	{.start = 0x300000, .end = 0x310000, .file = 2, .prot = PROT_READ | PROT_WRITE, .run = 1, .n_runs = 1},
	{.start = 0x310000, .end = 0x320000, .file = 2, .offset = 0x10000, .prot = PROT_READ, .run = 2, .n_runs = 1},
	{.start = 1ull << 40, .end = 2ull << 40, .file = 1, .prot = PROT_READ, .run = 3},
};
static const struct snap_run runs[] = {
	{.addr = 0x100000, .at = 0x3000, .pages = 64},
	{.addr = 0x304000, .at = 0x43000, .pages = 2},
	{.addr = 0x310000, .at = 0x45000, .pages = 16},
};

/* Everything that a list asks for, of an image that is not in memory. */
static void ask_for(struct snap_ahead *l)
{
	static struct snap_head h = {.table = {[TABLE_MAPS] = {0, ARRAY_SIZE(maps)}, [TABLE_RUNS] = {0, 3}}};
	struct snap_view v = {.head = &h, .map = maps, .run = runs};
	struct ahead a = {.image = IMAGE, .list = l, .fd = -1};
	int fds[] = {FILE_1, FILE_2};

	n_asked = 0, asked_bytes = 0;
	ahead_image(&a, &v);
	ahead_files(&a, fds);
}

TEST(what_is_asked_for_is_what_will_be_mapped)
{
	static struct snap_ahead l = {.n = 5, .range = {0x102004, 0x13c001, 0x1ff003, 0x300010, 0x310010}};

	on_disk = false;
	ask_for(&l);
	CHECK(n_asked == 0);
	on_disk = true;
	ask_for(&l);
	CHECK(was_asked(IMAGE, 0x5000, 4) && was_asked(IMAGE, 0x3f000, 1)); /* 1 */
	CHECK(was_asked(FILE_1, 0x5000, 2));				    /* 2, the part that is in it */
	CHECK(was_asked(IMAGE, 0x43000, 18) && was_asked(FILE_2, 0, 16));   /* 3 whole, and 4 of the image alone */
	CHECK(n_asked == 5);
}

TEST(no_list_asks_for_too_much)
{
	static struct snap_ahead l = {.n = AHEAD_RANGES};

	for (uint64_t i = 0; i < AHEAD_RANGES; i++)
		l.range[i] = ((1ull << 40) + i * 4095 * SNAP_PAGE) | 4095;
	on_disk = true;
	ask_for(&l);
	CHECK(asked_bytes == 0); /* nothing of it is in the image, so nobody knows that it is on a disk */
	l.range[0] = 0x100001;
	ask_for(&l);
	CHECK(asked_bytes == (uint64_t)AHEAD_PAGES_MAX * SNAP_PAGE);
}
