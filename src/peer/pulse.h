/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Keep-alives while a callback of the VMM runs.
 *
 * Preparing memory, saving or loading state, hashing or pausing may take longer
 * than the other side's timeout. Between begin and end nobody else sends on the
 * channel, and a thread sends an ALIVE frame whenever a quarter of the agreed
 * limit has passed. That shows that this process is alive, not that the
 * callback makes progress: how long one may take is for its owner to decide.
 */
#ifndef TIDE_PEER_PULSE_H
#define TIDE_PEER_PULSE_H

#include "peer/channel.h"

struct tide__pulse;

/*
 * For @channel, which outlives it; NULL if it is not agreed on, or there is no
 * thread or memory for it: then there are no signs, and long callbacks fail
 * as they did before there were any.
 */
struct tide__pulse *tide__pulse_open(struct tide__channel *channel);
void tide__pulse_close(struct tide__pulse *pulse);

/* Around a callback; NULL is fine. end waits for a frame that is being sent. */
void tide__pulse_begin(struct tide__pulse *pulse);
void tide__pulse_end(struct tide__pulse *pulse);

#endif
