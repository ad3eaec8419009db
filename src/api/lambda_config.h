/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the configuration members of CreateFunction and UpdateFunctionConfiguration into a revision; absent ones stay
 * as they are. */
#pragma once
#include "api/api_int.h"
#if defined(__aarch64__)
#define LAMBDA_ARCHITECTURE "arm64"
#else
#define LAMBDA_ARCHITECTURE "x86_64"
#endif
/* v is less than min, or more than max; -1. */
int lambda_out_of_range(struct api_err *e, const char *member, int64_t v, int64_t min, int64_t max);
/* d: where dead letters can go. */
int lambda_config_read(const struct json *body, struct deliver *d, struct revision *r, struct api_err *e);
/* lambda_image.c: r becomes an image, or another one. uri: NULL: the same; it is as the caller gave it. */
int lambda_image_read(const struct json *body, struct str uri, struct revision *r, struct api_err *e);
void lambda_image_config(struct jw *w, const struct revision *r);
void lambda_image_code(struct jw *w, const struct revision *r); /* members of GetFunction's Code */
