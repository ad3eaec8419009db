/* SPDX-License-Identifier: Apache-2.0 */
/* What a container is given beside its image, as the spawner wants it. */
#include <sys/mman.h>
#include "base/mem.h"
#include "base/str.h"
#include "spawn/spawn_int.h"

void spawn_copy(char *to, size_t size, const char *from)
{
	if (from && strlen(from) < size)
		strlcpy_(to, from, size);
}

static struct spawner_give *give(struct spawner_give **at, enum spawner_give_kind kind, const char *source,
				 const char *path)
{
	struct spawner_give *g = (*at)++;

	g->kind = (uint8_t)kind;
	spawn_copy(g->source, sizeof(g->source), source);
	spawn_copy(g->path, sizeof(g->path), path);
	return g;
}

/* Without "//", "/./", "/../" and a slash at the end: no part of it is a link. */
static void clean(char *path)
{
	char *to = path, *part, *rest = path;

	if (*path != '/')
		return; /* it is refused */
	while ((part = strsep(&rest, "/"))) {
		size_t n = strlen(part);

		if (!strcmp(part, ".."))
			while (to > path && *--to != '/')
				;
		else if (n && strcmp(part, ".")) {
			*to++ = '/';
			memmove(to, part, n);
			to += n;
		}
	}
	*to = 0;
}

/* A mount comes after the one that it lies in, whose path is shorter. */
static int by_length(const void *a, const void *b)
{
	size_t x = strlen(((const struct spawner_give *)a)->path), y = strlen(((const struct spawner_give *)b)->path);

	return (x > y) - (x < y);
}

int spawn_gives(const struct spawn_container *c, uint8_t *ret_n)
{
	unsigned n = c->n_mounts + c->n_secrets + c->n_devices + c->n_ulimits;
	auto_free struct spawner_give *all = xcalloc(n + 1, sizeof(*all));
	struct spawner_give *at = all, *g;
	int mem;

	*ret_n = n > GIVES_MAX ? GIVES_MAX + 1 : (uint8_t)n;
	for (const struct spawn_mount *m = c->mounts; m < c->mounts + c->n_mounts; m++) {
		g = give(&at, m->host ? GIVE_HOST : m->source ? GIVE_VOLUME : GIVE_TMPFS, m->source, m->path);
		clean(g->path);
		if (m->host)
			clean(g->source);
		g->read_only = m->read_only;
		g->soft = (uint64_t)m->tmpfs_mb << 20;
	}
	qsort(all, c->n_mounts, sizeof(*all), by_length);
	for (const struct spawn_secret *x = c->secrets; x < c->secrets + c->n_secrets; x++)
		give(&at, x->env ? GIVE_SECRET_ENV : GIVE_SECRET, x->name, x->env ? x->env : x->path);
	for (const struct spawn_device *d = c->devices; d < c->devices + c->n_devices; d++)
		give(&at, GIVE_DEVICE, d->source, d->path ? d->path : d->source);
	for (const struct spawn_ulimit *u = c->ulimits; u < c->ulimits + c->n_ulimits; u++) {
		g = give(&at, GIVE_LIMIT, NULL, NULL);
		g->number = (uint16_t)u->resource;
		g->soft = u->soft;
		g->hard = u->hard;
	}
	mem = n ? memfd_create("gives", MFD_CLOEXEC) : -1;
	if (mem >= 0 && write(mem, all, n * sizeof(*all)) != (ssize_t)(n * sizeof(*all))) {
		close(mem);
		mem = -1;
	}
	return mem;
}
