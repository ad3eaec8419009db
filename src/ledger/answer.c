/* SPDX-License-Identifier: Apache-2.0 */
/* What a query says: sums become lines with names, and the machine's price is held against them. */
#include <stdio.h>
#include "base/clock.h"
#include "base/enc.h"
#include "base/mem.h"
#include "json/write.h"
#include "ledger/query_int.h"

enum host { HOST_UNUSED, HOST_OTHER, HOST_PRICE, HOST_N };

/* Of any kinds. */
struct tally {
	struct sum sum; /* of ours */
	uint64_t vcpu_us;
	double usd_idle, usd_platform, on[PRICE_NAMED_N];
	struct {
		double usd;
		int64_t ms, cpu_us;
	} host[HOST_N];
};

struct sum_key query_key(const struct ledger_scan *s, const struct sum_key *full)
{
	struct sum_key k = {.kind = full->kind}; /* the fields of sums mean something else in each */

	if (s->by == BY_WORKLOAD || s->q->on)
		k.workload = full->workload;
	if (s->by == BY_LANE || s->q->on)
		k.lane = full->lane;
	if (s->by == BY_TAG)
		k.tags = full->tags;
	if (s->by == BY_TRIGGER)
		k.trigger = full->trigger;
	if (s->by == BY_HOUR)
		k.hour_us = full->hour_us;
	if (s->q->on)
		k.outcome = full->outcome;
	return k;
}

static bool of_host(unsigned kind)
{
	return kind >= LEDGER_UNUSED;
}

static void tally_add(struct tally *t, const struct sum *from)
{
	struct sum s = *from;

	if (of_host(s.key.kind)) {
		enum host h = (enum host)(s.key.kind - LEDGER_UNUSED);

		t->host[h].usd += s.usd_machine;
		t->host[h].ms += (int64_t)s.idle_ms;
		t->host[h].cpu_us += (int64_t)s.cpu_us;
		return;
	}
	if (s.key.kind == LEDGER_TASK) {
		t->vcpu_us += s.handler_us;
		s.handler_us = s.start_us = 0;
	}
	if (s.key.kind == LEDGER_IDLE)
		t->usd_idle += s.usd_machine;
	if (s.key.kind == LEDGER_PLATFORM)
		t->usd_platform += s.usd_machine;
	sum_add(&t->sum, &s);
}

static double usd_network(const struct ledger_scan *scan, const struct tally *t)
{
	return (double)(t->sum.bytes_in + t->sum.bytes_out) / 1e9 * scan->usd[LEDGER_PRICE_NETWORK];
}

/* What is held now, as if it had been for all of the time that was measured. */
static double usd_disk(const struct ledger_scan *scan, const struct tally *t)
{
	double bytes = 0;

	for (int i = 0; i < DISK_LINE_N && scan->disk_at; i++)
		bytes += (double)scan->disk[i].bytes;
	return bytes / 1e9 * scan->usd[LEDGER_PRICE_DISK] * (double)t->host[HOST_PRICE].ms / 1000 / PRICE_MONTH_S;
}

