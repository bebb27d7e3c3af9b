/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The L1 table and the refcount table: small enough to be in memory whole.
 * Changes are remembered as one range of entries, which a flush writes.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "qcow2/driver/qcow2.h"

int qcow2_table_load(struct qcow2 *q, struct qcow2_table *t, uint64_t offset,
		     uint64_t count, const char *what, struct tide_error *err)
{
	uint64_t bytes = count * 8, have, size = tide_disk_size(q->file);
	uint8_t *raw = calloc(count ? count : 1, 8);
	uint64_t *entries = calloc(count ? count : 1, sizeof(*entries));
	int ret = 0;

	if (!raw || !entries)
		ret = tide_error_set(err, -ENOMEM, "qcow2", offset,
				     "no memory for the %s of %llu entries",
				     what, (unsigned long long)count);
	have = offset < size ? size - offset : 0;
	if (have > bytes)
		have = bytes;
	if (ret == 0 && have)
		ret = tide_disk_read(q->file, offset, raw, have, err);
	if (ret == 0) {
		for (uint64_t i = 0; i < count; i++)
			entries[i] = tide__get_be(raw + 8 * i, 8);
		free(t->entries);
		*t = (struct qcow2_table){ .entries = entries,
					   .count = count,
					   .offset = offset };
		entries = NULL;
	}
	free(entries);
	free(raw);
	return ret;
}

void qcow2_table_set(struct qcow2_table *t, uint64_t index, uint64_t value)
{
	t->entries[index] = value;
	if (t->dirty_from == t->dirty_to) {
		t->dirty_from = index;
		t->dirty_to = index + 1;
	}
	if (index < t->dirty_from)
		t->dirty_from = index;
	if (index >= t->dirty_to)
		t->dirty_to = index + 1;
}

void qcow2_table_encode(const struct qcow2_table *t, uint64_t from, uint64_t to,
			uint8_t *out)
{
	for (uint64_t i = from; i < to; i++)
		tide__put_be(out + 8 * (i - from), t->entries[i], 8);
}
