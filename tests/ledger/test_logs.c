/* SPDX-License-Identifier: Apache-2.0 */
/* Logs: there and back, limits, rotation, followers, many workloads, what a crash leaves. */
#include "base/clock.h"
#include "base/limits.h"
#include "tests/ledger/fixture.h"

#define ID "11111111-2222-4333-8444-555555555555"

/* The texts behind "time " of what was read, so that a test can compare. */
static char *without_time(const char *text)
{
	struct buf out = {0};
	struct str rest = str_of(text), line;

	while (str_cut(rest, '\n', &line, &rest)) {
		CHECK(line.n > LOG_STAMP && line.p[LOG_STAMP] == ' ' && line.p[LOG_STAMP - 1] == 'Z' &&
		      line.p[10] == 'T');
		if (line.n <= LOG_STAMP)
			continue;
		buf_add(&out, line.p + LOG_STAMP + 1, line.n - LOG_STAMP - 1);
		buf_addc(&out, '|');
	}
	return buf_take(&out);
}

static void check_log(struct fixture *x, const char *workload, unsigned max_lines, const char *want)
{
	struct err e = {0};
	auto_free char *text = read_log(x, workload, 0, max_lines, &e);
	auto_free char *got = without_time(text);

	CHECK(e.kind == ERR_NONE);
	CHECK_STR(got, want);
}

