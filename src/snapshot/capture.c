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
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "snapshot/capture_parts.h"
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
	uint64_t paused_at_ns;
	unsigned char now[PIECE * SNAP_PAGE], then[PIECE * SNAP_PAGE];
	struct tide_error *err;
};

static int no_memory(struct tide_error *err)
{
	return tide_error_set(err, -ENOMEM, "snapshot", TIDE_NO_OFFSET,
			      "no memory");
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

/* Without a watch everything is marked already. */
static int harvest(struct taking *t)
{
	struct snap_capture *c = t->c;

	return c->source ? tide_source_harvest(c->source, c->set, t->err) : 0;
}

/* What was written, read where it is; *@pages of it. */
static int one_round(struct taking *t, uint64_t *pages)
{
	struct tide_range range[RUNS];
	struct tide_epoch *epoch;
	uint64_t cursor = 0;
	size_t n;
	int ret = harvest(t);

	if (!ret)
		ret = tide_set_cut(t->c->set, &epoch, t->err);
	if (ret)
		return ret;
	*pages += tide_epoch_count(epoch);
	while (!ret && (n = tide_epoch_next(epoch, &cursor, range, RUNS)))
		for (size_t i = 0; !ret && i < n; i++)
			ret = put_run(t, range[i].first, range[i].count);
	tide_epoch_commit(epoch);
	t->compare = false;
	return ret ? ret : snap_writer_round(&t->w, t->err);
}

/* One round while it runs; *@left: what was written meanwhile. */
static int live_round(struct taking *t, uint64_t *left)
{
	int ret = one_round(t, &t->result->live_pages);

	if (!ret)
		ret = harvest(t);
	*left = tide_set_count(t->c->set);
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
	int ret = harvest(t);

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
	if (!ret && c->source) {
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
	ret = snap_capture_judge(c, err);
	at = tide__now_ns();
	if (!ret && begin)
		ret = begin(opaque, err);
	t->result->disks_ns = tide__now_ns() - at;
	at = tide__now_ns();
	if (!ret && !c->vmm.ops->devices_later)
		ret = take_devices(t, err);
	t->result->devices_ns = tide__now_ns() - at;
	at = tide__now_ns();
	if (!ret && c->vmm.ops->until_durable)
		ret = one_round(t, &t->result->final_pages);
	else if (!ret)
		ret = hold_rest(t);
	t->result->copy_ns = tide__now_ns() - at;
	t->paused_at_ns = start;
	if (c->vmm.ops->until_durable)
		return ret;
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

	for (int i = 0; c->source && !ret && i < LIVE_ROUNDS; i++) {
		ret = live_round(t, &left);
		if (left < LITTLE || left > before / 2)
			break;
		before = left;
	}
	c->runs = 0;
	if (!ret && !c->vmm.ops->until_durable)
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

/* Of a VMM that stays paused so long: now it knows how it ended. */
static void let_go(struct taking *t, int ret)
{
	struct vmm *vmm = &t->c->vmm;

	vmm->durable = !ret;
	vmm_resume(vmm, NULL);
	if (t->paused_at_ns)
		t->result->paused_ns = vmm->resumed_ns - t->paused_at_ns;
	t->result->stood_ns = vmm->stood_ns;
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
	ret = c->set ? snap_capture_look(c, err)
		     : tide_error_set(err, -EIO, "snapshot", TIDE_NO_OFFSET,
				     "its memory changed and could not be "
				     "followed");
	if (!ret)
		ret = take(t, name);
	if (c->vmm.ops->until_durable)
		let_go(t, ret);
	snap_chain_close(&t->parent);
	free(t);
	c->everything = ret || !c->source;
	/* A process gave memory back that was about to be read. */
	return ret == -EFAULT && !c->vmm.ops->choose ? -ESTALE : ret;
}

int snap_capture_take(struct snap_capture *c, const char *name,
		      struct snap_result *result, struct tide_error *err)
{
	uint64_t start;
	int ret = c->vmm.ops->await ? c->vmm.ops->await(&c->vmm, err) : 0;

	if (ret)
		return ret;
	start = tide__now_ns();
	ret = -ESTALE;
	for (int i = 0; i < TRIES && ret == -ESTALE; i++)
		ret = take_once(c, name, result, err);
	result->all_ns = tide__now_ns() - start;
	return ret;
}
