/* SPDX-License-Identifier: Apache-2.0 */
/* The life of one container; its states are drawn in task.h. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/moves.h"
#include "task/task_int.h"
#include "wire/egress.h"

#define END_US 10000000 /* from the SIGKILL to the spawner's word */

static const uint8_t next[TASK_N] = {
	[TASK_PENDING] = 1 << TASK_STARTING | 1 << TASK_STOPPING | 1 << TASK_STOPPED,
	[TASK_STARTING] = 1 << TASK_RUNNING | 1 << TASK_STOPPING | 1 << TASK_STOPPED,
	[TASK_RUNNING] = 1 << TASK_STOPPING | 1 << TASK_STOPPED,
	[TASK_STOPPING] = 1 << TASK_STOPPED,
};
static_assert(TASK_N == 5, "moves");

void container_move(struct container *c, enum task_state to)
{
	assert(next[c->state] >> to & 1);
	c->state = to;
	move_note("container", c->sandbox, task_state_name[to]);
	if (c->task->n > 1) /* of one alone its sandbox tells enough */
		task_keep(c->task);
	task_changed(c->task);
}

void container_set_end(struct container *c, int exit_code, int sig, const char *fmt, ...)
{
	va_list ap;

	if (*c->reason)
		return;
	c->exit_code = exit_code;
	c->signal = sig;
	va_start(ap, fmt);
	vsnprintf(c->reason, sizeof(c->reason), fmt, ap);
	va_end(ap);
}

/* ---- the end ---- */

static void release(struct container *c)
{
	health_end(c);
	execs_gone(c, false);
	io_close(&c->io);
	loop_timer_free(take_ptr(c->deadline));
	loop_fd_free(take_ptr(c->ctl));
	resolver_free(take_ptr(c->resolver));
	for (unsigned i = 0; i < ARRAY_SIZE(c->inside); i++)
		http_listener_free(take_ptr(c->inside[i]));
	sandbox_fds_close(&c->fds);
	memset(c->fds.fd, -1, sizeof(c->fds.fd));
	if (c->image)
		image_unuse(take_ptr(c->image));
}

void container_done(struct container *c)
{
	spawn_cancel(&c->made);
	loop_defer_cancel(c->task->t->o.loop, &c->finish_later);
	release(c);
	execs_gone(c, true);
	io_done(&c->io);
	task_spec_done(&c->spec);
}

void container_finish(void *arg)
{
	struct container *c = arg;

	io_drain(&c->io);
	release(c);
	buf_done(&c->spec.text);
	c->stopped_wall_us = clock_wall_us();
	container_set_end(c, EXIT_OF_SIGNAL + SIGKILL, SIGKILL, "its sandbox ended");
	container_move(c, TASK_STOPPED);
}

void container_skip(struct container *c, const char *why)
{
	container_set_end(c, EXIT_NOT_STARTED, 0, "%s", why);
	container_finish(c);
}

/* Its output goes first to whoever was to attach. */
static void sandbox_gone(struct container *c)
{
	c->sandbox_gone = true;
	if (!c->io.wait)
		container_finish(c);
}

/* proc_pid_net(5), which anybody may read. */
void container_traffic(const struct container *c, uint64_t *in, uint64_t *out)
{
	unsigned long long got, sent;
	auto_buf text = {0};
	const char *line;
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/net/dev", (int)c->pid);
	if (!c->resolver || c->killed || c->sandbox_gone || io_read_file(AT_FDCWD, path, 65536, &text, NULL) < 0)
		return;
	line = text.n ? strstr(text.p, EGRESS_OWN ":") : NULL;
	if (line && sscanf(line + sizeof(EGRESS_OWN), "%llu %*u %*u %*u %*u %*u %*u %*u %llu", &got, &sent) == 2)
		*in += got, *out += sent;
}

void container_end_sandbox(struct container *c)
{
	if (c->killed)
		return;
	container_traffic(c, &c->task->bytes_in, &c->task->bytes_out);
	c->killed = true;
	if (c->state != TASK_STOPPING)
		container_move(c, TASK_STOPPING);
	if (c->sandbox) {
		spawn_end(c->task->t->o.spawn, c->sandbox);
		loop_timer_in(c->deadline, END_US);
		return;
	}
	spawn_cancel(&c->made); /* one that is made after all is ended */
	loop_defer(c->task->t->o.loop, &c->finish_later, container_finish, c);
}

static struct container *by_sandbox(struct tasks *t, uint64_t id)
{
	list_each(&t->all, it)
	{
		struct task *k = container_of(it, struct task, node);

		for (unsigned i = 0; i < k->n; i++)
			if (k->c[i].sandbox == id && !k->c[i].sandbox_gone && k->c[i].state != TASK_STOPPED)
				return &k->c[i];
	}
	return NULL;
}

bool task_ended(struct tasks *t, uint64_t id, uint32_t oom_kills, int64_t cpu_us, int64_t mem_peak_bytes)
{
	struct container *c = by_sandbox(t, id);

	if (!c)
		return false;
	c->cpu_us = cpu_us;
	c->mem_peak_bytes = mem_peak_bytes;
	c->oom = oom_kills > 0;
	if (c->oom) {
		*c->reason = 0; /* what it then died of is the consequence */
		container_set_end(c, EXIT_OF_SIGNAL + SIGKILL, SIGKILL, "OutOfMemory: it used more than its %lld MB",
				  (long long)(c->spec.memory_bytes >> 20));
	}
	sandbox_gone(c);
	return true;
}

/* ---- what tandem-init says ---- */

