/* SPDX-License-Identifier: Apache-2.0 */
/* Admin API: images of functions' processes (docs/snapshots.md), and how much of the disk they may take. */
#include <stdio.h>
#include "api/admin_int.h"
#include "base/clock.h"
#include "store/snapshot.h"

static const char *const not_made[] = {
	[RUNTIME_PYTHON] = "it has not been made yet",
	[RUNTIME_NODE] = "it has not been made yet",
	[RUNTIME_IMAGE] = "functions that are container images start plainly",
	[RUNTIME_PROVIDED] = "programs of your own start plainly",
};

void admin_put_snapshot(struct admin *a, const struct function *f, const struct revision *r, struct jw *w)
{
	const struct snapshot *s = snapshot_of(a->o.store, r->serial);
	char when[32];

	if (f->scale.snapshot == SNAPSHOT_OFF) {
		jw_strc(w, "none", "snapshot: off");
	} else if (!s || !s->bytes) {
		jw_strc(w, "none", s ? s->reason : not_made[r->kind]);
	} else {
		jw_int(w, "bytes", (int64_t)s->bytes);
		jw_int(w, "pages", s->pages);
		jw_int(w, "mappings", s->mappings);
		jw_int(w, "files", s->files);
		jw_real(w, "taken_in_ms", s->took_us / 1e3);
		jw_strc(w, "made", clock_fmt_iso(s->made_wall_us, when));
		jw_strc(w, "used", clock_fmt_iso(s->used_wall_us, when));
	}
}

static void put_one(struct admin *a, const struct function *f, const struct revision *r, struct jw *w)
{
	char version[VERSION_TEXT];

	jw_obj(w, NULL);
	jw_strc(w, "function", f->name);
	jw_strc(w, "version", revision_version(r, version));
	admin_put_snapshot(a, f, r, w);
	jw_end(w, '}');
}

void admin_snapshots(struct admin *a, struct http_req *r, struct str name)
{
	auto_object(w, out);

	jw_arr(&w, "snapshots");
	for (struct function *f = NULL; (f = function_next(a->o.store, f));) {
		put_one(a, f, f->latest, &w);
		for (unsigned i = 0; i < f->n_versions; i++)
			put_one(a, f, f->versions[i], &w);
	}
	jw_end(&w, ']');
	jw_int(&w, "bytes", (int64_t)snapshot_disk_bytes(a->o.store));
	jw_int(&w, "max_bytes", (int64_t)snapshot_disk_limit(a->o.store));
	admin_object(r, 200, &w);
}

void admin_snapshots_max(struct admin *a, struct http_req *r, struct str name)
{
	int64_t bytes = admin_query_int(r, "bytes", -1);
	char text[24];

	if (bytes < 0)
		return admin_errorf(r, ERR_INVALID, "how much of the disk snapshots may take is a number of bytes");
	snprintf(text, sizeof(text), "%lld", (long long)bytes);
	store_setting_put(a->o.store, NULL, SNAPSHOT_SETTING, text);
	snapshot_disk_max(a->o.store, (uint64_t)bytes);
	admin_snapshots(a, r, name);
}
