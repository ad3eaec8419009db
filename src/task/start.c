/* SPDX-License-Identifier: Apache-2.0 */
/* How a task begins: its sandbox, its program; and how one that runs already is taken over. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "base/clock.h"
#include "base/enc.h"
#include "base/rand.h"
#include "task/task_int.h"

#define PIDS_MAX	4096
#define CPU_WEIGHT_UNIT 100 /* of one vCPU */
#define QUOTA_PERIOD_MS 100

static int ask_run(struct task *k, struct err *e)
{
	struct init_msg m = {.version = INIT_VERSION,
			     .verb = INIT_RUN,
			     .tag = INIT_TAG_RUNTIME,
			     .argc = k->spec.argc,
			     .envc = k->spec.envc,
			     .text_bytes = (uint32_t)k->spec.text.n};
	struct init_run how = {.tty = k->spec.tty};
	struct iovec iov[3] = {{&m, sizeof(m)}, {&how, sizeof(how)}, {k->spec.text.p, k->spec.text.n}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 3};

	if (sendmsg(k->fds.fd[SB_CTL], &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return err_sys(e, errno, "ask tandem-init to start");
	return 0;
}

static void take_sandbox(struct task *k, uint64_t id, pid_t pid, const struct sandbox_fds *fds)
{
	k->sandbox = id;
	k->pid = pid;
	k->fds = *fds;
	k->log = logs_get(k->t->o.logs, k->log_name);
	k->ctl = loop_fd_new(k->t->o.loop, k->fds.fd[SB_CTL], LOOP_READ, task_heard, k);
	if (k->fds.fd[SB_DNS] >= 0)
		k->resolver = resolver_new(k->t->o.loop, k->fds.fd[SB_DNS], k->t->o.forward);
	streams_open(k);
}

static void made(struct spawn_req *r, const struct err *why)
{
	struct task *k = container_of(r, struct task, made);
	struct err e;

	if (why->kind) {
		task_set_end(k, EXIT_NOT_STARTED, 0, "%s", why->text);
		task_finish(k);
		return;
	}
	take_sandbox(k, r->id, r->pid, &r->fds);
	task_move(k, TASK_STARTING);
	loop_timer_in(k->deadline, TASK_START_US);
	/* tandem-init takes its messages in order. */
	if (ask_run(k, &e) == 0 && (!k->early_signal || task_signal(k, k->early_signal, &e) == 0))
		return;
	task_set_end(k, EXIT_NOT_STARTED, 0, "%s", e.text);
	task_end_sandbox(k);
}

static struct task *task_new(struct tasks *t)
{
	struct task *k = xcalloc(1, sizeof(*k));

	k->t = t;
	memset(k->fds.fd, -1, sizeof(k->fds.fd));
	list_init(&k->ears);
	k->deadline = loop_timer_new(t->o.loop, task_due, k);
	list_push(&t->all, &k->node);
	return k;
}

static void set_id(struct task *k, const char *id)
{
	snprintf(k->id, sizeof(k->id), "%s", id);
	snprintf(k->log_name, sizeof(k->log_name), "task-%s", k->id);
}

/* What the successor of a killed daemon needs to know: read by label_read. */
static void label_write(const struct task *k, char out[SPAWNER_LABEL])
{
	const struct task_spec *s = &k->spec;

	snprintf(out, SPAWNER_LABEL, "task %s %s %lld %lld %u %d %d%d%d%d %lld %s", k->id, k->image->digest,
		 (long long)k->created_wall_us, (long long)s->memory_bytes, s->cpu_milli, s->stop_signal, s->tty,
		 s->stdin_open, s->read_only, k->to_attach, (long long)s->stop_timeout_us, k->name);
}

static bool label_read(struct task *k, const char *label, char digest[72])
{
	char id[TASK_ID_MAX + 1], name[TASK_NAME_MAX + 1] = "", hex[65], tty, in, ro, at;
	long long created, memory, stop;
	struct task_spec *s = &k->spec;

	if (sscanf(label, "task %32[0-9a-f] %64[0-9a-f] %lld %lld %u %d %c%c%c%c %lld %63s", id, hex, &created, &memory,
		   &s->cpu_milli, &s->stop_signal, &tty, &in, &ro, &at, &stop, name) < 11)
		return false;
	set_id(k, id);
	snprintf(digest, 72, "sha256:%s", hex);
	snprintf(k->name, sizeof(k->name), "%s", name);
	k->created_wall_us = created;
	k->started_wall_us = created; /* to a few milliseconds */
	s->memory_bytes = memory;
	s->stop_timeout_us = stop;
	s->tty = tty == '1', s->stdin_open = in == '1', s->read_only = ro == '1', k->to_attach = at == '1';
	return true;
}

static void close_layers(int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
}

static int start(struct task *k, struct err *e)
{
	const struct task_spec *s = &k->spec;
	char label[SPAWNER_LABEL];
	int layers[CONTAINER_LAYERS];
	unsigned n = 0;
	struct spawn_container c = {
		.limits = {.memory_bytes = s->memory_bytes,
			   .pids_max = PIDS_MAX,
			   .cpu_weight =
				   s->cpu_milli * CPU_WEIGHT_UNIT / 1000 ? s->cpu_milli * CPU_WEIGHT_UNIT / 1000 : 1,
			   .cpu_quota_us = s->quota ? s->cpu_milli * QUOTA_PERIOD_MS : 0,
			   .egress.internet = 1},
		.layers = layers,
		.input = s->stdin_open,
		.tty = s->tty,
		.read_only = s->read_only,
		.hostname = k->id,
		.label = label,
		.caps = CAPS_DEFAULT,
	};

	if (c.limits.cpu_weight > 10000)
		c.limits.cpu_weight = 10000;
	if (!k->image->n_layers || k->image->n_layers > CONTAINER_LAYERS)
		return err_set(e, ERR_LIMIT, "the image has %u layers; 1 to %d can be run", k->image->n_layers,
			       CONTAINER_LAYERS);
	for (; n < k->image->n_layers; n++) {
		layers[n] = image_layer_open(k->t->o.images, k->image->layers[n].diff_id, e);
		if (layers[n] < 0) {
			close_layers(layers, n);
			return -1;
		}
	}
	c.n_layers = n;
	label_write(k, label);
	k->made.done = made;
	spawn_container_start(k->t->o.spawn, &k->made, &c);
	close_layers(layers, n);
	loop_timer_in(k->deadline, TASK_MAKE_US);
	return 0;
}

static int read_what(struct task *k, struct str doc, const struct task_opts *o, struct err *e)
{
	struct str reference;
	struct image *im;

	k->doc = json_parse(doc, e);
	if (!k->doc || task_doc_check(k->doc, e) < 0)
		return -1;
	if (o->overrides.n) {
		k->over = json_parse(o->overrides, e);
		if (!k->over || task_overrides_check(k->over, k->doc, e) < 0)
			return -1;
	}
	if (task_doc_n(k->doc) > 1)
		return err_set(e, ERR_LIMIT, "tasks of several containers are not there yet");
	reference = json_get_str(task_doc_container(k->doc, 0), "image");
	im = image_find(k->t->o.images, reference.p);
	if (!im)
		return err_set(e, ERR_NOT_FOUND, "no image \"%.200s\" is here", reference.p);
	k->image = image_use(im);
	snprintf(k->reference, sizeof(k->reference), "%s", im->reference);
	return task_spec_read(&(struct task_wish){task_doc_container(k->doc, 0), NULL}, &im->config, k->id, &k->spec,
			      e);
}

static int check_opts(const struct tasks *t, const struct task_opts *o, struct err *e)
{
	struct str name = str_of(o->name);
	const struct task *k;

	if (t->draining)
		return err_set(e, ERR_UNAVAILABLE, "the daemon is on its way out");
	if (o->name && !str_name_ok(name, TASK_NAME_MAX, "-_."))
		return err_set(e, ERR_INVALID, "name is of letters, digits, \"-\", \"_\" and \".\", at most %d",
			       TASK_NAME_MAX);
	k = task_find(t, name);
	if (k && !strcmp(k->name, o->name) && k->state != TASK_STOPPED)
		return err_set(e, ERR_EXISTS, "a task of the name %s runs already", o->name);
	return 0;
}

int task_run(struct tasks *t, struct str doc, const struct task_opts *o, struct task **ret, struct err *e)
{
	struct task *k;
	uint8_t random[TASK_ID_BYTES / 2];
	char id[TASK_ID_BYTES + 1];

	if (check_opts(t, o, e) < 0)
		return -1;
	rand_bytes(random, sizeof(random));
	enc_hex(random, sizeof(random), id);
	k = task_new(t);
	set_id(k, o->id ? o->id : id);
	snprintf(k->name, sizeof(k->name), "%s", o->name ? o->name : "");
	k->group = xstrdup(o->group ? o->group : "");
	k->definition = xstrdup(o->definition ? o->definition : "");
	k->note = xstrdup(o->note ? o->note : "");
	k->to_attach = o->attach, k->rows = o->rows, k->cols = o->cols;
	k->created_wall_us = clock_wall_us();
	if (read_what(k, doc, o, e) < 0 || start(k, e) < 0) {
		task_free(k);
		return -1;
	}
	*ret = k;
	return 0;
}

bool task_adopt(struct tasks *t, uint64_t id, const char *label, pid_t pid, struct sandbox_fds *fds)
{
	struct init_msg lives = {.version = INIT_VERSION, .verb = INIT_SIGNAL, .tag = INIT_TAG_RUNTIME};
	char digest[72];
	struct image *im;
	struct task *k;

	if (strncmp(label, "task ", 5))
		return false;
	k = task_new(t);
	if (!label_read(k, label, digest)) {
		task_free(k);
		return false;
	}
	k->group = xstrdup(""), k->definition = xstrdup(""), k->note = xstrdup("");
	k->adopted = true;
	k->state = TASK_RUNNING;
	im = image_find(t->o.images, digest);
	k->image = im ? image_use(im) : NULL;
	snprintf(k->reference, sizeof(k->reference), "%s", im ? im->reference : digest);
	take_sandbox(k, id, pid, fds);
	/* What it said before comes before the answer to this: EXITED, or FAILED when it was never started. */
	if (send(k->fds.fd[SB_CTL], &lives, sizeof(lives), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		task_end_sandbox(k);
	return true;
}
