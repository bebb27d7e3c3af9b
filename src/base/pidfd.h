/* SPDX-License-Identifier: BSD-2-Clause */
/* pidfd system calls, for a libc that lacks them. */
#ifndef TIDE_BASE_PIDFD_H
#define TIDE_BASE_PIDFD_H

#include <sys/syscall.h>

/* The same on every architecture: they came after the numbers were united. */
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

#endif
