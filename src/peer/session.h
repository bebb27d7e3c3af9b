/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The sending side's internals: one attempt to move a guest to another host.
 * The engine's rounds go into a sink that is the wire; the rest, handshake and
 * hand-over, is here.
 */
#ifndef TIDE_PEER_SESSION_H
#define TIDE_PEER_SESSION_H

#include "peer/channel.h"
#include "peer/hello.h"
#include "peer/pulse.h"
#include "rounds/slot_space.h"

struct session {
	struct tide__sink sink;		/* first; its lanes are channels */
	struct tide__slot_space space;
	struct tide__engine engine;
	struct tide__channel channel[TIDE_PRECOPY_MAX_CHANNELS];
	unsigned int channels;
	struct tide__liveness alive;
	struct tide__pulse *pulse;	/* of the control channel */
	uint64_t go_limit_ms;		/* READY's; 0: the receiver has none */
	/* zstd's output and state of each channel, if compression is on. */
	struct packer {
		void *context, *bytes;
	} packer[TIDE_PRECOPY_MAX_CHANNELS];
};

/* wire_sink.c: the table of the sink that is the wire; greets in open. */
extern const struct tide__sink_ops tide__wire_sink_ops;
void tide__wire_sink_fini(struct session *s);
/*
 * The next frame from the receiver, which must be of @type. A REFUSED is
 * -EREMOTEIO with the receiver's own words.
 */
int tide__expect(struct session *s, unsigned int type, struct tide__frame *f,
		 struct tide_error *err);

/* handover.c: everything from the pause on. */
int tide__handover(struct session *s, enum tide_precopy_outcome *outcome,
		   struct tide_error *err);

#endif
