/* SPDX-License-Identifier: Apache-2.0 */
#include "sched/sched.h"
#include <malloc.h>
#include <sys/resource.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "sched/policy.h"
#include "sched/line.h"
#include "sched/sched_int.h"
#include "store/version.h"

#define DESCRIPTORS_PER_INSTANCE 14
#define DESCRIPTORS_OTHERS	 2048
#define CALM_US			 60000000 /* since the last call that was refused: it is over */

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
					 .sandbox_streams = o->sandbox_streams,
					 .tls = o->tls,
					 .creds = o->creds,
					 .forward = o->forward,
					 .scratch = xmalloc(INSTANCE_SCRATCH)};
	list_init(&s->workloads);
	list_init(&s->lru);
	list_init(&s->lines);
	list_init(&s->starved);
	list_init(&s->checks);
	list_init(&s->unasked);
	list_init(&s->line);
	list_init(&s->wishes);
	list_init(&s->images_kept);
	keep_init(s);
	s->deploy_id = ledger_intern(o->ledger, "tandem/deploy");
	s->snapshot_id = ledger_intern(o->ledger, "tandem/snapshot");
	getrlimit(RLIMIT_NOFILE, &lim);
	s->max_workers = ((int)lim.rlim_cur - DESCRIPTORS_OTHERS) / DESCRIPTORS_PER_INSTANCE;
	if (s->max_workers < 16)
		s->max_workers = 16;
	s->cpus = cpus > 0 ? (int)cpus : 1;
	s->pool = pool_new(o->loop, o->spawn, s->cpus);
	s->trim = loop_timer_new(o->loop, trim, s);
	s->adopting = true;
	store_on_function(o->store, function_changed, s);
	return s;
}

/* --- invocations --- */

static int in_flight(const struct workload *w)
{
	return w ? w->n_busy + w->n_waiting : 0;
}

/* Whether the function's reserved concurrency leaves room for this call. */
static bool admitted(struct invocation *inv)
{
	struct function *f = inv->function;
	struct policy_admission a = {.reserved = f->reserved, .provisioned_all = function_provisioned_all(f)};
	unsigned pos = 0;

	for (struct workload *w; (w = workload_next(f, &pos));) {
		int provisioned = w->published ? w->wanted : 0;

		if (in_flight(w) > provisioned)
			a.on_demand += in_flight(w) - provisioned;
		if (w == *workload_slot(f, inv->revision)) {
			a.provisioned = provisioned;
			a.in_flight = in_flight(w);
		}
	}
	return policy_admits(&a);
}

/* The last refused call is CALM_US ago, or not yet. */
static void calm(void *arg)
{
	struct workload *w = arg;
	int64_t left = w->refused_us + CALM_US - loop_now_us(w->s->o.loop);

	if (left > 0) {
		loop_timer_in(w->calm, left);
		return;
	}
	workload_say(w->s, w->f, "throttle", "over: %u calls were refused within %lld s", w->n_refused,
		     (long long)((w->refused_us - w->refused_from_us + 999999) / 1000000));
	loop_timer_free(take_ptr(w->calm));
	w->n_refused = 0;
	workload_maybe_free(w);
}

static void throttle(struct workload *w, struct invocation *inv, const struct err *e)
{
	w->refused_us = loop_now_us(w->s->o.loop);
	if (!w->calm) {
		w->refused_from_us = w->refused_us;
		w->calm = loop_timer_new(w->s->o.loop, calm, w);
		loop_timer_in(w->calm, CALM_US);
	}
	w->n_refused++;
	event_refused_row(w, inv, OUTCOME_THROTTLED);
	workload_say(w->s, w->f, "throttle", "%s", e->text);
	workload_fail(inv, INVOKE_THROTTLED, STR_NULL, e);
	workload_maybe_free(w);
}

