/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs inside of the container, as a process that is about to be the image's program: a hostile /etc/passwd can harm
 * nobody but its own container. It still must not keep us for ever: nothing is waited for, and only so much is read.
 */
#include "run.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include "base/def.h"

#define FILE_MAX_BYTES (4 << 20)
#define LINE_MAX_BYTES 4096
#define GROUPS_MAX     64
#define ID_MAX	       65535 /* of the container's range */
#define FIELDS_MAX     7
#define DEFAULT_PATH   "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct who {
	unsigned uid, gid, n_groups;
	gid_t groups[GROUPS_MAX];
	bool have_gid; /* said by the user, so other groups are not looked up */
	char name[256], home[LINE_MAX_BYTES];
};

static int number(const char *s, unsigned *ret)
{
	char *end;
	unsigned long v;

	if (*s < '0' || *s > '9')
		return -1;
	errno = 0;
	v = strtoul(s, &end, 10);
	if (errno || *end || v > ID_MAX)
		return -1;
	*ret = (unsigned)v;
	return 0;
}

/* "a:b:c" in place; the number of fields. */
static unsigned split(char *line, char *field[FIELDS_MAX])
{
	unsigned n = 0;

	while (line && n < FIELDS_MAX)
		field[n++] = strsep(&line, ":");
	return n;
}

/* Calls each for every line until it says that it has enough; a line that is too long is none. */
static void each_line(const char *path, bool (*each)(void *arg, char **field, unsigned n), void *arg)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	char part[8192], line[LINE_MAX_BYTES], *field[FIELDS_MAX];
	size_t n = 0, total = 0;
	bool too_long = false;
	ssize_t got;

	while (fd >= 0 && total < FILE_MAX_BYTES && (got = read(fd, part, sizeof(part))) > 0) {
		total += (size_t)got;
		for (ssize_t i = 0; i < got; i++) {
			if (part[i] != '\n') {
				too_long |= n == sizeof(line) - 1;
				if (!too_long)
					line[n++] = part[i];
				continue;
			}
			line[n] = 0;
			if (!too_long && each(arg, field, split(line, field)))
				return;
			n = 0;
			too_long = false;
		}
	}
	line[n] = 0;
	if (n && !too_long)
		(void)each(arg, field, split(line, field));
}

struct look {
	const char *name; /* or a number */
	struct who *who;
	bool found;
};

/* name:password:uid:gid:comment:home:shell */
static bool user_line(void *arg, char **f, unsigned n)
{
	struct look *l = arg;
	unsigned uid, gid, asked;

	if (n < 6 || number(f[2], &uid) < 0 || number(f[3], &gid) < 0 ||
	    (strcmp(f[0], l->name) && (number(l->name, &asked) < 0 || asked != uid)))
		return false;
	l->who->uid = uid;
	if (!l->who->have_gid)
		l->who->gid = gid;
	snprintf(l->who->name, sizeof(l->who->name), "%s", f[0]);
	snprintf(l->who->home, sizeof(l->who->home), "%s", f[5]);
	l->found = true;
	return true;
}

/* name:password:gid:members */
static bool group_line(void *arg, char **f, unsigned n)
{
	struct look *l = arg;
	unsigned gid;

	if (n < 3 || number(f[2], &gid) < 0 || strcmp(f[0], l->name))
		return false;
	l->who->gid = gid;
	l->found = true;
	return true;
}

static bool member_line(void *arg, char **f, unsigned n)
{
	struct who *w = arg;
	unsigned gid;
	char *rest = n >= 4 ? f[3] : NULL, *member;

	if (n < 4 || number(f[2], &gid) < 0)
		return false;
	while ((member = strsep(&rest, ",")))
		if (*member && !strcmp(member, w->name) && w->n_groups < GROUPS_MAX)
			w->groups[w->n_groups++] = gid;
	return w->n_groups == GROUPS_MAX;
}

/* "", "name", "7", "name:group", "7:8". A number need not be in any file. Returns errno. */
static int look_up(const char *user, struct who *w)
{
	char text[256], *group = text, *name;
	struct look l = {.who = w};

	*w = (struct who){.home = "/"};
	if (snprintf(text, sizeof(text), "%s", user) >= (int)sizeof(text))
		return EINVAL;
	name = strsep(&group, ":");
	if (group && *group) {
		w->have_gid = true;
		if (number(group, &w->gid) < 0) {
			l.name = group;
			each_line("/etc/group", group_line, &l);
			if (!l.found)
				return ENOENT;
		}
	}
	l.name = *name ? name : "0";
	l.found = false;
	each_line("/etc/passwd", user_line, &l);
	if (!l.found && number(l.name, &w->uid) < 0)
		return ENOENT;
	if (!l.found && !strcmp(l.name, "0"))
		snprintf(w->home, sizeof(w->home), "/root");
	w->groups[w->n_groups++] = w->gid;
	if (!w->have_gid && w->name[0])
		each_line("/etc/group", member_line, w);
	return 0;
}

static const char *env_get(char **env, const char *name)
{
	size_t n = strlen(name);

	for (; *env; env++)
		if (!strncmp(*env, name, n) && (*env)[n] == '=')
			return *env + n + 1;
	return NULL;
}

/* A terminal that was opened elsewhere (under a runtime the mounts here are copies) has no name here; the same one has. */
static int named_tty(int fd)
{
	struct stat st, here;
	char path[24];
	int named;

	if (fstat(fd, &st) < 0)
		return fd;
	snprintf(path, sizeof(path), "/dev/pts/%u", minor(st.st_rdev));
	named = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	return named >= 0 && fstat(named, &here) == 0 && here.st_dev == st.st_dev && here.st_rdev == st.st_rdev ? named
														: fd;
}

