/* SPDX-License-Identifier: BSD-2-Clause */
#include "peer/order.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/atomic.h"
#include "base/clock.h"

static const char origin[] = "receive";

#define ANY (TIDE__OVER * 2 - 1)
#define OPEN (TIDE__BETWEEN | TIDE__ROUND)

/* In which phases the control channel, and a further one, may bring a frame. */
static const struct {
	unsigned int control, further;
} rules[TIDE__FRAME_TYPES] = {
	[TIDE__FRAME_HELLO] = { TIDE__GREETING, 0 },
	[TIDE__FRAME_JOIN] = { 0, TIDE__JOINING },
	[TIDE__FRAME_SLOTS] = { TIDE__BETWEEN, 0 },
	[TIDE__FRAME_ROUND] = { TIDE__BETWEEN, 0 },
	[TIDE__FRAME_PAGES] = { TIDE__ROUND, OPEN },
	[TIDE__FRAME_ZERO] = { TIDE__ROUND, OPEN },
	[TIDE__FRAME_ROUND_END] = { TIDE__ROUND, OPEN },
	[TIDE__FRAME_STATE] = { TIDE__STOPPED | TIDE__STATE, 0 },
	[TIDE__FRAME_STATE_END] = { TIDE__STATE, 0 },
	[TIDE__FRAME_GO] = { TIDE__READY, 0 },
	[TIDE__FRAME_CANCEL] = { ANY, ANY },
};

static const char *phase_name(enum tide__phase phase)
{
	switch (phase) {
	case TIDE__GREETING:
		return "before the greeting";
	case TIDE__JOINING:
		return "while channels join";
	case TIDE__BETWEEN:
		return "between two rounds";
	case TIDE__CHANGING:
		return "while memory slots change";
	case TIDE__ROUND:
		return "inside a round";
	case TIDE__STOPPED:
		return "after the last round";
	case TIDE__STATE:
		return "amid the state";
	case TIDE__LOADING:
		return "while the state is loaded";
	case TIDE__READY:
		return "where GO was due";
	default:
		return "after the end";
	}
}

void tide__order_init(struct tide__order *o)
{
	pthread_condattr_t attr;

	memset(o, 0, sizeof(*o));
	o->phase = TIDE__GREETING;
	pthread_mutex_init(&o->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&o->changed, &attr);
	pthread_condattr_destroy(&attr);
}

void tide__order_fini(struct tide__order *o)
{
	pthread_cond_destroy(&o->changed);
	pthread_mutex_destroy(&o->lock);
}

/* Is any channel inside a round, or one ahead? */
static bool is_busy(const struct tide__order *o)
{
	for (unsigned int i = 0; i < o->channels; i++)
		if (o->inside[i] || o->ended[i] != o->rounds)
			return true;
	return false;
}

/* Of a frame that the table allows: what it changes; or why it may not. */
static const char *step(struct tide__order *o, unsigned int channel,
			const struct tide__frame *f)
{
	switch (f->type) {
	case TIDE__FRAME_HELLO:
		o->phase = TIDE__JOINING;
		return NULL;
	case TIDE__FRAME_SLOTS:
		if (is_busy(o))
			return "while another channel still brings pages";
		o->phase = TIDE__CHANGING;
		return NULL;
	case TIDE__FRAME_ROUND:
		if (f->first != o->rounds || f->first > UINT32_MAX ||
		    f->pages > TIDE_ROUND_STOP)
			return "of a round that is not the next";
		o->phase = TIDE__ROUND;
		o->last = f->pages == TIDE_ROUND_STOP;
		return NULL;
	case TIDE__FRAME_PAGES:
	case TIDE__FRAME_ZERO:
		if (o->ended[channel] != o->rounds)
			return "ahead of the other channels' round";
		o->inside[channel] = true;
		return NULL;
	case TIDE__FRAME_ROUND_END:
		if (o->ended[channel] != o->rounds || f->first != o->rounds)
			return "of a round that is not under way";
		o->inside[channel] = false;
		o->ended[channel]++;
		pthread_cond_broadcast(&o->changed);
		return NULL;
	case TIDE__FRAME_STATE:
		o->phase = TIDE__STATE;
		return NULL;
	case TIDE__FRAME_STATE_END:
		o->phase = TIDE__LOADING;
		return NULL;
	case TIDE__FRAME_GO:
		o->phase = TIDE__OVER;
		return NULL;
	default:
		return NULL;
	}
}

