/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/otlp.h"
#include <stdatomic.h>
#include <sys/socket.h>
#include "base/enc.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/client.h"

#define CONNECT_LIMIT_US 2000000
#define SEND_LIMIT_US	 10000000 /* OTEL_EXPORTER_OTLP_TIMEOUT's default */
#define RETRY_MAX_S	 300

struct otlp {
	struct spans *spans;
	struct journal *journal;
	uint64_t told;		    /* dropped spans that the journal knows of */
	struct loop_thread *thread; /* NULL: nobody takes them */
	struct loop_work work;
	char *host, *port, *path;
	struct buf headers; /* secrets may be in it: shown nowhere */
	struct buf body;
	bool busy, failing;
	_Atomic bool leaving;
	_Atomic int fd; /* while it waits for an answer; -1 */
	/* of the last try */
	int status;
	int64_t retry_us;
	struct err e;
};

static const char *env(const char *name)
{
	const char *v = getenv(name);

	return v && *v ? v : NULL;
}

/* ---- the thread ---- */

static void post(struct loop_work *w)
{
	struct otlp *o = container_of(w, struct otlp, work);
	struct http_answer a = {0};
	auto_close int fd = http_connect_tcp(o->host, o->port, CONNECT_LIMIT_US, &o->e);
	struct str after;
	int64_t s;
	int r;

	o->status = 0;
	o->retry_us = 0;
	if (fd < 0)
		return;
	o->fd = fd;
	r = o->leaving ? -1
		       : http_call_head(fd, "POST", o->path, o->headers.p, buf_str(&o->body), SEND_LIMIT_US, &a, &o->e);
	o->fd = -1;
	if (r < 0)
		return;
	o->status = a.status;
	after = http_answer_header(&a, "retry-after");
	if (str_to_i64(after, 0, RETRY_MAX_S, &s) == 0)
		o->retry_us = s * 1000000;
	http_answer_done(&a);
}

static void all_done(struct otlp *o)
{
	free(o->host);
	free(o->port);
	free(o->path);
	buf_done(&o->headers);
	buf_done(&o->body);
	free(o);
}

static void say(struct otlp *o, bool ok)
{
	uint64_t dropped = spans_dropped(o->spans);

	if (!ok && !o->failing)
		journal_add(o->journal, "tandem", "otlp", "spans are not taken by %s:%s: %s, status %d", o->host,
			    o->port, o->status ? "it answers" : o->e.text, o->status);
	if (ok && (o->failing || dropped > o->told))
		journal_add(o->journal, "tandem", "otlp", "spans are taken by %s:%s%s; %llu before were dropped",
			    o->host, o->port, o->failing ? " again" : "", (unsigned long long)(dropped - o->told));
	if (ok)
		o->told = dropped;
	o->failing = !ok;
}

static void posted(struct loop_work *w)
{
	struct otlp *o = container_of(w, struct otlp, work);
	int st = o->status;
	bool later = !st || st == 429 || st == 502 || st == 503 || st == 504, ok = st >= 200 && st < 300;

	o->busy = false;
	if (o->leaving) {
		all_done(o);
		return;
	}
	buf_done(&o->body);
	spans_sent(o->spans, ok ? SPANS_TAKEN : later ? SPANS_LATER : SPANS_NEVER, o->retry_us);
	say(o, ok);
}

static void send_batch(void *arg, struct buf *body)
{
	struct otlp *o = arg;

	o->body = *body;
	*body = (struct buf){0};
	o->busy = true;
	o->work = (struct loop_work){.work = post, .done = posted};
	loop_thread_push(o->thread, &o->work);
}

/* ---- the environment ---- */

/* "http://host[:port][/path]" */
static int read_endpoint(struct otlp *o, const char *url, const char *more)
{
	struct str rest = str_of(url), host, path = STR(""), port = STR("4318");
	const char *bracket;
	int64_t n;

	if (!str_starts(rest, "http://"))
		return -1;
	rest.p += 7, rest.n -= 7;
	if (str_cut(rest, '/', &host, &path))
		path = (struct str){path.p - 1, path.n + 1};
	else
		host = rest, path = STR("");
	bracket = memchr(host.p, ']', host.n);
	if (bracket && *host.p == '[') {
		if (bracket + 1 < host.p + host.n && bracket[1] == ':')
			port = (struct str){bracket + 2, (size_t)(host.p + host.n - bracket - 2)};
		host = (struct str){host.p + 1, (size_t)(bracket - host.p - 1)};
	} else {
		str_cut(host, ':', &host, &port);
	}
	while (path.n && path.p[path.n - 1] == '/' && *more)
		path.n--;
	if (!host.n || str_to_i64(port, 1, 65535, &n) < 0 || memchr(host.p, '@', host.n) || strpbrk(url, " \r\n"))
		return -1;
	o->host = str_dup(host);
	o->port = str_dup(port);
	o->path = xasprintf(STR_FMT "%s%s", STR_ARG(path), more, path.n || *more ? "" : "/");
	return 0;
}

