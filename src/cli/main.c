/* SPDX-License-Identifier: Apache-2.0 */
/* The table of verbs. */
#include "cli/serve.h"
#include "cli/verbs.h"

const struct verb cli_verbs[] = {
	{"serve", "[options]", "run the daemon in the foreground (root)",
	 "Runs Tandem until SIGTERM or SIGINT; then it drains and exits 0. SIGHUP upgrades it in place.\n\n"
	 "  sudo tandem serve\n"
	 "  sudo tandem serve --state /tmp/t --api 127.0.0.1:0 --gateway 127.0.0.1:0   any free ports\n"
	 "  sudo tandem serve --api [::1]:4566",
	 serve_options, serve_run},
	{"up", "[-f tandem.yaml]", "show what will change, then bring it up",
	 "Reads tandem.yaml, shows what would be created, changed and removed in its project, and does it.\n"
	 "Functions, services and tasks, of this project alone; images are built or pulled. Waits until what is new "
	 "works, or says why it does not. ${VAR} and ${VAR:-default} are taken from the environment. What is kept "
	 "running though nobody asks for it (min:, services, the container lane) is priced by the month first.\n\n"
	 "  tandem up\n"
	 "  tandem up -f examples/iris/tandem.yaml\n"
	 "  tandem up --dry-run            exit code 0 either way; nothing is done",
	 up_options, up_run},
	{"down", "[-f tandem.yaml | --project NAME]", "remove what the same project declared",
	 "Removes every function, service and task of the project that tandem.yaml names. Their logs go with them, "
	 "their ledger rows and volumes stay.\n\n"
	 "  tandem down\n"
	 "  tandem down --project iris",
	 down_options, down_run},
	{"ls", "", "list functions and services",
	 "Lists every declared function and service, also while nothing of it runs.\n\n  tandem ls\n  tandem ls -o "
	 "json",
	 NULL, ls_run},
	{"ps", "", "list running instances and tasks",
	 "Lists instances of functions, and tasks: what services run among them, and what has ended lately.\n\n  "
	 "tandem ps",
	 NULL, ps_run},
	{"describe", "NAME", "everything about one function or service",
	 "Shows configuration, state with its reason, instances, what waits and why.\n\n  tandem describe iris",
	 describe_options, describe_run},
	{"invoke", "NAME [--payload JSON|@FILE|-]", "call a function",
	 "Calls a function and prints its answer. Exit code 1 when the function failed, 124 when it ran out of "
	 "time.\n\n"
	 "  tandem invoke iris --payload '{\"rows\": [[5.1, 3.5, 1.4, 0.2]]}'\n"
	 "  tandem invoke iris -p @event.json --log\n"
	 "  generate | tandem invoke iris -p -",
	 invoke_options, invoke_run},
	{"stop", "NAME", "end a function's or service's instances, or a task, now",
	 "Ends every instance of a function; events that run in them fail. The function stays: the next event starts a "
	 "new one. A service's end when what is open is over, and others take the place of those that are to be up.\n\n"
	 "  tandem stop iris",
	 NULL, stop_run},
	{"restart", "NAME", "a service's or a task's containers anew",
	 "A service gets new tasks by its rollout, without an error; a task is stopped and begins again; a function's "
	 "instances end.\n\n"
	 "  tandem restart web",
	 NULL, restart_run},
	{"logs", "[NAME[/CONTAINER]] [-f]", "show what functions, services and tasks printed",
	 "Shows the last lines of a function's or a service's log, kept also when nothing runs, or of a task's. "
	 "Without a name: every function's.\n\n"
	 "  tandem logs iris\n"
	 "  tandem logs web/proxy            one container\n"
	 "  tandem logs iris -f\n"
	 "  tandem logs iris --since 10m -n 1000",
	 logs_options, logs_run},
	{"events", "[NAME] [-f]", "what happened: deploys, moves, crashes, budgets, restarts",
	 "Shows what happened to a workload, to a project, to the platform itself (tandem), or to all: deploys, moves "
	 "to "
	 "another lane, crashes, rollouts, starts that were refused, budgets; not single calls.\n\n"
	 "  tandem events iris\n"
	 "  tandem events -f\n"
	 "  tandem events --since 1h -o json",
	 logs_options, events_run},
	{"why", "NAME", "why it is as it is: lane, starts, what waits, failures",
	 "Says in sentences, of a function, service, task, budget, or of what holds events or leads them: which lane "
	 "it "
	 "is in and why, how its instances start, why the last starts were cold, what waits now, for what and until "
	 "when, what refuses it, and what went wrong last.\n\n"
	 "  tandem why iris\n"
	 "  tandem why shop/iris             as tandem top has it\n"
	 "  tandem why jobs -o json",
	 NULL, why_run},
	{"cost", "[--by workload|lane|tag|trigger|hour|rows]", "what the calls took and cost",
	 "Sums the ledger: what each workload took on this machine, and what AWS would have charged: Lambda for "
	 "functions, "
	 "Fargate for services and tasks, of which what still runs is counted so far.\n\n"
	 "The lines add up to what the machine costs: host/unused is what nobody used, host/other what other processes "
	 "used, each measured; unattributed is what no row explains. WITH SHARE adds to each line its part of what the "
	 "platform took and nobody used.\n\n"
	 "  tandem cost\n"
	 "  tandem cost --split even         each line carries the same of what is shared\n"
	 "  tandem cost --by hour --since 24h\n"
	 "  tandem cost --on all --since 24h what the same would cost at Lambda, Fargate, EC2, Cloud Run and Azure\n"
	 "  tandem cost --by rows            the last calls, one line each\n"
	 "  tandem cost --machine-price 0.05 calls from now on at 0.05 USD per hour of this machine",
	 cost_options, cost_run},
	{"budget", "", "what may be spent, and how much of it is",
	 "Lists the budgets that tandem.yaml declares: for a tag or a workload, in an hour, a day or a month (UTC). "
	 "One "
	 "that is used up and is to throttle or stop is closed: calls get 429 until its period is over.\n\n"
	 "  tandem budget\n"
	 "  tandem budget -o json",
	 NULL, budget_run},
	{"top", "[--by ORDER] [--once]", "what everything does now, and what an hour of it costs",
	 "Shows of each workload its lane, requests, times in the handler (of services, to the first byte), errors, "
	 "instances (busy, idle, starting), CPU, memory, what that costs by the hour, and what waits and why. On a "
	 "terminal again and again, until q; else one look. --interval 0 takes all since the daemon began.\n\n"
	 "  tandem top\n"
	 "  tandem top --by latency --interval 10s\n"
	 "  tandem top -o json --interval 0",
	 top_options, top_run},
	{"trace", "NAME | TRACE-ID", "where the time of its last calls, or of one trace, went",
	 "Takes the last calls of a function apart: waiting, sandbox, initialisation or restore, handler; for calls "
	 "that "
	 "began from a snapshot, that started an instance plainly, and that found one.\n\n"
	 "  tandem trace iris\n\n"
	 "Of a trace that was sampled (traceparent of a request, or OTEL_TRACES_SAMPLER of tandem serve): what it led "
	 "to, one below the other.\n\n"
	 "  tandem trace 0af7651916cd43dd8448eb211c80319c",
	 NULL, trace_run},
	{"snapshots", "[--max-disk SIZE]", "which functions begin from a snapshot, or why not",
	 "Lists the images that functions begin from when nothing of them runs, and how much of the disk they take.\n\n"
	 "  tandem snapshots\n"
	 "  tandem snapshots --max-disk 5G   all together, from now on; the default is a tenth of the file system",
	 snapshots_options, snapshots_run},
	{"images", "[rm REF ... | gc]", "container images that are here",
	 "Lists images, forgets some by name, or removes what no image needs any more. What runs is never taken away: "
	 "an "
	 "image in use is refused, and gc leaves it alone.\n\n"
	 "  tandem images\n"
	 "  tandem images rm nginx:1.25\n"
	 "  tandem images gc               layers that no image has, and images whose name leads to a newer one",
	 NULL, images_run},
	{"pull", "REF | oci:DIR[:TAG] | docker-archive:FILE | build:DIR", "bring a container image here",
	 "Copies an image from a registry, an OCI layout or a docker archive, or builds it from a Dockerfile, and "
	 "unpacks what is not here yet. The caller's credentials are those of skopeo, podman and docker (auth.json, "
	 "config.json).\n\n"
	 "  tandem pull nginx:1.25\n"
	 "  tandem pull registry.example:5000/team/app@sha256:...\n"
	 "  tandem pull docker-archive:app.tar --tag app:v1\n"
	 "  tandem pull oci:layout:v1       is called localhost/layout:v1\n"
	 "  tandem pull build:. --tag app   built by buildah from the Dockerfile in this folder",
	 pull_options, pull_run},
	{"run", "[options] IMAGE|TASK [COMMAND ...]", "run a container, or a task of tandem.yaml, to its end",
	 "Runs the image's program, or COMMAND in it, and exits with its code (125: it could not be run, 126 and 127: "
	 "nor its "
	 "program). The image is pulled when it is not here. Signals go to the program. When it has ended nothing of "
	 "it is "
	 "kept but its row in the ledger.\n\n"
	 "  tandem run debian:12 cat /etc/os-release\n"
	 "  tandem run -it --memory 512 python:3.12 python\n"
	 "  tandem run -d --name db -e POSTGRES_PASSWORD=x postgres:16       tandem logs db, tandem stop db",
	 run_options, run_run},
	{"exec", "[options] TASK[/CONTAINER] COMMAND ...", "run a further program in a container",
	 "Runs COMMAND in a container that runs, and exits with its code; 126 and 127 when it cannot be started.\n\n"
	 "  tandem exec -it db psql\n"
	 "  tandem exec web/proxy cat /etc/hosts",
	 exec_options, exec_run},
	{"stats", "[TASK]", "what containers take now",
	 "Shows processors and memory of each container that runs; on a terminal again and again.\n\n"
	 "  tandem stats\n"
	 "  tandem stats -o json           counters, for programs",
	 stats_options, stats_run},
	{"secret", "set NAME | ls | rm NAME ...", "what containers are told and nobody else",
	 "Keeps a value for containers that ask for it by name, as a file or as a variable. It comes from standard "
	 "input, byte "
	 "for byte, and is never shown again.\n\n"
	 "  printf %s \"$PASSWORD\" | tandem secret set db-password\n"
	 "  tandem secret ls",
	 NULL, secret_run},
	{"volume", "ls | rm NAME ...", "folders that outlive containers",
	 "Lists volumes, or removes some with what is in them. A container that asks for one by a new name makes it; "
	 "one that a "
	 "container has is not removed.\n\n"
	 "  tandem volume ls\n"
	 "  tandem volume rm data",
	 NULL, volume_run},
	{"grant", "add PATH ... | ls | rm PATH ...", "what of the host containers may be given (root)",
	 "A folder, a file, a socket or a device of the host is given to a container only when root has allowed it, or "
	 "a folder "
	 "above it: the daemon, which is not root, cannot. In what is allowed for writing a container's root is as the "
	 "host's.\n\n"
	 "  sudo tandem grant add /srv/data /dev/fuse",
	 NULL, grant_run},
	{"rollout", "status|promote|undo SERVICE", "how a service gets to its next revision, or back",
	 "Shows both revisions of a service and the requests they get; promote ends the rollout without further "
	 "waiting, undo "
	 "goes back to the revision before, also when the rollout is over.\n\n"
	 "  tandem rollout status web\n"
	 "  tandem rollout undo web",
	 NULL, rollout_run},
	{"simulate", "TRACE [options]",
	 "what ways of keeping idle instances would have cost, and who would have waited",
	 "Replays calls on virtual time with the daemon's own policy, and beside it others: kept for a fixed time, the "
	 "hybrid histogram of Shahrad et al. (ATC 2020), one that knows the future. TRACE is a folder in the format of "
	 "the "
	 "Azure Functions 2019 trace (inv.csv, run.csv, mem.csv), or traffic that is drawn: steady:RATE, poisson:RATE, "
	 "burst:LOW,HIGH,LENGTH/EVERY, daily:LOW,HIGH in requests per second, or \"ledger\": the calls that ran "
	 "here.\n\n"
	 "  tandem simulate azure-functions-2019\n"
	 "  tandem simulate ledger --since 7d\n"
	 "  tandem simulate poisson:20 --check          is it right? 20 s of it for real, beside what was predicted\n"
	 "  tandem simulate azure-functions-2019 --restore 1.2 --plain 25+0.4   measured starts: ms + ms per MB\n"
	 "  tandem simulate burst:5,200,30s/10m --for 1d --service 50,400 --memory 256 --policy tandem,fixed-15m",
	 simulate_options, simulate_run},
	{"bench", "NAME [options]", "measure a workload in each lane it can run in",
	 "Calls copies of a function or service, in the function lane and in the container lane: starts from zero, "
	 "warm "
	 "calls, throughput, a burst, a killed instance, what it costs when idle. Nothing leads to a copy; it is gone "
	 "when "
	 "this ends, however it ends. The workload itself is left alone (but for the last of --drills).\n\n"
	 "  tandem bench iris -p @event.json --html iris.html\n"
	 "  tandem bench web --path /health --lanes container --only warm,steady --duration 10s\n"
	 "  sudo tandem bench iris --drills       also what happens when things go wrong",
	 bench_options, bench_run},
	{"tune", "NAME [--memory MB,...]", "duration and cost of a function at several sizes",
	 "Calls copies of a function, or of a service, with more and more memory, and with the share of a CPU that it "
	 "buys at "
	 "Lambda: how long calls take, what a million of them costs here and there; the cheapest, the fastest and the "
	 "balanced size.\n\n"
	 "  tandem tune iris -p @event.json\n"
	 "  tandem tune iris --memory 256,512,1024 --no-quota --html iris.html",
	 tune_options, tune_run},
	{"advise", "[NAME ...] [--declare FILE | --trace DIR]", "which lane each workload belongs in, and why",
	 "Says for each workload whether it is to be a function, a container or a machine: hard facts first, then "
	 "latency "
	 "(simulated) and cost, the rate at which that turns over here and at three clouds with its error bar, what "
	 "would "
	 "change it, and the assumption that is most likely to be wrong. Every number says whether it was measured. "
	 "What "
	 "a FILE says of a NAME goes before what was measured of it.\n\n"
	 "  tandem advise                        all that is here, by its last calls\n"
	 "  tandem advise iris --on aws          by Amazon's prices\n"
	 "  tandem advise --declare shop.yaml --notes notes/\n"
	 "  echo 'shop: {kind: api, rate: 40/s, duration: 30ms..90ms, memory: 256MB}' | tandem advise --declare -",
	 advise_options, advise_run},
	{"env", "", "lines that point AWS clients of a shell here",
	 "Prints shell lines that point the AWS CLI and SDKs of this shell at Tandem, also old ones that know no "
	 "AWS_ENDPOINT_URL.\n\n"
	 "  eval \"$(tandem env)\"\n"
	 "  eval \"$(tandem env --unset)\"",
	 env_options, env_run},
	{"doctor", "", "what this host lacks, in prose",
	 "Looks at the host and at the running daemon and says what is missing and what to do about it.\n\n  tandem "
	 "doctor",
	 NULL, doctor_run},
	{"version", "", "versions of tool and daemon",
	 "Prints the versions of this tool and of the running daemon.\n\n  tandem version", NULL, version_run},
	{"backup", "DIR", "copy the state while it runs",
	 "Writes a consistent copy of the state (declarations, archives of code, ledger, logs) into a new directory. "
	 "The daemon goes on working.\n\n"
	 "  sudo tandem backup /var/backups/tandem-monday",
	 NULL, backup_run},
	{"restore", "DIR", "put a backup back (daemon stopped)",
	 "Puts a backup into the state directory, after every file of it was checked. No daemon may run on it; with "
	 "--replace what is there is kept beside it as daemon.before-TIME.\n\n"
	 "  sudo tandem restore /var/backups/tandem-monday",
	 restore_options, restore_run},
	{"debug", "", "the daemon's inside, as JSON",
	 "Prints what the running daemon holds, and its last moves.\n\n  tandem debug", NULL, debug_run},
	{"completion", "bash|zsh|fish", "completion for a shell",
	 "Prints a completion script.\n\n  source <(tandem completion bash)", NULL, completion_run},
	{0},
};

