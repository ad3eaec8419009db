/* SPDX-License-Identifier: Apache-2.0 */
/* Names under objects/, the threads that use them, and what is removed when. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "object/object_int.h"

#define OLD_ENOUGH_US (60 * 1000000ll) /* a daemon that hands over to us may still be committing what it linked */

struct doomed {
	struct list node;
	struct loop_work work;
	struct buf files;
	uint64_t turn; /* of the last read that may have seen them */
	int dirfd;
};

struct loop_thread *objects_thread(struct objects *o, enum object_thread kind)
{
	static const char *const names[THREAD_N] = {"obj-write", "obj-hash", "obj-sync", "obj-read", "obj-remove"};
	struct loop_thread **t = &o->threads[kind][kind == THREAD_REMOVE ? 0 : o->next_thread++ % THREADS_EACH];

	if (!*t)
		*t = loop_thread_new(o->opts.loop, names[kind]);
	return *t;
}

int files_open(struct objects *o, struct err *e)
{
	int state = store_dirfd(o->opts.store);

	if (mkdirat(state, "objects", 0700) < 0 && errno != EEXIST)
		return err_sys(e, errno, "make objects/");
	o->dirfd = openat(state, "objects", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (o->dirfd < 0)
		return err_sys(e, errno, "open objects/");
	snprintf(o->birth, sizeof(o->birth), "%08x", (unsigned)rand_u64());
	list_init(&o->doomed);
	return 0;
}

void file_name(struct objects *o, char ret[FILE_NAME_MAX])
{
	snprintf(ret, FILE_NAME_MAX, "%s-%llx", o->birth, (unsigned long long)++o->last_file);
}

int file_keep(int dirfd, int fd, const char *name, struct err *e)
{
	char self[32];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (fsync(fd) < 0 || linkat(AT_FDCWD, self, dirfd, name, AT_SYMLINK_FOLLOW) < 0 || fsync(dirfd) < 0)
		return err_sys(e, errno, "keep what was sent");
	return 0;
}

bool file_next(struct str *rest, struct str *ret_name, int64_t *ret_size)
{
	struct str one, size;

	return str_next(rest, ' ', &one) && str_cut(one, ':', ret_name, &size) &&
	       str_to_i64(size, 0, INT64_MAX, ret_size) == 0;
}

/* --- removing --- */

static void remove_work(struct loop_work *w)
{
	struct doomed *d = container_of(w, struct doomed, work);
	struct str rest = buf_str(&d->files), name;
	int64_t size;

	while (file_next(&rest, &name, &size)) {
		auto_free char *path = str_dup(name);

		unlinkat(d->dirfd, path, 0);
	}
}

static void removed(struct loop_work *w)
{
	struct doomed *d = container_of(w, struct doomed, work);

	buf_done(&d->files);
	free(d);
}

/* Whether somebody may still read one of them. */
static bool is_read(const struct objects *o, const struct doomed *d)
{
	list_each((struct list *)&o->reads, it)
	{
		const struct object_read *r = container_of(it, struct object_read, node);
		struct str rest = str_of(r->row.files), name;
		int64_t size;

		if (r->turn <= d->turn && (!r->pinned || (file_next(&rest, &name, &size) &&
							  memmem(d->files.p, d->files.n, name.p, name.n + 1))))
			return true;
	}
	return false;
}

void files_undoom(struct objects *o)
{
	list_each(&o->doomed, it)
	{
		struct doomed *d = container_of(it, struct doomed, node);

		/* A backup links what its copy of the database names; later will do. */
		if (is_read(o, d) || store_backing_up(o->opts.store))
			continue;
		list_del(it);
		d->work = (struct loop_work){.work = remove_work, .done = removed};
		loop_thread_push(objects_thread(o, THREAD_REMOVE), &d->work);
	}
}

void files_doom(struct objects *o, struct buf *files)
{
	struct doomed *d;

	if (!files->n)
		return;
	d = xcalloc(1, sizeof(*d));
	d->files = *files;
	*files = (struct buf){0};
	d->turn = o->turn;
	d->dirfd = o->dirfd;
	list_push(&o->doomed, &d->node);
	files_undoom(o);
}

/* --- what a crash left --- */

struct sweep {
	struct store_tx tx;
	struct store_part part;
	struct loop_work work;
	struct objects *o; /* NULL: gone */
	struct buf named;
	struct str *names;
	size_t n;
	int dirfd, n_removed, n_young;
	char birth[9];
};

static int collect(struct store_part *p, struct db *d, struct err *e)
{
	struct sweep *s = container_of(p, struct sweep, part);

	buf_clear(&s->named);
	return object_rows_files(d, &s->named, e);
}

static int by_name(const void *a, const void *b)
{
	const struct str *x = a, *y = b;
	int c = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);

	return c ? c : (x->n > y->n) - (x->n < y->n);
}

