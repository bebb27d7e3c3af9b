/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A Cloud Hypervisor that offers its guest: we are the peer of its local
 * migration.
 *
 *   Start, MemoryFd for each slot, Config | State, Complete or CompletePaused
 *
 * Each is answered when it is done with. Config is the last that comes while
 * the guest may run: as long as it is not answered the guest is not paused. The
 * answer to Complete is leave to destroy the guest.
 */
#ifndef TIDE_VMM_CLOUD_OFFER_H
#define TIDE_VMM_CLOUD_OFFER_H

#include "vmm/cloud_config.h"

struct cloud_offer {
	int fd;			/* -1: none */
	struct cloud_config config;
	int memory[CLOUD_MAX_SLOTS];	/* of config.slot[i] */
	unsigned char *config_text, *state;
	uint64_t config_bytes, state_bytes;
	bool paused;		/* when it came */
	/* Until the configuration says which slot it is. */
	uint32_t number[CLOUD_MAX_SLOTS];
	int passed[CLOUD_MAX_SLOTS];
	size_t passed_count;
};

#define CLOUD_NO_OFFER { .fd = -1 }

/*
 * cloud_offer_meet: up to its configuration, which is not answered yet. Takes
 * @fd. On failure the peer was told so, as far as it listens, and nothing is
 * kept: -ECANCELED it thought better of it, -EPROTO, -ECONNRESET, -ETIMEDOUT.
 */
int cloud_offer_meet(struct cloud_offer *o, int fd, struct tide_error *err);
/* Answers it; up to Complete. Fails in the same way. */
int cloud_offer_state(struct cloud_offer *o, struct tide_error *err);
/* The last answer. Nothing is kept; it may be called of none. */
void cloud_offer_end(struct cloud_offer *o, bool good);

#endif
