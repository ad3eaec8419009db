/* SPDX-License-Identifier: Apache-2.0 */
#include "sched/sched.h"

#include <malloc.h>
#include <stdio.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "sched/policy.h"
#include "sched/sched_int.h"

#define DESCRIPTORS_PER_INSTANCE 14
#define DESCRIPTORS_OTHERS	 2048
#define BLANKS_MAX		 32
#define MEMORY_FLOOR_KB		 (192 * 1024) /* below this nothing is started, and the longest idle goes */

const char *const sched_wait_name[WAIT_N] = {
	[WAIT_NONE] = "nothing",
	[WAIT_BLANK] = "a sandbox",
	[WAIT_INIT] = "an instance that initialises",
	[WAIT_INSTANCE] = "a busy instance to become free",
	[WAIT_CODE] = "the code to be unpacked",
};

static void function_changed(void *arg, struct function *f);

/* A thousand instances leave 15 MB of holes in the heap, which malloc keeps for the next thousand. */
static void trim(void *arg)
{
	malloc_trim(0);
}

struct sched *sched_new(const struct sched_opts *o)
{
	struct sched *s = xcalloc(1, sizeof(*s));
	struct rlimit lim = {.rlim_cur = 1024};
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	s->o = *o;
	s->host = (struct instance_host){.loop = o->loop,
					 .http = o->http,
					 .account = o->account,
					 .region = o->region,
					 .sandbox_api = o->sandbox_api,
					 .tls = o->tls,
					 .creds = o->creds,
					 .scratch = xmalloc(INSTANCE_SCRATCH)};
	s->pool = pool_new(o->loop, o->spawn, BLANKS_MAX);
	list_init(&s->workloads);
	list_init(&s->lru);
	list_init(&s->async);
	list_init(&s->checks);
	list_init(&s->unasked);
	s->daemon_id = ledger_intern(o->ledger, "tandem/daemon");
	s->deploy_id = ledger_intern(o->ledger, "tandem/deploy");
	getrlimit(RLIMIT_NOFILE, &lim);
	s->max_workers = ((int)lim.rlim_cur - DESCRIPTORS_OTHERS) / DESCRIPTORS_PER_INSTANCE;
	if (s->max_workers < 16)
		s->max_workers = 16;
	s->cpus = cpus > 0 ? (int)cpus : 1;
	s->trim = loop_timer_new(o->loop, trim, s);
	s->adopting = true;
	s->platform_us = clock_now_us();
	store_on_function(o->store, function_changed, s);
	return s;
}

/* --- workloads --- */

static void note_reasons(struct workload *w);
static void arm_patience(struct workload *w);

static void patience_over(void *arg)
{
	struct workload *w = arg;
	int64_t now = loop_now_us(w->s->o.loop);

	note_reasons(w);

	for (;;) {
		struct invocation *inv = list_first(&w->waiting, struct invocation, node);
		struct err e;

		if (!inv || now < inv->deadline_us)
			break;
		err_set(&e, ERR_TIMEOUT, "waited %lld s for %s", (long long)(QUEUE_LIMIT_US / 1000000),
			sched_wait_name[inv->wait]);
		event_refused_row(w, inv, OUTCOME_THROTTLED);
		workload_fail(workload_head(w), INVOKE_THROTTLED, STR_NULL, &e);
	}
	workload_dispatch(w);
	if (w->n_waiting)
		arm_patience(w);
}

static int pair_cmp(const void *a, const void *b)
{
	return strcmp(((const struct pair *)a)->name, ((const struct pair *)b)->name);
}

/* "k=v,k2=v2", sorted: what ledger rows are grouped by. */
static uint32_t intern_tags(struct ledger *lg, const struct pairs *tags)
{
	struct pair *sorted;
	auto_buf text = {0};
	uint32_t id;

	if (!tags->n)
		return 0;
	sorted = xmemdup(tags->p, tags->n * sizeof(*sorted));
	qsort(sorted, tags->n, sizeof(*sorted), pair_cmp);
	for (unsigned k = 0; k < tags->n; k++)
		buf_addf(&text, "%s%s=%s", k ? "," : "", sorted[k].name, sorted[k].value);
	free(sorted);
	id = ledger_intern(lg, text.p);
	return id;
}

