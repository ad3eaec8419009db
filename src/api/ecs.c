/* SPDX-License-Identifier: Apache-2.0 */
/* The table of ECS's operations, and what they share. */
#include <stdarg.h>
#include <stdio.h>
#include "api/ecs_int.h"
#include "base/mem.h"

#define TAGS "tags:[{key!:s,value:s}]"
#define PAGE "maxResults=100:i(1..100),nextToken:s"
#define PROVIDERS                                                                                                      \
	"capacityProviders:[s(FARGATE|FARGATE_SPOT)],defaultCapacityProviderStrategy:["                                \
	"{capacityProvider!:s,weight:i(0..1000),base:i(0..100000)}]"
#define CLUSTER                                                                                                        \
	"settings:[{name:s,value:s}],serviceConnectDefaults-:{namespace:s},configuration:{"                            \
	"managedStorageConfiguration-:{kmsKeyId:s},executeCommandConfiguration-:{logging:s}}"

#define NETWORK                                                                                                        \
	"networkConfiguration:{awsvpcConfiguration:{subnets!:[s],securityGroups:[s],assignPublicIp:s(ENABLED|"         \
	"DISABLED)}}"

#define SERVICE                                                                                                        \
	"taskDefinition:s,launchType:s(EC2|FARGATE|EXTERNAL),capacityProviderStrategy:[{capacityProvider!:s,weight:i," \
	"base:i}],platformVersion:s," NETWORK ",healthCheckGracePeriodSeconds:i(0..2147483647),"                       \
	"deploymentConfiguration:{deploymentCircuitBreaker:{enable:b,rollback:b},maximumPercent:i(100..1000),"         \
	"minimumHealthyPercent:i(0..100),alarms:{enable-:b},strategy:s(ROLLING)},"                                     \
	"loadBalancers-:[{targetGroupArn:s}],serviceRegistries-:[{registryArn:s}],"                                    \
	"serviceConnectConfiguration:{enabled-:b},volumeConfigurations-:[{name:s}],"                                   \
	"placementConstraints:[{type:s,expression:s}],placementStrategy:[{type:s,field:s}],"                           \
	"propagateTags:s(TASK_DEFINITION|SERVICE|NONE),enableECSManagedTags:b,enableExecuteCommand:b"

