/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The caller's credentials for one registry, from the first file that has some: $REGISTRY_AUTH_FILE,
 * $XDG_RUNTIME_DIR/containers/auth.json, ~/.config/containers/auth.json, $DOCKER_CONFIG/config.json,
 * ~/.docker/config.json. Nothing of other registries is handed on.
 */
#pragma once
#include "cli/cli.h"
/* Text of an auth.json with the entries of that host; empty: there are none. -1: a file cannot be read. */
int auth_find(struct cli *c, const char *host, struct buf *ret, struct err *e);
