/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Is this the disk that it was? Decided by what the file system says about it,
 * and by the content of a few blocks whose places only this store knows:
 * writes to a device that has no timestamps, or by somebody who resets them,
 * are likely to be noticed, but not certain to be.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "cbt/tracker.h"
#include "disk/disk.h"

#define SAMPLE_BYTES 4096u

void cbt_identity_stat(struct cbt_identity *id, const char *path,
		       uint64_t size_bytes)
{
	struct stat st;

	id->size_bytes = size_bytes;
	if (stat(path, &st) < 0)
		return;
	id->device = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
	id->inode = st.st_ino;
	if (!S_ISREG(st.st_mode))
		return; /* the times are those of a name in /dev */
	id->mtime_s = (uint64_t)st.st_mtim.tv_sec;
	id->mtime_ns = (uint32_t)st.st_mtim.tv_nsec;
	id->ctime_s = (uint64_t)st.st_ctim.tv_sec;
	id->ctime_ns = (uint32_t)st.st_ctim.tv_nsec;
}

static bool read_sample(struct tide_disk *disk, uint64_t offset_bytes,
			uint8_t *block, uint64_t *checksum)
{
	uint64_t size = tide_disk_size(disk), length = SAMPLE_BYTES;

	if (offset_bytes >= size)
		return false;
	if (length > size - offset_bytes)
		length = size - offset_bytes;
	if (tide_disk_read(disk, offset_bytes, block, length, NULL))
		return false;
	*checksum = XXH64(block, (size_t)length, 0);
	return true;
}

/* Blocks at random, the first and the last. */
void cbt_identity_sample(struct cbt_identity *id, struct tide_disk *disk,
			 const uint8_t uuid[16])
{
	uint64_t blocks = tide_disk_size(disk) / SAMPLE_BYTES;
	uint8_t *block = aligned_alloc(4096, SAMPLE_BYTES);

	id->count = 0;
	for (uint64_t i = 0; block && i < CBT_MAX_SAMPLES; i++) {
		struct cbt_sample *s = &id->samples[id->count];
		uint64_t which = XXH64(&i, sizeof(i), XXH64(uuid, 16, 0));

		which = i == 0 || !blocks ? 0 : i == 1 ? blocks - 1
						       : which % blocks;
		s->offset_bytes = which * SAMPLE_BYTES;
		if (read_sample(disk, s->offset_bytes, block, &s->checksum))
			id->count++;
	}
	free(block);
}

static bool times_differ(const struct cbt_identity *a,
			 const struct cbt_identity *b)
{
	return a->mtime_s != b->mtime_s || a->mtime_ns != b->mtime_ns;
}

void cbt_identity_compare(const struct cbt_identity *id,
			  struct tide_disk *disk, const char *path,
			  char *what, size_t room)
{
	uint8_t *block = aligned_alloc(4096, SAMPLE_BYTES);
	struct cbt_identity now = { 0 };

	*what = 0;
	cbt_identity_stat(&now, path, tide_disk_size(disk));
	if (now.size_bytes != id->size_bytes)
		snprintf(what, room, "its size was %" PRIu64 " bytes and is %"
			 PRIu64, id->size_bytes, now.size_bytes);
	else if (now.device != id->device || now.inode != id->inode)
		snprintf(what, room, "it is another file or device");
	else if (times_differ(&now, id))
		snprintf(what, room, "it was modified after it was closed");
	for (uint32_t i = 0; block && !*what && i < id->count; i++) {
		const struct cbt_sample *s = &id->samples[i];
		uint64_t checksum;

		if (!read_sample(disk, s->offset_bytes, block, &checksum) ||
		    checksum != s->checksum)
			snprintf(what, room, "the block at %" PRIu64
				 " is not what it was", s->offset_bytes);
	}
	free(block);
}
