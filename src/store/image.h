/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of container images. What they mean is image/image.h's. */
#pragma once
#include "store/store.h"

struct store_image {
	const char *reference, *digest, *config_digest, *layers, *config;
	int64_t created_wall_us, pulled_wall_us;
	bool moved;
};
/* In place of one of that reference; durable when op is done. The row is copied. */
void store_image_put(struct store *s, struct store_op *op, const struct store_image *im);
void store_image_del(struct store *s, struct store_op *op, const char *reference);
/* Whether a function, or one of its revisions that somebody still holds, is this image. */
bool store_names_image(const struct store *s, const char digest[65]);
/* At start: every row. Blocking. im is borrowed by each. */
int store_image_each(struct store *s, void (*each)(void *arg, const struct store_image *im), void *arg, struct err *e);
