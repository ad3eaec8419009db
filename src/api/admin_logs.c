/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logs and costs. Logs are read function by function on the file thread and, when several were asked for, merged by
 * their times; following begins before the reading ends, so that no line is missed in between (a line may then come
 * twice, never not at all).
 */
#include <stdio.h>
#include "api/admin_int.h"
#include "base/clock.h"
#include "base/map.h"
#include "image/image.h"
#include "ledger/prices.h"
#include "sched/budget.h"
#include "store/snapshot.h"

#define TIME_BYTES 27	     /* "2026-11-21T03:23:13.428249Z"; in JSON it follows {"time":" */
#define QUEUED_MAX (4 << 20) /* a reader that is slower than its function loses lines and is told so */

/*
 *   READ ───► FOLLOW ───► (client leaves)
 *     └─────► END
 */
struct tail {
	struct http_req *r; /* NULL: the client left; only waits for done of a read */
	struct admin *a;
	struct log_read read;
	struct log_follow follow;
	bool reading, following, want_follow, all, json;
	bool journal;		       /* its lines are events; who: about whom */
	char who[300];		       /* of a task of several containers: the one that is asked for; "": all */
	char next[LIM_NAME_BYTES + 1]; /* all: the function that is read now */
	int64_t since_wall_us;
	unsigned lines;
	struct buf text, held; /* what was read; what came while reading */
	uint64_t lost;
};

static void tail_free(struct tail *t)
{
	if (t->following)
		log_follow_stop(&t->follow);
	buf_done(&t->text);
	buf_done(&t->held);
	free(t);
}

static bool put_json_event(struct buf *out, struct str line)
{
	struct journal_line l;
	struct jw w;

	if (!journal_split(line, &l))
		return false;
	w = jw_object(out);
	jw_str(&w, "time", l.when);
	jw_str(&w, "kind", l.kind);
	jw_str(&w, "subject", l.subject);
	jw_str(&w, "text", l.text);
	jw_end(&w, '}');
	buf_addc(out, '\n');
	return true;
}

static void put_json_line(struct buf *out, struct str function, struct str line)
{
	struct str time, id, text;
	struct jw w = jw_object(out);

	if (!str_cut(line, ' ', &time, &text) || !str_cut(text, ' ', &id, &text))
		time = STR_NULL, id = STR_NULL, text = line;
	jw_str(&w, "time", time);
	jw_str(&w, "function", function);
	jw_str(&w, "request_id", id);
	jw_str(&w, "text", text);
	jw_end(&w, '}');
	buf_addc(out, '\n');
}

/* The second word of a line names the container; an event has a subject. */
static bool of_who(const struct tail *t, struct str line)
{
	struct str time, id, text;
	struct journal_line l;

	if (t->journal)
		return journal_split(line, &l) && journal_about(&l, t->who);
	return !*t->who || (str_cut(line, ' ', &time, &text) && str_cut(text, ' ', &id, &text) &&
			    str_starts(id, t->who) && (id.n == strlen(t->who) || id.p[strlen(t->who)] == '/'));
}

/* Lines "time id text" as this client wants them: "time function id text" when there are several functions. */
static void shape(const struct tail *t, const char *function, struct str lines, struct buf *out)
{
	struct str line, time, rest;

	if (!t->all && !t->json && !*t->who)
		return buf_addstr(out, lines);
	while (str_next(&lines, '\n', &line))
		if (!of_who(t, line))
			continue;
		else if (!t->all && !t->json)
			buf_addf(out, STR_FMT "\n", STR_ARG(line));
		else if (t->journal)
			put_json_event(out, line);
		else if (t->json)
			put_json_line(out, str_of(function), line);
		else if (str_cut(line, ' ', &time, &rest))
			buf_addf(out, STR_FMT " %s " STR_FMT "\n", STR_ARG(time), function, STR_ARG(rest));
}

