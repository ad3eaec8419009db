/* SPDX-License-Identifier: Apache-2.0 */
/*
 * up and down. The file is parsed by the daemon alone (one parser, one truth); this side reads the file and the folders
 * that it names.
 *
 *   1. plan without code      the daemon checks the file and names the folders
 *   2. plan with digests      what will change, and which blobs the daemon lacks
 *   3. PUT those blobs
 *   4. apply                  progress as it happens, one JSON object a line
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include "base/enc.h"
#include "base/io.h"
#include "base/limits.h"
#include "base/mem.h"
#include "cli/call.h"
#include "cli/digest.h"
#include "cli/keep.h"
#include "cli/pack.h"
#include "cli/table.h"
#include "cli/verbs.h"
#include "json/write.h"

struct up_opts {
	const char *file, *project;
	bool dry_run;
};
#define AT(f) offsetof(struct up_opts, f)
const struct opt up_options[] = {
	{'f', "file", OPT_TEXT, "FILE", "the file (./tandem.yaml)", AT(file)},
	{0, "dry-run", OPT_FLAG, NULL, "only show what would change", AT(dry_run)},
	{0},
};
const struct opt down_options[] = {
	{'f', "file", OPT_TEXT, "FILE", "the file whose project it is (./tandem.yaml)", AT(file)},
	{0, "project", OPT_TEXT, "NAME", "the project, without its file", AT(project)},
	{0},
};

struct folder {
	char *name; /* as in the file */
	char sha256[65];
	struct buf bytes;
};
struct up {
	struct cli *c;
	struct up_opts o;
	char dir[PATH_MAX]; /* of the file: folders are relative to it */
	struct buf yaml;
	struct folder *folders;
	size_t n_folders;
	/* progress */
	struct buf line;
	bool failed, ended;
	unsigned shown; /* entries that came to an end */
};

static void up_done(struct up *u)
{
	buf_done(&u->yaml);
	buf_done(&u->line);
	for (size_t i = 0; i < u->n_folders; i++) {
		free(u->folders[i].name);
		buf_done(&u->folders[i].bytes);
	}
	free(u->folders);
}

/* Sends only variables that the text names as ${NAME...}: the rest of the environment is nobody's business. */
static void add_vars(struct jw *w, struct str text)
{
	auto_buf seen = {0};

	buf_addc(&seen, '\n');
	jw_obj(w, "vars");
	for (size_t i = 0; i + 2 < text.n; i++) {
		size_t from = i + 2, to = from;
		char key[256], probe[260];
		const char *value;

		if (text.p[i] != '$' || text.p[i + 1] != '{')
			continue;
		while (to < text.n && (isalnum((unsigned char)text.p[to]) || text.p[to] == '_'))
			to++;
		if (to == from || to - from >= sizeof(key))
			continue;
		snprintf(key, sizeof(key), "%.*s", (int)(to - from), text.p + from);
		snprintf(probe, sizeof(probe), "\n%s\n", key);
		value = getenv(key);
		if (!value || strstr(seen.p, probe))
			continue;
		buf_addf(&seen, "%s\n", key);
		jw_strc(w, key, value);
	}
	jw_end(w, '}');
}

static void request(struct up *u, bool with_code, struct buf *out)
{
	auto_free char *whole = realpath(u->dir, NULL);
	struct jw w = jw_object(out);

	jw_strc(&w, "file", u->o.file);
	jw_str(&w, "yaml", buf_str(&u->yaml));
	jw_strc(&w, "dir", whole);
	add_vars(&w, buf_str(&u->yaml));
	if (with_code) {
		jw_obj(&w, "code");
		for (size_t i = 0; i < u->n_folders; i++)
			jw_strc(&w, u->folders[i].name, u->folders[i].sha256);
		jw_end(&w, '}');
	}
	jw_end(&w, '}');
}

