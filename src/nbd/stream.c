/* SPDX-License-Identifier: BSD-2-Clause */
#include "nbd/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

/* Half of what the kernel then counts. */
#define SEND_BYTES (1 << 20)

static ssize_t socket_recv(struct nbd_stream *s, const struct iovec *parts,
			   int count)
{
	struct msghdr m = { .msg_iov = (struct iovec *)parts,
			    .msg_iovlen = (size_t)count };
	ssize_t n;

	do
		n = recvmsg(s->fd, &m, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t socket_send(struct nbd_stream *s, const struct iovec *parts,
			   int count)
{
	struct msghdr m = { .msg_iov = (struct iovec *)parts,
			    .msg_iovlen = (size_t)count };
	ssize_t n;

	do
		n = sendmsg(s->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t socket_send_file(struct nbd_stream *s, int fd, off_t *at,
				size_t length)
{
	ssize_t n;

	do
		n = sendfile(s->fd, fd, at, length);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static void socket_end(struct nbd_stream *s)
{
	shutdown(s->fd, SHUT_WR);
}

static void socket_close(struct nbd_stream *s)
{
	close(s->fd);
	s->fd = -1;
}

static bool is_unix(int fd)
{
	int domain = 0;
	socklen_t length = sizeof(domain);

	return !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) &&
	       domain == AF_UNIX;
}

/*
 * What a Unix socket takes before we wait, and wait for each quarter of it: the
 * usual 208 KiB are five wakeups for an answer of 1 MiB. The kernel allows more
 * than its limit to those who may set limits; the others get that. (TCP finds
 * out by itself.)
 */
static void widen(int fd)
{
	int bytes = SEND_BYTES;

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

void nbd_stream_socket(struct nbd_stream *s, int fd)
{
	static const struct nbd_stream_ops tcp = {
		.recv = socket_recv, .send = socket_send, .end = socket_end,
		.close = socket_close,
	}, local = {
		.recv = socket_recv, .send = socket_send,
		.send_file = socket_send_file, .end = socket_end,
		.close = socket_close,
	};
	int flags = fcntl(fd, F_GETFL);

	memset(s, 0, sizeof(*s));
	s->ops = is_unix(fd) ? &local : &tcp;
	s->fd = fd;
	if (s->ops == &local)
		widen(fd);
	if (flags >= 0)
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}
