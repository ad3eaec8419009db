/* SPDX-License-Identifier: Apache-2.0 */
#include "trigger/url.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rand.h"
#include "json/write.h"
#include "store/record.h"
#include "store/version.h"
#include "trigger/door.h"
#include "trigger/event.h"
#include "trigger/pieces.h"

#define LIST_MAX 100 /* Lambda: members of each list of Cors */
#define ITEM_MAX 1024
#define AGE_MAX	 86400

struct urls {
	struct sched *s;
	struct store *store;
	const char *account;
	struct map
		by_id; /* of struct entry; a record that went with its function leaves one behind, until it is asked for */
	struct gateway_time time;
};

struct entry {
	char id[URL_ID_BYTES + 1];
	char *key; /* of the record */
};

static char *key_of(const char *function, const char *qualifier)
{
	return xasprintf("url/%s:%s", function, qualifier);
}

static void entry_put(struct urls *us, const char *id, const char *key)
{
	struct entry *en = map_get(&us->by_id, str_of(id));

	if (en || strlen(id) != URL_ID_BYTES)
		return;
	en = xcalloc(1, sizeof(*en));
	memcpy(en->id, id, sizeof(en->id));
	en->key = xstrdup(key);
	map_put(&us->by_id, str_of(en->id), en);
}

static void entry_del(struct urls *us, struct str id)
{
	struct entry *en = map_del(&us->by_id, id);

	if (!en)
		return;
	free(en->key);
	free(en);
}

struct urls *urls_new(struct sched *s, struct store *st, const char *account)
{
	struct urls *us = xcalloc(1, sizeof(*us));

	us->s = s;
	us->store = st;
	us->account = account;
	for (const struct record *r = NULL; (r = record_next(st, "url/", r ? r->key : NULL));) {
		auto_json doc = json_parse(str_of(r->value), NULL);

		entry_put(us, json_get(doc, "UrlId") ? json_get_str(doc, "UrlId").p : "", r->key);
	}
	return us;
}

void urls_free(struct urls *us)
{
	struct entry *en;
	size_t pos = 0;

	if (!us)
		return;
	while ((en = map_next(&us->by_id, &pos))) {
		free(en->key);
		free(en);
	}
	map_done(&us->by_id);
	free(us);
}

/* --- what is declared --- */

/* They are written into headers. */
static int copy_list(struct jw *w, const struct json *cors, const char *member, struct err *e)
{
	const struct json *list = json_get(cors, member);

	if (json_type(list) == JSON_NONE || json_type(list) == JSON_NULL)
		return 0;
	if (json_type(list) != JSON_ARRAY || json_len(list) > LIST_MAX)
		return err_set(e, ERR_INVALID, "Cors.%s is a list of at most %d strings", member, LIST_MAX);
	jw_arr(w, member);
	for (size_t i = 0; i < json_len(list); i++) {
		struct str s = json_str(json_at(list, i));

		for (size_t k = 0; k < s.n; k++)
			if (s.p[k] <= ' ' || s.p[k] >= 127 || s.p[k] == ',')
				s.n = 0;
		if (!s.n || s.n > ITEM_MAX)
			return err_set(e, ERR_INVALID,
				       "Cors.%s has something that cannot be in a header: visible characters, "
				       "at most %d, and no comma",
				       member, ITEM_MAX);
		jw_str(w, NULL, s);
	}
	jw_end(w, ']');
	return 0;
}

static int copy_cors(struct jw *w, const struct json *cors, struct err *e)
{
	static const char *const lists[] = {"AllowHeaders", "AllowMethods", "AllowOrigins", "ExposeHeaders"};
	int64_t age = json_get_int(cors, "MaxAge", 0);

	if (age < 0 || age > AGE_MAX)
		return err_set(e, ERR_INVALID, "Cors.MaxAge is from 0 to %d seconds", AGE_MAX);
	jw_obj(w, "Cors");
	if (json_type(json_get(cors, "AllowCredentials")) == JSON_BOOL)
		jw_bool(w, "AllowCredentials", json_get_bool(cors, "AllowCredentials", false));
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		if (copy_list(w, cors, lists[i], e) < 0)
			return -1;
	if (json_type(json_get(cors, "MaxAge")) == JSON_INT)
		jw_int(w, "MaxAge", age);
	jw_end(w, '}');
	return 0;
}

