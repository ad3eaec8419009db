/* SPDX-License-Identifier: Apache-2.0 */
/* top: what everything does now and what an hour of that costs. Two looks, a while apart; on a terminal again and again. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include "base/clock.h"
#include "base/mem.h"
#include "cli/call.h"
#include "cli/table.h"
#include "cli/verbs.h"
#include "json/write.h"

#define INTERVAL_MIN_US 100000
#define HEAD_LINES	4 /* on a screen: beside the workloads */

enum by { BY_COST, BY_RATE, BY_LATENCY, BY_CPU, BY_MEMORY, BY_ERRORS, BY_WAITING, BY_NAME, BY_N };
static const char *const by_name[BY_N] = {"cost", "rate", "latency", "cpu", "memory", "errors", "waiting", "name"};

struct top_opts {
	bool once;
	int64_t interval_us;
	const char *by;
};
#define AT(f) offsetof(struct top_opts, f)
const struct opt top_options[] = {
	{0, "once", OPT_FLAG, NULL, "one look, also on a terminal", AT(once)},
	{0, "interval", OPT_DURATION, "TIME", "what rates and percentiles are of (2s); 0: all since the daemon began",
	 AT(interval_us)},
	{0, "by", OPT_TEXT, "ORDER", "cost, rate, latency, cpu, memory, errors, waiting or name", AT(by)},
	{0},
};

/* One workload in one frame: what changed between two looks, by the second. */
struct line {
	const struct json *now;
	double rate, errors, cold, cpu, mem_bytes, usd_hour;
	double p_us[3]; /* 50, 95, 99; -1: nothing was asked */
};
struct frame {
	struct line *v;
	size_t n;
	double seconds;
	struct line platform, total;
};
static const int percents[3] = {50, 95, 99};

static const struct json *same(const struct json *before, const struct json *now)
{
	const struct json *list = json_get(before, "workloads"), *b;

	for (size_t i = 0; (b = json_at(list, i)); i++)
		if (str_eq(json_get_str(b, "name"), json_get_str(now, "name")) &&
		    str_eq(json_get_str(b, "kind"), json_get_str(now, "kind")))
			return b;
	return NULL;
}

/* One whose tasks ended between may have counted more before. */
static double more(const struct json *now, const struct json *before, const char *key)
{
	int64_t n = json_get_int(now, key, 0) - json_get_int(before, key, 0);

	return n > 0 ? (double)n : 0;
}

/* "took": [from, upto, count], in order; counts are of 32 bits and wrap. */
static uint32_t took(const struct json *list, size_t *at, int64_t upto)
{
	const struct json *t;

	while ((t = json_at(list, *at)) && json_int(json_at(t, 1), 0) < upto)
		++*at;
	return t && json_int(json_at(t, 1), 0) == upto ? (uint32_t)json_int(json_at(t, 2), 0) : 0;
}

static void percentiles(const struct json *now, const struct json *before, double ret[3])
{
	const struct json *t;
	double all = 0, sum = 0;

	for (size_t pass = 0, p = 0; pass < 2; pass++)
		for (size_t i = 0, k = 0; (t = json_at(now, i)); i++) {
			double from = (double)json_int(json_at(t, 0), 0), upto = (double)json_int(json_at(t, 1), 0);
			uint32_t n = (uint32_t)json_int(json_at(t, 2), 0) - took(before, &k, (int64_t)upto);

			all += pass ? 0 : n;
			for (; pass && n && p < ARRAY_SIZE(percents) && sum + n >= all * percents[p] / 100; p++)
				ret[p] = from + (upto - from) * (all * percents[p] / 100 - sum) / n;
			sum += pass ? n : 0;
		}
}

static void measure(const struct json *now, const struct json *before, const struct json *look, double seconds,
		    struct line *l)
{
	*l = (struct line){.now = now, .p_us = {-1, -1, -1}};
	l->rate = more(now, before, "requests") / seconds;
	l->errors = more(now, before, "errors") / seconds;
	l->cold = more(now, before, "cold") / seconds;
	l->cpu = more(now, before, "cpu_us") / 1e6 / seconds;
	l->mem_bytes = (double)json_get_int(now, "mem_bytes", 0);
	l->usd_hour = 3600e6 * (l->cpu * json_real(json_get(look, "usd_per_cpu_us"), 0) +
				l->mem_bytes * json_real(json_get(look, "usd_per_byte_us"), 0));
	percentiles(json_get(now, "took"), json_get(before, "took"), l->p_us);
}

