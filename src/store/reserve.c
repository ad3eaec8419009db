/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room on the disk that is kept for a start while it is full: SQLite cannot open a database without writing. Each such
 * start may take a piece; whoever has room again fills it up.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include "base/log.h"
#include "store/store_int.h"

#define RESERVE_BYTES (1 << 20)
#define PIECE_BYTES   (128 << 10)

static int reserve_file(int dirfd)
{
	return openat(dirfd, "reserve", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
}

void reserve_fill(int dirfd)
{
	auto_close int fd = reserve_file(dirfd);

	if (fd >= 0)
		(void)posix_fallocate(fd, 0, RESERVE_BYTES); /* all, or as before: tried again after the next sweep */
}

bool reserve_take(int dirfd)
{
	auto_close int fd = reserve_file(dirfd);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < PIECE_BYTES || ftruncate(fd, st.st_size - PIECE_BYTES) < 0)
		return false;
	log_warn("store", "%d KiB of the %d that are kept for a full disk are given up: make room", PIECE_BYTES >> 10,
		 RESERVE_BYTES >> 10);
	return true;
}
