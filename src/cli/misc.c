/* SPDX-License-Identifier: Apache-2.0 */
/* Small verbs: version, debug. */
#include "cli/call.h"
#include "cli/verbs.h"
#include "json/write.h"

int version_run(struct cli *c, int argc, char **argv)
{
	auto_buf body = {0};
	auto_json j = NULL;
	auto_object(w, out);

	if (!cli_options(c, NULL, &argc, argv, 0, 0))
		return c->exit;
	/* Asked without complaint: the version of the tool is an answer also when no daemon runs. */
	if (call_alive(c) && call_json(c, "GET", "/v1/version", STR_NULL, &body, &j) < 0)
		return c->exit;
	if (!c->json) {
		printf("tandem %s\n", TANDEM_VERSION);
		if (j)
			printf("tandemd " STR_FMT " at %s\n", STR_ARG(json_get_str(j, "version")), c->state);
		return CLI_OK;
	}
	jw_strc(&w, "tandem", TANDEM_VERSION);
	if (j)
		jw_str(&w, "tandemd", json_get_str(j, "version"));
	else
		jw_null(&w, "tandemd");
	jw_end(&w, '}');
	puts(out.p);
	return CLI_OK;
}

int debug_run(struct cli *c, int argc, char **argv)
{
	auto_buf body = {0};

	if (!cli_options(c, NULL, &argc, argv, 0, 0))
		return c->exit;
	if (call_daemon(c, "GET", "/v1/debug", STR_NULL, &body) < 0)
		return c->exit;
	c->json = true;
	call_print_json(c, &body);
	return CLI_OK;
}
