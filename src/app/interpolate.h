/* SPDX-License-Identifier: Apache-2.0 */
/* ${VAR}, ${VAR:-default} and $$ in one value. Strict: any other dollar sign is an error that says how to write it. */
#pragma once
#include "app/tree.h"
#include "base/buf.h"
int interpolate(const struct tree_opts *o, struct str raw, unsigned line, unsigned col, struct buf *out, struct err *e);
