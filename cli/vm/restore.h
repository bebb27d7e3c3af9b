/* SPDX-License-Identifier: BSD-2-Clause */
/* tidemark vm run --snapshot: a guest that begins where a snapshot was made. */
#ifndef CLI_VM_RESTORE_H
#define CLI_VM_RESTORE_H

#include "cli/options.h"
#include "vm/vm.h"

struct vm_restore;

/*
 * A VM with the snapshot's memory and state, paused. CLI_OK, and *@restore is
 * to be ended after the VM is destroyed: its memory may still be coming.
 */
int vm_restore_open(struct vm_restore **restore, struct vm **vm,
		    const struct cli_parsed *p,
		    const struct vm_config *config);
void vm_restore_end(struct vm_restore *restore);

#endif