#define LEDGER_NAME (2 * LIM_NAME_BYTES + 8)

static const char *ledger_name(const struct function *f, char out[LEDGER_NAME])
{
	snprintf(out, LEDGER_NAME, "%s/%s", f->project, f->name);
	return out;
}

/* The new ones first: what stays the same keeps its number. */
static void name_in_ledger(struct workload *w)
{
	struct ledger *lg = w->s->o.ledger;
	uint32_t name_id = w->name_id, tags_id = w->tags_id;
	char name[LEDGER_NAME];

	w->name_id = ledger_intern(lg, ledger_name(w->f, name));
	w->tags_id = intern_tags(lg, &w->f->tags);
	ledger_release(lg, name_id);
	ledger_release(lg, tags_id);
}

/* A function that was deleted takes its log and its metrics along, unless another one has its name by now. */
static void forget_deleted(struct sched *s, const struct function *f)
{
	const struct function *heir = function_get(s->o.store, str_of(f->name));
	char name[LEDGER_NAME];

	if (!heir)
		log_stream_remove(s->o.logs, f->name);
	if (!heir || strcmp(heir->project, f->project))
		ledger_forget(s->o.ledger, ledger_name(f, name));
}

struct workload *workload_of(struct sched *s, struct function *f)
{
	struct workload *w = f->sched;

	if (w)
		return w;
	w = xcalloc(1, sizeof(*w));
	w->s = s;
	w->f = function_ref(f);
	f->sched = w;
	list_init(&w->workers);
	list_init(&w->idle);
	list_init(&w->waiting);
	list_push(&s->workloads, &w->node);
	w->patience = loop_timer_new(s->o.loop, patience_over, w);
	w->log = logs_get(s->o.logs, f->name);
	name_in_ledger(w);
	return w;
}

/* A workload without workers and waiting events is forgotten: what sleeps costs nothing here. */
void workload_maybe_free(struct workload *w)
{
	if (!w->n_workers && !w->n_waiting)
		workload_free(w);
}

void workload_free(struct workload *w)
{
	struct sched *s = w->s;

	list_del(&w->node);
	loop_timer_free(w->patience);
	ledger_release(s->o.ledger, w->name_id);
	ledger_release(s->o.ledger, w->tags_id);
	log_stream_release(w->log);
	if (w->f->deleted)
		forget_deleted(s, w->f);
	w->f->sched = NULL;
	function_unref(w->f);
	free(w);
}

static int64_t memory_available_kb(void)
{
	auto_buf text = {0};
	const char *p;

	if (io_read_file(-1, "/proc/meminfo", 16384, &text, NULL) < 0)
		return INT64_MAX;
	p = strstr(text.p, "MemAvailable:");
	return p ? strtoll(p + strlen("MemAvailable:"), NULL, 10) : INT64_MAX;
}

/* How many instances the machine still takes; makes room by ending the longest idle one when there is none. */
static int room(struct sched *s)
{
	bool full = s->n_workers >= s->max_workers || memory_available_kb() < MEMORY_FLOOR_KB;
	struct worker *oldest = list_first(&s->lru, struct worker, lru_node);

	if (!full)
		return s->max_workers - s->n_workers;
	if (oldest) {
		oldest->stopping = true;
		worker_end(oldest, INVOKE_FAILED, OUTCOME_FAILED, STR_NULL, NULL);
	}
	return 0;
}

static struct worker *take_idle(struct workload *w)
{
	struct worker *wk = list_last(&w->idle, struct worker, idle_node); /* used last: its caches are warm */

	worker_forget_idle(wk);
	return wk;
}

static void fill_load(struct workload *w, struct policy_load *l, bool measure_room)
{
	struct invocation *head = list_first(&w->waiting, struct invocation, node);
	int64_t now = loop_now_us(w->s->o.loop);

	*l = (struct policy_load){.idle = w->n_idle,
				  .starting = w->n_starting,
				  .busy = w->n_busy + w->n_after,
				  .waiting = w->n_waiting,
				  .room = measure_room ? room(w->s) : 1,
				  .queue_max = LIM_QUEUE_PER_WORKLOAD,
				  .cpus = w->s->cpus,
				  .handler_us = w->handler_us,
				  .off_cpu_us = w->off_cpu_us,
				  .start_us = w->start_us,
				  .oldest_wait_us = head ? now - head->accepted_us : 0,
				  .backlog_us = w->backlog_since_us ? now - w->backlog_since_us : 0};
}

