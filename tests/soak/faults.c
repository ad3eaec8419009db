/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loaded into tandemd before libc: calls on files fail with EIO while the test says so. And beside the database and its log
 * it keeps what a power cut would leave of them: a page is on the disk when it was synced after its last change. When that
 * failed the change is forgotten, as by Linux: the next sync goes well and does not write it (fsync(2)).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE  4096
#define PAGES (1 << 16) /* of each file: 256 MB */

enum kind { WRITE, SYNC, READ, KINDS };
struct control { /* shared with the test */
	int32_t left[KINDS], failed[KINDS];
	char part[64]; /* of the path */
};
static struct file {
	const char *name;
	int disk;
	uint8_t *dirty; /* by page; shared too, for the page cache survives who wrote to it */
} files[] = {{.name = "/tandem.db"}, {.name = "/tandem.db-wal"}};
static struct control *control;

static int open_beside(const char *name, const char *suffix, off_t size, void **ret)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "disk%s%s", name, suffix);
	fd = fcntl(open(path, O_RDWR | O_CREAT, 0600), F_DUPFD_CLOEXEC, 500); /* low numbers have their meaning */
	if (fd < 0 || (size && ftruncate64(fd, size) < 0))
		_exit(126);
	if (size && (*ret = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED)
		_exit(126);
	return fd;
}

static void begin(void) __attribute__((constructor));
static void begin(void)
{
	for (struct file *f = files; f < files + 2; f++) {
		f->disk = open_beside(f->name, "", 0, NULL);
		close(open_beside(f->name, ".dirty", PAGES, (void **)&f->dirty));
	}
	close(open_beside("/control", "", PAGE, (void **)&control));
}

static bool path_of(int fd, char path[PATH_MAX])
{
	char self[32];
	ssize_t n;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	n = readlink(self, path, PATH_MAX - 1);
	path[n < 0 ? 0 : n] = 0;
	return control && path[0] == '/';
}

static bool fails(int fd, enum kind kind)
{
	char path[PATH_MAX];
	int before = errno;

	if (!control || control->left[kind] <= 0 || !path_of(fd, path) || !strstr(path, control->part)) {
		errno = before;
		return false;
	}
	__atomic_fetch_sub(&control->left[kind], 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&control->failed[kind], 1, __ATOMIC_SEQ_CST);
	errno = EIO;
	return true;
}

static struct file *file_of(int fd)
{
	char path[PATH_MAX];
	const char *name = path_of(fd, path) ? strrchr(path, '/') : "";

	for (struct file *f = files; f < files + 2; f++)
		if (!strcmp(name, f->name))
			return f;
	return NULL;
}

static int sync_file(int fd, long call)
{
	bool failed = fails(fd, SYNC);
	struct file *f = file_of(fd);
	char page[PAGE];

	if (!failed && syscall(call, fd) < 0)
		return -1;
	for (off_t i = 0; f && i < PAGES; i++) {
		ssize_t n = f->dirty[i] && !failed ? pread64(fd, page, PAGE, i * PAGE) : 0;

		f->dirty[i] = 0;
		if (n > 0 && syscall(SYS_pwrite64, f->disk, page, n, i * PAGE) != n)
			_exit(126);
	}
	errno = failed ? EIO : errno;
	return failed ? -1 : 0;
}

int fsync(int fd)
{
	return sync_file(fd, SYS_fsync);
}

int fdatasync(int fd)
{
	return sync_file(fd, SYS_fdatasync);
}

int ftruncate64(int fd, off64_t size)
{
	struct file *f = file_of(fd);

	if (fails(fd, WRITE) || syscall(SYS_ftruncate, fd, size) < 0)
		return -1;
	for (off_t i = (size + PAGE - 1) / PAGE; f && i < PAGES; i++)
		f->dirty[i] = 0;
	return f ? (int)syscall(SYS_ftruncate, f->disk, size) : 0;
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
	struct file *f = file_of(fd);
	ssize_t done = fails(fd, WRITE) ? -1 : syscall(SYS_pwrite64, fd, p, n, at);

	for (off_t i = at / PAGE; f && i * PAGE < at + done && i < PAGES; i++)
		f->dirty[i] = 1;
	return done;
}

ssize_t write(int fd, const void *p, size_t n)
{
	return fails(fd, WRITE) ? -1 : syscall(SYS_write, fd, p, n);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
	return fails(fd, WRITE) ? -1 : syscall(SYS_writev, fd, v, n);
}

ssize_t read(int fd, void *p, size_t n)
{
	return fails(fd, READ) ? -1 : syscall(SYS_read, fd, p, n);
}

ssize_t pread64(int fd, void *p, size_t n, off64_t at)
{
	return fails(fd, READ) ? -1 : syscall(SYS_pread64, fd, p, n, at);
}

ssize_t sendfile64(int to, int fd, off64_t *at, size_t n)
{
	return fails(fd, READ) ? -1 : syscall(SYS_sendfile, to, fd, at, n);
}
