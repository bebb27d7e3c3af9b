/* SPDX-License-Identifier: BSD-2-Clause */
/* tidemark qcow2 info: what the header says, snapshots and bitmaps. */
#include <stdio.h>
#include <string.h>

#include "qcow2/driver/names.h"
#include "qcow2/format/bitmaps.h"
#include "qcow2/format/snapshots.h"
#include "cli/qcow2/image.h"

/* Both ways of saying the same: members of an object, or lines. */
struct out {
	bool json;
	struct cli_json j;
};

static void put_text(struct out *o, const char *key, const char *text)
{
	char shown[CLI_SHOWN];

	if (o->json) {
		cli_json_text(&o->j, key, text);
		return;
	}
	/* Names come from the image. */
	printf("%s: %s\n", key, cli_show(shown, text));
}

static void put_number(struct out *o, const char *key, uint64_t value)
{
	if (o->json)
		cli_json_number(&o->j, key, value);
	else
		printf("%s: %llu\n", key, (unsigned long long)value);
}

static void put_features(struct out *o, const struct qcow2_header *h)
{
	const struct {
		bool set;
		const char *name;
	} known[] = {
		{ h->incompatible & QCOW2_INCOMPAT_DIRTY, "dirty" },
		{ h->incompatible & QCOW2_INCOMPAT_CORRUPT, "corrupt" },
		{ h->incompatible & QCOW2_INCOMPAT_DATA_FILE,
		  "external-data-file" },
		{ h->incompatible & QCOW2_INCOMPAT_COMPRESSION,
		  "compression-type" },
		{ h->incompatible & QCOW2_INCOMPAT_EXTENDED_L2, "extended-l2" },
		{ h->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS,
		  "lazy-refcounts" },
		{ h->autoclear & QCOW2_AUTOCLEAR_BITMAPS, "bitmaps" },
		{ h->autoclear & QCOW2_AUTOCLEAR_RAW_EXTERNAL, "raw-external" },
	};

	if (o->json)
		cli_json_array(&o->j, "features");
	else
		printf("features:\n");
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (!known[i].set)
			continue;
		if (o->json)
			cli_json_text(&o->j, NULL, known[i].name);
		else
			printf("  %s\n", known[i].name);
	}
	if (o->json)
		cli_json_close(&o->j);
}

static void put_header(struct out *o, const struct qcow2_image *image)
{
	static const char *const crypt[] = { "none", "aes", "luks" };
	const struct qcow2_header *h = &image->header;

	put_text(o, "image", image->path);
	if (image->in_use)
		put_text(o, "in_use", "another process writes the image");
	put_number(o, "version", h->version);
	put_number(o, "virtual_size_bytes", h->size_bytes);
	put_number(o, "file_size_bytes", image->reader.size_bytes);
	put_number(o, "cluster_size_bytes", qcow2_cluster_bytes(h));
	put_number(o, "refcount_bits", 1ull << h->refcount_order);
	put_text(o, "compression", h->compression ? "zstd" : "zlib");
	put_text(o, "encryption", crypt[h->crypt_method]);
	put_features(o, h);
	if (h->backing_name)
		put_text(o, "backing_file", h->backing_name);
	if (h->backing_format)
		put_text(o, "backing_format", h->backing_format);
	if (h->data_file)
		put_text(o, "data_file", h->data_file);
}

/* One of a list: an object, or words on a line. */
static void item_text(struct out *o, const char *key, const char *text)
{
	char shown[CLI_SHOWN];

	if (o->json) {
		cli_json_text(&o->j, key, text);
		return;
	}
	printf(" %s=%s", key, cli_show(shown, text ? text : ""));
}

static void item_number(struct out *o, const char *key, uint64_t value)
{
	if (o->json)
		cli_json_number(&o->j, key, value);
	else
		printf(" %s=%llu", key, (unsigned long long)value);
}

static void item_flag(struct out *o, const char *key, bool value)
{
	if (o->json)
		cli_json_bool(&o->j, key, value);
	else if (value)
		printf(" %s", key);
}

static void item_begin(struct out *o)
{
	if (o->json)
		cli_json_object(&o->j, NULL);
	else
		putchar(' ');
}