static int read_file(struct up *u)
{
	struct err e = {0};
	const char *slash = strrchr(u->o.file, '/');

	if (io_read_file(AT_FDCWD, u->o.file, LIM_YAML_BYTES, &u->yaml, &e) < 0) {
		cli_fail(&e);
		if (e.kind == ERR_NOT_FOUND)
			fprintf(stderr, "tandem: name the file with -f, or start from one in examples/\n");
		return CLI_FAILED;
	}
	if (u->yaml.n && (memchr(u->yaml.p, 0, u->yaml.n) || !enc_utf8_ok(buf_str(&u->yaml))))
		return cli_failf("%s is no text in UTF-8; is it the right file?", u->o.file);
	if (!slash)
		strlcpy_(u->dir, ".", sizeof(u->dir));
	else if ((size_t)snprintf(u->dir, sizeof(u->dir), "%.*s", (int)(slash - u->o.file) + 1, u->o.file) >=
		 sizeof(u->dir))
		return cli_failf("the path %s is too long", u->o.file);
	return 0;
}

/* The text with ${NAME}, ${NAME:-default} and $$ replaced as src/app/interpolate.c does it; what is wrong it refuses. */
static void expand(struct str text, struct buf *out)
{
	for (size_t i = 0; i < text.n; i++) {
		const char *end = memchr(text.p + i, '}', text.n - i), *dflt, *value;
		auto_free char *name = NULL;

		if (text.p[i] != '$' || i + 1 == text.n || (text.p[i + 1] == '{' && !end)) {
			buf_addc(out, text.p[i]);
			continue;
		}
		if (text.p[++i] != '{') {
			buf_addc(out, text.p[i]);
			continue;
		}
		name = xstrndup(text.p + i + 1, (size_t)(end - text.p) - i - 1);
		dflt = strstr(name, ":-");
		if (dflt)
			name[dflt - name] = 0;
		value = getenv(name);
		buf_adds(out, value && *value ? value : dflt ? dflt + 2 : "");
		i = (size_t)(end - text.p);
	}
}

/* As a word of its own. */
static bool names(struct str text, const char *folder)
{
	const char *end = text.p + text.n, *at = text.p;
	size_t n = strlen(folder);

	for (; n && (at = memmem(at, (size_t)(end - at), folder, n)); at++)
		if ((at == text.p || strchr(" \t\n\"'[,", at[-1])) && (at + n == end || strchr(" \t\r\n\"',]}", at[n])))
			return true;
	return false;
}

/* A daemon that somebody took over must not have us, who may be root, read what nobody declared. */
static int check_named(struct up *u, const struct json *list)
{
	auto_buf text = {0};

	expand(buf_str(&u->yaml), &text);
	for (size_t i = 0; i < json_len(list); i++) {
		auto_free char *folder = str_dup(json_str(json_at(list, i)));

		if (!names(buf_str(&text), folder))
			return cli_failf("the daemon asks for the folder %s, but %s does not name it: nothing was sent "
					 "(names of folders are written whole, without escapes)",
					 folder, u->o.file);
	}
	return 0;
}

static int pack_all(struct up *u, const struct json *list)
{
	struct err e = {0};

	u->folders = xcalloc(json_len(list) + 1, sizeof(*u->folders));
	for (size_t i = 0; i < json_len(list); i++) {
		struct folder *f = &u->folders[u->n_folders++];
		auto_free char *path = NULL;

		f->name = str_dup(json_str(json_at(list, i)));
		path = f->name[0] == '/' ? xstrdup(f->name) : xasprintf("%s/%s", u->dir, f->name);
		if (pack_path(path, &f->bytes, &e) < 0)
			return cli_fail(&e);
		digest_hex(buf_str(&f->bytes), f->sha256);
	}
	return 0;
}

/* A path that begins with "." or "/", of a mount or a device. real: where it leads. */
static bool names_path(struct up *u, struct str text, const char *real)
{
	for (size_t i = 0, n; i < text.n; i++) {
		auto_free char *word = NULL, *path = NULL;

		if (!strchr("./", text.p[i]) || (i && !strchr(" \t\n\"'[,", text.p[i - 1])))
			continue;
		n = strcspn(text.p + i, " \t\r\n\"',]}:");
		word = xasprintf("%s/%.*s", text.p[i] == '/' ? "" : u->dir, (int)n, text.p + i);
		path = realpath(word, NULL);
		/* A route is none. */
		if (path && !strcmp(path, real) && (text.p[i + n] == ':' || !strncmp(real, "/dev/", 5)))
			return true;
	}
	return false;
}

