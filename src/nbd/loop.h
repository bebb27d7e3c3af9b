/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An event loop: one thread, its connections, and what they share. The thread
 * sleeps in one place only, epoll; connections, the disks' queue and the
 * workers wake it through descriptors there.
 *
 * In each turn it takes what clients sent (requests go into the queue), polls
 * the queue once (all requests are submitted to the kernel, answers are made),
 * and sends each client all its answers with one call. So a batch of n
 * requests costs about four system calls, whatever n is.
 *
 * Who may hold how much memory is decided in budget.c.
 */
#ifndef TIDE_NBD_LOOP_H
#define TIDE_NBD_LOOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "nbd/buffers.h"
#include "nbd/conn.h"
#include "nbd/work.h"

/* What a server allows; 0: the default, which nbd_limits_fill puts there. */
struct nbd_limits {
	uint32_t connections; /* of all loops; 1024 */
	uint32_t requests; /* of one connection, in flight; 256 */
	uint64_t connection_bytes; /* held by its requests; 64 MiB */
	uint64_t total_bytes; /* by those of all; 512 MiB */
	uint32_t handshake_ms; /* from accept to transmission; 10 s */
	uint32_t drain_ms; /* from the end of requests to closed; 10 s */
	uint32_t stall_ms; /* not reading while others wait for it; 30 s */
};

/* For the log; borrowed for the call. */
struct nbd_event {
	/* refused, opened, denied, ended, dropped (by us, with a reason) */
	const char *what;
	bool warning;
	uint64_t client; /* its number; 0: it got none */
	const char *export; /* NULL: none yet */
	struct nbd_peer peer;
	const char *text;
};

/* From any loop's thread, which it must not keep. */
typedef void nbd_log_fn(void *opaque, const struct nbd_event *event);

/* What all loops share; made by server.c, or by a test. */
struct nbd_common {
	struct nbd_exports exports;
	struct nbd_limits limits;
	struct nbd_work work;
	uint32_t loops;
	bool tls_required;
	const struct nbd_security *security; /* NULL: STARTTLS is refused */
	nbd_log_fn *log; /* NULL: nowhere */
	void *log_opaque;
	uint32_t closes; /* atomic: how often exports were closed */
	uint32_t connections; /* atomic */
	uint64_t connection_numbers; /* atomic */
	uint64_t refused[NBD_REFUSALS], dropped[NBD_STAGES]; /* atomic */
};

struct nbd_loop {
	struct nbd_common *common;
	struct tide_queue *queue;
	struct nbd_buffers buffers;
	struct nbd_done done;
	uint8_t *scratch; /* what was received and not yet taken */
	uint64_t budget_bytes, charged_bytes;
	uint64_t shown_bytes; /* atomic: charged, at the end of a turn */
	struct nbd_counts *counts; /* one an export; NULL: nobody asks */
	uint32_t seen_closes; /* atomic: of common->closes */
	struct nbd_conn *conns;
	uint32_t conn_count; /* atomic: server.c asks for the least */
	struct nbd_conn *dirty; /* with output that was not tried yet */
	struct nbd_conn *paused, **paused_end;
	bool returned; /* budget came back: the paused may try */
	bool closed_any; /* somebody may be over: sweep */
	bool draining;
	bool timed; /* somebody has a deadline, or waits for memory */
	struct nbd_request *free_requests;
	uint32_t free_request_count;
	uint64_t now_ns; /* of this turn */
	uint64_t ticked_ns;

	/* loop_run.c */
	int epoll_fd, wake_fd;
	pthread_mutex_t lock; /* arrivals, stop */
	int *arrivals;
	uint32_t arrival_count, arrival_room;
	bool stop;
	pthread_t thread;
};

#define NBD_SCRATCH_BYTES (256u << 10)
#define NBD_TICK_NS 100000000u

void nbd_limits_fill(struct nbd_limits *limits);
/* A client was not let in: only a count. Any thread. */
void nbd_refused(struct nbd_common *common, enum nbd_refusal why);

/* 0 or -errno. The common part outlives the loop. */
int nbd_loop_init(struct nbd_loop *loop, struct nbd_common *common,
		  struct tide_error *err);
/* Every connection is closed, what is in flight is waited for. */
void nbd_loop_fini(struct nbd_loop *loop);

/* A client; the stream is taken over in any case. NULL: refused. */
struct nbd_conn *nbd_loop_add(struct nbd_loop *loop,
			      const struct nbd_stream *stream);
/*
 * Everything that can be done without waiting; true: there is more to do
 * without having to sleep.
 */
bool nbd_loop_turn(struct nbd_loop *loop);
/* End all connections, as they get done. */
void nbd_loop_drain(struct nbd_loop *loop);

/*
 * Who uses which export has changed. Clients of one disk may wait for its
 * writes on the loop's thread; where there are others they must not.
 */
void nbd_loop_share(struct nbd_loop *loop);

/* budget.c. resume: those who wait try once; true: somebody goes on. */
bool nbd_budget_resume(struct nbd_loop *loop);
void nbd_budget_let_one_go(struct nbd_loop *loop);

/* For connections. charge: false: @c is paused, and continues later. */
bool nbd_loop_charge(struct nbd_conn *c, uint64_t bytes);
void nbd_loop_uncharge(struct nbd_conn *c, uint64_t bytes);
void nbd_loop_pause(struct nbd_conn *c);
void nbd_loop_unpause(struct nbd_conn *c);
void nbd_loop_mark_dirty(struct nbd_conn *c);
struct nbd_request *nbd_loop_get_request(struct nbd_loop *loop);
void nbd_loop_put_request(struct nbd_loop *loop, struct nbd_request *r);
void nbd_loop_log(struct nbd_conn *c, const char *what, const char *text);

/* loop_run.c: the thread. give: @fd is a new client; owned. 0 or -errno. */
int nbd_loop_start(struct nbd_loop *loop, struct tide_error *err);
int nbd_loop_give(struct nbd_loop *loop, int fd);
/* There is a new export to be closed: look. */
void nbd_loop_wake(struct nbd_loop *loop);
/* Drain, and end when the last connection is gone. */
void nbd_loop_stop(struct nbd_loop *loop);
void nbd_loop_join(struct nbd_loop *loop);
/* 0 and what the kernel says of a Unix socket's peer, or -errno. */
int nbd_peer_of_socket(int fd, struct nbd_peer *peer);
/* epoll shall know what the connection waits for. */
void nbd_loop_watch(struct nbd_conn *c);

#endif
