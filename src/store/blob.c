/* SPDX-License-Identifier: Apache-2.0 */
/* Files beside the database: archives by digest, unpacked code, their sweep, and the backup. All file work is the file
 * thread's. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/stat.h>
#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/store_int.h"

#define GC_AGE_S     60
#define BACKUP_AGE_S 3600
#define GC_SOON_US   500000 /* a thousand deletes in a row are one sweep */

static bool hex_ok(const char *s)
{
	size_t n = strspn(s, "0123456789abcdef");

	return n == 64 && !s[64];
}

static int open_dir(int dirfd, const char *name, struct err *e)
{
	int fd;

	if (mkdirat(dirfd, name, 0711) < 0 && errno != EEXIST)
		return err_sys(e, errno, "make %s", name);
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? err_sys(e, errno, "open %s", name) : fd;
}

int blob_open_dirs(struct store *s, struct err *e)
{
	struct stat st;
	char left[64];
	int trash;

	s->blobs_fd = open_dir(s->dirfd, "blobs", e);
	s->code_fd = s->blobs_fd < 0 ? -1 : open_dir(s->dirfd, "code", e);
	trash = s->code_fd < 0 ? -1 : open_dir(s->dirfd, "trash", e);
	if (trash < 0)
		return -1;
	close(trash);
	/* What a backup that was broken off has left; one that goes on over our restart is younger. */
	if (fstatat(s->dirfd, "backups", &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    st.st_mtim.tv_sec + BACKUP_AGE_S < clock_wall_us() / 1000000) {
		snprintf(left, sizeof(left), "trash/backups-%lld", (long long)clock_wall_us());
		renameat(s->dirfd, "backups", s->dirfd, left);
	}
	return 0;
}

void blob_done(struct store *s)
{
	if (s->blobs_fd >= 0)
		close(s->blobs_fd);
	if (s->code_fd >= 0)
		close(s->code_fd);
}

/* Somebody counts on it: the sweep leaves it alone for another minute. False: it is not there. */
static bool touch(int dirfd, const char *name)
{
	return utimensat(dirfd, name, NULL, AT_SYMLINK_NOFOLLOW) == 0;
}

struct put {
	char hex[65];
	const void *p;
	size_t n;
};

static void put_work(struct loop_work *w)
{
	struct store_op *op = container_of(w, struct store_op, work);
	struct put *put = op->priv;

	if (touch(op->s->blobs_fd, put->hex))
		return;
	io_write_file(op->s->blobs_fd, put->hex, put->p, put->n, 0600, &op->e);
}

static void file_done(struct loop_work *w)
{
	struct store_op *op = container_of(w, struct store_op, work);

	free(take_ptr(op->priv));
	if (op->done)
		op->done(op, &op->e);
}

static void file_start(struct store *s, struct store_op *op, void (*work)(struct loop_work *), void *priv)
{
	op->work = (struct loop_work){.work = work, .done = file_done};
	op->s = s;
	op->e = (struct err){0};
	op->priv = priv;
	loop_thread_push(s->file_thread, &op->work);
}

void store_blob_put(struct store *s, struct store_op *op, const char sha256_hex[65], const void *p, size_t n)
{
	struct put *put = xcalloc(1, sizeof(*put));

	strlcpy_(put->hex, sha256_hex, sizeof(put->hex));
	put->p = p;
	put->n = n;
	file_start(s, op, put_work, put);
}

bool store_blob_has(const struct store *s, const char sha256_hex[65])
{
	return hex_ok(sha256_hex) && touch(s->blobs_fd, sha256_hex);
}

int store_blob_open(const struct store *s, const char sha256_hex[65], struct err *e)
{
	int fd = hex_ok(sha256_hex) ? openat(s->blobs_fd, sha256_hex, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;

	if (!hex_ok(sha256_hex))
		return err_set(e, ERR_INVALID, "not a digest");
	if (fd < 0 && errno == ENOENT)
		return err_set(e, ERR_NOT_FOUND, "archive %.12s is not in the store", sha256_hex);
	return fd < 0 ? err_sys(e, errno, "open archive %.12s", sha256_hex) : fd;
}

int store_blob_new(const struct store *s, struct err *e)
{
	int fd = openat(s->blobs_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	return fd < 0 ? err_sys(e, errno, "make a blob") : fd;
}

int store_blob_keep(const struct store *s, int fd, const char sha256_hex[65], struct err *e)
{
	char self[32];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	/* Young from here on, whenever its bytes came. */
	if (futimens(fd, NULL) < 0 || fsync(fd) < 0 ||
	    (linkat(AT_FDCWD, self, s->blobs_fd, sha256_hex, AT_SYMLINK_FOLLOW) < 0 &&
	     !(errno == EEXIST && touch(s->blobs_fd, sha256_hex))))
		return err_sys(e, errno, "keep blob %.12s", sha256_hex);
	return fsync(s->blobs_fd) < 0 ? err_sys(e, errno, "sync blobs") : 0;
}

int store_blob_link(const struct store *s, const char sha256_hex[65], int dirfd, const char *name, struct err *e)
{
	if (!hex_ok(sha256_hex) || linkat(s->blobs_fd, sha256_hex, dirfd, name, 0) < 0)
		return err_sys(e, errno, "link blob %.12s", sha256_hex);
	return 0;
}

void store_on_sweep(struct store *s, void (*names)(void *arg, struct buf *out), void *arg)
{
	s->swept = names;
	s->swept_arg = arg;
}

int store_code_dir(const struct store *s)
{
	return s->code_fd;
}

int store_code_open(const struct store *s, const char sha256_hex[65], struct err *e)
{
	struct stat st;
	int fd;

	if (!hex_ok(sha256_hex))
		return err_set(e, ERR_INVALID, "not a digest");
	fd = openat(s->code_fd, sha256_hex, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT)
		return err_set(e, ERR_NOT_FOUND, "code %.12s is not unpacked", sha256_hex);
	if (fd < 0)
		return err_sys(e, errno, "open code %.12s", sha256_hex);
	if (fstat(fd, &st) < 0 || st.st_mtim.tv_sec + GC_AGE_S / 2 < clock_wall_us() / 1000000)
		touch(s->code_fd, sha256_hex);
	return fd;
}

/*
 * Sweep: LIST (file thread: all names) -> the loop decides and moves them to trash/, which is quick and,
 * being on the loop, cannot race with a deploy that counts on one -> EMPTY (file thread: deletes what lies in trash/).
 */
struct gc {
	struct loop_work work;
	struct store *s;     /* NULL: the store went away meanwhile */
	int dirfd[2];	     /* blobs, code: borrowed */
	struct buf names[2]; /* NUL-terminated, one after another */
	bool too_young;	     /* something would have gone, but for its age */
	struct err e;
};

static bool old_enough(int dirfd, const char *name)
{
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	return (int64_t)st.st_mtim.tv_sec + GC_AGE_S < clock_wall_us() / 1000000;
}

DIR *list_dir(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d && fd >= 0)
		close(fd);
	return d;
}

static bool is_dots(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

bool blob_any(const struct store *s)
{
	DIR *d = list_dir(s->blobs_fd, ".");
	bool any = false;
	struct dirent *de;

	while (d && !any && (de = readdir(d)))
		any = hex_ok(de->d_name);
	if (d)
		closedir(d);
	return any;
}

static void gc_list_work(struct loop_work *w)
{
	struct gc *g = container_of(w, struct gc, work);

	for (int i = 0; i < 2; i++) {
		DIR *d = list_dir(g->dirfd[i], ".");
		struct dirent *de;

		while (d && (de = readdir(d)))
			if (!is_dots(de->d_name))
				buf_add(&g->names[i], de->d_name, strlen(de->d_name) + 1);
		if (d)
			closedir(d);
	}
}

static void keep(struct map *live, struct map *serials, const struct revision *r)
{
	struct str serial = {(const char *)&r->serial, sizeof(r->serial)};

	if (!map_get(serials, serial))
		map_put(serials, serial, (void *)r);
	if (r->code_sha256[0] && !map_get(live, str_of(r->code_sha256)))
		map_put(live, str_of(r->code_sha256), (void *)r);
	for (int i = 0; i < LIM_LAYERS && r->layers[i][0]; i++)
		if (!map_get(live, str_of(r->layers[i])))
			map_put(live, str_of(r->layers[i]), (void *)r);
}

/* Replaced revisions that only we still hold are let go; the others are run by somebody. */
static void retired_sweep(struct table *t)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->n_retired; i++)
		if (t->retired[i]->refs == 1)
			revision_unref(t->retired[i]);
		else
			t->retired[kept++] = t->retired[i];
	t->n_retired = kept;
}

static void live_set(struct store *s, struct map *live, struct map *serials)
{
	struct table *t = &s->table;

	retired_sweep(t);
	for (size_t i = 0; i < t->n; i++) {
		keep(live, serials, t->sorted[i]->f->latest);
		if (t->sorted[i]->saved)
			keep(live, serials, t->sorted[i]->saved);
		for (unsigned k = 0; k < t->sorted[i]->f->n_versions; k++)
			keep(live, serials, t->sorted[i]->f->versions[k]);
	}
	for (size_t i = 0; i < t->n_retired; i++)
		keep(live, serials, t->retired[i]);
}

static void gc_trash_work(struct loop_work *w)
{
	struct gc *g = container_of(w, struct gc, work);
	DIR *d = list_dir(g->s->dirfd, "trash");
	struct dirent *de;

	while (d && (de = readdir(d)))
		if (!is_dots(de->d_name))
			io_rm_tree(dirfd(d), de->d_name, &g->e);
	if (d)
		closedir(d);
	reserve_fill(g->s->dirfd);
}

static void gc_done(struct loop_work *w)
{
	struct gc *g = container_of(w, struct gc, work);
	struct store *s = g->s;
	bool later = g->too_young;

	if (g->e.kind)
		log_warn("store", "removing old code: %s", g->e.text);
	buf_done(&g->names[0]);
	buf_done(&g->names[1]);
	free(g);
	if (!s)
		return;
	s->gc = NULL;
	malloc_trim(0); /* after ten thousand deletes the memory goes back to where it was */
	if (s->gc_again)
		store_gc(s);
	else if (later)
		loop_timer_in(s->gc_timer, (GC_AGE_S + 1) * 1000000ll);
}

static void gc_decide(struct loop_work *w)
{
	struct gc *g = container_of(w, struct gc, work);
	struct map live = {0}, serials = {0};
	auto_buf others = {0};
	char to[80];

	if (!g->s)
		return gc_done(w);
	live_set(g->s, &live, &serials);
	if (g->s->swept)
		g->s->swept(g->s->swept_arg, &others);
	for (const char *p = others.p; p && p < others.p + others.n; p += strlen(p) + 1)
		if (!map_get(&live, str_of(p)))
			map_put(&live, str_of(p), g);
	snapshots_sweep(g->s, &serials);
	map_done(&serials);
	for (int i = 0; i < 2; i++) {
		const char *name = g->names[i].p, *end = name ? name + g->names[i].n : NULL;

		for (; name < end; name += strlen(name) + 1) {
			if (map_get(&live, str_of(name)))
				continue;
			if (g->s->backups || !old_enough(g->dirfd[i], name)) {
				g->too_young = true;
				continue;
			}
			if (hex_ok(name))
				snprintf(to, sizeof(to), "trash/%c%s", "bc"[i], name);
			else
				snprintf(to, sizeof(to), "trash/x%lld", (long long)clock_now_us());
			renameat(g->dirfd[i], name, g->s->dirfd, to);
		}
	}
	map_done(&live);
	g->work = (struct loop_work){.work = gc_trash_work, .done = gc_done};
	loop_thread_push(g->s->file_thread, &g->work);
}

static void gc_due(void *arg)
{
	gc_start(arg);
}

void store_gc(struct store *s)
{
	s->gc_again = s->gc != NULL;
	if (s->gc)
		return;
	if (!s->gc_timer)
		s->gc_timer = loop_timer_new(s->loop, gc_due, s);
	loop_timer_in(s->gc_timer, GC_SOON_US);
}

void gc_start(struct store *s)
{
	struct gc *g;

	if (s->gc)
		return;
	if (!s->gc_timer)
		s->gc_timer = loop_timer_new(s->loop, gc_due, s);
	loop_timer_stop(s->gc_timer);
	s->gc_again = false;
	g = s->gc = xcalloc(1, sizeof(*g));
	g->s = s;
	g->dirfd[0] = s->blobs_fd;
	g->dirfd[1] = s->code_fd;
	g->work = (struct loop_work){.work = gc_list_work, .done = gc_decide};
	loop_thread_push(s->file_thread, &g->work);
	store_change_start(s, NULL, change_new(CHANGE_TIDY));
}

/* The thread has ended: what it did is told to gc_done later, by the loop. */
void gc_free(struct store *s)
{
	if (s->gc)
		s->gc->s = NULL;
	s->gc = NULL;
	loop_timer_free(take_ptr(s->gc_timer));
}

/* Links: a blob never changes, nor does the file of an object. One that goes just now is named by nobody. */
static int link_files(int fd, const char *name, int made, struct err *e)
{
	auto_close int from = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	auto_close int to = from < 0 ? -1 : open_dir(made, name, e);
	DIR *d = from < 0 ? NULL : list_dir(from, ".");
	struct dirent *de;
	int r = 0;

	if (from < 0)
		return errno == ENOENT ? 0 : err_sys(e, errno, "open %s", name);
	if (to < 0 || !d)
		r = d ? -1 : err_sys(e, errno, "list %s", name);
	while (!r && (de = readdir(d)))
		if (de->d_name[0] != '.' && linkat(from, de->d_name, to, de->d_name, 0) < 0 && errno != ENOENT)
			r = err_sys(e, errno, "link %s", de->d_name);
	if (d)
		closedir(d);
	if (!r && fsync(to) < 0)
		r = err_sys(e, errno, "sync %s", name);
	return r;
}

static int backup_database(struct store *s, const char *dir, struct err *e)
{
	auto_free char *path = xasprintf("%s/tandem.db", dir);
	struct db d = {0};
	int r = db_open(&d, s->dirfd, "tandem.db", false, e);

	if (!r)
		r = db_copy(&d, path, e);
	db_close(&d);
	if (!r && chmod(path, 0600) < 0)
		r = err_sys(e, errno, "chmod %s", path);
	return r;
}

/* The database first: whatever it names was durable before and is not swept meanwhile, so the blobs of after it are
 * enough. */
static int backup(struct store *s, const char *dir, struct err *e)
{
	auto_close int fd = -1;

	if (mkdir(dir, 0700) < 0)
		return errno == EEXIST ? err_set(e, ERR_EXISTS, "%s is there already", dir)
				       : err_sys(e, errno, "make %s", dir);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "open %s", dir);
	if (backup_database(s, dir, e) < 0 || link_files(s->dirfd, "blobs", fd, e) < 0 ||
	    link_files(s->dirfd, "objects", fd, e) < 0)
		return -1;
	if (fsync(fd) < 0)
		return err_sys(e, errno, "sync %s", dir);
	return 0;
}

static void backup_work(struct loop_work *w)
{
	struct store_op *op = container_of(w, struct store_op, work);

	if (backup(op->s, op->priv, &op->e) < 0) {
		if (op->e.kind != ERR_EXISTS) /* a full disk above all needs its room back */
			io_rm_tree(AT_FDCWD, op->priv, NULL);
		err_wrap(&op->e, "backup");
	}
	op->s->backups--;
}

bool store_backing_up(const struct store *s)
{
	return s->backups;
}

void store_backup(struct store *s, struct store_op *op, const char *dir)
{
	s->backups++;
	file_start(s, op, backup_work, xstrdup(dir));
}
