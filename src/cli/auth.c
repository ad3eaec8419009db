/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/auth.h"
#include <fcntl.h>
#include "base/io.h"
#include "base/mem.h"
#include "json/write.h"

#define AUTH_FILE_MAX (1 << 20)

struct found {
	const char *host;
	struct jw w;
	unsigned n;
};

/* Keys are hosts, hosts with a path, or docker's old way: https://index.docker.io/v1/ */
static bool is_for(const char *key, const char *host)
{
	const char *at = strstr(key, "://");
	struct str name = str_of(at ? at + 3 : key), rest;

	if (!str_cut(name, '/', &name, &rest))
		rest = STR_NULL;
	if (str_eqc(name, "index.docker.io") || str_eqc(name, "registry-1.docker.io"))
		name = STR("docker.io");
	return str_eqc(name, host);
}

static int take(void *arg, const char *key, const struct json *value)
{
	struct found *f = arg;
	struct str auth = json_get_str(value, "auth"), token = json_get_str(value, "identitytoken");

	if (!is_for(key, f->host) || (!auth.n && !token.n))
		return 0;
	/* A key with a path and no scheme is for a part of the registry, and stays so. */
	jw_obj(&f->w, strstr(key, "://") ? f->host : key);
	if (auth.n)
		jw_str(&f->w, "auth", auth);
	if (token.n)
		jw_str(&f->w, "identitytoken", token);
	jw_end(&f->w, '}');
	f->n++;
	return 0;
}

/* 1: it has some; 0: not, or there is no such file. */
static int look(struct cli *c, const char *path, const char *host, struct buf *ret, struct err *e)
{
	struct found f = {.host = host};
	auto_buf text = {0}, out = {0};
	auto_json j = NULL;
	struct err why = {0};

	if (io_read_file(AT_FDCWD, path, AUTH_FILE_MAX, &text, &why) < 0)
		return why.kind == ERR_NOT_FOUND ? 0 : err_set(e, why.kind, "%s", why.text);
	j = json_parse(buf_str(&text), &why);
	explicit_bzero(text.p, text.n);
	if (!j)
		return err_set(e, ERR_INVALID, "%s: %s", path, why.text);
	f.w = jw_object(&out);
	jw_obj(&f.w, "auths");
	json_each(json_get(j, "auths"), take, &f);
	jw_end(&f.w, '}');
	jw_end(&f.w, '}');
	if (f.n)
		buf_addstr(ret, buf_str(&out));
	else if (json_get(json_get(j, "credHelpers"), host) || json_get_str(j, "credsStore").n)
		cli_note(c,
			 "%s names a helper that keeps credentials; Tandem does not ask helpers: use skopeo login %s",
			 path, host);
	explicit_bzero(out.p, out.n);
	return f.n > 0;
}

int auth_find(struct cli *c, const char *host, struct buf *ret, struct err *e)
{
	static const struct {
		const char *variable, *below;
	} places[] = {
		{"REGISTRY_AUTH_FILE", ""},
		{"XDG_RUNTIME_DIR", "/containers/auth.json"},
		{"HOME", "/.config/containers/auth.json"},
		{"DOCKER_CONFIG", "/config.json"},
		{"HOME", "/.docker/config.json"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		const char *base = getenv(places[i].variable);
		auto_free char *path = base && *base ? xasprintf("%s%s", base, places[i].below) : NULL;
		int r = path ? look(c, path, host, ret, e) : 0;

		if (r)
			return r < 0 ? -1 : 0;
	}
	return 0;
}
