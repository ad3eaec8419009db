/* SPDX-License-Identifier: Apache-2.0 */
#include "proc.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define READ_STEP (256u << 10)

int proc_alloc(struct snap_draft *d, struct err *e)
{
	if (mem_init(&d->mem, 1ull << 30, e) < 0)
		return -1;
	d->map = mem_take(&d->mem, SNAP_MAPS_MAX * sizeof(*d->map));
	d->run = mem_take(&d->mem, SNAP_RUNS_MAX * sizeof(*d->run));
	d->file = mem_take(&d->mem, SNAP_FILES_MAX * sizeof(*d->file));
	d->fd = mem_take(&d->mem, SNAP_FDS_MAX * sizeof(*d->fd));
	d->watch = mem_take(&d->mem, SNAP_WATCH_MAX * sizeof(*d->watch));
	d->xstate = mem_take(&d->mem, (size_t)SNAP_THREADS_MAX * SNAP_XSTATE_MAX);
	d->text = mem_take(&d->mem, SNAP_TEXT_MAX);
	d->whole = mem_take(&d->mem, SNAP_MAPS_MAX);
	return d->whole ? 0 : err_set(e, ERR_BUG, "too little memory reserved");
}

int proc_text(struct snap_draft *d, const char *text, uint32_t *ret_at, struct err *e)
{
	uint32_t *used = &d->head.table[TABLE_TEXT].n;
	size_t n = strlen(text) + 1;

	if (n > SNAP_TEXT_MAX - *used)
		return err_set(e, ERR_LIMIT, "too many names of files");
	memcpy(d->text + *used, text, n);
	*ret_at = *used;
	*used += (uint32_t)n;
	return 0;
}

int proc_read(struct snap_draft *d, const char *name, char **ret, size_t *ret_n, struct err *e)
{
	char path[64];
	size_t n = 0;
	char *p = d->mem.base + d->mem.used;
	auto_close int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)d->take->pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "open %s", path);
	for (;;) {
		size_t room = d->mem.room - d->mem.used - n;
		ssize_t got;

		if (room < READ_STEP + 64)
			return err_set(e, ERR_LIMIT, "%s is too long", path);
		got = read(fd, p + n, READ_STEP);
		if (got < 0)
			return err_sys(e, errno, "read %s", path);
		if (got == 0)
			break;
		n += (size_t)got;
		if (remote_now_us() > d->take->deadline_us)
			return err_set(e, ERR_TIMEOUT, "reading %s takes too long", path);
	}
	p[n] = 0;
	*ret = mem_take(&d->mem, n + 1);
	if (ret_n)
		*ret_n = n;
	return 0;
}

int proc_write(const struct snap_draft *d, const void *from, size_t n, uint64_t at, struct err *e)
{
	const char *p = from;

	while (n) {
		ssize_t put = pwrite(d->take->image, p, n, (off_t)at);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return err_sys(e, put ? errno : ENOSPC, "write the image");
		p += put, at += (uint64_t)put, n -= (size_t)put;
	}
	return 0;
}

/* The value of "Name:\tvalue" in /proc/PID/status, in some base. */
static int field(const char *status, const char *name, int base, uint64_t *ret, struct err *e)
{
	const char *p = strstr(status, name);

	if (!p)
		return err_set(e, ERR_UNAVAILABLE, "the kernel does not tell %s", name);
	*ret = strtoull(p + strlen(name), NULL, base);
	return 0;
}

static int check_thread(struct snap_draft *d, const char *status, struct err *e)
{
	uint64_t n, pending, shared, umask_bits;

	if (field(status, "\nSigPnd:", 16, &pending, e) < 0 || field(status, "\nShdPnd:", 16, &shared, e) < 0)
		return -1;
	if (pending | shared)
		return err_set(e, ERR_CONFLICT, "signals wait for it (mask %#llx)",
			       (unsigned long long)(pending | shared));
	if (field(status, "\nSeccomp_filters:", 10, &n, e) < 0)
		return -1;
	if (n != d->take->filters)
		return err_set(e, ERR_CONFLICT, "it has set a system call filter of its own");
	if (strstr(status, "\nx86_Thread_features:\tshstk"))
		return err_set(e, ERR_CONFLICT, "it uses a shadow stack");
	if (field(status, "\nUmask:", 8, &umask_bits, e) < 0)
		return -1;
	d->head.proc.umask = (uint32_t)umask_bits & 0777;
	return 0;
}

