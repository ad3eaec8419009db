/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Services: tasks of a definition that are kept up, found by route or port, scaled by what there is to do, and replaced
 * by those of another revision without an error.
 *
 * A service has deployments: one revision of a definition each, with its instances (tasks). The first is what is wanted
 * (PRIMARY); during a rollout a second one, the last that was complete, goes on serving; any others only end. What is
 * open (struct service_use: a request, a tunnel) is counted by instance: the least loaded one gets the next, one that is
 * to go gets no more and is asked to stop when the last is over. With no instance ready the work waits here, for a
 * reason that can be shown and SERVICE_HOLD_US at most. What decides has no clock: policy.h.
 *
 * Durable is what is wanted (record "service/CLUSTER/NAME", in the words of spec.c) and the revision that was last
 * complete. Running tasks outlive tandemd: the successor finds them by their group. Tests: tests/service,
 * tests/e2e/test_services.py.
 */
#pragma once
#include <netinet/in.h>
#include "base/lane.h"
#include "base/list.h"
#include "http/server.h"
#include "ledger/journal.h"
#include "ledger/ledger.h"
#include "ledger/spans.h"
#include "spawn/spawn.h"
#include "store/definition.h"
#include "task/task.h"

#define SERVICE_NAME_MAX  255
#define SERVICE_STILL_US  5000000ll
#define SERVICE_WAIT_US	  125000000ll /* for one: a little longer than an instance may take (replica.c) */
#define SERVICE_HOLD_US	  60000000ll
#define SERVICE_DRAIN_US  3000000
#define SERVICE_WHY_BYTES 448
#define SERVICE_HELD_MAX  4096
#define SERVICE_EVENTS	  100
#define SERVICE_MAX	  1000 /* instances of one */
#define SERVICE_PORTS_MAX 16
#define ROLLOUT_STEPS_MAX 8

struct services;
struct service;
struct images;
struct jw;
struct json;

enum service_restart { RESTART_ALWAYS, RESTART_ON_FAILURE, RESTART_NEVER, RESTART_N };
enum rollout_strategy { ROLLOUT_ROLLING, ROLLOUT_REPLACE, ROLLOUT_BLUE_GREEN, ROLLOUT_CANARY, ROLLOUT_STRATEGY_N };
struct rollout_spec {
	enum rollout_strategy strategy;
	int steps[ROLLOUT_STEPS_MAX],
		n_steps;	      /* canary: percent of the requests, rising; all of them follow the last */
	int64_t wait_us;	      /* how long each step is watched; -1: as the strategy has it */
	int max_percent, min_percent; /* rolling: instances of both revisions; those that stay ready */
	bool breaker, rollback;	      /* give up a revision that fails; and go back */
};
struct service_port {
	struct sockaddr_in6 at; /* of the host */
	uint16_t to;		/* of the instance */
};
struct service_spec {
	char cluster[SERVICE_NAME_MAX + 1], name[SERVICE_NAME_MAX + 1];
	char project[LIM_NAME_BYTES + 1]; /* "api": made through ECS */
	char family[DEFINITION_FAMILY_MAX + 1];
	int revision;
	uint16_t port;	 /* where its instances take requests; 0: nothing is known to listen */
	char route[257]; /* "": none */
	int min, max;	 /* ECS's desired count is both */
	int concurrency; /* open at an instance, before another one is started; 0: one does for any number */
	int cpu_percent; /* of what an instance may use, before another one is started; 0: not looked at */
	int64_t idle_us; /* so long an instance has too little to do before it goes; -1: as its lane has it (lane.c) */
	enum lane_wish lane; /* LANE_WISH_N: not said, the container lane from min on */
	enum service_restart restart;
	struct rollout_spec rollout;
	struct service_port ports[SERVICE_PORTS_MAX];
	unsigned n_ports;
	char *source; /* of those who made it (ECS): kept; of it only its tags are read. NULL: none. Owned by whoever owns the struct */
};
void service_spec_default(struct service_spec *s); /* zeroes it first */
void service_spec_done(struct service_spec *s);
/* One member by the name that it has in tandem.yaml ("min", "route", "rollout" ...). -1: what is wrong with it. */
int service_spec_set(struct service_spec *s, const char *key, const struct json *value, struct err *e);
int service_spec_check(const struct service_spec *s, struct err *e); /* members that do not go together */
void service_spec_write(const struct service_spec *s, struct jw *w); /* members of an object that is begun */

