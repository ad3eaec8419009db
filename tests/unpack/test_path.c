/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/test.h"
#include "unpack/path.c"

TEST(clean_names)
{
	static const struct {
		const char *in, *out;
		unsigned depth;
	} good[] = {
		{"a", "a", 1},
		{"a/b/c", "a/b/c", 3},
		{"./a//b/", "a/b", 2},
		{"./", "", 0},
		{".", "", 0},
		{"...", "...", 1},
		{"..a/b..", "..a/b..", 2},
		{".git", ".git", 1},
		{"d\xc3\xa9j\xc3\xa0", "d\xc3\xa9j\xc3\xa0", 1},
		{"\xf0\x9f\x90\x8d.py", "\xf0\x9f\x90\x8d.py", 1},
		{"a\\b", "a\\b", 1},
		{" ", " ", 1},
	};
	struct path p;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct err e = {.kind = ERR_NONE};

		CHECK(path_clean(good[i].in, &p, &e) == 0);
		CHECK_STR(p.text, good[i].out);
		CHECK(p.depth == good[i].depth && p.n == strlen(p.text));
	}
}

TEST(refused_names)
{
	static const char *const bad[] = {
		"",	"/",	"/a",	 "..",	     "a/..",	     "a/../b",	 "./../b",	     "a\nb",
		"\x7f", "\x01", "a\xff", "\xc0\xaf", "\xed\xa0\x80", "\xe2\x82", "\xf5\x80\x80\x80", "\xf0\x80\x80\xaf",
	};
	struct path p = {.n = 77};
	struct err e;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		e = (struct err){.kind = ERR_NONE};
		CHECK(path_clean(bad[i], &p, &e) == -1);
		CHECK(e.kind == ERR_INVALID && e.text[0]);
	}
	CHECK(path_clean(NULL, &p, &e) == -1);
	CHECK(p.n == 77);
}

TEST(limits_of_names)
{
	char text[PATH_BYTES_MAX + 300];
	struct path p;
	struct err e;

	memset(text, 'a', sizeof(text));
	text[PATH_COMPONENT_MAX] = '\0';
	CHECK(path_clean(text, &p, &e) == 0);
	text[PATH_COMPONENT_MAX] = 'a';
	text[PATH_COMPONENT_MAX + 1] = '\0';
	CHECK(path_clean(text, &p, &e) == -1 && e.kind == ERR_LIMIT);

	for (size_t i = 0; i < 2 * PATH_DEPTH_MAX + 2; i++)
		text[i] = i % 2 ? '/' : 'd';
	text[2 * PATH_DEPTH_MAX] = '\0';
	CHECK(path_clean(text, &p, &e) == 0 && p.depth == PATH_DEPTH_MAX);
	text[2 * PATH_DEPTH_MAX] = 'd';
	text[2 * PATH_DEPTH_MAX + 1] = '\0';
	CHECK(path_clean(text, &p, &e) == -1 && e.kind == ERR_LIMIT);

	memset(text, 'a', sizeof(text));
	for (size_t i = 100; i < sizeof(text); i += 101)
		text[i] = '/';
	text[PATH_BYTES_MAX] = '\0';
	CHECK(path_clean(text, &p, &e) == 0 && p.n <= PATH_BYTES_MAX);
	text[PATH_BYTES_MAX] = 'a';
	text[PATH_BYTES_MAX + 1] = '\0';
	CHECK(path_clean(text, &p, &e) == -1 && e.kind == ERR_LIMIT);
}

TEST(targets_of_links)
{
	static const struct {
		const char *link, *target;
		int rc;
	} cases[] = {
		{"l", "a", 0},		 {"l", "a/../b", 0},
		{"d/l", "../a", 0},	 {"d/l", "..", 0},
		{"l", ".", 0},		 {"l", "..", -1},
		{"d/l", "../..", -1},	 {"d/l", "../../d/a", -1},
		{"l", "/a", -1},	 {"l", "", -1},
		{"l", "a/../..", -1},	 {"l", "./..", -1},
		{"a/b/l", "../../c", 0}, {"a/b/l", "../../../c", -1},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct path p;
		struct err e;

		CHECK(path_clean(cases[i].link, &p, &e) == 0);
		if (path_check_target(&p, cases[i].target, &e) != cases[i].rc) {
			printf("%s -> %s\n", cases[i].link, cases[i].target);
			CHECK(!"as the table says");
		}
	}
}

TEST(shown_names)
{
	char out[PATH_SHOWN_MAX + 1], long_name[1000];

	CHECK_STR(path_show("a b\n\xff\\", out), "a b\\x0a\\xff\\x5c");
	memset(long_name, '\n', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	CHECK(strlen(path_show(long_name, out)) <= PATH_SHOWN_MAX);
	CHECK(strlen(out) > PATH_SHOWN_MAX - 16 && !strcmp(out + strlen(out) - 3, "..."));
}
