/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The /etc of a sandbox: a few generated files, and copies of what the host's programs need to find libraries,
 * certificates, names and types. Only what everybody on the host may read is copied, never a secret (ssl/private and
 * the like stay out). And the authority that vouches for the platform's own addresses is trusted there.
 */
#include "spawner.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include "base/io.h"

#define ETC_DEPTH    8
#define ETC_FILE_MAX (8 << 20)
#define CA_MAX	     16384
#define CA_HASH	     "0df9f99a" /* of its subject, "CN = Tandem" (src/http/ca.c), as OpenSSL looks for it */

static const struct {
	const char *name, *text;
} generated[] = {
	{"passwd", "root:x:0:0:root:/root:/usr/sbin/nologin\n"
		   "sbx_user1051:x:1051:990::/tmp:/usr/sbin/nologin\n"
		   "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"},
	{"group", "root:x:0:\nsbx_user1051:x:990:\nnogroup:x:65534:\n"},
	{"hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"},
	{"hostname", "localhost\n"},
	{"nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: "
			  "files\nservices: files\n"},
	{"resolv.conf", "nameserver 169.254.100.2\noptions timeout:3 attempts:2 edns0\n"},
};

/* Copied when the host has them; a * at the end takes every name that begins so. */
static const char *const copied[] = {
	"alternatives",
	"ld.so.cache",
	"ld.so.conf",
	"ld.so.conf.d",
	"ssl",
	"ca-certificates",
	"ca-certificates.conf",
	"python3*",
	"mime.types",
	"services",
	"protocols",
	"localtime",
	"timezone",
	"os-release",
	"debian_version",
	"gai.conf",
};

static int copy_entry(int from, int to, const char *name, int depth, struct err *e);

static int copy_file(int from, int to, const char *name, const struct stat *st, struct err *e)
{
	char part[65536];
	ssize_t got;
	auto_close int in = openat(from, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	auto_close int out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (in < 0 || out < 0)
		return err_sys(e, errno, "copy /etc/.../%s", name);
	while ((got = read(in, part, sizeof(part))) > 0)
		if (io_write_all(out, part, (size_t)got, e) < 0)
			return -1;
	if (got < 0)
		return err_sys(e, errno, "read /etc/.../%s", name);
	(void)fchmod(out, st->st_mode & 0555);
	return 0;
}

static int copy_dir(int from, int to, const char *name, int depth, struct err *e)
{
	auto_close int in = openat(from, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	auto_close int out = -1;
	struct dirent *de;
	int ret = 0, fd;
	DIR *d;

	if (in < 0)
		return err_sys(e, errno, "open /etc/.../%s", name);
	if (mkdirat(to, name, 0755) < 0)
		return err_sys(e, errno, "make etc/.../%s", name);
	out = openat(to, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = dup(in);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (out < 0 || !d) {
		close_p(&fd);
		return err_sys(e, errno, "open etc/.../%s", name);
	}
	while (ret == 0 && (de = readdir(d)))
		if (strcmp(de->d_name, ".") && strcmp(de->d_name, ".."))
			ret = copy_entry(in, out, de->d_name, depth + 1, e);
	closedir(d);
	return ret;
}

static int copy_entry(int from, int to, const char *name, int depth, struct err *e)
{
	struct stat st;
	char link[512];
	ssize_t n;

	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_sys(e, errno, "stat /etc/.../%s", name);
	if (S_ISLNK(st.st_mode)) {
		n = readlinkat(from, name, link, sizeof(link) - 1);
		if (n < 0 || n == sizeof(link) - 1)
			return 0;
		link[n] = 0;
		return symlinkat(link, to, name) < 0 ? err_sys(e, errno, "link etc/.../%s", name) : 0;
	}
	if (S_ISDIR(st.st_mode))
		return (st.st_mode & 05) == 05 && depth < ETC_DEPTH ? copy_dir(from, to, name, depth, e) : 0;
	if (!S_ISREG(st.st_mode) || !(st.st_mode & 04) || st.st_size > ETC_FILE_MAX)
		return 0;
	return copy_file(from, to, name, &st, e);
}

static int copy_matching(int from, int to, const char *pattern, struct err *e)
{
	size_t n = strlen(pattern) - 1;
	struct dirent *de;
	int ret = 0, fd;
	DIR *d;

	if (pattern[n] != '*')
		return copy_entry(from, to, pattern, 0, e);
	fd = dup(from);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		close_p(&fd);
		return err_sys(e, errno, "read /etc");
	}
	while (ret == 0 && (de = readdir(d)))
		if (!strncmp(de->d_name, pattern, n))
			ret = copy_entry(from, to, de->d_name, 0, e);
	closedir(d);
	return ret;
}

static int put_file(int dir, const char *name, int flags, const char *text, size_t n, struct err *e)
{
	auto_close int fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0644);

	if (fd < 0)
		return err_sys(e, errno, "make etc/.../%s", name);
	return io_write_all(fd, text, n, e);
}

/* What was copied may hold links that lead out of the new root: none is followed. */
static int made_dir(int at, const char *name, struct err *e)
{
	int fd;

	if (mkdirat(at, name, 0755) < 0 && errno != EEXIST)
		return err_sys(e, errno, "make etc/.../%s", name);
	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? err_sys(e, errno, "open etc/.../%s", name) : fd;
}

/* In each place where some library looks: the one file, the directory by hashes, and a file of its own for Node. */
static int trust_own(int etc, const char *state_dir, struct err *e)
{
	char path[300], text[CA_MAX];
	auto_close int in = -1, ssl = -1, certs = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/ca.crt", state_dir);
	in = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (in < 0)
		return errno == ENOENT ? 0 : err_sys(e, errno, "open %s", path);
	n = read(in, text, sizeof(text));
	if (n <= 0)
		return err_sys(e, n < 0 ? errno : EIO, "read %s", path);
	ssl = made_dir(etc, "ssl", e);
	certs = ssl < 0 ? -1 : made_dir(ssl, "certs", e);
	if (certs < 0 || put_file(certs, "tandem.pem", O_EXCL, text, (size_t)n, e) < 0 ||
	    put_file(certs, "ca-certificates.crt", O_APPEND, text, (size_t)n, e) < 0)
		return -1;
	return symlinkat("tandem.pem", certs, CA_HASH ".0") < 0 ? err_sys(e, errno, "link etc/ssl/certs/" CA_HASH ".0")
								: 0;
}

int etc_make(int root, const char *state_dir, struct err *e)
{
	auto_close int from = open("/etc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_close int to = -1;

	if (from < 0)
		return err_sys(e, errno, "open /etc");
	if (mkdirat(root, "etc", 0755) < 0)
		return err_sys(e, errno, "make etc");
	to = openat(root, "etc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (to < 0)
		return err_sys(e, errno, "open etc");
	for (unsigned i = 0; i < ARRAY_SIZE(generated); i++) {
		const char *text = generated[i].text;

		if (put_file(to, generated[i].name, O_EXCL, text, strlen(text), e) < 0)
			return -1;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(copied); i++)
		if (copy_matching(from, to, copied[i], e) < 0)
			return -1;
	return trust_own(to, state_dir, e);
}
