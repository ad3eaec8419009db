/* SPDX-License-Identifier: Apache-2.0 */
#include "api/s3_form.h"
#include <time.h>
#include "base/limits.h"
#include "base/mem.h"

#define BOUNDARY_MAX 200
#define FIELDS_MAX   64

/*
 *      FIRST ──► HEAD ──► VALUE ──► HEAD ... ──► FILE ──► OVER
 *
 * FIRST is the first boundary's, HEAD a part's header lines', VALUE and FILE the boundary's after them.
 */
enum state { FORM_FIRST, FORM_HEAD, FORM_VALUE, FORM_FILE, FORM_OVER };
struct field {
	char *name;
	struct buf value;
};
struct form {
	struct form_reader reader;
	enum state state;
	struct buf delimiter; /* CRLF, two dashes, the boundary */
	struct buf held;      /* what came and has not been taken */
	struct field fields[FIELDS_MAX];
	size_t n, bytes;
	char *filename;
};

static int malformed(struct api_err *e, const char *what)
{
	return api_fail(e, API_S3_MALFORMED_POST,
			"The body of your POST request is not well-formed multipart/form-data: %s.", what);
}

/* The value of a parameter of a header line, without its quotes; STR_NULL: none. */
static struct str parameter(struct str line, const char *name)
{
	struct str one, key, value;

	while (str_next(&line, ';', &one)) {
		one = str_trim(one);
		if (!str_cut(one, '=', &key, &value) || !str_caseeqc(key, name))
			continue;
		if (value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"')
			value = (struct str){value.p + 1, value.n - 2};
		return value;
	}
	return STR_NULL;
}

struct form *form_new(struct str content_type, const struct form_reader *reader, struct api_err *e)
{
	struct str boundary = parameter(content_type, "boundary");
	struct form *f;

