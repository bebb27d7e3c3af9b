/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rounds of a snapshot.
 *
 * While the VM runs: harvest, cut, copy, up to five times, until what is left
 * is little. Then it stands: the devices give their state (which may still
 * write to memory), the last harvest, its pages are copied into a buffer, and
 * it runs again. Only then they are compressed and written. Disks that are to
 * be of the same moment begin in it, and are whole before the file gets its
 * name. All memory in the file is that of the pause: each page that was copied
 * before and written again is in a later round, which wins.
 *
 * A snapshot that fails has taken marks out of the set; so everything is
 * marked, and the next one compares with its parent what it cannot know.
 */
#include "snapshot/capture.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "attach/sharers.h"
#include "attach/target.h"
#include "base/clock.h"
#include "snapshot/folder.h"

#define PIECE 256u		/* pages at once */
#define LITTLE 128u		/* pages that may be left for the pause */
#define ROOM 2048u		/* and how many it has room for at least */
#define TRIES 5	/* of one whose memory changes its shape meanwhile */
#define LIVE_ROUNDS 4
#define RUNS 256

struct taking {
	struct snap_capture *c;
	struct snap_writer w;
	struct snap_chain parent;
	bool compare;		/* with @parent; first round only */
	struct snap_result *result;
	const char *name;
	void *devices;
	size_t devices_n;
	unsigned char now[PIECE * SNAP_PAGE], then[PIECE * SNAP_PAGE];
	struct tide_error *err;
};

static int no_memory(struct tide_error *err)
{
	return tide_error_set(err, -ENOMEM, "snapshot", TIDE_NO_OFFSET,
			      "no memory");
}

static int make_slots(struct snap_capture *c, struct tide_error *err)
{
	int ret = tide_slots_create(&c->slots, err);

	for (uint32_t i = 0; !ret && i < c->memory.areas; i++) {
		const struct snap_area *a = &c->memory.area[i];
		struct tide_slot slot = {
			.id = i, .gpa_bytes = a->first_page * SNAP_PAGE,
			.len_bytes = a->pages * SNAP_PAGE,
			.host = (void *)(uintptr_t)a->address,
		};

		ret = tide_slots_insert(c->slots, &slot, err);
	}
	if (!ret)
		ret = tide_set_create(&c->set, c->memory.pages, err);
	return ret;
}

static int find_by_looks(const struct snap_capture *c, struct tide__ram *ram,
			 struct tide_error *err)
{
	struct tide__maps maps;
	int ret = tide__maps_read(&maps, c->options.pid, err);

	if (ret)
		return ret;
	ret = tide__ram_find(ram, &maps, c->options.min_bytes, err);
	tide__maps_free(&maps);
	return ret;
}

static int find_memory(struct snap_capture *c, struct tide_error *err)
{
	struct tide__target target;
	struct tide__ram ram = { .count = 0 };
	int ret = tide__target_look(&target, c->options.pid, c->options.pid,
				    err);

	if (ret)
		return ret;
	memcpy(c->program, target.name, sizeof(c->program));
	if (!c->vmm.ops->names_memory)
		ret = find_by_looks(c, &ram, err);
	if (!ret && c->vmm.ops->choose)
		ret = c->vmm.ops->choose(&c->vmm, &ram, err);
	if (!ret && !c->options.ignore_sharers)
		ret = tide__ram_sharer(&ram, c->options.pid, err);
	if (!ret)
		snap_memory_open(&c->memory, c->options.pid, &ram);
	return ret;
}

static bool fits(const struct snap_capture *c, const struct snap_chain *chain)
{
	const struct snap_header *h = snap_chain_header(chain);

	if (h->areas != c->memory.areas || h->pages != c->memory.pages)
		return false;
	for (uint32_t i = 0; i < h->areas; i++)
		if (snap_chain_areas(chain)[i].pages !=
		    c->memory.area[i].pages)
			return false;
	return true;
}

