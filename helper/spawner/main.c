/* SPDX-License-Identifier: Apache-2.0 */
/* tandem-spawner: start, the one loop, the end. `tandem serve` executes it with struct serve_config in a file at
 * descriptor 3. */
#include "spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include "base/clock.h"
#include "base/log.h"

#define DRAIN_US   30000000
#define UPGRADE_US 10000000

/* epoll data: kind in 8 bits, generation in 24, slot in 32. */
int watch_add(struct spawner *s, int fd, enum watch_kind kind, unsigned slot, uint32_t gen)
{
	struct epoll_event ev = {.events = EPOLLIN,
				 .data.u64 = (uint64_t)kind << 56 | (uint64_t)(gen & 0xffffff) << 32 | slot};

	return epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &ev);
}

void watch_close(struct spawner *s, int *fd)
{
	if (*fd < 0)
		return;
	(void)epoll_ctl(s->epoll, EPOLL_CTL_DEL, *fd, NULL);
	close(*fd);
	*fd = -1;
}

static void begin_drain(struct spawner *s)
{
	struct spawner_msg m;

	if (s->draining || !s->daemon_pid) {
		s->exit_code = s->draining ? 1 : 0;
		s->quit = true;
		return;
	}
	s->draining = true;
	s->upgrading = false; /* the end comes first; tandemd is on its way out already */
	s->drain_deadline_us = clock_now_us() + DRAIN_US;
	state_notify("STOPPING=1");
	spawner_msg_init(&m, SPAWNER_DRAIN, 0);
	verbs_send(s, &m, NULL, 0);
}

static void begin_upgrade(struct spawner *s)
{
	struct spawner_msg m;
	struct err e = {0};

	if (s->draining || s->upgrading)
		return;
	if (handover_check(s, &e) < 0) {
		log_error("upgrade", "refused, all goes on as it was: %s", e.text);
		return;
	}
	s->upgrading = true;
	s->drain_deadline_us = clock_now_us() + UPGRADE_US;
	spawner_msg_init(&m, SPAWNER_HANDOVER, 0);
	verbs_send(s, &m, NULL, 0);
}

