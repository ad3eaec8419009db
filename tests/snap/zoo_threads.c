/* SPDX-License-Identifier: Apache-2.0 */
/* Threads, and what they wait for: parts of the tables in zoo_kept.c and zoo_refused.c. */
#include "zoo.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define THREADS	 5
#define HELD	 "held by a pipe"
#define HELD_LEN (sizeof(HELD) - 1)

/* --- threads that wait for a condition --- */

struct seen {
	int number, own, slack;
	char name[16];
	void *robust, *alt;
	sigset_t mask;
	double half;
	unsigned round;
};
static pthread_t thread[THREADS];
static pthread_mutex_t lock;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER, slept = PTHREAD_COND_INITIALIZER;
static unsigned turn, sleeping;
static struct seen before[THREADS], now[THREADS];
static __thread int own;
static __thread double half;

static void look(struct seen *s)
{
	size_t n;
	stack_t alt;

	*s = (struct seen){.number = gettid(), .own = own, .half = half, .slack = prctl(PR_GET_TIMERSLACK)};
	prctl(PR_GET_NAME, s->name);
	syscall(SYS_get_robust_list, 0, &s->robust, &n);
	sigaltstack(NULL, &alt);
	s->alt = alt.ss_sp;
	pthread_sigmask(SIG_BLOCK, NULL, &s->mask);
}

static void *worker(void *arg)
{
	long i = (long)arg;
	stack_t alt = {.ss_sp = malloc(65536), .ss_size = 65536};
	sigset_t set;
	unsigned done = 0;

	own = (int)i, half = (double)i / 2;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + (int)i);
	MUST(alt.ss_sp && sigaltstack(&alt, NULL) == 0 && pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
	MUST(prctl(PR_SET_TIMERSLACK, 60000 + i) == 0 && prctl(PR_SET_NAME, "worker a" + (i % 2)) == 0);
	pthread_mutex_lock(&lock);
	look(&before[i]);
	for (;;) {
		sleeping++;
		pthread_cond_signal(&slept);
		while (turn == done)
			pthread_cond_wait(&wake, &lock);
		done = turn;
		look(&now[i]);
		now[i].round = done;
		if (done == 2)
			break;
	}
	pthread_mutex_unlock(&lock); /* checks the owner's number */
	return (void *)(i + 100);
}

static void begin_and_end(void)
{
	pthread_t id;

	MUST(pthread_create(&id, NULL, (void *(*)(void *))(void *)gettid, NULL) == 0 && pthread_join(id, NULL) == 0);
}

static void threads_make(void)
{
	pthread_mutexattr_t a;

	MUST(pthread_mutexattr_init(&a) == 0 && pthread_mutexattr_settype(&a, PTHREAD_MUTEX_ERRORCHECK) == 0);
	MUST(pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST) == 0 && pthread_mutex_init(&lock, &a) == 0);
	for (long i = 0; i < THREADS; i++) {
		begin_and_end(); /* leaves a gap in the numbers */
		MUST(pthread_create(&thread[i], NULL, worker, (void *)i) == 0);
	}
	pthread_mutex_lock(&lock);
	while (sleeping < THREADS)
		pthread_cond_wait(&slept, &lock);
	pthread_mutex_unlock(&lock);
}

static const char *threads_check(void)
{
	void *result;

	pthread_mutex_lock(&lock);
	for (turn = 1, sleeping = 0, pthread_cond_broadcast(&wake); sleeping < THREADS;)
		pthread_cond_wait(&slept, &lock);
	turn = 2;
	pthread_cond_broadcast(&wake);
	pthread_mutex_unlock(&lock);
	for (long i = 0; i < THREADS; i++) {
		struct seen *b = &before[i];

		WANT(pthread_join(thread[i], &result) == 0 && (long)result == i + 100 && now[i].round == 2);
		now[i].round = b->round;
		WANT(!memcmp(b, &now[i], sizeof(*b)) && b->own == i && b->half == (double)i / 2);
	}
	begin_and_end();
	return NULL;
}

/* --- threads in other calls that wait --- */

static sem_t never;
static int event, epoll, other, opened;

