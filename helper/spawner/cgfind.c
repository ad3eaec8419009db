/* SPDX-License-Identifier: Apache-2.0 */
/* Where the host keeps its control groups (/proc/self/mountinfo, /proc/self/cgroup: text of the kernel), and our base
 * groups there. */
#include "spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include "base/log.h"
#include "base/str.h"
#include "cgroup_int.h"

static const struct {
	const char *name;
	unsigned bit;
} controllers[] = {{"memory", CG_MEMORY}, {"cpu", CG_CPU}, {"cpuacct", CG_CPUACCT}, {"pids", CG_PIDS}};

/* Which of ours are named in a list like "rw,cpu,cpuacct" or "cpuset cpu memory". */
static unsigned parse_controllers(const char *list)
{
	unsigned bits = 0;

	while (*list) {
		size_t n = strcspn(list, ", \n");

		for (unsigned i = 0; i < ARRAY_SIZE(controllers); i++)
			if (strlen(controllers[i].name) == n && !memcmp(list, controllers[i].name, n))
				bits |= controllers[i].bit;
		list += n;
		list += strspn(list, ", \n");
	}
	return bits;
}

/* The spawner's own group in the hierarchy that has controller (NULL: v2). Empty when the kernel does not say. */
static void own_group(const char *controller, char *ret, size_t size)
{
	char line[1024];
	FILE *f = fopen("/proc/self/cgroup", "re");

	ret[0] = 0;
	while (f && fgets(line, sizeof(line), f)) {
		char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;

		if (!path)
			continue;
		*path++ = 0;
		path[strcspn(path, "\n")] = 0;
		if (controller ? (parse_controllers(list + 1) & parse_controllers(controller)) != 0 : !list[1]) {
			strlcpy_(ret, path, size);
			break;
		}
	}
	if (f)
		fclose(f);
	if (strstr(ret, ".."))
		ret[0] = 0; /* outside of our cgroup namespace: only the mount itself can be used */
}

