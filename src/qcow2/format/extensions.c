/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Header extensions: a list of {type, length, data padded to 8} between the
 * header and the backing name (or the end of the first cluster).
 *
 * All are kept as bytes, so that a header written back loses none that we do
 * not know; five are decoded as well. The bitmaps extension counts only while
 * its autoclear bit is set: else somebody wrote to the image who did not know
 * bitmaps, and what they say is void.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "qcow2/format/header_internal.h"

int header_string(struct header_parse *p, uint64_t at, uint32_t bytes,
		  char **out)
{
	char *text;

	if (memchr(p->bytes + at, 0, bytes))
		return REFUSE(p, -EINVAL, at, "a name with a zero byte in it");
	text = malloc(bytes + 1u);
	if (!text)
		return REFUSE(p, -ENOMEM, at, "no memory for a name");
	memcpy(text, p->bytes + at, bytes);
	text[bytes] = 0;
	*out = text;
	return 0;
}

static bool seen(const struct qcow2_header *h, uint32_t type)
{
	for (uint32_t i = 0; i + 1 < h->extension_count; i++)
		if (h->extensions[i].type == type)
			return true;
	return false;
}

static int decode_string(struct header_parse *p, uint32_t type, uint64_t at,
			 uint32_t bytes, uint32_t max_bytes, char **out)
{
	if (seen(&p->h, type) || bytes > max_bytes)
		return REFUSE(p, -EINVAL, at,
			      "extension of a name: twice, or %u bytes", bytes);
	return bytes ? header_string(p, at, bytes, out) : 0;
}

static int decode_bitmaps(struct header_parse *p, uint64_t at, uint32_t bytes)
{
	struct qcow2_header *h = &p->h;

	if (!(h->autoclear & QCOW2_AUTOCLEAR_BITMAPS))
		return 0;
	if (h->has_bitmaps || h->flaws & QCOW2_FLAW_BITMAPS || bytes != 24)
		goto bad;
	h->bitmap_count = (uint32_t)tide__get_be(p->bytes + at, 4);
	h->bitmap_directory_bytes = tide__get_be(p->bytes + at + 8, 8);
	h->bitmap_directory_offset = tide__get_be(p->bytes + at + 16, 8);
	if (!h->bitmap_count || h->bitmap_count > QCOW2_MAX_BITMAPS ||
	    tide__get_be(p->bytes + at + 4, 4) ||
	    h->bitmap_directory_bytes < 32ull * h->bitmap_count ||
	    h->bitmap_directory_bytes > 1024ull * QCOW2_MAX_BITMAPS ||
	    !header_holds(p, h->bitmap_directory_offset,
			  h->bitmap_directory_bytes))
		goto bad;
	h->has_bitmaps = true;
	return 0;
bad:
	h->has_bitmaps = false;
	return FLAW(p, QCOW2_FLAW_BITMAPS, at,
		    "bitmaps extension: %u bitmaps, directory of %llu bytes "
		    "at %#llx", h->bitmap_count,
		    (unsigned long long)h->bitmap_directory_bytes,
		    (unsigned long long)h->bitmap_directory_offset);
}

static int decode_luks(struct header_parse *p, uint64_t at, uint32_t bytes)
{
	struct qcow2_header *h = &p->h;

	if (h->has_luks || bytes != 16)
		return REFUSE(p, -EINVAL, at,
			      "LUKS extension: twice, or %u bytes", bytes);
	h->luks_offset = tide__get_be(p->bytes + at, 8);
	h->luks_bytes = tide__get_be(p->bytes + at + 8, 8);
	if (!h->luks_bytes || !header_holds(p, h->luks_offset, h->luks_bytes))
		return REFUSE(p, -EINVAL, at,
			      "LUKS header of %llu bytes at %#llx: unaligned "
			      "or past the end",
			      (unsigned long long)h->luks_bytes,
			      (unsigned long long)h->luks_offset);
	h->has_luks = true;
	return 0;
}

