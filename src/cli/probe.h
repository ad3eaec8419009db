/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy of a workload (api/admin_copy.c) that is measured: made by probe_open, gone with probe_close, or with this
 * process however that ends. Errors are returned, not printed.
 */
#pragma once
#include "cli/cli.h"
#include "cli/load.h"

struct probe_what {
	const char *of;	  /* "iris", "shop/iris" */
	const char *more; /* further members of the request: "\"memory\": 512"; or "" */
	struct str payload;
	const char *path; /* of a service's requests */
};
struct probe {
	struct cli *c;
	int fd; /* the copy lives as long as it is open */
	char name[256];
	bool service;
	struct buf told,
		plain; /* requests: told answers with what the call took, for functions; plain is the quicker */
	struct buf line;
};
int probe_open(struct cli *c, const struct probe_what *what, struct probe *ret, struct err *e);
/* The workload itself instead of a copy. */
void probe_original(struct cli *c, const struct probe_what *what, bool service, struct probe *ret);
void probe_close(struct probe *p);
/* One call to the daemon. ret: the caller frees it. */
int probe_ask(struct cli *c, const char *method, const char *target, struct str body, struct json **ret, struct err *e);
int probe_stop(struct probe *p, struct err *e); /* its instances end: the next call starts one */
int probe_kill(struct probe *p, struct err *e); /* the same, as a crash does it */
/* Waits until it begins as it will from now on: its snapshot is made, or there is none. ret_how: the caller frees it. */
int probe_settle(struct probe *p, char **ret_how, struct err *e);
/* o needs no sock, request, judge or time-out; they are the probe's. */
int probe_load(struct probe *p, bool told, const struct load_opts *o, struct load *ret, struct err *e);
struct probe_use {				 /* of all its instances */
	int64_t cpu_us, memory_bytes, memory_mb; /* cpu_us: of services only; memory_mb: declared */
	int instances;
};
int probe_usage(struct probe *p, struct probe_use *ret, struct err *e);
