/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemd put together. Nothing below daemon/ can name this struct: each part gets what it needs.
 *
 *      HELLO ───► CONFIG ───► SERVING ───► DRAINING ───► (exit 0)
 *
 *   HELLO     waiting for the spawner's CONFIG: listeners, state directory
 *   CONFIG    for the last ADOPT: sandboxes of the daemon before
 *   SERVING
 *   DRAINING  for what is under way; then BYE (end) or nothing (handover: the successor adopts)
 */
#pragma once
#include "api/admin.h"
#include "api/api.h"
#include "daemon/otlp.h"
#include "http/server.h"
#include "http/tls.h"
#include "image/image.h"
#include "instance/forward.h"
#include "lane/lanes.h"
#include "ledger/journal.h"
#include "ledger/ledger.h"
#include "ledger/logs.h"
#include "ledger/meter.h"
#include "sched/budget.h"
#include "sched/sched.h"
#include "service/service.h"
#include "spawn/spawn.h"
#include "store/store.h"
#include "stream/stream.h"
#include "task/task.h"
#include "trigger/bus.h"
#include "trigger/deliver.h"
#include "trigger/topic.h"
#include "trigger/due.h"
#include "trigger/gateway.h"
#include "trigger/notify.h"
#include "trigger/schedule.h"
#include "trigger/mapping.h"

enum daemon_state { DAEMON_HELLO, DAEMON_CONFIG, DAEMON_SERVING, DAEMON_DRAINING, DAEMON_N };
struct tandemd {
	enum daemon_state state;
	bool handover;
	int exit_code;
	unsigned n_adopted; /* sandboxes that were somebody's */
	struct loop *loop;
	struct spawn *spawn;
	struct serve_config config;
	int listeners[SL_N];
	struct store *store;
	struct ledger *ledger;
	struct meter *meter;
	struct budgets *budgets;
	struct logs *logs;
	struct journal *journal;
	struct otlp *otlp;
	struct http_server *http;
	struct tls_server *tls;	 /* of sandboxes' 169.254.100.2:443; NULL: no authority */
	struct forward *forward; /* NULL: sandboxes have no way out, because of: */
	char no_egress[200];
	struct images *images;
	struct queues *queues;
	struct objects *objects;
	struct deliver *deliver;
	struct topics *topics;
	struct notify *notify;
	struct dues *dues;
	struct buses *buses;
	struct schedules *schedules;
	struct sched *sched;
	struct tasks *tasks;
	struct task_watch containers; /* budgets' */
	struct services *services;
	struct lanes *lanes;
	struct streams *streams;
	struct mappings *mappings;
	unsigned draining; /* parts that have not finished yet */
	struct gateway *gateway;
	struct urls *urls;
	struct api *api;
	struct admin *admin;
	char account[16], region[32];
	struct loop_timer *last_call; /* DRAINING ends here at the latest */
};
int tandemd_init(struct tandemd *d, int spawner, struct err *e);
void tandemd_done(struct tandemd *d);		    /* flushes everything; sandboxes live on in the spawner */
int tandemd_open(struct tandemd *d, struct err *e); /* config and listeners are there: build all parts */
