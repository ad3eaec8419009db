/* SPDX-License-Identifier: Apache-2.0 */
#include "trigger/bus.h"
#include <stdio.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rand.h"
#include "store/record.h"
#include "trigger/due.h"
#include "trigger/pattern.h"
#include "trigger/target.h"

#define MAX_AGE_S 86400 /* of a scheduled event that nobody was there for; EventBridge's default */

struct place {	   /* rules that may match events of one source or type */
	char *key; /* BUS "\n" "s" or "t" VALUE; BUS "\n": all others */
	struct rule **rules;
	size_t n;
};
struct rule {
	struct due due; /* due.key is the record's */
	struct buses *buses;
	struct json *doc;
	struct pattern *pattern; /* NULL: none */
	const char *name;	 /* in the key */
	char bus[257];
};
struct buses {
	struct buses_opts o;
	struct map rules, places; /* by key */
	size_t n_buses;
};

/* --- names --- */

bool bus_name(const struct buses *b, struct str given, char ret[257])
{
	auto_free char *prefix = xasprintf("arn:aws:events:%s:%s:event-bus/", b->o.region, b->o.account), *key = NULL;
	struct str name = !given.n ? STR("default") : given;

	if (str_starts(name, prefix))
		name = (struct str){name.p + strlen(prefix), name.n - strlen(prefix)};
	snprintf(ret, 257, STR_FMT, STR_ARG(name));
	key = xasprintf("bus/%s", ret);
	return str_name_ok(name, 256, "._-") && record_get(b->o.store, key);
}

char *rule_arn(const struct buses *b, const char *bus, const char *name)
{
	bool own = strcmp(bus, "default") != 0;

	return xasprintf("arn:aws:events:%s:%s:rule/%s%s%s", b->o.region, b->o.account, own ? bus : "", own ? "/" : "",
			 name);
}

static char *rule_key(const char *bus, const char *name)
{
	return xasprintf("rule/%s/%s", bus, name);
}

/* --- the index --- */

static void place_change(struct buses *b, struct rule *r, char kind, struct str value, bool add)
{
	auto_free char *key =
		kind ? xasprintf("%s\n%c" STR_FMT, r->bus, kind, STR_ARG(value)) : xasprintf("%s\n", r->bus);
	struct place *p = map_get(&b->places, str_of(key));
	size_t i = 0;

	if (!p) {
		p = xcalloc(1, sizeof(*p));
		p->key = take_ptr(key);
		map_put(&b->places, str_of(p->key), p);
	}
	while (i < p->n && p->rules[i] != r)
		i++;
	if (add && i == p->n) { /* once, also when a pattern names the same twice */
		p->rules = xrealloc(p->rules, (p->n + 1) * sizeof(*p->rules));
		p->rules[p->n++] = r;
	} else if (!add && i < p->n) {
		p->rules[i] = p->rules[--p->n];
	}
	if (p->n)
		return;
	map_del(&b->places, str_of(p->key));
	free(p->rules);
	free(p->key);
	free(p);
}

static void index_change(struct buses *b, struct rule *r, bool add)
{
	static const struct {
		const char *member;
		char kind;
	} by[] = {{"source", 's'}, {"detail-type", 't'}};
	struct str value;

	for (size_t i = 0; r->pattern && i < ARRAY_SIZE(by); i++) {
		if (!pattern_exact(r->pattern, by[i].member, 0, &value))
			continue;
		for (size_t k = 0; pattern_exact(r->pattern, by[i].member, k, &value); k++)
			place_change(b, r, by[i].kind, value, add);
		return;
	}
	if (r->pattern)
		place_change(b, r, 0, STR_NULL, add);
}

/* --- rules --- */

static bool enabled(const struct rule *r)
{
	return !str_eqc(json_get_str(r->doc, "State"), "DISABLED");
}

static void to_targets(struct rule *r, struct store_tx *tx, struct target_event *ev)
{
	const struct json *targets = json_get(r->doc, "Targets");
	auto_free char *arn = rule_arn(r->buses, r->bus, r->name);
	struct err e;

	ev->rule_arn = arn;
	ev->rule_name = r->name;
	for (size_t i = 0; i < json_len(targets); i++)
		if (target_add(r->buses->o.deliver, tx, json_at(targets, i), ev, &e) < 0)
			log_warn("events", "rule %s, target %s: %s", r->name, json_get_str(json_at(targets, i), "Id").p,
				 e.text);
}

