/* SPDX-License-Identifier: Apache-2.0 */
/* S3: what a bucket holds, in the three forms in which clients ask for it; and what they ask of many objects, or of what is
 * said about one. */
#include "api/s3.h"
#include "base/clock.h"
#include "base/enc.h"
#include "base/mem.h"

#define PAGE_MAX 1000
#define TAGS_MAX 10

/* --- lists --- */

enum form { LIST_V1, LIST_V2, LIST_VERSIONS };
struct listing {
	struct object_list list;
	struct s3 *q;
	enum form form;
	char *prefix, *delimiter, *from, *token; /* from: the client's word for where to begin */
	bool url, owner;
	int max;
};

static void listing_free(struct listing *l)
{
	object_list_done(&l->list);
	free(l->prefix);
	free(l->delimiter);
	free(l->from);
	free(l->token);
	free(l);
}

/* A key or what looks like one; URLs may hold what XML cannot. */
static void put_text(struct buf *b, const struct listing *l, const char *name, const char *text)
{
	auto_buf url = {0};

	enc_percent(&url, str_of(text), true);
	xml_str(b, name, l->url ? buf_str(&url) : str_of(text));
}

static void put_given(struct buf *b, const struct listing *l, const char *name, const char *text)
{
	if (text)
		put_text(b, l, name, text);
}

static void put_object(struct buf *b, const struct listing *l, const struct object_row *r)
{
	const char *item = l->form == LIST_VERSIONS ? "Version" : "Contents";
	auto_json meta = json_parse(str_of(r->meta), NULL);
	struct str class = json_get_str(meta, "class");
	char when[32];

	xml_start(b, item);
	put_text(b, l, "Key", r->key);
	xml_str(b, "LastModified", str_of(clock_fmt_iso(r->modified_us, when)));
	buf_addf(b, "<ETag>&quot;%s&quot;</ETag>", r->etag);
	xml_int(b, "Size", r->size);
	xml_str(b, "StorageClass", class.n ? class : STR("STANDARD"));
	if (l->form == LIST_VERSIONS)
		buf_adds(b, "<VersionId>null</VersionId><IsLatest>true</IsLatest>");
	if (l->owner) {
		xml_start(b, "Owner");
		xml_str(b, "ID", str_of(l->q->c.a->where.account));
		xml_end(b, "Owner");
	}
	xml_end(b, item);
}

static void put_v2(struct buf *b, const struct listing *l, const char *last)
{
	auto_buf next = {0};

	xml_int(b, "KeyCount", l->list.n);
	if (l->token)
		xml_str(b, "ContinuationToken", str_of(l->token));
	put_given(b, l, "StartAfter", l->from);
	if (!last)
		return;
	enc_b64(&next, last, strlen(last));
	xml_str(b, "NextContinuationToken", buf_str(&next));
}

static void answer(struct listing *l)
{
	static const char *const roots[] = {"ListBucketResult", "ListBucketResult", "ListVersionsResult"};
	static const char *const froms[] = {"Marker", NULL, "KeyMarker"};
	static const char *const nexts[] = {"NextMarker", NULL, "NextKeyMarker"};
	const struct object_list *list = &l->list;
	const char *last = list->truncated ? list->rows[list->n - 1].key : NULL;
	struct s3 *q = l->q;
	auto_buf b = {0};

	xml_begin(&b, roots[l->form]);
	xml_str(&b, "Name", str_of(q->bucket));
	put_text(&b, l, "Prefix", l->prefix ? l->prefix : "");
	if (l->form == LIST_V2)
		put_v2(&b, l, last);
	else
		put_text(&b, l, froms[l->form], l->from ? l->from : "");
	xml_int(&b, "MaxKeys", l->max);
	put_given(&b, l, "Delimiter", l->delimiter);
	if (l->url)
		xml_str(&b, "EncodingType", STR("url"));
	xml_str(&b, "IsTruncated", last ? STR("true") : STR("false"));
	if (last && nexts[l->form] && (l->delimiter || l->form == LIST_VERSIONS))
		put_text(&b, l, nexts[l->form], last);
	for (int i = 0; i < list->n; i++)
		if (list->rows[i].id)
			put_object(&b, l, &list->rows[i]);
	for (int i = 0; i < list->n; i++)
		if (!list->rows[i].id) {
			xml_start(&b, "CommonPrefixes");
			put_text(&b, l, "Prefix", list->rows[i].key);
			xml_end(&b, "CommonPrefixes");
		}
	xml_end(&b, roots[l->form]);
	s3_reply(q, 200, NULL, buf_str(&b));
	listing_free(l);
}

