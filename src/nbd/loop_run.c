/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A loop's thread: epoll over clients, the disks' queue, and two descriptors
 * by which others wake it (new clients and the order to stop; finished jobs).
 *
 * Level-triggered: unfinished input is reported again. The events that a
 * connection waits for are kept to what it could use, so that one that is
 * paused, or whose client does not read, costs nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "disk/queue.h"
#include "nbd/loop.h"

#define EVENTS 64
#define TICK_MS ((int)(NBD_TICK_NS / 1000000))

static uint32_t wanted(const struct nbd_conn *c)
{
	return (nbd_conn_wants_input(c) ? EPOLLIN : 0) |
	       (c->blocked || c->stream.wants_write ? EPOLLOUT : 0);
}

void nbd_loop_watch(struct nbd_conn *c)
{
	struct epoll_event e = { .events = wanted(c), .data.ptr = c };

	if (c->phase == NBD_PHASE_CLOSED || c->stream.fd < 0 ||
	    e.events == c->events)
		return;
	if (epoll_ctl(c->loop->epoll_fd, EPOLL_CTL_MOD, c->stream.fd, &e)) {
		nbd_conn_close(c, strerror(errno));
		return;
	}
	c->events = e.events;
}

/* Descriptors of the loop's own are told from clients by their address. */
static int watch_own(struct nbd_loop *loop, int *fd)
{
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = fd };

	return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, *fd, &e) ? -errno : 0;
}

static void empty(int fd)
{
	uint64_t count;

	while (read(fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
}

int nbd_peer_of_socket(int fd, struct nbd_peer *peer)
{
	struct ucred cred;
	socklen_t length = sizeof(cred);
	int domain;
	socklen_t domain_length = sizeof(domain);

	*peer = (struct nbd_peer){ 0 };
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &domain_length) ||
	    domain != AF_UNIX)
		return 0;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &length))
		return -errno;
	peer->has_uid = true;
	peer->uid = cred.uid;
	return 0;
}

static void add_client(struct nbd_loop *loop, int fd)
{
	struct epoll_event e = { .events = EPOLLIN };
	struct nbd_stream s;
	struct nbd_conn *c;

	nbd_stream_socket(&s, fd);
	c = nbd_loop_add(loop, &s);
	if (!c)
		return;
	e.data.ptr = c;
	c->events = e.events;
	nbd_peer_of_socket(fd, &c->peer); /* not known: no rights by it */
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &e))
		nbd_conn_close(c, strerror(errno));
}

static void take_arrivals(struct nbd_loop *loop)
{
	uint32_t count;
	int *arrivals;
	bool stop;

	empty(loop->wake_fd);
	pthread_mutex_lock(&loop->lock);
	arrivals = loop->arrivals;
	count = loop->arrival_count;
	stop = loop->stop;
	loop->arrivals = NULL;
	loop->arrival_count = loop->arrival_room = 0;
	pthread_mutex_unlock(&loop->lock);
	for (uint32_t i = 0; i < count; i++)
		add_client(loop, arrivals[i]);
	free(arrivals);
	if (stop)
		nbd_loop_drain(loop);
}

static void on_client(struct nbd_conn *c, uint32_t events)
{
	if (c->phase == NBD_PHASE_CLOSED)
		return;
	if (events & EPOLLOUT)
		nbd_conn_unblock(c);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		/* Gone, while nothing is read from it: that is all we learn. */
		if (!nbd_conn_wants_input(c) && events & (EPOLLHUP | EPOLLERR))
			nbd_conn_close(c, NULL);
		else
			nbd_conn_read(c);
	}
	nbd_loop_watch(c);
}

static void on_event(struct nbd_loop *loop, const struct epoll_event *e)
{
	if (e->data.ptr == &loop->wake_fd)
		take_arrivals(loop);
	else if (e->data.ptr == &loop->done.event_fd)
		empty(loop->done.event_fd);
	else if (e->data.ptr)
		on_client(e->data.ptr, e->events);
}

static void *run(void *arg)
{
	struct nbd_loop *loop = arg;
	struct epoll_event events[EVENTS];
	bool more = false;

	while (!loop->draining || loop->conns) {
		int n = epoll_wait(loop->epoll_fd, events, EVENTS,
				   more ? 0 : loop->timed ? TICK_MS : -1);

		loop->now_ns = tide__now_ns(); /* deadlines begin here */
		/* A signal's end, or the ring's: the turn looks at it. */
		for (int i = 0; i < n; i++)
			on_event(loop, &events[i]);
		more = nbd_loop_turn(loop);
	}
	return NULL;
}

static int open_descriptors(struct nbd_loop *loop)
{
	struct epoll_event queue = { .events = EPOLLIN };
	int ret;

	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	loop->done.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->epoll_fd < 0 || loop->wake_fd < 0 || loop->done.event_fd < 0)
		return -errno;
	ret = watch_own(loop, &loop->wake_fd);
	if (!ret)
		ret = watch_own(loop, &loop->done.event_fd);
	if (!ret && epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD,
			      tide_queue_fd(loop->queue), &queue))
		ret = -errno;
	return ret;
}

static void close_descriptors(struct nbd_loop *loop)
{
	int fds[] = { loop->epoll_fd, loop->wake_fd, loop->done.event_fd };

	for (size_t i = 0; i < 3; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	loop->epoll_fd = loop->wake_fd = loop->done.event_fd = -1;
}

int nbd_loop_start(struct nbd_loop *loop, struct tide_error *err)
{
	int ret = open_descriptors(loop);

	pthread_mutex_init(&loop->lock, NULL);
	if (!ret)
		ret = -pthread_create(&loop->thread, NULL, run, loop);
	if (!ret)
		return 0;
	close_descriptors(loop);
	pthread_mutex_destroy(&loop->lock);
	return tide_error_set(err, ret, "nbd", TIDE_NO_OFFSET,
			      "starting a loop: %s", strerror(-ret));
}

static void wake(struct nbd_loop *loop)
{
	uint64_t one = 1;

	while (write(loop->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* Under the lock. */
static bool make_room(struct nbd_loop *loop)
{
	uint32_t room = loop->arrival_room ? loop->arrival_room * 2 : 16;
	int *arrivals;

	if (loop->arrival_count < loop->arrival_room)
		return true;
	arrivals = realloc(loop->arrivals, room * sizeof(*arrivals));
	if (!arrivals)
		return false;
	loop->arrivals = arrivals;
	loop->arrival_room = room;
	return true;
}

void nbd_loop_wake(struct nbd_loop *loop)
{
	wake(loop);
}

int nbd_loop_give(struct nbd_loop *loop, int fd)
{
	bool taken;

	pthread_mutex_lock(&loop->lock);
	taken = make_room(loop);
	if (taken)
		loop->arrivals[loop->arrival_count++] = fd;
	pthread_mutex_unlock(&loop->lock);
	if (!taken) {
		close(fd);
		return -ENOMEM;
	}
	wake(loop);
	return 0;
}

void nbd_loop_stop(struct nbd_loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	loop->stop = true;
	pthread_mutex_unlock(&loop->lock);
	wake(loop);
}

void nbd_loop_join(struct nbd_loop *loop)
{
	pthread_join(loop->thread, NULL);
	/* A client that was given after the order to stop. */
	for (uint32_t i = 0; i < loop->arrival_count; i++)
		close(loop->arrivals[i]);
	free(loop->arrivals);
	loop->arrivals = NULL;
	close_descriptors(loop);
	pthread_mutex_destroy(&loop->lock);
}
