/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A stream of rbd export-diff from anybody: no record that it yields lies
 * outside of the image, its data is there, and what was read is written and
 * read again as the same records.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rbd/diff.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST 65536u

static int take(struct ceph_diff *d, struct ceph_diff_record *r, char *buf)
{
	int ret = ceph_diff_next(d, r, NULL);

	if (ret <= 0)
		return ret;
	if (r->offset_bytes > d->size_bytes ||
	    r->length_bytes > d->size_bytes - r->offset_bytes ||
	    d->left_bytes != (r->zero ? 0 : r->length_bytes))
		abort();
	if (r->zero || r->length_bytes > MOST)
		return 1; /* the next call passes it over */
	return ceph_diff_read(d, buf, r->length_bytes, NULL) ? -1 : 1;
}

static void compare(char *text, size_t length, struct ceph_diff *first,
		    uint64_t records)
{
	static char buf[MOST];
	FILE *f = fmemopen(text, length, "r");
	struct ceph_diff_record r;
	struct ceph_diff d;
	int ret;

	if (!f || ceph_diff_open(&d, f, "again", NULL) ||
	    d.size_bytes != first->size_bytes || strcmp(d.to, first->to) ||
	    strcmp(d.from, first->from))
		abort();
	while ((ret = take(&d, &r, buf)) > 0)
		records--;
	if (ret || records)
		abort();
	fclose(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char buf[MOST];
	struct ceph_diff_record r;
	uint64_t records = 0;
	struct ceph_diff d;
	size_t length = 0;
	char *text = NULL;
	FILE *f, *again;
	int ret;

	if (!size || !(f = fmemopen((void *)(uintptr_t)data, size, "r")))
		return 0;
	if (ceph_diff_open(&d, f, "fuzz", NULL)) {
		fclose(f);
		return 0;
	}
	again = open_memstream(&text, &length);
	if (!again || ceph_diff_put_begin(again, *d.from ? d.from : NULL,
					  *d.to ? d.to : NULL, d.size_bytes))
		abort();
	for (; (ret = take(&d, &r, buf)) > 0; records++)
		if (r.zero || r.length_bytes > MOST)
			ceph_diff_put_zeroes(again, r.offset_bytes,
					     r.length_bytes);
		else
			ceph_diff_put_data(again, r.offset_bytes, buf,
					   r.length_bytes);
	ceph_diff_put_end(again);
	fclose(again);
	compare(text, length, &d, records);
	free(text);
	fclose(f);
	return 0;
}
