/* SPDX-License-Identifier: Apache-2.0 */
#include "base/enc.h"

static const char hex_lower[] = "0123456789abcdef";
static const char hex_upper[] = "0123456789ABCDEF";
static const char b64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void enc_hex(const void *p, size_t n, char *out)
{
	const unsigned char *b = p;

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = hex_lower[b[i] >> 4];
		out[2 * i + 1] = hex_lower[b[i] & 15];
	}
	out[2 * n] = 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 32;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int dec_hex(struct str s, void *out, size_t n)
{
	unsigned char *o = out;

	if (s.n % 2 || s.n / 2 != n)
		return -1;
	for (size_t i = 0; i < n; i++) {
		int v = hex_digit(s.p[2 * i]) * 16 | hex_digit(s.p[2 * i + 1]);

		if (v < 0)
			return -1;
		o[i] = (unsigned char)v;
	}
	return 0;
}

void enc_b64(struct buf *out, const void *p, size_t n)
{
	const unsigned char *b = p;
	size_t i = 0;

	buf_reserve(out, (n + 2) / 3 * 4);
	for (; n - i >= 3; i += 3) {
		uint32_t v = (uint32_t)b[i] << 16 | (uint32_t)b[i + 1] << 8 | b[i + 2];
		char q[4] = {b64[v >> 18], b64[v >> 12 & 63], b64[v >> 6 & 63], b64[v & 63]};

		buf_add(out, q, 4);
	}
	if (n - i) {
		uint32_t v = (uint32_t)b[i] << 16 | (n - i == 2 ? (uint32_t)b[i + 1] << 8 : 0);
		char q[4] = {b64[v >> 18], b64[v >> 12 & 63], n - i == 2 ? b64[v >> 6 & 63] : '=', '='};

		buf_add(out, q, 4);
	}
}

static int b64_digit(char c)
{
	static const int8_t from_plus[] = {62, -1, -1, -1, 63, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, -1,
					   -1, -1, -1, -1, -1, -1, 0,  1,  2,  3,  4,  5,  6,  7,  8,  9,
					   10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25,
					   -1, -1, -1, -1, -1, -1, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35,
					   36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51};
	size_t i = (size_t)((unsigned char)c - '+');

	return i < ARRAY_SIZE(from_plus) ? from_plus[i] : -1;
}

int dec_b64(struct buf *out, struct str s)
{
	size_t was = out->n, pad = 0, i = 0;
	uint32_t v = 0;

	while (pad < 2 && s.n && s.p[s.n - 1] == '=')
		s.n--, pad++;
	if (s.n % 4 == 1 || (pad && (s.n + pad) % 4))
		return -1;
	buf_reserve(out, s.n / 4 * 3 + 3);
	for (; s.n - i >= 4; i += 4) {
		int d[4] = {b64_digit(s.p[i]), b64_digit(s.p[i + 1]), b64_digit(s.p[i + 2]), b64_digit(s.p[i + 3])};

		if ((d[0] | d[1] | d[2] | d[3]) < 0)
			goto bad;
		v = (uint32_t)(d[0] << 18 | d[1] << 12 | d[2] << 6 | d[3]);
		out->p[out->n++] = (char)(v >> 16);
		out->p[out->n++] = (char)(v >> 8);
		out->p[out->n++] = (char)v;
	}
	out->p[out->n] = 0;
	for (v = 0; i < s.n; i++) {
		int d = b64_digit(s.p[i]);

		if (d < 0)
			goto bad;
		v = v << 6 | (uint32_t)d;
	}
	/* Left-over bits must be zero, else two texts would mean the same bytes. */
	if (s.n % 4 == 2) {
		if (v & 15)
			goto bad;
		buf_addc(out, (char)(v >> 4));
	} else if (s.n % 4 == 3) {
		if (v & 3)
			goto bad;
		buf_addc(out, (char)(v >> 10));
		buf_addc(out, (char)(v >> 2));
	}
	return 0;
bad:
	out->n = was;
	if (out->p)
		out->p[was] = 0;
	return -1;
}

static bool unreserved(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
	       c == '_' || c == '~';
}

void enc_percent(struct buf *out, struct str s, bool keep_slash)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (unreserved((char)c) || (keep_slash && c == '/')) {
			buf_addc(out, (char)c);
		} else {
			char q[3] = {'%', hex_upper[c >> 4], hex_upper[c & 15]};

			buf_add(out, q, 3);
		}
	}
}

int dec_percent(struct buf *out, struct str s, bool plus_is_space)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '%' && (s.n - i < 3 || hex_digit(s.p[i + 1]) < 0 || hex_digit(s.p[i + 2]) < 0))
			return -1;
	buf_reserve(out, s.n);
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '%') {
			c = (char)(hex_digit(s.p[i + 1]) << 4 | hex_digit(s.p[i + 2]));
			i += 2;
		} else if (c == '+' && plus_is_space) {
			c = ' ';
		}
		buf_addc(out, c);
	}
	return 0;
}

bool dec_form_value(struct str form, const char *name, struct str *ret)
{
	struct str pair, k;

	while (str_next(&form, '&', &pair))
		if (str_cut(pair, '=', &k, ret) && str_eqc(k, name))
			return true;
	return false;
}

size_t enc_utf8_seq(const char *at, size_t n)
{
	const unsigned char *p = (const unsigned char *)at;
	size_t more;
	uint32_t v;

	if (!n)
		return 0;
	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		more = 1, v = p[0] & 0x1f;
	else if ((p[0] & 0xf0) == 0xe0)
		more = 2, v = p[0] & 0x0f;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		more = 3, v = p[0] & 0x07;
	else
		return 0;
	if (n <= more)
		return 0;
	for (size_t k = 1; k <= more; k++) {
		if ((p[k] & 0xc0) != 0x80)
			return 0;
		v = v << 6 | (p[k] & 0x3f);
	}
	if (more == 2 && (v < 0x800 || (v >= 0xd800 && v <= 0xdfff)))
		return 0;
	if (more == 3 && (v < 0x10000 || v > 0x10ffff))
		return 0;
	return more + 1;
}

bool enc_utf8_moves(const char *at, size_t n)
{
	static const struct { /* C0, DEL and C1; the marks of direction and their brackets; separators of lines */
		uint16_t first, last;
	} ranges[] = {{0, 0x1f}, {0x7f, 0x9f}, {0x61c, 0x61c}, {0x200e, 0x200f}, {0x2028, 0x202e}, {0x2066, 0x2069}};
	const unsigned char *p = (const unsigned char *)at;
	uint32_t v = n == 1 ? p[0] : n == 2 ? (p[0] & 0x1fu) << 6 | (p[1] & 0x3f) : 0;

	if (n == 3)
		v = (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3f);
	for (size_t i = 0; n && n < 4 && i < ARRAY_SIZE(ranges); i++)
		if (v >= ranges[i].first && v <= ranges[i].last)
			return true;
	return false;
}

bool enc_utf8_ok(struct str s)
{
	for (size_t i = 0; i < s.n;) {
		size_t n = enc_utf8_seq(s.p + i, s.n - i);

		if (!n)
			return false;
		i += n;
	}
	return true;
}

size_t enc_utf8_whole(struct str s)
{
	for (size_t n = 1; n <= 3 && n <= s.n; n++) {
		unsigned char c = (unsigned char)s.p[s.n - n];

		if ((c & 0xc0) != 0x80)
			return n < (c >= 0xf0 ? 4u : c >= 0xe0 ? 3u : c >= 0xc0 ? 2u : 1u) ? s.n - n : s.n;
	}
	return s.n;
}
