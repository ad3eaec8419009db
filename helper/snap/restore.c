/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include "ahead.h"
#include "plan.h"
#include "remote.h"

#define RSEQ_BYTES 32
#define MEM_ROOM   (SNAP_TABLES_MAX + (1 << 20))

struct restore {
	struct snap_restore in;
	bool waited;
	struct snap_mem mem;
	struct snap_view view;
	struct ahead ahead;
	int file_fd[SNAP_FILES_MAX];
	int pipe[SNAP_FDS_MAX][2]; /* of the first descriptor of each */
	bool filled[SNAP_FDS_MAX];
};

static int move_up(int fd)
{
	return fcntl(fd, F_DUPFD_CLOEXEC, SNAP_FD_END);
}

static int read_image(struct restore *r, struct err *e)
{
	struct snap_head *h;
	struct stat st;
	size_t n;
	char *tables;

	if (mem_init(&r->mem, MEM_ROOM, e) < 0)
		return -1;
	h = mem_take(&r->mem, sizeof(*h));
	if (fstat(r->in.image, &st) < 0)
		return err_sys(e, errno, "look at the image");
	ahead_begin(&r->ahead, &r->mem, r->in.image, &st);
	if (pread(r->in.image, h, sizeof(*h), 0) != (ssize_t)sizeof(*h))
		return err_set(e, ERR_CORRUPT, "the image is too short");
	if (view_tables_bytes(h, (uint64_t)st.st_size, &n, e) < 0)
		return -1;
	tables = mem_take(&r->mem, n);
	if (!tables || pread(r->in.image, tables, n, (off_t)h->tables_at) != (ssize_t)n)
		return err_set(e, ERR_CORRUPT, "the image is too short");
	if (view_parse(h, tables, n, (uint64_t)st.st_size, &r->view, e) < 0)
		return -1;
	if (ident_differs(&h->ident, r->in.ident))
		return err_set(e, ERR_CONFLICT, "%s has changed", ident_differs(&h->ident, r->in.ident));
	if (h->proc.pid != (uint32_t)getpid())
		return err_set(e, ERR_CONFLICT, "process number %d instead of %u", (int)getpid(), h->proc.pid);
	ahead_image(&r->ahead, &r->view);
	return 0;
}

/* Until the sandbox is the function's, where that is not so yet: its code is mounted, its limits hold. */
static int wait_for_sandbox(struct restore *r, struct err *e)
{
	struct pollfd p = {.fd = r->in.channel, .events = POLLIN};

	while (r->in.waits && !r->waited) {
		if (poll(&p, 1, -1) < 0 && errno != EINTR)
			return err_sys(e, errno, "wait for the sandbox");
		if (p.revents & ~POLLIN)
			return err_set(e, ERR_CANCELED, "the sandbox was given up");
		r->waited = p.revents != 0;
	}
	return 0;
}

static bool of_function(const char *path)
{
	return !strncmp(path, "/var/task", 9) || !strncmp(path, "/opt", 4);
}

/* A file is the same one if nothing that its owner can see of it has changed. */
static int open_file(struct restore *r, uint32_t i, int flags, int *ret, struct err *e)
{
	const struct snap_file *f = &r->view.file[i];
	const char *path = r->view.text + f->path;
	struct snap_file now;
	struct stat st;
	int fd;

	if (of_function(path) && wait_for_sandbox(r, e) < 0)
		return -1;
	fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return err_sys(e, errno, "open %s", path);
	if (fstat(fd, &st) < 0) {
		close(fd);
		return err_sys(e, errno, "look at %s", path);
	}
	file_is(&now, &st);
	if (now.dev != f->dev || now.ino != f->ino || now.size != f->size || now.mtime_s != f->mtime_s ||
	    now.mtime_ns != f->mtime_ns) {
		close(fd);
		return err_set(e, ERR_CONFLICT, "%s has changed", path);
	}
	*ret = fd;
	return 0;
}

static int open_mapped(struct restore *r, struct err *e)
{
	for (uint32_t i = 0; i < SNAP_FILES_MAX; i++)
		r->file_fd[i] = -1;
	for (uint32_t i = 0; i < view_n(&r->view, TABLE_MAPS); i++) {
		uint32_t file = r->view.map[i].file;

		if (file && r->file_fd[file - 1] < 0 && open_file(r, file - 1, O_RDONLY, &r->file_fd[file - 1], e) < 0)
			return -1;
	}
	return 0;
}

/* Both ends, which the descriptors of it are made copies of; what it held is written first. */
static int make_pipe(struct restore *r, uint32_t i, struct err *e)
{
	int pair[2];

	if (pipe2(pair, O_CLOEXEC | O_NONBLOCK) < 0)
		return err_sys(e, errno, "make a pipe");
	for (unsigned end = 0; end < 2; end++) {
		r->pipe[i][end] = move_up(pair[end]);
		close(pair[end]);
	}
	return r->pipe[i][0] < 0 || r->pipe[i][1] < 0 ? err_sys(e, errno, "make a pipe") : 0;
}

