/* SPDX-License-Identifier: Apache-2.0 */
/* Building all parts, in the order of who needs whom. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/io.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/daemon.h"
#include "image/registry.h"
#include "ledger/prices.h"
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
	const char *price = store_setting(d->store, "machine_usd_hour");
	const char *snapshots = store_setting(d->store, SNAPSHOT_SETTING);
	int64_t bytes;
	double usd;

	if (account)
		strlcpy_(d->account, account, sizeof(d->account));
	if (region)
		strlcpy_(d->region, region, sizeof(d->region));
	if (price && price_parse(price, &usd) == 0)
		ledger_machine_price(d->ledger, usd);
	if (snapshots && str_to_i64(str_of(snapshots), 0, INT64_MAX, &bytes) == 0)
		snapshot_disk_max(d->store, (uint64_t)bytes);
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

	struct sched_opts so = {.loop = d->loop,
				.store = d->store,
				.ledger = d->ledger,
				.logs = d->logs,
				.spawn = d->spawn,
				.images = d->images,
				.http = d->http,
				.account = d->account,
				.region = d->region,
				.sandbox_api = api_handle_sandbox,
				.tls = d->tls,
				.creds = api_handle_credentials,
				.forward = d->forward,
				.sandbox_arg = &d->api};

	d->sched = sched_new(&so);
	struct tasks_opts to = {.loop = d->loop,
				.spawn = d->spawn,
				.images = d->images,
				.store = d->store,
				.logs = d->logs,
				.ledger = d->ledger,
				.forward = d->forward,
				.http = d->http,
				.api = api_handle_task,
				.metadata = api_handle_task_metadata,
				.tls = d->tls,
				.inside_arg = &d->api,
				.region = d->region};

	d->tasks = tasks_new(&to);
	struct services_opts vo = {.loop = d->loop,
				   .store = d->store,
				   .spawn = d->spawn,
				   .tasks = d->tasks,
				   .images = d->images,
				   .ledger = d->ledger,
				   .pull = api_pull,
				   .arg = &d->api};

	d->services = services_new(&vo);
	d->gateway = gateway_new(d->sched, d->services, d->store, d->account);

	struct api_opts ao = {.loop = d->loop,
			      .store = d->store,
			      .sched = d->sched,
			      .ledger = d->ledger,
			      .logs = d->logs,
			      .images = d->images,
			      .tasks = d->tasks,
			      .services = d->services,
			      .account = d->account,
			      .region = d->region,
			      .auth_none = d->config.auth_none};

	d->api = api_new(&ao);

	real_address(first_fd(d, SL_API4, SL_API6), &d->config.api);
	real_address(first_fd(d, SL_GATEWAY4, SL_GATEWAY6), &d->config.gateway);

	auto_free char *own = xasprintf("%s.dkr.ecr.%s.amazonaws.com", d->account, d->region);

	images_own(d->images, own, ntohs(d->config.api.sin6_port));

	struct admin_opts mo = {.loop = d->loop,
				.store = d->store,
				.sched = d->sched,
				.spawn = d->spawn,
				.dir = d->listeners[SL_STATE_DIR],
				.tasks = d->tasks,
				.services = d->services,
				.ledger = d->ledger,
				.logs = d->logs,
				.images = d->images,
				.http = d->http,
				.account = d->account,
				.region = d->region,
				.config = &d->config,
				.ready = is_ready,
				.no_egress = d->no_egress,
				.arg = d};

	d->admin = admin_new(&mo);
	return 0;
}
