/* SPDX-License-Identifier: Apache-2.0 */
/* What logs.c (the loop) and logfile.c (the file thread) share. */
#pragma once
#include <stdatomic.h>
#include "base/map.h"
#include "ledger/logs.h"
#include "ledger/segment.h"
#include "ledger/spool.h"
#define LOG_DELAY_US	  100000
#define LOG_FLUSH_BYTES	  (256u << 10)
#define LOG_MAX_BYTES	  (16u << 20)
#define LOG_SEGMENT_BYTES (8u << 20)
#define LOG_SEGMENTS	  4
#define LOG_OPEN_FILES	  64
#define LOG_NAME_BYTES	  160
#define LOG_STAMP	  27 /* "2026-11-21T10:00:00.000000Z" */

/* A batch is records: this, then n bytes of whole lines. Unaligned: read and written with memcpy. */
struct log_record {
	struct log_stream *stream;
	uint32_t n;
	uint32_t next; /* the thread's: offset + 1 of the stream's next record, 0: none */
};

struct log_file;   /* the thread's half of a stream */
struct log_files { /* the thread's */
	int dirfd;
	int64_t segment_bytes; /* LOG_SEGMENT_BYTES; tests take less */
	struct list open;      /* log_file.lru, most recently used first */
	unsigned n_open;
	struct log_file *dirty;
	bool failing;
	_Atomic uint64_t lost_lines, bytes;
};
struct log_bucket {
	int64_t tokens, at_us;
	bool dry; /* dropping until it has filled a little */
};
struct log_stream {
	struct logs *lg;
	char *name;
	uint32_t refs;
	uint64_t dropped;
	struct log_bucket bucket[2]; /* fn, platform */
	struct list followers;
	struct log_file *file; /* NULL: never written */
};

bool log_name_ok(const char *name); /* components of [A-Za-z0-9._:$-], none begins with a dot, "/" between */
int log_files_open(struct log_files *f, int daemon_dirfd, struct err *e);
void log_files_close(struct log_files *f);
void log_files_write(struct log_files *f, struct spool_batch *b);
void log_file_end(struct log_files *f, struct log_stream *s); /* closes and forgets; the stream may be freed */
int log_files_remove(struct log_files *f, struct log_stream *s, const char *name, struct err *e); /* s may be NULL */
int log_files_read(struct log_files *f, struct log_read *r); /* into its out and e */
void log_stamp(int64_t wall_us, char out[LOG_STAMP + 1]);
struct log_files *logs_files(struct logs *lg); /* for tests, while no work is on its way */
