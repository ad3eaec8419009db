/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ECS's task definitions into ours (task/doc.h). What a member means here, or that it cannot be had, is in the shape;
 * what is in neither is kept and shown, for it changes nothing: where logs go, roles, placement.
 */
#include <stdio.h>
#include "api/ecs_int.h"
#include "base/mem.h"
#include "task/doc.h"

#define SCRATCH_MB     1024 /* a volume without a driver is memory of the container: its limit holds, too */
#define TASK_MEMORY_MB 1024 /* what a task has where nothing is said */

const char ecs_definition_shape[] =
	"{family!:s,containerDefinitions!:[{name!:s,image!:s,cpu=0:i(0..262144),memory:i(4..1048576),"
	"memoryReservation:i(4..1048576),essential=true:b,"
	"portMappings=[]:[{containerPort!:i(1..65535),hostPort:i(0..65535),protocol=\"tcp\":s(tcp),name:s,appProtocol:"
	"s,"
	"containerPortRange-:s}],entryPoint:[s],command:[s],environment=[]:[{name!:s,value:s}],"
	"mountPoints=[]:[{sourceVolume!:s,containerPath!:s,readOnly:b}],volumesFrom-:[{sourceContainer:s}],"
	"linuxParameters:{capabilities:{add^:[s],drop:[s]},devices^:[{hostPath:s}],initProcessEnabled:b,"
	"sharedMemorySize-:i,tmpfs:[{containerPath!:s,size!:i(1..1048576),mountOptions-:[s]}],maxSwap-:i,swappiness-:i}"
	","
	"dependsOn:[{containerName!:s,condition!:s(START|COMPLETE|SUCCESS|HEALTHY)}],stopTimeout:i(0..3600),user:s,"
	"workingDirectory:s,readonlyRootFilesystem:b,interactive:b,pseudoTerminal:b,dockerLabels:<s>,"
	"ulimits:[{name!:s,softLimit!:i(-1..2147483647),hardLimit!:i(-1..2147483647)}],"
	"logConfiguration:{logDriver!:s,options:<s>,secretOptions:[{name!:s,valueFrom!:s}]},"
	"healthCheck:{command!:[s],interval:i(5..300),timeout:i(2..120),retries:i(1..10),startPeriod:i(0..300)},"
	"secrets^:[{name:s}],repositoryCredentials-:{credentialsParameter:s},environmentFiles-:[{value:s}],links-:[s],"
	"startTimeout-:i,hostname-:s,disableNetworking-:b,privileged^:b,dnsServers-:[s],dnsSearchDomains-:[s],"
	"extraHosts-:[{hostname:s}],dockerSecurityOptions-:[s],systemControls-:[{namespace:s}],"
	"resourceRequirements-:[{type:s}],firelensConfiguration-:{type:s},credentialSpecs-:[s],"
	"restartPolicy:{enabled-:b}}],"
	"volumes=[]:[{name!:s,host:{sourcePath^:s},dockerVolumeConfiguration:{scope:s(task|shared),autoprovision:b,"
	"driver:s(local),driverOpts-:<s>,labels:<s>},efsVolumeConfiguration-:{fileSystemId:s},"
	"fsxWindowsFileServerVolumeConfiguration-:{fileSystemId:s},configuredAtLaunch-:b}],"
	"networkMode:s(awsvpc|bridge|none),requiresCompatibilities:[s(EC2|FARGATE|EXTERNAL)],cpu:s,memory:s,"
	"taskRoleArn:s,executionRoleArn:s,placementConstraints=[]:[{type:s,expression:s}],"
	"ephemeralStorage:{sizeInGiB!:i(21..200)},"
	"runtimePlatform:{cpuArchitecture:s(X86_64|ARM64),operatingSystemFamily:s(LINUX)},"
	"proxyConfiguration-:{type:s},inferenceAccelerators-:[{deviceName:s}],pidMode-:s,ipcMode-:s,"
	"tags:[{key!:s,value:s}]}";

int64_t ecs_units(struct str text, const char *unit)
{
	char buf[32], *end;
	bool in_units;
	double n;

	if (!text.n || text.n >= sizeof(buf))
		return -1;
	snprintf(buf, sizeof(buf), STR_FMT, STR_ARG(text));
	n = strtod(buf, &end);
	in_units = *end;
	while (*end == ' ')
		end++;
	if (end == buf || !(n > 0 && n < 1e7) || (in_units && !str_caseeqc(str_of(end), unit)))
		return -1;
	return (int64_t)(in_units ? n * 1024 : n);
}

