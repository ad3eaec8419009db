/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a task is told inside: the API as itself, credentials, and the task metadata endpoint, version 4. Who asks is whose
 * socket it is: the keys are there because clients want some, and are nobody's outside.
 */
#include <stdio.h>
#include "api/ecs_task.h"
#include "base/clock.h"
#include "base/mem.h"

#define TASK_KEY    "ASIATANDEMTASK000000"
#define TASK_SECRET "nobody-outside-of-this-task-may-use-this"

/* family of "family:revision"; a task without definition goes by its id. */
static struct str name_of(const struct task_info *i)
{
	struct str family = str_of(i->definition), revision;

	str_cut(family, ':', &family, &revision);
	return family.n ? family : str_of(i->id);
}

void api_handle_task(void *task, struct http_req *r)
{
	struct api **a = task_inside_arg(task);
	char trace[TRACE_HEADER_BYTES];
	struct task_info i;

	task_info(task, &i);
	auto_free char *name = str_dup(name_of(&i));
	const struct json *list = json_get(i.doc, "allow");
	auto_free char *allow = list ? json_text(list) : NULL;

	api_dispatch(*a, r,
		     &(struct principal){.kind = PRINCIPAL_WORKLOAD,
					 .name = name,
					 .allow = allow,
					 .trace = task_trace(task, true, trace)});
}

static void view_of(const struct api *a, struct task *k, struct ecs_view *v)
{
	struct task_info i;
	const struct ecs_task *t;

	task_info(k, &i);
	t = ecs_task_find(a->ecs, str_of(i.id));
	if (t) {
		ecs_view_own(t, v);
	} else if (!ecs_view_service(k, v)) {
		*v = (struct ecs_view){.cluster = "default"};
	}
	v->k = k;
}

static void put_when(struct jw *w, const char *key, int64_t wall_us)
{
	char when[32];

	if (wall_us)
		jw_strc(w, key, clock_fmt_iso(wall_us, when));
}

static void put_labels(struct jw *w, const struct api *a, const struct ecs_view *v, const char *name)
{
	struct str family, revision = {0};
	struct task_info i;

	task_info(v->k, &i);
	family = str_of(i.definition);
	str_cut(family, ':', &family, &revision);
	jw_obj(w, "Labels");
	ecs_put_arn(w, "com.amazonaws.ecs.cluster", a, "cluster/%s", v->cluster);
	jw_strc(w, "com.amazonaws.ecs.container-name", name);
	ecs_put_arn(w, "com.amazonaws.ecs.task-arn", a, "task/%s/%s", v->cluster, i.id);
	jw_str(w, "com.amazonaws.ecs.task-definition-family", family.p ? family : STR(""));
	jw_str(w, "com.amazonaws.ecs.task-definition-version", revision.p ? revision : STR(""));
	jw_end(w, '}');
}

static void put_container(struct jw *w, const struct api *a, const struct ecs_view *v, unsigned n)
{
	const struct image *im;
	struct task_info i;
	char id[TASK_ID_MAX + 16];

	task_container_info(v->k, n, &i);
	snprintf(id, sizeof(id), "%s-%u", i.id, n);
	im = image_find(a->o.images, i.image);
	jw_strc(w, "DockerId", id);
	jw_strc(w, "Name", i.name);
	jw_strc(w, "DockerName", i.name);
	jw_strc(w, "Image", i.image);
	if (im) {
		auto_free char *digest = xasprintf("sha256:%s", im->digest);

		jw_strc(w, "ImageID", digest);
	}
	put_labels(w, a, v, i.name);
	jw_strc(w, "DesiredStatus", ecs_view_stopping(v) ? "STOPPED" : "RUNNING");
	jw_strc(w, "KnownStatus", i.state < TASK_RUNNING ? "CREATED" : i.state == TASK_STOPPED ? "STOPPED" : "RUNNING");
	if (i.state == TASK_STOPPED)
		jw_int(w, "ExitCode", i.exit_code);
	jw_obj(w, "Limits");
	jw_int(w, "CPU", (int64_t)i.cpu_milli * 1024 / 1000);
	jw_int(w, "Memory", i.memory_bytes >> 20);
	jw_end(w, '}');
	put_when(w, "CreatedAt", i.created_wall_us);
	put_when(w, "StartedAt", i.started_wall_us);
	put_when(w, "FinishedAt", i.stopped_wall_us);
	jw_strc(w, "Type", "NORMAL");
	ecs_put_arn(w, "ContainerARN", a, "container/%s/%s/%s", v->cluster, i.id, i.name);
	jw_raw(w, "Networks", STR("[{\"NetworkMode\":\"awsvpc\",\"IPv4Addresses\":[\"127.0.0.1\"]}]"));
}

