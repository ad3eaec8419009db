/* SPDX-License-Identifier: Apache-2.0 */
/* Two socket pairs with a tunnel between: what one end says, the other end hears. */
#include <arpa/inet.h>

#include "http/tunnel.h"
#include "tests/http/fixture.h"

struct talk {
	struct side x; /* for its loop */
	struct tunnel t;
	int ends[2]; /* ours */
	int dones;
};

static void on_done(struct tunnel *t)
{
	container_of(t, struct talk, t)->dones++;
}

static void talk_open(struct talk *k, const struct str first[2])
{
	int pairs[2][2], inner[2];

	*k = (struct talk){.x.l = loop_new(), .t.done = on_done};
	for (int i = 0; i < 2; i++) {
		CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pairs[i]));
		k->ends[i] = pairs[i][0];
		inner[i] = pairs[i][1];
	}
	tunnel_start(&k->t, k->x.l, inner, first);
	CHECK(!k->dones);
}

static void talk_close(struct talk *k)
{
	tunnel_cancel(&k->t);
	tunnel_cancel(&k->t);
	for (int i = 0; i < 2; i++)
		if (k->ends[i] >= 0)
			close(k->ends[i]);
	loop_free(k->x.l);
}

static const struct str nothing[2] = {{NULL, 0}, {NULL, 0}};

/* Waits until this, and nothing else, came; want "": the end. */
static void hear(struct talk *k, int i, const char *want)
{
	char got[64] = "";
	size_t n = 0;
	ssize_t r = -1;

	do {
		turn(&k->x);
		r = recv(k->ends[i], got + n, sizeof(got) - 1 - n, 0);
		n += r > 0 ? (size_t)r : 0;
		got[n] = 0;
	} while (r && n < strlen(want));
	CHECK_STR(got, want);
	if (!*want)
		CHECK(r == 0);
}

TEST(both_ways_and_halves)
{
	struct talk k;

	talk_open(&k, (const struct str[2]){STR("from a"), STR("from b")});
	hear(&k, 0, "from b");
	hear(&k, 1, "from a");
	CHECK(send(k.ends[0], "one", 3, 0) == 3);
	hear(&k, 1, "one");
	/* Half of it ends, the other half goes on. */
	shutdown(k.ends[0], SHUT_WR);
	hear(&k, 1, "");
	CHECK(send(k.ends[1], "two", 3, 0) == 3);
	hear(&k, 0, "two");
	CHECK(!k.dones);
	shutdown(k.ends[1], SHUT_WR);
	hear(&k, 0, "");
	while (!k.dones)
		turn(&k.x);
	CHECK(k.dones == 1 && k.t.bytes[0] == 3 && k.t.bytes[1] == 3);
	talk_close(&k);
}

TEST(reader_that_does_not_read)
{
	static char piece[65536];
	const size_t size = 16 << 20;
	struct talk k;
	size_t sent = 0, got = 0;
	ssize_t n;
	int idle = 0;

	talk_open(&k, nothing);
	while (idle < 3) {
		n = send(k.ends[0], piece, sizeof(piece), MSG_NOSIGNAL);
		sent += n > 0 ? (size_t)n : 0;
		idle = n > 0 ? 0 : idle + 1;
		turn(&k.x);
		CHECK(k.t.ends[1].out.cap <= 65536 + 1);
	}
	CHECK(sent < size / 2);
	/* The other direction does not wait for this one. */
	CHECK(send(k.ends[1], "hello", 5, 0) == 5);
	hear(&k, 0, "hello");
	/* The end comes after all that was before it. */
	do {
		if (sent < size && (n = send(k.ends[0], piece, sizeof(piece), MSG_NOSIGNAL)) > 0)
			sent += (size_t)n;
		if (sent >= size)
			shutdown(k.ends[0], SHUT_WR);
		turn(&k.x);
		n = recv(k.ends[1], piece, sizeof(piece), 0);
		got += n > 0 ? (size_t)n : 0;
	} while (n);
	CHECK(got == sent && !k.t.ends[1].out.cap);
	talk_close(&k);
}

TEST(breaks)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(sin);
	struct talk k;
	int pair[2], listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fds[2] = {-1, socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};

	/* One end is gone: what the other says has nowhere to go. */
	talk_open(&k, nothing);
	close(take_fd(k.ends[0]));
	hear(&k, 1, "");
	CHECK(send(k.ends[1], "lost", 4, MSG_NOSIGNAL) == 4);
	while (!k.dones)
		turn(&k.x);
	CHECK(k.dones == 1);
	talk_close(&k);
	/* A socket that is connecting still, to where nobody listens. */
	CHECK(!bind(listener, (struct sockaddr *)&sin, n) && !getsockname(listener, (struct sockaddr *)&sin, &n));
	k = (struct talk){.x.l = loop_new(), .t.done = on_done, .ends = {-1, -1}};
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair));
	k.ends[0] = pair[0];
	fds[0] = pair[1];
	CHECK(connect(fds[1], (struct sockaddr *)&sin, n) < 0);
	tunnel_start(&k.t, k.x.l, fds, nothing);
	while (!k.dones)
		turn(&k.x);
	hear(&k, 0, "");
	close(listener);
	talk_close(&k);
}
