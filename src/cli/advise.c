/* SPDX-License-Identifier: Apache-2.0 */
/* advise: which lane each workload belongs in, and why. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include "advise/say.h"
#include "base/io.h"
#include "base/mem.h"
#include "cli/advise_facts.h"
#include "cli/call.h"
#include "cli/price.h"
#include "cli/verbs.h"

struct advise_opts {
	const char *declare, *trace, *notes, *on;
	int64_t since_us;
};
#define AT(f) offsetof(struct advise_opts, f)
const struct opt advise_options[] = {
	{0, "declare", OPT_TEXT, "FILE", "what workloads are to be (YAML or JSON, - for standard input)", AT(declare)},
	{0, "trace", OPT_TEXT, "DIR", "a recorded day, as for tandem simulate; names are its functions", AT(trace)},
	{0, "since", OPT_DURATION, "TIME", "only calls that are younger than this: 10m, 7d (24h)", AT(since_us)},
	{0, "on", OPT_TEXT, "PLACE", "whose prices decide: here (default), aws, aws-ec2, gcp or azure", AT(on)},
	{0, "notes", OPT_TEXT, "DIR", "write a page for each workload there: runbook, cost, way back", AT(notes)},
	{0},
};

/* What runs only to fail says neither what it takes nor what it will take. */
static bool all_failed(struct cli *c, const struct facts *f, struct jw *w)
{
	auto_free char *says = NULL;

	if (!(f->failed > 0) || f->failed < f->events || (f->known & 1u << FACT_DURATION))
		return false;
	says = xasprintf("every one of its last %.0f calls failed: repair it, then ask again", f->failed);
	if (!c->json) {
		printf("%s%s%s\n  %s\n", cli_tint(c, TINT_BOLD), f->name, cli_plain(c), says);
		return true;
	}
	jw_obj(w, NULL);
	jw_strc(w, "name", f->name);
	jw_null(w, "lane");
	jw_strc(w, "now", f->now < LANE_N ? lane_name[f->now] : NULL);
	jw_real(w, "calls", f->events);
	jw_real(w, "failed", f->failed);
	jw_strc(w, "why", says);
	jw_end(w, '}');
	return true;
}

#define NOTE_MARK "<!-- written by tandem advise; changes are lost -->\n"

/* A page of ours is written anew; what is there and is not ours stays. */
static int write_note(const char *dir, const char *name, const struct buf *text, struct err *e)
{
	auto_free char *file = xasprintf("%s.md", name);
	auto_close int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_buf old = {0};

	if (fd < 0)
		return err_sys(e, errno, "open %s", dir);
	for (char *p = file; *p; p++)
		if (*p == '/' || *p == ':')
			*p = '-';
	if (file[0] == '.')
		file[0] = '-';
	if (faccessat(fd, file, F_OK, AT_SYMLINK_NOFOLLOW) == 0 &&
	    (io_read_file(fd, file, 1 << 20, &old, e) < 0 || !str_starts(buf_str(&old), NOTE_MARK)))
		return err_set(e, ERR_EXISTS,
			       "%s/%s is there and was not written by tandem advise; choose another folder", dir, file);
	return io_write_file(fd, file, text->p, text->n, 0644, e);
}

static int advise_one(struct cli *c, const struct advise_opts *o, struct facts *f, const struct advise_market *m,
		      struct jw *w)
{
	auto_buf text = {0}, note = {0}, over = {0};
	struct err e = {0};
	struct advice a;

	if (all_failed(c, f, w))
		return 0;
	facts_settle(f);
	advise(f, m, &a);
	advise_latency(f, &a);
	if (c->json) {
		say_json(w, f, &a, m);
	} else {
		say_text(&text, f, &a, m);
		printf("%s%s%s (", cli_tint(c, TINT_BOLD), f->name, cli_plain(c));
		if (f->over_s > 0) {
			fact_text(&over, FACT_DURATION, f->over_s);
			printf("%.0f call%s in %s", f->events, f->events == 1 ? "" : "s", over.p);
			if (f->failed > 0)
				printf("; %.0f failed, of which only the rate counts", f->failed);
			printf(")\n%s", text.p);
		} else {
			printf("nothing was measured)\n%s", text.p);
		}
	}
	if (!o->notes)
		return 0;
	buf_adds(&note, NOTE_MARK);
	say_notes(&note, f, &a, m);
	return write_note(o->notes, f->name, &note, &e) < 0 ? (cli_fail(&e), -1) : 0;
}

int advise_run(struct cli *c, int argc, char **argv)
{
	struct advise_opts o = {.on = place_name[PLACE_HERE], .since_us = 86400000000ll};
	auto_(facts_list_done) struct facts_list l = {0};
	struct advise_market m = {0};
	struct price_here here;
	auto_buf out = {0};
	struct err e = {0};
	struct jw w;

	if (!cli_options(c, &o, &argc, argv, 0, 1000))
		return c->exit;
	while (m.decides < PLACE_N && strcmp(place_name[m.decides], o.on) != 0)
		m.decides++;
	if (m.decides == PLACE_N)
		return cli_usage(c, "--on is here, aws, aws-ec2, gcp or azure, not \"%s\"", o.on);
	if (o.notes) {
		auto_free char *page = xasprintf("%s/page", o.notes);

		if (mkdir(o.notes, 0755) < 0 && errno != EEXIST)
			return cli_failf("%s: %s", o.notes, strerror(errno));
		if (cli_can_write(page, &e) < 0)
			return cli_fail(&e);
	}
	if (advise_facts(c, &(struct advise_from){o.declare, o.trace, o.since_us, argv, (size_t)argc}, &l) < 0)
		return CLI_FAILED;
	if (cli_price_here(c, &here, &e) < 0)
		return cli_fail(&e);
	m.prices = &here.prices, m.machine = here.machine, m.arch = CLI_ARCH;
	m.vcpus = here.vcpus, m.memory_bytes = here.memory_bytes;
	w = jw_object(&out);
	jw_arr(&w, "workloads");
	for (size_t i = 0; i < l.n; i++)
		if (advise_one(c, &o, &l.v[i], &m, &w) < 0)
			return CLI_FAILED;
	jw_end(&w, ']');
	jw_end(&w, '}');
	if (c->json)
		puts(out.p);
	else if (!l.n)
		cli_note(c, "nothing is declared here: tandem up, or tandem advise --declare FILE");
	return CLI_OK;
}
