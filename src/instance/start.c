/* SPDX-License-Identifier: Apache-2.0 */
/* tandem-init starts the runtime and its extensions, and tells of their ends. */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "base/rand.h"
#include "instance/env.h"
#include "instance/instance_int.h"

#define LAST_FRAMES_MAX 256 /* the largest answer has 97; a child that lives on might send for ever */

static void process_gone(struct instance *i, bool extension, int wait_status)
{
	if (i->state == INSTANCE_ENDING) {
		if (extension && i->n_leaving && !--i->n_leaving)
			i->ev->exited(i->arg, true, wait_status);
		return;
	}
	/* What the runtime said before it died comes first: an init error, or even an answer. */
	for (int n = 0; n < LAST_FRAMES_MAX && !extension && i->chan_watch && channel_take(i) > 0; n++)
		continue;
	if (i->state == INSTANCE_ENDING)
		return;
	instance_drain_output(i);
	i->ev->exited(i->arg, extension, wait_status);
}

static int ask_start(struct instance *i, const struct init_msg *head, struct str argv, struct err *e)
{
	struct str env = {i->start_text.p + i->argv_bytes, i->start_text.n - i->argv_bytes};
	struct init_msg m = *head;
	struct init_run how = {0};
	struct iovec iov[4] = {{&m, sizeof(m)},
			       {&how, m.verb == INIT_RUN ? sizeof(how) : 0},
			       {(void *)argv.p, argv.n},
			       {(void *)env.p, env.n}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 4};

	m.text_bytes = (uint32_t)(argv.n + env.n);
	if (sendmsg(i->fds.fd[SB_CTL], &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return err_sys(e, errno, "ask tandem-init to start");
	return 0;
}

/* A runtime of the user's own may come as a layer: it is looked for in the code, then there. */
static bool may_be_in_layer(const struct instance *i)
{
	return i->revision->kind >= RUNTIME_PROVIDED && i->revision->layers[0][0];
}

static void start_failed(struct instance *i, bool extension, int error)
{
	static const char in_layer[] = "/opt/bootstrap";
	static const char *const steps[] = {[INIT_STEP_NONE] = "the image",
					    [INIT_STEP_USER] = "the image's user",
					    [INIT_STEP_CWD] = "the working directory",
					    [INIT_STEP_EXEC] = "the entry point"};
	unsigned at = (unsigned)error >> 16;
	const char *what = extension				   ? "an extension"
			   : i->revision->kind == RUNTIME_IMAGE	   ? steps[at < ARRAY_SIZE(steps) ? at : 0]
			   : i->looked_in_layer			   ? "/opt/bootstrap, /var/task/bootstrap"
			   : i->revision->kind >= RUNTIME_PROVIDED ? "/var/task/bootstrap"
								   : "the runtime";
	char line[256], json[400];

	if (i->state != INSTANCE_INIT)
		return;
	if (!extension && error == ENOENT && may_be_in_layer(i) && !i->looked_in_layer) {
		i->looked_in_layer = true;
		if (ask_start(i, &i->start_msg, (struct str){in_layer, sizeof(in_layer)}, NULL) == 0)
			return;
	}
	snprintf(line, sizeof(line), "Error: %s could not be started: %s\n", what, strerror(error & 0xffff));
	i->ev->output(i->arg, -1, str_of(line));
	snprintf(json, sizeof(json), "{\"errorType\":\"%s\",\"errorMessage\":\"%.*s\"}",
		 extension ? "Extension.LaunchError" : "Runtime.InvalidEntrypoint", (int)strlen(line) - 1, line);
	i->ev->init_failed(i->arg, str_of(json));
}

void start_heard(void *arg, int events)
{
	struct instance *i = arg;
	struct init_msg m;
	struct init_snap s;
	struct iovec iov[2] = {{&m, sizeof(m)}, {i->host->scratch, INIT_PAGES_MAX}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
	ssize_t n = recvmsg(i->fds.fd[SB_CTL], &msg, MSG_DONTWAIT | MSG_TRUNC);
	bool snap = n == sizeof(m) + sizeof(s) && (m.verb == INIT_TAKEN || m.verb == INIT_RESTORED);
	bool pages = n > (ssize_t)sizeof(m) && n <= (ssize_t)sizeof(m) + INIT_PAGES_MAX && m.verb == INIT_PAGES;
	struct err e;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) { /* pid 1 is gone: the spawner says the rest */
		loop_fd_free(take_ptr(i->ctl_watch));
		return;
	}
	if ((n != sizeof(m) && !snap && !pages) || m.version != INIT_VERSION) {
		err_set(&e, ERR_CORRUPT, "tandem-init sent a message of %zd bytes", n);
		instance_broken(i, &e);
		return;
	}
	if (snap) {
		memcpy(&s, i->host->scratch, sizeof(s));
		image_heard(i, &m, &s);
	} else if (pages) {
		image_pages(i, (struct str){i->host->scratch, (size_t)n - sizeof(m)});
	} else if (m.verb == INIT_FAILED) {
		if (!i->adopted) {
			start_failed(i, m.tag != INIT_TAG_RUNTIME, m.value);
			return;
		}
		err_sys(&e, m.value, "the runtime was never started, or is gone");
		instance_broken(i, &e);
	} else if (m.verb == INIT_EXITED) {
		process_gone(i, m.tag != INIT_TAG_RUNTIME, m.value);
	}
}

int start_prepare(struct instance *i, const struct instance_opts *o, struct err *e)
{
	struct env_facts facts = {.revision = i->revision,
				  .function = o->function,
				  .account = i->host->account,
				  .region = i->host->region,
				  .log_stream = i->log_stream,
				  .tls = i->host->tls != NULL,
				  .program = o->program,
				  .provisioned = o->provisioned,
				  .image = o->image,
				  .seats = i->n_seats};

	i->start_msg = (struct init_msg){.version = INIT_VERSION,
					 .verb = o->program ? INIT_RUN : INIT_START,
					 .tag = INIT_TAG_RUNTIME,
					 .keep_channel = i->revision->kind < RUNTIME_PROVIDED};
	if (env_runtime(&facts, &i->start_msg, &i->start_text, e) < 0)
		return -1;
	for (uint32_t k = 0; k < i->start_msg.argc + (o->program ? 2 : 0); k++)
		i->argv_bytes += strlen(i->start_text.p + i->argv_bytes) + 1;
	return 0;
}

/* Extensions first: they may want to be there when the runtime initialises (reference 1.7). */
static int start_extensions(struct instance *i, struct err *e)
{
	const char *name = i->extensions.p;

	for (unsigned k = 0; k < i->n_extensions; k++, name += strlen(name) + 1) {
		struct init_msg m = {.version = INIT_VERSION,
				     .verb = INIT_START,
				     .tag = INIT_TAG_RUNTIME + 1 + k,
				     .argc = 1,
				     .envc = i->start_msg.envc};
		char path[300];
		int n = snprintf(path, sizeof(path), "/opt/extensions/%s", name);

		if (n >= (int)sizeof(path))
			return err_set(e, ERR_LIMIT, "name of an extension is too long");
		if (ask_start(i, &m, (struct str){path, (size_t)n + 1}, e) < 0)
			return -1;
	}
	return 0;
}

int instance_start(struct instance *i, struct err *e)
{
	if (!i->start_text.n)
		return err_set(e, ERR_LIMIT, "environment of %s is too large", i->revision->name);
	if (start_extensions(i, e) < 0 ||
	    ask_start(i, &i->start_msg, (struct str){i->start_text.p, i->argv_bytes}, e) < 0)
		return -1;
	if (!may_be_in_layer(i))
		buf_done(&i->start_text);
	return 0;
}

int instance_probe(struct instance *i, struct err *e)
{
	struct init_msg lives = {.version = INIT_VERSION, .verb = INIT_SIGNAL, .tag = INIT_TAG_RUNTIME};
	struct frame f = {FRAME_PING, 0, 0, 0};

	i->frozen = true; /* whether it is: thawing a thawed one is harmless */
	instance_thaw(i);
	/* It may have been assigned and never started, or be gone: then FAILED comes back, and the instance is broken.
	 */
	if (send(i->fds.fd[SB_CTL], &lives, sizeof(lives), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return err_sys(e, errno, "ask tandem-init for the runtime");
	if (i->revision->kind >= RUNTIME_PROVIDED)
		return 0; /* its next comes by itself */
	i->probing = true;
	/* Ours alone: a daemon before may have died while it waited for its own. */
	rand_bytes(&i->stream, sizeof(i->stream));
	i->stream = (i->stream & 0x3fffffff) | 0x80000000;
	f.stream = i->stream;
	channel_put(i, &f, STR_NULL);
	return channel_flush(i, e);
}
