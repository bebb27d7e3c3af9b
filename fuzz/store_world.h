/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A store and a disk for it: what store.c feeds with rubbish, and store_seeds.c
 * with what a tracker writes. Checksums are all 0 in both programs (XXH64 is
 * wrapped): they would keep every change of a bit from getting any further.
 */
#ifndef FUZZ_STORE_WORLD_H
#define FUZZ_STORE_WORLD_H

#include <stddef.h>
#include <stdint.h>

#include "cbt/cbt.h"
#include "disk/disk.h"

struct store_world {
	char folder[32], disk_path[48], store_path[64];
	uint8_t boot[16];
	struct tide_disk disk;
	struct cbt_options o;
};

/* Of 24 MiB unless it is changed. */
void store_world_init(struct store_world *w);
/* Tracked, over the store as it is. 0 or -errno. */
int store_world_open(struct store_world *w, struct cbt **c,
		     struct tide_disk **tracked);
void store_world_fini(struct store_world *w);

#endif
