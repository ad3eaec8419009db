/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program in a container as if it were ours: that of a task, or a further one (exec). One connection brings what it
 * says; a thread of its own takes what is typed, signals and the terminal's size there. When the daemon goes away under
 * us, a task goes on: we attach again. A further program ends with the daemon that started it.
 */
#include "cli/attach.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <time.h>

#define FRAME_BYTES 5
#define FRAME_MAX   (1 << 24)
#define PIECE_BYTES 32768
#define AGAIN_MS    100
#define AGAIN_TRIES 300 /* so long an upgrade, or a crash and what follows, may take */

/* Without a word about what goes wrong. -1: no daemon answers. */
int attach_ask(struct attach *r, const char *method, const char *target, struct str body, struct http_answer *a)
{
	struct err e = {0};
	auto_close int fd = http_connect_unix(r->c->sock, &e);

	return fd < 0 ? -1 : http_call(fd, method, target, NULL, body, 0, a, &e);
}

static void put_target(const struct attach *r, const char *what, struct buf *out)
{
	call_target(out, "/v1/tasks/", r->id, what);
	if (r->exec)
		call_query_int(out, "exec", r->exec);
}

int attach_tell(struct attach *r, const char *method, const char *what, struct str body)
{
	auto_(http_answer_done) struct http_answer a = {0};
	auto_buf target = {0};

	put_target(r, what, &target);
	return attach_ask(r, method, target.p, body, &a) < 0 ? -1 : a.status;
}

/* ---- what it says ---- */

static void write_all(int fd, struct str s)
{
	while (s.n) {
		ssize_t n = write(fd, s.p, s.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		s.p += n, s.n -= (size_t)n;
	}
}

static void ended(struct attach *r, struct str text)
{
	auto_json j = json_parse(text, NULL);
	auto_free char *reason = cli_clean(str_dup(json_get_str(j, "reason")));

	r->over = true;
	r->exit = (int)json_get_int(j, "exit_code", ATTACH_FAILED);
	if (r->raw)
		tcsetattr(0, TCSADRAIN, &r->before);
	if (!json_get(j, "started") || json_get_bool(j, "oom", false))
		cli_failf("%s", reason);
}

static int on_piece(void *arg, int status, struct str piece)
{
	struct attach *r = arg;

	if (status != 200) {
		r->gone = status == 404;
		return 1;
	}
	buf_addstr(&r->frames, piece);
	while (r->frames.n >= FRAME_BYTES && !r->over) {
		const unsigned char *h = (const unsigned char *)r->frames.p;
		size_t n = h[1] | (size_t)h[2] << 8 | (size_t)h[3] << 16 | (size_t)h[4] << 24;
		struct str text = {r->frames.p + FRAME_BYTES, n};

		if (n > FRAME_MAX)
			return 1;
		if (r->frames.n - FRAME_BYTES < n)
			return 0;
		if (*h == 'x')
			ended(r, text);
		else
			write_all(*h == 'e' ? 2 : 1, text);
		buf_drop(&r->frames, FRAME_BYTES + n);
	}
	return r->over;
}

static void hear(struct attach *r)
{
	const struct timespec pause = {.tv_nsec = AGAIN_MS * 1000000l};
	auto_buf target = {0};

	put_target(r, "/attach", &target);
	for (int tries = 0; !r->over && !r->gone && tries < AGAIN_TRIES; tries++) {
		struct err e = {0};
		auto_close int fd = http_connect_unix(r->c->sock, &e);

		buf_clear(&r->frames);
		if (fd >= 0)
			(void)http_call_stream(fd, "GET", target.p, NULL, STR_NULL, on_piece, r, &e);
		if (!r->over)
			(void)nanosleep(&pause, NULL);
	}
}

/* ---- what it is told ---- */

static void on_signal(struct attach *r)
{
	struct signalfd_siginfo si;
	struct winsize size;
	char what[64];

	if (read(r->signals, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo != SIGWINCH) {
		snprintf(what, sizeof(what), "/signal?signal=%u", si.ssi_signo);
		if (attach_tell(r, "POST", what, STR_NULL) >= 0)
			return;
		/* Nobody is there who could pass it on. */
		if (r->raw)
			tcsetattr(0, TCSADRAIN, &r->before);
		_exit(ATTACH_FAILED);
	}
	if (!r->tty || ioctl(1, TIOCGWINSZ, &size) < 0)
		return;
	snprintf(what, sizeof(what), "/resize?rows=%u&cols=%u", size.ws_row, size.ws_col);
	(void)attach_tell(r, "POST", what, STR_NULL);
}

/* false: there is no more to send. */
static bool on_typed(struct attach *r)
{
	char text[PIECE_BYTES];
	ssize_t n = read(0, text, sizeof(text));

	if (n < 0 && errno == EINTR)
		return true;
	if (n <= 0) {
		(void)attach_tell(r, "POST", "/stdin?eof=1", STR_NULL);
		return false;
	}
	for (int tries = 0; tries < AGAIN_TRIES; tries++) {
		int status = attach_tell(r, "POST", "/stdin", (struct str){text, (size_t)n});

		if (status >= 0)
			return status < 400;
		(void)poll(NULL, 0, AGAIN_MS);
	}
	return false;
}

static void *talk(void *arg)
{
	struct attach *r = arg;
	struct pollfd p[3] = {{.fd = r->wake[0], .events = POLLIN},
			      {.fd = r->signals, .events = POLLIN},
			      {.fd = r->interactive ? 0 : -1, .events = POLLIN}};

	for (;;) {
		if (poll(p, 3, -1) < 0 && errno != EINTR)
			return NULL;
		if (p[0].revents)
			return NULL;
		if (p[1].revents)
			on_signal(r);
		if (p[2].revents && !on_typed(r))
			p[2].fd = -1;
	}
}

int attach(struct attach *r)
{
	static const int passed[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH};
	struct termios raw;
	pthread_t talker;
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(passed); i++)
		sigaddset(&set, passed[i]);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	r->signals = signalfd(-1, &set, SFD_CLOEXEC);
	if (r->signals < 0 || pipe2(r->wake, O_CLOEXEC) < 0)
		return cli_failf("signals: %s", strerror(errno)), ATTACH_FAILED;
	if (r->tty && r->interactive && tcgetattr(0, &r->before) == 0) {
		raw = r->before;
		cfmakeraw(&raw);
		r->raw = tcsetattr(0, TCSADRAIN, &raw) == 0;
	}
	if (pthread_create(&talker, NULL, talk, r))
		return cli_failf("a thread could not be made"), ATTACH_FAILED;
	hear(r);
	close(r->wake[1]);
	pthread_join(talker, NULL);
	if (r->raw)
		tcsetattr(0, TCSADRAIN, &r->before);
	buf_done(&r->frames);
	if (r->gone)
		return cli_failf("%s is not known to the daemon any more", r->exec ? "the program" : "the task"),
		       ATTACH_FAILED;
	if (!r->over)
		return cli_failf("the daemon does not answer any more; the container %s may still run", r->id),
		       ATTACH_FAILED;
	return r->exit;
}
