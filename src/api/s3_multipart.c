/* SPDX-License-Identifier: Apache-2.0 */
/* Uploads in parts. */
#include <stdio.h>
#include "api/s3.h"
#include "base/clock.h"
#include "base/enc.h"
#include "base/mem.h"
#include "object/upload.h"

#define PART_BYTES_MIN (5 << 20) /* of all but the last */
#define COMPLETE_SHAPE                                                                                                 \
	"{Part=Parts!:[{PartNumber!:i,ETag!:s,ChecksumCRC32:s,ChecksumCRC32C:s,ChecksumCRC64NVME:s,ChecksumSHA1:s,"    \
	"ChecksumSHA256:s}]}"

/* One operation of these; what it does not use stays zero. */
struct part_op {
	struct s3 *q;
	struct upload_op up;
	struct s3_body *body;
	/* copied */
	struct object_read read;
	struct object_body *copy;
	bool reading;
	int64_t at, n;
	/* completed */
	struct object_put put;
	struct json *asked;
	char *meta;
	/* listed */
	char *prefix, *key;
};

static void op_free(struct part_op *p)
{
	s3_body_free(p->body);
	object_body_drop(p->copy);
	if (p->reading)
		object_read_done(&p->read);
	upload_op_done(&p->up);
	json_free(p->asked);
	free(p->meta);
	free(p->prefix);
	free(p->key);
	free(p);
}

static int op_reply(struct part_op *p, int status, const char *head, struct str xml)
{
	struct s3 *q = p->q;
	auto_free char *lines = xstrdup(head); /* may be of p */
	auto_buf body = {0};

	buf_addstr(&body, xml);
	op_free(p);
	return s3_reply(q, status, lines, buf_str(&body));
}

static void op_fail(struct part_op *p, const struct err *e)
{
	struct s3 *q = p->q;

	if (e)
		s3_err(q, e);
	op_free(p);
	s3_fail(q);
}

static void op_left(struct s3 *q)
{
	op_free(q->op_data);
	s3_end(q);
}

static struct part_op *op_new(struct s3 *q, enum upload_what what, void (*done)(struct upload_op *, const struct err *))
{
	struct part_op *p = xcalloc(1, sizeof(*p));
	auto_free char *id = s3_query(q, "uploadId");

	p->q = q;
	p->up.what = what;
	p->up.done = done;
	if (id && strlen(id) < sizeof(p->up.id)) /* a longer one is none of ours: "" */
		memcpy(p->up.id, id, strlen(id));
	q->op_data = p;
	return p;
}

static void op_start(struct part_op *p)
{
	p->q->left = NULL;
	upload_start(p->q->c.a->o.objects, &p->up, p->q->bucket, p->q->key ? p->q->key : "");
}

static void quoted(struct buf *b, const char *etag)
{
	buf_addf(b, "<ETag>&quot;%s&quot;</ETag>", etag);
}

static void header(struct buf *h, const struct json *j, const char *name, const char *member)
{
	if (json_get(j, member))
		buf_addf(h, "%s: " STR_FMT "\r\n", name, STR_ARG(json_get_str(j, member)));
}

/* --- create, abort --- */

static void created(struct upload_op *u, const struct err *e)
{
	struct part_op *p = container_of(u, struct part_op, up);
	auto_json meta = json_parse(str_of(u->row.meta), NULL);
	auto_buf b = {0}, h = {0};

	if (e->kind)
		return op_fail(p, e);
	header(&h, meta, "x-amz-checksum-algorithm", "algorithm");
	header(&h, meta, "x-amz-checksum-type", "type");
	xml_begin(&b, "InitiateMultipartUploadResult");
	xml_str(&b, "Bucket", str_of(p->q->bucket));
	xml_str(&b, "Key", str_of(p->q->key));
	xml_str(&b, "UploadId", str_of(u->id));
	xml_end(&b, "InitiateMultipartUploadResult");
	op_reply(p, 200, h.p, buf_str(&b));
}

