/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const kind_names[] = {
	[ERR_NONE] = "none",	     [ERR_INVALID] = "invalid",
	[ERR_LIMIT] = "limit",	     [ERR_NOT_FOUND] = "not_found",
	[ERR_EXISTS] = "exists",     [ERR_CONFLICT] = "conflict",
	[ERR_DENIED] = "denied",     [ERR_TIMEOUT] = "timeout",
	[ERR_CANCELED] = "canceled", [ERR_UNAVAILABLE] = "unavailable",
	[ERR_CORRUPT] = "corrupt",   [ERR_SYS] = "sys",
	[ERR_BUG] = "bug",
};
static_assert(ARRAY_SIZE(kind_names) == ERR_N, "every kind has a name");

const char *err_kind_name(enum err_kind kind)
{
	return (unsigned)kind < ERR_N ? kind_names[kind] : "?";
}

int err_set(struct err *e, enum err_kind kind, const char *fmt, ...)
{
	char text[sizeof(e->text)];
	va_list ap;

	if (!e)
		return -1;
	/* By way of a second buffer: an argument may be the old text. */
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	e->kind = kind;
	e->sys = 0;
	memcpy(e->text, text, sizeof(text));
	return -1;
}

int err_sys(struct err *e, int sys, const char *fmt, ...)
{
	char text[sizeof(e->text)];
	va_list ap;
	size_t n;

	if (!e)
		return -1;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	n = strlen(text);
	snprintf(text + n, sizeof(text) - n, ": %s", strerrordesc_np(sys) ? strerrordesc_np(sys) : "unknown error");
	e->kind = ERR_SYS;
	e->sys = sys;
	memcpy(e->text, text, sizeof(text));
	return -1;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	char text[sizeof(e->text)];
	va_list ap;
	size_t n;

	if (!e)
		return -1;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	n = strlen(text);
	snprintf(text + n, sizeof(text) - n, ": %.*s", (int)(sizeof(text) - n), e->text);
	memcpy(e->text, text, sizeof(text));
	return -1;
}
