/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the admin API. */
#pragma once
#include "api/admin.h"
#include "base/mem.h"
#include "json/read.h"
#include "json/write.h"
#include "store/function.h"

struct admin {
	struct admin_opts o;
	int64_t started_us;
	char endpoint[80], gateway[80]; /* "http://127.0.0.1:4566" */
	unsigned refs;			/* of an up or down under way too */
	bool closed;			/* admin_free was called: store and scheduler are going */
	bool applying; /* one apply or down at a time: two would plan against what the other is changing */
};
struct admin_route {
	const char *method;
	const char *path; /* "*" stands for one segment, given to run decoded */
	void (*run)(struct admin *a, struct http_req *r, struct str name);
};
void admin_unref(struct admin *a);
void admin_json(struct http_req *r, int status, const struct buf *body);
void admin_object(struct http_req *r, int status, struct jw *w); /* closes the object first */
void admin_error(struct http_req *r, const struct err *e);
void admin_errorf(struct http_req *r, enum err_kind kind, const char *fmt, ...) PRINTF(3, 4);
/* The decoded value of one member of the query; false: not there. */
bool admin_query(const struct http_req *r, const char *name, struct buf *ret);
bool admin_query_is(const struct http_req *r, const char *name, const char *value);
int64_t admin_query_int(const struct http_req *r, const char *name, int64_t dflt);
/* Answers 404 itself when there is none. */
struct function *admin_function(struct admin *a, struct http_req *r, struct str name);
extern const char *const admin_function_state[FUNCTION_STATE_N];

