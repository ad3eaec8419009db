/* SPDX-License-Identifier: Apache-2.0 */
/* An image of the runtime's process is taken, or a runtime begins from one (docs/snapshots.md). */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include "instance/instance_int.h"
#include "wire/fds.h"

static void tell_taken(struct instance *i, const struct init_snap *s)
{
	if (i->state != INSTANCE_TAKING)
		return;
	if (i->image >= 0)
		close(i->image);
	i->image = -1;
	instance_drain_output(i);
	i->ev->taken(i->arg, s);
}

/* A terminal may show it one day. */
static void make_printable(char *text, size_t n)
{
	text[n - 1] = 0;
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			*text = '?';
}

void image_not_taken(struct instance *i, const char *fmt, ...)
{
	struct init_snap s = {0};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s.text, sizeof(s.text), fmt, ap);
	va_end(ap);
	make_printable(s.text, sizeof(s.text)); /* a hook's error is the function's own text, cut anywhere */
	tell_taken(i, &s);
}

/* The runtime has done what it wants to do before, and waits at the safe point. */
void image_ask(struct instance *i)
{
	struct {
		struct init_msg m;
		struct init_take t;
	} msg = {.m = {.version = INIT_VERSION, .verb = INIT_TAKE, .tag = INIT_TAG_RUNTIME},
		 .t = {.max_bytes = i->image_max_bytes, .deadline_ms = i->take_ms, .as_is = i->as_is}};
	int fd = take_fd(i->image);

	if (fds_send(i->fds.fd[SB_CTL], &msg, sizeof(msg), &fd, 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		image_not_taken(i, "tandem-init could not be asked: %s", strerror(errno));
	close(fd);
}

int instance_take(struct instance *i, int file, uint64_t max_bytes, uint32_t deadline_ms, bool as_is, struct err *e)
{
	struct frame f = {FRAME_SNAPSHOT, FRAME_FLAG_END, 0, 0};

	i->image = fcntl(file, F_DUPFD_CLOEXEC, 3);
	if (i->image < 0)
		return err_sys(e, errno, "keep the image's file");
	i->image_max_bytes = max_bytes;
	i->take_ms = deadline_ms;
	i->as_is = as_is;
	i->state = INSTANCE_TAKING;
	channel_put(i, &f, STR_NULL);
	return channel_flush(i, e);
}

int instance_order(const struct sandbox_fds *fds, int image, struct err *e)
{
	struct init_msg m = {.version = INIT_VERSION,
			     .verb = INIT_RESTORE,
			     .tag = INIT_TAG_RUNTIME,
			     .value = INIT_RESTORE_WAITS,
			     .keep_channel = true};

	if (fds_send(fds->fd[SB_CTL], &m, sizeof(m), &image, 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return err_sys(e, errno, "ask tandem-init to restore");
	return 0;
}

/* The frame is what the process waits for before it runs, and the first that it reads. */
int instance_restore(struct instance *i, struct err *e)
{
	struct str env = {i->start_text.p + i->argv_bytes, i->start_text.n - i->argv_bytes};
	struct frame f = {FRAME_RESTORED, FRAME_FLAG_END, 0, (uint32_t)env.n};

	if (!i->start_text.n)
		return err_set(e, ERR_LIMIT, "environment of %s is too large", i->revision->name);
	channel_put(i, &f, env);
	buf_done(&i->start_text);
	return channel_flush(i, e);
}

void image_heard(struct instance *i, const struct init_msg *m, struct init_snap *s)
{
	make_printable(s->text, sizeof(s->text));
	if (m->verb == INIT_TAKEN && m->value)
		image_not_taken(i, "%s", s->text);
	else if (m->verb == INIT_TAKEN)
		tell_taken(i, s);
	else if (m->value > 0)
		i->unlisted = true; /* also after the process itself has said that it is there */
	else if (i->restoring && i->state == INSTANCE_INIT)
		i->ev->not_restored(i->arg, s->text);
}

bool instance_ask_pages(struct instance *i)
{
	struct init_msg m = {.version = INIT_VERSION, .verb = INIT_PAGES, .tag = INIT_TAG_RUNTIME};

	if (!i->unlisted)
		return false;
	i->unlisted = false;
	i->pages_asked = send(i->fds.fd[SB_CTL], &m, sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(m);
	return i->pages_asked;
}

void image_pages(struct instance *i, struct str list)
{
	if (!i->pages_asked)
		return;
	i->pages_asked = false;
	i->ev->pages(i->arg, list);
}
