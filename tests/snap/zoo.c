/* SPDX-License-Identifier: Apache-2.0 */
#include "zoo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void must(int ok, const char *what)
{
	if (ok)
		return;
	dprintf(CHANNEL, "cannot: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* One line; the safe point is in its first read. */
static int line(char *to, size_t room)
{
	size_t n = 0;

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
	const struct animal *a;
	char text[64];

	if (argc != 2) {
		list(kept, "kept");
		list(refused, "refused");
		return 0;
	}
	a = find(kept, argv[1]);
	if (!a)
		a = find(refused, argv[1]);
	MUST(a != NULL);
	a->make();
	dprintf(CHANNEL, "ready\n");
	while (line(text, sizeof(text))) {
		const char *bad = !strcmp(text, "check") && a->check ? a->check() : NULL;

		dprintf(CHANNEL, "%s\n", bad ? bad : "ok");
	}
	return 0;
}
