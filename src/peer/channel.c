/* SPDX-License-Identifier: BSD-2-Clause */
#include "peer/channel.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/atomic.h"
#include "base/clock.h"

#define SLICE_MS 50

static const char origin[] = "channel";

void tide__channel_init(struct tide__channel *c, int fd, unsigned int number)
{
	memset(c, 0, sizeof(*c));
	c->fd = fd;
	c->number = number;
	c->checksum = true;
	c->stall_ns = 10000000000ull;
}

int tide__channel_wrap(struct tide__channel *c,
		       const struct tide_stream_ops *ops, void *opaque,
		       struct tide_error *err)
{
	if (!ops)
		return 0;
	c->stream = ops->of(opaque, c->fd);
	c->stream_ops = ops;
	return c->stream ? 0 : tide_error_set(err, -EINVAL, origin,
					      TIDE_NO_OFFSET, "channel %u has "
					      "no stream", c->number);
}

void tide__channel_fini(struct tide__channel *c)
{
	if (c->stream)
		c->stream_ops->end(c->stream);
	c->stream = NULL;
	free(c->payload);
	c->payload = NULL;
}

static int lost(const struct tide__channel *c, int code, const char *doing,
		struct tide_error *err)
{
	return tide_error_set(err, code, origin, c->bytes_sent +
			      c->bytes_received, "channel %u: %s: %s",
			      c->number, doing, strerror(-code));
}

static void moved(const struct tide__channel *c)
{
	if (c->alive)
		tide__store_relaxed(&c->alive->last_ns, tide__now_ns());
}

/* Bytes that were sent and have not left this host, or not arrived. */
static uint64_t queued_bytes(const struct tide__liveness *l)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < *l->channels; i++) {
		int bytes = 0;

		if (!ioctl(l->channel[i].fd, SIOCOUTQ, &bytes))
			sum += (uint64_t)bytes;
	}
	return sum;
}

/* When did a byte last move, as far as this channel's deadline goes? */
static uint64_t last_move(const struct tide__channel *c, uint64_t own_ns)
{
	struct tide__liveness *l = c->alive;
	uint64_t queued;

	if (!l)
		return own_ns;
	queued = queued_bytes(l);
	if (queued != tide__load_relaxed(&l->queued)) {
		tide__store_relaxed(&l->queued, queued);
		moved(c);
	}
	/* Plain counters of several threads: any of them may be the latest. */
	if (tide__load_relaxed(&l->last_ns) > own_ns)
		own_ns = tide__load_relaxed(&l->last_ns);
	return own_ns;
}

/*
 * Wait until the socket is ready for @events; the deadline moves with bytes. A
 * stream may have nothing to give though its socket is ready: from the second
 * wait in a row on (@again) that is no reason to be late. Once it is, since
 * this process may have been stopped for long.
 */
static int await(const struct tide__channel *c, short events, uint64_t own_ns,
		 bool again, const char *doing, struct tide_error *err)
{
	for (;;) {
		struct pollfd p = { .fd = c->fd, .events = events };
		int n;

		/* Pair with plain stores by a signal handler or a neighbour. */
		if (c->cancel && tide__load_relaxed(c->cancel))
			return lost(c, -ECANCELED, doing, err);
		if (c->stop && tide__load_relaxed(c->stop))
			return tide_error_set(err, -ECONNABORTED, origin,
					      TIDE_NO_OFFSET,
					      "channel %u: stopped because "
					      "another part failed", c->number);
		n = poll(&p, 1, SLICE_MS);
		if (n > 0 && !again)
			return 0;
		if (n < 0 && errno != EINTR)
			return lost(c, -errno, doing, err);
		if (tide__now_ns() > last_move(c, own_ns) + c->stall_ns)
			return tide_error_set(err, -ETIMEDOUT, origin,
					      c->bytes_sent + c->bytes_received,
					      "channel %u: %s: no byte moved "
					      "for %" PRIu64 " ms", c->number,
					      doing, c->stall_ns / 1000000u);
		if (n > 0)
			return 0;
	}
}

static void advance(struct iovec *iov, size_t done)
{
	for (int i = 0; i < 2; i++) {
		size_t n = done < iov[i].iov_len ? done : iov[i].iov_len;

		if (n)	/* there may be no payload, and nothing to add to */
			iov[i].iov_base = (char *)iov[i].iov_base + n;
		iov[i].iov_len -= n;
		done -= n;
	}
}

static ssize_t put_some(struct tide__channel *c, struct iovec iov[2])
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n;

	if (c->stream_ops)
		return c->stream ? c->stream_ops->send(c->stream, iov, 2)
				 : -EPIPE;
	n = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	return n < 0 ? -errno : n;
}

static ssize_t get_some(struct tide__channel *c, void *to, size_t len)
{
	ssize_t n;

	if (c->stream_ops)
		return c->stream ? c->stream_ops->recv(c->stream, to, len)
				 : -EPIPE;
	n = recv(c->fd, to, len, MSG_DONTWAIT);
	return n < 0 ? -errno : n;
}

/*
 * What is out in part stays so: nothing may follow, lest it be read as the
 * rest; and a stream may hold on to bytes that it could not send, which would
 * go out with the next ones. After GO was given up that must not be.
 */
static int tear(struct tide__channel *c, size_t left, size_t whole, int ret)
{
	c->torn = left < whole || c->stream_ops;
	return ret;
}

static int send_all(struct tide__channel *c, struct iovec iov[2],
		    struct tide_error *err)
{
	size_t whole = iov[0].iov_len + iov[1].iov_len, left = whole;
	uint64_t last = tide__now_ns();
	bool again = false;