static void signal_event(struct spawner *s)
{
	struct signalfd_siginfo si;

	if (read(s->signals, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo == SIGHUP)
		begin_upgrade(s);
	else
		begin_drain(s);
}

static void slot_event(struct spawner *s, enum watch_kind kind, unsigned slot, uint32_t gen)
{
	/* An event of an earlier sandbox in the slot may still be in the batch. */
	if (slot >= SANDBOX_MAX || !s->id[slot] || (s->sb[slot].gen & 0xffffff) != gen)
		return;
	if (kind == WATCH_SETUP && s->sb[slot].setup >= 0)
		sandbox_setup_event(s, slot);
	else if (kind == WATCH_PID1)
		sandbox_reap(s, slot);
	else if (kind == WATCH_OOM)
		sandbox_oom_event(s, slot);
}

static void event(struct spawner *s, uint64_t data)
{
	enum watch_kind kind = (enum watch_kind)(data >> 56);
	uint32_t gen = data >> 32 & 0xffffff;
	unsigned slot = (unsigned)data;

	switch (kind) {
	case WATCH_SIGNALS:
		signal_event(s);
		break;
	case WATCH_DAEMON_SOCK:
		if (s->daemon_sock >= 0 && (s->daemon_gen & 0xffffff) == gen)
			verbs_receive(s);
		break;
	case WATCH_DAEMON_PID:
		if (s->daemon_pid && (s->daemon_gen & 0xffffff) == gen)
			daemon_gone(s);
		break;
	case WATCH_UNPACK:
	case WATCH_PULL:
	case WATCH_KEEP:
		job_event(s, kind, slot, gen);
		break;
	default:
		slot_event(s, kind, slot, gen);
	}
}

static int wait_ms(const struct spawner *s)
{
	int64_t first = job_next_deadline_us(s), now = clock_now_us();

	if (s->daemon_start_at_us && s->daemon_start_at_us < first)
		first = s->daemon_start_at_us;
	if (s->drain_deadline_us && s->drain_deadline_us < first)
		first = s->drain_deadline_us;
	if (first == INT64_MAX)
		return -1;
	return first <= now ? 0 : (int)((first - now + 999) / 1000);
}

static void timers(struct spawner *s)
{
	int64_t now = clock_now_us();
	struct err e = {0};

	job_expire(s, now);
	if (s->drain_deadline_us && now >= s->drain_deadline_us) {
		s->drain_deadline_us = 0;
		log_error("main", "tandemd did not finish in time");
		if (s->upgrading && s->daemon_pid)
			kill(s->daemon_pid, SIGKILL);
		else {
			s->exit_code = 1;
			s->quit = true;
		}
	}
	if (s->upgrading && !s->daemon_pid) {
		s->drain_deadline_us = 0;
		s->daemon_start_at_us = now;
		handover_exec(s); /* returns when it failed: the new tandemd then starts under us */
		s->upgrading = false;
	}
	if (s->daemon_start_at_us && now >= s->daemon_start_at_us && !s->daemon_pid && daemon_start(s, &e) < 0) {
		log_error("main", "%s", e.text);
		s->daemon_start_at_us = now + 1000000;
	}
}

static void run(struct spawner *s)
{
	struct epoll_event ev[64];

	while (!s->quit) {
		int n;

		timers(s);
		if (s->quit)
			break;
		n = epoll_wait(s->epoll, ev, ARRAY_SIZE(ev), wait_ms(s));
		for (int i = 0; i < n && !s->quit; i++)
			event(s, ev[i].data.u64);
	}
}

/* Everything that we started ends with us, and in our lifetime: group directories can only be removed when they are
 * empty. */
static void finish(struct spawner *s)
{
	if (s->daemon_pid) {
		struct pollfd p = {.fd = s->daemon_pidfd, .events = POLLIN};

		watch_close(s, &s->daemon_sock);
		if (poll(&p, 1, s->exit_code ? 0 : 2000) <= 0)
			kill(s->daemon_pid, SIGKILL);
		waitpid(s->daemon_pid, NULL, 0);
	}
	job_kill_all(s);
	for (unsigned i = 0; i < s->high; i++)
		if (s->id[i])
			sandbox_kill(s, i);
	for (unsigned i = 0; i < s->high; i++)
		if (s->id[i] && s->sb[i].pid)
			while (waitpid(s->sb[i].pid, NULL, 0) < 0 && errno == EINTR)
				;
	for (unsigned i = 0; i < s->high; i++)
		if (s->id[i] && s->sb[i].range)
			upper_remove(s, i);
	upper_finish(s);
	cg_remove(&s->cg);
	net_drop(s);
	egress_stop(s);
	state_remove_run(s);
}

/* Groups carry the state directory in their name, so that several daemons on one host do not end each other's
 * sandboxes. */
static void group_name(const char *state_dir, char out[32])
{
	uint64_t h = 14695981039346656037u; /* FNV-1a: a name, not a secret */

	for (const char *p = state_dir; *p; p++)
		h = (h ^ (unsigned char)*p) * 1099511628211u;
	snprintf(out, 32, "tandem-%08x", (unsigned)(h ^ h >> 32));
}

/* Sandboxes of a predecessor whose table we could not read are our children all the same. cg_find has killed them. */
static void reap_strangers(void)
{
	for (int tries = 0; tries < 200 && waitpid(-1, NULL, WNOHANG) >= 0; tries++)
		usleep(1000);
}

static int prepare(struct spawner *s, struct err *e)
{
	char name[32];

	if (s->lock < 0 && (state_setup(s, e) < 0 || state_listen(s, e) < 0 || state_take_ids(s, e) < 0))
		return -1;
	if (base_make(&s->config, &s->base, e) < 0)
		return -1;
	egress_start(s);
	net_learn(s);
	group_name(s->config.state_dir, name);
	s->cg.no_limits = s->config.no_layer == LAYER_NO_CGROUP;
	if (cg_find(&s->cg, name, e) < 0)
		return -1;
	cg_base(&s->cg, &s->listener[SL_GROUP_CPU], &s->listener[SL_GROUP_MEMORY]);
	reap_strangers();
	if (upper_setup(s, e) < 0)
		return -1;
	for (unsigned i = 0; i < s->cg.n; i++)
		log_debug("cgroup", "%s controllers=%x", s->cg.h[i].path, s->cg.h[i].ctl);
	return state_write_run(s, e);
}

/* Low numbers are kept taken: what we open lies above them, so that a child can place its own there without looking. */
static int reserve_fds(struct err *e)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (fd < 0)
			return err_sys(e, errno, "open /dev/null");
	} while (fd < FD_RESERVED);
	close(fd);
	return 0;
}

