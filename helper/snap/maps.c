/* SPDX-License-Identifier: Apache-2.0 */
/* /proc/PID/smaps: which mappings there are, and which of them cannot be made again. */
#include "proc.h"
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

struct mapping {
	uint64_t start, end, offset, ino, dev;
	bool r, w, x, shared;
	uint8_t key;
	char *name;  /* "" for none */
	char *flags; /* " rd wr ..." */
};

static bool flag(const struct mapping *m, const char *two)
{
	for (const char *p = m->flags; (p = strstr(p, two)); p += 2)
		if (p[-1] == ' ' && (p[2] == ' ' || !p[2]))
			return true;
	return false;
}

static int refuse(struct err *e, const struct mapping *m, const char *why)
{
	return err_set(e, ERR_CONFLICT, "%s at %llx (%s)", why, (unsigned long long)m->start,
		       *m->name ? m->name : "anonymous");
}

/* Flags of a mapping that have no meaning after a restore, and those that are simply made again. */
static int check_flags(const struct mapping *m, struct err *e)
{
	static const struct {
		const char *flag, *why;
	} no[] = {
		{"io", "memory of a device"},
		{"pf", "memory of a device"},
		{"ht", "huge pages of hugetlbfs"},
		{"um", "a mapping under userfaultfd"},
		{"uw", "a mapping under userfaultfd"},
		{"ui", "a mapping under userfaultfd"},
		{"ss", "a shadow stack"},
		{"sl", "a sealed mapping"},
		{"lo", "locked memory"},
		{"sf", "a synchronous mapping"},
		{"gu", "guard pages"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(no); i++)
		if (flag(m, no[i].flag))
			return refuse(e, m, no[i].why);
	if (m->shared && (m->w || flag(m, "mw")))
		return refuse(e, m, "shared writable memory");
	if (m->shared && !m->ino)
		return refuse(e, m, "shared memory");
	return 0;
}

static uint8_t advice_of(const struct mapping *m)
{
	static const char *const names[ADVICE_N] = {"sr", "rr", "dc", "wf", "dd", "hg", "nh", "mg"};
	uint8_t bits = 0;

	for (unsigned i = 0; i < ADVICE_N; i++)
		if (flag(m, names[i]))
			bits |= (uint8_t)(1u << i);
	return bits;
}

/* Octal escapes, as seq_file writes them. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] == '0' && s[2] == '1' && s[3] == '2')
			*to++ = '\n', s += 3;
		else
			*to++ = *s;
	}
	*to = 0;
}

int proc_file(struct snap_draft *d, const char *path, uint64_t ino, uint32_t *ret_index, struct err *e)
{
	uint32_t *n = &d->head.table[TABLE_FILES].n;
	struct snap_file now;
	struct stat st;

	if (*path != '/')
		return err_set(e, ERR_CONFLICT, "a file without a path is open or mapped: %s", path);
	if (lstat(path, &st) < 0 || !(S_ISREG(st.st_mode) || S_ISCHR(st.st_mode) || S_ISDIR(st.st_mode)) ||
	    st.st_ino != ino)
		return err_set(e, ERR_CONFLICT, "a file that is no longer there is open or mapped: %s", path);
	file_is(&now, &st);
	for (uint32_t i = *n; i-- > 0;)
		if (d->file[i].ino == now.ino && !strcmp(d->text + d->file[i].path, path)) {
			*ret_index = i;
			return 0;
		}
	if (*n >= SNAP_FILES_MAX)
		return err_set(e, ERR_LIMIT, "more than %u files are open or mapped", SNAP_FILES_MAX);
	if (proc_text(d, path, &now.path, e) < 0)
		return -1;
	d->file[*n] = now;
	*ret_index = (*n)++;
	return 0;
}

static int add(struct snap_draft *d, struct mapping *m, struct err *e)
{
	uint32_t *n = &d->head.table[TABLE_MAPS].n, file = 0;
	const struct snap_take *t = d->take;
	struct snap_map *to = &d->map[*n];
	bool image = t->image_ino && m->ino == t->image_ino && m->dev == t->image_dev;

	if (check_flags(m, e) < 0)
		return -1;
	if (*n >= SNAP_MAPS_MAX)
		return err_set(e, ERR_LIMIT, "more than %u mappings", SNAP_MAPS_MAX);
	if (m->ino && !image) {
		unescape(m->name);
		if (proc_file(d, m->name, m->ino, &file, e) < 0)
			return -1;
		to->file = file + 1;
		to->offset = m->offset;
	}
	d->whole[*n] = image;
	to->start = m->start, to->end = m->end;
	to->prot = (uint8_t)((m->r ? PROT_READ : 0) | (m->w ? PROT_WRITE : 0) | (m->x ? PROT_EXEC : 0));
	to->advice = advice_of(m);
	to->key = m->key;
	to->flags = (uint8_t)((m->shared ? MAP_F_SHARED : 0) | (flag(m, "gd") ? MAP_F_STACK : 0) |
			      (flag(m, "nr") ? MAP_F_NORESERVE : 0) | (flag(m, "dp") ? MAP_F_DROPPABLE : 0) |
			      (!strcmp(m->name, "[heap]") ? MAP_F_BRK : 0));
	if (strstr(m->name, "jemalloc") || strstr(m->name, "tcmalloc") || strstr(m->name, "mimalloc") ||
	    strstr(m->name, "libarrow"))
		d->head.proc.eager = 1;
	(*n)++;
	return 0;
}

/* One entry: a line of maps, lines of figures, a line of flags. Cuts text; *ret_next is what follows. */
static int parse(char *text, struct mapping *m, char **ret_next, struct err *e)
{
	char *line = text, *next = NULL, r, w, x, s;
	unsigned major, minor;
	int name = 0;

	*m = (struct mapping){.name = (char *)"", .flags = (char *)""};
	for (; *line; line = next) {
		next = strchr(line, '\n');
		if (!next)
			break;
		*next++ = 0;
		if (line == text) {
			if (sscanf(line, "%lx-%lx %c%c%c%c %lx %x:%x %lu %n", &m->start, &m->end, &r, &w, &x, &s,
				   &m->offset, &major, &minor, &m->ino, &name) < 10)
				break;
			m->dev = makedev(major, minor);
			m->r = r == 'r', m->w = w == 'w', m->x = x == 'x', m->shared = s == 's';
			m->name = line + name;
		} else if (!strncmp(line, "VmFlags:", 8)) {
			m->flags = line + 8;
			*ret_next = next;
			return 0;
		} else if (!strncmp(line, "ProtectionKey:", 14)) {
			m->key = (uint8_t)atoi(line + 14);
		}
	}
	return err_set(e, ERR_UNAVAILABLE, "the kernel's smaps file has an unknown form");
}

int proc_maps(struct snap_draft *d, struct err *e)
{
	struct snap_proc *p = &d->head.proc;
	uint64_t vdso_end = 0;
	struct mapping m;
	char *text;

	if (proc_read(d, "smaps", &text, NULL, e) < 0)
		return -1;
	while (*text) {
		if (parse(text, &m, &text, e) < 0)
			return -1;
		if (!strcmp(m.name, "[vsyscall]"))
			continue;
		if (!strncmp(m.name, "[vvar", 5) || !strcmp(m.name, "[vdso]")) {
			if (flag(&m, "sl"))
				return refuse(e, &m, "a sealed mapping");
			if (m.start != vdso_end)
				p->vdso = m.start;
			vdso_end = m.end;
			continue;
		}
		if (add(d, &m, e) < 0)
			return -1;
	}
	if (!vdso_end || vdso_end - p->vdso != d->take->ident->vdso_bytes)
		return err_set(e, ERR_CONFLICT, "its vdso is not where the kernel put it");
	return 0;
}
