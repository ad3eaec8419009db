/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program of services in tests: an HTTP server of a thread for each connection, on $PORT (8080). By path:
 *
 *   /status/N      that status          /who      $WHO and an id of its own, different in each instance
 *   /count         reads the body, says how many bytes      /stream/N   N chunks of 64 KiB
 *   /hold          answers never                            /exit/N     exits with N
 *   /ws            an upgrade, and then what it is sent     /get/PORT   what a server on loopback says
 *   /burn          works, and answers never
 *   /well          200, until /ill was asked for             others      the method and the path
 *
 * $GATE: says "waits", and listens after SIGUSR1. $FAIL: exits with that before it listens.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

static unsigned id;
static volatile int ill;

static int write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t w = send(fd, p, n, MSG_NOSIGNAL);

		if (w <= 0)
			return -1;
		p += w, n -= (size_t)w;
	}
	return 0;
}

static int reply(int fd, int status, const char *body)
{
	char text[2048];

	snprintf(text, sizeof(text), "HTTP/1.1 %d Status\r\nContent-Length: %zu\r\n\r\n%s", status, strlen(body), body);
	return write_all(fd, text, strlen(text));
}

static const char *header(const char *head, const char *name)
{
	for (const char *p = strstr(head, "\r\n"); p; p = strstr(p, "\r\n")) {
		p += 2;
		if (!strncasecmp(p, name, strlen(name)) && p[strlen(name)] == ':')
			return p + strlen(name) + 1 + strspn(p + strlen(name) + 1, " ");
	}
	return NULL;
}

/* The body as it comes: so many bytes of it are here. Its length, or -1. */
static long long read_body(int fd, const char *head, const char *have, size_t n)
{
	const char *length = header(head, "Content-Length"), *coding = header(head, "Transfer-Encoding");
	long long want = length ? atoll(length) : 0, got = (long long)n;
	static __thread char buf[65536];
	char tail[8] = "";
	ssize_t r;

	if (!coding) {
		while (got < want) {
			r = recv(fd, buf, sizeof(buf), 0);
			if (r <= 0)
				return -1;
			got += r;
		}
		return want;
	}
	/* Chunked: bytes of a test are never "0\r\n\r\n", which is enough to see the end. */
	memcpy(buf, have, n);
	r = (ssize_t)n;
	for (;;) {
		for (ssize_t i = 0; i < r; i++) {
			memmove(tail, tail + 1, 4);
			tail[4] = buf[i];
			if (!memcmp(tail, "0\r\n\r\n", 5))
				return got;
		}
		r = recv(fd, buf, sizeof(buf), 0);
		if (r <= 0)
			return -1;
		got += r;
	}
}

static int stream(int fd, int n)
{
	static char chunk[65536];

	memset(chunk, 'x', sizeof(chunk));
	if (write_all(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 47) < 0)
		return -1;
	while (n-- > 0)
		if (write_all(fd, "10000\r\n", 7) < 0 || write_all(fd, chunk, sizeof(chunk)) < 0 ||
		    write_all(fd, "\r\n", 2) < 0)
			return -1;
	return write_all(fd, "0\r\n\r\n", 5);
}

static int echo(int fd)
{
	char buf[4096];
	ssize_t n;

	static const char head[] = "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

	if (write_all(fd, head, sizeof(head) - 1) < 0)
		return -1;
	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
		if (write_all(fd, buf, (size_t)n) < 0)
			break;
	return -1;
}

static int wait_for_end(int fd)
{
	char c;

	while (recv(fd, &c, 1, 0) > 0)
		;
	return -1;
}

