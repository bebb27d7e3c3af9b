/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TIDE_VM_KVM_STATE_H
#define TIDE_VM_KVM_STATE_H

#include <stdbool.h>
#include <stddef.h>

#include "vm/internal.h"

int vm__kvm_set_logging(void *opaque, const struct tide_slot *slot, bool on);
int vm__kvm_set_cpuid(struct vm *vm, struct vm_vcpu *vcpu,
		      struct tide_error *err);
size_t vm__kvm_state_bytes(const struct vm *vm);
int vm__kvm_save(struct vm *vm, void *state, struct tide_error *err);
int vm__kvm_load(struct vm *vm, const void *state, size_t len,
		 struct tide_error *err);

#endif
