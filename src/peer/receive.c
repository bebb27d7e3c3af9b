/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The receiving side: the handshake (greet.c), the rounds (receive_rounds.c),
 * the end (take_over.c), and what the source is told if one of them fails.
 *
 * A damaged frame, one out of order (order.h), silence, or the end of the
 * stream aborts the migration: the source is told why (REFUSED), and the guest
 * is not run. Only GO, after READY and in time, resumes it.
 */
#include "peer/receive.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "rounds/options.h"

static const char origin[] = "receive";

int tide__next_head(struct receiver *r, struct tide__channel *c,
		    struct tide__frame *f, struct tide_error *err)
{
	int ret = tide__channel_receive_head(c, f, err);

	if (!ret)
		ret = tide__order_take(&r->order, c->number, f, err);
	if (ret || f->type != TIDE__FRAME_CANCEL)
		return ret;
	ret = tide__channel_receive_payload(c, f, err);
	return ret ? ret : tide_error_set(err, -ECANCELED, "source",
					  TIDE_NO_OFFSET,
					  "the source called it off: %s",
					  (const char *)c->payload);
}

int tide__next_frame(struct receiver *r, struct tide__channel *c,
		     struct tide__frame *f, struct tide_error *err)
{
	int ret = tide__next_head(r, c, f, err);

	return ret ? ret : tide__channel_receive_payload(c, f, err);
}

/*
 * Tell the source why, and let it read that: closing with unread input would
 * reset the connection and take our words with it.
 */
static void refuse(struct receiver *r, const struct tide_error *err)
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

static void fini(struct receiver *r)
{
	tide__pulse_close(r->pulse);
	for (unsigned int i = 0; i < r->channels; i++) {
		tide__channel_fini(&r->channel[i]);
		close(r->channel[i].fd);
	}
	free(r->hello.slot);
	free(r->state);
	tide__order_fini(&r->order);
	free(r);
}

static struct receiver *new_receiver(struct tide_slots *slots,
				     const struct tide_receive_ops *ops,
				     void *opaque,
				     const struct tide_precopy_options *options)
{
	struct receiver *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->slots = slots;
	r->ops = ops;
	r->opaque = opaque;
	r->options = *options;
	r->alive.channel = r->channel;
	r->alive.channels = &r->channels;
	r->stall_ns = options->stall_timeout_ns;
	tide__order_init(&r->order);
	return r;
}

int tide_receive_run(int (*accept)(void *opaque, struct tide_error *err),
		     struct tide_slots *slots,
		     const struct tide_receive_ops *ops, void *opaque,
		     const struct tide_precopy_options *options,
		     struct tide_precopy_result *result, struct tide_error *err)
{
	uint64_t start = tide__now_ns();
	struct tide_precopy_options own_options;
	struct tide_error own;
	bool running = false;
	struct receiver *r;
	int ret;

	memset(result, 0, sizeof(*result));
	result->outcome = TIDE_PRECOPY_ROLLED_BACK;
	ret = tide__options_take(&own_options, options, err);
	if (ret)
		return ret;
	r = new_receiver(slots, ops, opaque, &own_options);
	if (!r)
		return tide_error_set(err, -ENOMEM, origin, TIDE_NO_OFFSET,
				      "no memory for a migration");
	tide_error_clear(&own);
	ret = tide__greet(r, accept, &own);
	if (!ret)
		ret = tide__receive_rounds(r, &running, &own);
	if (running) {
		ret = 0;
		result->outcome = TIDE_PRECOPY_MOVED;
	} else {
		refuse(r, &own);
		if (err)
			*err = own;
	}
	result->rounds = (unsigned int)r->order.rounds;
	result->pages = r->pages;
	result->total_ns = tide__now_ns() - start;
	fini(r);
	return ret;
}
