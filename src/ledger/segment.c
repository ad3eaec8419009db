/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger/segment.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include "base/mem.h"
#include "base/str.h"

#define IOV_ONCE 512

static int by_number(const void *a, const void *b)
{
	const struct segment_name *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

/* The digits before the suffix. */
static bool name_number(const char *name, const char *prefix, const char *suffix, uint32_t *ret)
{
	struct str s = str_of(name);
	uint64_t v = 0, ten = 1;
	size_t i;

	if (s.n >= SEGMENT_NAME_BYTES || !str_starts(s, prefix) || !str_ends(s, suffix))
		return false;
	s.n -= strlen(suffix);
	for (i = s.n; i > strlen(prefix) && s.n - i < 9 && s.p[i - 1] >= '0' && s.p[i - 1] <= '9'; i--, ten *= 10)
		v += ten * (uint64_t)(s.p[i - 1] - '0');
	*ret = (uint32_t)v;
	return i < s.n && v > 0;
}

int segment_list(int dirfd, const char *prefix, const char *suffix, struct segment_name **ret, size_t *ret_n,
		 struct err *e)
{
	auto_free struct segment_name *v = NULL;
	size_t n = 0, cap = 0;
	struct dirent *d;
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir) {
		int sys = errno;

		if (fd >= 0)
			close(fd);
		return err_sys(e, sys, "list segments");
	}
	while ((d = readdir(dir))) {
		uint32_t number;

		if (!name_number(d->d_name, prefix, suffix, &number))
			continue;
		if (n == cap)
			v = xrealloc(v, (cap = cap ? cap * 2 : 16) * sizeof(*v));
		v[n].number = number;
		strlcpy_(v[n++].name, d->d_name, SEGMENT_NAME_BYTES);
	}
	closedir(dir);
	if (n)
		qsort(v, n, sizeof(*v), by_number);
	*ret = take_ptr(v);
	*ret_n = n;
	return 0;
}

int segment_open(struct segment *s, int dirfd, const char *name, struct err *e)
{
	auto_close int fd = openat(dirfd, name, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, errno, "open segment %s", name);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_CORRUPT, "segment %s is not a file", name);
	s->bytes = st.st_size;
	s->fd = take_fd(fd);
	return 0;
}

void segment_close(struct segment *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	s->bytes = 0;
}

int segment_append(struct segment *s, struct iovec *iov, size_t n, struct err *e)
{
	int64_t bytes = s->bytes;

	while (n) {
		ssize_t m = writev(s->fd, iov, (int)(n < IOV_ONCE ? n : IOV_ONCE));
		int sys = m < 0 ? errno : EIO;

		if (m < 0 && sys == EINTR)
			continue;
		if (m <= 0) {
			/* When this fails too, the checks at the next opening find the tail. */
			if (ftruncate(s->fd, s->bytes) < 0)
				s->bytes = bytes;
			return err_sys(e, sys, "append to segment");
		}
		bytes += m;
		for (; n && (size_t)m >= iov->iov_len; iov++, n--)
			m -= (ssize_t)iov->iov_len;
		if (n && m)
			iov->iov_base = (char *)iov->iov_base + m, iov->iov_len -= (size_t)m;
	}
	s->bytes = bytes;
	return 0;
}

int segment_truncate(struct segment *s, int64_t bytes, struct err *e)
{
	if (bytes == s->bytes)
		return 0;
	if (ftruncate(s->fd, bytes) < 0)
		return err_sys(e, errno, "cut segment");
	s->bytes = bytes;
	return 0;
}

int segment_cut_line(struct segment *s, struct err *e)
{
	char block[16384];
	int64_t end = s->bytes;

	while (end > 0) {
		size_t want = end < (int64_t)sizeof(block) ? (size_t)end : sizeof(block);
		ssize_t got = pread(s->fd, block, want, end - (int64_t)want);
		const char *nl;

		if (got != (ssize_t)want)
			return err_sys(e, got < 0 ? errno : EIO, "read segment");
		nl = memrchr(block, '\n', want);
		if (nl)
			return segment_truncate(s, end - (int64_t)want + (nl - block) + 1, e);
		end -= (int64_t)want;
	}
	return segment_truncate(s, 0, e);
}

uint64_t segment_sum(const void *p, size_t n)
{
	const char *c = p;
	uint64_t h = 0xcbf29ce484222325u, w;

	for (size_t i = 0; i + sizeof(w) <= n; i += sizeof(w)) {
		memcpy(&w, c + i, sizeof(w));
		h = (h ^ w) * 0x100000001b3u;
	}
	return h ^ h >> 32;
}
