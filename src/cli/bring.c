/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bring.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include "base/io.h"
#include "base/limits.h"
#include "base/mem.h"
#include "cli/call.h"
#include "cli/digest.h"

#define BUILD "build:"
static const char *const transports[] = {"oci:", "docker-archive:", "dir:", BUILD};
static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	interrupted = sig;
}

bool bring_is_local(const char *source)
{
	for (size_t i = 0; i < ARRAY_SIZE(transports); i++)
		if (!strncmp(source, transports[i], strlen(transports[i])))
			return true;
	return false;
}

char *bring_name(const char *source)
{
	const char *path = strchr(source, ':') + 1, *slash, *dot;
	const char *colon = strncmp(source, BUILD, sizeof(BUILD) - 1) ? strchr(path, ':') : NULL;
	struct str file = colon ? (struct str){path, (size_t)(colon - path)} : str_of(path);
	const char *said = colon ? colon + 1 : "";

	if (*said && *said != '@' && !strncmp(source, "docker-archive:", 15))
		return xstrdup(said);
	while (file.n > 1 && file.p[file.n - 1] == '/')
		file.n--;
	slash = memrchr(file.p, '/', file.n);
	if (slash)
		file = (struct str){slash + 1, (size_t)(file.p + file.n - slash - 1)};
	dot = memchr(file.p, '.', file.n);
	if (dot && dot > file.p)
		file.n = (size_t)(dot - file.p);
	return xasprintf("localhost/" STR_FMT ":%s", STR_ARG(file), *said && *said != '@' ? said : "latest");
}

/* As the caller, with the caller's credentials and settings. What it prints is no result of ours. */
static int run(char *const argv[])
{
	posix_spawn_file_actions_t fa;
	int status = 0, r;
	pid_t pid;

	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, 2, 1);
	r = posix_spawnp(&pid, argv[0], &fa, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	if (r)
		return cli_failf("%s cannot be run: %s; it is in the package of that name", argv[0], strerror(r));
	/* From a terminal a signal is the program's too; sent to us alone, it is handed on. */
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		if (interrupted)
			kill(pid, SIGTERM);
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : CLI_FAILED;
}

static int convert(struct cli *c, const char *source, const char *dir)
{
	auto_free char *to = xasprintf("dir:%s/image", dir), *from = xstrdup(source);

	if (run((char *[]){"skopeo", "--override-os=linux", "copy", "--quiet", from, to, NULL}))
		return cli_failf("skopeo could not read %s", source);
	return 0;
}

/* What is built stays in the caller's own store under a name for that folder, so that the next build of it is short. No
 * isolation but chroot needs no further programs; the Dockerfile is the caller's own. */
static int build(struct cli *c, const char *folder, const char *dir)
{
	auto_free char *in = realpath(folder, NULL), *to = xasprintf("dir:%s/image", dir), *name = NULL;
	char hex[65];

	if (!in)
		return cli_failf("%s: %s", folder, strerror(errno));
	digest_hex(str_of(in), hex);
	name = xasprintf("localhost/tandem-build:%.16s", hex);
	if (run((char *[]){"buildah", "build", "--isolation", "chroot", "--layers", c->quiet ? "-q" : "--quiet=false",
			   "-t", name, in, NULL}))
		return cli_failf("%s could not be built", folder);
	if (run((char *[]){"buildah", "push", "--quiet", name, to, NULL}))
		return cli_failf("buildah did not hand over what it built");
	return 0;
}

static int send_file(struct cli *c, int dir, const char *name, const char *upload)
{
	auto_close int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	auto_free char *piece = xmalloc(LIM_UPLOAD_PIECE);
	int64_t offset = 0;
	ssize_t n;

	if (fd < 0)
		return cli_failf("open %s: %s", name, strerror(errno));
	do {
		auto_free char *target =
			xasprintf("/v1/images/uploads/%s?file=%s&offset=%lld", upload, name, (long long)offset);
		auto_buf answer = {0};

		n = pread(fd, piece, LIM_UPLOAD_PIECE, offset);
		if (n < 0)
			return cli_failf("read %s: %s", name, strerror(errno));
		if ((n || !offset) && call_daemon(c, "PUT", target, (struct str){piece, (size_t)n}, &answer) < 0)
			return c->exit;
		offset += n;
	} while (n && !interrupted);
	return interrupted ? CLI_FAILED : 0;
}

static int send_all(struct cli *c, const char *dir, const char *upload)
{
	auto_free char *path = xasprintf("%s/image", dir);
	DIR *d = opendir(path);
	struct dirent *de;
	int r = d ? 0 : cli_failf("open %s: %s", path, strerror(errno));

	while (!r && d && (de = readdir(d)))
		if (de->d_name[0] != '.' && strcmp(de->d_name, "version"))
			r = send_file(c, dirfd(d), de->d_name, upload);
	if (d)
		closedir(d);
	return r;
}

static int bring(struct cli *c, const char *source, const char *dir, char ret_upload[32])
{
	auto_buf body = {0};
	auto_json j = NULL;
	bool is_build = !strncmp(source, BUILD, sizeof(BUILD) - 1);
	int r = is_build ? build(c, source + sizeof(BUILD) - 1, dir) : convert(c, source, dir);

	if (r || interrupted)
		return r ? r : CLI_FAILED;
	if (call_json(c, "POST", "/v1/images/uploads", STR_NULL, &body, &j) < 0)
		return c->exit;
	snprintf(ret_upload, 32, STR_FMT, STR_ARG(json_get_str(j, "upload")));
	return send_all(c, dir, ret_upload);
}

int bring_upload(struct cli *c, const char *source, char ret_upload[32])
{
	struct sigaction on = {.sa_handler = on_signal}, was[3];
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	const char *tmp = getenv("TMPDIR");
	auto_free char *dir = xasprintf("%s/tandem-pull-XXXXXX", tmp && *tmp ? tmp : "/var/tmp");

	if (!mkdtemp(dir)) {
		c->exit = cli_failf("make %s: %s", dir, strerror(errno));
		return -1;
	}
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &on, &was[i]);
	c->exit = bring(c, source, dir, ret_upload);
	io_rm_tree(AT_FDCWD, dir, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &was[i], NULL);
	if (interrupted)
		raise(interrupted);
	return c->exit ? -1 : 0;
}