static int open_pipe(struct restore *r, uint32_t i, int *ret, struct err *e)
{
	const struct snap_fd *f = &r->view.fd[i];
	uint32_t first = f->of - 1;
	int end = (f->flags & O_ACCMODE) != O_RDONLY;

	if (first == i && make_pipe(r, i, e) < 0)
		return -1;
	if (f->held && !end && !r->filled[first]) {
		r->filled[first] = true;
		if (write(r->pipe[first][1], r->view.text + f->offset, f->held) != (ssize_t)f->held)
			return err_sys(e, errno, "fill a pipe");
	}
	*ret = r->pipe[first][end];
	return 0;
}

/* The descriptor that is placed; the same kind of descriptor may be a copy of one that is there. */
static int open_fd(struct restore *r, uint32_t i, int *ret, bool *ret_close, struct err *e)
{
	const struct snap_fd *f = &r->view.fd[i];

	*ret_close = f->kind == FD_FILE || f->kind == FD_EPOLL || (f->kind == FD_EVENT && f->of == i + 1);
	switch (f->kind) {
	case FD_CHANNEL:
	case FD_LOG:
		*ret = f->kind == FD_LOG ? r->in.log : r->in.channel;
		return 0;
	case FD_PIPE:
		return open_pipe(r, i, ret, e);
	case FD_EVENT:
		*ret = f->of == i + 1 ? eventfd((unsigned)f->offset, f->semaphore ? EFD_SEMAPHORE : 0)
				      : (int)r->view.fd[f->of - 1].fd;
		return *ret < 0 ? err_sys(e, errno, "make an eventfd") : 0;
	case FD_EPOLL:
		*ret = epoll_create1(0);
		return *ret < 0 ? err_sys(e, errno, "make an epoll set") : 0;
	default:
		if (open_file(r, f->of - 1, (int)(f->flags & (O_ACCMODE | O_DIRECTORY)), ret, e) < 0)
			return -1;
		if (f->offset && lseek(*ret, (off_t)f->offset, SEEK_SET) < 0)
			return err_sys(e, errno, "go to an offset");
		return 0;
	}
}

static int place_fd(struct restore *r, uint32_t i, struct err *e)
{
	const struct snap_fd *f = &r->view.fd[i];
	int settable = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME, fd, to = (int)f->fd;
	bool ours;

	if (open_fd(r, i, &fd, &ours, e) < 0)
		return -1;
	if (fd != to && dup3(fd, to, (int)(f->flags & O_CLOEXEC)) < 0)
		return err_sys(e, errno, "place descriptor %d", to);
	if (fd == to && fcntl(to, F_SETFD, f->flags & O_CLOEXEC ? FD_CLOEXEC : 0) < 0)
		return err_sys(e, errno, "place descriptor %d", to);
	if (fcntl(to, F_SETFL, (int)f->flags & settable) < 0)
		return err_sys(e, errno, "set the flags of descriptor %d", to);
	if (ours && fd != to)
		close(fd);
	return 0;
}

static int watch_fds(const struct restore *r, struct err *e)
{
	for (uint32_t i = 0; i < view_n(&r->view, TABLE_WATCHES); i++) {
		const struct snap_watch *w = &r->view.watch[i];
		struct epoll_event event = {.events = w->events, .data.u64 = w->data};

		if (epoll_ctl((int)w->epoll, EPOLL_CTL_ADD, (int)w->fd, &event) < 0)
			return err_sys(e, errno, "wait for descriptor %u", w->fd);
	}
	return 0;
}

/* Ours go above; below there will be what the image says and, until the plan has closed them, the files that it maps. */
static int place_fds(struct restore *r, struct err *e)
{
	r->in.image = move_up(r->in.image);
	r->in.channel = move_up(r->in.channel);
	r->in.log = move_up(r->in.log);
	if (r->in.image < 0 || r->in.channel < 0 || r->in.log < 0 || close_range(0, SNAP_FD_END - 1, 0) < 0)
		return err_sys(e, errno, "place descriptors");
	for (uint32_t i = 0; i < view_n(&r->view, TABLE_FDS); i++)
		if (place_fd(r, i, e) < 0)
			return -1;
	return watch_fds(r, e);
}

static int set_process(const struct restore *r, struct err *e)
{
	const struct snap_proc *p = &r->view.head->proc;

	umask(p->umask);
	if (setsid() < 0)
		return err_sys(e, errno, "make a session");
	return 0;
}