static void item_end(struct out *o)
{
	if (o->json)
		cli_json_close(&o->j);
	else
		putchar('\n');
}

static void put_snapshots(struct out *o, const struct qcow2_snapshots *s)
{
	if (o->json)
		cli_json_array(&o->j, "snapshots");
	else if (s->count)
		printf("snapshots:\n");
	for (uint32_t i = 0; i < s->count; i++) {
		const struct qcow2_snapshot *x = &s->items[i];

		item_begin(o);
		item_text(o, "id", x->id);
		item_text(o, "name", x->name);
		item_number(o, "date_s", x->date_s);
		item_number(o, "vm_clock_ns", x->vm_clock_ns);
		item_number(o, "vm_state_bytes", x->vm_state_bytes);
		item_number(o, "disk_size_bytes", x->disk_size_bytes);
		item_end(o);
	}
	if (o->json)
		cli_json_close(&o->j);
}

static void put_bitmaps(struct out *o, const struct qcow2_bitmaps *b)
{
	if (o->json)
		cli_json_array(&o->j, "bitmaps");
	else if (b->count)
		printf("bitmaps:\n");
	for (uint32_t i = 0; i < b->count; i++) {
		const struct qcow2_bitmap *x = &b->items[i];

		item_begin(o);
		item_text(o, "name", x->name);
		item_number(o, "granularity_bytes",
			    x->granularity_bits < 63 ?
				    1ull << x->granularity_bits : 0);
		item_flag(o, "in_use", x->flags & QCOW2_BITMAP_IN_USE);
		item_flag(o, "auto", x->flags & QCOW2_BITMAP_AUTO);
		if (x->broken)
			item_text(o, "broken", x->broken);
		item_end(o);
	}
	if (o->json)
		cli_json_close(&o->j);
}

/* Members, as one of a kind is enough. */
static void put_circle(void *opaque, uint64_t header_offset, const char *name,
		       const char *why)
{
	struct out *o = opaque;

	(void)name;
	put_text(o, header_offset == 8 ? "backing_file_fault" :
					 "data_file_fault", why);
}

static int print(const struct cli_parsed *p, const struct qcow2_image *image,
		 const struct qcow2_snapshots *s, const struct qcow2_bitmaps *b)
{
	struct out o = { .json = cli_flag(p, "json") };
	struct tide_error err;

	if (o.json) {
		cli_json_begin(&o.j, stdout);
		cli_json_object(&o.j, NULL);
	}
	put_header(&o, image);
	if (qcow2_names_look(image->path, &image->header, put_circle, &o, &err))
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	put_snapshots(&o, s);
	put_bitmaps(&o, b);
	if (image->header.flaws || s->broken || b->broken)
		put_text(&o, "damage", "see tidemark qcow2 check");
	if (!o.json)
		return CLI_OK;
	cli_json_close(&o.j);
	return cli_json_end(&o.j, p->command);
}

static int run(const struct cli_parsed *p)
{
	struct qcow2_snapshots s = { 0 };
	struct qcow2_bitmaps b = { 0 };
	struct qcow2_image image;
	struct tide_error err;
	int code = qcow2_image_open(p, false, &image);

	if (code)
		return code;
	if (qcow2_snapshots_read(&image.reader, &image.header, true, &s,
				 &err) ||
	    qcow2_bitmaps_read(&image.reader, &image.header, true, &b, &err))
		code = cli_fail(p->command, CLI_FAILED, "%s", err.text);
	else
		code = print(p, &image, &s, &b);
	qcow2_snapshots_fini(&s);
	qcow2_bitmaps_fini(&b);
	qcow2_image_close(&image);
	return code;
}

static const struct cli_option options[] = {
	{ "json", NULL, CLI_FLAG, NULL, "print one JSON object" },
	QCOW2_FORCE_SHARE,
	{ NULL, NULL, CLI_FLAG, NULL, NULL },
};

const struct cli_command cli_qcow2_info = {
	.name = "qcow2 info",
	.summary = "Show what a qcow2 image says of itself",
	.words = "IMAGE",
	.options = options,
	.run = run,
};
