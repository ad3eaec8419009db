/* SPDX-License-Identifier: Apache-2.0 */
/* Frames to and from an in-house runtime (wire/frame.h). What comes is hostile. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "instance/instance_int.h"

static void got_body(struct instance *i, struct seat *s, const struct frame *f, struct str part)
{
	bool end = f->flags & FRAME_FLAG_END, last = f->flags & FRAME_FLAG_LAST && instance_seats(i) == 1;
	struct err e;

	if (f->type == FRAME_ERROR && i->state == INSTANCE_BUSY)
		buf_clear(&s->answer); /* what there was of an answer before */
	if (f->flags & FRAME_FLAG_STREAM) {
		if (!i->probing) /* what began with the daemon before has nobody who reads it */
			instance_take_piece(i, s, part);
		part = STR_NULL;
		if (!end)
			return;
	}
	if (s->answer.n + part.n > LIM_PAYLOAD_BYTES + 1024) {
		err_set(&e, ERR_CORRUPT, "runtime sent an answer of more than %d bytes", LIM_PAYLOAD_BYTES);
		instance_broken(i, &e);
		return;
	}
	if (!end || s->answer.n)
		buf_addstr(&s->answer, part);
	if (!end)
		return;
	if (i->probing) { /* of an event of the daemon before: its client is gone, but it happened */
		if (!s->answer.n)
			buf_addstr(&s->answer, part);
		s->late = f->type;
		return;
	}
	if (i->queued - i->out.n < s->queued) { /* what it leaves unread would grow with every event */
		err_set(&e, ERR_CORRUPT, "runtime answered an event that it had not read");
		instance_broken(i, &e);
		return;
	}
	if (s->answer.n) {
		struct buf whole = s->answer;

		s->answer = (struct buf){0};
		instance_tell_answer(i, s, buf_str(&whole), f->type == FRAME_ERROR, last);
		buf_done(&whole);
	} else {
		instance_tell_answer(i, s, part, f->type == FRAME_ERROR, last);
	}
}

/* Probing: an answer takes the place that it needs, of an event that we know nothing of. */
static struct seat *seat_of(struct instance *i, uint32_t stream)
{
	struct seat *unused = NULL;

	for (struct seat *s = i->seat; s < i->seat + i->n_seats; s++) {
		if (s->open && s->stream == stream)
			return s;
		if (!s->open && !unused)
			unused = s;
	}
	if (!i->probing || !unused)
		return NULL;
	unused->open = true;
	unused->stream = stream;
	return unused;
}

/* The request id that belongs to a stream, in what PING was answered with. */
static struct str id_of(struct str list, uint32_t stream)
{
	struct str line, number, id;
	int64_t n;

	while (str_next(&list, '\n', &line)) {
		if (str_cut(line, ' ', &number, &id) && str_to_i64(number, 0, UINT32_MAX, &n) == 0 && n == stream)
			return id;
	}
	return STR_NULL;
}

/* It is at a boundary. */
static void probed(struct instance *i, struct str ids)
{
	i->probing = false;
	for (struct seat *s = i->seat; s < i->seat + i->n_seats; s++) {
		struct str id = i->n_seats == 1 || i->alone ? ids : id_of(ids, s->stream);

		if (s->late && id.n)
			i->ev->late(i->arg, id, s->late == FRAME_ERROR, buf_str(&s->answer));
		buf_clear(&s->answer);
		s->late = 0;
		s->open = false;
	}
	instance_become_ready(i);
}

