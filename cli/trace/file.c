/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading a trace. The archive is plain ustar inside one zstd stream; each
 * member's name and size are checked before a byte of it is believed.
 */
#include "cli/trace/file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "cli/output.h"

#define BLOCK 512u
#define MAX_ROUNDS 10000u

void trace_round_name(char name[32], uint32_t n)
{
	snprintf(name, 32, "%03u.written.bits", n);
}

static int bad(const char *folder, const char *what, struct tide_error *err)
{
	return tide_error_set(err, -EINVAL, "trace", TIDE_NO_OFFSET,
			      "%s is not a trace: %s", folder, what);
}

static uint64_t bitmap_bytes(const struct trace *t)
{
	return (t->pages + 63) / 64 * 8;
}

/* Room for round @n, all clean; NULL: no memory, or too many. */
static uint64_t *add_round(struct trace *t, uint32_t n)
{
	if (n >= MAX_ROUNDS)
		return NULL;
	if (n >= t->rounds) {
		uint64_t **more = realloc(t->round, (n + 1) * sizeof(*more));

		if (!more)
			return NULL;
		memset(more + t->rounds, 0,
		       (n + 1 - t->rounds) * sizeof(*more));
		t->round = more;
		t->rounds = n + 1;
	}
	if (!t->round[n])
		t->round[n] = calloc(1, bitmap_bytes(t));
	return t->round[n];
}

/* A stream of zstd, read in pieces of any size. */
struct unpack {
	FILE *file;
	ZSTD_DStream *stream;
	ZSTD_inBuffer in;
	char buffer[1 << 16];
};

static bool unpack_read(struct unpack *u, void *into, size_t bytes)
{
	ZSTD_outBuffer out = { into, bytes, 0 };

	while (out.pos < out.size) {
		if (u->in.pos == u->in.size) {
			u->in.src = u->buffer;
			u->in.pos = 0;
			u->in.size = fread(u->buffer, 1, sizeof(u->buffer),
					   u->file);
			if (!u->in.size)
				return false;
		}
		if (ZSTD_isError(ZSTD_decompressStream(u->stream, &out,
						       &u->in)))
			return false;
	}
	return true;
}

static bool skip(struct unpack *u, uint64_t bytes)
{
	char block[BLOCK];

	for (; bytes; bytes -= BLOCK)
		if (!unpack_read(u, block, BLOCK))
			return false;
	return true;
}

/* Members until the empty block: rounds into @t, others passed over. */
static int read_members(struct unpack *u, struct trace *t, const char *folder,
			struct tide_error *err)
{
	char head[BLOCK];
	uint64_t *round;

	while (unpack_read(u, head, BLOCK) && head[0]) {
		uint64_t size, padded;
		unsigned int n;
		int end = 0;

		head[99] = 0;
		head[135] = 0;
		size = strtoull(head + 124, NULL, 8);
		padded = (size + BLOCK - 1) / BLOCK * BLOCK;
		if (memcmp(head + 257, "ustar", 5))
			return bad(folder, "rounds.tar.zst is no ustar archive",
				   err);
		if (sscanf(head, "%u.written.bits%n", &n, &end) != 1 || !end ||
		    head[end]) {
			if (!skip(u, padded))
				break;
			continue;
		}
		if (size != (t->pages + 7) / 8)
			return bad(folder, "a round has not as many bits as "
				   "the manifest says", err);
		round = add_round(t, n);
		if (!round)
			return tide_error_set(err, -ENOMEM, "trace",
					      TIDE_NO_OFFSET, "%s: no memory "
					      "for round %u", folder, n);
		if (!unpack_read(u, round, size) ||
		    (padded > size && !unpack_read(u, head, padded - size)))
			return bad(folder, "rounds.tar.zst ends too early",
				   err);
	}
	return 0;
}

static int read_archive(struct trace *t, const char *folder, FILE *file,
			struct tide_error *err)
{
	struct unpack *u = calloc(1, sizeof(*u));
	int ret = -ENOMEM;

	if (u) {
		u->file = file;
		u->stream = ZSTD_createDStream();
		if (u->stream)
			ret = read_members(u, t, folder, err);
		ZSTD_freeDStream(u->stream);
	}
	free(u);
	if (ret == -ENOMEM)
		tide_error_set(err, ret, "trace", TIDE_NO_OFFSET,
			       "no memory to read %s", folder);
	return ret;
}

/* Files NNN.written.bits from 000 on. */
static int read_files(struct trace *t, const char *folder,
		      struct tide_error *err)
{
	char path[4096], name[32];