/* What of the host the file names for its containers, root allows by bringing it up; others are told what to do by the
 * error of the container. */
static int grant_all(struct up *u, const struct json *list)
{
	auto_buf text = {0};
	struct err e = {0};

	expand(buf_str(&u->yaml), &text);
	buf_addc(&text, '\n');
	for (size_t i = 0; geteuid() == 0 && i < json_len(list); i++) {
		const char *path = json_str(json_at(list, i)).p;
		auto_free char *real = realpath(path, NULL);

		if (!real)
			return cli_failf("%s: %s", path, strerror(errno));
		if (!names_path(u, buf_str(&text), real))
			return cli_failf(
				"the daemon asks for %s of this host, but %s does not name it: nothing was done", path,
				u->o.file);
		if (grant_add(u->c, real, &e) < 0)
			return cli_fail(&e);
	}
	return 0;
}

/* Images are built each time, which is short when nothing has changed, and pulled when they are not here. */
static int bring_all(struct up *u, const struct json *list)
{
	auto_buf text = {0};

	expand(buf_str(&u->yaml), &text);
	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *im = json_at(list, i);
		struct str build = json_get_str(im, "build");
		auto_free char *folder = str_dup(build), *source = NULL;
		int r = 0;

		if (build.n && !names(buf_str(&text), folder))
			return cli_failf(
				"the daemon asks for the folder %s, but %s does not name it: nothing was built", folder,
				u->o.file);
		source = *folder == '/' || !strcmp(u->dir, ".") ? xasprintf("build:%s", folder)
								: xasprintf("build:%s/%s", u->dir, folder);
		if (build.n)
			r = pull_local(u->c, source, json_get_str(im, "reference").p, true);
		else if (!json_get_bool(im, "here", false))
			r = pull_reference(u->c, json_get_str(im, "reference").p, true);
		if (r)
			return r;
	}
	return 0;
}

/* What will be kept running though nobody asks for it, and what that costs: said before it is done. */
static void print_kept(struct up *u, const struct json *plan)
{
	static const char *const heads[] = {"KEPT RUNNING", "WHAT", ">USD HERE", ">USD AT AWS", "AS"};
	const struct json *kept = json_get(plan, "kept"), *total = json_get(plan, "kept_total");
	struct table t;

	if (!json_len(kept))
		return;
	table_init(&t, heads, ARRAY_SIZE(heads));
	for (size_t i = 0; i < json_len(kept); i++) {
		const struct json *k = json_at(kept, i), *aws = json_get(k, "usd_month_aws");
		double vcpu = json_real(json_get(k, "vcpu"), 0);
		auto_free char *cpu = vcpu > 0 ? xasprintf(", %g vCPU", vcpu) : xstrdup("");

		table_row(&t, (char *[]){xasprintf(STR_FMT " " STR_FMT, STR_ARG(json_get_str(k, "kind")),
						   STR_ARG(json_get_str(k, "name"))),
					 xasprintf("%lld x %g MB%s", (long long)json_get_int(k, "instances", 0),
						   json_real(json_get(k, "memory_mb"), 0), cpu),
					 cli_cell("%.2f", json_real(json_get(k, "usd_month_machine"), 0)),
					 json_type(aws) == JSON_NULL ? NULL : cli_cell("%.2f", json_real(aws, 0)),
					 table_text(k, "offer")});
	}
	table_row(&t,
		  (char *[]){xstrdup("a month"), xstrdup("declared"),
			     cli_cell("%.2f", json_real(json_get(total, "usd_month_machine"), 0)),
			     cli_cell("%.2f", json_real(json_get(total, "usd_month_aws"), 0)), xstrdup("list prices")});
	table_print(&t, u->c);
	table_done(&t);
	cli_note(u->c,
		 "here: the declared memory's share of %g USD per hour of this machine; at AWS: prices of " STR_FMT,
		 json_real(json_get(total, "machine_usd_per_hour"), 0), STR_ARG(json_get_str(total, "prices_as_of")));
}

