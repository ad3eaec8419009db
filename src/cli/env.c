/* SPDX-License-Identifier: Apache-2.0 */
/*
 * env: lines for a shell. New SDKs take AWS_ENDPOINT_URL; for those that do not know it there are a shell function
 * `aws` (old AWS CLI), a preload for node (aws-sdk v2) and a sitecustomize folder (boto3 before 1.28). Each of them
 * does nothing unless its client is loaded.
 */
#include <limits.h>
#include <stdio.h>
#include "cli/call.h"
#include "cli/verbs.h"

struct env_opts {
	bool unset;
};
const struct opt env_options[] = {
	{0, "unset", OPT_FLAG, NULL, "lines that take all of it back", offsetof(struct env_opts, unset)},
	{0},
};

static void set(struct buf *out, const char *name, struct str value)
{
	buf_addf(out, "export %s=", name);
	cli_shell_quote(out, value);
	buf_addc(out, '\n');
}

/* A word inside NODE_OPTIONS: node itself splits at spaces and knows double quotes with backslashes. */
static void node_word(struct buf *out, const char *path)
{
	buf_addc(out, '"');
	for (; *path; path++) {
		if (*path == '"' || *path == '\\')
			buf_addc(out, '\\');
		buf_addc(out, *path);
	}
	buf_addc(out, '"');
}

/* Where shim/client lies: installed below libexec, in a build tree beside build/. */
static bool find_shim(char *out, size_t size)
{
	static const char *const places[] = {"/shim/client", "/../shim/client"};
	char lib[PATH_MAX], path[PATH_MAX + 32], real[PATH_MAX];
	struct err e = {0};

	if (cli_libexec(lib, sizeof(lib), &e) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		snprintf(path, sizeof(path), "%s%s", lib, places[i]);
		if (realpath(path, real) && strlcpy_(out, real, size) < size)
			return true;
	}
	return false;
}

static void shims(struct buf *out)
{
	auto_buf node = {0}, python = {0};
	const char *old = getenv("NODE_OPTIONS"), *old_py = getenv("PYTHONPATH");
	char dir[PATH_MAX], path[PATH_MAX + 32];

	if (!find_shim(dir, sizeof(dir)))
		return;
	snprintf(path, sizeof(path), "%s/aws-sdk-v2.js", dir);
	if (old && *old)
		buf_addf(&node, "%s", old);
	if (!old || !strstr(old, path)) {
		buf_adds(&node, node.n ? " --require " : "--require ");
		node_word(&node, path);
	}
	set(out, "NODE_OPTIONS", buf_str(&node));
	snprintf(path, sizeof(path), "%s/python", dir);
	buf_adds(&python, old_py && strstr(old_py, path) ? "" : path);
	if (old_py && *old_py)
		buf_addf(&python, "%s%s", python.n ? ":" : "", old_py);
	set(out, "PYTHONPATH", buf_str(&python));
}

static void shell_lines(struct buf *out, const struct json *j)
{
	static const struct {
		const char *name, *key;
	} vars[] = {
		{"AWS_ENDPOINT_URL", "endpoint"},
		{"AWS_ACCESS_KEY_ID", "access_key"},
		{"AWS_SECRET_ACCESS_KEY", "secret_key"},
		{"AWS_DEFAULT_REGION", "region"},
		{"AWS_REGION", "region"},
		{"TANDEM_GATEWAY", "gateway"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(vars); i++)
		set(out, vars[i].name, json_get_str(j, vars[i].key));
	set(out, "AWS_PAGER", STR(""));
	/* A profile or a session token of the real cloud would win over or spoil these keys. */
	buf_adds(out, "unset AWS_PROFILE AWS_SESSION_TOKEN AWS_SECURITY_TOKEN AWS_DEFAULT_PROFILE\n");
	set(out, "AWS_EC2_METADATA_DISABLED", STR("true"));
	shims(out);
	buf_adds(out, "aws() { command aws --endpoint-url \"$AWS_ENDPOINT_URL\" \"$@\"; }\n");
}

int env_run(struct cli *c, int argc, char **argv)
{
	struct env_opts o = {0};
	auto_buf out = {0};
	auto_json j = NULL;

	if (!cli_options(c, &o, &argc, argv, 0, 0))
		return c->exit;
	if (o.unset) {
		puts("unset AWS_ENDPOINT_URL AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_DEFAULT_REGION AWS_REGION "
		     "AWS_PAGER "
		     "AWS_EC2_METADATA_DISABLED TANDEM_GATEWAY NODE_OPTIONS PYTHONPATH\nunset -f aws");
		return CLI_OK;
	}
	if (!call_show(c, "GET", "/v1/env", STR_NULL, &j))
		return c->exit;
	shell_lines(&out, j);
	fwrite(out.p, 1, out.n, stdout);
	if (isatty(1))
		cli_note(c, "# to use it in this shell: eval \"$(tandem env)\"");
	return CLI_OK;
}
