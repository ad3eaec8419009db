/* SPDX-License-Identifier: Apache-2.0 */
/* A task as a whole: which container begins or ends next, and what others see of it. */
#include "task/task.h"
#include <assert.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/enc.h"
#include "base/moves.h"
#include "base/rand.h"
#include "store/record.h"
#include "task/task_int.h"

const char *const task_health_name[TASK_HEALTH_N] = {"NONE", "UNKNOWN", "HEALTHY", "UNHEALTHY"};
const char *const task_state_name[TASK_N] = {"PENDING", "STARTING", "RUNNING", "STOPPING", "STOPPED"};
static_assert(TASK_N == 5 && TASK_HEALTH_N == 4, "names");

/* ---- who hears of it ---- */

static void forget(void *arg)
{
	(void)task_remove(arg, NULL);
}

static void tell_changed(void *arg)
{
	struct task *k = arg;

	list_each(&k->t->watches, it)
	{
		struct task_watch *w = container_of(it, struct task_watch, node);

		w->changed(w, k);
	}
	if (k->forget && k->state == TASK_STOPPED && !k->forget_later.queued)
		loop_defer(k->t->o.loop, &k->forget_later, forget, k); /* its output's end is told first */
}

void task_watch(struct tasks *t, struct task_watch *w)
{
	list_push(&t->watches, &w->node);
}

void task_unwatch(struct task_watch *w)
{
	list_del(&w->node);
}

static void move(struct task *k, enum task_state to)
{
	assert(to > k->state);
	k->state = to;
	move_note("task", k->c->sandbox, task_state_name[to]);
	if (!k->changed_later.queued)
		loop_defer(k->t->o.loop, &k->changed_later, tell_changed, k);
}

/* ---- the end ---- */

void task_free(struct task *k)
{
	struct loop *l = k->t->o.loop;

	for (unsigned i = 0; k->c && i < k->n; i++)
		container_done(&k->c[i]);
	loop_defer_cancel(l, &k->changed_later);
	loop_defer_cancel(l, &k->forget_later);
	loop_defer_cancel(l, &k->advance_later);
	if (k->kept)
		k->kept->task = NULL;
	log_stream_release(k->log);
	free(k->c);
	json_free(k->doc);
	json_free(k->over);
	free(k->group);
	free(k->definition);
	free(k->note);
	ledger_release(k->t->o.ledger, k->tags);
	list_del(&k->node);
	free(k);
}

static bool heard_out(const struct task *k)
{
	for (unsigned i = 0; i < k->n; i++)
		if (!list_empty(&k->c[i].io.ears) || k->c[i].io.stopped_later.queued || execs_heard(&k->c[i]))
			return false;
	return !k->changed_later.queued && !k->advance_later.queued;
}

static void keep_few(struct tasks *t)
{
	int64_t old_us = clock_wall_us() - TASKS_KEPT_US;

	list_each(&t->all, it)
	{
		struct task *k = container_of(it, struct task, node);

		if (t->n_stopped <= TASKS_KEPT_ANYHOW)
			return;
		if (k->state == TASK_STOPPED && (k->forget || t->n_stopped > TASKS_KEPT || k->stopped_wall_us < old_us))
			(void)task_remove(k, NULL);
	}
}

static void check_drained(struct tasks *t)
{
	void (*drained)(void *arg) = t->drained;

	list_each(&t->all, it) if (container_of(it, struct task, node)->state != TASK_STOPPED) return;
	if (!drained)
		return;
	t->drained = NULL;
	drained(t->drained_arg);
}

static bool is_service(const struct task *k)
{
	return str_starts(str_of(k->group), "service:");
}

/* What its row is kept under. Names are kept for ever: by family or image where it has none. */
static void row_name(const struct task *k, const char *image, char *ret, size_t size)
{
	const char *base = strrchr(image, '/');

	if (is_service(k))
		snprintf(ret, size, "service/%.128s", k->group + 8);
	else if (*k->name || !*k->definition)
		snprintf(ret, size, "task/%.128s", *k->name ? k->name : base ? base + 1 : image);
	else
		snprintf(ret, size, "task/%.*s", (int)strcspn(k->definition, ":"), k->definition);
}

