/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One function per forbidden act. Each tries for real, with as little harm as the act allows, and tells the truth:
 * ACT_DONE when it succeeded, ACT_REFUSED with a line that says what was refused and how. test_hostile.py runs every
 * act unconfined first (it must succeed there), then in a sandbox (it must be refused).
 */
#pragma once
#define ACT_DONE    0
#define ACT_REFUSED 1
#define ACT_BROKEN  2 /* the act itself is wrong: bad arguments, out of resources that it needs to try at all */

struct act {
	const char *name;
	int argc;
	int (*run)(char **arg);
};
#define ACT(name, argc)                                                                                                \
	{                                                                                                              \
#name, argc, act_##name                                                                                \
	}

/* Tables end with a NULL name. */
extern const struct act acts_proc[], acts_fs[], acts_kernel[], acts_net[];

int refused(const char *what);		    /* says what, and errno's text */
int outcome(long result, const char *what); /* negative: refused */
int broken(const char *what);
long number(const char *text);
/* Runs f in a child: its return value; ACT_REFUSED when a signal ended it. */
int in_child(int (*f)(void *arg), void *arg);
