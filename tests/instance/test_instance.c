/* SPDX-License-Identifier: Apache-2.0 */
/* An instance against a runtime that this test plays, honest and hostile, over socket pairs. */
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <uv.h>

#include "base/mem.h"
#include "instance/instance.h"
#include "tests/test.h"
#include "wire/frame.h"
#include "wire/init.h"

struct rig {
	struct loop *l;
	struct instance_host host;
	struct revision *rev;
	struct function f;
	struct instance *i;
	int chan, ctl, log; /* the sandbox's ends */
	char said[4096];    /* what the events told, in order */
	int stop_after;
};

static void note(struct rig *g, const char *what, struct str s)
{
	size_t n = strlen(g->said);

	snprintf(g->said + n, sizeof(g->said) - n, "%s(" STR_FMT ")", what, (int)(s.n < 40 ? s.n : 40), s.p ? s.p : "");
	if (--g->stop_after <= 0)
		loop_stop(g->l);
}

static void ev_ready(void *a)
{
	note(a, "ready", STR_NULL);
}
static void ev_late(void *a, struct str id, bool err, struct str body)
{
	auto_buf both = {0};

	buf_addf(&both, STR_FMT " " STR_FMT, STR_ARG(id), STR_ARG(body));
	note(a, err ? "late error" : "late", buf_str(&both));
}
static void ev_init_failed(void *a, struct str e)
{
	note(a, "init_failed", e);
}
static void ev_answer(void *a, unsigned seat, struct str b, bool err)
{
	struct rig *g = a;

	if (instance_seats(g->i) > 1)
		snprintf(g->said + strlen(g->said), 8, "%u:", seat);
	note(a, err ? "error" : "answer", b);
	instance_drain_output(g->i);
}
static void ev_idle(void *a)
{
	note(a, "idle", STR_NULL);
}
static void ev_output(void *a, int seat, struct str t)
{
	struct rig *g = a;

	if (instance_seats(g->i) > 1)
		snprintf(g->said + strlen(g->said), 8, "%d:", seat);
	note(g, "output", t);
}
static void ev_exited(void *a, bool extension, int st)
{
	note(a, "exited", STR_NULL);
}
static void ev_broken(void *a, const struct err *e)
{
	note(a, "broken", str_of(e->text));
}
static void ev_taken(void *a, const struct init_snap *got)
{
}
static void ev_pages(void *a, struct str list)
{
	note(a, "pages", list);
}
static void ev_not_restored(void *a, const char *why)
{
}
static void ev_piece(void *a, struct str piece)
{
	note(a, "piece", piece);
}
static const struct instance_events evs = {ev_ready,  ev_late,	 ev_init_failed, ev_answer, ev_piece,	     ev_idle,
					   ev_output, ev_exited, ev_broken,	 ev_taken,  ev_not_restored, ev_pages};

static void rig_make(struct rig *g, bool adopted, bool restoring, unsigned seats)
{
	int chan[2], ctl[2], log[2];
	struct instance_opts o = {.host = &g->host,
				  .id = 7,
				  .pid = 1,
				  .adopted = adopted,
				  .restoring = restoring,
				  .seats = seats,
				  .events = &evs,
				  .arg = g};

	memset(g, 0, sizeof(*g));
	g->l = loop_new();
	g->host = (struct instance_host){
		.loop = g->l, .account = "000000000000", .region = "us-east-1", .scratch = xmalloc(INSTANCE_SCRATCH)};
	g->rev = revision_new();
	strlcpy_(g->rev->name, "t", sizeof(g->rev->name));
	g->rev->runtime = xstrdup("python3.11");
	g->rev->handler = xstrdup("app.handler");
	memset(o.fds.fd, -1, sizeof(o.fds.fd));
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, chan) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ctl) == 0);
	CHECK(pipe2(log, O_CLOEXEC | O_NONBLOCK) == 0);
	o.fds.fd[SB_CHAN] = chan[0], o.fds.fd[SB_CTL] = ctl[0], o.fds.fd[SB_LOG] = log[0];
	g->chan = chan[1], g->ctl = ctl[1], g->log = log[1];
	o.revision = g->rev;
	o.function = &g->f;
	g->i = instance_new(&o);
}

