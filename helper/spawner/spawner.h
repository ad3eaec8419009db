/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandem-spawner: the only part of Tandem that stays root. One thread, one epoll set, a fixed table of sandboxes, no
 * heap after the start. It takes fixed-size messages from tandemd (wire/spawner.h) and believes none of them.
 *
 * A sandbox (struct sandbox) lives so:
 *
 *      FREE ──BLANK──► MAKING ──► READY ──ASSIGN──► READY (assigned) ──► FREE
 *                        └──────────┴── pid 1 gone: reaped, ENDED sent ──┘
 */
#pragma once
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include "base/err.h"
#include "cgroup.h"
#include "wire/spawner.h"

#define SANDBOX_MAX	 4096
#define IDS_PER_SPAWNER	 (2 * SANDBOX_MAX)
#define JOB_MAX		 24 /* of them skopeos: */
#define PULL_MAX	 4
#define CONFIG_FD	 3		/* what the spawner is started with */
#define FD_RESERVED	 32		/* numbers below stay free for children to put theirs at */
#define BLANK_TMP_BYTES	 (512ull << 20) /* /tmp of a blank; ASSIGN changes it when the function's differs */
#define NET_POOL	 64		/* net namespaces that wait to be used again */
#define DOOR_MAX	 1024
#define RANGE_BLOCK	 64 /* ranges of ids for containers are taken from the host by so many */
#define RANGE_BLOCKS	 16
#define MEMORY_MIN_BYTES (1ull << 20)
#define MEMORY_MAX_BYTES (1ull << 40)
#define RUN_DIR		 "/run/tandem"
#define INSIDE_UID	 1051
#define INSIDE_GID	 990

enum slot_state { SLOT_FREE, SLOT_MAKING, SLOT_READY };
struct sandbox {
	uint32_t gen; /* of the slot: tells old events and group names from new ones */
	uint8_t state, assigned, ending;
	uint16_t range;	 /* of a container: number of its ids + 1; else 0 */
	uint8_t own_net; /* its net namespace is not as others' any more */
	uint8_t runtime; /* enum spawner_runtime */
	uint64_t group;	 /* id of the sandbox that its network was made for; one of those in it has SB_DNS */
	pid_t pid;
	int setup;    /* to the child while MAKING; -1 */
	int fd[SB_N]; /* what tandemd got duplicates of; -1: not there */
	struct cg_leaf leaf;
	struct cg_limits limits; /* of the blank, then of ASSIGN */
	char label[SPAWNER_LABEL];
	uint32_t address; /* in the router, once ranges were declared for it; 0: none were */
	struct spawner_egress egress;
};

/* tandem-unpack or skopeo, under way. */
struct job {
	uint64_t id; /* 0: free */
	uint32_t gen;
	uint16_t answer; /* SPAWNER_UNPACKED or _PULLED */
	pid_t pid;
	int pidfd, result; /* result: of tandem-unpack; -1 */
	int64_t deadline_us;
};

/* Made once at start (base.c): what every sandbox is a copy of. */
struct base {
	int mntns;	/* mount namespace with nothing but the root file system of a blank */
	dev_t root_dev; /* of that root: a blank makes sure that it stands on it */
	ino_t root_ino;
	int timens;   /* -1: the kernel has none */
	int init_exe; /* tandem-init, executable but not readable by a sandbox */
};

/* 65,536 ids for one container. Its two user namespaces are made at the first use and kept: nothing lives in them. */
struct range {
	bool used;
	int userns; /* of the container: 0 is its first id; -1: not made yet */
	int idmap;  /* for mounts: LAYER_ID_BASE is its first id */
};

/* The way out (egress.c). */
struct egress {
	int router; /* net namespace between sandboxes and host; -1: none, and why */
	int own;    /* the host's */
	uint32_t serial;
	char why[200];
};

/* A listener that tandemd asked for (open.c). */
struct door {
	uint64_t group;	   /* whose network it is in; 0: the host's */
	uint32_t asked_by; /* daemon_gen: which tandemd wanted it last */
	int fd;
	struct sockaddr_in6 at; /* family 0: free */
};

