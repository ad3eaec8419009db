/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of services, for those who show it. */
#include <assert.h>
#include <stdio.h>
#include "service/service_int.h"

const char *const service_state_name[SERVICE_STATE_N] = {"ACTIVE", "DRAINING", "INACTIVE"};
const char *const deployment_state_name[DEPLOYMENT_STATE_N] = {"IN_PROGRESS", "COMPLETED", "FAILED"};
static_assert(SERVICE_STATE_N == 3 && DEPLOYMENT_STATE_N == 3, "names");

void service_info(const struct service *sv, struct service_info *ret)
{
	*ret = (struct service_info){.state = sv->state,
				     .desired = sv->desired,
				     .open = sv->open - (int)sv->n_held,
				     .held = (int)sv->n_held,
				     .created_wall_us = sv->created_wall_us,
				     .n_events = sv->n_events};
	list_each(&sv->deployments, it)
	{
		struct deployment *d = container_of(it, struct deployment, node);

		ret->pending += deployment_count(d, COUNT_ON_THE_WAY);
		ret->running += deployment_count(d, COUNT_READY);
		ret->n_deployments++;
	}
	if (sv->n_held)
		ret->held_us = loop_now_us(sv->ss->o.loop) - list_first(&sv->held, struct service_use, node)->since_us;
	line_waits_for(sv, ret->waits_for, sizeof(ret->waits_for));
	figures_sum(sv, &ret->requests, &ret->errors);
}

void service_usage(const struct service *sv, int64_t *ret_cpu_us, int64_t *ret_mem_bytes)
{
	struct task_usage u;

	*ret_cpu_us = *ret_mem_bytes = 0;
	list_each(&sv->deployments, it)
	{
		struct deployment *d = container_of(it, struct deployment, node);

		list_each(&d->instances, i)
		{
			if (!replica_usage(container_of(i, struct replica, node), &u))
				continue;
			*ret_cpu_us += u.cpu_us > 0 ? u.cpu_us : 0;
			*ret_mem_bytes += u.mem_bytes > 0 ? u.mem_bytes : 0;
		}
	}
}

static int weight(const struct service *sv, const struct deployment *d)
{
	bool primary = d == service_primary(sv);

	if (!sv->rolling || !sv->old)
		return primary ? 100 : 0;
	if (sv->weight < 0) /* all that are ready are alike */
		return -1;
	return primary ? sv->weight : d == sv->old ? 100 - sv->weight : 0;
}

void service_deployment(const struct service *sv, unsigned i, struct deployment_info *ret)
{
	struct list *n = sv->deployments.next;
	struct deployment *d;

	while (i--)
		n = n->next;
	d = container_of(n, struct deployment, node);
	*ret = (struct deployment_info){.primary = d == service_primary(sv),
					.state = d->state,
					.family = d->family,
					.reason = d->reason,
					.revision = d->revision,
					.desired = d->want,
					.pending = deployment_count(d, COUNT_ON_THE_WAY),
					.running = deployment_count(d, COUNT_READY),
					.failed = d->failed,
					.weight = weight(sv, d),
					.created_wall_us = d->created_wall_us,
					.updated_wall_us = d->updated_wall_us};
	strlcpy_(ret->id, d->id, sizeof(ret->id));
}

const struct service_event *service_event(const struct service *sv, unsigned i)
{
	return sv->events[i];
}

const char *service_log_name(const struct service_spec *s, char ret[TASK_LOG_MAX + 1])
{
	int n = snprintf(ret, TASK_LOG_MAX + 1, "service:%s:%s", s->cluster, s->name);

	return n <= TASK_LOG_MAX ? ret : NULL;
}

bool services_log_wanted(const struct services *ss, const char *log_name)
{
	for (struct service *sv = service_next(ss, NULL); sv; sv = service_next(ss, sv)) {
		char name[TASK_LOG_MAX + 1];

		if (service_log_name(service_spec_of(sv), name) && !strcmp(name, log_name))
			return true;
	}
	return false;
}
