/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QEMU over QMP.
 *
 * Guest memory are the mappings as large as the memory devices that
 * query-memdev names. The devices are a migration stream with the capability
 * x-ignore-shared, which leaves shared memory out of it; the same capability
 * brings them back with that memory (docs/snapshot.md). Private memory would go
 * through the stream, at its pace, while the guest stands: its devices are not
 * to be had this way, and only its memory can be snapshotted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "vmm/qmp.h"
#include "vmm/vmm.h"

#define FD_NAME "tidemark"
#define PATIENCE_NS UINT64_C(30000000000)

struct qemu {
	struct qmp *qmp;
	int devices_fd;		/* given to QEMU under FD_NAME, or -1 */
	bool ignored;		/* the capability was on before we came */
};

static struct qmp *monitor(struct vmm *vmm)
{
	return ((struct qemu *)vmm->impl)->qmp;
}

static int open_it(struct vmm *vmm, const char *path, struct tide_error *err)
{
	struct qemu *q = calloc(1, sizeof(*q));
	struct ucred peer;
	socklen_t n = sizeof(peer);
	int rc;

	if (!q)
		return tide_error_set(err, -ENOMEM, "vmm", TIDE_NO_OFFSET,
				      "no memory");
	q->devices_fd = -1;
	rc = qmp_open(&q->qmp, path, err);
	if (rc) {
		free(q);
		return rc;
	}
	vmm->impl = q;
	vmm->fd = q->qmp->fd;
	/* Whoever made the socket; libvirt passes one that it made itself. */
	if (!getsockopt(vmm->fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) &&
	    !vmm->pid)
		vmm->pid = peer.pid;
	return 0;
}

static void close_it(struct vmm *vmm)
{
	struct qemu *q = vmm->impl;

	if (!q)
		return;
	if (q->devices_fd >= 0)
		close(q->devices_fd);
	qmp_close(q->qmp);
	free(q);
	vmm->impl = NULL;
}

/*
 * The piece that fits @size bytes best, not taken yet, moved to the front of
 * the rest. Private memory may have grown together with a neighbour's.
 */
static bool take_size(struct tide__ram *ram, size_t taken, uint64_t size)
{
	size_t best = ram->count;
	struct tide__ram_area a;

	for (size_t i = taken; i < ram->count; i++) {
		uint64_t len = ram->area[i].len_bytes;

		if (len != size && (ram->area[i].kind != TIDE__MAP_ANONYMOUS ||
				    len < size || len > 2 * size))
			continue;
		if (best == ram->count || len < ram->area[best].len_bytes)
			best = i;
	}
	if (best == ram->count)
		return false;
	a = ram->area[best];
	memmove(&ram->area[taken + 1], &ram->area[taken],
		(best - taken) * sizeof(a));
	ram->area[taken] = a;
	return true;
}

