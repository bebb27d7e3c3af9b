/* SPDX-License-Identifier: BSD-2-Clause */
/* Between header.c, extensions.c and encode.c only. */
#ifndef TIDE_QCOW2_FORMAT_HEADER_INTERNAL_H
#define TIDE_QCOW2_FORMAT_HEADER_INTERNAL_H

#include <errno.h>

#include "qcow2/format/header.h"

struct header_parse {
	const char *path;
	const uint8_t *bytes;
	size_t have;
	uint64_t file; /* bytes of the whole file */
	uint64_t cluster;
	uint64_t extensions_end;
	bool tolerant;
	struct tide_error *err;
	struct qcow2_header h; /* what was decoded so far */
};

/* An error at byte @at of the file, which the text names. */
#define REFUSE(p, code, at, format, ...) \
	tide_error_set((p)->err, code, "qcow2-header", at, \
		       "%s: header at offset %llu: " format, (p)->path, \
		       (unsigned long long)(at), ##__VA_ARGS__)

/* The same for a section that a tolerant parse does without. */
#define FLAW(p, bit, at, format, ...) \
	(header_flaw(p, bit) ? 0 : REFUSE(p, -EINVAL, at, format, \
					  ##__VA_ARGS__), \
	 (p)->tolerant ? 0 : -EINVAL)

/* True if the error buffer shall stay as it is: the first flaw is in it. */
static inline bool header_flaw(struct header_parse *p, uint32_t bit)
{
	bool later = p->tolerant && p->h.flaws;

	p->h.flaws |= bit;
	return later;
}

/* A section of whole clusters' alignment that ends within the file. */
static inline bool header_holds(const struct header_parse *p, uint64_t offset,
				uint64_t bytes)
{
	return offset && !(offset & (p->cluster - 1)) &&
	       offset < QCOW2_MAX_OFFSET && offset <= p->file &&
	       bytes <= p->file - offset;
}

int header_string(struct header_parse *p, uint64_t at, uint32_t bytes,
		  char **out);
int header_parse_extensions(struct header_parse *p);
int header_check_features(struct header_parse *p);

#endif
