/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gateway: a route is answered by its function. A request waits for its instance; it is never refused because
 * nothing runs yet. GET /healthz and /readyz answer for the platform unless a function has that route.
 */
#pragma once
#include "sched/sched.h"
struct gateway;
struct gateway *gateway_new(struct sched *s, struct store *st, const char *account);
void gateway_free(struct gateway *g);
void gateway_handle(void *gateway, struct http_req *r); /* an http_handler */
