/* SPDX-License-Identifier: Apache-2.0 */
#include "trigger/schedule.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rand.h"
#include "store/record.h"
#include "trigger/due.h"
#include "trigger/target.h"

#define PREFIX	  "schedule/"
#define GROUP	  "schedule-group/"
#define MAX_AGE_S 86400 /* Scheduler's default */

struct schedule {
	struct due due; /* due.key is the record's */
	struct schedules *all;
	struct json *doc;
};
struct schedules {
	struct schedules_opts o;
	struct map by_key;
	struct map zones; /* those that were asked for; each stays */
};
struct zone_entry {
	char *name;
	struct zone *zone;
};

static const struct zone *zone_of(struct schedules *ss, struct str name, struct err *e)
{
	struct zone_entry *z = map_get(&ss->zones, name);
	struct zone *zone;

	if (z)
		return z->zone;
	auto_free char *copy = str_dup(name);

	zone = zone_open(copy, e);
	if (!zone)
		return NULL;
	z = xcalloc(1, sizeof(*z));
	*z = (struct zone_entry){take_ptr(copy), zone};
	map_put(&ss->zones, str_of(z->name), z);
	return zone;
}

/* --- firing --- */

struct variables {
	const struct schedule *s;
	const char *id;
	int64_t due_s;
};

static char *arn(const struct schedule *s)
{
	return xasprintf("arn:aws:scheduler:%s:%s:%s", s->all->o.region, s->all->o.account, s->due.key);
}

static void put_time(struct buf *out, int64_t s)
{
	char iso[32];

	clock_fmt_iso(s * 1000000, iso);
	buf_addf(out, "\"%.19sZ\"", iso);
}

static bool variable(void *arg, struct str name, struct buf *json)
{
	const struct variables *v = arg;
	auto_free char *own = arn(v->s);

	if (str_eqc(name, "aws.scheduler.schedule-arn"))
		jw_quote(json, str_of(own));
	else if (str_eqc(name, "aws.scheduler.scheduled-time"))
		put_time(json, v->due_s);
	else if (str_eqc(name, "aws.scheduler.execution-id"))
		jw_quote(json, str_of(v->id));
	else if (str_eqc(name, "aws.scheduler.attempt-number"))
		buf_adds(json, "1");
	else
		return false;
	return true;
}

/* What a target without an input is given. */
static void put_default(struct buf *out, const struct schedule *s, const char *id, int64_t due_s)
{
	auto_free char *own = arn(s);
	auto_buf time = {0};

	put_time(&time, due_s);
	jw_fmt(out,
	       "{'version':'0','id':%s,'detail-type':'Scheduled Event','source':'aws.scheduler','account':%s,'time':%r,"
	       "'region':%s,'resources':[%s],'detail':'{}'}",
	       id, s->all->o.account, time.p, s->all->o.region, own);
}

/* Its records. */
static void forget(struct schedule *s, struct store_tx *tx)
{
	due_forget(s->all->o.dues, s->due.key, tx);
	record_del_add(s->all->o.store, tx, s->due.key);
}

static void schedule_free(struct schedule *s)
{
	free(s->due.key);
	json_free(s->doc);
	free(s);
}

static bool goes(const struct schedule *s)
{
	return str_eqc(json_get_str(s->doc, "ActionAfterCompletion"), "DELETE");
}

static void over(struct due *d)
{
	struct schedule *s = container_of(d, struct schedule, due);

	if (!goes(s))
		return;
	map_del(&s->all->by_key, str_of(d->key));
	due_remove(d);
	schedule_free(s);
}

static void fire(struct due *d, int64_t due_s, bool final, struct store_tx *tx)
{
	struct schedule *s = container_of(d, struct schedule, due);
	const struct json *target = json_get(s->doc, "Target"), *input = json_get(target, "Input");
	char id[37];
	auto_buf payload = {0};
	struct err e;

	id_uuid(id);
	if (input)
		target_fill(json_str(input), variable, &(struct variables){s, id, due_s}, &payload);
	else
		put_default(&payload, s, id, due_s);
	if (target_add_payload(s->all->o.deliver, tx, target, buf_str(&payload), &(struct target_event){0}, &e) < 0)
		log_warn("schedule", "%s: %s", d->key, e.text);
	if (final && goes(s))
		forget(s, tx);
}

/* --- what is declared --- */

