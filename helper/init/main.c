/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandem-init: process 1 of every sandbox. Static, no signal handlers, not dumpable: a function runs with the same uid,
 * and what could be written into here could be run by the sandbox's supervisor. Waits blank, starts or restores
 * programs when tandemd says so (wire/init.h), takes their images, reaps everybody, and reports what it started itself.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "init/run.h"
#include "seccomp_filter.h"
#include "snap/ahead.h"
#include "snap/remote.h"
#include "snap/snap.h"
#include "wire/fds.h"
#include "wire/init.h"

#define PROCS_MAX   64
#define STRINGS_MAX 4096
#define FDS_OF_ONE  3 /* message: EXEC's are the most */
static_assert(AHEAD_BYTES == INIT_PAGES_MAX, "a list fits into its message");

struct proc {
	pid_t pid; /* 0: free */
	uint32_t tag;
};

/* Process 2, made while the sandbox is still blank: a fork takes a tenth of a whole start. It becomes the runtime. */
struct first {
	pid_t pid;   /* 0: it has its order, or there is none */
	int orders;  /* the message that it is to carry out goes here */
	int told[2]; /* pipe: closed when it is another program, else errno or struct snap_told */
};

struct init {
	int children; /* signalfd */
	struct first first;
	bool prepare; /* this sandbox may be traced, by us alone */
	bool container;
	unsigned filters; /* system call filters that a process started here has */
	struct snap_ident ident;
	struct err no_ident; /* why there is none */
	struct stat image;   /* of what the runtime was restored from; st_ino 0: of nothing */
	struct proc proc[PROCS_MAX];
	uint64_t caps;
	char *argv[STRINGS_MAX + 4 + RUN_ENV_MORE]; /* of RUN: working directory, user; argv, NULL, env, NULL */
	union {
		struct init_msg msg;
		struct {
			struct init_msg msg;
			struct snap_ahead list;
		} pages;
		char bytes[INIT_MSG_MAX + 1];
	} in;
};

