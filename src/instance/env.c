/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/env.h"
#include <stdarg.h>
#include <stdio.h>
#include "base/mem.h"

struct strings {
	struct buf *out;
	uint32_t n;
};

static void PRINTF(2, 3) put(struct strings *s, const char *fmt, ...)
{
	char *text;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	va_end(ap);
	buf_add(s->out, text, strlen(text) + 1);
	free(text);
	s->n++;
}

/* Without the site module, and as an import, so that its byte code is cached: why, and what the shim does instead, is
 * said in shim/python/shim.py. */
static const char python_start[] = "import sys; sys.path.insert(0, \"/var/runtime/python\"); import shim; shim.main()";

static void put_argv(struct strings *s, const struct env_facts *f)
{
	const struct revision *r = f->revision;

	switch (r->kind) {
	case RUNTIME_IMAGE:
		buf_addstr(s->out, f->program->head);
		s->n = f->program->argc;
		break;
	case RUNTIME_PYTHON:
		put(s, "/usr/bin/python3");
		put(s, "-S");
		put(s, "-X");
		put(s, "utf8");
		put(s, "-c");
		put(s, "%s", python_start);
		break;
	case RUNTIME_NODE:
		put(s, "/usr/bin/node");
		put(s, "--max-old-space-size=%d",
		    r->memory_mb * 9 / 10); /* it would take the host's memory for its own */
		if (f->tls)
			put(s, "--use-openssl-ca");
		put(s, "/var/runtime/node/shim.js");
		break;
	default:
		put(s, "/var/task/bootstrap");
	}
}

static const char *const reserved[] = {"_HANDLER",
				       "AWS_LAMBDA_FUNCTION_NAME",
				       "AWS_LAMBDA_FUNCTION_VERSION",
				       "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
				       "AWS_LAMBDA_RUNTIME_API",
				       "LAMBDA_TASK_ROOT",
				       "LAMBDA_RUNTIME_DIR",
				       "AWS_REGION",
				       "AWS_DEFAULT_REGION",
				       "AWS_ACCESS_KEY_ID",
				       "AWS_SECRET_ACCESS_KEY",
				       "AWS_SESSION_TOKEN",
				       "AWS_LAMBDA_LOG_GROUP_NAME",
				       "AWS_LAMBDA_LOG_STREAM_NAME",
				       "AWS_EXECUTION_ENV",
				       "AWS_LAMBDA_INITIALIZATION_TYPE",
				       "TANDEM_SEATS"};

static bool is_reserved(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(reserved); i++)
		if (!strcmp(reserved[i], name))
			return true;
	return false;
}

/* Set only where the user did not: a library that starts one thread per core in a sandbox of a fraction of one is
 * slower, not faster. */
static void put_default(struct strings *s, const struct revision *r, const char *name, const char *value)
{
	if (!pairs_get(&r->env, name))
		put(s, "%s=%s", name, value);
}