/* What somebody on loopback says first. */
static int get(int fd, int port)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	static const char ask[] = "GET /who HTTP/1.1\r\nHost: x\r\n\r\n";
	int s = socket(AF_INET, SOCK_STREAM, 0), r;
	char buf[2048];
	ssize_t n = -1;

	if (connect(s, (struct sockaddr *)&at, sizeof(at)) == 0 && write_all(s, ask, sizeof(ask) - 1) == 0)
		n = recv(s, buf, sizeof(buf) - 1, 0);
	buf[n > 0 ? n : 0] = 0;
	r = reply(fd, n > 0 ? 200 : 502, n > 0 && strstr(buf, "\r\n\r\n") ? strstr(buf, "\r\n\r\n") + 4 : buf);
	close(s);
	return r;
}

static int answer(int fd, char *head, const char *body, size_t n)
{
	char path[1024], text[1200];
	long long length;

	if (sscanf(head, "%*s %1023s", path) != 1)
		return -1;
	if (!strncmp(path, "/exit/", 6))
		_exit(atoi(path + 6));
	if (!strcmp(path, "/ws"))
		return echo(fd);
	length = read_body(fd, head, body, n);
	if (length < 0)
		return -1;
	if (!strncmp(path, "/status/", 8))
		return reply(fd, atoi(path + 8), "status");
	if (!strcmp(path, "/well") && ill)
		return reply(fd, 500, "ill");
	if (!strcmp(path, "/ill"))
		ill = 1;
	if (!strncmp(path, "/stream/", 8))
		return stream(fd, atoi(path + 8));
	while (!strcmp(path, "/burn") && recv(fd, text, 1, MSG_DONTWAIT | MSG_PEEK) != 0)
		;
	if (!strncmp(path, "/get/", 5))
		return get(fd, atoi(path + 5));
	if (!strcmp(path, "/hold"))
		return wait_for_end(fd);
	if (!strcmp(path, "/count"))
		snprintf(text, sizeof(text), "%lld", length);
	else if (!strcmp(path, "/who") || !strcmp(path, "/ill"))
		snprintf(text, sizeof(text), "%s %08x", getenv("WHO") ? getenv("WHO") : "?", id);
	else if (!strcmp(path, "/traceparent") && header(head, path + 1))
		snprintf(text, sizeof(text), "%.*s", (int)strcspn(header(head, path + 1), "\r"),
			 header(head, path + 1));
	else
		snprintf(text, sizeof(text), "%.*s %s", (int)strcspn(head, " "), head, path);
	return reply(fd, getenv("STATUS") ? atoi(getenv("STATUS")) : 200, text);
}

static void *serve(void *arg)
{
	int fd = (int)(long)arg;
	char buf[16385], *end;
	size_t n = 0;

	for (;;) {
		ssize_t r = recv(fd, buf + n, sizeof(buf) - 1 - n, 0);

		if (r <= 0)
			break;
		n += (size_t)r;
		buf[n] = 0;
		end = strstr(buf, "\r\n\r\n");
		if (!end)
			continue;
		end[2] = 0;
		if (answer(fd, buf, end + 4, n - (size_t)(end + 4 - buf)) < 0)
			break;
		n = 0; /* no client of these tests pipelines */
	}
	close(fd);
	return NULL;
}

int main(void)
{
	const char *port = getenv("PORT"), *fail = getenv("FAIL");
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(port ? atoi(port) : 8080))};
	int s = socket(AF_INET, SOCK_STREAM, 0), on = 1, sig;
	sigset_t gate;
	pthread_t t;

	getrandom(&id, sizeof(id), 0);
	if (getenv("GATE")) {
		sigemptyset(&gate);
		sigaddset(&gate, SIGUSR1);
		sigprocmask(SIG_BLOCK, &gate, NULL);
		puts("waits");
		fflush(stdout);
		sigwait(&gate, &sig);
	}
	if (fail)
		return atoi(fail);
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(s, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(s, 1024) < 0)
		return 1;
	for (;;) {
		int fd = accept(s, NULL, NULL);

		if (fd >= 0 && pthread_create(&t, NULL, serve, (void *)(long)fd) == 0)
			pthread_detach(t);
	}
}
