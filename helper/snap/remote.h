/* SPDX-License-Identifier: Apache-2.0 */
/* A stopped child: its registers, memory, and system calls made in its place. */
#pragma once
#include <sys/user.h>
#include "snap.h"

struct remote {
	pid_t pid;
	int mem; /* /proc/PID/mem, for reading and writing */
	int64_t deadline_us;
	bool seized, settled;
	struct user_regs_struct regs; /* so that it makes the call again that it was stopped in */
	uint64_t scratch;	      /* REMOTE_SCRATCH bytes of its stack that it does not use */
	char saved[1024];	      /* what was there */
};
#define REMOTE_SCRATCH 1024

int64_t remote_now_us(void);
/* Stops it while it waits for its channel (a descriptor of it), and for nothing else; tries until the deadline. */
int remote_stop(struct remote *r, pid_t pid, int channel, int64_t deadline_us, struct err *e);
/* Everything back as it was, and it runs. */
void remote_release(struct remote *r);

int remote_read(const struct remote *r, uint64_t at, void *to, size_t n, struct err *e);
/* The call's own error is a result like any other (-errno). */
int remote_call(struct remote *r, long nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, int64_t *ret,
		struct err *e);