/* At ordinary priority, as tandem-init starts it, on any processor. */
static int check_scheduling(pid_t tid, struct err *e)
{
	cpu_set_t ours, its;
	int nice = getpriority(PRIO_PROCESS, (id_t)tid), policy = sched_getscheduler(tid);

	if (nice != getpriority(PRIO_PROCESS, 0) || policy != sched_getscheduler(0))
		return err_set(e, ERR_CONFLICT, "it has changed its scheduling (nice %d, policy %d)", nice, policy);
	CPU_ZERO(&ours);
	CPU_ZERO(&its);
	if (sched_getaffinity(0, sizeof(ours), &ours) < 0 || sched_getaffinity(tid, sizeof(its), &its) < 0 ||
	    memcmp(&ours, &its, sizeof(ours)))
		return err_set(e, ERR_CONFLICT, "it has bound itself to processors");
	return 0;
}

/* The numbers between those of threads have to be used up, too, when they are restored. */
static int check_threads(struct snap_draft *d, struct err *e)
{
	const struct remotes *s = &d->remotes;
	char name[48], *text;

	if (s->thread[0].tid != s->pid || s->thread[s->n - 1].tid - s->pid >= (int)(SNAP_GAPS_MAX + s->n))
		return err_set(e, ERR_CONFLICT, "more than %u threads or processes have ended between those that run",
			       SNAP_GAPS_MAX);
	for (unsigned i = 0; i < s->n; i++) {
		snprintf(name, sizeof(name), "task/%d/status", (int)s->thread[i].tid);
		if (proc_read(d, name, &text, NULL, e) < 0 || check_thread(d, text, e) < 0 ||
		    check_scheduling(s->thread[i].tid, e) < 0)
			return -1;
	}
	return 0;
}

/* It has to lead a session of its own, as tandem-init starts it. */
static int check_session(struct snap_draft *d, const char *stat_text, struct err *e)
{
	const char *p = strrchr(stat_text, ')');
	struct snap_proc *s = &d->head.proc;
	int pgrp, sid, tty;
	int got =
		p ? sscanf(p + 1,
			   " %*c %*d %d %d %d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %*u %*u %*d %*u "
			   "%lu %lu %lu %*u %*u %*u %*u %*u %*u %*u %*u %*u %*d %*d %*u %*u %*u %*u %*d %lu %lu %lu "
			   "%lu %lu %lu %lu",
			   &pgrp, &sid, &tty, &s->start_code, &s->end_code, &s->start_stack, &s->start_data,
			   &s->end_data, &s->start_brk, &s->arg_start, &s->arg_end, &s->env_start, &s->env_end)
		  : 0;

	if (got != 13)
		return err_set(e, ERR_UNAVAILABLE, "the kernel's stat file has an unknown form");
	if (pgrp != d->take->pid || sid != d->take->pid || tty)
		return err_set(e, ERR_CONFLICT, "it has left its session or process group");
	return 0;
}

/* Other processes: only its children and what they left behind can be here beside us. */
static int check_alone(struct snap_draft *d, struct err *e)
{
	DIR *dir = opendir("/proc");
	int other = 0;

	if (!dir)
		return err_sys(e, errno, "open /proc");
	for (struct dirent *p; (p = readdir(dir));) {
		int pid = atoi(p->d_name);

		if (pid > 0 && pid != getpid() && pid != d->take->pid)
			other = pid;
	}
	closedir(dir);
	return other ? err_set(e, ERR_CONFLICT, "another process runs beside it (pid %d)", other) : 0;
}