static void rig_up(struct rig *g, bool adopted)
{
	rig_make(g, adopted, false, 1);
}

static void rig_down(struct rig *g)
{
	instance_free(g->i);
	revision_unref(g->rev);
	close(g->chan), close(g->ctl), close(g->log);
	free(g->host.scratch);
	loop_free(g->l);
}

static void give(struct rig *g, uint8_t type, uint16_t flags, uint32_t stream, const char *text, size_t n)
{
	struct frame f = {type, flags, stream, (uint32_t)n};
	uint8_t head[FRAME_HEADER];

	frame_put(head, &f);
	CHECK(send(g->chan, head, sizeof(head), 0) == sizeof(head));
	CHECK(n == 0 || send(g->chan, text, n, 0) == (ssize_t)n);
}

static void until(struct rig *g, int events)
{
	g->said[0] = 0;
	g->stop_after = events;
	loop_run(g->l);
}

static void event(struct rig *g, struct str payload)
{
	struct instance_event ev = {
		.request_id = "r1", .function_arn = "arn", .trace_id = "", .payload = payload, .deadline_wall_ms = 5};
	struct err e;

	CHECK(instance_event(g->i, &ev, &e) == 0);
	CHECK(instance_state(g->i) == INSTANCE_BUSY);
}

/* A runtime that is ready. */
static void rig_ready(struct rig *g)
{
	rig_up(g, false);
	give(g, FRAME_HELLO, 0, 0, "{}", 2);
	until(g, 1);
}

/* And an event of so many bytes for it, which are returned; the caller frees them. */
static char *rig_busy(struct rig *g, size_t n)
{
	char *text = xmalloc(n);

	memset(text, 'x', n);
	rig_ready(g);
	event(g, (struct str){text, n});
	return text;
}

TEST(hello_event_answer)
{
	struct rig g;
	char got[512];
	ssize_t n;

	rig_ready(&g);
	CHECK_STR(g.said, "ready()");
	event(&g, STR("{\"a\":1}"));
	n = recv(g.chan, got, sizeof(got), 0);
	CHECK(n == FRAME_HEADER + 8 + 10 + 2 + 3 + 7 && got[1] == FRAME_EVENT && got[2] == FRAME_FLAG_END);
	CHECK(!memcmp(got + n - 7, "{\"a\":1}", 7));
	CHECK(write(g.log, "printed\n", 8) == 8);
	give(&g, FRAME_DATA, FRAME_FLAG_END, 1, "42", 2);
	until(&g, 2);
	CHECK_STR(g.said, "answer(42)output(printed\n)"); /* what was printed before the answer is there to be read */
	CHECK(instance_state(g.i) == INSTANCE_IDLE);
	rig_down(&g);
}

/* A hostile runtime: of an answer more than one may have, then pieces. */
TEST(an_answer_of_both_kinds_is_bounded)
{
	static char part[65536];
	struct rig g;
	char got[512];
	pid_t child;

	rig_ready(&g);
	event(&g, STR("{}"));
	CHECK(recv(g.chan, got, sizeof(got), 0) > 0);
	memset(part, '1', sizeof(part));
	child = fork();
	if (child == 0) {
		for (size_t left = LIM_PAYLOAD_BYTES + 1024, n; left; left -= n) {
			n = left < sizeof(part) ? left : sizeof(part);
			give(&g, FRAME_DATA, 0, 1, part, n);
		}
		for (int i = 0; i < 8; i++)
			give(&g, FRAME_DATA, FRAME_FLAG_STREAM, 1, part, sizeof(part));
		give(&g, FRAME_DATA, FRAME_FLAG_STREAM | FRAME_FLAG_END, 1, "", 0);
		_exit(0);
	}
	until(&g, 1);
	CHECK(str_starts(str_of(g.said),
			 "answer(1111")); /* which is too long; with the pieces the channel would be broken */
	waitpid(child, NULL, 0);
	rig_down(&g);
}