static void say(uint16_t verb, uint32_t tag, int32_t value)
{
	struct init_msg m = {.version = INIT_VERSION, .verb = verb, .tag = tag, .value = value};

	while (send(INIT_FD_CTL, &m, sizeof(m), MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

static void say_snap(uint16_t verb, uint32_t tag, int32_t value, const struct snap_stats *stats, const struct err *e)
{
	struct {
		struct init_msg msg;
		struct init_snap snap;
	} m = {
		.msg = {.version = INIT_VERSION,
			.verb = verb,
			.tag = tag,
			.value = value,
			.text_bytes = sizeof(m.snap)},
		.snap = {.bytes = stats->bytes,
			 .pages = stats->pages,
			 .mappings = stats->mappings,
			 .files = stats->files,
			 .took_us = stats->took_us},
	};

	snprintf(m.snap.text, sizeof(m.snap.text), "%.199s", e->text);
	while (send(INIT_FD_CTL, &m, sizeof(m), MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

/* Where we may trace, nobody else may: everything that we start gets the filter of all other sandboxes on top. */
static int strict_filter(void)
{
	struct sock_fprog prog = {ARRAY_SIZE(seccomp_filter), (struct sock_filter *)(uintptr_t)seccomp_filter};

	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0);
}

/* Between vfork and exec: the parent waits, memory is shared, so only system calls. Returns errno. */
static int become(char **argv, char **env, int keep_channel, bool strict)
{
	sigset_t none;

	sigemptyset(&none);
	if (strict && strict_filter() < 0)
		return errno;
	if (keep_channel && fcntl(INIT_FD_CHAN, F_SETFD, 0) < 0)
		return errno;
	if (chdir("/var/task") < 0)
		(void)!chdir("/");
	setsid();
	if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
		return errno;
	execve(argv[0], argv, env);
	return errno;
}

static struct proc *find(struct init *in, pid_t pid)
{
	for (int i = 0; i < PROCS_MAX; i++)
		if (in->proc[i].pid == pid)
			return &in->proc[i];
	return NULL;
}

/* Splits the strings, which begin behind head; the sender is trusted less than it could be: every one must end inside of
 * the message. lead of them stand before argv. */
static int split(struct init *in, size_t n, size_t head, uint32_t lead)
{
	const struct init_msg *m = &in->in.msg;
	char *p = in->in.bytes + head, *end = in->in.bytes + n;
	uint32_t at = 0;

	if (n < head || !m->argc || m->argc > STRINGS_MAX || m->envc > STRINGS_MAX - m->argc ||
	    m->text_bytes != n - head)
		return -1;
	for (uint32_t i = 0; i < lead + m->argc + m->envc; i++) {
		char *zero = memchr(p, 0, (size_t)(end - p));

		if (!zero)
			return -1;
		if (i == lead + m->argc)
			in->argv[at++] = NULL;
		in->argv[at++] = p;
		p = zero + 1;
	}
	if (!m->envc)
		in->argv[at++] = NULL;
	in->argv[at] = NULL;
	return p == end ? 0 : -1;
}

static int split_start(struct init *in, size_t n)
{
	return split(in, n, sizeof(in->in.msg), 0);
}

static int split_run(struct init *in, size_t n, struct run *ret)
{
	size_t head = sizeof(in->in.msg) + sizeof(ret->how);

	if (split(in, n, head, 2) < 0)
		return -1;
	memcpy(&ret->how, in->in.bytes + sizeof(in->in.msg), sizeof(ret->how));
	ret->cwd = in->argv[0];
	ret->user = in->argv[1];
	ret->argv = in->argv + 2;
	ret->env = ret->argv + in->in.msg.argc + 1;
	ret->caps = in->caps;
	ret->first = in->in.msg.verb == INIT_RUN;
	return 0;
}

/* Passes the message that is in hand on to process 2, which has one chance. */
static pid_t order_first(struct init *in, size_t n, int fd)
{
	pid_t pid = in->first.pid;

	if (!pid)
		return 0;
	if (fds_send(in->first.orders, in->in.bytes, n, &fd, fd >= 0, MSG_NOSIGNAL) < 0) {
		close(in->first.told[0]);
		pid = 0;
	}
	close(in->first.orders);
	in->first.pid = 0;
	return pid;
}

static void first_obeys(struct init *in, int orders)
{
	int fd = -1, sys;
	unsigned n_fds = 1;
	ssize_t n = fds_recv(orders, in->in.bytes, INIT_MSG_MAX + 1, &fd, &n_fds, 0);
	struct init_msg *m = &in->in.msg;
	struct run run = {.fd = {INIT_FD_CHAN, INIT_FD_LOG, INIT_FD_ERR}};

	if (n >= (ssize_t)sizeof(*m) && m->verb == INIT_RESTORE)
		snap_restore(&(struct snap_restore){.image = fd,
						    .channel = INIT_FD_CHAN,
						    .log = INIT_FD_LOG,
						    .waits = m->value == INIT_RESTORE_WAITS,
						    .told = in->first.told[1],
						    .ident = &in->ident});
	if (n >= (ssize_t)sizeof(*m) && m->verb == INIT_RUN && split_run(in, (size_t)n, &run) == 0) {
		sys = run_program(&run);
		(void)!write(in->first.told[1], &sys, sizeof(sys));
		_exit(127);
	}
	if (n < (ssize_t)sizeof(*m) || split_start(in, (size_t)n) < 0)
		_exit(127);
	sys = become(in->argv, in->argv + m->argc + 1, m->keep_channel != 0, false);
	(void)!write(in->first.told[1], &sys, sizeof(sys));
	_exit(127);
}

static int make_first(struct init *in)
{
	int orders[2];

	if (pipe2(in->first.told, O_CLOEXEC) < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, orders) < 0)
		return -1;
	in->first.pid = fork();
	if (in->first.pid == 0) {
		if (in->prepare && strict_filter() < 0)
			_exit(127);
		close(orders[0]);
		first_obeys(in, orders[1]);
	}
	in->first.orders = orders[0];
	close(orders[1]);
	close(in->first.told[1]);
	return in->first.pid < 0 ? -1 : 0;
}

/* Until process 2 is another program, or gone. */
static size_t first_told(struct init *in, void *to, size_t room)
{
	int fd = in->first.told[0];
	size_t n = 0;
	ssize_t got;

	while (n < room && (got = read(fd, (char *)to + n, room - n)) != 0) {
		if (got < 0 && errno != EINTR)
			break;
		n += got < 0 ? 0 : (size_t)got;
	}
	close(fd);
	return n;
}

/* Returns errno of what failed. */
static int spawn(struct init *in, size_t n, pid_t *ret_pid)
{
	const struct init_msg *m = &in->in.msg;
	volatile int failed = 0;
	pid_t pid = m->tag == INIT_TAG_RUNTIME ? order_first(in, n, -1) : 0;
	int sys = 0;

	if (pid) {
		(void)first_told(in, &sys, sizeof(sys));
	} else {
		pid = vfork();
		if (pid == 0) {
			failed = become(in->argv, in->argv + m->argc + 1, m->keep_channel != 0, in->prepare);
			_exit(127);
		}
		sys = pid < 0 ? errno : failed;
	}
	if (sys && pid > 0)
		waitpid(pid, NULL, 0);
	*ret_pid = pid;
	return sys;
}

static void start(struct init *in, size_t n)
{
	uint32_t tag = in->in.msg.tag;
	struct proc *slot = find(in, 0);
	pid_t pid;
	int sys;

	if (!slot || split_start(in, n) < 0)
		return say(INIT_FAILED, tag, slot ? EINVAL : EAGAIN);
	sys = spawn(in, n, &pid);
	if (sys)
		return say(INIT_FAILED, tag, sys);
	*slot = (struct proc){pid, tag};
	say(INIT_STARTED, tag, pid);
}

/* The container's own program, which is process 2. It goes there as it came: splitting it changes no byte. */
static int run_first(struct init *in, size_t n, pid_t *ret_pid)
{
	int sys = 0;

	*ret_pid = order_first(in, n, -1);
	if (!*ret_pid)
		return EINVAL;
	(void)first_told(in, &sys, sizeof(sys));
	if (sys)
		waitpid(*ret_pid, NULL, 0);
	return sys;
}

/* RUN and EXEC */
static void run(struct init *in, size_t n, const int *fds, unsigned n_fds)
{
	bool beside = in->in.msg.verb == INIT_EXEC;
	uint32_t tag = in->in.msg.tag;
	struct proc *slot = find(in, 0);
	int sys = EINVAL;
	struct run r;
	pid_t pid = 0;

	if (slot && in->container && split_run(in, n, &r) == 0) {
		for (unsigned i = 0; i < n_fds; i++)
			r.fd[i] = fds[i];
		if (!beside && tag == INIT_TAG_RUNTIME)
			sys = run_first(in, n, &pid);
		else if (beside && n_fds == (r.how.tty ? 1 : 3))
			sys = run_beside(&r, &pid);
	}
	if (sys)
		return say(INIT_FAILED, tag, slot ? sys : EAGAIN);
	*slot = (struct proc){pid, tag};
	say(INIT_STARTED, tag, pid);
}

static void forward_signal(struct init *in)
{
	bool found = false;

	for (int i = 0; i < PROCS_MAX; i++) {
		if (!in->proc[i].pid || in->proc[i].tag != in->in.msg.tag)
			continue;
		found = true;
		kill(in->proc[i].pid, in->in.msg.value);
	}
	if (!found)
		say(INIT_FAILED, in->in.msg.tag, ESRCH);
}

static void take(struct init *in, size_t n, int image)
{
	struct init_msg m = in->in.msg;
	struct init_take t;
	struct snap_take how = {.image = image,
				.channel = INIT_FD_CHAN,
				.log = INIT_FD_LOG,
				.image_dev = in->image.st_dev,
				.image_ino = in->image.st_ino,
				.filters = in->filters,
				.ident = &in->ident};
	struct snap_stats stats = {0};
	struct err e = in->no_ident;

	for (int i = 0; i < PROCS_MAX; i++)
		if (in->proc[i].pid && in->proc[i].tag == m.tag)
			how.pid = in->proc[i].pid;
	if (n != sizeof(m) + sizeof(t) || image < 0) {
		err_set(&e, ERR_INVALID, "malformed TAKE");
	} else if (!how.pid) {
		err_set(&e, ERR_NOT_FOUND, "the process has ended");
	} else if (!e.kind) {
		memcpy(&t, in->in.bytes + sizeof(m), sizeof(t));
		how.max_bytes = t.max_bytes;
		how.as_is = t.as_is;
		how.deadline_us = remote_now_us() + t.deadline_ms * 1000ll;
		if (snap_take(&how, &stats, &e) == 0)
			e.kind = ERR_NONE;
	}
	say_snap(INIT_TAKEN, m.tag, e.kind ? (int32_t)e.kind : 0, &stats, &e);
}

/* Waits until process 2 is the process, or has said why not: with or without it there is nothing else to do here. */
static int restore(struct init *in, int image, pid_t *ret_pid, struct snap_stats *stats, struct err *e)
{
	struct proc *slot = find(in, 0);
	char said[SNAP_TOLD_MAX];
	pid_t pid;

	if (in->no_ident.kind)
		return err_set(e, in->no_ident.kind, "%s", in->no_ident.text);
	if (!slot || in->in.msg.text_bytes || image < 0 || fstat(image, &in->image) < 0)
		return err_set(e, ERR_INVALID, "malformed RESTORE");
	pid = order_first(in, sizeof(in->in.msg), image);
	if (!pid)
		return err_set(e, ERR_CONFLICT, "something else was started first");
	if (snap_told(said, first_told(in, said, sizeof(said)), stats, e) < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return -1;
	}
	*slot = (struct proc){pid, in->in.msg.tag};
	*ret_pid = pid;
	return 0;
}

static void restore_answer(struct init *in, int image)
{
	int64_t began_us = remote_now_us();
	struct snap_stats stats = {0};
	struct err e = {0};
	pid_t pid = 0;

	if (restore(in, image, &pid, &stats, &e) < 0)
		in->image = (struct stat){0};
	stats.took_us = (uint32_t)(remote_now_us() - began_us);
	if (pid && in->in.msg.value == INIT_RESTORE_WAITS && !stats.unlisted)
		return; /* the process itself says it next */
	say_snap(INIT_RESTORED, in->in.msg.tag, pid, &stats, &e);
}

/* Only of what was restored here: its address space is the image's. */
static void tell_pages(struct init *in)
{
	struct init_msg m = {.version = INIT_VERSION, .verb = INIT_PAGES, .tag = in->in.msg.tag};
	struct err e;
	ssize_t n = 0;

	for (int i = 0; i < PROCS_MAX && in->image.st_ino; i++)
		if (in->proc[i].pid && in->proc[i].tag == m.tag)
			n = ahead_look(in->proc[i].pid, in->image.st_ino, &in->in.pages.list, &e);
	if (n <= 0)
		return;
	m.text_bytes = (uint32_t)n;
	in->in.msg = m;
	while (send(INIT_FD_CTL, in->in.bytes, sizeof(m) + (size_t)n, MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

static void obey(struct init *in, size_t n, const int *fds, unsigned n_fds)
{
	int fd = n_fds ? fds[0] : -1;

	switch (in->in.msg.verb) {
	case INIT_START:
		start(in, n);
		break;
	case INIT_RUN:
	case INIT_EXEC:
		run(in, n, fds, n_fds);
		break;
	case INIT_SIGNAL:
		forward_signal(in);
		break;
	case INIT_TAKE:
		take(in, n, fd);
		break;
	case INIT_RESTORE:
		restore_answer(in, fd);
		break;
	case INIT_PAGES:
		tell_pages(in);
		break;
	}
}

static void take_message(struct init *in)
{
	int fds[FDS_OF_ONE];
	unsigned n_fds = FDS_OF_ONE;
	ssize_t n = fds_recv(INIT_FD_CTL, in->in.bytes, INIT_MSG_MAX + 1, fds, &n_fds, MSG_DONTWAIT);

	if (n == 0)
		_exit(0); /* nobody holds the other end any more */
	if (n < 0 && errno != EAGAIN && errno != EINTR && errno != EMSGSIZE)
		_exit(1);
	if (n >= (ssize_t)sizeof(struct init_msg) && n <= INIT_MSG_MAX && in->in.msg.version == INIT_VERSION)
		obey(in, (size_t)n, fds, n_fds);
	for (unsigned i = 0; n >= 0 && i < n_fds; i++)
		close(fds[i]);
}

static void reap(struct init *in)
{
	struct signalfd_siginfo si;
	int status;
	pid_t pid;

	(void)!read(in->children, &si, sizeof(si)); /* taking an image may have read it already */
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct proc *p = find(in, pid);

		if (!p)
			continue; /* somebody's orphan */
		p->pid = 0;
		say(INIT_EXITED, p->tag, status);
	}
}

static unsigned own_filters(void)
{
	auto_close int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	char text[4096], *at;
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	text[n < 0 ? 0 : n] = 0;
	at = strstr(text, "\nSeccomp_filters:");
	return at ? (unsigned)strtoul(at + strlen("\nSeccomp_filters:"), NULL, 10) : 0;
}

/* Under an OCI runtime: what else would have been here from the beginning, the filter too. */
static int take_held(void)
{
	struct sock_fprog prog = {ARRAY_SIZE(seccomp_container_filter),
				  (struct sock_filter *)(uintptr_t)seccomp_container_filter};
	int fds[FDS_MAX];
	unsigned n = FDS_MAX;
	char secrets;

	if (fds_recv(INIT_FD_HELD, &secrets, 1, fds, &n, MSG_DONTWAIT) != 1)
		return -1;
	for (unsigned i = 0; i < n; i++)
		if (fcntl(fds[i], F_DUPFD_CLOEXEC, INIT_FD_SECRETS + (secrets && !i ? 0 : 1)) < 0)
			return -1;
	return close_range(INIT_FD_HELD, INIT_FD_SECRETS - 1, 0) < 0
		       ? -1
		       : prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0);
}

int main(int argc, char **argv)
{
	static struct init in;
	struct pollfd fds[2];
	sigset_t set;

	/* A debug build's spawner asks for "dumpable" when a test leaves this layer out. */
	if (prctl(PR_SET_DUMPABLE, argc > 2 && TANDEM_DEBUG && !strcmp(argv[2], "dumpable"), 0, 0, 0) < 0)
		return 1;
	in.prepare = argc > 1 && !strcmp(argv[1], "prepare");
	in.container = argc > 1 && (!strcmp(argv[1], "container") || !strcmp(argv[1], "runtime"));
	in.caps = argc > 3 ? strtoull(argv[3], NULL, 16) : RUN_CAPS_ALL;
	in.filters = own_filters() + in.prepare;
	if (in.container)
		err_set(&in.no_ident, ERR_INVALID, "no images are taken of containers");
	else
		(void)ident_make(&in.ident, &in.no_ident);
	for (int fd = INIT_FD_CTL; fd <= (in.container ? INIT_FD_ERR : INIT_FD_LOG); fd++)
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			return 1;
	if (in.container && !strcmp(argv[1], "runtime") && take_held() < 0)
		return 1;
	if (in.container && close_range(INIT_FD_SECRETS, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		return 1;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_SETMASK, &set, NULL);
	in.children = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (in.children < 0 || make_first(&in) < 0)
		return 1;
	fds[0] = (struct pollfd){.fd = INIT_FD_CTL, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = in.children, .events = POLLIN};
	for (;;) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return 1;
		if (fds[1].revents)
			reap(&in);
		if (fds[0].revents)
			take_message(&in);
	}
}
