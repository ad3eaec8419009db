/* SPDX-License-Identifier: Apache-2.0 */
/* Options are tables; words and options may be mixed; "--" ends options. */
#include "cli/cli.h"

#define AT(field) offsetof(struct cli, field)
static const struct opt global_opts[] = {
	{0, "state", OPT_TEXT, "DIR", "state directory of the daemon (TANDEM_STATE; /var/lib/tandem)", AT(state)},
	{'o', "output", OPT_TEXT, "json|text", "what to print", AT(output)},
	{0, "no-color", OPT_FLAG, NULL, "plain text, also on a terminal (as NO_COLOR does)", AT(no_color)},
	{'q', "quiet", OPT_FLAG, NULL, "only results and errors", AT(quiet)},
	{0},
};

static const struct opt *find_long(const struct opt *t, struct str name)
{
	for (; t && t->name; t++)
		if (str_eqc(name, t->name))
			return t;
	return NULL;
}

static const struct opt *find_letter(const struct opt *t, char letter)
{
	for (; t && t->name; t++)
		if (t->letter && t->letter == letter)
			return t;
	return NULL;
}

static int store_value(struct cli *c, const struct opt *o, void *into, const char *value)
{
	void *at = (char *)into + o->offset;
	struct opt_list *list = at;
	int64_t v;

	switch (o->kind) {
	case OPT_FLAG:
		*(bool *)at = true;
		return 0;
	case OPT_TEXT:
		*(const char **)at = value;
		return 0;
	case OPT_COUNT:
		if (str_to_i64(str_of(value), 0, 1000000000, &v) < 0)
			return cli_usage(c, "--%s takes a number, not \"%s\"", o->name, value), -1;
		*(int64_t *)at = v;
		return 0;
	case OPT_DURATION:
		if (cli_duration(str_of(value), &v) < 0)
			return cli_usage(c, "--%s takes a length of time like 30s, 10m or 2h, not \"%s\"", o->name,
					 value),
			       -1;
		*(int64_t *)at = v;
		return 0;
	case OPT_LIST:
		if (list->n == OPT_LIST_MAX)
			return cli_usage(c, "--%s was given more than %d times", o->name, OPT_LIST_MAX), -1;
		list->v[list->n++] = value;
		return 0;
	}
	return -1;
}

static const char *opt_name(const void *opts, size_t i)
{
	return opts ? ((const struct opt *)opts)[i].name : NULL;
}

static void no_option(struct cli *c, const struct opt *own, struct str name)
{
	auto_free char *word = str_dup(name);
	const char *best = str_nearest(word, opt_name, own);

	if (!best)
		best = str_nearest(word, opt_name, global_opts);
	cli_usage(c, "there is no option --%s%s%s%s", word, best ? "; did you mean --" : "", best ? best : "",
		  best ? "?" : "");
}

/* One option at argv[*i]; -1: wrong, and it was said. 1: it is help. */
static int take(struct cli *c, const struct opt *own, void *into, int argc, char **argv, int *i)
{
	const char *a = argv[*i];
	const struct opt *o;
	void *at = into;

	if (a[1] == '-') {
		struct str name = str_of(a + 2), rest;
		bool has = str_cut(str_of(a + 2), '=', &name, &rest);

		if (str_eqc(name, "help"))
			return 1;
		o = find_long(own, name);
		if (!o)
			o = find_long(global_opts, name), at = c;
		if (!o)
			return no_option(c, own, name), -1;
		if (o->kind == OPT_FLAG && has)
			return cli_usage(c, "--%s takes no value", o->name), -1;
		if (o->kind == OPT_FLAG)
			return store_value(c, o, at, NULL);
		if (!has && *i + 1 >= argc)
			return cli_usage(c, "--%s needs a value: %s", o->name, o->arg), -1;
		return store_value(c, o, at, has ? rest.p : argv[++*i]);
	}
	for (a++; *a; a++) {
		at = into;
		o = find_letter(own, *a);
		if (!o)
			o = find_letter(global_opts, *a), at = c;
		if (!o && *a == 'h')
			return 1;
		if (!o)
			return cli_usage(c, "there is no option -%c", *a), -1;
		if (o->kind == OPT_FLAG) {
			store_value(c, o, at, NULL);
			continue;
		}
		if (a[1])
			return store_value(c, o, at, a + 1);
		if (*i + 1 >= argc)
			return cli_usage(c, "-%c needs a value: %s", *a, o->arg), -1;
		return store_value(c, o, at, argv[++*i]);
	}
	return 0;
}

