/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"
#include "base/enc.h"
#include "base/mem.h"
#include "base/rand.h"
#include "instance/env.h"
#include "instance/resolver.h"
#include "instance/rtapi.h"
#include "wire/fds.h"
#include "wire/frame.h"

#define TAG_RUNTIME	1
#define OUTPUT_PER_TURN (256 * 1024) /* a function that prints for ever must not hold the loop */

const char *const instance_state_name[INSTANCE_N] = {"init", "idle", "busy", "responded", "taking", "ending"};

struct instance {
	struct instance_host *host;
	const struct instance_events *ev;
	void *arg;
	uint64_t id;
	pid_t pid;
	struct sandbox_fds fds;
	struct revision *revision;
	enum instance_state state;
	bool frozen, told_broken, probing, restoring;
	int image; /* TAKING: the file, until it is tandem-init's */
	uint64_t image_max_bytes;
	uint32_t take_ms;
	uint8_t late;	 /* probing: type of the answer that ended, or 0 */
	uint32_t stream; /* of the event under way, or the last one */
	struct loop_fd *ctl_watch, *chan_watch, *log_watch;
	struct loop_defer defer; /* broken() that was found inside a call */
	struct err broken;
	struct buf out;	   /* what the runtime's socket did not take yet */
	struct buf answer; /* an answer of more than one frame */
	struct rtapi *rtapi;
	struct rtapi_info rtapi_info;
	struct http_listener *api, *api_tls, *creds;
	struct resolver *resolver;
	bool adopted;
	bool v1_cpu; /* SB_CPU holds nanoseconds, not cpu.stat */
	const char *version;
	char version_text[VERSION_TEXT], log_stream[64];
	struct buf start_text; /* INIT_START, built while the function is at hand */
	struct init_msg start_msg;
	size_t argv_bytes;		  /* of start_text; the environment follows */
	struct buf extensions;		  /* names, each NUL-terminated */
	unsigned n_extensions, n_leaving; /* leaving: told of the shutdown, and still there */
};

/* --- telling the owner --- */

static void tell_broken(void *arg)
{
	struct instance *i = arg;

	if (i->state != INSTANCE_ENDING)
		i->ev->broken(i->arg, &i->broken);
}

/* Remembers the first breakage and tells it from the loop: also found inside the owner's own call. */
static void broken(struct instance *i, const struct err *e)
{
	if (i->told_broken || i->state == INSTANCE_ENDING)
		return;
	i->told_broken = true;
	i->broken = *e;
	loop_fd_free(take_ptr(i->chan_watch));
	loop_defer(i->host->loop, &i->defer, tell_broken, i);
}

static void become_ready(struct instance *i)
{
	if (i->state != INSTANCE_INIT)
		return;
	instance_drain_output(i);
	i->state = INSTANCE_IDLE;
	i->ev->ready(i->arg);
}

/* Whether somebody hears of events over the Runtime API: the runtime itself, or extensions, also such inside of it. */
static bool rtapi_listens(const struct instance *i)
{
	return i->rtapi && (i->revision->kind == RUNTIME_PROVIDED || rtapi_has_extensions(i->rtapi));
}

/* last: the runtime ends, so nothing more may be given to it; its exit, or the deadline, ends the instance. */
static void tell_answer(struct instance *i, struct str body, bool is_error, bool last)
{
	bool listens = rtapi_listens(i);

	if (listens && i->revision->kind != RUNTIME_PROVIDED && !last)
		rtapi_runtime_done(i->rtapi);
	/* A provided runtime is idle when it asks for the next event, not when it has answered this one. */
	i->state = listens || last ? INSTANCE_RESPONDED : INSTANCE_IDLE;
	i->ev->answer(i->arg, body, is_error);
}

/* --- frames --- */

