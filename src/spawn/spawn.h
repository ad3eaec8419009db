/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemd's half of the spawner protocol (wire/spawner.h): asks, and hears what happened. Any protocol error from the
 * spawner is fatal to tandemd (on_lost): it cannot live without it.
 */
#pragma once
#include "loop/loop.h"
#include <stdbool.h>
#include "wire/spawner.h"
struct spawn;
struct sandbox_fds {
	int fd[SB_N]; /* -1: not there */
};
void sandbox_fds_close(struct sandbox_fds *fds);
/* What its group has used. -1: the host does not say. */
int64_t sandbox_cpu_us(const struct sandbox_fds *fds);
int64_t sandbox_bytes(const struct sandbox_fds *fds, enum spawner_sb which); /* SB_MEM, SB_MEM_PEAK */
struct spawn_events {
	/* Once; ownership of the descriptors moves. no_egress: why sandboxes have no way out, or empty */
	void (*config)(void *arg, const struct serve_config *c, int listeners[SL_N], const char *no_egress);
	void (*adopt)(void *arg, uint64_t id, const char *label, bool assigned, uint32_t uid, pid_t pid,
		      struct sandbox_fds *fds); /* ownership moves */
	void (*adopted)(void *arg);
	void (*ended)(void *arg, uint64_t id, int wait_status, uint32_t oom_kills, int64_t cpu_us,
		      int64_t mem_peak_bytes);
	void (*drain)(void *arg);
	void (*handover)(void *arg);
	void (*lost)(void *arg, const struct err *e);
};
struct spawn *spawn_new(struct loop *l, int sock, const struct spawn_events *ev, void *arg);
void spawn_free(struct spawn *s);
void spawn_hello(struct spawn *s);
void spawn_ready(struct spawn *s);
void spawn_bye(struct spawn *s);
void spawn_end(struct spawn *s, uint64_t id);
void spawn_live(struct spawn *s, uint64_t id); /* initialised: its share of the processors is its own from now on */
uint64_t spawn_next_id(struct spawn *s);       /* never one that was adopted */

/*
 * Requests: embedded by their owner. done runs exactly once, never before _start returned; e->kind is ERR_NONE on
 * success. spawn_cancel: done is not called any more, and a sandbox that is made after all is ended. Twice is fine.
 */
struct spawn_req {
	struct spawn *s;
	struct spawn_req *next;
	uint64_t id;
	void (*done)(struct spawn_req *r, const struct err *e);
	struct sandbox_fds fds; /* spawn_blank, spawn_container: filled on success; ownership moves with done */
	uint32_t uid;
	pid_t pid;
	int64_t bytes, files; /* spawn_unpack */
	int wait_status;      /* spawn_pull: of skopeo */
	const int *socks;     /* spawn_sockets_start and below: n_socks, for done alone; ownership moves */
	unsigned n_socks;
	uint16_t awaits;
};
/* r->id: the new sandbox. prepare: one in which tandem-init may take an image. */
void spawn_blank_start(struct spawn *s, struct spawn_req *r, bool prepare);
struct spawn_limits {
	int64_t memory_bytes, tmp_bytes;
	uint32_t pids_max, cpu_weight, cpu_quota_us;
	struct spawner_egress egress;
};
/* dirs: the code, then the layers in order; borrowed O_PATH or O_RDONLY directories owned by tandemd's uid. */
void spawn_assign_start(struct spawn *s, struct spawn_req *r, uint64_t id, const struct spawn_limits *lim,
			const int *dirs, unsigned n_dirs, const char *label);
