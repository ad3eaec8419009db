/* SPDX-License-Identifier: Apache-2.0 */
/* What holds events, and what leads them: how it differs from what is there, and how it is made so. */
#include <stdio.h>
#include "app/apply_int.h"
#include "app/field.h"
#include "base/mem.h"
#include "json/read.h"
#include "json/write.h"
#include "object/object.h"
#include "store/definition.h"
#include "store/record.h"
#include "store/tx.h"
#include "stream/stream.h"

/* ---- what is there ---- */

static struct json *record_json(const struct plan_world *is, const char *key)
{
	const char *text = record_get(is->store, key);

	return text ? json_parse(str_of(text), NULL) : NULL;
}

static const char *project_of(const struct json *doc)
{
	struct str s = json_get_str(doc, "project");

	return s.n ? s.p : "api";
}

static bool is_nothing(const struct json *j)
{
	enum json_type t = json_type(j);

	return t == JSON_STRING ? !json_str(j).n : t == JSON_BOOL ? !json_bool(j, false) : t <= JSON_NULL;
}

struct cover {
	const struct json *have;
	struct plan_entry *en; /* NULL: what differs need not be named */
	bool differs;
};

static bool covers(const struct json *have, const struct json *want);

static int cover_member(void *arg, const char *key, const struct json *want)
{
	struct cover *c = arg, inner = {.have = json_get(c->have, key), .en = c->en};

	if (json_type(want) == JSON_OBJECT)
		json_each(want, cover_member, &inner);
	else if (!covers(inner.have, want))
		inner.differs = true;
	if (inner.differs && c->en && json_type(want) != JSON_OBJECT)
		plan_changed(c->en, xstrdup(key));
	c->differs |= inner.differs;
	return 0;
}

/* Whether have says all that want says; of what want has as nothing it has nothing. */
static bool covers(const struct json *have, const struct json *want)
{
	struct cover c = {.have = have};

	switch (json_type(want)) {
	case JSON_OBJECT:
		json_each(want, cover_member, &c);
		return !c.differs;
	case JSON_ARRAY:
		for (size_t i = 0; i < json_len(want); i++)
			c.differs |= !covers(json_at(have, i), json_at(want, i));
		return !c.differs && json_len(have) == json_len(want);
	case JSON_STRING:
		return str_eq(json_str(have), json_str(want));
	case JSON_INT:
	case JSON_REAL:
		return json_type(have) != JSON_STRING && json_real(have, -2) == json_real(want, -2);
	default:
		return is_nothing(want) ? is_nothing(have) && !json_len(have) : json_bool(have, false);
	}
}

/* ---- the plan ---- */

static int wrong(const struct plan *p, const struct resource *x, struct err *e, const char *text)
{
	return plan_fail(p, x->title, x->line, x->col, e, text);
}

static bool is_there(const struct plan *p, const struct plan_world *is, int kind, struct str name)
{
	const struct manifest *m = p->manifest;
	auto_free char *key =
		kind < RESOURCE_LEADS ? xasprintf("%s" STR_FMT, resource_record[kind], STR_ARG(name)) : NULL;
	auto_definition d = kind == KIND_TASK ? definition_get(is->store, name, 0) : NULL;

	for (size_t i = 0; key && i < m->resources.n; i++)
		if (!strcmp(m->resources.p[i].key, key))
			return true;
	for (size_t i = 0; kind == KIND_FUNCTION && i < m->n; i++)
		if (str_eqc(name, m->functions[i].name))
			return true;
	for (size_t i = 0; kind == KIND_TASK && i < m->n_workloads; i++)
		if (str_eqc(name, m->workloads[i].name))
			return true;
	return d || (kind == KIND_FUNCTION && function_get(is->store, name)) || (key && record_get(is->store, key)) ||
	       (kind == RESOURCE_BUS && str_eqc(name, "default"));
}

static int check_there(const struct plan *p, const struct plan_world *is, int kind, struct str name, struct err *e)
{
	if (is_there(p, is, kind, name))
		return 0;
	return err_set(e, ERR_INVALID, "there is no %s \"%.*s\"; declare it in this file, or make it first",
		       resource_word[kind], (int)(name.n < 128 ? name.n : 128), name.p);
}

int plan_arn(const struct plan *p, const struct plan_world *is, struct str arn, struct err *e)
{
	struct str name;
	int kind = resource_of_arn(arn, &name);

	return kind < 0 ? 0 : check_there(p, is, kind, name, e);
}

