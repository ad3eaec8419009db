/* SPDX-License-Identifier: Apache-2.0 */
/* What is to run: what was asked for, over what the image's configuration says. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include "task/task_int.h"

static const char default_path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

static const struct json *wished(const struct task_wish *what, const char *member)
{
	const struct json *over = json_get(what->over, member);

	return over ? over : json_get(what->doc, member);
}

void task_spec_done(struct task_spec *s)
{
	buf_done(&s->text);
}

static void add_text(struct buf *out, struct str s)
{
	buf_addstr(out, s);
	buf_add(out, "", 1);
}

static void add_words(struct task_spec *s, const struct json *words)
{
	for (size_t i = 0; i < json_len(words); i++, s->argc++)
		add_text(&s->text, json_str(json_at(words, i)));
}

static void add_list(struct buf *out, unsigned *n, char **list)
{
	for (; *list; list++, (*n)++)
		buf_add(out, *list, strlen(*list) + 1);
}

/* As Docker: an entry point of one's own leaves the image's command out. */
static int add_argv(struct task_spec *s, const struct task_wish *what, const struct image_config *image, struct err *e)
{
	const struct json *entry = wished(what, "entrypoint"), *command = wished(what, "command");

	if (entry)
		add_words(s, entry);
	else
		add_list(&s->text, &s->argc, image->entrypoint);
	if (json_len(command))
		add_words(s, command);
	else if (!entry)
		add_list(&s->text, &s->argc, image->cmd);
	return s->argc ? 0 : err_set(e, ERR_INVALID, "command: the image names none, and none was given");
}

struct env_add {
	struct task_spec *s;
	const struct json *but; /* not these */
};

static int env_member(void *arg, const char *key, const struct json *value)
{
	struct env_add *a = arg;

	if (json_get(a->but, key))
		return 0;
	buf_addf(&a->s->text, "%s=", key);
	add_text(&a->s->text, json_str(value));
	a->s->envc++;
	return 0;
}

static bool named(const struct task_wish *what, const char *line)
{
	auto_free char *name = str_dup((struct str){line, strcspn(line, "=")});

	return json_get(json_get(what->over, "env"), name) || json_get(json_get(what->doc, "env"), name);
}

static void add_default(struct task_spec *s, const struct task_wish *what, char **image_env, const char *line)
{
	size_t n = strcspn(line, "=") + 1;

	for (; *image_env; image_env++)
		if (!strncmp(*image_env, line, n))
			return;
	if (named(what, line))
		return;
	buf_add(&s->text, line, strlen(line) + 1);
	s->envc++;
}

static void add_env(struct task_spec *s, const struct task_wish *what, const struct image_config *image,
		    const struct task_where *at)
{
	const struct json *over = json_get(what->over, "env");
	char line[400];

	add_default(s, what, image->env, default_path);
#define DEFAULT(...) (snprintf(line, sizeof(line), __VA_ARGS__), add_default(s, what, image->env, line))
	DEFAULT("HOSTNAME=%s", at->id);
	DEFAULT("AWS_REGION=%s", at->region);
	DEFAULT("AWS_DEFAULT_REGION=%s", at->region);
	DEFAULT("AWS_ENDPOINT_URL=http://169.254.100.2:4566");
	DEFAULT("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/v2/credentials/%s", at->id);
	DEFAULT("ECS_CONTAINER_METADATA_URI_V4=http://169.254.170.2/v4/%s", at->container);
	if (*at->trace)
		DEFAULT("TRACEPARENT=%s", at->trace);
#undef DEFAULT
	if (s->tty)
		add_default(s, what, image->env, "TERM=xterm");
	for (char **i = image->env; *i; i++) {
		if (named(what, *i))
			continue;
		buf_add(&s->text, *i, strlen(*i) + 1);
		s->envc++;
	}
	json_each(json_get(what->doc, "env"), env_member, &(struct env_add){s, over});
	json_each(over, env_member, &(struct env_add){s, NULL});
}

static int more_member(void *arg, const char *key, const struct json *value)
{
	buf_addf(arg, "%s=%s", key, json_str(value).p);
	buf_addc(arg, 0);
	return 0;
}

void task_spec_env(const struct task_spec *s, const struct json *more, struct buf *b, uint32_t *ret_n)
{
	*ret_n = (uint32_t)json_len(more);
	for (const char *line = s->text.p + s->env_at; line < s->text.p + s->text.n; line += strlen(line) + 1) {
		auto_free char *name = xstrndup(line, strcspn(line, "="));

		if (json_get(more, name))
			continue;
		buf_add(b, line, strlen(line) + 1);
		++*ret_n;
	}
	json_each(more, more_member, b);
}

int task_spec_read(const struct task_wish *what, const struct image_config *image, const struct task_where *at,
		   struct task_spec *ret, struct err *e)
{
	const struct json *doc = what->doc;
	double cpu = json_real(wished(what, "cpu"), 0);
	auto_(task_spec_done) struct task_spec s = {
		.read_only = json_get_bool(doc, "read_only", false),
		.tty = json_get_bool(doc, "tty", false),
		.stdin_open = json_get_bool(doc, "stdin", false),
		.essential = json_get_bool(doc, "essential", true),
		.stop_signal = (int)json_get_int(doc, "stop_signal", image->stop_signal),
		.stop_timeout_us = json_get_int(doc, "stop_timeout_s", TASK_STOP_US / 1000000) * 1000000,
		.memory_bytes = json_int(wished(what, "memory_mb"), 0) << 20,
		.cpu_milli = (uint32_t)lround(cpu * 1000),
	};
	struct str cwd = json_get_str(doc, "workdir"), user = json_get_str(doc, "user");

	if (s.stop_signal < 1 || s.stop_signal > 64)
		s.stop_signal = SIGTERM;
	add_text(&s.text, cwd.p ? cwd : str_of(image->workdir));
	add_text(&s.text, user.p ? user : str_of(image->user));
	s.argv_at = s.text.n;
	if (add_argv(&s, what, image, e) < 0)
		return -1;
	s.env_at = s.text.n;
	add_env(&s, what, image, at);
	if (s.text.n > INIT_MSG_MAX - sizeof(struct init_msg) - sizeof(struct init_run))
		return err_set(e, ERR_LIMIT, "command and environment take more than %d bytes", INIT_MSG_MAX);
	*ret = s;
	s.text = (struct buf){0};
	return 0;
}

void task_spec_share(const struct json *doc, const struct json *over, struct task_spec *specs[], unsigned n)
{
	const struct task_wish what = {doc, over};
	int64_t memory = json_int(wished(&what, "memory_mb"), 0) << 20, least = (int64_t)TASK_MEMORY_MB_MIN << 20;
	uint32_t cpu = (uint32_t)lround(json_real(wished(&what, "cpu"), 0) * 1000);
	bool has = memory > 0;
	unsigned without = 0;

	for (unsigned i = 0; i < n; i++) {
		without += !specs[i]->memory_bytes;
		memory -= specs[i]->memory_bytes;
	}
	for (unsigned i = 0; i < n; i++) {
		struct task_spec *s = specs[i];

		if (!s->memory_bytes)
			s->memory_bytes = has ? memory / without : (int64_t)TASK_MEMORY_MB << 20;
		if (s->memory_bytes < least)
			s->memory_bytes = least;
		s->quota = s->cpu_milli || cpu;
		if (!s->cpu_milli)
			s->cpu_milli = cpu ? cpu : (uint32_t)(TASK_CPU * 1000);
	}
}
