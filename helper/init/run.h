/* SPDX-License-Identifier: Apache-2.0 */
/* A container's program: who it is, where it stands, what it is called by, as Docker reads an image's configuration. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "wire/init.h"

#define RUN_ENV_MORE 130 /* HOME, and secrets */
#define RUN_CAPS_ALL UINT64_MAX
struct run {
	struct init_run how;
	const char *cwd, *user;
	char **argv, **env; /* env has room for RUN_ENV_MORE before its NULL */
	int fd[3];	    /* stdin, stdout, stderr; with a terminal the first is all three */
	uint64_t caps;	    /* what it may keep; RUN_CAPS_ALL: as they are */
	bool first;	    /* the container's own program: secrets become its user's */
};
/* Becomes the program, or returns enum init_step << 16 | errno. In a process of its own: it gives up rights on the way. */
int run_program(struct run *r);
/* The same beside us: 0 and its pid, or what run_program returned. */
int run_beside(struct run *r, pid_t *ret);
