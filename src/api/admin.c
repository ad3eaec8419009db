/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include "api/admin_int.h"
#include "base/clock.h"
#include "base/enc.h"

const char *const admin_function_state[FUNCTION_STATE_N] = {
	[FUNCTION_PENDING] = "Pending", [FUNCTION_ACTIVE] = "Active", [FUNCTION_FAILED] = "Failed"};

/* An address of "any" is reached through loopback. */
static void url_of(const struct sockaddr_in6 *sa, char *out, size_t size)
{
	char host[INET6_ADDRSTRLEN];
	const uint8_t *b = sa->sin6_addr.s6_addr;

	if (IN6_IS_ADDR_V4MAPPED(&sa->sin6_addr)) {
		bool any = !b[12] && !b[13] && !b[14] && !b[15];

		snprintf(host, sizeof(host), "%u.%u.%u.%u", any ? 127 : b[12], b[13], b[14], any ? 1 : b[15]);
		snprintf(out, size, "http://%s:%u", host, ntohs(sa->sin6_port));
		return;
	}
	if (IN6_IS_ADDR_UNSPECIFIED(&sa->sin6_addr) || !inet_ntop(AF_INET6, &sa->sin6_addr, host, sizeof(host)))
		strlcpy_(host, "::1", sizeof(host));
	snprintf(out, size, "http://[%s]:%u", host, ntohs(sa->sin6_port));
}

struct admin *admin_new(const struct admin_opts *o)
{
	struct admin *a = xcalloc(1, sizeof(*a));

	a->o = *o;
	a->refs = 1;
	a->started_us = clock_now_us();
	url_of(&o->config->api, a->endpoint, sizeof(a->endpoint));
	url_of(&o->config->gateway, a->gateway, sizeof(a->gateway));
	return a;
}

void admin_free(struct admin *a)
{
	if (!a)
		return;
	a->closed = true;
	admin_unref(a);
}

void admin_unref(struct admin *a)
{
	if (!--a->refs)
		free(a);
}

void admin_json(struct http_req *r, int status, const struct buf *body)
{
	struct http_reply reply = {.status = status, .content_type = "application/json", .body = buf_str(body)};

	http_reply(r, &reply);
}

void admin_object(struct http_req *r, int status, struct jw *w)
{
	jw_end(w, '}');
	admin_json(r, status, w->out);
}

static int status_of(enum err_kind kind)
{
	static const int status[ERR_N] = {
		[ERR_INVALID] = 400, [ERR_LIMIT] = 413,	   [ERR_NOT_FOUND] = 404,
		[ERR_EXISTS] = 409,  [ERR_CONFLICT] = 409, [ERR_DENIED] = 403,
		[ERR_TIMEOUT] = 504, [ERR_CANCELED] = 503, [ERR_UNAVAILABLE] = 503,
	};

	return kind < ERR_N && status[kind] ? status[kind] : 500;
}

void admin_error(struct http_req *r, const struct err *e)
{
	auto_object(w, out);

	jw_strc(&w, "error", e->text);
	jw_strc(&w, "kind", err_kind_name(e->kind));
	jw_end(&w, '}');
	admin_json(r, status_of(e->kind), &out);
}

void admin_errorf(struct http_req *r, enum err_kind kind, const char *fmt, ...)
{
	struct err e = {.kind = kind};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e.text, sizeof(e.text), fmt, ap);
	va_end(ap);
	admin_error(r, &e);
}

bool admin_query(const struct http_req *r, const char *name, struct buf *ret)
{
	struct str rest = r->query, part, key, value;

	while (str_next(&rest, '&', &part)) {
		if (!str_cut(part, '=', &key, &value))
			key = part, value = STR_NULL;
		if (!str_eqc(key, name))
			continue;
		buf_clear(ret);
		return dec_percent(ret, value, true) == 0;
	}
	return false;
}

