/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger/machine.h"

const char *const machine_term_name[MACHINE_TERM_N] = {"tandem/daemon", "tandem/spawner", "tandem/blanks",
						       "host/unused",	"host/other",	  "host/machine"};
static const uint8_t term_kind[MACHINE_TERM_N] = {LEDGER_PLATFORM, LEDGER_PLATFORM, LEDGER_PLATFORM,
						  LEDGER_UNUSED,   LEDGER_OTHER,    LEDGER_MACHINE};

/* The next number of a line; -1: there is none. */
static int64_t take_number(struct str *line)
{
	struct str word;
	int64_t v;

	*line = str_trim(*line);
	return str_next(line, ' ', &word) && str_to_i64(word, 0, INT64_MAX, &v) == 0 ? v : -1;
}

/* What stands behind a word that begins a line; -1: nothing. */
static int64_t number_of(struct str text, const char *word)
{
	struct str line;

	while (str_next(&text, '\n', &line))
		if (str_starts(line, word)) {
			line.p += strlen(word), line.n -= strlen(word);
			return take_number(&line);
		}
	return -1;
}

/* proc_stat(5): ticks of user, nice, system, idle, iowait, irq, softirq, steal; guests are in user. */
int machine_parse_stat(struct str text, struct machine_look *ret)
{
	int64_t idle = 0, busy = 0, cpus = 0;
	struct str line;

	if (!str_next(&text, '\n', &line) || !str_starts(line, "cpu "))
		return -1;
	line.p += 4, line.n -= 4;
	for (int i = 0; i < 8; i++) {
		int64_t ticks = take_number(&line);

		if (ticks < 0 || ticks > INT64_MAX / 80000)
			return -1;
		*(i == 3 || i == 4 ? &idle : &busy) += ticks * 10000; /* USER_HZ is 100 */
	}
	while (str_next(&text, '\n', &line) && str_starts(line, "cpu"))
		cpus++;
	if (!cpus)
		return -1;
	ret->cpus = cpus;
	ret->idle_us = idle;
	ret->busy_us = busy;
	return 0;
}

int machine_parse_meminfo(struct str text, struct machine_look *ret)
{
	int64_t total = number_of(text, "MemTotal:"), available = number_of(text, "MemAvailable:");

	if (total <= 0 || available < 0 || total > INT64_MAX >> 10 || available > total)
		return -1;
	ret->total_bytes = total << 10;
	ret->available_bytes = available << 10;
	return 0;
}

/* v1 has sums of the groups below as total_*. Shared memory is in the cache, and nobody can give it back. */
int64_t machine_group_bytes(struct str stat, int64_t current)
{
	int64_t cache = number_of(stat, "total_cache "), shmem = number_of(stat, "total_shmem ");

	if (cache < 0) {
		cache = number_of(stat, "file ");
		shmem = number_of(stat, "shmem ");
	}
	cache = cache > 0 ? cache - (shmem > 0 ? shmem : 0) : 0;
	return current > cache ? current - cache : 0;
}

/* A counter that fell has begun anew. */
static int64_t grown(int64_t from, int64_t to)
{
	return to >= from ? to - from : to;
}

static int64_t not_below_0(int64_t v)
{
	return v > 0 ? v : 0;
}

static int64_t other_bytes(const struct machine_look *l)
{
	return not_below_0(l->total_bytes - l->available_bytes - l->group_bytes - l->daemon_bytes - l->spawner_bytes);
}

bool machine_rows(const struct machine_look *from, const struct machine_look *to, struct ledger_row ret[MACHINE_TERM_N])
{
	int64_t took = (to->at_us - from->at_us) / 1000 * 1000;
	int64_t daemon = grown(from->daemon_us, to->daemon_us), spawner = grown(from->spawner_us, to->spawner_us);
	int64_t ours = daemon + spawner + grown(from->group_us, to->group_us);
	const struct {
		int64_t cpu_us, bytes;
	} term[MACHINE_TERM_N] = {
		[MACHINE_DAEMON] = {daemon, from->daemon_bytes + to->daemon_bytes},
		[MACHINE_SPAWNER] = {spawner, from->spawner_bytes + to->spawner_bytes},
		[MACHINE_BLANKS] = {grown(from->blanks_us, to->blanks_us), from->blanks_bytes + to->blanks_bytes},
		[MACHINE_UNUSED] = {grown(from->idle_us, to->idle_us), from->available_bytes + to->available_bytes},
		[MACHINE_OTHER] = {not_below_0(grown(from->busy_us, to->busy_us) - ours),
				   other_bytes(from) + other_bytes(to)},
		[MACHINE_ALL] = {took * to->cpus, from->total_bytes + to->total_bytes},
	};

	if (strcmp(from->boot, to->boot) != 0 || took <= 0)
		return false;
	for (int i = 0; i < MACHINE_TERM_N; i++)
		ret[i] = (struct ledger_row){.start_wall_us = to->wall_us - took,
					     .kind = term_kind[i],
					     .idle_ms = took / 1000 > UINT32_MAX ? UINT32_MAX : (uint32_t)(took / 1000),
					     .cpu_us = (uint64_t)term[i].cpu_us,
					     .mem_peak_bytes = (uint64_t)term[i].bytes / 2};
	return true;
}

#define NUMBERS_AT offsetof(struct machine_look, at_us)
#define NUMBERS	   ((sizeof(struct machine_look) - NUMBERS_AT) / sizeof(int64_t))

void machine_put(const struct machine_look *l, struct buf *out)
{
	int64_t v[NUMBERS];

	memcpy(v, (const char *)l + NUMBERS_AT, sizeof(v));
	buf_adds(out, l->boot);
	for (size_t i = 0; i < NUMBERS; i++) {
		buf_addc(out, ' ');
		buf_add_i64(out, v[i]);
	}
}

int machine_get(struct str text, struct machine_look *ret)
{
	struct machine_look l = {0};
	int64_t v[NUMBERS];
	struct str boot;

	if (!str_next(&text, ' ', &boot) || boot.n >= sizeof(l.boot))
		return -1;
	memcpy(l.boot, boot.p, boot.n);
	for (size_t i = 0; i < NUMBERS; i++)
		if ((v[i] = take_number(&text)) < 0)
			return -1;
	memcpy((char *)&l + NUMBERS_AT, v, sizeof(v));
	*ret = l;
	return 0;
}