/* Small letters and digits, as many as AWS has. */
static void make_id(char out[URL_ID_BYTES + 1])
{
	uint8_t r[URL_ID_BYTES];

	rand_bytes(r, sizeof(r));
	for (int i = 0; i < URL_ID_BYTES; i++)
		out[i] = "abcdefghijklmnopqrstuvwxyz234567"[r[i] & 31];
	out[URL_ID_BYTES] = '\0';
}

int url_put(struct urls *us, const char *function, const char *qualifier, const struct json *doc, const char *project,
	    struct store_tx *tx, struct err *e)
{
	auto_free char *key = key_of(function, qualifier);
	auto_json old = url_get(us, function, qualifier);
	struct str auth = json_get_str(doc, "AuthType"), mode = json_get_str(doc, "InvokeMode"),
		   id = json_get_str(old, "UrlId");
	char fresh[URL_ID_BYTES + 1], now[32];
	auto_buf b = {0};
	struct jw w = jw_object(&b);

	if (!str_eqc(auth, "NONE") && !str_eqc(auth, "AWS_IAM"))
		return err_set(e, ERR_INVALID, "AuthType is NONE or AWS_IAM");
	if (mode.n && !str_eqc(mode, "BUFFERED") && !str_eqc(mode, "RESPONSE_STREAM"))
		return err_set(e, ERR_INVALID, "InvokeMode is BUFFERED or RESPONSE_STREAM");
	make_id(fresh);
	clock_fmt_iso(clock_wall_us(), now);
	jw_str(&w, "UrlId", id.n ? id : str_of(fresh));
	jw_str(&w, "AuthType", auth);
	jw_str(&w, "InvokeMode", mode.n ? mode : STR("BUFFERED"));
	if (json_len(json_get(doc, "Cors")) && copy_cors(&w, json_get(doc, "Cors"), e) < 0)
		return -1;
	jw_str(&w, "CreationTime", old ? json_get_str(old, "CreationTime") : str_of(now));
	jw_strc(&w, "LastModifiedTime", now);
	if (project)
		jw_strc(&w, "project", project);
	jw_end(&w, '}');
	record_put_add(us->store, tx, key, b.p);
	entry_put(us, id.n ? id.p : fresh, key);
	return 0;
}

struct json *url_get(const struct urls *us, const char *function, const char *qualifier)
{
	auto_free char *key = key_of(function, qualifier);
	const char *text = record_get(us->store, key);

	return text ? json_parse(str_of(text), NULL) : NULL;
}

bool url_delete(struct urls *us, const char *function, const char *qualifier, struct store_tx *tx)
{
	auto_free char *key = key_of(function, qualifier);
	auto_json doc = url_get(us, function, qualifier);

	if (!doc)
		return false;
	entry_del(us, json_get_str(doc, "UrlId"));
	record_del_add(us->store, tx, key);
	return true;
}

/* --- which one --- */

static bool split(const struct http_req *r, struct str *ret_id, struct str *ret_path)
{
	struct str host = http_header(r, "host"), rest, path = r->path;

	if (host.n > URL_ID_BYTES) {
		rest = (struct str){host.p + URL_ID_BYTES, host.n - URL_ID_BYTES};
		if (str_starts(rest, ".lambda-url.")) {
			*ret_id = (struct str){host.p, URL_ID_BYTES};
			*ret_path = path;
			return true;
		}
	}
	if (!str_starts(path, URL_PREFIX))
		return false;
	rest = (struct str){path.p + strlen(URL_PREFIX), path.n - strlen(URL_PREFIX)};
	for (ret_id->p = rest.p, ret_id->n = 0; ret_id->n < rest.n && rest.p[ret_id->n] != '/';)
		ret_id->n++;
	*ret_path = (struct str){rest.p + ret_id->n, rest.n - ret_id->n};
	if (!ret_path->n)
		*ret_path = STR("/");
	return true;
}

