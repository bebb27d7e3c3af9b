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

#include "control/server.h"
#include "tidemark/precopy.h"
#include "vm/vm.h"

enum daemon_state {
	DAEMON_INCOMING,	/* no guest yet */
	DAEMON_RUNNING,
	DAEMON_MIGRATING,	/* runs, and is on its way */
	DAEMON_RECORDING,	/* runs, and its writes are kept */
	DAEMON_PAUSED,		/* for a snapshot; goes on by itself */
	DAEMON_MOVED,		/* runs elsewhere: never again here */
	DAEMON_UNKNOWN,		/* GO sent, no answer: paused */
	DAEMON_DEAD,		/* its vCPUs failed; never stored */
	DAEMON_FAILED,		/* there never was one: receiving failed */
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
};

void daemon_init(struct daemon *d, struct vm *vm, enum daemon_state state);
void daemon_set_state(struct daemon *d, enum daemon_state state,
		      const struct tide_error *why);
const char *daemon_state_name(enum daemon_state state);

/*
 * Serve the control socket at @path until "stop", a signal, or, before a guest
 * is here, until the state is FAILED. 0, or why it failed.
 */
int daemon_serve(struct daemon *d, const char *path, struct tide_error *err);

enum daemon_state daemon_state_of(struct daemon *d);
/*
 * RUNNING becomes @job, so that nobody else takes the guest's set; false with
 * the reason: it is busy, elsewhere, or dead.
 */
bool daemon_claim(struct daemon *d, enum daemon_state job,
		  struct tide_error *err);

/* migrate.c, pause.c, record.c: verbs */
json_t *daemon_migrate(const struct control_request *request);
json_t *daemon_memory(const struct control_request *request);
json_t *daemon_pause(const struct control_request *request);
json_t *daemon_record(const struct control_request *request);

#endif
