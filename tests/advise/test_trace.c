/* SPDX-License-Identifier: Apache-2.0 */
#include "advise/trace.h"

#include <fcntl.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/mem.h"
#include "tests/test.h"

#define INV "HashFunction,HashApp,HashOwner,minute_1,minute_2,minute_3\nf1,a1,o,0,3,1\nf2,a2,o,1,0,0\n"
#define RUN_HEAD                                                                                                       \
	"HashFunction,HashApp,Average,percentile_Average_0,percentile_Average_1,percentile_Average_25,"                \
	"percentile_Average_50,percentile_Average_75,percentile_Average_99,percentile_Average_100\n"
#define RUN RUN_HEAD "f1,a1,12.5,1,2,3,4,5.25,6,7\nf2,a2,2,0,0,0,1,1,1,9\n"
#define MEM "HashApp,AverageAllocatedMb\na1,128\na2,0.5\n"

struct day {
	const char *inv, *run, *mem;
};

struct dir {
	char path[64];
};

static void put(const struct dir *d, const char *name, const void *p, size_t n)
{
	struct err e = {0};
	int fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	CHECK(fd >= 0 && (!p || io_write_file(fd, name, p, n, 0600, &e) == 0));
	close(fd);
}

static void put_day(const struct dir *d, const struct day *y)
{
	put(d, "inv.csv", y->inv, y->inv ? strlen(y->inv) : 0);
	put(d, "run.csv", y->run, y->run ? strlen(y->run) : 0);
	put(d, "mem.csv", y->mem, y->mem ? strlen(y->mem) : 0);
}

static void dir_init(struct dir *d)
{
	strlcpy_(d->path, "/tmp/tandem-trace-XXXXXX", sizeof(d->path));
	CHECK(mkdtemp(d->path) != NULL);
}

static void dir_done(struct dir *d)
{
	io_rm_tree(AT_FDCWD, d->path, NULL);
}

/* Functions read, or -1 with what was said. */
static int read_all(const struct dir *d, int64_t *ret_left_out, struct err *e)
{
	struct trace_function *f = xcalloc(1, sizeof(*f));
	struct trace *t = NULL;
	int r = trace_open(d->path, &t, e), n = 0;

	while (!r && (r = trace_next(t, f, e)) > 0)
		n++, r = 0;
	*ret_left_out = t ? trace_left_out(t) : 0;
	trace_free(t);
	free(f);
	return r < 0 ? -1 : n;
}

TEST(good)
{
	static const struct day y = {INV, RUN, MEM};
	struct trace_function *f = xcalloc(1, sizeof(*f));
	struct trace *t = NULL;
	struct err e = {0};
	struct dir d;

	dir_init(&d);
	put_day(&d, &y);
	CHECK(trace_open(d.path, &t, &e) == 0);
	CHECK(trace_next(t, f, &e) == 1);
	CHECK(str_eqc(f->name, "f1") && f->minutes == 3 && f->calls[0] == 0 && f->calls[1] == 3 && f->calls[2] == 1);
	CHECK(f->average_us == 12500 && f->duration_us[0] == 1000 && f->duration_us[4] == 5250 &&
	      f->duration_us[6] == 7000);
	CHECK(f->held_bytes == 128 << 20);
	CHECK(trace_next(t, f, &e) == 1);
	CHECK(str_eqc(f->name, "f2") && f->calls[0] == 1 && f->held_bytes == 1 << 19);
	CHECK(trace_next(t, f, &e) == 0);
	CHECK(trace_next(t, f, &e) == 0);
	trace_free(t);
	free(f);
	dir_done(&d);
}

#define IN(text)                                                                                                       \
	{                                                                                                              \
		text, RUN, MEM                                                                                         \
	}
#define TOOK(row)                                                                                                      \
	{                                                                                                              \
		INV, RUN_HEAD row, MEM                                                                                 \
	}
