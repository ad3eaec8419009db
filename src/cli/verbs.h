/* SPDX-License-Identifier: Apache-2.0 */
/* What each verb's file gives to the table in main.c. */
#pragma once
#include "cli/cli.h"
extern const struct opt env_options[], invoke_options[], logs_options[], cost_options[], restore_options[],
	up_options[], down_options[], describe_options[], snapshots_options[], simulate_options[], advise_options[],
	pull_options[], run_options[], exec_options[], stats_options[], top_options[], bench_options[], tune_options[];
int env_run(struct cli *c, int argc, char **argv);
int ls_run(struct cli *c, int argc, char **argv);
int ps_run(struct cli *c, int argc, char **argv);
int describe_run(struct cli *c, int argc, char **argv);
int invoke_run(struct cli *c, int argc, char **argv);
int restart_run(struct cli *c, int argc, char **argv);
int stop_run(struct cli *c, int argc, char **argv);
int logs_run(struct cli *c, int argc, char **argv);
int events_run(struct cli *c, int argc, char **argv);
int why_run(struct cli *c, int argc, char **argv);
int cost_run(struct cli *c, int argc, char **argv);
int budget_run(struct cli *c, int argc, char **argv);
int up_run(struct cli *c, int argc, char **argv);
int down_run(struct cli *c, int argc, char **argv);
int doctor_run(struct cli *c, int argc, char **argv);
int version_run(struct cli *c, int argc, char **argv);
int backup_run(struct cli *c, int argc, char **argv);
int restore_run(struct cli *c, int argc, char **argv);
int trace_run(struct cli *c, int argc, char **argv);
int snapshots_run(struct cli *c, int argc, char **argv);
int images_run(struct cli *c, int argc, char **argv);
int pull_reference(struct cli *c, const char *source, bool for_run); /* for_run: nothing on standard output */
int pull_local(struct cli *c, const char *source, const char *tag, bool for_run);
int top_run(struct cli *c, int argc, char **argv);
int stats_run(struct cli *c, int argc, char **argv);
int exec_run(struct cli *c, int argc, char **argv);
int run_run(struct cli *c, int argc, char **argv);
int pull_run(struct cli *c, int argc, char **argv);
int bench_run(struct cli *c, int argc, char **argv);
int tune_run(struct cli *c, int argc, char **argv);
int advise_run(struct cli *c, int argc, char **argv);
int simulate_run(struct cli *c, int argc, char **argv);
int secret_run(struct cli *c, int argc, char **argv);
int volume_run(struct cli *c, int argc, char **argv);
int grant_run(struct cli *c, int argc, char **argv);
int debug_run(struct cli *c, int argc, char **argv);
int rollout_run(struct cli *c, int argc, char **argv);
int completion_run(struct cli *c, int argc, char **argv);