static void got_body(struct instance *i, const struct frame *f, struct str part)
{
	bool end = f->flags & FRAME_FLAG_END, last = f->flags & FRAME_FLAG_LAST;
	struct err e;

	if (i->answer.n + part.n > LIM_PAYLOAD_BYTES + 1024) {
		err_set(&e, ERR_CORRUPT, "runtime sent an answer of more than %d bytes", LIM_PAYLOAD_BYTES);
		broken(i, &e);
		return;
	}
	if (!end || i->answer.n)
		buf_addstr(&i->answer, part);
	if (!end)
		return;
	if (i->state != INSTANCE_BUSY || f->stream != i->stream) {
		buf_clear(&i->answer); /* of an event of the daemon before: its client is gone, but it happened */
		i->late = f->type;
		return;
	}
	if (i->answer.n) {
		struct buf whole = i->answer;

		i->answer = (struct buf){0};
		tell_answer(i, buf_str(&whole), f->type == FRAME_ERROR, last);
		buf_done(&whole);
	} else {
		tell_answer(i, part, f->type == FRAME_ERROR, last);
	}
}

/* --- images --- */

static int flush_out(struct instance *i, struct err *e);

static void tell_taken(struct instance *i, const struct init_snap *s)
{
	if (i->state != INSTANCE_TAKING)
		return;
	if (i->image >= 0)
		close(i->image);
	i->image = -1;
	instance_drain_output(i);
	i->ev->taken(i->arg, s);
}

static void PRINTF(2, 3) not_taken(struct instance *i, const char *fmt, ...)
{
	struct init_snap s = {0};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s.text, sizeof(s.text), fmt, ap);
	va_end(ap);
	tell_taken(i, &s);
}