static void sweep_one(struct sweep *s, const char *name)
{
	struct stat st;

	if (fstatat(s->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return;
	if (st.st_ctim.tv_sec * 1000000ll + OLD_ENOUGH_US < clock_wall_us())
		s->n_removed += unlinkat(s->dirfd, name, 0) == 0;
	else
		s->n_young++;
}

static void sweep_work(struct loop_work *w)
{
	struct sweep *s = container_of(w, struct sweep, work);
	struct str rest = buf_str(&s->named), name;
	int fd = openat(s->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;
	size_t cap = 0;
	int64_t size;

	while (file_next(&rest, &name, &size)) {
		if (s->n == cap)
			s->names = xrealloc(s->names, (cap = cap ? cap * 2 : 64) * sizeof(*s->names));
		s->names[s->n++] = name;
	}
	if (s->n)
		qsort(s->names, s->n, sizeof(*s->names), by_name);
	while (dir && (de = readdir(dir))) {
		name = str_of(de->d_name);
		if (de->d_name[0] != '.' && !str_starts(name, s->birth) &&
		    !(s->n && bsearch(&name, s->names, s->n, sizeof(*s->names), by_name)))
			sweep_one(s, de->d_name);
	}
	if (dir)
		closedir(dir);
}

static void swept(struct loop_work *w)
{
	struct sweep *s = container_of(w, struct sweep, work);

	if (s->n_removed)
		log_info("object", "removed what a crash had left files=%d", s->n_removed);
	if (s->o)
		s->o->sweep = NULL;
	if (s->o && s->n_young)
		loop_timer_in(s->o->sweep_timer, OLD_ENOUGH_US + 1000000);
	free(s->names);
	buf_done(&s->named);
	free(s);
}

static void collected(struct store_op *op, const struct err *e)
{
	struct sweep *s = container_of(op, struct sweep, tx.op);

	if (e->kind || !op->s || !s->o)
		return swept(&s->work);
	s->work = (struct loop_work){.work = sweep_work, .done = swept};
	loop_thread_push(objects_thread(s->o, THREAD_REMOVE), &s->work);
}

static void sweep_start(void *arg)
{
	struct objects *o = arg;
	struct sweep *s = xcalloc(1, sizeof(*s));

	o->sweep = s;
	s->o = o;
	s->dirfd = o->dirfd;
	memcpy(s->birth, o->birth, sizeof(s->birth));
	store_tx_init(&s->tx);
	s->tx.op.done = collected;
	s->part.apply = collect;
	store_tx_add(&s->tx, &s->part);
	store_tx_read(o->opts.store, &s->tx);
}

void files_sweep(struct objects *o)
{
	o->sweep_timer = loop_timer_new(o->opts.loop, sweep_start, o);
	sweep_start(o);
}

void files_free(struct objects *o)
{
	loop_timer_free(o->sweep_timer);
	if (o->sweep)
		o->sweep->o = NULL;
	list_each(&o->doomed, it)
	{
		struct doomed *d = container_of(it, struct doomed, node);

		list_del(it); /* the next start removes them */
		removed(&d->work);
	}
	for (int k = 0; k < THREAD_N * THREADS_EACH; k++)
		loop_thread_free(o->threads[k / THREADS_EACH][k % THREADS_EACH]);
	close_p(&o->dirfd);
}
