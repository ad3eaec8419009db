/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages from tandemd and to it. A hostile tandemd may send anything: what a verb can do with that is said at each of
 * them. Common to all: size, version and end are checked, no text is parsed, descriptors that no verb wants are closed,
 * an id only selects among sandboxes of this tandemd, and a message that is wrong in itself costs tandemd its life.
 */
#include "spawner.h"
#include <errno.h>
#include <sys/socket.h>
#include "base/limits.h"
#include "base/log.h"
#include "base/str.h"
#include "wire/fds.h"

void verbs_send(struct spawner *s, struct spawner_msg *m, const int *fds, unsigned n_fds)
{
	if (s->daemon_sock < 0)
		return;
	/* Blocks for as long as SO_SNDTIMEO says (daemon.c). */
	if (fds_send(s->daemon_sock, m, sizeof(*m), fds, n_fds, 0) < 0)
		daemon_lost(s, errno == EAGAIN ? "it has not read its messages for 30 s" : strerror(errno));
}

void verbs_send_err(struct spawner *s, enum spawner_verb verb, uint64_t id, const struct err *e)
{
	struct spawner_msg m;

	spawner_msg_init(&m, verb, id);
	m.err = (uint16_t)(e->kind ? e->kind : ERR_BUG);
	strlcpy_(m.text, e->text, sizeof(m.text));
	log_warn("verbs", "verb %d failed id=%llu: %s", (int)verb, (unsigned long long)id, e->text);
	verbs_send(s, &m, NULL, 0);
}

void verbs_send_made(struct spawner *s, enum spawner_verb verb, unsigned slot)
{
	const struct sandbox *b = &s->sb[slot];
	struct spawner_msg m;
	int fds[SB_N];
	unsigned n = 0;

	spawner_msg_init(&m, verb, s->id[slot]);
	for (unsigned i = 0; i < SB_N; i++) {
		if (b->fd[i] < 0)
			continue;
		m.u.made.has |= 1u << i;
		fds[n++] = b->fd[i];
	}
	m.u.made.uid = b->range ? range_first(s, b->range - 1) : s->config.uid_base + 2 * slot;
	m.u.made.pid = b->pid;
	m.u.made.assigned = b->assigned;
	memcpy(m.u.made.label, b->label, sizeof(m.u.made.label));
	verbs_send(s, &m, fds, n);
}

/*
 * HELLO. Safe: gives tandemd only what is its own, the listeners of its addresses and its sandboxes' descriptors.
 * Asking twice gives them twice, to the same process.
 */
static void hello(struct spawner *s)
{
	struct spawner_msg m;

	daemon_send_config(s);
	for (unsigned i = 0; i < s->high; i++)
		if (s->id[i] && s->sb[i].state == SLOT_READY && !s->sb[i].ending)
			verbs_send_made(s, SPAWNER_ADOPT, i);
	spawner_msg_init(&m, SPAWNER_ADOPTED, 0);
	verbs_send(s, &m, NULL, 0);
}

/*
 * BLANK. Safe: what is made is always the same, has the blank's limits and runs nothing but tandem-init; the table
 * bounds how many (4,096, and the limit of descriptors); its uid and names come from the slot, not from the message.
 * With prepare, its tandem-init may trace processes of its own namespace, which are all of the same uid; what it starts
 * may not.
 */
static void blank(struct spawner *s, const struct spawner_msg *m)
{
	struct err e = {0};

	if (!m->id || sandbox_find(s, m->id) >= 0)
		err_set(&e, ERR_EXISTS, "a sandbox of that id exists");
	else if (s->draining)
		err_set(&e, ERR_UNAVAILABLE, "shutting down");
	else if (sandbox_make(s, m->id, m->u.blank.prepare, NULL, &e) == 0)
		return;
	verbs_send_err(s, SPAWNER_MADE, m->id, &e);
}

static int check_limits(const struct cg_limits *l, struct err *e)
{
	if (!l->pids_max || l->pids_max > 32768)
		return err_set(e, ERR_INVALID, "limit of processes out of range");
	if (!l->cpu_weight || l->cpu_weight > 10000)
		return err_set(e, ERR_INVALID, "CPU weight out of range");
	if (l->cpu_quota_us && (l->cpu_quota_us < 1000 || l->cpu_quota_us > 100000u * 4096))
		return err_set(e, ERR_INVALID, "CPU quota out of range");
	return 0;
}

static bool bytes_ok(uint64_t bytes)
{
	return bytes >= MEMORY_MIN_BYTES && bytes <= MEMORY_MAX_BYTES;
}

