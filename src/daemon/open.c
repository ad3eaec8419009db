/* SPDX-License-Identifier: Apache-2.0 */
/* Building all parts, in the order of who needs whom. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/daemon.h"
#include "image/registry.h"
#include "ledger/prices.h"
#include "sched/policy.h"
#include "store/snapshot.h"

#define PRICES_MAX	65536
#define RESOLV_CONF_MAX 65536

static int read_prices(struct tandemd *d, struct buf *ret, struct err *e)
{
	/* The spawner has put us into libexec_dir; its absolute path may lead through folders that are closed to us. */
	return io_read_file(AT_FDCWD, "spec/prices.json", PRICES_MAX, ret, e);
}

static void settings(struct tandemd *d)
{
	const char *account = store_setting(d->store, "account"), *region = store_setting(d->store, "region");
	const char *snapshots = store_setting(d->store, SNAPSHOT_SETTING);
	int64_t bytes;
	double usd;

	if (account)
		strlcpy_(d->account, account, sizeof(d->account));
	if (region)
		strlcpy_(d->region, region, sizeof(d->region));
	for (enum ledger_price p = 0; p < LEDGER_PRICE_N; p++) {
		const char *price = store_setting(d->store, ledger_price_name[p].setting);

		if (price && price_parse(price, &usd) == 0)
			ledger_price_set(d->ledger, p, usd);
	}
	if (snapshots && str_to_i64(str_of(snapshots), 0, INT64_MAX, &bytes) == 0)
		snapshot_disk_max(d->store, (uint64_t)bytes);
}

static void store_trouble(void *arg, const struct err *e, uint64_t n, int64_t since_wall_us)
{
	struct tandemd *d = arg;
	char since[32];

	clock_fmt_iso(since_wall_us, since);
	if (e) {
		journal_add(d->journal, "tandem", "disk", "what comes is refused, for it cannot be kept: %s", e->text);
		log_error("store", "what comes is refused, for it cannot be kept: %s", e->text);
	} else {
		journal_add(d->journal, "tandem", "disk", "what comes is kept again; %llu writes have failed since %s",
			    (unsigned long long)n, since);
		log_info("store", "what comes is kept again failed=%llu", (unsigned long long)n);
	}
}

static int open_state(struct tandemd *d, struct err *e)
{
	int dir = d->listeners[SL_STATE_DIR];
	auto_buf prices = {0};

	if (dir < 0)
		return err_set(e, ERR_CORRUPT, "the spawner gave no state directory");
	if (store_open(d->loop, dir, &d->store, e) < 0 || logs_open(d->loop, dir, &d->logs, e) < 0 ||
	    read_prices(d, &prices, e) < 0 || ledger_open(d->loop, dir, prices.p, &d->ledger, e) < 0)
		return err_wrap(e, "state");
	d->journal = journal_new(d->logs);
	store_on_trouble(d->store, store_trouble, d);
	d->otlp = otlp_new(d->loop, d->journal);
	settings(d);
	return 0;
}

static bool is_ready(void *arg)
{
	struct tandemd *d = arg;

	return d->state == DAEMON_SERVING;
}

/* The address as it is really bound, v4 mapped into v6: port 0 was the kernel's to choose. */
static void real_address(int fd, struct sockaddr_in6 *ret)
{
	struct sockaddr_storage a;
	socklen_t n = sizeof(a);

	if (fd < 0 || getsockname(fd, (struct sockaddr *)&a, &n) < 0)
		return;
	if (a.ss_family == AF_INET6) {
		memcpy(ret, &a, sizeof(*ret));
	} else if (a.ss_family == AF_INET) {
		const struct sockaddr_in *v4 = (const struct sockaddr_in *)&a;

		*ret = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = v4->sin_port};
		ret->sin6_addr.s6_addr[10] = ret->sin6_addr.s6_addr[11] = 0xff;
		memcpy(ret->sin6_addr.s6_addr + 12, &v4->sin_addr, 4);
	}
}

static int first_fd(const struct tandemd *d, enum spawner_listener a, enum spawner_listener b)
{
	return d->listeners[a] >= 0 ? d->listeners[a] : d->listeners[b];
}

/* Its directory is above ours and closed to us but for passing through. Without it sandboxes have the plain port. */
static int open_tls(struct tandemd *d, struct err *e)
{
	auto_buf key = {0}, cert = {0};
	int dir = d->listeners[SL_STATE_DIR], ret;
	struct ca *ca = NULL;

	if (io_read_file(dir, "../" CA_KEY_NAME, CA_FILE_BYTES, &key, e) < 0 ||
	    io_read_file(dir, "../" CA_CERT_NAME, CA_FILE_BYTES, &cert, e) < 0)
		return -1;
	ret = ca_open(buf_str(&key), buf_str(&cert), &ca, e);
	explicit_bzero(key.p, key.n);
	return ret < 0 ? -1 : tls_server_new(ca, &d->tls, e);
}

