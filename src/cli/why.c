/* SPDX-License-Identifier: Apache-2.0 */
/*
 * why: what the daemon knows of one workload, as sentences: its lane, how and why it started, what waits and until when,
 * why it failed, what starts it. Put together here, from what describe, the ledger's rows and the journal say.
 */
#include <stdarg.h>
#include "base/clock.h"
#include "base/mem.h"
#include "cli/call.h"
#include "cli/verbs.h"
#include "json/write.h"

#define LAST 3 /* of each kind */

struct why {
	struct cli *c;
	const struct json *about; /* as described */
	struct jw *json;	  /* NULL: text */
	const char *said;	  /* the last heading */
};

static void say(struct why *y, const char *heading, const char *fmt, ...) PRINTF(3, 4);
static void say(struct why *y, const char *heading, const char *fmt, ...)
{
	auto_free char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	va_end(ap);
	cli_clean(text);
	if (y->json) {
		jw_obj(y->json, NULL);
		jw_strc(y->json, "about", heading);
		jw_strc(y->json, "text", text);
		jw_end(y->json, '}');
	} else {
		printf("%s%-8s%s %s\n", cli_tint(y->c, TINT_BOLD), y->said == heading ? "" : heading, cli_plain(y->c),
		       text);
	}
	y->said = heading;
}

static void say_lane(struct why *y)
{
	const char *lane = json_get_str(y->about, "lane").p, *wish = json_get_str(y->about, "lane_wish").p;
	const char *why = json_get_str(y->about, "lane_why").p, *cannot = json_get_str(y->about, "lane_cannot").p;

	if (!lane)
		return;
	if (why)
		say(y, "lane", "%s: %s", lane, why);
	else if (wish && !strcmp(wish, "auto"))
		say(y, "lane", "%s: it may move (lane: auto), and has not had a reason to", lane);
	else
		say(y, "lane", "%s: declared, or the default; lane: auto in its file lets it move", lane);
	if (json_get_bool(y->about, "lane_moving", false))
		say(y, "lane", "it is moving: the new side starts before the old one is left");
	if (cannot)
		say(y, "lane", "it cannot run in the container lane: %s", cannot);
}

static void say_start(struct why *y)
{
	const struct json *image = json_get(y->about, "snapshot");
	int64_t reserved = json_get_int(y->about, "reserved_concurrency", -1);
	const struct json *held = json_get(y->about, "held_ready");
	const char *not_held = json_get_str(held, "reason").p;

	if (json_get(image, "bytes"))
		say(y, "start", "from an image of its process (%.1f MB, made %s)",
		    (double)json_get_int(image, "bytes", 0) / CLI_MB, json_get_str(image, "made").p);
	else if (image)
		say(y, "start", "plainly, there is no image of its process: %s", json_get_str(image, "none").p);
	if (held)
		say(y, "start", "%lld of %lld instances are held ready%s%s", (long long)json_get_int(held, "ready", 0),
		    (long long)json_get_int(held, "wanted", 0), not_held ? ": " : "", not_held ? not_held : "");
	if (!reserved)
		say(y, "calls", "all are refused (429), for its reserved concurrency is 0");
	else if (reserved > 0)
		say(y, "calls", "%lld at once, more are refused (429): its reserved concurrency", (long long)reserved);
}

/* ---- the ledger's rows ---- */

struct call {
	int64_t arrived_us, end_us, revision;
	const struct json *row;
};

static bool read_call(const struct json *row, struct call *ret)
{
	int64_t began;

	if (!str_eqc(json_get_str(row, "kind"), "invoke") || clock_parse_iso(json_get_str(row, "time"), &began) < 0)
		return false;
	*ret = (struct call){.row = row,
			     .revision = json_get_int(row, "revision", 0),
			     .end_us = began + json_get_int(row, "handler_us", 0),
			     .arrived_us = began - json_get_int(row, "queue_us", 0) - json_get_int(row, "start_us", 0) -
					   json_get_int(row, "init_us", 0)};
	return true;
}

/* Why no instance was there for it. */
static char *cold_why(const struct call *all, size_t n, const struct call *c)
{
	const struct call *before = NULL;
	size_t busy = 0;

	for (size_t i = 0; i < n; i++) {
		busy += &all[i] != c && all[i].arrived_us <= c->arrived_us && all[i].end_us > c->arrived_us;
		if (all[i].end_us <= c->arrived_us && (!before || all[i].end_us > before->end_us))
			before = &all[i];
	}
	if (busy)
		return xasprintf("those that ran were busy (%zu calls under way)", busy);
	if (!before)
		return xstrdup("the first call that the ledger shows here");
	if (before->revision != c->revision)
		return xasprintf("the first call of revision %lld", (long long)c->revision);
	if (!str_eqc(json_get_str(before->row, "outcome"), "ok") &&
	    !str_eqc(json_get_str(before->row, "outcome"), "error"))
		return xasprintf("the call before had ended its instance: %s", json_get_str(before->row, "outcome").p);
	return xasprintf("nothing of it ran any more, the call before was over %.3g s earlier",
			 (double)(c->arrived_us - before->end_us) / 1e6);
}

