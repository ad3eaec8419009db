/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger/meter.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"

#define ROW_US	 (60 * 1000000ll)
#define FILE_MAX (1u << 20)

struct meter {
	struct meter_opts o;
	struct machine_look last;
	uint32_t names[MACHINE_TERM_N];
	int64_t daemon_before_us, blanks_before_us; /* of the daemons before this one, which go on being counted */
	struct buf text;
};

/* Its text, until the next one is read; empty when there is none. */
static struct str read_text(struct meter *m, int dirfd, const char *name)
{
	buf_clear(&m->text);
	if (io_read_file(dirfd, name, FILE_MAX, &m->text, NULL) < 0)
		buf_clear(&m->text);
	return buf_str(&m->text);
}

static int64_t first_number(struct str s)
{
	int64_t v = 0;

	for (size_t i = 0; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
		v = v * 10 + (s.p[i] - '0');
	return v;
}

/* That behind a word which the file begins with. */
static int64_t number_in(struct meter *m, int dirfd, const char *name, const char *word)
{
	struct str s = read_text(m, dirfd, name);
	size_t n = strlen(word);

	return str_starts(s, word) ? first_number((struct str){s.p + n, s.n - n}) : 0;
}

/* Without what it shares with others: proc_pid_statm(5), pages; the second resident, the third shared. */
static int64_t private_bytes(struct meter *m, pid_t pid)
{
	char path[48];
	struct str s, word;
	int64_t v[3] = {0};

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	s = read_text(m, AT_FDCWD, path);
	for (int i = 0; i < 3 && str_next(&s, ' ', &word); i++)
		v[i] = first_number(word);
	return v[1] > v[2] ? (v[1] - v[2]) * sysconf(_SC_PAGESIZE) : 0;
}

/* The spawner has one thread: proc_pid_schedstat(5), the first figure, nanoseconds. */
static void look_at_us(struct meter *m, struct machine_look *l)
{
	char path[48];
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	l->daemon_us = m->daemon_before_us + clock_cpu_us(&ru) + m->o.helpers_us(m->o.arg);
	l->daemon_bytes = private_bytes(m, getpid());
	snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)getppid());
	l->spawner_us = number_in(m, AT_FDCWD, path, "") / 1000;
	l->spawner_bytes = private_bytes(m, getppid());
	m->o.blanks(m->o.arg, &l->blanks_us, &l->blanks_bytes);
	l->blanks_us += m->blanks_before_us;
}

/* A file of v1 or of v2, whichever there is. */
static void look_at_sandboxes(struct meter *m, struct machine_look *l)
{
	int cpu = m->o.group_cpu, memory = m->o.group_memory;

	if (cpu >= 0)
		l->group_us =
			number_in(m, cpu, "cpuacct.usage", "") / 1000 + number_in(m, cpu, "cpu.stat", "usage_usec ");
	if (memory >= 0)
		l->group_bytes =
			number_in(m, memory, "memory.current", "") + number_in(m, memory, "memory.usage_in_bytes", "");
	if (memory >= 0)
		l->group_bytes = machine_group_bytes(read_text(m, memory, "memory.stat"), l->group_bytes);
}

static bool look(struct meter *m, struct machine_look *ret)
{
	struct machine_look l = {.at_us = clock_now_us(), .wall_us = clock_wall_us()};
	struct str boot = read_text(m, AT_FDCWD, "/proc/sys/kernel/random/boot_id");

	(void)str_next(&boot, '\n', &boot);
	if (boot.n < sizeof(l.boot))
		memcpy(l.boot, boot.p, boot.n);
	look_at_us(m, &l);
	look_at_sandboxes(m, &l);
	if (machine_parse_stat(read_text(m, AT_FDCWD, "/proc/stat"), &l) < 0 ||
	    machine_parse_meminfo(read_text(m, AT_FDCWD, "/proc/meminfo"), &l) < 0)
		return false;
	*ret = l;
	return true;
}

/* Rows of the time since the last look. */
static bool rows_until_now(struct meter *m, struct machine_look *now, struct ledger_row rows[MACHINE_TERM_N])
{
	return look(m, now) && machine_rows(&m->last, now, rows);
}

static void keep(struct meter *m)
{
	buf_clear(&m->text);
	machine_put(&m->last, &m->text);
	m->o.keep(m->o.arg, m->text.p);
}

static void write_rows(struct meter *m)
{
	struct ledger_row rows[MACHINE_TERM_N];
	struct machine_look now;

	if (!rows_until_now(m, &now, rows))
		return;
	m->last = now; /* before the rows, each of which asks whether it is time for some */
	for (int i = 0; i < MACHINE_TERM_N; i++) {
		rows[i].workload = m->names[i];
		ledger_add(m->o.ledger, &rows[i]);
	}
	keep(m);
}

void meter_row(struct meter *m)
{
	if (clock_now_us() - m->last.at_us >= ROW_US)
		write_rows(m);
}

void meter_so_far(struct meter *m, struct ledger_query *q)
{
	struct ledger_row rows[MACHINE_TERM_N];
	struct machine_look now;

	if (!rows_until_now(m, &now, rows))
		return;
	for (int i = 0; i < MACHINE_TERM_N; i++)
		ledger_query_so_far(q, &rows[i], machine_term_name[i]);
}

/* Its successor in the same boot has seen more; a clock that a test had stepped, less. */
static bool goes_on(const struct machine_look *last, const struct machine_look *now)
{
	return strcmp(last->boot, now->boot) == 0 && last->at_us <= now->at_us;
}

struct meter *meter_new(const struct meter_opts *o)
{
	struct meter *m = xcalloc(1, sizeof(*m));
	struct machine_look last;

	m->o = *o;
	for (int i = 0; i < MACHINE_TERM_N; i++)
		m->names[i] = ledger_intern(o->ledger, machine_term_name[i]);
	if (!look(m, &m->last))
		log_warn("meter", "/proc/stat and /proc/meminfo cannot be read: the ledger has no rows of the machine");
	if (o->last && machine_get(str_of(o->last), &last) == 0 && goes_on(&last, &m->last)) {
		m->last = last;
		m->daemon_before_us = last.daemon_us;
		m->blanks_before_us = last.blanks_us;
	} else {
		keep(m);
	}
	return m;
}

void meter_free(struct meter *m)
{
	if (!m)
		return;
	write_rows(m);
	for (int i = 0; i < MACHINE_TERM_N; i++)
		ledger_release(m->o.ledger, m->names[i]);
	buf_done(&m->text);
	free(m);
}
