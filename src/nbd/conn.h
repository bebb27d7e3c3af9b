/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A connection and its requests, seen from the inside: conn.c, options.c,
 * request.c, carry.c, status.c, reply.c. Everything here belongs to the one
 * loop of the connection, except what status.c says that a worker touches.
 *
 *               magic wrong, deadline, peer gone
 *          +----------------------------------------+
 *          |                                        v
 *   FLAGS -> OPTIONS <-> TLS ------------------> (closed)
 *               |                                   ^
 *               | EXPORT_NAME, GO                   |
 *               v             DISC, broken framing, |
 *          TRANSMISSION ----- drain ---> ENDING ----+
 *
 * Bytes are fed to the connection as they come (nbd_conn_feed). At any moment
 * it collects a message of known length (`into`, `have`, `want`), and calls
 * `step` when it is whole; the step says what is collected next. What is to be
 * skipped is collected into nothing.
 *
 * ENDING: nothing is read as a request any more; what is in flight is finished
 * and answered, then our half of the stream is shut, then input is thrown away
 * until the client ends, too, or a short deadline: to close a socket with
 * unread input may take the last answers away from the client.
 */
#ifndef TIDE_NBD_CONN_H
#define TIDE_NBD_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "disk/queue.h"
#include "nbd/counts.h"
#include "nbd/export.h"
#include "nbd/proto.h"
#include "nbd/stream.h"
#include "nbd/work.h"

struct nbd_loop;
struct nbd_request;

enum nbd_phase {
	NBD_PHASE_FLAGS, /* greeted; the client's flags are awaited */
	NBD_PHASE_OPTIONS,
	NBD_PHASE_TLS, /* its handshake; then options, from the start */
	NBD_PHASE_TRANSMISSION,
	NBD_PHASE_ENDING,
	NBD_PHASE_CLOSED, /* the stream is gone; requests are still under way */
};

/* Which kind of reply the client asked for. */
enum nbd_headers { NBD_SIMPLE, NBD_STRUCTURED, NBD_EXTENDED };

/* Contexts of one connection; more than one cares for is -EINVAL. */
#define NBD_MAX_SELECTED 32u

struct nbd_selected {
	struct nbd_context *context; /* a reference */
	uint32_t id;
};

/* A message on its way to the client, in parts, then a part of a file. */
struct nbd_out {
	struct nbd_out *next;
	int file;
	off_t file_at;
	uint64_t file_bytes; /* still to be sent of it; 0: none */
	struct iovec *parts;
	uint32_t at, count; /* parts before `at` are sent */
	void (*sent)(struct nbd_out *out); /* also when it never will be */
};

struct nbd_conn {
	struct nbd_loop *loop;
	struct nbd_conn *next, *previous; /* of the loop */
	struct nbd_stream stream;
	enum nbd_phase phase;
	uint64_t deadline_ns; /* 0: none */
	uint64_t number; /* for the log */
	struct nbd_peer peer; /* the identity is the stream's */

	/* What is collected. */
	uint8_t *into; /* NULL: it is thrown away */
	uint64_t have, want;
	void (*step)(struct nbd_conn *c);
	uint8_t head[sizeof(struct nbd_extended_request_head)];

	/* Came, and cannot be taken yet. */
	uint8_t *stash;
	uint32_t stash_at, stash_end;

	/* Options. */
	enum nbd_headers headers;
	bool no_zeroes, fixed;
	bool tls; /* is under TLS */
	bool tls_started; /* its handshake is under way */
	bool input_ended; /* the peer sends no more */
	bool shut; /* so do we */
	uint32_t option, option_length;
	uint8_t *option_data; /* of that length; owned */
	uint32_t error_type; /* after skipping: the answer */
	const char *error_text;
	struct nbd_export *export;
	struct nbd_counts *counts; /* the loop's, of the export; NULL: none */
	struct nbd_export *selected_for; /* the export of `selected` */
	struct nbd_selected selected[NBD_MAX_SELECTED];
	uint32_t selected_count, next_context_id;

	/* Transmission. */
	struct nbd_request *incoming; /* its payload is being collected */
	uint32_t requests; /* not answered yet, incoming too */
	uint64_t taken; /* requests, since ever */
	uint64_t charged_bytes; /* what they hold, of the loop's budget */
	bool paused; /* in the loop's list of those who wait for budget */
	struct nbd_conn *next_paused;
	uint64_t paused_since_ns;

	/* Output. */
	struct nbd_out *out_first, *out_last;
	uint64_t out_bytes;
	uint64_t out_moved_ns; /* when output last moved, or began to wait */
	bool in_dirty; /* in the loop's list of those with output */
	struct nbd_conn *next_dirty;
	bool blocked; /* the stream takes no more for now */
	uint32_t events; /* what epoll was told */
};

/* A request from its head until its last byte of answer was sent. */
struct nbd_request {
	struct tide_io io; /* first: carry.c goes from it to the request */
	struct nbd_out out;
	struct nbd_job job;
	struct nbd_conn *conn;
	struct nbd_request *next; /* the loop's free ones */
	uint64_t began_ns; /* by the loop's clock */
	uint64_t cookie, offset, length;
	uint16_t command, flags;
	uint32_t error; /* NBD_E*, found before the payload was read */
	const char *error_text;
	uint8_t *buf; /* data, of buf_bytes; from the loop's buffers */
	uint64_t buf_bytes;
	uint64_t charged_bytes;
	struct nbd_status *status; /* BLOCK_STATUS: status.c */
	struct iovec few[4];
	uint8_t heads[64];
	void *many; /* more parts and heads than these; malloc'ed */
};

