/* SPDX-License-Identifier: Apache-2.0 */
#include "store/definition.h"
#include <stdio.h>
#include "base/clock.h"
#include "base/mem.h"
#include "json/read.h"
#include "json/write.h"

#define KEY_BYTES (sizeof("definition/") + DEFINITION_FAMILY_MAX + sizeof(":0123456789"))
#define ACTIVE	  "{\"active\":true," /* how the record of an active one begins */

struct kept {
	struct definition d;
	struct json *root; /* its texts */
	char family[DEFINITION_FAMILY_MAX + 1];
};

static const char *key_of(char out[KEY_BYTES], const char *family, int revision)
{
	snprintf(out, KEY_BYTES, "definition/%.*s:%010d", DEFINITION_FAMILY_MAX, family, revision);
	return out;
}

static struct definition *read_record(const struct record *r)
{
	struct kept *k = r ? xcalloc(1, sizeof(*k)) : NULL;
	const char *name, *colon;

	if (!k)
		return NULL;
	k->root = json_parse(str_of(r->value), NULL);
	name = r->key + strlen("definition/");
	colon = strrchr(name, ':');
	if (!k->root || !colon) { /* damaged: as if not there */
		definition_free(&k->d);
		return NULL;
	}
	snprintf(k->family, sizeof(k->family), "%.*s", (int)(colon - name), name);
	k->d = (struct definition){.family = k->family,
				   .revision = atoi(colon + 1),
				   .active = json_get_bool(k->root, "active", false),
				   .project = json_get_str(k->root, "project").p,
				   .doc = json_get_str(k->root, "doc").p,
				   .source = json_get_str(k->root, "source").p,
				   .tags = json_get_str(k->root, "tags").p,
				   .registered_wall_us = json_get_int(k->root, "registered_us", 0),
				   .deregistered_wall_us = json_get_int(k->root, "deregistered_us", 0)};
	return &k->d;
}

void definition_free(struct definition *d)
{
	struct kept *k = d ? container_of(d, struct kept, d) : NULL;

	json_free(k ? k->root : NULL);
	free(k);
}

struct definition *definition_get(const struct store *s, struct str family, int revision)
{
	char key[KEY_BYTES], prefix[KEY_BYTES];
	const struct record *r, *latest = NULL;
	auto_free char *name = str_dup(family);

	if (family.n > DEFINITION_FAMILY_MAX)
		return NULL;
	if (revision) {
		r = record_next(s, key_of(key, name, revision), NULL);
		return read_record(r);
	}
	snprintf(prefix, sizeof(prefix), "definition/%s:", name);
	for (r = record_next(s, prefix, NULL); r; r = record_next(s, prefix, r->key))
		if (str_starts(str_of(r->value), ACTIVE))
			latest = r;
	return read_record(latest);
}

void definition_update(struct store *s, struct store_op *op, const struct definition *d)
{
	auto_buf text = {0};
	struct jw w = jw_object(&text);
	char key[KEY_BYTES];

	jw_bool(&w, "active", d->active);
	jw_strc(&w, "project", d->project ? d->project : "");
	jw_strc(&w, "doc", d->doc);
	if (d->source)
		jw_strc(&w, "source", d->source);
	if (d->tags)
		jw_strc(&w, "tags", d->tags);
	jw_int(&w, "registered_us", d->registered_wall_us);
	if (d->deregistered_wall_us)
		jw_int(&w, "deregistered_us", d->deregistered_wall_us);
	jw_end(&w, '}');
	record_put(s, op, key_of(key, d->family, d->revision), text.p);
}

void definition_number(struct store *s, struct definition *d)
{
	auto_free char *key = xasprintf("family/%s", d->family);
	const char *last = record_get(s, key);
	char number[16];

	d->revision = last ? atoi(last) + 1 : 1;
	d->active = true;
	d->registered_wall_us = clock_wall_us();
	d->deregistered_wall_us = 0;
	snprintf(number, sizeof(number), "%d", d->revision);
	record_put(s, NULL, key, number);
}

int definition_put(struct store *s, struct store_op *op, const struct definition *d)
{
	struct definition made = *d;

	definition_number(s, &made);
	definition_update(s, op, &made);
	return made.revision;
}

void definition_del(struct store *s, struct store_op *op, const char *family, int revision)
{
	char key[KEY_BYTES];

	record_del(s, op, key_of(key, family, revision));
}

struct definition *definition_next(const struct store *s, const char *family, const char *after_family,
				   int after_revision)
{
	char prefix[KEY_BYTES], after[KEY_BYTES];

	snprintf(prefix, sizeof(prefix), "definition/%s%s", family ? family : "", family ? ":" : "");
	return read_record(record_next(s, prefix, after_family ? key_of(after, after_family, after_revision) : NULL));
}
