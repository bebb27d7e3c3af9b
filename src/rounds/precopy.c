/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The sending side: greeting, bulk round, dirty rounds, hand-over, and the one
 * place where a failed attempt is undone.
 *
 * States: greeting -> bulk -> dirty* -> handover -> moved; from any of them
 * before GO to "rolled back": the open epoch is rolled back, all of memory is
 * dirty again (the next receiver has nothing), the throttle is lifted, and the
 * guest runs on if it was paused.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "rounds/precopy.h"

void tide_precopy_defaults(struct tide_precopy_options *options)
{
	*options = (struct tide_precopy_options){
		.struct_size = sizeof(*options),
		.page_bytes = 4096,
		.downtime_target_ns = 300000000u,
		.stall_timeout_ns = 10000000000u,
		.max_rounds = 30,
		.max_throttle_percent = 99,
		.checksum = true,
	};
}

/*
 * The next frame from the receiver, which must be of @type. A REFUSED is
 * -EREMOTEIO with the receiver's own words.
 */
int tide__expect(struct attempt *a, unsigned int type, struct tide__frame *f,
		 struct tide_error *err)
{
	struct tide__channel *c = &a->channel[0];
	int rc = tide__channel_receive(c, f, err);

	if (rc)
		return rc;
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

/* Collect the slots, and give this attempt a name for the channels to join. */
static int fill_hello(struct attempt *a, struct tide__hello *h,
		      struct tide_error *err)
{
	int rc = tide__slots_collect(a->slots, &a->known, err);

	if (rc)
		return rc;
	*h = (struct tide__hello){
		.version = TIDE__WIRE_VERSION,
		.page_bytes = a->options.page_bytes,
		.channels = a->channels,
		.features = (a->options.checksum ? TIDE__FEATURE_CHECKSUM : 0) |
			    (a->options.zstd_level ? TIDE__FEATURE_ZSTD : 0),
		.slots = a->known.count,
		.slot = a->known.slot,
	};
	if (getrandom(h->id, sizeof(h->id), 0) != sizeof(h->id))
		return tide_error_set(err, -EIO, "precopy", TIDE_NO_OFFSET,
				      "the kernel gave no random bytes");
	return 0;
}

static int join_channels(struct attempt *a, const struct tide__hello *h,
			 struct tide_error *err)
{
	int rc = 0;