static int check_output(struct cli *c)
{
	if (!c->output || !strcmp(c->output, "json") || !strcmp(c->output, "text"))
		return 0;
	cli_usage(c, "--output is json or text, not \"%s\"", c->output);
	return -1;
}

int cli_globals(struct cli *c, int argc, char **argv)
{
	int i;

	for (i = 1; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
		int r;

		if (!strcmp(argv[i], "--version"))
			return i;
		r = take(c, NULL, NULL, argc, argv, &i);
		if (r > 0) {
			cli_help(stdout);
			c->exit = CLI_OK;
			return -1;
		}
		if (r < 0 || check_output(c) < 0) {
			c->exit = CLI_USAGE;
			return -1;
		}
	}
	if (i < argc)
		return i;
	cli_help(stderr);
	c->exit = CLI_USAGE;
	return -1;
}

bool cli_options(struct cli *c, void *into, int *argc, char **argv, int min, int max)
{
	bool open = true;
	int n = 0;

	for (int i = 0; i < *argc; i++) {
		int r;

		if (!open || argv[i][0] != '-' || !argv[i][1]) {
			argv[n++] = argv[i];
			open = open && max != CLI_COMMAND;
			continue;
		}
		if (!strcmp(argv[i], "--")) {
			open = false;
			continue;
		}
		r = take(c, c->verb->opts, into, *argc, argv, &i);
		if (r > 0) {
			cli_help_verb(stdout, c->verb);
			c->exit = CLI_OK;
			return false;
		}
		if (r < 0) {
			c->exit = CLI_USAGE;
			return false;
		}
	}
	*argc = n;
	c->exit = CLI_USAGE;
	if (check_output(c) < 0)
		return false;
	if (n < min)
		return cli_usage(c, "%s needs %s", c->verb->name, c->verb->args), false;
	if (n > max)
		return cli_usage(c, "\"%s\" is one word too many", argv[max]), false;
	cli_settle(c);
	return true;
}

static void help_opts(FILE *f, const struct opt *o)
{
	for (; o && o->name; o++) {
		char left[64];

		if (!o->help)
			continue;
		snprintf(left, sizeof(left), "%c%c%s --%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
			 o->letter ? "," : " ", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
		fprintf(f, "  %-26s %s\n", left, o->help);
	}
}

void cli_help_verb(FILE *f, const struct verb *v)
{
	fprintf(f, "usage: tandem %s%s%s\n\n%s\n", v->name, *v->args ? " " : "", v->args, v->help);
	if (v->opts) {
		fputs("\noptions:\n", f);
		help_opts(f, v->opts);
	}
	fputs("\nglobal options:\n", f);
	help_opts(f, global_opts);
}

void cli_help(FILE *f)
{
	fputs("tandem runs functions on this machine, answers the Lambda API and writes down what each call cost.\n\n"
	      "usage: tandem [options] VERB ...\n\n",
	      f);
	for (const struct verb *v = cli_verbs; v->name; v++)
		fprintf(f, "  %-11s %s\n", v->name, v->summary);
	fputs("\noptions:\n", f);
	help_opts(f, global_opts);
	fputs("\nFirst steps:\n"
	      "  sudo tandem serve                 the daemon, in the foreground\n"
	      "  tandem up                         bring up what ./tandem.yaml declares\n"
	      "  tandem invoke NAME --payload '{}'\n"
	      "  tandem VERB --help                teaches one verb\n",
	      f);
}
