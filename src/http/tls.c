/* SPDX-License-Identifier: Apache-2.0 */
#include "http/tls.h"
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include "base/clock.h"
#include "base/mem.h"

#define KEEP_US (86400 * 1000000ll) /* far less than a certificate is good for */

struct tls_server {
	SSL_CTX *ctx;
	struct ca *ca;
	X509 *last; /* most clients ask for the same name again, and making one costs as much as a handshake */
	char last_name[256];
	int64_t last_us;
};

struct tls {
	SSL *ssl;
	bool wants_write, broken;
};

/* The client has said which name it wants. */
static int on_name(SSL *ssl, void *arg)
{
	struct tls_server *t = arg;
	const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name), *name = asked ? asked : "";
	int64_t now = clock_now_us();

	if (!t->last || strcmp(name, t->last_name) != 0 || now - t->last_us > KEEP_US) {
		X509_free(t->last);
		t->last = ca_issue(t->ca, name);
		t->last_us = now;
		strlcpy_(t->last_name, name, sizeof(t->last_name));
	}
	return t->last && SSL_use_certificate(ssl, t->last) == 1 && SSL_use_PrivateKey(ssl, ca_leaf_key(t->ca)) == 1;
}

int tls_server_new(struct ca *ca, struct tls_server **ret, struct err *e)
{
	struct tls_server *t = xcalloc(1, sizeof(*t));

	t->ca = ca;
	t->ctx = SSL_CTX_new(TLS_server_method());
	if (!t->ctx || SSL_CTX_set_min_proto_version(t->ctx, TLS1_2_VERSION) != 1) {
		tls_server_free(t);
		ERR_clear_error();
		return err_set(e, ERR_SYS, "OpenSSL gives no TLS 1.2");
	}
	SSL_CTX_set_options(t->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(t->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					 SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(t->ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(t->ctx, 1);
	SSL_CTX_set_cert_cb(t->ctx, on_name, t);
	*ret = t;
	return 0;
}

void tls_server_free(struct tls_server *t)
{
	if (!t)
		return;
	SSL_CTX_free(t->ctx);
	X509_free(t->last);
	ca_free(t->ca);
	free(t);
}

struct tls *tls_new(struct tls_server *s, int fd)
{
	struct tls *t = xcalloc(1, sizeof(*t));

	t->ssl = SSL_new(s->ctx);
	if (!t->ssl || SSL_set_fd(t->ssl, fd) != 1) {
		SSL_free(t->ssl);
		free(t);
		ERR_clear_error();
		return NULL;
	}
	SSL_set_accept_state(t->ssl);
	return t;
}

static int chunk(size_t n)
{
	return n > INT_MAX ? INT_MAX : (int)n;
}

/* What an SSL_ function returned, as a system call would have said it. */
static ssize_t outcome(struct tls *t, int got)
{
	if (got > 0)
		return got;
	switch (SSL_get_error(t->ssl, got)) {
	case SSL_ERROR_WANT_WRITE:
		t->wants_write = true;
		/* fall through */
	case SSL_ERROR_WANT_READ:
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		t->broken = true; /* nothing may be sent on it any more */
		ERR_clear_error();
		errno = EPROTO;
		return -1;
	}
}

ssize_t tls_recv(struct tls *t, void *p, size_t n)
{
	t->wants_write = false;
	ERR_clear_error(); /* of others: SSL_get_error looks at the thread's whole queue */
	return outcome(t, SSL_read(t->ssl, p, chunk(n)));
}

ssize_t tls_peek(struct tls *t, void *p, size_t n)
{
	t->wants_write = false;
	ERR_clear_error();
	return outcome(t, SSL_peek(t->ssl, p, chunk(n)));
}

ssize_t tls_send(struct tls *t, const void *p, size_t n)
{
	ERR_clear_error();
	return outcome(t, SSL_write(t->ssl, p, chunk(n)));
}

size_t tls_pending(const struct tls *t)
{
	return (size_t)SSL_pending(t->ssl);
}

bool tls_shaken(const struct tls *t)
{
	return SSL_is_init_finished(t->ssl);
}

bool tls_wants_write(const struct tls *t)
{
	return t->wants_write;
}

void tls_bye(struct tls *t)
{
	if (!t->broken && SSL_is_init_finished(t->ssl) && SSL_shutdown(t->ssl) < 0)
		ERR_clear_error();
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	SSL_free(t->ssl);
	free(t);
}
