/* SPDX-License-Identifier: Apache-2.0 */
/* A stopped child: its threads' registers, its memory, and system calls made in a thread's place. */
#pragma once
#include <sys/user.h>
#include "snap.h"

#define REMOTE_SCRATCH 1024

/* A thread that sleeps in a system call. */
struct remote {
	pid_t tid;
	int mem; /* of its process */
	int64_t deadline_us;
	bool settled;
	struct user_regs_struct regs; /* to go on with: it makes the call again, or the call was interrupted */
	long again;		      /* the number of the call to make again; -1: it was interrupted */
	uint64_t call;		      /* where it entered the kernel */
	uint64_t scratch;	      /* REMOTE_SCRATCH bytes of its stack that it does not use */
	char saved[REMOTE_SCRATCH];   /* what was there */
};

struct remotes {
	pid_t pid;
	int mem; /* /proc/PID/mem, for reading and writing */
	int channel;
	int64_t deadline_us;
	unsigned n;
	struct remote thread[SNAP_THREADS_MAX]; /* the process's first one first, the others by number */
};

int64_t remote_now_us(void);
/*
 * Stops all threads while the first waits for the channel (a descriptor of it), and the others in calls that can be
 * interrupted without anybody seeing more than that; tries until the deadline.
 */
int remote_stop(struct remotes *s, pid_t pid, int channel, int64_t deadline_us, struct err *e);
/* Everything back as it was, and it runs. */
void remote_release(struct remotes *s);

int remote_read(const struct remote *r, uint64_t at, void *to, size_t n, struct err *e);
/* The call's own error is a result like any other (-errno). */
int remote_call(struct remote *r, long nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, int64_t *ret,
		struct err *e);