TEST(an_answer_in_pieces)
{
	static const uint16_t stream = FRAME_FLAG_STREAM, end = FRAME_FLAG_STREAM | FRAME_FLAG_END;
	struct instance_event ev = {.request_id = "r1",
				    .function_arn = "arn",
				    .trace_id = "",
				    .payload = STR("{}"),
				    .streams = true,
				    .deadline_wall_ms = 5};
	struct rig g;
	struct err e;
	char got[512];

	rig_ready(&g);
	CHECK(instance_event(g.i, &ev, &e) == 0);
	CHECK(recv(g.chan, got, sizeof(got), 0) > 0);
	give(&g, FRAME_DATA, stream, 1, "one", 3);
	until(&g, 1);
	CHECK_STR(g.said, "piece(one)");
	instance_hold(g.i, true);
	give(&g, FRAME_DATA, stream, 1, "two", 3);
	CHECK(write(g.log, "while held\n", 11) == 11);
	until(&g, 1);
	CHECK_STR(g.said, "output(while held\n)");
	instance_hold(g.i, false);
	give(&g, FRAME_DATA, end, 1, "", 0);
	until(&g, 2);
	CHECK_STR(g.said, "piece(two)answer()");
	event(&g, STR("{}")); /* where nobody wants pieces they are one; an error stands instead of what there was */
	CHECK(recv(g.chan, got, sizeof(got), 0) > 0);
	give(&g, FRAME_DATA, stream, 2, "one ", 4);
	give(&g, FRAME_DATA, end, 2, "two", 3);
	until(&g, 1);
	CHECK_STR(g.said, "answer(one two)");
	event(&g, STR("{}"));
	CHECK(recv(g.chan, got, sizeof(got), 0) > 0);
	give(&g, FRAME_DATA, stream, 3, "one ", 4);
	give(&g, FRAME_ERROR, FRAME_FLAG_END, 3, "{}", 2);
	until(&g, 1);
	CHECK_STR(g.said, "error({})");
	rig_down(&g);
}

TEST(long_payload_and_long_answer)
{
	struct rig g;
	size_t big = 300000, seen = 0;
	char *text = rig_busy(&g, big), piece[8192];

	fcntl(g.chan, F_SETFL, O_NONBLOCK);
	while (seen < big) { /* the rest is written as the socket takes it */
		ssize_t n = recv(g.chan, piece, sizeof(piece), 0);

		if (n > 0)
			seen += (size_t)n;
		else
			uv_run(loop_uv(g.l), UV_RUN_ONCE);
	}
	fcntl(g.chan, F_SETFL, 0);
	give(&g, FRAME_DATA, 0, 1, text, 60000);
	give(&g, FRAME_DATA, 0, 1, text, 60000);
	give(&g, FRAME_DATA, FRAME_FLAG_END, 1, "end", 3);
	until(&g, 1);
	CHECK(!strncmp(g.said, "answer(xxxx", 11));
	rig_down(&g);
	free(text);
}

TEST(hostile_runtime)
{
	static const struct {
		const char *what;
		uint8_t type;
		uint32_t stream;
		bool busy;
	} t[] = {
		{"an answer nobody asked for", FRAME_DATA, 1, false},
		{"a second hello", FRAME_HELLO, 0, true},
		{"a frame only the daemon sends", FRAME_EVENT, 1, true},
		{"a ping nobody asked for", FRAME_PING, 3, true},
		{"an error nobody asked for", FRAME_ERROR, 1, false},
		{"an answer to another event", FRAME_DATA, 2, true},
		{"an error of another event", FRAME_ERROR, 7, true},
	};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		struct rig g;

		rig_ready(&g);
		if (t[k].busy)
			event(&g, STR("1"));
		give(&g, t[k].type, FRAME_FLAG_END, t[k].stream, "x", 1);
		until(&g, 1);
		if (strncmp(g.said, "broken(", 7))
			printf("%s: %s\n", t[k].what, g.said);
		CHECK(!strncmp(g.said, "broken(", 7));
		rig_down(&g);
	}
}