static uint32_t narrow_kb(uint64_t bytes)
{
	return bytes >> 10 > UINT32_MAX ? UINT32_MAX : (uint32_t)(bytes >> 10);
}

/* What it took until then. name: of 160 bytes. */
static struct ledger_row row_of(const struct task *k, int64_t until_wall_us, char *name)
{
	int64_t began = k->started_wall_us ? k->started_wall_us : k->created_wall_us;
	struct task_info i;
	uint64_t in = k->bytes_in, out = k->bytes_out;
	int64_t ms;

	for (unsigned n = 0; n < k->n; n++)
		container_traffic(&k->c[n], &in, &out);
	ms = (until_wall_us - began) / 1000;
	task_info(k, &i);
	row_name(k, i.image, name, 160);
	return (struct ledger_row){.kind = LEDGER_TASK,
				   .lane = (uint8_t)k->lane,
				   .trigger = is_service(k) ? TRIGGER_HTTP : TRIGGER_API, /* as its requests */
				   .tags = k->tags,
				   .start_wall_us = began,
				   .instance = k->c->sandbox,
				   .outcome = i.oom					? OUTCOME_OOM
					      : !k->started_wall_us			? OUTCOME_FAILED
					      : k->exit_code && !(k->told && k->signal) ? OUTCOME_ERROR
											: OUTCOME_OK,
				   .idle_ms = ms < 0		? 0
					      : ms > UINT32_MAX ? UINT32_MAX
								: (uint32_t)ms,
				   .cpu_us = (uint64_t)i.cpu_us,
				   .memory_mb = (uint32_t)(i.memory_bytes >> 20),
				   .bytes_in = narrow_kb(in),
				   .bytes_out = narrow_kb(out),
				   .version = i.cpu_milli,
				   .mem_peak_bytes = (uint64_t)i.mem_peak_bytes};
}

static void span_id(const struct task *k, uint8_t ret[8])
{
	if (strlen(k->id) < 16 || dec_hex((struct str){k->id, 16}, ret, 8) < 0)
		memset(ret, 1, 8);
}

const char *task_trace(const struct task *k, bool aws, char out[TRACE_HEADER_BYTES])
{
	static const uint8_t none[16];
	struct trace_context t = k->trace;

	if (!memcmp(t.id, none, 16))
		return "";
	span_id(k, t.parent);
	return aws ? trace_to_aws(&t, out) : trace_to_w3c(&t, out);
}

static void add_span(const struct task *k, const struct ledger_row *row, const char *name)
{
	struct span sp = {.at = k->trace,
			  .name = name,
			  .kind = SPAN_SERVER,
			  .start_wall_us = k->created_wall_us,
			  .end_wall_us = k->stopped_wall_us,
			  .error = row->outcome == OUTCOME_OK ? NULL : ledger_outcome_name[row->outcome],
			  .attrs = {{"tandem.task", k->id, 0},
				    {"tandem.lane", lane_name[row->lane], 0},
				    {"tandem.cpu_us", NULL, (int64_t)row->cpu_us}},
			  .n_attrs = 3};

	if (!k->t->o.spans || !k->trace.sampled)
		return;
	span_id(k, sp.id);
	spans_add(k->t->o.spans, &sp);
}

static void add_row(struct task *k)
{
	struct ledger *lg = k->t->o.ledger;
	char name[160];
	struct ledger_row row = row_of(k, k->stopped_wall_us, name);

	row.workload = ledger_intern(lg, name);
	ledger_add(lg, &row);
	add_span(k, &row, name);
	ledger_release(lg, row.workload);
}

void task_ledger_name(const struct task *k, char *ret, size_t size)
{
	struct task_info i;

	task_info(k, &i);
	row_name(k, i.image, ret, size);
}

