/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run: a container, as if its program were ours. One connection brings what it says; a thread of its own takes what is
 * typed, signals and the terminal's size there. When the daemon goes away under us, it goes on: we attach again.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include "cli/call.h"
#include "cli/verbs.h"
#include "json/write.h"

#define FAILED	    125 /* as docker has it: the program itself was never asked */
#define FRAME_BYTES 5
#define FRAME_MAX   (1 << 24)
#define PIECE_BYTES 32768
#define AGAIN_MS    100
#define AGAIN_TRIES 300 /* so long an upgrade, or a crash and what follows, may take */

struct run_opts {
	struct opt_list env;
	bool interactive, tty, detach, read_only, keep;
	int64_t memory_mb;
	const char *cpu, *user, *workdir, *name, *entrypoint;
};
#define AT(f) offsetof(struct run_opts, f)
const struct opt run_options[] = {
	{'e', "env", OPT_LIST, "K=V", "a variable of its environment; K alone takes the caller's", AT(env)},
	{'i', "interactive", OPT_FLAG, NULL, "what is typed or piped here is its standard input", AT(interactive)},
	{'t', "tty", OPT_FLAG, NULL, "it gets a terminal", AT(tty)},
	{'d', "detach", OPT_FLAG, NULL, "print its id and leave it running", AT(detach)},
	{'m', "memory", OPT_COUNT, "MB", "limit (1024)", AT(memory_mb)},
	{0, "cpu", OPT_TEXT, "N", "limit in processors, as 0.5 (none, and the weight of 0.25)", AT(cpu)},
	{0, "read-only", OPT_FLAG, NULL, "its root cannot be written", AT(read_only)},
	{'u', "user", OPT_TEXT, "USER[:GROUP]", "names of the image, or numbers", AT(user)},
	{'w', "workdir", OPT_TEXT, "DIR", "where it begins", AT(workdir)},
	{0, "entrypoint", OPT_TEXT, "PROGRAM", "instead of the image's; its command is left out too", AT(entrypoint)},
	{0, "name", OPT_TEXT, "NAME", "for ps, logs and stop", AT(name)},
	{0, "keep", OPT_FLAG, NULL, "ps and logs know it when it has ended, too", AT(keep)},
	{0},
};

struct run {
	struct cli *c;
	const struct run_opts *o;
	char id[64];
	struct buf frames; /* begun, not whole */
	bool over;
	int exit;
	int signals, wake[2];
	bool raw;
	struct termios before;
};

/* ---- asking ---- */

/* Without a word about what goes wrong. -1: no daemon answers. */
static int ask(struct run *r, const char *method, const char *target, struct str body, struct http_answer *a)
{
	struct err e = {0};
	auto_close int fd = http_connect_unix(r->c->sock, &e);

	return fd < 0 ? -1 : http_call(fd, method, target, NULL, body, 0, a, &e);
}

static int tell(struct run *r, const char *method, const char *what, struct str body)
{
	auto_(http_answer_done) struct http_answer a = {0};
	char target[160];

	snprintf(target, sizeof(target), "/v1/tasks/%s%s", r->id, what);
	return ask(r, method, target, body, &a) < 0 ? -1 : a.status;
}

static void put_env(struct jw *w, const struct opt_list *env)
{
	jw_obj(w, "env");
	for (unsigned i = 0; i < env->n; i++) {
		auto_free char *name = strndup(env->v[i], strcspn(env->v[i], "="));
		const char *value = strchr(env->v[i], '=') ? strchr(env->v[i], '=') + 1 : getenv(name);
		bool again = false;

		for (unsigned j = i + 1; j < env->n; j++) /* the last one counts */
			again |= !strncmp(env->v[j], name, strlen(name)) && strchr("=", env->v[j][strlen(name)]);
		if (value && !again)
			jw_strc(w, name, value);
	}
	jw_end(w, '}');
}

