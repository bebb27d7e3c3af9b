/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control socket without a VM: names are never taken or removed unasked,
 * observers cost nobody time, and clients that send rubbish, half lines, too
 * much or nothing are answered or dropped while others are served.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "control/lines.h"
#include "control/listener.h"
#include "control/server.h"
#include "folder.h"

static char folder[FOLDER_BYTES], path[128];

static int setup(void **state)
{
	(void)state;
	if (folder_make(folder, "/tmp"))
		return -1;
	snprintf(path, sizeof(path), "%s/socket", folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return folder_remove(folder);
}

/* --- names --- */

static void only_dead_sockets_are_replaced(void **state)
{
	struct control_listener a, b;
	struct tide_error err;
	struct stat st;
	char lock[140];
	FILE *f;

	(void)state;
	umask(0);
	assert_int_equal(control_listen(path, false, &a, &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(control_listen(path, false, &b, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, path));
	/* Killed: the descriptors are gone, the name and the lock's are not. */
	close(a.fd);
	close(a.lock);
	assert_int_equal(control_listen(path, true, &b, &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0666);
	control_listener_close(&b);
	assert_int_equal(stat(path, &st), -1);
	snprintf(lock, sizeof(lock), "%s.lock", path);
	assert_int_equal(stat(lock, &st), -1);
	free(a.path);
	/* A file, an image, a folder. */
	f = fopen(path, "w");
	fputs("precious", f);
	fclose(f);
	assert_int_equal(control_listen(path, false, &a, &err), -EEXIST);
	assert_non_null(strstr(err.text, "no socket"));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 8);
	unlink(path);
	umask(022);
}

/* Connects until the queue of @to is full, then once more within a limit. */
static void fill_and_try(int family, const void *to, unsigned int length)
{
	const uint64_t limit = 200000000;
	int fds[64], n = 0, ret = 0;
	uint64_t start;

	while (!ret && n < 64) {
		fds[n] = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_true(fds[n] >= 0);
		start = tide__now_ns();
		ret = control_connect_within(fds[n++], to, length, limit);
	}
	assert_int_equal(ret, -ETIMEDOUT);
	assert_true(tide__now_ns() - start >= limit / 2);
	while (n)
		close(fds[--n]);
}

/* A listener that accepts nobody: one that sleeps. */
static void who_does_not_accept_has_a_limit(void **state)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	socklen_t length = sizeof(in);
	int fd;

	(void)state;
	strcpy(un.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(fd, 1), 0);
	fill_and_try(AF_UNIX, &un, sizeof(un));
	close(fd);
	assert_int_equal(unlink(path), 0);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &length), 0);
	fill_and_try(AF_INET, &in, sizeof(in));
	close(fd);
}

static void what_is_no_longer_ours_stays(void **state)
{
	struct control_listener a;
	struct stat st;
	FILE *f;

	(void)state;
	assert_int_equal(control_listen(path, false, &a, NULL), 0);
	unlink(path);
	f = fopen(path, "w");
	fputs("x", f);
	fclose(f);
	control_listener_close(&a);
	assert_int_equal(stat(path, &st), 0);
	unlink(path);
}

/* --- lines --- */

static void an_observer_that_sleeps_costs_nothing(void **state)
{
	struct control_lines near, far;
	json_t *report = json_pack("{s:s}", "text", "0123456789abcdef");
	json_t *got = NULL;
	uint64_t start, sent = 20000, seen = 0;
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	control_lines_init(&near, fds[0]);
	control_lines_init(&far, fds[1]);
	start = tide__now_ns();
	for (uint64_t i = 0; i < sent; i++)
		control_report(&near, report);
	assert_true(tide__now_ns() - start < 60000000000ull);
	assert_true(near.dropped > 0 && near.dropped < sent);
	/* What arrived is whole lines, and the count is right. */
	for (;;) {
		control_report(&near, report); /* finishes what was begun */
		if (control_get(&far, 0, &got) != CONTROL_GOT)
			break;
		assert_string_equal(json_string_value(json_object_get(got,
							"text")),
				    "0123456789abcdef");
		json_decref(got);
		seen++;
		if (seen == sent - near.dropped)
			break;
	}
	assert_true(seen > 100);
	json_decref(report);
	control_lines_fini(&near);
	control_lines_fini(&far);
	close(fds[0]);
	close(fds[1]);
}

/* --- the server --- */

static bool quit; /* atomic */
static unsigned int end_ms;

static json_t *echo(const struct control_request *r)
{
	return json_pack("{s:O?}", "echo", json_object_get(r->object, "say"));
}

static json_t *stop(const struct control_request *r)
{
	(void)r;
	__atomic_store_n(&quit, true, __ATOMIC_SEQ_CST);
	return json_pack("{s:b}", "stopping", 1);
}