struct services_opts { /* borrowed */
	struct loop *loop;
	struct store *store;
	struct spawn *spawn;
	struct tasks *tasks;
	struct images *images;
	struct ledger *ledger;
	struct journal *journal; /* or NULL */
	int64_t (*keep_us)(int64_t start_us,
			   int64_t held_bytes); /* how long an instance is worth its memory; either may be 0 */
	struct spans *spans;			/* or NULL */
	/* Whether a budget is closed to it ("service/web", its tags), why, and whether nothing of it is to run; NULL: there are none */
	bool (*closed)(void *arg, const char *workload, const char *tags, bool *ret_stops, char why[320]);
	void *closed_arg;
	/* Brings the images of doc that are not here. true: they are on their way; false: e says why they are not. NULL:
	 * nobody does */
	bool (*pull)(void *arg, const char *doc, struct err *e);
	void *arg;
};
void services_budgets_changed(struct services *ss);
struct services *services_new(const struct services_opts *o); /* reads the records; nothing is started */
void services_ready(struct services *ss); /* running tasks were adopted: takes them, starts the rest */
/* done when requests are over, or after SERVICE_DRAIN_US. Without a successor nothing is started any more, and what waits
 * is refused. */
void services_drain(struct services *ss, bool successor, void (*done)(void *arg), void *arg);
void services_free(struct services *ss); /* containers live on in the spawner */

#define SERVICE_MEASURED "measured/" /* CLUSTER/NAME: what others keep of it, gone with it */
/*
 * Makes a service or changes it; durable when op is done (op may be NULL). Another family, revision or port, or again,
 * begins a rollout. Errors: the definition is not there (ERR_NOT_FOUND), the route is another's (ERR_CONFLICT).
 */
int service_put(struct services *ss, struct store_op *op, const struct service_spec *spec, bool again, struct err *e);
/* Its instances end when what is open is over; until then it is there as DRAINING, and for a while as INACTIVE. */
void service_del(struct services *ss, struct store_op *op, struct service *sv);
struct service *service_get(const struct services *ss, struct str cluster, struct str name); /* also a deleted one */
struct service *service_next(const struct services *ss, const struct service *after);	     /* by cluster, name */
struct service *service_by_route(const struct services *ss, struct str path); /* longest, as functions' */
const char *service_tags(const struct service *sv);			      /* as rows of the ledger have them */
const struct service_spec *service_spec_of(const struct service *sv);

/* Ends its instances, each when what is open is over; how many. Others take their place where some are to be up. */
int service_stop(struct service *sv);

/* A rollout under way: to its end without waiting, or back. undo of one that is over begins one to the revision before. */
int service_promote(struct service *sv, struct err *e);
int service_undo(struct service *sv, struct err *e);

/*
 * How its instances come and go (lane.c): in the function lane with the requests, one each unless concurrency says more, in
 * the container lane at least one is kept up. They are the same ones: what is open or waits goes on. ERR_CONFLICT: a rollout is
 * under way, ERR_INVALID: why it cannot be there.
 */
