/* SPDX-License-Identifier: Apache-2.0 */
/* What a server (a collector of spans, for one) answers our own client: the same whether its body is wanted or not. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io.h"
#include "http/client.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static int call(struct str answer, bool whole, struct http_answer *ret)
{
	int (*how)(int, const char *, const char *, const char *, struct str, int64_t, struct http_answer *,
		   struct err *) = whole ? http_call : http_call_head;
	struct err e = {0};
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 ||
	    io_write_all(pair[1], answer.p, answer.n, &e) < 0 || shutdown(pair[1], SHUT_WR) < 0)
		abort();
	r = how(pair[0], "POST", "/v1/traces", NULL, STR("{}"), 60 * 1000000ll, ret, &e);
	close(pair[0]);
	close(pair[1]);
	if (r < 0 && !e.text[0])
		abort();
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct str answer = {n ? (const char *)p : "", n < 65536 ? n : 65536}, after;
	struct http_answer head = {0}, whole = {0};
	int r = call(answer, false, &head);

	if (call(answer, true, &whole) == 0 && (r < 0 || head.status != whole.status))
		abort();
	after = http_answer_header(&head, "retry-after");
	if (r == 0 && (head.status < 200 || head.status > 999 || (after.n && memchr(after.p, '\n', after.n))))
		abort();
	http_answer_done(&head);
	http_answer_done(&whole);
	return 0;
}
