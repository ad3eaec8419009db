/* SPDX-License-Identifier: Apache-2.0 */
/* Small allocations abort when memory is out (house rule 5): never for sizes that outsiders choose unchecked. */
#pragma once
#include "base/def.h"
void *xmalloc(size_t n) __attribute__((malloc, alloc_size(1)));
void *xcalloc(size_t n, size_t size) __attribute__((malloc));
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s); /* NULL stays NULL */
char *xstrndup(const char *s, size_t n);
char *xasprintf(const char *fmt, ...) PRINTF(1, 2);
void *xmemdup(const void *p, size_t n);
