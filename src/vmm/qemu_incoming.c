/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A QEMU that was started with -incoming defer gets its devices and runs; its
 * memory is somebody else's matter.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "vmm/qemu.h"

#define FD_NAME "tidemark"
#define PATIENCE_NS UINT64_C(60000000000)

/* Its run state into @to. */
static int status_of(struct vmm *vmm, char to[32], struct tide_error *err)
{
	json_t *status = NULL;
	const char *text;
	int ret = qmp_ask(qemu_monitor(vmm), "query-status", NULL, -1, &status,
			  err);

	text = json_string_value(json_object_get(status, "status"));
	strncpy(to, text ? text : "", 31);
	to[31] = 0;
	json_decref(status);
	return ret;
}

int vmm_qemu_is_incoming(struct vmm *vmm, struct tide_error *err)
{
	char status[32];
	int ret = status_of(vmm, status, err);

	if (ret || !strcmp(status, "inmigrate"))
		return ret;
	return tide_error_set(err, -EBUSY, "vmm", TIDE_NO_OFFSET,
			      "this QEMU is '%s' and waits for no devices; it "
			      "is to be started with -incoming defer", status);
}

static int give(struct vmm *vmm, const void *devices, size_t n,
		struct tide_error *err)
{
	struct qmp *q = qemu_monitor(vmm);
	int fd = memfd_create("devices", MFD_CLOEXEC), ret = 0;

	if (fd < 0 || pwrite(fd, devices, n, 0) != (ssize_t)n)
		ret = tide_error_set(err, -EIO, "vmm", TIDE_NO_OFFSET,
				     "memfd: %s", strerror(errno));
	if (!ret)
		ret = qmp_ask(q, "getfd", json_pack("{s:s}", "fdname", FD_NAME),
			      fd, NULL, err);
	if (!ret)
		ret = qmp_ask(q, "migrate-incoming",
			      json_pack("{s:s}", "uri", "fd:" FD_NAME), -1,
			      NULL, err);
	if (fd >= 0)
		close(fd);
	return ret;
}

/* One whose stream it cannot load ends, or says "failed". */
static int await_devices(struct vmm *vmm, char status[32],
			 struct tide_error *err)
{
	uint64_t end = tide__now_ns() + PATIENCE_NS;
	struct timespec nap = { 0, 1000000 };
	int ret;

	for (;;) {
		ret = status_of(vmm, status, err);
		if (ret || strcmp(status, "inmigrate"))
			return ret;
		if (tide__now_ns() > end)
			return tide_error_set(err, -ETIMEDOUT, "vmm",
					      TIDE_NO_OFFSET, "QEMU does not "
					      "load its devices");
		nanosleep(&nap, NULL);
	}
}

int vmm_qemu_start(struct vmm *vmm, const void *devices, size_t n,
		   struct tide_error *err)
{
	char status[32];
	int ret = qemu_set_capability(vmm, "x-ignore-shared", true, err);

	if (!ret)
		ret = give(vmm, devices, n, err);
	if (!ret)
		ret = await_devices(vmm, status, err);
	if (!ret && strcmp(status, "running"))
		ret = qmp_ask(qemu_monitor(vmm), "cont", NULL, -1, NULL, err);
	if (!ret)
		qemu_set_capability(vmm, "x-ignore-shared", false, NULL);
	return ret;
}