static int check_empty(const char *path, struct err *e)
{
	DIR *dir = opendir(path);
	char name[128] = "";

	if (!dir)
		return errno == ENOENT ? 0 : err_sys(e, errno, "look for files in %s", path);
	for (struct dirent *f; (f = readdir(dir));)
		if (strcmp(f->d_name, ".") && strcmp(f->d_name, ".."))
			snprintf(name, sizeof(name), "%.100s", f->d_name);
	closedir(dir);
	return *name ? err_set(e, ERR_CONFLICT, "it has left a file: %s/%s", path, name) : 0;
}

/* Semaphores, queues and memory of System V outlive every descriptor. The first line of each list is its heading. */
static int check_sysv(struct err *e)
{
	static const char *const lists[] = {"/proc/sysvipc/sem", "/proc/sysvipc/msg", "/proc/sysvipc/shm"};
	char text[1024];

	for (unsigned i = 0; i < ARRAY_SIZE(lists); i++) {
		auto_close int fd = open(lists[i], O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
		char *newline;

		text[n > 0 ? n : 0] = 0;
		newline = strchr(text, '\n');
		if (newline && newline[1])
			return err_set(e, ERR_CONFLICT, "it uses System V %s", lists[i] + strlen("/proc/sysvipc/"));
	}
	return 0;
}

/* Of a table of two lines, names and values, both with the same head: "Tcp: ActiveOpens ..." (networking/snmp_counter.rst
 * of the kernel). -1: it is not there. */
static long long counter(const char *text, const char *head, const char *name)
{
	const char *at = strstr(text, head), *value = at ? strstr(at + 1, head) : NULL;
	size_t n = strlen(name);

	if (!value)
		return -1;
	at += strlen(head);
	value += strlen(head);
	while (strncmp(at, name, n) || (at[n] != ' ' && at[n] != '\n')) {
		at += strcspn(at, " \n");
		value += strcspn(value, " \n");
		if (*at++ != ' ' || *value++ != ' ')
			return -1;
	}
	return strtoll(value, NULL, 10);
}

/* Connections opened and datagrams sent in the sandbox's net namespace, which nobody used before it. */
static int check_network(struct snap_draft *d, struct err *e)
{
	char *v4, *v6, *sent6;

	if (proc_read(d, "net/snmp", &v4, NULL, e) < 0)
		return -1;
	sent6 = proc_read(d, "net/snmp6", &v6, NULL, NULL) < 0 ? NULL : strstr(v6, "Udp6OutDatagrams"); /* or no IPv6 */
	if (counter(v4, "\nTcp: ", "ActiveOpens") || counter(v4, "\nUdp: ", "OutDatagrams") ||
	    (sent6 && strtoll(sent6 + strlen("Udp6OutDatagrams"), NULL, 10)))
		return err_set(e, ERR_CONFLICT,
			       "its initialisation used the network (snapshot: on makes one nevertheless)");
	return 0;
}

int proc_status(struct snap_draft *d, struct err *e)
{
	char *text;
	size_t n;

	d->head.proc.pid = (uint32_t)d->take->pid;
	if (check_threads(d, e) < 0)
		return -1;
	if (proc_read(d, "stat", &text, NULL, e) < 0 || check_session(d, text, e) < 0)
		return -1;
	if (proc_read(d, "timers", &text, &n, e) < 0)
		return -1;
	if (n)
		return err_set(e, ERR_CONFLICT, "it has timers (timer_create)");
	if (check_alone(d, e) < 0 || check_sysv(e) < 0)
		return -1;
	if (!d->take->as_is &&
	    (check_empty("/tmp", e) < 0 || check_empty("/dev/shm", e) < 0 || check_network(d, e) < 0))
		return -1;
	if (proc_read(d, "auxv", &text, &n, e) < 0)
		return -1;
	d->head.proc.n_auxv = (uint32_t)(n / sizeof(uint64_t));
	if (n > sizeof(d->head.proc.auxv) || n % 16)
		return err_set(e, ERR_UNAVAILABLE, "the auxiliary vector is longer than expected");
	memcpy(d->head.proc.auxv, text, n);
	return 0;
}