void tasks_so_far(const struct tasks *t, struct ledger_query *q)
{
	for (const struct task *k = task_next(t, NULL); k; k = task_next(t, k)) {
		struct ledger_row row;
		char name[160];

		if (!k->started_wall_us || k->state == TASK_STOPPED)
			continue;
		row = row_of(k, clock_wall_us(), name);
		for (unsigned i = 0; i < k->n; i++) {
			struct task_usage u;

			if (!task_usage(k, i, &u) || u.cpu_us < 0)
				continue;
			row.cpu_us += (uint64_t)u.cpu_us;
			row.mem_peak_bytes += u.mem_peak_bytes > 0 ? (uint64_t)u.mem_peak_bytes : 0;
		}
		ledger_query_so_far(q, &row, name);
	}
}

void task_lane_set(struct task *k, enum lane lane)
{
	k->lane = lane;
}

void task_tags_set(struct task *k, const char *tags)
{
	uint32_t was = k->tags;

	k->tags = tags && *tags ? ledger_intern(k->t->o.ledger, tags) : 0;
	ledger_release(k->t->o.ledger, was);
	if (k->tags != was && k->durable && k->state != TASK_STOPPED)
		task_keep(k);
}

bool tasks_closed(const struct tasks *t, const char *definition, const char *tags, char why[320])
{
	auto_free char *name = xasprintf("task/%.*s", (int)strcspn(definition, ":"), definition);
	bool stops;

	return t->o.closed && t->o.closed(t->o.closed_arg, name, tags ? tags : "", &stops, why);
}

bool task_closed(const struct task *k, bool *ret_stops, char why[320])
{
	const struct tasks_opts *o = &k->t->o;
	char name[160];

	task_ledger_name(k, name, sizeof(name));
	return o->closed && !is_service(k) &&
	       o->closed(o->closed_arg, name, ledger_text(o->ledger, k->tags), ret_stops, why);
}

void tasks_budgets_changed(struct tasks *t)
{
	list_each(&t->all, it)
	{
		struct task *k = container_of(it, struct task, node);
		char why[320];
		bool stops;

		if (task_closed(k, &stops, why) && stops)
			task_stop(k, -1);
	}
}

static void finish(struct task *k)
{
	char key[TASK_ID_MAX + 6];

	snprintf(key, sizeof(key), "task/%s", k->id);
	record_del(k->t->o.store, NULL, key);
	k->stopped_wall_us = clock_wall_us();
	log_stream_release(take_ptr(k->log));
	for (unsigned i = 0; i < k->n; i++)
		k->c[i].io.log = NULL;
	move(k, TASK_STOPPED);
	k->t->n_stopped++;
	add_row(k);
	for (unsigned i = 0; i < k->n; i++)
		io_stop(&k->c[i].io);
	keep_few(k->t);
	check_drained(k->t);
}

/* ---- what comes next ---- */

static bool ended(const struct container *c)
{
	return c->exited || c->killed || c->state == TASK_STOPPED;
}

/* Those that c waits for: 1 all are as they should be, 0 not yet, -1 they never will be. */
static int needs_met(const struct container *c, const struct container **ret_whom)
{
	int ret = 1;

	for (unsigned i = 0; i < c->task->n; i++) {
		const struct container *d = &c->task->c[i];
		unsigned on = 0;
		bool met, never;

		for (unsigned w = 0; w < TASK_ON_N; w++)
			on |= (c->spec.needs[w] >> i & 1) << w;
		met = !(on >> TASK_ON_START & 1) || d->started_wall_us;
		met &= !(on >> TASK_ON_COMPLETE & 1) || (d->started_wall_us && ended(d));
		met &= !(on >> TASK_ON_SUCCESS & 1) || (d->started_wall_us && ended(d) && !d->exit_code);
		met &= !(on >> TASK_ON_HEALTHY & 1) || (d->health.is == TASK_HEALTHY && !ended(d));
		never = !met && (ended(d) || (on >> TASK_ON_HEALTHY & 1 && d->health.is == TASK_UNHEALTHY));
		if (!met)
			*ret_whom = d;
		if (never)
			return -1;
		ret &= met;
	}
	return ret;
}

enum wait { WAIT_CONTAINER, WAIT_SANDBOX, WAIT_PROGRAM, WAIT_END, WAIT_N };
static const char *const wait_name[WAIT_N] = {
	[WAIT_CONTAINER] = "another of its containers (depends_on)",
	[WAIT_SANDBOX] = "its sandbox",
	[WAIT_PROGRAM] = "its program to begin",
	[WAIT_END] = "its program to end, which was asked to; after its stop timeout it is killed",
};