static void begin(void *arg)
{
	struct invocation *inv = arg;
	struct budget_stop stop;
	struct workload *w;
	struct err e;

	if (inv->trigger == TRIGGER_CHECK) {
		room_check(inv->s, inv);
		return;
	}
	if (inv->function->deleted || (inv->revision && inv->revision->deleted)) { /* its instances are all stale */
		workload_fail_deleted(inv);
		return;
	}
	w = workload_of(inv->s, inv->function, inv->revision);
	if (inv->trigger != TRIGGER_ASYNC && workload_closed(w->s, w->f, false, &stop)) {
		err_set(&e, ERR_DENIED, "%s", stop.why);
		throttle(w, inv, &e);
		return;
	}
	if (w->f->reserved >= 0 && !admitted(inv)) {
		if (w->f->reserved)
			err_set(&e, ERR_LIMIT, "the %d calls at once that are reserved are under way", w->f->reserved);
		else
			err_set(&e, ERR_LIMIT, "its reserved concurrency is 0: nobody may call it");
		throttle(w, inv, &e);
		return;
	}
	if (w->n_waiting >= LIM_QUEUE_PER_WORKLOAD) {
		err_set(&e, ERR_UNAVAILABLE, "%d events wait already", w->n_waiting);
		throttle(w, inv, &e);
		return;
	}
	list_push(&w->waiting, &inv->node);
	w->n_waiting++;
	workload_dispatch(w);
}

void sched_invoke_start(struct sched *s, struct invocation *inv)
{
	struct workload *w = *workload_slot(inv->function, inv->revision);
	struct worker *wk;

	invocation_accept(s, inv);
	inv->deadline_us = inv->accepted_us + QUEUE_LIMIT_US;
	inv->worker = NULL;
	inv->defer = (struct loop_defer){0};
	if (!inv->request_id[0])
		id_uuid(inv->request_id);
	/* The warm path: an idle instance answers later by itself, so nothing calls back from in here. */
	if (w && w->n_idle && !w->n_waiting && inv->trigger != TRIGGER_CHECK && !s->adopting &&
	    !budgets_any_closed(s->o.budgets) && (w->f->reserved < 0 || admitted(inv)) &&
	    (wk = workload_take_idle(w))) {
		event_begin(wk, inv);
		return;
	}
	loop_defer(s->o.loop, &inv->defer, begin, inv);
}

void sched_invoke_hold(struct invocation *inv, bool held)
{
	if (inv->worker && inv->worker->instance)
		instance_hold(inv->worker->instance, held);
}

/* Nobody reads it: it goes on. */
static void forget_client(struct invocation *inv)
{
	struct worker *wk = inv->worker;

	for (struct run *run = wk->run; run < wk->run + wk->seats; run++)
		if (run->inv == inv)
			run->inv = NULL, sched_invoke_hold(inv, false);
}

void sched_invoke_cancel(struct invocation *inv)
{
	struct workload *w;

	if (!inv->s || !inv->function)
		return;
	w = *workload_slot(inv->function, inv->revision);
	if (inv->defer.queued) {
		loop_defer_cancel(inv->s->o.loop, &inv->defer);
	} else if (inv->worker) {
		if (inv->worker->check == inv)
			inv->worker->check = NULL;
		else
			forget_client(inv);
	} else if (inv->node.next && !list_empty(&inv->node)) {
		list_del(&inv->node);
		if (inv->trigger != TRIGGER_CHECK) {
			w->n_waiting--;
			workload_note_backlog(w);
		}
	}
	inv->s = NULL;
	revision_unref(inv->revision);
	function_unref(inv->function);
	inv->function = NULL;
}

/* --- what changes from outside --- */

/* Idle instances of what is stopped end, and what is to be kept again is started. */
void sched_budgets_changed(struct sched *s)
{
	list_each(&s->workloads, it)
	{
		struct workload *w = container_of(it, struct workload, node);

		list_each(&w->workers, wt)
		{
			struct worker *wk = container_of(wt, struct worker, node);

			if (wk->step == WORKER_LIVE && !list_empty(&wk->idle_node) && !wk->kept && workload_stopped(w))
				worker_rest(wk);
		}
	}
	keep_all(s);
	lines_kick(s);
}

