/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A unit test is a program: TEST(name) { ... } registers itself, CHECK counts
 * and reports, the end prints "N passed, N failed". TEST_SKIP says why and
 * counts as skipped.
 */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct test {
	const char *name;
	void (*run)(void);
	struct test *next;
};
static struct test *test_all;
static int test_failures, test_skips;

#define TEST(name_)                                                                                                    \
	static void test_##name_(void);                                                                                \
	__attribute__((constructor)) static void test_reg_##name_(void)                                                \
	{                                                                                                              \
		static struct test t = {#name_, test_##name_, NULL};                                                   \
		t.next = test_all, test_all = &t;                                                                      \
	}                                                                                                              \
	static void test_##name_(void)

#define CHECK(cond)                                                                                                    \
	do {                                                                                                           \
		if (!(cond)) {                                                                                         \
			test_failures++;                                                                               \
			printf("%s:%d: not true: %s\n", __FILE__, __LINE__, #cond);                                    \
		}                                                                                                      \
	} while (0)
#define CHECK_STR(a, b)                                                                                                \
	do {                                                                                                           \
		const char *a_ = (a), *b_ = (b);                                                                       \
		if (!a_ || !b_ || strcmp(a_, b_)) {                                                                    \
			test_failures++;                                                                               \
			printf("%s:%d: \"%s\" is not \"%s\"\n", __FILE__, __LINE__, a_ ? a_ : "(null)",                \
			       b_ ? b_ : "(null)");                                                                    \
		}                                                                                                      \
	} while (0)
#define TEST_SKIP(why)                                                                                                 \
	do {                                                                                                           \
		test_skips++;                                                                                          \
		printf("skipped: %s\n", why);                                                                          \
		return;                                                                                                \
	} while (0)

#if !TANDEM_DEBUG /* the clock cannot be stepped: the whole program is skipped where one of its tests does */
static inline void test_no_clock(void)
{
	puts("needs a clock that can be stepped: a debug build");
	exit(test_failures ? 1 : 77);
}
#define clock_test_stop		 test_no_clock
#define clock_test_step(us)	 test_no_clock()
#define clock_test_set(us)	 test_no_clock()
#define clock_test_resume	 test_no_clock
#define loop_clock_changed(loop) test_no_clock()
#endif

int main(int argc, char **argv)
{
	int passed = 0, failed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (struct test *t = test_all; t; t = t->next) {
		int before = test_failures;

		if (argc > 1 && strcmp(argv[1], t->name))
			continue;
		t->run();
		if (test_failures > before)
			failed++, printf("FAIL %s\n", t->name);
		else
			passed++;
	}
	printf("%s: %d passed, %d failed, %d skipped\n", argv[0], passed, failed, test_skips);
	return failed ? 1 : 0;
}
