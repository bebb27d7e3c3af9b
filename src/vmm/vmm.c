/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/vmm.h"

int vmm_open(struct vmm *vmm, const struct vmm_ops *ops, int pid,
	     const char *path, struct tide_error *err)
{
	*vmm = (struct vmm){ .ops = ops, .pid = pid, .fd = -1,
			     .guard = GUARD_NONE };
	return ops->open ? ops->open(vmm, path, err) : 0;
}

void vmm_close(struct vmm *vmm)
{
	if (!vmm->ops)
		return;
	if (vmm->paused)
		vmm_resume(vmm, NULL);
	guard_dismiss(&vmm->guard);
	if (vmm->ops->close)
		vmm->ops->close(vmm);
	vmm->ops = NULL;
}

int vmm_prepare(struct vmm *vmm, struct tide_error *err)
{
	int ret;

	vmm->paused = true;	/* whatever comes of it, put it back */
	vmm->stood_ns = 0;
	vmm->durable = false;
	ret = vmm->ops->prepare(vmm, err);
	if (ret)
		vmm_resume(vmm, NULL);
	return ret;
}

int vmm_pause(struct vmm *vmm, struct tide_error *err)
{
	int ret = vmm->ops->pause(vmm, err);

	if (ret)
		vmm_resume(vmm, NULL);
	return ret;
}

int vmm_resume(struct vmm *vmm, struct tide_error *err)
{
	int ret = vmm->ops->resume(vmm, err);

	vmm->paused = false;
	/* Whoever did not say that it runs again is asked by somebody else. */
	if (ret)
		guard_let_act(&vmm->guard);
	else
		guard_dismiss(&vmm->guard);
	return ret;
}
