/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A Cloud Hypervisor, which asks for its snapshots itself: a socket is listened
 * on, and whoever connects is taken for one that migrates (cloud_offer.h).
 *
 * Its memory comes as descriptors, so nothing has to be asked of the process.
 * It is attached to all the same, if that is allowed: then what it writes
 * between its configuration and its pause, and between two snapshots, is known.
 * It stays paused until the snapshot is durable: the last answer may be the end
 * of the guest.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "control/listener.h"
#include "vmm/cloud_offer.h"
#include "vmm/cloud_wire.h"
#include "vmm/vmm.h"

#define HUGETLB_MAGIC 0x958458f6

struct cloud {
	struct control_listener listener;
	struct cloud_offer offer;
	uint64_t met_ns, paused_ns;
};

static int accept_one(const struct cloud *c, struct tide_error *err)
{
	int fd;

	do
		fd = accept4(c->listener.fd, NULL, NULL, SOCK_CLOEXEC);
	while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
	return fd < 0 ? cloud_fail(-errno, strerror(errno), err) : fd;
}

/* Zero: one that we cannot see, of another PID namespace. */
static int pid_of(int fd)
{
	struct ucred who = { .pid = 0 };
	socklen_t n = sizeof(who);

	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n);
	return who.pid;
}

/* The next one that wants a snapshot; the first says whose run this is. */
static int await(struct vmm *vmm, struct tide_error *err)
{
	struct cloud *c = vmm->impl;
	int fd, pid;

	if (c->offer.fd >= 0)
		return 0;
	fd = accept_one(c, err);
	if (fd < 0)
		return fd;
	pid = pid_of(fd);
	if (vmm->was_running && pid != vmm->pid) {
		close(fd);
		return cloud_fail(-EINVAL, "another process than before "
				  "connected", err);
	}
	vmm->pid = pid;
	vmm->was_running = true;
	vmm->durable = false;
	c->met_ns = tide__now_ns();
	return cloud_offer_meet(&c->offer, fd, err);
}

static void close_it(struct vmm *vmm)
{
	struct cloud *c = vmm->impl;

	if (!c)
		return;
	cloud_offer_end(&c->offer, false);
	control_listener_close(&c->listener);
	free(c);
	vmm->impl = NULL;
}

static int open_it(struct vmm *vmm, const char *path, struct tide_error *err)
{
	struct cloud *c = calloc(1, sizeof(*c));
	int ret;

	if (!c)
		return cloud_fail(-ENOMEM, "no memory", err);
	c->offer.fd = -1;
	ret = control_listen(path, false, &c->listener, err);
	if (ret) {
		free(c);
		return ret;
	}
	vmm->impl = c;
	return await(vmm, err);
}

/* Where the process has it mapped: tracking is by its addresses. */
static uint64_t find(const struct tide__maps *maps,
		     const struct tide__ram_area *a)
{
	uint64_t end = a->offset_bytes, start = 0;

	for (size_t i = 0; i < maps->count; i++) {
		const struct tide__map *m = &maps->map[i];

		if (!m->shared || !m->writable || m->inode != a->inode ||
		    m->device != a->device)
			continue;
		/* It may be cut in pieces that follow each other. */
		if (m->offset_bytes <= a->offset_bytes &&
		    m->offset_bytes + (m->end - m->start) > a->offset_bytes) {
			start = m->start + a->offset_bytes - m->offset_bytes;
			end = m->offset_bytes + (m->end - m->start);
		} else if (start && m->offset_bytes == end &&
			   m->start == start + end - a->offset_bytes) {
			end += m->end - m->start;
		}
		if (start && end >= a->offset_bytes + a->len_bytes)
			return start;
	}
	return 0;
}

static int describe(const struct cloud_offer *o, size_t i,
		    struct tide__ram_area *a, struct tide_error *err)
{
	const struct cloud_slot *s = &o->config.slot[i];
	struct statfs fs;
	struct stat st;

	if (fstat(o->memory[i], &st) < 0 || fstatfs(o->memory[i], &fs) < 0)
		return cloud_fail(-errno, strerror(errno), err);
	*a = (struct tide__ram_area){
		.len_bytes = s->bytes, .offset_bytes = s->offset,
		.inode = st.st_ino,
		.device = (uint64_t)major(st.st_dev) << 32 | minor(st.st_dev),
		.kind = fs.f_type == HUGETLB_MAGIC ? TIDE__MAP_HUGETLB
						   : TIDE__MAP_SHMEM,
	};
	snprintf(a->name, sizeof(a->name), "slot %u at 0x%llx", s->slot,
		 (unsigned long long)s->gpa);
	return 0;
}

/* @start 0: it is not tracked. */
static int choose(struct vmm *vmm, struct tide__ram *ram,
		  struct tide_error *err)
{
	const struct cloud *c = vmm->impl;
	struct tide__maps maps = { .count = 0 };
	int ret = 0;

	if (vmm->pid > 0)
		tide__maps_read(&maps, vmm->pid, NULL);
	*ram = (struct tide__ram){ .count = c->offer.config.slots };
	for (size_t i = 0; !ret && i < ram->count; i++) {
		struct tide__ram_area *a = &ram->area[i];

		ret = describe(&c->offer, i, a, err);
		a->start = ret ? 0 : find(&maps, a);
		ram->bytes += a->len_bytes;
	}
	tide__maps_free(&maps);
	return ret;
}

static int memory(struct vmm *vmm, size_t area)
{
	const struct cloud *c = vmm->impl;

	return fcntl(c->offer.memory[area], F_DUPFD_CLOEXEC, 0);
}

static int prepare(struct vmm *vmm, struct tide_error *err)
{
	(void)vmm;
	(void)err;
	return 0;
}

static int pause_it(struct vmm *vmm, struct tide_error *err)
{
	struct cloud *c = vmm->impl;

	c->paused_ns = tide__now_ns();
	return cloud_offer_state(&c->offer, err);
}

static int resume(struct vmm *vmm, struct tide_error *err)
{
	struct cloud *c = vmm->impl;

	bool stood = c->offer.paused;

	(void)err;
	if (c->offer.fd < 0)
		return 0;
	cloud_offer_end(&c->offer, vmm->durable);
	vmm->resumed_ns = tide__now_ns();
	/* One that came paused stood for all of it. */
	vmm->stood_ns = vmm->resumed_ns - (stood ? c->met_ns : c->paused_ns);
	return 0;
}

static int devices(struct vmm *vmm, void **bytes, size_t *n,
		   struct tide_error *err)
{
	const struct cloud *c = vmm->impl;
	const struct cloud_devices d = {
		.config = c->offer.config_text, .state = c->offer.state,
		.config_bytes = c->offer.config_bytes,
		.state_bytes = c->offer.state_bytes,
		.paused = c->offer.paused,
	};

	return cloud_pack(&d, bytes, n, err);
}

const struct vmm_ops vmm_cloud = {
	.name = "cloud-hypervisor",
	.names_memory = true,
	.until_durable = true,
	.open = open_it,
	.close = close_it,
	.await = await,
	.choose = choose,
	.memory = memory,
	.prepare = prepare,
	.pause = pause_it,
	.resume = resume,
	.devices = devices,
};
