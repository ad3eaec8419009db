/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The grammar of RFC 8259 without a tree and without recursion: the open
 * arrays and objects are the bits of one word. Duplicate keys are not looked
 * for here, nor is a lone surrogate escape refused: the grammar allows both.
 */
#include "json/check.h"
#include <assert.h>
#include "base/enc.h"
#include "base/limits.h"
#include "json/read.h"

struct scan {
	const char *p, *end;
	uint64_t objects; /* bit d: level d is an object */
	unsigned depth;
};
static_assert(LIM_JSON_DEPTH <= 64, "one bit for each level");

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

static void skip_space(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
		s->p++;
}

/* Eight at a time. */
size_t json_plain(const char *p, size_t n)
{
	const uint64_t ones = 0x0101010101010101, high = 0x8080808080808080;
	size_t i;

	for (i = 0; n - i >= 8; i += 8) {
		uint64_t v, quote, slash;

		memcpy(&v, p + i, 8);
		quote = v ^ (ones * '"');
		slash = v ^ (ones * '\\');
		/* The borrow can mark one byte too many, never one too few; the caller looks at each by itself. */
		if ((v | (v - ones * 0x20) | (quote - ones) | (slash - ones)) & high)
			break;
	}
	return i;
}

static const char *escape(struct scan *s)
{
	if (s->end - s->p < 2)
		return "string does not end";
	switch (s->p[1]) {
	case '"':
	case '\\':
	case '/':
	case 'b':
	case 'f':
	case 'n':
	case 'r':
	case 't':
		s->p += 2;
		return NULL;
	case 'u': {
		unsigned char code[2];

		if (s->end - s->p < 6 || dec_hex((struct str){s->p + 2, 4}, code, 2) < 0)
			return "bad \\u escape";
		s->p += 6;
		return NULL;
	}
	default:
		return "bad escape";
	}
}

static const char *string(struct scan *s)
{
	s->p++;
	for (;;) {
		const char *bad;
		size_t n;

		s->p += json_plain(s->p, (size_t)(s->end - s->p));
		if (s->p == s->end)
			return "string does not end";
		if (*s->p == '"') {
			s->p++;
			return NULL;
		}
		if (*s->p == '\\') {
			bad = escape(s);
			if (bad)
				return bad;
			continue;
		}
		if ((unsigned char)*s->p < 0x20)
			return "control character in string";
		n = enc_utf8_seq(s->p, (size_t)(s->end - s->p));
		if (!n)
			return "not UTF-8";
		s->p += n;
	}
}

static bool digits(struct scan *s)
{
	const char *from = s->p;

	while (s->p < s->end && digit(*s->p))
		s->p++;
	return s->p > from;
}

static const char *number(struct scan *s)
{
	if (*s->p == '-')
		s->p++;
	if (s->p < s->end && *s->p == '0')
		s->p++;
	else if (!digits(s))
		return "number without digits";
	if (s->p < s->end && *s->p == '.') {
		s->p++;
		if (!digits(s))
			return "number without digits after the point";
	}
	if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
		s->p++;
		if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
			s->p++;
		if (!digits(s))
			return "number without digits in the exponent";
	}
	return NULL;
}

static const char *word(struct scan *s, const char *w, size_t n)
{
	if ((size_t)(s->end - s->p) < n || memcmp(s->p, w, n))
		return "unknown word";
	s->p += n;
	return NULL;
}

static const char *key(struct scan *s)
{
	const char *bad;

	skip_space(s);
	if (s->p == s->end || *s->p != '"')
		return "a key must be a string";
	bad = string(s);
	if (bad)
		return bad;
	skip_space(s);
	if (s->p == s->end || *s->p != ':')
		return "':' expected after a key";
	s->p++;
	return NULL;
}

static const char *open_level(struct scan *s, bool object)
{
	if (s->depth == LIM_JSON_DEPTH)
		return "nested too deep";
	s->objects = object ? s->objects | 1ULL << s->depth : s->objects & ~(1ULL << s->depth);
	s->depth++;
	s->p++;
	return NULL;
}

/* Reads up to the end of one value that is no array or object, or to the place where the next value must stand. */
static const char *value(struct scan *s, bool *ret_again)
{
	const char *bad;

	*ret_again = false;
	skip_space(s);
	if (s->p == s->end)
		return "value expected";
	switch (*s->p) {
	case '"':
		return string(s);
	case '{':
	case '[': {
		bool object = *s->p == '{';

		bad = open_level(s, object);
		if (bad)
			return bad;
		skip_space(s);
		if (s->p < s->end && *s->p == (object ? '}' : ']')) {
			s->depth--;
			s->p++;
			return NULL;
		}
		*ret_again = true;
		return object ? key(s) : NULL;
	}
	case 't':
		return word(s, "true", 4);
	case 'f':
		return word(s, "false", 5);
	case 'n':
		return word(s, "null", 4);
	default:
		return *s->p == '-' || digit(*s->p) ? number(s) : "value expected";
	}
}

/* After a value: closes what ends here. ret_again: a comma came, and a value must follow. */
static const char *after(struct scan *s, bool *ret_again)
{
	*ret_again = false;
	while (s->depth) {
		bool object = s->objects >> (s->depth - 1) & 1;

		skip_space(s);
		if (s->p == s->end)
			return object ? "object does not end" : "array does not end";
		if (*s->p == ',') {
			s->p++;
			*ret_again = true;
			return object ? key(s) : NULL;
		}
		if (*s->p != (object ? '}' : ']'))
			return object ? "',' or '}' expected" : "',' or ']' expected";
		s->p++;
		s->depth--;
	}
	return NULL;
}

const char *json_check_at(struct str text, size_t *ret_at)
{
	struct scan s = {.p = text.n ? text.p : "", .end = text.n ? text.p + text.n : NULL};
	const char *start = s.p, *bad;
	bool again;

	if (!text.n)
		s.end = s.p;
	do {
		bad = value(&s, &again);
		if (!bad && !again)
			bad = after(&s, &again);
	} while (!bad && again);
	if (!bad) {
		skip_space(&s);
		if (s.p < s.end)
			bad = "text after the value";
	}
	if (bad)
		*ret_at = (size_t)(s.p - start);
	return bad;
}

int json_check(struct str text, struct err *e)
{
	size_t at = 0;
	const char *bad = json_check_at(text, &at);

	return bad ? err_set(e, ERR_INVALID, "JSON byte %zu: %s", at, bad) : 0;
}
