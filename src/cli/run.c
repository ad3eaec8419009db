/* SPDX-License-Identifier: Apache-2.0 */
/* run: a container, as if its program were ours. exec: a further program in one that runs. */
#include <poll.h>
#include <sys/ioctl.h>
#include "base/mem.h"
#include "cli/attach.h"
#include "cli/keep.h"
#include "cli/verbs.h"
#include "json/write.h"

#define FAILED	   ATTACH_FAILED
#define TMPFS_MB   64
#define WAIT_MS	   100
#define WAIT_TRIES 300 /* for a daemon that comes back */

struct run_opts {
	struct opt_list env, volumes, tmpfs, devices, cap_add, cap_drop, ulimits, secrets;
	bool interactive, tty, detach, read_only, keep;
	int64_t memory_mb;
	const char *cpu, *user, *workdir, *name, *entrypoint;
};
#define AT(f) offsetof(struct run_opts, f)
#define STREAMS                                                                                                        \
	{'i', "interactive", OPT_FLAG, NULL, "what is typed or piped here is its standard input", AT(interactive)},    \
		{'t', "tty", OPT_FLAG, NULL, "it gets a terminal", AT(tty)},                                           \
		{'e', "env", OPT_LIST, "K=V", "a variable of its environment; K alone takes the caller's", AT(env)},   \
		{'u', "user", OPT_TEXT, "USER[:GROUP]", "names of the image, or numbers", AT(user)},                   \
		{'w', "workdir", OPT_TEXT, "DIR", "where it begins", AT(workdir)},
const struct opt exec_options[] = {STREAMS{0}};
const struct opt run_options[] = {
	STREAMS{'d', "detach", OPT_FLAG, NULL, "print its id once it runs, and leave it running", AT(detach)},
	{'m', "memory", OPT_COUNT, "MB", "limit (1024)", AT(memory_mb)},
	{0, "cpu", OPT_TEXT, "N", "limit in processors, as 0.5 (none, and the weight of 0.25)", AT(cpu)},
	{0, "read-only", OPT_FLAG, NULL, "its root cannot be written", AT(read_only)},
	{'v', "volume", OPT_LIST, "SRC:DIR[:ro]", "a volume by its name, or a path of this machine", AT(volumes)},
	{0, "tmpfs", OPT_LIST, "DIR[:MB]", "memory as a folder (64)", AT(tmpfs)},
	{0, "device", OPT_LIST, "PATH", "such as /dev/fuse", AT(devices)},
	{0, "secret", OPT_LIST, "NAME[=VAR]", "a file in /run/secrets, or a variable", AT(secrets)},
	{0, "cap-add", OPT_LIST, "CAP", "such as NET_RAW", AT(cap_add)},
	{0, "cap-drop", OPT_LIST, "CAP", "such as ALL", AT(cap_drop)},
	{0, "ulimit", OPT_LIST, "NAME=N[:N]", "such as nofile=1024", AT(ulimits)},
	{0, "entrypoint", OPT_TEXT, "PROGRAM", "instead of the image's; its command is left out too", AT(entrypoint)},
	{0, "name", OPT_TEXT, "NAME", "for ps, logs and stop", AT(name)},
	{0, "keep", OPT_FLAG, NULL, "ps and logs know it when it has ended, too", AT(keep)},
	{0},
};

static void put_env(struct jw *w, const struct opt_list *env)
{
	jw_obj(w, "env");
	for (unsigned i = 0; i < env->n; i++) {
		auto_free char *name = strndup(env->v[i], strcspn(env->v[i], "="));
		const char *value = strchr(env->v[i], '=') ? strchr(env->v[i], '=') + 1 : getenv(name);
		bool again = false;

		for (unsigned j = i + 1; j < env->n; j++) /* the last one counts */
			again |= !strncmp(env->v[j], name, strlen(name)) && strchr("=", env->v[j][strlen(name)]);
		if (value && !again)
			jw_strc(w, name, value);
	}
	jw_end(w, '}');
}

