/* SPDX-License-Identifier: Apache-2.0 */
/* tandemd: started by tandem-spawner, unprivileged, with the spawner's socket as descriptor 3. */
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include "base/log.h"
#include "daemon/crash.h"
#include "daemon/daemon.h"

#define SPAWNER_FD 3

int main(int argc, char **argv)
{
	struct tandemd d;
	struct stat st;
	struct err e;
	int code;

	if (argc > 1 && !strcmp(argv[1], "--version")) {
		printf("tandemd %s\n", TANDEM_VERSION);
		return 0;
	}
	if (fstat(SPAWNER_FD, &st) < 0 || !S_ISSOCK(st.st_mode)) {
		fprintf(stderr, "tandemd is started by `tandem serve`, not by hand\n");
		return 2;
	}
	/* Keys and functions' secrets are in our memory: no core file, and no other process of our user looks in. Exec
	 * has undone what the spawner had set. */
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	log_init("tandemd", LOG_INFO);
	crash_init();
	if (tandemd_init(&d, SPAWNER_FD, &e) < 0) {
		log_error("daemon", "%s", e.text);
		return 1;
	}
	loop_run(d.loop);
	code = d.exit_code;
	tandemd_done(&d);
	return code;
}
