/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "cli/cli.h"
/* Containers may be given this path of the host from now on, and what is below it. For root alone: tandemd cannot. */
int grant_add(struct cli *c, const char *path, struct err *e);
