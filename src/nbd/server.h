/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An NBD server: exports, loops, and the sockets on which clients arrive.
 *
 * Created once, filled with exports, started, and stopped; all by one thread.
 * While it runs, one more thread accepts. It ends in this order: no more
 * clients are accepted, each loop drains (loop.h), nbd_server_stop returns,
 * and the disks, which are the caller's, may be flushed and closed.
 */
#ifndef TIDE_NBD_SERVER_H
#define TIDE_NBD_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "nbd/export.h"
#include "nbd/loop.h"

struct nbd_server;

struct nbd_server_options {
	uint32_t threads; /* loops; 0: one a core, at most 16 */
	struct nbd_limits limits;
	/*
	 * Who may connect to a Unix socket, beside root and ourselves; with
	 * any_uid everybody that the socket's mode lets in.
	 */
	const uint32_t *uids;
	size_t uid_count;
	bool any_uid;
	/* NULL: no TLS. Else nothing is answered without it. */
	const struct nbd_security *security;
	nbd_log_fn *log; /* from any thread */
	void *log_opaque;
};

int nbd_server_create(const struct nbd_server_options *options,
		      struct nbd_server **out, struct tide_error *err);
/* Add exports here, before start. */
struct nbd_exports *nbd_server_exports(struct nbd_server *server);
/* Accept on @fd, a listening socket; owned from now on. Before start. */
int nbd_server_listen(struct nbd_server *server, int fd,
		      struct tide_error *err);
int nbd_server_start(struct nbd_server *server, struct tide_error *err);
/* A client that is connected already, from any thread; owned. */
int nbd_server_give(struct nbd_server *server, int fd);
/*
 * nbd_server_close_export: @e is not found any more, and its clients are hung
 * up on, without an answer to what they asked: they may ask elsewhere.
 * -ETIMEDOUT: a loop did not come round to it in five seconds, and it is open
 * again. Any thread, while it runs.
 */
int nbd_server_close_export(struct nbd_server *server, struct nbd_export *e);
/* Drain and join. Also of one that was never started. */
void nbd_server_stop(struct nbd_server *server);
/* After stop. NULL is fine. */
void nbd_server_destroy(struct nbd_server *server);
/* Connections now. Any thread. */
uint32_t nbd_server_connections(const struct nbd_server *server);
/* What was counted since start; any thread, at any time between start and
 * destroy. */
void nbd_server_figures(const struct nbd_server *server,
			struct nbd_figures *out);
void nbd_server_counts(const struct nbd_server *server,
		       const struct nbd_export *e, struct nbd_counts *out);

#endif