/* conn.c, conn_out.c */
/*
 * nbd_conn_create: takes over the stream (also on failure); nbd_options_greet
 * is next. NULL: no memory. destroy: when nothing of it is under way any more.
 */
struct nbd_conn *nbd_conn_create(struct nbd_loop *loop,
				 const struct nbd_stream *stream);
void nbd_conn_destroy(struct nbd_conn *c);
/* Collect @want bytes into @into, or drop them, then call @step. */
void nbd_conn_expect(struct nbd_conn *c, void *into, uint64_t want,
		     void (*step)(struct nbd_conn *c));
/* Take from @bytes what can be taken; returns how many. */
size_t nbd_conn_feed(struct nbd_conn *c, const uint8_t *bytes, size_t length);
/* Read from the stream and feed, until it is empty or enough for one turn. */
void nbd_conn_read(struct nbd_conn *c);
/* After a pause: try again, and take what was stashed. True: it did. */
bool nbd_conn_continue(struct nbd_conn *c);
/* Could it use more input, or must the client wait? */
bool nbd_conn_wants_input(const struct nbd_conn *c);
/* Queue a message; sent by the loop at the end of its turn. */
void nbd_conn_put(struct nbd_conn *c, struct nbd_out *out);
/* Send what is queued, as far as the stream takes it. */
void nbd_conn_flush(struct nbd_conn *c);
/* The message at the head is gone, or never will be; its owner gets it back. */
void nbd_conn_pop(struct nbd_conn *c);
/*
 * conn_tls.c. STARTTLS was accepted: when that answer has left, in the clear,
 * TLS begins; when its handshake is done, the options do, from the start.
 */
void nbd_conn_start_tls(struct nbd_conn *c);
void nbd_conn_put_on_tls(struct nbd_conn *c);
/* A step of its handshake, which may be the last. */
void nbd_conn_handshake(struct nbd_conn *c);
/* The stream takes more again: it is tried in this turn. */
void nbd_conn_unblock(struct nbd_conn *c);
/* No more requests: finish, answer, close. */
void nbd_conn_end(struct nbd_conn *c);
/* At once; @why for the log, NULL: nothing to tell. */
void nbd_conn_close(struct nbd_conn *c, const char *why);
/* From now on it has so long for what it is at; 0: as long as it likes. */
void nbd_conn_set_deadline(struct nbd_conn *c, uint64_t ns);
/* May the connection be freed? */
bool nbd_conn_is_over(const struct nbd_conn *c);
/* Time went by. */
void nbd_conn_tick(struct nbd_conn *c, uint64_t now_ns);
void nbd_conn_deselect(struct nbd_conn *c);

/* options.c: steps of the handshake */
void nbd_options_greet(struct nbd_conn *c);
/* Again at the first option: at the start, and after TLS. */
void nbd_options_begin(struct nbd_conn *c);

/* The export that an option names; NULL: none that this client may see. */
struct nbd_export *nbd_option_export(struct nbd_conn *c, const uint8_t *name,
				     size_t length);

/* options_meta.c: LIST_META_CONTEXT and SET_META_CONTEXT */
void nbd_options_meta(struct nbd_conn *c);

/* options_reply.c: what options are answered with */
void nbd_option_reply(struct nbd_conn *c, uint32_t type, const void *data,
		      uint32_t length);
/* Then the next option. */
void nbd_option_fail(struct nbd_conn *c, uint32_t type, const char *text);
void nbd_option_ack(struct nbd_conn *c);
/* A message as it is, without a head. */
void nbd_put_bytes(struct nbd_conn *c, const void *data, uint32_t length);
/* Ready for the next option. */
void nbd_option_next(struct nbd_conn *c);

/* request.c: steps of transmission */
void nbd_requests_begin(struct nbd_conn *c);
/* It turned out to hold no more than @bytes, and what it cost by itself. */
void nbd_request_holds(struct nbd_request *r, uint64_t bytes);
/* Its answer is sent, or never will be. */
void nbd_request_finish(struct nbd_request *r);

/* carry.c: what each command does to the disk */
void nbd_request_carry(struct nbd_request *r);

/* status.c: BLOCK_STATUS, from its payload on */
void nbd_status_begin(struct nbd_request *r);
void nbd_status_free(struct nbd_status *status);
/* How much memory an answer may take. */
uint64_t nbd_status_charge(const struct nbd_conn *c, uint16_t flags);

/* reply.c: answers, each queued as the last thing that is done to a request */
void nbd_reply_done(struct nbd_request *r);
void nbd_reply_error(struct nbd_request *r, uint32_t error, const char *text);
void nbd_reply_read(struct nbd_request *r);
/* A read whose data is to be had from the export's reader_fd. */
void nbd_reply_read_file(struct nbd_request *r);
/* @chunks payloads of @type, each of its iovec in @payloads. */
void nbd_reply_chunks(struct nbd_request *r, uint16_t type,
		      const struct iovec *payloads, uint32_t chunks);
/* The one place where -errno becomes a number of the protocol. */
uint32_t nbd_error_of(int code);

#endif
