/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <termios.h>
#include "cli/call.h"
#define ATTACH_FAILED 125 /* as docker has it: the program itself was never asked */
struct attach {
	struct cli *c;
	char id[128]; /* TASK, or TASK/CONTAINER */
	int64_t exec; /* 0: the container's own program */
	bool tty, interactive;
	/* its own */
	struct buf frames; /* begun, not whole */
	bool over, gone;
	int exit;
	int signals, wake[2];
	bool raw;
	struct termios before;
};
/* One call, without a word about what goes wrong. -1: no daemon answers. */
int attach_ask(struct attach *r, const char *method, const char *target, struct str body, struct http_answer *a);
int attach_tell(struct attach *r, const char *method, const char *what, struct str body); /* the status */
int attach(struct attach *r); /* until it has ended; its exit code, and r->over */