static void *in_epoll(void *arg)
{
	struct epoll_event e;
	int n;

	while ((n = epoll_wait(epoll, &e, 1, -1)) < 0 && errno == EINTR)
		;
	return n == 1 && e.data.u64 == 0x1234567890ull ? &epoll : arg;
}
static void *in_read(void *arg)
{
	uint64_t n;

	return read(event, &n, sizeof(n)) == sizeof(n) && n == 7 ? &event : arg;
}
/* A moment stays one, maybe after an interruption; a length of time that has begun is interrupted, as by a signal, and says what is left. */
static void *in_timed(void *arg)
{
	struct timespec t;
	int rc;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += 3600;
	while ((rc = sem_timedwait(&never, &t)) < 0 && errno == EINTR)
		;
	return rc == 0 ? &never : arg;
}
static void *in_sleep(void *arg)
{
	struct timespec t = {3600, 0}, left = {0, 0};
	int rc = clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &left);

	opened = open("/dev/null", O_RDONLY); /* as early as can be */
	return rc == EINTR && left.tv_sec > 3500 && left.tv_sec < 3600 ? &never : arg;
}

static pthread_t waiting[4];

static void waits_make(void)
{
	static void *(*const what[])(void *) = {in_epoll, in_read, in_timed, in_sleep};
	struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.u64 = 0x1234567890ull};

	event = eventfd(0, 0), epoll = epoll_create1(EPOLL_CLOEXEC), other = eventfd(0, EFD_NONBLOCK);
	MUST(event >= 0 && epoll >= 0 && other >= 0 && sem_init(&never, 0, 0) == 0);
	MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, other, &e) == 0);
	for (unsigned i = 0; i < 4; i++)
		MUST(pthread_create(&waiting[i], NULL, what[i], NULL) == 0);
}
static const char *waits_check(void)
{
	static void *const want[] = {&epoll, &event, &never, &never};
	void *result;

	WANT(fcntl(epoll, F_GETFD) == FD_CLOEXEC && fcntl(other, F_GETFL) & O_NONBLOCK);
	WANT(eventfd_write(other, 1) == 0 && eventfd_write(event, 7) == 0 && sem_post(&never) == 0);
	for (unsigned i = 0; i < 4; i++)
		WANT(pthread_join(waiting[i], &result) == 0 && result == want[i]);
	WANT(opened >= 0 && fcntl(opened, F_GETFD) == 0);
	return NULL;
}

/* --- what they wait for --- */

static int pipes[4][2], copy, semaphore, counter;

static void pipes_make(void)
{
	for (unsigned i = 0; i < 4; i++)
		MUST(pipe2(pipes[i], i == 1 ? O_NONBLOCK : 0) == 0);
	copy = dup(pipes[0][1]);
	MUST(copy >= 0 && write(pipes[0][1], HELD, HELD_LEN) == HELD_LEN);
	MUST(close(pipes[2][1]) == 0 && close(pipes[3][0]) == 0);
}
static const char *pipes_check(void)
{
	char text[64];

	signal(SIGPIPE, SIG_IGN);
	WANT(write(copy, "+", 1) == 1 && read(pipes[0][0], text, sizeof(text)) == HELD_LEN + 1);
	WANT(!memcmp(text, HELD "+", HELD_LEN + 1));
	WANT(read(pipes[1][0], text, 1) < 0 && errno == EAGAIN);
	WANT(read(pipes[2][0], text, 1) == 0);
	WANT(write(pipes[3][1], "x", 1) < 0 && errno == EPIPE);
	WANT(close(copy) == 0 && close(pipes[0][1]) == 0 && read(pipes[0][0], text, 1) == 0);
	return NULL;
}

static void events_make(void)
{
	counter = eventfd(0x12345, EFD_NONBLOCK), semaphore = eventfd(3, EFD_SEMAPHORE | EFD_CLOEXEC);
	copy = dup(counter);
	MUST(counter >= 0 && semaphore >= 0 && copy >= 0);
}
static const char *events_check(void)
{
	eventfd_t n;

	WANT(fcntl(semaphore, F_GETFD) == FD_CLOEXEC && fcntl(copy, F_GETFD) == 0);
	WANT(eventfd_write(copy, 1) == 0 && eventfd_read(counter, &n) == 0 && n == 0x12346);
	WANT(eventfd_read(counter, &n) < 0 && errno == EAGAIN);
	/* Before Linux 6.7 the kernel does not tell a semaphore. */
	WANT(eventfd_read(semaphore, &n) == 0 && (n == 1 || n == 3));
	return NULL;
}