static double key(const struct line *l, enum by by)
{
	const double keys[BY_N] = {[BY_COST] = l->usd_hour,
				   [BY_RATE] = l->rate,
				   [BY_LATENCY] = l->p_us[2],
				   [BY_CPU] = l->cpu,
				   [BY_MEMORY] = l->mem_bytes,
				   [BY_ERRORS] = l->errors,
				   [BY_WAITING] = (double)json_get_int(l->now, "waiting", 0)};

	return keys[by];
}

static int order(const void *a, const void *b, void *by)
{
	const struct line *x = a, *y = b;
	double kx = key(x, *(enum by *)by), ky = key(y, *(enum by *)by);

	return kx != ky ? (kx > ky ? -1 : 1) : strcmp(json_get_str(x->now, "name").p, json_get_str(y->now, "name").p);
}

/* before: NULL is the daemon's beginning. */
static struct frame frame_of(const struct json *now, const struct json *before, enum by by)
{
	const struct json *list = json_get(now, "workloads");
	int64_t began = json_get_int(now, "began_us", 0), from = began;
	struct frame f = {.n = json_len(list)};

	if (before && json_get_int(before, "began_us", -1) == began)
		from = json_get_int(before, "at_us", began);
	else
		before = NULL;
	f.seconds = (double)(json_get_int(now, "at_us", 0) - from) / 1e6;
	f.seconds = f.seconds > 0 ? f.seconds : 1e-6;
	f.v = xcalloc(f.n + 1, sizeof(*f.v));
	measure(json_get(now, "platform"), json_get(before, "platform"), now, f.seconds, &f.platform);
	f.total = f.platform;
	for (size_t i = 0; i < f.n; i++) {
		struct line *l = &f.v[i];

		measure(json_at(list, i), same(before, json_at(list, i)), now, f.seconds, l);
		f.total.rate += l->rate, f.total.errors += l->errors, f.total.cold += l->cold;
		f.total.cpu += l->cpu, f.total.mem_bytes += l->mem_bytes, f.total.usd_hour += l->usd_hour;
	}
	qsort_r(f.v, f.n, sizeof(*f.v), order, &by);
	return f;
}

/* ---- shown ---- */

static void put_figures(struct jw *w, const struct line *l)
{
	jw_real(w, "requests_per_s", l->rate);
	jw_real(w, "errors_per_s", l->errors);
	jw_real(w, "cold_per_s", l->cold);
	jw_real(w, "cpu", l->cpu);
	jw_int(w, "mem_bytes", (int64_t)l->mem_bytes);
	jw_real(w, "usd_hour", l->usd_hour);
}

static void print_json(const struct frame *f, const struct json *look)
{
	static const char *const texts[] = {"name", "kind", "lane", "waiting_for"}, *const counts[] = {
											    "instances", "busy",
											    "starting", "waiting"};
	auto_object(w, out);

	jw_real(&w, "seconds", f->seconds);
	jw_real(&w, "machine_usd_per_hour", json_real(json_get(look, "usd_hour"), 0));
	jw_arr(&w, "workloads");
	for (size_t i = 0; i < f->n; i++) {
		const struct line *l = &f->v[i];

		jw_obj(&w, NULL);
		for (size_t k = 0; k < ARRAY_SIZE(texts); k++)
			jw_strc(&w, texts[k], json_get_str(l->now, texts[k]).p);
		for (size_t k = 0; k < ARRAY_SIZE(counts); k++)
			jw_int(&w, counts[k], json_get_int(l->now, counts[k], 0));
		for (size_t k = 0; k < ARRAY_SIZE(percents); k++) {
			char name[16];

			snprintf(name, sizeof(name), "p%d_us", percents[k]);
			if (l->p_us[k] < 0)
				jw_null(&w, name);
			else
				jw_real(&w, name, l->p_us[k]);
		}
		put_figures(&w, l);
		jw_end(&w, '}');
	}
	jw_end(&w, ']');
	jw_obj(&w, "platform");
	put_figures(&w, &f->platform);
	jw_int(&w, "blanks", json_get_int(f->platform.now, "blanks", 0));
	jw_end(&w, '}');
	jw_obj(&w, "total");
	put_figures(&w, &f->total);
	jw_end(&w, '}');
	jw_end(&w, '}');
	puts(out.p);
}

