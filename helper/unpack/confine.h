/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The unpacker gives up everything that it does not need before it looks at the first byte of an archive: other
 * descriptors, root, the sight of other directories, new privileges, memory, time, and all system calls but those that
 * write a tree.
 */
#pragma once
#include <signal.h>
#include "base/err.h"
#include "wire/spawner.h"
/* archive, parent, answer: the descriptors that stay. Started as root, it becomes the owner of parent and sees nothing
 * but parent; no file outside of it can be opened. */
/* For all but UNPACK_CODE it is root of a user namespace of its own, and keeps what changing owners there takes. */
int confine_process(int parent, int highest_fd, uint64_t max_bytes, enum spawner_unpack how, struct err *e);
int confine_filter(int answer, enum spawner_unpack how, struct err *e);
extern volatile sig_atomic_t confine_cpu_used_up; /* set by SIGXCPU: there is no other way to learn it */
