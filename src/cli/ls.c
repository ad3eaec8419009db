/* SPDX-License-Identifier: Apache-2.0 */
/* ls: what is declared. ps: what runs. */
#include "base/mem.h"
#include "cli/call.h"
#include "cli/table.h"
#include "cli/verbs.h"

static void function_row(struct table *t, const struct json *f)
{
	table_row(t, (char *[]){table_text(f, "name"), table_text(f, "project"), table_text(f, "runtime"),
				table_text(f, "lane"), table_int(f, "memory_mb", "Mi"), table_int(f, "timeout_s", "s"),
				table_text(f, "state"), table_int(f, "instances", ""), table_text(f, "route")});
}

static void service_row(struct table *t, const struct json *s)
{
	table_row(t, (char *[]){table_text(s, "name"), table_text(s, "project"), table_text(s, "lane"),
				table_text(s, "state"), table_text(s, "rollout"), table_int(s, "instances", ""),
				table_int(s, "desired", ""), table_int(s, "open", ""), table_int(s, "waiting", ""),
				table_text(s, "route")});
}

static char *count(const struct json *h, const char *key)
{
	return json_get(h, key) ? table_int(h, key, "") : NULL;
}

static void holder_row(struct table *t, const struct json *h)
{
	table_row(t, (char *[]){table_text(h, "record"), table_text(h, "project"), count(h, "waiting"),
				count(h, "in_flight"), count(h, "delayed"), count(h, "shards"),
				table_text(h, "dead_letter")});
}

static void trigger_row(struct table *t, const struct json *x)
{
	table_row(t, (char *[]){table_text(x, "from"), table_text(x, "to"), table_text(x, "project"),
				table_text(x, "state"), table_text(x, "next"), table_text(x, "reason")});
}

int ls_run(struct cli *c, int argc, char **argv)
{
	static const char *const heads[] = {"NAME",	"PROJECT", "RUNTIME",	 "LANE", ">MEMORY",
					    ">TIMEOUT", "STATE",   ">INSTANCES", "ROUTE"};
	static const char *const service_heads[] = {"SERVICE",	  "PROJECT", "LANE",  "STATE",	  "ROLLOUT",
						    ">INSTANCES", ">WANTED", ">OPEN", ">WAITING", "ROUTE"};
	static const char *const holder_heads[] = {"HOLDS EVENTS", "PROJECT", ">WAITING",    ">IN FLIGHT",
						   ">DELAYED",	   ">SHARDS", "DEAD LETTERS"};
	static const char *const trigger_heads[] = {"STARTS", "WHAT", "PROJECT", "STATE", "NEXT", "REASON"};
	auto_json j = NULL;
	size_t i = 0;
	bool any;

	if (!cli_options(c, NULL, &argc, argv, 0, 0) || !call_show(c, "GET", "/v1/functions", STR_NULL, &j))
		return c->exit;
	any = table_list(c, json_get(j, "functions"), heads, ARRAY_SIZE(heads), function_row);
	any |= table_list(c, json_get(j, "services"), service_heads, ARRAY_SIZE(service_heads), service_row);
	any |= table_list(c, json_get(j, "holders"), holder_heads, ARRAY_SIZE(holder_heads), holder_row);
	any |= table_list(c, json_get(j, "triggers"), trigger_heads, ARRAY_SIZE(trigger_heads), trigger_row);
	for (const struct json *f, *all = json_get(j, "functions"); i < json_len(all) && (f = json_at(all, i)); i++)
		if (json_get_str(f, "budget").n)
			cli_note(c, STR_FMT ": " STR_FMT, STR_ARG(json_get_str(f, "name")),
				 STR_ARG(json_get_str(f, "budget")));
	if (!any)
		cli_note(c, "nothing is declared yet; bring something up with: tandem up -f tandem.yaml");
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

static void instance_row(struct table *t, const struct json *i)
{
	int64_t peak = json_get_int(i, "mem_peak_bytes", 0);

	table_row(t,
		  (char *[]){table_int(i, "id", ""), table_text(i, "function"), table_text(i, "lane"),
			     table_text(i, "state"), age(json_get_int(i, "for_us", 0)), table_int(i, "pid", ""),
			     table_int(i, "invocations", ""), peak ? cli_cell("%.1fMi", (double)peak / CLI_MB) : NULL,
			     table_int(i, "memory_mb", "Mi")});
}

static void task_line(struct table *t, const struct json *k, char *id, char *name)
{
	struct str image = json_get_str(k, "image"), digest;
	char *reason = table_text(k, "reason");

	(void)str_cut(image, '@', &image, &digest);
	table_row(t, (char *[]){id, name, cli_cell("%.*s", str_starts(image, "sha256:") ? 19 : (int)image.n, image.p),
				table_text(k, "state"), table_text(k, "health"), age(json_get_int(k, "for_us", 0)),
				table_int(k, "memory_mb", "Mi"), reason ? cli_clean(reason) : NULL});
}

/* With a line for each container, where there are several. */
static void task_row(struct table *t, const struct json *k)
{
	const struct json *all = json_get(k, "containers"), *c;

	task_line(t, k, table_text(k, "id"), table_text(k, json_get(k, "name") ? "name" : "group"));
	for (size_t i = 0; json_len(all) > 1 && (c = json_at(all, i)); i++)
		task_line(t, c, xstrdup(""), cli_cell("/" STR_FMT, STR_ARG(json_get_str(c, "name"))));
}

int ps_run(struct cli *c, int argc, char **argv)
{
	static const char *const heads[] = {">ID",  "FUNCTION", "LANE",	 "STATE",  ">FOR",
					    ">PID", ">EVENTS",	">PEAK", ">MEMORY"};
	static const char *const task_heads[] = {"TASK", "NAME", "IMAGE", "STATE", "HEALTH", ">FOR", ">MEMORY", "END"};
	auto_json j = NULL;
	bool any;

	if (!cli_options(c, NULL, &argc, argv, 0, 0) || !call_show(c, "GET", "/v1/instances", STR_NULL, &j))
		return c->exit;
	any = table_list(c, json_get(j, "instances"), heads, ARRAY_SIZE(heads), instance_row);
	if (!table_list(c, json_get(j, "tasks"), task_heads, ARRAY_SIZE(task_heads), task_row) && !any)
		cli_note(c, "nothing runs; the first event or request starts something");
	return CLI_OK;
}
