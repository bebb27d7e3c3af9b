/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The receiving side.
 *
 * The caller's thread reads the control channel, one more thread each further
 * channel. Rounds are barriers: when every channel has shown ROUND_END, all of
 * the round is in memory, and the ack goes out; the source sends nothing more
 * before it has it.
 *
 * What is allowed when: ROUND, then PAGES and ZERO, then ROUND_END; between
 * rounds SLOTS; after a stop round STATE..., STATE_END; after READY only GO.
 * Anything else, a damaged frame, silence, or the end of the stream ends the
 * attempt: the source is told why (REFUSED), and the guest is not run. Only GO,
 * after READY, resumes it.
 */
#include "peer/receive.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"

static const char origin[] = "receive";

static int unexpected(const struct tide__channel *c,
		      const struct tide__frame *f, const char *due,
		      struct tide_error *err)
{
	if (f->type == TIDE__FRAME_CANCEL)
		return tide_error_set(err, -ECANCELED, "source", TIDE_NO_OFFSET,
				      "the source called it off: %s",
				      c->payload ? (const char *)c->payload
						 : "");
	return tide_error_set(err, -EPROTO, origin, f->sequence,
			      "channel %u: %s frame where %s was due",
			      c->number, tide__frame_name(f->type), due);
}

static void fail(struct arrival *r, int rc, const struct tide_error *err)
{
	pthread_mutex_lock(&r->lock);
	if (!r->rc) {
		r->rc = rc;
		r->err = *err;
	}
	tide__store_relaxed(&r->stop, true);
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
}

/*
 * The order of frames over all channels is enforced here, not hoped from the
 * source. Each channel counts the rounds that it has ended. It may bring pages
 * only if that is the number of rounds that the receiver has acknowledged, so
 * that none is ahead; not while slots change, whose memory may be going; and
 * not after the stop round. change_slots, on its side, asks that no channel is
 * inside a round. So memory never changes under a page that arrives.
 */
static int enter_round(struct arrival *r, struct tide__channel *c,
		       const struct tide__frame *f, struct tide_error *err)
{
	const char *fault = NULL;

	pthread_mutex_lock(&r->lock);
	if (r->inside[c->number])
		goto out;
	if (r->changing)
		fault = "while memory slots change";
	else if (r->stopped)
		fault = "after the last round";
	else if (r->rounds_ended[c->number] != r->generation)
		fault = "ahead of the other channels' round";
	else
		r->inside[c->number] = true;
out:
	pthread_mutex_unlock(&r->lock);
	return fault ? tide_error_set(err, -EPROTO, origin, f->sequence,
				      "channel %u: pages %s", c->number,
				      fault) : 0;
}

/*
 * Read frames of the round until its end. The caller knows what ends it, and
 * which round this channel is in: the control channel's ROUND may still be on
 * its way when another channel brings the first pages.
 */
static int read_round(struct arrival *r, struct tide__channel *c, bool fresh,
		      struct tide__frame *f, struct tide_error *err)
{
	for (;;) {
		int rc = tide__channel_receive_head(c, f, err);

		if (rc)
			return rc;
		if (f->type == TIDE__FRAME_PAGES ||
		    f->type == TIDE__FRAME_ZERO) {
			rc = enter_round(r, c, f, err);
			if (!rc)
				rc = tide__apply(r, c, f, fresh, err);
			if (rc)
				return rc;
			tide__add_relaxed(&r->pages, f->pages);
			continue;
		}
		return tide__channel_receive_payload(c, f, err);
	}
}

/* ROUND_END of a channel, once a round. */
static int note_end(struct arrival *r, const struct tide__channel *c,
		    const struct tide__frame *f, struct tide_error *err)
{
	bool due;

	pthread_mutex_lock(&r->lock);
	due = !r->changing && !r->stopped &&
	      r->rounds_ended[c->number] == r->generation;
	if (due) {
		r->inside[c->number] = false;
		r->rounds_ended[c->number]++;
		r->ended++;
		pthread_cond_broadcast(&r->changed);
	}
	pthread_mutex_unlock(&r->lock);
	return due ? 0 : tide_error_set(err, -EPROTO, origin, f->sequence,
					"channel %u: a round ends that has not "
					"begun", c->number);
}

