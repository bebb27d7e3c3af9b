/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The server: accepting clients, and giving each to a loop.
 *
 * One thread accepts for all sockets: accepting is rare, and so the limit on
 * connections and the check of the peer's uid have one place. A client goes to
 * the loop that has the fewest.
 *
 * Without a free descriptor accept fails and the client stays in the socket's
 * queue, which stays readable: trying again at once would spin. A descriptor
 * is kept in reserve for that: it is closed, the client accepted and
 * disconnected, so that it learns of it, and then the descriptor is taken
 * back.
 */
#include "nbd/server.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"

#define MAX_LISTENERS 16u
#define MAX_LOOPS 64u
#define USUAL_MAX_LOOPS 16
#define WORKERS 4u
#define PAUSE_MS 100 /* after a failure that may last */

struct nbd_server {
	struct nbd_common common;
	struct nbd_server_options options;
	struct nbd_loop *loops;
	uint32_t running; /* loops that have their thread */
	int listeners[MAX_LISTENERS];
	uint32_t listener_count;
	int spare_fd, stop_fd;
	pthread_t acceptor;
	bool accepting;
};

static uint32_t loops_for(uint32_t asked)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	if (asked)
		return asked < MAX_LOOPS ? asked : MAX_LOOPS;
	if (cores < 1)
		return 1;
	return cores < USUAL_MAX_LOOPS ? (uint32_t)cores : USUAL_MAX_LOOPS;
}

static int create_loops(struct nbd_server *s, struct tide_error *err)
{
	uint32_t count = s->common.loops;
	int ret = 0;

	s->loops = calloc(count, sizeof(*s->loops));
	if (!s->loops)
		return tide_error_set(err, -ENOMEM, "nbd", TIDE_NO_OFFSET,
				      "no memory for %u loops", count);
	s->common.loops = 0;
	for (uint32_t i = 0; i < count && !ret; i++) {
		/* The share of each is of them all. */
		s->common.loops = count;
		ret = nbd_loop_init(&s->loops[i], &s->common, err);
		s->common.loops = ret ? i : i + 1;
	}
	return ret;
}

int nbd_server_create(const struct nbd_server_options *options,
		      struct nbd_server **out, struct tide_error *err)
{
	struct nbd_server *s = calloc(1, sizeof(*s));
	int ret;

	if (!s || nbd_work_init(&s->common.work, WORKERS)) {
		free(s);
		return tide_error_set(err, -ENOMEM, "nbd", TIDE_NO_OFFSET,
				      "no memory for a server");
	}
	s->options = *options;
	s->common.limits = options->limits;
	nbd_limits_fill(&s->common.limits);
	s->common.security = options->security;
	s->common.tls_required = options->security;
	s->common.log = options->log;
	s->common.log_opaque = options->log_opaque;
	s->common.loops = loops_for(options->threads);
	s->stop_fd = eventfd(0, EFD_CLOEXEC);
	s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	ret = s->stop_fd < 0 || s->spare_fd < 0
		      ? tide_error_set(err, -errno, "nbd", TIDE_NO_OFFSET,
				       "descriptors for a server: %s",
				       strerror(errno))
		      : create_loops(s, err);
	if (ret) {
		nbd_server_destroy(s);
		return ret;
	}
	*out = s;
	return 0;
}

struct nbd_exports *nbd_server_exports(struct nbd_server *server)
{
	return &server->common.exports;
}

uint32_t nbd_server_connections(const struct nbd_server *server)
{
	return tide__load_relaxed(&server->common.connections);
}

int nbd_server_listen(struct nbd_server *s, int fd, struct tide_error *err)
{
	if (s->listener_count == MAX_LISTENERS) {
		close(fd);
		return tide_error_set(err, -E2BIG, "nbd", TIDE_NO_OFFSET,
				      "a server listens on at most %u sockets",
				      MAX_LISTENERS);
	}
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	s->listeners[s->listener_count++] = fd;
	return 0;
}

static void log_refused(const struct nbd_server *s, const struct nbd_peer *peer,
			const char *text)
{
	if (s->common.log)
		s->common.log(s->common.log_opaque, &(struct nbd_event){
			.what = "refused", .warning = true, .peer = *peer,
			.text = text });
}