bool url_is(const struct http_req *r)
{
	struct str id, path;

	return split(r, &id, &path);
}

bool url_find(struct urls *us, const struct http_req *r, struct url_target *ret)
{
	struct str id, name, qualifier;
	struct url_target t = {0};
	const struct entry *en;
	const char *text;

	if (!split(r, &id, &t.path) || !(en = map_get(&us->by_id, id)))
		return false;
	text = record_get(us->store, en->key);
	t.doc = text ? json_parse(str_of(text), NULL) : NULL;
	str_cut(str_of(en->key + strlen("url/")), ':', &name, &qualifier);
	t.function = function_get(us->store, name);
	if (!t.doc || !t.function || !str_eq(json_get_str(t.doc, "UrlId"), id)) { /* it went with its function */
		json_free(t.doc);
		entry_del(us, id);
		return false;
	}
	if (!function_resolve(t.function, qualifier, 0)) { /* the alias is gone */
		json_free(t.doc);
		return false;
	}
	strlcpy_(t.qualifier, qualifier.p, sizeof(t.qualifier));
	strlcpy_(t.id, en->id, sizeof(t.id));
	*ret = t;
	return true;
}

void url_target_done(struct url_target *t)
{
	json_free(take_ptr(t->doc));
}

/* --- CORS --- */

static void put_line(struct buf *b, const char *name, struct str value)
{
	buf_adds(b, name);
	buf_adds(b, ": ");
	buf_addstr(b, value);
	buf_adds(b, "\r\n");
}

static void put_list(struct buf *b, const char *name, const struct json *list)
{
	auto_buf all = {0};

	for (size_t i = 0; i < json_len(list); i++) {
		buf_adds(&all, i ? "," : "");
		buf_addstr(&all, json_str(json_at(list, i)));
	}
	if (all.n)
		put_line(b, name, buf_str(&all));
}

/* What a page of this origin may see of an answer; nothing when it may not. true: it may. */
static bool put_origin(struct buf *b, const struct json *cors, struct str origin)
{
	const struct json *list = json_get(cors, "AllowOrigins");
	bool credentials = json_get_bool(cors, "AllowCredentials", false), any = false, found = false;

	for (size_t i = 0; i < json_len(list); i++) {
		any |= str_eqc(json_str(json_at(list, i)), "*");
		found |= str_eq(json_str(json_at(list, i)), origin);
	}
	if (!origin.n || (!any && !found))
		return false;
	put_line(b, "Access-Control-Allow-Origin", any && !credentials ? STR("*") : origin);
	if (!any || credentials)
		put_line(b, "Vary", STR("Origin"));
	if (credentials)
		put_line(b, "Access-Control-Allow-Credentials", STR("true"));
	return true;
}

bool url_preflight(const struct url_target *t, struct http_req *r)
{
	const struct json *cors = json_get(t->doc, "Cors");
	auto_buf b = {0};

	if (!cors || !str_eqc(r->method, "OPTIONS") || !http_header(r, "access-control-request-method").n)
		return false;
	if (put_origin(&b, cors, http_header(r, "origin"))) {
		put_list(&b, "Access-Control-Allow-Methods", json_get(cors, "AllowMethods"));
		put_list(&b, "Access-Control-Allow-Headers", json_get(cors, "AllowHeaders"));
		if (json_get(cors, "MaxAge"))
			buf_addf(&b, "Access-Control-Max-Age: %lld\r\n", (long long)json_get_int(cors, "MaxAge", 0));
	}
	http_reply(r, &(struct http_reply){.status = 200, .headers = buf_str(&b)});
	return true;
}

/* --- the call --- */

struct call {
	struct urls *us;
	struct http_req *req;
	struct invocation inv;
	struct buf event, cors;
	struct pieces pieces; /* RESPONSE_STREAM */
	bool has_cors;
	char qualifier[LIM_QUALIFIER_BYTES + 1], trace[TRACE_HEADER_BYTES];
};

static void call_free(struct call *c)
{
	buf_done(&c->event);
	buf_done(&c->cors);
	pieces_done(&c->pieces);
	free(c);
}

