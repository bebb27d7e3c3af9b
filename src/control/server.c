/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections and verbs of a control socket. See server.h. */
#include "control/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "control/listener.h"

#define IDLE_SECONDS 300
#define TICK_MS 50
#define END_MS 30000u

struct connection {
	struct connection *next;
	struct server *server;
	int fd;
};

/* On the heap: a connection that does not end keeps it. */
struct server {
	struct control_options o;
	struct control_listener listener;
	int spare; /* a descriptor to give up when there are no more; or -1 */
	pthread_mutex_t lock; /* all that follows */
	pthread_cond_t left;
	struct connection *connections;
	unsigned int count;
	bool abandoned; /* its last connection frees it */
};

/* The one mutable global: what a signal handler can reach. */
static volatile sig_atomic_t told_to_end;

static void on_signal(int number)
{
	(void)number;
	told_to_end = 1;
}

json_t *control_error(const struct tide_error *err)
{
	return json_pack("{s:s%, s:s, s:i}", "error", err->text,
			 strlen(err->text), "origin", err->origin, "code",
			 -err->code);
}

json_t *control_refuse(int code, const char *text)
{
	return json_pack("{s:s, s:s, s:i}", "error", text, "origin", "control",
			 "code", code);
}

bool control_client_gone(const struct control_lines *lines)
{
	struct pollfd p = { .fd = lines->fd, .events = POLLRDHUP };

	return poll(&p, 1, 0) > 0;
}

/* --- requests --- */

static json_t *answer(struct connection *c, struct control_lines *lines,
		      const json_t *object)
{
	const struct control_options *o = &c->server->o;
	const char *name = json_string_value(json_object_get(object,
							     "command"));
	struct control_request request = { lines, object, o->opaque };

	if (!name)
		return control_refuse(EINVAL, "a request is an object with "
					      "\"command\"");
	for (const struct control_verb *v = o->verbs; v->name; v++)
		if (!strcmp(v->name, name))
			return v->run(&request);
	return control_refuse(EINVAL, "there is no such command");
}

/* False: the client is to be given up. */
static bool one_request(struct connection *c, struct control_lines *lines)
{
	json_t *object = NULL, *reply;
	int ret;

	switch (control_get(lines, IDLE_SECONDS * 1000, &object)) {
	case CONTROL_GOT:
		reply = answer(c, lines, object);
		break;
	case CONTROL_BAD:
		reply = control_refuse(EINVAL, "a line that is no JSON object, "
					       "or longer than 4 MiB");
		break;
	default:
		return false;
	}
	json_decref(object);
	if (!reply)
		reply = control_refuse(ENOMEM, "no memory for the answer");
	ret = control_put(lines, reply);
	json_decref(reply);
	return ret == 0;
}

