/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a snapshot is taken of: the process's memory, found and watched, and the
 * newest snapshot of the same shape, which the next one is a delta of.
 *
 * A VMM that stays paused until all is read (ops->until_durable) can do without
 * being watched: then each snapshot reads everything, and compares.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attach/sharers.h"
#include "attach/target.h"
#include "snapshot/capture_parts.h"
#include "snapshot/folder.h"

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

/* A VMM may have handed it over: nothing has to be asked of the process. */
static void take_files(struct snap_capture *c)
{
	for (uint32_t i = 0; c->vmm.ops->memory && i < c->memory.areas; i++) {
		if (c->memory.fd[i] >= 0)
			close(c->memory.fd[i]);
		c->memory.fd[i] = c->vmm.ops->memory(&c->vmm, i);
	}
}

static int look_at_process(struct snap_capture *c, struct tide_error *err)
{
	struct tide__target target = { .name = "" };
	int pid = c->options.pid, ret = 0;

	/* Of another PID namespace. */
	if (pid > 0 || !c->vmm.ops->memory)
		ret = tide__target_look(&target, pid, pid, err);
	memcpy(c->program, target.name, sizeof(c->program));
	return ret;
}

static int find_memory(struct snap_capture *c, struct tide_error *err)
{
	struct tide__ram ram = { .count = 0 };
	int ret = look_at_process(c, err);

	if (!ret && !c->vmm.ops->names_memory)
		ret = find_by_looks(c, &ram, err);
	if (!ret && c->vmm.ops->choose)
		ret = c->vmm.ops->choose(&c->vmm, &ram, err);
	if (!ret && !c->options.ignore_sharers)
		ret = tide__ram_sharer(&ram, c->options.pid, err);
	if (ret)
		return ret;
	snap_memory_open(&c->memory, c->options.pid, &ram);
	take_files(c);
	return 0;
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

static bool same_file(int a, int b)
{
	struct stat x, y;

	return a < 0 || b < 0 || (!fstat(a, &x) && !fstat(b, &y) &&
				  x.st_ino == y.st_ino && x.st_dev == y.st_dev);
}

static bool same_memory(const struct snap_memory *a,
			const struct snap_memory *b)
{
	if (a->areas != b->areas || a->pages != b->pages)
		return false;
	for (uint32_t i = 0; i < a->areas; i++)
		if (a->area[i].address != b->area[i].address ||
		    a->area[i].offset_bytes != b->area[i].offset_bytes ||
		    a->area[i].pages != b->area[i].pages ||
		    !same_file(a->fd[i], b->fd[i]))
			return false;
	return true;
}

static void unwatch(struct snap_capture *c)
{
	tide_source_destroy(c->source);
	tide_slots_destroy(c->slots);
	c->source = NULL;
	c->slots = NULL;
}

static int watch(struct snap_capture *c, struct tide_error *err)
{
	struct tide_source_vm vm = { .struct_size = sizeof(vm), .vm_fd = -1,
				     .pid = c->options.pid };
	struct tide_source_stats stats;
	int ret = 0;

	for (uint32_t i = 0; !ret && i < c->memory.areas; i++)
		if (!c->memory.area[i].address)
			ret = tide_error_set(err, -ENOENT, "snapshot",
					     TIDE_NO_OFFSET, "its memory is not "
					     "found in a process");
	if (!ret && !c->source)
		ret = tide_source_create(&c->source, TIDE_SOURCE_FOREIGN, &vm,
					 err);
	if (!ret)
		ret = make_slots(c, err);
	if (!ret)
		ret = tide_source_start(c->source, c->slots, err);
	if (ret) {
		unwatch(c);
		return ret;
	}
	tide_source_get_stats(c->source, &stats);
	c->stopped_ns = stats.stopped_ns;
	return 0;
}

/* Watch the memory that was found, as nobody knows it. */
static int start(struct snap_capture *c, struct tide_error *err)
{
	int ret;

	c->everything = true;
	tide_error_clear(&c->unwatched);
	ret = tide_set_create(&c->set, c->memory.pages, err);
	if (ret)
		return ret;
	if (!c->vmm.ops->until_durable)
		return watch(c, err);
	watch(c, &c->unwatched);
	return 0;
}

int snap_capture_look(struct snap_capture *c, struct tide_error *err)
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
	if (c->source)
		tide_source_stop(c->source, NULL);
	tide_slots_destroy(c->slots);
	tide_set_destroy(c->set);
	c->slots = NULL;
	c->set = NULL;
	c->parent = (struct snap_id){ { 0 } };
	ret = find_parent(c, err);
	return ret ? ret : start(c, err);
}

static int open_vmm(struct snap_capture *c, struct tide_error *err)
{
	const struct snap_capture_options *o = &c->options;
	const struct vmm_ops *ops = o->qmp ? &vmm_qemu : o->vm ? &vmm_own :
				    o->cloud ? &vmm_cloud : &vmm_process;
	int ret = vmm_open(&c->vmm, ops, o->pid,
			   o->qmp ? o->qmp : o->vm ? o->vm : o->cloud, err);

	c->options.pid = c->vmm.pid;
	c->vmm.memory_only = o->memory_only;
	return ret;
}

int snap_capture_open(struct snap_capture *c,
		      const struct snap_capture_options *options,
		      struct tide_error *err)
{
	int ret;

	*c = (struct snap_capture){ .options = *options, .everything = true };
	c->lock = snap_folder_lock(options->folder, err);
	if (c->lock < 0)
		return c->lock;
	ret = open_vmm(c, err);
	if (!ret)
		ret = find_memory(c, err);
	if (!ret && c->vmm.private_memory && !options->memory_only)
		ret = c->vmm.ops->devices(&c->vmm, NULL, NULL, err);
	if (!ret)
		ret = find_parent(c, err);
	if (!ret)
		ret = start(c, err);
	if (ret)
		snap_capture_close(c);
	return ret;
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

int snap_capture_judge(const struct snap_capture *c, struct tide_error *err)
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
