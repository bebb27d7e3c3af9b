/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One page that can be sent to somebody else: what the machine is, how it was
 * asked, and every table with its picture. HTML that is XML, too; nothing
 * beside it is needed.
 */
#include "report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli/output.h"
#include "plot.h"
#include "rivals/rust/rust.h"
#include "tidemark/scan.h"

/* What stands behind @key in the file @path, or its first line if NULL. */
static void first_of(const char *path, const char *key, char *to, size_t room)
{
	char line[512], *value;
	FILE *f = fopen(path, "r");

	snprintf(to, room, "not known");
	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		value = line;
		if (key && strncmp(line, key, strlen(key)))
			continue;
		if (key)
			value += strlen(key) +
				 strspn(line + strlen(key), " \t:");
		snprintf(to, room, "%s", value);
		break;
	}
	if (f)
		fclose(f);
}

static void put_fact(FILE *f, const char *what, const char *value)
{
	fputs("<tr><th>", f);
	bench_plot_text(f, what);
	fputs("</th><td>", f);
	bench_plot_text(f, value);
	fputs("</td></tr>\n", f);
}

static void put_machine(FILE *f)
{
	struct utsname kernel;
	char text[512];

	first_of("/proc/cpuinfo", "model name", text, sizeof(text));
	put_fact(f, "processor", text);
	snprintf(text, sizeof(text), "%ld", sysconf(_SC_NPROCESSORS_ONLN));
	put_fact(f, "cores", text);
	first_of("/proc/meminfo", "MemTotal", text, sizeof(text));
	put_fact(f, "memory", text);
	if (!uname(&kernel)) {
		snprintf(text, sizeof(text), "%s %s %s", kernel.sysname,
			 kernel.release, kernel.machine);
		put_fact(f, "kernel", text);
	}
	first_of("/sys/kernel/mm/transparent_hugepage/enabled", NULL, text,
		 sizeof(text));
	put_fact(f, "huge pages", text);
	first_of("/proc/loadavg", NULL, text, sizeof(text));
	put_fact(f, "load at the end", text);
}

static void put_options(FILE *f, const struct bench_options *o)
{
	char text[256];

	put_fact(f, "tidemark", TIDEMARK_VERSION);
	put_fact(f, "compiler", __VERSION__);
	put_fact(f, "kernels", tide_isa_name());
	put_fact(f, "rivals in Rust", RIVAL_RUST("Rust") ? "yes" : "no rustc");
	snprintf(text, sizeof(text), "%u, seed %" PRIu64 "%s%s%s%s", o->reps,
		 o->seed, o->quick ? ", quick" : "",
		 o->cpu ? ", CPU time" : "", o->plain ? ", plain pages" : "",
		 o->cold ? ", cold" : "");
	put_fact(f, "repetitions", text);
	if (o->guest_bytes) {
		snprintf(text, sizeof(text), "%" PRIu64 " GiB",
			 o->guest_bytes >> 30);
		put_fact(f, "guest", text);
	}
}

int bench_report_write(const char *path, bool force,
		       const struct bench_options *o, struct tide_error *err)
{
	struct output_file out;
	int ret = output_open(&out, path, force, err);
	FILE *f;

	if (ret < 0)
		return ret;
	f = out.file;
	fputs("<!DOCTYPE html>\n<html lang=\"en\"><head>"
	      "<meta charset=\"utf-8\"/>"
	      "<title>tidemark bench</title>\n"
	      "<style>body{font-family:sans-serif;max-width:80em;margin:auto}"
	      "table{border-collapse:collapse}"
	      "td,th{border:1px solid #8884;padding:2px 6px;text-align:right}"
	      "svg{max-width:60em}</style></head>\n<body>"
	      "<h1>tidemark bench</h1>\n<table>\n",
	      f);
	put_machine(f);
	put_options(f, o);
	fputs("</table>\n<p>Medians [quartiles] of whole turns; contestants "
	      "take turns in every repetition. The first one is ours. What "
	      "ends in * was written afresh, to the shape of code that others "
	      "use.</p>\n",
	      f);
	bench_plot_page(f);
	fputs("</body></html>\n", f);
	return output_close(&out, err);
}
