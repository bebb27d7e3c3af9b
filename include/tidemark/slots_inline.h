/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A reader's lookup, inlined: another access to the same slot, or gap, costs no
 * call.
 *
 * Caveats:
 *  - It depends on the layout of a reader, which is not part of the ABI:
 *    compile it together with the library. If you link to a shared library that
 *    may be replaced, use only slots.h.
 */
#ifndef TIDEMARK_SLOTS_INLINE_H
#define TIDEMARK_SLOTS_INLINE_H

#include "tidemark/slots.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The beginning of every reader. */
struct tide_slots_front {
	const uint64_t *now;		/* generation of the map */
	uint64_t generation;		/* for which this holds: */
	uint64_t first, len;		/* the last interval */
	const struct tide_slot *slot;	/* in it, or NULL: a gap */
};

/* The slow paths of the function below: another interval; a changed map. */
bool tide_slots_reader_search(struct tide_slots_reader *reader,
			      uint64_t gpa_bytes, struct tide_slot *out);
bool tide_slots_reader_renew(struct tide_slots_reader *reader,
			     uint64_t gpa_bytes, struct tide_slot *out);

/* The same as tide_slots_reader_find_gpa. */
static inline bool tide_slots_inline_find_gpa(struct tide_slots_reader *reader,
					      uint64_t gpa_bytes,
					      struct tide_slot *out)
{
	struct tide_slots_front *f = (struct tide_slots_front *)reader;

	/* pairs with the release in publish (src/maps/slots.c) */
	if (__atomic_load_n(f->now, __ATOMIC_ACQUIRE) != f->generation)
		return tide_slots_reader_renew(reader, gpa_bytes, out);
	if (gpa_bytes - f->first >= f->len)
		return tide_slots_reader_search(reader, gpa_bytes, out);
	if (!f->slot)
		return false;
	if (out)
		*out = *f->slot;
	return true;
}

#ifdef __cplusplus
}
#endif

#endif