int service_lane_set(struct service *sv, enum lane to, struct err *e);
struct service_lane_info {
	enum lane lane;
	int min, seats; /* seats: what may be open at an instance of the container lane before there is another one */
	/* Of one instance, on average, 0 while not measured: its start until it is ready, its memory with nothing open. */
	int64_t start_us, held_bytes;
	int64_t keep_us, cpu_us; /* in the function lane; what those that run have used until now */
	int running, open;
	uint64_t asked;	  /* requests, also those that are open */
	int64_t open_us;  /* for so long they have been open, together */
	char cannot[200]; /* why it cannot be in the function lane; "": it can */
};
void service_lane_info(const struct service *sv, struct service_lane_info *ret);

/* Until the revision that is wanted has shown that it works: the first instances are ready, or it is given up (then e says
 * why; the service tries on). still: every SERVICE_STILL_US, what it waits for; false: nobody wants to know any more.
 * done: once, never before _start returned. */
struct service_wait {
	struct list node;
	bool (*still)(struct service_wait *w, const char *why);
	void (*done)(struct service_wait *w, const struct err *e);
	char id[32]; /* of the deployment */
	int64_t since_us, said_us;
};
void service_wait_start(struct service *sv, struct service_wait *w);

/* What waits for an instance or is open at one. ready: once, never from inside of service_use: an instance, or NULL and
 * why. Ended with service_unuse by its owner, at any time. */
struct replica;
struct service_use {
	struct list node;
	struct service *service;
	struct replica *at;
	int64_t since_us;
	void (*ready)(struct service_use *u, const struct err *e);
};
/* true: at an instance now. */
bool service_use(struct service *sv, struct service_use *u);
void service_unuse(struct service_use *u); /* NULL service: harmless */

void service_request(struct service *sv, struct http_req *r); /* passed to an instance, and counted */

enum service_state { SERVICE_ACTIVE, SERVICE_DRAINING, SERVICE_INACTIVE, SERVICE_STATE_N };
enum deployment_state { DEPLOYMENT_IN_PROGRESS, DEPLOYMENT_COMPLETED, DEPLOYMENT_FAILED, DEPLOYMENT_STATE_N };
extern const char *const service_state_name[SERVICE_STATE_N], *const deployment_state_name[DEPLOYMENT_STATE_N];
struct deployment_info {
	char id[32]; /* "ecs-svc/" and 19 digits */
	bool primary;
	enum deployment_state state;
	const char *family, *reason;
	int revision, desired, pending, running, failed;
	int weight; /* percent of the requests; -1: by instances that are ready */
	int64_t created_wall_us, updated_wall_us;
};
struct service_event {
	uint64_t id; /* of this daemon's */
	int64_t wall_us;
	char text[];
};
struct service_info {
	enum service_state state;
	int desired, pending, running, open, held;
	char waits_for[SERVICE_WHY_BYTES]; /* what does wait, or would */
	int64_t held_us;		   /* for how long the first one does */
	int64_t created_wall_us;
	uint64_t requests, errors; /* since the daemon began; 5xx */
	unsigned n_deployments, n_events;
};
void service_info(const struct service *sv, struct service_info *ret);
void service_usage(const struct service *sv, int64_t *ret_cpu_us, int64_t *ret_mem_bytes); /* of its instances, now */
const struct took *service_took(const struct service *sv); /* of its requests; NULL: there were none */
void service_deployment(const struct service *sv, unsigned i, struct deployment_info *ret);
/* Is the i-th of its ports open? */
bool service_port_open(const struct service *sv, unsigned i);
const struct service_event *service_event(const struct service *sv, unsigned i); /* the latest first */
/* The service and deployment (its id) that a task belongs to, or NULL. */
struct service *service_of_task(const struct services *ss, const struct task *k, const char **ret_deployment);
/* One for all of its instances, kept while it is there; NULL: its name is too long for that, and each has its own. */
const char *service_log_name(const struct service_spec *s, char ret[TASK_LOG_MAX + 1]);
bool services_log_wanted(const struct services *ss, const char *log_name);
void services_account(struct services *ss); /* requests of the last seconds become rows of the ledger now */
void services_metrics(const struct services *ss, struct buf *out);