struct net_look {
	char text[16384];
	size_t n; /* 0: not known */
};

struct spawner {
	struct serve_config config;
	struct base base;
	struct cg cg;
	struct egress egress;
	int epoll, signals;
	int lock, ids;	    /* on state_dir/lock and on our range of ids, for as long as we live */
	int listener[SL_N]; /* -1: not there */

	pid_t daemon_pid; /* 0: none */
	int daemon_pidfd, daemon_sock;
	uint32_t daemon_gen;
	unsigned daemon_quick_deaths;
	int64_t daemon_started_us, daemon_start_at_us; /* start_at: 0 or when to start the next one */
	bool daemon_ready, notified, draining, upgrading, quit;
	int64_t drain_deadline_us;
	int exit_code;

	struct net_look fresh_net;
	struct net_kept {
		int ns;
		int64_t since_us;
	} net[NET_POOL]; /* oldest first */
	unsigned n_nets;

	int uppers, skel; /* state_dir/containers: what containers write; the layer above all of an image's */
	pid_t sweeper;	  /* removes what dead ones wrote; 0: none */
	int sweep_kick;	  /* a byte to it: there is something; closed: its end */
	unsigned n_blocks;
	struct range_block {
		int lock;
		uint32_t first;
	} block[RANGE_BLOCKS];
	struct range range[RANGE_BLOCKS * RANGE_BLOCK];

	struct door door[DOOR_MAX];
	unsigned high; /* slots ever used: scans end here */
	struct job job[JOB_MAX];
	uint64_t id[SANDBOX_MAX];	/* 0: free. Beside the table, so that a search touches little memory */
	struct sandbox sb[SANDBOX_MAX]; /* last: a handover writes only what was ever used */
};

/* What an epoll event is about; packed with slot and generation. */
enum watch_kind {
	WATCH_SIGNALS = 1,
	WATCH_DAEMON_SOCK,
	WATCH_DAEMON_PID,
	WATCH_SETUP,
	WATCH_PID1,
	WATCH_OOM,
	WATCH_UNPACK,
	WATCH_PULL,
	WATCH_KEEP
};
int watch_add(struct spawner *s, int fd, enum watch_kind kind, unsigned slot, uint32_t gen);
/* Closing alone is not enough: while tandemd or a child has a duplicate, epoll would go on reporting it. -1 is fine. */
void watch_close(struct spawner *s, int *fd);

/* verbs.c: messages from and to tandemd */
void verbs_receive(struct spawner *s);
/* Duplicates of fds go along. A tandemd that reads nothing for 30 s is killed. */
void verbs_send(struct spawner *s, struct spawner_msg *m, const int *fds, unsigned n_fds);
void verbs_send_err(struct spawner *s, enum spawner_verb verb, uint64_t id, const struct err *e);
void verbs_send_made(struct spawner *s, enum spawner_verb verb, unsigned slot);

/* sandbox.c: the parent's side of one sandbox */
struct container { /* what CONTAINER asks for, checked */
	const int *layers;
	unsigned n_layers;
	bool input, tty, read_only;
	struct cg_limits limits;
	const char *hostname, *label;
	uint64_t group; /* whose network it shares; 0: its own, with these sockets and */
	uint32_t sockets;
	unsigned runtime;
	const struct spawner_egress *egress;
	uint64_t caps;
	unsigned n_gives;	 /* not 0: their list is the descriptor behind the layers */
	const struct spawner *s; /* the child looks into the state directory */
};
/* c NULL: a blank */
int sandbox_make(struct spawner *s, uint64_t id, bool prepare, const struct container *c, struct err *e);
void sandbox_setup_event(struct spawner *s, unsigned slot);
void sandbox_oom_event(struct spawner *s, unsigned slot);
void sandbox_reap(struct spawner *s, unsigned slot); /* pid 1 is gone */
void sandbox_kill(struct spawner *s, unsigned slot);
void sandbox_forget_making(struct spawner *s);		/* those that a dead tandemd asked for and nobody got */
int sandbox_find(const struct spawner *s, uint64_t id); /* slot, or -1 */
/* The net namespace that it is in, which is not used a second time from now on; -1: none. The caller closes. */
int sandbox_net(struct spawner *s, unsigned slot);

