/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One fault after the other is taken out of an entry; the first is the reason
 * that is said, doubt about any of them is doubt about all.
 *
 * Reserved bits say nothing about the offset beside them, and readers mask
 * them: they are cleared. What a reader finds behind the end of the file is
 * zeroes, so such an entry becomes one that says zeroes - but what it meant is
 * open. Of an offset that is not aligned nothing can be kept.
 */
#include "qcow2/check/mend.h"

#include "qcow2/format/entry.h"

#define ALLOCATED 0xffffffffull
#define L1_RESERVED 0x7f000000000001ffull

static void fault(struct qcow2_mend *m, bool doubt, const char *why)
{
	if (!m->why)
		m->why = why;
	m->doubt |= doubt;
}

void qcow2_mend_l1(const struct qcow2_header *h, uint64_t file_bytes,
		   uint64_t entry, struct qcow2_mend *m)
{
	uint64_t offset = entry & QCOW2_OFFSET_MASK;

	*m = (struct qcow2_mend){ .entry = entry };
	if (entry & L1_RESERVED) {
		fault(m, false, "reserved bits are set");
		m->entry &= ~L1_RESERVED;
	}
	if (!offset) {
		if (m->entry & QCOW2_ENTRY_COPIED)
			fault(m, false, "COPIED, but no table");
		m->entry = 0;
	} else if (offset & (qcow2_cluster_bytes(h) - 1)) {
		fault(m, true, "not aligned to a cluster");
		m->entry = 0;
	} else if (offset >= file_bytes) {
		fault(m, true, "past the end of the file");
		m->entry = 0;
	}
}

/* No more sectors than the file has, with its last cluster. */
static uint64_t clip_packed(const struct qcow2_header *h, uint64_t file_bytes,
			    uint64_t entry, uint64_t offset)
{
	uint64_t cluster = qcow2_cluster_bytes(h);
	uint64_t end = (file_bytes + cluster - 1) & -cluster;
	uint32_t bits = 62 - (h->cluster_bits - 8);
	uint64_t sectors = (end - (offset & -512ull)) / 512 - 1;

	return (entry & (QCOW2_ENTRY_PACKED | ((1ull << bits) - 1))) |
	       sectors << bits;
}

static void mend_packed(const struct qcow2_header *h, uint64_t file_bytes,
			struct qcow2_mend *m)
{
	uint64_t offset, bytes;

	qcow2_entry_packed(h, m->entry, &offset, &bytes);
	if (h->incompatible & QCOW2_INCOMPAT_DATA_FILE)
		fault(m, true, "compressed data beside an external data file");
	else if (offset >= file_bytes)
		fault(m, true, "compressed data past the end of the file");
	if (m->doubt) {
		m->entry = m->subclusters = 0;
		return;
	}
	if (m->entry & QCOW2_ENTRY_COPIED)
		fault(m, false, "compressed data with the COPIED flag");
	m->entry &= ~QCOW2_ENTRY_COPIED;
	if (m->subclusters)
		fault(m, false, "compressed data with subclusters");
	m->subclusters = 0;
	if (offset + bytes >= file_bytes + qcow2_cluster_bytes(h)) {
		fault(m, false, "compressed data that end a cluster or more "
				"past the end of the file");
		m->entry = clip_packed(h, file_bytes, m->entry, offset);
	}
}

static void mend_bits(const struct qcow2_header *h, bool extended,
		      struct qcow2_mend *m)
{
	uint64_t reserved = QCOW2_ENTRY_RESERVED, both;
	bool external = h->incompatible & QCOW2_INCOMPAT_DATA_FILE;
	bool place = m->entry & QCOW2_OFFSET_MASK ||
		     (external && m->entry & QCOW2_ENTRY_COPIED);

	if (h->version < 3 || extended)
		reserved |= QCOW2_ENTRY_ZERO;
	if (m->entry & reserved)
		fault(m, false, "reserved bits are set");
	m->entry &= ~reserved;
	both = m->subclusters & m->subclusters >> 32 & ALLOCATED;
	if (both)
		fault(m, true, "a subcluster is both allocated and zero");
	m->subclusters &= ~(both << 32);
	if (m->subclusters & ALLOCATED && !place) {
		fault(m, true, "subclusters are allocated without a cluster");
		m->subclusters &= ~ALLOCATED;
	}
}

/* Does nobody read from the cluster that the entry names? */
static bool all_zero(const struct qcow2_mend *m, bool extended)
{
	return extended ? !(m->subclusters & ALLOCATED) :
			  m->entry & QCOW2_ENTRY_ZERO;
}

static void mend_place(const struct qcow2_header *h, uint64_t file_bytes,
		       bool extended, struct qcow2_mend *m)
{
	uint64_t offset = m->entry & QCOW2_OFFSET_MASK;
	bool external = h->incompatible & QCOW2_INCOMPAT_DATA_FILE;
	bool zero = all_zero(m, extended);

	if (offset & (qcow2_cluster_bytes(h) - 1)) {
		fault(m, !zero, "not aligned to a cluster");
		m->entry &= zero ? QCOW2_ENTRY_ZERO : 0;
		m->subclusters &= ~ALLOCATED;
	} else if (!external && offset >= file_bytes) {
		fault(m, !zero, "guest data past the end of the file");
		m->entry = h->version >= 3 && !extended ? QCOW2_ENTRY_ZERO : 0;
		m->subclusters |= m->subclusters << 32;
		m->subclusters &= ~ALLOCATED;
	}
}

void qcow2_mend_l2(const struct qcow2_header *h, uint64_t file_bytes,
		   uint64_t entry, uint64_t subclusters, struct qcow2_mend *m)
{
	bool extended = qcow2_l2_entry_bytes(h) == 16;

	*m = (struct qcow2_mend){ .entry = entry, .subclusters = subclusters };
	if (entry & QCOW2_ENTRY_PACKED) {
		mend_packed(h, file_bytes, m);
		return;
	}
	mend_bits(h, extended, m);
	if (m->entry & QCOW2_OFFSET_MASK)
		mend_place(h, file_bytes, extended, m);
}
