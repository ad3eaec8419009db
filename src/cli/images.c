/* SPDX-License-Identifier: Apache-2.0 */
/* images and pull: which container images are here, bringing one, letting one go. */

#include "base/mem.h"
#include "cli/auth.h"
#include "cli/bring.h"
#include "cli/call.h"
#include "cli/table.h"
#include "cli/verbs.h"
#include "image/reference.h"
#include "json/write.h"

struct pull_opts {
	const char *tag;
};
const struct opt pull_options[] = {
	{'t', "tag", OPT_TEXT, "REF", "what an image from a file is called here", offsetof(struct pull_opts, tag)},
	{0},
};

static char *size_text(int64_t bytes)
{
	static const char units[] = "KMGT";
	double n = (double)bytes / 1024;
	unsigned i = 0;

	for (; n >= 1024 && i < 3; i++)
		n /= 1024;
	return cli_cell("%.1f%ci", n, units[i]);
}

/* --- images --- */

static void row(struct table *t, const struct json *im)
{
	struct str digest = json_get_str(im, "digest");

	if (digest.n > 19) /* sha256: and twelve digits tell enough */
		digest.n = 19;
	table_row(t,
		  (char *[]){table_text(im, "reference"), str_dup(digest),
			     cli_cell("%zu", json_len(json_get(im, "layers"))), size_text(json_get_int(im, "bytes", 0)),
			     table_int(im, "uses", ""), table_text(im, "created")});
}

static int list(struct cli *c)
{
	static const char *const heads[] = {"REFERENCE", "DIGEST", ">LAYERS", ">SIZE", ">USED", "CREATED"};
	auto_json j = NULL;

	if (!call_show(c, "GET", "/v1/images", STR_NULL, &j))
		return c->exit;
	if (!table_list(c, json_get(j, "images"), heads, ARRAY_SIZE(heads), row))
		cli_note(c, "no images; tandem pull REF brings one");
	return CLI_OK;
}

static int sweep(struct cli *c)
{
	auto_json j = NULL;

	if (!call_show(c, "POST", "/v1/images/gc", STR_NULL, &j))
		return c->exit;
	printf("%lld images and %lld layers removed\n", (long long)json_get_int(j, "images", 0),
	       (long long)json_get_int(j, "layers", 0));
	return CLI_OK;
}

static int forget(struct cli *c, char **names, int n)
{
	int ret = CLI_OK;

	for (int i = 0; i < n; i++) {
		auto_buf target = {0}, body = {0};

		buf_adds(&target, "/v1/images");
		call_query(&target, "reference", names[i]);
		if (call_daemon(c, "DELETE", target.p, STR_NULL, &body) < 0)
			ret = c->exit;
		else
			cli_note(c, "%s removed", names[i]);
	}
	if (ret == CLI_OK)
		cli_note(c, "tandem images gc gives the room of layers back that no image needs");
	return ret;
}

int images_run(struct cli *c, int argc, char **argv)
{
	if (!cli_options(c, NULL, &argc, argv, 0, 64))
		return c->exit;
	if (!argc)
		return list(c);
	if (!strcmp(argv[0], "rm") && argc > 1)
		return forget(c, argv + 1, argc - 1);
	if (!strcmp(argv[0], "gc") && argc == 1)
		return sweep(c);
	return cli_usage(c, "images takes nothing, \"rm REF ...\" or \"gc\"");
}

/* --- pull --- */

struct watch {
	struct cli *c;
	struct buf line;			      /* of the daemon, not whole yet */
	bool terminal, drawn, ended, failed, for_run; /* whose output is the program's */
	char shown[96];
};

static void clear(struct watch *w)
{
	if (w->drawn)
		fputs("\r\033[K", stderr);
	w->drawn = false;
}

/* On a terminal one line that changes; else one line for each step. */
static void show(struct watch *w, const char *step, const char *more)
{
	if (w->c->quiet)
		return;
	if (w->terminal) {
		clear(w);
		fprintf(stderr, "%s%s", step, more);
		fflush(stderr);
		w->drawn = true;
	} else if (strcmp(w->shown, step)) {
		fprintf(stderr, "%s\n", step);
	}
	strlcpy_(w->shown, step, sizeof(w->shown));
}

