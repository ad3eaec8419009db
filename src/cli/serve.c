/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve: checks and parses everything that is text, then becomes tandem-spawner, which parses none. What was decided
 * goes along as a struct serve_config in a memfd at descriptor 3.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "base/io.h"
#include "base/mem.h"
#include "cli/call.h"
#include "cli/serve.h"
#include "http/ca.h"

#define UID_BASE 1879048192u

struct serve_opts {
	const char *api, *gateway, *auth, *no_layer;
	bool debug, no_egress;
};
#define AT(f) offsetof(struct serve_opts, f)
const struct opt serve_options[] = {
	{0, "api", OPT_TEXT, "ADDR:PORT", "where the AWS API listens (127.0.0.1:4566, and [::1] beside it)", AT(api)},
	{0, "gateway", OPT_TEXT, "ADDR:PORT", "where routes are answered (127.0.0.1:8080, and [::1] beside it)",
	 AT(gateway)},
	{0, "auth", OPT_TEXT, "sigv4|none", "none: calls are not verified; only on loopback", AT(auth)},
	{0, "debug", OPT_FLAG, NULL, "more log lines", AT(debug)},
	{0, "no-egress", OPT_FLAG, NULL, "no way out for functions: this host's network is left as it is",
	 AT(no_egress)},
#if TANDEM_DEBUG
	{0, "no-layer", OPT_TEXT, "NAME", NULL, AT(no_layer)},
#endif
	{0},
};

int serve_address(const char *text, struct sockaddr_in6 *ret, struct err *e)
{
	const char *colon = strrchr(text, ':');
	struct sockaddr_in6 a = {.sin6_family = AF_INET6};
	char host[INET6_ADDRSTRLEN + 2] = "127.0.0.1";
	size_t n = colon ? (size_t)(colon - text) : 0;
	int64_t port;
	struct in_addr v4;

	if (colon && n) {
		bool v6 = text[0] == '[' && text[n - 1] == ']';
		const char *from = v6 ? text + 1 : text;

		n -= v6 ? 2 : 0;
		if (n >= sizeof(host) || (!v6 && memchr(from, ':', n)))
			return err_set(e, ERR_INVALID, "\"%s\" is no address: write 127.0.0.1:4566 or [::1]:4566",
				       text);
		memcpy(host, from, n);
		host[n] = 0;
		if (!v6 && !strcmp(host, "localhost"))
			strlcpy_(host, "127.0.0.1", sizeof(host));
	}
	if (str_to_i64(str_of(colon ? colon + 1 : text), 0, 65535, &port) < 0)
		return err_set(e, ERR_INVALID,
			       "\"%s\" has no port between 0 and 65535: write 127.0.0.1:4566 or [::1]:4566", text);
	a.sin6_port = htons((uint16_t)port);
	if (inet_pton(AF_INET, host, &v4) == 1) {
		a.sin6_addr.s6_addr[10] = a.sin6_addr.s6_addr[11] = 0xff;
		memcpy(a.sin6_addr.s6_addr + 12, &v4, 4);
	} else if (inet_pton(AF_INET6, host, &a.sin6_addr) != 1) {
		return err_set(e, ERR_INVALID, "\"%s\" is no address: write 127.0.0.1:4566 or [::1]:4566", text);
	}
	*ret = a;
	return 0;
}

bool serve_is_loopback(const struct sockaddr_in6 *a)
{
	if (IN6_IS_ADDR_V4MAPPED(&a->sin6_addr))
		return a->sin6_addr.s6_addr[12] == 127;
	return IN6_IS_ADDR_LOOPBACK(&a->sin6_addr);
}

#if TANDEM_DEBUG
static int layer_of(const char *name, uint8_t *ret)
{
	static const char *const names[LAYER_N] = {
		"",	  "seccomp",  "pidns",	 "netns",    "ipcns",  "userns",       "ro-root",
		"cgroup", "dumpable", "capdrop", "tmp-size", "rlimit", "egress-rules",
	};

	for (int i = 1; i < LAYER_N; i++)
		if (names[i] && !strcmp(names[i], name)) {
			*ret = (uint8_t)i;
			return 0;
		}
	return -1;
}
#endif

static int settle_auth(struct cli *c, const struct serve_opts *o, struct serve_config *s)
{
	if (!strcmp(o->auth, "sigv4"))
		return 0;
	if (strcmp(o->auth, "none"))
		return cli_usage(c, "--auth is sigv4 or none, not \"%s\"", o->auth);
	if (!serve_is_loopback(&s->api))
		return cli_usage(c, "--auth none is only for loopback, and --api %s is reachable from other machines",
				 o->api);
	s->auth_none = 1;
	fputs("tandem: WARNING: --auth none: every process on this machine may create, change and run functions "
	      "through the API\n",
	      stderr);
	return 0;
}

static int settle(struct cli *c, const struct serve_opts *o, struct serve_config *s)
{
	struct err e = {0};
	struct passwd *pw;
	int r;

	if (serve_address(o->api, &s->api, &e) < 0 || serve_address(o->gateway, &s->gateway, &e) < 0)
		return cli_usage(c, "%s", e.text);
	r = settle_auth(c, o, s);
	if (r)
		return r;
#if TANDEM_DEBUG
	if (o->no_layer && layer_of(o->no_layer, &s->no_layer) < 0)
		return cli_usage(c, "there is no layer \"%s\"", o->no_layer);
#endif
	s->version = SPAWNER_VERSION;
	s->debug = o->debug;
	s->has = o->no_egress ? SERVE_NO_EGRESS : 0;
	s->uid_base = UID_BASE;
	s->end = SPAWNER_END;
	pw = getpwnam("tandem");
	s->daemon_uid = pw ? pw->pw_uid : UID_DAEMON;
	s->daemon_gid = pw ? pw->pw_gid : UID_DAEMON;
	if (pw && !pw->pw_uid)
		return cli_failf("the user \"tandem\" has the id of root; the daemon must not run as root: change or "
				 "remove that user");
	return 0;
}

