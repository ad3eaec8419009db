/* SPDX-License-Identifier: Apache-2.0 */
/* The functions in memory, their indexes, and their way into the database and back. */
#include <assert.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "json/read.h"
#include "json/write.h"
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

static void retire(struct table *t, struct revision *r)
{
	if (t->n_retired == t->cap_retired) {
		t->cap_retired = t->cap_retired ? t->cap_retired * 2 : 16;
		t->retired = xrealloc(t->retired, t->cap_retired * sizeof(struct revision *));
	}
	t->retired[t->n_retired++] = r;
}

static struct entry *insert(struct table *t, struct function *f)
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
		retire(t, take_ptr(en->saved));
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

static void tell(struct store *s, struct function *f)
{
	if (s->table.changed)
		s->table.changed(s->table.changed_arg, f);
}

static char *pairs_json(const struct pairs *p)
{
	struct buf b = {0};
	struct jw w;

	jw_init(&w, &b);
	jw_obj(&w, NULL);
	for (unsigned i = 0; i < p->n; i++)
		jw_strc(&w, p->p[i].name, p->p[i].value);
	jw_end(&w, '}');
	return buf_take(&b);
}

static int pair_read(void *arg, const char *key, const struct json *value)
{
	pairs_add(arg, str_of(key), json_str(value));
	return 0;
}

static int pairs_read(struct pairs *p, const char *text, struct err *e)
{
	auto_json j = json_parse(str_of(text), e);

	if (!j)
		return -1;
	return json_each(j, pair_read, p);
}

static struct change *function_change(struct function *f)
{
	struct change *c = change_new(CHANGE_FUNCTION_PUT);

	c->f = function_ref(f);
	c->rev = revision_ref(f->latest);
	c->name = xstrdup(f->name);
	c->project = xstrdup(f->project);
	c->state = (int)f->state;
	c->reason = xstrdup(f->reason);
	c->reason_code = xstrdup(f->reason_code);
	c->tags = pairs_json(&f->tags);
	c->env = pairs_json(&f->latest->env);
	c->route = f->route && *f->route ? xstrdup(f->route) : NULL;
	c->allow = f->allow && *f->allow ? xstrdup(f->allow) : NULL;
	c->access_key = xstrdup(f->access_key);
	c->secret_key = xstrdup(f->secret_key);
	c->created_us = f->created_wall_us;
	return c;
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
	if (!f->latest->serial) {
		f->latest->serial = (uint64_t)t->next_serial++;
		id_uuid(f->latest->id);
		memcpy(f->latest->name, f->name, sizeof(f->name));
		if (!f->latest->modified_wall_us)
			f->latest->modified_wall_us = clock_wall_us();
	}
	c = function_change(f);
	c->inserted = !en;
	if (!en)
		en = insert(t, f);
	else if (!str_eqc(str_of(en->route), f->route ? f->route : ""))
		index_route(t, en, f->route);
	if (en->saved != f->latest) {
		if (en->saved)
			retire(t, en->saved);
		en->saved = revision_ref(f->latest);
	}
	store_change_start(s, op, c);
	tell(s, f);
}

static void forget(struct store *s, struct function *f)
{
	struct entry *en = map_get(&s->table.by_name, str_of(f->name));

	if (!en || en->f != f)
		return;
	take_out(&s->table, en);
	tell(s, f);
	function_unref(f);
}

void table_insert_failed(struct store *s, struct function *f)
{
	forget(s, f);
}

void function_del(struct store *s, struct store_op *op, struct function *f)
{
	struct change *c = change_new(CHANGE_FUNCTION_DEL);

	c->name = xstrdup(f->name);
	store_change_start(s, op, c);
	forget(s, f);
}

int function_apply(struct db *d, const struct change *c, struct err *e)
{
	const struct revision *r = c->rev;
	char layers[LIM_LAYERS * 65 + 1] = "";

	for (int i = 0; i < LIM_LAYERS && r->layers[i][0]; i++)
		snprintf(layers + strlen(layers), sizeof(layers) - strlen(layers), "%s%s", i ? " " : "", r->layers[i]);
	if (db_run(d, DB_REVISION_DEL_OF, e, "ti", c->name, (int64_t)r->serial) < 0)
		return -1;
	if (db_run(d, DB_REVISION_PUT, e, "ittittttitiiiiti", (int64_t)r->serial, r->id, r->runtime, (int64_t)r->kind,
		   r->handler, r->role, r->description, r->code_sha256, r->code_bytes, layers, (int64_t)r->memory_mb,
		   (int64_t)r->timeout_s, (int64_t)r->tmp_mb, (int64_t)r->cpu_quota_us, c->env,
		   r->modified_wall_us) < 0)
		return -1;
	return db_run(d, DB_FUNCTION_PUT, e, "ttiittttttti", c->name, c->project, (int64_t)r->serial, (int64_t)c->state,
		      c->reason, c->reason_code, c->tags, c->route, c->allow, c->access_key, c->secret_key,
		      c->created_us);
}

static char *text_col(sqlite3_stmt *st, int i)
{
	return xstrdup((const char *)sqlite3_column_text(st, i));
}

