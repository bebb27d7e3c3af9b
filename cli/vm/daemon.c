/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/vm/daemon.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/wire.h"

#define VERIFY_TIMEOUT_NS 60000000000ull

struct connection {
	struct daemon *d;
	int fd;
};

/* The one mutable global: what a signal handler can reach. */
static volatile sig_atomic_t told_to_end;

static void on_signal(int number)
{
	(void)number;
	told_to_end = 1;
}

void daemon_init(struct daemon *d, struct vm *vm, enum daemon_state state)
{
	memset(d, 0, sizeof(*d));
	d->vm = vm;
	d->state = state;
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->changed, NULL);
}

const char *daemon_state_name(enum daemon_state state)
{
	static const char *const names[] = {
		"incoming", "running", "migrating", "moved", "unknown",
		"failed",
	};

	return names[state];
}

void daemon_set_state(struct daemon *d, enum daemon_state state,
		      const struct tide_error *why)
{
	pthread_mutex_lock(&d->lock);
	d->state = state;
	if (why)
		d->why = *why;
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->lock);
}

static enum daemon_state state_of(struct daemon *d)
{
	enum daemon_state state;

	pthread_mutex_lock(&d->lock);
	state = d->state;
	pthread_mutex_unlock(&d->lock);
	return state;
}

static json_t *phase_json(struct daemon *d, enum vm_phase phase)
{
	struct vm_stalls s;
	json_t *buckets = json_object();

	vm_get_stalls(d->vm, phase, &s);
	for (unsigned int i = 0; i < 64; i++) {
		char name[24];

		if (!s.bucket[i])
			continue;
		snprintf(name, sizeof(name), "%llu", 1ull << i);
		json_object_set_new(buckets, name,
				    json_integer((json_int_t)s.bucket[i]));
	}
	return json_pack("{s:I, s:o}", "longest_ns", (json_int_t)s.longest_ns,
			 "histogram_ns", buckets);
}

static json_t *stalls_json(struct daemon *d)
{
	return json_pack("{s:o, s:o, s:o, s:o}", "none",
			 phase_json(d, VM_PHASE_NONE), "bulk",
			 phase_json(d, VM_PHASE_BULK), "dirty",
			 phase_json(d, VM_PHASE_DIRTY), "stop",
			 phase_json(d, VM_PHASE_STOP));
}

static json_t *status(struct daemon *d)
{
	enum daemon_state state = state_of(d);
	const struct vm_config *c = vm_get_config(d->vm);
	struct tide_error err;
	json_t *j = json_pack(
	    "{s:s, s:s, s:s}", "state", daemon_state_name(state), "accel",
	    vm_accel(d->vm) == VM_ACCEL_KVM ? "kvm" : "process", "source",
	    tide_source_kind_name(c->source));

	if (state != DAEMON_INCOMING && state != DAEMON_FAILED) {
		json_object_update_new(j, json_pack(
		    "{s:b, s:s, s:i, s:I, s:I, s:I, s:o}", "running",
		    vm_is_running(d->vm), "pattern", vm_pattern_name(c->pattern),
		    "vcpus", c->vcpus, "memory_bytes",
		    (json_int_t)c->memory_bytes, "pages_written",
		    (json_int_t)vm_pages_written(d->vm), "dirty_pages",
		    (json_int_t)tide_set_count(vm_set(d->vm)), "stalls",
		    stalls_json(d)));
		if (vm_failed(d->vm, &err))
			json_object_set_new(j, "failure",
					    json_string(err.text));
	} else {
		json_object_set_new(j, "running", json_false());
	}
	pthread_mutex_lock(&d->lock);
	if (d->why.code && (state == DAEMON_FAILED || state == DAEMON_UNKNOWN))
		json_object_set_new(j, "reason", json_string(d->why.text));
	if (d->hash)
		json_object_update_new(j, json_pack("{s:I, s:I}", "memory_hash",
		    (json_int_t)d->hash, "hash_ns", (json_int_t)d->hash_ns));
	pthread_mutex_unlock(&d->lock);
	return j;
}

static json_t *refuse(const char *text)
{
	return json_pack("{s:s, s:s, s:i}", "error", text, "origin", "vm",
			 "code", EINVAL);
}

static json_t *verify(struct daemon *d)
{
	struct tide_error err;
	struct vm_verdict v;

	if (!vm_is_running(d->vm))
		return refuse("the guest does not run here");
	if (vm_verify(d->vm, VERIFY_TIMEOUT_NS, &v, &err))
		return wire_error(&err);
	return json_pack("{s:b, s:I, s:I, s:I, s:s, s:I, s:I, s:I}",
			 "verified", !v.bad && !v.disk_bad, "pages",
			 (json_int_t)v.pages, "bad", (json_int_t)v.bad,
			 "first_bad", (json_int_t)v.first_bad, "kind",
			 v.first_bad_kind ? v.first_bad_kind : "",
			 "disk_reads", (json_int_t)v.disk_reads, "disk_writes",
			 (json_int_t)v.disk_writes, "disk_bad",
			 (json_int_t)v.disk_bad);
}

