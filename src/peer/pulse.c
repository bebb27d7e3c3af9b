/* SPDX-License-Identifier: BSD-2-Clause */
#include "peer/pulse.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"

struct tide__pulse {
	struct tide__channel *channel;
	pthread_t thread;
	pthread_mutex_t lock;	/* held while a frame is sent; end waits */
	pthread_cond_t closing;
	bool close, active;
	uint64_t nap_ns;
};

/*
 * It looks every so often instead of being woken: begin and end lie in the
 * guest's downtime.
 */
static void *pulse_main(void *opaque)
{
	struct tide__pulse *p = opaque;

	pthread_mutex_lock(&p->lock);
	while (!p->close) {
		struct timespec ts;
		uint64_t at = tide__now_ns() + p->nap_ns;

		ts.tv_sec = (time_t)(at / 1000000000u);
		ts.tv_nsec = (long)(at % 1000000000u);
		pthread_cond_timedwait(&p->closing, &p->lock, &ts);
		if (p->active && !p->close)
			tide__channel_keep_alive(p->channel);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

struct tide__pulse *tide__pulse_open(struct tide__channel *channel)
{
	struct tide__pulse *p;
	pthread_condattr_t attr;

	if (!channel->keeps_alive)
		return NULL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->channel = channel;
	p->nap_ns = channel->stall_ns / 16;
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->closing, &attr);
	pthread_condattr_destroy(&attr);
	if (!pthread_create(&p->thread, NULL, pulse_main, p))
		return p;
	pthread_cond_destroy(&p->closing);
	pthread_mutex_destroy(&p->lock);
	free(p);
	return NULL;
}

void tide__pulse_close(struct tide__pulse *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->close = true;
	pthread_cond_signal(&p->closing);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	pthread_cond_destroy(&p->closing);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static void set(struct tide__pulse *p, bool active)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->active = active;
	pthread_mutex_unlock(&p->lock);
}

void tide__pulse_begin(struct tide__pulse *p)
{
	set(p, true);
}

void tide__pulse_end(struct tide__pulse *p)
{
	set(p, false);
}
