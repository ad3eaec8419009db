/* SPDX-License-Identifier: Apache-2.0 */
#include "api/query.h"
#include "api/shape.h"
#include "tests/test.h"

/* What a form becomes, or what is said against it. */
static const struct {
	const char *service, *operation, *form, *out;
} forms[] = {
	{"sqs", "SendMessage", "Action=SendMessage&MessageBody=a+b%26&DelaySeconds=3",
	 "{\"Action\":\"SendMessage\",\"DelaySeconds\":\"3\",\"MessageBody\":\"a b&\"}"},
	{"sqs", "SendMessage",
	 "MessageAttribute.2.Name=n&MessageAttribute.2.Value.DataType=Number&MessageAttribute.10.Name=s&"
	 "MessageAttribute.10.Value.DataType=String&MessageAttribute.10.Value.StringValue=x&MessageAttribute.2.Value."
	 "StringValue=7",
	 "{\"MessageAttributes\":{\"n\":{\"DataType\":\"Number\",\"StringValue\":\"7\"},\"s\":{\"DataType\":\"String\","
	 "\"StringValue\":\"x\"}}}"},
	{"sqs", "SendMessageBatch",
	 "SendMessageBatchRequestEntry.1.Id=a&SendMessageBatchRequestEntry.1.MessageBody=1&"
	 "SendMessageBatchRequestEntry.2.Id=b",
	 "{\"Entries\":[{\"Id\":\"a\",\"MessageBody\":\"1\"},{\"Id\":\"b\"}]}"},
	{"sqs", "GetQueueAttributes", "AttributeName.1=All&AttributeName.2=Policy",
	 "{\"AttributeNames\":[\"All\",\"Policy\"]}"},
	{"sqs", "CreateQueue", "Tag.1.Key=k&Tag.1.Value=v&Attribute.1.Name=DelaySeconds&Attribute.1.Value=",
	 "{\"Attributes\":{\"DelaySeconds\":\"\"},\"tags\":{\"k\":\"v\"}}"},
	{"sqs", "TagQueue", "Tag.1.Key=k&Tag.1.Value=v", "{\"Tags\":{\"k\":\"v\"}}"},
	{"sns", "CreateTopic",
	 "Name=t&Tags.member.1.Key=k&Tags.member.1.Value=v&Attributes.entry.1.key=DisplayName&Attributes.entry.1.value="
	 "d",
	 "{\"Attributes\":{\"DisplayName\":\"d\"},\"Name\":\"t\",\"Tags\":[{\"Key\":\"k\",\"Value\":\"v\"}]}"},
	{"sns", "Publish",
	 "MessageAttributes.entry.1.Name=a&MessageAttributes.entry.1.Value.DataType=String&MessageAttributes.entry.1."
	 "Value."
	 "StringValue=b",
	 "{\"MessageAttributes\":{\"a\":{\"DataType\":\"String\",\"StringValue\":\"b\"}}}"},
	{"monitoring", "GetMetricStatistics", "Dimensions.member.1.Name=FunctionName&Dimensions.member.1.Value=f",
	 "{\"Dimensions\":[{\"Name\":\"FunctionName\",\"Value\":\"f\"}]}"},
	{"sts", "GetCallerIdentity", "", "{}"},
	{"sqs", "X", "=1&&a", "{\"a\":\"\"}"},
	{"sqs", "X", "a=%4", "The request has a percent escape that is not one."},
	{"sqs", "X", "a=1&a=2", "The parameter a is there twice, or has a value and members."},
	{"sqs", "X", "a=1&a.b=2", "The parameter a is there twice, or has a value and members."},
	{"sqs", "X", "AttributeName.1=a&AttributeName.x=b",
	 "The parameter AttributeName.x has no number from 1 on where one belongs."},
	{"sns", "X", "a.member.01=a", "The parameter a.member.01 has no number from 1 on where one belongs."},
	{"sns", "X", "a.member=a&a.member.1=b",
	 "The parameter a.member is an element of a list, and has no number or stands beside what is none."},
	{"sns", "X", "a.entry.1.value=b",
	 "The parameter a.entry.1.value belongs to an entry without a key or without a value."},
	{"sns", "X", "a.entry.1=b", "The parameter a.entry.1 has a value where a key and a value belong."},
	{"sqs", "X", "a.a.a.a.a.a.a.a.a.a.a.a%2ea=", "The name of a parameter has more than 12 parts."},
};

