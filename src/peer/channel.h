/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A channel: one connected stream socket that carries frames both ways.
 *
 * Nothing here blocks for longer than the stall timeout without a byte moving,
 * and a waiting call looks at the stop flags every 50 ms; a vanished peer is an
 * error, not a signal. One thread may send while another receives; two may not
 * do the same.
 */
#ifndef TIDE_PEER_CHANNEL_H
#define TIDE_PEER_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "peer/frame.h"
#include "tidemark/stream.h"

/*
 * Signs of life of a migration, over all its channels: a channel that waits its
 * turn - behind a limit of bandwidth, behind the others on a slow wire, or for
 * an answer that comes when all of them are drained - is not silent as long as
 * a byte moves on any, be it only out of this host's socket buffers.
 */
struct tide__liveness {
	uint64_t last_ns;		/* atomic: when a byte moved */
	const struct tide__channel *channel;
	const unsigned int *channels;
	uint64_t queued;	/* atomic: bytes in socket buffers then */
};

struct tide__channel {
	int fd;
	const struct tide_stream_ops *stream_ops;	/* NULL: the socket */
	void *stream;
	unsigned int number;
	bool checksum;		/* of payloads; heads always have one */
	uint64_t stall_ns;
	struct tide__liveness *alive;	/* NULL: this channel alone */
	const bool *cancel;	/* the caller's wish to end; NULL ok */
	const bool *stop;	/* another channel failed; NULL ok */
	bool keeps_alive;	/* ALIVE frames are agreed on */
	bool torn;		/* a frame went out in part: none follows it */
	uint64_t said_ns;	/* when the last frame was sent */
	uint64_t sent, received;	/* frames */
	uint64_t bytes_sent, bytes_received;
	void *payload;		/* of the last frame received */
	size_t payload_room;
};

void tide__channel_init(struct tide__channel *channel, int fd,
			unsigned int number);
/* Through a stream from here on; NULL ops: nothing. -EINVAL: there is none. */
int tide__channel_wrap(struct tide__channel *channel,
		       const struct tide_stream_ops *ops, void *opaque,
		       struct tide_error *err);
/* Ends the stream, too; not the fd. */
void tide__channel_fini(struct tide__channel *channel);

/*
 * Send one frame with @len bytes of payload; type, flags, first and pages are
 * taken from @frame. -ECANCELED, -ETIMEDOUT, -EPIPE, ...
 */
int tide__channel_send(struct tide__channel *channel, struct tide__frame *frame,
		       const void *payload, size_t len, struct tide_error *err);
/* A frame without payload, or with a text as payload. */
int tide__channel_say(struct tide__channel *channel, unsigned int type,
		      uint64_t first, uint32_t pages, const char *text,
		      struct tide_error *err);
/*
 * By who sends on the channel: an ALIVE frame, if that was agreed on and
 * nothing was sent for a quarter of the stall timeout.
 */
void tide__channel_keep_alive(struct tide__channel *channel);
/*
 * Receive one frame and its payload, checked; channel->payload holds it until
 * the next call. -ENODATA if the peer closed between two frames.
 */
int tide__channel_receive(struct tide__channel *channel,
			  struct tide__frame *frame, struct tide_error *err);
/*
 * The same in steps: the head, then its payload into channel->payload or to a
 * place of the caller's that has payload_bytes of room. ALIVE frames, where
 * they are agreed on, are taken and not seen.
 */
int tide__channel_receive_head(struct tide__channel *channel,
			       struct tide__frame *frame,
			       struct tide_error *err);
int tide__channel_receive_payload(struct tide__channel *channel,
				  const struct tide__frame *frame,
				  struct tide_error *err);
int tide__channel_receive_into(struct tide__channel *channel,
			       const struct tide__frame *frame, void *to,
			       struct tide_error *err);
/* True if a frame, or the end of the stream, is there to be received. */
bool tide__channel_has_input(const struct tide__channel *channel);

#endif
