/* SPDX-License-Identifier: Apache-2.0 */
/* Log events as they are read, and streams, which are what events say they are of. Lines are looked at on the file thread. */
#include <stdio.h>
#include "api/logs_filter.h"
#include "api/logs_int.h"
#include "base/clock.h"
#include "base/enc.h"
#include "base/map.h"
#include "base/mem.h"

#define PAGE_BYTES  1048576
#define TOKEN_BYTES 20

static const struct log_pos END = {UINT32_MAX, UINT32_MAX};

struct event {
	int64_t ms, came_ms;
	struct str stream, message;
	struct json *line; /* LOGS_OWN: what they point into */
	char day[24];
};
/*
 * SEEK (backwards: where the page begins) ───► COLLECT (forwards) ───► done
 */
struct reading {
	struct api_call c;
	struct log_read read;
	struct logs_group g;
	struct json *in; /* what is asked for */
	struct log_filter *filter;
	int64_t start_ms, end_ms;	  /* both included */
	char since[40];			  /* the stamp of the first line that can matter */
	struct log_pos from, until;	  /* of COLLECT */
	struct log_pos first, end;	  /* of the page */
	bool seek, tail, back, one, more; /* tail: SEEK counts events; one: GetLogEvents, of one stream */
	unsigned limit, n;
	struct buf events;
	struct jw w;
	struct map streams; /* DescribeLogStreams */
};

static void reading_free(struct reading *k)
{
	logs_group_done(&k->g);
	json_free(k->in);
	log_filter_free(k->filter);
	buf_done(&k->events);
	map_done(&k->streams);
	free(k);
}

/* --- lines to events, on the file thread --- */

static bool own_event(const struct reading *k, struct event *ev, struct str text)
{
	ev->line = json_parse(text, NULL);
	ev->ms = json_int(json_at(ev->line, 0), 0);
	ev->stream = json_str(json_at(ev->line, 1));
	ev->message = json_str(json_at(ev->line, 2));
	return ev->message.p && ev->stream.p && !memchr(ev->stream.p, 0, ev->stream.n) &&
	       logs_stream_created_ms(&k->g, ev->stream) >= 0 &&
	       ev->came_ms >= logs_stream_created_ms(&k->g, ev->stream);
}

/* false: none that a client sees. json_free ev->line after. */
static bool event_of(const struct reading *k, const struct log_line *l, struct event *ev)
{
	int64_t us;

	*ev = (struct event){0};
	if (clock_parse_iso(l->when, &us) < 0)
		return false;
	ev->ms = ev->came_ms = us / 1000;
	ev->message = l->text;
	switch (k->g.kind) {
	case LOGS_OWN:
		return own_event(k, ev, l->text);
	case LOGS_FUNCTION:
		snprintf(ev->day, sizeof(ev->day), "%.4s/%.2s/%.2s/[$LATEST]", l->when.p, l->when.p + 5, l->when.p + 8);
		ev->stream = str_of(ev->day);
		return true;
	default:
		ev->stream = str_eqc(l->id, "-") ? STR("task") : l->id;
		return true;
	}
}

/* Of a function's day the name of any stream of an instance. */
static bool same_stream(const struct reading *k, struct str asked, struct str stream)
{
	if (k->g.kind == LOGS_FUNCTION)
		return asked.n > 11 && memcmp(asked.p, stream.p, 12) == 0;
	return str_eq(asked, stream);
}

static bool of_stream(const struct reading *k, struct str stream)
{
	const struct json *names = json_get(k->in, "logStreamNames");
	struct str prefix = json_get_str(k->in, "logStreamNamePrefix"), one = json_get_str(k->in, "logStreamName");

	if (one.n)
		return same_stream(k, one, stream);
	for (size_t i = 0; i < json_len(names); i++)
		if (same_stream(k, json_str(json_at(names, i)), stream))
			return true;
	return !json_len(names) && str_starts(stream, prefix.p ? prefix.p : "");
}

static bool wanted(const struct reading *k, const struct event *ev)
{
	return ev->ms >= k->start_ms && ev->ms <= k->end_ms && of_stream(k, ev->stream) &&
	       (!k->filter || log_filter_match(k->filter, ev->message));
}

