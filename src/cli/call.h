/* SPDX-License-Identifier: Apache-2.0 */
/* Asking the daemon over the admin socket. Each prints its own error with what to do next and returns -1 (c->exit is
 * set). */
#pragma once
#include "cli/cli.h"
#include "http/client.h"
/* One call; a status of 400 and above is a failure whose message is printed. */
int call_daemon(struct cli *c, const char *method, const char *target, struct str body, struct buf *ret_body);
int call_json(struct cli *c, const char *method, const char *target, struct str body, struct buf *ret_body,
	      struct json **ret);
/* As it arrives; sink non-zero stops (and is success). */
int call_stream(struct cli *c, const char *method, const char *target, struct str body,
		int (*sink)(void *arg, struct str piece), void *arg);
int call_status(struct cli *c, const char *target); /* of a GET; -1: no daemon. Prints nothing */
bool call_alive(struct cli *c);			    /* does a daemon answer? prints nothing */
void call_target(struct buf *out, const char *before, const char *name, const char *after); /* name percent-encoded */
void call_query(struct buf *out, const char *name, const char *value); /* "?name=value" or "&name=value" */
void call_query_int(struct buf *out, const char *name, int64_t value);
/* For verbs that print what the daemon said. With -o json it is printed as it is and *ret stays; true: *ret is to be
 * shown. Else the verb returns c->exit. */
bool call_show(struct cli *c, const char *method, const char *target, struct str body, struct json **ret);
/* Its second half: true: printed. */
bool call_print_json(struct cli *c, const struct buf *body);
int call_payload(const char *arg, struct buf *out, struct err *e); /* of an option: JSON, "@FILE" or "-" */
