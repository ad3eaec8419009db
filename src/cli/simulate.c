/* SPDX-License-Identifier: Apache-2.0 */
/* simulate: what ways of keeping idle instances cost for given calls, and who waits. In this process; the daemon is
 * asked for its ledger at most. */
#include "cli/simulate.h"
#include <math.h>
#include <time.h>
#include "base/clock.h"
#include "cli/table.h"
#include "cli/verbs.h"
#include "json/write.h"

#define RESTORE "1.6+0.056"
#define GB	(1024.0 * 1024 * 1024)
#define AT(f)	offsetof(struct sim_opts, f)

const struct opt simulate_options[] = {
	{0, "policy", OPT_TEXT, "NAMES", "of tandem, fixed-TIME (fixed-10m), hybrid, foresight, none (with commas)",
	 AT(policy)},
	{0, "restore", OPT_TEXT, "MS[+MS]", "a start from a snapshot: ms, and ms per MB that it holds (" RESTORE ")",
	 AT(restore)},
	{0, "plain", OPT_TEXT, "MS[+MS]", "all policies once more, with plain starts that take this, like 0+4",
	 AT(plain)},
	{0, "seed", OPT_COUNT, "N", "another draw of times within the minutes, and of durations", AT(seed)},
	{0, "since", OPT_DURATION, "TIME", "the ledger: what is younger than this (24h)", AT(since_us)},
	{0, "workload", OPT_TEXT, "PROJECT/NAME", "the ledger: only this one", AT(workload)},
	{0, "for", OPT_DURATION, "TIME", "drawn traffic: how much of it (1h)", AT(for_us)},
	{0, "service", OPT_TEXT, "MS[,MS]", "drawn traffic: what a call takes, or p50,p99 (100)", AT(service)},
	{0, "memory", OPT_COUNT, "MB", "drawn traffic: what an instance holds (128)", AT(memory_mb)},
	{0, "cpu", OPT_TEXT, "SHARE", "how much of a call is work, where it was not measured (1; --check: 0.1)",
	 AT(cpu)},
	{0, "check", OPT_FLAG, NULL,
	 "make calls of this time (--for, 20s) for real, and show what was predicted beside it", AT(check)},
	{0, "price", OPT_TEXT, "USD", "what an hour of this machine costs (as tandem cost has it)", AT(price)},
	{0},
};

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

static int policy_of(struct str name, struct simulate_way *ret)
{
	static const struct {
		const char *name;
		enum simulate_rule rule;
		int64_t keep_us;
	} known[] = {
		{"tandem", SIMULATE_KEEP, -1},
		{"none", SIMULATE_KEEP, 0},
		{"foresight", SIMULATE_FORESIGHT, -1},
		{"hybrid", SIMULATE_HYBRID, 0},
	};
	struct str prefix, time;

	for (size_t k = 0; k < ARRAY_SIZE(known); k++)
		if (str_eqc(name, known[k].name)) {
			*ret = (struct simulate_way){.rule = known[k].rule, .keep_us = known[k].keep_us};
			return 0;
		}
	*ret = (struct simulate_way){.rule = SIMULATE_KEEP};
	return str_cut(name, '-', &prefix, &time) && str_eqc(prefix, "fixed") ? cli_duration(time, &ret->keep_us) : -1;
}

/* All of --policy with these starts. */
static int add_ways(struct sim *m, const char *option, const char *start, const char *tail)
{
	struct str rest = str_of(m->o.policy), name;
	struct simulate_start s;

	if (start_of(m->c, option, start, &s) < 0)
		return -1;
	while (str_next(&rest, ',', &name)) {
		if (m->n == SIM_WAYS_MAX)
			return cli_usage(m->c, "at most %d policies can be compared", SIM_WAYS_MAX), -1;
		if (name.n > SIM_NAME_MAX / 2 || policy_of(name, &m->ways[m->n]) < 0)
			return cli_usage(m->c,
					 "--policy has tandem, fixed-TIME like fixed-10m, hybrid, foresight and none, "
					 "not \"" STR_FMT "\"",
					 STR_ARG(name)),
			       -1;
		m->ways[m->n].start = s;
		snprintf(m->names[m->n++], SIM_NAME_MAX, STR_FMT "%s", STR_ARG(name), tail);
	}
	return m->n ? 0 : (cli_usage(m->c, "--policy names none"), -1);
}

static double share(double part, double of)
{
	return of > 0 ? part / of : 0;
}

