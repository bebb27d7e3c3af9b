/* SPDX-License-Identifier: BSD-2-Clause */
/* Somebody at the door: see door.h for the steps. */
#include "peer/door_guest.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "peer/channel.h"

/*
 * Before a source says HELLO it connects all of its channels, one handshake
 * after the other, and has writes tracked: seconds on a slow wire or a loaded
 * host. Strangers cost a place meanwhile, and make way for the next.
 */
#define PATIENCE_NS 30000000000ull
/* A source's further channels come early, and speak once it is welcome. */
#define BUSY_PATIENCE_NS 60000000000ull
#define LINGER_NS 1000000000ull
#define LOOK_NS 20000000ull

#define LONGEST (TIDE__FRAME_BYTES + TIDE__TOKEN_MAX_BYTES)

static void say(struct tide__door *d, const char *what)
{
	if (d->o.log)
		d->o.log(d->o.opaque, what);
}

void tide__door_hang_up(struct tide__door *d, int fd)
{
	if (d->o.streams)
		d->o.streams->forget(d->o.streams->opaque, fd);
	close(fd);
}

static void leave(struct tide__door *d, struct tide__guest *g)
{
	tide__door_hang_up(d, g->fd);
	g->fd = -1;
}

static void count(struct tide__door *d, uint64_t *which)
{
	pthread_mutex_lock(&d->lock);
	(*which)++;
	pthread_mutex_unlock(&d->lock);
}

void tide__door_turn_away(struct tide__door *d, struct tide__guest *g,
			  const char *why)
{
	char text[300];

	count(d, &d->strangers);
	snprintf(text, sizeof(text),
		 "a connection that is no source was closed: "
		 "%s",
		 why);
	say(d, text);
	leave(d, g);
}

/*
 * A REFUSED frame, and then a while in which the source may read it: to close
 * with its greeting unread would reset the connection and take our words.
 */
static void refuse(struct tide__door *d, struct tide__guest *g,
		   const char *why)
{
	const struct tide__door_streams *s = d->o.streams;
	struct tide__channel c;

	tide__channel_init(&c, g->fd, 0);
	c.stall_ns = 1; /* it fits into an empty socket, or is not said */
	/* Before its handshake the other side speaks in the clear. */
	if (!s || g->shaking ||
	    !tide__channel_wrap(&c, s->ops, s->opaque, NULL))
		tide__channel_say(&c, TIDE__FRAME_REFUSED, 0, 0, why, NULL);
	shutdown(g->fd, SHUT_WR);
	g->told = true;
	g->since_ns = tide__now_ns();
}

static void refuse_busy(struct tide__door *d, struct tide__guest *g)
{
	bool shut;

	pthread_mutex_lock(&d->lock);
	shut = d->shut;
	pthread_mutex_unlock(&d->lock);
	refuse(d, g, shut ? "busy: a guest runs here already" :
			    "busy: another source is being received here");
	count(d, &d->refused);
	say(d, shut ? "another source was told that a guest runs here already" :
		      "a second source was told that this receiver is busy");
}

static void refuse_stranger(struct tide__door *d, struct tide__guest *g,
			    const char *why)
{
	char text[300];

	refuse(d, g, why);
	count(d, &d->strangers);
	snprintf(text, sizeof(text), "a source was refused: %s", why);
	say(d, text);
}

/* Handed to the receiver; false: it is not the time for it. */
static bool hand_over(struct tide__door *d, struct tide__guest *g,
		      unsigned int type)
{
	bool taken = false;

	pthread_mutex_lock(&d->lock);
	if (type == TIDE__FRAME_HELLO && !d->busy && d->source < 0) {
		d->source = g->fd;
		taken = true;
	} else if (type == TIDE__FRAME_JOIN && d->busy &&
		   d->joins < TIDE__DOOR_JOINS) {
		d->join[d->joins++] = g->fd;
		taken = true;
	}
	if (taken) {
		g->fd = -1;
		pthread_cond_broadcast(&d->came);
	}
	pthread_mutex_unlock(&d->lock);
	return taken;
}

/* --- bytes --- */

static ssize_t peek(struct tide__door *d, struct tide__guest *g, void *to,
		    size_t len)
{
	const struct tide__door_streams *s = d->o.streams;
	ssize_t n;

	if (s && !g->shaking)
		return s->peek(s->opaque, g->fd, to, len);
	n = recv(g->fd, to, len, MSG_PEEK | MSG_DONTWAIT);
	return n < 0 ? -errno : n;
}

/* What was seen already. */
static bool take(struct tide__door *d, struct tide__guest *g, size_t len)
{
	const struct tide__door_streams *s = d->o.streams;
	unsigned char away[LONGEST];
	void *stream = s ? s->ops->of(s->opaque, g->fd) : NULL;

	while (len) {
		ssize_t n = s ? s->ops->recv(stream, away, len)
			      : recv(g->fd, away, len, MSG_DONTWAIT);

		if (n <= 0)
			return false;
		len -= (size_t)n;
	}
	return true;
}

/* So much of the magic as is there must be right. */
static bool may_be_ours(const unsigned char *bytes, size_t len)
{
	return !memcmp(bytes, "TIDE", len < 4 ? len : 4);
}

/* --- steps --- */

