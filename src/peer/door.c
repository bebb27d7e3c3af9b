/* SPDX-License-Identifier: BSD-2-Clause */
/* Who may come in. See door.h. */
#include "peer/door.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "peer/channel.h"

#define PENDING 160u /* twice the channels that one source connects */
#define JOINS 64u
#define PATIENCE_NS 5000000000ull
#define LINGER_NS 1000000000ull
#define TICK_MS 50

static const char origin[] = "door";

/* Somebody who has connected. */
struct guest {
	int fd; /* -1: a free place */
	uint64_t since_ns;
	bool told; /* was refused, and has a moment to read why */
};

struct tide__door {
	int listener;
	tide__door_log *log;
	void *opaque;
	pthread_t thread;
	struct guest guest[PENDING]; /* the thread's */

	pthread_mutex_t lock; /* what follows */
	pthread_cond_t came;
	bool stop, busy;
	int source; /* -1: none waits to be taken */
	int join[JOINS];
	unsigned int joins;
	uint64_t strangers, refused;
};

static void say(struct tide__door *d, const char *what)
{
	if (d->log)
		d->log(d->opaque, what);
}

static void leave(struct guest *g)
{
	close(g->fd);
	g->fd = -1;
}

static void turn_away(struct tide__door *d, struct guest *g, const char *why)
{
	char text[300];

	pthread_mutex_lock(&d->lock);
	d->strangers++;
	pthread_mutex_unlock(&d->lock);
	snprintf(text, sizeof(text), "a connection that is no source was closed: "
		 "%s", why);
	say(d, text);
	leave(g);
}

/*
 * A REFUSED frame, and then a while in which the source may read it: to close
 * with its greeting unread would reset the connection and take our words.
 */
static void refuse(struct tide__door *d, struct guest *g)
{
	struct tide__channel c;

	tide__channel_init(&c, g->fd, 0);
	c.stall_ns = 1; /* it fits into an empty socket, or is not said */
	tide__channel_say(&c, TIDE__FRAME_REFUSED, 0, 0,
			  "busy: another source is being received here", NULL);
	tide__channel_fini(&c);
	shutdown(g->fd, SHUT_WR);
	g->told = true;
	g->since_ns = tide__now_ns();
	pthread_mutex_lock(&d->lock);
	d->refused++;
	pthread_mutex_unlock(&d->lock);
	say(d, "a second source was told that this receiver is busy");
}

/* Handed to the receiver; false: it is not the time for it. */
static bool hand_over(struct tide__door *d, struct guest *g, unsigned int type)
{
	bool taken = false;

	pthread_mutex_lock(&d->lock);
	if (type == TIDE__FRAME_HELLO && !d->busy && d->source < 0) {
		d->source = g->fd;
		taken = true;
	} else if (type == TIDE__FRAME_JOIN && d->busy && d->joins < JOINS) {
		d->join[d->joins++] = g->fd;
		taken = true;
	}
	if (taken) {
		g->fd = -1;
		pthread_cond_broadcast(&d->came);
	}
	pthread_mutex_unlock(&d->lock);
	return taken;
}

static void look_at(struct tide__door *d, struct guest *g)
{
	unsigned char head[TIDE__FRAME_BYTES];
	struct tide__frame f;
	struct tide_error err;
	ssize_t n = recv(g->fd, head, sizeof(head), MSG_PEEK | MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		turn_away(d, g, "it hung up without a word");
		return;
	}
	if ((size_t)n < sizeof(head)) {
		/* So much of the magic as is there must be right. */
		static const unsigned char magic[] = "TIDE";
		size_t some = n < 4 ? (size_t)n : 4;

		if (memcmp(head, magic, some))
			turn_away(d, g, "it speaks another protocol");
		return;
	}
	if (tide__frame_get(&f, head, 0, &err)) {
		turn_away(d, g, err.text);
		return;
	}
	if (hand_over(d, g, f.type))
		return;
	if (f.type == TIDE__FRAME_HELLO)
		refuse(d, g);
	else
		turn_away(d, g, "its first words are not due");
}

/* Read what a refused one still sends; true: it is gone. */
static bool linger(struct guest *g)
{
	char sink[4096];
	ssize_t n;

	do
		n = recv(g->fd, sink, sizeof(sink), MSG_DONTWAIT);
	while (n > 0);
	return n == 0 || (errno != EAGAIN && errno != EINTR);
}

static void attend(struct tide__door *d, struct guest *g, short events)
{
	uint64_t waited = tide__now_ns() - g->since_ns;

	if (g->told) {
		if (linger(g) || waited > LINGER_NS)
			leave(g);
		return;
	}
	if (events)
		look_at(d, g);
	if (g->fd >= 0 && !g->told && waited > PATIENCE_NS)
		turn_away(d, g, "it did not say what it is");
}

static struct guest *place_for_one(struct tide__door *d)
{
	struct guest *oldest = &d->guest[0];

	for (unsigned int i = 0; i < PENDING; i++) {
		if (d->guest[i].fd < 0)
			return &d->guest[i];
		if (d->guest[i].since_ns < oldest->since_ns)
			oldest = &d->guest[i];
	}
	turn_away(d, oldest, "too many are at the door");
	return oldest;
}

