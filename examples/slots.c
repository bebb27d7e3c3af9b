/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device model's view of guest memory: where is the buffer that a descriptor
 * names, may it be written, and which page was that? Meanwhile memory is
 * plugged, grows, and a window of a card moves.
 *
 *	cc slots.c $(pkg-config --cflags --libs tidemark) && ./a.out
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tidemark/dirty.h>
#include <tidemark/slots.h>

#define MIB (1ull << 20)

enum { LOW, HIGH, ROM, WINDOW };

/* The device writes @text at @gpa, which may lie across slots. */
static int device_writes(const struct tide_slots *slots, struct tide_set *set,
			 uint64_t gpa, const char *text)
{
	struct tide_slot_piece piece[4];
	uint64_t length = strlen(text), covered;
	size_t n = tide_slots_split(slots, gpa, length, piece, 4, &covered);
	struct tide_slot slot;

	if (covered < length)
		return -1;		/* a bad address: tell the guest */
	for (size_t i = 0; i < n; i++)
		if (tide_slots_find_id(slots, piece[i].id, &slot) &&
		    slot.flags & TIDE_SLOT_READONLY)
			return -1;
	for (size_t i = 0; i < n; i++) {
		memcpy(piece[i].host, text, piece[i].len_bytes);
		text += piece[i].len_bytes;
		tide_set_mark_range(set, piece[i].gpa_bytes / TIDE_PAGE_BYTES,
				    1 + (piece[i].gpa_bytes %
					 TIDE_PAGE_BYTES +
					 piece[i].len_bytes - 1) /
					TIDE_PAGE_BYTES);
	}
	return 0;
}

static int check(const char *what, int good)
{
	printf("%s: %s\n", what, good ? "yes" : "NO");
	return good ? 0 : 1;
}

int main(void)
{
	char *memory = aligned_alloc(TIDE_PAGE_BYTES, 8 * MIB);
	const struct tide_slot all[] = {
		{ LOW, 0, 0, MIB, memory },
		{ HIGH, 0, MIB, MIB, memory + 4 * MIB },
		{ ROM, TIDE_SLOT_READONLY, 16 * MIB, MIB, memory + 2 * MIB },
		{ WINDOW, 0, 32 * MIB, MIB, memory + 3 * MIB },
	};
	struct tide_slots_reader *reader;
	struct tide_slots *slots;
	struct tide_error err;
	struct tide_slot slot;
	struct tide_set *set;
	int wrong = 0;

	if (!memory || tide_slots_create(&slots, &err) ||
	    tide_slots_insert_many(slots, all, 4, &err) ||
	    tide_set_create(&set, 64 * MIB / TIDE_PAGE_BYTES, &err) ||
	    tide_slots_reader_create(slots, &reader, &err))
		return 1;
	wrong += check("a write across two slots",
		       !device_writes(slots, set, MIB - 3, "tidemark") &&
		       !memcmp(memory + MIB - 3, "tid", 3) &&
		       !memcmp(memory + 4 * MIB, "emark", 5) &&
		       tide_set_count(set) == 2);
	wrong += check("not where nothing is",
		       device_writes(slots, set, 3 * MIB, "x") < 0 &&
		       !tide_slots_find_gpa(slots, 3 * MIB, NULL));
	wrong += check("nor into a ROM",
		       device_writes(slots, set, 16 * MIB, "x") < 0);
	/* A fault's host address, back to the guest's. */
	wrong += check("host to guest",
		       tide_slots_find_host(slots, memory + 4 * MIB + 5,
					    &slot) && slot.id == HIGH);
	/* The thread that asks most has a reader of its own. */
	wrong += check("the window is seen where it is",
		       tide_slots_reader_find_gpa(reader, 32 * MIB, &slot) &&
		       slot.id == WINDOW);
	wrong += check("and where it moved to, at once",
		       !tide_slots_move(slots, WINDOW, 40 * MIB, &err) &&
		       !tide_slots_reader_find_gpa(reader, 32 * MIB, NULL) &&
		       tide_slots_reader_find_gpa(reader, 40 * MIB, NULL));
	wrong += check("memory that grows",
		       !tide_slots_resize(slots, HIGH, 2 * MIB, &err) &&
		       !device_writes(slots, set, 3 * MIB - 1, "x"));
	printf("%" PRIu32 " slots, %zu bytes of map\n", tide_slots_count(slots),
	       tide_slots_bytes(slots));
	tide_slots_reader_destroy(reader);
	tide_slots_destroy(slots);
	tide_set_destroy(set);
	free(memory);
	return wrong ? 1 : 0;
}