static int create_upload(struct s3 *q)
{
	struct str name = http_header(q->c.r, "x-amz-checksum-algorithm"),
		   type = http_header(q->c.r, "x-amz-checksum-type");
	auto_free char *meta = s3_meta_new(q), *with = NULL, *whole = NULL;
	enum hash h = HASH_MD5;
	bool full = str_eqc(type, "FULL_OBJECT");
	char text[40];
	struct part_op *p;

	if (!meta)
		return -1;
	if ((name.n && s3_checksum_name(name, &h) < 0) || (type.n && !full && !str_eqc(type, "COMPOSITE")) ||
	    (full && (h == HASH_SHA1 || h == HASH_SHA256)))
		return api_fail(&q->c.e, API_S3_INVALID_REQUEST,
				"The algorithm is one of CRC32, CRC32C, CRC64NVME, SHA1, SHA256; the type COMPOSITE "
				"or, of a CRC, FULL_OBJECT.");
	p = op_new(q, UPLOAD_CREATE, created);
	if (h != HASH_MD5) {
		snprintf(text, sizeof(text), "\"%s\"", hash_name(h));
		with = s3_meta_set(meta, "algorithm", text);
		whole = s3_meta_set(with, "type", full || h == HASH_CRC64NVME ? "\"FULL_OBJECT\"" : "\"COMPOSITE\"");
	}
	p->up.row.meta = whole ? take_ptr(whole) : take_ptr(meta);
	op_start(p);
	return 0;
}

static void aborted(struct upload_op *u, const struct err *e)
{
	struct part_op *p = container_of(u, struct part_op, up);

	if (e->kind)
		op_fail(p, e);
	else
		op_reply(p, 204, NULL, STR_NULL);
}

static int abort_upload(struct s3 *q)
{
	op_start(op_new(q, UPLOAD_ABORT, aborted));
	return 0;
}

/* --- parts --- */

static void part_put(struct upload_op *u, const struct err *e)
{
	struct part_op *p = container_of(u, struct part_op, up);
	struct str algorithm, b64;
	auto_buf h = {0}, xml = {0};
	enum hash which;
	char date[32];

	if (e->kind)
		return op_fail(p, e);
	if (p->reading) {
		xml_begin(&xml, "CopyPartResult");
		xml_str(&xml, "LastModified", str_of(clock_fmt_iso(u->part.modified_us, date)));
		quoted(&xml, u->part.etag);
		xml_end(&xml, "CopyPartResult");
	} else {
		buf_addf(&h, "ETag: \"%s\"\r\n", u->part.etag);
	}
	if (str_cut(str_of(u->part.checksum), ':', &algorithm, &b64) && s3_checksum_name(algorithm, &which) == 0)
		s3_checksum_header(&h, which, b64.p);
	op_reply(p, 200, h.p, buf_str(&xml));
}

static void part_commit(struct part_op *p, struct object_body *body, enum hash h)
{
	auto_buf b64 = {0};

	enc_hex(object_body_hash(body, HASH_MD5), 16, p->up.part.etag);
	enc_b64(&b64, object_body_hash(body, h), hash_bytes(h));
	if (h != HASH_MD5)
		snprintf(p->up.part.checksum, sizeof(p->up.part.checksum), "%s:%s", hash_name(h), b64.p);
	p->up.body = body;
	op_start(p);
}

static void part_stored(struct s3_body *b, struct s3 *q)
{
	struct part_op *p = s3_body_arg(b);

	if (q->c.e.code)
		op_fail(p, NULL);
	else
		part_commit(p, s3_body_take(b), s3_body_checksum(b));
}

static void part_copied(void *arg, const struct err *e)
{
	struct part_op *p = arg;

	if (e->kind)
		op_fail(p, e);
	else
		part_commit(p, take_ptr(p->copy), HASH_MD5);
}

