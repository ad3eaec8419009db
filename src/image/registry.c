/* SPDX-License-Identifier: Apache-2.0 */
#include "image/registry.h"
#include <stdio.h>
#include "base/clock.h"
#include "base/mem.h"
#include "image/image_int.h"

#define HOLD_US	 (3600 * 1000000ll)
#define MANIFEST "manifest/"
#define TAG	 "tag/"

/* Until a manifest names it. */
struct hold {
	struct list node; /* the oldest first */
	int64_t until_us;
	char hex[65];
	char repository[];
};

/* --- names --- */

void images_own(struct images *t, const char *host, uint16_t port)
{
	strlcpy_(t->own, host, sizeof(t->own));
	t->own_port = port;
}

bool repository_name_ok(struct str name)
{
	char text[REFERENCE_NAME_MAX + 8];
	struct reference r;

	if (!name.n || name.n > 200 || strcspn(name.p, ":@") < name.n)
		return false;
	snprintf(text, sizeof(text), "a.b/" STR_FMT, STR_ARG(name));
	return reference_parse(text, &r, NULL) == 0;
}

static int own_reference(const struct images *t, const char *repository, const char *tag, const char *hex,
			 struct reference *ret)
{
	char text[REFERENCE_MAX + 80];

	snprintf(text, sizeof(text), "%s/%s%s%s", t->own, repository, tag ? ":" : "@sha256:", tag ? tag : hex);
	return reference_parse(text, ret, NULL);
}

static const char *path_of(const struct reference *r)
{
	return r->name + strlen(r->host) + 1;
}

bool registry_owns(const struct images *t, const char *text, struct reference *r)
{
	const char *port = strrchr(r->host, ':'), *path = path_of(r);
	bool no_host = text && !strcmp(r->host, "docker.io") && !strstr(text, "docker.io/");
	int64_t n = 0;

	if (r->loopback && port)
		str_to_i64(str_of(port + 1), 1, 65535, &n);
	if (!t->own[0] || !(no_host || (n && n == t->own_port) || !strcmp(r->host, t->own)))
		return false;
	if (no_host && !strncmp(path, "library/", 8) && strncmp(text, "library/", 8))
		path += 8;
	auto_free char *repository = xstrdup(path);
	struct reference old = *r;
	return own_reference(t, repository, old.tag[0] ? old.tag : NULL, old.digest, r) == 0;
}

static char *key_of(const char *kind, const char *repository, const char *sep, const char *name)
{
	return xasprintf("%s%s%s%s", kind, repository, sep, name ? name : "");
}

/* --- records --- */

const char *repository_get(const struct images *t, const char *name)
{
	auto_free char *key = key_of(REPOSITORY, name, "", NULL);

	return record_get(t->store, key);
}

int repository_room(const struct images *t, struct err *e)
{
	unsigned n = 0;

	for (const struct record *r = NULL; (r = record_next(t->store, REPOSITORY, r ? r->key : NULL));)
		n++;
	return n < LIM_REPOSITORIES ? 0 : err_set(e, ERR_LIMIT, "there are %u repositories; delete some first", n);
}

void repository_put(struct images *t, struct store_op *op, const char *name, const char *doc)
{
	auto_free char *key = key_of(REPOSITORY, name, "", NULL);

	record_put(t->store, op, key, doc);
}

bool registry_find(const struct images *t, const char *repository, struct str reference, char ret_hex[65])
{
	char name[REFERENCE_TAG_MAX + 1];

	if (str_starts(reference, "sha256:")) {
		struct str hex = {reference.p + 7, reference.n - 7};

		if (!reference_digest_ok(hex))
			return false;
		snprintf(ret_hex, 65, STR_FMT, STR_ARG(hex));
	} else {
		if (reference.n >= sizeof(name))
			return false;
		snprintf(name, sizeof(name), STR_FMT, STR_ARG(reference));
		auto_free char *key = key_of(TAG, repository, ":", name);
		const char *hex = record_get(t->store, key);

		if (!hex)
			return false;
		strlcpy_(ret_hex, hex, 65);
	}
	auto_free char *key = key_of(MANIFEST, repository, "@", ret_hex);
	return record_get(t->store, key) != NULL;
}

