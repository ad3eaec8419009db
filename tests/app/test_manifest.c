/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>

#include "app/manifest.h"
#include "base/io.h"
#include "json/read.h"
#include "tests/test.h"

static const char *lookup(void *arg, const char *name)
{
	static const char *const vars[][2] = {{"SIZE", "256"}, {"EMPTY", ""}, {"WHO", "World: #1"}, {"BIG", "99999"}};

	for (size_t i = 0; i < ARRAY_SIZE(vars); i++)
		if (!strcmp(vars[i][0], name))
			return vars[i][1];
	return NULL;
}

static int parse(const char *text, struct manifest **ret, struct err *e)
{
	struct tree_opts o = {.file = "t.yaml", .lookup = lookup, .where = "r:1"};

	return manifest_parse(&o, str_of(text), ret, e);
}

#define IMAGE_GOES_ALONE                                                                                               \
	"t.yaml:3:3: \"f\" is an image: with one of image and build go no code, runtime, handler or layers"
#define F "name: p\nfunctions:\n  f:\n    code: .\n    runtime: python3.11\n    handler: a.b\n"

/* What is refused, with the whole sentence. */
static const struct {
	const char *text, *error;
} bad[] = {
	{"", "t.yaml:1:1: the file is empty; it begins with: name: my-project"},
	{"- a\n", "t.yaml:1:1: here stands tandem.yaml, which is keys with values"},
	{"functions: {}\n", "t.yaml:1:1: tandem.yaml needs the key \"name\""},
	{"name: p\nfunctoins: {}\n", "t.yaml:2:1: unknown key \"functoins\"; did you mean \"functions\"?"},
	{"name: p\ncrons: {}\n", "t.yaml:2:1: unknown key \"crons\"; known here are: name, version, functions, "
				 "services, tasks, buckets, queues, "
				 "streams, topics, buses, budgets"},
	{"name: p\nbudgets: {a: {usd: 5}}\n", "t.yaml:2:14: a budget has a tag, like team=a, or a workload"},
	{"name: p\nbudgets: {a: {tag: t=1, workload: x, usd: 5}}\n",
	 "t.yaml:2:35: a budget has a tag or a workload, not both"},
	{"name: p\nbudgets: {a: {tag: t, usd: 1}}\n", "t.yaml:2:20: tag is one with its value, like team=a"},
	{"name: p\nbudgets: {a: {tag: t=1}}\n", "t.yaml:2:14: usd is what may be used, like 5 or 0.25"},
	{"name: p\nbudgets: {a: {tag: t=1, usd: -5}}\n", "t.yaml:2:30: usd is what may be used, like 5 or 0.25"},
	{"name: p\nbudgets: {a: {workload: f, usd: 5}}\n",
	 "t.yaml:2:25: workload is a function, service or task of this file, or PROJECT/NAME"},
	{"name: p\nbudgets: {a: {tag: t=1, usd: 5, per: week}}\n", "t.yaml:2:38: per is month, day or hour"},
	{"name: p\nbudgets: {a: {tag: t=1, usd: 5, on: gcp}}\n", "t.yaml:2:37: on is machine or aws"},
	{"name: p\nbudgets: {a b: {tag: t=1, usd: 5}}\n",
	 "t.yaml:2:11: \"a b\" is no name for a budget: letters, digits, - and _"},
	{"name: p\ntasks: []\n", "t.yaml:2:8: tasks is a map from names to what they are"},
	{"name: p\ntasks: {a: {}}\n", "t.yaml:2:9: \"a\" needs one of image and build"},
	{"name: p\ntasks: {a: {image: i, build: b}}\n", "t.yaml:2:9: \"a\" needs one of image and build"},
	{"name: p\ntasks: {a: {image: i, memroy: 1}}\n",
	 "t.yaml:2:23: unknown key \"memroy\"; did you mean \"memory\"?"},
	{"name: p\ntasks: {a: {image: i, volumes: [x]}}\n",
	 "t.yaml:2:33: a volume looks like data:/var/lib/x, or ./conf:/etc/x:ro"},
	{"name: p\ntasks: {a: {image: i, volumes: [./x:/x]}}\n",
	 "t.yaml:2:33: whoever sent this file did not say in which folder it lies; begin with /"},
	{"name: p\ntasks: {a: {image: i, stop_signal: SIGNOTHING}}\n",
	 "t.yaml:2:36: a signal is a name like SIGTERM, or a number from 1 to 64"},
	{"name: p\ntasks: {a: {image: i, depends_on: [b]}}\n",
	 "t.yaml:2:9: \"a\": containers[0]: depends_on: there is no container \"b\" in this task"},
	{"name: p\ntasks: {a: {image: i, health: {}}}\n",
	 "t.yaml:2:9: \"a\": containers[0]: health: one of command, http and tcp says how to look"},
	{"name: p\nservices: {a: {image: i}}\ntasks: {a: {image: i}}\n", "t.yaml:3:9: \"a\" is a service already"},
	{"name: Prod\n", "t.yaml:1:7: a project's name is made of small letters, digits and -"},
	{"name: api\n", "t.yaml:1:7: the name api stands for what was made through the AWS API; choose another"},
	{"name: bench\n", "t.yaml:1:7: the name bench stands for what tandem bench measures; choose another"},
	{"name:\n", "t.yaml:1:1: \"name\" has no value"},
	{"name: [p]\n", "t.yaml:1:7: \"name\" takes one value, not a list"},
	{"name: p\nname: q\n", "t.yaml:2:1: the key \"name\" stands here twice (first in line 1)"},
	{"name: p\nversion: 2\n", "t.yaml:2:10: this Tandem reads version 1 of the file"},
	{"name: p\n---\nname: q\n", "t.yaml:2:1: a second document begins here; one file holds one"},
	{"name: &x p\n", "t.yaml:1:7: anchors (&name) are not taken here; write the value out, or use ${VAR}"},
	{"name: *x\n", "t.yaml:1:7: aliases (*name) are not taken here; write the value out, or use ${VAR}"},
	{"name: !!str p\n", "t.yaml:1:7: tags (!name) are not taken here"},
	{"name: p\nfunctions:\n\tf: {}\n", "t.yaml:3:1: a tab; indent with spaces"},
	{"name: p\n  functions: {}\n", "t.yaml:2:12: mapping values are not allowed in this context"},
	{"name: \"p\\0q\"\n", "t.yaml:1:7: a NUL byte inside a value"},
	{"name: p\n? [a]\n: b\n", "t.yaml:2:3: a key must be a word"},
	{"name: p\nfunctions: []\n", "t.yaml:2:12: functions is a map from names to what they are"},
	{"name: p\nfunctions:\n  f:\n", "t.yaml:3:5: here stands a function, which is keys with values"},
	{"name: p\nfunctions:\n  f: {}\n", "t.yaml:3:3: a function needs the key \"code\", or one of image and build"},
	{"name: p\nfunctions:\n  f: {code: .}\n", "t.yaml:3:3: a function needs the key \"runtime\""},
	{"name: p\nfunctions:\n  f: {image: a, build: .}\n", IMAGE_GOES_ALONE},
	{"name: p\nfunctions:\n  f: {image: a, runtime: python3.11}\n", IMAGE_GOES_ALONE},
	{"name: p\nfunctions:\n  f: {image: A B}\n", "t.yaml:3:3: \"f\": A B is no name of an image"},
	{"name: p\nfunctions:\n  F: {build: .}\n",
	 "t.yaml:3:3: \"F\": what is built has a name of small letters, digits, - and _"},
	{"name: p\nfunctions:\n  a b: {}\n",
	 "t.yaml:3:3: \"a b\" is no name for a function: 1 to 64 letters, digits, - and _"},
	{"name: p\nfunctions:\n  f:\n    code: .\n    runtime: python3.11\n",
	 "t.yaml:3:3: \"f\" has no handler; it looks like app.handler (file and function)"},
	{F "    memroy: 1\n", "t.yaml:7:5: unknown key \"memroy\"; did you mean \"memory\"?"},
	{F "    memory: lots\n", "t.yaml:7:13: \"lots\" is no size: memory is megabytes, like 256, or 256Mi, or 1Gi"},
	{F "    memory: 64\n", "t.yaml:7:13: memory is from 128 to 10240 MB, not 64"},
	{F "    memory: ${BIG}\n", "t.yaml:7:13: memory is from 128 to 10240 MB, not 99999"},
	{F "    memory: -5\n", "t.yaml:7:13: \"-5\" is no size: memory is megabytes, like 256, or 256Mi, or 1Gi"},
	{F "    timeout: 500ms\n",
	 "t.yaml:7:14: \"500ms\" is no length of time: timeout is whole seconds, like 30, or 30s, or 5m"},
	{F "    timeout: 16m\n", "t.yaml:7:14: timeout is from 1s to 900s, not 16m"},
	{F "    timeout: 0\n", "t.yaml:7:14: timeout is from 1s to 900s, not 0"},
	{F "    min: some\n", "t.yaml:7:10: min is a whole number from 0 to 10000, not some"},
	{F "    max: 0\n", "t.yaml:7:10: max is a whole number from 1 to 10000, not 0"},
	{F "    min: 3\n    max: 2\n", "t.yaml:3:3: \"f\": min is 3, more than max, which is 2"},
	{F "    keep: 169h\n", "t.yaml:7:11: keep is from 0s to 604800s, not 169h"},
	{F "    cpu: fast\n", "t.yaml:7:10: \"fast\": cpu is a number of CPUs from 0.01 to 64, like 0.5 or 500m"},
	{F "    cpu: 65\n", "t.yaml:7:10: \"65\": cpu is a number of CPUs from 0.01 to 64, like 0.5 or 500m"},
	{F "    route: predict\n", "t.yaml:7:12: a route begins with a slash, like /predict or /shop/*"},
	{F "    route: /a?b\n",
	 "t.yaml:7:12: a route holds plain characters of a path only, no ?, #, %, braces or spaces; all "
	 "below a prefix is /prefix/*"},
	{F "    route: /a*\n", "t.yaml:7:12: a star may only stand at the end of a route, after a slash: /shop/*"},
	{F "    environment:\n      A:\n", "t.yaml:8:7: \"A\" has no value; write \"\" for an empty one"},
	{F "    environment:\n      1A: x\n", "t.yaml:8:7: \"1A\" is no name of an environment variable"},
	{F "    environment:\n      AWS_REGION: x\n", "t.yaml:8:7: AWS_REGION is set by the platform itself"},
	{F "    environment:\n      A: {b: c}\n", "t.yaml:8:10: \"A\" takes one value, not keys with values"},
	{F "    environment: x\n", "t.yaml:7:18: environment is names with values, like NAME: value"},
	{F "    tags:\n      aws:x: y\n",
	 "t.yaml:8:7: a tag has a name of at most 128 bytes, not beginning with aws:, and a value of at most 256"},
	{F "    layers: x\n", "t.yaml:7:13: layers is a list of folders"},
	{F "    egress: {internet: yes}\n",
	 "t.yaml:7:13: egress is internet, none, or a list of addresses and ranges like 10.1.0.0/16"},
	{F "    egress: []\n",
	 "t.yaml:7:13: egress is internet, none, or a list of addresses and ranges like 10.1.0.0/16"},
	{F "    egress: everywhere\n",
	 "t.yaml:7:13: \"everywhere\" is neither internet nor an address or a range like 10.1.0.0/16"},
	{F "    egress: [internet, none]\n",
	 "t.yaml:7:24: \"none\" is neither internet nor an address or a range like 10.1.0.0/16"},
	{F "    egress: [10.1.2.3/8]\n", "t.yaml:7:14: 10.1.2.3/8 has bits behind its prefix; the range is 10.0.0.0/8"},
	{F "    egress: [\"fd00::/8\"]\n", "t.yaml:7:14: fd00::/8 is IPv6: there is a way out over IPv4 only"},
	{F "    egress: 127.0.0.1\n", "t.yaml:7:13: 127.0.0.1 cannot be reached from a sandbox, whatever is declared"},
	{F "    egress: [[10.0.0.0/8]]\n", "t.yaml:7:14: an item takes one value, not a list"},
	{F "    allow: yes\n", "t.yaml:7:12: allow is a list of items with action and resource"},
	{F "    allow:\n      - action: lambda:InvokeFunction\n",
	 "t.yaml:8:9: an item of allow needs the key \"resource\""},
	{F "    allow:\n      - {action: invoke, resource: \"*\"}\n",
	 "t.yaml:8:18: an action looks like lambda:InvokeFunction, lambda:* or *"},
	{F "    description: ${NOPE}\n", "t.yaml:7:18: the variable is not set and has no default: ${NOPE}"},
	{F "    description: \"ab ${NOPE}\"\n", "t.yaml:7:22: the variable is not set and has no default: ${NOPE}"},
	{F "    description: costs $5\n",
	 "t.yaml:7:24: a lone dollar sign; write $$ for the sign itself, ${NAME} for a variable"},
	{F "    description: ${A:?b}\n", "t.yaml:7:18: write ${NAME} or ${NAME:-default}, not ${A:?b}"},
	{F "    description: \"${A\"\n", "t.yaml:7:19: this ${ has no closing }"},
	{F "    route: /x\n  g:\n    code: .\n    runtime: provided\n    route: /x\n",
	 "t.yaml:8:3: \"f\" and \"g\" have the same route /x"},
	{F "    route: /x\nservices:\n  w: {image: a, port: 80, route: /x}\n",
	 "t.yaml:9:3: \"f\" and \"w\" have the same route /x"},
	{F "services:\n  v: {image: a, port: 80, route: /x}\n  w: {image: a, port: 80, route: /x}\n",
	 "t.yaml:9:3: \"v\" and \"w\" have the same route /x"},
	{"name: p\nqueues: {jobs: {delay: 16m}}\n", "t.yaml:2:24: delay is from 0s to 900s, not 16m"},
	{"name: p\nqueues: {jobs: }\n", "t.yaml:2:16: here stand keys with values; {} when nothing is to be said"},
	{"name: p\nqueues: {jobs: {fifo: true}}\n",
	 "t.yaml:2:10: the name of a FIFO queue ends with .fifo: \"jobs.fifo\""},
	{"name: p\nqueues: {a.fifo: {fifo: false}}\n",
	 "t.yaml:2:10: the name of a queue that is no FIFO queue does not end with .fifo"},
	{"name: p\nqueues: {jobs: {deduplicate: true}}\n",
	 "t.yaml:2:30: only a FIFO queue leaves out what it has had already"},
	{"name: p\nqueues: {jobs: {max_receives: 3}}\n",
	 "t.yaml:2:31: max_receives says after how many a message goes to the queue that dead_letter names"},
	{"name: p\nqueues: {a b: {}}\n", "t.yaml:2:10: \"a b\" is no name for a queue: letters, digits, - and _"},
	{"name: p\nstreams: {s: {shard: 1}}\n", "t.yaml:2:15: unknown key \"shard\"; did you mean \"shards\"?"},
	{F "    on: {queue: jobs}\n", "t.yaml:7:9: on is a list of what starts it, like [{queue: jobs}]"},
	{F "    on: [{que: jobs}]\n",
	 "t.yaml:7:10: an item of on: has one of bucket, queue, stream, schedule, event and topic"},
	{F "    on: [jobs]\n",
	 "t.yaml:7:10: an item of on: has one of bucket, queue, stream, schedule, event and topic"},
	{F "    on: [{queue: jobs, batchsize: 3}]\n", "t.yaml:7:24: unknown key \"batchsize\"; known here are: "},
	{F "    on: [{queue: jobs, partial: maybe}]\n", "t.yaml:7:33: this is true or false"},
	{F "    on: [{queue: jobs, filter: x}]\n",
	 "t.yaml:7:32: filter is a list of patterns, like [{body: {kind: [order]}}]"},
	{F "    on: [{topic: a/b}]\n", "t.yaml:7:18: \"a/b\" is no name of a topic"},
	{F "    on: [{queue: jobs}, {queue: jobs}]\n", "t.yaml:7:25: queue jobs -> f stands here twice"},
	{F "    on: [{bucket: b, events: [made]}]\n", "t.yaml:7:31: events is a list of created and removed"},
	{F "    on: [{stream: s, from: now}]\n",
	 "t.yaml:7:28: from is latest (what comes after now) or start (all that is there)"},
	{F "    on: [{stream: s, on_failure: failed}]\n",
	 "t.yaml:7:34: this is where it goes, like queue failed; also topic, function or bus and a name"},
	{F "    on: [{event: shop}]\n",
	 "t.yaml:7:18: a pattern is members with lists of what they may be, like source: [shop]"},
	{F "    on_success: bucket x\n",
	 "t.yaml:7:17: this is where it goes, like queue failed; also topic, function or bus and a name"},
	{F "    retries: 3\n", "t.yaml:7:14: retries is a whole number from 0 to 2, not 3"},
	{F "    url: {auth: open}\n", "t.yaml:7:17: auth is iam (requests are signed) or none (everybody may)"},
	{F "    url: {cors: {origin: x}}\n", "t.yaml:7:18: unknown key \"origin\"; did you mean \"origins\"?"},
	{"name: p\ntasks: {t: {image: i, on: [{queue: jobs}]}}\n",
	 "t.yaml:2:28: a task is started by items of on: that have one of schedule and event"},
	{"name: p\nservices: {t: {image: i, port: 1, on: []}}\n", "t.yaml:2:35: unknown key \"on\"; known here are: "},
};

