/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"

#include "base/mem.h"

struct str str_of(const char *c)
{
	return c ? (struct str){c, strlen(c)} : (struct str){"", 0};
}

bool str_eq(struct str a, struct str b)
{
	return a.n == b.n && (!a.n || !memcmp(a.p, b.p, a.n));
}

bool str_eqc(struct str a, const char *c)
{
	return str_eq(a, str_of(c));
}

static unsigned char lower(unsigned char c)
{
	return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

bool str_caseeq(struct str a, struct str b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		if (lower((unsigned char)a.p[i]) != lower((unsigned char)b.p[i]))
			return false;
	return true;
}

bool str_caseeqc(struct str a, const char *c)
{
	return str_caseeq(a, str_of(c));
}

bool str_starts(struct str s, const char *prefix)
{
	size_t n = strlen(prefix);

	return s.n >= n && (!n || !memcmp(s.p, prefix, n));
}

bool str_ends(struct str s, const char *suffix)
{
	size_t n = strlen(suffix);

	return s.n >= n && (!n || !memcmp(s.p + s.n - n, suffix, n));
}

bool str_cut(struct str s, char sep, struct str *ret_before, struct str *ret_after)
{
	const char *at = s.n ? memchr(s.p, sep, s.n) : NULL;

	if (!at)
		return false;
	*ret_before = (struct str){s.p, (size_t)(at - s.p)};
	*ret_after = (struct str){at + 1, s.n - (size_t)(at - s.p) - 1};
	return true;
}

bool str_next(struct str *rest, char sep, struct str *ret)
{
	if (!rest->n)
		return false;
	if (!str_cut(*rest, sep, ret, rest)) {
		*ret = *rest;
		*rest = STR_NULL;
	}
	return true;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

struct str str_trim(struct str s)
{
	while (s.n && blank(s.p[0]))
		s.p++, s.n--;
	while (s.n && blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

char *str_dup(struct str s)
{
	char *p = xmalloc(s.n + 1);

	if (s.n)
		memcpy(p, s.p, s.n);
	p[s.n] = 0;
	return p;
}

int str_to_i64(struct str s, int64_t min, int64_t max, int64_t *ret)
{
	bool minus = s.n && s.p[0] == '-';
	int64_t v = 0;

	if (s.n <= minus)
		return -1;
	/* Counted downwards: the negative side has room for one more. */
	for (size_t i = minus; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return -1;
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_sub_overflow(v, s.p[i] - '0', &v))
			return -1;
	}
	if (!minus && __builtin_sub_overflow(0, v, &v))
		return -1;
	if (v < min || v > max)
		return -1;
	*ret = v;
	return 0;
}

bool str_name_ok(struct str s, size_t max, const char *extra)
{
	if (!s.n || s.n > max)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
			continue;
		if (!c || !strchr(extra, c))
			return false;
	}
	return true;
}

size_t strlcpy_(char *dst, const char *src, size_t size)
{
	size_t n = strlen(src);

	if (size) {
		size_t m = n < size ? n : size - 1;

		memcpy(dst, src, m);
		dst[m] = 0;
	}
	return n;
}

/* Edits between two short words (Levenshtein): few enough, and it was a slip of the finger. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[65], n = (unsigned)strlen(b);

	if (n > 64 || strlen(a) > 64)
		return 99;
	for (unsigned k = 0; k <= n; k++)
		row[k] = k;
	for (unsigned i = 1; a[i - 1]; i++) {
		unsigned diag = row[0];

		row[0] = i;
		for (unsigned k = 1; k <= n; k++) {
			unsigned best = diag + (a[i - 1] != b[k - 1]);

			diag = row[k];
			if (row[k] + 1 < best)
				best = row[k] + 1;
			if (row[k - 1] + 1 < best)
				best = row[k - 1] + 1;
			row[k] = best;
		}
	}
	return row[n];
}

const char *str_nearest(const char *word, const char *(*name)(const void *names, size_t i), const void *names)
{
	const char *best = NULL, *one;
	unsigned least = 4;

	for (size_t i = 0; (one = name(names, i)); i++) {
		unsigned d = distance(word, one);

		if (d < least && d * 2 < strlen(one) + 1)
			least = d, best = one;
	}
	return best;
}