/* Where it comes from, by its name, and the document's own ARNs: others stand in quoted texts, which are the user's. */
static int check_ends(const struct plan *p, const struct plan_world *is, const struct resource *x, struct err *e)
{
	static const char redrive[] = "deadLetterTargetArn\\\":\\\"";
	int from = x->kind == RESOURCE_NOTIFICATION   ? RESOURCE_BUCKET
		   : x->kind == RESOURCE_SUBSCRIPTION ? RESOURCE_TOPIC
		   : x->kind == RESOURCE_RULE	      ? RESOURCE_BUS
						      : -1;
	struct err why;

	if (from >= 0 && check_there(p, is, from, (struct str){x->name, strcspn(x->name, "/")}, &why) < 0)
		return wrong(p, x, e, why.text);
	for (const char *at = x->doc; (at = strstr(at, "\"arn:aws:")); at++)
		if ((at[-1] != '\\' || ((size_t)(at + 1 - x->doc) >= strlen(redrive) &&
					!strncmp(at + 1 - strlen(redrive), redrive, strlen(redrive)))) &&
		    plan_arn(p, is, (struct str){at + 1, strcspn(at + 1, "\"\\")}, &why) < 0)
			return wrong(p, x, e, why.text);
	return 0;
}

/* Of a subscription: in the document of its topic. */
static const struct json *subscription_in(const struct json *topic, const struct json *want)
{
	const struct json *all = json_get(topic, "Subscriptions"), *s;

	for (size_t i = 0; (s = json_at(all, i)); i++)
		if (str_eq(json_get_str(s, "Endpoint"), json_get_str(want, "Endpoint")))
			return s;
	return NULL;
}

/* In the words of its declaration: its document has the shards themselves. */
static struct json *stream_json(const struct stream *s)
{
	auto_object(w, text);

	if (!s)
		return NULL;
	jw_strc(&w, "StreamName", s->name);
	jw_int(&w, "ShardCount", (int64_t)s->n_open);
	jw_int(&w, "RetentionPeriodHours", s->retention_us / 3600000000);
	jw_strc(&w, "project", s->project);
	jw_end(&w, '}');
	return json_parse(buf_str(&text), NULL);
}

static struct json *have_of(const struct plan_world *is, const struct resource *x, const struct json *want)
{
	auto_json topic = NULL;
	auto_free char *key = NULL;

	if (x->kind == RESOURCE_STREAM)
		return stream_json(stream_get(is->streams, str_of(x->name)));
	if (x->kind != RESOURCE_SUBSCRIPTION)
		return record_json(is, x->key);
	key = xasprintf("topic/%.*s", (int)(strrchr(x->name, '/') - x->name), x->name);
	topic = record_json(is, key);
	return json_ref(subscription_in(topic, want));
}

int plan_resource(struct plan *p, const struct plan_world *is, const struct resource *x, struct err *e)
{
	struct plan_entry *en = &p->entries[p->n++];
	auto_json want = json_parse(str_of(x->doc), NULL);
	auto_json have = have_of(is, x, want);
	const char *whose = project_of(have);
	struct cover c = {.have = have, .en = en};
	char text[200];

	*en = (struct plan_entry){.is_resource = true,
				  .kind = x->kind,
				  .resource = x,
				  .title = xstrdup(x->title),
				  .key = xstrdup(x->key)};
	if (!want)
		return wrong(p, x, e, "a number in it is too large");
	if (have && x->kind != RESOURCE_NOTIFICATION && strcmp(whose, p->project)) {
		snprintf(text, sizeof(text), "%s \"%.64s\" has one of this name",
			 strcmp(whose, "api") ? "the project" : "what was made through the", whose);
		return wrong(p, x, e, text);
	}
	if (check_ends(p, is, x, e) < 0)
		return -1;
	if (have)
		json_each(want, cover_member, &c);
	en->action = !have ? PLAN_CREATE : c.differs ? PLAN_UPDATE : PLAN_UNCHANGED;
	return 0;
}

static void plan_deletion(struct plan *p, enum resource_kind kind, char *key, char *title)
{
	for (size_t i = 0; p->manifest && i < p->manifest->resources.n; i++)
		if (!strcmp(p->manifest->resources.p[i].key, key)) {
			free(key);
			free(title);
			return;
		}
	p->entries = xrealloc(p->entries, sizeof(*p->entries) * (p->n + 1));
	p->entries[p->n++] = (struct plan_entry){
		.action = PLAN_DELETE, .is_resource = true, .kind = kind, .key = key, .title = title};
}