/* blank.c: the child's side; never returns */
struct blank {
	struct base base;
	int setup, ctl, chan, log, err, layer;
	int net;	  /* a namespace to use again if it is as new, or -1 */
	bool join;	  /* net is somebody's; that is where it goes */
	uint32_t sockets; /* of SB_PLATFORM, to open there */
	int host_mnt;	  /* the spawner's mount namespace, for a runtime; -1 */
	int router;	  /* -1: no way out */
	uint32_t serial;  /* of a new namespace with one */
	const struct net_look *fresh_net;
	uint32_t uid;
	bool prepare;			   /* images are taken there */
	const struct container *container; /* NULL: a blank */
	int v1_tasks[CG_HIER_MAX];
	unsigned n_v1_tasks;
};
struct blank_said {	  /* what the child tells over setup, then EOF by exec */
	int32_t sys;	  /* errno, or 0: namespaces are ready, sockets attached, write the id maps */
	uint32_t sockets; /* which of SB_PLATFORM come along */
	uint16_t tty;	  /* behind them its terminal */
	uint16_t kind;	  /* of the error */
	char step[240];
};
#define BLANK_SOCKS    (SB_API_TLS - SB_RTAPI + 1)
#define BLANK_SAID_FDS (BLANK_SOCKS + 1) /* and a container's terminal */
void blank_run(const struct blank *b) __attribute__((noreturn));

/* container.c: what the child does differently when it becomes a container */
enum container_fd { CF_USERNS, CF_IDMAP, CF_UPPER, CF_SKEL, CF_LAYERS }; /* sent over setup before the child begins */
int container_surroundings(struct blank *b, int *ret_tty, int *ret_userns, struct err *e);
int container_terminal(const char *root, uint32_t uid, int *ret_master, int *ret_slave, struct err *e);
int container_become(const struct blank *b, int userns, struct err *e);

/* rootfs.c, in the child: the root of a container in place of the one of blanks */
struct rootfs {
	int lower[CONTAINER_LAYERS + 1]; /* mounts that belong to no namespace yet, the lowest first */
	unsigned n_lower;
	int upper; /* the same, of a directory with "upper" and "work" */
	uint32_t first;
	bool read_only, writable_proc;
	const char *hostname;
	struct give *give;
};
int rootfs_tree(int dir, int idmap, struct err *e);	/* such a mount */
int rootfs_make(const struct rootfs *r, struct err *e); /* limits of the process are set */
int rootfs_skel(int dir, struct err *e); /* fills the directory that is laid over every image: what is mounted upon */

/* give.c, in the child: what a container is given beside its image */
struct gift {
	struct spawner_give want;
	int fd;		/* a mount that belongs to no namespace yet, or a secret's value */
	struct stat st; /* of a device */
	bool fresh;	/* a volume that was made for this container */
};
struct give {
	const struct spawner *s;
	int idmap, userns; /* for mounts: LAYER_ID_BASE, or 0, is the container's first id */
	int own, secrets;  /* the tmpfs of its own files, and a folder in it; -1 */
	unsigned n, n_files;
	struct gift gift[GIVES_MAX];
};
int give_take(struct give *g, int list, struct err *e); /* in the spawner's mount namespace */
int give_place(struct give *g, struct err *e);		/* in the container's, below its root */
int give_lock(int volumes, const char *name, int how);	/* LOCK_SH or LOCK_EX, at once; -1 and errno */
bool give_name_ok(const char *name);
int give_dir(const struct spawner *s, const char *name, struct err *e); /* of the state: tandemd may list it */

/* keep.c: SECRET and VOLUME_END, each by a short-lived child */
int keep_start(struct spawner *s, const struct spawner_msg *m, const int *fds, unsigned n_fds, struct err *e);
void keep_event(struct spawner *s, struct job *j);