static void part_found(struct object_read *r, const struct err *e)
{
	struct part_op *p = container_of(r, struct part_op, read);
	struct s3 *q = p->q;
	struct object_body_opts how = {.file = true, .done = part_copied, .arg = p};
	struct str range;
	int64_t at, n;

	if (!q->c.r)
		return op_left(q);
	range = http_header(q->c.r, "x-amz-copy-source-range");
	if (e->kind)
		s3_err(q, e);
	else if (s3_read_conditions(q, "x-amz-copy-source-", &r->row) == 0 &&
		 s3_range(q, range, r->row.size, &at, &n) == 0 && range.p)
		api_fail(&q->c.e, API_S3_INVALID_ARGUMENT,
			 "The x-amz-copy-source-range value must be of the form bytes=first-last");
	else if (!q->c.e.code && n > OBJECT_PUT_MAX)
		api_fail(&q->c.e, API_S3_TOO_LARGE, "Your proposed upload exceeds the maximum allowed size");
	if (q->c.e.code)
		return op_fail(p, NULL);
	p->copy = object_body_new(q->c.a->o.objects, &how);
	object_body_copy(p->copy, r, at, n);
	q->left = op_left;
}

static int put_part(struct s3 *q)
{
	auto_free char *number = s3_query(q, "partNumber"), *bucket = NULL, *key = NULL;
	bool copies = http_header(q->c.r, "x-amz-copy-source").p;
	struct part_op *p;
	int64_t n;

	if (!number || str_to_i64(str_of(number), 1, UPLOAD_PARTS_MAX, &n) < 0)
		return api_fail(&q->c.e, API_S3_INVALID_ARGUMENT,
				"Part number must be an integer between 1 and 10000, inclusive");
	if (copies && s3_copy_source(q, &bucket, &key) < 0)
		return -1;
	p = op_new(q, UPLOAD_PART, part_put);
	p->up.part.number = (int)n;
	if (copies) {
		p->reading = true;
		p->read.done = part_found;
		object_read_start(q->c.a->o.objects, &p->read, bucket, str_of(key), true);
		return 0;
	}
	q->left = op_left;
	if (s3_body_start(q, true, part_stored, p, &p->body) == 0)
		return 0;
	q->left = NULL;
	op_free(p);
	return -1;
}

/* --- complete --- */

static void completed_xml(struct part_op *p, const char *etag, const struct json *meta)
{
	struct str host = p->q->c.r ? http_header(p->q->c.r, "host") : STR_NULL;
	auto_free char *location = xasprintf("http://" STR_FMT "/%s/%s", STR_ARG(host), p->q->bucket, p->q->key);
	const struct json *sum = json_get(meta, "sum");
	auto_buf b = {0};
	char name[40];

	xml_begin(&b, "CompleteMultipartUploadResult");
	xml_str(&b, "Location", str_of(location));
	xml_str(&b, "Bucket", str_of(p->q->bucket));
	xml_str(&b, "Key", str_of(p->q->key));
	quoted(&b, etag);
	for (enum hash h = HASH_CRC32; h < HASH_N; h++) {
		snprintf(name, sizeof(name), "Checksum%s", hash_name(h));
		if (json_get(sum, hash_name(h)))
			xml_str(&b, name, json_get_str(sum, hash_name(h)));
	}
	if (sum)
		xml_str(&b, "ChecksumType", json_get_str(sum, "type"));
	xml_end(&b, "CompleteMultipartUploadResult");
	op_reply(p, 200, NULL, buf_str(&b));
}

static void completed(struct object_put *o, const struct err *e)
{
	struct part_op *p = container_of(o, struct part_op, put);
	auto_json meta = json_parse(str_of(p->meta), NULL);

	if (e->kind)
		op_fail(p, e);
	else
		completed_xml(p, o->etag, meta);
}

/* It may have been completed before, and the answer lost: then the object says so. */
static void completed_before(struct object_read *r, const struct err *e)
{
	struct part_op *p = container_of(r, struct part_op, read);
	auto_json meta = e->kind ? NULL : json_parse(str_of(r->row.meta), NULL);
	struct err none;

	err_set(&none, ERR_NOT_FOUND,
		"The specified upload does not exist. The upload ID may be invalid, or the upload may have been "
		"aborted or completed.");
	if (p->up.id[0] && str_eqc(json_get_str(meta, "upload"), p->up.id))
		completed_xml(p, r->row.etag, meta);
	else
		op_fail(p, &none);
}

