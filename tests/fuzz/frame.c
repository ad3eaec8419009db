/* SPDX-License-Identifier: Apache-2.0 */
/* What a hostile runtime sends: bytes on the frame channel and messages on tandem-init's socket (first byte: how they
 * are split). */
#include <fcntl.h>
#include <sys/socket.h>
#include <uv.h>

#include "base/mem.h"
#include "instance/instance.h"

static void ev_none(void *a)
{
}
static void ev_str(void *a, struct str s)
{
}
static void ev_late(void *a, struct str s, bool is_error, struct str body)
{
}
static void ev_answer(void *a, unsigned seat, struct str s, bool is_error)
{
	if (s.n > LIM_PAYLOAD_BYTES + 1024)
		abort();
}
static void ev_output(void *a, int seat, struct str s)
{
	if (seat >= 4)
		abort();
}
static void ev_exited(void *a, bool extension, int v)
{
}
static void ev_err(void *a, const struct err *e)
{
}
static void ev_taken(void *a, const struct init_snap *s)
{
}
static void ev_pages(void *a, struct str list)
{
}

static void ev_not_restored(void *a, const char *why)
{
}
static const struct instance_events evs = {ev_none,   ev_late,	 ev_str, ev_answer, ev_str,	     ev_none,
					   ev_output, ev_exited, ev_err, ev_taken,  ev_not_restored, ev_pages};

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct loop *l = loop_new();
	struct instance_host host = {
		.loop = l, .account = "000000000000", .region = "us-east-1", .scratch = xmalloc(INSTANCE_SCRATCH)};
	struct revision *rev = revision_new();
	struct function f = {.name = "t"};
	struct instance_opts o = {.host = &host, .revision = rev, .function = &f, .events = &evs};
	struct instance_event ev = {.request_id = "r", .function_arn = "a", .trace_id = "", .payload = STR("{}")};
	int chan[2], ctl[2], log[2];
	size_t cut = n ? p[0] * n / 256 : 0;
	unsigned busy = 0;
	struct instance *i;

	o.seats = n && p[n - 1] & 1 ? 4 : 1;
	o.adopted = n && (p[n - 1] & 6) == 6;
	rev->runtime = xstrdup("python3.11");
	memset(o.fds.fd, -1, sizeof(o.fds.fd));
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, chan) ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ctl) || pipe2(log, O_NONBLOCK))
		abort();
	o.fds.fd[SB_CHAN] = chan[0], o.fds.fd[SB_CTL] = ctl[0], o.fds.fd[SB_LOG] = log[0];
	i = instance_new(&o);
	if (o.adopted)
		instance_probe(i, NULL);
	for (int round = 0; round < 2 && n; round++) {
		const uint8_t *from = round ? p + cut : p;
		size_t len = round ? n - cut : cut;

		if (len && (send(chan[1], from, len, MSG_NOSIGNAL) < 0 ||
			    send(ctl[1], from, len < 64 ? len : 64, MSG_NOSIGNAL) < 0))
			break;
		for (int k = 0; k < 16; k++)
			uv_run(loop_uv(l), UV_RUN_NOWAIT);
		for (; busy < o.seats && (instance_state(i) == INSTANCE_IDLE || instance_state(i) == INSTANCE_BUSY);
		     busy++) {
			ev.seat = busy;
			instance_event(i, &ev, NULL);
		}
	}
	instance_free(i);
	revision_unref(rev);
	close(chan[1]), close(ctl[1]), close(log[1]);
	free(host.scratch);
	loop_free(l);
	return 0;
}
