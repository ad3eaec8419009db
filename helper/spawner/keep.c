/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is kept for containers beyond their lives: secrets/ and volumes/ in the state directory, of root; tandemd's group
 * may list them. Secrets are files of root that tandemd can write, by way of a child of ours, and never read.
 */
#include "spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "base/io.h"

#define KEEP_TIME_US 30000000

/* Whole or not at all, and on the disk. One that was killed leaves a file that the next of that name is written over. */
static int secret_put(int dir, const char *name, int value, struct err *e)
{
	char text[SECRET_MAX_BYTES + 1], new[GIVE_NAME_MAX + 2];
	ssize_t n = pread(value, text, sizeof(text), 0);
	auto_close int fd = -1;

	if (n < 0 || n > SECRET_MAX_BYTES)
		return err_sys(e, n < 0 ? errno : EFBIG, "read the secret");
	snprintf(new, sizeof(new), ".%s", name);
	fd = openat(dir, new, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || io_write_all(fd, text, (size_t)n, e) < 0 || fsync(fd) < 0 || renameat(dir, new, dir, name) < 0)
		return err_sys(e, errno, "write the secret");
	return 0;
}

static int volume_end(const struct spawner *s, int dir, const struct spawner_msg *m, struct err *e)
{
	const char *name = m->u.keep.name;
	auto_close int lock = -1;
	char to[100], file[GIVE_NAME_MAX + 2];

	/* Containers hold it shared (give.c). */
	if (faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 || (lock = give_lock(dir, name, LOCK_EX)) < 0)
		return err_sys(e, errno, "lock the volume");
	snprintf(file, sizeof(file), ".%s", name);
	snprintf(to, sizeof(to), "gone/volume-%llu", (unsigned long long)m->id);
	return renameat(dir, name, s->uppers, to) < 0 || unlinkat(dir, file, 0) < 0
		       ? err_sys(e, errno, "remove the volume")
		       : 0;
}

/* Its exit code is errno: the texts are made by keep_event, for tandemd's user. */
static void child(const struct spawner *s, const struct spawner_msg *m, int value) __attribute__((noreturn));
static void child(const struct spawner *s, const struct spawner_msg *m, int value)
{
	struct err e = {.sys = EIO};
	int dir, ret;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	dir = give_dir(s, m->verb == SPAWNER_SECRET ? "secrets" : "volumes", &e);
	if (dir < 0 || flock(dir, LOCK_EX) < 0) /* one at a time */
		_exit(e.sys);
	if (m->verb == SPAWNER_VOLUME_END)
		ret = volume_end(s, dir, m, &e);
	else if (value >= 0)
		ret = secret_put(dir, m->u.keep.name, value, &e);
	else
		ret = unlinkat(dir, m->u.keep.name, 0) < 0 ? err_sys(&e, errno, "remove the secret") : 0;
	if (ret == 0 && fsync(dir) < 0)
		ret = err_sys(&e, errno, "sync");
	_exit(ret < 0 ? e.sys : 0);
}

int keep_start(struct spawner *s, const struct spawner_msg *m, const int *fds, unsigned n_fds, struct err *e)
{
	struct clone_args a = {.flags = CLONE_PIDFD, .exit_signal = SIGCHLD};
	struct job *j;
	pid_t pid;

	if (!m->id || !give_name_ok(m->u.keep.name))
		return err_set(e, ERR_INVALID,
			       "a name begins with a letter or digit; \"-\", \"_\" and \".\" may follow");
	if (n_fds > (m->verb == SPAWNER_SECRET))
		return err_set(e, ERR_INVALID, "more descriptors than one value");
	j = job_free_slot(s, SPAWNER_KEPT, JOB_MAX, e);
	if (!j)
		return -1;
	a.pidfd = (uint64_t)(uintptr_t)&j->pidfd;
	pid = (pid_t)syscall(SYS_clone3, &a, sizeof(a));
	if (pid == 0)
		child(s, m, n_fds ? fds[0] : -1);
	if (pid < 0)
		return err_sys(e, errno, "fork");
	job_begin(s, j, m->id, pid, KEEP_TIME_US, WATCH_KEEP);
	return 0;
}

void keep_event(struct spawner *s, struct job *j)
{
	struct spawner_msg answer;
	struct err e = {0};
	int status, sys;

	spawner_msg_init(&answer, SPAWNER_KEPT, j->id);
	status = job_finish(s, j, NULL, NULL);
	sys = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
	upper_kick(s); /* of a volume what was in it, perhaps */
	if (sys == ENOENT)
		err_set(&e, ERR_NOT_FOUND, "there is none of that name");
	else if (sys == EWOULDBLOCK)
		err_set(&e, ERR_CONFLICT, "a container that runs has it");
	else if (sys == EFBIG)
		err_set(&e, ERR_LIMIT, "it is longer than %d bytes", SECRET_MAX_BYTES);
	else if (sys)
		err_sys(&e, sys, "it is not kept");
	if (sys)
		verbs_send_err(s, SPAWNER_KEPT, answer.id, &e);
	else
		verbs_send(s, &answer, NULL, 0);
}