bool admin_query_is(const struct http_req *r, const char *name, const char *value)
{
	auto_buf v = {0};

	return admin_query(r, name, &v) && str_eqc(buf_str(&v), value);
}

int64_t admin_query_int(const struct http_req *r, const char *name, int64_t dflt)
{
	auto_buf v = {0};
	int64_t n;

	return admin_query(r, name, &v) && str_to_i64(buf_str(&v), 0, INT64_MAX / 2, &n) == 0 ? n : dflt;
}

struct function *admin_function(struct admin *a, struct http_req *r, struct str name)
{
	struct function *f = function_get(a->o.store, name);

	if (!f)
		admin_unknown(a, r, name);
	return f;
}

static void version(struct admin *a, struct http_req *r, struct str name)
{
	auto_object(w, out);

	jw_strc(&w, "version", TANDEM_VERSION);
	jw_int(&w, "pid", getpid());
	jw_int(&w, "uptime_us", clock_now_us() - a->started_us);
	admin_object(r, 200, &w);
}

static void env(struct admin *a, struct http_req *r, struct str name)
{
	auto_object(w, out);

	jw_strc(&w, "endpoint", a->endpoint);
	jw_strc(&w, "gateway", a->gateway);
	jw_strc(&w, "region", a->o.region);
	jw_strc(&w, "account", a->o.account);
	jw_strc(&w, "access_key", store_setting(a->o.store, "operator_access_key"));
	jw_strc(&w, "secret_key", store_setting(a->o.store, "operator_secret_key"));
	jw_strc(&w, "auth", a->o.config->auth_none ? "none" : "sigv4");
	admin_object(r, 200, &w);
}

static void plain(struct http_req *r, int status, const char *text)
{
	struct http_reply reply = {.status = status, .content_type = "text/plain", .body = str_of(text)};

	http_reply(r, &reply);
}

static void healthz(struct admin *a, struct http_req *r, struct str name)
{
	plain(r, 200, "ok\n");
}

static void readyz(struct admin *a, struct http_req *r, struct str name)
{
	bool ready = !a->o.ready || a->o.ready(a->o.arg);

	plain(r, ready ? 200 : 503, ready ? "ready\n" : "not ready: starting or draining\n");
}

