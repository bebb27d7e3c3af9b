/* SPDX-License-Identifier: BSD-2-Clause */
/* The door's thread, and those who are handed out. See door.h. */
#include "peer/door_guest.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define TICK_MS 50

static const char origin[] = "door";

/* The oldest makes place, but one that was admitted only for such a one. */
static struct tide__guest *place_for_one(struct tide__door *d)
{
	struct tide__guest *oldest = &d->guest[0];

	for (unsigned int i = 0; i < TIDE__DOOR_PENDING; i++) {
		struct tide__guest *g = &d->guest[i];

		if (g->fd < 0)
			return g;
		if (g->admitted != oldest->admitted
			? oldest->admitted : g->since_ns < oldest->since_ns)
			oldest = g;
	}
	tide__door_turn_away(d, oldest, "too many are at the door");
	return oldest;
}

static void let_in(struct tide__door *d)
{
	const struct tide__door_streams *s = d->o.streams;
	struct timespec pause = { .tv_nsec = TICK_MS * 1000000 };
	int fd = accept4(d->listener, NULL, NULL, SOCK_CLOEXEC);
	struct tide__guest *g;
	struct tide_error err;

	if (fd < 0) {
		/* Without descriptors the queue stays: do not spin on it. */
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
		    errno == ENOBUFS)
			nanosleep(&pause, NULL);
		return;
	}
	g = place_for_one(d);
	*g = (struct tide__guest){ .fd = fd, .since_ns = tide__now_ns(),
				   .shaking = s };
	if (s && s->open(s->opaque, fd, &err))
		tide__door_turn_away(d, g, err.text);
}

static short events_of(const struct tide__guest *g)
{
	return (short)(POLLRDHUP | (g->partial ? 0 : POLLIN) |
		       (g->wants_write ? POLLOUT : 0));
}

static void *keep(void *opaque)
{
	struct tide__door *d = opaque;
	struct pollfd p[TIDE__DOOR_PENDING + 1];
	bool stop = false;

	while (!stop) {
		for (unsigned int i = 0; i < TIDE__DOOR_PENDING; i++)
			p[i] = (struct pollfd){
				.fd = d->guest[i].fd,
				.events = events_of(&d->guest[i]) };
		p[TIDE__DOOR_PENDING] = (struct pollfd){ .fd = d->listener,
							 .events = POLLIN };
		if (poll(p, TIDE__DOOR_PENDING + 1, TICK_MS) > 0 &&
		    p[TIDE__DOOR_PENDING].revents)
			let_in(d);
		for (unsigned int i = 0; i < TIDE__DOOR_PENDING; i++)
			if (p[i].fd >= 0 && p[i].fd == d->guest[i].fd)
				tide__door_attend(d, &d->guest[i],
						  p[i].revents);
		pthread_mutex_lock(&d->lock);
		stop = d->stop;
		pthread_mutex_unlock(&d->lock);
	}
	return NULL;
}

int tide__door_open(struct tide__door **out, int listener,
		    const struct tide__door_options *options,
		    struct tide_error *err)
{
	struct tide__door *d = calloc(1, sizeof(*d));
	pthread_condattr_t attr;

	if (!d)
		return tide_error_set(err, -ENOMEM, origin, TIDE_NO_OFFSET,
				      "no memory for a door");
	d->listener = listener;
	d->o = *options;
	d->source = -1;
	for (unsigned int i = 0; i < TIDE__DOOR_PENDING; i++)
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
	for (unsigned int i = 0; i < TIDE__DOOR_PENDING; i++)
		if (d->guest[i].fd >= 0)
			tide__door_hang_up(d, d->guest[i].fd);
	if (d->source >= 0)
		tide__door_hang_up(d, d->source);
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
	int fd = -1, ret = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(timeout_ns / 1000000000);
	until.tv_nsec += (long)(timeout_ns % 1000000000);
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&d->lock);
	while (!d->stop && !d->joins && !ret)
		ret = pthread_cond_timedwait(&d->came, &d->lock, &until);
	if (!d->stop && d->joins) {
		fd = d->join[0];
		memmove(d->join, d->join + 1, --d->joins * sizeof(*d->join));
	}
	ret = d->stop ? -ECANCELED : -ETIMEDOUT;
	pthread_mutex_unlock(&d->lock);
	return fd >= 0 ? fd :
			 tide_error_set(err, ret, origin, TIDE_NO_OFFSET, "%s",
					ret == -ECANCELED ?
						"told to stop" :
						"a channel that was announced "
						"did not connect");
}

static void end_source(struct tide__door *d, bool shut)
{
	pthread_mutex_lock(&d->lock);
	d->busy = d->shut = shut;
	while (d->joins)
		tide__door_hang_up(d, d->join[--d->joins]);
	pthread_mutex_unlock(&d->lock);
}

void tide__door_done(struct tide__door *d)
{
	end_source(d, false);
}

void tide__door_shut(struct tide__door *d)
{
	end_source(d, true);
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