int tide__order_take(struct tide__order *o, unsigned int channel,
		     const struct tide__frame *f, struct tide_error *err)
{
	unsigned int phases = channel ? rules[f->type].further
				      : rules[f->type].control;
	const char *fault;

	pthread_mutex_lock(&o->lock);
	fault = phases & o->phase ? step(o, channel, f) : phase_name(o->phase);
	pthread_mutex_unlock(&o->lock);
	if (!fault)
		return 0;
	return tide_error_set(err, -EPROTO, origin, f->sequence,
			      "channel %u: %s frame %s", channel,
			      tide__frame_name(f->type), fault);
}

static void set_phase(struct tide__order *o, enum tide__phase phase)
{
	pthread_mutex_lock(&o->lock);
	o->phase = phase;
	pthread_mutex_unlock(&o->lock);
}

void tide__order_joined(struct tide__order *o, unsigned int channels)
{
	o->channels = channels;
	set_phase(o, TIDE__BETWEEN);
}

void tide__order_changed(struct tide__order *o)
{
	set_phase(o, TIDE__BETWEEN);
}

void tide__order_loaded(struct tide__order *o)
{
	set_phase(o, TIDE__READY);
}

static bool all_ended(const struct tide__order *o)
{
	for (unsigned int i = 0; i < o->channels; i++)
		if (o->ended[i] == o->rounds)
			return false;
	return true;
}

int tide__order_await_round(struct tide__order *o,
			    uint64_t (*deadline_ns)(void *), void *opaque,
			    struct tide_error *err)
{
	int ret = 0;

	pthread_mutex_lock(&o->lock);
	while (!all_ended(o) && !o->ret && !ret) {
		struct timespec ts;

		clock_gettime(CLOCK_MONOTONIC, &ts);
		ts.tv_sec++;
		pthread_cond_timedwait(&o->changed, &o->lock, &ts);
		if (!all_ended(o) && tide__now_ns() > deadline_ns(opaque))
			ret = tide_error_set(err, -ETIMEDOUT, origin,
					     TIDE_NO_OFFSET,
					     "a channel did not reach the end "
					     "of the round");
	}
	if (o->ret) {
		ret = o->ret;
		*err = o->err;
	}
	if (!ret) {
		o->rounds++;
		o->phase = o->last ? TIDE__STOPPED : TIDE__BETWEEN;
	}
	pthread_mutex_unlock(&o->lock);
	return ret;
}

void tide__order_fail(struct tide__order *o, int ret,
		      const struct tide_error *err)
{
	pthread_mutex_lock(&o->lock);
	if (!o->ret) {
		o->ret = ret;
		o->err = *err;
	}
	tide__store_relaxed(&o->stop, true);
	pthread_cond_broadcast(&o->changed);
	pthread_mutex_unlock(&o->lock);
}

void tide__order_stop(struct tide__order *o, int *ret, struct tide_error *err)
{
	pthread_mutex_lock(&o->lock);
	if (*ret == -ECONNABORTED && o->ret) {
		*ret = o->ret;
		*err = o->err;
	}
	tide__store_relaxed(&o->stop, true);
	pthread_mutex_unlock(&o->lock);
}

bool tide__order_is_whole(struct tide__order *o)
{
	bool whole;

	pthread_mutex_lock(&o->lock);
	whole = o->phase >= TIDE__STOPPED;
	pthread_mutex_unlock(&o->lock);
	return whole;
}