	for (unsigned int i = 1; i < a->channels && !rc; i++) {
		struct tide__frame f = { .type = TIDE__FRAME_JOIN, .first = i };

		rc = tide__channel_send(&a->channel[i], &f, h->id,
					sizeof(h->id), err);
		if (!rc)
			rc = tide__channel_receive(&a->channel[i], &f, err);
		if (!rc && f.type != TIDE__FRAME_JOINED)
			rc = tide_error_set(err, -EPROTO, "precopy", i,
					    "channel %u was answered with %s",
					    i, tide__frame_name(f.type));
	}
	return rc;
}

/* What the receiver accepted of what HELLO offered. */
static void agree(struct attempt *a, const struct tide__frame *welcome)
{
	for (unsigned int i = 0; i < a->channels; i++) {
		a->channel[i].keeps_alive = welcome->first & TIDE__OFFER_ALIVE;
		a->channel[i].stall_ns = tide__stall_agreed_ns(
			a->options.stall_timeout_ns, welcome->pages);
	}
	a->pulse = tide__pulse_open(&a->channel[0]);
}

static int greet(struct attempt *a, struct tide_error *err)
{
	struct tide__frame f = {
		.type = TIDE__FRAME_HELLO,
		.first = TIDE__OFFERS_KNOWN,
		.pages = tide__stall_ms(a->options.stall_timeout_ns),
	};
	struct tide__hello h;
	unsigned char *bytes = NULL;
	size_t len;
	int rc = fill_hello(a, &h, err);

	if (!rc) {
		bytes = tide__hello_put(&h, &len);
		rc = bytes ? tide__channel_send(&a->channel[0], &f, bytes, len,
						err)
			   : tide_error_set(err, -ENOMEM, "precopy",
					    TIDE_NO_OFFSET, "no memory");
	}
	/* Who offers to hear signs of life hears them from here on. */
	a->channel[0].keeps_alive = true;
	if (!rc)
		rc = tide__expect(a, TIDE__FRAME_WELCOME, &f, err);
	if (!rc)
		agree(a, &f);
	if (!rc)
		rc = join_channels(a, &h, err);
	/* The greeting itself is always checked. */
	for (unsigned int i = 0; i < a->channels; i++)
		a->channel[i].checksum = a->options.checksum;
	free(bytes);
	return rc;
}

static void mark_everything(struct attempt *a)
{
	struct tide_slot slot;
	uint64_t from = 0;

	while (tide_slots_next(a->slots, from, &slot)) {
		tide_set_mark_range(a->set, slot.gpa_bytes / 4096,
				    slot.len_bytes / 4096);
		from = slot.gpa_bytes + slot.len_bytes;
		if (!from)
			break;
	}
}

int tide__harvest_and_cut(struct attempt *a, struct tide_error *err)
{
	uint64_t start = tide__now_ns(), since;
	int rc;

	tide__pulse_begin(a->pulse);
	rc = a->ops->harvest(a->opaque, a->set, err);
	tide__pulse_end(a->pulse);

	if (!rc)
		rc = tide__slots_sync(a, err);
	if (!rc)
		rc = tide_set_cut(a->set, &a->epoch, err);
	if (rc)
		return rc;
	since = start - a->last_harvest_ns;
	a->round.harvest_ns = tide__now_ns() - start;
	a->round.dirty_pages_per_s =
	    a->last_harvest_ns && since
		? (uint64_t)((double)tide_epoch_count(a->epoch) * 1e9 /
			     (double)since)
		: 0;
	a->last_harvest_ns = start;
	a->round_start_ns = start;
	return 0;
}

/* Bulk, then dirty rounds until the guest may be stopped. */
static int rounds(struct attempt *a, struct tide_error *err)
{
	uint64_t pages = 0;
	int rc;

	mark_everything(a);
	rc = tide__harvest_and_cut(a, err);
	a->last_harvest_ns = tide__now_ns();
	a->round.dirty_pages_per_s = 0;
	a->round.kind = TIDE_ROUND_BULK;
	while (!rc) {
		pages = tide_epoch_count(a->epoch);
		rc = tide__round_send(a, err);
		if (rc)
			break;
		a->round.number++;
		a->round.kind = TIDE_ROUND_DIRTY;
		rc = tide__harvest_and_cut(a, err);
		if (rc)
			break;
		/* Only this harvest tells what the guest did in that round. */
		a->done.dirty_pages_per_s = a->round.dirty_pages_per_s;
		a->done.predicted_downtime_ns = tide__policy_downtime_ns(a);
		tide__round_report(a);
		if (tide__policy_may_stop(a))
			break;
		rc = tide__policy_after_round(a, pages, err);
		if (rc == -ELOOP && a->options.auto_stop_over_target)
			return 0;
	}
	return rc;
}

static int run(struct attempt *a, enum tide_precopy_outcome *outcome,
	       struct tide_error *err)
{
	int rc = greet(a, err);