static char *ms(double us)
{
	return us < 0 ? NULL : cli_cell(us < 10000 ? "%.2f" : "%.0f", us / 1000);
}

static void add_row(struct table *t, const struct line *l, char *name)
{
	const struct json *j = l->now;
	long long n = json_get_int(j, "instances", 0), busy = json_get_int(j, "busy", 0);
	long long starting = json_get_int(j, "starting", 0), waiting = json_get_int(j, "waiting", 0);
	struct str why = json_get_str(j, "waiting_for");

	table_row(t,
		  (char *[]){name, table_text(j, "lane"), cli_cell("%.1f", l->rate), ms(l->p_us[0]), ms(l->p_us[1]),
			     ms(l->p_us[2]), cli_cell("%.1f", l->errors),
			     json_get(j, "instances") ? cli_cell("%lld/%lld/%lld", busy, n - busy - starting, starting)
						      : NULL,
			     cli_cell("%.2f", l->cpu), cli_cell("%.1fMi", l->mem_bytes / 1048576),
			     cli_cell("%.6f", l->usd_hour),
			     waiting ? xasprintf("%lld: " STR_FMT, waiting, STR_ARG(why)) : NULL});
}

/* rows: of the screen; 0: all are shown. */
static void print_text(struct cli *c, const struct frame *f, const struct json *look, size_t rows)
{
	static const char *const heads[] = {"WORKLOAD", "LANE",		  ">REQ/S", ">P50 MS", ">P95 MS", ">P99 MS",
					    ">ERR/S",	">BUSY/IDLE/NEW", ">CPU",   ">MEMORY", ">USD/H",  "WAITING"};
	size_t n = rows && f->n + HEAD_LINES > rows ? (rows > HEAD_LINES ? rows - HEAD_LINES : 0) : f->n;
	struct table t;

	table_init(&t, heads, ARRAY_SIZE(heads));
	for (size_t i = 0; i < n; i++)
		add_row(&t, &f->v[i], table_text(f->v[i].now, "name"));
	add_row(&t, &f->platform, xstrdup("tandem"));
	add_row(&t, &f->total, n < f->n ? xasprintf("total, %zu more", f->n - n) : xstrdup("total"));
	table_print(&t, c);
	table_done(&t);
	if (!c->quiet)
		fprintf(rows ? stdout : stderr,
			"of %.1f s; USD/H: CPU and memory at this pace, of %g for this machine%s", f->seconds,
			json_real(json_get(look, "usd_hour"), 0), rows ? "" : "\n");
}

/* ---- the screen ---- */

static volatile sig_atomic_t ended, stops, changed;

static void on_signal(int sig)
{
	if (sig == SIGTSTP)
		stops = 1;
	else if (sig == SIGWINCH || sig == SIGCONT)
		changed = 1;
	else
		ended = 1;
}

struct screen {
	struct termios was;
	sigset_t seen; /* what is not seen but while we wait for a key: none comes just before that */
	bool raw;
};

static void screen_signals(struct screen *s)
{
	static const int sigs[] = {SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGCONT, SIGWINCH};
	struct sigaction on = {.sa_handler = on_signal};

	sigemptyset(&s->seen);
	for (size_t i = 0; i < ARRAY_SIZE(sigs); i++) {
		sigaction(sigs[i], &on, NULL);
		sigaddset(&s->seen, sigs[i]);
	}
}

static void screen_raw(const struct screen *s)
{
	struct termios raw = s->was;

	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	if (s->raw)
		tcsetattr(0, TCSADRAIN, &raw);
}

static void screen_begin(const struct screen *s)
{
	screen_raw(s);
	fputs("\033[?1049h\033[?25l\033[?7l", stdout); /* the other screen, no cursor, no wrapping */
}

static void screen_end(const struct screen *s)
{
	fputs("\033[?7h\033[?25h\033[?1049l", stdout);
	fflush(stdout);
	if (s->raw)
		tcsetattr(0, TCSADRAIN, &s->was);
}

enum key { KEY_NONE, KEY_ORDER, KEY_END };

/* The shell has its terminal as it was until it lets us go on. */
static void screen_stop(struct screen *s)
{
	screen_end(s);
	signal(SIGTSTP, SIG_DFL); /* does nothing where nobody could let us go on */
	(void)raise(SIGTSTP);
	stops = changed = 0;
	screen_signals(s);
	screen_begin(s);
}

