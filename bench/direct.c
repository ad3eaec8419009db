/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference for what Tandem adds: starts one runtime with no sandbox and no daemon, gives it the same event again
 *and again, and prints one line of JSON: microseconds from fork to ready, from fork to the first answer, and per later
 *answer.
 *
 *	direct frames      EVENT_FILE COUNT PROGRAM [ARG...]    an in-house runtime, frames on descriptor 4
 *(wire/frame.h) direct runtime-api EVENT_FILE COUNT PROGRAM [ARG...]    a bootstrap; this program is its Lambda Runtime
 *API
 *
 * Blocking, one connection, nothing checked that a measured program of our own could get wrong without being noticed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include "base/clock.h"
#include "base/io.h"
#include "wire/frame.h"

#define EVENT_MAX    32768
#define REQUEST_ID   "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
#define FUNCTION_ARN "arn:aws:lambda:us-east-1:000000000000:function:bench"

struct runtime {
	pid_t pid;
	int sock;     /* frames, or the connection that the bootstrap opened */
	int listener; /* runtime-api; -1 otherwise */
	int64_t fork_us, ready_us;
	char in[131072]; /* what has arrived and is not used yet */
	size_t have;
};

static void die(const char *what)
{
	fprintf(stderr, "direct: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void fill(struct runtime *r)
{
	struct pollfd p = {.fd = r->sock, .events = POLLIN};
	ssize_t n;

	/* Sleeping in read, it would be woken also when the runtime takes what we sent. */
	poll(&p, 1, -1);
	n = read(r->sock, r->in + r->have, sizeof(r->in) - 1 - r->have);

	if (n <= 0) {
		if (n == 0)
			errno = ECONNRESET;
		die("the runtime went away");
	}
	r->have += (size_t)n;
	r->in[r->have] = 0;
}

static void drop(struct runtime *r, size_t n)
{
	memmove(r->in, r->in + n, r->have - n + 1);
	r->have -= n;
}

/* Starts the program with its end of the channel at descriptor 4 and its output at /dev/null. */
static void start(struct runtime *r, int theirs, char **argv)
{
	r->fork_us = clock_now_us();
	r->pid = fork();
	if (r->pid < 0)
		die("fork");
	if (r->pid > 0)
		return;
	int null = open("/dev/null", O_RDWR);

	dup2(null, 0);
	dup2(null, 1);
	if (theirs >= 0 &&
	    (dup2(theirs, 4) < 0 || fcntl(4, F_SETFD, 0) < 0)) /* theirs may be 4 already: dup2 then changes nothing */
		_exit(127);
	execv(argv[0], argv);
	_exit(127);
}

/* Frames. */

static void frame_wait(struct runtime *r, enum frame_type want)
{
	struct frame f;
	struct err e;

	while (r->have < FRAME_HEADER)
		fill(r);
	if (frame_get((const uint8_t *)r->in, &f, &e) < 0) {
		fprintf(stderr, "direct: %s\n", e.text);
		exit(1);
	}
	while (r->have < FRAME_HEADER + f.length)
		fill(r);
	if (f.type != want) {
		fprintf(stderr, "direct: frame of type %d: %.*s\n", f.type, (int)f.length, r->in + FRAME_HEADER);
		exit(1);
	}
	drop(r, FRAME_HEADER + f.length);
}

static size_t put_string(uint8_t *at, const char *s)
{
	size_t n = strlen(s);

	at[0] = (uint8_t)n;
	at[1] = (uint8_t)(n >> 8);
	memcpy(at + 2, s, n);
	return n + 2;
}

static size_t frame_event(uint8_t *out, uint32_t stream, const char *event, size_t event_bytes)
{
	int64_t deadline_ms = clock_wall_us() / 1000 + 60000;
	size_t n = FRAME_HEADER;

	for (int i = 0; i < 8; i++)
		out[n++] = (uint8_t)(deadline_ms >> (8 * i));
	n += put_string(out + n, REQUEST_ID);
	n += put_string(out + n, FUNCTION_ARN);
	n += put_string(out + n, "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0");
	n += put_string(out + n, "");
	n += put_string(out + n, "");
	memcpy(out + n, event, event_bytes);
	n += event_bytes;
	struct frame f = {
		.type = FRAME_EVENT, .flags = FRAME_FLAG_END, .stream = stream, .length = (uint32_t)(n - FRAME_HEADER)};

	frame_put(out, &f);
	return n;
}

static void frames_start(struct runtime *r, char **argv)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		die("socketpair");
	setenv("TANDEM_FD", "4", 1);
	start(r, pair[1], argv);
	close(pair[1]);
	r->sock = pair[0];
	frame_wait(r, FRAME_HELLO);
	r->ready_us = clock_now_us();
}

static void frames_call(struct runtime *r, uint32_t stream, const char *event, size_t event_bytes)
{
	static uint8_t out[EVENT_MAX + 1024];
	struct err e;

	if (io_write_all(r->sock, out, frame_event(out, stream, event, event_bytes), &e) < 0)
		die(e.text);
	frame_wait(r, FRAME_DATA);
}

/* Runtime API: "next" waits until we answer it with an event; "response" brings the answer and gets 202. */

static void request_wait(struct runtime *r)
{
	char *end, *length;
	size_t body = 0;

	while (!(end = memmem(r->in, r->have, "\r\n\r\n", 4))) {
		if (r->have == sizeof(r->in) - 1)
			die("request head too long");
		fill(r);
	}
	length = strcasestr(r->in, "\r\ncontent-length:");
	if (length && length < end)
		body = strtoul(length + 17, NULL, 10);
	size_t head = (size_t)(end + 4 - r->in);

	if (body >= sizeof(r->in) - head)
		die("request body too long");
	while (r->have < head + body)
		fill(r);
	drop(r, head + body);
}

static void connection_wait(struct runtime *r)
{
	int one = 1;

	r->sock = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC);
	if (r->sock < 0)
		die("accept");
	setsockopt(r->sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void runtime_api_start(struct runtime *r, char **argv)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(a);
	char where[32];

	r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (r->listener < 0 || bind(r->listener, (struct sockaddr *)&a, n) < 0 || listen(r->listener, 4) < 0 ||
	    getsockname(r->listener, (struct sockaddr *)&a, &n) < 0)
		die("listen");
	snprintf(where, sizeof(where), "127.0.0.1:%d", ntohs(a.sin_port));
	setenv("AWS_LAMBDA_RUNTIME_API", where, 1);
	start(r, -1, argv);
	connection_wait(r);
	request_wait(r); /* next */
	r->ready_us = clock_now_us();
}

static void runtime_api_call(struct runtime *r, const char *event, size_t event_bytes)
{
	static char out[EVENT_MAX + 1024];
	struct err e;
	int n = snprintf(
		out, 1024,
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: " REQUEST_ID "\r\n"
		"Lambda-Runtime-Invoked-Function-Arn: " FUNCTION_ARN
		"\r\nLambda-Runtime-Deadline-Ms: %lld\r\nContent-Length: %zu\r\n\r\n",
		(long long)(clock_wall_us() / 1000 + 60000), event_bytes);

	memcpy(out + n, event, event_bytes);
	if (io_write_all(r->sock, out, (size_t)n + event_bytes, &e) < 0)
		die(e.text);
	request_wait(r); /* response */
}

static void runtime_api_answered(struct runtime *r)
{
	static const char accepted[] = "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: "
				       "16\r\n\r\n{\"status\":\"OK\"}\n";
	struct err e;

	if (io_write_all(r->sock, accepted, sizeof(accepted) - 1, &e) < 0)
		die(e.text);
	request_wait(r); /* next */
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void report(const struct runtime *r, int64_t first_us, int64_t *took, int n)
{
	qsort(took, (size_t)n, sizeof(*took), by_value);
	printf("{\"ready_us\": %lld, \"first_us\": %lld, \"count\": %d, \"p50_us\": %lld, \"p99_us\": %lld}\n",
	       (long long)(r->ready_us - r->fork_us), (long long)(first_us - r->fork_us), n, (long long)took[n / 2],
	       (long long)took[(int64_t)n * 99 / 100]);
}

int main(int argc, char **argv)
{
	static struct runtime r = {.listener = -1};
	struct buf event = {0};
	struct err e;

	if (argc < 5 || atoi(argv[3]) < 1) {
		fprintf(stderr, "usage: direct frames|runtime-api EVENT_FILE COUNT PROGRAM [ARG...]\n");
		return 2;
	}
	if (io_read_file(AT_FDCWD, argv[2], EVENT_MAX, &event, &e) < 0) {
		fprintf(stderr, "direct: %s\n", e.text);
		return 1;
	}
	bool frames = strcmp(argv[1], "frames") == 0;
	int count = atoi(argv[3]);
	int64_t *took = calloc((size_t)count, sizeof(*took));
	int64_t first_us = 0;

	signal(SIGPIPE, SIG_IGN);
	if (frames)
		frames_start(&r, argv + 4);
	else
		runtime_api_start(&r, argv + 4);
	for (int i = 0; took && i < count; i++) {
		int64_t begin = clock_now_us();

		if (frames)
			frames_call(&r, (uint32_t)i + 1, event.p, event.n);
		else
			runtime_api_call(&r, event.p, event.n);
		took[i] = clock_now_us() - begin;
		if (i == 0)
			first_us = clock_now_us();
		if (!frames)
			runtime_api_answered(&r);
	}
	kill(r.pid, SIGKILL);
	waitpid(r.pid, NULL, 0);
	if (took)
		report(&r, first_us, took, count);
	free(took);
	buf_done(&event);
	return 0;
}
