/* SPDX-License-Identifier: Apache-2.0 */
#include "api/sigv4.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "tests/test.h"

#include <fcntl.h>

#define AT_S 1440938160ll /* 2015-08-30T12:36:00Z */

struct sample {
	struct http_req r;
	struct http_header h[32];
	char *text; /* changed in place */
};

static char *line_end(char *p, char *end)
{
	char *nl = memchr(p, '\n', (size_t)(end - p));

	return nl ? nl : end;
}

/* One request as the vectors write it: lines end in LF, a line that begins with a space goes on with the one before. */
static void sample_parse(struct sample *s, char *p, size_t n)
{
	char *end = p + n, *nl = line_end(p, end), *sp = memchr(p, ' ', (size_t)(nl - p)), *last = nl, *q;

	memset(s, 0, sizeof(*s));
	s->r.headers = s->h;
	while (last > p && *last != ' ')
		last--;
	s->r.method = (struct str){p, (size_t)(sp - p)};
	s->r.target = s->r.path = (struct str){sp + 1, (size_t)(last - sp - 1)};
	q = memchr(s->r.path.p, '?', s->r.path.n);
	if (q) {
		s->r.query = (struct str){q + 1, (size_t)(last - q - 1)};
		s->r.path.n = (size_t)(q - s->r.path.p);
	}
	for (p = nl + 1; p < end && *p != '\n'; p = nl + 1) {
		char *colon;

		nl = line_end(p, end);
		while (nl + 1 < end && nl[1] == ' ')
			nl = line_end(nl + 1, end);
		colon = memchr(p, ':', (size_t)(nl - p));
		CHECK(colon && s->r.n_headers < ARRAY_SIZE(s->h));
		if (!colon)
			break;
		s->h[s->r.n_headers++] =
			(struct http_header){{p, (size_t)(colon - p)}, {colon + 1, (size_t)(nl - colon - 1)}};
	}
	if (p + 1 < end)
		s->r.body = (struct str){p + 1, (size_t)(end - p - 1)};
}

static const char *secret_of(void *arg, struct str key)
{
	return str_eqc(key, "AKIDEXAMPLE") ? arg : NULL;
}

static char secret[] = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

static int verify(struct sigv4 *v, const struct sample *s, int64_t at_s, const char *service, struct api_err *e)
{
	struct sigv4_check c = {.now_wall_us = at_s * 1000000, .secret = secret_of, .arg = secret, .service = service};
	struct sigv4_scope scope = {0};

	e->code = API_OK;
	e->text[0] = '\0';
	return sigv4_verify(v, &s->r, &c, &scope, e);
}

static void next_case(struct sigv4 *v, char *name, const char *form, int normalize, char *text, size_t n,
		      unsigned *count)
{
	struct sample s;
	struct api_err e;

	/* Not normalised is S3's way only. The token that is added after signing is S3's too, in the query. */
	if (!normalize || (!strcmp(name, "post-sts-header-after") && !strcmp(form, "query")))
		return;
	sample_parse(&s, text, n);
	if (verify(v, &s, AT_S, "service", &e) < 0) {
		printf("%s %s: %s\n", name, form, e.text);
		CHECK(!"verified");
		return;
	}
	(*count)++;
	/* Any change to what is signed must be seen. */
	s.r.method = str_eqc(s.r.method, "GET") ? STR("PUT") : STR("GET");
	CHECK(verify(v, &s, AT_S, "service", &e) < 0 && e.code == API_INVALID_SIGNATURE);
	s.r.method = str_eqc(s.r.method, "GET") ? STR("POST") : STR("GET");
	s.r.body = STR("other");
	CHECK(verify(v, &s, AT_S, "service", &e) < 0 && e.code == API_INVALID_SIGNATURE);
}

