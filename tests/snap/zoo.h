/* SPDX-License-Identifier: Apache-2.0 */
/* Programs for test_snap.py: each makes a piece of kernel state, waits on descriptor 4, and says whether it is there.
 */
#pragma once
#include <stddef.h>

#define CHANNEL 4

struct animal {
	const char *name;
	void (*make)(void);
	const char *(*check)(void); /* NULL: all is as it was; otherwise what is not. Absent: it is to be refused */
	const char *reason;	    /* a part of it */
};
extern const struct animal kept[], refused[], kept_threads[], refused_threads[]; /* end with a name of NULL */
extern int channel_epoll;	     /* 0, or the set that the program waits for its channel with */
void must(int ok, const char *what); /* ends the program */
#define MUST(x) must((x), #x)
#define WANT(x)                                                                                                        \
	do {                                                                                                           \
		if (!(x))                                                                                              \
			return "not true: " #x;                                                                        \
	} while (0)
