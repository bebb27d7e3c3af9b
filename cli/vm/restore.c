/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The snapshot's areas are the guest's slots, in the same order. The memory
 * comes in one of three ways: read before the guest runs; brought in while it
 * runs (snapshot/lazy_here.h); or mapped, privately, from a file that `snapshot
 * restore --memory` made, which many guests share as long as they do not write.
 */
#include "cli/vm/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/snapshot/common.h"
#include "cli/snapshot/files.h"
#include "snapshot/lazy_here.h"

#define PIECE 256u	/* pages at once */

struct vm_restore {
	struct snap_chain chain;
	struct lazy_here here;
	const char *order_path;
	uint64_t *order;
	void *devices;
	size_t devices_bytes;
	struct vm_still still;
	bool opened, serving;
};

static int fail(int ret, const char *path, const char *what,
		struct tide_error *err)
{
	return tide_error_set(err, ret, "vm", TIDE_NO_OFFSET, "%s: %s", path,
			      what);
}

/* FOLDER/NAME. */
static int open_chain(struct vm_restore *r, const char *path,
		      struct tide_error *err)
{
	const char *slash = strrchr(path, '/');
	char *folder = slash ? strndup(path, (size_t)(slash - path)) : NULL;
	int ret = folder ? 0 : fail(-EINVAL, path, "it takes FOLDER/NAME", err);

	if (!ret)
		ret = snap_chain_open(&r->chain, *folder ? folder : "/",
				     slash + 1, err);
	r->opened = !ret;
	free(folder);
	if (!ret)
		ret = snap_chain_devices(&r->chain, &r->devices,
					&r->devices_bytes, err);
	return ret ? ret : vm_still_read(&r->still, r->devices,
				       r->devices_bytes, err);
}

static int check_shape(const struct vm_restore *r, struct tide_error *err)
{
	const struct snap_header *h = snap_chain_header(&r->chain);
	const struct snap_area *area = snap_chain_areas(&r->chain);
	bool same = h->areas == r->still.slots;

	for (uint32_t i = 0; same && i < h->areas; i++)
		same = area[i].pages * SNAP_PAGE == r->still.slot[i].len_bytes;
	return same ? 0 : fail(-EBADMSG, "the snapshot", "its memory is not "
			       "that of its slots", err);
}

static unsigned char *host_of(struct vm *vm, const struct tide_slot *of)
{
	struct tide_slot slot;

	return tide_slots_find_id(vm_slots(vm), of->id, &slot) ? slot.host
							       : NULL;
}

static int read_all(struct vm_restore *r, struct vm *vm,
		    struct tide_error *err)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < r->still.slots; i++) {
		const struct snap_area *a = &snap_chain_areas(&r->chain)[i];
		unsigned char *to = host_of(vm, &r->still.slot[i]);
		uint64_t page = 0, n;

		for (; !ret && page < a->pages; page += n) {
			n = snap_chain_zeroes(&r->chain, a->first_page + page);
			if (n)
				continue;
			n = a->pages - page < PIECE ? a->pages - page : PIECE;
			ret = snap_chain_read(&r->chain, a->first_page + page,
					     n, to + page * SNAP_PAGE, err);
		}
	}
	return ret;
}

static int map_file(struct vm_restore *r, struct vm *vm, const char *path,
		    struct tide_error *err)
{
	const struct snap_area *area = snap_chain_areas(&r->chain);
	int fd = open(path, O_RDONLY | O_CLOEXEC), ret = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		ret = fail(-errno, path, strerror(errno), err);
	else if ((uint64_t)st.st_size !=
		 snap_chain_header(&r->chain)->pages * SNAP_PAGE)
		ret = fail(-EINVAL, path, "it is not as long as the snapshot's "
			  "memory", err);
	for (size_t i = 0; !ret && i < r->still.slots; i++)
		if (mmap(host_of(vm, &r->still.slot[i]),
			 r->still.slot[i].len_bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, fd,
			 (off_t)(area[i].first_page * SNAP_PAGE)) == MAP_FAILED)
			ret = fail(-errno, path, strerror(errno), err);
	if (fd >= 0)
		close(fd);
	return ret;
}

