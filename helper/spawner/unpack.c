/* SPDX-License-Identifier: Apache-2.0 */
/* tandem-unpack: one short-lived process per archive, with nothing but three descriptors. */
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
#include "base/io.h"
#include "base/log.h"

#define UNPACK_MAX	    16
#define UNPACK_TIME_US	    60000000
#define LAYER_TIME_US	    1200000000
#define UNPACK_CPU_S	    60
#define LAYER_CPU_S	    920
#define UNPACK_MEMORY_BYTES (1ull << 30)

#if defined(__SANITIZE_ADDRESS__)
#define UNPACK_CONFINED 0 /* shadow memory and the leak checker */
#else
#define UNPACK_CONFINED 1
#endif

static int bound(const struct spawner_msg *m, struct err *e)
{
	rlim_t cpu_s = m->u.unpack.how == UNPACK_CODE ? UNPACK_CPU_S : LAYER_CPU_S;
	struct rlimit cpu = {cpu_s, cpu_s}, as = {UNPACK_MEMORY_BYTES, UNPACK_MEMORY_BYTES}, core = {0, 0};
	struct rlimit size = {m->u.unpack.max_bytes, m->u.unpack.max_bytes};

	if (setrlimit(RLIMIT_CPU, &cpu) < 0 || setrlimit(RLIMIT_CORE, &core) < 0 ||
	    setrlimit(RLIMIT_FSIZE, &size) < 0 || (UNPACK_CONFINED && setrlimit(RLIMIT_AS, &as) < 0))
		return err_sys(e, errno, "limit tandem-unpack");
	return 0;
}

struct start { /* what the child needs, all of it opened before */
	const struct spawner *s;
	const struct spawner_msg *m;
	int archive, dir, result, libexec, parents; /* parents: the other end of result */
};

static int become(const struct start *x, struct err *e)
{
	char go;

	close(x->parents); /* that the parent dies is then told */

	if (x->m->u.unpack.how == UNPACK_CODE)
		return priv_become(x->s->config.daemon_uid, x->s->config.daemon_gid, e);
	if (recv(x->result, &go, 1, 0) != 1)
		return err_set(e, ERR_CANCELED, "the id maps did not come");
	return priv_become_layer_root(e);
}

static void child(const struct start *x) __attribute__((noreturn));
static void child(const struct start *x)
{
	static const char *const how[UNPACK_N] = {[UNPACK_LAYER] = "layer", [UNPACK_REMOVE] = "remove"};
	const struct spawner_msg *m = x->m;
	char name[sizeof(m->u.unpack.name)], max_bytes[24], max_files[24], mode[8] = "";
	char *argv[] = {"tandem-unpack", name, max_bytes, max_files, how[m->u.unpack.how] ? mode : NULL, NULL};
	char *envp[] = {"LANG=C.UTF-8", NULL};
	int a = fcntl(x->archive, F_DUPFD_CLOEXEC, 16), d = fcntl(x->dir, F_DUPFD_CLOEXEC, 16),
	    r = fcntl(x->result, F_DUPFD_CLOEXEC, 16);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct err e = {0};
	sigset_t set;

	sigemptyset(&set);
	signal(SIGPIPE, SIG_DFL); /* ignoring it would be inherited */
	sigprocmask(SIG_SETMASK, &set, NULL);
	memcpy(name, m->u.unpack.name, sizeof(name));
	snprintf(max_bytes, sizeof(max_bytes), "%" PRIu64, m->u.unpack.max_bytes);
	snprintf(max_files, sizeof(max_files), "%" PRIu64, m->u.unpack.max_files);
	snprintf(mode, sizeof(mode), "%s", how[m->u.unpack.how] ? how[m->u.unpack.how] : "");
	umask(022);
	/* The directory was opened as root: it may lie below a folder that is closed to others (daemon.c). */
	if (fchdir(x->libexec) < 0)
		err_sys(&e, errno, "enter %s", x->s->config.libexec_dir);
	else if (become(x, &e) < 0)
		;
	else if (a < 0 || d < 0 || r < 0 || null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(a, 3) < 0 ||
		 dup2(d, 4) < 0 || dup2(r, 5) < 0)
		err_sys(&e, errno, "place descriptors");
	else if (bound(m, &e) == 0 && (!UNPACK_CONFINED || priv_filter_unpack(&e) == 0)) {
		execve("tandem-unpack", argv, envp);
		err_sys(&e, errno, "execute tandem-unpack in %s", x->s->config.libexec_dir);
	}
	log_error("unpack", "%s", e.text);
	_exit(127);
}

