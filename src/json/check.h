/* SPDX-License-Identifier: Apache-2.0 */
/* For this folder: the validator behind json_check, with what read.c needs to say where. */
#pragma once
#include "base/str.h"
size_t json_plain(const char *p, size_t n); /* so many of n bytes, at least, mean themselves inside of a string */
const char *json_check_at(struct str text, size_t *ret_at); /* NULL: one JSON value. Else what is wrong, at that byte */
