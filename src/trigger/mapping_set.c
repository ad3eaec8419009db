/* SPDX-License-Identifier: Apache-2.0 */
/* What a mapping is told: read, checked in AWS's words, and written again. */
#include <ctype.h>
#include <stdio.h>
#include "base/mem.h"
#include "store/version.h"
#include "trigger/mapping_int.h"

#define FILTERS	      10
#define BATCH_AT_ONCE 10 /* of a queue without a window */
#define NONE	      INT64_MIN

static const struct number {
	const char *name;
	int64_t lo, hi, queue, stream; /* the two: defaults; NONE: not for those */
} mapping_numbers[MAPPING_N] = {
	[MAPPING_BATCH] = {"BatchSize", 1, 10000, 10, 100},
	[MAPPING_WINDOW] = {"MaximumBatchingWindowInSeconds", 0, 300, 0, 0},
	[MAPPING_RETRIES] = {"MaximumRetryAttempts", -1, 10000, NONE, -1},
	[MAPPING_MAX_AGE] = {"MaximumRecordAgeInSeconds", -1, 604800, NONE, -1},
	[MAPPING_PARALLEL] = {"ParallelizationFactor", 1, 10, NONE, 1},
	[MAPPING_TUMBLING] = {"TumblingWindowInSeconds", 0, 900, NONE, 0},
};

/* A value that cannot be: as Lambda says it (ValidationException). */
static int out_of_bounds(struct err *e, const char *member, const char *value, const char *must)
{
	return err_set(e, ERR_LIMIT,
		       "1 validation error detected: Value %s at '%c%s' failed to satisfy constraint: Member must %s",
		       value, tolower(member[0]), member + 1, must);
}

static int read_numbers(const struct json *doc, struct mapping_set *set, struct err *e)
{
	for (int i = 0; i < MAPPING_N; i++) {
		const struct number *n = &mapping_numbers[i];
		const struct json *j = json_get(doc, n->name);
		int64_t dflt = set->stream ? n->stream : n->queue, v = json_int(j, dflt);
		char value[32], must[80];

		set->number[i] = v;
		if (!j)
			continue;
		if (dflt == NONE)
			return err_set(e, ERR_INVALID, "%s is not valid for SQS event sources.", n->name);
		snprintf(value, sizeof(value), "'%lld'", (long long)v);
		snprintf(must, sizeof(must), "have value %s than or equal to %lld", v < n->lo ? "greater" : "less",
			 (long long)(v < n->lo ? n->lo : n->hi));
		if (v < n->lo || v > n->hi)
			return out_of_bounds(e, n->name, value, must);
	}
	if (set->stream && set->number[MAPPING_MAX_AGE] >= 0 && set->number[MAPPING_MAX_AGE] < 60)
		return err_set(e, ERR_INVALID, "MaximumRecordAgeInSeconds must be -1 or from 60 to 604800.");
	if (set->number[MAPPING_TUMBLING] > 0)
		return err_set(e, ERR_INVALID, "TumblingWindowInSeconds is not supported by this Tandem.");
	return 0;
}

static int read_function(struct mappings *all, struct mapping_set *set, struct str arn, struct err *e)
{
	auto_free char *head = xasprintf("arn:aws:lambda:%s:%s:function:", all->o.region, all->o.account);
	struct str name, qualifier = STR_NULL;
	struct function *f = NULL;

	if (str_starts(arn, head)) {
		name = (struct str){arn.p + strlen(head), arn.n - strlen(head)};
		str_cut(name, ':', &name, &qualifier);
		f = function_get(all->o.store, name);
	}
	if (str_eqc(qualifier, "$LATEST"))
		qualifier = STR_NULL;
	if ((!f || (qualifier.n && !function_resolve(f, qualifier, 0))) && !set->lenient)
		return err_set(e, ERR_NOT_FOUND, "Function not found: %.*s", (int)(arn.n < 250 ? arn.n : 250),
			       arn.p ? arn.p : "");
	snprintf(set->function, sizeof(set->function), STR_FMT, STR_ARG(name));
	snprintf(set->qualifier, sizeof(set->qualifier), STR_FMT, STR_ARG(qualifier));
	set->function_arn = xasprintf("%s%s%s%s", head, set->function, qualifier.n ? ":" : "", set->qualifier);
	return 0;
}

