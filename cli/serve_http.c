/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See serve_http.h. A client is READING until its head is whole, WRITING until
 * the answer has left, LINGERING until it closes: to close a socket with unread
 * input would take the answer away from it. Each has a deadline for each.
 */
#include "cli/serve_http.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

#define MAX_CLIENTS 16u
#define MAX_SOCKETS 8u
#define LONGEST_HEAD 8192u
#define READ_MS 5000u
#define WRITE_MS 10000u
#define LINGER_MS 1000u
#define PAUSE_MS 100 /* without descriptors */

enum state { READING, WRITING, LINGERING };

struct client {
	int fd; /* -1: the place is free */
	enum state state;
	uint64_t deadline_ns, number;
	char *answer; /* owned */
	size_t have, sent, length; /* of the head; of the answer */
	char head[LONGEST_HEAD];
};

struct serve_http {
	struct serve_http_page page;
	int sockets[MAX_SOCKETS];
	size_t count;
	int stop_fd;
	pthread_t thread;
	uint64_t numbers;
	bool tired; /* accepting failed: not at once again */
	struct client clients[MAX_CLIENTS];
};

static bool is_method(const char *line, size_t length, const char *method)
{
	size_t n = strlen(method);

	return length > n && !memcmp(line, method, n) && line[n] == ' ';
}

/* A line "METHOD TARGET HTTP/1.x"; a target's "?..." is no matter. */
static int judge_line(const char *line, size_t length, const char *path)
{
	const char *target = memchr(line, ' ', length), *end;
	size_t left, n = strlen(path);

	if (!target || target == line)
		return SERVE_HTTP_BAD;
	target++;
	left = length - (size_t)(target - line);
	end = memchr(target, ' ', left);
	if (!end || *target != '/' || left - (size_t)(end - target) < 9 ||
	    memcmp(end, " HTTP/1.", 8))
		return SERVE_HTTP_BAD;
	if (!is_method(line, length, "GET") && !is_method(line, length, "HEAD"))
		return SERVE_HTTP_METHOD;
	left = (size_t)(end - target);
	if (left < n || memcmp(target, path, n) ||
	    (left > n && target[n] != '?'))
		return SERVE_HTTP_UNKNOWN;
	return SERVE_HTTP_OK;
}

/* The head ends with an empty line; a CR before an LF is no matter. */
static bool is_whole(const char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		const char *next = bytes + i + 1;
		size_t left = length - i - 1;

		if (bytes[i] == '\n' &&
		    ((left >= 1 && next[0] == '\n') ||
		     (left >= 2 && next[0] == '\r' && next[1] == '\n')))
			return true;
	}
	return false;
}

int serve_http_judge(const char *bytes, size_t length, const char *path)
{
	const char *end = memchr(bytes, '\n', length);
	int verdict = end ? judge_line(bytes, (size_t)(end - bytes), path) : 0;

	/* Nobody's head is waited for whose first line is rubbish. */
	if (verdict == SERVE_HTTP_BAD || is_whole(bytes, length))
		return verdict ? verdict : SERVE_HTTP_BAD;
	if (memchr(bytes, 0, length))
		return SERVE_HTTP_BAD;
	return length >= LONGEST_HEAD ? SERVE_HTTP_TOO_LONG : 0;
}

static void set_deadline(struct client *c, uint64_t ms)
{
	c->deadline_ns = tide__now_ns() + ms * 1000000u;
}

static void drop(struct client *c)
{
	if (c->fd < 0)
		return;
	close(c->fd);
	free(c->answer);
	c->answer = NULL;
	c->fd = -1;
}

static const char *words_of(int verdict)
{
	switch (verdict) {
	case SERVE_HTTP_OK:
		return "OK";
	case SERVE_HTTP_UNKNOWN:
		return "Not Found";
	case SERVE_HTTP_METHOD:
		return "Method Not Allowed\r\nAllow: GET, HEAD";
	case SERVE_HTTP_TOO_LONG:
		return "Request Header Fields Too Large";
	case SERVE_HTTP_BAD:
		return "Bad Request";
	default:
		return "Internal Server Error";
	}
}

/* Head and page into one piece of memory; false: there is none. */
static bool make_answer(struct client *c, const struct serve_http_page *page,
			int verdict)
{
	bool head_only = is_method(c->head, c->have, "HEAD");
	size_t length = 0, room;
	char *body = NULL;
	int n;

	if (verdict == SERVE_HTTP_OK) {
		body = page->make(page->opaque, &length);
		if (!body)
			verdict = 500;
	}
	room = 512 + length;
	c->answer = malloc(room);
	if (c->answer) {
		n = snprintf(c->answer, room,
			     "HTTP/1.0 %d %s\r\nContent-Type: %s\r\n"
			     "Content-Length: %zu\r\nConnection: close\r\n\r\n",
			     verdict, words_of(verdict), page->type, length);
		c->length = (size_t)n;
		if (length && !head_only) {
			memcpy(c->answer + n, body, length);
			c->length += length;
		}
		c->sent = 0;
	}
	free(body);
	return c->answer;
}

static void on_writable(struct client *c)
{
	ssize_t n = send(c->fd, c->answer + c->sent, c->length - c->sent,
			 MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		drop(c);
		return;
	}
	if (n > 0)
		c->sent += (size_t)n;
	if (c->sent < c->length)
		return;
	shutdown(c->fd, SHUT_WR);
	c->state = LINGERING;
	set_deadline(c, LINGER_MS);
}