static unsigned count_lines(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static int64_t bytes_of(struct fixture *x, const char *path, int *ret_files)
{
	auto_close int fd = openat(x->dirfd, path, O_RDONLY | O_DIRECTORY);
	auto_free struct segment_name *v = NULL;
	int64_t bytes = 0;
	struct stat st;
	size_t n = 0;

	*ret_files = -1;
	if (fd < 0 || segment_list(fd, "", ".log", &v, &n, NULL) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (fstatat(fd, v[i].name, &st, 0) == 0)
			bytes += st.st_size;
	*ret_files = (int)n;
	return bytes;
}

TEST(there_and_back)
{
	struct fixture x;
	struct log_stream *a, *b;

	fixture_init(&x);
	fixture_logs(&x);
	a = logs_get(x.logs, "shop/iris");
	b = logs_get(x.logs, "mail");
	CHECK(logs_get(x.logs, "mail") == b);
	log_stream_add(a, "platform", ID, STR("START RequestId: " ID " Version: $LATEST\n"));
	log_stream_add(a, "fn", ID, STR("hello\n\nthird line\nunfinished"));
	log_stream_add(b, "fn", NULL, STR("no request\n"));
	log_stream_add(a, "platform", ID, STR("REPORT RequestId: " ID "\tDuration: 3.01 ms\t\n"));
	log_stream_add(a, "fn", "", STR(""));
	check_log(&x, "shop/iris", 100,
		  ID " START RequestId: " ID " Version: $LATEST|" ID " hello|" ID " |" ID " third line|" ID
		     " unfinished|" ID " REPORT RequestId: " ID "\tDuration: 3.01 ms\t|");
	check_log(&x, "mail", 100, "- no request|");
	check_log(&x, "mail", 0, "");
	check_log(&x, "shop/iris", 2, ID " unfinished|" ID " REPORT RequestId: " ID "\tDuration: 3.01 ms\t|");
	check_log(&x, "none", 100, "");
	/* Over a restart. */
	logs_free(x.logs);
	fixture_logs(&x);
	check_log(&x, "mail", 100, "- no request|");
	log_stream_add(logs_get(x.logs, "mail"), "fn", NULL, STR("more"));
	check_log(&x, "mail", 100, "- no request|- more|");
	fixture_done(&x);
}

TEST(names)
{
	static const struct {
		const char *name;
		bool ok;
	} t[] = {
		{"f", true},	{"shop/iris_2-b", true}, {"a.b", true},	  {"", false},	     {"/f", false},
		{"f/", false},	{"a//b", false},	 {"..", false},	  {"a/../b", false}, {".hidden", false},
		{"a b", false}, {"a/000001.log", false}, {"a\nb", false},
	};
	struct fixture x;

	fixture_init(&x);
	fixture_logs(&x);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct err e = {0};

		CHECK(log_name_ok(t[i].name) == t[i].ok);
		free(read_log(&x, t[i].name, 0, 1, &e));
		CHECK(e.kind == (t[i].ok ? ERR_NONE : ERR_INVALID));
	}
	fixture_done(&x);
}

#if TANDEM_DEBUG
TEST(since_and_stamps)
{
	struct fixture x;
	struct log_stream *s;
	int64_t middle = 0;

	fixture_init(&x);
	fixture_logs(&x);
	s = logs_get(x.logs, "f");
	clock_test_stop();
	for (int i = 0; i < 10; i++) {
		char text[16];

		snprintf(text, sizeof(text), "line %d", i);
		log_stream_add(s, "fn", NULL, str_of(text));
		clock_test_step(700001);
		if (i == 6)
			middle = clock_wall_us();
	}
	auto_free char *text = read_log(&x, "f", middle, 100, NULL);
	auto_free char *got = without_time(text);
	char stamp[LOG_STAMP + 1];

	CHECK_STR(got, "- line 7|- line 8|- line 9|");
	log_stamp(middle, stamp);
	CHECK(strncmp(text, stamp, LOG_STAMP) == 0);
	log_stamp(1763766000000007, stamp);
	CHECK_STR(stamp, "2025-11-21T23:00:00.000007Z");
	log_stamp(1763766000999999, stamp);
	CHECK_STR(stamp, "2025-11-21T23:00:00.999999Z");
	clock_test_resume();
	fixture_done(&x);
}

/* A function that prints for ever: its lines go over the limit and are counted; the platform's stay. */
TEST(limit_and_dropped_line)
{
	struct fixture x;
	struct log_stream *s, *other;
	char line[1024];
	unsigned kept = 0, dropped = 0;

	fixture_init(&x);
	fixture_logs(&x);
	s = logs_get(x.logs, "noisy"), other = logs_get(x.logs, "calm");
	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\n';
	clock_test_stop();
	for (int i = 0; i < 20000; i++) /* 20 MB at one moment; the burst is 8 MiB */
		log_stream_add(s, "fn", ID, (struct str){line, sizeof(line)});
	CHECK(s->dropped > 11000 && s->dropped < 13000);
	log_stream_add(other, "fn", NULL, STR("heard"));
	log_stream_add(s, "platform", ID, STR("END RequestId: " ID));
	CHECK(s->dropped == 0);
	clock_test_step(100000); /* 200,000 bytes: too little to begin again */
	log_stream_add(s, "fn", ID, STR("still dry"));
	CHECK(s->dropped == 1);
	clock_test_step(300000);
	log_stream_add(s, "fn", ID, STR("heard again"));
	CHECK(s->dropped == 0);
	auto_free char *text = read_log(&x, "noisy", 0, 100000, NULL);
	char *says = strstr(text, " - dropped ");

	kept = count_lines(text);
	CHECK(says && sscanf(says, " - dropped %u lines\n", &dropped) == 1);
	CHECK(kept - 4 + dropped == 20000); /* END, two times dropped, heard again */
	CHECK(strstr(text, "END RequestId") && strstr(text, " - dropped 1 lines\n") && strstr(text, "heard again\n"));
	CHECK(!strstr(text, "still dry"));
	check_log(&x, "calm", 10, "- heard|");
	auto_buf metrics = {0};
	logs_metrics(x.logs, &metrics);
	snprintf(line, sizeof(line), "tandem_log_lines_dropped_total %u\n", dropped + 1);
	CHECK(strstr(metrics.p, line) != NULL);
	clock_test_resume();
	fixture_done(&x);
}

/* START, END, REPORT of 40,000 invocations in a second are all kept. */
TEST(platform_lines_of_a_busy_second)
{
	struct fixture x;
	struct log_stream *s;

	fixture_init(&x);
	fixture_logs(&x);
	s = logs_get(x.logs, "busy");
	clock_test_stop();
	for (int i = 0; i < 40000; i++) {
		log_stream_add(s, "platform", ID, STR("START RequestId: " ID " Version: $LATEST"));
		log_stream_add(s, "platform", ID, STR("END RequestId: " ID));
		log_stream_add(s, "platform", ID,
			       STR("REPORT RequestId: " ID "\tDuration: 3.01 ms\tBilled Duration: 4 ms\tMemory Size: "
				   "128 MB\tMax Memory Used: 36 MB\t"));
		clock_test_step(25);
		if (i % 1000 == 0)
			free(read_log(&x, "busy", 0, 1, NULL)); /* lets the disk follow */
	}
	CHECK(s->dropped == 0 && x.logs && s->bucket[1].tokens > 0);
	clock_test_resume();
	fixture_done(&x);
}
#endif

TEST(rotation_bounds_the_disk)
{
	struct fixture x;
	struct log_stream *s;
	int files;
	char text[200];

	fixture_init(&x);
	fixture_logs(&x);
	logs_files(x.logs)->segment_bytes = 20000;
	s = logs_get(x.logs, "p/f");
	memset(text, '.', sizeof(text));
	for (int i = 0; i < 3000; i++) {
		snprintf(text, sizeof(text), "line %d", i);
		text[strlen(text)] = '.';
		log_stream_add(s, "platform", ID, (struct str){text, sizeof(text)});
		if (i % 50 == 0)
			free(read_log(&x, "p/f", 0, 1, NULL));
	}
	auto_free char *got = read_log(&x, "p/f", 0, 1000000, NULL);
	CHECK(strstr(got, "line 2999.") != NULL && strstr(got, "line 100.") == NULL);
	CHECK(count_lines(got) > 150);
	int64_t bytes = bytes_of(&x, "logs/p/f", &files);
	CHECK(files == LOG_SEGMENTS && bytes <= LOG_SEGMENTS * 20000 && bytes > 40000);
	fixture_done(&x);
}

TEST(a_crash_leaves_half_a_line)
{
	struct fixture x;

	fixture_init(&x);
	fixture_logs(&x);
	log_stream_add(logs_get(x.logs, "f"), "fn", NULL, STR("whole"));
	logs_free(x.logs);
	int fd = openat(x.dirfd, "logs/f/000001.log", O_WRONLY | O_APPEND);
	CHECK(write(fd, "2025-11-21T23:00:00.000007Z fn - hal", 36) == 36);
	close(fd);
	fixture_logs(&x);
	check_log(&x, "f", 10, "- whole|"); /* also before anything is added */
	log_stream_add(logs_get(x.logs, "f"), "fn", NULL, STR("next"));
	check_log(&x, "f", 10, "- whole|- next|");
	fixture_done(&x);
}

TEST(long_lines_are_cut)
{
	struct fixture x;
	size_t n = LIM_LOG_LINE_BYTES * 2 + 10;
	char *text = xmalloc(n);

	fixture_init(&x);
	fixture_logs(&x);
	memset(text, 'a', n);
	log_stream_add(logs_get(x.logs, "f"), "fn", NULL, (struct str){text, n});
	auto_free char *got = read_log(&x, "f", 0, 100, NULL);
	CHECK(count_lines(got) == 3);
	CHECK(strlen(got) == n + 3 * (LOG_STAMP + 4));
	free(text);
	fixture_done(&x);
}

TEST(many_workloads_share_few_descriptors)
{
	enum { N = 300 };
	struct log_stream *s[N];
	struct fixture x;
	char name[32];

	fixture_init(&x);
	fixture_logs(&x);
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "p/f%d", i);
		s[i] = logs_get(x.logs, name);
	}
	for (int round = 0; round < 3; round++)
		for (int i = 0; i < N; i++)
			log_stream_add(s[i], "fn", NULL, str_of(round == 0 ? "one" : round == 1 ? "two" : "three"));
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "p/f%d", i);
		check_log(&x, name, 10, "- one|- two|- three|");
	}
	CHECK(logs_files(x.logs)->n_open <= LOG_OPEN_FILES);
	for (int i = 0; i < N; i++)
		log_stream_release(s[i]);
	check_log(&x, "p/f7", 10, "- one|- two|- three|");
	CHECK(logs_files(x.logs)->n_open == 0);
	fixture_done(&x);
}

