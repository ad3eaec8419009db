/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Functions and their revisions, in memory and durable.
 *
 * A revision is immutable and shared by reference count: running instances keep the one they were started with. A
 * function is the name; it points to its present revision ($LATEST). All strings are owned by their struct.
 */
#pragma once
#include <stdbool.h>
#include "base/lane.h"
#include "base/limits.h"
#include "base/str.h"
#include "store/store.h"
/* From PROVIDED on it is a program that speaks the Runtime API; IMAGE: in a container. */
enum runtime_kind { RUNTIME_PYTHON, RUNTIME_NODE, RUNTIME_PROVIDED, RUNTIME_IMAGE, RUNTIME_N };
struct pair {
	char *name, *value;
};
struct pairs {
	struct pair *p;
	unsigned n;
};
void pairs_done(struct pairs *p);
void pairs_add(struct pairs *p, struct str name, struct str value);
void pairs_copy(struct pairs *to, const struct pairs *from); /* instead of what it holds */
struct jw;
void pairs_write(struct jw *w, const char *key, const struct pairs *p); /* as an object of strings */
const char *pairs_get(const struct pairs *p, const char *name);
bool pairs_same(const struct pairs *a, const struct pairs *b); /* in any order */
/* Tags: as rows of the ledger are grouped by them, "k=v,k2=v2", sorted; and as ECS lists them, [{"key","value"}]. */
void pairs_tags(const struct pairs *p, struct buf *out);
struct json;
void pairs_list_tags(const struct json *list, struct buf *out); /* from there to here */
char *pairs_list(const struct pairs *p);			/* NULL: there are none */

struct revision {
	unsigned refs;
	uint64_t serial; /* unique in the life of the state */
	char id[37];	 /* RevisionId, uuid */
	char name[LIM_NAME_BYTES + 1];
	char *runtime;		/* as declared: "python3.12" */
	enum runtime_kind kind; /* what serves it on this host */
	char *handler;
	char *role; /* stored and echoed, not used */
	char *description;
	char code_sha256[65]; /* hex, of the archive, or of the image's manifest */
	char *image; /* {"uri", and in place of what the image says "entrypoint", "command", "workdir"}; NULL: an archive */
	int64_t code_bytes;
	char layers[LIM_LAYERS][65]; /* hex digests of layer archives, in order; "" ends */
	int memory_mb, timeout_s, tmp_mb;
	uint32_t cpu_quota_us; /* per 100 ms; 0: weight only */
	char *egress;	       /* store/egress.h; NULL: internet */
	char *dead_letter;     /* ARN of a queue or topic that gets asynchronous events which fail; or NULL */
	struct pairs env;
	int64_t modified_wall_us;
	int version;	/* number of a published version; 0: $LATEST's */
	bool snapstart; /* SnapStart's ApplyOn is PublishedVersions */
	/* Of a published version, the loop's: */
	bool deleted; /* the function does not have it any more */
	bool retired; /* the sweep looks after it */
	void *sched;  /* the scheduler's own state of it, as of a function */
};
struct revision *revision_new(void);
struct revision *revision_ref(struct revision *r);
void revision_unref(struct revision *r); /* NULL is fine */
#define VERSION_TEXT 12
const char *version_name(int version, char out[VERSION_TEXT]); /* "$LATEST" (0) or the number */
const char *revision_version(const struct revision *r, char out[VERSION_TEXT]);
struct revision *revision_clone(const struct revision *r); /* refs 1, new id and serial by function_put */

