/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/cloud_wire.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"

#define PIECE (UINT64_C(1) << 20)
#define MAX_FDS 8

int cloud_fail(int ret, const char *what, struct tide_error *err)
{
	return tide_error_set(err, ret, "cloud", TIDE_NO_OFFSET,
			      "Cloud Hypervisor: %s", what);
}

void cloud_put_request(unsigned char to[CLOUD_FRAME],
		       const struct cloud_request *r)
{
	memset(to, 0, CLOUD_FRAME);
	tide__put_le(to, r->command, 2);
	tide__put_le(to + 2, r->version, 2);
	tide__put_le(to + 8, r->bytes, 8);
}

int cloud_get_request(const unsigned char at[CLOUD_FRAME],
		      struct cloud_request *r, struct tide_error *err)
{
	r->command = (uint16_t)tide__get_le(at, 2);
	r->version = (uint16_t)tide__get_le(at + 2, 2);
	r->bytes = tide__get_le(at + 8, 8);
	if (r->command >= CLOUD_START && r->command <= CLOUD_PAGE_FAULT)
		return 0;
	return cloud_fail(-EPROTO, "it sent an unknown command", err);
}

void cloud_put_answer(unsigned char to[CLOUD_FRAME], bool good)
{
	memset(to, 0, CLOUD_FRAME);
	to[0] = good ? 1 : 2;
}

int cloud_get_answer(const unsigned char at[CLOUD_FRAME],
		     struct tide_error *err)
{
	uint64_t status = tide__get_le(at, 2);

	if (status == 2)
		return cloud_fail(-EREMOTEIO, "it refused; its log says why",
				  err);
	if (status != 1 || tide__get_le(at + 8, 8))
		return cloud_fail(-EPROTO, "it sent what is no answer", err);
	return 0;
}

/* The kernel says what is ready; who is silent for too long is given up. */
static int await(int fd, short what, struct tide_error *err)
{
	struct pollfd p = { fd, what, 0 };
	int n;

	do
		n = poll(&p, 1, CLOUD_LIMIT_MS);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		return 0;
	return n ? cloud_fail(-errno, strerror(errno), err)
		 : cloud_fail(-ETIMEDOUT, "it says nothing", err);
}

static int gone(int error, struct tide_error *err)
{
	if (!error || error == EPIPE || error == ECONNRESET)
		return cloud_fail(-ECONNRESET, "it hung up", err);
	return cloud_fail(-error, strerror(error), err);
}

int cloud_send(int fd, const void *from, size_t n, struct tide_error *err)
{
	const unsigned char *at = from;

	while (n) {
		ssize_t put = send(fd, at, n, MSG_NOSIGNAL | MSG_DONTWAIT);
		int ret = 0;

		if (put >= 0) {
			at += put;
			n -= (size_t)put;
			continue;
		}
		if (errno == EAGAIN)
			ret = await(fd, POLLOUT, err);
		else if (errno != EINTR)
			ret = gone(errno, err);
		if (ret)
			return ret;
	}
	return 0;
}

int cloud_receive(int fd, void *to, size_t n, struct tide_error *err)
{
	unsigned char *at = to;

	while (n) {
		ssize_t got;
		int ret = await(fd, POLLIN, err);

		if (ret)
			return ret;
		got = recv(fd, at, n, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return gone(got ? errno : 0, err);
		at += got;
		n -= (size_t)got;
	}
	return 0;
}

union passed {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
};

int cloud_send_fd(int fd, const void *from, size_t n, int passed,
		  struct tide_error *err)
{
	union passed control = { .header = {
		.cmsg_len = CMSG_LEN(sizeof(int)),
		.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
	struct iovec part = { (void *)from, n };
	struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1,
			    .msg_control = &control,
			    .msg_controllen = CMSG_SPACE(sizeof(int)) };
	ssize_t put;

	memcpy(CMSG_DATA(&control.header), &passed, sizeof(passed));
	do
		put = sendmsg(fd, &m, MSG_NOSIGNAL);
	while (put < 0 && errno == EINTR);
	if (put < 0)
		return gone(errno, err);
	return cloud_send(fd, (const char *)from + put, n - (size_t)put, err);
}

/* The only one that came, or -1. Others are closed. */
static int only_fd(struct msghdr *m)
{
	int found = -1, count = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int),
			       sizeof(fd));
			if (count++)
				close(fd);
			else
				found = fd;
		}
	}
	if (count == 1)
		return found;
	if (count)
		close(found);
	return -1;
}

int cloud_receive_fd(int fd, void *to, size_t n, int *got,
		     struct tide_error *err)
{
	union passed control;
	struct iovec part = { to, n };
	struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1,
			    .msg_control = &control,
			    .msg_controllen = sizeof(control) };
	int ret = await(fd, POLLIN, err), passed;
	ssize_t came;

	if (ret)
		return ret;
	do
		came = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	while (came < 0 && errno == EINTR);
	if (came <= 0)
		return gone(came ? errno : 0, err);
	passed = only_fd(&m);
	if (passed < 0)
		return cloud_fail(-EPROTO, "it sent memory without its "
				  "descriptor", err);
	ret = cloud_receive(fd, (char *)to + came, n - (size_t)came, err);
	if (ret)
		close(passed);
	else
		*got = passed;
	return ret;
}

int cloud_receive_text(int fd, uint64_t n, unsigned char **out,
		       struct tide_error *err)
{
	unsigned char *text = NULL;
	uint64_t at = 0;
	int ret = 0;

	if (n > CLOUD_MAX_TEXT)
		return cloud_fail(-EFBIG, "its configuration or state is "
				  "larger than 64 MiB", err);
	do {
		uint64_t piece = n - at < PIECE ? n - at : PIECE;
		unsigned char *more = realloc(text, at + piece + 1);

		if (!more) {
			ret = cloud_fail(-ENOMEM, "no memory", err);
			break;
		}
		text = more;
		ret = cloud_receive(fd, text + at, piece, err);
		at += piece;
	} while (!ret && at < n);
	if (ret) {
		free(text);
		return ret;
	}
	text[n] = 0;
	*out = text;
	return 0;
}