static double machine_usd(const struct sim *m, const struct simulate_use *u)
{
	return price_machine_use(&m->price.machine, m->cpu_us + u->start_s * 1e6, u->held_byte_s, 1e6);
}

static void print(struct sim *m, const struct simulate_result *r)
{
	static const char *const heads[] = {"POLICY",	  ">COLD",	     ">ADDED P50 MS",  ">P95",
					    ">P99",	  ">LATENCY P50 MS", ">P95",	       ">P99",
					    ">IDLE GB*S", ">IN VAIN",	     ">HELD GB, MOST", ">USD HERE"};
	struct table t;

	table_init(&t, heads, ARRAY_SIZE(heads));
	for (size_t k = 0; k < m->n; k++) {
		const struct simulate_use *u = &r[k].use;

		table_row(&t, (char *[]){cli_cell("%s", m->names[k]),
					 cli_cell("%.2f %%", 100 * share((double)u->cold, (double)u->calls)),
					 cli_cell("%.2f", (double)r[k].added.p50_us / 1e3),
					 cli_cell("%.2f", (double)r[k].added.p95_us / 1e3),
					 cli_cell("%.2f", (double)r[k].added.p99_us / 1e3),
					 cli_cell("%.1f", (double)r[k].latency.p50_us / 1e3),
					 cli_cell("%.1f", (double)r[k].latency.p95_us / 1e3),
					 cli_cell("%.1f", (double)r[k].latency.p99_us / 1e3),
					 cli_cell("%.0f", u->idle_byte_s / GB),
					 cli_cell("%.0f %%", 100 * share(u->vain_byte_s, u->idle_byte_s)),
					 cli_cell("%.1f, %.1f", share(u->held_byte_s, (double)m->end_us / 1e6) / GB,
						  r[k].held_most_bytes / GB),
					 cli_cell("%.6g", machine_usd(m, u))});
	}
	table_print(&t, m->c);
	table_done(&t);
	printf("The same calls elsewhere, list prices of %s:", m->price.prices.as_of);
	for (int k = 0; k < SIM_OFFERS; k++) {
		printf(" %s %.6g USD", price_offer_name[sim_offers[k]], m->offers[k].usd);
		if (m->offers[k].cannot)
			printf(" (without %lld functions that cannot run there)", (long long)m->offers[k].cannot);
		fputs(k < SIM_OFFERS - 1 ? "," : ".\n", stdout);
	}
	printf("%s.\n", m->source);
}

static void json_times(struct jw *w, const char *what, const struct lane_times *t)
{
	const struct {
		const char *name;
		int64_t us;
	} v[] = {{"p50", t->p50_us}, {"p95", t->p95_us}, {"p99", t->p99_us}, {"max", t->max_us}};

	for (size_t k = 0; k < ARRAY_SIZE(v); k++) {
		char key[32];

		snprintf(key, sizeof(key), "%s_%s_us", what, v[k].name);
		jw_int(w, key, v[k].us);
	}
}

static void print_json(struct sim *m, const struct simulate_result *r)
{
	auto_object(w, out);

	jw_int(&w, "functions", m->functions);
	jw_int(&w, "left_out", m->left_out);
	jw_int(&w, "calls", r[0].use.calls);
	jw_real(&w, "seconds", (double)m->end_us / 1e6);
	jw_real(&w, "took_cpu_s", m->cpu_s);
	jw_real(&w, "busy_gb_s", r[0].use.busy_byte_s / GB);
	jw_strc(&w, "source", m->source);
	jw_strc(&w, "prices_as_of", m->price.prices.as_of);
	jw_arr(&w, "offers");
	for (int k = 0; k < SIM_OFFERS; k++) {
		jw_obj(&w, NULL);
		jw_strc(&w, "name", price_offer_name[sim_offers[k]]);
		jw_real(&w, "usd", m->offers[k].usd);
		jw_int(&w, "functions_left_out", m->offers[k].cannot);
		jw_end(&w, '}');
	}
	jw_end(&w, ']');
	jw_arr(&w, "policies");
	for (size_t k = 0; k < m->n; k++) {
		const struct simulate_use *u = &r[k].use;

		jw_obj(&w, NULL);
		jw_strc(&w, "name", m->names[k]);
		jw_real(&w, "idle_gb_s", u->idle_byte_s / GB);
		jw_real(&w, "vain_gb_s", u->vain_byte_s / GB);
		jw_real(&w, "held_gb_s", u->held_byte_s / GB);
		jw_real(&w, "held_most_gb", r[k].held_most_bytes / GB);
		jw_int(&w, "cold", u->cold);
		jw_int(&w, "starts", u->starts);
		jw_int(&w, "refused", u->refused);
		json_times(&w, "added", &r[k].added);
		json_times(&w, "latency", &r[k].latency);
		jw_real(&w, "usd_machine", machine_usd(m, u));
		jw_end(&w, '}');
	}
	jw_end(&w, ']');
	jw_end(&w, '}');
	puts(out.p);
}