static int make_arena(struct restore *r, struct plan *p, struct err *e)
{
	uint64_t at = plan_arena(&r->view, &p->arena_bytes);
	size_t code = (size_t)(arena_code_end - arena_code);

	if (!at)
		return err_set(e, ERR_CONFLICT, "no free place between the mappings");
	p->arena = mmap((void *)(uintptr_t)at, p->arena_bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (p->arena == MAP_FAILED)
		return err_sys(e, errno, "map the arena");
	p->view = &r->view;
	p->image = r->in.image;
	p->file_fd = r->file_fd;
	p->told = r->in.told;
	p->by_page = r->ahead.disk && !r->ahead.list;
	p->channel = r->in.waits && !r->waited ? r->in.channel : -1;
	memcpy(p->arena, arena_code, code);
	if (mprotect(p->arena, SNAP_PAGE, PROT_READ | PROT_EXEC) < 0)
		return err_sys(e, errno, "protect the arena");
	return plan_make(p, e);
}

static void tell(const struct restore *r, const struct err *failed)
{
	const struct snap_head *h = r->view.head;
	struct snap_told t = {0};

	if (failed) {
		t.failed = 1;
		snprintf(t.text, sizeof(t.text), "%.*s", (int)sizeof(t.text) - 1, failed->text);
	} else {
		t.stats = (struct snap_stats){.bytes = h->file_bytes,
					      .mappings = h->table[TABLE_MAPS].n,
					      .files = h->table[TABLE_FILES].n,
					      .unlisted = r->ahead.disk && !r->ahead.list};
		for (uint32_t i = 0; i < h->table[TABLE_RUNS].n; i++)
			t.stats.pages += r->view.run[i].pages;
	}
	(void)!write(r->in.told, &t, sizeof(t));
}

static int prepare(struct restore *r, struct plan *p, struct err *e)
{
	/* First, so that the numbers below are free for what the image says. */
	r->in.told = move_up(r->in.told);
	if (r->in.told < 0)
		return err_sys(e, errno, "place descriptors");
	if (read_image(r, e) < 0 || place_fds(r, e) < 0 || open_mapped(r, e) < 0 || set_process(r, e) < 0)
		return -1;
	ahead_files(&r->ahead, r->file_fd);
	/* Much memory is taken only when the limit is the function's. */
	if (r->view.head->proc.eager && wait_for_sandbox(r, e) < 0)
		return -1;
	return make_arena(r, p, e);
}

void snap_restore(const struct snap_restore *in)
{
	struct restore r = {.in = *in};
	struct plan p = {0};
	struct err e = {0};
	sigset_t all;
	char *stack;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL); /* the frame has the mask of the process */
	if (prepare(&r, &p, &e) < 0) {
		tell(&r, &e);
		_exit(127);
	}
	tell(&r, NULL);
	/* Our own area goes with our memory; the kernel would write into it at the next preemption. */
	(void)syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset, RSEQ_BYTES, 1, RSEQ_SIG);
	stack = p.arena + p.arena_bytes - 64;
	__asm__ volatile("mov %0, %%rsp\n\txor %%ebp, %%ebp\n\tpush $0\n\tjmp *%1"
			 :
			 : "r"(stack), "r"(p.arena), "D"(p.job)
			 : "memory");
	__builtin_unreachable();
}

int snap_told(const void *bytes, size_t n, struct snap_stats *ret, struct err *e)
{
	static const char *const whats[WHAT_N] = {
		[WHAT_CLEAR] = "unmap",
		[WHAT_VDSO] = "place the vdso",
		[WHAT_MAP] = "map",
		[WHAT_READ] = "read pages",
		[WHAT_PROTECT] = "protect",
		[WHAT_ADVISE] = "advise",
		[WHAT_PROCESS] = "set up memory",
		[WHAT_SIGNAL] = "signals",
		[WHAT_WAIT] = "wait for the sandbox",
		[WHAT_FOLDER] = "go to its folder",
		[WHAT_THREAD] = "thread",
		[WHAT_CLOSE] = "descriptors",
	};
	struct snap_told t;
	struct arena_failed f;

	if (n < sizeof(t))
		return err_set(e, ERR_CANCELED, "the process ended while it was restored");
	memcpy(&t, bytes, sizeof(t));
	if (t.failed)
		return err_set(e, ERR_CONFLICT, "%.*s", (int)strnlen(t.text, sizeof(t.text)), t.text);
	if (n >= sizeof(t) + sizeof(f)) {
		memcpy(&f, (const char *)bytes + sizeof(t), sizeof(f));
		return err_set(e, ERR_SYS, "%s, step %u at %llx: %s", f.what < WHAT_N ? whats[f.what] : "?", f.op,
			       (unsigned long long)f.address, strerror(f.result < 0 ? (int)-f.result : EIO));
	}
	*ret = t.stats;
	return 0;
}
