/* SPDX-License-Identifier: Apache-2.0 */
/* Files of control groups: short texts of the kernel, relative to a group's directory. */
#pragma once
#include <sys/types.h>
int cg_write(int dir, const char *file, const char *text);	    /* -1 and errno */
ssize_t cg_read(int dir, const char *file, char *ret, size_t size); /* NUL-terminated; -1 and errno */