static int read_queue(struct mappings *all, const struct json *doc, struct mapping_set *set, struct err *e)
{
	struct queue *q = queue_by_arn(all->o.queues, str_of(set->source));
	const struct function *f = function_get(all->o.store, str_of(set->function));
	const struct json *scaling = json_get(json_get(doc, "ScalingConfig"), "MaximumConcurrency");
	auto_buf visible = {0};
	char value[32];
	int64_t seconds;

	set->concurrency = json_int(scaling, 0);
	snprintf(value, sizeof(value), "'%lld'", (long long)set->concurrency);
	if (scaling && (set->concurrency < 2 || set->concurrency > 1000))
		return out_of_bounds(e, "ScalingConfig.MaximumConcurrency", value,
				     set->concurrency < 2 ? "have value greater than or equal to 2"
							  : "have value less than or equal to 1000");
	set->concurrency = set->concurrency ? set->concurrency : 1000;
	if (json_get_str(doc, "StartingPosition").n)
		return err_set(e, ERR_INVALID, "StartingPosition is not valid for SQS event sources.");
	set->fifo = str_ends(str_of(set->source), ".fifo");
	if (!q && set->lenient)
		return 0;
	if (!q)
		return err_set(e, ERR_INVALID,
			       "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService."
			       "NonExistentQueue. SQS Error Message: The specified queue does not exist.");
	if (set->fifo && (set->number[MAPPING_BATCH] > QUEUE_FIFO_BATCH || set->number[MAPPING_WINDOW]))
		return err_set(e, ERR_INVALID, "%s",
			       set->number[MAPPING_WINDOW] ? "Batching window is not supported for FIFO queues."
							   : "Maximum batch size of a FIFO queue is 10.");
	if (set->number[MAPPING_BATCH] > BATCH_AT_ONCE && !set->number[MAPPING_WINDOW])
		return err_set(
			e, ERR_INVALID,
			"Maximum batch window in seconds must be greater than 0 if maximum batch size is greater "
			"than 10");
	if (f && f->latest && queue_attribute(q, "VisibilityTimeout", &visible) &&
	    str_to_i64(buf_str(&visible), 0, INT64_MAX, &seconds) == 0 && seconds < f->latest->timeout_s)
		return err_set(e, ERR_INVALID,
			       "Queue visibility timeout: %lld seconds is less than Function timeout: %d seconds",
			       (long long)seconds, f->latest->timeout_s);
	return 0;
}

static int read_stream(struct mappings *all, const struct json *doc, struct mapping_set *set, struct err *e)
{
	struct str at = json_get_str(doc, "StartingPosition");
	double time = json_real(json_get(doc, "StartingPositionTimestamp"), -1);
	char value[40];

	snprintf(value, sizeof(value), at.n ? "'%.*s'" : "null", (int)(at.n < 30 ? at.n : 30), at.p);
	if (!stream_by_arn(all->o.streams, str_of(set->source)) && !set->lenient)
		return err_set(e, ERR_INVALID, "Stream not found: %s", set->source);
	if (!at.n)
		return out_of_bounds(e, "StartingPosition", value, "not be null");
	if (str_eqc(at, "LATEST"))
		set->from = streams_latest(all->o.streams) + 1;
	else if (str_eqc(at, "AT_TIMESTAMP"))
		set->from = (int64_t)(time * 1000000);
	else if (!str_eqc(at, "TRIM_HORIZON"))
		return out_of_bounds(e, "StartingPosition", value,
				     "satisfy enum value set: [LATEST, AT_TIMESTAMP, TRIM_HORIZON]");
	if (str_eqc(at, "AT_TIMESTAMP") && !(time >= 0 && time < 1e11))
		return err_set(e, ERR_INVALID, "StartingPositionTimestamp is needed for AT_TIMESTAMP, as seconds.");
	set->from = json_get_int(doc, "from_us", set->from);
	return 0;
}

