/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Exports: the disks of a server under the names that clients ask for, and
 * what can be asked about them besides their data (meta contexts).
 *
 * Exports are added and removed while the server runs (an instant of a disk),
 * under the list's lock; users hold a reference, so a removed export lives
 * until its last client is gone. An export's contexts come and go, too (a
 * bitmap is removed, a checkpoint made), under a lock and references of their
 * own: a client that selected a context keeps that very one, and never gets
 * the bits of a later one with the same name.
 */
#ifndef TIDE_NBD_EXPORT_H
#define TIDE_NBD_EXPORT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nbd/extents.h"
#include "tidemark/error.h"

struct nbd_peer;
struct tide_disk;

/*
 * What a context is to the server: a name, and a call that says what lies in
 * [offset, offset + length), which is never empty and inside of the disk. It
 * adds extents from the offset on until it reaches the end or
 * nbd_extents_add returns false; at least one. From any thread, may block.
 * 0 or -errno.
 */
struct nbd_context {
	char *name; /* "base:allocation", "qemu:dirty-bitmap:b0" */
	int (*extents)(void *opaque, uint64_t offset_bytes,
		       uint64_t length_bytes, struct nbd_extents *into,
		       struct tide_error *err);
	void (*release)(void *opaque); /* NULL: nothing to do */
	void *opaque;
	uint32_t refs; /* atomic */
	struct nbd_context *next; /* under the export's lock */
};

struct nbd_export {
	char *name;
	uint32_t index; /* of its counts; NBD_UNCOUNTED: it came later */
	const struct nbd_export *as; /* whose rules hold; NULL: its own */
	uint32_t refs; /* atomic */
	bool closed; /* atomic: its clients are hung up on, there are no new */
	void (*gone)(void *opaque); /* after the last; NULL: nothing to do */
	void *opaque;
	char *description; /* NULL: none */
	struct tide_disk *disk; /* the caller's: closed after the server */
	int reader_fd; /* its bytes, for reads of a raw file; -1: none */
	bool read_only;
	/* Who may see it, if anybody is named: see nbd_export_is_for. */
	uint32_t *uids;
	char **identities;
	size_t uid_count, identity_count;
	pthread_mutex_t lock; /* contexts */
	struct nbd_context *contexts; /* in the order that LIST gives */
};

#define NBD_UNCOUNTED UINT32_MAX

/* All zeroes is an empty one. */
struct nbd_exports {
	pthread_mutex_t lock;
	struct nbd_export **list;
	size_t count;
};

/*
 * nbd_exports_add: serve @disk as @name; base:allocation and, with
 * @depth, qemu:allocation-depth are there from the start. -EEXIST: the name is
 * taken. -ENAMETOOLONG, -EINVAL (no UTF-8 control characters), -ENOMEM.
 */
int nbd_exports_add(struct nbd_exports *exports, const char *name,
		    struct tide_disk *disk, bool read_only,
		    struct nbd_export **out, struct tide_error *err);
/*
 * The same at any time, for reading only, and for those who may see @as (which
 * stays until the end; NULL: everybody); @gone is called when it was removed
 * and its last client is gone, or at the end.
 */
int nbd_exports_add_owned(struct nbd_exports *exports, const char *name,
			  struct tide_disk *disk, const struct nbd_export *as,
			  void (*gone)(void *opaque), void *opaque,
			  struct nbd_export **out, struct tide_error *err);
/* Nobody new finds it. */
void nbd_exports_remove(struct nbd_exports *exports, struct nbd_export *e);
void nbd_exports_fini(struct nbd_exports *exports);

/*
 * nbd_export_allow_*: from now on it is for those who are named, and hidden
 * from all others. Before the server starts. 0 or -ENOMEM.
 */
int nbd_export_allow_uid(struct nbd_export *e, uint32_t uid);
int nbd_export_allow_identity(struct nbd_export *e, const char *identity);
/*
 * May @peer see it? Without names, everybody. Else who has one of the uids (or
 * is root, or ourselves, if there are any uids), or one of the identities: one
 * with '=' is a certificate's whole name, or a key's; another the common name.
 */
bool nbd_export_is_for(const struct nbd_export *e,
		       const struct nbd_peer *peer);

/*
 * The export of that name, which is not terminated, with a reference; NULL:
 * none that @peer may see (@peer NULL: who may see all). The empty name is the
 * first export's if no export is called so.
 */
struct nbd_export *nbd_exports_find(struct nbd_exports *exports,
				    const struct nbd_peer *peer,
				    const uint8_t *name, size_t length);

void nbd_export_put(struct nbd_export *e); /* NULL is fine */
/* In their order, under the lock: @call must not come back here. */
void nbd_exports_each(struct nbd_exports *exports,
		      void (*call)(void *opaque, const struct nbd_export *e),
		      void *opaque);

/* What the export can do: the NBD_FLAGs of its INFO. */
uint16_t nbd_export_flags(const struct nbd_export *e, bool structured,
			  bool extended);

/* contexts.c: the table. add takes a copy of *@c, with one reference. */
int nbd_contexts_add(struct nbd_export *e, const char *name,
		     const struct nbd_context *c, struct tide_error *err);
/* Gone from the table; who selected it keeps it until he is gone. */
int nbd_contexts_remove(struct nbd_export *e, const char *name,
			struct tide_error *err);
int nbd_contexts_add_usual(struct nbd_export *e, struct tide_error *err);
void nbd_contexts_fini(struct nbd_export *e);

/* The context of exactly that name, with a reference; NULL: none. */
struct nbd_context *nbd_contexts_find(struct nbd_export *e,
				      const uint8_t *name, size_t length);
void nbd_context_put(struct nbd_context *c); /* NULL is fine */

/* Under the table's lock, in its order: @call must not come back here. */
void nbd_contexts_each(struct nbd_export *e,
		       void (*call)(void *opaque, const char *name),
		       void *opaque);
/* Does a LIST with @query name it: itself, or a prefix that ends in a colon? */
bool nbd_context_is_listed(const char *name, const uint8_t *query,
			   size_t length);

#endif