/* Without the file, or one that can be read, its own default holds. */
static void open_forward(struct tandemd *d)
{
	auto_buf text = {0};

	if (d->no_egress[0])
		return;
	if (io_read_file(AT_FDCWD, "/etc/resolv.conf", RESOLV_CONF_MAX, &text, NULL) < 0)
		buf_clear(&text);
	d->forward = forward_new(d->loop, buf_str(&text));
}

static int open_events(struct tandemd *d, struct err *e)
{
	d->dues = dues_new(d->loop, d->store);
	dues_journal(d->dues, d->journal);
	d->schedules = schedules_new(&(struct schedules_opts){
		.store = d->store, .deliver = d->deliver, .dues = d->dues, .account = d->account, .region = d->region});
	return buses_new(&(struct buses_opts){.store = d->store,
					      .deliver = d->deliver,
					      .dues = d->dues,
					      .account = d->account,
					      .region = d->region},
			 &d->buses, e);
}

/* What holds events, and leads them on. */
static int open_holders(struct tandemd *d, struct err *e)
{
	struct queues_opts qo = {.loop = d->loop, .store = d->store, .account = d->account, .region = d->region};

	if (queues_new(&qo, &d->queues, e) < 0)
		return -1;

	struct streams_opts yo = {.loop = d->loop, .store = d->store, .account = d->account, .region = d->region};

	d->streams = streams_new(&yo);
	d->deliver = deliver_new(&(struct deliver_opts){.store = d->store,
							.queues = d->queues,
							.streams = d->streams,
							.account = d->account,
							.region = d->region});
	d->notify = notify_new(&(struct notify_opts){
		.store = d->store, .deliver = d->deliver, .account = d->account, .region = d->region});

	d->topics = topics_new(&(struct topics_opts){.store = d->store,
						     .deliver = d->deliver,
						     .queues = d->queues,
						     .account = d->account,
						     .region = d->region});

	struct objects_opts oo = {.loop = d->loop, .store = d->store, .notify = notify_event, .arg = d->notify};

	if (objects_open(&oo, &d->objects, e) < 0)
		return -1;
	return 0;
}

static void budgets_changed(void *arg)
{
	struct tandemd *d = arg;

	sched_budgets_changed(d->sched);
	if (d->services)
		services_budgets_changed(d->services);
	if (d->tasks)
		tasks_budgets_changed(d->tasks);
}

static void running(void *arg, struct ledger_query *q)
{
	struct tandemd *d = arg;

	if (d->tasks)
		tasks_so_far(d->tasks, q);
}

static void task_changed(struct task_watch *w, struct task *k)
{
	budgets_began(container_of(w, struct tandemd, containers)->budgets);
}

static bool closed(void *arg, const char *workload, const char *tags, bool *ret_stops, char why[320])
{
	struct tandemd *d = arg;
	struct budget_stop stop;

	if (!budgets_closed(d->budgets, workload, tags, false, &stop))
		return false;
	*ret_stops = stop.stops;
	strlcpy_(why, stop.why, 320);
	return true;
}

static void open_budgets(struct tandemd *d)
{
	d->budgets = budgets_new(&(struct budgets_opts){.loop = d->loop,
							.store = d->store,
							.ledger = d->ledger,
							.journal = d->journal,
							.running = running,
							.changed = budgets_changed,
							.arg = d});
}

static void open_sched(struct tandemd *d)
{
	struct sched_opts so = {.loop = d->loop,
				.store = d->store,
				.ledger = d->ledger,
				.logs = d->logs,
				.journal = d->journal,
				.spans = otlp_spans(d->otlp),
				.spawn = d->spawn,
				.images = d->images,
				.http = d->http,
				.account = d->account,
				.region = d->region,
				.sandbox_api = api_handle_sandbox,
				.sandbox_streams = api_streams_inside,
				.tls = d->tls,
				.creds = api_handle_credentials,
				.forward = d->forward,
				.sandbox_arg = &d->api,
				.budgets = d->budgets,
				.async = deliver_hooks(d->deliver)};

	d->sched = sched_new(&so);
	deliver_sched(d->deliver, d->sched);
}

#define MACHINE_SETTING "machine_look"

static void keep_look(void *arg, const char *look)
{
	struct tandemd *d = arg;

	store_setting_put(d->store, NULL, MACHINE_SETTING, look);
}

static void blanks(void *arg, int64_t *ret_cpu_us, int64_t *ret_bytes)
{
	struct tandemd *d = arg;

	sched_blanks_use(d->sched, ret_cpu_us, ret_bytes);
}

static int64_t helpers_us(void *arg)
{
	struct tandemd *d = arg;

	return spawn_helpers_us(d->spawn);
}

static void on_row(void *arg, const struct ledger_row *row)
{
	struct tandemd *d = arg;

	if (d->meter)
		meter_row(d->meter);
	budgets_row(d->budgets, row);
}

static void open_meter(struct tandemd *d)
{
	d->meter = meter_new(&(struct meter_opts){.ledger = d->ledger,
						  .group_cpu = d->listeners[SL_GROUP_CPU],
						  .group_memory = d->listeners[SL_GROUP_MEMORY],
						  .last = store_setting(d->store, MACHINE_SETTING),
						  .keep = keep_look,
						  .blanks = blanks,
						  .helpers_us = helpers_us,
						  .arg = d});
	ledger_on_row(d->ledger, on_row, d);
}