const char *task_waits_for(const struct task *k, char out[320])
{
	const struct container *whom = NULL, *c = k->c;
	enum wait w = WAIT_END;

	if (k->state == TASK_RUNNING || k->state == TASK_STOPPED)
		return NULL;
	if (k->state < TASK_STOPPING) {
		while (c < k->c + k->n - 1 && c->state >= TASK_RUNNING)
			c++;
		w = c->state > TASK_PENDING		  ? WAIT_PROGRAM
		    : c->asked || needs_met(c, &whom) > 0 ? WAIT_SANDBOX
							  : WAIT_CONTAINER;
	}
	if (whom)
		snprintf(out, 320, "%s: %.60s waits for %.60s", wait_name[w], c->name, whom->name);
	else
		snprintf(out, 320, "%s", wait_name[w]);
	return out;
}

/* Whose network the next container joins; with none a new one is made. */
static const struct container *network(const struct task *k, bool *ret_soon)
{
	*ret_soon = false;
	for (unsigned i = 0; i < k->n; i++) {
		const struct container *c = &k->c[i];

		if (c->sandbox && !c->sandbox_gone && !c->killed && c->state != TASK_STOPPED)
			return c;
		*ret_soon |= c->asked && c->state == TASK_PENDING;
	}
	return NULL;
}

void task_begin(struct task *k)
{
	const struct container *whom, *net;
	struct err e;
	bool soon;

	for (unsigned i = 0; i < k->n && !k->stopping; i++) {
		struct container *c = &k->c[i];
		int met = c->state == TASK_PENDING && !c->asked ? needs_met(c, &whom) : 0;

		if (met < 0) {
			auto_free char *why = xasprintf("it waits for %s, which %s", whom->name,
							*whom->reason ? whom->reason : "is not healthy");

			container_skip(c, why);
			return;
		}
		net = network(k, &soon);
		if (met > 0 && (net || !soon) && container_start(c, net ? net->sandbox : 0, &e) < 0)
			container_skip(c, e.text);
	}
}

static bool is_needed(const struct container *c)
{
	const struct task *k = c->task;

	for (unsigned i = 0; i < k->n; i++) {
		const unsigned *n = k->c[i].spec.needs;

		if ((n[0] | n[1] | n[2] | n[3]) >> (c - k->c) & 1 && !ended(&k->c[i]))
			return true;
	}
	return false;
}

static void end_some(struct task *k)
{
	for (unsigned i = 0; i < k->n; i++) {
		struct container *c = &k->c[i];

		if (c->state == TASK_STOPPED || c->state == TASK_STOPPING)
			continue;
		if (!c->asked && c->state == TASK_PENDING)
			container_skip(c, "the task stopped before it was its turn");
		else if (!is_needed(c))
			container_stop(c, k->stop_timeout_us);
	}
}

/* Programs that have ended: their sandboxes end, too, but for the one that has the network, which is the last. */
static void end_sandboxes(struct task *k)
{
	for (unsigned i = 0; i < k->n; i++) {
		struct container *c = &k->c[i];
		bool others = false;

		for (unsigned o = 0; o < k->n; o++)
			others |= o != i && k->c[o].state != TASK_STOPPED;
		if (c->exited && !c->killed && c->state == TASK_STOPPING && (!c->resolver || !others))
			container_end_sandbox(c);
	}
}

static void set_end(struct task *k)
{
	for (unsigned i = 0; i < k->n && !*k->reason; i++) {
		const struct container *c = &k->c[i];

		if (!c->spec.essential || !ended(c) || !*c->reason)
			continue;
		k->stopping = true;
		k->exit_code = c->exit_code;
		k->signal = c->signal;
		if (k->n > 1)
			snprintf(k->reason, sizeof(k->reason), "%.60s: %s", c->name, c->reason);
		else
			snprintf(k->reason, sizeof(k->reason), "%s", c->reason);
	}
}

