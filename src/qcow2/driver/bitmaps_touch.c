/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Named bitmaps in an image that is about to be written.
 *
 * This driver does not mark them. So before the first write every bitmap that
 * should record (flag auto) gets its in_use flag, durably: whoever reads it
 * later sees that it missed writes, instead of trusting it. Bitmaps that are
 * switched off stay as they are, and remain true.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "qcow2/driver/qcow2.h"

#define ENTRY_BYTES 24u
#define FLAG_IN_USE 1u
#define FLAG_AUTO 2u

/* Set the flags in the directory's bytes: how many were changed, or -errno. */
static int touch(uint8_t *directory, uint64_t bytes, uint32_t count)
{
	uint64_t at = 0;
	int changed = 0;

	for (uint32_t i = 0; i < count; i++) {
		uint64_t length;
		uint32_t flags;

		if (bytes - at < ENTRY_BYTES)
			return -EINVAL;
		length = ENTRY_BYTES + tide__get_be(directory + at + 18, 2) +
			 tide__get_be(directory + at + 20, 4);
		length = round_up(length, 8);
		if (length > bytes - at)
			return -EINVAL;
		flags = (uint32_t)tide__get_be(directory + at + 12, 4);
		if ((flags & FLAG_AUTO) && !(flags & FLAG_IN_USE)) {
			tide__put_be(directory + at + 12, flags | FLAG_IN_USE,
				     4);
			changed++;
		}
		at += length;
	}
	return changed;
}

/* Lock held. */
int qcow2_bitmaps_touch(struct qcow2 *q, struct tide_error *err)
{
	const struct qcow2_header *h = &q->header;
	uint8_t *directory;
	int ret;

	if (!h->has_bitmaps)
		return 0;
	directory = malloc(h->bitmap_directory_bytes);
	if (!directory)
		return tide_error_set(err, -ENOMEM, "qcow2",
				      h->bitmap_directory_offset,
				      "no memory for the bitmap directory");
	ret = tide_disk_read(q->file, h->bitmap_directory_offset, directory,
			     h->bitmap_directory_bytes, err);
	if (ret == 0) {
		ret = touch(directory, h->bitmap_directory_bytes,
			    h->bitmap_count);
		if (ret < 0)
			tide_error_set(err, ret, "qcow2",
				       h->bitmap_directory_offset,
				       "%s: the bitmap directory is damaged; "
				       "repair the image before writing to it",
				       q->disk.path);
	}
	if (ret > 0)
		ret = qcow2_write_meta(q, h->bitmap_directory_offset, directory,
				       h->bitmap_directory_bytes,
				       1u << TIDE_KIND_BITMAP_DIRECTORY, true,
				       err);
	if (ret == 0)
		ret = tide_disk_flush(q->file, err);
	free(directory);
	return ret;
}
