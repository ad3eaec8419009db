/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon looks like inside: gauges for Prometheus, and the same as JSON. */
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include "api/admin_int.h"
#include "base/clock.h"
#include "base/enc.h"
#include "base/io.h"
#include "base/moves.h"

struct inside {
	int64_t functions[FUNCTION_STATE_N], waiting, instances;
	struct {
		const char *name;
		int64_t n;
	} by_state[8];
	size_t n_states;
	int64_t rss_bytes;
	int blanks, blanks_missing;
};

static void count_instance(void *arg, const struct sched_instance_info *i)
{
	struct inside *in = arg;
	size_t k = 0;

	in->instances++;
	while (k < in->n_states && strcmp(in->by_state[k].name, i->state))
		k++;
	if (k == ARRAY_SIZE(in->by_state))
		return;
	if (k == in->n_states)
		in->by_state[in->n_states++].name = i->state;
	in->by_state[k].n++;
}

int64_t admin_resident_bytes(void)
{
	auto_buf b = {0};
	long long size, pages = 0;

	/* proc(5): the second figure is what is resident, in pages. */
	if (io_read_file(AT_FDCWD, "/proc/self/statm", 4096, &b, NULL) == 0)
		sscanf(b.p, "%lld %lld", &size, &pages);
	return pages * sysconf(_SC_PAGESIZE);
}

static void look(struct admin *a, struct inside *in)
{
	*in = (struct inside){.rss_bytes = admin_resident_bytes()};
	for (struct function *f = function_next(a->o.store, NULL); f; f = function_next(a->o.store, f)) {
		int n = 0, busy = 0, waiting = 0;
		const char *why = NULL;

		in->functions[f->state]++;
		sched_function_status(a->o.sched, f, &n, &busy, &waiting, &why);
		in->waiting += waiting;
	}
	sched_each_instance(a->o.sched, count_instance, in);
	sched_blanks(a->o.sched, &in->blanks, &in->blanks_missing);
}

/* NAME: 32 hex digits, or AWS's 1-8-24. */
void admin_trace(struct admin *a, struct http_req *r, struct str name)
{
	auto_free char *aws = xasprintf("Root=" STR_FMT, STR_ARG(name));
	struct trace_context t;
	auto_buf spans = {0};
	auto_object(w, out);

	if (dec_hex(name, t.id, sizeof(t.id)) < 0 && trace_from_aws(str_of(aws), &t) < 0)
		return admin_errorf(r, ERR_INVALID,
				    "a trace is 32 hex digits, as in traceparent, or 1-, 8 of them, - and 24");
	spans_read(a->o.spans, t.id, &spans);
	jw_raw(&w, "spans", buf_str(&spans));
	admin_object(r, 200, &w);
}

void admin_metrics(struct admin *a, struct http_req *r, struct str name)
{
	auto_buf out = {0};
	struct http_reply reply = {.status = 200, .content_type = "text/plain; version=0.0.4; charset=utf-8"};
	struct inside in;

	look(a, &in);
	ledger_metrics(a->o.ledger, &out);
	services_metrics(a->o.services, &out);
	logs_metrics(a->o.logs, &out);
	spans_metrics(a->o.spans, &out);
	buf_adds(&out, "# HELP tandem_functions Declared functions.\n# TYPE tandem_functions gauge\n");
	for (int i = 0; i < FUNCTION_STATE_N; i++)
		buf_addf(&out, "tandem_functions{state=\"%s\"} %lld\n", admin_function_state[i],
			 (long long)in.functions[i]);
	buf_adds(&out, "# HELP tandem_instances Sandboxes that belong to a function.\n# TYPE tandem_instances gauge\n");
	for (size_t i = 0; i < in.n_states; i++)
		buf_addf(&out, "tandem_instances{state=\"%s\"} %lld\n", in.by_state[i].name,
			 (long long)in.by_state[i].n);
	buf_addf(&out,
		 "# HELP tandem_blanks Sandboxes made ahead of need.\n# TYPE tandem_blanks gauge\ntandem_blanks %d\n",
		 in.blanks);
	buf_addf(&out,
		 "# HELP tandem_queue_depth Events that wait for an instance.\n# TYPE tandem_queue_depth "
		 "gauge\ntandem_queue_depth %lld\n",
		 (long long)in.waiting);
	buf_addf(&out,
		 "# HELP tandem_daemon_resident_bytes Memory of tandemd.\n# TYPE tandem_daemon_resident_bytes gauge\n"
		 "tandem_daemon_resident_bytes %lld\n",
		 (long long)in.rss_bytes);
	buf_addf(&out,
		 "# HELP tandem_http_connections Open connections.\n# TYPE tandem_http_connections "
		 "gauge\ntandem_http_connections %zu\n",
		 http_server_conns(a->o.http));
	reply.body = buf_str(&out);
	http_reply(r, &reply);
}

