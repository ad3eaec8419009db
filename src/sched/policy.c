/* SPDX-License-Identifier: Apache-2.0 */
#include "sched/policy.h"

/* Figures without another source were measured on a 2-core VM; docs/decisions/001 has them. */
#define FREEZE_AFTER_US	 50000
#define KEEP_MAX_US	 (10 * 60 * 1000000ll) /* what Lambda is seen to do */
#define KEEP_MIN_US	 1000000	       /* a sandbox takes 2.2 ms of a processor to make and end: 0.2 % of one */
#define HELD_GUESS_BYTES (16 << 20)	       /* Python, before its first event is over: 4 to 21 MB */
/* A millisecond that somebody waits is worth this many MB for a second: the simulated day then stays below 15 % of the
 * idle memory of a ten-minute keep-alive, also where starts take nearly twice as long as where that was measured. */
#define SECOND_MB_PER_MS 200
#define HOLD_RETRY_US	 1000000
#define HOLD_RETRY_MAX	 6     /* doublings: a minute */
#define START_GUESS_US	 20000 /* a plain Python start, before anything was measured: 13 to 25 ms */
#define SHORT_HANDLER_US 1000
#define OFF_CPU_US	 150 /* a handler that usually is off the processor for longer waits for something */
#define BLANKS_PER_CPU	 12  /* of some 0.4 MB each: as many starts at once find theirs made */
#define BLANKS_MAX	 48

/* Short handlers that wait for nothing: more of them at work than processors only add switches. One more, so that one
 * is on its way while the others run. */
static bool crowded(const struct policy_load *l, int working)
{
	return l->handler_us && l->handler_us < SHORT_HANDLER_US && l->off_cpu_us < OFF_CPU_US && working > l->cpus;
}

enum policy_move policy_place(const struct policy_load *l)
{
	int running = l->busy + l->starting;
	int64_t start = l->start_us ? l->start_us : START_GUESS_US;
	bool patient = l->oldest_wait_us < start;

	if (l->idle > 0)
		return patient && crowded(l, l->busy) ? POLICY_WAIT : POLICY_REUSE;
	if (l->waiting > l->queue_max)
		return POLICY_REFUSE;
	if (l->starting >= l->waiting)
		return POLICY_WAIT; /* one is on its way for every event that waits */
	if (l->room <= 0 || (l->max_instances && running >= l->max_instances))
		return POLICY_WAIT;
	if (!running)
		return POLICY_START;
	if (crowded(l, running) && (patient || l->starting))
		return POLICY_WAIT;
	/* A queue that is over before a start would be, unless there has been one for as long as a start takes. */
	if (l->handler_us && l->busy && patient && (l->backlog_us < start || l->starting) &&
	    l->handler_us * l->waiting / l->busy < start / 4)
		return POLICY_WAIT;
	return POLICY_START;
}

int64_t policy_patience_us(const struct policy_load *l)
{
	return l->start_us ? l->start_us : START_GUESS_US;
}

enum policy_idle_move policy_rest(const struct policy_idle *i, int64_t *ret_next_us)
{
	int64_t keep = i->held ? INT64_MAX : i->keep_us >= 0 ? i->keep_us : policy_keep_us(i->start_us, i->held_bytes);
	bool rested = i->frozen || i->warm || i->idle_us >= FREEZE_AFTER_US;

	*ret_next_us = -1;
	if (i->stale || i->pressed || i->idle_us >= keep)
		return POLICY_STOP;
	if (!rested && keep > FREEZE_AFTER_US)
		*ret_next_us = FREEZE_AFTER_US;
	else if (!i->held)
		*ret_next_us = keep;
	return rested && !i->frozen && !i->warm ? POLICY_FREEZE : POLICY_KEEP;
}

int64_t policy_keep_us(int64_t start_us, int64_t held_bytes)
{
	int64_t start = start_us ? start_us : START_GUESS_US, held = held_bytes ? held_bytes : HELD_GUESS_BYTES;
	int64_t keep = start * SECOND_MB_PER_MS * 1000 / (held / (1 << 20) + 1);

	return keep < KEEP_MIN_US ? KEEP_MIN_US : keep > KEEP_MAX_US ? KEEP_MAX_US : keep;
}

int policy_hold(const struct policy_hold *h, int64_t *ret_next_us)
{
	int doublings = h->failures < HOLD_RETRY_MAX ? h->failures - 1 : HOLD_RETRY_MAX;
	int64_t wait = h->failures ? (HOLD_RETRY_US << doublings) - h->since_failure_us : 0;
	int missing = h->wanted - h->have, may = 2 * h->cpus - h->starting;

	*ret_next_us = -1;
	if (missing <= 0)
		return 0;
	if (wait > 0) {
		*ret_next_us = wait;
		return 0;
	}
	if (h->failures)
		may = h->starting ? 0 : 1; /* one tries whether it works again */
	return missing < may ? missing : may > 0 ? may : 0;
}

bool policy_admits(const struct policy_admission *a)
{
	return a->in_flight < a->provisioned || a->on_demand < a->reserved - a->provisioned_all;
}

bool policy_yields(int mine, int theirs)
{
	return mine > theirs + 1; /* with less between them they would only change places */
}

int policy_blanks(int starts_recent, int waiting, int held, int cpus)
{
	int ready = BLANKS_PER_CPU * cpus + starts_recent / 4;

	if (ready > BLANKS_MAX)
		ready = BLANKS_MAX;
	if (ready < held && !starts_recent) /* a burst is to have the processors to itself */
		ready = held;
	return ready + waiting;
}

uint32_t policy_cpu_weight(int memory_mb)
{
	int64_t w = (int64_t)memory_mb * 100 / 1769;

	return w < 1 ? 1 : w > 10000 ? 10000 : (uint32_t)w;
}

uint32_t policy_cpu_quota_us(int memory_mb)
{
	int64_t us = (int64_t)memory_mb * 100000 / 1769;

	return us < 1000 ? 1000 : (uint32_t)us;
}

int64_t policy_usual(int64_t usual, int64_t sample)
{
	if (sample < 1)
		sample = 1;
	return usual ? usual + (sample - usual) / (sample < usual ? 4 : 64) + (sample > usual) : sample;
}

int64_t policy_average(int64_t average, int64_t sample)
{
	if (sample < 1)
		sample = 1;
	return average ? average + (sample - average) / 8 : sample;
}
