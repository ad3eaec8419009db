/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in for tandemd in test_spawner.py: hands its spawner socket to the test through the unix socket that
 * TANDEM_TEST_SOCK names, and lives until the test closes that connection (exit 0) or somebody kills it.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	const char *path = getenv("TANDEM_TEST_SOCK");
	int sock = socket(AF_UNIX, SOCK_STREAM, 0), three = 3;
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} c = {.h = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
	pid_t pid = getpid();
	struct iovec iov = {&pid, sizeof(pid)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c)};

	if (argc > 1) /* --version, before an upgrade */
		return 0;
	if (!path || strlen(path) >= sizeof(sa.sun_path))
		return 2;
	memcpy(sa.sun_path, path, strlen(path));
	memcpy(CMSG_DATA(&c.h), &three, sizeof(three));
	if (connect(sock, (struct sockaddr *)&sa, sizeof(sa)) < 0 || sendmsg(sock, &m, 0) < 0)
		return 3;
	close(3);
	(void)!read(sock, &pid, 1);
	return 0;
}
