/* SPDX-License-Identifier: Apache-2.0 */
/* A recorded day as anybody may write it: three files, cut at lines of "---". What is accepted holds what the
 * simulation relies on. */
#include <fcntl.h>
#include <stdlib.h>

#include "advise/trace.h"
#include "base/io.h"
#include "base/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void check(const struct trace_function *f)
{
	if (f->minutes < 0 || f->minutes > TRACE_MINUTES_MAX || f->held_bytes < 0 || f->average_us < 0)
		abort();
	for (int k = 0; k < f->minutes; k++)
		if (f->calls[k] > LIM_TRACE_CALLS)
			abort();
	for (int k = 0; k < TRACE_POINTS; k++)
		if (f->duration_us[k] < (k ? f->duration_us[k - 1] : 0))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const char *const names[] = {"inv.csv", "run.csv", "mem.csv"};
	static struct trace_function f;
	struct str rest = {n ? (const char *)p : "", n};
	char folder[] = "/tmp/tandem-fuzz-XXXXXX";
	struct trace *t = NULL;
	struct err e = {0};
	int dirfd, r;

	if (!mkdtemp(folder) || (dirfd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		abort();
	for (size_t k = 0; k < ARRAY_SIZE(names); k++) {
		const char *cut = rest.n ? memmem(rest.p, rest.n, "---\n", 4) : NULL;
		size_t size = cut ? (size_t)(cut - rest.p) : rest.n, skip = cut ? size + 4 : size;
		int fd = openat(dirfd, names[k], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

		if (fd < 0 || io_write_all(fd, rest.p, size, &e) < 0)
			abort();
		close(fd);
		rest = (struct str){rest.p + skip, rest.n - skip};
	}
	r = trace_open(folder, &t, &e);
	while (!r && (r = trace_next(t, &f, &e)) > 0) {
		check(&f);
		r = 0;
	}
	if (r < 0 && !e.text[0])
		abort();
	trace_free(t);
	close(dirfd);
	io_rm_tree(AT_FDCWD, folder, NULL);
	return 0;
}