static void put_moves(struct jw *w)
{
	struct move last[MOVES_KEPT];
	unsigned n = moves_last(last);
	char at[32];

	jw_arr(w, "moves");
	for (unsigned i = 0; i < n; i++) {
		jw_obj(w, NULL);
		jw_strc(w, "time", clock_fmt_iso(last[i].at_us, at));
		jw_strc(w, "what", last[i].what);
		jw_int(w, "id", (int64_t)last[i].id);
		jw_strc(w, "to", last[i].to);
		jw_end(w, '}');
	}
	jw_end(w, ']');
}

void admin_debug(struct admin *a, struct http_req *r, struct str name)
{
	struct inside in;
	auto_object(w, out);

	look(a, &in);
	jw_strc(&w, "version", TANDEM_VERSION);
	jw_int(&w, "pid", getpid());
	jw_int(&w, "uptime_us", clock_now_us() - a->started_us);
	jw_int(&w, "resident_bytes", in.rss_bytes);
	jw_int(&w, "heap_bytes", (int64_t)mallinfo2().uordblks);
	jw_int(&w, "http_connections", (int64_t)http_server_conns(a->o.http));
	jw_int(&w, "functions", (int64_t)function_count(a->o.store));
	jw_int(&w, "waiting", in.waiting);
	jw_int(&w, "instances", in.instances);
	jw_obj(&w, "instances_by_state");
	for (size_t i = 0; i < in.n_states; i++)
		jw_int(&w, in.by_state[i].name, in.by_state[i].n);
	jw_end(&w, '}');
	jw_int(&w, "blanks", in.blanks);
	jw_int(&w, "blanks_missing", in.blanks_missing);
	jw_bool(&w, "applying", a->applying);
	put_moves(&w);
	admin_object(r, 200, &w);
}

#if TANDEM_DEBUG
/* ?subject=&an_hour=: so many requests are its break-even, whatever is measured. */
void admin_lane(struct admin *a, struct http_req *r, struct str name)
{
	double rate = (double)admin_query_int(r, "an_hour", 0) / 3600;
	auto_buf subject = {0};
	auto_object(w, out);
	bool known = admin_query(r, "subject", &subject) && lanes_break_even(a->o.lanes, subject.p, rate) == 0;

	jw_bool(&w, "known", known);
	admin_object(r, known ? 200 : 404, &w);
}

/* ?stop=1, then ?step_us=N as often as wanted, ?resume=1: so that tests need not wait. ?ahead_us=N, ?back_us=N:
 * as if somebody set the machine's clock. */
void admin_clock(struct admin *a, struct http_req *r, struct str name)
{
	int64_t step_us = admin_query_int(r, "step_us", 0);
	auto_object(w, out);

	if (admin_query_is(r, "stop", "1"))
		clock_test_stop();
	clock_test_step(step_us);
	clock_test_set(admin_query_int(r, "ahead_us", 0) - admin_query_int(r, "back_us", 0));
	if (admin_query_is(r, "resume", "1"))
		clock_test_resume();
	loop_clock_changed(a->o.loop);
	jw_bool(&w, "stopped", clock_test_stopped());
	jw_int(&w, "now_us", clock_now_us());
	admin_object(r, 200, &w);
}
#endif
