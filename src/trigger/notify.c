/* SPDX-License-Identifier: Apache-2.0 */
#include "trigger/notify.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rand.h"
#include "store/record.h"
#include "trigger/deliver.h"

#define PREFIX	  "notify/"
#define RULES_MAX 100 /* of one configuration; S3's */
#define ID_MAX	  255
#define VALUE_MAX 1024 /* of a prefix or suffix: a key's own */

enum { KIND_FUNCTION, KIND_QUEUE, KIND_TOPIC, KIND_BUS, KIND_N };
static const struct {
	const char *list, *arn, *begins;
} kinds[KIND_N] = {
	[KIND_FUNCTION] = {"LambdaFunctionConfigurations", "LambdaFunctionArn", "arn:aws:lambda:"},
	[KIND_QUEUE] = {"QueueConfigurations", "QueueArn", "arn:aws:sqs:"},
	[KIND_TOPIC] = {"TopicConfigurations", "TopicArn", "arn:aws:sns:"},
	[KIND_BUS] = {"EventBridgeConfiguration", NULL, NULL},
};

/* object_event.what, and how the two forms of an event call it. */
static const struct {
	const char *what, *s3, *type, *reason;
} whats[] = {
	{"Put", "ObjectCreated:Put", "Object Created", "PutObject"},
	{"Post", "ObjectCreated:Post", "Object Created", "POST Object"},
	{"Copy", "ObjectCreated:Copy", "Object Created", "CopyObject"},
	{"CompleteMultipartUpload", "ObjectCreated:CompleteMultipartUpload", "Object Created",
	 "CompleteMultipartUpload"},
	{"Delete", "ObjectRemoved:Delete", "Object Deleted", "DeleteObject"},
};
#define REMOVED (1u << 4)

struct rule {
	struct rule *next;
	unsigned kind, what; /* what: bits of places in whats[] */
	char *id, *target, *prefix, *suffix, *project;
	char *text; /* JSON, as the SDKs have it */
};
struct watched {
	char *name;
	struct rule *rules;
};
struct notify {
	struct notify_opts o;
	struct map buckets;
};

static void rules_free(struct rule *r)
{
	for (struct rule *next; r; r = next) {
		next = r->next;
		free(r->id);
		free(r->target);
		free(r->prefix);
		free(r->suffix);
		free(r->project);
		free(r->text);
		free(r);
	}
}

static void rules_free_p(struct rule **r)
{
	rules_free(*r);
}

/* --- a configuration to rules --- */

static unsigned event_bits(struct str name)
{
	unsigned bits = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(whats); i++) {
		const char *one = whats[i].s3;
		struct str all = {one, strcspn(one, ":") + 1};

		if (str_starts(name, "s3:") &&
		    (str_eqc((struct str){name.p + 3, name.n - 3}, one) ||
		     (name.n == all.n + 4 && str_ends(name, ":*") && !memcmp(name.p + 3, all.p, all.n))))
			bits |= 1u << i;
	}
	return bits;
}

static int read_filter(struct rule *r, const struct json *list, struct err *e)
{
	for (size_t i = 0; i < json_len(list); i++) {
		struct str name = json_get_str(json_at(list, i), "Name");
		struct str value = json_get_str(json_at(list, i), "Value");
		bool prefix = str_caseeqc(name, "prefix");
		char **to = prefix ? &r->prefix : &r->suffix;

		if (!prefix && !str_caseeqc(name, "suffix"))
			return err_set(e, ERR_INVALID, "filter rule name must be either prefix or suffix");
		if (*to)
			return err_set(e, ERR_INVALID, "Cannot specify more than one " STR_FMT " rule in a filter.",
				       STR_ARG(name));
		if (value.n > VALUE_MAX)
			return err_set(e, ERR_INVALID, "Size of filter rule value cannot exceed %d bytes", VALUE_MAX);
		*to = str_dup(value);
	}
	return 0;
}

