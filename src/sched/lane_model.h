/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a workload costs an hour in each lane at a rate of requests, and the rate at which it no longer matters. Pure
 * arithmetic, shared by the daemon (lane: auto) and the advisor. docs/deciding.md has the same in words.
 *
 * Requests come at random (Poisson), and are as long as they usually are. One that finds no seat free gets an instance
 * started; the instance used last is used next; one that had nothing to do for keep_s goes. With S open at once on
 * average, level j of the stack of instances is in use while at least j are open; from there follow exactly, for the
 * first level, and within some 7 % for several, how long it is held in vain and how often it is started (lane_held).
 * An instance of the function lane has one seat, one of the container lane `seats`, and `min` (at least one) of it never go.
 */
#pragma once
#include <stdbool.h>
#include "base/buf.h"
#include "base/lane.h"
#include "sched/known.h"

struct lane_facts {
	union {
		struct {
			/* One request: CPU time, and how long it is open. */
			struct known cpu_s, wall_s;
			/* Function lane: what an instance holds; a start until it is ready, and the CPU time of that. */
			struct known held_bytes, start_s, start_cpu_s;
			/* Container lane: an instance with nothing open, and with each that has been open at once; its start;
			 * what it uses all the time of one CPU. */
			struct known base_bytes, seat_bytes, c_start_s, overhead_cpu_share;
		};
		struct known all[9];
	};
	double keep_s; /* for how long an idle instance is kept; -1: as policy_keep_us has it */
	int seats;     /* requests that one instance of the container lane serves at once; 0 counts as 1 */
	int min;       /* instances that are to be there in any lane */
};
/* The members of all, and seats, as a record of them has them. */
enum { LANE_FACT_SEATS = 9, LANE_FACT_N };
extern const char *const lane_fact_name[LANE_FACT_N];
/* Fills in what nobody has looked at (v and high 0), widely: memory and starts of one lane from those of the other one; what a
 * start takes; that a container holds LANE_BASE_TIMES what a function does, which began from an image and holds only
 * what it touched. */
void lane_facts_settle(struct lane_facts *f);
#define LANE_BASE_TIMES 2.0 /* 1 to 5 */
struct known lane_seat_assumed(double held_bytes);

struct lane_price { /* of one lane */
	double usd_per_cpu_s, usd_per_byte_s, usd_per_request;
	/* false: CPU time used and memory held (this machine). true: vcpu and memory_bytes of an instance: in the function
	 * lane while a request or a start is under way (Lambda), in the container lane for as long as it is up (Fargate),
	 * and as many instances as the CPU time takes. */
	bool by_reservation;
	double vcpu, memory_bytes;
};
/* USD an hour at `rate` requests a second. LANE_VM: as the container lane. */
double lane_cost_hour(const struct lane_facts *f, const struct lane_price *p, enum lane lane, double rate);

/* Instances of `seats` seats on average, and their starts a second; `always` of them never go. */
struct lane_held {
	double instances, starts;
};
struct lane_held lane_held(double rate, double open_s, double keep_s, int seats, int always);

/*
 * From `rate` on the container lane costs less. low to high: 95 %. Each number is moved to both ends of its range and the
 * break-even found again; what that moves it by, up and down, adds up squared, as if the numbers were independent. Where nothing
 * crosses rate is 0, the container lane always costs less, or INFINITY; its bar may still end at a rate. Takes 0.1 to 1 ms, 2 with the widest bars.
 */
struct lane_break_even {
	bool crosses;
	double rate, low, high; /* requests/s; low 0, high INFINITY: no end is known */
};
void lane_break_even(const struct lane_facts *f, const struct lane_price *function, const struct lane_price *container,
		     struct lane_break_even *ret);
/* "3.1 (2.6 to 3.9)" */
void lane_break_even_text(struct buf *out, const struct lane_break_even *b);

/* The same for any cost: gain says by how much the function lane costs more. v is what gain reads. */
struct lane_unsure {
	double *v, low, high;
	double moves; /* returned: the logarithm of the break-even, as a standard error */
};
typedef double lane_gain(const void *arg, double rate);
#define LANE_RATE_MIN 1e-6 /* once in eleven days */
#define LANE_RATE_MAX 1e5
#define LANE_OPEN_MAX 300.0 /* at once, up to which a crossing is looked for: nobody's machine */
void lane_even_find(lane_gain *gain, const void *arg, double open_s, struct lane_unsure *u, size_t n,
		    struct lane_break_even *ret);