/* Until it is time for the next look. */
static enum key wait_key(struct screen *s, int64_t until_us, enum by *by)
{
	static const char keys[BY_N + 1] = "crlumewn";
	int64_t left_us = until_us - clock_now_us();
	struct timespec left = {left_us > 0 ? left_us / 1000000 : 0, left_us > 0 ? left_us % 1000000 * 1000 : 0};
	struct pollfd in = {.fd = isatty(0) ? 0 : -1, .events = POLLIN};
	const char *k;
	char key = 0;
	sigset_t was;
	ssize_t got;
	int n = -1;

	sigprocmask(SIG_BLOCK, &s->seen, &was);
	if (!ended && !stops && !changed)
		n = ppoll(&in, 1, &left, &was);
	sigprocmask(SIG_SETMASK, &was, NULL);
	if (ended)
		return KEY_END;
	if (stops) {
		screen_stop(s);
		return KEY_ORDER;
	}
	if (changed) { /* whoever let us go on may have had the terminal as it likes it */
		changed = 0;
		screen_raw(s);
		return KEY_ORDER;
	}
	if (n <= 0)
		return n ? KEY_ORDER : KEY_NONE;
	got = read(0, &key, 1);
	if (got != 1 || key == 'q')
		return got < 0 && errno == EINTR ? KEY_ORDER : KEY_END;
	k = key ? strchr(keys, key) : NULL;
	if (k)
		*by = (enum by)(k - keys);
	return KEY_ORDER;
}

static int get(struct cli *c, struct json **ret)
{
	auto_buf body = {0};

	return call_json(c, "GET", "/v1/top", STR_NULL, &body, ret);
}

static void show(struct cli *c, const struct json *now, const struct json *before, enum by by, size_t rows)
{
	struct frame f = frame_of(now, before, by);

	if (c->json)
		print_json(&f, now);
	else
		print_text(c, &f, now, rows);
	free(f.v);
	fflush(stdout);
}

static void draw(struct cli *c, const struct json *now, const struct json *before, enum by by)
{
	struct winsize size = {0};

	(void)ioctl(1, TIOCGWINSZ, &size);
	fputs("\033[H\033[2J", stdout);
	if (now)
		show(c, now, before, by, size.ws_row ? size.ws_row : 24);
	else
		fputs("the daemon does not answer", stdout);
	printf("\r\nby %s; c r l u m e w n: by cost, rate, latency, CPU, memory, errors, waiting, name; q ends",
	       by_name[by]);
	fflush(stdout);
}

/* A daemon that is away for a moment (an upgrade) ends nothing. */
static void live(struct cli *c, int64_t interval_us, enum by by)
{
	struct json *before = NULL, *now = NULL;
	enum key k = KEY_ORDER;
	struct screen s;

	s.raw = isatty(0) && tcgetattr(0, &s.was) == 0;
	screen_signals(&s);
	screen_begin(&s);
	while (k != KEY_END) {
		int64_t until_us = clock_now_us() + interval_us;

		json_free(before);
		before = take_ptr(now);
		if (call_alive(c))
			(void)get(c, &now);
		do {
			draw(c, now, before, by);
		} while ((k = wait_key(&s, until_us, &by)) == KEY_ORDER);
	}
	screen_end(&s);
	json_free(before);
	json_free(now);
}

int top_run(struct cli *c, int argc, char **argv)
{
	struct top_opts o = {.interval_us = 2000000, .by = "cost"};
	auto_json before = NULL;
	auto_json now = NULL;
	int by = 0;

	if (!cli_options(c, &o, &argc, argv, 0, 0))
		return c->exit;
	while (by < BY_N && strcmp(o.by, by_name[by]))
		by++;
	if (by == BY_N)
		return cli_usage(c, "--by is cost, rate, latency, cpu, memory, errors, waiting or name, not \"%s\"",
				 o.by);
	if (o.interval_us && (o.interval_us < INTERVAL_MIN_US || o.interval_us > 3600000000ll))
		return cli_usage(c, "--interval is 0, or from 100ms to 1h");
	if (get(c, &now) < 0)
		return c->exit;
	if (!o.once && !c->json && isatty(1) && o.interval_us) {
		live(c, o.interval_us, (enum by)by);
		return CLI_OK;
	}
	if (o.interval_us) {
		before = take_ptr(now);
		(void)poll(NULL, 0, (int)(o.interval_us / 1000));
		if (get(c, &now) < 0)
			return c->exit;
	}
	show(c, now, before, (enum by)by, 0);
	return CLI_OK;
}