static int write_map(pid_t pid, const char *which, uint32_t daemon_id, struct err *e)
{
	char path[40], text[96];
	int fd, n;

	/* skopeo's id is the one behind LAYER_IDS: what it has left is removed by the same hand. */
	n = snprintf(text, sizeof(text), "0 %u %u\n%u %u 1\n", LAYER_ID_BASE, LAYER_IDS + 1, LAYER_IDS + 1, daemon_id);
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, which);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, (size_t)n) != n) {
		err_sys(e, errno, "write %s of tandem-unpack", which);
		close_p(&fd);
		return -1;
	}
	close(fd);
	return 0;
}

static bool name_ok(const char *n)
{
	size_t len = strspn(n, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-.");

	return len && !n[len] && n[0] != '.' && n[0] != '-';
}

int unpack_start(struct spawner *s, const struct spawner_msg *m, int archive, int dir, struct err *e)
{
	struct clone_args a = {.flags = CLONE_NEWNET | CLONE_NEWIPC | CLONE_PIDFD, .exit_signal = SIGCHLD};
	struct start x = {s, m, archive, dir, -1, -1, -1};
	auto_close int libexec = -1;
	struct job *j;
	int p[2];
	pid_t pid;

	if (!m->id || !name_ok(m->u.unpack.name) || m->u.unpack.how >= UNPACK_N)
		return err_set(e, ERR_INVALID, "the new directory's name is not acceptable");
	j = job_free_slot(s, SPAWNER_UNPACKED, UNPACK_MAX, e);
	if (!j)
		return err_wrap(e, "unpack");
	x.libexec = libexec = open(s->config.libexec_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (libexec < 0)
		return err_sys(e, errno, "open %s", s->config.libexec_dir);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p) < 0)
		return err_sys(e, errno, "make a socket pair");
	j->result = x.parents = p[0], x.result = p[1];
	if (m->u.unpack.how != UNPACK_CODE)
		a.flags |= CLONE_NEWUSER;
	a.pidfd = (uint64_t)(uintptr_t)&j->pidfd;
	pid = (pid_t)syscall(SYS_clone3, &a, sizeof(a));
	if (pid == 0)
		child(&x);
	if (pid < 0)
		err_sys(e, errno, "fork tandem-unpack");
	close(p[1]);
	if (pid < 0) {
		close(p[0]);
		return -1;
	}
	if (m->u.unpack.how != UNPACK_CODE &&
	    (write_map(pid, "uid_map", s->config.daemon_uid, e) < 0 ||
	     write_map(pid, "gid_map", s->config.daemon_gid, e) < 0 || send(j->result, "", 1, MSG_NOSIGNAL) != 1)) {
		log_error("unpack", "%s", e->text);
		kill(pid, SIGKILL); /* the end of its socket is told as the end of any */
	}
	job_begin(s, j, m->id, pid, m->u.unpack.how == UNPACK_CODE ? UNPACK_TIME_US : LAYER_TIME_US, WATCH_UNPACK);
	return 0;
}

/* tandem-unpack has read a hostile archive and may be its puppet: only the two numbers and the error are taken from its
 * answer. */
void unpack_event(struct spawner *s, struct job *j)
{
	struct spawner_msg said, answer;
	struct err e = {0};
	ssize_t got = recv(j->result, &said, sizeof(said), MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0 || spawner_msg_check(&said, (size_t)got, &e) < 0 || said.verb != SPAWNER_UNPACKED) {
		err_set(&e, ERR_CORRUPT, "the archive could not be unpacked: tandem-unpack died");
		job_finish(s, j, NULL, &e);
		return;
	}
	spawner_msg_init(&answer, SPAWNER_UNPACKED, j->id);
	answer.err = said.err;
	answer.u.unpack.bytes = said.u.unpack.bytes;
	answer.u.unpack.files = said.u.unpack.files;
	memcpy(answer.text, said.text, sizeof(answer.text));
	job_finish(s, j, &answer, NULL);
}