static void print_plan(struct up *u, const struct json *plan)
{
	static const struct {
		const char *action, *mark;
		enum tint tint;
	} looks[] = {{"create", "+", TINT_GREEN},
		     {"update", "~", TINT_YELLOW},
		     {"delete", "-", TINT_RED},
		     {"unchanged", " ", TINT_DIM}};
	const struct json *entries = json_get(plan, "entries");

	printf("project %s" STR_FMT "%s\n", cli_tint(u->c, TINT_BOLD), STR_ARG(json_get_str(plan, "project")),
	       cli_plain(u->c));
	for (size_t i = 0; i < json_len(entries); i++) {
		const struct json *en = json_at(entries, i), *changes = json_get(en, "changes");
		struct str action = json_get_str(en, "action");

		for (size_t k = 0; k < ARRAY_SIZE(looks); k++)
			if (str_eqc(action, looks[k].action))
				printf("  %s%s " STR_FMT "%s  " STR_FMT, cli_tint(u->c, looks[k].tint), looks[k].mark,
				       STR_ARG(json_get_str(en, "name")), cli_plain(u->c), STR_ARG(action));
		for (size_t k = 0; k < json_len(changes); k++)
			printf("%s" STR_FMT, k ? ", " : ": ", STR_ARG(json_str(json_at(changes, k))));
		putchar('\n');
	}
	for (size_t i = 0; i < json_len(json_get(plan, "warnings")); i++) {
		auto_free char *text = str_dup(json_str(json_at(json_get(plan, "warnings"), i)));

		printf("%swarning%s %s\n", cli_tint(u->c, TINT_YELLOW), cli_plain(u->c), cli_clean(text));
	}
	fflush(stdout);
}

static int upload(struct up *u, const struct json *missing)
{
	for (size_t i = 0; i < json_len(missing); i++) {
		struct str want = json_str(json_at(missing, i));

		for (size_t k = 0; k < u->n_folders; k++) {
			auto_buf target = {0}, body = {0};
			struct folder *f = &u->folders[k];

			if (!str_eqc(want, f->sha256))
				continue;
			if (f->bytes.n > 4 << 20)
				cli_note(u->c, "sending %s (%.1f MB)", f->name, (double)f->bytes.n / 1048576);
			call_target(&target, "/v1/blobs/", f->sha256, "");
			if (call_daemon(u->c, "PUT", target.p, buf_str(&f->bytes), &body) < 0)
				return u->c->exit;
			break;
		}
	}
	return 0;
}

static void show_event(struct up *u, struct str line)
{
	struct err e = {0};
	auto_json j = json_parse(line, &e);
	struct str event = json_get_str(j, "event"), name = json_get_str(j, "name"), state = json_get_str(j, "state");
	struct str url = json_get_str(j, "url");
	auto_free char *reason = str_dup(json_get_str(j, "reason"));
	bool done = str_eqc(event, "done");

	if (str_eqc(event, "end")) {
		u->ended = true;
		u->failed |= !json_get_bool(j, "ok", false);
	}
	if (str_eqc(event, "waits") && !u->c->json && !u->c->quiet)
		fprintf(stderr, "  " STR_FMT " waits for %s (%.0f s)\n", STR_ARG(name), cli_clean(reason),
			(double)json_get_int(j, "us", 0) / 1000000);
	if (u->c->json || (!done && !str_eqc(event, "failed") && !str_eqc(event, "kept")))
		return;
	u->shown++;
	if (done && !str_eqc(state, "Failed")) {
		printf("  %s" STR_FMT "%s  " STR_FMT "  %.0f ms%s" STR_FMT "\n", cli_tint(u->c, TINT_GREEN),
		       STR_ARG(state), cli_plain(u->c), STR_ARG(name), (double)json_get_int(j, "us", 0) / 1000,
		       url.n ? "  " : "", STR_ARG(url));
	} else if (str_eqc(event, "kept")) {
		printf("  %skept%s     " STR_FMT ": %s\n", cli_tint(u->c, TINT_YELLOW), cli_plain(u->c), STR_ARG(name),
		       cli_clean(reason));
	} else {
		u->failed = true;
		printf("  %sfailed%s   " STR_FMT ": %s\n", cli_tint(u->c, TINT_RED), cli_plain(u->c), STR_ARG(name),
		       cli_clean(reason));
	}
	fflush(stdout);
}

