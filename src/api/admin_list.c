/* SPDX-License-Identifier: Apache-2.0 */
/* What is declared and what runs. Values of environment variables are secrets until somebody asks for them. */
#include <limits.h>
#include <stdio.h>
#include "api/admin_int.h"
#include "base/clock.h"
#include "sched/policy.h"

static void put_status(struct admin *a, const struct function *f, struct jw *w, bool waits)
{
	int n = 0, busy = 0, waiting = 0;
	const char *why = NULL;
	auto_free char *workload = xasprintf("%s/%s", f->project, f->name);
	int64_t waited, left;
	auto_buf tags = {0};

	sched_function_status(a->o.sched, f, &n, &busy, &waiting, &why);
	jw_int(w, "instances", n);
	jw_int(w, "busy", busy);
	pairs_tags(&f->tags, &tags);
	admin_put_budget(a, workload, tags.n ? tags.p : "", w);
	if (!waits && !waiting)
		return;
	jw_int(w, "waiting", waiting);
	jw_strc(w, "waiting_for", waiting ? why : NULL);
	if (sched_oldest_wait(f, &waited, &left)) {
		jw_int(w, "waited_us", waited);
		jw_int(w, "waits_at_most_us", left > 0 ? left : 0);
	}
}

void admin_list(struct admin *a, struct http_req *r, struct str name)
{
	auto_object(w, out);

	jw_arr(&w, "functions");
	for (struct function *f = function_next(a->o.store, NULL); f; f = function_next(a->o.store, f)) {
		jw_obj(&w, NULL);
		jw_strc(&w, "name", f->name);
		jw_strc(&w, "project", f->project);
		jw_strc(&w, "runtime", f->latest->runtime);
		jw_int(&w, "memory_mb", f->latest->memory_mb);
		jw_int(&w, "timeout_s", f->latest->timeout_s);
		jw_strc(&w, "state", admin_function_state[f->state]);
		jw_strc(&w, "route", f->route);
		jw_strc(&w, "lane", lane_name[f->lane]);
		jw_int(&w, "created_us", f->created_wall_us);
		put_status(a, f, &w, false);
		admin_put_measured(a, f, NULL, &w);
		jw_end(&w, '}');
	}
	jw_end(&w, ']');
	admin_put_services(a, &w);
	admin_put_holders(a, &w);
	admin_put_triggers(a, NULL, &w);
	jw_strc(&w, "no_egress", a->o.no_egress);
	admin_object(r, 200, &w);
}

