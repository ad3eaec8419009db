/* SPDX-License-Identifier: Apache-2.0 */
#include "advise/facts.h"

#include <math.h>
#include <stdio.h>

#include "base/lane.h"
#include "base/mem.h"
#include "sched/lane_model.h"

/* How one value is read. A list counts where a number of things is asked for. */
enum take { TAKE_RATE, TAKE_TIME, TAKE_BYTES, TAKE_COUNT, TAKE_WORD, TAKE_FLAG, TAKE_SET, TAKE_LANES, TAKE_NAME };

#define MB 1048576.0
#define GB (1024 * MB)

static const struct unit {
	enum take of;
	const char *name;
	double is;
} units[] = {
	{TAKE_RATE, "/s", 1},
	{TAKE_RATE, "/min", 1 / 60.0},
	{TAKE_RATE, "/m", 1 / 60.0},
	{TAKE_RATE, "/h", 1 / 3600.0},
	{TAKE_RATE, "/hour", 1 / 3600.0},
	{TAKE_RATE, "/d", 1 / 86400.0},
	{TAKE_RATE, "/day", 1 / 86400.0},
	{TAKE_RATE, "/week", 1 / 604800.0},
	{TAKE_RATE, "/month", 1 / 2628000.0},
	{TAKE_RATE, "/sec", 1},
	{TAKE_RATE, "rps", 1},
	{TAKE_RATE, "req/s", 1},
	{TAKE_RATE, "", 1},
	{TAKE_TIME, "ms", 1e-3},
	{TAKE_TIME, "us", 1e-6},
	{TAKE_TIME, "s", 1},
	{TAKE_TIME, "min", 60},
	{TAKE_TIME, "m", 60},
	{TAKE_TIME, "minutes", 60},
	{TAKE_TIME, "hours", 3600},
	{TAKE_TIME, "days", 86400},
	{TAKE_TIME, "h", 3600},
	{TAKE_TIME, "d", 86400},
	{TAKE_TIME, "", 1},
	{TAKE_BYTES, "MB", MB},
	{TAKE_BYTES, "Mi", MB},
	{TAKE_BYTES, "MiB", MB},
	{TAKE_BYTES, "M", MB},
	{TAKE_BYTES, "KB", 1024},
	{TAKE_BYTES, "GB", GB},
	{TAKE_BYTES, "Gi", GB},
	{TAKE_BYTES, "GiB", GB},
	{TAKE_BYTES, "G", GB},
	{TAKE_BYTES, "TB", 1024 * GB},
	{TAKE_BYTES, "", MB},
	{TAKE_COUNT, "", 1},
};

