/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a signed request: method, path, query, headers a line each, an empty line, the body. Never verified,
 * never a memory error. */
#include <assert.h>

#include "api/sigv4.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char *secret_of(void *arg, struct str key)
{
	return str_starts(key, "AK") ? "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" : NULL;
}

static struct str next_line(struct str *rest)
{
	struct str line = *rest, tail = STR_NULL;

	str_cut(*rest, '\n', &line, &tail);
	*rest = tail;
	return line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct http_header h[64];
	struct str rest = {(const char *)data, n};
	struct http_req r = {.headers = h};
	struct sigv4_check c = {.now_wall_us = 1440938160000000, .secret = secret_of};
	struct sigv4_scope scope;
	struct api_err e = {.code = API_OK};
	struct sigv4 *v = sigv4_new("us-east-1");

	r.method = next_line(&rest);
	r.path = next_line(&rest);
	r.query = next_line(&rest);
	while (rest.n && r.n_headers < ARRAY_SIZE(h)) {
		struct str line = next_line(&rest);

		if (!line.n || !str_cut(line, ':', &h[r.n_headers].name, &h[r.n_headers].value))
			break;
		r.n_headers++;
	}
	r.body = rest;
	assert(sigv4_scope(v, &r, &scope, &e) <= 1);
	if (sigv4_verify(v, &r, &c, &scope, &e) < 0)
		assert(e.code != API_OK && e.text[0]);
	sigv4_free(v);
	return 0;
}