	if (c->torn)
		return lost(c, -EPIPE, "sending after a failure", err);
	while (left) {
		ssize_t n = put_some(c, iov);
		int ret;

		if (n >= 0) {
			advance(iov, (size_t)n);
			left -= (size_t)n;
			tide__add_relaxed(&c->bytes_sent, (uint64_t)n);
			last = tide__now_ns();
			moved(c);
			again = false;
			continue;
		}
		if (n != -EAGAIN && n != -EINTR && n != -ENOBUFS)
			return tear(c, left, whole,
				    lost(c, (int)n, "sending", err));
		ret = await(c, POLLOUT, last, again, "sending", err);
		again = true;
		if (ret)
			return tear(c, left, whole, ret);
	}
	return 0;
}

int tide__channel_send(struct tide__channel *c, struct tide__frame *frame,
		       const void *payload, size_t len, struct tide_error *err)
{
	unsigned char head[TIDE__FRAME_BYTES];
	struct iovec iov[2] = { { head, sizeof(head) },
				{ (void *)payload, len } };
	int ret;

	frame->sequence = c->sent;
	frame->payload_bytes = (uint32_t)len;
	frame->payload_sum = len && c->checksum
				 ? tide__frame_sum(payload, len) : 0;
	tide__frame_put(frame, head);
	ret = send_all(c, iov, err);
	if (!ret) {
		c->sent++;
		c->said_ns = tide__now_ns();
	}
	return ret;
}

int tide__channel_say(struct tide__channel *c, unsigned int type,
		      uint64_t first, uint32_t pages, const char *text,
		      struct tide_error *err)
{
	struct tide__frame frame = { .type = (uint16_t)type, .first = first,
				     .pages = pages };

	return tide__channel_send(c, &frame, text, text ? strlen(text) : 0,
				  err);
}

void tide__channel_keep_alive(struct tide__channel *c)
{
	/* If it fails, so will the next frame that matters. */
	if (c->keeps_alive && tide__now_ns() - c->said_ns > c->stall_ns / 4)
		tide__channel_say(c, TIDE__FRAME_ALIVE, 0, 0, NULL, NULL);
}

/* Exactly @len bytes. -ENODATA: the peer closed before the first. */
static int receive_all(struct tide__channel *c, void *buffer, size_t len,
		       struct tide_error *err)
{
	uint64_t last = tide__now_ns();
	bool again = false;
	size_t done = 0;

	while (done < len) {
		ssize_t n = get_some(c, (char *)buffer + done, len - done);
		int ret;

		if (n > 0) {
			done += (size_t)n;
			tide__add_relaxed(&c->bytes_received, (uint64_t)n);
			last = tide__now_ns();
			moved(c);
			again = false;
			continue;
		}
		if (n == 0)
			return tide_error_set(err, done ? -EPIPE : -ENODATA,
					      origin, c->bytes_received,
					      "channel %u: the other side "
					      "closed the connection%s",
					      c->number,
					      done ? " inside a frame" : "");
		if (n != -EAGAIN && n != -EINTR)
			return lost(c, (int)n, "receiving", err);
		ret = await(c, POLLIN, last, again, "receiving", err);
		again = true;
		if (ret)
			return ret;
	}
	return 0;
}

static int make_room(struct tide__channel *c, size_t len,
		     struct tide_error *err)
{
	void *payload;

	if (len <= c->payload_room)
		return 0;
	payload = realloc(c->payload, len);
	if (!payload)
		return tide_error_set(err, -ENOMEM, origin, TIDE_NO_OFFSET,
				      "no memory for a payload of %zu bytes",
				      len);
	c->payload = payload;
	c->payload_room = len;
	return 0;
}

int tide__channel_receive_head(struct tide__channel *c,
			       struct tide__frame *frame,
			       struct tide_error *err)
{
	unsigned char head[TIDE__FRAME_BYTES];
	int ret;

	do {
		ret = receive_all(c, head, sizeof(head), err);
		if (!ret)
			ret = tide__frame_get(frame, head, c->received, err);
		if (!ret)
			c->received++;
	} while (!ret && c->keeps_alive && frame->type == TIDE__FRAME_ALIVE &&
		 !frame->payload_bytes);
	return ret;
}

int tide__channel_receive_into(struct tide__channel *c,
			       const struct tide__frame *f, void *to,
			       struct tide_error *err)
{
	int ret = receive_all(c, to, f->payload_bytes, err);

	if (ret)
		return ret == -ENODATA ? -EPIPE : ret;
	if (f->payload_bytes && c->checksum &&
	    tide__frame_sum(to, f->payload_bytes) != f->payload_sum)
		return tide_error_set(err, -EPROTO, origin, f->sequence,
				      "channel %u: the payload of frame %"
				      PRIu64 " (%s) is damaged (checksum)",
				      c->number, f->sequence,
				      tide__frame_name(f->type));
	return 0;
}

int tide__channel_receive_payload(struct tide__channel *c,
				  const struct tide__frame *f,
				  struct tide_error *err)
{
	/* One byte more: a text payload can be ended there. */
	int ret = make_room(c, (size_t)f->payload_bytes + 1, err);

	if (!ret)
		ret = tide__channel_receive_into(c, f, c->payload, err);
	if (!ret)
		((char *)c->payload)[f->payload_bytes] = 0;
	return ret;
}

int tide__channel_receive(struct tide__channel *c, struct tide__frame *frame,
			  struct tide_error *err)
{
	struct tide__frame f;
	int ret = tide__channel_receive_head(c, &f, err);

	if (!ret)
		ret = tide__channel_receive_payload(c, &f, err);
	if (!ret)
		*frame = f;
	return ret;
}

bool tide__channel_has_input(const struct tide__channel *c)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };

	return (c->stream && c->stream_ops->has_input(c->stream)) ||
	       poll(&p, 1, 0) > 0;
}
