/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One VM that is looked at: attached to, harvested every so often, and what the
 * harvests say of it.
 */
#ifndef CLI_TOP_WATCH_H
#define CLI_TOP_WATCH_H

#include "attach/ram.h"
#include "tidemark/age.h"
#include "tidemark/dirty.h"
#include "tidemark/slots.h"
#include "tidemark/source.h"

#define TOP_CELLS 64		/* of the strip */
#define TOP_WINDOW 10		/* looks that make a working set */

struct top_vm {
	int pid;
	uint64_t started;	/* tells it from a later one of that pid */
	char program[64];
	struct tide__ram ram;
	struct tide_source *source;
	struct tide_slots *slots;
	struct tide_set *set;
	struct tide_age *age;	/* which look saw a page written last */
	uint64_t pages, looks;
	uint64_t since_ns;	/* the look before */

	/* What the last look said. */
	uint64_t memory_bytes, resident_bytes;
	uint64_t dirty_pages, working_pages;
	double seconds;		/* it stands for */
	unsigned char cell[TOP_CELLS];	/* percent of its pages written */
	uint64_t harvest_ns, stopped_ns;
	struct tide_error err;	/* code 0: all well */
	bool ended;
};

/* What a migration over a wire would be. */
struct top_move {
	bool converges;
	double seconds, downtime_ms;
};

/* On failure v->err says why; the VM is listed with it. */
void top_vm_open(struct top_vm *v, int pid, uint64_t min_bytes);
void top_vm_close(struct top_vm *v);
void top_vm_look(struct top_vm *v, uint64_t min_bytes);
double top_vm_rate(const struct top_vm *v);	/* bytes a second */
struct top_move top_vm_move(const struct top_vm *v, double wire_bytes_per_s,
			    double downtime_ms);

/* Processes that hold a VM of KVM, or whose program is a known VMM's: how
 * many of @pids were filled. */
size_t top_find(int *pids, size_t max);

#endif
