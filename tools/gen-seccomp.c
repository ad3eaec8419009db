/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes the system call filters (classic BPF, as C arrays) from spec/syscalls.txt. libseccomp only knows the numbers:
 * its own filters test every argument rule in line and are several times longer, and the kernel runs a new filter once
 * per system call number when it is loaded. Ours is a binary search over ranges of numbers with the same answer.
 *
 *   wrong architecture (or x32) → kill;   number not in the list → ENOSYS;   otherwise what the list says.
 *
 * The result is run here against the list, number by number, before it is printed.
 */
#include <assert.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define NR_MAX	 1024
#define X32	 0x40000000u
#define CODE_MAX 4096
#define NS_FLAGS                                                                                                       \
	0x7e020080u /* every CLONE_NEW*; 0x80 is NEWTIME, for unshare alone (for clone it is part of the signal) */

enum act { ACT_ENOSYS, ACT_ALLOW, ACT_EPERM, ACT_CLONE, ACT_UNSHARE, ACT_SOCKET, ACT_IOCTL, ACT_PERSONALITY, ACT_N };
static const char *const act_names[ACT_N] = {"absent",	"allow",  "refuse", "clone",
					     "unshare", "socket", "ioctl",  "personality"};

static struct sock_filter code[CODE_MAX];
static unsigned n_code;

static unsigned emit(uint16_t op, uint32_t k, uint8_t jt, uint8_t jf)
{
	assert(n_code < CODE_MAX);
	code[n_code] = (struct sock_filter){op, jt, jf, k};
	return n_code++;
}

static uint32_t ret_of(enum act a)
{
	return a == ACT_ALLOW ? SECCOMP_RET_ALLOW : SECCOMP_RET_ERRNO | (a == ACT_EPERM ? EPERM : ENOSYS);
}

static void ret(uint32_t v)
{
	emit(BPF_RET | BPF_K, v, 0, 0);
}

static void load_arg(unsigned i) /* the low half: these arguments are 32 bits wide for the kernel too */
{
	emit(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offsetof(struct seccomp_data, args) + 8 * i), 0, 0);
}

static void refuse_if_set(uint32_t mask)
{
	load_arg(0);
	emit(BPF_JMP | BPF_JSET | BPF_K, mask, 0, 1);
	ret(SECCOMP_RET_ERRNO | EPERM);
	ret(SECCOMP_RET_ALLOW);
}

/* The accumulator equals k: return v. */
static void ret_if(uint32_t k, uint32_t v)
{
	emit(BPF_JMP | BPF_JEQ | BPF_K, k, 0, 1);
	ret(v);
}

static void check_socket(void)
{
	const uint32_t no_family = SECCOMP_RET_ERRNO | EAFNOSUPPORT, eperm = SECCOMP_RET_ERRNO | EPERM;
	unsigned inet, inet6, netlink;

	load_arg(0);
	ret_if(AF_UNIX, SECCOMP_RET_ALLOW);
	inet = emit(BPF_JMP | BPF_JEQ | BPF_K, AF_INET, 0, 0);
	inet6 = emit(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 0, 0);
	netlink = emit(BPF_JMP | BPF_JEQ | BPF_K, AF_NETLINK, 0, 1);
	unsigned jump_netlink = emit(BPF_JMP | BPF_JA, 0, 0, 0);

	(void)netlink;
	ret(no_family);
	/* inet: stream or datagram, of TCP or UDP only */
	code[inet].jt = (uint8_t)(n_code - inet - 1);
	code[inet6].jt = (uint8_t)(n_code - inet6 - 1);
	load_arg(1);
	emit(BPF_ALU | BPF_AND | BPF_K, 0xf, 0, 0);
	emit(BPF_JMP | BPF_JEQ | BPF_K, SOCK_STREAM, 2, 0);
	emit(BPF_JMP | BPF_JEQ | BPF_K, SOCK_DGRAM, 1, 0);
	ret(eperm);
	load_arg(2);
	ret_if(0, SECCOMP_RET_ALLOW);
	ret_if(6, SECCOMP_RET_ALLOW);
	ret_if(17, SECCOMP_RET_ALLOW);
	ret(SECCOMP_RET_ERRNO | EPROTONOSUPPORT);
	/* netlink: NETLINK_ROUTE, which getaddrinfo and getifaddrs ask */
	code[jump_netlink].k = n_code - jump_netlink - 1;
	load_arg(2);
	ret_if(0, SECCOMP_RET_ALLOW);
	ret(eperm);
}

