/* SPDX-License-Identifier: Apache-2.0 */
/* What the host must have: kernel, namespaces, cgroup controllers, memory, disk, runtimes, our own helpers. */
#include <fcntl.h>
#include <pwd.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include "base/io.h"
#include "base/mem.h"
#include "cli/doctor.h"

extern char **environ;

static void look_kernel(struct doctor *d)
{
	struct utsname u;
	unsigned major = 0, minor = 0;

	if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &major, &minor) != 2)
		return;
	if (major > 6 || (major == 6 && minor >= 1))
		doctor_say(d, FINDING_OK, "kernel", "Kernel %s is new enough (6.1 is what Debian 12 has).", u.release);
	else if (major > 5 || (major == 5 && minor >= 14))
		doctor_say(d, FINDING_NOTE, "kernel", "Kernel %s may do, but Tandem is tested from 6.1 on.", u.release);
	else
		doctor_say(d, FINDING_MISSING, "kernel",
			   "Kernel %s is too old: 6.1 or newer is needed (cgroup.kill, idmapped mounts, close_range).",
			   u.release);
	if (strcmp(u.machine, "x86_64"))
		doctor_say(d, FINDING_MISSING, "machine",
			   "This machine is %s; the system call filter exists for x86_64 only.", u.machine);
}

static void look_root(struct doctor *d)
{
	if (geteuid() == 0)
		doctor_say(d, FINDING_OK, "root", "Running as root, so a daemon can be started from here.");
	else
		doctor_say(d, FINDING_NOTE, "root",
			   "Not root: tandem serve needs root (sudo); the other verbs need membership in the group "
			   "\"tandem\".");
	if (getpwnam("tandem"))
		doctor_say(d, FINDING_OK, "user", "The user \"tandem\" exists; the daemon will run as that user.");
	else
		doctor_say(d, FINDING_NOTE, "user",
			   "There is no user \"tandem\"; the daemon runs under a number of its own, and only root may "
			   "use its socket. "
			   "Make one with: sudo adduser --system --group --no-create-home tandem");
}

static bool read_number(const char *path, int64_t *ret)
{
	auto_buf b = {0};
	struct err e;

	if (io_read_file(AT_FDCWD, path, 4096, &b, &e) < 0)
		return false;
	while (b.n && (b.p[b.n - 1] == '\n' || b.p[b.n - 1] == ' '))
		b.p[--b.n] = 0;
	return str_to_i64(buf_str(&b), 0, INT64_MAX, ret) == 0;
}

static void look_namespaces(struct doctor *d)
{
	static const char *const kinds[] = {"user", "pid", "mnt", "ipc", "uts", "cgroup", "net", "time"};
	auto_buf lack = {0};
	int64_t max;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		char path[64];

		snprintf(path, sizeof(path), "/proc/self/ns/%s", kinds[i]);
		if (access(path, F_OK) < 0)
			buf_addf(&lack, " %s", kinds[i]);
	}
	if (lack.n)
		doctor_say(d, FINDING_MISSING, "namespaces",
			   "The kernel has no namespaces of these kinds:%s. A sandbox needs them.", lack.p);
	else if (read_number("/proc/sys/user/max_user_namespaces", &max) && max < 1000)
		doctor_say(d, FINDING_MISSING, "namespaces",
			   "Only %lld user namespaces are allowed; each sandbox needs one. Raise it with: sudo sysctl "
			   "user.max_user_namespaces=15000",
			   (long long)max);
	else
		doctor_say(d, FINDING_OK, "namespaces",
			   "User, pid, mount, ipc, uts, cgroup, net and time namespaces are there.");
}

/* Is word one of the words of the list? sep: what stands between them. */
static bool has_word(const char *list, const char *word, const char *sep)
{
	size_t n = strlen(word);

	for (const char *p = list; p && (p = strstr(p, word)); p += n)
		if ((p == list || strchr(sep, p[-1])) && (!p[n] || strchr(sep, p[n])))
			return true;
	return false;
}

