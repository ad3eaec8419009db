/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images that lie in the caller's files (oci:, docker-archive:, dir:, or build: with a Dockerfile): skopeo or buildah,
 * as the caller, turns them into a temporary folder, and what is in it is sent to the daemon, which may not read the
 * caller's files.
 */
#pragma once
#include "cli/cli.h"
bool bring_is_local(const char *source);
/* What it is called when nobody says: a tag or name in the source, else from the file's name. The caller frees. */
char *bring_name(const char *source);
/* Sends it; ret_upload is what the daemon calls it. -1: c->exit is set. */
int bring_upload(struct cli *c, const char *source, char ret_upload[32]);
