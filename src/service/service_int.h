/* SPDX-License-Identifier: Apache-2.0 */
/* For this folder: services.c (all of them), service.c (one), rollout.c, replica.c, line.c (what waits and is open),
 * request.c (HTTP), ports.c (connections), spec.c, info.c. */
#pragma once
#include "base/map.h"
#include "base/mem.h"
#include "json/read.h"
#include "json/write.h"
#include "service/policy.h"

#define SERVICE_RECORD "service/"

struct services {
	struct services_opts o;
	struct list all;    /* by cluster, name */
	struct map by_name; /* "CLUSTER/NAME" */
	unsigned n_routes;
	bool ready, draining;
	struct task_watch watch;
	uint64_t next_event;
	struct list spare;	   /* request.c's, to use again */
	unsigned n_spare, n_calls; /* n_calls: requests that are not over */
	struct loop_defer drained;
	struct loop_timer *drain_limit;
	void (*drain_done)(void *arg);
	void *drain_arg;
	struct list inside; /* ports.c's: listeners in those who use a service */
};

/*
 *      START ───► PROBE ◄──► READY ───► DRAIN ───► STOP ───► (gone)
 *        └──────────┴───────────┴─────────────────►─┘
 *
 *   START  the task's word that it runs
 *   PROBE  its port to accept and its health check to be passed; without either, SETTLE_US
 *   READY  work
 *   DRAIN  the end of what is open, DRAIN_US at most
 *   STOP   the task's end
 */
enum si_state { SI_START, SI_PROBE, SI_READY, SI_DRAIN, SI_STOP, SI_N };
struct replica {
	struct list node;
	struct deployment *d;
	struct task *task;
	enum si_state state;
	bool asked; /* to stop: its end is no failure */
	int64_t ready_us, began_us;
	struct loop_timer *timer; /* PROBE, DRAIN */
	int probes;
	int64_t cpu_us, cpu_at_us; /* when it was looked at last */
	int64_t asked_us;	   /* for its start; 0: adopted */
	int sock[OPEN_MAX_FDS];	   /* unconnected, of its network */
	unsigned n_socks;
	struct spawn_req more; /* of them */
	bool asking;
	struct upstream *up;
	struct list uses; /* open here */
	int open;
};

struct deployment {
	struct list node; /* the primary first */
	struct service *sv;
	char id[32];
	char *family, *doc;
	struct image **images; /* of its containers, held: a sweep leaves them; NULL: not here yet */
	unsigned n_images;
	bool all_held, pulling; /* pulling: its images are on their way */
	int revision;
	uint16_t port;
	enum deployment_state state;
	char reason[300];
	struct list instances;
	int want, over;	      /* over: ended, and not to be replaced */
	int failed, failures; /* in all; in a row */
	int64_t failed_us;    /* the last one */
	int64_t created_wall_us, updated_wall_us;
	struct rollout_side seen; /* since the step began */
};

struct service {
	struct list node;
	struct services *ss;
	struct service_spec spec;
	char *key; /* "CLUSTER/NAME" */
	enum service_state state;
	struct list deployments;
	struct deployment *old; /* complete before the rollout that is under way; NULL: there was none */
	bool rolling, promote;
	int step, weight, credit;
	int64_t step_us;
	char *previous; /* JSON of what service_undo goes back to, or NULL */
	enum lane lane;
	uint32_t tags;				    /* of its rows, as its spec has them; 0: none */
	int64_t start_us, held_bytes, held_seen_us; /* service_lane_info; when it was looked at last */
	int desired, open;
	uint64_t asked;		       /* requests, also those that are open */
	int64_t open_us, open_seen_us; /* for so long they have been open, together, until then */
	int cpu; /* percent of what one instance may use, over all that are ready; -1: not known */
	int64_t cpu_due_us;
	struct service_slack slack;
	struct list held;  /* of struct service_use */
	struct list waits; /* of struct service_wait */
	unsigned n_held;
	struct loop_timer *timer;
	struct loop_defer tick;
	int64_t created_wall_us;
	struct service_event *events[SERVICE_EVENTS];
	unsigned n_events;
	struct service_figures *figures; /* request.c's; NULL: nothing was asked yet */
	struct list ports;		 /* ports.c's */
};

