/* SPDX-License-Identifier: Apache-2.0 */
/* PutLogEvents. */

#include "api/logs_int.h"
#include "base/clock.h"
#include "base/mem.h"

#define BATCH_BYTES 1048576
#define EVENT_BYTES 26 /* each counts as so many more */

static int check_events(struct api_call *c, const struct json *events)
{
	size_t bytes = 0;

	if (json_len(events) > 10000)
		return api_fail(&c->e, API_INVALID_MEMBER, "At most 10000 log events are possible in one request.");
	for (size_t i = 0; i < json_len(events); i++) {
		const struct json *ev = json_at(events, i);

		bytes += json_get_str(ev, "message").n + EVENT_BYTES;
		if (i && json_get_int(ev, "timestamp", 0) < json_get_int(json_at(events, i - 1), "timestamp", 0))
			return api_fail(&c->e, API_INVALID_MEMBER,
					"Log events in a single PutLogEvents request must be in chronological order.");
	}
	return bytes <= BATCH_BYTES
		       ? 0
		       : api_fail(&c->e, API_INVALID_MEMBER, "Upload too large: %zu bytes exceeds limit of %d bytes",
				  bytes, BATCH_BYTES);
}

/* The lines of those that are neither too old nor too new; what is refused as the answer has it. */
static int write_lines(struct api_call *c, const struct json *events, struct buf *lines, struct jw *w)
{
	int64_t now_ms = clock_wall_us() / 1000;
	size_t n = json_len(events), old = 0, new = n;

	for (size_t i = 0; i < n; i++) {
		int64_t ms = json_get_int(json_at(events, i), "timestamp", 0);
		size_t at = lines->n;

		if (ms < now_ms - 14 * LOGS_DAY_MS)
			old = i + 1;
		else if (ms > now_ms + LOGS_SLACK_MS)
			new = i < new ? i : new;
		if (old == i + 1 || new <= i)
			continue;
		buf_addf(lines, "[%lld,", (long long)ms);
		jw_quote(lines, json_get_str(c->in, "logStreamName"));
		buf_addc(lines, ',');
		jw_quote(lines, json_get_str(json_at(events, i), "message"));
		buf_adds(lines, "]\n");
		if (lines->n - at > LIM_LOG_LINE_BYTES)
			return api_fail(&c->e, API_INVALID_MEMBER,
					"Log event too large: as JSON it has more than %d bytes", LIM_LOG_LINE_BYTES);
	}
	if (old || new < n) {
		jw_obj(w, "rejectedLogEventsInfo");
		if (old)
			jw_int(w, "tooOldLogEventEndIndex", (int64_t)old);
		if (new < n)
			jw_int(w, "tooNewLogEventStartIndex", (int64_t) new);
		jw_end(w, '}');
	}
	return 0;
}

/* Answered once they are written. */
struct putting {
	struct api_call c;
	struct log_read read;
	struct buf answer;
};

static int scan_nothing(struct log_read *r, struct log_files *f, struct err *e)
{
	return 0;
}

static void written(struct log_read *r, struct buf *text, const struct err *e)
{
	struct putting *p = container_of(r, struct putting, read);

	if (e->kind)
		api_reply_fail(&p->c, API_SERVICE, "The log events are not written: %s", e->text);
	else
		api_reply_json(&p->c, 200, buf_str(&p->answer));
	buf_done(&p->answer);
	free(p);
}

static int add_lines(struct api_call *c, const struct logs_group *g, struct str lines, size_t n)
{
	struct log_stream *log = logs_get(c->a->o.logs, g->log);
	bool room = log_stream_room(log, lines.n + n * 128);

	if (room)
		log_stream_add(log, "fn", NULL, lines);
	log_stream_release(log);
	return room ? 0 : api_fail(&c->e, API_THROTTLING, "Rate exceeded: a log group takes 2 MB/s here.");
}

int logs_put_events(struct api_call *c)
{
	auto_(logs_group_done) struct logs_group g = {0};
	const struct json *events = json_get(c->in, "logEvents");
	auto_buf lines = {0};
	auto_object(w, answer);
	struct putting *p;

	if (logs_group(c, &g) < 0)
		return -1;
	if (g.kind != LOGS_OWN)
		return api_fail(&c->e, API_INVALID_MEMBER, "What is logged in %s is what runs' own to say.", g.name);
	if (logs_stream_created_ms(&g, json_get_str(c->in, "logStreamName")) < 0)
		return api_fail(&c->e, API_NOT_FOUND, "The specified log stream does not exist.");
	jw_strc(&w, "nextSequenceToken", c->request_id); /* nobody needs one any more */
	if (check_events(c, events) < 0 || write_lines(c, events, &lines, &w) < 0 ||
	    add_lines(c, &g, buf_str(&lines), json_len(events)) < 0)
		return -1;
	jw_end(&w, '}');
	p = xcalloc(1, sizeof(*p));
	p->c = *c;
	p->c.in = NULL;
	p->answer = answer;
	answer = (struct buf){0};
	p->read = (struct log_read){.scan = scan_nothing, .done = written};
	strlcpy_(p->read.workload, g.log, sizeof(p->read.workload));
	if (c->r)
		http_on_gone_clear(&p->c.r);
	log_read_start(c->a->o.logs, &p->read);
	return 0;
}