static void put_words(struct jw *w, const char *key, int n, char **words)
{
	jw_arr(w, key);
	for (int i = 0; i < n; i++)
		jw_strc(w, NULL, words[i]);
	jw_end(w, ']');
}

static void put_text(struct jw *w, const char *key, const char *text)
{
	if (text)
		jw_strc(w, key, text);
}

static void put_list(struct jw *w, const char *key, const struct opt_list *l)
{
	if (l->n)
		put_words(w, key, (int)l->n, (char **)l->v);
}

/* "SRC:DIR[:ro]", and of tmpfs "DIR[:MB]". What is wrong with them the daemon says. */
static void put_mounts(struct jw *w, const struct run_opts *o)
{
	jw_arr(w, "mounts");
	for (unsigned i = 0; i < o->volumes.n; i++) {
		struct str from = str_of(o->volumes.v[i]), rest = STR_NULL, to, how = STR_NULL;
		auto_free char *path = NULL;

		if (!str_cut(from, ':', &from, &rest) || !str_cut(rest, ':', &to, &how))
			to = rest;
		jw_obj(w, NULL);
		if (from.n && (*from.p == '.' || *from.p == '/')) {
			auto_free char *given = str_dup(from);

			path = realpath(given, NULL);
			jw_strc(w, "host", path ? path : given);
		} else {
			jw_str(w, "volume", from);
		}
		jw_str(w, "path", to);
		jw_bool(w, "read_only", str_eqc(how, "ro"));
		jw_end(w, '}');
	}
	for (unsigned i = 0; i < o->tmpfs.n; i++) {
		struct str path = str_of(o->tmpfs.v[i]), size;
		int64_t mb = TMPFS_MB;

		if (str_cut(path, ':', &path, &size) && str_to_i64(size, 1, INT32_MAX, &mb) < 0)
			mb = 0;
		jw_obj(w, NULL);
		jw_str(w, "path", path);
		jw_int(w, "tmpfs_mb", mb);
		jw_end(w, '}');
	}
	jw_end(w, ']');
}

static void put_secrets(struct jw *w, const struct opt_list *l)
{
	jw_arr(w, "secrets");
	for (unsigned i = 0; i < l->n; i++) {
		struct str name = str_of(l->v[i]), var;

		jw_obj(w, NULL);
		if (str_cut(name, '=', &name, &var))
			jw_str(w, "env", var);
		jw_str(w, "name", name);
		jw_end(w, '}');
	}
	jw_end(w, ']');
}

static void put_ulimits(struct jw *w, const struct opt_list *l)
{
	jw_obj(w, "ulimits");
	for (unsigned i = 0; i < l->n; i++) {
		struct str name = str_of(l->v[i]), soft = STR_NULL, hard;
		int64_t n[2] = {0, 0};
		auto_free char *key = NULL;

		str_cut(name, '=', &name, &soft);
		if (!str_cut(soft, ':', &soft, &hard))
			hard = soft;
		key = str_dup(name);
		jw_arr(w, key);
		for (unsigned k = 0; k < 2; k++)
			if (str_to_i64(k ? hard : soft, -1, INT64_MAX, &n[k]) == 0)
				jw_int(w, NULL, n[k]);
		jw_end(w, ']');
	}
	jw_end(w, '}');
}

static void put_size(struct jw *w, bool tty)
{
	struct winsize size;

	if (!tty || ioctl(1, TIOCGWINSZ, &size) < 0 || !size.ws_row)
		return;
	jw_int(w, "rows", size.ws_row);
	jw_int(w, "cols", size.ws_col);
}

/* What a task of tandem.yaml may be run with, too. */
static void put_common(struct jw *w, const struct run_opts *o, int argc, char **argv, double cpu)
{
	if (argc > 1)
		put_words(w, "command", argc - 1, argv + 1);
	put_env(w, &o->env);
	put_text(w, "name", o->name);
	if (o->memory_mb)
		jw_int(w, "memory_mb", o->memory_mb);
	if (o->cpu)
		jw_real(w, "cpu", cpu);
	jw_bool(w, "attach", !o->detach);
	put_size(w, o->tty);
}

