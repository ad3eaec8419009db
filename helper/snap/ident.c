/* SPDX-License-Identifier: Apache-2.0 */
/* What an image depends on beside its files: kernel, vdso, processor, the layout of a signal frame. */
#include "snap.h"
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/utsname.h>

int mem_init(struct snap_mem *m, size_t room, struct err *e)
{
	char *p = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return err_sys(e, errno, "reserve memory");
	*m = (struct snap_mem){p, 0, room};
	return 0;
}

void mem_done(struct snap_mem *m)
{
	if (m->base)
		munmap(m->base, m->room);
	m->base = NULL;
}

void *mem_take(struct snap_mem *m, size_t n)
{
	void *p = m->base + m->used;

	if (n > m->room - m->used || m->room - m->used - n < 64)
		return NULL;
	m->used += (n + 63) & ~63ul;
	return p;
}

/* Equality is all that is asked of it. */
static uint64_t mix(uint64_t h, const void *bytes, size_t n)
{
	const unsigned char *p = bytes;

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * 0x100000001b3ull;
	return h ^ h >> 29;
}

static void add_leaf(uint64_t *h, unsigned leaf, unsigned sub)
{
	unsigned r[4] = {0};

	__cpuid_count(leaf, sub, r[0], r[1], r[2], r[3]);
	if (leaf == 1) {
		r[1] &= 0x0000ff00;  /* which core this is, and how many there are */
		r[2] &= ~(1u << 27); /* OSXSAVE: XCR0 says it better */
	}
	if (leaf == 0xd)
		r[1] = 0; /* depends on what is in use now */
	*h = mix(*h, r, sizeof(r));
}

static uint64_t cpu_hash(void)
{
	uint64_t h = 0xcbf29ce484222325ull;
	unsigned max = __get_cpuid_max(0, NULL);

	add_leaf(&h, 0, 0);
	add_leaf(&h, 1, 0);
	if (max >= 7) {
		add_leaf(&h, 7, 0);
		add_leaf(&h, 7, 1);
	}
	if (max >= 0xd)
		add_leaf(&h, 0xd, 1);
	add_leaf(&h, 0x80000001, 0);
	return h;
}

static uint64_t xcr0(void)
{
	unsigned a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & 1u << 27))
		return 0;
	__asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
	return (uint64_t)d << 32 | a;
}

/* vvar and vdso lie together; /proc/self/maps says from where to where. */
static int find_vdso(uint64_t *ret_start, uint64_t *ret_end, struct err *e)
{
	char text[8192], *line, *next;
	uint64_t start, end, from = 0, to = 0;
	auto_close int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n < 0)
		return err_sys(e, errno, "read /proc/self/maps");
	text[n] = 0;
	for (line = text; (next = strchr(line, '\n')); line = next + 1) {
		*next = 0;
		if ((!strstr(line, "[vvar") && !strstr(line, "[vdso]")) || sscanf(line, "%lx-%lx", &start, &end) != 2)
			continue;
		if (start != to)
			from = start;
		to = end;
	}
	if (!to)
		return err_set(e, ERR_UNAVAILABLE, "the kernel gives no vdso");
	*ret_start = from, *ret_end = to;
	return 0;
}

static struct snap_ident *frame_of; /* only while frame_look runs */

static void frame_look(int sig, siginfo_t *si, void *context)
{
	ucontext_t *uc = context;
	const struct _fpx_sw_bytes *sw;

	(void)sig, (void)si;
	sw = (const void *)((const char *)uc->uc_mcontext.fpregs + 464);
	if (sw->magic1 != FP_XSTATE_MAGIC1)
		return;
	frame_of->frame_bytes = sw->xstate_size;
	frame_of->frame_features = sw->xstate_bv;
}

/* What ptrace and CPUID say is larger where a feature has to be asked for (AMX); only a real frame has the right size.
 */
static int frame_make(struct snap_ident *id, struct err *e)
{
	struct sigaction sa = {.sa_sigaction = frame_look, .sa_flags = SA_SIGINFO}, old;

	frame_of = id;
	if (sigaction(SIGUSR1, &sa, &old) < 0 || raise(SIGUSR1) < 0 || sigaction(SIGUSR1, &old, NULL) < 0)
		return err_sys(e, errno, "look at a signal frame");
	frame_of = NULL;
	if (id->frame_bytes < 576 || id->frame_bytes > SNAP_XSTATE_MAX)
		return err_set(e, ERR_UNAVAILABLE, "the processor's state has an unknown form");
	return 0;
}

int ident_make(struct snap_ident *ret, struct err *e)
{
	struct snap_ident id = {0};
	uint64_t start, end, code = getauxval(AT_SYSINFO_EHDR);
	struct utsname u;

	if (find_vdso(&start, &end, e) < 0 || frame_make(&id, e) < 0)
		return -1;
	if (uname(&u) < 0 || code < start || code >= end)
		return err_set(e, ERR_UNAVAILABLE, "the vdso is not where it should be");
	snprintf(id.release, sizeof(id.release), "%s %s", u.release, u.version);
	id.vdso_bytes = (uint32_t)(end - start);
	id.vdso_hash = mix(code - start, (const void *)code, end - code);
	id.cpu_hash = cpu_hash();
	id.xcr0 = xcr0();
	*ret = id;
	return 0;
}

const char *ident_differs(const struct snap_ident *a, const struct snap_ident *b)
{
	if (memcmp(a->release, b->release, sizeof(a->release)))
		return "the kernel";
	if (a->vdso_hash != b->vdso_hash || a->vdso_bytes != b->vdso_bytes)
		return "the kernel's vdso";
	if (a->cpu_hash != b->cpu_hash || a->xcr0 != b->xcr0)
		return "the processor";
	return memcmp(a, b, sizeof(*a)) ? "the layout of signal frames" : NULL;
}
