/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <time.h>
#include "base/clock.h"
#include "base/enc.h"
#include "base/mem.h"
#include "base/rand.h"
#include "instance/instance_int.h"
#include "instance/resolver.h"
#include "store/egress.h"

#define OUTPUT_PER_TURN (256 * 1024) /* a function that prints for ever must not hold the loop */

const char *const instance_state_name[INSTANCE_N] = {"init", "idle", "busy", "responded", "taking", "ending"};

/* --- telling the owner --- */

static void tell_broken(void *arg)
{
	struct instance *i = arg;

	if (i->state != INSTANCE_ENDING)
		i->ev->broken(i->arg, &i->broken);
}

/* Remembers the first breakage and tells it from the loop: also found inside the owner's own call. */
void instance_broken(struct instance *i, const struct err *e)
{
	if (i->told_broken || i->state == INSTANCE_ENDING)
		return;
	i->told_broken = true;
	i->broken = *e;
	loop_fd_free(take_ptr(i->chan_watch));
	loop_defer(i->host->loop, &i->defer, tell_broken, i);
}

void instance_become_ready(struct instance *i)
{
	if (i->state != INSTANCE_INIT)
		return;
	if (i->rtapi)
		rtapi_init_over(i->rtapi); /* restored or adopted ones do not say so over it */
	if (!i->early)			   /* else it may be the event's, which begins with ready() */
		instance_drain_output(i);
	i->state = i->early ? INSTANCE_BUSY : INSTANCE_IDLE;
	i->early = false;
	i->ev->ready(i->arg);
}

/* Whether somebody hears of events over the Runtime API: the runtime itself, or extensions, also such inside of it. */
static bool rtapi_listens(const struct instance *i)
{
	return i->rtapi && (i->revision->kind >= RUNTIME_PROVIDED || rtapi_has_extensions(i->rtapi));
}

/* last: the runtime ends, so nothing more may be given to it; its exit, or the deadline, ends the instance. */
void instance_tell_answer(struct instance *i, struct seat *s, struct str body, bool is_error, bool last)
{
	bool listens = rtapi_listens(i);

	instance_hold(i, false);
	if (listens && i->revision->kind < RUNTIME_PROVIDED && !last)
		rtapi_runtime_done(i->rtapi);
	/* A provided runtime is idle when it asks for the next event, not when it has answered this one. */
	s->open = false;
	if (!--i->n_open)
		i->state = listens || last ? INSTANCE_RESPONDED : INSTANCE_IDLE;
	i->ev->answer(i->arg, (unsigned)(s - i->seat), body, is_error);
}

/* --- Runtime API --- */

static void rt_ready(void *arg)
{
	struct instance *i = arg;

	if (i->state == INSTANCE_INIT) {
		instance_become_ready(i);
	} else if (i->state == INSTANCE_RESPONDED) {
		instance_drain_output(i);
		i->state = INSTANCE_IDLE;
		i->ev->idle(i->arg);
	}
}

static void rt_answer(void *arg, struct str body)
{
	struct instance *i = arg;
	struct buf whole = i->seat->answer;

	i->seat->answer = (struct buf){0};
	if (i->state == INSTANCE_BUSY)
		instance_tell_answer(i, i->seat, whole.n ? buf_str(&whole) : body, false, false);
	buf_done(&whole);
}

static void rt_piece(void *arg, struct str piece)
{
	struct instance *i = arg;

	if (i->state == INSTANCE_BUSY)
		instance_take_piece(i, i->seat, piece);
}

static void rt_error(void *arg, struct str type, struct str body)
{
	struct instance *i = arg;

	if (i->state == INSTANCE_BUSY)
		instance_tell_answer(i, i->seat, body, true, false);
}

static void rt_init_error(void *arg, struct str type, struct str body)
{
	struct instance *i = arg;

	if (i->state != INSTANCE_INIT)
		return;
	instance_drain_output(i);
	i->ev->init_failed(i->arg, body);
}

static void rt_late(void *arg, struct str request_id, bool is_error, struct str body)
{
	struct instance *i = arg;

	if (i->state != INSTANCE_INIT || i->late)
		return;
	i->late = true; /* one event at a time: so was it before */
	i->ev->late(i->arg, request_id, is_error, body);
}

static const struct rtapi_events rt_events = {rt_ready, rt_answer, rt_error, rt_init_error, rt_late, rt_piece};

static bool has_way_out(const struct revision *r)
{
	struct spawner_egress g;

	egress_of(r->egress, &g);
	return g.internet || g.n;
}

static void listen_inside(struct instance *i)
{
	struct instance_host *h = i->host;
	struct http_listener_opts api = {.body_max = LIM_PAYLOAD_BYTES,
					 .handler = h->sandbox_api,
					 .streams = h->sandbox_streams,
					 .arg = i,
					 .guest = true};
	struct http_listener_opts creds = {.body_max = 4096, .handler = h->creds, .arg = i, .guest = true};

	bool provided = i->revision->kind >= RUNTIME_PROVIDED;

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
		i->resolver = resolver_new(h->loop, i->fds.fd[SB_DNS], has_way_out(i->revision) ? h->forward : NULL);
	if (h->sandbox_api && i->fds.fd[SB_API] >= 0)
		i->api = http_listen(h->http, i->fds.fd[SB_API], &api);
	api.tls = h->tls;
	if (h->sandbox_api && h->tls && i->fds.fd[SB_API_TLS] >= 0)
		i->api_tls = http_listen(h->http, i->fds.fd[SB_API_TLS], &api);
	if (h->creds && i->fds.fd[SB_CREDS] >= 0)
		i->creds = http_listen(h->http, i->fds.fd[SB_CREDS], &creds);
}

