/* SPDX-License-Identifier: Apache-2.0 */
#include "unpack/unpack.h"
#include <archive_entry.h>
#include "base/io.h"
#include "unpack/layer.h"

#define READ_BYTES 65536

static int archive_err(struct err *e, struct archive *a, const char *name)
{
	char shown[PATH_SHOWN_MAX + 1];
	const char *why = archive_error_string(a);

	if (name)
		return err_set(e, ERR_INVALID, "entry '%s': %s", path_show(name, shown), why ? why : "cannot be read");
	return err_set(e, ERR_INVALID, "not a whole zip or tar archive: %s", why ? why : "cannot be read");
}

static struct archive *open_archive(const struct unpack *u, struct err *e)
{
	struct archive *a = archive_read_new();

	if (!a)
		return err_set(e, ERR_SYS, "out of memory"), NULL;
	/* Only the reader that starts from the central directory: a zip means what its directory says, for us as for
	 * everybody else. */
	if (archive_read_support_format_zip_seekable(a) != ARCHIVE_OK ||
	    archive_read_support_format_tar(a) != ARCHIVE_OK || archive_read_support_filter_gzip(a) != ARCHIVE_OK ||
	    archive_read_support_filter_xz(a) != ARCHIVE_OK || archive_read_support_filter_zstd(a) != ARCHIVE_OK ||
	    archive_read_open_fd(a, u->archive, READ_BYTES) != ARCHIVE_OK) {
		archive_err(e, a, NULL);
		archive_read_free(a);
		return NULL;
	}
	return a;
}

int unpack_data(struct unpack *u, struct tree *t, struct archive *a, struct archive_entry *entry, int fd,
		const char *name, struct err *e)
{
	const void *data;
	size_t n;
	la_int64_t offset;
	uint64_t size = 0;
	int r;

	while ((r = archive_read_data_block(a, &data, &n, &offset)) == ARCHIVE_OK) {
		if (u->stop && *u->stop)
			return err_set(e, ERR_LIMIT, "unpacking takes too much CPU time");
		if (tree_write(t, fd, &size, offset, data, n, e) < 0)
			return -1;
	}
	/* Warnings too: a wrong CRC is one. */
	if (r != ARCHIVE_EOF)
		return archive_err(e, a, name);
	/* A hole at the end is told by nothing but the size. */
	if (archive_entry_size(entry) > (la_int64_t)size)
		return tree_write(t, fd, &size, archive_entry_size(entry), NULL, 0, e);
	return 0;
}

static int take_file(struct unpack *u, struct tree *t, struct archive *a, struct archive_entry *entry,
		     const struct path *p, struct err *e)
{
	auto_close int fd = -1;

	if (tree_file(t, p, &fd, e) < 0)
		return -1;
	if (unpack_data(u, t, a, entry, fd, p->text, e) < 0)
		return -1;
	return tree_file_done(take_fd(fd), archive_entry_perm(entry), e);
}

static int take_hardlink(struct tree *t, const char *target, const struct path *p, struct err *e)
{
	struct path clean;

	if (path_clean(target, &clean, e) < 0)
		return err_wrap(e, "hard link to");
	return tree_hardlink(t, p, &clean, e);
}

static int refuse_type(struct err *e, const char *name, unsigned type)
{
	static const struct {
		unsigned type;
		const char *word;
	} words[] = {
		{AE_IFCHR, "a character device"},
		{AE_IFBLK, "a block device"},
		{AE_IFIFO, "a named pipe"},
		{AE_IFSOCK, "a socket"},
	};
	char shown[PATH_SHOWN_MAX + 1];

	path_show(name, shown);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (words[i].type == type)
			return err_set(e, ERR_INVALID, "entry '%s': is %s", shown, words[i].word);
	return err_set(e, ERR_INVALID, "entry '%s': of unknown type", shown);
}

static int take_entry(struct unpack *u, struct tree *t, struct archive *a, struct archive_entry *entry, struct err *e)
{
	const char *name = archive_entry_pathname(entry);
	const char *hardlink = archive_entry_hardlink(entry), *symlink = archive_entry_symlink(entry);
	char shown[PATH_SHOWN_MAX + 1];
	struct path p;

	if (path_clean(name, &p, e) < 0)
		return -1;
	if (archive_entry_is_encrypted(entry))
		return err_set(e, ERR_INVALID, "entry '%s': is encrypted", path_show(name, shown));
	if (hardlink)
		return take_hardlink(t, hardlink, &p, e);
	switch (archive_entry_filetype(entry)) {
	case AE_IFREG:
		return take_file(u, t, a, entry, &p, e);
	case AE_IFDIR:
		return tree_dir(t, &p, e);
	case AE_IFLNK:
		if (!symlink)
			return err_set(e, ERR_INVALID, "entry '%s': symbolic link without a readable target",
				       path_show(name, shown));
		return tree_symlink(t, &p, symlink, e);
	default:
		return refuse_type(e, name, archive_entry_filetype(entry));
	}
}

static int take_all(struct unpack *u, struct tree *t, struct archive *a, struct err *e)
{
	struct archive_entry *entry;
	int r;

	while ((r = archive_read_next_header(a, &entry)) == ARCHIVE_OK) {
		if (u->stop && *u->stop)
			return err_set(e, ERR_LIMIT, "unpacking takes too much CPU time");
		if (t->layer ? layer_take(u, t, a, entry, e) < 0 : take_entry(u, t, a, entry, e) < 0)
			return -1;
	}
	if (r == ARCHIVE_EOF)
		return 0;
	return archive_err(e, a, r == ARCHIVE_WARN ? archive_entry_pathname(entry) : NULL);
}

/* A layer is what its name says, or nothing of it stays. */
static int check_digest(struct unpack *u, struct err *e)
{
	char sha256[65];

	if (u->how != UNPACK_LAYER)
		return 0;
	if (stream_finish(u->stream, sha256, e) < 0)
		return -1;
	if (strcmp(sha256, u->name))
		return err_set(e, ERR_CORRUPT, "the layer's digest is sha256:%s, but sha256:%.64s was declared", sha256,
			       u->name);
	return 0;
}

int unpack_run(struct unpack *u, struct err *e)
{
	struct archive *a;
	struct tree t = {.layer = u->how == UNPACK_LAYER};
	int rc;

	if (u->how == UNPACK_REMOVE)
		return io_rm_tree(u->parent, u->name, e);
	a = u->how == UNPACK_LAYER ? stream_open_tar(u->stream, u->archive, e) : open_archive(u, e);
	if (!a)
		return -1;
	rc = tree_start(&t, u->parent, u->name, u->max_bytes, u->max_files, e);
	if (rc == 0)
		rc = take_all(u, &t, a, e);
	if (rc == 0)
		rc = check_digest(u, e);
	if (rc == 0)
		rc = tree_finish(&t, e);
	if (rc == 0) {
		u->bytes = t.bytes;
		u->files = t.files;
	}
	tree_done(&t);
	archive_read_free(a);
	return rc;
}
