/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "instance/env.h"
#include "tests/test.h"

/* The argument or variable number k of what env_runtime wrote. */
static const char *string_at(const struct buf *b, unsigned k)
{
	const char *p = b->p;

	while (k--)
		p += strlen(p) + 1;
	return p;
}

static bool has(const struct buf *b, const struct init_msg *m, const char *want)
{
	for (unsigned k = m->argc; k < m->argc + m->envc; k++)
		if (!strcmp(string_at(b, k), want))
			return true;
	return false;
}

static void run(enum runtime_kind kind, struct init_msg *m, struct buf *b)
{
	struct revision *r = revision_new();
	struct function f = {0};
	struct env_facts facts = {.revision = r,
				  .function = &f,
				  .account = "000000000000",
				  .region = "us-east-1",
				  .log_stream = "stream",
				  .provisioned = kind == RUNTIME_NODE,
				  .image = kind == RUNTIME_NODE,
				  .tls = true};
	struct err e;

	strlcpy_(r->name, "hello", sizeof(r->name));
	r->runtime = xstrdup("any");
	r->kind = kind;
	r->memory_mb = 512;
	r->version = kind == RUNTIME_NODE ? 7 : kind == RUNTIME_PROVIDED ? 3 : 0;
	r->snapstart = kind != RUNTIME_NODE;
	pairs_add(&r->env, STR("TZ"), STR(":Europe/Rome"));
	pairs_add(&r->env, STR("AWS_REGION"), STR("elsewhere")); /* reserved */
	CHECK(env_runtime(&facts, m, b, &e) == 0);
	CHECK(m->text_bytes == b->n);
	revision_unref(r);
}

TEST(command_lines)
{
	static const struct {
		enum runtime_kind kind;
		const char *argv[7];
	} t[] = {
		{RUNTIME_PYTHON,
		 {"/usr/bin/python3", "-S", "-X", "utf8", "-c",
		  "import sys; sys.path.insert(0, \"/var/runtime/python\"); import shim; shim.main()"}},
		{RUNTIME_NODE,
		 {"/usr/bin/node", "--max-old-space-size=460", "--use-openssl-ca", "/var/runtime/node/shim.js"}},
		{RUNTIME_PROVIDED, {"/var/task/bootstrap"}},
	};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		struct init_msg m = {0};
		auto_buf b = {0};
		unsigned n = 0;

		run(t[k].kind, &m, &b);
		for (; t[k].argv[n]; n++)
			CHECK_STR(string_at(&b, n), t[k].argv[n]);
		CHECK(m.argc == n);
	}
}

TEST(environment)
{
	struct init_msg m = {0};
	auto_buf b = {0};

	run(RUNTIME_PYTHON, &m, &b);
	CHECK(has(&b, &m, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=512"));
	CHECK(has(&b, &m, "TZ=:Europe/Rome"));
	CHECK(!has(&b, &m, "TZ=:UTC"));
	CHECK(has(&b, &m, "AWS_REGION=us-east-1"));
	CHECK(!has(&b, &m, "AWS_REGION=elsewhere"));
}

TEST(how_it_was_initialised)
{
	struct init_msg m = {0};
	auto_buf latest = {0}, seventh = {0}, third = {0};

	run(RUNTIME_PYTHON, &m, &latest);
	CHECK(has(&latest, &m, "AWS_LAMBDA_FUNCTION_VERSION=$LATEST"));
	CHECK(has(&latest, &m, "AWS_LAMBDA_INITIALIZATION_TYPE=on-demand"));
	CHECK(!has(&latest, &m, "TANDEM_IMAGE=1"));
	run(RUNTIME_NODE, &m, &seventh);
	CHECK(has(&seventh, &m, "AWS_LAMBDA_FUNCTION_VERSION=7"));
	CHECK(has(&seventh, &m, "AWS_LAMBDA_INITIALIZATION_TYPE=provisioned-concurrency"));
	CHECK(has(&seventh, &m, "TANDEM_IMAGE=1"));
	CHECK(has(&seventh, &m, "SSL_CERT_DIR=/etc/ssl/certs"));
	run(RUNTIME_PROVIDED, &m, &third);
	CHECK(has(&third, &m, "AWS_LAMBDA_INITIALIZATION_TYPE=snap-start"));
}