static bool over(void *opaque)
{
	(void)opaque;
	return __atomic_load_n(&quit, __ATOMIC_SEQ_CST);
}

static bool let_go; /* atomic */
static unsigned int sleepers; /* atomic */

/* One that does not look whether its client is there. */
static json_t *sleep_on(const struct control_request *r)
{
	(void)r;
	__atomic_add_fetch(&sleepers, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&let_go, __ATOMIC_SEQ_CST))
		usleep(1000);
	__atomic_sub_fetch(&sleepers, 1, __ATOMIC_SEQ_CST);
	return json_pack("{s:b}", "slept", 1);
}

static const struct control_verb verbs[] = {
	{ "echo", echo }, { "stop", stop }, { "sleep", sleep_on },
	{ NULL, NULL },
};

static void *serve(void *opaque)
{
	struct control_options o = { .path = path, .verbs = verbs,
				     .over = over, .end_ms = end_ms };

	return (void *)(intptr_t)control_serve(&o, opaque);
}

static int dial(void)
{
	for (int i = 0; i < 6000; i++) {
		int fd = control_connect(path, NULL);

		if (fd >= 0)
			return fd;
		usleep(10000);
	}
	fail_msg("nobody listens");
	return -1;
}

/* Sends @text; the answer's error, or "" for an answer without, or NULL. */
static char *ask(int fd, const char *text, size_t length)
{
	struct control_lines l;
	json_t *got = NULL;
	char *error = NULL;

	control_lines_init(&l, fd);
	while (length) {
		ssize_t n = send(fd, text, length, MSG_NOSIGNAL);

		if (n < 0)
			break;
		text += n;
		length -= (size_t)n;
	}
	if (control_get(&l, 60000, &got) == CONTROL_GOT) {
		const char *e = json_string_value(json_object_get(got,
								  "error"));

		error = strdup(e ? e : "");
	}
	json_decref(got);
	control_lines_fini(&l);
	return error;
}

static void expect(int fd, const char *text, const char *error)
{
	char *got = ask(fd, text, strlen(text));

	assert_non_null(got);
	if (!strstr(got, error) || (!*error && *got))
		fail_msg("'%.40s' is answered '%s'", text, got);
	free(got);
}