static void put_event(struct buses *b, struct buf *out, const struct bus_event *ev)
{
	auto_free char *resources = ev->resources ? json_text(ev->resources) : NULL;
	struct jw w = jw_object(out);
	char iso[32];

	clock_fmt_iso(ev->time_us, iso); /* seconds: without what follows */
	jw_strc(&w, "version", "0");
	jw_strc(&w, "id", ev->id);
	jw_str(&w, "detail-type", ev->type);
	jw_str(&w, "source", ev->source);
	jw_strc(&w, "account", b->o.account);
	memcpy(iso + 19, "Z", 2);
	jw_strc(&w, "time", iso);
	jw_strc(&w, "region", b->o.region);
	jw_raw(&w, "resources", resources ? str_of(resources) : STR("[]"));
	jw_raw(&w, "detail", ev->detail);
	jw_end(&w, '}');
}

static void fire(struct due *d, int64_t due_s, bool final, struct store_tx *tx)
{
	struct rule *r = container_of(d, struct rule, due);
	auto_free char *arn = rule_arn(r->buses, r->bus, r->name), *list = xasprintf("[\"%s\"]", arn);
	auto_json resources = json_parse(str_of(list), NULL);
	struct bus_event ev = {.source = STR("aws.events"),
			       .type = STR("Scheduled Event"),
			       .detail = STR("{}"),
			       .resources = resources,
			       .time_us = due_s * 1000000};
	auto_buf text = {0};

	id_uuid(ev.id);
	put_event(r->buses, &text, &ev);
	auto_json json = json_parse(buf_str(&text), NULL);

	to_targets(r, tx, &(struct target_event){.text = buf_str(&text), .json = json, .ingested_us = ev.time_us});
}

static void rule_free(struct rule *r)
{
	json_free(r->doc);
	pattern_free(r->pattern);
	free(r->due.key);
	free(r);
}

/* Out of everything but the map. */
static void rule_end(struct rule *r)
{
	index_change(r->buses, r, false);
	due_remove(&r->due);
}

/* anew: the time of its rate begins now. */
static void rule_begin(struct rule *r, bool anew, struct store_tx *tx)
{
	struct str expr = json_get_str(r->doc, "ScheduleExpression");

	if (!enabled(r))
		return;
	index_change(r->buses, r, true);
	if (!expr.n || cron_parse(expr, true, &r->due.cron) < 0)
		return;
	r->due.base_s = r->due.last_s = clock_wall_us() / 1000000;
	r->due.max_age_s = MAX_AGE_S;
	r->due.fire = fire;
	due_put(r->buses->o.dues, &r->due, anew, tx);
}

static int check_rule(struct rule *r, struct err *e)
{
	struct str expr = json_get_str(r->doc, "ScheduleExpression"), text = json_get_str(r->doc, "EventPattern");
	const struct json *targets = json_get(r->doc, "Targets");
	struct cron c;

	if (!expr.n && !text.n)
		return err_set(e, ERR_INVALID, "Parameter(s) EventPattern or ScheduleExpression must be specified.");
	if (expr.n && cron_parse(expr, true, &c) < 0)
		return err_set(e, ERR_INVALID, "Parameter ScheduleExpression is not valid.");
	if (expr.n && strcmp(r->bus, "default") != 0)
		return err_set(e, ERR_INVALID, "ScheduleExpression is supported only on the default event bus.");
	if (json_len(targets) > RULE_TARGETS)
		return err_set(e, ERR_LIMIT, "A rule has at most %d targets.", RULE_TARGETS);
	for (size_t i = 0; i < json_len(targets); i++)
		if (target_check(json_at(targets, i), e) < 0)
			return -1;
	if (text.n) {
		auto_json j = json_parse(text, e);

		r->pattern = j ? pattern_parse(j, e) : NULL;
		if (!r->pattern)
			return err_set(e, ERR_CORRUPT, "%s", strdupa(e->text));
	}
	return 0;
}

static struct rule *rule_new(struct buses *b, const char *bus, struct str name, struct json *doc)
{
	struct rule *r = xcalloc(1, sizeof(*r));
	auto_free char *n = str_dup(name);

	r->buses = b;
	r->due.key = rule_key(bus, n);
	r->name = r->due.key + strlen(r->due.key) - name.n;
	strlcpy_(r->bus, bus, sizeof(r->bus));
	r->doc = doc;
	return r;
}

static bool same(const struct json *a, const struct json *b, const char *member)
{
	return str_eq(json_get_str(a, member), json_get_str(b, member));
}