/* Adopted and asked; the stream of its PING. */
static uint32_t adopt(struct rig *g, unsigned seats)
{
	struct frame f = {0};
	struct err e;
	uint8_t got[64];

	rig_make(g, true, false, seats);
	CHECK(instance_probe(g->i, &e) == 0);
	CHECK(recv(g->chan, got, sizeof(got), 0) == FRAME_HEADER);
	CHECK(frame_get(got, &f, &e) == 0 && f.type == FRAME_PING);
	return f.stream;
}

/* What it leaves unread would stay in our memory, and more with every event. */
TEST(an_answer_before_the_event_was_read)
{
	struct rig g;
	char *text = rig_busy(&g, LIM_PAYLOAD_BYTES);

	give(&g, FRAME_DATA, FRAME_FLAG_END, 1, "1", 1);
	until(&g, 1);
	CHECK(!strncmp(g.said, "broken(", 7));
	rig_down(&g);
	free(text);
}

/* The runtime is gone, and a child that has its socket sends as fast as it is read. */
TEST(frames_without_end_after_the_exit)
{
	struct rig g;
	struct init_msg m = {.version = INIT_VERSION, .verb = INIT_EXITED, .tag = 1};
	pid_t child;

	adopt(&g, 1); /* then many kinds are passed over: they may be for the daemon before */
	child = fork();
	if (child == 0) {
		char some[FRAME_HEADER * 64];

		for (int k = 0; k < 64; k++)
			frame_put((uint8_t *)some + k * FRAME_HEADER, &(struct frame){FRAME_PING, 0, 5, 0});
		while (send(g.chan, some, sizeof(some), MSG_NOSIGNAL) > 0)
			continue;
		_exit(0);
	}
	CHECK(send(g.ctl, &m, sizeof(m), 0) == sizeof(m));
	until(&g, 1);
	CHECK_STR(g.said, "exited()");
	kill(child, SIGKILL);
	CHECK(waitpid(child, NULL, 0) == child);
	rig_down(&g);
}

TEST(garbage_header)
{
	struct rig g;

	rig_up(&g, false);
	CHECK(send(g.chan, "GET / HTTP/1.1\r\n", 16, 0) == 16);
	until(&g, 1);
	CHECK(!strncmp(g.said, "broken(", 7));
	rig_down(&g);
}

TEST(init_error_then_exit)
{
	struct rig g;
	struct init_msg m = {.version = INIT_VERSION, .verb = INIT_EXITED, .tag = 1, .value = 256};

	rig_up(&g, false);
	give(&g, FRAME_ERROR, FRAME_FLAG_END, 0, "{\"errorType\":\"X\"}", 17);
	CHECK(send(g.ctl, &m, sizeof(m), 0) == sizeof(m));
	until(&g, 2);
	CHECK_STR(g.said, "init_failed({\"errorType\":\"X\"})exited()");
	rig_down(&g);
}

/* All that has arrived. */
static void run(struct rig *g)
{
	g->said[0] = 0;
	for (int k = 0; k < 16; k++)
		uv_run(loop_uv(g->l), UV_RUN_NOWAIT);
}

TEST(a_list_of_pages_is_asked_for_once)
{
	struct rig g;
	struct {
		struct init_msg m;
		struct init_snap s;
	} restored = {.m = {.version = INIT_VERSION, .verb = INIT_RESTORED, .tag = 1, .value = 2}};
	struct {
		struct init_msg m;
		char list[INIT_PAGES_MAX + 1];
	} pages = {.m = {.version = INIT_VERSION, .verb = INIT_PAGES, .tag = 1}, .list = "some"};
	struct init_msg asked;

	rig_make(&g, false, true, 1);
	give(&g, FRAME_RESTORED, FRAME_FLAG_END, 0, "", 0);
	run(&g);
	CHECK_STR(g.said, "ready()");
	CHECK(!instance_ask_pages(g.i)); /* it was in memory */
	CHECK(send(g.ctl, &restored, sizeof(restored), 0) == sizeof(restored));
	CHECK(send(g.ctl, &pages, sizeof(pages.m) + 4, 0) > 0);
	run(&g);
	CHECK_STR(g.said, ""); /* nobody has asked */
	CHECK(instance_ask_pages(g.i) && !instance_ask_pages(g.i));
	CHECK(recv(g.ctl, &asked, sizeof(asked), MSG_DONTWAIT) == sizeof(asked) && asked.verb == INIT_PAGES);
	CHECK(recv(g.ctl, &asked, sizeof(asked), MSG_DONTWAIT) < 0);
	CHECK(send(g.ctl, &pages, sizeof(pages.m) + 4, 0) > 0);
	CHECK(send(g.ctl, &pages, sizeof(pages.m) + 4, 0) > 0);
	run(&g);
	CHECK_STR(g.said, "pages(some)");
	CHECK(send(g.ctl, &pages, sizeof(pages), 0) > 0);
	run(&g);
	CHECK(!strncmp(g.said, "broken(", 7));
	rig_down(&g);
}

