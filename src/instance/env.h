/* SPDX-License-Identifier: Apache-2.0 */
/* The command line and the environment of a runtime (reference 1.3), as the strings of an INIT_START message. */
#pragma once
#include <stdbool.h>
#include "base/buf.h"
#include "instance/instance.h"
#include "wire/init.h"
struct env_facts {
	const struct revision *revision;
	const struct function *function;
	const struct instance_program *program; /* of an image; NULL: the runtime says what is started */
	const char *account, *region, *log_stream;
	bool tls; /* AWS's own names lead to the platform, vouched for by the state's authority */
	bool provisioned;
	unsigned seats;
	bool image; /* one is to be made of the process: its runtime gets ready for that from the beginning */
};
/* Appends argv then env to out, each NUL-terminated; counts in m. ERR_LIMIT past INIT_MSG_MAX. */
int env_runtime(const struct env_facts *f, struct init_msg *m, struct buf *out, struct err *e);
