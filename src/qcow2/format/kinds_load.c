/* SPDX-License-Identifier: BSD-2-Clause */
#include "qcow2/format/kinds_load.h"

/* One numbering of the sections, here and in the kind map. */
_Static_assert((int)QCOW2_SECTION_L2 == (int)TIDE_KIND_L2 &&
		       (int)QCOW2_SECTION_REFCOUNT_BLOCK ==
			       (int)TIDE_KIND_REFCOUNT_BLOCK &&
		       (int)QCOW2_SECTION_INACTIVE_L2 ==
			       (int)TIDE_KIND_INACTIVE_L2 &&
		       (int)QCOW2_SECTION_BITMAP_DATA ==
			       (int)TIDE_KIND_BITMAP_DATA &&
		       (int)QCOW2_SECTION_COUNT == (int)TIDE_KIND_COUNT,
	       "sections are kinds");

struct load {
	struct tide_kinds *kinds;
	struct tide_error *err;
};

static int each_place(void *opaque, const struct qcow2_place *p)
{
	struct load *l = opaque;

	return tide_kinds_add_refs(l->kinds, (enum tide_kind)p->section,
				   p->offset_bytes, p->length_bytes,
				   p->refs < UINT32_MAX ? (uint32_t)p->refs :
							  UINT32_MAX,
				   l->err);
}

int qcow2_kinds_load(const struct qcow2_reader *r, const struct qcow2_header *h,
		     struct tide_kinds *kinds, struct tide_error *err)
{
	struct load l = { kinds, err };
	struct qcow2_visitor v = { .opaque = &l, .place = each_place };

	return qcow2_visit(r, h, &v, err);
}