static void put_task(struct jw *w, const struct api *a, const struct ecs_view *v)
{
	struct str family, revision = {0};
	struct task_info i;

	task_info(v->k, &i);
	family = str_of(i.definition);
	str_cut(family, ':', &family, &revision);
	ecs_put_arn(w, "Cluster", a, "cluster/%s", v->cluster);
	ecs_put_arn(w, "TaskARN", a, "task/%s/%s", v->cluster, i.id);
	jw_str(w, "Family", family.p ? family : STR(""));
	jw_str(w, "Revision", revision.p ? revision : STR(""));
	if (str_starts(str_of(v->group), "service:"))
		jw_strc(w, "ServiceName", v->group + strlen("service:"));
	jw_strc(w, "DesiredStatus", ecs_view_stopping(v) ? "STOPPED" : "RUNNING");
	jw_strc(w, "KnownStatus", i.state < TASK_RUNNING ? "PENDING" : "RUNNING");
	jw_obj(w, "Limits");
	jw_real(w, "CPU", i.cpu_milli / 1000.0);
	jw_int(w, "Memory", i.memory_bytes >> 20);
	jw_end(w, '}');
	jw_arr(w, "Containers");
	for (unsigned n = 0; n < i.n_containers; n++) {
		jw_obj(w, NULL);
		put_container(w, a, v, n);
		jw_end(w, '}');
	}
	jw_end(w, ']');
	auto_free char *zone = xasprintf("%sa", a->where.region);

	jw_strc(w, "AvailabilityZone", zone);
	jw_strc(w, "LaunchType",
		v->t && json_get(v->t->facts, "launchType") ? json_get_str(v->t->facts, "launchType").p : "EXTERNAL");
}

/* Docker's, as far as it is known here: processor time and memory. */
static void put_stats(struct jw *w, const struct task *k, unsigned n)
{
	struct task_usage u;
	struct task_info i;

	if (!task_usage(k, n, &u))
		return;
	task_container_info(k, n, &i);
	put_when(w, "read", clock_wall_us());
	jw_strc(w, "name", i.name);
	jw_obj(w, "cpu_stats");
	jw_obj(w, "cpu_usage");
	jw_int(w, "total_usage", u.cpu_us < 0 ? 0 : u.cpu_us * 1000);
	jw_end(w, '}');
	jw_int(w, "online_cpus", sysconf(_SC_NPROCESSORS_ONLN));
	jw_end(w, '}');
	jw_obj(w, "memory_stats");
	jw_int(w, "usage", u.mem_bytes < 0 ? 0 : u.mem_bytes);
	jw_int(w, "max_usage", u.mem_peak_bytes < 0 ? 0 : u.mem_peak_bytes);
	jw_int(w, "limit", i.memory_bytes);
	jw_end(w, '}');
}

static void put_all_stats(struct jw *w, const struct task *k)
{
	struct task_info i;
	char id[TASK_ID_MAX + 16];

	task_info(k, &i);
	for (unsigned n = 0; n < i.n_containers; n++) {
		snprintf(id, sizeof(id), "%s-%u", i.id, n);
		jw_obj(w, id);
		put_stats(w, k, n);
		jw_end(w, '}');
	}
}

/* /v4/CONTAINER, /v4/CONTAINER/stats, /v4/CONTAINER/task, /v4/CONTAINER/task/stats; false: there is no such thing. */
static bool metadata(const struct api *a, struct task *k, struct str path, struct buf *out)
{
	struct jw w = jw_object(out);
	struct str name, what = {0};
	struct task_info i;
	struct ecs_view v;
	int n;

	if (!str_starts(path, "/v4/"))
		return false;
	name = (struct str){path.p + 4, path.n - 4};
	str_cut(name, '/', &name, &what);
	task_info(k, &i);
	n = task_doc_find(i.doc, name);
	if (n < 0)
		return false;
	view_of(a, k, &v);
	if (!what.n)
		put_container(&w, a, &v, (unsigned)n);
	else if (str_eqc(what, "stats"))
		put_stats(&w, k, (unsigned)n);
	else if (str_eqc(what, "task") || str_eqc(what, "taskWithTags"))
		put_task(&w, a, &v);
	else if (str_eqc(what, "task/stats"))
		put_all_stats(&w, k);
	else
		return false;
	jw_end(&w, '}');
	return true;
}

void api_handle_task_metadata(void *task, struct http_req *r)
{
	struct api **a = task_inside_arg(task);
	struct task_info i;
	auto_buf out = {0};

	task_info(task, &i);
	auto_free char *name = str_dup(name_of(&i));

	if (str_starts(r->path, "/v2/credentials/"))
		api_reply_credentials(*a, r, name, TASK_KEY, TASK_SECRET);
	else if (metadata(*a, task, r->path, &out))
		http_reply(r, &(struct http_reply){
				      .status = 200, .content_type = "application/json", .body = buf_str(&out)});
	else
		http_reply(r, &(struct http_reply){.status = 404,
						   .content_type = "text/plain",
						   .body = STR("There is /v4/CONTAINER, and below it /task, /stats and "
							       "/task/stats.\n")});
}