static bool may_uid(const struct nbd_server *s, uid_t uid)
{
	if (s->options.any_uid || uid == 0 || uid == geteuid())
		return true;
	for (size_t i = 0; i < s->options.uid_count; i++)
		if (s->options.uids[i] == uid)
			return true;
	return false;
}

/* The peer of a Unix socket is asked for; a TCP one is let in, by and large. */
static bool may_connect(struct nbd_server *s, int fd)
{
	struct nbd_peer peer = { 0 };

	if (nbd_peer_of_socket(fd, &peer))
		return false;
	if (!peer.has_uid || may_uid(s, peer.uid))
		return true;
	nbd_refused(&s->common, NBD_REFUSED_UID);
	log_refused(s, &peer, "that user may not connect");
	return false;
}

int nbd_server_give(struct nbd_server *s, int fd)
{
	struct nbd_loop *min = &s->loops[0];
	int one = 1;

	/* Fails on what is no TCP socket, which needs it not. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	for (uint32_t i = 1; i < s->common.loops; i++)
		/* Only for balance: a stale count harms nobody. */
		if (tide__load_relaxed(&s->loops[i].conn_count) <
		    tide__load_relaxed(&min->conn_count))
			min = &s->loops[i];
	if (!nbd_loop_give(min, fd))
		return 0;
	nbd_refused(&s->common, NBD_REFUSED_MEMORY);
	return -ENOMEM;
}

