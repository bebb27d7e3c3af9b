/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Filling a caller's error buffer: the only place that formats error texts, and
 * therefore the one that escapes names chosen by an image or a peer.
 */
#include "tidemark/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

void tide_error_clear(struct tide_error *err)
{
	if (!err)
		return;
	memset(err, 0, sizeof(*err));
	err->offset = TIDE_NO_OFFSET;
}

int tide_error_set(struct tide_error *err, int code, const char *origin,
		   uint64_t offset, const char *format, ...)
{
	char raw[sizeof(err->text)];
	va_list args;

	if (code == 0)
		code = -EINVAL;
	if (!err)
		return code;
	err->code = code;
	err->offset = offset;
	snprintf(err->origin, sizeof(err->origin), "%s", origin ? origin : "");
	va_start(args, format);
	vsnprintf(raw, sizeof(raw), format, args);
	va_end(args);
	tide__text_show(err->text, sizeof(err->text), raw, strlen(raw));
	return code;
}
