/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The list of exports, and what each can do.
 *
 * CAN_MULTI_CONN says that a flush on one connection covers what was written
 * on all, and that each sees at once what the others wrote. It holds here
 * because no connection, loop or export keeps data of its own: every request
 * goes to the one struct tide_disk, whose contract (disk/disk.h) is that a
 * write that returned is seen by every later read and made durable by the next
 * flush, whoever asks. We answer a write after it returned. A cache between
 * connection and disk would end that: put it below the disk. (Reads that
 * pages.c answers pass the disk by, and see the same: the file of a disk that
 * hands out a descriptor has each write in it when that returned.)
 */
#include "nbd/export.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "disk/disk.h"
#include "nbd/proto.h"
#include "nbd/stream.h"

static void destroy(struct nbd_export *e)
{
	nbd_contexts_fini(e);
	if (e->gone)
		e->gone(e->opaque);
	pthread_mutex_destroy(&e->lock);
	if (e->reader_fd >= 0)
		close(e->reader_fd);
	free(e->name);
	free(e->description);
	free(e->uids);
	for (size_t i = 0; i < e->identity_count; i++)
		free(e->identities[i]);
	free(e->identities);
	free(e);
}

void nbd_export_put(struct nbd_export *e)
{
	/* Sequentially consistent: the last one sees what the others did. */
	if (e && tide__add_seqcst(&e->refs, -1) == 1)
		destroy(e);
}

static int check_name(const struct nbd_exports *exports, const char *name,
		      struct tide_error *err)
{
	size_t length = strlen(name);

	if (length > NBD_LONGEST_STRING)
		return tide_error_set(err, -ENAMETOOLONG, "export",
				      TIDE_NO_OFFSET,
				      "an export's name has at most %u bytes, "
				      "not %zu", NBD_LONGEST_STRING, length);
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
			return tide_error_set(err, -EINVAL, "export", i,
					      "an export's name has no control "
					      "characters (byte %zu is 0x%02x)",
					      i, (unsigned char)name[i]);
	for (size_t i = 0; i < exports->count; i++)
		if (!strcmp(exports->list[i]->name, name))
			return tide_error_set(err, -EEXIST, "export",
					      TIDE_NO_OFFSET,
					      "two disks are named '%.80s'",
					      name);
	return 0;
}

static struct nbd_export *create(const char *name, struct tide_disk *disk,
				 bool read_only)
{
	struct nbd_export *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	pthread_mutex_init(&e->lock, NULL);
	e->disk = disk;
	e->reader_fd = tide__disk_reader_fd(disk);
	e->refs = 1; /* the list's */
	e->index = NBD_UNCOUNTED;
	e->read_only = read_only || !disk->writable;
	e->name = strdup(name);
	if (!e->name || nbd_contexts_add_usual(e, NULL)) {
		destroy(e);
		return NULL;
	}
	return e;
}

/* With the lock. */
static int add(struct nbd_exports *exports, struct nbd_export *e,
	       struct tide_error *err)
{
	int ret = check_name(exports, e->name, err);
	struct nbd_export **list;

	if (ret)
		return ret;
	list = realloc(exports->list, (exports->count + 1) * sizeof(*list));
	if (!list)
		return tide_error_set(err, -ENOMEM, "export", TIDE_NO_OFFSET,
				      "no memory for an export");
	exports->list = list;
	list[exports->count++] = e;
	return 0;
}

/* @e: NULL, or taken. */
static int add_new(struct nbd_exports *exports, struct nbd_export *e,
		   bool counted, struct nbd_export **out,
		   struct tide_error *err)
{
	int ret;

	if (!e)
		return tide_error_set(err, -ENOMEM, "export", TIDE_NO_OFFSET,
				      "no memory for an export");
	pthread_mutex_lock(&exports->lock);
	if (counted)
		e->index = (uint32_t)exports->count;
	ret = add(exports, e, err);
	pthread_mutex_unlock(&exports->lock);
	if (!ret && out)
		*out = e;
	if (ret) {
		e->gone = NULL; /* the caller keeps what it gave */
		destroy(e);
	}
	return ret;
}

int nbd_exports_add(struct nbd_exports *exports, const char *name,
		    struct tide_disk *disk, bool read_only,
		    struct nbd_export **out, struct tide_error *err)
{
	return add_new(exports, create(name, disk, read_only), true, out, err);
}

int nbd_exports_add_owned(struct nbd_exports *exports, const char *name,
			  struct tide_disk *disk, const struct nbd_export *as,
			  void (*gone)(void *opaque), void *opaque,
			  struct nbd_export **out, struct tide_error *err)
{
	struct nbd_export *e = create(name, disk, true);

