/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/frame.h"

static void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, (uint16_t)v);
	put16(p + 2, (uint16_t)(v >> 16));
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t get32(const uint8_t *p)
{
	return get16(p) | (uint32_t)get16(p + 2) << 16;
}

void frame_put(uint8_t out[FRAME_HEADER], const struct frame *f)
{
	out[0] = FRAME_VERSION;
	out[1] = f->type;
	put16(out + 2, f->flags);
	put32(out + 4, f->stream);
	put32(out + 8, f->length);
	put32(out + 12, 0);
}

int frame_get(const uint8_t in[FRAME_HEADER], struct frame *ret, struct err *e)
{
	struct frame f = {.type = in[1], .flags = get16(in + 2), .stream = get32(in + 4), .length = get32(in + 8)};

	if (in[0] != FRAME_VERSION)
		return err_set(e, ERR_CORRUPT, "frame version %u, not %u", in[0], FRAME_VERSION);
	if (f.type < FRAME_HELLO || f.type >= FRAME_TYPE_N)
		return err_set(e, ERR_CORRUPT, "frame type %u", f.type);
	if (f.length > FRAME_MAX)
		return err_set(e, ERR_CORRUPT, "frame of %u bytes, more than %u", f.length, FRAME_MAX);
	if (f.flags & ~(FRAME_FLAG_END | FRAME_FLAG_LAST | FRAME_FLAG_STREAM))
		return err_set(e, ERR_CORRUPT, "frame flags 0x%04x", f.flags);
	if (get32(in + 12))
		return err_set(e, ERR_CORRUPT, "frame header does not end in zero");
	*ret = f;
	return 0;
}
