/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark scan on two files, with options of the input's choice. What it says
 * is held against counting bit by bit, or number by number.
 *
 * Input: a byte of how, one of the gap, two of --pages, the length of the first
 * file in two bytes, the first file, the second.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "cli/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

extern const struct cli_command cli_scan;

enum { NUMBERS = 1, JSON = 2, BYTES = 4, BINARY = 8, COUNT = 16, TWO = 32 };

#define MAX_PAGES (1u << 22)

static uint8_t is_dirty[MAX_PAGES];
static uint32_t top;	/* none is dirty from here on */
static bool too_high;	/* some page is: nothing to compare with */

struct file {
	int fd;
	char path[64];
};

static void make(struct file *f)
{
	f->fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (f->fd < 0)
		abort();
	snprintf(f->path, sizeof(f->path), "/proc/self/fd/%d", f->fd);
}

static void fill(struct file *f, const uint8_t *bytes, size_t len)
{
	if (ftruncate(f->fd, 0) || pwrite(f->fd, bytes, len, 0) != (ssize_t)len)
		abort();
}

/* Standard output goes into @out from here on; returns what it was. */
static void catch_output(struct file *out)
{
	make(out);
	fflush(stdout);
	if (dup2(out->fd, STDOUT_FILENO) < 0)
		abort();
}

static void mark(uint64_t page)
{
	if (page >= MAX_PAGES) {
		too_high = true;
		return;
	}
	is_dirty[page] = 1;
	if (page >= top)
		top = (uint32_t)page + 1;
}

static void mark_bits(const uint8_t *at, size_t len, uint64_t pages)
{
	for (size_t i = 0; i < len * 8; i++)
		if ((!pages || i < pages) && at[i / 8] >> i % 8 & 1)
			mark(i);
}

static void mark_numbers(const uint8_t *at, size_t len)
{
	for (; len >= 8; at += 8, len -= 8)
		mark(tide__get_le(at, 8));
}

static uint64_t count_dirty(uint64_t gap)
{
	uint64_t n = 0, clean = 0;
	bool begun = false;

	for (uint32_t i = 0; i < top; i++) {
		if (!is_dirty[i]) {
			clean++;
			continue;
		}
		n += 1 + (begun && clean <= gap ? clean : 0);
		begun = true;
		clean = 0;
	}
	return n;
}

static int run(char **argv, int argc)
{
	struct cli_parsed p;
	int code;

	if (!cli_parse(&cli_scan, argc, argv, &p, &code))
		return -1;
	return cli_scan.run(&p);
}

/* The sum of --count --json, which is always asked for at the end. */
static void compare(const struct file *out, uint64_t gap)
{
	char text[256] = "";
	unsigned long long ranges, pages;

	if (pread(out->fd, text, sizeof(text) - 1, 0) < 0 ||
	    sscanf(text, "{ \"range_count\": %llu, \"dirty_pages\": %llu }",
		   &ranges, &pages) != 2)
		abort();
	if (pages != count_dirty(gap) || ranges > pages)
		abort();
}

static void ask(unsigned int how, uint64_t gap, uint64_t pages,
		struct file *file, unsigned int files, bool sum)
{
	char gap_text[32], pages_text[32], *argv[16];
	int n = 0;

	snprintf(gap_text, sizeof(gap_text), "--gap=%" PRIu64, gap);
	snprintf(pages_text, sizeof(pages_text), "--pages=%" PRIu64, pages);
	argv[n++] = (char *)"scan";
	argv[n++] = gap_text;
	argv[n++] = pages_text;
	if (how & NUMBERS)
		argv[n++] = (char *)"--numbers";
	if (sum || how & JSON)
		argv[n++] = (char *)"--json";
	if (sum || how & COUNT)
		argv[n++] = (char *)"--count";
	if (!sum && how & BYTES)
		argv[n++] = (char *)"--bytes";
	if (!sum && how & BINARY)
		argv[n++] = (char *)"--output=binary";
	for (unsigned int i = 0; i < files; i++)
		argv[n++] = file[i].path;
	argv[n] = NULL;
	run(argv, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct file file[2], out;
	unsigned int how, files;
	uint64_t gap, pages;
	size_t len;

	if (size < 6)
		return 0;
	if (!out.fd) {
		make(&file[0]);
		make(&file[1]);
		catch_output(&out);
	}
	how = data[0];
	files = how & TWO ? 2 : 1;
	gap = data[1];
	pages = tide__get_le(data + 2, 2);
	len = (size_t)tide__get_le(data + 4, 2);
	data += 6;
	size -= 6;
	if (len > size)
		len = size;
	fill(&file[0], data, len);
	fill(&file[1], data + len, size - len);
	ask(how, gap, pages, file, files, false);
	if (ftruncate(out.fd, 0) || lseek(out.fd, 0, SEEK_SET))
		abort();
	ask(how, gap, pages, file, files, true);
	memset(is_dirty, 0, top);
	top = 0;
	too_high = false;
	for (unsigned int i = 0; i < files; i++) {
		const uint8_t *at = i ? data + len : data;
		size_t n = i ? size - len : len;

		if (how & NUMBERS)
			mark_numbers(at, n);
		else
			mark_bits(at, n, pages);
	}
	if (!too_high && lseek(out.fd, 0, SEEK_END) > 0)
		compare(&out, gap);
	return ftruncate(out.fd, 0) || lseek(out.fd, 0, SEEK_SET);
}
