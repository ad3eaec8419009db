/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "spawn/spawn.h"
/* What does not fit arrives empty, and is refused. */
void spawn_copy(char *to, size_t size, const char *from);
/* The memory file that goes along; -1: there is nothing to give, or no memory, which the spawner tells by *ret_n. */
int spawn_gives(const struct spawn_container *c, uint8_t *ret_n);
