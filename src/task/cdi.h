/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices by the names of the Container Device Interface, "vendor.com/class=name": what the *.json of a folder say of
 * them. Nodes and mounts are given, and are subject to root's word like any other; hooks are not run and variables not
 * set.
 */
#pragma once
#include "task/given.h"
#define CDI_SPECS GIVEN_EACH
struct cdi {
	struct json *spec[CDI_SPECS]; /* what is given points into them */
	unsigned n;
};
void cdi_done(struct cdi *c);
/* Adds those among the container's devices to given. folders: NULL ends them; the first that knows a name counts. */
int cdi_give(struct cdi *c, const char *const *folders, const struct json *container, struct given *given,
	     struct err *e);
