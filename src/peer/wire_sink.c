/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The sink that is another host: what the engine hands over becomes frames.
 *
 * A lane is a channel. Everything but pages goes over the first one: handshake,
 * changes of slots, the beginning of a round and its ack. Pages are compressed
 * here, lane by lane, since the bandwidth limit applies to compressed bytes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <zstd.h>

#include "base/atomic.h"
#include "peer/session.h"

_Static_assert(TIDE__PIECE_PAGES <= TIDE__UNIT_PAGES, "a piece is one frame");

static struct session *of(struct tide__sink *sink)
{
	return (struct session *)sink;
}

int tide__expect(struct session *s, unsigned int type, struct tide__frame *f,
		 struct tide_error *err)
{
	struct tide__channel *c = &s->channel[0];
	int ret = tide__channel_receive(c, f, err);

	if (ret)
		return ret;
	if (f->type == type)
		return 0;
	if (f->type == TIDE__FRAME_REFUSED)
		return tide_error_set(err, -EREMOTEIO, "receiver",
				      TIDE_NO_OFFSET, "%s",
				      (const char *)c->payload);
	return tide_error_set(err, -EPROTO, "precopy", f->sequence,
			      "the receiver said %s where %s was due",
			      tide__frame_name(f->type),
			      tide__frame_name(type));
}

static void fill_hello(const struct session *s, struct tide__hello *h,
		       const struct tide__layout *layout)
{
	const struct tide_precopy_options *o = &s->engine.options;

	*h = (struct tide__hello){
		.version = TIDE__WIRE_VERSION,
		.page_bytes = o->page_bytes,
		.channels = s->channels,
		.slots = layout->count,
		.slot = layout->slot,
	};
}

/* A greeting, or a list of slots, and the receiver's WELCOME to it. */
static int send_hello(struct session *s, struct tide__frame *f,
		      const struct tide__hello *h, struct tide_error *err)
{
	size_t len;
	unsigned char *bytes = tide__hello_put(h, &len);
	int ret;

	if (!bytes)
		return tide_error_set(err, -ENOMEM, "precopy", TIDE_NO_OFFSET,
				      "no memory for a list of slots");
	ret = tide__channel_send(&s->channel[0], f, bytes, len, err);
	free(bytes);
	/* Who offers to hear signs of life hears them from here on. */
	if (f->type == TIDE__FRAME_HELLO)
		s->channel[0].keeps_alive = true;
	return ret ? ret : tide__expect(s, TIDE__FRAME_WELCOME, f, err);
}

/* What the receiver accepted of what HELLO offered. */
static void agree(struct session *s, const struct tide__frame *welcome)
{
	for (unsigned int i = 0; i < s->channels; i++) {
		s->channel[i].keeps_alive = welcome->first & TIDE__OFFER_ALIVE;
		s->channel[i].stall_ns = tide__stall_agreed_ns(
			s->engine.options.stall_timeout_ns, welcome->pages);
	}
	s->pulse = tide__pulse_open(&s->channel[0]);
}

static int join_channels(struct session *s, const struct tide__hello *h,
			 struct tide_error *err)
{
	int ret = 0;

	for (unsigned int i = 1; i < s->channels && !ret; i++) {
		struct tide__frame f = { .type = TIDE__FRAME_JOIN, .first = i };

		ret = tide__channel_send(&s->channel[i], &f, h->id,
					 sizeof(h->id), err);
		if (!ret)
			ret = tide__channel_receive(&s->channel[i], &f, err);
		if (!ret && f.type == TIDE__FRAME_REFUSED)
			ret = tide_error_set(err, -EREMOTEIO, "receiver",
					     TIDE_NO_OFFSET, "%s",
					     (const char *)
						     s->channel[i].payload);
		if (!ret && f.type != TIDE__FRAME_JOINED)
			ret = tide_error_set(err, -EPROTO, "precopy", i,
					     "channel %u was answered with %s",
					     i, tide__frame_name(f.type));
	}
	return ret;
}

static int make_packers(struct session *s, struct tide_error *err)
{
	for (unsigned int i = 0; i < s->channels; i++) {
		struct packer *p = &s->packer[i];

		p->context = ZSTD_createCCtx();
		p->bytes = malloc(ZSTD_compressBound(TIDE__PIECE_BYTES));
		if (!p->context || !p->bytes)
			return tide_error_set(err, -ENOMEM, "precopy",
					      TIDE_NO_OFFSET,
					      "no memory to compress");
	}
	return 0;
}

void tide__wire_sink_fini(struct session *s)
{
	for (unsigned int i = 0; i < s->channels; i++) {
		ZSTD_freeCCtx(s->packer[i].context);
		free(s->packer[i].bytes);
	}
}

static int greet(struct tide__sink *sink, const struct tide__layout *layout,
		 struct tide_error *err)
{
	struct session *s = of(sink);
	const struct tide_precopy_options *o = &s->engine.options;
	struct tide__frame f = {
		.type = TIDE__FRAME_HELLO,
		.first = TIDE__OFFERS_KNOWN,
		.pages = tide__stall_ms(o->stall_timeout_ns),
	};
	struct tide__hello h;
	int ret;

