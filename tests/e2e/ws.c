/* SPDX-License-Identifier: Apache-2.0 */
/* The program of a service in tests: a WebSocket server (RFC 6455) on 8080 that says what it is told; "exit" ends it. */
#include <arpa/inet.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MESSAGE_MAX (8 << 20)

static void put(int fd, const void *p, size_t n)
{
	ssize_t w;

	for (const char *at = p; n; at += w, n -= (size_t)w)
		if ((w = send(fd, at, n, MSG_NOSIGNAL)) <= 0)
			pthread_exit(NULL);
}

static void get(int fd, void *p, size_t n)
{
	if (n && recv(fd, p, n, MSG_WAITALL) != (ssize_t)n) {
		close(fd);
		pthread_exit(NULL);
	}
}

static void shake(int fd)
{
	char head[8192] = "", key[64], text[256];
	unsigned char sha[20], code[64];
	size_t n = 0;

	while (n < sizeof(head) - 1 && !strstr(head, "\r\n\r\n"))
		get(fd, head + n++, 1);
	if (!strcasestr(head, "\r\nSec-WebSocket-Key: ") ||
	    sscanf(strcasestr(head, "\r\nSec-WebSocket-Key: ") + 21, "%60s", key) != 1) {
		put(fd, "HTTP/1.1 426 Upgrade\r\nContent-Length: 0\r\n\r\n", 43);
		shake(fd);
		return;
	}
	snprintf(text, sizeof(text), "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
	SHA1((unsigned char *)text, strlen(text), sha);
	EVP_EncodeBlock(code, sha, sizeof(sha));
	snprintf(text, sizeof(text),
		 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		 "Sec-WebSocket-Accept: %s\r\n\r\n",
		 (char *)code);
	put(fd, text, strlen(text));
}

static void *talk(void *arg)
{
	int fd = (int)(long)arg, op;
	unsigned char *message = malloc(MESSAGE_MAX), head[10], mask[4];

	shake(fd);
	do {
		size_t n, bytes;

		get(fd, head, 2);
		op = head[0] & 15;
		n = head[1] & 127;
		bytes = n == 126 ? 2 : n == 127 ? 8 : 0;
		get(fd, head + 2, bytes);
		for (size_t i = n = bytes ? 0 : n; i < bytes; i++)
			n = n << 8 | head[2 + i];
		get(fd, mask, 4);
		if (n > MESSAGE_MAX)
			break;
		get(fd, message, n);
		for (size_t i = 0; i < n; i++)
			message[i] ^= mask[i & 3];
		if (op == 1 && n == 4 && !memcmp(message, "exit", 4))
			_exit(3);
		head[0] = (unsigned char)(0x80 | (op == 9 ? 10 : op));
		head[1] &= 127;
		put(fd, head, 2 + bytes);
		put(fd, message, n);
	} while (op != 8);
	close(fd);
	free(message);
	return NULL;
}

int main(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(8080)};
	int s = socket(AF_INET, SOCK_STREAM, 0), fd;
	pthread_t t;

	if (bind(s, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(s, 64) < 0)
		return 1;
	while ((fd = accept(s, NULL, NULL)) >= 0)
		if (pthread_create(&t, NULL, talk, (void *)(long)fd) == 0)
			pthread_detach(t);
	return 2;
}
