/* SPDX-License-Identifier: Apache-2.0 */
#include "trigger/pattern.h"

#include <fcntl.h>

#include "base/buf.h"
#include "base/io.h"
#include "tests/test.h"

static const char *result(struct str pattern, struct str event, struct err *e)
{
	auto_json pj = json_parse(pattern, NULL);
	auto_json ej = json_parse(event, NULL);
	struct pattern *p = pj && ej ? pattern_parse(pj, e) : NULL;
	const char *r = !pj || !ej ? "no JSON" : !p ? e->text : pattern_match(p, ej) ? "yes" : "no";

	pattern_free(p);
	return r;
}

TEST(recorded_at_aws)
{
	auto_buf all = {0};
	struct str rest, line, name, want, pattern;
	size_t n = 0;

	CHECK(io_read_file(AT_FDCWD, "tests/trigger/patterns.tsv", 1 << 20, &all, NULL) == 0);
	rest = buf_str(&all);
	while (str_next(&rest, '\n', &line)) {
		struct err e = {0};

		if (line.p[0] == '#')
			continue;
		CHECK(str_cut(line, '\t', &name, &line) && str_cut(line, '\t', &want, &line) &&
		      str_cut(line, '\t', &pattern, &line));
		if (!str_eqc(want, result(pattern, line, &e))) {
			printf(STR_FMT ": ", STR_ARG(name));
			CHECK_STR(result(pattern, line, &e), "(see the table)");
		}
		n++;
	}
	CHECK(n > 150);
}