static void listed(struct object_list *list, const struct err *e)
{
	struct listing *l = container_of(list, struct listing, list);

	if (!e->kind)
		return answer(l);
	s3_fail_err(l->q, e);
	listing_free(l);
}

/* What the client asks for, checked; -1: q->c.e. */
static int read_listing(struct listing *l, struct buf *after)
{
	static const char *const froms[] = {"marker", "start-after", "key-marker"};
	struct s3 *q = l->q;
	auto_free char *max = s3_query(q, "max-keys"), *encoding = s3_query(q, "encoding-type");
	auto_free char *owner = s3_query(q, "fetch-owner");
	int64_t n = PAGE_MAX;

	l->prefix = s3_query(q, "prefix");
	l->delimiter = s3_query(q, "delimiter");
	l->from = s3_query(q, froms[l->form]);
	l->token = l->form == LIST_V2 ? s3_query(q, "continuation-token") : NULL;
	l->owner = l->form != LIST_V2 || (owner && !strcmp(owner, "true"));
	l->url = encoding && !strcmp(encoding, "url");
	if (encoding && !l->url)
		return api_fail(&q->c.e, API_S3_INVALID_ARGUMENT, "Invalid Encoding Method specified in Request");
	if (max && *max && str_to_i64(str_of(max), 0, INT32_MAX, &n) < 0)
		return api_fail(&q->c.e, API_S3_INVALID_ARGUMENT,
				"Argument max-keys must be an integer between 0 and 2147483647");
	l->max = n < PAGE_MAX ? (int)n : PAGE_MAX;
	if (l->token && (dec_b64(after, str_of(l->token)) < 0 || !object_key_ok(buf_str(after))))
		return api_fail(&q->c.e, API_S3_INVALID_ARGUMENT, "The continuation token provided is incorrect");
	if (!l->token)
		buf_adds(after, l->from ? l->from : "");
	return 0;
}

static int list(struct s3 *q, enum form form)
{
	struct listing *l = xcalloc(1, sizeof(*l));
	auto_buf after = {0};

	l->q = q;
	l->form = form;
	if (read_listing(l, &after) < 0) {
		listing_free(l);
		return -1;
	}
	if (!l->max) { /* as asked for */
		answer(l);
		return 0;
	}
	l->list = (struct object_list){.done = listed,
				       .bucket = q->bucket,
				       .prefix = l->prefix,
				       .delimiter = l->delimiter,
				       .after = buf_str(&after).p,
				       .max = l->max};
	object_list_start(q->c.a->o.objects, &l->list);
	return 0;
}

static int list_objects(struct s3 *q)
{
	auto_free char *type = s3_query(q, "list-type");

	return list(q, type && !strcmp(type, "2") ? LIST_V2 : LIST_V1);
}

static int list_versions(struct s3 *q)
{
	return list(q, LIST_VERSIONS);
}

/* --- many are deleted --- */

/* What a header says of the body, which is whole. */
static int check_digest(struct s3 *q)
{
	for (enum hash h = HASH_MD5; h < HASH_N; h++) {
		auto_free char *name =
			h == HASH_MD5 ? xstrdup("content-md5") : xasprintf("x-amz-checksum-%s", hash_name(h));
		struct str said = str_trim(http_header(q->c.r, name));
		struct hash_state *s;
		auto_buf is = {0};

		if (!said.p)
			continue;
		s = hash_new(1u << h);
		hash_add(s, q->c.r->body.p, q->c.r->body.n);
		hash_end(s);
		enc_b64(&is, hash_value(s, h), hash_bytes(h));
		hash_free(s);
		if (!str_eq(said, buf_str(&is)))
			return api_fail(&q->c.e, API_S3_BAD_DIGEST,
					"The %s you specified did not match the calculated checksum.",
					h == HASH_MD5 ? "Content-MD5" : hash_name(h));
	}
	return 0;
}

struct deleting {
	struct object_del del;
	struct s3 *q;
	struct buf done, refused; /* of the answer */
};

static void deleted(struct object_del *del, const struct err *e)
{
	struct deleting *x = container_of(del, struct deleting, del);
	auto_buf b = {0};

	if (e->kind) {
		s3_fail_err(x->q, e);
	} else {
		xml_begin(&b, "DeleteResult");
		buf_addstr(&b, buf_str(&x->done));
		buf_addstr(&b, buf_str(&x->refused));
		xml_end(&b, "DeleteResult");
		s3_reply(x->q, 200, NULL, buf_str(&b));
	}
	buf_done(&x->done);
	buf_done(&x->refused);
	free(x);
}

