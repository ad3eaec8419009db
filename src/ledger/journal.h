/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal: what happened to what is declared, one line each, for `tandem events`: deploys, moves, crashes, budgets,
 * restarts; not what happens per call. It is a log of its own among the logs (ledger/logs.h): rotated there, 32 MiB at
 * most, handed to the file thread at once. A subject has 20 lines of a kind at once and then one in 10 s, the same one
 * once in a minute; the next one says how many were left out. Subjects and texts may come from outside: what is no
 * UTF-8 to be seen (enc_utf8_moves) becomes a space.
 *
 * All calls on the loop's thread. Tests: tests/ledger/test_journal.c, tests/e2e/test_events_verb.py.
 */
#pragma once
#include "base/str.h"
#include "ledger/logs.h"
#define JOURNAL_LOG	   "$journal" /* no workload's log is called so */
#define JOURNAL_TEXT_BYTES 1024
struct journal;
struct journal *journal_new(struct logs *lg); /* which outlives it */
void journal_free(struct journal *j);	      /* NULL is fine */
/* subject: "shop/iris", or "tandem"; kind: a word, "deploy", "lane" ... j may be NULL: nobody listens. */
void journal_add(struct journal *j, const char *subject, const char *kind, const char *fmt, ...) PRINTF(4, 5);
/* A line as it is read back, "time kind subject text". */
struct journal_line {
	struct str when, kind, subject, text;
};
bool journal_split(struct str line, struct journal_line *ret);
/* Is it about "shop/iris", "iris" or "shop"? "": about anything. */
bool journal_about(const struct journal_line *l, const char *about);
