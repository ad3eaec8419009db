/* SPDX-License-Identifier: Apache-2.0 */
/* What CreateFunction and UpdateFunctionConfiguration say about a revision: checked, then written into it. */
#include "api/lambda_config.h"
#include <stdio.h>
#include "base/mem.h"
#include "sched/deploy.h"

#define HANDLER_MAX 128
#define ROLE_MAX    512

int lambda_out_of_range(struct api_err *e, const char *member, int64_t v, int64_t min, int64_t max)
{
	char text[24];

	snprintf(text, sizeof(text), "%lld", (long long)v);
	return api_invalid(e, member, str_of(text), sizeof(text), "have value %s than or equal to %lld",
			   v < min ? "greater" : "less", (long long)(v < min ? min : max));
}

static int read_int(const struct json *obj, const char *key, const char *member, int min, int max, int *ret,
		    struct api_err *e)
{
	const struct json *j = json_get(obj, key);
	int64_t v;

	if (json_type(j) == JSON_NONE || json_type(j) == JSON_NULL)
		return 0;
	if (json_type(j) != JSON_INT)
		return api_fail(e, API_SERIALIZATION, "%s must be a whole number", key);
	v = json_int(j, 0);
	if (v < min || v > max)
		return lambda_out_of_range(e, member, v, min, max);
	*ret = (int)v;
	return 0;
}

/* Absent and null keep what is there. */
static int read_text(const struct json *obj, const char *key, const char *member, size_t max, char **ret,
		     struct api_err *e)
{
	const struct json *j = json_get(obj, key);
	struct str s = json_str(j);

	if (json_type(j) == JSON_NONE || json_type(j) == JSON_NULL)
		return 0;
	if (json_type(j) != JSON_STRING)
		return api_fail(e, API_SERIALIZATION, "%s must be a string", key);
	if (s.n > max)
		return api_fail(e, API_VALIDATION,
				"1 validation error detected: Value '%.200s...' at '%s' failed to satisfy constraint: "
				"Member must have length less than or equal to %zu",
				s.p, member, max);
	free(*ret);
	*ret = str_dup(s);
	return 0;
}

struct env_read {
	struct pairs *p;
	size_t bytes;
	struct api_err *e;
};

static bool reserved(const char *key)
{
	static const char *const names[] = {
		"_HANDLER",
		"_X_AMZN_TRACE_ID",
		"AWS_DEFAULT_REGION",
		"AWS_REGION",
		"AWS_EXECUTION_ENV",
		"AWS_LAMBDA_FUNCTION_NAME",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
		"AWS_LAMBDA_FUNCTION_VERSION",
		"AWS_LAMBDA_INITIALIZATION_TYPE",
		"AWS_LAMBDA_LOG_GROUP_NAME",
		"AWS_LAMBDA_LOG_STREAM_NAME",
		"AWS_ACCESS_KEY",
		"AWS_ACCESS_KEY_ID",
		"AWS_SECRET_ACCESS_KEY",
		"AWS_SESSION_TOKEN",
		"AWS_LAMBDA_RUNTIME_API",
		"LAMBDA_TASK_ROOT",
		"LAMBDA_RUNTIME_DIR",
		"TANDEM_FD",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(key, names[i]))
			return true;
	return false;
}

static int read_variable(void *arg, const char *key, const struct json *value)
{
	struct env_read *r = arg;
	struct str v = json_str(value);
	size_t n = strlen(key);

	if (json_type(value) != JSON_STRING)
		return api_fail(r->e, API_SERIALIZATION, "Environment variable %.100s must be a string", key);
	if (n < 2 || !str_name_ok(str_of(key), n, "_") || !((key[0] | 32) >= 'a' && (key[0] | 32) <= 'z'))
		return api_fail(
			r->e, API_VALIDATION,
			"1 validation error detected: Value '%.100s' at 'environment.variables' failed to satisfy "
			"constraint: Map keys must "
			"satisfy constraint: [Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+]",
			key);
	if (reserved(key))
		return api_fail(r->e, API_INVALID_PARAMETER,
				"Lambda was unable to configure your environment variables because the environment "
				"variables you have provided "
				"contains reserved keys that are currently not supported for modification. Reserved "
				"keys used in this request: %s",
				key);
	if (memchr(v.p, 0, v.n))
		return api_fail(r->e, API_INVALID_PARAMETER, "Environment variable %.100s holds a NUL character", key);
	r->bytes += n + v.n;
	pairs_add(r->p, str_of(key), v);
	return 0;
}

static int read_env(const struct json *body, struct pairs *ret, struct api_err *e)
{
	const struct json *env = json_get(body, "Environment"), *vars = json_get(env, "Variables");
	struct pairs all = {0};
	struct env_read r = {.p = &all, .e = e};

	if (json_type(env) != JSON_OBJECT)
		return 0;
	if (json_type(vars) == JSON_OBJECT && json_each(vars, read_variable, &r) != 0) {
		pairs_done(&all);
		return -1;
	}
	if (r.bytes > LIM_ENV_BYTES) {
		auto_buf text = {0};
		struct jw w;

		jw_init(&w, &text);
		pairs_write(&w, NULL, &all);
		pairs_done(&all);
		return api_fail(e, API_INVALID_PARAMETER,
				"Lambda was unable to configure your environment variables because the environment "
				"variables you have provided "
				"exceeded the 4KB limit. String measured: %s",
				text.p);
	}
	pairs_done(ret);
	*ret = all; /* {} and {"Variables":{}} take all away: that is how Terraform removes them */
	return 0;
}

