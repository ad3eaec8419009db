/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/probe.h"

#include <errno.h>
#include <time.h>

#include "base/clock.h"
#include "base/enc.h"
#include "base/mem.h"
#include "cli/call.h"
#include "json/write.h"

#define ANSWER_US  180000000ll /* of a copy: its code may be slow to start */
#define CALL_US	   900000000ll /* a function's longest time-out */
#define SETTLE_US  30000000ll
#define PAUSE_US   10000
#define OUTCOME_AT 80 /* the daemon's own members come first; what a function says cannot look like them */

int probe_ask(struct cli *c, const char *method, const char *target, struct str body, struct json **ret, struct err *e)
{
	auto_(http_answer_done) struct http_answer a = {0};
	auto_close int fd = http_connect_unix(c->sock, e);
	auto_json j = NULL;

	if (fd < 0 || http_call(fd, method, target, NULL, body, ANSWER_US, &a, e) < 0)
		return -1;
	j = json_parse(buf_str(&a.body), e);
	if (a.status >= 400) {
		struct str text = json_get_str(j, "error");

		if (!text.n)
			text = STR("the daemon refused");
		return err_set(e, a.status == 404 ? ERR_NOT_FOUND : ERR_INVALID, STR_FMT, STR_ARG(text));
	}
	if (!j)
		return -1;
	if (ret)
		*ret = take_ptr(j);
	return 0;
}

/* ---- the copy ---- */

static int first_line(void *arg, int status, struct str piece)
{
	struct probe *p = arg;

	buf_addstr(&p->line, piece);
	return p->line.n > 65536 || (p->line.n && memchr(p->line.p, '\n', p->line.n));
}

static void make_requests(struct probe *p, const struct probe_what *what)
{
	if (p->service) {
		buf_addf(&p->plain, "%s %s HTTP/1.1\r\nHost: localhost\r\nTandem-Copy: %s\r\n",
			 what->payload.n ? "POST" : "GET", what->path, p->name);
		if (what->payload.n)
			buf_addf(&p->plain, "Content-Type: application/json\r\nContent-Length: %zu\r\n",
				 what->payload.n);
		buf_addf(&p->plain, "\r\n" STR_FMT, STR_ARG(what->payload));
		buf_addstr(&p->told, buf_str(&p->plain));
		return;
	}
	for (int told = 0; told < 2; told++)
		buf_addf(told ? &p->told : &p->plain,
			 "POST /v1/functions/%s/invoke%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
			 "%zu\r\n\r\n" STR_FMT,
			 p->name, told ? "" : "?row=0", what->payload.n, STR_ARG(what->payload));
}

int probe_open(struct cli *c, const struct probe_what *what, struct probe *ret, struct err *e)
{
	auto_(probe_close) struct probe p = {.c = c, .fd = http_connect_unix(c->sock, e)};
	auto_buf body = {0};
	auto_json j = NULL;

	buf_adds(&body, "{\"of\":");
	jw_quote(&body, str_of(what->of));
	buf_addf(&body, "%s%s}", *what->more ? "," : "", what->more);
	if (p.fd < 0 || http_call_stream(p.fd, "POST", "/v1/copies", NULL, buf_str(&body), first_line, &p, e) < 0)
		return -1;
	j = json_parse(buf_str(&p.line), e);
	if (!str_eqc(json_get_str(j, "event"), "ready"))
		return err_set(e, ERR_INVALID, STR_FMT, STR_ARG(json_get_str(j, "error")));
	snprintf(p.name, sizeof(p.name), STR_FMT, STR_ARG(json_get_str(j, "name")));
	p.service = str_eqc(json_get_str(j, "kind"), "service");
	make_requests(&p, what);
	*ret = p;
	p = (struct probe){.fd = -1};
	return 0;
}

void probe_original(struct cli *c, const struct probe_what *what, bool service, struct probe *ret)
{
	const char *slash = strchr(what->of, '/');

	*ret = (struct probe){.c = c, .fd = -1, .service = service};
	snprintf(ret->name, sizeof(ret->name), "%s", slash ? slash + 1 : what->of);
	make_requests(ret, what);
}

void probe_close(struct probe *p)
{
	if (p->fd >= 0)
		close(p->fd);
	buf_done(&p->told);
	buf_done(&p->plain);
	buf_done(&p->line);
	*p = (struct probe){.fd = -1};
}

static void pause_(void)
{
	nanosleep(&(struct timespec){.tv_nsec = PAUSE_US * 1000}, NULL);
}

int probe_stop(struct probe *p, struct err *e)
{
	auto_free char *target = xasprintf("/v1/functions/%s/stop", p->name);

	return probe_ask(p->c, "POST", target, STR_NULL, NULL, e);
}