bool ecs_fargate_size(int64_t cpu, int64_t memory_mb)
{
	static const struct {
		int cpu, from_gb, to_gb, step_gb;
	} sizes[] = {{512, 1, 4, 1},   {1024, 2, 8, 1},	  {2048, 4, 16, 1},
		     {4096, 8, 30, 1}, {8192, 16, 60, 4}, {16384, 32, 120, 8}};

	if (cpu == 256)
		return memory_mb == 512 || memory_mb == 1024 || memory_mb == 2048;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		if (sizes[i].cpu == cpu)
			return memory_mb >= sizes[i].from_gb * 1024 && memory_mb <= sizes[i].to_gb * 1024 &&
			       memory_mb % (sizes[i].step_gb * 1024) == 0;
	return false;
}

struct translation {
	struct api_call *c;
	struct jw *w;
	const struct json *all; /* the request */
};

static void put_renamed(struct jw *w, const struct json *from)
{
	static const char *const names[][2] = {
		{"name", "name"},	    {"image", "image"},
		{"command", "command"},	    {"entryPoint", "entrypoint"},
		{"user", "user"},	    {"workingDirectory", "workdir"},
		{"memory", "memory_mb"},    {"readonlyRootFilesystem", "read_only"},
		{"essential", "essential"}, {"stopTimeout", "stop_timeout_s"},
		{"interactive", "stdin"},   {"pseudoTerminal", "tty"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		ecs_put_json(w, names[i][1], json_get(from, names[i][0]));
	if (!json_get(from, "stopTimeout"))
		jw_int(w, "stop_timeout_s", 30); /* ECS's */
}

/* A list of {name, value} as an object; the last of a name counts. */
static void put_env(struct jw *w, const struct json *env)
{
	jw_obj(w, "env");
	for (size_t i = 0; i < json_len(env); i++) {
		struct str name = json_get_str(json_at(env, i), "name"), v = json_get_str(json_at(env, i), "value");
		bool again = false;

		for (size_t k = i + 1; k < json_len(env); k++)
			again |= str_eq(name, json_get_str(json_at(env, k), "name"));
		if (!again)
			jw_str(w, name.p, v);
	}
	jw_end(w, '}');
}

static int put_ports(struct translation *t, const struct json *from)
{
	const struct json *ports = json_get(from, "portMappings");
	bool vpc = str_eqc(json_get_str(t->all, "networkMode"), "awsvpc");

	jw_arr(t->w, "ports");
	for (size_t i = 0; i < json_len(ports); i++) {
		const struct json *p = json_at(ports, i);
		int64_t port = json_get_int(p, "containerPort", 0), host = json_get_int(p, "hostPort", 0);

		if (host && (!vpc || host != port))
			return api_fail(&t->c->e, API_ECS_CLIENT,
					"portMappings: a hostPort is the owner of the machine's to give (ports: in "
					"tandem.yaml). "
					"With networkMode awsvpc it may be the containerPort: the task has a network "
					"of its own.");
		jw_int(t->w, NULL, port);
	}
	jw_end(t->w, ']');
	return 0;
}

static unsigned users_of(const struct translation *t, struct str volume)
{
	const struct json *all = json_get(t->all, "containerDefinitions");
	unsigned n = 0;

	for (size_t i = 0; i < json_len(all); i++) {
		const struct json *mounts = json_get(json_at(all, i), "mountPoints");

		for (size_t k = 0; k < json_len(mounts); k++)
			n += str_eq(json_get_str(json_at(mounts, k), "sourceVolume"), volume);
	}
	return n;
}

static int put_mount(struct translation *t, const struct json *m)
{
	const struct json *volumes = json_get(t->all, "volumes"), *v = NULL, *docker;
	struct str name = json_get_str(m, "sourceVolume");
	auto_free char *ours = xasprintf("ecs-%s", name.p);

	for (size_t i = 0; i < json_len(volumes) && !v; i++)
		v = str_eq(json_get_str(json_at(volumes, i), "name"), name) ? json_at(volumes, i) : NULL;
	if (!v)
		return api_fail(&t->c->e, API_ECS_CLIENT, "Unknown volume '%.100s'.", name.p);
	docker = json_get(v, "dockerVolumeConfiguration");
	jw_obj(t->w, NULL);
	jw_str(t->w, "path", json_get_str(m, "containerPath"));
	jw_bool(t->w, "read_only", json_get_bool(m, "readOnly", false));
	if (docker && str_eqc(json_get_str(docker, "scope"), "shared"))
		jw_strc(t->w, "volume", ours);
	else if (users_of(t, name) > 1)
		return api_fail(
			&t->c->e, API_ECS_CLIENT,
			"Volume '%.100s': only one with dockerVolumeConfiguration and scope shared can be mounted more "
			"than once by this Tandem.",
			name.p);
	else
		jw_int(t->w, "tmpfs_mb", SCRATCH_MB);
	jw_end(t->w, '}');
	return 0;
}

static int put_mounts(struct translation *t, const struct json *from)
{
	const struct json *mounts = json_get(from, "mountPoints");
	const struct json *tmpfs = json_get(json_get(from, "linuxParameters"), "tmpfs");

	jw_arr(t->w, "mounts");
	for (size_t i = 0; i < json_len(mounts); i++)
		if (put_mount(t, json_at(mounts, i)) < 0)
			return -1;
	for (size_t i = 0; i < json_len(tmpfs); i++) {
		jw_obj(t->w, NULL);
		jw_str(t->w, "path", json_get_str(json_at(tmpfs, i), "containerPath"));
		jw_int(t->w, "tmpfs_mb", json_get_int(json_at(tmpfs, i), "size", 1));
		jw_end(t->w, '}');
	}
	jw_end(t->w, ']');
	return 0;
}

static int put_health(struct translation *t, const struct json *h)
{
	const struct json *command = json_get(h, "command");
	struct str how = json_str(json_at(command, 0));
	bool shell = str_eqc(how, "CMD-SHELL");

	if (!h || (str_eqc(how, "NONE") && json_len(command) == 1))
		return 0;
	if (json_len(command) < 2 || (!shell && !str_eqc(how, "CMD")))
		return api_fail(&t->c->e, API_ECS_CLIENT,
				"healthCheck.command begins with CMD or CMD-SHELL, and what to run follows.");
	jw_obj(t->w, "health");
	jw_arr(t->w, "command");
	if (shell)
		jw_strc(t->w, NULL, "/bin/sh"), jw_strc(t->w, NULL, "-c");
	for (size_t i = 1; i < json_len(command); i++)
		jw_str(t->w, NULL, json_str(json_at(command, i)));
	jw_end(t->w, ']');
	jw_int(t->w, "interval_s", json_get_int(h, "interval", 30));
	jw_int(t->w, "timeout_s", json_get_int(h, "timeout", 5));
	jw_int(t->w, "retries", json_get_int(h, "retries", 3));
	jw_int(t->w, "start_period_s", json_get_int(h, "startPeriod", 0));
	jw_end(t->w, '}');
	return 0;
}

static void put_lists(struct jw *w, const struct json *from)
{
	const struct json *ulimits = json_get(from, "ulimits"), *depends = json_get(from, "dependsOn");

	jw_obj(w, "ulimits");
	for (size_t i = 0; i < json_len(ulimits); i++) {
		const struct json *u = json_at(ulimits, i);

		jw_arr(w, json_get_str(u, "name").p);
		jw_int(w, NULL, json_get_int(u, "softLimit", 0));
		jw_int(w, NULL, json_get_int(u, "hardLimit", 0));
		jw_end(w, ']');
	}
	jw_end(w, '}');
	jw_arr(w, "depends_on");
	for (size_t i = 0; i < json_len(depends); i++) {
		jw_obj(w, NULL);
		jw_str(w, "container", json_get_str(json_at(depends, i), "containerName"));
		jw_str(w, "condition", json_get_str(json_at(depends, i), "condition"));
		jw_end(w, '}');
	}
	jw_end(w, ']');
	ecs_put_json(w, "cap_drop", json_get(json_get(json_get(from, "linuxParameters"), "capabilities"), "drop"));
}

static void put_cpu(struct jw *w, int64_t units)
{
	if (units > 0)
		jw_real(w, "cpu", units > 10 ? (double)units / 1024 : 0.01);
}

static int put_container(struct translation *t, const struct json *from)
{
	int64_t soft = json_get_int(from, "memoryReservation", 0);

	if (!json_get(from, "memory") && !json_get(from, "memoryReservation") && !json_get(t->all, "memory"))
		return api_fail(&t->c->e, API_ECS_CLIENT,
				"Invalid setting for container '%.100s'. At least one of 'memory' or "
				"'memoryReservation' must be specified.",
				json_get_str(from, "name").p);
	jw_obj(t->w, NULL);
	put_renamed(t->w, from);
	if (!json_get(from, "memory") && !json_get(t->all, "memory") && soft > TASK_MEMORY_MB)
		jw_int(t->w, "memory_mb", soft); /* a reservation is no limit, but less would be no reservation */
	put_cpu(t->w, json_get_int(from, "cpu", 0));
	put_env(t->w, json_get(from, "environment"));
	put_lists(t->w, from);
	if (put_ports(t, from) < 0 || put_mounts(t, from) < 0 || put_health(t, json_get(from, "healthCheck")) < 0)
		return -1;
	jw_end(t->w, '}');
	return 0;
}

static int check_size(struct api_call *c, int64_t cpu, int64_t memory)
{
	const struct json *arch = json_get(json_get(c->in, "runtimePlatform"), "cpuArchitecture");

	if ((json_get(c->in, "cpu") && cpu < 0) || (json_get(c->in, "memory") && memory < 0))
		return api_fail(&c->e, API_ECS_CLIENT,
				"Invalid 'cpu' or 'memory' setting for task: cpu is like 256 or .25 vCPU, memory like "
				"512 or 0.5 GB.");
	if (api_has(json_get(c->in, "requiresCompatibilities"), "FARGATE") && !ecs_fargate_size(cpu, memory))
		return api_fail(&c->e, API_ECS_CLIENT, "No Fargate configuration exists for given values.");
	if (arch && str_eqc(json_str(arch), "ARM64") != str_eqc(STR(ECS_ARCH), "ARM64"))
		return api_fail(&c->e, API_ECS_CLIENT,
				"runtimePlatform: this machine's cpuArchitecture is " ECS_ARCH ".");
	return 0;
}

int ecs_translate(struct api_call *c, struct buf *ret)
{
	const struct json *all = json_get(c->in, "containerDefinitions");
	int64_t cpu = ecs_units(json_get_str(c->in, "cpu"), "vcpu"),
		memory = ecs_units(json_get_str(c->in, "memory"), "gb");
	struct jw w = jw_object(ret);
	struct translation t = {c, &w, c->in};
	auto_json doc = NULL;
	struct err e = {0};

	if (check_size(c, cpu, memory) < 0)
		return -1;
	put_cpu(&w, cpu);
	if (memory > 0)
		jw_int(&w, "memory_mb", memory);
	if (str_eqc(json_get_str(c->in, "networkMode"), "none"))
		jw_strc(&w, "egress", "none");
	jw_arr(&w, "containers");
	for (size_t i = 0; i < json_len(all); i++)
		if (put_container(&t, json_at(all, i)) < 0)
			return -1;
	jw_end(&w, ']');
	jw_end(&w, '}');
	doc = json_parse(buf_str(ret), &e);
	return doc && task_doc_check(doc, &e) == 0 ? 0 : api_fail(&c->e, API_ECS_CLIENT, "%s", e.text);
}

int ecs_translate_overrides(struct api_call *c, const struct json *over, const struct json *doc, struct buf *ret)
{
	const struct json *list = json_get(over, "containerOverrides");
	int64_t memory = ecs_units(json_get_str(over, "memory"), "gb");
	struct jw w = jw_object(ret);
	auto_json ours = NULL;
	struct err e = {0};

	put_cpu(&w, ecs_units(json_get_str(over, "cpu"), "vcpu"));
	if (memory > 0)
		jw_int(&w, "memory_mb", memory);
	jw_arr(&w, "containers");
	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *from = json_at(list, i);

		jw_obj(&w, NULL);
		jw_str(&w, "name", json_get_str(from, "name"));
		ecs_put_json(&w, "command", json_get(from, "command"));
		ecs_put_json(&w, "memory_mb", json_get(from, "memory"));
		put_cpu(&w, json_get_int(from, "cpu", 0));
		put_env(&w, json_get(from, "environment"));
		jw_end(&w, '}');
	}
	jw_end(&w, ']');
	jw_end(&w, '}');
	ours = json_parse(buf_str(ret), &e);
	return ours && task_overrides_check(ours, doc, &e) == 0 ? 0 : api_fail(&c->e, API_INVALID_MEMBER, "%s", e.text);
}
