/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The AWS face: reads which service and operation a request is for, who asks (SigV4, or the sandbox whose socket it
 * came in by), whether that principal may, and gives it to the operation (one function each; the table is in api.c).
 * Speaks rest-json (Lambda), json, query (query.h: the same operations) and S3; refuses what it does not know with that protocol's own error.
 * Unknown members are ignored everywhere.
 */
#pragma once
#include <stdbool.h>
#include "http/server.h"
#include "image/image.h"
#include "ledger/ledger.h"
#include "ledger/logs.h"
#include "object/object.h"
#include "queue/queue.h"
#include "sched/sched.h"
#include "service/service.h"
#include "store/store.h"
#include "stream/stream.h"
#include "task/task.h"
#include "trigger/bus.h"
#include "trigger/deliver.h"
#include "trigger/url.h"
#include "trigger/topic.h"
#include "trigger/notify.h"
#include "trigger/schedule.h"
#include "trigger/mapping.h"
struct api;
struct api_opts { /* all borrowed for the life of the api */
	struct loop *loop;
	struct store *store;
	struct sched *sched;
	struct ledger *ledger;
	struct logs *logs;
	struct images *images;
	struct tasks *tasks;
	struct services *services;
	struct objects *objects;
	struct queues *queues;
	struct topics *topics;
	struct deliver *deliver;
	struct urls *urls;
	struct notify *notify;
	struct streams *streams;
	struct buses *buses;
	struct schedules *schedules;
	struct mappings *mappings;
	const char *account, *region;
	bool auth_none;
};
struct api *api_new(const struct api_opts *o); /* makes the operator's keys when there are none */
void api_ready(struct api *a);		       /* what ran before was adopted */
void api_free(struct api *a);		       /* after http_server_free: requests that wait were told gone */
/* Makes the operator's key pair at the first start: settings operator_access_key, operator_secret_key. op may be NULL.
 */
void api_bootstrap(struct store *s, struct store_op *op);

/* Whether a log is that of a group which was made over the API (CloudWatch Logs). */
bool logs_wanted(const struct store *s, const char *log);

/* services_opts.pull; arg is the address of the variable that holds the struct api *. */
bool api_pull(void *arg, const char *doc, struct err *e);

/* Handlers of listeners (http_handler). */
void api_handle(void *api, struct http_req *r);
/* Whose body is to be pulled: objects and, from outside, blobs for the registry. Needs no argument. */
bool api_streams(void *api, const struct http_req *r);
bool api_streams_inside(void *whose, const struct http_req *r);
/* Inside sandboxes: arg is the struct instance; sched_opts.sandbox_arg is the address of the variable that holds the
 * struct api *. Who asks is whose socket it is; no signature is needed, and none is looked at. */
void api_handle_sandbox(void *instance, struct http_req *r);
void api_handle_credentials(void *instance, struct http_req *r); /* 169.254.170.2: the workload's own key pair */
/* The same of tasks: arg is the struct task; tasks_opts.inside_arg is that address. */
void api_handle_task(void *task, struct http_req *r);
void api_handle_task_metadata(void *task, struct http_req *r); /* 169.254.170.2: /v4/..., and credentials */