TEST(remove_deletes_the_files)
{
	struct fixture x;
	struct log_stream *s;
	int files;

	fixture_init(&x);
	fixture_logs(&x);
	s = logs_get(x.logs, "p/f");
	log_stream_add(logs_get(x.logs, "p/g"), "fn", NULL, STR("stays"));
	log_stream_add(s, "fn", NULL, STR("goes"));
	log_stream_remove(x.logs, "p/f");
	log_stream_remove(x.logs, "never/there");
	check_log(&x, "p/f", 10, "");
	CHECK(bytes_of(&x, "logs/p/f", &files) == -1);
	check_log(&x, "p/g", 10, "- stays|");
	/* Whoever still holds it may go on. */
	log_stream_add(s, "fn", NULL, STR("again"));
	check_log(&x, "p/f", 10, "- again|");
	log_stream_remove(x.logs, "p/f");
	log_stream_release(s);
	log_stream_remove(x.logs, "p/g");
	check_log(&x, "p/g", 10, "");
	CHECK(bytes_of(&x, "logs/p", &files) == -1); /* the project's directory too */
	fixture_done(&x);
}

struct follower {
	struct log_follow f;
	struct buf got;
	bool stop_at_once;
};

static void follow_line(struct log_follow *f, struct str text)
{
	struct follower *w = container_of(f, struct follower, f);

	buf_addf(&w->got, "[%s] ", f->workload);
	buf_addstr(&w->got, text);
	if (w->stop_at_once)
		log_follow_stop(f);
}

