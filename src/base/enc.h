/* SPDX-License-Identifier: Apache-2.0 */
/* Hex, base64, percent. Decoders check everything and say so. */
#pragma once
#include "base/buf.h"
void enc_hex(const void *p, size_t n, char *out);		    /* 2n+1 bytes, lower case */
int dec_hex(struct str s, void *out, size_t n);			    /* exactly n bytes; -1 when not */
void enc_b64(struct buf *out, const void *p, size_t n);		    /* RFC 4648, padded */
int dec_b64(struct buf *out, struct str s);			    /* strict alphabet, padding optional; -1 when not */
void enc_percent(struct buf *out, struct str s, bool keep_slash);   /* RFC 3986 unreserved kept, upper-case hex */
int dec_percent(struct buf *out, struct str s, bool plus_is_space); /* -1: bad escape */
bool dec_form_value(struct str form, const char *name, struct str *ret); /* of a query or form: as it stands there */
size_t enc_utf8_seq(const char *p, size_t n); /* bytes of the one valid sequence at p, of n bytes; 0: none */
/* Is that sequence, of n bytes, none that is seen, but one that moves a cursor, ends a line or turns what is around it? */
bool enc_utf8_moves(const char *p, size_t n);
bool enc_utf8_ok(struct str s);
size_t enc_utf8_whole(struct str s); /* bytes before a sequence that only begins at its end */
