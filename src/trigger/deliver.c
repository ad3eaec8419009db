/* SPDX-License-Identifier: Apache-2.0 */
#include "trigger/deliver.h"
#include <stdio.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "store/version.h"
#include "trigger/outcome.h"

#define SERVICES_MAX 8
#define DEPTH_MAX    4	 /* a bus that leads to a topic that leads to a queue is 3 */
#define FAILURES_MAX 256 /* targets; the oldest are forgotten */
#define DAY_US	     (24 * 3600 * 1000000ll)
#define RETRIES	     185 /* with DAY_US: EventBridge's own defaults */

struct deliver {
	struct deliver_opts o;
	struct sched *s;
	struct async_hooks hooks;
	struct deliver_service services[SERVICES_MAX];
	unsigned n_services, depth;
	struct list failures; /* the last one first */
	unsigned n_failures;
};

/* The part of an ARN that names the service, 2; region, 3; account, 4. */
static struct str part(const char *arn, int n)
{
	struct str rest = str_of(arn), one = STR_NULL;

	while (n-- >= 0)
		if (!str_next(&rest, ':', &one))
			return STR_NULL;
	return one;
}

static const struct deliver_service *service_of(const struct deliver *d, const char *arn)
{
	struct str name = part(arn, 2);

	for (unsigned i = 0; i < d->n_services; i++)
		if (str_eqc(name, d->services[i].name))
			return &d->services[i];
	return NULL;
}

/* --- functions, queues, streams --- */

/* arn:aws:lambda:REGION:ACCOUNT:function:NAME[:QUALIFIER] */
static struct function *function_of(const struct deliver *d, const char *arn, struct str *ret_qualifier)
{
	auto_free char *prefix = xasprintf("arn:aws:lambda:%s:%s:function:", d->o.region, d->o.account);
	struct str name;
	struct function *f;

	*ret_qualifier = STR("");
	if (!str_starts(str_of(arn), prefix))
		return NULL;
	name = str_of(arn + strlen(prefix));
	str_cut(name, ':', &name, ret_qualifier);
	f = function_get(d->o.store, name);
	return f && function_resolve(f, *ret_qualifier, 0) ? f : NULL;
}

static bool function_exists(void *arg, const char *arn)
{
	struct str q;

	return function_of(arg, arn, &q) != NULL;
}

static int function_add(void *arg, struct store_tx *tx, const struct delivery *what, struct err *e)
{
	struct deliver *d = arg;
	struct str q;
	struct function *f = function_of(d, what->target, &q);

	if (!f)
		return err_set(e, ERR_NOT_FOUND, "there is no function %s", what->target);
	if (what->payload.n > LIM_ASYNC_PAYLOAD_BYTES)
		return err_set(e, ERR_LIMIT, "an event for a function has at most %d bytes", LIM_ASYNC_PAYLOAD_BYTES);
	sched_async_add(d->s, tx,
			&(struct async_new){.function = f,
					    .qualifier = q.p,
					    .payload = what->payload,
					    .trace_id = what->trace_id,
					    .request_id = what->request_id});
	return 0;
}

static bool queue_exists(void *arg, const char *arn)
{
	struct deliver *d = arg;

	return queue_by_arn(d->o.queues, str_of(arn)) != NULL;
}

static int queue_add(void *arg, struct store_tx *tx, const struct delivery *what, struct err *e)
{
	struct deliver *d = arg;
	struct queue *q = queue_by_arn(d->o.queues, str_of(what->target));
	struct queue_message m = {.body = what->payload,
				  .attributes = json_get(what->params, "MessageAttributes"),
				  .group = json_get_str(what->params, "MessageGroupId"),
				  .deduplication = json_get_str(what->params, "MessageDeduplicationId"),
				  .sender = str_of(d->o.account),
				  .trace = str_of(what->trace_id),
				  .delay_s = -1};

	if (!q)
		return err_set(e, ERR_NOT_FOUND, "there is no queue %s", what->target);
	if (queue_is_fifo(q) && !m.group.n)
		return err_set(e, ERR_INVALID, "the queue %s is a FIFO queue, and no MessageGroupId is said",
			       what->target);
	if (queue_is_fifo(q) && !m.deduplication.n) /* the same event twice is twice the same request */
		m.deduplication = str_of(what->request_id);
	return queue_send_add(q, tx, &m, e);
}

static bool stream_exists(void *arg, const char *arn)
{
	struct deliver *d = arg;

	return stream_by_arn(d->o.streams, str_of(arn)) != NULL;
}

static int stream_add(void *arg, struct store_tx *tx, const struct delivery *what, struct err *e)
{
	struct deliver *d = arg;
	struct stream *s = stream_by_arn(d->o.streams, str_of(what->target));
	struct str key = json_get_str(what->params, "PartitionKey");

	if (!s)
		return err_set(e, ERR_NOT_FOUND, "there is no stream %s", what->target);
	return stream_put_add(s, tx,
			      &(struct stream_record){.key = key.n ? key : str_of(what->request_id),
						      .data = what->payload,
						      .trace = str_of(what->trace_id)},
			      STR_NULL, NULL, e);
}