/* A further channel: round after round, until the stream ends or fails. */
struct reader {
	struct arrival *r;
	struct tide__channel *channel;
	pthread_t thread;
	bool started;
};

static void *reader_main(void *arg)
{
	struct reader *reader = arg;
	struct arrival *r = reader->r;
	struct tide__channel *c = reader->channel;
	struct tide__frame f;
	struct tide_error err;
	bool fresh = true;

	tide_error_clear(&err);
	for (;;) {
		int rc = read_round(r, c, fresh, &f, &err);

		if (!rc && f.type != TIDE__FRAME_ROUND_END)
			rc = unexpected(c, &f, "a page or ROUND_END", &err);
		if (!rc)
			rc = note_end(r, c, &f, &err);
		/* The source may close a channel once the guest is whole. */
		if (rc == -ENODATA && tide__load_relaxed(&r->state_bytes))
			return NULL;
		if (rc) {
			fail(r, rc, &err);
			return NULL;
		}
		fresh = false;
	}
}

static int wait_for_ends(struct arrival *r, struct tide_error *err)
{
	uint64_t deadline = tide__now_ns() + r->options.stall_timeout_ns;
	int rc = 0;

	pthread_mutex_lock(&r->lock);
	while (r->ended < r->channels && !r->rc && !rc) {
		struct timespec ts;

		clock_gettime(CLOCK_MONOTONIC, &ts);
		ts.tv_sec++;
		pthread_cond_timedwait(&r->changed, &r->lock, &ts);
		/* Its own reader notices a stall; this is the safety net. */
		if (tide__now_ns() > deadline + 2000000000u)
			rc = tide_error_set(err, -ETIMEDOUT, origin,
					    TIDE_NO_OFFSET, "a channel did not "
					    "reach the end of the round");
	}
	if (r->rc) {
		rc = r->rc;
		*err = r->err;
	}
	r->ended = 0;
	pthread_mutex_unlock(&r->lock);
	return rc;
}

static uint64_t all_bytes(const struct arrival *r)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < r->channels; i++)
		bytes += tide__load_relaxed(&r->channel[i].bytes_received);
	return bytes;
}

static int one_round(struct arrival *r, const struct tide__frame *begin,
		     struct tide_error *err)
{
	struct tide__channel *c = &r->channel[0];
	uint64_t pages = tide__load_relaxed(&r->pages);
	struct tide__frame f;
	int rc;

	if (begin->first > UINT32_MAX || begin->pages > TIDE_ROUND_STOP ||
	    begin->first != r->generation)
		return tide_error_set(err, -EPROTO, origin, begin->sequence,
				      "round %" PRIu64 " begins where %" PRIu64
				      " was due", begin->first, r->generation);
	rc = read_round(r, c, begin->first == 0, &f, err);
	if (!rc && f.type != TIDE__FRAME_ROUND_END)
		rc = unexpected(c, &f, "a page or ROUND_END", err);
	if (!rc)
		rc = note_end(r, c, &f, err);
	if (!rc)
		rc = wait_for_ends(r, err);
	if (rc)
		return rc;
	pthread_mutex_lock(&r->lock);
	r->generation++;
	r->stopped = begin->pages == TIDE_ROUND_STOP;
	pthread_mutex_unlock(&r->lock);
	r->round.pages = tide__load_relaxed(&r->pages) - pages;
	r->round.pages_total = r->round.pages;
	r->round.bytes = all_bytes(r) - r->round_start_bytes;
	r->round.elapsed_ns = tide__now_ns() - r->round_start_ns;
	r->round.finished = true;
	if (r->ops->progress)
		r->ops->progress(r->opaque, &r->round);
	return tide__channel_say(c, TIDE__FRAME_ROUND_ACK, begin->first, 0,
				 NULL, err);
}

