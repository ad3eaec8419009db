/* SPDX-License-Identifier: Apache-2.0 */
/* secret, volume, grant: what containers are given beside their images. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <termios.h>
#include "base/mem.h"
#include "cli/call.h"
#include "cli/keep.h"
#include "cli/table.h"
#include "cli/verbs.h"
#include "wire/spawner.h"

static void row(struct table *t, const struct json *x)
{
	table_row(t, (char *[]){table_text(x, "name"), table_text(x, "changed")});
}

static int list(struct cli *c, const char *what)
{
	static const char *const heads[] = {"NAME", "CHANGED"};
	auto_free char *target = xasprintf("/v1/%s", what);
	auto_json j = NULL;

	if (!call_show(c, "GET", target, STR_NULL, &j))
		return c->exit;
	if (!table_list(c, json_get(j, what), heads, ARRAY_SIZE(heads), row))
		cli_note(c, "there are no %s", what);
	return CLI_OK;
}

static int ask(struct cli *c, const char *method, const char *folder, const char *name, struct str body)
{
	auto_buf target = {0}, answer = {0};

	call_target(&target, folder, name, "");
	return call_daemon(c, method, target.p, body, &answer) < 0 ? c->exit : CLI_OK;
}

static int forget(struct cli *c, const char *folder, char **names, int n)
{
	int ret = CLI_OK;

	for (int i = 0; i < n; i++)
		if (ask(c, "DELETE", folder, names[i], STR_NULL) != CLI_OK)
			ret = c->exit;
		else
			cli_note(c, "%s removed", names[i]);
	return ret;
}

/* All of standard input, as it is; typed, it is one line, which is not shown and whose end is no part of it. */
static int read_value(struct cli *c, struct buf *ret, struct err *e)
{
	struct termios was, quiet;
	bool typed = tcgetattr(0, &was) == 0;
	char part[4096];
	ssize_t got;

	if (typed) {
		quiet = was;
		quiet.c_lflag &= ~(tcflag_t)ECHO;
		(void)tcsetattr(0, TCSAFLUSH, &quiet);
		cli_note(c, "the value, and Return:");
	}
	while ((got = read(0, part, sizeof(part))) > 0 && ret->n <= SECRET_MAX_BYTES) {
		buf_add(ret, part, (size_t)got);
		if (typed && part[got - 1] == '\n')
			break;
	}
	if (typed) {
		(void)tcsetattr(0, TCSAFLUSH, &was);
		ret->n -= ret->n && ret->p[ret->n - 1] == '\n';
	}
	explicit_bzero(part, sizeof(part));
	return got < 0 ? err_sys(e, errno, "read the value") : 0;
}

static int set(struct cli *c, const char *name)
{
	auto_buf value = {0};
	struct err e = {0};
	int ret;

	if (read_value(c, &value, &e) < 0)
		return cli_fail(&e);
	if (!value.n)
		return cli_usage(c, "the value of a secret comes from standard input, and there was none");
	ret = ask(c, "PUT", "/v1/secrets/", name, buf_str(&value));
	explicit_bzero(value.p, value.n);
	if (ret == CLI_OK)
		cli_note(c, "secret %s is set; containers that run keep the one that they have", name);
	return ret;
}

int secret_run(struct cli *c, int argc, char **argv)
{
	if (!cli_options(c, NULL, &argc, argv, 1, 64))
		return c->exit;
	if (!strcmp(argv[0], "ls") && argc == 1)
		return list(c, "secrets");
	if (!strcmp(argv[0], "set") && argc == 2)
		return set(c, argv[1]);
	if (!strcmp(argv[0], "rm") && argc > 1)
		return forget(c, "/v1/secrets/", argv + 1, argc - 1);
	return cli_usage(c,
			 "secret takes \"set NAME\" (the value comes from standard input), \"ls\" or \"rm NAME ...\"");
}

int volume_run(struct cli *c, int argc, char **argv)
{
	if (!cli_options(c, NULL, &argc, argv, 1, 64))
		return c->exit;
	if (!strcmp(argv[0], "ls") && argc == 1)
		return list(c, "volumes");
	if (!strcmp(argv[0], "rm") && argc > 1)
		return forget(c, "/v1/volumes/", argv + 1, argc - 1);
	return cli_usage(c, "volume takes \"ls\" or \"rm NAME ...\"");
}

/* --- grant: the daemon has no part in it, and could not --- */

static int open_grants(struct cli *c, struct err *e)
{
	auto_free char *path = xasprintf("%s/grants", c->state);
	int dir;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_sys(e, errno, "make %s", path);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return dir < 0 ? err_sys(e, errno, "open %s (only root can)", path) : dir;
}

/* The spawner looks for it by the real path (helper/spawner/give.c). */
static int entry_of(const char *path, bool real, char ret[PATH_MAX], struct err *e)
{
	if (real ? !realpath(path, ret) : *path != '/' || snprintf(ret, PATH_MAX, "%s", path) >= PATH_MAX)
		return real ? err_sys(e, errno, "%s", path) : err_set(e, ERR_INVALID, "%s is no absolute path", path);
	if (!ret[1] || strchr(ret, ':') || strlen(ret) > 255)
		return err_set(e, ERR_INVALID,
			       "%s cannot be given to containers: it is \"/\", holds a \":\", or is too long", ret);
	for (char *p = ret; *p; p++)
		*p = *p == '/' ? ':' : *p;
	return 0;
}

int grant_add(struct cli *c, const char *path, struct err *e)
{
	auto_close int dir = open_grants(c, e), fd = -1;
	char entry[PATH_MAX];

	if (dir < 0 || entry_of(path, true, entry, e) < 0)
		return -1;
	fd = openat(dir, entry, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 ? err_sys(e, errno, "allow %s", path) : 0;
}

static int grant_remove(struct cli *c, const char *path, struct err *e)
{
	auto_close int dir = open_grants(c, e);
	char entry[PATH_MAX];

	if (dir < 0 || entry_of(path, false, entry, e) < 0)
		return -1;
	return unlinkat(dir, entry, 0) < 0 ? err_sys(e, errno, "take back %s", path) : 0;
}

static int grant_list(struct cli *c)
{
	struct err e = {0};
	int dir = open_grants(c, &e);
	DIR *d = dir < 0 ? NULL : fdopendir(dir);
	struct dirent *de;

	if (!d)
		return cli_fail(&e);
	while ((de = readdir(d))) {
		for (char *p = de->d_name; *p; p++)
			*p = *p == ':' ? '/' : *p;
		if (de->d_name[0] == '/')
			puts(cli_clean(de->d_name));
	}
	closedir(d);
	return CLI_OK;
}

int grant_run(struct cli *c, int argc, char **argv)
{
	int (*each)(struct cli * c, const char *path, struct err *e);

	if (!cli_options(c, NULL, &argc, argv, 1, 64))
		return c->exit;
	each = !strcmp(argv[0], "add") ? grant_add : !strcmp(argv[0], "rm") ? grant_remove : NULL;
	if (!strcmp(argv[0], "ls") && argc == 1)
		return grant_list(c);
	if (!each || argc < 2)
		return cli_usage(c, "grant takes \"add PATH ...\", \"ls\" or \"rm PATH ...\"");
	for (int i = 1; i < argc; i++) {
		struct err e = {0};

		if (each(c, argv[i], &e) < 0)
			return cli_fail(&e);
	}
	return CLI_OK;
}