int rule_put(struct buses *b, const char *bus, struct str name, const struct json *doc, const char *project,
	     struct store_tx *tx, struct err *e)
{
	auto_free char *n = str_dup(name), *key = rule_key(bus, n), *text = NULL;
	struct rule *old = map_get(&b->rules, str_of(key)), *r;
	auto_buf merged = {0};
	bool anew;

	if (!str_name_ok(name, 64, "._-"))
		return err_set(e, ERR_INVALID,
			       "A rule's name is made of letters, digits, '.', '-' and '_', at most 64.");
	if (!old && b->rules.n >= RULES_MAX)
		return err_set(e, ERR_LIMIT, "There are %d rules already.", RULES_MAX);
	json_merge(&merged, old ? old->doc : NULL, doc, project);
	r = rule_new(b, bus, name, json_parse(buf_str(&merged), NULL));
	if (check_rule(r, e) < 0) {
		rule_free(r);
		return -1;
	}
	anew = !old || !same(old->doc, r->doc, "ScheduleExpression") || (!enabled(old) && enabled(r));
	if (old) {
		map_del(&b->rules, str_of(key));
		rule_end(old);
		rule_free(old);
	}
	map_put(&b->rules, str_of(r->due.key), r);
	record_put_add(b->o.store, tx, key, merged.p);
	rule_begin(r, anew, tx);
	return 0;
}

void rule_delete(struct buses *b, const char *bus, const char *name, struct store_tx *tx)
{
	auto_free char *key = rule_key(bus, name);
	struct rule *r = map_del(&b->rules, str_of(key));

	if (!r)
		return;
	rule_end(r);
	due_forget(b->o.dues, key, tx);
	rule_free(r);
	record_del_add(b->o.store, tx, key);
}

const struct json *rule_doc(const struct buses *b, const char *bus, const char *name)
{
	auto_free char *key = rule_key(bus, name);
	const struct rule *r = map_get(&b->rules, str_of(key));

	return r ? r->doc : NULL;
}

/* --- buses --- */

int bus_put(struct buses *b, struct str name, const struct json *doc, const char *project, struct store_tx *tx,
	    struct err *e)
{
	auto_free char *n = str_dup(name), *key = xasprintf("bus/%s", n);
	const char *old = record_get(b->o.store, key);
	auto_json before = old ? json_parse(str_of(old), NULL) : NULL;
	auto_buf merged = {0};

	if (!str_name_ok(name, 256, "._-"))
		return err_set(e, ERR_INVALID,
			       "A bus's name is made of letters, digits, '.', '-' and '_', at most 256.");
	if (!old && b->n_buses >= BUSES_MAX)
		return err_set(e, ERR_LIMIT, "There are %d event buses already.", BUSES_MAX);
	b->n_buses += !old;
	json_merge(&merged, before, doc, project);
	record_put_add(b->o.store, tx, key, merged.p);
	return 0;
}

int bus_delete(struct buses *b, const char *name, struct store_tx *tx, struct err *e)
{
	auto_free char *key = xasprintf("bus/%s", name), *rules = xasprintf("rule/%s/", name);

	if (record_next(b->o.store, rules, NULL))
		return err_set(e, ERR_CONFLICT, "Event bus %s can't be deleted since it has rules.", name);
	if (record_get(b->o.store, key))
		b->n_buses--;
	record_del_add(b->o.store, tx, key);
	return 0;
}

/* --- events --- */

static void match(struct buses *b, const char *bus, char kind, struct str value, struct target_event *ev,
		  struct store_tx *tx)
{
	auto_free char *key = kind ? xasprintf("%s\n%c" STR_FMT, bus, kind, STR_ARG(value)) : xasprintf("%s\n", bus);
	const struct place *p = map_get(&b->places, str_of(key));

	for (size_t i = 0; p && i < p->n; i++)
		if (pattern_match(p->rules[i]->pattern, ev->json))
			to_targets(p->rules[i], tx, ev);
}

static int check_event(const struct bus_event *ev, struct err *e)
{
	const struct {
		const char *name;
		struct str value;
	} needed[] = {{"Source", ev->source}, {"DetailType", ev->type}, {"Detail", ev->detail}};
	auto_json detail = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (!needed[i].value.n)
			return err_set(e, ERR_INVALID, "Parameter %s is not valid. Reason: %s is a required argument.",
				       needed[i].name, needed[i].name);
	detail = json_parse(ev->detail, NULL);
	return json_type(detail) == JSON_OBJECT ? 0 : err_set(e, ERR_CORRUPT, "Detail is malformed.");
}