static int64_t date(const struct json *doc, const char *name)
{
	return (int64_t)json_real(json_get(doc, name), 0);
}

/* Fills in s->due from its document. */
static int read_doc(struct schedule *s, struct err *e)
{
	struct str expr = json_get_str(s->doc, "ScheduleExpression"),
		   zone = json_get_str(s->doc, "ScheduleExpressionTimezone");
	const struct json *window = json_get(s->doc, "FlexibleTimeWindow"), *target = json_get(s->doc, "Target");
	struct due *d = &s->due;
	struct err why;

	if (cron_parse(expr, false, &d->cron) < 0)
		return err_set(e, ERR_INVALID, "Invalid Schedule Expression " STR_FMT ".",
			       (int)(expr.n < 256 ? expr.n : 256), expr.n ? expr.p : "");
	if (zone.n && !str_eqc(zone, "UTC") && !(d->zone = zone_of(s->all, zone, &why)))
		return err_set(e, ERR_INVALID, "The ScheduleExpressionTimezone %.64s is not valid: %s", zone.p,
			       why.text);
	d->window_s = 60 * json_get_int(window, "MaximumWindowInMinutes", 0);
	if (str_eqc(json_get_str(window, "Mode"), "FLEXIBLE") != (d->window_s > 0))
		return err_set(
			e, ERR_INVALID,
			"MaximumWindowInMinutes goes with the FlexibleTimeWindow's Mode FLEXIBLE, and with no other.");
	d->start_s = date(s->doc, "StartDate");
	d->end_s = date(s->doc, "EndDate");
	if (d->end_s && d->end_s <= d->start_s)
		return err_set(e, ERR_INVALID, "The EndDate must be after the StartDate.");
	d->max_age_s = json_get_int(json_get(target, "RetryPolicy"), "MaximumEventAgeInSeconds", MAX_AGE_S);
	d->fire = fire;
	d->over = over;
	return target_check(target, e);
}

static struct schedule *schedule_new(struct schedules *ss, const char *key, struct json *doc)
{
	struct schedule *s = xcalloc(1, sizeof(*s));

	s->due.key = xstrdup(key);
	s->all = ss;
	s->doc = doc;
	return s;
}

static void begin(struct schedule *s, bool anew, struct store_tx *tx)
{
	int64_t now_s = clock_wall_us() / 1000000;
	bool at_once = s->due.cron.kind == CRON_RATE && s->due.start_s <= now_s;

	if (str_eqc(json_get_str(s->doc, "State"), "DISABLED"))
		return;
	s->due.base_s = s->due.start_s ? s->due.start_s : now_s;
	s->due.last_s = at_once && !s->due.start_s ? now_s - 1 : now_s;
	due_put(s->all->o.dues, &s->due, anew, tx);
}

/* Whether nothing was changed that its times depend on. */
static bool same_times(const struct json *a, const struct json *b)
{
	static const char *const names[] = {"ScheduleExpression", "ScheduleExpressionTimezone", "State"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!str_eq(json_get_str(a, names[i]), json_get_str(b, names[i])))
			return false;
	return date(a, "StartDate") == date(b, "StartDate");
}

int schedule_put(struct schedules *ss, struct str group, struct str name, const struct json *doc, const char *project,
		 struct store_tx *tx, struct err *e)
{
	auto_free char *key = xasprintf(PREFIX STR_FMT "/" STR_FMT, STR_ARG(group), STR_ARG(name)), *g = str_dup(group);
	struct schedule *old = map_get(&ss->by_key, str_of(key)), *s;
	auto_buf text = {0};
	bool anew;

	if (!str_name_ok(name, 64, "._-"))
		return err_set(e, ERR_INVALID,
			       "A schedule's name is made of letters, digits, '.', '-' and '_', at most 64.");
	if (!schedule_group_exists(ss, g))
		return err_set(e, ERR_NOT_FOUND, "Schedule group %s does not exist.", g);
	if (!old && ss->by_key.n >= SCHEDULES_MAX)
		return err_set(e, ERR_LIMIT, "There are %d schedules already.", SCHEDULES_MAX);
	json_merge(&text, NULL, doc, project);
	s = schedule_new(ss, key, json_parse(buf_str(&text), NULL));
	if (read_doc(s, e) < 0) {
		schedule_free(s);
		return -1;
	}
	anew = !old || !same_times(old->doc, s->doc);
	if (old) {
		due_remove(&old->due);
		map_del(&ss->by_key, str_of(key));
		schedule_free(old);
	}
	map_put(&ss->by_key, str_of(s->due.key), s);
	record_put_add(ss->o.store, tx, key, text.p);
	begin(s, anew, tx);
	return 0;
}

