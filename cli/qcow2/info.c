/* SPDX-License-Identifier: BSD-2-Clause */
/* tidemark qcow2 info: what the header says, snapshots and bitmaps. */
#include <stdio.h>
#include <string.h>

#include "qcow2/format/bitmaps.h"
#include "qcow2/format/snapshots.h"
#include "cli/qcow2/image.h"

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

/* Names come from the image: bytes that are no UTF-8 become '?'. */
static json_t *text(const char *s)
{
	json_t *whole = s ? json_string(s) : json_null();
	char clean[1100];
	size_t i = 0;

	if (whole)
		return whole;
	for (; s[i] && i < sizeof(clean) - 1; i++)
		clean[i] = (unsigned char)s[i] < 0x80 ? s[i] : '?';
	clean[i] = 0;
	return json_string(clean);
}

static json_t *features(const struct qcow2_header *h)
{
	static const struct {
		uint64_t bit;
		const char *name;
	} known[] = {
		{ QCOW2_INCOMPAT_DIRTY, "dirty" },
		{ QCOW2_INCOMPAT_CORRUPT, "corrupt" },
		{ QCOW2_INCOMPAT_DATA_FILE, "external-data-file" },
		{ QCOW2_INCOMPAT_COMPRESSION, "compression-type" },
		{ QCOW2_INCOMPAT_EXTENDED_L2, "extended-l2" },
	};
	json_t *list = json_array();

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (h->incompatible & known[i].bit)
			json_array_append_new(list,
					      json_string(known[i].name));
	if (h->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS)
		json_array_append_new(list, json_string("lazy-refcounts"));
	if (h->autoclear & QCOW2_AUTOCLEAR_BITMAPS)
		json_array_append_new(list, json_string("bitmaps"));
	if (h->autoclear & QCOW2_AUTOCLEAR_RAW_EXTERNAL)
		json_array_append_new(list, json_string("raw-external"));
	return list;
}

static json_t *header_json(const struct qcow2_image *image)
{
	static const char *const crypt[] = { "none", "aes", "luks" };
	const struct qcow2_header *h = &image->header;
	json_t *o = json_object();

	json_object_set_new(o, "image", text(image->path));
	json_object_set_new(o, "version", number(h->version));
	json_object_set_new(o, "virtual_size_bytes", number(h->size_bytes));
	json_object_set_new(o, "file_size_bytes",
			    number(image->reader.size_bytes));
	json_object_set_new(o, "cluster_size_bytes",
			    number(qcow2_cluster_bytes(h)));
	json_object_set_new(o, "refcount_bits",
			    number(1ull << h->refcount_order));
	json_object_set_new(o, "compression",
			    json_string(h->compression ? "zstd" : "zlib"));
	json_object_set_new(o, "encryption",
			    json_string(crypt[h->crypt_method]));
	json_object_set_new(o, "features", features(h));
	if (h->backing_name)
		json_object_set_new(o, "backing_file", text(h->backing_name));
	if (h->backing_format)
		json_object_set_new(o, "backing_format",
				    text(h->backing_format));
	if (h->data_file)
		json_object_set_new(o, "data_file", text(h->data_file));
	return o;
}

static json_t *snapshots_json(const struct qcow2_snapshots *s)
{
	json_t *list = json_array(), *o;

	for (uint32_t i = 0; i < s->count; i++) {
		const struct qcow2_snapshot *x = &s->items[i];

		o = json_object();
		json_object_set_new(o, "id", text(x->id));
		json_object_set_new(o, "name", text(x->name));
		json_object_set_new(o, "date_s", number(x->date_s));
		json_object_set_new(o, "vm_clock_ns", number(x->vm_clock_ns));
		json_object_set_new(o, "vm_state_bytes",
				    number(x->vm_state_bytes));
		json_object_set_new(o, "disk_size_bytes",
				    number(x->disk_size_bytes));
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *bitmaps_json(const struct qcow2_bitmaps *b)
{
	json_t *list = json_array(), *o;

	for (uint32_t i = 0; i < b->count; i++) {
		const struct qcow2_bitmap *x = &b->items[i];
		uint64_t granularity = x->granularity_bits < 63 ?
					       1ull << x->granularity_bits :
					       0;

		o = json_object();
		json_object_set_new(o, "name", text(x->name));
		json_object_set_new(o, "granularity_bytes",
				    number(granularity));
		json_object_set_new(
			o, "in_use",
			json_boolean(x->flags & QCOW2_BITMAP_IN_USE));
		json_object_set_new(o, "auto",
				    json_boolean(x->flags & QCOW2_BITMAP_AUTO));
		if (x->broken)
			json_object_set_new(o, "broken",
					    json_string(x->broken));
		json_array_append_new(list, o);
	}
	return list;
}

static void print_value(const char *key, const json_t *v)
{
	if (json_is_string(v))
		printf("%s: %s\n", key, json_string_value(v));
	else if (json_is_integer(v))
		printf("%s: %lld\n", key,
		       (long long)json_integer_value(v));
}

static void print_list(const char *key, const json_t *list)
{
	const json_t *v, *member;
	const char *name;
	size_t i;

	if (!json_array_size(list))
		return;
	printf("%s:\n", key);
	json_array_foreach(list, i, v) {
		if (json_is_string(v)) {
			printf("  %s\n", json_string_value(v));
			continue;
		}
		putchar(' ');
		json_object_foreach((json_t *)v, name, member) {
			if (json_is_string(member))
				printf(" %s=%s", name,
				       json_string_value(member));
			else if (json_is_integer(member))
				printf(" %s=%lld", name,
				       (long long)json_integer_value(member));
			else if (json_is_true(member))
				printf(" %s", name);
		}
		putchar('\n');
	}
}

static int print_text(json_t *o)
{
	const json_t *v;
	const char *key;

	json_object_foreach(o, key, v) {
		if (json_is_array(v))
			print_list(key, v);
		else
			print_value(key, v);
	}
	json_decref(o);
	return CLI_OK;
}

static int run(const struct cli_parsed *p)
{
	struct qcow2_snapshots s = { 0 };
	struct qcow2_bitmaps b = { 0 };
	struct qcow2_image image;
	struct tide_error err;
	int code = qcow2_image_open(p, false, &image);
	json_t *o;

	if (code)
		return code;
	if (qcow2_snapshots_read(&image.reader, &image.header, true, &s,
				 &err) ||
	    qcow2_bitmaps_read(&image.reader, &image.header, true, &b, &err)) {
		code = cli_fail(p->command, CLI_FAILED, "%s", err.text);
	} else {
		o = header_json(&image);
		json_object_set_new(o, "snapshots", snapshots_json(&s));
		json_object_set_new(o, "bitmaps", bitmaps_json(&b));
		if (image.header.flaws || s.broken || b.broken)
			json_object_set_new(
				o, "damage",
				json_string("see tidemark qcow2 check"));
		code = cli_flag(p, "json") ? qcow2_json_print(p, o) :
					     print_text(o);
	}
	qcow2_snapshots_fini(&s);
	qcow2_bitmaps_fini(&b);
	qcow2_image_close(&image);
	return code;
}

static const struct cli_option options[] = {
	{ "json", NULL, CLI_FLAG, NULL, "print one JSON object" },
	{ NULL, NULL, CLI_FLAG, NULL, NULL },
};

const struct cli_command cli_qcow2_info = {
	.name = "qcow2 info",
	.summary = "Show what a qcow2 image says of itself",
	.words = "IMAGE",
	.options = options,
	.run = run,
};