static void refuse(struct deleting *x, struct str key, const char *code, const char *why)
{
	xml_start(&x->refused, "Error");
	xml_str(&x->refused, "Key", key);
	xml_str(&x->refused, "Code", str_of(code));
	xml_str(&x->refused, "Message", str_of(why));
	xml_end(&x->refused, "Error");
}

static void delete_one(struct deleting *x, const struct json *j, bool quiet)
{
	struct str key = json_get_str(j, "Key"), version = json_get_str(j, "VersionId");

	if (version.n && !str_eqc(version, "null")) {
		refuse(x, key, "NoSuchVersion", "The specified version does not exist.");
	} else if (!object_key_ok(key)) {
		refuse(x, key, "InvalidArgument", "A key has 1 to 1024 bytes.");
	} else if (!s3_allowed(x->q, "DeleteObject", x->q->bucket, key.p)) {
		refuse(x, key, "AccessDenied", x->q->c.e.text);
	} else {
		x->del.keys[x->del.n++] = str_dup(key);
		if (quiet)
			return;
		xml_start(&x->done, "Deleted");
		xml_str(&x->done, "Key", key);
		xml_end(&x->done, "Deleted");
	}
}

static int delete_objects(struct s3 *q)
{
	static const char shape[] = "{Quiet:b,Object=Objects!:[{Key!:s,VersionId:s}]}";
	auto_json in = xml_parse("Delete", shape, q->c.r->body, &q->c.e);
	const struct json *list = json_get(in, "Objects");
	struct deleting *x;

	if (!in || check_digest(q) < 0)
		return -1;
	if (json_len(list) > PAGE_MAX)
		return api_fail(&q->c.e, API_S3_MALFORMED_XML, "At most %d objects can be deleted at once.", PAGE_MAX);
	x = xcalloc(1, sizeof(*x));
	x->q = q;
	x->del = (struct object_del){.done = deleted, .ev = s3_event(q, "Delete")};
	x->del.keys = xcalloc(json_len(list), sizeof(char *));
	for (size_t i = 0; i < json_len(list); i++)
		delete_one(x, json_at(list, i), json_get_bool(in, "Quiet", false));
	object_del_start(q->c.a->o.objects, &x->del, q->bucket);
	return 0;
}

/* --- what is said about one --- */

struct about {
	struct object_read read;
	struct object_edit edit;
	struct s3 *q;
	char *tags; /* JSON, to be set; "": to be forgotten; NULL: to be told */
	int status;
};

static void about_over(struct about *x, const struct err *e, struct str xml)
{
	auto_free char *when = NULL;
	char date[40];

	if (e->kind) {
		s3_fail_err(x->q, e);
	} else {
		s3_http_date(x->read.row.modified_us, date);
		when = xasprintf("Last-Modified: %s\r\n", date);
		s3_reply(x->q, x->status, xml.n ? when : NULL, xml);
	}
	object_read_done(&x->read);
	free(x->tags);
	free(x);
}

static void edited(struct object_edit *edit, const struct err *e)
{
	about_over(container_of(edit, struct about, edit), e, STR_NULL);
}

static int put_tag(void *arg, const char *key, const struct json *value)
{
	xml_start(arg, "Tag");
	xml_str(arg, "Key", str_of(key));
	xml_str(arg, "Value", json_str(value));
	xml_end(arg, "Tag");
	return 0;
}

static int put_sum(void *arg, const char *key, const struct json *value)
{
	auto_free char *name = xasprintf("Checksum%s", strcmp(key, "type") ? key : "Type");

	xml_str(arg, name, json_str(value));
	return 0;
}

static void put_attributes(const struct about *x, const struct json *meta, struct buf *b)
{
	struct str want = http_header(x->q->c.r, "x-amz-object-attributes"), one, class = json_get_str(meta, "class");

	xml_begin(b, "GetObjectAttributesResponse");
	while (str_next(&want, ',', &one)) {
		one = str_trim(one);
		if (str_eqc(one, "ETag")) {
			xml_str(b, "ETag", str_of(x->read.row.etag));
		} else if (str_eqc(one, "ObjectSize")) {
			xml_int(b, "ObjectSize", x->read.row.size);
		} else if (str_eqc(one, "StorageClass")) {
			xml_str(b, "StorageClass", class.n ? class : STR("STANDARD"));
		} else if (str_eqc(one, "Checksum") && json_get(meta, "sum")) {
			xml_start(b, "Checksum");
			json_each(json_get(meta, "sum"), put_sum, b);
			xml_end(b, "Checksum");
		} else if (str_eqc(one, "ObjectParts") && object_parts(&x->read.row) > 0) {
			xml_start(b, "ObjectParts");
			xml_int(b, "PartsCount", object_parts(&x->read.row));
			xml_end(b, "ObjectParts");
		}
	}
	xml_end(b, "GetObjectAttributesResponse");
}

