/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ranges of pages over a socket to a thread that puts them in their place, in
 * the ways that migrations and backups do it:
 *
 *   table   256 ranges a call: their table, then all their pages
 *   call    a range a call: 24 bytes of head, then its pages
 *   frame   frames of our migration stream, with checksums, 64 pages at most
 *   answer  like call, but the next range waits for the receiver's answer
 */
#ifndef BENCH_GAP_WIRE_H
#define BENCH_GAP_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "tidemark/range.h"

enum gap_way { GAP_TABLE, GAP_CALL, GAP_FRAME, GAP_ANSWER, GAP_WAYS };

extern const char *const gap_way_names[GAP_WAYS];

struct gap_socket {
	const char *name;
	int tcp;			/* 0: a Unix socket */
	uint64_t pace_bytes_per_s;	/* 0: as fast as it goes */
};

struct gap_wire;

/*
 * Connect, and start the receiver. @from and @to hold @pages pages of 4096
 * bytes and are borrowed until close. 0 or -errno.
 */
int gap_wire_open(struct gap_wire **out, const struct gap_socket *socket,
		  enum gap_way way, const unsigned char *from,
		  unsigned char *to, uint64_t pages);
/* Ends the receiver. 0, or the first error of either side. NULL is fine. */
int gap_wire_close(struct gap_wire *wire);

/* Send @n ranges. Errors are kept for gap_wire_end; -EINVAL: not inside. */
void gap_wire_send(struct gap_wire *wire, const struct tide_range *ranges,
		   size_t n);
/* Send what waits, and wait until all is in place. 0 or the first -errno. */
int gap_wire_end(struct gap_wire *wire, uint64_t *pages, uint64_t *ranges);

#endif
