/* SPDX-License-Identifier: Apache-2.0 */
#include "image/copied.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include "base/io.h"
#include "store/digest.h"

static int read_part(int dir, const char *name, size_t max, struct buf *ret, struct err *e)
{
	auto_close int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, errno, "the image has no %.12s", name);
	if (!S_ISREG(st.st_mode) || (size_t)st.st_size > max)
		return err_set(e, ERR_LIMIT, "the image's %.12s is no file of at most %zu bytes", name, max);
	return io_read_file(dir, name, max, ret, e);
}

int copied_read(int dir, struct copied *ret, struct err *e)
{
	auto_buf manifest = {0};
	char digest[65];

	if (read_part(dir, "manifest.json", MANIFEST_BYTES_MAX, &manifest, e) < 0 ||
	    image_manifest_parse(buf_str(&manifest), &ret->m, e) < 0 ||
	    read_part(dir, ret->m.config.digest, CONFIG_BYTES_MAX, &ret->config, e) < 0)
		return -1;
	digest_sha256_hex(manifest.p, manifest.n, ret->digest);
	digest_sha256_hex(ret->config.p, ret->config.n, digest);
	if (strcmp(digest, ret->m.config.digest))
		return err_set(e, ERR_CORRUPT, "the configuration's digest is sha256:%s, but sha256:%s was declared",
			       digest, ret->m.config.digest);
	if (image_rootfs_parse(buf_str(&ret->config), image_host_arch(), ret->m.n_layers, &ret->diff_ids,
			       &ret->created_wall_us, e) < 0)
		return -1;
	return image_config_parse(buf_str(&ret->config), &ret->parsed, e);
}

void copied_done(struct copied *c)
{
	buf_done(&c->config);
	image_config_done(&c->parsed);
	free(c->diff_ids);
	*c = (struct copied){0};
}
