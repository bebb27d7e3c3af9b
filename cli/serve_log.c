/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See serve_log.h. Lines wait in a ring of bytes; the thread takes a piece of
 * it out, under the lock, and writes that without. Before each write it asks
 * poll, of a piece that fits into a pipe at once: so it stays able to hear of
 * SIGHUP and of the end while nobody reads. The flags of the descriptor are
 * left alone: standard error is shared with others.
 */
#include "cli/serve_log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/text.h"

#define RING_BYTES (256u << 10)
#define LONGEST_LINE PIECE_BYTES /* three values of 600, all escaped */
#define PIECE_BYTES 4096u /* what a pipe takes at once (PIPE_BUF) */
#define FLUSH_S 1

struct serve_log {
	pthread_mutex_t lock; /* ring, first, waiting, stop, ended */
	pthread_cond_t quiet; /* nothing waits any more; the thread ends */
	char ring[RING_BYTES];
	size_t first, waiting; /* bytes; a piece of them may be on its way */
	bool stop, ended;
	uint64_t lost; /* atomic */

	const char *path; /* NULL: standard error */
	bool json;
	int fd, wake_fd, signal_fd;
	bool inside; /* what was written last did not end a line */
	bool torn; /* and its rest will not come */
	uint64_t told; /* of `lost` */
	pthread_t thread;
};

/* --- a line -------------------------------------------------------------- */

struct text {
	char *to;
	size_t at, room;
};

static void put(struct text *t, const char *bytes, size_t length)
{
	if (length > t->room - t->at)
		length = t->room - t->at;
	memcpy(t->to + t->at, bytes, length);
	t->at += length;
}

static void put_word(struct text *t, const char *word)
{
	put(t, word, strlen(word));
}

/*
 * In quotes. What a terminal should not get is \xNN already: then a quote and a
 * backslash is all that key=value and JSON still have to escape.
 */
static void put_quoted(struct text *t, const char *value)
{
	char shown[600];

	tide__text_show(shown, sizeof(shown), value, strlen(value));
	put_word(t, "\"");
	for (const char *at = shown; *at; at++) {
		if (*at == '"' || *at == '\\')
			put_word(t, "\\");
		put(t, at, 1);
	}
	put_word(t, "\"");
}

static void put_key(struct text *t, const char *key, bool json)
{
	if (t->at > json)
		put_word(t, json ? ", " : " ");
	if (json)
		put_word(t, "\"");
	put_word(t, key);
	put_word(t, json ? "\": " : "=");
}