/*
 * Resuming is for a guest that was paused by an unanswered GO, and only by
 * force: it may run at the other side. One that moved never comes back.
 */
static json_t *resume(struct daemon *d, const json_t *request)
{
	bool force = json_is_true(json_object_get(request, "force"));
	struct tide_error err;

	switch (state_of(d)) {
	case DAEMON_UNKNOWN:
		if (!force)
			return refuse("GO was sent and no answer came: the "
				      "guest may run at the other side. Make "
				      "sure that it does not, then resume "
				      "with --force");
		if (vm_resume(d->vm, &err))
			return wire_error(&err);
		daemon_set_state(d, DAEMON_RUNNING, NULL);
		return json_pack("{s:b}", "resumed", 1);
	case DAEMON_MOVED:
		return refuse("the guest has moved and runs elsewhere");
	case DAEMON_RUNNING:
	case DAEMON_MIGRATING:
		return refuse("the guest runs already");
	default:
		return refuse("there is no guest here");
	}
}

static json_t *stop(struct daemon *d)
{
	pthread_mutex_lock(&d->lock);
	d->quit = true;
	pthread_mutex_unlock(&d->lock);
	return json_pack("{s:b}", "stopping", 1);
}

static void answer(struct daemon *d, int fd, const json_t *request)
{
	const char *name = json_string_value(json_object_get(request,
							     "command"));
	json_t *reply;

	if (!name)
		reply = refuse("a request is an object with \"command\"");
	else if (!strcmp(name, "migrate")) {
		daemon_migrate(d, fd, request);
		return;
	} else if (!strcmp(name, "status"))
		reply = status(d);
	else if (!strcmp(name, "verify"))
		reply = verify(d);
	else if (!strcmp(name, "resume"))
		reply = resume(d, request);
	else if (!strcmp(name, "record"))
		reply = daemon_record(d, request);
	else if (!strcmp(name, "stop"))
		reply = stop(d);
	else
		reply = refuse("there is no such command");
	wire_put(fd, reply);
	json_decref(reply);
}

static void *serve_connection(void *arg)
{
	struct connection *c = arg;
	struct wire_lines lines = { .fd = c->fd };
	json_t *request;

	while ((request = wire_get(&lines, -1))) {
		answer(c->d, c->fd, request);
		json_decref(request);
	}
	wire_lines_fini(&lines);
	close(c->fd);
	pthread_mutex_lock(&c->d->lock);
	c->d->connections--;
	pthread_cond_broadcast(&c->d->changed);
	pthread_mutex_unlock(&c->d->lock);
	free(c);
	return NULL;
}

static void accept_connection(struct daemon *d, int listener)
{
	struct connection *c = malloc(sizeof(*c));
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	pthread_t thread;

	if (fd < 0 || !c)
		goto drop;
	c->d = d;
	c->fd = fd;
	pthread_mutex_lock(&d->lock);
	d->connections++;
	pthread_mutex_unlock(&d->lock);
	if (!pthread_create(&thread, NULL, serve_connection, c)) {
		pthread_detach(thread);
		return;
	}
	pthread_mutex_lock(&d->lock);
	d->connections--;
	pthread_mutex_unlock(&d->lock);
drop:
	if (fd >= 0)
		close(fd);
	free(c);
}

static void catch_signals(void)
{
	struct sigaction act = { .sa_handler = on_signal };

	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	signal(SIGPIPE, SIG_IGN);
}

int daemon_serve(struct daemon *d, const char *path, struct tide_error *err)
{
	char *address;
	int listener, code = CLI_OK;
	bool quit = false;

	if (asprintf(&address, "unix:%s", path) < 0)
		return tide_error_set(err, -ENOMEM, "vm", TIDE_NO_OFFSET,
				      "no memory");
	listener = wire_listen(address, err);
	free(address);
	if (listener < 0)
		return listener;
	catch_signals();
	while (!quit && !told_to_end) {
		struct pollfd p = { .fd = listener, .events = POLLIN };

		if (poll(&p, 1, 50) > 0)
			accept_connection(d, listener);
		pthread_mutex_lock(&d->lock);
		quit = d->quit;
		if (d->state == DAEMON_FAILED) {
			*err = d->why;
			code = d->why.code;
			quit = true;
		}
		pthread_mutex_unlock(&d->lock);
	}
	unlink(path);
	close(listener);
	return code;
}
