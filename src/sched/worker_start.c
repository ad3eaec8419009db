/* SPDX-License-Identifier: Apache-2.0 */
/* How a worker begins: from a blank, for an image of it, or taken over from the daemon before. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include "base/log.h"
#include "json/read.h"
#include "sched/policy.h"
#include "sched/sched_int.h"
#include "store/egress.h"

#define PIDS_MAX 1024 /* Lambda's documented number of processes and threads */

#define EXTENSIONS_MAX 10 /* AWS: "Lambda extensions" */

static bool has_extension(const struct worker *wk, const char *name)
{
	const char *p = wk->extensions.p, *end = p + wk->extensions.n;

	while (p < end && strcmp(p, name))
		p += strlen(p) + 1;
	return p < end;
}

/* The programs in extensions/ of a layer, which is an upload: names are checked, only regular files count. */
static void add_extensions(struct worker *wk, int layer)
{
	int dirfd = openat(layer, "extensions", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *dir = dirfd < 0 ? NULL : fdopendir(dirfd);
	struct dirent *d;

	if (!dir) {
		if (dirfd >= 0)
			close(dirfd);
		return;
	}
	while ((d = readdir(dir)) && wk->n_extensions < EXTENSIONS_MAX) {
		struct stat st;

		if (d->d_name[0] == '.' || fstatat(dirfd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode) || !(st.st_mode & 0111) || has_extension(wk, d->d_name))
			continue;
		buf_add(&wk->extensions, d->d_name, strlen(d->d_name) + 1);
		wk->n_extensions++;
	}
	closedir(dir);
}

/* Nothing but the image was in the sandbox yet: without it the next one begins plainly. */
static void begin_failed(struct worker *wk, const struct err *e)
{
	if (wk->restoring)
		prepare_failed(wk, e->text, true);
	else
		worker_failed(wk, e);
}

static void assigned(struct spawn_req *r, const struct err *e)
{
	struct worker *wk = container_of(r, struct worker, assign);
	struct err fail;

	if (e->kind) {
		begin_failed(wk, e);
		return;
	}
	worker_move(wk, WORKER_INIT);
	wk->assigned_us = loop_now_us(worker_loop(wk));
	if (wk->prepares)
		spawn_live(wk->w->s->o.spawn, wk->id); /* not before others: its initialisation is nobody's hurry */
	if ((wk->restoring ? instance_restore : instance_start)(wk->instance, &fail) < 0)
		begin_failed(wk, &fail);
	else
		event_early(wk);
}

/* While the spawner mounts the code and sets the limits, all is made ready for the moment when it has. */
static void make_instance(struct worker *wk, const struct instance_program *program)
{
	struct instance_opts o = {.host = &wk->w->s->host,
				  .id = wk->id,
				  .pid = wk->take.pid,
				  .fds = wk->take.fds,
				  .revision = wk->revision,
				  .function = wk->w->f,
				  .provisioned = wk->kept && wk->w->published,
				  .image = wk->prepares,
				  .extensions = buf_str(&wk->extensions),
				  .restoring = wk->restoring,
				  .seats = (unsigned)wk->seats,
				  .program = program,
				  .events = &worker_instance_events,
				  .arg = wk};

	wk->instance = instance_new(&o);
	wk->cpu_seen_us = instance_cpu_us(wk->instance); /* making the sandbox was the platform's */
	wk->w->s->blanks_cpu_us += wk->cpu_seen_us;
}

/* The longest way comes first: from an image, what tandem-init does takes longer than the spawner's part. */
static void order(struct worker *wk)
{
	auto_close int image = wk->prepares ? -1 : prepare_open(wk);
	struct err e;

	wk->restoring = image >= 0 && instance_order(&wk->take.fds, image, &e) == 0;
}

static void has_sandbox(struct worker *wk, uint64_t id)
{
	wk->id = id;
	map_put(&wk->w->s->by_id, (struct str){(const char *)&wk->id, sizeof(wk->id)}, wk);
}

/* The code, then the layers. What was opened is the caller's to close, also when one is missing. */
static int open_code(struct store *st, const struct revision *r, int *dirs, unsigned *n, struct err *e)
{
	dirs[0] = store_code_open(st, r->code_sha256, e);
	*n = dirs[0] >= 0;
	for (unsigned i = 0; *n == i + 1 && i < LIM_LAYERS && r->layers[i][0]; i++) {
		dirs[i + 1] = store_code_open(st, r->layers[i], e);
		if (dirs[i + 1] < 0)
			return -1;
		(*n)++;
	}
	return *n ? 0 : -1;
}

static struct spawn_limits limits_of(const struct worker *wk)
{
	const struct revision *r = wk->revision;
	struct spawn_limits lim = {.memory_bytes = (int64_t)r->memory_mb << 20,
				   .tmp_bytes = (int64_t)r->tmp_mb << 20,
				   .pids_max = PIDS_MAX,
				   .cpu_weight = wk->prepares ? 1 : policy_cpu_weight(r->memory_mb),
				   .cpu_quota_us = r->cpu_quota_us};

	/* Of an image it would hold from its first instruction, and few initialise in time with a tenth of a processor. */
	if (wk->lane == LANE_CONTAINER && !r->cpu_quota_us && !r->image)
		lim.cpu_quota_us = policy_cpu_quota_us(r->memory_mb);
	egress_of(r->egress, &lim.egress);
	return lim;
}

/* For a successor. No name begins with ~: it ends what prepares. */
static void write_label(const struct worker *wk, char out[SPAWNER_LABEL])
{
	int n = snprintf(out, SPAWNER_LABEL, "%s%s %llu%s", wk->prepares ? "~" : "", wk->revision->name,
			 (unsigned long long)wk->revision->serial, wk->kept ? " kept" : "");

	if (wk->lane == LANE_CONTAINER)
		snprintf(out + n, SPAWNER_LABEL - (size_t)n, " c%d", wk->asked);
}

static void taken(struct pool_take *t, const struct err *e)
{
	struct worker *wk = container_of(t, struct worker, take);
	struct revision *r = wk->revision;
	char label[SPAWNER_LABEL];
	struct spawn_limits lim = limits_of(wk);
	int dirs[1 + LIM_LAYERS];
	unsigned n_dirs = 0;
	struct err fail;

	if (e->kind) {
		worker_failed(wk, e);
		return;
	}
	has_sandbox(wk, t->id);
	worker_move(wk, WORKER_ASSIGN);
	if (open_code(wk->w->s->o.store, r, dirs, &n_dirs, &fail) < 0) {
		sandbox_fds_close(&t->fds);
		worker_failed(wk, &fail);
	} else {
		order(wk);
		for (unsigned i = 1; i < n_dirs; i++)
			add_extensions(wk, dirs[i]);
		write_label(wk, label);
		wk->assign.done = assigned;
		spawn_assign_start(wk->w->s->o.spawn, &wk->assign, wk->id, &lim, dirs, n_dirs, label);
		make_instance(wk, NULL);
	}
	for (unsigned i = 0; i < n_dirs; i++)
		close(dirs[i]);
}

/* --- a container of an image: nothing of it can be made ahead of need --- */

/* As Docker, and as AWS's ImageConfig: what the revision says is in place of what the image says, and an entry point of
 * one's own leaves the image's command out. */
static uint32_t add_words(struct buf *out, const struct json *words, char **list)
{
	uint32_t n = 0;

	for (; words && n < json_len(words); n++)
		buf_add(out, json_str(json_at(words, n)).p, json_str(json_at(words, n)).n + 1);
	for (; !words && list[n]; n++)
		buf_add(out, list[n], strlen(list[n]) + 1);
	return n;
}

static void container_instance(struct worker *wk, const struct image *im)
{
	auto_json over = json_parse(str_of(wk->revision->image), NULL);
	const struct json *entry = json_get(over, "entrypoint"), *command = json_get(over, "command");
	const char *dir = json_get_str(over, "workdir").p;
	auto_buf head = {0}, env = {0};
	char *none = NULL;
	struct instance_program p = {0};

	dir = dir ? dir : im->config.workdir;
	buf_add(&head, dir, strlen(dir) + 1);
	buf_add(&head, im->config.user, strlen(im->config.user) + 1);
	p.argc = add_words(&head, entry, im->config.entrypoint);
	p.argc += add_words(&head, command, entry ? &none : im->config.cmd);
	add_words(&env, NULL, im->config.env);
	p.head = buf_str(&head);
	p.env = buf_str(&env);
	make_instance(wk, &p);
}

static struct image *image_of(const struct worker *wk)
{
	char digest[80];

	snprintf(digest, sizeof(digest), "sha256:%s", wk->revision->code_sha256);
	return image_find(wk->w->s->o.images, digest);
}

static void no_image(struct worker *wk)
{
	struct err e;

	err_set(&e, ERR_NOT_FOUND, "its image sha256:%s is not here any more; pull it, or update the function",
		wk->revision->code_sha256);
	worker_failed(wk, &e);
}

static void container_made(struct spawn_req *q, const struct err *e)
{
	struct worker *wk = container_of(q, struct worker, assign);
	struct image *im = image_of(wk);

	if (e->kind) {
		worker_failed(wk, e);
		return;
	}
	has_sandbox(wk, q->id);
	worker_move(wk, WORKER_ASSIGN);
	wk->take.pid = q->pid;
	wk->take.fds = q->fds;
	if (im) {
		container_instance(wk, im);
		assigned(q, e);
	} else {
		sandbox_fds_close(&q->fds);
		no_image(wk);
	}
}

static void make_container(struct worker *wk)
{
	struct images *images = wk->w->s->o.images;
	struct image *im = image_of(wk);
	char label[SPAWNER_LABEL];
	int layers[CONTAINER_LAYERS];
	/* As at AWS: nothing can be written but /tmp, and no capability is there. */
	struct spawn_mount tmp = {.path = "/tmp", .tmpfs_mb = (uint32_t)wk->revision->tmp_mb};
	struct spawn_container c = {.limits = limits_of(wk),
				    .layers = layers,
				    .rtapi = true,
				    .read_only = true,
				    .hostname = "localhost",
				    .label = label,
				    .mounts = &tmp,
				    .n_mounts = 1};
	struct err e = {0};

	c.limits.memory_bytes += c.limits.tmp_bytes; /* what lies there counts as memory */

	if (!im) {
		no_image(wk);
		return;
	}
	write_label(wk, label);
	for (; c.n_layers < im->n_layers && c.n_layers < CONTAINER_LAYERS; c.n_layers++) {
		layers[c.n_layers] = image_layer_open(images, im->layers[c.n_layers].diff_id, &e);
		if (layers[c.n_layers] < 0)
			break;
	}
	wk->assign.done = container_made;
	if (e.kind)
		worker_failed(wk, &e);
	else
		spawn_container_start(wk->w->s->o.spawn, &wk->assign, &c);
	for (unsigned i = 0; i < c.n_layers; i++)
		close(layers[i]);
}

/* The start begins here: until now it waited for what a deploy does otherwise. */
static void take(struct worker *wk)
{
	worker_move(wk, WORKER_TAKE);
	wk->begun_us = loop_now_us(worker_loop(wk));
	wk->take.done = taken;
	worker_due(wk, wk->begun_us + INIT_LIMIT_US);
	if (wk->revision->image)
		make_container(wk);
	else
		pool_take_start(wk->w->s->pool, &wk->take);
}

static void code_is_there(struct code *c, const struct err *e)
{
	struct worker *wk = container_of(c, struct worker, code);

	if (e->kind)
		worker_failed(wk, e);
	else
		take(wk);
}

struct worker *worker_start(struct workload *w, struct revision *r, struct invocation *check, bool kept)
{
	struct worker *wk = worker_new(w, r, lane_of(w), lane_asks(w, r));

	wk->check = check;
	wk->cold = !check && !kept;
	wk->kept = kept;
	w->n_kept += kept;
	w->s->n_keep_starting += kept;
	if (check)
		check->worker = wk;
	wk->counted = !check;
	w->n_starting += wk->counted;
	if (code_ready(w->s->o.store, r)) {
		take(wk);
		return wk;
	}
	log_warn("sched", "the code of %s is unpacked again: it was gone", r->name);
	wk->code.done = code_is_there;
	code_start(&wk->code, w->s->o.loop, w->s->o.store, w->s->o.spawn, r);
	return wk;
}

static void prepare_made(struct spawn_req *r, const struct err *e)
{
	struct worker *wk = container_of(r, struct worker, assign);

	wk->take.id = r->id;
	wk->take.pid = r->pid;
	wk->take.fds = r->fds;
	taken(&wk->take, e);
}

/* Not from the pool: tandem-init may take an image only in a sandbox made for it. */
struct worker *worker_prepare(struct workload *w, struct revision *r)
{
	struct worker *wk = worker_new(w, r, LANE_FUNCTION, 1);

	wk->prepares = true;
	worker_move(wk, WORKER_TAKE);
	worker_due(wk, wk->begun_us + PREPARE_LIMIT_US);
	wk->assign.done = prepare_made;
	spawn_blank_start(w->s->o.spawn, &wk->assign, true);
	return wk;
}

static bool has_extensions(struct worker *wk)
{
	struct revision *r = wk->revision;
	struct err e;

	for (unsigned i = 0; i < LIM_LAYERS && r->layers[i][0]; i++) {
		auto_close int layer = store_code_open(wk->w->s->o.store, r->layers[i], &e);

		if (layer >= 0)
			add_extensions(wk, layer);
	}
	return wk->n_extensions > 0;
}

void worker_adopt(struct workload *w, uint64_t id, pid_t pid, struct sandbox_fds *fds, bool kept, int seats)
{
	struct worker *wk =
		worker_new(w, workload_revision(w), seats ? LANE_CONTAINER : LANE_FUNCTION, seats ? seats : 1);
	struct instance_opts o = {.host = &w->s->host,
				  .id = id,
				  .pid = pid,
				  .fds = *fds,
				  .revision = wk->revision,
				  .function = w->f,
				  .adopted = true,
				  .seats = (unsigned)wk->seats,
				  .events = &worker_instance_events,
				  .arg = wk};
	struct err e;

	wk->kept = kept;
	w->n_kept += kept;
	has_sandbox(wk, id);
	wk->adopted = true;
	w->n_adopted++;
	worker_move(wk, WORKER_INIT);
	wk->assigned_us = wk->begun_us;
	wk->instance = instance_new(&o);
	wk->cpu_seen_us = instance_cpu_us(wk->instance); /* the daemon before had rows for it */
	worker_due(wk, wk->begun_us + wk->revision->timeout_s * 1000000ll + ADOPT_GRACE_US);
	if (has_extensions(wk)) { /* what they were told and asked for died with the daemon before */
		wk->stopping = true;
		worker_end(wk, INVOKE_FAILED, OUTCOME_FAILED, STR_NULL, NULL);
	} else if (instance_probe(wk->instance, &e) < 0) {
		worker_failed(wk, &e);
	}
}
