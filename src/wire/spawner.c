/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/spawner.h"
#include <string.h>

const char *const cap_name[CAPS_N] = {
	"CHOWN",
	"DAC_OVERRIDE",
	"DAC_READ_SEARCH",
	"FOWNER",
	"FSETID",
	"KILL",
	"SETGID",
	"SETUID",
	"SETPCAP",
	"LINUX_IMMUTABLE",
	"NET_BIND_SERVICE",
	"NET_BROADCAST",
	"NET_ADMIN",
	"NET_RAW",
	"IPC_LOCK",
	"IPC_OWNER",
	"SYS_MODULE",
	"SYS_RAWIO",
	"SYS_CHROOT",
	"SYS_PTRACE",
	"SYS_PACCT",
	"SYS_ADMIN",
	"SYS_BOOT",
	"SYS_NICE",
	"SYS_RESOURCE",
	"SYS_TIME",
	"SYS_TTY_CONFIG",
	"MKNOD",
	"LEASE",
	"AUDIT_WRITE",
	"AUDIT_CONTROL",
	"SETFCAP",
	"MAC_OVERRIDE",
	"MAC_ADMIN",
	"SYSLOG",
	"WAKE_ALARM",
	"BLOCK_SUSPEND",
	"AUDIT_READ",
	"PERFMON",
	"BPF",
	"CHECKPOINT_RESTORE",
};

static int terminated(const char *s, size_t size)
{
	return memchr(s, 0, size) != NULL;
}

static int config_check(const struct serve_config *c, struct err *e)
{
	if (c->version != SPAWNER_VERSION || c->end != SPAWNER_END)
		return err_set(e, ERR_CORRUPT, "spawner message: configuration of another version");
	if (!terminated(c->state_dir, sizeof(c->state_dir)) || !terminated(c->libexec_dir, sizeof(c->libexec_dir)))
		return err_set(e, ERR_CORRUPT, "spawner message: path not terminated");
	return 0;
}

int spawner_msg_check(const struct spawner_msg *m, size_t n, struct err *e)
{
	int ok = 1;

	if (n != sizeof(*m))
		return err_set(e, ERR_CORRUPT, "spawner message of %zu bytes instead of %zu", n, sizeof(*m));
	if (m->version != SPAWNER_VERSION || m->end != SPAWNER_END)
		return err_set(e, ERR_CORRUPT, "spawner message: version %u or its end is wrong", m->version);
	if (m->err >= ERR_N)
		return err_set(e, ERR_CORRUPT, "spawner message: error kind %u", m->err);
	switch (m->verb) {
	case SPAWNER_ASSIGN:
		ok = terminated(m->u.assign.label, sizeof(m->u.assign.label));
		break;
	case SPAWNER_CONTAINER:
		ok = terminated(m->u.container.label, sizeof(m->u.container.label)) &&
		     terminated(m->u.container.hostname, sizeof(m->u.container.hostname));
		break;
	case SPAWNER_SECRET:
	case SPAWNER_VOLUME_END:
		ok = terminated(m->u.keep.name, sizeof(m->u.keep.name));
		break;
	case SPAWNER_MADE:
	case SPAWNER_ADOPT:
		ok = terminated(m->u.made.label, sizeof(m->u.made.label));
		break;
	case SPAWNER_UNPACK:
	case SPAWNER_UNPACKED:
		ok = terminated(m->u.unpack.name, sizeof(m->u.unpack.name));
		break;
	case SPAWNER_PULL:
		ok = terminated(m->u.pull.reference, sizeof(m->u.pull.reference));
		break;
	case SPAWNER_CONFIG:
		if (config_check(&m->u.config, e) < 0)
			return -1;
		break;
	}
	if (!ok || !terminated(m->text, sizeof(m->text)))
		return err_set(e, ERR_CORRUPT, "spawner message: text not terminated");
	return 0;
}

void spawner_msg_init(struct spawner_msg *m, enum spawner_verb verb, uint64_t id)
{
	memset(m, 0, sizeof(*m));
	m->version = SPAWNER_VERSION;
	m->verb = (uint16_t)verb;
	m->id = id;
	m->end = SPAWNER_END;
}
