/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of mappings, and of one invocation.
 *
 *      OFF ◄────► ON ───► ENDING ───► OFF, ON with what is new, or gone
 *
 *   OFF     disabled, or the daemon does not call functions yet, or no more
 *   ON      the source's file is at work
 *   ENDING  changed or deleted: nothing new begins; for what is under way
 */
#include <stdio.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "store/record.h"
#include "store/version.h"
#include "trigger/mapping_int.h"

/* --- one invocation --- */

static void invoked(struct invocation *inv)
{
	struct batch *b = container_of(inv, struct batch, inv);
	enum invoke_outcome o = inv->outcome;
	struct mapping *m = b->m;

	b->on = false;
	m->worked = true;
	m->all->bytes -= b->payload.n;
	m->problem = o == INVOKE_OK	     ? NULL
		     : o == INVOKE_THROTTLED ? "PROBLEM: Function call was throttled"
		     : o == INVOKE_FAILED    ? "PROBLEM: Function could not be called"
					     : "PROBLEM: Function call failed";
	strlcpy_(m->why, m->problem ? inv->e.text : "", sizeof(m->why));
	if (m->set.stream && !stream_by_arn(m->all->o.streams, str_of(m->set.source)))
		mapping_stream_start(m); /* what was read of it before is done all the same */
	door_batch_end(&b->door, m->all->o.sched, m->set.stream ? "aws_kinesis" : "aws_sqs", m->set.source, b->n,
		       m->problem ? m->problem + strlen("PROBLEM: ") : NULL);
	b->done(b, o == INVOKE_OK				 ? BATCH_OK
		   : o == INVOKE_THROTTLED || o == INVOKE_FAILED ? BATCH_NOT_NOW
								 : BATCH_FAILED);
	/* b may be gone */
}

bool batch_start(struct batch *b)
{
	struct mappings *all = b->m->all;
	struct mapping_set *set = &b->m->set;
	struct function *f = function_get(all->o.store, str_of(set->function));
	struct revision *r = f ? function_resolve(f, str_of(set->qualifier), rand_unit()) : NULL;

	if (!r) {
		b->m->problem = "PROBLEM: Function not found";
		*b->m->why = 0;
		door_batch_done(&b->door);
		return false;
	}
	b->version = r->version;
	door_batch_begin(&b->door, all->o.sched, b->trace);
	b->inv = (struct invocation){.function = f,
				     .revision = r->version ? r : NULL,
				     .qualifier = set->qualifier[0] ? set->qualifier : NULL,
				     .trigger = set->stream ? TRIGGER_STREAM : TRIGGER_QUEUE,
				     .payload = buf_str(&b->payload),
				     .trace_id = b->trace[0] ? b->trace : NULL,
				     .done = invoked};
	id_uuid(b->inv.request_id);
	all->bytes += b->payload.n;
	b->on = true;
	sched_invoke_start(all->o.sched, &b->inv);
	return true;
}

void batch_cancel(struct batch *b)
{
	if (!b->on)
		return;
	b->on = false;
	b->m->all->bytes -= b->payload.n;
	door_batch_done(&b->door);
	sched_invoke_cancel(&b->inv);
}

int64_t mapping_pause_us(unsigned *tries)
{
	unsigned shift = *tries < 10 ? (*tries)++ : 10;
	int64_t us = 100000ll << shift;

	return us < 60000000 ? us : 60000000;
}

/* --- on and off --- */

static void mapping_free(struct mapping *m)
{
	mapping_queue_free(m);
	mapping_stream_free(m);
	mapping_set_done(&m->set);
	mapping_set_done(&m->next);
	list_del(&m->node);
	free(m->project);
	free(m);
}

static void off(struct mapping *m)
{
	if (!m->on)
		return;
	m->on = false;
	if (m->set.stream)
		mapping_stream_stop(m);
	else
		mapping_queue_stop(m);
}