static void put_words(struct jw *w, const char *key, int n, char **words)
{
	jw_arr(w, key);
	for (int i = 0; i < n; i++)
		jw_strc(w, NULL, words[i]);
	jw_end(w, ']');
}

static void put_text(struct jw *w, const char *key, const char *text)
{
	if (text)
		jw_strc(w, key, text);
}

static void describe(const struct run_opts *o, int argc, char **argv, double cpu, struct buf *out)
{
	char *entry[] = {(char *)o->entrypoint};
	struct winsize size;
	struct jw w = jw_object(out);

	jw_strc(&w, "image", argv[0]);
	if (argc > 1)
		put_words(&w, "command", argc - 1, argv + 1);
	if (o->entrypoint)
		put_words(&w, "entrypoint", *o->entrypoint ? 1 : 0, entry);
	put_env(&w, &o->env);
	put_text(&w, "user", o->user);
	put_text(&w, "workdir", o->workdir);
	put_text(&w, "name", o->name);
	if (o->memory_mb)
		jw_int(&w, "memory_mb", o->memory_mb);
	if (o->cpu)
		jw_real(&w, "cpu", cpu);
	jw_bool(&w, "read_only", o->read_only);
	jw_bool(&w, "tty", o->tty);
	jw_bool(&w, "stdin", o->interactive);
	jw_bool(&w, "attach", !o->detach);
	if (o->tty && ioctl(1, TIOCGWINSZ, &size) == 0 && size.ws_row) {
		jw_int(&w, "rows", size.ws_row);
		jw_int(&w, "cols", size.ws_col);
	}
	jw_end(&w, '}');
}

static int refused(const struct http_answer *a)
{
	auto_json j = json_parse(buf_str(&a->body), NULL);
	struct str text = json_get_str(j, "error");

	cli_failf(STR_FMT, (int)text.n, text.p ? text.p : "");
	return FAILED;
}

