/* SPDX-License-Identifier: Apache-2.0 */
/* What clients and functions say of streams: sequence numbers, hash keys, failures in part. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "stream/stream_int.h"
#include "trigger/mapping_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static bool mark(void *arg, struct str id)
{
	if (!id.n || stream_sequence_id(id) < -1)
		abort();
	return ++*(int *)arg < 100;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	auto_free char *copy = xmemdup(n ? p : (const uint8_t *)"", n); /* no byte behind it */
	struct str s = {copy, n};
	unsigned __int128 hash;
	char text[STREAM_SEQUENCE_BYTES];
	int64_t id = stream_sequence_id(s);
	int marked = 0;

	if (id >= 0 && !str_eqc(s, stream_sequence(id, text)))
		abort();
	if (stream_hash_parse(s, &hash) == 0 && (!n || n > 39))
		abort();
	batch_failures(s, mark, &marked);
	return 0;
}
