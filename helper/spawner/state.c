/* SPDX-License-Identifier: Apache-2.0 */
/* The state directory, the listeners, the run file, the service manager. */
#include "spawner.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "base/io.h"
#include "base/log.h"

#define BACKLOG 4096

/* A directory of the state: made, or checked to be one, then its owner and mode set. */
int state_own_dir(const char *path, uid_t uid, gid_t gid, mode_t mode, struct err *e)
{
	int fd;

	if (mkdir(path, mode) < 0 && errno != EEXIST)
		return err_sys(e, errno, "make %s", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "open %s", path);
	if (fchown(fd, uid, gid) < 0 || fchmod(fd, mode) < 0) {
		err_sys(e, errno, "set the owner of %s", path);
		close(fd);
		return -1;
	}
	return fd;
}

int state_setup(struct spawner *s, struct err *e)
{
	const struct serve_config *c = &s->config;
	char path[300];
	auto_close int dir = -1;

	if (io_mkdirs(c->state_dir, 0755, e) < 0)
		return -1;
	dir = state_own_dir(c->state_dir, 0, c->daemon_gid, 0710, e);
	if (dir < 0)
		return -1;
	s->lock = openat(dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->lock < 0)
		return err_sys(e, errno, "open %s/lock", c->state_dir);
	if (flock(s->lock, LOCK_EX | LOCK_NB) < 0)
		return err_set(
			e, ERR_CONFLICT,
			"Tandem already serves %s: stop that one first, or choose another directory with --state.",
			c->state_dir);
	snprintf(path, sizeof(path), "%s/daemon", c->state_dir);
	s->listener[SL_STATE_DIR] = state_own_dir(path, c->daemon_uid, c->daemon_gid, 0700, e);
	return s->listener[SL_STATE_DIR] < 0 ? -1 : 0;
}

#define IDS_RANGES 64

/* Several daemons on one host: two sandboxes of one id could signal each other. */
int state_take_ids(struct spawner *s, struct err *e)
{
	auto_close int dir = state_own_dir(RUN_DIR, 0, 0, 0755, e);

	if (dir < 0)
		return -1;
	for (unsigned i = 0; i < IDS_RANGES; i++) {
		char name[16];

		snprintf(name, sizeof(name), "ids-%u", i);
		s->ids = openat(dir, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (s->ids < 0)
			return err_sys(e, errno, "open %s/%s", RUN_DIR, name);
		if (flock(s->ids, LOCK_EX | LOCK_NB) == 0) {
			s->config.uid_base += i * IDS_PER_SPAWNER;
			return 0;
		}
		close_p(&s->ids);
		s->ids = -1;
	}
	return err_set(e, ERR_LIMIT, "%d daemons run on this host already: no range of user ids is free", IDS_RANGES);
}

/* Above 2^31 programs begin to take ids for negative numbers. */
int state_take_block(struct spawner *s, struct err *e)
{
	const uint32_t block_ids = RANGE_BLOCK * LAYER_IDS;
	auto_close int dir = state_own_dir(RUN_DIR, 0, 0, 0755, e);

	if (dir < 0)
		return -1;
	for (uint32_t i = 0; s->n_blocks < RANGE_BLOCKS && CONTAINER_ID_BASE + (i + 1) * block_ids <= INT32_MAX; i++) {
		char name[24];
		int fd;

		snprintf(name, sizeof(name), "containers-%u", i);
		fd = openat(dir, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd < 0)
			return err_sys(e, errno, "open %s/%s", RUN_DIR, name);
		/* A lock of our own on the same file is another open file: it is refused as well. */
		if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
			s->block[s->n_blocks++] = (struct range_block){fd, CONTAINER_ID_BASE + i * block_ids};
			return 0;
		}
		close(fd);
	}
	return err_set(e, ERR_LIMIT, "no range of user ids is free for another container");
}

/* Also of a predecessor that knew no numbers, by the file that the lock is on. */
unsigned state_ids_number(const struct spawner *s)
{
	struct stat ours, it;

	for (unsigned i = 0; fstat(s->ids, &ours) == 0 && i < IDS_RANGES; i++) {
		char path[40];

		snprintf(path, sizeof(path), "%s/ids-%u", RUN_DIR, i);
		if (stat(path, &it) == 0 && it.st_dev == ours.st_dev && it.st_ino == ours.st_ino)
			return i;
	}
	return IDS_RANGES;
}

static int listen_admin(struct spawner *s, struct err *e)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	mode_t old;
	int fd, ret;

	if ((size_t)snprintf(sa.sun_path, sizeof(sa.sun_path), "%.80s/admin.sock", s->config.state_dir) >=
		    sizeof(sa.sun_path) ||
	    strlen(s->config.state_dir) > 80)
		return err_set(e, ERR_INVALID,
			       "The state directory's path is too long for a socket in it (at most 80 bytes): %s",
			       s->config.state_dir);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_sys(e, errno, "open the admin socket");
	(void)unlink(sa.sun_path); /* ours: the lock is held */
	old = umask(0777);
	ret = bind(fd, (struct sockaddr *)&sa, sizeof(sa));
	umask(old);
	if (ret < 0 || chown(sa.sun_path, 0, s->config.daemon_gid) < 0 || chmod(sa.sun_path, 0660) < 0 ||
	    listen(fd, BACKLOG) < 0) {
		err_sys(e, errno, "bind %s", sa.sun_path);
		close(fd);
		return -1;
	}
	s->listener[SL_ADMIN] = fd;
	return 0;
}

