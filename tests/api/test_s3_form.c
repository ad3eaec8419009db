/* SPDX-License-Identifier: Apache-2.0 */
#include "api/s3_form.h"
#include "tests/test.h"

#define TYPE  "multipart/form-data; boundary=\"b-b\""
#define FIELD "Content-Disposition: form-data; name="
#define NOW   1700000000000000ll /* 2023-11-14T22:13:20Z */

struct upload {
	struct buf file;
	unsigned begun;
};

static int begin(void *arg, struct api_err *e)
{
	((struct upload *)arg)->begun++;
	return 0;
}

static int file(void *arg, struct str data, struct api_err *e)
{
	buf_addstr(&((struct upload *)arg)->file, data);
	return 0;
}

/* The form of a body that comes in pieces of so many bytes; NULL: e. */
static struct form *form_of(struct upload *u, struct str body, size_t piece, struct api_err *e)
{
	struct form_reader reader = {begin, file, u};
	struct form *f = form_new(STR(TYPE), &reader, e);
	int rc = 0;

	for (size_t at = 0; rc == 0 && at < body.n; at += piece)
		rc = form_add(f, (struct str){body.p + at, body.n - at < piece ? body.n - at : piece}, e);
	if (rc < 0 || form_end(f, e) < 0) {
		form_free(f);
		return NULL;
	}
	return f;
}

TEST(a_file_in_pieces_of_any_size)
{
	static const char body[] =
		"preamble\r\n--b-b\r\n" FIELD "\"Key\"\r\n\r\nu/${filename}\r\n--b-b\r\nX: y\r\n" FIELD
		"\"empty\"\r\n\r\n\r\n--b-b\r\n" FIELD
		"\"file\"; filename=\"C/a.txt\"\r\nContent-Type: text/plain\r\n\r\n"
		"\r\n--b-\r\n--b\r\n-\r\n--b-b\r\n" FIELD "\"late\"\r\n\r\nx\r\n--b-b--\r\nafter";

	for (size_t piece = 1; piece <= sizeof(body); piece++) {
		struct upload u = {.begun = 0};
		struct api_err e = {0};
		struct form *f = form_of(&u, (struct str){body, sizeof(body) - 1}, piece, &e);

		CHECK(f && u.begun == 1);
		if (f) {
			CHECK(str_eqc(form_field(f, "key"), "u/${filename}"));
			CHECK(str_eqc(form_field(f, "EMPTY"), "") && !form_field(f, "late").p);
			CHECK(str_eqc(form_filename(f), "a.txt"));
			CHECK(str_eqc(buf_str(&u.file), "\r\n--b-\r\n--b\r\n-"));
		}
		form_free(f);
		buf_done(&u.file);
	}
}

#define BAD "The body of your POST request is not well-formed multipart/form-data: "
static const struct {
	const char *body, *text;
} wrong[] = {
	{"", BAD "it ends before its last boundary."},
	{"--b-b\r\n" FIELD "file\r\n\r\nbytes", BAD "it ends before its last boundary."},
	{"--b-b\r\n" FIELD "key\r\n\r\nk\r\n--b-b--", "POST requires exactly one file upload per request."},
	{"--b-b\r\nContent-Type: x\r\n\r\nk\r\n--b-b--", BAD "a part has no name."},
	{"--b-b\r\n" FIELD "a\r\n\r\n1\r\n--b-b\r\n" FIELD "A\r\n\r\n2\r\n--b-b--", BAD "a field is there twice."},
};

TEST(what_is_no_form)
{
	auto_buf big = {0};
	struct form_reader reader = {0};
	struct api_err e = {0};
	struct upload u = {.begun = 0};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		CHECK(!form_of(&u, str_of(wrong[i].body), 7, &e));
		CHECK_STR(e.text, wrong[i].text);
	}
	buf_done(&u.file);
	CHECK(!form_new(STR("multipart/form-data"), &reader, &e));
	CHECK(!form_new(STR("text/plain; boundary=b"), &reader, &e));
	buf_adds(&big, "--b-b\r\n" FIELD "a\r\n\r\n");
	for (int i = 0; i < 3000; i++)
		buf_adds(&big, "0123456789");
	CHECK(!form_of(&u, buf_str(&big), 1000, &e) && e.code == API_S3_FORM_TOO_LARGE);
	buf_clear(&big);
	buf_adds(&big, "--b-b\r\n");
	for (int i = 0; i < 3000; i++)
		buf_adds(&big, "X: 0123456\r\n");
	CHECK(!form_of(&u, buf_str(&big), 1000, &e) && e.code == API_S3_MALFORMED_POST);
}

