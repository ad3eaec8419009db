/* SPDX-License-Identifier: Apache-2.0 */
/* Layout as in PKWARE's APPNOTE.TXT, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.16 (its end). */
#include <assert.h>
#include "cli/zip.h"

#define DOS_DATE     0x21 /* 1980-01-01, the first day that the format knows */
#define FLAG_UTF8    0x800
#define NEEDS	     20
#define MADE_BY_UNIX (3 << 8 | NEEDS)

/* Eight bits at a time; the table is made at compile time by the preprocessor's patience, polynomial 0xedb88320. */
#define C1(n) ((n)&1 ? 0xedb88320u ^ ((uint32_t)(n) >> 1) : (uint32_t)(n) >> 1)
#define C2(n) C1(C1(n))
#define C4(n) C2(C2(n))
static const uint32_t nibble[16] = {C4(0), C4(1), C4(2),  C4(3),  C4(4),  C4(5),  C4(6),  C4(7),
				    C4(8), C4(9), C4(10), C4(11), C4(12), C4(13), C4(14), C4(15)};

uint32_t zip_crc32(struct str s)
{
	uint32_t table[256], crc = ~0u;

	for (unsigned i = 0; i < 256; i++) {
		uint32_t v = i;

		v = nibble[v & 15] ^ v >> 4;
		table[i] = nibble[v & 15] ^ v >> 4;
	}
	for (size_t i = 0; i < s.n; i++)
		crc = table[(crc ^ (unsigned char)s.p[i]) & 255] ^ crc >> 8;
	return ~crc;
}

static void le(struct buf *b, uint32_t v, unsigned bytes)
{
	for (; bytes; bytes--, v >>= 8)
		buf_addc(b, (char)v);
}

/* What local header and central entry have in common, from "version needed" to the length of the name. */
static void common(struct buf *b, uint32_t crc, size_t size, size_t name)
{
	le(b, NEEDS, 2);
	le(b, FLAG_UTF8, 2);
	le(b, 0, 2); /* stored */
	le(b, 0, 2); /* time */
	le(b, DOS_DATE, 2);
	le(b, crc, 4);
	le(b, (uint32_t)size, 4);
	le(b, (uint32_t)size, 4);
	le(b, (uint32_t)name, 2);
	le(b, 0, 2); /* extra */
}

void zip_add(struct zip *z, const char *name, mode_t mode, struct str data)
{
	size_t at = z->out.n, n = strlen(name);
	uint32_t crc = zip_crc32(data);

	assert(n < 65536 && data.n < UINT32_MAX && at < UINT32_MAX && z->entries < ZIP_ENTRIES_MAX);
	le(&z->out, 0x04034b50, 4);
	common(&z->out, crc, data.n, n);
	buf_add(&z->out, name, n);
	buf_addstr(&z->out, data);

	le(&z->central, 0x02014b50, 4);
	le(&z->central, MADE_BY_UNIX, 2);
	common(&z->central, crc, data.n, n);
	le(&z->central, 0, 2); /* comment */
	le(&z->central, 0, 2); /* disk */
	le(&z->central, 0, 2); /* internal attributes */
	le(&z->central, (uint32_t)mode << 16 | (n && name[n - 1] == '/' ? 0x10 : 0), 4);
	le(&z->central, (uint32_t)at, 4);
	buf_add(&z->central, name, n);
	z->entries++;
}

void zip_end(struct zip *z)
{
	size_t at = z->out.n;

	buf_addstr(&z->out, buf_str(&z->central));
	le(&z->out, 0x06054b50, 4);
	le(&z->out, 0, 2);
	le(&z->out, 0, 2);
	le(&z->out, z->entries, 2);
	le(&z->out, z->entries, 2);
	le(&z->out, (uint32_t)z->central.n, 4);
	le(&z->out, (uint32_t)at, 4);
	le(&z->out, 0, 2);
}

void zip_done(struct zip *z)
{
	buf_done(&z->out);
	buf_done(&z->central);
}