struct json *registry_image(const struct images *t, const char *repository, const char *hex)
{
	auto_free char *key = key_of(MANIFEST, repository, "@", hex);
	const char *text = record_get(t->store, key);

	return text ? json_parse(str_of(text), NULL) : NULL;
}

static const char *next_name(const struct images *t, const char *kind, const char *repository, const char *sep,
			     const char *after)
{
	auto_free char *prefix = key_of(kind, repository, sep, NULL);
	auto_free char *key = key_of(kind, repository, sep, after);
	const struct record *r = record_next(t->store, prefix, after ? key : NULL);

	return r ? r->key + strlen(prefix) : NULL;
}

const char *registry_next_image(const struct images *t, const char *repository, const char *after_hex)
{
	return next_name(t, MANIFEST, repository, "@", after_hex);
}

const char *registry_next_tag(const struct images *t, const char *repository, const char *after_tag)
{
	return next_name(t, TAG, repository, ":", after_tag);
}

/* --- deleting --- */

/* What runs from it goes on, under the name that it was started by. */
static void forget_image(struct images *t, const char *repository, const char *tag)
{
	struct reference r;
	struct image *im =
		own_reference(t, repository, tag, NULL, &r) == 0 ? map_get(&t->by_reference, str_of(r.text)) : NULL;

	if (im && !image_used(t, im))
		image_remove_start(t, im, NULL, NULL);
}

void registry_untag(struct images *t, struct store_op *op, const char *repository, const char *tag)
{
	auto_free char *key = key_of(TAG, repository, ":", tag);

	forget_image(t, repository, tag);
	record_del(t->store, op, key);
}

void registry_del_image(struct images *t, struct store_op *op, const char *repository, const char *hex)
{
	auto_free char *key = key_of(MANIFEST, repository, "@", hex), *after = NULL;

	for (const char *tag = NULL; (tag = registry_next_tag(t, repository, after));) {
		char leads_to[65];

		free(after);
		after = xstrdup(tag);
		if (registry_find(t, repository, str_of(after), leads_to) && !strcmp(leads_to, hex))
			registry_untag(t, NULL, repository, after);
	}
	record_del(t->store, op, key);
	store_gc(t->store);
}

void repository_del(struct images *t, struct store_op *op, const char *name)
{
	auto_free char *key = key_of(REPOSITORY, name, "", NULL);
	const char *hex;

	while ((hex = registry_next_image(t, name, NULL))) {
		char digest[65];

		strlcpy_(digest, hex, sizeof(digest));
		registry_del_image(t, NULL, name, digest);
	}
	record_del(t->store, op, key);
}

/* NAME@HEX of all that a tag or an index leads to. */
static void add_live(struct map *live, const char *key, size_t kind, char sep, const char *hex)
{
	char *name = xasprintf("%.*s@%s", (int)(strrchr(key, sep) - key - (ssize_t)kind), key + kind, hex);

	if (map_get(live, str_of(name)))
		free(name);
	else
		map_put(live, str_of(name), name);
}

void registry_tidy(struct images *t)
{
	auto_free char *after = NULL;
	struct map live = {0};
	size_t pos = 0;
	char *name;

	for (const struct record *r = NULL; (r = record_next(t->store, TAG, r ? r->key : NULL));)
		add_live(&live, r->key, sizeof(TAG) - 1, ':', r->value);
	for (const struct record *r = NULL; (r = record_next(t->store, MANIFEST, r ? r->key : NULL));) {
		auto_json j = json_parse(str_of(r->value), NULL);
		const struct json *parts = json_get(j, "parts");

		if (json_get_int(j, "pushed_us", 0) + HOLD_US > clock_wall_us())
			add_live(&live, r->key, sizeof(MANIFEST) - 1, '@', strrchr(r->key, '@') + 1);
		for (size_t i = 0; i < json_len(parts); i++)
			add_live(&live, r->key, sizeof(MANIFEST) - 1, '@', json_str(json_at(parts, i)).p);
	}
	for (const struct record *r; (r = record_next(t->store, MANIFEST, after));) {
		free(after);
		after = xstrdup(r->key);
		if (!map_get(&live, str_of(after + sizeof(MANIFEST) - 1)))
			record_del(t->store, NULL, after);
	}
	while ((name = map_next(&live, &pos)))
		free(name);
	map_done(&live);
	store_gc(t->store);
}