static int read_filters(const struct json *doc, struct mapping_set *set, struct err *e)
{
	const struct json *all = json_get(json_get(doc, "FilterCriteria"), "Filters");
	size_t n = json_len(all);

	if (n > FILTERS)
		return err_set(e, ERR_INVALID, "There are %zu filters, and may be %d.", n, FILTERS);
	set->filters = xcalloc(n, sizeof(struct pattern *));
	while (set->n_filters < n) {
		auto_json text = json_parse(json_get_str(json_at(all, set->n_filters), "Pattern"), NULL);
		struct pattern *p = text ? pattern_parse(text, NULL) : NULL;

		if (!p)
			return err_set(e, ERR_INVALID, "Invalid filter pattern definition.");
		set->filters[set->n_filters++] = p;
	}
	return 0;
}

int mapping_set_read(struct mappings *all, const struct json *doc, bool lenient, struct mapping_set *ret, struct err *e)
{
	struct str source = json_get_str(doc, "EventSourceArn"),
		   failure = json_get_str(json_get(json_get(doc, "DestinationConfig"), "OnFailure"), "Destination");
	const struct json *types = json_get(doc, "FunctionResponseTypes");
	struct mapping_set s = {
		.doc = json_ref(doc), .lenient = lenient, .enabled = json_get_bool(doc, "Enabled", true)};

	s.source = str_dup(source);
	s.stream = str_starts(source, "arn:aws:kinesis:");
	s.bisect = json_get_bool(doc, "BisectBatchOnFunctionError", false);
	s.on_failure = failure.n ? str_dup(failure) : NULL;
	for (size_t i = 0; i < json_len(types); i++)
		s.partial |= str_eqc(json_str(json_at(types, i)), "ReportBatchItemFailures");
	if (!s.stream && !str_starts(source, "arn:aws:sqs:"))
		err_set(e, ERR_INVALID, "Unrecognized event source, must be a queue of SQS or a stream of Kinesis.");
	else if (s.on_failure && (!s.stream || (!lenient && !deliver_exists(all->o.deliver, s.on_failure))))
		err_set(e, ERR_INVALID,
			s.stream ? "The destination %.200s is not there."
				 : "Unsupported DestinationConfig "
				   "parameter for given event source mapping type: %.200s",
			s.on_failure);
	else if (read_numbers(doc, &s, e) == 0 && read_function(all, &s, json_get_str(doc, "FunctionArn"), e) == 0 &&
		 (s.stream ? read_stream(all, doc, &s, e) : read_queue(all, doc, &s, e)) == 0 &&
		 read_filters(doc, &s, e) == 0) {
		*ret = s;
		return 0;
	}
	mapping_set_done(&s);
	return -1;
}

void mapping_set_done(struct mapping_set *s)
{
	for (size_t i = 0; i < s->n_filters; i++)
		pattern_free(s->filters[i]);
	free(s->filters);
	free(s->source);
	free(s->function_arn);
	free(s->on_failure);
	json_free(s->doc);
	*s = (struct mapping_set){0};
}

static void copy(struct jw *w, const struct json *doc, const char *name)
{
	const struct json *j = json_get(doc, name);
	auto_free char *text = json_len(j) ? json_text(j) : NULL;

	if (text)
		jw_raw(w, name, str_of(text));
}

void mapping_set_write(struct jw *w, const struct mapping_set *s)
{
	const struct json *time = json_get(s->doc, "StartingPositionTimestamp");

	jw_strc(w, "EventSourceArn", s->source);
	jw_strc(w, "FunctionArn", s->function_arn);
	for (int i = 0; i < MAPPING_N; i++)
		if ((s->stream ? mapping_numbers[i].stream : mapping_numbers[i].queue) != NONE)
			jw_int(w, mapping_numbers[i].name, s->number[i]);
	if (s->stream) {
		jw_str(w, "StartingPosition", json_get_str(s->doc, "StartingPosition"));
		if (time)
			jw_real(w, "StartingPositionTimestamp", json_real(time, 0));
		jw_bool(w, "BisectBatchOnFunctionError", s->bisect);
	}
	jw_raw(w, "FunctionResponseTypes", s->partial ? STR("[\"ReportBatchItemFailures\"]") : STR("[]"));
	if (s->on_failure)
		copy(w, s->doc, "DestinationConfig");
	if (s->n_filters)
		copy(w, s->doc, "FilterCriteria");
	copy(w, s->doc, "ScalingConfig");
}
