/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The first cluster of an image, written from its decoded form.
 *
 * The decoded fields decide: an extension whose field is not set is left out,
 * one whose field is new is appended, all others go back byte for byte and in
 * the order in which they were found.
 */
#include <string.h>

#include "base/bytes.h"
#include "qcow2/format/header_internal.h"

struct encode {
	uint8_t *out;
	size_t room;
	size_t at;
	bool full;
};

static uint8_t *take(struct encode *e, size_t bytes)
{
	uint8_t *here = e->out + e->at;

	if (e->full || bytes > e->room - e->at) {
		e->full = true;
		return NULL;
	}
	e->at += bytes;
	return here;
}

static void put_extension(struct encode *e, uint32_t type, const void *data,
			  size_t bytes)
{
	uint8_t *to = take(e, 8 + ((bytes + 7) & ~(size_t)7));

	if (!to)
		return;
	tide__put_be(to, type, 4);
	tide__put_be(to + 4, bytes, 4);
	if (bytes)
		memcpy(to + 8, data, bytes);
}

static bool has_extension(const struct qcow2_header *h, uint32_t type)
{
	for (uint32_t i = 0; i < h->extension_count; i++)
		if (h->extensions[i].type == type)
			return true;
	return false;
}

/* False: the type is not one that the fields decide. */
static bool put_decoded(struct encode *e, const struct qcow2_header *h,
			uint32_t type)
{
	const char *text = type == QCOW2_EXT_DATA_FILE ? h->data_file :
							 h->backing_format;
	uint8_t b[24] = { 0 };

	switch (type) {
	case QCOW2_EXT_BACKING_FORMAT:
	case QCOW2_EXT_DATA_FILE:
		if (text)
			put_extension(e, type, text, strlen(text));
		return true;
	case QCOW2_EXT_BITMAPS:
		tide__put_be(b, h->bitmap_count, 4);
		tide__put_be(b + 8, h->bitmap_directory_bytes, 8);
		tide__put_be(b + 16, h->bitmap_directory_offset, 8);
		if (h->has_bitmaps)
			put_extension(e, type, b, 24);
		return true;
	case QCOW2_EXT_LUKS:
		tide__put_be(b, h->luks_offset, 8);
		tide__put_be(b + 8, h->luks_bytes, 8);
		if (h->has_luks)
			put_extension(e, type, b, 16);
		return true;
	default:
		return false;
	}
}

static void put_extensions(struct encode *e, const struct qcow2_header *h)
{
	static const uint32_t decoded[] = {
		QCOW2_EXT_BACKING_FORMAT, QCOW2_EXT_DATA_FILE,
		QCOW2_EXT_BITMAPS, QCOW2_EXT_LUKS,
	};

	for (uint32_t i = 0; i < h->extension_count; i++) {
		const struct qcow2_extension *x = &h->extensions[i];

		if (!put_decoded(e, h, x->type))
			put_extension(e, x->type, x->data, x->length_bytes);
	}
	for (size_t i = 0; i < sizeof(decoded) / sizeof(decoded[0]); i++)
		if (!has_extension(h, decoded[i]))
			put_decoded(e, h, decoded[i]);
	put_extension(e, QCOW2_EXT_END, NULL, 0);
}

static void put_version3(struct encode *e, const struct qcow2_header *h)
{
	uint64_t autoclear = h->autoclear;
	bool longer = h->header_bytes > 104 || h->compression || h->tail_bytes;
	uint32_t bytes = longer ? 112 + h->tail_bytes : 104;
	uint8_t *b = take(e, bytes - 72);

	if (!b)
		return;
	if (!h->has_bitmaps)
		autoclear &= ~(uint64_t)QCOW2_AUTOCLEAR_BITMAPS;
	tide__put_be(b, h->incompatible, 8);
	tide__put_be(b + 8, h->compatible, 8);
	tide__put_be(b + 16, autoclear, 8);
	tide__put_be(b + 24, h->refcount_order, 4);
	tide__put_be(b + 28, bytes, 4);
	if (longer)
		b[32] = h->compression;
	if (h->tail_bytes)
		memcpy(b + 40, h->tail, h->tail_bytes);
}

static void put_version2(struct encode *e, const struct qcow2_header *h)
{
	uint8_t *b = take(e, 72);

	if (!b)
		return;
	tide__put_be(b, QCOW2_MAGIC, 4);
	tide__put_be(b + 4, h->version, 4);
	tide__put_be(b + 20, h->cluster_bits, 4);
	tide__put_be(b + 24, h->size_bytes, 8);
	tide__put_be(b + 32, h->crypt_method, 4);
	tide__put_be(b + 36, h->l1_entries, 4);
	tide__put_be(b + 40, h->l1_offset, 8);
	tide__put_be(b + 48, h->reftable_offset, 8);
	tide__put_be(b + 56, h->reftable_clusters, 4);
	tide__put_be(b + 60, h->snapshot_count, 4);
	tide__put_be(b + 64, h->snapshots_offset, 8);
}

int qcow2_header_encode(const struct qcow2_header *h, uint8_t *out,
			size_t cluster_bytes, struct tide_error *err)
{
	struct encode e = { .out = out, .room = cluster_bytes };
	uint8_t *name;
	size_t bytes;

	memset(out, 0, cluster_bytes);
	put_version2(&e, h);
	if (h->version > 2)
		put_version3(&e, h);
	put_extensions(&e, h);
	if (h->backing_name) {
		bytes = strlen(h->backing_name);
		tide__put_be(out + 8, e.at, 8);
		tide__put_be(out + 16, bytes, 4);
		name = take(&e, bytes);
		if (name)
			memcpy(name, h->backing_name, bytes);
	}
	if (e.full)
		return tide_error_set(err, -ENOSPC, "qcow2-header", 0,
				      "header, extensions and backing name do "
				      "not fit into one cluster of %zu bytes",
				      cluster_bytes);
	return 0;
}
