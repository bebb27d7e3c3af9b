/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A log of the guest addresses that somebody had to look up: MMIO exits, DMA
 * of the disk, and ranges of pages that a migration reads. One folder:
 *
 *	lookups.csv	t_us,kind,addr,len; in order, addr in hex
 *	slots.json	the slots when the log was closed, and the disk's
 *			registers, which are no slot
 *
 * kind is mmio_read, mmio_write, dma or harvest. `tidemark bench slots` plays
 * such folders back.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "vm/internal.h"

#define RAM_BYTES (16ull << 20)		/* from here on a slot is "ram" */

struct vm_addresses {
	pthread_mutex_t lock;
	FILE *rows;
	uint64_t start_ns;
	char *folder;
};

static FILE *open_in(const char *folder, const char *name)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return fopen(path, "we");
}

int vm__addresses_open(struct vm *vm, struct tide_error *err)
{
	const char *folder = vm->config.addresses_path;
	struct vm_addresses *a;

	if (!folder)
		return 0;
	if (mkdir(folder, 0777) && errno != EEXIST)
		return tide_error_set(err, -errno, "addresses", TIDE_NO_OFFSET,
				      "%s: %s", folder, strerror(errno));
	a = calloc(1, sizeof(*a));
	if (a)
		a->folder = strdup(folder);
	if (a && a->folder)
		a->rows = open_in(folder, "lookups.csv");
	if (!a || !a->rows) {
		int code = a && a->folder ? -errno : -ENOMEM;

		free(a ? a->folder : NULL);
		free(a);
		return tide_error_set(err, code, "addresses", TIDE_NO_OFFSET,
				      "%s/lookups.csv: %s", folder,
				      strerror(-code));
	}
	pthread_mutex_init(&a->lock, NULL);
	a->start_ns = tide__now_ns();
	fputs("t_us,kind,addr,len\n", a->rows);
	vm->addresses = a;
	return 0;
}

void vm__addresses_note(struct vm *vm, const char *kind, uint64_t gpa,
			uint64_t len)
{
	struct vm_addresses *a = vm->addresses;

	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	fprintf(a->rows, "%" PRIu64 ",%s,0x%" PRIx64 ",%" PRIu64 "\n",
		(tide__now_ns() - a->start_ns) / 1000, kind, gpa, len);
	pthread_mutex_unlock(&a->lock);
}

static void put_slot(FILE *f, uint64_t gpa, uint64_t len, const char *name,
		     const char *type, const char *class)
{
	fprintf(f, "%s{\"start\":\"0x%" PRIx64 "\",\"end\":\"0x%" PRIx64
		   "\",\"name\":\"%s\",\"type\":\"%s\",\"class\":\"%s\"}",
		ftell(f) > 2 ? ",\n" : "", gpa, gpa + (len - 1), name, type,
		class);
}

static void put_slots(const struct vm *vm, FILE *f)
{
	struct tide_slot s;
	uint64_t from = 0;

	fputs("[\n", f);
	while (tide_slots_next(vm->slots, from, &s)) {
		put_slot(f, s.gpa_bytes, s.len_bytes, "memory", "ram",
			 s.len_bytes < RAM_BYTES ? "small" : "ram");
		from = s.gpa_bytes + s.len_bytes;
	}
	put_slot(f, GUEST_MMIO_DISK, GUEST_MMIO_BYTES, "disk", "io", "miss");
	fputs("\n]\n", f);
}

void vm__addresses_close(struct vm *vm)
{
	struct vm_addresses *a = vm->addresses;
	FILE *f;

	if (!a)
		return;
	vm->addresses = NULL;
	f = open_in(a->folder, "slots.json");
	if (f)
		put_slots(vm, f);
	/* Nobody is left to be told but the one who reads the log. */
	if (!f || fclose(f))
		fputs("no slots.json: the disk is full?\n", a->rows);
	fclose(a->rows);
	pthread_mutex_destroy(&a->lock);
	free(a->folder);
	free(a);
}
