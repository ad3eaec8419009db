/* SPDX-License-Identifier: Apache-2.0 */
/* What loop.c and thread.c of this folder share. */
#pragma once
#include <uv.h>
#include "base/list.h"
#include "loop/loop.h"

struct loop_sig;
struct loop {
	uv_loop_t uv;
	uv_prepare_t prepare;
	uv_check_t check;
	uv_idle_t idle;
	int64_t now_us;			  /* 0: not read yet in this turn */
	int64_t slept_us;		  /* while the loop sleeps: less the time at which it began to */
	struct loop_defer *first, **last; /* queued for the next turn */
	struct loop_defer *running;	  /* what is left of this turn's */
	struct loop_sig *sigs;
	bool found; /* the last look at the descriptors found something */
#if TANDEM_DEBUG
	struct list timers; /* that are armed */
#endif
};
