/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images that the tool brings itself, from files that only its user may read: a directory in incoming/ into which it
 * writes what skopeo made of them (dir:), in pieces; then pull.h takes it as if it came from a registry. One that
 * nobody goes on with for some minutes is removed.
 */
#pragma once
#include "base/str.h"
#include "image/image.h"

int upload_new(struct images *t, char ret_name[24], struct err *e);
struct upload_put;
/* Writes a copy of data, off the loop. done is called once, later, unless canceled. */
int upload_put_start(struct images *t, const char *name, const char *file, int64_t offset, struct str data,
		     void (*done)(void *arg, const struct err *e), void *arg, struct upload_put **ret, struct err *e);
void upload_put_cancel(struct upload_put *p);
int upload_take(struct images *t, const char *name, struct err *e); /* the caller's from now on: for a pull */