static int read_rule(struct rule *r, const struct json *j, struct err *e)
{
	const struct json *events = json_get(j, "Events"), *filter = json_get(j, "Filter");
	const struct json *list = json_get(json_get(filter, "Key"), "FilterRules");
	struct str id = json_get_str(j, "Id"), target = json_get_str(j, kinds[r->kind].arn);
	auto_free char *names = json_text(events), *filters = json_len(list) ? json_text(list) : NULL;
	auto_buf text = {0};
	char uuid[37];

	id_uuid(uuid);
	r->id = id.n ? str_dup(id) : xstrdup(uuid);
	r->target = str_dup(target);
	if (id.n > ID_MAX || !str_starts(target, kinds[r->kind].begins))
		return err_set(e, ERR_INVALID, "The ARN is not well formed, or the Id has more than %d bytes: %.100s",
			       ID_MAX, r->target);
	if (json_type(events) != JSON_ARRAY || !json_len(events))
		return err_set(e, ERR_INVALID, "A configuration needs at least one event");
	for (size_t i = 0; i < json_len(events); i++) {
		struct str name = json_str(json_at(events, i));

		if (!event_bits(name) && !str_eqc(name, "s3:ObjectRemoved:DeleteMarkerCreated"))
			return err_set(e, ERR_INVALID, "The event '%.*s' is not supported for notifications",
				       (int)(name.n < 80 ? name.n : 80), name.p ? name.p : "");
		r->what |= event_bits(name);
	}
	jw_fmt(&text, "{'Id':%s,%s:%s,'Events':%r", r->id, kinds[r->kind].arn, r->target, names);
	if (filters)
		jw_fmt(&text, ",'Filter':{'Key':{'FilterRules':%r}}", filters);
	buf_addc(&text, '}');
	r->text = buf_take(&text);
	return read_filter(r, list, e);
}

static bool overlap(const struct rule *a, const struct rule *b)
{
	const char *p = a->prefix ? a->prefix : "", *q = b->prefix ? b->prefix : "";
	const char *s = a->suffix ? a->suffix : "", *t = b->suffix ? b->suffix : "";

	return a->what & b->what && (str_starts(str_of(p), q) || str_starts(str_of(q), p)) &&
	       (str_ends(str_of(s), t) || str_ends(str_of(t), s));
}

/* What a file says may overlap: it names all that it starts, and nothing replaces anything by mistake. */
static int check_beside(const struct rule *first, const struct rule *r, struct err *e)
{
	for (const struct rule *o = first; o != r; o = o->next) {
		if (!strcmp(o->id, r->id))
			return err_set(e, ERR_INVALID, "Same ID used for multiple configurations. IDs must be unique");
		if (!*r->project && overlap(o, r))
			return err_set(e, ERR_INVALID,
				       "Configuration is ambiguously defined. Cannot have overlapping suffixes in two "
				       "rules if the prefixes are overlapping for the same event type.");
	}
	return 0;
}

static int rules_read(const struct json *doc, const char *project, struct rule **ret, struct err *e)
{
	auto_(rules_free_p) struct rule *first = NULL;
	struct rule **last = &first, *r;
	size_t n = 0;

	for (unsigned k = 0; k < KIND_N; k++) {
		const struct json *list = json_get(doc, kinds[k].list);
		size_t count = k == KIND_BUS ? list != NULL : json_len(list);

		for (size_t i = 0; i < count; i++, last = &r->next) {
			r = *last = xcalloc(1, sizeof(*r));
			r->kind = k;
			r->project = xstrdup(project);
			if (++n > RULES_MAX)
				return err_set(e, ERR_INVALID, "A bucket has at most %d configurations", RULES_MAX);
			if (k != KIND_BUS && (read_rule(r, json_at(list, i), e) < 0 || check_beside(first, r, e) < 0))
				return -1;
		}
	}
	*ret = take_ptr(first);
	return 0;
}

static void rules_show(const struct rule *rules, const char *project, struct jw *w)
{
	for (unsigned k = 0; k < KIND_N; k++) {
		unsigned n = 0;

		for (const struct rule *r = rules; r; r = r->next) {
			if (r->kind != k || (project && strcmp(r->project, project)))
				continue;
			if (!n++ && k == KIND_BUS)
				jw_raw(w, kinds[k].list, STR("{}"));
			else if (n == 1)
				jw_arr(w, kinds[k].list);
			if (k != KIND_BUS)
				jw_raw(w, NULL, str_of(r->text));
		}
		if (n && k != KIND_BUS)
			jw_end(w, ']');
	}
}

void notify_show(const struct notify *n, const char *bucket, bool all, struct jw *w)
{
	const struct watched *b = map_get(&n->buckets, str_of(bucket));

	if (b)
		rules_show(b->rules, all ? NULL : "", w);
}

/* --- what is kept --- */

static struct watched *watched(struct notify *n, struct str name)
{
	struct watched *b = map_get(&n->buckets, name);

	if (!b) {
		b = xcalloc(1, sizeof(*b));
		b->name = str_dup(name);
		map_put(&n->buckets, str_of(b->name), b);
	}
	return b;
}

