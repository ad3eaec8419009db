/* SPDX-License-Identifier: Apache-2.0 */
#include "task/doc.h"
#include "tests/test.h"

#define C(more) "{\"containers\": [{\"name\": \"a\", \"image\": \"i\"" more "}]}"
#define TWO(of_a, of_b)                                                                                                \
	"{\"containers\": [{\"name\": \"a\", \"image\": \"i\"" of_a "}, {\"name\": \"b\", \"image\": \"i\"" of_b "}]}"
#define AFTER(whom, when) ", \"depends_on\": [{\"container\": \"" whom "\", \"condition\": \"" when "\"}]"
#define INESSENTIAL	  ", \"essential\": false"

static const char *const good[] = {
	"{\"image\": \"i\"}",
	"{\"image\": \"i\", \"name\": \"n\", \"attach\": true, \"rows\": 24, \"cols\": 80, \"egress\": \"none\"}",
	C(", \"ulimits\": {\"nofile\": [1024, 2048]}, \"ports\": [80, 443], \"cpu\": 0.5, \"cap_drop\": [\"ALL\"]"),
	C(", \"mounts\": [{\"path\": \"/d\", \"volume\": \"v\"}, {\"path\": \"/t\", \"tmpfs_mb\": 1}]"),
	C(", \"secrets\": [{\"name\": \"s\"}, {\"name\": \"s\", \"env\": \"S\"}]"),
	C(", \"health\": {\"command\": [\"true\"], \"interval_s\": 5}"),
	TWO(INESSENTIAL, AFTER("a", "SUCCESS")),
	TWO(", \"health\": {\"tcp\": 80}", AFTER("a", "HEALTHY")),
};

static const struct {
	const char *text, *error;
} bad[] = {
	{"[]", "a task is a JSON object"},
	{"{}", "\"image\" is missing"},
	{"{\"image\": 7}", "image: is a text"},
	{"{\"image\": \"i\", \"colour\": 1}", "\"colour\" is not known here"},
	{"{\"image\": \"i\", \"command\": \"ls\"}", "command: is a list of texts"},
	{"{\"image\": \"i\", \"command\": [1]}", "command[0]: is a list of texts"},
	{"{\"image\": \"i\", \"env\": {\"A=B\": \"x\"}}",
	 "env: is an object of texts, none with an empty name or one that holds a \"=\""},
	{"{\"image\": \"i\", \"memory_mb\": 3}", "memory_mb: is from 4 to 1048576"},
	{"{\"image\": \"i\", \"memory_mb\": 4.5}", "memory_mb: is a whole number"},
	{"{\"image\": \"i\", \"workdir\": \"x\"}", "workdir begins with \"/\""},
	{"{\"containers\": []}", "containers: holds 1 to 10"},
	{"{\"containers\": [{}]}", "containers[0]: \"image\" is missing"},
	{C(", \"attach\": true"), "containers[0]: \"attach\" is not known here"},
	{C(", \"ulimits\": {\"nofile\": [1]}"), "containers[0].ulimits: is [soft, hard], two whole numbers"},
	{C(", \"mounts\": [{\"path\": \"d\", \"volume\": \"v\"}]"), "containers[0]: mounts: paths begin with \"/\""},
	{C(", \"mounts\": [{\"path\": \"/d\"}]"), "containers[0]: mounts: /d wants one of volume, host and tmpfs_mb"},
	{C(", \"health\": {\"http\": \"/\"}"),
	 "containers[0]: health: http is a path like /healthz, and wants the port"},
	{C(", \"health\": {}"), "containers[0]: health: one of command, http and tcp says how to look"},
	{C(", \"ulimits\": {\"files\": [1, 1]}"), "containers[0]: ulimits: there is no \"files\"; one is nofile"},
	{C(", \"ulimits\": {\"nofile\": [2, 1]}"),
	 "containers[0]: ulimits: of nofile the soft limit is above the hard one"},
	{C(", \"devices\": [\"fuse\"]"),
	 "containers[0]: devices: \"fuse\" is no path below /dev, nor a name like vendor.com/class=one"},
	{C(", \"cap_add\": [\"FLY\"]"), "containers[0]: there is no capability \"FLY\"; one is NET_RAW"},
	{C(INESSENTIAL), "one container at least is essential"},
	{"{\"containers\": [{\"image\": \"i\"}, {\"image\": \"i\"}]}",
	 "containers[1]: two containers have the name \"main\""},
	{C(AFTER("b", "START")), "containers[0]: depends_on: there is no container \"b\" in this task"},
	{C(AFTER("a", "START")), "depends_on: \"a\" waits for itself in the end"},
	{TWO(AFTER("b", "START"), AFTER("a", "START")), "depends_on: \"a\" waits for itself in the end"},
	{TWO("", AFTER("a", "LATER")), "containers[1]: depends_on: a condition is START, COMPLETE, SUCCESS or HEALTHY"},
	{TWO("", AFTER("a", "HEALTHY")), "containers[1]: depends_on: \"a\" has no health check that could say HEALTHY"},
	{TWO("", AFTER("a", "SUCCESS")),
	 "containers[1]: depends_on: the end of \"a\" is the end of the task; say that it is not essential"},
	{"{\"memory_mb\": 8, \"containers\": [{\"image\": \"i\", \"memory_mb\": 16}]}",
	 "memory_mb: its containers want more than the 8 MB of the task"},
	{"{\"image\": \"i\", \"runtime\": \"docker\"}", "runtime is tandem, crun or runc"},
	{"{\"image\": \"i\", \"egress\": \"everywhere\"}", NULL},
};

TEST(texts)
{
	struct err e;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		auto_json doc = json_parse(str_of(good[i]), &e);
		struct err none = {0};

		CHECK(doc && task_doc_check(doc, &none) == 0);
		CHECK_STR(none.text, "");
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		auto_json doc = json_parse(str_of(bad[i].text), &e);

		CHECK(doc && task_doc_check(doc, &e) < 0);
		CHECK(e.kind == ERR_INVALID);
		if (bad[i].error)
			CHECK_STR(e.text, bad[i].error);
	}
}

TEST(needs)
{
	auto_json doc = json_parse(STR(TWO(INESSENTIAL, AFTER("a", "COMPLETE"))), NULL);
	auto_json over = json_parse(STR("{\"containers\": [{\"name\": \"c\"}]}"), NULL);
	unsigned on[TASK_ON_N];
	struct err e;

	task_doc_needs(doc, 1, on);
	CHECK(!on[TASK_ON_START] && on[TASK_ON_COMPLETE] == 1 && !on[TASK_ON_SUCCESS] && !on[TASK_ON_HEALTHY]);
	CHECK(task_overrides_check(over, doc, &e) < 0);
	CHECK_STR(e.text, "overrides: there is no container \"c\" in this task");
}
