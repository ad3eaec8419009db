/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backup: the daemon (which has no right to write elsewhere) makes a consistent copy inside its own directory; this
 * side, which runs as root, moves it out. restore: only while no daemon runs; what was there stays beside it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>
#include "base/io.h"
#include "base/mem.h"
#include "cli/call.h"
#include "cli/verbs.h"

struct owner {
	uid_t uid;
	gid_t gid;
	bool set;
};

static int copy_file(int from, int to, const char *name, const struct stat *st, const struct owner *o, struct err *e)
{
	auto_close int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	auto_close int out = -1;
	off_t left = st->st_size;

	if (in < 0)
		return err_sys(e, errno, "open %s", name);
	out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out < 0)
		return err_sys(e, errno, "create %s", name);
	while (left > 0) {
		ssize_t n = sendfile(out, in, NULL, (size_t)(left < 1 << 30 ? left : 1 << 30));

		if (n < 0)
			return err_sys(e, errno, "copy %s", name);
		if (!n)
			break; /* cut meanwhile: segments may be rotated away */
		left -= n;
	}
	if (o->set && fchown(out, o->uid, o->gid) < 0)
		return err_sys(e, errno, "chown %s", name);
	if (fchmod(out, st->st_mode & 0777) < 0)
		return err_sys(e, errno, "chmod %s", name);
	if (fsync(out) < 0)
		return err_sys(e, errno, "fsync %s", name);
	return 0;
}

/* Links are copied as links (unpacked code may hold some) and never followed: the daemon that wrote them is not
 * trusted. */
static int copy_link(int from, int to, const char *name, const struct owner *o, struct err *e)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(from, name, target, sizeof(target) - 1);

	if (n < 0)
		return err_sys(e, errno, "read the link %s", name);
	target[n] = 0;
	if (symlinkat(target, to, name) < 0)
		return err_sys(e, errno, "make the link %s", name);
	if (o->set && fchownat(to, name, o->uid, o->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, errno, "chown %s", name);
	return 0;
}

