/* SPDX-License-Identifier: Apache-2.0 */
#include "base/def.h"
#include "service/service_int.h"
#include "tests/test.h"

static int set(struct service_spec *s, const char *key, const char *text, struct err *e)
{
	auto_json j = json_parse(str_of(text), e);

	return j ? service_spec_set(s, key, j, e) : -1;
}

TEST(members)
{
	static const struct {
		const char *key, *value, *wrong; /* NULL: right */
	} t[] = {
		{"min", "0", NULL},
		{"min", "-1", "min: is a number from 0 to 1000"},
		{"min", "\"many\"", "min: is a number from 0 to 1000"},
		{"idle", "\"90s\"", NULL},
		{"idle", "90", NULL},
		{"idle", "\"500ms\"", NULL},
		{"idle", "\"1 week\"", "idle: is a time like 30s, 5m or 500ms, of at most 7 days"},
		{"idle", "604801", "idle: is a time like 30s, 5m or 500ms, of at most 7 days"},
		{"idle", "-1", "idle: is a time like 30s, 5m or 500ms, of at most 7 days"},
		{"restart", "\"on-failure\"", NULL},
		{"restart", "\"sometimes\"", "restart: is one of always, on-failure, never"},
		{"port", "8080", NULL},
		{"port", "65536", "port: is a number from 1 to 65535"},
		{"route", "\"/shop/*\"", NULL},
		{"route", "\"shop\"", "route: is a path like /predict, or /shop/* for all below one"},
		{"route", "\"/a*b\"", "route: is a path like /predict, or /shop/* for all below one"},
		{"route", "\"/a b\"", "route: holds plain characters of a path only; all below a prefix is /prefix/*"},
		{"route", "7", "route: is a path like /predict, or /shop/* for all below one"},
		{"ports", "[\"8443:443\", \"127.0.0.1:81:80\", \"[::1]:9:9\"]", NULL},
		{"ports", "[\"443\"]",
		 "ports: holds ports like \"8443:443\" or \"127.0.0.1:8443:443\": of the host, then of the container"},
		{"ports", "[\"name:8443:443\"]",
		 "ports: holds ports like \"8443:443\" or \"127.0.0.1:8443:443\": of the host, then of the container"},
		{"ports", "[7]",
		 "ports: holds ports like \"8443:443\" or \"127.0.0.1:8443:443\": of the host, then of the container"},
		{"ports", "\"8443:443\"", "ports: is a list of at most 16 ports like \"8443:443\""},
		{"rollout", "{\"strategy\": \"canary\", \"steps\": [10, 50], \"wait\": \"30s\"}", NULL},
		{"rollout", "{\"steps\": [50, 10]}",
		 "rollout: steps: is a list of at most 8 rising percentages below 100, like [10, 50]"},
		{"rollout", "{\"steps\": [1,2,3,4,5,6,7,8,9]}",
		 "rollout: steps: is a list of at most 8 rising percentages below 100, like [10, 50]"},
		{"rollout", "{\"strategy\": \"green\"}",
		 "rollout: strategy: is one of rolling, replace, blue-green, canary"},
		{"rollout", "\"canary\"", "rollout: holds keys, like strategy: canary"},
		{"cluster", "\"x\"", "cluster: is not known here"},
	};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		auto_(service_spec_done) struct service_spec s;
		struct err e = {0};

		service_spec_default(&s);
		CHECK(set(&s, t[k].key, t[k].value, &e) == (t[k].wrong ? -1 : 0));
		CHECK_STR(e.text, t[k].wrong ? t[k].wrong : "");
	}
}

/* What is written is what is read again. */
TEST(record)
{
	auto_(service_spec_done) struct service_spec s, again = {0};
	auto_buf one = {0}, two = {0};
	struct jw w = jw_object(&one);
	struct err e = {0};

	service_spec_default(&s);
	CHECK(set(&s, "ports", "[\"8443:443\", \"10.0.0.1:53:53\"]", &e) == 0);
	CHECK(set(&s, "rollout", "{\"strategy\": \"canary\", \"steps\": [1, 99], \"rollback\": false}", &e) == 0);
	CHECK(set(&s, "route", "\"/x\"", &e) == 0 && set(&s, "port", "80", &e) == 0 && set(&s, "max", "7", &e) == 0);
	strlcpy_(s.name, "web", sizeof(s.name));
	strlcpy_(s.family, "web", sizeof(s.family));
	s.revision = 3;
	s.source = str_dup(STR("{\"a\": \"\\u0000\"}"));
	CHECK(service_spec_check(&s, &e) == 0);
	service_spec_record(&s, &w);
	jw_end(&w, '}');
	auto_json j = json_parse(buf_str(&one), &e);

	CHECK(service_spec_read(&again, j, &e) == 0);
	w = jw_object(&two);
	service_spec_record(&again, &w);
	jw_end(&w, '}');
	CHECK_STR(one.p, two.p);
	s.min = 8;
	CHECK(service_spec_check(&s, &e) < 0);
	CHECK_STR(e.text, "min is 8, more than max, which is 7");
}