static bool seek(void *arg, const struct log_line *l)
{
	struct reading *k = arg;
	struct event ev;

	if (memcmp(l->when.p, k->since, l->when.n) < 0)
		return false;
	if (!k->tail) {
		k->from = l->at;
		return true;
	}
	if (event_of(k, l, &ev) && wanted(k, &ev)) {
		k->from = l->at;
		k->n++;
	}
	json_free(ev.line);
	return k->n < k->limit;
}

static void put_event(struct reading *k, const struct log_line *l, const struct event *ev)
{
	auto_buf text = {0};
	char id[60];

	buf_addstr(&text, ev->message);
	if (k->g.kind == LOGS_FUNCTION) /* as Lambda's are */
		buf_addc(&text, '\n');
	jw_obj(&k->w, NULL);
	if (!k->one) {
		snprintf(id, sizeof(id), "%020lld%018u%018u", (long long)ev->came_ms, l->at.segment, l->at.offset);
		jw_str(&k->w, "logStreamName", ev->stream);
		jw_strc(&k->w, "eventId", id);
	}
	jw_int(&k->w, "timestamp", ev->ms);
	jw_str(&k->w, "message", buf_str(&text));
	jw_int(&k->w, "ingestionTime", ev->came_ms);
	jw_end(&k->w, '}');
}

static bool before(struct log_pos a, struct log_pos b)
{
	return a.segment != b.segment ? a.segment < b.segment : a.offset < b.offset;
}

static bool collect(void *arg, const struct log_line *l)
{
	struct reading *k = arg;
	struct event ev;

	if (!before(l->at, k->until))
		return false;
	k->end = l->end;
	if (event_of(k, l, &ev) && wanted(k, &ev)) {
		if (!k->n++)
			k->first = l->at;
		put_event(k, l, &ev);
		k->more = k->n == k->limit || k->events.n >= PAGE_BYTES;
	}
	json_free(ev.line);
	return !k->more;
}

static int scan_events(struct log_read *r, struct log_files *f, struct err *e)
{
	struct reading *k = container_of(r, struct reading, read);

	if (k->seek && log_files_scan(f, r->workload, k->until, true, seek, k, e) < 0)
		return -1;
	k->n = 0;
	k->first = k->back ? k->until : k->from;
	k->end = k->back ? k->until : k->from;
	jw_init(&k->w, &k->events);
	jw_arr(&k->w, NULL);
	if (log_files_scan(f, r->workload, k->from, false, collect, k, e) < 0)
		return -1;
	jw_end(&k->w, ']');
	return 0;
}

/* --- GetLogEvents, FilterLogEvents --- */

static void put_token(struct jw *w, const char *key, char kind, struct log_pos p)
{
	char token[TOKEN_BYTES];

	snprintf(token, sizeof(token), "%c/%08x%08x", kind, p.segment, p.offset);
	jw_strc(w, key, token);
}

static int take_token(struct api_call *c, char *ret_kind, struct log_pos *ret)
{
	struct str token = json_get_str(c->in, "nextToken");
	uint8_t b[8];

	*ret_kind = 0;
	if (!token.n)
		return 0;
	if (token.n != 18 || token.p[1] != '/' || (*token.p != 'f' && *token.p != 'b') ||
	    dec_hex((struct str){token.p + 2, 16}, b, 8) < 0)
		return api_fail(&c->e, API_INVALID_MEMBER, "The specified nextToken is invalid.");
	*ret_kind = *token.p;
	ret->segment = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
	ret->offset = (uint32_t)b[4] << 24 | (uint32_t)b[5] << 16 | (uint32_t)b[6] << 8 | b[7];
	return 0;
}

static void events_read(struct log_read *r, struct buf *text, const struct err *e)
{
	struct reading *k = container_of(r, struct reading, read);
	auto_object(w, out);

	if (e->kind) {
		api_reply_fail(&k->c, API_SERVICE, "The log cannot be read: %s", e->text);
		reading_free(k);
		return;
	}
	jw_raw(&w, "events", buf_str(&k->events));
	if (k->one) {
		put_token(&w, "nextForwardToken", 'f', k->end);
		put_token(&w, "nextBackwardToken", 'b', k->first);
	} else {
		jw_raw(&w, "searchedLogStreams", STR("[]"));
		if (k->more)
			put_token(&w, "nextToken", 'f', k->end);
	}
	api_reply_object(&k->c, 200, &w);
	reading_free(k);
}

