/* SPDX-License-Identifier: Apache-2.0 */
/* Code.Location of GetFunction: an address that gives the archive for ten minutes to whoever holds it, as AWS's does.
 */
#include "api/code_url.h"
#include <sys/stat.h>
#include "base/clock.h"
#include "base/enc.h"
#include "store/digest.h"

#define PREFIX	"/tandem-code/"
#define VALID_S 600

static void token(const struct api *a, const char sha[65], int64_t until_s, char out[65])
{
	const char *secret = store_setting(a->o.store, "operator_secret_key");
	auto_buf b = {0};
	uint8_t mac[32];

	buf_addf(&b, "code/%s/%lld", sha, (long long)until_s);
	digest_hmac_sha256(secret ? secret : "", secret ? strlen(secret) : 0, b.p, b.n, mac);
	enc_hex(mac, sizeof(mac), out);
}

void code_url_write(const struct api *a, struct str host, const char sha[65], struct buf *out)
{
	int64_t until_s = clock_wall_us() / 1000000 + VALID_S;
	char mac[65];

	token(a, sha, until_s, mac);
	buf_addf(out, "http://" STR_FMT PREFIX "%s?until=%lld&token=%s", STR_ARG(host), sha, (long long)until_s, mac);
}

bool code_url_is(const struct http_req *r)
{
	return str_starts(r->path, PREFIX);
}

static int check(struct api_call *c, char sha[65])
{
	struct str name = {c->r->path.p + sizeof(PREFIX) - 1, c->r->path.n - (sizeof(PREFIX) - 1)};
	auto_buf until = {0}, given = {0};
	int64_t until_s;
	unsigned diff = 0;
	char mac[65];
	uint8_t raw[32];

	if (dec_hex(name, raw, sizeof(raw)) < 0 || !api_query(c->r, "until", &until) ||
	    !api_query(c->r, "token", &given) || str_to_i64(buf_str(&until), 0, INT64_MAX, &until_s) < 0 ||
	    given.n != 64)
		return api_fail(&c->e, API_ACCESS_DENIED, "Access Denied");
	enc_hex(raw, sizeof(raw), sha);
	token(c->a, sha, until_s, mac);
	for (int i = 0; i < 64; i++)
		diff |= (unsigned)(given.p[i] ^ mac[i]);
	if (diff)
		return api_fail(&c->e, API_ACCESS_DENIED, "Access Denied");
	if (until_s < clock_wall_us() / 1000000)
		return api_fail(&c->e, API_ACCESS_DENIED, "Request has expired");
	return 0;
}

static int read_blob(struct api_call *c, const char sha[65], struct buf *out)
{
	auto_close int fd = store_blob_open(c->a->o.store, sha, NULL);
	struct stat st;
	ssize_t n = 1;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size > LIM_ZIP_BYTES)
		return api_fail(&c->e, API_NOT_FOUND, "The archive is not there any more.");
	buf_reserve(out, (size_t)st.st_size);
	while (out->n < (size_t)st.st_size && (n = read(fd, out->p + out->n, (size_t)st.st_size - out->n)) > 0)
		out->n += (size_t)n;
	return n > 0 ? 0 : api_fail(&c->e, API_SERVICE, "The archive cannot be read.");
}

int code_url_handle(struct api_call *c)
{
	auto_buf body = {0};
	char sha[65];

	c->form = FORM_S3;
	if (check(c, sha) < 0 || read_blob(c, sha, &body) < 0)
		return -1;
	http_reply(c->r,
		   &(struct http_reply){.status = 200, .content_type = "application/zip", .body = buf_str(&body)});
	c->r = NULL;
	return 0;
}