static int hand_over(struct deliver *d, struct store_tx *tx, const struct delivery *what, struct err *e)
{
	const struct deliver_service *sv = service_of(d, what->target);
	int r;

	if (!sv)
		return err_set(e, ERR_NOT_FOUND, "%s is nothing that can take an event", what->target);
	tx->delivered += what->payload.n > LIM_DELIVERY_LEAST ? what->payload.n : LIM_DELIVERY_LEAST;
	if (tx->delivered > LIM_DELIVERIES_BYTES)
		return err_set(e, ERR_LIMIT, "what is accepted together leads to more than %d MiB",
			       LIM_DELIVERIES_BYTES >> 20);
	if (d->depth == DEPTH_MAX)
		return err_set(e, ERR_INVALID, "it has come through %d topics and buses already", DEPTH_MAX);
	d->depth++;
	r = sv->add(sv->arg, tx, what, e);
	d->depth--;
	return r;
}

/* --- what fails --- */

static const char *whom(const struct delivery *what)
{
	const char *task = json_get_str(json_get(what->params, "EcsParameters"), "TaskDefinitionArn").p;

	return task ? task : what->target ? what->target : "nobody";
}

static void forget(struct deliver *d, struct deliver_failure *f)
{
	list_del(&f->node);
	free(f->target);
	free(f);
	d->n_failures--;
}

/* more: it is lost. */
static void note(struct deliver *d, const char *target, int more, const struct err *e)
{
	struct deliver_failure *f = (struct deliver_failure *)deliver_failure(d, target);

	if (more)
		log_warn("deliver", "to %s: %s", target, e->text);
	if (!f && d->n_failures == FAILURES_MAX)
		forget(d, list_last(&d->failures, struct deliver_failure, node));
	if (f) {
		list_del(&f->node);
	} else {
		f = xcalloc(1, sizeof(*f));
		f->target = xstrdup(target);
		d->n_failures++;
	}
	list_push_front(&d->failures, &f->node);
	f->n += more;
	f->last_wall_us = clock_wall_us();
	strlcpy_(f->why, e->text, sizeof(f->why));
}

const struct deliver_failure *deliver_failure(const struct deliver *d, const char *target)
{
	list_each(&d->failures, it)
	{
		struct deliver_failure *f = container_of(it, struct deliver_failure, node);

		if (!strcmp(f->target, target))
			return f;
	}
	return NULL;
}

/* What was put off has gone. */
static void went(struct deliver *d, const struct delivery *what)
{
	struct deliver_failure *f = (struct deliver_failure *)deliver_failure(d, whom(what));

	if (f && !f->n)
		forget(d, f);
}

static void put_attribute(struct jw *w, const char *name, const char *type, struct str value)
{
	jw_obj(w, name);
	jw_strc(w, "DataType", type);
	jw_str(w, "StringValue", value.n ? value : STR("-"));
	jw_end(w, '}');
}

/* As EventBridge does it; condition: of the retries that are used up, or NULL. */
static int dead_letter(struct deliver *d, struct store_tx *tx, const struct delivery *what, int tries,
		       const char *condition, const struct err *why)
{
	static const char *const codes[ERR_N] = {
		[ERR_NOT_FOUND] = "RESOURCE_NOT_FOUND", [ERR_INVALID] = "INVALID_PARAMETER"};
	auto_buf b = {0};
	auto_json params = NULL;
	struct delivery letter = {.target = what->dead_letter, .payload = what->payload, .trace_id = what->trace_id};
	struct jw w = jw_object(&b);
	char number[12];
	struct err e;

	if (!what->dead_letter)
		return -1;
	snprintf(number, sizeof(number), "%d", tries - 1);
	jw_strc(&w, "MessageGroupId", "dead-letter");
	jw_obj(&w, "MessageAttributes");
	put_attribute(&w, "TARGET_ARN", "String", str_of(what->target));
	put_attribute(&w, "ERROR_CODE", "String", str_of(codes[why->kind] ? codes[why->kind] : "TARGET_FAILED"));
	put_attribute(&w, "ERROR_MESSAGE", "String", str_of(why->text));
	if (condition) {
		put_attribute(&w, "EXHAUSTED_RETRY_CONDITION", "String", str_of(condition));
		put_attribute(&w, "RETRY_ATTEMPTS", "Number", str_of(number));
	}
	jw_end(&w, '}');
	jw_end(&w, '}');
	letter.params = params = json_parse(buf_str(&b), NULL);
	memcpy(letter.request_id, what->request_id, sizeof(letter.request_id));
	if (hand_over(d, tx, &letter, &e) == 0)
		return 0;
	note(d, what->dead_letter, 1, &e);
	return -1;
}

/* --- the way --- */

