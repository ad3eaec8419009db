/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger's calls one by one, for who replays them (tandem simulate ledger): a line of JSON each, as they lie on disk.
 * Read piece by piece; while the client has not taken one, the next waits.
 */

#include "api/admin_int.h"
#include "ledger/ledger.h"

/*
 *   READ ⇄ REST ───► END      REST: the client's taking what was sent
 */
struct rows {
	struct http_req *r; /* NULL: the client left */
	struct ledger_query q;
	int64_t until_wall_us;
	bool gone; /* as r, for the file thread */
	struct buf text;
};

/* On the file thread. */
static void visit(struct ledger_query *q, const struct ledger_row *row, const char *workload)
{
	struct rows *k = container_of(q, struct rows, q);
	struct jw w;

	if (__atomic_load_n(&k->gone, __ATOMIC_RELAXED) || row->kind != LEDGER_INVOKE ||
	    row->trigger == TRIGGER_CHECK || row->start_wall_us >= k->until_wall_us)
		return;
	w = jw_object(&k->text);
	jw_strc(&w, "workload", workload);
	jw_int(&w, "at_us", row->start_wall_us - row->queue_us - row->start_us - row->init_us);
	jw_int(&w, "queue_us", row->queue_us);
	jw_int(&w, "start_us", row->start_us);
	jw_int(&w, "init_us", row->init_us);
	jw_int(&w, "handler_us", row->handler_us);
	jw_int(&w, "cpu_us", (int64_t)row->cpu_us);
	jw_int(&w, "mem_peak_bytes", (int64_t)row->mem_peak_bytes);
	jw_int(&w, "memory_mb", row->memory_mb);
	jw_bool(&w, "cold", row->cold);
	jw_strc(&w, "lane", lane_name[row->lane]);
	jw_strc(&w, "trigger", ledger_trigger_name[row->trigger]);
	jw_strc(&w, "outcome", ledger_outcome_name[row->outcome]);
	jw_end(&w, '}');
	buf_addc(&k->text, '\n');
}

static void drained(void *arg)
{
	struct rows *k = arg;

	ledger_query_go(&k->q);
}

static void left(void *arg)
{
	struct rows *k = arg;

	k->r = NULL;
	__atomic_store_n(&k->gone, true, __ATOMIC_RELAXED);
	ledger_query_go(&k->q);
}

static bool rest(struct ledger_query *q)
{
	struct rows *k = container_of(q, struct rows, q);

	if (k->r && k->text.n)
		http_stream_write(k->r, buf_str(&k->text));
	buf_done(&k->text);
	return k->r && http_stream_queued(k->r);
}

static void done(struct ledger_query *q, struct buf *json, const struct err *e)
{
	struct rows *k = container_of(q, struct rows, q);

	(void)rest(q);
	if (k->r && e->kind)
		http_stream_abort(k->r); /* a part that looks like all of it would be worse */
	else if (k->r)
		http_stream_end(k->r);
	free(k);
}

void admin_rows(struct admin *a, struct http_req *r, struct str name)
{
	int64_t since = admin_query_int(r, "since_wall_us", 0), until = admin_query_int(r, "until_wall_us", 0);
	auto_buf workload = {0};
	struct rows *k = xcalloc(1, sizeof(*k));

	k->r = r;
	k->until_wall_us = until ? until : INT64_MAX;
	k->q = (struct ledger_query){.since_wall_us = since, .by = "hour", .visit = visit, .rest = rest, .done = done};
	if (admin_query(r, "workload", &workload))
		strlcpy_(k->q.workload, workload.p, sizeof(k->q.workload));
	http_on_gone(r, left, k);
	http_on_drained(r, drained, k);
	http_stream_begin(r, 200, "application/x-ndjson", STR_NULL);
	ledger_query_start(a->o.ledger, &k->q);
}
