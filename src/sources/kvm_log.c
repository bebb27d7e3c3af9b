/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * KVM's dirty log, in its two modes.
 *
 * Legacy: KVM_GET_DIRTY_LOG reads the bitmap, clears it and write-protects the
 * pages again, all before it returns; the whole cost falls on the harvest.
 *
 * Manual protection (capability 168, with "initially set"): reading only
 * copies. The bits that were read are remembered here as pending, and
 * KVM_CLEAR_DIRTY_LOG clears and protects them chunk by chunk, right before
 * the pages of that chunk are copied. So a page that is written between the
 * harvest and its copy is not sent twice, no harvest holds KVM's lock for long,
 * and starting costs nothing: the first log reads all ones.
 *
 * Only harvested bits are cleared: they are in the set, so the page is copied
 * after the clear. A bit that KVM has set since then stays.
 *
 * KVM's pages are 4 KiB, whatever backs them.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/clock.h"
#include "bits/word.h"
#include "sources/source.h"

/*
 * Pages per clear. Small enough that little is re-dirtied between the clear
 * and the copy, large enough that a terabyte needs only 262,144 calls.
 */
#define CHUNK_PAGES 1024u
#define CHUNK_WORDS (CHUNK_PAGES / 64u)

static const char origin[] = "kvm-log";

static int init(struct tide_source *source, struct tide_error *err)
{
	if (source->vm.vm_fd < 0 || !source->vm.set_logging)
		return tide_error_set(err, -EINVAL, origin, TIDE_NO_OFFSET,
				      "KVM's log needs a VM and set_logging");
	return 0;
}

static void fini(struct tide_source *source)
{
	(void)source;
}

static int watch(struct tide_source *source, struct tide__watched *w,
		 struct tide_error *err)
{
	int ret = source->vm.set_logging(source->vm.opaque, &w->slot, true);

	if (ret)
		return tide_error_set(
			err, ret, origin, w->slot.gpa_bytes,
			"cannot switch on the log of slot %" PRIu32 ": %s",
			w->slot.id, strerror(-ret));
	return 0;
}

static int unwatch(struct tide_source *source, struct tide__watched *w,
		   struct tide_error *err)
{
	int ret = source->vm.set_logging(source->vm.opaque, &w->slot, false);

	if (ret)
		return tide_error_set(err, ret, origin, w->slot.gpa_bytes,
				      "cannot switch off the log of slot %"
				      PRIu32 ": %s",
				      w->slot.id, strerror(-ret));
	return 0;
}

/* Read the log of one slot and mark it. */
static int read_log(struct tide_source *source, struct tide__watched *w,
		    struct tide_set *set, struct tide_error *err)
{
	struct kvm_dirty_log log = { .slot = w->slot.id,
				     .dirty_bitmap = w->log };
	uint64_t pages = 0;

	if (ioctl(source->vm.vm_fd, KVM_GET_DIRTY_LOG, &log) < 0)
		return tide_error_set(err, -errno, origin, w->slot.gpa_bytes,
				      "KVM_GET_DIRTY_LOG of slot %" PRIu32
				      ": %s",
				      w->slot.id, strerror(errno));
	for (uint64_t i = 0; i < w->words; i++)
		pages += tide__count_bits(w->log[i]);
	source->stats.pages += pages;
	tide_set_merge_bitmap(set, w->first, w->log, w->pages);
	return 0;
}

static int harvest_legacy(struct tide_source *source, struct tide_set *set,
			  struct tide_error *err)
{
	for (struct tide__watched *w = source->watched; w; w = w->next) {
		int ret = read_log(source, w, set, err);

		if (ret)
			return ret;
	}
	return 0;
}

static int harvest_manual(struct tide_source *source, struct tide_set *set,
			  struct tide_error *err)
{
	for (struct tide__watched *w = source->watched; w; w = w->next) {
		int ret = read_log(source, w, set, err);

		if (ret)
			return ret;
		for (uint64_t i = 0; i < w->words; i++)
			w->pending[i] |= w->log[i];
	}
	return 0;
}

/* Clear what is pending in the chunk that begins at word @word. */
static int clear_chunk(struct tide_source *source, struct tide__watched *w,
		       uint64_t word, struct tide_error *err)
{
	uint64_t words = w->words - word, any = 0;
	struct kvm_clear_dirty_log clear = { .slot = w->slot.id };

	if (words > CHUNK_WORDS)
		words = CHUNK_WORDS;
	for (uint64_t i = 0; i < words; i++)
		any |= w->pending[word + i];
	if (!any)
		return 0;
	clear.first_page = word * 64;
	clear.num_pages = (uint32_t)(words * 64);
	/* Not a multiple of 64 only where the slot ends. */
	if (clear.first_page + clear.num_pages > w->pages)
		clear.num_pages = (uint32_t)(w->pages - clear.first_page);
	clear.dirty_bitmap = &w->pending[word];
	if (ioctl(source->vm.vm_fd, KVM_CLEAR_DIRTY_LOG, &clear) < 0)
		return tide_error_set(err, -errno, origin,
				      w->slot.gpa_bytes +
					  clear.first_page * TIDE__PAGE_BYTES,
				      "KVM_CLEAR_DIRTY_LOG of slot %" PRIu32
				      ": %s",
				      w->slot.id, strerror(errno));
	memset(&w->pending[word], 0, words * sizeof(*w->pending));
	return 0;
}

static int rearm_manual(struct tide_source *source, struct tide__watched *w,
			uint64_t first, uint64_t count, struct tide_error *err)
{
	uint64_t chunk = first / CHUNK_PAGES;
	uint64_t last = (first + count - 1) / CHUNK_PAGES;

	for (; chunk <= last; chunk++) {
		int ret = clear_chunk(source, w, chunk * CHUNK_WORDS, err);

		if (ret)
			return ret;
	}
	return 0;
}

const struct tide__source_ops tide__kvm_log_manual_ops = {
	.init = init,
	.fini = fini,
	.watch = watch,
	.harvest = harvest_manual,
	.rearm = rearm_manual,
	.unwatch = unwatch,
};

const struct tide__source_ops tide__kvm_log_legacy_ops = {
	.init = init,
	.fini = fini,
	.watch = watch,
	.harvest = harvest_legacy,
	.unwatch = unwatch,
};

int tide_kvm_manual_enable(int vm_fd, struct tide_error *err)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
		.args = { KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE |
			  KVM_DIRTY_LOG_INITIALLY_SET },
	};
	int has = ioctl(vm_fd, KVM_CHECK_EXTENSION,
			KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);

	if (has < 0 || (has & (int)cap.args[0]) != (int)cap.args[0])
		return tide_error_set(
			err, -EOPNOTSUPP, origin, TIDE_NO_OFFSET,
			"this KVM has no manual protection with "
			"initially-set logs (capability 168 is %d)",
			has);
	if (ioctl(vm_fd, KVM_ENABLE_CAP, &cap) < 0)
		return tide_error_set(err, -errno, origin, TIDE_NO_OFFSET,
				      "KVM refuses manual protection: %s",
				      strerror(errno));
	return 0;
}