#define UNTIL "{\"expiration\":\"2023-11-14T23:00:00.000Z\",\"conditions\":["
#define NO    "Invalid according to Policy: "
static const struct {
	const char *policy, *text; /* "": it lets it be */
} policies[] = {
	{UNTIL "{\"bucket\":\"media\"},[\"starts-with\",\"$key\",\"u/\"],{\"acl\":\"private\"}]}", ""},
	{UNTIL "[\"eq\",\"$Key\",\"u/a\"],[\"starts-with\",\"$acl\",\"\"],[\"content-length-range\",2,4]]}", ""},
	{UNTIL "[\"eq\",\"$key\",\"u/b\"],[\"starts-with\",\"$acl\",\"\"]]}", NO "Policy Condition failed: $key"},
	{UNTIL "{\"bucket\":\"other\"},[\"starts-with\",\"$key\",\"u/\"],{\"acl\":\"private\"}]}",
	 NO "Policy Condition failed: $bucket"},
	{UNTIL "{\"x\":\"y\"}]}", NO "Policy Condition failed: $x"},
	{UNTIL "[\"starts-with\",\"$key\",\"\"]]}", NO "Extra input fields: ACL"},
	{"{\"expiration\":\"2023-11-14T22:13:20Z\",\"conditions\":[]}", NO "Policy expired."},
	{"{\"expiration\":\"tomorrow\",\"conditions\":[]}",
	 "Invalid Policy: it needs an expiration in ISO8601 and a list of conditions."},
	{UNTIL "[\"less\",\"$key\",\"z\"]]}", "Invalid Policy: a condition must be {\"name\": \"value\"}, [\"eq\" or "
					      "\"starts-with\", \"$name\", \"value\"] or "
					      "[\"content-length-range\", min, max]."},
};

TEST(what_a_policy_lets_be)
{
	struct upload u = {.begun = 0};
	struct api_err e = {0};
	struct form *f = form_of(&u,
				 STR("--b-b\r\n" FIELD "key\r\n\r\nu/a\r\n--b-b\r\n" FIELD
				     "ACL\r\n\r\nprivate\r\n--b-b\r\n" FIELD "X-Ignore-Me\r\n\r\n1\r\n--b-b\r\n" FIELD
				     "policy\r\n\r\np\r\n--b-b\r\n" FIELD "file\r\n\r\nbytes\r\n--b-b--"),
				 100, &e);

	for (size_t i = 0; f && i < sizeof(policies) / sizeof(policies[0]); i++) {
		auto_json policy = json_parse(str_of(policies[i].policy), NULL);

		e = (struct api_err){0};
		form_allowed(f, policy, "media", NOW, &e);
		CHECK_STR(e.text, policies[i].text);
	}
	CHECK(f && u.file.n == 5);
	form_free(f);
	buf_done(&u.file);
}

TEST(the_size_a_policy_lets_be)
{
	auto_json policy = json_parse(STR("{\"conditions\":[[\"content-length-range\",2,4]]}"), NULL);
	auto_json broken = json_parse(STR("{\"conditions\":[[\"content-length-range\",\"2\",{}]]}"), NULL);
	struct api_err e = {0};

	CHECK(form_size_allowed(policy, 1, false, &e) == 0 && form_size_allowed(policy, 4, true, &e) == 0);
	CHECK(form_size_allowed(policy, 1, true, &e) < 0 && e.code == API_S3_TOO_SMALL);
	CHECK(form_size_allowed(policy, 5, false, &e) < 0 && e.code == API_S3_TOO_LARGE);
	CHECK(form_size_allowed(broken, 0, false, &e) < 0);
	CHECK(form_size_allowed(NULL, 1ll << 50, true, &e) == 0);
}