static int do_assign(struct spawner *s, int slot, const struct spawner_msg *m, const int *fds, unsigned n_fds,
		     struct err *e)
{
	struct sandbox *b = slot < 0 ? NULL : &s->sb[slot];
	auto_close int task = -1, opt = -1;
	struct cg_limits lim = {m->u.assign.memory_bytes + m->u.assign.tmp_bytes, m->u.assign.pids_max,
				m->u.assign.cpu_weight, m->u.assign.cpu_quota_us};
	unsigned which = 0;
	uint64_t tmp = m->u.assign.tmp_bytes == BLANK_TMP_BYTES ? 0 : m->u.assign.tmp_bytes;

	if (!b || b->state != SLOT_READY)
		return err_set(e, ERR_NOT_FOUND, "no such sandbox");
	if (b->assigned)
		return err_set(e, ERR_CONFLICT, "the sandbox is assigned already");
	if (n_fds != 1u + m->u.assign.n_layers || n_fds > 1 + LIM_LAYERS)
		return err_set(e, ERR_INVALID, "descriptors of the code directories did not arrive");
	if (!bytes_ok(m->u.assign.memory_bytes) || !bytes_ok(m->u.assign.tmp_bytes))
		return err_set(e, ERR_INVALID, "memory or /tmp size out of range");
	if (check_limits(&lim, e) < 0)
		return -1;
	if (egress_assign(s, b, &m->u.assign.egress, e) < 0)
		return -1;
	if (lim.memory_bytes != b->limits.memory_bytes)
		which |= CG_MEMORY;
	if (lim.pids_max != b->limits.pids_max)
		which |= CG_PIDS;
	if (which && cg_leaf_limit(&s->cg, &b->leaf, which, &lim, e) < 0)
		return -1;
	b->limits = lim;
	task = mount_code_tree(fds[0], s->config.daemon_uid, e);
	if (task < 0)
		return -1;
	if (n_fds > 1) {
		opt = mount_layers(fds + 1, n_fds - 1, s->config.daemon_uid, e);
		if (opt < 0)
			return -1;
	}
	if (s->config.no_layer == LAYER_NO_TMP_SIZE)
		tmp = 0;
	if (mount_assign(b->fd[SB_PIDFD], task, opt, tmp, e) < 0)
		return -1;
	b->assigned = 1;
	memcpy(b->label, m->u.assign.label, sizeof(b->label));
	return 0;
}

/*
 * ASSIGN. Safe: only directories that belong to tandemd's own user are mounted, read-only, nosuid, nodev and without
 * what is mounted below them; a function so sees at most what tandemd may read anyway. Ranges that it may connect to are
 * bounded in number and checked, and tandemd itself may connect anywhere. Limits are bounded here; the
 * label is opaque and only given back. Once per sandbox.
 */
static void assign(struct spawner *s, const struct spawner_msg *m, const int *fds, unsigned n_fds)
{
	struct spawner_msg answer;
	struct err e = {0};

	if (do_assign(s, sandbox_find(s, m->id), m, fds, n_fds, &e) < 0) {
		verbs_send_err(s, SPAWNER_ASSIGNED, m->id, &e);
		return;
	}
	spawner_msg_init(&answer, SPAWNER_ASSIGNED, m->id);
	verbs_send(s, &answer, NULL, 0);
}

