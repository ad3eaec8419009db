/* SPDX-License-Identifier: Apache-2.0 */
#include "http/ca.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include "base/io.h"
#include "base/mem.h"

#define DAY_S	    86400L
#define CA_DAYS	    10950L /* as long as a state directory may live: there is nobody to renew it */
#define LEAF_DAYS   90L
#define SERIAL_BITS 127

struct ca {
	EVP_PKEY *key, *leaf;
	X509 *cert;
};

static int ssl_err(struct err *e, const char *what)
{
	char text[160];
	unsigned long code = ERR_get_error();

	ERR_error_string_n(code, text, sizeof(text));
	ERR_clear_error();
	return err_set(e, ERR_SYS, "%s: %s", what, code ? text : "OpenSSL failed");
}

static bool add_ext(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;
	bool ok;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = ext && X509_add_ext(x, ext, -1) == 1;
	X509_EXTENSION_free(ext);
	return ok;
}

static bool set_serial(X509 *x)
{
	BIGNUM *n = BN_new();
	bool ok = n && BN_rand(n, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
		  BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));

	BN_free(n);
	return ok;
}

/* All but extensions and signature. */
static X509 *begin(EVP_PKEY *key, const char *cn, long days)
{
	X509 *x = X509_new();

	/* A day back: the clock of a virtual machine may be. */
	if (x && X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) &&
	    X509_gmtime_adj(X509_getm_notBefore(x), -DAY_S) && X509_gmtime_adj(X509_getm_notAfter(x), days * DAY_S) &&
	    X509_set_pubkey(x, key) == 1 &&
	    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1,
				       0) == 1)
		return x;
	X509_free(x);
	return NULL;
}

static X509 *make_root(EVP_PKEY *key)
{
	X509 *x = begin(key, "Tandem", CA_DAYS);

	if (x && X509_set_issuer_name(x, X509_get_subject_name(x)) == 1 &&
	    add_ext(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
	    add_ext(x, x, NID_key_usage, "critical,keyCertSign") &&
	    add_ext(x, x, NID_name_constraints, "critical,permitted;DNS:" CA_DOMAIN) &&
	    add_ext(x, x, NID_subject_key_identifier, "hash") && X509_sign(x, key, EVP_sha256()))
		return x;
	X509_free(x);
	return NULL;
}

/* Below CA_DOMAIN and spelled like a host: the text goes into OpenSSL's own little language. */
static bool may_issue(const char *name)
{
	size_t n = strlen(name);

	return n < 254 && str_ends(str_of(name), "." CA_DOMAIN) &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == n;
}

X509 *ca_issue(const struct ca *ca, const char *name)
{
	char san[264] = "DNS:" CA_DOMAIN;
	X509 *x = begin(ca->leaf, "Tandem platform", LEAF_DAYS);

	if (may_issue(name))
		strlcpy_(san + 4, name, sizeof(san) - 4);
	if (x && X509_set_issuer_name(x, X509_get_subject_name(ca->cert)) == 1 &&
	    add_ext(x, ca->cert, NID_basic_constraints, "critical,CA:FALSE") &&
	    add_ext(x, ca->cert, NID_key_usage, "critical,digitalSignature") &&
	    add_ext(x, ca->cert, NID_ext_key_usage, "serverAuth") &&
	    add_ext(x, ca->cert, NID_authority_key_identifier, "keyid") &&
	    add_ext(x, ca->cert, NID_subject_alt_name, san) && X509_sign(x, ca->key, EVP_sha256()))
		return x;
	ERR_clear_error();
	X509_free(x);
	return NULL;
}

/* ---- on disk ---- */

static int write_pem(int dir, const char *name, mode_t mode, EVP_PKEY *key, X509 *cert, struct err *e)
{
	BIO *mem = BIO_new(BIO_s_mem());
	char *text = NULL;
	long n;
	int ret = -1;

	if (!mem ||
	    (cert ? PEM_write_bio_X509(mem, cert) : PEM_write_bio_PrivateKey(mem, key, NULL, NULL, 0, NULL, NULL)) != 1)
		ssl_err(e, name);
	else if ((n = BIO_get_mem_data(mem, &text)) > 0)
		ret = io_write_file(dir, name, text, (size_t)n, mode, e);
	BIO_free(mem);
	return ret;
}

int ca_ensure(int dir, uint32_t owner, struct err *e)
{
	EVP_PKEY *key = NULL;
	X509 *cert = NULL;
	int ret = 0;

	if (faccessat(dir, CA_KEY_NAME, F_OK, AT_SYMLINK_NOFOLLOW) < 0 ||
	    faccessat(dir, CA_CERT_NAME, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
		key = EVP_EC_gen("P-256");
		cert = key ? make_root(key) : NULL;
		ret = cert ? 0 : ssl_err(e, "make a certificate authority");
		if (!ret)
			ret = write_pem(dir, CA_KEY_NAME, 0600, key, NULL, e);
		if (!ret)
			ret = write_pem(dir, CA_CERT_NAME, 0644, NULL, cert, e);
	}
	X509_free(cert);
	EVP_PKEY_free(key);
	/* Each time: the daemon's user may be another one since. */
	if (!ret && fchownat(dir, CA_KEY_NAME, owner, owner, AT_SYMLINK_NOFOLLOW) < 0)
		ret = err_sys(e, errno, "give %s to the daemon", CA_KEY_NAME);
	return ret;
}

int ca_open(struct str key_pem, struct str cert_pem, struct ca **ret, struct err *e)
{
	struct ca *ca = xcalloc(1, sizeof(*ca));
	BIO *key = BIO_new_mem_buf(key_pem.p, (int)key_pem.n), *cert = BIO_new_mem_buf(cert_pem.p, (int)cert_pem.n);
	bool ok;

	ca->key = key ? PEM_read_bio_PrivateKey(key, NULL, NULL, NULL) : NULL;
	ca->cert = cert ? PEM_read_bio_X509(cert, NULL, NULL, NULL) : NULL;
	ca->leaf = EVP_EC_gen("P-256");
	BIO_free(key);
	BIO_free(cert);
	ok = ca->key && ca->cert && ca->leaf && X509_check_private_key(ca->cert, ca->key) == 1;
	if (!ok) {
		ssl_err(e, "read " CA_KEY_NAME " and " CA_CERT_NAME);
		ca_free(ca);
		return -1;
	}
	*ret = ca;
	return 0;
}

void ca_free(struct ca *ca)
{
	if (!ca)
		return;
	EVP_PKEY_free(ca->key);
	EVP_PKEY_free(ca->leaf);
	X509_free(ca->cert);
	free(ca);
}

EVP_PKEY *ca_leaf_key(const struct ca *ca)
{
	return ca->leaf;
}
