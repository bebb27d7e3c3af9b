/* SPDX-License-Identifier: BSD-2-Clause */
#include "gap_wire.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "peer/channel.h"

#define PAGE_BYTES 4096u
#define BATCH 256

const char *const gap_way_names[GAP_WAYS] = { "table", "call", "frame",
					      "answer" };

/* What goes before the pages; as many ranges as the way sends at once. */
struct table {
	uint64_t n;	/* 0: all was sent; answer with a report */
	struct tide_range range[BATCH];
};

struct report {
	uint64_t pages, ranges;
};

struct gap_wire {
	enum gap_way way;
	int near, far;			/* sockets */
	pthread_t receiver;
	const unsigned char *from;
	unsigned char *to;
	uint64_t pages;
	struct table table;		/* waits for being sent */
	struct tide__channel channel;	/* of the sender, way "frame" */
	int ret, far_ret;		/* far_ret: after the join only */
};

static size_t batch(const struct gap_wire *w)
{
	return w->way == GAP_TABLE ? BATCH : 1;
}

static size_t table_bytes(const struct gap_wire *w)
{
	return sizeof(uint64_t) + batch(w) * sizeof(struct tide_range);
}

/* All of @iov, out or in; a stream may take it in pieces. 0 or -errno. */
static int move_all(int fd, struct iovec *iov, size_t n, bool out)
{
	while (n) {
		struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n };
		ssize_t done = out ? sendmsg(fd, &msg, MSG_NOSIGNAL)
				   : recvmsg(fd, &msg, MSG_WAITALL);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done ? -errno : -EPIPE;
		while (n && (size_t)done >= iov->iov_len) {
			done -= (ssize_t)iov->iov_len;
			iov++;
			n--;
		}
		if (n) {
			iov->iov_base = (char *)iov->iov_base + done;
			iov->iov_len -= (size_t)done;
		}
	}
	return 0;
}

static int move_one(int fd, void *bytes, size_t len, bool out)
{
	struct iovec iov = { bytes, len };

	return move_all(fd, &iov, 1, out);
}

static bool is_inside(const struct gap_wire *w, struct tide_range r)
{
	return r.count && r.first < w->pages && r.count <= w->pages - r.first;
}

/* The pages of @t's ranges as pieces of @memory; -EPROTO if outside. */
static int pieces(const struct gap_wire *w, const struct table *t,
		  unsigned char *memory, struct iovec *iov)
{
	if (t->n > batch(w))
		return -EPROTO;
	for (size_t i = 0; i < t->n; i++) {
		const struct tide_range *r = &t->range[i];

		if (!is_inside(w, *r))
			return -EPROTO;
		iov[i].iov_base = memory + r->first * PAGE_BYTES;
		iov[i].iov_len = r->count * PAGE_BYTES;
	}
	return 0;
}

static int receive_table(struct gap_wire *w, struct report *got, bool *end)
{
	struct iovec iov[BATCH];
	struct table t;
	char yes = 1;
	int ret = move_one(w->far, &t, table_bytes(w), false);

	if (!ret)
		ret = pieces(w, &t, w->to, iov);
	*end = !ret && !t.n;
	if (ret || *end)
		return ret;
	for (size_t i = 0; i < t.n; i++)
		got->pages += t.range[i].count;
	got->ranges += t.n;
	ret = move_all(w->far, iov, t.n, false);
	if (!ret && w->way == GAP_ANSWER)
		ret = move_one(w->far, &yes, 1, true);
	return ret;
}

static int receive_frame(struct gap_wire *w, struct tide__channel *c,
			 struct report *got, bool *end)
{
	struct tide__frame f;
	int ret = tide__channel_receive_head(c, &f, NULL);

	*end = !ret && f.type == TIDE__FRAME_ROUND_END;
	if (ret || *end)
		return ret;
	if (!is_inside(w, (struct tide_range){ f.first, f.pages }) ||
	    f.payload_bytes != f.pages * PAGE_BYTES)
		return -EPROTO;
	got->pages += f.pages;
	got->ranges++;
	return tide__channel_receive_into(c, &f, w->to + f.first * PAGE_BYTES,
					  NULL);
}

static void *receive(void *arg)
{
	struct gap_wire *w = arg;
	struct tide__channel channel;
	struct report got = { 0, 0 };
	int ret = 0;

	tide__channel_init(&channel, w->far, 0);
	while (!ret) {
		bool end = false;

		ret = w->way == GAP_FRAME
			      ? receive_frame(w, &channel, &got, &end)
			      : receive_table(w, &got, &end);
		if (end) {
			ret = move_one(w->far, &got, sizeof(got), true);
			got = (struct report){ 0, 0 };
		}
	}
	/* The sender closes between rounds: that is no error. */
	w->far_ret = ret == -ENODATA || (ret == -EPIPE && !got.ranges) ? 0 :
									 ret;
	shutdown(w->far, SHUT_RDWR);
	tide__channel_fini(&channel);
	return NULL;
}