/* What of this host really runs a function: the declared name may ask for another version. */
static void put_runtime(const struct revision *rev, struct jw *w)
{
	static const char *const program[RUNTIME_N] = {
		[RUNTIME_PYTHON] = "/usr/bin/python3", [RUNTIME_NODE] = "/usr/bin/node"};
	char target[PATH_MAX], text[PATH_MAX + 64];
	ssize_t n;

	jw_strc(w, "runtime", rev->runtime);
	if (rev->image) {
		jw_strc(w, "served_by", "the container image");
		jw_raw(w, "image", str_of(rev->image));
		return;
	}
	if (!program[rev->kind])
		return jw_strc(w, "served_by", "the program bootstrap in its code");
	n = readlink(program[rev->kind], target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = 0;
	snprintf(text, sizeof(text), "%s%s%s%s of this host", program[rev->kind], n > 0 ? " (" : "", target,
		 n > 0 ? ")" : "");
	jw_strc(w, "served_by", text);
}

static void put_cpu(const struct revision *rev, enum lane lane, struct jw *w)
{
	char text[80];

	snprintf(text, sizeof(text), "%.2f: the share that its memory buys", policy_cpu_quota_us(rev->memory_mb) / 1e5);
	if (rev->cpu_quota_us)
		jw_real(w, "cpu", rev->cpu_quota_us / 100000.0);
	else
		jw_strc(w, "cpu", lane == LANE_CONTAINER && !rev->image ? text : "by weight of its memory, no quota");
}

static void put_revision(const struct revision *rev, enum lane lane, struct jw *w, bool values)
{
	char when[32];

	put_runtime(rev, w);
	jw_strc(w, "handler", rev->handler);
	if (rev->description && *rev->description)
		jw_strc(w, "description", rev->description);
	jw_int(w, "memory_mb", rev->memory_mb);
	jw_int(w, "timeout_s", rev->timeout_s);
	jw_int(w, "tmp_mb", rev->tmp_mb);
	put_cpu(rev, lane, w);
	if (values) {
		pairs_write(w, "environment", &rev->env);
	} else {
		jw_arr(w, "environment_names");
		for (unsigned i = 0; i < rev->env.n; i++)
			jw_strc(w, NULL, rev->env.p[i].name);
		jw_end(w, ']');
	}
	jw_obj(w, "code");
	jw_strc(w, "sha256", rev->code_sha256);
	jw_int(w, "bytes", rev->code_bytes);
	jw_end(w, '}');
	jw_arr(w, "layers");
	for (int i = 0; i < LIM_LAYERS && rev->layers[i][0]; i++)
		jw_strc(w, NULL, rev->layers[i]);
	jw_end(w, ']');
	jw_strc(w, "revision", rev->id);
	jw_strc(w, "modified", clock_fmt_iso(rev->modified_wall_us, when));
}

static void put_line(struct jw *w, struct buf *text)
{
	jw_str(w, NULL, buf_str(text));
	buf_clear(text);
}

void admin_lane_why(struct admin *a, const char *project, const char *name, struct jw *w)
{
	auto_free char *subject = xasprintf("%s/%s", project, name);
	const char *why = lanes_why(a->o.lanes, subject);

	if (why)
		jw_strc(w, "lane_why", why);
}

static void put_lane(struct admin *a, const struct function *f, struct jw *w)
{
	struct sched_lane_info l;

	sched_lane_info(a->o.sched, f, &l);
	jw_strc(w, "lane", lane_name[l.lane]);
	jw_strc(w, "lane_wish", lane_wish_name[f->scale.lane]);
	admin_lane_why(a, f->project, f->name, w);
	if (l.moving)
		jw_bool(w, "lane_moving", true);
	if (l.lane == LANE_CONTAINER || f->scale.lane != LANE_WISH_FUNCTION)
		jw_int(w, "concurrency", l.seats);
	if (l.alone)
		jw_strc(w, "concurrency_why", l.alone);
}

/* What is declared of its instances, and its versions by name: a line each. */
static void put_versions(struct admin *a, const struct function *f, struct jw *w)
{
	auto_buf text = {0};
	struct sched_kept kept;

	sched_kept(a->o.sched, f, f->latest, &kept);
	jw_int(w, "min", f->scale.min);
	if (kept.wanted) {
		jw_obj(w, "held_ready");
		jw_int(w, "wanted", kept.wanted);
		jw_int(w, "ready", kept.ready);
		if (kept.reason)
			jw_strc(w, "reason", kept.reason);
		jw_end(w, '}');
	}
	if (f->scale.max)
		jw_int(w, "max", f->scale.max);
	if (f->scale.keep_us >= 0)
		jw_real(w, "keep_s", (double)f->scale.keep_us / 1e6);
	if (f->scale.pool)
		jw_int(w, "pool", f->scale.pool);
	put_lane(a, f, w);
	if (f->reserved >= 0)
		jw_int(w, "reserved_concurrency", f->reserved);
	jw_arr(w, "versions");
	for (unsigned i = 0; i < f->n_versions; i++) {
		const struct revision *r = f->versions[i];
		struct sched_kept k;

		sched_kept(a->o.sched, f, r, &k);
		buf_addf(&text, "%d, revision %s", r->version, r->id);
		if (k.wanted)
			buf_addf(&text, ", %d of %d instances held ready%s%s", k.ready, k.wanted, k.reason ? ": " : "",
				 k.reason ? k.reason : "");
		put_line(w, &text);
	}
	jw_end(w, ']');
	jw_arr(w, "aliases");
	for (unsigned i = 0; i < f->n_aliases; i++) {
		const struct alias *al = &f->aliases[i];

		buf_addf(&text, al->version ? "%s: %d" : "%s: $LATEST", al->name, al->version);
		if (al->other)
			buf_addf(&text, ", and %d for %g of the calls", al->other, al->weight);
		put_line(w, &text);
	}
	jw_end(w, ']');
}

/* What is declared, and what there is of it on this host. */
static void put_network(struct admin *a, const struct revision *rev, struct jw *w)
{
	const char *declared = rev->egress ? rev->egress : "internet";
	auto_buf text = {0};

	jw_strc(w, "egress", declared);
	if (!strcmp(declared, "none"))
		buf_addstr(&text, STR("loopback and the platform's addresses only"));
	else if (a->o.no_egress[0])
		buf_addf(&text, "loopback and the platform's addresses only: %s", a->o.no_egress);
	else
		buf_addf(&text, "the platform's addresses, and over IPv4 %s",
			 rev->egress ? "what egress says" : "public addresses");
	jw_str(w, "network", buf_str(&text));
}

bool admin_describe_function(struct admin *a, struct http_req *r, struct str name, struct str project)
{
	struct function *f = function_get(a->o.store, name);
	auto_buf text = {0};
	char when[32];
	auto_object(w, out);

	if (!f || (project.n && !str_eqc(project, f->project)))
		return false;
	jw_strc(&w, "name", f->name);
	jw_strc(&w, "project", f->project);
	buf_addf(&text, "arn:aws:lambda:%s:%s:function:%s", a->o.region, a->o.account, f->name);
	jw_str(&w, "arn", buf_str(&text));
	jw_strc(&w, "state", admin_function_state[f->state]);
	if (f->reason)
		jw_strc(&w, "reason", f->reason);
	if (f->updating)
		jw_bool(&w, "updating", true);
	put_status(a, f, &w, true);
	put_network(a, f->latest, &w);
	if (f->route) {
		buf_clear(&text);
		buf_addf(&text, "%s%s", a->gateway, f->route);
		jw_strc(&w, "route", f->route);
		jw_str(&w, "url", buf_str(&text));
	}
	admin_put_events(a, f, &w);
	jw_obj(&w, "snapshot");
	admin_put_snapshot(a, f, f->latest, &w);
	jw_end(&w, '}');
	put_versions(a, f, &w);
	put_revision(f->latest, f->lane, &w, admin_query_is(r, "values", "1"));
	pairs_write(&w, "tags", &f->tags);
	jw_raw(&w, "allow", f->allow ? str_of(f->allow) : STR("[]"));
	jw_strc(&w, "created", clock_fmt_iso(f->created_wall_us, when));
	admin_object(r, 200, &w);
	return true;
}

static void put_instance(void *arg, const struct sched_instance_info *i)
{
	struct jw *w = arg;

	jw_obj(w, NULL);
	jw_int(w, "id", (int64_t)i->id);
	jw_strc(w, "function", i->function);
	jw_strc(w, "state", i->state);
	jw_int(w, "pid", i->pid);
	jw_int(w, "for_us", clock_now_us() - i->since_us);
	jw_int(w, "invocations", i->invocations);
	jw_int(w, "mem_peak_bytes", i->mem_peak_bytes);
	jw_int(w, "memory_mb", i->memory_mb);
	jw_strc(w, "revision", i->revision_id);
	jw_int(w, "version", i->version);
	jw_bool(w, "held_ready", i->kept);
	jw_strc(w, "lane", lane_name[i->lane]);
	jw_int(w, "seats", i->seats);
	jw_int(w, "open", i->open);
	jw_end(w, '}');
}

void admin_instances(struct admin *a, struct http_req *r, struct str name)
{
	auto_object(w, out);

	jw_arr(&w, "instances");
	sched_each_instance(a->o.sched, put_instance, &w);
	jw_end(&w, ']');
	admin_put_tasks(a, &w);
	admin_object(r, 200, &w);
}
