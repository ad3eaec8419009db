/* SPDX-License-Identifier: Apache-2.0 */
/* What tandem-unpack and skopeo have in common: a slot, a deadline, an end that is always told and never missed. */
#include "spawner.h"
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "base/clock.h"

struct job *job_free_slot(struct spawner *s, enum spawner_verb answer, unsigned max, struct err *e)
{
	struct job *j = NULL;
	unsigned n = 0;

	for (unsigned i = 0; i < JOB_MAX; i++) {
		if (!s->job[i].id)
			j = j ? j : &s->job[i];
		else if (s->job[i].answer == answer)
			n++;
	}
	if (!j || n >= max) {
		err_set(e, ERR_UNAVAILABLE, "%u of its kind run already", n);
		return NULL;
	}
	j->answer = (uint16_t)answer;
	j->pidfd = j->result = -1;
	return j;
}

void job_begin(struct spawner *s, struct job *j, uint64_t id, pid_t pid, int64_t time_us, enum watch_kind kind)
{
	j->id = id;
	j->gen++;
	j->pid = pid;
	j->deadline_us = clock_now_us() + time_us;
	if (watch_add(s, kind == WATCH_UNPACK ? j->result : j->pidfd, kind, (unsigned)(j - s->job), j->gen) < 0)
		j->deadline_us = 0; /* due at once */
}

int job_finish(struct spawner *s, struct job *j, struct spawner_msg *answer, const struct err *e)
{
	struct rusage ru = {0};
	int status = 0;

	/* One that has answered: nothing that it does now counts. */
	(void)syscall(SYS_pidfd_send_signal, j->pidfd, SIGKILL, NULL, 0);
	while (wait4(j->pid, &status, 0, &ru) < 0 && errno == EINTR)
		;
	watch_close(s, &j->pidfd);
	watch_close(s, &j->result);
	if (answer && answer->verb == SPAWNER_PULLED)
		answer->u.pull.wait_status = status, answer->u.pull.cpu_us = (uint64_t)clock_cpu_us(&ru);
	else if (answer)
		answer->u.unpack.cpu_us = (uint64_t)clock_cpu_us(&ru);
	if (answer)
		verbs_send(s, answer, NULL, 0);
	else if (e)
		verbs_send_err(s, (enum spawner_verb)j->answer, j->id, e);
	j->id = 0;
	return status;
}

void job_event(struct spawner *s, enum watch_kind kind, unsigned slot, uint32_t gen)
{
	struct job *j = slot < JOB_MAX ? &s->job[slot] : NULL;

	if (!j || !j->id || (j->gen & 0xffffff) != gen)
		return;
	if (kind == WATCH_UNPACK)
		unpack_event(s, j);
	else if (kind == WATCH_PULL)
		pull_event(s, j);
	else
		keep_event(s, j);
}

void job_kill(struct spawner *s, uint64_t id, enum spawner_verb answer)
{
	for (unsigned i = 0; id && i < JOB_MAX; i++)
		if (s->job[i].id == id && s->job[i].answer == answer)
			(void)syscall(SYS_pidfd_send_signal, s->job[i].pidfd, SIGKILL, NULL, 0);
}

void job_kill_all(struct spawner *s)
{
	for (unsigned i = 0; i < JOB_MAX; i++)
		if (s->job[i].id)
			job_finish(s, &s->job[i], NULL, NULL);
}

int64_t job_next_deadline_us(const struct spawner *s)
{
	int64_t first = INT64_MAX;

	for (unsigned i = 0; i < JOB_MAX; i++)
		if (s->job[i].id && s->job[i].deadline_us < first)
			first = s->job[i].deadline_us;
	return first;
}

void job_expire(struct spawner *s, int64_t now_us)
{
	struct err e = {0};

	err_set(&e, ERR_TIMEOUT, "it took too long and was ended");
	for (unsigned i = 0; i < JOB_MAX; i++)
		if (s->job[i].id && s->job[i].deadline_us <= now_us)
			job_finish(s, &s->job[i], NULL, &e);
}
