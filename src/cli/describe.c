/* SPDX-License-Identifier: Apache-2.0 */
/* describe: about one function or service, as indented "name: value" lines in the daemon's own order. */
#include "cli/call.h"
#include "cli/verbs.h"

struct describe_opts {
	bool values;
};
const struct opt describe_options[] = {
	{0, "values", OPT_FLAG, NULL, "show the values of environment variables too",
	 offsetof(struct describe_opts, values)},
	{0},
};

struct level {
	struct cli *c;
	int depth;
	bool service;
	const struct json *object;
};
static void show(const struct level *l, const char *key, const struct json *v);

static void put_text(struct str s)
{
	auto_free char *text = str_dup(s);

	puts(cli_clean(text));
}

/* What says nothing: a service's zeroes and empty lists, and the steps of a rollout that has none. */
static bool dull(const struct level *l, const char *key, const struct json *v)
{
	static const char *const zero[] = {"starting", "waiting", "open",	 "errors",	"failed",
					   "ports",    "uses",	  "concurrency", "cpu_percent", NULL};
	bool canary = str_eqc(json_get_str(l->object, "strategy"), "canary");

	for (size_t i = 0; zero[i]; i++)
		if (!strcmp(key, zero[i]) && !json_int(v, 0) && !json_len(v))
			return true;
	return (!strcmp(key, "cluster") && str_eqc(json_str(v), "default")) ||
	       (!strcmp(key, "reason") && !json_str(v).n) || (!strcmp(key, "steps") && !canary);
}

static int member(void *arg, const char *key, const struct json *v)
{
	struct level *l = arg;

	if (l->service && dull(l, key, v))
		return 0;

	if (json_type(v) == JSON_BOOL)
		printf("%*s%s%s:%s %s\n", 2 * l->depth, "", cli_tint(l->c, TINT_DIM), key, cli_plain(l->c),
		       json_get_bool(l->object, key, false) ? "yes" : "no");
	else
		show(l, key, v);
	return 0;
}

static void show(const struct level *l, const char *key, const struct json *v)
{
	struct level below = {l->c, l->depth + 1, l->service, v};
	struct cli *c = l->c;
	int depth = l->depth;
	struct str s = json_str(v);

	printf("%*s%s%s:%s", 2 * depth, "", cli_tint(c, TINT_DIM), key, cli_plain(c));
	switch (json_type(v)) {
	case JSON_OBJECT:
		puts(json_len(v) ? "" : " none");
		json_each(v, member, &below);
		return;
	case JSON_ARRAY:
		puts(json_len(v) ? "" : " none");
		for (size_t i = 0; i < json_len(v); i++) {
			const struct json *item = json_at(v, i);

			if (json_type(item) == JSON_STRING) {
				printf("%*s- ", 2 * (depth + 1), "");
				put_text(json_str(item));
			} else
				show(&below, "-", item);
		}
		return;
	case JSON_STRING:
		putchar(' ');
		put_text(s);
		return;
	case JSON_INT:
		printf(" %lld\n", (long long)json_int(v, 0));
		return;
	case JSON_REAL:
		printf(" %.9g\n", json_real(v, 0));
		return;
	default:
		puts(" -");
	}
}

int describe_run(struct cli *c, int argc, char **argv)
{
	struct describe_opts o = {0};
	auto_buf target = {0};
	auto_json j = NULL;
	struct level top = {.c = c};

	if (!cli_options(c, &o, &argc, argv, 1, 1))
		return c->exit;
	call_target(&target, "/v1/names/", argv[0], o.values ? "?values=1" : "");
	if (!call_show(c, "GET", target.p, STR_NULL, &j))
		return c->exit;
	top.object = j;
	top.service = json_get(j, "deployments") != NULL;
	json_each(j, member, &top);
	return CLI_OK;
}