/* The runtime has done what it wants to do before, and waits at the safe point. */
static void ask_take(struct instance *i)
{
	struct {
		struct init_msg m;
		struct init_take t;
	} msg = {.m = {.version = INIT_VERSION, .verb = INIT_TAKE, .tag = TAG_RUNTIME},
		 .t = {.max_bytes = i->image_max_bytes, .deadline_ms = i->take_ms}};
	int fd = take_fd(i->image);

	if (fds_send(i->fds.fd[SB_CTL], &msg, sizeof(msg), &fd, 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		not_taken(i, "tandem-init could not be asked: %s", strerror(errno));
	close(fd);
}

int instance_take(struct instance *i, int file, uint64_t max_bytes, uint32_t deadline_ms, struct err *e)
{
	struct frame f = {FRAME_SNAPSHOT, FRAME_FLAG_END, 0, 0};
	uint8_t head[FRAME_HEADER];

	i->image = fcntl(file, F_DUPFD_CLOEXEC, 3);
	if (i->image < 0)
		return err_sys(e, errno, "keep the image's file");
	i->image_max_bytes = max_bytes;
	i->take_ms = deadline_ms;
	i->state = INSTANCE_TAKING;
	frame_put(head, &f);
	buf_add(&i->out, head, sizeof(head));
	return flush_out(i, e);
}

/* The frame goes first and waits in the channel: the process finds it as soon as it runs again. */
int instance_restore(struct instance *i, int image, struct err *e)
{
	struct init_msg m = {.version = INIT_VERSION, .verb = INIT_RESTORE, .tag = TAG_RUNTIME, .keep_channel = true};
	struct str env = {i->start_text.p + i->argv_bytes, i->start_text.n - i->argv_bytes};
	struct frame f = {FRAME_RESTORED, FRAME_FLAG_END, 0, (uint32_t)env.n};
	uint8_t head[FRAME_HEADER];

	if (!i->start_text.n)
		return err_set(e, ERR_LIMIT, "environment of %s is too large", i->revision->name);
	frame_put(head, &f);
	buf_add(&i->out, head, sizeof(head));
	buf_addstr(&i->out, env);
	i->restoring = true;
	if (flush_out(i, e) < 0)
		return -1;
	if (fds_send(i->fds.fd[SB_CTL], &m, sizeof(m), &image, 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return err_sys(e, errno, "ask tandem-init to restore");
	buf_done(&i->start_text);
	return 0;
}

/* s is hostile, but for its text's end. */
static void got_snap(struct instance *i, const struct init_msg *m, const struct init_snap *s)
{
	if (m->verb == INIT_TAKEN && m->value)
		not_taken(i, "%s", s->text);
	else if (m->verb == INIT_TAKEN)
		tell_taken(i, s);
	else if (m->value <= 0 && i->restoring)
		i->ev->not_restored(i->arg, s->text);
}

static void got_frame(struct instance *i, const struct frame *f, struct str part)
{
	struct err e;

	switch (f->type) {
	case FRAME_HELLO:
		if (i->state != INSTANCE_INIT)
			break;
		if (i->probing)
			return; /* the daemon before did not live to see it; PING's answer comes next */
		if (i->rtapi)
			rtapi_runtime_done(i->rtapi); /* its ready() comes when the extensions are there too */
		else
			become_ready(i);
		return;
	case FRAME_PING:
		if (!i->probing)
			break;
		if (f->stream != i->stream)
			return; /* what the daemon before did not live to see */
		i->probing = false;
		buf_clear(&i->answer);
		if (i->late && part.n)
			i->ev->late(i->arg, part, i->late == FRAME_ERROR);
		become_ready(i);
		return;
	case FRAME_SNAPSHOT:
		if (i->state != INSTANCE_TAKING || i->image < 0)
			break;
		ask_take(i);
		return;
	case FRAME_RESTORED:
		if (!i->restoring)
			break;
		i->restoring = false;
		become_ready(i);
		return;
	case FRAME_ERROR:
		if (i->state == INSTANCE_TAKING) {
			not_taken(i, "a hook failed: %.*s", (int)part.n, part.p);
			return;
		}
		if (i->state == INSTANCE_INIT && f->stream == 0 && !i->probing) {
			instance_drain_output(i);
			i->ev->init_failed(i->arg, part);
			return;
		}
		got_body(i, f, part);
		return;
	case FRAME_DATA:
		if (i->state == INSTANCE_BUSY || i->probing) {
			got_body(i, f, part);
			return;
		}
		break;
	}
	err_set(&e, ERR_CORRUPT, "runtime sent frame type %u for stream %u while %s", f->type, f->stream,
		instance_state_name[i->state]);
	broken(i, &e);
}

/*
 * Takes whole frames only: what is peeked but not whole stays in the socket, so that the successor of a killed daemon
 * starts at a boundary (wire/frame.h). Returns bytes consumed, 0 for none, -1 when the instance broke or is gone.
 */
static ssize_t take_frames(struct instance *i)
{
	char *p = i->host->scratch;
	ssize_t n = recv(i->fds.fd[SB_CHAN], p, INSTANCE_SCRATCH, MSG_PEEK | MSG_DONTWAIT);
	struct frame f;
	struct err e;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		loop_fd_free(take_ptr(i->chan_watch)); /* the exit itself is told by tandem-init */
		return -1;
	}
	if (n < FRAME_HEADER)
		return 0;
	if (frame_get((const uint8_t *)p, &f, &e) < 0) {
		broken(i, &e);
		return -1;
	}
	if ((size_t)n - FRAME_HEADER < f.length)
		return 0;
	if (recv(i->fds.fd[SB_CHAN], p, FRAME_HEADER + f.length, MSG_DONTWAIT) != (ssize_t)(FRAME_HEADER + f.length)) {
		err_sys(&e, errno, "read frame");
		broken(i, &e);
		return -1;
	}
	got_frame(i, &f, (struct str){p + FRAME_HEADER, f.length});
	return (ssize_t)(FRAME_HEADER + f.length) < n ? n : 0;
}

static int flush_out(struct instance *i, struct err *e)
{
	while (i->out.n) {
		ssize_t n = send(i->fds.fd[SB_CHAN], i->out.p, i->out.n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return err_sys(e, errno, "send event");
		buf_drop(&i->out, (size_t)n);
	}
	if (i->chan_watch)
		loop_fd_want(i->chan_watch, i->out.n ? LOOP_READ | LOOP_WRITE : LOOP_READ);
	return 0;
}

static void on_chan(void *arg, int events)
{
	struct instance *i = arg;
	struct err e;

	if (events & LOOP_WRITE && flush_out(i, &e) < 0) {
		broken(i, &e);
		return;
	}
	if (events & LOOP_READ)
		take_frames(i); /* one frame a turn; the watch is level-triggered. It may have freed the instance. */
}

static void put_u16str(struct buf *b, struct str s)
{
	uint16_t n = (uint16_t)s.n;

	buf_add(b, &n, 2);
	buf_addstr(b, s);
}

/* The rest of a payload that does not fit into the EVENT frame. */
static void queue_data(struct instance *i, struct str rest)
{
	uint8_t head[FRAME_HEADER];

	while (rest.n) {
		size_t n = rest.n < FRAME_MAX ? rest.n : FRAME_MAX;
		struct frame f = {FRAME_DATA, n == rest.n ? FRAME_FLAG_END : 0, i->stream, (uint32_t)n};

		frame_put(head, &f);
		buf_add(&i->out, head, sizeof(head));
		buf_add(&i->out, rest.p, n);
		rest.p += n;
		rest.n -= n;
	}
}

static int send_frames(struct instance *i, const struct instance_event *ev, struct err *e)
{
	uint64_t deadline = (uint64_t)ev->deadline_wall_ms;
	struct frame f = {FRAME_EVENT, 0, ++i->stream, 0};
	auto_buf head = {0}; /* header, then what the frame says before the payload */
	size_t fixed, first;
	ssize_t n;

	fixed = FRAME_HEADER + 8 + 5 * 2 + strlen(ev->request_id) + strlen(ev->function_arn) + strlen(ev->trace_id) +
		ev->client_context.n;
	if (fixed > FRAME_MAX / 2)
		return err_set(e, ERR_LIMIT, "client context of %zu bytes is too large", ev->client_context.n);
	buf_reserve(&head, fixed);
	head.n = FRAME_HEADER;
	buf_add(&head, &deadline, 8);
	put_u16str(&head, str_of(ev->request_id));
	put_u16str(&head, str_of(ev->function_arn));
	put_u16str(&head, str_of(ev->trace_id));
	put_u16str(&head, ev->client_context);
	put_u16str(&head, STR_NULL);
	first = FRAME_MAX - (head.n - FRAME_HEADER);
	if (first > ev->payload.n)
		first = ev->payload.n;
	f.length = (uint32_t)(head.n - FRAME_HEADER + first);
	f.flags = first == ev->payload.n ? FRAME_FLAG_END : 0;
	frame_put((uint8_t *)head.p, &f);

	struct iovec iov[2] = {{head.p, head.n}, {(void *)ev->payload.p, first}};
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};

	n = sendmsg(i->fds.fd[SB_CHAN], &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return err_sys(e, errno, "send event");
	if (n < 0)
		n = 0;
	if ((size_t)n < head.n) {
		buf_add(&i->out, head.p + n, head.n - (size_t)n);
		n = (ssize_t)head.n;
	}
	if ((size_t)n - head.n < first)
		buf_add(&i->out, ev->payload.p + ((size_t)n - head.n), first - ((size_t)n - head.n));
	queue_data(i, (struct str){ev->payload.p + first, ev->payload.n - first});
	return i->out.n ? flush_out(i, e) : 0;
}

/* --- tandem-init --- */

static void process_gone(struct instance *i, bool extension, int wait_status)
{
	if (i->state == INSTANCE_ENDING) {
		if (extension && i->n_leaving && !--i->n_leaving)
			i->ev->exited(i->arg, true, wait_status);
		return;
	}
	/* What the runtime said before it died comes first: an init error, or even an answer. */
	while (!extension && i->chan_watch && take_frames(i) > 0)
		continue;
	if (i->state == INSTANCE_ENDING)
		return;
	instance_drain_output(i);
	i->ev->exited(i->arg, extension, wait_status);
}

static void start_failed(struct instance *i, bool extension, int error)
{
	const char *what = extension				   ? "an extension"
			   : i->revision->kind == RUNTIME_PROVIDED ? "/var/task/bootstrap"
								   : "the runtime";
	char line[256], json[400];

	if (i->state != INSTANCE_INIT)
		return;
	snprintf(line, sizeof(line), "Error: %s could not be started: %s\n", what, strerror(error));
	i->ev->output(i->arg, str_of(line));
	snprintf(json, sizeof(json), "{\"errorType\":\"%s\",\"errorMessage\":\"%.*s\"}",
		 extension ? "Extension.LaunchError" : "Runtime.InvalidEntrypoint", (int)strlen(line) - 1, line);
	i->ev->init_failed(i->arg, str_of(json));
}

static void on_ctl(void *arg, int events)
{
	struct instance *i = arg;
	struct {
		struct init_msg m;
		struct init_snap s;
	} r;
	ssize_t n = recv(i->fds.fd[SB_CTL], &r, sizeof(r), MSG_DONTWAIT);
	bool snap = n == sizeof(r) && (r.m.verb == INIT_TAKEN || r.m.verb == INIT_RESTORED);
	struct init_msg m = r.m;
	struct err e;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) { /* pid 1 is gone: the spawner says the rest */
		loop_fd_free(take_ptr(i->ctl_watch));
		return;
	}
	if ((n != sizeof(m) && !snap) || m.version != INIT_VERSION) {
		err_set(&e, ERR_CORRUPT, "tandem-init sent a message of %zd bytes", n);
		broken(i, &e);
		return;
	}
	if (snap) {
		r.s.text[sizeof(r.s.text) - 1] = 0;
		got_snap(i, &m, &r.s);
	} else if (m.verb == INIT_FAILED) {
		if (!i->adopted) {
			start_failed(i, m.tag != TAG_RUNTIME, m.value);
			return;
		}
		err_sys(&e, m.value, "the runtime was never started, or is gone");
		broken(i, &e);
	} else if (m.verb == INIT_EXITED) {
		process_gone(i, m.tag != TAG_RUNTIME, m.value);
	}
}

static int prepare_start(struct instance *i, const struct instance_opts *o, struct err *e)
{
	struct env_facts facts = {.revision = i->revision,
				  .function = o->function,
				  .account = i->host->account,
				  .region = i->host->region,
				  .log_stream = i->log_stream,
				  .tls = i->host->tls != NULL,
				  .provisioned = o->provisioned};

	i->start_msg = (struct init_msg){.version = INIT_VERSION,
					 .verb = INIT_START,
					 .tag = TAG_RUNTIME,
					 .keep_channel = i->revision->kind != RUNTIME_PROVIDED};
	if (env_runtime(&facts, &i->start_msg, &i->start_text, e) < 0)
		return -1;
	for (uint32_t k = 0; k < i->start_msg.argc; k++)
		i->argv_bytes += strlen(i->start_text.p + i->argv_bytes) + 1;
	return 0;
}

static int ask_start(struct instance *i, const struct init_msg *head, struct str argv, struct err *e)
{
	struct str env = {i->start_text.p + i->argv_bytes, i->start_text.n - i->argv_bytes};
	struct init_msg m = *head;
	struct iovec iov[3] = {{&m, sizeof(m)}, {(void *)argv.p, argv.n}, {(void *)env.p, env.n}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 3};

	m.text_bytes = (uint32_t)(argv.n + env.n);
	if (sendmsg(i->fds.fd[SB_CTL], &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return err_sys(e, errno, "ask tandem-init to start");
	return 0;
}

/* Extensions first: they may want to be there when the runtime initialises (reference 1.7). */
static int start_extensions(struct instance *i, struct err *e)
{
	const char *name = i->extensions.p;

	for (unsigned k = 0; k < i->n_extensions; k++, name += strlen(name) + 1) {
		struct init_msg m = {.version = INIT_VERSION,
				     .verb = INIT_START,
				     .tag = TAG_RUNTIME + 1 + k,
				     .argc = 1,
				     .envc = i->start_msg.envc};
		char path[300];
		int n = snprintf(path, sizeof(path), "/opt/extensions/%s", name);

		if (n >= (int)sizeof(path))
			return err_set(e, ERR_LIMIT, "name of an extension is too long");
		if (ask_start(i, &m, (struct str){path, (size_t)n + 1}, e) < 0)
			return -1;
	}
	return 0;
}

int instance_start(struct instance *i, struct err *e)
{
	if (!i->start_text.n)
		return err_set(e, ERR_LIMIT, "environment of %s is too large", i->revision->name);
	if (start_extensions(i, e) < 0 ||
	    ask_start(i, &i->start_msg, (struct str){i->start_text.p, i->argv_bytes}, e) < 0)
		return -1;
	buf_done(&i->start_text);
	return 0;
}

int instance_probe(struct instance *i, struct err *e)
{
	struct init_msg lives = {.version = INIT_VERSION, .verb = INIT_SIGNAL, .tag = TAG_RUNTIME};
	struct frame f = {FRAME_PING, 0, 0, 0};
	uint8_t head[FRAME_HEADER];

	i->frozen = true; /* whether it is: thawing a thawed one is harmless */
	instance_thaw(i);
	/* It may have been assigned and never started, or be gone: then FAILED comes back, and the instance is broken.
	 */
	if (send(i->fds.fd[SB_CTL], &lives, sizeof(lives), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return err_sys(e, errno, "ask tandem-init for the runtime");
	if (i->revision->kind == RUNTIME_PROVIDED)
		return 0; /* its next comes by itself */
	i->probing = true;
	/* Ours alone: a daemon before may have died while it waited for its own. */
	rand_bytes(&i->stream, sizeof(i->stream));
	i->stream = (i->stream & 0x3fffffff) | 0x80000000;
	f.stream = i->stream;
	frame_put(head, &f);
	buf_add(&i->out, head, sizeof(head));
	return flush_out(i, e);
}

/* --- Runtime API --- */

static void rt_ready(void *arg)
{
	struct instance *i = arg;

	if (i->state == INSTANCE_INIT) {
		become_ready(i);
	} else if (i->state == INSTANCE_RESPONDED) {
		instance_drain_output(i);
		i->state = INSTANCE_IDLE;
		i->ev->idle(i->arg);
	}
}

static void rt_answer(void *arg, struct str body)
{
	struct instance *i = arg;

	if (i->state == INSTANCE_BUSY)
		tell_answer(i, body, false, false);
}

static void rt_error(void *arg, struct str type, struct str body)
{
	struct instance *i = arg;

	if (i->state == INSTANCE_BUSY)
		tell_answer(i, body, true, false);
}

static void rt_init_error(void *arg, struct str type, struct str body)
{
	struct instance *i = arg;

	if (i->state != INSTANCE_INIT)
		return;
	instance_drain_output(i);
	i->ev->init_failed(i->arg, body);
}

static void rt_late(void *arg, struct str request_id, bool is_error)
{
	struct instance *i = arg;

	if (i->state != INSTANCE_INIT || i->late)
		return;
	i->late = is_error ? FRAME_ERROR : FRAME_DATA; /* one event at a time: so was it before */
	i->ev->late(i->arg, request_id, is_error);
}

static const struct rtapi_events rt_events = {rt_ready, rt_answer, rt_error, rt_init_error, rt_late};

static void listen_inside(struct instance *i)
{
	struct instance_host *h = i->host;
	struct http_listener_opts api = {
		.body_max = LIM_PAYLOAD_BYTES, .handler = h->sandbox_api, .arg = i, .guest = true};
	struct http_listener_opts creds = {.body_max = 4096, .handler = h->creds, .arg = i, .guest = true};

	bool provided = i->revision->kind == RUNTIME_PROVIDED;

	if (i->fds.fd[SB_RTAPI] >= 0) {
		i->rtapi_info = (struct rtapi_info){.function_name = i->revision->name,
						    .function_version = i->version,
						    .handler = i->revision->handler ? i->revision->handler : "",
						    .account_id = h->account,
						    .has_runtime = provided,
						    .adopted = i->adopted,
						    .n_extensions = i->n_extensions};
		i->rtapi = rtapi_new(h->http, h->loop, i->fds.fd[SB_RTAPI], &i->rtapi_info, &rt_events, i);
	}
	if (i->fds.fd[SB_DNS] >= 0)
		i->resolver = resolver_new(h->loop, i->fds.fd[SB_DNS]);
	if (h->sandbox_api && i->fds.fd[SB_API] >= 0)
		i->api = http_listen(h->http, i->fds.fd[SB_API], &api);
	api.tls = h->tls;
	if (h->sandbox_api && h->tls && i->fds.fd[SB_API_TLS] >= 0)
		i->api_tls = http_listen(h->http, i->fds.fd[SB_API_TLS], &api);
	if (h->creds && i->fds.fd[SB_CREDS] >= 0)
		i->creds = http_listen(h->http, i->fds.fd[SB_CREDS], &creds);
}

/* --- output --- */

void instance_drain_output(struct instance *i)
{
	char piece[65536];
	size_t total = 0;

	while (total < OUTPUT_PER_TURN && i->fds.fd[SB_LOG] >= 0) {
		ssize_t n = read(i->fds.fd[SB_LOG], piece, sizeof(piece));

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			loop_fd_free(take_ptr(i->log_watch));
		if (n <= 0)
			return;
		i->ev->output(i->arg, (struct str){piece, (size_t)n});
		total += (size_t)n;
		if ((size_t)n < sizeof(piece))
			return; /* a short read of a pipe has emptied it */
	}
}

static void on_log(void *arg, int events)
{
	instance_drain_output(arg);
}

/* --- life --- */

static void name_log_stream(struct instance *i)
{
	time_t now = (time_t)(clock_wall_us() / 1000000);
	uint8_t raw[16];
	char hex[33];
	struct tm tm;

	gmtime_r(&now, &tm);
	rand_bytes(raw, sizeof(raw));
	enc_hex(raw, sizeof(raw), hex);
	snprintf(i->log_stream, sizeof(i->log_stream), "%04d/%02d/%02d/[%s]%s", (tm.tm_year + 1900) % 10000,
		 tm.tm_mon + 1, tm.tm_mday, i->version, hex);
}

struct instance *instance_new(const struct instance_opts *o)
{
	struct instance *i = xcalloc(1, sizeof(*i));
	struct loop *l = o->host->loop;
	char probe[64];
	ssize_t n;

	i->host = o->host;
	i->ev = o->events;
	i->arg = o->arg;
	i->id = o->id;
	i->pid = o->pid;
	i->fds = o->fds;
	i->revision = revision_ref(o->revision);
	i->adopted = o->adopted;
	i->image = -1;
	i->version = revision_version(i->revision, i->version_text);
	name_log_stream(i);
	buf_addstr(&i->extensions, o->extensions);
	for (size_t k = 0; k < i->extensions.n; k++)
		i->n_extensions += !i->extensions.p[k];
	if (!o->adopted)
		prepare_start(i, o, NULL);
	n = i->fds.fd[SB_CPU] >= 0 ? pread(i->fds.fd[SB_CPU], probe, sizeof(probe), 0) : 0;
	i->v1_cpu = n > 0 && probe[0] >= '0' && probe[0] <= '9';
	i->ctl_watch = loop_fd_new(l, i->fds.fd[SB_CTL], LOOP_READ, on_ctl, i);
	i->chan_watch = loop_fd_new(l, i->fds.fd[SB_CHAN], LOOP_READ, on_chan, i);
	i->log_watch = loop_fd_new(l, i->fds.fd[SB_LOG], LOOP_READ, on_log, i);
	listen_inside(i);
	return i;
}

void instance_free(struct instance *i)
{
	if (!i)
		return;
	loop_defer_cancel(i->host->loop, &i->defer);
	loop_fd_free(i->ctl_watch);
	loop_fd_free(i->chan_watch);
	loop_fd_free(i->log_watch);
	rtapi_free(i->rtapi);
	resolver_free(i->resolver);
	http_listener_free(i->api);
	http_listener_free(i->api_tls);
	http_listener_free(i->creds);
	for (int k = 0; k < SB_N; k++)
		if (i->fds.fd[k] >= 0)
			close(i->fds.fd[k]);
	if (i->image >= 0)
		close(i->image);
	revision_unref(i->revision);
	buf_done(&i->out);
	buf_done(&i->answer);
	buf_done(&i->start_text);
	buf_done(&i->extensions);
	free(i);
}

int instance_event(struct instance *i, const struct instance_event *ev, struct err *e)
{
	if (i->frozen)
		instance_thaw(i);
	i->state = INSTANCE_BUSY;
	if (i->revision->kind != RUNTIME_PROVIDED && send_frames(i, ev, e) < 0)
		return -1;
	if (rtapi_listens(i))
		rtapi_event(i->rtapi, ev);
	return 0;
}

static void write_freezer(struct instance *i, const char *to)
{
	if (i->fds.fd[SB_FREEZE] >= 0 && pwrite(i->fds.fd[SB_FREEZE], to, 1, 0) < 0 && errno == ENODEV)
		i->frozen = false; /* the group is gone: so is the sandbox, which the spawner tells */
}

void instance_freeze(struct instance *i)
{
	if (i->frozen || i->state != INSTANCE_IDLE || i->fds.fd[SB_FREEZE] < 0)
		return;
	i->frozen = true;
	write_freezer(i, "1");
}

void instance_thaw(struct instance *i)
{
	if (!i->frozen)
		return;
	write_freezer(i, "0");
	i->frozen = false;
}

bool instance_ending(struct instance *i, bool spindown)
{
	if (i->state == INSTANCE_ENDING)
		return i->n_leaving;
	if (spindown && i->rtapi && rtapi_has_extensions(i->rtapi)) {
		instance_thaw(i);
		i->n_leaving = rtapi_shutdown(i->rtapi, "SPINDOWN", (clock_wall_us() + INSTANCE_SHUTDOWN_US) / 1000);
	}
	i->state = INSTANCE_ENDING;
	return i->n_leaving;
}

enum instance_state instance_state(const struct instance *i)
{
	return i->state;
}

bool instance_frozen(const struct instance *i)
{
	return i->frozen;
}

uint64_t instance_id(const struct instance *i)
{
	return i->id;
}

pid_t instance_pid(const struct instance *i)
{
	return i->pid;
}

struct revision *instance_revision(const struct instance *i)
{
	return i->revision;
}

void *instance_arg(const struct instance *i)
{
	return i->arg;
}

const char *instance_log_stream(const struct instance *i)
{
	return i->log_stream;
}

/* The first number of a kernel file, by pread: the descriptor stays open, no path is resolved on the warm path. */
static int64_t read_number(int fd, const char *after)
{
	char text[512];
	ssize_t n = fd >= 0 ? pread(fd, text, sizeof(text) - 1, 0) : -1;
	const char *p = text;
	int64_t v = 0;

	if (n <= 0)
		return -1;
	text[n] = 0;
	if (after && !(p = strstr(text, after)))
		return -1;
	if (after)
		p += strlen(after);
	if (*p < '0' || *p > '9')
		return -1;
	while (*p >= '0' && *p <= '9')
		v = v * 10 + (*p++ - '0');
	return v;
}

int64_t instance_cpu_us(const struct instance *i)
{
	if (!i->v1_cpu)
		return read_number(i->fds.fd[SB_CPU], "usage_usec ");
	int64_t ns = read_number(i->fds.fd[SB_CPU], NULL);

	return ns < 0 ? -1 : ns / 1000;
}

int64_t instance_mem_peak_bytes(const struct instance *i)
{
	return read_number(i->fds.fd[SB_MEM_PEAK], NULL);
}
