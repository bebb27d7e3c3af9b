/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client of a VM's control socket, whatever it sends: lines of JSON, rubbish,
 * half lines, a request's rest. The process behind it is a real one with a
 * guest that idles. Every line that comes back is an object, and there is an
 * answer to each line that was sent.
 *
 * What a request names outside of this process - where to, which folder - is
 * led to nowhere before it is sent, and nobody tells it to stop.
 */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/vm/daemon.h"
#include "control/listener.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[64];
static struct daemon d;

static void *serve(void *opaque)
{
	struct tide_error err;

	(void)opaque;
	daemon_serve(&d, path, &err);
	abort(); /* nobody told it to */
}

static void clear(void)
{
	char lock[80];

	snprintf(lock, sizeof(lock), "%s.lock", path);
	unlink(path);
	unlink(lock);
}

static void start(void)
{
	struct vm_config c;
	pthread_t thread;
	struct vm *vm;
	int fd;

	vm_config_defaults(&c);
	c.accel = VM_ACCEL_PROCESS;
	c.source = TIDE_SOURCE_UFFD;
	c.memory_bytes = 8u << 20;
	c.slots = 1;
	c.vcpus = 1;
	c.pattern = 0;
	c.serial_path = "/dev/null";
	snprintf(path, sizeof(path), "/tmp/tidemark-fuzz-%d", (int)getpid());
	if (vm_create(&vm, &c, NULL) || vm_resume(vm, NULL))
		abort();
	daemon_init(&d, vm, DAEMON_RUNNING);
	atexit(clear);
	if (pthread_create(&thread, NULL, serve, NULL))
		abort();
	while ((fd = control_connect(path, NULL)) < 0)
		usleep(1000);
	close(fd);
}

static int dial(void)
{
	int fd = control_connect(path, NULL);

	if (fd < 0)
		abort();
	return fd;
}

static void lead(json_t *o, const char *name, const char *where)
{
	if (json_is_string(json_object_get(o, name)))
		json_object_set_new(o, name, json_string(where));
}

static void at_most(json_t *o, const char *name, json_int_t max)
{
	if (json_integer_value(json_object_get(o, name)) > max)
		json_object_set_new(o, name, json_integer(max));
}

static void put(int fd, const char *bytes, size_t len)
{
	while (len) {
		ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		bytes += n;
		len -= (size_t)n;
	}
}

/* One line, as it is or, if it is a request, made harmless. */
static void put_line(int fd, const char *line, size_t len, bool whole)
{
	json_t *o = whole ? json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL)
			  : NULL;
	const char *command = json_string_value(json_object_get(o, "command"));
	char *text;

	if (!json_is_object(o) || !command) {
		json_decref(o);
		put(fd, line, len);
		return;
	}
	if (!strcmp(command, "stop"))
		json_object_set_new(o, "command", json_string("status"));
	lead(o, "to", "unix:/nowhere/at-all");
	lead(o, "folder", "/nowhere/at-all");
	at_most(o, "rounds", 2);
	at_most(o, "interval_ms", 2);
	text = json_dumps(o, JSON_COMPACT);
	if (!text)
		abort();
	put(fd, text, strlen(text));
	put(fd, "\n", 1);
	free(text);
	json_decref(o);
}

/* What comes back until the end: as many answers as there were lines. */
static void hear(int fd, unsigned int lines)
{
	struct control_lines in;
	json_t *o = NULL;
	unsigned int n = 0;
	enum control_got got;

	control_lines_init(&in, fd);
	while ((got = control_get(&in, 10000, &o)) == CONTROL_GOT) {
		n++;
		json_decref(o);
	}
	if (got != CONTROL_END || n != lines)
		abort();
	control_lines_fini(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *at = (const char *)data, *end = at + size;
	unsigned int lines = 0;
	int fd;

	if (!*path)
		start();
	/* Few: nobody reads before all are sent. */
	if (size > 16384)
		return 0;
	fd = dial();
	while (at < end) {
		const char *nl = memchr(at, '\n', (size_t)(end - at));
		size_t len = (size_t)((nl ? nl + 1 : end) - at);

		put_line(fd, at, len, nl != NULL);
		lines += nl != NULL;
		at += len;
		if (lines == 50)
			break;
	}
	shutdown(fd, SHUT_WR);
	hear(fd, lines);
	close(fd);
	return 0;
}