/* Their bodies as shape.h says. */
const struct api_op ecs_ops[] = {
	{"ecs", NULL, ecs_definition_shape, "RegisterTaskDefinition", SUBJECT_OWN, ecs_register_definition},
	{"ecs", NULL, "{taskDefinition!:s,include:[s(TAGS)]}", "DescribeTaskDefinition", SUBJECT_OWN,
	 ecs_describe_definition},
	{"ecs", NULL,
	 "{familyPrefix:s,status=\"ACTIVE\":s(ACTIVE|INACTIVE|DELETE_IN_PROGRESS),sort=\"ASC\":s(ASC|DESC)," PAGE "}",
	 "ListTaskDefinitions", SUBJECT_NONE, ecs_list_definitions},
	{"ecs", NULL, "{familyPrefix=\"\":s,status=\"ALL\":s(ACTIVE|INACTIVE|ALL)," PAGE "}",
	 "ListTaskDefinitionFamilies", SUBJECT_NONE, ecs_list_families},
	{"ecs", NULL, "{taskDefinition!:s}", "DeregisterTaskDefinition", SUBJECT_OWN, ecs_deregister_definition},
	{"ecs", NULL, "{taskDefinitions!:[s]}", "DeleteTaskDefinitions", SUBJECT_NONE, ecs_delete_definitions},
	{"ecs", NULL, "{clusterName=\"default\":s," CLUSTER "," PROVIDERS "," TAGS "}", "CreateCluster", SUBJECT_OWN,
	 ecs_create_cluster},
	{"ecs", NULL, "{clusters:[s],include:[s(ATTACHMENTS|CONFIGURATIONS|SETTINGS|STATISTICS|TAGS)]}",
	 "DescribeClusters", SUBJECT_NONE, ecs_describe_clusters},
	{"ecs", NULL, "{" PAGE "}", "ListClusters", SUBJECT_NONE, ecs_list_clusters},
	{"ecs", NULL, "{cluster!:s," CLUSTER "}", "UpdateCluster", SUBJECT_OWN, ecs_update_cluster},
	{"ecs", NULL, "{cluster!:s,settings:[{name:s,value:s}]}", "UpdateClusterSettings", SUBJECT_OWN,
	 ecs_update_cluster},
	{"ecs", NULL, "{cluster!:s," PROVIDERS "}", "PutClusterCapacityProviders", SUBJECT_OWN, ecs_update_cluster},
	{"ecs", NULL, "{cluster!:s}", "DeleteCluster", SUBJECT_OWN, ecs_delete_cluster},
	{"ecs", NULL,
	 "{cluster=\"\":s,count=1:i(1..10),taskDefinition!:s,group:s,startedBy:s,launchType:s(EC2|FARGATE|EXTERNAL),"
	 "capacityProviderStrategy:[{capacityProvider!:s,weight:i,base:i}],platformVersion:s," NETWORK ","
	 "overrides={}:{containerOverrides:[{name!:s,command:[s],environment:[{name!:s,value:s}],cpu:i(0..262144),"
	 "memory:i(4..1048576),memoryReservation:i(4..1048576),environmentFiles-:[{value:s}],"
	 "resourceRequirements-:[{type:s}]}],cpu:s,memory:s,taskRoleArn:s,executionRoleArn:s,"
	 "ephemeralStorage:{sizeInGiB!:i(21..200)},inferenceAcceleratorOverrides-:[{deviceName:s}]},"
	 "placementConstraints:[{type:s,expression:s}],placementStrategy:[{type:s,field:s}],"
	 "propagateTags:s(TASK_DEFINITION|SERVICE|NONE),referenceId:s,clientToken:s,enableECSManagedTags:b,"
	 "enableExecuteCommand:b,volumeConfigurations-:[{name:s}]," TAGS "}",
	 "RunTask", SUBJECT_OWN, ecs_run_task},
	{"ecs", NULL, "{cluster=\"\":s,tasks!:[s],include:[s(TAGS)]}", "DescribeTasks", SUBJECT_NONE,
	 ecs_describe_tasks},
	{"ecs", NULL,
	 "{cluster=\"\":s,containerInstance-:s,family:s,startedBy:s,serviceName:s,launchType:s(EC2|FARGATE|EXTERNAL),"
	 "desiredStatus=\"RUNNING\":s(RUNNING|PENDING|STOPPED)," PAGE "}",
	 "ListTasks", SUBJECT_NONE, ecs_list_tasks},
	{"ecs", NULL, "{cluster=\"\":s,task!:s,reason=\"\":s}", "StopTask", SUBJECT_OWN, ecs_stop_task},
	{"ecs", NULL,
	 "{cluster=\"\":s,serviceName!:s,desiredCount:i(0..1000),role:s,schedulingStrategy:s(REPLICA)," SERVICE ","
	 "deploymentController:{type:s(ECS)},clientToken:s," TAGS "}",
	 "CreateService", SUBJECT_OWN, ecs_create_service},
	{"ecs", NULL, "{cluster=\"\":s,service!:s,desiredCount:i(0..1000),forceNewDeployment:b," SERVICE "}",
	 "UpdateService", SUBJECT_OWN, ecs_update_service},
	{"ecs", NULL, "{cluster=\"\":s,service!:s,force:b}", "DeleteService", SUBJECT_OWN, ecs_delete_service},
	{"ecs", NULL, "{cluster=\"\":s,services!:[s],include:[s(TAGS)]}", "DescribeServices", SUBJECT_NONE,
	 ecs_describe_services},
	{"ecs", NULL,
	 "{cluster=\"\":s,launchType:s(EC2|FARGATE|EXTERNAL),schedulingStrategy:s(REPLICA|DAEMON),"
	 "maxResults=10:i(1..100),nextToken:s}",
	 "ListServices", SUBJECT_NONE, ecs_list_services},
	{"ecs", NULL, "{cluster=\"\":s,service!:s,status:[s]," PAGE "}", "ListServiceDeployments", SUBJECT_NONE,
	 ecs_list_service_deployments},
	{"ecs", NULL, "{serviceDeploymentArns!:[s]}", "DescribeServiceDeployments", SUBJECT_NONE,
	 ecs_describe_service_deployments},
	{"ecs", NULL, "{resourceArn!:s," TAGS "}", "TagResource", SUBJECT_OWN, ecs_tag},
	{"ecs", NULL, "{resourceArn!:s,tagKeys=[]:[s]}", "UntagResource", SUBJECT_OWN, ecs_tag},
	{"ecs", NULL, "{resourceArn!:s}", "ListTagsForResource", SUBJECT_OWN, ecs_list_tags},
	{0},
};

