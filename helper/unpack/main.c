/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandem-unpack NAME MAX_BYTES MAX_FILES [layer|remove]: unpacks one hostile archive (descriptor 3) into a new
 * directory NAME below descriptor 4, and answers with one struct spawner_msg on descriptor 5 (wire/spawner.h). Started
 * by the spawner, once per archive; exit status 0 means done.
 */
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "base/str.h"
#include "unpack/confine.h"
#include "unpack/unpack.h"
#include "wire/spawner.h"

enum { FD_ARCHIVE = 3, FD_PARENT, FD_ANSWER };

static int read_args(struct unpack *u, int argc, char **argv, struct err *e)
{
	int64_t bytes, files;

	if (argc == 5 && !strcmp(argv[4], "layer"))
		u->how = UNPACK_LAYER;
	else if (argc == 5 && !strcmp(argv[4], "remove"))
		u->how = UNPACK_REMOVE;
	else if (argc != 4)
		return err_set(e, ERR_INVALID, "usage: tandem-unpack NAME MAX_BYTES MAX_FILES [layer|remove]");
	if (str_to_i64(str_of(argv[2]), 1, INT64_MAX / 2, &bytes) < 0)
		return err_set(e, ERR_INVALID, "bad number of bytes");
	if (str_to_i64(str_of(argv[3]), 1, INT64_MAX / 2, &files) < 0)
		return err_set(e, ERR_INVALID, "bad number of files");
	u->name = argv[1];
	u->max_bytes = (uint64_t)bytes;
	u->max_files = (uint64_t)files;
	return 0;
}

static int work(struct unpack *u, int argc, char **argv, struct err *e)
{
	umask(0);
	if (read_args(u, argc, argv, e) < 0 || (u->how == UNPACK_LAYER && stream_prepare(&u->stream, e) < 0) ||
	    confine_process(FD_PARENT, FD_ANSWER, u->max_bytes, u->how, e) < 0 ||
	    confine_filter(FD_ANSWER, u->how, e) < 0)
		return -1;
	return unpack_run(u, e);
}

int main(int argc, char **argv)
{
	struct unpack u = {.archive = FD_ARCHIVE, .parent = FD_PARENT, .stop = &confine_cpu_used_up};
	struct err e = {.kind = ERR_NONE};
	struct spawner_msg m;
	int rc;

	/* Names are UTF-8; libarchive converts to the locale's charset. Loaded now: later no file outside can be
	 * opened. */
	setlocale(LC_CTYPE, "C.UTF-8");
	rc = work(&u, argc, argv, &e);
	stream_free(u.stream);
	spawner_msg_init(&m, SPAWNER_UNPACKED, 0);
	if (rc < 0) {
		m.err = (uint16_t)e.kind;
		strlcpy_(m.text, e.text, sizeof(m.text));
	} else {
		m.u.unpack.bytes = u.bytes;
		m.u.unpack.files = u.files;
	}
	if (send(FD_ANSWER, &m, sizeof(m), MSG_NOSIGNAL) < 0) {
		fprintf(stderr, "tandem-unpack: answer: %s\n", strerror(errno));
		return 1;
	}
	return rc < 0 ? 1 : 0;
}