static void note_reasons(struct workload *w)
{
	enum sched_wait why = w->n_busy ? WAIT_INSTANCE : WAIT_BLANK;

	list_each(&w->workers, it)
	{
		struct worker *wk = container_of(it, struct worker, node);

		if (wk->step == WORKER_INIT)
			why = WAIT_INIT;
		else if (wk->step == WORKER_CODE)
			why = WAIT_CODE;
	}
	list_each(&w->waiting, it) container_of(it, struct invocation, node)->wait = why;
}

static void arm_patience(struct workload *w)
{
	struct policy_load load;

	fill_load(w, &load, false);
	loop_timer_in(w->patience, policy_patience_us(&load));
}

/* The queue has become empty, or is no longer: while events wait, the policy is asked again now and then. */
static void note_backlog(struct workload *w)
{
	if (w->n_waiting && !w->backlog_since_us) {
		w->backlog_since_us = loop_now_us(w->s->o.loop);
		arm_patience(w);
	} else if (!w->n_waiting && w->backlog_since_us) {
		w->backlog_since_us = 0;
		loop_timer_stop(w->patience);
	}
}

/* Progress without waiting is a loop: gives waiting events to idle instances and starts what the policy wants. */
void workload_dispatch(struct workload *w)
{
	struct policy_load load;

	if (w->s->adopting)
		return;
	while (w->n_waiting) {
		enum policy_move m;

		fill_load(w, &load, false);
		m = policy_place(&load);
		if (m == POLICY_REUSE) {
			event_begin(take_idle(w), workload_head(w));
			continue;
		}
		if (m != POLICY_START)
			break;
		fill_load(w, &load, true);
		if (policy_place(&load) != POLICY_START)
			break;
		worker_start(w, w->f->latest, NULL);
	}
	note_backlog(w);
}

static void tell(void *arg)
{
	struct invocation *inv = arg;
	struct function *f = inv->function;

	inv->done(inv);
	function_unref(f);
}

struct invocation *workload_head(struct workload *w)
{
	struct invocation *inv = list_first(&w->waiting, struct invocation, node);

	if (inv) {
		list_del(&inv->node);
		w->n_waiting--;
	}
	return inv;
}

void workload_fail(struct invocation *inv, enum invoke_outcome outcome, struct str body, const struct err *e)
{
	inv->outcome = outcome;
	inv->body = body;
	inv->e = e ? *e : (struct err){.kind = ERR_NONE};
	tell(inv);
}

/* --- invocations --- */

/* Each leaves an idle instance behind, which room() ends for the next one. Nothing left to end: the memory is others'.
 */
void sched_start_checks(struct sched *s)
{
	struct invocation *inv;

	while ((inv = list_first(&s->checks, struct invocation, node))) {
		bool fits = room(s) > 0;
		struct err e;

		if (!fits && s->n_workers)
			return;
		list_del(&inv->node);
		if (fits) {
			worker_start(workload_of(s, inv->function), inv->revision, inv);
			continue;
		}
		err_set(&e, ERR_UNAVAILABLE, "this machine has no memory left to start an instance");
		workload_fail(inv, INVOKE_FAILED, STR_NULL, &e);
	}
}

static void begin(void *arg)
{
	struct invocation *inv = arg;
	struct workload *w;

	if (inv->trigger == TRIGGER_CHECK) {
		list_push(&inv->s->checks, &inv->node);
		sched_start_checks(inv->s);
		return;
	}
	w = workload_of(inv->s, inv->function);
	if (w->n_waiting >= LIM_QUEUE_PER_WORKLOAD) {
		struct err e;

		err_set(&e, ERR_UNAVAILABLE, "%d events wait already", w->n_waiting);
		event_refused_row(w, inv, OUTCOME_THROTTLED);
		workload_fail(inv, INVOKE_THROTTLED, STR_NULL, &e);
		return;
	}
	list_push(&w->waiting, &inv->node);
	w->n_waiting++;
	workload_dispatch(w);
}

