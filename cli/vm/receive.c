/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark vm receive: wait for a guest, then run it. If the migration fails
 * the process ends with the reason: what memory it has is not a guest.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/vm/daemon.h"
#include "vm/migrate_ops.h"
#include "cli/vm/options.h"
#include "cli/wire.h"

struct receiving {
	struct daemon *d;
	struct vm_migration migration;
	struct tide_precopy_options options;
	int listener;
	bool greeted;		/* the control channel is there */
};

static bool is_told_to_quit(struct daemon *d)
{
	bool quit;

	pthread_mutex_lock(&d->lock);
	quit = d->quit;
	pthread_mutex_unlock(&d->lock);
	return quit;
}

/* The first channel may take for ever to come, the others may not. */
static int accept_channel(void *opaque, struct tide_error *err)
{
	struct receiving *r = opaque;
	uint64_t start = tide__now_ns();

	for (;;) {
		struct pollfd p = { .fd = r->listener, .events = POLLIN };
		int fd;

		if (poll(&p, 1, 50) > 0) {
			fd = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC);
			if (fd < 0 && errno != EINTR && errno != ECONNABORTED)
				return tide_error_set(err, -errno, "accept",
						      TIDE_NO_OFFSET, "%s",
						      strerror(errno));
			if (fd >= 0) {
				r->greeted = true;
				return fd;
			}
		}
		if (is_told_to_quit(r->d))
			return tide_error_set(err, -ECANCELED, "accept",
					      TIDE_NO_OFFSET,
					      "told to stop");
		if (r->greeted && tide__now_ns() - start >
				      r->options.stall_timeout_ns)
			return tide_error_set(err, -ETIMEDOUT, "accept",
					      TIDE_NO_OFFSET,
					      "a channel that was announced "
					      "did not connect");
	}
}

static void *receive(void *opaque)
{
	struct receiving *r = opaque;
	struct daemon *d = r->d;
	struct tide_precopy_result result;
	struct tide_error err;
	int rc;

	tide_error_clear(&err);
	rc = vm_receive(&r->migration, &r->options, &result, &err);
	pthread_mutex_lock(&d->lock);
	d->hash = r->migration.hash;
	d->hash_ns = r->migration.hash_ns;
	d->last = result;
	pthread_mutex_unlock(&d->lock);
	daemon_set_state(d, rc ? DAEMON_FAILED : DAEMON_RUNNING,
			 rc ? &err : NULL);
	return NULL;
}

static int serve(const struct cli_parsed *p, struct vm *vm, int listener)
{
	struct receiving r = { .listener = listener };
	struct tide_error err;
	struct daemon d;
	pthread_t thread;
	int rc;

	daemon_init(&d, vm, DAEMON_INCOMING);
	r.d = &d;
	r.migration.vm = vm;
	r.migration.want_hash = cli_flag(p, "hash");
	r.migration.accept = accept_channel;
	r.migration.opaque = &r;
	tide_precopy_defaults(&r.options);
	r.options.stall_timeout_ns = cli_number(p, "stall-timeout") * 1000000;
	if (pthread_create(&thread, NULL, receive, &r))
		return cli_fail(p->command, CLI_FAILED, "no thread");
	rc = daemon_serve(&d, cli_text(p, "control"), &err);
	pthread_mutex_lock(&d.lock);
	d.quit = true;
	pthread_mutex_unlock(&d.lock);
	if (rc)
		return cli_fail(p->command, CLI_FAILED, "%s: %s", err.origin,
				err.text);
	return CLI_OK;
}

static int run(const struct cli_parsed *p)
{
	const char *listen = cli_text(p, "listen");
	struct vm_config config;
	struct tide_error err;
	char *bound;
	struct vm *vm;
	struct control_listener at;
	int code;

	if (!cli_text(p, "control") || !listen)
		return cli_fail(p->command, CLI_USAGE,
				"--control and --listen are needed; see "
				"--help");
	vm_config_defaults(&config);
	if (vm_options_host(p, &config, &err))
		return cli_fail(p->command, CLI_USAGE, "%s", err.text);
	if (vm_create_incoming(&vm, &config, &err))
		return cli_fail(p->command, CLI_FAILED, "%s: %s", err.origin,
				err.text);
	if (wire_listen(listen, &at, &err))
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	bound = wire_bound_address(at.fd, listen);
	printf("listening on %s\n", bound ? bound : listen);
	fflush(stdout);
	free(bound);
	code = serve(p, vm, at.fd);
	control_listener_close(&at);
	/* The receiving thread may still hold the VM: the process ends anyway. */
	_exit(code);
}

static const struct cli_option options[] = {
	OPT_CONTROL,
	{ "listen", "ADDRESS", CLI_TEXT, NULL,
	  "unix:PATH or tcp:HOST:PORT to wait at" },
	OPT_HOST, OPT_DISK,
	{ "stall-timeout", "MS", CLI_MILLISECONDS, "10000",
	  "give up when no byte moves for so long", MOVE_LEAST_STALL_MS },
	{ "hash", NULL, CLI_FLAG, NULL,
	  "hash the RAM as it arrived, before the guest runs" },
	OPT_END,
};

const struct cli_command cli_vm_receive = {
	.name = "vm receive",
	.summary = "Wait for a guest to be migrated here, and run it",
	.options = options,
	.run = run,
};
