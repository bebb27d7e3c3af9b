/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A file that a command makes. It stands under its name only when it is whole,
 * and takes the place of another one only when that was asked for: written
 * beside it, then linked (which fails where something is) or renamed.
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stdbool.h>
#include <stdio.h>

#include "tidemark/error.h"

#define OPT_FORCE                                                              \
	{ "force", NULL, CLI_FLAG, NULL,                                       \
	  "replace a file that is there already" }

struct output_file {
	FILE *file; /* write here */
	const char *path;
	char *beside; /* its name until it is whole */
	bool force;
};

/*
 * Nothing may be at @path unless @force, and then only a regular file. 0;
 * -EEXIST, or what the file system said; the error names the path.
 */
int output_check(const char *path, bool force, struct tide_error *err);
/* @path stays the caller's. As output_check; -ENOMEM. */
int output_open(struct output_file *o, const char *path, bool force,
		struct tide_error *err);
/* Nothing is left of it. */
void output_drop(struct output_file *o);
/* Whole: under its name now. Else nothing is left of it. 0 or -errno. */
int output_close(struct output_file *o, struct tide_error *err);

#endif
