/* SPDX-License-Identifier: Apache-2.0 */
/* What `tandem bench` measured of a workload, for those who decide from it. It says of what, and goes with the workload. */
#include "api/admin_int.h"
#include "api/shape.h"
#include "base/clock.h"
#include "sched/lane_model.h"
#include "store/record.h"

#define FACT_MAX 1e15

struct measured {
	char *key;
	struct buf of; /* another one when the code, the size or the seats are others */
};

static void measured_done(struct measured *m)
{
	free(m->key);
	buf_done(&m->of);
}

/* Of a function, or of a service. The function's key is one that function_forget knows. */
static struct measured measured_of(const struct function *f, const struct service *sv)
{
	struct measured m = {0};
	struct deployment_info d;

	if (f) {
		m.key = xasprintf("measured/%s:", f->name);
		buf_addf(&m.of, "%s, %d at once", f->latest->id, f->scale.concurrency);
		return m;
	}
	service_deployment(sv, 0, &d);
	m.key = xasprintf(SERVICE_MEASURED "%s/%s", service_spec_of(sv)->cluster, service_spec_of(sv)->name);
	buf_addf(&m.of, "%s:%d, %d at once", d.family, d.revision, service_spec_of(sv)->concurrency);
	return m;
}

void admin_put_measured(struct admin *a, const struct function *f, const struct service *sv, struct jw *w)
{
	auto_(measured_done) struct measured m = measured_of(f, sv);
	const char *doc = record_get(a->o.store, m.key);

	jw_str(w, "measures", buf_str(&m.of));
	if (doc)
		jw_raw(w, "measured", str_of(doc));
}

/* Either of them; or it is answered. */
static bool find(struct admin *a, struct http_req *r, struct str name, struct function **ret_f, struct service **ret_sv)
{
	*ret_f = function_get(a->o.store, name);
	*ret_sv = *ret_f ? NULL : admin_service_find(a, name);
	return *ret_sv || *ret_f || admin_function(a, r, name);
}

void admin_measured(struct admin *a, struct http_req *r, struct str name)
{
	struct function *f;
	struct service *sv;
	auto_object(w, out);

	if (!find(a, r, name, &f, &sv))
		return;
	admin_put_measured(a, f, sv, &w);
	admin_object(r, 200, &w);
}

struct saving {
	struct store_op op;
	struct http_req *r; /* NULL: gone */
};

static void saved(struct store_op *op, const struct err *e)
{
	struct saving *s = container_of(op, struct saving, op);
	auto_object(w, out);

	if (s->r && e->kind)
		admin_error(s->r, e);
	else if (s->r)
		admin_object(s->r, 200, &w);
	free(s);
}

/* What is new, and of what was measured before of the same the rest. */
static int merge(struct jw *w, const struct json *facts, const struct json *before, struct err *e)
{
	jw_obj(w, "facts");
	for (unsigned i = 0; i < LANE_FACT_N; i++) {
		const struct json *new = json_get(facts, lane_fact_name[i]),
				  *x = new ? new : json_get(before, lane_fact_name[i]);
		double v = json_real(json_get(x, "value"), -1), low = json_real(json_get(x, "low"), -1),
		       high = json_real(json_get(x, "high"), -1);

		if (!x)
			continue;
		if (!(low >= 0 && low <= v && v <= high && high <= FACT_MAX))
			return err_set(e, ERR_INVALID, "%s is {value, low, high}: 0 <= low <= value <= high <= %g",
				       lane_fact_name[i], FACT_MAX);
		jw_obj(w, lane_fact_name[i]);
		jw_real(w, "value", v);
		jw_real(w, "low", low);
		jw_real(w, "high", high);
		jw_end(w, '}');
	}
	jw_end(w, '}');
	return 0;
}

void admin_measured_put(struct admin *a, struct http_req *r, struct str name)
{
	struct err e = {0};
	auto_json j = json_parse(r->body, &e);
	auto_json before = NULL;
	auto_buf strict = {0};
	struct function *f;
	struct service *sv;
	struct saving *s;
	struct api_err why;
	char when[32];
	auto_object(w, doc);

	if (!j)
		return admin_error(r, &e);
	if (shape_copy("{of!:s,facts!:{}}", j, &strict, &why) < 0)
		return admin_errorf(r, ERR_INVALID, "%s", why.text);
	if (!find(a, r, name, &f, &sv))
		return;

	auto_(measured_done) struct measured m = measured_of(f, sv);
	const char *was = record_get(a->o.store, m.key);

	if (!str_eq(json_get_str(j, "of"), buf_str(&m.of)))
		return admin_errorf(r, ERR_CONFLICT, "it was changed while it was measured");
	before = was ? json_parse(str_of(was), NULL) : NULL;
	if (!str_eq(json_get_str(before, "of"), buf_str(&m.of))) {
		json_free(before);
		before = NULL;
	}
	jw_str(&w, "of", buf_str(&m.of));
	jw_strc(&w, "at", clock_fmt_iso(clock_wall_us(), when));
	if (merge(&w, json_get(j, "facts"), json_get(before, "facts"), &e) < 0)
		return admin_error(r, &e);
	jw_end(&w, '}');
	s = xcalloc(1, sizeof(*s));
	s->op.done = saved;
	s->r = r;
	http_on_gone_clear(&s->r);
	record_put(a->o.store, &s->op, m.key, doc.p);
}
