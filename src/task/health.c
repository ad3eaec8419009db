/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Health: a look from inside every interval. Until the first success they come faster, after 10 ms, 20 ms and so on up to
 * half a second, and a failure counts once each interval: what is ready soon is known soon, and what is slow is not
 * condemned for it. What is taken over from a predecessor is believed to be well until it is found not to be.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include "base/clock.h"
#include "task/task_int.h"

#define INTERVAL_S     30
#define TIMEOUT_S      5
#define RETRIES	       3
#define FIRST_LOOK_US  10000
#define FIRST_LOOKS_US 500000
#define ANSWER_BYTES   64 /* of HTTP: the status is among them */

struct health_check {
	struct container *c;
	struct spawn_req req;
	struct loop_fd *watch;
	int sock;
	bool asked; /* the request is sent */
	char text[sizeof(((struct health *)0)->text)];
	size_t n; /* of text: output, or the beginning of the answer */
	struct task_ear ear;
	struct task_exec *exec;
	struct loop_defer later;
	bool well;
};

static const struct json *wish(const struct container *c)
{
	return json_get(task_doc_container(c->task->doc, (unsigned)(c - c->task->c)), "health");
}

static int64_t wish_us(const struct container *c, const char *name, int64_t dflt_s)
{
	return json_get_int(wish(c), name, dflt_s) * 1000000;
}

static void check_free(struct health_check *k)
{
	spawn_cancel(&k->req);
	loop_defer_cancel(k->c->task->t->o.loop, &k->later);
	loop_fd_free(k->watch);
	close_p(&k->sock);
	if (k->exec) {
		const char *reason;

		(void)task_exec_exit(k->exec, &reason);
		(void)task_exec_signal(k->exec, SIGKILL, NULL);
		if (k->ear.node.next)
			task_detach(&k->ear);
	}
	free(k);
}

static void set(struct container *c, enum task_health to)
{
	if (c->health.is == to)
		return;
	c->health.is = to;
	task_changed(c->task);
}

static void result(struct health_check *k, bool well)
{
	struct container *c = k->c;
	struct health *h = &c->health;
	int64_t now = clock_now_us(), interval = wish_us(c, "interval_s", INTERVAL_S);
	bool counts = now - h->since_us >= wish_us(c, "start_period_s", 0) && now >= h->counted_us + interval;

	if (!well)
		snprintf(h->text, sizeof(h->text), "%.*s", (int)k->n, k->text);
	h->check = NULL;
	check_free(k);
	if (well) {
		h->failures = 0;
		h->counted_us = now - interval;
		set(c, TASK_HEALTHY);
	} else if (counts) {
		h->counted_us = now;
		if (++h->failures >= json_get_int(wish(c), "retries", RETRIES))
			set(c, TASK_UNHEALTHY);
	}
	h->look_us = h->look_us * 2 < FIRST_LOOKS_US ? h->look_us * 2 : FIRST_LOOKS_US;
	loop_timer_in(h->timer, h->is == TASK_UNKNOWN ? h->look_us : interval);
}

static void failed(struct health_check *k, const char *why)
{
	k->n = (size_t)snprintf(k->text, sizeof(k->text), "%s", why);
	if (k->n >= sizeof(k->text))
		k->n = sizeof(k->text) - 1;
	result(k, false);
}

/* ---- over TCP ---- */

static void ask(struct health_check *k)
{
	auto_free char *text = xasprintf("GET %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Tandem-Health\r\n"
					 "Connection: close\r\n\r\n",
					 json_get_str(wish(k->c), "http").p);

	k->asked = true;
	if (send(k->sock, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)strlen(text))
		failed(k, "it takes no request");
	else
		loop_fd_want(k->watch, LOOP_READ);
}

