/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/top/watch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attach/target.h"
#include "base/clock.h"

#define PAGE 4096u
#define RUNS 256

static int find_ram(struct tide__ram *ram, int pid, uint64_t min,
		    struct tide_error *err)
{
	struct tide__maps maps;
	int ret = tide__maps_read(&maps, pid, err);

	if (ret)
		return ret;
	ret = tide__ram_find(ram, &maps, min, err);
	tide__maps_free(&maps);
	return ret;
}

static int fill_slots(struct top_vm *v)
{
	int ret = tide_slots_create(&v->slots, &v->err);

	v->pages = 0;
	for (size_t i = 0; !ret && i < v->ram.count; i++) {
		const struct tide__ram_area *a = &v->ram.area[i];
		struct tide_slot slot = {
			.id = (uint32_t)i, .gpa_bytes = v->pages * PAGE,
			.len_bytes = a->len_bytes,
			.host = (void *)(uintptr_t)a->start,
		};

		ret = tide_slots_insert(v->slots, &slot, &v->err);
		v->pages += a->len_bytes / PAGE;
	}
	return ret;
}

/* The memory as it is now; what was known of it is forgotten. */
static int take_ram(struct top_vm *v)
{
	int ret;

	tide_source_stop(v->source, NULL);
	tide_slots_destroy(v->slots);
	tide_set_destroy(v->set);
	tide_age_destroy(v->age);
	v->slots = NULL;
	v->set = NULL;
	v->age = NULL;
	ret = fill_slots(v);
	if (!ret)
		ret = tide_set_create(&v->set, v->pages, &v->err);
	if (!ret)
		ret = tide_age_create(&v->age, v->pages, &v->err);
	if (!ret)
		ret = tide_source_start(v->source, v->slots, &v->err);
	v->memory_bytes = v->ram.bytes;
	v->looks = 0;
	v->since_ns = tide__now_ns();
	return ret;
}

void top_vm_open(struct top_vm *v, int pid, uint64_t min)
{
	struct tide_source_vm vm = { .vm_fd = -1, .pid = pid };
	struct tide_source_stats stats;
	struct tide__target target;
	int ret;

	memset(v, 0, sizeof(*v));
	v->pid = pid;
	ret = tide__target_look(&target, pid, pid, &v->err);
	if (ret)
		return;
	v->started = target.started;
	memcpy(v->program, target.name, sizeof(v->program));
	ret = find_ram(&v->ram, pid, min, &v->err);
	if (!ret)
		ret = tide_source_create(&v->source, TIDE_SOURCE_FOREIGN, &vm,
					 &v->err);
	if (!ret)
		ret = take_ram(v);
	if (ret)
		return;
	tide_source_get_stats(v->source, &stats);
	v->stopped_ns = stats.stopped_ns;
	tide_error_clear(&v->err);
}

void top_vm_close(struct top_vm *v)
{
	tide_source_destroy(v->source);
	tide_slots_destroy(v->slots);
	tide_set_destroy(v->set);
	tide_age_destroy(v->age);
	v->source = NULL;
	v->slots = NULL;
	v->set = NULL;
	v->age = NULL;
}

static uint64_t resident(int pid)
{
	char path[40], line[128];
	unsigned long long kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmRSS: %llu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib * 1024;
}

static uint64_t first_of_cell(const struct top_vm *v, uint64_t cell)
{
	return v->pages * cell / TOP_CELLS;
}

static void paint(struct top_vm *v, const uint64_t in_cell[TOP_CELLS])
{
	for (uint64_t c = 0; c < TOP_CELLS; c++) {
		uint64_t all = first_of_cell(v, c + 1) - first_of_cell(v, c);
		uint64_t percent = all ? in_cell[c] * 100 / all : 0;

		/* One page of many is not nothing. */
		v->cell[c] = (unsigned char)(in_cell[c] && !percent ? 1
							 : percent);
	}
}