static const char *verb_name(const void *names, size_t i)
{
	return ((const struct verb *)names)[i].name;
}

int main(int argc, char **argv)
{
	struct cli c = {0};
	int i = cli_globals(&c, argc, argv);
	const char *name, *best;

	if (i < 0)
		return c.exit;
	name = strcmp(argv[i], "--version") ? argv[i] : "version";
	if (!strcmp(name, "help")) {
		if (i + 1 >= argc) {
			cli_help(stdout);
			return CLI_OK;
		}
		name = argv[i + 1];
		for (const struct verb *v = cli_verbs; v->name; v++)
			if (!strcmp(v->name, name)) {
				cli_help_verb(stdout, v);
				return CLI_OK;
			}
	}
	for (const struct verb *v = cli_verbs; v->name; v++) {
		int r;

		if (strcmp(v->name, name))
			continue;
		c.verb = v;
		r = v->run(&c, argc - i - 1, argv + i + 1);
		if ((fflush(stdout) || ferror(stdout)) && r == CLI_OK)
			return cli_failf("standard output could not be written");
		return r;
	}
	best = str_nearest(name, verb_name, cli_verbs);
	return cli_usage(&c, "there is no verb \"%s\"%s%s%s", name, best ? "; did you mean \"" : "", best ? best : "",
			 best ? "\"?" : "");
}