static void on_line(struct log_follow *f, struct str text)
{
	struct tail *t = container_of(f, struct tail, follow);
	auto_buf out = {0};

	if (!t->r || (t->all && f->workload[0] == '$')) /* the platform's own */
		return;
	if (t->reading ? t->held.n > QUEUED_MAX : http_stream_queued(t->r) > QUEUED_MAX) {
		t->lost++;
		return;
	}
	shape(t, f->workload ? f->workload : t->read.workload, text, t->reading ? &t->held : &out);
	if (t->reading)
		return;
	if (t->lost) {
		auto_buf note = {0};

		buf_addf(&note, "(%llu pieces left out: this reader is too slow)\n", (unsigned long long)t->lost);
		t->lost = 0;
		http_stream_write(t->r, buf_str(&note));
	}
	http_stream_write(t->r, buf_str(&out));
}

static int by_line(const void *a, const void *b)
{
	const struct str *x = a, *y = b;
	size_t n = x->n < y->n ? x->n : y->n, prefix = x->n && *x->p == '{' ? TIME_BYTES + 9 : TIME_BYTES;
	int c = memcmp(x->p, y->p,
		       n < prefix ? n : prefix); /* the time alone: lines of one instant stay in their order */

	return c ? c : (x->p > y->p) - (x->p < y->p);
}

/* The last t->lines lines of all that was read, in order of time. */
static void merge(struct tail *t, struct buf *out)
{
	size_t n = 0, cap = 0;
	struct str *lines = NULL, line, rest = buf_str(&t->text);

	while (str_cut(rest, '\n', &line, &rest)) {
		if (n == cap)
			lines = xrealloc(lines, sizeof(*lines) * (cap = cap ? 2 * cap : 256));
		lines[n++] = line;
	}
	if (n && t->all)
		qsort(lines, n, sizeof(*lines), by_line);
	for (size_t i = n > t->lines ? n - t->lines : 0; i < n; i++) {
		buf_addstr(out, lines[i]);
		buf_addc(out, '\n');
	}
	free(lines);
}

static void finish_reading(struct tail *t)
{
	auto_buf out = {0};

	t->reading = false;
	if (!t->r)
		return tail_free(t);
	merge(t, &out);
	buf_done(&t->text);
	http_stream_write(t->r, buf_str(&out));
	if (!t->want_follow) {
		http_stream_end(t->r);
		tail_free(t);
		return;
	}
	http_stream_write(t->r, buf_str(&t->held));
	buf_done(&t->held);
}

static void was_read(struct log_read *rd, struct buf *text, const struct err *e);

static bool wanted_event(const struct log_read *rd, const struct log_line *line)
{
	const struct tail *t = container_of(rd, struct tail, read);
	struct journal_line l = {0};
	struct str rest = line->text;

	return str_cut(rest, ' ', &l.subject, &rest) && journal_about(&l, t->who);
}

static void read_one(struct tail *t, const char *function)
{
	t->read = (struct log_read){.since_wall_us = t->since_wall_us, .max_lines = t->lines, .done = was_read};
	t->read.wanted = t->journal ? wanted_event : NULL;
	strlcpy_(t->read.workload, function, sizeof(t->read.workload));
	log_read_start(t->a->o.logs, &t->read);
}

static void was_read(struct log_read *rd, struct buf *text, const struct err *e)
{
	struct tail *t = container_of(rd, struct tail, read);
	struct function *f = NULL;

	if (!e->kind)
		shape(t, rd->workload, buf_str(text), &t->text);
	if (t->r && t->all && e->kind != ERR_CANCELED)
		f = function_after(t->a->o.store, t->next);
	if (!f)
		return finish_reading(t);
	strlcpy_(t->next, f->name, sizeof(t->next));
	read_one(t, f->name);
}

static void tail_left(void *arg)
{
	struct tail *t = arg;

	t->r = NULL;
	if (t->following)
		log_follow_stop(&t->follow);
	t->following = false;
	if (!t->reading)
		tail_free(t);
}

