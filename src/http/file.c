/* SPDX-License-Identifier: Apache-2.0 */
#include "http/file.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include "base/mem.h"
#include "http/server_int.h"

#define TURN_BYTES (1 << 20) /* then others on the same thread have theirs */
#define TLS_BYTES  65536

static void step(void *arg);

static void finish(struct http_file *f, bool sent)
{
	loop_defer_cancel(f->l, &f->later); /* what was queued may have left sooner */
	if (f->r) {
		http_on_gone(f->r, NULL, NULL);
		http_on_drained(f->r, NULL, NULL);
	}
	close_p(&f->sock);
	free(take_ptr(f->piece));
	f->done(f, sent);
}

static void gone(void *arg)
{
	struct http_file *f = arg;

	loop_defer_cancel(f->l, &f->later);
	f->r = NULL;
	if (!f->busy)
		finish(f, false);
}

/* On the thread. */
static void send_work(struct loop_work *w)
{
	struct http_file *f = container_of(w, struct http_file, work);
	size_t left = f->n < TURN_BYTES ? (size_t)f->n : TURN_BYTES;
	off_t at = f->at;
	ssize_t put = 1;

	f->got = f->error = 0;
	if (f->piece) {
		put = f->got = pread(f->fd, f->piece, left < TLS_BYTES ? left : TLS_BYTES, at);
	} else {
		for (; left && put > 0; left -= put > 0 ? (size_t)put : 0) {
			put = sendfile(f->sock, f->fd, &at, left);
			f->got += put > 0 ? put : 0;
		}
	}
	f->error = put < 0 ? errno : put == 0 ? EPIPE : 0; /* 0: the end of the file */
}

static void worked(struct loop_work *w)
{
	struct http_file *f = container_of(w, struct http_file, work);
	struct conn *c;

	f->busy = false;
	if (!f->r)
		return finish(f, false);
	c = container_of(f->r, struct conn, req);
	if (f->got > 0) {
		f->at += f->got;
		f->n -= f->got;
		if (f->piece)
			http_stream_write(f->r, (struct str){f->piece, (size_t)f->got});
		else
			c->left -= f->got;
		conn_touch(c);
	}
	if (f->error && f->error != EAGAIN && f->error != EINTR)
		return finish(f, false);
	if (f->error == EAGAIN && c->state != CONN_GONE) {
		c->blocked = true; /* the next step is on_writable's */
		conn_want(c);
		return;
	}
	step(f);
}

static void step(void *arg)
{
	struct http_file *f = arg;
	struct conn *c = container_of(f->r, struct conn, req);

	if (c->state == CONN_GONE || f->busy || (f->n && (c->blocked || http_stream_queued(f->r))))
		return;
	if (!f->n || c->no_body)
		return finish(f, true);
	f->busy = true;
	f->work = (struct loop_work){.work = send_work, .done = worked};
	loop_thread_push(f->thread, &f->work);
}

void http_file_start(struct http_req *r, struct http_file *f)
{
	struct conn *c = container_of(r, struct conn, req);

	f->r = r;
	f->l = c->l;
	f->sock = c->tls || c->state == CONN_GONE ? -1 : fcntl(c->fd, F_DUPFD_CLOEXEC, 3);
	if (f->sock < 0) /* no descriptor is left: it goes by memory */
		f->piece = xmalloc(TLS_BYTES);
	http_on_drained(r, step, f);
	http_on_gone(r, gone, f);
	loop_defer(c->l, &f->later, step, f);
}