static void check(enum act a)
{
	switch (a) {
	case ACT_CLONE:
		refuse_if_set(NS_FLAGS & ~0xffu);
		break;
	case ACT_UNSHARE:
		refuse_if_set(NS_FLAGS);
		break;
	case ACT_SOCKET:
		check_socket();
		break;
	case ACT_IOCTL: /* TIOCSTI and TIOCLINUX type into somebody's terminal */
		load_arg(1);
		ret_if(0x5412, SECCOMP_RET_ERRNO | EPERM);
		ret_if(0x541c, SECCOMP_RET_ERRNO | EPERM);
		ret(SECCOMP_RET_ALLOW);
		break;
	case ACT_PERSONALITY: /* linux, and asking; not the ones that weaken the address space */
		load_arg(0);
		ret_if(0, SECCOMP_RET_ALLOW);
		ret_if(0xffffffff, SECCOMP_RET_ALLOW);
		ret(SECCOMP_RET_ERRNO | EPERM);
		break;
	default:
		assert(0);
	}
}

struct range {
	uint32_t from;
	enum act act;
};
static unsigned fix[CODE_MAX], n_fix; /* jumps to argument checks; k holds the act until they are placed */

static void tree(const struct range *r, unsigned n)
{
	unsigned at, half = n / 2;

	if (n == 1) {
		if (r->act <= ACT_EPERM) {
			ret(ret_of(r->act));
			return;
		}
		fix[n_fix++] = emit(BPF_JMP | BPF_JA, r->act, 0, 0);
		return;
	}
	at = emit(BPF_JMP | BPF_JGE | BPF_K, r[half].from, 0, 0);
	tree(r, half);
	if (n_code - at - 1 > 255) {
		fprintf(stderr, "gen-seccomp: the filter grew too long for its jumps\n");
		exit(1);
	}
	code[at].jt = (uint8_t)(n_code - at - 1);
	tree(r + half, n - half);
}

