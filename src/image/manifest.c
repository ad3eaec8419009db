/* SPDX-License-Identifier: Apache-2.0 */
#include "image/manifest.h"
#include <signal.h>
#include <sys/utsname.h>
#include <time.h>
#include "base/mem.h"
#include "image/reference.h"
#include "json/read.h"

#define LIST_MAX 10000 /* entries of any list: arguments, variables, labels */

static int digest_of(const struct json *j, const char *key, char ret[65], struct err *e)
{
	struct str d = j && key ? json_get_str(j, key) : json_str(j);

	if (!str_starts(d, "sha256:") || !reference_digest_ok((struct str){d.p + 7, d.n - 7}))
		return err_set(e, ERR_INVALID, "\"%.80s\" is no digest that is known here (sha256:...)",
			       d.p ? d.p : "");
	memcpy(ret, d.p + 7, 65);
	return 0;
}

static int blob_of(const struct json *j, struct manifest_blob *ret, struct err *e)
{
	ret->bytes = json_get_int(j, "size", -1);
	if (ret->bytes < 0)
		return err_set(e, ERR_INVALID, "a part of the image has no size");
	return digest_of(j, "digest", ret->digest, e);
}

int image_manifest_parse(struct str text, struct image_manifest *ret, struct err *e)
{
	auto_json j = json_parse(text, e);
	const struct json *layers = json_get(j, "layers");
	size_t n = json_len(layers);

	if (!j)
		return err_wrap(e, "the image's manifest");
	if (json_get_int(j, "schemaVersion", 0) != 2 || json_type(layers) != JSON_ARRAY)
		return err_set(e, ERR_INVALID, "the image's manifest is of no kind that is known here (schema %lld)",
			       (long long)json_get_int(j, "schemaVersion", 0));
	if (n > LIM_IMAGE_LAYERS)
		return err_set(e, ERR_LIMIT, "the image has %zu layers; at most %d can be laid over each other", n,
			       LIM_IMAGE_LAYERS);
	if (blob_of(json_get(j, "config"), &ret->config, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (blob_of(json_at(layers, i), &ret->layers[i], e) < 0)
			return -1;
	ret->n_layers = (unsigned)n;
	return 0;
}

/* --- configuration --- */

static void list_free(char **l)
{
	for (char **p = l; p && *p; p++)
		free(*p);
	free(l);
}

void image_config_done(struct image_config *c)
{
	list_free(c->entrypoint);
	list_free(c->cmd);
	list_free(c->env);
	list_free(c->volumes);
	free(c->user);
	free(c->workdir);
	free(c->ports);
	for (unsigned i = 0; i < c->n_labels; i++) {
		free(c->labels[i].name);
		free(c->labels[i].value);
	}
	free(c->labels);
	*c = (struct image_config){0};
}

static int text_ok(struct str s)
{
	return s.p && !memchr(s.p, 0, s.n);
}

static int list_of(const struct json *j, const char *key, char ***ret, struct err *e)
{
	const struct json *a = json_get(j, key);
	size_t n = json_len(a);

	if (json_type(a) != JSON_ARRAY)
		n = 0;
	if (n > LIST_MAX)
		return err_set(e, ERR_LIMIT, "the image's %s has more than %d members", key, LIST_MAX);
	*ret = xcalloc(n + 1, sizeof(char *));
	for (size_t i = 0; i < n; i++) {
		if (!text_ok(json_str(json_at(a, i))))
			return err_set(e, ERR_INVALID, "the image's %s is not a list of texts", key);
		(*ret)[i] = str_dup(json_str(json_at(a, i)));
	}
	return 0;
}

static char *text_of(const struct json *j, const char *key)
{
	struct str s = json_get_str(j, key);

	return text_ok(s) ? str_dup(s) : xstrdup("");
}

static int take_port(void *arg, const char *key, const struct json *value)
{
	struct image_config *c = arg;
	struct str number = str_of(key), protocol = STR("tcp");
	int64_t port;

	str_cut(str_of(key), '/', &number, &protocol);
	/* "8000-8010" and what else people write says nothing that we act on. */
	if (str_to_i64(number, 1, 65535, &port) < 0 || c->n_ports == LIST_MAX)
		return 0;
	c->ports = xrealloc(c->ports, (c->n_ports + 1) * sizeof(*c->ports));
	c->ports[c->n_ports++] = (struct image_port){(uint16_t)port, str_eqc(protocol, "udp")};
	return 0;
}

static int take_label(void *arg, const char *key, const struct json *value)
{
	struct image_config *c = arg;

	if (!text_ok(json_str(value)) || c->n_labels == LIST_MAX)
		return 0;
	c->labels = xrealloc(c->labels, (c->n_labels + 1) * sizeof(*c->labels));
	c->labels[c->n_labels++] = (struct image_label){xstrdup(key), str_dup(json_str(value))};
	return 0;
}

static int take_volume(void *arg, const char *key, const struct json *value)
{
	struct image_config *c = arg;
	size_t n = 0;

	while (c->volumes[n])
		n++;
	if (key[0] != '/' || n == LIST_MAX)
		return 0;
	c->volumes = xrealloc(c->volumes, (n + 2) * sizeof(char *));
	c->volumes[n] = xstrdup(key);
	c->volumes[n + 1] = NULL;
	return 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void read_volumes(struct image_config *c, const struct json *j)
{
	size_t n = 0;

	c->volumes = xcalloc(1, sizeof(char *));
	if (json_type(json_get(j, "Volumes")) == JSON_OBJECT)
		json_each(json_get(j, "Volumes"), take_volume, c);
	while (c->volumes[n])
		n++;
	qsort(c->volumes, n, sizeof(char *), by_text);
}

/* "SIGTERM", "TERM", "15", "SIGRTMIN+3". */
static int signal_of(struct str s, int *ret, struct err *e)
{
	auto_free char *text = str_dup(s);
	const char *name = !strncmp(text, "SIG", 3) ? text + 3 : text;
	int64_t n;

	*ret = SIGTERM;
	if (!s.n)
		return 0;
	if (str_to_i64(s, 1, 64, &n) == 0)
		return *ret = (int)n, 0;
	if (!strncmp(name, "RTMIN+", 6) && str_to_i64(str_of(name + 6), 0, 30, &n) == 0)
		return *ret = 34 + (int)n, 0;
	for (int i = 1; i < 32; i++)
		if (sigabbrev_np(i) && !strcmp(sigabbrev_np(i), name))
			return *ret = i, 0;
	return err_set(e, ERR_INVALID, "the image's stop signal \"%.40s\" is not known", text);
}

int image_config_parse(struct str text, struct image_config *ret, struct err *e)
{
	auto_json whole = json_parse(text, e);
	const struct json *j = json_get(whole, "config");
	struct image_config c = {0};

	if (!whole)
		return err_wrap(e, "the image's configuration");
	c.user = text_of(j, "User");
	c.workdir = text_of(j, "WorkingDir");
	read_volumes(&c, j);
	if (json_type(json_get(j, "ExposedPorts")) == JSON_OBJECT)
		json_each(json_get(j, "ExposedPorts"), take_port, &c);
	if (json_type(json_get(j, "Labels")) == JSON_OBJECT)
		json_each(json_get(j, "Labels"), take_label, &c);
	if (list_of(j, "Entrypoint", &c.entrypoint, e) < 0 || list_of(j, "Cmd", &c.cmd, e) < 0 ||
	    list_of(j, "Env", &c.env, e) < 0 || signal_of(json_get_str(j, "StopSignal"), &c.stop_signal, e) < 0) {
		image_config_done(&c);
		return -1;
	}
	*ret = c;
	return 0;
}

/* --- root file system --- */

const char *image_host_arch(void)
{
	static const struct {
		const char *machine, *arch;
	} names[] = {{"x86_64", "amd64"}, {"aarch64", "arm64"}, {"riscv64", "riscv64"}, {"ppc64le", "ppc64le"}};
	struct utsname u;

	if (uname(&u) == 0)
		for (size_t i = 0; i < ARRAY_SIZE(names); i++)
			if (!strcmp(u.machine, names[i].machine))
				return names[i].arch;
	return "unknown";
}

/* RFC 3339, its time in UTC; the parts below a second and other zones are not worth a parser. 0: none. */
static int64_t time_of(struct str s)
{
	struct tm tm = {0};
	time_t t;

	if (!s.p || s.n > 40 || !strptime(s.p, "%Y-%m-%dT%H:%M:%S", &tm))
		return 0;
	t = timegm(&tm);
	return t > 0 && t < 253402300800 ? (int64_t)t * 1000000 : 0; /* up to the year 9999 */
}

int image_rootfs_parse(struct str text, const char *arch, unsigned n_layers, char (**ret_diff_ids)[65],
		       int64_t *ret_created_wall_us, struct err *e)
{
	auto_json j = json_parse(text, e);
	const struct json *ids = json_get(json_get(j, "rootfs"), "diff_ids");
	struct str os = json_get_str(j, "os"), has = json_get_str(j, "architecture");
	char(*ret)[65];

	if (!j)
		return err_wrap(e, "the image's configuration");
	if ((os.n && !str_eqc(os, "linux")) || (has.n && !str_eqc(has, arch)))
		return err_set(e, ERR_INVALID, "the image is for %.20s/%.20s; this machine runs linux/%s",
			       os.n ? os.p : "?", has.n ? has.p : "?", arch);
	if (json_type(ids) != JSON_ARRAY || json_len(ids) != n_layers)
		return err_set(e, ERR_INVALID, "the image's configuration names %zu layers, its manifest %u",
			       json_len(ids), n_layers);
	ret = xcalloc(n_layers + 1, sizeof(*ret));
	for (unsigned i = 0; i < n_layers; i++)
		if (digest_of(json_at(ids, i), NULL, ret[i], e) < 0) {
			free(ret);
			return -1;
		}
	*ret_diff_ids = ret;
	*ret_created_wall_us = time_of(json_get_str(j, "created"));
	return 0;
}
