/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The disks of `tidemark serve`, each with its tracker, and the verbs by which
 * its checkpoints and bitmaps are looked after: over the control socket of a
 * server (docs/control-socket.md), or, by a command, on a disk that nobody
 * serves.
 */
#ifndef CLI_SERVE_TRACK_H
#define CLI_SERVE_TRACK_H

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>

#include "cbt/cbt.h"
#include "disk/disk.h"
#include "nbd/export.h"

struct serve_context; /* a meta context that is offered */
struct nbd_server;
struct serve_instant; /* serve_instant.h */

/* TAKING and LEAVING are a request's, which waits for clients meanwhile. */
enum serve_hold_state { SERVE_FREE, SERVE_TAKING, SERVE_HELD, SERVE_LEAVING };

struct serve_disk {
	char name[256];
	struct tide_disk *disk; /* with a tracker: the one that marks */
	struct tide_disk *layer; /* below it, for instants; NULL: none */
	struct cbt *cbt; /* NULL: nobody tracks it, because of: */
	char untracked[512];
	char note[600]; /* of opening, beside cbt_note; "": nothing */
	struct nbd_export *export; /* NULL: it is not served */
	struct serve_context *contexts;
	pthread_mutex_t lock; /* contexts, hold; never for long */
	struct serve_instant *instants; /* under instants_lock */
	struct {
		enum serve_hold_state state;
		uint64_t until_ns;
		bool ending; /* who is held from here on is let go */
	} hold; /* serve_hold.c; under lock */
};

struct serve_instants {
	struct nbd_exports *exports; /* NULL: nothing is served */
	const char *folder; /* of scratch files; NULL: the disk's */
	uint64_t bound_bytes; /* of each */
};

struct serve_disks {
	struct serve_disk *list;
	int count;
	bool stop; /* atomic: the verb came */
	struct nbd_server *server; /* NULL: nothing is served */
	pthread_mutex_t instants_lock; /* of all disks */
	struct serve_instants instants;
};

/*
 * Track d->disk, which is open. 0, or -errno and d->untracked: then the disk is
 * as it was. What is to be said of an earlier session is in cbt_note.
 */
int serve_track(struct serve_disk *d, const struct cbt_options *options);
/* The contexts of the export become those that the tracker has. */
void serve_offer(struct serve_disk *d);
void serve_disk_fini(struct serve_disk *d); /* contexts; not the disk */

/* Who asked, and what he gets besides the answer. */
struct serve_client {
	/* Several answers of one request: each before the last. False: stop. */
	bool (*emit)(void *opaque, const json_t *part);
	/* @fd (taken) goes with the answer. NULL: he can be sent none. */
	void (*attach)(void *opaque, int fd);
	void *opaque;
};

/* The answer to @request, or NULL: no memory. */
json_t *serve_verb(struct serve_disks *disks, const json_t *request,
		   const struct serve_client *client);
/* The name of each verb; NULL after the last. */
const char *serve_verb_name(size_t i);

#endif
