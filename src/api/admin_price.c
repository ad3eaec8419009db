/* SPDX-License-Identifier: Apache-2.0 */
/* What a plan keeps running though nobody asks for it, and what a month of it costs, before it is done. */
#include <math.h>
#include "api/admin_int.h"
#include "ledger/prices.h"
#include "task/doc.h"

/* So many instances of one size are held ready, all day. */
struct kept {
	const char *name, *kind; /* "function", "service" */
	int instances;
	double memory_mb, vcpu; /* of one; vcpu 0: what its memory buys */
	enum price_offer offer; /* who keeps the like */
};
struct sum {
	struct jw *w;
	const struct ledger_prices *prices;
	double here, aws;
};

/* Here: the memory as it is declared, which is what an instance holds at most; CPU is paid for when it is used. */
static void put_one(struct sum *s, const struct kept *k)
{
	double kept_s = k->instances * PRICE_MONTH_S;
	struct price_use use = {.memory_mb = k->memory_mb, .vcpu = k->vcpu};
	double here = price_machine_use(&s->prices->machine, 0, k->memory_mb * 1048576, kept_s * 1e6), aws;

	if (k->offer == PRICE_LAMBDA)
		use.kept_s = kept_s;
	else
		use.instance_s = kept_s;
	aws = price_offer_usd(&s->prices->book, k->offer, s->prices->arch, &use);
	s->here += here;
	s->aws += isnan(aws) ? 0 : aws;
	jw_obj(s->w, NULL);
	jw_strc(s->w, "name", k->name);
	jw_strc(s->w, "kind", k->kind);
	jw_int(s->w, "instances", k->instances);
	jw_real(s->w, "memory_mb", k->memory_mb);
	if (k->vcpu > 0)
		jw_real(s->w, "vcpu", k->vcpu);
	jw_real(s->w, "usd_month_machine", here);
	jw_real(s->w, "usd_month_aws", aws); /* NAN: null */
	jw_strc(s->w, "offer", price_offer_name[k->offer]);
	jw_end(s->w, '}');
}

static void put_function(struct sum *s, const struct manifest_function *f, const struct function *have)
{
	bool container = f->scale.lane == LANE_WISH_CONTAINER ||
			 (f->scale.lane == LANE_WISH_AUTO && have && have->lane == LANE_CONTAINER);
	struct kept k = {.name = f->name,
			 .kind = "function",
			 .instances = container && f->scale.min < 1 ? 1 : f->scale.min,
			 .memory_mb = f->memory_mb,
			 .vcpu = f->cpu_quota_us / 100000.0,
			 .offer = container ? PRICE_FARGATE : PRICE_LAMBDA};

	if (k.instances > 0)
		put_one(s, &k);
}

static void put_service(struct sum *s, const struct workload *wl)
{
	auto_json doc = json_parse(str_of(wl->doc), NULL);
	struct kept k = {.name = wl->name, .kind = "service", .instances = wl->spec.min, .offer = PRICE_FARGATE};
	double memory = json_real(json_get(doc, "memory_mb"), 0), cpu = json_real(json_get(doc, "cpu"), 0);

	if (wl->spec.lane == LANE_WISH_CONTAINER && wl->spec.max && !k.instances)
		k.instances = 1;
	for (unsigned i = 0; i < task_doc_n(doc); i++) {
		const struct json *c = task_doc_container(doc, i);

		k.memory_mb += json_real(json_get(c, "memory_mb"), TASK_MEMORY_MB);
		k.vcpu += json_real(json_get(c, "cpu"), TASK_CPU);
	}
	k.memory_mb = memory > 0 ? memory : k.memory_mb;
	k.vcpu = cpu > 0 ? cpu : k.vcpu;
	if (k.instances > 0)
		put_one(s, &k);
}

void admin_put_kept(struct admin *a, const struct plan *p, struct jw *w)
{
	struct sum s = {.w = w, .prices = ledger_prices(a->o.ledger)};

	jw_arr(w, "kept");
	for (size_t i = 0; i < p->n; i++) {
		const struct plan_entry *en = &p->entries[i];

		if (en->want)
			put_function(&s, en->want, en->have);
		else if (en->workload && en->workload->is_service)
			put_service(&s, en->workload);
	}
	jw_end(w, ']');
	jw_obj(w, "kept_total");
	jw_real(w, "usd_month_machine", s.here);
	jw_real(w, "usd_month_aws", s.aws);
	jw_strc(w, "basis", "declared");
	jw_real(w, "machine_usd_per_hour", s.prices->machine.usd_hour);
	jw_strc(w, "prices_as_of", s.prices->book.as_of);
	jw_end(w, '}');
}