/* Of an image. The rest of its surroundings is its own, certificates too. */
static void put_image_env(struct strings *s, const struct env_facts *f)
{
	const char *line = f->program->env.p, *end = line + f->program->env.n;
	bool has_path = false;

	for (; line < end; line += strlen(line) + 1) {
		auto_free char *name = xstrndup(line, strcspn(line, "="));

		has_path |= !strcmp(name, "PATH");
		if (!is_reserved(name))
			put_default(s, f->revision, name, line + strlen(name) + 1);
	}
	if (!has_path)
		put_default(s, f->revision, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
}

static void put_host_env(struct strings *s, const struct env_facts *f)
{
	const struct revision *r = f->revision;

	if (f->tls) { /* what does not look into /etc/ssl/certs: botocore, and Node with certificates of its own */
		put_default(s, r, "AWS_CA_BUNDLE", "/etc/ssl/certs/ca-certificates.crt");
		/* One certificate more and Node reads its 140 own ones at its start, 15 ms. Where it is ours to start,
		 * it reads the host's when it needs one instead, and shim.js sets this for what it starts. */
		if (r->kind == RUNTIME_NODE)
			put_default(s, r, "SSL_CERT_DIR", "/etc/ssl/certs");
		else
			put_default(s, r, "NODE_EXTRA_CA_CERTS", "/etc/ssl/certs/tandem.pem");
	}
	put_default(s, r, "TZ", ":UTC");
	put_default(s, r, "LANG", "C.UTF-8");
	put_default(s, r, "HOME", "/tmp");
	put_default(s, r, "PATH", "/var/lang/bin:/usr/bin:/bin:/opt/bin");
	put_default(s, r, "LD_LIBRARY_PATH", "/var/task/lib:/opt/lib");
	put_default(s, r, "PYTHONDONTWRITEBYTECODE", "1");
	put_default(s, r, "OPENBLAS_NUM_THREADS", "1");
	put_default(s, r, "OMP_NUM_THREADS", "1");
	put_default(s, r, "NODE_PATH", "/opt/nodejs/node_modules:/var/task/node_modules:/var/task");
	put(s, "PWD=/var/task");
}

static void put_env(struct strings *s, const struct env_facts *f)
{
	const struct revision *r = f->revision;
	char version[VERSION_TEXT];

	put(s, "_HANDLER=%s", r->handler ? r->handler : "");
	put(s, "AWS_LAMBDA_FUNCTION_NAME=%s", r->name);
	put(s, "AWS_LAMBDA_FUNCTION_VERSION=%s", revision_version(r, version));
	put(s, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=%d", r->memory_mb);
	put(s, "AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/%s", r->name);
	put(s, "AWS_LAMBDA_LOG_STREAM_NAME=%s", f->log_stream);
	put(s, "AWS_LAMBDA_RUNTIME_API=169.254.100.1:9001");
	put(s, "AWS_LAMBDA_INITIALIZATION_TYPE=%s",
	    f->provisioned		 ? "provisioned-concurrency"
	    : r->version && r->snapstart ? "snap-start"
					 : "on-demand");
	put(s, "AWS_EXECUTION_ENV=AWS_Lambda_%s", r->runtime);
	put(s, "AWS_REGION=%s", f->region);
	put(s, "AWS_DEFAULT_REGION=%s", f->region);
	put(s, "AWS_ACCESS_KEY_ID=%s", f->function->access_key);
	put(s, "AWS_SECRET_ACCESS_KEY=%s", f->function->secret_key);
	put(s, "AWS_ENDPOINT_URL=http://169.254.100.2:4566");
	put(s, "LAMBDA_TASK_ROOT=/var/task");
	put(s, "LAMBDA_RUNTIME_DIR=/var/runtime");
	if (r->kind < RUNTIME_PROVIDED)
		put(s, "TANDEM_FD=%d", INIT_FD_CHAN);
	if (f->image)
		put(s, "TANDEM_IMAGE=1");
	if (f->seats > 1)
		put(s, "TANDEM_SEATS=%u", f->seats);
	(f->program ? put_image_env : put_host_env)(s, f);
	for (unsigned i = 0; i < r->env.n; i++)
		if (!is_reserved(r->env.p[i].name))
			put(s, "%s=%s", r->env.p[i].name, r->env.p[i].value);
}

int env_runtime(const struct env_facts *f, struct init_msg *m, struct buf *out, struct err *e)
{
	struct strings s = {.out = out};
	size_t before = out->n;

	put_argv(&s, f);
	m->argc = s.n;
	s.n = 0;
	put_env(&s, f);
	m->envc = s.n;
	if (out->n - before > INIT_MSG_MAX - sizeof(*m) - sizeof(struct init_run))
		return err_set(e, ERR_LIMIT, "environment of %s is too large: %zu bytes", f->revision->name,
			       out->n - before);
	m->text_bytes = (uint32_t)(out->n - before);
	return 0;
}