static void tally_json(const struct ledger_scan *scan, struct jw *w, const struct tally *t)
{
	const struct sum *s = &t->sum;

	jw_int(w, "invocations", (int64_t)s->invocations);
	jw_int(w, "cold", (int64_t)s->cold);
	jw_int(w, "errors", (int64_t)s->errors);
	jw_int(w, "queue_us", (int64_t)s->queue_us);
	jw_int(w, "start_us", (int64_t)s->start_us);
	jw_int(w, "init_us", (int64_t)s->init_us);
	jw_int(w, "handler_us", (int64_t)s->handler_us);
	jw_int(w, "idle_ms", (int64_t)s->idle_ms);
	jw_int(w, "billed_ms", (int64_t)s->billed_ms);
	jw_real(w, "gb_s", s->gb_s);
	jw_int(w, "cpu_us", (int64_t)s->cpu_us);
	jw_int(w, "mem_peak_bytes", (int64_t)s->mem_peak_bytes);
	jw_int(w, "bytes_in", (int64_t)s->bytes_in);
	jw_int(w, "bytes_out", (int64_t)s->bytes_out);
	jw_real(w, "vcpu_s", (double)t->vcpu_us / 1e6);
	jw_real(w, "usd_aws", s->usd_aws);
	jw_real(w, "usd_machine", s->usd_machine);
	jw_real(w, "usd_network", usd_network(scan, t));
	jw_real(w, "usd_idle", t->usd_idle);
	if (!scan->q->on)
		return;
	jw_obj(w, "on");
	for (int o = 0; o < PRICE_NAMED_N; o++)
		if (scan->q->on & 1u << o)
			jw_real(w, price_offer_name[o], t->on[o]); /* NAN: null */
	jw_end(w, '}');
}

/* What the rows of a time do not explain of its price. */
static double unattributed_usd(const struct tally *t)
{
	return t->host[HOST_PRICE].usd - t->host[HOST_UNUSED].usd - t->host[HOST_OTHER].usd - t->sum.usd_machine;
}

static void host_json(const struct ledger_scan *scan, struct jw *w, const struct tally *t)
{
	double price = t->host[HOST_PRICE].usd, missing = unattributed_usd(t);
	double disk = usd_disk(scan, t);

	jw_real(w, "usd", price + disk + usd_network(scan, t));
	jw_real(w, "usd_disk", disk);
	jw_real(w, "usd_unused", t->host[HOST_UNUSED].usd);
	jw_real(w, "usd_other", t->host[HOST_OTHER].usd);
	jw_real(w, "usd_unattributed", missing);
	jw_real(w, "unattributed_percent", price > 0 ? 100 * missing / price : 0);
	jw_int(w, "unattributed_cpu_us",
	       t->host[HOST_PRICE].cpu_us - t->host[HOST_UNUSED].cpu_us - t->host[HOST_OTHER].cpu_us -
		       (int64_t)t->sum.cpu_us);
}

static void machine_json(const struct ledger_scan *scan, struct jw *w, const struct tally *total)
{
	jw_obj(w, "machine");
	jw_real(w, "seconds", (double)total->host[HOST_PRICE].ms / 1000);
	jw_real(w, "usd_ours", total->sum.usd_machine);
	jw_real(w, "usd_network", usd_network(scan, total));
	host_json(scan, w, total);
	jw_end(w, '}');
}