TEST(adopted_busy_instance_tells_of_the_old_answer)
{
	struct rig g;
	uint32_t ping = adopt(&g, 1);

	give(&g, FRAME_DATA, FRAME_FLAG_END, 9, "old", 3);
	give(&g, FRAME_PING, 0, ping - 1, "its id", 6); /* asked by one that died as well */
	give(&g, FRAME_PING, 0, ping, "its id", 6);
	until(&g, 2);
	CHECK_STR(g.said, "late(its id old)ready()");
	rig_down(&g);
}

/* Whose answer nobody of us saw is not known: it may have been given to the daemon before. */
TEST(adopted_idle_instance_tells_of_nothing)
{
	struct rig g;
	uint32_t ping = adopt(&g, 1);

	give(&g, FRAME_HELLO, 0, 0, "{}", 2);
	give(&g, FRAME_PING, 0, ping, "its id", 6);
	until(&g, 1);
	CHECK_STR(g.said, "ready()");
	rig_down(&g);
}

/* --- several events at once --- */

static void rig_seats(struct rig *g, unsigned seats)
{
	rig_make(g, false, false, seats);
	give(g, FRAME_HELLO, 0, 0, "{}", 2);
	until(g, 1);
}

static void sit(struct rig *g, unsigned seat, struct str payload)
{
	struct instance_event ev = {
		.request_id = "r1", .function_arn = "arn", .trace_id = "", .payload = payload, .seat = seat};
	struct err e;

	CHECK(instance_event(g->i, &ev, &e) == 0);
}

TEST(several_answers_interleaved)
{
	struct rig g;

	rig_seats(&g, 3);
	for (unsigned k = 0; k < 3; k++)
		sit(&g, k, STR("{}"));
	give(&g, FRAME_LOG, 0, 2, "hello", 5);
	give(&g, FRAME_DATA, 0, 1, "on", 2);
	give(&g, FRAME_DATA, 0, 3, "thr", 3);
	give(&g, FRAME_ERROR, FRAME_FLAG_END, 2, "two", 3);
	give(&g, FRAME_DATA, FRAME_FLAG_END, 1, "e", 1);
	give(&g, FRAME_LOG, 0, 2, "late", 4);
	run(&g);
	CHECK_STR(g.said, "1:output(hello)1:error(two)0:answer(one)-1:output(late)");
	CHECK(instance_state(g.i) == INSTANCE_BUSY);
	sit(&g, 0, STR("{}")); /* stream 4, in a seat that is free again */
	give(&g, FRAME_DATA, FRAME_FLAG_END, 3, "ee", 2);
	give(&g, FRAME_DATA, FRAME_FLAG_END, 4, "four", 4);
	run(&g);
	CHECK_STR(g.said, "2:answer(three)0:answer(four)");
	CHECK(instance_state(g.i) == INSTANCE_IDLE);
	rig_down(&g);
}

