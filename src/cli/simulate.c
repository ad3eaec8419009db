/* SPDX-License-Identifier: Apache-2.0 */
/* simulate: what ways of keeping idle instances would have cost over a recorded day. No daemon is asked. */
#include <stdlib.h>

#include "advise/simulate.h"
#include "base/mem.h"
#include "cli/table.h"
#include "cli/verbs.h"
#include "json/write.h"

struct simulate_opts {
	const char *restore, *plain;
	int64_t seed;
};
const struct opt simulate_options[] = {
	{0, "restore", OPT_TEXT, "MS[+MS]", "a start from a snapshot: ms, and ms per MB that it holds (1.6+0.056)",
	 offsetof(struct simulate_opts, restore)},
	{0, "plain", OPT_TEXT, "MS[+MS]", "a plain start (0+4)", offsetof(struct simulate_opts, plain)},
	{0, "seed", OPT_COUNT, "N", "another draw of times within the minutes, and of durations",
	 offsetof(struct simulate_opts, seed)},
	{0},
};

#define TEN_MINUTES_US 600000000ll
/* In two groups, each beside the one that it is compared with. */
enum { WAYS = 7, FIXED = 1, FIXED_PLAIN = 5 };

static int reference_of(int way)
{
	return way < 4 ? FIXED : FIXED_PLAIN;
}

/* "1.6+0.056" */
static int start_of(struct cli *c, const char *option, const char *text, struct simulate_start *ret)
{
	struct simulate_start s = {0};
	const char *from = text;
	char *end;

	s.base_ms = strtod(text, &end);
	if (end > text && *end == '+') {
		from = end + 1;
		s.ms_per_mb = strtod(from, &end);
	}
	if (end == from || *end || !(s.base_ms >= 0 && s.base_ms <= 1e6) || !(s.ms_per_mb >= 0 && s.ms_per_mb <= 1e3))
		return cli_usage(c, "--%s is MS or MS+MS_PER_MB, like 1.6+0.056, not \"%s\"", option, text), -1;
	*ret = s;
	return 0;
}

static double share(double part, double of)
{
	return of > 0 ? part / of : 0;
}

static void print(struct cli *c, const struct simulate_way *ways, const struct simulate_result *r)
{
	static const char *const heads[] = {"INSTANCES ARE KEPT", ">IDLE GB*S", ">SHARE",     ">IN VAIN", ">COLD",
					    ">ADDED P50 MS",	  ">P99 MS",	">LONGEST MS"};
	struct table t;

	table_init(&t, heads, ARRAY_SIZE(heads));
	for (int k = 0; k < WAYS; k++)
		table_row(&t, (char *[]){cli_cell("%s", ways[k].name), cli_cell("%.0f", r[k].idle_gb_s),
					 cli_cell("%.2f %%", 100 * share(r[k].idle_gb_s, r[reference_of(k)].idle_gb_s)),
					 cli_cell("%.0f %%", 100 * share(r[k].vain_gb_s, r[k].idle_gb_s)),
					 cli_cell("%.2f %%", 100 * share((double)r[k].cold, (double)r[k].calls)),
					 cli_cell("%.2f", (double)r[k].added_p50_us / 1e3),
					 cli_cell("%.2f", (double)r[k].added_p99_us / 1e3),
					 cli_cell("%.0f", (double)r[k].added_max_us / 1e3)});
	table_print(&t, c);
	table_done(&t);
}

static void print_json(const struct simulate_way *ways, const struct simulate_result *r)
{
	auto_buf out = {0};
	struct jw w = jw_object(&out);

	jw_int(&w, "calls", r[0].calls);
	jw_real(&w, "busy_gb_s", r[0].busy_gb_s);
	jw_arr(&w, "ways");
	for (int k = 0; k < WAYS; k++) {
		jw_obj(&w, NULL);
		jw_strc(&w, "name", ways[k].name);
		jw_real(&w, "idle_gb_s", r[k].idle_gb_s);
		jw_real(&w, "idle_share", share(r[k].idle_gb_s, r[reference_of(k)].idle_gb_s));
		jw_real(&w, "vain_gb_s", r[k].vain_gb_s);
		jw_int(&w, "cold", r[k].cold);
		jw_int(&w, "refused", r[k].refused);
		jw_int(&w, "added_p50_us", r[k].added_p50_us);
		jw_int(&w, "added_p99_us", r[k].added_p99_us);
		jw_int(&w, "added_max_us", r[k].added_max_us);
		jw_end(&w, '}');
	}
	jw_end(&w, ']');
	jw_end(&w, '}');
	puts(out.p);
}

static void trace_free_p(struct trace **t)
{
	trace_free(*t);
}

static void simulate_free_p(struct simulate **s)
{
	simulate_free(*s);
}

/* How many functions; -1: it was said why not. */
static int64_t replay(const char *folder, struct simulate *s, int64_t *ret_left_out)
{
	auto_(trace_free_p) struct trace *t = NULL;
	auto_free struct trace_function *f = xmalloc(sizeof(*f));
	struct err e = {0};
	int64_t n = 0;
	int r = trace_open(folder, &t, &e);

	while (!r && (r = trace_next(t, f, &e)) > 0) {
		simulate_function(s, f);
		n++;
		r = 0;
	}
	if (r < 0)
		return cli_fail(&e), -1;
	*ret_left_out = trace_left_out(t);
	if (!n)
		return cli_failf("%s: no function with calls, durations and memory", folder), -1;
	return n;
}

int simulate_run(struct cli *c, int argc, char **argv)
{
	struct simulate_opts o = {.restore = "1.6+0.056", .plain = "0+4"};
	struct simulate_start restore, plain;
	int64_t functions, left_out;

	if (!cli_options(c, &o, &argc, argv, 1, 1))
		return c->exit;
	if (start_of(c, "restore", o.restore, &restore) < 0 || start_of(c, "plain", o.plain, &plain) < 0)
		return CLI_USAGE;

	const struct simulate_way ways[WAYS] = {
		{"as tandem does", -1, restore, false},
		[FIXED] = {"10 minutes", TEN_MINUTES_US, restore, false},
		{"not at all", 0, restore, false},
		{"with foresight", -1, restore, true},
		{"as tandem does, no snapshots", -1, plain, false},
		[FIXED_PLAIN] = {"10 minutes, no snapshots", TEN_MINUTES_US, plain, false},
		{"with foresight, no snapshots", -1, plain, true},
	};
	auto_(simulate_free_p) struct simulate *s = simulate_new(ways, WAYS, (uint64_t)o.seed);
	struct simulate_result r[WAYS];

	functions = replay(argv[0], s, &left_out);
	if (functions < 0)
		return CLI_FAILED;
	for (size_t k = 0; k < WAYS; k++)
		simulate_result(s, k, &r[k]);
	if (c->json) {
		print_json(ways, r);
		return CLI_OK;
	}
	print(c, ways, r);
	cli_note(c, "%lld functions, %lld calls, %.0f GB*s of work; %lld functions left out", (long long)functions,
		 (long long)r[0].calls, r[0].busy_gb_s, (long long)left_out);
	return CLI_OK;
}
