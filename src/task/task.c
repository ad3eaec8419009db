/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a task; its states are drawn in task.h. */
#include "task/task.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/moves.h"
#include "task/task_int.h"

#define END_US 10000000 /* from the SIGKILL to the spawner's word */

static const uint8_t next[TASK_N] = {
	[TASK_PENDING] = 1 << TASK_STARTING | 1 << TASK_STOPPING | 1 << TASK_STOPPED,
	[TASK_STARTING] = 1 << TASK_RUNNING | 1 << TASK_STOPPING | 1 << TASK_STOPPED,
	[TASK_RUNNING] = 1 << TASK_STOPPING | 1 << TASK_STOPPED,
	[TASK_STOPPING] = 1 << TASK_STOPPED,
};
const char *const task_health_name[TASK_HEALTH_N] = {"NONE", "UNKNOWN", "HEALTHY", "UNHEALTHY"};
const char *const task_state_name[TASK_N] = {"PENDING", "STARTING", "RUNNING", "STOPPING", "STOPPED"};
static_assert(TASK_N == 5, "names and moves");

static void tell_changed(void *arg)
{
	struct task *k = arg;

	list_each(&k->t->watches, it)
	{
		struct task_watch *w = container_of(it, struct task_watch, node);

		w->changed(w, k);
	}
}

void task_watch(struct tasks *t, struct task_watch *w)
{
	list_push(&t->watches, &w->node);
}

void task_unwatch(struct task_watch *w)
{
	list_del(&w->node);
}

void task_move(struct task *k, enum task_state to)
{
	assert(next[k->state] >> to & 1);
	k->state = to;
	move_note("task", k->sandbox, task_state_name[to]);
	if (!k->changed_later.queued)
		loop_defer(k->t->o.loop, &k->changed_later, tell_changed, k);
}

void task_set_end(struct task *k, int exit_code, int sig, const char *fmt, ...)
{
	va_list ap;

	if (*k->reason)
		return;
	k->exit_code = exit_code;
	k->signal = sig;
	va_start(ap, fmt);
	vsnprintf(k->reason, sizeof(k->reason), fmt, ap);
	va_end(ap);
}

/* ---- the end ---- */

void task_free(struct task *k)
{
	struct loop *l = k->t->o.loop;

	spawn_cancel(&k->made);
	streams_close(k);
	loop_defer_cancel(l, &k->in_later);
	loop_defer_cancel(l, &k->stopped_later);
	loop_defer_cancel(l, &k->finish_later);
	loop_defer_cancel(l, &k->changed_later);
	loop_timer_free(k->deadline);
	loop_fd_free(k->ctl);
	resolver_free(k->resolver);
	sandbox_fds_close(&k->fds);
	log_stream_release(k->log);
	if (k->image)
		image_unuse(k->image);
	for (unsigned i = 0; i < TASK_STREAMS; i++)
		buf_done(&k->stream[i].line);
	task_spec_done(&k->spec);
	json_free(k->doc);
	json_free(k->over);
	free(k->group);
	free(k->definition);
	free(k->note);
	list_del(&k->node);
	free(k);
}