static int price(struct sim *m, struct err *e)
{
	struct price_here *p = &m->price;
	double usd_hour;

	if (cli_price_here(m->c, p, e) < 0)
		return -1;
	if (m->o.price && price_parse(m->o.price, &usd_hour) == 0)
		price_machine_init(&p->machine, &p->prices, usd_hour, p->vcpus, p->memory_bytes);
	return 0;
}

static int replay(struct sim *m, const char *what)
{
	struct simulate_result r[SIM_WAYS_MAX];
	struct err e = {0};
	clock_t cpu;
	int rc;

	m->began_us = clock_now_us();
	cpu = clock();
	m->s = simulate_new(m->ways, m->n, (uint64_t)m->o.seed);
	rc = price(m, &e);
	if (!rc)
		rc = !strcmp(what, "ledger") ? sim_ledger(m, &e)
		     : strchr(what, ':')     ? sim_traffic(m, what, &e)
					     : sim_folder(m, what, &e);
	if (rc)
		return rc < 0 ? cli_fail(&e) : rc;
	m->cpu_s = (double)(clock() - cpu) / CLOCKS_PER_SEC;
	if (m->told_us)
		fprintf(stderr, "\r\033[K");
	for (size_t k = 0; k < m->n; k++)
		simulate_result(m->s, k, &r[k]);
	if (m->c->json) {
		print_json(m, r);
		return CLI_OK;
	}
	print(m, r);
	cli_note(m->c,
		 "%lld functions, %lld calls, %.0f GB*s of work; %lld functions left out; %.2f s of a processor, "
		 "%.1f M/s for each policy",
		 (long long)m->functions, (long long)r[0].use.calls, r[0].use.busy_byte_s / GB, (long long)m->left_out,
		 m->cpu_s, share((double)r[0].use.calls * (double)m->n / 1e6, m->cpu_s));
	return CLI_OK;
}

int simulate_run(struct cli *c, int argc, char **argv)
{
	struct sim m = {.c = c,
			.o = {.policy = "tandem,fixed-1m,fixed-10m,fixed-20m,hybrid,foresight",
			      .since_us = 86400 * 1000000ll,
			      .service = "100",
			      .memory_mb = 128,
			      .for_us = -1}};
	double usd;
	char *end;
	int exit;

	if (!cli_options(c, &m.o, &argc, argv, 1, 1))
		return c->exit;
	if (add_ways(&m, "restore", m.o.restore ? m.o.restore : RESTORE, "") < 0)
		return CLI_USAGE;
	m.n_restore = m.n;
	if (m.o.plain && add_ways(&m, "plain", m.o.plain, ", plain starts") < 0)
		return CLI_USAGE;
	if (!m.o.cpu)
		m.o.cpu = m.o.check ? "0.1" : "1"; /* two processors can take part in ten of a check's calls */
	m.cpu_share = strtod(m.o.cpu, &end);
	if (!*m.o.cpu || *end || !(m.cpu_share >= 0 && m.cpu_share <= 1))
		return cli_usage(c, "--cpu is a share from 0 to 1, not \"%s\"", m.o.cpu);
	if (m.o.price && price_parse(m.o.price, &usd) < 0)
		return cli_usage(c, "--price is a number of USD per hour, like 0.05");
	if (m.o.memory_mb < 1 || m.o.memory_mb > 1 << 20)
		return cli_usage(c, "--memory is from 1 to 1048576 MB");
	if (!m.o.for_us || !m.o.since_us)
		return cli_usage(c, "--%s is a time in which there can be calls, like 10m",
				 m.o.for_us ? "since" : "for");
	if (m.o.for_us < 0)
		m.o.for_us = (m.o.check ? 20 : 3600) * 1000000ll;
	if (m.o.check && !strcmp(argv[0], "ledger"))
		return cli_usage(c, "--check takes a folder or drawn traffic");
	if (m.o.check)
		return sim_check(&m, argv[0]);
	exit = replay(&m, argv[0]);
	simulate_free(m.s);
	return exit;
}