static void destroy(struct server *s)
{
	if (s->spare >= 0)
		close(s->spare);
	pthread_cond_destroy(&s->left);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static void leave(struct connection *c)
{
	struct server *s = c->server;
	struct connection **at;
	bool last;

	pthread_mutex_lock(&s->lock);
	for (at = &s->connections; *at != c;)
		at = &(*at)->next;
	*at = c->next;
	close(c->fd); /* in the lock: hang_up must not hit another's number */
	s->count--;
	last = s->abandoned && !s->count;
	pthread_cond_broadcast(&s->left);
	pthread_mutex_unlock(&s->lock);
	free(c);
	if (last)
		destroy(s);
}

static void *serve_connection(void *opaque)
{
	struct connection *c = opaque;
	struct control_lines lines;

	control_lines_init(&lines, c->fd);
	while (one_request(c, &lines))
		;
	control_lines_fini(&lines);
	leave(c);
	return NULL;
}

/* --- connections --- */

static bool start(struct server *s, int fd)
{
	struct connection *c = calloc(1, sizeof(*c));
	pthread_t thread;

	if (!c || s->count >= CONTROL_MAX_CONNECTIONS) {
		free(c);
		return false;
	}
	c->server = s;
	c->fd = fd;
	c->next = s->connections;
	if (pthread_create(&thread, NULL, serve_connection, c)) {
		free(c);
		return false;
	}
	pthread_detach(thread);
	s->connections = c;
	s->count++;
	return true;
}

/* Nothing that needs a name: there may be no /dev where we are. */
static void keep_spare(struct server *s)
{
	if (s->spare < 0)
		s->spare = eventfd(0, EFD_CLOEXEC);
}

/*
 * Out of descriptors: the spare one makes place for a moment, so that the
 * client is hung up on; else it would stand in the queue and wake us for ever.
 * Should somebody be quicker to take the place, we have none and ask again at
 * each tick.
 */
static void turn_away(struct server *s)
{
	struct timespec pause = { .tv_nsec = TICK_MS * 1000000 };
	int fd;

	if (s->spare >= 0)
		close(s->spare);
	s->spare = -1;
	fd = accept4(s->listener.fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	keep_spare(s);
	nanosleep(&pause, NULL);
}

static void accept_one(struct server *s)
{
	int fd = accept4(s->listener.fd, NULL, NULL, SOCK_CLOEXEC);
	bool started;

	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
		    errno == ENOBUFS)
			turn_away(s);
		return;
	}
	/* Under the lock: its thread may leave before it is in the list. */
	pthread_mutex_lock(&s->lock);
	started = start(s, fd);
	pthread_mutex_unlock(&s->lock);
	if (!started)
		close(fd);
}

/* Under the lock: until nobody is left, or @until_ns. */
static void await_all(struct server *s, uint64_t until_ns)
{
	struct timespec ts = { (time_t)(until_ns / 1000000000u),
			       (long)(until_ns % 1000000000u) };

	while (s->count &&
	       pthread_cond_timedwait(&s->left, &s->lock, &ts) == 0)
		;
}

/* How many did not end. */
static unsigned int hang_up_on_all(struct server *s)
{
	unsigned int left;
	uint64_t now = tide__now_ns();
	uint64_t limit_ns = (s->o.end_ms ? s->o.end_ms : END_MS) * 1000000ull;

	pthread_mutex_lock(&s->lock);
	for (struct connection *c = s->connections; c; c = c->next)
		shutdown(c->fd, SHUT_RD); /* an answer may still go out */
	await_all(s, now + limit_ns / 2);
	for (struct connection *c = s->connections; c; c = c->next)
		shutdown(c->fd, SHUT_RDWR);
	await_all(s, now + limit_ns);
	left = s->count;
	s->abandoned = left > 0;
	pthread_mutex_unlock(&s->lock);
	return left;
}

static void catch_signals(void)
{
	struct sigaction act = { .sa_handler = on_signal };

	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static struct server *new_server(const struct control_options *options)
{
	struct server *s = calloc(1, sizeof(*s));
	pthread_condattr_t attr;

	if (!s)
		return NULL;
	s->o = *options;
	s->spare = -1;
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->left, &attr);
	pthread_condattr_destroy(&attr);
	return s;
}

int control_serve(const struct control_options *options,
		  struct tide_error *err)
{
	struct server *s = new_server(options);
	unsigned int left;
	int ret;

	if (!s)
		return tide_error_set(err, -ENOMEM, "control", TIDE_NO_OFFSET,
				      "no memory for a control socket");
	ret = control_listen(options->path, false, &s->listener, err);
	if (ret < 0) {
		destroy(s);
		return ret;
	}
	fcntl(s->listener.fd, F_SETFL, O_NONBLOCK);
	catch_signals();
	if (options->ready)
		options->ready(options->opaque);
	while (!told_to_end && !options->over(options->opaque)) {
		struct pollfd p = { .fd = s->listener.fd, .events = POLLIN };

		keep_spare(s);
		if (poll(&p, 1, TICK_MS) > 0)
			accept_one(s);
	}
	control_listener_close(&s->listener);
	left = hang_up_on_all(s);
	if (left)
		return tide_error_set(err, -ETIMEDOUT, "control",
				      TIDE_NO_OFFSET, "%u requests did not end",
				      left);
	destroy(s);
	return 0;
}