	fill_hello(s, &h, layout);
	h.features = (o->checksum ? TIDE__FEATURE_CHECKSUM : 0) |
		     (o->zstd_level ? TIDE__FEATURE_ZSTD : 0);
	/* A name of this attempt, for the channels to join. */
	if (getrandom(h.id, sizeof(h.id), 0) != sizeof(h.id))
		return tide_error_set(err, -EIO, "precopy", TIDE_NO_OFFSET,
				      "the kernel gave no random bytes");
	ret = o->zstd_level ? make_packers(s, err) : 0;
	if (!ret)
		ret = send_hello(s, &f, &h, err);
	if (!ret)
		agree(s, &f);
	if (!ret)
		ret = join_channels(s, &h, err);
	/* The greeting itself is always checked. */
	for (unsigned int i = 0; i < s->channels; i++)
		s->channel[i].checksum = o->checksum;
	return ret;
}

static int change(struct tide__sink *sink, const struct tide__layout *layout,
		  struct tide_error *err)
{
	struct tide__frame f = { .type = TIDE__FRAME_SLOTS };
	struct tide__hello h;

	fill_hello(of(sink), &h, layout);
	return send_hello(of(sink), &f, &h, err);
}

static int begin(struct tide__sink *sink, unsigned int round,
		 enum tide_round_kind kind, struct tide_error *err)
{
	return tide__channel_say(&of(sink)->channel[0], TIDE__FRAME_ROUND,
				 round, (uint32_t)kind, NULL, err);
}

static int send_data(struct tide__sink *sink, unsigned int lane, uint64_t first,
		     uint32_t pages, const void *data, struct tide_error *err)
{
	struct session *s = of(sink);
	struct packer *p = &s->packer[lane];
	struct tide__frame frame = { .type = TIDE__FRAME_PAGES,
				     .first = first, .pages = pages };
	size_t len = pages * (size_t)TIDE_PAGE_BYTES;

	if (p->context) {
		size_t n = ZSTD_compressCCtx(
		    p->context, p->bytes, ZSTD_compressBound(TIDE__PIECE_BYTES),
		    data, len, s->engine.options.zstd_level);

		if (!ZSTD_isError(n) && n < len) {
			frame.flags = TIDE__FRAME_ZSTD;
			data = p->bytes;
			len = n;
		}
	}
	tide__round_pace(&s->engine, lane, len + TIDE__FRAME_BYTES);
	return tide__channel_send(&s->channel[lane], &frame, data, len, err);
}

static int send_zeros(struct tide__sink *sink, unsigned int lane,
		      uint64_t first, uint32_t pages, struct tide_error *err)
{
	return tide__channel_say(&of(sink)->channel[lane], TIDE__FRAME_ZERO,
				 first, pages, NULL, err);
}

static int end(struct tide__sink *sink, unsigned int lane, unsigned int round,
	       struct tide_error *err)
{
	return tide__channel_say(&of(sink)->channel[lane],
				 TIDE__FRAME_ROUND_END, round, 0, NULL, err);
}

static int await_ack(struct tide__sink *sink, unsigned int round,
		     struct tide_error *err)
{
	struct tide__frame f;
	int ret = tide__expect(of(sink), TIDE__FRAME_ROUND_ACK, &f, err);

	if (!ret && f.first != round)
		ret = tide_error_set(err, -EPROTO, "round", TIDE_NO_OFFSET,
				     "the receiver acknowledged round %" PRIu64
				     " instead of %u", f.first, round);
	return ret;
}

/*
 * The receiver speaks inside a round only to end it: the ack comes after
 * ROUND_END, which is not sent before all pages are given out.
 */
static bool has_ended(struct tide__sink *sink)
{
	return tide__channel_has_input(&of(sink)->channel[0]);
}

static uint64_t bytes_sent(const struct tide__sink *sink)
{
	const struct session *s = (const struct session *)sink;
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < s->channels; i++)
		bytes += tide__load_relaxed(&s->channel[i].bytes_sent);
	return bytes;
}

static void keep_alive(struct tide__sink *sink, unsigned int lane)
{
	tide__channel_keep_alive(&of(sink)->channel[lane]);
}

static void pulse_begin(struct tide__sink *sink)
{
	tide__pulse_begin(of(sink)->pulse);
}

static void pulse_end(struct tide__sink *sink)
{
	tide__pulse_end(of(sink)->pulse);
}

const struct tide__sink_ops tide__wire_sink_ops = {
	.open = greet,
	.change = change,
	.begin = begin,
	.data = send_data,
	.zeros = send_zeros,
	.end = end,
	.commit = await_ack,
	.has_ended = has_ended,
	.bytes = bytes_sent,
	.idle = keep_alive,
	.wait_begin = pulse_begin,
	.wait_end = pulse_end,
};
