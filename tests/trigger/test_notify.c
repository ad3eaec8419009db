/* SPDX-License-Identifier: Apache-2.0 */
/* What is delivered for which change of a bucket. Delivering is played here: what was asked for is noted. */
#include "store/record.h"
#include "tests/store/fixture.h"
#include "trigger/deliver.h"
#include "trigger/notify.h"

#define FN    "arn:aws:lambda:us-east-1:000000000000:function:thumb"
#define QUEUE "arn:aws:sqs:us-east-1:000000000000:jobs"
#define TOPIC "arn:aws:sns:us-east-1:000000000000:alerts"
#define BUS   "arn:aws:events:us-east-1:000000000000:event-bus/default"

static struct buf told; /* TARGET, a space, then the payload, in lines */

bool deliver_exists(struct deliver *d, const char *target)
{
	return !strstr(target, "gone");
}

int deliver_add(struct deliver *d, struct store_tx *tx, const struct delivery *what, struct err *e)
{
	if (!deliver_exists(d, what->target))
		return err_set(e, ERR_NOT_FOUND, "no target");
	buf_addf(&told, "%s " STR_FMT "\n", what->target, STR_ARG(what->payload));
	return 0;
}

struct world {
	struct fix f;
	struct notify *n;
};

static void world_open(struct world *w)
{
	w->n = notify_new(&(struct notify_opts){.store = w->f.s, .account = "000000000000", .region = "us-east-1"});
}

static void world_init(struct world *w)
{
	fix_init(&w->f);
	world_open(w);
	buf_clear(&told);
}

static void world_done(struct world *w)
{
	notify_free(w->n);
	fix_done(&w->f);
	buf_done(&told);
}

static const char *put(struct world *w, const char *project, const char *doc, bool test, struct err *e)
{
	auto_json j = json_parse(str_of(doc), NULL);
	struct store_tx *tx = store_tx_new();

	CHECK(j != NULL);
	*e = (struct err){0};
	if (notify_put(w->n, "media", project, j, test, tx, e) == 0)
		store_tx_start(w->f.s, tx);
	else
		free(tx);
	return e->text;
}

static const char *event(struct world *w, const char *what, const char *key)
{
	struct object_event ev = {.bucket = "media",
				  .key = key,
				  .etag = "abc",
				  .size = 5,
				  .what = what,
				  .sequencer = "0011",
				  .request_id = "REQ",
				  .peer = "192.0.2.7",
				  .principal = "AWS:me"};
	struct store_tx tx;
	struct err e;

	store_tx_init(&tx);
	buf_clear(&told);
	CHECK(notify_event(w->n, &ev, &tx, &e) == 0);
	return buf_str(&told).p;
}

#define ONE(list, arn, target, more) "{\"" list "\":[{\"Id\":\"i\",\"" arn "\":\"" target "\",\"Events\":[" more "}]}"
#define FILTER(name, value)	     "\"Filter\":{\"Key\":{\"FilterRules\":[{\"Name\":\"" name "\",\"Value\":\"" value "\"}]}}"
#define F(more)			     ONE("LambdaFunctionConfigurations", "LambdaFunctionArn", FN, more)

TEST(the_event_of_a_function)
{
	struct world w;
	struct err e;
	auto_json j = NULL;
	const struct json *record, *object;

	world_init(&w);
	CHECK_STR(put(&w, NULL, F("\"s3:ObjectCreated:*\"]," FILTER("prefix", "in/")), true, &e), "");
	CHECK_STR(event(&w, "Put", "out/a"), "");
	CHECK_STR(event(&w, "Delete", "in/a"), "");
	CHECK(str_starts(str_of(event(&w, "CompleteMultipartUpload", "in/a b@%20\xc3\xa4+.mp4")), FN " {"));
	j = json_parse((struct str){told.p + strlen(FN) + 1, told.n - strlen(FN) - 2}, NULL);
	record = json_at(json_get(j, "Records"), 0);
	object = json_get(json_get(record, "s3"), "object");
	CHECK_STR(json_get_str(record, "eventName").p, "ObjectCreated:CompleteMultipartUpload");
	CHECK_STR(json_get_str(record, "eventVersion").p, "2.1");
	CHECK_STR(json_get_str(json_get(record, "requestParameters"), "sourceIPAddress").p, "192.0.2.7");
	CHECK_STR(json_get_str(json_get(record, "s3"), "configurationId").p, "i");
	CHECK_STR(json_get_str(json_get(json_get(record, "s3"), "bucket"), "arn").p, "arn:aws:s3:::media");
	CHECK_STR(json_get_str(object, "key").p, "in/a+b%40%2520%C3%A4%2B.mp4");
	CHECK_STR(json_get_str(object, "eTag").p, "abc");
	CHECK(json_get_int(object, "size", 0) == 5);
	world_done(&w);
}

