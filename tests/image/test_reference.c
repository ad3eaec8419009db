/* SPDX-License-Identifier: Apache-2.0 */
#include "image/reference.h"

#include "tests/test.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

TEST(names_as_people_write_them)
{
	static const struct {
		const char *text, *whole, *host;
		bool loopback;
	} t[] = {
		{"nginx", "docker.io/library/nginx:latest", "docker.io", false},
		{"nginx:1.25", "docker.io/library/nginx:1.25", "docker.io", false},
		{"team/app", "docker.io/team/app:latest", "docker.io", false},
		{"docker.io/nginx", "docker.io/library/nginx:latest", "docker.io", false},
		{"index.docker.io/a/b:c", "docker.io/a/b:c", "docker.io", false},
		{"localhost/app", "localhost/app:latest", "localhost", true},
		{"localhost:5000/a/b:v", "localhost:5000/a/b:v", "localhost:5000", true},
		{"127.0.0.1:5000/a", "127.0.0.1:5000/a:latest", "127.0.0.1:5000", true},
		{"[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000", true},
		{"127.example/a", "127.example/a:latest", "127.example", false},
		{"127.0.0.1.example:80/a", "127.0.0.1.example:80/a:latest", "127.0.0.1.example:80", false},
		{"registry.example:80/x.y/a_b/c--d__e", "registry.example:80/x.y/a_b/c--d__e:latest",
		 "registry.example:80", false},
		{"a@sha256:" HEX, "docker.io/library/a@sha256:" HEX, "docker.io", false},
		{"a:tag@sha256:" HEX, "docker.io/library/a@sha256:" HEX, "docker.io", false},
		{"app:5000", "docker.io/library/app:5000", "docker.io", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct reference r, again;
		struct err e = {0};

		CHECK(reference_parse(t[i].text, &r, &e) == 0);
		if (e.kind)
			printf("%s: %s\n", t[i].text, e.text);
		CHECK_STR(r.text, t[i].whole);
		CHECK_STR(r.host, t[i].host);
		CHECK(r.loopback == t[i].loopback);
		CHECK(reference_parse(r.text, &again, NULL) == 0);
		CHECK_STR(again.text, r.text);
	}
}

TEST(what_is_no_name)
{
	static const char *const t[] = {
		"",
		":",
		"a:",
		":a",
		"A",
		"a/B",
		"-a",
		"a-",
		"a/",
		"/a",
		"a//b",
		"a/../b",
		"../a",
		"a b",
		"a\n",
		"a;b",
		"a:.x",
		"a:-x",
		"a:b:c",
		"a@",
		"a@sha256:12",
		"a@md5:x",
		"a@sha256:X",
		"--flag",
		"http://a",
		"a..b",
		"h.example:99999999/a",
		"[::1/a",
		"[x]:5/a",
		"h.example:/a",
		"h.example:p/a",
		"a@sha256:" HEX "0",
	};
	char longer[600];

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct reference r;
		struct err e = {0};

		CHECK(reference_parse(t[i], &r, &e) < 0);
		CHECK(e.kind == ERR_INVALID && e.text[0]);
		if (!e.kind)
			printf("accepted: %s as %s\n", t[i], r.text);
	}
	for (size_t n = 100; n < sizeof(longer); n++) {
		struct reference r;

		memset(longer, 'a', n);
		longer[n] = '\0';
		CHECK((reference_parse(longer, &r, NULL) == 0) ==
		      (n <= REFERENCE_NAME_MAX - strlen("docker.io/library/")));
	}
}
