/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <unistd.h>
#include "spawn/spawn.h"

/* The first number of a kernel file, or the one behind a word of it, by pread: the descriptor stays open, no path is
 * resolved on the warm path. */
static int64_t read_number(int fd, const char *after, bool *ret_found)
{
	char text[512];
	ssize_t n = fd >= 0 ? pread(fd, text, sizeof(text) - 1, 0) : -1;
	const char *p = text, *word;
	int64_t v = 0;

	if (n <= 0)
		return -1;
	text[n] = 0;
	word = after ? strstr(text, after) : NULL;
	if (word)
		p = word + strlen(after);
	*ret_found = word != NULL;
	if (*p < '0' || *p > '9')
		return -1;
	while (*p >= '0' && *p <= '9')
		v = v * 10 + (*p++ - '0');
	return v;
}

/* v2's cpu.stat, or v1's cpuacct.usage, which is nanoseconds alone. */
int64_t sandbox_cpu_us(const struct sandbox_fds *fds)
{
	bool v2 = false;
	int64_t v = read_number(fds->fd[SB_CPU], "usage_usec ", &v2);

	return v < 0 || v2 ? v : v / 1000;
}

int64_t sandbox_bytes(const struct sandbox_fds *fds, enum spawner_sb which)
{
	bool none;

	return read_number(fds->fd[which], NULL, &none);
}