	if (!str_starts(content_type, "multipart/form-data") || !boundary.n || boundary.n > BOUNDARY_MAX) {
		malformed(e, "its Content-Type has no boundary");
		return NULL;
	}
	f = xcalloc(1, sizeof(*f));
	f->reader = *reader;
	buf_adds(&f->delimiter, "\r\n--");
	buf_addstr(&f->delimiter, boundary);
	buf_adds(&f->held, "\r\n"); /* the first boundary is at the start of a line, too */
	return f;
}

void form_free(struct form *f)
{
	for (size_t i = 0; f && i < FIELDS_MAX; i++) {
		free(f->fields[i].name);
		buf_done(&f->fields[i].value);
	}
	if (f) {
		buf_done(&f->delimiter);
		buf_done(&f->held);
		free(f->filename);
	}
	free(f);
}

static int head(struct form *f, struct str lines, struct api_err *e)
{
	struct str line, name = STR_NULL, file = STR_NULL, key, value;

	while (str_next(&lines, '\n', &line)) {
		if (!str_cut(line, ':', &key, &value) || !str_caseeqc(str_trim(key), "content-disposition"))
			continue;
		if (value.n && value.p[value.n - 1] == '\r')
			value.n--;
		name = parameter(value, "name");
		file = parameter(value, "filename");
	}
	if (!name.n || memchr(name.p, 0, name.n))
		return malformed(e, "a part has no name");
	if (str_caseeqc(name, "file")) {
		struct str rest = file, name_only = file;

		while (str_next(&rest, '/', &name_only))
			;
		f->filename = str_dup(name_only);
		f->state = FORM_FILE;
		return f->reader.begin(f->reader.arg, e);
	}
	if (f->n == FIELDS_MAX)
		return malformed(e, "it has too many fields");
	f->fields[f->n].name = str_dup(name);
	/* Of two the policy would be asked about one, and the other be used. */
	for (size_t i = 0; i < f->n; i++)
		if (str_caseeq(str_of(f->fields[i].name), name))
			return malformed(e, "a field is there twice");
	f->n++;
	f->state = FORM_VALUE;
	return 0;
}

static int take(struct form *f, size_t n, struct api_err *e)
{
	struct str data = {f->held.p, n};

	if (!n)
		return 0;
	if (f->state == FORM_FILE) {
		if (f->reader.file(f->reader.arg, data, e) < 0)
			return -1;
	} else if (f->state == FORM_VALUE) {
		f->bytes += n;
		if (f->bytes > LIM_FORM_BYTES)
			return api_fail(e, API_S3_FORM_TOO_LARGE,
					"Your POST request fields preceding the upload file were too large.");
		buf_addstr(&f->fields[f->n - 1].value, data);
	}
	buf_drop(&f->held, n);
	return 0;
}

/* 1: something was done, 0: more must come first. */
static int step(struct form *f, struct api_err *e)
{
	bool heads = f->state == FORM_HEAD;
	struct str mark = heads ? STR("\r\n\r\n") : buf_str(&f->delimiter);
	const char *end = memmem(f->held.p, f->held.n, mark.p, mark.n);
	size_t n = end ? (size_t)(end - f->held.p) : 0;

	if (f->state == FORM_OVER || (heads && str_starts(buf_str(&f->held), "--"))) {
		f->state = FORM_OVER;
		buf_clear(&f->held);
		return 0;
	}
	if (heads && !end)
		return f->held.n > LIM_FORM_BYTES ? malformed(e, "a part's head is too long") : 0;
	if (!end)
		return f->held.n < mark.n ? 0 : take(f, f->held.n - (mark.n - 1), e);
	if ((heads ? head(f, (struct str){f->held.p, n}, e) : take(f, n, e)) < 0)
		return -1;
	buf_drop(&f->held, heads ? n + mark.n : mark.n);
	if (!heads)
		f->state = f->state == FORM_FILE ? FORM_OVER : FORM_HEAD;
	return 1;
}

int form_add(struct form *f, struct str piece, struct api_err *e)
{
	int rc;

	buf_addstr(&f->held, piece);
	while ((rc = step(f, e)) > 0)
		;
	return rc;
}

int form_end(const struct form *f, struct api_err *e)
{
	if (f->state == FORM_OVER && f->filename)
		return 0;
	if (f->state != FORM_OVER)
		return malformed(e, "it ends before its last boundary");
	return api_fail(e, API_S3_INVALID_ARGUMENT, "POST requires exactly one file upload per request.");
}

struct str form_field(const struct form *f, const char *name)
{
	for (size_t i = 0; i < f->n; i++)
		if (str_caseeqc(str_of(f->fields[i].name), name))
			return buf_str(&f->fields[i].value);
	return STR_NULL;
}

bool form_at(const struct form *f, size_t i, struct str *ret_name, struct str *ret_value)
{
	if (i >= f->n)
		return false;
	*ret_name = str_of(f->fields[i].name);
	*ret_value = buf_str(&f->fields[i].value);
	return true;
}

struct str form_filename(const struct form *f)
{
	return str_of(f->filename);
}

/* --- the policy --- */

static int refused(struct api_err *e, const char *why, struct str what)
{
	return api_fail(e, API_ACCESS_DENIED, "Invalid according to Policy: %s%.*s", why,
			(int)(what.n < 200 ? what.n : 200), what.p ? what.p : "");
}

/* "2030-12-01T12:00:00.000Z"; -1: it is not. */
static int64_t time_of(struct str s)
{
	struct tm tm = {0};
	auto_free char *text = str_dup(s);
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

	return rest && (*rest == '.' || *rest == 'Z') && str_ends(s, "Z") ? timegm(&tm) * 1000000ll : -1;
}

/* What a condition is about, decoded: {"name": "value"} or ["eq", "$name", "value"]. */
struct condition {
	struct str name, value;
	bool begins; /* "starts-with" */
	bool size;
};

static int one_member(void *arg, const char *key, const struct json *value)
{
	struct condition *k = arg;

	k->name = str_of(key);
	k->value = json_str(value);
	return 0;
}

static int condition_read(const struct json *j, struct condition *ret, struct api_err *e)
{
	struct condition k = {0};
	struct str how = json_str(json_at(j, 0));

	if (json_type(j) == JSON_OBJECT && json_len(j) == 1) {
		json_each(j, one_member, &k);
	} else if (json_type(j) == JSON_ARRAY && json_len(j) == 3) {
		k.size = str_caseeqc(how, "content-length-range");
		k.begins = str_caseeqc(how, "starts-with");
		k.name = json_str(json_at(j, 1));
		k.value = json_str(json_at(j, 2));
		if (k.name.n && k.name.p[0] == '$')
			k.name = (struct str){k.name.p + 1, k.name.n - 1};
		else if (!k.size)
			k.name.n = 0;
		if (!k.size && !k.begins && !str_caseeqc(how, "eq"))
			k.name.n = 0;
	}
	if (!k.size && (!k.name.n || !k.value.p))
		return api_fail(
			e, API_S3_INVALID_POLICY,
			"Invalid Policy: a condition must be {\"name\": \"value\"}, [\"eq\" or \"starts-with\", "
			"\"$name\", \"value\"] or [\"content-length-range\", min, max].");
	*ret = k;
	return 0;
}

/* Fields that no condition has to name. */
static bool is_free(struct str name)
{
	static const char *const names[] = {"policy", "x-amz-signature", "signature", "awsaccesskeyid", "file"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (str_caseeqc(name, names[i]))
			return true;
	return name.n >= 9 && str_caseeq((struct str){name.p, 9}, STR("x-ignore-"));
}

int form_allowed(const struct form *f, const struct json *policy, const char *bucket, int64_t now_wall_us,
		 struct api_err *e)
{
	const struct json *list = json_get(policy, "conditions");
	int64_t until = time_of(json_get_str(policy, "expiration"));
	bool named[FIELDS_MAX] = {false};
	struct condition k = {.size = false};

	if (until < 0 || json_type(list) != JSON_ARRAY)
		return api_fail(e, API_S3_INVALID_POLICY,
				"Invalid Policy: it needs an expiration in ISO8601 and a list of conditions.");
	if (until <= now_wall_us)
		return refused(e, "Policy expired.", STR_NULL);
	for (size_t i = 0; i < json_len(list); i++) {
		struct str value;

		if (condition_read(json_at(list, i), &k, e) < 0)
			return -1;
		if (k.size)
			continue;
		value = STR_NULL;
		for (size_t j = 0; j < f->n; j++)
			if (str_caseeq(str_of(f->fields[j].name), k.name)) {
				named[j] = true;
				value = buf_str(&f->fields[j].value);
			}
		if (str_caseeqc(k.name, "bucket"))
			value = str_of(bucket);
		if (k.begins ? !str_starts(value, k.value.p) : !str_eq(value, k.value))
			return refused(e, "Policy Condition failed: $", k.name);
	}
	for (size_t j = 0; j < f->n; j++)
		if (!named[j] && !is_free(str_of(f->fields[j].name)))
			return refused(e, "Extra input fields: ", str_of(f->fields[j].name));
	return 0;
}

int form_size_allowed(const struct json *policy, int64_t size, bool whole, struct api_err *e)
{
	const struct json *list = json_get(policy, "conditions");

	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *j = json_at(list, i);

		if (json_type(j) != JSON_ARRAY || !str_caseeqc(json_str(json_at(j, 0)), "content-length-range"))
			continue;
		if (size > json_int(json_at(j, 2), -1))
			return api_fail(e, API_S3_TOO_LARGE, "Your proposed upload exceeds the maximum allowed size");
		if (whole && size < json_int(json_at(j, 1), INT64_MAX))
			return api_fail(e, API_S3_TOO_SMALL,
					"Your proposed upload is smaller than the minimum allowed size");
	}
	return 0;
}
