/* SPDX-License-Identifier: Apache-2.0 */
/* Acts on the network and on sockets of others. */
#include "acts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int act_socket(char **arg)
{
	int fd = socket((int)number(arg[0]), (int)number(arg[1]), (int)number(arg[2]));

	if (fd < 0)
		return refused("socket");
	close(fd);
	return ACT_DONE;
}

static int address(const char *ip, const char *port, struct sockaddr_storage *ret)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, ip, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)number(port));
		return sizeof(*v4);
	}
	if (inet_pton(AF_INET6, ip, &v6->sin6_addr) != 1)
		return -1;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons((uint16_t)number(port));
	return sizeof(*v6);
}

/* A connection that something answers: platform sockets of the sandbox's own accept everywhere, so a byte must come. */
static int act_tcp(char **arg)
{
	struct sockaddr_storage a;
	int len = address(arg[0], arg[1], &a), fd = len < 0 ? -1 : socket(a.ss_family, SOCK_STREAM, 0);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct timeval two = {.tv_sec = 2};

	if (fd < 0)
		return broken("address");
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &two, sizeof(two));
	if (connect(fd, (struct sockaddr *)&a, (socklen_t)len) < 0)
		return refused("connect");
	errno = ETIME;
	return outcome(poll(&p, 1, 2000) == 1 ? 0 : -1, "an answer");
}

/* Not an act: the other end of tcp, for a neighbour. Ends by a signal. */
static int act_serve_tcp(char **arg)
{
	struct sockaddr_storage a;
	int len = address(arg[0], arg[1], &a), fd = len < 0 ? -1 : socket(a.ss_family, SOCK_STREAM, 0), one = 1;

	if (fd < 0)
		return broken("address");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&a, (socklen_t)len) < 0 || listen(fd, 8) < 0)
		return broken("listen");
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		int c = accept(fd, NULL, NULL);

		if (c < 0)
			return broken("accept");
		if (send(c, "x", 1, MSG_NOSIGNAL) < 0)
			printf("gone\n");
		close(c);
	}
}

/* A path, or @name for one without a file. */
static int act_unix(char **arg)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	size_t n = strlen(arg[0]);

	if (fd < 0 || n >= sizeof(a.sun_path))
		return broken("socket");
	memcpy(a.sun_path, arg[0], n);
	if (arg[0][0] == '@')
		a.sun_path[0] = 0;
	return outcome(connect(fd, (struct sockaddr *)&a, (socklen_t)(sizeof(a.sun_family) + n)), arg[0]);
}

static int act_set_link(char **arg)
{
	struct ifreq r = {.ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0)
		return broken("socket");
	memcpy(r.ifr_name, "lo", 3);
	return outcome(ioctl(fd, SIOCSIFFLAGS, &r), "ioctl(SIOCSIFFLAGS)");
}

static int act_other_link(char **arg)
{
	struct if_nameindex *all = if_nameindex();

	for (unsigned i = 0; all && all[i].if_index; i++)
		if (strcmp(all[i].if_name, "lo"))
			return ACT_DONE;
	errno = ENODEV;
	return refused("a network device besides lo");
}

static int act_transparent(char **arg)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	return fd < 0 ? broken("socket")
		      : outcome(setsockopt(fd, SOL_IP, 19 /* IP_TRANSPARENT */, &one, sizeof(one)), "IP_TRANSPARENT");
}

const struct act acts_net[] = {
	ACT(socket, 3),	  ACT(tcp, 2),	      ACT(serve_tcp, 2),   ACT(unix, 1),
	ACT(set_link, 0), ACT(other_link, 0), ACT(transparent, 0), {0},
};
