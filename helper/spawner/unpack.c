/* SPDX-License-Identifier: Apache-2.0 */
/* tandem-unpack: one short-lived process per archive, as tandemd's user, with nothing but three descriptors. */
#include "spawner.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "base/clock.h"
#include "base/log.h"

#define UNPACK_TIME_US	    60000000
#define UNPACK_CPU_S	    60
#define UNPACK_MEMORY_BYTES (1ull << 30)

#if defined(__SANITIZE_ADDRESS__)
#define UNPACK_CONFINED 0 /* shadow memory and the leak checker */
#else
#define UNPACK_CONFINED 1
#endif

static int bound(const struct spawner_msg *m, struct err *e)
{
	struct rlimit cpu = {UNPACK_CPU_S, UNPACK_CPU_S}, as = {UNPACK_MEMORY_BYTES, UNPACK_MEMORY_BYTES},
		      core = {0, 0};
	struct rlimit size = {m->u.unpack.max_bytes, m->u.unpack.max_bytes};

	if (setrlimit(RLIMIT_CPU, &cpu) < 0 || setrlimit(RLIMIT_CORE, &core) < 0 ||
	    setrlimit(RLIMIT_FSIZE, &size) < 0 || (UNPACK_CONFINED && setrlimit(RLIMIT_AS, &as) < 0))
		return err_sys(e, errno, "limit tandem-unpack");
	return 0;
}

static void child(const struct spawner *s, const struct spawner_msg *m, int archive, int dir, int result)
	__attribute__((noreturn));
static void child(const struct spawner *s, const struct spawner_msg *m, int archive, int dir, int result)
{
	char name[sizeof(m->u.unpack.name)], max_bytes[24], max_files[24];
	char *argv[] = {"tandem-unpack", name, max_bytes, max_files, NULL}, *envp[] = {"LANG=C.UTF-8", NULL};
	int a = fcntl(archive, F_DUPFD_CLOEXEC, 16), d = fcntl(dir, F_DUPFD_CLOEXEC, 16),
	    r = fcntl(result, F_DUPFD_CLOEXEC, 16);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct err e = {0};
	sigset_t set;

	sigemptyset(&set);
	signal(SIGPIPE, SIG_DFL); /* ignoring it would be inherited */
	sigprocmask(SIG_SETMASK, &set, NULL);
	memcpy(name, m->u.unpack.name, sizeof(name));
	snprintf(max_bytes, sizeof(max_bytes), "%" PRIu64, m->u.unpack.max_bytes);
	snprintf(max_files, sizeof(max_files), "%" PRIu64, m->u.unpack.max_files);
	umask(022);
	if (a < 0 || d < 0 || r < 0 || null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(a, 3) < 0 ||
	    dup2(d, 4) < 0 || dup2(r, 5) < 0)
		err_sys(&e, errno, "place descriptors");
	else if (chdir(s->config.libexec_dir) < 0) /* as root: see daemon.c */
		err_sys(&e, errno, "enter %s", s->config.libexec_dir);
	else if (bound(m, &e) == 0 && priv_become(s->config.daemon_uid, s->config.daemon_gid, &e) == 0 &&
		 (!UNPACK_CONFINED || priv_filter_unpack(&e) == 0)) {
		execve("tandem-unpack", argv, envp);
		err_sys(&e, errno, "execute tandem-unpack in %s", s->config.libexec_dir);
	}
	log_error("unpack", "%s", e.text);
	_exit(127);
}