static int read_snapstart(const struct json *body, bool *ret, struct api_err *e)
{
	struct str on = json_get_str(json_get(body, "SnapStart"), "ApplyOn");

	if (on.p && !str_eqc(on, "None") && !str_eqc(on, "PublishedVersions"))
		return api_invalid(e, "snapStart.applyOn", on, 64, "satisfy enum value set: [PublishedVersions, None]");
	if (on.p)
		*ret = str_eqc(on, "PublishedVersions");
	return 0;
}

static int check_rest(const struct json *body, struct api_err *e)
{
	const struct json *layers = json_get(body, "Layers"), *arch = json_get(body, "Architectures");
	struct str package = json_get_str(body, "PackageType");

	if (json_len(layers))
		return api_fail(e, API_INVALID_PARAMETER, "Layer version " STR_FMT " does not exist.",
				STR_ARG(json_str(json_at(layers, 0))));
	if (package.p && !str_eqc(package, "Zip") && !str_eqc(package, "Image"))
		return api_invalid(e, "packageType", package, 64, "satisfy enum value set: [Zip, Image]");
	if (json_len(arch) && !str_eqc(json_str(json_at(arch, 0)), LAMBDA_ARCHITECTURE))
		return api_fail(e, API_INVALID_PARAMETER,
				"Architecture " STR_FMT " cannot run on this machine, which is " LAMBDA_ARCHITECTURE
				".",
				STR_ARG(json_str(json_at(arch, 0))));
	return 0;
}

/* "" takes it away. */
static int read_dead_letter(const struct json *body, struct deliver *d, struct revision *r, struct api_err *e)
{
	struct str arn = json_get_str(json_get(body, "DeadLetterConfig"), "TargetArn");

	if (!arn.p)
		return 0;
	if (arn.n &&
	    ((!str_starts(arn, "arn:aws:sqs:") && !str_starts(arn, "arn:aws:sns:")) || !deliver_exists(d, arn.p)))
		return api_fail(e, API_INVALID_PARAMETER,
				"The dead-letter target %.256s must be the ARN of a queue or a topic that there is.",
				arn.p);
	free(r->dead_letter);
	r->dead_letter = arn.n ? str_dup(arn) : NULL;
	return 0;
}

int lambda_config_read(const struct json *body, struct deliver *d, struct revision *r, struct api_err *e)
{
	const struct json *storage = json_get(body, "EphemeralStorage");
	struct err err = {0};

	if (read_int(body, "Timeout", "timeout", 1, 900, &r->timeout_s, e) < 0 ||
	    read_int(body, "MemorySize", "memorySize", 128, 10240, &r->memory_mb, e) < 0 ||
	    read_int(storage, "Size", "ephemeralStorage.size", 512, 10240, &r->tmp_mb, e) < 0 ||
	    read_text(body, "Handler", "handler", HANDLER_MAX, &r->handler, e) < 0 ||
	    read_text(body, "Role", "role", ROLE_MAX, &r->role, e) < 0 ||
	    read_text(body, "Description", "description", LAMBDA_DESCRIPTION_MAX, &r->description, e) < 0 ||
	    read_text(body, "Runtime", "runtime", 64, &r->runtime, e) < 0 || read_env(body, &r->env, e) < 0 ||
	    read_snapstart(body, &r->snapstart, e) < 0 || read_dead_letter(body, d, r, e) < 0 ||
	    check_rest(body, e) < 0)
		return -1;
	if (r->image) {
		if (json_get_str(body, "Runtime").n || json_get_str(body, "Handler").n)
			return api_fail(e, API_INVALID_PARAMETER,
					"Please don't provide Handler or Runtime or Layer when the intended function "
					"PackageType is Image.");
		free(r->runtime);
		r->runtime = xstrdup("image");
		r->kind = RUNTIME_IMAGE;
		return 0;
	}
	if (json_len(json_get(body, "ImageConfig")))
		return api_fail(e, API_INVALID_PARAMETER,
				"Please don't provide ImageConfig when packageType is not Image.");
	/* A provided runtime that tandem.yaml declared has none: its program needs no name for a handler. */
	if (!r->runtime || !r->runtime[0] ||
	    ((!r->handler || !r->handler[0]) && !str_starts(str_of(r->runtime), "provided")))
		return api_fail(
			e, API_INVALID_PARAMETER,
			"Runtime and Handler are mandatory parameters for functions created with deployment packages.");
	if (deploy_runtime(r->runtime, &r->kind, &err) < 0)
		return api_fail(e, API_INVALID_PARAMETER, "Value %s at 'runtime' failed to satisfy constraint: %s",
				r->runtime, err.text);
	return 0;
}
