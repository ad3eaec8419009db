/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/forward.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include "base/mem.h"
#include "base/rand.h"
#include "instance/resolver.h"

#define HEAD	       12
#define OPT_BYTES      11
#define TYPE_OPT       41
#define RCODE_SERVFAIL 2
#define ROUNDS	       2 /* of all resolvers */

struct forward {
	struct loop *loop;
	struct sockaddr_in6 server[FORWARD_SERVERS]; /* v4 as v4-mapped */
	unsigned n_servers, n;
};

struct forward_ask {
	struct forward_ask *next;
	struct forward *f;
	struct forward_list *list;
	int sock, udp;
	struct loop_fd *watch;
	struct loop_timer *timer;
	unsigned tries;
	int64_t due_us;
	struct sockaddr_in to;
	uint8_t id[2]; /* the sandbox's own */
	size_t n, question_end;
	uint8_t sent[RESOLVER_MESSAGE_MAX + OPT_BYTES];
};

/* --- messages --- */

static unsigned u16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

/* RFC 6891: the only record that a question brings along. How much the asker takes, and whether it wants signatures. */
static bool has_opt(const uint8_t *q, size_t n, size_t end)
{
	return !u16(q + 6) && !u16(q + 8) && u16(q + 10) == 1 && n - end >= OPT_BYTES && !q[end] &&
	       u16(q + end + 1) == TYPE_OPT;
}

size_t forward_query(const uint8_t *q, size_t n, size_t end, uint16_t id, uint8_t *out)
{
	unsigned takes;

	memcpy(out, q, end);
	out[0] = (uint8_t)(id >> 8), out[1] = (uint8_t)id;
	out[2] = 1;			 /* a question, recursion desired */
	out[3] = (uint8_t)(q[3] & 0x30); /* AD, CD */
	memset(out + 6, 0, 6);
	if (!has_opt(q, n, end))
		return end;
	takes = u16(q + end + 3);
	takes = takes < 512 ? 512 : takes > FORWARD_ANSWER_MAX ? FORWARD_ANSWER_MAX : takes;
	memset(out + end, 0, OPT_BYTES);
	out[11] = 1;
	out[end + 2] = TYPE_OPT;
	out[end + 3] = (uint8_t)(takes >> 8), out[end + 4] = (uint8_t)takes;
	out[end + 7] = q[end + 7] & 0x80; /* DO */
	return end + OPT_BYTES;
}

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

bool forward_matches(const uint8_t *sent, size_t end, const uint8_t *a, size_t n)
{
	if (n < end || memcmp(sent, a, 2) || !(a[2] & 0x80) || a[2] & 0x78 || u16(a + 4) != 1)
		return false;
	for (size_t i = HEAD; i < end; i++)
		if (lower(sent[i]) != lower(a[i]))
			return false;
	return true;
}

static bool nameserver(struct str line, struct sockaddr_in6 *ret)
{
	char text[INET6_ADDRSTRLEN + 16], mapped[INET6_ADDRSTRLEN + 32];
	struct str word, rest;

	if (!str_cut(str_trim(line), ' ', &word, &rest) || !str_eqc(word, "nameserver"))
		return false;
	snprintf(text, sizeof(text), STR_FMT, STR_ARG(str_trim(rest)));
	snprintf(mapped, sizeof(mapped), "%s%s", strchr(text, ':') ? "" : "::ffff:", text);
	*ret = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(53)};
	return inet_pton(AF_INET6, mapped, &ret->sin6_addr) == 1;
}

unsigned forward_servers(struct str text, struct sockaddr_in6 ret[FORWARD_SERVERS])
{
	auto_free char *copy = str_dup(text);
	unsigned n = 0;

	for (char *p = copy; *p; p++)
		if (*p == '\t' || *p == '\r')
			*p = ' ';
	for (struct str rest = str_of(copy), line; n < FORWARD_SERVERS && str_next(&rest, '\n', &line);)
		n += nameserver(line, &ret[n]);
	if (!n)
		n += nameserver(STR("nameserver 127.0.0.1"), &ret[0]);
	return n;
}

/* --- one question --- */

