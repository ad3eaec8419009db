/* SPDX-License-Identifier: Apache-2.0 */
#include "api/hook.h"
#include "base/enc.h"
#include "base/mem.h"
#include "store/digest.h"

#define RECORDS_MAX 1000

void hook_token(const struct store *s, const char *bucket, char out[HOOK_TOKEN_BYTES])
{
	const char *secret = store_setting(s, "operator_secret_key");
	auto_free char *text = xasprintf("hook:%s", bucket);
	uint8_t mac[32];

	digest_hmac_sha256(secret, secret ? strlen(secret) : 0, text, strlen(text), mac);
	enc_hex(mac, (HOOK_TOKEN_BYTES - 1) / 2, out);
}

bool hook_is(const struct http_req *r)
{
	return str_starts(r->path, HOOK_PATH);
}

/* "s3:ObjectCreated:Put", with the prefix or without it, as object_event has it; NULL: nothing that starts anything. */
static const char *what_of(struct str name)
{
	static const char *const names[] = {"ObjectCreated:Put", "ObjectCreated:Post", "ObjectCreated:Copy",
					    "ObjectCreated:CompleteMultipartUpload", "ObjectRemoved:Delete"};

	if (str_starts(name, "s3:"))
		name = (struct str){name.p + 3, name.n - 3};
	if (str_eqc(name, "ObjectRemoved:DeleteMarkerCreated"))
		return "Delete";
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (str_eqc(name, names[i]))
			return strchr(names[i], ':') + 1;
	return NULL;
}

static const char *text_or(const struct json *obj, const char *key, const char *dflt)
{
	struct str s = json_get_str(obj, key);

	return s.n && s.n <= 256 ? s.p : dflt;
}

static int take(struct api_call *c, const char *bucket, const struct json *record, struct store_tx *tx)
{
	const struct json *s3 = json_get(record, "s3"), *object = json_get(s3, "object");
	struct str from = json_get_str(json_get(s3, "bucket"), "name"), key = json_get_str(object, "key");
	struct object_event ev = {.bucket = bucket,
				  .what = what_of(json_get_str(record, "eventName")),
				  .etag = text_or(object, "eTag", ""),
				  .size = json_get_int(object, "size", 0),
				  .request_id = c->request_id,
				  .peer = text_or(json_get(record, "requestParameters"), "sourceIPAddress", c->r->peer),
				  .principal = text_or(json_get(record, "userIdentity"), "principalId", bucket)};
	auto_buf plain = {0};
	struct err e;

	if (!ev.what)
		return 0;
	if (!str_eqc(from, bucket))
		return api_fail(&c->e, API_VALIDATION,
				"A record is of the bucket '%.63s', and this is the hook of '%s'.",
				from.p ? from.p : "", bucket);
	if (dec_percent(&plain, key, true) < 0 || !object_key_ok(buf_str(&plain)) || !enc_utf8_ok(buf_str(&plain)))
		return api_fail(&c->e, API_VALIDATION,
				"s3.object.key must be an object's key, URL-encoded, of 1 to %d bytes.",
				OBJECT_KEY_MAX);
	if (ev.size < 0)
		return api_fail(&c->e, API_VALIDATION, "s3.object.size must be a number from 0.");
	ev.key = plain.p;
	strlcpy_(ev.sequencer, text_or(object, "sequencer", ""), sizeof(ev.sequencer));
	if (notify_event(c->a->o.notify, &ev, tx, &e) < 0)
		return api_fail(&c->e, API_SERVICE, "%s", e.text);
	return 0;
}

int hook_handle(struct api_call *c)
{
	auto_free char *name = xstrndup(c->r->path.p + strlen(HOOK_PATH), c->r->path.n - strlen(HOOK_PATH));
	struct str given = http_header(c->r, "authorization");
	const struct bucket *b;
	const struct json *records;
	char token[HOOK_TOKEN_BYTES];
	auto_json body = NULL;
	struct store_tx tx;

	c->form = FORM_REST_JSON;
	hook_token(c->a->o.store, name, token);
	if (str_starts(given, "Bearer "))
		given = str_trim((struct str){given.p + 7, given.n - 7});
	if (!sigv4_equal(given, token, HOOK_TOKEN_BYTES - 1))
		return api_fail(&c->e, API_ACCESS_DENIED, "Authorization must be 'Bearer ' and the hook's token.");
	b = bucket_get(c->a->o.objects, str_of(name));
	if (!b || !json_get_bool(b->doc, "External", false))
		return api_fail(&c->e, API_NOT_FOUND, "No file declares %.63s as an external bucket.", name);
	if (c->r->body.n > LIM_JSON_BODY_BYTES || !(body = api_body(c)))
		return c->e.text[0]
			       ? -1
			       : api_fail(&c->e, API_ENTITY_TOO_LARGE, "A hook takes %d bytes.", LIM_JSON_BODY_BYTES);
	records = json_get(body, "Records");
	if (json_len(records) > RECORDS_MAX)
		return api_fail(&c->e, API_VALIDATION, "A hook takes %d records at once.", RECORDS_MAX);
	store_tx_init(&tx);
	for (size_t i = 0; i < json_len(records); i++)
		if (take(c, b->name, json_at(records, i), &tx) < 0) {
			store_tx_drop(&tx, &(struct err){.kind = ERR_CANCELED});
			return -1;
		}
	return api_commit(c, &tx, 200, STR("{}"));
}
