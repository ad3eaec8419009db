/* SPDX-License-Identifier: Apache-2.0 */
/* ls: what is declared. ps: what runs. */
#include "cli/call.h"
#include "cli/table.h"
#include "cli/verbs.h"
#include "base/mem.h"

static char *text_or(const struct json *j, const char *key)
{
	struct str s = json_get_str(j, key);

	return s.n ? str_dup(s) : NULL;
}

int ls_run(struct cli *c, int argc, char **argv)
{
	static const char *const heads[] = {"NAME",	"PROJECT", "RUNTIME",	 ">MEMORY",
					    ">TIMEOUT", "STATE",   ">INSTANCES", "ROUTE"};
	auto_buf body = {0};
	auto_json j = NULL;
	const struct json *list;
	struct table t;

	if (!cli_options(c, NULL, &argc, argv, 0, 0))
		return c->exit;
	if (call_json(c, "GET", "/v1/functions", STR_NULL, &body, &j) < 0)
		return c->exit;
	if (call_print_json(c, &body))
		return CLI_OK;
	list = json_get(j, "functions");
	if (!json_len(list)) {
		cli_note(c, "nothing is declared yet; bring something up with: tandem up -f tandem.yaml");
		return CLI_OK;
	}
	table_init(&t, heads, ARRAY_SIZE(heads));
	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *f = json_at(list, i);

		table_row(&t,
			  (char *[]){text_or(f, "name"), text_or(f, "project"), text_or(f, "runtime"),
				     cli_cell("%lldMi", (long long)json_get_int(f, "memory_mb", 0)),
				     cli_cell("%llds", (long long)json_get_int(f, "timeout_s", 0)), text_or(f, "state"),
				     cli_cell("%lld", (long long)json_get_int(f, "instances", 0)),
				     text_or(f, "route")});
	}
	table_print(&t, c);
	table_done(&t);
	return CLI_OK;
}

static char *age(int64_t us)
{
	int64_t s = us / 1000000;

	if (s < 1)
		return cli_cell("%lldms", (long long)(us / 1000));
	if (s < 120)
		return cli_cell("%llds", (long long)s);
	if (s < 7200)
		return cli_cell("%lldm", (long long)(s / 60));
	return cli_cell("%lldh", (long long)(s / 3600));
}

int ps_run(struct cli *c, int argc, char **argv)
{
	static const char *const heads[] = {">ID", "FUNCTION", "STATE", ">FOR", ">PID", ">EVENTS", ">PEAK", ">MEMORY"};
	auto_buf body = {0};
	auto_json j = NULL;
	const struct json *list;
	struct table t;

	if (!cli_options(c, NULL, &argc, argv, 0, 0))
		return c->exit;
	if (call_json(c, "GET", "/v1/instances", STR_NULL, &body, &j) < 0)
		return c->exit;
	if (call_print_json(c, &body))
		return CLI_OK;
	list = json_get(j, "instances");
	if (!json_len(list)) {
		cli_note(c, "no instance runs; the first event starts one");
		return CLI_OK;
	}
	table_init(&t, heads, ARRAY_SIZE(heads));
	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *f = json_at(list, i);
		int64_t peak = json_get_int(f, "mem_peak_bytes", 0);

		table_row(&t, (char *[]){cli_cell("%lld", (long long)json_get_int(f, "id", 0)), text_or(f, "function"),
					 text_or(f, "state"), age(json_get_int(f, "for_us", 0)),
					 cli_cell("%lld", (long long)json_get_int(f, "pid", 0)),
					 cli_cell("%lld", (long long)json_get_int(f, "invocations", 0)),
					 peak ? cli_cell("%.1fMi", (double)peak / 1048576) : NULL,
					 cli_cell("%lldMi", (long long)json_get_int(f, "memory_mb", 0))});
	}
	table_print(&t, c);
	table_done(&t);
	return CLI_OK;
}
