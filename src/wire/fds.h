/* SPDX-License-Identifier: Apache-2.0 */
/* Messages with descriptors on AF_UNIX sockets (SCM_RIGHTS). Every received descriptor is close-on-exec. */
#pragma once
#include <sys/types.h>
#include "base/err.h"
#define FDS_MAX 160 /* per message; the kernel takes 253 */
ssize_t fds_send(int sock, const void *msg, size_t n, const int *fds, unsigned n_fds, int flags); /* -1 errno */
/* Receives one message. *n_fds in: room; out: received. More descriptors than room, or truncation: all closed, -1
 * EMSGSIZE. When this process has no number free for some, the message comes without any: who sent them did no wrong. */
ssize_t fds_recv(int sock, void *msg, size_t n, int *fds, unsigned *n_fds, int flags);
