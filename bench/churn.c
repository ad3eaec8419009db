/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in for tandemd: has the spawner make sandboxes and end each as soon as it is there, IN_FLIGHT at once, for as
 * long as TANDEM_CHURN says in seconds; then prints how many a second that were. TANDEM_CHURN_FRESH: each is used
 * (one datagram to itself), so that its net namespace is not used again.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "wire/fds.h"
#include "wire/spawner.h"

#define SOCK	  3
#define IN_FLIGHT 4 /* as the pool of blanks */

static void tell(enum spawner_verb verb, uint64_t id)
{
	struct spawner_msg m;

	spawner_msg_init(&m, verb, id);
	if (fds_send(SOCK, &m, sizeof(m), NULL, 0, 0) < 0)
		exit(1);
}

static void use_network(const struct spawner_msg *m, const int *fds)
{
	unsigned at = (unsigned)__builtin_popcount(m->u.made.has & ((1u << SB_DNS) - 1));
	struct sockaddr_in own;
	socklen_t n = sizeof(own);

	if (getsockname(fds[at], (struct sockaddr *)&own, &n) < 0 ||
	    sendto(fds[at], "", 1, 0, (struct sockaddr *)&own, n) != 1)
		exit(3);
}

int main(int argc, char **argv)
{
	const char *seconds = getenv("TANDEM_CHURN");
	bool fresh = getenv("TANDEM_CHURN_FRESH") != NULL;
	int64_t begin = 0, end = INT64_MAX;
	unsigned long ended = 0;
	uint64_t id = 0;

	tell(SPAWNER_HELLO, 0);
	while (clock_now_us() < end) {
		struct spawner_msg m;
		int fds[FDS_MAX];
		unsigned n = FDS_MAX;

		if (fds_recv(SOCK, &m, sizeof(m), fds, &n, 0) != sizeof(m) || m.err)
			exit(2);
		if (m.verb == SPAWNER_MADE && fresh)
			use_network(&m, fds);
		if (m.verb == SPAWNER_MADE)
			tell(SPAWNER_END_SANDBOX, m.id);
		for (unsigned i = 0; i < n; i++)
			close(fds[i]);
		if (m.verb == SPAWNER_ENDED) {
			ended++;
			tell(SPAWNER_BLANK, ++id);
		}
		if (m.verb != SPAWNER_ADOPTED)
			continue;
		begin = clock_now_us();
		end = begin + (seconds ? atoi(seconds) : 1) * 1000000ll;
		while (id < IN_FLIGHT)
			tell(SPAWNER_BLANK, ++id);
	}
	fprintf(stderr, "churn: %.1f\n", (double)ended * 1e6 / (double)(clock_now_us() - begin));
	tell(SPAWNER_BYE, 0);
	while (read(SOCK, &id, sizeof(id)) > 0) /* what is unread would be an error to the spawner */
		;
	return 0;
}
