/* SPDX-License-Identifier: BSD-2-Clause */
/* The reference VMM as the pre-copy engine sees it, on both sides. */
#ifndef TIDE_VM_MIGRATE_OPS_H
#define TIDE_VM_MIGRATE_OPS_H

#include "tidemark/precopy.h"
#include "vm/vm.h"

struct vm_migration {
	struct vm *vm;
	void (*progress)(void *opaque, const struct tide_round *round);
	/* Receiver: the guest is whole and about to run. */
	void (*before_run)(void *opaque);
	int (*accept)(void *opaque, struct tide_error *err);
	void *opaque;
	uint64_t hash;	/* of the RAM that was handed over; 0: not asked */
	uint64_t hash_ns;	/* what hashing took, at the receiver */
	bool want_hash;
};

/*
 * Migrate @m->vm, which tracks writes from here on until the end, over
 * connected sockets. Errors and outcomes as tide_precopy_run.
 */
int vm_migrate(struct vm_migration *m, const int *channels, unsigned int count,
	       const struct tide_precopy_options *options,
	       struct tide_precopy_result *result, struct tide_error *err);

/* Fill @m->vm, made by vm_create_incoming; 0 when its guest runs here. */
int vm_receive(struct vm_migration *m,
	       const struct tide_precopy_options *options,
	       struct tide_precopy_result *result, struct tide_error *err);

#endif