bool schedule_delete(struct schedules *ss, const char *group, const char *name, struct store_tx *tx)
{
	auto_free char *key = xasprintf(PREFIX "%s/%s", group, name);
	struct schedule *s = map_del(&ss->by_key, str_of(key));

	if (!s)
		return false;
	due_remove(&s->due);
	forget(s, tx);
	schedule_free(s);
	return true;
}

const struct json *schedule_doc(const struct schedules *ss, const char *group, const char *name)
{
	auto_free char *key = xasprintf(PREFIX "%s/%s", group, name);
	const struct schedule *s = map_get(&ss->by_key, str_of(key));

	return s ? s->doc : NULL;
}

void schedule_times(const struct schedules *ss, const char *key, int64_t *ret_next_s, int64_t *ret_last_s)
{
	const struct schedule *s = map_get(&ss->by_key, str_of(key));

	*ret_next_s = s && s->due.place ? s->due.next_s : -1;
	*ret_last_s = s && s->due.dues ? s->due.last_s : -1;
}

/* --- groups --- */

bool schedule_group_exists(const struct schedules *ss, const char *name)
{
	auto_free char *key = xasprintf(GROUP "%s", name);

	return record_get(ss->o.store, key) != NULL;
}

int schedule_group_put(struct schedules *ss, struct str name, const struct json *doc, const char *project,
		       struct store_tx *tx, struct err *e)
{
	auto_free char *n = str_dup(name), *key = xasprintf(GROUP "%s", n);
	auto_buf text = {0};
	size_t groups = 0;

	if (!str_name_ok(name, 64, "._-"))
		return err_set(e, ERR_INVALID,
			       "A group's name is made of letters, digits, '.', '-' and '_', at most 64.");
	for (const struct record *r = NULL; (r = record_next(ss->o.store, GROUP, r ? r->key : NULL));)
		groups++;
	if (!record_get(ss->o.store, key) && groups >= GROUPS_MAX)
		return err_set(e, ERR_LIMIT, "There are %d schedule groups already.", GROUPS_MAX);
	json_merge(&text, NULL, doc, project);
	record_put_add(ss->o.store, tx, key, text.p);
	return 0;
}

void schedule_group_delete(struct schedules *ss, const char *name, struct store_tx *tx)
{
	auto_free char *key = xasprintf(GROUP "%s", name), *prefix = xasprintf(PREFIX "%s/", name);
	const struct record *r;

	while ((r = record_next(ss->o.store, prefix, NULL))) {
		auto_free char *schedule = xstrdup(r->key + strlen(prefix));

		if (!schedule_delete(ss, name, schedule, tx))
			record_del_add(ss->o.store, tx, r->key);
	}
	record_del_add(ss->o.store, tx, key);
}

struct schedules *schedules_new(const struct schedules_opts *o)
{
	struct schedules *ss = xcalloc(1, sizeof(*ss));
	struct err e;

	ss->o = *o;
	if (!record_get(o->store, GROUP "default"))
		record_put(o->store, NULL, GROUP "default", "{}");
	for (const struct record *r = NULL; (r = record_next(o->store, PREFIX, r ? r->key : NULL));) {
		struct schedule *s = schedule_new(ss, r->key, json_parse(str_of(r->value), NULL));

		if (read_doc(s, &e) < 0) {
			log_error("schedule", "%s, as it was kept: %s", r->key, e.text);
			schedule_free(s);
			continue;
		}
		map_put(&ss->by_key, str_of(s->due.key), s);
		begin(s, false, NULL);
	}
	return ss;
}

void schedules_free(struct schedules *ss)
{
	struct schedule *s;
	struct zone_entry *z;

	if (!ss)
		return;
	for (size_t pos = 0; (s = map_next(&ss->by_key, &pos));) {
		due_remove(&s->due);
		schedule_free(s);
	}
	for (size_t pos = 0; (z = map_next(&ss->zones, &pos));) {
		zone_free(z->zone);
		free(z->name);
		free(z);
	}
	map_done(&ss->by_key);
	map_done(&ss->zones);
	free(ss);
}