/* services.c */
void service_save(struct service *sv, struct store_op *op);
void service_gone(struct service *sv); /* its last instance is; may free others */
void service_spec_revision(struct service_spec *s, const struct deployment *d);
int service_change(struct service *sv, const char *family, int revision, uint16_t port, struct err *e);
char *deployment_text(const struct deployment *d); /* as the record has it */
void service_free(struct service *sv);
/* service.c */
struct service *service_new(struct services *ss, const struct service_spec *spec); /* takes spec->source */
bool service_closed(const struct service *sv, bool *ret_stops, char why[320]);	   /* by a budget */
void service_tag(struct service *sv);						   /* its spec is new */
void service_wake(struct service *sv);						   /* soon: looks at everything */
void service_say(struct service *sv, const char *fmt, ...) PRINTF(2, 3);
struct deployment *service_primary(const struct service *sv);
struct deployment *deployment_new(struct service *sv, const char *family, int revision, uint16_t port, const char *id,
				  struct err *e);
void deployment_free(struct deployment *d);
void deployment_hold(struct deployment *d); /* its images, as far as they are here */
enum deployment_count { COUNT_LIVE, COUNT_ON_THE_WAY, COUNT_READY, COUNT_GOING };
int deployment_count(const struct deployment *d, enum deployment_count what);
/* lane.c */
struct service_shape {
	int min, max, concurrency;
	int64_t idle_us;
};
struct service_shape service_shape(const struct service *sv);
void service_lane_begin(struct service *sv); /* as its spec says, now that it says something else */
/* Why it cannot be in the function lane; doc: of the definition that it runs. */
bool service_lane_cannot(const struct service_spec *s, const char *doc, char *why, size_t size);
void service_lane_started(struct replica *in);
void service_lane_look(struct service *sv); /* it has less to do than instances */
/* rollout.c */
void rollout_back(struct service *sv, const char *why);
void rollout_begin(struct service *sv, struct deployment *old);
int64_t rollout_tick(struct service *sv); /* sets what deployments want; when to ask again, -1: never */
/* replica.c */
int replica_add(struct deployment *d, struct err *e); /* one more is started */
void replica_adopt(struct deployment *d, struct task *k);
void replica_changed(struct replica *in);			      /* its task has */
void replica_refused(struct replica *in);			      /* READY, but did not take a connection */
void replica_end(struct replica *in);				      /* when what is open is over */
bool replica_usage(const struct replica *in, struct task_usage *ret); /* of all its containers */
/* Of what it may use, since the last call; -1: not known. */
int replica_cpu_percent(struct replica *in);
void replica_free(struct replica *in);
int replica_socket(void *instance); /* -1: none now */
/* line.c */
void line_serve(struct service *sv, int64_t *next_us);
void line_refuse(struct service *sv, enum err_kind kind, const char *why);
void line_opened(struct service *sv, int more); /* or fewer */
const char *line_waits_for(const struct service *sv, char *out, size_t size);
struct replica *line_pick(struct service *sv, int *ret_least);
/* request.c */
void calls_free(struct services *ss);
void services_look(struct services *ss);  /* is the last request over, and somebody waits for that? */
void figures_account(struct service *sv); /* what there is for rows becomes some */
void figures_free(struct service *sv);
void figures_sum(const struct service *sv, uint64_t *ret_requests, uint64_t *ret_errors);
/* ports.c */
void ports_fit(struct service *sv); /* listens where the service is to */
void ports_free(struct service *sv);
void doors_free(struct services *ss);
void ports_task(struct services *ss, struct task *k); /* what it uses listens inside of it */
/* spec.c */
int service_spec_read(struct service_spec *s, const struct json *record, struct err *e); /* into one without memory */
void service_spec_record(const struct service_spec *s, struct jw *w);