/* --- output --- */

static void drain(struct instance *i, enum spawner_sb from, struct loop_fd **watch)
{
	char piece[65536];
	size_t total = 0;

	while (total < OUTPUT_PER_TURN && i->fds.fd[from] >= 0) {
		ssize_t n = read(i->fds.fd[from], piece, sizeof(piece));

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			loop_fd_free(take_ptr(*watch));
		if (n <= 0)
			return;
		if (i->early)
			channel_take(i); /* printed by the event: then it has said before that it is restored */
		i->ev->output(i->arg, -1, (struct str){piece, (size_t)n});
		total += (size_t)n;
		if ((size_t)n < sizeof(piece))
			return; /* a short read of a pipe has emptied it */
	}
}

void instance_drain_output(struct instance *i)
{
	drain(i, SB_LOG, &i->log_watch);
	drain(i, SB_ERR, &i->err_watch);
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
	unsigned n_seats = o->seats ? o->seats : 1;
	struct instance *i = xcalloc(1, sizeof(*i) + n_seats * sizeof(i->seat[0]));
	struct loop *l = o->host->loop;

	i->host = o->host;
	i->n_seats = n_seats;
	i->ev = o->events;
	i->arg = o->arg;
	i->id = o->id;
	i->pid = o->pid;
	i->fds = o->fds;
	i->revision = revision_ref(o->revision);
	i->adopted = o->adopted;
	i->restoring = o->restoring;
	i->image = -1;
	i->version = revision_version(i->revision, i->version_text);
	name_log_stream(i);
	buf_addstr(&i->extensions, o->extensions);
	for (size_t k = 0; k < i->extensions.n; k++)
		i->n_extensions += !i->extensions.p[k];
	if (!o->adopted)
		start_prepare(i, o, NULL);
	i->ctl_watch = loop_fd_new(l, i->fds.fd[SB_CTL], LOOP_READ, start_heard, i);
	if (i->fds.fd[SB_CHAN] >= 0)
		i->chan_watch = loop_fd_new(l, i->fds.fd[SB_CHAN], LOOP_READ, channel_ready, i);
	i->log_watch = loop_fd_new(l, i->fds.fd[SB_LOG], LOOP_READ, on_log, i);
	if (i->fds.fd[SB_ERR] >= 0) /* a container */
		i->err_watch = loop_fd_new(l, i->fds.fd[SB_ERR], LOOP_READ, on_log, i);
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
	loop_fd_free(i->err_watch);
	rtapi_free(i->rtapi);
	resolver_free(i->resolver);
	http_listener_free(i->api);
	http_listener_free(i->api_tls);
	http_listener_free(i->creds);
	sandbox_fds_close(&i->fds);
	if (i->image >= 0)
		close(i->image);
	revision_unref(i->revision);
	buf_done(&i->out);
	for (unsigned k = 0; k < i->n_seats; k++)
		buf_done(&i->seat[k].answer);
	buf_done(&i->start_text);
	buf_done(&i->extensions);
	free(i);
}

/* Where several are under way they share the way out: none of them may hold it for the others. */
void instance_take_piece(struct instance *i, struct seat *s, struct str piece)
{
	size_t most = LIM_PAYLOAD_BYTES + 1; /* one byte more: it is too long */
	size_t room = s->answer.n < most ? most - s->answer.n : 0;

	if (s->streams && instance_seats(i) == 1 && piece.n)
		i->ev->piece(i->arg, piece);
	else
		buf_add(&s->answer, piece.p, piece.n < room ? piece.n : room);
}

void instance_hold(struct instance *i, bool held)
{
	if (i->held == held || instance_seats(i) > 1)
		return;
	i->held = held;
	if (i->chan_watch)
		loop_fd_want(i->chan_watch, (held ? 0 : LOOP_READ) | (i->out.n ? LOOP_WRITE : 0));
	if (i->rtapi)
		rtapi_hold(i->rtapi, held);
}

int instance_event(struct instance *i, const struct instance_event *ev, struct err *e)
{
	struct seat *s = &i->seat[ev->seat];

	buf_clear(&s->answer);
	s->streams = ev->streams;
	if (i->frozen)
		instance_thaw(i);
	if (i->state == INSTANCE_INIT && (!i->restoring || i->out.n || i->early))
		return err_set(e, ERR_UNAVAILABLE, "it is not ready for an event");
	s->open = true;
	i->n_open++;
	if (i->state == INSTANCE_INIT)
		i->early = true;
	else
		i->state = INSTANCE_BUSY;
	if (i->revision->kind < RUNTIME_PROVIDED && channel_event(i, s, ev, e) < 0)
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

unsigned instance_seats(const struct instance *i)
{
	return i->alone || rtapi_listens(i) ? 1 : i->n_seats;
}

bool instance_frozen(const struct instance *i)
{
	return i->frozen;
}

pid_t instance_pid(const struct instance *i)
{
	return i->pid;
}

void *instance_arg(const struct instance *i)
{
	return i->arg;
}

const char *instance_log_stream(const struct instance *i)
{
	return i->log_stream;
}

int64_t instance_cpu_us(const struct instance *i)
{
	return sandbox_cpu_us(&i->fds);
}

int64_t instance_mem_peak_bytes(const struct instance *i)
{
	return sandbox_bytes(&i->fds, SB_MEM_PEAK);
}