/* --- blobs --- */

void registry_work(struct images *t, struct loop_work *w)
{
	loop_thread_push(t->thread, w);
}

static void let_go(void *arg)
{
	struct images *t = arg;
	int64_t now = clock_now_us();
	struct hold *h;

	while ((h = list_first(&t->holds, struct hold, node)) && h->until_us <= now) {
		list_del(&h->node);
		free(h);
	}
	if (h)
		loop_timer_in(t->holds_due, h->until_us - now);
	store_gc(t->store);
}

/* The one that is to make room: the same, or the oldest of too many. */
static struct hold *replaced(const struct images *t, const char *repository, const char *hex)
{
	struct hold *same = NULL;
	unsigned n = 0;

	list_each((struct list *)&t->holds, it)
	{
		struct hold *h = container_of(it, struct hold, node);

		n++;
		if (!strcmp(h->hex, hex) && !strcmp(h->repository, repository))
			same = h;
	}
	return same || n < LIM_HOLDS ? same : list_first(&t->holds, struct hold, node);
}

void registry_hold(struct images *t, const char *repository, const char *hex)
{
	size_t n = strlen(repository) + 1;
	struct hold *h = replaced(t, repository, hex);

	if (h)
		list_del(&h->node);
	free(h);
	h = xcalloc(1, sizeof(*h) + n);

	if (list_empty(&t->holds))
		loop_timer_in(t->holds_due, HOLD_US);
	h->until_us = clock_now_us() + HOLD_US;
	strlcpy_(h->hex, hex, sizeof(h->hex));
	memcpy(h->repository, repository, n);
	list_push(&t->holds, &h->node);
}

static bool named(const struct images *t, const char *repository, const char *hex)
{
	for (const char *image = NULL; (image = registry_next_image(t, repository, image));) {
		auto_free char *key = key_of(MANIFEST, repository, "@", image);

		if (strstr(record_get(t->store, key), hex))
			return true;
	}
	return false;
}

bool registry_has_blob(const struct images *t, const char *repository, const char *hex)
{
	bool has = named(t, repository, hex);

	list_each((struct list *)&t->holds, it)
	{
		const struct hold *h = container_of(it, struct hold, node);

		has |= !strcmp(h->hex, hex) && !strcmp(h->repository, repository);
	}
	return has && store_blob_has(t->store, hex);
}

static void keep_names(void *arg, struct buf *out)
{
	struct images *t = arg;

	list_each(&t->holds, it) buf_add(out, container_of(it, struct hold, node)->hex, 65);
	for (const struct record *r = NULL; (r = record_next(t->store, MANIFEST, r ? r->key : NULL));) {
		auto_json j = json_parse(str_of(r->value), NULL);
		const struct json *parts = json_get(j, "parts");

		buf_add(out, strchr(r->key, '@') + 1, 65);
		for (size_t i = 0; i < json_len(parts); i++)
			buf_add(out, json_str(json_at(parts, i)).p, 65);
	}
}

void registry_open(struct images *t)
{
	list_init(&t->holds);
	list_init(&t->puts);
	t->holds_due = loop_timer_new(t->loop, let_go, t);
	store_on_sweep(t->store, keep_names, t);
}

void registry_close(struct images *t)
{
	store_on_sweep(t->store, NULL, NULL);
	registry_puts_end(t);
	loop_timer_free(take_ptr(t->holds_due));
	list_each(&t->holds, it)
	{
		struct hold *h = container_of(it, struct hold, node);

		list_del(it);
		free(h);
	}
}