/* n: the fact, the word or the flags. */
static const struct key {
	const char *name;
	enum take take;
	uint32_t n;
	double min, max;
	const char *words; /* what it can be; or an example of a number */
} keys[] = {
	{"name", TAKE_NAME, 0, 0, 0, NULL},
	{"kind", TAKE_WORD, WORD_KIND, 0, 0, "api batch training schedule admin"},
	{"pattern", TAKE_WORD, WORD_PATTERN, 0, 0, "steady bursty scheduled"},
	{"rate", TAKE_RATE, FACT_RATE, 0, 1e6, "40/s, 2/min, 5/h or 1/day"},
	{"peak", TAKE_RATE, FACT_PEAK, 0, 1e6, "400/s"},
	{"duration", TAKE_TIME, FACT_DURATION, 1e-6, 3e7, "80ms, 2s, 15min or 40ms..90ms"},
	{"longest", TAKE_TIME, FACT_LONGEST, 1e-6, 3e7, "80ms, 2s or 15min"},
	{"cpu_time", TAKE_TIME, FACT_CPU, 0, 3e7, "20ms"},
	{"vcpu", TAKE_COUNT, FACT_VCPU, 0.01, 1024, "0.5 or 4"},
	{"memory", TAKE_BYTES, FACT_MEMORY, 65536, 1e15, "256MB or 2GB"},
	{"container_memory", TAKE_BYTES, FACT_BASE, 0, 1e15, "4MB"},
	{"seat_memory", TAKE_BYTES, FACT_SEAT, 0, 1e15, "4MB"},
	{"concurrency", TAKE_COUNT, FACT_SEATS, 1, 1e4, "8"},
	{"start", TAKE_TIME, FACT_START, 0, 1e5, "300ms"},
	{"cold_start", TAKE_TIME, FACT_COLD, 0, 1e5, "200ms"},
	{"package", TAKE_BYTES, FACT_PACKAGE, 0, 1e15, "80MB"},
	{"payload", TAKE_BYTES, FACT_PAYLOAD, 0, 1e15, "1MB"},
	{"data", TAKE_BYTES, FACT_DATA, 0, 1e18, "5GB"},
	{"gpu", TAKE_COUNT, FACT_GPUS, 0, 64, "1"},
	{"devices", TAKE_COUNT, FACT_DEVICES, 0, 1000, "[/dev/video0]"},
	{"sidecars", TAKE_COUNT, FACT_SIDECARS, 0, 1000, "2"},
	{"listener", TAKE_WORD, WORD_LISTENER, 0, 0, "http websocket tcp udp none"},
	{"os", TAKE_WORD, WORD_OS, 0, 0, "linux windows"},
	{"root", TAKE_FLAG, FLAG_ROOT, 0, 0, NULL},
	{"kernel", TAKE_FLAG, FLAG_KERNEL, 0, 0, NULL},
	{"privileged", TAKE_FLAG, FLAG_PRIVILEGED, 0, 0, NULL},
	{"warm_state", TAKE_FLAG, FLAG_WARM, 0, 0, NULL},
	{"scale_to_zero", TAKE_FLAG, FLAG_TO_ZERO, 0, 0, NULL},
	{"compliance", TAKE_SET, FLAG_ISOLATION, 0, 0, "isolation region own_kernel dedicated"},
	{"lanes", TAKE_LANES, 0, 0, 0, "function container vm"},
};
const uint8_t fact_spread[FACT_SPREAD] = {0, 50, 95, 99, 100};

const char *facts_keys(const void *unused, size_t i)
{
	return i < ARRAY_SIZE(keys) ? keys[i].name : NULL;
}

static const struct key *key_of(enum fact what)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (keys[i].take <= TAKE_COUNT && keys[i].n == what)
			return &keys[i];
	return NULL;
}

const char *fact_name(enum fact what)
{
	return key_of(what)->name;
}

void fact_text(struct buf *out, enum fact what, double v)
{
	static const struct {
		enum take of;
		const char *name;
		double is, from;
	} shown[] = {
		{TAKE_RATE, "/s", 1, 0.1},
		{TAKE_RATE, "/min", 1 / 60.0, 1 / 60.0},
		{TAKE_RATE, "/h", 1 / 3600.0, 1 / 3600.0},
		{TAKE_RATE, "/day", 1 / 86400.0, 0},
		{TAKE_TIME, " h", 3600, 7200},
		{TAKE_TIME, " min", 60, 120},
		{TAKE_TIME, " s", 1, 1},
		{TAKE_TIME, " ms", 1e-3, 0},
		{TAKE_BYTES, " GB", GB, GB},
		{TAKE_BYTES, " MB", MB, 0},
		{TAKE_COUNT, "", 1, 0},
	};
	enum take take = key_of(what)->take;
	size_t i = 0;

	while (shown[i].of != take || v < shown[i].from)
		i++;
	v /= shown[i].is;
	buf_addf(out, v >= 99.5 ? "%.0f%s" : "%.3g%s", v, shown[i].name);
}

/* The i-th of words, parted by spaces. */
static bool word_at(const char *words, unsigned i, struct str *ret)
{
	struct str rest = str_of(words);

	while (str_next(&rest, ' ', ret))
		if (!i--)
			return true;
	return false;
}

static const struct key *word_key(enum fact_word which)
{
	size_t i = 0;

	while (keys[i].take != TAKE_WORD || keys[i].n != which)
		i++;
	return &keys[i];
}

const char *fact_word_key(enum fact_word which)
{
	return word_key(which)->name;
}

struct str fact_word_name(enum fact_word which, unsigned value)
{
	struct str ret = STR_NULL;

	word_at(word_key(which)->words, value, &ret);
	return ret;
}