/* Its next try is durable with tx. */
static void later(struct deliver *d, struct store_tx *tx, const struct delivery *what)
{
	auto_buf b = {0};
	struct jw w = jw_object(&b);

	jw_strc(&w, "target", what->target);
	jw_str(&w, "payload", what->payload);
	if (what->params) {
		auto_free char *params = json_text(what->params);

		jw_raw(&w, "params", str_of(params));
	}
	if (what->dead_letter)
		jw_strc(&w, "dead_letter", what->dead_letter);
	jw_int(&w, "retries", what->retries < 0 ? RETRIES : what->retries);
	jw_int(&w, "max_age_us", what->max_age_us ? what->max_age_us : DAY_US);
	jw_end(&w, '}');
	sched_async_add(d->s, tx,
			&(struct async_new){.payload = buf_str(&b),
					    .trace_id = what->trace_id,
					    .request_id = what->request_id,
					    .attempts = 1,
					    .wait_us = 1000000});
}

int deliver_add(struct deliver *d, struct store_tx *tx, const struct delivery *given, struct err *e)
{
	struct delivery what = *given;
	struct err why;

	if (!what.request_id[0])
		id_uuid(what.request_id);
	if (hand_over(d, tx, &what, &why) == 0)
		return 0;
	if (why.kind == ERR_UNAVAILABLE && what.retries) {
		later(d, tx, &what);
		note(d, whom(&what), 0, &why);
		return 0;
	}
	if (dead_letter(d, tx, &what, 1, NULL, &why) == 0)
		return 0;
	note(d, whom(&what), 1, &why);
	return err_set(e, why.kind, "%s", why.text);
}

char *deliver_function_arn(const struct deliver *d, const char *name, const char *qualifier)
{
	return xasprintf("arn:aws:lambda:%s:%s:function:%s:%s", d->o.region, d->o.account, name,
			 qualifier[0] ? qualifier : "$LATEST");
}

bool deliver_exists(struct deliver *d, const char *target)
{
	const struct deliver_service *sv = service_of(d, target);

	return sv && sv->exists(sv->arg, target);
}

/* --- what was put off --- */

static struct json *read_doc(const struct store_event *ev, struct delivery *ret)
{
	struct json *j = json_parse((struct str){ev->payload, ev->payload_n}, NULL);

	*ret = (struct delivery){.target = json_get_str(j, "target").p,
				 .payload = json_get_str(j, "payload"),
				 .params = json_get(j, "params"),
				 .dead_letter = json_get_str(j, "dead_letter").p,
				 .trace_id = ev->trace_id[0] ? ev->trace_id : NULL};
	memcpy(ret->request_id, ev->request_id, sizeof(ret->request_id));
	return j;
}

static int again(void *arg, const struct store_event *ev, struct store_tx *tx, struct async_rules *ret, struct err *e)
{
	struct delivery what;
	auto_json j = read_doc(ev, &what);

	*ret = (struct async_rules){(int)json_get_int(j, "retries", 0), json_get_int(j, "max_age_us", DAY_US)};
	if (!what.target)
		return err_set(e, ERR_CORRUPT, "it is no delivery");
	if (hand_over(arg, tx, &what, e) == 0) {
		went(arg, &what);
		return 0;
	}
	if (e->kind == ERR_UNAVAILABLE)
		note(arg, whom(&what), 0, e);
	else
		ret->retries = 0;
	return -1;
}

static void over(void *arg, const struct async_over *o, struct store_tx *tx)
{
	struct deliver *d = arg;
	struct delivery what;
	auto_json j = NULL;

	if (o->function) {
		outcome_add(d, d->o.store, o, tx);
		return;
	}
	j = read_doc(o->event, &what);
	if (!what.target ||
	    dead_letter(d, tx, &what, o->event->attempts,
			o->condition == ASYNC_TOO_OLD ? "MaximumEventAgeInSeconds" : "MaximumRetryAttempts", o->e) < 0)
		note(d, whom(&what), 1, o->e);
	else
		went(d, &what);
}

/* --- */

struct deliver *deliver_new(const struct deliver_opts *o)
{
	struct deliver *d = xcalloc(1, sizeof(*d));

	d->o = *o;
	d->hooks = (struct async_hooks){.arg = d, .over = over, .other = again};
	list_init(&d->failures);
	deliver_register(d, &(struct deliver_service){"lambda", d, function_exists, function_add});
	deliver_register(d, &(struct deliver_service){"sqs", d, queue_exists, queue_add});
	deliver_register(d, &(struct deliver_service){"kinesis", d, stream_exists, stream_add});
	return d;
}

void deliver_free(struct deliver *d)
{
	if (!d)
		return;
	list_each(&d->failures, it) forget(d, container_of(it, struct deliver_failure, node));
	free(d);
}

const struct async_hooks *deliver_hooks(struct deliver *d)
{
	return &d->hooks;
}

void deliver_sched(struct deliver *d, struct sched *s)
{
	d->s = s;
}

void deliver_register(struct deliver *d, const struct deliver_service *s)
{
	if (d->n_services < SERVICES_MAX)
		d->services[d->n_services++] = *s;
}
