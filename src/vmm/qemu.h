/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the QEMU driver share. */
#ifndef TIDE_VMM_QEMU_H
#define TIDE_VMM_QEMU_H

#include "vmm/qmp.h"
#include "vmm/vmm.h"

struct qmp *qemu_monitor(const struct vmm *vmm);
int qemu_set_capability(struct vmm *vmm, const char *name, bool on,
			struct tide_error *err);
/* Of @ram only what is the guest's, and whether it is private. */
int qemu_choose(struct vmm *vmm, struct tide__ram *ram,
		struct tide_error *err);

#endif