static void start(struct reading *k, struct api_call *c)
{
	k->c = *c;
	k->c.in = NULL;
	if (c->r)
		http_on_gone_clear(&k->c.r);
	strlcpy_(k->read.workload, k->g.log, sizeof(k->read.workload));
	log_read_start(c->a->o.logs, &k->read);
}

static struct reading *reading_new(struct api_call *c)
{
	struct reading *k = xcalloc(1, sizeof(*k));
	int64_t shown_ms;

	k->until = END;
	if (logs_group(c, &k->g) < 0) {
		reading_free(k);
		return NULL;
	}
	k->in = json_ref(c->in);
	k->limit = (unsigned)json_get_int(c->in, "limit", 0);
	k->start_ms = json_get_int(c->in, "startTime", 0);
	k->end_ms = json_get_int(c->in, "endTime", INT64_MAX);
	shown_ms = logs_shown_since_ms(&k->g);
	if (k->start_ms < shown_ms)
		k->start_ms = shown_ms;
	return k;
}

/* "2026-11-21T10:00:00.000" as lines begin; far beyond what a time can be: its last moment. */
static void since(struct reading *k)
{
	int64_t ms = k->start_ms - (k->g.kind == LOGS_OWN ? LOGS_SLACK_MS : 0);

	if (ms > INT64_MAX / 1000)
		ms = INT64_MAX / 1000;
	clock_fmt_iso(ms > 0 ? ms * 1000 : 0, k->since);
	strlcpy_(k->since + 23, "000Z", sizeof(k->since) - 23);
}

int logs_get_events(struct api_call *c)
{
	struct str stream = json_get_str(c->in, "logStreamName");
	struct reading *k = reading_new(c);
	struct log_pos at = {0};
	char kind;

	if (!k)
		return -1;
	k->one = true;
	if (take_token(c, &kind, &at) < 0 || (k->g.kind == LOGS_OWN && logs_stream_created_ms(&k->g, stream) < 0)) {
		if (!c->e.code)
			api_fail(&c->e, API_NOT_FOUND, "The specified log stream does not exist.");
		reading_free(k);
		return -1;
	}
	if (json_get(c->in, "endTime") && k->end_ms != INT64_MAX)
		k->end_ms--; /* not included here */
	k->from = kind == 'f' ? at : k->from;
	k->until = kind == 'b' ? at : END;
	k->back = kind == 'b';
	k->tail = kind == 'b' || (!kind && !json_get_bool(c->in, "startFromHead", false));
	k->seek = kind != 'f';
	since(k);
	k->read.scan = scan_events;
	k->read.done = events_read;
	start(k, c);
	return 0;
}

int logs_filter_events(struct api_call *c)
{
	struct reading *k = reading_new(c);
	struct err e = {0};
	char kind;

	if (!k)
		return -1;
	if (take_token(c, &kind, &k->from) < 0 ||
	    log_filter_parse(json_get_str(c->in, "filterPattern"), &k->filter, &e) < 0) {
		if (e.kind)
			api_fail(&c->e, API_INVALID_MEMBER, "Invalid filter pattern: %s", e.text);
		reading_free(k);
		return -1;
	}
	k->seek = !kind && k->start_ms > 0;
	since(k);
	k->read.scan = scan_events;
	k->read.done = events_read;
	start(k, c);
	return 0;
}

/* --- DescribeLogStreams --- */

struct seen {
	int64_t created_ms, first_ms, last_ms, came_ms; /* first_ms 0: no event */
	char name[];
};

static struct seen *see(struct reading *k, struct str stream, int64_t created_ms)
{
	struct seen *s = map_get(&k->streams, stream);

	if (s)
		return s;
	s = xcalloc(1, sizeof(*s) + stream.n + 1);
	memcpy(s->name, stream.p, stream.n);
	s->created_ms = created_ms;
	map_put(&k->streams, str_of(s->name), s);
	return s;
}

