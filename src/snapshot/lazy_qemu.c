/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The order: memory emptied (firmware may have been written there), attached
 * to, missing pages registered, the guard made; then faults are served by a
 * thread, for the devices touch memory when they load. The guard holds the
 * userfaultfd, too: if we die, whoever waits for a page goes on waiting until
 * the guard has ended the VM.
 */
#include "snapshot/lazy_qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/pidfd.h"
#include "snapshot/memory.h"
#include "sources/uffd_abi.h"

#define FEATURE_EVENT_REMOVE (1ull << 3)
#define FEATURE_MISSING_SHMEM (1ull << 5)
#define REGISTER_MODE_MISSING 1

struct serving {
	struct lazy_qemu *q;
	pthread_t thread;
	int runs;		/* then it ends when all is there */
	int over;		/* or at once */
	struct tide_error err;
	int ret;
};

static int no(int ret, const char *what, struct tide_error *err)
{
	return tide_error_set(err, ret, "lazy", TIDE_NO_OFFSET, "%s", what);
}

/* Never another process that got its number: its memory is still there. */
static void end_it(int uffd, const void *what)
{
	const int *pid = what;
	struct tide__uffdio_zeropage probe = { .range = { 0, SNAP_PAGE } };
	int pidfd = (int)syscall(SYS_pidfd_open, *pid, 0);

	if (pidfd >= 0 && (!ioctl(uffd, TIDE__UFFDIO_ZEROPAGE, &probe) ||
			   errno != ESRCH))
		syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
}

static int find_memory(struct lazy_qemu *q, struct tide__ram *ram,
		       struct tide_error *err)
{
	const struct snap_header *h = snap_chain_header(q->lazy.chain);
	const struct snap_area *area = snap_chain_areas(q->lazy.chain);
	struct tide__maps maps;
	int ret = tide__maps_read(&maps, q->vmm.pid, err);

	if (ret)
		return ret;
	ret = tide__ram_find(ram, &maps, 0, err);
	tide__maps_free(&maps);
	if (!ret)
		ret = q->vmm.ops->choose(&q->vmm, ram, err);
	if (ret)
		return ret;
	if (q->vmm.private_memory)
		return no(-EOPNOTSUPP, "this QEMU's memory is private; it "
			  "takes share=on", err);
	if (ram->count != h->areas || ram->count > LAZY_MAX_REGIONS)
		return no(-EINVAL, "this QEMU's memory is not in as many "
			  "pieces as the snapshot's", err);
	for (size_t i = 0; i < ram->count; i++) {
		if (ram->area[i].len_bytes != area[i].pages * SNAP_PAGE)
			return no(-EINVAL, "this QEMU's memory is not as large "
				  "as the snapshot's", err);
		if (ram->area[i].kind != TIDE__MAP_SHMEM)
			return no(-EOPNOTSUPP, "it takes memory from a memfd "
				  "or /dev/shm", err);
	}
	return 0;
}

static int register_memory(struct lazy_qemu *q, const struct tide__ram *ram,
			   struct tide_error *err)
{
	struct tide__uffdio_api api = {
		.api = TIDE__UFFD_API,
		.features = FEATURE_EVENT_REMOVE | FEATURE_MISSING_SHMEM,
	};
	struct lazy *l = &q->lazy;

	if (ioctl(l->uffd, TIDE__UFFDIO_API, &api) < 0)
		return no(-errno, "userfaultfd serves no shared memory here",
			  err);
	for (size_t i = 0; i < ram->count; i++) {
		const struct tide__ram_area *a = &ram->area[i];
		const struct snap_area *of = &snap_chain_areas(l->chain)[i];
		struct tide__uffdio_register reg = {
			.range = { a->start, a->len_bytes },
			.mode = REGISTER_MODE_MISSING,
		};

		if (ioctl(l->uffd, TIDE__UFFDIO_REGISTER, &reg) < 0)
			return no(-errno, "its memory cannot be registered: "
				  "has it a page fault handler already?", err);
		l->region[i] = (struct lazy_region){
			.address = a->start, .bytes = a->len_bytes,
			.offset_bytes = of->first_page * SNAP_PAGE,
			.page_bytes = SNAP_PAGE,
		};
	}
	l->regions = ram->count;
	return 0;
}

static int open_all(struct lazy_qemu *q, int pid, const char *qmp,
		    struct tide_error *err)
{
	struct tide__ram ram;
	int ret = vmm_open(&q->vmm, &vmm_qemu, pid, qmp, err);

	if (!ret)
		ret = vmm_qemu_is_incoming(&q->vmm, err);
	if (!ret)
		ret = find_memory(q, &ram, err);
	if (!ret)
		ret = snap_memory_empty(pid, &ram, err);
	if (!ret)
		ret = tide__attach_serve(&q->attach, pid, err);
	if (ret)
		return ret;
	q->lazy.uffd = q->attach.uffd;
	q->attach.uffd = -1;
	ret = register_memory(q, &ram, err);
	return ret ? ret : guard_start(&q->guard, end_it, q->lazy.uffd,
				       &q->vmm.pid, err);
}

/* All is there, and it runs; or it never will. Pairs with both stores below. */
static bool is_done(void *opaque)
{
	const struct serving *s = opaque;

	return tide__load_acquire(&s->over) ||
	       (tide__load_acquire(&s->runs) &&
		s->q->lazy.stats.complete_ns);
}

static void *serve(void *opaque)
{
	struct serving *s = opaque;

	s->ret = lazy_serve(&s->q->lazy, is_done, s, &s->err);
	return NULL;
}

static int start(struct lazy_qemu *q, struct tide_error *err)
{
	void *devices = NULL;
	size_t n = 0;
	int ret = snap_chain_devices(q->lazy.chain, &devices, &n, err);

	if (!ret && !n)
		ret = no(-ENOENT, "the snapshot was made without devices", err);
	if (!ret)
		ret = vmm_qemu_start(&q->vmm, devices, n, err);
	free(devices);
	return ret;
}

/* Its devices, beside a thread that serves its faults until all is there. */
static int run_beside(struct lazy_qemu *q, uint64_t start_ns,
		      struct tide_error *err)
{
	struct serving s = { .q = q };
	int ret = -pthread_create(&s.thread, NULL, serve, &s);

	if (ret)
		return no(ret, "no thread", err);
	ret = start(q, err);
	if (!ret) {
		q->running = true;
		q->running_ns = tide__now_ns() - start_ns;
		tide__store_release(&s.runs, 1);
	} else {
		tide__store_release(&s.over, 1);
	}
	pthread_join(s.thread, NULL);
	if (ret || !s.ret)
		return ret;
	if (err)
		*err = s.err;
	return s.ret;
}

int lazy_qemu_run(struct lazy_qemu *q, int pid, const char *qmp,
		  struct tide_error *err)
{
	uint64_t start_ns = tide__now_ns();
	int ret;

	q->lazy.uffd = q->lazy.peer = -1;
	q->attach = (struct tide__attach){ .pidfd = -1, .uffd = -1,
					   .pagemap = -1 };
	q->guard = (struct guard)GUARD_NONE;
	ret = open_all(q, pid, qmp, err);
	if (!ret)
		ret = run_beside(q, start_ns, err);
	/* It must not go on with what nobody serves. */
	if (ret && q->lazy.regions)
		end_it(q->lazy.uffd, &q->vmm.pid);
	guard_dismiss(&q->guard);
	if (q->lazy.uffd >= 0)
		close(q->lazy.uffd);
	q->lazy.uffd = -1;
	tide__attach_close(&q->attach);
	vmm_close(&q->vmm);
	return ret;
}