static void plan_unsubscriptions(struct plan *p, const struct json *topic, const char *name)
{
	const struct json *all = json_get(topic, "Subscriptions"), *s;

	for (size_t i = 0; (s = json_at(all, i)); i++) {
		struct str to = provider_end(s, "Endpoint");

		if (!strcmp(project_of(s), p->project))
			plan_deletion(p, RESOURCE_SUBSCRIPTION,
				      xasprintf("subscription/%s/" STR_FMT, name, STR_ARG(to)),
				      xasprintf("topic %s -> " STR_FMT, name, STR_ARG(to)));
	}
}

void plan_resource_deletions(struct plan *p, const struct plan_world *is)
{
	for (int k = 0; k < RESOURCE_N; k++) {
		const char *prefix = resource_record[k];
		const struct record *x = record_next(is->store, prefix, NULL);

		for (; x; x = record_next(is->store, prefix, x->key)) {
			auto_json doc = json_parse(str_of(x->value), NULL);
			const char *name = x->key + strlen(prefix), *slash = strrchr(name, '/');
			bool ours = k == RESOURCE_NOTIFICATION ? slash && !strcmp(slash + 1, p->project)
							       : !strcmp(project_of(doc), p->project);
			struct str from = provider_end(doc, "EventSourceArn"), to = provider_end(doc, "FunctionArn");

			if (k == RESOURCE_TOPIC)
				plan_unsubscriptions(p, doc, name);
			if (ours)
				plan_deletion(p, (enum resource_kind)k, xstrdup(x->key),
					      k == RESOURCE_MAPPING
						      ? xasprintf(STR_FMT " -> " STR_FMT, STR_ARG(from), STR_ARG(to))
						      : xasprintf("%.*s %s", (int)strlen(prefix) - 1, prefix, name));
		}
	}
}

/* ---- apply ---- */

struct item {
	struct store_tx tx;
	struct bucket_del removal;
	struct apply *a;
	struct plan_entry *entry;
	int64_t started_us;
};

static void told(struct item *it, const struct err *e)
{
	if (e->kind == ERR_CONFLICT && it->entry->action == PLAN_DELETE)
		apply_kept(it->a, it->entry, e->text, it->started_us);
	else
		apply_told(it->a, it->entry, e->kind ? e->text : NULL, it->started_us);
	free(it);
}

static void stored(struct store_op *op, const struct err *e)
{
	struct item *it = container_of(op, struct item, tx.op);
	struct apply *a = it->a;

	if (!op->s)
		return; /* the daemon ends, and all that we would need is gone */
	told(it, e);
	apply_tick(a);
}

static void removed(struct bucket_del *x, const struct err *e)
{
	struct item *it = container_of(x, struct item, removal);
	struct apply *a = it->a;
	struct err why = *e;

	if (e->kind == ERR_CANCELED)
		return; /* as above */
	if (e->kind == ERR_CONFLICT)
		err_set(&why, ERR_CONFLICT, "it stays with its objects; aws s3 rb --force s3://%s removes it", x->name);
	told(it, &why);
	apply_tick(a);
}

/* Whether there are objects is known when they are looked for. */
static void remove_bucket(struct item *it, const char *name)
{
	it->removal.done = removed;
	bucket_del_start(it->a->o.is.objects, &it->removal, name);
}

void provide_start(struct apply *a, struct plan_entry *en)
{
	struct item *it = xcalloc(1, sizeof(*it));
	struct err e = {0};
	auto_json all = en->resource ? json_parse(str_of(en->resource->doc), NULL) : NULL;
	auto_buf text = {0};
	struct jw w;
	int r;

	jw_init(&w, &text);
	provider_nulls(&w, NULL, all);
	auto_json doc = all ? json_parse(buf_str(&text), NULL) : NULL;
	struct what what = {
		&a->o.is, a->o.plan->project, en->key, en->key + strlen(resource_record[en->kind]), doc, &it->tx, &e};

	it->a = a, it->entry = en, it->started_us = apply_begin(a, en);
	if (!doc && en->kind == RESOURCE_BUCKET && bucket_get(a->o.is.objects, str_of(what.name)))
		return remove_bucket(it, what.name);
	store_tx_init(&it->tx);
	it->tx.op.done = stored;
	r = (doc ? provider[en->kind].put : provider[en->kind].del)(&what);
	if (!r)
		return store_tx_start(a->o.is.store, &it->tx);
	store_tx_drop(&it->tx, &e);
	told(it, &e);
}