static void hear_answer(struct health_check *k)
{
	ssize_t n = recv(k->sock, k->text + k->n, ANSWER_BYTES - k->n, MSG_DONTWAIT);
	int status;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	k->n += n > 0 ? (size_t)n : 0;
	k->text[k->n] = 0;
	if (n > 0 && k->n < ANSWER_BYTES && !memchr(k->text, '\n', k->n))
		return;
	if (sscanf(k->text, "HTTP/1.%*1[01] %3d", &status) != 1) {
		failed(k, "it does not answer with HTTP");
		return;
	}
	k->n = (size_t)snprintf(k->text, sizeof(k->text), "it answers with status %d", status);
	result(k, status >= 200 && status < 400);
}

static void on_sock(void *arg, int events)
{
	struct health_check *k = arg;
	socklen_t n = sizeof(int);
	int sys = 0;

	if (k->asked) {
		hear_answer(k);
		return;
	}
	getsockopt(k->sock, SOL_SOCKET, SO_ERROR, &sys, &n);
	if (sys)
		failed(k, strerror(sys));
	else if (json_get(wish(k->c), "http"))
		ask(k);
	else
		result(k, true);
}

static void got_socket(struct spawn_req *r, const struct err *e)
{
	struct health_check *k = container_of(r, struct health_check, req);
	const struct json *w = wish(k->c);
	int64_t port = json_get_int(w, "tcp", json_get_int(w, "port", 0));
	struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	if (e->kind) {
		failed(k, e->text);
		return;
	}
	k->sock = r->socks[0];
	if (connect(k->sock, (const struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS) {
		failed(k, strerror(errno));
		return;
	}
	k->watch = loop_fd_new(k->c->task->t->o.loop, k->sock, LOOP_WRITE, on_sock, k);
}

/* ---- by a program ---- */

static void heard(struct task_ear *ear, bool err, struct str text)
{
	struct health_check *k = container_of(ear, struct health_check, ear);
	size_t room = sizeof(k->text) - 1 - k->n;

	memcpy(k->text + k->n, text.p, text.n < room ? text.n : room);
	k->n += text.n < room ? text.n : room;
}

static bool never_full(struct task_ear *ear)
{
	return false;
}

static void has_ended(struct task_ear *ear)
{
	struct health_check *k = container_of(ear, struct health_check, ear);
	const char *reason;
	int code = task_exec_exit(k->exec, &reason);

	k->exec = NULL;
	if (*reason)
		failed(k, reason);
	else
		result(k, !code);
}

static void not_begun(void *arg)
{
	result(arg, false);
}

/* ---- */

static void begin(struct container *c)
{
	struct health_check *k = xcalloc(1, sizeof(*k));
	struct err e;

	k->c = c;
	k->sock = -1;
	c->health.check = k;
	loop_timer_in(c->health.timer, wish_us(c, "timeout_s", TIMEOUT_S));
	if (!json_get(wish(c), "command")) {
		k->req.done = got_socket;
		spawn_sockets_start(c->task->t->o.spawn, &k->req, c->sandbox, 1);
		return;
	}
	k->ear = (struct task_ear){.output = heard, .full = never_full, .stopped = has_ended};
	if (task_exec(c->task, (unsigned)(c - c->task->c), wish(c), &k->ear, &k->exec, &e) == 0)
		return;
	k->n = (size_t)snprintf(k->text, sizeof(k->text), "%.200s", e.text);
	loop_defer(c->task->t->o.loop, &k->later, not_begun, k);
}

static void due(void *arg)
{
	struct container *c = arg;

	if (c->health.check)
		failed(c->health.check, "it did not answer in time");
	else
		begin(c);
}

void health_begin(struct container *c, bool well)
{
	if (!wish(c) || c->exited)
		return;
	c->health.since_us = clock_now_us();
	c->health.counted_us = c->health.since_us;
	c->health.look_us = FIRST_LOOK_US / 2;
	c->health.timer = loop_timer_new(c->task->t->o.loop, due, c);
	set(c, well ? TASK_HEALTHY : TASK_UNKNOWN);
	loop_timer_in(c->health.timer, 0);
}

void health_end(struct container *c)
{
	if (c->health.check)
		check_free(take_ptr(c->health.check));
	loop_timer_free(take_ptr(c->health.timer));
}