static void found(struct object_read *r, const struct err *e)
{
	struct about *x = container_of(r, struct about, read);
	auto_json meta = e->kind ? NULL : json_parse(str_of(r->row.meta), NULL);
	auto_buf b = {0};

	if (e->kind || !x->q->c.r)
		return about_over(x, e, STR_NULL);
	if (x->tags) {
		x->edit.done = edited;
		x->edit.id = r->row.id;
		x->edit.meta = s3_meta_set(r->row.meta, "tags", *x->tags ? x->tags : NULL);
		object_edit_start(x->q->c.a->o.objects, &x->edit, x->q->bucket, str_of(x->q->key));
		return;
	}
	if (!strcmp(x->q->op->query, "attributes")) {
		put_attributes(x, meta, &b);
	} else {
		xml_begin(&b, "Tagging");
		xml_start(&b, "TagSet");
		json_each(json_get(meta, "tags"), put_tag, &b);
		xml_end(&b, "TagSet");
		xml_end(&b, "Tagging");
	}
	about_over(x, e, buf_str(&b));
}

/* tags is taken. body: where the object's files are is asked for, too. */
static int about(struct s3 *q, char *tags, int status, bool body)
{
	struct about *x = xcalloc(1, sizeof(*x));

	x->q = q;
	x->tags = tags;
	x->status = status;
	x->read.done = found;
	object_read_start(q->c.a->o.objects, &x->read, q->bucket, str_of(q->key), body);
	return 0;
}

static int get_tags(struct s3 *q)
{
	return about(q, NULL, 200, false);
}

static int get_attributes(struct s3 *q)
{
	if (!http_header(q->c.r, "x-amz-object-attributes").n)
		return api_fail(&q->c.e, API_S3_INVALID_ARGUMENT,
				"The x-amz-object-attributes header specifying the attributes to be retrieved is "
				"either missing or empty");
	return about(q, NULL, 200, true);
}

static int put_tags(struct s3 *q)
{
	auto_json in = xml_parse("Tagging", "{" XML_TAG_SET "}", q->c.r->body, &q->c.e);
	auto_json seen = NULL;
	const struct json *list = json_get(in, "TagSet");
	auto_object(w, b);

	if (!in || check_digest(q) < 0)
		return -1;
	for (size_t i = 0; i < json_len(list); i++) {
		struct str key = json_get_str(json_at(list, i), "Key"), value = json_get_str(json_at(list, i), "Value");

		if (i >= TAGS_MAX || !key.n || key.n > LIM_TAG_NAME_BYTES || value.n > LIM_TAG_VALUE_BYTES)
			return api_fail(
				&q->c.e, API_S3_INVALID_TAG,
				"An object has at most %d tags, each a key of 1 to %d bytes and a value of at most %d",
				TAGS_MAX, LIM_TAG_NAME_BYTES, LIM_TAG_VALUE_BYTES);
		jw_str(&w, key.p, value);
	}
	jw_end(&w, '}');
	seen = json_parse(buf_str(&b), NULL);
	if (!seen)
		return api_fail(&q->c.e, API_S3_INVALID_TAG, "Cannot provide multiple Tags with the same key");
	return about(q, buf_take(&b), 200, false);
}

static int delete_tags(struct s3 *q)
{
	return about(q, xstrdup(""), 204, false);
}

const struct s3_op s3_list_ops[] = {
	{"GET", NULL, 'b', "ListBucket", list_objects, 0},
	{"GET", "versions", 'b', "ListBucketVersions", list_versions, 0},
	{"POST", "delete", 'b', NULL, delete_objects, 0},
	{"GET", "tagging", 'k', "GetObjectTagging", get_tags, 0},
	{"PUT", "tagging", 'k', "PutObjectTagging", put_tags, 0},
	{"DELETE", "tagging", 'k', "DeleteObjectTagging", delete_tags, 0},
	{"GET", "attributes", 'k', "GetObjectAttributes", get_attributes, 0},
	{0},
};
