/* SPDX-License-Identifier: Apache-2.0 */
#include "zoo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

void must(int ok, const char *what)
{
	if (ok)
		return;
	dprintf(CHANNEL, "cannot: %s: %s\n", what, strerror(errno));
	exit(1);
}

int channel_epoll;
static const struct animal *const kinds[][2] = {{kept, kept_threads}, {refused, refused_threads}};

/* One line; the safe point is in its first read, or in what comes before. */
static int line(char *to, size_t room)
{
	struct epoll_event e;
	size_t n = 0;

	while (channel_epoll && epoll_wait(channel_epoll, &e, 1, -1) < 0 && errno == EINTR)
		;
	while (n + 1 < room && read(CHANNEL, to + n, 1) == 1)
		if (to[n++] == '\n') {
			to[n - 1] = 0;
			return 1;
		}
	return 0;
}

static void list(const struct animal *a, const char *kind)
{
	for (; a->name; a++)
		printf("%s\t%s\t%s\n", kind, a->name, a->reason ? a->reason : "");
}

static const struct animal *find(const struct animal *a, const char *name)
{
	while (a->name && strcmp(a->name, name))
		a++;
	return a->name ? a : NULL;
}

int main(int argc, char **argv)
{
	const struct animal *a = NULL;
	char text[64];

	if (argc != 2) {
		for (unsigned i = 0; i < 4; i++)
			list(kinds[i / 2][i % 2], i / 2 ? "refused" : "kept");
		return 0;
	}
	for (unsigned i = 0; i < 4 && !a; i++)
		a = find(kinds[i / 2][i % 2], argv[1]);
	MUST(a != NULL);
	a->make();
	dprintf(CHANNEL, "ready\n");
	while (line(text, sizeof(text))) {
		const char *bad = !strcmp(text, "check") && a->check ? a->check() : NULL;

		dprintf(CHANNEL, "%s\n", bad ? bad : "ok");
	}
	return 0;
}
