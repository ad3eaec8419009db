/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backup: the daemon (which has no right to write elsewhere) makes a consistent copy of database and archives inside
 * its own directory; this side, which runs as root, copies it out, ledger and logs beside it, and writes the list of
 * files with their digests last. restore: only while no daemon runs; checks every file against the list while it copies
 * to daemon.new, and only then puts that into its place. Unpacked code is left out: it is made from the archives again.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include "base/io.h"
#include "base/mem.h"
#include "cli/call.h"
#include "cli/digest.h"
#include "cli/serve.h"
#include "cli/verbs.h"

#define LIST	   "BACKUP"
#define LIST_HEAD  "tandem-backup 1"
#define LIST_BYTES (256u << 20)
#define PATH_BYTES 400

/* A name that the daemon gives to its files, so neither "..", nor hidden, nor with a control character in it. */
static bool path_ok(struct str path)
{
	struct str part;

	if (path.n >= PATH_BYTES)
		return false;
	for (bool more = true; more;) {
		more = str_cut(path, '/', &part, &path);
		if (!more)
			part = path;
		if (!str_name_ok(part, 255, "._:$-") || part.p[0] == '.')
			return false;
	}
	return true;
}

/* Never through a link: whoever wrote the files is not trusted. */
static int open_in(int dirfd, const char *path, int flags, struct err *e)
{
	struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC),
			       .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
	long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));

	return fd < 0 ? err_sys(e, errno, "open %s", path) : (int)fd;
}

struct copy {
	int from, to;
	uid_t uid;
	gid_t gid;
	bool vanish;	 /* a file that is gone by now is no longer wanted: segments are rotated away */
	struct buf list; /* of what was copied */
	unsigned n;
};

/* The folders that lead to a file. */
static int make_folders(struct copy *c, const char *path, struct err *e)
{
	char part[PATH_BYTES];

	for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
		memcpy(part, path, (size_t)(slash - path));
		part[slash - path] = 0;
		if (mkdirat(c->to, part, 0750) == 0) {
			if (fchownat(c->to, part, c->uid, c->gid, AT_SYMLINK_NOFOLLOW) < 0)
				return err_sys(e, errno, "chown %s", part);
		} else if (errno != EEXIST) {
			return err_sys(e, errno, "make %s", part);
		}
	}
	return 0;
}

