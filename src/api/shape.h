/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the body of a request may hold, as text: {name:TYPE,name:TYPE}, nothing else in it. TYPE is s (string), i
 * (integer), n (number), t (time: seconds since the epoch), b (boolean), [TYPE] (list), <TYPE> (object with names of the caller's), {...}, s(A|B) one of these,
 * i(1..10) of that range. Behind the name, before the ":": "!" it must be there and not be empty; "=JSON" what it is
 * when it is left out; "-" what we cannot do, "^" what is the owner of the machine's to say: refused unless it is empty,
 * zero or false.
 *
 * Members that are not named are left out of the copy, and so are nulls. Recursion is as deep as the shape.
 */
#pragma once
#include "api/errors.h"
#include "json/read.h"
#include "json/write.h"
int shape_copy(const char *shape, const struct json *j, struct buf *ret, struct api_err *e);
/* The same of JSON that a form was made into (query.h): all that is no string came as one, a time in ISO 8601 too. */
int shape_copy_text(const char *shape, const struct json *j, struct buf *ret, struct api_err *e);
