/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include "api/lambda_config.h"
#include "base/clock.h"
#include "base/enc.h"
#include "store/snapshot.h"
#include "store/digest.h"

static void write_state(struct jw *w, const struct function *f, const struct revision *r, enum config_view view)
{
	static const char doing[] = "The function is being created.";
	bool failed = f->state == FUNCTION_FAILED && !r->version;

	/* A create answers Pending although the deploy is over, as AWS does: clients expect to wait then, and the first
	 * look of their waiter already sees Active or Failed. */
	if (view == CONFIG_CREATED || (f->state == FUNCTION_PENDING && !r->version)) {
		jw_strc(w, "State", "Pending");
		jw_strc(w, "StateReason", doing);
		jw_strc(w, "StateReasonCode", "Creating");
		return;
	}
	jw_strc(w, "State", failed ? "Failed" : "Active");
	if (failed) {
		jw_strc(w, "StateReason", f->reason ? f->reason : "The function could not be started.");
		jw_strc(w, "StateReasonCode", f->reason_code[0] ? f->reason_code : "InternalError");
	}
	if (view == CONFIG_UPDATED || (f->updating && !r->version)) {
		jw_strc(w, "LastUpdateStatus", "InProgress");
		jw_strc(w, "LastUpdateStatusReason", doing);
		jw_strc(w, "LastUpdateStatusReasonCode", "Creating");
		return;
	}
	jw_strc(w, "LastUpdateStatus", failed ? "Failed" : "Successful");
	if (failed) {
		jw_strc(w, "LastUpdateStatusReason", f->reason ? f->reason : "The function could not be started.");
		jw_strc(w, "LastUpdateStatusReasonCode", f->reason_code[0] ? f->reason_code : "InternalError");
	}
}

void api_code_digest(const struct revision *r, struct buf *out)
{
	uint8_t raw[32];

	if (r->image)
		buf_adds(out, r->code_sha256);
	else if (dec_hex(str_of(r->code_sha256), raw, sizeof(raw)) == 0)
		enc_b64(out, raw, sizeof(raw));
}

/* Whether instances of it start from a snapshot, said of published versions only, as at AWS. */
static const char *optimization(const struct api *a, const struct revision *r)
{
	const struct snapshot *s = r->version && r->snapstart ? snapshot_of(a->o.store, r->serial) : NULL;

	return s && s->bytes ? "On" : "Off";
}

static void write_fixed(struct jw *w, const struct api *a, const struct function *f, const struct revision *r)
{
	char hex[65], text[256];

	jw_strc(w, "PackageType", r->image ? "Image" : "Zip");
	if (r->image)
		lambda_image_config(w, r);
	jw_arr(w, "Architectures");
	jw_strc(w, NULL, LAMBDA_ARCHITECTURE);
	jw_end(w, ']');
	jw_obj(w, "TracingConfig");
	jw_strc(w, "Mode", "PassThrough");
	jw_end(w, '}');
	jw_obj(w, "EphemeralStorage");
	jw_int(w, "Size", r->tmp_mb);
	jw_end(w, '}');
	jw_obj(w, "SnapStart");
	jw_strc(w, "ApplyOn", r->snapstart ? "PublishedVersions" : "None");
	jw_strc(w, "OptimizationStatus", optimization(a, r));
	jw_end(w, '}');
	if (!r->image) {
		digest_sha256_hex(r->runtime, strlen(r->runtime), hex);
		snprintf(text, sizeof(text), "arn:aws:lambda:%s::runtime:%s", a->where.region, hex);
		jw_obj(w, "RuntimeVersionConfig");
		jw_strc(w, "RuntimeVersionArn", text);
		jw_end(w, '}');
	}
	snprintf(text, sizeof(text), "/aws/lambda/%s", f->name);
	jw_obj(w, "LoggingConfig");
	jw_strc(w, "LogFormat", "Text");
	jw_strc(w, "LogGroup", text);
	jw_end(w, '}');
}

static void write_env(struct jw *w, const struct pairs *env)
{
	if (!env->n)
		return;
	jw_obj(w, "Environment");
	pairs_write(w, "Variables", env);
	jw_end(w, '}');
}

void api_function_config(struct jw *w, const char *key, const struct api *a, const struct function *f,
			 const struct revision *r, enum config_view view, const char *qualifier)
{
	char arn[API_ARN_BYTES], text[128];
	auto_buf digest = {0};

	jw_obj(w, key);
	jw_strc(w, "FunctionName", f->name);
	jw_strc(w, "FunctionArn", api_arn(&a->where, f->name, qualifier, arn));
	if (!r->image)
		jw_strc(w, "Runtime", r->runtime);
	if (!r->role) /* made by tandem.yaml: the identity that it has */
		snprintf(text, sizeof(text), "arn:aws:iam::%s:role/%s", a->where.account, f->name);
	jw_strc(w, "Role", r->role ? r->role : text);
	if (r->handler)
		jw_strc(w, "Handler", r->handler);
	jw_int(w, "CodeSize", r->code_bytes);
	api_code_digest(r, &digest);
	jw_str(w, "CodeSha256", buf_str(&digest));
	jw_strc(w, "Description", r->description ? r->description : "");
	jw_int(w, "Timeout", r->timeout_s);
	jw_int(w, "MemorySize", r->memory_mb);
	jw_strc(w, "LastModified", clock_fmt_lambda(r->modified_wall_us, text));
	jw_strc(w, "Version", revision_version(r, text));
	jw_strc(w, "RevisionId", r->id);
	write_env(w, &r->env);
	if (r->dead_letter) {
		jw_obj(w, "DeadLetterConfig");
		jw_strc(w, "TargetArn", r->dead_letter);
		jw_end(w, '}');
	}
	write_fixed(w, a, f, r);
	write_state(w, f, r, view);
	jw_end(w, '}');
}
