/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Lambda Runtime API and Extensions API of one sandbox: HTTP on 169.254.100.1:9001 inside it (reference 1.7; the
 * AWS pages "Runtime API" and "Extensions API"). For programs that speak it (provided.*, official clients, extensions).
 * In-house runtimes do not use it for events, but their extensions do: then has_runtime is false and only extensions
 * are served. Everything that arrives is hostile. Events are called from the loop, never from inside the calls below.
 */
#pragma once
#include <stdbool.h>
#include "http/server.h"
#include "instance/event.h"
struct rtapi;
struct rtapi_info { /* borrowed for the life of the rtapi */
	const char *function_name, *function_version, *handler, *account_id;
	bool has_runtime;
	unsigned n_extensions; /* external extensions that were started and have to register */
	bool adopted;	       /* it runs already: its first word may be the answer to an event of the daemon before */
};
struct rtapi_events {
	void (*ready)(void *arg); /* runtime and all extensions have called next: end of INIT; also after each event,
				     when all are back ("idle") */
	void (*answer)(void *arg, struct str body); /* the runtime's answer to the current event; body borrowed */
	void (*error)(void *arg, struct str error_type, struct str body); /* the handler's error */
	void (*init_error)(void *arg, struct str error_type, struct str body);
	void (*late)(void *arg, struct str request_id, bool is_error,
		     struct str body); /* adopted only, before the first ready */
	void (*piece)(void *arg,
		      struct str piece); /* of an answer in streaming mode; answer(), without a body, ends it */
};
struct rtapi *rtapi_new(struct http_server *s, struct loop *l, int listener, const struct rtapi_info *info,
			const struct rtapi_events *ev, void *arg);
void rtapi_free(struct rtapi *r);
/* Only between ready and the next answer. Gives the event to the runtime's waiting next, and INVOKE to extensions that
 * asked for it. ev is copied. With has_runtime false only the extensions hear of it; rtapi_runtime_done tells that the
 * in-house runtime has answered. */
void rtapi_event(struct rtapi *r, const struct instance_event *ev);
void rtapi_runtime_done(struct rtapi *r);
void rtapi_init_over(struct rtapi *r);	     /* no extension registers any more */
void rtapi_hold(struct rtapi *r, bool held); /* no piece comes while held */
bool rtapi_has_extensions(const struct rtapi *r);
/* SHUTDOWN to extensions that asked for it; reason "SPINDOWN", "TIMEOUT" or "FAILURE". Gives their number. */
unsigned rtapi_shutdown(struct rtapi *r, const char *reason, int64_t deadline_wall_ms);
