/* SPDX-License-Identifier: BSD-2-Clause */
#include "snapshot/elf_core.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#define NOTE_TYPE 1

#if defined(__aarch64__)
#define MACHINE EM_AARCH64
#else
#define MACHINE EM_X86_64
#endif

/* Of which snapshot it is. */
struct note {
	Elf64_Nhdr head;
	char name[12];
	struct snap_id id;
	uint64_t created_ns;
	char program[64];
};

static void put_ident(Elf64_Ehdr *e, uint16_t phdrs)
{
	memcpy(e->e_ident, ELFMAG, SELFMAG);
	e->e_ident[EI_CLASS] = ELFCLASS64;
	e->e_ident[EI_DATA] = ELFDATA2LSB;
	e->e_ident[EI_VERSION] = EV_CURRENT;
	e->e_type = ET_CORE;
	e->e_machine = MACHINE;
	e->e_version = EV_CURRENT;
	e->e_phoff = sizeof(*e);
	e->e_ehsize = sizeof(*e);
	e->e_phentsize = sizeof(Elf64_Phdr);
	e->e_phnum = phdrs;
}

static void put_note(struct note *n, const struct snap_header *h)
{
	n->head = (Elf64_Nhdr){ sizeof("TIDEMARK"), sizeof(*n) -
				offsetof(struct note, id), NOTE_TYPE };
	memcpy(n->name, "TIDEMARK", sizeof("TIDEMARK"));
	n->id = h->id;
	n->created_ns = h->created_ns;
	memcpy(n->program, h->program, sizeof(n->program));
}

void *snap_elf_head(const struct snap_header *h, const struct snap_area *area,
		    size_t *bytes)
{
	uint16_t phdrs = (uint16_t)(h->areas + 1);
	size_t note = sizeof(Elf64_Ehdr) + phdrs * sizeof(Elf64_Phdr);
	size_t all = (note + sizeof(struct note) + SNAP_PAGE - 1) /
		     SNAP_PAGE * SNAP_PAGE;
	unsigned char *head = calloc(1, all);
	Elf64_Phdr *p;

	if (!head)
		return NULL;
	put_ident((Elf64_Ehdr *)(void *)head, phdrs);
	put_note((struct note *)(void *)(head + note), h);
	p = (Elf64_Phdr *)(void *)(head + sizeof(Elf64_Ehdr));
	*p++ = (Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = note,
			     .p_filesz = sizeof(struct note), .p_align = 4 };
	for (uint32_t i = 0; i < h->areas; i++) {
		uint64_t n = area[i].pages * SNAP_PAGE;

		*p++ = (Elf64_Phdr){
			.p_type = PT_LOAD, .p_flags = PF_R | PF_W,
			.p_offset = all + area[i].first_page * SNAP_PAGE,
			.p_vaddr = area[i].address,
			.p_paddr = area[i].first_page * SNAP_PAGE,
			.p_filesz = n, .p_memsz = n, .p_align = SNAP_PAGE,
		};
	}
	*bytes = all;
	return head;
}
