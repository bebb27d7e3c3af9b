/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Errors as every Tidemark call reports them.
 *
 * A call that can fail returns 0, or a negative errno value; its results are
 * left untouched on failure. Most calls take a last argument of type
 * struct tide_error *, which may be NULL: a buffer of the caller's that
 * receives the reason in words, the byte offset or address it is about, and
 * the part that found it. Nothing is allocated, printed or kept between calls.
 */
#ifndef TIDEMARK_ERROR_H
#define TIDEMARK_ERROR_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TIDE_NO_OFFSET UINT64_MAX

struct tide_error {
	int code;		/* negative errno, 0 if no error was stored */
	uint64_t offset;	/* byte offset or address, or TIDE_NO_OFFSET */
	char origin[24];	/* "kvm-log", "frame", "slots", ... */
	char text[232];		/* one sentence, no newline */
};

/*
 * tide_error_set: fill @err (NULL is fine) and return @code.
 * The text is formatted as by snprintf and cut at the buffer's end. A zero
 * @code is a caller's bug and is stored as -EINVAL.
 */
int tide_error_set(struct tide_error *err, int code, const char *origin,
		   uint64_t offset, const char *format, ...)
#if defined(__GNUC__)
	__attribute__((format(printf, 5, 6)))
#endif
	;

/* tide_error_clear: make @err say "no error". NULL is fine. */
void tide_error_clear(struct tide_error *err);

#ifdef __cplusplus
}
#endif

#endif
