/* SPDX-License-Identifier: Apache-2.0 */
/* An advice in words for people (80 columns), as JSON with all of its numbers, and as a page of notes. */
#pragma once
#include "advise/advise.h"
#include "json/write.h"
void say_text(struct buf *out, const struct facts *f, const struct advice *a, const struct advise_market *m);
void say_json(struct jw *w, const struct facts *f, const struct advice *a, const struct advise_market *m);
/* Markdown: how it is run, what it costs, the way back. */
void say_notes(struct buf *out, const struct facts *f, const struct advice *a, const struct advise_market *m);
