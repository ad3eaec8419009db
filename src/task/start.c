/* SPDX-License-Identifier: Apache-2.0 */
/* How a container begins: its sandbox, its program. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "base/limits.h"
#include "store/egress.h"
#include "task/cdi.h"
#include "task/task_int.h"

#define PIDS_MAX	4096
#define CPU_WEIGHT_UNIT 100 /* of one vCPU */
#define QUOTA_PERIOD_MS 100

int container_ask_run(struct container *c, struct err *e)
{
	struct init_msg m = {.version = INIT_VERSION,
			     .verb = INIT_RUN,
			     .tag = INIT_TAG_RUNTIME,
			     .argc = c->spec.argc,
			     .envc = c->spec.envc,
			     .text_bytes = (uint32_t)c->spec.text.n};
	struct init_run how = {.tty = c->spec.tty};
	struct iovec iov[3] = {{&m, sizeof(m)}, {&how, sizeof(how)}, {c->spec.text.p, c->spec.text.n}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 3};

	if (sendmsg(c->fds.fd[SB_CTL], &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return err_sys(e, errno, "ask tandem-init to start");
	c->running = true;
	return 0;
}

void container_run(struct container *c)
{
	struct err e;

	if (c->state != TASK_STARTING || c->running || !c->task->durable)
		return;
	/* tandem-init takes its messages in order. */
	if (container_ask_run(c, &e) == 0 && (!c->early_signal || container_signal(c, c->early_signal, &e) == 0))
		return;
	container_set_end(c, EXIT_NOT_STARTED, 0, "%s", e.text);
	container_end_sandbox(c);
}

/* Nothing waits for the first ear any more, which the end must not come before. */
static void attached(struct task_io *io)
{
	struct container *c = container_of(io, struct container, io);

	if (c->sandbox_gone)
		loop_defer(io->loop, &c->finish_later, container_finish, c);
}

static void close_in(struct task_io *io)
{
	struct container *c = container_of(io, struct container, io);

	close_p(&c->fds.fd[SB_CHAN]);
	c->fds.fd[SB_CHAN] = -1;
	spawn_input_end(c->task->t->o.spawn, c->sandbox);
}

/* Its neighbours, who share its network, are answered as it is. */
static void listen_inside(struct container *c)
{
	const struct tasks_opts *o = &c->task->t->o;
	const struct {
		enum spawner_sb fd;
		http_handler *handler;
		http_streams *streams;
		size_t body_max;
		bool tls;
	} all[] = {{SB_API, o->api, o->api_streams, LIM_PAYLOAD_BYTES, false},
		   {SB_API_TLS, o->api, o->api_streams, LIM_PAYLOAD_BYTES, true},
		   {SB_CREDS, o->metadata, NULL, 4096, false}};

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		struct http_listener_opts how = {.body_max = all[i].body_max,
						 .handler = all[i].handler,
						 .streams = all[i].streams,
						 .arg = c->task,
						 .guest = true,
						 .tls = all[i].tls ? o->tls : NULL};

		if (c->fds.fd[all[i].fd] >= 0 && o->http && (!all[i].tls || o->tls))
			c->inside[i] = http_listen(o->http, c->fds.fd[all[i].fd], &how);
	}
}

void container_take(struct container *c, uint64_t id, pid_t pid, const struct sandbox_fds *fds)
{
	struct task *k = c->task;
	const int *fd = c->fds.fd;

	c->sandbox = id;
	c->pid = pid;
	c->fds = *fds;
	c->ctl = loop_fd_new(k->t->o.loop, fd[SB_CTL], LOOP_READ, container_heard, c);
	listen_inside(c);
	if (fd[SB_DNS] >= 0)
		c->resolver = resolver_new(k->t->o.loop, fd[SB_DNS], k->t->o.forward);
	io_open(&c->io, fd[SB_CHAN], fd[c->spec.tty ? SB_CHAN : SB_LOG], fd[SB_ERR],
		k->attach && c == k->c ? TASK_ATTACH_US : 0);
	if (c->spec.tty && k->rows)
		(void)task_resize(&c->io, k->rows, k->cols, NULL);
}

static void made(struct spawn_req *r, const struct err *why)
{
	struct container *c = container_of(r, struct container, made);

	if (why->kind) {
		container_set_end(c, EXIT_NOT_STARTED, 0, "%s", why->text);
		container_finish(c);
		return;
	}
	container_take(c, r->id, r->pid, &r->fds);
	container_move(c, TASK_STARTING);
	loop_timer_in(c->deadline, TASK_START_US);
	container_run(c);
}

static void close_layers(int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
}

static int open_layers(const struct container *c, int fds[CONTAINER_LAYERS], struct err *e)
{
	const struct image *im = c->image;

	if (!im->n_layers || im->n_layers > CONTAINER_LAYERS)
		return err_set(e, ERR_LIMIT, "the image has %u layers; 1 to %d can be run", im->n_layers,
			       CONTAINER_LAYERS);
	for (unsigned n = 0; n < im->n_layers; n++) {
		fds[n] = image_layer_open(c->task->t->o.images, im->layers[n].diff_id, e);
		if (fds[n] < 0) {
			close_layers(fds, n);
			return -1;
		}
	}
	return 0;
}

static bool listens(const struct container *c, int64_t port)
{
	const struct json *ports = json_get(task_doc_container(c->task->doc, (unsigned)(c - c->task->c)), "ports");

	for (size_t i = 0; i < json_len(ports); i++)
		if (json_int(json_at(ports, i), 0) == port)
			return true;
	for (unsigned i = 0; c->image && i < c->image->config.n_ports; i++) /* NULL: it is over */
		if (c->image->config.ports[i].port == port && !c->image->config.ports[i].udp)
			return true;
	return false;
}

/* Nobody can listen on all addresses of a network at a port that the platform has at one of them: it stands back where an
 * image or a document says that a program will. */
static uint32_t in_the_way(const struct task *k)
{
	static const struct {
		uint16_t port;
		enum spawner_sb which;
	} has[] = {{80, SB_CREDS}, {443, SB_API_TLS}, {4566, SB_API}};
	uint32_t mask = 0;

	for (unsigned i = 0; i < k->n; i++)
		for (unsigned n = 0; n < ARRAY_SIZE(has); n++)
			if (listens(&k->c[i], has[n].port))
				mask |= 1u << has[n].which;
	return mask;
}

int container_start(struct container *c, uint64_t join, struct err *e)
{
	const struct task_spec *s = &c->spec;
	struct task *k = c->task;
	uint32_t weight = s->cpu_milli * CPU_WEIGHT_UNIT / 1000;
	char label[SPAWNER_LABEL];
	int layers[CONTAINER_LAYERS];
	static const char *const cdi_folders[] = {"/etc/cdi", "/var/run/cdi", NULL};
	auto_(cdi_done) struct cdi cdi = {0};
	const struct json *doc = task_doc_container(k->doc, (unsigned)(c - k->c));
	struct given g;
	struct spawn_container want = {
		.limits = {.memory_bytes = s->memory_bytes,
			   .pids_max = PIDS_MAX,
			   .cpu_weight = !weight	  ? 1
					 : weight > 10000 ? 10000
							  : weight,
			   .cpu_quota_us = s->quota ? s->cpu_milli * QUOTA_PERIOD_MS : 0},
		.join = join,
		.without = in_the_way(k),
		.layers = layers,
		.input = s->stdin_open,
		.tty = s->tty,
		.runtime = (enum spawner_runtime)task_doc_runtime(k->doc),
		.read_only = s->read_only,
		.hostname = k->id,
		.label = label,
		.mounts = g.mounts,
		.secrets = g.secrets,
		.devices = g.devices,
		.ulimits = g.ulimits,
	};

	if (given_read(doc, &g, e) < 0 || cdi_give(&cdi, cdi_folders, doc, &g, e) < 0 || open_layers(c, layers, e) < 0)
		return -1;
	want.n_mounts = g.n_mounts, want.n_secrets = g.n_secrets;
	want.n_devices = g.n_devices, want.n_ulimits = g.n_ulimits;
	want.caps = g.caps;
	egress_of(json_get_str(k->doc, "egress").p, &want.limits.egress);
	want.n_layers = c->image->n_layers;
	snprintf(label, sizeof(label), "task %s %u %s", k->id, (unsigned)(c - k->c), c->image->digest);
	c->asked = true;
	c->made.done = made;
	spawn_container_start(k->t->o.spawn, &c->made, &want);
	close_layers(layers, want.n_layers);
	loop_timer_in(c->deadline, TASK_MAKE_US);
	return 0;
}

void container_init(struct container *c, struct task *k, unsigned i)
{
	c->task = k;
	c->name = task_doc_name(k->doc, i);
	memset(c->fds.fd, -1, sizeof(c->fds.fd));
	list_init(&c->execs);
	io_init(&c->io, k->t->o.loop);
	c->io.attached = attached;
	c->io.close_in = close_in;
	c->io.log = k->log;
	snprintf(c->who, sizeof(c->who), "%.*s%s%s", k->shares_log ? TASK_WHO_BYTES : 0, k->id,
		 k->shares_log && k->n > 1 ? "/" : "", k->n > 1 ? c->name : "");
	c->io.who = c->who;
	c->deadline = loop_timer_new(k->t->o.loop, container_due, c);
}
