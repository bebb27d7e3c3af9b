/* SPDX-License-Identifier: BSD-2-Clause */
/* Escaping untrusted bytes. See text.h. */
#include "base/text.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define MAX_BYTES 4u
#define ESCAPE_BYTES 4u /* \xNN */

/* How long a sequence that begins so is; 0: nothing begins so. */
static size_t sequence(unsigned char first)
{
	return first < 0x80	     ? 1 :
	       (first & 0xe0) == 0xc0 ? 2 :
	       (first & 0xf0) == 0xe0 ? 3 :
	       (first & 0xf8) == 0xf0 ? 4 :
					0;
}

/* Nothing to see, but others look different for it. */
static bool moves_others(uint32_t point)
{
	return (point >= 0x200b && point <= 0x200f) ||
	       (point >= 0x2028 && point <= 0x202e) ||
	       (point >= 0x2060 && point <= 0x206f) || point == 0xfeff ||
	       point == 0x061c;
}

size_t tide__text_plain(const char *s, size_t left)
{
	static const uint32_t min[MAX_BYTES + 1] = { 0, 0, 0x80, 0x800,
							0x10000 };
	const unsigned char *b = (const unsigned char *)s;
	size_t bytes = sequence(b[0]);
	uint32_t point = bytes == 1 ? b[0] : b[0] & (0x7fu >> bytes);

	if (!bytes || bytes > left)
		return 0;
	for (size_t i = 1; i < bytes; i++) {
		if ((b[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (b[i] & 0x3f);
	}
	if (point < min[bytes] || point > 0x10ffff ||
	    (point >= 0xd800 && point < 0xe000))
		return 0;
	if (point < 0x20 || (point >= 0x7f && point < 0xa0) ||
	    moves_others(point))
		return 0;
	return bytes;
}

size_t tide__text_show(char *to, size_t room, const char *bytes, size_t length)
{
	size_t at = 0, out = 0;

	while (at < length) {
		size_t plain = tide__text_plain(bytes + at, length - at);

		if (room - out <= (plain ? plain : ESCAPE_BYTES))
			break;
		if (plain)
			memcpy(to + out, bytes + at, plain);
		else
			snprintf(to + out, room - out, "\\x%02x",
				 (unsigned char)bytes[at]);
		out += plain ? plain : ESCAPE_BYTES;
		at += plain ? plain : 1;
	}
	to[out] = '\0';
	return out;
}

void tide__text_hex(char *to, const uint8_t *bytes, size_t count)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < count; i++) {
		to[2 * i] = digits[bytes[i] >> 4];
		to[2 * i + 1] = digits[bytes[i] & 15];
	}
	to[2 * count] = '\0';
}

void tide__text_uuid(char to[37], const uint8_t bytes[16])
{
	static const uint8_t groups[] = { 4, 2, 2, 2, 6 };

	for (size_t i = 0, at = 0; i < sizeof(groups); i++) {
		tide__text_hex(to, bytes + at, groups[i]);
		at += groups[i];
		to += 2 * groups[i];
		if (at < 16)
			*to++ = '-';
	}
}