/* Root says so by asking for it. What is wrong the container's error says. */
static void grant_all(struct cli *c, const struct run_opts *o)
{
	for (unsigned i = 0; geteuid() == 0 && i < o->volumes.n + o->devices.n; i++) {
		bool device = i >= o->volumes.n;
		const char *from = device ? o->devices.v[i - o->volumes.n] : o->volumes.v[i];
		auto_free char *path = xasprintf("%.*s", (int)strcspn(from, device ? "" : ":"), from);

		if (strchr("./", *path))
			(void)grant_add(c, path, NULL);
	}
}

static void describe(const struct run_opts *o, int argc, char **argv, double cpu, struct buf *out)
{
	char *entry[] = {(char *)o->entrypoint};
	struct jw w = jw_object(out);

	jw_strc(&w, "image", argv[0]);
	put_common(&w, o, argc, argv, cpu);
	if (o->entrypoint)
		put_words(&w, "entrypoint", *o->entrypoint ? 1 : 0, entry);
	put_text(&w, "user", o->user);
	put_text(&w, "workdir", o->workdir);
	jw_bool(&w, "read_only", o->read_only);
	jw_bool(&w, "tty", o->tty);
	jw_bool(&w, "stdin", o->interactive);
	put_mounts(&w, o);
	put_secrets(&w, &o->secrets);
	put_list(&w, "devices", &o->devices);
	put_list(&w, "cap_add", &o->cap_add);
	put_list(&w, "cap_drop", &o->cap_drop);
	put_ulimits(&w, &o->ulimits);
	jw_end(&w, '}');
}

/* Whether the word may name a task, and nothing is said that only an image can be run with. */
static bool may_be_task(const struct run_opts *o, const char *word)
{
	return strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_:") == strlen(word) &&
	       !o->user && !o->workdir && !o->entrypoint && !o->read_only && !o->tty && !o->interactive &&
	       !o->volumes.n && !o->tmpfs.n && !o->devices.n && !o->cap_add.n && !o->cap_drop.n && !o->ulimits.n &&
	       !o->secrets.n;
}

static int refused(const struct http_answer *a)
{
	auto_json j = json_parse(buf_str(&a->body), NULL);
	struct str text = json_get_str(j, "error");

	cli_failf(STR_FMT, (int)text.n, text.p ? text.p : "");
	return FAILED;
}

/* 0: r->id is there; else the exit code. *ret_missing: instead, when what was named is not here. */
static int post(struct attach *r, const char *target, struct str body, bool *ret_missing)
{
	auto_(http_answer_done) struct http_answer a = {0};
	auto_json j = NULL;

	if (attach_ask(r, "POST", target, body, &a) < 0)
		return cli_failf("no daemon answers at %s; start one with: sudo tandem serve --state %s", r->c->sock,
				 r->c->state),
		       FAILED;
	if (a.status == 404 && ret_missing) {
		*ret_missing = true;
		return 0;
	}
	if (a.status >= 400)
		return refused(&a);
	j = json_parse(buf_str(&a.body), NULL);
	if (json_get(j, "id"))
		snprintf(r->id, sizeof(r->id), STR_FMT, STR_ARG(json_get_str(j, "id")));
	r->exec = json_get_int(j, "exec", 0);
	return 0;
}

