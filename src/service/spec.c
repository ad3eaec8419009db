/* SPDX-License-Identifier: Apache-2.0 */
/* What is wanted of a service, in the words of tandem.yaml, which are also those of its record. */
#include <arpa/inet.h>
#include <stdio.h>
#include "base/mem.h"
#include "service/service_int.h"

#define SECONDS_MAX (7 * 86400)
#define PERCENT_MAX 1000
#define MANY	    10000 /* open at one instance */
#define SOURCE_MAX  262144

static const char *const strategy_name[] = {"rolling", "replace", "blue-green", "canary"};
static const char *const restart_name[] = {"always", "on-failure", "never"};

void service_spec_default(struct service_spec *s)
{
	*s = (struct service_spec){.max = 1, .idle_us = -1, .lane = LANE_WISH_N};
	s->rollout = (struct rollout_spec){.steps = {10, 50},
					   .n_steps = 2,
					   .wait_us = -1,
					   .max_percent = 200,
					   .min_percent = 100,
					   .breaker = true,
					   .rollback = true};
	strlcpy_(s->cluster, "default", sizeof(s->cluster));
	strlcpy_(s->project, "api", sizeof(s->project));
}

void service_spec_done(struct service_spec *s)
{
	free(take_ptr(s->source));
}

/* Seconds, or a number with ms, s, m or h. */
static int to_us(const struct json *v, int64_t *ret, struct err *e)
{
	static const struct {
		const char *unit;
		int64_t us;
	} units[] = {{"ms", 1000}, {"s", 1000000}, {"m", 60000000}, {"h", 3600000000}};
	struct str text = json_str(v);
	int64_t n = json_int(v, -1), unit = 1000000;

	for (size_t i = 0; text.n && i < ARRAY_SIZE(units); i++) {
		struct str number = {text.p, text.n - strlen(units[i].unit)};

		if (!str_ends(text, units[i].unit) || str_to_i64(number, 0, SECONDS_MAX * 1000ll, &n) < 0)
			continue;
		unit = units[i].us;
		break;
	}
	if (n < 0 || n > SECONDS_MAX * 1000000ll / unit)
		return err_set(e, ERR_INVALID, "is a time like 30s, 5m or 500ms, of at most 7 days");
	*ret = n * unit;
	return 0;
}

static int to_word(const struct json *v, const char *const *names, unsigned n, unsigned *ret, struct err *e)
{
	auto_buf all = {0};

	for (unsigned i = 0; i < n; i++) {
		if (str_eqc(json_str(v), names[i])) {
			*ret = i;
			return 0;
		}
		buf_addf(&all, "%s%s", i ? ", " : "", names[i]);
	}
	return err_set(e, ERR_INVALID, "is one of %s", all.p);
}

/* [ADDRESS:]HOST:CONTAINER; without an address any of IPv4; an IPv6 address stands in brackets. */
static int to_port(struct str text, struct service_port *ret, struct err *e)
{
	auto_free char *at = NULL;
	int64_t host, to;
	const char *p;

	*ret = (struct service_port){.at = {.sin6_family = AF_INET6}};
	p = memrchr(text.p, ':', text.n);
	if (!p || str_to_i64((struct str){p + 1, (size_t)(text.p + text.n - p - 1)}, 1, 65535, &to) < 0)
		goto wrong;
	text.n = (size_t)(p - text.p);
	p = memrchr(text.p, ':', text.n);
	if (str_to_i64(p ? (struct str){p + 1, (size_t)(text.p + text.n - p - 1)} : text, 1, 65535, &host) < 0)
		goto wrong;
	at = p ? xasprintf("%s" STR_FMT, memchr(text.p, ':', (size_t)(p - text.p)) ? "" : "::ffff:", (int)(p - text.p),
			   text.p)
	       : xstrdup("::ffff:0.0.0.0");
	if (*at == '[' && at[strlen(at) - 1] == ']') {
		at[strlen(at) - 1] = 0;
		memmove(at, at + 1, strlen(at));
	}
	if (inet_pton(AF_INET6, at, &ret->at.sin6_addr) != 1)
		goto wrong;
	ret->at.sin6_port = htons((uint16_t)host);
	ret->to = (uint16_t)to;
	return 0;
wrong:
	return err_set(e, ERR_INVALID,
		       "holds ports like \"8443:443\" or \"127.0.0.1:8443:443\": of the host, then of the container");
}