TEST(refuses_with_line_and_column)
{
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct manifest *m = NULL;
		struct err e = {0};

		CHECK(parse(bad[i].text, &m, &e) == -1);
		if (str_ends(str_of(bad[i].error), ": "))
			e.text[strlen(bad[i].error)] = 0; /* only how it begins */
		CHECK_STR(e.text, bad[i].error);
		CHECK(m == NULL);
		manifest_free(m);
	}
}

TEST(reads_everything)
{
	static const char text[] = "version: 1\n"
				   "name: shop\n"
				   "functions:\n"
				   "  iris_1:\n"
				   "    code: src\n"
				   "    runtime: python3.12\n"
				   "    handler: app.handler\n"
				   "    memory: ${SIZE}Mi\n"
				   "    timeout: 1m30s\n"
				   "    tmp: 1Gi\n"
				   "    cpu: 250m\n"
				   "    min: 1\n"
				   "    max: 4\n"
				   "    keep: 1m30s\n"
				   "    route: /shop/*\n"
				   "    description: 'it''s $$5'\n"
				   "    layers: [lib]\n"
				   "    environment:\n"
				   "      ZED: yes\n"
				   "      GREETING: hello ${WHO}\n"
				   "      NONE: \"\"\n"
				   "      D: ${EMPTY:-dflt}${UNSET:-}\n"
				   "    tags: {team: a, cost: 007}\n"
				   "    allow:\n"
				   "      - action: lambda:InvokeFunction\n"
				   "        resource: \"*\"\n"
				   "      - {resource: [media/*, records/*], action: [\"s3:Get*\", \"s3:List*\"]}\n"
				   "    egress: [10.1.0.0/16, internet, 192.168.1.5]\n"
				   "    lane: auto\n"
				   "    concurrency: 16\n"
				   "  native:\n"
				   "    code: bin\n"
				   "    runtime: provided.al2023\n"
				   "    egress: internet\n";
	auto_(manifest_free_p) struct manifest *m = NULL;
	struct err e = {0};
	const struct manifest_function *f;

	CHECK(parse(text, &m, &e) == 0);
	CHECK_STR(e.text, "");
	if (!m)
		return;
	CHECK_STR(m->name, "shop");
	CHECK(m->n == 2);
	f = &m->functions[0];
	CHECK_STR(f->name, "iris_1");
	CHECK(f->memory_mb == 256 && f->timeout_s == 90 && f->tmp_mb == 1024 && f->cpu_quota_us == 25000);
	CHECK(f->scale.min == 1 && f->scale.max == 4 && f->scale.keep_us == 90000000);
	CHECK(f->scale.lane == LANE_WISH_AUTO && f->scale.concurrency == 16);
	CHECK_STR(f->route, "/shop/*");
	CHECK_STR(f->description, "it's $5");
	CHECK(f->n_layers == 1);
	CHECK(f->env.n == 4);
	CHECK_STR(f->env.p[0].name, "D");
	CHECK_STR(pairs_get(&f->env, "D"), "dflt");
	CHECK_STR(pairs_get(&f->env, "ZED"), "yes");
	CHECK_STR(pairs_get(&f->env, "GREETING"), "hello World: #1");
	CHECK_STR(pairs_get(&f->env, "NONE"), "");
	CHECK_STR(pairs_get(&f->tags, "cost"), "007");
	CHECK_STR(f->allow, "[{\"action\":\"lambda:InvokeFunction\",\"resource\":\"*\"},"
			    "{\"action\":[\"s3:Get*\",\"s3:List*\"],\"resource\":[\"media/*\",\"records/*\"]}]");
	CHECK_STR(f->egress, "internet 10.1.0.0/16 192.168.1.5/32");
	f = &m->functions[1];
	CHECK_STR(f->handler, "bootstrap");
	CHECK(f->memory_mb == 128 && f->timeout_s == 3 && f->tmp_mb == 512 && !f->cpu_quota_us && !f->route &&
	      !f->allow && !f->egress && !f->scale.min && !f->scale.max && f->scale.keep_us == -1);
	CHECK(f->scale.lane == LANE_WISH_FUNCTION && !f->scale.concurrency);
}