void admin_list(struct admin *a, struct http_req *r, struct str name);
void admin_describe(struct admin *a, struct http_req *r, struct str name);
void admin_name(struct admin *a, struct http_req *r, struct str name);
void admin_instances(struct admin *a, struct http_req *r, struct str name);
void admin_invoke(struct admin *a, struct http_req *r, struct str name);
void admin_stop(struct admin *a, struct http_req *r, struct str name);
void admin_copy(struct admin *a, struct http_req *r, struct str name);
void admin_logs(struct admin *a, struct http_req *r, struct str name);
void admin_events(struct admin *a, struct http_req *r, struct str name); /* of the journal */
void admin_rows(struct admin *a, struct http_req *r, struct str name);
void admin_top(struct admin *a, struct http_req *r, struct str name);
int64_t admin_resident_bytes(void);
void admin_budgets(struct admin *a, struct http_req *r, struct str name);
/* "budget": what should be said of the workload ("shop/iris", its tags "k=v,k2=v2"), if anything; "budget_closed". */
void admin_put_budget(struct admin *a, const char *workload, const char *tags, struct jw *w);
void admin_trace(struct admin *a, struct http_req *r, struct str name);
void admin_cost(struct admin *a, struct http_req *r, struct str name);
void admin_plan(struct admin *a, struct http_req *r, struct str name);
void admin_put_kept(struct admin *a, const struct plan *p, struct jw *w); /* "kept": [...], "kept_total": {} */
void admin_blob(struct admin *a, struct http_req *r, struct str name);
void admin_apply(struct admin *a, struct http_req *r, struct str name);
void admin_down(struct admin *a, struct http_req *r, struct str name);
void admin_backup(struct admin *a, struct http_req *r, struct str name);
void admin_debug(struct admin *a, struct http_req *r, struct str name);
#if TANDEM_DEBUG
void admin_lane(struct admin *a, struct http_req *r, struct str name);
void admin_clock(struct admin *a, struct http_req *r, struct str name);
#endif
void admin_price(struct admin *a, struct http_req *r, struct str name);
void admin_snapshots(struct admin *a, struct http_req *r, struct str name);
void admin_snapshots_max(struct admin *a, struct http_req *r, struct str name);
/* Members of an object: what is known of the image of one revision, or why there is none. */
void admin_put_snapshot(struct admin *a, const struct function *f, const struct revision *r, struct jw *w);
void admin_images(struct admin *a, struct http_req *r, struct str name);
void admin_image_remove(struct admin *a, struct http_req *r, struct str name);
void admin_image_sweep(struct admin *a, struct http_req *r, struct str name);
void admin_pull(struct admin *a, struct http_req *r, struct str name);
void admin_upload(struct admin *a, struct http_req *r, struct str name);
void admin_upload_put(struct admin *a, struct http_req *r, struct str name);
void admin_put_tasks(struct admin *a, struct jw *w); /* "tasks": [...] */
void admin_tasks(struct admin *a, struct http_req *r, struct str name);
void admin_task_run(struct admin *a, struct http_req *r, struct str name);
void admin_task(struct admin *a, struct http_req *r, struct str name);
void admin_task_remove(struct admin *a, struct http_req *r, struct str name);
void admin_task_stop(struct admin *a, struct http_req *r, struct str name);
void admin_task_signal(struct admin *a, struct http_req *r, struct str name);
void admin_task_resize(struct admin *a, struct http_req *r, struct str name);
void admin_task_stdin(struct admin *a, struct http_req *r, struct str name);
/* "TASK", or "TASK/CONTAINER". Answers 404 itself when there is none. */
struct task *admin_task_find(struct admin *a, struct http_req *r, struct str name, unsigned *ret_container);
void admin_put_task(struct jw *w, const struct task *k); /* members of an object */
void admin_restart(struct admin *a, struct http_req *r, struct str name);
void admin_task_stats(struct admin *a, struct http_req *r, struct str name);
void admin_task_exec(struct admin *a, struct http_req *r, struct str name);
void admin_task_attach(struct admin *a, struct http_req *r, struct str name);
void admin_secrets(struct admin *a, struct http_req *r, struct str name);
void admin_secret_put(struct admin *a, struct http_req *r, struct str name);
void admin_secret_remove(struct admin *a, struct http_req *r, struct str name);
void admin_volumes(struct admin *a, struct http_req *r, struct str name);
void admin_volume_remove(struct admin *a, struct http_req *r, struct str name);
struct service *admin_service_find(struct admin *a, struct str name);
void admin_lane_why(struct admin *a, const char *project, const char *name, struct jw *w); /* as the ledger names it */
void admin_put_services(struct admin *a, struct jw *w);					   /* "services": [...] */
void admin_service_describe(struct admin *a, struct http_req *r, struct service *sv);
void admin_service(struct admin *a, struct http_req *r, struct str name);
void admin_service_promote(struct admin *a, struct http_req *r, struct str name);
void admin_service_undo(struct admin *a, struct http_req *r, struct str name);
/* admin_resource.c: "triggers": [...] of one end ("function f", "queue jobs"; NULL: all), "holders": [...] */
void admin_put_triggers(struct admin *a, const char *about, struct jw *w);
void admin_put_holders(struct admin *a, struct jw *w);
/* These answer 200 for one of that name and (unless empty) project, or are false. */
bool admin_describe_holder(struct admin *a, struct http_req *r, struct str name, struct str project);
bool admin_describe_schedule(struct admin *a, struct http_req *r, struct str name, struct str project);
bool admin_describe_function(struct admin *a, struct http_req *r, struct str name, struct str project);
void admin_unknown(struct admin *a, struct http_req *r, struct str name); /* 404, and what may be meant; admin_name.c */
void admin_put_events(struct admin *a, const struct function *f, struct jw *w);
/* admin_measured.c: "measures": what would be measured now; "measured": what was. One of f and sv. */
void admin_put_measured(struct admin *a, const struct function *f, const struct service *sv, struct jw *w);
void admin_measured(struct admin *a, struct http_req *r, struct str name);
void admin_measured_put(struct admin *a, struct http_req *r, struct str name);
void admin_metrics(struct admin *a, struct http_req *r, struct str name);