static void generate(const enum act *acts)
{
	struct range r[NR_MAX];
	unsigned n = 0, placed[ACT_N] = {0};

	for (uint32_t nr = 0; nr < NR_MAX; nr++)
		if (!n || r[n - 1].act != acts[nr])
			r[n++] = (struct range){nr, acts[nr]};
	n_code = n_fix = 0;
	emit(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
	emit(BPF_JMP | BPF_JEQ | BPF_K,
	     seccomp_arch_native() == SCMP_ARCH_X86_64 ? AUDIT_ARCH_X86_64 : AUDIT_ARCH_AARCH64, 1, 0);
	ret(SECCOMP_RET_KILL_PROCESS);
	emit(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
	if (seccomp_arch_native() == SCMP_ARCH_X86_64) {
		emit(BPF_JMP | BPF_JSET | BPF_K, X32, 0, 1);
		ret(SECCOMP_RET_KILL_PROCESS);
	}
	tree(r, n);
	for (unsigned i = 0; i < n_fix; i++) {
		enum act a = (enum act)code[fix[i]].k;

		if (!placed[a]) {
			placed[a] = n_code;
			check(a);
		}
		code[fix[i]].k = placed[a] - fix[i] - 1;
	}
}

static uint32_t run(const struct seccomp_data *d)
{
	uint32_t a = 0;

	for (unsigned pc = 0; pc < n_code; pc++) {
		const struct sock_filter *f = &code[pc];

		switch (f->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			memcpy(&a, (const char *)d + f->k, 4);
			break;
		case BPF_ALU | BPF_AND | BPF_K:
			a &= f->k;
			break;
		case BPF_JMP | BPF_JA:
			pc += f->k;
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
			pc += a == f->k ? f->jt : f->jf;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			pc += a >= f->k ? f->jt : f->jf;
			break;
		case BPF_JMP | BPF_JSET | BPF_K:
			pc += a & f->k ? f->jt : f->jf;
			break;
		case BPF_RET | BPF_K:
			return f->k;
		default:
			assert(0);
		}
	}
	assert(0);
	return 0;
}

static uint32_t ask(uint32_t arch, uint32_t nr, uint64_t a0, uint64_t a1, uint64_t a2)
{
	struct seccomp_data d = {.nr = (int)nr, .arch = arch, .args = {a0, a1, a2}};

	return run(&d);
}

static void expect(uint32_t got, uint32_t want, const char *what, uint32_t nr)
{
	if (got == want)
		return;
	fprintf(stderr, "gen-seccomp: the filter is wrong: %s, number %u: %#x instead of %#x\n", what, nr, got, want);
	exit(1);
}

static void verify(const enum act *acts)
{
	uint32_t arch = seccomp_arch_native() == SCMP_ARCH_X86_64 ? AUDIT_ARCH_X86_64 : AUDIT_ARCH_AARCH64;
	const uint32_t eperm = SECCOMP_RET_ERRNO | EPERM;

	for (uint32_t nr = 0; nr < NR_MAX; nr++) {
		enum act a = acts[nr];

		expect(ask(AUDIT_ARCH_I386, nr, 0, 0, 0), SECCOMP_RET_KILL_PROCESS, "another architecture", nr);
		if (arch == AUDIT_ARCH_X86_64)
			expect(ask(arch, nr | X32, 0, 0, 0), SECCOMP_RET_KILL_PROCESS, "x32", nr);
		if (a <= ACT_EPERM)
			expect(ask(arch, nr, ~0ull, ~0ull, ~0ull), ret_of(a), "plain", nr);
		for (unsigned bit = 0; bit < 32 && (a == ACT_CLONE || a == ACT_UNSHARE); bit++) {
			uint32_t flags = a == ACT_CLONE ? NS_FLAGS & ~0xffu : NS_FLAGS;

			expect(ask(arch, nr, 1u << bit, 0, 0), flags & 1u << bit ? eperm : SECCOMP_RET_ALLOW,
			       "namespace flags", nr);
		}
		if (a != ACT_SOCKET)
			continue;
		expect(ask(arch, nr, AF_UNIX, SOCK_SEQPACKET, 0), SECCOMP_RET_ALLOW, "unix", nr);
		for (unsigned fam = 0; fam < 64; fam++)
			if (fam != AF_UNIX && fam != AF_INET && fam != AF_INET6 && fam != AF_NETLINK)
				expect(ask(arch, nr, fam, SOCK_STREAM, 0), SECCOMP_RET_ERRNO | EAFNOSUPPORT, "family",
				       nr);
		for (unsigned type = 0; type < 16; type++)
			for (unsigned fam = AF_INET; fam <= AF_INET6; fam += AF_INET6 - AF_INET)
				expect(ask(arch, nr, fam, type | SOCK_CLOEXEC, 6),
				       type == SOCK_STREAM || type == SOCK_DGRAM ? SECCOMP_RET_ALLOW : eperm,
				       "socket type", nr);
		expect(ask(arch, nr, AF_INET, SOCK_DGRAM, 1), SECCOMP_RET_ERRNO | EPROTONOSUPPORT, "icmp", nr);
		expect(ask(arch, nr, AF_NETLINK, SOCK_RAW, 0), SECCOMP_RET_ALLOW, "route", nr);
		expect(ask(arch, nr, AF_NETLINK, SOCK_RAW, 12), eperm, "netfilter", nr);
	}
}

static void print(const char *name)
{
	printf("static const struct sock_filter %s[] = {\n", name);
	for (unsigned i = 0; i < n_code; i++)
		printf("\t{0x%02x, %u, %u, 0x%08xu},\n", code[i].code, code[i].jt, code[i].jf, code[i].k);
	printf("};\n");
}

/* base: what the array began with, which a line may change; anything else is said once. */
static void parse_line(char *line, unsigned nr_line, enum act *acts, const enum act *base)
{
	char *word = strtok_r(line, " \t\n", &line);
	enum act a = ACT_N;

	for (unsigned i = 0; word && i < ACT_N; i++)
		if (!strcmp(word, act_names[i]))
			a = (enum act)i;
	if (a == ACT_N) {
		fprintf(stderr, "gen-seccomp: line %u: unknown action\n", nr_line);
		exit(1);
	}
	while ((word = strtok_r(line, " \t\n", &line)) && *word != '#') {
		char *equals = strchr(word, '=');
		long nr;

		if (equals)
			*equals = 0;
		nr = seccomp_syscall_resolve_name(word);
		if (nr == __NR_SCMP_ERROR && equals)
			nr = strtol(equals + 1, NULL, 10);
		if (nr == __NR_SCMP_ERROR) {
			fprintf(stderr, "gen-seccomp: line %u: no system call \"%s\"\n", nr_line, word);
			exit(1);
		}
		if (nr < 0) /* of other architectures */
			continue;
		if (nr >= NR_MAX || acts[nr] != base[nr]) {
			fprintf(stderr, "gen-seccomp: line %u: \"%s\" is there twice\n", nr_line, word);
			exit(1);
		}
		acts[nr] = a;
	}
}

int main(int argc, char **argv)
{
	enum act acts[NR_MAX] = {0}, base[NR_MAX] = {0}, sandbox[NR_MAX] = {0};
	char line[1024], name[64] = "";
	FILE *f = argc == 2 ? fopen(argv[1], "r") : NULL;

	if (!f) {
		fprintf(stderr, "usage: gen-seccomp spec/syscalls.txt\n");
		return 1;
	}
	printf("/* SPDX-License-Identifier: Apache-2.0 */\n/* Made by tools/gen-seccomp.c from spec/syscalls.txt. */\n"
	       "#pragma once\n#include <linux/filter.h>\n");
	for (unsigned n = 1;; n++) {
		char *got = fgets(line, sizeof(line), f);

		if (!got || line[0] == '[') {
			if (*name) {
				generate(acts);
				verify(acts);
				print(name);
				if (!strcmp(name, "seccomp_filter"))
					memcpy(sandbox, acts, sizeof(sandbox));
			}
			if (!got)
				break;
			memset(base, 0, sizeof(base));
			if (strstr(line, " like seccomp_filter]"))
				memcpy(base, sandbox, sizeof(base));
			memcpy(acts, base, sizeof(acts));
			snprintf(name, sizeof(name), "%.*s", (int)strcspn(line + 1, " ]"), line + 1);
			continue;
		}
		if (line[strspn(line, " \t\n")] && line[0] != '#')
			parse_line(line, n, acts, base);
	}
	return 0;
}
