/* SPDX-License-Identifier: Apache-2.0 */
#include "advise/lanes.h"
#include <math.h>
#include "advise/simulate.h"
#include "advise/simulate_int.h"
#include "advise/traffic.h"

/*
 * An instance with several seats. All its events get on equally fast, so that one clock of its own (work_us) says when
 * each of them is over: an event that comes when it shows w and takes s alone is over when it shows w + s. It runs as
 * fast as time while the processors suffice, and slower by what they are short of.
 */
struct event {
	int64_t came_us, begun_us, us;
	double over_work_us;
};
struct box {
	int64_t start_us, ready_us, touched_us; /* touched: when an event began or was over */
	int64_t over_us;			/* when the first of its events is over, at this speed; NEVER: none */
	double work_us, speed;
	int open, most, first; /* events; most that were ever open; the one that is over first */
	bool cold;
	struct event *events; /* a seat each */
};

struct ward {
	const struct lane_run_in *in;
	int seats, min, max;
	int64_t keep_us;
	uint64_t random;
	struct line line;
	struct heap starting;
	int n, free_seats, open; /* boxes that are ready; their seats; events */
	struct box boxes[LANE_INSTANCES_MAX];
	struct tally added, latency;
	double cpu_us, busy_us, held_byte_us;
};

/* Lets its clock run until now. */
static void run_on(struct ward *w, struct box *b, int64_t now)
{
	if (b->open) {
		b->work_us += (double)(now - b->touched_us) * b->speed;
		w->busy_us += (double)(now - b->touched_us);
	}
	b->touched_us = now;
}

/* After an event came or went. */
static void look_ahead(struct ward *w, struct box *b)
{
	double wanted = b->open * w->in->cpu_share, least = INFINITY;

	b->over_us = NEVER;
	b->speed = w->in->vcpu > 0 && wanted > w->in->vcpu ? w->in->vcpu / wanted : 1;
	for (int k = 0; k < b->open; k++)
		if (b->events[k].over_work_us < least) {
			least = b->events[k].over_work_us;
			b->first = k;
		}
	if (b->open)
		b->over_us = b->touched_us + (int64_t)ceil(fmax(0, least - b->work_us) / b->speed);
}

static void box_begin(struct ward *w, struct box *b, int64_t now, struct item event)
{
	run_on(w, b, now);
	b->events[b->open++] = (struct event){event.at_us, now, event.us, b->work_us + (double)event.us};
	b->most = b->open > b->most ? b->open : b->most;
	w->cpu_us += (double)event.us * w->in->cpu_share;
	w->free_seats--;
	w->open++;
	look_ahead(w, b);
}

static void box_over(struct ward *w, struct box *b, struct lane_run_out *out)
{
	int64_t now = b->over_us;
	struct event e;

	run_on(w, b, now);
	e = b->events[b->first];
	b->events[b->first] = b->events[--b->open];
	w->free_seats++;
	w->open--;
	line_served(&w->line, now - e.begun_us);
	tally_add(&w->latency, now - e.came_us);
	tally_add(&w->added, now - e.came_us > e.us ? now - e.came_us - e.us : 0);
	out->calls++;
	look_ahead(w, b);
}

static void box_open(struct ward *w, int64_t start_us, int64_t ready_us, bool cold)
{
	struct event *events = w->boxes[w->n].events; /* of one that was here before */

	w->boxes[w->n++] = (struct box){.start_us = start_us,
					.ready_us = ready_us,
					.touched_us = ready_us,
					.over_us = NEVER,
					.cold = cold,
					.events = events ? events : xcalloc((size_t)w->seats, sizeof(*events))};
	w->free_seats += w->seats;
}

static void box_close(struct ward *w, struct box *b, int64_t now, struct lane_run_out *out)
{
	int64_t extra = b->most > 1 ? (b->most - 1) * w->in->seat_bytes : 0;
	struct box last = w->boxes[w->n - 1];

	out->instance_s += (double)(now - b->start_us) / 1e6;
	w->held_byte_us += (double)(now - b->start_us) * (double)(w->in->held_bytes + extra);
	w->free_seats -= w->seats;
	w->boxes[--w->n].events = b->events;
	if (b != &w->boxes[w->n])
		*b = last;
}

/* Those beyond the kept ones that have had nothing to do for long enough. */
static void close_rested(struct ward *w, int64_t now, struct lane_run_out *out)
{
	for (int k = w->min; k < w->n;)
		if (!w->boxes[k].open && now - w->boxes[k].touched_us >= w->keep_us)
			box_close(w, &w->boxes[k], w->boxes[k].touched_us + w->keep_us, out);
		else
			k++;
}

/* Kept ones share what comes; of the others the one used last takes it, so that the rest can end. */
static struct box *seat(struct ward *w)
{
	struct box *best = NULL;

	for (int k = 0; k < w->n && !(best && k == w->min); k++) {
		struct box *b = &w->boxes[k];
		bool fewer = best && k < w->min && b->open < best->open,
		     same = !best || k >= w->min || b->open == best->open;

		if (b->open < w->seats && (fewer || (same && (!best || b->touched_us > best->touched_us))))
			best = b;
	}
	return best;
}