/* Nothing is under way: what is to be. */
static void settle(struct mapping *m)
{
	if (m->under_way || m->on)
		return;
	if (m->gone) {
		mapping_free(m);
		return;
	}
	if (m->next.doc) {
		mapping_set_done(&m->set);
		m->set = m->next;
		m->next = (struct mapping_set){0};
	}
	m->on = m->all->started && m->set.enabled;
	if (m->on && m->set.stream)
		mapping_stream_start(m);
	else if (m->on)
		mapping_queue_start(m);
}

void mapping_begins(struct mapping *m)
{
	m->under_way++;
}

void mapping_ends(struct mapping *m)
{
	m->under_way--;
	settle(m);
}

/* --- documents --- */

struct mapping *mapping_get(struct mappings *all, struct str uuid)
{
	return map_get(&all->by_uuid, uuid);
}

struct mapping *mapping_next(struct mappings *all, const struct mapping *after)
{
	auto_free char *key = after ? xasprintf("mapping/%s", after->uuid) : NULL;
	const struct record *r = record_next(all->o.store, "mapping/", key);
	struct mapping *m = NULL;

	for (; r && !(m = mapping_get(all, str_of(r->key + 8))); r = record_next(all->o.store, "mapping/", r->key))
		; /* one that was left out */
	return m;
}

static const struct mapping_set *set_of(const struct mapping *m)
{
	return m->next.doc ? &m->next : &m->set;
}

const char *mapping_uuid(const struct mapping *m)
{
	return m->uuid;
}

const char *mapping_why(const struct mapping *m)
{
	return m->why;
}

const struct json *mapping_doc(const struct mapping *m)
{
	return set_of(m)->doc;
}

void mapping_write(struct jw *w, const char *key, const struct mapping *m, const char *state)
{
	const struct mapping_set *s = set_of(m);
	auto_free char *arn =
		xasprintf("arn:aws:lambda:%s:%s:event-source-mapping:%s", m->all->o.region, m->all->o.account, m->uuid);

	jw_obj(w, key);
	jw_strc(w, "UUID", m->uuid);
	jw_strc(w, "EventSourceMappingArn", arn);
	mapping_set_write(w, s);
	if (s->stream && !s->on_failure)
		jw_raw(w, "DestinationConfig", STR("{\"OnFailure\":{}}"));
	jw_real(w, "LastModified", (double)(m->modified_us / 1000) / 1000);
	jw_strc(w, "State", state ? state : s->enabled ? "Enabled" : "Disabled");
	jw_strc(w, "StateTransitionReason", s->stream ? "User action" : "USER_INITIATED");
	if (s->stream || m->problem)
		jw_strc(w, "LastProcessingResult", m->problem ? m->problem : m->worked ? "OK" : "No records processed");
	jw_end(w, '}');
}

static void save(struct mapping *m, struct store_tx *tx)
{
	const struct mapping_set *s = set_of(m);
	auto_free char *key = xasprintf("mapping/%s", m->uuid);
	auto_buf b = {0};
	struct jw w = jw_object(&b);

	mapping_set_write(&w, s);
	jw_bool(&w, "Enabled", s->enabled);
	jw_int(&w, "modified_us", m->modified_us);
	jw_int(&w, "from_us", s->from);
	if (m->project)
		jw_strc(&w, "project", m->project);
	jw_end(&w, '}');
	record_put_add(m->all->o.store, tx, key, b.p);
}

static struct mapping *mapping_new(struct mappings *all, struct str uuid)
{
	struct mapping *m = xcalloc(1, sizeof(*m));

	m->all = all;
	snprintf(m->uuid, sizeof(m->uuid), STR_FMT, STR_ARG(uuid));
	list_init(&m->readers);
	list_push(&all->list, &m->node);
	map_put(&all->by_uuid, str_of(m->uuid), m);
	return m;
}

