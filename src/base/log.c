/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/str.h"

/* At most PIPE_BUF: a pipe that polls writable takes that much without blocking, and in one piece. */
#define LINE_BYTES 4096

static const char *const level_names[] = {"error", "warn", "info", "debug"};

/* The process has one stderr: this is its state. */
static char log_who[32];
static enum log_level log_max = LOG_INFO;
static _Atomic unsigned long log_dropped;

void log_init(const char *who, enum log_level max)
{
	strlcpy_(log_who, who ? who : "", sizeof(log_who));
	log_max = max;
}

/* Whatever came from outside must not be able to forge a line or drive a terminal. */
static void clean(char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f)
			p[i] = ' ';
}

static void put(const char *line, size_t n)
{
	struct pollfd pfd = {.fd = STDERR_FILENO, .events = POLLOUT};
	int saved = errno;

	if (poll(&pfd, 1, 0) != 1 || !(pfd.revents & POLLOUT) || write(STDERR_FILENO, line, n) < 0)
		log_dropped++;
	errno = saved;
}

void log_line(enum log_level level, const char *area, const char *fmt, ...)
{
	char line[LINE_BYTES], when[32];
	unsigned long dropped;
	size_t n, start;
	va_list ap;
	int m;

	if (level > log_max)
		return;
	dropped = atomic_exchange(&log_dropped, 0);
	clock_fmt_iso(clock_wall_us(), when);
	n = (size_t)snprintf(line, sizeof(line), "%s %s %.64s: ", when, level_names[level], area);
	start = n;
	va_start(ap, fmt);
	m = vsnprintf(line + n, sizeof(line) - n, fmt, ap);
	va_end(ap);
	if (m < 0)
		m = 0;
	n = (size_t)m < sizeof(line) - n ? n + (size_t)m : sizeof(line) - 1;
	if (n > sizeof(line) - 96)
		n = sizeof(line) - 96;
	clean(line + start, n - start);
	if (log_who[0])
		n += (size_t)snprintf(line + n, sizeof(line) - n, " proc=%s", log_who);
	if (dropped)
		n += (size_t)snprintf(line + n, sizeof(line) - n, " dropped=%lu", dropped);
	line[n++] = '\n';
	put(line, n);
}
