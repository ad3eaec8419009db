/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a document of S3: what is read can be written, and is then read as the same. */
#include <assert.h>

#include "api/s3_xml.h"

static const char shape[] =
	"{Name!:s,Rule=Rules:[{Verb=Verbs:[s(GET|PUT)],Days:i,On:b,Inner:{}}],TagSet:<Tag:{Key!:s,Value!:s}>,Gone-:s,"
	"Only:s(~Suspended)}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	auto_buf first = {0}, xml = {0}, second = {0};
	struct api_err e = {.code = API_OK};
	auto_json j = NULL;

	if (xml_read("R", shape, (struct str){(const char *)data, n}, &first, &e) < 0) {
		assert(e.code != API_OK && e.text[0] && !first.n);
		return 0;
	}
	j = json_parse(buf_str(&first), NULL);
	assert(j);
	xml_write(&xml, "R", shape, j);
	assert(xml_read("R", shape, buf_str(&xml), &second, &e) == 0);
	assert(str_eq(buf_str(&first), buf_str(&second)));
	return 0;
}
