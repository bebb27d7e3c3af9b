/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A backup's folder whose JSON is whatever it likes. The first byte: bit 0, the
 * manifest is the input, or a body to which the sum fits; then a zero byte
 * parts the manifest from pending.json. A folder that opens holds what it says
 * it does, names no file outside, and says the same when it is saved and opened
 * again.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/recover.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64];

static void put_file(const char *name, const char *data, size_t size)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "w");
	if (!f || fwrite(data, 1, size, f) != size || fclose(f))
		abort();
}

/* What a body is in a file, or as it is if it is no JSON. */
static void put_manifest(const char *text, size_t size, bool is_body)
{
	json_t *body = is_body ? json_loadb(text, size, JSON_REJECT_DUPLICATES,
					    NULL) : NULL;
	char *packed = body ? json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS) :
			      NULL;
	char sum[CHUNK_HEX], *whole = NULL;
	struct chunk_digest d;
	json_t *all;

	if (packed) {
		d = chunk_digest_of(packed, strlen(packed));
		chunk_digest_text(&d, sum);
		all = json_pack("{s:i, s:s, s:O}", "version", 1, "xxh3_128",
				sum, "body", body);
		whole = json_dumps(all, 0);
		json_decref(all);
	}
	put_file("manifest.json", whole ? whole : text,
		 whole ? strlen(whole) : size);
	free(whole);
	free(packed);
	json_decref(body);
}

static void check(const struct backup_folder *f)
{
	for (size_t i = 0; i < f->count; i++) {
		const struct backup_point *p = &f->points[i];

		if (!p->number || p->number >= f->next ||
		    strchr(p->image, '/') || strchr(p->digests, '/') ||
		    *p->image == '.' || *p->digests == '.' ||
		    folder_find(f, p->number) != p ||
		    (p->parent && !folder_find(f, p->parent)))
			abort();
	}
}

static void save_and_open(struct backup_folder *f)
{
	struct backup_folder again;

	if (folder_save(f, NULL))
		abort();
	folder_close(f);
	if (folder_open(folder, false, &again, NULL))
		abort();
	check(&again);
	folder_close(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct backup_folder f;
	const uint8_t *end;
	size_t length;

	if (!*folder) {
		strcpy(folder, "/dev/shm/fuzz-manifest-XXXXXX");
		if (!mkdtemp(folder))
			abort();
	}
	if (size < 2)
		return 0;
	end = memchr(data + 1, 0, size - 1);
	length = (end ? (size_t)(end - data) : size) - 1;
	put_manifest((const char *)data + 1, length, data[0] & 1);
	if (end)
		put_file("pending.json", (const char *)end + 1,
			 size - length - 2);
	put_file("000001.qcow2", "", 0);
	if (!folder_open(folder, false, &f, NULL)) {
		check(&f);
		backup_recover(&f, NULL, NULL);
		save_and_open(&f);
	}
	return 0;
}