TEST(several_and_what_no_runtime_may_do)
{
	static const struct {
		const char *what;
		uint8_t type;
		uint16_t flags;
		uint32_t stream;
	} t[] = {
		{"a second answer", FRAME_DATA, FRAME_FLAG_END, 1},
		{"an answer to an event that is still to come", FRAME_DATA, FRAME_FLAG_END, 3},
		{"an error of nobody", FRAME_ERROR, FRAME_FLAG_END, 0},
		{"a second hello", FRAME_HELLO, FRAME_FLAG_END, 0},
	};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		struct rig g;

		rig_seats(&g, 3);
		sit(&g, 0, STR("{}"));
		sit(&g, 1, STR("{}"));
		give(&g, FRAME_DATA, FRAME_FLAG_END, 1, "1", 1);
		give(&g, t[k].type, t[k].flags, t[k].stream, "x", 1);
		run(&g);
		if (!str_starts(str_of(g.said), "0:answer(1)broken("))
			printf("%s: %s\n", t[k].what, g.said);
		CHECK(str_starts(str_of(g.said), "0:answer(1)broken("));
		rig_down(&g);
	}
}

/* One that is on its way does not keep others from being answered; it cannot be answered before it was read. */
TEST(several_and_one_is_large)
{
	char *text = xmalloc(LIM_PAYLOAD_BYTES);
	struct rig g;

	memset(text, 'x', LIM_PAYLOAD_BYTES);
	rig_seats(&g, 3);
	sit(&g, 0, STR("{}"));
	sit(&g, 1, (struct str){text, LIM_PAYLOAD_BYTES});
	sit(&g, 2, STR("{}"));
	give(&g, FRAME_DATA, FRAME_FLAG_END, 1, "1", 1);
	run(&g);
	CHECK_STR(g.said, "0:answer(1)");
	give(&g, FRAME_DATA, FRAME_FLAG_END, 3, "3", 1);
	run(&g);
	CHECK(str_starts(str_of(g.said), "broken("));
	rig_down(&g);
	free(text);
}

TEST(several_but_the_handler_streams)
{
	struct rig g;

	rig_make(&g, false, false, 4);
	CHECK(instance_seats(g.i) == 4);
	give(&g, FRAME_HELLO, FRAME_FLAG_END | FRAME_FLAG_STREAM, 0, "{}", 2);
	run(&g);
	CHECK(instance_seats(g.i) == 1);
	rig_down(&g);
}

/* What the owner counts with when it is ready is not the runtime's to change. */
TEST(several_and_flags_for_one)
{
	struct rig g;

	rig_seats(&g, 3);
	sit(&g, 0, STR("{}"));
	give(&g, FRAME_LOG, FRAME_FLAG_STREAM, 1, "a", 1);
	give(&g, FRAME_LOG, 0, 1, "", 0);
	give(&g, FRAME_LOG, 0, 9, "b", 1);
	give(&g, FRAME_DATA, FRAME_FLAG_END | FRAME_FLAG_LAST, 1, "x", 1);
	run(&g);
	CHECK_STR(g.said, "0:output(a)0:output()-1:output(b)0:answer(x)");
	CHECK(instance_seats(g.i) == 3);
	CHECK(instance_state(g.i) == INSTANCE_IDLE);
	rig_down(&g);
}

TEST(several_adopted)
{
	struct rig g;
	uint32_t ping = adopt(&g, 3);

	give(&g, FRAME_DATA, 0, 12, "twe", 3);
	give(&g, FRAME_ERROR, FRAME_FLAG_END, 9, "nine", 4);
	give(&g, FRAME_DATA, FRAME_FLAG_END, 12, "lve", 3);
	give(&g, FRAME_PING, FRAME_FLAG_END, ping, "7 seven\n9 id-9\n12 id-12", 23);
	run(&g);
	CHECK_STR(g.said, "late(id-12 twelve)late error(id-9 nine)ready()");
	sit(&g, 2, STR("{}"));
	rig_down(&g);
	ping = adopt(&g, 2);
	for (uint32_t k = 1; k <= 3; k++)
		give(&g, FRAME_DATA, FRAME_FLAG_END, k, "x", 1); /* more than it can have had */
	run(&g);
	CHECK(str_starts(str_of(g.said), "broken("));
	rig_down(&g);
}
