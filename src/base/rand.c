/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rand.h"
#include <assert.h>
#include <errno.h>
#include <sys/random.h>
#include "base/enc.h"

#define POOL_BYTES 256

/* One per thread, so that no lock is needed; a forked child must not give out its parent's bytes again. */
static _Thread_local struct {
	unsigned char p[POOL_BYTES];
	size_t left;
	pid_t pid;
} pool;

static void from_kernel(void *p, size_t n)
{
	unsigned char *at = p;

	while (n) {
		ssize_t got = getrandom(at, n, 0);

		if (got < 0) {
			assert(errno == EINTR); /* nothing else can happen with valid memory */
			continue;
		}
		at += got;
		n -= (size_t)got;
	}
}

void rand_bytes(void *p, size_t n)
{
	if (n > POOL_BYTES / 4) {
		from_kernel(p, n);
		return;
	}
	if (pool.left < n || pool.pid != getpid()) {
		from_kernel(pool.p, POOL_BYTES);
		pool.left = POOL_BYTES;
		pool.pid = getpid();
	}
	pool.left -= n;
	memcpy(p, pool.p + pool.left, n);
	explicit_bzero(pool.p + pool.left, n);
}

uint64_t rand_u64(void)
{
	uint64_t v;

	rand_bytes(&v, sizeof(v));
	return v;
}

void id_uuid(char out[37])
{
	static const uint8_t dash_at[] = {8, 13, 18, 23};
	unsigned char b[16];
	char hex[33];
	size_t from = 0, to = 0;

	rand_bytes(b, sizeof(b));
	b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
	b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
	enc_hex(b, sizeof(b), hex);
	for (size_t d = 0; to < 36;) {
		if (d < ARRAY_SIZE(dash_at) && to == dash_at[d])
			out[to++] = '-', d++;
		else
			out[to++] = hex[from++];
	}
	out[36] = 0;
}