TEST(followers)
{
	struct fixture x;
	struct follower one = {.f.line = follow_line}, all = {.f.line = follow_line},
			once = {.f.line = follow_line, .stop_at_once = true};
	struct log_stream *a, *b;

	fixture_init(&x);
	fixture_logs(&x);
	a = logs_get(x.logs, "p/a"), b = logs_get(x.logs, "p/b");
	log_stream_add(a, "fn", ID, STR("before"));
	log_follow_start(x.logs, "p/a", &one.f);
	log_follow_start(x.logs, "p/a", &once.f);
	log_follow_start(x.logs, NULL, &all.f);
	log_stream_add(a, "fn", ID, STR("1\n2"));
	log_stream_add(b, "platform", NULL, STR("3\n"));
	log_follow_stop(&one.f);
	log_follow_stop(&one.f);
	log_stream_add(a, "fn", ID, STR("4\n"));
	CHECK(strncmp(one.got.p, "[p/a] 20", 8) == 0);
	CHECK(count_lines(one.got.p) == 2 && strstr(one.got.p, "Z " ID " 1\n20") && strstr(one.got.p, "Z " ID " 2\n"));
	CHECK(count_lines(once.got.p) == 2);
	CHECK(count_lines(all.got.p) == 4 && strstr(all.got.p, "[p/b] ") && strstr(all.got.p, "Z - 3\n"));
	log_follow_start(x.logs, "p/b", &one.f); /* the logs may be closed under it */
	fixture_done(&x);
	buf_done(&one.got);
	buf_done(&once.got);
	buf_done(&all.got);
}

TEST(unwritable)
{
	struct fixture x;
	struct err e = {0};

	fixture_init(&x);
	int fd = openat(x.dirfd, "logs", O_CREAT | O_WRONLY, 0600);
	close(fd);
	CHECK(logs_open(x.loop, x.dirfd, &x.logs, &e) == -1);
	CHECK(e.kind == ERR_SYS && x.logs == NULL);
	CHECK(unlinkat(x.dirfd, "logs", 0) == 0);
	fixture_logs(&x);
	/* A file where a workload's directory should be: its lines are lost and counted, the others' are not. */
	fd = openat(x.dirfd, "logs/bad", O_CREAT | O_WRONLY, 0600);
	close(fd);
	log_stream_add(logs_get(x.logs, "bad"), "fn", NULL, STR("a\nb\n"));
	log_stream_add(logs_get(x.logs, "good"), "fn", NULL, STR("c"));
	check_log(&x, "good", 10, "- c|");
	auto_buf metrics = {0};
	logs_metrics(x.logs, &metrics);
	CHECK(strstr(metrics.p, "tandem_log_lines_dropped_total 2\n") != NULL);
	fixture_done(&x);
}

/* Waiting lines are bounded; those beyond are counted, and said once there is room. */
TEST(a_slow_disk_drops)
{
	enum { N = 40, LINE = 1 << 16 };
	char *text = xcalloc(LINE, 1), name[32];
	struct log_stream *s[N];
	struct fixture x;
	uint64_t dropped = 0;

	fixture_init(&x);
	fixture_logs(&x);
	memset(text, 'y', LINE);
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		s[i] = logs_get(x.logs, name);
		for (int k = 0; k < 8; k++) /* 21 MB while the loop stands still */
			log_stream_add(s[i], "fn", NULL, (struct str){text, LINE});
		dropped += s[i]->dropped;
	}
	CHECK(dropped > 40 && dropped < 120 && s[N - 1]->dropped == 8);
	free(read_log(&x, "f0", 0, 1, NULL));
	log_stream_add(s[N - 1], "fn", NULL, STR("now"));
	check_log(&x, name, 10, "- dropped 8 lines|- now|");
	free(text);
	fixture_done(&x);
}