static bool collect_stream(void *arg, const struct log_line *l)
{
	struct reading *k = arg;
	struct event ev;

	if (event_of(k, l, &ev) && wanted(k, &ev)) {
		struct seen *s = see(k, ev.stream, ev.ms);

		if (!s->first_ms || ev.ms < s->first_ms)
			s->first_ms = ev.ms;
		if (ev.ms > s->last_ms)
			s->last_ms = ev.ms;
		s->came_ms = ev.came_ms;
	}
	json_free(ev.line);
	return true;
}

static int scan_streams(struct log_read *r, struct log_files *f, struct err *e)
{
	return log_files_scan(f, r->workload, (struct log_pos){0}, false, collect_stream,
			      container_of(r, struct reading, read), e);
}

static int declared(void *arg, const char *key, const struct json *j)
{
	struct reading *k = arg;

	if (of_stream(k, str_of(key)))
		see(k, str_of(key), json_int(j, 0));
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(struct seen *const *)a)->name, (*(struct seen *const *)b)->name);
}

static int by_time(const void *a, const void *b)
{
	const struct seen *x = *(struct seen *const *)a, *y = *(struct seen *const *)b;

	return x->last_ms != y->last_ms ? (x->last_ms < y->last_ms ? -1 : 1) : strcmp(x->name, y->name);
}

static void put_stream(struct jw *w, const struct reading *k, const struct seen *s)
{
	const struct api_where *at = &k->c.a->where;
	auto_free char *arn =
		xasprintf("arn:aws:logs:%s:%s:log-group:%s:log-stream:%s", at->region, at->account, k->g.name, s->name);

	jw_obj(w, NULL);
	jw_strc(w, "logStreamName", s->name);
	jw_int(w, "creationTime", s->created_ms);
	if (s->first_ms) {
		jw_int(w, "firstEventTimestamp", s->first_ms);
		jw_int(w, "lastEventTimestamp", s->last_ms);
		jw_int(w, "lastIngestionTime", s->came_ms);
	}
	jw_strc(w, "arn", arn);
	jw_int(w, "storedBytes", 0); /* as AWS has it since 2019 */
	jw_end(w, '}');
}

static void streams_read(struct log_read *r, struct buf *text, const struct err *e)
{
	struct reading *k = container_of(r, struct reading, read);
	bool down = json_get_bool(k->in, "descending", false),
	     time = str_eqc(json_get_str(k->in, "orderBy"), "LastEventTime");
	size_t n, at = 0, pos = 0;
	struct seen **v, *s;
	auto_object(w, out);

	json_each(json_get(k->g.doc, "streams"), declared, k);
	n = k->streams.n;
	v = xcalloc(n + 1, sizeof(*v));
	while ((s = map_next(&k->streams, &pos)))
		v[at++] = s;
	qsort(v, n, sizeof(*v), time ? by_time : by_name);
	jw_arr(&w, "logStreams");
	for (at = k->from.offset; at < n && at - k->from.offset < k->limit; at++)
		put_stream(&w, k, v[down ? n - 1 - at : at]);
	jw_end(&w, ']');
	if (at < n)
		put_token(&w, "nextToken", 'f', (struct log_pos){0, (uint32_t)at});
	if (e->kind)
		api_reply_fail(&k->c, API_SERVICE, "The log cannot be read: %s", e->text);
	else
		api_reply_object(&k->c, 200, &w);
	for (size_t i = 0; i < n; i++)
		free(v[i]);
	free(v);
	reading_free(k);
}

int logs_describe_streams(struct api_call *c)
{
	struct reading *k = reading_new(c);
	char kind;

	if (!k)
		return -1;
	if (json_get_str(c->in, "logStreamNamePrefix").n && str_eqc(json_get_str(c->in, "orderBy"), "LastEventTime"))
		api_fail(&c->e, API_INVALID_MEMBER, "Cannot order by LastEventTime with a logStreamNamePrefix.");
	if (c->e.code || take_token(c, &kind, &k->from) < 0) {
		reading_free(k);
		return -1;
	}
	k->read.scan = scan_streams;
	k->read.done = streams_read;
	start(k, c);
	return 0;
}
