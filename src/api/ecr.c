/* SPDX-License-Identifier: Apache-2.0 */
/* ECR: the repositories of this machine's registry (image/registry.h), as the AWS API has them. */
#include "api/api_int.h"
#include "base/clock.h"
#include "base/mem.h"
#include "image/registry.h"

char *ecr_arn(const struct api *a, const char *repository)
{
	return xasprintf("arn:aws:ecr:%s:%s:repository/%s", a->where.region, a->where.account, repository);
}

int ecr_make_repository(struct api *a, struct store_op *op, const char *name, const struct json *request, struct err *e)
{
	auto_buf doc = {0};
	struct jw w = jw_object(&doc);

	jw_int(&w, "created_us", clock_wall_us());
	jw_end(&w, '}');
	return repository_put(a->o.images, op, name, doc.p, e);
}