static void copy_col(sqlite3_stmt *st, int i, char *out, size_t size)
{
	const char *p = (const char *)sqlite3_column_text(st, i);

	strlcpy_(out, p ? p : "", size);
}

static struct str str_col(sqlite3_stmt *st, int i)
{
	return str_of((const char *)sqlite3_column_text(st, i));
}

static const char load_sql[] =
	"SELECT "
	"f.name,f.project,f.state,f.reason,f.reason_code,f.tags,f.route,f.allow,f.access_key,f.secret_key,f.created_us,"
	"r.serial,r.id,r.runtime,r.kind,r.handler,r.role,r.description,r.code_sha256,r.code_bytes,r.layers,r.memory_mb,"
	"r.timeout_s,r.tmp_mb,r.cpu_quota_us,r.env,r.modified_us FROM function f JOIN revision r ON "
	"r.serial=f.revision "
	"ORDER BY f.name";

static int load_revision(sqlite3_stmt *st, struct revision *r, struct err *e)
{
	struct str layers = str_col(st, 20), one;

	copy_col(st, 0, r->name, sizeof(r->name));
	r->serial = (uint64_t)sqlite3_column_int64(st, 11);
	copy_col(st, 12, r->id, sizeof(r->id));
	r->runtime = text_col(st, 13);
	r->kind = (enum runtime_kind)sqlite3_column_int(st, 14);
	r->handler = text_col(st, 15);
	r->role = text_col(st, 16);
	r->description = text_col(st, 17);
	copy_col(st, 18, r->code_sha256, sizeof(r->code_sha256));
	r->code_bytes = sqlite3_column_int64(st, 19);
	for (int i = 0; i < LIM_LAYERS && layers.n; i++) {
		struct str rest = STR_NULL;

		one = layers;
		str_cut(layers, ' ', &one, &rest);
		snprintf(r->layers[i], sizeof(r->layers[i]), STR_FMT, STR_ARG(one));
		layers = rest;
	}
	r->memory_mb = sqlite3_column_int(st, 21);
	r->timeout_s = sqlite3_column_int(st, 22);
	r->tmp_mb = sqlite3_column_int(st, 23);
	r->cpu_quota_us = (uint32_t)sqlite3_column_int64(st, 24);
	r->modified_wall_us = sqlite3_column_int64(st, 26);
	return pairs_read(&r->env, (const char *)sqlite3_column_text(st, 25), e);
}

static int load_function(struct store *s, sqlite3_stmt *st, struct err *e)
{
	struct function *f =
		function_new((const char *)sqlite3_column_text(st, 0), (const char *)sqlite3_column_text(st, 1));
	int state = sqlite3_column_int(st, 2);

	/* PENDING: we went down between save and check. Its code is whole (it was unpacked before), so the first
	 * invocation checks it; nobody else would ever finish that deploy. */
	f->state = state == FUNCTION_FAILED ? FUNCTION_FAILED : FUNCTION_ACTIVE;
	f->reason = text_col(st, 3);
	copy_col(st, 4, f->reason_code, sizeof(f->reason_code));
	f->route = text_col(st, 6);
	f->allow = text_col(st, 7);
	copy_col(st, 8, f->access_key, sizeof(f->access_key));
	copy_col(st, 9, f->secret_key, sizeof(f->secret_key));
	f->created_wall_us = sqlite3_column_int64(st, 10);
	f->latest = revision_new();
	if (pairs_read(&f->tags, (const char *)sqlite3_column_text(st, 5), e) < 0 ||
	    load_revision(st, f->latest, e) < 0 || (unsigned)f->latest->kind >= RUNTIME_N) {
		if (e && !e->kind)
			err_set(e, ERR_CORRUPT, "unknown runtime kind");
		err_wrap(e, "function %s in the database", f->name);
		function_unref(f);
		return -1;
	}
	insert(&s->table, f)->saved = revision_ref(f->latest);
	return 0;
}

static int load_next(struct store *s, const char *table_name, int64_t *ret, struct err *e)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(s->db.h, "SELECT seq FROM sqlite_sequence WHERE name=?", -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_bind_text(st, 1, table_name, -1, SQLITE_STATIC);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	*ret = 1;
	if (rc == SQLITE_ROW)
		*ret = sqlite3_column_int64(st, 0) + 1;
	else if (rc != SQLITE_DONE)
		db_fail(&s->db, "read the database", e);
	sqlite3_finalize(st);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : -1;
}

int table_load(struct store *s, struct err *e)
{
	sqlite3_stmt *st = NULL;
	int rc, failed = 0;

	if (load_next(s, "revision", &s->table.next_serial, e) < 0 || load_next(s, "event", &s->next_event, e) < 0)
		return -1;
	if (sqlite3_prepare_v2(s->db.h, load_sql, -1, &st, NULL) != SQLITE_OK)
		return db_fail(&s->db, "read the functions", e);
	while ((rc = sqlite3_step(st)) == SQLITE_ROW && !failed)
		failed = load_function(s, st, e);
	if (!failed && rc != SQLITE_DONE)
		failed = db_fail(&s->db, "read the functions", e);
	sqlite3_finalize(st);
	return failed;
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