static void settle_state(struct task *k)
{
	bool made = false, all_started = true, all_stopped = true;
	enum task_state to;

	set_end(k);
	for (unsigned i = 0; i < k->n; i++) {
		const struct container *c = &k->c[i];

		made |= c->sandbox != 0;
		all_started &= c->started_wall_us != 0;
		all_stopped &= c->state == TASK_STOPPED;
		if (c->started_wall_us && (!k->started_wall_us || c->started_wall_us < k->started_wall_us))
			k->started_wall_us = c->started_wall_us;
	}
	to = k->stopping ? TASK_STOPPING : all_started ? TASK_RUNNING : made ? TASK_STARTING : TASK_PENDING;
	if (to > k->state)
		move(k, to);
	if (all_stopped && k->state != TASK_STOPPED)
		finish(k);
}

static void advance(void *arg)
{
	struct task *k = arg;

	set_end(k);
	task_begin(k);
	if (k->stopping)
		end_some(k);
	end_sandboxes(k);
	settle_state(k);
}

void task_changed(struct task *k)
{
	if (!k->changed_later.queued)
		loop_defer(k->t->o.loop, &k->changed_later, tell_changed, k);
	if (!k->advance_later.queued && k->state != TASK_STOPPED)
		loop_defer(k->t->o.loop, &k->advance_later, advance, k);
}

/* ---- what others ask for ---- */

int task_signal(struct task *k, unsigned container, int sig, struct err *e)
{
	return container_signal(&k->c[container], sig, e);
}

void task_stop(struct task *k, int64_t timeout_us)
{
	if (k->stopping || k->state == TASK_STOPPED)
		return;
	k->stopping = k->told = true;
	k->stop_timeout_us = timeout_us;
	end_some(k);
	task_changed(k);
}

void tasks_forget(struct tasks *t, const char *group)
{
	list_each(&t->all, it)
	{
		struct task *k = container_of(it, struct task, node);

		if (!strcmp(k->group, group)) {
			k->forget = true;
			(void)task_remove(k, NULL);
		}
	}
}

int task_remove(struct task *k, struct err *e)
{
	if (k->state != TASK_STOPPED)
		return err_set(e, ERR_CONFLICT, "the task has not stopped");
	if (!heard_out(k))
		return err_set(e, ERR_CONFLICT, "its end is just being told");
	k->t->n_stopped--;
	if (!k->shares_log)
		log_stream_remove(k->t->o.logs, k->log_name);
	task_free(k);
	return 0;
}

struct task_io *task_io(struct task *k, unsigned container)
{
	return &k->c[container].io;
}

void task_container_info(const struct task *k, unsigned i, struct task_info *ret)
{
	const struct container *c = &k->c[i];
	bool over = c->exited && !c->killed && c->resolver; /* its sandbox waits for the others */

	*ret = (struct task_info){.id = k->id,
				  .name = c->name,
				  .image = json_get_str(task_doc_container(k->doc, i), "image").p,
				  .doc = k->doc,
				  .state = over && k->n > 1 ? TASK_STOPPED : c->state,
				  .health = c->health.is,
				  .health_text = c->health.text,
				  .n_containers = k->n,
				  .essential = c->spec.essential,
				  .tty = c->spec.tty,
				  .stdin_open = c->spec.stdin_open,
				  .pid = ended(c) ? 0 : c->pid,
				  .memory_bytes = c->spec.memory_bytes,
				  .created_wall_us = k->created_wall_us,
				  .started_wall_us = c->started_wall_us,
				  .stopped_wall_us = c->stopped_wall_us,
				  .cpu_milli = c->spec.cpu_milli,
				  .exit_code = c->exit_code,
				  .signal = c->signal,
				  .oom = c->oom,
				  .reason = c->reason,
				  .cpu_us = c->cpu_us,
				  .mem_peak_bytes = c->mem_peak_bytes};
}