static int end_workers(struct workload *w, bool only_idle, bool only_stale)
{
	int n = 0;

	list_each(&w->workers, it)
	{
		struct worker *wk = container_of(it, struct worker, node);
		static const struct err stopped = {.kind = ERR_CANCELED, .text = "stopped by the operator"};

		if (wk->step == WORKER_ENDING || (only_stale && !worker_stale(wk) && !lane_left(wk)) || wk->check)
			continue;
		if (only_idle && (wk->n_open || wk->step != WORKER_LIVE)) {
			worker_forget_idle(wk); /* of its seats */
			continue;
		}
		wk->stopping = true;
		worker_end(wk, INVOKE_CRASHED, OUTCOME_CRASH, STR_NULL, &stopped);
		n++;
	}
	return n;
}

void sched_leave(struct workload *w)
{
	end_workers(w, true, true);
}

int sched_stop_function(struct sched *s, struct function *f)
{
	unsigned pos = 0;
	int n = 0;

	for (struct workload *w; (w = workload_next(f, &pos));)
		n += end_workers(w, false, false);
	return n;
}

static void function_changed(void *arg, struct function *f)
{
	struct sched *s = arg;
	struct workload *w;
	unsigned pos = 0;

	if (f->deleted && !workload_next(f, &pos))
		workloads_forget(s, f);
	keep_function(s, f);
	async_look(f);
	for (pos = 0; (w = workload_next(f, &pos));) {
		workload_rename(w);
		end_workers(w, true, true); /* busy ones of an old revision go when they have answered */
		if (f->deleted || workload_revision(w)->deleted)
			workload_dispatch(w); /* there is nothing to dispatch to */
		workload_maybe_free(w);
	}
}

/* --- seeing inside --- */

struct function *sched_instance_function(const struct instance *i)
{
	struct worker *wk = instance_arg(i);

	return wk->w->f;
}

const char *sched_instance_trace(const struct instance *i, char out[TRACE_HEADER_BYTES])
{
	struct worker *wk = instance_arg(i);

	const struct run *run = wk->n_open == 1 ? event_only_run(wk) : NULL;

	return run && run->on && run->traced.on ? traced_header(&run->traced, out) : NULL;
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
							   .version = wk->revision->version,
							   .kept = wk->kept,
							   .lane = wk->lane,
							   .seats = wk->seats,
							   .open = wk->n_open,
							   .memory_mb = wk->revision->memory_mb};

			if (wk->instance) {
				info.state = wk->step == WORKER_LIVE && instance_frozen(wk->instance)
						     ? "frozen"
						     : instance_state_name[instance_state(wk->instance)];
				info.pid = instance_pid(wk->instance);
				info.mem_peak_bytes = instance_mem_peak_bytes(wk->instance);
			}
			if (wk->prepares)
				info.state = "preparing";
			each(arg, &info);
		}
	}
}

void sched_blanks(struct sched *s, int *ret_ready, int *ret_missing)
{
	pool_blanks(s->pool, ret_ready, ret_missing);
}

void sched_function_status(struct sched *s, const struct function *f, int *ret_instances, int *ret_busy,
			   int *ret_waiting, const char **ret_wait_reason)
{
	unsigned pos = 0;

	*ret_instances = *ret_busy = *ret_waiting = 0;
	*ret_wait_reason = sched_wait_name[WAIT_NONE];
	for (struct workload *w; (w = workload_next(f, &pos));) {
		struct invocation *head = list_first(&w->waiting, struct invocation, node);

		*ret_instances += w->n_workers - (s->preparing && s->preparing->w == w);
		*ret_busy += w->n_busy;
		*ret_waiting += w->n_waiting;
		if (!head)
			continue;
		workload_note_reasons(w);
		*ret_wait_reason = sched_wait_name[head->wait];
	}
}

void sched_function_use(const struct function *f, struct sched_use *ret)
{
	unsigned pos = 0;

	*ret = (struct sched_use){0};
	for (struct workload *w; (w = workload_next(f, &pos));)
		list_each(&w->workers, it)
		{
			struct worker *wk = container_of(it, struct worker, node);
			int64_t peak = wk->instance ? instance_mem_peak_bytes(wk->instance) : 0;

			if (wk->prepares) /* the platform wanted it */
				continue;
			ret->starting += wk->step < WORKER_LIVE;
			ret->cpu_us += event_cpu_so_far(wk);
			ret->mem_bytes += peak > 0 ? peak : 0;
		}
}