struct mounts {
	char v2[256];	    /* where cgroup2 is mounted, or "" */
	char v1[8][2][256]; /* options and place of each v1 hierarchy */
	int n_v1;
};

static void read_mounts(struct mounts *m)
{
	FILE *f = fopen("/proc/self/mounts", "re");
	char dev[256], place[256], type[64], opts[512];

	*m = (struct mounts){0};
	while (f && fscanf(f, "%255s %255s %63s %511s %*d %*d", dev, place, type, opts) == 4) {
		if (!strcmp(type, "cgroup2") && !*m->v2)
			strlcpy_(m->v2, place, sizeof(m->v2));
		if (!strcmp(type, "cgroup") && m->n_v1 < 8) {
			strlcpy_(m->v1[m->n_v1][0], opts, sizeof(m->v1[0][0]));
			strlcpy_(m->v1[m->n_v1++][1], place, sizeof(m->v1[0][1]));
		}
	}
	if (f)
		fclose(f);
}

static void look_cgroups(struct doctor *d)
{
	static const char *const need[] = {"memory", "cpu", "pids"};
	auto_buf found = {0}, lack = {0}, list = {0};
	struct mounts m;

	read_mounts(&m);
	if (*m.v2) {
		auto_free char *path = xasprintf("%s/cgroup.controllers", m.v2);
		struct err e;

		io_read_file(AT_FDCWD, path, 4096, &list, &e);
	}
	for (size_t i = 0; i < ARRAY_SIZE(need); i++) {
		bool got = has_word(list.p ? list.p : "", need[i], " \n");

		if (got)
			buf_addf(&found, "%s%s (v2)", found.n ? ", " : "", need[i]);
		for (int k = 0; k < m.n_v1 && !got; k++)
			if (has_word(m.v1[k][0], need[i], ",")) {
				buf_addf(&found, "%s%s (v1 at %s)", found.n ? ", " : "", need[i], m.v1[k][1]);
				got = true;
			}
		if (!got)
			buf_addf(&lack, " %s", need[i]);
	}
	if (lack.n)
		doctor_say(d, FINDING_MISSING, "cgroups",
			   "No cgroup hierarchy has these controllers:%s; limits could not be held. On a pure v2 host "
			   "enable them at the root "
			   "(cgroup.subtree_control); kernels may need cgroup_enable=memory at boot.",
			   lack.p);
	else
		doctor_say(d, FINDING_OK, "cgroups", "Controllers: %s.", found.p);
	if (*m.v2)
		doctor_say(d, FINDING_OK, "cgroup2", "A v2 hierarchy for freezing and killing is at %s.", m.v2);
	else
		doctor_say(d, FINDING_MISSING, "cgroup2",
			   "No cgroup2 file system is mounted; sandboxes are frozen through it. "
			   "Mount one with: sudo mount -t cgroup2 none /sys/fs/cgroup/unified");
}

static void look_memory(struct doctor *d)
{
	auto_buf b = {0};
	struct err e;
	long long total = 0, avail = 0;
	const char *p;
	struct rlimit nofile;

	if (io_read_file(AT_FDCWD, "/proc/meminfo", 65536, &b, &e) < 0)
		return;
	if ((p = strstr(b.p, "MemTotal:")))
		sscanf(p, "MemTotal: %lld", &total);
	if ((p = strstr(b.p, "MemAvailable:")))
		sscanf(p, "MemAvailable: %lld", &avail);
	doctor_say(d, avail < 262144 ? FINDING_NOTE : FINDING_OK, "memory", "%lld MB of %lld MB memory are available%s",
		   avail >> 10, total >> 10, avail < 262144 ? ": little for functions with large libraries." : ".");
	if (getrlimit(RLIMIT_NOFILE, &nofile) == 0 && nofile.rlim_max < 65536)
		doctor_say(d, FINDING_NOTE, "files",
			   "A process may open at most %llu files; each sandbox takes about 16 in the daemon. For many "
			   "at once: ulimit -Hn 1048576",
			   (unsigned long long)nofile.rlim_max);
}

