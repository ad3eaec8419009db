/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gateway: a route is answered by its function or service, the longer one where both have one. A request waits for
 * its instance; it is never refused because nothing runs yet. GET /healthz and /readyz answer for the platform unless
 * somebody has that route.
 */
#pragma once
#include "sched/sched.h"
#include "service/service.h"
struct gateway;
struct gateway *gateway_new(struct sched *s, struct services *ss, struct store *st, const char *account);
void gateway_free(struct gateway *g);
/* Requests for functions' URLs (trigger/url.h) are answered by that: they may need a signature. */
void gateway_on_url(struct gateway *g, http_handler *h, void *arg);
void gateway_handle(void *gateway, struct http_req *r);	       /* an http_handler */
bool gateway_streams(void *gateway, const struct http_req *r); /* bodies for services are not put together here */