static bool is_plain(const char *value)
{
	return *value && !value[strspn(value, "abcdefghijklmnopqrstuvwxyz"
				       "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				       "0123456789-_.:/+")];
}

static void put_text(struct text *t, const char *key, const char *value,
		     bool json)
{
	if (!value)
		return;
	put_key(t, key, json);
	if (!json && is_plain(value))
		put_word(t, value);
	else
		put_quoted(t, value);
}

static void put_number(struct text *t, const char *key, uint64_t value,
		       bool json)
{
	char digits[24];

	put_key(t, key, json);
	snprintf(digits, sizeof(digits), "%" PRIu64, value);
	put_word(t, digits);
}

size_t serve_log_format(char *to, size_t room, const struct serve_line *l,
			uint64_t now_ms, bool json)
{
	static const char *const levels[] = { "info", "warning", "error" };
	struct text t = { to, 0, room - 1 }; /* the bracket always fits */
	time_t seconds = (time_t)(now_ms / 1000);
	char when[64];
	struct tm tm;
	size_t n;

	gmtime_r(&seconds, &tm);
	n = strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(when + n, sizeof(when) - n, ".%03uZ",
		 (unsigned)(now_ms % 1000));
	if (json)
		put_word(&t, "{");
	put_text(&t, "time", when, json);
	put_text(&t, "level", levels[l->level], json);
	put_text(&t, "event", l->event, json);
	if (l->client)
		put_number(&t, "client", l->client, json);
	put_text(&t, "export", l->export, json);
	if (l->has_uid)
		put_number(&t, "uid", l->uid, json);
	put_text(&t, "identity", l->identity, json);
	put_text(&t, "text", l->text, json);
	t.room = room;
	if (json)
		put_word(&t, "}");
	return t.at;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* --- the ring ------------------------------------------------------------- */

static void wake(struct serve_log *g)
{
	uint64_t one = 1;

	while (write(g->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void serve_log(struct serve_log *g, const struct serve_line *line)
{
	char bytes[LONGEST_LINE];
	bool first;
	size_t n;

	if (!g)
		return;
	n = serve_log_format(bytes, sizeof(bytes) - 1, line, now_ms(),
			     g->json);
	bytes[n++] = '\n';
	pthread_mutex_lock(&g->lock);
	first = !g->waiting;
	if (n > RING_BYTES - g->waiting) {
		tide__add_relaxed(&g->lost, 1); /* only a count */
		n = 0;
	}
	for (size_t i = 0; i < n; i++)
		g->ring[(g->first + g->waiting + i) % RING_BYTES] =
			bytes[i];
	g->waiting += n;
	pthread_mutex_unlock(&g->lock);
	if (first)
		wake(g);
}

uint64_t serve_log_lost(const struct serve_log *g)
{
	return tide__load_relaxed(&g->lost);
}

/* A copy of what is first; it stays there until `drop`. */
static size_t peek(struct serve_log *g, char to[PIECE_BYTES])
{
	size_t n;

	pthread_mutex_lock(&g->lock);
	n = g->waiting < PIECE_BYTES ? g->waiting : PIECE_BYTES;
	for (size_t i = 0; i < n; i++)
		to[i] = g->ring[(g->first + i) % RING_BYTES];
	pthread_mutex_unlock(&g->lock);
	return n;
}

static void drop(struct serve_log *g, size_t n)
{
	pthread_mutex_lock(&g->lock);
	g->first = (g->first + n) % RING_BYTES;
	g->waiting -= n;
	if (!g->waiting)
		pthread_cond_broadcast(&g->quiet);
	pthread_mutex_unlock(&g->lock);
}

/* --- the thread ----------------------------------------------------------- */

/* A pipe's name, too, if somebody reads it. */
static int open_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC |
		      O_NOCTTY | O_NONBLOCK, 0640);

	return fd < 0 ? -errno : fd;
}

static void open_anew(struct serve_log *g)
{
	struct signalfd_siginfo info;
	char why[300];
	int fd;

	while (read(g->signal_fd, &info, sizeof(info)) < 0 && errno == EINTR)
		;
	if (!g->path)
		return;
	fd = open_file(g->path);
	if (fd < 0) {
		snprintf(why, sizeof(why), "%s: %s; the old file is kept",
			 g->path, strerror(-fd));
		serve_log(g, &(struct serve_line){
			SERVE_ERROR, "reopen", .text = why });
		return;
	}
	close(g->fd);
	g->fd = fd;
	g->torn = g->inside = false;
	serve_log(g, &(struct serve_line){ SERVE_INFO, "reopened" });
}

/* How many lines there are in what is given up. */
static uint64_t lines_in(const char *bytes, size_t n)
{
	uint64_t lines = 0;

	for (size_t i = 0; i < n; i++)
		lines += bytes[i] == '\n';
	return lines;
}

/* What cannot be written is given up by whole lines. */
static size_t give_up(struct serve_log *g, const char *bytes, size_t n)
{
	while (n && bytes[n - 1] != '\n')
		n--;
	tide__add_relaxed(&g->lost, lines_in(bytes, n));
	g->torn |= g->inside;
	g->inside = false;
	return n;
}

/* Takes what was written out of the ring, or given up. True: it was written. */
static bool write_some(struct serve_log *g, const char *bytes, size_t n)
{
	ssize_t done;

	if (g->torn && write(g->fd, "\n", 1) == 1)
		g->torn = false;
	done = write(g->fd, bytes, n);
	if (done > 0) {
		g->inside = bytes[done - 1] != '\n';
		drop(g, (size_t)done);
		return true;
	}
	/* A full disk, a reader who left: not again and again. */
	if (errno != EINTR && errno != EAGAIN)
		drop(g, give_up(g, bytes, n));
	return false;
}

static void tell_of_lost(struct serve_log *g)
{
	uint64_t lost = serve_log_lost(g);
	char text[80];

	if (lost == g->told)
		return;
	snprintf(text, sizeof(text), "%" PRIu64 " lines were lost",
		 lost - g->told);
	g->told = lost;
	serve_log(g, &(struct serve_line){ SERVE_WARNING, "lost", .text = text });
}

static bool is_over(struct serve_log *g)
{
	bool over;

	pthread_mutex_lock(&g->lock);
	over = g->stop && !g->waiting;
	g->ended = over;
	if (over)
		pthread_cond_broadcast(&g->quiet);
	pthread_mutex_unlock(&g->lock);
	return over;
}

static void empty(int fd)
{
	uint64_t count;

	while (read(fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
}

static void *run(void *arg)
{
	struct serve_log *g = arg;
	char piece[PIECE_BYTES];
	size_t n;

	while (!is_over(g)) {
		struct pollfd fds[] = { { g->signal_fd, POLLIN, 0 },
					{ g->wake_fd, POLLIN, 0 },
					{ -1, POLLOUT, 0 } };

		n = peek(g, piece);
		if (n)
			fds[2].fd = g->fd;
		if (poll(fds, 3, -1) < 0)
			continue;
		if (fds[1].revents)
			empty(g->wake_fd);
		if (fds[0].revents)
			open_anew(g);
		else if (fds[2].revents && write_some(g, piece, n))
			tell_of_lost(g);
	}
	return NULL;
}

static int start_thread(struct serve_log *g)
{
	sigset_t all, old;
	int ret;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = -pthread_create(&g->thread, NULL, run, g);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ret;
}

static int open_all(struct serve_log *g, const char *path,
		    struct tide_error *err)
{
	sigset_t hup;

	sigemptyset(&hup);
	sigaddset(&hup, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &hup, NULL);
	g->fd = path ? open_file(path) : STDERR_FILENO;
	if (g->fd < 0)
		return tide_error_set(err, g->fd, "log", TIDE_NO_OFFSET,
				      "%s: %s", path, strerror(-g->fd));
	g->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	g->signal_fd = signalfd(-1, &hup, SFD_CLOEXEC | SFD_NONBLOCK);
	if (g->wake_fd >= 0 && g->signal_fd >= 0)
		return 0;
	return tide_error_set(err, -errno, "log", TIDE_NO_OFFSET,
			      "descriptors for the log: %s", strerror(errno));
}

static void destroy(struct serve_log *g)
{
	if (g->path && g->fd >= 0)
		close(g->fd);
	if (g->wake_fd >= 0)
		close(g->wake_fd);
	if (g->signal_fd >= 0)
		close(g->signal_fd);
	pthread_mutex_destroy(&g->lock);
	pthread_cond_destroy(&g->quiet);
	free(g);
}

int serve_log_start(struct serve_log **out, const char *path, bool json,
		    struct tide_error *err)
{
	struct serve_log *g = calloc(1, sizeof(*g));
	int ret;

	if (!g)
		return tide_error_set(err, -ENOMEM, "log", TIDE_NO_OFFSET,
				      "no memory for a log");
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->quiet, NULL);
	g->path = path;
	g->json = json;
	g->wake_fd = g->signal_fd = -1;
	ret = open_all(g, path, err);
	if (!ret) {
		ret = start_thread(g);
		if (ret)
			tide_error_set(err, ret, "log", TIDE_NO_OFFSET,
				       "starting the log: %s", strerror(-ret));
	}
	if (ret)
		destroy(g);
	else
		*out = g;
	return ret;
}

/*
 * Until nothing waits, or with @end until the thread is gone. True: so it is.
 */
static bool wait_quiet(struct serve_log *g, bool end)
{
	struct timespec until;
	bool quiet;
	int ret = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += FLUSH_S;
	pthread_mutex_lock(&g->lock);
	while ((end ? !g->ended : g->waiting > 0) && !ret)
		ret = pthread_cond_timedwait(&g->quiet, &g->lock, &until);
	quiet = end ? g->ended : !g->waiting;
	pthread_mutex_unlock(&g->lock);
	return quiet;
}

void serve_log_flush(struct serve_log *g)
{
	if (g)
		wait_quiet(g, false);
}

void serve_log_stop(struct serve_log *g)
{
	if (!g)
		return;
	pthread_mutex_lock(&g->lock);
	g->stop = true;
	pthread_mutex_unlock(&g->lock);
	wake(g);
	if (!wait_quiet(g, true))
		return; /* its thread hangs, and has it */
	pthread_join(g->thread, NULL);
	destroy(g);
}