	if (e) {
		e->as = as;
		e->gone = gone;
		e->opaque = opaque;
	}
	return add_new(exports, e, false, out, err);
}

void nbd_exports_remove(struct nbd_exports *exports, struct nbd_export *e)
{
	size_t at = 0;

	pthread_mutex_lock(&exports->lock);
	while (exports->list[at] != e)
		at++;
	exports->count--;
	memmove(exports->list + at, exports->list + at + 1,
		(exports->count - at) * sizeof(e));
	pthread_mutex_unlock(&exports->lock);
	nbd_export_put(e);
}

void nbd_exports_fini(struct nbd_exports *exports)
{
	for (size_t i = 0; i < exports->count; i++)
		nbd_export_put(exports->list[i]);
	free(exports->list);
	memset(exports, 0, sizeof(*exports));
}

int nbd_export_allow_uid(struct nbd_export *e, uint32_t uid)
{
	uint32_t *uids = realloc(e->uids, (e->uid_count + 1) * sizeof(*uids));

	if (!uids)
		return -ENOMEM;
	e->uids = uids;
	uids[e->uid_count++] = uid;
	return 0;
}

int nbd_export_allow_identity(struct nbd_export *e, const char *identity)
{
	char **list = realloc(e->identities,
			      (e->identity_count + 1) * sizeof(*list));

	if (!list)
		return -ENOMEM;
	e->identities = list;
	list[e->identity_count] = strdup(identity);
	if (!list[e->identity_count])
		return -ENOMEM;
	e->identity_count++;
	return 0;
}

static bool has_uid(const struct nbd_export *e, const struct nbd_peer *peer)
{
	if (!peer->has_uid || !e->uid_count)
		return false;
	for (size_t i = 0; i < e->uid_count; i++)
		if (e->uids[i] == peer->uid)
			return true;
	return peer->uid == 0 || peer->uid == geteuid();
}

/* A common name could be written like a whole name: each is only itself. */
static bool has_identity(const struct nbd_export *e,
			 const struct nbd_peer *peer)
{
	for (size_t i = 0; i < e->identity_count; i++) {
		const char *own = strchr(e->identities[i], '=')
					  ? peer->identity : peer->name;

		if (own && !strcmp(own, e->identities[i]))
			return true;
	}
	return false;
}

bool nbd_export_is_for(const struct nbd_export *e, const struct nbd_peer *peer)
{
	if (e->as)
		e = e->as;
	if (!peer || (!e->uid_count && !e->identity_count))
		return true;
	return has_uid(e, peer) || has_identity(e, peer);
}

static struct nbd_export *find(const struct nbd_exports *exports,
			       const struct nbd_peer *peer,
			       const uint8_t *name, size_t length)
{
	struct nbd_export *first = NULL;

	for (size_t i = 0; i < exports->count; i++) {
		struct nbd_export *e = exports->list[i];

		if (!nbd_export_is_for(e, peer))
			continue;
		if (strlen(e->name) == length && !memcmp(e->name, name, length))
			return e;
		if (!first)
			first = e;
	}
	return length ? NULL : first;
}

struct nbd_export *nbd_exports_find(struct nbd_exports *exports,
				    const struct nbd_peer *peer,
				    const uint8_t *name, size_t length)
{
	struct nbd_export *e;

	pthread_mutex_lock(&exports->lock);
	e = find(exports, peer, name, length);
	if (e && tide__load_seqcst(&e->closed))
		e = NULL;
	if (e)
		tide__add_seqcst(&e->refs, 1); /* the list's keeps it alive */
	pthread_mutex_unlock(&exports->lock);
	return e;
}

void nbd_exports_each(struct nbd_exports *exports,
		      void (*call)(void *opaque, const struct nbd_export *e),
		      void *opaque)
{
	pthread_mutex_lock(&exports->lock);
	for (size_t i = 0; i < exports->count; i++)
		call(opaque, exports->list[i]);
	pthread_mutex_unlock(&exports->lock);
}

uint16_t nbd_export_flags(const struct nbd_export *e, bool structured,
			  bool extended)
{
	uint16_t flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH |
			 NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_CACHE |
			 NBD_FLAG_CAN_MULTI_CONN;

	if (e->read_only)
		flags |= NBD_FLAG_READ_ONLY;
	else
		flags |= NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES |
			 NBD_FLAG_SEND_FAST_ZERO;
	if (structured)
		flags |= NBD_FLAG_SEND_DF;
	if (extended)
		flags |= NBD_FLAG_BLOCK_STATUS_PAYLOAD;
	return flags;
}