static void begin_round(struct arrival *r, const struct tide__frame *f)
{
	memset(&r->round, 0, sizeof(r->round));
	r->round.number = (unsigned int)f->first;
	r->round.kind = f->first ? (enum tide_round_kind)f->pages
				 : TIDE_ROUND_BULK;
	r->round_start_ns = tide__now_ns();
	r->round_start_bytes = all_bytes(r);
}

/* One piece of state. */
static int take_state(struct arrival *r, const struct tide__frame *f,
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
	tide__store_relaxed(&r->state_bytes, end);
	return 0;
}

static int read_state(struct arrival *r, struct tide__frame *f,
		      struct tide_error *err)
{
	struct tide__channel *c = &r->channel[0];
	int rc = 0;

	while (!rc && f->type == TIDE__FRAME_STATE) {
		rc = take_state(r, f, err);
		if (!rc)
			rc = tide__channel_receive(c, f, err);
	}
	if (rc)
		return rc;
	if (f->type != TIDE__FRAME_STATE_END || f->first != r->state_bytes)
		return unexpected(c, f, "STATE_END with the right length", err);
	return r->ops->load_state(r->opaque, r->state, r->state_bytes, err);
}

/* READY, GO, run, DONE. */
static int take_over(struct arrival *r, bool *running, struct tide_error *err)
{
	struct tide__channel *c = &r->channel[0];
	struct tide__frame f;
	int rc = tide__channel_say(c, TIDE__FRAME_READY, 0, 0, NULL, err);

	if (!rc)
		rc = tide__channel_receive(c, &f, err);
	if (!rc && f.type != TIDE__FRAME_GO)
		rc = unexpected(c, &f, "GO", err);
	if (!rc)
		rc = r->ops->resume(r->opaque, err);
	if (rc)
		return rc;
	*running = true;
	/* The guest runs here whether or not the source hears of it. */
	tide__channel_say(c, TIDE__FRAME_DONE, 0, 0, NULL, NULL);
	return 0;
}

/* Nobody is inside a round, and nobody enters one until the end of it. */
static int begin_change(struct arrival *r, const struct tide__frame *f,
			struct tide_error *err)
{
	bool inside = false;

	pthread_mutex_lock(&r->lock);
	for (unsigned int i = 0; i < r->channels; i++)
		inside |= r->inside[i];
	r->changing = !inside;
	pthread_mutex_unlock(&r->lock);
	return inside ? tide_error_set(err, -EPROTO, origin, f->sequence,
				       "memory slots change while another "
				       "channel still brings pages") : 0;
}

static void end_change(struct arrival *r)
{
	pthread_mutex_lock(&r->lock);
	r->changing = false;
	pthread_mutex_unlock(&r->lock);
}

/* The source's slots have changed. */
static int change_slots(struct arrival *r, const struct tide__frame *f,
			struct tide_error *err)
{
	struct tide__channel *c = &r->channel[0];
	struct tide__hello h;
	int rc = tide__hello_get(&h, c->payload, f->payload_bytes, err);

	if (rc)
		return rc;
	rc = begin_change(r, f, err);
	if (rc) {
		free(h.slot);
		return rc;
	}
	if (!r->ops->change)
		rc = tide_error_set(err, -EOPNOTSUPP, origin, f->sequence,
				    "memory slots changed, and this receiver "
				    "cannot follow");
	else
		rc = r->ops->change(r->opaque, h.slot, h.slots, r->slots, err);
	free(h.slot);
	/* Before the source may go on, and after memory is as it shall be. */
	end_change(r);
	return rc ? rc : tide__channel_say(c, TIDE__FRAME_WELCOME, 0, 0, NULL,
					   err);
}

