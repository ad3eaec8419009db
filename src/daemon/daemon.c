/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/daemon.h"
#include <signal.h>

#include "base/log.h"
#include "base/moves.h"

#define DRAIN_LIMIT_US	  (25 * 1000000ll) /* the spawner gives 30 s */
#define HANDOVER_LIMIT_US (5 * 1000000ll)
#define COMING_LIMIT_US	  (500 * 1000ll) /* for requests that are on their way: who comes meanwhile waits, too */

static void stop(struct tandemd *d, int code)
{
	d->exit_code = code;
	loop_stop(d->loop);
}

/* --- the end --- */

static void last_answers_out(void *arg)
{
	struct tandemd *d = arg;

	if (!d->handover)
		spawn_bye(d->spawn);
	stop(d, 0);
}

static void drained(void *arg)
{
	struct tandemd *d = arg;

	if (--d->draining)
		return;
	/* The answers were given to the sockets in this turn; one more lets what was queued go out. */
	loop_timer_in(d->last_call, 1000);
}

/* Containers outlive a handover. */
static void services_drained(void *arg)
{
	struct tandemd *d = arg;

	if (d->handover)
		drained(d);
	else
		tasks_drain(d->tasks, drained, d);
}

static void requests_in(void *arg)
{
	struct tandemd *d = arg;

	d->draining = 2;
	mappings_drain(d->mappings);
	queues_drain(d->queues);
	services_drain(d->services, d->handover, services_drained, d);
	sched_drain(d->sched, d->handover, drained, d);
}

static void drain(struct tandemd *d, bool handover)
{
	if (d->state == DAEMON_DRAINING)
		return;
	if (d->state != DAEMON_SERVING) {
		d->handover = handover;
		last_answers_out(d);
		return;
	}
	log_info("daemon", handover ? "handing over to the successor" : "draining");
	journal_add(d->journal, "tandem", handover ? "handover" : "stop",
		    handover ? "to the successor, after %d s at most" : "draining, for %d s at most",
		    (int)((handover ? HANDOVER_LIMIT_US : DRAIN_LIMIT_US) / 1000000));
	d->state = DAEMON_DRAINING;
	move_note("daemon", 0, "DRAINING");
	d->handover = handover;
	loop_timer_in(d->last_call, handover ? HANDOVER_LIMIT_US : DRAIN_LIMIT_US);
	http_server_drain(d->http, COMING_LIMIT_US, requests_in, d);
}

/* --- what the spawner says --- */

static void on_config(void *arg, const struct serve_config *c, int listeners[SL_N], const char *no_egress)
{
	struct tandemd *d = arg;
	struct err e;

	d->config = *c;
	strlcpy_(d->no_egress, no_egress, sizeof(d->no_egress));
	memcpy(d->listeners, listeners, sizeof(d->listeners));
	log_init("tandemd", c->debug ? LOG_DEBUG : LOG_INFO);
	if (tandemd_open(d, &e) < 0) {
		log_error("daemon", "%s", e.text);
		stop(d, 1);
		return;
	}
	d->state = DAEMON_CONFIG;
}

static void on_adopt(void *arg, uint64_t id, const char *label, bool assigned, uint32_t uid, pid_t pid,
		     struct sandbox_fds *fds)
{
	struct tandemd *d = arg;

	d->n_adopted += assigned;
	if (d->state != DAEMON_CONFIG)
		sandbox_fds_close(fds); /* our parts could not be made: the next daemon will be told again */
	else if (!assigned || !task_adopt(d->tasks, id, label, pid, fds))
		sched_adopt(d->sched, id, label, assigned, pid, fds);
}

static bool log_wanted(void *arg, const char *name)
{
	struct tandemd *d = arg;

	return function_get(d->store, str_of(name)) || tasks_log_wanted(d->tasks, name) ||
	       services_log_wanted(d->services, name) || logs_wanted(d->store, name) || !strcmp(name, JOURNAL_LOG);
}

static void listen_on(struct tandemd *d, enum spawner_listener which, size_t body_max, http_handler *h, void *arg)
{
	struct http_listener_opts o = {
		.body_max = body_max, .handler = h, .arg = arg, .streams = h == api_handle ? api_streams : NULL};

	if (h == gateway_handle)
		o.streams = gateway_streams;
	if (d->listeners[which] >= 0)
		http_listen(d->http, d->listeners[which], &o);
}