static bool name_ok(const char *n)
{
	size_t len = strspn(n, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-.");

	return len && !n[len] && n[0] != '.' && n[0] != '-';
}

int unpack_start(struct spawner *s, const struct spawner_msg *m, int archive, int dir, struct err *e)
{
	struct clone_args a = {.flags = CLONE_NEWNET | CLONE_NEWIPC | CLONE_PIDFD, .exit_signal = SIGCHLD};
	struct unpack_job *j = NULL;
	unsigned slot;
	int p[2], pidfd = -1;
	pid_t pid;

	for (slot = 0; slot < UNPACK_MAX && !j; slot++)
		if (!s->job[slot].id)
			j = &s->job[slot];
	if (!j)
		return err_set(e, ERR_UNAVAILABLE, "%d archives are being unpacked already", UNPACK_MAX);
	slot--;
	if (!m->id || !name_ok(m->u.unpack.name))
		return err_set(e, ERR_INVALID, "the new directory's name is not acceptable");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p) < 0)
		return err_sys(e, errno, "make a socket pair");
	a.pidfd = (uint64_t)(uintptr_t)&pidfd;
	pid = (pid_t)syscall(SYS_clone3, &a, sizeof(a));
	if (pid == 0)
		child(s, m, archive, dir, p[1]);
	close(p[1]);
	if (pid < 0) {
		close(p[0]);
		return err_sys(e, errno, "fork tandem-unpack");
	}
	*j = (struct unpack_job){m->id, j->gen + 1, pid, pidfd, p[0], clock_now_us() + UNPACK_TIME_US};
	/* One watch: the result's socket is readable with the answer, and closed when there will be none. */
	if (watch_add(s, j->result, WATCH_UNPACK, slot, j->gen) < 0)
		kill(pid, SIGKILL);
	return 0;
}

static void finish(struct spawner *s, struct unpack_job *j, struct spawner_msg *answer, const struct err *e)
{
	int status = 0;

	(void)syscall(SYS_pidfd_send_signal, j->pidfd, SIGKILL, NULL,
		      0); /* it has answered: nothing that it does now counts */
	while (waitpid(j->pid, &status, 0) < 0 && errno == EINTR)
		;
	close(j->pidfd);
	watch_close(s, &j->result);
	if (answer)
		verbs_send(s, answer, NULL, 0);
	else if (e)
		verbs_send_err(s, SPAWNER_UNPACKED, j->id, e);
	j->id = 0;
}

/* tandem-unpack has read a hostile archive and may be its puppet: only the two numbers and the error are taken from its
 * answer. */
void unpack_event(struct spawner *s, unsigned slot)
{
	struct unpack_job *j = &s->job[slot];
	struct spawner_msg said, answer;
	struct err e = {0};
	ssize_t got = recv(j->result, &said, sizeof(said), MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0 || spawner_msg_check(&said, (size_t)got, &e) < 0 || said.verb != SPAWNER_UNPACKED) {
		err_set(&e, ERR_CORRUPT, "the archive could not be unpacked: tandem-unpack died");
		finish(s, j, NULL, &e);
		return;
	}
	spawner_msg_init(&answer, SPAWNER_UNPACKED, j->id);
	answer.err = said.err;
	answer.u.unpack.bytes = said.u.unpack.bytes;
	answer.u.unpack.files = said.u.unpack.files;
	memcpy(answer.text, said.text, sizeof(answer.text));
	finish(s, j, &answer, NULL);
}

void unpack_kill_all(struct spawner *s)
{
	for (unsigned i = 0; i < UNPACK_MAX; i++)
		if (s->job[i].id)
			finish(s, &s->job[i], NULL, NULL);
}

int64_t unpack_next_deadline_us(const struct spawner *s)
{
	int64_t first = INT64_MAX;

	for (unsigned i = 0; i < UNPACK_MAX; i++)
		if (s->job[i].id && s->job[i].deadline_us < first)
			first = s->job[i].deadline_us;
	return first;
}

void unpack_expire(struct spawner *s, int64_t now_us)
{
	struct err e = {0};

	err_set(&e, ERR_TIMEOUT, "unpacking the archive took longer than %d s", UNPACK_TIME_US / 1000000);
	for (unsigned i = 0; i < UNPACK_MAX; i++)
		if (s->job[i].id && s->job[i].deadline_us <= now_us)
			finish(s, &s->job[i], NULL, &e);
}
