/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include "base/enc.h"
#include "base/io.h"
#include "base/limits.h"
#include "cli/call.h"

static int reach(struct cli *c, int *ret_fd)
{
	struct err e = {0};
	int fd = http_connect_unix(c->sock, &e);

	if (fd >= 0) {
		*ret_fd = fd;
		return 0;
	}
	if (e.sys == EACCES || e.sys == EPERM)
		cli_failf("no right to use %s; run this as root, or as a member of its group", c->sock);
	else if (e.kind == ERR_UNAVAILABLE || e.sys == ENOTDIR)
		cli_failf("no daemon answers at %s; start one with: sudo tandem serve --state %s", c->sock, c->state);
	else
		cli_fail(&e);
	c->exit = CLI_FAILED;
	return -1;
}

/* The daemon's error bodies are {"error": text, "kind": name}. */
static int refused(struct cli *c, int status, struct str body)
{
	struct err e = {0};
	auto_json j = json_parse(body, &e);
	struct str text = json_get_str(j, "error"), kind = json_get_str(j, "kind");

	c->exit = str_eqc(kind, "timeout") ? CLI_TIMEOUT : CLI_FAILED;
	if (text.p)
		cli_failf(STR_FMT, STR_ARG(text));
	else
		cli_failf("the daemon answered %d: " STR_FMT, status, (int)(body.n < 300 ? body.n : 300),
			  body.p ? body.p : "");
	return -1;
}

int call_daemon(struct cli *c, const char *method, const char *target, struct str body, struct buf *ret_body)
{
	auto_(http_answer_done) struct http_answer a = {0};
	auto_close int fd = -1;
	struct err e = {0};

	if (reach(c, &fd) < 0)
		return -1;
	if (http_call(fd, method, target, body.n ? "Content-Type: application/json\r\n" : NULL, body, 0, &a, &e) < 0) {
		c->exit = cli_fail(&e);
		return -1;
	}
	if (a.status >= 400)
		return refused(c, a.status, buf_str(&a.body));
	*ret_body = a.body;
	a.body = (struct buf){0};
	return 0;
}

int call_json(struct cli *c, const char *method, const char *target, struct str body, struct buf *ret_body,
	      struct json **ret)
{
	struct err e = {0};

	if (call_daemon(c, method, target, body, ret_body) < 0)
		return -1;
	*ret = json_parse(buf_str(ret_body), &e);
	if (*ret)
		return 0;
	err_wrap(&e, "the daemon's answer is not JSON");
	c->exit = cli_fail(&e);
	return -1;
}

struct pipe {
	int status;
	struct buf failed;
	int (*sink)(void *arg, struct str piece);
	void *arg;
};

static int on_piece(void *arg, int status, struct str piece)
{
	struct pipe *p = arg;

	p->status = status;
	if (status < 400)
		return p->sink(p->arg, piece);
	if (p->failed.n < 65536)
		buf_addstr(&p->failed, piece);
	return 0;
}

int call_stream(struct cli *c, const char *method, const char *target, struct str body,
		int (*sink)(void *arg, struct str piece), void *arg)
{
	struct pipe p = {.sink = sink, .arg = arg};
	auto_close int fd = -1;
	struct err e = {0};
	int r;

	if (reach(c, &fd) < 0)
		return -1;
	r = http_call_stream(fd, method, target, body.n ? "Content-Type: application/json\r\n" : NULL, body, on_piece,
			     &p, &e);
	if (r < 0)
		c->exit = cli_fail(&e);
	else if (p.status >= 400)
		r = refused(c, p.status, buf_str(&p.failed));
	buf_done(&p.failed);
	return r < 0 ? -1 : 0;
}

int call_status(struct cli *c, const char *target)
{
	auto_(http_answer_done) struct http_answer a = {0};
	struct err e = {0};
	auto_close int fd = http_connect_unix(c->sock, &e);

	return fd < 0 || http_call(fd, "GET", target, NULL, STR_NULL, 0, &a, &e) < 0 ? -1 : a.status;
}

bool call_alive(struct cli *c)
{
	struct err e = {0};
	auto_close int fd = http_connect_unix(c->sock, &e);

	return fd >= 0;
}

void call_target(struct buf *out, const char *before, const char *name, const char *after)
{
	buf_adds(out, before);
	enc_percent(out, str_of(name), false);
	buf_adds(out, after);
}

void call_query(struct buf *out, const char *name, const char *value)
{
	buf_addc(out, memchr(out->p, '?', out->n) ? '&' : '?');
	buf_adds(out, name);
	buf_addc(out, '=');
	enc_percent(out, str_of(value), false);
}

void call_query_int(struct buf *out, const char *name, int64_t value)
{
	char number[24];

	snprintf(number, sizeof(number), "%lld", (long long)value);
	call_query(out, name, number);
}

bool call_show(struct cli *c, const char *method, const char *target, struct str body, struct json **ret)
{
	auto_buf text = {0};
	auto_json j = NULL;

	if (call_json(c, method, target, body, &text, &j) < 0)
		return false;
	c->exit = CLI_OK;
	if (call_print_json(c, &text))
		return false;
	*ret = take_ptr(j);
	return true;
}

bool call_print_json(struct cli *c, const struct buf *body)
{
	if (!c->json)
		return false;
	fwrite(body->p, 1, body->n, stdout);
	if (!body->n || body->p[body->n - 1] != '\n')
		putchar('\n');
	return true;
}

int call_payload(const char *arg, struct buf *out, struct err *e)
{
	auto_close int fd = -1;

	if (!strcmp(arg, "-"))
		return io_read_all(0, "the payload", LIM_PAYLOAD_BYTES, out, e);
	if (arg[0] != '@') {
		buf_adds(out, arg);
		return 0;
	}
	fd = open(arg + 1, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "open %s", arg + 1);
	return io_read_all(fd, "the payload", LIM_PAYLOAD_BYTES, out, e);
}
