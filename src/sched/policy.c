/* SPDX-License-Identifier: Apache-2.0 */
#include "sched/policy.h"

#define FREEZE_AFTER_US	 50000
#define KEEP_US		 (10 * 60 * 1000000ll) /* until snapshots make starting cheap: what Lambda is seen to do */
#define START_GUESS_US	 20000		       /* a plain Python start, before anything was measured */
#define SHORT_HANDLER_US 1000
#define OFF_CPU_US	 150 /* a handler that usually is off the processor for longer waits for something */
#define BLANKS_READY	 3

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
	int64_t keep = i->keep_us ? i->keep_us : KEEP_US;

	*ret_next_us = -1;
	if (i->stale || i->pressed || i->idle_us >= keep)
		return POLICY_STOP;
	*ret_next_us = i->frozen || i->idle_us >= FREEZE_AFTER_US ? keep : FREEZE_AFTER_US;
	return !i->frozen && i->idle_us >= FREEZE_AFTER_US ? POLICY_FREEZE : POLICY_KEEP;
}

int policy_blanks(int starts_recent, int waiting, int pool_max)
{
	int want = BLANKS_READY + starts_recent / 4 + waiting;

	return want < pool_max ? want : pool_max;
}

uint32_t policy_cpu_weight(int memory_mb)
{
	int64_t w = (int64_t)memory_mb * 100 / 1769;

	return w < 1 ? 1 : w > 10000 ? 10000 : (uint32_t)w;
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
