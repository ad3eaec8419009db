/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between tandemd and tandem-spawner: fixed-size messages on an AF_UNIX SOCK_SEQPACKET pair (tandemd's descriptor 3),
 * descriptors attached (wire/fds.h). Every message is exactly sizeof(struct spawner_msg); version, verb, end are
 * checked by both sides.
 *
 *  tandemd -> spawner
 *   HELLO     answered by CONFIG (listeners), then one ADOPT per living sandbox, then ADOPTED.
 *   BLANK     id: a sandbox that belongs to nobody yet. Answered by MADE, with SB_N descriptors.
 *   ASSIGN    id, with the descriptors of /var/task and /opt. Answered by ASSIGNED: limits of memory and processes set,
 *             code mounted; label kept for ADOPT.
 *   CONTAINER id, with the descriptors of an image's layers, the lowest first: a sandbox with a root of its own, for one
 *             container. Answered by MADE, with SB_ERR among the descriptors; it counts as assigned. What is written
 *             below its root goes when it ends. What it is given beside its image (struct spawner_give) comes in a memory
 *             file behind the layers.
 *             With join its network is the one of that sandbox, for as long as anybody is in there: egress, sockets and what
 *             OPEN made belong to the network.
 *   INPUT_END id, a container: its stdin ends, once tandemd has closed SB_CHAN too. No answer.
 *   OPEN      id of the request: sockets or a terminal, inside of a sandbox or on the host (enum spawner_open). Answered
 *             by OPENED with the descriptors. Listeners stay with the spawner: who asks for the same gets the same, also
 *             the successor of a killed tandemd.
 *   UNLISTEN  a listener of the host that OPEN made is closed. Those for which nobody has asked until READY are, too. No
 *             answer.
 *   LIVE      id, which is initialised: from now on the CPU weight and quota of ASSIGN hold. No answer.
 *   END       id: SIGKILL to its pid 1, reap, recycle; ENDED follows.
 *   UNPACK    id, with the archive and the directory. Answered by UNPACKED. Also removes what UNPACK_LAYER or PULL made.
 *   PULL      id, with the directory, the pipe for skopeo's words and, with has_auth, the credentials: skopeo copies an
 *             image from a registry to image/ below the directory. Answered by PULLED.
 *   PULL_END  id: that skopeo is killed; PULLED follows. No answer when it is gone.
 *   SECRET    id and a name, with the value as a memory file: kept for containers; without one: forgotten. KEPT follows.
 *   VOLUME_END id and a name: the volume and what is in it go, unless a container has it. KEPT follows.
 *   READY     the service manager is told; first daemon only.
 *   BYE       drained: the spawner ends every sandbox and exits 0.
 *  spawner -> tandemd
 *   ENDED     id, whenever a sandbox's pid 1 is gone, asked for or not.
 *   DRAIN     SIGTERM or SIGINT arrived: stop accepting, finish, BYE.
 *   HANDOVER  SIGHUP arrived (upgrade): finish writing, flush state, exit 0 at once without BYE; the successor adopts.
 *
 * id is chosen by tandemd, never reused in the life of the spawner. A verb that fails is answered by its reply verb
 * with err set. All of it is hostile to the other side: the spawner believes nothing that tandemd says (each verb in
 * helper/spawner/verbs.c says why that is safe).
 */
#pragma once
#include <netinet/in.h>
#include "base/err.h"
#define SPAWNER_VERSION 4
#define SPAWNER_END	0x74646d21u
#define SPAWNER_LABEL	256
#define SPAWNER_REF	392
/*
 * What is unpacked from images is owned by these ids of the host, LAYER_ID_BASE + the id in the archive. They are
 * nobody's: a set-id bit in a stored layer gives a right to nobody, and an idmapped mount shows them in a sandbox's own
 * range. The id behind them is skopeo's. They are fixed for ever, for they are on disk.
 */
#define LAYER_ID_BASE	  1878917120u /* 0x6ffe0000, below the default uid_base */
#define LAYER_IDS	  65536u
#define PULL_ID		  (LAYER_ID_BASE + LAYER_IDS)
#define CONTAINER_LAYERS  128
#define CONTAINER_ID_BASE 1879572480u /* ranges of LAYER_IDS ids, behind those of functions */

enum spawner_verb {
	SPAWNER_HELLO = 1,
	SPAWNER_BLANK,
	SPAWNER_ASSIGN,
	SPAWNER_END_SANDBOX,
	SPAWNER_UNPACK,
	SPAWNER_READY,
	SPAWNER_BYE,
	SPAWNER_LIVE,
	SPAWNER_PULL,
	SPAWNER_PULL_END,
	SPAWNER_CONTAINER,
	SPAWNER_INPUT_END,
	SPAWNER_OPEN,
	SPAWNER_UNLISTEN,
	SPAWNER_SECRET,
	SPAWNER_VOLUME_END,
	SPAWNER_CONFIG = 64,
	SPAWNER_ADOPT,
	SPAWNER_ADOPTED,
	SPAWNER_MADE,
	SPAWNER_ASSIGNED,
	SPAWNER_UNPACKED,
	SPAWNER_ENDED,
	SPAWNER_DRAIN,
	SPAWNER_HANDOVER,
	SPAWNER_PULLED,
	SPAWNER_OPENED,
	SPAWNER_KEPT,
};

/* Descriptors of a sandbox as MADE and ADOPT carry them, in this order. has says by bit which are there; absent ones
 * are not sent. */
enum spawner_sb {
	SB_CTL,	    /* seqpacket to its tandem-init (wire/init.h) */
	SB_CHAN,    /* stream to the in-house runtime (wire/frame.h); the runtime's end is descriptor 4. Of a container:
			the write end of its stdin when it has input, or its terminal */
	SB_LOG,	    /* read end of the pipe that is stdout and stderr; non-blocking; owned by the sandbox's uid */
	SB_RTAPI,   /* listening TCP 169.254.100.1:9001, inside its net namespace */
	SB_CREDS,   /* listening TCP 169.254.170.2:80 */
	SB_API,	    /* listening TCP 169.254.100.2:4566 */
	SB_DNS,	    /* UDP 169.254.100.2:53 */
	SB_API_TLS, /* listening TCP 169.254.100.2:443 */
	SB_PIDFD,   /* of its pid 1 */
	SB_FREEZE,  /* cgroup.freeze of its v2 group, for writing "0"/"1" */
	SB_CPU,	    /* v1 cpuacct.usage (ns) or v2 cpu.stat, for pread */
	SB_MEM_PEAK, /* v1 memory.max_usage_in_bytes or v2 memory.peak, for pread */
	SB_ERR,	     /* of a container without a terminal: as SB_LOG, which is stdout alone then */
	SB_MEM,	     /* of a container: v1 memory.usage_in_bytes or v2 memory.current, for pread */
	SB_N
};
/* What tandemd listens on inside of a sandbox; a container has those that were asked for. */
#define SB_PLATFORM (1u << SB_RTAPI | 1u << SB_CREDS | 1u << SB_API | 1u << SB_DNS | 1u << SB_API_TLS)
/* Listeners of CONFIG, in this order, has bits as above. */
/* SL_STATE_DIR is the directory state_dir/daemon, owned by tandemd's uid (0700): everything tandemd writes lies there.
 */
/* SL_GROUP_*: directories of the group that all sandboxes are in, for reading what the kernel has counted of all. */
enum spawner_listener {
	SL_ADMIN,
	SL_API4,
	SL_API6,
	SL_GATEWAY4,
	SL_GATEWAY6,
	SL_STATE_DIR,
	SL_GROUP_CPU,
	SL_GROUP_MEMORY,
	SL_N
};

/* What tandem serve hands to the spawner (in a memfd at descriptor 3) and CONFIG hands on. Checked text: the CLI parsed
 * it. */
struct serve_config {
	uint32_t version;		  /* SPAWNER_VERSION */
	char state_dir[256];		  /* absolute; exists, 0710 root:tandem after the spawner set it up */
	char libexec_dir[256];		  /* where tandemd, tandem-init, tandem-unpack, shim/ and spec/ lie */
	struct sockaddr_in6 api, gateway; /* v4 addresses are v4-mapped; port 0: the kernel picks */
	uint8_t auth_none;
	uint8_t debug;	  /* log level debug */
	uint8_t no_layer; /* debug builds: which sandbox layer to leave out (tests/hostile), enum spawner_layer */
	uint8_t has;	  /* CONFIG: which listeners come with it, bits of enum spawner_listener; before: */
#define SERVE_NO_EGRESS 0x80
	uint32_t uid_base;		 /* 1879048192 */
	uint32_t daemon_uid, daemon_gid; /* of user "tandem", looked up by the CLI; 1879048190 when there is none */
	uint32_t end;			 /* SPAWNER_END */
};
enum spawner_layer {
	LAYER_ALL,
	LAYER_NO_SECCOMP,
	LAYER_NO_PIDNS,
	LAYER_NO_NETNS,
	LAYER_NO_IPCNS,
	LAYER_NO_USERNS,
	LAYER_NO_RO_ROOT,
	LAYER_NO_CGROUP,
	LAYER_NO_DUMPABLE,
	LAYER_NO_CAPDROP,
	LAYER_NO_TMP_SIZE,
	LAYER_NO_RLIMIT,
	LAYER_NO_EGRESS_RULES,
	LAYER_N
};

/* UNPACK_CODE: as tandemd's user. The others in a user namespace of LAYER_IDS: a layer, whose name is the SHA-256 of its
 * plain tar, and that is checked; the end of a tree that belongs to these ids. */
enum spawner_unpack { UNPACK_CODE, UNPACK_LAYER, UNPACK_REMOVE, UNPACK_N };

/* Where a sandbox may connect to; nothing set: nowhere. */
#define SPAWNER_RANGES 16
struct spawner_egress {
	uint8_t internet; /* public addresses */
	uint8_t n;
	struct {
		uint32_t ip;  /* the first, host order */
		uint8_t bits; /* of the prefix; all behind it are 0 */
	} range[SPAWNER_RANGES];
};

/* Addresses are IPv6, or v4-mapped. OPEN_LISTEN with port 0: the kernel picks one, and nobody gets it again by that. */
enum spawner_open {
	OPEN_SOCKETS,	/* n unconnected TCP sockets (IPv4) of a sandbox's network, non-blocking */
	OPEN_LISTEN_IN, /* listening on 127.0.0.1 inside, at the port of at */
	OPEN_LISTEN,	/* listening on the host, at at; no port that is kept for root */
	OPEN_TTY,	/* a new terminal inside of a container: master, non-blocking, and slave */
	OPEN_N
};
#define OPEN_MAX_FDS 64

/* Who makes a container (helper/spawner/oci.c). */
enum spawner_runtime { SPAWNER_OWN, SPAWNER_CRUN, SPAWNER_RUNC, SPAWNER_RUNTIMES };
/*
 * What a container is given, one of these each. Names (of volumes and secrets) are of letters, digits, "-", "_" and ".",
 * and begin with one of the first two. Paths are absolute, without "." and "..", and those of the host without links and
 * ":". Host paths and devices are only those that root has allowed (grants/ in the state directory).
 */
enum spawner_give_kind {
	GIVE_VOLUME,	 /* source: its name; made when there is none */
	GIVE_HOST,	 /* source: a directory, file or socket of the host. What is mounted below it is not there */
	GIVE_TMPFS,	 /* soft: bytes */
	GIVE_SECRET,	 /* source: its name; a file of the container's user, 0400 */
	GIVE_SECRET_ENV, /* path: the variable's name */
	GIVE_DEVICE,	 /* source: below /dev; so is path */
	GIVE_LIMIT,	 /* number: RLIMIT_, soft, hard */
	GIVE_N
};
#define GIVES_MAX	 128
#define GIVE_NAME_MAX	 64
#define SECRET_MAX_BYTES 65536
struct spawner_give {
	uint8_t kind, read_only;
	uint16_t number;
	uint32_t zero;
	uint64_t soft, hard;
	char source[256], path[256];
};
/* Capabilities of a container by their numbers, each a right in its own user namespace alone: Docker's. */
#define CAPS_DEFAULT 0xa80425fbull
#define CAPS_INIT    0x1e3ull /* tandem-init's: CHOWN, DAC_OVERRIDE, KILL, SETGID, SETUID, SETPCAP */
#define CAPS_N	     41
#define CAPS_ALL     ((1ull << CAPS_N) - 1)
extern const char *const cap_name[CAPS_N]; /* by number, as in linux/capability.h, without "CAP_" */

struct spawner_msg {
	uint32_t version;
	uint16_t verb;
	uint16_t err; /* enum err_kind in answers; 0: done */
	uint64_t id;
	union {
		struct {
			uint8_t prepare; /* an image will be taken there (INIT_TAKE) */
		} blank;
		struct {
			uint64_t memory_bytes, tmp_bytes; /* group limit = their sum */
			uint32_t pids_max, cpu_weight;	  /* weight 1..10000 as cgroup v2 */
			uint32_t cpu_quota_us;		  /* per 100 ms; 0: none */
			uint8_t n_layers; /* descriptors behind the first, which is /var/task: together /opt, the last
					     on top */
			char label[SPAWNER_LABEL]; /* tandemd's own note, given back by ADOPT */
			struct spawner_egress egress;
		} assign;
		struct {
			uint64_t memory_bytes;
			uint32_t pids_max, cpu_weight, cpu_quota_us; /* as of assign, and in force at once */
			uint8_t n_layers, input, tty, read_only;     /* without input stdin is empty */
			uint8_t runtime;			     /* enum spawner_runtime */
			uint8_t n_gives; /* not 0: one more descriptor, an array of struct spawner_give */
			uint64_t caps;	 /* of what runs in it */
			char hostname[64];
			char label[SPAWNER_LABEL];
			uint64_t join;	  /* 0: a network of its own, with: */
			uint32_t sockets; /* of SB_PLATFORM */
			struct spawner_egress egress;
		} container;
		struct {
			uint64_t sandbox;
			struct sockaddr_in6 at;
			uint8_t how, n; /* n: of OPEN_SOCKETS, and of descriptors in OPENED */
		} open;			/* OPEN, OPENED, UNLISTEN */
		struct {
			char name[GIVE_NAME_MAX + 1];
		} keep; /* SECRET, VOLUME_END */
		struct {
			uint32_t has, uid;
			int32_t pid;
			uint8_t assigned;
			char label[SPAWNER_LABEL];
		} made; /* MADE, ADOPT */
		struct {
			int32_t wait_status; /* of pid 1 as waitpid gives it */
			uint32_t oom_kills;
			uint64_t cpu_us, mem_peak_bytes;
		} ended;
		struct {
			char name[72]; /* new directory below the given one: hex digest */
			uint64_t max_bytes, max_files;
			uint64_t bytes, files; /* answer */
			uint8_t how;	       /* enum spawner_unpack */
			uint64_t cpu_us;       /* UNPACKED: that it took */
		} unpack;
		struct {
			char reference[SPAWNER_REF]; /* checked, without a transport */
			uint8_t plain_http;	     /* the registry may speak without TLS */
			uint8_t has_auth;	     /* a third descriptor: auth.json */
			int32_t wait_status;	     /* PULLED: skopeo's */
			uint64_t cpu_us;
		} pull;
		struct serve_config config;
	} u;
	char text[256]; /* error text of an answer; CONFIG: why sandboxes have no way out, or empty */
	uint32_t end;	/* SPAWNER_END */
};
int spawner_msg_check(const struct spawner_msg *m, size_t n, struct err *e); /* size, version, end, texts terminated */
void spawner_msg_init(struct spawner_msg *m, enum spawner_verb verb, uint64_t id);
