/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The fixed fields of a qcow2 header, decoded and bounded.
 *
 * A parse goes in three steps, each of which may trust what the former
 * checked: the fixed fields (this file), the extensions (extensions.c), and
 * what needs both, such as the name of an unknown feature. Sections that
 * repair can do without go through flaw(): an error, or a note in h->flaws
 * when the caller is tolerant.
 */
#include "qcow2/format/header_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

static uint64_t field(const struct header_parse *p, size_t at, unsigned size)
{
	return tide__get_be(p->bytes + at, size);
}

static int parse_identity(struct header_parse *p)
{
	struct qcow2_header *h = &p->h;

	if (p->have < 8 || field(p, 0, 4) != QCOW2_MAGIC)
		return REFUSE(p, -EINVAL, 0, "no qcow2 magic");
	h->version = (uint32_t)field(p, 4, 4);
	if (h->version != 2 && h->version != 3)
		return REFUSE(p, -ENOTSUP, 4, "version %u is not known",
			      h->version);
	h->header_bytes = h->version == 2 ? QCOW2_V2_HEADER_BYTES :
					    QCOW2_V3_HEADER_BYTES;
	if (p->have < h->header_bytes)
		return REFUSE(p, -EINVAL, p->have,
			      "%zu bytes are no whole header", p->have);
	h->cluster_bits = (uint32_t)field(p, 20, 4);
	if (h->cluster_bits < QCOW2_MIN_CLUSTER_BITS ||
	    h->cluster_bits > QCOW2_MAX_CLUSTER_BITS)
		return REFUSE(p, -EINVAL, 20, "cluster_bits %u is not 9 to 21",
			      h->cluster_bits);
	p->cluster = qcow2_cluster_bytes(h);
	return 0;
}

static int parse_compression(struct header_parse *p)
{
	struct qcow2_header *h = &p->h;

	if (h->header_bytes >= 105)
		h->compression = p->bytes[104];
	if (!(h->incompatible & QCOW2_INCOMPAT_COMPRESSION)) {
		if (h->compression)
			return REFUSE(p, -EINVAL, 104,
				      "compression type without feature bit");
		return 0;
	}
	if (h->header_bytes < 105)
		return REFUSE(p, -EINVAL, 100,
			      "header too short for its compression type");
	if (h->compression == QCOW2_COMPRESSION_DEFLATE)
		return REFUSE(p, -EINVAL, 104,
			      "compression feature bit for the usual type");
	if (h->compression > QCOW2_COMPRESSION_ZSTD)
		return REFUSE(p, -ENOTSUP, 104, "compression type %u",
			      h->compression);
	return 0;
}

static int keep_tail(struct header_parse *p)
{
	struct qcow2_header *h = &p->h;

	if (h->header_bytes <= 112)
		return 0;
	h->tail_bytes = h->header_bytes - 112;
	h->tail = malloc(h->tail_bytes);
	if (!h->tail)
		return REFUSE(p, -ENOMEM, 112, "no memory for the header");
	memcpy(h->tail, p->bytes + 112, h->tail_bytes);
	return 0;
}

static int parse_version3(struct header_parse *p)
{
	struct qcow2_header *h = &p->h;

	h->refcount_order = 4;
	if (h->version == 2)
		return 0;
	h->incompatible = field(p, 72, 8);
	h->compatible = field(p, 80, 8);
	h->autoclear = field(p, 88, 8);
	h->refcount_order = (uint32_t)field(p, 96, 4);
	h->header_bytes = (uint32_t)field(p, 100, 4);
	if (h->refcount_order > 6)
		return REFUSE(p, -EINVAL, 96, "refcount_order %u is above 6",
			      h->refcount_order);
	if (h->header_bytes < QCOW2_V3_HEADER_BYTES || h->header_bytes % 8 ||
	    h->header_bytes > p->cluster || h->header_bytes > p->have)
		return REFUSE(p, -EINVAL, 100, "header_length %u",
			      h->header_bytes);
	if (h->incompatible & QCOW2_INCOMPAT_EXTENDED_L2 &&
	    h->cluster_bits < 14)
		return REFUSE(p, -EINVAL, 20,
			      "extended L2 needs clusters of 16 KiB or more");
	return keep_tail(p);
}

/*
 * The L1 table must map the whole disk, and lie within the file: of one that
 * does not, a tolerant caller reads what is there.
 */
static int parse_l1(struct header_parse *p)
{
	struct qcow2_header *h = &p->h;
	uint32_t shift;
	uint64_t need;

	h->size_bytes = field(p, 24, 8);
	h->l1_entries = (uint32_t)field(p, 36, 4);
	h->l1_offset = field(p, 40, 8);
	if (h->l1_entries > QCOW2_MAX_L1_BYTES / 8)
		return REFUSE(p, -EINVAL, 36, "L1 table of %u entries",
			      h->l1_entries);
	shift = h->cluster_bits + qcow2_l2_bits(h);
	need = (h->size_bytes >> shift) +
	       !!(h->size_bytes & ((1ull << shift) - 1));
	if (h->size_bytes > INT64_MAX || need > h->l1_entries)
		return REFUSE(p, -EINVAL, 24,
			      "an L1 table of %u entries cannot map %llu bytes",
			      h->l1_entries,
			      (unsigned long long)h->size_bytes);
	if (!h->l1_entries && h->l1_offset & (p->cluster - 1))
		return REFUSE(p, -EINVAL, 40,
			      "an L1 table of no entries at %#llx, unaligned",
			      (unsigned long long)h->l1_offset);
	if (!h->l1_entries ||
	    header_holds(p, h->l1_offset, 8ull * h->l1_entries))
		return 0;
	if (!h->l1_offset || h->l1_offset & (p->cluster - 1) ||
	    h->l1_offset >= QCOW2_MAX_OFFSET)
		return REFUSE(p, -EINVAL, 40, "L1 table at %#llx: not a place "
			      "for one", (unsigned long long)h->l1_offset);
	return FLAW(p, QCOW2_FLAW_L1, 40, "L1 table of %u entries at %#llx: "
		    "past the end of the file", h->l1_entries,
		    (unsigned long long)h->l1_offset);
}