/* A task of tandem.yaml, else an image; one that is not here is brought, once. */
static int create(struct attach *r, const struct run_opts *o, int argc, char **argv, double cpu)
{
	auto_buf task = {0}, image = {0};
	bool missing = true;
	int ret = 0;

	if (may_be_task(o, argv[0])) {
		struct jw w = jw_object(&task);

		jw_strc(&w, "definition", argv[0]);
		put_common(&w, o, argc, argv, cpu);
		jw_end(&w, '}');
		missing = false;
		ret = post(r, "/v1/tasks", buf_str(&task), &missing);
	}
	if (ret || !missing)
		return ret;
	describe(o, argc, argv, cpu, &image);
	missing = false;
	ret = post(r, "/v1/tasks", buf_str(&image), &missing);
	if (ret || !missing)
		return ret;
	return pull_reference(r->c, argv[0], true) == CLI_OK ? post(r, "/v1/tasks", buf_str(&image), NULL) : FAILED;
}

/* Until its program runs, or never will. */
static int wait_started(struct attach *r)
{
	auto_free char *target = xasprintf("/v1/tasks/%s?wait=started", r->id);

	for (int tries = 0; tries < WAIT_TRIES; tries++) {
		auto_(http_answer_done) struct http_answer a = {0};
		auto_json j = NULL;

		if (attach_ask(r, "GET", target, STR_NULL, &a) == 0) {
			if (a.status >= 400)
				return refused(&a);
			j = json_parse(buf_str(&a.body), NULL);
			if (json_get(j, "started"))
				return CLI_OK;
			cli_failf(STR_FMT, STR_ARG(json_get_str(j, "reason")));
			return (int)json_get_int(j, "exit_code", FAILED);
		}
		(void)poll(NULL, 0, WAIT_MS);
	}
	return cli_failf("the daemon does not answer any more"), FAILED;
}

int run_run(struct cli *c, int argc, char **argv)
{
	struct run_opts o = {0};
	struct attach r = {.c = c, .exit = FAILED};
	double cpu = 0;
	char *end;
	int ret;

	if (!cli_options(c, &o, &argc, argv, 1, CLI_COMMAND))
		return c->exit == CLI_OK ? CLI_OK : FAILED;
	if (o.cpu) {
		cpu = strtod(o.cpu, &end);
		if (end == o.cpu || *end)
			return cli_usage(c, "--cpu takes a number like 0.5, not \"%s\"", o.cpu), FAILED;
	}
	if (o.tty && o.interactive && !isatty(0))
		return cli_failf("standard input is no terminal; leave -t out"), FAILED;
	r.tty = o.tty, r.interactive = o.interactive;
	grant_all(c, &o);
	ret = create(&r, &o, argc, argv, cpu);
	if (ret)
		return ret;
	if (o.detach) {
		ret = wait_started(&r);
		if (ret == CLI_OK)
			puts(r.id);
		return ret;
	}
	ret = attach(&r);
	if (!o.keep && r.over)
		(void)attach_tell(&r, "DELETE", "", STR_NULL);
	return ret;
}

int exec_run(struct cli *c, int argc, char **argv)
{
	struct run_opts o = {0};
	struct attach r = {.c = c, .exit = FAILED};
	auto_buf body = {0}, target = {0};
	struct jw w;
	int ret;

	if (!cli_options(c, &o, &argc, argv, 2, CLI_COMMAND))
		return c->exit == CLI_OK ? CLI_OK : FAILED;
	if (o.tty && o.interactive && !isatty(0))
		return cli_failf("standard input is no terminal; leave -t out"), FAILED;
	r.tty = o.tty, r.interactive = o.interactive;
	snprintf(r.id, sizeof(r.id), "%s", argv[0]);
	w = jw_object(&body);
	put_words(&w, "command", argc - 1, argv + 1);
	put_env(&w, &o.env);
	put_text(&w, "user", o.user);
	put_text(&w, "workdir", o.workdir);
	jw_bool(&w, "tty", o.tty);
	jw_bool(&w, "stdin", o.interactive);
	put_size(&w, o.tty);
	jw_end(&w, '}');
	call_target(&target, "/v1/tasks/", argv[0], "/exec");
	ret = post(&r, target.p, buf_str(&body), NULL);
	return ret ? ret : attach(&r);
}
