/* SPDX-License-Identifier: Apache-2.0 */
/* logs: what functions printed; events: what happened to them. The daemon sends lines; they are printed as they come. */
#include "base/enc.h"
#include "cli/call.h"
#include "cli/verbs.h"

struct logs_opts {
	bool follow;
	int64_t since_us, lines;
};
#define AT(f) offsetof(struct logs_opts, f)
const struct opt logs_options[] = {
	{'f', "follow", OPT_FLAG, NULL, "go on printing what is added", AT(follow)},
	{'n', "lines", OPT_COUNT, "N", "at most the last N lines (200)", AT(lines)},
	{0, "since", OPT_DURATION, "TIME", "only lines younger than this: 30s, 10m, 2h", AT(since_us)},
	{0},
};

struct printed {
	bool any;
	struct buf left; /* on a terminal: the beginning of a character that goes on in the next piece */
};

static int print_piece(void *arg, struct str piece)
{
	struct printed *p = arg;
	size_t n = piece.n;

	p->any |= n > 0;
	buf_addstr(&p->left, piece);
	if (isatty(1)) {
		n = enc_utf8_whole(buf_str(&p->left));
		cli_clean_n(p->left.p, n);
	}
	fwrite(p->left.p, 1, n, stdout);
	buf_drop(&p->left, n);
	return fflush(stdout) != 0;
}

/* What was cut off there goes on nowhere. */
static void printed_done(struct printed *p)
{
	fwrite(buf_str(&p->left).p, 1, p->left.n, stdout);
	buf_done(&p->left);
}

/* What the daemon sends line by line. param: what the first word is called there. */
static int show_lines(struct cli *c, int argc, char **argv, const char *path, const char *param, const char *done)
{
	struct logs_opts o = {.lines = 200};
	auto_(printed_done) struct printed printed = {0};
	auto_buf target = {0};

	if (!cli_options(c, &o, &argc, argv, 0, 1))
		return c->exit;
	if (o.lines > 100000)
		return cli_usage(c, "-n takes at most 100000");
	buf_adds(&target, path);
	if (argc)
		call_query(&target, param, argv[0]);
	call_query_int(&target, "lines", o.lines);
	if (o.since_us)
		call_query_int(&target, "since_us", o.since_us);
	if (o.follow)
		call_query(&target, "follow", "1");
	if (c->json)
		call_query(&target, "format", "json");
	if (call_stream(c, "GET", target.p, STR_NULL, print_piece, &printed) < 0)
		return c->exit;
	if (!printed.any && argc)
		cli_note(c, "nothing is %s of \"%s\"", done, argv[0]);
	return CLI_OK;
}

int logs_run(struct cli *c, int argc, char **argv)
{
	return show_lines(c, argc, argv, "/v1/logs", "function", "logged");
}

int events_run(struct cli *c, int argc, char **argv)
{
	return show_lines(c, argc, argv, "/v1/events", "about", "written down");
}