static void let_in(struct tide__door *d)
{
	struct timespec pause = { .tv_nsec = TICK_MS * 1000000 };
	int fd = accept4(d->listener, NULL, NULL, SOCK_CLOEXEC);
	struct guest *g;

	if (fd < 0) {
		/* Without descriptors the queue stays: do not spin on it. */
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
		    errno == ENOBUFS)
			nanosleep(&pause, NULL);
		return;
	}
	g = place_for_one(d);
	*g = (struct guest){ .fd = fd, .since_ns = tide__now_ns() };
}

static void *keep(void *opaque)
{
	struct tide__door *d = opaque;
	struct pollfd p[PENDING + 1];
	bool stop = false;

	while (!stop) {
		for (unsigned int i = 0; i < PENDING; i++)
			p[i] = (struct pollfd){ .fd = d->guest[i].fd,
						.events = POLLIN | POLLRDHUP };
		p[PENDING] = (struct pollfd){ .fd = d->listener,
					      .events = POLLIN };
		if (poll(p, PENDING + 1, TICK_MS) > 0 && p[PENDING].revents)
			let_in(d);
		for (unsigned int i = 0; i < PENDING; i++)
			if (p[i].fd >= 0 && p[i].fd == d->guest[i].fd)
				attend(d, &d->guest[i], p[i].revents);
		pthread_mutex_lock(&d->lock);
		stop = d->stop;
		pthread_mutex_unlock(&d->lock);
	}
	return NULL;
}

int tide__door_open(struct tide__door **out, int listener, tide__door_log *log,
		    void *opaque, struct tide_error *err)
{
	struct tide__door *d = calloc(1, sizeof(*d));
	pthread_condattr_t attr;

	if (!d)
		return tide_error_set(err, -ENOMEM, origin, TIDE_NO_OFFSET,
				      "no memory for a door");
	d->listener = listener;
	d->log = log;
	d->opaque = opaque;
	d->source = -1;
	for (unsigned int i = 0; i < PENDING; i++)
		d->guest[i].fd = -1;
	fcntl(listener, F_SETFL, fcntl(listener, F_GETFL) | O_NONBLOCK);
	pthread_mutex_init(&d->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&d->came, &attr);
	pthread_condattr_destroy(&attr);
	if (pthread_create(&d->thread, NULL, keep, d)) {
		pthread_cond_destroy(&d->came);
		pthread_mutex_destroy(&d->lock);
		free(d);
		return tide_error_set(err, -EAGAIN, origin, TIDE_NO_OFFSET,
				      "no thread for a door");
	}
	*out = d;
	return 0;
}

void tide__door_close(struct tide__door *d)
{
	if (!d)
		return;
	tide__door_stop(d);
	pthread_join(d->thread, NULL);
	tide__door_done(d);
	for (unsigned int i = 0; i < PENDING; i++)
		if (d->guest[i].fd >= 0)
			leave(&d->guest[i]);
	if (d->source >= 0)
		close(d->source);
	pthread_cond_destroy(&d->came);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

int tide__door_source(struct tide__door *d, struct tide_error *err)
{
	int fd = -ECANCELED;

	pthread_mutex_lock(&d->lock);
	while (!d->stop && d->source < 0)
		pthread_cond_wait(&d->came, &d->lock);
	if (!d->stop) {
		fd = d->source;
		d->source = -1;
		d->busy = true;
	}
	pthread_mutex_unlock(&d->lock);
	return fd >= 0 ? fd : tide_error_set(err, fd, origin, TIDE_NO_OFFSET,
					     "told to stop");
}

int tide__door_join(struct tide__door *d, uint64_t timeout_ns,
		    struct tide_error *err)
{
	struct timespec until;
	int fd = -1, rc = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(timeout_ns / 1000000000);
	until.tv_nsec += (long)(timeout_ns % 1000000000);
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&d->lock);
	while (!d->stop && !d->joins && !rc)
		rc = pthread_cond_timedwait(&d->came, &d->lock, &until);
	if (!d->stop && d->joins) {
		fd = d->join[0];
		memmove(d->join, d->join + 1, --d->joins * sizeof(*d->join));
	}
	rc = d->stop ? -ECANCELED : -ETIMEDOUT;
	pthread_mutex_unlock(&d->lock);
	return fd >= 0 ? fd :
			 tide_error_set(err, rc, origin, TIDE_NO_OFFSET, "%s",
					rc == -ECANCELED ?
						"told to stop" :
						"a channel that was announced "
						"did not connect");
}

void tide__door_done(struct tide__door *d)
{
	pthread_mutex_lock(&d->lock);
	d->busy = false;
	while (d->joins)
		close(d->join[--d->joins]);
	pthread_mutex_unlock(&d->lock);
}

void tide__door_stop(struct tide__door *d)
{
	pthread_mutex_lock(&d->lock);
	d->stop = true;
	pthread_cond_broadcast(&d->came);
	pthread_mutex_unlock(&d->lock);
}

static uint64_t counter(struct tide__door *d, const uint64_t *which)
{
	uint64_t value;

	pthread_mutex_lock(&d->lock);
	value = *which;
	pthread_mutex_unlock(&d->lock);
	return value;
}

uint64_t tide__door_strangers(struct tide__door *d)
{
	return counter(d, &d->strangers);
}

uint64_t tide__door_refused(struct tide__door *d)
{
	return counter(d, &d->refused);
}
