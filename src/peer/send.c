/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Moving a guest, the sending side: the engine's rounds over the wire, the
 * hand-over, and the one place where a failed attempt is undone.
 *
 * From any state before GO to "rolled back": nothing that was sent counts, all
 * of memory is dirty again (the next receiver has nothing), the throttle is
 * lifted, the receiver is told why, and the guest runs on if it was paused.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "peer/session.h"
#include "rounds/options.h"

/* Nobody waits long for a peer that is given up. */
static struct tide__channel *parting_channel(struct session *s)
{
	struct tide__channel *c = &s->channel[0];

	c->cancel = c->stop = NULL;
	c->alive = NULL;
	c->stall_ns = 200000000u;
	return c;
}

/*
 * The receiver's own words, if it has said why it left; else ours stand. Its
 * words are there already: it sends them before it closes.
 */
static void hear_reason(struct session *s, struct tide_error *err)
{
	struct tide__channel *c = parting_channel(s);
	struct tide__frame f;

	while (tide__channel_has_input(c) &&
	       !tide__channel_receive(c, &f, NULL)) {
		if (f.type != TIDE__FRAME_REFUSED)
			continue;
		tide_error_set(err, err->code, "receiver", TIDE_NO_OFFSET,
			       "%s", (const char *)c->payload);
		return;
	}
}

static void undo(struct session *s, struct tide_error *err)
{
	tide__engine_undo(&s->engine);
	if (err->code != -EREMOTEIO)
		hear_reason(s, err);
	tide__channel_say(parting_channel(s), TIDE__FRAME_CANCEL, 0, 0,
			  err->text, NULL);
	tide__engine_resume(&s->engine);
}

static int open_channels(struct session *s, const int *fds, unsigned int count,
			 struct tide_error *err)
{
	const struct tide_precopy_options *o = &s->engine.options;
	int failed = 0;

	s->channels = count;
	s->alive.channel = s->channel;
	s->alive.channels = &s->channels;
	for (unsigned int i = 0; i < count; i++) {
		struct tide__channel *c = &s->channel[i];
		int ret;

		tide__channel_init(c, fds[i], i);
		c->stall_ns = o->stall_timeout_ns;
		c->alive = &s->alive;
		c->cancel = o->cancel;
		c->stop = &s->engine.stop;
		ret = tide__channel_wrap(c, o->stream_ops, o->stream_opaque,
					 err);
		failed = failed ? failed : ret;
	}
	return failed;
}

static void fini(struct session *s)
{
	tide__pulse_close(s->pulse);
	tide__wire_sink_fini(s);
	for (unsigned int i = 0; i < s->channels; i++)
		tide__channel_fini(&s->channel[i]);
	tide__engine_fini(&s->engine);
	free(s);
}

static int run(struct session *s, enum tide_precopy_outcome *outcome,
	       struct tide_error *err)
{
	struct tide__engine *e = &s->engine;
	int ret = tide__engine_rounds(e, err);

	if (!ret)
		ret = tide__handover(s, outcome, err);
	else if (ret == -ELOOP)
		*outcome = TIDE_PRECOPY_NOT_CONVERGING;
	if (e->policy.throttle_percent)
		e->ops->throttle(e->opaque, 0);
	if (ret && *outcome != TIDE_PRECOPY_UNKNOWN)
		undo(s, err);
	return ret;
}

static void fill_result(const struct session *s, bool moved, uint64_t start_ns,
			struct tide_precopy_result *result)
{
	const struct tide__engine *e = &s->engine;
	uint64_t now = tide__now_ns();

	result->rounds = e->round.number + 1;
	result->bytes_sent = s->sink.ops->bytes(&s->sink);
	result->pages = e->pages_sent;
	result->total_ns = now - start_ns;
	result->predicted_downtime_ns = e->predicted_ns;
	if (!moved || !e->paused_ns)
		return;
	result->downtime_ns = now - e->paused_ns;
	result->target_missed =
	    result->downtime_ns > e->options.downtime_target_ns;
}

int tide_precopy_run(const int *channels, unsigned int count,
		     const struct tide_slots *slots, struct tide_set *set,
		     const struct tide_precopy_ops *ops, void *opaque,
		     const struct tide_precopy_options *options,
		     struct tide_precopy_result *result, struct tide_error *err)
{
	uint64_t start = tide__now_ns();
	struct tide_precopy_options own_options;
	struct tide_error own;
	struct session *s;
	int ret;

	memset(result, 0, sizeof(*result));
	result->outcome = TIDE_PRECOPY_ROLLED_BACK;
	ret = tide__options_take(&own_options, options, err);
	if (ret)
		return ret;
	if (!count || count > TIDE_PRECOPY_MAX_CHANNELS)
		return tide_error_set(err, -EINVAL, "precopy", TIDE_NO_OFFSET,
				      "there are 1 to %d channels, not %u",
				      TIDE_PRECOPY_MAX_CHANNELS, count);
	s = calloc(1, sizeof(*s));
	if (!s)
		return tide_error_set(err, -ENOMEM, "precopy", TIDE_NO_OFFSET,
				      "no memory for a migration");
	s->sink = (struct tide__sink){ &tide__wire_sink_ops, count };
	tide__slot_space_init(&s->space, slots, ops, opaque);
	tide__engine_init(&s->engine, &s->space.space, &s->sink, set, ops,
			  opaque, &own_options);
	tide_error_clear(&own);
	ret = open_channels(s, channels, count, &own);
	if (!ret)
		ret = run(s, &result->outcome, &own);
	if (ret && err)
		*err = own;
	fill_result(s, !ret, start, result);
	fini(s);
	return ret;
}