/* upper.c: ranges of ids, and directories for what containers write */
int upper_setup(struct spawner *s, struct err *e); /* at start; what a killed predecessor left is removed */
int upper_make(struct spawner *s, unsigned slot, struct err *e); /* O_PATH */
void upper_remove(struct spawner *s, unsigned slot);
void upper_kick(struct spawner *s); /* there is something in gone/ */
void upper_finish(struct spawner *s);
int range_take(struct spawner *s, struct err *e); /* its number; both namespaces are there */
void range_release(struct spawner *s, unsigned n);
uint32_t range_first(const struct spawner *s, unsigned n);
void range_forget(struct spawner *s); /* after a handover: namespaces are made again when they are needed */

/* oci.c: becomes an OCI runtime that runs argv (of tandem-init) */
int oci_check(unsigned runtime, struct err *e);
int oci_become(struct blank *b, char *const *argv, struct err *e);

/* net.c, in the child: enters b->net if nothing of its last user is left (or to join it), else a new one, with the way out
 * where there is one; opens the platform's sockets. Their number */
int net_setup(const struct blank *b, int ret_socks[BLANK_SOCKS], struct err *e);

/* open.c: what tandemd gets besides whole sandboxes */
struct opened {
	int fd[OPEN_MAX_FDS];
	unsigned n;
	bool kept; /* by us too */
};
int open_make(struct spawner *s, const struct spawner_msg *m, struct opened *ret, struct err *e);
void open_unlisten(struct spawner *s, const struct sockaddr_in6 *at);
void open_forget(struct spawner *s, uint64_t group); /* listeners in a network that is gone */
void open_sweep(struct spawner *s);		     /* the host's that this tandemd did not ask for */

/* egress.c: never fails; without the way out there is a reason */
void egress_start(struct spawner *s);
void egress_stop(struct spawner *s);
/* From here on it may connect to these. A new sandbox may to public addresses. */
int egress_assign(struct spawner *s, struct sandbox *b, const struct spawner_egress *g, struct err *e);
void egress_forget(struct spawner *s, struct sandbox *b); /* it is gone */
/* Does f in a net namespace and returns what it returned: a socket is of the one in which it was made, for ever. */
int egress_within(const struct spawner *s, int ns, int (*f)(void *arg, struct err *e), void *arg, struct err *e);

/* netpool.c: namespaces that are used again */
void net_learn(struct spawner *s);
bool net_as_new(const struct net_look *fresh); /* of the namespace that the caller is in */
void net_keep(struct spawner *s, int sock);    /* that of the socket; its processes are gone */
int net_take(struct spawner *s);	       /* -1: none; the caller closes */
void net_drop(struct spawner *s);

/* base.c and etc.c: the root file system and what all sandboxes share */
int base_make(const struct serve_config *c, struct base *ret, struct err *e);
/* Fills ./etc below the directory root. The state's own authority (ca.crt in state_dir), if there is one, is trusted in
 * it. */
int etc_make(int root, const char *state_dir, struct err *e);
int base_tmpfs(const char *size, const char *inodes, unsigned attrs, struct err *e);
int base_dev(int dev, struct err *e); /* nodes and links of a blank's /dev */

/* mount.c: mounts of one sandbox */
int mount_blank(uint64_t tmp_bytes, bool no_tmp_size, struct err *e);
unsigned long mount_inodes(uint64_t bytes);				 /* of a tmpfs of that size */
void mount_list_proc(FILE *to);						 /* the same, for an OCI runtime */
int mount_mask_proc(const char *null, const char *empty, struct err *e); /* Docker's lists; both for hiding */
int mount_assign(int pidfd, int task_tree, int opt_tree, uint64_t tmp_bytes, struct err *e);
int mount_code_tree(int dir, uint32_t owner, struct err *e); /* read-only copy of the mount at dir, or -1 */
int mount_layers(const int *dirs, unsigned n, uint32_t owner, struct err *e); /* several as one, the last on top */