/* The newest that is whole and of this shape; none is no error. */
static int find_parent(struct snap_capture *c, struct tide_error *err)
{
	struct snap_folder f;
	struct snap_chain chain;
	int ret = snap_folder_read(&f, c->options.folder, err);

	for (size_t i = ret ? 0 : f.count; i-- > 0;) {
		if (c->sequence < f.entry[i].header.sequence)
			c->sequence = f.entry[i].header.sequence;
		if (!snap_id_is_zero(&c->parent) ||
		    snap_chain_open(&chain, f.path, f.entry[i].name, NULL))
			continue;
		if (fits(c, &chain))
			c->parent = f.entry[i].header.id;
		snap_chain_close(&chain);
	}
	if (!ret)
		snap_folder_free(&f);
	return ret;
}

static bool same_memory(const struct snap_memory *a,
			const struct snap_memory *b)
{
	if (a->areas != b->areas || a->pages != b->pages)
		return false;
	for (uint32_t i = 0; i < a->areas; i++)
		if (a->area[i].address != b->area[i].address ||
		    a->area[i].pages != b->area[i].pages)
			return false;
	return true;
}

/* Watch the memory that was found, as nobody knows it. */
static int start(struct snap_capture *c, struct tide_error *err)
{
	int ret = make_slots(c, err);

	c->everything = true;
	return ret ? ret : tide_source_start(c->source, c->slots, err);
}

/*
 * Memory that was plugged in since, or mapped anew, is not watched: what was
 * known holds no more. Of another shape it is a new chain, too.
 */
static int look_again(struct snap_capture *c, struct tide_error *err)
{
	struct snap_memory before = c->memory;
	int ret;

	c->memory = (struct snap_memory){ 0 };
	ret = find_memory(c, err);
	if (ret || same_memory(&before, &c->memory)) {
		snap_memory_close(&c->memory);
		c->memory = before;
		return ret;
	}
	snap_memory_close(&before);
	tide_source_stop(c->source, NULL);
	tide_slots_destroy(c->slots);
	tide_set_destroy(c->set);
	c->slots = NULL;
	c->set = NULL;
	c->parent = (struct snap_id){ { 0 } };
	ret = find_parent(c, err);
	return ret ? ret : start(c, err);
}

int snap_capture_open(struct snap_capture *c,
		      const struct snap_capture_options *options,
		      struct tide_error *err)
{
	struct tide_source_vm vm = { .struct_size = sizeof(vm), .vm_fd = -1 };
	struct tide_source_stats stats;
	int ret;

	*c = (struct snap_capture){ .options = *options, .everything = true };
	c->lock = snap_folder_lock(options->folder, err);
	if (c->lock < 0)
		return c->lock;
	ret = vmm_open(&c->vmm, options->pid, options->qmp, options->vm,
		       err);
	c->options.pid = vm.pid = c->vmm.pid;
	c->vmm.memory_only = options->memory_only;
	if (!ret)
		ret = find_memory(c, err);
	if (!ret && c->vmm.private_memory && !options->memory_only)
		ret = c->vmm.ops->devices(&c->vmm, NULL, NULL, err);
	if (!ret)
		ret = find_parent(c, err);
	if (!ret)
		ret = tide_source_create(&c->source, TIDE_SOURCE_FOREIGN, &vm,
					 err);
	if (!ret)
		ret = start(c, err);
	if (ret) {
		snap_capture_close(c);
		return ret;
	}
	tide_source_get_stats(c->source, &stats);
	c->stopped_ns = stats.stopped_ns;
	return 0;
}

void snap_capture_close(struct snap_capture *c)
{
	vmm_close(&c->vmm);
	tide_source_destroy(c->source);
	tide_slots_destroy(c->slots);
	tide_set_destroy(c->set);
	snap_memory_close(&c->memory);
	if (c->held)
		munmap(c->held, c->held_room);
	free(c->run);
	if (c->lock >= 0)
		close(c->lock);
	*c = (struct snap_capture){ .lock = -1 };
}