bool sched_oldest_wait(const struct function *f, int64_t *ret_waited_us, int64_t *ret_left_us)
{
	const struct invocation *oldest = NULL;
	unsigned pos = 0;

	for (struct workload *w; (w = workload_next(f, &pos));) {
		const struct invocation *head = list_first(&w->waiting, struct invocation, node);

		if (head && (!oldest || head->accepted_us < oldest->accepted_us))
			oldest = head;
	}
	if (!oldest)
		return false;
	*ret_waited_us = clock_now_us() - oldest->accepted_us;
	*ret_left_us = oldest->deadline_us - clock_now_us();
	return true;
}

/* --- restart and end of the daemon --- */

void sched_adopt(struct sched *s, uint64_t id, const char *label, bool assigned, pid_t pid, struct sandbox_fds *fds)
{
	struct str name, serial = STR_NULL, flags = STR_NULL, flag;
	struct revision *r = NULL;
	struct function *f = NULL;
	int64_t n = -1, seats = 0;
	bool kept = false;

	/* One that is not assigned may have been ordered to begin from an image: it is not blank any more. */
	if (assigned && str_cut(str_of(label), ' ', &name, &serial))
		f = function_get(s->o.store, name);
	str_cut(serial, ' ', &serial, &flags);
	while (str_next(&flags, ' ', &flag)) {
		kept |= str_eqc(flag, "kept");
		if (str_starts(flag, "c")) /* of the container lane */
			str_to_i64((struct str){flag.p + 1, flag.n - 1}, 1, LANE_SEATS_MAX, &seats);
	}
	if (f && str_to_i64(serial, 0, INT64_MAX, &n) == 0)
		r = function_by_serial(f, (uint64_t)n);
	if (r) {
		worker_adopt(workload_of(s, f, r), id, pid, fds, kept, (int)seats);
		return;
	}
	sandbox_fds_close(fds);
	spawn_end(s->o.spawn, id);
}

void sched_adopted(struct sched *s)
{
	s->adopting = false;
	pool_start(s->pool);
	list_each(&s->workloads, it) workload_dispatch(container_of(it, struct workload, node));
	keep_all(s);
	prepare_next(s);
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

void sched_blanks_use(const struct sched *s, int64_t *ret_cpu_us, int64_t *ret_bytes)
{
	*ret_cpu_us = s->blanks_cpu_us;
	*ret_bytes = pool_bytes(s->pool);
}

void sched_so_far(const struct sched *s, struct ledger_query *q)
{
	list_each(&s->workloads, it)
	{
		const struct workload *w = container_of(it, struct workload, node);

		list_each(&w->workers, wt)
		{
			const struct worker *wk = container_of(wt, struct worker, node);

			if (wk->step == WORKER_LIVE && wk->ready_us &&
			    (wk->lane == LANE_CONTAINER || (!wk->n_open && !list_empty(&wk->idle_node))))
				event_idle_so_far(wk, q);
		}
	}
}

/* A successor hears of an asynchronous event's result: only what somebody waits for holds a handover up. */
static bool awaited(const struct sched *s, const struct worker *wk)
{
	for (const struct run *run = wk->run; wk->n_open && run < wk->run + wk->seats; run++)
		if ((run->on || run->early) && (!s->handover || (run->inv && run->inv->trigger != TRIGGER_ASYNC)))
			return true;
	return false;
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

/* Sandboxes live on in the spawner. */
void sched_free(struct sched *s)
{
	if (!s)
		return;
	async_free_all(s);
	prepare_free(s);
	list_each(&s->workloads, it)
	{
		struct workload *w = container_of(it, struct workload, node);

		list_each(&w->workers, wt)
		{
			struct worker *wk = container_of(wt, struct worker, node);

			if (wk->instance && wk->ready_us && !wk->n_open) {
				event_idle_cpu(wk, instance_cpu_us(wk->instance));
				event_idle_row(wk, instance_mem_peak_bytes(wk->instance));
			}
			worker_drop(wk);
		}
		workload_free(w);
	}
	loop_timer_free(s->keep_timer);
	loop_timer_free(s->checks_timer);
	map_done(&s->by_id);
	buf_done(&s->text);
	loop_timer_free(s->trim);
	pool_free(s->pool);
	free(s->host.scratch);
	free(s);
}
