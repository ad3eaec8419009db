/* SPDX-License-Identifier: Apache-2.0 */
/* cost: the ledger's sums as a table. */
#include "base/mem.h"
#include "cli/call.h"
#include "cli/table.h"
#include "cli/verbs.h"

struct cost_opts {
	const char *by, *workload, *price;
	int64_t since_us;
};
#define AT(f) offsetof(struct cost_opts, f)
const struct opt cost_options[] = {
	{0, "by", OPT_TEXT, "WHAT", "workload, tag, trigger, hour, or rows for single calls", AT(by)},
	{0, "since", OPT_DURATION, "TIME", "only what is younger than this: 10m, 24h, 7d", AT(since_us)},
	{0, "machine-price", OPT_TEXT, "USD", "what an hour of this machine costs, for all calls from now on",
	 AT(price)},
	{0, "workload", OPT_TEXT, "PROJECT/NAME", "only this workload", AT(workload)},
	{0},
};

static char *count(const struct json *j, const char *key)
{
	return table_int(j, key, "");
}

static char *usd(const struct json *j, const char *key)
{
	return cli_cell("%.8f", json_real(json_get(j, key), 0));
}

static char *ms(double us)
{
	return cli_cell("%.2f", us / 1000);
}

static char *mean_ms(const struct json *j, const char *key)
{
	int64_t n = json_get_int(j, "invocations", 0);

	return n ? ms((double)json_get_int(j, key, 0) / (double)n) : NULL;
}

static void sum_row(struct table *t, char *key, const struct json *j)
{
	table_row(t, (char *[]){key, count(j, "invocations"), count(j, "cold"), count(j, "errors"),
				mean_ms(j, "handler_us"), cli_cell("%.3f", (double)json_get_int(j, "cpu_us", 0) / 1e6),
				count(j, "billed_ms"), cli_cell("%.4f", json_real(json_get(j, "gb_s"), 0)),
				cli_cell("%.2f", json_real(json_get(j, "vcpu_s"), 0)), usd(j, "usd_aws"),
				usd(j, "usd_machine")});
}

static void print_sums(struct cli *c, const struct json *j, const char *by)
{
	const char *heads[] = {by,	     ">CALLS", ">COLD",	  ">ERRORS",	 ">MEAN MS", ">CPU S",
			       ">BILLED MS", ">GB-S",  ">VCPU-S", ">USD AT AWS", ">USD HERE"};
	const struct json *sums = json_get(j, "sums");
	struct table t;

	table_init(&t, heads, ARRAY_SIZE(heads));
	for (size_t i = 0; i < json_len(sums); i++) {
		struct str key = json_get_str(json_at(sums, i), "key");

		sum_row(&t, key.n ? str_dup(key) : xstrdup("(none)"), json_at(sums, i));
	}
	sum_row(&t, xstrdup("total"), json_get(j, "total"));
	table_print(&t, c);
	table_done(&t);
	cli_note(c,
		 "at AWS: what Lambda and Fargate would take, prices of " STR_FMT
		 "; here: %g USD per hour of this machine, by the memory and time that were used",
		 STR_ARG(json_get_str(j, "prices_as_of")), json_real(json_get(j, "machine_usd_per_hour"), 0));
}

static void print_rows(struct cli *c, const struct json *rows)
{
	static const char *const heads[] = {"TIME",	"WORKLOAD", "KIND",	   "TRIGGER",	 "OUTCOME",    "START",
					    ">WAIT MS", ">INIT MS", ">HANDLER MS", ">BILLED MS", ">USD AT AWS"};
	struct table t;

	table_init(&t, heads, ARRAY_SIZE(heads));
	for (size_t i = 0; i < json_len(rows); i++) {
		const struct json *r = json_at(rows, i);

		table_row(&t, (char *[]){table_text(r, "time"), table_text(r, "workload"), table_text(r, "kind"),
					 table_text(r, "trigger"), table_text(r, "outcome"),
					 xstrdup(json_get_bool(r, "restored", false) ? "restored"
						 : json_get_bool(r, "cold", false)   ? "cold"
										     : "warm"),
					 ms((double)json_get_int(r, "queue_us", 0)),
					 ms((double)(json_get_int(r, "start_us", 0) + json_get_int(r, "init_us", 0))),
					 ms((double)json_get_int(r, "handler_us", 0)), count(r, "billed_ms"),
					 usd(r, "usd_aws")});
	}
	table_print(&t, c);
	table_done(&t);
}

static int set_price(struct cli *c, const char *usd)
{
	auto_buf target = {0}, body = {0};

	buf_adds(&target, "/v1/cost/price");
	call_query(&target, "usd_hour", usd);
	return call_daemon(c, "POST", target.p, STR_NULL, &body);
}

int cost_run(struct cli *c, int argc, char **argv)
{
	static const char *const known[] = {"workload", "tag", "trigger", "hour", "rows"};
	static const char *const heads[] = {"WORKLOAD", "TAG", "TRIGGER", "HOUR", NULL};
	struct cost_opts o = {.by = "workload"};
	auto_buf target = {0};
	auto_json j = NULL;
	size_t k;

	if (!cli_options(c, &o, &argc, argv, 0, 0))
		return c->exit;
	for (k = 0; k < ARRAY_SIZE(known) && strcmp(known[k], o.by); k++)
		;
	if (k == ARRAY_SIZE(known))
		return cli_usage(c, "--by is workload, tag, trigger, hour or rows, not \"%s\"", o.by);
	if (o.price && set_price(c, o.price) < 0)
		return c->exit;
	buf_adds(&target, "/v1/cost");
	call_query(&target, "by", o.by);
	if (o.workload)
		call_query(&target, "workload", o.workload);
	if (o.since_us)
		call_query_int(&target, "since_us", o.since_us);
	if (!call_show(c, "GET", target.p, STR_NULL, &j))
		return c->exit;
	if (heads[k])
		print_sums(c, j, heads[k]);
	else
		print_rows(c, json_get(j, "rows"));
	return CLI_OK;
}
