/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is held on disk, looked at when somebody asks and never before. Bounded: at most DISK_ENTRIES entries and DISK_DEPTH
 * folders deep of each line; what is beyond, or may not be read (a container's closed folders in a volume), makes the
 * line "at least".
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#define DISK_ENTRIES 50000
#define DISK_DEPTH   64
enum disk_line {
	DISK_LOGS,
	DISK_LEDGER,
	DISK_STATE, /* the database: plain files of daemon/ */
	DISK_OBJECTS,
	DISK_BLOBS, /* archives of code, and what was pushed to the registry */
	DISK_CODE,
	DISK_LAYERS,	/* by the counter that images have of them */
	DISK_SNAPSHOTS, /* by theirs */
	DISK_VOLUMES,
	DISK_OTHER, /* what comes and goes: pulls under way, backups not fetched yet, what is being removed */
	DISK_LINE_N
};
extern const char *const disk_line_name[DISK_LINE_N];
struct disk_use {
	int64_t bytes, files; /* a file of several names is counted once, when all are in the same line */
	bool more;	      /* at least */
};
/* On a thread: adds one line. daemon: <state>/daemon. Nothing for the two that have counters. */
void disk_look(int daemon, enum disk_line line, struct disk_use *use);