static void progress(struct watch *w, const struct json *j)
{
	struct str state = json_get_str(j, "state");
	auto_free char *size = size_text(json_get_int(j, "bytes", 0));
	auto_free char *more = xasprintf("  %s", size);
	char step[96];

	if (str_eqc(state, "copy")) {
		show(w, "copying", json_get_int(j, "bytes", 0) ? more : "");
	} else if (str_eqc(state, "check")) {
		show(w, "checking", "");
	} else if (str_eqc(state, "unpack")) {
		snprintf(step, sizeof(step), "unpacking layer %lld of %lld", (long long)json_get_int(j, "layer", 0),
			 (long long)json_get_int(j, "layers", 0));
		show(w, step, "");
	}
}

static void finished(struct watch *w, const struct json *j, struct str text)
{
	const struct json *im = json_get(j, "image");
	auto_free char *size = size_text(json_get_int(im, "bytes", 0));

	clear(w);
	if (w->for_run)
		return;
	if (w->c->json)
		printf(STR_FMT "\n", STR_ARG(text));
	else
		printf(STR_FMT "  " STR_FMT "  %zu layer%s  %s\n", STR_ARG(json_get_str(im, "reference")),
		       STR_ARG(json_get_str(im, "digest")), json_len(json_get(im, "layers")),
		       json_len(json_get(im, "layers")) == 1 ? "" : "s", size);
}

static void one_line(struct watch *w, struct str text)
{
	auto_json j = json_parse(text, NULL);
	struct str error = json_get_str(j, "error");

	if (error.p) {
		auto_free char *clean = cli_clean(str_dup(error));

		clear(w);
		w->c->exit = cli_failf("%s", clean);
		w->failed = true;
	} else if (str_eqc(json_get_str(j, "state"), "done")) {
		w->ended = true;
		finished(w, j, text);
	} else {
		progress(w, j);
	}
}

static int on_piece(void *arg, struct str piece)
{
	struct watch *w = arg;
	char *nl;

	buf_addstr(&w->line, piece);
	while (w->line.n && (nl = memchr(w->line.p, '\n', w->line.n))) {
		one_line(w, (struct str){w->line.p, (size_t)(nl - w->line.p)});
		buf_drop(&w->line, (size_t)(nl - w->line.p) + 1);
	}
	return 0;
}

static int ask(struct cli *c, const char *reference, const char *auth, const char *upload, bool for_run)
{
	struct watch w = {.c = c, .terminal = isatty(2), .for_run = for_run};
	auto_buf body = {0};
	struct jw out;
	int r;

	out = jw_object(&body);
	jw_strc(&out, "reference", reference);
	if (auth)
		jw_strc(&out, "auth", auth);
	if (upload)
		jw_strc(&out, "upload", upload);
	jw_end(&out, '}');
	r = call_stream(c, "POST", "/v1/images/pull", buf_str(&body), on_piece, &w);
	explicit_bzero(body.p, body.n);
	clear(&w);
	buf_done(&w.line);
	if (r < 0 || w.failed)
		return c->exit;
	return w.ended ? CLI_OK : cli_failf("the daemon went away before the image was here; pull again");
}

int pull_local(struct cli *c, const char *source, const char *tag, bool for_run)
{
	auto_free char *name = tag ? xstrdup(tag) : bring_name(source);
	struct reference r;
	struct err e = {0};
	char upload[32];

	if (reference_parse(name, &r, &e) < 0)
		return tag ? cli_fail(&e) : cli_failf("%s; name it with --tag", e.text);
	if (bring_upload(c, source, upload) < 0)
		return c->exit;
	return ask(c, r.text, NULL, upload, for_run);
}

int pull_reference(struct cli *c, const char *source, bool for_run)
{
	const char *name = strncmp(source, "docker://", 9) ? source : source + 9;
	auto_buf auth = {0};
	struct reference r;
	struct err e = {0};
	int ret;

	if (reference_parse(name, &r, &e) < 0 || auth_find(c, r.host, &auth, &e) < 0)
		return cli_fail(&e);
	ret = ask(c, r.text, auth.n ? auth.p : NULL, NULL, for_run);
	if (auth.n)
		explicit_bzero(auth.p, auth.n);
	return ret;
}

int pull_run(struct cli *c, int argc, char **argv)
{
	struct pull_opts o = {0};

	if (!cli_options(c, &o, &argc, argv, 1, 1))
		return c->exit;
	if (bring_is_local(argv[0]))
		return pull_local(c, argv[0], o.tag, false);
	if (o.tag)
		return cli_usage(c, "--tag is for images from files; one from a registry has its name already");
	return pull_reference(c, argv[0], false);
}