static const struct upload_part_row *find_part(const struct upload_op *u, int64_t number)
{
	int lo = 0, hi = u->n;

	while (lo < hi) {
		int mid = (lo + hi) / 2;

		if (u->parts[mid].number < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < u->n && u->parts[lo].number == number ? &u->parts[lo] : NULL;
}

static struct str unquoted(struct str etag)
{
	return etag.n > 1 && etag.p[0] == '"' && etag.p[etag.n - 1] == '"' ? (struct str){etag.p + 1, etag.n - 2}
									   : etag;
}

/* The part that is asked for as it lies there; NULL: e. */
static const struct upload_part_row *check_part(const struct part_op *p, size_t i, struct api_err *e)
{
	const struct json *one = json_at(json_get(p->asked, "Parts"), i);
	const struct json *before = json_at(json_get(p->asked, "Parts"), i - 1);
	int64_t number = json_get_int(one, "PartNumber", 0);
	const struct upload_part_row *r = find_part(&p->up, number);
	struct str etag = unquoted(json_get_str(one, "ETag")), algorithm, b64;
	char member[40];

	if (i && number <= json_get_int(before, "PartNumber", 0))
		return api_fail(e, API_S3_PART_ORDER,
				"The list of parts was not in ascending order. Parts must be ordered by part number."),
		       NULL;
	if (r && str_cut(str_of(r->checksum), ':', &algorithm, &b64)) {
		snprintf(member, sizeof(member), "Checksum" STR_FMT, STR_ARG(algorithm));
		if (json_get(one, member) && !str_eq(json_get_str(one, member), b64))
			r = NULL;
	}
	if (!r || !str_eqc(etag, r->etag))
		return api_fail(e, API_S3_INVALID_PART,
				"One or more of the specified parts could not be found.  The part may not have been "
				"uploaded, or "
				"the specified entity tag may not match the part's entity tag."),
		       NULL;
	if (r->size < PART_BYTES_MIN && i + 1 < json_len(json_get(p->asked, "Parts")))
		return api_fail(e, API_S3_TOO_SMALL, "Your proposed upload is smaller than the minimum allowed size"),
		       NULL;
	return r;
}

/* What the parts' checksums make together: of all bytes, or of the checksums. */
struct joined {
	enum hash which;
	bool full, have;
	struct hash_state *of_sums;
	uint8_t value[HASH_BYTES_MAX];
	int64_t n;
};

static void join(struct joined *j, const struct upload_part_row *r)
{
	struct str algorithm, b64;
	auto_buf raw = {0};

	if (!str_cut(str_of(r->checksum), ':', &algorithm, &b64) || !str_eqc(algorithm, hash_name(j->which)) ||
	    dec_b64(&raw, b64) < 0 || raw.n != hash_bytes(j->which)) {
		j->have = false;
		return;
	}
	if (!j->full)
		hash_add(j->of_sums, raw.p, raw.n);
	else if (j->n)
		hash_crc_join(j->which, j->value, (uint8_t *)raw.p, r->size);
	else
		memcpy(j->value, raw.p, raw.n);
	j->n++;
}

static char *joined_meta(struct joined *j, const char *meta)
{
	auto_buf b64 = {0};

	if (!j->have)
		return xstrdup(meta);
	if (!j->full) {
		hash_end(j->of_sums);
		memcpy(j->value, hash_value(j->of_sums, j->which), hash_bytes(j->which));
	}
	enc_b64(&b64, j->value, hash_bytes(j->which));
	if (!j->full)
		buf_addf(&b64, "-%lld", (long long)j->n);
	return s3_meta_sum(meta, j->which, b64.p, j->full ? "FULL_OBJECT" : "COMPOSITE");
}

static int assemble(struct part_op *p)
{
	struct str algorithm;
	size_t n = json_len(json_get(p->asked, "Parts"));
	auto_json meta = json_parse(str_of(p->up.row.meta), NULL);
	struct hash_state *md5 = hash_new(1u << HASH_MD5);
	struct joined j = {.full = str_eqc(json_get_str(meta, "type"), "FULL_OBJECT")};
	auto_free char *id = xasprintf("\"%s\"", p->up.id), *sum = NULL;
	struct buf files = {0};
	int ret = 0;

	algorithm = json_get_str(meta, "algorithm");
	j.have = algorithm.n && s3_checksum_name(algorithm, &j.which) == 0;
	j.of_sums = hash_new(1u << j.which);
	for (size_t i = 0; i < n && ret == 0; i++) {
		const struct upload_part_row *r = check_part(p, i, &p->q->c.e);
		uint8_t raw[16];

		ret = r && dec_hex(str_of(r->etag), raw, 16) == 0 ? 0 : -1;
		if (ret < 0)
			break;
		hash_add(md5, raw, 16);
		if (j.have)
			join(&j, r);
		buf_addf(&files, "%s%s:%lld", files.n ? " " : "", r->file, (long long)r->size);
		p->put.size += r->size;
	}
	hash_end(md5);
	enc_hex(hash_value(md5, HASH_MD5), 16, p->put.etag);
	snprintf(p->put.etag + 32, sizeof(p->put.etag) - 32, "-%u", (unsigned)n % 100000);
	p->put.files = buf_take(&files);
	if (ret == 0) {
		sum = joined_meta(&j, p->up.row.meta);
		p->meta = s3_meta_set(sum, "upload", id);
	}
	hash_free(md5);
	hash_free(j.of_sums);
	return ret;
}

static void complete_read(struct upload_op *u, const struct err *e)
{
	struct part_op *p = container_of(u, struct part_op, up);
	struct s3 *q = p->q;

	if (e->kind == ERR_NOT_FOUND) {
		p->reading = true;
		p->read.done = completed_before;
		object_read_start(q->c.a->o.objects, &p->read, q->bucket, str_of(q->key), false);
	} else if (e->kind) {
		op_fail(p, e);
	} else if (assemble(p) < 0) {
		free(take_ptr(p->put.files));
		op_fail(p, NULL);
	} else {
		memcpy(p->put.upload, u->id, sizeof(u->id));
		p->put.meta = xstrdup(p->meta);
		p->put.done = completed;
		p->put.ev = s3_event(q, "CompleteMultipartUpload");
		object_put_start(q->c.a->o.objects, &p->put, q->bucket, str_of(q->key));
	}
}

static int complete_upload(struct s3 *q)
{
	struct json *asked = xml_parse("CompleteMultipartUpload", COMPLETE_SHAPE, q->c.r->body, &q->c.e);
	struct part_op *p;

	if (!asked)
		return -1;
	p = op_new(q, UPLOAD_PARTS, complete_read);
	p->asked = asked;
	p->up.max = UPLOAD_PARTS_MAX;
	if (s3_put_condition(q, &p->put.when) < 0) {
		op_free(p);
		return -1;
	}
	op_start(p);
	return 0;
}

/* --- lists --- */

static int number_of(struct s3 *q, const char *name, int64_t most, int64_t *ret)
{
	auto_free char *v = s3_query(q, name);

	if (!v || !*v)
		return 0;
	if (str_to_i64(str_of(v), 0, INT32_MAX, ret) < 0)
		return api_fail(&q->c.e, API_S3_INVALID_ARGUMENT, "%s must be an integer between 0 and 2147483647",
				name);
	*ret = *ret > most ? most : *ret;
	return 0;
}

static void parts_listed(struct upload_op *u, const struct err *e)
{
	struct part_op *p = container_of(u, struct part_op, up);
	struct str algorithm, b64;
	auto_buf b = {0};
	char date[32], name[40];

	if (e->kind)
		return op_fail(p, e);
	xml_begin(&b, "ListPartsResult");
	xml_str(&b, "Bucket", str_of(p->q->bucket));
	xml_str(&b, "Key", str_of(p->q->key));
	xml_str(&b, "UploadId", str_of(u->id));
	xml_int(&b, "PartNumberMarker", u->after);
	if (u->truncated && u->n)
		xml_int(&b, "NextPartNumberMarker", u->parts[u->n - 1].number);
	xml_int(&b, "MaxParts", u->max);
	xml_str(&b, "IsTruncated", u->truncated ? STR("true") : STR("false"));
	for (int i = 0; i < u->n; i++) {
		const struct upload_part_row *r = &u->parts[i];

		xml_start(&b, "Part");
		xml_int(&b, "PartNumber", r->number);
		xml_str(&b, "LastModified", str_of(clock_fmt_iso(r->modified_us, date)));
		quoted(&b, r->etag);
		xml_int(&b, "Size", r->size);
		if (str_cut(str_of(r->checksum), ':', &algorithm, &b64)) {
			snprintf(name, sizeof(name), "Checksum" STR_FMT, STR_ARG(algorithm));
			xml_str(&b, name, b64);
		}
		xml_end(&b, "Part");
	}
	xml_str(&b, "StorageClass", STR("STANDARD"));
	xml_end(&b, "ListPartsResult");
	op_reply(p, 200, NULL, buf_str(&b));
}

static int list_parts(struct s3 *q)
{
	struct part_op *p = op_new(q, UPLOAD_PARTS, parts_listed);

	p->up.max = 1000;
	if (number_of(q, "max-parts", 1000, &p->up.max) < 0 ||
	    number_of(q, "part-number-marker", UPLOAD_PARTS_MAX, &p->up.after) < 0) {
		op_free(p);
		return -1;
	}
	op_start(p);
	return 0;
}

static void uploads_listed(struct upload_op *u, const struct err *e)
{
	struct part_op *p = container_of(u, struct part_op, up);
	auto_buf b = {0};
	char date[32];

	if (e->kind)
		return op_fail(p, e);
	xml_begin(&b, "ListMultipartUploadsResult");
	xml_str(&b, "Bucket", str_of(p->q->bucket));
	xml_str(&b, "KeyMarker", str_of(p->key));
	xml_str(&b, "UploadIdMarker", str_of(u->id));
	xml_str(&b, "Prefix", str_of(p->prefix));
	if (u->truncated && u->n) {
		xml_str(&b, "NextKeyMarker", str_of(u->rows[u->n - 1].key));
		xml_str(&b, "NextUploadIdMarker", str_of(u->rows[u->n - 1].id));
	}
	xml_int(&b, "MaxUploads", u->max);
	xml_str(&b, "IsTruncated", u->truncated ? STR("true") : STR("false"));
	for (int i = 0; i < u->n; i++) {
		xml_start(&b, "Upload");
		xml_str(&b, "Key", str_of(u->rows[i].key));
		xml_str(&b, "UploadId", str_of(u->rows[i].id));
		xml_str(&b, "StorageClass", STR("STANDARD"));
		xml_str(&b, "Initiated", str_of(clock_fmt_iso(u->rows[i].created_us, date)));
		xml_end(&b, "Upload");
	}
	xml_end(&b, "ListMultipartUploadsResult");
	op_reply(p, 200, NULL, buf_str(&b));
}

static int list_uploads(struct s3 *q)
{
	struct part_op *p = op_new(q, UPLOAD_LIST, uploads_listed);
	auto_free char *id = s3_query(q, "upload-id-marker");

	p->prefix = s3_query(q, "prefix");
	p->key = s3_query(q, "key-marker");
	p->prefix = p->prefix ? p->prefix : xstrdup("");
	p->key = p->key ? p->key : xstrdup("");
	p->up.prefix = p->prefix;
	p->up.max = 1000;
	/* Without an id the key itself is passed over: no id is greater than this. */
	snprintf(p->up.id, sizeof(p->up.id), "%s", id && *id ? id : *p->key ? "~" : "");
	if (number_of(q, "max-uploads", 1000, &p->up.max) < 0) {
		op_free(p);
		return -1;
	}
	q->left = NULL;
	upload_start(q->c.a->o.objects, &p->up, q->bucket, p->key);
	return 0;
}

const struct s3_op s3_multipart_ops[] = {
	{"POST", "uploads", 'k', "PutObject", create_upload, 0},
	{"PUT", "uploadId", 'k', "PutObject", put_part, 0},
	{"POST", "uploadId", 'k', "PutObject", complete_upload, 0},
	{"DELETE", "uploadId", 'k', "AbortMultipartUpload", abort_upload, 0},
	{"GET", "uploadId", 'k', "ListMultipartUploadParts", list_parts, 0},
	{"GET", "uploads", 'b', "ListBucketMultipartUploads", list_uploads, 0},
	{0},
};