static int parse_reftable(struct header_parse *p)
{
	struct qcow2_header *h = &p->h;
	uint64_t bytes;

	h->reftable_offset = field(p, 48, 8);
	h->reftable_clusters = (uint32_t)field(p, 56, 4);
	bytes = (uint64_t)h->reftable_clusters << h->cluster_bits;
	if (!h->reftable_clusters || bytes > QCOW2_MAX_REFTABLE_BYTES)
		return FLAW(p, QCOW2_FLAW_REFTABLE, 56,
			    "refcount table of %u clusters",
			    h->reftable_clusters);
	if (!header_holds(p, h->reftable_offset, bytes))
		return FLAW(p, QCOW2_FLAW_REFTABLE, 48,
			    "refcount table at %#llx: unaligned or past "
			    "the end", (unsigned long long)h->reftable_offset);
	return 0;
}

static int parse_snapshots(struct header_parse *p)
{
	struct qcow2_header *h = &p->h;

	h->snapshot_count = (uint32_t)field(p, 60, 4);
	h->snapshots_offset = field(p, 64, 8);
	if (h->snapshot_count > QCOW2_MAX_SNAPSHOTS)
		return FLAW(p, QCOW2_FLAW_SNAPSHOTS, 60, "%u snapshots",
			    h->snapshot_count);
	if (!h->snapshot_count && h->snapshots_offset & (p->cluster - 1))
		return FLAW(p, QCOW2_FLAW_SNAPSHOTS, 64,
			    "no snapshots, but their table at %#llx",
			    (unsigned long long)h->snapshots_offset);
	if (h->snapshot_count && !header_holds(p, h->snapshots_offset, 40))
		return FLAW(p, QCOW2_FLAW_SNAPSHOTS, 64,
			    "snapshot table at %#llx: unaligned or past "
			    "the end", (unsigned long long)h->snapshots_offset);
	return 0;
}

static int parse_backing(struct header_parse *p)
{
	uint64_t offset = field(p, 8, 8);
	uint32_t bytes = (uint32_t)field(p, 16, 4);
	uint64_t room = p->cluster < p->have ? p->cluster : p->have;

	p->extensions_end = room;
	/* A name of no bytes is none, even in the middle of the header. */
	if (!offset || (!bytes && offset < p->h.header_bytes))
		return 0;
	if (bytes > 1023 || offset < p->h.header_bytes || offset > room ||
	    bytes > room - offset)
		return REFUSE(p, -EINVAL, 8,
			      "backing name of %u bytes at %#llx", bytes,
			      (unsigned long long)offset);
	p->extensions_end = offset;
	return bytes ? header_string(p, offset, bytes, &p->h.backing_name) : 0;
}

static int parse_all(struct header_parse *p)
{
	int ret = parse_identity(p);

	if (ret || (ret = parse_version3(p)) || (ret = parse_backing(p)) ||
	    (ret = header_parse_extensions(p)) ||
	    (ret = header_check_features(p)) || (ret = parse_compression(p)) ||
	    (ret = parse_l1(p)) || (ret = parse_reftable(p)) ||
	    (ret = parse_snapshots(p)))
		return ret;
	p->h.crypt_method = (uint32_t)field(p, 32, 4);
	if (p->h.crypt_method > QCOW2_CRYPT_LUKS)
		return REFUSE(p, -ENOTSUP, 32, "encryption method %u",
			      p->h.crypt_method);
	if (p->h.crypt_method == QCOW2_CRYPT_LUKS && !p->h.has_luks)
		return REFUSE(p, -EINVAL, 32, "LUKS without its header");
	return 0;
}

static int parse(const char *path, const uint8_t *bytes, size_t have_bytes,
		 uint64_t file_bytes, bool tolerant, struct qcow2_header *h,
		 struct tide_error *err)
{
	struct header_parse p = {
		.path = path, .bytes = bytes, .have = have_bytes,
		.file = file_bytes, .tolerant = tolerant, .err = err,
	};
	int ret;

	tide_error_clear(err);
	if (p.have > p.file)
		p.have = p.file;
	ret = parse_all(&p);
	if (ret) {
		qcow2_header_fini(&p.h);
		return ret;
	}
	*h = p.h;
	return 0;
}

int qcow2_header_parse(const char *path, const uint8_t *bytes,
		       size_t have_bytes, uint64_t file_bytes,
		       struct qcow2_header *h, struct tide_error *err)
{
	return parse(path, bytes, have_bytes, file_bytes, false, h, err);
}

int qcow2_header_parse_tolerant(const char *path, const uint8_t *bytes,
				size_t have_bytes, uint64_t file_bytes,
				struct qcow2_header *h, struct tide_error *err)
{
	return parse(path, bytes, have_bytes, file_bytes, true, h, err);
}

void qcow2_header_fini(struct qcow2_header *h)
{
	for (uint32_t i = 0; i < h->extension_count; i++)
		free(h->extensions[i].data);
	free(h->extensions);
	free(h->backing_name);
	free(h->backing_format);
	free(h->data_file);
	free(h->tail);
	memset(h, 0, sizeof(*h));
}
