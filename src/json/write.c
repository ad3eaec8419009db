/* SPDX-License-Identifier: Apache-2.0 */
#include "json/write.h"
#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include "base/enc.h"
#include "json/check.h"
#include "json/read.h"

void jw_init(struct jw *w, struct buf *out)
{
	*w = (struct jw){.out = out};
}

struct jw jw_object(struct buf *out)
{
	struct jw w = {.out = out};

	jw_obj(&w, NULL);
	return w;
}

static void begin(struct jw *w, const char *key)
{
	if (w->need_comma)
		buf_addc(w->out, ',');
	if (key) {
		jw_quote(w->out, str_of(key));
		buf_addc(w->out, ':');
	}
	w->need_comma = true;
}

void jw_obj(struct jw *w, const char *key)
{
	begin(w, key);
	buf_addc(w->out, '{');
	w->depth++;
	w->need_comma = false;
}

void jw_arr(struct jw *w, const char *key)
{
	begin(w, key);
	buf_addc(w->out, '[');
	w->depth++;
	w->need_comma = false;
}

void jw_end(struct jw *w, char close)
{
	assert(w->depth && (close == '}' || close == ']'));
	buf_addc(w->out, close);
	w->depth--;
	w->need_comma = true;
}

void jw_str(struct jw *w, const char *key, struct str v)
{
	begin(w, key);
	jw_quote(w->out, v);
}

void jw_strc(struct jw *w, const char *key, const char *v)
{
	if (v)
		jw_str(w, key, str_of(v));
	else
		jw_null(w, key);
}

void jw_int(struct jw *w, const char *key, int64_t v)
{
	begin(w, key);
	buf_add_i64(w->out, v);
}

void jw_real(struct jw *w, const char *key, double v)
{
	char tmp[40];

	if (!isfinite(v))
		return jw_null(w, key);
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(tmp, sizeof(tmp), "%.*g", digits, v);
		if (strtod(tmp, NULL) == v)
			break;
	}
	begin(w, key);
	buf_adds(w->out, tmp);
	/* Without these it would read back as an integer. */
	if (!strpbrk(tmp, ".e"))
		buf_adds(w->out, ".0");
}

void jw_bool(struct jw *w, const char *key, bool v)
{
	begin(w, key);
	buf_adds(w->out, v ? "true" : "false");
}

void jw_null(struct jw *w, const char *key)
{
	begin(w, key);
	buf_adds(w->out, "null");
}

void jw_raw(struct jw *w, const char *key, struct str json)
{
	begin(w, key);
	buf_addstr(w->out, json);
}

static void escape(struct buf *out, unsigned char c)
{
	static const char short_of[] = {
		['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r', ['"'] = '"', ['\\'] = '\\'};

	if (c < sizeof(short_of) && short_of[c]) {
		buf_addc(out, '\\');
		buf_addc(out, short_of[c]);
	} else {
		buf_addf(out, "\\u%04x", c);
	}
}

void jw_quote(struct buf *out, struct str v)
{
	size_t from = 0, i = json_plain(v.p, v.n);

	buf_reserve(out, v.n + 2);
	buf_addc(out, '"');
	while (i < v.n) {
		unsigned char c = (unsigned char)v.p[i];
		size_t n = c < 0x80 ? 1 : enc_utf8_seq(v.p + i, v.n - i);

		if (n && c >= 0x20 && c != '"' && c != '\\') {
			i += n;
			continue;
		}
		buf_add(out, v.p + from, i - from);
		if (n)
			escape(out, c);
		else
			buf_adds(out, "\xef\xbf\xbd");
		from = ++i;
	}
	buf_add(out, v.p ? v.p + from : "", i - from);
	buf_addc(out, '"');
}

void jw_fmt(struct buf *out, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	for (; *fmt; fmt++) {
		if (*fmt != '%') {
			buf_addc(out, *fmt == '\'' ? '"' : *fmt);
			continue;
		}
		switch (*++fmt) {
		case 's':
			jw_quote(out, str_of(va_arg(ap, const char *)));
			break;
		case 'd':
			buf_add_i64(out, va_arg(ap, int64_t));
			break;
		default:
			assert(*fmt == 'r');
			buf_adds(out, va_arg(ap, const char *));
		}
	}
	va_end(ap);
}

struct merge {
	struct jw w;
	const struct json *over; /* whose members these are not, NULL: they are */
	const char *project;
};

static int merge_one(void *arg, const char *key, const struct json *value)
{
	struct merge *m = arg;
	char *text;

	if (json_get(m->over, key) || json_type(value) == JSON_NULL || (m->project && !strcmp(key, "project")))
		return 0;
	text = json_text(value);
	jw_raw(&m->w, key, str_of(text));
	free(text);
	return 0;
}

void json_merge(struct buf *out, const struct json *under, const struct json *over, const char *project)
{
	struct merge m = {jw_object(out), over, project};

	json_each(under, merge_one, &m);
	m.over = NULL;
	json_each(over, merge_one, &m);
	if (project)
		jw_strc(&m.w, "project", project);
	jw_end(&m.w, '}');
}
