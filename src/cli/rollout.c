/* SPDX-License-Identifier: Apache-2.0 */
/* rollout: how a service gets from one revision to the next, its end without waiting, and the way back. */
#include "cli/call.h"
#include "cli/table.h"
#include "cli/verbs.h"

static void deployment_row(struct table *t, const struct json *d)
{
	const struct json *percent = json_get(d, "percent");
	char *reason = table_text(d, "reason");

	table_row(t, (char *[]){table_text(d, "definition"),
				cli_cell("%s", json_get_bool(d, "primary", false) ? "new" : "old"),
				table_text(d, "state"), table_int(d, "desired", ""), table_int(d, "instances", ""),
				table_int(d, "starting", ""), table_int(d, "failed", ""),
				percent ? table_int(d, "percent", "%") : NULL, reason ? cli_clean(reason) : NULL});
}

int rollout_run(struct cli *c, int argc, char **argv)
{
	static const char *const heads[] = {"REVISION",	 "",	    "STATE",	 ">DESIRED", ">READY",
					    ">STARTING", ">FAILED", ">REQUESTS", "REASON"};
	auto_buf target = {0};
	auto_json j = NULL;
	bool status;

	if (!cli_options(c, NULL, &argc, argv, 2, 2))
		return c->exit;
	status = !strcmp(argv[0], "status");
	if (!status && strcmp(argv[0], "promote") != 0 && strcmp(argv[0], "undo") != 0)
		return cli_usage(c, "rollout status, promote or undo; \"%s\" is none of them", argv[0]);
	call_target(&target, "/v1/services/", argv[1], status ? "" : !strcmp(argv[0], "undo") ? "/undo" : "/promote");
	if (!call_show(c, status ? "GET" : "POST", target.p, STR_NULL, &j))
		return c->exit;
	table_list(c, json_get(j, "deployments"), heads, ARRAY_SIZE(heads), deployment_row);
	for (size_t i = 0; i < 5 && i < json_len(json_get(j, "events")); i++)
		cli_note(c, "%s", json_str(json_at(json_get(j, "events"), i)).p);
	return CLI_OK;
}