static bool is_v4(const struct sockaddr_in6 *a)
{
	return IN6_IS_ADDR_V4MAPPED(&a->sin6_addr);
}

static bool is_loopback(const struct sockaddr_in6 *a)
{
	return is_v4(a) ? a->sin6_addr.s6_addr[12] == 127 : IN6_IS_ADDR_LOOPBACK(&a->sin6_addr);
}

void state_show_address(const struct sockaddr_in6 *a, char out[64])
{
	char ip[INET6_ADDRSTRLEN];

	if (is_v4(a))
		snprintf(out, 64, "%u.%u.%u.%u:%u", a->sin6_addr.s6_addr[12], a->sin6_addr.s6_addr[13],
			 a->sin6_addr.s6_addr[14], a->sin6_addr.s6_addr[15], ntohs(a->sin6_port));
	else
		snprintf(out, 64, "[%s]:%u", inet_ntop(AF_INET6, &a->sin6_addr, ip, sizeof(ip)), ntohs(a->sin6_port));
}

int state_listen_at(struct sockaddr_in6 *a)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = a->sin6_port};
	struct sockaddr *sa = is_v4(a) ? (struct sockaddr *)&v4 : (struct sockaddr *)a;
	socklen_t n = is_v4(a) ? sizeof(v4) : sizeof(*a);
	int fd, one = 1, saved;

	memcpy(&v4.sin_addr, a->sin6_addr.s6_addr + 12, 4);
	a->sin6_family = AF_INET6;
	fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
	    (is_v4(a) || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) == 0) && bind(fd, sa, n) == 0 &&
	    listen(fd, BACKLOG) == 0 && getsockname(fd, sa, &n) == 0) {
		if (is_v4(a))
			a->sin6_port = v4.sin_port;
		return fd;
	}
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static int refused(const struct sockaddr_in6 *a, const char *what, const char *option, struct err *e)
{
	char text[64];
	int sys = errno;

	state_show_address(a, text);
	if (sys == EADDRINUSE)
		return err_set(e, ERR_CONFLICT,
			       "Port in use: another program listens on %s. Stop it, or choose another address for the "
			       "%s with %s.",
			       text, what, option);
	return err_sys(e, sys, "Cannot listen on %s for the %s (%s)", text, what, option);
}

/* 127.0.0.1 gets [::1] with the same port beside it, where the host has IPv6. A picked port has to be free on both. */
static int listen_pair(struct sockaddr_in6 *a, int *ret_v4, int *ret_v6, const char *what, const char *option,
		       struct err *e)
{
	static const uint8_t home[4] = {127, 0, 0, 1};
	struct sockaddr_in6 asked = *a, v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};

	if (!is_v4(a)) {
		*ret_v6 = state_listen_at(a);
		return *ret_v6 < 0 ? refused(a, what, option, e) : 0;
	}
	for (int tries = 0; tries < 16; tries++) {
		*a = asked;
		*ret_v4 = state_listen_at(a);
		if (*ret_v4 < 0)
			return refused(a, what, option, e);
		if (memcmp(a->sin6_addr.s6_addr + 12, home, 4))
			return 0;
		v6.sin6_port = a->sin6_port;
		*ret_v6 = state_listen_at(&v6);
		if (*ret_v6 >= 0 || errno != EADDRINUSE)
			return 0;
		close(*ret_v4);
		*ret_v4 = -1;
		if (asked.sin6_port)
			break;
	}
	errno = EADDRINUSE;
	return refused(&v6, what, option, e);
}

int state_listen(struct spawner *s, struct err *e)
{
	struct serve_config *c = &s->config;

	if (c->auth_none && !is_loopback(&c->api))
		return err_set(e, ERR_DENIED,
			       "--auth none is only possible on a loopback address: anybody on the network could run "
			       "code here.");
	if (listen_admin(s, e) < 0)
		return -1;
	if (listen_pair(&c->api, &s->listener[SL_API4], &s->listener[SL_API6], "API", "--api", e) < 0)
		return -1;
	return listen_pair(&c->gateway, &s->listener[SL_GATEWAY4], &s->listener[SL_GATEWAY6], "gateway", "--gateway",
			   e);
}

int state_write_run(struct spawner *s, struct err *e)
{
	char text[256], api[64], gateway[64];
	auto_close int dir = open(s->config.state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int n;

	state_show_address(&s->config.api, api);
	state_show_address(&s->config.gateway, gateway);
	n = snprintf(text, sizeof(text), "api=%s gateway=%s pid=%d\n", api, gateway, (int)getpid());
	if (dir < 0)
		return err_sys(e, errno, "open %s", s->config.state_dir);
	return io_write_file(dir, "run", text, (size_t)n, 0644, e);
}

void state_remove_run(const struct spawner *s)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/run", s->config.state_dir);
	(void)unlink(path);
	snprintf(path, sizeof(path), "%s/admin.sock", s->config.state_dir);
	(void)unlink(path);
}

/* sd_notify(3): one datagram to the socket that NOTIFY_SOCKET names, "@" for the abstract ones. */
void state_notify(const char *text)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	const char *name = getenv("NOTIFY_SOCKET");
	size_t n = name ? strlen(name) : 0;
	int fd;

	if (!n || n >= sizeof(sa.sun_path) || (name[0] != '/' && name[0] != '@'))
		return;
	memcpy(sa.sun_path, name, n);
	if (name[0] == '@')
		sa.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (sendto(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&sa,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
		log_warn("state", "service manager: %s", strerror(errno));
	close(fd);
}
