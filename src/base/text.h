/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Showing bytes that somebody else chose: names in an image, words of a peer.
 *
 * A terminal obeys control characters, a reader believes a new line, and an
 * override of direction turns a sentence round. So whatever came from outside
 * passes through here before a person reads it: control characters, bytes that
 * are no UTF-8, and code points that only move others about are written as
 * \xNN, byte by byte; a backslash stays one, so this cannot be undone. JSON has
 * escapes of its own and does not come here.
 *
 * And bytes of our own that are no text, as digits.
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