static void flush(struct gap_wire *w)
{
	struct iovec iov[BATCH + 1];
	char yes;

	if (w->ret)
		return;
	/* sendmsg does not write to what it sends. */
	w->ret = pieces(w, &w->table, (unsigned char *)w->from, iov + 1);
	iov[0] = (struct iovec){ &w->table, table_bytes(w) };
	if (!w->ret)
		w->ret = move_all(w->near, iov, w->table.n + 1, true);
	if (!w->ret && w->table.n && w->way == GAP_ANSWER)
		w->ret = move_one(w->near, &yes, 1, false);
	w->table.n = 0;
}

static void send_frames(struct gap_wire *w, struct tide_range r)
{
	while (r.count && !w->ret) {
		uint64_t n = r.count < TIDE__UNIT_PAGES ? r.count
							: TIDE__UNIT_PAGES;
		struct tide__frame f = { .type = TIDE__FRAME_PAGES,
					 .first = r.first,
					 .pages = (uint32_t)n };

		w->ret = tide__channel_send(&w->channel, &f,
					    w->from + r.first * PAGE_BYTES,
					    n * PAGE_BYTES, NULL);
		r.first += n;
		r.count -= n;
	}
}

void gap_wire_send(struct gap_wire *w, const struct tide_range *ranges,
		   size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!is_inside(w, ranges[i]) && !w->ret)
			w->ret = -EINVAL;
		if (w->ret)
			return;
		if (w->way == GAP_FRAME) {
			send_frames(w, ranges[i]);
			continue;
		}
		w->table.range[w->table.n++] = ranges[i];
		if (w->table.n == batch(w))
			flush(w);
	}
}

int gap_wire_end(struct gap_wire *w, uint64_t *pages, uint64_t *ranges)
{
	struct report got = { 0, 0 };

	if (w->way == GAP_FRAME) {
		if (!w->ret)
			w->ret = tide__channel_say(&w->channel,
						   TIDE__FRAME_ROUND_END, 0, 0,
						   NULL, NULL);
	} else {
		if (w->table.n)
			flush(w);
		flush(w);
	}
	if (!w->ret)
		w->ret = move_one(w->near, &got, sizeof(got), false);
	*pages = got.pages;
	*ranges = got.ranges;
	return w->ret;
}

static int tcp_pair(int pair[2])
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	socklen_t len = sizeof(sin);
	int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1, ret = 0;

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	pair[0] = socket(AF_INET, SOCK_STREAM, 0);
	pair[1] = -1;
	if (listener < 0 || pair[0] < 0 ||
	    bind(listener, (struct sockaddr *)&sin, sizeof(sin)) ||
	    listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&sin, &len) ||
	    connect(pair[0], (struct sockaddr *)&sin, sizeof(sin)) ||
	    (pair[1] = accept(listener, NULL, NULL)) < 0)
		ret = -errno;
	for (int i = 0; i < 2 && !ret; i++)
		setsockopt(pair[i], IPPROTO_TCP, TCP_NODELAY, &one,
			   sizeof(one));
	if (ret && pair[0] >= 0)
		close(pair[0]);
	if (listener >= 0)
		close(listener);
	return ret;
}

static int connect_both(struct gap_wire *w, const struct gap_socket *s)
{
	int pair[2], ret;

	if (s->tcp)
		ret = tcp_pair(pair);
	else
		ret = socketpair(AF_UNIX, SOCK_STREAM, 0, pair) ? -errno : 0;
	if (ret)
		return ret;
	w->near = pair[0];
	w->far = pair[1];
	if (s->pace_bytes_per_s &&
	    setsockopt(w->near, SOL_SOCKET, SO_MAX_PACING_RATE,
		       &s->pace_bytes_per_s, sizeof(s->pace_bytes_per_s)))
		ret = -errno;
	if (ret) {
		close(w->near);
		close(w->far);
	}
	return ret;
}

int gap_wire_open(struct gap_wire **out, const struct gap_socket *s,
		  enum gap_way way, const unsigned char *from,
		  unsigned char *to, uint64_t pages)
{
	struct gap_wire *w = calloc(1, sizeof(*w));
	int ret;

	if (!w)
		return -ENOMEM;
	w->way = way;
	w->from = from;
	w->to = to;
	w->pages = pages;
	ret = connect_both(w, s);
	if (ret) {
		free(w);
		return ret;
	}
	tide__channel_init(&w->channel, w->near, 0);
	ret = -pthread_create(&w->receiver, NULL, receive, w);
	if (ret) {
		close(w->near);
		close(w->far);
		free(w);
		return ret;
	}
	*out = w;
	return 0;
}

int gap_wire_close(struct gap_wire *w)
{
	int ret;

	if (!w)
		return 0;
	shutdown(w->near, SHUT_RDWR);
	pthread_join(w->receiver, NULL);
	close(w->near);
	close(w->far);
	tide__channel_fini(&w->channel);
	ret = w->ret ? w->ret : w->far_ret;
	free(w);
	return ret;
}
