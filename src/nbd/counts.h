/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a server counts, for monitoring.
 *
 * Each loop counts for itself, with an entry for each export, so that counting
 * costs a request a few plain stores to a cache line of its own thread; a
 * reader adds up the loops. Each figure is correct, but together they are not
 * of one instant.
 */
#ifndef TIDE_NBD_COUNTS_H
#define TIDE_NBD_COUNTS_H

#include <stdint.h>

/* By number of the command; DISC is never answered: its place has the rest. */
#define NBD_COUNTED_COMMANDS 8u

/* By what the client was told. */
enum nbd_counted_error {
	NBD_COUNTED_PERM,
	NBD_COUNTED_IO,
	NBD_COUNTED_NOMEM,
	NBD_COUNTED_INVAL,
	NBD_COUNTED_NOSPC,
	NBD_COUNTED_OVERFLOW,
	NBD_COUNTED_NOTSUP,
	NBD_COUNTED_SHUTDOWN,
	NBD_COUNTED_ERRORS
};

/* Why a client was not let in. */
enum nbd_refusal {
	NBD_REFUSED_UID,
	NBD_REFUSED_LIMIT,
	NBD_REFUSED_DESCRIPTORS,
	NBD_REFUSED_MEMORY,
	NBD_REFUSALS
};

/* Where a connection was that we closed, for a reason that the log has. */
enum nbd_stage {
	NBD_STAGE_HANDSHAKE,
	NBD_STAGE_TRANSMISSION,
	NBD_STAGE_END,
	NBD_STAGES
};

/* Of one export; all atomic, written by one thread. */
struct nbd_counts {
	uint64_t opened; /* connections that came to transmission */
	uint64_t denied; /* asked for by who may not see it */
	uint64_t requests[NBD_COUNTED_COMMANDS]; /* that were answered */
	uint64_t request_ns[NBD_COUNTED_COMMANDS];
	uint64_t bytes[NBD_COUNTED_COMMANDS]; /* of those that ended well */
	uint64_t errors[NBD_COUNTED_ERRORS];
	uint64_t uncopied; /* bytes of reads: pages.c */
};

/* Of a server. */
struct nbd_figures {
	uint64_t connections, accepted;
	uint64_t refused[NBD_REFUSALS];
	uint64_t dropped[NBD_STAGES];
	uint64_t in_flight_bytes, in_flight_limit_bytes;
	uint64_t loops;
};

struct nbd_conn;
struct nbd_export;
struct nbd_request;

/* On the loop's thread. */
void nbd_count_opened(struct nbd_conn *c);
void nbd_count_denied(struct nbd_conn *c, const struct nbd_export *e);
/* @error: NBD_E*, 0: it went well. */
void nbd_count_answer(const struct nbd_request *r, uint32_t error);
/* An answer by pages.c. */
void nbd_count_uncopied(const struct nbd_request *r);
/* *into += *from, which its owner goes on with. */
void nbd_counts_add(struct nbd_counts *into, const struct nbd_counts *from);

/* "read", "write_zeroes"; "unknown". */
const char *nbd_command_word(uint32_t command);
/* "EIO" */
const char *nbd_error_word(uint32_t counted);
const char *nbd_refusal_word(uint32_t refusal);
const char *nbd_stage_word(uint32_t stage);

#endif