static int by_address(const void *a, const void *b)
{
	const struct tide__ram_area *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static int choose(struct vmm *vmm, struct tide__ram *ram,
		  struct tide_error *err)
{
	json_t *list = NULL, *dev;
	size_t taken = 0, i;
	int rc = qmp_ask(monitor(vmm), "query-memdev", NULL, -1, &list, err);

	if (rc)
		return rc;
	json_array_foreach(list, i, dev) {
		json_int_t size = json_integer_value(json_object_get(dev,
								     "size"));

		if (!take_size(ram, taken, (uint64_t)size)) {
			rc = tide_error_set(err, -ENOENT, "vmm",
					    TIDE_NO_OFFSET, "process %d has "
					    "no mapping as large as QEMU's "
					    "memory device (%lld bytes): is "
					    "it that QEMU?", vmm->pid,
					    (long long)size);
			break;
		}
		vmm->private_memory |=
		    !json_is_true(json_object_get(dev, "share"));
		taken++;
	}
	json_decref(list);
	if (!rc && !taken)
		rc = tide_error_set(err, -ENOENT, "vmm", TIDE_NO_OFFSET,
				    "this QEMU names no memory device");
	ram->count = taken;
	ram->bytes = 0;
	for (i = 0; i < taken; i++)
		ram->bytes += ram->area[i].len_bytes;
	qsort(ram->area, taken, sizeof(*ram->area), by_address);
	return rc;
}

/*
 * A stream that is on its way would pause the guest again at its end. The
 * monitor drops what a client sent that is gone, so stay until it was read.
 */
static void go_on(int fd, int pid)
{
	static const char cancel[] = "{\"execute\":\"migrate_cancel\"}\n";
	static const char off[] =
	    "{\"execute\":\"migrate-set-capabilities\",\"arguments\":"
	    "{\"capabilities\":[{\"capability\":\"x-ignore-shared\","
	    "\"state\":false}]}}\n";
	static const char cont[] = "{\"execute\":\"cont\"}\n";

	(void)pid;
	if (write(fd, "\n", 1) < 0 ||
	    write(fd, cancel, sizeof(cancel) - 1) < 0 ||
	    write(fd, off, sizeof(off) - 1) < 0)
		return;
	for (int i = 0; i < 5; i++) {
		if (write(fd, cont, sizeof(cont) - 1) < 0)
			return;
		usleep(200000);
	}
}

static int set_ignore_shared(struct vmm *vmm, bool on, struct tide_error *err)
{
	return qmp_ask(monitor(vmm), "migrate-set-capabilities",
		       json_pack("{s:[{s:s, s:b}]}", "capabilities",
				 "capability", "x-ignore-shared", "state",
				 (int)on), -1, NULL, err);
}

/* A guest of somebody who uses the capability himself keeps it. */
static bool ignores_shared(struct vmm *vmm)
{
	json_t *list = NULL, *one;
	bool on = false;
	size_t i;

	if (qmp_ask(monitor(vmm), "query-migrate-capabilities", NULL, -1,
		    &list, NULL))
		return false;
	json_array_foreach(list, i, one) {
		const char *name = json_string_value(
		    json_object_get(one, "capability"));

		if (name && !strcmp(name, "x-ignore-shared"))
			on = json_is_true(json_object_get(one, "state"));
	}
	json_decref(list);
	return on;
}

static int prepare(struct vmm *vmm, struct tide_error *err)
{
	struct qemu *q = vmm->impl;
	json_t *status = NULL;
	int rc = qmp_ask(q->qmp, "query-status", NULL, -1, &status, err);

	vmm->was_running = json_is_true(json_object_get(status, "running"));
	json_decref(status);
	if (!rc && !vmm->private_memory) {
		q->ignored = ignores_shared(vmm);
		rc = set_ignore_shared(vmm, true, err);
		if (q->devices_fd >= 0)
			close(q->devices_fd);
		q->devices_fd = memfd_create("devices", MFD_CLOEXEC);
		if (!rc && q->devices_fd < 0)
			rc = tide_error_set(err, -errno, "vmm", TIDE_NO_OFFSET,
					    "memfd: %s", strerror(errno));
		if (!rc)
			rc = qmp_ask(q->qmp, "getfd",
				     json_pack("{s:s}", "fdname", FD_NAME),
				     q->devices_fd, NULL, err);
	}
	if (!rc && vmm->was_running)
		rc = guard_start(&vmm->guard, go_on, vmm->fd, vmm->pid, err);
	return rc;
}

static int pause_it(struct vmm *vmm, struct tide_error *err)
{
	return vmm->was_running
		   ? qmp_ask(monitor(vmm), "stop", NULL, -1, NULL, err) : 0;
}

static int resume(struct vmm *vmm, struct tide_error *err)
{
	struct qemu *q = vmm->impl;
	int rc = 0;

	if (vmm->was_running)
		rc = qmp_ask(q->qmp, "cont", NULL, -1, NULL, err);
	vmm->resumed_ns = tide__now_ns();
	/* The guest's owner may migrate it with its memory next. */
	if (!vmm->private_memory && !q->ignored)
		set_ignore_shared(vmm, false, NULL);
	return rc;
}

/* 1: go on waiting; 0 done; -errno. */
static int judge(json_t *info, struct tide_error *err)
{
	const char *status = json_string_value(json_object_get(info,
							       "status"));
	const char *why = json_string_value(json_object_get(info,
							    "error-desc"));

	if (status && !strcmp(status, "completed"))
		return 0;
	if (status && (!strcmp(status, "failed") ||
		       !strcmp(status, "cancelled")))
		return tide_error_set(err, -EREMOTEIO, "vmm", TIDE_NO_OFFSET,
				      "QEMU did not give its devices: %s",
				      why ? why : status);
	return 1;
}

static int await_stream(struct vmm *vmm, struct tide_error *err)
{
	uint64_t end = tide__now_ns() + PATIENCE_NS;
	struct timespec nap = { 0, 500000 };
	int rc;

	do {
		json_t *info = NULL;

		rc = qmp_ask(monitor(vmm), "query-migrate", NULL, -1, &info,
			     err);
		if (!rc)
			rc = judge(info, err);
		json_decref(info);
		if (rc == 1)
			nanosleep(&nap, NULL);
	} while (rc == 1 && tide__now_ns() < end);
	if (rc == 1)
		rc = tide_error_set(err, -ETIMEDOUT, "vmm", TIDE_NO_OFFSET,
				    "QEMU's devices take longer than 30 s");
	return rc;
}

static int devices(struct vmm *vmm, void **bytes, size_t *n,
		   struct tide_error *err)
{
	struct qemu *q = vmm->impl;
	off_t length;
	int rc;

	if (vmm->private_memory)
		return tide_error_set(err, -EOPNOTSUPP, "vmm", TIDE_NO_OFFSET,
				      "this QEMU's memory is private, and its "
				      "devices come with shared memory only "
				      "(-object memory-backend-memfd,share="
				      "on); or --memory-only");
	rc = qmp_ask(q->qmp, "migrate", json_pack("{s:s}", "uri",
						  "fd:" FD_NAME), -1, NULL,
		     err);
	if (!rc)
		rc = await_stream(vmm, err);
	if (rc)
		return rc;
	length = lseek(q->devices_fd, 0, SEEK_END);
	*bytes = malloc(length > 0 ? (size_t)length : 1);
	if (!*bytes || length < 0 ||
	    pread(q->devices_fd, *bytes, (size_t)length, 0) != length) {
		free(*bytes);
		return tide_error_set(err, -EIO, "vmm", TIDE_NO_OFFSET,
				      "QEMU's devices cannot be read back");
	}
	*n = (size_t)length;
	return 0;
}

const struct vmm_ops vmm_qemu = {
	.name = "qemu",
	.open = open_it,
	.close = close_it,
	.choose = choose,
	.prepare = prepare,
	.pause = pause_it,
	.resume = resume,
	.devices = devices,
};
