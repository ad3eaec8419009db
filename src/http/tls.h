/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS for listeners of http/server.h, 1.2 and later, on non-blocking sockets. A client is hostile: there is no
 * renegotiation and no compression, the server (conn.c) gives a handshake ten seconds, and no state is kept for clients
 * that left (session tickets are encrypted and theirs).
 */
#pragma once
#include "http/ca.h"

struct tls_server;
/* Answers with a certificate for whatever name below CA_DOMAIN a client asks for. Takes ca over, on failure too. */
int tls_server_new(struct ca *ca, struct tls_server **ret, struct err *e);
void tls_server_free(struct tls_server *t);

/* For conn.c. The calls below are recv(2) and send(2) with their errno; a call that has to wait says EAGAIN. */
struct tls;
struct tls *tls_new(struct tls_server *t, int fd); /* fd is borrowed; NULL: no memory */
ssize_t tls_recv(struct tls *t, void *p, size_t n);
ssize_t tls_peek(struct tls *t, void *p, size_t n);
ssize_t tls_send(struct tls *t, const void *p, size_t n); /* after EAGAIN: the same bytes again, maybe more of them */
size_t tls_pending(const struct tls *t);		  /* bytes that tls_recv gives without looking at the socket */
bool tls_shaken(const struct tls *t);			  /* the handshake is over */
bool tls_wants_write(const struct tls *t);		  /* tls_recv waits until the socket can be written */
void tls_bye(struct tls *t);				  /* tells the client that no more will come */
void tls_free(struct tls *t);
