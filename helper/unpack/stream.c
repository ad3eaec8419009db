/* SPDX-License-Identifier: Apache-2.0 */
#include "unpack/stream.h"
#include <errno.h>
#include <openssl/evp.h>
#include "base/enc.h"
#include "base/mem.h"

#define READ_BYTES     65536
#define REST_MAX_BYTES (16 << 20) /* behind the end of a tar there is padding to its block, some KB */

struct stream {
	struct archive *outer;
	EVP_MD_CTX *hash;
	EVP_MD *sha256;
};

int stream_prepare(struct stream **ret, struct err *e)
{
	struct stream *s = xcalloc(1, sizeof(*s));

	s->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	s->hash = EVP_MD_CTX_new();
	if (!s->sha256 || !s->hash || EVP_DigestInit_ex2(s->hash, s->sha256, NULL) != 1) {
		stream_free(s);
		return err_set(e, ERR_SYS, "SHA-256 cannot be used");
	}
	*ret = s;
	return 0;
}

void stream_free(struct stream *s)
{
	if (!s)
		return;
	if (s->outer)
		archive_read_free(s->outer);
	EVP_MD_CTX_free(s->hash);
	EVP_MD_free(s->sha256);
	free(s);
}

/* The next plain bytes, hashed: their number, 0 at the end, -1 with outer's error. */
static la_ssize_t next(struct stream *s, const void **ret)
{
	la_int64_t offset;
	size_t n = 0;
	int r;

	do
		r = archive_read_data_block(s->outer, ret, &n, &offset);
	while (r == ARCHIVE_OK && n == 0);
	if (r == ARCHIVE_EOF)
		return 0;
	if (r != ARCHIVE_OK || EVP_DigestUpdate(s->hash, *ret, n) != 1)
		return -1;
	return (la_ssize_t)n;
}

static la_ssize_t on_read(struct archive *tar, void *arg, const void **ret)
{
	struct stream *s = arg;
	la_ssize_t n = next(s, ret);

	if (n < 0) {
		const char *why = archive_error_string(s->outer);

		archive_set_error(tar, EINVAL, "%s", why ? why : "cannot be read");
	}
	return n;
}

static int outer_err(struct stream *s, struct err *e)
{
	const char *why = s->outer ? archive_error_string(s->outer) : "out of memory";

	return err_set(e, ERR_INVALID, "not a whole tar archive: %s", why ? why : "cannot be read");
}

struct archive *stream_open_tar(struct stream *s, int fd, struct err *e)
{
	struct archive_entry *entry;
	struct archive *tar;

	s->outer = archive_read_new();
	if (!s->outer || archive_read_support_filter_gzip(s->outer) != ARCHIVE_OK ||
	    archive_read_support_filter_xz(s->outer) != ARCHIVE_OK ||
	    archive_read_support_filter_zstd(s->outer) != ARCHIVE_OK ||
	    archive_read_support_format_raw(s->outer) != ARCHIVE_OK ||
	    archive_read_open_fd(s->outer, fd, READ_BYTES) != ARCHIVE_OK ||
	    archive_read_next_header(s->outer, &entry) != ARCHIVE_OK) {
		outer_err(s, e);
		return NULL;
	}
	tar = archive_read_new();
	if (tar && archive_read_support_format_tar(tar) == ARCHIVE_OK &&
	    archive_read_open(tar, s, NULL, on_read, NULL) == ARCHIVE_OK)
		return tar;
	err_set(e, ERR_INVALID, "not a whole tar archive: %s",
		tar && archive_error_string(tar) ? archive_error_string(tar) : "cannot be read");
	if (tar)
		archive_read_free(tar);
	return NULL;
}

int stream_finish(struct stream *s, char ret_sha256_hex[65], struct err *e)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	const void *p;
	la_ssize_t n, rest = 0;

	while ((n = next(s, &p)) > 0) {
		rest += n;
		if (rest > REST_MAX_BYTES)
			return err_set(e, ERR_LIMIT, "more than %d bytes behind the end of the tar archive",
				       REST_MAX_BYTES);
	}
	if (n < 0)
		return outer_err(s, e);
	if (EVP_DigestFinal_ex(s->hash, digest, NULL) != 1)
		return err_set(e, ERR_SYS, "SHA-256 cannot be finished");
	enc_hex(digest, 32, ret_sha256_hex);
	return 0;
}