static int copy_file(struct copy *c, const char *path, char ret_hex[65], int64_t *ret_bytes, struct err *e)
{
	auto_close int in = open_in(c->from, path, O_RDONLY | O_NONBLOCK, e), out = -1;
	struct stat st;

	if (in < 0)
		return -1;
	if (fstat(in, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(e, ERR_CORRUPT, "%s is not a file", path);
	if (make_folders(c, path, e) < 0)
		return -1;
	out = openat(c->to, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out < 0)
		return err_sys(e, errno, "create %s", path);
	*ret_bytes = st.st_size; /* what is appended meanwhile is not ours */
	if (digest_copy(in, out, ret_bytes, ret_hex, e) < 0)
		return err_wrap(e, "copy %s", path);
	if (fchown(out, c->uid, c->gid) < 0 || fsync(out) < 0)
		return err_sys(e, errno, "write %s", path);
	return 0;
}

/* --- backup --- */

static int save_file(struct copy *c, const char *path, struct err *e)
{
	struct err why = {0};
	int64_t bytes;
	char hex[65];

	if (!path_ok(str_of(path)))
		return err_set(e, ERR_CORRUPT, "%s is none of the daemon's files", path);
	if (copy_file(c, path, hex, &bytes, &why) < 0) {
		if (c->vanish && why.sys == ENOENT)
			return 0;
		*e = why;
		return -1;
	}
	buf_addf(&c->list, "%s %lld %s\n", hex, (long long)bytes, path);
	c->n++;
	return 0;
}

/* What is below path and begins with prefix. */
static int save_tree(struct copy *c, const char *path, const char *prefix, struct err *e)
{
	int fd = open_in(c->from, path, O_RDONLY | O_DIRECTORY, NULL), r = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	if (!dir)
		return 0;
	while (!r && (d = readdir(dir))) {
		auto_free char *sub = xasprintf("%s/%s", path, d->d_name);
		struct stat st;

		if (d->d_name[0] == '.' || !str_starts(str_of(d->d_name), prefix) ||
		    fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		r = S_ISDIR(st.st_mode) ? save_tree(c, sub, prefix, e) : save_file(c, sub, e);
	}
	closedir(dir);
	return r;
}

/* Rows before the names that they carry, and before the sums that full segments are folded into. */
static int save_books(struct copy *c, struct err *e)
{
	if (save_tree(c, "ledger", "ledger-", e) < 0 || save_file(c, "ledger/sums.seg", e) < 0 ||
	    save_file(c, "ledger/names.txt", e) < 0)
		return -1;
	return save_tree(c, "logs", "", e);
}

static int save(int daemon, int backups, const char *name, const char *dir, struct err *e)
{
	auto_close int made = open_in(backups, name, O_RDONLY | O_DIRECTORY, e), out = -1;
	struct copy copy = {.from = made, .uid = geteuid(), .gid = getegid()};
	int r;

	if (made < 0)
		return -1;
	if (mkdir(dir, 0700) < 0)
		return err_sys(e, errno, "make %s", dir);
	out = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (out < 0)
		return err_sys(e, errno, "open %s", dir);
	copy.to = out;
	buf_adds(&copy.list, LIST_HEAD "\n");
	r = save_file(&copy, "tandem.db", e);
	if (!r)
		r = save_tree(&copy, "blobs", "", e);
	if (!r)
		r = save_tree(&copy, "objects", "", e);
	copy.from = daemon, copy.vanish = true;
	if (!r)
		r = save_books(&copy, e);
	buf_addf(&copy.list, "end %u\n", copy.n);
	if (!r)
		r = io_write_file(out, LIST, copy.list.p, copy.list.n, 0600, e);
	buf_done(&copy.list);
	return r;
}

int backup_run(struct cli *c, int argc, char **argv)
{
	auto_buf body = {0}, target = {0};
	auto_free char *name = NULL, *path = NULL;
	auto_close int daemon = -1, backups = -1;
	struct err e = {0};
	int r;

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
	path = xasprintf("%s/daemon", c->state);
	daemon = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (daemon < 0)
		return cli_failf("open %s: %s", path, strerror(errno));
	backups = open_in(daemon, "backups", O_RDONLY | O_DIRECTORY, &e);
	if (backups < 0)
		return cli_fail(&e);
	r = save(daemon, backups, name, argv[0], &e);
	if (r < 0)
		io_rm_tree(AT_FDCWD, argv[0], NULL);
	io_rm_tree(backups, name, NULL);
	if (r < 0)
		return cli_fail(&e);
	if (c->json)
		call_print_json(c, &body);
	else
		printf("backup written to %s\nput it back with: sudo tandem restore %s\n", argv[0], argv[0]);
	return CLI_OK;
}

/* --- restore --- */

struct restore_opts {
	bool replace;
};
const struct opt restore_options[] = {
	{0, "replace", OPT_FLAG, NULL, "also onto a state that holds something, which is kept beside it",
	 offsetof(struct restore_opts, replace)},
	{0},
};

/* "<digest> <bytes> <path>" */
static int restore_line(struct copy *c, struct str line, struct err *e)
{
	struct str digest, size, path;
	char name[PATH_BYTES], hex[65];
	int64_t want, bytes;

	if (!str_cut(line, ' ', &digest, &line) || !str_cut(line, ' ', &size, &path) || digest.n != 64 ||
	    str_to_i64(size, 0, INT64_MAX, &want) < 0 || !path_ok(path))
		return err_set(e, ERR_CORRUPT, "its list of files is damaged");
	memcpy(name, path.p, path.n);
	name[path.n] = 0;
	if (copy_file(c, name, hex, &bytes, e) < 0)
		return -1;
	if (bytes != want || memcmp(hex, digest.p, 64))
		return err_set(e, ERR_CORRUPT, "%s is not what was backed up", name);
	c->n++;
	return 0;
}

static int restore_files(struct copy *c, struct str list, struct err *e)
{
	struct str line;
	char end[32];

	if (!str_cut(list, '\n', &line, &list) || !str_eqc(line, LIST_HEAD))
		return err_set(e, ERR_CORRUPT, "its list of files does not begin with \"" LIST_HEAD "\"");
	while (str_cut(list, '\n', &line, &list)) {
		snprintf(end, sizeof(end), "end %u", c->n);
		if (str_eqc(line, end) && !list.n)
			return 0;
		if (restore_line(c, line, e) < 0)
			return -1;
	}
	return err_set(e, ERR_CORRUPT, "its list of files is cut");
}

static void set_owner(struct copy *c)
{
	struct passwd *pw = getpwnam("tandem");

	c->uid = pw && pw->pw_uid ? pw->pw_uid : UID_DAEMON;
	c->gid = pw && pw->pw_uid ? pw->pw_gid : UID_DAEMON;
}

/* All of it into daemon.new, or nothing. */
static int restore_new(int state, const char *from, struct err *e)
{
	auto_close int dir = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC), to = -1;
	struct copy c = {.from = dir};
	auto_buf list = {0};

	if (dir < 0)
		return err_sys(e, errno, "open it");
	if (io_read_file(dir, LIST, LIST_BYTES, &list, e) < 0)
		return err_wrap(e, "it has no list of files");
	if (io_rm_tree(state, "daemon.new", e) < 0)
		return -1;
	if (mkdirat(state, "daemon.new", 0700) < 0)
		return err_sys(e, errno, "make daemon.new");
	to = openat(state, "daemon.new", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (to < 0)
		return err_sys(e, errno, "open daemon.new");
	c.to = to;
	set_owner(&c);
	if (restore_files(&c, buf_str(&list), e) < 0)
		return -1;
	if (faccessat(to, "tandem.db", F_OK, 0) < 0)
		return err_set(e, ERR_CORRUPT, "it holds no tandem.db");
	if (fchown(to, c.uid, c.gid) < 0 || fsync(to) < 0)
		return err_sys(e, errno, "write daemon.new");
	return 0;
}

/* At no moment, whatever dies, is there neither the old state nor the new one. */
static int put_in_place(struct cli *c, int state, bool replace)
{
	auto_free char *aside = xasprintf("daemon.before-%lld-%d", (long long)time(NULL), (int)getpid());
	bool empty = renameat(state, "daemon.new", state, "daemon") == 0; /* over an empty folder too */

	if (!empty && (!replace || renameat2(state, "daemon.new", state, "daemon", RENAME_EXCHANGE) < 0 ||
		       renameat(state, "daemon.new", state, aside) < 0))
		return cli_failf("put the new state into %s: %s", c->state, strerror(errno));
	if (fsync(state) < 0)
		return cli_failf("write %s: %s", c->state, strerror(errno));
	if (!empty)
		cli_note(c, "what was there is now %s/%s", c->state, aside);
	return CLI_OK;
}

/* The lock that a spawner holds as long as it lives (helper/spawner/state.c); until the end of this process. */
static int lock_state(int state)
{
	int fd = openat(state, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	return fd < 0 ? -1 : flock(fd, LOCK_EX | LOCK_NB);
}

static bool holds_state(int state)
{
	return faccessat(state, "daemon/tandem.db", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

int restore_run(struct cli *c, int argc, char **argv)
{
	struct restore_opts o = {0};
	auto_close int state = -1;
	struct err e = {0};
	int r;

	if (!cli_options(c, &o, &argc, argv, 1, 1))
		return c->exit;
	if (geteuid() != 0)
		return cli_failf("restore needs root; try: sudo tandem restore %s", argv[0]);
	if (call_alive(c))
		return cli_failf("a daemon answers at %s; stop it first (SIGTERM)", c->sock);
	if (io_mkdirs(c->state, 0755, &e) < 0)
		return cli_fail(&e);
	state = open(c->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (state < 0)
		return cli_failf("%s: %s", c->state, strerror(errno));
	if (lock_state(state) < 0)
		return cli_failf("%s is in use, by a daemon or another restore: %s", c->state, strerror(errno));
	if (holds_state(state) && !o.replace)
		return cli_failf("%s holds a state already; restore elsewhere with --state, or add --replace, which "
				 "keeps what is there beside it",
				 c->state);
	if (restore_new(state, argv[0], &e) < 0) {
		io_rm_tree(state, "daemon.new", NULL);
		return cli_failf("%s is no whole backup: %s; nothing was changed", argv[0], e.text);
	}
	r = put_in_place(c, state, o.replace);
	if (r == CLI_OK)
		printf("restored %s; start it with: sudo tandem serve --state %s\n", c->state, c->state);
	return r;
}