const char *fact_flag_name(uint32_t flag)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if ((keys[i].take == TAKE_FLAG && keys[i].n == flag) || (keys[i].take == TAKE_SET && flag >= keys[i].n))
			return keys[i].name;
	return "";
}

void facts_set(struct facts *f, enum fact what, double v, double low, double high, enum known_from from)
{
	f->n[what] = (struct known){v, fmin(low, v), fmax(high, v), from};
	f->known |= 1u << what;
}

void facts_list_done(struct facts_list *l)
{
	free(l->v);
	*l = (struct facts_list){0};
}

/* ---- reading ---- */

struct reader {
	const struct tree_opts *o;
	struct err *e;
};

static int bad(struct reader *r, const struct node *v, const struct key *k, const char *what)
{
	return tree_error(r->o, v->line, v->col, r->e, "%s is %s%s%s", k->name, what, k->words ? " " : "",
			  k->words ? k->words : "");
}

/* 1, 0, or -1: neither. */
static int yes(const char *text)
{
	return !strcmp(text, "true") || !strcmp(text, "yes")   ? 1
	       : !strcmp(text, "false") || !strcmp(text, "no") ? 0
							       : -1;
}

/* "40ms" */
static int number(const struct key *k, struct str s, double *ret)
{
	char text[64], *end;
	double v;

	s = str_trim(s);
	if (!s.n || s.n >= sizeof(text) || !((*s.p >= '0' && *s.p <= '9') || *s.p == '.'))
		return -1;
	memcpy(text, s.p, s.n);
	text[s.n] = 0;
	if (text[strspn(text, "0123456789.")] == 'x') /* 0x10 */
		return -1;
	v = strtod(text, &end);
	end += strspn(end, " ");
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (units[i].of == k->take && !strcasecmp(units[i].name, end)) {
			v *= units[i].is;
			if (!(v >= k->min && v <= k->max))
				return -1;
			*ret = v;
			return 0;
		}
	return -1;
}

/* A number without a range is taken as good to half: what a person says without having looked. */
#define SAID_WITHIN 1.5

static int read_number(struct reader *r, const struct key *k, const struct node *v, struct facts *f)
{
	const char *dots = v->kind == NODE_SCALAR ? strstr(v->text, "..") : NULL;
	double low, high;

	if (k->take == TAKE_COUNT && v->kind == NODE_LIST) {
		facts_set(f, k->n, (double)v->n, (double)v->n, (double)v->n, KNOWN_DECLARED);
		return 0;
	}
	if (k->take == TAKE_COUNT && k->min == 0 && v->kind == NODE_SCALAR && yes(v->text) >= 0) {
		facts_set(f, k->n, yes(v->text), yes(v->text), yes(v->text), KNOWN_DECLARED);
		return 0;
	}
	if (v->kind != NODE_SCALAR)
		return bad(r, v, k, "one value like");
	if (dots) {
		if (number(k, (struct str){v->text, (size_t)(dots - v->text)}, &low) < 0 ||
		    number(k, str_of(dots + 2), &high) < 0)
			return bad(r, v, k, "a number, or two with .. between them, each with its unit, like");
		if (low > high)
			return bad(r, v, k, "a range from less to more, like");
		facts_set(f, k->n, sqrt(low * high) > 0 ? sqrt(low * high) : (low + high) / 2, low, high,
			  KNOWN_DECLARED);
		if (k->n == FACT_DURATION && !(f->known & 1u << FACT_LONGEST))
			facts_set(f, FACT_LONGEST, high, high, high, KNOWN_DECLARED);
		return 0;
	}
	if (number(k, str_of(v->text), &low) < 0)
		return bad(r, v, k, "a number with a unit, not too small and not too large, like");
	if (k->take == TAKE_COUNT || k->n == FACT_COLD)
		facts_set(f, k->n, low, low, low, KNOWN_DECLARED);
	else
		facts_set(f, k->n, low, low / SAID_WITHIN, low * SAID_WITHIN, KNOWN_DECLARED);
	return 0;
}

