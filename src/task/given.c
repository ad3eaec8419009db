/* SPDX-License-Identifier: Apache-2.0 */
#include "task/given.h"
#include <stdio.h>
#include <sys/resource.h>

static const struct {
	const char *name;
	int resource;
} limits[] = {{"as", RLIMIT_AS},
	      {"cpu", RLIMIT_CPU},
	      {"data", RLIMIT_DATA},
	      {"fsize", RLIMIT_FSIZE},
	      {"locks", RLIMIT_LOCKS},
	      {"memlock", RLIMIT_MEMLOCK},
	      {"msgqueue", RLIMIT_MSGQUEUE},
	      {"nofile", RLIMIT_NOFILE},
	      {"nproc", RLIMIT_NPROC},
	      {"rss", RLIMIT_RSS},
	      {"rttime", RLIMIT_RTTIME},
	      {"sigpending", RLIMIT_SIGPENDING},
	      {"stack", RLIMIT_STACK}};

/* The bits of a list of names, with "ALL" among them. */
static int read_caps(const struct json *list, uint64_t *ret, struct err *e)
{
	*ret = 0;
	for (size_t i = 0; i < json_len(list); i++) {
		const char *name = json_str(json_at(list, i)).p;
		uint64_t bits = strcmp(name, "ALL") ? 0 : CAPS_ALL;

		for (unsigned n = 0; n < CAPS_N; n++)
			if (!strcmp(name + (strncmp(name, "CAP_", 4) ? 0 : 4), cap_name[n]))
				bits = 1ull << n;
		if (!bits)
			return err_set(e, ERR_INVALID, "there is no capability \"%.40s\"; one is NET_RAW", name);
		*ret |= bits;
	}
	return 0;
}

struct limit_reader {
	struct given *g;
	struct err *e;
};

static int read_limit(void *arg, const char *key, const struct json *value)
{
	struct limit_reader *r = arg;
	struct spawn_ulimit *u = &r->g->ulimits[r->g->n_ulimits];
	int64_t soft = json_int(json_at(value, 0), 0), hard = json_int(json_at(value, 1), 0);

	for (unsigned i = 0; i < ARRAY_SIZE(limits); i++) {
		if (strcmp(key, limits[i].name))
			continue;
		if (hard < soft && hard >= 0)
			return err_set(r->e, ERR_INVALID, "ulimits: of %s the soft limit is above the hard one", key);
		/* -1 is none, as ECS and Docker have it. */
		*u = (struct spawn_ulimit){limits[i].resource, soft < 0 ? RLIM_INFINITY : (uint64_t)soft,
					   hard < 0 ? RLIM_INFINITY : (uint64_t)hard};
		r->g->n_ulimits++;
		return 0;
	}
	return err_set(r->e, ERR_INVALID, "ulimits: there is no \"%.40s\"; one is nofile", key);
}

int given_read(const struct json *container, struct given *ret, struct err *e)
{
	const struct json *mounts = json_get(container, "mounts"), *secrets = json_get(container, "secrets");
	const struct json *devices = json_get(container, "devices");
	uint64_t add, drop;

	*ret = (struct given){0};
	for (; ret->n_mounts < json_len(mounts); ret->n_mounts++) {
		const struct json *m = json_at(mounts, ret->n_mounts);
		const char *host = json_get_str(m, "host").p, *volume = json_get_str(m, "volume").p;

		ret->mounts[ret->n_mounts] = (struct spawn_mount){.source = host ? host : volume,
								  .path = json_get_str(m, "path").p,
								  .host = host != NULL,
								  .read_only = json_get_bool(m, "read_only", false),
								  .tmpfs_mb = (uint32_t)json_get_int(m, "tmpfs_mb", 0)};
	}
	for (; ret->n_secrets < json_len(secrets); ret->n_secrets++) {
		const struct json *s = json_at(secrets, ret->n_secrets);

		char *dflt = ret->secret_path[ret->n_secrets];
		const char *name = json_get_str(s, "name").p, *path = json_get_str(s, "path").p;

		snprintf(dflt, sizeof(ret->secret_path[0]), "/run/secrets/%s", name);
		ret->secrets[ret->n_secrets] =
			(struct spawn_secret){name, path ? path : dflt, json_get_str(s, "env").p};
	}
	for (size_t i = 0; i < json_len(devices); i++) {
		struct str d = json_str(json_at(devices, i));

		if (str_starts(d, "/dev/"))
			ret->devices[ret->n_devices++].source = d.p;
		else if (*d.p == '/' || !strchr(d.p, '='))
			return err_set(e, ERR_INVALID,
				       "devices: \"%.80s\" is no path below /dev, nor a name like vendor.com/class=one",
				       d.p);
	}
	if (read_caps(json_get(container, "cap_add"), &add, e) < 0 ||
	    read_caps(json_get(container, "cap_drop"), &drop, e) < 0 ||
	    json_each(json_get(container, "ulimits"), read_limit, &(struct limit_reader){ret, e}))
		return -1;
	/* "cap_drop: [ALL]" leaves what is added. */
	ret->caps = (CAPS_DEFAULT & ~drop) | add;
	return 0;
}
