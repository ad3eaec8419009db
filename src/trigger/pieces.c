/* SPDX-License-Identifier: Apache-2.0 */
#include "trigger/pieces.h"
#include "json/read.h"
#include "trigger/event.h"

#define PRELUDE_BYTES 65536
#define DELIMITER     "\0\0\0\0\0\0\0" /* and the one behind it */

static void drained(void *arg)
{
	struct pieces *p = arg;

	p->held = false;
	sched_invoke_hold(p->inv, false);
}

static void begin(struct pieces *p, struct str prelude)
{
	struct event_answer_parts parts = {.status = 200, .content_type = "application/octet-stream"};
	bool said = prelude.n && event_to_http(&parts, prelude, NULL) == 0;

	if (said && p->but)
		event_drop_headers(&parts, p->but);
	buf_addstr(&parts.headers, p->headers);
	http_stream_begin(p->req, parts.status, parts.content_type, buf_str(&parts.headers));
	http_on_drained(p->req, drained, p);
	p->begun = true;
	event_parts_done(&parts);
}

/* Runtimes write it before its NULs, so that it may come alone. */
static bool may_be_prelude(struct str head)
{
	auto_json j = head.n < PRELUDE_BYTES && head.n && *head.p == '{' ? json_parse(head, NULL) : NULL;

	return json_get(j, "statusCode") || json_get(j, "headers") || json_get(j, "cookies");
}

static void look_at_head(struct pieces *p)
{
	struct str head = buf_str(&p->head);
	const char *end = head.n && *head.p == '{' ? memmem(head.p, head.n, DELIMITER, sizeof(DELIMITER)) : NULL;
	size_t n = end ? (size_t)(end - head.p) : 0;

	/* Some of the delimiter may be here, and some not. */
	while (!end && head.n && !head.p[head.n - 1])
		head.n--;
	if (!end && may_be_prelude(head))
		return;
	begin(p, (struct str){head.p, n});
	n += end ? sizeof(DELIMITER) : 0;
	http_stream_write(p->req, (struct str){p->head.p + n, p->head.n - n});
	buf_done(&p->head);
}

void pieces_take(struct pieces *p, struct str piece)
{
	if (p->begun) {
		http_stream_write(p->req, piece);
	} else {
		buf_addstr(&p->head, piece);
		look_at_head(p);
	}
	if (!p->begun || p->held || http_stream_queued(p->req) <= PIECES_QUEUED)
		return;
	p->held = true;
	sched_invoke_hold(p->inv, true);
}

bool pieces_end(struct pieces *p, bool ok)
{
	if (!p->begun && ok && p->head.n) {
		begin(p, STR_NULL);
		http_stream_write(p->req, buf_str(&p->head));
	}
	if (!p->begun)
		return false;
	if (ok)
		http_stream_end(p->req);
	else
		http_stream_abort(p->req); /* what there is of it is no whole answer */
	return true;
}

void pieces_done(struct pieces *p)
{
	buf_done(&p->head);
}
