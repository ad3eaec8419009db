/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A certificate authority of the state's own, for names below amazonaws.com and no others (the certificate itself says
 * so: name constraints). Sandboxes trust it and nobody else does: clients that know no other endpoint than AWS's own
 * reach the platform by it. Certificates are issued for the name that a client asks for, when it asks.
 */
#pragma once
#include <openssl/types.h>
#include "base/err.h"
#include "base/str.h"

#define CA_DOMAIN     "amazonaws.com"
#define CA_KEY_NAME   "ca.key"
#define CA_CERT_NAME  "ca.crt"
#define CA_FILE_BYTES 16384 /* more is none of ours */

/* Makes both files in the directory unless they are there. The key is readable by owner only. */
int ca_ensure(int dir, uint32_t owner, struct err *e);

struct ca;
int ca_open(struct str key_pem, struct str cert_pem, struct ca **ret, struct err *e);
void ca_free(struct ca *ca);
EVP_PKEY *ca_leaf_key(const struct ca *ca); /* of all certificates that it issues; made by ca_open; lent */
/* For that name, or for CA_DOMAIN itself where name is not below it. NULL: no memory. The caller frees. */
X509 *ca_issue(const struct ca *ca, const char *name);
