/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "tests/test.h"
#include "wire/fds.h"

static int count_open(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

TEST(passes_descriptors)
{
	int sv[2], p[2], got[4];
	unsigned n = ARRAY_SIZE(got);
	char msg[16], c = 0;
	int before = count_open();

	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv));
	CHECK(!pipe(p));
	CHECK(fds_send(sv[0], "hello", 5, p, 2, 0) == 5);
	CHECK(fds_recv(sv[1], msg, sizeof(msg), got, &n, 0) == 5);
	CHECK(n == 2 && !memcmp(msg, "hello", 5));
	CHECK(fcntl(got[0], F_GETFD) == FD_CLOEXEC);
	CHECK(write(got[1], "x", 1) == 1 && read(p[0], &c, 1) == 1 && c == 'x');
	for (int i = 0; i < 2; i++)
		close(sv[i]), close(p[i]), close(got[i]);
	CHECK(count_open() == before);
}

/* Not the sender's fault, and nothing may stay open. */
TEST(no_number_is_free)
{
	int sv[2], got[4], four[4];
	unsigned n = ARRAY_SIZE(got);
	char msg[16];
	struct rlimit old;
	int before = count_open();

	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv));
	for (size_t i = 0; i < ARRAY_SIZE(four); i++)
		four[i] = sv[0];
	CHECK(fds_send(sv[0], "hello", 5, four, ARRAY_SIZE(four), 0) == 5);
	CHECK(!getrlimit(RLIMIT_NOFILE, &old));
	CHECK(!setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)sv[1] + 3, old.rlim_max}));
	CHECK(fds_recv(sv[1], msg, sizeof(msg), got, &n, 0) == 5 && n == 0 && !memcmp(msg, "hello", 5));
	CHECK(!setrlimit(RLIMIT_NOFILE, &old));
	close(sv[0]), close(sv[1]);
	CHECK(count_open() == before);
}

TEST(none_and_too_many)
{
	int sv[2], got[2] = {-1, -1}, many[FDS_MAX];
	char msg[16];
	unsigned n = 2;
	int before = count_open();

	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv));
	CHECK(fds_send(sv[0], "a", 1, NULL, 0, 0) == 1);
	CHECK(fds_recv(sv[1], msg, sizeof(msg), got, &n, 0) == 1 && n == 0);
	for (size_t i = 0; i < FDS_MAX; i++)
		many[i] = sv[0];
	n = 2;
	CHECK(fds_send(sv[0], "b", 1, many, FDS_MAX, 0) == 1);
	CHECK(fds_recv(sv[1], msg, sizeof(msg), got, &n, 0) == -1 && errno == EMSGSIZE && n == 0);
	n = 2;
	CHECK(fds_send(sv[0], "0123456789abcdefg", 17, many, 1, 0) == 17);
	CHECK(fds_recv(sv[1], msg, sizeof(msg), got, &n, 0) == -1 && errno == EMSGSIZE);
	n = 2;
	CHECK(fds_recv(sv[1], msg, sizeof(msg), got, &n, MSG_DONTWAIT) == -1 && errno == EAGAIN);
	close(sv[0]), close(sv[1]);
	CHECK(count_open() == before);
}