static void watched_free(struct watched *b)
{
	if (b) {
		rules_free(b->rules);
		free(b->name);
	}
	free(b);
}

/* Takes rules in the place of those that the project had. */
static void replace(struct watched *b, const char *project, struct rule *rules)
{
	struct rule **at = &b->rules, *r;

	while ((r = *at)) {
		if (strcmp(r->project, project)) {
			at = &r->next;
			continue;
		}
		*at = take_ptr(r->next);
		rules_free(r);
	}
	*at = rules;
}

struct notify *notify_new(const struct notify_opts *o)
{
	struct notify *n = xcalloc(1, sizeof(*n));
	const struct record *rec;
	auto_free char *key = NULL;

	n->o = *o;
	while ((rec = record_next(o->store, PREFIX, key))) {
		auto_json doc = json_parse(str_of(rec->value), NULL);
		auto_free char *its = NULL;
		struct str bucket, project;
		struct rule *rules = NULL;
		struct err e;

		free(key);
		key = xstrdup(rec->key);
		str_cut(str_of(key + strlen(PREFIX)), '/', &bucket, &project);
		its = xasprintf("bucket/" STR_FMT, STR_ARG(bucket));
		if (!record_get(o->store, its)) /* a crash came between its end and theirs */
			record_del(o->store, NULL, key);
		else if (rules_read(doc, project.p, &rules, &e) < 0)
			log_error("notify", "%s: %s", key, e.text);
		else
			replace(watched(n, bucket), project.p, rules);
	}
	return n;
}

void notify_free(struct notify *n)
{
	struct watched *b;
	size_t pos = 0;

	while (n && (b = map_next(&n->buckets, &pos)))
		watched_free(b);
	if (n)
		map_done(&n->buckets);
	free(n);
}

static int test_target(struct notify *n, const char *bucket, const struct rule *r, struct store_tx *tx, struct err *e)
{
	struct delivery d = {.target = r->target, .retries = -1};
	auto_buf b = {0};
	char now[32], id[37];

	if (r->kind != KIND_BUS && !deliver_exists(n->o.deliver, r->target))
		return err_set(e, ERR_NOT_FOUND, "Unable to validate the following destination configurations: %s",
			       r->target);
	if (r->kind == KIND_BUS || r->kind == KIND_FUNCTION)
		return 0;
	id_uuid(id);
	jw_fmt(&b, "{'Service':'Amazon S3','Event':'s3:TestEvent','Time':%s,'Bucket':%s,'RequestId':%s,'HostId':%s}",
	       clock_fmt_iso(clock_wall_us(), now), bucket, id, id);
	d.payload = buf_str(&b);
	return deliver_add(n->o.deliver, tx, &d, e);
}

int notify_put(struct notify *n, const char *bucket, const char *project, const struct json *doc, bool test,
	       struct store_tx *tx, struct err *e)
{
	const char *whose = project ? project : "";
	auto_(rules_free_p) struct rule *rules = NULL;
	auto_free char *key = xasprintf(PREFIX "%s/%s", bucket, whose);
	auto_buf b = {0};
	struct jw w = jw_object(&b);

	if (rules_read(doc, whose, &rules, e) < 0)
		return -1;
	for (const struct rule *r = rules; test && r; r = r->next)
		if (test_target(n, bucket, r, tx, e) < 0)
			return -1;
	rules_show(rules, NULL, &w);
	jw_end(&w, '}');
	if (rules)
		record_put_add(n->o.store, tx, key, b.p);
	else if (record_get(n->o.store, key))
		record_del_add(n->o.store, tx, key);
	replace(watched(n, str_of(bucket)), whose, take_ptr(rules));
	return 0;
}

void notify_forget(struct notify *n, const char *bucket, struct store_tx *tx)
{
	auto_free char *prefix = xasprintf(PREFIX "%s/", bucket);
	const struct record *r;

	while ((r = record_next(n->o.store, prefix, NULL)))
		record_del_add(n->o.store, tx, r->key);
	watched_free(map_del(&n->buckets, str_of(bucket)));
}

/* --- events --- */

/* S3 writes keys as a form does. */
static char *form_key(const char *key)
{
	auto_buf b = {0}, plus = {0};
	struct str rest, piece, tail;

	enc_percent(&b, str_of(key), true);
	for (rest = buf_str(&b); rest.n; rest = tail) {
		const char *space = memmem(rest.p, rest.n, "%20", 3);
		size_t n = space ? (size_t)(space - rest.p) : rest.n;

		piece = (struct str){rest.p, n};
		buf_addstr(&plus, piece);
		if (space)
			buf_addc(&plus, '+');
		n += space ? 3 : 0;
		tail = (struct str){rest.p + n, rest.n - n};
	}
	return buf_take(&plus);
}