/* The spawner closes the state directory to others: /tmp or a home must not become it by a slip. */
static int check_own(const char *dir)
{
	static const char *const ours[] = {".",	  "..",		"lost+found", "lock",
					   "run", "admin.sock", CA_KEY_NAME,  CA_CERT_NAME};
	DIR *d = opendir(dir);
	struct dirent *de;
	int r = 0;

	if (!d)
		return cli_failf("%s: %s", dir, strerror(errno));
	while (!r && faccessat(dirfd(d), "daemon", F_OK, AT_SYMLINK_NOFOLLOW) < 0 && (de = readdir(d))) {
		size_t i = 0;

		while (i < ARRAY_SIZE(ours) && strcmp(de->d_name, ours[i]))
			i++;
		if (i == ARRAY_SIZE(ours) && strncmp(de->d_name, "daemon.", 7)) /* of a restore */
			r = cli_failf("%s holds other things (%s); the state needs a directory of its own, new or "
				      "empty: name one with --state",
				      dir, de->d_name);
	}
	closedir(d);
	return r;
}

/* Copied by hand, or the user "tandem" was made later: the daemon could not open it, and only say so. */
static int check_owner(const struct serve_config *s)
{
	auto_free char *db = xasprintf("%s/daemon/tandem.db", s->state_dir);
	struct stat st;

	if (lstat(db, &st) < 0 || st.st_uid == s->daemon_uid)
		return 0;
	return cli_failf("%s belongs to uid %u, and the daemon runs as uid %u; give it what is its own with: chown -R "
			 "%u:%u %s/daemon",
			 db, st.st_uid, s->daemon_uid, s->daemon_uid, s->daemon_gid, s->state_dir);
}

static int make_state(struct cli *c, struct serve_config *s)
{
	char real[PATH_MAX];
	struct err e = {0};
	struct stat st;
	int r;

	if (io_mkdirs(c->state, 0755, &e) < 0)
		return cli_fail(&e);
	if (!realpath(c->state, real))
		return cli_failf("%s: %s", c->state, strerror(errno));
	/* Unix socket addresses end at 108 bytes, and admin.sock must fit. */
	if (strlen(real) > 80)
		return cli_failf("the path of the state directory is too long (%zu bytes, at most 80): %s",
				 strlen(real), real);
	if (stat(real, &st) < 0 || !S_ISDIR(st.st_mode))
		return cli_failf("%s is not a directory", real);
	if (st.st_uid != 0)
		return cli_failf("%s belongs to uid %u; the state directory must belong to root", real, st.st_uid);
	if (st.st_mode & 0022 && !(st.st_mode & S_ISVTX))
		return cli_failf("%s can be written by others; make it safe with: chmod go-w %s", real, real);
	strlcpy_(s->state_dir, real, sizeof(s->state_dir));
	r = check_own(real);
	return r ? r : check_owner(s);
}

/* Before the spawner: the sandboxes' root, which trusts it, is the first that it makes, and it knows no cryptography.
 */
static int make_ca(const struct serve_config *s)
{
	auto_close int dir = open(s->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct err e = {0};

	if (dir < 0)
		return cli_failf("open %s: %s", s->state_dir, strerror(errno));
	return ca_ensure(dir, s->daemon_uid, &e) < 0 ? cli_fail(&e) : 0;
}

static int become_spawner(const struct serve_config *s)
{
	char path[sizeof(s->libexec_dir) + 32];
	auto_close int fd = memfd_create("tandem-serve", 0);
	struct err e = {0};

	if (fd < 0)
		return cli_failf("memfd_create: %s", strerror(errno));
	if (io_write_all(fd, s, sizeof(*s), &e) < 0)
		return cli_fail(&e);
	if (lseek(fd, 0, SEEK_SET) < 0)
		return cli_failf("lseek: %s", strerror(errno));
	if (fd != 3 && dup2(fd, 3) < 0)
		return cli_failf("dup2: %s", strerror(errno));
	/* Whatever the shell left open must not reach the daemon; a service manager's own (3 of LISTEN_FDS) is not
	 * used. */
	close_range(4, ~0u, 0);
	snprintf(path, sizeof(path), "%s/tandem-spawner", s->libexec_dir);
	execl(path, "tandem-spawner", (char *)NULL);
	return cli_failf("cannot run %s: %s", path, strerror(errno));
}

int serve_run(struct cli *c, int argc, char **argv)
{
	struct serve_opts o = {.api = "127.0.0.1:4566", .gateway = "127.0.0.1:8080", .auth = "sigv4"};
	struct serve_config s = {0};
	struct err e = {0};
	int r;

	if (!cli_options(c, &o, &argc, argv, 0, 0))
		return c->exit;
	if (!*o.api || !*o.gateway)
		return cli_usage(c, "an empty address");
	r = settle(c, &o, &s);
	if (r)
		return r;
	if (geteuid() != 0)
		return cli_failf("serve needs root, to make sandboxes (the daemon itself then runs without rights); "
				 "try: sudo tandem serve --state %s",
				 c->state);
	if (call_alive(c))
		return cli_failf("a daemon already answers at %s; stop it first, or choose another --state", c->sock);
	if (cli_libexec(s.libexec_dir, sizeof(s.libexec_dir), &e) < 0)
		return cli_fail(&e);
	r = make_state(c, &s);
	if (!r)
		r = make_ca(&s);
	return r ? r : become_spawner(&s);
}