static void got_frame(struct instance *i, const struct frame *f, struct str part)
{
	struct seat *s;
	struct err e;

	if (i->state == INSTANCE_INIT && f->type != FRAME_DATA && f->flags & FRAME_FLAG_STREAM)
		i->alone = true; /* later it would change what the owner counts with */
	switch (f->type) {
	case FRAME_HELLO:
		if (i->state != INSTANCE_INIT || i->restoring)
			break;
		if (i->probing)
			return; /* the daemon before did not live to see it; PING's answer comes next */
		if (i->rtapi)
			rtapi_runtime_done(i->rtapi); /* its ready() comes when the extensions are there too */
		else
			instance_become_ready(i);
		return;
	case FRAME_PING:
		if (!i->probing)
			break;
		if (f->stream != i->stream)
			return; /* what the daemon before did not live to see */
		probed(i, part);
		return;
	case FRAME_LOG:
		s = i->probing ? NULL : seat_of(i, f->stream);
		i->ev->output(i->arg, s ? (int)(s - i->seat) : -1, part);
		return;
	case FRAME_SNAPSHOT:
		if (i->state != INSTANCE_TAKING || i->image < 0)
			break;
		image_ask(i);
		return;
	case FRAME_RESTORED:
		if (!i->restoring)
			break;
		i->restoring = false;
		instance_become_ready(i);
		return;
	case FRAME_ERROR:
		if (i->state == INSTANCE_TAKING) {
			image_not_taken(i, "a hook failed: %.*s", (int)part.n, part.p);
			return;
		}
		if (i->state == INSTANCE_INIT && f->stream == 0 && !i->probing) {
			instance_drain_output(i);
			i->ev->init_failed(i->arg, part);
			return;
		}
		/* fallthrough */
	case FRAME_DATA:
		if ((i->probing || i->state == INSTANCE_BUSY) && (s = seat_of(i, f->stream))) {
			got_body(i, s, f, part);
			return;
		}
		break;
	}
	err_set(&e, ERR_CORRUPT, "runtime sent frame type %u for stream %u while %s", f->type, f->stream,
		instance_state_name[i->state]);
	instance_broken(i, &e);
}

/* What is taken of p at once: a frame, or all the LOG frames that it begins with, which can be small and many. */
static size_t whole(const char *p, size_t n)
{
	struct frame f = {.type = FRAME_LOG};
	size_t at = 0;

	while (f.type == FRAME_LOG && n - at >= FRAME_HEADER && frame_get((const uint8_t *)p + at, &f, NULL) == 0 &&
	       n - at - FRAME_HEADER >= f.length && (!at || f.type == FRAME_LOG))
		at += FRAME_HEADER + f.length;
	return at;
}

/*
 * Takes whole frames only: what is peeked but not whole stays in the socket, so that the successor of a killed daemon
 * starts at a boundary (wire/frame.h). Returns bytes consumed, 0 for none, -1 when the instance broke or is gone.
 */
ssize_t channel_take(struct instance *i)
{
	char *p = i->host->scratch;
	ssize_t n = recv(i->fds.fd[SB_CHAN], p, INSTANCE_SCRATCH, MSG_PEEK | MSG_DONTWAIT);
	size_t at, all;
	struct frame f;
	struct err e;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		loop_fd_free(take_ptr(i->chan_watch)); /* the exit itself is told by tandem-init */
		return -1;
	}
	if (n < FRAME_HEADER)
		return 0;
	if (frame_get((const uint8_t *)p, &f, &e) < 0) {
		instance_broken(i, &e);
		return -1;
	}
	all = whole(p, (size_t)n);
	if (!all)
		return 0;
	if (recv(i->fds.fd[SB_CHAN], p, all, MSG_DONTWAIT) != (ssize_t)all) {
		err_sys(&e, errno, "read frame");
		instance_broken(i, &e);
		return -1;
	}
	for (at = 0; at < all; at += FRAME_HEADER + f.length) { /* with several, none can free the instance */
		frame_get((const uint8_t *)p + at, &f, NULL);
		got_frame(i, &f, (struct str){p + at + FRAME_HEADER, f.length});
	}
	return (ssize_t)all < n ? n : 0;
}

