/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The end, at the receiver: state, READY, GO, and the guest runs here.
 *
 * GO has a time limit, which READY tells the source: it counts from before
 * READY was sent, by a clock of this host that goes on while the host sleeps.
 * The source cannot have sent GO earlier than that, and does not tell anybody
 * that the outcome is unknown before the limit, and more, has passed since its
 * GO. So a receiver that was stopped or starved in between finds its time over
 * and does not run a guest that somebody may have resumed at the source.
 * docs/format-migration.md argues it in full.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "peer/receive.h"
#include "rounds/engine.h"

static const char origin[] = "receive";

/* One piece of state. */
static int take_state(struct receiver *r, const struct tide__frame *f,
		      struct tide_error *err)
{
	size_t end = r->state_bytes + f->payload_bytes;

	if (f->first != r->state_bytes || !f->payload_bytes ||
	    end > TIDE_PRECOPY_MAX_STATE_BYTES)
		return tide_error_set(err, -EPROTO, origin, f->sequence,
				      "a piece of state at %" PRIu64
				      " where %zu was due", f->first,
				      r->state_bytes);
	if (end > r->state_room) {
		size_t room = end * 2;
		char *state = realloc(r->state, room);

		if (!state)
			return tide_error_set(err, -ENOMEM, origin,
					      TIDE_NO_OFFSET, "no memory for "
					      "%zu bytes of state", end);
		r->state = state;
		r->state_room = room;
	}
	memcpy(r->state + r->state_bytes, r->channel[0].payload,
	       f->payload_bytes);
	r->state_bytes = end;
	return 0;
}

static int read_state(struct receiver *r, struct tide__frame *f,
		      struct tide_error *err)
{
	int ret = 0;

	while (!ret && f->type == TIDE__FRAME_STATE) {
		ret = take_state(r, f, err);
		if (!ret)
			ret = tide__next_frame(r, &r->channel[0], f, err);
	}
	if (ret)
		return ret;
	if (f->first != r->state_bytes)
		return tide_error_set(err, -EPROTO, origin, f->sequence,
				      "STATE_END says %" PRIu64 " bytes of "
				      "state, and %zu came", f->first,
				      r->state_bytes);
	tide__pulse_begin(r->pulse);
	ret = tide__called(r->ops->load_state(r->opaque, r->state,
					      r->state_bytes, err),
			   "load_state", err);
	tide__pulse_end(r->pulse);
	if (!ret)
		tide__order_loaded(&r->order);
	return ret;
}

/* Half of the silence that is borne, but time for a slow host. */
static uint64_t go_limit_ms(const struct receiver *r)
{
	uint64_t ms = r->stall_ns / 2000000u;

	return ms > 500 ? ms : 500;
}

static int await_go(struct receiver *r, uint64_t *until_ns,
		    struct tide_error *err)
{
	struct tide__channel *c = &r->channel[0];
	uint64_t limit_ms = go_limit_ms(r);
	struct tide__frame f;
	int ret;

	*until_ns = tide__boot_ns() + limit_ms * 1000000u;
	ret = tide__channel_say(c, TIDE__FRAME_READY, limit_ms, 0, NULL, err);
	if (!ret)
		ret = tide__next_frame(r, c, &f, err);
	return ret;
}

int tide__take_over(struct receiver *r, struct tide__frame *f, bool *running,
		    struct tide_error *err)
{
	uint64_t until_ns;
	int ret = read_state(r, f, err);

	if (!ret)
		ret = await_go(r, &until_ns, err);
	if (ret)
		return ret;
	/* The last look at the clock, right before the guest runs. */
	if (tide__boot_ns() >= until_ns)
		return tide_error_set(err, -ETIMEDOUT, origin, TIDE_NO_OFFSET,
				      "GO was taken later than %" PRIu64
				      " ms after READY: the source may have "
				      "given up, so the guest is not run here",
				      go_limit_ms(r));
	tide__pulse_begin(r->pulse);
	ret = tide__called(r->ops->resume(r->opaque, err), "resume", err);
	tide__pulse_end(r->pulse);
	if (ret)
		return ret;
	*running = true;
	/* The guest runs here whether or not the source hears of it. */
	tide__channel_say(&r->channel[0], TIDE__FRAME_DONE, 0, 0, NULL, NULL);
	return 0;
}
