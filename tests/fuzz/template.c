/* SPDX-License-Identifier: Apache-2.0 */
/* A target of anybody's and an event of somebody else's, parted by a newline: what a template makes of it. */
#include <stdlib.h>

#include "trigger/target.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static bool value(void *arg, struct str name, struct buf *json)
{
	const struct json *j = target_path(arg, name.n % 2 ? STR("$.a[0]['b']") : STR("$.c"));
	char *text = j ? json_text(j) : NULL;

	if (text)
		buf_adds(json, text);
	free(text);
	return name.n != 3;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct str all = {(const char *)p, n}, target, event;
	struct err e = {0};

	if (!n || !str_cut(all, '\n', &target, &event))
		return 0;
	auto_json t = json_parse(target, NULL);
	auto_json ev = json_parse(event, NULL);
	auto_buf out = {0};

	if (t && target_check(t, &e) < 0 && !e.text[0])
		abort();
	target_path(ev, json_get_str(t, "InputPath"));
	target_fill(json_get_str(json_get(t, "InputTransformer"), "InputTemplate"), value, ev, &out);
	return 0;
}
