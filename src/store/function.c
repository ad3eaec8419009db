/* SPDX-License-Identifier: Apache-2.0 */
#include "store/function.h"
#include <assert.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "json/read.h"
#include "json/write.h"

const char *const snapshot_wish_name[SNAPSHOT_N] = {"auto", "off", "on"};

void pairs_done(struct pairs *p)
{
	for (unsigned i = 0; i < p->n; i++) {
		free(p->p[i].name);
		free(p->p[i].value);
	}
	free(p->p);
	*p = (struct pairs){0};
}

void pairs_add(struct pairs *p, struct str name, struct str value)
{
	p->p = xrealloc(p->p, (p->n + 1) * sizeof(*p->p));
	p->p[p->n++] = (struct pair){str_dup(name), str_dup(value)};
}

void pairs_copy(struct pairs *to, const struct pairs *from)
{
	pairs_done(to);
	for (unsigned i = 0; i < from->n; i++)
		pairs_add(to, str_of(from->p[i].name), str_of(from->p[i].value));
}

void pairs_write(struct jw *w, const char *key, const struct pairs *p)
{
	jw_obj(w, key);
	for (unsigned i = 0; i < p->n; i++)
		jw_strc(w, p->p[i].name, p->p[i].value);
	jw_end(w, '}');
}

const char *pairs_get(const struct pairs *p, const char *name)
{
	for (unsigned i = 0; i < p->n; i++)
		if (!strcmp(p->p[i].name, name))
			return p->p[i].value;
	return NULL;
}

bool pairs_same(const struct pairs *a, const struct pairs *b)
{
	if (a->n != b->n)
		return false;
	for (unsigned i = 0; i < a->n; i++) {
		const char *other = pairs_get(b, a->p[i].name);

		if (!other || strcmp(other, a->p[i].value))
			return false;
	}
	return true;
}

static int pair_cmp(const void *a, const void *b)
{
	return strcmp(((const struct pair *)a)->name, ((const struct pair *)b)->name);
}

void pairs_tags(const struct pairs *p, struct buf *out)
{
	struct pair *sorted;

	if (!p->n)
		return;
	sorted = xmemdup(p->p, p->n * sizeof(*sorted));
	qsort(sorted, p->n, sizeof(*sorted), pair_cmp);
	for (unsigned k = 0; k < p->n; k++)
		buf_addf(out, "%s%s=%s", k ? "," : "", sorted[k].name, sorted[k].value);
	free(sorted);
}

void pairs_list_tags(const struct json *list, struct buf *out)
{
	struct pairs p = {0};

	for (size_t i = 0; i < json_len(list); i++)
		pairs_add(&p, json_get_str(json_at(list, i), "key"), json_get_str(json_at(list, i), "value"));
	pairs_tags(&p, out);
	pairs_done(&p);
}

char *pairs_list(const struct pairs *p)
{
	struct buf out = {0};
	struct jw w;

	if (!p->n)
		return NULL;
	jw_init(&w, &out);
	jw_arr(&w, NULL);
	for (unsigned i = 0; i < p->n; i++) {
		jw_obj(&w, NULL);
		jw_strc(&w, "key", p->p[i].name);
		jw_strc(&w, "value", p->p[i].value);
		jw_end(&w, '}');
	}
	jw_end(&w, ']');
	return buf_take(&out);
}

struct revision *revision_new(void)
{
	struct revision *r = xcalloc(1, sizeof(*r));

	r->refs = 1;
	return r;
}

struct revision *revision_ref(struct revision *r)
{
	r->refs++;
	return r;
}

void revision_unref(struct revision *r)
{
	if (!r || --r->refs)
		return;
	free(r->runtime);
	free(r->handler);
	free(r->role);
	free(r->description);
	free(r->egress);
	free(r->image);
	free(r->dead_letter);
	pairs_done(&r->env);
	free(r);
}

struct revision *revision_clone(const struct revision *r)
{
	struct revision *c = xmemdup(r, sizeof(*r));

	c->refs = 1;
	c->serial = 0;
	c->version = 0;
	c->deleted = c->retired = false;
	c->sched = NULL;
	c->id[0] = '\0';
	c->runtime = xstrdup(r->runtime);
	c->handler = xstrdup(r->handler);
	c->role = xstrdup(r->role);
	c->description = xstrdup(r->description);
	c->egress = xstrdup(r->egress);
	c->image = xstrdup(r->image);
	c->dead_letter = xstrdup(r->dead_letter);
	c->env = (struct pairs){0};
	pairs_copy(&c->env, &r->env);
	return c;
}

const char *version_name(int version, char out[VERSION_TEXT])
{
	if (!version)
		return "$LATEST";
	snprintf(out, VERSION_TEXT, "%d", version);
	return out;
}

const char *revision_version(const struct revision *r, char out[VERSION_TEXT])
{
	return version_name(r->version, out);
}

/* 20 and 40 characters, as AWS's look: clients check the lengths of what they are given. */
static void make_keys(struct function *f)
{
	static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
	uint8_t r[16 + 40];

	rand_bytes(r, sizeof(r));
	memcpy(f->access_key, "AKIA", 4);
	for (int i = 0; i < 16; i++)
		f->access_key[4 + i] = set[r[i] & 31];
	for (int i = 0; i < 40; i++)
		f->secret_key[i] = set[r[16 + i] & 31];
	explicit_bzero(r, sizeof(r));
}

struct function *function_new(const char *name, const char *project)
{
	struct function *f = xcalloc(1, sizeof(*f));

	f->refs = 1;
	strlcpy_(f->name, name, sizeof(f->name));
	strlcpy_(f->project, project, sizeof(f->project));
	f->state = FUNCTION_PENDING;
	f->created_wall_us = clock_wall_us();
	f->reserved = -1;
	f->scale.keep_us = -1;
	make_keys(f);
	return f;
}

struct function *function_ref(struct function *f)
{
	f->refs++;
	return f;
}

void function_unref(struct function *f)
{
	if (!f || --f->refs)
		return;
	assert(!f->sched); /* the scheduler holds a reference while it has state of it */
	revision_unref(f->latest);
	for (unsigned i = 0; i < f->n_versions; i++)
		revision_unref(f->versions[i]);
	for (unsigned i = 0; i < f->n_aliases; i++)
		free(f->aliases[i].description);
	free(f->versions);
	free(f->aliases);
	free(f->provisioned);
	free(f->reason);
	pairs_done(&f->tags);
	free(f->route);
	free(f->allow);
	explicit_bzero(f->secret_key, sizeof(f->secret_key));
	free(f);
}