/* A token, whole at @bytes: true if there is more to look at. */
static bool look_at_token(struct tide__door *d, struct tide__guest *g,
			  const struct tide__frame *f,
			  const unsigned char *bytes)
{
	const struct tide__token *wanted = d->o.token;
	const unsigned char *theirs = bytes + TIDE__FRAME_BYTES;

	if (g->admitted ||
	    tide__frame_sum(theirs, f->payload_bytes) != f->payload_sum ||
	    !take(d, g, TIDE__FRAME_BYTES + f->payload_bytes)) {
		tide__door_turn_away(d, g, "its token is damaged");
		return false;
	}
	/* Who asks for none takes any. */
	if (wanted && wanted->len &&
	    !tide__token_is(wanted, theirs, f->payload_bytes)) {
		refuse_stranger(d, g, "this receiver has another token: give "
				"both sides the same --token-file");
		return false;
	}
	g->admitted = true;
	return true;
}

static void look_at_head(struct tide__door *d, struct tide__guest *g,
			 const struct tide__frame *f)
{
	bool source = f->type == TIDE__FRAME_HELLO ||
		      f->type == TIDE__FRAME_JOIN;

	if (source && d->o.token && d->o.token->len && !g->admitted)
		refuse_stranger(d, g,
				"this receiver asks for a token: give the "
				"source its --token-file");
	else if (hand_over(d, g, f->type))
		return;
	else if (f->type == TIDE__FRAME_HELLO)
		refuse_busy(d, g);
	else
		tide__door_turn_away(d, g, "its first words are not due");
}

/* True: there may be more to look at right away. */
static bool look_at(struct tide__door *d, struct tide__guest *g)
{
	unsigned char bytes[LONGEST];
	struct tide__frame f;
	struct tide_error err;
	ssize_t n = peek(d, g, bytes, sizeof(bytes));

	if (n == -EAGAIN || n == -EINTR)
		return false;
	if (n <= 0) {
		tide__door_turn_away(d, g, "it hung up without a word");
		return false;
	}
	if (n < (ssize_t)TIDE__FRAME_BYTES) {
		if (bytes[0] == 0x16 && !d->o.streams)
			tide__door_turn_away(d, g, "it speaks TLS, which this "
					     "receiver was not told to");
		else if (!may_be_ours(bytes, (size_t)n))
			tide__door_turn_away(d, g,
					     "it speaks another protocol");
		else
			g->partial = true;
		return false;
	}
	if (tide__frame_get(&f, bytes, 0, &err)) {
		tide__door_turn_away(d, g, bytes[0] == 0x16 && !d->o.streams
				     ? "it speaks TLS, which this receiver was "
				       "not told to" : err.text);
		return false;
	}
	if (f.type != TIDE__FRAME_TOKEN) {
		look_at_head(d, g, &f);
		return false;
	}
	if (f.payload_bytes > TIDE__TOKEN_MAX_BYTES) {
		tide__door_turn_away(d, g, "its token is too long");
		return false;
	}
	g->partial = n < (ssize_t)(TIDE__FRAME_BYTES + f.payload_bytes);
	return !g->partial && look_at_token(d, g, &f, bytes);
}

/* True: it is a stream now. */
static bool shake(struct tide__door *d, struct tide__guest *g)
{
	const struct tide__door_streams *s = d->o.streams;
	unsigned char bytes[4];
	struct tide_error err;
	ssize_t n = peek(d, g, bytes, sizeof(bytes));
	int ret;

	/* One of ours that was not told: it can be. */
	if (n > 0 && may_be_ours(bytes, (size_t)n)) {
		if (n == sizeof(bytes))
			refuse_stranger(d, g, "this receiver takes nothing in "
					"the clear: give the source --tls or "
					"--tls-psk");
		else
			g->partial = true;
		return false;
	}
	ret = s->shake(s->opaque, g->fd, &g->wants_write, &err);
	if (ret == -EAGAIN)
		return false;
	if (ret) {
		tide__door_turn_away(d, g, err.text);
		return false;
	}
	g->shaking = g->wants_write = false;
	return true;
}

/* Read what a refused one still sends; true: it is gone. */
static bool linger(struct tide__guest *g)
{
	char sink[4096];
	ssize_t n;

	do
		n = recv(g->fd, sink, sizeof(sink), MSG_DONTWAIT);
	while (n > 0);
	return n == 0 || (errno != EAGAIN && errno != EINTR);
}

static uint64_t patience_ns(struct tide__door *d, const struct tide__guest *g)
{
	bool busy;

	pthread_mutex_lock(&d->lock);
	busy = d->busy;
	pthread_mutex_unlock(&d->lock);
	return busy && !g->shaking ? BUSY_PATIENCE_NS : PATIENCE_NS;
}

static bool is_worth_a_look(struct tide__guest *g, short events)
{
	uint64_t now;

	if (!g->partial)
		return events;
	now = tide__now_ns();
	if (!(events & (POLLRDHUP | POLLHUP | POLLERR)) &&
	    now - g->looked_ns < LOOK_NS)
		return false;
	g->looked_ns = now;
	return true;
}

void tide__door_attend(struct tide__door *d, struct tide__guest *g,
		       short events)
{
	uint64_t waited = tide__now_ns() - g->since_ns;

	if (g->told) {
		if (linger(g) || waited > LINGER_NS)
			leave(d, g);
		return;
	}
	if (is_worth_a_look(g, events)) {
		g->partial = false;
		if (!g->shaking || shake(d, g))
			while (look_at(d, g))
				;
	}
	if (g->fd >= 0 && !g->told && waited > patience_ns(d, g))
		tide__door_turn_away(d, g, g->shaking
				     ? "its handshake does not come to an end"
				     : "it did not say what it is");
}
