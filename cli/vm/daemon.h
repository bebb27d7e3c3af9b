/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The process around one VM: it serves the control socket until it is told to
 * stop. `vm run` and `vm receive` are this with a VM that runs or arrives.
 */
#ifndef CLI_DAEMON_H
#define CLI_DAEMON_H

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>

#include "tidemark/precopy.h"
#include "vm/vm.h"

enum daemon_state {
	DAEMON_INCOMING,	/* no guest yet */
	DAEMON_RUNNING,
	DAEMON_MIGRATING,	/* runs, and is on its way */
	DAEMON_MOVED,		/* runs elsewhere: never again here */
	DAEMON_UNKNOWN,		/* GO sent, no answer: paused */
	DAEMON_FAILED,
};

struct daemon {
	struct vm *vm;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum daemon_state state;
	struct tide_error why;		/* of FAILED and UNKNOWN */
	uint64_t hash, hash_ns;		/* of the RAM as it arrived or left */
	struct tide_precopy_result last;
	bool quit;
	int connections;
};

void daemon_init(struct daemon *d, struct vm *vm, enum daemon_state state);
void daemon_set_state(struct daemon *d, enum daemon_state state,
		      const struct tide_error *why);
const char *daemon_state_name(enum daemon_state state);

/*
 * Serve the control socket at @path until "stop", a signal, or, before a guest
 * is here, until the state is FAILED. Returns an exit code.
 */
int daemon_serve(struct daemon *d, const char *path, struct tide_error *err);

/* migrate.c: the "migrate" request of connection @fd. */
void daemon_migrate(struct daemon *d, int fd, const json_t *request);
/* record.c: the "record" request; a new reference. */
json_t *daemon_record(struct daemon *d, const json_t *request);
/* One round as a JSON object. */
json_t *daemon_round_json(const struct tide_round *round);

#endif
