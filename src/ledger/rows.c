/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger on the loop: open, intern, add. */
#include <math.h>
#include <string.h>
#include <sys/sysinfo.h>
#include "base/log.h"
#include "base/mem.h"
#include "ledger/ledger_int.h"
#include "ledger/metrics.h"

static void spool_writes(void *arg, struct spool_batch *b)
{
	struct ledger *lg = arg;

	ledger_files_write(&lg->files, b);
}

static void prices_use(struct ledger *lg)
{
	struct sysinfo si;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

#ifdef __aarch64__
	lg->prices.arch = PRICE_ARM;
#endif
	lg->vcpus = cpus > 0 ? (double)cpus : 1;
	lg->memory_bytes = sysinfo(&si) == 0 ? (double)si.totalram * si.mem_unit : 1e9;
	lg->lambda_request = lg->prices.book.rate[PRICE_LAMBDA][lg->prices.arch].usd[PRICE_REQUEST];
	lg->lambda_mb_ms = lg->prices.book.rate[PRICE_LAMBDA][lg->prices.arch].usd[PRICE_GIB_S] / 1024 / 1000;
	price_machine_init(&lg->prices.machine, &lg->prices.book, lg->prices.book.machine_usd_hour, lg->vcpus,
			   lg->memory_bytes);
}

int ledger_open(struct loop *l, int daemon_dirfd, const char *prices_json, struct ledger **ret, struct err *e)
{
	struct ledger *lg = xcalloc(1, sizeof(*lg));

	lg->loop = l;
	lg->files.dirfd = lg->files.names.fd = lg->files.rows.fd = -1;
	if (prices_parse(str_of(prices_json), &lg->prices.book, e) < 0 ||
	    ledger_files_open(&lg->files, daemon_dirfd, e) < 0 || names_load(&lg->names, lg->files.dirfd, e) < 0) {
		ledger_free(lg);
		return -1;
	}
	prices_use(lg);
	lg->spool = spool_new(&(struct spool_opts){
		.loop = l,
		.name = "ledger",
		.delay_us = LEDGER_DELAY_US,
		.flush_bytes = LEDGER_FLUSH_BYTES,
		.max_bytes = LEDGER_MAX_BYTES,
		.write = spool_writes,
		.arg = lg,
	});
	*ret = lg;
	return 0;
}

void ledger_free(struct ledger *lg)
{
	if (!lg)
		return;
	spool_free(lg->spool);
	ledger_queries_cancel(lg);
	ledger_files_close(&lg->files);
	names_done(&lg->names);
	free(lg);
}

uint32_t ledger_intern(struct ledger *lg, const char *text)
{
	return names_ref(&lg->names, text);
}

const char *ledger_text(const struct ledger *lg, uint32_t number)
{
	const struct name *n = names_at(&lg->names, number);

	return n ? n->text : "";
}

void ledger_release(struct ledger *lg, uint32_t number)
{
	names_unref(&lg->names, number);
}

void ledger_forget(struct ledger *lg, const char *workload)
{
	names_forget(&lg->names, workload);
}