	for (uint32_t n = 0;; n++) {
		uint64_t *round;
		FILE *file;
		size_t got;

		trace_round_name(name, n);
		snprintf(path, sizeof(path), "%s/%s", folder, name);
		file = fopen(path, "rb");
		if (!file)
			return 0;
		round = add_round(t, n);
		got = round ? fread(round, 1, (t->pages + 7) / 8, file) : 0;
		fclose(file);
		if (!round)
			return tide_error_set(err, -ENOMEM, "trace",
					      TIDE_NO_OFFSET,
					      "no memory for %s", path);
		if (got != (t->pages + 7) / 8)
			return bad(folder, "a round has not as many bits as "
				   "the manifest says", err);
	}
}

static int read_manifest(struct trace *t, const char *folder,
			 struct tide_error *err)
{
	char path[4096];
	json_error_t why;

	snprintf(path, sizeof(path), "%s/manifest.json", folder);
	t->manifest = json_load_file(path, 0, &why);
	if (!t->manifest)
		return tide_error_set(err, -ENOENT, "trace", TIDE_NO_OFFSET,
				      "%s: %s (line %d); a trace is a folder "
				      "with a manifest.json", path, why.text,
				      why.line);
	t->pages = (uint64_t)json_integer_value(
		json_object_get(t->manifest, "pages"));
	t->page_bytes = (uint64_t)json_integer_value(
		json_object_get(t->manifest, "page_size"));
	if (t->pages < 1 || t->pages > 1ull << 32 || !t->page_bytes)
		return bad(folder, "the manifest gives no \"pages\" (1 to "
			   "2^32) and \"page_size\"", err);
	return 0;
}

int trace_load(struct trace *t, const char *folder, struct tide_error *err)
{
	char path[4096];
	FILE *archive;
	int ret;

	memset(t, 0, sizeof(*t));
	ret = read_manifest(t, folder, err);
	if (ret == 0) {
		snprintf(path, sizeof(path), "%s/rounds.tar.zst", folder);
		archive = fopen(path, "rb");
		ret = archive ? read_archive(t, folder, archive, err) :
				read_files(t, folder, err);
		if (archive)
			fclose(archive);
	}
	for (uint32_t i = 0; ret == 0 && i < t->rounds; i++)
		if (!t->round[i])
			ret = bad(folder, "a round is missing", err);
	if (ret == 0 && !t->rounds)
		ret = bad(folder, "it has no rounds", err);
	if (ret < 0)
		trace_free(t);
	return ret;
}

void trace_free(struct trace *t)
{
	for (uint32_t i = 0; i < t->rounds; i++)
		free(t->round[i]);
	free(t->round);
	json_decref(t->manifest);
	memset(t, 0, sizeof(*t));
}

/* 1: it was there, 0: it was not; -errno: it is, and stays. */
static int clear_one(const char *folder, const char *name, bool force,
		     struct tide_error *err)
{
	char path[4096];
	int ret;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (access(path, F_OK) && errno == ENOENT)
		return 0;
	ret = output_check(path, force, err);
	if (ret == 0 && unlink(path) < 0)
		ret = tide_error_set(err, -errno, "trace", TIDE_NO_OFFSET,
				     "%s: %s", path, strerror(errno));
	return ret < 0 ? ret : 1;
}

int trace_clear(const char *folder, bool force, struct tide_error *err)
{
	/* The manifest first: without it the rest is no trace. */
	int ret = clear_one(folder, "manifest.json", force, err);
	char name[32];

	if (ret >= 0)
		ret = clear_one(folder, "rounds.tar.zst", force, err);
	if (ret >= 0)
		ret = 1;
	/* Rounds of a longer one would be taken for ours. */
	for (uint32_t n = 0; ret > 0 && n < MAX_ROUNDS; n++) {
		trace_round_name(name, n);
		ret = clear_one(folder, name, force, err);
	}
	return ret < 0 ? ret : 0;
}

int trace_write_manifest(const char *folder, json_t *manifest,
			 struct tide_error *err)
{
	struct output_file out;
	char path[4096];
	int ret;

	snprintf(path, sizeof(path), "%s/manifest.json", folder);
	ret = output_open(&out, path, false, err);
	if (ret < 0)
		return ret;
	if (json_dumpf(manifest, out.file, JSON_INDENT(1))) {
		output_drop(&out);
		return tide_error_set(err, -EIO, "trace", TIDE_NO_OFFSET,
				      "%s cannot be written", path);
	}
	return output_close(&out, err);
}
