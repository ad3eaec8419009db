/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blobs on their way in: each is written to a file without a name, and becomes a blob of the store when the digest that
 * its sender names is that of its bytes. What a killed daemon had begun is gone with it. Constant memory: who sends
 * waits for the disk. One that nobody goes on with for some minutes is forgotten.
 *
 * One at a time sends (push_take); it has done called exactly once, later, after push_end, or leaves by push_drop,
 * which ends the whole push.
 */
#pragma once
#include "base/str.h"
#include "image/image.h"

struct push;
struct push_user {
	void (*drained)(void *arg); /* push_add may be called again */
	void (*done)(void *arg, const struct err *e);
	void *arg;
};
int push_new(struct images *t, const char *repository, struct push **ret, struct err *e);
struct push *push_find(const struct images *t, const char *repository, struct str id);
const char *push_id(const struct push *p);
int64_t push_bytes(const struct push *p); /* that have come */
int push_take(struct push *p, const struct push_user *u, struct err *e);
/* A copy is taken. False: enough for now, wait for drained. Never calls back before it returns. */
bool push_add(struct push *p, struct str data);
/* All was added. digest NULL: the push goes on with another request. Else it ends here, in any case. */
void push_end(struct push *p, const char *digest);
void push_drop(struct push *p);
int push_give_up(struct push *p, struct err *e); /* of one that nobody has taken */