/* "SERVICE", "TASK", "TASK/CONTAINER": function becomes the name of the log. false: it is answered. */
static bool find_task(struct admin *a, struct http_req *r, struct buf *function, char who[300])
{
	struct str name = buf_str(function), word = name, container = STR_NULL;
	struct service *sv = admin_service_find(a, name);
	char of_service[TASK_LOG_MAX + 1];
	const char *log = sv ? service_log_name(service_spec_of(sv), of_service) : NULL;
	struct task *k;
	struct task_info i;
	unsigned n;
	bool shared;

	if (log) {
		buf_clear(function);
		buf_adds(function, log);
		return true;
	}
	(void)str_cut(name, '/', &word, &container);
	k = task_find(a->o.tasks, word);
	if (!k && !container.p)
		return true;
	k = admin_task_find(a, r, name, &n);
	if (!k)
		return false;
	task_info(k, &i);
	log = task_log_name(k, &shared);
	container.n = i.n_containers > 1 ? container.n : 0;
	snprintf(who, 300, "%.*s%s" STR_FMT, shared ? TASK_WHO_BYTES : 0, i.id, shared && container.n ? "/" : "",
		 STR_ARG(container));
	buf_clear(function);
	buf_adds(function, log);
	return true;
}

/* function: the log; NULL: those of all functions. */
static void tail_begin(struct tail *t, const char *function)
{
	int64_t since_us = admin_query_int(t->r, "since_us", 0);
	const struct function *first = function ? NULL : function_next(t->a->o.store, NULL);

	t->all = !function;
	t->want_follow = admin_query_is(t->r, "follow", "1");
	t->json = admin_query_is(t->r, "format", "json");
	t->lines = (unsigned)admin_query_int(t->r, "lines", 200);
	if (t->lines > 100000)
		t->lines = 100000;
	t->since_wall_us = since_us ? clock_wall_us() - since_us : 0;
	http_on_gone(t->r, tail_left, t);
	http_stream_begin(t->r, 200, t->json ? "application/x-ndjson" : "text/plain; charset=utf-8", STR_NULL);
	t->reading = true;
	if (t->want_follow) {
		t->follow.line = on_line;
		t->following = true;
		log_follow_start(t->a->o.logs, function, &t->follow);
	}
	if (t->all && !first)
		return finish_reading(t);
	if (t->all)
		strlcpy_(t->next, first->name, sizeof(t->next));
	read_one(t, t->all ? first->name : function);
}

static struct tail *tail_new(struct admin *a, struct http_req *r, const char *who)
{
	struct tail *t = xcalloc(1, sizeof(*t));

	t->r = r, t->a = a;
	strlcpy_(t->who, who, sizeof(t->who));
	return t;
}

void admin_logs(struct admin *a, struct http_req *r, struct str name)
{
	auto_buf function = {0};
	bool all = !admin_query(r, "function", &function);
	char who[300] = "";

	if (!all && !function_get(a->o.store, buf_str(&function)) && !find_task(a, r, &function, who))
		return;
	/* A name without a function has no lines; only one that could never have been one is refused here. */
	if (!all && !str_name_ok(buf_str(&function), TASK_LOG_MAX, "-_:"))
		admin_errorf(r, ERR_INVALID, "\"%.80s\" is no name of a function", function.p);
	else
		tail_begin(tail_new(a, r, who), all ? NULL : function.p);
}

void admin_events(struct admin *a, struct http_req *r, struct str name)
{
	auto_buf about = {0};
	struct tail *t;

	if (admin_query(r, "about", &about) && !str_name_ok(buf_str(&about), 160, "-_:/."))
		return admin_errorf(r, ERR_INVALID, "\"%.80s\" is no name of a workload or a project", about.p);
	t = tail_new(a, r, about.n ? about.p : "");
	t->journal = true;
	tail_begin(t, JOURNAL_LOG);
}

struct cost {
	struct http_req *r;
	struct ledger_query q;
};

static void counted(struct ledger_query *q, struct buf *json, const struct err *e)
{
	struct cost *c = container_of(q, struct cost, q);

	if (c->r && e->kind)
		admin_error(c->r, e);
	else if (c->r)
		admin_json(c->r, 200, json);
	free(c);
}

