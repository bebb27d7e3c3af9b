/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A trace of dirty pages: a folder with manifest.json (at least "pages" and
 * "page_size") and, for each round NNN, the bitmap NNN.written.bits of
 * pages / 8 bytes, little-endian words; as files, or all of them in
 * rounds.tar.zst. docs/format-trace.md.
 */
#ifndef CLI_TRACE_FILE_H
#define CLI_TRACE_FILE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "tidemark/error.h"

struct trace {
	json_t *manifest; /* owned */
	uint64_t pages, page_bytes;
	uint32_t rounds;
	uint64_t **round; /* [rounds] bitmaps, owned */
};

/* 0; -ENOENT, -EINVAL (not a trace: what, where), -ENOMEM. */
int trace_load(struct trace *t, const char *folder, struct tide_error *err);
void trace_free(struct trace *t);

/* For who writes one: the name of round @n, and the manifest. */
void trace_round_name(char name[32], uint32_t n);
/* @folder holds no recording; one that is there is removed if @force. */
int trace_clear(const char *folder, bool force, struct tide_error *err);
int trace_write_manifest(const char *folder, json_t *manifest,
			 struct tide_error *err);

#endif
