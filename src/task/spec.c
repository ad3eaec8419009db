/* SPDX-License-Identifier: Apache-2.0 */
/* What is to run: what was asked for, over what the image's configuration says. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "task/task_int.h"

#define MEMORY_MB_MIN 4
#define MEMORY_MB_MAX (1 << 20)
#define CPU_MAX	      256.0
#define STOP_S_MAX    3600

static const char default_path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

void task_spec_done(struct task_spec *s)
{
	buf_done(&s->text);
}

static int wrong(struct err *e, const char *member, const char *what)
{
	return err_set(e, ERR_INVALID, "%s: %s", member, what);
}

/* NUL ends strings on the way to the program. */
static int add_text(struct buf *out, struct str s, const char *member, struct err *e)
{
	if (s.n && memchr(s.p, 0, s.n))
		return wrong(e, member, "holds a NUL");
	buf_addstr(out, s);
	buf_add(out, "", 1);
	return 0;
}

static int add_words(struct buf *out, unsigned *n, const struct json *words, const char *member, struct err *e)
{
	for (size_t i = 0; i < json_len(words); i++) {
		const struct json *w = json_at(words, i);

		if (json_type(w) != JSON_STRING)
			return wrong(e, member, "is a list of strings");
		if (add_text(out, json_str(w), member, e) < 0)
			return -1;
		(*n)++;
	}
	return 0;
}

static void add_list(struct buf *out, unsigned *n, char **list)
{
	for (; *list; list++, (*n)++)
		buf_add(out, *list, strlen(*list) + 1);
}

/* As Docker: an entry point of one's own leaves the image's command out. */
static int add_argv(struct task_spec *s, const struct json *what, const struct image_config *image, struct err *e)
{
	const struct json *entry = json_get(what, "entrypoint"), *command = json_get(what, "command");

	if ((entry && json_type(entry) != JSON_ARRAY) || (command && json_type(command) != JSON_ARRAY))
		return wrong(e, "command", "is a list of strings");
	if (!entry)
		add_list(&s->text, &s->argc, image->entrypoint);
	else if (add_words(&s->text, &s->argc, entry, "entrypoint", e) < 0)
		return -1;
	if (json_len(command)) {
		if (add_words(&s->text, &s->argc, command, "command", e) < 0)
			return -1;
	} else if (!entry) {
		add_list(&s->text, &s->argc, image->cmd);
	}
	return s->argc ? 0 : wrong(e, "command", "the image names none, and none was given");
}

struct env_add {
	struct task_spec *s;
	struct err *e;
};

static int env_member(void *arg, const char *key, const struct json *value)
{
	struct env_add *a = arg;
	auto_buf line = {0};

	if (!*key || strchr(key, '=') || json_type(value) != JSON_STRING) {
		wrong(a->e, "env", "is an object of strings, and no name is empty or holds a \"=\"");
		return 1;
	}
	buf_addf(&line, "%s=", key);
	buf_addstr(&line, json_str(value));
	a->s->envc++;
	return add_text(&a->s->text, buf_str(&line), "env", a->e) < 0;
}

static bool named(const struct json *env, const char *line)
{
	auto_free char *name = str_dup((struct str){line, strcspn(line, "=")});

	return json_get(env, name) != NULL;
}

static void add_default(struct task_spec *s, const struct json *env, char **image_env, const char *line)
{
	size_t n = strcspn(line, "=") + 1;

	for (; *image_env; image_env++)
		if (!strncmp(*image_env, line, n))
			return;
	if (named(env, line))
		return;
	buf_add(&s->text, line, strlen(line) + 1);
	s->envc++;
}

static int add_env(struct task_spec *s, const struct json *what, const struct image_config *image, const char *hostname,
		   struct err *e)
{
	const struct json *env = json_get(what, "env");
	struct env_add a = {s, e};
	char line[96];

	if (env && json_type(env) != JSON_OBJECT)
		return wrong(e, "env", "is an object of strings");
	snprintf(line, sizeof(line), "HOSTNAME=%s", hostname);
	add_default(s, env, image->env, default_path);
	add_default(s, env, image->env, line);
	if (s->tty)
		add_default(s, env, image->env, "TERM=xterm");
	for (char **i = image->env; *i; i++) {
		if (named(env, *i))
			continue;
		buf_add(&s->text, *i, strlen(*i) + 1);
		s->envc++;
	}
	return env && json_each(env, env_member, &a) ? -1 : 0;
}

