/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The admin API: HTTP/JSON on the unix socket, for the tool. Whoever can open the socket (0660 root:tandem) may do
 * everything.
 *
 *   GET  /v1/version /v1/env /v1/functions /v1/functions/NAME[?values=1] /v1/names/NAME[?values=1] /v1/instances /v1/debug
 *   GET  /metrics /healthz /readyz
 *   POST /v1/functions/NAME/invoke[?async=1&log=1&row=0]
 *        body: the event; answer {"outcome","reason","body","request_id","timing",...}; row=0: sooner, without timing
 *   POST /v1/functions/NAME/stop
 *   POST /v1/copies   {"of", and in place of what that has "lane", "concurrency", "memory", "cpu", "min", "max", "reserved"; "fails": true}
 *        one JSON object when the copy is there or cannot be; it is gone when the client closes
 *   any request with the header Tandem-Copy: NAME is one to that service
 *   GET  /v1/logs?function=&since_us=&lines=&follow=1&format=json   streamed text; since_us: how long ago
 *   GET  /v1/top   what everything does: gauges, and counters of which the tool takes the difference
 *   GET  /v1/cost?by=&since_us=&workload=&split=&on=
 *   GET  /v1/rows?since_wall_us=&until_wall_us=&workload=   calls one by one, a line of JSON each
 *   POST /v1/cost/price?usd_hour=   of this machine, for rows from now on; or ?usd_gb_month= of its disk, ?usd_gb= of traffic
 *   GET  /v1/images
 *   DELETE /v1/images?reference=REF
 *   POST /v1/images/gc
 *   POST /v1/images/pull   {"reference", "auth": an auth.json, "upload"}; progress as one JSON object a line
 *   POST /v1/images/uploads   {"upload": NAME}, for an image of the tool: files as skopeo's dir: has them, then pull
 *   PUT  /v1/images/uploads/NAME?file=&offset=   a piece of at most LIM_UPLOAD_PIECE bytes
 *   POST /v1/plan    {"file","yaml","vars":{},"code":{folder: sha256}}; without code only the folders are named
 *   PUT  /v1/blobs/SHA256
 *   POST /v1/apply   as plan; progress as one JSON object a line
 *   POST /v1/down    {"project"} or {"file","yaml","vars"}
 *   POST /v1/backup?name=NAME    into <state>/daemon/backups/NAME
 *   POST /v1/debug/lane?subject=&an_hour=N   debug builds: requests that are its break-even, instead of what is measured
 *   POST /v1/debug/clock?stop=1|step_us=N|ahead_us=N|back_us=N|resume=1   debug builds (base/clock.h)
 *
 *   GET  /v1/secrets, /v1/volumes; PUT /v1/secrets/NAME (the value); DELETE /v1/secrets/NAME, /v1/volumes/NAME
 *   GET  /v1/services/NAME; POST /v1/services/NAME/promote, /v1/services/NAME/undo: its rollout; answered the same
 *
 *   GET  /v1/tasks, /v1/tasks/ID; POST /v1/tasks   what task/task.h says; answer as GET /v1/tasks/ID
 *   DELETE /v1/tasks/ID   of one that has stopped; its log goes too
 *   POST /v1/tasks/ID/stop?timeout_s=   answered when it has stopped
 *   POST /v1/tasks/ID/signal?signal=N, /v1/tasks/ID/resize?rows=&cols=
 *   POST /v1/tasks/ID/stdin[?eof=1]     answered when the task has taken it
 *   GET  /v1/tasks/ID/attach    streamed: u8 what ('o' stdout, 'e' stderr, 'x' the end: as GET /v1/tasks/ID), u32 length,
 *        little-endian, and so many bytes
 *
 * Errors: {"error": sentence, "kind": name of base/err.h}.
 *
 * The listener of the socket needs body_max = ADMIN_BODY_MAX (a blob is as large as unpacked code may be).
 * Free order: http_server_free (requests that wait are told), admin_free, then sched, ledger, logs, store.
 */
#pragma once
#include <stdbool.h>
#include "app/plan.h"
#include "base/limits.h"
#include "http/server.h"
#include "lane/lanes.h"
#include "ledger/journal.h"
#include "ledger/ledger.h"
#include "ledger/logs.h"
#include "ledger/meter.h"
#include "ledger/spans.h"
#include "sched/sched.h"
#include "service/service.h"
#include "store/store.h"
#include "task/task.h"
#include "wire/spawner.h"
#define ADMIN_BODY_MAX (LIM_UNZIPPED_BYTES + (16 << 20))
struct admin;
struct images;
struct admin_opts { /* everything is borrowed for the life of the admin */
	struct plan_world is;
	struct loop *loop;
	struct store *store;
	struct sched *sched;
	struct spawn *spawn;
	int dir; /* <state>/daemon */
	struct tasks *tasks;
	struct services *services;
	struct ledger *ledger;
	struct meter *meter;
	struct logs *logs;
	struct journal *journal;
	struct lanes *lanes;
	struct spans *spans;
	struct images *images;
	struct http_server *http;
	const char *account, *region;
	const char *no_egress; /* why sandboxes have no way out, or empty */
	const struct serve_config
		*config;	  /* addresses as they are really bound; state_dir: backups go below its daemon/ */
	bool (*ready)(void *arg); /* /readyz; NULL: always */
	void *arg;
};
struct admin *admin_new(const struct admin_opts *o);
void admin_free(struct admin *a);
void admin_copies_sweep(struct admin *a); /* at start, once instances were adopted: what a crash has left of copies */
void admin_handle(void *admin, struct http_req *r); /* an http_handler; its listener's arg is the struct admin */