static int rounds(struct arrival *r, bool *running, struct tide_error *err)
{
	bool stopped = false;

	for (;;) {
		struct tide__frame f;
		int rc = tide__channel_receive(&r->channel[0], &f, err);

		if (rc)
			return rc;
		if (f.type == TIDE__FRAME_SLOTS && !stopped) {
			rc = change_slots(r, &f, err);
			if (rc)
				return rc;
			continue;
		}
		if (f.type == TIDE__FRAME_ROUND && !stopped) {
			begin_round(r, &f);
			rc = one_round(r, &f, err);
			if (rc)
				return rc;
			stopped = f.pages == TIDE_ROUND_STOP;
			continue;
		}
		if (f.type != TIDE__FRAME_STATE || !stopped)
			return unexpected(&r->channel[0], &f,
					  stopped ? "STATE" : "ROUND", err);
		rc = read_state(r, &f, err);
		return rc ? rc : take_over(r, running, err);
	}
}

/* Accept the next socket as channel @number. */
static int take_channel(struct arrival *r,
			int (*accept)(void *, struct tide_error *),
			struct tide_error *err)
{
	unsigned int number = r->channels;
	int fd = accept(r->opaque, err);

	if (fd < 0)
		return fd;
	tide__channel_init(&r->channel[number], fd, number);
	r->channel[number].stall_ns = r->options.stall_timeout_ns;
	r->channel[number].cancel = r->options.cancel;
	r->channel[number].stop = &r->stop;
	r->channel[number].alive = &r->alive;
	r->channels++;
	return 0;
}

static int join_channels(struct arrival *r,
			 int (*accept)(void *, struct tide_error *),
			 struct tide_error *err)
{
	int rc = 0;

	while (r->channels < r->hello.channels && !rc) {
		struct tide__channel *c = &r->channel[r->channels];
		struct tide__frame f;

		rc = take_channel(r, accept, err);
		if (!rc)
			rc = tide__channel_receive(c, &f, err);
		if (!rc && (f.type != TIDE__FRAME_JOIN ||
			    f.payload_bytes != TIDE__ID_BYTES ||
			    memcmp(c->payload, r->hello.id, TIDE__ID_BYTES)))
			rc = unexpected(c, &f, "JOIN of this migration", err);
		if (!rc) {
			c->checksum =
			    r->hello.features & TIDE__FEATURE_CHECKSUM;
			rc = tide__channel_say(c, TIDE__FRAME_JOINED, 0, 0,
					       NULL, err);
		}
	}
	return rc;
}

static int greet(struct arrival *r, int (*accept)(void *, struct tide_error *),
		 struct tide_error *err)
{
	struct tide__channel *c = &r->channel[0];
	struct tide__frame f;
	int rc = take_channel(r, accept, err);

	if (!rc)
		rc = tide__channel_receive(c, &f, err);
	if (!rc && f.type != TIDE__FRAME_HELLO)
		rc = unexpected(c, &f, "HELLO", err);
	if (!rc)
		rc = tide__hello_get(&r->hello, c->payload, f.payload_bytes,
				     err);
	if (!rc)
		rc = r->ops->prepare(r->opaque, r->hello.slot, r->hello.slots,
				     r->slots, err);
	if (rc)
		return rc;
	rc = tide__channel_say(c, TIDE__FRAME_WELCOME, 0, 0, NULL, err);
	c->checksum = r->hello.features & TIDE__FEATURE_CHECKSUM;
	return rc ? rc : join_channels(r, accept, err);
}

/* The further channels' readers run while the caller's thread does rounds. */
static int with_readers(struct arrival *r, bool *running,
			struct tide_error *err)
{
	struct reader *reader = calloc(r->channels, sizeof(*reader));
	int rc = 0;