static int make_base(struct cg_hier *h, const char *parent, const char *name)
{
	if ((size_t)snprintf(h->path, sizeof(h->path), "%s/%s", strcmp(parent, "/") ? parent : "", name) >=
	    sizeof(h->path))
		return -1;
	if (mkdir(h->path, 0755) < 0 && errno != EEXIST)
		return -1;
	h->base = open(h->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return h->base < 0 ? -1 : 0;
}

/* One mount of a cgroup hierarchy: the base group below our own group, else at the top of the mount. */
static void take_v1(struct cg *cg, const char *mount_point, const char *root, unsigned ctl, const char *name)
{
	struct cg_hier h = {.base = -1, .ctl = ctl};
	char own[512], parent[1024];
	const char *list = ctl & CG_MEMORY ? "memory" : ctl & CG_CPU ? "cpu" : ctl & CG_CPUACCT ? "cpuacct" : "pids";

	if (cg->n == CG_HIER_MAX)
		return;
	own_group(list, own, sizeof(own));
	if (strcmp(root, "/") && !strncmp(own, root, strlen(root)))
		memmove(own, own + strlen(root), strlen(own + strlen(root)) + 1);
	snprintf(parent, sizeof(parent), "%s%s", mount_point, strcmp(own, "/") ? own : "");
	if (make_base(&h, parent, name) < 0 && make_base(&h, mount_point, name) < 0)
		return;
	cg->h[cg->n++] = h;
}

/* With controllers on v2 a group has processes or children, not both: alone in ours, we move to a leaf of our own. */
static bool leave_for_supervisor(const char *own)
{
	char path[1100], text[64];
	FILE *f;
	int others = 0, dir;
	bool ok;

	snprintf(path, sizeof(path), "%s/cgroup.procs", own);
	f = fopen(path, "re");
	while (f && fgets(text, sizeof(text), f))
		others += atoi(text) != getpid();
	if (f)
		fclose(f);
	if (!f || others)
		return false;
	snprintf(path, sizeof(path), "%s/supervisor", own);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return false;
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ok = dir >= 0 && cg_write(dir, "cgroup.procs", "0") == 0;
	if (dir >= 0)
		close(dir);
	return ok;
}

static void enable(int dir, unsigned ctl)
{
	if (ctl & CG_MEMORY)
		(void)cg_write(dir, "cgroup.subtree_control", "+memory");
	if (ctl & CG_CPU)
		(void)cg_write(dir, "cgroup.subtree_control", "+cpu");
	if (ctl & CG_PIDS)
		(void)cg_write(dir, "cgroup.subtree_control", "+pids");
}

static unsigned listed(int dir, const char *file)
{
	char text[256];

	return cg_read(dir, file, text, sizeof(text)) < 0 ? 0 : parse_controllers(text);
}

static bool try_v2(struct cg *cg, const char *parent, unsigned want, const char *name)
{
	struct cg_hier h = {.base = -1, .v2 = true};
	auto_close int dir = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return false;
	enable(dir, want);
	if (make_base(&h, parent, name) < 0)
		return false;
	enable(h.base, want);
	h.ctl = listed(h.base, "cgroup.subtree_control");
	if (want & ~h.ctl) {
		close(h.base);
		(void)rmdir(h.path);
		return false;
	}
	h.ctl &= want;
	cg->v2 = (int)cg->n;
	cg->h[cg->n++] = h;
	return true;
}

static void take_v2(struct cg *cg, const char *mount_point, const char *root, unsigned taken, const char *name)
{
	char own[512], parent[1024];
	auto_close int top = open(mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	unsigned want;

	if (top < 0 || cg->n == CG_HIER_MAX)
		return;
	own_group(NULL, own, sizeof(own));
	if (strcmp(root, "/") && !strncmp(own, root, strlen(root)))
		memmove(own, own + strlen(root), strlen(own + strlen(root)) + 1);
	snprintf(parent, sizeof(parent), "%s%s", mount_point, strcmp(own, "/") ? own : "");
	want = listed(top, "cgroup.controllers") & ~taken & (CG_MEMORY | CG_CPU | CG_PIDS);
	if (want && strcmp(parent, mount_point) && !leave_for_supervisor(parent)) {
		/* Others live in our group (a login session): the base stands at the top, as container engines do. */
		if (try_v2(cg, mount_point, want, name))
			return;
	}
	if (try_v2(cg, parent, want, name) || try_v2(cg, mount_point, want, name))
		return;
	/* Not every controller is given to us: take what there is. */
	for (unsigned i = 0; i < ARRAY_SIZE(controllers); i++)
		if (want & controllers[i].bit && !try_v2(cg, mount_point, controllers[i].bit, name))
			want &= ~controllers[i].bit;
		else if (want & controllers[i].bit)
			close(cg->h[--cg->n].base);
	(void)try_v2(cg, mount_point, want, name);
}

struct mount_line {
	char root[512], point[512], type[32], super[512];
};

static bool read_mount(FILE *f, struct mount_line *m)
{
	char line[4096];

	while (fgets(line, sizeof(line), f)) {
		char *dash = strstr(line, " - ");

		if (!dash || sscanf(line, "%*d %*d %*s %511s %511s", m->root, m->point) != 2)
			continue;
		if (sscanf(dash + 3, "%31s %*s %511s", m->type, m->super) == 2 && !strncmp(m->type, "cgroup", 6))
			return true;
	}
	return false;
}

/* Ends what an earlier spawner left below a base group and removes its leaves. One by one: see cg_leaf_kill. */
static void sweep(const struct cg_hier *h)
{
	int fd = dup(h->base);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;

	if (d)
		rewinddir(d); /* the duplicate shares its position */
	while (d && (de = readdir(d))) {
		char text[4096];
		int leaf;

		if (de->d_type != DT_DIR || de->d_name[0] == '.')
			continue;
		leaf = openat(h->base, de->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		/* Wait until it is empty, at most 2 s: the dying need a moment. */
		for (int tries = 0; leaf >= 0 && tries < 200; tries++) {
			if (cg_read(leaf, "cgroup.procs", text, sizeof(text)) <= 0)
				break;
			for (char *p = text, *end; *p; p = end + strspn(end, "\n")) {
				long pid = strtol(p, &end, 10);

				if (end == p)
					break;
				if (pid > 1)
					kill((pid_t)pid, SIGKILL);
			}
			usleep(10000);
		}
		if (leaf >= 0) {
			(void)unlinkat(leaf, CG_NESTED, AT_REMOVEDIR);
			close(leaf);
		}
		for (int tries = 0; tries < 20 && unlinkat(h->base, de->d_name, AT_REMOVEDIR) < 0 && errno == EBUSY;
		     tries++)
			usleep(5000);
	}
	if (d)
		closedir(d);
	else if (fd >= 0)
		close(fd);
}

int cg_find(struct cg *cg, const char *name, struct err *e)
{
	struct mount_line m;
	unsigned taken = 0;
	FILE *f;

	cg->n = 0;
	cg->v2 = -1;
	f = fopen("/proc/self/mountinfo", "re");
	if (!f)
		return err_sys(e, errno, "open /proc/self/mountinfo");
	while (read_mount(f, &m)) {
		unsigned ctl = parse_controllers(m.super) & ~taken;

		if (strcmp(m.type, "cgroup") || !ctl)
			continue;
		take_v1(cg, m.point, m.root, ctl, name);
		taken |= ctl;
	}
	rewind(f);
	while (cg->v2 < 0 && read_mount(f, &m))
		if (!strcmp(m.type, "cgroup2"))
			take_v2(cg, m.point, m.root, taken, name);
	fclose(f);
	for (unsigned i = 0; i < cg->n; i++)
		sweep(&cg->h[i]);
	return 0;
}

void cg_remove(struct cg *cg)
{
	for (unsigned i = 0; i < cg->n; i++) {
		sweep(&cg->h[i]);
		close(cg->h[i].base);
		if (rmdir(cg->h[i].path) < 0)
			log_warn("cgroup", "remove %s: %s", cg->h[i].path, strerror(errno));
	}
	cg->n = 0;
	cg->v2 = -1;
}
