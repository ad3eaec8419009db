/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/fds.h"
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* Room for more than is ever taken: what does not fit here the kernel would drop, and we could not tell how many. */
#define ROOM (FDS_MAX + 1)

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int) * ROOM)];
};

ssize_t fds_send(int sock, const void *msg, size_t n, const int *fds, unsigned n_fds, int flags)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)msg, .iov_len = n};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	union control control;
	ssize_t put;

	assert(n_fds <= FDS_MAX);
	if (n_fds) {
		struct cmsghdr *cm;

		memset(&control, 0, sizeof(control));
		mh.msg_control = control.bytes;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		cm = CMSG_FIRSTHDR(&mh);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(cm), fds, sizeof(int) * n_fds);
	}
	do
		put = sendmsg(sock, &mh, flags | MSG_NOSIGNAL);
	while (put < 0 && errno == EINTR);
	return put;
}

/* Collects what came; ret_n counts all, also what there is no room for (that is closed here). */
static void collect(struct msghdr *mh, int *fds, unsigned room, unsigned *ret_n)
{
	unsigned n = 0;

	for (struct cmsghdr *cm = CMSG_FIRSTHDR(mh); cm; cm = CMSG_NXTHDR(mh, cm)) {
		const unsigned char *data = CMSG_DATA(cm);

		if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; cm->cmsg_len - CMSG_LEN(0) - at >= sizeof(int); at += sizeof(int), n++) {
			int fd;

			memcpy(&fd, data + at, sizeof(fd));
			if (n < room)
				fds[n] = fd;
			else
				close(fd);
		}
	}
	*ret_n = n;
}

ssize_t fds_recv(int sock, void *msg, size_t n, int *fds, unsigned *n_fds, int flags)
{
	struct iovec iov = {.iov_base = msg, .iov_len = n};
	union control control;
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	unsigned room = *n_fds, came = 0;
	ssize_t got;

	do
		got = recvmsg(sock, &mh, flags | MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -1;
	collect(&mh, fds, room, &came);
	*n_fds = came;
	if (came <= room && !(mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return got;
	for (unsigned i = 0; i < came && i < room; i++)
		close(fds[i]);
	*n_fds = 0;
	/* With room for all of them, it is the limit of open files that cut them off. */
	if (came <= room && !(mh.msg_flags & MSG_TRUNC))
		return got;
	errno = EMSGSIZE;
	return -1;
}