static void keep_few(struct tasks *t)
{
	list_each(&t->all, it)
	{
		struct task *k = container_of(it, struct task, node);

		if (t->n_stopped <= TASKS_KEPT)
			return;
		if (k->state == TASK_STOPPED && list_empty(&k->ears) && !k->stopped_later.queued &&
		    !k->changed_later.queued)
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

static void add_row(struct task *k)
{
	struct ledger *lg = k->t->o.ledger;
	struct ledger_row row = {.kind = LEDGER_TASK, .lane = LANE_CONTAINER, .trigger = TRIGGER_API};
	int64_t began = k->started_wall_us ? k->started_wall_us : k->created_wall_us;
	int64_t ms = (k->stopped_wall_us - began) / 1000;
	char name[160];
	const char *base;

	/* By image where there is no name: names are kept for ever. */
	base = strrchr(k->reference, '/');
	snprintf(name, sizeof(name), "task/%.128s", *k->name ? k->name : base ? base + 1 : k->reference);
	row.start_wall_us = began;
	row.workload = ledger_intern(lg, name);
	row.instance = k->sandbox;
	row.outcome = k->oom		    ? OUTCOME_OOM
		      : !k->started_wall_us ? OUTCOME_FAILED
		      : k->exit_code	    ? OUTCOME_ERROR
					    : OUTCOME_OK;
	row.idle_ms = ms < 0 ? 0 : ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
	row.cpu_us = (uint64_t)k->cpu_us;
	row.memory_mb = (uint32_t)(k->spec.memory_bytes >> 20);
	row.version = k->spec.cpu_milli;
	row.mem_peak_bytes = (uint64_t)k->mem_peak_bytes;
	ledger_add(lg, &row);
	ledger_release(lg, row.workload);
}

void task_finish(void *arg)
{
	struct task *k = arg;

	streams_drain(k);
	streams_close(k);
	loop_timer_free(take_ptr(k->deadline));
	loop_fd_free(take_ptr(k->ctl));
	resolver_free(take_ptr(k->resolver));
	sandbox_fds_close(&k->fds);
	memset(k->fds.fd, -1, sizeof(k->fds.fd));
	if (k->image)
		image_unuse(take_ptr(k->image));
	buf_done(&k->spec.text);
	k->stopped_wall_us = clock_wall_us();
	task_set_end(k, EXIT_OF_SIGNAL + SIGKILL, SIGKILL, "its sandbox ended");
	log_stream_release(take_ptr(k->log));
	task_move(k, TASK_STOPPED);
	k->t->n_stopped++;
	add_row(k);
	streams_stopped(k);
	keep_few(k->t);
	check_drained(k->t);
}

/* Its output goes first to whoever was to attach. */
static void sandbox_gone(struct task *k)
{
	k->sandbox_gone = true;
	if (!k->attach)
		task_finish(k);
}

void task_end_sandbox(struct task *k)
{
	if (k->killed)
		return;
	k->killed = true;
	if (k->state != TASK_STOPPING)
		task_move(k, TASK_STOPPING);
	if (k->sandbox) {
		spawn_end(k->t->o.spawn, k->sandbox);
		loop_timer_in(k->deadline, END_US);
		return;
	}
	spawn_cancel(&k->made); /* one that is made after all is ended */
	loop_defer(k->t->o.loop, &k->finish_later, task_finish, k);
}

bool task_ended(struct tasks *t, uint64_t id, uint32_t oom_kills, int64_t cpu_us, int64_t mem_peak_bytes)
{
	list_each(&t->all, it)
	{
		struct task *k = container_of(it, struct task, node);

		if (k->sandbox != id || k->sandbox_gone || k->state == TASK_STOPPED)
			continue;
		k->cpu_us = cpu_us;
		k->mem_peak_bytes = mem_peak_bytes;
		k->oom = oom_kills > 0;
		if (k->oom) {
			*k->reason = 0; /* what it then died of is the consequence */
			task_set_end(k, EXIT_OF_SIGNAL + SIGKILL, SIGKILL, "OutOfMemory: it used more than its %lld MB",
				     (long long)(k->spec.memory_bytes >> 20));
		}
		sandbox_gone(k);
		return true;
	}
	return false;
}

/* ---- what tandem-init says ---- */

static void exited(struct task *k, int status)
{
	if (k->exited)
		return;
	k->exited = true;
	if (WIFEXITED(status))
		task_set_end(k, WEXITSTATUS(status), 0, "exited with %d", WEXITSTATUS(status));
	else
		task_set_end(k, EXIT_OF_SIGNAL + (WTERMSIG(status) & 63), WTERMSIG(status), "ended by signal %d (%s)",
			     WTERMSIG(status), strsignal(WTERMSIG(status)));
	task_end_sandbox(k);
}

static void not_started(struct task *k, int32_t value)
{
	const char *why = strerror(value & 0xffff);

	if (k->adopted) {
		task_set_end(k, EXIT_NOT_STARTED, 0, "it was never started, or had ended while no daemon was there");
	} else {
		switch (value >> 16) {
		case INIT_STEP_USER:
			task_set_end(k, EXIT_NOT_ALLOWED, 0,
				     "the image's /etc/passwd or /etc/group has no such user or group");
			break;
		case INIT_STEP_CWD:
			task_set_end(k, EXIT_NOT_ALLOWED, 0, "its working directory cannot be entered: %s", why);
			break;
		default:
			task_set_end(k, (value & 0xffff) == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_ALLOWED, 0,
				     "its program cannot be started: %s", why);
		}
	}
	task_end_sandbox(k);
}

static void broken(struct task *k, ssize_t n)
{
	task_set_end(k, EXIT_NOT_STARTED, 0, "tandem-init broke its protocol (%zd bytes)", n);
	task_end_sandbox(k);
}

void task_heard(void *arg, int events)
{
	struct task *k = arg;
	struct init_msg m;
	ssize_t n = recv(k->fds.fd[SB_CTL], &m, sizeof(m), MSG_DONTWAIT | MSG_TRUNC);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) { /* pid 1 is gone: the spawner says the rest */
		loop_fd_free(take_ptr(k->ctl));
		return;
	}
	if (n != sizeof(m) || m.version != INIT_VERSION) {
		if (k->state != TASK_STOPPING)
			broken(k, n);
		return;
	}
	if (m.tag != INIT_TAG_RUNTIME)
		return;
	if (m.verb == INIT_STARTED && !k->started_wall_us) {
		k->started_wall_us = clock_wall_us();
		if (k->state != TASK_STARTING) /* it was asked to stop already */
			return;
		task_move(k, TASK_RUNNING);
		loop_timer_stop(k->deadline);
	} else if (m.verb == INIT_EXITED) {
		exited(k, m.value);
	} else if (m.verb == INIT_FAILED && (!k->started_wall_us || (k->adopted && !k->exited))) {
		not_started(k, m.value);
	}
}

void task_due(void *arg)
{
	struct task *k = arg;

	switch (k->state) {
	case TASK_PENDING:
		task_set_end(k, EXIT_NOT_STARTED, 0, "its sandbox was not made in %d s", TASK_MAKE_US / 1000000);
		break;
	case TASK_STARTING:
		task_set_end(k, EXIT_NOT_STARTED, 0, "its program was not started in %d s", TASK_START_US / 1000000);
		break;
	case TASK_STOPPING:
		if (k->killed)
			log_warn("task", "%s takes its time to end", k->id);
		task_set_end(k, EXIT_OF_SIGNAL + SIGKILL, SIGKILL, "killed: it had not ended after its stop signal");
		break;
	default:
		return;
	}
	task_end_sandbox(k);
}

/* ---- what others ask for ---- */

int task_signal(struct task *k, int sig, struct err *e)
{
	struct init_msg m = {.version = INIT_VERSION, .verb = INIT_SIGNAL, .tag = INIT_TAG_RUNTIME, .value = sig};

	if (sig < 1 || sig > 64)
		return err_set(e, ERR_INVALID, "%d is no signal", sig);
	if (k->exited || k->killed || k->state == TASK_STOPPED)
		return err_set(e, ERR_CONFLICT, "the task does not run");
	if (k->state == TASK_PENDING) {
		k->early_signal = sig;
		return 0;
	}
	if (send(k->fds.fd[SB_CTL], &m, sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return err_sys(e, errno, "tell tandem-init");
	return 0;
}

void task_stop(struct task *k, int64_t timeout_us)
{
	struct err e;

	if (k->state == TASK_STOPPED || k->state == TASK_STOPPING)
		return;
	if (timeout_us < 0)
		timeout_us = k->spec.stop_timeout_us;
	if (k->state == TASK_PENDING) {
		task_set_end(k, EXIT_OF_SIGNAL + k->spec.stop_signal, k->spec.stop_signal, "stopped before it ran");
		task_end_sandbox(k);
		return;
	}
	if (!timeout_us || task_signal(k, k->spec.stop_signal, &e) < 0) {
		task_set_end(k, EXIT_OF_SIGNAL + SIGKILL, SIGKILL, "killed");
		task_end_sandbox(k);
		return;
	}
	task_move(k, TASK_STOPPING);
	loop_timer_in(k->deadline, timeout_us);
}

int task_remove(struct task *k, struct err *e)
{
	if (k->state != TASK_STOPPED)
		return err_set(e, ERR_CONFLICT, "the task has not stopped");
	if (!list_empty(&k->ears))
		return err_set(e, ERR_CONFLICT, "its end is just being told");
	k->t->n_stopped--;
	log_stream_remove(k->t->o.logs, k->log_name);
	task_free(k);
	return 0;
}

void task_info(const struct task *k, struct task_info *ret)
{
	*ret = (struct task_info){.id = k->id,
				  .name = k->name,
				  .group = k->group,
				  .definition = k->definition,
				  .note = k->note,
				  .image = k->reference,
				  .doc = k->doc,
				  .n_containers = 1,
				  .state = k->state,
				  .tty = k->spec.tty,
				  .stdin_open = k->spec.stdin_open,
				  .pid = k->state == TASK_STOPPED ? 0 : k->pid,
				  .memory_bytes = k->spec.memory_bytes,
				  .created_wall_us = k->created_wall_us,
				  .started_wall_us = k->started_wall_us,
				  .stopped_wall_us = k->stopped_wall_us,
				  .cpu_milli = k->spec.cpu_milli,
				  .exit_code = k->exit_code,
				  .signal = k->signal,
				  .oom = k->oom,
				  .reason = k->reason,
				  .cpu_us = k->cpu_us,
				  .mem_peak_bytes = k->mem_peak_bytes};
}

void task_container_info(const struct task *k, unsigned i, struct task_info *ret)
{
	task_info(k, ret);
	ret->name = task_doc_name(k->doc, i);
}

enum task_health task_health(const struct task *k)
{
	return TASK_NOT_CHECKED;
}

uint64_t task_sandbox(const struct task *k)
{
	return k->sandbox_gone ? 0 : k->sandbox;
}

const char *task_log_name(const struct task *k)
{
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
		if (word.n < TASK_ID_BYTES && !memcmp(word.p, k->id, word.n)) {
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
