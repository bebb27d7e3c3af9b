/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/progress.h"

#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#define BAR 20

static long long integer(const json_t *round, const char *name)
{
	return (long long)json_integer_value(json_object_get(round, name));
}

static double real(const json_t *round, const char *name)
{
	return json_real_value(json_object_get(round, name));
}

static void put_bar(const json_t *round)
{
	long long total = integer(round, "pages_total");
	long long done = integer(round, "pages");
	int filled = total ? (int)(done * BAR / total) : BAR;

	if (filled > BAR)
		filled = BAR;
	putchar('[');
	for (int i = 0; i < BAR; i++)
		putchar(i < filled ? '#' : '.');
	printf("] ");
}

void progress_round(const json_t *round)
{
	bool finished = json_is_true(json_object_get(round, "finished"));
	bool terminal = isatty(STDOUT_FILENO);
	int throttle = (int)integer(round, "throttle_percent");

	if (!finished && !terminal)
		return;
	if (terminal) {
		printf("\r\033[K");
		put_bar(round);
	}
	printf("round %2lld %-5s %7lld pages %6lld ranges %8.1f MB "
	       "%6.0f MB/s  dirty %6lld/s",
	       integer(round, "number"),
	       json_string_value(json_object_get(round, "kind")),
	       integer(round, "pages"), integer(round, "ranges"),
	       (double)integer(round, "bytes") / 1e6,
	       (double)integer(round, "bytes_per_s") / 1e6,
	       integer(round, "dirty_pages_per_s"));
	if (real(round, "predicted_downtime_ms") > 0)
		printf("  downtime if stopped now %.1f ms",
		       real(round, "predicted_downtime_ms"));
	if (throttle)
		printf("  throttled %d %%", throttle);
	if (finished)
		putchar('\n');
	fflush(stdout);
}

void progress_end(void)
{
	if (isatty(STDOUT_FILENO))
		printf("\r\033[K");
}
