/* SPDX-License-Identifier: Apache-2.0 */
/* Files into answers: of every length and place, to a client that takes little, to one that leaves, from a file that is too short. */
#include "http/file.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "tests/http/fixture.h"

#define BYTES (3 << 20)

struct sender {
	struct side x;
	struct loop_thread *thread;
	struct http_file f;
	int fd;
	int64_t at, n, promised;
	int over;
	bool sent;
};

static void over(struct http_file *f, bool sent)
{
	struct sender *s = container_of(f, struct sender, f);

	s->over++;
	s->sent = sent;
	if (f->r)
		http_stream_end(f->r);
	loop_stop(s->x.l);
}

static void give(void *arg, struct http_req *r)
{
	struct sender *s = container_of((struct side *)arg, struct sender, x);

	http_stream_begin_sized(r, 200, NULL, STR_NULL, s->promised);
	s->f = (struct http_file){.done = over, .thread = s->thread, .fd = s->fd, .at = s->at, .n = s->n};
	http_file_start(r, &s->f);
	loop_stop(s->x.l);
}

static void sender_open(struct sender *s)
{
	uint8_t *p;

	*s = (struct sender){0};
	side_open(&s->x, give, 1000);
	s->thread = loop_thread_new(s->x.l, "sender");
	s->fd = memfd_create("bytes", MFD_CLOEXEC);
	CHECK(ftruncate(s->fd, BYTES) == 0);
	p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);
	for (size_t i = 0; i < BYTES; i++)
		p[i] = (uint8_t)(i * 13 + i / 257);
	munmap(p, BYTES);
}

static void sender_close(struct sender *s)
{
	hang_up(&s->x);
	buf_done(&s->x.got);
	http_server_free(s->x.s);
	close(s->x.listener);
	loop_thread_free(s->thread);
	close(s->fd);
	loop_free(s->x.l);
}

/* What the client gets beside the head; it is looked at by whoever asks. */
static struct str ask(struct sender *s, int64_t at, int64_t n, int64_t promised)
{
	struct str body;
	const char *end;

	s->at = at;
	s->n = n;
	s->promised = promised;
	s->over = 0;
	dial(&s->x);
	say(&s->x, STR("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
	while (!s->x.eof)
		loop_run(s->x.l);
	CHECK(s->over == 1);
	end = s->x.got.n ? strstr(s->x.got.p, "\r\n\r\n") : NULL;
	body = end ? (struct str){end + 4, s->x.got.n - (size_t)(end + 4 - s->x.got.p)} : STR_NULL;
	return body;
}

TEST(every_length)
{
	static const int64_t lengths[] = {0, 1, 4096, 65536, 1 << 20, (1 << 20) + 1, BYTES - 7};
	auto_free char *want = xmalloc(BYTES);
	struct sender s;

	sender_open(&s);
	CHECK(pread(s.fd, want, BYTES, 0) == BYTES);
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++)
		for (int64_t at = 0; at < 8; at += 7) {
			struct str got = ask(&s, at, lengths[i], lengths[i]);

			CHECK(s.sent && got.n == (size_t)lengths[i] && (!got.n || !memcmp(got.p, want + at, got.n)));
		}
	sender_close(&s);
}

/* A file that is shorter than was said cuts the answer. */
TEST(too_short)
{
	struct sender s;
	struct str got;

	sender_open(&s);
	got = ask(&s, BYTES - 1000, 5000, 5000);
	CHECK(!s.sent && got.n == 1000);
	sender_close(&s);
}

TEST(the_client_leaves)
{
	struct sender s;

	sender_open(&s);
	s.n = s.promised = BYTES;
	dial(&s.x);
	loop_fd_want(s.x.w, 0); /* takes nothing */
	say(&s.x, STR("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
	while (!s.f.r)
		loop_run(s.x.l);
	hang_up(&s.x);
	while (!s.over)
		loop_run(s.x.l);
	CHECK(s.over == 1 && !s.sent);
	sender_close(&s);
}
