/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept for containers: secrets, written and never read; volumes, which containers make. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "api/admin_int.h"
#include "base/clock.h"
#include "spawn/spawn.h"

struct keep {
	struct spawn_req req;
	struct http_req *r; /* NULL: gone; what was asked for is done all the same */
	const char *what;
	char name[GIVE_NAME_MAX + 1];
};

/* The folders are root's: what is listed is names. One that nobody has used yet is not there. */
static void list(struct admin *a, struct http_req *r, const char *what)
{
	auto_object(w, out);
	auto_free char *path = xasprintf("../%s", what);
	int fd = openat(a->o.dir, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;
	struct stat st;
	char when[32];

	jw_arr(&w, what);
	while (d && (de = readdir(d))) {
		if (de->d_name[0] == '.' || fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		jw_obj(&w, NULL);
		jw_strc(&w, "name", de->d_name);
		jw_strc(&w, "changed", clock_fmt_iso(st.st_mtim.tv_sec * 1000000ll, when));
		jw_end(&w, '}');
	}
	if (d)
		closedir(d);
	else if (fd >= 0)
		close(fd);
	jw_end(&w, ']');
	admin_object(r, 200, &w);
}

static void kept(struct spawn_req *req, const struct err *e)
{
	struct keep *k = container_of(req, struct keep, req);
	auto_object(w, out);

	if (k->r && e->kind)
		admin_errorf(k->r, e->kind, "%s %s: %s", k->what, k->name, e->text);
	else if (k->r)
		admin_object(k->r, 200, &w);
	free(k);
}

/* NULL: refused, and answered. */
static struct keep *keep_new(struct http_req *r, const char *what, struct str name)
{
	struct keep *k;

	if (!str_name_ok(name, GIVE_NAME_MAX, "-_.") || strchr("-_.", *name.p))
		return admin_errorf(r, ERR_INVALID,
				    "the name of a %s is of letters, digits, \"-\", \"_\" and \".\", at most %d, and "
				    "begins with a letter or a digit",
				    what, GIVE_NAME_MAX),
		       NULL;
	k = xcalloc(1, sizeof(*k));
	k->r = r;
	k->what = what;
	k->req.done = kept;
	memcpy(k->name, name.p, name.n);
	http_on_gone_clear(&k->r);
	return k;
}

void admin_secrets(struct admin *a, struct http_req *r, struct str name)
{
	list(a, r, "secrets");
}

/* The value stays no longer than it must. */
void admin_secret_put(struct admin *a, struct http_req *r, struct str name)
{
	bool fits = r->body.n <= SECRET_MAX_BYTES;
	auto_close int value = fits ? memfd_create("secret", MFD_CLOEXEC) : -1;
	bool whole = value >= 0 && write(value, r->body.p, r->body.n) == (ssize_t)r->body.n;
	struct keep *k;

	if (r->body.n)
		explicit_bzero((char *)(uintptr_t)r->body.p, r->body.n);
	if (!fits)
		admin_errorf(r, ERR_LIMIT, "a secret has at most %d bytes", SECRET_MAX_BYTES);
	else if (!whole)
		admin_errorf(r, ERR_SYS, "no memory for the secret");
	else if ((k = keep_new(r, "secret", name)))
		spawn_secret_start(a->o.spawn, &k->req, k->name, value);
}

void admin_secret_remove(struct admin *a, struct http_req *r, struct str name)
{
	struct keep *k = keep_new(r, "secret", name);

	if (k)
		spawn_secret_start(a->o.spawn, &k->req, k->name, -1);
}

void admin_volumes(struct admin *a, struct http_req *r, struct str name)
{
	list(a, r, "volumes");
}

void admin_volume_remove(struct admin *a, struct http_req *r, struct str name)
{
	struct keep *k = keep_new(r, "volume", name);

	if (k)
		spawn_volume_end_start(a->o.spawn, &k->req, k->name);
}
