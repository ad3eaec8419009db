/* SPDX-License-Identifier: Apache-2.0 */
/*
 * S3's XML and JSON in the names of AWS's SDKs, both ways by one shape: a document is checked when it comes, kept as
 * JSON and written back. Read by expat, the only user of expat.h; no DTD, limits LIM_XML_*; attributes are passed over,
 * and so are elements that the shape does not have. Tests: tests/api/test_s3_xml.c, fuzz: tests/fuzz/xml.c.
 *
 *   shape    {MEMBER,...}
 *   MEMBER   Element=Member:TYPE  without =Member they are called the same. Element!: must be there; Element-: is
 *            refused as something that this Tandem has not
 *   TYPE     s text, s(A|B) one of these, s(~A|B) of what S3 knows this Tandem has only these, i a number from 0,
 *            b true or false, {...}, [TYPE] the element may come more than once: a list, <Item:TYPE> a list of elements
 *            Item inside of it
 */
#pragma once
#include "api/errors.h"
#include "base/buf.h"
#include "json/read.h"

#define XML_TAG_SET "TagSet!:<Tag:{Key!:s,Value!:s}>"

/* Adds the JSON to ret; -1: e, MalformedXML or NotImplemented. root: what the document's element must be called. */
int xml_read(const char *root, const char *shape, struct str xml, struct buf *ret, struct api_err *e);
/* The same as a value, which the caller frees; NULL: e. */
struct json *xml_parse(const char *root, const char *shape, struct str xml, struct api_err *e);
/* A whole document; members that j has not are left out. */
void xml_write(struct buf *out, const char *root, const char *shape, const struct json *j);

/* By hand: the declaration and root's start tag, then elements, then xml_end(out, root). */
void xml_begin(struct buf *out, const char *root);
void xml_start(struct buf *out, const char *name);
void xml_end(struct buf *out, const char *name);
void xml_str(struct buf *out, const char *name, struct str text);
void xml_int(struct buf *out, const char *name, int64_t v);
