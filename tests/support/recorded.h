/* SPDX-License-Identifier: BSD-2-Clause */
/* Recordings of real guests: beside the checkout, unless the caller says. */
#ifndef TESTS_RECORDED_H
#define TESTS_RECORDED_H

#include <stdio.h>
#include <stdlib.h>

static inline void find_recorded(void)
{
	const char *root = getenv("SRC");
	char path[4096];

	snprintf(path, sizeof(path), "%s/../shared", root ? root : ".");
	setenv("TIDEMARK_RECORDED", path, 0);
}

#endif
