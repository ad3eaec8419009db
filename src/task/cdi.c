/* SPDX-License-Identifier: Apache-2.0 */
#include "task/cdi.h"
#include <dirent.h>
#include "base/io.h"

#define SPEC_BYTES_MAX (1 << 20)

void cdi_done(struct cdi *c)
{
	while (c->n)
		json_free(c->spec[--c->n]);
}

static bool has_device(const struct given *g, const char *path)
{
	for (unsigned i = 0; i < g->n_devices; i++)
		if (!strcmp(g->devices[i].path ? g->devices[i].path : g->devices[i].source, path))
			return true;
	return false;
}

static bool has_mount(const struct given *g, const char *path)
{
	for (unsigned i = 0; i < g->n_mounts; i++)
		if (!strcmp(g->mounts[i].path, path))
			return true;
	return false;
}

static bool read_only(const struct json *mount)
{
	const struct json *options = json_get(mount, "options");

	for (size_t i = 0; i < json_len(options); i++)
		if (str_eqc(json_str(json_at(options, i)), "ro"))
			return true;
	return false;
}

/* Several devices may have the same edits: what is there already is not given again. */
static int add(const struct json *holder, struct given *g, struct err *e)
{
	const struct json *edits = json_get(holder, "containerEdits");
	const struct json *nodes = json_get(edits, "deviceNodes"), *mounts = json_get(edits, "mounts");

	for (size_t i = 0; i < json_len(nodes); i++) {
		const struct json *n = json_at(nodes, i);
		const char *path = json_get_str(n, "path").p, *host = json_get_str(n, "hostPath").p;

		if (!path || g->n_devices == GIVEN_MAX)
			return err_set(e, ERR_INVALID, "devices: a node without path, or more than %d", GIVEN_MAX);
		if (!has_device(g, path))
			g->devices[g->n_devices++] = (struct spawn_device){host ? host : path, path};
	}
	for (size_t i = 0; i < json_len(mounts); i++) {
		const struct json *m = json_at(mounts, i);
		const char *path = json_get_str(m, "containerPath").p, *host = json_get_str(m, "hostPath").p;

		if (!path || !host || g->n_mounts == GIVEN_MAX)
			return err_set(e, ERR_INVALID, "devices: a mount without its paths, or more than %d",
				       GIVEN_MAX);
		if (!has_mount(g, path))
			g->mounts[g->n_mounts++] = (struct spawn_mount){
				.source = host, .path = path, .host = true, .read_only = read_only(m)};
	}
	return 0;
}

/* 1: it was there. */
static int look_into(const struct json *spec, struct str kind, struct str name, struct given *g, struct err *e)
{
	const struct json *devices = json_get(spec, "devices");

	for (size_t i = 0; str_eq(json_get_str(spec, "kind"), kind) && i < json_len(devices); i++)
		if (str_eq(json_get_str(json_at(devices, i), "name"), name))
			return add(spec, g, e) < 0 || add(json_at(devices, i), g, e) < 0 ? -1 : 1;
	return 0;
}

/* A file that is no JSON is not ours to complain about. */
static int look_in(struct cdi *c, const char *folder, struct str kind, struct str name, struct given *g, struct err *e)
{
	DIR *d = opendir(folder);
	struct dirent *de;
	int found = 0;

	while (d && !found && (de = readdir(d))) {
		auto_buf text = {0};
		auto_json spec = NULL;
		size_t n = strlen(de->d_name);

		if (n < 6 || strcmp(de->d_name + n - 5, ".json") ||
		    io_read_file(dirfd(d), de->d_name, SPEC_BYTES_MAX, &text, NULL) < 0)
			continue;
		spec = json_parse(buf_str(&text), NULL);
		found = look_into(spec, kind, name, g, e);
		if (found)
			c->spec[c->n++] = take_ptr(spec);
	}
	if (d)
		closedir(d);
	return found;
}

int cdi_give(struct cdi *c, const char *const *folders, const struct json *container, struct given *given,
	     struct err *e)
{
	const struct json *devices = json_get(container, "devices");

	for (size_t i = 0; i < json_len(devices) && c->n < CDI_SPECS; i++) {
		struct str whole = json_str(json_at(devices, i)), kind, name;
		int found = 0;

		if (str_starts(whole, "/") || !str_cut(whole, '=', &kind, &name))
			continue;
		for (unsigned k = 0; folders[k] && !found; k++)
			found = look_in(c, folders[k], kind, name, given, e);
		if (found < 0)
			return -1;
		if (!found)
			return err_set(e, ERR_NOT_FOUND, "no *.json in %s names the device %.100s", folders[0],
				       whole.p);
	}
	return 0;
}