static void look_disk(struct doctor *d)
{
	const char *at = access(d->c->state, F_OK) == 0 ? d->c->state : "/";
	struct statvfs s;

	if (statvfs(at, &s) < 0)
		return;
	doctor_say(d, s.f_bavail * s.f_frsize < 1ull << 30 ? FINDING_NOTE : FINDING_OK, "disk",
		   "%llu MB are free where the state lies (%s).", (unsigned long long)(s.f_bavail * s.f_frsize >> 20),
		   at);
}

/* First line of what "program --version" prints; false when it cannot be run. */
static bool version_of(const char *program, char *out, size_t size)
{
	char *argv[] = {(char *)program, (char *)"--version", NULL};
	posix_spawn_file_actions_t fa;
	int p[2], status = 0;
	size_t n = 0;
	pid_t pid;

	if (access(program, X_OK) < 0 || pipe2(p, O_CLOEXEC) < 0)
		return false;
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, p[1], 1);
	posix_spawn_file_actions_adddup2(&fa, p[1], 2);
	status = posix_spawn(&pid, program, &fa, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	close(p[1]);
	while (!status && n < size - 1) {
		ssize_t got = read(p[0], out + n, size - 1 - n);

		if (got <= 0)
			break;
		n += (size_t)got;
	}
	close(p[0]);
	if (status)
		return false;
	out[n] = 0;
	out[strcspn(out, "\n")] = 0;
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status);
}

static void look_runtimes(struct doctor *d)
{
	char v[128];

	if (version_of("/usr/bin/python3", v, sizeof(v)))
		doctor_say(d, FINDING_OK, "python", "%s serves the runtimes python3.*.", v);
	else
		doctor_say(d, FINDING_NOTE, "python",
			   "There is no /usr/bin/python3; python3.* functions cannot run. Get it with: sudo apt "
			   "install python3");
	if (version_of("/usr/bin/node", v, sizeof(v)))
		doctor_say(d, FINDING_OK, "node", "Node %s serves the runtimes nodejs*.", v);
	else
		doctor_say(d, FINDING_NOTE, "node",
			   "There is no /usr/bin/node; nodejs* functions cannot run. Get it with: sudo apt install "
			   "nodejs");
	if (access("/usr/bin/skopeo", X_OK) < 0)
		doctor_say(d, FINDING_NOTE, "images",
			   "There is no /usr/bin/skopeo; container images cannot be brought here (tandem pull). Get it "
			   "with: sudo apt install skopeo");
}

static void look_helpers(struct doctor *d)
{
	static const char *const helpers[] = {"tandemd", "tandem-spawner", "tandem-init", "tandem-unpack",
					      "tandem-net"};
	auto_buf lack = {0};
	struct err e = {0};
	char lib[4096];

	if (cli_libexec(lib, sizeof(lib), &e) < 0)
		return doctor_say(d, FINDING_MISSING, "helpers", "%s", e.text);
	for (size_t i = 0; i < ARRAY_SIZE(helpers); i++) {
		char path[4096 + 32];

		snprintf(path, sizeof(path), "%s/%s", lib, helpers[i]);
		if (access(path, X_OK) < 0)
			buf_addf(&lack, " %s", helpers[i]);
	}
	if (lack.n)
		doctor_say(d, FINDING_MISSING, "helpers",
			   "In %s these are missing:%s. Build them with make, or install with: sudo make install", lib,
			   lack.p);
	else
		doctor_say(d, FINDING_OK, "helpers", "The helper programs are in %s.", lib);
}

void doctor_host(struct doctor *d)
{
	look_root(d);
	look_kernel(d);
	look_namespaces(d);
	look_cgroups(d);
	look_memory(d);
	look_disk(d);
	look_runtimes(d);
	look_helpers(d);
}