void admin_price(struct admin *a, struct http_req *r, struct str name)
{
	auto_buf text = {0};
	enum ledger_price p = 0;
	double usd;
	auto_object(w, out);

	while (p < LEDGER_PRICE_N && !admin_query(r, ledger_price_name[p].asked, &text))
		p++;
	if (p == LEDGER_PRICE_N || !text.n || price_parse(text.p, &usd) < 0)
		return admin_errorf(r, ERR_INVALID, "a price is a number of USD, like 0.05");
	ledger_price_set(a->o.ledger, p, usd);
	store_setting_put(a->o.store, NULL, ledger_price_name[p].setting, text.p);
	jw_real(&w, ledger_price_name[p].json, usd);
	admin_object(r, 200, &w);
}

/* "aws-lambda,cloud-run", or "all". */
static int read_offers(struct str text, uint32_t *ret)
{
	struct str one;
	uint32_t on = 0;

	if (str_eqc(text, "all")) {
		*ret = (1u << PRICE_OFFER_N) - 1;
		return 0;
	}
	while (str_next(&text, ',', &one)) {
		enum price_offer o;

		if (price_offer_parse(one, &o) < 0)
			return -1;
		on |= 1u << o;
	}
	*ret = on;
	return on ? 0 : -1;
}

static void refuse_offers(struct http_req *r)
{
	auto_buf names = {0};

	for (int o = 0; o < PRICE_NAMED_N; o++)
		buf_addf(&names, "%s, ", price_offer_name[o]);
	admin_errorf(r, ERR_INVALID, "on is a list of %sor all", names.p);
}

/* Images share layers: each is there once. */
static int64_t layer_bytes(const struct images *t)
{
	struct map seen = {0};
	const struct image *im;
	int64_t sum = 0;

	for (unsigned i = 0; (im = image_at(t, i)); i++) {
		for (unsigned k = 0; k < im->n_layers; k++) {
			struct str id = str_of(im->layers[k].diff_id);

			sum += map_get(&seen, id) ? 0 : im->layers[k].bytes;
			map_put(&seen, id, &im->layers[k]);
		}
	}
	map_done(&seen);
	return sum;
}

void admin_cost(struct admin *a, struct http_req *r, struct str name)
{
	auto_buf by = {0}, workload = {0}, split = {0}, on = {0};
	int64_t since_us = admin_query_int(r, "since_us", 0);
	uint32_t offers = 0;
	struct cost *c;

	if (admin_query(r, "on", &on) && read_offers(buf_str(&on), &offers) < 0)
		return refuse_offers(r);
	c = xcalloc(1, sizeof(*c));
	c->q.on = offers;
	c->r = r;
	c->q.since_wall_us = since_us ? clock_wall_us() - since_us : 0;
	c->q.done = counted;
	c->q.layer_bytes = layer_bytes(a->o.images);
	c->q.snapshot_bytes = (int64_t)snapshot_disk_bytes(a->o.store);
	strlcpy_(c->q.by, admin_query(r, "by", &by) ? by.p : "workload", sizeof(c->q.by));
	if (admin_query(r, "split", &split))
		strlcpy_(c->q.split, split.p, sizeof(c->q.split));
	if (admin_query(r, "workload", &workload))
		strlcpy_(c->q.workload, workload.p, sizeof(c->q.workload));
	http_on_gone_clear(&c->r);
	services_account(a->o.services);
	tasks_so_far(a->o.tasks, &c->q);
	sched_so_far(a->o.sched, &c->q);
	if (a->o.meter)
		meter_so_far(a->o.meter, &c->q);
	ledger_query_start(a->o.ledger, &c->q);
}

void admin_put_budget(struct admin *a, const char *workload, const char *tags, struct jw *w)
{
	char note[320];

	if (budgets_note(a->o.is.budgets, workload, tags, note))
		jw_strc(w, "budget", note);
	if (budgets_closed(a->o.is.budgets, workload, tags, false, NULL))
		jw_bool(w, "budget_closed", true);
}

void admin_budgets(struct admin *a, struct http_req *r, struct str name)
{
	auto_object(w, out);

	budgets_json(a->o.is.budgets, &w);
	admin_object(r, 200, &w);
}