TEST(what_is_taken_and_what_is_not)
{
	static const struct {
		struct day y;
		int want, left_out;
		const char *says;
	} t[] = {
		{IN("HashApp,2,1,HashFunction\r\na1,1,2,f1\r\n"), 1, 0,
		 NULL}, /* another order; as in the whole trace */
		{IN("HashFunction,HashApp,1\n"), 0, 0, NULL},
		{IN("HashFunction,HashApp,1\nf1,a2,1\nf3,a1,1\nf1,a3,1\n"), 1, 2, NULL},
		{{NULL, RUN, MEM}, -1, 0, "open inv.csv: No such file"},
		{{INV, NULL, MEM}, -1, 0, "open run.csv: No such file"},
		{{INV, RUN, NULL}, -1, 0, "open mem.csv: No such file"},
		{IN(""), -1, 0, "inv.csv is empty"},
		{IN("HashFunction,HashApp,1"), -1, 0, "inv.csv was cut off: line 1 has no end"},
		{IN("HashFunction,HashApp,1\nf1,a1,1\nf2,a2,"), -1, 0, "inv.csv was cut off: line 3 has no end"},
		{IN("HashFunction,HashApp,1\nf1,a1\n"), -1, 0, "inv.csv, line 2: not as many columns"},
		{IN("HashFunction,HashApp,1\nf1,a1,1,1\n"), -1, 0, "inv.csv, line 2: not as many columns"},
		{IN("HashFunction,HashApp,1\n\n"), -1, 0, "inv.csv, line 2: not as many columns"},
		{IN("HashFunction,HashApp,1\nf1,a1,\n"), -1, 0, "inv.csv, line 2: minute 1 is no number from 0 to"},
		{IN("HashFunction,HashApp,1\nf1,a1,-1\n"), -1, 0, "minute 1 is no number"},
		{IN("HashFunction,HashApp,1\nf1,a1,1000001\n"), -1, 0, "minute 1 is no number"},
		{IN("HashFunction,HashApp,1\nf1,a1,99999999999999999999\n"), -1, 0, "minute 1 is no number"},
		{IN("HashFunction,HashApp,1\nx,a1,wrong\n"), -1, 0,
		 "minute 1 is no number"}, /* also where it is left out */
		{IN("HashFunction,HashApp,1,3\n"), -1, 0, "inv.csv has no column of minute 2"},
		{IN("HashFunction,HashApp,1,1\n"), -1, 0, "inv.csv, line 1: a column stands there twice"},
		{IN("HashFunction,1\n"), -1, 0, "inv.csv has no column HashApp"},
		{TOOK("f1,a1,1,1,2,3,4,5,6,x\n"), -1, 0, "run.csv, line 2: percentile_Average_100 is no number"},
		{TOOK("f1,a1,nan,1,2,3,4,5,6,7\n"), -1, 0, "run.csv, line 2: Average is no number"},
		{TOOK("f1,a1,1,1,2,3,4,5,6,1e3\n"), -1, 0, "run.csv, line 2: percentile_Average_100 is no number"},
		{TOOK("f1,a1,1,1,2,3,4,5,6,7.x\n"), -1, 0, "run.csv, line 2: percentile_Average_100 is no number"},
		{TOOK("f1,a1,1,1,2,3,4,5,6,1000000001\n"), -1, 0,
		 "percentile_Average_100 is no number from 0 to 1000000000"},
		{TOOK("f1,a1,1,1,2,3,4,5,6,5\n"), -1, 0, "run.csv, line 2: a percentile is less than the one before"},
		{TOOK("f1,a1,1,1,2,3,4,5,6,7\nf1,a1,1,1,2,3,4,5,6,7\n"), -1, 0, "run.csv, line 3: stands there twice"},
		{{INV, RUN, "HashApp\n"}, -1, 0, "mem.csv has no column AverageAllocatedMb"},
		{{INV, RUN, "HashApp,AverageAllocatedMb\na1,-1\n"},
		 -1,
		 0,
		 "mem.csv, line 2: AverageAllocatedMb is no number"},
	};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		struct err e = {0};
		int64_t left_out;
		struct dir d;
		int got;

		dir_init(&d);
		put_day(&d, &t[k].y);
		got = read_all(&d, &left_out, &e);
		if (got != t[k].want || left_out != t[k].left_out || (t[k].says && !strstr(e.text, t[k].says)))
			printf("case %zu: %d, %lld left out: %s\n", k, got, (long long)left_out, e.text);
		CHECK(got == t[k].want && left_out == t[k].left_out);
		CHECK(!t[k].says || strstr(e.text, t[k].says));
		dir_done(&d);
	}
}

TEST(no_folder)
{
	struct trace *t = NULL;
	struct err e = {0};

	CHECK(trace_open("/nonexistent/trace", &t, &e) < 0 && t == NULL);
	CHECK(strstr(e.text, "/nonexistent/trace: No such file"));
}

/* Cut anywhere, a file is whole rows or an error. */
TEST(cut)
{
	static const struct day y = {INV, RUN, MEM};
	struct dir d;

	dir_init(&d);
	put_day(&d, &y);
	for (size_t n = 0; n <= strlen(INV); n++) {
		bool at_end = n && INV[n - 1] == '\n';
		struct err e = {0};
		int64_t left_out;
		int rows = -1, got;

		for (size_t k = 0; k < n; k++)
			rows += INV[k] == '\n';
		put(&d, "inv.csv", INV, n);
		got = read_all(&d, &left_out, &e);
		CHECK(got == (at_end ? rows : -1));
		CHECK(at_end || strstr(e.text, n ? "cut off" : "is empty"));
	}
	dir_done(&d);
}

/* Lines that are longer than a read, and than the limit. */
TEST(long_lines)
{
	struct err e = {0};
	char *text = xmalloc(300000);
	int64_t left_out;
	size_t n;
	struct dir d;

	dir_init(&d);
	put_day(&d, &(struct day){INV, RUN, MEM});
	n = strlcpy_(text, "HashFunction,HashApp,other,1\nf1,a1,", 300000);
	memset(text + n, 'x', 65000);
	memcpy(text + n + 65000, ",1\n", 3);
	memcpy(text + n + 65003, "f1,a1,x,2\n", 10);
	put(&d, "inv.csv", text, n + 65013);
	CHECK(read_all(&d, &left_out, &e) == 2);
	memset(text + n, 'x', 250000);
	memcpy(text + n + 250000, ",1\n", 3);
	put(&d, "inv.csv", text, n + 250003);
	CHECK(read_all(&d, &left_out, &e) < 0 && strstr(e.text, "inv.csv, line 2: longer than 65536 bytes"));
	dir_done(&d);
	free(text);
}
