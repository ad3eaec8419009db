/* SPDX-License-Identifier: Apache-2.0 */
#include "api/s3_xml.h"
#include "tests/test.h"

static const char shape[] =
	"{Name!:s,Rule=Rules:[{Verb=Verbs:[s(GET|PUT)],Days:i,On:b,Inner:{}}],TagSet:<Tag:{Key!:s,Value!:s}>,Gone-:s,"
	"Only:s(~Suspended)}";

#define BAD	"The XML you provided did not validate against our published schema: "
#define DECL	"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
#define XMLNS	" xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""
#define NO_FORM "The XML you provided was not well-formed: line 1: "

/* What comes out; or what is said against it. */
static const struct {
	const char *in, *out;
} cases[] = {
	{"<R><Name> a &amp; b</Name></R>", "{\"Name\":\" a & b\"}"},
	{DECL "<R" XMLNS ">\n <Name>a</Name>\n <Rule><Verb>GET</Verb></Rule><Only>Suspended</Only><Rule>\n<On>TRUE</On>"
	      "<Verb>PUT</Verb><Days> 3 </Days><Verb>GET</Verb><Inner/></Rule></R>",
	 "{\"Name\":\"a\",\"Rules\":[{\"Verbs\":[\"GET\"]},{\"Verbs\":[\"PUT\",\"GET\"],\"Days\":3,\"On\":true,"
	 "\"Inner\":{}}],"
	 "\"Only\":\"Suspended\"}"},
	{"<a:R xmlns:a='x'><a:Name b='c'>d<!-- no -->e<![CDATA[<]]></a:Name><Unknown>1</Unknown></a:R>",
	 "{\"Name\":\"de<\"}"},
	{"<R><Name>a</Name><TagSet><Tag><Key>k</Key><Value/></Tag></TagSet></R>",
	 "{\"Name\":\"a\",\"TagSet\":[{\"Key\":\"k\",\"Value\":\"\"}]}"},
	{"<R><Name>a</Name><TagSet/></R>", "{\"Name\":\"a\",\"TagSet\":[]}"},
	{"<R/>", BAD "R needs Name."},
	{"<R><Name>a</Name><Name>b</Name></R>", BAD "Name is there twice."},
	{"<R><Name>a</Name><TagSet><Tag><Key>k</Key></Tag></TagSet></R>", BAD "Tag needs Value."},
	{"<R><Name>a</Name><Rule><Verb>get</Verb></Rule></R>", BAD "Verb must be one of GET|PUT."},
	{"<R><Name>a</Name><Rule><Days>-1</Days></Rule></R>", BAD "Days must be a number from 0."},
	{"<R><Name>a</Name><Rule><On>1</On></Rule></R>", BAD "On must be true or false."},
	{"<R><Name>a</Name><Gone/></R>", "This Tandem has no Gone."},
	{"<R><Name>a</Name><Only>Enabled</Only></R>", "Only Enabled is not to be had: this Tandem has only Suspended."},
	{"<Q><Name>a</Name></Q>", BAD "it must be a R."},
	{"", NO_FORM "no element found."},
	{"<R><Name>a</R>", NO_FORM "mismatched tag."},
	{"<!DOCTYPE R [<!ENTITY x 'y'>]><R><Name>&x;</Name></R>", NO_FORM "it has a document type."},
	{"<R><Name>&x;</Name></R>", NO_FORM "undefined entity."},
	{"<R><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a/></a></a></a></a></a></a></a></a></a></a></a></a></a></"
	 "a></a></R>",
	 NO_FORM "it has too many elements, or too deep ones."},
};

TEST(what_it_reads)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct api_err e = {0};
		auto_buf out = {0};

		CHECK_STR(xml_read("R", shape, str_of(cases[i].in), &out, &e) < 0 ? e.text : out.p, cases[i].out);
	}
}

TEST(what_it_writes_it_reads)
{
	auto_json j = json_parse(
		STR("{\"Name\":\"a<&\\r\",\"Other\":1,\"Rules\":[{\"Verbs\":[\"GET\",\"PUT\"],\"Days\":7,\"On\":"
		    "false,\"Inner\":{}},{}],\"TagSet\":[{\"Key\":\"k\",\"Value\":\"v\"}]}"),
		NULL);
	auto_buf xml = {0}, back = {0};
	struct api_err e = {0};

	xml_write(&xml, "R", shape, j);
	CHECK_STR(xml.p, DECL
		  "<R" XMLNS
		  "><Name>a&lt;&amp;&#13;</Name><Rule><Verb>GET</Verb><Verb>PUT</Verb><Days>7</Days><On>false</On>"
		  "<Inner></Inner></Rule><Rule></Rule><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></R>");
	CHECK(xml_read("R", shape, buf_str(&xml), &back, &e) == 0);
	CHECK_STR(back.p, "{\"Name\":\"a<&\\r\",\"Rules\":[{\"Verbs\":[\"GET\",\"PUT\"],\"Days\":7,\"On\":false,"
			  "\"Inner\":{}},{}],"
			  "\"TagSet\":[{\"Key\":\"k\",\"Value\":\"v\"}]}");
}

TEST(it_has_a_limit_of_elements)
{
	struct api_err e = {0};
	auto_buf xml = {0}, out = {0};

	buf_adds(&xml, "<R><Name>a</Name>");
	for (int i = 0; i < 100000; i++)
		buf_adds(&xml, "<a/>");
	buf_adds(&xml, "</R>");
	CHECK(xml_read("R", shape, buf_str(&xml), &out, &e) < 0 && e.code == API_S3_MALFORMED_XML);
}
