/* SPDX-License-Identifier: Apache-2.0 */
/* What a container is given beside its image, as the spawner takes it; texts are borrowed from the document. */
#pragma once
#include "json/read.h"
#include "spawn/spawn.h"

#define GIVEN_EACH 32 /* as task/doc.c bounds each list */
#define GIVEN_MAX  64 /* with what names of devices stand for (task/cdi.h) */
struct given {
	struct spawn_mount mounts[GIVEN_MAX];
	struct spawn_secret secrets[GIVEN_EACH];
	struct spawn_device devices[GIVEN_MAX];
	struct spawn_ulimit ulimits[GIVEN_EACH];
	unsigned n_mounts, n_secrets, n_devices, n_ulimits;
	uint64_t caps;
	char secret_path[GIVEN_EACH][GIVE_NAME_MAX + 16];
};
/* container: its lists are of the right form. */
int given_read(const struct json *container, struct given *ret, struct err *e);
