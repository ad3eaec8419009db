/* SPDX-License-Identifier: Apache-2.0 */
/* completion: made from the same tables as the help, so that it cannot differ from what the tool takes. */
#include "cli/verbs.h"

static const char takes_function[] = " describe invoke stop logs events why trace ";

/* What stands first behind some verbs. */
static const struct {
	int (*run)(struct cli *c, int argc, char **argv);
	const char *words;
} sub_words[] = {{images_run, " rm gc"}, {secret_run, " set ls rm"}, {volume_run, " ls rm"}, {grant_run, " add ls rm"}};

static const char *words_of(const struct verb *v)
{
	for (size_t i = 0; i < ARRAY_SIZE(sub_words); i++)
		if (v->run == sub_words[i].run)
			return sub_words[i].words;
	return "";
}

static bool takes(const struct verb *v)
{
	char probe[40];

	snprintf(probe, sizeof(probe), " %s ", v->name);
	return strstr(takes_function, probe);
}

static void words(const struct opt *o)
{
	for (; o && o->name; o++)
		if (o->help)
			printf(" --%s", o->name);
}

static void bash(void)
{
	fputs("# bash completion for tandem\n_tandem() {\n\tlocal cur=${COMP_WORDS[COMP_CWORD]} verb= i w\n"
	      "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n\t\tw=${COMP_WORDS[i]}\n"
	      "\t\tcase $w in --state|-o|--output) ((i++)) ;; -*) ;; *) verb=$w; break ;; esac\n\tdone\n\tcase $verb "
	      "in\n",
	      stdout);
	for (const struct verb *v = cli_verbs; v->name; v++) {
		printf("\t%s) w=\"", v->name);
		words(v->opts);
		fputs(words_of(v), stdout);
		fputs(" --help --output --quiet --state\"", stdout);
		if (takes(v))
			fputs("; [[ $cur == -* ]] || w=$(tandem -q ls 2>/dev/null | awk '/^STARTS/{exit} NR>1{print "
			      "$1}')",
			      stdout);
		fputs(" ;;\n", stdout);
	}
	fputs("\t*) w=\"", stdout);
	for (const struct verb *v = cli_verbs; v->name; v++)
		printf("%s ", v->name);
	fputs("--help --state --output --no-color --quiet\" ;;\n\tesac\n\tCOMPREPLY=($(compgen -W \"$w\" -- "
	      "\"$cur\"))\n"
	      "\t[[ $verb == up || $verb == down || $verb == backup || $verb == restore || $verb == pull ]] && "
	      "COMPREPLY+=($(compgen -f -- \"$cur\"))\n}\n"
	      "complete -F _tandem tandem\n",
	      stdout);
}

/* Inside single quotes of zsh and fish. */
static void quoted(const char *s)
{
	for (; *s; s++) {
		if (*s == '\'')
			fputs("'\\''", stdout);
		else
			putchar(*s);
	}
}

static void zsh(void)
{
	fputs("#compdef tandem\n_tandem() {\n\tlocal -a verbs\n\tverbs=(\n", stdout);
	for (const struct verb *v = cli_verbs; v->name; v++) {
		printf("\t\t'%s:", v->name);
		quoted(v->summary);
		fputs("'\n", stdout);
	}
	fputs("\t)\n\tif (( CURRENT == 2 )); then\n\t\t_describe verb verbs\n\t\treturn\n\tfi\n\tcase $words[2] in\n",
	      stdout);
	for (const struct verb *v = cli_verbs; v->name; v++) {
		printf("\t%s) compadd --", v->name);
		words(v->opts);
		fputs(words_of(v), stdout);
		fputs(" --help", stdout);
		if (takes(v))
			fputs(" ${(f)\"$(tandem -q ls 2>/dev/null | awk '/^STARTS/{exit} NR>1{print $1}')\"}", stdout);
		fputs("; _files ;;\n", stdout);
	}
	fputs("\tesac\n}\n_tandem \"$@\"\n", stdout);
}

static void fish(void)
{
	fputs("# fish completion for tandem\n", stdout);
	for (const struct verb *v = cli_verbs; v->name; v++) {
		printf("complete -c tandem -n __fish_use_subcommand -f -a %s -d '", v->name);
		quoted(v->summary);
		fputs("'\n", stdout);
		if (*words_of(v))
			printf("complete -c tandem -n '__fish_seen_subcommand_from %s' -f -a '%s'\n", v->name,
			       words_of(v) + 1);
		for (const struct opt *o = v->opts; o && o->name; o++) {
			if (!o->help)
				continue;
			printf("complete -c tandem -n '__fish_seen_subcommand_from %s' -l %s %s-d '", v->name, o->name,
			       o->kind == OPT_FLAG ? "" : "-r ");
			quoted(o->help);
			fputs("'\n", stdout);
		}
	}
	printf("complete -c tandem -n '__fish_seen_subcommand_from%s' -f "
	       "-a \"(tandem -q ls 2>/dev/null | awk '/^STARTS/{exit} NR>1{print \\$1}')\"\n",
	       takes_function);
}

int completion_run(struct cli *c, int argc, char **argv)
{
	if (!cli_options(c, NULL, &argc, argv, 1, 1))
		return c->exit;
	if (!strcmp(argv[0], "bash"))
		bash();
	else if (!strcmp(argv[0], "zsh"))
		zsh();
	else if (!strcmp(argv[0], "fish"))
		fish();
	else
		return cli_usage(c, "completion is made for bash, zsh and fish, not for \"%s\"", argv[0]);
	return CLI_OK;
}