static void say_calls(struct why *y, const struct json *rows)
{
	struct call *all = xcalloc(json_len(rows) + 1, sizeof(*all));
	size_t n = 0, failed = 0, left = 0, cold = 0;

	for (size_t i = 0; i < json_len(rows); i++)
		n += read_call(json_at(rows, i), &all[n]);
	for (size_t i = n; i-- > 0;) {
		const struct json *r = all[i].row;
		auto_free char *why = NULL;

		left += str_eqc(json_get_str(r, "outcome"), "canceled");
		failed += !str_eqc(json_get_str(r, "outcome"), "ok");
		if (!json_get_bool(r, "cold", false) || ++cold > LAST)
			continue;
		why = cold_why(all, n, &all[i]);
		say(y, "cold", "%s, %s, %.1f ms: %s", json_get_str(r, "time").p,
		    json_get_bool(r, "restored", false) ? "from the image" : "plainly",
		    (double)(json_get_int(r, "start_us", 0) + json_get_int(r, "init_us", 0)) / 1e3, why);
	}
	if (cold > LAST)
		say(y, "cold", "and %zu more of the last %zu calls", cold - LAST, n);
	else if (n && !cold)
		say(y, "cold", "none of the last %zu calls", n);
	if (failed > left)
		say(y, "failed", "%zu of the last %zu calls", failed - left, n);
	if (left)
		say(y, "left", "%zu of the last %zu calls: their clients did not wait for the answer", left, n);
	free(all);
}

/* ---- what waits ---- */

static void say_async(struct why *y)
{
	const struct json *a = json_get(y->about, "asynchronous");
	long long n = json_get_int(a, "waiting", 0), running = json_get_int(a, "running", 0);
	const char *next = json_get_str(a, "next_try").p, *reason = json_get_str(a, "reason").p;

	if (n > running)
		say(y, "waits", "%lld asynchronous events%s%s%s%s", n - running,
		    next      ? "; the next try is at "
		    : running ? " until one that runs is over"
			      : "",
		    next ? next : "", reason ? ": " : "", reason ? reason : "");
}

static void say_waits(struct why *y)
{
	long long n = json_get_int(y->about, "waiting", 0), flight = json_get_int(y->about, "in_flight", -1);
	const char *what = json_get_str(y->about, "waiting_for").p, *next = json_get_str(y->about, "next").p;
	const char *to = json_get(y->about, "deployments") ? ":" : " for"; /* a sentence, or a noun */
	int64_t waited = json_get_int(y->about, "waited_us", -1), left = json_get_int(y->about, "waits_at_most_us", -1);

	if (flight >= 0)
		say(y, "waits", "%lld messages; %lld more are with somebody, %lld are delayed", n, flight,
		    (long long)json_get_int(y->about, "delayed", 0));
	else if (n && waited >= 0)
		say(y, "waits", "%lld%s %s; the first for %.1f s, refused in %.1f s if that stays so", n, to,
		    what ? what : "an instance", (double)waited / 1e6, (double)left / 1e6);
	else if (next)
		say(y, "waits", "for its time, the next is %s", next);
	else if (n)
		say(y, "waits", "%lld%s %s", n, to, what ? what : "an instance");
	else if (what)
		say(y, "waits", "nothing; a request would find: %s", what);
	else if (!json_get_int(json_get(y->about, "asynchronous"), "waiting", 0))
		say(y, "waits", "nothing");
	say_async(y);
}

/* Of a task those that are there: what they wait for, or how they ended. */
static void say_tasks(struct why *y)
{
	const struct json *list = json_get(y->about, "tasks"), *k;
	size_t n = json_len(list);

	for (size_t i = n > LAST ? n - LAST : 0; (k = json_at(list, i)); i++) {
		const char *what = json_get_str(k, "waiting_for").p, *reason = json_get_str(k, "reason").p;
		const char *unwell = json_get_str(k, "health_text").p;

		say(y, "task", "%s %s%s%s%s%s", json_get_str(k, "id").p, json_get_str(k, "state").p,
		    what     ? ": it waits for "
		    : reason ? ": "
			     : "",
		    what     ? what
		    : reason ? reason
			     : "",
		    unwell ? "; its health check says: " : "", unwell ? unwell : "");
	}
	if (n > LAST)
		say(y, "task", "and %zu before", n - LAST);
}