static int take_fds(const struct run *r)
{
	int first = r->how.tty ? named_tty(r->fd[0]) : r->fd[0], safe[3];

	/* Upwards first: one of them may lie where another one has to go. */
	for (int i = 0; i < 3; i++) {
		safe[i] = fcntl(i && !r->how.tty ? r->fd[i] : first, F_DUPFD_CLOEXEC, 16);
		if (safe[i] < 0)
			return -1;
	}
	for (int i = 0; i < 3; i++)
		if (dup2(safe[i], i) < 0)
			return -1;
	setsid();
	return r->how.tty ? ioctl(0, TIOCSCTTY, 0) : 0;
}

/* Nothing that is executed gets a capability back: no-new-privileges. */
static int become(const struct who *w, uint64_t caps)
{
	const uint32_t low = (uint32_t)caps, high = (uint32_t)(caps >> 32);
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2] = {{low, low, 0}, {high, high, 0}};

	for (int i = 0; caps != RUN_CAPS_ALL && i < 64; i++)
		if (!(caps >> i & 1) && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0 && errno != EINVAL)
			return -1;
	/* Its own, so that it can open /dev/stdout and /dev/tty's file again under any name. */
	for (int i = 0; i < 3; i++)
		(void)fchown(i, w->uid, (gid_t)-1);
	if (setgroups(w->n_groups, w->groups) < 0 || setresgid(w->gid, w->gid, w->gid) < 0 ||
	    setresuid(w->uid, w->uid, w->uid) < 0)
		return -1;
	/* Another user has none any more, root would have all of tandem-init's. */
	return w->uid || caps == RUN_CAPS_ALL ? 0 : (int)syscall(SYS_capset, &h, d);
}

/* As a shell looks for it; what is there and may not be executed is a better reason than what is not there. */
static int execute(char **argv, char **env)
{
	const char *path = env_get(env, "PATH");
	char full[4096];
	int why = ENOENT;

	if (strchr(argv[0], '/')) {
		execve(argv[0], argv, env);
		return errno;
	}
	for (const char *end, *p = path ? path : DEFAULT_PATH; *argv[0] && p; p = *end ? end + 1 : NULL) {
		end = strchrnul(p, ':');
		if (snprintf(full, sizeof(full), "%.*s/%s", (int)(end - p), end == p ? "." : p, argv[0]) >=
		    (int)sizeof(full))
			continue;
		execve(full, argv, env);
		if (errno != ENOENT && errno != ENOTDIR)
			why = errno;
	}
	return why;
}

/*
 * Its files become the user's who is to read them, its variables are added; the memory is gone at the exec. Then the
 * way to them is closed, and so are the locks that stand behind it: the working directory is somebody else's word.
 */
static int take_secrets(struct run *r, const struct who *w)
{
	char name[16], *text = MAP_FAILED;
	struct stat st = {0};
	unsigned n = 0;
	int env;

	for (unsigned i = 0; r->first; i++) {
		snprintf(name, sizeof(name), "%u", i);
		if (fchownat(INIT_FD_SECRETS, name, w->uid, w->gid, AT_SYMLINK_NOFOLLOW) < 0)
			break; /* none, or no more */
	}
	env = openat(INIT_FD_SECRETS, "env", O_RDONLY | O_CLOEXEC);
	if (env >= 0 && fstat(env, &st) == 0)
		text = mmap(NULL, (size_t)st.st_size + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (env >= 0 && (text == MAP_FAILED || read(env, text, (size_t)st.st_size) != st.st_size))
		return -1;
	while (r->env[n])
		n++;
	for (char *p = text; env >= 0 && p < text + st.st_size; p += strlen(p) + 1)
		r->env[n++] = p;
	r->env[n] = NULL;
	return close_range(INIT_FD_SECRETS, ~0u, 0);
}

int run_program(struct run *r)
{
	static struct who w;
	static char home[LINE_MAX_BYTES + 8];
	sigset_t none;
	unsigned n = 0;
	int sys = look_up(r->user, &w);

	if (sys)
		return INIT_STEP_USER << 16 | sys;
	if (!env_get(r->env, "HOME")) {
		snprintf(home, sizeof(home), "HOME=%s", w.home);
		while (r->env[n])
			n++;
		r->env[n] = home;
		r->env[n + 1] = NULL;
	}
	if (take_secrets(r, &w) < 0 || take_fds(r) < 0)
		return INIT_STEP_EXEC << 16 | errno;
	if (become(&w, r->caps) < 0)
		return INIT_STEP_USER << 16 | errno;
	if (chdir(*r->cwd ? r->cwd : "/") < 0)
		return INIT_STEP_CWD << 16 | errno;
	for (int sig = 1; sig < NSIG; sig++)
		(void)signal(sig, SIG_DFL); /* what was ignored where the daemon was started would be here */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	return INIT_STEP_EXEC << 16 | execute(r->argv, r->env);
}

int run_beside(struct run *r, pid_t *ret)
{
	int told[2], sys = 0;
	pid_t pid;

	if (pipe2(told, O_CLOEXEC) < 0)
		return INIT_STEP_EXEC << 16 | errno;
	pid = fork();
	if (pid == 0) {
		sys = run_program(r);
		(void)!write(told[1], &sys, sizeof(sys));
		_exit(127);
	}
	if (pid < 0)
		sys = INIT_STEP_EXEC << 16 | errno;
	close(told[1]);
	while (pid > 0 && read(told[0], &sys, sizeof(sys)) < 0 &&
	       errno == EINTR) /* nothing: it is another program now */
		;
	close(told[0]);
	if (pid > 0 && sys)
		waitpid(pid, NULL, 0);
	*ret = pid;
	return sys;
}
