/* SPDX-License-Identifier: Apache-2.0 */
#include "unpack/path.h"
#include <stdio.h>
#include <string.h>

const char *path_show(const char *name, char out[PATH_SHOWN_MAX + 1])
{
	size_t n = 0;

	for (const unsigned char *p = (const unsigned char *)name; *p; p++) {
		if (n > PATH_SHOWN_MAX - 8) {
			memcpy(out + n, "...", 3);
			n += 3;
			break;
		}
		if (*p >= 0x20 && *p < 0x7f && *p != '\\')
			out[n++] = (char)*p;
		else
			n += (size_t)snprintf(out + n, 5, "\\x%02x", *p);
	}
	out[n] = '\0';
	return out;
}

/* Bytes of the UTF-8 character at p, 0 when there is none (RFC 3629: no surrogates, no overlong forms). */
static unsigned utf8_at(const unsigned char *p)
{
	static const struct {
		unsigned char first_min, first_max, second_min, second_max, n;
	} forms[] = {
		{0x01, 0x7f, 0, 0, 1},	     {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
		{0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
		{0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
	};

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		if (p[0] < forms[i].first_min || p[0] > forms[i].first_max)
			continue;
		if (forms[i].n > 1 && (p[1] < forms[i].second_min || p[1] > forms[i].second_max))
			return 0;
		for (unsigned k = 2; k < forms[i].n; k++)
			if ((p[k] & 0xc0) != 0x80)
				return 0;
		return forms[i].n;
	}
	return 0;
}

static int check_text(const char *name, const char *shown, struct err *e)
{
	const unsigned char *p = (const unsigned char *)name;

	while (*p) {
		unsigned n = utf8_at(p);

		if (n == 0)
			return err_set(e, ERR_INVALID, "entry '%s': its name is not UTF-8", shown);
		if (*p < 0x20 || *p == 0x7f)
			return err_set(e, ERR_INVALID, "entry '%s': control character in its name", shown);
		p += n;
	}
	return 0;
}

static int add_component(struct path *p, const char *c, size_t n, const char *shown, struct err *e)
{
	if (n == 2 && c[0] == '.' && c[1] == '.')
		return err_set(e, ERR_INVALID, "entry '%s': '..' in its name would lead outside", shown);
	if (n > PATH_COMPONENT_MAX)
		return err_set(e, ERR_LIMIT, "entry '%s': name longer than %d bytes", shown, PATH_COMPONENT_MAX);
	if (p->depth == PATH_DEPTH_MAX)
		return err_set(e, ERR_LIMIT, "entry '%s': more than %d directories deep", shown, PATH_DEPTH_MAX);
	if (n + 1 > PATH_BYTES_MAX - p->n)
		return err_set(e, ERR_LIMIT, "entry '%s': path longer than %d bytes", shown, PATH_BYTES_MAX);
	if (p->depth++)
		p->text[p->n++] = '/';
	memcpy(p->text + p->n, c, n);
	p->n += n;
	p->text[p->n] = '\0';
	return 0;
}

int path_clean(const char *name, struct path *ret, struct err *e)
{
	char shown[PATH_SHOWN_MAX + 1];
	struct path p = {.n = 0};

	if (!name || !*name)
		return err_set(e, ERR_INVALID, "an entry without a readable name");
	path_show(name, shown);
	if (name[0] == '/')
		return err_set(e, ERR_INVALID, "entry '%s': absolute path", shown);
	if (check_text(name, shown, e) < 0)
		return -1;
	for (const char *c = name; *c;) {
		size_t n = strcspn(c, "/");

		if (n > 0 && !(n == 1 && c[0] == '.') && add_component(&p, c, n, shown, e) < 0)
			return -1;
		c += n + (c[n] == '/');
	}
	*ret = p;
	return 0;
}

int path_check_target(const struct path *link, const char *target, struct err *e)
{
	char shown[PATH_SHOWN_MAX + 1], shown_target[PATH_SHOWN_MAX + 1];
	unsigned depth = link->depth ? link->depth - 1 : 0;

	path_show(link->text, shown);
	path_show(target, shown_target);
	if (!*target || strlen(target) > PATH_BYTES_MAX)
		return err_set(e, ERR_INVALID, "entry '%s': symbolic link to nothing, or too far", shown);
	if (target[0] == '/')
		return err_set(e, ERR_INVALID, "entry '%s': symbolic link to the absolute path '%s'", shown,
			       shown_target);
	for (const char *c = target; *c;) {
		size_t n = strcspn(c, "/");

		if (n == 2 && c[0] == '.' && c[1] == '.') {
			if (depth-- == 0)
				return err_set(e, ERR_INVALID, "entry '%s': symbolic link to '%s', which is outside",
					       shown, shown_target);
		} else if (n > 0 && !(n == 1 && c[0] == '.')) {
			depth++;
		}
		c += n + (c[n] == '/');
	}
	return 0;
}

const char *path_leaf(const struct path *p, size_t *ret_dir_bytes)
{
	const char *slash = strrchr(p->text, '/');

	*ret_dir_bytes = slash ? (size_t)(slash - p->text) : 0;
	return slash ? slash + 1 : p->text;
}
