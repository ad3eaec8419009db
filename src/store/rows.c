/* SPDX-License-Identifier: Apache-2.0 */
/* Functions and their revisions as rows of the database: what a change writes, and how it is read again at start. */
#include <stdio.h>
#include "base/mem.h"
#include "json/read.h"
#include "json/write.h"
#include "store/store_int.h"
#include "store/version.h"

static char *pairs_json(const struct pairs *p)
{
	struct buf b = {0};
	struct jw w;

	jw_init(&w, &b);
	pairs_write(&w, NULL, p);
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

static char *aliases_json(const struct function *f)
{
	struct buf b = {0};
	struct jw w;

	jw_init(&w, &b);
	jw_arr(&w, NULL);
	for (unsigned i = 0; i < f->n_aliases; i++) {
		const struct alias *a = &f->aliases[i];

		jw_obj(&w, NULL);
		jw_strc(&w, "name", a->name);
		jw_strc(&w, "id", a->id);
		jw_strc(&w, "description", a->description ? a->description : "");
		jw_int(&w, "version", a->version);
		jw_int(&w, "other", a->other);
		jw_real(&w, "weight", a->weight);
		jw_end(&w, '}');
	}
	jw_end(&w, ']');
	return buf_take(&b);
}

static int aliases_read(struct function *f, const char *text, struct err *e)
{
	auto_json all = json_parse(str_of(text), e);

	for (size_t i = 0; i < json_len(all); i++) {
		const struct json *j = json_at(all, i);
		struct alias *a = function_alias_add(f, json_get_str(j, "name"));

		snprintf(a->id, sizeof(a->id), STR_FMT, STR_ARG(json_get_str(j, "id")));
		a->description = str_dup(json_get_str(j, "description"));
		a->version = (int)json_get_int(j, "version", 0);
		a->other = (int)json_get_int(j, "other", 0);
		a->weight = json_real(json_get(j, "weight"), 0);
	}
	return all ? 0 : -1;
}

static char *provisioned_json(const struct function *f)
{
	struct buf b = {0};
	struct jw w;

	jw_init(&w, &b);
	jw_arr(&w, NULL);
	for (unsigned i = 0; i < f->n_provisioned; i++) {
		jw_obj(&w, NULL);
		jw_strc(&w, "qualifier", f->provisioned[i].qualifier);
		jw_int(&w, "wanted", f->provisioned[i].wanted);
		jw_int(&w, "modified_us", f->provisioned[i].modified_wall_us);
		jw_end(&w, '}');
	}
	jw_end(&w, ']');
	return buf_take(&b);
}

static int provisioned_read(struct function *f, const char *text, struct err *e)
{
	auto_json all = json_parse(str_of(text), e);

	for (size_t i = 0; i < json_len(all); i++) {
		const struct json *j = json_at(all, i);
		struct provisioned *p = function_provisioned_add(f, json_get_str(j, "qualifier"));

		p->wanted = (int)json_get_int(j, "wanted", 0);
		p->modified_wall_us = json_get_int(j, "modified_us", 0);
	}
	return all ? 0 : -1;
}

struct change *rows_change(enum change_kind kind, struct function *f, struct revision *r)
{
	struct change *c = change_new(kind);

	c->f = function_ref(f);
	c->rev = revision_ref(r);
	c->name = xstrdup(f->name);
	c->env = pairs_json(&r->env);
	c->last_version = f->last_version;
	if (kind != CHANGE_FUNCTION_PUT)
		return c;
	c->project = xstrdup(f->project);
	c->state = (int)f->state;
	c->reason = xstrdup(f->reason);
	c->reason_code = xstrdup(f->reason_code);
	c->tags = pairs_json(&f->tags);
	c->route = f->route && *f->route ? xstrdup(f->route) : NULL;
	c->allow = f->allow && *f->allow ? xstrdup(f->allow) : NULL;
	c->access_key = xstrdup(f->access_key);
	c->secret_key = xstrdup(f->secret_key);
	c->created_us = f->created_wall_us;
	c->aliases = aliases_json(f);
	c->provisioned = provisioned_json(f);
	c->reserved = f->reserved;
	c->scale = f->scale;
	c->lane = f->lane;
	return c;
}

static int revision_put(struct db *d, const struct change *c, struct err *e)
{
	const struct revision *r = c->rev;
	char layers[LIM_LAYERS * 65 + 1] = "";

	for (int i = 0; i < LIM_LAYERS && r->layers[i][0]; i++)
		snprintf(layers + strlen(layers), sizeof(layers) - strlen(layers), "%s%s", i ? " " : "", r->layers[i]);
	return db_run(d, DB_REVISION_PUT, e, "ittittttitiiiititiittt", (int64_t)r->serial, r->id, r->runtime,
		      (int64_t)r->kind, r->handler, r->role, r->description, r->code_sha256, r->code_bytes, layers,
		      (int64_t)r->memory_mb, (int64_t)r->timeout_s, (int64_t)r->tmp_mb, (int64_t)r->cpu_quota_us,
		      c->env, r->modified_wall_us, c->name, (int64_t)r->version, (int64_t)r->snapstart, r->egress,
		      r->image, r->dead_letter);
}

static int function_row_put(struct db *d, const struct change *c, struct err *e)
{
	return db_run(d, DB_FUNCTION_PUT, e,
		      "ttiittttttti"
		      "ittiiiiiiiii",
		      c->name, c->project, (int64_t)c->rev->serial, (int64_t)c->state, c->reason, c->reason_code,
		      c->tags, c->route, c->allow, c->access_key, c->secret_key, c->created_us,
		      (int64_t)c->last_version, c->aliases, c->provisioned, (int64_t)c->reserved, (int64_t)c->scale.min,
		      (int64_t)c->scale.max, c->scale.keep_us, (int64_t)c->scale.snapshot, (int64_t)c->scale.pool,
		      (int64_t)c->scale.lane, (int64_t)c->lane, (int64_t)c->scale.concurrency);
}

int rows_apply(struct db *d, const struct change *c, struct err *e)
{
	switch (c->kind) {
	case CHANGE_FUNCTION_PUT:
		if (db_run(d, DB_REVISION_DEL_OF, e, "ti", c->name, (int64_t)c->rev->serial) < 0 ||
		    revision_put(d, c, e) < 0)
			return -1;
		return function_row_put(d, c, e);
	case CHANGE_FUNCTION_DEL:
		if (db_run(d, DB_REVISION_DEL_OF, e, "ti", c->name, (int64_t)0) < 0 ||
		    db_run(d, DB_VERSION_DEL_ALL, e, "t", c->name) < 0 ||
		    db_run(d, DB_EVENT_DEL_OF, e, "t", c->name) < 0)
			return -1;
		return db_run(d, DB_FUNCTION_DEL, e, "t", c->name);
	case CHANGE_VERSION_PUT:
		if (revision_put(d, c, e) < 0)
			return -1;
		return db_run(d, DB_VERSION_LAST, e, "ti", c->name, (int64_t)c->last_version);
	case CHANGE_VERSION_DEL:
		return db_run(d, DB_REVISION_DEL, e, "i", (int64_t)c->rev->serial);
	default:
		return err_set(e, ERR_BUG, "change %d", c->kind);
	}
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

#define REVISION_COLUMNS                                                                                               \
	"r.serial,r.id,r.runtime,r.kind,r.handler,r.role,r.description,r.code_sha256,r.code_bytes,r.layers,r.memory_"  \
	"mb,"                                                                                                          \
	"r.timeout_s,r.tmp_mb,r.cpu_quota_us,r.env,r.modified_us,r.function,r.version,r.snapstart,r.egress,r.image,"   \
	"r.dead_letter"
#define FUNCTION_AT 22 /* its first column, after these */

static int load_revision(sqlite3_stmt *st, struct revision *r, struct err *e)
{
	struct str layers = str_col(st, 9), one;

	r->serial = (uint64_t)sqlite3_column_int64(st, 0);
	copy_col(st, 1, r->id, sizeof(r->id));
	r->runtime = text_col(st, 2);
	r->kind = (enum runtime_kind)sqlite3_column_int(st, 3);
	r->handler = text_col(st, 4);
	r->role = text_col(st, 5);
	r->description = text_col(st, 6);
	copy_col(st, 7, r->code_sha256, sizeof(r->code_sha256));
	r->code_bytes = sqlite3_column_int64(st, 8);
	for (int i = 0; i < LIM_LAYERS && str_next(&layers, ' ', &one); i++)
		snprintf(r->layers[i], sizeof(r->layers[i]), STR_FMT, STR_ARG(one));
	r->memory_mb = sqlite3_column_int(st, 10);
	r->timeout_s = sqlite3_column_int(st, 11);
	r->tmp_mb = sqlite3_column_int(st, 12);
	r->cpu_quota_us = (uint32_t)sqlite3_column_int64(st, 13);
	r->modified_wall_us = sqlite3_column_int64(st, 15);
	copy_col(st, 16, r->name, sizeof(r->name));
	r->version = sqlite3_column_int(st, 17);
	r->snapstart = sqlite3_column_int(st, 18);
	r->egress = text_col(st, 19);
	r->image = text_col(st, 20);
	r->dead_letter = text_col(st, 21);
	if ((unsigned)r->kind >= RUNTIME_N)
		return err_set(e, ERR_CORRUPT, "unknown runtime kind");
	return pairs_read(&r->env, (const char *)sqlite3_column_text(st, 14), e);
}

static int load_function(void *arg, sqlite3_stmt *st, struct err *e)
{
	struct store *s = arg;
	int at = FUNCTION_AT, state = sqlite3_column_int(st, at + 2);
	struct function *f =
		function_new((const char *)sqlite3_column_text(st, at), (const char *)sqlite3_column_text(st, at + 1));

	/* PENDING: we went down between save and check. Its code is whole (it was unpacked before), so the first
	 * invocation checks it; nobody else would ever finish that deploy. */
	f->state = state == FUNCTION_FAILED ? FUNCTION_FAILED : FUNCTION_ACTIVE;
	f->reason = text_col(st, at + 3);
	copy_col(st, at + 4, f->reason_code, sizeof(f->reason_code));
	f->route = text_col(st, at + 6);
	f->allow = text_col(st, at + 7);
	copy_col(st, at + 8, f->access_key, sizeof(f->access_key));
	copy_col(st, at + 9, f->secret_key, sizeof(f->secret_key));
	f->created_wall_us = sqlite3_column_int64(st, at + 10);
	f->last_version = sqlite3_column_int(st, at + 11);
	f->reserved = sqlite3_column_int(st, at + 14);
	f->scale = (struct scale){.min = sqlite3_column_int(st, at + 15),
				  .max = sqlite3_column_int(st, at + 16),
				  .keep_us = sqlite3_column_int64(st, at + 17),
				  .snapshot = (enum snapshot_wish)(sqlite3_column_int(st, at + 18) % SNAPSHOT_N),
				  .pool = sqlite3_column_int(st, at + 19),
				  .lane = (enum lane_wish)(sqlite3_column_int(st, at + 20) % LANE_WISH_N),
				  .concurrency = sqlite3_column_int(st, at + 22)};
	f->lane = (enum lane)(sqlite3_column_int(st, at + 21) % LANE_VM);
	f->latest = revision_new();
	if (pairs_read(&f->tags, (const char *)sqlite3_column_text(st, at + 5), e) < 0 ||
	    aliases_read(f, (const char *)sqlite3_column_text(st, at + 12), e) < 0 ||
	    provisioned_read(f, (const char *)sqlite3_column_text(st, at + 13), e) < 0 ||
	    load_revision(st, f->latest, e) < 0) {
		err_wrap(e, "function %s in the database", f->name);
		function_unref(f);
		return -1;
	}
	table_insert(&s->table, f)->saved = revision_ref(f->latest);
	return 0;
}

static int load_version(void *arg, sqlite3_stmt *st, struct err *e)
{
	struct revision *r = revision_new();
	struct function *f;

	if (load_revision(st, r, e) < 0) {
		err_wrap(e, "version %d of %s in the database", r->version, r->name);
		revision_unref(r);
		return -1;
	}
	f = function_get(arg, str_of(r->name));
	if (f)
		version_insert(f, r);
	else
		revision_unref(r);
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
	if (load_next(s, "revision", &s->table.next_serial, e) < 0 || load_next(s, "event", &s->next_event, e) < 0)
		return -1;
	if (db_rows(&s->db,
		    "SELECT " REVISION_COLUMNS ",f.name,f.project,f.state,f.reason,f.reason_code,f.tags,f.route,"
		    "f.allow,f.access_key,f.secret_key,f.created_us,f.last_version,f.aliases,f.provisioned,"
		    "f.reserved,f.min_instances,f.max_instances,f.keep_us,f.snapshot,f.pool,f.lane,f.lane_now,f."
		    "concurrency "
		    "FROM function f JOIN revision r ON r.serial=f.revision ORDER BY f.name",
		    load_function, s, e) < 0)
		return -1;
	return db_rows(&s->db,
		       "SELECT " REVISION_COLUMNS " FROM revision r WHERE r.version>0 ORDER BY r.function,r.version",
		       load_version, s, e);
}