/* Which of the words it is, "-" for "_"; -1: none. */
static int which(const char *words, const char *text)
{
	struct str one;

	for (unsigned i = 0; word_at(words, i, &one); i++) {
		size_t k = 0;

		while (k < one.n && text[k] && (one.p[k] | 32) == ((text[k] == '-' ? '_' : text[k]) | 32))
			k++;
		if (k == one.n && !text[k])
			return (int)i;
	}
	return -1;
}

static int read_words(struct reader *r, const struct key *k, const struct node *v, uint32_t *ret)
{
	int i;

	*ret = 0;
	for (size_t n = 0; v->kind == NODE_LIST && n < v->n; n++) {
		uint32_t one;

		if (v->child[n].kind != NODE_SCALAR || read_words(r, k, &v->child[n], &one) < 0)
			return bad(r, &v->child[n], k, "a list of some of");
		*ret |= one;
	}
	if (v->kind == NODE_LIST)
		return 0;
	i = v->kind == NODE_SCALAR ? which(k->words, v->text) : -1;
	if (i < 0)
		return bad(r, v, k, k->take == TAKE_WORD ? "one of" : "one or a list of");
	*ret = 1u << i;
	return 0;
}

static int read_value(struct reader *r, const struct key *k, const struct node *v, struct facts *f)
{
	uint32_t words;

	if (k->take <= TAKE_COUNT)
		return read_number(r, k, v, f);
	if (k->take == TAKE_NAME) {
		if (v->kind != NODE_SCALAR || !str_name_ok(str_of(v->text), sizeof(f->name) - 1, "-_./:"))
			return bad(r, v, k, "letters, digits and -_./:");
		strlcpy_(f->name, v->text, sizeof(f->name));
		return 0;
	}
	if (k->take == TAKE_FLAG) {
		if (v->kind != NODE_SCALAR || yes(v->text) < 0)
			return bad(r, v, k, "true or false");
		f->flags |= yes(v->text) ? k->n : 0;
		return 0;
	}
	if (k->take == TAKE_WORD && v->kind != NODE_SCALAR)
		return bad(r, v, k, "one of");
	if (read_words(r, k, v, &words) < 0)
		return -1;
	if (k->take == TAKE_WORD) {
		f->word[k->n] = (uint8_t)__builtin_ctz(words);
		f->said |= (uint8_t)(1u << k->n);
	} else if (k->take == TAKE_SET) {
		f->flags |= words * k->n;
	} else {
		f->lanes = words;
	}
	return 0;
}

static int read_one(struct reader *r, const struct node *map, const char *name, struct facts_list *l)
{
	struct facts *f;

	if (map->kind != NODE_MAP)
		return tree_error(r->o, map->line, map->col, r->e, "a workload is keys with values, like kind: api");
	if (l->n == FACTS_MAX)
		return tree_error(r->o, map->line, map->col, r->e, "more than %d workloads", FACTS_MAX);
	l->v = xrealloc(l->v, (l->n + 1) * sizeof(*l->v));
	f = &l->v[l->n++];
	*f = (struct facts){.now = LANE_N};
	if (!str_name_ok(str_of(name), sizeof(f->name) - 1, "-_./:"))
		return tree_error(r->o, map->line, map->col, r->e, "a name is made of letters, digits and -_./:");
	strlcpy_(f->name, name, sizeof(f->name));
	for (size_t i = 0; i < map->n; i++) {
		size_t k = 0;

		while (k < ARRAY_SIZE(keys) && strcmp(keys[k].name, map->child[i].key) != 0)
			k++;
		if (k == ARRAY_SIZE(keys))
			return tree_unknown_key(r->o, &map->child[i], facts_keys, NULL, r->e);
		if (read_value(r, &keys[k], &map->child[i], f) < 0)
			return -1;
	}
	return 0;
}

static bool known_key(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (!strcmp(keys[i].name, name))
			return true;
	return false;
}

static int read_all(struct reader *r, const struct node *top, struct facts_list *l)
{
	if (top->kind == NODE_MAP && top->n == 1 && !strcmp(top->child[0].key, "workloads"))
		top = &top->child[0];
	if (top->kind == NODE_SCALAR || !top->n)
		return tree_error(r->o, top->line, top->col, r->e,
				  "a declaration is names with workloads, like shop: {kind: api, rate: 40/s}");
	if (top->kind == NODE_MAP && top->child[0].kind != NODE_MAP && known_key(top->child[0].key))
		return read_one(r, top, "workload", l);
	for (size_t i = 0; i < top->n; i++)
		if (read_one(r, &top->child[i], top->kind == NODE_MAP ? top->child[i].key : "workload", l) < 0)
			return -1;
	return 0;
}

