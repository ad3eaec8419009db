/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of one workload, and how well: what the advisor decides from. From a declaration (facts_read), from what
 * ran here or from a recorded trace (facts_set), and for the rest from what such workloads usually are (facts_settle), so
 * that every number is there and says where it comes from.
 *
 * A declaration is YAML or JSON: a map from names to workloads, a list of workloads with a name each, or one workload.
 * Numbers have units and may be ranges ("40ms..90ms"); keys and words are listed in facts_keys. The file is hostile: its
 * size, depth and number of workloads are bounded, each number has a range, and an error names the line.
 * Tests: tests/advise/test_facts.c, tests/fuzz/declare.c.
 */
#pragma once
#include "app/tree.h"
#include "base/buf.h"
#include "sched/known.h"

enum fact {
	FACT_RATE,     /* requests (events, runs) a second, on average */
	FACT_PEAK,     /* and while there are many */
	FACT_DURATION, /* s of one, usually */
	FACT_LONGEST,  /* s */
	FACT_CPU,      /* s of CPU time in one */
	FACT_VCPU,     /* CPUs that one uses at once */
	FACT_MEMORY,   /* bytes that an instance holds */
	FACT_BASE,     /* bytes more in the container lane, where several can be open at once */
	FACT_SEAT,     /* bytes more for each one beyond the first at once */
	FACT_SEATS,    /* at once in one instance of the container lane */
	FACT_START,    /* s until an instance is ready */
	FACT_COLD,     /* s: the largest acceptable start; 0: any */
	FACT_PACKAGE,  /* bytes of code with its libraries */
	FACT_PAYLOAD,  /* bytes of the largest request or answer */
	FACT_DATA,     /* bytes on the local disk while one runs */
	FACT_GPUS,
	FACT_DEVICES,
	FACT_SIDECARS,
	FACT_N
};
enum fact_kind { KIND_API, KIND_BATCH, KIND_TRAINING, KIND_SCHEDULE, KIND_ADMIN };
enum fact_pattern { PATTERN_STEADY, PATTERN_BURSTY, PATTERN_SCHEDULED };
enum fact_listener { LISTENER_HTTP, LISTENER_WEBSOCKET, LISTENER_TCP, LISTENER_UDP, LISTENER_NONE };
enum fact_os { OS_LINUX, OS_WINDOWS };
enum fact_word { WORD_KIND, WORD_PATTERN, WORD_LISTENER, WORD_OS, WORD_N };

enum {
	FLAG_ROOT = 1 << 0,	  /* of the machine, not of a container */
	FLAG_KERNEL = 1 << 1,	  /* modules, settings or a version of it */
	FLAG_PRIVILEGED = 1 << 2, /* docker run --privileged */
	FLAG_WARM = 1 << 3,	  /* state in memory that must outlive a request */
	FLAG_TO_ZERO = 1 << 4,	  /* holds nothing while there is nothing to do */
	FLAG_ISOLATION = 1 << 5,  /* compliance: separated from all others */
	FLAG_REGION = 1 << 6,	  /* data stay here */
	FLAG_OWN_KERNEL = 1 << 7, /* shares no kernel */
	FLAG_DEDICATED = 1 << 8,  /* shares no machine */
};

enum { FACT_SPREAD = 5 };
extern const uint8_t fact_spread[FACT_SPREAD]; /* percentiles */

struct facts {
	char name[160];
	struct known n[FACT_N];
	uint32_t known; /* of n, by bits */
	uint8_t word[WORD_N];
	uint8_t said; /* of word, by bits */
	uint32_t flags;
	uint32_t lanes;				     /* that are taken at all, by bits of enum lane; 0: any */
	unsigned now;				     /* the lane that it is in; LANE_N: none */
	double configured_bytes;		     /* of memory, where FACT_MEMORY was measured; 0: the same */
	struct known start_cpu_s, container_start_s; /* v 0: as FACT_START */
	char bench[160];			     /* when bench measured it, and of what; or "" */
	bool bench_stale;			     /* then it counts no more */
	double events, failed, over_s; /* calls, those that failed (they count for the rate alone), in which time */
	double spread_s[FACT_SPREAD];  /* of durations; all 0: from the numbers alone */
};
struct facts_list {
	struct facts *v;
	size_t n;
};
void facts_list_done(struct facts_list *l);

#define FACTS_MAX 1000 /* workloads in one declaration */
int facts_read(const struct tree_opts *o, struct str text, struct facts_list *ret, struct err *e);
void facts_set(struct facts *f, enum fact what, double v, double low, double high, enum known_from from);
/* Fills in what nobody said. Then all of n hold numbers with low <= v <= high. */
void facts_settle(struct facts *f);
/* "duration", for people and JSON; and a number of it with its unit: "40 ms". */
const char *fact_name(enum fact what);
void fact_text(struct buf *out, enum fact what, double v);
const char *fact_flag_name(uint32_t flag);
/* "kind", and one of its words: "api". */
const char *fact_word_key(enum fact_word which);
struct str fact_word_name(enum fact_word which, unsigned value);
/* The keys of a declaration; NULL after the last. */
const char *facts_keys(const void *unused, size_t i);
