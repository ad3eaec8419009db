/* SPDX-License-Identifier: Apache-2.0 */
/* The functions in memory and their indexes. */
#include <assert.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "store/store_int.h"

#define ROUTE_BYTES 1024

/* First place whose name is not below (or, after: is above) the given one. */
static size_t place(const struct table *t, const char *name, bool after)
{
	size_t lo = 0, hi = t->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = strcmp(t->sorted[mid]->f->name, name);

		if (c < 0 || (after && c == 0))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool is_star(const char *route)
{
	return route && str_ends(str_of(route), "/*");
}

static void index_route(struct table *t, struct entry *en, const char *route)
{
	if (en->route) {
		map_del(&t->by_route, str_of(en->route));
		t->n_star -= is_star(en->route);
		free(take_ptr(en->route));
	}
	if (!route || !*route)
		return;
	if (map_get(&t->by_route, str_of(route))) {
		/* The caller asks function_by_route first; the one that was there keeps it. */
		log_warn("store", "route=%s is taken, function=%s does not get it", route, en->f->name);
		return;
	}
	en->route = xstrdup(route);
	map_put(&t->by_route, str_of(en->route), en);
	t->n_star += is_star(en->route);
}

/* Once: the last reference is how the sweep knows. */
void table_retire(struct table *t, struct revision *r)
{
	if (r->retired)
		return revision_unref(r);
	r->retired = true;
	if (t->n_retired == t->cap_retired) {
		t->cap_retired = t->cap_retired ? t->cap_retired * 2 : 16;
		t->retired = xrealloc(t->retired, t->cap_retired * sizeof(struct revision *));
	}
	t->retired[t->n_retired++] = r;
}

void revision_hold(struct store *s, struct revision *r)
{
	table_retire(&s->table, revision_ref(r));
}

struct entry *table_insert(struct table *t, struct function *f)
{
	struct entry *en = xcalloc(1, sizeof(*en));
	size_t at = place(t, f->name, false);

	if (t->n == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 64;
		t->sorted = xrealloc(t->sorted, t->cap * sizeof(struct entry *));
	}
	memmove(t->sorted + at + 1, t->sorted + at, (t->n - at) * sizeof(struct entry *));
	t->sorted[at] = en;
	t->n++;
	en->f = f;
	map_put(&t->by_name, str_of(f->name), en);
	map_put(&t->by_key, str_of(f->access_key), en);
	index_route(t, en, f->route);
	return en;
}

/* Out of every index; the caller still holds the function by the store's reference. */
static void take_out(struct table *t, struct entry *en)
{
	size_t at = place(t, en->f->name, false);

	assert(at < t->n && t->sorted[at] == en);
	memmove(t->sorted + at, t->sorted + at + 1, (t->n - at - 1) * sizeof(struct entry *));
	t->n--;
	index_route(t, en, NULL);
	map_del(&t->by_name, str_of(en->f->name));
	map_del(&t->by_key, str_of(en->f->access_key));
	if (en->saved)
		table_retire(t, take_ptr(en->saved));
	for (unsigned i = 0; i < en->f->n_versions; i++) {
		en->f->versions[i]->deleted = true;
		table_retire(t, revision_ref(en->f->versions[i]));
	}
	en->f->deleted = true;
	free(en);
}

static struct function *found(const struct entry *en)
{
	return en ? en->f : NULL;
}

struct function *function_get(const struct store *s, struct str name)
{
	return found(map_get(&s->table.by_name, name));
}

struct function *function_by_access_key(const struct store *s, struct str key)
{
	return found(map_get(&s->table.by_key, key));
}

struct function *function_by_route(const struct store *s, struct str path)
{
	const struct table *t = &s->table;
	const struct entry *en = map_get(&t->by_route, path);
	char key[ROUTE_BYTES];

	if (en || !t->n_star)
		return found(en);
	for (size_t n = path.n < sizeof(key) ? path.n : sizeof(key) - 1; n > 0; n--) {
		if (path.p[n - 1] != '/')
			continue;
		memcpy(key, path.p, n);
		key[n] = '*';
		en = map_get(&t->by_route, (struct str){key, n + 1});
		if (en)
			return en->f;
	}
	return NULL;
}

static bool is_image(const struct revision *r, const char *digest)
{
	return r && r->image && !strcmp(r->code_sha256, digest);
}

bool store_names_image(const struct store *s, const char digest[65])
{
	const struct table *t = &s->table;
	bool named = false;

	for (size_t i = 0; i < t->n && !named; i++) {
		const struct function *f = t->sorted[i]->f;

		named = is_image(f->latest, digest) || is_image(t->sorted[i]->saved, digest);
		for (unsigned k = 0; k < f->n_versions && !named; k++)
			named = is_image(f->versions[k], digest);
	}
	for (size_t i = 0; i < t->n_retired && !named; i++)
		named = t->retired[i]->refs > 1 && is_image(t->retired[i], digest);
	return named;
}

size_t function_count(const struct store *s)
{
	return s->table.n;
}

struct function *function_after(const struct store *s, const char *name)
{
	const struct table *t = &s->table;
	size_t at = name ? place(t, name, true) : 0;

	return at < t->n ? t->sorted[at]->f : NULL;
}

struct function *function_next(const struct store *s, const struct function *after)
{
	return function_after(s, after ? after->name : NULL);
}

void store_on_function(struct store *s, void (*changed)(void *arg, struct function *f), void *arg)
{
	s->table.changed = changed;
	s->table.changed_arg = arg;
}

void table_tell(struct store *s, struct function *f)
{
	if (s->table.changed)
		s->table.changed(s->table.changed_arg, f);
}

void table_number(struct table *t, struct revision *r, const char *function)
{
	r->serial = (uint64_t)t->next_serial++;
	id_uuid(r->id);
	strlcpy_(r->name, function, sizeof(r->name));
	if (!r->modified_wall_us)
		r->modified_wall_us = clock_wall_us();
}

void function_put(struct store *s, struct store_op *op, struct function *f)
{
	struct table *t = &s->table;
	struct entry *en = map_get(&t->by_name, str_of(f->name));
	struct change *c;

	assert(f->latest);
	if (en && en->f != f) { /* two made the same name at once: the first has it */
		c = change_new(CHANGE_NAME_TAKEN);
		c->name = xstrdup(f->name);
		f->deleted = true;
		store_change_start(s, op, c);
		function_unref(f);
		return;
	}
	if (!f->latest->serial)
		table_number(t, f->latest, f->name);
	c = rows_change(CHANGE_FUNCTION_PUT, f, f->latest);
	c->inserted = !en;
	if (!en)
		en = table_insert(t, f);
	else if (!str_eqc(str_of(en->route), f->route ? f->route : ""))
		index_route(t, en, f->route);
	if (en->saved != f->latest) {
		if (en->saved)
			table_retire(t, en->saved);
		en->saved = revision_ref(f->latest);
	}
	store_change_start(s, op, c);
	table_tell(s, f);
}

static void forget(struct store *s, struct function *f)
{
	struct entry *en = map_get(&s->table.by_name, str_of(f->name));

	if (!en || en->f != f)
		return;
	take_out(&s->table, en);
	table_tell(s, f);
	function_unref(f);
}

void table_insert_failed(struct store *s, struct function *f)
{
	forget(s, f);
}

void function_forget(struct store *s, const struct function *f, const char *qualifier)
{
	static const char *const kinds[] = {"async", "measured", "policy", "url"};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		auto_free char *key = xasprintf("%s/%s:%s", kinds[i], f->name, qualifier);

		if (qualifier[0] && record_get(s, key))
			record_del(s, NULL, key);
		for (const struct record *r; !qualifier[0] && (r = record_next(s, key, NULL));)
			record_del(s, NULL, r->key);
	}
}

void function_del(struct store *s, struct store_op *op, struct function *f)
{
	struct change *c = change_new(CHANGE_FUNCTION_DEL);

	function_forget(s, f, "");
	c->name = xstrdup(f->name);
	store_change_start(s, op, c);
	forget(s, f);
}

void table_done(struct store *s)
{
	struct table *t = &s->table;

	for (size_t i = 0; i < t->n; i++) {
		struct entry *en = t->sorted[i];

		revision_unref(en->saved);
		function_unref(en->f);
		free(en->route);
		free(en);
	}
	for (size_t i = 0; i < t->n_retired; i++)
		revision_unref(t->retired[i]);
	free(t->retired);
	free(t->sorted);
	map_done(&t->by_name);
	map_done(&t->by_route);
	map_done(&t->by_key);
}