static int inner;

static void epoll_make(void)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u64 = ~5ull};

	pipes_make();
	epoll = epoll_create1(0), inner = epoll_create1(0);
	MUST(epoll_ctl(inner, EPOLL_CTL_ADD, pipes[1][0], &e) == 0);
	e.data.u64 = 6;
	MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, inner, &e) == 0);
	e = (struct epoll_event){.events = EPOLLIN | EPOLLONESHOT, .data.u64 = 7};
	MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, pipes[0][0], &e) == 0);
	MUST(epoll_wait(epoll, &e, 1, -1) == 1 && e.data.u64 == 7);
	e = (struct epoll_event){.events = EPOLLIN, .data.u64 = 8};
	MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, CHANNEL, &e) == 0);
	channel_epoll = epoll;
}
static const char *epoll_check(void)
{
	struct epoll_event e;

	WANT(epoll_wait(epoll, &e, 1, 0) == 0); /* the one shot was fired */
	WANT(write(pipes[1][1], "x", 1) == 1 && epoll_wait(epoll, &e, 1, -1) == 1 && e.data.u64 == 6);
	WANT(epoll_wait(inner, &e, 1, -1) == 1 && e.data.u64 == ~5ull && e.events == EPOLLIN);
	return NULL;
}

const struct animal kept_threads[] = {
	{"threads", threads_make, threads_check, NULL}, {"waits of threads", waits_make, waits_check, NULL},
	{"pipes", pipes_make, pipes_check, NULL},	{"eventfd", events_make, events_check, NULL},
	{"epoll", epoll_make, epoll_check, NULL},	{NULL, NULL, NULL, NULL},
};

/* --- refused --- */

static void *spin(void *arg)
{
	for (volatile int *going = &own;; *going = 0)
		;
	return arg;
}
static void *nice_thread(void *arg)
{
	MUST(setpriority(PRIO_PROCESS, (id_t)gettid(), 5) == 0);
	sem_post(&never);
	for (;;)
		pause();
	return arg;
}
static void *pending_thread(void *arg)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	MUST(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0 && pthread_kill(pthread_self(), SIGUSR2) == 0);
	sem_post(&never);
	for (;;)
		pause();
	return arg;
}
static void begin(void *(*what)(void *))
{
	MUST(sem_init(&never, 0, 0) == 0 && pthread_create(&thread[0], NULL, what, NULL) == 0);
}
static void busy(void)
{
	begin(spin);
}
static void nice_one(void)
{
	begin(nice_thread);
	MUST(sem_wait(&never) == 0);
}
static void pending_one(void)
{
	begin(pending_thread);
	MUST(sem_wait(&never) == 0);
}
static void numbers(void)
{
	for (unsigned i = 0; i < 300; i++)
		begin_and_end();
	begin(in_timed);
}
static void many(void)
{
	begin(in_timed);
	for (unsigned i = 1; i < 64; i++)
		MUST(pthread_create(&thread[1], NULL, in_timed, NULL) == 0);
}
static void full_pipe(void)
{
	static char text[5000];
	int p[2];

	MUST(pipe(p) == 0 && write(p[1], text, sizeof(text)) == sizeof(text));
}
static void packets(void)
{
	int p[2];

	MUST(pipe2(p, O_DIRECT) == 0);
}
static void closed_watch(void)
{
	struct epoll_event e = {.events = EPOLLIN};
	int p[2], set = epoll_create1(0);

	MUST(pipe(p) == 0 && epoll_ctl(set, EPOLL_CTL_ADD, p[0], &e) == 0 && dup(p[0]) >= 0 && close(p[0]) == 0);
}

const struct animal refused_threads[] = {
	{"a busy thread", busy, NULL, "is busy"},
	{"a nice thread", nice_one, NULL, "changed its scheduling"},
	{"a signal for a thread", pending_one, NULL, "signals wait for it"},
	{"distant numbers", numbers, NULL, "have ended between those that run"},
	{"too many threads", many, NULL, "more than 64 threads"},
	{"a full pipe", full_pipe, NULL, "unusual size, or full"},
	{"a pipe of packets", packets, NULL, "unusual flags"},
	{"a closed descriptor in epoll", closed_watch, NULL, "that it has closed"},
	{NULL, NULL, NULL, NULL},
};
