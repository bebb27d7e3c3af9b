/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Recorded lookups of guest addresses: a folder with slots.json, a list of
 * {start, end, type, class} in hex, both ends inside, of which those that are
 * not emulated I/O are slots; and lookups.csv.zst (or lookups.csv), rows of
 * t_us,kind,addr,len after a header.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "slots_work.h"

#define HOST_BASE (UINT64_C(1) << 44)
#define MAX_BYTES (UINT64_C(1) << 30)

static uint64_t hex(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? strtoull(text, NULL, 16) : 0;
}

static int load_slots(struct slots_work *w, const char *folder)
{
	char path[4096];
	json_t *list, *o;
	size_t i;

	snprintf(path, sizeof(path), "%s/slots.json", folder);
	list = json_load_file(path, 0, NULL);
	if (!list)
		return -ENOENT;
	w->slots = calloc(json_array_size(list) + 1, sizeof(*w->slots));
	json_array_foreach(list, i, o) {
		const char *type =
			json_string_value(json_object_get(o, "type"));
		uint64_t first = hex(o, "start"), last = hex(o, "end");

		/* Parts of a page are no slots: KVM could not have them. */
		if (!w->slots || !type || !strcmp(type, "io") ||
		    (first & 4095) || ((last + 1) & 4095) || last < first)
			continue;
		w->slots[w->n] = (struct tide_slot){
			.id = w->n,
			.gpa_bytes = first,
			.len_bytes = last - first + 1,
			.host = (void *)(uintptr_t)(HOST_BASE + first),
		};
		w->n++;
	}
	json_decref(list);
	return !w->slots ? -ENOMEM : w->n ? 0 : -EINVAL;
}

static char *read_file(const char *path, size_t *bytes)
{
	FILE *f = fopen(path, "rb");
	char *data = NULL;
	long end;

	if (!f)
		return NULL;
	if (!fseek(f, 0, SEEK_END) && (end = ftell(f)) >= 0 &&
	    !fseek(f, 0, SEEK_SET) && (data = malloc((size_t)end + 1))) {
		*bytes = fread(data, 1, (size_t)end, f);
		data[*bytes] = 0;
	}
	fclose(f);
	return data;
}

/* The text of the lookups, ended by a zero; NULL: there is none. */
static char *read_rows(const char *folder)
{
	char path[4096], *packed, *text = NULL;
	unsigned long long size;
	size_t bytes = 0;

	snprintf(path, sizeof(path), "%s/lookups.csv", folder);
	text = read_file(path, &bytes);
	if (text)
		return text;
	snprintf(path, sizeof(path), "%s/lookups.csv.zst", folder);
	packed = read_file(path, &bytes);
	if (!packed)
		return NULL;
	size = ZSTD_getFrameContentSize(packed, bytes);
	if (size < MAX_BYTES)
		text = malloc(size + 1);
	if (text) {
		size_t got = ZSTD_decompress(text, size, packed, bytes);

		text[ZSTD_isError(got) ? 0 : got] = 0;
	}
	free(packed);
	return text;
}

static int load_lookups(struct slots_work *w, const char *folder, size_t max)
{
	char *text = read_rows(folder), *row;

	w->gpa = calloc(max, sizeof(*w->gpa));
	if (!text || !w->gpa) {
		free(text);
		return text ? -ENOMEM : -ENOENT;
	}
	row = strchr(text, '\n'); /* the header */
	while (row && w->lookups < max) {
		char *comma = strchr(row + 1, ',');

		comma = comma ? strchr(comma + 1, ',') : NULL;
		if (!comma)
			break;
		w->gpa[w->lookups++] = strtoull(comma + 1, NULL, 16);
		row = strchr(comma, '\n');
	}
	free(text);
	return w->lookups ? 0 : -EINVAL;
}

int slots_work_load(struct slots_work *w, const char *path, size_t max)
{
	int ret;

	memset(w, 0, sizeof(*w));
	ret = load_slots(w, path);
	if (ret == 0)
		ret = load_lookups(w, path, max);
	if (ret < 0)
		slots_work_fini(w);
	return ret;
}
