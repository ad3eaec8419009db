/* SPDX-License-Identifier: Apache-2.0 */
/* snapshots: which functions begin from one, or why not. */
#include <errno.h>
#include <stdlib.h>
#include "cli/call.h"
#include "cli/table.h"
#include "cli/verbs.h"

struct snapshots_opts {
	const char *max_disk;
};
const struct opt snapshots_options[] = {
	{0, "max-disk", OPT_TEXT, "SIZE",
	 "how much of the disk all of them may take from now on, like 5G; 0: none is kept",
	 offsetof(struct snapshots_opts, max_disk)},
	{0},
};

/* "5G", "512M", "1000000"; -1 when it is none. */
static int64_t size_of(const char *text)
{
	static const char units[] = "KMGT";
	char *end;
	long long n;
	const char *unit;

	errno = 0;
	n = strtoll(text, &end, 10);
	if (end == text || n < 0 || errno)
		return -1;
	unit = *end ? strchr(units, *end) : NULL;
	if (unit) {
		int shift = 10 * (int)(unit - units + 1);

		if (n > INT64_MAX >> shift)
			return -1;
		n <<= shift;
		end++;
		end += *end == 'i';
		end += *end == 'B';
	}
	return *end ? -1 : n;
}

static char *megabytes(int64_t n)
{
	return cli_cell("%.1fMi", (double)n / 1048576);
}

static void row(struct table *t, const struct json *s)
{
	struct str none = json_get_str(s, "none"), made = json_get_str(s, "made");
	bool there = !none.n;

	table_row(t, (char *[]){table_text(s, "function"), table_text(s, "version"),
				there ? megabytes(json_get_int(s, "bytes", 0)) : NULL,
				there ? table_int(s, "mappings", "") : NULL,
				there ? cli_cell("%.0f", json_real(json_get(s, "taken_in_ms"), 0)) : NULL,
				there ? cli_cell("made " STR_FMT, STR_ARG(made)) : str_dup(none)});
}

int snapshots_run(struct cli *c, int argc, char **argv)
{
	static const char *const heads[] = {"FUNCTION", "VERSION", ">SIZE", ">MAPPINGS", ">TAKEN MS", "STATE"};
	auto_buf target = {0};
	struct snapshots_opts o = {0};
	auto_json j = NULL;

	if (!cli_options(c, &o, &argc, argv, 0, 0))
		return c->exit;
	buf_adds(&target, "/v1/snapshots");
	if (o.max_disk && size_of(o.max_disk) < 0)
		return cli_usage(c, "--max-disk is a size like 5G, 512M or 0, not \"%s\"", o.max_disk);
	if (o.max_disk)
		buf_addf(&target, "?bytes=%lld", (long long)size_of(o.max_disk));
	if (!call_show(c, o.max_disk ? "POST" : "GET", target.p, STR_NULL, &j))
		return c->exit;
	table_list(c, json_get(j, "snapshots"), heads, ARRAY_SIZE(heads), row);
	cli_note(c, "%.1f MiB on disk; they may take %.1f MiB, the one used longest ago goes first",
		 (double)json_get_int(j, "bytes", 0) / 1048576, (double)json_get_int(j, "max_bytes", 0) / 1048576);
	return CLI_OK;
}
