/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include "app/interpolate.h"

struct place {
	const struct tree_opts *o;
	unsigned line, col; /* of the value's first character */
	struct str raw;
};

/* Where byte i of the value stands: exact while the value is on one line, otherwise the value's beginning. */
static int fail(const struct place *p, size_t i, struct err *e, const char *what, struct str name)
{
	unsigned col = memchr(p->raw.p, '\n', p->raw.n) ? p->col : p->col + (unsigned)i;

	return tree_error(p->o, p->line, col, e, "%s" STR_FMT "%s", what, (int)(name.n < 80 ? name.n : 80),
			  name.p ? name.p : "", name.n ? "}" : "");
}

static size_t name_length(struct str s)
{
	size_t n = 0;

	if (s.n && isdigit((unsigned char)s.p[0]))
		return 0;
	while (n < s.n && (isalnum((unsigned char)s.p[n]) || s.p[n] == '_'))
		n++;
	return n;
}

int interpolate(const struct tree_opts *o, struct str raw, unsigned line, unsigned col, struct buf *out, struct err *e)
{
	struct place at = {o, line, col, raw};

	buf_reserve(out, raw.n);
	for (size_t i = 0; i < raw.n; i++) {
		struct str inside, dflt = STR_NULL;
		const char *end, *value;
		auto_free char *name = NULL;
		size_t n;

		if (raw.p[i] != '$') {
			buf_addc(out, raw.p[i]);
			continue;
		}
		if (i + 1 < raw.n && raw.p[i + 1] == '$') {
			buf_addc(out, '$');
			i++;
			continue;
		}
		if (i + 1 >= raw.n || raw.p[i + 1] != '{')
			return fail(&at, i, e,
				    "a lone dollar sign; write $$ for the sign itself, ${NAME} for a variable",
				    STR_NULL);
		end = memchr(raw.p + i, '}', raw.n - i);
		if (!end)
			return fail(&at, i, e, "this ${ has no closing }", STR_NULL);
		inside = (struct str){raw.p + i + 2, (size_t)(end - raw.p) - i - 2};
		n = name_length(inside);
		if (!n || (n < inside.n && (inside.n - n < 2 || inside.p[n] != ':' || inside.p[n + 1] != '-')))
			return fail(&at, i, e, "write ${NAME} or ${NAME:-default}, not ${",
				    inside.n ? inside : STR(" "));
		if (n < inside.n)
			dflt = (struct str){inside.p + n + 2, inside.n - n - 2};
		name = str_dup((struct str){inside.p, n});
		value = o->lookup ? o->lookup(o->arg, name) : NULL;
		/* As in a shell, :- also replaces a variable that is there and empty. */
		if (dflt.p && (!value || !*value))
			buf_addstr(out, dflt);
		else if (value)
			buf_adds(out, value);
		else
			return fail(&at, i, e, "the variable is not set and has no default: ${", (struct str){name, n});
		i = (size_t)(end - raw.p);
	}
	return 0;
}
