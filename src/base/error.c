/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Filling a caller's error buffer: the one place that formats error text.
 */
#include "tidemark/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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
	va_list args;

	if (code == 0)
		code = -EINVAL;
	if (!err)
		return code;
	err->code = code;
	err->offset = offset;
	snprintf(err->origin, sizeof(err->origin), "%s", origin ? origin : "");
	va_start(args, format);
	vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	return code;
}