/* Its sandbox stays for as long as the task says (task.c). */
static void exited(struct container *c, int status)
{
	if (c->exited)
		return;
	c->exited = true;
	if (WIFEXITED(status))
		container_set_end(c, WEXITSTATUS(status), 0, "exited with %d", WEXITSTATUS(status));
	else
		container_set_end(c, EXIT_OF_SIGNAL + (WTERMSIG(status) & 63), WTERMSIG(status),
				  "ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	health_end(c);
	if (c->state != TASK_STOPPING)
		container_move(c, TASK_STOPPING);
	loop_timer_stop(c->deadline);
	task_changed(c->task);
}

static void not_started(struct container *c, int32_t value)
{
	const char *why = strerror(value & 0xffff);
	struct err e;

	if (c->adopted && !c->begun && value == ESRCH) { /* whoever was to say RUN died: one time will do */
		c->begun = true;
		if (container_ask_run(c, &e) == 0)
			return;
	}
	c->exited = true;
	if (c->adopted) {
		container_set_end(c, EXIT_NOT_STARTED, 0,
				  "it was never started, or had ended while no daemon was there");
	} else {
		switch (value >> 16) {
		case INIT_STEP_USER:
			container_set_end(c, EXIT_NOT_ALLOWED, 0,
					  "the image's /etc/passwd or /etc/group has no such user or group");
			break;
		case INIT_STEP_CWD:
			container_set_end(c, EXIT_NOT_ALLOWED, 0, "its working directory cannot be entered: %s", why);
			break;
		default:
			container_set_end(c, (value & 0xffff) == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_ALLOWED, 0,
					  "its program %.200s cannot be started: %s",
					  c->spec.text.n > c->spec.argv_at ? c->spec.text.p + c->spec.argv_at : "",
					  why);
		}
	}
	container_end_sandbox(c);
}

static void broken(struct container *c, ssize_t n)
{
	container_set_end(c, EXIT_NOT_STARTED, 0, "tandem-init broke its protocol (%zd bytes)", n);
	container_end_sandbox(c);
}

static void started(struct container *c)
{
	c->started_wall_us = clock_wall_us();
	if (c->state != TASK_STARTING) /* it was asked to stop already */
		return;
	container_move(c, TASK_RUNNING);
	loop_timer_stop(c->deadline);
	health_begin(c, false);
}

void container_heard(void *arg, int events)
{
	struct container *c = arg;
	struct init_msg m;
	ssize_t n = recv(c->fds.fd[SB_CTL], &m, sizeof(m), MSG_DONTWAIT | MSG_TRUNC);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) { /* pid 1 is gone: the spawner says the rest */
		loop_fd_free(take_ptr(c->ctl));
		return;
	}
	if (n != sizeof(m) || m.version != INIT_VERSION) {
		if (c->state != TASK_STOPPING)
			broken(c, n);
		return;
	}
	if (m.tag != INIT_TAG_RUNTIME) {
		(void)exec_heard(c, &m);
		return;
	}
	c->begun |= m.verb == INIT_STARTED;
	if (m.verb == INIT_STARTED && !c->started_wall_us)
		started(c);
	else if (m.verb == INIT_EXITED)
		exited(c, m.value);
	else if (m.verb == INIT_FAILED && (!c->started_wall_us || (c->adopted && !c->exited)))
		not_started(c, m.value);
}

void container_due(void *arg)
{
	struct container *c = arg;

	switch (c->state) {
	case TASK_PENDING:
		container_set_end(c, EXIT_NOT_STARTED, 0, "its sandbox was not made in %d s", TASK_MAKE_US / 1000000);
		break;
	case TASK_STARTING:
		container_set_end(c, EXIT_NOT_STARTED, 0, "its program was not started in %d s",
				  TASK_START_US / 1000000);
		break;
	case TASK_STOPPING:
		if (c->killed)
			log_warn("task", "%s takes its time to end", c->task->id);
		container_set_end(c, EXIT_OF_SIGNAL + SIGKILL, SIGKILL,
				  "killed: it had not ended after its stop signal");
		break;
	default:
		return;
	}
	container_end_sandbox(c);
}

/* ---- what others ask for ---- */

int container_tell(struct container *c, enum init_verb verb, uint32_t tag, int value, struct err *e)
{
	struct init_msg m = {.version = INIT_VERSION, .verb = (uint16_t)verb, .tag = tag, .value = value};

	if (send(c->fds.fd[SB_CTL], &m, sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return err_sys(e, errno, "tell tandem-init");
	return 0;
}

int container_signal(struct container *c, int sig, struct err *e)
{
	if (sig < 1 || sig > 64)
		return err_set(e, ERR_INVALID, "%d is no signal", sig);
	if (c->exited || c->killed || c->state == TASK_STOPPED)
		return err_set(e, ERR_CONFLICT, "the container does not run");
	if (c->running)
		return container_tell(c, INIT_SIGNAL, INIT_TAG_RUNTIME, sig, e);
	c->early_signal = sig;
	return 0;
}

void container_stop(struct container *c, int64_t timeout_us)
{
	struct err e;

	if (c->state == TASK_STOPPED || c->state == TASK_STOPPING)
		return;
	if (timeout_us < 0)
		timeout_us = c->spec.stop_timeout_us;
	if (!c->running) {
		container_set_end(c, EXIT_OF_SIGNAL + c->spec.stop_signal, c->spec.stop_signal,
				  "stopped before it ran");
		container_end_sandbox(c);
		return;
	}
	if (!timeout_us || container_signal(c, c->spec.stop_signal, &e) < 0) {
		container_set_end(c, EXIT_OF_SIGNAL + SIGKILL, SIGKILL, "killed");
		container_end_sandbox(c);
		return;
	}
	container_move(c, TASK_STOPPING);
	loop_timer_in(c->deadline, timeout_us);
}