static int known(void *arg, const char *key, const struct json *value)
{
	static const struct {
		const char *name;
		unsigned types;
	} members[] = {
		{"image", 1 << JSON_STRING},
		{"command", 1 << JSON_ARRAY},
		{"entrypoint", 1 << JSON_ARRAY},
		{"env", 1 << JSON_OBJECT},
		{"user", 1 << JSON_STRING},
		{"workdir", 1 << JSON_STRING},
		{"name", 1 << JSON_STRING},
		{"memory_mb", 1 << JSON_INT},
		{"cpu", 1 << JSON_INT | 1 << JSON_REAL},
		{"read_only", 1 << JSON_BOOL},
		{"tty", 1 << JSON_BOOL},
		{"stdin", 1 << JSON_BOOL},
		{"attach", 1 << JSON_BOOL},
		{"stop_timeout_s", 1 << JSON_INT},
		{"rows", 1 << JSON_INT},
		{"cols", 1 << JSON_INT},
	};

	for (size_t i = 0; i < ARRAY_SIZE(members); i++)
		if (!strcmp(key, members[i].name))
			return members[i].types >> json_type(value) & 1 ? 0 : wrong(arg, key, "is of another type");
	return err_set(arg, ERR_INVALID, "\"%.60s\" is not known here", key);
}

static int read_numbers(struct task_spec *s, const struct json *what, struct err *e)
{
	int64_t mb = json_get_int(what, "memory_mb", TASK_MEMORY_BYTES >> 20);
	int64_t stop_s = json_get_int(what, "stop_timeout_s", TASK_STOP_US / 1000000);
	int64_t rows = json_get_int(what, "rows", 0), cols = json_get_int(what, "cols", 0);
	double cpu = json_real(json_get(what, "cpu"), 0);

	if (mb < MEMORY_MB_MIN || mb > MEMORY_MB_MAX)
		return wrong(e, "memory_mb", "is from 4 to 1048576");
	if (stop_s < 0 || stop_s > STOP_S_MAX)
		return wrong(e, "stop_timeout_s", "is from 0 to 3600");
	if (json_get(what, "cpu") && !(cpu >= 0.01 && cpu <= CPU_MAX))
		return wrong(e, "cpu", "is from 0.01 to 256 vCPUs");
	if (rows < 0 || rows > UINT16_MAX || cols < 0 || cols > UINT16_MAX)
		return wrong(e, "rows", "no terminal is of that size");
	s->rows = (unsigned)rows;
	s->cols = (unsigned)cols;
	s->memory_bytes = mb << 20;
	s->stop_timeout_us = stop_s * 1000000;
	s->quota = cpu > 0;
	s->cpu_milli = s->quota ? (uint32_t)lround(cpu * 1000) : TASK_CPU_MILLI;
	return 0;
}

int task_spec_read(const struct json *what, const struct image_config *image, const char *hostname,
		   struct task_spec *ret, struct err *e)
{
	auto_(task_spec_done) struct task_spec s = {
		.read_only = json_get_bool(what, "read_only", false),
		.tty = json_get_bool(what, "tty", false),
		.stdin_open = json_get_bool(what, "stdin", false),
		.attach = json_get_bool(what, "attach", false),
	};
	struct str name = json_get_str(what, "name"), cwd = json_get_str(what, "workdir"),
		   user = json_get_str(what, "user");

	if (json_type(what) != JSON_OBJECT)
		return err_set(e, ERR_INVALID, "a task is a JSON object");
	if (json_each(what, known, e))
		return -1;
	if (name.p && !str_name_ok(name, TASK_NAME_MAX, "-_."))
		return wrong(e, "name", "is of letters, digits, \"-\", \"_\" and \".\", at most 63");
	snprintf(s.name, sizeof(s.name), STR_FMT, STR_ARG(name));
	if (cwd.p && cwd.n && *cwd.p != '/')
		return wrong(e, "workdir", "begins with \"/\"");
	if (read_numbers(&s, what, e) < 0 ||
	    add_text(&s.text, cwd.p ? cwd : str_of(image->workdir), "workdir", e) < 0 ||
	    add_text(&s.text, user.p ? user : str_of(image->user), "user", e) < 0 || add_argv(&s, what, image, e) < 0 ||
	    add_env(&s, what, image, hostname, e) < 0)
		return -1;
	if (s.text.n > INIT_MSG_MAX - sizeof(struct init_msg) - sizeof(struct init_run))
		return err_set(e, ERR_LIMIT, "command and environment take more than %d bytes", INIT_MSG_MAX);
	*ret = s;
	s.text = (struct buf){0};
	return 0;
}