static int decode(struct header_parse *p, uint32_t type, uint64_t at,
		  uint32_t bytes)
{
	switch (type) {
	case QCOW2_EXT_BACKING_FORMAT:
		return decode_string(p, type, at, bytes, 255,
				     &p->h.backing_format);
	case QCOW2_EXT_DATA_FILE:
		return decode_string(p, type, at, bytes, 1023,
				     &p->h.data_file);
	case QCOW2_EXT_BITMAPS:
		return decode_bitmaps(p, at, bytes);
	case QCOW2_EXT_LUKS:
		return decode_luks(p, at, bytes);
	default:
		return 0;
	}
}

static int keep(struct header_parse *p, uint32_t type, uint64_t at,
		uint32_t bytes)
{
	struct qcow2_header *h = &p->h;
	struct qcow2_extension *list, *e;

	list = reallocarray(h->extensions, h->extension_count + 1u,
			    sizeof(*list));
	if (!list)
		return REFUSE(p, -ENOMEM, at, "no memory for an extension");
	h->extensions = list;
	e = &list[h->extension_count];
	*e = (struct qcow2_extension){ .type = type, .length_bytes = bytes };
	if (bytes) {
		e->data = malloc(bytes);
		if (!e->data)
			return REFUSE(p, -ENOMEM, at,
				      "no memory for an extension");
		memcpy(e->data, p->bytes + at, bytes);
	}
	h->extension_count++;
	return 0;
}

/* Real images have at most six; a bound keeps a list of empty ones cheap. */
#define MAX_EXTENSIONS 1024u

int header_parse_extensions(struct header_parse *p)
{
	uint64_t at = p->h.header_bytes, end = p->extensions_end;
	uint32_t type = ~0u, bytes;
	int ret;

	while (end >= 8 && at <= end - 8) {
		type = (uint32_t)tide__get_be(p->bytes + at, 4);
		bytes = (uint32_t)tide__get_be(p->bytes + at + 4, 4);
		at += 8;
		if (bytes > end - at || p->h.extension_count >= MAX_EXTENSIONS)
			return REFUSE(p, -EINVAL, at - 8,
				      "extension %#x of %u bytes does not fit",
				      type, bytes);
		if (type == QCOW2_EXT_END)
			break;
		ret = keep(p, type, at, bytes);
		if (!ret)
			ret = decode(p, type, at, bytes);
		if (ret)
			return ret;
		at += ((uint64_t)bytes + 7) & ~7ull;
	}
	/* Less than the head of one more is left, and it is not the end. */
	if (at < end && end < p->have && p->have - at >= 4 &&
	    tide__get_be(p->bytes + at, 4) != QCOW2_EXT_END &&
	    (at + 8 > end && type != QCOW2_EXT_END))
		return REFUSE(p, -EINVAL, at, "an extension that the backing "
			      "name's place cuts");
	return 0;
}

/* The image's own name of incompatible feature @bit, or an empty string. */
static void feature_name(const struct qcow2_header *h, unsigned int bit,
			 char name[47])
{
	const struct qcow2_extension *e;

	name[0] = 0;
	for (uint32_t i = 0; i < h->extension_count; i++) {
		e = &h->extensions[i];
		if (e->type != QCOW2_EXT_FEATURE_NAMES)
			continue;
		for (uint32_t at = 0; at + 48 <= e->length_bytes; at += 48) {
			if (e->data[at] != 0 || e->data[at + 1] != bit)
				continue;
			memcpy(name, e->data + at + 2, 46);
			name[46] = 0;
			return;
		}
	}
}

int header_check_features(struct header_parse *p)
{
	uint64_t unknown = p->h.incompatible & ~(uint64_t)QCOW2_INCOMPAT_KNOWN;
	unsigned int bit;
	char name[47];

	if (!unknown)
		return 0;
	bit = (unsigned int)__builtin_ctzll(unknown);
	feature_name(&p->h, bit, name);
	return REFUSE(p, -ENOTSUP, 72,
		      "the image needs feature bit %u%s%s%s, which is not "
		      "known here", bit, name[0] ? " (" : "", name,
		      name[0] ? ")" : "");
}