/* An image that is not here is brought, once. */
static int create(struct run *r, const char *image, struct str body)
{
	for (bool pulled = false;; pulled = true) {
		auto_(http_answer_done) struct http_answer a = {0};
		auto_json j = NULL;

		if (ask(r, "POST", "/v1/tasks", body, &a) < 0)
			return cli_failf("no daemon answers at %s; start one with: sudo tandem serve --state %s",
					 r->c->sock, r->c->state),
			       FAILED;
		if (a.status == 404 && !pulled) {
			if (pull_reference(r->c, image, true) != CLI_OK)
				return FAILED;
			continue;
		}
		if (a.status >= 400)
			return refused(&a);
		j = json_parse(buf_str(&a.body), NULL);
		snprintf(r->id, sizeof(r->id), STR_FMT, STR_ARG(json_get_str(j, "id")));
		return 0;
	}
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

static void ended(struct run *r, struct str text)
{
	auto_json j = json_parse(text, NULL);
	auto_free char *reason = cli_clean(str_dup(json_get_str(j, "reason")));

	r->over = true;
	r->exit = (int)json_get_int(j, "exit_code", FAILED);
	if (r->raw)
		tcsetattr(0, TCSADRAIN, &r->before);
	if (!json_get_str(j, "started").n || json_get_bool(j, "oom", false))
		cli_failf("%s", reason);
}

static int on_piece(void *arg, int status, struct str piece)
{
	struct run *r = arg;

	if (status != 200)
		return 1;
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

static void hear(struct run *r)
{
	const struct timespec pause = {.tv_nsec = AGAIN_MS * 1000000l};
	char target[128];

	snprintf(target, sizeof(target), "/v1/tasks/%s/attach", r->id);
	for (int tries = 0; !r->over && tries < AGAIN_TRIES; tries++) {
		struct err e = {0};
		auto_close int fd = http_connect_unix(r->c->sock, &e);

		buf_clear(&r->frames);
		if (fd >= 0)
			(void)http_call_stream(fd, "GET", target, NULL, STR_NULL, on_piece, r, &e);
		if (!r->over)
			(void)nanosleep(&pause, NULL);
	}
}

/* ---- what it is told ---- */

static void on_signal(struct run *r)
{
	struct signalfd_siginfo si;
	struct winsize size;
	char what[64];

	if (read(r->signals, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo != SIGWINCH) {
		snprintf(what, sizeof(what), "/signal?signal=%u", si.ssi_signo);
		if (tell(r, "POST", what, STR_NULL) >= 0)
			return;
		/* Nobody is there who could pass it on. */
		if (r->raw)
			tcsetattr(0, TCSADRAIN, &r->before);
		_exit(FAILED);
	}
	if (!r->o->tty || ioctl(1, TIOCGWINSZ, &size) < 0)
		return;
	snprintf(what, sizeof(what), "/resize?rows=%u&cols=%u", size.ws_row, size.ws_col);
	(void)tell(r, "POST", what, STR_NULL);
}

/* false: there is no more to send. */
static bool on_typed(struct run *r)
{
	char text[PIECE_BYTES];
	ssize_t n = read(0, text, sizeof(text));

	if (n < 0 && errno == EINTR)
		return true;
	if (n <= 0) {
		(void)tell(r, "POST", "/stdin?eof=1", STR_NULL);
		return false;
	}
	for (int tries = 0; tries < AGAIN_TRIES; tries++) {
		int status = tell(r, "POST", "/stdin", (struct str){text, (size_t)n});

		if (status >= 0)
			return status < 400;
		(void)poll(NULL, 0, AGAIN_MS);
	}
	return false;
}

static void *talk(void *arg)
{
	struct run *r = arg;
	struct pollfd p[3] = {{.fd = r->wake[0], .events = POLLIN},
			      {.fd = r->signals, .events = POLLIN},
			      {.fd = r->o->interactive ? 0 : -1, .events = POLLIN}};

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

static int attach(struct run *r)
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
		return cli_failf("signals: %s", strerror(errno)), FAILED;
	if (r->o->tty && r->o->interactive && tcgetattr(0, &r->before) == 0) {
		raw = r->before;
		cfmakeraw(&raw);
		r->raw = tcsetattr(0, TCSADRAIN, &raw) == 0;
	}
	if (pthread_create(&talker, NULL, talk, r))
		return cli_failf("a thread could not be made"), FAILED;
	hear(r);
	close(r->wake[1]);
	pthread_join(talker, NULL);
	if (r->raw)
		tcsetattr(0, TCSADRAIN, &r->before);
	if (!r->over)
		return cli_failf("the daemon does not answer any more; the container %s may still run", r->id), FAILED;
	return r->exit;
}

int run_run(struct cli *c, int argc, char **argv)
{
	struct run_opts o = {0};
	struct run r = {.c = c, .o = &o, .exit = FAILED};
	auto_buf body = {0};
	double cpu = 0;
	char *end;
	int ret;

	if (!cli_options(c, &o, &argc, argv, 1, CLI_COMMAND))
		return c->exit == CLI_OK ? CLI_OK : FAILED;
	if (o.cpu) {
		cpu = strtod(o.cpu, &end);
		if (end == o.cpu || *end)
			return cli_usage(c, "--cpu takes a number like 0.5, not \"%s\"", o.cpu), FAILED;
	}
	if (o.tty && o.interactive && !isatty(0))
		return cli_failf("standard input is no terminal; leave -t out"), FAILED;
	describe(&o, argc, argv, cpu, &body);
	ret = create(&r, argv[0], buf_str(&body));
	if (ret)
		return ret;
	if (o.detach) {
		puts(r.id);
		return CLI_OK;
	}
	ret = attach(&r);
	buf_done(&r.frames);
	if (!o.keep && r.over)
		(void)tell(&r, "DELETE", "", STR_NULL);
	return ret;
}
