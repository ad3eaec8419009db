/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer target for the request parser. Besides looking for memory errors it
 * holds the parser to one promise: how the bytes are cut up on their way here
 * changes nothing. The first byte of the input says how large the pieces are.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -std=gnu11 -D_GNU_SOURCE -DTANDEM_DEBUG=1 -I. -Isrc \
 *     -I/usr/share/include/llhttp -DLLHTTP_STRICT_MODE=1 tests/fuzz/http.c src/http/parse.c \
 *     src/base/{buf,mem,str}.c /usr/share/llhttp/{api,http,llhttp}.c
 */
#include <assert.h>

#include "http/parse.h"

#define BODY_MAX     256
#define REQUESTS_MAX 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_str(struct buf *o, struct str s)
{
	buf_add_i64(o, (int64_t)s.n);
	buf_addc(o, ':');
	buf_addstr(o, s);
}

static void put_request(struct buf *o, struct parse *p)
{
	struct http_req r = {0};

	parse_fill(p, &r);
	put_str(o, r.method), put_str(o, r.target), put_str(o, r.path), put_str(o, r.query);
	for (unsigned i = 0; i < r.n_headers; i++) {
		put_str(o, r.headers[i].name), put_str(o, r.headers[i].value);
		assert(r.headers[i].name.n);
		assert(!r.headers[i].value.n || !memchr(r.headers[i].value.p, '\n', r.headers[i].value.n));
	}
	assert(r.body.n <= BODY_MAX);
	put_str(o, r.body);
	buf_addc(o, p->keep_alive ? 'k' : 'c');
}

/* What was understood, in pieces of `step` bytes, as text. */
static void run(const uint8_t *data, size_t size, size_t step, struct buf *o)
{
	enum parse_result r = PARSE_MORE;
	struct parse p;
	int requests = 0;

	parse_init(&p);
	parse_begin(&p, BODY_MAX);
	for (size_t at = 0; at < size && r != PARSE_FAIL && requests < REQUESTS_MAX; at += step) {
		buf_add(&p.in, data + at, size - at < step ? size - at : step);
		while (p.in.n > p.fed && requests < REQUESTS_MAX && (r = parse_run(&p)) == PARSE_WHOLE) {
			put_request(o, &p);
			parse_next(&p);
			parse_begin(&p, BODY_MAX);
			requests++;
		}
		if (r == PARSE_FAIL)
			break;
	}
	if (r == PARSE_FAIL) {
		assert(p.fail >= 400);
		buf_adds(o, "fail");
	}
	parse_done(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_buf whole = {0};
	auto_buf pieces = {0};

	if (size < 2 || size > 60000)
		return 0;
	run(data + 1, size - 1, size, &whole);
	run(data + 1, size - 1, (size_t)data[0] + 1, &pieces);
	assert(str_eq(buf_str(&whole), buf_str(&pieces)));
	return 0;
}
