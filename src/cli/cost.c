/* SPDX-License-Identifier: Apache-2.0 */
/* cost: the ledger's sums as a table. */
#include <math.h>
#include "base/mem.h"
#include "cli/call.h"
#include "cli/table.h"
#include "cli/verbs.h"

struct cost_opts {
	const char *by, *workload, *split, *on, *price[3];
	int64_t since_us;
};
#define AT(f) offsetof(struct cost_opts, f)
const struct opt cost_options[] = {
	{0, "by", OPT_TEXT, "WHAT", "workload, lane, tag, trigger, hour, disk, network, or rows for single calls",
	 AT(by)},
	{0, "split", OPT_TEXT, "HOW",
	 "who carries the platform and what nobody used: use (as each used the machine), even, or none", AT(split)},
	{0, "on", OPT_TEXT, "OFFER,...",
	 "what the same would cost on aws-lambda, aws-fargate, aws-ec2, cloud-run, cloud-run-instance, "
	 "azure-functions, azure-container-apps, or all",
	 AT(on)},
	{0, "since", OPT_DURATION, "TIME", "only what is younger than this: 10m, 24h, 7d", AT(since_us)},
	{0, "machine-price", OPT_TEXT, "USD", "what an hour of this machine costs, for all calls from now on",
	 AT(price[0])},
	{0, "disk-price", OPT_TEXT, "USD", "what holding a GB on its disk for a month costs; 0 until it is said",
	 AT(price[1])},
	{0, "network-price", OPT_TEXT, "USD", "what a GB of traffic costs; 0 until it is said", AT(price[2])},
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

/* With what has a price of its own. */
static double usd_all(const struct json *j)
{
	return json_real(json_get(j, "usd_machine"), 0) + json_real(json_get(j, "usd_disk"), 0) +
	       json_real(json_get(j, "usd_network"), 0);
}

static void sum_row(struct table *t, char *key, const struct json *j, double usd_here)
{
	const struct json *split = json_get(j, "usd_split");

	table_row(t, (char *[]){key, count(j, "invocations"), count(j, "cold"), count(j, "errors"),
				mean_ms(j, "handler_us"), cli_cell("%.3f", (double)json_get_int(j, "cpu_us", 0) / 1e6),
				count(j, "billed_ms"), cli_cell("%.4f", json_real(json_get(j, "gb_s"), 0)),
				cli_cell("%.2f", json_real(json_get(j, "vcpu_s"), 0)), usd(j, "usd_aws"),
				cli_cell("%.8f", usd_here), split ? usd(j, "usd_split") : NULL});
}

static const struct term {
	const char *name, *key;
} own_terms[] = {{"disk", "usd_disk"}, {"network", "usd_network"}},
  machine_terms[] = {{"host/unused", "usd_unused"},
		     {"host/other", "usd_other"},
		     {"unattributed", "usd_unattributed"},
		     {"machine", "usd"}};

/* What the price of the machine was for, besides calls: each is measured, and what is missing is said. */
static void term_rows(struct table *t, const struct json *j, const struct term *terms, size_t n, const char *priced_by)
{
	for (size_t i = 0; i < n; i++)
		if (json_real(json_get(j, priced_by ? priced_by : terms[i].key), 0) > 0)
			table_row(t, (char *[]){xstrdup(terms[i].name), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
						NULL, usd(j, terms[i].key), NULL});
}

static void notes(struct cli *c, const struct json *j, const struct cost_opts *o)
{
	const struct json *machine = json_get(j, "machine");

	cli_note(c,
		 "at AWS: what Lambda and Fargate would take, prices of " STR_FMT
		 "; here: %g USD per hour of this machine, by the memory and time that were used",
		 STR_ARG(json_get_str(j, "prices_as_of")), json_real(json_get(j, "machine_usd_per_hour"), 0));
	if (json_real(json_get(machine, "usd"), 0) <= 0)
		return;
	cli_note(c, "machine: the price of the %.0f s that were measured; %.2f %% of it is in no row (unattributed)",
		 json_real(json_get(machine, "seconds"), 0), json_real(json_get(machine, "unattributed_percent"), 0));
	if (strcmp(o->split, "none") && strcmp(o->by, "hour"))
		cli_note(c,
			 "with share: and what the platform (tandem/...) took and nobody used (host/unused), %s; other "
			 "processes (host/other) carry their own",
			 !strcmp(o->split, "even") ? "the same for each line"
						   : "in proportion to what each used here (--split even|none)");
}

static void print_sums(struct cli *c, const struct json *j, const char *by, const struct cost_opts *o)
{
	const char *heads[] = {by,	     ">CALLS", ">COLD",	  ">ERRORS",	 ">MEAN MS",  ">CPU S",
			       ">BILLED MS", ">GB-S",  ">VCPU-S", ">USD AT AWS", ">USD HERE", ">WITH SHARE"};
	const struct json *sums = json_get(j, "sums"), *total = json_get(j, "total");
	struct table t;

	table_init(&t, heads, ARRAY_SIZE(heads) - !json_get(json_at(sums, 0), "usd_split"));
	for (size_t i = 0; i < json_len(sums); i++) {
		struct str key = json_get_str(json_at(sums, i), "key");

		sum_row(&t, key.n ? str_dup(key) : xstrdup("(none)"), json_at(sums, i),
			json_real(json_get(json_at(sums, i), "usd_machine"), 0));
	}
	term_rows(&t, total, own_terms, ARRAY_SIZE(own_terms), NULL);
	sum_row(&t, xstrdup("total"), total, usd_all(total));
	term_rows(&t, json_get(j, "machine"), machine_terms, ARRAY_SIZE(machine_terms), "usd");
	table_print(&t, c);
	table_done(&t);
	notes(c, j, o);
}

static char *gb(double bytes, bool at_least)
{
	return cli_cell("%s%.6f", at_least ? ">" : "", bytes / 1e9);
}

static void print_disk(struct cli *c, const struct json *j)
{
	static const char *const heads[] = {"DISK", ">FILES", ">GB", ">USD A MONTH"};
	const struct json *lines = json_get(j, "disk");
	double price = json_real(json_get(j, "disk_usd_per_gb_month"), 0), sum = 0;
	bool at_least = false;
	struct table t;

	table_init(&t, heads, ARRAY_SIZE(heads));
	for (size_t i = 0; i < json_len(lines); i++) {
		const struct json *l = json_at(lines, i);
		double bytes = (double)json_get_int(l, "bytes", 0);
		bool more = json_get_bool(l, "at_least", false);

		sum += bytes;
		at_least |= more;
		table_row(&t, (char *[]){table_text(l, "key"), count(l, "files"), gb(bytes, more),
					 cli_cell("%.6f", bytes / 1e9 * price)});
	}
	table_row(&t, (char *[]){xstrdup("total"), NULL, gb(sum, at_least), cli_cell("%.6f", sum / 1e9 * price)});
	table_print(&t, c);
	table_done(&t);
	cli_note(c,
		 "a GB is 1e9 bytes, held for a month %g USD (--disk-price); what is held now has cost %.8f USD in the "
		 "%.0f s that were measured",
		 price, json_real(json_get(json_get(j, "total"), "usd_disk"), 0),
		 json_real(json_get(json_get(j, "machine"), "seconds"), 0));
	if (at_least)
		cli_note(c, ">: at least; not all of it may be read, or it is more than is counted");
}

static void network_row(struct table *t, char *key, const struct json *j)
{
	table_row(t, (char *[]){key, gb((double)json_get_int(j, "bytes_in", 0), false),
				gb((double)json_get_int(j, "bytes_out", 0), false), usd(j, "usd_network")});
}

static void print_network(struct cli *c, const struct json *j)
{
	static const char *const heads[] = {"WORKLOAD", ">GB IN", ">GB OUT", ">USD"};
	const struct json *sums = json_get(j, "sums");
	struct table t;

	table_init(&t, heads, ARRAY_SIZE(heads));
	for (size_t i = 0; i < json_len(sums); i++)
		network_row(&t, table_text(json_at(sums, i), "key"), json_at(sums, i));
	network_row(&t, xstrdup("total"), json_get(j, "total"));
	table_print(&t, c);
	table_done(&t);
	cli_note(c,
		 "what calls and requests brought and were answered, and what containers exchanged with the outside, a "
		 "GB "
		 "(1e9 bytes) at %g USD (--network-price); what functions ask of the network themselves is not counted",
		 json_real(json_get(j, "network_usd_per_gb"), 0));
}

/* One line at each offer; a star where it is furthest from what it costs here. */
static void on_row(struct table *t, char *key, const struct json *j, const struct json *offers)
{
	double here = json_real(json_get(j, "usd_machine"), 0), most = -1;
	char *cells[TABLE_COLS] = {key, count(j, "invocations"), usd(j, "usd_machine")};
	size_t n = json_len(offers), far = n;

	for (size_t i = 0; i < n; i++) {
		double v = json_real(json_get(json_get(j, "on"), json_get_str(json_at(offers, i), "name").p), -1);

		if (n > 1 && v > 0 && fabs(v - here) > most) {
			most = fabs(v - here);
			far = i;
		}
	}
	for (size_t i = 0; i < n && i + 3 < TABLE_COLS; i++) {
		double v = json_real(json_get(json_get(j, "on"), json_get_str(json_at(offers, i), "name").p), -1);

		cells[3 + i] = v < 0 ? NULL : v > 0 ? cli_cell("%.8f%s", v, i == far ? "*" : "") : xstrdup("0");
	}
	table_row(t, cells);
}

static void on_notes(struct cli *c, const struct json *j, const struct json *offers)
{
	const struct json *cannot;

	cli_note(c,
		 "the same usage at list prices of " STR_FMT
		 ", without free tiers, API gateways, traffic and storage; offers by instance with at least one for "
		 "all of this time; *: furthest from here",
		 STR_ARG(json_get_str(j, "prices_as_of")));
	for (size_t i = 0; i < json_len(offers); i++) {
		const struct json *o = json_at(offers, i);
		struct str name = json_get_str(o, "name"), unverified = json_get_str(o, "unverified");

		if (unverified.n)
			cli_note(c, STR_FMT ": from memory, not verified: " STR_FMT, STR_ARG(name),
				 STR_ARG(unverified));
		for (size_t k = 0; (cannot = json_at(json_get(o, "cannot"), k)); k++)
			cli_note(c, STR_FMT " is not for " STR_FMT ": " STR_FMT, STR_ARG(name),
				 STR_ARG(json_get_str(cannot, "workload")), STR_ARG(json_get_str(cannot, "why")));
	}
}

static void print_on(struct cli *c, const struct json *j, const char *by)
{
	const struct json *offers = json_get(j, "offers"), *sums = json_get(j, "sums");
	char *names[TABLE_COLS] = {0};
	const char *heads[TABLE_COLS] = {by, ">CALLS", ">USD HERE"};
	unsigned n = 3;
	struct table t;

	for (size_t i = 0; i < json_len(offers) && n < TABLE_COLS; i++, n++)
		heads[n] = names[n] = xasprintf(">" STR_FMT, STR_ARG(json_get_str(json_at(offers, i), "name")));
	table_init(&t, heads, n);
	for (size_t i = 0; i < json_len(sums); i++) {
		struct str key = json_get_str(json_at(sums, i), "key");

		on_row(&t, key.n ? str_dup(key) : xstrdup("(none)"), json_at(sums, i), offers);
	}
	on_row(&t, xstrdup("total"), json_get(j, "total"), offers);
	table_print(&t, c);
	table_done(&t);
	for (unsigned i = 3; i < n; i++)
		free(names[i]);
	on_notes(c, j, offers);
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

static int set_prices(struct cli *c, const char *const price[3])
{
	static const char *const asked[] = {"usd_hour", "usd_gb_month", "usd_gb"};
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(asked) && r >= 0; i++) {
		auto_buf target = {0}, body = {0};

		if (!price[i])
			continue;
		buf_adds(&target, "/v1/cost/price");
		call_query(&target, asked[i], price[i]);
		r = call_daemon(c, "POST", target.p, STR_NULL, &body);
	}
	return r;
}

int cost_run(struct cli *c, int argc, char **argv)
{
	static const char *const known[] = {"workload", "lane", "tag", "trigger", "hour", "disk", "network", "rows"};
	static const char *const heads[] = {"WORKLOAD", "LANE", "TAG", "TRIGGER", "HOUR", NULL, NULL, NULL};
	struct cost_opts o = {.by = "workload", .split = "use"};
	auto_buf target = {0};
	auto_json j = NULL;
	size_t k;

	if (!cli_options(c, &o, &argc, argv, 0, 0))
		return c->exit;
	for (k = 0; k < ARRAY_SIZE(known) && strcmp(known[k], o.by); k++)
		;
	if (k == ARRAY_SIZE(known))
		return cli_usage(c, "--by is workload, lane, tag, trigger, hour, disk, network or rows, not \"%s\"",
				 o.by);
	if (strcmp(o.split, "use") && strcmp(o.split, "even") && strcmp(o.split, "none"))
		return cli_usage(c, "--split is use, even or none, not \"%s\"", o.split);
	if (set_prices(c, o.price) < 0)
		return c->exit;
	if (o.on && !heads[k])
		return cli_usage(c, "--on prices sums of calls, not %s", o.by);
	buf_adds(&target, "/v1/cost");
	call_query(&target, "by", strcmp(o.by, "network") ? o.by : "workload");
	if (o.on)
		call_query(&target, "on", o.on);
	call_query(&target, "split", o.split);
	if (o.workload)
		call_query(&target, "workload", o.workload);
	if (o.since_us)
		call_query_int(&target, "since_us", o.since_us);
	if (!call_show(c, "GET", target.p, STR_NULL, &j))
		return c->exit;
	if (o.on)
		print_on(c, j, heads[k]);
	else if (heads[k])
		print_sums(c, j, heads[k], &o);
	else if (!strcmp(o.by, "disk"))
		print_disk(c, j);
	else if (!strcmp(o.by, "network"))
		print_network(c, j);
	else
		print_rows(c, json_get(j, "rows"));
	return CLI_OK;
}

static void budget_row(struct table *t, const struct json *b)
{
	double usd = json_real(json_get(b, "usd"), 0), spent = json_real(json_get(b, "spent"), 0);
	auto_free char *of = table_text(b, json_get_str(b, "tag").n ? "tag" : "workload");

	table_row(t, (char *[]){table_text(b, "name"), table_text(b, "project"), take_ptr(of), cli_cell("%.6f", spent),
				cli_cell("%g", usd), table_text(b, "per"), table_text(b, "on"),
				cli_cell("%.1f", usd > 0 ? 100 * spent / usd : 0), table_text(b, "then"),
				table_text(b, "state"), table_text(b, "until")});
}

int budget_run(struct cli *c, int argc, char **argv)
{
	static const char *const heads[] = {"BUDGET", "PROJECT", "OF",	 ">SPENT", ">USD", "PER",
					    "ON",     ">%",	 "THEN", "STATE",  "UNTIL"};
	auto_json j = NULL;

	if (!cli_options(c, NULL, &argc, argv, 0, 0) || !call_show(c, "GET", "/v1/budgets", STR_NULL, &j))
		return c->exit;
	if (!table_list(c, json_get(j, "budgets"), heads, ARRAY_SIZE(heads), budget_row))
		cli_note(c, "there are no budgets; tandem.yaml declares them, see: man tandem.yaml");
	return CLI_OK;
}
