/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a Cloud Hypervisor says of its memory, in the configuration that it
 * sends: slots of guest memory, each a part of a file. The rest of it is not
 * looked at, and kept byte for byte, together with the state of the devices:
 * that is a snapshot's "devices" (docs/format-snapshot.md).
 */
#ifndef TIDE_VMM_CLOUD_CONFIG_H
#define TIDE_VMM_CLOUD_CONFIG_H

#include <stdbool.h>

#include "attach/ram.h"
#include "tidemark/error.h"

#define CLOUD_MAX_SLOTS TIDE__RAM_MAX
#define CLOUD_PAGE 4096u

struct cloud_slot {
	uint32_t slot;
	uint64_t gpa, bytes, offset;	/* in its file */
};

struct cloud_config {
	struct cloud_slot slot[CLOUD_MAX_SLOTS];
	size_t slots;
};

/* 0; -EPROTO: it is none, or its slots make no sense. */
int cloud_config_read(struct cloud_config *c, const void *json, size_t n,
		      struct tide_error *err);

/* Both as they were sent. */
struct cloud_devices {
	const unsigned char *config, *state;
	uint64_t config_bytes, state_bytes;
	bool paused;		/* before the snapshot was asked for */
};

/* *@bytes is the caller's. */
int cloud_pack(const struct cloud_devices *d, void **bytes, size_t *n,
	       struct tide_error *err);
/* @d points into @bytes. -EINVAL: a snapshot of something else. */
int cloud_unpack(struct cloud_devices *d, const void *bytes, size_t n,
		 struct tide_error *err);

#endif
