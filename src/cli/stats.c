/* SPDX-License-Identifier: Apache-2.0 */
/* stats: what containers take now. Two looks, a while apart, tell of the processors; on a terminal again and again. */
#include <poll.h>
#include <unistd.h>
#include "cli/call.h"
#include "cli/table.h"
#include "cli/verbs.h"

#define APART_MS 500

struct stats_opts {
	bool once;
};
const struct opt stats_options[] = {
	{0, "once", OPT_FLAG, NULL, "print it once, also on a terminal", offsetof(struct stats_opts, once)},
	{0},
};

static const struct json *same(const struct json *before, const struct json *now)
{
	const struct json *list = json_get(before, "containers"), *b;

	for (size_t i = 0; (b = json_at(list, i)); i++)
		if (str_eq(json_get_str(b, "id"), json_get_str(now, "id")) &&
		    str_eq(json_get_str(b, "container"), json_get_str(now, "container")))
			return b;
	return NULL;
}

static char *mib(const struct json *j, const char *key)
{
	int64_t bytes = json_get_int(j, key, -1);

	return bytes < 0 ? NULL : cli_cell("%.1fMi", (double)bytes / 1048576);
}

static void print(struct cli *c, const struct json *before, const struct json *now, const char *only)
{
	static const char *const heads[] = {"TASK", "NAME", "CONTAINER", ">CPU", ">MEMORY", ">PEAK", ">LIMIT"};
	const struct json *list = json_get(now, "containers"), *x;
	double us = (double)(json_get_int(now, "at_us", 0) - json_get_int(before, "at_us", 0));
	struct table t;

	table_init(&t, heads, ARRAY_SIZE(heads));
	for (size_t i = 0; (x = json_at(list, i)); i++) {
		const struct json *was = same(before, x);
		int64_t cpu = json_get_int(x, "cpu_us", -1) - json_get_int(was, "cpu_us", 0);

		if (only && !str_starts(json_get_str(x, "id"), only) && !str_eqc(json_get_str(x, "task"), only) &&
		    !str_eqc(json_get_str(x, "group"), only))
			continue;
		table_row(&t,
			  (char *[]){table_text(x, "id"), table_text(x, json_get(x, "task") ? "task" : "group"),
				     table_text(x, "container"),
				     was && cpu >= 0 && us > 0 ? cli_cell("%.1f%%", 100 * (double)cpu / us) : NULL,
				     mib(x, "mem_bytes"), mib(x, "mem_peak_bytes"), table_int(x, "memory_mb", "Mi")});
	}
	if (t.rows > 1)
		table_print(&t, c);
	else
		cli_note(c, "no container runs");
	table_done(&t);
	fflush(stdout);
}

int stats_run(struct cli *c, int argc, char **argv)
{
	struct stats_opts o = {0};
	auto_json before = NULL;

	if (!cli_options(c, &o, &argc, argv, 0, 1) || !call_show(c, "GET", "/v1/stats", STR_NULL, &before))
		return c->exit;
	do {
		auto_json now = NULL;
		struct json *old;

		(void)poll(NULL, 0, APART_MS);
		if (!call_show(c, "GET", "/v1/stats", STR_NULL, &now))
			return c->exit;
		if (!o.once && isatty(1))
			fputs("\033[H\033[2J", stdout);
		print(c, before, now, argc ? argv[0] : NULL);
		old = before;
		before = now;
		now = old;
	} while (!o.once && isatty(1));
	return CLI_OK;
}
