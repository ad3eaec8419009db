/* SPDX-License-Identifier: Apache-2.0 */
#include "trigger/outcome.h"

#include "base/clock.h"
#include "base/mem.h"
#include "store/record.h"

#define MESSAGE_BYTES 1024 /* Lambda: of ErrorMessage */

char *outcome_key(const char *function, const char *qualifier)
{
	return xasprintf("async/%s:%s", function, qualifier[0] ? qualifier : "$LATEST");
}

/* --- what is declared --- */

static int check_range(const struct json *doc, const char *member, int64_t min, int64_t max, struct err *e)
{
	const struct json *j = json_get(doc, member);
	int64_t n = json_int(j, min - 1);

	if (!j || (n >= min && n <= max))
		return 0;
	return err_set(e, ERR_INVALID, "%s is a whole number from %lld to %lld", member, (long long)min,
		       (long long)max);
}

static int check_destination(struct deliver *d, const struct json *doc, const char *which, const char *own,
			     struct err *e)
{
	static const char *const kinds[] = {"arn:aws:lambda:", "arn:aws:sqs:", "arn:aws:sns:", "arn:aws:events:"};
	struct str to = json_get_str(json_get(json_get(doc, "DestinationConfig"), which), "Destination");
	bool known = false;

	if (!to.n)
		return 0;
	if (str_ends(to, own))
		return err_set(e, ERR_INVALID, "You can't specify the function as a destination for itself.");
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		known |= str_starts(to, kinds[i]);
	if (!known || !deliver_exists(d, to.p))
		return err_set(
			e, ERR_NOT_FOUND,
			"The destination ARN %s is invalid: there is no such function, queue, topic or event bus.",
			to.p);
	return 0;
}

static void put_destination(struct jw *w, const struct json *doc, const char *which)
{
	struct str to = json_get_str(json_get(json_get(doc, "DestinationConfig"), which), "Destination");

	jw_obj(w, which);
	if (to.n)
		jw_str(w, "Destination", to);
	jw_end(w, '}');
}

int outcome_put(struct deliver *d, struct store *s, const char *function, const char *qualifier, const struct json *doc,
		const char *project, struct store_tx *tx, struct err *e)
{
	static const char *const numbers[] = {"MaximumRetryAttempts", "MaximumEventAgeInSeconds"};
	auto_free char *key = outcome_key(function, qualifier),
		       *own = xasprintf(":function:%s", key + strlen("async/"));
	auto_buf b = {0};
	struct jw w = jw_object(&b);

	if (!qualifier[0])
		strrchr(own, ':')[0] = '\0';
	if (check_range(doc, numbers[0], 0, 2, e) < 0 || check_range(doc, numbers[1], 60, 21600, e) < 0 ||
	    check_destination(d, doc, "OnSuccess", own, e) < 0 || check_destination(d, doc, "OnFailure", own, e) < 0)
		return -1;
	jw_real(&w, "LastModified", (double)(clock_wall_us() / 1000) / 1000);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (json_get(doc, numbers[i]))
			jw_int(&w, numbers[i], json_get_int(doc, numbers[i], 0));
	jw_obj(&w, "DestinationConfig");
	put_destination(&w, doc, "OnSuccess");
	put_destination(&w, doc, "OnFailure");
	jw_end(&w, '}');
	if (project)
		jw_strc(&w, "project", project);
	jw_end(&w, '}');
	record_put_add(s, tx, key, b.p);
	return 0;
}

/* --- what follows --- */

static const char *const condition_name[] = {[ASYNC_SUCCESS] = "Success",
					     [ASYNC_RETRIES_EXHAUSTED] = "RetriesExhausted",
					     [ASYNC_TOO_OLD] = "EventAgeExceeded",
					     [ASYNC_ZERO_RESERVED] = "ZeroReservedConcurrency"};

/* Lambda's record of an invocation. */
static void write_record(struct buf *b, const struct async_over *o, const char *arn, bool whole)
{
	char text[32];
	struct jw w = jw_object(b);

	jw_strc(&w, "version", "1.0");
	jw_strc(&w, "timestamp", clock_fmt_iso(clock_wall_us(), text));
	jw_obj(&w, "requestContext");
	jw_strc(&w, "requestId", o->event->request_id);
	jw_strc(&w, "functionArn", arn);
	jw_strc(&w, "condition", condition_name[o->condition]);
	jw_int(&w, "approximateInvokeCount", o->event->attempts);
	jw_end(&w, '}');
	if (whole)
		jw_raw(&w, "requestPayload", (struct str){o->event->payload, o->event->payload_n});
	if (o->condition == ASYNC_SUCCESS || (o->condition == ASYNC_RETRIES_EXHAUSTED && o->revision)) {
		jw_obj(&w, "responseContext");
		jw_int(&w, "statusCode", 200);
		jw_strc(&w, "executedVersion", o->revision ? revision_version(o->revision, text) : "$LATEST");
		if (o->condition != ASYNC_SUCCESS)
			jw_strc(&w, "functionError", "Unhandled");
		jw_end(&w, '}');
		if (whole && o->response.n && json_check(o->response, NULL) < 0) /* a runtime may say anything */
			jw_str(&w, "responsePayload", o->response);
		else if (whole)
			jw_raw(&w, "responsePayload", o->response.n ? o->response : STR("null"));
	}
	jw_end(&w, '}');
}

