/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rounds, at the receiver. The caller's thread reads the control channel,
 * and one more thread each further channel. A round is a barrier: once every
 * channel has delivered ROUND_END, the whole round is in memory and is
 * acknowledged; the source sends nothing more until then. order.h enforces
 * that.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "peer/receive.h"
#include "rounds/engine.h"

static const char origin[] = "receive";

/* The open round's frames on this channel, to its ROUND_END, or whatever else
 * is in order; that one's payload is received. */
static int read_round(struct receiver *r, struct tide__channel *c, bool fresh,
		      struct tide__frame *f, struct tide_error *err)
{
	for (;;) {
		int ret = tide__next_head(r, c, f, err);

		if (ret)
			return ret;
		if (f->type != TIDE__FRAME_PAGES &&
		    f->type != TIDE__FRAME_ZERO)
			return tide__channel_receive_payload(c, f, err);
		ret = tide__apply(r, c, f, fresh, err);
		if (ret)
			return ret;
		tide__add_relaxed(&r->pages, f->pages);
	}
}

/* A further channel: round after round, until the stream ends or fails. */
struct reader {
	struct receiver *r;
	struct tide__channel *channel;
	pthread_t thread;
	bool started;
};

static void *reader_main(void *arg)
{
	struct reader *reader = arg;
	struct receiver *r = reader->r;
	struct tide__frame f;
	struct tide_error err;
	bool fresh = true;

	tide_error_clear(&err);
	for (;;) {
		int ret = read_round(r, reader->channel, fresh, &f, &err);

		/* The source may close a channel once the guest is whole. */
		if (ret == -ENODATA && tide__order_is_whole(&r->order))
			return NULL;
		if (ret) {
			tide__order_fail(&r->order, ret, &err);
			return NULL;
		}
		fresh = false;
	}
}

static uint64_t all_bytes(const struct receiver *r)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < r->channels; i++)
		bytes += tide__load_relaxed(&r->channel[i].bytes_received);
	return bytes;
}

/* The readers notice silence themselves: this is the net below them. */
static uint64_t deadline_ns(void *opaque)
{
	const struct receiver *r = opaque;
	uint64_t last = tide__load_relaxed(&r->alive.last_ns);

	if (last < r->round_start_ns)
		last = r->round_start_ns;
	return last + r->stall_ns + 2000000000u;
}

static void report(struct receiver *r, uint64_t pages_before)
{
	r->round.pages = tide__load_relaxed(&r->pages) - pages_before;
	r->round.pages_total = r->round.pages;
	r->round.bytes = all_bytes(r) - r->round_start_bytes;
	r->round.elapsed_ns = tide__now_ns() - r->round_start_ns;
	r->round.finished = true;
	if (r->ops->progress)
		r->ops->progress(r->opaque, &r->round);
}

static int one_round(struct receiver *r, const struct tide__frame *begin,
		     struct tide_error *err)
{
	struct tide__channel *c = &r->channel[0];
	uint64_t pages = tide__load_relaxed(&r->pages);
	struct tide__frame f;
	int ret;

	memset(&r->round, 0, sizeof(r->round));
	r->round.number = (unsigned int)begin->first;
	r->round.kind = begin->first ? (enum tide_round_kind)begin->pages
				     : TIDE_ROUND_BULK;
	r->round_start_ns = tide__now_ns();
	r->round_start_bytes = all_bytes(r);
	ret = read_round(r, c, begin->first == 0, &f, err);
	if (!ret)
		ret = tide__order_await_round(&r->order, deadline_ns, r, err);
	if (ret)
		return ret;
	report(r, pages);
	return tide__channel_say(c, TIDE__FRAME_ROUND_ACK, begin->first, 0,
				 NULL, err);
}

/* The source's slots have changed. Between rounds: nobody writes to memory. */
static int change_slots(struct receiver *r, const struct tide__frame *f,
			struct tide_error *err)
{
	struct tide__channel *c = &r->channel[0];
	struct tide__hello h;
	int ret = tide__hello_get(&h, c->payload, f->payload_bytes, err);

	if (ret)
		return ret;
	tide__pulse_begin(r->pulse);
	if (!r->ops->change)
		ret = tide_error_set(err, -EOPNOTSUPP, origin, f->sequence,
				     "memory slots changed, and this receiver "
				     "cannot follow");
	else
		ret = tide__called(r->ops->change(r->opaque, h.slot, h.slots,
						  r->slots, err),
				   "change", err);
	tide__pulse_end(r->pulse);
	free(h.slot);
	/* After memory is as it shall be, before the source may go on. */
	if (!ret)
		tide__order_changed(&r->order);
	return ret ? ret : tide__channel_say(c, TIDE__FRAME_WELCOME, 0, 0, NULL,
					     err);
}

/* The order lets only SLOTS, ROUND and, after the last of them, STATE come. */
static int rounds(struct receiver *r, struct tide__frame *f,
		  struct tide_error *err)
{
	for (;;) {
		int ret = tide__next_frame(r, &r->channel[0], f, err);

		if (!ret && f->type == TIDE__FRAME_STATE)
			return 0;
		if (!ret)
			ret = f->type == TIDE__FRAME_SLOTS
				 ? change_slots(r, f, err)
				 : one_round(r, f, err);
		if (ret)
			return ret;
	}
}

static int start_readers(struct receiver *r, struct reader *reader,
			 struct tide_error *err)
{
	for (unsigned int i = 1; i < r->channels; i++) {
		int ret;

		reader[i].r = r;
		reader[i].channel = &r->channel[i];
		ret = -pthread_create(&reader[i].thread, NULL, reader_main,
				      &reader[i]);
		if (ret)
			return tide_error_set(err, ret, origin, TIDE_NO_OFFSET,
					      "cannot start a reader: %s",
					      strerror(-ret));
		reader[i].started = true;
	}
	return 0;
}

int tide__receive_rounds(struct receiver *r, bool *running,
			 struct tide_error *err)
{
	struct reader *reader = calloc(r->channels, sizeof(*reader));
	struct tide__frame f;
	int ret;

	if (!reader)
		return tide_error_set(err, -ENOMEM, origin, TIDE_NO_OFFSET,
				      "no memory for the readers");
	ret = start_readers(r, reader, err);
	if (!ret)
		ret = rounds(r, &f, err);
	if (!ret)
		ret = tide__take_over(r, &f, running, err);
	/*
	 * Only now, since to end them takes longer than a guest may wait.
	 * Theirs may be the first reason.
	 */
	tide__order_stop(&r->order, &ret, err);
	for (unsigned int i = 1; i < r->channels; i++)
		if (reader[i].started)
			pthread_join(reader[i].thread, NULL);
	free(reader);
	return ret;
}
