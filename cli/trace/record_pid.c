/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark trace record --pid: any process that can be attached to, recorded
 * from outside, in the folder's form of docs/format-trace.md.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "cli/json_out.h"
#include "cli/top/watch.h"
#include "cli/trace/file.h"
#include "cli/trace/record_pid.h"
#include "tidemark/scan.h"

struct recording {
	struct top_vm vm;
	const char *folder;
	uint64_t *words;
	uint64_t written, interval_ns;
	json_t *rounds;
	struct tide_error err;
};

static void sleep_until(uint64_t ns)
{
	uint64_t now = tide__now_ns();
	struct timespec pause;

	if (now >= ns)
		return;
	pause.tv_sec = (time_t)((ns - now) / 1000000000);
	pause.tv_nsec = (long)((ns - now) % 1000000000);
	nanosleep(&pause, NULL);
}

static int write_round(struct recording *r, uint32_t n)
{
	char path[4096], name[32];
	size_t bytes = (r->vm.pages + 7) / 8;
	FILE *file;
	bool bad;

	trace_round_name(name, n);
	snprintf(path, sizeof(path), "%s/%s", r->folder, name);
	file = fopen(path, "wbx");
	bad = !file || fwrite(r->words, 1, bytes, file) != bytes;
	if (file && fclose(file))
		bad = true;
	return bad ? tide_error_set(&r->err, -errno, "trace", TIDE_NO_OFFSET,
				    "%s: %s", path, strerror(errno)) : 0;
}

/* The first harvest says what was written before we came: it is not kept. */
static int one_round(struct recording *r, uint32_t n, bool keep,
		     uint64_t start)
{
	struct tide_range range[256];
	struct tide_epoch *epoch;
	uint64_t cursor = 0, t0 = tide__now_ns(), pages;
	size_t got;
	int ret = tide_source_harvest(r->vm.source, r->vm.set, &r->err);

	if (!ret)
		ret = tide_set_cut(r->vm.set, &epoch, &r->err);
	if (ret)
		return ret;
	memset(r->words, 0, (r->vm.pages + 63) / 64 * 8);
	while ((got = tide_epoch_next(epoch, &cursor, range, 256)))
		for (size_t i = 0; i < got; i++)
			tide_bitmap_fill(r->words, range[i].first,
					 range[i].count);
	pages = tide_epoch_count(epoch);
	tide_epoch_commit(epoch);
	if (!keep)
		return 0;
	r->written += pages;
	json_array_append_new(r->rounds, json_pack(
	    "{s:I, s:I, s:I}", "t_end_us", (json_int_t)((t0 - start) / 1000),
	    "written", (json_int_t)pages, "scan_us",
	    (json_int_t)((tide__now_ns() - t0) / 1000)));
	return write_round(r, n);
}

static int all_rounds(struct recording *r, uint32_t rounds)
{
	uint64_t start = tide__now_ns();
	int ret = one_round(r, 0, false, start);

	start = tide__now_ns();
	for (uint32_t i = 0; !ret && i < rounds; i++) {
		sleep_until(start + (i + 1) * r->interval_ns);
		ret = one_round(r, i, true, start);
	}
	return ret;
}

static int write_manifest(struct recording *r)
{
	json_t *m = json_pack(
	    "{s:s, s:s, s:I, s:I, s:i, s:I, s:s, s:O}", "workload",
	    r->vm.program, "description", "a process, attached to", "pages",
	    (json_int_t)r->vm.pages, "ram_bytes",
	    (json_int_t)r->vm.memory_bytes, "page_size", 4096, "interval_us",
	    (json_int_t)(r->interval_ns / 1000), "source",
	    tide_source_kind_name(TIDE_SOURCE_FOREIGN), "per_round",
	    r->rounds);
	int ret = m ? trace_write_manifest(r->folder, m, &r->err)
		   : tide_error_set(&r->err, -EINVAL, "trace", TIDE_NO_OFFSET,
				    "its name is no text");

	json_decref(m);
	return ret;
}

static int record(struct recording *r, int pid, const struct cli_parsed *p)
{
	int ret = trace_clear(r->folder, cli_flag(p, "force"), &r->err);

	if (ret)
		return ret;
	top_vm_open(&r->vm, pid, 0);
	if (r->vm.err.code) {
		r->err = r->vm.err;
		return r->err.code;
	}
	r->words = calloc((r->vm.pages + 63) / 64, 8);
	r->rounds = json_array();
	if (!r->words || !r->rounds)
		return tide_error_set(&r->err, -ENOMEM, "trace",
				      TIDE_NO_OFFSET, "no memory");
	ret = all_rounds(r, (uint32_t)cli_number(p, "rounds"));
	return ret ? ret : write_manifest(r);
}

int trace_record_pid(const struct cli_parsed *p, const char *folder)
{
	struct recording *r = calloc(1, sizeof(*r));
	int code = CLI_OK;

	if (!r)
		return cli_fail(p->command, CLI_FAILED, "no memory");
	r->folder = folder;
	r->interval_ns = cli_number(p, "interval") * 1000000;
	if (record(r, (int)cli_number(p, "pid"), p))
		code = cli_fail(p->command, CLI_REFUSED, "%s", r->err.text);
	else if (cli_flag(p, "json"))
		printf("{ \"rounds\": %zu, \"pages\": %llu }\n",
		       json_array_size(r->rounds),
		       (unsigned long long)r->written);
	else
		printf("%zu rounds, %llu pages written\n",
		       json_array_size(r->rounds),
		       (unsigned long long)r->written);
	top_vm_close(&r->vm);
	json_decref(r->rounds);
	free(r->words);
	free(r);
	return code;
}