static void reply_text(struct call *c, int status, const char *text)
{
	auto_buf body = {0};
	struct jw w = jw_object(&body);

	jw_strc(&w, "Message", text);
	jw_end(&w, '}');
	http_reply(c->req, &(struct http_reply){.status = status,
						.content_type = "application/json",
						.headers = buf_str(&c->cors),
						.body = buf_str(&body)});
}

static void reply_result(struct call *c)
{
	struct event_answer_parts p;
	struct err e;

	if (event_to_http(&p, c->inv.body, &e) < 0) {
		log_info("url", "answer of %s is not an HTTP answer: %s", c->inv.function->name, e.text);
		reply_text(c, 502, "Internal Server Error");
		return;
	}
	if (c->has_cors)
		event_drop_headers(&p,
				   "access-control-"); /* what is declared holds, and a header there twice is refused */
	buf_addstr(&p.headers, buf_str(&c->cors));
	http_reply(c->req, &(struct http_reply){.status = p.status,
						.content_type = p.content_type,
						.headers = buf_str(&p.headers),
						.body = buf_str(&p.body),
						.together = c->inv.others_wait});
	event_parts_done(&p);
}

static void piece(struct invocation *inv, struct str text)
{
	pieces_take(&container_of(inv, struct call, inv)->pieces, text);
}

static void done(struct invocation *inv)
{
	struct call *c = container_of(inv, struct call, inv);

	if (inv->piece && pieces_end(&c->pieces, inv->outcome == INVOKE_OK)) {
		call_free(c);
		return;
	}
	switch (inv->outcome) {
	case INVOKE_OK:
		reply_result(c);
		break;
	case INVOKE_THROTTLED:
		reply_text(c, 429, inv->e.kind == ERR_DENIED ? inv->e.text : "Rate Exceeded.");
		break;
	case INVOKE_FAILED:
		reply_text(c, 503, "Service Unavailable");
		break;
	default: /* what the function said of its failure is for its log, not for the client */
		reply_text(c, 502, "Internal Server Error");
	}
	call_free(c);
}

static void gone(void *arg)
{
	struct call *c = arg;

	sched_invoke_cancel(&c->inv);
	call_free(c);
}

void url_call(struct urls *us, const struct url_target *t, struct http_req *r, struct str authorizer)
{
	struct revision *rev = function_resolve(t->function, str_of(t->qualifier), rand_unit());
	const struct json *cors = json_get(t->doc, "Cors");
	struct call *c = xcalloc(1, sizeof(*c));
	struct gateway_facts facts;

	c->us = us;
	c->req = r;
	c->has_cors = cors;
	if (cors && put_origin(&c->cors, cors, http_header(r, "origin")))
		put_list(&c->cors, "Access-Control-Expose-Headers", json_get(cors, "ExposeHeaders"));
	c->inv = (struct invocation){
		.function = t->function, .revision = rev->version ? rev : NULL, .trigger = TRIGGER_HTTP, .done = done};
	if (str_eqc(json_get_str(t->doc, "InvokeMode"), "RESPONSE_STREAM")) {
		c->inv.piece = piece;
		c->pieces = (struct pieces){
			.req = r, .inv = &c->inv, .headers = buf_str(&c->cors), .but = cors ? "access-control-" : NULL};
	}
	door_route(us->s, r, "/*");
	c->inv.trace_id = http_trace(r, c->trace);
	id_uuid(c->inv.request_id);
	facts = (struct gateway_facts){.account = us->account,
				       .url_id = t->id,
				       .path = t->path,
				       .authorizer = authorizer,
				       .request_id = c->inv.request_id,
				       .time = &us->time};
	event_from_http(&c->event, r, &facts);
	c->inv.payload = buf_str(&c->event);
	strlcpy_(c->qualifier, t->qualifier, sizeof(c->qualifier));
	c->inv.qualifier = c->qualifier[0] ? c->qualifier : NULL;
	if (c->inv.payload.n > LIM_PAYLOAD_BYTES) {
		reply_text(c, 413, "Request Too Long");
		call_free(c);
		return;
	}
	http_on_gone(r, gone, c);
	sched_invoke_start(us->s, &c->inv);
}