/* Of a piece that was read, what its parent has not. */
static int put_changed(struct taking *t, uint64_t page, uint64_t count)
{
	uint64_t from = 0;
	int ret = snap_chain_read(&t->parent, page, count, t->then, t->err);

	for (uint64_t i = 0; !ret && i <= count; i++) {
		if (i < count && memcmp(t->now + i * SNAP_PAGE,
					t->then + i * SNAP_PAGE, SNAP_PAGE))
			continue;
		if (i > from)
			ret = snap_writer_pages(&t->w, page + from, i - from,
						t->now + from * SNAP_PAGE,
						t->err);
		from = i + 1;
	}
	return ret;
}

/* Memory that was never touched is zeroes, and stays untouched. */
static int put_run(struct taking *t, uint64_t page, uint64_t count)
{
	int ret = 0;

	while (!ret && count) {
		uint64_t n = snap_memory_holes(&t->c->memory, page, count);

		if (n && (!t->compare ||
			  snap_chain_zeroes(&t->parent, page) >= n)) {
			if (!t->compare)
				ret = snap_writer_zeroes(&t->w, page, n,
							 t->err);
		} else {
			n = count < PIECE ? count : PIECE;
			ret = snap_memory_read(&t->c->memory, page, n, t->now,
					       t->err);
			if (!ret && t->compare)
				ret = put_changed(t, page, n);
			else if (!ret)
				ret = snap_writer_pages(&t->w, page, n, t->now,
							t->err);
		}
		page += n;
		count -= n;
	}
	return ret;
}

/* One round while it runs; *@left: what was written meanwhile. */
static int live_round(struct taking *t, uint64_t *left)
{
	struct snap_capture *c = t->c;
	struct tide_range range[RUNS];
	struct tide_epoch *epoch;
	uint64_t cursor = 0;
	size_t n;
	int ret = tide_source_harvest(c->source, c->set, t->err);

	if (!ret)
		ret = tide_set_cut(c->set, &epoch, t->err);
	if (ret)
		return ret;
	t->result->live_pages += tide_epoch_count(epoch);
	while (!ret && (n = tide_epoch_next(epoch, &cursor, range, RUNS)))
		for (size_t i = 0; !ret && i < n; i++)
			ret = put_run(t, range[i].first, range[i].count);
	tide_epoch_commit(epoch);
	if (!ret)
		ret = snap_writer_round(&t->w, t->err);
	if (!ret)
		ret = tide_source_harvest(c->source, c->set, t->err);
	*left = tide_set_count(c->set);
	return ret;
}

/* The buffer of the pause, and its pages, are made before it. */
static int make_room(struct snap_capture *c, uint64_t pages,
		     struct tide_error *err)
{
	size_t bytes = pages * SNAP_PAGE;

	if (bytes > c->held_room) {
		void *more = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
				  -1, 0);

		if (more == MAP_FAILED)
			return no_memory(err);
		if (c->held)
			munmap(c->held, c->held_room);
		c->held = more;
		c->held_room = bytes;
	}
	return 0;
}

static int hold_run(struct snap_capture *c, uint64_t *held,
		    const struct tide_range *r, struct tide_error *err)
{
	if (c->runs == c->run_room) {
		size_t room = c->run_room ? 2 * c->run_room : 1024;
		void *more = realloc(c->run, room * sizeof(*c->run));

		if (!more)
			return no_memory(err);
		c->run = more;
		c->run_room = room;
	}
	c->run[c->runs++] = *r;
	*held += r->count;
	return snap_memory_read(&c->memory, r->first, r->count,
				c->held + (*held - r->count) * SNAP_PAGE, err);
}