TEST(ours)
{
	static const struct {
		const char *pattern, *event, *want;
	} table[] = {
		/* the members of an object are met by one element of an array */
		{"{\"a\":{\"b\":[1],\"c\":[4]}}", "{\"a\":[{\"b\":1,\"c\":2},{\"b\":3,\"c\":4}]}", "no"},
		{"{\"a\":{\"b\":[3],\"c\":[4]}}", "{\"a\":[{\"b\":1,\"c\":2},{\"b\":3,\"c\":4}]}", "yes"},
		{"{\"a\":{\"b\":[3],\"c\":[4]}}", "{\"a\":[[{\"b\":3,\"c\":4}]]}", "yes"},
		{"{\"a\":{\"b\":[{\"exists\":false}]}}", "{\"a\":[{\"b\":1},{\"c\":2}]}", "no"},
		{"{\"a\":{\"b\":[{\"exists\":false}]}}", "{\"a\":[{\"d\":1},{\"c\":2}]}", "yes"},
		{"{\"a\":{\"b\":[{\"exists\":false}]}}", "{\"a\":[]}", "yes"},
		{"{\"a\":[{\"exists\":false}]}", "{\"a\":{\"b\":1}}", "yes"},
		{"{\"a\":[{\"exists\":false},\"x\"]}", "{\"a\":[[\"x\"]]}", "yes"},
		/* numbers */
		{"{\"a\":[{\"numeric\":[\">=\",-1,\"<\",1]}]}", "{\"a\":-1}", "yes"},
		{"{\"a\":[{\"numeric\":[\">=\",-1,\"<\",1]}]}", "{\"a\":1.0}", "no"},
		{"{\"a\":[{\"numeric\":[\"<=\",1e3]}]}", "{\"a\":1000}", "yes"},
		{"{\"a\":[{\"numeric\":[\">\",1,\"<\",1]}]}", "{}", "Bottom must be less than top"},
		{"{\"a\":[{\"numeric\":[\"<\",1,\">\",0]}]}", "{}", "Too many elements in numeric expression"},
		{"{\"a\":[{\"numeric\":[\"=\",1,\"<\",2]}]}", "{}", "Too many elements in numeric expression"},
		{"{\"a\":[{\"numeric\":[\"<\",1,\"<\",2]}]}", "{}", "Too many elements in numeric expression"},
		{"{\"a\":[{\"numeric\":[]}]}", "{}", "Value of numeric must be an array."},
		{"{\"a\":[{\"numeric\":[1,2]}]}", "{}", "Unrecognized numeric range operator: "},
		/* wildcards */
		{"{\"a\":[{\"wildcard\":\"*.tx\\\\*\"}]}", "{\"a\":\"b.tx*\"}", "yes"},
		{"{\"a\":[{\"wildcard\":\"*.tx\\\\*\"}]}", "{\"a\":\"b.txt\"}", "no"},
		{"{\"a\":[{\"wildcard\":\"a*b*c\"}]}", "{\"a\":\"abbcbc\"}", "yes"},
		{"{\"a\":[{\"wildcard\":\"a*\"}]}", "{\"a\":\"a\"}", "yes"},
		{"{\"a\":[{\"wildcard\":\"a\\\\\"}]}", "{}", "Invalid escape character at pos 1"},
		{"{\"a\":[{\"wildcard\":\"\\\\**\"}]}", "{\"a\":\"*b\"}", "yes"},
		/* $or inside of $or; a member of that name that is no list of objects is a key */
		{"{\"$or\":[{\"$or\":[{\"a\":[1]},{\"a\":[2]}]},{\"b\":[1]}],\"c\":[1]}", "{\"a\":2,\"c\":1}", "yes"},
		{"{\"$or\":[{\"$or\":[{\"a\":[1]},{\"a\":[2]}]},{\"b\":[1]}],\"c\":[1]}", "{\"a\":2,\"c\":2}", "no"},
		{"{\"$or\":[1,2]}", "{\"$or\":2}", "yes"},
		{"{\"$or\":[{\"a\":[1]}]}", "{}", "There must have at least 2 Objects in $or relationship."},
		{"{\"$or\":[{\"a\":[1]},2]}", "{}", "Only objects are allowed in $or relationship."},
		/* refused */
		{"[]", "{}", "Filter is not an object"},
		{"{}", "{}", "Empty objects are not allowed"},
		{"{\"a\":{}}", "{}", "Empty objects are not allowed"},
		{"{\"a\":[[1]]}", "{}", "Match value must be String, number, true, false, or null"},
		{"{\"a\":[{\"prefix\":\"a\",\"suffix\":\"b\"}]}", "{}", "Only one key allowed in match expression"},
		{"{\"a\":[{\"exists\":1}]}", "{}", "exists match pattern must be either true or false."},
		{"{\"a\":[{\"anything-but\":{\"numeric\":[\"=\",1]}}]}", "{}",
		 "Unsupported anything-but pattern: numeric"},
		{"{\"a\":[{\"anything-but\":[]}]}", "{}", "Empty arrays are not allowed"},
		{"{\"a\":[{\"cidr\":\"10.0.0.0/33\"}]}", "{}", "Malformed CIDR, too many mask bits"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct err e = {0};

		CHECK_STR(result(str_of(table[i].pattern), str_of(table[i].event), &e), table[i].want);
	}
}

TEST(exact_values_for_an_index)
{
	auto_json j = json_parse(STR("{\"source\":[\"a\",\"b\"],\"detail-type\":[\"c\",{\"prefix\":\"d\"}]}"), NULL);
	struct pattern *p = pattern_parse(j, NULL);
	struct str s = STR_NULL;

	CHECK(pattern_exact(p, "source", 0, &s) && str_eqc(s, "a"));
	CHECK(pattern_exact(p, "source", 1, &s) && str_eqc(s, "b"));
	CHECK(!pattern_exact(p, "source", 2, &s));
	CHECK(!pattern_exact(p, "detail-type", 0, &s));
	CHECK(!pattern_exact(p, "other", 0, &s));
	pattern_free(p);
}

TEST(too_many_parts)
{
	auto_buf b = {0};
	struct err e = {0};

	buf_adds(&b, "{\"a\":[0");
	for (int i = 1; i < 2000; i++)
		buf_addf(&b, ",%d", i);
	buf_adds(&b, "]}");
	auto_json j = json_parse(buf_str(&b), NULL);

	CHECK(!pattern_parse(j, &e) && str_starts(str_of(e.text), "Rule is too complex"));
}
