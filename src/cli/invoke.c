/* SPDX-License-Identifier: Apache-2.0 */
/* invoke: one event in, the answer out. stop: ends the instances of a function. */
#include "cli/call.h"
#include "cli/verbs.h"

struct invoke_opts {
	const char *payload;
	bool async, log;
};
#define AT(f) offsetof(struct invoke_opts, f)
const struct opt invoke_options[] = {
	{'p', "payload", OPT_TEXT, "JSON|@FILE|-",
	 "the event: JSON, a file, or - for standard input ({} when left out)", AT(payload)},
	{0, "async", OPT_FLAG, NULL, "accept it, run it at least once, do not wait", AT(async)},
	{0, "log", OPT_FLAG, NULL, "print the log of this call on standard error", AT(log)},
	{0},
};

static void print_summary(struct cli *c, const struct json *j)
{
	const struct json *t = json_get(j, "timing");

	cli_note(c, "%s, %.2f ms (wait %.2f, start %.2f, init %.2f, handler %.2f), billed %lld ms",
		 json_get_bool(t, "cold", false) ? "cold" : "warm",
		 (double)(json_get_int(t, "queue_us", 0) + json_get_int(t, "start_us", 0) +
			  json_get_int(t, "init_us", 0) + json_get_int(t, "handler_us", 0)) /
			 1000,
		 (double)json_get_int(t, "queue_us", 0) / 1000, (double)json_get_int(t, "start_us", 0) / 1000,
		 (double)json_get_int(t, "init_us", 0) / 1000, (double)json_get_int(t, "handler_us", 0) / 1000,
		 (long long)json_get_int(t, "billed_ms", 0));
}

static int exit_of(struct str outcome)
{
	if (str_eqc(outcome, "ok"))
		return CLI_OK;
	return str_eqc(outcome, "timeout") ? CLI_TIMEOUT : CLI_FAILED;
}

int invoke_run(struct cli *c, int argc, char **argv)
{
	struct invoke_opts o = {.payload = "{}"};
	auto_buf payload = {0}, target = {0}, body = {0};
	struct err e = {0};
	auto_json j = NULL;
	struct str answer, log, outcome;

	if (!cli_options(c, &o, &argc, argv, 1, 1))
		return c->exit;
	if (call_payload(o.payload, &payload, &e) < 0)
		return cli_fail(&e);
	if (json_check(buf_str(&payload), &e) < 0) {
		err_wrap(&e, "the payload is not JSON");
		cli_fail(&e);
		return CLI_USAGE;
	}
	call_target(&target, "/v1/functions/", argv[0], "/invoke");
	if (o.async)
		call_query(&target, "async", "1");
	if (o.log)
		call_query(&target, "log", "1");
	if (call_json(c, "POST", target.p, buf_str(&payload), &body, &j) < 0)
		return c->exit;
	outcome = json_get_str(j, "outcome");
	if (call_print_json(c, &body))
		return o.async ? CLI_OK : exit_of(outcome);
	if (o.async) {
		printf("accepted " STR_FMT "\n", STR_ARG(json_get_str(j, "request_id")));
		return CLI_OK;
	}
	log = json_get_str(j, "log");
	if (o.log && log.n)
		fwrite(log.p, 1, log.n, stderr);
	answer = json_get_str(j, "body");
	if (answer.n) {
		fwrite(answer.p, 1, answer.n, stdout);
		putchar('\n');
	}
	if (exit_of(outcome) != CLI_OK) {
		fflush(stdout);
		cli_failf("%s: " STR_FMT "; more: tandem logs %s", argv[0], STR_ARG(json_get_str(j, "reason")),
			  argv[0]);
		return exit_of(outcome);
	}
	if (o.log)
		print_summary(c, j);
	return CLI_OK;
}

static int stop_task(struct cli *c, const char *name)
{
	auto_buf target = {0}, body = {0};
	auto_json j = NULL;

	call_target(&target, "/v1/tasks/", name, "/stop");
	if (call_json(c, "POST", target.p, STR_NULL, &body, &j) < 0)
		return c->exit;
	if (!call_print_json(c, &body)) {
		auto_free char *reason = cli_clean(str_dup(json_get_str(j, "reason")));

		printf("%s: %s\n", name, reason);
	}
	return CLI_OK;
}

/* A function of that name comes first: it was there before any task could be. */
static bool is_task(struct cli *c, const char *name)
{
	auto_buf function = {0}, task = {0};

	call_target(&function, "/v1/functions/", name, "");
	call_target(&task, "/v1/tasks/", name, "");
	return call_status(c, function.p) == 404 && call_status(c, task.p) == 200;
}

int restart_run(struct cli *c, int argc, char **argv)
{
	auto_buf target = {0}, body = {0};
	auto_json j = NULL;

	if (!cli_options(c, NULL, &argc, argv, 1, 1))
		return c->exit;
	call_target(&target, "/v1/restart/", argv[0], "");
	if (call_json(c, "POST", target.p, STR_NULL, &body, &j) < 0)
		return c->exit;
	if (!call_print_json(c, &body) && json_get(j, "id"))
		printf(STR_FMT "\n", STR_ARG(json_get_str(j, "id")));
	return CLI_OK;
}

int stop_run(struct cli *c, int argc, char **argv)
{
	auto_buf target = {0};
	auto_json j = NULL;

	if (!cli_options(c, NULL, &argc, argv, 1, 1))
		return c->exit;
	if (is_task(c, argv[0]))
		return stop_task(c, argv[0]);
	call_target(&target, "/v1/functions/", argv[0], "/stop");
	if (!call_show(c, "POST", target.p, STR_NULL, &j))
		return c->exit;
	printf("ended %lld instances of %s\n", (long long)json_get_int(j, "stopped", 0), argv[0]);
	return CLI_OK;
}
