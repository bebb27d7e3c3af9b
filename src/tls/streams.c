/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TLS streams, found by their descriptors. See streams.h.
 *
 * Output is gathered into records of 16 KiB, so that a frame's header and the
 * beginning of its pages are one; a record that the socket did not take is
 * kept, and sent first next time. Bytes that were peeked at are kept as well,
 * and are what recv returns first.
 */
#include "tls/streams.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define RECORD_BYTES 16384u
#define AHEAD_BYTES 512u

struct stream {
	struct stream *next;
	struct tls_streams *owner;
	int fd;
	pthread_mutex_t lock; /* of all that follows: one sends, one receives */
	struct tls_session *session;
	size_t length;		/* of a record to be sent again; 0: none */
	size_t ahead, ahead_at;	/* bytes that were peeked at, and taken since */
	uint8_t seen[AHEAD_BYTES];
	uint8_t record[RECORD_BYTES];
};

struct tls_streams {
	const struct tls_creds *creds;
	char *host;
	pthread_mutex_t lock;	/* of the list; not held with a stream's */
	struct stream *list;
};

int tls_streams_create(struct tls_streams **out, const struct tls_creds *creds,
		       const char *host, struct tide_error *err)
{
	struct tls_streams *s = calloc(1, sizeof(*s));

	if (s && host)
		s->host = strdup(host);
	if (!s || (host && !s->host)) {
		free(s);
		return tide_error_set(err, -ENOMEM, "tls", TIDE_NO_OFFSET,
				      "no memory for TLS");
	}
	s->creds = creds;
	pthread_mutex_init(&s->lock, NULL);
	*out = s;
	return 0;
}

static void destroy(struct stream *t)
{
	tls_session_destroy(t->session);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

void tls_streams_destroy(struct tls_streams *s)
{
	if (!s)
		return;
	while (s->list) {
		struct stream *t = s->list;

		s->list = t->next;
		destroy(t);
	}
	pthread_mutex_destroy(&s->lock);
	free(s->host);
	free(s);
}

int tls_streams_open(void *opaque, int fd, struct tide_error *err)
{
	struct tls_streams *s = opaque;
	struct stream *t = calloc(1, sizeof(*t));
	int ret;

	if (!t)
		return tide_error_set(err, -ENOMEM, "tls", TIDE_NO_OFFSET,
				      "no memory for TLS");
	ret = tls_session_create(&t->session, s->creds, fd, s->host, err);
	if (ret) {
		free(t);
		return ret;
	}
	t->fd = fd;
	t->owner = s;
	pthread_mutex_init(&t->lock, NULL);
	pthread_mutex_lock(&s->lock);
	t->next = s->list;
	s->list = t;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

static void *stream_of(void *opaque, int fd)
{
	struct tls_streams *s = opaque;
	struct stream *t;

	pthread_mutex_lock(&s->lock);
	for (t = s->list; t && t->fd != fd;)
		t = t->next;
	pthread_mutex_unlock(&s->lock);
	return t;
}

static void unlink_stream(struct stream *t)
{
	struct tls_streams *s = t->owner;
	struct stream **at;

	pthread_mutex_lock(&s->lock);
	for (at = &s->list; *at != t;)
		at = &(*at)->next;
	*at = t->next;
	pthread_mutex_unlock(&s->lock);
}

void tls_streams_forget(void *opaque, int fd)
{
	struct stream *t = stream_of(opaque, fd);

	if (!t)
		return;
	unlink_stream(t);
	destroy(t);
}

int tls_streams_shake(void *opaque, int fd, bool *wants_write,
		      struct tide_error *err)
{
	struct stream *t = stream_of(opaque, fd);
	int ret;

	if (!t)
		return tide_error_set(err, -EINVAL, "tls", TIDE_NO_OFFSET,
				      "no TLS on this socket");
	ret = tls_handshake(t->session, err);
	*wants_write = ret == -EAGAIN && tls_wants_write(t->session);
	return ret;
}

ssize_t tls_streams_peek(void *opaque, int fd, void *to, size_t len)
{
	struct stream *t = stream_of(opaque, fd);
	ssize_t n = -EINVAL;

	if (!t)
		return n;
	pthread_mutex_lock(&t->lock);
	if (t->ahead_at) {	/* nobody does both in turn */
		memmove(t->seen, t->seen + t->ahead_at, t->ahead - t->ahead_at);
		t->ahead -= t->ahead_at;
		t->ahead_at = 0;
	}
	do {
		n = t->ahead < sizeof(t->seen)
			    ? tls_recv(t->session, t->seen + t->ahead,
				       sizeof(t->seen) - t->ahead)
			    : -EAGAIN;
		if (n > 0)
			t->ahead += (size_t)n;
	} while (n > 0);
	if (t->ahead) {
		n = (ssize_t)(t->ahead < len ? t->ahead : len);
		memcpy(to, t->seen, (size_t)n);
	}
	pthread_mutex_unlock(&t->lock);
	return n;
}

static ssize_t stream_recv(void *stream, void *to, size_t len)
{
	struct stream *t = stream;
	size_t left;
	ssize_t n;

	pthread_mutex_lock(&t->lock);
	left = t->ahead - t->ahead_at;
	if (left) {
		n = (ssize_t)(left < len ? left : len);
		memcpy(to, t->seen + t->ahead_at, (size_t)n);
		t->ahead_at += (size_t)n;
	} else {
		n = tls_recv(t->session, to, len);
	}
	pthread_mutex_unlock(&t->lock);
	return n;
}

static void gather(struct stream *t, const struct iovec *parts, int count)
{
	for (int i = 0; i < count && t->length < RECORD_BYTES; i++) {
		size_t n = RECORD_BYTES - t->length;

		if (n > parts[i].iov_len)
			n = parts[i].iov_len;
		if (n)
			memcpy(t->record + t->length, parts[i].iov_base, n);
		t->length += n;
	}
}

static ssize_t stream_send(void *stream, const struct iovec *parts, int count)
{
	struct stream *t = stream;
	ssize_t n;

	pthread_mutex_lock(&t->lock);
	/* One that was not taken is at the head of @parts still. */
	if (!t->length)
		gather(t, parts, count);
	n = tls_send(t->session, t->record, t->length);
	if (n != -EAGAIN)
		t->length = 0;
	pthread_mutex_unlock(&t->lock);
	return n;
}

static bool stream_has_input(void *stream)
{
	struct stream *t = stream;
	bool has;

	pthread_mutex_lock(&t->lock);
	has = t->ahead > t->ahead_at || tls_pending(t->session);
	pthread_mutex_unlock(&t->lock);
	return has;
}

static void stream_end(void *stream)
{
	struct stream *t = stream;

	/* If it does not fit now, or a record is torn, it ends without. */
	if (!t->length)
		tls_end(t->session);
	unlink_stream(t);
	destroy(t);
}

const struct tide_stream_ops tls_stream_ops = {
	.of = stream_of,
	.send = stream_send,
	.recv = stream_recv,
	.has_input = stream_has_input,
	.end = stream_end,
};
