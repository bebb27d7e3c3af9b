/* SPDX-License-Identifier: BSD-2-Clause */
#include "snapshot/lazy_here.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/atomic.h"
#include "sources/uffd_abi.h"

#define REGISTER_MODE_MISSING 1
#define UFFD_FLAGS (O_CLOEXEC | O_NONBLOCK)
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)

static int no(int ret, const char *what, struct tide_error *err)
{
	return tide_error_set(err, ret, "lazy", TIDE_NO_OFFSET, "%s: %s", what,
			      strerror(-ret));
}

/* One that serves the kernel's faults, too: by privilege, or by the device. */
static int open_uffd(struct tide_error *err)
{
	int fd = (int)syscall(SYS_userfaultfd, UFFD_FLAGS), device;

	if (fd >= 0 || errno != EPERM)
		return fd >= 0 ? fd : no(-errno, "userfaultfd", err);
	device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (device >= 0) {
		fd = ioctl(device, USERFAULTFD_IOC_NEW, UFFD_FLAGS);
		close(device);
	}
	if (fd >= 0)
		return fd;
	return no(-EPERM, "a vCPU's page faults are served with "
		  "CAP_SYS_PTRACE, /dev/userfaultfd or "
		  "vm.unprivileged_userfaultfd=1", err);
}

static int take_in_hand(struct lazy *l, struct tide_error *err)
{
	struct tide__uffdio_api api = { .api = TIDE__UFFD_API };

	if (ioctl(l->uffd, TIDE__UFFDIO_API, &api) < 0)
		return no(-errno, "userfaultfd", err);
	for (size_t i = 0; i < l->regions; i++) {
		struct tide__uffdio_register reg = {
			.range = { l->region[i].address, l->region[i].bytes },
			.mode = REGISTER_MODE_MISSING,
		};

		if (ioctl(l->uffd, TIDE__UFFDIO_REGISTER, &reg) < 0)
			return no(-errno, "memory cannot be registered", err);
	}
	return 0;
}

/* Pairs with the store in lazy_here_end. */
static bool is_over(void *opaque)
{
	const struct lazy_here *here = opaque;

	return here->lazy.stats.complete_ns || tide__load_acquire(&here->over);
}

static void let_go(struct lazy_here *here)
{
	if (here->lazy.uffd >= 0)
		close(here->lazy.uffd);
	here->lazy.uffd = -1;
}

static void *serve(void *opaque)
{
	struct lazy_here *here = opaque;
	struct tide_error err;
	int ret;

	tide_error_clear(&err);
	ret = lazy_serve(&here->lazy, is_over, here, &err);
	/* Else what is missing would be zeroes from now on. */
	if (ret || here->lazy.stats.complete_ns) {
		if (!ret)
			let_go(here);
		here->done(here, ret, &err);
	}
	return NULL;
}

int lazy_here_start(struct lazy_here *here, struct tide_error *err)
{
	struct lazy *l = &here->lazy;
	int ret = 0;

	l->peer = -1;
	l->uffd = open_uffd(err);
	if (l->uffd < 0)
		ret = l->uffd;
	if (!ret)
		ret = take_in_hand(l, err);
	if (!ret) {
		ret = -pthread_create(&here->thread, NULL, serve, here);
		if (ret)
			no(ret, "no thread", err);
	}
	if (ret)
		let_go(here);
	return ret;
}

void lazy_here_end(struct lazy_here *here)
{
	/* Pairs with the load in is_over. */
	tide__store_release(&here->over, 1);
	pthread_join(here->thread, NULL);
	let_go(here);
}