static void rubbish_is_answered(void **state)
{
	int fd, half, many[80];
	char *large = malloc(CONTROL_LONGEST_LINE * 2);
	struct tide_error err;
	pthread_t thread;
	struct rlimit old, few;
	struct rusage before, after;
	char *got;

	(void)state;
	quit = false;
	assert_int_equal(pthread_create(&thread, NULL, serve, &err), 0);
	fd = dial();
	expect(fd, "no json\n", "no JSON object");
	expect(fd, "[1]\n", "no JSON object");
	expect(fd, "{}\n", "\"command\"");
	expect(fd, "{\"command\": 7}\n", "\"command\"");
	expect(fd, "{\"command\": \"fly\"}\n", "no such command");
	expect(fd, "{\"command\": \"echo\", \"say\": 1}\n", "");
	expect(fd, "GET / HTTP/1.0\r\n", "no JSON object");
	/* Half a line, and nothing more, does not keep others away. */
	half = dial();
	assert_int_equal(send(half, "{\"comm", 6, 0), 6);
	expect(fd, "{\"command\": \"echo\"}\n", "");
	memset(large, 'x', CONTROL_LONGEST_LINE * 2);
	large[CONTROL_LONGEST_LINE * 2 - 1] = '\n';
	got = ask(fd, large, CONTROL_LONGEST_LINE * 2);
	assert_non_null(got);
	assert_non_null(strstr(got, "longer than"));
	free(got);
	expect(fd, "{\"command\": \"echo\"}\n", "");
	/* More than there may be: the rest are hung up on. */
	for (int i = 0; i < 80; i++)
		many[i] = dial();
	for (int i = 0; i < 80; i++)
		close(many[i]);
	expect(fd, "{\"command\": \"echo\"}\n", "");
	/* No descriptor is left: nothing spins. */
	getrlimit(RLIMIT_NOFILE, &old);
	many[0] = dial();
	few = old;
	few.rlim_cur = 3;
	many[1] = socket(AF_UNIX, SOCK_STREAM, 0);
	setrlimit(RLIMIT_NOFILE, &few);
	{
		struct sockaddr_storage ss;
		socklen_t length = sizeof(ss);

		getpeername(many[0], (struct sockaddr *)&ss, &length);
		connect(many[1], (struct sockaddr *)&ss, length);
	}
	getrusage(RUSAGE_SELF, &before);
	usleep(600000);
	getrusage(RUSAGE_SELF, &after);
	setrlimit(RLIMIT_NOFILE, &old);
	assert_true((after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000000 +
			    after.ru_utime.tv_usec - before.ru_utime.tv_usec +
			    (after.ru_stime.tv_sec - before.ru_stime.tv_sec) *
				    1000000 +
			    after.ru_stime.tv_usec - before.ru_stime.tv_usec <
		    200000);
	close(many[0]);
	close(many[1]);
	expect(fd, "{\"command\": \"stop\"}\n", "");
	pthread_join(thread, NULL);
	close(half);
	close(fd);
	free(large);
	assert_int_equal(access(path, F_OK), -1);
}

static bool asleep(unsigned int n)
{
	for (int i = 0; i < 60000; i++) {
		if (__atomic_load_n(&sleepers, __ATOMIC_SEQ_CST) == n)
			return true;
		usleep(1000);
	}
	return false;
}

/* A request that does not end is not waited for without end. */
static void the_end_has_a_limit(void **state)
{
	struct tide_error err;
	pthread_t thread;
	uint64_t start;
	void *ret;
	int fd;

	(void)state;
	quit = let_go = false;
	end_ms = 300;
	assert_int_equal(pthread_create(&thread, NULL, serve, &err), 0);
	fd = dial();
	/* And one behind it, which is there already and is not begun again. */
	assert_true(send(fd, "{\"command\": \"sleep\"}\n{\"command\": "
			     "\"echo\"}\n", 42, 0) == 42);
	assert_true(asleep(1));
	start = tide__now_ns();
	__atomic_store_n(&quit, true, __ATOMIC_SEQ_CST);
	pthread_join(thread, &ret);
	assert_int_equal((intptr_t)ret, -ETIMEDOUT);
	assert_string_equal(err.text, "1 requests did not end");
	assert_true(tide__now_ns() - start >= 290000000u);
	assert_int_equal(access(path, F_OK), -1);
	/* What is left of it ends by itself, and gives all back (ASan). */
	__atomic_store_n(&let_go, true, __ATOMIC_SEQ_CST);
	assert_true(asleep(0));
	close(fd);
	usleep(100000);
	/* One that does end within the limit is waited for. */
	quit = let_go = false;
	end_ms = 10000;
	assert_int_equal(pthread_create(&thread, NULL, serve, &err), 0);
	fd = dial();
	assert_true(send(fd, "{\"command\": \"sleep\"}\n", 21, 0) == 21);
	assert_true(asleep(1));
	__atomic_store_n(&quit, true, __ATOMIC_SEQ_CST);
	usleep(150000);
	__atomic_store_n(&let_go, true, __ATOMIC_SEQ_CST);
	pthread_join(thread, &ret);
	assert_int_equal((intptr_t)ret, 0);
	assert_int_equal(sleepers, 0);
	close(fd);
	end_ms = 0;
}

/*
 * The spare descriptor is taken by somebody else while there are none: it is
 * asked for again, and clients are hung up on meanwhile and after it.
 */
static void a_spare_that_was_lost(void **state)
{
	struct rlimit old, few;
	struct tide_error err;
	pthread_t thread;
	int fd, held[3];

	(void)state;
	quit = false;
	assert_int_equal(pthread_create(&thread, NULL, serve, &err), 0);
	fd = dial();
	expect(fd, "{\"command\": \"echo\"}\n", "");
	for (int i = 0; i < 3; i++)
		held[i] = socket(AF_UNIX, SOCK_STREAM, 0);
	getrlimit(RLIMIT_NOFILE, &old);
	few = old;
	/*
	 * None may be opened at all, not even in the spare one's place: 0 is
	 * taken. With a limit of 0 poll would refuse to wait for anything.
	 */
	few.rlim_cur = 1;
	setrlimit(RLIMIT_NOFILE, &few);
	for (int i = 0; i < 3; i++) {
		struct sockaddr_storage ss;
		socklen_t length = sizeof(ss);

		getpeername(fd, (struct sockaddr *)&ss, &length);
		connect(held[i], (struct sockaddr *)&ss, length);
		usleep(120000);
	}
	setrlimit(RLIMIT_NOFILE, &old);
	usleep(120000);
	/* The served one lives, and so do those that waited. */
	expect(fd, "{\"command\": \"echo\"}\n", "");
	expect(held[2], "{\"command\": \"echo\"}\n", "");
	for (int i = 0; i < 3; i++)
		close(held[i]);
	expect(fd, "{\"command\": \"stop\"}\n", "");
	pthread_join(thread, NULL);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_dead_sockets_are_replaced),
		cmocka_unit_test(who_does_not_accept_has_a_limit),
		cmocka_unit_test(what_is_no_longer_ours_stays),
		cmocka_unit_test(an_observer_that_sleeps_costs_nothing),
		cmocka_unit_test(rubbish_is_answered),
		cmocka_unit_test(the_end_has_a_limit),
		cmocka_unit_test(a_spare_that_was_lost),
	};

	return cmocka_run_group_tests_name("control", tests, setup, teardown);
}
