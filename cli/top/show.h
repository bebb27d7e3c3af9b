/* SPDX-License-Identifier: BSD-2-Clause */
/* What top writes: a table on a terminal, plain lines, or JSON. */
#ifndef CLI_TOP_SHOW_H
#define CLI_TOP_SHOW_H

#include "cli/options.h"
#include "cli/top/watch.h"

struct top_view {
	double wire_bytes_per_s, downtime_ms, interval_s;
	char order;	/* d: dirty rate, m: memory, p: pid */
};

void top_sort(struct top_vm *vm, size_t count, char order);
void top_show_plain(const struct top_vm *vm, size_t count,
		    const struct top_view *view);
void top_show_json(const struct cli_command *command, const struct top_vm *vm,
		   size_t count, const struct top_view *view);
/* Fits into @rows and @columns, from the upper left corner. */
void top_show_screen(const struct top_vm *vm, size_t count,
		     const struct top_view *view, int rows, int columns);

#endif