/* The pages of a range, into the cells that it crosses; @cell: of its first. */
static void count_cells(const struct top_vm *v, struct tide_range r,
			uint64_t in_cell[TOP_CELLS], uint64_t *cell)
{
	uint64_t end = r.first + r.count;

	while (r.first < end) {
		uint64_t next = first_of_cell(v, *cell + 1);

		if (next > end)
			next = end;
		if (next > r.first) {
			in_cell[*cell] += next - r.first;
			r.first = next;
		}
		if (r.first < end)
			++*cell;
	}
}

static void take_epoch(struct top_vm *v, const struct tide_epoch *epoch)
{
	uint64_t in_cell[TOP_CELLS] = { 0 }, cursor = 0, cell = 0;
	struct tide_range r[RUNS];
	size_t n;

	tide_age_stamp(v->age, epoch);
	while ((n = tide_epoch_next(epoch, &cursor, r, RUNS)))
		for (size_t i = 0; i < n; i++)
			count_cells(v, r[i], in_cell, &cell);
	paint(v, in_cell);
}

/* Pages that the last looks saw written. */
static uint64_t working(const struct top_vm *v)
{
	uint64_t cut = tide_age_cut(v->age), cursor = 0, pages = 0;
	uint64_t since = cut > TOP_WINDOW ? cut - TOP_WINDOW : 0;
	struct tide_range r[RUNS];
	size_t n;

	while ((n = tide_age_next(v->age, since, NULL, &cursor, r, RUNS)))
		for (size_t i = 0; i < n; i++)
			pages += r[i].count;
	return pages;
}

/*
 * Hotplug, a balloon that gave way: what was not there before is not watched.
 */
static bool same_ram(const struct tide__ram *a, const struct tide__ram *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (a->area[i].start != b->area[i].start ||
		    a->area[i].len_bytes != b->area[i].len_bytes)
			return false;
	return true;
}

void top_vm_look(struct top_vm *v, uint64_t min)
{
	struct tide_source_stats stats;
	struct tide_epoch *epoch;
	struct tide__ram ram;
	uint64_t now;
	int ret;

	if (!v->source || !v->age)
		return;
	ret = find_ram(&ram, v->pid, min, &v->err);
	if (!ret && !same_ram(&ram, &v->ram)) {
		v->ram = ram;
		ret = take_ram(v);
	}
	now = tide__now_ns();
	v->seconds = (double)(now - v->since_ns) / 1e9;
	v->since_ns = now;
	if (!ret)
		ret = tide_source_harvest(v->source, v->set, &v->err);
	v->ended = ret == -ESRCH;
	if (ret)
		return;
	tide_source_get_stats(v->source, &stats);
	v->harvest_ns = stats.last_harvest_ns;
	if (tide_set_cut(v->set, &epoch, &v->err))
		return;
	v->looks++;
	v->dirty_pages = tide_epoch_count(epoch);
	take_epoch(v, epoch);
	tide_epoch_commit(epoch);
	v->working_pages = working(v);
	v->resident_bytes = resident(v->pid);
	tide_error_clear(&v->err);
}

double top_vm_rate(const struct top_vm *v)
{
	return v->seconds > 0 ? (double)v->dirty_pages * PAGE / v->seconds : 0;
}

/*
 * Round by round, as the engine would: what is written while one is sent is
 * the next. It grows with time, but not beyond the pages that are written at
 * all.
 */
struct top_move top_vm_move(const struct top_vm *v, double wire,
			    double downtime_ms)
{
	double left = (double)(v->resident_bytes < v->memory_bytes
				   ? v->resident_bytes : v->memory_bytes);
	double max = (double)v->working_pages * PAGE, rate = top_vm_rate(v);
	struct top_move m = { false, 0, 0 };

	for (int round = 0; round < 30; round++) {
		double took = left / wire, next = rate * took;

		if (took * 1000 <= downtime_ms) {
			m.converges = true;
			break;
		}
		m.seconds += took;
		if (next > max)
			next = max;
		if (round && next >= left * 0.99)
			break;
		left = next;
	}
	m.downtime_ms = left / wire * 1000;
	m.seconds += left / wire;
	return m;
}