/* "name=value,name=value", values percent-encoded. */
static void read_headers(struct otlp *o, const char *list)
{
	struct str rest = str_of(list), one, name, value;
	bool v6 = strchr(o->host, ':');

	buf_addf(&o->headers, "Host: %s%s%s:%s\r\nContent-Type: application/json\r\nConnection: close\r\n",
		 v6 ? "[" : "", o->host, v6 ? "]" : "", o->port);
	while (str_next(&rest, ',', &one)) {
		auto_buf plain = {0};

		if (!str_cut(str_trim(one), '=', &name, &value) || !str_name_ok(str_trim(name), 100, "-_.") ||
		    dec_percent(&plain, str_trim(value), false) < 0 || memchr(plain.p ? plain.p : "", '\n', plain.n) ||
		    memchr(plain.p ? plain.p : "", '\r', plain.n)) {
			log_warn("otlp", "a part of OTEL_EXPORTER_OTLP_HEADERS is left out: it is not name=value");
			continue;
		}
		buf_addf(&o->headers, STR_FMT ": %s\r\n", STR_ARG(str_trim(name)), plain.p ? plain.p : "");
	}
}

static bool to_send(struct otlp *o)
{
	const char *own = env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), *all = env("OTEL_EXPORTER_OTLP_ENDPOINT");
	const char *headers = env("OTEL_EXPORTER_OTLP_TRACES_HEADERS"), *off = env("OTEL_SDK_DISABLED"),
		   *exporter = env("OTEL_TRACES_EXPORTER");

	if ((!own && !all) || (off && !strcmp(off, "true")) || (exporter && !strcmp(exporter, "none")))
		return false;
	if (read_endpoint(o, own ? own : all, own ? "" : "/v1/traces") < 0) {
		log_error("otlp",
			  "spans are not sent: OTEL_EXPORTER_OTLP_%sENDPOINT is to be http://host:port; a collector "
			  "there takes them on by TLS",
			  own ? "TRACES_" : "");
		return false;
	}
	read_headers(o, headers ? headers : env("OTEL_EXPORTER_OTLP_HEADERS"));
	return true;
}

static void read_sampler(struct spans_opts *so, bool sends)
{
	const char *name = env("OTEL_TRACES_SAMPLER"), *arg = env("OTEL_TRACES_SAMPLER_ARG");
	struct str s = str_of(name);
	char *end = "";

	so->ratio = sends ? 1 : 0;
	if (!name)
		return;
	so->ignore_parent = !str_starts(s, "parentbased_");
	if (!so->ignore_parent)
		s.p += 12, s.n -= 12;
	if (str_eqc(s, "always_on"))
		so->ratio = 1;
	else if (str_eqc(s, "always_off"))
		so->ratio = 0;
	else if (str_eqc(s, "traceidratio"))
		so->ratio = arg ? strtod(arg, &end) : 1;
	else
		log_warn("otlp", "OTEL_TRACES_SAMPLER is always_on, always_off or traceidratio, with parentbased_ "
				 "before it or not");
	if (!(so->ratio >= 0 && so->ratio <= 1) || *end) {
		log_warn("otlp", "OTEL_TRACES_SAMPLER_ARG is a number from 0 to 1");
		so->ratio = 1;
	}
}

struct otlp *otlp_new(struct loop *l, struct journal *j)
{
	struct otlp *o = xcalloc(1, sizeof(*o));
	struct spans_opts so = {.loop = l, .service = env("OTEL_SERVICE_NAME"), .arg = o};

	o->fd = -1;
	o->journal = j;
	if (to_send(o)) {
		o->thread = loop_thread_new(l, "otlp");
		so.send = send_batch;
		log_info("otlp", "spans are sent to %s:%s", o->host, o->port);
	}
	read_sampler(&so, o->thread != NULL);
	so.service = so.service ? so.service : "tandem";
	o->spans = spans_new(&so);
	return o;
}

struct spans *otlp_spans(struct otlp *o)
{
	return o->spans;
}

void otlp_free(struct otlp *o)
{
	int fd;

	if (!o)
		return;
	o->leaving = true;
	fd = o->fd;
	if (fd >= 0)
		shutdown(fd, SHUT_RDWR); /* nobody waits for a collector */
	loop_thread_free(o->thread);
	spans_free(take_ptr(o->spans));
	if (!o->busy)
		all_done(o);
}
