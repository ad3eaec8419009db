/* SPDX-License-Identifier: Apache-2.0 */
/* tandem.yaml as anybody may write it. A manifest that is accepted holds only what the rest relies on. */
#include "app/manifest.h"
#include "json/read.h"

static const char *lookup(void *arg, const char *name)
{
	return name[0] == 'A' ? "value" : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct tree_opts o = {.file = "f", .lookup = lookup, .where = "us-east-1:000000000000"};
	struct manifest *m = NULL;
	struct err e = {0};

	if (manifest_parse(&o, (struct str){(const char *)p, n}, &m, &e) < 0) {
		if (!e.text[0])
			abort();
		return 0;
	}
	for (size_t i = 0; i < m->n; i++) {
		const struct manifest_function *f = &m->functions[i];

		if (!f->code || !f->runtime || !f->handler || f->memory_mb < 128 || f->timeout_s < 1 ||
		    f->timeout_s > 900)
			abort();
		if (f->route && f->route[0] != '/')
			abort();
	}
	for (size_t i = 0; i < m->resources.n; i++) {
		const struct resource *x = &m->resources.p[i];

		if (!x->title || !x->name[0] || json_check(str_of(x->doc), &e) < 0)
			abort();
	}
	manifest_free(m);
	return 0;
}
