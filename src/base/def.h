/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few macros of the house: cleanup attributes, visible transfer of
 * ownership, container_of. Nothing else belongs here.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define auto_(f)			__attribute__((cleanup(f)))
#define ARRAY_SIZE(a)			(sizeof(a) / sizeof((a)[0]))
#define PRINTF(fmt, first)		__attribute__((format(printf, fmt, first)))
#define UNUSED				__attribute__((unused))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline void free_p(void *p)
{
	free(*(void **)p);
}
static inline void close_p(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
#define auto_free  auto_(free_p)
#define auto_close auto_(close_p)

/* Gives the value away and leaves the variable empty. */
#define take_ptr(p)                                                                                                    \
	({                                                                                                             \
		__typeof__(p) t_ = (p);                                                                                \
		(p) = NULL;                                                                                            \
		t_;                                                                                                    \
	})
#define take_fd(fd)                                                                                                    \
	({                                                                                                             \
		int t_ = (fd);                                                                                         \
		(fd) = -1;                                                                                             \
		t_;                                                                                                    \
	})
