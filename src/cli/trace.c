/* SPDX-License-Identifier: Apache-2.0 */
/* trace: where the time of a function's last calls went, phase by phase, from the ledger's rows; or of one trace, from its spans. */

#include "base/mem.h"
#include "cli/call.h"
#include "cli/table.h"
#include "cli/verbs.h"

#define ROWS_MAX 100 /* what the daemon gives */

static const char *const phases[] = {"queue_us", "start_us", "init_us", "handler_us", "cpu_us"};
enum kind { TRACE_RESTORED, TRACE_STARTED, TRACE_WARM, TRACE_N };
static const char *const kind_name[TRACE_N] = {"from a snapshot", "started plainly", "warm"};

struct sample {
	int64_t us[TRACE_N][ARRAY_SIZE(phases)][ROWS_MAX];
	int n[TRACE_N];
};

static enum kind kind_of(const struct json *r)
{
	return json_get_bool(r, "restored", false) ? TRACE_RESTORED
	       : json_get_bool(r, "cold", false)   ? TRACE_STARTED
						   : TRACE_WARM;
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void collect(struct sample *s, const struct json *rows)
{
	for (size_t i = 0; i < json_len(rows); i++) {
		const struct json *r = json_at(rows, i);
		enum kind k = kind_of(r);

		if (!str_eqc(json_get_str(r, "kind"), "invoke") || s->n[k] == ROWS_MAX)
			continue;
		for (size_t p = 0; p < ARRAY_SIZE(phases); p++)
			s->us[k][p][s->n[k]] = json_get_int(r, phases[p], 0);
		s->n[k]++;
	}
}

/* Median and largest of each phase. */
static void print(struct cli *c, struct sample *s)
{
	static const char *const heads[] = {
		"CALLS", ">NUMBER", "", ">WAIT MS", ">SANDBOX MS", ">INIT OR RESTORE MS", ">HANDLER MS", ">CPU MS"};
	struct table t;

	table_init(&t, heads, ARRAY_SIZE(heads));
	for (int k = 0; k < TRACE_N; k++) {
		for (int worst = 0; worst < 2 && s->n[k]; worst++) {
			char *cell[ARRAY_SIZE(heads)] = {worst ? NULL : xstrdup(kind_name[k]),
							 worst ? NULL : cli_cell("%d", s->n[k]),
							 xstrdup(worst ? "slowest" : "median")};

			for (size_t p = 0; p < ARRAY_SIZE(phases); p++) {
				qsort(s->us[k][p], (size_t)s->n[k], sizeof(int64_t), by_value);
				cell[3 + p] =
					cli_cell("%.3f", (double)s->us[k][p][worst ? s->n[k] - 1 : s->n[k] / 2] / 1e3);
			}
			table_row(&t, cell);
		}
	}
	table_print(&t, c);
	table_done(&t);
}

/* ---- one trace ---- */

struct tree {
	struct cli *c;
	const struct json *spans;
	int64_t begin_ns;
};

static int64_t ns(const struct json *span, const char *key)
{
	int64_t v;

	return str_to_i64(json_get_str(span, key), 0, INT64_MAX, &v) < 0 ? 0 : v;
}

static bool is_there(const struct tree *t, struct str id)
{
	for (size_t i = 0; i < json_len(t->spans); i++)
		if (str_eq(json_get_str(json_at(t->spans, i), "spanId"), id))
			return true;
	return false;
}

static void print_span(const struct tree *t, const struct json *span, int depth)
{
	struct str failed = json_get_str(json_get(span, "status"), "message");
	auto_free char *name = str_dup(json_get_str(span, "name")), *why = str_dup(failed);
	int64_t from = ns(span, "startTimeUnixNano");

	printf("%10.3f %10.3f  %*s%s%s%s%s%s\n", (double)(from - t->begin_ns) / 1e6,
	       (double)(ns(span, "endTimeUnixNano") - from) / 1e6, 2 * depth, "", cli_clean(name), failed.n ? "  " : "",
	       cli_tint(t->c, failed.n ? TINT_RED : TINT_NONE), cli_clean(why), failed.n ? cli_plain(t->c) : "");
}

/* What is below parent, in order of time; parent NULL: what is below nothing that is here. */
static void print_below(const struct tree *t, const struct json *parent, int depth)
{
	int64_t done_ns = -1;
	size_t done_at = 0;

	for (;;) {
		const struct json *next = NULL;
		size_t at = 0;

		for (size_t i = 0; i < json_len(t->spans); i++) {
			const struct json *s = json_at(t->spans, i);
			struct str above = json_get_str(s, "parentSpanId");
			int64_t begin = ns(s, "startTimeUnixNano");
			bool mine = parent ? str_eq(above, json_get_str(parent, "spanId")) : !is_there(t, above);

			if (!mine || begin < done_ns || (begin == done_ns && i <= done_at))
				continue;
			if (!next || begin < ns(next, "startTimeUnixNano"))
				next = s, at = i;
		}
		if (!next)
			return;
		print_span(t, next, depth);
		if (depth < 32)
			print_below(t, next, depth + 1);
		done_ns = ns(next, "startTimeUnixNano"), done_at = at;
	}
}

static int trace_show(struct cli *c, const char *id)
{
	struct tree t = {.c = c, .begin_ns = INT64_MAX};
	auto_buf target = {0};
	auto_json j = NULL;

	call_target(&target, "/v1/traces/", id, "");
	if (!call_show(c, "GET", target.p, STR_NULL, &j))
		return c->exit;
	t.spans = json_get(j, "spans");
	for (size_t i = 0; i < json_len(t.spans); i++)
		if (ns(json_at(t.spans, i), "startTimeUnixNano") < t.begin_ns)
			t.begin_ns = ns(json_at(t.spans, i), "startTimeUnixNano");
	if (!json_len(t.spans)) {
		cli_note(c, "nothing is known of this trace: it was not sampled, or is too long ago");
		return CLI_OK;
	}
	printf("%s%10s %10s  %s%s\n", cli_tint(c, TINT_BOLD), "AT MS", "TOOK MS", "WHAT", cli_plain(c));
	print_below(&t, NULL, 0);
	return CLI_OK;
}

static bool is_trace_id(const char *word)
{
	struct str s = str_of(word);

	return (s.n == 32 || (s.n == 35 && str_starts(s, "1-"))) && strspn(word, "0123456789abcdef-") == s.n;
}

int trace_run(struct cli *c, int argc, char **argv)
{
	auto_buf about = {0}, target = {0}, workload = {0};
	auto_json f = NULL;
	auto_json j = NULL;
	struct sample *s;

	if (!cli_options(c, NULL, &argc, argv, 1, 1))
		return c->exit;
	if (is_trace_id(argv[0]))
		return trace_show(c, argv[0]);
	call_target(&target, "/v1/functions/", argv[0], "");
	if (call_json(c, "GET", target.p, STR_NULL, &about, &f) < 0)
		return c->exit;
	buf_addf(&workload, STR_FMT "/%s", STR_ARG(json_get_str(f, "project")), argv[0]);
	buf_clear(&target);
	buf_adds(&target, "/v1/cost");
	call_query(&target, "by", "rows");
	call_query(&target, "workload", workload.p);
	if (!call_show(c, "GET", target.p, STR_NULL, &j))
		return c->exit;
	s = xcalloc(1, sizeof(*s));
	collect(s, json_get(j, "rows"));
	if (s->n[TRACE_RESTORED] + s->n[TRACE_STARTED] + s->n[TRACE_WARM])
		print(c, s);
	else
		cli_note(c, "%s was not called yet; call it with: tandem invoke %s", argv[0], argv[0]);
	free(s);
	return CLI_OK;
}