static const struct admin_route routes[] = {
	{"GET", "/v1/version", version},
	{"GET", "/v1/env", env},
	{"GET", "/healthz", healthz},
	{"GET", "/readyz", readyz},
	{"GET", "/metrics", admin_metrics},
	{"GET", "/v1/debug", admin_debug},
#if TANDEM_DEBUG
	{"POST", "/v1/debug/clock", admin_clock},
	{"POST", "/v1/debug/lane", admin_lane},
#endif
	{"GET", "/v1/functions", admin_list},
	{"GET", "/v1/functions/*", admin_describe},
	{"GET", "/v1/names/*", admin_name},
	{"GET", "/v1/instances", admin_instances},
	{"POST", "/v1/functions/*/invoke", admin_invoke},
	{"POST", "/v1/functions/*/stop", admin_stop},
	{"POST", "/v1/copies", admin_copy},
	{"GET", "/v1/logs", admin_logs},
	{"GET", "/v1/events", admin_events},
	{"GET", "/v1/budgets", admin_budgets},
	{"GET", "/v1/traces/*", admin_trace},
	{"GET", "/v1/cost", admin_cost},
	{"GET", "/v1/rows", admin_rows},
	{"GET", "/v1/top", admin_top},
	{"POST", "/v1/cost/price", admin_price},
	{"GET", "/v1/snapshots", admin_snapshots},
	{"POST", "/v1/snapshots", admin_snapshots_max},
	{"GET", "/v1/images", admin_images},
	{"DELETE", "/v1/images", admin_image_remove},
	{"POST", "/v1/images/gc", admin_image_sweep},
	{"POST", "/v1/images/pull", admin_pull},
	{"POST", "/v1/images/uploads", admin_upload},
	{"PUT", "/v1/images/uploads/*", admin_upload_put},
	{"POST", "/v1/plan", admin_plan},
	{"PUT", "/v1/blobs/*", admin_blob},
	{"POST", "/v1/apply", admin_apply},
	{"POST", "/v1/down", admin_down},
	{"POST", "/v1/backup", admin_backup},
	{"GET", "/v1/secrets", admin_secrets},
	{"PUT", "/v1/secrets/*", admin_secret_put},
	{"DELETE", "/v1/secrets/*", admin_secret_remove},
	{"GET", "/v1/volumes", admin_volumes},
	{"DELETE", "/v1/volumes/*", admin_volume_remove},
	{"GET", "/v1/measured/*", admin_measured},
	{"PUT", "/v1/measured/*", admin_measured_put},
	{"GET", "/v1/services/*", admin_service},
	{"POST", "/v1/services/*/promote", admin_service_promote},
	{"POST", "/v1/services/*/undo", admin_service_undo},
	{"GET", "/v1/tasks", admin_tasks},
	{"POST", "/v1/tasks", admin_task_run},
	{"GET", "/v1/stats", admin_task_stats},
	{"POST", "/v1/restart/*", admin_restart},
	{"GET", "/v1/tasks/*", admin_task},
	{"DELETE", "/v1/tasks/*", admin_task_remove},
	{"POST", "/v1/tasks/*/stop", admin_task_stop},
	{"POST", "/v1/tasks/*/signal", admin_task_signal},
	{"POST", "/v1/tasks/*/resize", admin_task_resize},
	{"POST", "/v1/tasks/*/stdin", admin_task_stdin},
	{"GET", "/v1/tasks/*/attach", admin_task_attach},
	{"POST", "/v1/tasks/*/exec", admin_task_exec},
};

/* Does path match the pattern? *ret_name is what stands at its star, still encoded. */
static bool matches(const char *pattern, struct str path, struct str *ret_name)
{
	size_t i = 0;

	for (; *pattern; pattern++) {
		if (*pattern == '*') {
			size_t from = i;

			while (i < path.n && path.p[i] != '/')
				i++;
			*ret_name = (struct str){path.p + from, i - from};
			continue;
		}
		if (i >= path.n || path.p[i] != *pattern)
			return false;
		i++;
	}
	return i == path.n;
}

/* Nothing leads to a copy: its requests come here, by its name, and go on as they are. */
static bool for_service(struct admin *a, struct http_req *r)
{
	struct str name = http_header(r, "tandem-copy");
	struct service *sv = name.p ? admin_service_find(a, name) : NULL;

	if (sv)
		service_request(sv, r);
	else if (name.p)
		admin_errorf(r, ERR_NOT_FOUND, "there is no service \"" STR_FMT "\"", (int)(name.n < 80 ? name.n : 80),
			     name.p);
	return name.p;
}

void admin_handle(void *admin, struct http_req *r)
{
	struct admin *a = admin;
	bool path_known = false;

	if (for_service(a, r))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
		auto_buf name = {0};
		struct str raw = STR_NULL;

		if (!matches(routes[i].path, r->path, &raw))
			continue;
		path_known = true;
		if (!str_eqc(r->method, routes[i].method) &&
		    !(str_eqc(r->method, "HEAD") && !strcmp(routes[i].method, "GET")))
			continue;
		if (dec_percent(&name, raw, false) < 0)
			admin_errorf(r, ERR_INVALID, "a bad %% escape in the path");
		else
			routes[i].run(a, r, buf_str(&name));
		return;
	}
	if (path_known)
		admin_errorf(r, ERR_INVALID, "this path does not take " STR_FMT, STR_ARG(r->method));
	else
		admin_errorf(r, ERR_NOT_FOUND, "the admin API has no such path; is the tool newer than the daemon?");
}
