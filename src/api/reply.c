/* SPDX-License-Identifier: Apache-2.0 */
/* Answers and failures in the form of the protocol that was spoken. */
#include <stdarg.h>
#include <stdio.h>
#include "api/api_int.h"
#include "api/query.h"
#include "base/mem.h"

const char *api_query_code(enum api_code code)
{
	const struct api_code_info *info = api_code_info(code);

	return info->query_name ? info->query_name : info->name;
}

static void reply(struct api_call *c, int status, const char *type, const char *error, struct str body)
{
	char h[300];
	int n;

	if (!c->r)
		return;
	n = snprintf(h, sizeof(h), "x-amzn-RequestId: %s\r\n", c->request_id);
	if (error)
		n += snprintf(h + n, sizeof(h) - (size_t)n, "x-amzn-ErrorType: %s\r\n", error);
	/* Who knows the codes of before. Not all of SQS's clients ask for them. */
	if (error && c->form == FORM_JSON &&
	    (http_header(c->r, "x-amzn-query-mode").n || str_starts(http_header(c->r, "x-amz-target"), "AmazonSQS.")))
		n += snprintf(h + n, sizeof(h) - (size_t)n, "x-amzn-query-error: %s;%s\r\n", api_query_code(c->e.code),
			      status >= 500 ? "Receiver" : "Sender");
	http_reply(c->r, &(struct http_reply){
				 .status = status, .content_type = type, .headers = {h, (size_t)n}, .body = body});
	c->r = NULL;
}

static const char *json_type_of(const struct api_call *c)
{
	return c->form != FORM_JSON ? "application/json"
	       : c->json_1_0	    ? "application/x-amz-json-1.0"
				    : "application/x-amz-json-1.1";
}

int api_reply_json(struct api_call *c, int status, struct str json)
{
	auto_buf xml = {0};

	if (c->form == FORM_QUERY) {
		query_write(c->query, c->op->name, c->request_id, json, &xml);
		return api_reply_xml(c, status, buf_str(&xml));
	}
	reply(c, status, json_type_of(c), NULL, json);
	return 0;
}

int api_reply_object(struct api_call *c, int status, struct jw *w)
{
	jw_end(w, '}');
	return api_reply_json(c, status, buf_str(w->out));
}

int api_reply_xml(struct api_call *c, int status, struct str xml)
{
	reply(c, status, "text/xml", NULL, xml);
	return 0;
}

int api_reply_empty(struct api_call *c, int status)
{
	if (c->form == FORM_QUERY)
		return api_reply_json(c, 200, STR_NULL);
	reply(c, status, status == 204 ? NULL : "application/json", NULL, STR_NULL);
	return 0;
}

void api_xml_text(struct buf *out, struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char ch = (unsigned char)s.p[i];

		if (ch == '&')
			buf_adds(out, "&amp;");
		else if (ch == '<')
			buf_adds(out, "&lt;");
		else if (ch == '>')
			buf_adds(out, "&gt;");
		else if (ch == '\r')
			buf_adds(out, "&#13;");
		else if (ch < 0x20 && ch != '\n' && ch != '\t')
			buf_addc(out, ' ');
		else
			buf_addc(out, (char)ch);
	}
}

static void err_json(struct buf *b, const struct api_call *c, const struct api_code_info *info)
{
	struct jw w = jw_object(b);

	if (c->form == FORM_JSON)
		jw_strc(&w, "__type", info->name);
	else
		jw_strc(&w, "Type", info->status >= 500 ? "Service" : "User");
	if (info->reason)
		jw_strc(&w, "Reason", info->reason);
	jw_strc(&w, info->upper && c->form != FORM_JSON ? "Message" : "message", c->e.text);
	jw_end(&w, '}');
}

static void err_xml(struct buf *b, const struct api_call *c, const struct api_code_info *info)
{
	bool s3 = c->form == FORM_S3;

	if (s3)
		buf_adds(b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>");
	else
		buf_addf(b, "<ErrorResponse xmlns=\"%s\"><Error><Type>%s</Type>", query_namespace(c->query),
			 info->status >= 500 ? "Receiver" : "Sender");
	buf_addf(b, "<Code>%s</Code><Message>", api_query_code(c->e.code));
	api_xml_text(b, str_of(c->e.text));
	buf_addf(b, "</Message>%s<RequestId>%s</RequestId>%s", s3 ? "" : "</Error>", c->request_id,
		 s3 ? "</Error>" : "</ErrorResponse>");
}

void api_reply_err(struct api_call *c)
{
	const struct api_code_info *info = api_code_info(c->e.code);
	bool json = c->form == FORM_REST_JSON || c->form == FORM_JSON;
	int status = info->status;
	auto_buf b = {0};

	if ((c->e.code == API_UNKNOWN_OPERATION && c->form != FORM_REST_JSON) ||
	    (c->e.code == API_NOT_FOUND && c->form == FORM_JSON))
		status = 400;
	if (json)
		err_json(&b, c, info);
	else
		err_xml(&b, c, info);
	reply(c, status, json ? json_type_of(c) : "text/xml", json ? info->name : NULL, buf_str(&b));
}

void api_reply_fail(struct api_call *c, enum api_code code, const char *fmt, ...)
{
	va_list ap;

	c->e.code = code;
	va_start(ap, fmt);
	vsnprintf(c->e.text, sizeof(c->e.text), fmt, ap);
	va_end(ap);
	api_reply_err(c);
}

/* --- answers that wait for the store --- */

struct saving {
	struct api_call c;
	struct store_tx tx;
	int status;
	struct buf json;
	bool sweep;
};

static void saved(struct store_op *op, const struct err *e)
{
	struct saving *s = container_of(op, struct saving, tx.op);

	if (e->kind)
		api_reply_fail(&s->c, API_SERVICE, "Not stored; what it declares lasts until the next start: %s",
			       e->text);
	else if (s->json.n)
		api_reply_json(&s->c, s->status, buf_str(&s->json));
	else
		api_reply_empty(&s->c, s->status);
	if (op->s && s->sweep)
		store_gc(op->s);
	buf_done(&s->json);
	free(s);
}

static struct saving *saving_new(struct api_call *c, int status, struct str json)
{
	struct saving *s = xcalloc(1, sizeof(*s));

	s->c = *c;
	store_tx_init(&s->tx);
	s->tx.op.done = saved;
	s->status = status;
	buf_addstr(&s->json, json);
	if (c->r)
		http_on_gone_clear(&s->c.r);
	return s;
}

struct store_op *api_saving(struct api_call *c, int status, struct str json, bool sweep)
{
	struct saving *s = saving_new(c, status, json);

	s->sweep = sweep;
	return &s->tx.op;
}

int api_commit(struct api_call *c, struct store_tx *parts, int status, struct str json)
{
	struct saving *s = saving_new(c, status, json);

	if (parts->first) {
		s->tx.first = parts->first;
		s->tx.last = parts->last;
	}
	store_tx_start(c->a->o.store, &s->tx);
	return 0;
}

int api_save(struct api_call *c, struct function *f, int status, struct str json)
{
	function_put(c->a->o.store, api_saving(c, status, json, false), f);
	return 0;
}
