/* SPDX-License-Identifier: Apache-2.0 */
/* doctor: looks at the host (doctor_host.c) and at the running daemon, and says in sentences what is missing and what
 * to do about it. */
#include <stdarg.h>
#include "cli/call.h"
#include "cli/doctor.h"
#include "cli/verbs.h"

void doctor_say(struct doctor *d, enum finding f, const char *check, const char *fmt, ...)
{
	static const char *const name[] = {"ok", "note", "missing"};
	static const enum tint tint[] = {TINT_GREEN, TINT_YELLOW, TINT_RED};
	auto_buf text = {0};
	va_list ap;
	char *p = NULL;

	va_start(ap, fmt);
	if (vasprintf(&p, fmt, ap) < 0)
		abort();
	va_end(ap);
	d->count[f]++;
	if (!d->c->json) {
		printf("%s%-8s%s %s\n", cli_tint(d->c, tint[f]), name[f], cli_plain(d->c), p);
	} else {
		jw_obj(&d->w, NULL);
		jw_strc(&d->w, "check", check);
		jw_strc(&d->w, "state", name[f]);
		jw_strc(&d->w, "text", p);
		jw_end(&d->w, '}');
	}
	free(p);
}

static void look_egress(struct doctor *d, struct str why)
{
	if (why.n)
		doctor_say(d, FINDING_NOTE, "egress", "Functions have no way out: " STR_FMT ".", STR_ARG(why));
	else
		doctor_say(
			d, FINDING_OK, "egress",
			"Functions reach the internet by way of this host. A firewall of its own that drops forwarded "
			"packets, as Docker's does, has to let through what comes from the devices tandem*: "
			"iptables -I DOCKER-USER -i tandem+ -j ACCEPT, and the same with -o.");
}

static void look_daemon(struct doctor *d)
{
	auto_buf body = {0};
	auto_json j = NULL;
	const struct json *list;
	int64_t failed = 0;

	if (!call_alive(d->c))
		return doctor_say(d, FINDING_NOTE, "daemon",
				  "No daemon answers at %s. Start one with: sudo tandem serve --state %s", d->c->sock,
				  d->c->state);
	if (call_json(d->c, "GET", "/v1/functions", STR_NULL, &body, &j) < 0)
		return doctor_say(d, FINDING_MISSING, "daemon", "The daemon at %s does not answer as it should.",
				  d->c->sock);
	list = json_get(j, "functions");
	doctor_say(d, FINDING_OK, "daemon", "The daemon at %s answers; %zu functions are declared.", d->c->sock,
		   json_len(list));
	for (size_t i = 0; i < json_len(list); i++)
		failed += str_eqc(json_get_str(json_at(list, i), "state"), "Failed");
	look_egress(d, json_get_str(j, "no_egress"));
	if (failed)
		doctor_say(d, FINDING_NOTE, "functions",
			   "%lld of them failed to start; tandem describe NAME tells why.", (long long)failed);
}

int doctor_run(struct cli *c, int argc, char **argv)
{
	struct doctor d = {.c = c};
	auto_buf out = {0};

	if (!cli_options(c, NULL, &argc, argv, 0, 0))
		return c->exit;
	jw_init(&d.w, &out);
	jw_arr(&d.w, NULL);
	doctor_host(&d);
	look_daemon(&d);
	jw_end(&d.w, ']');
	if (c->json)
		puts(out.p);
	else if (d.count[FINDING_MISSING])
		printf("\n%d things are missing; Tandem will not run as it should before they are there.\n",
		       d.count[FINDING_MISSING]);
	else
		printf("\nThis host has what Tandem needs.\n");
	return d.count[FINDING_MISSING] ? CLI_FAILED : CLI_OK;
}
