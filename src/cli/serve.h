/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of serve that others use too (doctor, restore) or that tests look at. */
#pragma once
#include "wire/spawner.h"
#include <stdbool.h>
#include "cli/cli.h"
#define UID_DAEMON 1879048190u /* what the daemon runs as where no user "tandem" is */
extern const struct opt serve_options[];
int serve_run(struct cli *c, int argc, char **argv);
/* "127.0.0.1:4566", "[::1]:4566", ":4566", "4566", "localhost:4566"; IPv4 becomes v4-mapped. No names are resolved. */
int serve_address(const char *text, struct sockaddr_in6 *ret, struct err *e);
bool serve_is_loopback(const struct sockaddr_in6 *a);
