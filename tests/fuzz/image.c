/* SPDX-License-Identifier: Apache-2.0 */
/* What a registry says of an image: the first byte tells of what kind the rest is. What is accepted keeps its
 * promises. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "image/manifest.h"
#include "image/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void reference(struct str s)
{
	auto_free char *text = str_dup(s);
	struct reference r, again;

	if (reference_parse(text, &r, NULL) < 0)
		return;
	assert(strspn(r.text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-./:@[]") ==
	       strlen(r.text));
	assert(r.text[0] != '-' && r.text[0] != '/' && !strstr(r.text, ".."));
	assert(reference_parse(r.text, &again, NULL) == 0 && !strcmp(again.text, r.text));
}

static void manifest(struct str s)
{
	static struct image_manifest m;
	struct err e = {0};

	if (image_manifest_parse(s, &m, &e) < 0) {
		assert(e.kind && e.text[0]);
		return;
	}
	assert(m.n_layers <= LIM_IMAGE_LAYERS && reference_digest_ok(str_of(m.config.digest)));
	for (unsigned i = 0; i < m.n_layers; i++)
		assert(reference_digest_ok(str_of(m.layers[i].digest)) && m.layers[i].bytes >= 0);
}

static void config(struct str s)
{
	struct image_config c;
	struct err e = {0};
	char(*ids)[65];
	int64_t created;

	if (image_config_parse(s, &c, &e) == 0) {
		assert(c.entrypoint && c.cmd && c.env && c.volumes && c.user && c.workdir);
		assert(c.stop_signal > 0 && c.stop_signal <= 64);
		image_config_done(&c);
	}
	for (unsigned n = 0; n < 3; n++) {
		if (image_rootfs_parse(s, "amd64", n, &ids, &created, NULL) < 0)
			continue;
		for (unsigned i = 0; i < n; i++)
			assert(reference_digest_ok(str_of(ids[i])));
		assert(created >= 0);
		free(ids);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static void (*const kinds[])(struct str) = {reference, manifest, config};

	if (n)
		kinds[data[0] % 3]((struct str){(const char *)data + 1, n - 1});
	return 0;
}