struct alias {
	char name[LIM_QUALIFIER_BYTES + 1];
	char id[37]; /* RevisionId, uuid; new with every change */
	char *description;
	int version;   /* 0: $LATEST */
	int other;     /* a second version, or 0 */
	double weight; /* its share of the calls */
};
struct provisioned { /* concurrency */
	char qualifier[LIM_QUALIFIER_BYTES + 1];
	int wanted;
	int64_t modified_wall_us;
};
/* As it stands in the store. */
enum snapshot_wish {
	SNAPSHOT_AUTO, /* instances begin from an image, unless it may hold what is not so any more */
	SNAPSHOT_OFF,  /* they always start plainly */
	SNAPSHOT_ON,   /* they begin from an image also then */
	SNAPSHOT_N
};
extern const char *const snapshot_wish_name[SNAPSHOT_N]; /* as tandem.yaml has them */
#define LANE_SEATS     8 /* when nothing is declared: threads of one process share its memory, and a GIL */
#define LANE_SEATS_MAX 64
struct scale {
	int min, max; /* instances of $LATEST: held ready, in the container lane at least one; at most, 0: no limit */
	int64_t keep_us; /* how long one without events is kept; -1: as the policy thinks */
	enum snapshot_wish snapshot;
	enum lane_wish lane;
	int concurrency; /* events that one instance of the container lane serves at once; 0: LANE_SEATS */
	int pool;	 /* blanks to hold ready for its bursts, beside what the policy holds for all */
};

enum function_state { FUNCTION_PENDING, FUNCTION_ACTIVE, FUNCTION_FAILED, FUNCTION_STATE_N };
struct function {
	char name[LIM_NAME_BYTES + 1];
	char project[LIM_NAME_BYTES + 1]; /* "api" when made through an API */
	struct revision *latest;	  /* never NULL */
	enum function_state state;	  /* of latest */
	char *reason;			  /* why FAILED, or NULL */
	char reason_code[16];		  /* Lambda's StateReasonCode */
	bool updating;			  /* a deploy is under way: LastUpdateStatus InProgress */
	bool deleted;			  /* no longer in the table; freed with the last user */
	struct revision **versions;	  /* published, in order of number */
	unsigned n_versions;
	int last_version;
	struct alias *aliases; /* in order of name */
	unsigned n_aliases;
	struct provisioned *provisioned; /* in order of qualifier */
	unsigned n_provisioned;
	int reserved; /* concurrency of all versions together; -1: none is reserved */
	struct scale scale;
	enum lane lane; /* where $LATEST is; versions are always in the function lane */
	struct pairs tags;
	char *route;			     /* "/predict" or NULL */
	char *allow;			     /* JSON array of {"action","resource"} or NULL: what the workload may do */
	char access_key[21], secret_key[41]; /* its own key pair */
	int64_t created_wall_us;
	void *sched; /* the scheduler's own state of it, NULL until first used */
	void *async; /* the scheduler's, too: its asynchronous events */
	unsigned refs;
};
struct function *function_get(const struct store *s, struct str name); /* borrowed */
struct function *function_by_route(const struct store *s,
				   struct str path); /* exact, or the longest "/prefix/" followed by a star */
struct function *function_by_access_key(const struct store *s, struct str key);
size_t function_count(const struct store *s);
/* In order of name; after NULL from the first. */
struct function *function_next(const struct store *s, const struct function *after);
struct function *function_after(const struct store *s, const char *name);
struct function *function_ref(struct function *f);
void function_unref(struct function *f);
/* What deploys write. put inserts (f->latest etc. filled by the caller, f taken by the store at once: visible as
 * PENDING) or, for one that is there, makes what stands in f durable; a latest without serial gets serial and id. An
 * insert whose commit fails is taken out again (deleted = true); one whose name another function has fails with
 * ERR_EXISTS. A route that another function has stays with that one: ask function_by_route first. del takes it out of
 * the table at once (deleted = true) and makes that durable. */
struct function *function_new(const char *name, const char *project);
void function_put(struct store *s, struct store_op *op, struct function *f);
void function_del(struct store *s, struct store_op *op, struct function *f);
/* What was declared of its version or alias by records (async/, policy/, url/ NAME:QUALIFIER); "": all of it, and what was
 * measured of it (measured/NAME:), as del does. */
void function_forget(struct store *s, const struct function *f, const char *qualifier);
/* One that no function has yet: its code is not swept while somebody holds a reference. */
void revision_hold(struct store *s, struct revision *r);
/* Called after every insert, change and delete (the scheduler stops instances of what is gone). One listener. */
void store_on_function(struct store *s, void (*changed)(void *arg, struct function *f), void *arg);
