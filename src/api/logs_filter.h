/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filter patterns of CloudWatch Logs: words and "phrases" that must all be in a message, -words that must not, ?words one
 * of which is enough; or { $.a.b[0] = "x*" && $.n >= 5 }, comparisons joined by && or by ||, of messages that are JSON.
 * At most FILTER_PARTS of either. Patterns of columns, %regular expressions% and parentheses are refused by name.
 */
#pragma once
#include "base/err.h"
#include "base/str.h"
#define FILTER_BYTES 1024
#define FILTER_PARTS 32
struct log_filter;
int log_filter_parse(struct str pattern, struct log_filter **ret, struct err *e); /* an empty one: everything passes */
bool log_filter_match(const struct log_filter *f, struct str message);
void log_filter_free(struct log_filter *f);