static int set_ports(struct service_spec *s, const struct json *v, struct err *e)
{
	if (json_type(v) != JSON_ARRAY || json_len(v) > SERVICE_PORTS_MAX)
		return err_set(e, ERR_INVALID, "is a list of at most %d ports like \"8443:443\"", SERVICE_PORTS_MAX);
	s->n_ports = 0;
	for (size_t i = 0; i < json_len(v); i++) {
		struct str text = json_str(json_at(v, i));

		if (to_port(text.p ? text : STR("?"), &s->ports[s->n_ports], e) < 0)
			return -1;
		s->n_ports++;
	}
	return 0;
}

static int set_steps(struct rollout_spec *r, const struct json *v, struct err *e)
{
	int64_t last = 0;

	r->n_steps = 0;
	for (size_t i = 0; i < json_len(v) && i < ROLLOUT_STEPS_MAX; i++) {
		int64_t n = json_int(json_at(v, i), 0);

		if (n <= last || n > 99)
			break;
		r->steps[r->n_steps++] = (int)(last = n);
	}
	return json_type(v) == JSON_ARRAY && r->n_steps && (size_t)r->n_steps == json_len(v)
		       ? 0
		       : err_set(e, ERR_INVALID, "is a list of at most %d rising percentages below 100, like [10, 50]",
				 ROLLOUT_STEPS_MAX);
}

static int set_route(struct service_spec *s, struct str v, struct err *e)
{
	const char *star = v.n ? memchr(v.p, '*', v.n) : NULL;

	for (size_t i = 0; i < v.n; i++)
		if ((unsigned char)v.p[i] <= ' ' || (unsigned char)v.p[i] >= 127 || strchr("?#%\"<>\\^`{|}", v.p[i]))
			return err_set(e, ERR_INVALID,
				       "holds plain characters of a path only; all below a prefix is /prefix/*");
	if (!v.p || v.n >= sizeof(s->route) || (v.n && *v.p != '/') ||
	    (star && (star != v.p + v.n - 1 || star[-1] != '/')))
		return err_set(e, ERR_INVALID, "is a path like /predict, or /shop/* for all below one");
	snprintf(s->route, sizeof(s->route), STR_FMT, STR_ARG(v));
	return 0;
}

/* Members that are numbers, words, times and truths, by where they lie. */
struct member {
	const char *key;
	enum { NUMBER, TIME, WORD, TRUTH, TEXT } kind;
	size_t at;
	int64_t min, max; /* TEXT: bytes of the array */
	const char *const *words;
};
#define AT(m)	 offsetof(struct service_spec, m)
#define TEXT_(m) TEXT, AT(m), 0, sizeof(((struct service_spec *)0)->m), NULL

