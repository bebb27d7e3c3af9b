/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The sockets that `tidemark serve` listens on: made by itself, or handed
 * over by systemd (socket activation).
 */
#ifndef CLI_SERVE_SOCKETS_H
#define CLI_SERVE_SOCKETS_H

#include <stddef.h>
#include <stdint.h>

#include "tidemark/error.h"

/*
 * serve_listen_tcp: @where is HOST:PORT, [V6]:PORT or HOST. An address that is
 * not loopback is refused if @exposed says what would be seen there; NULL: it
 * is let. At most @room sockets (a name may have several addresses) into @fds;
 * how many, or -errno.
 */
int serve_listen_tcp(const char *where, const char *exposed, int *fds,
		     int room, struct tide_error *err);

/* "unix:PATH" or "tcp:HOST:PORT" of a listening socket, as it really is. */
void serve_name_of(int fd, char *name, size_t room);

/* How many sockets systemd handed over; the first is descriptor 3. */
int serve_activated(void);

/* Tell the service manager, if there is one: "READY=1". */
void serve_notify(const char *state);

#endif