static void ask_free(struct forward_ask *a)
{
	for (struct forward_ask **at = &a->list->first; *at; at = &(*at)->next)
		if (*at == a) {
			*at = a->next;
			break;
		}
	a->list->n--;
	a->f->n--;
	loop_fd_free(a->watch);
	if (a->sock >= 0)
		close(a->sock);
	loop_timer_free(a->timer);
	free(a);
}

/* What the sandbox's socket does not take is lost like any datagram: the client asks again. */
static void reply(struct forward_ask *a, uint8_t *message, size_t n)
{
	memcpy(message, a->id, sizeof(a->id));
	(void)sendto(a->udp, message, n, MSG_DONTWAIT, (const struct sockaddr *)&a->to, sizeof(a->to));
	ask_free(a);
}

static void nobody_answers(struct forward_ask *a)
{
	a->sent[2] = 0x81, a->sent[3] = 0x80 | RCODE_SERVFAIL;
	memset(a->sent + 6, 0, 6);
	reply(a, a->sent, a->question_end);
}

static void on_answer(void *arg, int events);

/* A socket of the kind that reaches v4 and v6; another port for each try. */
static bool send_to(struct forward_ask *a, const struct sockaddr_in6 *server)
{
	int off = 0;

	loop_fd_free(take_ptr(a->watch));
	if (a->sock >= 0)
		close(a->sock);
	a->sock = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (a->sock < 0 || setsockopt(a->sock, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0 ||
	    connect(a->sock, (const struct sockaddr *)server, sizeof(*server)) < 0 ||
	    send(a->sock, a->sent, a->n, MSG_NOSIGNAL) != (ssize_t)a->n)
		return false;
	a->watch = loop_fd_new(a->f->loop, a->sock, LOOP_READ, on_answer, a);
	return true;
}

static void try_next(void *arg)
{
	struct forward_ask *a = arg;
	struct forward *f = a->f;
	int64_t left = a->due_us - loop_now_us(f->loop);

	while (left > 0 && a->tries < ROUNDS * f->n_servers)
		if (send_to(a, &f->server[a->tries++ % f->n_servers])) {
			loop_timer_in(a->timer, left < FORWARD_TRY_US ? left : FORWARD_TRY_US);
			return;
		}
	nobody_answers(a);
}

static void on_answer(void *arg, int events)
{
	struct forward_ask *a = arg;
	uint8_t message[FORWARD_ANSWER_MAX];
	ssize_t n = recv(a->sock, message, sizeof(message), MSG_DONTWAIT | MSG_TRUNC);

	if (n > (ssize_t)sizeof(message) || (n >= 0 && !forward_matches(a->sent, a->question_end, message, (size_t)n)))
		return; /* not what was asked for, or more than was asked for: the right one may still come */
	if (n >= 0)
		reply(a, message, (size_t)n);
	else if (errno != EAGAIN && errno != EINTR)
		try_next(a); /* nothing listens there */
}

bool forward_start(struct forward *f, struct forward_list *list, const uint8_t *q, size_t n, size_t end, int udp,
		   const struct sockaddr_in *to)
{
	struct forward_ask *a;
	uint16_t id;

	if (f->n >= FORWARD_MAX || list->n >= FORWARD_PER_RESOLVER || n > RESOLVER_MESSAGE_MAX)
		return false;
	a = xcalloc(1, sizeof(*a));
	*a = (struct forward_ask){.f = f,
				  .list = list,
				  .next = list->first,
				  .sock = -1,
				  .udp = udp,
				  .to = *to,
				  .question_end = end,
				  .due_us = loop_now_us(f->loop) + FORWARD_US};
	list->first = a;
	list->n++;
	f->n++;
	memcpy(a->id, q, sizeof(a->id));
	rand_bytes(&id, sizeof(id));
	a->n = forward_query(q, n, end, id, a->sent);
	a->timer = loop_timer_new(f->loop, try_next, a);
	try_next(a);
	return true;
}

void forward_cancel(struct forward_list *list)
{
	while (list->first)
		ask_free(list->first);
}

struct forward *forward_new(struct loop *l, struct str resolv_conf)
{
	struct forward *f = xcalloc(1, sizeof(*f));

	f->loop = l;
	f->n_servers = forward_servers(resolv_conf, f->server);
	return f;
}

void forward_free(struct forward *f)
{
	free(f);
}