/* While it stands: what was written since the last round, into the buffer. */
static int hold_rest(struct taking *t)
{
	struct snap_capture *c = t->c;
	struct tide_range range[RUNS];
	struct tide_epoch *epoch;
	uint64_t cursor = 0, held = 0;
	size_t n;
	int ret = tide_source_harvest(c->source, c->set, t->err);

	if (!ret)
		ret = tide_set_cut(c->set, &epoch, t->err);
	if (ret)
		return ret;
	t->result->final_pages = tide_epoch_count(epoch);
	/* Usually it was made large enough. */
	ret = make_room(c, t->result->final_pages, t->err);
	c->runs = 0;
	while (!ret && (n = tide_epoch_next(epoch, &cursor, range, RUNS)))
		for (size_t i = 0; !ret && i < n; i++)
			ret = hold_run(c, &held, &range[i], t->err);
	tide_epoch_commit(epoch);
	return ret;
}

/*
 * It stands: is its memory what is watched? A process maps what it likes; a
 * VMM that names its memory has it plugged by somebody who can wait.
 */
static int is_all_watched(const struct snap_capture *c, struct tide_error *err)
{
	struct snap_memory now = { 0 };
	struct tide__ram ram;
	int ret;

	if (c->vmm.ops->choose)
		return 0;
	ret = find_by_looks(c, &ram, err);
	if (ret)
		return ret;
	snap_memory_open(&now, c->options.pid, &ram);
	if (!same_memory(&c->memory, &now))
		ret = tide_error_set(err, -ESTALE, "snapshot", TIDE_NO_OFFSET,
				     "memory was mapped or given back while the "
				     "snapshot was taken");
	snap_memory_close(&now);
	return ret;
}

static int take_devices(struct taking *t, struct tide_error *err)
{
	struct vmm *vmm = &t->c->vmm;

	if (!vmm->ops->devices || t->c->options.memory_only)
		return 0;
	return vmm->ops->devices(vmm, &t->devices, &t->devices_n, err);
}

/* A snap_moment. The disks begin while the VMM is at its devices. */
static int stand_still(void *taking,
		       int (*begin)(void *opaque, struct tide_error *err),
		       void *opaque, struct tide_error *err)
{
	struct taking *t = taking;
	struct snap_capture *c = t->c;
	uint64_t start = tide__now_ns(), at, left;
	int ret = vmm_prepare(&c->vmm, err), rc2;

	/* To prepare takes the longer the more the VMM has to be asked. */
	if (!ret) {
		ret = live_round(t, &left);
		if (ret)
			vmm_resume(&c->vmm, NULL);
	}
	if (!ret) {
		start = tide__now_ns();
		ret = vmm_pause(&c->vmm, err);
	}
	if (ret)
		return ret;
	ret = is_all_watched(c, err);
	at = tide__now_ns();
	if (!ret && begin)
		ret = begin(opaque, err);
	t->result->disks_ns = tide__now_ns() - at;
	at = tide__now_ns();
	if (!ret && !c->vmm.ops->devices_later)
		ret = take_devices(t, err);
	t->result->devices_ns = tide__now_ns() - at;
	at = tide__now_ns();
	if (!ret)
		ret = hold_rest(t);
	t->result->copy_ns = tide__now_ns() - at;
	rc2 = vmm_resume(&c->vmm, ret ? NULL : err);
	t->result->paused_ns = (c->vmm.resumed_ns ? c->vmm.resumed_ns
						 : tide__now_ns()) - start;
	t->result->stood_ns = c->vmm.stood_ns;
	ret = ret ? ret : rc2;
	if (!ret && c->vmm.ops->devices_later)
		ret = take_devices(t, err);
	return ret;
}

static int write_held(struct taking *t)
{
	const unsigned char *at = t->c->held;
	int ret = 0;

	for (size_t i = 0; !ret && i < t->c->runs; i++) {
		const struct tide_range *r = &t->c->run[i];

		ret = snap_writer_pages(&t->w, r->first, r->count, at, t->err);
		at += r->count * SNAP_PAGE;
	}
	return ret ? ret : snap_writer_round(&t->w, t->err);
}

