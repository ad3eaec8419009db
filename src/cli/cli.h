/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tool: one file per verb, each a struct verb. Straight blocking code; a verb prints its own errors (cli_fail) and
 * returns the exit code. Exit codes: 0 done, 1 failed, 2 used wrongly, 124 timed out.
 *
 * Standard output carries what was asked for, standard error everything else. With -o json standard output is the
 * daemon's JSON.
 */
#pragma once
#include <stdbool.h>
#include <stdio.h>
#include "base/buf.h"
#include "base/err.h"
#include "json/read.h"

#define CLI_MB 1048576.0 /* what is called a MB everywhere */
enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_TIMEOUT = 124 };

enum opt_kind { OPT_FLAG, OPT_TEXT, OPT_COUNT, OPT_DURATION, OPT_LIST };
#define OPT_LIST_MAX 256
struct opt_list { /* of an option that may be said several times */
	const char *v[OPT_LIST_MAX];
	unsigned n;
};
/* One option: where its value goes is an offset into the verb's own struct (bool, const char *, int64_t, int64_t
 * microseconds, struct opt_list). */
struct opt {
	char letter;	  /* 0: none */
	const char *name; /* NULL ends the table */
	enum opt_kind kind;
	const char *arg;  /* placeholder in help */
	const char *help; /* NULL: hidden */
	size_t offset;
};

struct cli;
struct verb {
	const char *name; /* NULL ends the table */
	const char *args; /* "NAME [options]" */
	const char *summary;
	const char *help;	/* what it does and examples, for --help */
	const struct opt *opts; /* NULL: none */
	int (*run)(struct cli *c, int argc, char **argv);
};
extern const struct verb cli_verbs[];

struct cli {
	const struct verb *verb;
	const char *state;  /* directory, as given */
	const char *output; /* "text" or "json" */
	bool json, no_color, quiet;
	bool color_out; /* standard output takes colour */
	int exit;	/* set when cli_options says no */
	char sock[280]; /* path of the admin socket */
};

/* Fills *into by the verb's options and the global ones (they may stand after the verb too); what is left in argv are
 * words, between min and max of them. false: help was printed or the usage was wrong, return c->exit. */
#define CLI_COMMAND INT32_MAX /* as max: the first word ends the options; what follows belongs to another program */
bool cli_options(struct cli *c, void *into, int *argc, char **argv, int min, int max);
/* Options up to the verb; returns the index of the verb in argv, or -1. */
int cli_globals(struct cli *c, int argc, char **argv);
void cli_settle(struct cli *c);					 /* environment, terminal; after all options */
int cli_usage(struct cli *c, const char *fmt, ...) PRINTF(2, 3); /* says it, returns CLI_USAGE */
int cli_fail(const struct err *e);				 /* "tandem: text"; returns CLI_FAILED or CLI_TIMEOUT */
int cli_failf(const char *fmt, ...) PRINTF(1, 2);
int cli_can_write(const char *path,
		  struct err *e); /* a file of that name: asked before the work that it is to tell of */
void cli_note(struct cli *c, const char *fmt, ...) PRINTF(2, 3); /* standard error, unless -q */
void cli_help(FILE *f);
void cli_help_verb(FILE *f, const struct verb *v);

/* Colours: "" when there are none. */
enum tint { TINT_NONE, TINT_DIM, TINT_BOLD, TINT_RED, TINT_GREEN, TINT_YELLOW };
const char *cli_tint(const struct cli *c, enum tint t);
static inline const char *cli_plain(const struct cli *c)
{
	return c->color_out ? "\033[0m" : "";
}

int cli_duration(struct str s, int64_t *ret_us); /* "90", "10m", "1h30m", "2d"; -1 when it is none */
/* Where the helpers and shims lie: beside this program when tandem-spawner is there, else ../libexec/tandem. */
int cli_libexec(char *out, size_t size, struct err *e);
void cli_shell_quote(struct buf *out, struct str s); /* one word for sh */
char *cli_clean(char *s); /* in place, returns it: what a function said must not drive the terminal */
char *cli_clean_n(char *s, size_t n);
char *cli_cell(const char *fmt, ...) PRINTF(1, 2); /* for tables; abort on no memory */
