/* SPDX-License-Identifier: Apache-2.0 */
/* The two lanes of a service: the same instances behind the same route, that come and go for other reasons. */
#include <stdio.h>
#include "service/service_int.h"

#define IDLE_US	     60000000ll /* the container lane's */
#define HELD_LOOK_US 2000000	/* memory with nothing open is looked at no more often */
#define AVERAGED     8

struct service_shape service_shape(const struct service *sv)
{
	const struct service_spec *s = &sv->spec;
	bool function = sv->lane == LANE_FUNCTION;
	struct service_shape ret = {s->min, s->max, s->concurrency, s->idle_us};

	if (!function && (s->lane == LANE_WISH_CONTAINER || s->lane == LANE_WISH_AUTO) && s->max && !s->min)
		ret.min = 1;
	if (function && !ret.concurrency)
		ret.concurrency = 1;
	if (ret.idle_us < 0)
		ret.idle_us = function ? sv->ss->o.keep_us(sv->start_us, sv->held_bytes) : IDLE_US;
	return ret;
}

static int64_t average(int64_t was, int64_t sample)
{
	return was ? was + (sample - was) / AVERAGED : sample;
}

void service_lane_started(struct replica *in)
{
	struct service *sv = in->d->sv;

	if (in->asked_us)
		sv->start_us = average(sv->start_us, in->ready_us - in->asked_us);
	in->asked_us = 0; /* it may become ready again */
}

void service_lane_look(struct service *sv)
{
	int64_t now = loop_now_us(sv->ss->o.loop);
	struct task_usage u;

	if (sv->held_bytes && now - sv->held_seen_us < HELD_LOOK_US)
		return;
	list_each(&service_primary(sv)->instances, it)
	{
		struct replica *in = container_of(it, struct replica, node);

		if (in->state != SI_READY || in->open || !replica_usage(in, &u) || u.mem_bytes <= 0)
			continue;
		sv->held_bytes = average(sv->held_bytes, u.mem_bytes);
		sv->held_seen_us = now;
		return;
	}
}

/* The first container's or one beside it: several instances at once would have the same one. */
static struct str written(const struct json *doc)
{
	const struct json *m;

	for (unsigned i = 0; i < task_doc_n(doc); i++)
		for (size_t k = 0; (m = json_at(json_get(task_doc_container(doc, i), "mounts"), k)); k++)
			if (json_get(m, "volume") && !json_get_bool(m, "read_only", false))
				return json_get_str(m, "volume");
	return STR_NULL;
}

bool service_lane_cannot(const struct service_spec *s, const char *text, char *why, size_t size)
{
	auto_json doc = s->max > 1 ? json_parse(str_of(text), NULL) : NULL;
	struct str volume = doc ? written(doc) : STR_NULL;

	*why = 0;
	if (!strcmp(s->project, "api"))
		snprintf(why, size, "made through ECS: its desired count says how many instances there are");
	else if (!*s->route || s->n_ports)
		snprintf(why, size, "it has %s: only requests to a route say when it has something to do",
			 s->n_ports ? "ports" : "no route");
	else if (volume.p)
		snprintf(why, size, "it writes to the volume %.100s, which several instances would share (max: 1?)",
			 volume.p);
	return *why;
}

static bool cannot(const struct service *sv, char *why, size_t size)
{
	return service_lane_cannot(&sv->spec, service_primary(sv)->doc, why, size);
}

static void put(struct service *sv, enum lane lane)
{
	if (sv->lane != lane)
		figures_account(sv); /* until here it was in the other one */
	sv->lane = lane;
	list_each(&service_primary(sv)->instances, it)
		task_lane_set(container_of(it, struct replica, node)->task, lane);
}

void service_lane_begin(struct service *sv)
{
	enum lane_wish wish = sv->spec.lane;
	char why[200];

	if (wish != LANE_WISH_AUTO || cannot(sv, why, sizeof(why)))
		put(sv, wish == LANE_WISH_FUNCTION ? LANE_FUNCTION : LANE_CONTAINER);
}

int service_lane_set(struct service *sv, enum lane to, struct err *e)
{
	char why[200];

	if (sv->state != SERVICE_ACTIVE)
		return err_set(e, ERR_INVALID, "the service was deleted");
	if (to != LANE_FUNCTION && to != LANE_CONTAINER)
		return err_set(e, ERR_INVALID, "a service runs in the lanes function and container only");
	if (to == LANE_FUNCTION && cannot(sv, why, sizeof(why)))
		return err_set(e, ERR_INVALID, "%s", why);
	if (sv->lane == to)
		return 0;
	if (sv->rolling)
		return err_set(e, ERR_CONFLICT, "a rollout is under way");
	put(sv, to);
	service_say(sv, "it is in the %s lane now", lane_name[to]);
	service_save(sv, NULL);
	service_wake(sv);
	return 0;
}

void service_lane_info(const struct service *sv, struct service_lane_info *ret)
{
	struct task_usage u;

	*ret = (struct service_lane_info){
		.lane = sv->lane,
		.min = sv->spec.min,
		.open = sv->open,
		.asked = sv->asked,
		.open_us = sv->open_us +
			   (sv->open - (int64_t)sv->n_held) * (loop_now_us(sv->ss->o.loop) - sv->open_seen_us),
		.seats = sv->spec.concurrency,
		.start_us = sv->start_us,
		.held_bytes = sv->held_bytes,
		.keep_us = sv->spec.idle_us >= 0 ? sv->spec.idle_us : sv->ss->o.keep_us(sv->start_us, sv->held_bytes)};
	list_each(&service_primary(sv)->instances, it)
	{
		const struct replica *in = container_of(it, struct replica, node);

		if (in->state >= SI_STOP || !replica_usage(in, &u))
			continue;
		ret->cpu_us += u.cpu_us;
		ret->running++;
	}
	cannot(sv, ret->cannot, sizeof(ret->cannot));
}
