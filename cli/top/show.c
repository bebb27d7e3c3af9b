/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/top/show.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/json_out.h"

#define MIB 1048576.0

static int by_pid(const void *a, const void *b)
{
	return ((const struct top_vm *)a)->pid -
	       ((const struct top_vm *)b)->pid;
}

static int by_memory(const void *a, const void *b)
{
	const struct top_vm *x = a, *y = b;

	if (x->memory_bytes == y->memory_bytes)
		return by_pid(a, b);
	return x->memory_bytes > y->memory_bytes ? -1 : 1;
}

static int by_rate(const void *a, const void *b)
{
	double x = top_vm_rate(a), y = top_vm_rate(b);

	return x > y ? -1 : x < y ? 1 : by_pid(a, b);
}

void top_sort(struct top_vm *vm, size_t count, char order)
{
	if (count)
		qsort(vm, count, sizeof(*vm), order == 'p' ? by_pid :
					      order == 'm' ? by_memory :
							     by_rate);
}

/* A letter a cell: nothing, a page or more, an eighth, ..., all. */
static void strip(char to[TOP_CELLS + 1], const struct top_vm *v)
{
	static const char scale[] = " .:-=+*#@";

	for (int i = 0; i < TOP_CELLS; i++) {
		unsigned int c = v->cell[i];

		to[i] = scale[c ? 1 + (c * 7 + 50) / 100 : 0];
	}
	to[TOP_CELLS] = 0;
}

static void move_text(char *to, size_t room, const struct top_vm *v,
		      const struct top_view *view)
{
	struct top_move m = top_vm_move(v, view->wire_bytes_per_s,
					view->downtime_ms);

	if (m.converges)
		snprintf(to, room, "%.1fs", m.seconds);
	else
		snprintf(to, room, "no:%.0fms", m.downtime_ms);
}

static void heading(void)
{
	printf("%7s %-15s %8s %8s %9s %8s %9s %6s", "PID", "PROGRAM",
	       "MEM MiB", "RES MiB", "DIRTY/s", "WSS MiB", "MOVE", "%DIRTY");
}

static void line(const struct top_vm *v, const struct top_view *view)
{
	char shown[CLI_SHOWN], move[32];

	printf("%7d %-15.15s ", v->pid, cli_show(shown, v->program));
	if (v->err.code || !v->looks) {
		printf("%s", v->err.code ? v->err.text : "-");
		return;
	}
	move_text(move, sizeof(move), v, view);
	printf("%8.0f %8.0f %8.1fM %8.1f %9s %6.2f",
	       (double)v->memory_bytes / MIB, (double)v->resident_bytes / MIB,
	       top_vm_rate(v) / MIB, (double)v->working_pages * 4096 / MIB,
	       move, 100.0 * (double)v->dirty_pages / (double)v->pages);
}

void top_show_plain(const struct top_vm *vm, size_t count,
		    const struct top_view *view)
{
	char cells[TOP_CELLS + 1];

	heading();
	printf("  WRITTEN\n");
	for (size_t i = 0; i < count; i++) {
		line(&vm[i], view);
		if (!vm[i].err.code && vm[i].looks) {
			strip(cells, &vm[i]);
			printf("  |%s|", cells);
		}
		putchar('\n');
	}
	fflush(stdout);
}

static void put_vm(struct cli_json *j, const struct top_vm *v,
		   const struct top_view *view)
{
	struct top_move m = top_vm_move(v, view->wire_bytes_per_s,
					view->downtime_ms);

	cli_json_object(j, NULL);
	cli_json_number(j, "pid", (uint64_t)v->pid);
	cli_json_text(j, "program", v->program);
	cli_json_text(j, "error", v->err.code ? v->err.text : "");
	cli_json_number(j, "memory_bytes", v->memory_bytes);
	cli_json_number(j, "resident_bytes", v->resident_bytes);
	cli_json_number(j, "dirty_pages", v->dirty_pages);
	cli_json_real(j, "dirty_bytes_per_s", top_vm_rate(v));
	cli_json_number(j, "working_set_bytes", v->working_pages * 4096);
	cli_json_number(j, "working_set_looks", v->looks < TOP_WINDOW
						    ? v->looks : TOP_WINDOW);
	cli_json_real(j, "seconds", v->seconds);
	cli_json_number(j, "attach_us", v->stopped_ns / 1000);
	cli_json_number(j, "harvest_us", v->harvest_ns / 1000);
	cli_json_object(j, "migration");
	cli_json_bool(j, "converges", m.converges);
	cli_json_real(j, "seconds", m.seconds);
	cli_json_real(j, "downtime_ms", m.downtime_ms);
	cli_json_close(j);
	cli_json_array(j, "written_percent");
	for (int i = 0; i < TOP_CELLS; i++)
		cli_json_number(j, NULL, v->cell[i]);
	cli_json_close(j);
	cli_json_close(j);
}

void top_show_json(const struct cli_command *command, const struct top_vm *vm,
		   size_t count, const struct top_view *view)
{
	struct cli_json j;

	cli_json_begin(&j, stdout);
	cli_json_object(&j, NULL);
	cli_json_array(&j, "vms");
	for (size_t i = 0; i < count; i++)
		put_vm(&j, &vm[i], view);
	cli_json_close(&j);
	cli_json_close(&j);
	cli_json_end(&j, command);
	fflush(stdout);
}

/* Cells as blocks whose height is the share written. */
static void blocks(const struct top_vm *v, int width)
{
	static const char *const block[] = { " ", "▁", "▂", "▃", "▄",
					     "▅", "▆", "▇", "█" };

	for (int i = 0; i < TOP_CELLS && i < width; i++) {
		unsigned int c = v->cell[i];

		fputs(block[c ? 1 + (c * 7 + 50) / 100 : 0], stdout);
	}
}

void top_show_screen(const struct top_vm *vm, size_t count,
		     const struct top_view *view, int rows, int columns)
{
	int row = 3;

	printf("\033[H\033[Ktidemark top: %zu VM%s, every %.1f s, wire "
	       "%.0f MiB/s   q end  d m p order\n\033[K\n\033[7m", count,
	       count == 1 ? "" : "s", view->interval_s,
	       view->wire_bytes_per_s / MIB);
	heading();
	printf("\033[K\033[0m\n");
	for (size_t i = 0; i < count && row + 1 < rows; i++, row += 2) {
		bool hot = !vm[i].err.code && vm[i].looks &&
			   !top_vm_move(&vm[i], view->wire_bytes_per_s,
					view->downtime_ms).converges;

		printf("%s", hot ? "\033[33m" : "");
		line(&vm[i], view);
		printf("\033[0m\033[K\n        \033[36m");
		blocks(&vm[i], columns - 9);
		printf("\033[0m\033[K%s", row + 2 < rows ? "\n" : "");
	}
	printf("\033[J");
	fflush(stdout);
}
