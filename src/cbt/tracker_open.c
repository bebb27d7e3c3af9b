/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opening a tracker: what an earlier session left is believed as far as that
 * is safe (the table at the end of docs/format-store.md); the rest is
 * reported.
 *
 * The order: read everything; decide on the live bits; write a live file that
 * has them; write, durably, a store that says "open" and records the doubts;
 * only then may a write pass. If it is killed anywhere in between, the next
 * process finds the same state again.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cbt/tracker.h"
#include "disk/disk.h"

#define USUAL_REGION_SHIFT 21u
#define USUAL_BOUND_BYTES (UINT64_C(1) << 30)

static void note(struct cbt *c, const char *text)
{
	size_t used = strlen(c->note);

	snprintf(c->note + used, sizeof(c->note) - used, "%s%s",
		 used ? "; " : "", text);
}

static void doubt(struct cbt *c, const char *reason)
{
	note(c, reason);
	cbt_doubt(&c->catalog, reason);
	c->doubted = true;
}

/* A store that was closed: is it the same disk? */
static void judge_disk(struct cbt *c)
{
	char what[256], text[512];

	cbt_identity_compare(&c->catalog.identity, c->disk, c->disk_path, what,
			     sizeof(what));
	if (!*what)
		return;
	snprintf(text, sizeof(text), "the disk was changed while nobody "
		 "tracked it: %s", what);
	doubt(c, text);
}

/* Power was lost in power mode: every active region may have been written. */
static int add_regions(struct cbt *c, struct cbt_image *live)
{
	uint64_t regions[CBT_MAX_REGIONS], sequence, before;
	uint32_t count = 0, shift;
	char text[256];

	if (cbt_intents_read(&c->store, &sequence, &shift, regions, &count))
		return -EINVAL;
	before = cbt_image_count(live);
	for (uint32_t i = 0; i < count; i++) {
		uint64_t start, end;

		if (shift > 40 || regions[i] > UINT64_MAX >> (shift + 1))
			return -EINVAL;
		start = regions[i] << shift;
		end = (regions[i] + 1) << shift;
		if (cbt_image_set(live, start >> live->shift,
				  cbt_bits_of(end, live->shift)))
			return -ENOMEM;
	}
	c->catalog.safety_blocks = (cbt_image_count(live) - before)
				   << live->shift >> c->catalog.usual_shift;
	if (!count)
		return 0;
	snprintf(text, sizeof(text), "power was lost: %" PRIu64 " bytes are "
		 "dirty only for safety",
		 (cbt_image_count(live) - before) << live->shift);
	note(c, text);
	return 0;
}

static int after_power_loss(struct cbt *c, struct cbt_image *live)
{
	int ret;

	if (c->store.super.durability != CBT_POWER) {
		doubt(c, "the host was started anew while the disk was served "
			 "with process durability");
		return 0;
	}
	if (c->store.super.lost) {
		char text[320];

		snprintf(text, sizeof(text), "marks may have been lost: %s",
			 c->store.super.why);
		doubt(c, text);
		return 0;
	}
	ret = add_regions(c, live);
	if (ret == -EINVAL) {
		doubt(c, "power was lost, and the intent log cannot be read");
		ret = 0;
	}
	return ret;
}

static int after_kill(struct cbt *c, const char *folder,
		      const uint8_t boot[16], struct cbt_image *live)
{
	int ret = cbt_live_recover(folder, c->store.super.uuid, boot,
				   c->catalog.epoch, live,
				   &c->catalog.size_bytes, NULL);

	if (ret != -ENOENT)
		return ret;
	/* Power durability does not need it. */
	if (c->store.super.durability == CBT_POWER && !c->store.super.lost)
		return after_power_loss(c, live);
	doubt(c, "the disk was not closed, and its live file is gone");
	return 0;
}

/* The live bits that this session begins with, into an empty image. */
static int find_live(struct cbt *c, const char *folder,
		     const uint8_t boot[16], struct cbt_image *live)
{
	int ret = cbt_image_or(live, &c->catalog.saved);

	if (ret)
		return ret;
	if (!c->store.super.open) {
		judge_disk(c);
		return 0;
	}
	if (memcmp(c->store.super.boot, boot, 16))
		ret = after_power_loss(c, live);
	else
		ret = after_kill(c, folder, boot, live);
	if (!ret && tide_disk_size(c->disk) != c->catalog.size_bytes)
		doubt(c, "the disk's size changed while nobody tracked it");
	return ret;
}

/*
 * Its size is the disk's from here on. What a store says that was of a longer
 * one, or is damaged, is no reason to make a live file as long.
 */
static int fit(struct cbt *c, struct cbt_image *live)
{
	uint64_t size = tide_disk_size(c->disk);
	uint64_t bits = cbt_bits_of(size, live->shift);
	struct cbt_image cut;
	int ret;

	c->catalog.size_bytes = size;
	if (bits >= live->bits)
		return cbt_image_grow(live, bits);
	ret = cbt_image_init(&cut, bits, live->shift);
	if (!ret)
		ret = cbt_image_or(&cut, live);
	cbt_image_fini(ret ? &cut : live);
	if (!ret)
		*live = cut;
	return ret;
}

static int begin(struct cbt *c, const struct cbt_options *o,
		 const char *folder, const uint8_t boot[16],
		 struct cbt_image *live, struct tide_error *err)
{
	struct cbt_catalog *k = &c->catalog;
	uint64_t sequence = 0;
	uint64_t regions[CBT_MAX_REGIONS];
	uint32_t shift, count;
	int ret;