/* Small files that would become large trees, and trees that would become deep stacks. */
TEST(bounds_what_hostile_text_costs)
{
	struct manifest *m = NULL;
	struct err e = {0};
	auto_buf deep = {0}, wide = {0}, grown = {0}, keys = {0};

	for (int i = 0; i < 1000; i++)
		buf_addc(&deep, '[');
	CHECK(parse(deep.p, &m, &e) == -1);
	CHECK_STR(e.text, "t.yaml:1:33: too many levels inside each other");
	buf_adds(&wide, "name: [");
	for (int i = 0; i < 200000; i++)
		buf_adds(&wide, "a,");
	buf_adds(&wide, "]\n");
	CHECK(parse(wide.p, &m, &e) == -1);
	CHECK(strstr(e.text, "too many values") != NULL);
	buf_adds(&grown, "name: p\n#");
	while (grown.n <= LIM_YAML_BYTES)
		buf_adds(&grown, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
	CHECK(parse(grown.p, &m, &e) == -1);
	CHECK(e.kind == ERR_LIMIT);
	for (int i = 0; i < 5000; i++)
		buf_addf(&keys, "k%d: 1\n", i);
	CHECK(parse(keys.p, &m, &e) == -1);
	CHECK(strstr(e.text, "more than 4096 keys") != NULL);
}

TEST(workloads_become_documents)
{
	static const char text[] =
		"services:\n"
		"  web:\n"
		"    build: ./web\n"
		"    port: 8080\n"
		"    route: /shop/*\n"
		"    min: 2\n"
		"    ports: [\"8443:8080\"]\n"
		"    memory: 256\n"
		"    cpu: 500m\n"
		"    environment: {B: 1, A: x}\n"
		"    command: serve --fast\n"
		"    health: {http: /healthz, interval: 1m}\n"
		"    volumes: [\"data:/var/lib/x\", \"/etc/x:/etc/x:ro\"]\n"
		"    tmpfs: /run/x:8\n"
		"    secrets: [a, {name: b, env: B}]\n"
		"    ulimits: {nofile: 1024}\n"
		"    stop_signal: QUIT\n"
		"    uses: [db, \"cache:6379\"]\n"
		"    egress: none\n"
		"    containers:\n"
		"      log: {image: logger, essential: false, memory: 32, depends_on: {web: healthy}}\n"
		"name: p\n";
	auto_(manifest_free_p) struct manifest *m = NULL;
	struct err e = {0};
	const struct workload *w;

	CHECK(parse(text, &m, &e) == 0);
	CHECK_STR(e.text, "");
	if (!m)
		return;
	w = m->workloads;
	CHECK(m->n_workloads == 1 && w->is_service && w->spec.port == 8080 && w->n_images == 2);
	CHECK_STR(w->images[0].build, "./web");
	CHECK_STR(w->images[0].reference, "localhost/p-web:latest");
	CHECK(!w->images[1].build);
	CHECK_STR(w->spec.route, "/shop/*");
	CHECK(w->spec.n_ports == 1 && w->spec.ports[0].to == 8080 && w->spec.min == 2 && w->spec.max == 2);
	CHECK_STR(
		w->doc,
		"{\"containers\":[{\"name\":\"web\",\"image\":\"localhost/p-web:latest\","
		"\"command\":[\"/bin/sh\",\"-c\",\"serve --fast\"],\"env\":{\"A\":\"x\",\"B\":\"1\"},\"stop_signal\":3,"
		"\"secrets\":[{\"name\":\"a\"},{\"name\":\"b\",\"env\":\"B\"}],\"ulimits\":{\"nofile\":[1024,1024]},"
		"\"health\":{\"http\":\"/healthz\",\"interval_s\":60,\"port\":8080},\"ports\":[8080],"
		"\"mounts\":[{\"volume\":\"data\",\"path\":\"/var/lib/x\"},"
		"{\"host\":\"/etc/x\",\"path\":\"/etc/x\",\"read_only\":true},{\"tmpfs_mb\":8,\"path\":\"/run/x\"}]},"
		"{\"name\":\"log\",\"image\":\"logger\",\"memory_mb\":32,\"essential\":false,"
		"\"depends_on\":[{\"container\":\"web\",\"condition\":\"HEALTHY\"}]}],"
		"\"memory_mb\":256,\"cpu\":0.5,\"egress\":\"none\","
		"\"uses\":[{\"service\":\"db\"},{\"port\":6379,\"service\":\"cache\"}]}");
}

/* Each in AWS's own words, with all that can be said. */
TEST(what_starts_something_becomes_documents)
{
	static const char text[] =
		"name: p\n"
		"buckets: {media: {eventbridge: true}, in: {external: true}}\n"
		"queues: {jobs: {visibility: 1m, dead_letter: failed}, o.fifo: {deduplicate: true}}\n"
		"streams: {clicks: {shards: 2, retention: 25h}}\n"
		"functions:\n"
		"  f:\n"
		"    {code: ., runtime: python3.11, handler: a.b, retries: 1, on_success: topic t,\n"
		"     dead_letter: failed, url: {auth: none, cors: {origins: [\"*\"]}}, on: [\n"
		"       {bucket: media, prefix: in/, suffix: .mp4},\n"
		"       {queue: jobs, batch: 2, concurrency: 4, partial: true, filter: [{body: {n: [1.5, null, "
		"x]}}]},\n"
		"       {stream: clicks, from: start, bisect: true, on_failure: queue failed},\n"
		"       {schedule: rate(5 minutes), timezone: Europe/Berlin, input: {a: 007}},\n"
		"       {event: {source: [shop]}, bus: orders}, {topic: alerts}]}\n"
		"  g: {code: ., runtime: python3.11, handler: a.b, on: [{bucket: media, events: [removed]}]}\n"
		"tasks: {t: {image: i, on: [{event: {source: [shop]}}]}}\n";
	static const char *const want[][3] = {
		{"bucket/media", "bucket media", "{\"External\":false}"},
		{"bucket/in", "bucket in", "{\"External\":true}"},
		{"queue/o.fifo", "queue o.fifo",
		 "{\"Attributes\":{\"VisibilityTimeout\":\"30\",\"DelaySeconds\":\"0\","
		 "\"MessageRetentionPeriod\":\"345600\",\"RedrivePolicy\":null,\"FifoQueue\":\"true\","
		 "\"ContentBasedDeduplication\":\"true\"}}"},
		{"queue/jobs", "queue jobs",
		 "{\"Attributes\":{\"VisibilityTimeout\":\"60\",\"DelaySeconds\":\"0\","
		 "\"MessageRetentionPeriod\":\"345600\",\"RedrivePolicy\":\"{\\\"deadLetterTargetArn\\\":"
		 "\\\"arn:aws:sqs:r:1:failed\\\",\\\"maxReceiveCount\\\":5}\",\"FifoQueue\":null}}"},
		{"stream/clicks", "stream clicks",
		 "{\"StreamName\":\"clicks\",\"ShardCount\":2,\"RetentionPeriodHours\":25}"},
		{"mapping/", "queue jobs -> f",
		 "{\"EventSourceArn\":\"arn:aws:sqs:r:1:jobs\",\"FunctionArn\":\"arn:aws:lambda:r:1:function:f\","
		 "\"Enabled\":true,\"BatchSize\":2,\"MaximumBatchingWindowInSeconds\":0,"
		 "\"ScalingConfig\":{\"MaximumConcurrency\":4},\"FunctionResponseTypes\":[\"ReportBatchItemFailures\"]"
		 ","
		 "\"FilterCriteria\":{\"Filters\":[{\"Pattern\":\"{\\\"body\\\":{\\\"n\\\":[1.5,null,\\\"x\\\"]}}\"}]}"
		 "}"},
		{"mapping/", "stream clicks -> f",
		 "{\"EventSourceArn\":\"arn:aws:kinesis:r:1:stream/clicks\","
		 "\"FunctionArn\":\"arn:aws:lambda:r:1:function:f\",\"Enabled\":true,"
		 "\"StartingPosition\":\"TRIM_HORIZON\",\"BatchSize\":100,\"MaximumBatchingWindowInSeconds\":0,"
		 "\"ParallelizationFactor\":1,\"MaximumRetryAttempts\":-1,\"MaximumRecordAgeInSeconds\":-1,"
		 "\"BisectBatchOnFunctionError\":true,\"FunctionResponseTypes\":[],"
		 "\"FilterCriteria\":{\"Filters\":[]},\"DestinationConfig\":{\"OnSuccess\":{\"Destination\":null},"
		 "\"OnFailure\":{\"Destination\":\"arn:aws:sqs:r:1:failed\"}}}"},
		{"schedule/default/p-f-1", "rate(5 minutes) -> f",
		 "{\"ScheduleExpression\":\"rate(5 minutes)\",\"ScheduleExpressionTimezone\":\"Europe/Berlin\","
		 "\"FlexibleTimeWindow\":{\"Mode\":\"OFF\"},\"Target\":{\"RoleArn\":\"arn:aws:iam::1:role/tandem\","
		 "\"Arn\":\"arn:aws:lambda:r:1:function:f\",\"Input\":\"{\\\"a\\\":\\\"007\\\"}\"}}"},
		{"rule/orders/p-f-1", "bus orders -> f",
		 "{\"State\":\"ENABLED\","
		 "\"EventPattern\":\"{\\\"source\\\":[\\\"shop\\\"]}\",\"Targets\":[{\"Id\":\"1\","
		 "\"Arn\":\"arn:aws:lambda:r:1:function:f\",\"Input\":null}]}"},
		{"subscription/alerts/f", "topic alerts -> f",
		 "{\"Protocol\":\"lambda\","
		 "\"Endpoint\":\"arn:aws:lambda:r:1:function:f\",\"Attributes\":{\"FilterPolicy\":null}}"},
		{"async/f:$LATEST", "events of f",
		 "{\"MaximumRetryAttempts\":1,\"MaximumEventAgeInSeconds\":21600,"
		 "\"DestinationConfig\":{\"OnSuccess\":{\"Destination\":\"arn:aws:sns:r:1:t\"},"
		 "\"OnFailure\":{\"Destination\":null}}}"},
		{"url/f:", "url -> f",
		 "{\"AuthType\":\"NONE\",\"Cors\":{\"AllowOrigins\":[\"*\"],\"AllowMethods\":[],"
		 "\"AllowHeaders\":[],"
		 "\"ExposeHeaders\":[],\"AllowCredentials\":false,\"MaxAge\":null}}"},
		{"rule/default/p-t-1", "bus default -> t",
		 "{\"State\":\"ENABLED\","
		 "\"EventPattern\":\"{\\\"source\\\":[\\\"shop\\\"]}\",\"Targets\":[{\"Id\":\"1\","
		 "\"Arn\":\"arn:aws:ecs:r:1:cluster/default\",\"Input\":null,"
		 "\"EcsParameters\":{\"TaskDefinitionArn\":\"arn:aws:ecs:r:1:task-definition/"
		 "t\",\"TaskCount\":1}}]}"},
		{"notify/media/p", "bucket media in/*.mp4 -> f, * -> g, bus default",
		 "{\"LambdaFunctionConfigurations\":[{\"Id\":\"p-f-1\","
		 "\"LambdaFunctionArn\":\"arn:aws:lambda:r:1:function:f\",\"Events\":[\"s3:"
		 "ObjectCreated:*\"],"
		 "\"Filter\":{\"Key\":{\"FilterRules\":[{\"Name\":\"prefix\",\"Value\":\"in/\"},"
		 "{\"Name\":\"suffix\",\"Value\":\".mp4\"}]}}},{\"Id\":\"p-g-1\","
		 "\"LambdaFunctionArn\":\"arn:aws:lambda:r:1:function:g\",\"Events\":[\"s3:"
		 "ObjectRemoved:*\"],"
		 "\"Filter\":{\"Key\":{\"FilterRules\":[]}}}],\"EventBridgeConfiguration\":{}}"},
	};
	auto_(manifest_free_p) struct manifest *m = NULL;
	struct err e = {0};

	CHECK(parse(text, &m, &e) == 0);
	CHECK_STR(e.text, "");
	if (!m)
		return;
	CHECK(m->resources.n == ARRAY_SIZE(want));
	for (size_t i = 0; i < m->resources.n && i < ARRAY_SIZE(want); i++) {
		const struct resource *x = &m->resources.p[i];
		auto_json doc = json_parse(str_of(x->doc), &e);

		CHECK(doc != NULL && str_starts(str_of(x->key), want[i][0]));
		CHECK_STR(x->title, want[i][1]);
		CHECK_STR(x->doc, want[i][2]);
	}
}

struct compare {
	const char *(*key)(int table, size_t i);
	int table;
	size_t n;
};

static int known(void *arg, const char *key, const struct json *value)
{
	struct compare *c = arg;
	bool found = false;
	const char *name;

	for (size_t i = 0; (name = c->key(c->table, i)); i++)
		found |= !strcmp(name, key);
	if (!found)
		printf("the schema has a key that the parser does not know: %s\n", key);
	CHECK(found);
	c->n++;
	return 0;
}

static void same_keys(const char *(*key)(int, size_t), int table, const struct json *object)
{
	struct compare c = {.key = key, .table = table};
	size_t n = 0;

	json_each(json_get(object, "properties"), known, &c);
	while (key(table, n))
		n++;
	CHECK(c.n == n);
}

TEST(schema_has_the_same_keys)
{
	auto_buf text = {0};
	struct err e = {0};
	auto_json j = NULL;
	const struct json *f;

	CHECK(io_read_file(AT_FDCWD, "spec/tandem.schema.json", 1 << 20, &text, &e) == 0);
	j = json_parse(buf_str(&text), &e);
	CHECK(j != NULL);
	f = json_get(json_get(j, "definitions"), "function");
	for (int i = 0; i < 4; i++) {
		static const char *const of[] = {"task", "container", "health", "service"};

		same_keys(workload_key, i, json_get(json_get(j, "definitions"), of[i]));
	}
	for (int i = 0; i < 5; i++) {
		static const char *const of[] = {"buckets", "queues", "streams", "topics", "buses"};

		same_keys(resource_key, i,
			  json_get(json_get(json_get(j, "properties"), of[i]), "additionalProperties"));
	}
	for (int i = 5; i < 14; i++) {
		static const char *const of[] = {"onBucket", "onQueue", "onStream", "onSchedule", "onEvent",
						 "onTopic",  "url",	"cors",	    "budget"};

		same_keys(resource_key, i, json_get(json_get(j, "definitions"), of[i - 5]));
	}
	same_keys(manifest_key, 0, j);
	same_keys(manifest_key, 1, f);
	same_keys(manifest_key, 2, json_get(json_get(json_get(f, "properties"), "allow"), "items"));
}
