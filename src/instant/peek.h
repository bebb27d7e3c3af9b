/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading an instant of another process of this host without asking it: the
 * disk is read, and then the states of its blocks (shared.h) say whether that
 * was still what the instant holds. Where it was not, the server is asked, as
 * anybody who is elsewhere asks for everything.
 *
 * The states say nothing after their server has died: writes are no longer held
 * up, by its successor least of all. So whoever copies by this asks the server
 * for something, on a connection that is older than the peek, after the last
 * read: if it answers, it lived all along.
 *
 * Threads: reads from any.
 */
#ifndef TIDE_INSTANT_PEEK_H
#define TIDE_INSTANT_PEEK_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/error.h"

struct instant_peek;

/*
 * The two descriptors are taken, also on failure. -EPROTO: they are not what
 * they should be for a disk of @size_bytes; -ENOMEM.
 */
int instant_peek_open(int disk_fd, int states_fd, uint64_t size_bytes,
		      struct instant_peek **out, struct tide_error *err);
void instant_peek_close(struct instant_peek *p);

/*
 * True: @buf has what the instant held at [offset, offset + length), if its
 * server lives. False: it must be asked; @buf has anything.
 */
bool instant_peek_read(const struct instant_peek *p, uint64_t offset_bytes,
		       void *buf, uint64_t length_bytes);

#endif