static const struct member members[] = {
	{"min", NUMBER, AT(min), 0, SERVICE_MAX, NULL},
	{"max", NUMBER, AT(max), 0, SERVICE_MAX, NULL},
	{"concurrency", NUMBER, AT(concurrency), 0, MANY, NULL},
	{"cpu_percent", NUMBER, AT(cpu_percent), 0, 100, NULL},
	{"idle", TIME, AT(idle_us), 0, 0, NULL},
	{"restart", WORD, AT(restart), 0, RESTART_N, restart_name},
	{"lane", WORD, AT(lane), 0, LANE_WISH_N, lane_wish_name},
};
static const struct member rollout_members[] = {
	{"strategy", WORD, AT(rollout.strategy), 0, ROLLOUT_STRATEGY_N, strategy_name},
	{"wait", TIME, AT(rollout.wait_us), 0, 0, NULL},
	{"max_percent", NUMBER, AT(rollout.max_percent), 0, PERCENT_MAX, NULL},
	{"min_percent", NUMBER, AT(rollout.min_percent), 0, 100, NULL},
	{"breaker", TRUTH, AT(rollout.breaker), 0, 0, NULL},
	{"rollback", TRUTH, AT(rollout.rollback), 0, 0, NULL},
};
/* Of the record alone: who it is and what it runs. */
static const struct member own_members[] = {
	{"cluster", TEXT_(cluster)},
	{"name", TEXT_(name)},
	{"project", TEXT_(project)},
	{"family", TEXT_(family)},
	{"revision", NUMBER, AT(revision), 1, INT32_MAX, NULL},
};

static int set_member(struct service_spec *s, const struct member *m, const struct json *v, struct err *e)
{
	char *to = (char *)s + m->at;
	struct str text = json_str(v);
	int64_t n = json_int(v, -1);

	switch (m->kind) {
	case NUMBER:
		if (n < m->min || n > m->max)
			return err_set(e, ERR_INVALID, "is a number from %lld to %lld", (long long)m->min,
				       (long long)m->max);
		*(int *)to = (int)n;
		return 0;
	case TIME:
		return to_us(v, (int64_t *)to, e);
	case WORD:
		return to_word(v, m->words, (unsigned)m->max, (unsigned *)to, e);
	case TRUTH:
		if (json_type(v) != JSON_BOOL)
			return err_set(e, ERR_INVALID, "is true or false");
		*(bool *)to = json_bool(v, false);
		return 0;
	default:
		if (!text.p || text.n >= (size_t)m->max)
			return err_set(e, ERR_INVALID, "is text of less than %lld bytes", (long long)m->max);
		memcpy(to, text.p, text.n + 1);
		return 0;
	}
}

static const struct member *find(const struct member *m, size_t n, const char *key)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(m[i].key, key))
			return &m[i];
	return NULL;
}

struct set {
	struct service_spec *s;
	struct err *e;
};

static int set_rollout(void *arg, const char *key, const struct json *v)
{
	struct set *set = arg;
	const struct member *m = find(rollout_members, ARRAY_SIZE(rollout_members), key);
	int r = m			? set_member(set->s, m, v, set->e)
		: !strcmp(key, "steps") ? set_steps(&set->s->rollout, v, set->e)
					: err_set(set->e, ERR_INVALID,
						  "is not known here; there are strategy, steps, wait, "
						  "max_percent, min_percent, breaker and rollback");

	return r < 0 ? err_wrap(set->e, "%s", key) : 0;
}

static int set_source(struct service_spec *s, struct str v, struct err *e)
{
	if (!v.p || v.n > SOURCE_MAX)
		return err_set(e, ERR_LIMIT, "is text of at most %d bytes", SOURCE_MAX);
	free(s->source);
	s->source = str_dup(v);
	return 0;
}

static int set_any(struct service_spec *s, const char *key, const struct json *v, struct err *e)
{
	const struct member *m = find(members, ARRAY_SIZE(members), key);

	if (m)
		return set_member(s, m, v, e);
	if (!strcmp(key, "port")) {
		int64_t n = json_int(v, -1);

		s->port = (uint16_t)n;
		return n < 1 || n > 65535 ? err_set(e, ERR_INVALID, "is a number from 1 to 65535") : 0;
	}
	if (!strcmp(key, "route"))
		return set_route(s, json_str(v), e);
	if (!strcmp(key, "ports"))
		return set_ports(s, v, e);
	if (!strcmp(key, "rollout") && json_type(v) == JSON_OBJECT)
		return json_each(v, set_rollout, &(struct set){s, e}) ? -1 : 0;
	return err_set(e, ERR_INVALID,
		       !strcmp(key, "rollout") ? "holds keys, like strategy: canary" : "is not known here");
}

