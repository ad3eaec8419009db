/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer target for what an upstream answers, read as the proxy does: interim answers, a head that is dropped once it
 * was used, a body that is taken out as it comes, and the end of the connection. How the bytes are cut up changes
 * nothing. The first byte of the input says how large the pieces are, and whether the request was HEAD.
 */
#include <assert.h>

#include "http/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_head(struct buf *o, struct parse *p)
{
	buf_add_i64(o, p->hp.status_code);
	buf_addf(o, " %d %d\n", p->keep_alive, p->length >= 0);
	parse_headers(p);
	for (unsigned i = 0; i < p->n_spans; i++) {
		assert(p->headers[i].name.n);
		assert(!p->headers[i].value.n || !memchr(p->headers[i].value.p, '\n', p->headers[i].value.n));
		buf_addstr(o, p->headers[i].name);
		buf_addc(o, ':');
		buf_addstr(o, p->headers[i].value);
		buf_addc(o, '\n');
	}
}

/* False: no more is to be read. */
static bool digest(struct parse *p, bool *begun, struct buf *o)
{
	while (p->in.n > p->fed) {
		if (parse_run(p) == PARSE_FAIL) {
			buf_adds(o, *begun ? "cut" : "bad");
			return false;
		}
		if (!p->head_done)
			return true;
		if (!*begun)
			put_head(o, p);
		if (p->hp.status_code == 101)
			return false;
		if (p->hp.status_code < 200) {
			assert(p->whole);
			parse_next(p);
			parse_begin_answer(p, p->head_only);
			continue;
		}
		if (!*begun)
			parse_drop_head(p);
		*begun = true;
		buf_add(o, p->in.p, p->body_n);
		parse_drop_body(p);
		if (p->whole) {
			buf_adds(o, "whole");
			return false;
		}
	}
	return true;
}

/* What was understood, in pieces of `step` bytes, as text. */
static void run(const uint8_t *data, size_t size, size_t step, bool head_only, struct buf *o)
{
	struct parse p;
	bool begun = false, more = true;

	parse_init(&p);
	parse_begin_answer(&p, head_only);
	for (size_t at = 0; at < size && more; at += step) {
		buf_add(&p.in, data + at, size - at < step ? size - at : step);
		more = digest(&p, &begun, o);
	}
	if (more && begun && parse_eof(&p))
		buf_adds(o, "end");
	parse_done(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_buf whole = {0};
	auto_buf pieces = {0};

	if (size < 2 || size > 60000)
		return 0;
	run(data + 1, size - 1, size, data[0] & 1, &whole);
	run(data + 1, size - 1, (size_t)data[0] / 2 + 1, data[0] & 1, &pieces);
	/* Of one that turns out bad in its body more or less may have gone on before that. */
	if (!str_ends(buf_str(&whole), "cut") && !str_ends(buf_str(&whole), "bad") &&
	    !str_ends(buf_str(&pieces), "cut"))
		assert(str_eq(buf_str(&whole), buf_str(&pieces)));
	return 0;
}