TEST(several_targets_and_the_bus)
{
	struct world w;
	struct err e;

	world_init(&w);
	CHECK_STR(put(&w, NULL,
		      "{\"QueueConfigurations\":[{\"QueueArn\":\"" QUEUE
		      "\",\"Events\":[\"s3:ObjectRemoved:Delete\"]}],\"TopicConfigurations\":[{\"TopicArn\":\"" TOPIC
		      "\",\"Events\":[\"s3:ObjectCreated:Put\",\"s3:ObjectCreated:Copy\"]," FILTER(
			      "Suffix", ".jpg") "}],\"EventBridgeConfiguration\":{}}",
		      true, &e),
		  "");
	CHECK(strstr(told.p, QUEUE " {\"Service\":\"Amazon S3\",\"Event\":\"s3:TestEvent\"") &&
	      strstr(told.p, TOPIC " {\"Service\""));
	CHECK(strstr(event(&w, "Delete", "k"), QUEUE " {\"Records\"") && strstr(told.p, BUS " {\"version\":\"0\""));
	CHECK(!strstr(told.p, "\"eTag\"") && strstr(told.p, "\"deletion-type\":\"Permanently Deleted\""));
	CHECK(strstr(event(&w, "Copy", "k.jpg"), TOPIC) && !strstr(told.p, QUEUE));
	CHECK(strstr(told.p, "\"object\":{\"key\":\"k.jpg\",\"size\":5,\"etag\":\"abc\",\"sequencer\":\"0011\"}"));
	CHECK(!strstr(event(&w, "Post", "k.jpg"), TOPIC) && strstr(told.p, "\"reason\":\"POST Object\""));
	world_done(&w);
}

TEST(what_it_refuses)
{
	static const char gone[] = ONE("QueueConfigurations", "QueueArn", "arn:aws:sqs:us-east-1:000000000000:gone",
				       "\"s3:ObjectCreated:Put\"]");
	static const struct {
		const char *doc, *text;
	} cases[] = {
		{F("\"s3:ObjectEaten:*\"]"), "The event 's3:ObjectEaten:*' is not supported for notifications"},
		{F("\"s3:ObjectCreated\"]"), "The event 's3:ObjectCreated' is not supported for notifications"},
		{F("]"), "A configuration needs at least one event"},
		{F("\"s3:ObjectCreated:*\"]," FILTER("infix", "x")),
		 "filter rule name must be either prefix or suffix"},
		{gone, "Unable to validate the following destination configurations: "
		       "arn:aws:sqs:us-east-1:000000000000:gone"},
		{ONE("QueueConfigurations", "QueueArn", FN, "\"s3:ObjectCreated:*\"]"),
		 "The ARN is not well formed, or the Id has more than 255 bytes: " FN},
		{"{\"LambdaFunctionConfigurations\":[{\"LambdaFunctionArn\":\"" FN
		 "\",\"Events\":[\"s3:ObjectCreated:Put\"]," FILTER(
			 "prefix", "a/") "},{\"LambdaFunctionArn\":\"" FN
					 "\",\"Events\":[\"s3:ObjectCreated:*\"]," FILTER("prefix", "a/b") "}]}",
		 "Configuration is ambiguously defined. Cannot have overlapping suffixes in two rules if the prefixes "
		 "are "
		 "overlapping for the same event type."},
		{"{\"LambdaFunctionConfigurations\":[{\"Id\":\"1\",\"LambdaFunctionArn\":\"" FN
		 "\",\"Events\":[\"s3:ObjectCreated:Put\"]},{\"Id\":\"1\",\"LambdaFunctionArn\":\"" FN
		 "\",\"Events\":[\"s3:ObjectRemoved:*\"]}]}",
		 "Same ID used for multiple configurations. IDs must be unique"},
	};
	struct world w;
	struct err e;

	world_init(&w);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		CHECK_STR(put(&w, NULL, cases[i].doc, true, &e), cases[i].text);
	CHECK_STR(event(&w, "Put", "k"), "");
	CHECK_STR(put(&w, NULL, gone, false, &e), ""); /* unchecked, as asked for: nothing is delivered */
	CHECK_STR(event(&w, "Put", "k"), "");
	world_done(&w);
}

TEST(of_a_file_and_of_the_api_and_over_a_restart)
{
	struct world w;
	struct err e;
	auto_buf shown = {0};
	struct jw jw = jw_object(&shown);

	world_init(&w);
	CHECK_STR(put(&w, "shop", F("\"s3:ObjectCreated:*\"]"), true, &e), "");
	CHECK_STR(put(&w, NULL, F("\"s3:ObjectCreated:Put\"]"), true, &e), "");
	record_put(w.f.s, NULL, "bucket/media", "{}");
	event(&w, "Put", "k");
	CHECK(strstr(told.p, FN) && strstr(strstr(told.p, FN) + 1, "\n" FN));
	notify_free(w.n);
	fix_close(&w.f);
	fix_open(&w.f);
	world_open(&w);
	CHECK_STR(put(&w, NULL, "{}", true, &e), "");
	event(&w, "Put", "k");
	CHECK(strstr(told.p, FN) && !strstr(strstr(told.p, FN) + 1, "\n" FN));
	notify_show(w.n, "media", false, &jw);
	CHECK_STR(shown.p, "{");
	notify_show(w.n, "media", true, &jw);
	CHECK_STR(shown.p, "{\"LambdaFunctionConfigurations\":[{\"Id\":\"i\",\"LambdaFunctionArn\":\"" FN
			   "\",\"Events\":[\"s3:ObjectCreated:*\"]}]");
	{
		struct store_tx *tx = store_tx_new();

		notify_forget(w.n, "media", tx);
		store_tx_start(w.f.s, tx);
	}
	CHECK_STR(event(&w, "Put", "k"), "");
	CHECK(!record_next(w.f.s, "notify/", NULL));
	record_put(w.f.s, NULL, "notify/gone/", F("\"s3:ObjectCreated:*\"]")); /* its bucket is not there */
	notify_free(w.n);
	world_open(&w);
	CHECK(!record_next(w.f.s, "notify/", NULL));
	world_done(&w);
}