static int on_events(void *arg, struct str piece)
{
	struct up *u = arg;
	struct str line, rest;

	if (u->c->json)
		fwrite(piece.p, 1, piece.n, stdout);
	buf_addstr(&u->line, piece);
	rest = buf_str(&u->line);
	while (str_cut(rest, '\n', &line, &rest))
		show_event(u, line);
	buf_drop(&u->line, u->line.n - rest.n);
	return 0;
}

static int run_events(struct up *u, const char *target, struct str body)
{
	if (call_stream(u->c, "POST", target, body, on_events, u) < 0)
		return u->c->exit;
	if (!u->ended)
		return cli_failf("the daemon stopped before it was done; look with: tandem ls");
	return u->failed ? CLI_FAILED : CLI_OK;
}

static bool nothing_to_do(const struct json *plan)
{
	const struct json *entries = json_get(plan, "entries");

	for (size_t i = 0; i < json_len(entries); i++)
		if (!str_eqc(json_get_str(json_at(entries, i), "action"), "unchanged"))
			return false;
	return true;
}

static int do_up(struct up *u)
{
	auto_buf first = {0}, second = {0}, answer = {0}, answer2 = {0};
	auto_json folders = NULL;
	auto_json plan = NULL;
	int r = read_file(u);

	if (r)
		return r;
	request(u, false, &first);
	if (call_json(u->c, "POST", "/v1/plan", buf_str(&first), &answer, &folders) < 0)
		return u->c->exit;
	r = check_named(u, json_get(folders, "folders"));
	if (!r)
		r = pack_all(u, json_get(folders, "folders"));
	if (!r && !u->o.dry_run)
		r = grant_all(u, json_get(folders, "host"));
	if (!r && !u->o.dry_run)
		r = bring_all(u, json_get(folders, "images"));
	if (r)
		return r;
	request(u, true, &second);
	if (call_json(u->c, "POST", "/v1/plan", buf_str(&second), &answer2, &plan) < 0)
		return u->c->exit;
	if (u->o.dry_run && call_print_json(u->c, &answer2))
		return CLI_OK;
	if (!u->c->json)
		print_plan(u, plan);
	if (nothing_to_do(plan) && !u->c->json) {
		if (!u->o.dry_run)
			puts("nothing to change");
		return CLI_OK;
	}
	if (!u->c->json)
		print_kept(u, plan);
	if (u->o.dry_run)
		return CLI_OK;
	r = upload(u, json_get(plan, "missing"));
	return r ? r : run_events(u, "/v1/apply", buf_str(&second));
}

int up_run(struct cli *c, int argc, char **argv)
{
	struct up u = {.c = c, .o.file = "tandem.yaml"};
	int r;

	if (!cli_options(c, &u.o, &argc, argv, 0, 0))
		return c->exit;
	r = do_up(&u);
	up_done(&u);
	return r;
}

int down_run(struct cli *c, int argc, char **argv)
{
	struct up u = {.c = c, .o.file = "tandem.yaml"};
	auto_buf body = {0};
	int r = 0;

	if (!cli_options(c, &u.o, &argc, argv, 0, 0))
		return c->exit;
	if (u.o.project) {
		struct jw w = jw_object(&body);

		jw_strc(&w, "project", u.o.project);
		jw_end(&w, '}');
	} else {
		r = read_file(&u);
		if (!r)
			request(&u, false, &body);
	}
	if (!r)
		r = run_events(&u, "/v1/down", buf_str(&body));
	if (!r && !u.shown && !c->json)
		puts("nothing to remove");
	up_done(&u);
	return r;
}
