/* SPDX-License-Identifier: Apache-2.0 */
#include "store/version.h"
#include <stdio.h>
#include "base/mem.h"
#include "store/store_int.h"

static bool same_text(const char *a, const char *b)
{
	return !strcmp(a ? a : "", b ? b : "");
}

bool revision_same(const struct revision *a, const struct revision *b)
{
	return a->kind == b->kind && a->memory_mb == b->memory_mb && a->timeout_s == b->timeout_s &&
	       a->tmp_mb == b->tmp_mb && a->cpu_quota_us == b->cpu_quota_us && a->snapstart == b->snapstart &&
	       !strcmp(a->code_sha256, b->code_sha256) && !memcmp(a->layers, b->layers, sizeof(a->layers)) &&
	       same_text(a->runtime, b->runtime) && same_text(a->handler, b->handler) && same_text(a->role, b->role) &&
	       same_text(a->egress, b->egress) && same_text(a->image, b->image) &&
	       same_text(a->dead_letter, b->dead_letter) && pairs_same(&a->env, &b->env);
}

/* --- versions --- */

int function_version_number(struct str text)
{
	int64_t n;

	if (str_eqc(text, "$LATEST"))
		return 0;
	if (str_starts(text, "0")) /* one name for each */
		return -1;
	return str_to_i64(text, 1, INT32_MAX, &n) == 0 ? (int)n : -1;
}

struct revision *function_version(const struct function *f, int number)
{
	unsigned lo = 0, hi = f->n_versions;

	if (!number)
		return f->latest;
	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;

		if (f->versions[mid]->version < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < f->n_versions && f->versions[lo]->version == number ? f->versions[lo] : NULL;
}

struct revision *function_by_serial(const struct function *f, uint64_t serial)
{
	if (f->latest->serial == serial)
		return f->latest;
	for (unsigned i = 0; i < f->n_versions; i++)
		if (f->versions[i]->serial == serial)
			return f->versions[i];
	return NULL;
}

struct revision *function_resolve(const struct function *f, struct str qualifier, double dice)
{
	const struct alias *a;
	int number = qualifier.n ? function_version_number(qualifier) : 0;

	if (number >= 0)
		return function_version(f, number);
	a = function_alias(f, qualifier);
	if (!a)
		return NULL;
	return function_version(f, a->other && dice < a->weight ? a->other : a->version);
}

void version_insert(struct function *f, struct revision *r)
{
	f->versions = xrealloc(f->versions, (f->n_versions + 1) * sizeof(struct revision *));
	f->versions[f->n_versions++] = r;
}

void version_take_out(struct store *s, struct function *f, struct revision *r)
{
	unsigned i = 0;

	while (i < f->n_versions && f->versions[i] != r)
		i++;
	if (i == f->n_versions)
		return;
	r->deleted = true;
	table_tell(s, f); /* who listens still finds it */
	memmove(f->versions + i, f->versions + i + 1, (--f->n_versions - i) * sizeof(struct revision *));
	table_retire(&s->table, r);
}

struct revision *version_publish(struct store *s, struct function *f, const char *description)
{
	struct revision *r = revision_clone(f->latest);

	if (description) {
		free(r->description);
		r->description = xstrdup(description);
	}
	r->version = ++f->last_version;
	table_number(&s->table, r, f->name);
	version_insert(f, r);
	return r;
}

void version_put(struct store *s, struct store_op *op, struct function *f, struct revision *r)
{
	store_change_start(s, op, rows_change(CHANGE_VERSION_PUT, f, r));
}

void version_del(struct store *s, struct store_op *op, struct function *f, struct revision *r)
{
	auto_free char *number = xasprintf("%d", r->version);
	struct provisioned *p = function_provisioned(f, str_of(number));

	store_change_start(s, op, rows_change(CHANGE_VERSION_DEL, f, r));
	if (p) {
		function_provisioned_del(f, p);
		function_put(s, NULL, f);
	}
	version_take_out(s, f, r);
}

/* --- aliases --- */

struct alias *function_alias(const struct function *f, struct str name)
{
	for (unsigned i = 0; i < f->n_aliases; i++)
		if (str_eqc(name, f->aliases[i].name))
			return &f->aliases[i];
	return NULL;
}

struct alias *function_alias_add(struct function *f, struct str name)
{
	struct alias a = {0};
	unsigned i = 0;

	snprintf(a.name, sizeof(a.name), STR_FMT, STR_ARG(name));
	f->aliases = xrealloc(f->aliases, (f->n_aliases + 1) * sizeof(a));
	while (i < f->n_aliases && strcmp(f->aliases[i].name, a.name) < 0)
		i++;
	memmove(f->aliases + i + 1, f->aliases + i, (f->n_aliases++ - i) * sizeof(a));
	f->aliases[i] = a;
	return &f->aliases[i];
}

void function_alias_del(struct function *f, struct alias *a)
{
	struct provisioned *p = function_provisioned(f, str_of(a->name));

	if (p)
		function_provisioned_del(f, p);
	free(a->description);
	memmove(a, a + 1, (size_t)(f->aliases + f->n_aliases-- - (a + 1)) * sizeof(*a));
}

const struct alias *function_alias_to(const struct function *f, int version)
{
	for (unsigned i = 0; i < f->n_aliases; i++)
		if (f->aliases[i].version == version || (f->aliases[i].other && f->aliases[i].other == version))
			return &f->aliases[i];
	return NULL;
}

/* --- provisioned concurrency --- */

struct provisioned *function_provisioned(const struct function *f, struct str qualifier)
{
	for (unsigned i = 0; i < f->n_provisioned; i++)
		if (str_eqc(qualifier, f->provisioned[i].qualifier))
			return &f->provisioned[i];
	return NULL;
}

struct provisioned *function_provisioned_add(struct function *f, struct str qualifier)
{
	struct provisioned p = {0};
	unsigned i = 0;

	snprintf(p.qualifier, sizeof(p.qualifier), STR_FMT, STR_ARG(qualifier));
	f->provisioned = xrealloc(f->provisioned, (f->n_provisioned + 1) * sizeof(p));
	while (i < f->n_provisioned && strcmp(f->provisioned[i].qualifier, p.qualifier) < 0)
		i++;
	memmove(f->provisioned + i + 1, f->provisioned + i, (f->n_provisioned++ - i) * sizeof(p));
	f->provisioned[i] = p;
	return &f->provisioned[i];
}

void function_provisioned_del(struct function *f, struct provisioned *p)
{
	memmove(p, p + 1, (size_t)(f->provisioned + f->n_provisioned-- - (p + 1)) * sizeof(*p));
}

int function_provisioned_of(const struct function *f, int version)
{
	int wanted = 0;

	for (unsigned i = 0; i < f->n_provisioned; i++) {
		const struct provisioned *p = &f->provisioned[i];
		const struct alias *a = function_alias(f, str_of(p->qualifier));
		int number = a ? a->version : function_version_number(str_of(p->qualifier));

		if (number == version)
			wanted += p->wanted;
	}
	return wanted;
}

int function_provisioned_all(const struct function *f)
{
	int n = 0;

	for (unsigned i = 0; i < f->n_provisioned; i++)
		n += f->provisioned[i].wanted;
	return n;
}