static void all_there(struct lazy_here *here, int ret,
		      const struct tide_error *why)
{
	struct vm_restore *r = here->opaque;
	const struct lazy_stats *s = &here->lazy.stats;
	struct tide_error err;

	/* The guest waits for a page that nobody has: it ends here. */
	if (ret) {
		fprintf(stderr, "tidemark vm run: %s\n", why->text);
		_exit(ret == -EBADMSG ? CLI_UNVERIFIED : CLI_FAILED);
	}
	if (here->lazy.record &&
	    snapshot_write_order(&here->lazy, r->order_path, &err))
		fprintf(stderr, "tidemark vm run: %s\n", err.text);
	printf("all there after %.1f ms: %" PRIu64 " faults, %" PRIu64
	       " pages brought in behind\n", (double)s->complete_ns / 1e6,
	       s->faults, s->prefetched_pages);
	fflush(stdout);
}

static int read_order(struct vm_restore *r, struct tide_error *err)
{
	struct lazy *l = &r->here.lazy;
	int ret = 0;

	if (r->order_path && !access(r->order_path, F_OK))
		ret = lazy_order_read(r->order_path,
				     snap_chain_header(&r->chain)->pages,
				     &r->order, &l->order_count, err);
	l->order = r->order;
	l->record = r->order_path && !r->order;
	return ret;
}

static int bring_in(struct vm_restore *r, struct vm *vm,
		    struct tide_error *err)
{
	struct lazy *l = &r->here.lazy;
	int ret = read_order(r, err);

	l->chain = &r->chain;
	r->here.done = all_there;
	r->here.opaque = r;
	for (size_t i = 0; i < r->still.slots; i++)
		l->region[i] = (struct lazy_region){
			.address = (uintptr_t)host_of(vm, &r->still.slot[i]),
			.bytes = r->still.slot[i].len_bytes,
			.offset_bytes = snap_chain_areas(&r->chain)[i]
					    .first_page * SNAP_PAGE,
			.page_bytes = SNAP_PAGE,
		};
	l->regions = r->still.slots;
	if (!ret)
		ret = lazy_here_start(&r->here, err);
	r->serving = !ret;
	return ret;
}

static int fill(struct vm_restore *r, struct vm *vm,
		const struct cli_parsed *p, struct tide_error *err)
{
	int ret = vm_prepare_incoming(vm, r->still.slot, r->still.slots, err);

	if (ret)
		return ret;
	if (cli_text(p, "memory-file"))
		ret = map_file(r, vm, cli_text(p, "memory-file"), err);
	else if (cli_flag(p, "lazy"))
		ret = bring_in(r, vm, err);
	else
		ret = read_all(r, vm, err);
	return ret ? ret : vm_load_state(vm, r->still.state,
				       r->still.state_bytes, err);
}

int vm_restore_open(struct vm_restore **out, struct vm **vm,
		    const struct cli_parsed *p, const struct vm_config *config)
{
	struct vm_restore *r = calloc(1, sizeof(*r));
	struct tide_error err;
	int ret;

	if (!r)
		return cli_fail(p->command, CLI_FAILED, "no memory");
	*vm = NULL;
	r->order_path = cli_text(p, "order");
	tide_error_clear(&err);
	ret = open_chain(r, cli_text(p, "snapshot"), &err);
	if (!ret)
		ret = check_shape(r, &err);
	if (!ret)
		ret = vm_create_incoming(vm, config, &err);
	if (!ret)
		ret = fill(r, *vm, p, &err);
	if (!ret) {
		*out = r;
		return CLI_OK;
	}
	vm_destroy(*vm);
	vm_restore_end(r);
	*vm = NULL;
	return snapshot_failed(p->command, &err);
}

void vm_restore_end(struct vm_restore *r)
{
	if (!r)
		return;
	if (r->serving)
		lazy_here_end(&r->here);
	free(r->here.lazy.touched);
	free(r->order);
	free(r->devices);
	if (r->opened)
		snap_chain_close(&r->chain);
	free(r);
}
