/* SPDX-License-Identifier: Apache-2.0 */
#include "store/snapshot.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "json/read.h"
#include "json/write.h"
#include "store/store_int.h"
#include "wire/init.h"

#define INFO_MAX   4096
#define BASE_BYTES 256
#define NAME_BYTES 32

struct kept {
	struct snapshot s;
	char base[BASE_BYTES];
	uint64_t too_large; /* what it would take; it is not kept, and not made again and again */
};

struct snapshots {
	int dirfd;
	struct map by_serial; /* of struct kept */
	char base[BASE_BYTES];
	uint64_t bytes, max_bytes;
	struct list keeping; /* under way; their op's s is NULL once the store is gone */
};

/* op->priv: the thread works on copies. */
struct keep {
	struct list node;
	struct store_op *op;
	struct snapshot s;
	char base[BASE_BYTES];
};

static struct str key(const struct snapshot *s)
{
	return (struct str){(const char *)&s->serial, sizeof(s->serial)};
}

static const char *name_of(uint64_t serial, const char *suffix, char out[NAME_BYTES])
{
	snprintf(out, NAME_BYTES, "%llu%s", (unsigned long long)serial, suffix);
	return out;
}

static void drop_files(const struct snapshots *t, uint64_t serial)
{
	char name[NAME_BYTES];

	unlinkat(t->dirfd, name_of(serial, ".json", name), 0);
	unlinkat(t->dirfd, name_of(serial, "", name), 0);
}

static void drop_new(const struct snapshots *t, uint64_t serial)
{
	char name[NAME_BYTES];

	unlinkat(t->dirfd, name_of(serial, ".new", name), 0);
}

static struct kept *find(const struct snapshots *t, uint64_t serial)
{
	return map_get(&t->by_serial, (struct str){(const char *)&serial, sizeof(serial)});
}

static void forget(struct snapshots *t, struct kept *en)
{
	map_del(&t->by_serial, key(&en->s));
	t->bytes -= en->s.bytes;
	drop_files(t, en->s.serial);
	free(en);
}

static struct kept *add(struct snapshots *t, const struct snapshot *info, const char *base)
{
	struct kept *en = xcalloc(1, sizeof(*en));

	en->s = *info;
	strlcpy_(en->base, base, sizeof(en->base));
	map_put(&t->by_serial, key(&en->s), en);
	t->bytes += en->s.bytes;
	return en;
}

/* --- the text beside an image --- */

static int info_write(const struct snapshots *t, const struct snapshot *s, const char *base, struct err *e)
{
	auto_buf b = {0};
	char name[NAME_BYTES];
	struct jw w;

	jw_init(&w, &b);
	jw_obj(&w, NULL);
	jw_strc(&w, "base", base);
	jw_int(&w, "bytes", (int64_t)s->bytes);
	jw_int(&w, "pages", s->pages);
	jw_int(&w, "mappings", s->mappings);
	jw_int(&w, "files", s->files);
	jw_int(&w, "took_us", s->took_us);
	jw_int(&w, "made_us", s->made_wall_us);
	jw_strc(&w, "reason", s->reason);
	jw_end(&w, '}');
	return io_write_file(t->dirfd, name_of(s->serial, ".json", name), b.p, b.n, 0600, e);
}

