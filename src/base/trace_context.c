/* SPDX-License-Identifier: Apache-2.0 */
#include "base/trace_context.h"
#include <stdio.h>
#include "base/enc.h"

static bool any(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return true;
	return false;
}

/* n bytes as lower-case digits; s loses them. */
static bool take_hex(struct str *s, uint8_t *ret, size_t n)
{
	if (s->n < 2 * n)
		return false;
	for (size_t i = 0; i < 2 * n; i++)
		if (s->p[i] >= 'A' && s->p[i] <= 'F')
			return false;
	if (dec_hex((struct str){s->p, 2 * n}, ret, n) < 0)
		return false;
	s->p += 2 * n, s->n -= 2 * n;
	return true;
}

static bool take_dash(struct str *s)
{
	if (!s->n || *s->p != '-')
		return false;
	s->p++, s->n--;
	return true;
}

int trace_from_w3c(struct str s, struct trace_context *ret)
{
	struct trace_context t;
	uint8_t version, flags;

	if (!take_hex(&s, &version, 1) || version == 0xff || !take_dash(&s) || !take_hex(&s, t.id, 16) ||
	    !take_dash(&s) || !take_hex(&s, t.parent, 8) || !take_dash(&s) || !take_hex(&s, &flags, 1) ||
	    !any(t.id, 16) || !any(t.parent, 8) || (s.n && (version == 0 || *s.p != '-')))
		return -1;
	t.sampled = flags & 1;
	*ret = t;
	return 0;
}

int trace_from_aws(struct str s, struct trace_context *ret)
{
	struct trace_context t = {.sampled = false};
	struct str member, key, value;
	bool root = false;

	while (str_next(&s, ';', &member)) {
		if (!str_cut(str_trim(member), '=', &key, &value))
			continue;
		if (str_eqc(key, "Root") && str_starts(value, "1-") && value.n == 35 && value.p[10] == '-') {
			struct str time = {value.p + 2, 8}, rest = {value.p + 11, 24};

			root = take_hex(&time, t.id, 4) && take_hex(&rest, t.id + 4, 12) && any(t.id, 16);
		} else if (str_eqc(key, "Parent") && (value.n != 16 || !take_hex(&value, t.parent, 8))) {
			memset(t.parent, 0, sizeof(t.parent));
		} else if (str_eqc(key, "Sampled")) {
			t.sampled = str_eqc(value, "1");
		}
	}
	if (!root)
		return -1;
	*ret = t;
	return 0;
}

const char *trace_to_w3c(const struct trace_context *t, char out[TRACEPARENT_BYTES])
{
	char id[33], parent[17];

	enc_hex(t->id, 16, id);
	enc_hex(t->parent, 8, parent);
	snprintf(out, TRACEPARENT_BYTES, "00-%s-%s-0%d", id, parent, t->sampled);
	return out;
}

const char *trace_to_aws(const struct trace_context *t, char out[TRACE_HEADER_BYTES])
{
	char id[33], parent[17];
	bool below = any(t->parent, 8);

	enc_hex(t->id, 16, id);
	enc_hex(t->parent, 8, parent);
	snprintf(out, TRACE_HEADER_BYTES, "Root=1-%.8s-%s%s%s;Sampled=%d", id, id + 8, below ? ";Parent=" : "",
		 below ? parent : "", t->sampled);
	return out;
}
