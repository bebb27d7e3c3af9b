/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A migration's bytes as one input, for the target that reads them and the
 * program that records them: first a byte of how, then frames in the order in
 * which they were sent, before each a byte of who.
 *
 * Sums and sequence numbers are made right before a frame is sent, else a
 * fuzzer would be stopped at the first check for ever; bits of who leave them
 * as they are.
 */
#ifndef FUZZ_STREAM_H
#define FUZZ_STREAM_H

#include <stddef.h>
#include <stdint.h>

enum {
	STREAM_DOOR = 1,	/* how: come in through the door */
	STREAM_SPLIT = 2,	/* the first bytes arrive alone */

	STREAM_CHANNEL = 15,	/* who: the channel */
	STREAM_WAIT = 32,	/* it comes after the receiver's next word */
	STREAM_SEQUENCE = 64,	/* its sequence number is as it is */
	STREAM_SUMS = 128,	/* its checksums are */
};

#define STREAM_CHANNELS 16u

#endif