/* priv.c: giving up rights */
int priv_drop_caps(struct err *e);
int priv_keep_caps(struct err *e);	 /* debug builds, LAYER_NO_CAPDROP */
int priv_rlimits_sandbox(struct err *e); /* all but: */
int priv_rlimit_files(struct err *e);
int priv_rlimits_container(struct err *e);
int priv_files_as(uint32_t id, struct err *e); /* what is made from now on belongs to it; with all rights still */
int priv_caps_container(uint64_t caps, struct err *e); /* in its user namespace; tandem-init has some beside */
bool priv_rlimit_ok(unsigned resource);
int priv_rlimit(unsigned resource, uint64_t soft, uint64_t hard, struct err *e);
int priv_filter_container(struct err *e);
int priv_filter_sandbox(bool prepare, struct err *e);
int priv_filter_daemon(struct err *e);
int priv_filter_unpack(struct err *e);
int priv_seal(
	struct err *e); /* no new privileges, and dies with its parent: the last, for a change of ids clears that */
int priv_become_layer_root(struct err *e);		    /* of the user namespace, with what changing owners takes */
int priv_become(uint32_t uid, uint32_t gid, struct err *e); /* ids, no capabilities, dies with its parent */

/* daemon.c */
int daemon_start(struct spawner *s, struct err *e);
void daemon_gone(struct spawner *s);
void daemon_lost(struct spawner *s, const char *why); /* protocol broken: kill it, the successor adopts */
void daemon_send_config(struct spawner *s);

/* job.c: the short-lived processes of one task each */
struct job *job_free_slot(struct spawner *s, enum spawner_verb answer, unsigned max, struct err *e);
/* Its process runs; watch is the descriptor whose event means the end. That it cannot be watched ends it. */
void job_begin(struct spawner *s, struct job *j, uint64_t id, pid_t pid, int64_t time_us, enum watch_kind kind);
/* Kills it if it still runs, waits for it, sends the answer, if any, or the error, if any. The wait status. */
int job_finish(struct spawner *s, struct job *j, struct spawner_msg *answer, const struct err *e);
void job_event(struct spawner *s, enum watch_kind kind, unsigned slot, uint32_t gen);
void job_kill(struct spawner *s, uint64_t id, enum spawner_verb answer);
void job_kill_all(struct spawner *s);
int64_t job_next_deadline_us(const struct spawner *s); /* INT64_MAX: none */
void job_expire(struct spawner *s, int64_t now_us);

/* unpack.c and pull.c */
int unpack_start(struct spawner *s, const struct spawner_msg *m, int archive, int dir, struct err *e);
void unpack_event(struct spawner *s, struct job *j);
int pull_start(struct spawner *s, const struct spawner_msg *m, const int *fds, unsigned n_fds, struct err *e);
void pull_event(struct spawner *s, struct job *j);

/* state.c: state directory, lock, listeners, run file, service manager */
int state_setup(struct spawner *s, struct err *e);
int state_take_ids(struct spawner *s, struct err *e);	/* the first range of user ids that nobody else has */
int state_take_block(struct spawner *s, struct err *e); /* one more block of ranges for containers */
int state_own_dir(const char *path, uid_t uid, gid_t gid, mode_t mode, struct err *e); /* made or checked; open */
unsigned state_ids_number(const struct spawner *s); /* which one that is: of this host's daemons ours alone */
int state_listen(struct spawner *s, struct err *e);
/* A listening socket at a; a's port becomes the one that the kernel picked. -1 and errno. */
int state_listen_at(struct sockaddr_in6 *a);
void state_show_address(const struct sockaddr_in6 *a, char out[64]);
int state_write_run(struct spawner *s, struct err *e);
void state_remove_run(const struct spawner *s);
void state_notify(const char *text);

/* handover.c */
int handover_check(const struct spawner *s, struct err *e); /* do the successors run at all? */
void handover_exec(struct spawner *s);			    /* returns only when it failed */
int handover_resume(struct spawner *s, int fd,
		    struct err *e); /* the successor reads the table: 1 all, 0 all but the sandboxes */
int handover_watch(struct spawner *s, struct err *e); /* its events, once there is a loop */
void handover_renew(struct spawner *s);		      /* what new sandboxes are copies of comes from the new files */