static void use_spare(struct nbd_server *s, int listener)
{
	int fd;

	close(s->spare_fd);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		close(fd);
	s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* False: accepting fails, and may fail for a while. */
static bool accept_one(struct nbd_server *s, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	const struct nbd_peer nobody = { 0 };
	int code = errno;

	if (fd >= 0) {
		if (nbd_server_connections(s) >=
		    s->common.limits.connections) {
			nbd_refused(&s->common, NBD_REFUSED_LIMIT);
			log_refused(s, &nobody,
				    "there are as many as --connections lets");
		} else if (may_connect(s, fd)) {
			nbd_server_give(s, fd);
			return true;
		}
		close(fd);
		return true;
	}
	if (code == EMFILE || code == ENFILE) {
		nbd_refused(&s->common, NBD_REFUSED_DESCRIPTORS);
		log_refused(s, &nobody, "no free descriptor");
		use_spare(s, listener);
		return false;
	}
	return code == EAGAIN || code == EINTR || code == ECONNABORTED;
}

static void *accept_all(void *arg)
{
	struct nbd_server *s = arg;
	struct pollfd fds[MAX_LISTENERS + 1];
	uint32_t n = s->listener_count;

	for (uint32_t i = 0; i < n; i++)
		fds[i] = (struct pollfd){ s->listeners[i], POLLIN, 0 };
	fds[n] = (struct pollfd){ s->stop_fd, POLLIN, 0 };
	for (;;) {
		bool fine = true;

		if (poll(fds, n + 1, -1) < 0 && errno != EINTR)
			break;
		if (fds[n].revents)
			break;
		for (uint32_t i = 0; i < n; i++)
			if (fds[i].revents)
				fine &= accept_one(s, fds[i].fd);
		if (!fine)
			poll(&fds[n], 1, PAUSE_MS);
	}
	return NULL;
}

/* The exports are all there now. */
static int create_counts(struct nbd_server *s, struct tide_error *err)
{
	for (uint32_t i = 0; i < s->common.loops; i++) {
		struct nbd_loop *loop = &s->loops[i];

		free(loop->counts);
		loop->counts = calloc(s->common.exports.count + 1,
				      sizeof(*loop->counts));
		if (!loop->counts)
			return tide_error_set(err, -ENOMEM, "nbd",
					      TIDE_NO_OFFSET,
					      "no memory to count requests");
	}
	return 0;
}

void nbd_server_counts(const struct nbd_server *s, const struct nbd_export *e,
		       struct nbd_counts *out)
{
	memset(out, 0, sizeof(*out));
	for (uint32_t i = 0; i < s->common.loops; i++)
		if (s->loops[i].counts && e->index != NBD_UNCOUNTED)
			nbd_counts_add(out, &s->loops[i].counts[e->index]);
}

void nbd_server_figures(const struct nbd_server *s, struct nbd_figures *out)
{
	const struct nbd_common *common = &s->common;

	*out = (struct nbd_figures){
		.connections = nbd_server_connections(s),
		.accepted = tide__load_relaxed(&common->connection_numbers),
		.loops = common->loops,
	};
	for (uint32_t i = 0; i < NBD_REFUSALS; i++)
		out->refused[i] = tide__load_relaxed(&common->refused[i]);
	for (uint32_t i = 0; i < NBD_STAGES; i++)
		out->dropped[i] = tide__load_relaxed(&common->dropped[i]);
	for (uint32_t i = 0; i < common->loops; i++) {
		const struct nbd_loop *loop = &s->loops[i];

		out->in_flight_bytes += tide__load_relaxed(&loop->shown_bytes);
		out->in_flight_limit_bytes += loop->budget_bytes;
	}
}

/* Signals are for the thread that started the server. */
static int start_threads(struct nbd_server *s, struct tide_error *err)
{
	int ret = 0;

	while (!ret && s->running < s->common.loops) {
		ret = nbd_loop_start(&s->loops[s->running], err);
		s->running += !ret;
	}
	if (ret)
		return ret;
	ret = -pthread_create(&s->acceptor, NULL, accept_all, s);
	s->accepting = !ret;
	if (!ret)
		return 0;
	return tide_error_set(err, ret, "nbd", TIDE_NO_OFFSET,
			      "starting to accept: %s", strerror(-ret));
}

int nbd_server_start(struct nbd_server *s, struct tide_error *err)
{
	sigset_t all, old;
	int ret = create_counts(s, err);

	if (ret)
		return ret;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = start_threads(s, err);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (ret)
		nbd_server_stop(s);
	return ret;
}

static bool all_saw(const struct nbd_server *s, uint32_t closes)
{
	for (uint32_t i = 0; i < s->running; i++)
		if ((int32_t)(tide__load_seqcst(&s->loops[i].seen_closes) -
			      closes) < 0)
			return false;
	return true;
}

int nbd_server_close_export(struct nbd_server *server, struct nbd_export *e)
{
	const struct timespec nap = { .tv_nsec = 1000000 };
	uint32_t closes;

	tide__store_seqcst(&e->closed, true);
	closes = tide__add_seqcst(&server->common.closes, 1) + 1;
	for (int i = 0; i < 5000; i++) {
		for (uint32_t k = 0; k < server->running; k++)
			nbd_loop_wake(&server->loops[k]);
		if (all_saw(server, closes))
			return 0;
		nanosleep(&nap, NULL);
	}
	/* Some are gone, and find it again; none is turned away for good. */
	tide__store_seqcst(&e->closed, false);
	return -ETIMEDOUT;
}

void nbd_server_stop(struct nbd_server *s)
{
	uint64_t one = 1;

	if (s->accepting) {
		while (write(s->stop_fd, &one, sizeof(one)) < 0 &&
		       errno == EINTR)
			;
		pthread_join(s->acceptor, NULL);
		s->accepting = false;
	}
	/* Nobody new; whoever waits in a queue there hears it at once. */
	for (uint32_t i = 0; i < s->listener_count; i++)
		close(s->listeners[i]);
	s->listener_count = 0;
	for (uint32_t i = 0; i < s->running; i++)
		nbd_loop_stop(&s->loops[i]);
	for (uint32_t i = 0; i < s->running; i++)
		nbd_loop_join(&s->loops[i]);
	s->running = 0;
}

void nbd_server_destroy(struct nbd_server *s)
{
	if (!s)
		return;
	nbd_server_stop(s);
	nbd_work_fini(&s->common.work);
	for (uint32_t i = 0; s->loops && i < s->common.loops; i++)
		nbd_loop_fini(&s->loops[i]);
	free(s->loops);
	nbd_exports_fini(&s->common.exports);
	if (s->stop_fd >= 0)
		close(s->stop_fd);
	if (s->spare_fd >= 0)
		close(s->spare_fd);
	free(s);
}