TEST(published_vectors)
{
	struct sigv4 *v = sigv4_new("us-east-1");
	auto_buf all = {0};
	unsigned count = 0;
	char *p, name[80], form[16];
	size_t n;
	int normalize;

	CHECK(io_read_file(AT_FDCWD, "tests/api/vectors/sigv4.txt", 1 << 20, &all, NULL) == 0);
	for (p = all.p;
	     p && (p = strstr(p, "\n@@ ")) && sscanf(++p, "@@ %79s %15s %d %zu", name, form, &normalize, &n) == 4;) {
		p = memchr(p, '\n', (size_t)(all.p + all.n - p)) + 1;
		next_case(v, name, form, normalize, p, n, &count);
		p += n;
	}
	printf("%u requests verified\n", count);
	CHECK(count >= 60);
	sigv4_free(v);
}

static const char *s3_secret(void *arg, struct str key)
{
	return str_eqc(key, "AKIAIOSFODNN7EXAMPLE") ? "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY" : NULL;
}

/* AWS's own example of a presigned GET of S3. */
TEST(s3_presigned)
{
	char text[] =
		"GET "
		"/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-"
		"1%2Fs3%2F"
		"aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature="
		"aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404 "
		"HTTP/1.1\nHost:examplebucket.s3.amazonaws.com\n\n";
	struct sigv4 *v = sigv4_new("us-east-1");
	struct sigv4_chain chain = {0};
	struct sigv4_check c = {.secret = s3_secret, .service = "s3", .chain = &chain};
	struct sigv4_scope scope = {0};
	struct api_err e = {.code = API_OK};
	struct sample s;

	sample_parse(&s, text, strlen(text));
	c.now_wall_us = 1369353600ll * 1000000;
	CHECK(sigv4_verify(v, &s.r, &c, &scope, &e) == 0);
	CHECK_STR(chain.scope, "20130524/us-east-1/s3/aws4_request");
	c.now_wall_us += 86401ll * 1000000;
	CHECK(sigv4_verify(v, &s.r, &c, &scope, &e) < 0 && e.code == API_ACCESS_DENIED && strstr(e.text, "expired"));
	sigv4_free(v);
}

static const char good[] = "GET /a%20b/?z=1&a HTTP/1.1\nHost:example.amazonaws.com\nX-Amz-Date:20150830T123600Z\n";

TEST(refusals)
{
	static const struct {
		const char *auth, *more;
		int64_t at_s;
		const char *service;
		enum api_code code;
		const char *text;
	} t[] = {
		{NULL, "", AT_S, NULL, API_MISSING_TOKEN, "Missing Authentication Token"},
		{"Basic abc", "", AT_S, NULL, API_INCOMPLETE_SIGNATURE, "algorithm"},
		{"AWS4-HMAC-SHA256", "", AT_S, NULL, API_INCOMPLETE_SIGNATURE, "requires 'Credential'"},
		{"AWS4-HMAC-SHA256 Credential=a/b/c", "", AT_S, NULL, API_INCOMPLETE_SIGNATURE, "requires 'Signature'"},
		{"AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=00", "", AT_S, NULL,
		 API_INCOMPLETE_SIGNATURE, "5 slash-delimited"},
		{"AWS4-HMAC-SHA256 Credential=WHO/20150830/us-east-1/lambda/aws4_request, SignedHeaders=host, "
		 "Signature=00",
		 "", AT_S, NULL, API_UNKNOWN_KEY, "security token"},
		{"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/lambda/aws4_request, "
		 "SignedHeaders=host;x-amz-date, Signature=00",
		 "", AT_S + 301, NULL, API_INVALID_SIGNATURE,
		 "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z"},
		{"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/lambda/aws4_request, "
		 "SignedHeaders=host;x-amz-date, Signature=00",
		 "", AT_S - 301, NULL, API_INVALID_SIGNATURE, "not yet current"},
		{"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/eu-west-1/lambda/aws4_request, "
		 "SignedHeaders=host;x-amz-date, Signature=00",
		 "", AT_S, NULL, API_INVALID_SIGNATURE, "valid region"},
		{"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/sts/aws4_request, "
		 "SignedHeaders=host;x-amz-date, Signature=00",
		 "", AT_S, "lambda", API_INVALID_SIGNATURE, "correct service: 'lambda'"},
		{"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/lambda/aws9, "
		 "SignedHeaders=host;x-amz-date, Signature=00",
		 "", AT_S, NULL, API_INVALID_SIGNATURE, "terminator"},
		{"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150831/us-east-1/lambda/aws4_request, "
		 "SignedHeaders=host;x-amz-date, Signature=00",
		 "", AT_S, NULL, API_INVALID_SIGNATURE, "does not match YYYYMMDD"},
		{"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/lambda/aws4_request, "
		 "SignedHeaders=x-amz-date, Signature=00",
		 "", AT_S, NULL, API_INVALID_SIGNATURE, "'Host'"},
		{"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/lambda/aws4_request, "
		 "SignedHeaders=host;x-amz-date, Signature=00",
		 "X-Amz-Invocation-Type:Event\n", AT_S, NULL, API_INVALID_SIGNATURE, "'X-Amz-Invocation-Type'"},
		{"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/lambda/aws4_request, "
		 "SignedHeaders=host;x-amz-date, Signature=00",
		 "", AT_S, NULL, API_INVALID_SIGNATURE, "does not match the signature you provided"},
	};
	struct sigv4 *v = sigv4_new("us-east-1");

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		auto_free char *text =
			t[i].auth ? xasprintf("%s%sAuthorization:%s\n", good, t[i].more, t[i].auth) : xstrdup(good);
		struct sample s;
		struct api_err e;

		sample_parse(&s, text, strlen(text));
		CHECK(verify(v, &s, t[i].at_s, t[i].service, &e) == -1);
		if (e.code != t[i].code || !strstr(e.text, t[i].text)) {
			printf("%zu: code %d: %s\n", i, (int)e.code, e.text);
			CHECK(!"as the table says");
		}
	}
	sigv4_free(v);
}