	if (!reader)
		return tide_error_set(err, -ENOMEM, origin, TIDE_NO_OFFSET,
				      "no memory for the readers");
	for (unsigned int i = 1; i < r->channels && !rc; i++) {
		reader[i].r = r;
		reader[i].channel = &r->channel[i];
		rc = -pthread_create(&reader[i].thread, NULL, reader_main,
				     &reader[i]);
		reader[i].started = !rc;
	}
	if (rc)
		tide_error_set(err, rc, origin, TIDE_NO_OFFSET,
			       "cannot start a reader: %s", strerror(-rc));
	else
		rc = rounds(r, running, err);
	/* Before they are stopped: their reason may be the first one. */
	pthread_mutex_lock(&r->lock);
	if (rc == -ECONNABORTED && r->rc) {
		rc = r->rc;
		*err = r->err;
	}
	tide__store_relaxed(&r->stop, true);
	pthread_mutex_unlock(&r->lock);
	for (unsigned int i = 1; i < r->channels; i++)
		if (reader[i].started)
			pthread_join(reader[i].thread, NULL);
	free(reader);
	return rc;
}

/*
 * Tell the source why, and let it read that: closing with unread input would
 * reset the connection and take our words with it.
 */
static void refuse(struct arrival *r, const struct tide_error *err)
{
	struct tide__channel *c = &r->channel[0];
	uint64_t deadline = tide__now_ns() + 1000000000u;
	char sink[4096];

	if (!r->channels || err->code == -ECANCELED)
		return;
	c->stop = c->cancel = NULL;
	c->alive = NULL;
	c->stall_ns = 200000000u;
	if (tide__channel_say(c, TIDE__FRAME_REFUSED, 0, 0, err->text, NULL))
		return;
	shutdown(c->fd, SHUT_WR);
	for (unsigned int i = 1; i < r->channels; i++)
		shutdown(r->channel[i].fd, SHUT_RDWR);
	while (tide__now_ns() < deadline) {
		ssize_t n = recv(c->fd, sink, sizeof(sink), MSG_DONTWAIT);
		struct timespec ts = { 0, 1000000 };

		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return;
		if (n < 0)
			nanosleep(&ts, NULL);
	}
}

static void fini(struct arrival *r)
{
	for (unsigned int i = 0; i < r->channels; i++) {
		close(r->channel[i].fd);
		tide__channel_fini(&r->channel[i]);
	}
	free(r->hello.slot);
	free(r->state);
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

static struct arrival *new_arrival(struct tide_slots *slots,
				   const struct tide_receive_ops *ops,
				   void *opaque,
				   const struct tide_precopy_options *options)
{
	struct arrival *r = calloc(1, sizeof(*r));
	pthread_condattr_t attr;

	if (!r)
		return NULL;
	r->slots = slots;
	r->ops = ops;
	r->opaque = opaque;
	r->options = *options;
	r->alive.channel = r->channel;
	r->alive.channels = &r->channels;
	pthread_mutex_init(&r->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&r->changed, &attr);
	pthread_condattr_destroy(&attr);
	return r;
}

int tide_receive_run(int (*accept)(void *opaque, struct tide_error *err),
		     struct tide_slots *slots,
		     const struct tide_receive_ops *ops, void *opaque,
		     const struct tide_precopy_options *options,
		     struct tide_precopy_result *result, struct tide_error *err)
{
	uint64_t start = tide__now_ns();
	struct tide_error own;
	bool running = false;
	struct arrival *r;
	int rc;

	memset(result, 0, sizeof(*result));
	result->outcome = TIDE_PRECOPY_ROLLED_BACK;
	if (options->struct_size != sizeof(*options))
		return tide_error_set(err, -EINVAL, origin, TIDE_NO_OFFSET,
				      "options: begin with "
				      "tide_precopy_defaults");
	r = new_arrival(slots, ops, opaque, options);
	if (!r)
		return tide_error_set(err, -ENOMEM, origin, TIDE_NO_OFFSET,
				      "no memory for a migration");
	tide_error_clear(&own);
	rc = greet(r, accept, &own);
	if (!rc)
		rc = with_readers(r, &running, &own);
	if (running) {
		rc = 0;
		result->outcome = TIDE_PRECOPY_MOVED;
	} else {
		refuse(r, &own);
		if (err)
			*err = own;
	}
	result->rounds = (unsigned int)r->generation;
	result->pages = r->pages;
	result->total_ns = tide__now_ns() - start;
	fini(r);
	return rc;
}