int channel_flush(struct instance *i, struct err *e)
{
	while (i->out.n) {
		ssize_t n = send(i->fds.fd[SB_CHAN], i->out.p, i->out.n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return err_sys(e, errno, "send event");
		buf_drop(&i->out, (size_t)n);
	}
	if (i->chan_watch)
		loop_fd_want(i->chan_watch, (i->held ? 0 : LOOP_READ) | (i->out.n ? LOOP_WRITE : 0));
	return 0;
}

void channel_ready(void *arg, int events)
{
	struct instance *i = arg;
	struct err e;

	if (events & LOOP_WRITE && channel_flush(i, &e) < 0) {
		instance_broken(i, &e);
		return;
	}
	if (events & LOOP_READ)
		channel_take(i); /* one frame a turn; the watch is level-triggered. It may have freed the instance. */
}

void channel_put(struct instance *i, const struct frame *f, struct str body)
{
	uint8_t head[FRAME_HEADER];

	frame_put(head, f);
	i->queued += sizeof(head) + body.n;
	buf_add(&i->out, head, sizeof(head));
	buf_addstr(&i->out, body);
}

static void put_u16str(struct buf *b, struct str s)
{
	uint16_t n = (uint16_t)s.n;

	buf_add(b, &n, 2);
	buf_addstr(b, s);
}

/* The rest of a payload that does not fit into the EVENT frame. */
static void queue_data(struct instance *i, struct str rest)
{
	while (rest.n) {
		size_t n = rest.n < FRAME_MAX ? rest.n : FRAME_MAX;
		struct frame f = {FRAME_DATA, n == rest.n ? FRAME_FLAG_END : 0, i->stream, (uint32_t)n};

		channel_put(i, &f, (struct str){rest.p, n});
		rest.p += n;
		rest.n -= n;
	}
}

int channel_event(struct instance *i, struct seat *s, const struct instance_event *ev, struct err *e)
{
	uint64_t deadline = (uint64_t)ev->deadline_wall_ms;
	struct frame f = {FRAME_EVENT, 0, ++i->stream, 0};
	auto_buf head = {0}; /* header, then what the frame says before the payload */
	size_t fixed, first;
	ssize_t n = 0;

	fixed = FRAME_HEADER + 8 + 5 * 2 + strlen(ev->request_id) + strlen(ev->function_arn) + strlen(ev->trace_id) +
		ev->client_context.n;
	if (fixed > FRAME_MAX / 2)
		return err_set(e, ERR_LIMIT, "client context of %zu bytes is too large", ev->client_context.n);
	buf_reserve(&head, fixed);
	head.n = FRAME_HEADER;
	buf_add(&head, &deadline, 8);
	put_u16str(&head, str_of(ev->request_id));
	put_u16str(&head, str_of(ev->function_arn));
	put_u16str(&head, str_of(ev->trace_id));
	put_u16str(&head, ev->client_context);
	put_u16str(&head, STR_NULL);
	first = FRAME_MAX - (head.n - FRAME_HEADER);
	if (first > ev->payload.n)
		first = ev->payload.n;
	f.length = (uint32_t)(head.n - FRAME_HEADER + first);
	f.flags = first == ev->payload.n ? FRAME_FLAG_END : 0;
	frame_put((uint8_t *)head.p, &f);

	struct iovec iov[2] = {{head.p, head.n}, {(void *)ev->payload.p, first}};
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};

	if (!i->out.n) /* else it comes after what another one has not read yet */
		n = sendmsg(i->fds.fd[SB_CHAN], &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return err_sys(e, errno, "send event");
	if (n < 0)
		n = 0;
	if ((size_t)n < head.n) {
		buf_add(&i->out, head.p + n, head.n - (size_t)n);
		n = (ssize_t)head.n;
	}
	if ((size_t)n - head.n < first)
		buf_add(&i->out, ev->payload.p + ((size_t)n - head.n), first - ((size_t)n - head.n));
	i->queued += head.n + first;
	queue_data(i, (struct str){ev->payload.p + first, ev->payload.n - first});
	s->stream = i->stream;
	s->queued = i->queued;
	return i->out.n ? channel_flush(i, e) : 0;
}