	ret = cbt_live_create(folder, c->store.super.uuid, boot, k->epoch,
			      k->size_bytes, live, &c->live, err);
	if (ret)
		return ret;
	c->now = cbt_live_area(&c->live, k->epoch);
	cbt_image_fini(&k->saved);
	k->saved = *live;
	*live = (struct cbt_image){ 0 };
	memset(&k->identity, 0, sizeof(k->identity));
	cbt_identity_stat(&k->identity, c->disk_path, k->size_bytes);
	if (!cbt_intents_read(&c->store, &sequence, &shift, regions, &count))
		c->intents.sequence = sequence;
	c->was_open = c->store.super.open;
	c->store.super.open = true;
	c->store.super.durability = c->durability;
	c->store.super.lost = false;
	memset(c->store.super.why, 0, sizeof(c->store.super.why));
	memcpy(c->store.super.boot, boot, 16);
	cbt_tidy(c);
	ret = cbt_store_commit(&c->store, k, true, err);
	if (!ret && c->durability == CBT_POWER)
		ret = cbt_intents_start(&c->intents, c,
					o->region_shift ? o->region_shift
							: USUAL_REGION_SHIFT,
					o->bound_bytes ? o->bound_bytes
						       : USUAL_BOUND_BYTES,
					err);
	return ret;
}

static int start(struct cbt *c, const struct cbt_options *o,
		 const char *folder, struct tide_error *err)
{
	struct cbt_image live;
	uint8_t boot[16];
	int ret;

	if (o->boot)
		memcpy(boot, o->boot, 16);
	else
		cbt_boot_id(boot);
	ret = cbt_image_init(&live, cbt_bits_of(c->catalog.size_bytes,
						c->catalog.shift),
			     c->catalog.shift);
	if (!ret)
		ret = find_live(c, folder, boot, &live);
	if (!ret)
		ret = fit(c, &live);
	if (ret)
		cbt_no_memory(c, err);
	/* Before there is a live file that would be believed instead. */
	else if (c->doubted)
		ret = cbt_store_commit(&c->store, &c->catalog, true, err);
	if (!ret)
		ret = begin(c, o, folder, boot, &live, err);
	cbt_image_fini(&live);
	return ret;
}

/*
 * malloc'd. What lies beside a device is gone with the next boot, which is when
 * it is needed.
 */
static int place_store(const struct cbt *c, const struct cbt_options *o,
		       char **path, struct tide_error *err)
{
	struct stat st;
	bool there = !stat(c->disk_path, &st);

	if (o->store_path)
		*path = strdup(o->store_path);
	else if (!there)
		return tide_error_set(err, -EINVAL, "tracker", TIDE_NO_OFFSET,
				      "%.150s is no file that its store could "
				      "lie beside: say where it is to be "
				      "(--store)", c->disk_path);
	else if (S_ISBLK(st.st_mode))
		return tide_error_set(err, -EINVAL, "tracker", TIDE_NO_OFFSET,
				      "%s is a device, and what lies beside it "
				      "is gone after a boot: say where its "
				      "store is to be (--store)", c->disk_path);
	else if (asprintf(path, "%s.tidemark", c->disk_path) < 0)
		*path = NULL;
	return *path ? 0 : cbt_no_memory(c, err);
}

static int open_store(struct cbt *c, const struct cbt_options *o,
		      struct tide_error *err)
{
	uint32_t shift = o->shift ? o->shift : CBT_USUAL_SHIFT;
	uint64_t size = tide_disk_size(c->disk);
	struct cbt_catalog fresh;
	char *path = NULL;
	bool made;
	int ret;

	if (shift < CBT_MIN_SHIFT || shift > CBT_MAX_SHIFT ||
	    cbt_bits_of(size, shift) > CBT_MAX_BITS)
		return tide_error_set(err, -EINVAL, "tracker", TIDE_NO_OFFSET,
				      "%s: a granularity is 512 to 2G, and "
				      "large enough for the disk", c->disk_path);
	ret = place_store(c, o, &path, err);
	if (ret)
		return ret;
	if (cbt_catalog_init(&fresh, size, shift)) {
		free(path);
		return cbt_no_memory(c, err);
	}
	cbt_identity_stat(&fresh.identity, c->disk_path, size);
	ret = cbt_store_open(path, &fresh, &made, &c->store, &c->catalog, err);
	free(path);
	cbt_catalog_fini(&fresh);
	return ret;
}

static struct cbt *create(struct tide_disk *disk, const struct cbt_options *o)
{
	struct cbt *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->disk = disk;
	c->disk_path = strdup(disk->path);
	c->store.fd = -1;
	c->live.fd = -1;
	c->durability = o->durability ? o->durability : CBT_PROCESS;
	c->hold_ns = (o->hold_ms ? o->hold_ms : 5000) * 1000000;
	pthread_mutex_init(&c->lock, NULL);
	cbt_gate_init(&c->gate);
	return c;
}

int cbt_open(struct tide_disk *disk, const struct cbt_options *options,
	     struct cbt **out, struct tide_error *err)
{
	struct cbt *c = create(disk, options);
	char *folder = NULL;
	int ret;

	if (!c || !c->disk_path) {
		if (c)
			cbt_discard(c, false);
		return tide_error_set(err, -ENOMEM, "tracker", TIDE_NO_OFFSET,
				      "no memory for a tracker");
	}
	ret = open_store(c, options, err);
	if (!ret) {
		folder = options->live_folder ? strdup(options->live_folder)
					      : cbt_live_folder(err);
		ret = folder ? 0 : -EACCES;
	}
	if (!ret)
		ret = start(c, options, folder, err);
	free(folder);
	if (ret)
		cbt_discard(c, false);
	else
		*out = c;
	return ret;
}