/* From a rule or a schedule it may be anything that is an event; from a client no source of AWS's own. */
static int put_add(struct buses *b, struct store_tx *tx, struct bus_event *ev, struct err *e)
{
	struct target_event te = {.trace_id = ev->trace_id, .ingested_us = clock_wall_us()};
	auto_buf text = {0};
	char bus[257];

	if (check_event(ev, e) < 0)
		return -1;
	if (!ev->id[0])
		id_uuid(ev->id);
	if (!ev->time_us)
		ev->time_us = te.ingested_us;
	if (!bus_name(b, ev->bus, bus))
		return 0;
	put_event(b, &text, ev);
	auto_json json = json_parse(buf_str(&text), e);

	if (!json)
		return -1;
	te.text = buf_str(&text);
	te.json = json;
	match(b, bus, 's', ev->source, &te, tx);
	match(b, bus, 't', ev->type, &te, tx);
	match(b, bus, 0, STR_NULL, &te, tx);
	return 0;
}

int bus_put_add(struct buses *b, struct store_tx *tx, struct bus_event *ev, struct err *e)
{
	if (str_starts(ev->source, "aws.") || str_eqc(ev->source, "aws"))
		return err_set(e, ERR_DENIED, "Not authorized for the source.");
	return put_add(b, tx, ev, e);
}

static bool exists(void *arg, const char *target)
{
	char bus[257];

	return strstr(target, ":event-bus/") && bus_name(arg, str_of(target), bus);
}

/* From a schedule with what its detail is; from a rule a whole event, which keeps its id. */
static int add(void *arg, struct store_tx *tx, const struct delivery *what, struct err *e)
{
	struct bus_event ev = {.bus = str_of(what->target),
			       .source = json_get_str(what->params, "Source"),
			       .type = json_get_str(what->params, "DetailType"),
			       .resources = json_get(what->params, "Resources"),
			       .detail = what->payload,
			       .trace_id = what->trace_id};
	auto_json j = NULL;
	auto_free char *detail = NULL;

	if (!exists(arg, what->target))
		return err_set(e, ERR_NOT_FOUND, "there is no event bus %s", what->target);
	if (!ev.source.n) {
		j = json_parse(what->payload, e);
		if (!j)
			return -1;
		detail = json_get(j, "detail") ? json_text(json_get(j, "detail")) : NULL;
		ev.source = json_get_str(j, "source");
		ev.type = json_get_str(j, "detail-type");
		ev.detail = str_of(detail);
		ev.resources = json_type(json_get(j, "resources")) == JSON_ARRAY ? json_get(j, "resources") : NULL;
		if (json_get_str(j, "id").n < sizeof(ev.id))
			strlcpy_(ev.id, json_get_str(j, "id").n ? json_get_str(j, "id").p : "", sizeof(ev.id));
	}
	return put_add(arg, tx, &ev, e);
}

int buses_new(const struct buses_opts *o, struct buses **ret, struct err *e)
{
	struct buses *b = xcalloc(1, sizeof(*b));

	b->o = *o;
	if (!record_get(o->store, "bus/default"))
		record_put(o->store, NULL, "bus/default", "{}");
	for (const struct record *rec = NULL; (rec = record_next(o->store, "bus/", rec ? rec->key : NULL));)
		b->n_buses++;
	for (const struct record *rec = NULL; (rec = record_next(o->store, "rule/", rec ? rec->key : NULL));) {
		struct str bus, name;
		struct rule *r;

		str_cut(str_of(rec->key + sizeof("rule/") - 1), '/', &bus, &name);
		auto_free char *n = str_dup(bus);

		r = rule_new(b, n, name, json_parse(str_of(rec->value), NULL));
		if (check_rule(r, e) < 0) {
			log_error("events", "%s, as it was kept: %s", rec->key, e->text);
			rule_free(r);
			continue;
		}
		map_put(&b->rules, str_of(r->due.key), r);
		rule_begin(r, false, NULL);
	}
	deliver_register(o->deliver, &(struct deliver_service){"events", b, exists, add});
	*ret = b;
	return 0;
}

void buses_free(struct buses *b)
{
	struct rule *r;

	if (!b)
		return;
	for (size_t pos = 0; (r = map_next(&b->rules, &pos));)
		rule_end(r);
	for (size_t pos = 0; (r = map_next(&b->rules, &pos));)
		rule_free(r);
	map_done(&b->rules);
	map_done(&b->places);
	free(b);
}
