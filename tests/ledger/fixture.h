/* SPDX-License-Identifier: Apache-2.0 */
/* A state directory of its own, a loop, and waiting for what a thread finishes. */
#pragma once
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "json/read.h"
#include "ledger/ledger_int.h"
#include "ledger/logs_int.h"
#include "tests/test.h"

struct fixture {
	char path[64];
	int dirfd;
	struct loop *loop;
	char *prices;
	struct ledger *ledger;
	struct ledger_so_far *so_far; /* one, for the next query */
	struct logs *logs;
	char split[8]; /* of queries */
};

UNUSED static char *fixture_prices(void)
{
	struct buf b = {0};
	struct err e = {0};

	CHECK(io_read_file(AT_FDCWD, "spec/prices.json", 1 << 20, &b, &e) == 0);
	return buf_take(&b);
}

UNUSED static void fixture_init(struct fixture *x)
{
	*x = (struct fixture){.path = "/tmp/tandem-ledger-XXXXXX"};
	CHECK(mkdtemp(x->path) != NULL);
	x->dirfd = open(x->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	x->loop = loop_new();
	x->prices = fixture_prices();
}

UNUSED static void fixture_done(struct fixture *x)
{
	ledger_free(x->ledger);
	logs_free(x->logs);
	loop_free(x->loop);
	free(x->prices);
	close(x->dirfd);
	CHECK(io_rm_tree(AT_FDCWD, x->path, NULL) == 0);
}

UNUSED static void fixture_ledger(struct fixture *x)
{
	struct err e = {0};

	CHECK(ledger_open(x->loop, x->dirfd, x->prices, &x->ledger, &e) == 0);
	CHECK_STR(e.text, "");
}

UNUSED static void fixture_logs(struct fixture *x)
{
	struct err e = {0};

	CHECK(logs_open(x->loop, x->dirfd, &x->logs, &e) == 0);
	CHECK_STR(e.text, "");
}

/* A query or a read, waited for. */
struct waiting {
	struct loop *loop;
	struct buf text;
	struct err e;
	union {
		struct ledger_query query;
		struct log_read read;
	};
};

static void waiting_end(struct waiting *w, struct buf *text, const struct err *e)
{
	w->text = *text;
	*text = (struct buf){0};
	w->e = *e;
	loop_stop(w->loop);
}

UNUSED static void waiting_query(struct ledger_query *q, struct buf *json, const struct err *e)
{
	waiting_end(container_of(q, struct waiting, query), json, e);
}

UNUSED static void waiting_read(struct log_read *r, struct buf *text, const struct err *e)
{
	waiting_end(container_of(r, struct waiting, read), text, e);
}

/* The answer as JSON, NULL when it failed (then w.e says so). */
UNUSED static struct json *query(struct fixture *x, const char *by, const char *workload, int64_t since,
				 struct err *ret_e)
{
	struct waiting w = {.loop = x->loop};
	struct json *j = NULL;

	strlcpy_(w.query.by, by, sizeof(w.query.by));
	strlcpy_(w.query.workload, workload, sizeof(w.query.workload));
	strlcpy_(w.query.split, x->split, sizeof(w.query.split));
	w.query.since_wall_us = since;
	w.query.done = waiting_query;
	w.query.so_far = take_ptr(x->so_far);
	w.query.n_so_far = w.query.so_far ? 1 : 0;
	ledger_query_start(x->ledger, &w.query);
	loop_run(x->loop);
	if (w.e.kind == ERR_NONE)
		j = json_parse(buf_str(&w.text), &w.e);
	if (ret_e)
		*ret_e = w.e;
	buf_done(&w.text);
	return j;
}

/* The log as it is read back; caller frees. */
UNUSED static char *read_log(struct fixture *x, const char *workload, int64_t since, unsigned max_lines,
			     struct err *ret_e)
{
	struct waiting w = {.loop = x->loop};

	strlcpy_(w.read.workload, workload, sizeof(w.read.workload));
	w.read.since_wall_us = since;
	w.read.max_lines = max_lines;
	w.read.done = waiting_read;
	log_read_start(x->logs, &w.read);
	loop_run(x->loop);
	if (ret_e)
		*ret_e = w.e;
	return buf_take(&w.text);
}

/* One entry of "sums" by its key. */
UNUSED static const struct json *sum_of(const struct json *answer, const char *key)
{
	const struct json *sums = json_get(answer, "sums");

	for (size_t i = 0; i < json_len(sums); i++)
		if (str_eqc(json_get_str(json_at(sums, i), "key"), key))
			return json_at(sums, i);
	return NULL;
}
