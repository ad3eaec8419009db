/* SPDX-License-Identifier: Apache-2.0 */
/* The server's TLS with OpenSSL's own client in the same loop, over a socket that takes little at a time. */
#include "http/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/limits.h"
#include "http/server.h"
#include "tests/test.h"

#define BIG 400000

struct side {
	struct loop *l;
	struct http_server *s;
	struct http_listener *hl;
	struct tls_server *tls;
	int listener, fd, dir;
	char path[32];
	SSL_CTX *ctx;
	SSL *ssl;
	struct loop_fd *w;
	struct buf got;
	struct str out;
	struct http_req *held;
	bool eof, gone, late;
};

static void echo(void *arg, struct http_req *r)
{
	http_reply(r, &(struct http_reply){.status = 200, .content_type = "text/plain", .body = r->body});
}

static void on_gone(void *arg)
{
	struct side *x = arg;

	x->gone = true;
	loop_stop(x->l);
}

static void hold(void *arg, struct http_req *r)
{
	struct side *x = arg;

	x->held = r;
	http_on_gone(r, on_gone, x);
	loop_stop(x->l);
}

static void authority(struct side *x)
{
	auto_buf key = {0}, cert = {0};
	struct ca *ca;
	struct err e;

	strlcpy_(x->path, "/tmp/tandem-tls-XXXXXX", sizeof(x->path));
	CHECK(mkdtemp(x->path));
	x->dir = open(x->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(ca_ensure(x->dir, getuid(), &e) == 0);
	CHECK(io_read_file(x->dir, CA_KEY_NAME, CA_FILE_BYTES, &key, &e) == 0);
	CHECK(io_read_file(x->dir, CA_CERT_NAME, CA_FILE_BYTES, &cert, &e) == 0);
	CHECK(ca_open(buf_str(&key), buf_str(&cert), &ca, &e) == 0);
	CHECK(tls_server_new(ca, &x->tls, &e) == 0);
}

static void side_open(struct side *x, http_handler *h, int64_t idle_us)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	char file[64];

	*x = (struct side){.l = loop_new(), .fd = -1};
	signal(SIGPIPE, SIG_IGN);
	authority(x);
	x->s = http_server_new(x->l);
	x->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(!bind(x->listener, (struct sockaddr *)&a, sizeof(a)) && !listen(x->listener, 512));
	x->hl = http_listen(
		x->s, x->listener,
		&(struct http_listener_opts){
			.body_max = 4 * BIG, .idle_us = idle_us, .handler = h, .arg = x, .guest = true, .tls = x->tls});
	x->ctx = SSL_CTX_new(TLS_client_method());
	snprintf(file, sizeof(file), "%s/" CA_CERT_NAME, x->path);
	CHECK(SSL_CTX_load_verify_file(x->ctx, file) == 1);
	SSL_CTX_set_verify(x->ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_mode(x->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

static void dial(struct side *x, int buffer)
{
	struct sockaddr_storage a;
	socklen_t n = sizeof(a);

	CHECK(!getsockname(x->listener, (struct sockaddr *)&a, &n));
	x->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (buffer)
		CHECK(!setsockopt(x->fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer)));
	CHECK(!connect(x->fd, (struct sockaddr *)&a, n));
	io_set_nonblock(x->fd);
}

static void hang_up(struct side *x)
{
	loop_fd_free(take_ptr(x->w));
	SSL_free(take_ptr(x->ssl));
	if (x->fd >= 0)
		close(take_fd(x->fd));
}

static void side_close(struct side *x)
{
	struct err e;

	hang_up(x);
	http_server_free(x->s);
	close(x->listener);
	loop_free(x->l);
	tls_server_free(x->tls);
	SSL_CTX_free(x->ctx);
	buf_done(&x->got);
	close(x->dir);
	CHECK(io_rm_tree(AT_FDCWD, x->path, &e) == 0);
}

/* Sends what there is to send, takes what there is to take. */
static void pump(void *arg, int events)
{
	struct side *x = arg;
	char part[5000];
	int n;

	while (x->out.n && (n = SSL_write(x->ssl, x->out.p, (int)x->out.n)) > 0)
		x->out.p += n, x->out.n -= (size_t)n;
	while ((n = SSL_read(x->ssl, part, sizeof(part))) > 0)
		buf_add(&x->got, part, (size_t)n);
	x->eof = n <= 0 && SSL_get_error(x->ssl, n) != SSL_ERROR_WANT_READ &&
		 SSL_get_error(x->ssl, n) != SSL_ERROR_WANT_WRITE;
	loop_fd_want(x->w, x->eof ? 0 : x->out.n ? LOOP_READ | LOOP_WRITE : LOOP_READ);
	if (x->eof || (x->got.n && strstr(x->got.p, "THE END")))
		loop_stop(x->l);
}

static void guard(void *arg)
{
	struct side *x = arg;

	x->late = true;
	loop_stop(x->l);
}

static void run(struct side *x)
{
	struct loop_timer *t = loop_timer_new(x->l, guard, x);

	loop_timer_in(t, 10000000);
	loop_run(x->l);
	CHECK(!x->late);
	loop_timer_free(t);
}

static void shake(struct side *x, const char *name, struct str say)
{
	x->ssl = SSL_new(x->ctx);
	SSL_set_fd(x->ssl, x->fd);
	SSL_set_tlsext_host_name(x->ssl, name);
	SSL_set1_host(x->ssl, name);
	SSL_set_connect_state(x->ssl);
	x->out = say;
	x->w = loop_fd_new(x->l, x->fd, LOOP_READ | LOOP_WRITE, pump, x);
	run(x);
}

TEST(names)
{
	static const struct {
		const char *name;
		bool good;
	} t[] = {
		{"lambda.us-east-1.amazonaws.com", true},
		{"sts.amazonaws.com", true},
		{"amazonaws.com", true},
		{"a-b_c.d.e.f.amazonaws.com", true},
		{"example.com", false},
		{"xamazonaws.com", false},
		{"amazonaws.com.x", false},
		{"a,DNS:example.com.amazonaws.com", false},
	};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		struct side x;

		side_open(&x, echo, 0);
		dial(&x, 0);
		shake(&x, t[k].name,
		      STR("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 7\r\n\r\nTHE END"));
		CHECK((x.got.n > 0) == t[k].good);
		CHECK((SSL_get_verify_result(x.ssl) == X509_V_OK) == t[k].good);
		side_close(&x);
	}
}

/* The client's window is small, so that most writes of the server have to wait in the middle of a record. */
TEST(bodies_of_many_records)
{
	auto_buf say = {0};
	struct side x;

	side_open(&x, echo, 0);
	for (int k = 0; k < 3; k++) { /* pipelined: two wait in decrypted bytes that no socket reports */
		buf_addf(&say, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", BIG);
		for (int n = 0; n < BIG; n++)
			buf_addc(&say, (char)('a' + (n * 7 + n / 1000 + k) % 26));
	}
	buf_adds(&say, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\nTHE END");
	dial(&x, 4096);
	shake(&x, "s3.amazonaws.com", buf_str(&say));
	const char *p = x.got.p;

	for (int k = 0; k < 3; k++) {
		const char *body = p ? strstr(p, "\r\n\r\n") : NULL;

		CHECK(body && x.got.n - (size_t)(body - x.got.p) > BIG);
		for (int n = 0; body && n < BIG; n++)
			if (body[4 + n] != (char)('a' + (n * 7 + n / 1000 + k) % 26)) {
				CHECK(!"the same bytes");
				break;
			}
		p = body ? body + 4 + BIG : NULL;
	}
	side_close(&x);
}

TEST(a_client_that_says_goodbye_is_gone)
{
	struct side x;

	side_open(&x, hold, 0);
	dial(&x, 0);
	shake(&x, "s3.amazonaws.com", STR("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
	CHECK(x.held);
	SSL_shutdown(x.ssl); /* the socket itself stays open */
	if (!x.gone)
		run(&x);
	CHECK(x.gone);
	side_close(&x);
}

static void on_raw(void *arg, int events)
{
	struct side *x = arg;
	char part[4096];
	ssize_t n = recv(x->fd, part, sizeof(part), 0);

	x->eof = !n || (n < 0 && errno != EAGAIN);
	if (x->eof)
		loop_stop(x->l);
}

/* Whoever begins a handshake and does not go on, or says something else altogether, is hung up on. */
TEST(handshakes_that_are_none)
{
	static const struct str t[] = {{"", 0},
				       {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11},
				       {"GET / HTTP/1.1\r\n\r\n", 18},
				       {"\x16\x03\x01\xff\xff", 5},
				       {"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10", 11},
				       {"\x15\x03\x01\x00\x02\x02\x28", 7}};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		struct side x;

		side_open(&x, echo, 300000);
		dial(&x, 0);
		CHECK(send(x.fd, t[k].p, t[k].n, 0) == (ssize_t)t[k].n);
		x.w = loop_fd_new(x.l, x.fd, LOOP_READ, on_raw, &x);
		run(&x);
		CHECK(x.eof);
		CHECK(http_server_conns(x.s) == 0);
		side_close(&x);
	}
}

TEST(the_authority_stays_and_is_checked)
{
	auto_buf key = {0}, cert = {0}, again = {0};
	struct ca *ca = NULL;
	struct side x;
	struct stat st;
	struct err e;

	side_open(&x, echo, 0);
	CHECK(!fstatat(x.dir, CA_KEY_NAME, &st, 0) && (st.st_mode & 0777) == 0600);
	CHECK(io_read_file(x.dir, CA_CERT_NAME, CA_FILE_BYTES, &cert, &e) == 0);
	CHECK(ca_ensure(x.dir, getuid(), &e) == 0);
	CHECK(io_read_file(x.dir, CA_CERT_NAME, CA_FILE_BYTES, &again, &e) == 0);
	CHECK_STR(cert.p, again.p);
	CHECK(!unlinkat(x.dir, CA_KEY_NAME, 0)); /* half of it is none */
	CHECK(ca_ensure(x.dir, getuid(), &e) == 0);
	CHECK(io_read_file(x.dir, CA_KEY_NAME, CA_FILE_BYTES, &key, &e) == 0);
	CHECK(ca_open(buf_str(&key), buf_str(&cert), &ca, &e) < 0); /* the old certificate, the new key */
	CHECK(ca_open(STR("rubbish"), buf_str(&cert), &ca, &e) < 0);
	side_close(&x);
}

/* helper/spawner/etc.c links to the certificate by this. */
TEST(the_hash_of_its_name)
{
	auto_buf cert = {0};
	struct side x;
	struct err e;
	BIO *b;
	X509 *c;

	side_open(&x, echo, 0);
	CHECK(io_read_file(x.dir, CA_CERT_NAME, CA_FILE_BYTES, &cert, &e) == 0);
	b = BIO_new_mem_buf(cert.p, (int)cert.n);
	c = PEM_read_bio_X509(b, NULL, NULL, NULL);
	CHECK(X509_NAME_hash_ex(X509_get_subject_name(c), NULL, NULL, NULL) == 0x0df9f99a);
	X509_free(c);
	BIO_free(b);
	side_close(&x);
}

/* Nobody's connections but its own suffer from what a guest holds. */
TEST(a_guest_holds_what_it_may)
{
	int fds[LIM_HTTP_GUEST_CONNS + 40];
	struct http_listener *plain;
	struct side x;

	side_open(&x, echo, 0);
	http_listener_free(x.hl);
	plain = http_listen(x.s, x.listener,
			    &(struct http_listener_opts){.body_max = 64, .handler = echo, .guest = true});
	for (size_t k = 0; k < ARRAY_SIZE(fds); k++) {
		dial(&x, 0);
		fds[k] = take_fd(x.fd);
	}
	for (int k = 0; k < 20; k++) {
		struct loop_timer *t = loop_timer_new(x.l, guard, &x);

		loop_timer_in(t, 1);
		loop_run(x.l);
		loop_timer_free(t);
	}
	CHECK(http_server_conns(x.s) == LIM_HTTP_GUEST_CONNS);
	x.late = false;
	for (int k = 0; k < 100; k++)
		close(fds[k]);
	x.fd = fds[ARRAY_SIZE(fds) - 1]; /* it waited; now there is room */
	x.w = loop_fd_new(x.l, x.fd, LOOP_READ, on_raw, &x);
	CHECK(send(x.fd, "GET / HTTP/1.0\r\n\r\n", 18, 0) == 18);
	run(&x);
	CHECK(x.eof);
	for (size_t k = 100; k < ARRAY_SIZE(fds) - 1; k++)
		close(fds[k]);
	http_listener_free(plain);
	side_close(&x);
}