static void on_adopted(void *arg)
{
	struct tandemd *d = arg;
	struct err e;

	if (d->state != DAEMON_CONFIG)
		return;
	d->state = DAEMON_SERVING;
	move_note("daemon", 0, "SERVING");
	sched_adopted(d->sched);
	tasks_adopted(d->tasks);
	services_ready(d->services);
	admin_copies_sweep(d->admin);
	logs_sweep(d->logs, log_wanted, d);
	if (sched_async_recover(d->sched, &e) < 0)
		log_error("daemon", "events of before: %s", e.text);
	dues_start(d->dues);
	mappings_start(d->mappings);
	listen_on(d, SL_ADMIN, ADMIN_BODY_MAX, admin_handle, d->admin);
	listen_on(d, SL_API4, LIM_CREATE_BODY_BYTES, api_handle, d->api);
	listen_on(d, SL_API6, LIM_CREATE_BODY_BYTES, api_handle, d->api);
	listen_on(d, SL_GATEWAY4, LIM_PAYLOAD_BYTES, gateway_handle, d->gateway);
	listen_on(d, SL_GATEWAY6, LIM_PAYLOAD_BYTES, gateway_handle, d->gateway);
	store_gc(d->store);
	images_ready(d->images);
	api_ready(d->api);
	spawn_ready(d->spawn);
	journal_add(d->journal, "tandem", "start",
		    "tandemd " TANDEM_VERSION ", process %d: %zu functions; %u sandboxes of the daemon before go on",
		    (int)getpid(), function_count(d->store), d->n_adopted);
	log_info("daemon", "ready functions=%zu", function_count(d->store));
}

static void on_ended(void *arg, uint64_t id, int wait_status, uint32_t oom_kills, int64_t cpu_us,
		     int64_t mem_peak_bytes)
{
	struct tandemd *d = arg;

	if (d->tasks && task_ended(d->tasks, id, oom_kills, cpu_us, mem_peak_bytes))
		return;
	if (d->sched)
		sched_ended(d->sched, id, wait_status, oom_kills, cpu_us, mem_peak_bytes);
}

static void on_drain(void *arg)
{
	drain(arg, false);
}

static void on_handover(void *arg)
{
	drain(arg, true);
}

static void on_lost(void *arg, const struct err *e)
{
	log_error("daemon", "the spawner is gone: %s", e->text);
	stop(arg, 1);
}

static const struct spawn_events events = {on_config, on_adopt, on_adopted, on_ended, on_drain, on_handover, on_lost};

static void on_signal(void *arg, int sig)
{
	drain(arg, false); /* by hand; normally the spawner says DRAIN */
}

int tandemd_init(struct tandemd *d, int spawner, struct err *e)
{
	*d = (struct tandemd){.state = DAEMON_HELLO};
	memset(d->listeners, -1, sizeof(d->listeners));
	strlcpy_(d->account, "000000000000", sizeof(d->account));
	strlcpy_(d->region, "us-east-1", sizeof(d->region));
	d->loop = loop_new();
	d->last_call = loop_timer_new(d->loop, last_answers_out, d);
	d->spawn = spawn_new(d->loop, spawner, &events, d);
	if (!d->spawn)
		return err_set(e, ERR_SYS, "no spawner at descriptor %d", spawner);
	loop_signal(d->loop, SIGTERM, on_signal, d);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, SIG_IGN); /* ^C reaches the whole terminal group: the spawner decides */
	signal(SIGHUP, SIG_IGN);
	spawn_hello(d->spawn);
	return 0;
}

void tandemd_done(struct tandemd *d)
{
	if (d->http)
		http_server_close(d->http); /* first: requests that are still open hear that nobody answers */
	admin_free(d->admin);
	api_free(d->api);
	gateway_free(d->gateway);
	urls_free(d->urls);
	lanes_free(d->lanes);
	services_free(d->services);
	schedules_free(d->schedules);
	buses_free(d->buses);
	dues_free(d->dues);
	mappings_free(d->mappings);
	meter_free(take_ptr(d->meter));
	sched_free(d->sched);
	deliver_free(d->deliver);
	topics_free(d->topics);
	tasks_free(d->tasks);
	forward_free(d->forward);
	http_server_free(d->http); /* after sched: each instance frees its own listeners */
	tls_server_free(d->tls);
	images_free(d->images);
	queues_free(d->queues);
	objects_free(d->objects);
	notify_free(d->notify);
	budgets_free(take_ptr(d->budgets));
	otlp_free(d->otlp);
	ledger_free(d->ledger);
	journal_free(take_ptr(d->journal));
	logs_free(d->logs);
	streams_free(d->streams);
	store_free(d->store);
	spawn_free(d->spawn);
	loop_timer_free(d->last_call);
	loop_free(d->loop);
	for (int k = 0; k < SL_N; k++)
		if (d->listeners[k] >= 0)
			close(d->listeners[k]);
}
