/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing byte buffer. Always NUL-terminated one past the end (not counted),
 * so that p can be given to C strings. Zero-initialised is empty and valid.
 */
#pragma once
#include "base/str.h"
struct buf {
	char *p;
	size_t n, cap;
};
void buf_done(struct buf *b);  /* frees; b is empty again */
void buf_clear(struct buf *b); /* keeps the memory */
void buf_grow_(struct buf *b, size_t more);
static inline void buf_reserve(struct buf *b, size_t more)
{
	/* cap counts the place for the NUL too; without memory it is 0, as n is. */
	if (more >= b->cap - b->n)
		buf_grow_(b, more);
}
void buf_add(struct buf *b, const void *p, size_t n);
static inline void buf_addc(struct buf *b, char c)
{
	buf_reserve(b, 1);
	b->p[b->n++] = c;
	b->p[b->n] = 0;
}
void buf_adds(struct buf *b, const char *s);
void buf_addstr(struct buf *b, struct str s);
void buf_addf(struct buf *b, const char *fmt, ...) PRINTF(2, 3);
void buf_add_i64(struct buf *b, int64_t v);
void buf_drop(struct buf *b, size_t n); /* from the front */
struct str buf_str(const struct buf *b);
char *buf_take(struct buf *b); /* the memory; never NULL; caller frees */
#define auto_buf auto_(buf_done) struct buf
