/* SPDX-License-Identifier: Apache-2.0 */
/* Frames to and from an in-house runtime (wire/frame.h). What comes is hostile. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "instance/instance_int.h"

static void got_body(struct instance *i, const struct frame *f, struct str part)
{
	bool end = f->flags & FRAME_FLAG_END, last = f->flags & FRAME_FLAG_LAST;
	struct err e;

	if (i->answer.n + part.n > LIM_PAYLOAD_BYTES + 1024) {
		err_set(&e, ERR_CORRUPT, "runtime sent an answer of more than %d bytes", LIM_PAYLOAD_BYTES);
		instance_broken(i, &e);
		return;
	}
	if (!end || i->answer.n)
		buf_addstr(&i->answer, part);
	if (!end)
		return;
	if (i->probing) {
		buf_clear(&i->answer); /* of an event of the daemon before: its client is gone, but it happened */
		i->late = f->type;
		return;
	}
	if (i->out.n) { /* what it leaves unread would grow with every event */
		err_set(&e, ERR_CORRUPT, "runtime answered an event that it had not read");
		instance_broken(i, &e);
		return;
	}
	if (i->answer.n) {
		struct buf whole = i->answer;

		i->answer = (struct buf){0};
		instance_tell_answer(i, buf_str(&whole), f->type == FRAME_ERROR, last);
		buf_done(&whole);
	} else {
		instance_tell_answer(i, part, f->type == FRAME_ERROR, last);
	}
}

static void got_frame(struct instance *i, const struct frame *f, struct str part)
{
	struct err e;

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
		i->probing = false;
		buf_clear(&i->answer);
		if (i->late && part.n)
			i->ev->late(i->arg, part, i->late == FRAME_ERROR);
		instance_become_ready(i);
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
		if (i->probing || (i->state == INSTANCE_BUSY && f->stream == i->stream)) {
			got_body(i, f, part);
			return;
		}
		break;
	}
	err_set(&e, ERR_CORRUPT, "runtime sent frame type %u for stream %u while %s", f->type, f->stream,
		instance_state_name[i->state]);
	instance_broken(i, &e);
}

/*
 * Takes whole frames only: what is peeked but not whole stays in the socket, so that the successor of a killed daemon
 * starts at a boundary (wire/frame.h). Returns bytes consumed, 0 for none, -1 when the instance broke or is gone.
 */
ssize_t channel_take(struct instance *i)
{
	char *p = i->host->scratch;
	ssize_t n = recv(i->fds.fd[SB_CHAN], p, INSTANCE_SCRATCH, MSG_PEEK | MSG_DONTWAIT);
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
	if ((size_t)n - FRAME_HEADER < f.length)
		return 0;
	if (recv(i->fds.fd[SB_CHAN], p, FRAME_HEADER + f.length, MSG_DONTWAIT) != (ssize_t)(FRAME_HEADER + f.length)) {
		err_sys(&e, errno, "read frame");
		instance_broken(i, &e);
		return -1;
	}
	got_frame(i, &f, (struct str){p + FRAME_HEADER, f.length});
	return (ssize_t)(FRAME_HEADER + f.length) < n ? n : 0;
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
		loop_fd_want(i->chan_watch, i->out.n ? LOOP_READ | LOOP_WRITE : LOOP_READ);
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

int channel_event(struct instance *i, const struct instance_event *ev, struct err *e)
{
	uint64_t deadline = (uint64_t)ev->deadline_wall_ms;
	struct frame f = {FRAME_EVENT, 0, ++i->stream, 0};
	auto_buf head = {0}; /* header, then what the frame says before the payload */
	size_t fixed, first;
	ssize_t n;

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
	queue_data(i, (struct str){ev->payload.p + first, ev->payload.n - first});
	return i->out.n ? channel_flush(i, e) : 0;
}
