/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Forgetting points. What a forgotten point holds and a later one stands on
 * goes into the later one's image, which is made beside and renamed over the
 * old one: its content is the same before and after, so at every moment each
 * point that the manifest names restores.
 */
#ifndef TIDE_BACKUP_PRUNE_H
#define TIDE_BACKUP_PRUNE_H

#include "backup/copy.h"

/* How many to keep of each; the newest point is always kept. */
struct backup_policy {
	uint64_t last; /* points */
	/* The newest of each of so many days, weeks, months that have one. */
	uint64_t daily, weekly, monthly;
};

/* @keep: one for each point of @f. */
void backup_prune_choose(const struct backup_folder *f,
			 const struct backup_policy *policy, bool *keep);

struct backup_prune_options {
	struct backup_compression compression; /* of what is merged */
	uint32_t jobs;
	backup_progress *progress;
	void *opaque;
	const bool *stop;
};

/*
 * Points that are not to be kept go. *merged_bytes: written into others.
 * -EBADMSG: a point is damaged: it and what stands on it stay.
 */
int backup_prune(struct backup_folder *f, const bool *keep,
		 const struct backup_prune_options *o, uint64_t *merged_bytes,
		 struct tide_error *err);

#endif