static bool hostname_ok(const char *n)
{
	size_t len = strspn(n, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-.");

	return len && !n[len];
}

static int make_container(struct spawner *s, const struct spawner_msg *m, const int *fds, unsigned n_fds, struct err *e)
{
	struct container c = {.layers = fds,
			      .n_layers = m->u.container.n_layers,
			      .n_gives = m->u.container.n_gives,
			      .caps = m->u.container.caps,
			      .s = s,
			      .input = m->u.container.input,
			      .tty = m->u.container.tty,
			      .read_only = m->u.container.read_only,
			      .limits = {m->u.container.memory_bytes, m->u.container.pids_max,
					 m->u.container.cpu_weight, m->u.container.cpu_quota_us},
			      .hostname = m->u.container.hostname,
			      .label = m->u.container.label,
			      .runtime = m->u.container.runtime,
			      .sockets = m->u.container.sockets,
			      .egress = &m->u.container.egress};
	int other = sandbox_find(s, m->u.container.join);

	if (!m->id || sandbox_find(s, m->id) >= 0)
		return err_set(e, ERR_EXISTS, "a sandbox of that id exists");
	if (s->draining)
		return err_set(e, ERR_UNAVAILABLE, "shutting down");
	if (!c.n_layers || c.n_layers > CONTAINER_LAYERS || n_fds != c.n_layers + (c.n_gives != 0))
		return err_set(e, ERR_INVALID, "descriptors of the layers did not arrive");
	if (c.n_gives > GIVES_MAX || c.caps & ~CAPS_ALL)
		return err_set(e, ERR_INVALID,
			       "more than %d mounts, secrets, devices and limits, or no such capability", GIVES_MAX);
	if (!hostname_ok(c.hostname) || !bytes_ok(c.limits.memory_bytes))
		return err_set(e, ERR_INVALID, "host name or memory size not acceptable");
	if (c.sockets & ~SB_PLATFORM || (m->u.container.join ? c.sockets : !(c.sockets >> SB_DNS & 1)))
		return err_set(e, ERR_INVALID, "who has a network of its own, and nobody else, has SB_DNS there");
	if (m->u.container.join && (other < 0 || s->sb[other].state != SLOT_READY))
		return err_set(e, ERR_NOT_FOUND, "the sandbox whose network is to be shared is not there");
	if (oci_check(c.runtime, e) < 0)
		return -1;
	c.group = other < 0 ? 0 : s->sb[other].group;
	return check_limits(&c.limits, e) < 0 ? -1 : sandbox_make(s, m->id, false, &c, e);
}

/*
 * CONTAINER. Safe: layers are only directories that belong to the ids of layers, which nobody but the unpacker has, and
 * are shown in the container's own ids alone: what belongs to anybody else on the host belongs to nobody in there, and
 * no right over it can be had. What it writes lies where the spawner put it. Ids, name and limits come from the slot or
 * are bounded here; how many there can be, too (RANGE_BLOCKS). In it runs tandem-init, which starts what tandemd says,
 * as with BLANK, with rights in its own user namespace alone, whatever capabilities are asked for. What it is given: volumes and
 * secrets are tandemd's to give out, by names that lead nowhere else; what is the host's, paths and devices, needs an entry in
 * grants/, where only root can make one (give.c). A network that is shared belongs to the first user namespace like all: who
 * joins may use it and has no right over it, and it stays with its egress until the last one has gone.
 */
static void container(struct spawner *s, const struct spawner_msg *m, const int *fds, unsigned n_fds)
{
	struct err e = {0};

	if (make_container(s, m, fds, n_fds, &e) < 0)
		verbs_send_err(s, SPAWNER_MADE, m->id, &e);
}

/*
 * LIVE. Safe: the limits are those of ASSIGN, checked there. A tandemd that never says it has sandboxes with the share
 * of the processors that any program has. That they could not be set ends the sandbox: nobody waits for an answer.
 */
static void live(struct spawner *s, const struct spawner_msg *m)
{
	int slot = sandbox_find(s, m->id);
	struct err e;

	if (slot < 0 || !s->sb[slot].assigned)
		return;
	if (cg_leaf_limit(&s->cg, &s->sb[slot].leaf, CG_CPU, &s->sb[slot].limits, &e) == 0)
		return;
	log_error("sandbox", "%s", e.text);
	sandbox_kill(s, (unsigned)slot);
}

/* INPUT_END. Safe: closes our duplicate of what tandemd has, of a container alone. */
static void input_end(struct spawner *s, const struct spawner_msg *m)
{
	int slot = sandbox_find(s, m->id);

	if (slot < 0 || !s->sb[slot].range || s->sb[slot].state != SLOT_READY)
		return;
	close_p(&s->sb[slot].fd[SB_CHAN]);
	s->sb[slot].fd[SB_CHAN] = -1;
}

/*
 * OPEN. Safe: sockets inside of a sandbox reach what that sandbox does, whose every program tandemd chose. On the host it
 * may listen where any program may, that is on no port that is kept for root: from there others would trust it. What is
 * kept is bounded in number. A terminal is made through the container's own root, in which no link is followed.
 */
static void open_(struct spawner *s, const struct spawner_msg *m)
{
	struct opened o = {0};
	struct spawner_msg answer;
	struct err e = {0};

	if (open_make(s, m, &o, &e) < 0) {
		verbs_send_err(s, SPAWNER_OPENED, m->id, &e);
	} else {
		spawner_msg_init(&answer, SPAWNER_OPENED, m->id);
		answer.u.open.n = (uint8_t)o.n;
		verbs_send(s, &answer, o.fd, o.n);
	}
	for (unsigned i = 0; i < o.n && !o.kept; i++)
		close(o.fd[i]);
}

/* END. Safe: a signal by pidfd to pid 1 of a sandbox; an unknown id is one that has ended already. */
static void end(struct spawner *s, const struct spawner_msg *m)
{
	int slot = sandbox_find(s, m->id);

	if (slot >= 0)
		sandbox_kill(s, (unsigned)slot);
}

/*
 * UNPACK. Safe: tandem-unpack runs as tandemd's own user without capabilities, network or the right to make any, so it
 * can do nothing that tandemd could not; time, memory and number are bounded. The name becomes an argument of it and
 * nothing else. For layers it is root of a user namespace: there it may make files of LAYER_IDS and remove them and
 * skopeo's, which are ids of nobody else, below a directory that tandemd could open.
 */
static void unpack(struct spawner *s, const struct spawner_msg *m, const int *fds, unsigned n_fds)
{
	struct err e = {0};

	if (n_fds != 2)
		err_set(&e, ERR_INVALID, "archive or directory did not arrive");
	else if (unpack_start(s, m, fds[0], fds[1], &e) == 0)
		return;
	verbs_send_err(s, SPAWNER_UNPACKED, m->id, &e);
}

/*
 * PULL. Safe: skopeo runs with an id of its own and no capability, sees the host's files read-only and writes to one
 * directory, which belongs to tandemd; it reaches the network, as tandemd does. The reference is checked to be one
 * argument that can be nothing else, arguments are never a shell's; number and time are bounded. PULL_END: only of such
 * an id.
 */
static void pull(struct spawner *s, const struct spawner_msg *m, const int *fds, unsigned n_fds)
{
	struct err e = {0};

	if (s->draining)
		err_set(&e, ERR_UNAVAILABLE, "shutting down");
	else if (pull_start(s, m, fds, n_fds, &e) == 0)
		return;
	verbs_send_err(s, SPAWNER_PULLED, m->id, &e);
}

/*
 * SECRET, VOLUME_END. Safe: names cannot leave secrets/ and volumes/, which hold nothing else; a value is written, bounded,
 * and never given back; what goes is what tandemd could have a container overwrite. Both are done by a child, so that
 * neither a disk nor a descriptor that never answers keeps us.
 */
static void keep(struct spawner *s, const struct spawner_msg *m, const int *fds, unsigned n_fds)
{
	struct err e = {0};

	if (keep_start(s, m, fds, n_fds, &e) < 0)
		verbs_send_err(s, SPAWNER_KEPT, m->id, &e);
}

/* READY. Safe: closes listeners of its own; tells the service manager once; a liar is a service that does not work. */
static void ready(struct spawner *s)
{
	s->daemon_ready = true;
	open_sweep(s);
	if (!s->notified)
		state_notify("READY=1");
	s->notified = true;
}

static void dispatch(struct spawner *s, const struct spawner_msg *m, const int *fds, unsigned n_fds)
{
	switch (m->verb) {
	case SPAWNER_HELLO:
		hello(s);
		break;
	case SPAWNER_BLANK:
		blank(s, m);
		break;
	case SPAWNER_ASSIGN:
		assign(s, m, fds, n_fds);
		break;
	case SPAWNER_CONTAINER:
		container(s, m, fds, n_fds);
		break;
	case SPAWNER_INPUT_END:
		input_end(s, m);
		break;
	case SPAWNER_OPEN:
		open_(s, m);
		break;
	case SPAWNER_UNLISTEN: /* Safe: one of its own. */
		open_unlisten(s, &m->u.open.at);
		break;
	case SPAWNER_END_SANDBOX:
		end(s, m);
		break;
	case SPAWNER_UNPACK:
		unpack(s, m, fds, n_fds);
		break;
	case SPAWNER_PULL:
		pull(s, m, fds, n_fds);
		break;
	case SPAWNER_PULL_END:
		job_kill(s, m->id, SPAWNER_PULLED);
		break;
	case SPAWNER_SECRET:
	case SPAWNER_VOLUME_END:
		keep(s, m, fds, n_fds);
		break;
	case SPAWNER_READY:
		ready(s);
		break;
	case SPAWNER_LIVE:
		live(s, m);
		break;
	case SPAWNER_BYE: /* Safe: ends what is tandemd's own; the operator sees a service that stopped. */
		s->quit = true;
		break;
	default:
		daemon_lost(s, "it sent an unknown verb");
	}
}

void verbs_receive(struct spawner *s)
{
	struct spawner_msg m;
	int fds[FDS_MAX];
	unsigned n_fds = FDS_MAX;
	struct err e = {0};
	ssize_t got = fds_recv(s->daemon_sock, &m, sizeof(m), fds, &n_fds, MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		daemon_lost(s, got ? strerror(errno) : "it closed its socket");
		return;
	}
	if (spawner_msg_check(&m, (size_t)got, &e) < 0)
		daemon_lost(s, e.text);
	else
		dispatch(s, &m, fds, n_fds);
	for (unsigned i = 0; i < n_fds; i++)
		close(fds[i]);
}
