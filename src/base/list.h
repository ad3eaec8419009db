/* SPDX-License-Identifier: Apache-2.0 */
/* Intrusive doubly linked ring. Removing leaves the node empty, so removing twice is harmless. */
#pragma once
#include <stdbool.h>
#include "base/def.h"
struct list {
	struct list *next, *prev;
};
static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}
static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}
static inline void list_insert_(struct list *n, struct list *prev, struct list *next)
{
	n->prev = prev, n->next = next, prev->next = n, next->prev = n;
}
static inline void list_push(struct list *l, struct list *n)
{
	list_insert_(n, l->prev, l);
} /* at the end */
static inline void list_push_front(struct list *l, struct list *n)
{
	list_insert_(n, l, l->next);
}
static inline void list_del(struct list *n)
{
	if (!n->next)
		return;
	n->prev->next = n->next, n->next->prev = n->prev;
	list_init(n);
}
#define list_first(l, type, member) (list_empty(l) ? NULL : container_of((l)->next, type, member))
#define list_last(l, type, member)  (list_empty(l) ? NULL : container_of((l)->prev, type, member))
#define list_each(l, it)                                                                                               \
	for (struct list *it = (l)->next, *it##_n = it->next; it != (l);                                               \
	     it = it##_n, it##_n = it->next) /* it may be removed */
