/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by rtapi.c (the runtime, the owner's calls) and rtapi_ext.c (extensions). */
#pragma once
#include "base/limits.h"
#include "base/mem.h"
#include "instance/rtapi.h"

#define EXTENSIONS_MAX 10 /* Lambda's */

enum { ON_INVOKE = 1, ON_SHUTDOWN = 2 };
enum rt_state { RT_INIT, RT_IDLE, RT_BUSY, RT_ANSWERED, RT_FAILED, RT_N };
enum ext_state { EXT_REGISTERED, EXT_WAITING, EXT_RUNNING, EXT_LEFT };

struct extension {
	struct rtapi *r;
	struct http_req *next; /* waits for an event */
	enum ext_state state;
	unsigned events;
	bool shutdown; /* SHUTDOWN still has to be given */
	char id[37];
	char name[128];
};

struct rtapi {
	struct loop *loop;
	struct http_listener *listener;
	const struct rtapi_info *info;
	const struct rtapi_events *ev;
	void *arg;

	enum rt_state state;
	struct http_req *next;	 /* the runtime waits for an event */
	struct http_req *stream; /* BUSY: the answer that comes in pieces */
	struct http_sink sink;
	bool init_done;	     /* ready() was told once */
	bool told_ready;     /* since the last event */
	bool inside;	     /* a call of the owner's: events have to wait */
	bool event_waits;    /* event holds one for which no next was there */
	char request_id[64]; /* of the event in hand */
	struct buf head;     /* header lines of the event */
	struct buf event;    /* a payload that has to wait */

	struct loop_defer defer;
	struct buf text; /* an extension's event */
	const char *shutdown_reason;
	int64_t shutdown_deadline_ms;
	unsigned n_ext;
	struct extension *ext[EXTENSIONS_MAX];
};

void rtapi_reply(struct http_req *q, int status, struct str json);
void rtapi_reply_ok(struct http_req *q);					       /* 202 {"status":"OK"} */
void rtapi_refuse(struct http_req *q, int status, const char *type, const char *text); /* both as they stand in JSON */
bool rtapi_method_is(struct http_req *q, const char *method);			       /* false: it was refused */
void rtapi_not_found(struct http_req *q);
void rtapi_maybe_ready(struct rtapi *r);

void rtapi_ext_route(struct rtapi *r, struct http_req *q, struct str path); /* path after /2020-01-01/extension/ */
void rtapi_ext_subscribe(struct rtapi *r, struct http_req *q);		    /* logs and telemetry */
void rtapi_ext_invoke(struct rtapi *r, const struct instance_event *ev);    /* INVOKE to those who asked for it */