/* An event bus wants to know what it is that it gets. */
static struct json *bus_params(const struct async_over *o, const char *to, const char *arn)
{
	auto_buf b = {0};
	struct jw w = jw_object(&b);

	jw_strc(&w, "Source", "lambda");
	jw_strc(&w, "DetailType",
		o->condition == ASYNC_SUCCESS ? "Lambda Function Invocation Result - Success"
					      : "Lambda Function Invocation Result - Failure");
	jw_arr(&w, "Resources");
	jw_strc(&w, NULL, to);
	jw_strc(&w, NULL, arn);
	jw_end(&w, ']');
	jw_end(&w, '}');
	return json_parse(buf_str(&b), NULL);
}

static void tell(struct deliver *d, struct store_tx *tx, const struct async_over *o, const char *to)
{
	auto_free char *own = deliver_function_arn(d, o->function->name, o->event->qualifier);
	auto_json params = str_starts(str_of(to), "arn:aws:events:") ? bus_params(o, to, own) : NULL;
	struct delivery what = {.target = to, .params = params, .trace_id = o->event->trace_id, .retries = -1};
	auto_buf b = {0};
	struct err e;

	write_record(&b, o, own, true);
	what.payload = buf_str(&b);
	if (deliver_add(d, tx, &what, &e) == 0 || (e.kind != ERR_LIMIT && e.kind != ERR_INVALID))
		return;
	buf_clear(&b); /* too long with its payloads */
	write_record(&b, o, own, false);
	what.payload = buf_str(&b);
	deliver_add(d, tx, &what, &e);
}

static void put_attribute(struct jw *w, const char *name, const char *type, struct str value)
{
	jw_obj(w, name);
	jw_strc(w, "DataType", type);
	jw_str(w, "StringValue", value);
	jw_end(w, '}');
}

/* The event as it came, and why it is there as attributes. */
static void dead_letter(struct deliver *d, struct store_tx *tx, const struct async_over *o, const char *to)
{
	auto_json response = o->response.n ? json_parse(o->response, NULL) : NULL;
	struct str message = json_get_str(response, "errorMessage");
	struct delivery what = {.target = to,
				.payload = {o->event->payload, o->event->payload_n},
				.trace_id = o->event->trace_id,
				.retries = -1};
	auto_json params = NULL;
	auto_buf b = {0};
	struct jw w = jw_object(&b);
	struct err e;

	if (!message.n)
		message = o->e && o->e->text[0] ? str_of(o->e->text) : str_of(condition_name[o->condition]);
	if (message.n > MESSAGE_BYTES)
		message.n = MESSAGE_BYTES;
	jw_obj(&w, "MessageAttributes");
	put_attribute(&w, "RequestID", "String", str_of(o->event->request_id));
	put_attribute(&w, "ErrorCode", "Number", STR("200"));
	put_attribute(&w, "ErrorMessage", "String", message);
	jw_end(&w, '}');
	jw_end(&w, '}');
	what.params = params = json_parse(buf_str(&b), NULL);
	deliver_add(d, tx, &what, &e);
}

void outcome_add(struct deliver *d, const struct store *s, const struct async_over *o, struct store_tx *tx)
{
	bool ok = o->condition == ASYNC_SUCCESS;
	const struct revision *r = o->revision ? o->revision : o->function->latest;
	auto_free char *key = outcome_key(o->function->name, o->event->qualifier);
	const char *text = record_get(s, key);
	auto_json doc = text ? json_parse(str_of(text), NULL) : NULL;
	struct str to = json_get_str(json_get(json_get(doc, "DestinationConfig"), ok ? "OnSuccess" : "OnFailure"),
				     "Destination");

	if (to.n)
		tell(d, tx, o, to.p);
	if (!ok && r->dead_letter)
		dead_letter(d, tx, o, r->dead_letter);
}