/* Files, folders and links; the daemon makes nothing else. */
static int copy_tree(int from, int to, const struct owner *o, int depth, struct err *e)
{
	int fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	if (!dir)
		return err_sys(e, errno, "open a folder");
	while (!r && (d = readdir(dir))) {
		auto_close int in = -1, out = -1;
		struct stat st;

		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
			continue;
		if (fstatat(from, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
			if (errno != ENOENT)
				r = err_sys(e, errno, "look at %s", d->d_name);
			continue;
		}
		if (S_ISREG(st.st_mode)) {
			r = copy_file(from, to, d->d_name, &st, o, e);
			continue;
		}
		if (S_ISLNK(st.st_mode)) {
			r = copy_link(from, to, d->d_name, o, e);
			continue;
		}
		if (!S_ISDIR(st.st_mode) || depth > 100) {
			r = err_set(e, ERR_CORRUPT, "%s is neither a file nor a folder", d->d_name);
			continue;
		}
		in = openat(from, d->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (in < 0 || mkdirat(to, d->d_name, 0700) < 0)
			r = err_sys(e, errno, "make %s", d->d_name);
		out = r ? -1 : openat(to, d->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (!r && (out < 0 || (o->set && fchown(out, o->uid, o->gid) < 0)))
			r = err_sys(e, errno, "open %s", d->d_name);
		if (!r)
			r = copy_tree(in, out, o, depth + 1, e);
		if (!r && fchmod(out, st.st_mode & 0777) < 0)
			r = err_sys(e, errno, "chmod %s", d->d_name);
	}
	closedir(dir);
	return r;
}

static int copy_folder(int from_base, const char *from_name, int to_base, const char *to_name, const struct owner *o,
		       struct err *e)
{
	auto_close int from = openat(from_base, from_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), to = -1;
	struct stat st;

	if (from < 0)
		return errno == ENOENT ? 0 : err_sys(e, errno, "open %s", from_name);
	if (fstat(from, &st) < 0 || mkdirat(to_base, to_name, 0700) < 0)
		return err_sys(e, errno, "make %s", to_name);
	to = openat(to_base, to_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (to < 0 || (o->set && fchown(to, o->uid, o->gid) < 0) || fchmod(to, st.st_mode & 0777) < 0)
		return err_sys(e, errno, "open %s", to_name);
	return copy_tree(from, to, o, 0, e);
}

static int move_out(struct cli *c, const char *name, const char *dir, struct err *e)
{
	static const char *const also[] = {"ledger", "logs", "code"};
	auto_free char *path = xasprintf("%s/daemon", c->state), *inner = xasprintf("backups/%s", name);
	auto_close int daemon = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), out = -1;
	struct owner same = {0};

	if (daemon < 0)
		return err_sys(e, errno, "open %s (backup needs root)", path);
	if (copy_folder(daemon, inner, AT_FDCWD, dir, &same, e) < 0)
		return -1;
	out = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (out < 0)
		return err_sys(e, errno, "open %s", dir);
	for (size_t i = 0; i < ARRAY_SIZE(also); i++)
		if (copy_folder(daemon, also[i], out, also[i], &same, e) < 0)
			return -1;
	return io_rm_tree(daemon, inner, e);
}

int backup_run(struct cli *c, int argc, char **argv)
{
	auto_buf body = {0}, target = {0};
	auto_free char *name = NULL;
	struct err e = {0};

	if (!cli_options(c, NULL, &argc, argv, 1, 1))
		return c->exit;
	if (geteuid() != 0)
		return cli_failf("backup needs root, to read the state; try: sudo tandem backup %s", argv[0]);
	if (access(argv[0], F_OK) == 0)
		return cli_failf("%s is there already; name a new directory", argv[0]);
	name = xasprintf("%lld-%d", (long long)time(NULL), (int)getpid());
	call_target(&target, "/v1/backup", "", "");
	call_query(&target, "name", name);
	if (call_daemon(c, "POST", target.p, STR_NULL, &body) < 0)
		return c->exit;
	if (move_out(c, name, argv[0], &e) < 0)
		return cli_fail(&e);
	if (c->json)
		call_print_json(c, &body);
	else
		printf("backup written to %s\nput it back with: sudo tandem restore %s\n", argv[0], argv[0]);
	return CLI_OK;
}

static struct owner daemon_owner(void)
{
	struct passwd *pw = getpwnam("tandem");

	if (pw && pw->pw_uid)
		return (struct owner){pw->pw_uid, pw->pw_gid, true};
	return (struct owner){1879048190u, 1879048190u, true};
}

int restore_run(struct cli *c, int argc, char **argv)
{
	auto_free char *aside = NULL, *probe = NULL;
	auto_close int state = -1;
	struct owner o = daemon_owner();
	struct err e = {0};

	if (!cli_options(c, NULL, &argc, argv, 1, 1))
		return c->exit;
	if (geteuid() != 0)
		return cli_failf("restore needs root; try: sudo tandem restore %s", argv[0]);
	if (call_alive(c))
		return cli_failf("a daemon answers at %s; stop it first (SIGTERM)", c->sock);
	probe = xasprintf("%s/tandem.db", argv[0]);
	if (access(probe, R_OK) < 0)
		return cli_failf("%s is no backup: it holds no tandem.db", argv[0]);
	if (io_mkdirs(c->state, 0710, &e) < 0)
		return cli_fail(&e);
	state = open(c->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (state < 0)
		return cli_failf("%s: %s", c->state, strerror(errno));
	aside = xasprintf("daemon.before-%lld", (long long)time(NULL));
	if (renameat(state, "daemon", state, aside) == 0)
		cli_note(c, "what was there is now %s/%s", c->state, aside);
	else if (errno != ENOENT)
		return cli_failf("move %s/daemon aside: %s", c->state, strerror(errno));
	if (copy_folder(AT_FDCWD, argv[0], state, "daemon", &o, &e) < 0) {
		cli_fail(&e);
		return cli_failf("the restore is incomplete; what was there before is %s/%s", c->state, aside);
	}
	printf("restored %s; start it with: sudo tandem serve --state %s\n", c->state, c->state);
	return CLI_OK;
}