/* Further than what the image has. Names and paths as of struct spawner_give in wire/spawner.h. */
struct spawn_mount {
	const char *source; /* a volume's name, or with host a path that root has allowed; NULL: a tmpfs */
	const char *path;
	bool host, read_only;
	uint32_t tmpfs_mb;
};
struct spawn_secret {
	const char *name, *path, *env; /* path: a file, 0400 of the container's user; or env: a variable */
};
struct spawn_device {
	const char *source, *path; /* on the host, and in the container; NULL: the same */
};
struct spawn_ulimit {
	int resource; /* RLIMIT_ */
	uint64_t soft, hard;
};
/* A sandbox for one container; r->id, fds, uid and pid as of spawn_blank_start. */
struct spawn_container {
	struct spawn_limits limits; /* tmp_bytes is not looked at */
	const int *layers;	    /* O_PATH descriptors of unpacked layers, the lowest first; borrowed */
	unsigned n_layers;	    /* at most CONTAINER_LAYERS */
	bool input, tty, read_only;
	/* A sandbox whose network it shares, and goes on in when that one ends; 0: its own, with limits.egress, SB_CREDS,
	 * SB_API, SB_API_TLS, SB_DNS and */
	uint64_t join;
	bool rtapi;	  /* SB_RTAPI */
	uint32_t without; /* of these, by bit */
	enum spawner_runtime runtime;
	const char *hostname, *label;
	uint64_t caps; /* by number; CAPS_DEFAULT */
	const struct spawn_mount *mounts;
	const struct spawn_secret *secrets;
	const struct spawn_device *devices;
	const struct spawn_ulimit *ulimits;
	unsigned n_mounts, n_secrets, n_devices, n_ulimits; /* together at most GIVES_MAX */
};
void spawn_container_start(struct spawn *s, struct spawn_req *r, const struct spawn_container *c);
/* value: a memory file, borrowed; -1: the secret is forgotten. Containers that have it keep it as it was. */
void spawn_secret_start(struct spawn *s, struct spawn_req *r, const char *name, int value);
void spawn_volume_end_start(struct spawn *s, struct spawn_req *r, const char *name); /* ERR_CONFLICT: it is in use */
void spawn_input_end(struct spawn *s, uint64_t id); /* SB_CHAN is closed: nothing more comes to its stdin */
/*
 * Sockets and terminals, in r->socks. Of a network that containers share, any of them may be named.
 *   sockets    n <= OPEN_MAX_FDS unconnected TCP sockets, for connecting to 127.0.0.1 inside
 *   listen_in  [0] listens on 127.0.0.1:port inside; the same one whenever it is asked for. Before the program begins, or its
 *              port may be taken (ERR_CONFLICT)
 *   listen     [0] listens on the host. It stays open, also while no tandemd runs, until spawn_unlisten; a successor asks
 *              for all that it wants before spawn_ready. ERR_CONFLICT: taken; ERR_DENIED: a port for root alone
 *   tty        [0] the master, [1] the slave of a new terminal inside of a container, for INIT_EXEC
 */
void spawn_sockets_start(struct spawn *s, struct spawn_req *r, uint64_t id, unsigned n);
void spawn_listen_in_start(struct spawn *s, struct spawn_req *r, uint64_t id, uint16_t port);
void spawn_listen_start(struct spawn *s, struct spawn_req *r, const struct sockaddr_in6 *at);
void spawn_unlisten(struct spawn *s, const struct sockaddr_in6 *at);
void spawn_tty_start(struct spawn *s, struct spawn_req *r, uint64_t id);
/* archive is borrowed; makes directory name below dir, whole or not at all. */
void spawn_unpack_start(struct spawn *s, struct spawn_req *r, int archive, int dir, const char *name, int64_t max_bytes,
			int64_t max_files);
/* The same for a layer of an image, whose name is the digest of its plain tar (UNPACK_LAYER), or the end of the tree
 * name below dir, made by that or by skopeo (UNPACK_REMOVE; archive is then any descriptor). */
void spawn_layer_start(struct spawn *s, struct spawn_req *r, enum spawner_unpack how, int archive, int dir,
		       const char *name, int64_t max_bytes, int64_t max_files);
/* skopeo copies reference to image/ below dir, which is open to PULL_ID; what it says goes to words. auth: -1 or a file
 * in the format of auth.json. Descriptors are borrowed. Success is r->wait_status 0. */
void spawn_pull_start(struct spawn *s, struct spawn_req *r, const char *reference, bool plain_http, int dir, int words,
		      int auth);
void spawn_pull_end(struct spawn *s, uint64_t id); /* soon; done follows */
int64_t spawn_helpers_us(const struct spawn *s);   /* CPU time of all that was pulled and unpacked */
void spawn_cancel(struct spawn_req *r);