uint32_t ledger_billed_ms(int64_t init_us, int64_t handler_us, bool cold)
{
	int64_t us = (cold && init_us > 0 ? init_us : 0) + (handler_us > 0 ? handler_us : 0);
	int64_t ms = us / 1000 + (us % 1000 > 0);

	return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

/* Lambda takes nothing for what it refused or failed to run, nor for a check that only this platform makes. */
static bool lambda_charges(const struct ledger_row *r)
{
	return r->kind == LEDGER_INVOKE && r->trigger != TRIGGER_CHECK && r->outcome != OUTCOME_THROTTLED &&
	       r->outcome != OUTCOME_FAILED && (r->outcome != OUTCOME_CANCELED || r->handler_us);
}

void ledger_fill(const struct ledger *lg, struct ledger_row *r)
{
	double held_us =
		r->kind == LEDGER_INVOKE ? (double)r->start_us + r->init_us + r->handler_us : r->idle_ms * 1000.0;
	/* In the container lane the instance's own stretches carry its memory. */
	double held_bytes = r->kind == LEDGER_INVOKE && r->lane == LANE_CONTAINER ? 0
			    : r->mem_peak_bytes					  ? (double)r->mem_peak_bytes
										  : r->memory_mb * 1048576.0;
	bool charged = lambda_charges(r);

	if (!r->billed_ms && charged)
		r->billed_ms = ledger_billed_ms(r->init_us, r->handler_us, r->cold);
	if (r->usd_aws == 0 && charged)
		r->usd_aws = lg->lambda_request + (double)r->memory_mb * r->billed_ms * lg->lambda_mb_ms;
	if (r->kind == LEDGER_TASK && r->outcome != OUTCOME_FAILED) {
		r->billed_ms = (uint32_t)price_fargate_seconds(r->idle_ms / 1000.0) * 1000;
		r->usd_aws = price_fargate(&lg->prices.book, lg->prices.arch, r->version / 1000.0,
					   r->memory_mb / 1024.0, r->idle_ms / 1000.0);
	}
	if (r->usd_machine == 0)
		r->usd_machine = price_machine_use(&lg->prices.machine, (double)r->cpu_us, held_bytes, held_us);
}

void ledger_price_row(const struct ledger *lg, struct ledger_row *row)
{
	ledger_fill(lg, row);
}

/* A number's text goes to the file with the first row that carries it. */
static void name_save(struct ledger *lg, struct spool_batch *b, uint32_t number)
{
	struct name *n = names_at(&lg->names, number);
	size_t had = b->head.n;

	if (!n || n->saved)
		return;
	names_line(&b->head, number, n->text);
	lg->names.file_bytes += (int64_t)(b->head.n - had);
	n->saved = true;
}

/* The number, or 0: the dictionary is full of tags. */
static uint32_t tags_save(struct ledger *lg, struct spool_batch *b, uint32_t number)
{
	const struct name *n = names_at(&lg->names, number);

	if (n && !n->saved && lg->names.file_bytes >= NAMES_TAGS_BYTES) {
		if (!lg->dropped_tags++)
			log_error("ledger", "there are %d MiB of different tags: rows with further ones have none",
				  NAMES_TAGS_BYTES >> 20);
		return 0;
	}
	name_save(lg, b, number);
	return number;
}

void ledger_names_save(struct ledger *lg, struct ledger_so_far *v, size_t n)
{
	struct spool_batch *b = spool_room(lg->spool, 0);

	for (size_t i = 0; b && i < n; i++)
		v[i].row.tags = tags_save(lg, b, v[i].row.tags);
}

static void drop(struct ledger *lg)
{
	lg->dropped_rows++;
	if (!lg->dropping)
		log_error("ledger", "the disk cannot follow: rows are dropped");
	lg->dropping = true;
}

static void put(struct ledger *lg, struct spool_batch *b, struct row row)
{
	lg->dropping = false;
	lg->rows++;
	name_save(lg, b, row.r.workload);
	row.r.tags = tags_save(lg, b, row.r.tags);
	memcpy(b->data.p + b->data.n, &row, sizeof(row));
	b->data.n += sizeof(row);
	b->items++;
	spool_added(lg->spool);
}

void ledger_add(struct ledger *lg, const struct ledger_row *in)
{
	struct spool_batch *b = spool_room(lg->spool, ROW_BYTES);
	struct row row = {.r = *in};
	struct ledger_row *r = &row.r;
	struct name *n;

	assert(r->kind < LEDGER_KIND_N && r->lane < LANE_N && r->trigger < TRIGGER_N && r->outcome < OUTCOME_N);
	if (r->cold > LEDGER_RESTORED)
		r->cold = LEDGER_STARTED;
	ledger_fill(lg, r);
	n = names_at(&lg->names, r->workload);
	if (n)
		metrics_add(&n->metrics, r);
	if (n && n->watched && lg->on_watched)
		lg->on_watched(lg->watched_arg, n->text, r);
	if (!b)
		drop(lg);
	else
		put(lg, b, row);
	if (lg->on_row)
		lg->on_row(lg->on_row_arg, r);
}

void ledger_on_row(struct ledger *lg, void (*f)(void *arg, const struct ledger_row *row), void *arg)
{
	lg->on_row = f;
	lg->on_row_arg = arg;
}

void ledger_watch(struct ledger *lg, uint32_t workload, bool watched)
{
	struct name *n = names_at(&lg->names, workload);

	if (n)
		n->watched = watched;
}

void ledger_on_watched(struct ledger *lg, void (*f)(void *arg, const char *workload, const struct ledger_row *row),
		       void *arg)
{
	lg->on_watched = f;
	lg->watched_arg = arg;
}

void ledger_flush(struct ledger *lg)
{
	spool_flush(lg->spool);
}

const struct ledger_price_name ledger_price_name[LEDGER_PRICE_N] = {
	[LEDGER_PRICE_MACHINE] = {"usd_hour", "machine_usd_hour", "machine_usd_per_hour"},
	[LEDGER_PRICE_DISK] = {"usd_gb_month", "disk_usd_gb_month", "disk_usd_per_gb_month"},
	[LEDGER_PRICE_NETWORK] = {"usd_gb", "network_usd_gb", "network_usd_per_gb"},
};

int ledger_price_set(struct ledger *lg, enum ledger_price which, double usd)
{
	if (!isfinite(usd) || usd < 0)
		return -1;
	if (which == LEDGER_PRICE_MACHINE)
		price_machine_init(&lg->prices.machine, &lg->prices.book, usd, lg->vcpus, lg->memory_bytes);
	else
		*(which == LEDGER_PRICE_DISK ? &lg->prices.usd_gb_month : &lg->prices.usd_gb) = usd;
	return 0;
}

double ledger_price_of(const struct ledger *lg, enum ledger_price which)
{
	return which == LEDGER_PRICE_MACHINE ? lg->prices.machine.usd_hour
	       : which == LEDGER_PRICE_DISK  ? lg->prices.usd_gb_month
					     : lg->prices.usd_gb;
}

void ledger_counts(const struct ledger *lg, const char *workload, struct ledger_counts *ret)
{
	const struct name *n = map_get(&lg->names.by_text, str_of(workload));
	const struct metrics *m = n ? n->metrics : NULL;

	*ret = (struct ledger_counts){0};
	if (m)
		*ret = (struct ledger_counts){m->calls, m->errors, m->cold_starts, m->cpu_us, &m->took};
}

const struct ledger_prices *ledger_prices(const struct ledger *lg)
{
	return &lg->prices;
}

void ledger_metrics(struct ledger *lg, struct buf *out)
{
	uint64_t lost = atomic_load(&lg->files.lost_rows);

	metrics_text(&lg->names, out);
	buf_addf(out,
		 "# HELP tandem_ledger_rows_total Rows given to the file thread.\n# TYPE tandem_ledger_rows_total "
		 "counter\n"
		 "tandem_ledger_rows_total %lu\n"
		 "# HELP tandem_ledger_rows_dropped_total Rows lost because the disk was slow or full.\n"
		 "# TYPE tandem_ledger_rows_dropped_total counter\ntandem_ledger_rows_dropped_total %lu\n",
		 (unsigned long)lg->rows, (unsigned long)(lg->dropped_rows + lost));
}