static void s3_event(const struct notify *n, const struct object_event *ev, unsigned what, const struct rule *r,
		     struct buf *out)
{
	auto_free char *key = form_key(ev->key), *arn = xasprintf("arn:aws:s3:::%s", ev->bucket);
	auto_buf size = {0};
	char now[32];

	if (1u << what != REMOVED)
		jw_fmt(&size, ",'size':%d,'eTag':%s", ev->size, ev->etag);
	jw_fmt(out,
	       "{'Records':[{'eventVersion':'2.1','eventSource':'aws:s3','awsRegion':%s,'eventTime':%s,'eventName':%s,"
	       "'userIdentity':{'principalId':%s},'requestParameters':{'sourceIPAddress':%s},"
	       "'responseElements':{'x-amz-request-id':%s,'x-amz-id-2':%s},"
	       "'s3':{'s3SchemaVersion':'1.0','configurationId':%s,"
	       "'bucket':{'name':%s,'ownerIdentity':{'principalId':%s},'arn':%s},"
	       "'object':{'key':%s%r,'sequencer':%s}}}]}",
	       n->o.region, clock_fmt_iso(clock_wall_us(), now), whats[what].s3, ev->principal, ev->peer,
	       ev->request_id, ev->request_id, r->id, ev->bucket, n->o.account, arn, key, buf_str(&size).p,
	       ev->sequencer);
}

static void bus_event(const struct notify *n, const struct object_event *ev, unsigned what, struct buf *detail,
		      struct buf *params)
{
	auto_free char *arn = xasprintf("arn:aws:s3:::%s", ev->bucket);
	auto_buf size = {0};

	if (1u << what != REMOVED)
		jw_fmt(&size, ",'size':%d,'etag':%s", ev->size, ev->etag);
	jw_fmt(detail,
	       "{'version':'0','bucket':{'name':%s},'object':{'key':%s%r,'sequencer':%s},'request-id':%s,"
	       "'requester':%s,'source-ip-address':%s,'reason':%s%r}",
	       ev->bucket, ev->key, buf_str(&size).p, ev->sequencer, ev->request_id, n->o.account, ev->peer,
	       whats[what].reason, 1u << what == REMOVED ? ",\"deletion-type\":\"Permanently Deleted\"" : "");
	jw_fmt(params, "{'Source':'aws.s3','DetailType':%s,'Resources':[%s]}", whats[what].type, arn);
}

static bool takes(const struct rule *r, const struct object_event *ev, unsigned what)
{
	struct str key = str_of(ev->key);

	return r->kind == KIND_BUS || (r->what & 1u << what && (!r->prefix || str_starts(key, r->prefix)) &&
				       (!r->suffix || str_ends(key, r->suffix)));
}

static void tell(struct notify *n, const struct object_event *ev, unsigned what, const struct rule *r,
		 struct store_tx *tx)
{
	auto_free char *bus = xasprintf("arn:aws:events:%s:%s:event-bus/default", n->o.region, n->o.account);
	struct delivery d = {.target = r->kind == KIND_BUS ? bus : r->target, .retries = -1, .trace_id = ev->trace_id};
	auto_buf b = {0}, p = {0};
	auto_json params = NULL;
	struct err e;

	if (r->kind == KIND_BUS)
		bus_event(n, ev, what, &b, &p);
	else
		s3_event(n, ev, what, r, &b);
	if (r->kind == KIND_TOPIC)
		jw_fmt(&p, "{'Subject':'Amazon S3 Notification'}");
	d.params = params = p.n ? json_parse(buf_str(&p), NULL) : NULL;
	d.payload = buf_str(&b);
	(void)deliver_add(n->o.deliver, tx, &d, &e); /* what cannot be is counted and said there: the object is taken */
}

int notify_event(void *notify, const struct object_event *ev, struct store_tx *tx, struct err *e)
{
	struct notify *n = notify;
	const struct watched *b = map_get(&n->buckets, str_of(ev->bucket));
	unsigned what = 0;

	while (what < ARRAY_SIZE(whats) && strcmp(whats[what].what, ev->what))
		what++;
	for (const struct rule *r = b && what < ARRAY_SIZE(whats) ? b->rules : NULL; r; r = r->next)
		if (takes(r, ev, what))
			tell(n, ev, what, r, tx);
	return 0;
}