static void on_head(struct serve_http *h, struct client *c)
{
	int verdict = serve_http_judge(c->head, c->have, h->page.path);

	if (!verdict)
		return;
	if (!make_answer(c, &h->page, verdict)) {
		drop(c);
		return;
	}
	c->state = WRITING;
	set_deadline(c, WRITE_MS);
	on_writable(c);
}

static void on_readable(struct serve_http *h, struct client *c)
{
	char nowhere[4096];
	bool reading = c->state == READING;
	char *to = reading ? c->head + c->have : nowhere;
	size_t room = reading ? LONGEST_HEAD - c->have : sizeof(nowhere);
	ssize_t n = recv(c->fd, to, room, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		drop(c);
		return;
	}
	if (reading) {
		c->have += (size_t)n;
		on_head(h, c);
	}
}

/* A free place, or that of who came first. */
static struct client *place_for(struct serve_http *h)
{
	struct client *oldest = &h->clients[0];

	for (size_t i = 0; i < MAX_CLIENTS; i++) {
		struct client *c = &h->clients[i];

		if (c->fd < 0)
			return c;
		if (c->number < oldest->number)
			oldest = c;
	}
	drop(oldest);
	return oldest;
}

static void accept_one(struct serve_http *h, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *c;

	if (fd < 0) {
		h->tired = errno != EAGAIN && errno != EINTR &&
			   errno != ECONNABORTED;
		return;
	}
	c = place_for(h);
	c->fd = fd;
	c->state = READING;
	c->have = 0;
	c->number = ++h->numbers;
	set_deadline(c, READ_MS);
	on_readable(h, c); /* it is often there already */
}

static short events_of(const struct client *c)
{
	return c->state == WRITING ? POLLOUT : POLLIN;
}

static void on_client(struct serve_http *h, struct client *c, short got)
{
	if (c->fd < 0 || !got)
		return;
	if (c->state == WRITING)
		on_writable(c);
	else
		on_readable(h, c);
}

/* How long until somebody's time is over; -1: nobody's is running. */
static int sweep(struct serve_http *h)
{
	uint64_t now = tide__now_ns(), first = UINT64_MAX;

	for (size_t i = 0; i < MAX_CLIENTS; i++) {
		struct client *c = &h->clients[i];

		if (c->fd >= 0 && c->deadline_ns <= now)
			drop(c);
		if (c->fd >= 0 && c->deadline_ns < first)
			first = c->deadline_ns;
	}
	return first == UINT64_MAX ? -1 : (int)((first - now) / 1000000 + 1);
}

static void turn(struct serve_http *h, struct pollfd *fds)
{
	size_t n = 1 + h->count;

	fds[0] = (struct pollfd){ h->stop_fd, POLLIN, 0 };
	for (size_t i = 0; i < h->count; i++)
		fds[1 + i] = (struct pollfd){ h->tired ? -1 : h->sockets[i],
					      POLLIN, 0 };
	for (size_t i = 0; i < MAX_CLIENTS; i++)
		fds[n + i] = (struct pollfd){ h->clients[i].fd,
					      events_of(&h->clients[i]), 0 };
	if (poll(fds, n + MAX_CLIENTS, h->tired ? PAUSE_MS : sweep(h)) < 0)
		return;
	h->tired = false;
	for (size_t i = 0; i < MAX_CLIENTS; i++)
		on_client(h, &h->clients[i], fds[n + i].revents);
	for (size_t i = 0; i < h->count; i++)
		if (fds[1 + i].revents)
			accept_one(h, h->sockets[i]);
}

static void *run(void *arg)
{
	struct serve_http *h = arg;
	struct pollfd fds[1 + MAX_SOCKETS + MAX_CLIENTS];

	do
		turn(h, fds);
	while (!fds[0].revents);
	return NULL;
}

static void destroy(struct serve_http *h)
{
	for (size_t i = 0; i < MAX_CLIENTS; i++)
		drop(&h->clients[i]);
	for (size_t i = 0; i < h->count; i++)
		close(h->sockets[i]);
	if (h->stop_fd >= 0)
		close(h->stop_fd);
	free(h);
}

static int start_thread(struct serve_http *h)
{
	sigset_t all, old;
	int ret;

	if (h->stop_fd < 0)
		return -errno;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = -pthread_create(&h->thread, NULL, run, h);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ret;
}

int serve_http_start(struct serve_http **out, const int *fds, size_t count,
		     const struct serve_http_page *page,
		     struct tide_error *err)
{
	struct serve_http *h = count > MAX_SOCKETS ? NULL
						    : calloc(1, sizeof(*h));
	int ret;

	if (!h) {
		for (size_t i = 0; i < count; i++)
			close(fds[i]);
		return tide_error_set(err, -ENOMEM, "http", TIDE_NO_OFFSET,
				      "no memory for a page of metrics");
	}
	h->page = *page;
	for (size_t i = 0; i < MAX_CLIENTS; i++)
		h->clients[i].fd = -1;
	for (size_t i = 0; i < count; i++) {
		fcntl(fds[i], F_SETFL, fcntl(fds[i], F_GETFL) | O_NONBLOCK);
		h->sockets[h->count++] = fds[i];
	}
	h->stop_fd = eventfd(0, EFD_CLOEXEC);
	ret = start_thread(h);
	if (ret) {
		destroy(h);
		return tide_error_set(err, ret, "http", TIDE_NO_OFFSET,
				      "serving metrics: %s", strerror(-ret));
	}
	*out = h;
	return 0;
}

void serve_http_stop(struct serve_http *h)
{
	uint64_t one = 1;

	if (!h)
		return;
	while (write(h->stop_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	pthread_join(h->thread, NULL);
	destroy(h);
}
