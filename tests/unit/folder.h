/* SPDX-License-Identifier: BSD-2-Clause */
/* A folder of a test's own, and its end. */
#ifndef TESTS_FOLDER_H
#define TESTS_FOLDER_H

#include <stdio.h>
#include <stdlib.h>

#define FOLDER_BYTES 64

/*
 * @folder [FOLDER_BYTES] becomes the name of a new one below @where; 0 or -1.
 */
static inline int folder_make(char *folder, const char *where)
{
	snprintf(folder, FOLDER_BYTES, "%s/tidemark-test-XXXXXX", where);
	return mkdtemp(folder) ? 0 : -1;
}

static inline int folder_remove(const char *folder)
{
	char command[FOLDER_BYTES + 8];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

#endif