/* Who knows no secret must not spoil the key that is kept for those who do. */
TEST(a_nul_in_the_credential)
{
	char hostile[] = "GET /?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2F"
			 "service%00x%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-Expires=60&X-Amz-SignedHeaders="
			 "host&X-Amz-Signature=00 HTTP/1.1\nHost:example.amazonaws.com\n";
	char honest[] =
		"GET / HTTP/1.1\nHost:example.amazonaws.com\nX-Amz-Date:20150830T123600Z\nAuthorization:"
		"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders="
		"host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31\n";
	struct sigv4 *v = sigv4_new("us-east-1");
	struct sample s;
	struct api_err e;

	sample_parse(&s, hostile, strlen(hostile));
	CHECK(verify(v, &s, AT_S, NULL, &e) == -1 && e.code == API_INCOMPLETE_SIGNATURE);
	sample_parse(&s, honest, strlen(honest));
	CHECK(verify(v, &s, AT_S, NULL, &e) == 0);
	sigv4_free(v);
}

TEST(speed)
{
	static const char text[] =
		"POST /2015-03-31/functions/hello/invocations "
		"HTTP/1.1\nHost:127.0.0.1:4566\nX-Amz-Date:20150830T123600Z\n"
		"User-Agent:Boto3/1.26\nAuthorization:AWS4-HMAC-SHA256 "
		"Credential=AKIDEXAMPLE/20150830/us-east-1/lambda/aws4_request, SignedHeaders=host;x-amz-date, "
		"Signature=0000000000000000000000000000000000000000000000000000000000000000\n\n{\"a\":1}";
	auto_free char *copy = xstrdup(text);
	struct sigv4 *v = sigv4_new("us-east-1");
	struct sample s;
	struct api_err e;
	int64_t t0;
	int refused = 0;

	sample_parse(&s, copy, strlen(copy));
	t0 = clock_now_us();
	for (int i = 0; i < 20000; i++)
		refused += verify(v, &s, AT_S, NULL, &e) < 0;
	printf("%.2f us a request\n", (double)(clock_now_us() - t0) / 20000);
	CHECK(refused == 20000);
	sigv4_free(v);
}
