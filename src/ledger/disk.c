/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#define FOLDERS 4
const char *const disk_line_name[DISK_LINE_N] = {"logs", "ledger", "state",	"objects", "archives",
						 "code", "layers", "snapshots", "volumes", "other"};
static const char *const folders[DISK_LINE_N][FOLDERS] = {
	[DISK_LOGS] = {"logs"},
	[DISK_LEDGER] = {"ledger"},
	[DISK_STATE] = {"."},
	[DISK_OBJECTS] = {"objects"},
	[DISK_BLOBS] = {"blobs"},
	[DISK_CODE] = {"code"},
	[DISK_VOLUMES] = {"../volumes"},
	[DISK_OTHER] = {"incoming", "backups", "trash"},
};

struct look {
	struct disk_use *use;
	int64_t left; /* entries */
	bool flat;
};

static void look_in(struct look *l, int at, const char *name, int depth);

/* Blocks, not lengths: what is sparse holds less, and a byte holds a block. */
static void look_at(struct look *l, int dir, const char *name, int depth)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		l->use->more |= errno != ENOENT;
		return;
	}
	if (S_ISDIR(st.st_mode) && l->flat)
		return;
	l->use->bytes += (int64_t)st.st_blocks * 512 / (S_ISDIR(st.st_mode) || !st.st_nlink ? 1 : (int64_t)st.st_nlink);
	if (S_ISDIR(st.st_mode))
		look_in(l, dir, name, depth + 1);
	else
		l->use->files++;
}

static void look_in(struct look *l, int at, const char *name, int depth)
{
	int fd = depth < DISK_DEPTH ? openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;

	if (!d) {
		l->use->more |= depth >= DISK_DEPTH || errno != ENOENT;
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((de = readdir(d))) {
		if (de->d_name[0] == '.' && (!de->d_name[1] || (de->d_name[1] == '.' && !de->d_name[2])))
			continue;
		if (l->left-- <= 0) {
			l->use->more = true;
			break;
		}
		look_at(l, fd, de->d_name, depth);
	}
	closedir(d);
}

void disk_look(int daemon, enum disk_line line, struct disk_use *use)
{
	struct look l = {.use = use, .left = DISK_ENTRIES, .flat = line == DISK_STATE};

	for (int i = 0; i < FOLDERS && folders[line][i]; i++)
		look_in(&l, daemon, folders[line][i], 0);
}
