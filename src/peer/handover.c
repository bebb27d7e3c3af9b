/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hand-over: from the pause to the answer, on the source.
 *
 *	pause, last harvest and cut, last round, its ack
 *	STATE..., STATE_END	->
 *				<-	READY (all is loaded), or REFUSED
 *	GO			->
 *				<-	DONE (it runs there), or REFUSED
 *
 * Until the last byte of GO is handed to the kernel the guest is ours: any
 * failure resumes it here, since a receiver without GO never runs it. From
 * then on only DONE or REFUSED decides. If neither comes, the guest stays
 * paused and the outcome is UNKNOWN: it may run there already, and it must
 * never run twice.
 *
 * UNKNOWN is not said before the receiver's own time for GO is over, which it
 * counts from READY: who is told UNKNOWN and finds no guest there may rely on
 * that none begins there later, even if the receiver was stopped meanwhile.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "peer/session.h"

#define STATE_PIECE_BYTES (256u << 10)

static int send_state(struct session *s, struct tide_error *err)
{
	const struct tide__engine *e = &s->engine;
	struct tide__channel *c = &s->channel[0];
	char *state = NULL;
	size_t len = 0, at = 0;
	int ret;

	tide__pulse_begin(s->pulse);
	ret = tide__called(e->ops->save_state(e->opaque, (void **)&state, &len,
					      err), "save_state", err);
	tide__pulse_end(s->pulse);
	if (!ret && len > TIDE_PRECOPY_MAX_STATE_BYTES)
		ret = tide_error_set(err, -EFBIG, "handover", TIDE_NO_OFFSET,
				     "%zu bytes of device state are too many",
				     len);
	while (!ret && at < len) {
		struct tide__frame f = { .type = TIDE__FRAME_STATE,
					 .first = at };
		size_t n = len - at < STATE_PIECE_BYTES ? len - at
							: STATE_PIECE_BYTES;

		ret = tide__channel_send(c, &f, state + at, n, err);
		at += n;
	}
	free(state);
	if (!ret)
		ret = tide__channel_say(c, TIDE__FRAME_STATE_END, len, 0, NULL,
					err);
	return ret;
}

/* The receiver's limit by our clock, if the two run apart by an eighth. */
static uint64_t go_limit_ns(const struct session *s)
{
	uint64_t ms = s->go_limit_ms < 3600000u ? s->go_limit_ms : 3600000u;

	return ms ? (ms + ms / 8 + 100) * 1000000u : 0;
}

/* Until no receiver that obeys its own limit can take GO any more. */
static void outwait(const struct session *s, uint64_t sent_ns)
{
	uint64_t end = sent_ns + go_limit_ns(s), now;

	while ((now = tide__now_ns()) < end) {
		uint64_t left = end - now;
		struct timespec ts = { (time_t)(left / 1000000000u),
				       (long)(left % 1000000000u) };

		nanosleep(&ts, NULL);
	}
}

static int unknown(const struct session *s, int ret,
		   const struct tide_error *why, struct tide_error *err)
{
	return tide_error_set(
		err, ret, "handover", why->offset,
		"GO was sent and no answer came (%s): the guest "
		"may run there, so it stays paused here; look "
		"there, and resume by force only if it does not%s",
		why->text,
		s->go_limit_ms ? ": it does not begin to later" : "");
}

/* GO, and the answer to it. */
static int go(struct session *s, enum tide_precopy_outcome *outcome,
	      struct tide_error *err)
{
	struct tide__channel *c = &s->channel[0];
	uint64_t before = c->bytes_sent, sent_ns;
	struct tide_error why;
	struct tide__frame f;
	int ret;

	tide_error_clear(&why);
	/* From here on a wish to cancel comes too late. */
	c->cancel = NULL;
	if (c->stall_ns < go_limit_ns(s))
		c->stall_ns = go_limit_ns(s);
	ret = tide__channel_say(c, TIDE__FRAME_GO, 0, 0, NULL, &why);
	sent_ns = tide__now_ns();
	if (ret && c->bytes_sent - before < TIDE__FRAME_BYTES) {
		if (err)
			*err = why;
		return ret;		/* it cannot have heard GO */
	}
	if (!ret)
		ret = tide__expect(s, TIDE__FRAME_DONE, &f, &why);
	if (!ret) {
		*outcome = TIDE_PRECOPY_MOVED;
		return 0;
	}
	if (ret == -EREMOTEIO) {		/* a clear REFUSED */
		if (err)
			*err = why;
		return ret;
	}
	*outcome = TIDE_PRECOPY_UNKNOWN;
	outwait(s, sent_ns);
	return unknown(s, ret, &why, err);
}

int tide__handover(struct session *s, enum tide_precopy_outcome *outcome,
		   struct tide_error *err)
{
	struct tide__engine *e = &s->engine;
	struct tide__frame f;
	int ret = tide__engine_stop(e, err);

	if (!ret)
		ret = send_state(s, err);
	if (!ret)
		ret = tide__expect(s, TIDE__FRAME_READY, &f, err);
	if (!ret)
		ret = tide__engine_check_still(e, err);
	if (!ret) {
		s->go_limit_ms = f.first;
		ret = go(s, outcome, err);
	}
	if (!ret)
		tide__engine_report(e);
	return ret;
}