	if (!rc)
		rc = rounds(a, err);
	if (rc == -ELOOP)
		*outcome = TIDE_PRECOPY_NOT_CONVERGING;
	if (rc)
		return rc;
	/* The last cut is made when nothing writes: give this one back. */
	tide_epoch_rollback(a->epoch);
	a->epoch = NULL;
	return tide__handover(a, outcome, err);
}

/*
 * The receiver's own words, if it has said why it left; else ours stand. Its
 * words are there already: it sends them before it closes.
 */
static void hear_reason(struct attempt *a, struct tide_error *err)
{
	struct tide__channel *c = &a->channel[0];
	struct tide__frame f;

	c->cancel = c->stop = NULL;
	c->stall_ns = 200000000u;
	c->alive = NULL;
	while (tide__channel_has_input(c) &&
	       !tide__channel_receive(c, &f, NULL)) {
		if (f.type != TIDE__FRAME_REFUSED)
			continue;
		tide_error_set(err, err->code, "receiver", TIDE_NO_OFFSET,
			       "%s", (const char *)c->payload);
		return;
	}
}

static void undo(struct attempt *a, struct tide_error *err)
{
	struct tide_error ignored;

	if (a->epoch)
		tide_epoch_rollback(a->epoch);
	a->epoch = NULL;
	mark_everything(a);
	if (err->code != -EREMOTEIO)
		hear_reason(a, err);
	a->channel[0].stall_ns = 200000000u;
	a->channel[0].alive = NULL;
	a->channel[0].cancel = a->channel[0].stop = NULL;
	tide__channel_say(&a->channel[0], TIDE__FRAME_CANCEL, 0, 0, err->text,
			  &ignored);
	if (a->paused)
		a->ops->resume(a->opaque, &ignored);
}

static void init_attempt(struct attempt *a, const int *fds, unsigned int count,
			 const struct tide_precopy_options *options)
{
	pthread_condattr_t attr;

	a->options = *options;
	a->channels = count;
	a->alive.channel = a->channel;
	a->alive.channels = &a->channels;
	for (unsigned int i = 0; i < count; i++) {
		tide__channel_init(&a->channel[i], fds[i], i);
		a->channel[i].stall_ns = options->stall_timeout_ns;
		a->channel[i].alive = &a->alive;
		a->channel[i].cancel = options->cancel;
		a->channel[i].stop = &a->stop;
	}
	pthread_mutex_init(&a->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&a->changed, &attr);
	pthread_condattr_destroy(&attr);
}

static void fini_attempt(struct attempt *a)
{
	tide__pulse_close(a->pulse);
	for (unsigned int i = 0; i < a->channels; i++)
		tide__channel_fini(&a->channel[i]);
	pthread_cond_destroy(&a->changed);
	pthread_mutex_destroy(&a->lock);
	free(a->known.slot);
	free(a);
}

static int check_options(const struct tide_precopy_options *o,
			 unsigned int count, struct tide_error *err)
{
	if (o->struct_size != sizeof(*o) || o->page_bytes != 4096 || !count ||
	    count > TIDE_PRECOPY_MAX_CHANNELS || !o->stall_timeout_ns)
		return tide_error_set(err, -EINVAL, "precopy", TIDE_NO_OFFSET,
				      "options: begin with "
				      "tide_precopy_defaults; 1 to %d channels",
				      TIDE_PRECOPY_MAX_CHANNELS);
	return 0;
}

int tide_precopy_run(const int *channels, unsigned int count,
		     const struct tide_slots *slots, struct tide_set *set,
		     const struct tide_precopy_ops *ops, void *opaque,
		     const struct tide_precopy_options *options,
		     struct tide_precopy_result *result, struct tide_error *err)
{
	uint64_t start = tide__now_ns(), paused_at = 0;
	struct tide_error own;
	struct attempt *a;
	int rc;

	memset(result, 0, sizeof(*result));
	result->outcome = TIDE_PRECOPY_ROLLED_BACK;
	rc = check_options(options, count, err);
	if (rc)
		return rc;
	a = calloc(1, sizeof(*a));
	if (!a)
		return tide_error_set(err, -ENOMEM, "precopy", TIDE_NO_OFFSET,
				      "no memory for a migration");
	a->slots = slots;
	a->set = set;
	a->ops = ops;
	a->opaque = opaque;
	init_attempt(a, channels, count, options);
	tide_error_clear(&own);
	rc = run(a, &result->outcome, &own);
	if (a->throttle_percent)
		ops->throttle(opaque, 0);
	if (rc && result->outcome != TIDE_PRECOPY_UNKNOWN)
		undo(a, &own);
	if (rc && err)
		*err = own;
	paused_at = a->paused_ns;
	result->rounds = a->round.number + 1;
	for (unsigned int i = 0; i < count; i++)
		result->bytes_sent += a->channel[i].bytes_sent;
	result->pages = a->pages_sent;
	result->total_ns = tide__now_ns() - start;
	if (paused_at && !rc)
		result->downtime_ns = tide__now_ns() - paused_at;
	fini_attempt(a);
	return rc;
}