static void dispatch(struct ward *w, int64_t now, struct lane_run_out *out)
{
	while (w->line.waiting.n) {
		int up = w->n + (int)w->starting.n;
		enum policy_move m;

		w->line.load.idle = w->free_seats;
		w->line.load.busy = w->open;
		w->line.load.starting = (int)w->starting.n * w->seats;
		w->line.load.room = w->max - up;
		m = line_ask(&w->line, now);
		if (m == POLICY_REUSE) {
			struct box *b = seat(w);

			out->cold += b->cold;
			b->cold = false;
			box_begin(w, b, now, ring_first(&w->line.waiting));
		} else if (m == POLICY_START) {
			int64_t us = dist_draw(w->in->start, &w->random);

			heap_push(&w->starting, now + us, us);
			out->starts++;
			out->instances_most = up + 1 > out->instances_most ? up + 1 : out->instances_most;
		} else if (m == POLICY_REFUSE) {
			ring_last(&w->line.waiting), out->refused++, out->calls++;
		} else {
			break;
		}
	}
	line_settle(&w->line, now);
}

static struct box *first_over(struct ward *w)
{
	struct box *first = &w->boxes[0];

	for (int k = 1; k < w->n; k++)
		if (w->boxes[k].over_us < first->over_us)
			first = &w->boxes[k];
	return first;
}

static void advance(struct ward *w, int64_t until, struct lane_run_out *out)
{
	for (;;) {
		struct box *b = first_over(w);
		int64_t ready = heap_at(&w->starting), over = b->over_us, now = over < ready ? over : ready;

		now = w->line.patience_us < now ? w->line.patience_us : now;
		if (now > until)
			return;
		if (now == over) {
			box_over(w, b, out);
		} else if (now == ready) {
			struct item i = heap_first(&w->starting);

			box_open(w, i.at_us - i.us, i.at_us, true);
		} else {
			w->line.patience_us = NEVER;
		}
		if (!w->line.waiting.n)
			continue;
		dispatch(w, now, out);
	}
}

static int between(int n, int least, int most)
{
	return n < least ? least : n > most ? most : n;
}

static void in_container(const struct lane_run_in *in, struct traffic *traffic, int64_t until, struct lane_run_out *out)
{
	struct ward *w = xcalloc(1, sizeof(*w));
	int64_t at, start_us = llround(dist_mean(in->start));

	w->in = in;
	w->random = in->seed;
	w->seats = between(in->seats, 1, LANE_SEATS_MAX);
	w->max = in->max > 0 ? between(in->max, 1, LANE_INSTANCES_MAX) : LANE_INSTANCES_MAX;
	w->min = between(in->min, 1, w->max);
	w->keep_us = line_keep_us(in->keep_us, start_us, in->held_bytes);
	line_open(&w->line, start_us, 0);
	for (int k = 0; k < w->min; k++)
		box_open(w, 0, 0, false);
	out->instances_most = w->min;
	while (traffic_next(traffic, &at) && at < until) {
		advance(w, at, out);
		close_rested(w, at, out);
		ring_push(&w->line.waiting, at, dist_draw(in->service, &w->random));
		dispatch(w, at, out);
	}
	advance(w, until, out);
	close_rested(w, until, out);
	while (w->n) {
		run_on(w, &w->boxes[w->n - 1], until);
		box_close(w, &w->boxes[w->n - 1], until, out);
	}
	while (w->starting.n) {
		struct item i = heap_first(&w->starting);

		out->instance_s += (double)(until - (i.at_us - i.us)) / 1e6;
	}
	out->latency = tally_times(&w->latency);
	out->added = tally_times(&w->added);
	out->held_byte_s = w->held_byte_us / 1e6;
	out->busy_s = w->busy_us / 1e6;
	out->cpu_s = w->cpu_us / 1e6 + (double)out->starts * in->start_cpu_s;
	for (int k = 0; k < LANE_INSTANCES_MAX; k++)
		free(w->boxes[k].events);
	free(w->line.waiting.v);
	free(w->starting.v);
	free(w);
}

static void as_function(const struct lane_run_in *in, struct traffic *traffic, int64_t until, struct lane_run_out *out)
{
	const struct simulate_way way = {.keep_us = in->keep_us,
					 .starts = in->start,
					 .min = between(in->min, 0, LANE_INSTANCES_MAX),
					 .max = in->max > 0 ? in->max : LANE_INSTANCES_MAX};
	struct simulate *s = simulate_new(&way, 1, in->seed);
	uint64_t random = ~in->seed;
	struct simulate_result r;
	int64_t at;

	simulate_open(s, in->held_bytes);
	while (traffic_next(traffic, &at) && at < until)
		simulate_call(s, at, dist_draw(in->service, &random));
	simulate_close(s, until);
	simulate_result(s, 0, &r);
	simulate_free(s);
	*out = (struct lane_run_out){.calls = r.use.calls,
				     .cold = r.use.cold,
				     .refused = r.use.refused,
				     .starts = r.use.starts,
				     .latency = r.latency,
				     .added = r.added,
				     .instances_most = (int)r.use.instances_most,
				     .busy_s = r.use.busy_s,
				     .instance_s = r.use.held_s,
				     .held_byte_s = r.use.held_byte_s,
				     .cpu_s = r.use.busy_s * in->cpu_share + (double)r.use.starts * in->start_cpu_s};
}

void lane_run(const struct lane_run_in *in, struct traffic *traffic, int64_t until_us, struct lane_run_out *ret)
{
	*ret = (struct lane_run_out){0};
	if (in->lane == LANE_CONTAINER)
		in_container(in, traffic, until_us, ret);
	else
		as_function(in, traffic, until_us, ret);
}