static bool reuse(struct workload *w)
{
	struct policy_load load;

	fill_load(w, &load, false);
	return policy_place(&load) == POLICY_REUSE;
}

void sched_invoke_start(struct sched *s, struct invocation *inv)
{
	struct workload *w = inv->function->sched;

	inv->s = s;
	function_ref(inv->function);
	inv->accepted_us = loop_now_us(s->o.loop);
	inv->deadline_us = inv->accepted_us + QUEUE_LIMIT_US;
	inv->worker = NULL;
	inv->defer = (struct loop_defer){0};
	if (!inv->request_id[0])
		id_uuid(inv->request_id);
	/* The warm path: an idle instance answers later by itself, so nothing calls back from in here. */
	if (w && w->n_idle && !w->n_waiting && inv->trigger != TRIGGER_CHECK && !s->adopting && reuse(w)) {
		event_begin(take_idle(w), inv);
		return;
	}
	loop_defer(s->o.loop, &inv->defer, begin, inv);
}

void sched_invoke_cancel(struct invocation *inv)
{
	struct workload *w;

	if (!inv->s || !inv->function)
		return;
	w = inv->function->sched;
	if (inv->defer.queued) {
		loop_defer_cancel(inv->s->o.loop, &inv->defer);
	} else if (inv->worker) {
		if (inv->worker->check == inv)
			inv->worker->check = NULL;
		else if (inv->worker->run.inv == inv)
			inv->worker->run.inv = NULL;
	} else if (inv->node.next && !list_empty(&inv->node)) {
		list_del(&inv->node);
		if (inv->trigger != TRIGGER_CHECK) {
			w->n_waiting--;
			note_backlog(w);
		}
	}
	inv->s = NULL;
	function_unref(inv->function);
	inv->function = NULL;
}

/* --- what changes from outside --- */

static int end_workers(struct workload *w, bool only_idle, bool only_stale)
{
	int n = 0;

	list_each(&w->workers, it)
	{
		struct worker *wk = container_of(it, struct worker, node);
		static const struct err stopped = {.kind = ERR_CANCELED, .text = "stopped by the operator"};

		if (wk->step == WORKER_ENDING || (only_stale && wk->revision == w->f->latest && !w->f->deleted) ||
		    wk->check || (only_idle && (wk->run.on || wk->step != WORKER_LIVE)))
			continue;
		wk->stopping = true;
		worker_end(wk, INVOKE_CRASHED, OUTCOME_CRASH, STR_NULL, &stopped);
		n++;
	}
	return n;
}

int sched_stop_function(struct sched *s, struct function *f)
{
	return f->sched ? end_workers(f->sched, false, false) : 0;
}

static void function_changed(void *arg, struct function *f)
{
	struct sched *s = arg;
	struct workload *w = f->sched;

	if (!w) {
		if (f->deleted)
			forget_deleted(s, f);
		return;
	}
	name_in_ledger(w);
	end_workers(w, true, true); /* busy ones of an old revision go when they have answered */
	if (!f->deleted)
		return;
	while (w->n_waiting) {
		struct err gone;

		err_set(&gone, ERR_NOT_FOUND, "function %s was deleted", f->name);
		event_refused_row(w, list_first(&w->waiting, struct invocation, node), OUTCOME_FAILED);
		workload_fail(workload_head(w), INVOKE_FAILED, STR_NULL, &gone);
	}
	workload_maybe_free(w);
}

/* --- seeing inside --- */

struct function *sched_instance_function(const struct instance *i)
{
	struct worker *wk = instance_arg(i);

	return wk->w->f;
}

void *sched_instance_arg(const struct instance *i)
{
	struct worker *wk = instance_arg(i);

	return wk->w->s->o.sandbox_arg;
}

