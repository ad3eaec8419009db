/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Lambda function in C without a library: a program that speaks the Runtime API over one socket.
 *
 *	gcc -O2 -Wall -static -o bootstrap bootstrap.c
 *
 * GET .../invocation/next waits for an event; the answer is POSTed with the event's id. Two things make it
 * fast: the connection is kept, and the answer travels in one write together with the request for the next
 * event, so that an event costs this program two or three system calls. When the platform restarts, the
 * connection breaks: it is made again.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define PATH	 "/2018-06-01/runtime/"
#define BODY_MAX 6291556 /* the largest event and the largest answer, in bytes */
#define HEAD_MAX 65536

struct event {
	char id[128];
	const char *body;
	size_t n;
};

/*
 * Writes the answer, JSON, to out and gives its length. -1: the function failed, and out holds
 * {"errorType": ..., "errorMessage": ...}, ended by a NUL.
 */
static long handle(const struct event *ev, char *out, size_t room)
{
	static const char answer[] = "{\"message\": \"hello\"}";

	(void)ev;
	(void)room;
	memcpy(out, answer, sizeof(answer) - 1);
	return sizeof(answer) - 1;
}

struct api {
	struct sockaddr_in to;
	char name[64];	/* for the Host header */
	char next[256]; /* the request for the next event, ready to be sent */
	size_t next_n;
	int fd;
	char *in; /* what was received; the answer in hand begins at 0 */
	size_t have;
};

struct reply {
	int status;
	size_t head_n, body_n;
	char id[128];
};

static int api_connect(struct api *a)
{
	int one = 1;

	if (a->fd >= 0)
		close(a->fd);
	a->have = 0;
	a->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (a->fd < 0 || connect(a->fd, (struct sockaddr *)&a->to, sizeof(a->to)) < 0)
		return -1;
	return setsockopt(a->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static int api_open(struct api *a, const char *where)
{
	const char *colon = where ? strchr(where, ':') : NULL;

	if (!colon || (size_t)(colon - where) >= sizeof(a->name))
		return -1;
	memcpy(a->name, where, colon - where);
	a->to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(colon + 1))};
	if (inet_pton(AF_INET, a->name, &a->to.sin_addr) != 1)
		return -1;
	a->next_n =
		snprintf(a->next, sizeof(a->next), "GET " PATH "invocation/next HTTP/1.1\r\nHost: %s\r\n\r\n", a->name);
	a->in = malloc(HEAD_MAX + BODY_MAX + HEAD_MAX);
	a->fd = -1;
	return a->in ? api_connect(a) : -1;
}

static int send_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t k = send(fd, p, n, MSG_NOSIGNAL);

		if (k < 0 && errno != EINTR)
			return -1;
		if (k > 0)
			p += k, n -= k;
	}
	return 0;
}

static int receive_more(struct api *a)
{
	ssize_t k;

	if (a->have == HEAD_MAX + BODY_MAX + HEAD_MAX)
		return -1;
	do
		k = recv(a->fd, a->in + a->have, HEAD_MAX + BODY_MAX + HEAD_MAX - a->have, 0);
	while (k < 0 && errno == EINTR);
	if (k <= 0)
		return -1;
	a->have += k;
	return 0;
}

/* Looks only at the two headers that it needs. */
static void read_head(const char *p, const char *end, struct reply *r)
{
	static const char id[] = "lambda-runtime-aws-request-id:", length[] = "content-length:";

	while (p < end) {
		const char *eol = memchr(p, '\n', end - p);

		if (!eol)
			return;
		if ((*p | 32) == 'c' && !strncasecmp(p, length, sizeof(length) - 1)) {
			r->body_n = strtoul(p + sizeof(length) - 1, NULL, 10);
		} else if ((*p | 32) == 'l' && !strncasecmp(p, id, sizeof(id) - 1)) {
			p += sizeof(id) - 1;
			p += strspn(p, " ");
			size_t n = strcspn(p, "\r\n");

			if (n < sizeof(r->id)) {
				memcpy(r->id, p, n);
				r->id[n] = 0;
			}
		}
		p = eol + 1;
	}
}

/* One whole answer, which then begins at in[0] and stays there until reply_done. */
static int receive_reply(struct api *a, struct reply *r)
{
	const char *end;

	*r = (struct reply){0};
	while (!(end = a->have ? memmem(a->in, a->have, "\r\n\r\n", 4) : NULL))
		if (a->have > HEAD_MAX || receive_more(a) < 0)
			return -1;
	r->head_n = end + 4 - a->in;
	if (r->head_n < 16 || memcmp(a->in, "HTTP/1.1 ", 9))
		return -1;
	r->status = atoi(a->in + 9);
	read_head(a->in, end + 2, r);
	if (r->body_n > BODY_MAX)
		return -1;
	while (a->have < r->head_n + r->body_n)
		if (receive_more(a) < 0)
			return -1;
	return 0;
}

static void reply_done(struct api *a, const struct reply *r)
{
	size_t n = r->head_n + r->body_n;

	memmove(a->in, a->in + n, a->have - n);
	a->have -= n;
}

/* The whole answer to an event, with the request for the next one behind it. */
static size_t put_answer(struct api *a, const struct event *ev, char *out, char *body)
{
	long n = handle(ev, body, BODY_MAX);
	const char *what = n < 0 ? "error" : "response";
	size_t at;

	if (n < 0)
		n = strlen(body);
	at = snprintf(out, HEAD_MAX,
		      "POST " PATH "invocation/%s/%s HTTP/1.1\r\nHost: %s\r\nContent-Length: %ld\r\n\r\n", ev->id, what,
		      a->name, n);
	memcpy(out + at, body, n);
	memcpy(out + at + n, a->next, a->next_n);
	return at + n + a->next_n;
}

/* Serves until the connection breaks; gives the number of events. */
static unsigned long serve(struct api *a, char *out, char *body)
{
	struct reply r;

	if (send_all(a->fd, a->next, a->next_n) < 0)
		return 0;
	for (unsigned long served = 0;; served++) {
		if (receive_reply(a, &r) < 0 || r.status != 200 || !r.id[0])
			return served;
		struct event ev = {.body = a->in + r.head_n, .n = r.body_n};

		memcpy(ev.id, r.id, sizeof(ev.id));
		size_t n = put_answer(a, &ev, out, body);

		reply_done(a, &r);
		if (send_all(a->fd, out, n) < 0 || receive_reply(a, &r) < 0)
			return served;
		reply_done(a, &r); /* also when the platform refused it: it has said so in the log */
	}
}

int main(void)
{
	struct api a = {.fd = -1};
	char *out = malloc(HEAD_MAX + BODY_MAX + HEAD_MAX), *body = malloc(BODY_MAX);

	if (!out || !body || api_open(&a, getenv("AWS_LAMBDA_RUNTIME_API")) < 0) {
		fprintf(stderr, "bootstrap: no Runtime API: %s\n", strerror(errno));
		return 1;
	}
	for (int tries = 0; tries < 10; tries++) {
		if (serve(&a, out, body) > 0)
			tries = 0;
		if (api_connect(&a) < 0)
			break;
	}
	fprintf(stderr, "bootstrap: the Runtime API is gone: %s\n", strerror(errno));
	return 1;
}