void task_info(const struct task *k, struct task_info *ret)
{
	double cpu = json_real(json_get(k->over, "cpu"), json_real(json_get(k->doc, "cpu"), 0));

	task_container_info(k, 0, ret);
	for (unsigned i = 1; i < k->n; i++) {
		const struct container *c = &k->c[i];

		ret->memory_bytes += c->spec.memory_bytes;
		ret->cpu_milli += c->spec.cpu_milli;
		ret->cpu_us += c->cpu_us;
		ret->mem_peak_bytes += c->mem_peak_bytes;
		ret->oom |= c->oom;
	}
	if (cpu > 0)
		ret->cpu_milli = (uint32_t)(cpu * 1000 + 0.5);
	ret->name = k->name, ret->group = k->group, ret->definition = k->definition, ret->note = k->note;
	ret->tags = ledger_text(k->t->o.ledger, k->tags);
	ret->overrides = k->over;
	ret->state = k->state;
	ret->health = task_health(k);
	ret->started_wall_us = k->started_wall_us, ret->stopped_wall_us = k->stopped_wall_us;
	ret->exit_code = k->exit_code, ret->signal = k->signal, ret->reason = k->reason;
	if (k->state == TASK_STOPPED)
		ret->pid = 0;
}

bool task_usage(const struct task *k, unsigned container, struct task_usage *ret)
{
	const struct container *c = &k->c[container];

	if (!c->sandbox || c->sandbox_gone || c->state == TASK_STOPPED)
		return false;
	*ret = (struct task_usage){sandbox_cpu_us(&c->fds), sandbox_bytes(&c->fds, SB_MEM),
				   sandbox_bytes(&c->fds, SB_MEM_PEAK)};
	return true;
}

enum task_health task_health(const struct task *k)
{
	enum task_health is = TASK_NOT_CHECKED;

	for (unsigned i = 0; i < k->n; i++) {
		enum task_health one = k->c[i].health.is;

		if (!k->c[i].spec.essential || one == TASK_NOT_CHECKED)
			continue;
		if (is == TASK_NOT_CHECKED || one == TASK_UNHEALTHY || (is == TASK_HEALTHY && one == TASK_UNKNOWN))
			is = one;
	}
	return is;
}

void *task_inside_arg(const struct task *k)
{
	return k->t->o.inside_arg;
}

uint64_t task_sandbox(const struct task *k)
{
	bool soon;
	const struct container *c = network(k, &soon);

	return c ? c->sandbox : 0;
}

const char *task_log_name(const struct task *k, bool *ret_shared)
{
	*ret_shared = k->shares_log;
	return k->log_name;
}

struct task *task_next(const struct tasks *t, const struct task *after)
{
	struct list *n = after ? after->node.next : t->all.next;

	return n == &t->all ? NULL : container_of(n, struct task, node);
}

struct task *task_find(const struct tasks *t, struct str word)
{
	struct task *stopped = NULL, *begins = NULL;
	unsigned n_begin = 0;

	for (struct task *k = task_next(t, NULL); k && word.n; k = task_next(t, k)) {
		bool name = *k->name && str_eqc(word, k->name);

		if (str_eqc(word, k->id) || (name && k->state != TASK_STOPPED))
			return k;
		if (name)
			stopped = k; /* the youngest of that name */
		if (word.n < strlen(k->id) && !memcmp(word.p, k->id, word.n)) {
			begins = k;
			n_begin++;
		}
	}
	return stopped ? stopped : n_begin == 1 ? begins : NULL;
}

bool tasks_log_wanted(const struct tasks *t, const char *log_name)
{
	for (struct task *k = task_next(t, NULL); k; k = task_next(t, k))
		if (!strcmp(k->log_name, log_name))
			return true;
	return false;
}

void tasks_drain(struct tasks *t, void (*done)(void *arg), void *arg)
{
	t->draining = true;
	t->drained = done;
	t->drained_arg = arg;
	list_each(&t->all, it) task_stop(container_of(it, struct task, node), -1);
	check_drained(t);
}

struct tasks *tasks_new(const struct tasks_opts *o)
{
	struct tasks *t = xcalloc(1, sizeof(*t));

	t->o = *o;
	list_init(&t->all);
	list_init(&t->watches);
	rand_bytes(&t->next_tag, 3); /* those of a predecessor may still be about */
	t->next_tag += 1 << 24;
	return t;
}

void tasks_free(struct tasks *t)
{
	struct task *k;

	if (!t)
		return;
	while ((k = list_first(&t->all, struct task, node)))
		task_free(k);
	free(t);
}