/* Of a function or service those that do not work; of a task and of what holds or leads events all. */
static void say_triggers(struct why *y)
{
	const struct json *list = json_get(y->about, "triggers"), *t;
	bool holder = json_get(y->about, "record") != NULL, all = holder || json_get(y->about, "tasks");

	for (size_t i = 0; (t = json_at(list, i)); i++) {
		struct str state = json_get_str(t, "state"), reason = json_get_str(t, "reason");
		bool well = !reason.n &&
			    (str_caseeqc(state, "enabled") || str_starts(state, "AWS_") || str_eqc(state, "NONE"));

		if (all || !well)
			say(y, "trigger", "%s -> %s: " STR_FMT "%s" STR_FMT, json_get_str(t, "from").p,
			    json_get_str(t, "to").p, STR_ARG(state), reason.n ? ": " : "", STR_ARG(reason));
	}
	if (holder && !json_len(list))
		say(y, "trigger", "nothing takes what is in it by itself");
}

/* ---- the journal ---- */

static bool is_trouble(struct str kind)
{
	static const char *const kinds[] = {"crash",	"oom",	  "timeout", "init",   "start", "throttle",
					    "given-up", "budget", "service", "missed", "late"};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (str_eqc(kind, kinds[i]))
			return true;
	return false;
}

static void say_events(struct why *y, struct str lines)
{
	struct str line, last[LAST] = {{0}};
	size_t n = 0;

	while (str_next(&lines, '\n', &line)) {
		auto_json e = json_parse(line, NULL);

		if (is_trouble(json_get_str(e, "kind")))
			last[n++ % LAST] = line;
	}
	for (size_t i = n < LAST ? 0 : n - LAST; i < n; i++) {
		auto_json e = json_parse(last[i % LAST], NULL);

		say(y, "events", "%s %s: %s", json_get_str(e, "time").p, json_get_str(e, "kind").p,
		    json_get_str(e, "text").p);
	}
}

/* Prints nothing when there is none: what has no rows has none. */
static int ask(struct why *y, const char *path, const char *param, const char *value, struct buf *ret)
{
	auto_buf target = {0};

	buf_adds(&target, path);
	call_query(&target, param, value);
	return call_daemon(y->c, "GET", target.p, STR_NULL, ret);
}

/* All that there is to say, of what is called so. */
static void say_all(struct why *y, const struct json *ledger, struct str events)
{
	const struct json *j = y->about;

	if (json_get_str(j, "text").n) { /* a budget */
		say(y, "state", "%s: %s", json_get_str(j, "state").p, json_get_str(j, "text").p);
		return;
	}
	if (json_get_str(j, "reason").n)
		say(y, "state", "%s: %s", json_get_str(j, "state").p, json_get_str(j, "reason").p);
	else if (str_eqc(json_get_str(j, "state"), "Pending"))
		say(y, "state", "Pending: its code is unpacked and started for the first time");
	else if (json_get_bool(j, "updating", false))
		say(y, "state",
		    "a new revision of it is unpacked and started for the first time; the one before serves");
	say_lane(y);
	if (json_get_str(j, "budget").n)
		say(y, "budget", "%s", json_get_str(j, "budget").p);
	if (json_get_bool(j, "budget_closed", false))
		say(y, "budget",
		    "until then calls are refused (429), no task of it begins, and what is asynchronous waits");
	say_start(y);
	say_calls(y, json_get(ledger, "rows"));
	say_waits(y);
	say_tasks(y);
	say_triggers(y);
	say_events(y, events);
}

int why_run(struct cli *c, int argc, char **argv)
{
	auto_buf target = {0}, about = {0}, rows = {0}, events = {0}, out = {0}, workload = {0};
	auto_json j = NULL;
	auto_json ledger = NULL;
	struct str record;
	struct jw w;
	struct why y = {.c = c};

	if (!cli_options(c, NULL, &argc, argv, 1, 1))
		return c->exit;
	call_target(&target, "/v1/names/", argv[0], "");
	if (call_json(c, "GET", target.p, STR_NULL, &about, &j) < 0)
		return c->exit;
	y.about = j;
	record = json_get_str(j, "record");
	buf_addf(&workload, STR_FMT "/" STR_FMT, STR_ARG(json_get_str(j, "project")), STR_ARG(json_get_str(j, "name")));
	if (ask(&y, "/v1/cost?by=rows", "workload", workload.p, &rows) < 0 ||
	    ask(&y, "/v1/events?format=json&lines=1000", "about", record.n ? record.p : workload.p, &events) < 0)
		return c->exit;
	ledger = json_parse(buf_str(&rows), NULL);
	if (c->json) {
		w = jw_object(&out);
		jw_str(&w, "name", json_get_str(j, "name"));
		jw_arr(&w, "answers");
		y.json = &w;
	}
	say_all(&y, ledger, buf_str(&events));
	if (c->json) {
		jw_end(&w, ']');
		jw_end(&w, '}');
		puts(out.p);
	}
	return CLI_OK;
}
