/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pure functions that decide. No clock, no file, no socket: time, load and state are arguments, so that a simulator
 * runs this same object file and tests are tables. All times in microseconds.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/*
 * One workload as the policy sees it. Estimates are 0 while nothing was measured. What is counted are seats: an instance of
 * the function lane has one, of the container lane as many as it serves events at once (idle, max_instances and room too).
 */
struct policy_load {
	int idle, starting, busy, waiting; /* instances in each state; events that wait, the new one included */
	int max_instances;		   /* of this workload; 0: no limit of its own */
	int room;			   /* instances the machine still takes (memory, descriptors) */
	int queue_max;
	int cpus;
	int64_t handler_us, off_cpu_us; /* one event as it usually is (policy_usual), and how much of it was waiting */
	int64_t start_us;		/* one start until ready, on average: from an image if there is one */
	int64_t oldest_wait_us;		/* of the event at the head of the queue */
	int64_t backlog_us;		/* for so long events have waited without a break */
};
enum policy_move {
	POLICY_REUSE,  /* give the event to the idle instance used last: its caches are warm */
	POLICY_START,  /* start one more instance */
	POLICY_WAIT,   /* an instance will be free sooner than a new one could be ready */
	POLICY_REFUSE, /* the queue is full */
};
enum policy_move policy_place(const struct policy_load *l);
/* How long the head of the queue may wait before policy_place is asked again. */
int64_t policy_patience_us(const struct policy_load *l);

/* An instance that has nothing to do. */
struct policy_idle {
	int64_t idle_us;    /* since its last event */
	int64_t keep_us;    /* the workload's own wish; -1: policy_keep_us decides */
	int64_t start_us;   /* what starting another one takes; 0: not measured */
	int64_t held_bytes; /* what it holds; 0: not measured */
	bool frozen, stale; /* stale: its revision is no longer the present one */
	bool warm;	    /* of the container lane: never frozen */
	bool held;	    /* one of those that are to be ready (policy_hold) */
	bool pressed;	    /* the machine is short of memory */
};
enum policy_idle_move { POLICY_KEEP, POLICY_FREEZE, POLICY_STOP };
/* ret_next_us: when to ask again, counted like idle_us; -1: never. */
enum policy_idle_move policy_rest(const struct policy_idle *i, int64_t *ret_next_us);

#define POLICY_RESTORE_US 2500 /* starting one from an image, before that was measured: 2.0 to 5.3 ms (decisions/001) */
/* How long an instance is worth its memory: until holding it has cost as much as the start that it saves. */
int64_t policy_keep_us(int64_t start_us, int64_t held_bytes);

/* A workload that holds instances ready: min:, provisioned concurrency. */
struct policy_hold {
	int wanted, have; /* have: ready, busy and starting */
	int starting;	  /* for this reason, of all workloads */
	int cpus;
	int failures; /* starts that came to nothing since one succeeded */
	int64_t since_failure_us;
};
/* How many to start now. ret_next_us: ask again after this time; -1: the end of a start is soon enough. */
int policy_hold(const struct policy_hold *h, int64_t *ret_next_us);

/* The calls of one version of a function with reserved concurrency: begun and not over, waiting ones included. */
struct policy_admission {
	int reserved;	     /* of the function, all versions together */
	int provisioned_all; /* the part of it that versions have for themselves */
	int on_demand;	     /* calls of all versions beyond what is provisioned for each */
	int provisioned;     /* for this version */
	int in_flight;	     /* of this version */
};
bool policy_admits(const struct policy_admission *a); /* one more */

/* The machine is full. Does a workload with so many instances give one up, between two of its own events, for one that
 * waits for room? */
bool policy_yields(int mine, int theirs);

/* Sandboxes to hold ready: starts_recent are the blanks taken within the last second, held those that are declared
 * (pool:). */
int policy_blanks(int starts_recent, int waiting, int held, int cpus);
/* CPU weight (cgroup v2 scale, 100 is the default) by memory: 1,769 MB is one vCPU at Lambda. */
uint32_t policy_cpu_weight(int memory_mb);
/* Of 100 ms, for an instance whose share is fixed. */
uint32_t policy_cpu_quota_us(int memory_mb);
/* What a time is when nothing else is in the way, from samples that contain waiting for a processor: follows shorter
 * ones quickly and longer ones slowly. The first sample counts whole. */
int64_t policy_usual(int64_t usual, int64_t sample);
/* Moving average with weight 1/8; the first sample counts whole. */
int64_t policy_average(int64_t average, int64_t sample);
