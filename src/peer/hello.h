/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The handshake of a migration: what the source is going to send, so that the
 * receiver can refuse before anything moves.
 */
#ifndef TIDE_PEER_HELLO_H
#define TIDE_PEER_HELLO_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/precopy.h"

#define TIDE__HELLO_MAX_SLOTS 32764u
#define TIDE__ID_BYTES 16u

enum { TIDE__FEATURE_CHECKSUM = 1, TIDE__FEATURE_ZSTD = 2 };
#define TIDE__FEATURES_KNOWN (TIDE__FEATURE_CHECKSUM | TIDE__FEATURE_ZSTD)

/*
 * What the head of HELLO offers in @first, and that of WELCOME accepts: unlike
 * a feature, a receiver that does not know it just does not accept. In @pages
 * both say for how many milliseconds they bear silence; 0: not said. The
 * shorter holds for both.
 */
enum { TIDE__OFFER_ALIVE = 1 };
#define TIDE__OFFERS_KNOWN TIDE__OFFER_ALIVE

uint32_t tide__stall_ms(uint64_t stall_ns);
/* @own_ns, or what the other side said if that is shorter. */
uint64_t tide__stall_agreed_ns(uint64_t own_ns, uint32_t their_ms);

struct tide__hello {
	uint32_t version;
	uint32_t features;
	uint64_t page_bytes;
	uint32_t channels;
	uint32_t slots;
	unsigned char id[TIDE__ID_BYTES];	/* of this attempt */
	struct tide_slot *slot;			/* malloc'ed by get */
};

/* malloc'ed bytes for the wire; NULL if there is no memory. */
unsigned char *tide__hello_put(const struct tide__hello *hello, size_t *len);
/* 0, -EPROTO, -EPROTONOSUPPORT (another version), -ENOMEM. */
int tide__hello_get(struct tide__hello *hello, const unsigned char *bytes,
		    size_t len, struct tide_error *err);

#endif
