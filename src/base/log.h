/* SPDX-License-Identifier: Apache-2.0 */
/*
 * key=value lines on stderr: "2026-11-21T10:00:00.000Z info sched: text key=value".
 * Never blocks the caller for long: one write(2) a line; when stderr is full the
 * line is dropped and counted. Secrets are never passed in here.
 */
#pragma once
#include "base/def.h"
enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
void log_init(const char *who, enum log_level max);
void log_line(enum log_level level, const char *area, const char *fmt, ...) PRINTF(3, 4);
#define log_error(area, ...) log_line(LOG_ERROR, area, __VA_ARGS__)
#define log_warn(area, ...)  log_line(LOG_WARN, area, __VA_ARGS__)
#define log_info(area, ...)  log_line(LOG_INFO, area, __VA_ARGS__)
#define log_debug(area, ...) log_line(LOG_DEBUG, area, __VA_ARGS__)
