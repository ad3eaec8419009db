/* SPDX-License-Identifier: Apache-2.0 */
/* Grammar: the distribution project's reference package, which docker, podman and skopeo read names with. */
#include "image/reference.h"
#include <stdio.h>

#define LOWER	"abcdefghijklmnopqrstuvwxyz"
#define UPPER	"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS	"0123456789"
#define DEFAULT "docker.io"

static bool only(struct str s, const char *set)
{
	for (size_t i = 0; i < s.n; i++)
		if (!s.p[i] || !strchr(set, s.p[i]))
			return false;
	return s.n > 0;
}

bool reference_digest_ok(struct str hex)
{
	return hex.n == 64 && only(hex, DIGITS "abcdef");
}

/* name.or.address[:port] or [v6]:port */
static bool host_ok(struct str host)
{
	struct str name, port;

	if (host.n && host.p[0] == '[') {
		const char *end = memchr(host.p, ']', host.n);
		struct str rest;

		if (!end || !only((struct str){host.p + 1, (size_t)(end - host.p - 1)}, DIGITS "abcdefABCDEF:"))
			return false;
		rest = (struct str){end + 1, (size_t)(host.p + host.n - end - 1)};
		return !rest.n || (rest.p[0] == ':' && only((struct str){rest.p + 1, rest.n - 1}, DIGITS));
	}
	if (!str_cut(host, ':', &name, &port))
		name = host, port = STR("0");
	return only(name, LOWER UPPER DIGITS ".-") && name.p[0] != '-' && name.p[0] != '.' && only(port, DIGITS) &&
	       port.n <= 5;
}

/* Lower-case words, between them one of . _ __ or dashes. */
static bool path_ok(struct str path)
{
	struct str part, rest = path;

	while (str_next(&rest, '/', &part)) {
		if (!only(part, LOWER DIGITS "._-") || strchr("._-", part.p[0]) || strchr("._-", part.p[part.n - 1]))
			return false;
		for (size_t i = 0; i + 1 < part.n; i++)
			if (part.p[i] == '.' && strchr("._-", part.p[i + 1]))
				return false;
	}
	return path.p[path.n - 1] != '/';
}

bool reference_tag_ok(struct str tag)
{
	return only(tag, LOWER UPPER DIGITS "_.-") && tag.n <= REFERENCE_TAG_MAX && !strchr(".-", tag.p[0]);
}

static bool is_loopback(const char *host)
{
	/* An address: 127.0.0.1.example is somebody else's. */
	bool v4 = !strncmp(host, "127.", 4) && !host[strspn(host, DIGITS ".:")];

	return v4 || !strcmp(host, "localhost") || !strncmp(host, "localhost:", 10) || !strncmp(host, "[::1]", 5);
}

/* name without tag and digest: with the host that it has, or docker's. */
static int settle_name(struct str name, struct reference *r)
{
	struct str host, path;
	bool has_host = str_cut(name, '/', &host, &path) &&
			(memchr(host.p, '.', host.n) || memchr(host.p, ':', host.n) || str_eqc(host, "localhost"));
	int n;

	if (!has_host)
		host = STR(DEFAULT), path = name;
	if (str_eqc(host, "index.docker.io"))
		host = STR(DEFAULT);
	if (!host_ok(host) || !path.n || !path_ok(path))
		return -1;
	n = snprintf(r->name, sizeof(r->name), STR_FMT "/%s" STR_FMT, STR_ARG(host),
		     str_eqc(host, DEFAULT) && !memchr(path.p, '/', path.n) ? "library/" : "", STR_ARG(path));
	if (n < 0 || (size_t)n >= sizeof(r->name))
		return -1;
	snprintf(r->host, sizeof(r->host), STR_FMT, STR_ARG(host));
	return 0;
}

int reference_parse(const char *text, struct reference *ret, struct err *e)
{
	struct str name = str_of(text), digest = STR_NULL, tag = STR_NULL, before, after;
	struct reference r = {.loopback = false};
	const char *slash, *colon;

	if (name.n > REFERENCE_MAX + 80)
		return err_set(e, ERR_INVALID, "the name of an image has at most %d bytes", REFERENCE_MAX);
	if (str_cut(name, '@', &before, &after)) {
		name = before;
		if (!str_starts(after, "sha256:"))
			return err_set(e, ERR_INVALID, "\"%.300s\": a digest begins with sha256:", text);
		digest = (struct str){after.p + 7, after.n - 7};
		if (!reference_digest_ok(digest))
			return err_set(e, ERR_INVALID, "\"%.300s\": a digest has 64 digits of 0-9 and a-f", text);
	}
	slash = memrchr(name.p, '/', name.n);
	colon = name.n ? memrchr(name.p, ':', name.n) : NULL;
	if (colon && (!slash || colon > slash)) {
		tag = (struct str){colon + 1, (size_t)(name.p + name.n - colon - 1)};
		name.n = (size_t)(colon - name.p);
		if (!reference_tag_ok(tag))
			return err_set(e, ERR_INVALID, "\"%.300s\": a tag is made of letters, digits, _ . and -", text);
	}
	if (!name.n || settle_name(name, &r) < 0)
		return err_set(e, ERR_INVALID,
			       "\"%.300s\" names no image; names look like nginx, nginx:1.25, "
			       "registry.example:5000/team/app:v1 or NAME@sha256:DIGEST",
			       text);
	if (!digest.n)
		snprintf(r.tag, sizeof(r.tag), STR_FMT, STR_ARG(tag.n ? tag : STR("latest")));
	snprintf(r.digest, sizeof(r.digest), STR_FMT, STR_ARG(digest));
	if (snprintf(r.text, sizeof(r.text), "%s%s%s", r.name, digest.n ? "@sha256:" : ":",
		     digest.n ? r.digest : r.tag) >= (int)sizeof(r.text))
		return err_set(e, ERR_INVALID, "the name of an image has at most %d bytes", REFERENCE_MAX);
	r.loopback = is_loopback(r.host);
	*ret = r;
	return 0;
}