static int check_other(struct mappings *all, const struct mapping *m, const struct mapping_set *set, struct err *e)
{
	struct mapping *x;
	size_t pos = 0;

	while ((x = map_next(&all->by_uuid, &pos)))
		if (x != m && !strcmp(set_of(x)->source, set->source) &&
		    !strcmp(set_of(x)->function_arn, set->function_arn))
			return err_set(e, ERR_EXISTS,
				       "An event source mapping with event source (\"%s\"), function (\"%s\") already "
				       "exists. Please update or delete the existing mapping with UUID %s",
				       set->source, set->function_arn, x->uuid);
	if (!m && all->by_uuid.n >= LIM_MAPPINGS)
		return err_set(e, ERR_INVALID, "There are %d event source mappings already, which is the limit.",
			       LIM_MAPPINGS);
	return 0;
}

int mapping_put(struct mappings *all, struct str uuid, const struct json *doc, const char *project, struct store_tx *tx,
		struct err *e)
{
	struct mapping *m = mapping_get(all, uuid);
	struct mapping_set set;

	if (mapping_set_read(all, doc, false, &set, e) < 0)
		return -1;
	if (check_other(all, m, &set, e) < 0) {
		mapping_set_done(&set);
		return -1;
	}
	if (!m)
		m = mapping_new(all, uuid);
	else
		set.from = set_of(m)->from;
	mapping_set_done(&m->next);
	m->next = set;
	m->modified_us = clock_wall_us();
	if (project) {
		free(m->project);
		m->project = xstrdup(project);
	}
	save(m, tx);
	off(m);
	settle(m);
	return 0;
}

void mapping_delete(struct mapping *m, struct store_tx *tx)
{
	auto_free char *key = xasprintf("mapping/%s", m->uuid);

	record_del_add(m->all->o.store, tx, key);
	mapping_stream_forget(m, tx);
	map_del(&m->all->by_uuid, str_of(m->uuid));
	m->gone = true;
	off(m);
	settle(m);
}

static void stream_changed(void *arg, const char *arn)
{
	struct mappings *all = arg;
	struct mapping *m;
	size_t pos = 0;

	while ((m = map_next(&all->by_uuid, &pos)))
		if (m->on && m->set.stream && !strcmp(m->set.source, arn))
			mapping_stream_start(m);
}

struct mappings *mappings_new(const struct mappings_opts *o)
{
	struct mappings *all = xcalloc(1, sizeof(*all));

	all->o = *o;
	list_init(&all->list);
	streams_on_change(o->streams, stream_changed, all);
	return all;
}

/* A mapping whose function, queue or stream is gone stays, and works again when it is back: only what it says is read. */
void mappings_start(struct mappings *all)
{
	const struct record *r = NULL;

	all->started = true;
	while ((r = record_next(all->o.store, "mapping/", r ? r->key : NULL))) {
		auto_json doc = json_parse(str_of(r->value), NULL);
		struct str project = json_get_str(doc, "project");
		struct mapping_set set;
		struct mapping *m;
		struct err e;

		if (mapping_set_read(all, doc, true, &set, &e) < 0) {
			log_error("mapping", "%s is left out: %s", r->key, e.text);
			continue;
		}
		m = mapping_new(all, str_of(r->key + 8));
		m->next = set;
		m->project = project.n ? str_dup(project) : NULL;
		m->modified_us = json_get_int(doc, "modified_us", 0);
		settle(m);
	}
}

void mappings_drain(struct mappings *all)
{
	struct mapping *m;
	size_t pos = 0;

	all->started = false;
	while ((m = map_next(&all->by_uuid, &pos)))
		off(m);
}

void mappings_free(struct mappings *all)
{
	if (!all)
		return;
	streams_on_change(all->o.streams, NULL, NULL);
	list_each(&all->list, it) mapping_free(container_of(it, struct mapping, node));
	map_done(&all->by_uuid);
	free(all);
}