static void row_json(struct ledger_scan *s, struct jw *w, const struct ledger_row *r)
{
	char when[32], room[16], id[40], hex[33];

	jw_obj(w, NULL);
	jw_strc(w, "time", clock_fmt_iso(r->start_wall_us, when));
	jw_strc(w, "workload", name_table_text(&s->names, r->workload, room));
	jw_strc(w, "tags", name_table_text(&s->names, r->tags, room));
	jw_int(w, "revision", (int64_t)r->revision);
	if (r->kind == LEDGER_TASK)
		jw_real(w, "vcpu", r->version / 1000.0);
	else
		jw_int(w, "version", r->version);
	jw_int(w, "instance", (int64_t)r->instance);
	jw_strc(w, "kind", ledger_kind_name[r->kind]);
	jw_strc(w, "lane", lane_name[r->lane]);
	jw_strc(w, "trigger", ledger_trigger_name[r->trigger]);
	jw_strc(w, "outcome", ledger_outcome_name[r->outcome]);
	jw_bool(w, "cold", r->cold);
	jw_bool(w, "restored", r->cold == LEDGER_RESTORED);
	enc_hex(r->request_id, sizeof(r->request_id), hex);
	snprintf(id, sizeof(id), "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
	jw_strc(w, "request_id", r->kind == LEDGER_INVOKE ? id : "");
	jw_int(w, "queue_us", r->queue_us);
	jw_int(w, "start_us", r->start_us);
	jw_int(w, "init_us", r->init_us);
	jw_int(w, "handler_us", r->handler_us);
	jw_int(w, "idle_ms", r->idle_ms);
	jw_int(w, "billed_ms", r->billed_ms);
	jw_int(w, "cpu_us", (int64_t)r->cpu_us);
	jw_int(w, "memory_mb", r->memory_mb);
	jw_int(w, "mem_peak_bytes", (int64_t)r->mem_peak_bytes);
	jw_int(w, "bytes_in", (int64_t)sum_bytes(r, r->bytes_in));
	jw_int(w, "bytes_out", (int64_t)sum_bytes(r, r->bytes_out));
	jw_real(w, "usd_aws", r->usd_aws);
	jw_real(w, "usd_machine", r->usd_machine);
	jw_end(w, '}');
}

struct line {
	char *key;
	bool platform; /* carries nothing itself */
	struct tally tally;
};
struct lines {
	struct map by_key;
	struct line **v;
	size_t n, cap, n_platform;
};

static struct line *line_at(struct lines *l, struct str key, bool platform)
{
	struct line *line = map_get(&l->by_key, key);

	if (line)
		return line;
	line = xcalloc(1, sizeof(*line));
	line->key = str_dup(key);
	line->platform = platform;
	l->n_platform += platform;
	map_put(&l->by_key, str_of(line->key), line);
	if (l->n == l->cap)
		l->v = xrealloc(l->v, (l->cap = l->cap ? l->cap * 2 : 32) * sizeof(*l->v));
	return l->v[l->n++] = line;
}

/* A sum, or the price at clouds of what is in its group. */
static void line_add(struct lines *l, struct str key, const struct sum *sum, const struct query_priced *p)
{
	struct line *line = line_at(l, key, sum->key.kind == LEDGER_PLATFORM);

	if (!p)
		tally_add(&line->tally, sum);
	for (int o = 0; p && o < PRICE_NAMED_N; o++)
		line->tally.on[o] += p->usd[o];
}

static void lines_of_tags(struct ledger_scan *s, const struct sum *sum, const struct query_priced *p, struct lines *l)
{
	char room[16];
	struct str rest = str_of(name_table_text(&s->names, sum->key.tags, room)), tag;

	for (bool more = true; more;) {
		more = str_cut(rest, ',', &tag, &rest);
		line_add(l, more ? tag : rest, sum, p);
	}
}

/* Numbers become texts here: several may stand for one (a workload that was deleted and made again), and one tag text
 * for several tags. */
static void lines_of(struct ledger_scan *s, const struct sum *sum, const struct query_priced *p, struct lines *l)
{
	const struct sum_key *k = &sum->key;
	char room[16], when[32];

	if (of_host(k->kind) && s->by != BY_HOUR)
		return;
	if (s->by == BY_WORKLOAD) {
		line_add(l, str_of(name_table_text(&s->names, k->workload, room)), sum, p);
	} else if (s->by == BY_HOUR) {
		clock_fmt_iso(k->hour_us, when);
		strlcpy_(when + 19, "Z", sizeof(when) - 19);
		line_add(l, str_of(when), sum, p);
	} else if (k->kind == LEDGER_PLATFORM) {
		line_add(l, STR("platform"), sum, p);
	} else if (s->by == BY_TAG) {
		lines_of_tags(s, sum, p, l);
	} else if (s->by == BY_LANE) {
		line_add(l, str_of(lane_name[k->lane]), sum, p);
	} else {
		line_add(l, str_of(k->kind == LEDGER_IDLE ? "idle" : ledger_trigger_name[k->trigger]), sum, p);
	}
}

static int by_cost(const void *a, const void *b)
{
	const struct line *x = *(struct line *const *)a, *y = *(struct line *const *)b;

	double a_usd = x->tally.sum.usd_aws, b_usd = y->tally.sum.usd_aws;

	if (a_usd != b_usd)
		return a_usd > b_usd ? -1 : 1;
	return strcmp(x->key, y->key);
}

static int by_key(const void *a, const void *b)
{
	return strcmp((*(struct line *const *)a)->key, (*(struct line *const *)b)->key);
}

/* A row that is in no file yet may be of a workload that is in none: it gets a number of its own. */
static void add_so_far(struct ledger_scan *s)
{
	struct map numbers = {0};
	struct name_table *t = &s->names;

	for (uint32_t i = 1; s->q->n_so_far && i < t->n; i++)
		if (t->v[i] && !map_get(&numbers, str_of(t->v[i])))
			map_put(&numbers, str_of(t->v[i]), (void *)(uintptr_t)i);
	for (size_t i = 0; i < s->q->n_so_far; i++) {
		const struct ledger_so_far *so = &s->q->so_far[i];
		uintptr_t n = (uintptr_t)map_get(&numbers, str_of(so->workload));

		if (s->q->workload[0] && strcmp(s->q->workload, so->workload) != 0)
			continue;
		if (!n) {
			n = t->n ? t->n : 1;
			t->v = xrealloc(t->v, (n + 1) * sizeof(*t->v));
			if (!t->n)
				t->v[0] = NULL;
			t->v[n] = xstrdup(so->workload);
			t->n = (uint32_t)n + 1;
			map_put(&numbers, str_of(t->v[n]), (void *)n);
		}
		query_add(s, &so->row, (uint32_t)n);
	}
	map_done(&numbers);
}

/* Who carries what the platform took and what nobody used: each its own use again in the same proportion, or all alike. */
static double with_share(const struct ledger_scan *s, const struct tally *total, const struct lines *l,
			 const struct line *line)
{
	double own = line->tally.sum.usd_machine, shared = total->usd_platform + total->host[HOST_UNUSED].usd;
	double used = total->sum.usd_machine - total->usd_platform;

	if (line->platform)
		return 0;
	if (s->split == SPLIT_EVEN)
		return own + shared / (double)(l->n - l->n_platform);
	return used > 0 ? own + shared * own / used : own;
}

static void line_json(struct ledger_scan *s, struct jw *w, const struct tally *total, const struct lines *l,
		      const struct line *line)
{
	jw_obj(w, NULL);
	jw_strc(w, "key", line->key);
	tally_json(s, w, &line->tally);
	if (s->by == BY_HOUR && !s->q->workload[0])
		host_json(s, w, &line->tally);
	else if (s->split != SPLIT_NONE && !s->q->workload[0] && s->by != BY_HOUR)
		jw_real(w, "usd_split", with_share(s, total, l, line));
	jw_end(w, '}');
}

#define CANNOT_SHOWN 20

struct priced {
	struct ledger_scan *s;
	struct lines *l;
	struct tally *total;
	struct buf cannot[PRICE_NAMED_N]; /* members of an array */
	unsigned n_cannot[PRICE_NAMED_N];
};

static void add_priced(void *arg, const struct query_priced *q)
{
	struct priced *p = arg;
	char room[16];

	lines_of(p->s, q->of, q, p->l);
	for (int o = 0; o < PRICE_NAMED_N; o++) {
		if (!q->cannot[o]) {
			p->total->on[o] += q->usd[o];
		} else if (p->n_cannot[o]++ < CANNOT_SHOWN) {
			buf_addc(&p->cannot[o], p->cannot[o].n ? ',' : '[');
			jw_fmt(&p->cannot[o], "{'workload':%s,'why':%s}",
			       name_table_text(&p->s->names, q->of->key.workload, room), q->cannot[o]);
		}
	}
}

/* "offers", and the prices into lines and total. */
static void on_json(struct ledger_scan *s, struct jw *w, struct lines *l, struct tally *total)
{
	struct priced p = {.s = s, .l = l, .total = total};

	query_on(s, add_priced, &p);
	jw_arr(w, "offers");
	for (int o = 0; o < PRICE_NAMED_N; o++) {
		if (!(s->q->on & 1u << o))
			continue;
		jw_obj(w, NULL);
		jw_strc(w, "name", price_offer_name[o]);
		jw_strc(w, "unverified", s->prices->book.rate[o][s->prices->arch].unverified);
		buf_adds(&p.cannot[o], p.cannot[o].n ? "]" : "[]");
		jw_raw(w, "cannot", buf_str(&p.cannot[o]));
		jw_end(w, '}');
		buf_done(&p.cannot[o]);
	}
	jw_end(w, ']');
}

static void disk_json(const struct ledger_scan *s, struct jw *w)
{
	jw_arr(w, "disk");
	for (int i = 0; i < DISK_LINE_N; i++) {
		jw_obj(w, NULL);
		jw_strc(w, "key", disk_line_name[i]);
		jw_int(w, "bytes", s->disk[i].bytes);
		if (i != DISK_LAYERS && i != DISK_SNAPSHOTS)
			jw_int(w, "files", s->disk[i].files);
		jw_bool(w, "at_least", s->disk[i].more);
		jw_end(w, '}');
	}
	jw_end(w, ']');
}

static void sums_json(struct ledger_scan *s, struct jw *w)
{
	struct lines l = {0};
	struct tally total = {0};

	add_so_far(s);
	for (size_t i = 0; i < s->sums.n; i++) {
		tally_add(&total, &s->sums.v[i]);
		if (s->by != BY_DISK)
			lines_of(s, &s->sums.v[i], NULL, &l);
	}
	if (s->q->on)
		on_json(s, w, &l, &total);
	if (l.n)
		qsort(l.v, l.n, sizeof(*l.v), s->by == BY_HOUR ? by_key : by_cost);
	jw_obj(w, "total");
	tally_json(s, w, &total);
	jw_real(w, "usd_disk", usd_disk(s, &total));
	jw_end(w, '}');
	if (!s->q->workload[0])
		machine_json(s, w, &total);
	if (s->disk_at)
		disk_json(s, w);
	jw_arr(w, "sums");
	for (size_t i = 0; i < l.n; i++) {
		line_json(s, w, &total, &l, l.v[i]);
		free(l.v[i]->key);
		free(l.v[i]);
	}
	jw_end(w, ']');
	map_done(&l.by_key);
	free(l.v);
}

void query_answer(struct ledger_scan *s, const char *by)
{
	char when[32];
	struct jw w;

	for (size_t i = 0; s->q->visit && i < s->q->n_so_far; i++)
		s->q->visit(s->q, &s->q->so_far[i].row, s->q->so_far[i].workload);
	if (s->q->visit)
		return;
	w = jw_object(&s->q->out);
	jw_strc(&w, "by", by);
	jw_strc(&w, "since", clock_fmt_iso(s->q->since_wall_us, when));
	jw_strc(&w, "until", clock_fmt_iso(s->until_wall_us, when));
	for (int p = 0; p < LEDGER_PRICE_N; p++)
		jw_real(&w, ledger_price_name[p].json, s->usd[p]);
	jw_strc(&w, "prices_as_of", s->as_of);
	jw_int(&w, "bad_rows", (int64_t)s->bad);
	jw_int(&w, "dropped_rows", (int64_t)s->dropped);
	jw_int(&w, "dropped_tags", (int64_t)s->dropped_tags);
	if (s->by == BY_ROWS) {
		jw_arr(&w, "rows");
		for (size_t i = s->n_last; i-- > 0;)
			row_json(s, &w, &s->last[i].r);
		jw_end(&w, ']');
	} else {
		sums_json(s, &w);
	}
	jw_end(&w, '}');
}
