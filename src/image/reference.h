/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an image is called: [HOST[:PORT]/]NAME[:TAG][@sha256:DIGEST], with docker's rules for what is left out:
 * docker.io, library/, latest. With a digest the tag says nothing and goes. Pure; the tool uses it too.
 */
#pragma once
#include <stdbool.h>
#include "base/err.h"
#include "base/str.h"

#define REFERENCE_NAME_MAX 255
#define REFERENCE_TAG_MAX  128
#define REFERENCE_MAX	   (REFERENCE_NAME_MAX + 1 + REFERENCE_TAG_MAX) /* bytes of text */

struct reference {
	char text[REFERENCE_MAX + 1];	   /* normalised, whole */
	char name[REFERENCE_NAME_MAX + 1]; /* docker.io/library/nginx */
	char host[REFERENCE_NAME_MAX + 1]; /* docker.io, localhost:5000 */
	char tag[REFERENCE_TAG_MAX + 1];   /* "" with a digest */
	char digest[65];		   /* hex, or "" */
	bool loopback;			   /* the registry is on this machine: it may speak without TLS */
};
int reference_parse(const char *text, struct reference *ret, struct err *e);
bool reference_tag_ok(struct str tag);
bool reference_digest_ok(struct str hex); /* 64 lower-case hex digits */