static int info_read(struct snapshots *t, uint64_t serial)
{
	auto_buf text = {0};
	char name[NAME_BYTES], base[BASE_BYTES];
	struct snapshot s = {.serial = serial};
	struct stat st;

	if (io_read_file(t->dirfd, name_of(serial, ".json", name), INFO_MAX, &text, NULL) < 0)
		return -1;
	auto_json j = json_parse(buf_str(&text), NULL);

	if (!j)
		return -1;
	snprintf(base, sizeof(base), STR_FMT, STR_ARG(json_get_str(j, "base")));
	snprintf(s.reason, sizeof(s.reason), STR_FMT, STR_ARG(json_get_str(j, "reason")));
	s.bytes = (uint64_t)json_get_int(j, "bytes", 0);
	s.pages = (uint32_t)json_get_int(j, "pages", 0);
	s.mappings = (uint32_t)json_get_int(j, "mappings", 0);
	s.files = (uint32_t)json_get_int(j, "files", 0);
	s.took_us = (uint32_t)json_get_int(j, "took_us", 0);
	s.made_wall_us = json_get_int(j, "made_us", 0);
	if (s.bytes && fstatat(t->dirfd, name_of(serial, "", name), &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -1;
	if (s.bytes)
		s.used_wall_us = (int64_t)st.st_mtim.tv_sec * 1000000;
	add(t, &s, base);
	return 0;
}

/* --- open --- */

/* Without its text an image is found by nobody: we went down before it was written. */
static void drop_unnamed(const struct snapshots *t, uint64_t serial)
{
	char name[NAME_BYTES];

	if (faccessat(t->dirfd, name_of(serial, ".json", name), F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
		drop_files(t, serial);
}

int snapshots_open(struct store *s, struct err *e)
{
	struct snapshots *t = s->snapshots = xcalloc(1, sizeof(*t));
	struct statvfs fs;
	struct dirent *de;
	DIR *d;

	t->dirfd = -1;
	list_init(&t->keeping);
	if (mkdirat(s->dirfd, "snapshots", 0700) < 0 && errno != EEXIST)
		return err_sys(e, errno, "make snapshots");
	t->dirfd = openat(s->dirfd, "snapshots", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	d = t->dirfd < 0 ? NULL : list_dir(t->dirfd, ".");
	if (!d)
		return err_sys(e, errno, "open snapshots");
	if (fstatvfs(t->dirfd, &fs) == 0)
		t->max_bytes = (uint64_t)fs.f_blocks * fs.f_frsize / 10;
	while ((de = readdir(d))) {
		char *end;
		uint64_t serial = strtoull(de->d_name, &end, 10);

		if (de->d_name[0] == '.')
			continue;
		if (!strcmp(end, ".json")) {
			if (info_read(t, serial) < 0)
				drop_files(t, serial);
		} else if (*end || end == de->d_name) {
			unlinkat(t->dirfd, de->d_name, 0); /* one that was not finished */
		} else {
			drop_unnamed(t, serial);
		}
	}
	closedir(d);
	return 0;
}

void snapshots_done(struct store *s)
{
	struct snapshots *t = s->snapshots;
	struct kept *en;
	size_t pos = 0;

	if (!t)
		return;
	list_each(&t->keeping, it) container_of(it, struct keep, node)->op->s = NULL;
	while ((en = map_next(&t->by_serial, &pos)))
		free(en);
	map_done(&t->by_serial);
	if (t->dirfd >= 0)
		close(t->dirfd);
	free(take_ptr(s->snapshots));
}

/* Which of them a predicate takes; the map may not change while it is walked. */
static struct kept *pick(const struct snapshots *t,
			 bool (*which)(const struct snapshots *, const struct kept *, void *), void *arg)
{
	struct kept *en;
	size_t pos = 0;

	while ((en = map_next(&t->by_serial, &pos)))
		if (which(t, en, arg))
			return en;
	return NULL;
}

static bool other_base(const struct snapshots *t, const struct kept *en, void *arg)
{
	return strcmp(t->base, en->base) != 0;
}

void snapshot_base(struct store *s, const char *base)
{
	struct snapshots *t = s->snapshots;
	struct kept *en;

	if (!strcmp(t->base, base))
		return;
	strlcpy_(t->base, base, sizeof(t->base));
	while ((en = pick(t, other_base, NULL)))
		forget(t, en);
}

static bool not_live(const struct snapshots *t, const struct kept *en, void *arg)
{
	return !map_get(arg, key(&en->s));
}

void snapshots_sweep(struct store *s, struct map *live)
{
	struct kept *en;

	while ((en = pick(s->snapshots, not_live, live)))
		forget(s->snapshots, en);
}

/* --- use --- */

const struct snapshot *snapshot_of(const struct store *s, uint64_t serial)
{
	struct kept *en = find(s->snapshots, serial);

	return en ? &en->s : NULL;
}

int snapshot_open(struct store *s, uint64_t serial, struct err *e)
{
	struct snapshots *t = s->snapshots;
	struct kept *en = find(t, serial);
	int64_t now = clock_wall_us();
	char name[NAME_BYTES];
	int fd;

	if (!en || !en->s.bytes)
		return err_set(e, ERR_NOT_FOUND, "there is no snapshot");
	fd = openat(t->dirfd, name_of(serial, "", name), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) {
		err_sys(e, errno, "open snapshot %s", name);
		forget(t, en);
		return -1;
	}
	if (now - en->s.used_wall_us > 1000000) {
		en->s.used_wall_us = now;
		utimensat(t->dirfd, name, NULL, AT_SYMLINK_NOFOLLOW); /* what it is after a restart of the daemon */
	}
	return fd;
}

int snapshot_create(const struct store *s, uint64_t serial, struct err *e)
{
	char name[NAME_BYTES];
	int fd;

	drop_new(s->snapshots, serial);
	fd = openat(s->snapshots->dirfd, name_of(serial, ".new", name),
		    O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? err_sys(e, errno, "make snapshot %s", name) : fd;
}

void snapshot_discard(const struct store *s, uint64_t serial)
{
	drop_new(s->snapshots, serial);
}

/* --- keep --- */

static void keep_work(struct loop_work *w)
{
	struct store_op *op = container_of(w, struct store_op, work);
	const struct keep *k = op->priv;
	const struct snapshot *info = &k->s;
	const struct snapshots *t = op->s->snapshots;
	char from[NAME_BYTES], to[NAME_BYTES];
	auto_close int fd = openat(t->dirfd, name_of(info->serial, ".new", from), O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	/* The text comes last: only with it the image is found again. */
	if (!info->bytes)
		drop_files(t, info->serial);
	else if (fd < 0 || fsync(fd) < 0 || renameat(t->dirfd, from, t->dirfd, name_of(info->serial, "", to)) < 0)
		err_sys(&op->e, errno, "keep snapshot %s", from);
	if (!info->bytes || op->e.kind) /* a full disk above all needs its room back */
		drop_new(t, info->serial);
	if (!op->e.kind)
		info_write(t, info, k->base, &op->e);
}

static void make_room(struct snapshots *t)
{
	while (t->bytes > t->max_bytes) {
		struct kept *en, *oldest = NULL;
		size_t pos = 0;

		while ((en = map_next(&t->by_serial, &pos)))
			if (en->s.bytes && (!oldest || en->s.used_wall_us < oldest->s.used_wall_us))
				oldest = en;
		log_info("store", "snapshot %llu goes: all of them take %llu of %llu bytes",
			 (unsigned long long)oldest->s.serial, (unsigned long long)t->bytes,
			 (unsigned long long)t->max_bytes);
		forget(t, oldest);
	}
}

static void add_kept(struct snapshots *t, struct keep *k)
{
	uint64_t bytes = k->s.bytes;

	if (bytes <= t->max_bytes) {
		add(t, &k->s, k->base);
		return;
	}
	drop_files(t, k->s.serial);
	snprintf(k->s.reason, sizeof(k->s.reason), "it takes %llu bytes, and all of them may take %llu",
		 (unsigned long long)bytes, (unsigned long long)t->max_bytes);
	k->s.bytes = 0;
	add(t, &k->s, k->base)->too_large = bytes;
}

static void keep_done(struct loop_work *w)
{
	struct store_op *op = container_of(w, struct store_op, work);
	struct keep *k = op->priv;
	struct snapshot *info = &k->s;
	struct snapshots *t = op->s ? op->s->snapshots : NULL;
	struct kept *en = t ? find(t, info->serial) : NULL;

	if (t)
		list_del(&k->node);
	if (t && op->e.kind) {
		if (en)
			forget(t, en);
		drop_files(t, info->serial);
	} else if (t) {
		if (en) {
			t->bytes -= en->s.bytes;
			map_del(&t->by_serial, key(&en->s));
			free(en);
		}
		add_kept(t, k);
		if (strcmp(t->base, k->base)) /* it is of before, as all that were swept then */
			forget(t, find(t, info->serial));
		make_room(t);
	}
	free(take_ptr(op->priv));
	if (op->done)
		op->done(op, &op->e);
}

void snapshot_keep(struct store *s, struct store_op *op, const struct snapshot *info)
{
	struct keep *k = xcalloc(1, sizeof(*k));

	op->work = (struct loop_work){.work = keep_work, .done = keep_done};
	op->s = s;
	op->e = (struct err){0};
	op->priv = k;
	k->op = op;
	k->s = *info;
	strlcpy_(k->base, s->snapshots->base, sizeof(k->base));
	list_push(&s->snapshots->keeping, &k->node);
	loop_thread_push(s->file_thread, &op->work);
}

void snapshot_pages(const struct store *s, uint64_t serial, struct str list)
{
	char name[NAME_BYTES];
	auto_close int fd = openat(s->snapshots->dirfd, name_of(serial, "", name), O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	/* Behind all but the end of the image's hole: nothing is mapped there. */
	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size >= INIT_PAGES_MAX && list.n <= INIT_PAGES_MAX)
		(void)!pwrite(fd, list.p, list.n, st.st_size - INIT_PAGES_MAX);
}

void snapshot_forget(struct store *s, uint64_t serial)
{
	struct kept *en = find(s->snapshots, serial);

	if (en)
		forget(s->snapshots, en);
}

void snapshot_reconsider(struct store *s, uint64_t serial)
{
	const struct snapshot *had = snapshot_of(s, serial);

	if (had && !had->bytes)
		snapshot_forget(s, serial);
}

uint64_t snapshot_disk_bytes(const struct store *s)
{
	return s->snapshots->bytes;
}

uint64_t snapshot_disk_limit(const struct store *s)
{
	return s->snapshots->max_bytes;
}

static bool fits_now(const struct snapshots *t, const struct kept *en, void *arg)
{
	return en->too_large && en->too_large <= t->max_bytes;
}

void snapshot_disk_max(struct store *s, uint64_t bytes)
{
	struct kept *en;

	s->snapshots->max_bytes = bytes;
	while ((en = pick(s->snapshots, fits_now, NULL)))
		forget(s->snapshots, en);
	make_room(s->snapshots);
}