void sched_each_instance(struct sched *s, void (*each)(void *arg, const struct sched_instance_info *i), void *arg)
{
	list_each(&s->workloads, a)
	{
		struct workload *w = container_of(a, struct workload, node);

		list_each(&w->workers, b)
		{
			struct worker *wk = container_of(b, struct worker, node);
			struct sched_instance_info info = {.id = wk->id,
							   .function = w->f->name,
							   .state = "starting",
							   .since_us = wk->begun_us,
							   .invocations = wk->served,
							   .revision_id = wk->revision->id,
							   .memory_mb = wk->revision->memory_mb};

			if (wk->instance) {
				info.state = wk->step == WORKER_LIVE && instance_frozen(wk->instance)
						     ? "frozen"
						     : instance_state_name[instance_state(wk->instance)];
				info.pid = instance_pid(wk->instance);
				info.mem_peak_bytes = instance_mem_peak_bytes(wk->instance);
			}
			each(arg, &info);
		}
	}
}

void sched_function_status(struct sched *s, const struct function *f, int *ret_instances, int *ret_busy,
			   int *ret_waiting, const char **ret_wait_reason)
{
	struct workload *w = f->sched;
	struct invocation *head = w ? list_first(&w->waiting, struct invocation, node) : NULL;

	if (w && head)
		note_reasons(w);
	*ret_instances = w ? w->n_workers : 0;
	*ret_busy = w ? w->n_busy : 0;
	*ret_waiting = w ? w->n_waiting : 0;
	*ret_wait_reason = sched_wait_name[head ? head->wait : WAIT_NONE];
}

/* --- restart and end of the daemon --- */

void sched_adopt(struct sched *s, uint64_t id, const char *label, bool assigned, uint32_t uid, pid_t pid,
		 struct sandbox_fds *fds)
{
	struct str name, serial;
	struct function *f = NULL;
	int64_t n = -1;

	if (!assigned) {
		pool_add(s->pool, id, uid, pid, fds);
		return;
	}
	if (str_cut(str_of(label), ' ', &name, &serial) && str_to_i64(serial, 0, INT64_MAX, &n) == 0)
		f = function_get(s->o.store, name);
	if (f && f->latest->serial == (uint64_t)n) {
		worker_adopt(workload_of(s, f), id, pid, fds);
		return;
	}
	for (int k = 0; k < SB_N; k++)
		if (fds->fd[k] >= 0)
			close(fds->fd[k]);
	spawn_end(s->o.spawn, id);
}

static bool is_function(void *arg, const char *name)
{
	struct sched *s = arg;

	return function_get(s->o.store, str_of(name));
}

void sched_adopted(struct sched *s)
{
	s->adopting = false;
	pool_start(s->pool);
	list_each(&s->workloads, it) workload_dispatch(container_of(it, struct workload, node));
	logs_sweep(s->o.logs, is_function, s);
}

void sched_ended(struct sched *s, uint64_t id, int wait_status, uint32_t oom_kills, int64_t cpu_us,
		 int64_t mem_peak_bytes)
{
	struct worker *wk = map_get(&s->by_id, (struct str){(const char *)&id, sizeof(id)});

	if (wk)
		worker_gone(wk, wait_status, oom_kills, cpu_us, mem_peak_bytes);
	else if (pool_ended(s->pool, id))
		s->blanks_cpu_us += cpu_us;
}

/* A successor hears of an asynchronous event's result: only what somebody waits for holds a handover up. */
static bool awaited(const struct sched *s, const struct worker *wk)
{
	const struct invocation *inv = wk->run.inv;

	return wk->run.on && (!s->handover || (inv && inv->trigger != TRIGGER_ASYNC));
}

static bool quiet(struct sched *s)
{
	list_each(&s->workloads, it)
	{
		struct workload *w = container_of(it, struct workload, node);

		if (w->n_waiting)
			return false;
		list_each(&w->workers, jt) if (awaited(s, container_of(jt, struct worker, node))) return false;
	}
	return true;
}

static void drained(void *arg)
{
	struct sched *s = arg;
	void (*cb)(void *) = take_ptr(s->drained);

	if (cb)
		cb(s->drained_arg);
}

void sched_check_drained(struct sched *s)
{
	if (s->draining && s->drained && !s->drain_defer.queued && quiet(s))
		loop_defer(s->o.loop, &s->drain_defer, drained, s);
}

void sched_drain(struct sched *s, bool handover, void (*cb)(void *arg), void *arg)
{
	s->draining = true;
	s->handover = handover;
	s->drained = cb;
	s->drained_arg = arg;
	pool_stop(s->pool);
	async_stop(s);
	sched_check_drained(s);
}
