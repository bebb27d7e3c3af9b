/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark vm receive: wait for a guest, then run it.
 *
 * The door (peer/door.h) sorts out who is a source. A migration that fails
 * leaves this process as it was, waiting for the next one, and says why; with
 * --once it ends instead. Its memory is never run as a guest.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "peer/door.h"
#include "cli/vm/daemon.h"
#include "vm/migrate_ops.h"
#include "cli/vm/options.h"
#include "cli/vm/secure.h"
#include "cli/wire.h"

struct receiving {
	struct daemon *d;
	struct vm_migration migration;
	struct tide_precopy_options options;
	struct tide__door *door;
	bool greeted;		/* the control channel is there */
	bool once;
};

/* The first channel may take for ever to come, the others may not. */
static int accept_channel(void *opaque, struct tide_error *err)
{
	struct receiving *r = opaque;
	int fd = r->greeted ? tide__door_join(r->door,
					      r->options.stall_timeout_ns, err)
			    : tide__door_source(r->door, err);

	r->greeted |= fd >= 0;
	return fd;
}

static void log_line(void *opaque, const char *what)
{
	(void)opaque;
	fprintf(stderr, "tidemark vm receive: %s\n", what);
}

static int receive_once(struct receiving *r, struct tide_error *err)
{
	struct daemon *d = r->d;
	struct tide_precopy_result result;
	int ret;

	tide_error_clear(err);
	r->greeted = false;
	ret = vm_receive(&r->migration, &r->options, &result, err);
	if (ret)
		tide__door_done(r->door);
	else
		tide__door_shut(r->door);
	pthread_mutex_lock(&d->lock);
	d->hash = r->migration.hash;
	d->hash_ns = r->migration.hash_ns;
	d->last = result;
	pthread_mutex_unlock(&d->lock);
	return ret;
}

static void *receive(void *opaque)
{
	struct receiving *r = opaque;
	struct tide_error err;
	char text[400];
	int ret;

	while ((ret = receive_once(r, &err)) && !r->once &&
	       !tide__load_relaxed(&r->d->quit)) {
		struct tide_error why = err;

		ret = vm_forget_incoming(r->d->vm, &err);
		if (ret)
			break;
		snprintf(text, sizeof(text), "a guest did not arrive: %s: %s; "
			 "waiting for the next one", why.origin, why.text);
		log_line(NULL, text);
	}
	daemon_set_state(r->d, ret ? DAEMON_FAILED : DAEMON_RUNNING,
			 ret ? &err : NULL);
	return NULL;
}

static int serve(const struct cli_parsed *p, struct vm *vm,
		 struct secure *secure, int listener)
{
	struct receiving r = { .once = cli_flag(p, "once") };
	struct tide__door_options door = { .log = log_line };
	struct tide_error err;
	struct daemon d;
	pthread_t thread;
	int ret;

	daemon_init(&d, vm, DAEMON_INCOMING);
	r.d = &d;
	r.migration.vm = vm;
	r.migration.want_hash = cli_flag(p, "hash");
	r.migration.accept = accept_channel;
	r.migration.opaque = &r;
	tide_precopy_defaults(&r.options);
	r.options.stall_timeout_ns = cli_number(p, "stall-timeout") * 1000000;
	r.options.cancel = &d.quit;
	secure_channels(secure, &r.options);
	secure_door(secure, &door);
	if (tide__door_open(&r.door, listener, &door, &err))
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	if (pthread_create(&thread, NULL, receive, &r))
		return cli_fail(p->command, CLI_FAILED, "no thread");
	ret = daemon_serve(&d, cli_text(p, "control"), &err);
	/* Whatever it waits for: told to stop, or the control socket failed. */
	tide__store_relaxed(&d.quit, true);
	tide__door_stop(r.door);
	pthread_join(thread, NULL);
	tide__door_close(r.door);
	if (ret)
		return cli_fail(p->command, CLI_FAILED, "%s: %s", err.origin,
				err.text);
	if (vm_failed(vm, &err))
		return cli_fail(p->command, CLI_GUEST_DEAD,
				"the guest died: %s", err.text);
	return CLI_OK;
}

static int make_vm(const struct cli_parsed *p, struct vm **vm)
{
	struct vm_config config;
	struct tide_error err;

	vm_config_defaults(&config);
	config.max_memory_bytes = cli_number(p, "max-memory");
	if (vm_options_host(p, &config, &err))
		return cli_fail(p->command, CLI_USAGE, "%s", err.text);
	if (vm_create_incoming(vm, &config, &err))
		return cli_fail(p->command, CLI_FAILED, "%s: %s", err.origin,
				err.text);
	return CLI_OK;
}

static int open_secure(const struct cli_parsed *p, struct secure **secure)
{
	const struct secure_wishes w = {
		.tls = cli_text(p, "tls"),
		.tls_psk = cli_text(p, "tls-psk"),
		.tls_verify = cli_flag(p, "tls-verify"),
		.token_file = cli_text(p, "token-file"),
		.plain = cli_flag(p, "plain"),
	};
	struct tide_error err;
	int ret = secure_open(secure, &w, TLS_SERVER, &err);

	if (!ret)
		return CLI_OK;
	return cli_fail(p->command, !strcmp(err.origin, "options")
					    ? CLI_USAGE : CLI_FAILED,
			"%s", err.text);
}

/* Nothing answers there before it is known that it may. */
static int listen_at(const struct cli_parsed *p, const struct secure *secure,
		     struct control_listener *at)
{
	const char *listen = cli_text(p, "listen");
	struct tide_error err;
	char *bound;

	if (wire_listen(listen, at, &err))
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	if (secure_check_listener(secure, at->fd, listen, &err)) {
		control_listener_close(at);
		return cli_fail(p->command, CLI_USAGE, "%s", err.text);
	}
	bound = wire_bound_address(at->fd, listen);
	printf("listening on %s\n", bound ? bound : listen);
	fflush(stdout);
	free(bound);
	return CLI_OK;
}

static int run(const struct cli_parsed *p)
{
	struct secure *secure = NULL;
	struct control_listener at;
	struct vm *vm = NULL;
	int code;

	if (!cli_text(p, "control") || !cli_text(p, "listen"))
		return cli_fail(p->command, CLI_USAGE,
				"--control and --listen are needed; see "
				"--help");
	code = open_secure(p, &secure);
	if (code == CLI_OK)
		code = make_vm(p, &vm);
	if (code == CLI_OK)
		code = listen_at(p, secure, &at);
	if (code == CLI_OK) {
		code = serve(p, vm, secure, at.fd);
		control_listener_close(&at);
	}
	vm_destroy(vm);
	secure_close(secure);
	return code;
}

static const struct cli_option options[] = {
	OPT_CONTROL,
	{ "listen", "ADDRESS", CLI_TEXT, NULL,
	  "unix:PATH or tcp:HOST:PORT to wait at" },
	OPT_HOST, OPT_DISK,
	OPT_STALL,
	{ "tls", "FOLDER", CLI_TEXT, NULL,
	  "require TLS, with the certificates in FOLDER" },
	{ "tls-verify", NULL, CLI_FLAG, NULL,
	  "and a certificate of each source, signed by the same CA" },
	OPT_SECURE,
	{ "max-memory", "SIZE", CLI_SIZE, "0",
	  "refuse guests with more; 0: with more than this host can give" },
	{ "once", NULL, CLI_FLAG, NULL,
	  "end when a migration fails, instead of waiting for the next" },
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
