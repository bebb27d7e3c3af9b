/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Escaping untrusted text for display: names in an image, messages of a peer.
 *
 * Terminals obey control characters, newlines fake messages, and directional
 * overrides reorder a sentence. So text from outside passes through here before
 * a person reads it: control characters, bytes that are not UTF-8, and code
 * points that only affect layout are written as \xNN, byte by byte; a backslash
 * is not escaped, so this cannot be undone. JSON has escapes of its own and
 * does not need this.
 *
 * Also: our own binary data as hexadecimal digits.
 */
#ifndef TIDE_BASE_TEXT_H
#define TIDE_BASE_TEXT_H

#include <stddef.h>
#include <stdint.h>

/*
 * Bytes of the code point at @s, of which @left (> 0) are there, if it may be
 * shown as it is; 0 if not.
 */
size_t tide__text_plain(const char *s, size_t left);

/*
 * @bytes as text in @to, which has room for @room (> 0) with the final zero;
 * cut off between escapes where that is too little. How long it became.
 */
size_t tide__text_show(char *to, size_t room, const char *bytes, size_t length);

/* @count bytes as lower-case digits; @to has room for 2 * @count + 1. */
void tide__text_hex(char *to, const uint8_t *bytes, size_t count);
/* 16 bytes in groups, as a uuid is written. */
void tide__text_uuid(char to[37], const uint8_t bytes[16]);

#endif
