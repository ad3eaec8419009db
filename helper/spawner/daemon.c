/* SPDX-License-Identifier: Apache-2.0 */
/* Starting tandemd, noticing its death, starting the next one. */
#include "spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"

#define SEND_TIMEOUT_S 30
#define QUICK_DEATH_US 1000000
#define BACKOFF_MAX_US 5000000
#define ENV_MAX	       32

#if defined(__SANITIZE_ADDRESS__)
#define DAEMON_FILTER 0 /* the leak checker wants ptrace */
#else
#define DAEMON_FILTER 1
#endif

/* The operator's shell may hold keys and tokens: tandemd gets only what it is meant to. */
static void pick_env(char *out[ENV_MAX])
{
	static const char *const keep[] = {
		"TANDEM_", "OTEL_", "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "LSAN_OPTIONS=", "TZ=", "NO_COLOR="};
	static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		    lang[] = "LANG=C.UTF-8";
	unsigned n = 0;

	out[n++] = path;
	out[n++] = lang;
	for (char **e = environ; *e && n < ENV_MAX - 1; e++)
		for (unsigned i = 0; i < ARRAY_SIZE(keep) && n < ENV_MAX - 1; i++)
			if (!strncmp(*e, keep[i], strlen(keep[i])))
				out[n++] = *e;
	out[n] = NULL;
}

static void child(const struct spawner *s, int sock) __attribute__((noreturn));
static void child(const struct spawner *s, int sock)
{
	char *argv[] = {"tandemd", NULL}, *envp[ENV_MAX];
	struct err e = {0};
	sigset_t none;
	int fd = fcntl(sock, F_DUPFD_CLOEXEC, 16), null = open("/dev/null", O_RDWR | O_CLOEXEC);
	pid_t parent = getppid();

	sigemptyset(&none);
	signal(SIGPIPE, SIG_DFL); /* ignoring it would be inherited */
	sigprocmask(SIG_SETMASK, &none, NULL);
	pick_env(envp);
	umask(027);
	if (fd < 0 || null < 0 || dup2(null, 0) < 0 || dup2(fd, 3) < 0)
		err_sys(&e, errno, "place descriptors");
	else if (chdir(s->config.libexec_dir) <
		 0) /* as root: it may lie below a folder that is closed to others, /root for one */
		err_sys(&e, errno, "enter %s", s->config.libexec_dir);
	else if (priv_become(s->config.daemon_uid, s->config.daemon_gid, &e) == 0 && getppid() == parent) {
		if (!DAEMON_FILTER || priv_filter_daemon(&e) == 0) {
			execve("tandemd", argv, envp);
			err_sys(&e, errno, "execute tandemd in %s", s->config.libexec_dir);
		}
	}
	log_error("daemon", "%s", e.text);
	_exit(127);
}

int daemon_start(struct spawner *s, struct err *e)
{
	struct timeval limit = {.tv_sec = SEND_TIMEOUT_S};
	int p[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p) < 0)
		return err_sys(e, errno, "make tandemd's socket");
	(void)setsockopt(p[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	pid = fork();
	if (pid == 0)
		child(s, p[1]);
	close(p[1]);
	if (pid < 0) {
		close(p[0]);
		return err_sys(e, errno, "fork tandemd");
	}
	s->daemon_pid = pid;
	s->daemon_sock = p[0];
	s->daemon_pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	s->daemon_gen++;
	s->daemon_started_us = clock_now_us();
	s->daemon_start_at_us = 0;
	s->daemon_ready = false;
	if (s->daemon_pidfd < 0 || watch_add(s, s->daemon_sock, WATCH_DAEMON_SOCK, 0, s->daemon_gen) < 0 ||
	    watch_add(s, s->daemon_pidfd, WATCH_DAEMON_PID, 0, s->daemon_gen) < 0) {
		err_sys(e, errno, "watch tandemd");
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		s->daemon_pid = 0; /* or nobody would ever hear of its end */
		watch_close(s, &s->daemon_sock);
		watch_close(s, &s->daemon_pidfd);
		return -1;
	}
	log_debug("daemon", "tandemd started pid=%d", (int)pid);
	return 0;
}

void daemon_send_config(struct spawner *s)
{
	struct spawner_msg m;
	int fds[SL_N];
	unsigned n = 0;

	spawner_msg_init(&m, SPAWNER_CONFIG, 0);
	m.u.config = s->config;
	m.u.config.has = 0;
	strlcpy_(m.text, s->egress.why, sizeof(m.text));
	for (unsigned i = 0; i < SL_N; i++) {
		if (s->listener[i] < 0)
			continue;
		m.u.config.has |= (uint8_t)(1u << i);
		fds[n++] = s->listener[i];
	}
	verbs_send(s, &m, fds, n);
}

void daemon_lost(struct spawner *s, const char *why)
{
	if (s->daemon_sock < 0)
		return;
	if (!s->quit && !s->upgrading)
		log_error("daemon", "ending tandemd: %s", why);
	watch_close(s, &s->daemon_sock);
	/* Its death arrives by pidfd. On an orderly way out it may have closed the socket first. */
	if (s->daemon_pid && !s->quit && !s->upgrading)
		kill(s->daemon_pid, SIGKILL);
}

static int64_t backoff_us(unsigned quick_deaths)
{
	int64_t us = quick_deaths < 2 ? 0 : 100000;

	for (unsigned i = 2; i < quick_deaths && us < BACKOFF_MAX_US; i++)
		us *= 2;
	return us > BACKOFF_MAX_US ? BACKOFF_MAX_US : us;
}

/* What it may die of decides: an orderly end, a refusal at its first start, or a crash that the next one repairs. */
void daemon_gone(struct spawner *s)
{
	int64_t now = clock_now_us();
	int status = 0;
	pid_t got = waitpid(s->daemon_pid, &status, WNOHANG);

	if (got == 0)
		return;
	s->daemon_pid = 0;
	watch_close(s, &s->daemon_pidfd);
	watch_close(s, &s->daemon_sock);
	job_kill_all(s);
	sandbox_forget_making(s);
	if (s->upgrading)
		return;
	if (s->draining || s->quit || !s->notified) {
		/* It never was ready, or was asked to go: when it exited it has said why itself. */
		if (WIFSIGNALED(status))
			log_error("daemon", "tandemd was ended by signal %d %s", WTERMSIG(status),
				  s->draining ? "while it drained" : "before it was ready");
		if (!s->quit && WIFEXITED(status) && (WEXITSTATUS(status) || s->draining))
			s->exit_code = WEXITSTATUS(status);
		else if (!s->quit)
			s->exit_code = 1;
		s->quit = true;
		return;
	}
	s->daemon_quick_deaths = now - s->daemon_started_us < QUICK_DEATH_US ? s->daemon_quick_deaths + 1 : 0;
	s->daemon_start_at_us = now + backoff_us(s->daemon_quick_deaths);
	log_error("daemon", "tandemd is gone (%s %d), starting it again in %lld ms",
		  WIFSIGNALED(status) ? "signal" : "exit", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
		  (long long)((s->daemon_start_at_us - now) / 1000));
}