int probe_kill(struct probe *p, struct err *e)
{
	auto_json j = NULL;
	const struct json *k, *all;

	if (!p->service)
		return probe_stop(p, e); /* is a kill */
	if (probe_ask(p->c, "GET", "/v1/tasks", STR_NULL, &j, e) < 0)
		return -1;
	all = json_get(j, "tasks");
	for (size_t i = 0; (k = json_at(all, i)); i++) {
		auto_free char *target =
			xasprintf("/v1/tasks/" STR_FMT "/signal?signal=9", STR_ARG(json_get_str(k, "id")));

		if (str_ends(json_get_str(k, "group"), p->name) && !str_eqc(json_get_str(k, "state"), "STOPPED"))
			(void)probe_ask(p->c, "POST", target, STR_NULL, NULL, e); /* it may have ended */
	}
	return 0;
}

int probe_settle(struct probe *p, char **ret_how, struct err *e)
{
	auto_free char *target = xasprintf("/v1/functions/%s", p->name);
	int64_t until_us = clock_now_us() + SETTLE_US;
	struct str none;

	while (!p->service) {
		auto_json j = NULL;

		if (probe_ask(p->c, "GET", target, STR_NULL, &j, e) < 0)
			return -1;
		none = json_get_str(json_get(j, "snapshot"), "none");
		if (!none.p || !str_eqc(none, "it has not been made yet") || clock_now_us() > until_us) {
			*ret_how = none.p ? xasprintf("plainly: " STR_FMT, STR_ARG(none)) : xstrdup("from a snapshot");
			return 0;
		}
		pause_();
	}
	*ret_how = xstrdup("from its image");
	return 0;
}

int probe_usage(struct probe *p, struct probe_use *ret, struct err *e)
{
	auto_json j = NULL;
	const struct json *all, *x;
	struct probe_use sum = {0};

	if (probe_ask(p->c, "GET", p->service ? "/v1/stats" : "/v1/instances", STR_NULL, &j, e) < 0)
		return -1;
	all = json_get(j, p->service ? "containers" : "instances");
	for (size_t i = 0; (x = json_at(all, i)); i++) {
		if (!str_ends(json_get_str(x, p->service ? "group" : "function"), p->name))
			continue;
		sum.instances++;
		sum.memory_mb += json_get_int(x, "memory_mb", 0);
		sum.cpu_us += json_get_int(x, "cpu_us", 0);
		sum.memory_bytes += json_get_int(x, p->service ? "mem_bytes" : "mem_peak_bytes", 0);
	}
	*ret = sum;
	return 0;
}

/* ---- load ---- */

static void first_words(struct buf *why, const char *what, struct str text)
{
	if (!why->n)
		buf_addf(why, "%s" STR_FMT, what, (int)(text.n < 200 ? text.n : 200), text.p ? text.p : "");
}

static bool judge_service(struct load_call *call, int status, struct str body, struct buf *why)
{
	char what[32];

	snprintf(what, sizeof(what), "status %d: ", status);
	if (status >= 400)
		first_words(why, what, body);
	return status < 400;
}

static bool judge_plain(struct load_call *call, int status, struct str body, struct buf *why)
{
	static const char ok[] = "\"outcome\":\"ok\"";

	if (status == 200 && memmem(body.p, body.n < OUTCOME_AT ? body.n : OUTCOME_AT, ok, sizeof(ok) - 1))
		return true;
	if (!why->n) {
		auto_json j = json_parse(body, NULL);
		struct str text = json_get_str(j, "reason");

		first_words(why, "", text.n ? text : json_get_str(j, "error"));
	}
	return false;
}

static bool judge_told(struct load_call *call, int status, struct str body, struct buf *why)
{
	auto_json j = json_parse(body, NULL);
	const struct json *t = json_get(j, "timing");

	call->cold = json_get_bool(t, "cold", false);
	call->wait_us = json_get_int(t, "queue_us", -1);
	call->start_us = json_get_int(t, "start_us", -1);
	call->init_us = json_get_int(t, "init_us", -1);
	call->handler_us = json_get_int(t, "handler_us", -1);
	call->cpu_us = json_get_int(t, "cpu_us", -1);
	call->billed_ms = json_get_int(t, "billed_ms", -1);
	call->memory_bytes = json_get_int(t, "mem_peak_bytes", -1);
	return judge_plain(call, status, body, why);
}

int probe_load(struct probe *p, bool told, const struct load_opts *o, struct load *ret, struct err *e)
{
	struct load_opts all = *o;

	all.sock = p->c->sock;
	all.request = buf_str(told ? &p->told : &p->plain);
	all.judge = p->service ? judge_service : told ? judge_told : judge_plain;
	all.timeout_us = CALL_US;
	return load_run(&all, ret, e);
}