int facts_read(const struct tree_opts *o, struct str text, struct facts_list *ret, struct err *e)
{
	struct reader r = {o, e};
	struct facts_list l = {0};
	struct node *top;
	int failed;

	if (tree_parse(o, text, &top, e) < 0)
		return -1;
	failed = read_all(&r, top, &l);
	tree_free(top);
	if (failed) {
		facts_list_done(&l);
		return -1;
	}
	*ret = l;
	return 0;
}

/* ---- what nobody said ---- */

static void assume(struct facts *f, enum fact what, double v, double within)
{
	if (!(f->known & 1u << what))
		facts_set(f, what, v, v / within, v * within, KNOWN_ASSUMED);
}

void facts_settle(struct facts *f)
{
	/* By kind: rate, duration in s, memory in MB. */
	static const double usual[][3] = {
		[KIND_API] = {1, 0.1, 256},
		[KIND_BATCH] = {1 / 3600.0, 60, 1024},
		[KIND_TRAINING] = {1 / 86400.0, 7200, 8192},
		[KIND_SCHEDULE] = {1 / 3600.0, 10, 256},
		[KIND_ADMIN] = {1 / 86400.0, 5, 256},
	};
	const double *u = usual[f->word[WORD_KIND]];
	const struct known *n = f->n;
	bool small; /* requests and messages: they wait for others most of the time, and several go into one instance */

	if (!(f->said & 1u << WORD_PATTERN) && f->known & 1u << FACT_PEAK)
		f->word[WORD_PATTERN] = PATTERN_BURSTY;
	if (f->word[WORD_KIND] != KIND_API && !(f->said & 1u << WORD_LISTENER))
		f->word[WORD_LISTENER] = LISTENER_NONE;
	assume(f, FACT_RATE, u[0], 10);
	assume(f, FACT_DURATION, u[1], 4);
	assume(f, FACT_MEMORY, u[2] * MB, 2);
	small = f->word[WORD_KIND] == KIND_API || (f->word[WORD_KIND] == KIND_BATCH && n[FACT_DURATION].v < 0.2);
	assume(f, FACT_SEATS, small ? 8 : 1, small ? 2 : 1);
	/* Ten times as many in a burst: the ratio of peak and mean of a day is 2 to 20 in most of what was published. */
	assume(f, FACT_PEAK, n[FACT_RATE].v * (f->word[WORD_PATTERN] == PATTERN_BURSTY ? 10 : 1),
	       f->word[WORD_PATTERN] == PATTERN_BURSTY ? 3 : 1);
	assume(f, FACT_VCPU, 1, 1);
	assume(f, FACT_CPU, n[FACT_DURATION].v * (small ? 0.3 : 1) * n[FACT_VCPU].v, small ? 3 : 1.5);
	assume(f, FACT_LONGEST, n[FACT_DURATION].v, SAID_WITHIN);
	/* Measured in one lane: what began from an image holds what it touched, and what is kept up grows. */
	if (n[FACT_MEMORY].from == KNOWN_MEASURED && f->now < LANE_VM && !(f->known & 1u << FACT_BASE))
		facts_set(f, FACT_BASE, (LANE_BASE_TIMES - 1) * n[FACT_MEMORY].v, 0, 4 * n[FACT_MEMORY].v,
			  KNOWN_ASSUMED);
	assume(f, FACT_BASE, 0, 1);
	if (!(f->known & 1u << FACT_SEAT))
		f->n[FACT_SEAT] = lane_seat_assumed(n[FACT_MEMORY].v);
	f->known |= 1u << FACT_SEAT;
	/* From an image 2 to 30 ms, plainly 30 to 300 (README): what it will be here is not known before it was tried. */
	assume(f, FACT_START, 0.02, 4);
	for (int i = FACT_COLD; i < FACT_N; i++)
		assume(f, i, 0, 1);
}