static void open_containers(struct tandemd *d)
{
	struct tasks_opts to = {.loop = d->loop,
				.spawn = d->spawn,
				.images = d->images,
				.store = d->store,
				.logs = d->logs,
				.journal = d->journal,
				.spans = otlp_spans(d->otlp),
				.ledger = d->ledger,
				.forward = d->forward,
				.http = d->http,
				.api_streams = api_streams_inside,
				.api = api_handle_task,
				.metadata = api_handle_task_metadata,
				.tls = d->tls,
				.inside_arg = &d->api,
				.region = d->region,
				.closed = closed,
				.closed_arg = d};

	d->tasks = tasks_new(&to);
	d->containers.changed = task_changed;
	task_watch(d->tasks, &d->containers);
	struct services_opts vo = {.loop = d->loop,
				   .store = d->store,
				   .spawn = d->spawn,
				   .tasks = d->tasks,
				   .images = d->images,
				   .ledger = d->ledger,
				   .journal = d->journal,
				   .keep_us = policy_keep_us,
				   .spans = otlp_spans(d->otlp),
				   .closed = closed,
				   .closed_arg = d,
				   .pull = api_pull,
				   .arg = &d->api};

	d->services = services_new(&vo);
	d->lanes = lanes_new(&(struct lanes_opts){.loop = d->loop,
						  .store = d->store,
						  .ledger = d->ledger,
						  .sched = d->sched,
						  .services = d->services,
						  .journal = d->journal});
	d->gateway = gateway_new(d->sched, d->services, d->store, d->account);
}

static void open_callers(struct tandemd *d)
{
	d->mappings = mappings_new(&(struct mappings_opts){.loop = d->loop,
							   .store = d->store,
							   .sched = d->sched,
							   .queues = d->queues,
							   .streams = d->streams,
							   .deliver = d->deliver,
							   .account = d->account,
							   .region = d->region});
	d->urls = urls_new(d->sched, d->store, d->account);
}

static void open_api(struct tandemd *d)
{
	struct api_opts ao = {.loop = d->loop,
			      .store = d->store,
			      .sched = d->sched,
			      .ledger = d->ledger,
			      .logs = d->logs,
			      .images = d->images,
			      .tasks = d->tasks,
			      .services = d->services,
			      .queues = d->queues,
			      .topics = d->topics,
			      .objects = d->objects,
			      .deliver = d->deliver,
			      .urls = d->urls,
			      .notify = d->notify,
			      .streams = d->streams,
			      .buses = d->buses,
			      .schedules = d->schedules,
			      .mappings = d->mappings,
			      .account = d->account,
			      .region = d->region,
			      .auth_none = d->config.auth_none};

	d->api = api_new(&ao);
	gateway_on_url(d->gateway, api_handle, d->api);

	real_address(first_fd(d, SL_API4, SL_API6), &d->config.api);
	real_address(first_fd(d, SL_GATEWAY4, SL_GATEWAY6), &d->config.gateway);

	auto_free char *own = xasprintf("%s.dkr.ecr.%s.amazonaws.com", d->account, d->region);

	images_own(d->images, own, ntohs(d->config.api.sin6_port));
}

static void open_admin(struct tandemd *d)
{
	struct admin_opts mo = {.is = {.store = d->store,
				       .services = d->services,
				       .images = d->images,
				       .queues = d->queues,
				       .objects = d->objects,
				       .streams = d->streams,
				       .deliver = d->deliver,
				       .notify = d->notify,
				       .mappings = d->mappings,
				       .topics = d->topics,
				       .buses = d->buses,
				       .schedules = d->schedules,
				       .urls = d->urls,
				       .budgets = d->budgets},
				.loop = d->loop,
				.store = d->store,
				.sched = d->sched,
				.spawn = d->spawn,
				.dir = d->listeners[SL_STATE_DIR],
				.tasks = d->tasks,
				.services = d->services,
				.ledger = d->ledger,
				.meter = d->meter,
				.logs = d->logs,
				.journal = d->journal,
				.lanes = d->lanes,
				.spans = otlp_spans(d->otlp),
				.images = d->images,
				.http = d->http,
				.account = d->account,
				.region = d->region,
				.config = &d->config,
				.ready = is_ready,
				.no_egress = d->no_egress,
				.arg = d};

	d->admin = admin_new(&mo);
}

int tandemd_open(struct tandemd *d, struct err *e)
{
	if (open_state(d, e) < 0)
		return -1;
	if (open_tls(d, e) < 0)
		log_warn("daemon", "functions cannot reach the platform by AWS's own names: %s", e->text);
	if (images_open(d->loop, d->store, d->spawn, &d->images, e) < 0)
		return -1;
	d->http = http_server_new(d->loop);
	open_forward(d);
	if (open_holders(d, e) < 0)
		return -1;
	open_budgets(d);
	open_sched(d);
	open_meter(d);
	if (open_events(d, e) < 0)
		return -1;
	open_containers(d);
	open_callers(d);
	open_api(d);
	open_admin(d);
	return 0;
}