static int rounds(struct taking *t)
{
	struct snap_capture *c = t->c;
	uint64_t left = 0, before = UINT64_MAX;
	int ret = 0;

	for (int i = 0; !ret && i < LIVE_ROUNDS; i++) {
		ret = live_round(t, &left);
		t->compare = false;
		if (left < LITTLE || left > before / 2)
			break;
		before = left;
	}
	if (!ret)
		ret = make_room(c, 2 * left + ROOM, t->err);
	if (!ret && c->options.disks)
		ret = c->options.disks(c->options.opaque, t->name,
				       &t->w.header.id, stand_still, t, t->err);
	else if (!ret)
		ret = stand_still(t, NULL, NULL, t->err);
	if (!ret)
		ret = write_held(t);
	if (!ret)
		ret = snap_writer_devices(&t->w, t->devices, t->devices_n,
					  t->err);
	t->result->devices_bytes = t->devices_n;
	free(t->devices);
	return ret;
}

static uint64_t wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) +
	       (uint64_t)ts.tv_nsec;
}

/* Whether the parent is still there; its pages, if everything is compared. */
static int open_parent(struct taking *t)
{
	struct snap_capture *c = t->c;
	const struct snap_entry *e;
	struct snap_folder f;
	int ret = snap_folder_read(&f, c->options.folder, t->err);

	if (ret)
		return ret;
	e = snap_id_is_zero(&c->parent) ? NULL
					: snap_folder_with(&f, &c->parent);
	if (!e || (c->everything &&
		   snap_chain_open(&t->parent, f.path, e->name, NULL))) {
		c->parent = (struct snap_id){ { 0 } };
		c->everything = true;
	} else {
		t->compare = c->everything;
	}
	snap_folder_free(&f);
	if (c->everything)
		tide_set_mark_range(c->set, 0, c->memory.pages);
	return 0;
}

static int take(struct taking *t, const char *name)
{
	struct snap_capture *c = t->c;
	struct snap_header h = {
		.sequence = c->sequence + 1, .created_ns = wall_ns(),
		.pages = c->memory.pages, .areas = c->memory.areas,
	};
	int ret = open_parent(t);

	if (ret)
		return ret;
	h.parent = c->parent;
	t->result->base = snap_id_is_zero(&h.parent);
	memcpy(h.program, c->program, sizeof(h.program));
	if (getrandom(&h.id, sizeof(h.id), 0) != (ssize_t)sizeof(h.id))
		ret = tide_error_set(t->err, -EIO, "snapshot", TIDE_NO_OFFSET,
				     "no random numbers");
	if (!ret)
		ret = snap_writer_open(&t->w, c->options.folder, name, false,
				       &h, c->memory.area, t->err);
	if (ret)
		return ret;
	ret = rounds(t);
	t->result->pages = t->w.pages;
	if (ret)
		snap_writer_drop(&t->w);
	else
		ret = snap_writer_commit(&t->w, false, t->err);
	t->result->file_bytes = t->w.footer.file_bytes;
	if (!ret) {
		c->parent = h.id;
		c->sequence = h.sequence;
	}
	return ret;
}

static int take_once(struct snap_capture *c, const char *name,
		     struct snap_result *result, struct tide_error *err)
{
	struct taking *t = calloc(1, sizeof(*t));
	int ret;

	if (!t)
		return no_memory(err);
	*result = (struct snap_result){ 0 };
	t->c = c;
	t->result = result;
	t->name = name;
	t->err = err;
	ret = c->set ? look_again(c, err)
		    : tide_error_set(err, -EIO, "snapshot", TIDE_NO_OFFSET,
				     "its memory changed and could not be "
				     "followed");
	if (!ret)
		ret = take(t, name);
	snap_chain_close(&t->parent);
	free(t);
	c->everything = ret != 0;
	/* A process gave memory back that was about to be read. */
	return ret == -EFAULT && !c->vmm.ops->choose ? -ESTALE : ret;
}

int snap_capture_take(struct snap_capture *c, const char *name,
		      struct snap_result *result, struct tide_error *err)
{
	uint64_t start = tide__now_ns();
	int ret = -ESTALE;

	for (int i = 0; i < TRIES && ret == -ESTALE; i++)
		ret = take_once(c, name, result, err);
	result->all_ns = tide__now_ns() - start;
	return ret;
}