int service_spec_set(struct service_spec *s, const char *key, const struct json *value, struct err *e)
{
	return set_any(s, key, value, e) < 0 ? err_wrap(e, "%s", key) : 0;
}

int service_spec_check(const struct service_spec *s, struct err *e)
{
	if (s->min > s->max)
		return err_set(e, ERR_INVALID, "min is %d, more than max, which is %d", s->min, s->max);
	if (*s->route && !s->port)
		return err_set(e, ERR_INVALID, "a route needs the port where the service takes its requests");
	if (s->lane == LANE_WISH_FUNCTION && (!*s->route || s->n_ports))
		return err_set(e, ERR_INVALID, "lane: function is for what requests start by a route alone; %s",
			       s->n_ports ? "it has ports" : "it has no route");
	return 0;
}

static int set_own(void *arg, const char *key, const struct json *v)
{
	struct set *set = arg;
	const struct member *m = find(own_members, ARRAY_SIZE(own_members), key);

	if (m)
		return set_member(set->s, m, v, set->e);
	if (!strcmp(key, "source"))
		return set_source(set->s, json_str(v), set->e);
	return service_spec_set(set->s, key, v, set->e);
}

int service_spec_read(struct service_spec *s, const struct json *record, struct err *e)
{
	service_spec_default(s);
	return json_each(record, set_own, &(struct set){s, e}) ? -1 : 0;
}

static void write_member(const struct service_spec *s, const struct member *m, struct jw *w)
{
	const char *from = (const char *)s + m->at;
	char text[32];

	switch (m->kind) {
	case NUMBER:
		jw_int(w, m->key, *(const int *)from);
		return;
	case TIME:
		if (*(const int64_t *)from < 0)
			return;
		snprintf(text, sizeof(text), *(const int64_t *)from % 1000000 ? "%lldms" : "%llds",
			 (long long)(*(const int64_t *)from / (*(const int64_t *)from % 1000000 ? 1000 : 1000000)));
		jw_strc(w, m->key, text);
		return;
	case WORD:
		if (*(const unsigned *)from < m->max)
			jw_strc(w, m->key, m->words[*(const unsigned *)from]);
		return;
	case TRUTH:
		jw_bool(w, m->key, *(const bool *)from);
		return;
	default:
		jw_strc(w, m->key, from);
	}
}

void service_spec_write(const struct service_spec *s, struct jw *w)
{
	for (size_t i = 0; i < ARRAY_SIZE(members); i++)
		write_member(s, &members[i], w);
	if (s->port)
		jw_int(w, "port", s->port);
	jw_strc(w, "route", s->route);
	jw_arr(w, "ports");
	for (unsigned i = 0; i < s->n_ports; i++) {
		char at[INET6_ADDRSTRLEN], text[INET6_ADDRSTRLEN + 16];

		inet_ntop(AF_INET6, &s->ports[i].at.sin6_addr, at, sizeof(at));
		snprintf(text, sizeof(text), "[%s]:%u:%u", at, ntohs(s->ports[i].at.sin6_port), s->ports[i].to);
		jw_strc(w, NULL, text);
	}
	jw_end(w, ']');
	jw_obj(w, "rollout");
	for (size_t i = 0; i < ARRAY_SIZE(rollout_members); i++)
		write_member(s, &rollout_members[i], w);
	jw_arr(w, "steps");
	for (int i = 0; i < s->rollout.n_steps; i++)
		jw_int(w, NULL, s->rollout.steps[i]);
	jw_end(w, ']');
	jw_end(w, '}');
}

void service_spec_record(const struct service_spec *s, struct jw *w)
{
	for (size_t i = 0; i < ARRAY_SIZE(own_members); i++)
		write_member(s, &own_members[i], w);
	if (s->source)
		jw_strc(w, "source", s->source);
	service_spec_write(s, w);
}