TEST(forms_become_json)
{
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		auto_buf out = {0};
		struct api_err e = {0};
		int rc = query_read(query_service(str_of(forms[i].service), STR_NULL), forms[i].operation, STR_NULL,
				    str_of(forms[i].form), &out, &e);

		CHECK_STR(rc < 0 ? e.text : out.p, forms[i].out);
	}
}

TEST(what_a_shape_makes_of_text)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{"{\"i\":\"7\",\"n\":\"1.5\",\"b\":\"true\",\"t\":\"2026-11-21T10:00:00Z\",\"l\":\"\"}",
		 "{\"i\":7,\"n\":1.5,\"b\":true,\"t\":1795255200.0}"},
		{"{\"t\":\"1970-01-01T01:00:00.250+01:00\"}", "{\"t\":0.25}"},
		{"{\"t\":\"100\"}", "{\"t\":100.0}"},
		{"{\"i\":\"7x\"}", "Invalid type for parameter i: it must be an integer."},
		{"{\"b\":\"yes\"}", "Invalid type for parameter b: it must be a boolean."},
		{"{\"n\":\"nan\"}", "Invalid type for parameter n: it must be a number."},
		{"{\"n\":\"1e999\"}", "Invalid type for parameter n: it must be a number."},
		{"{\"t\":\"2026-13-21T10:00:00Z\"}", "Invalid type for parameter t: it must be a time."},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		auto_json j = json_parse(str_of(cases[i].in), NULL);
		auto_buf out = {0};
		struct api_err e = {0};

		CHECK_STR(shape_copy_text("{i:i,n:n,b:b,t:t,l:[s]}", j, &out, &e) < 0 ? e.text : out.p, cases[i].out);
	}
}

TEST(answers_become_xml)
{
	static const struct {
		const char *service, *operation, *json, *out;
	} cases[] = {
		{"sqs", "ReceiveMessage",
		 "{\"Messages\":[{\"Body\":\"<&\",\"Attributes\":{\"SentTimestamp\":\"1\"}},{\"Body\":\"b\"}]}",
		 "<Message><Body>&lt;&amp;</Body><Attribute><Name>SentTimestamp</Name><Value>1</Value></Attribute></"
		 "Message>"
		 "<Message><Body>b</Body></Message>"},
		{"sqs", "SendMessageBatch", "{\"Successful\":[{\"Id\":\"a\"}],\"Failed\":[]}",
		 "<SendMessageBatchResultEntry><Id>a</Id></SendMessageBatchResultEntry>"},
		{"sns", "ListTopics", "{\"Topics\":[{\"TopicArn\":\"a\"}],\"NextToken\":null}",
		 "<Topics><member><TopicArn>a</TopicArn></member></Topics>"},
		{"sns", "GetTopicAttributes", "{\"Attributes\":{\"Owner\":\"1\"}}",
		 "<Attributes><entry><key>Owner</key><value>1</value></entry></Attributes>"},
		{"monitoring", "GetMetricData",
		 "{\"MetricDataResults\":[{\"Timestamps\":[1795255200,1795255260.5],\"Values\":[1.5,2],\"Ok\":true}]}",
		 "<MetricDataResults><member><Timestamps><member>2026-11-21T10:00:00.000Z</"
		 "member><member>2026-11-21T10:01:00."
		 "500Z</member></Timestamps><Values><member>1.5</member><member>2</member></Values><Ok>true</Ok></"
		 "member></"
		 "MetricDataResults>"},
		{"sns", "Unsubscribe", "", ""},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct query_service *q = query_service(str_of(cases[i].service), STR_NULL);
		const char *op = cases[i].operation;
		auto_buf out = {0}, want = {0};

		query_write(q, op, "id", str_of(cases[i].json), &out);
		buf_addf(&want,
			 "<?xml version=\"1.0\"?>\n<%sResponse xmlns=\"%s\"><%sResult>%s</%sResult><ResponseMetadata>"
			 "<RequestId>id</RequestId></ResponseMetadata></%sResponse>",
			 op, query_namespace(q), op, cases[i].out, op, op);
		CHECK_STR(out.p, want.p);
	}
}

TEST(services_by_name_or_version)
{
	CHECK_STR(query_name(query_service(STR("sns"), STR("2012-11-05"))), "sns");
	CHECK_STR(query_name(query_service(STR_NULL, STR("2012-11-05"))), "sqs");
	CHECK(!query_service(STR("lambda"), STR("2012-11-05")));
	CHECK(!query_service(STR_NULL, STR_NULL));
	CHECK(!query_service(STR_NULL, STR("2012-11")));
}
