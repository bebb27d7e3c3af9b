/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which clusters of an image are metadata? A writer asks before each write, so
 * that no bug of its own destroys a table.
 *
 *	cc kinds.c $(pkg-config --cflags --libs tidemark) && ./a.out
 */
#include <inttypes.h>
#include <stdio.h>

#include <tidemark/kinds.h>

#define CLUSTER 65536ull

int main(void)
{
	struct tide_kinds_run run = { 0 };
	struct tide_kinds_hit hit;
	struct tide_kinds *kinds;
	struct tide_error err;
	int runs = 0;

	if (tide_kinds_create(&kinds, 16, &err) ||
	    tide_kinds_add(kinds, TIDE_KIND_HEADER, 0, CLUSTER, &err) ||
	    tide_kinds_add(kinds, TIDE_KIND_L1, 3 * CLUSTER, 3 * CLUSTER,
			   &err) ||
	    tide_kinds_add(kinds, TIDE_KIND_L2, 9 * CLUSTER, CLUSTER, &err) ||
	    tide_kinds_remove(kinds, TIDE_KIND_L1, 4 * CLUSTER, CLUSTER,
			      &err)) {
		fprintf(stderr, "kinds: %s\n", err.text);
		return 1;
	}
	while (tide_kinds_next(kinds, run.offset_bytes + run.length_bytes,
			       &run)) {
		printf("0x%08" PRIx64 " to 0x%08" PRIx64 ": kinds 0x%" PRIx32
		       "\n", run.offset_bytes,
		       run.offset_bytes + run.length_bytes, run.kinds);
		runs++;
	}
	if (!tide_kinds_check(kinds, 8 * CLUSTER, 2 * CLUSTER, 0, &hit))
		return 1;
	printf("a write at 0x%" PRIx64 " would hit an %s\n", hit.offset_bytes,
	       tide_kind_name(TIDE_KIND_L2));
	tide_kinds_destroy(kinds);
	return runs == 4 && hit.offset_bytes == 9 * CLUSTER ? 0 : 1;
}
