/* SPDX-License-Identifier: Apache-2.0 */
/* Every limit on what outsiders can make us do, with its reason. */
#pragma once
#define LIM_PAYLOAD_BYTES	6291556	 /* sync request and response; Lambda's 6 MB + 100 (AWS RIE) */
#define LIM_ASYNC_PAYLOAD_BYTES 1048576	 /* Lambda, Event invokes, since October 2025 */
#define LIM_CREATE_BODY_BYTES	70167211 /* Lambda's own figure for CreateFunction */
#define LIM_ZIP_BYTES		52428800
#define LIM_UNZIPPED_BYTES	262144000
#define LIM_UNZIPPED_FILES	100000 /* ours: a bomb of empty files costs inodes */
#define LIM_ENV_BYTES		4096
#define LIM_HTTP_HEAD_BYTES	65536 /* request line and headers */
#define LIM_HTTP_HEADERS	128
#define LIM_HTTP_CONNS		8192	  /* over TCP; of all sandboxes together as many again */
#define LIM_HTTP_CONNS_SHARE	4	  /* fewer: this part of the descriptors that we may have */
#define LIM_HTTP_BYTES		536870912 /* of requests and unread answers over TCP */
#define LIM_HTTP_SMALL_BYTES	65536	  /* of one connection: never refused for what others hold */
#define LIM_HTTP_GUEST_CONNS	256	  /* of one sandbox's listener */
#define LIM_HTTP_GUEST_BYTES	33554432  /* of their requests and unread answers: five payloads of the largest size */
#define LIM_HTTP_GUEST_SHAKES	50 /* TLS handshakes in 100 ms: a signature costs us more than it costs who asks */
#define LIM_JSON_DEPTH		64
#define LIM_JSON_BODY_BYTES	1048576 /* of a request whose body is read as JSON; ECS has 64 KB for the largest */
#define LIM_SQS_BODY_BYTES	8388608 /* of SQS: messages of 1 MB, quoted, or in base64 and in a form */
#define LIM_YAML_BYTES		1048576
#define LIM_YAML_DEPTH		32
#define LIM_YAML_NODES		100000
#define LIM_NAME_BYTES		64   /* Lambda function name */
#define LIM_QUALIFIER_BYTES	128  /* Lambda: of an alias */
#define LIM_VERSIONS		1000 /* of one function; ours: Lambda bounds their bytes */
#define LIM_ALIASES		100
#define LIM_TAGS		50
#define LIM_TAG_NAME_BYTES	128
#define LIM_TAG_VALUE_BYTES	256
#define LIM_FUNCTIONS		20000
#define LIM_PATTERN_PATH_BYTES	4096 /* each key holds its whole path */
#define LIM_PATTERN_PARTS	1000 /* values and keys of one event pattern; AWS bounds its text instead */
#define LIM_LAYERS		5
#define LIM_QUEUE_PER_WORKLOAD	4096	 /* requests that wait for an instance */
#define LIM_ASYNC_BYTES		67108864 /* in memory, of accepted events that are not over; the rest waits in the store */
#define LIM_TRACE_ID_BYTES	100	 /* of an X-Amzn-Trace-Id that is given on */
#define LIM_LOG_LINE_BYTES	262144
#define LIM_TRACE_LINE_BYTES	65536	     /* of a recorded trace: a day of 1,440 minutes is some 10,000 */
#define LIM_TRACE_ROWS		200000	     /* functions; a day of the whole Azure trace has some 50,000 */
#define LIM_TRACE_CALLS		1000000	     /* of one function in a minute */
#define LIM_TRACE_NUMBER	1000000000ll /* ms of a duration, MB of memory: more is no measurement */
#define LIM_IMAGE_LAYERS	127	     /* docker's own figure; overlayfs takes 500 */
#define LIM_IMAGE_BYTES		68719476736  /* on their way from a registry, packed */
#define LIM_UPLOADS		16	     /* of images at once */
#define LIM_PUSHES		64	     /* of blobs to the registry at once */
#define LIM_HOLDS		10000	     /* blobs that came, and that no manifest names yet */
#define LIM_REPOSITORIES	10000
#define LIM_REPOSITORY_IMAGES	1000 /* each is looked at for each blob */
#define LIM_MANIFEST_PARTS	1000
#define LIM_UPLOAD_PIECE	8388608	    /* copied in memory: the request may go */
#define LIM_LAYER_BYTES		68719476736 /* of one layer, unpacked */
#define LIM_LAYER_FILES		2000000
#define LIM_IMAGES		10000
#define LIM_XML_BYTES		4194304 /* of S3: 10,000 parts with their checksums are 3 MB */
#define LIM_XML_NODES		100000
#define LIM_XML_DEPTH		16
#define LIM_STREAMS		5000	  /* all are in memory */
#define LIM_STREAM_SHARDS	500	  /* open ones of a stream: Kinesis */
#define LIM_STREAM_RECORD_BYTES 1048576	  /* Kinesis: of a record's data */
#define LIM_STREAM_PUT_BYTES	5242880	  /* Kinesis: of one PutRecords */
#define LIM_FORM_BYTES		20480	  /* of an upload from a browser, before its file; S3 */
#define LIM_DELIVERIES_BYTES	268435456 /* that one transaction's events lead to: a topic with 1,000 subscriptions */
#define LIM_DELIVERY_LEAST	16384	  /* what each counts for, however short: a bus can lead to itself */
#define LIM_MAPPINGS		10000
#define LIM_MAPPING_BYTES	67108864 /* of batches of queues under way; a mapping has one in any case */