static char *arn_of(const struct api *a, const char *fmt, va_list ap)
{
	char rest[3 * ECS_NAME_MAX];

	vsnprintf(rest, sizeof(rest), fmt, ap);
	return xasprintf("arn:aws:ecs:%s:%s:%s", a->where.region, a->where.account, rest);
}

char *ecs_arn(const struct api *a, const char *fmt, ...)
{
	va_list ap;
	char *ret;

	va_start(ap, fmt);
	ret = arn_of(a, fmt, ap);
	va_end(ap);
	return ret;
}

void ecs_put_arn(struct jw *w, const char *key, const struct api *a, const char *fmt, ...)
{
	auto_free char *arn = NULL;
	va_list ap;

	va_start(ap, fmt);
	arn = arn_of(a, fmt, ap);
	va_end(ap);
	jw_strc(w, key, arn);
}

void ecs_put_time(struct jw *w, const char *key, int64_t wall_us)
{
	if (wall_us)
		jw_real(w, key, (double)(wall_us / 1000) / 1000.0);
}

void ecs_put_json(struct jw *w, const char *key, const struct json *j)
{
	auto_free char *text = j ? json_text(j) : NULL;

	if (text)
		jw_raw(w, key, str_of(text));
}

struct members {
	struct jw *w;
	const char *but;
};

static int put_member(void *arg, const char *key, const struct json *j)
{
	const struct members *m = arg;

	if (!m->but || strcmp(key, m->but) != 0)
		ecs_put_json(m->w, key, j);
	return 0;
}

void ecs_put_members(struct jw *w, const struct json *obj, const char *but)
{
	struct members m = {w, but};

	json_each(obj, put_member, &m);
}

struct str ecs_name(const struct api *a, const char *kind, struct str given)
{
	auto_free char *begin = ecs_arn(a, "%s/", kind);
	size_t n = strlen(begin);

	return str_starts(given, begin) ? (struct str){given.p + n, given.n - n} : given;
}

int ecs_allowed(struct api_call *c, const char *fmt, ...)
{
	auto_free char *arn = NULL;
	char *colon;
	va_list ap;

	va_start(ap, fmt);
	arn = arn_of(c->a, fmt, ap);
	va_end(ap);
	if (api_allowed(c, arn) == 0)
		return 0;
	colon = strrchr(arn, ':'); /* of a revision; else the one before the kind */
	if (!strchr(colon, '/'))
		*colon = 0;
	return api_allowed(c, arn);
}

int ecs_check_tags(struct api_call *c, const struct json *tags)
{
	if (json_len(tags) > LIM_TAGS)
		return api_fail(&c->e, API_INVALID_MEMBER, "tags: at most %d are possible.", LIM_TAGS);
	for (size_t i = 0; i < json_len(tags); i++) {
		struct str key = json_get_str(json_at(tags, i), "key"), value = json_get_str(json_at(tags, i), "value");

		if (key.n > LIM_TAG_NAME_BYTES || value.n > LIM_TAG_VALUE_BYTES || str_starts(key, "aws:"))
			return api_fail(
				&c->e, API_INVALID_MEMBER,
				"tags: a key has at most %d bytes and does not begin with aws:, a value at most %d.",
				LIM_TAG_NAME_BYTES, LIM_TAG_VALUE_BYTES);
		for (size_t k = 0; k < i; k++)
			if (str_eq(key, json_get_str(json_at(tags, k), "key")))
				return api_fail(&c->e, API_INVALID_MEMBER, "tags: a key is there twice.");
	}
	return 0;
}

int ecs_page(struct api_call *c, struct ecs_page *ret)
{
	struct str token = json_get_str(c->in, "nextToken");

	*ret = (struct ecs_page){.max = json_get_int(c->in, "maxResults", 100)};
	if (token.n && str_to_i64(token, 0, INT32_MAX, &ret->from) < 0)
		return api_fail(&c->e, API_INVALID_MEMBER, "nextToken is not one that an answer before had.");
	return 0;
}

bool ecs_page_has(struct ecs_page *p)
{
	return p->at++ >= p->from && p->at <= p->from + p->max;
}

void ecs_page_end(struct ecs_page *p, struct jw *w)
{
	char token[24];

	if (p->at <= p->from + p->max)
		return;
	snprintf(token, sizeof(token), "%lld", (long long)(p->from + p->max));
	jw_strc(w, "nextToken", token);
}

void ecs_fail(struct jw *w, const char *arn, const char *reason)
{
	jw_obj(w, NULL);
	jw_strc(w, "arn", arn);
	jw_strc(w, "reason", reason);
	jw_end(w, '}');
}
