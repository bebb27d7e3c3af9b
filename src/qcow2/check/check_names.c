/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an image names beside itself. Who opens it by its names would go in a
 * circle, or write guest data over the tables: so it is no image to be used,
 * however good its inside is. Repair leaves names alone: only people know which
 * file was meant.
 */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "qcow2/check/check.h"
#include "qcow2/driver/names.h"

struct names {
	qcow2_problem_fn *each;
	void *opaque;
	struct qcow2_check *out;
};

static void each_name(void *opaque, uint64_t header_offset, const char *name,
		      const char *why)
{
	struct names *n = opaque;
	struct qcow2_problem p = { .type = QCOW2_PROBLEM_REFERENCE,
				   .offset_bytes = header_offset };
	char raw[sizeof(p.text)];

	if (n->each && n->out->found[p.type] < QCOW2_CHECK_SAID) {
		snprintf(raw, sizeof(raw), "%s: %s", why, name);
		tide__text_show(p.text, sizeof(p.text), raw, strlen(raw));
		n->each(n->opaque, &p);
	}
	n->out->found[p.type]++;
}

int qcow2_check_names(const char *path, const struct qcow2_header *h,
		      qcow2_problem_fn *each, void *opaque,
		      struct qcow2_check *out, struct tide_error *err)
{
	struct names n = { each, opaque, out };

	return qcow2_names_look(path, h, each_name, &n, err);
}