static int read_config(struct spawner *s, bool *ret_resumed, struct err *e)
{
	struct serve_config c;
	int fd = fcntl(CONFIG_FD, F_DUPFD_CLOEXEC, FD_RESERVED), resumed = 0;
	bool other;

	if (fd < 0)
		return err_set(e, ERR_INVALID, "tandem-spawner is started by \"tandem serve\", not by hand");
	(void)close(CONFIG_FD);
	if (reserve_fds(e) < 0)
		return -1;
	other = pread(fd, &c, sizeof(c), 0) != sizeof(c) || c.version != SPAWNER_VERSION;
	if (other) {
		(void)lseek(fd, 0, SEEK_SET);
		resumed = handover_resume(s, fd, e);
	} else
		s->config = c;
	if (!other || resumed)
		close(fd);
	if (resumed < 0 || reserve_fds(e) < 0)
		return -1;
	*ret_resumed = resumed == 1;
	s->config.state_dir[sizeof(s->config.state_dir) - 1] =
		s->config.libexec_dir[sizeof(s->config.libexec_dir) - 1] = 0;
	if (s->config.end != SPAWNER_END || s->config.state_dir[0] != '/' || s->config.libexec_dir[0] != '/' ||
	    !s->config.daemon_uid || !s->config.uid_base || s->config.uid_base > UINT32_MAX - 4 * SANDBOX_MAX)
		return err_set(e, ERR_INVALID, "the configuration of tandem-spawner is incomplete");
	if (!TANDEM_DEBUG && s->config.no_layer)
		return err_set(e, ERR_DENIED, "only debug builds can leave out a layer of the sandbox");
	return 0;
}

static int set_up_process(struct spawner *s, struct err *e)
{
	struct rlimit nofile;
	sigset_t set;

	if (getuid())
		return err_set(e, ERR_DENIED, "Tandem needs root to make sandboxes.");
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (getrlimit(RLIMIT_NOFILE, &nofile) == 0 && nofile.rlim_cur < nofile.rlim_max) {
		nofile.rlim_cur = nofile.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &nofile);
	}
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_SETMASK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (s->signals < 0 || s->epoll < 0 || watch_add(s, s->signals, WATCH_SIGNALS, 0, 0) < 0)
		return err_sys(e, errno, "set up the loop");
	return 0;
}

int main(int argc, char **argv)
{
	/* Some 2 MB of address space; only the slots in use become memory. */
	struct spawner *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct err e = {0};
	bool resumed = false;

	if (argc > 1 && !strcmp(argv[1], "--version")) {
		printf("tandem-spawner %s\n", TANDEM_VERSION);
		return 0;
	}
	log_init("tandem-spawner", LOG_INFO);
	if (s == MAP_FAILED)
		return 1;
	s->daemon_sock = s->daemon_pidfd = s->lock = s->ids = s->uppers = s->skel = s->sweep_kick = -1;
	s->egress.router = s->egress.own = -1;
	for (unsigned i = 0; i < SL_N; i++)
		s->listener[i] = -1;
	if (read_config(s, &resumed, &e) < 0 || set_up_process(s, &e) < 0 || (resumed && handover_watch(s, &e) < 0)) {
		fprintf(stderr, "tandem: %s\n", e.text);
		return 1;
	}
	log_init("tandem-spawner", s->config.debug ? LOG_DEBUG : LOG_INFO);
	if (!resumed && prepare(s, &e) < 0) {
		fprintf(stderr, "tandem: %s\n", e.text);
		cg_remove(&s->cg);
		egress_stop(s);
		return 1;
	}
	if (resumed)
		handover_renew(s);
	s->daemon_start_at_us = clock_now_us();
	run(s);
	finish(s);
	return s->exit_code;
}
