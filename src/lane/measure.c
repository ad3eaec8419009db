/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include "lane/lanes_int.h"

#define ANOTHER_KEEPS POLICY_LANE_SAMPLE
#define LEAST_SHARE   8 /* of an instance's memory is its own, however many were open */
#define MEASURE_BOUND 1e15

/* Another revision may be another program: what is known of the one before is soon outvoted. */
static void revised(struct measures *m, uint64_t revision)
{
	for (int i = 0; i < MEASURED_N && m->revision; i++) {
		struct moments *s = &m->of[i];
		double share = s->n > ANOTHER_KEEPS ? ANOTHER_KEEPS / s->n : 1;

		*s = (struct moments){s->n * share, s->sum * share, s->squares * share};
	}
	m->revision = revision;
}

static void see(struct measures *m, enum measured what, double x)
{
	moments_add(&m->of[what], x);
}

void measure_row(struct measures *m, const struct ledger_row *r, double open)
{
	double cpu = (double)r->cpu_us / 1e6, seconds = r->idle_ms / 1e3, bytes = (double)r->mem_peak_bytes;
	bool container = r->lane == LANE_CONTAINER, event = r->kind == LEDGER_INVOKE && r->outcome <= OUTCOME_ERROR;

	if (r->kind == LEDGER_REQUESTS) /* a service says itself how long they were open (count_service) */
		return;
	if (r->revision != m->revision)
		revised(m, r->revision);
	if (event)
		see(m, M_OPEN, r->handler_us / 1e6);
	if (event && !r->cold)
		see(m, M_CPU, cpu);
	if (event && r->cold) {
		see(m, M_START, ((double)r->start_us + r->init_us) / 1e6);
		see(m, M_START_CPU, fmax(cpu - moments_mean(&m->of[M_CPU]), 0));
	}
	if (!container && bytes > 0 && (event || r->kind == LEDGER_IDLE))
		see(m, M_HELD, bytes);
	if (container && bytes > 0 && r->kind == LEDGER_IDLE && seconds > 0) {
		double held = moments_mean(&m->of[M_HELD]), seat = lane_seat_assumed(held > 0 ? held : bytes).v;

		see(m, M_BASE, fmax(bytes - seat * open, bytes / LEAST_SHARE));
		see(m, M_IDLE_CPU, fmin(cpu / seconds, 1));
	}
}

struct lane_facts measure_facts(const struct measures *m, int seats, int min, int64_t keep_us)
{
	const struct moments *of = m->of;
	struct lane_facts f = {.keep_s = keep_us < 0 ? -1 : (double)keep_us / 1e6, .seats = seats, .min = min};
	struct {
		struct known *ret;
		const struct moments *of;
	} means[] = {{&f.cpu_s, &of[M_CPU]},
		     {&f.wall_s, &of[M_OPEN]},
		     {&f.start_s, &of[M_START]},
		     {&f.start_cpu_s, &of[M_START_CPU]},
		     {&f.overhead_cpu_share, &of[M_IDLE_CPU]}};

	for (size_t i = 0; i < ARRAY_SIZE(means); i++)
		*means[i].ret = known_mean(means[i].of);
	f.held_bytes = known_held(&of[M_HELD], of[M_START].n);
	f.base_bytes = known_held(&of[M_BASE], 1);
	lane_facts_settle(&f);
	return f;
}

void measures_write(const struct measures *m, struct jw *w, const char *key)
{
	jw_arr(w, key);
	for (int i = 0; i < MEASURED_N; i++) {
		jw_real(w, NULL, m->of[i].n);
		jw_real(w, NULL, m->of[i].sum);
		jw_real(w, NULL, m->of[i].squares);
	}
	jw_end(w, ']');
}

/* Of a record: what no measurement can have been is none. */
void measures_read(struct measures *m, const struct json *j)
{
	for (size_t i = 0; i < MEASURED_N; i++) {
		double x[3];
		bool sound = true;

		for (size_t k = 0; k < 3; k++) {
			x[k] = json_real(json_at(j, 3 * i + k), -1);
			sound &= x[k] >= 0 && x[k] < MEASURE_BOUND * MEASURE_BOUND;
		}
		if (sound && x[0] <= MOMENTS_MAX)
			m->of[i] = (struct moments){x[0], x[1], x[2]};
	}
}
