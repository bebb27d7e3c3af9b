/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The greeting, at the receiver: what the source is going to send, whether
 * there is room for it, and its further channels. Nothing has moved yet: this
 * is the time to say no.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "peer/receive.h"
#include "rounds/engine.h"

/* Accept the next socket as the next channel. */
static int take_channel(struct receiver *r,
			int (*accept)(void *, struct tide_error *),
			struct tide_error *err)
{
	unsigned int number = r->channels;
	struct tide__channel *c = &r->channel[number];
	int fd = accept(r->opaque, err);

	if (fd < 0)
		return fd;
	tide__channel_init(c, fd, number);
	c->stall_ns = r->stall_ns;
	c->cancel = r->options.cancel;
	c->stop = &r->order.stop;
	c->alive = &r->alive;
	r->channels++;
	return tide__channel_wrap(c, r->options.stream_ops,
				  r->options.stream_opaque, err);
}

static int join(struct receiver *r, struct tide__channel *c,
		struct tide_error *err)
{
	struct tide__frame f;
	int ret = tide__next_frame(r, c, &f, err);

	if (ret)
		return ret;
	if (f.payload_bytes != TIDE__ID_BYTES ||
	    memcmp(c->payload, r->hello.id, TIDE__ID_BYTES))
		return tide_error_set(err, -EPROTO, "receive", f.sequence,
				      "channel %u joins another migration",
				      c->number);
	c->checksum = r->hello.features & TIDE__FEATURE_CHECKSUM;
	c->keeps_alive = r->keeps_alive;
	return tide__channel_say(c, TIDE__FRAME_JOINED, 0, 0, NULL, err);
}

/* What HELLO's head offers besides: see hello.h. */
static void agree(struct receiver *r, const struct tide__frame *f)
{
	struct tide__channel *c = &r->channel[0];

	r->keeps_alive = f->first & TIDE__OFFER_ALIVE;
	r->stall_ns = tide__stall_agreed_ns(r->stall_ns, f->pages);
	c->stall_ns = r->stall_ns;
	c->keeps_alive = r->keeps_alive;
	r->pulse = tide__pulse_open(c);
}

static int welcome(struct receiver *r, struct tide_error *err)
{
	return tide__channel_say(&r->channel[0], TIDE__FRAME_WELCOME,
				 r->keeps_alive ? TIDE__OFFER_ALIVE : 0,
				 tide__stall_ms(r->options.stall_timeout_ns),
				 NULL, err);
}

int tide__greet(struct receiver *r,
		int (*accept)(void *, struct tide_error *),
		struct tide_error *err)
{
	struct tide__channel *c = &r->channel[0];
	struct tide__frame f;
	int ret = take_channel(r, accept, err);

	if (!ret)
		ret = tide__next_frame(r, c, &f, err);
	if (!ret)
		ret = tide__hello_get(&r->hello, c->payload, f.payload_bytes,
				      err);
	if (ret)
		return ret;
	agree(r, &f);
	tide__pulse_begin(r->pulse);
	ret = tide__called(r->ops->prepare(r->opaque, r->hello.slot,
					   r->hello.slots, r->slots, err),
			   "prepare", err);
	tide__pulse_end(r->pulse);
	if (!ret)
		ret = welcome(r, err);
	c->checksum = r->hello.features & TIDE__FEATURE_CHECKSUM;
	while (!ret && r->channels < r->hello.channels) {
		ret = take_channel(r, accept, err);
		if (!ret)
			ret = join(r, &r->channel[r->channels - 1], err);
	}
	if (!ret)
		tide__order_joined(&r->order, r->channels);
	return ret;
}
